//! W2 and W5.

use serde_json::json;
use serin_audit::Rule::{W2, W5};
use serin_model::Write;

use crate::scene::{OLD, Scene, new, new_name, scale, switch, weight};

#[test]
fn stable_keeps_the_pods_that_its_share_needs() {
    // 80 % of ten pods, less two that may be missing.
    let scene = Scene::routed().weights(20, 80);
    scene.accepts(vec![scale("demo-old", 6)]);
    scene.warns(
        W2,
        "would keep 5 ready pods, its 80 % of the traffic need 6",
        vec![scale("demo-old", 5)],
    );
}

#[test]
fn unready_pods_are_no_capacity_and_go_first() {
    let scene = Scene::routed().weights(20, 80).pods("demo-old", 10, 6);
    scene.accepts(vec![scale("demo-old", 6)]);
    scene.warns(W2, "keep 5", vec![scale("demo-old", 5)]);
}

#[test]
fn traffic_is_moved_before_pods_go() {
    let scene = Scene::routed()
        .status(json!({"currentStepIndex": 4}))
        .weights(60, 40)
        .new_pods(10, 10);
    scene.warns(W2, "40 % of the traffic need 2", vec![scale("demo-old", 1)]);
    scene.accepts(vec![weight(100), scale("demo-old", 1)]);
}

#[test]
fn the_canary_keeps_its_share_unless_the_spec_or_a_person_says_otherwise() {
    let scene = || {
        Scene::routed()
            .status(json!({"currentStepIndex": 3}))
            .weights(60, 40)
            .new_pods(6, 6)
    };
    let less = || vec![scale(&new_name(), 3)];
    scene().warns(W2, "keep 3 ready pods, its 60 % of the traffic need 4", less());
    scene().status(json!({"promoteFull": true})).accepts(less());
    scene()
        .canary(json!({"replicaProgressThreshold": {"type": "Percent", "value": 50}}))
        .accepts(less());
    let steps =
        json!({"steps": [{"setWeight": 60}, {"setCanaryScale": {"replicas": 3}}, {"pause": {}}, {"pause": {}}]});
    scene().canary(steps).accepts(less());
}

#[test]
fn a_service_is_switched_to_a_revision_that_can_carry_its_share() {
    let scene = || {
        Scene::routed()
            .status(json!({"stableRS": new(), "currentStepIndex": 4}))
            .weights(0, 100)
    };
    scene().new_pods(10, 8).accepts(vec![switch("demo-stable", &new())]);
    scene().new_pods(10, 7).warns(
        W2,
        "which has 7 ready pods; its 100 % of the traffic need 8",
        vec![switch("demo-stable", &new())],
    );
    // The spec says that half of them are enough.
    let threshold = json!({"replicaProgressThreshold": {"type": "Percent", "value": 50}});
    scene()
        .canary(threshold)
        .new_pods(10, 7)
        .accepts(vec![switch("demo-stable", &new())]);
}

#[test]
fn the_canary_service_goes_back_to_stable_with_the_pods_that_there_are() {
    let scene = || Scene::routed().weights(20, 80).pods("demo-old", 10, 1);
    scene().accepts(vec![switch("demo-canary", OLD)]);
    scene()
        .selects("demo-canary", "")
        .accepts(vec![switch("demo-canary", OLD)]);
    scene().selects("demo-stable", "").warns(
        W2,
        "which has 1 ready pods; its 80 % of the traffic need 6",
        vec![switch("demo-stable", OLD)],
    );
}

#[test]
fn a_service_of_all_pods_is_given_to_the_revision_that_has_them_all() {
    let scene = |others: i32| {
        Scene::routed()
            .status(json!({"stableRS": new(), "currentStepIndex": 4}))
            .weights(0, 100)
            .selects("demo-stable", "")
            .new_pods(10, 1)
            .pods("demo-old", 10, others)
    };
    scene(0).accepts(vec![switch("demo-stable", &new())]);
    scene(1).warns(
        W2,
        "which has 1 ready pods; its 100 % of the traffic need 8",
        vec![switch("demo-stable", &new())],
    );
}

#[test]
fn without_a_router_no_more_pods_than_replicas_plus_surge_are_asked_for() {
    // maxSurge 25 % of ten, rounded up.
    Scene::plain().accepts(vec![scale(&new_name(), 5)]);
    Scene::plain().warns(
        W5,
        "would want 14 pods; replicas plus maxSurge are 13",
        vec![scale(&new_name(), 6)],
    );
    // Too many already, for instance because a person scaled down: less is no fault.
    Scene::plain()
        .pods("demo-old", 20, 20)
        .accepts(vec![scale("demo-old", 15)]);
}

#[test]
fn without_a_router_enough_pods_stay_available() {
    // maxUnavailable 25 % of ten, rounded down.
    Scene::plain().accepts(vec![scale("demo-old", 6)]);
    Scene::plain().warns(
        W5,
        "7 available pods would be left; replicas less maxUnavailable are 8",
        vec![scale("demo-old", 5)],
    );
    Scene::plain()
        .canary(json!({"maxUnavailable": 0}))
        .warns(W5, "9 available pods", vec![scale("demo-old", 7)]);
    Scene::plain()
        .spec(json!({"replicas": 0}))
        .accepts(vec![scale("demo-old", 0), scale(&new_name(), 0)]);
}

#[test]
fn pods_of_the_same_plan_do_not_make_up_for_those_that_go() {
    let scene = Scene::plain().canary(json!({"maxUnavailable": 0}));
    scene.warns(
        W5,
        "9 available pods",
        vec![scale(&new_name(), 3), scale("demo-old", 7)],
    );
    scene.pods(&new_name(), 3, 3).accepts(vec![scale("demo-old", 7)]);
}

#[test]
fn two_cuts_in_one_plan_count_together() {
    let scene = Scene::plain();
    scene.warns(
        W5,
        "7 available pods",
        vec![scale("demo-old", 7), scale(&new_name(), 0)],
    );
}

#[test]
fn unready_pods_may_go_without_a_router() {
    Scene::plain()
        .pods("demo-old", 8, 6)
        .accepts(vec![scale("demo-old", 6)]);
    Scene::plain()
        .pods("demo-old", 8, 5)
        .new_pods(2, 0)
        .accepts(vec![scale(&new_name(), 0)]);
}

#[test]
fn a_replica_set_is_made_without_pods_or_within_the_bounds() {
    let made = |replicas: i32| {
        vec![Write::CreateReplicaSet {
            name: "demo-fresh".into(),
            object: json!({
                "metadata": {"name": "demo-fresh", "labels": {"rollouts-pod-template-hash": "fresh"}},
                "spec": {"replicas": replicas},
            }),
        }]
    };
    Scene::plain().accepts(made(0));
    Scene::plain().warns(W5, "would want 14 pods", made(4));
}

#[test]
fn an_adopted_replica_set_brings_its_pods_along() {
    let mut scene = Scene::plain().third(9, 500);
    scene.world.replica_sets[2].owner = None;
    let adopt = Write::PatchReplicaSet {
        name: "demo-third".into(),
        resource_version: "v-demo-third".into(),
        patch: json!({"metadata": {"ownerReferences": [{"uid": "u", "controller": true}]}}),
    };
    scene.accepts(vec![adopt]);
}
