//! What the real Argo Rollouts did, played on the real cluster: the same inputs at the same moments, and the same
//! sequences out of it, or a listed difference.

use std::{
    sync::{Mutex, PoisonError},
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use kube::api::DeleteParams;
use serin_recordings::{
    Act, Difference, Known, SPINE, Scenario, Seen, Sequences, compare, describe, is_known, known_differences,
};
use tokio::time::{Instant, sleep_until};

use crate::{
    install::eventually,
    runner::{Stage, Test},
    space::{self, Space},
    world::World,
};

/// How long a state that was recorded may take to be seen here.
const WAIT: Duration = Duration::from_secs(60);
/// How long after the recording's end late writes are waited for.
const LATE: Duration = Duration::from_secs(15);

/// What came of each recording: its name and whether differences had to be looked up.
static ENDED: Mutex<Vec<(&str, bool)>> = Mutex::new(Vec::new());

pub(super) fn tests(round: usize) -> Vec<Test> {
    let mut tests: Vec<Test> = SPINE
        .into_iter()
        .map(|name| {
            let title = format!("the recording {name} is played with the same sequences");
            Test::new(Stage::Together, title, async move |world| one(world, name).await)
        })
        .collect();
    if round == 0 {
        tests.push(Test::new(
            Stage::Before,
            "a recording with one changed step, weight, selector or event is told apart",
            async |_| self_test(),
        ));
        tests.push(Test::new(
            Stage::End,
            "every recording was played: equal, or with listed differences only",
            async |_| summary(),
        ));
    }
    tests
}

async fn one(world: World, name: &'static str) -> Result<String> {
    let scenario = Scenario::load(name)?;
    let space = play(&world, &scenario).await?;
    let known = known_differences()?;
    // The last writes may be on their way still.
    let (listed, recorded) = (known.clone(), scenario.recorded.clone());
    let fits = move |seen: &crate::recorder::Seen| {
        let differences = compare(&seen.sequences(), &recorded);
        are_listed(&listed, name, &differences).then_some(differences)
    };
    let differences = match space.until("", LATE, fits).await {
        Ok(differences) => differences,
        Err(_) => {
            let all = compare(&space.recorder.seen().sequences(), &scenario.recorded);
            let new: Vec<String> = all
                .iter()
                .filter(|d| !is_listed(&known, name, d))
                .map(describe)
                .collect();
            anyhow::bail!("{} differences that are not listed:\n{}", new.len(), new.join("\n"));
        }
    };
    let mut ended = ENDED.lock().unwrap_or_else(PoisonError::into_inner);
    ended.push((name, !differences.is_empty()));
    Ok(match differences.len() {
        0 => "equal".to_owned(),
        n => format!("{n} listed differences"),
    })
}

fn is_listed(known: &[Known], name: &str, difference: &Difference) -> bool {
    known.iter().any(|k| is_known(k, name, difference))
}

fn are_listed(known: &[Known], name: &str, differences: &[Difference]) -> bool {
    differences.iter().all(|d| is_listed(known, name, d))
}

async fn play(world: &World, scenario: &Scenario) -> Result<Space> {
    let namespace = scenario.namespace();
    // As in the recorded cluster a deleted pod is gone at once.
    world.cluster().nodes().configure(|settings| {
        settings
            .drain_by_namespace
            .insert(namespace.clone(), Duration::from_millis(100));
    });
    remove(world, &namespace).await?;
    let space = Space::new(world, &namespace).await?;
    let begin = Instant::now();
    let millis = |begin: Instant| i64::try_from(begin.elapsed().as_millis()).unwrap_or(i64::MAX);
    let mut shift = 0;
    for line in scenario.script.clone() {
        if let Act::Seen(seen) = &line.act {
            if !matches!(seen, Seen::Run(_) | Seen::Other(_)) {
                let what = format!("{seen:?}, line {} of the script", line.at);
                let seen = seen.clone();
                space
                    .until(&what, WAIT, move |s| {
                        // A spec that nobody has looked at yet says nothing by the status of the one before.
                        let is_new = space::is_observed(s.rollout()) || matches!(seen, Seen::Condition(..));
                        (is_new && seen.holds(s.rollout())?).then_some(())
                    })
                    .await?;
                // What follows keeps its distance to the moment that was seen.
                shift = millis(begin) - line.at;
            }
            continue;
        }
        let moment = Duration::from_millis(u64::try_from(line.at + shift).unwrap_or(0));
        sleep_until(begin + moment).await;
        match &line.act {
            Act::Create { kind, name } => {
                let object = scenario
                    .object(kind, name)
                    .with_context(|| format!("no {kind} {name} in input.yaml"))?;
                space.create([object.clone()]).await?;
            }
            Act::Patch {
                kind,
                name,
                subresource,
                is_json_patch,
                body,
            } => {
                let sub = subresource.as_deref();
                match is_json_patch {
                    true => space.json_patch(kind, name, sub, body).await?,
                    false => space.merge(kind, name, sub, body).await?,
                }
            }
            Act::Delete { kind, name } => {
                let api = world.api(kind, &namespace);
                api.delete(name, &DeleteParams::default()).await?;
            }
            Act::Metric { source, value } => world.stub.answer(&format!("{}.{source}", scenario.name), value.clone()),
            Act::Seen(_) | Act::Wait | Act::Stop | Act::Told | Act::End => {}
        }
    }
    Ok(space)
}

/// Takes away what an earlier round left.
async fn remove(world: &World, namespace: &str) -> Result<()> {
    let namespaces = world.api_all("Namespace");
    if namespaces.get_opt(namespace).await?.is_none() {
        return Ok(());
    }
    namespaces.delete(namespace, &DeleteParams::default()).await?;
    eventually("the namespace of the round before is gone", WAIT, async || {
        Ok(namespaces.get_opt(namespace).await?.is_none().then_some(()))
    })
    .await
}

fn summary() -> Result<String> {
    let ended = ENDED.lock().unwrap_or_else(PoisonError::into_inner);
    let listed = ended.iter().filter(|(_, listed)| *listed).count();
    let missing: Vec<_> = SPINE
        .iter()
        .filter(|name| !ended.iter().any(|(n, _)| n == *name))
        .collect();
    ensure!(missing.is_empty(), "not equal and not listed: {missing:?}");
    Ok(format!(
        "{} equal / {listed} listed / {} total",
        ended.len() - listed,
        ended.len()
    ))
}

/// One changed value in an aspect of a recording, as if Serin had done something else.
fn self_test() -> Result<String> {
    let mut told = 0;
    let known = known_differences()?;
    for name in SPINE {
        let recorded = Scenario::load(name)?.recorded;
        ensure!(compare(&recorded, &recorded).is_empty(), "{name} differs from itself");
        for aspect in recorded.aspects.keys() {
            let length = recorded.aspects[aspect].len();
            for i in 0..length {
                let changed = change(&recorded, aspect, i);
                let differences = compare(&changed, &recorded);
                ensure!(
                    differences.iter().any(|d| &d.aspect == aspect),
                    "{name}: nothing is noticed when entry {i} of {aspect} is another one"
                );
                let listed = are_listed(&known, name, &differences);
                ensure!(
                    !listed,
                    "{name}: entry {i} of {aspect} may be anything: a listed difference is too wide"
                );
                told += 1;
            }
        }
    }
    Ok(format!("{told} changed entries told apart"))
}

fn change(recorded: &Sequences, aspect: &str, entry: usize) -> Sequences {
    let mut changed = recorded.clone();
    if let Some(text) = changed.aspects.get_mut(aspect).and_then(|list| list.get_mut(entry)) {
        text.push('x');
    }
    changed
}
