//! W2 and W5: how many pods serve whom. What is found here warns in production and fails in tests.

use crate::{
    Findings,
    Rule::{W2, W5},
    counts,
    facts::{Facts, Replicas, WHOLE},
    traffic,
};

/// Judges what a write changes in capacity.
pub(crate) fn judge(before: &Facts<'_>, after: &Facts<'_>, findings: &mut Findings) {
    if before.has_router() {
        shrunk(before, after, findings);
        switched(before, after, findings);
    } else {
        bounds(before, after, findings);
    }
}

fn unavailable(facts: &Facts<'_>) -> i32 {
    facts.canary.map_or(0, |c| c.max_unavailable_count(facts.desired()))
}

/// Pods that a share of the traffic needs, less maxUnavailable.
fn needed(facts: &Facts<'_>, share: i64) -> i32 {
    let pods = (share * i64::from(facts.desired()) + WHOLE - 1).div_euclid(WHOLE);
    i32::try_from(pods).unwrap_or(i32::MAX) - unavailable(facts)
}

/// What the spec or a person asks for, of a revision that is not stable.
fn is_asked_for(facts: &Facts<'_>, hash: &str) -> bool {
    if hash == facts.status.stable_rs {
        return false;
    }
    // Compat 2.8: a full promotion. 2.4: a threshold lets steps go on with fewer pods. 2.5: a size of its own.
    facts.status.promote_full
        || facts.canary.is_some_and(|c| c.replica_progress_threshold.is_some())
        || traffic::index(facts).is_some_and(|i| counts::scale_at(facts, i).is_some())
}

/// W2 with a router: a ReplicaSet loses ready pods.
fn shrunk(before: &Facts<'_>, after: &Facts<'_>, findings: &mut Findings) {
    for (name, rs) in &before.replica_sets {
        let left = after.replica_sets.get(name).map_or(0, Replicas::capacity);
        if left >= rs.capacity() || is_asked_for(before, &rs.hash) {
            continue;
        }
        let share = before.share(|hash| hash == rs.hash);
        if share > 0 && after.replica_sets.get(name).is_none_or(|rs| rs.wanted == 0) {
            // W7 speaks of it, and refuses.
            continue;
        }
        let least = needed(before, share);
        if left < least {
            findings.warn(
                W2,
                format!(
                    "ReplicaSet {name} would keep {left} ready pods, its {} % of the traffic need {least}; move the traffic first",
                    share * 100 / WHOLE
                ),
            );
        }
    }
}

/// W2 with a router: a Service that has traffic selects another revision.
fn switched(before: &Facts<'_>, after: &Facts<'_>, findings: &mut Findings) {
    let names = before.service_names();
    for ((name, old), new) in names.iter().zip(before.selected()).zip(after.selected()) {
        // A selector without a hash selects pods of all revisions: where it goes they are not lost (compat 2.14).
        let all: i32 = before.replica_sets.values().map(Replicas::capacity).sum();
        let capacity = |hash: &str| before.of_hash(hash).map_or(0, Replicas::capacity);
        let had = if old.is_empty() { all } else { capacity(old) };
        // Design contract 4: from the canary back to stable at any time, with the pods that there are.
        let is_way_back = *name == names[0] && new == before.status.stable_rs && !before.is_promoted();
        if old == new || new.is_empty() || is_way_back || capacity(new) >= had {
            continue;
        }
        let share = after.share(|hash| hash == new);
        if before.share(|hash| hash == new) >= share {
            // It has all of that already, through the other Service.
            continue;
        }
        let least = needed(before, share);
        // Compat 2.4: a threshold lets a release complete with fewer pods; then its pods are the stable ones.
        let has_threshold = before.canary.is_some_and(|c| c.replica_progress_threshold.is_some());
        if capacity(new) < least && !has_threshold && !is_asked_for(before, new) {
            findings.warn(
                W2,
                format!(
                    "Service {name} would be switched from {old:?} to {new:?}, which has {} ready pods; its {} % of the \
                     traffic need {least}; wait for them",
                    capacity(new),
                    share * 100 / WHOLE
                ),
            );
        }
    }
}

/// W5: the bounds without a router.
fn bounds(before: &Facts<'_>, after: &Facts<'_>, findings: &mut Findings) {
    let desired = before.desired();
    let total = |facts: &Facts<'_>| -> i64 { facts.replica_sets.values().map(|rs| i64::from(rs.wanted)).sum() };
    let ready = |facts: &Facts<'_>| -> i32 { facts.replica_sets.values().map(Replicas::capacity).sum() };
    let most = i64::from(desired) + i64::from(before.canary.map_or(0, |c| c.max_surge_count(desired)));
    // An adopted ReplicaSet brings its pods along: that is no scaling of ours.
    let is_scaling = before.replica_sets.len() >= after.replica_sets.len()
        || after
            .replica_sets
            .iter()
            .any(|(name, rs)| !before.replica_sets.contains_key(name) && rs.created == before.now && rs.wanted > 0);
    if !is_scaling {
        return;
    }
    if total(after) > total(before) && total(after) > most {
        findings.warn(
            W5,
            format!(
                "all ReplicaSets together would want {} pods; replicas plus maxSurge are {most}; scale down first",
                total(after)
            ),
        );
    }
    let least = desired - unavailable(before);
    if ready(after) < ready(before) && ready(after) < least {
        findings.warn(
            W5,
            format!(
                "{} available pods would be left; replicas less maxUnavailable are {least}; wait for new ones",
                ready(after)
            ),
        );
    }
}
