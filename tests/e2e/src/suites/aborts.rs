//! Bad releases: aborted by what Prometheus measured, at the cost of the canary's own requests only.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use crate::{
    app,
    runner::{Stage, Test},
    space::{SOON, Space, condition},
    suites::gate,
    world::World,
};

pub(super) fn tests(round: usize) -> Vec<Test> {
    vec![
        Test::new(
            Stage::Together,
            "a canary that answers 5xx is aborted and only its own requests fail",
            async move |world| {
                let env = json!([{"name": "ERROR_RATE", "value": "0.3"}]);
                bad(&world, &format!("errors-{round}"), env, gate::ERRORS).await
            },
        )
        .on_both(),
        Test::new(
            Stage::Together,
            "a slow canary is aborted and no request fails",
            async move |world| {
                let env = json!([{"name": "LATENCY_MS", "value": "900"}]);
                bad(&world, &format!("slow-{round}"), env, gate::LATENCY).await
            },
        )
        .on_both(),
    ]
}

async fn bad(world: &World, namespace: &str, env: Value, metric: &str) -> Result<String> {
    let space = Space::new(world, namespace).await?;
    let analysis = json!({"analysis": gate::analysis(namespace, "3s", 5)});
    let steps = json!([{"setWeight": 25}, analysis, {"setWeight": 100}]);
    gate::create(&space).await?;
    let more = json!({"abortScaleDownDelaySeconds": 4});
    space.create(app::behind_the_gateway(namespace, 3, steps, more)).await?;
    space.healthy(SOON).await?;
    space.reachable(SOON).await?;
    let load = space.load(60.0);
    load.next(60).await;
    let old = space.current();

    let begin = world.now();
    space.release("demo:v2", env).await?;
    space.phase("Degraded", Duration::from_secs(60)).await?;
    let new = space.current();
    let aborted = world.now();
    let weight_is_zero = |seen: &crate::recorder::Seen| {
        let weights = seen.weights(app::NAME, app::CANARY);
        weights.last().filter(|(_, weight)| *weight == 0).map(|(at, _)| *at)
    };
    let zero = space
        .until("the canary's weight is 0 again", SOON, weight_is_zero)
        .await?;
    let what = "the canary is scaled down after its delay";
    let gone = space
        .until(what, SOON, |seen| {
            let none = Space::wanted(seen, &new) == Some(0);
            none.then(|| world.now())
        })
        .await?;
    load.next(120).await;
    let report = load.stop().between(begin, world.now());

    let failures = report.failures();
    let own = failures
        .iter()
        .filter(|a| a.hash.as_deref() == Some(new.as_str()))
        .count();
    ensure!(
        own == failures.len(),
        "{} of {} failed requests were not the canary's: {report}",
        failures.len() - own,
        failures.len()
    );
    ensure!((metric == gate::ERRORS) == (own > 0), "{own} requests failed: {report}");
    ensure!(report.of(&new).total() > 0, "the canary got no request: {report}");
    let late = report
        .between(zero + chrono::TimeDelta::seconds(1), world.now())
        .of(&new);
    ensure!(
        late.total() == 0,
        "{} requests reached the canary after its weight was 0",
        late.total()
    );

    let kept = (gone - aborted).as_seconds_f64();
    ensure!(
        (2.0..15.0).contains(&kept),
        "the canary was scaled down {kept:.1} s after the abort instead of 4 s"
    );
    let seen = space.recorder.seen();
    let status = seen.status();
    ensure!(
        status["stableRS"] == old.as_str(),
        "stable is {} instead of {old}",
        status["stableRS"]
    );
    ensure!(
        Space::wanted(&seen, &old) == Some(3),
        "stable has {:?} pods",
        Space::wanted(&seen, &old)
    );
    let named = format!("\"{metric}\" assessed Failed");
    let message = condition(seen.rollout(), "Progressing", "False").context("Progressing is not False")?;
    ensure!(message.contains(&named), "the condition's message is {message}");
    ensure!(
        status["message"].as_str().is_some_and(|m| m.contains(&named)),
        "the status's message is {}",
        status["message"]
    );
    let events = seen.events();
    let told = events
        .iter()
        .any(|(kind, reason, m)| kind == "Warning" && reason == "RolloutAborted" && m.contains(&named));
    ensure!(told, "no event RolloutAborted names the metric: {events:?}");
    Ok(format!(
        "weight 0 after {:.1} s; {own} failed of {} that reached the canary, 0 of {} others",
        (zero - begin).as_seconds_f64(),
        report.of(&new).total(),
        report.total() - report.of(&new).total(),
    ))
}
