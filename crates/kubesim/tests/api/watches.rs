//! Watches: what they say, from where on, and how they end.

use std::time::Duration;

use ::http::Request;
use bytes::Bytes;
use futures::StreamExt;
use http_body_util::{BodyExt, Full};
use kube::runtime::{
    WatchStreamExt,
    watcher::{self, Event, InitialListStrategy, watcher},
};
use serde_json::{Value, json};
use serin_kubesim::{Cluster, Options};
use tower::ServiceExt;

use crate::support::*;

/// The events of a watch until it ends: type, name, resourceVersion.
async fn events(cluster: &Cluster, query: &str) -> Vec<Value> {
    let request = Request::builder()
        .uri(format!("{CONFIG_MAPS}?watch=true&{query}"))
        .body(Full::new(Bytes::new()))
        .unwrap();
    let response = cluster.service("tester").oneshot(request).await.unwrap();
    assert_eq!(response.status(), 200);
    let bytes = response.into_body().collect().await.unwrap().to_bytes();
    String::from_utf8(bytes.to_vec())
        .unwrap()
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

fn words(events: &[Value]) -> String {
    let word = |event: &Value| {
        let kind = event["type"].as_str().unwrap().to_owned();
        format!("{kind} {}", event["object"]["metadata"]["name"].as_str().unwrap_or("-"))
    };
    events.iter().map(word).collect::<Vec<_>>().join(", ")
}

#[tokio::test(start_paused = true)]
async fn a_watch_says_what_changes_and_ends_at_its_timeout() {
    let cluster = cluster();
    post(&cluster, CONFIG_MAPS, &config_map("a", &json!({}))).await;
    let version = cluster.resource_version();
    let began = tokio::time::Instant::now();
    let watching = cluster.clone();
    let watch =
        tokio::spawn(async move { events(&watching, &format!("resourceVersion={version}&timeoutSeconds=60")).await });
    tokio::time::sleep(Duration::from_secs(1)).await;
    post(&cluster, CONFIG_MAPS, &config_map("b", &json!({}))).await;
    patch(
        &cluster,
        &format!("{CONFIG_MAPS}/a"),
        MERGE,
        &json!({"data": {"a": "2"}}),
    )
    .await;
    delete(&cluster, &format!("{CONFIG_MAPS}/a"), &Value::Null).await;
    let events = watch.await.unwrap();
    assert_eq!(words(&events), "ADDED b, MODIFIED a, DELETED a");
    let version = events[2]["object"]["metadata"]["resourceVersion"].as_str().unwrap();
    assert_eq!(
        version,
        cluster.resource_version().to_string(),
        "a deletion has a version of its own"
    );
    assert_eq!(began.elapsed().as_secs(), 60);
}

#[tokio::test(start_paused = true)]
async fn a_watch_with_a_selector_sees_objects_come_and_go() {
    let cluster = cluster();
    let version = cluster.resource_version();
    let query = format!("resourceVersion={version}&timeoutSeconds=5&labelSelector=on%3Dyes");
    post(&cluster, CONFIG_MAPS, &config_map("a", &json!({}))).await;
    for on in ["yes", "yes", "no", "yes"] {
        let change =
            json!({"metadata": {"labels": {"on": on}}, "data": {"at": cluster.resource_version().to_string()}});
        patch(&cluster, &format!("{CONFIG_MAPS}/a"), MERGE, &change).await;
    }
    let events = events(&cluster, &query).await;
    assert_eq!(words(&events), "ADDED a, MODIFIED a, DELETED a, ADDED a");
    assert_eq!(
        events[2]["object"]["metadata"]["labels"]["on"], "yes",
        "what goes is shown as it was"
    );
}

#[tokio::test(start_paused = true)]
async fn a_streamed_list_ends_with_a_bookmark_that_says_so() {
    let cluster = cluster();
    post(&cluster, CONFIG_MAPS, &config_map("a", &json!({}))).await;
    let query = "sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true&timeoutSeconds=5";
    let events = events(&cluster, query).await;
    assert_eq!(words(&events), "ADDED a, BOOKMARK -, BOOKMARK -");
    assert_eq!(
        events[1]["object"],
        json!({
            "kind": "ConfigMap",
            "apiVersion": "v1",
            "metadata": {
                "resourceVersion": cluster.resource_version().to_string(),
                "creationTimestamp": null,
                "annotations": {"k8s.io/initial-events-end": "true"},
            },
        })
    );
}

#[tokio::test(start_paused = true)]
async fn a_watch_from_a_forgotten_version_is_told_so() {
    let cluster = Cluster::new(Options {
        history: 3,
        ..Options::default()
    });
    post(&cluster, CONFIG_MAPS, &config_map("a", &json!({}))).await;
    let version = cluster.resource_version();
    for i in 0..5 {
        patch(
            &cluster,
            &format!("{CONFIG_MAPS}/a"),
            MERGE,
            &json!({"data": {"i": i.to_string()}}),
        )
        .await;
    }
    let events = events(&cluster, &format!("resourceVersion={version}&timeoutSeconds=5")).await;
    assert_eq!(events.len(), 1);
    let status = &events[0]["object"];
    assert_eq!(
        (&events[0]["type"], &status["code"], &status["reason"]),
        (&json!("ERROR"), &json!(410), &json!("Expired"))
    );
}

/// Runs kube's watcher over some changes; what its user sees.
async fn watched(strategy: InitialListStrategy) -> Vec<String> {
    let cluster = cluster();
    for name in ["a", "b", "c"] {
        cluster.create("person", "rollouts", rollout(name, "web:1")).unwrap();
    }
    let api = rollouts(&cluster.client("serin"));
    let mut config = watcher::Config::default().page_size(2);
    config.initial_list_strategy = strategy;
    let stream = watcher(api, config).default_backoff();
    tokio::pin!(stream);
    let mut seen = Vec::new();
    let mut next = async |count: usize| {
        for _ in 0..count {
            let event = stream.next().await.unwrap().unwrap();
            seen.push(match event {
                Event::Init => "init".to_owned(),
                Event::InitApply(o) => format!("init {}", o.metadata.name.unwrap()),
                Event::InitDone => "done".to_owned(),
                Event::Apply(o) => format!("apply {}", o.metadata.name.unwrap()),
                Event::Delete(o) => format!("delete {}", o.metadata.name.unwrap()),
            });
        }
    };
    next(5).await;
    let change = serin_kubesim::Patch::Merge(json!({"spec": {"replicas": 1}}));
    cluster
        .patch("person", "rollouts", "default", "b", None, &change)
        .unwrap();
    cluster
        .delete("person", "rollouts", "default", "c", &Value::Null)
        .unwrap();
    next(2).await;
    seen
}

#[tokio::test(start_paused = true)]
async fn kubes_watcher_lists_in_pages_and_watches() {
    let expected = ["init", "init a", "init b", "init c", "done", "apply b", "delete c"];
    assert_eq!(watched(InitialListStrategy::ListWatch).await, expected);
}

#[tokio::test(start_paused = true)]
async fn kubes_watcher_streams_its_list() {
    let expected = ["init", "init a", "init b", "init c", "done", "apply b", "delete c"];
    assert_eq!(watched(InitialListStrategy::StreamingList).await, expected);
}

#[tokio::test(start_paused = true)]
async fn the_answer_to_a_write_comes_before_its_event() {
    let cluster = cluster();
    let version = cluster.resource_version();
    let request = Request::builder()
        .uri(format!("{CONFIG_MAPS}?watch=true&resourceVersion={version}"))
        .body(Full::new(Bytes::new()))
        .unwrap();
    let response = cluster.service("tester").oneshot(request).await.unwrap();
    let mut body = response.into_body();
    post(&cluster, CONFIG_MAPS, &config_map("a", &json!({}))).await;
    let answered = cluster.elapsed();
    body.frame().await.unwrap().unwrap();
    assert_eq!(cluster.elapsed() - answered, Duration::from_millis(2));
}

#[tokio::test(start_paused = true)]
async fn rows_of_a_watch_have_the_age_of_their_moment() {
    let cluster = cluster();
    post(&cluster, CONFIG_MAPS, &config_map("a", &json!({}))).await;
    let version = cluster.resource_version();
    let request = Request::builder()
        .uri(format!(
            "{CONFIG_MAPS}?watch=true&resourceVersion={version}&timeoutSeconds=120"
        ))
        .header(
            "accept",
            "application/json;as=Table;v=v1;g=meta.k8s.io,application/json",
        )
        .body(Full::new(Bytes::new()))
        .unwrap();
    let response = cluster.service("tester").oneshot(request).await.unwrap();
    let rows = tokio::spawn(response.into_body().collect());
    for seconds in [20, 30] {
        tokio::time::sleep(Duration::from_secs(seconds)).await;
        let change = json!({"data": {"after": seconds.to_string()}});
        patch(&cluster, &format!("{CONFIG_MAPS}/a"), MERGE, &change).await;
    }
    let bytes = rows.await.unwrap().unwrap().to_bytes();
    let text = String::from_utf8(bytes.to_vec()).unwrap();
    let events = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let ages: Vec<String> = events
        .filter_map(|event| {
            Some(
                event["object"]["rows"][0]["cells"]
                    .as_array()?
                    .last()?
                    .as_str()?
                    .to_owned(),
            )
        })
        .collect();
    assert_eq!(ages, ["20s", "50s"]);
}
