//! How many pods a step asks for, and whether they are there (compat 2.4, 2.5). Arithmetic only.

use serin_api::{
    rollout::{CanaryStep, SetCanaryScale},
    steps::StepKind,
};

use crate::facts::Facts;

/// `setWeight` of the nearest step at or before the index; 0 without one (compat 2.5). Past the last step it is the whole.
pub(crate) fn weight_at(facts: &Facts<'_>, index: usize) -> i32 {
    if index >= facts.steps().len() {
        return facts.max_weight();
    }
    nearest(facts, index, weight_of).unwrap_or(0)
}

/// `setWeight` of the nearest step strictly before the index; 0 without one (compat 2.15, 6).
pub(crate) fn weight_before(facts: &Facts<'_>, index: usize) -> i32 {
    match index.min(facts.steps().len()).checked_sub(1) {
        Some(last) => nearest(facts, last, weight_of).unwrap_or(0),
        None => 0,
    }
}

fn nearest<'a, T>(facts: &Facts<'a>, index: usize, of: impl Fn(&'a CanaryStep) -> Option<T>) -> Option<T> {
    facts.steps().iter().take(index + 1).rev().find_map(of)
}

fn weight_of(step: &CanaryStep) -> Option<i32> {
    // A step that also sets the scale counts as that (compat 1.1.3), but its weight is not lost.
    match step.kind() {
        StepKind::SetWeight(weight) => Some(weight),
        _ => step.set_weight,
    }
}

/// The `setCanaryScale` in effect at a step that gives a size of its own; past the last step there is none (compat 2.5).
pub(crate) fn scale_at<'a>(facts: &Facts<'a>, index: usize) -> Option<&'a SetCanaryScale> {
    if !facts.has_router() || index >= facts.steps().len() {
        return None;
    }
    nearest(facts, index, |step| step.set_canary_scale.as_ref())
        .filter(|scale| scale.replicas.is_some() || scale.weight.is_some())
        .filter(|scale| !scale.match_traffic_weight)
}

/// `weight` out of the whole, as pods, rounded up.
pub(crate) fn pods_for(facts: &Facts<'_>, weight: i32) -> i32 {
    ceil(
        i64::from(weight) * i64::from(facts.desired()),
        i64::from(facts.max_weight()),
    )
}

fn ceil(part: i64, whole: i64) -> i32 {
    i32::try_from((part + whole - 1).div_euclid(whole)).unwrap_or(i32::MAX)
}

/// Pods of (canary, stable) that the step asks for (compat 2.5).
pub(crate) fn desired_at(facts: &Facts<'_>, index: usize) -> (i32, i32) {
    let replicas = facts.desired();
    let Some(strategy) = facts.canary.filter(|_| replicas > 0) else {
        return (0, 0);
    };
    let weight = weight_at(facts, index);
    if !facts.has_router() {
        return best_approximation(facts, weight);
    }
    let canary = match scale_at(facts, index) {
        Some(scale) => match (scale.replicas, scale.weight) {
            (Some(count), _) => count.max(0),
            (None, Some(weight)) => strategy.at_least_min_pods(pods_for(facts, weight), replicas),
            (None, None) => 0,
        },
        None => strategy.at_least_min_pods(pods_for(facts, weight), replicas),
    };
    (canary, replicas)
}

/// Without a router the split of pods is the split of traffic: the pair that comes nearest (compat 2.5).
fn best_approximation(facts: &Facts<'_>, weight: i32) -> (i32, i32) {
    let replicas = i64::from(facts.desired());
    let whole = i64::from(facts.max_weight());
    let weight = i64::from(weight);
    let surge = facts.canary.map_or(0, |c| c.max_surge_count(facts.desired())).max(0);
    let may_be_none = weight == 0 || weight == whole || (replicas == 1 && surge == 0);
    let up = (weight * replicas + whole - 1).div_euclid(whole);
    let down = (weight * replicas).div_euclid(whole);
    let mut options = Vec::new();
    if up < replicas || may_be_none {
        options.push((up, replicas));
    }
    if down != 0 || may_be_none {
        options.push((down, replicas));
    }
    if surge > 0 {
        options.push((up, replicas + 1));
    }
    // The distance of `canary / total` from the weight, over a common denominator; the first of equals.
    let distance = |(canary, total): &(i64, i64)| {
        let common: i64 = replicas * (replicas + 1);
        (canary * whole * (common / total) - weight * common).abs()
    };
    // For a weight half-way between all pods and all but one it is all but one, unless there is a surge.
    let (canary, total) = options.iter().copied().min_by_key(distance).unwrap_or((down, replicas));
    let small = |n: i64| i32::try_from(n).unwrap_or(i32::MAX);
    (small(canary), small(total - canary))
}

/// Whether enough of `desired` pods are available: all, or what replicaProgressThreshold asks for (compat 2.4).
pub(crate) fn is_enough(facts: &Facts<'_>, available: i32, desired: i32) -> bool {
    if available >= desired {
        return true;
    }
    let threshold = facts.canary.and_then(|c| c.replica_progress_threshold.as_ref());
    match threshold {
        // A negative value is ignored (compat H11).
        Some(t) if t.value >= 0 && t.kind == "Percent" => {
            desired <= 0 || i64::from(available) * 100 >= i64::from(t.value) * i64::from(desired)
        }
        Some(t) if t.value >= 0 && t.kind == "Pods" => available >= t.value,
        _ => false,
    }
}

/// `AtDesiredReplicaCounts` of compat 2.4; `Err` says what is missing.
pub(crate) fn at_desired(facts: &Facts<'_>, index: usize) -> Result<(), String> {
    let (canary, stable) = desired_at(facts, index);
    let available = facts.new_replicas().map_or(0, |rs| rs.available);
    if !is_enough(facts, available, canary) {
        return Err(format!("{available} of {canary} canary pods are available"));
    }
    if facts.has_router() {
        return Ok(());
    }
    // The split of pods is the split of traffic: too many are as wrong as too few.
    if let Some(rs) = facts.new_replicas().filter(|rs| rs.wanted > canary) {
        return Err(format!(
            "the canary ReplicaSet wants {} pods instead of {canary}",
            rs.wanted
        ));
    }
    if let Some(rs) = facts.stable_replicas().filter(|rs| rs.wanted != stable) {
        return Err(format!(
            "the stable ReplicaSet wants {} pods instead of {stable}",
            rs.wanted
        ));
    }
    let others = facts.replica_sets.values();
    let left: i32 = others
        .filter(|rs| rs.hash != facts.newest && rs.hash != facts.status.stable_rs)
        .map(|rs| rs.available)
        .sum();
    if left > 0 {
        return Err(format!("{left} pods of older revisions are still there"));
    }
    Ok(())
}
