//! All of it together: determinism, rest, speed.

use std::fmt::Write as _;

use serde_json::json;

use super::{ByImage, Options, Stage, deployment, job, replicaset, service};

/// A busy quarter of an hour; everything that was stored, as text.
async fn busy(seed: u64) -> String {
    let stage = Stage::with(
        Options {
            seed,
            ..Options::default()
        },
        ByImage,
        |w| w,
    );
    stage.create("services", service("web", "web"));
    stage.create("deployments", deployment("web", 5, "1"));
    stage.create("replicasets", replicaset("crash", 3, "crash"));
    stage.create("jobs", job("sum", "done", json!({"completions": 4, "parallelism": 2})));
    stage.at(60.0).await;
    let image = json!({"spec": {"template": {"spec": {"containers": [{"name": "web", "image": "web:slow"}]}}}});
    stage.patch("deployments", "web", image);
    stage.at(90.0).await;
    let pod = stage.pods()[0]["metadata"]["name"].as_str().unwrap().to_owned();
    stage.delete("pods", &pod, json!({}));
    stage.at(300.0).await;
    stage.delete("replicasets", "crash", json!({"propagationPolicy": "Foreground"}));
    stage.at(900.0).await;
    let mut text = String::new();
    for change in stage.cluster.history() {
        let new = change.new.map(|new| new.to_string()).unwrap_or_default();
        let at = change.at.as_micros();
        let _ = writeln!(text, "{at} {} {} {} {}", change.version, change.user, change.name, new);
    }
    text
}

#[tokio::test(start_paused = true)]
async fn the_same_seed_gives_the_same_history_byte_for_byte() {
    let first = busy(7).await;
    assert!(first.lines().count() > 200);
    assert!(first == busy(7).await, "two runs of one seed differ");
    assert!(first != busy(8).await, "another seed has other names");
}

#[tokio::test(start_paused = true)]
async fn at_rest_nothing_happens_for_a_thousand_hours() {
    let stage = Stage::new(ByImage);
    stage.create("services", service("web", "web"));
    stage.create("deployments", deployment("web", 5, "1"));
    stage.create("jobs", job("sum", "done", json!({})));
    stage.at(120.0).await;
    let version = stage.cluster.resource_version();
    stage.at(3_600_000.0).await;
    assert_eq!(stage.cluster.resource_version(), version);
}

#[tokio::test(start_paused = true)]
async fn without_a_record_of_the_history_everything_works_the_same() {
    let options = Options {
        record: false,
        history: 100,
        ..Options::default()
    };
    let stage = Stage::with(options, ByImage, |w| w);
    let available = |count: u64| move |s: &Stage| s.get("deployments", "web")["status"]["availableReplicas"] == count;
    stage.create("deployments", deployment("web", 9, "1"));
    stage.until("9 available", available(9)).await;
    // More changes at once than are kept.
    stage.patch("deployments", "web", json!({"spec": {"replicas": 120}}));
    stage.until("120 available", available(120)).await;
    stage.patch("deployments", "web", json!({"spec": {"replicas": 1}}));
    stage.at(60.0).await;
    assert_eq!(stage.pods().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn the_whole_chain_takes_some_ten_milliseconds() {
    let stage = Stage::new(super::ready_after(0));
    stage.create("services", service("web", "web"));
    stage.create("deployments", deployment("web", 1, "1"));
    let ready = |s: &Stage| {
        let slices = s.cluster.list("endpointslices");
        slices
            .iter()
            .any(|slice| slice["endpoints"][0]["conditions"]["ready"] == true)
    };
    let took = stage.until("an endpoint", ready).await;
    assert!((8..60).contains(&took.as_millis()), "{took:?}\n{}", stage.told());
}

#[tokio::test(start_paused = true)]
async fn statuses_and_endpoints_are_written_as_the_api_server_would_store_them() {
    let stage = Stage::new(ByImage);
    stage.create("services", service("web", "web"));
    stage.create("deployments", deployment("web", 3, "1"));
    stage.create("jobs", job("sum", "done", json!({"completions": 4, "parallelism": 2})));
    stage.create("jobs", job("sum-fails", "crash", json!({"backoffLimit": 1})));
    for image in ["crash", "missing", "bad"] {
        let mut set = replicaset(image, 1, image);
        set["spec"]["template"]["spec"]["initContainers"] = json!([{"name": "first", "image": "web:1"}]);
        stage.create("replicasets", set);
    }
    let mut compared = 0;
    for step in 0..60 {
        // Many moments at the start, later few.
        stage.at(0.002 * f64::from(step * step)).await;
        for resource in ["pods", "replicasets", "deployments", "jobs", "nodes"] {
            for object in stage.cluster.list(resource) {
                let same = stage
                    .cluster
                    .update("user", resource, Some("status"), (*object).clone())
                    .unwrap();
                assert_eq!(same["status"], object["status"], "{resource}");
                compared += 1;
            }
        }
        for slice in stage.cluster.list("endpointslices") {
            let same = stage
                .cluster
                .update("user", "endpointslices", None, (*slice).clone())
                .unwrap();
            assert_eq!(same, slice);
        }
    }
    assert!(compared > 500, "{compared}");
}
