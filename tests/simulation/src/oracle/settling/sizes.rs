//! S2: a completed or aborted Rollout has exactly the pods that it should, once the delays are over; all weight is where it
//! should be. The same of a Rollout that rests at a pause.

use serde_json::Value;

use super::End;
use crate::oracle::{
    counts::{desired_canary, desired_stable, set_weight},
    facts::{hash_of, number, ratio, scale_down_deadline, selected, shares, text, wanted},
    picture::Kind,
    report::{Report, Rule},
};

/// S2. Not judged: an invalid spec (compat 1.2), `spec.paused` and an inconclusive analysis, which freeze pods (2.2 "halt").
pub(crate) fn check(end: &End<'_, '_>, report: &mut Report) {
    let rollout = end.rollout;
    let is_frozen = rollout.is_paused() || rollout.paused_since("InconclusiveAnalysisRun").is_some();
    if rollout.is_invalid() || !rollout.is_observed() || is_frozen || rollout.stable().is_empty() {
        return;
    }
    let mut say = |message: String| end.say(report, Rule::S2, message);
    if rollout.is_promoted() {
        completed(end, &mut say);
    } else if rollout.is_aborted() {
        aborted(end, &mut say);
    } else if rollout.phase() == "Paused" {
        at_a_pause(end, &mut say);
    }
    if rollout.phase() == "Healthy" {
        history(end, &mut say);
    }
}

fn completed(end: &End<'_, '_>, say: &mut impl FnMut(String)) {
    let rollout = end.rollout;
    let (want, have) = end.size(rollout.current());
    if want != rollout.replicas() && end.revision(rollout.current()).is_some() && !is_crowded(end) {
        say(format!("completed, and wants {want} of {} pods", rollout.replicas()));
    }
    // Compat 2.15: the weight stays where it is until all of stable can take it.
    if have < rollout.replicas() {
        return;
    }
    weight(end, 0, say);
    gone(end, say);
    services(end, rollout.current(), rollout.current(), say);
}

/// Without a router: older pods fill the surge, and none of them may go because too few pods are available (compat 2.5).
fn is_crowded(end: &End<'_, '_>) -> bool {
    let rollout = end.rollout;
    let of_all = |count: &dyn Fn(&Value) -> i64| end.replica_sets.iter().map(|o| count(o)).sum::<i64>();
    let available = of_all(&|o| number(o, "/status/availableReplicas").unwrap_or(0));
    !rollout.has_router()
        && of_all(&|o| wanted(o)) >= rollout.replicas() + rollout.surge()
        && available <= rollout.replicas() - rollout.unavailable()
}

/// Compat 2.6.
fn aborted(end: &End<'_, '_>, say: &mut impl FnMut(String)) {
    let rollout = end.rollout;
    let (want, have) = end.size(rollout.stable());
    if end.revision(rollout.stable()).is_none() {
        return;
    }
    let is_back = have >= rollout.replicas();
    if is_back || (have > 0 && !rollout.is_dynamic()) {
        weight(end, 0, say);
    }
    if want != rollout.replicas() && (is_back || rollout.has_router()) {
        say(format!(
            "aborted, and stable wants {want} of {} pods",
            rollout.replicas()
        ));
    }
    if !is_back {
        return;
    }
    gone(end, say);
    services(end, rollout.stable(), rollout.stable(), say);
    let Some(canary) = end.revision(rollout.current()) else {
        return;
    };
    let is_kept = rollout.has_router()
        && ((rollout.abort_delay() == 0 && rollout.has_abort_delay())
            || scale_down_deadline(canary).is_some_and(|at| !end.is_past(at)));
    if wanted(canary) > 0 && !is_kept && rollout.replicas() > 0 {
        say(format!("aborted, and the canary still wants {} pods", wanted(canary)));
    }
}

fn at_a_pause(end: &End<'_, '_>, say: &mut impl FnMut(String)) {
    let rollout = end.rollout;
    let set = set_weight(rollout, rollout.index());
    let (canary, available) = end.size(rollout.current());
    let (stable, _) = end.size(rollout.stable());
    let desired = desired_canary(rollout);
    if end.revision(rollout.current()).is_none() || end.revision(rollout.stable()).is_none() {
        return;
    }
    // Pods that fail while it is paused may change what is possible (compat 2.5, 2.15).
    let all_there = end
        .replica_sets
        .iter()
        .all(|o| number(o, "/status/availableReplicas").unwrap_or(0) == wanted(o));
    if !all_there {
        return;
    }
    if canary != desired {
        say(format!(
            "paused at step {:?}, and the canary wants {canary} pods, not {desired}",
            rollout.index()
        ));
    }
    let want = desired_stable(rollout, set);
    if stable != want {
        say(format!(
            "paused at step {:?}, and stable wants {stable} pods, not {want}",
            rollout.index()
        ));
    }
    if available > 0 || set == 0 {
        weight(end, set, say);
    }
    gone(end, say);
    services(end, rollout.current(), rollout.stable(), say);
}

/// All routes give the canary's Service this weight.
fn weight(end: &End<'_, '_>, weight: i64, say: &mut impl FnMut(String)) {
    let rollout = end.rollout;
    if rollout.replicas() == 0 {
        return;
    }
    for (namespace, name) in rollout.routes() {
        let Some(route) = end.picture.latest(Kind::Route, namespace, name) else {
            continue;
        };
        let (share, _) = shares(route, rollout.canary_service(), rollout.stable_service());
        if (share - ratio(weight, rollout.whole())).abs() > 1e-6 {
            say(format!(
                "HTTPRoute {name} gives the canary {share:.2}, not {weight} of {}",
                rollout.whole()
            ));
        }
    }
}

/// Neither stable nor current: no pods, unless kept until a deadline, or still selected by a managed Service because the present
/// revision has no pod yet (compat 2.5, 2.14).
fn gone(end: &End<'_, '_>, say: &mut impl FnMut(String)) {
    let rollout = end.rollout;
    for other in end.others() {
        let is_kept = scale_down_deadline(other).is_some_and(|at| !end.is_past(at));
        if wanted(other) > 0 && !is_kept && !(rollout.has_router() && is_selected(end, other)) {
            let name = text(other, "/metadata/name");
            say(format!(
                "{name} ({}) still wants {} pods",
                hash_of(other),
                wanted(other)
            ));
        }
    }
}

/// Whether a Service of the Rollout leads to this ReplicaSet (write rule W7). One does as long as no newer pod is available.
fn is_selected(end: &End<'_, '_>, replica_set: &Value) -> bool {
    let services = [end.rollout.canary_service(), end.rollout.stable_service()];
    services
        .iter()
        .filter_map(|s| end.picture.latest(Kind::Service, end.rollout.namespace(), s))
        .any(|s| selected(s) == hash_of(replica_set))
}

/// Which revision each Service selects (compat 2.14).
fn services(end: &End<'_, '_>, canary: &str, stable: &str, say: &mut impl FnMut(String)) {
    let rollout = end.rollout;
    if rollout.replicas() == 0 {
        return;
    }
    for (name, hash) in [(rollout.canary_service(), canary), (rollout.stable_service(), stable)] {
        let Some(service) = end.picture.latest(Kind::Service, rollout.namespace(), name) else {
            continue;
        };
        if selected(service) != hash && end.size(hash).1 > 0 {
            say(format!("Service {name} selects {:?}, not {hash}", selected(service)));
        }
    }
}

/// Compat 2.17: no more old ReplicaSets than the history's limit.
fn history(end: &End<'_, '_>, say: &mut impl FnMut(String)) {
    let old = end
        .others()
        .filter(|o| wanted(o) == 0 && number(o, "/status/replicas").unwrap_or(0) == 0)
        .filter(|o| !is_selected(end, o))
        .count();
    // Without pods no weight is written anew, and the one that still leads to an old revision keeps it.
    let limit = end.rollout.history_limit() + i64::from(end.rollout.replicas() == 0);
    if i64::try_from(old).is_ok_and(|n| n > limit) {
        say(format!("{old} old ReplicaSets are kept, {limit} should be"));
    }
}
