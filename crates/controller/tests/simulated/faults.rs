//! What others do wrong must not stop anybody.

use std::time::Duration;

use serde_json::json;

use crate::{
    canary::rollout,
    ground::{Fault, serve_without_schema},
    stage::Stage,
};

#[tokio::test(start_paused = true)]
async fn a_malformed_rollout_is_told_so_and_others_are_untouched() {
    let stage = Stage::new("s-bad");
    // With the schema in force such a Rollout does not get as far as here.
    serve_without_schema(&stage.cluster, "rollouts");
    let mut bad = rollout("bad", 1, json!({}));
    bad["spec"]["revisionHistoryLimit"] = json!("many");
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
        stage.faults.order(Fault {
            verb: "patch",
            resource: "rollouts",
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
    stage.faults.order(Fault {
        verb: "create",
        resource: "replicasets",
        code: 500,
        reason: "InternalError",
        times: 8,
        carried_out: false,
    });
    let _controller = stage.start();
    stage.until_phase("demo", "Healthy", 60).await;
    let creations = stage
        .cluster
        .requests()
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
        .until("the ReplicaSet exists", 5, |c| !c.list("replicasets").is_empty())
        .await;
    first.kill();
    let _second = stage.start();
    stage.until_phase("demo", "Healthy", 30).await;
    assert_eq!(stage.cluster.list("replicasets").len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_creation_whose_answer_was_lost_is_taken_for_done() {
    let stage = Stage::new("s-lost");
    stage.create("rollouts", rollout("demo", 1, json!({})));
    // The second try comes before the watch tells of the first one's success.
    stage.faults.delay_watches("replicasets", Duration::from_secs(1));
    stage.faults.order(Fault {
        verb: "create",
        resource: "replicasets",
        code: 504,
        reason: "Timeout",
        times: 1,
        carried_out: true,
    });
    let _controller = stage.start();
    stage.until_phase("demo", "Healthy", 30).await;
    assert_eq!(stage.cluster.list("replicasets").len(), 1);
    let asked = stage.cluster.requests();
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
    stage.faults.order(Fault {
        verb: "create",
        resource: "replicasets",
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

#[tokio::test(start_paused = true)]
async fn lists_that_always_fail_are_asked_for_ever_more_rarely_and_the_first_that_works_ends_it() {
    let stage = Stage::new("s-lists");
    stage.create("rollouts", rollout("demo", 1, json!({})));
    let lists = || {
        let requests = stage.cluster.requests();
        let lists = requests
            .iter()
            .filter(|r| r.path.contains("/replicasets?") && r.path.contains("limit="));
        lists.map(|r| r.at).collect::<Vec<_>>()
    };
    let fault = Fault {
        verb: "list",
        resource: "replicasets",
        code: 500,
        reason: "InternalError",
        times: 20,
        carried_out: false,
    };
    stage.faults.order(fault);
    let _controller = stage.start();
    stage.settle(1_000).await;
    assert_eq!(lists().len(), 4, "at once, and after 0.1, 0.2 and 0.4 s: {:?}", lists());
    stage.until_phase("demo", "Healthy", 600).await;
    let all = lists();
    assert_eq!(all.len(), 21);
    let waits: Vec<u64> = all.windows(2).map(|pair| (pair[1] - pair[0]).as_secs()).collect();
    assert!(waits.is_sorted() && waits[10..].iter().all(|s| *s == 30), "{waits:?}");
}
