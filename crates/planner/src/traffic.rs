//! How much traffic the canary gets (compat 2.15), and when a weight may be written (design contract 4).

use serin_api::status::{TrafficWeights, WeightDestination};
use serin_model::{
    Event, ReplicaSetView, RouteView, Weights, Write,
    mutant::{self, Mutant},
};

use crate::{draft::Draft, pause::PauseDecision, replicas::share_of, services, situation::Situation};

/// What came of the routers in this pass.
#[derive(Debug, Default)]
pub(crate) struct Traffic {
    /// `status.canary.weights` after the pass.
    pub(crate) weights: Option<TrafficWeights>,
    /// A route cannot be used: why, for people.
    pub(crate) problem: Option<String>,
}

/// Decides the weights, writes the routes that differ, and says so.
pub(crate) fn reconcile(s: &Situation<'_>, pause: &PauseDecision, draft: &mut Draft) -> Traffic {
    let before = s.before.canary.weights.clone();
    if !s.has_router() {
        return Traffic::default();
    }
    if let Some(problem) = s.route_problem() {
        draft.warn(Event::warning("TrafficRoutingError", problem));
        return Traffic {
            weights: before,
            problem: Some(problem.to_owned()),
        };
    }
    let (weight, canary_hash) = desired(s, pause);
    if hold(s, pause, weight).is_some() {
        return Traffic {
            weights: before,
            problem: None,
        };
    }
    let max = s.canary.max_weight();
    let service = |name: &Option<String>| name.clone().unwrap_or_default();
    let after = TrafficWeights {
        canary: WeightDestination {
            weight,
            service_name: service(&s.canary.canary_service),
            pod_template_hash: canary_hash,
        },
        stable: WeightDestination {
            weight: max - weight,
            service_name: service(&s.canary.stable_service),
            pod_template_hash: s.before.stable_rs.clone(),
        },
        additional: None,
        verified: None,
    };
    for (route, view) in &s.world.routes {
        let Ok(RouteView {
            resource_version,
            weights,
        }) = view
        else {
            continue;
        };
        if weights.iter().all(|pair| *pair == (weight, max - weight)) {
            continue;
        }
        let write = Write::SetRouteWeights {
            route: route.clone(),
            resource_version: resource_version.clone(),
            weights: Weights {
                canary_service: after.canary.service_name.clone(),
                stable_service: after.stable.service_name.clone(),
                canary: weight,
                stable: max - weight,
            },
        };
        draft.write(write, []);
    }
    if before.as_ref() != Some(&after) {
        draft.event(Event::normal(
            "TrafficWeightUpdated",
            change_text(before.as_ref(), weight),
        ));
    }
    Traffic {
        weights: Some(after),
        problem: None,
    }
}

fn change_text(before: Option<&TrafficWeights>, weight: i32) -> String {
    match before.map(|w| w.canary.weight) {
        None => format!("Traffic weight updated to {weight}"),
        Some(old) if old != weight => format!("Traffic weight updated from {old} to {weight}"),
        // Only hashes changed: upstream says no more (recordings README 4).
        Some(_) => "Traffic weight updated ".to_owned(),
    }
}

/// The weight of this pass, and whose it is.
fn desired(s: &Situation<'_>, pause: &PauseDecision) -> (i32, String) {
    let max = s.canary.max_weight();
    let r = s.spec.desired_replicas();
    let recorded = s.before.canary.weights.as_ref();
    let dynamic = s.canary.is_dynamic_stable_scale();
    if s.is_fully_promoted() {
        if let (true, Some(w)) = (dynamic, recorded) {
            let foreign = !w.canary.pod_template_hash.is_empty() && w.canary.pod_template_hash != s.hash;
            if foreign && s.stable.is_some_and(|rs| rs.lasting() < r) {
                return (dynamic_abort_weight(s), w.canary.pod_template_hash.clone());
            }
        }
        return (0, s.hash.clone());
    }
    let weight = if pause.is_aborted(s.before) {
        if dynamic { dynamic_abort_weight(s) } else { 0 }
    } else if s.new.is_none_or(|rs| rs.lasting() == 0) || services::is_behind_weight(s) {
        0
    } else if s.before.promote_full {
        let available = s.new.map_or(0, ReplicaSetView::lasting);
        if dynamic && r == 0 {
            0
        } else if dynamic {
            weight_for(available.min(r), r, max)
        } else {
            recorded.map_or(0, |w| w.canary.weight)
        }
    } else if s.canary.steps().is_empty() {
        0
    } else if let Some((index, _)) = s.step {
        let (earlier, wanted) = (s.set_weight_at(index), s.set_weight_at(index + 1));
        // Less traffic needs no pod more: the weight goes first, then the pods that it needs no longer.
        let lowers = wanted < earlier && s.new.is_some_and(|rs| rs.lasting() >= share_of(r, wanted, max));
        if lowers || s.at_desired_counts(false) {
            wanted
        } else {
            // On the way down nothing is raised to the weight before, whoever took it off.
            earlier.min(given(s).max(wanted))
        }
    } else if s.at_desired_counts(false) {
        max
    } else {
        s.set_weight_at(s.canary.steps().len())
    };
    (weight, s.hash.clone())
}

/// The weight that so many of the pods carry, rounded down; all of it where none are wanted.
fn weight_for(pods: i32, replicas: i32, max: i32) -> i32 {
    if replicas == 0 {
        max
    } else {
        fraction_of(pods, max, replicas)
    }
}

/// `a * b / whole`, also where the product is large: a million as the whole weight and thousands of pods are legal.
fn fraction_of(a: i32, b: i32, whole: i32) -> i32 {
    let fraction = i64::from(a) * i64::from(b) / i64::from(whole);
    i32::try_from(fraction).unwrap_or(i32::MAX)
}

/// Abort with dynamicStableScale: traffic goes back as fast as stable pods come back (compat 2.15, last paragraph).
fn dynamic_abort_weight(s: &Situation<'_>) -> i32 {
    let max = s.canary.max_weight();
    let r = s.spec.desired_replicas();
    let Some(stable) = s.stable else { return 0 };
    let missing = (r - stable.lasting()).max(0);
    let explicit = s.canary.abort_scale_down_delay_seconds.is_some();
    let held = if explicit {
        missing
    } else {
        missing.max(s.new.map_or(0, ReplicaSetView::lasting))
    };
    let candidate = s
        .canary
        .steps()
        .iter()
        .rev()
        .filter_map(|step| step.set_weight)
        .find(|w| share_of(r, *w, max) < held)
        // Pods that minPodsPerReplicaSet keeps at that weight would keep the weight for ever.
        .filter(|w| missing > 0 || held > s.canary.at_least_min_pods(share_of(r, *w, max), r))
        .unwrap_or(0);
    let share = weight_for(stable.lasting(), r, max);
    let rest = (max - share).max(0);
    // What somebody else took off is not given back.
    let left = observed(s).max().unwrap_or(max);
    let Some(current) = s.before.canary.weights.as_ref().map(|w| w.canary.weight.min(left)) else {
        return rest.max(candidate);
    };
    if candidate <= 0 {
        rest.min(current)
    } else if share < max - candidate {
        current
    } else {
        candidate.min(current)
    }
}

/// What a weight waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Hold {
    /// Pods of stable that are to take its part.
    StablePods { has: i32, needs: i32 },
    /// Pods of stable behind the stable Service.
    StableEndpoints,
    /// Pods of the newest revision behind the canary Service.
    CanaryEndpoints,
    /// Stable itself: it is gone, and no weight was ever written.
    Stable,
}

/// The weight that this pass wants, and what it has to wait for.
pub(crate) fn waiting(s: &Situation<'_>, pause: &PauseDecision) -> (i32, Option<Hold>) {
    let (weight, _) = desired(s, pause);
    (weight, hold(s, pause, weight))
}

/// Why the weight has to wait, if it has: for stable pods that are to take traffic, or for the canary to stand behind its
/// Service. Where upstream only counts available pods, Serin looks at the endpoints that a gateway sees (design contract 4).
fn hold(s: &Situation<'_>, pause: &PauseDecision, weight: i32) -> Option<Hold> {
    let max = s.canary.max_weight();
    let r = s.spec.desired_replicas();
    let before = s.before.canary.weights.as_ref();
    // What routes have counts as well as what was recorded: a crash may have come between the two.
    let recorded = before.map_or(0, |w| w.canary.weight);
    let raises = weight > recorded || observed(s).any(|given| weight > given);
    let lowers = weight < recorded || observed(s).any(|given| weight < given);
    if let Some(stable) = s.stable {
        let needed = fraction_of(max - weight, r, max.max(1));
        // However small the part that stable gets back, somebody has to be there for it.
        let needed = needed.max(i32::from(lowers && weight < max && r > 0));
        // Going back from a bad canary never waits for the last stable pod: one that serves is enough (write rule W3).
        let going_back = pause.is_aborted(s.before) && lowers;
        let needed = if going_back { needed.min(1) } else { needed };
        let enough = stable.lasting() >= needed || (!going_back && s.meets_stable_threshold(needed));
        if !enough {
            let has = stable.lasting();
            return Some(Hold::StablePods { has, needs: needed });
        }
        if weight < max && !stands_behind(s, s.canary.stable_service.as_deref(), stable, needed.min(1)) {
            return Some(Hold::StableEndpoints);
        }
    } else if before.is_none() {
        return Some(Hold::Stable);
    }
    if !raises || mutant::is(Mutant::WeightBeforeEndpoints) {
        return None;
    }
    let new = s.new?;
    (!stands_behind(s, s.canary.canary_service.as_deref(), new, 1)).then_some(Hold::CanaryEndpoints)
}

/// The Service selects that version, and at least so many of its pods are ready endpoints of it.
fn stands_behind(s: &Situation<'_>, service: Option<&str>, rs: &ReplicaSetView, least: i32) -> bool {
    let Some(service) = service else { return true };
    if s.world
        .services
        .get(service)
        .is_none_or(|known| known.hash() != rs.hash())
    {
        return false;
    }
    match &s.world.endpoints {
        None => rs.lasting() >= least,
        Some(endpoints) => {
            let ready = endpoints.get(service).map_or(0, |e| e.ready_of(&rs.name));
            i64::try_from(ready).is_ok_and(|ready| ready >= i64::from(least))
        }
    }
}

/// The canary's weights in all routes.
fn observed<'a>(s: &'a Situation<'a>) -> impl Iterator<Item = i32> + 'a {
    let routes = s.world.routes.values().flatten();
    routes.flat_map(|view| view.weights.iter().map(|(canary, _)| *canary))
}

/// The least of them.
pub(crate) fn least_given(s: &Situation<'_>) -> i32 {
    observed(s).min().unwrap_or(0)
}

/// The greatest of them.
pub(crate) fn given(s: &Situation<'_>) -> i32 {
    observed(s).max().unwrap_or(0)
}

/// Whether every route gives the canary this weight once the writes of this pass are done.
pub(crate) fn is_written(s: &Situation<'_>, weight: i32, draft: &Draft) -> bool {
    s.world
        .routes
        .iter()
        .all(|(route, view)| match (view, draft.weight_of(route)) {
            (Err(_), _) => false,
            (Ok(_), Some(drafted)) => drafted == weight,
            (Ok(view), None) => view.weights.iter().all(|(canary, _)| *canary == weight),
        })
}

/// Pods that a revision needs for its part of the traffic once the weights of this pass are written: before that part is off,
/// they stay (design contract 4). Either Service may lead to it, the stable one also to a version that somebody went back to.
pub(crate) fn pods_in_use(s: &Situation<'_>, draft: &Draft, hash: &str) -> i32 {
    let max = s.canary.max_weight();
    let leads = |name: &Option<String>| s.service(name.as_deref()).is_some_and(|service| service.hash() == hash);
    let (by_canary, by_stable) = (leads(&s.canary.canary_service), leads(&s.canary.stable_service));
    let part = |canary: i32, stable: i32| {
        let part = if by_canary { canary } else { 0 } + if by_stable { stable } else { 0 };
        part.clamp(0, max)
    };
    let routes = s
        .world
        .routes
        .iter()
        .map(|(route, view)| match (draft.weight_of(route), view) {
            (Some(canary), _) => part(canary, max - canary),
            (None, Ok(view)) => view.weights.iter().map(|&(c, s)| part(c, s)).max().unwrap_or(0),
            // A route that cannot be read may come back as it was.
            (None, Err(_)) => {
                let canary = s.before.canary.weights.as_ref().map_or(0, |w| w.canary.weight);
                part(canary, max - canary)
            }
        });
    share_of(s.spec.desired_replicas(), routes.max().unwrap_or(0), max)
}

impl Situation<'_> {
    /// `replicaProgressThreshold` speaks of stable too when a weight waits for it (compat 2.15).
    fn meets_stable_threshold(&self, needed: i32) -> bool {
        let Some(stable) = self.stable else { return false };
        match &self.canary.replica_progress_threshold {
            Some(t) if t.value >= 0 && t.kind == "Percent" => {
                i64::from(stable.lasting()) * 100 >= i64::from(t.value) * i64::from(needed)
            }
            Some(t) if t.value >= 0 && t.kind == "Pods" => stable.lasting() >= t.value.min(needed),
            _ => false,
        }
    }
}
