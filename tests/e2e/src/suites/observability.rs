//! What the controller says about itself at /metrics.

use std::{collections::BTreeMap, time::Duration};

use anyhow::{Context, Result, ensure};
use prometheus_parse::{Sample, Scrape, Value};
use serde_json::json;

use crate::{
    app::{self, NAME},
    install::{self, eventually},
    runner::{Stage, Test},
    space::{SOON, Space},
    world::World,
};

pub(super) fn tests(round: usize) -> Vec<Test> {
    vec![Test::new(
        Stage::Together,
        "the leader's metrics tell phase, replicas, events and version of a Rollout, the standby's do not",
        async move |world| metrics(&world, &format!("metrics-{round}")).await,
    )]
}

async fn scrape(pod: &serin_cluster::PodInfo) -> Result<Vec<Sample>> {
    let text = install::metrics(pod).await?;
    let lines = text.lines().map(|line| Ok(line.to_owned()));
    Ok(Scrape::parse(lines)
        .context("/metrics is not in Prometheus' text format")?
        .samples)
}

fn value(samples: &[Sample], name: &str, labels: &[(&str, &str)]) -> Option<f64> {
    let fits = |s: &&Sample| s.metric == name && labels.iter().all(|(k, v)| s.labels.get(k) == Some(*v));
    match samples.iter().find(fits)?.value {
        Value::Counter(v) | Value::Gauge(v) | Value::Untyped(v) => Some(v),
        _ => None,
    }
}

async fn metrics(world: &World, namespace: &str) -> Result<String> {
    let space = Space::new(world, namespace).await?;
    let steps = json!([{"setWeight": 50}, {"pause": {}}]);
    space.create([app::rollout(2, json!({"steps": steps}))]).await?;
    space.healthy(SOON).await?;
    let mut checked = BTreeMap::new();
    for (phase, updated) in [("Completed", 2.0), ("Paused", 1.0)] {
        if phase == "Paused" {
            space.set_image("demo:v2").await?;
            space.paused_at(1, SOON).await?;
        }
        let what = format!("rollout_info of {namespace}/{NAME} with phase {phase} and two available pods");
        let samples = eventually(&what, Duration::from_secs(15), async || {
            let leader = install::leader(world).await?.context("nobody leads")?;
            let pod = world
                .controllers()
                .into_iter()
                .find(|p| p.name == leader)
                .context("the leader is gone")?;
            let samples = scrape(&pod).await?;
            let labels = [
                ("namespace", namespace),
                ("name", NAME),
                ("strategy", "canary"),
                ("phase", phase),
            ];
            // A pod that goes is counted until it is gone.
            let available = value(&samples, "rollout_info_replicas_available", &labels[..2]) == Some(2.0);
            Ok((available && value(&samples, "rollout_info", &labels) == Some(1.0)).then_some(samples))
        })
        .await?;
        let own = [("namespace", namespace), ("name", NAME)];
        for (name, wanted) in [
            ("rollout_info_replicas_desired", 2.0),
            ("rollout_info_replicas_available", 2.0),
            ("rollout_info_replicas_unavailable", 0.0),
            ("rollout_info_replicas_updated", updated),
        ] {
            let found = value(&samples, name, &own);
            ensure!(
                found == Some(wanted),
                "{name} is {found:?} in phase {phase} instead of {wanted}"
            );
        }
        let events = [
            ("namespace", namespace),
            ("type", "Normal"),
            ("reason", "RolloutCompleted"),
        ];
        ensure!(
            value(&samples, "rollout_events_total", &events) == Some(1.0),
            "rollout_events_total does not count"
        );
        for name in ["argo_rollouts_controller_info", "build_info"] {
            ensure!(
                samples
                    .iter()
                    .any(|s| s.metric == name && s.labels.get("version").is_some()),
                "{name} is missing"
            );
        }
        checked.insert(phase, samples.len());
    }
    let leader = install::leader(world).await?.context("nobody leads")?;
    for pod in world.controllers().into_iter().filter(|p| p.name != leader && p.ready) {
        let samples = scrape(&pod).await?;
        ensure!(
            !samples.iter().any(|s| s.metric == "rollout_info"),
            "the standby counts Rollouts too"
        );
    }
    Ok(format!("series: {checked:?}"))
}
