//! A healthy canary that nobody asks for anything: neither promoted nor blamed.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use super::gate;
use crate::{
    app,
    runner::{Stage, Test},
    space::{SOON, Space},
    world::World,
};

pub(super) fn tests(round: usize) -> Vec<Test> {
    let short = Pace {
        window: "30s",
        interval: "2s",
        silence: 35,
        every: 8,
        drops: 4,
    };
    let long = Pace {
        window: "5m",
        interval: "20s",
        silence: 120,
        every: 60,
        drops: 6,
    };
    vec![
        Test::new(
            Stage::Together,
            "a healthy canary without requests and then with single ones is neither aborted nor promoted",
            async move |world| quiet(&world, &format!("quiet-{round}"), short).await,
        )
        .on_both(),
        Test::new(
            Stage::Together,
            "a healthy canary without requests for two minutes and then with one a minute is not aborted",
            async move |world| quiet(&world, &format!("quiet-long-{round}"), long).await,
        )
        .long()
        .on_both(),
    ]
}

#[derive(Clone, Copy)]
struct Pace {
    window: &'static str,
    interval: &'static str,
    /// Seconds without any request.
    silence: u64,
    /// Seconds between two requests after that.
    every: u64,
    /// How many of them.
    drops: u64,
}

async fn quiet(world: &World, namespace: &str, pace: Pace) -> Result<String> {
    let space = Space::new(world, namespace).await?;
    gate::create(&space).await?;
    let mut analysis = gate::analysis(namespace, pace.interval, 2);
    for argument in analysis["args"].as_array_mut().into_iter().flatten() {
        if argument["name"] == "window" {
            argument["value"] = pace.window.into();
        }
    }
    let steps = json!([{"setWeight": 50}, {"analysis": analysis}, {"setWeight": 100}]);
    space
        .create(app::behind_the_gateway(
            namespace,
            2,
            steps,
            json!({"scaleDownDelaySeconds": 1}),
        ))
        .await?;
    space.healthy(SOON).await?;
    space.reachable(SOON).await?;
    space.set_image("demo:v2").await?;
    let running = |s: &crate::recorder::Seen| {
        s.all("AnalysisRun")
            .iter()
            .any(|r| r["status"]["phase"] == "Running")
            .then_some(())
    };
    space.until("the analysis runs", SOON, running).await?;
    // Silence is the input of this test, not a way to wait for something.
    tokio::time::sleep(Duration::from_secs(pace.silence)).await;
    holds(&space, "after the silence")?;
    let drops = space.load(1.0 / pace.every as f64);
    tokio::time::timeout(
        Duration::from_secs(pace.every * (pace.drops + 2)),
        drops.next(pace.drops as usize),
    )
    .await
    .context("the single requests were not answered")?;
    let said = holds(&space, "while single requests came")?;
    let report = drops.stop();
    ensure!(report.failures().is_empty(), "{report}");
    let load = space.load(80.0);
    space.healthy(Duration::from_secs(400)).await?;
    let report = load.stop();
    ensure!(report.failures().is_empty(), "{report}");
    Ok(format!("said meanwhile: {said}"))
}

/// Neither further nor back, and the run says what it waits for.
fn holds(space: &Space, when: &str) -> Result<String> {
    let seen = space.recorder.seen();
    let status = seen.status();
    ensure!(status["abort"] != true, "aborted {when}: {}", status["message"]);
    ensure!(
        status["currentStepIndex"] == 1,
        "at step {} {when}",
        status["currentStepIndex"]
    );
    let runs = seen.all("AnalysisRun");
    let run = &runs.first().context("no analysis run")?["status"];
    ensure!(run["phase"] == "Running", "the run is {} {when}", run["phase"]);
    let counted = run["metricResults"]
        .as_array()
        .into_iter()
        .flatten()
        .find(|r| r["name"] == gate::ERRORS);
    let count = counted.map_or(&Value::Null, |r| &r["count"]).as_i64().unwrap_or(0);
    ensure!(count == 0, "{count} measurements were counted without data");
    let message = run["message"].as_str().unwrap_or_default();
    ensure!(message.contains("no data"), "the run says {message:?} {when}");
    Ok(message.to_owned())
}
