//! Which weight the canary gets, and when it may be written (compat 2.15, 2.7).

#![allow(clippy::unwrap_used, reason = "a test that panics has failed")]

mod support;

use chrono::TimeDelta;
use serde_json::{Value, json};
use serin_model::World;
use serin_planner::plan;

use support::{
    OLD, add_replica_set, new_hash, new_status, now, pods, replica_set, routed, said, sizes, status, weight,
};

const WEIGHTS: [i32; 3] = [20, 50, 80];

/// The way back with dynamicStableScale as the compatibility map tells it; `held` are pods that the canary must keep.
fn way_back(replicas: i32, stable: i32, held: i32, current: i32) -> i32 {
    let share = 100 * stable / replicas;
    let step = WEIGHTS.into_iter().rev().find(|w| (w * replicas + 99) / 100 < held);
    match step.unwrap_or(0) {
        0 => (100 - share).max(0).min(current),
        step if share < 100 - step => current,
        step => step.min(current),
    }
}

#[test]
fn after_an_abort_the_weight_falls_with_the_stable_pods_that_came_back_when_stable_was_scaled_with_traffic() {
    let replicas = 10;
    for delay in [None, Some(30)] {
        for (stable, new) in (0..=11).flat_map(|stable| (0..=10).map(move |new| (stable, new))) {
            for current in [80, 45] {
                let steps = WEIGHTS.map(|w| json!({ "setWeight": w }));
                let canary = json!({ "dynamicStableScale": true, "abortScaleDownDelaySeconds": delay, "steps": steps });
                let mut world = routed(replicas, current, &canary);
                let hash = new_hash(&world);
                pods(&mut world, &hash, 10, new);
                pods(&mut world, OLD, 10, stable);
                status(
                    &mut world,
                    &json!({ "abort": true, "abortedAt": "2026-01-01T00:09:00Z" }),
                );
                let missing = (replicas - stable).max(0);
                let held = if delay.is_some() { missing } else { missing.max(new) };
                let expected = Some(way_back(replicas, stable, held, current))
                    .filter(|w| *w != current)
                    // Nobody is there to take it.
                    .filter(|_| stable > 0);
                let written = weight(&plan(&world, now()));
                assert_eq!(
                    written, expected,
                    "stable {stable}, new {new}, at {current}, delay {delay:?}"
                );
            }
        }
    }
}

#[test]
fn after_an_abort_what_somebody_else_took_off_the_canary_is_not_given_back() {
    let strategy = json!({ "dynamicStableScale": true, "steps": [{ "setWeight": 53 }, { "pause": {} }] });
    for (given, expected) in [(40, None), (53, Some(50)), (60, Some(50))] {
        let mut world = routed(10, 53, &strategy);
        let hash = new_hash(&world);
        pods(&mut world, &hash, 6, 6);
        pods(&mut world, OLD, 5, 5);
        status(
            &mut world,
            &json!({ "abort": true, "abortedAt": "2026-01-01T00:09:00Z" }),
        );
        world
            .routes
            .values_mut()
            .for_each(|r| r.as_mut().unwrap().weights = vec![(given, 100 - given)]);
        let written = weight(&plan(&world, now()));
        assert!(written.is_none_or(|w| w <= given), "{given}: {written:?}");
        assert_eq!(written, expected, "{given}");
    }
}

#[test]
fn pods_that_a_minimum_keeps_do_not_keep_the_weight_of_an_aborted_canary() {
    let strategy = json!({
        "dynamicStableScale": true, "minPodsPerReplicaSet": 3, "steps": [{ "setWeight": 10 }, { "setWeight": 50 }],
    });
    for (stable, expected) in [(4, None), (6, Some(0))] {
        let mut world = routed(6, 10, &strategy);
        let hash = new_hash(&world);
        pods(&mut world, &hash, 3, 3);
        pods(&mut world, OLD, 6, stable);
        status(
            &mut world,
            &json!({ "abort": true, "abortedAt": "2026-01-01T00:09:00Z" }),
        );
        assert_eq!(weight(&plan(&world, now())), expected, "{stable} stable pods");
    }
}

#[test]
fn stable_without_a_pod_gets_no_part_back_however_small_it_is() {
    let strategy = json!({ "dynamicStableScale": true, "steps": [{ "setWeight": 71 }, { "pause": {} }] });
    for (stable, expected) in [(0, None), (1, Some(71))] {
        let mut world = routed(2, 100, &strategy);
        world.rollout.spec.paused = Some(true);
        let hash = new_hash(&world);
        pods(&mut world, &hash, 2, 2);
        pods(&mut world, OLD, stable, stable);
        assert_eq!(weight(&plan(&world, now())), expected, "{stable} pods");
    }
}

/// At the last of the steps 20 and 50, with all pods that it asks for; stable has so many.
fn rising(threshold: &Value, stable: i32) -> World {
    let canary = json!({
        "replicaProgressThreshold": threshold,
        "steps": [{ "setWeight": 20 }, { "setWeight": 50 }, { "pause": {} }],
    });
    let mut world = routed(10, 20, &canary);
    let hash = new_hash(&world);
    pods(&mut world, &hash, 5, 5);
    pods(&mut world, OLD, 10, stable);
    status(&mut world, &json!({ "currentStepIndex": 1 }));
    world
}

#[test]
fn a_weight_waits_for_the_stable_pods_that_its_other_side_needs_or_for_the_threshold_of_them() {
    let none = json!(null);
    let percent = json!({ "type": "Percent", "value": 60 });
    let few = json!({ "type": "Pods", "value": 2 });
    let many = json!({ "type": "Pods", "value": 9 });
    for (threshold, least) in [(&none, 5), (&percent, 3), (&few, 2), (&many, 5)] {
        for stable in 1..=6 {
            let expected = (stable >= least).then_some(50);
            assert_eq!(
                weight(&plan(&rising(threshold, stable), now())),
                expected,
                "{threshold}: {stable} stable pods"
            );
        }
    }
}

#[test]
fn thousands_of_pods_and_a_million_as_the_whole_weight_are_counted_as_well() {
    let written = |stable: i32| {
        let routing = json!({ "maxTrafficWeight": 1_000_000 });
        let steps = json!([{ "setWeight": 500_000 }, { "pause": {} }]);
        let mut world = routed(5000, 0, &json!({ "trafficRouting": routing, "steps": steps }));
        let hash = new_hash(&world);
        pods(&mut world, &hash, 2500, 2500);
        pods(&mut world, OLD, 5000, stable);
        weight(&plan(&world, now()))
    };
    assert_eq!(written(2499), None);
    assert_eq!(written(2500), Some(500_000));
}

#[test]
fn a_step_waits_for_the_pods_of_the_canary_or_for_the_threshold_of_them() {
    let none = json!(null);
    let percent = json!({ "type": "Percent", "value": 60 });
    let few = json!({ "type": "Pods", "value": 2 });
    let many = json!({ "type": "Pods", "value": 9 });
    for (threshold, least) in [(&none, 5), (&percent, 3), (&few, 2), (&many, 5)] {
        for available in 1..=5 {
            let mut world = rising(threshold, 10);
            let hash = new_hash(&world);
            pods(&mut world, &hash, 5, available);
            let plan = plan(&world, now());
            let goes = available >= least;
            assert_eq!(weight(&plan), goes.then_some(50), "{threshold}: {available} pods");
            let step = new_status(&plan)["currentStepIndex"].as_i64();
            assert_eq!(step, goes.then_some(2), "{threshold}: {available} pods");
        }
    }
}

/// A revision that is older than stable came back; so many others lie between the two.
fn back(window: i32, between: i64) -> World {
    let mut world = routed(4, 0, &json!({ "steps": [{ "setWeight": 20 }, { "pause": {} }] }));
    world.rollout.spec.rollback_window = Some(serde_json::from_value(json!({ "revisions": window })).unwrap());
    let hash = new_hash(&world);
    replica_set(&mut world, OLD).created = now() - TimeDelta::minutes(1);
    replica_set(&mut world, &hash).created = now() - TimeDelta::minutes(20);
    for i in 0..between {
        let name = format!("between{i}");
        add_replica_set(&mut world, &name, 0, 0);
        replica_set(&mut world, &name).created = now() - TimeDelta::minutes(5 + i);
    }
    for (name, age) in [("same-as-new", 20), ("same-as-stable", 1), ("older", 30)] {
        add_replica_set(&mut world, name, 0, 0);
        replica_set(&mut world, name).created = now() - TimeDelta::minutes(age);
    }
    pods(&mut world, &hash, 4, 4);
    world
}

#[test]
fn a_revision_within_the_rollback_window_becomes_stable_without_its_steps_and_one_outside_does_not() {
    for (window, between, within) in [(0, 0, false), (1, 0, true), (1, 1, false), (2, 1, true), (3, 3, false)] {
        let plan = plan(&back(window, between), now());
        let text = said(&plan, "RolloutCompleted");
        let case = format!("window {window}, {between} between: {text:?}");
        assert_eq!(text.len(), usize::from(within), "{case}");
        assert!(text.iter().all(|t| t.ends_with(": Rollback within window")), "{case}");
    }
    let mut younger = back(1, 0);
    let hash = new_hash(&younger);
    replica_set(&mut younger, &hash).created = now() - TimeDelta::minutes(1);
    assert!(
        said(&plan(&younger, now()), "RolloutCompleted").is_empty(),
        "as old as stable is no rollback"
    );
}

#[test]
fn the_pods_behind_a_router_are_the_rounded_up_share_of_the_weight_and_with_dynamic_scale_stable_gives_what_moved() {
    for (step, canary) in [(0, 0), (1, 1), (12, 1), (13, 2), (50, 4), (51, 5), (87, 7), (88, 8)] {
        for dynamic in [false, true] {
            let strategy = json!({ "dynamicStableScale": dynamic, "steps": [{ "setWeight": step }, { "pause": {} }] });
            let mut world = routed(8, 0, &strategy);
            let hash = new_hash(&world);
            let name = |hash: &str| format!("demo-{hash}");
            let first = sizes(&plan(&world, now()));
            assert_eq!(first.get(&name(&hash)).copied().unwrap_or(0), canary, "weight {step}");
            assert_eq!(first.get(&name(OLD)), None, "weight {step}: nothing moved yet");

            let count = i32::try_from(canary).unwrap();
            pods(&mut world, &hash, count, count);
            let weights = json!({ "canary": { "weight": step }, "stable": { "weight": 100 - step } });
            status(&mut world, &json!({ "canary": { "weights": weights } }));
            world
                .routes
                .values_mut()
                .for_each(|r| r.as_mut().unwrap().weights = vec![(step, 100 - step)]);
            let rest = i64::from((100 - step) * 8).div_euclid(100) + i64::from((100 - step) * 8 % 100 != 0);
            let expected = (dynamic && rest != 8).then_some(rest);
            assert_eq!(
                sizes(&plan(&world, now())).get(&name(OLD)).copied(),
                expected,
                "weight {step}"
            );
        }
    }
}

#[test]
fn a_lower_step_takes_the_weight_off_first_and_then_the_pods() {
    for dynamic in [false, true] {
        let steps = json!([{ "setWeight": 30 }, { "setWeight": 5 }, { "pause": {} }]);
        let mut world = routed(5, 30, &json!({ "dynamicStableScale": dynamic, "steps": steps }));
        status(&mut world, &json!({ "currentStepIndex": 1 }));
        let hash = new_hash(&world);
        pods(&mut world, &hash, 2, 2);
        assert_eq!(weight(&plan(&world, now())), Some(5), "dynamic: {dynamic}");
    }
}
