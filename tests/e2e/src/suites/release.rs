//! A good release: promoted step by step, with real traffic moved as asked and no request lost.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::json;

use crate::{
    app,
    runner::{Stage, Test},
    space::{SOON, Space},
    suites::gate,
    world::World,
};

pub(super) fn tests(round: usize) -> Vec<Test> {
    // By itself: its latency is judged, and five tests side by side on two cores make any version slow.
    vec![
        Test::new(
            Stage::Alone,
            "a good release is promoted through 5, 25, 50 and 100 percent without a failed request",
            async move |world| good(&world, &format!("good-{round}")).await,
        )
        .on_both(),
    ]
}

/// How far the counted split may be from the weight asked, in percentage points.
const TOLERANCE: f64 = 2.0;
/// Requests counted at each weight, at least.
const ENOUGH: usize = 2000;
/// From a route's change until the gateway surely follows it.
const GATEWAY: chrono::TimeDelta = chrono::TimeDelta::milliseconds(1000);

async fn good(world: &World, namespace: &str) -> Result<String> {
    let space = Space::new(world, namespace).await?;
    let analysis = json!({"analysis": gate::analysis(namespace, "4s", 4)});
    let steps: Vec<_> = [5, 25, 50, 100]
        .iter()
        .flat_map(|weight| [json!({"setWeight": weight}), analysis.clone()])
        .collect();
    gate::create(&space).await?;
    let more = json!({"scaleDownDelaySeconds": 3});
    space
        .create(app::behind_the_gateway(namespace, 4, steps.into(), more))
        .await?;
    space.healthy(SOON).await?;
    space.reachable(SOON).await?;
    let load = space.load(160.0);
    load.next(300).await;
    let old = space.current();

    let begin = world.now();
    space.set_image("demo:v2").await?;
    space.healthy(Duration::from_secs(180)).await?;
    let new = space.current();
    ensure!(new != old, "the newest revision is still {old}");
    let what = "the old revision is scaled down after its delay";
    space
        .until(what, SOON, |seen| (Space::wanted(seen, &old) == Some(0)).then_some(()))
        .await?;
    load.next(500).await;
    let end = world.now();
    let report = load.stop().between(begin, end);
    ensure!(
        report.failures().is_empty(),
        "{} failed, the first: {:?}",
        report,
        report.failures()[0]
    );

    let weights = space.recorder.seen().weights(app::NAME, app::CANARY);
    let changes: Vec<_> = weights.iter().filter(|(at, _)| *at > begin).collect();
    let order: Vec<i64> = changes.iter().map(|(_, weight)| *weight).collect();
    ensure!(order == [5, 25, 50, 100, 0], "the canary's weights were {order:?}");
    let mut figures = Vec::new();
    for pair in changes.windows(2) {
        let ((from, weight), (to, _)) = (pair[0], pair[1]);
        let counted = report.between(*from + GATEWAY, *to);
        let share = counted.share(&new) * 100.0;
        ensure!(
            counted.total() >= ENOUGH,
            "only {} requests at {weight}%",
            counted.total()
        );
        let off = (share - *weight as f64).abs();
        ensure!(
            off <= TOLERANCE,
            "{share:.2}% of {} requests at weight {weight}",
            counted.total()
        );
        figures.push(format!("{share:.2}% of {} at {weight}", counted.total()));
    }
    let seen = space.recorder.seen();
    let runs = seen.all("AnalysisRun");
    let successful = runs.iter().filter(|run| run["status"]["phase"] == "Successful").count();
    ensure!(
        successful == 4 && runs.len() == 4,
        "{successful} of {} analysis runs are Successful",
        runs.len()
    );
    let measured = runs[0]["status"]["metricResults"][0]["measurements"][0]["value"].as_str();
    let measured = measured.context("the first run shows no value")?;
    Ok(format!(
        "{} requests, 0 failed; canary's share {}; error rate measured {measured}",
        report.total(),
        figures.join(", ")
    ))
}
