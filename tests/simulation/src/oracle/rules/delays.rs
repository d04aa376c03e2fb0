//! How long a ReplicaSet is kept when it is needed no more.

use chrono::{DateTime, TimeDelta, Utc};

use super::{
    capacity::{Resize, Verdict},
    say,
};
use crate::oracle::{
    counts::is_scaled_by_hand,
    facts::{Rollout, available, hash_of, scale_down_deadline},
    report::{Report, Rule},
    scene::Scene,
};

/// Deadlines are written in whole seconds.
const GRAIN: TimeDelta = TimeDelta::milliseconds(1001);

/// Behind a router the ReplicaSet of the old stable revision is not scaled down before its deadline, nor an aborted canary.
///
/// Excused (compat 2.5, 2.6): pods that are not available go at once; a revision between (never stable, no deadline) goes at
/// once; dynamicStableScale follows the weight; a limit on the number of kept revisions; a smaller spec.replicas.
pub(crate) fn respected(scene: &Scene<'_, '_>, rollout: Rollout<'_>, resize: Resize<'_>) -> Verdict {
    if rollout.stable().is_empty() || resize.hash == rollout.stable() {
        return Ok(());
    }
    let kept_for = if resize.hash == rollout.current() {
        if !rollout.is_aborted() || (rollout.is_dynamic() && !rollout.has_abort_delay()) {
            return Ok(());
        }
        if rollout.abort_delay() == 0 {
            return if is_scaled_by_hand(rollout) || resize.to >= rollout.replicas() {
                Ok(())
            } else {
                Err((
                    Rule::ScaleDownDelay,
                    "an aborted canary is kept for ever here".to_owned(),
                ))
            };
        }
        rollout.abort_delay()
    } else {
        let deadline = scale_down_deadline(resize.before);
        if rollout.is_dynamic() || rollout.has_revision_limit() || (!rollout.is_promoted() && deadline.is_none()) {
            return Ok(());
        }
        rollout.scale_down_delay()
    };
    // Compat 2.5, unhealthy cleanup: what the write knew of its own object is exactly what it replaced.
    if kept_for == 0 || resize.to >= available(resize.before) || resize.to >= rollout.replicas() {
        return Ok(());
    }
    match scale_down_deadline(resize.before) {
        Some(deadline) if deadline <= scene.clock() => Ok(()),
        Some(deadline) => Err((
            Rule::ScaleDownDelay,
            format!("it is kept until {deadline}, and it is {}", scene.clock()),
        )),
        None => Err((
            Rule::ScaleDownDelay,
            format!("it is to be kept for {kept_for} s and has no deadline yet"),
        )),
    }
}

/// A deadline is stamped as now + delay, and does not move while it stands.
pub(crate) fn stamped(scene: &Scene<'_, '_>, views: &[Rollout<'_>], report: &mut Report) {
    let (Some(old), Some(new)) = (scene.old(), scene.new_object()) else {
        return;
    };
    let (before, Some(after)) = (scale_down_deadline(old), scale_down_deadline(new)) else {
        return;
    };
    let Some(latest) = views.first().copied() else { return };
    if before == Some(after) {
        return;
    }
    if let Some(before) = before {
        let message = format!(
            "moved the scale-down deadline of {} from {before} to {after}",
            scene.change.name
        );
        return say(scene, report, Rule::ScaleDownDelay, latest, message);
    }
    let is_right = |r: &Rollout<'_>| {
        // Nobody counts the days of the stable revision (compat 2.5).
        if hash_of(new) == r.stable() {
            return false;
        }
        let delay = if hash_of(new) == r.current() && !r.is_promoted() {
            r.abort_delay()
        } else {
            r.scale_down_delay()
        };
        let is_near =
            |clock: DateTime<Utc>| (after - clock - TimeDelta::seconds(delay)).abs() <= GRAIN + TimeDelta::seconds(1);
        scene.clocks().into_iter().any(is_near)
    };
    // A write that is late was stamped when it was sent.
    let is_prompt = scene.knowledge.lag(scene.change.at) <= std::time::Duration::from_secs(1);
    if is_prompt && !views.iter().any(is_right) {
        let message = format!(
            "stamped {} to be kept until {after} at {}",
            scene.change.name,
            scene.clock()
        );
        say(scene, report, Rule::ScaleDownDelay, latest, message);
    }
}
