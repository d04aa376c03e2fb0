//! Canaries behind a Gateway API route.

use serde_json::{Value, json};
use serin_controller::{Key, context::Memory, look::look, observe::Observed};
use serin_model::Settings;

use crate::{
    canary::rollout,
    ground::{Fault, ROUTES, serve},
    stage::{HOME, Stage},
};

fn service(name: &str) -> Value {
    json!({"metadata": {"name": name}, "spec": {"selector": {"app": "demo"}, "ports": [{"port": 80, "targetPort": 8080}]}})
}

fn route() -> Value {
    json!({
        "metadata": {"name": "demo", "labels": {"owner": "platform"}},
        "spec": {
            "parentRefs": [{"name": "gw"}],
            "rules": [{
                "backendRefs": [{"name": "demo-stable", "port": 80}, {"name": "demo-canary", "port": 80}],
                "filters": [{"type": "RequestHeaderModifier"}],
            }],
        },
    })
}

fn behind_the_gateway(steps: Value) -> Value {
    rollout(
        "demo",
        4,
        json!({
            "canaryService": "demo-canary",
            "stableService": "demo-stable",
            "trafficRouting": {"plugins": {"argoproj-labs/gatewayAPI": {"httpRoute": "demo"}}},
            "scaleDownDelaySeconds": 2,
            "abortScaleDownDelaySeconds": 2,
            "steps": steps,
        }),
    )
}

fn on_stage(namespace: &str) -> Stage {
    with_services(Stage::new(namespace))
}

fn with_services(stage: Stage) -> Stage {
    stage.create("services", service("demo-stable"));
    stage.create("services", service("demo-canary"));
    stage
}

/// Every pair (stable, canary) of weights that the route had.
fn weights(stage: &Stage) -> Vec<(i64, i64)> {
    let refs = stage.values(ROUTES, "demo", "/spec/rules/0/backendRefs");
    let weight = |refs: &Value, i: usize| refs[i]["weight"].as_i64().unwrap_or(1);
    let mut out: Vec<_> = refs.iter().map(|r| (weight(r, 0), weight(r, 1))).collect();
    out.dedup();
    out
}

fn steps() -> Value {
    json!([{"setWeight": 20}, {"pause": {}}, {"setWeight": 60}, {"pause": {"duration": "1s"}}])
}

#[tokio::test(start_paused = true)]
async fn weights_follow_the_steps_and_nothing_else_of_the_route_changes() {
    let stage = on_stage("s-gateway");
    let before = stage.create(ROUTES, route());
    stage.create("rollouts", behind_the_gateway(steps()));
    let _controller = stage.start();
    stage.until_phase("demo", "Healthy", 60).await;
    stage.set_image("demo", "demo:v2");
    stage.until_phase("demo", "Paused", 60).await;
    assert_eq!(weights(&stage).last(), Some(&(80, 20)), "{}", stage.trace());
    stage.patch_status("demo", &json!({"pauseConditions": null}));
    stage.until_phase("demo", "Healthy", 60).await;
    stage.settle(10_000).await;
    assert_eq!(
        weights(&stage),
        [(1, 1), (100, 0), (80, 20), (40, 60), (0, 100), (100, 0)],
        "{}",
        stage.trace()
    );
    let mut after = (*stage.get(ROUTES, "demo")).clone();
    for (i, weight) in [100, 0].into_iter().enumerate() {
        let backend = &mut after["spec"]["rules"][0]["backendRefs"][i];
        assert_eq!(backend["weight"], weight);
        backend["weight"] = json!(1);
    }
    assert_eq!(after["spec"], before["spec"]);
    assert_eq!(after["metadata"]["labels"], json!({"owner": "platform"}));
    stage.assert_all_writes_are_guarded();
}

#[tokio::test(start_paused = true)]
async fn an_abort_takes_the_weight_off_first() {
    let stage = on_stage("s-gateway-abort");
    stage.create(ROUTES, route());
    stage.create("rollouts", behind_the_gateway(steps()));
    let _controller = stage.start();
    stage.until_phase("demo", "Healthy", 60).await;
    stage.set_image("demo", "demo:v2");
    stage.until_phase("demo", "Paused", 60).await;
    let before = stage.writes().len();
    stage.patch_status("demo", &json!({"abort": true}));
    stage.until_phase("demo", "Degraded", 60).await;
    let writes = stage.writes();
    let after: Vec<&str> = writes[before..].iter().map(|w| w.path.as_str()).collect();
    // The canary Service going back to the stable pods takes traffic off as well.
    let traffic = after
        .iter()
        .take_while(|p| p.contains("/httproutes/") || p.contains("/services/"));
    assert!(
        traffic.clone().any(|p| p.contains("/httproutes/demo")),
        "the first writes after an abort are {after:#?}"
    );
    assert_eq!(weights(&stage).last(), Some(&(100, 0)));
    stage.settle(10_000).await;
    let replicas: Vec<_> = stage
        .cluster
        .list("replicasets")
        .iter()
        .map(|rs| rs["spec"]["replicas"].clone())
        .collect();
    assert!(
        replicas.contains(&json!(4)) && replicas.contains(&json!(0)),
        "{replicas:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn an_abort_ends_although_somebody_deleted_the_route() {
    let stage = on_stage("s-gateway-abort-deleted");
    stage.create(ROUTES, route());
    stage.create("rollouts", behind_the_gateway(steps()));
    let running = stage.start();
    stage.until_phase("demo", "Healthy", 60).await;
    stage.set_image("demo", "demo:v2");
    stage.until_phase("demo", "Paused", 60).await;
    stage.delete(ROUTES, "demo");
    stage.patch_status("demo", &json!({"abort": true}));
    // Its Service leads to stable: a route that comes back as it was finds no canary.
    let canary_is_gone = |cluster: &serin_kubesim::Cluster| {
        let sizes = cluster.list("replicasets");
        let sizes: Vec<_> = sizes.iter().map(|rs| rs["spec"]["replicas"].as_i64()).collect();
        sizes.contains(&Some(4)) && sizes.contains(&Some(0))
    };
    stage.until("the canary's pods are gone", 60, canary_is_gone).await;
    running.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_release_waits_for_the_route_that_somebody_deleted() {
    let stage = on_stage("s-gateway-deleted");
    stage.create(ROUTES, route());
    let steps = json!([{"setWeight": 20}, {"pause": {"duration": "10s"}}, {"setWeight": 60}, {"pause": {}}]);
    stage.create("rollouts", behind_the_gateway(steps));
    let running = stage.start();
    stage.until_phase("demo", "Healthy", 60).await;
    stage.set_image("demo", "demo:v2");
    stage.until_phase("demo", "Paused", 60).await;
    stage.delete(ROUTES, "demo");
    stage.settle(60_000).await;
    assert_eq!(
        stage.rollout("demo")["status"]["currentStepIndex"],
        1,
        "{}",
        stage.trace()
    );
    stage.create(ROUTES, route());
    let is_at_the_last = |cluster: &serin_kubesim::Cluster| {
        let rollouts = cluster.list("rollouts");
        rollouts
            .iter()
            .any(|rollout| rollout["status"]["currentStepIndex"] == 3)
    };
    stage.until("the pause is over", 60, is_at_the_last).await;
    running.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_look_at_one_namespace_sees_a_route_that_is_named_in_another() {
    let stage = on_stage("s-gateway-elsewhere");
    let mut elsewhere = route();
    elsewhere["metadata"]["namespace"] = json!(HOME);
    stage.create(ROUTES, elsewhere);
    let mut named = behind_the_gateway(steps());
    named["spec"]["strategy"]["canary"]["trafficRouting"]["plugins"]["argoproj-labs/gatewayAPI"]["namespace"] =
        json!(HOME);
    stage.create("rollouts", named);
    let key = Key::new("s-gateway-elsewhere", "demo");
    for namespace in [Some("s-gateway-elsewhere"), None] {
        let stores = look(&stage.cluster.client("person"), namespace).await.expect("a look");
        let Observed::World(world) = stores.world(&key, &Settings::default(), &Memory::default()) else {
            panic!("there is a Rollout");
        };
        let routes: Vec<_> = world.routes.iter().collect();
        assert!(
            matches!(&routes[..], [(named, Ok(_))] if named.namespace == HOME),
            "{routes:?}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_route_that_comes_later_is_found_without_a_resync() {
    let stage = on_stage("s-gateway-missing");
    stage.create("rollouts", behind_the_gateway(steps()));
    let _controller = stage.start();
    stage.at(5000).await;
    assert_ne!(stage.rollout("demo")["status"]["phase"], "Healthy", "{}", stage.trace());
    let said: Vec<_> = stage
        .events()
        .into_iter()
        .filter(|e| e.kind == "Warning")
        .map(|e| e.message)
        .collect();
    assert!(
        said.iter()
            .any(|m| m.contains("HTTPRoute s-gateway-missing/demo does not exist")),
        "{said:?}"
    );
    stage.create(ROUTES, route());
    stage.until_phase("demo", "Healthy", 10).await;
}

#[tokio::test(start_paused = true)]
async fn a_cluster_without_gateway_api_says_so_and_other_rollouts_go_on() {
    let stage = with_services(Stage::without_gateway_api("s-gateway-absent"));
    stage.create("rollouts", behind_the_gateway(steps()));
    stage.create("rollouts", rollout("plain", 1, json!({})));
    let _controller = stage.start();
    stage.until_phase("plain", "Healthy", 10).await;
    stage.settle(5000).await;
    let said: Vec<_> = stage
        .events()
        .into_iter()
        .filter(|e| e.kind == "Warning")
        .map(|e| e.message)
        .collect();
    assert!(
        said.iter().any(|m| m.contains("install the Gateway API CRDs")),
        "{said:?}"
    );
    serve(&stage.cluster, ROUTES);
    stage.create(ROUTES, route());
    stage.until_phase("demo", "Healthy", 60).await;
}

#[tokio::test(start_paused = true)]
async fn a_route_that_may_not_be_written_does_not_stop_the_rest() {
    let stage = on_stage("s-gateway-403");
    stage.create(ROUTES, route());
    stage.create("rollouts", behind_the_gateway(steps()));
    let _controller = stage.start();
    stage.until_phase("demo", "Healthy", 60).await;
    let forbidden = Fault {
        verb: "patch",
        resource: ROUTES,
        code: 403,
        reason: "Forbidden",
        times: 3,
        carried_out: false,
    };
    stage.faults.order(forbidden);
    stage.set_image("demo", "demo:v2");
    stage.settle(5000).await;
    let status = stage.rollout("demo")["status"].clone();
    assert_eq!(status["observedGeneration"], "2", "the status goes on: {status}");
    let complaints = stage
        .reasons("Rollout/demo")
        .into_iter()
        .filter(|r| r == "TrafficRoutingError")
        .count();
    assert_eq!(complaints, 1);
    stage.until_phase("demo", "Paused", 120).await;
    assert_eq!(weights(&stage).last(), Some(&(80, 20)));
}

#[tokio::test(start_paused = true)]
async fn without_the_right_to_read_endpoint_slices_pod_availability_is_used() {
    let stage = on_stage("s-gateway-slices");
    stage.faults.forbid("endpointslices");
    stage.create(ROUTES, route());
    stage.create("rollouts", behind_the_gateway(steps()));
    let _controller = stage.start();
    stage.until_phase("demo", "Healthy", 60).await;
    stage.set_image("demo", "demo:v2");
    stage.until_phase("demo", "Paused", 60).await;
    assert_eq!(weights(&stage).last(), Some(&(80, 20)));
}

fn selector(stage: &Stage, name: &str) -> Value {
    stage.get("services", name)["spec"]["selector"].clone()
}

#[tokio::test(start_paused = true)]
async fn services_of_a_deleted_rollout_select_again_what_their_owner_wrote() {
    let stage = on_stage("s-release");
    stage.create(ROUTES, route());
    stage.create("rollouts", behind_the_gateway(steps()));
    let _controller = stage.start();
    stage.until_phase("demo", "Healthy", 60).await;
    stage.settle(1_000).await;
    assert!(
        selector(&stage, "demo-stable")
            .get("rollouts-pod-template-hash")
            .is_some()
    );
    stage.delete("rollouts", "demo");
    stage.settle(5_000).await;
    for name in ["demo-stable", "demo-canary"] {
        assert_eq!(selector(&stage, name), json!({"app": "demo"}), "{}", stage.trace());
    }
    stage.assert_all_writes_are_guarded();
}

#[tokio::test(start_paused = true)]
async fn a_rollout_that_was_deleted_while_nobody_looked_leaves_no_service_behind() {
    let stage = on_stage("s-release");
    stage.create(ROUTES, route());
    stage.create("rollouts", behind_the_gateway(steps()));
    let controller = stage.start();
    stage.until_phase("demo", "Healthy", 60).await;
    stage.settle(1_000).await;
    controller.kill();
    stage.delete("rollouts", "demo");
    let _next = stage.start_as(
        "next",
        serin_controller::Config {
            workers: 2,
            ..Default::default()
        },
    );
    stage.settle(60_000).await;
    assert_eq!(
        selector(&stage, "demo-stable"),
        json!({"app": "demo"}),
        "{}",
        stage.trace()
    );
}
