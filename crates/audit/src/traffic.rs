//! W1 and W3: when the canary may get more traffic. Going back is always allowed (design contract 4).

use serin_model::{RouteRef, Weights, Write};

use crate::{
    Findings,
    Rule::{W1, W3},
    counts,
    facts::{Facts, WHOLE, fraction},
};

/// Judges what a write changes in the split of traffic.
pub(crate) fn judge(before: &Facts<'_>, after: &Facts<'_>, write: &Write, findings: &mut Findings) {
    if !before.has_router() {
        return;
    }
    match write {
        Write::SetRouteWeights { route, weights, .. } => weights_written(before, route, weights, findings),
        Write::PatchService { name, .. } => service_switched(before, after, name, findings),
        _ => {}
    }
}

fn weights_written(facts: &Facts<'_>, route: &RouteRef, weights: &Weights, findings: &mut Findings) {
    let name = format!("{} {}/{}", route.kind, route.namespace, route.name);
    let whole = facts.max_weight();
    let Weights { canary, stable, .. } = *weights;
    let services = facts.service_names();
    if services != [weights.canary_service.as_str(), weights.stable_service.as_str()] {
        findings.refuse(
            W1,
            format!(
                "{name} would get weights for the Services {} and {}; the spec names {} and {}",
                weights.canary_service, weights.stable_service, services[0], services[1]
            ),
        );
    }
    if canary < 0 || stable < 0 || i64::from(canary) + i64::from(stable) != i64::from(whole) {
        findings.refuse(
            W1,
            format!("{name} would get the weights {canary} and {stable}; they must add up to {whole}"),
        );
        return;
    }
    let pairs = facts.routes.get(route).map(Vec::as_slice).unwrap_or_default();
    let old = |(c, s): &(i32, i32)| fraction(i64::from(*c), i64::from(*c) + i64::from(*s));
    let new = fraction(i64::from(canary), i64::from(whole));
    let raises = pairs.iter().any(|pair| old(pair) < new);
    if facts.is_aborted() {
        let falls = pairs.iter().any(|pair| new < old(pair));
        // Compat 2.6, 2.15: under dynamicStableScale the weight falls as stable becomes available.
        let is_dynamic_fall = facts.is_dynamic() && falls && !raises;
        if raises || (canary > 0 && !is_dynamic_fall) {
            findings.refuse(
                W3,
                format!(
                    "{name} would get the canary weight {canary} while status.abort stands; write 0{}",
                    if facts.is_dynamic() { " or less than before" } else { "" }
                ),
            );
        }
        return;
    }
    if !raises {
        return;
    }
    match allowed(facts) {
        Ok(most) | Err((most, _)) if canary <= most => {
            if canary > 0 && !has_ready_endpoint(facts) {
                findings.refuse(
                    W1,
                    format!(
                        "{name} would get the canary weight {canary}, but no pod of {:?} is ready behind the Service {}; wait \
                         for one",
                        facts.newest, services[0]
                    ),
                );
            }
        }
        Ok(most) => findings.refuse(
            W1,
            format!(
                "{name} would get the canary weight {canary}, {} allows {most} (compat 2.15); let the step before end first",
                place(facts)
            ),
        ),
        Err((most, why)) => findings.refuse(
            W1,
            format!("{name} would get the canary weight {canary}, {why} allows {most} (compat 2.15); wait for it"),
        ),
    }
}

fn place(facts: &Facts<'_>) -> String {
    match index(facts) {
        Some(i) => match facts.steps().get(i) {
            Some(step) => format!("step {i} ({})", step.describe()),
            None => "the end of the steps".to_owned(),
        },
        None => "a Rollout without steps".to_owned(),
    }
}

/// `currentStepIndex` of the status, within the steps.
pub(crate) fn index(facts: &Facts<'_>) -> Option<usize> {
    let at = facts.status.current_step_index?;
    Some(usize::try_from(at).unwrap_or(0).min(facts.steps().len()))
}

/// The most that the canary may get now (compat 2.15); `Err` adds what keeps it there.
fn allowed(facts: &Facts<'_>) -> Result<i32, (i32, String)> {
    let whole = facts.max_weight();
    if facts.is_initial() {
        // Compat 2.3: nothing is stable yet, the newest revision has everything.
        return Ok(whole);
    }
    if facts.is_promoted() {
        return Err((0, "a fully promoted Rollout".to_owned()));
    }
    let available = facts.new_replicas().map_or(0, |rs| rs.available);
    if available == 0 {
        return Err((0, format!("revision {:?} without an available pod", facts.newest)));
    }
    if facts.status.promote_full {
        // Compat 2.8, 2.15 5: the weight is held, or follows the canary's availability.
        let recorded = facts.status.canary.weights.as_ref().map_or(0, |w| w.canary.weight);
        let dynamic = if facts.is_dynamic() && facts.desired() > 0 {
            let share = i64::from(whole) * i64::from(available) / i64::from(facts.desired());
            i32::try_from(share).unwrap_or(whole).min(whole)
        } else {
            0
        };
        return Err((recorded.max(dynamic), "a full promotion".to_owned()));
    }
    if facts.is_reset_due() {
        // Compat 2.2: the status is reset before anything else is done for another revision or other steps.
        return Err((0, "a status that speaks of another revision or other steps".to_owned()));
    }
    let at = index(facts).unwrap_or_else(|| facts.steps().len());
    match counts::at_desired(facts, at) {
        Ok(()) => Ok(counts::weight_at(facts, at)),
        Err(missing) => Err((counts::weight_before(facts, at), missing)),
    }
}

/// Whether a pod of the newest revision is ready behind the canary Service; without EndpointSlices, available at all
/// (design contract 4).
fn has_ready_endpoint(facts: &Facts<'_>) -> bool {
    let [canary, _] = facts.service_names();
    match &facts.world.endpoints {
        None => facts.new_replicas().is_some_and(|rs| rs.available > 0),
        Some(endpoints) => facts
            .replica_sets
            .iter()
            .any(|(name, rs)| rs.hash == facts.newest && endpoints.get(canary).is_some_and(|e| e.ready_of(name) > 0)),
    }
}

/// A selector decides as much as a weight does: what is not stable must not get more by a switch than by a weight.
fn service_switched(before: &Facts<'_>, after: &Facts<'_>, name: &str, findings: &mut Findings) {
    if before.is_initial() {
        return;
    }
    let stable = before.status.stable_rs.as_str();
    // A selector without a hash takes pods of all revisions: who has been given what cannot be told before the Service is taken
    // over (compat 2.14).
    let old = before.share(|hash| hash != stable);
    let new = after.share(|hash| !hash.is_empty() && hash != stable);
    if new <= old {
        return;
    }
    let percent = |share: i64| share * 100 / WHOLE;
    let to = after.services.get(name).cloned().unwrap_or_default();
    if before.is_aborted() {
        findings.refuse(
            W3,
            format!(
                "Service {name} would be switched to {to:?}, which gives what is not stable {} % of the traffic while \
                 status.abort stands; set the weight to 0 first",
                percent(new)
            ),
        );
        return;
    }
    let most = match allowed(before) {
        Ok(most) | Err((most, _)) => most,
    };
    let has_pods = before.of_hash(&to).is_some_and(|rs| rs.available > 0);
    if new > fraction(i64::from(most), i64::from(before.max_weight())) || !has_pods {
        findings.refuse(
            W1,
            format!(
                "Service {name} would be switched to {to:?}, which gives what is not stable {} % of the traffic, {} allows \
                 {most} of {}; set the weight first, and wait for its pods",
                percent(new),
                place(before),
                before.max_weight()
            ),
        );
    }
}
