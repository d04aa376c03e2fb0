//! Analysis that decides.

use serde_json::{Value, json};

use crate::{canary::rollout, stage::Stage};

/// An AnalysisTemplate with one Prometheus metric, measured each second.
fn template(name: &str, count: u32) -> Value {
    json!({
        "metadata": {"name": name},
        "spec": {"metrics": [{
            "name": "rate",
            "interval": "1s",
            "count": count,
            "failureLimit": 1,
            "successCondition": "result[0] < 0.05",
            "provider": {"prometheus": {"address": "http://prometheus:9090", "query": "demo_error_rate"}},
        }]},
    })
}

/// A canary whose analysis turns bad in its third second. Returns all that was asked and said.
async fn an_analysis_turns_bad() -> (Stage, String) {
    let stage = Stage::new("s-abort");
    stage.metrics.set("demo_error_rate", 0, json!([0.001]));
    stage.create("analysistemplates", template("gate", 30));
    let analysis = json!({"templates": [{"templateName": "gate"}]});
    let steps = json!([{"setWeight": 25}, {"analysis": analysis}, {"setWeight": 50}, {"pause": {"duration": "1s"}}]);
    stage.create("rollouts", rollout("demo", 4, json!({ "steps": steps })));
    let controller = stage.start();
    stage.until_phase("demo", "Healthy", 30).await;
    stage.at(5000).await;
    stage.set_image("demo", "demo:v2");
    stage.metrics.set("demo_error_rate", 8500, json!([0.5]));
    stage.until_phase("demo", "Degraded", 60).await;
    stage.settle(40_000).await;
    controller.stop().await;
    let trace = stage.trace();
    (stage, trace)
}

#[tokio::test(start_paused = true)]
async fn a_canary_whose_analysis_turns_bad_is_aborted_and_stable_is_whole_again() {
    let (stage, trace) = an_analysis_turns_bad().await;
    let rollout = stage.rollout("demo");
    let status = &rollout["status"];
    assert_eq!(status["abort"], true, "{trace}");
    assert_eq!(
        status["message"],
        "RolloutAborted: Rollout aborted update to revision 2: Step-based analysis phase error/failed: Metric \"rate\" \
         assessed Failed due to failed (2) > failureLimit (1)"
    );
    let mut replicas: Vec<_> = stage
        .cluster
        .list("replicasets")
        .iter()
        .map(|rs| rs["spec"]["replicas"].as_u64().unwrap())
        .collect();
    replicas.sort_unstable();
    assert_eq!(replicas, [0, 4], "{trace}");
    let reasons = stage.reasons("AnalysisRun/demo-65f6bb947-2-1");
    assert_eq!(reasons, ["MetricFailed", "AnalysisRunFailed"]);
    assert!(stage.reasons("Rollout/demo").contains(&"RolloutAborted".to_owned()));
}

#[tokio::test(start_paused = true)]
async fn the_same_scenario_gives_the_same_trace_byte_for_byte() {
    let first = an_analysis_turns_bad().await.1;
    let second = an_analysis_turns_bad().await.1;
    assert!(first.lines().count() > 50, "{first}");
    for (a, b) in first.lines().zip(second.lines()) {
        assert_eq!(a, b);
    }
    assert_eq!(first, second);
}
