//! Conditions of a Rollout (compat 1.5): how one is set, and which follow from what a pass found.

use chrono::{DateTime, TimeDelta, Utc};
use serin_api::{
    Time,
    rollout::RolloutSpec,
    status::{RolloutCondition, RolloutStatus},
    steps::StepKind,
};
use serin_model::Event;

use crate::situation::Situation;

pub(crate) const PROGRESSING: &str = "Progressing";
pub(crate) const INVALID_SPEC: &str = "InvalidSpec";
const AVAILABLE: &str = "Available";
pub(crate) const PAUSED: &str = "Paused";
const HEALTHY: &str = "Healthy";
const COMPLETED: &str = "Completed";
const REPLICA_FAILURE: &str = "ReplicaFailure";

/// The condition of that type.
pub(crate) fn get<'a>(status: &'a RolloutStatus, kind: &str) -> Option<&'a RolloutCondition> {
    status.conditions.iter().find(|c| c.kind == kind)
}

/// A new condition, stamped with `now`.
pub(crate) fn new(kind: &str, status: &str, reason: &str, message: &str, now: DateTime<Utc>) -> RolloutCondition {
    RolloutCondition {
        kind: kind.to_owned(),
        status: status.to_owned(),
        last_update_time: Time::new(now),
        last_transition_time: Time::new(now),
        reason: reason.to_owned(),
        message: message.to_owned(),
    }
}

/// Sets a condition as upstream does: nothing happens for the same status and reason, the last transition stays for the
/// same status, and what was set moves to the end. Returns whether something changed.
///
/// One difference, listed in docs/compatibility: a message that changed with status and reason unchanged is refreshed,
/// so that a second cause of an abort or of an invalid spec is not hidden behind the first (compat 12.12).
pub(crate) fn set(status: &mut RolloutStatus, mut condition: RolloutCondition) -> bool {
    if let Some(old) = status.conditions.iter_mut().find(|c| c.kind == condition.kind) {
        if old.status == condition.status && old.reason == condition.reason {
            if old.message != condition.message {
                old.message = condition.message;
                old.last_update_time = condition.last_update_time;
            }
            return false;
        }
        if old.status == condition.status {
            condition.last_transition_time = old.last_transition_time;
        }
    }
    remove(status, &condition.kind);
    status.conditions.push(condition);
    true
}

/// Removes a condition.
pub(crate) fn remove(status: &mut RolloutStatus, kind: &str) {
    status.conditions.retain(|c| c.kind != kind);
}

/// Turns `Progressing` and `Paused` with the pause state of the status: paused, resumed, retried (compat 1.5, first
/// writer). Upstream saves this on its own and goes on in the next pass; here it is part of the pass's one write.
pub(crate) fn follow_pause(spec: &RolloutSpec, status: &mut RolloutStatus, now: DateTime<Utc>) {
    let paused = !status.pause_conditions.is_empty() || spec.is_paused();
    let reason = |kind: &str, s: &RolloutStatus| get(s, kind).map(|c| c.reason.clone()).unwrap_or_default();
    let aborted = reason(PROGRESSING, status) == "RolloutAborted";
    if aborted && status.abort != Some(true) {
        set(
            status,
            new(
                PROGRESSING,
                "Unknown",
                "RolloutRetry",
                "Retrying Rollout after abort",
                now,
            ),
        );
    } else if !aborted {
        let shown = reason(PROGRESSING, status) == "RolloutPaused";
        if paused && !shown {
            set(
                status,
                new(PROGRESSING, "Unknown", "RolloutPaused", "Rollout is paused", now),
            );
        } else if !paused && shown {
            set(
                status,
                new(PROGRESSING, "Unknown", "RolloutResumed", "Rollout is resumed", now),
            );
        }
    }
    let aborted = reason(PROGRESSING, status) == "RolloutAborted";
    let shown = get(status, PAUSED).is_some_and(|c| c.status == "True");
    if paused != shown && !aborted {
        let word = if paused { "True" } else { "False" };
        set(status, new(PAUSED, word, "RolloutPaused", "Rollout is paused", now));
    }
}

/// What `Healthy` means as a condition: everything promoted, available, and nothing left of the past (compat 1.5).
fn is_healthy(s: &Situation<'_>, after: &RolloutStatus) -> bool {
    let replicas = s.spec.desired_replicas();
    let executed = after
        .current_step_index
        .is_none_or(|i| usize::try_from(i).is_ok_and(|i| i >= s.canary.steps().len()));
    after.updated_replicas == replicas
        && after.available_replicas == replicas
        && after.replicas == replicas
        && s.before.observed_generation == s.generation
        && executed
        && !after.stable_rs.is_empty()
        && after.stable_rs == after.current_pod_hash
}

/// Something moved since the last status (compat 1.5, "Progress").
pub(crate) fn is_progress(before: &RolloutStatus, after: &RolloutStatus) -> bool {
    after.updated_replicas != before.updated_replicas
        || after.replicas - after.updated_replicas < before.replicas - before.updated_replicas
        || after.ready_replicas > before.ready_replicas
        || after.available_replicas > before.available_replicas
        || after.stable_rs != before.stable_rs
        || after.current_step_index != before.current_step_index
        || after.current_step_hash != before.current_step_hash
}

/// The progress deadline has passed (compat 2.16). `None` when no deadline runs.
pub(crate) fn deadline(s: &Situation<'_>, status: &RolloutStatus) -> Option<DateTime<Utc>> {
    let progressing = get(status, PROGRESSING)?;
    if progressing.reason == "RolloutAborted" || progressing.reason == "RolloutPaused" {
        return None;
    }
    // A release that is complete has no deadline left.
    if progressing.reason == "NewReplicaSetAvailable" || progressing.reason == "ProgressDeadlineExceeded" {
        return None;
    }
    let waits = matches!(
        s.step.map(|(_, step)| step.kind()),
        Some(StepKind::Pause(_) | StepKind::Analysis(_) | StepKind::Experiment(_))
    );
    if waits || get(status, PAUSED).is_some_and(|c| c.status == "True") {
        return None;
    }
    Some(progressing.last_update_time.0 + TimeDelta::seconds(i64::from(s.spec.progress_deadline())))
}

/// What an abort is called in events and conditions (compat 1.5).
pub(crate) fn abort_text(s: &Situation<'_>, cause: &str) -> String {
    let text = format!("Rollout aborted update to revision {}", s.revision());
    if cause.is_empty() {
        text
    } else {
        format!("{text}: {cause}")
    }
}

/// Sets every condition that follows from the pass. Returns the events that go with them.
pub(crate) fn calculate(s: &Situation<'_>, aborted: Option<&str>, after: &mut RolloutStatus) -> Vec<Event> {
    let now = s.now;
    let mut events = Vec::new();
    let replica_set = s.new.map_or("Rollout", |_| "ReplicaSet");
    let name = s.new.map_or(s.name, |rs| rs.name.as_str());
    remove(after, INVALID_SPEC);

    let paused = !s.before.pause_conditions.is_empty() || s.spec.is_paused();
    let healthy = is_healthy(s, after);
    let mut became_unhealthy = false;
    if healthy && !paused {
        set(after, new(HEALTHY, "True", "RolloutHealthy", "Rollout is healthy", now));
    } else if get(after, HEALTHY).is_some() {
        became_unhealthy = set(
            after,
            new(HEALTHY, "False", "RolloutHealthy", "Rollout is not healthy", now),
        );
    }

    if let Some(cause) = aborted {
        let message = abort_text(s, cause);
        // A later pass knows no cause any more: the message that was written first stays.
        let stands = get(after, PROGRESSING).is_some_and(|c| c.reason == "RolloutAborted");
        if !(stands && cause.is_empty()) && set(after, new(PROGRESSING, "False", "RolloutAborted", &message, now)) {
            events.push(Event::warning("RolloutAborted", message));
        }
    }

    let settled = after.replicas == after.available_replicas
        && get(after, PROGRESSING).is_some_and(|c| c.reason == "NewReplicaSetAvailable" && c.status != "False");
    if !settled && aborted.is_none() {
        if healthy {
            // A paused one says that it is paused; to say both in turn would be a write in every pass.
            if !paused {
                let message = format!("{replica_set} \"{name}\" has successfully progressed.");
                set(after, new(PROGRESSING, "True", "NewReplicaSetAvailable", &message, now));
            }
        } else if is_progress(s.before, after) || became_unhealthy {
            let (reason, message) = if became_unhealthy && after.stable_rs == after.current_pod_hash {
                (
                    "ReplicaSetNotAvailable",
                    "Rollout does not have minimum availability".to_owned(),
                )
            } else {
                ("ReplicaSetUpdated", format!("{replica_set} \"{name}\" is progressing."))
            };
            let mut condition = new(PROGRESSING, "True", reason, &message, now);
            // Progress is stamped anew even with the same reason: the deadline counts from here.
            if let Some(old) = get(after, PROGRESSING).filter(|c| c.status == "True") {
                condition.last_transition_time = old.last_transition_time;
            }
            remove(after, PROGRESSING);
            after.conditions.push(condition);
        } else if !s.is_older_kept() && deadline(s, after).is_some_and(|at| now >= at) {
            let message = format!("{replica_set} \"{name}\" has timed out progressing.");
            set(
                after,
                new(PROGRESSING, "False", "ProgressDeadlineExceeded", &message, now),
            );
        }
    }

    if after.available_replicas >= s.spec.desired_replicas() {
        set(
            after,
            new(
                AVAILABLE,
                "True",
                "AvailableReason",
                "Rollout has minimum availability",
                now,
            ),
        );
    } else {
        set(
            after,
            new(
                AVAILABLE,
                "False",
                "AvailableReason",
                "Rollout does not have minimum availability",
                now,
            ),
        );
    }

    match s.all().find_map(|rs| rs.failure.as_ref()) {
        Some((reason, message)) => {
            set(after, new(REPLICA_FAILURE, "True", reason, message, now));
        }
        None => remove(after, REPLICA_FAILURE),
    }

    let completed = !after.stable_rs.is_empty() && after.stable_rs == after.current_pod_hash;
    let word = if completed { "True" } else { "False" };
    if set(after, new(COMPLETED, word, "RolloutCompleted", "RolloutCompleted", now)) && !completed {
        let text = format!(
            "Rollout not completed, started update to revision {} ({})",
            s.revision(),
            after.current_pod_hash
        );
        events.push(Event::normal("RolloutNotCompleted", text));
    }
    events
}
