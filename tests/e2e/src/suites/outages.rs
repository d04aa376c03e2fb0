//! Prometheus or the API server is away for a while: nothing is promoted and nothing is blamed on the canary.

use std::{sync::PoisonError, time::Duration};

use anyhow::{Result, ensure};
use serde_json::{Value, json};
use serin_cluster::Component;

use super::gate;
use crate::{
    app::{self, NAME},
    recorder::Seen,
    runner::{Stage, Test},
    space::{SOON, Space},
    world::World,
};

pub(super) fn tests(round: usize) -> Vec<Test> {
    vec![
        Test::new(
            Stage::Alone,
            "without Prometheus nothing is promoted, nor aborted before the limit of errors",
            async move |world| prometheus(&world, &format!("noprom-{round}")).await,
        ),
        Test::new(
            Stage::Alone,
            "twenty seconds without API server abort nothing and the release goes on",
            async move |world| api_server(&world, &format!("noapi-{round}")).await,
        ),
    ]
}

/// A canary at 25% in its analysis, with some measurements taken.
async fn measured(
    world: &World,
    namespace: &str,
    errors: Option<i64>,
    delay: i64,
) -> Result<(Space, serin_cluster::load::Load)> {
    let space = Space::new(world, namespace).await?;
    for name in ["http-error-rate", "http-latency-p99"] {
        let mut template = gate::template(name)?;
        if let Some(limit) = errors {
            for metric in template["spec"]["metrics"].as_array_mut().into_iter().flatten() {
                metric["consecutiveErrorLimit"] = limit.into();
            }
        }
        space.create([template]).await?;
    }
    let steps = json!([{"setWeight": 25}, {"analysis": gate::analysis(namespace, "3s", 5)}, {"setWeight": 60}]);
    let more = json!({"scaleDownDelaySeconds": delay, "abortScaleDownDelaySeconds": 1});
    space.create(app::behind_the_gateway(namespace, 2, steps, more)).await?;
    space.healthy(SOON).await?;
    space.reachable(SOON).await?;
    let load = space.load(60.0);
    load.next(60).await;
    space.set_image("demo:v2").await?;
    let one = |s: &Seen| {
        s.all("AnalysisRun")
            .iter()
            .any(|run| canary(run, "count").is_some_and(|n| n >= 1))
            .then_some(())
    };
    space.until("a first measurement", Duration::from_secs(60), one).await?;
    Ok((space, load))
}

/// A count of the metric that judges.
fn canary(run: &Value, field: &str) -> Option<i64> {
    let results = run["status"]["metricResults"].as_array()?;
    results.iter().find(|r| r["name"] == gate::ERRORS)?[field].as_i64()
}

fn step(seen: &Seen) -> Option<i64> {
    seen.status()["currentStepIndex"].as_i64()
}

async fn prometheus(world: &World, namespace: &str) -> Result<String> {
    let (a, b) = (format!("{namespace}-a"), format!("{namespace}-b"));
    let (first, second) = tokio::join!(measured(world, &a, None, 1), measured(world, &b, Some(50), 1));
    let ((limited, load), (patient, other_load)) = (first?, second?);
    let begin = serin_cluster::now();
    world.cluster().stop_component(Component::Prometheus).await?;
    let aborted = limited
        .until(
            "the documented end: Degraded after more errors than consecutiveErrorLimit",
            Duration::from_secs(90),
            |s| (s.status()["phase"] == "Degraded").then(|| (serin_cluster::now(), s.status()["message"].to_string())),
        )
        .await;
    let held = {
        let seen = patient.recorder.seen();
        (step(&seen), seen.status()["abort"].clone())
    };
    world.cluster().start_component(Component::Prometheus).await?;
    let (at, message) = aborted?;
    let lasted = (at - begin).as_seconds_f64();
    // Five errors in a row, ten seconds apart.
    ensure!(
        lasted > 35.0,
        "aborted after {lasted:.0} s, before the fifth error in a row: {message}"
    );
    ensure!(
        message.contains("assessed Error due to consecutiveErrors (5) > consecutiveErrorLimit (4)"),
        "{message}"
    );
    ensure!(
        message.contains("127.0.0.1:9090"),
        "the message does not name Prometheus: {message}"
    );
    ensure!(
        held.0 == Some(1),
        "the release without a limit went to step {:?} without Prometheus",
        held.0
    );
    ensure!(held.1 != true, "the release without a limit was aborted");
    patient.healthy(Duration::from_secs(90)).await?;
    for load in [load.stop(), other_load.stop()] {
        ensure!(load.failures().is_empty(), "{load}");
    }
    Ok(format!(
        "Error after {lasted:.0} s and 5 errors; the other release held and was promoted afterwards"
    ))
}

async fn api_server(world: &World, namespace: &str) -> Result<String> {
    // The old pods are kept for longer than the gateway may take to watch again (its client waits up to half a minute).
    let (space, load) = measured(world, namespace, None, 60).await?;
    let from = serin_cluster::now();
    world.cluster().kill_component(Component::ApiServer).await?;
    // The outage itself.
    tokio::time::sleep(Duration::from_secs(20)).await;
    world.cluster().start_component(Component::ApiServer).await?;
    world
        .away
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .push((from, serin_cluster::now()));
    // Elsewhere the controller manager has lost its own lease, ended and been started again. This one has no lease and
    // would go on with watches that wait for up to a minute.
    world.cluster().kill_component(Component::ControllerManager).await?;
    world.cluster().start_component(Component::ControllerManager).await?;
    let begin = serin_cluster::now();
    space.healthy(Duration::from_secs(120)).await?;
    let seconds = (serin_cluster::now() - begin).as_seconds_f64();
    let zero = |s: &Seen| s.weights(NAME, app::CANARY).last().filter(|(_, w)| *w == 0).map(drop);
    space
        .until("all weight on the new stable revision", Duration::from_secs(90), zero)
        .await?;
    let report = load.stop();
    ensure!(
        report.failures().is_empty(),
        "{report}; the first: {:?}",
        report.failures()[0]
    );
    let seen = space.recorder.seen();
    let events = seen.events();
    ensure!(
        !events.iter().any(|(_, reason, _)| reason == "RolloutAborted"),
        "aborted: {events:?}"
    );
    let weights: Vec<i64> = seen.weights(NAME, app::CANARY).into_iter().map(|(_, w)| w).collect();
    let moved: Vec<i64> = weights.iter().copied().skip_while(|w| *w != 25).collect();
    ensure!(
        moved.starts_with(&[25, 60]) && moved.ends_with(&[0]),
        "the weights were {weights:?}"
    );
    Ok(format!(
        "healthy {seconds:.0} s after its return; {} requests, 0 failed",
        report.total()
    ))
}
