//! Faults: what an intercept does to requests and watches, and users that are cut off.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use ::http::Request;
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use serde_json::{Value, json};
use serin_kubesim::{Call, Cluster, Intercept, Interception, Status, WatchFault};
use tower::ServiceExt;

use crate::support::*;

/// Does one thing to every request of a verb, or to watch events in turn.
struct Fault {
    verb: &'static str,
    interception: Interception,
    events: Mutex<Vec<WatchFault>>,
}

impl Intercept for Fault {
    fn request(&self, call: &Call<'_>) -> Interception {
        if call.verb == self.verb {
            self.interception.clone()
        } else {
            Interception::Pass
        }
    }

    fn watch_event(&self, _: &str, resource: &str, object: &Value) -> WatchFault {
        assert_eq!(resource, "configmaps");
        assert!(object["metadata"]["name"].is_string());
        self.events.lock().unwrap().pop().unwrap_or(WatchFault::Deliver)
    }
}

fn with(verb: &'static str, interception: Interception) -> Cluster {
    let cluster = cluster();
    cluster
        .create("person", "configmaps", config_map("a", &json!({})))
        .unwrap();
    cluster.intercept(Arc::new(Fault {
        verb,
        interception,
        events: Mutex::default(),
    }));
    cluster
}

fn change() -> Request<Full<Bytes>> {
    Request::builder()
        .method("PATCH")
        .uri(format!("{CONFIG_MAPS}/a"))
        .header("content-type", MERGE)
        .body(Full::new(Bytes::from(json!({"data": {"a": "2"}}).to_string())))
        .unwrap()
}

fn value(cluster: &Cluster) -> Value {
    cluster.get("configmaps", "default", "a").unwrap()["data"]["a"].clone()
}

#[tokio::test(start_paused = true)]
async fn a_request_is_refused_before_or_after_it_took_effect() {
    let busy = Status::new(429, "TooManyRequests", "busy");
    let cluster = with("patch", Interception::Before(busy.clone()));
    let (code, answer) = send(&cluster, change()).await;
    assert_eq!(
        (code, &answer["message"], value(&cluster)),
        (429, &json!("busy"), json!("1"))
    );
    let cluster = with("patch", Interception::After(busy));
    let (code, _) = send(&cluster, change()).await;
    assert_eq!((code, value(&cluster)), (429, json!("2")));
}

#[tokio::test(start_paused = true)]
async fn a_connection_breaks_or_hangs_and_the_trace_says_so() {
    for (interception, after) in [
        (Interception::DisconnectBefore, "1"),
        (Interception::DisconnectAfter, "2"),
    ] {
        let cluster = with("patch", interception);
        assert!(cluster.service("tester").oneshot(change()).await.is_err());
        assert_eq!(value(&cluster), json!(after));
        assert_eq!(cluster.requests().last().unwrap().code, 0);
    }
    for (interception, after) in [(Interception::HangBefore, "1"), (Interception::HangAfter, "2")] {
        let cluster = with("patch", interception);
        let hanging = tokio::spawn(cluster.service("tester").oneshot(change()));
        tokio::time::sleep(Duration::from_secs(3600)).await;
        assert!(!hanging.is_finished());
        assert_eq!(value(&cluster), json!(after));
        cluster.cut("tester");
        assert!(hanging.await.unwrap().is_err());
    }
}

#[tokio::test(start_paused = true)]
async fn a_request_is_late_and_a_list_is_stale() {
    let cluster = with("patch", Interception::Delay(Duration::from_secs(5)));
    let before = cluster.elapsed();
    send(&cluster, change()).await;
    assert_eq!(cluster.elapsed() - before, Duration::from_millis(5002));
    let cluster = with("list", Interception::Stale(1));
    send(&cluster, change()).await;
    let (_, list) = get(&cluster, CONFIG_MAPS).await;
    assert_eq!(list["items"][0]["data"]["a"], "1");
    assert_eq!(
        list["metadata"]["resourceVersion"],
        (cluster.resource_version() - 1).to_string()
    );
}

#[tokio::test(start_paused = true)]
async fn a_user_that_is_cut_off_gets_no_answer_and_its_watches_break() {
    let cluster = with("none", Interception::Pass);
    let watch = Request::builder()
        .uri(format!(
            "{CONFIG_MAPS}?watch=true&resourceVersion={}",
            cluster.resource_version()
        ))
        .body(Full::new(Bytes::new()))
        .unwrap();
    let mut body = cluster.service("victim").oneshot(watch).await.unwrap().into_body();
    cluster.cut("victim");
    assert!(body.frame().await.unwrap().is_err());
    assert!(body.frame().await.is_none());
    assert!(cluster.service("victim").oneshot(change()).await.is_err());
    assert_eq!(value(&cluster), json!("1"), "what was not carried out before never is");
    assert_eq!(send(&cluster, change()).await.0, 200, "others go on");
}

/// A watch over four changes, of whose events the second meets this fault.
async fn watched(fault: WatchFault) -> Vec<(u64, String)> {
    let cluster = cluster();
    cluster.intercept(Arc::new(Fault {
        verb: "none",
        interception: Interception::Pass,
        events: Mutex::new(vec![fault, WatchFault::Deliver]),
    }));
    let watch = Request::builder()
        .uri(format!(
            "{CONFIG_MAPS}?watch=true&timeoutSeconds=60&resourceVersion={}",
            cluster.resource_version()
        ))
        .body(Full::new(Bytes::new()))
        .unwrap();
    let mut body = cluster.service("tester").oneshot(watch).await.unwrap().into_body();
    for name in ["a", "b", "c", "d"] {
        cluster
            .create("person", "configmaps", config_map(name, &json!({})))
            .unwrap();
    }
    let mut seen = Vec::new();
    while let Some(frame) = body.frame().await {
        let bytes = frame.unwrap().into_data().unwrap();
        for line in String::from_utf8(bytes.to_vec()).unwrap().lines() {
            let event: Value = serde_json::from_str(line).unwrap();
            let name = event["object"]["metadata"]["name"]
                .as_str()
                .unwrap_or("error")
                .to_owned();
            seen.push((cluster.elapsed().as_secs(), name));
        }
    }
    seen
}

#[tokio::test(start_paused = true)]
async fn a_watch_is_delayed_in_order_closed_or_told_that_its_version_is_gone() {
    let names = |seen: &[(u64, String)]| seen.iter().map(|(_, name)| name.clone()).collect::<Vec<_>>();
    let delayed = watched(WatchFault::Delay(Duration::from_secs(9))).await;
    assert_eq!(names(&delayed), ["a", "b", "c", "d"]);
    assert_eq!(delayed.iter().map(|(at, _)| *at).collect::<Vec<_>>(), [0, 9, 9, 9]);
    assert_eq!(names(&watched(WatchFault::Close).await), ["a"]);
    assert_eq!(names(&watched(WatchFault::Gone).await), ["a", "error"]);
}

#[tokio::test(start_paused = true)]
async fn the_same_seed_makes_the_same_history() {
    let play = || async {
        let cluster = cluster();
        let mut object = config_map("x", &json!({}));
        object["metadata"] = json!({"generateName": "made-"});
        for _ in 0..5 {
            post(&cluster, CONFIG_MAPS, &object).await;
        }
        format!("{:?}{:?}", cluster.history(), cluster.requests())
    };
    assert_eq!(play().await, play().await);
}
