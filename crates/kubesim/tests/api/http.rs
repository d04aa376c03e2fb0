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

#[tokio::test(start_paused = true)]
async fn openapi_says_that_the_server_validates_fields_and_what_custom_resources_look_like() {
    let cluster = cluster();
    let (_, index) = ask(&cluster, "GET", "/openapi/v3", "", &Value::Null).await;
    let path = "apis/argoproj.io/v1alpha1";
    let url = index["paths"][path]["serverRelativeURL"].as_str().unwrap();
    assert!(url.starts_with(&format!("/openapi/v3/{path}?hash=")), "{url}");
    let (_, document) = ask(&cluster, "GET", url, "", &Value::Null).await;
    let item = &document["paths"][format!("/{path}/namespaces/{{namespace}}/rollouts/{{name}}")];
    let of = json!({"group": "argoproj.io", "version": "v1alpha1", "kind": "Rollout"});
    assert_eq!(item["patch"]["x-kubernetes-group-version-kind"], of);
    let parameters = item["patch"]["parameters"].as_array().unwrap();
    assert!(
        parameters.iter().any(|p| p["name"] == "fieldValidation"),
        "{parameters:?}"
    );
    let schema = &document["components"]["schemas"]["io.argoproj.v1alpha1.Rollout"];
    assert_eq!(schema["x-kubernetes-group-version-kind"], json!([of]));
    assert!(schema["properties"]["spec"]["properties"]["strategy"].is_object());
}

#[tokio::test(start_paused = true)]
async fn a_review_of_access_is_answered_whatever_its_format() {
    let cluster = cluster();
    let path = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews";
    let kind = "application/vnd.kubernetes.protobuf";
    let (code, answer) = ask(&cluster, "POST", path, kind, &Value::Null).await;
    assert_eq!((code, &answer["status"]["allowed"]), (201, &json!(true)));
    assert_eq!(answer["kind"], "SelfSubjectAccessReview");
}

#[tokio::test(start_paused = true)]
async fn whoever_runs_pods_has_their_logs() {
    use serin_kubesim::{Body, LogOptions, PodLogs, Status};

    struct Logs;

    impl PodLogs for Logs {
        fn read(&self, pod: &Value, options: &LogOptions) -> Result<Body, Status> {
            use http_body_util::BodyExt as _;
            if options.previous {
                return Err(Status::bad_request("there was none"));
            }
            let text = format!("{} {} {:?}", pod["metadata"]["name"], options.container, options.tail);
            Ok(Full::new(Bytes::from(text)).map_err(|e| match e {}).boxed_unsync())
        }
    }

    let cluster = cluster();
    cluster.logs(std::sync::Arc::new(Logs));
    let mut one = pod("one");
    one["spec"]["nodeName"] = json!("node-1");
    post(&cluster, "/api/v1/namespaces/default/pods", &one).await;
    let path = "/api/v1/namespaces/default/pods/one/log";
    let (code, text) = ask(&cluster, "GET", &format!("{path}?tailLines=3"), "", &Value::Null).await;
    assert_eq!((code, text.as_str().unwrap()), (200, "\"one\" web Some(3)"));
    let (code, _) = ask(&cluster, "GET", &format!("{path}?previous=true"), "", &Value::Null).await;
    assert_eq!(code, 400);
    assert_eq!(ask(&cluster, "POST", path, "", &json!({})).await.0, 405);
}

#[test]
fn a_kind_that_is_served_has_a_resource() {
    let cluster = cluster();
    let (resource, namespaced) = cluster.resource("argoproj.io", "Rollout").unwrap();
    assert_eq!(
        (resource.to_string().as_str(), namespaced),
        ("rollouts.argoproj.io", true)
    );
    assert_eq!(
        cluster.resource("", "Namespace").map(|(_, namespaced)| namespaced),
        Some(false)
    );
    assert!(cluster.resource("argoproj.io", "Workflow").is_none());
}
