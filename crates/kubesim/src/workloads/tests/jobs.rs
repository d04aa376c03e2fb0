//! Jobs.

use serde_json::{Value, json};

use super::{ByImage, Stage, condition, job};

#[tokio::test(start_paused = true)]
async fn a_job_completes_when_enough_pods_succeeded() {
    let stage = Stage::new(ByImage);
    stage.create("jobs", job("sum", "done", json!({"completions": 5, "parallelism": 2})));
    stage.at(1.0).await;
    let status = stage.get("jobs", "sum")["status"].clone();
    assert_eq!(
        (&status["active"], &status["ready"]),
        (&json!(2), &json!(2)),
        "{status}"
    );
    let done = stage
        .until("complete", |s| {
            condition(&s.get("jobs", "sum"), "Complete")["status"] == "True"
        })
        .await;
    // Three rounds of five seconds.
    assert!((15.0..16.0).contains(&done.as_secs_f64()), "{done:?}");
    let status = stage.get("jobs", "sum")["status"].clone();
    assert_eq!(status["succeeded"], 5);
    assert!(
        status["active"].is_null() && !status["completionTime"].is_null(),
        "{status}"
    );
    assert_eq!(stage.pods().len(), 5);
    assert!(
        stage
            .pods()
            .iter()
            .all(|pod| pod["metadata"].get("finalizers").is_none())
    );
    assert_eq!(
        stage
            .values("jobs", "sum", "/status/active")
            .iter()
            .filter_map(Value::as_u64)
            .max(),
        Some(2)
    );
}

#[tokio::test(start_paused = true)]
async fn a_job_fails_after_its_backoff_limit_with_longer_and_longer_pauses() {
    let stage = Stage::new(ByImage);
    stage.create("jobs", job("sum", "crash", json!({"backoffLimit": 2})));
    let failed = stage
        .until("failed", |s| {
            condition(&s.get("jobs", "sum"), "Failed")["status"] == "True"
        })
        .await;
    // Three lives of two seconds, pauses of 10 and 20 seconds.
    assert!(
        (36.0..37.0).contains(&failed.as_secs_f64()),
        "{failed:?}\n{}",
        stage.told()
    );
    let job = stage.get("jobs", "sum");
    assert_eq!(job["status"]["failed"], 3);
    assert_eq!(condition(&job, "Failed")["reason"], "BackoffLimitExceeded");
    let version = stage.cluster.resource_version();
    stage.at(5000.0).await;
    assert_eq!(stage.cluster.resource_version(), version);
}

#[tokio::test(start_paused = true)]
async fn a_job_beyond_its_deadline_fails_and_its_pods_go() {
    let stage = Stage::new(ByImage);
    stage.create("jobs", job("sum", "1", json!({"activeDeadlineSeconds": 30})));
    stage.at(29.0).await;
    assert_eq!(stage.get("jobs", "sum")["status"]["active"], 1);
    stage.at(35.0).await;
    let job = stage.get("jobs", "sum");
    assert_eq!(
        condition(&job, "Failed")["reason"],
        "DeadlineExceeded",
        "{}",
        stage.told()
    );
    assert_eq!(condition(&job, "FailureTarget")["status"], "True");
    assert!(job["status"]["active"].is_null());
    assert!(stage.pods().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_finished_job_goes_when_its_time_to_live_is_over() {
    let stage = Stage::new(ByImage);
    stage.create("jobs", job("sum", "done", json!({"ttlSecondsAfterFinished": 60})));
    stage.at(60.0).await;
    assert_eq!(condition(&stage.get("jobs", "sum"), "Complete")["status"], "True");
    stage.at(70.0).await;
    assert_eq!(stage.get("jobs", "sum"), Value::Null, "{}", stage.told());
    assert!(stage.pods().is_empty());
}

#[tokio::test(start_paused = true)]
async fn an_indexed_job_runs_each_index_once() {
    let stage = Stage::new(ByImage);
    let spec = json!({"completions": 3, "parallelism": 3, "completionMode": "Indexed"});
    stage.create("jobs", job("sum", "done", spec));
    stage
        .until("complete", |s| {
            condition(&s.get("jobs", "sum"), "Complete")["status"] == "True"
        })
        .await;
    assert_eq!(stage.get("jobs", "sum")["status"]["completedIndexes"], "0-2");
    let names: Vec<String> = stage
        .pods()
        .iter()
        .map(|p| p["spec"]["hostname"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(names, ["sum-0", "sum-1", "sum-2"]);
}

#[tokio::test(start_paused = true)]
async fn a_suspended_job_has_no_pods_until_it_is_resumed() {
    let stage = Stage::new(ByImage);
    stage.create("jobs", job("sum", "done", json!({"suspend": true})));
    stage.at(10.0).await;
    assert!(stage.pods().is_empty());
    assert_eq!(condition(&stage.get("jobs", "sum"), "Suspended")["status"], "True");
    assert!(stage.get("jobs", "sum")["status"]["startTime"].is_null());
    stage.patch("jobs", "sum", json!({"spec": {"suspend": false}}));
    stage
        .until("complete", |s| {
            condition(&s.get("jobs", "sum"), "Complete")["status"] == "True"
        })
        .await;
}

#[tokio::test(start_paused = true)]
async fn a_deleted_job_leaves_no_pod_behind() {
    let stage = Stage::new(ByImage);
    stage.create("jobs", job("sum", "1", json!({"parallelism": 2})));
    stage.at(5.0).await;
    assert_eq!(stage.pods().len(), 2);
    stage.delete("jobs", "sum", json!({"propagationPolicy": "Background"}));
    stage.at(10.0).await;
    assert!(stage.pods().is_empty(), "{}", stage.told());
    stage.create("jobs", job("sum", "1", json!({"parallelism": 2})));
    stage.at(15.0).await;
    stage.delete("jobs", "sum", json!({"propagationPolicy": "Foreground"}));
    stage.at(25.0).await;
    assert!(
        stage.pods().is_empty() && stage.get("jobs", "sum").is_null(),
        "{}",
        stage.told()
    );
}
