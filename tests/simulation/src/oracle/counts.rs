//! How many pods a revision should have, by the arithmetic of compat 2.5, written from its text.

use serde_json::Value;

use super::facts::{Rollout, Step, number};

/// What governs the canary's size.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Size {
    Count(i64),
    Weight(i64),
}

/// The weight that the steps up to `index` ask for: the nearest `setWeight` before or at it, 0 if none, the whole past the end
/// (or without steps).
pub(crate) fn set_weight(rollout: Rollout<'_>, index: Option<usize>) -> i64 {
    let steps = rollout.steps();
    let Some(index) = index else { return rollout.whole() };
    if index >= steps.len() {
        return rollout.whole();
    }
    steps[..=index]
        .iter()
        .rev()
        .find_map(|s| s.get("setWeight").and_then(Value::as_i64))
        .unwrap_or(0)
}

/// The weight of the last `setWeight` before a step; 0 if there is none.
pub(crate) fn weight_before(rollout: Rollout<'_>, index: usize) -> i64 {
    let steps = rollout.steps();
    steps[..index.min(steps.len())]
        .iter()
        .rev()
        .find_map(|s| s.get("setWeight").and_then(Value::as_i64))
        .unwrap_or(0)
}

/// The greatest weight that the status allows (compat 2.15).
pub(crate) fn allowed_weight(rollout: Rollout<'_>) -> i64 {
    if rollout.is_promoted() || rollout.stable().is_empty() || rollout.is_aborted() {
        return 0;
    }
    if rollout.is_full() {
        return rollout.whole();
    }
    set_weight(rollout, rollout.index())
}

fn size(rollout: Rollout<'_>, index: Option<usize>) -> Size {
    if rollout.is_full() || rollout.stable().is_empty() || rollout.is_promoted() {
        return Size::Weight(rollout.whole());
    }
    let scale = if rollout.has_router() && (!rollout.is_aborted() || rollout.abort_delay() == 0) {
        governing_scale(rollout, index)
    } else {
        None
    };
    if let Some(scale) = scale {
        return scale;
    }
    if rollout.is_aborted() {
        return Size::Weight(0);
    }
    Size::Weight(set_weight(rollout, index))
}

fn governing_scale(rollout: Rollout<'_>, index: Option<usize>) -> Option<Size> {
    let steps = rollout.steps();
    let index = index?;
    if index >= steps.len() {
        return None;
    }
    let scale = (0..=index).rev().find_map(|i| match steps[i].get("setCanaryScale") {
        Some(scale) if !scale.is_null() => Some(scale),
        _ => None,
    })?;
    if let Some(replicas) = number(scale, "/replicas") {
        return Some(Size::Count(replicas));
    }
    number(scale, "/weight").map(Size::Weight)
}

/// Whether a `setCanaryScale` stands before or at the present step.
pub(crate) fn is_scaled_by_hand(rollout: Rollout<'_>) -> bool {
    let until = rollout.index().map_or(0, |i| (i + 1).min(rollout.steps().len()));
    (0..until).any(|i| matches!(rollout.step(i), Some(Step::Scale(_))))
}

/// How many pods the canary (the present revision) should have when the present step has its effect.
pub(crate) fn desired_canary(rollout: Rollout<'_>) -> i64 {
    desired_canary_at(rollout, rollout.index())
}

/// The same for any step.
pub(crate) fn desired_canary_at(rollout: Rollout<'_>, index: Option<usize>) -> i64 {
    let (replicas, whole) = (rollout.replicas(), rollout.whole());
    match size(rollout, index) {
        // Compat 2.5: with dynamicStableScale both go through the minimum.
        Size::Count(count) if rollout.has_router() && rollout.is_dynamic() => min_pods(rollout, count),
        Size::Count(count) => count,
        Size::Weight(weight) if rollout.has_router() => min_pods(rollout, ceil(weight * replicas, whole)),
        Size::Weight(weight) => pair(replicas, weight, whole, rollout.surge()).0,
    }
}

/// How many pods the stable revision should have at rest, given the canary's weight (dynamicStableScale).
pub(crate) fn desired_stable(rollout: Rollout<'_>, weight: i64) -> i64 {
    let (replicas, whole) = (rollout.replicas(), rollout.whole());
    if rollout.has_router() {
        if !rollout.is_dynamic() {
            return replicas;
        }
        let by_weight = match size(rollout, rollout.index()) {
            Size::Weight(wanted) => ceil((whole - wanted) * replicas, whole),
            // A size of its own says nothing of the traffic that may follow: stable is whole (compat 2.5).
            Size::Count(_) => replicas,
        };
        return min_pods(rollout, by_weight.max(ceil((whole - weight) * replicas, whole)));
    }
    match size(rollout, rollout.index()) {
        Size::Weight(weight) => pair(replicas, weight, whole, rollout.surge()).1,
        Size::Count(_) => replicas,
    }
}

fn min_pods(rollout: Rollout<'_>, count: i64) -> i64 {
    match rollout.min_pods() {
        Some(least) if count > 0 => count.max(least.min(rollout.replicas())),
        _ => count,
    }
}

fn ceil(part: i64, whole: i64) -> i64 {
    (part + whole - 1).div_euclid(whole)
}

/// (canary, stable) that come nearest to a weight without a router.
///
/// Of 5 pods at 20 it is (1, 4); of 10 at 5 with a surge it is (1, 10), which is nearer than (1, 9).
pub(crate) fn pair(replicas: i64, weight: i64, whole: i64, surge: i64) -> (i64, i64) {
    if replicas == 0 {
        return (0, 0);
    }
    let zero_allowed = weight == 0 || weight == whole || (replicas == 1 && surge == 0);
    // The same two counts with a surge: one pod more changes the total alone.
    let (up, down) = (ceil(weight * replicas, whole), (weight * replicas).div_euclid(whole));
    let mut options: Vec<(i64, i64)> = Vec::new();
    let mut add = |total: i64| {
        let tied = (weight * total * 2).rem_euclid(whole * 2) == whole;
        if up < total || zero_allowed {
            options.push((up, total));
        }
        if !tied && (down != 0 || zero_allowed) {
            options.push((down, total));
        }
    };
    add(replicas);
    if surge > 0 {
        add(replicas + 1);
    }
    // Compared as fractions over a common denominator: |canary·whole/total - weight|.
    let distance = |(canary, total): (i64, i64)| ((canary * whole - weight * total).abs(), total);
    let mut best: Option<(i64, i64)> = None;
    for option in options {
        let nearer = best.is_none_or(|b| {
            let ((d, t), (e, u)) = (distance(option), distance(b));
            d * u < e * t
        });
        if nearer {
            best = Some(option);
        }
    }
    // Half-way between all pods and all but one nothing is left to choose: one stable pod stays.
    best.map_or((replicas - 1, 1), |(canary, total)| (canary, total - canary))
}

#[cfg(test)]
mod tests {
    use super::pair;

    #[test]
    fn the_nearest_pair_is_the_one_of_the_compatibility_map() {
        for (replicas, weight, surge, expected) in [
            (10, 10, 1, (1, 9)),
            (10, 30, 3, (3, 7)),
            (1, 5, 1, (1, 1)),
            (1, 95, 1, (1, 1)),
            (5, 20, 2, (1, 4)),
            (5, 60, 2, (3, 2)),
            (10, 95, 0, (9, 1)),
            (10, 5, 1, (1, 10)),
            (4, 90, 2, (4, 1)),
            (10, 0, 3, (0, 10)),
            (10, 100, 3, (10, 0)),
            (0, 50, 1, (0, 0)),
        ] {
            assert_eq!(
                pair(replicas, weight, 100, surge),
                expected,
                "{replicas} at {weight}, surge {surge}"
            );
        }
    }
}
