//! Single decisions that matter most, each on a hand-made World: what a gateway canary at 20 % does when something is off.

#![allow(clippy::unwrap_used, reason = "a test that panics has failed")]

mod support;

use std::collections::BTreeMap;

use serde_json::{Value, json};
use serin_api::{HASH_LABEL, MANAGED_BY_ANNOTATION, analysis::Phase, hash};
use serin_model::{AnalysisRunView, Plan, World, Write};
use serin_planner::plan;
use support::{OLD, canary, new_status, now, sizes, status, updating, weight};

fn touches_pods(plan: &Plan) -> bool {
    plan.writes
        .iter()
        .any(|w| !matches!(w.write, Write::PatchRolloutStatus { .. }))
}

#[test]
fn an_abort_takes_all_traffic_back_although_a_stable_pod_is_missing() {
    let mut world = canary();
    world.replica_sets[0].available = 3;
    status(&mut world, &json!({ "abort": true }));
    let plan = plan(&world, now());
    assert_eq!(weight(&plan), Some(0));
    assert_eq!(new_status(&plan)["phase"], "Degraded");
}

#[test]
fn an_abort_leaves_the_traffic_where_it_is_when_nothing_stable_could_serve_it() {
    let mut world = canary();
    world.replica_sets[0].available = 0;
    world
        .endpoints
        .as_mut()
        .unwrap()
        .get_mut("demo-stable")
        .unwrap()
        .ready_pods
        .clear();
    status(&mut world, &json!({ "abort": true }));
    let plan = plan(&world, now());
    assert_eq!(weight(&plan), None);
    assert_eq!(
        new_status(&plan)["phase"],
        "Degraded",
        "the abort itself is said all the same"
    );
}

#[test]
fn traffic_goes_only_where_a_pod_is_ready_behind_the_service_whatever_pods_are_available() {
    let mut world = canary();
    let new = world.replica_sets[1].hash().to_owned();
    support::pods(&mut world, &new, 4, 4);
    let endpoints = world.endpoints.as_mut().unwrap();
    endpoints.get_mut("demo-stable").unwrap().ready_pods.clear();
    let mut aborted = world.clone();
    status(&mut aborted, &json!({ "abort": true }));
    assert_eq!(weight(&plan(&aborted, now())), None);
    // Nothing is left for stable to serve.
    status(
        &mut world,
        &json!({ "currentStepIndex": 3, "controllerPause": null, "pauseConditions": null }),
    );
    assert_eq!(weight(&plan(&world, now())), Some(100));
}

#[test]
fn the_weight_rises_only_when_the_canary_stands_behind_its_service() {
    let mut world = canary();
    let endpoints = world.endpoints.clone();
    status(
        &mut world,
        &json!({ "currentStepIndex": 0, "controllerPause": null, "pauseConditions": null,
        "canary": { "weights": { "canary": { "weight": 0 }, "stable": { "weight": 100 } } } }),
    );
    world
        .routes
        .values_mut()
        .for_each(|r| r.as_mut().unwrap().weights = vec![(0, 100)]);
    world
        .endpoints
        .as_mut()
        .unwrap()
        .get_mut("demo-canary")
        .unwrap()
        .ready_pods
        .clear();
    let held = plan(&world, now());
    assert_eq!(weight(&held), None);
    assert!(
        new_status(&held)["currentStepIndex"].is_null(),
        "the step is not done before its weight is written"
    );

    world.endpoints = endpoints;
    let raised = plan(&world, now());
    assert_eq!(weight(&raised), Some(20));
    assert_eq!(new_status(&raised)["currentStepIndex"], 1);
}

#[test]
fn a_failed_analysis_takes_the_traffic_back_in_the_same_plan_and_before_anything_else() {
    let mut world = canary();
    let spec = json!({ "metrics": [] });
    let spec: serin_api::analysis::AnalysisRunSpec = serde_json::from_value(spec).unwrap();
    world.rollout.spec.strategy.canary.as_mut().unwrap().analysis =
        Some(serde_json::from_value(json!({ "templates": [{ "templateName": "watch" }] })).unwrap());
    world.templates.insert(
        serde_json::from_value(json!({ "templateName": "watch" })).unwrap(),
        serin_model::TemplateView {
            spec: serde_json::from_value(json!({ "metrics": [{ "name": "m", "interval": "1s", "provider": {
                "prometheus": { "query": "up" } } }] }))
            .unwrap(),
            annotations: BTreeMap::new(),
        },
    );
    status(
        &mut world,
        &json!({ "canary": { "currentBackgroundAnalysisRunStatus": { "name": "run", "status": "Running" } } }),
    );
    world.analysis_runs.push(AnalysisRunView {
        name: "run".to_owned(),
        uid: "r".to_owned(),
        resource_version: "3".to_owned(),
        created: now(),
        deleting: false,
        labels: BTreeMap::new(),
        annotations: BTreeMap::new(),
        terminate: false,
        phase: Phase::Failed,
        message: "Metric \"m\" assessed Failed due to failed (1) > failureLimit (0)".to_owned(),
        spec_digest: serin_model::analysis_spec_digest(&spec),
    });
    let plan = plan(&world, now());
    assert_eq!(weight(&plan), Some(0));
    let status = new_status(&plan);
    assert_eq!(status["abort"], true);
    assert_eq!(
        status["message"],
        "RolloutAborted: Rollout aborted update to revision 2: Background analysis phase error/failed: \
         Metric \"m\" assessed Failed due to failed (1) > failureLimit (0)"
    );
    let scaled = plan
        .writes
        .iter()
        .position(|w| matches!(w.write, Write::PatchReplicaSet { .. }));
    let routed = plan
        .writes
        .iter()
        .position(|w| matches!(w.write, Write::SetRouteWeights { .. }));
    assert!(scaled.is_none() || routed < scaled, "traffic before removal");
}

#[test]
fn a_broken_route_stops_neither_abort_nor_status() {
    let mut world = canary();
    world
        .routes
        .values_mut()
        .for_each(|r| *r = Err("HTTPRoute \"demo\" not found".to_owned()));
    status(&mut world, &json!({ "abort": true }));
    let plan = plan(&world, now());
    assert_eq!(new_status(&plan)["phase"], "Degraded");
    assert_eq!(plan.warnings.len(), 1);
    assert!(plan.warnings[0].message.contains("not found"));
}

#[test]
fn no_step_is_passed_while_a_route_cannot_be_used() {
    let mut world = canary();
    // A person went on.
    status(&mut world, &json!({ "pauseConditions": null }));
    assert_eq!(new_status(&plan(&world, now()))["currentStepIndex"], 2);
    let missing = || Err("HTTPRoute \"demo\" not found".to_owned());
    world.routes.values_mut().for_each(|route| *route = missing());
    let held = new_status(&plan(&world, now()));
    assert_eq!(held.get("currentStepIndex"), None, "{held}");
    assert_eq!(held.get("controllerPause"), None, "they need not do it twice: {held}");
}

#[test]
fn nothing_is_promoted_before_all_traffic_is_on_the_new_version() {
    let mut world = canary();
    world.replica_sets[1].replicas = 4;
    world.replica_sets[1].available = 4;
    world.replica_sets[1].current = 4;
    status(
        &mut world,
        &json!({ "currentStepIndex": 3, "controllerPause": null, "pauseConditions": null }),
    );
    // The route does not take weights at the moment.
    world
        .routes
        .values_mut()
        .for_each(|r| *r = Err("the API server refused it".to_owned()));
    let plan = plan(&world, now());
    assert!(new_status(&plan)["stableRS"].is_null());
}

#[test]
fn the_old_version_stays_while_a_service_or_a_weight_leads_to_it() {
    let mut world = canary();
    let new = world.replica_sets[1].hash().to_owned();
    world.replica_sets[1].replicas = 4;
    world.replica_sets[1].current = 4;
    world.replica_sets[1].available = 4;
    status(
        &mut world,
        &json!({ "currentStepIndex": 3, "controllerPause": null, "pauseConditions": null,
        "stableRS": new, "canary": { "weights": { "canary": { "weight": 100 }, "stable": { "weight": 0 } } } }),
    );
    let plan = plan(&world, now());
    let old = format!("demo-{OLD}");
    let shrinks = plan
        .writes
        .iter()
        .any(|w| matches!(&w.write, Write::PatchReplicaSet { name, .. } if *name == old));
    assert!(!shrinks, "{plan:#?}");
}

#[test]
fn an_invalid_spec_is_said_and_nothing_else_is_touched() {
    let mut world = canary();
    world
        .rollout
        .spec
        .strategy
        .canary
        .as_mut()
        .unwrap()
        .steps
        .as_mut()
        .unwrap()[0]
        .set_weight = Some(120);
    let plan = plan(&world, now());
    assert!(!touches_pods(&plan));
    let status = new_status(&plan);
    assert_eq!(status["phase"], "Degraded");
    let message = status["message"].as_str().unwrap();
    assert!(
        message.starts_with("InvalidSpec: The Rollout \"demo\" is invalid: "),
        "{message}"
    );
    assert!(message.contains("steps[0].setWeight"), "{message}");
    assert!(plan.wake_at.is_some());
}

#[test]
fn a_field_that_is_not_acted_on_is_reported() {
    let mut world = canary();
    world.rollout.spec.restart_at = Some(serin_api::Time::new(now()));
    let plan = plan(&world, now());
    assert!(!touches_pods(&plan));
    let message = new_status(&plan)["message"].as_str().unwrap_or_default().to_owned();
    assert!(
        message.contains("restartAt") && message.contains("not supported yet"),
        "{message}"
    );
}

#[test]
fn a_service_that_is_no_longer_named_is_given_back() {
    let mut world = canary();
    let mut former = world.services["demo-stable"].clone();
    former.name = "demo-before".to_owned();
    world.former_services.push(former);
    let plan = plan(&world, now());
    let patch = plan.writes.iter().find_map(|w| match &w.write {
        Write::PatchService { name, patch, .. } if name == "demo-before" => Some(patch.clone()),
        _ => None,
    });
    let patch = patch.expect("the Service is patched");
    assert!(patch["spec"]["selector"][HASH_LABEL].is_null() && patch["spec"]["selector"].get(HASH_LABEL).is_some());
    assert!(patch["metadata"]["annotations"].get(MANAGED_BY_ANNOTATION).is_some());
}

#[test]
fn a_router_without_services_is_refused_by_name() {
    let mut world = canary();
    world.rollout.spec.strategy.canary.as_mut().unwrap().canary_service = None;
    let message = new_status(&plan(&world, now()))["message"]
        .as_str()
        .unwrap_or_default()
        .to_owned();
    assert!(message.contains("spec.strategy.canary.canaryService"), "{message}");
}

#[test]
fn a_name_that_belongs_to_somebody_else_gives_another_hash() {
    let mut world = canary();
    let new = world.replica_sets.remove(1);
    world.taken_names.insert(new.name.clone());
    let first = plan(&world, now());
    assert_eq!(new_status(&first)["collisionCount"], 1);
    status(&mut world, &json!({ "collisionCount": 1 }));
    let second = plan(&world, now());
    let created = second.writes.iter().find_map(|w| match &w.write {
        Write::CreateReplicaSet { name, .. } => Some(name.clone()),
        _ => None,
    });
    assert!(created.is_some_and(|name| name != new.name));
}

#[test]
fn at_rest_a_paused_canary_writes_nothing() {
    let mut world = canary();
    let first = plan(&world, now());
    status(&mut world, &new_status(&first));
    let second = plan(&world, now());
    assert!(second.is_empty(), "{second:#?}");
}

/// The same at its first step without a router: stable 3 of 3, no canary pod yet, and `old` pods of an overtaken revision of
/// which so many are available.
fn overtaken(old: i32, available: i32) -> World {
    let mut world = canary();
    let canary = world.rollout.spec.strategy.canary.as_mut().unwrap();
    canary.traffic_routing = None;
    (canary.canary_service, canary.stable_service) = (None, None);
    world.routes.clear();
    world.services.clear();
    status(
        &mut world,
        &json!({ "currentStepIndex": 0, "controllerPause": null, "pauseConditions": null, "canary": { "weights": null } }),
    );
    let mut third = world.replica_sets[0].clone();
    (third.name, third.uid) = ("demo-third".to_owned(), "rs-third".to_owned());
    third.labels.insert(HASH_LABEL.to_owned(), "third".to_owned());
    world.replica_sets.push(third);
    for (rs, (wanted, ready)) in world.replica_sets.iter_mut().zip([(3, 3), (0, 0), (old, available)]) {
        (rs.replicas, rs.current, rs.ready, rs.available) = (wanted, wanted.max(ready), ready, ready);
    }
    world
}

#[test]
fn a_weight_step_is_not_passed_without_canary_pods_while_an_older_revision_goes() {
    // Upstream passes it (recordings deadline, new-revision-bad-to-bad), because it takes what the pass may reach for what
    // the weight asks for (write rule W4).
    let world = overtaken(2, 0);
    let plan = plan(&world, now());
    assert!(!plan.writes.is_empty());
    assert!(new_status(&plan)["currentStepIndex"].is_null(), "{plan:#?}");
}

#[test]
fn pods_that_are_going_already_make_up_for_no_others() {
    // One of the older revision's two pods goes already; with the other one there are the three that must stay (write rule
    // W5), not four.
    let mut world = overtaken(1, 2);
    world.replica_sets[1].replicas = 1;
    (world.replica_sets[0].replicas, world.replica_sets[0].available) = (4, 2);
    let scaled = |world: &World| {
        plan(world, now())
            .writes
            .iter()
            .any(|w| matches!(&w.write, Write::PatchReplicaSet { name, .. } if name == "demo-third"))
    };
    assert!(!scaled(&world), "{:#?}", plan(&world, now()));
    world.replica_sets[0].available = 3;
    assert!(scaled(&world), "{:#?}", plan(&world, now()));
}

/// A canary that is late at its last step, while a third version has a time at which it may go.
fn late_beside(replicas: i32) -> World {
    let mut world = canary();
    world.rollout.spec.progress_deadline_seconds = Some(60);
    let condition = json!({
        "type": "Progressing", "status": "True", "reason": "ReplicaSetUpdated", "message": "",
        "lastUpdateTime": "2026-01-01T00:08:30Z", "lastTransitionTime": "2026-01-01T00:08:30Z",
    });
    let at_step = json!({
        "currentStepIndex": 2, "controllerPause": null, "pauseConditions": null, "phase": "Progressing",
        "conditions": [condition], "updatedReplicas": 1,
        "replicas": 5 + replicas, "readyReplicas": 5 + replicas, "availableReplicas": 5 + replicas,
    });
    status(&mut world, &at_step);
    world.replica_sets[1].replicas = 3;
    let mut third = world.replica_sets[0].clone();
    third.name = "demo-third".to_owned();
    third.uid = "rs-third".to_owned();
    third.labels = BTreeMap::from([(HASH_LABEL.to_owned(), "third".to_owned())]);
    third
        .annotations
        .insert("scale-down-deadline".to_owned(), "2026-01-01T00:10:20Z".to_owned());
    third.replicas = replicas;
    third.current = replicas;
    third.ready = replicas;
    third.available = replicas;
    world.replica_sets.push(third);
    world
}

#[test]
fn a_version_that_is_scaled_down_keeps_no_deadline_from_passing() {
    let plan = plan(&late_beside(0), now());
    let status = new_status(&plan);
    let reasons: Vec<&Value> = status["conditions"]
        .as_array()
        .unwrap()
        .iter()
        .map(|c| &c["reason"])
        .collect();
    assert!(reasons.contains(&&json!("ProgressDeadlineExceeded")), "{status}");
    assert_eq!(status["phase"], "Degraded");
}

#[test]
fn while_an_older_version_is_kept_the_deadline_waits_and_nobody_looks_again_at_once() {
    let plan = plan(&late_beside(2), now());
    assert_ne!(new_status(&plan)["phase"], "Degraded");
    assert_eq!(plan.wake_at, Some("2026-01-01T00:10:20Z".parse().unwrap()));
}

#[test]
fn pods_that_are_going_get_no_traffic() {
    // Scaled to nothing a moment ago: the counts of the status are those of before.
    let mut world = canary();
    world.rollout.spec.replicas = Some(0);
    for rs in &mut world.replica_sets {
        rs.replicas = 0;
    }
    status(
        &mut world,
        &json!({ "currentStepIndex": 2, "controllerPause": null, "pauseConditions": null }),
    );
    let raised = plan(&world, now()).writes.into_iter().find_map(|w| match w.write {
        Write::SetRouteWeights { weights, .. } if weights.canary > 20 => Some(weights),
        _ => None,
    });
    assert_eq!(raised, None, "the canary wants no pod");
}

#[test]
fn an_abort_of_a_promoted_revision_gives_its_pods_no_deadline() {
    let mut world = canary();
    let new = world.rollout.status.as_ref().unwrap().current_pod_hash.clone();
    world.replica_sets.remove(0);
    let stable = &mut world.replica_sets[0];
    (stable.replicas, stable.current, stable.ready, stable.available) = (4, 4, 4, 4);
    status(
        &mut world,
        &json!({
            "stableRS": new, "abort": true, "currentStepIndex": 3, "controllerPause": null, "pauseConditions": null,
        }),
    );
    let plan = plan(&world, now());
    let stamped = plan.writes.iter().any(|w| match &w.write {
        Write::PatchReplicaSet { patch, .. } => patch.to_string().contains("scale-down-deadline"),
        _ => false,
    });
    assert!(!stamped, "{plan:#?}");
}

#[test]
fn a_canary_keeps_the_pods_that_its_traffic_needs_until_the_weight_is_off() {
    // From 60 % down to 20 %, while the one stable pod that is missing holds the weight back (design contract 4).
    let mut world = canary();
    let steps = json!([{ "setWeight": 60 }, { "setWeight": 20 }, { "pause": {} }]);
    world.rollout.spec.strategy.canary.as_mut().unwrap().steps = serde_json::from_value(steps).unwrap();
    let canary = world.rollout.spec.strategy.canary.as_ref().unwrap();
    let hash = hash::steps_hash(canary.steps.as_deref());
    for route in world.routes.values_mut() {
        route.as_mut().unwrap().weights = vec![(60, 40)];
    }
    let weight = |destination: &str, weight: i32| json!({ destination: { "weight": weight } });
    let mut weights = weight("canary", 60);
    weights["stable"] = weight("stable", 40)["stable"].clone();
    status(
        &mut world,
        &json!({
            "currentStepHash": hash, "currentStepIndex": 1, "controllerPause": null, "pauseConditions": null,
            "canary": { "weights": weights },
        }),
    );
    (world.replica_sets[0].ready, world.replica_sets[0].available) = (2, 2);
    let new = &mut world.replica_sets[1];
    (new.replicas, new.current, new.ready, new.available) = (3, 3, 3, 3);
    let name = new.name.clone();
    let scaled = plan(&world, now()).writes.iter().any(|w| match &w.write {
        Write::PatchReplicaSet { name: of, patch, .. } => *of == name && !patch["spec"]["replicas"].is_null(),
        _ => false,
    });
    assert!(!scaled, "{:#?}", plan(&world, now()));
}

#[test]
fn a_weight_that_no_route_has_completes_no_step() {
    // The route was deleted after its weight had been recorded.
    let mut world = canary();
    for route in world.routes.values_mut() {
        *route = Err("HTTPRoute shop/demo does not exist".to_owned());
    }
    status(
        &mut world,
        &json!({ "currentStepIndex": 0, "controllerPause": null, "pauseConditions": null }),
    );
    let plan = plan(&world, now());
    assert!(new_status(&plan)["currentStepIndex"].is_null(), "{plan:#?}");
}

#[test]
fn a_stable_version_keeps_its_size_as_long_as_no_weight_was_ever_written() {
    let mut world = canary();
    let strategy = world.rollout.spec.strategy.canary.as_mut().unwrap();
    strategy.dynamic_stable_scale = Some(true);
    strategy.steps = serde_json::from_value(json!([{ "setCanaryScale": { "weight": 100 } }])).unwrap();
    let hash = hash::steps_hash(strategy.steps.as_deref());
    let first = json!({
        "currentStepHash": hash, "currentStepIndex": 0, "controllerPause": null, "pauseConditions": null,
        "canary": { "weights": null },
    });
    status(&mut world, &first);
    let grown = BTreeMap::from([(world.replica_sets[1].name.clone(), 4)]);
    assert_eq!(sizes(&plan(&world, now())), grown);
    for route in world.routes.values_mut() {
        *route = Err("HTTPRoute shop/demo does not exist".to_owned());
    }
    assert_eq!(sizes(&plan(&world, now())), grown, "nor was one, as far as can be read");
}

/// Whether it is said that the Rollout was seen for the first time.
fn greets(world: &World) -> bool {
    let plan = plan(world, now());
    let mut events = plan.writes.iter().flat_map(|w| &w.events);
    events.any(|event| event.reason == "RolloutAddedToInformer")
}

#[test]
fn a_rollout_is_greeted_before_it_has_any_revision_and_not_again_after_a_crash() {
    let mut world = updating(2, &json!({}));
    world.rollout.status = None;
    let sets = std::mem::take(&mut world.replica_sets);
    assert!(greets(&world));
    for set in sets {
        // The first was made, or another one was adopted, and the status was never written.
        world.replica_sets = vec![set];
        assert!(!greets(&world), "{:?}", world.replica_sets);
    }
}

#[test]
fn without_a_router_services_follow_the_first_pod_that_is_available() {
    let services = json!({ "canaryService": "demo-canary", "stableService": "demo-stable" });
    let mut world = updating(4, &services);
    world.services = canary().services;
    let new = world.replica_sets[1].hash().to_owned();
    support::pods(&mut world, &new, 4, 1);
    status(&mut world, &json!({ "stableRS": new }));
    let switched = plan(&world, now()).writes.iter().any(|w| match &w.write {
        Write::PatchService { name, patch, .. } => {
            name == "demo-stable" && patch["spec"]["selector"][HASH_LABEL] == new.as_str()
        }
        _ => false,
    });
    assert!(switched, "{:#?}", plan(&world, now()));
}
