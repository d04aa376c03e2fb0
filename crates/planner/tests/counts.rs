//! Pods of a canary without a router, for many sizes, weights and bounds: where a step ends, and that the way there keeps
//! to the bounds (compat 2.5; write rule W5).

#![allow(clippy::unwrap_used, reason = "a test that panics has failed")]

mod support;

use serde_json::json;
use serin_model::World;
use serin_planner::plan;

use support::{OLD, carry_out, new_hash, now, one_more_pod, replica_set, updating};

/// The pair (canary, stable) that is closest to the weight, found by trying all of them. Of equally close ones the smaller
/// total counts, and then the larger canary.
fn closest(replicas: i64, weight: i64, surge: i64) -> (i64, i64) {
    if replicas == 0 {
        return (0, 0);
    }
    let ends = weight == 0 || weight == 100 || (replicas == 1 && surge == 0);
    let totals = if surge > 0 {
        vec![replicas, replicas + 1]
    } else {
        vec![replicas]
    };
    let pairs = totals.into_iter().flat_map(|total| {
        let canaries = if ends { 0..=total } else { 1..=total - 1 };
        canaries.map(move |canary| (canary, total - canary))
    });
    let distance = |(canary, stable): (i64, i64)| {
        // In parts of a total of 12 * 13 * ...: exact, for all totals that are tried.
        let unit = 720_720 / (canary + stable);
        (canary * 100 * unit - weight * 720_720).abs()
    };
    // A canary without traffic, or with all of it, has no pods more than it needs.
    let pairs = pairs.filter(|(canary, stable)| match weight {
        0 => *canary == 0 && *stable == replicas,
        100 => *stable == 0 && *canary == replicas,
        _ => true,
    });
    pairs
        .min_by_key(|&(canary, stable)| (distance((canary, stable)), canary + stable, -canary))
        .unwrap()
}

fn counts(world: &mut World) -> (i64, i64) {
    let new = new_hash(world);
    (
        replica_set(world, &new).replicas.into(),
        replica_set(world, OLD).replicas.into(),
    )
}

#[test]
fn each_weight_ends_at_the_closest_pair_of_counts_and_the_way_there_keeps_to_surge_and_unavailability() {
    let bounds = [(1, 0), (0, 1), (1, 1), (0, 3), (3, 2)];
    for replicas in [0, 1, 2, 3, 4, 5, 7, 10, 11] {
        for weight in (0..=100).step_by(5).chain([1, 33, 49, 51, 67, 99]) {
            for (surge, unavailable) in bounds {
                let case = format!("{replicas} replicas, weight {weight}, surge {surge}, unavailable {unavailable}");
                let canary = json!({
                    "maxSurge": surge, "maxUnavailable": unavailable, "steps": [{ "setWeight": weight }, { "pause": {} }],
                });
                let mut world = updating(replicas, &canary);
                let mut passes = 0;
                loop {
                    let next = plan(&world, now());
                    let wrote = carry_out(&mut world, &next);
                    let total: i32 = world.replica_sets.iter().map(|rs| rs.replicas).sum();
                    let serving: i32 = world.replica_sets.iter().map(|rs| rs.available).sum();
                    assert!(total <= replicas + surge, "{case}: {total} pods");
                    assert!(serving >= replicas - unavailable, "{case}: {serving} available");
                    if !one_more_pod(&mut world) && !wrote {
                        break;
                    }
                    passes += 1;
                    assert!(passes < 100, "{case}: no end");
                }
                let expected = closest(replicas.into(), weight.into(), surge.into());
                assert_eq!(counts(&mut world), expected, "{case}");
                let status = world.rollout.status.as_ref().unwrap();
                assert_eq!(status.current_step_index, Some(1), "{case}");
                assert!(status.controller_pause, "{case}");
            }
        }
    }
}
