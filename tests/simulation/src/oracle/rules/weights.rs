//! Traffic: W1, W3, and that a route belongs to its owner.

use serde_json::Value;

use super::{Memory, say};
use crate::oracle::{
    counts::{allowed_weight, desired_canary, weight_before},
    facts::{Rollout, ratio, selected, shares, text},
    picture::Kind,
    report::{Report, Rule},
    scene::Scene,
};

/// Shares that differ by less are the same.
const GRAIN: f64 = 1e-6;

/// A controller wrote an HTTPRoute.
pub(crate) fn route(scene: &Scene<'_, '_>, memory: &Memory<'_>, report: &mut Report) {
    let change = scene.change;
    let key = format!("HTTPRoute {}/{}", change.namespace, change.name);
    let (Some(old), Some(new)) = (scene.old(), scene.new_object()) else {
        let message = format!("{} created or deleted it", change.user);
        return report.add(Rule::RouteKept, change.at, &key, message);
    };
    let names: Vec<_> = scene.picture.rollouts().collect();
    let mut ours: Vec<&str> = Vec::new();
    for (namespace, name) in names {
        let mut views = scene.rollouts(namespace, name);
        views.retain(|r| r.routes().contains(&(change.namespace.as_str(), change.name.as_str())));
        let Some(latest) = views.first().copied() else { continue };
        for view in &views {
            ours.extend([view.canary_service(), view.stable_service()]);
        }
        let share = |route| shares(route, latest.canary_service(), latest.stable_service()).0;
        let (before, after) = (share(old), share(new));
        rises(scene, memory, report, &views, before, after);
        falls_on_abort(scene, memory, report, &views, before, after);
    }
    only_weights(scene, report, &key, &ours);
}

/// W1: no write raises the canary's weight above what the step allows, or above 0 without a ready canary endpoint.
/// Capacity comes before traffic (design 4.4): the step's pods are available first.
///
/// Excused: until then the canary has the weight of the last `setWeight` before the step, however few of its pods are left
/// (compat 2.15.6); a full promotion (2.8).
fn rises(
    scene: &Scene<'_, '_>,
    memory: &Memory<'_>,
    report: &mut Report,
    views: &[Rollout<'_>],
    before: f64,
    after: f64,
) {
    let Some(latest) = views.first().copied() else { return };
    if after <= before + GRAIN {
        return;
    }
    let share = |weight: i64, rollout: Rollout<'_>| ratio(weight, rollout.whole());
    let allows = |r: &Rollout<'_>| !memory.is_pending(*r) && after <= share(allowed_weight(*r), *r) + GRAIN;
    if !views.iter().any(allows) {
        let message = format!(
            "raised the canary's share from {before:.2} to {after:.2}; allowed is {:.2} (step {:?}, stable {:?}, current {:?})",
            share(allowed_weight(latest), latest),
            latest.index(),
            latest.stable(),
            latest.current()
        );
        return say(scene, report, Rule::W1, latest, message);
    }
    let (namespace, name) = (latest.namespace(), latest.name());
    let canary = |r: &Rollout<'_>| scene.replica_set_of(namespace, name, r.current());
    let serves = |r: &Rollout<'_>| canary(r).is_some_and(|rs| scene.has_endpoint(namespace, r.canary_service(), rs));
    if !views.iter().any(serves) {
        let message = format!(
            "raised the canary's share from {before:.2} to {after:.2} without a ready endpoint of {} behind {}",
            latest.current(),
            latest.canary_service()
        );
        return say(scene, report, Rule::W1, latest, message);
    }
    let is_large_enough = |r: &Rollout<'_>| {
        let available = canary(r).map_or(0, |rs| scene.available(namespace, rs));
        let earlier = r.index().map_or(0, |i| weight_before(*r, i));
        r.is_full() || r.is_enough(available, desired_canary(*r)) || after <= share(earlier, *r) + GRAIN
    };
    if !views.iter().any(is_large_enough) {
        let message = format!(
            "raised the canary's share from {before:.2} to {after:.2} with {} of {} pods available",
            canary(&latest).map_or(0, |rs| scene.available(namespace, rs)),
            desired_canary(latest)
        );
        say(scene, report, Rule::W1, latest, message);
    }
}

/// W3: while `status.abort` stands the weight never rises; the next weight written is 0, or falls with stable's availability
/// under dynamicStableScale (compat 2.15). A new revision ends the abort (2.6).
fn falls_on_abort(
    scene: &Scene<'_, '_>,
    memory: &Memory<'_>,
    report: &mut Report,
    views: &[Rollout<'_>],
    before: f64,
    after: f64,
) {
    let Some(latest) = views.first().copied() else { return };
    let stands = |r: &Rollout<'_>| r.is_aborted() && !r.is_promoted() && !memory.is_pending(*r);
    if !views.iter().all(stands) {
        return;
    }
    let is_wrong = after > before + GRAIN || (after > GRAIN && !latest.is_dynamic());
    if is_wrong {
        let message = format!("wrote the canary's share {after:.2} after {before:.2} while the abort stands");
        say(scene, report, Rule::W3, latest, message);
    }
}

/// Of an HTTPRoute only the weights of the two Services are changed (design 4.2): rules and labels are the owner's.
fn only_weights(scene: &Scene<'_, '_>, report: &mut Report, key: &str, ours: &[&str]) {
    let (Some(old), Some(new)) = (scene.old(), scene.new_object()) else {
        return;
    };
    let rest = |route: &Value| {
        let mut spec = route.get("spec").cloned().unwrap_or_default();
        for rule in spec
            .get_mut("rules")
            .and_then(Value::as_array_mut)
            .into_iter()
            .flatten()
        {
            let refs = rule.get_mut("backendRefs").and_then(Value::as_array_mut);
            for backend in refs.into_iter().flatten() {
                if ours.contains(&text(backend, "/name"))
                    && let Some(fields) = backend.as_object_mut()
                {
                    fields.remove("weight");
                }
            }
        }
        let metadata = |field: &str| route.pointer(&format!("/metadata/{field}")).cloned();
        (spec, metadata("labels"), metadata("annotations"))
    };
    if rest(old) != rest(new) {
        let message = format!("{} changed more of it than the two weights", scene.change.user);
        report.add(Rule::RouteKept, scene.change.at, key, message);
    }
}

/// Compat 2.15, last paragraph: the weight stays where it is while too few stable pods are available to take it; the canary's
/// Service follows the revision all the same (2.14).
fn must_stay(scene: &Scene<'_, '_>, rollout: Rollout<'_>) -> bool {
    let (namespace, name) = (rollout.namespace(), rollout.name());
    let stable = scene.replica_set_of(namespace, name, rollout.stable());
    let available = stable.map_or(0, |rs| scene.least_available(namespace, rs));
    let rest = rollout.whole() - allowed_weight(rollout);
    available < (rest * rollout.replicas()).div_euclid(rollout.whole())
}

/// A controller wrote a Service: what it selects decides which revision gets the share of the route.
///
/// W1 again: a Service with weight is not given to a revision beyond what the step allows. W2 again: nor to one without a pod
/// (compat 2.14).
pub(crate) fn service(scene: &Scene<'_, '_>, report: &mut Report) {
    let change = scene.change;
    let (Some(old), Some(new)) = (scene.old(), scene.new_object()) else {
        return;
    };
    let hash = selected(new);
    if hash == selected(old) || hash.is_empty() {
        return;
    }
    let names: Vec<_> = scene
        .picture
        .rollouts()
        .filter(|(n, _)| *n == change.namespace)
        .collect();
    for (namespace, name) in names {
        let mut views = scene.rollouts(namespace, name);
        views.retain(|r| r.has_router() && (r.canary_service() == change.name || r.stable_service() == change.name));
        let Some(latest) = views.first().copied() else { continue };
        let least = scene.least_shares(latest);
        let share = if latest.stable_service() == change.name {
            least.1
        } else {
            least.0
        };
        if share <= GRAIN {
            continue;
        }
        let allows = |r: &Rollout<'_>| {
            // Before the first revision is stable there is nobody else to serve (compat 2.3).
            r.stable().is_empty()
                // It selected all revisions, this one among them (compat 2.14, an unmanaged Service).
                || (r.canary_service() == change.name && selected(old).is_empty())
                || r.stable() == hash
                || share <= ratio(allowed_weight(*r), r.whole()) + GRAIN
                || (r.canary_service() == change.name && must_stay(scene, *r))
        };
        if !views.iter().any(allows) {
            let message = format!("gave {} with a share of {share:.2} to revision {hash}", change.name);
            say(scene, report, Rule::W1, latest, message);
        }
        let replica_set = scene.replica_set_of(namespace, name, hash);
        let available = replica_set.map_or(0, |rs| scene.available(namespace, rs));
        // On the first deploy, and when the Service selected nothing that exists, nobody loses a pod.
        let had = scene
            .replica_set_of(namespace, name, selected(old))
            .and_then(|rs| scene.picture.latest(Kind::ReplicaSet, namespace, rs))
            .is_some_and(|rs| crate::oracle::facts::available(rs) > 0);
        if available == 0 && had && views.iter().all(|r| r.replicas() > 0) {
            let message = format!(
                "gave {} with a share of {share:.2} to revision {hash}, which has no available pod",
                change.name
            );
            say(scene, report, Rule::W2, latest, message);
        }
    }
}
