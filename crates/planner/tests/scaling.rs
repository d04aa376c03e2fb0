//! Which pods stay for the traffic that they still have, and which go.

#![allow(clippy::unwrap_used, reason = "a test that panics has failed")]

mod support;

use serde_json::{Value, json};
use serin_api::{HASH_LABEL, SCALE_DOWN_DEADLINE_ANNOTATION};
use serin_model::{World, Write};
use serin_planner::plan;

use support::{
    OLD, add_replica_set, new_hash, new_status, now, pods, replica_set, routed, sizes, status, updating, weight,
};

const MIDDLE: &str = "middle";

/// dynamicStableScale at the step of 50 %, which is in the route.
fn halfway(stable: i32) -> World {
    let steps = json!([{ "setWeight": 50 }, { "pause": {} }]);
    let mut world = routed(5, 50, &json!({ "dynamicStableScale": true, "steps": steps }));
    pods(&mut world, OLD, stable, stable);
    world
}

#[test]
fn stable_that_is_given_all_traffic_back_gives_up_no_pod_for_the_weight_that_was() {
    let mut world = halfway(5);
    let new = new_hash(&world);
    pods(&mut world, &new, 3, 0);
    let back = plan(&world, now());
    assert_eq!(weight(&back), Some(0));
    assert_eq!(sizes(&back).get("demo-oldoldold"), None);

    pods(&mut world, &new, 3, 3);
    let onward = plan(&world, now());
    assert_eq!(weight(&onward), None);
    assert_eq!(sizes(&onward).get("demo-oldoldold"), Some(&3), "its share is less");
}

#[test]
fn stable_comes_back_whole_while_the_weight_of_an_overtaken_canary_waits_for_it() {
    let mut world = halfway(3);
    add_replica_set(&mut world, MIDDLE, 2, 3);
    let new = new_hash(&world);
    replica_set(&mut world, &new)
        .annotations
        .insert("rollout.argoproj.io/revision".to_owned(), "3".to_owned());
    world
        .services
        .get_mut("demo-canary")
        .unwrap()
        .selector
        .insert(HASH_LABEL.to_owned(), MIDDLE.to_owned());
    let held = plan(&world, now());
    assert_eq!(weight(&held), None, "three stable pods cannot serve everybody");
    assert_eq!(sizes(&held).get("demo-oldoldold"), Some(&5));

    pods(&mut world, OLD, 5, 5);
    assert_eq!(weight(&plan(&world, now())), Some(0));
}

#[test]
fn pods_that_are_ready_and_not_yet_available_are_not_cleared_away_with_the_broken_ones() {
    let size = |available: i32, ready: i32| {
        let canary = json!({ "maxSurge": 2, "maxUnavailable": 1, "steps": [{ "setWeight": 10 }, { "pause": {} }] });
        let mut world = updating(7, &canary);
        pods(&mut world, OLD, 2, 2);
        add_replica_set(&mut world, MIDDLE, 2, 7);
        pods(&mut world, MIDDLE, 7, available);
        replica_set(&mut world, MIDDLE).ready = ready;
        sizes(&plan(&world, now())).get("demo-middle").copied()
    };
    assert_eq!(size(4, 7), None, "six are available and six are needed");
    assert_eq!(size(4, 5), Some(5), "two are broken");
    assert_eq!(size(7, 7), Some(4), "three more than needed are available");
}

#[test]
fn the_only_revision_that_is_left_gets_all_pods_although_it_was_aborted() {
    for router in [true, false] {
        let canary = json!({ "steps": [{ "setWeight": 50 }, { "pause": {} }] });
        let mut world = if router {
            routed(4, 50, &canary)
        } else {
            updating(4, &canary)
        };
        let new = new_hash(&world);
        pods(&mut world, &new, 2, 2);
        world.replica_sets.retain(|rs| rs.hash() == new);
        status(&mut world, &json!({ "abort": true }));
        let next = plan(&world, now());
        assert_eq!(sizes(&next).get(&format!("demo-{new}")), Some(&4), "router: {router}");
    }
}

#[test]
fn without_a_router_a_lower_step_is_not_done_while_the_canary_has_more_pods_than_it_asks_for() {
    let canary = json!({
        "maxSurge": "50%", "maxUnavailable": 0, "replicaProgressThreshold": { "type": "Pods", "value": 1 },
        "steps": [{ "setWeight": 64 }, { "setWeight": 40 }, { "pause": {} }],
    });
    let mut world = updating(3, &canary);
    status(&mut world, &json!({ "currentStepIndex": 1 }));
    let new = new_hash(&world);
    pods(&mut world, OLD, 2, 2);
    for (count, step) in [(2, None), (1, Some(2))] {
        pods(&mut world, &new, count, count);
        let index = new_status(&plan(&world, now()))["currentStepIndex"].as_i64();
        assert_eq!(index, step, "{count} pods");
    }
}

/// What is written to the ReplicaSet of that hash, whose deadline has passed.
fn written(mut world: World, hash: &str) -> Value {
    let annotations = &mut replica_set(&mut world, hash).annotations;
    annotations.insert(
        SCALE_DOWN_DEADLINE_ANNOTATION.to_owned(),
        "2026-01-01T00:09:59Z".to_owned(),
    );
    let patches = plan(&world, now()).writes.into_iter().filter_map(|w| match w.write {
        Write::PatchReplicaSet { name, patch, .. } if name == format!("demo-{hash}") => Some(patch),
        _ => None,
    });
    patches.collect()
}

#[test]
fn a_deadline_goes_with_the_last_pod_but_for_an_aborted_canary_which_would_be_given_another_one() {
    let mut world = routed(4, 0, &json!({ "steps": [{ "setWeight": 50 }, { "pause": {} }] }));
    let new = new_hash(&world);
    pods(&mut world, &new, 4, 4);
    let mut aborted = world.clone();
    status(
        &mut aborted,
        &json!({ "abort": true, "abortedAt": "2026-01-01T00:09:00Z" }),
    );
    assert_eq!(written(aborted, &new), json!([{ "spec": { "replicas": 0 } }]));

    let selector = &mut world.services.get_mut("demo-stable").unwrap().selector;
    selector.insert(HASH_LABEL.to_owned(), new.clone());
    let weights = json!({ "stable": { "podTemplateHash": new } });
    status(
        &mut world,
        &json!({ "stableRS": new, "currentStepIndex": 2, "canary": { "weights": weights } }),
    );
    let annotations = json!({ SCALE_DOWN_DEADLINE_ANNOTATION: null });
    let gone = json!([{ "metadata": { "annotations": annotations }, "spec": { "replicas": 0 } }]);
    assert_eq!(written(world, OLD), gone);
}

#[test]
fn back_at_stable_weight_and_canary_service_wait_for_the_stable_pods_that_were_given_away() {
    let steps = json!([{ "setWeight": 50 }, { "setWeight": 80 }]);
    let mut world = routed(5, 80, &json!({ "dynamicStableScale": true, "steps": steps }));
    pods(&mut world, OLD, 0, 0);
    let new = new_hash(&world);
    add_replica_set(&mut world, MIDDLE, 2, 4);
    for (service, hash) in [("demo-canary", MIDDLE), ("demo-stable", new.as_str())] {
        let selector = &mut world.services.get_mut(service).unwrap().selector;
        selector.insert(HASH_LABEL.to_owned(), hash.to_owned());
    }
    let hashes = json!({ "canary": { "podTemplateHash": MIDDLE }, "stable": { "podTemplateHash": new } });
    status(
        &mut world,
        &json!({ "stableRS": new, "currentStepIndex": 2, "canary": { "weights": hashes } }),
    );
    let pass = |world: &World| {
        let plan = plan(world, now());
        let mut writes = plan.writes.iter();
        let is_switched = writes.any(|w| matches!(&w.write, Write::PatchService { name, .. } if name == "demo-canary"));
        (weight(&plan), is_switched)
    };
    pods(&mut world, &new, 5, 4);
    assert_eq!(
        pass(&world),
        (Some(50), false),
        "as much as the step before would leave"
    );
    pods(&mut world, &new, 5, 5);
    assert_eq!(pass(&world), (Some(0), true));

    // The weight is off already.
    let off = json!({ "canary": { "weight": 0 }, "stable": { "weight": 100 } });
    status(&mut world, &json!({ "canary": { "weights": off } }));
    for route in world.routes.values_mut() {
        route.as_mut().unwrap().weights = vec![(0, 100)];
    }
    pods(&mut world, &new, 5, 4);
    assert_eq!(pass(&world), (None, true));
}

#[test]
fn an_aborted_canary_keeps_a_pod_while_its_service_cannot_go_to_stable() {
    for (delay, deadline, kept) in [(None, None, Some(1)), (Some(5), Some("2026-01-01T00:09:30Z"), None)] {
        for (stable, expected) in [(0, kept), (1, Some(0))] {
            let strategy = json!({
                "dynamicStableScale": true, "abortScaleDownDelaySeconds": delay,
                "steps": [{ "setWeight": 40 }, { "pause": {} }],
            });
            let mut world = routed(5, 0, &strategy);
            let new = new_hash(&world);
            pods(&mut world, &new, 2, 2);
            pods(&mut world, OLD, 5, stable);
            if let Some(at) = deadline {
                let annotations = &mut replica_set(&mut world, &new).annotations;
                annotations.insert("scale-down-deadline".to_owned(), at.to_owned());
            }
            status(
                &mut world,
                &json!({ "abort": true, "abortedAt": "2026-01-01T00:09:00Z" }),
            );
            let size = sizes(&plan(&world, now())).get(&format!("demo-{new}")).copied();
            assert_eq!(size, expected, "{stable} stable pods, delay {delay:?}");
        }
    }
}

#[test]
fn an_older_version_that_stays_beyond_its_time_does_not_stop_the_progress_deadline() {
    for (at, reason) in [
        ("2026-01-01T00:10:30Z", None),
        ("2026-01-01T00:09:30Z", Some("ProgressDeadlineExceeded")),
    ] {
        let mut world = routed(6, 0, &json!({ "steps": [{ "setWeight": 40 }, { "pause": {} }] }));
        let new = new_hash(&world);
        pods(&mut world, &new, 6, 0);
        pods(&mut world, OLD, 2, 2);
        let annotations = &mut replica_set(&mut world, OLD).annotations;
        annotations.insert("scale-down-deadline".to_owned(), at.to_owned());
        let before = "2025-12-31T23:00:00Z";
        status(
            &mut world,
            &json!({
                "stableRS": new, "currentStepIndex": 2, "replicas": 8, "updatedReplicas": 6, "availableReplicas": 2,
                "readyReplicas": 2,
                "conditions": [{
                    "type": "Progressing", "status": "True", "reason": "ReplicaSetUpdated", "message": "",
                    "lastUpdateTime": before, "lastTransitionTime": before,
                }],
            }),
        );
        let written = new_status(&plan(&world, now()));
        let conditions = written["conditions"].as_array().cloned().unwrap_or_default();
        let found = conditions
            .iter()
            .find(|c| c["type"] == "Progressing" && c["reason"] != "ReplicaSetUpdated");
        assert_eq!(found.and_then(|c| c["reason"].as_str()), reason, "{at}");
    }
}

#[test]
fn pods_of_an_older_version_that_a_service_without_a_revision_leads_to_go_only_as_others_are_available() {
    for (has_revision, expected) in [(true, 0), (false, 6)] {
        let canary = json!({ "maxUnavailable": "25%", "steps": [{ "setWeight": 10 }, { "pause": {} }] });
        let mut world = routed(8, 0, &canary);
        add_replica_set(&mut world, MIDDLE, 2, 8);
        pods(&mut world, OLD, 8, 0);
        let new = new_hash(&world);
        // So that nothing but the others is left to be scaled.
        pods(&mut world, &new, 1, 0);
        if !has_revision {
            for service in world.services.values_mut() {
                service.selector.remove(HASH_LABEL);
            }
        }
        let sizes = sizes(&plan(&world, now()));
        assert_eq!(sizes.get("demo-middle"), Some(&expected), "{sizes:?}");
    }
}

#[test]
fn pods_of_the_new_version_that_a_service_without_a_revision_leads_to_stay_while_stable_has_none() {
    let canary = json!({ "maxUnavailable": "25%", "steps": [{ "pause": {} }, { "setWeight": 10 }] });
    for (has_revision, stable, expected) in [(true, 0, 0), (false, 0, 6), (false, 8, 0)] {
        let mut world = routed(8, 0, &canary);
        pods(&mut world, OLD, 8, stable);
        let new = new_hash(&world);
        pods(&mut world, &new, 8, 8);
        if !has_revision {
            for service in world.services.values_mut() {
                service.selector.remove(HASH_LABEL);
            }
        }
        let sizes = sizes(&plan(&world, now()));
        assert_eq!(
            sizes.get(&format!("demo-{new}")),
            Some(&expected),
            "{stable} stable pods: {sizes:?}"
        );
    }
}

#[test]
fn a_rollout_that_wants_no_pods_keeps_none_of_an_old_version_whatever_weight_is_recorded_for_it() {
    for (replicas, expected) in [(0, Some(0)), (4, None)] {
        let mut world = routed(4, 0, &json!({ "scaleDownDelaySeconds": 0 }));
        let new = new_hash(&world);
        add_replica_set(&mut world, MIDDLE, 1, 3);
        for (name, count) in [(&*new, replicas), (OLD, 0)] {
            pods(&mut world, name, count, count);
        }
        world.rollout.spec.replicas = Some(replicas);
        let known = replicas.to_string();
        for rs in &mut world.replica_sets {
            rs.annotations
                .insert("rollout.argoproj.io/desired-replicas".to_owned(), known.clone());
        }
        let weights = json!({ "canary": { "weight": 0 }, "stable": { "weight": 100, "podTemplateHash": MIDDLE } });
        status(
            &mut world,
            &json!({ "stableRS": new, "canary": { "weights": weights } }),
        );
        for service in world.services.values_mut() {
            service.selector.insert(HASH_LABEL.to_owned(), new.clone());
        }
        let written = sizes(&plan(&world, now()));
        assert_eq!(written.get("demo-middle").copied(), expected, "{replicas} replicas");
    }
}

#[test]
fn an_aborted_canary_gives_up_pods_down_to_its_weight_although_its_service_waits_for_the_weight() {
    let steps = json!([{ "setWeight": 40 }, { "setWeight": 85 }, { "pause": {} }]);
    let mut world = routed(2, 40, &json!({ "dynamicStableScale": true, "steps": steps }));
    let new = new_hash(&world);
    status(
        &mut world,
        &json!({ "abort": true, "abortedAt": "2026-01-01T00:09:00Z" }),
    );
    pods(&mut world, &new, 2, 2);
    assert_eq!(sizes(&plan(&world, now())).get(&format!("demo-{new}")), Some(&1));
    pods(&mut world, &new, 1, 1);
    assert_eq!(weight(&plan(&world, now())), Some(0));
}

#[test]
fn pods_that_are_not_available_serve_nobody_and_go_although_a_service_leads_to_them() {
    let mut world = routed(3, 0, &json!({}));
    let new = new_hash(&world);
    world.rollout.spec.replicas = Some(0);
    status(&mut world, &json!({ "stableRS": new }));
    pods(&mut world, OLD, 0, 0);
    pods(&mut world, &new, 3, 0);
    for service in world.services.values_mut() {
        service.selector.remove(HASH_LABEL);
    }
    let name = format!("demo-{new}");
    assert_eq!(sizes(&plan(&world, now())).get(&name), Some(&0));
}

#[test]
fn a_version_that_the_stable_service_still_leads_to_keeps_the_pods_for_that_traffic() {
    // Somebody goes back to the version before, and stable has too few pods yet for its Service to leave that one.
    for (weight, kept) in [(20, 4), (100, 0)] {
        let steps = json!([{ "pause": {} }, { "setWeight": 40 }]);
        let mut world = routed(5, weight, &json!({ "dynamicStableScale": true, "steps": steps }));
        let new = new_hash(&world);
        for (name, hash) in [("demo-stable", &*new), ("demo-canary", OLD)] {
            let service = world.services.get_mut(name).unwrap();
            service.selector.insert(HASH_LABEL.to_owned(), hash.to_owned());
        }
        pods(&mut world, &new, 5, 5);
        pods(&mut world, OLD, 5, 1);
        let plan = plan(&world, now());
        assert_eq!(sizes(&plan).get(&format!("demo-{new}")), Some(&kept), "{weight}");
    }
}
