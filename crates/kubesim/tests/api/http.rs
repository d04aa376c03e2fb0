//! Content types, forms of answers, and paths besides resources.

use ::http::Request;
use bytes::Bytes;
use http_body_util::Full;
use serde_json::{Value, json};
use serin_kubesim::Cluster;

use crate::support::*;

async fn accepting(cluster: &Cluster, path: &str, accept: &str) -> (u16, Value) {
    let request = Request::builder()
        .uri(path)
        .header("accept", accept)
        .body(Full::new(Bytes::new()))
        .unwrap();
    send(cluster, request).await
}

#[tokio::test(start_paused = true)]
async fn bodies_in_unknown_formats_are_refused() {
    let cluster = cluster();
    let (code, refused) = ask(
        &cluster,
        "POST",
        CONFIG_MAPS,
        "text/plain",
        &config_map("a", &json!({})),
    )
    .await;
    assert_eq!((code, &refused["reason"]), (415, &json!("UnsupportedMediaType")));
    post(&cluster, ROLLOUTS_PATH, &rollout("demo", "web:1")).await;
    let path = format!("{ROLLOUTS_PATH}/demo");
    let (code, refused) = patch(&cluster, &path, "application/strategic-merge-patch+json", &json!({})).await;
    assert_eq!(
        (code, refused["message"].as_str().unwrap()),
        (
            415,
            "the body of the request was in an unknown format - accepted media types include: application/json-patch+json, \
             application/merge-patch+json, application/apply-patch+yaml"
        )
    );
}

#[tokio::test(start_paused = true)]
async fn the_accept_header_chooses_the_form() {
    let cluster = cluster();
    post(&cluster, ROLLOUTS_PATH, &rollout("demo", "web:1")).await;
    let table = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json";
    let (code, answer) = accepting(&cluster, ROLLOUTS_PATH, table).await;
    assert_eq!((code, &answer["kind"]), (200, &json!("Table")));
    assert_eq!(answer["columnDefinitions"][0]["name"], "Name");
    assert_eq!(answer["rows"][0]["cells"][0], "demo");
    let partial = "application/json;as=PartialObjectMetadata;v=v1;g=meta.k8s.io";
    let (_, answer) = accepting(&cluster, &format!("{ROLLOUTS_PATH}/demo"), partial).await;
    assert_eq!(
        (&answer["kind"], answer.get("spec")),
        (&json!("PartialObjectMetadata"), None)
    );
    let (code, answer) = accepting(&cluster, ROLLOUTS_PATH, "text/html").await;
    assert_eq!((code, &answer["reason"]), (406, &json!("NotAcceptable")));
    let aggregated = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList,application/json";
    let (_, answer) = accepting(&cluster, "/apis", aggregated).await;
    assert_eq!(answer["kind"], "APIGroupDiscoveryList");
}

#[tokio::test(start_paused = true)]
async fn a_body_may_be_yaml() {
    let cluster = cluster();
    let yaml = "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: a\ndata:\n  x: \"1\"\n";
    let request = Request::builder()
        .method("POST")
        .uri(CONFIG_MAPS)
        .header("content-type", "application/yaml")
        .body(Full::new(Bytes::from(yaml)))
        .unwrap();
    let (code, created) = send(&cluster, request).await;
    assert_eq!((code, &created["data"]), (201, &json!({"x": "1"})));
}

#[tokio::test(start_paused = true)]
async fn health_and_version_are_answered() {
    let cluster = cluster();
    for path in ["/healthz", "/readyz", "/livez"] {
        assert_eq!(get(&cluster, path).await, (200, json!("ok")));
    }
    let (_, version) = get(&cluster, "/version").await;
    assert_eq!((&version["major"], &version["minor"]), (&json!("1"), &json!("36")));
    assert_eq!(get(&cluster, "/api").await.1["versions"], json!(["v1"]));
    assert_eq!(get(&cluster, "/nothing").await.0, 404);
}
