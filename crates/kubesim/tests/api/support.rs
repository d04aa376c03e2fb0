//! Clusters and requests for the tests.

use std::sync::{Arc, LazyLock};

use ::http::Request;
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use kube::{
    Api, Client,
    api::{ApiResource, DynamicObject},
};
use serde_json::{Value, json};
use serin_kubesim::{Cluster, Crd, Options};
use tower::ServiceExt;

static ROLLOUTS: LazyLock<Arc<Crd>> = LazyLock::new(|| {
    let text = include_str!("../../../../deploy/crds/rollouts-crd.yaml");
    let object: Value = serde_saphyr::from_str(text).expect("the repository's own file");
    Crd::parse(&object).expect("the repository's own definition")
});

/// A cluster that serves Rollouts.
pub fn cluster() -> Cluster {
    let cluster = Cluster::new(Options::default());
    cluster.register(&ROLLOUTS);
    cluster
}

/// Rollouts in the default namespace.
pub fn rollouts(client: &Client) -> Api<DynamicObject> {
    Api::default_namespaced_with(client.clone(), &rollout_kind())
}

pub fn rollout_kind() -> ApiResource {
    ApiResource {
        group: "argoproj.io".into(),
        version: "v1alpha1".into(),
        api_version: "argoproj.io/v1alpha1".into(),
        kind: "Rollout".into(),
        plural: "rollouts".into(),
    }
}

pub fn rollout(name: &str, image: &str) -> Value {
    json!({
        "apiVersion": "argoproj.io/v1alpha1",
        "kind": "Rollout",
        "metadata": {"name": name, "namespace": "default", "labels": {"app": name}},
        "spec": {
            "replicas": 3,
            "selector": {"matchLabels": {"app": name}},
            "strategy": {"canary": {"steps": [{"setWeight": 20}, {"pause": {}}]}},
            "template": {
                "metadata": {"labels": {"app": name}},
                "spec": {"containers": [{"name": "web", "image": image, "ports": [{"containerPort": 80}]}]},
            },
        },
    })
}

pub fn config_map(name: &str, labels: &Value) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": name, "namespace": "default", "labels": labels},
        "data": {"a": "1"},
    })
}

pub fn pod(name: &str) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "namespace": "default"},
        "spec": {"containers": [{"name": "web", "image": "nginx:1"}]},
    })
}

/// One raw request; the answer's code and body (JSON, or a text).
pub async fn ask(cluster: &Cluster, method: &str, path: &str, content_type: &str, body: &Value) -> (u16, Value) {
    let body = if body.is_null() {
        String::new()
    } else {
        body.to_string()
    };
    let request = Request::builder()
        .method(method)
        .uri(path)
        .header("content-type", content_type)
        .body(Full::new(Bytes::from(body)))
        .unwrap();
    send(cluster, request).await
}

pub async fn send(cluster: &Cluster, request: Request<Full<Bytes>>) -> (u16, Value) {
    let response = cluster.service("tester").oneshot(request).await.unwrap();
    let code = response.status().as_u16();
    let bytes = response.into_body().collect().await.unwrap().to_bytes();
    let text = String::from_utf8(bytes.to_vec()).unwrap();
    (code, serde_json::from_str(&text).unwrap_or(Value::String(text)))
}

pub async fn get(cluster: &Cluster, path: &str) -> (u16, Value) {
    ask(cluster, "GET", path, "application/json", &Value::Null).await
}

pub async fn post(cluster: &Cluster, path: &str, body: &Value) -> (u16, Value) {
    ask(cluster, "POST", path, "application/json", body).await
}

pub async fn put(cluster: &Cluster, path: &str, body: &Value) -> (u16, Value) {
    ask(cluster, "PUT", path, "application/json", body).await
}

pub async fn delete(cluster: &Cluster, path: &str, body: &Value) -> (u16, Value) {
    ask(cluster, "DELETE", path, "application/json", body).await
}

pub const MERGE: &str = "application/merge-patch+json";
pub const JSON: &str = "application/json-patch+json";

pub async fn patch(cluster: &Cluster, path: &str, kind: &str, body: &Value) -> (u16, Value) {
    ask(cluster, "PATCH", path, kind, body).await
}

pub const ROLLOUTS_PATH: &str = "/apis/argoproj.io/v1alpha1/namespaces/default/rollouts";
pub const CONFIG_MAPS: &str = "/api/v1/namespaces/default/configmaps";
pub const PODS: &str = "/api/v1/namespaces/default/pods";
