//! Canaries without a router.

use serde_json::{Value, json};

use crate::stage::Stage;

/// A Rollout as in the recordings.
pub fn rollout(name: &str, replicas: u32, canary: Value) -> Value {
    json!({
        "metadata": {"name": name},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": {"app": name}},
            "template": {
                "metadata": {"labels": {"app": name}},
                "spec": {"containers": [{
                    "name": "app",
                    "image": format!("{name}:v1"),
                    "ports": [{"name": "http", "containerPort": 8080}],
                    "resources": {"requests": {"cpu": "5m", "memory": "16Mi"}},
                }]},
            },
            "strategy": {"canary": canary},
        },
    })
}

#[tokio::test(start_paused = true)]
async fn a_first_deploy_becomes_healthy_without_steps() {
    let stage = Stage::new("s-first");
    stage.create(
        "rollouts",
        rollout("demo", 3, json!({"steps": [{"setWeight": 50}, {"pause": {}}]})),
    );
    let _controller = stage.start();
    stage.until_phase("demo", "Healthy", 30).await;
    let rollout = stage.rollout("demo");
    assert_eq!(rollout["status"]["stableRS"], rollout["status"]["currentPodHash"]);
    assert_eq!(rollout["status"]["availableReplicas"], 3);
    assert_eq!(stage.cluster.list("replicasets").len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_timed_pause_takes_its_time_and_a_promotion_ends_an_endless_one() {
    let stage = Stage::new("s-pause");
    let steps = json!([{"setWeight": 25}, {"pause": {"duration": "1h"}}, {"setWeight": 50}, {"pause": {}}]);
    stage.create("rollouts", rollout("demo", 4, json!({ "steps": steps })));
    let _controller = stage.start();
    stage.until_phase("demo", "Healthy", 30).await;
    stage.set_image("demo", "demo:v2");
    stage.until_phase("demo", "Paused", 30).await;
    let paused_at = stage.now();
    stage
        .until("step 2", 2 * 3600, |c| {
            c.get("rollouts", "s-pause", "demo").unwrap()["status"]["currentStepIndex"] == 2
        })
        .await;
    let hour = 3_600_000;
    let waited = stage.now() - paused_at;
    assert!((hour - 1000..hour + 1000).contains(&waited), "waited {waited} ms");
    stage
        .until("step 3", 60, |c| {
            c.get("rollouts", "s-pause", "demo").unwrap()["status"]["currentStepIndex"] == 3
        })
        .await;
    stage.settle(7200 * 1000).await;
    assert_eq!(
        stage.rollout("demo")["status"]["phase"],
        "Paused",
        "an endless pause ends by a person only"
    );
    stage.patch_status("demo", &json!({"pauseConditions": null}));
    stage.until_phase("demo", "Healthy", 60).await;
    assert_eq!(
        stage.rollout("demo")["status"]["stableRS"],
        stage.rollout("demo")["status"]["currentPodHash"],
        "{}",
        stage.trace()
    );
}

#[tokio::test(start_paused = true)]
async fn at_rest_nothing_is_written_and_nothing_is_asked() {
    let stage = Stage::new("s-rest");
    stage.create("rollouts", rollout("demo", 2, json!({"steps": [{"setWeight": 50}]})));
    let _controller = stage.start();
    stage.until_phase("demo", "Healthy", 30).await;
    stage.settle(30_000).await;
    let before = stage.cluster.requests().len();
    stage.settle(24 * 3600 * 1000).await;
    let asked = stage.cluster.requests();
    let since: Vec<_> = asked[before..].iter().filter(|a| !a.path.contains("watch=")).collect();
    assert!(since.is_empty(), "{since:#?}");
}
