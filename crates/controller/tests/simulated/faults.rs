//! What others do wrong must not stop anybody.

use serde_json::json;

use crate::{canary::rollout, kubernetes::Fault, stage::Stage};

#[tokio::test(start_paused = true)]
async fn a_malformed_rollout_is_told_so_and_others_are_untouched() {
    let stage = Stage::new("s-bad");
    let mut bad = rollout("bad", 1, json!({}));
    bad["spec"]["replicas"] = json!("many");
    stage.create("rollouts", bad);
    stage.create("rollouts", rollout("good", 1, json!({})));
    let _controller = stage.start();
    stage.until_phase("good", "Healthy", 30).await;
    stage
        .until("somebody tells", 5, |_| !stage.reasons("Rollout/bad").is_empty())
        .await;
    let event = stage.events().into_iter().find(|e| e.about == "Rollout/bad").unwrap();
    assert!(event.message.contains("many"), "{}", event.message);
    let status = stage.rollout("bad")["status"].clone();
    assert_eq!(status["phase"], "Degraded");
    assert!(
        status["message"].as_str().unwrap().starts_with("InvalidSpec: "),
        "{status}"
    );
    stage.settle(60_000).await;
    let told = stage
        .writes()
        .iter()
        .filter(|w| w.path.contains("/rollouts/bad"))
        .count();
    assert_eq!(told, 1, "said once");
}

#[tokio::test(start_paused = true)]
async fn conflicts_are_planned_again_and_are_no_news() {
    let stage = Stage::new("s-conflict");
    stage.create("rollouts", rollout("demo", 2, json!({})));
    for _ in 0..3 {
        stage.cluster.order(Fault {
            method: "PATCH",
            path: "/rollouts/demo",
            code: 409,
            reason: "Conflict",
            times: 1,
            carried_out: false,
        });
    }
    let _controller = stage.start();
    stage.until_phase("demo", "Healthy", 30).await;
    let warnings: Vec<_> = stage.events().into_iter().filter(|e| e.kind == "Warning").collect();
    assert!(warnings.is_empty(), "{warnings:?}");
}

#[tokio::test(start_paused = true)]
async fn an_api_server_that_fails_for_a_while_is_tried_again() {
    let stage = Stage::new("s-500");
    stage.create("rollouts", rollout("demo", 2, json!({})));
    stage.cluster.order(Fault {
        method: "POST",
        path: "/replicasets",
        code: 500,
        reason: "InternalError",
        times: 8,
        carried_out: false,
    });
    let _controller = stage.start();
    stage.until_phase("demo", "Healthy", 60).await;
    let creations = stage
        .cluster
        .asked()
        .iter()
        .filter(|a| a.method == "POST" && a.path.contains("/replicasets"))
        .count();
    assert_eq!(creations, 9);
}

#[tokio::test(start_paused = true)]
async fn a_process_that_is_killed_in_the_middle_of_a_plan_is_followed_by_one_that_goes_on() {
    let stage = Stage::new("s-killed");
    stage.create("rollouts", rollout("demo", 1, json!({})));
    let first = stage.start_as("first", serin_controller::Config::default());
    stage
        .until("the ReplicaSet exists", 5, |c| !c.all("replicasets").is_empty())
        .await;
    first.kill();
    let _second = stage.start();
    stage.until_phase("demo", "Healthy", 30).await;
    assert_eq!(stage.cluster.all("replicasets").len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_creation_whose_answer_was_lost_is_taken_for_done() {
    let stage = Stage::new("s-lost");
    stage.create("rollouts", rollout("demo", 1, json!({})));
    // The second try comes before the watch tells of the first one's success.
    stage.cluster.order(Fault {
        method: "POST",
        path: "/replicasets",
        code: 504,
        reason: "Timeout",
        times: 1,
        carried_out: true,
    });
    let _controller = stage.start();
    stage.until_phase("demo", "Healthy", 30).await;
    assert_eq!(stage.cluster.all("replicasets").len(), 1);
    let asked = stage.cluster.asked();
    let codes: Vec<u16> = asked
        .iter()
        .filter(|a| a.method == "POST" && a.path.contains("/replicasets"))
        .map(|a| a.code)
        .collect();
    assert_eq!(codes, [504, 409], "the second try finds the first one's object");
    let created = stage.reasons("Rollout/demo");
    assert_eq!(
        created.iter().filter(|r| *r == "NewReplicaSetCreated").count(),
        1,
        "{created:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_refused_creation_is_said_once_and_tried_again() {
    let stage = Stage::new("s-quota");
    stage.create("rollouts", rollout("demo", 1, json!({})));
    stage.cluster.order(Fault {
        method: "POST",
        path: "/replicasets",
        code: 403,
        reason: "Forbidden",
        times: 12,
        carried_out: false,
    });
    let _controller = stage.start();
    stage.until_phase("demo", "Healthy", 120).await;
    let reasons = stage.reasons("Rollout/demo");
    assert_eq!(
        reasons.iter().filter(|r| *r == "ReplicaSetCreateError").count(),
        1,
        "{reasons:?}"
    );
}
