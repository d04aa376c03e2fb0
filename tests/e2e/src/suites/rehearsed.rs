//! Rehearsals agree with reality: the same releases, with the same figures, here and in `serin rehearse`.

use std::{collections::BTreeMap, time::Duration};

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use serin_rehearse::{
    assume::{Assumptions, Latency},
    manifests::documents,
    play::{Outcome, Rehearsal, Replay, World as Version, play},
    series::Exposition,
    setup::prepare,
};

use crate::{
    app,
    runner::{Stage, Test},
    space::{SOON, Space, is_observed},
    suites::gate,
    world::World,
};

pub(super) fn tests(round: usize) -> Vec<Test> {
    vec![Test::new(
        Stage::Alone,
        "five releases end as they were rehearsed, at the same step and after the same time",
        async move |world| agree(&world, round).await,
    )]
}

/// Between two measurements; no time may differ by more.
const INTERVAL: Duration = Duration::from_secs(5);
const STEPS: usize = 3;
const DEADLINE: u64 = 20;
/// A release that has not ended by then waits.
const LIMIT: Duration = Duration::from_secs(60);
const REPLAYS: u64 = 7;

/// What is released.
struct Release {
    name: &'static str,
    /// What real pods are told.
    env: Option<(&'static str, &'static str)>,
    /// What is assumed of them.
    fault: Option<&'static str>,
    /// Requests per second.
    rps: f64,
}

const RELEASES: [Release; 5] = [
    release("good", None, None, 30.0),
    release("errors", Some(("ERROR_RATE", "0.3")), Some("errors=30%"), 30.0),
    release("slow", Some(("LATENCY_MS", "900")), Some("latency=+900ms"), 30.0),
    release("crash", Some(("CRASH_ON_START", "true")), Some("crashloop"), 30.0),
    release("no-data", None, None, 0.4),
];

const fn release(
    name: &'static str,
    env: Option<(&'static str, &'static str)>,
    fault: Option<&'static str>,
    rps: f64,
) -> Release {
    Release { name, env, fault, rps }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    Promoted,
    Aborted,
    Waits,
}

/// How a release ended.
#[derive(Clone, Copy, Debug)]
struct End {
    verdict: Verdict,
    /// Steps that were completed; of a promoted version all, whose last event may still be on its way.
    steps: usize,
    /// From the change of the image.
    after: Duration,
}

impl End {
    fn new(verdict: Verdict, steps: usize, after: Duration) -> Self {
        let steps = if verdict == Verdict::Promoted { STEPS } else { steps };
        Self { verdict, steps, after }
    }
}

async fn agree(world: &World, round: usize) -> Result<String> {
    // Side by side: they wait most of the time.
    let real = RELEASES.map(|release| released(world, format!("rehearsed-{}-{round}", release.name), release));
    let real = futures::future::try_join_all(real).await?;
    let rehearsed = tokio::task::spawn_blocking(|| {
        let all = RELEASES
            .iter()
            .map(|release| rehearse(release).with_context(|| format!("the rehearsal of {}", release.name)));
        all.collect::<Result<Vec<End>>>()
    })
    .await??;
    let mut figures = Vec::new();
    for ((Release { name, .. }, real), rehearsed) in RELEASES.iter().zip(real).zip(rehearsed) {
        let both = format!("{name}: {real:?}, rehearsed {rehearsed:?}");
        ensure!(
            (real.verdict, real.steps) == (rehearsed.verdict, rehearsed.steps),
            "{both}"
        );
        if real.verdict == Verdict::Aborted {
            ensure!(real.after.abs_diff(rehearsed.after) <= INTERVAL, "{both}");
        }
        let seconds = |end: End| format!("{:.1} s", end.after.as_secs_f64());
        figures.push(format!(
            "{name} {:?} after {} and {}",
            real.verdict,
            seconds(real),
            seconds(rehearsed)
        ));
    }
    Ok(figures.join(", "))
}

fn manifests(namespace: &str) -> Vec<Value> {
    let analysis = json!({"analysis": gate::analysis(namespace, "5s", 4)});
    let steps = json!([{"setWeight": 40}, analysis, {"setWeight": 100}]);
    let mut all = app::behind_the_gateway(namespace, 3, steps, json!({}));
    for object in &mut all {
        if object["kind"] == "Rollout" {
            object["spec"]["progressDeadlineSeconds"] = DEADLINE.into();
            object["spec"]["progressDeadlineAbort"] = true.into();
        }
    }
    all
}

async fn released(world: &World, namespace: String, release: Release) -> Result<End> {
    let space = Space::new(world, &namespace).await?;
    gate::create(&space).await?;
    space.create(manifests(&namespace)).await?;
    space.healthy(SOON).await?;
    space.reachable(SOON).await?;
    let load = space.load(release.rps);
    load.next(10).await;
    let env = release.env.map(|(name, value)| json!({"name": name, "value": value}));
    let env: Vec<Value> = env.into_iter().collect();
    let begin = world.now();
    space.release("demo:v2", env.into()).await?;
    let ended = space
        .until("the end of the release", LIMIT, |seen| {
            match seen.status()["phase"].as_str().filter(|_| is_observed(seen.rollout())) {
                Some("Healthy") => Some(Verdict::Promoted),
                Some("Degraded") => Some(Verdict::Aborted),
                _ => None,
            }
        })
        .await;
    let after = (world.now() - begin).to_std().unwrap_or_default();
    let seen = space.recorder.seen();
    let steps = seen
        .events()
        .iter()
        .filter(|(_, reason, _)| reason == "RolloutStepCompleted")
        .count();
    drop(load);
    // Waiting for as long as it may take is an end, too.
    let verdict = ended.unwrap_or(Verdict::Waits);
    Ok(End::new(verdict, steps, after))
}

/// The median of some replays of the same manifests.
fn rehearse(release: &Release) -> Result<End> {
    let mut given: Vec<Value> = manifests("rehearsed");
    for name in ["http-error-rate", "http-latency-p99"] {
        given.push(gate::template(name)?);
    }
    for object in &mut given {
        object["metadata"]["namespace"] = "rehearsed".into();
    }
    let mut all = documents("recording-rules.yaml", &gate::rules()?)?;
    for object in given {
        all.extend(documents("manifests", &object.to_string())?);
    }
    let rehearsal = Rehearsal {
        setup: prepare(&all, None)?,
        assumptions: Assumptions {
            rps: release.rps,
            errors: 0.0,
            latency: Latency {
                p50: Duration::from_millis(3),
                p99: Duration::from_millis(20),
            },
            faults: release.fault.map(str::parse).transpose()?.into_iter().collect(),
            // As the test cluster's Prometheus and nodes have it.
            scrape_interval: Duration::from_secs(1),
            start: Duration::from_millis(300),
            limit: LIMIT,
            ..Assumptions::default()
        },
        exposition: Exposition::default(),
        assumed: BTreeMap::new(),
        warm_up: Duration::from_secs(20),
        stay: Duration::ZERO,
        explains: false,
    };
    let version = if rehearsal.assumptions.faults.is_empty() {
        Version::Healthy
    } else {
        Version::Faulty
    };
    let mut ends = Vec::new();
    for seed in 0..REPLAYS {
        ends.push(end_of(&play(&rehearsal, version, seed)?));
    }
    ends.sort_by_key(|end| end.after);
    ends.get(ends.len() / 2).copied().context("no replay")
}

fn end_of(replay: &Replay) -> End {
    let verdict = match &replay.outcome {
        Outcome::Promoted => Verdict::Promoted,
        Outcome::Aborted(_) => Verdict::Aborted,
        Outcome::Held(_) | Outcome::Stuck(_) => Verdict::Waits,
    };
    let completed = replay.history.iter().filter(|change| {
        let event = change.new.as_deref().filter(|_| change.old.is_none());
        event.is_some_and(|event| event["reason"] == "RolloutStepCompleted")
    });
    End::new(verdict, completed.count(), replay.length)
}
