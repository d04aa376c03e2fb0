//! S1: every Rollout is Healthy, Paused or Degraded, or Progressing with a stated deadline or a running analysis.

use chrono::TimeDelta;

use super::End;
use crate::oracle::{
    facts::{Step, number, scale_down_deadline, text, time},
    report::{Report, Rule},
};

/// S1, without a restart and without a resync. An invalid spec is a settled Degraded (compat 1.2).
pub(crate) fn check(end: &End<'_, '_>, report: &mut Report) {
    let rollout = end.rollout;
    if let Err(why) = is_settled(end) {
        let message = format!("{} `{}`: {why}", rollout.phase(), rollout.message());
        end.say(report, Rule::S1, message);
    }
    if rollout.is_observed() && !rollout.is_invalid() && end.history.end > end.last_moved() + SETTLE {
        tells_the_truth(end, report);
    }
}

/// From the last change of a pod count to the status that tells it, with back-off.
const SETTLE: std::time::Duration = std::time::Duration::from_secs(15);

/// Whether it is at rest, or says until when it is not.
pub(crate) fn is_settled(end: &End<'_, '_>) -> Result<(), String> {
    let rollout = end.rollout;
    if !rollout.is_observed() {
        return Err(format!(
            "observedGeneration is {:?}, generation {:?}",
            text(rollout.status(), "/observedGeneration"),
            number(rollout.0, "/metadata/generation")
        ));
    }
    match rollout.phase() {
        "Healthy" | "Degraded" => Ok(()),
        "Paused" => pause_is_stated(end),
        "Progressing" => progress_is_stated(end),
        other => Err(format!("phase {other:?}")),
    }
}

/// A pause for an inconclusive analysis is a person's to end, whatever the step's own pause says (compat 3.7).
fn pause_is_stated(end: &End<'_, '_>) -> Result<(), String> {
    let rollout = end.rollout;
    if rollout.is_paused() {
        return Ok(());
    }
    if !rollout.is_held() {
        return Err("neither spec.paused nor a pause condition".to_owned());
    }
    let step = rollout.index().and_then(|i| rollout.step(i));
    if let (Some(since), Some(Step::Pause(Some(duration)))) = (rollout.paused_since("CanaryPauseStep"), step)
        && let Some(start) = time(since)
        && rollout.paused_since("InconclusiveAnalysisRun").is_none()
        && !end.clocks_jumped()
        && end.is_past(start + TimeDelta::seconds(duration))
    {
        return Err(format!(
            "the pause of {duration} s since {since} is over, and it is {}",
            end.now
        ));
    }
    Ok(())
}

fn progress_is_stated(end: &End<'_, '_>) -> Result<(), String> {
    let rollout = end.rollout;
    if end.is_running(rollout.step_run()) || end.is_running(rollout.background_run()) {
        return Ok(());
    }
    if end
        .replica_sets
        .iter()
        .filter_map(|o| scale_down_deadline(o))
        .any(|at| !end.is_past(at))
    {
        return Ok(());
    }
    // Compat 2.16: lastUpdateTime of Progressing and progressDeadlineSeconds.
    let since = rollout
        .condition("Progressing")
        .map_or("", |c| text(c, "/lastUpdateTime"));
    match time(since) {
        Some(start) if end.clocks_jumped() || !end.is_past(start + TimeDelta::seconds(rollout.deadline())) => Ok(()),
        _ => Err(format!(
            "no analysis runs and the deadline of {} s since {since:?} has passed; it is {}",
            rollout.deadline(),
            end.now
        )),
    }
}

/// S1 again: the counts in the status are those of the ReplicaSets (compat 1.3).
fn tells_the_truth(end: &End<'_, '_>, report: &mut Report) {
    let rollout = end.rollout;
    let sum = |field: &str| -> i64 {
        let counts = end.replica_sets.iter().map(|o| number(o, field).unwrap_or(0));
        counts.sum()
    };
    let updated = end
        .revision(rollout.current())
        .map_or(0, |o| number(o, "/status/replicas").unwrap_or(0));
    for (field, expected) in [
        ("replicas", sum("/status/replicas")),
        ("readyReplicas", sum("/status/readyReplicas")),
        ("availableReplicas", sum("/status/availableReplicas")),
        ("updatedReplicas", updated),
    ] {
        let said = number(rollout.status(), &format!("/{field}")).unwrap_or(0);
        if said != expected {
            end.say(
                report,
                Rule::S1,
                format!("status.{field} is {said}, in truth {expected}"),
            );
        }
    }
}
