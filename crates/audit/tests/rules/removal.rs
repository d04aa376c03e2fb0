//! W7.

use serde_json::json;
use serin_audit::Rule::W7;

use crate::scene::{OLD, Scene, delete, new, new_name, scale, switch, weight};

const DEADLINE: &str = "scale-down-deadline";
const REVISION: &str = "rollout.argoproj.io/revision";

/// Everything runs on the new revision; the old one is kept for a while.
fn promoted() -> Scene {
    Scene::routed()
        .status(json!({"stableRS": new(), "currentStepIndex": 4}))
        .selects("demo-stable", &new())
        .new_pods(10, 10)
        .annotate("demo-old", DEADLINE, "2026-11-21T12:00:00Z")
}

#[test]
fn what_has_weight_is_neither_scaled_to_0_nor_deleted() {
    let scene = Scene::routed().weights(20, 80);
    scene.refuses(
        W7,
        "scaled to 0 while its revision has 20 %",
        vec![scale(&new_name(), 0)],
    );
    scene.refuses(W7, "deleted while its revision has 20 %", vec![delete(&new_name())]);
    // Scaled to 0 in the same plan only after the weight was taken away, and no Service selects it.
    scene.accepts(vec![weight(0), switch("demo-canary", OLD), scale(&new_name(), 1)]);
}

#[test]
fn what_a_service_selects_stays() {
    let scene = || promoted().selects("demo-stable", OLD).weights(100, 0);
    scene().refuses(
        W7,
        "while the Service demo-stable selects it",
        vec![scale("demo-old", 0)],
    );
    scene().accepts(vec![switch("demo-stable", &new()), scale("demo-old", 0)]);
    promoted().refuses(
        W7,
        "the Service demo-canary selects it",
        vec![switch("demo-canary", OLD), scale("demo-old", 0)],
    );
}

#[test]
fn without_a_readable_route_the_recorded_weights_say_how_much_traffic_a_service_has() {
    let recorded = json!({"canary": {"weights": {
        "canary": {"weight": 20, "podTemplateHash": new()}, "stable": {"weight": 80, "podTemplateHash": OLD}}}});
    let scene = || {
        let mut scene = Scene::routed().status(recorded.clone());
        let missing = Err("not found".into());
        scene.world.routes.insert(crate::scene::route(), missing);
        scene
    };
    let last = || vec![scale(&new_name(), 0)];
    scene().refuses(W7, "has 20 % of the traffic", last());
    // The revision that the Service had is no longer behind it.
    scene().selects("demo-canary", OLD).accepts(last());
    let mut unknown = scene();
    unknown.world.services.remove("demo-canary");
    unknown.refuses(W7, "has 20 % of the traffic", last());
}

#[test]
fn a_person_may_want_no_pods_at_all() {
    Scene::routed()
        .weights(20, 80)
        .spec(json!({"replicas": 0}))
        .accepts(vec![scale(&new_name(), 0), scale("demo-old", 0)]);
}

#[test]
fn a_step_of_weight_0_has_no_pods() {
    let steps = json!({"steps": [{"setWeight": 20}, {"setWeight": 0}, {"pause": {}}]});
    let scene = || {
        Scene::routed()
            .canary(steps.clone())
            .status(json!({"currentStepIndex": 1}))
    };
    scene().accepts(vec![scale(&new_name(), 0)]);
    scene()
        .weights(20, 80)
        .refuses(W7, "has 20 % of the traffic", vec![scale(&new_name(), 0)]);
    scene().refuses(W7, "the Service demo-canary selects it", vec![delete(&new_name())]);
    Scene::routed().refuses(W7, "the Service demo-canary selects it", vec![scale(&new_name(), 0)]);
}

#[test]
fn under_dynamic_stable_scale_stable_may_go_when_all_weight_is_the_canarys() {
    let scene = || {
        Scene::routed()
            .canary(json!({"dynamicStableScale": true}))
            .status(json!({"currentStepIndex": 4}))
            .new_pods(10, 10)
    };
    scene().weights(100, 0).accepts(vec![scale("demo-old", 0)]);
    scene()
        .weights(60, 40)
        .refuses(W7, "40 % of the traffic", vec![scale("demo-old", 0)]);
    scene()
        .weights(100, 0)
        .canary(json!({"dynamicStableScale": false}))
        .refuses(W7, "the Service demo-stable selects it", vec![scale("demo-old", 0)]);
}

#[test]
fn of_the_old_versions_as_many_are_kept_as_the_limit_says_the_last_ones() {
    let scene = |limit: i32, third: i32, number: &str| {
        promoted()
            .canary(json!({"scaleDownDelayRevisionLimit": limit}))
            .third(third, 500)
            .annotate("demo-old", REVISION, "5")
            .annotate("demo-old", DEADLINE, "2026-11-21T12:00:10Z")
            .annotate("demo-third", REVISION, number)
    };
    let gone = || vec![scale("demo-old", 0)];
    scene(1, 3, "6").accepts(gone());
    scene(2, 3, "6").warns(W7, "kept until", gone());
    scene(1, 3, "4").warns(W7, "kept until", gone());
    scene(1, 0, "6").warns(W7, "kept until", gone());
}

#[test]
fn the_old_version_is_kept_until_its_deadline() {
    promoted().accepts(vec![scale("demo-old", 0)]);
    let early = || promoted().annotate("demo-old", DEADLINE, "2026-11-21T12:00:01Z");
    early().warns(W7, "kept until 2026-11-21T12:00:01Z", vec![scale("demo-old", 0)]);
    early()
        .canary(json!({"scaleDownDelayRevisionLimit": 0}))
        .accepts(vec![scale("demo-old", 0)]);
    // What is broken is no way back (compat 2.5).
    early().pods("demo-old", 10, 0).accepts(vec![scale("demo-old", 0)]);
}

#[test]
fn an_old_version_that_is_released_again_has_the_size_of_its_step() {
    let steps = json!({"steps": [{"pause": {}}, {"setWeight": 20}, {"setWeight": 60}, {"analysis": {}}]});
    let scene = || {
        Scene::routed()
            .canary(steps.clone())
            .annotate(&new_name(), DEADLINE, "2026-11-21T12:00:10Z")
    };
    scene().accepts(vec![scale(&new_name(), 0)]);
    scene()
        .status(json!({"abort": true}))
        .selects("demo-canary", OLD)
        .warns(W7, "kept until 2026-11-21T12:00:10Z", vec![scale(&new_name(), 0)]);
}

#[test]
fn under_dynamic_stable_scale_the_old_version_goes_at_once_although_an_abort_came_too_late() {
    let mut scene = promoted()
        .canary(json!({"dynamicStableScale": true, "abortScaleDownDelaySeconds": 30}))
        .status(json!({"abort": true}));
    scene.world.replica_sets[0].annotations.clear();
    scene.accepts(vec![scale("demo-old", 0)]);
}

#[test]
fn the_old_version_gets_a_deadline_before_it_goes() {
    let mut scene = promoted();
    scene.world.replica_sets[0].annotations.clear();
    scene.warns(
        W7,
        "kept for 30 s after the promotion and has no deadline yet",
        vec![scale("demo-old", 0)],
    );
    scene = scene.canary(json!({"scaleDownDelaySeconds": 0}));
    scene.accepts(vec![scale("demo-old", 0)]);
}

#[test]
fn a_revision_that_was_overtaken_goes_at_once() {
    Scene::routed().third(4, 50).accepts(vec![scale("demo-third", 0)]);
    Scene::routed().third(4, 50).selects("demo-canary", "third").refuses(
        W7,
        "the Service demo-canary selects it",
        vec![scale("demo-third", 0)],
    );
}

#[test]
fn an_aborted_canary_is_kept_for_its_delay() {
    let scene = || {
        Scene::routed()
            .status(json!({"abort": true, "abortedAt": "2026-11-21T11:59:00Z"}))
            .selects("demo-canary", OLD)
    };
    let gone = || vec![scale(&new_name(), 0)];
    scene().warns(W7, "kept for 30 s after the abort", gone());
    scene()
        .annotate(&new_name(), DEADLINE, "2026-11-21T12:00:10Z")
        .warns(W7, "kept until", gone());
    scene()
        .annotate(&new_name(), DEADLINE, "2026-11-21T11:59:59Z")
        .accepts(gone());
    scene()
        .canary(json!({"abortScaleDownDelaySeconds": 0}))
        .warns(W7, "kept for ever", gone());
    scene().canary(json!({"dynamicStableScale": true})).accepts(gone());
}

#[test]
fn without_a_router_the_rule_says_nothing() {
    Scene::plain()
        .new_pods(10, 10)
        .status(json!({"stableRS": new(), "currentStepIndex": 4}))
        .accepts(vec![scale("demo-old", 0), delete("demo-old")]);
}
