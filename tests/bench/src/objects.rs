//! The objects that benchmarks are made of: Rollouts as people write them, with probes, resources and environment.

use serde_json::{Value, json};

pub(crate) const ROLLOUTS: &str = "/apis/argoproj.io/v1alpha1/namespaces/bench/rollouts";
pub(crate) const REPLICA_SETS: &str = "/apis/apps/v1/namespaces/bench/replicasets";
pub(crate) const SERVICES: &str = "/api/v1/namespaces/bench/services";
pub(crate) const SLICES: &str = "/apis/discovery.k8s.io/v1/namespaces/bench/endpointslices";
pub(crate) const ROUTES: &str = "/apis/gateway.networking.k8s.io/v1/namespaces/bench/httproutes";
pub(crate) const TEMPLATES: &str = "/apis/argoproj.io/v1alpha1/namespaces/bench/analysistemplates";

pub(crate) fn namespace() -> (String, Value) {
    let object = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "bench"}});
    ("/api/v1/namespaces".to_owned(), object)
}

/// Name of the n-th Rollout.
pub(crate) fn name(nth: usize) -> String {
    format!("shop-{nth:04}")
}

/// A pod template of usual size.
fn template(name: &str, version: usize) -> Value {
    json!({
        "metadata": {"labels": {"app": name}, "annotations": {"prometheus.io/scrape": "true", "team": "checkout"}},
        "spec": {
            "serviceAccountName": "default",
            "terminationGracePeriodSeconds": 30,
            "containers": [{
                "name": "app",
                "image": format!("shop:v{version}"),
                "ports": [{"name": "http", "containerPort": 8080}],
                "env": [
                    {"name": "LOG_LEVEL", "value": "info"},
                    {"name": "POD_NAME", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
                    {"name": "DATABASE_URL", "valueFrom": {"secretKeyRef": {"name": "shop", "key": "url"}}},
                ],
                "resources": {"requests": {"cpu": "100m", "memory": "128Mi"}, "limits": {"memory": "256Mi"}},
                "readinessProbe": {"httpGet": {"path": "/ready", "port": "http"}, "periodSeconds": 5},
                "livenessProbe": {"httpGet": {"path": "/live", "port": "http"}, "initialDelaySeconds": 10},
            }],
        },
    })
}

/// A Rollout with one pod.
pub(crate) fn rollout(name: &str, version: usize, canary: &Value) -> Value {
    json!({
        "apiVersion": "argoproj.io/v1alpha1", "kind": "Rollout", "metadata": {"name": name},
        "spec": {
            "replicas": 1,
            "selector": {"matchLabels": {"app": name}},
            "template": template(name, version),
            "strategy": {"canary": canary},
        },
    })
}

/// A ReplicaSet of an older revision, scaled to 0.
pub(crate) fn old_replica_set(rollout: &Value, revision: usize) -> Value {
    let name = rollout["metadata"]["name"].as_str().unwrap_or_default();
    let hash = format!("{:010x}", (revision + 1) * 0x9e37_79b9);
    let labels = json!({"app": name, "rollouts-pod-template-hash": hash});
    let mut template = template(name, 1000 + revision);
    template["metadata"]["labels"] = labels.clone();
    json!({
        "apiVersion": "apps/v1", "kind": "ReplicaSet",
        "metadata": {
            "name": format!("{name}-{hash}"),
            "labels": labels,
            "annotations": {
                "rollout.argoproj.io/revision": revision.to_string(),
                "rollout.argoproj.io/desired-replicas": "1",
            },
            "ownerReferences": [{
                "apiVersion": "argoproj.io/v1alpha1", "kind": "Rollout", "name": name, "uid": rollout["metadata"]["uid"],
                "controller": true, "blockOwnerDeletion": true,
            }],
        },
        "spec": {"replicas": 0, "selector": {"matchLabels": labels}, "template": template},
    })
}

/// A Service, to be pointed to a revision by the controller.
pub(crate) fn service(app: &str, name: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Service", "metadata": {"name": name},
        "spec": {"selector": {"app": app}, "ports": [{"port": 80, "targetPort": 8080}]},
    })
}

/// A route with both Services.
pub(crate) fn route(app: &str) -> Value {
    json!({
        "apiVersion": "gateway.networking.k8s.io/v1", "kind": "HTTPRoute", "metadata": {"name": app},
        "spec": {"rules": [{"backendRefs": [
            {"name": format!("{app}-stable"), "port": 80},
            {"name": format!("{app}-canary"), "port": 80},
        ]}]},
    })
}
