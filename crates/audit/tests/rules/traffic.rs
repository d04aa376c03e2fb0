//! W1 and W3.

use serde_json::json;
use serin_audit::Rule::{W1, W3, W7};

use crate::scene::{OLD, Scene, new, scale, status, switch, weight, weights_of};

#[test]
fn the_weight_of_the_step_may_be_written_and_no_more() {
    Scene::routed().accepts(vec![weight(20)]);
    Scene::routed().refuses(W1, "step 0 (setWeight: 20) allows 20", vec![weight(21)]);
}

#[test]
fn a_pause_keeps_the_weight_of_the_step_before() {
    let scene = || Scene::routed().status(json!({"currentStepIndex": 1}));
    scene().accepts(vec![weight(20)]);
    scene().refuses(W1, "step 1 (pause) allows 20", vec![weight(60)]);
}

#[test]
fn the_weight_waits_for_all_pods_that_the_step_asks_for() {
    let scene = || {
        Scene::routed()
            .status(json!({"currentStepIndex": 2}))
            .weights(20, 80)
            .new_pods(6, 5)
    };
    scene().refuses(W1, "5 of 6 canary pods are available allows 20", vec![weight(60)]);
    scene().new_pods(6, 6).accepts(vec![weight(60)]);
    scene()
        .canary(json!({"replicaProgressThreshold": {"type": "Percent", "value": 80}}))
        .accepts(vec![weight(60)]);
    scene()
        .canary(json!({"replicaProgressThreshold": {"type": "Pods", "value": 6}}))
        .refuses(W1, "5 of 6", vec![weight(60)]);
}

#[test]
fn pods_that_the_same_plan_asks_for_are_not_there_yet() {
    let scene = Scene::routed().status(json!({"currentStepIndex": 2})).weights(20, 80);
    scene.refuses(W1, "2 of 6", vec![scale(&crate::scene::new_name(), 6), weight(60)]);
}

#[test]
fn a_size_of_its_own_counts_instead_of_the_weight() {
    let steps = json!({"steps": [{"setCanaryScale": {"replicas": 1}}, {"setWeight": 20}]});
    let scene = || {
        Scene::routed()
            .canary(steps.clone())
            .status(json!({"currentStepIndex": 1}))
    };
    scene().new_pods(1, 1).accepts(vec![weight(20)]);
    scene()
        .new_pods(1, 0)
        .refuses(W1, "without an available pod", vec![weight(20)]);
    let weights = json!({"steps": [{"setCanaryScale": {"weight": 50}}, {"setWeight": 20}]});
    let scene = Scene::routed().canary(weights).status(json!({"currentStepIndex": 1}));
    scene.refuses(W1, "2 of 5", vec![weight(20)]);
    let matching = json!({"steps": [
        {"setCanaryScale": {"weight": 50}}, {"setCanaryScale": {"matchTrafficWeight": true}}, {"setWeight": 20}]});
    let scene = Scene::routed().canary(matching).status(json!({"currentStepIndex": 2}));
    scene.accepts(vec![weight(20)]);
}

#[test]
fn weight_needs_a_ready_pod_behind_the_canary_service() {
    Scene::routed()
        .endpoints(0)
        .refuses(W1, "ready behind the Service demo-canary", vec![weight(20)]);
    let mut blind = Scene::routed();
    blind.world.endpoints = None;
    blind.accepts(vec![weight(20)]);
}

#[test]
fn another_revisions_pod_behind_the_canary_service_does_not_count() {
    let mut scene = Scene::routed();
    let ready = [format!("{}-abcde", "demo-old")].into();
    let endpoints = serin_model::Endpoints { ready_pods: ready };
    scene.world.endpoints = Some([("demo-canary".to_owned(), endpoints)].into());
    scene.refuses(W1, "ready behind", vec![weight(20)]);
}

#[test]
fn the_weights_add_up_and_name_the_specs_services() {
    Scene::routed().refuses(W1, "must add up to 100", vec![weights_of(20, 20)]);
    Scene::routed().refuses(W1, "must add up to 100", vec![weights_of(-10, 110)]);
    let thousand = || {
        Scene::routed()
            .canary(json!({"trafficRouting": {"maxTrafficWeight": 1000}, "steps": [{"setWeight": 5}, {"pause": {}}]}))
    };
    thousand().accepts(vec![weights_of(5, 995)]);
    thousand().refuses(W1, "allows 5", vec![weights_of(6, 994)]);
    thousand().refuses(W1, "must add up to 1000", vec![weights_of(5, 95)]);
    let mut strange = weight(20);
    if let serin_model::Write::SetRouteWeights { weights, .. } = &mut strange {
        weights.canary_service = "other".into();
    }
    Scene::routed().refuses(W1, "the spec names demo-canary", vec![strange]);
}

#[test]
fn the_whole_weight_needs_the_end_of_the_steps_and_all_pods() {
    let scene = || Scene::routed().weights(60, 40);
    let end = json!({"currentStepIndex": 4});
    scene().status(end.clone()).new_pods(10, 10).accepts(vec![weight(100)]);
    scene()
        .status(end)
        .new_pods(10, 9)
        .refuses(W1, "9 of 10 canary pods are available allows 60", vec![weight(100)]);
    scene().status(json!({"currentStepIndex": 3})).new_pods(10, 10).refuses(
        W1,
        "step 3 (analysis) allows 60",
        vec![weight(100)],
    );
}

#[test]
fn without_steps_the_whole_weight_comes_with_all_pods() {
    let scene = || {
        Scene::routed()
            .canary(json!({"steps": null}))
            .status(json!({"currentStepIndex": null}))
    };
    scene().new_pods(10, 10).accepts(vec![weight(100)]);
    scene().refuses(W1, "2 of 10", vec![weight(100)]);
}

#[test]
fn going_back_is_always_allowed() {
    let far = Scene::routed().weights(90, 10).endpoints(0).new_pods(2, 0);
    far.accepts(vec![weight(0)]);
    far.accepts(vec![weight(20)]);
}

#[test]
fn a_first_deploy_may_have_all_traffic_once_a_pod_is_ready() {
    let scene = || Scene::routed().status(json!({"stableRS": null}));
    scene().accepts(vec![weight(100)]);
    scene().endpoints(0).refuses(W1, "ready behind", vec![weight(100)]);
}

#[test]
fn what_is_fully_promoted_has_no_canary_to_give_weight_to() {
    let scene = Scene::routed()
        .status(json!({"stableRS": new(), "currentStepIndex": 4}))
        .selects("demo-stable", &new())
        .weights(100, 0)
        .new_pods(10, 10);
    scene.accepts(vec![weight(0)]);
    scene
        .weights(0, 100)
        .refuses(W1, "a fully promoted Rollout allows 0", vec![weight(20)]);
}

#[test]
fn no_weight_before_the_status_speaks_of_the_new_revision() {
    Scene::routed()
        .status(json!({"currentPodHash": "third"}))
        .refuses(W1, "another revision", vec![weight(20)]);
    Scene::routed().status(json!({"currentStepHash": "other"})).refuses(
        W1,
        "another revision or other steps",
        vec![weight(20)],
    );
}

#[test]
fn a_full_promotion_holds_the_weight_or_follows_the_pods() {
    let recorded = json!({"promoteFull": true, "canary": {"weights": {
        "canary": {"weight": 20}, "stable": {"weight": 80}}}});
    let scene = || Scene::routed().status(recorded.clone());
    scene().accepts(vec![weight(20)]);
    scene().refuses(W1, "a full promotion allows 20", vec![weight(60)]);
    let dynamic = scene().canary(json!({"dynamicStableScale": true})).new_pods(10, 7);
    dynamic.accepts(vec![weight(70)]);
    dynamic.refuses(W1, "allows 70", vec![weight(71)]);
}

#[test]
fn a_service_that_has_traffic_is_not_switched_to_what_is_not_stable() {
    let scene = || Scene::routed().weights(20, 80).new_pods(10, 10);
    scene().refuses(
        W1,
        "gives what is not stable 100 %",
        vec![switch("demo-stable", &new())],
    );
    scene()
        .status(json!({"stableRS": new(), "currentStepIndex": 4}))
        .accepts(vec![switch("demo-stable", &new())]);
}

#[test]
fn the_canary_service_is_switched_before_it_has_weight() {
    let scene = || Scene::routed().selects("demo-canary", OLD);
    scene().accepts(vec![switch("demo-canary", &new())]);
    scene()
        .weights(50, 50)
        .new_pods(10, 10)
        .refuses(W1, "50 % of the traffic", vec![switch("demo-canary", &new())]);
    scene().weights(20, 80).accepts(vec![switch("demo-canary", &new())]);
    scene()
        .weights(50, 50)
        .accepts(vec![weight(0), switch("demo-canary", &new())]);
}

#[test]
fn a_service_that_selects_all_revisions_may_be_taken_over() {
    let scene = Scene::routed()
        .selects("demo-canary", "")
        .weights(50, 50)
        .new_pods(10, 10);
    scene.accepts(vec![switch("demo-canary", &new())]);
}

#[test]
fn while_an_abort_stands_the_next_weight_is_0() {
    let scene = || Scene::routed().weights(20, 80).status(json!({"abort": true}));
    scene().accepts(vec![weight(0)]);
    scene().refuses(W3, "write 0", vec![weight(10)]);
    scene().refuses(W3, "write 0", vec![weight(20)]);
    scene().refuses(W3, "write 0", vec![weight(60)]);
}

#[test]
fn under_dynamic_stable_scale_the_weight_falls_and_never_rises_after_an_abort() {
    let scene = Scene::routed()
        .canary(json!({"dynamicStableScale": true}))
        .weights(60, 40)
        .status(json!({"abort": true, "currentStepIndex": 2}));
    scene.accepts(vec![weight(0)]);
    scene.accepts(vec![weight(20)]);
    scene.refuses(W3, "or less than before", vec![weight(60)]);
    scene.refuses(W3, "or less than before", vec![weight(61)]);
}

#[test]
fn a_service_gives_an_aborted_canary_nothing() {
    let scene = || {
        Scene::routed()
            .weights(20, 80)
            .status(json!({"abort": true}))
            .selects("demo-canary", OLD)
    };
    scene().refuses(W3, "while status.abort stands", vec![switch("demo-canary", &new())]);
    // Nobody is harmed once it has no weight (upstream's Service flaps here, recordings 1).
    scene().weights(0, 100).accepts(vec![switch("demo-canary", &new())]);
}

#[test]
fn an_abort_ends_by_a_person_a_new_revision_or_a_promotion_only() {
    let aborted = || Scene::routed().status(json!({"abort": true, "abortedAt": "2026-11-21T11:00:00Z"}));
    let lifted = || vec![status(json!({"abort": null, "abortedAt": null}))];
    aborted().refuses(W3, "status.abort would be taken back", lifted());
    // Of another revision than the newest.
    aborted().status(json!({"currentPodHash": "third"})).accepts(lifted());
    aborted().status(json!({"promoteFull": true})).accepts(lifted());
    aborted().status(json!({"stableRS": new()})).accepts(lifted());
    // A person has taken it back already; what is left is ours to clear.
    aborted()
        .status(json!({"abort": false}))
        .accepts(vec![status(json!({"abortedAt": null}))]);
}

#[test]
fn weights_that_a_foreign_writer_left_are_only_judged_by_what_we_change() {
    let scene = Scene::routed().weights(90, 10);
    scene.accepts(vec![status(json!({"message": "too much"}))]);
    scene.accepts(vec![weight(20)]);
    scene.refuses(W7, "has 90 % of the traffic", vec![scale(&crate::scene::new_name(), 0)]);
}
