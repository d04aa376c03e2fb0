//! What becomes of a Rollout whose plan the audit refuses.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use chrono::{DateTime, Utc};
use serde_json::{Value, json};
use serin_audit::{Finding, Rule, Severity};
use serin_controller::{Audit, Config, OnRefusal};
use serin_model::{Plan, World, Write};

use crate::{canary::rollout, stage::Stage};

/// Finds fault with every ReplicaSet that gets pods, as long as it is told to.
struct NoPods {
    objects: AtomicBool,
    severity: Severity,
}

impl Audit for NoPods {
    fn findings(&self, _: &World, plan: &Plan, _: DateTime<Utc>) -> Vec<Finding> {
        let gets_pods = |write: &Write| matches!(write, Write::PatchReplicaSet { patch, .. } if patch["spec"]["replicas"].as_i64().is_some_and(|n| n > 0));
        let found = plan.writes.iter().enumerate().filter(|(_, p)| gets_pods(&p.write));
        let found = found.filter(|_| self.objects.load(Ordering::SeqCst));
        let finding = |(write, _): (usize, _)| Finding {
            rule: Rule::W5,
            severity: self.severity,
            write,
            message: "no pods, please".into(),
        };
        found.map(finding).collect()
    }
}

fn objecting(severity: Severity) -> Arc<NoPods> {
    Arc::new(NoPods {
        objects: AtomicBool::new(true),
        severity,
    })
}

fn refused_condition(rollout: &Value) -> Option<&Value> {
    let conditions = rollout["status"]["conditions"].as_array()?;
    conditions.iter().find(|c| c["type"] == "PlanRefused")
}

#[tokio::test(start_paused = true)]
async fn a_refused_plan_holds_the_rollout_loudly_until_one_is_accepted() {
    let stage = Stage::new("s-held");
    stage.create("rollouts", rollout("demo", 3, json!({"steps": [{"setWeight": 50}]})));
    let audit = objecting(Severity::Refuse);
    let controller = stage.start_with("serin", Config::default(), Arc::clone(&audit) as Arc<dyn Audit>);
    stage.until_phase("demo", "Degraded", 30).await;
    stage.settle(60_000).await;
    let held = stage.rollout("demo");
    let condition = refused_condition(&held).expect("the condition says so");
    assert_eq!(
        (
            condition["status"].as_str(),
            condition["reason"].as_str(),
            condition["message"].as_str()
        ),
        (Some("True"), Some("W5"), Some("W5: no pods, please"))
    );
    assert_eq!(held["status"]["message"], "PlanRefused: W5: no pods, please");
    let pods: Vec<Value> = stage.values("replicasets", "demo-79d56d974d", "/spec/replicas");
    assert!(pods.iter().all(|n| *n == 0), "{pods:?}");
    let said = stage.reasons("Rollout/demo");
    assert_eq!(said.iter().filter(|r| *r == "PlanRefused").count(), 1, "{said:?}");
    let scrape = |controller: &crate::stage::Running| {
        let stores = controller.context.stores();
        controller.context.calls.metrics().render(&stores, true, 0)
    };
    let counted = scrape(&controller);
    assert!(counted.contains("serin_plans_refused_total{rule=\"W5\"} "), "{counted}");
    let writes = stage.writes().len();
    stage.settle(600_000).await;
    assert_eq!(stage.writes().len(), writes, "held means quiet");

    audit.objects.store(false, Ordering::SeqCst);
    stage.until_phase("demo", "Healthy", 60).await;
    assert!(refused_condition(&stage.rollout("demo")).is_none());
    controller.stop().await;
}

#[tokio::test(start_paused = true)]
async fn what_comes_before_the_refused_write_is_carried_out() {
    let stage = Stage::new("s-prefix");
    stage.create("rollouts", rollout("demo", 3, json!({"steps": [{"setWeight": 50}]})));
    let controller = stage.start_with("serin", Config::default(), objecting(Severity::Refuse));
    stage.until_phase("demo", "Degraded", 30).await;
    assert_eq!(stage.cluster.list("replicasets").len(), 1, "the ReplicaSet was made");
    controller.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_warning_is_counted_and_the_plan_applied() {
    let stage = Stage::new("s-warned");
    stage.create("rollouts", rollout("demo", 3, json!({"steps": [{"setWeight": 50}]})));
    let controller = stage.start_with("serin", Config::default(), objecting(Severity::Warn));
    stage.until_phase("demo", "Healthy", 30).await;
    let scrape = controller
        .context
        .calls
        .metrics()
        .render(&controller.context.stores(), true, 0);
    assert!(scrape.contains("serin_plan_warnings_total{rule=\"W5\"} "), "{scrape}");
    assert!(!scrape.contains("serin_plans_refused_total{"), "{scrape}");
    controller.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_refused_plan_is_carried_out_and_said_where_refusals_only_warn() {
    let stage = Stage::new("s-only-said");
    stage.create("rollouts", rollout("demo", 3, json!({"steps": [{"setWeight": 50}]})));
    let config = Config {
        on_refusal: OnRefusal::Warn,
        ..Config::default()
    };
    let controller = stage.start_with("serin", config, objecting(Severity::Refuse));
    stage.until_phase("demo", "Healthy", 30).await;
    assert!(refused_condition(&stage.rollout("demo")).is_none());
    let said = stage.events().into_iter().find(|e| e.reason == "PlanBreaksRule");
    let said = said.expect("an event says so");
    assert_eq!(said.kind, "Warning");
    assert!(said.message.ends_with("W5: no pods, please"), "{}", said.message);
    let metrics = controller.context.calls.metrics();
    let scrape = metrics.render(&controller.context.stores(), true, 0);
    assert!(scrape.contains("serin_plan_warnings_total{rule=\"W5\"} "), "{scrape}");
    assert!(!scrape.contains("serin_plans_refused_total{"), "{scrape}");
    controller.stop().await;
}
