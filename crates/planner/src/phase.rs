//! Phase and message of a Rollout (compat 1.4), in upstream's order of precedence.

use serin_api::{rollout::RolloutSpec, status::RolloutStatus};

/// `(phase, message)` of a status; reads conditions, pause conditions, counts and hashes only.
pub(crate) fn of(spec: &RolloutSpec, status: &RolloutStatus) -> (&'static str, String) {
    for c in &status.conditions {
        if c.kind == "InvalidSpec" {
            return ("Degraded", format!("InvalidSpec: {}", c.message));
        }
        if c.reason == "RolloutAborted" || c.reason == "ProgressDeadlineExceeded" {
            return ("Degraded", format!("{}: {}", c.reason, c.message));
        }
    }
    if spec.is_paused() {
        return ("Paused", "manually paused".to_owned());
    }
    if let Some(pause) = status.pause_conditions.first() {
        return ("Paused", pause.reason.as_str().to_owned());
    }
    if spec.restart_at.is_some() && spec.restart_at != status.restarted_at {
        return progressing("rollout is restarting");
    }
    if status.updated_replicas < spec.desired_replicas() {
        return progressing("more replicas need to be updated");
    }
    if status.available_replicas < status.updated_replicas {
        return progressing("updated replicas are still becoming available");
    }
    if let Some(canary) = &spec.strategy.canary {
        if canary.traffic_routing.is_none() && status.replicas > status.updated_replicas {
            return progressing("old replicas are pending termination");
        }
        if status.stable_rs.is_empty() || status.stable_rs != status.current_pod_hash {
            return progressing("waiting for all steps to complete");
        }
    }
    ("Healthy", String::new())
}

fn progressing(message: &str) -> (&'static str, String) {
    ("Progressing", message.to_owned())
}
