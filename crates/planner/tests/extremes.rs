//! Numbers at the ends of what the API lets through end in a plan, or in a refusal, and never in a panic; nor does the audit
//! of the plan.

#![allow(clippy::unwrap_used, reason = "a test that panics has failed")]

mod support;

use serde_json::{Value, json};
use serin_audit::audit;
use serin_model::World;
use serin_planner::plan;

use support::{OLD, add_replica_set, new_hash, now, pods, routed, status, updating};

const ENDS: [i32; 7] = [i32::MIN, -1, 0, 1, 100, i32::MAX - 1, i32::MAX];

/// The same in the situations that count in different ways.
fn situations(world: &World) -> Vec<(&'static str, World)> {
    let changed = |patch: Value| {
        let mut world = world.clone();
        status(&mut world, &patch);
        world
    };
    vec![
        ("at its step", world.clone()),
        ("aborted", changed(json!({ "abort": true }))),
        ("promoted in full", changed(json!({ "promoteFull": true }))),
        ("at the end", changed(json!({ "currentStepIndex": 2 }))),
        ("at step", changed(json!({ "currentStepIndex": i32::MAX }))),
        ("stable", changed(json!({ "stableRS": new_hash(world) }))),
    ]
}

fn all_plans(mut world: World, case: &str) {
    let new = new_hash(&world);
    let replicas = world.rollout.spec.replicas.unwrap();
    add_replica_set(&mut world, "middle", 1, 3);
    for count in [0, 2, replicas.max(0) / 3] {
        pods(&mut world, &new, count, count);
        pods(&mut world, OLD, count, count);
        for (name, world) in situations(&world) {
            let planned = std::panic::catch_unwind(|| audit(&world, &plan(&world, now()), now()));
            assert!(planned.is_ok(), "{case}, {count} pods, {name}");
        }
    }
    // Somebody scaled them by hand.
    for rs in &mut world.replica_sets {
        rs.replicas = i32::MAX;
    }
    for (name, world) in situations(&world) {
        let planned = std::panic::catch_unwind(|| audit(&world, &plan(&world, now()), now()));
        assert!(planned.is_ok(), "{case}, too many pods asked for, {name}");
    }
}

#[test]
fn any_replicas_are_planned_for() {
    for replicas in ENDS {
        let strategy = json!({ "steps": [{ "setWeight": 33 }, { "pause": {} }] });
        all_plans(updating(replicas, &strategy), &format!("{replicas} replicas"));
        for dynamic in [false, true] {
            let strategy = json!({ "dynamicStableScale": dynamic, "steps": [{ "setWeight": 33 }, { "pause": {} }] });
            all_plans(
                routed(replicas, 33, &strategy),
                &format!("{replicas} replicas, router, dynamic: {dynamic}"),
            );
        }
    }
}

#[test]
fn any_sum_of_weights_is_planned_for() {
    for max in ENDS {
        for weight in [0, 33, max] {
            for dynamic in [false, true] {
                let routing = json!({ "maxTrafficWeight": max });
                let strategy = json!({
                    "dynamicStableScale": dynamic, "trafficRouting": routing, "steps": [{ "setWeight": weight }, { "pause": {} }],
                });
                let case = format!("weight {weight} of {max}, dynamic: {dynamic}");
                all_plans(routed(10, 33, &strategy), &case);
            }
        }
    }
}

#[test]
fn any_bounds_limits_and_delays_are_planned_for() {
    for n in ENDS {
        let steps = json!([{ "setCanaryScale": { "replicas": n } }, { "setWeight": 33 }]);
        let strategy = json!({
            "maxSurge": n, "maxUnavailable": 1, "steps": steps, "minPodsPerReplicaSet": n, "scaleDownDelaySeconds": n,
            "scaleDownDelayRevisionLimit": n, "abortScaleDownDelaySeconds": n,
            "replicaProgressThreshold": { "type": "Pods", "value": n },
        });
        let mut plain = strategy.clone();
        for field in [
            "steps",
            "scaleDownDelaySeconds",
            "scaleDownDelayRevisionLimit",
            "abortScaleDownDelaySeconds",
        ] {
            plain[field] = Value::Null;
        }
        for mut world in [routed(10, 33, &strategy), updating(10, &plain)] {
            world.rollout.spec.revision_history_limit = Some(n);
            world.rollout.spec.progress_deadline_seconds = Some(n);
            world.rollout.spec.min_ready_seconds = Some(n);
            all_plans(world, &format!("{n} everywhere"));
        }
    }
}
