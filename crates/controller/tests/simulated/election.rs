//! Leader election: who works, and who does not.

use serde_json::json;
use serin_controller::{
    calls::{Format, Refusal, Target},
    kinds::Kind,
};
use serin_kubesim::Patch;

use crate::{
    canary::rollout,
    ground::text,
    stage::{HOME, Stage},
};

const LEASE: &str = "argo-rollouts-controller-lock";

fn holder(stage: &Stage) -> String {
    let lease = stage.cluster.get("leases", HOME, LEASE).unwrap_or_default();
    text(&lease, "/spec/holderIdentity").to_owned()
}

/// Writes of one controller, leases apart.
fn writes_of(stage: &Stage, user: &str) -> usize {
    stage.writes().iter().filter(|w| w.user == user).count()
}

#[tokio::test(start_paused = true)]
async fn one_of_two_controllers_works_and_sigterm_hands_over_within_a_second() {
    let stage = Stage::new("s-two");
    let first = stage.start_candidate("first");
    stage.settle(100).await;
    let second = stage.start_candidate("second");
    stage.create("rollouts", rollout("demo", 1, json!({})));
    stage.until_phase("demo", "Healthy", 30).await;
    assert_eq!(holder(&stage), "first");
    assert_eq!(writes_of(&stage, "second"), 0);
    first.stop().await;
    let stopped_at = stage.now();
    stage.set_image("demo", "demo:v2");
    stage
        .until("the second writes", 5, |_| writes_of(&stage, "second") > 0)
        .await;
    assert!(stage.now() - stopped_at < 1000, "took {} ms", stage.now() - stopped_at);
    stage.until_phase("demo", "Healthy", 30).await;
    second.stop().await;
    assert_eq!(holder(&stage), "", "given back");
}

#[tokio::test(start_paused = true)]
async fn a_killed_leader_is_followed_when_its_lease_has_run_out() {
    let stage = Stage::new("s-kill");
    let first = stage.start_candidate("first");
    stage.until("the first leads", 5, |_| holder(&stage) == "first").await;
    let _second = stage.start_candidate("second");
    stage.settle(5000).await;
    first.kill();
    let killed_at = stage.now();
    stage
        .until("the second leads", 60, |_| holder(&stage) == "second")
        .await;
    let waited = stage.now() - killed_at;
    assert!((13_000..16_000).contains(&waited), "waited {waited} ms");
}

#[tokio::test(start_paused = true)]
async fn a_leader_that_cannot_renew_stops_writing_before_its_lease_runs_out_and_leads_again_later() {
    let stage = Stage::new("s-outage");
    stage.create("rollouts", rollout("demo", 1, json!({})));
    let controller = stage.start_candidate("first");
    stage.until_phase("demo", "Healthy", 30).await;
    stage.faults.set_down(true);
    stage.settle(10_500).await;
    assert!(
        !controller.context.calls.gate().is_open(),
        "no write may start any more"
    );
    stage.settle(9500).await;
    stage.faults.set_down(false);
    stage.set_image("demo", "demo:v2");
    stage.until_phase("demo", "Healthy", 60).await;
    assert!(controller.is_running());
    assert_eq!(stage.cluster.list("replicasets").len(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_stolen_lease_ends_the_work_at_the_next_renewal() {
    let stage = Stage::new("s-stolen");
    let controller = stage.start_candidate("first");
    stage.until("it leads", 5, |_| holder(&stage) == "first").await;
    let thief = json!({"spec": {"holderIdentity": "thief", "renewTime": "2026-11-21T12:00:05.000000Z"}});
    let patched = stage
        .cluster
        .patch("thief", "leases", HOME, LEASE, None, &Patch::Merge(thief));
    patched.unwrap();
    stage.settle(2500).await;
    assert!(!controller.context.calls.gate().is_open());
    stage.create("rollouts", rollout("demo", 1, json!({})));
    stage.settle(5000).await;
    assert_eq!(writes_of(&stage, "first"), 0);
}

#[tokio::test(start_paused = true)]
async fn no_write_leaves_the_process_after_the_renew_deadline_whoever_asks() {
    let stage = Stage::new("s-late");
    stage.create("rollouts", rollout("demo", 1, json!({})));
    let controller = stage.start_candidate("first");
    stage.until_phase("demo", "Healthy", 30).await;
    // As after SIGSTOP: the deadline passes while a plan is being carried out.
    let calls = &controller.context.calls;
    calls.gate().open_until(tokio::time::Instant::now());
    let before = stage.cluster.requests().len();
    let target = Target {
        kind: Kind::Rollout,
        namespace: "s-late",
        name: "demo",
    };
    let late = calls
        .patch(target, None, Format::Merge, &json!({"spec": {"paused": true}}))
        .await;
    assert_eq!(late, Err(Refusal::NotLeading));
    assert_eq!(calls.delete(target, "uid", "1").await, Err(Refusal::NotLeading));
    assert_eq!(calls.create(target, &json!({})).await, Err(Refusal::NotLeading));
    assert_eq!(calls.create_event("s-late", &json!({})).await, Err(Refusal::NotLeading));
    assert_eq!(stage.cluster.requests().len(), before, "nothing was even sent");
}
