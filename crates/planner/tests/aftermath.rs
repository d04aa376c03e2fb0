//! What a crash, an edit in the middle or a person leaves behind, and what the next pass makes of it. All found by the
//! simulation.

#![allow(clippy::unwrap_used, reason = "a test that panics has failed")]

mod support;

use std::collections::BTreeMap;

use chrono::TimeDelta;
use serde_json::{Value, json};
use serin_api::{DESIRED_REPLICAS_ANNOTATION, HASH_LABEL, SCALE_DOWN_DEADLINE_ANNOTATION, analysis::Phase, hash};
use serin_model::{Plan, ServiceView, World, Write};
use serin_planner::plan;
use support::{
    OLD, add_replica_set, canary, know_template, new_hash, new_status, now, pods, replica_set, routed, run, sizes,
    status, weight,
};

/// The canary at its first step, with these steps.
fn at_first_step(steps: &Value) -> World {
    let mut world = canary();
    let strategy = world.rollout.spec.strategy.canary.as_mut().unwrap();
    strategy.steps = serde_json::from_value(steps.clone()).unwrap();
    let hash = hash::steps_hash(strategy.steps.as_deref());
    status(
        &mut world,
        &json!({ "currentStepHash": hash, "currentStepIndex": 0, "controllerPause": null, "pauseConditions": null }),
    );
    world
}

fn give(world: &mut World, canary: i32) {
    for route in world.routes.values_mut() {
        route.as_mut().unwrap().weights = vec![(canary, 100 - canary)];
    }
}

/// Lets a Service select another revision.
fn select(world: &mut World, service: &str, hash: &str) {
    let known = world.services.get(service).unwrap();
    let mut selector = known.selector.clone();
    selector.insert(HASH_LABEL.to_owned(), hash.to_owned());
    let other = ServiceView {
        selector,
        ..known.clone()
    };
    world.services.insert(service.to_owned(), other);
}

fn switches(plan: &Plan) -> Vec<String> {
    let switched = plan.writes.iter().filter_map(|w| match &w.write {
        Write::PatchService { name, patch, .. } => Some(format!("{name} {}", patch["spec"]["selector"][HASH_LABEL])),
        _ => None,
    });
    switched.collect()
}

#[test]
fn a_weight_that_an_earlier_canary_had_is_taken_off_before_the_service_goes_to_the_new_one() {
    let mut world = at_first_step(&json!([{ "setWeight": 20 }, { "pause": {} }]));
    select(&mut world, "demo-canary", "earlier");
    give(&mut world, 60);
    let first = plan(&world, now());
    assert_eq!(weight(&first), Some(0));
    assert_eq!(switches(&first), [""; 0]);
    assert!(new_status(&first)["currentStepIndex"].is_null());

    give(&mut world, 0);
    let second = plan(&world, now());
    assert_eq!(switches(&second), [format!("demo-canary {:?}", new_hash(&world))]);
    assert_ne!(weight(&second), Some(20), "no pod stands behind the Service yet");
}

#[test]
fn a_weight_that_was_recorded_and_is_off_again_is_raised_only_with_the_canary_behind_its_service() {
    // The status says 20; a new revision had begun, the route was already at 0, and a crash came before the status.
    let mut world = at_first_step(&json!([{ "setWeight": 20 }, { "pause": {} }]));
    select(&mut world, "demo-canary", "earlier");
    give(&mut world, 0);
    let plan = plan(&world, now());
    assert_eq!(weight(&plan), None);
    assert!(new_status(&plan)["currentStepIndex"].is_null(), "{plan:#?}");
}

#[test]
fn a_rollout_without_replicas_passes_its_weights() {
    let mut world = at_first_step(&json!([{ "setWeight": 20 }, { "setWeight": 40 }]));
    world.rollout.spec.replicas = Some(0);
    give(&mut world, 0);
    for hash in [OLD.to_owned(), new_hash(&world)] {
        let set = replica_set(&mut world, &hash);
        (set.replicas, set.current, set.ready, set.available) = (0, 0, 0, 0);
    }
    assert_eq!(new_status(&plan(&world, now()))["currentStepIndex"], 1);
}

#[test]
fn a_revision_that_a_service_selects_is_not_forgotten() {
    let mut world = canary();
    world.rollout.spec.revision_history_limit = Some(0);
    add_replica_set(&mut world, "old1", 0, 0);
    add_replica_set(&mut world, "old2", 0, 0);
    select(&mut world, "demo-stable", "old1");
    let forgotten: Vec<String> = plan(&world, now())
        .writes
        .iter()
        .filter_map(|w| match &w.write {
            Write::DeleteReplicaSet { name, .. } => Some(name.clone()),
            _ => None,
        })
        .collect();
    assert_eq!(forgotten, ["demo-old2"]);
}

#[test]
fn an_aborted_canary_that_is_kept_does_not_look_like_a_change_of_size_for_ever() {
    let mut world = canary();
    let new = new_hash(&world);
    let set = replica_set(&mut world, &new);
    set.annotations
        .insert(DESIRED_REPLICAS_ANNOTATION.to_owned(), "3".to_owned());
    status(&mut world, &json!({ "abort": true }));
    let name = format!("demo-{new}");
    let mended = plan(&world, now()).writes.iter().any(|w| match &w.write {
        Write::PatchReplicaSet { name: of, patch, .. } => {
            *of == name && patch["metadata"]["annotations"][DESIRED_REPLICAS_ANNOTATION] == "4"
        }
        _ => false,
    });
    assert!(mended);
}

#[test]
fn stable_comes_back_after_an_abort_whatever_scale_the_canary_was_to_keep() {
    let mut world = at_first_step(&json!([{ "setCanaryScale": { "weight": 60 } }, { "setWeight": 60 }]));
    let strategy = world.rollout.spec.strategy.canary.as_mut().unwrap();
    strategy.dynamic_stable_scale = Some(true);
    strategy.abort_scale_down_delay_seconds = Some(0);
    let stable = replica_set(&mut world, OLD);
    (stable.replicas, stable.current, stable.ready, stable.available) = (2, 2, 2, 2);
    status(&mut world, &json!({ "abort": true }));
    assert_eq!(sizes(&plan(&world, now())).get(&format!("demo-{OLD}")), Some(&4));
}

#[test]
fn the_analysis_of_a_step_that_a_person_skipped_says_nothing_of_the_next_one() {
    let analysis = json!({ "analysis": { "templates": [{ "templateName": "watch" }] } });
    let mut world = at_first_step(&json!([analysis, analysis, { "pause": {} }]));
    know_template(&mut world);
    world.analysis_runs.push(run("of-step-0", Some(0), Phase::Successful));
    let named = json!({ "currentStepAnalysisRunStatus": { "name": "of-step-0", "status": "Running" } });
    status(&mut world, &json!({ "currentStepIndex": 0, "canary": named }));
    assert_eq!(
        new_status(&plan(&world, now()))["currentStepIndex"],
        1,
        "its own step it ends"
    );
    status(&mut world, &json!({ "currentStepIndex": 1 }));
    assert!(new_status(&plan(&world, now()))["currentStepIndex"].is_null());
}

#[test]
fn a_change_of_size_ends_no_pause_for_an_inconclusive_analysis() {
    let mut world = canary();
    let new = new_hash(&world);
    replica_set(&mut world, &new)
        .annotations
        .insert(DESIRED_REPLICAS_ANNOTATION.to_owned(), "3".to_owned());
    let set = replica_set(&mut world, &new);
    (set.replicas, set.current, set.ready, set.available) = (4, 4, 4, 4);
    give(&mut world, 100);
    let since = (now() - TimeDelta::minutes(1)).to_rfc3339();
    let held = |reason: &str| {
        json!({
            "currentStepIndex": 3, "controllerPause": true, "pauseConditions": [{ "reason": reason, "startTime": since }],
            "canary": { "weights": { "canary": { "weight": 100 }, "stable": { "weight": 0 } } },
        })
    };
    status(&mut world, &held("InconclusiveAnalysisRun"));
    assert!(new_status(&plan(&world, now()))["stableRS"].is_null());
    status(&mut world, &json!({ "controllerPause": null, "pauseConditions": null }));
    assert_eq!(
        new_status(&plan(&world, now()))["stableRS"],
        new,
        "without it the release is complete"
    );
}

/// A World whose background analysis runs, with this run.
fn watched(phase: Phase) -> World {
    let mut world = canary();
    let strategy = world.rollout.spec.strategy.canary.as_mut().unwrap();
    strategy.analysis = Some(serde_json::from_value(json!({ "templates": [{ "templateName": "watch" }] })).unwrap());
    know_template(&mut world);
    world.analysis_runs.push(run("watching", None, phase));
    let named = json!({ "currentBackgroundAnalysisRunStatus": { "name": "watching", "status": "Running" } });
    status(&mut world, &json!({ "canary": named }));
    world
}

#[test]
fn a_verdict_whose_abort_was_begun_and_never_written_down_aborts_all_the_same() {
    // The canary's deadline was stamped, the process was killed before the status said "aborted".
    let mut world = watched(Phase::Failed);
    let new = new_hash(&world);
    let deadline = (now() + TimeDelta::seconds(30)).to_rfc3339();
    let annotations = &mut replica_set(&mut world, &new).annotations;
    annotations.insert(SCALE_DOWN_DEADLINE_ANNOTATION.to_owned(), deadline);
    assert_eq!(new_status(&plan(&world, now()))["abort"], true);
}

#[test]
fn pods_whose_route_cannot_be_read_stay() {
    let mut world = at_first_step(&json!([{ "pause": {} }, { "setWeight": 20 }]));
    for route in world.routes.values_mut() {
        *route = Err("HTTPRoute shop/demo does not exist".to_owned());
    }
    assert_eq!(sizes(&plan(&world, now())), BTreeMap::new());
}

#[test]
fn on_the_way_down_a_weight_is_not_raised_to_the_one_before() {
    // The canary has lost most of its pods at the step after 60 %, and somebody wrote 50 into the route.
    let mut world = at_first_step(&json!([{ "setWeight": 60 }, { "setWeight": 40 }]));
    status(&mut world, &json!({ "currentStepIndex": 1 }));
    let new = new_hash(&world);
    let set = replica_set(&mut world, &new);
    (set.replicas, set.current, set.ready, set.available) = (3, 3, 1, 1);
    give(&mut world, 50);
    assert_eq!(weight(&plan(&world, now())), None);
    give(&mut world, 70);
    assert_eq!(weight(&plan(&world, now())), Some(60));
}

#[test]
fn a_resumption_and_a_retry_outlast_a_change_of_size() {
    let mut world = watched(Phase::Inconclusive);
    let new = new_hash(&world);
    let annotations = &mut replica_set(&mut world, &new).annotations;
    annotations.insert(DESIRED_REPLICAS_ANNOTATION.to_owned(), "3".to_owned());
    let resumed = json!({ "currentStepIndex": 0, "controllerPause": true, "pauseConditions": null });
    status(&mut world, &resumed);
    let pass = new_status(&plan(&world, now()));
    assert!(pass.get("controllerPause").is_none(), "it stays true: {pass}");
    let retried = json!({ "controllerPause": null, "abortedAt": "2026-01-01T00:09:00Z", "abort": false });
    status(&mut world, &retried);
    let pass = new_status(&plan(&world, now()));
    assert!(pass.get("abortedAt").is_none(), "it stays: {pass}");
}

#[test]
fn a_service_with_traffic_does_not_go_to_a_revision_with_fewer_pods_than_that_needs() {
    // Stable was promoted; its Service still selects the version before, which has all its pods.
    let mut world = canary();
    let new = new_hash(&world);
    status(
        &mut world,
        &json!({
            "stableRS": new, "currentStepIndex": 3, "controllerPause": null, "pauseConditions": null,
            "canary": { "weights": { "canary": { "weight": 0 }, "stable": { "weight": 100 } } },
        }),
    );
    give(&mut world, 0);
    let set = replica_set(&mut world, &new);
    (set.replicas, set.current, set.ready, set.available) = (4, 4, 1, 1);
    assert_eq!(switches(&plan(&world, now())), [""; 0]);
    let set = replica_set(&mut world, &new);
    (set.ready, set.available) = (4, 4);
    assert_eq!(switches(&plan(&world, now())), [format!("demo-stable {new:?}")]);
}

#[test]
fn a_resumption_and_a_retry_are_used_up_by_the_first_pass_that_can_act_upon_them() {
    let mut world = at_first_step(&json!([{ "setWeight": 60 }, { "pause": {} }]));
    status(&mut world, &json!({ "controllerPause": true }));
    assert_eq!(
        new_status(&plan(&world, now())).get("controllerPause"),
        Some(&Value::Null)
    );
    let retried = json!({ "controllerPause": null, "abortedAt": "2026-01-01T00:09:00Z", "abort": false });
    status(&mut world, &retried);
    assert_eq!(new_status(&plan(&world, now())).get("abortedAt"), Some(&Value::Null));
}

#[test]
fn a_change_of_size_forgets_no_analysis_that_goes_on() {
    let mut world = watched(Phase::Running);
    let of_step = json!({ "currentStepAnalysisRunStatus": { "name": "stepping", "status": "Running" } });
    status(&mut world, &json!({ "canary": of_step }));
    let new = new_hash(&world);
    let annotations = &mut replica_set(&mut world, &new).annotations;
    annotations.insert(DESIRED_REPLICAS_ANNOTATION.to_owned(), "3".to_owned());
    let pass = new_status(&plan(&world, now()));
    assert!(pass.get("canary").is_none(), "{pass}");
}

#[test]
fn a_weight_that_a_crash_left_out_of_the_status_ends_its_step_when_it_is_recorded() {
    let mut world = at_first_step(&json!([{ "setWeight": 20 }, { "pause": {} }]));
    status(
        &mut world,
        &json!({ "canary": { "weights": { "canary": { "weight": 0 }, "stable": { "weight": 100 } } } }),
    );
    let stable = replica_set(&mut world, OLD);
    (stable.ready, stable.available) = (2, 2);
    let waits = new_status(&plan(&world, now()));
    assert!(
        waits["currentStepIndex"].is_null(),
        "stable cannot serve the rest: {waits}"
    );
    let stable = replica_set(&mut world, OLD);
    (stable.ready, stable.available) = (4, 4);
    assert_eq!(new_status(&plan(&world, now()))["currentStepIndex"], 1);
}

#[test]
fn an_abort_whose_weight_a_crash_left_out_of_the_status_is_recorded_although_a_stable_pod_is_missing() {
    let mut world = at_first_step(&json!([{ "setWeight": 20 }, { "pause": {} }]));
    give(&mut world, 0);
    status(&mut world, &json!({ "abort": true }));
    let stable = replica_set(&mut world, OLD);
    (stable.ready, stable.available) = (3, 3);
    let written = new_status(&plan(&world, now()));
    assert_eq!(written["canary"]["weights"]["canary"]["weight"], 0, "{written}");
}

#[test]
fn what_upstream_wrote_and_a_pass_does_not_count_stays_in_the_status() {
    let mut world = canary();
    let left = json!({ "restartedAt": "2026-01-01T00:01:00Z", "alb": { "a": 1 }, "albs": [], "duration": "3m" });
    status(&mut world, &left);
    let pass = new_status(&plan(&world, now()));
    for field in ["restartedAt", "alb", "albs", "duration"] {
        assert!(pass.get(field).is_none(), "{field}: {pass}");
    }
}

#[test]
fn an_aborted_version_within_the_rollback_window_is_not_promoted_by_the_plan_that_takes_its_pods_away() {
    let mut world = routed(1, 0, &json!({ "steps": [{ "pause": {} }] }));
    world.rollout.spec.rollback_window = Some(serde_json::from_value(json!({ "revisions": 2 })).unwrap());
    let new = new_hash(&world);
    replica_set(&mut world, &new).created = now() - TimeDelta::minutes(30);
    pods(&mut world, &new, 1, 1);
    status(
        &mut world,
        &json!({ "abort": true, "abortedAt": "2026-01-01T00:09:00Z" }),
    );
    let first = plan(&world, now());
    let (size, stable) = (
        sizes(&first).get(&format!("demo-{new}")).copied(),
        new_status(&first)["stableRS"].clone(),
    );
    assert!(size != Some(0) || stable.is_null(), "{size:?} pods, stable {stable}");
}

#[test]
fn a_service_waits_when_its_plan_gives_the_same_few_pods_the_other_service_as_well() {
    let canary = json!({ "maxUnavailable": "50%", "maxSurge": 0, "steps": [{ "setWeight": 50 }, { "pause": {} }] });
    let mut world = routed(3, 50, &canary);
    let new = new_hash(&world);
    status(&mut world, &json!({ "stableRS": new, "currentStepIndex": 2 }));
    pods(&mut world, &new, 3, 1);
    pods(&mut world, OLD, 3, 3);
    let selector = &mut world.services.get_mut("demo-stable").unwrap().selector;
    selector.remove(HASH_LABEL);
    let selector = &mut world.services.get_mut("demo-canary").unwrap().selector;
    selector.insert(HASH_LABEL.to_owned(), OLD.to_owned());
    let written = |world: &World| {
        let plan = plan(world, now());
        plan.writes
            .iter()
            .filter(|w| matches!(w.write, Write::PatchService { .. }))
            .count()
    };
    assert!(written(&world) <= 1, "one pod is not enough for both");
    pods(&mut world, &new, 3, 3);
    assert_eq!(written(&world), 2);
}

#[test]
fn a_resumption_outlasts_a_hold_by_spec_paused_and_a_replica_set_that_is_created_again() {
    let resumed = || {
        let mut world = at_first_step(&json!([{ "pause": {} }, { "setWeight": 20 }]));
        status(&mut world, &json!({ "controllerPause": true, "pauseConditions": null }));
        world
    };
    let kept = |world: &World| new_status(&plan(world, now())).get("controllerPause").cloned();
    let mut held = resumed();
    held.rollout.spec.paused = Some(true);
    assert_eq!(kept(&held), None, "it is not taken off");
    // A retry is acted upon by the first pass, and by no other one.
    status(
        &mut held,
        &json!({ "abort": false, "abortedAt": "2026-01-01T00:09:00Z" }),
    );
    let written = new_status(&plan(&held, now()));
    assert_eq!(written.get("abortedAt"), Some(&Value::Null), "{written}");
    let mut gone = resumed();
    let new = new_hash(&gone);
    gone.replica_sets.retain(|rs| rs.hash() != new);
    assert_eq!(kept(&gone), None, "it is not taken off");
    assert_eq!(new_status(&plan(&resumed(), now()))["currentStepIndex"], 1);
}
