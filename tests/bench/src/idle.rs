//! Many Rollouts at rest: start, memory, processor and requests of a controller that has nothing to do.

use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use futures::{StreamExt as _, stream::BoxStream};
use serde_json::{Value, json};

use crate::{
    Bench, load,
    objects::{self, REPLICA_SETS, ROLLOUTS},
    process::Process,
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
        "  renewals of the lease / other writes, a minute",
        &format!(
            "{:.1} / {:.1}",
            asked.renewals as f64 / minutes,
            (asked.writes - asked.renewals) as f64 / minutes
        ),
        "no write but the lease",
    );
    for other in asked.others.iter().take(5) {
        println!("    {other}");
    }

    restarts(bench, rollouts, replica_sets, process).await?;
    row(
        "load of the machine at the end, everything running counted",
        &load(),
        "",
    );
    Ok(())
}

/// Ends the leader and releases something: how long until the next process, or a standby, does something useful.
async fn restarts(bench: &Bench, rollouts: usize, replica_sets: usize, first: Process) -> Result<()> {
    let mut leader = first;
    let mut last = rollouts;
    // Another Rollout for each, the last ones.
    let mut next = || {
        last = last.saturating_sub(1);
        objects::name(last)
    };
    for end in [End::Term, End::Kill] {
        let app = next();
        let mut sets = known_replica_sets(bench, &app, replica_sets).await?;
        let began = Instant::now();
        leader = {
            leader.end(end).await?;
            release(bench, &app).await?;
            bench.measured.start()?
        };
        let took = useful_write(&mut sets, began).await?;
        let ready = leader.ready().await?;
        let (name, target) = end.words();
        row(
            &format!("restart, one process: {name} to the first useful write"),
            &seconds(took),
            target,
        );
        row("  start of that one to ready", &seconds(ready), "");
        row("  its memory at the peak", &mebibytes(leader.usage()?.peak), "");
    }
    if !bench.measured.has_ports() {
        progress("no {healthz} in the command line: no standby is measured");
        leader.terminate().await?;
        return Ok(());
    }
    for (nth, end) in [End::Term, End::Kill].into_iter().enumerate() {
        let mut standby = bench.measured.start_nth(nth + 1)?;
        standby.ready().await?;
        quiet(bench).await?;
        let app = next();
        let mut sets = known_replica_sets(bench, &app, replica_sets).await?;
        let began = Instant::now();
        leader.end(end).await?;
        release(bench, &app).await?;
        let took = useful_write(&mut sets, began).await?;
        let (name, target) = end.words();
        row(
            &format!("with a standby: {name} to the first useful write"),
            &seconds(took),
            target,
        );
        leader = standby;
    }
    leader.terminate().await?;
    Ok(())
}

/// How a leader goes.
#[derive(Clone, Copy)]
enum End {
    Term,
    Kill,
}

impl End {
    fn words(self) -> (&'static str, &'static str) {
        match self {
            Self::Term => ("SIGTERM", "< 1 s"),
            Self::Kill => ("SIGKILL", "lease (15 s) + 1 s"),
        }
    }
}

impl Process {
    async fn end(self, how: End) -> Result<()> {
        match how {
            End::Term => self.terminate().await.map(drop),
            End::Kill => self.kill().await,
        }
    }
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
    api.fill(old).await?;
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
        if asked.writes == asked.renewals {
            return Ok(());
        }
    }
    bail!("the controller never comes to rest")
}

/// A new version of a Rollout.
async fn release(bench: &Bench, app: &str) -> Result<()> {
    let image = json!([{"op": "replace", "path": "/spec/template/spec/containers/0/image", "value": "shop:v2"}]);
    bench
        .api
        .json_patch(&format!("{ROLLOUTS}/{app}"), &image)
        .await
        .map(drop)
}

/// Watches the ReplicaSets of a Rollout; all that exist have been seen when this returns.
async fn known_replica_sets(bench: &Bench, app: &str, count: usize) -> Result<BoxStream<'static, Value>> {
    let mut sets = workloads::watch_replica_sets_of(&bench.api, app);
    for seen in 0..count {
        if within(Duration::from_secs(60), sets.next()).await.is_none() {
            bail!("only {seen} of {count} ReplicaSets of {app} exist");
        }
    }
    Ok(sets)
}

/// Waits for a ReplicaSet of the new version.
async fn useful_write(sets: &mut BoxStream<'static, Value>, began: Instant) -> Result<Duration> {
    while let Some(set) = within(Duration::from_secs(300), sets.next()).await {
        if set.pointer("/spec/template/spec/containers/0/image") == Some(&Value::from("shop:v2")) {
            return Ok(began.elapsed());
        }
    }
    bail!("no new ReplicaSet within 300 s of the restart")
}

async fn within<T>(time: Duration, next: impl Future<Output = Option<T>>) -> Option<T> {
    tokio::time::timeout(time, next).await.ok().flatten()
}

fn seconds(time: Duration) -> String {
    format!("{:.3} s", time.as_secs_f64())
}

fn mebibytes(kibibytes: u64) -> String {
    format!("{:.1} MiB", kibibytes as f64 / 1024.0)
}
