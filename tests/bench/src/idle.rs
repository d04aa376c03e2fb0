//! Many Rollouts at rest: start, memory, processor and requests of a controller that has nothing to do.

use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use futures::StreamExt as _;
use serde_json::{Value, json};

use crate::{
    Bench,
    objects::{self, REPLICA_SETS, ROLLOUTS},
    process::Usage,
    progress,
    requests::{asked, audit_length},
    row, workloads,
};

/// Fills the cluster, brings it to rest and measures.
pub(crate) async fn measure(bench: &Bench, rollouts: usize, replica_sets: usize, rest: Duration) -> Result<()> {
    fill(bench, rollouts, replica_sets).await?;
    println!("\n{rollouts} Rollouts at rest, {replica_sets} ReplicaSets each");

    // A first start, with nothing to do.
    let mut process = bench.measured.start()?;
    let ready = process.ready().await?;
    row("start to ready", &seconds(ready), "<= 5 s with 5,000");
    let started = process.usage()?;
    row("processor time of the start", &seconds(started.cpu), "");
    quiet(bench).await?;
    let before = process.usage()?;
    let mark = audit_length(&bench.cluster)?;
    progress(&format!("measuring {} s of rest", rest.as_secs()));
    tokio::time::sleep(rest).await;
    let after = process.usage()?;
    let asked = asked(&bench.cluster, mark)?;
    let minutes = rest.as_secs_f64() / 60.0;
    let cpu = (after.cpu - before.cpu).as_secs_f64() / rest.as_secs_f64() * 100.0;
    row(
        "memory at rest (RSS)",
        &mebibytes(after.rss),
        "<= 150 MB with 5,000, <= 30 MiB with 1,000",
    );
    row("memory at its peak", &mebibytes(after.peak), "<= 2 x at rest");
    row("processor at rest", &format!("{cpu:.2} % of a core"), "<= 1 %");
    row(
        "requests a minute at rest",
        &format!("{:.1}", asked.requests as f64 / minutes),
        "",
    );
    row(
        "  of which leases / other writes",
        &format!("{} / {}", asked.of_leases, asked.writes.saturating_sub(asked.of_leases)),
        "no write but the lease",
    );
    for other in asked.others.iter().take(5) {
        println!("    {other}");
    }

    // Ended in order while somebody releases: how long until the next process does something useful.
    let began = Instant::now();
    let ended = process.terminate().await?;
    row("SIGTERM to end", &seconds(ended), "");
    release(bench, rollouts).await?;
    let mut process = bench.measured.start()?;
    let created = new_replica_set(bench);
    let created = tokio::time::timeout(Duration::from_secs(300), created).await;
    row(
        "restart (SIGTERM) to the first useful write",
        &seconds(began.elapsed()),
        "< 1 s",
    );
    created.map_err(|_| anyhow::anyhow!("no new ReplicaSet within 300 s of the restart"))?;
    let ready = process.ready().await?;
    row("restart to ready", &seconds(ready), "");
    let Usage { peak, .. } = process.usage()?;
    row("memory at the restart's peak", &mebibytes(peak), "");
    process.terminate().await?;
    Ok(())
}

async fn fill(bench: &Bench, rollouts: usize, replica_sets: usize) -> Result<()> {
    let api = &bench.api;
    progress(&format!("creating {rollouts} Rollouts"));
    api.create_all(std::iter::once(objects::namespace())).await?;
    let canary = json!({"steps": [{"setWeight": 20}, {"pause": {}}]});
    let one = |nth| (ROLLOUTS.to_owned(), objects::rollout(&objects::name(nth), 1, &canary));
    let made = api.create_all((0..rollouts).map(one)).await?;
    progress(&format!(
        "creating {} ReplicaSets of older revisions",
        rollouts * (replica_sets - 1)
    ));
    let old = made.iter().flat_map(|rollout| {
        (1..replica_sets).map(move |revision| (REPLICA_SETS.to_owned(), objects::old_replica_set(rollout, revision)))
    });
    api.create_all(old).await?;
    drop(made);
    progress("bringing all of it to rest");
    let _workloads = workloads::start(api);
    let mut settler = bench.own.start()?;
    settler.ready().await?;
    let mut healthy = std::collections::BTreeSet::new();
    let mut seen = workloads::watch(api, "argoproj.io", "v1alpha1", "Rollout", "rollouts");
    let mut said = Instant::now();
    while healthy.len() < rollouts {
        let Ok(Some(rollout)) = tokio::time::timeout(Duration::from_secs(120), seen.next()).await else {
            bail!("only {} of {rollouts} Rollouts became Healthy", healthy.len());
        };
        let name = rollout["metadata"]["name"].as_str().unwrap_or_default().to_owned();
        if rollout["status"]["phase"] == "Healthy" {
            healthy.insert(name);
        }
        if said.elapsed() > Duration::from_secs(10) {
            progress(&format!("{} of {rollouts} Healthy", healthy.len()));
            said = Instant::now();
        }
    }
    quiet(bench).await?;
    settler.terminate().await?;
    Ok(())
}

/// Waits until the controller has written nothing but its lease for three seconds.
async fn quiet(bench: &Bench) -> Result<()> {
    for _ in 0..100 {
        let mark = audit_length(&bench.cluster)?;
        tokio::time::sleep(Duration::from_secs(3)).await;
        let asked = asked(&bench.cluster, mark)?;
        if asked.writes == asked.of_leases {
            return Ok(());
        }
    }
    bail!("the controller never comes to rest")
}

/// A new version of the last Rollout.
async fn release(bench: &Bench, rollouts: usize) -> Result<()> {
    let path = format!("{ROLLOUTS}/{}", objects::name(rollouts - 1));
    let image = json!([{"op": "replace", "path": "/spec/template/spec/containers/0/image", "value": "shop:v2"}]);
    bench.api.json_patch(&path, &image).await.map(drop)
}

/// Returns when a ReplicaSet of the new version exists.
async fn new_replica_set(bench: &Bench) {
    let mut sets = workloads::watch(&bench.api, "apps", "v1", "ReplicaSet", "replicasets");
    while let Some(set) = sets.next().await {
        if set.pointer("/spec/template/spec/containers/0/image") == Some(&Value::from("shop:v2")) {
            return;
        }
    }
}

fn seconds(time: Duration) -> String {
    format!("{:.3} s", time.as_secs_f64())
}

fn mebibytes(kibibytes: u64) -> String {
    format!("{:.1} MiB", kibibytes as f64 / 1024.0)
}
