//! W7: with a router, what still has traffic, is selected, or is kept for a while must not go.

use chrono::DateTime;

use crate::{
    Findings,
    Rule::W7,
    counts,
    facts::{Facts, Replicas, WHOLE},
    traffic,
};

/// Judges ReplicaSets that a write takes to nothing.
pub(crate) fn judge(before: &Facts<'_>, after: &Facts<'_>, findings: &mut Findings) {
    // `spec.replicas: 0` is a person's wish.
    if !before.has_router() || before.desired() == 0 {
        return;
    }
    for (name, rs) in before.replica_sets.iter().filter(|(_, rs)| rs.wanted > 0) {
        let left = after.replica_sets.get(name);
        if left.is_some_and(|rs| rs.wanted > 0) {
            continue;
        }
        let what = if left.is_some() { "scaled to 0" } else { "deleted" };
        let share = before.share(|hash| hash == rs.hash);
        if share > 0 {
            findings.refuse(
                W7,
                format!(
                    "ReplicaSet {name} would be {what} while its revision has {} % of the traffic; move the traffic first",
                    share * 100 / WHOLE
                ),
            );
            continue;
        }
        let names = before.service_names();
        let selecting = names.iter().zip(before.selected()).find(|(_, hash)| *hash == rs.hash);
        if let Some((service, _)) = selecting {
            if left.is_none() || !is_step_without_pods(before, rs) {
                findings.refuse(
                    W7,
                    format!("ReplicaSet {name} would be {what} while the Service {service} selects it; switch the Service first"),
                );
            }
            continue;
        }
        if let Some(why) = is_kept(before, rs) {
            findings.warn(
                W7,
                format!("ReplicaSet {name} would be {what}, {why}; wait for its end"),
            );
        }
    }
}

/// An arm without weight for which the spec wants no pod: the canary at weight 0 or with a size of 0 (compat 2.5), stable
/// under dynamicStableScale when all weight is the canary's.
fn is_step_without_pods(facts: &Facts<'_>, rs: &Replicas) -> bool {
    if rs.hash == facts.newest && !facts.is_promoted() {
        let at = traffic::index(facts).unwrap_or_else(|| facts.steps().len());
        let follows_abort = facts.is_aborted() && (facts.is_dynamic() || may_go_after_abort(facts, rs));
        return follows_abort || counts::desired_at(facts, at).0 == 0 || facts.is_reset_due();
    }
    rs.hash == facts.status.stable_rs && facts.is_dynamic() && !facts.is_promoted()
}

fn may_go_after_abort(facts: &Facts<'_>, rs: &Replicas) -> bool {
    is_kept(facts, rs).is_none()
}

/// Why a ReplicaSet without traffic is still to be kept (compat 2.5, 2.6).
fn is_kept(facts: &Facts<'_>, rs: &Replicas) -> Option<String> {
    let canary = facts.canary?;
    // Pods that are not available are no way back: they go at once (compat 2.5, unhealthy cleanup).
    if rs.available == 0 {
        return None;
    }
    let is_aborted_canary = facts.is_aborted() && rs.hash == facts.newest && !facts.is_promoted();
    if facts.is_dynamic() && !(is_aborted_canary && canary.abort_scale_down_delay_seconds.is_some()) {
        // Compat 2.5: to 0 at once. 2.6: an aborted canary without an explicit delay follows the weight.
        return None;
    }
    if rs.hash == facts.newest && !is_aborted_canary {
        // Compat 2.5: a deadline of a revision that is released again is taken off, its size is that of its step.
        return None;
    }
    if let Some(deadline) = &rs.deadline {
        let Ok(until) = DateTime::parse_from_rfc3339(deadline) else {
            // Nobody can wait for what cannot be read.
            return None;
        };
        let is_early = facts.now < until;
        return (is_early && !is_beyond_limit(facts, rs)).then(|| format!("which is kept until {deadline}"));
    }
    if is_aborted_canary {
        return match canary.abort_scale_down_delay() {
            None => Some("which is kept for ever (abortScaleDownDelaySeconds is 0)".to_owned()),
            Some(0) => None,
            Some(seconds) => Some(format!(
                "which is kept for {seconds} s after the abort and has no deadline yet"
            )),
        };
    }
    // Only what was promoted once is kept; a revision that was overtaken goes at once (compat 2.5).
    let was_stable = facts.is_promoted() && rs.hash != facts.newest;
    let delay = canary.scale_down_delay();
    (was_stable && delay > 0 && !is_beyond_limit(facts, rs))
        .then(|| format!("which is kept for {delay} s after the promotion and has no deadline yet"))
}

/// Whether `scaleDownDelayRevisionLimit` newer ones are kept already (compat 2.5).
fn is_beyond_limit(facts: &Facts<'_>, rs: &Replicas) -> bool {
    let limit = facts
        .canary
        .map_or(i32::MAX, serin_api::rollout::CanaryStrategy::scale_down_delay_limit);
    let others = facts.replica_sets.values();
    let newer = others.filter(|other| {
        other.revision >= rs.revision
            && other.hash != rs.hash
            && other.hash != facts.newest
            && other.hash != facts.status.stable_rs
            && other.wanted > 0
    });
    i32::try_from(newer.count()).unwrap_or(i32::MAX) >= limit
}
