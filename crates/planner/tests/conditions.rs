//! Conditions that tools and people wait for: what turns them, and what counts as progress (compat 1.5, 2.16).

#![allow(clippy::unwrap_used, reason = "a test that panics has failed")]

mod support;

use serde_json::{Value, json};
use serin_model::{Plan, World};
use serin_planner::plan;

use support::{OLD, canary, carry_out, new_hash, new_status, now, pods, routed, status, updating};

/// The condition of that type as the plan writes it; null when it writes none.
fn condition(plan: &Plan, kind: &str) -> Value {
    let status = new_status(plan);
    let all = status["conditions"].as_array().into_iter().flatten();
    all.into_iter().find(|c| c["type"] == kind).cloned().unwrap_or_default()
}

#[test]
fn a_rollout_is_called_paused_while_it_pauses_and_no_longer() {
    let mut world = canary();
    let begun = plan(&world, now());
    assert_eq!(condition(&begun, "Paused")["status"], "True");
    assert_eq!(condition(&begun, "Progressing")["reason"], "RolloutPaused");

    status(&mut world, &new_status(&begun));
    status(&mut world, &json!({ "pauseConditions": null }));
    let resumed = plan(&world, now());
    assert_eq!(condition(&resumed, "Paused")["status"], "False");
}

/// Two of five are to be canary pods: both are there, one is available. Nothing is left to do but to wait for it. The status
/// says what it said a minute ago.
fn waiting(before: &Value) -> World {
    let mut world = routed(5, 0, &json!({ "steps": [{ "setWeight": 40 }, { "pause": {} }] }));
    let new = new_hash(&world);
    pods(&mut world, &new, 2, 1);
    let progressing = json!({
        "type": "Progressing", "status": "True", "reason": "ReplicaSetUpdated", "message": "",
        "lastUpdateTime": "2026-01-01T00:09:00Z", "lastTransitionTime": "2026-01-01T00:08:00Z",
    });
    let counts = json!({ "replicas": 7, "updatedReplicas": 2, "readyReplicas": 6, "availableReplicas": 6 });
    status(&mut world, &json!({ "conditions": [progressing] }));
    status(&mut world, &counts);
    status(&mut world, before);
    world
}

#[test]
fn progress_is_another_count_of_new_pods_fewer_old_ones_or_more_that_are_ready_and_moves_the_deadline() {
    for (before, is_progress) in [
        (json!({}), false),
        (json!({ "replicas": 6, "updatedReplicas": 1 }), true),
        (json!({ "replicas": 8, "updatedReplicas": 3 }), true),
        (json!({ "replicas": 8 }), true),
        (json!({ "replicas": 6 }), false),
        (json!({ "readyReplicas": 5 }), true),
        (json!({ "readyReplicas": 7 }), false),
        (json!({ "availableReplicas": 5 }), true),
        (json!({ "availableReplicas": 7 }), false),
    ] {
        let plan = plan(&waiting(&before), now());
        let since = if is_progress { "00:10:00" } else { "00:09:00" };
        let progressing = condition(&plan, "Progressing");
        assert_eq!(
            progressing["lastUpdateTime"],
            format!("2026-01-01T{since}Z"),
            "{before}"
        );
        assert_eq!(progressing["lastTransitionTime"], "2026-01-01T00:08:00Z", "{before}");
    }
}

#[test]
fn a_rollout_is_called_healthy_when_all_of_it_is_of_the_stable_version_and_available() {
    let healthy = |old: i32, new: (i32, i32), patch: &Value| {
        let mut world = updating(2, &json!({ "steps": [{ "setWeight": 50 }, { "pause": {} }] }));
        let hash = new_hash(&world);
        pods(&mut world, OLD, old, old);
        pods(&mut world, &hash, new.0, new.1);
        status(&mut world, &json!({ "stableRS": hash, "currentStepIndex": 2 }));
        status(&mut world, patch);
        condition(&plan(&world, now()), "Healthy")["status"] == "True"
    };
    assert!(healthy(0, (2, 2), &json!({})));
    assert!(!healthy(1, (2, 2), &json!({})), "a pod of the old version is left");
    assert!(!healthy(0, (2, 1), &json!({})), "a pod is not available");
    assert!(!healthy(0, (1, 1), &json!({})), "a pod is missing");
    assert!(
        !healthy(0, (2, 2), &json!({ "observedGeneration": "1" })),
        "it has just changed"
    );
    let paused = json!([{ "reason": "CanaryPauseStep", "startTime": "2026-01-01T00:09:00Z" }]);
    let aside = json!({ "stableRS": OLD, "currentStepIndex": 1, "controllerPause": true, "pauseConditions": paused });
    assert!(!healthy(2, (2, 2), &aside), "it is not stable");
}

#[test]
fn a_complete_rollout_that_a_person_holds_is_written_once_and_not_in_every_pass() {
    let mut world = updating(4, &json!({}));
    let hash = new_hash(&world);
    pods(&mut world, &hash, 4, 4);
    pods(&mut world, OLD, 0, 0);
    status(
        &mut world,
        &json!({ "stableRS": hash, "phase": "Healthy", "currentStepIndex": null }),
    );
    let mut at = now();
    let mut settle = |world: &mut World| {
        for _ in 0..3 {
            let planned = plan(world, at);
            carry_out(world, &planned);
            at += chrono::TimeDelta::seconds(5);
        }
        let more = plan(world, at);
        assert!(more.is_empty(), "{more:#?}");
        serde_json::to_value(&world.rollout.status).unwrap()["conditions"].clone()
    };
    let reason = |conditions: &Value| {
        let all = conditions.as_array().into_iter().flatten();
        let progressing = all.into_iter().find(|c| c["type"] == "Progressing");
        progressing.unwrap()["reason"].clone()
    };
    world.rollout.spec.paused = Some(true);
    assert_eq!(reason(&settle(&mut world)), "RolloutPaused");
    world.rollout.spec.paused = None;
    assert_eq!(reason(&settle(&mut world)), "NewReplicaSetAvailable");
}
