//! Scaling ReplicaSets: one kind of scaling a pass, stable first, then new, then others (compat 2.2, 2.5, 2.6).

use chrono::{SecondsFormat, TimeDelta};
use serde_json::{Value, json};
use serin_api::{DESIRED_REPLICAS_ANNOTATION, SCALE_DOWN_DEADLINE_ANNOTATION};
use serin_model::{
    Event, ReplicaSetView,
    mutant::{self, Mutant},
};

use crate::{draft::Draft, pause::PauseDecision, revision::patch_replica_set, services, situation::Situation, traffic};

/// Scales what has to be scaled next. True when something was.
pub(crate) fn reconcile(s: &Situation<'_>, pause: &PauseDecision, draft: &mut Draft) -> bool {
    if s.is_halted() {
        return false;
    }
    let aborted = pause.is_aborted(s.before);
    let (canary, stable_count) = s.desired_counts(aborted);
    let stable_count = stable_count.max(stable_in_use(s, draft));
    // The deadline of a ReplicaSet that is wanted again goes with its next patch, or on its own.
    let mut changed = false;
    if let Some(stable) = s.stable_apart() {
        let drop = Situation::deadline_of(stable).is_some();
        if scale(s, stable, stable_count, drop, pause, draft) {
            return true;
        }
    }
    if let Some(new) = s.new {
        let keeps = s.keeps_aborted_canary(pause);
        if !keeps {
            let canary = if s.is_scale_asked_for() {
                canary
            } else {
                let served = if leads_to_all(s) {
                    new.lasting() - surplus(s).max(0)
                } else {
                    0
                };
                canary
                    .max(traffic::pods_in_use(s, draft, new.hash()).min(new.replicas))
                    .max(served)
            };
            // The others go: the weight of an aborted canary may wait for that.
            let least = i32::from(waits_for_service(s, pause, draft)).min(new.replicas);
            let canary = canary.max(least);
            let drop = Situation::deadline_of(new).is_some();
            changed |= scale(s, new, canary, drop, pause, draft);
        } else {
            changed |= keep_aborted(s, new, pause, draft);
        }
    }
    if changed {
        return true;
    }
    scale_others(s, pause, draft)
}

/// With dynamicStableScale: pods that stable keeps for the weight that this pass gives it back, and all of them while a weight
/// that is still an earlier revision's waits for them. Upstream counts by the weights that it recorded in the pass before.
fn stable_in_use(s: &Situation<'_>, draft: &Draft) -> i32 {
    let Some(stable) = s.stable_apart() else { return 0 };
    if !s.has_router() || !s.canary.is_dynamic_stable_scale() || mutant::is(Mutant::StableDownBeforeWeight) {
        return 0;
    }
    if services::is_behind_weight(s) {
        return s.spec.desired_replicas();
    }
    traffic::pods_in_use(s, draft, stable.hash()).min(stable.replicas)
}

/// An aborted canary with a router: stamped once stable is whole, scaled down when the time has come (compat 2.6).
fn keep_aborted(s: &Situation<'_>, new: &ReplicaSetView, pause: &PauseDecision, draft: &mut Draft) -> bool {
    if new.replicas > 0 && is_stale(s, new) {
        // Else its annotation tells of a change of size for ever, and the pass never comes to the weights.
        scale(s, new, new.replicas, false, pause, draft);
        return true;
    }
    if let Some(at) = Situation::deadline_of(new) {
        if new.replicas == 0 {
            return false;
        }
        if s.now >= at {
            // Its weight is taken off in the pass before, and that may have failed.
            let is_used = traffic::pods_in_use(s, draft, new.hash()) > 0 || waits_for_service(s, pause, draft);
            return !is_used && scale(s, new, 0, false, pause, draft);
        }
        draft.wake(at);
        return false;
    }
    let whole = s
        .stable
        .is_some_and(|stable| stable.lasting() >= s.spec.desired_replicas());
    if let (Some(seconds), true, true) = (s.canary.abort_scale_down_delay(), whole, new.replicas > 0) {
        stamp(s, new, seconds, draft);
    }
    false
}

/// After an abort its Service goes to stable before the canary's last pod goes (write rule W7): by this plan, or once stable has a
/// pod and the weight is off.
fn waits_for_service(s: &Situation<'_>, pause: &PauseDecision, draft: &Draft) -> bool {
    let service = s.service(s.canary.canary_service.as_deref());
    pause.is_aborted(s.before)
        && s.has_router()
        && s.spec.desired_replicas() > 0
        && s.stable_apart().is_some()
        && service.is_some_and(|service| draft.hash_of(service) == s.hash)
}

fn stamp(s: &Situation<'_>, rs: &ReplicaSetView, seconds: i32, draft: &mut Draft) {
    let at = s.now + TimeDelta::seconds(i64::from(seconds));
    let text = at.to_rfc3339_opts(SecondsFormat::Secs, true);
    draft.write(
        patch_replica_set(
            rs,
            json!({ "metadata": { "annotations": { SCALE_DOWN_DEADLINE_ANNOTATION: text } } }),
        ),
        [],
    );
    draft.wake(at);
}

/// Its annotation does not say today's `spec.replicas`.
fn is_stale(s: &Situation<'_>, rs: &ReplicaSetView) -> bool {
    let known = rs.annotations.get(DESIRED_REPLICAS_ANNOTATION);
    known.is_none_or(|known| *known != s.spec.desired_replicas().to_string())
}

/// One scaling write. True when the size changes; a stale annotation alone is mended silently.
fn scale(
    s: &Situation<'_>,
    rs: &ReplicaSetView,
    count: i32,
    drop_deadline: bool,
    pause: &PauseDecision,
    draft: &mut Draft,
) -> bool {
    let wanted = s.spec.desired_replicas().to_string();
    let stale = is_stale(s, rs);
    let sized = rs.replicas != count;
    if !sized && !stale && !drop_deadline {
        return false;
    }
    let mut annotations = serde_json::Map::new();
    if stale {
        annotations.insert(DESIRED_REPLICAS_ANNOTATION.to_owned(), Value::String(wanted));
    }
    let ends = count == 0 && Situation::deadline_of(rs).is_some() && !s.keeps_aborted_canary(pause);
    if drop_deadline || ends {
        annotations.insert(SCALE_DOWN_DEADLINE_ANNOTATION.to_owned(), Value::Null);
    }
    let mut patch = json!({});
    if !annotations.is_empty() {
        patch["metadata"] = json!({ "annotations": annotations });
    }
    let mut events = Vec::new();
    if sized {
        patch["spec"] = json!({ "replicas": count });
        let way = if count > rs.replicas { "up" } else { "down" };
        let text = format!(
            "Scaled {way} ReplicaSet {} (revision {}) from {} to {count}",
            rs.name,
            rs.revision(),
            rs.replicas
        );
        events.push(Event::normal("ScalingReplicaSet", text));
    }
    draft.write(patch_replica_set(rs, patch), events);
    sized
}

/// How many pods may go before too few are available. Pods that are going make up for no others (write rule W5).
fn surplus(s: &Situation<'_>) -> i32 {
    let replicas = s.spec.desired_replicas();
    let available: i32 = s.all().map(ReplicaSetView::lasting).sum();
    available - (replicas - s.canary.max_unavailable_count(replicas))
}

/// Old revisions: unhealthy pods first, then as many as availability permits, the newest revision first (compat 2.5).
fn scale_others(s: &Situation<'_>, pause: &PauseDecision, draft: &mut Draft) -> bool {
    let running: Vec<&ReplicaSetView> = s.others.iter().filter(|rs| rs.replicas > 0).copied().collect();
    if running.is_empty() {
        return false;
    }
    let mut may_go = surplus(s);
    let mut by_revision = running;
    by_revision.sort_by_key(|rs| std::cmp::Reverse(rs.revision()));
    // A Service that names no revision leads to old pods as well: they are traffic, as without a router.
    let are_served = !s.has_router() || leads_to_all(s);
    let mut delayed = 0;
    let mut scaled = false;
    for rs in by_revision {
        // Pods that are not ready serve nobody: they go whatever the budget says. Those that are ready and not yet available
        // stay with the available ones, for the ReplicaSet's controller does not tell one from the other when it picks.
        let healthy = rs.replicas.min(rs.available.max(rs.ready).max(0));
        let least = if are_served {
            healthy - healthy.min(may_go.max(0))
        } else {
            0
        };
        // Whoever wants no pods wants no old ones either: then no Service and no weight keeps them.
        let wanted = if s.has_router() && s.spec.desired_replicas() > 0 && is_referenced(s, rs) {
            continue;
        } else if !s.has_router() {
            least
        } else if may_go <= 0 {
            healthy
        } else if (s.is_fully_promoted() || Situation::deadline_of(rs).is_some()) && !s.canary.is_dynamic_stable_scale()
        {
            delayed_size(s, rs, &mut delayed, draft).max(least)
        } else {
            least
        };
        if scale_other(s, rs, wanted, pause, draft) {
            may_go -= healthy - wanted.min(healthy);
            scaled = true;
        }
    }
    scaled
}

fn scale_other(s: &Situation<'_>, rs: &ReplicaSetView, wanted: i32, pause: &PauseDecision, draft: &mut Draft) -> bool {
    wanted != rs.replicas && scale(s, rs, wanted, false, pause, draft)
}

/// The previous version after a promotion: kept until its deadline (compat 2.5, "scaleDownDelay helper").
fn delayed_size(s: &Situation<'_>, rs: &ReplicaSetView, delayed: &mut i32, draft: &mut Draft) -> i32 {
    let deadline = Situation::deadline_of(rs);
    if deadline.is_some_and(|at| s.now >= at) {
        // It goes now, and takes no other's place.
        return 0;
    }
    let limit = s.canary.scale_down_delay_limit();
    *delayed += 1;
    if *delayed > limit || mutant::is(Mutant::ScaleDownDelayIgnored) {
        return 0;
    }
    match deadline {
        Some(at) => {
            draft.wake(at);
            rs.replicas
        }
        None if s.canary.scale_down_delay() == 0 => 0,
        None => {
            stamp(s, rs, s.canary.scale_down_delay(), draft);
            rs.replicas
        }
    }
}

/// One of our Services selects pods of every revision: it was not given one yet, or somebody took it away.
fn leads_to_all(s: &Situation<'_>) -> bool {
    s.services().any(|service| service.hash().is_empty())
}

/// A Service or a weight still leads to it (write rule W7).
pub(crate) fn is_referenced(s: &Situation<'_>, rs: &ReplicaSetView) -> bool {
    let selected = s.services().any(|service| service.hash() == rs.hash());
    let weights = s.before.canary.weights.as_ref();
    let weighted = weights.is_some_and(|w| {
        [&w.canary, &w.stable]
            .into_iter()
            .any(|d| d.weight > 0 && d.pod_template_hash == rs.hash())
    });
    selected || weighted
}
