//! Selectors of the canary and stable Services (compat 2.14).

use serde_json::json;
use serin_api::{HASH_LABEL, MANAGED_BY_ANNOTATION};
use serin_model::{Event, ReplicaSetView, Write};

use crate::{draft::Draft, pause::PauseDecision, replicas::share_of, situation::Situation, traffic};

/// Points both Services at the ReplicaSet they belong to, as far as its pods permit.
///
/// After an abort with a router the canary Service goes to the stable version and stays there; upstream's next pass puts
/// it back and forth (recordings README 1).
pub(crate) fn reconcile(s: &Situation<'_>, pause: &PauseDecision, draft: &mut Draft) {
    let weights = (traffic::given(s), s.canary.max_weight() - traffic::least_given(s));
    let (canary, stable) = (s.canary.canary_service.as_deref(), s.canary.stable_service.as_deref());
    if !loses_pods(s, (stable, weights.1), (canary, weights.0), s.stable, draft) {
        point(s, stable, s.stable, draft);
    }
    let aborted = pause.is_aborted(s.before) && !s.is_fully_promoted();
    let to_stable = aborted && if s.has_router() { weight_is_off(s) } else { true };
    if to_stable {
        if s.stable.is_some_and(|rs| rs.lasting() > 0) {
            point(s, canary, s.stable, draft);
        }
        return;
    }
    if s.has_router() && aborted {
        return;
    }
    // Back at stable while traffic is still on the canary (dynamicStableScale): the Service waits for the weight.
    if s.is_fully_promoted() && s.canary.is_dynamic_stable_scale() && canary_holds_weight(s) {
        return;
    }
    if !is_behind_weight(s) && !loses_pods(s, (canary, weights.0), (stable, weights.1), s.new, draft) {
        point(s, canary, s.new, draft);
    }
}

/// Behind a router, the Service's part of the traffic would get fewer pods than it needs and than it has now (write rule W2).
/// Upstream switches with the first available pod. The way back of an abort does not ask.
fn loses_pods(
    s: &Situation<'_>,
    (name, weight): (Option<&str>, i32),
    (other, other_weight): (Option<&str>, i32),
    rs: Option<&ReplicaSetView>,
    draft: &Draft,
) -> bool {
    let (Some(service), Some(rs)) = (s.service(name), rs) else {
        return false;
    };
    if !s.has_router() || service.hash() == rs.hash() {
        return false;
    }
    // It may have the other Service's part already, or get it by this plan.
    let has_other = s.service(other).is_some_and(|other| draft.hash_of(other) == rs.hash());
    let weight = weight + if has_other { other_weight } else { 0 };
    let r = s.spec.desired_replicas();
    let least = share_of(r, weight, s.canary.max_weight()) - s.canary.max_unavailable_count(r);
    let selected = s
        .all()
        .filter(|rs| service.hash().is_empty() || rs.hash() == service.hash());
    let has: i32 = selected.map(ReplicaSetView::lasting).sum();
    rs.lasting() < least.min(has)
}

/// A weight that an earlier revision was given would fall to the new one with the Service, whatever its step allows: it is
/// taken off first (write rule W1).
pub(crate) fn is_behind_weight(s: &Situation<'_>) -> bool {
    let service = s.service(s.canary.canary_service.as_deref());
    let is_new_release = !s.before.stable_rs.is_empty() && s.before.stable_rs != s.hash;
    is_new_release && service.is_some_and(|service| service.hash() != s.hash) && traffic::given(s) > 0
}

/// With dynamicStableScale the canary Service moves only when its weight has come down to nothing (compat 2.6).
fn weight_is_off(s: &Situation<'_>) -> bool {
    !s.canary.is_dynamic_stable_scale() || s.before.canary.weights.as_ref().is_none_or(|w| w.canary.weight == 0)
}

fn canary_holds_weight(s: &Situation<'_>) -> bool {
    let weights = s.before.canary.weights.as_ref();
    weights.is_some_and(|w| {
        w.canary.weight > 0
            && w.canary.pod_template_hash != s.hash
            && s.stable.is_some_and(|rs| rs.lasting() < s.spec.desired_replicas())
    })
}

/// Gives back Services that the Rollout no longer names.
pub(crate) fn release_former(s: &Situation<'_>, draft: &mut Draft) {
    for service in &s.world.former_services {
        let write = Write::PatchService {
            name: service.name.clone(),
            resource_version: service.resource_version.clone(),
            patch: release(),
        };
        draft.write(write, []);
    }
}

/// The merge patch that makes a Service its owner's again: without the revision in its selector and without the name of
/// the Rollout that managed it (compat 2.14). Else a Service that outlives its Rollout selects nothing for ever.
pub fn release() -> serde_json::Value {
    json!({
        "metadata": { "annotations": { MANAGED_BY_ANNOTATION: null } },
        "spec": { "selector": { HASH_LABEL: null } },
    })
}

fn point(s: &Situation<'_>, name: Option<&str>, rs: Option<&ReplicaSetView>, draft: &mut Draft) {
    let (Some(service), Some(rs)) = (s.service(name), rs) else {
        return;
    };
    let unmanaged = service.managed_by().is_none();
    if service.hash() == rs.hash() && !unmanaged {
        return;
    }
    // A Service that serves everybody today is narrowed only to a version that is complete (compat 2.14).
    let ready = if unmanaged {
        rs.replicas > 0 && rs.lasting() >= rs.replicas
    } else {
        rs.lasting() > 0
    };
    if !ready {
        return;
    }
    let mut patch = json!({});
    if service.managed_by() != Some(s.name) {
        patch["metadata"] = json!({ "annotations": { MANAGED_BY_ANNOTATION: s.name } });
    }
    let mut events = Vec::new();
    if service.hash() != rs.hash() {
        patch["spec"] = json!({ "selector": { HASH_LABEL: rs.hash() } });
        let text = format!(
            "Switched selector for service '{}' from '{}' to '{}'",
            service.name,
            service.hash(),
            rs.hash()
        );
        events.push(Event::normal("SwitchService", text));
    }
    let write = Write::PatchService {
        name: service.name.clone(),
        resource_version: service.resource_version.clone(),
        patch,
    };
    draft.write(write, events);
}
