//! The application of most tests: a Rollout `demo` with its Services, a route for `<namespace>.example` through the
//! gateway, and templates of analysis.

use serde_json::{Value, json};

/// The Rollout's name, and that of its route.
pub(crate) const NAME: &str = "demo";
/// Service of the stable revision.
pub(crate) const STABLE: &str = "demo-stable";
/// Service of the canary.
pub(crate) const CANARY: &str = "demo-canary";

pub(crate) fn host(namespace: &str) -> String {
    format!("{namespace}.example")
}

fn service(name: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Service", "metadata": {"name": name},
        "spec": {"selector": {"app": NAME}, "ports": [{"name": "http", "port": 80, "targetPort": 8080}]},
    })
}

pub(crate) fn services() -> [Value; 2] {
    [service(STABLE), service(CANARY)]
}

pub(crate) fn route(namespace: &str) -> Value {
    json!({
        "apiVersion": "gateway.networking.k8s.io/v1", "kind": "HTTPRoute", "metadata": {"name": NAME},
        "spec": {
            "parentRefs": [{"name": serin_cluster::GATEWAY, "namespace": serin_cluster::GATEWAY_NAMESPACE}],
            "hostnames": [host(namespace)],
            "rules": [{"backendRefs": [{"name": STABLE, "port": 80}, {"name": CANARY, "port": 80}]}],
        },
    })
}

/// A Rollout without a traffic router.
pub(crate) fn rollout(replicas: i64, canary: Value) -> Value {
    json!({
        "apiVersion": "argoproj.io/v1alpha1", "kind": "Rollout", "metadata": {"name": NAME},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": {"app": NAME}},
            "template": {
                "metadata": {"labels": {"app": NAME}},
                "spec": {"terminationGracePeriodSeconds": 10, "containers": [{
                    "name": "app", "image": "demo:v1",
                    "ports": [{"name": "http", "containerPort": 8080}],
                    // As long as the gateway may still send requests to a pod on its way out.
                    "lifecycle": {"preStop": {"sleep": {"seconds": 2}}},
                    "readinessProbe": {"httpGet": {"path": "/ready", "port": 8080}, "periodSeconds": 1},
                }]},
            },
            "strategy": {"canary": canary},
        },
    })
}

/// What a canary needs to have its traffic moved by the route; `more` wins.
pub(crate) fn routed(namespace: &str, steps: Value, more: Value) -> Value {
    let mut canary = json!({
        "canaryService": CANARY,
        "stableService": STABLE,
        "trafficRouting": {"plugins": {"argoproj-labs/gatewayAPI": {"namespace": namespace, "httpRoute": NAME}}},
        "steps": steps,
    });
    json_patch::merge(&mut canary, &more);
    canary
}

/// Services, route and Rollout.
pub(crate) fn behind_the_gateway(namespace: &str, replicas: i64, steps: Value, more: Value) -> Vec<Value> {
    let mut all = services().to_vec();
    all.push(route(namespace));
    all.push(rollout(replicas, routed(namespace, steps, more)));
    all
}

/// A template with one metric.
pub(crate) fn template(name: &str, args: Value, metric: Value) -> Value {
    json!({
        "apiVersion": "argoproj.io/v1alpha1", "kind": "AnalysisTemplate", "metadata": {"name": name},
        "spec": {"args": args, "metrics": [metric]},
    })
}
