//! The controller dies, freezes and hands over in the middle of things, and nobody notices but for a delay.

use std::{collections::BTreeSet, time::Duration};

use anyhow::{Context, Result, ensure};
use serde_json::json;
use serin_cluster::Signal;

use super::gate;
use crate::{
    app::{self, NAME},
    audit_log::{self, Request},
    install::{self, eventually},
    recorder::Seen,
    runner::{Stage, Test},
    space::{SOON, Space},
    stub::Stub,
    world::World,
};

/// A short lease: a controller that was killed is replaced in seconds.
const SHORT: [&str; 3] = [
    "--leader-election-lease-duration=4s",
    "--leader-election-renew-deadline=3s",
    "--leader-election-retry-period=500ms",
];

pub(super) fn tests(round: usize) -> Vec<Test> {
    vec![
        Test::new(
            Stage::Alone,
            "a leader told to end hands over at once",
            async move |world| hand_over(&world, &format!("handover-{round}")).await,
        ),
        Test::new(
            Stage::Alone,
            "killed at each step of a canary the controller goes on, no pod is restarted and no weight jumps",
            async move |world| killed(&world, &format!("killed-{round}")).await,
        ),
        Test::new(
            Stage::Alone,
            "a leader frozen for longer than its lease changes nothing when it wakes",
            async move |world| frozen(&world, &format!("frozen-{round}")).await,
        ),
    ]
}

async fn leader(world: &World) -> Result<String> {
    eventually("one controller leads", Duration::from_secs(60), async || {
        install::leader(world).await
    })
    .await
}

async fn hand_over(world: &World, namespace: &str) -> Result<String> {
    // As it is installed: a lease of 15 s, two replicas.
    let space = Space::new(world, namespace).await?;
    space
        .create([app::rollout(2, json!({"steps": [{"setWeight": 50}, {"pause": {}}]}))])
        .await?;
    space.healthy(SOON).await?;
    let old = leader(world).await?;
    let begin = serin_cluster::now();
    // SIGTERM, as every pod gets it that is deleted.
    let pods = world.api("Pod", install::NAMESPACE);
    pods.delete(&old, &kube::api::DeleteParams::default()).await?;
    space.set_image("demo:v2").await?;
    space.paused_at(1, Duration::from_secs(10)).await?;
    let first = audit_log::read(world)?
        .into_iter()
        .find(|r| r.at > begin && r.is_write() && r.is_done() && r.pod != old && r.namespace == namespace);
    let first = first.context("no write of another pod is in the audit log")?;
    let millis = (first.at - begin).num_milliseconds();
    ensure!(
        millis < 3000,
        "the first write of the other one came {millis} ms after SIGTERM: {}",
        first.describe()
    );
    Ok(format!("{millis} ms from SIGTERM to the other one's first write"))
}

async fn killed(world: &World, namespace: &str) -> Result<String> {
    install::set_arguments(world, &SHORT).await?;
    let space = Space::new(world, namespace).await?;
    gate::create(&space).await?;
    let steps = json!([
        {"setWeight": 5},
        {"pause": {"duration": "1s"}},
        {"setWeight": 30},
        {"analysis": gate::analysis(namespace, "2s", 3)},
        {"setWeight": 60},
        {"pause": {}},
        {"setWeight": 100},
    ]);
    // Four replicas: each weight asks for another pod, so that no step is over before it is seen.
    let count = steps.as_array().map_or(0, Vec::len) as i64;
    let more = json!({"scaleDownDelaySeconds": 2});
    space.create(app::behind_the_gateway(namespace, 4, steps, more)).await?;
    space.healthy(SOON).await?;
    space.reachable(SOON).await?;
    let old = space.current();
    let load = space.load(60.0);
    load.next(60).await;
    space.set_image("demo:v2").await?;
    let mut kills = 0;
    for step in 0..=count {
        let what = format!("step {step} of the new revision");
        space
            .until(&what, Duration::from_secs(60), |s| {
                let status = s.status();
                let is_new = status["currentPodHash"].is_string() && status["currentPodHash"] != old.as_str();
                (is_new && status["currentStepIndex"].as_i64()? >= step).then_some(())
            })
            .await?;
        let at = space.recorder.seen().status()["currentStepIndex"].as_i64();
        ensure!(at == Some(step), "step {step} was over before it was seen: {at:?}");
        if step == 5 {
            // What a person ends must be there.
            space.paused_at(5, SOON).await?;
        }
        kills += kill_all(world).await?;
        if step == 5 {
            space.status(json!({"pauseConditions": null})).await?;
        }
    }
    space.healthy(Duration::from_secs(60)).await?;
    let new = space.current();
    let what = "the old revision is scaled down";
    space
        .until(what, SOON, |s| (Space::wanted(s, &old) == Some(0)).then_some(()))
        .await?;
    load.next(100).await;
    let report = load.stop();
    ensure!(
        report.failures().is_empty(),
        "{report}; the first: {:?}",
        report.failures()[0]
    );
    let seen = space.recorder.seen();
    let weights: Vec<i64> = seen
        .weights(NAME, app::CANARY)
        .into_iter()
        .map(|(_, weight)| weight)
        .collect();
    let moved: Vec<i64> = weights.iter().copied().skip_while(|w| *w != 5).collect();
    ensure!(moved == [5, 30, 60, 100, 0], "the canary's weights were {weights:?}");
    for hash in [&old, &new] {
        let pods = pods_ever(&seen, hash);
        ensure!(
            pods.len() == 4,
            "{} pods of revision {hash} were made instead of 4",
            pods.len()
        );
    }
    let restarts: i64 = seen
        .all("Pod")
        .iter()
        .filter_map(|p| p["status"]["containerStatuses"][0]["restartCount"].as_i64())
        .sum();
    ensure!(restarts == 0, "containers were restarted {restarts} times");
    Ok(format!(
        "{kills} processes killed at {} moments; {} requests, 0 failed; weights {moved:?}",
        count + 1,
        report.total()
    ))
}

/// SIGKILL to every controller; waits until new processes are there (not until one leads).
async fn kill_all(world: &World) -> Result<usize> {
    let before = world.controllers();
    for pod in &before {
        if pod.pid.is_some() {
            // It may be between two lives.
            let _ = world
                .cluster()
                .nodes()
                .signal(install::NAMESPACE, &pod.name, Signal::Kill)
                .await;
        }
    }
    let old: BTreeSet<u32> = before.iter().filter_map(|p| p.pid).collect();
    eventually(
        "new processes of the controller run",
        Duration::from_secs(30),
        async || {
            let pids: Vec<u32> = world.controllers().iter().filter_map(|p| p.pid).collect();
            Ok((pids.len() == before.len() && pids.iter().all(|pid| !old.contains(pid))).then_some(()))
        },
    )
    .await?;
    Ok(old.len())
}

/// The UIDs of all pods of a revision that ever were.
fn pods_ever(seen: &Seen, hash: &str) -> BTreeSet<String> {
    let pods = seen.versions.iter().filter(|v| v.kind == "Pod");
    pods.filter(|v| v.object["metadata"]["labels"]["rollouts-pod-template-hash"] == hash)
        .map(|v| v.object["metadata"]["uid"].to_string())
        .collect()
}

async fn frozen(world: &World, namespace: &str) -> Result<String> {
    install::set_arguments(world, &SHORT).await?;
    // Work that never rests: several canaries step by step, each measured every second.
    let mut spaces = Vec::new();
    for n in 0..3 {
        let space = Space::new(world, &format!("{namespace}-{n}")).await?;
        let source = format!("{}.m", space.namespace);
        world.stub.answer(&source, json!([0]));
        let metric = json!({
            "name": "m", "interval": "1s", "successCondition": "result[0] == 0",
            "provider": {"prometheus": {"address": Stub::address(&source), "query": "x"}},
        });
        space.create([app::template("watch", json!([]), metric)]).await?;
        let steps: Vec<_> = (1..=9)
            .flat_map(|tenth| [json!({"setWeight": tenth * 10}), json!({"pause": {"duration": "2s"}})])
            .collect();
        let more = json!({"analysis": {"templates": [{"templateName": "watch"}]}, "scaleDownDelaySeconds": 1});
        space
            .create(app::behind_the_gateway(&space.namespace, 2, steps.into(), more))
            .await?;
        space.healthy(SOON).await?;
        spaces.push(space);
    }
    for space in &spaces {
        space.set_image("demo:v2").await?;
    }
    spaces[2]
        .until("the third step", SOON, |s| {
            (s.status()["currentStepIndex"].as_i64()? >= 3).then_some(())
        })
        .await?;
    let old = leader(world).await?;
    let nodes = world.cluster().nodes();
    nodes.signal(install::NAMESPACE, &old, Signal::Stop).await?;
    let result = async {
        let is_other = async || Ok(install::leader(world).await?.filter(|pod| *pod != old));
        let new = eventually("another controller leads", Duration::from_secs(30), is_other).await?;
        let step = spaces[0].recorder.seen().status()["currentStepIndex"]
            .as_i64()
            .unwrap_or(0);
        let goes_on = |s: &Seen| (s.status()["currentStepIndex"].as_i64()? > step).then_some(());
        spaces[0]
            .until("the release goes on under the new leader", SOON, goes_on)
            .await?;
        anyhow::Ok(new)
    }
    .await;
    nodes.signal(install::NAMESPACE, &old, Signal::Cont).await?;
    let new = result?;
    for space in &spaces {
        space.healthy(Duration::from_secs(60)).await?;
        let zero = |s: &Seen| s.weights(NAME, app::CANARY).last().filter(|(_, w)| *w == 0).map(drop);
        space.until("all weight on the new stable revision", SOON, zero).await?;
        let weights: Vec<i64> = space
            .recorder
            .seen()
            .weights(NAME, app::CANARY)
            .into_iter()
            .map(|(_, w)| w)
            .collect();
        let moved: Vec<i64> = weights.iter().copied().skip_while(|w| *w != 10).collect();
        let wanted: Vec<i64> = (1..=10).map(|tenth| tenth * 10 % 100).collect();
        // After the last step all traffic is the canary's for a moment, before it becomes stable.
        let without_full: Vec<i64> = moved.iter().copied().filter(|w| *w != 100).collect();
        ensure!(
            without_full == wanted,
            "the weights in {} were {weights:?}",
            space.namespace
        );
    }
    let requests = audit_log::read(world)?;
    let is_write = |r: &&Request| r.is_write() && r.resource != "leases";
    let by_new = requests
        .iter()
        .filter(is_write)
        .find(|r| r.is_done() && r.pod == new && r.namespace.starts_with(namespace));
    let since = by_new.context("the new leader wrote nothing")?.at;
    // What was on its way when the process froze leaves it when it wakes. An event is a note of what the old leader did
    // while it led: it changes no object. Everything else must have been refused.
    let late = requests
        .iter()
        .filter(is_write)
        .filter(|r| r.pod == old && r.at >= since);
    let (events, others): (Vec<&Request>, Vec<&Request>) = late.partition(|r| r.resource == "events");
    let stale: Vec<String> = others.iter().filter(|r| r.is_done()).map(|r| r.describe()).collect();
    ensure!(
        stale.is_empty(),
        "{} writes of the old leader changed something:\n{}",
        stale.len(),
        stale.join("\n")
    );
    let writes = requests
        .iter()
        .filter(is_write)
        .filter(|r| r.is_done() && r.pod == new && r.at >= since)
        .count();
    Ok(format!(
        "after the new leader's first write the old one changed nothing ({} late writes refused, {} late events), \
         the new one wrote {writes} times",
        others.len(),
        events.len()
    ))
}
