//! What the real Argo Rollouts did, played on the simulated cluster: the whole loop, analysis engine and providers
//! included, with the same inputs at the same moments.

use std::time::Duration;

use serde_json::Value;
use serin_recordings::{
    Act, Difference, Known, Scenario, Seen, Sequences, compare, describe, is_known, known_differences,
};
use tokio::time::{Instant, sleep_until};

use crate::{kubernetes::plural_of, stage::Stage, workloads::Pods};

/// Recordings of what Serin does not do yet (web and Job metrics) or this cluster does not serve (Ingresses), and of runs
/// of their own, which are compared in the analysis crate's tests.
const ELSEWHERE: [&str; 6] = [
    "analysis-args",
    "analysis-job",
    "analysis-job-hang",
    "reconcile-idle",
    "runs",
    "runs-more",
];

/// Milliseconds between pods that start together. The recorded cluster started them all at once or one after the other, as
/// its load permitted; that pace is an input like any other, and the one that fits counts.
const PACES: [u64; 3] = [0, 8, 25];

/// How long a state that was recorded may take to be seen here.
const WAIT: u64 = 120;
/// How long after the recording's end late writes are waited for.
const LATE: u64 = 15_000;

async fn play(scenario: &Scenario, pace: u64) -> Sequences {
    let pods = Pods {
        stagger: Duration::from_millis(pace),
        ..Pods::default()
    };
    let stage = Stage::with_pods(&scenario.namespace(), pods);
    let controller = stage.start();
    let begin = Instant::now();
    let millis = |begin: Instant| i64::try_from(begin.elapsed().as_millis()).unwrap();
    let mut shift = 0;
    for line in &scenario.script {
        if let Act::Seen(seen) = &line.act {
            if !matches!(seen, Seen::Other(_)) {
                let name = rollout_name(scenario);
                stage
                    .until(
                        &format!("{seen:?}, line {} of {}", line.at, scenario.name),
                        WAIT,
                        |cluster| {
                            let rollout = cluster.get("rollouts", &stage.namespace, &name).unwrap_or_default();
                            let is_new = is_observed(&rollout) || matches!(seen, Seen::Condition(..));
                            is_new && seen.holds(&rollout).unwrap_or(false)
                        },
                    )
                    .await;
                // What follows keeps its distance to the moment that was seen.
                shift = millis(begin) - line.at;
            }
            continue;
        }
        sleep_until(begin + Duration::from_millis(u64::try_from(line.at + shift).unwrap_or(0))).await;
        act(&stage, scenario, &line.act);
    }
    stage.settle(LATE).await;
    controller.stop().await;
    stage.assert_all_writes_are_guarded();
    sequences(&stage)
}

fn act(stage: &Stage, scenario: &Scenario, act: &Act) {
    let namespace = &stage.namespace;
    match act {
        Act::Create { kind, name } => {
            let object = scenario
                .object(kind, name)
                .expect("the script creates what input.yaml holds");
            stage.create(plural_of(kind), object.clone());
        }
        Act::Patch {
            kind,
            name,
            subresource,
            is_json_patch,
            body,
        } => {
            let plural = plural_of(kind);
            match (subresource.as_deref(), is_json_patch) {
                (Some("scale"), _) => {
                    // The scale subresource of a Rollout is its spec.replicas.
                    stage.cluster.merge(plural, namespace, name, None, body);
                }
                (_, true) => {
                    stage.cluster.json_patch(plural, namespace, name, body);
                }
                (subresource, false) => {
                    stage.cluster.merge(plural, namespace, name, subresource, body);
                }
            }
        }
        Act::Delete { kind, name } => stage.cluster.delete(plural_of(kind), namespace, name),
        Act::Metric { source, value } => {
            stage
                .metrics
                .set(&format!("{}.{source}/", scenario.name), stage.now(), value.clone());
        }
        Act::Seen(_) | Act::Wait | Act::End => {}
    }
}

fn rollout_name(scenario: &Scenario) -> String {
    let rollout = scenario.objects.iter().find(|o| o["kind"] == "Rollout");
    rollout
        .and_then(|r| r["metadata"]["name"].as_str())
        .unwrap_or("demo")
        .to_owned()
}

fn is_observed(rollout: &Value) -> bool {
    rollout["status"]["observedGeneration"].as_str() == Some(rollout["metadata"]["generation"].to_string().as_str())
}

fn sequences(stage: &Stage) -> Sequences {
    let mut out = Sequences::default();
    for version in stage.cluster.history() {
        if let Some(object) = &version.object {
            out.see(object);
        }
    }
    for event in stage.events().into_iter().filter(|e| e.about.starts_with("Rollout/")) {
        out.event(&event.kind, &event.reason, &event.message);
    }
    out
}

/// Plays a recording on a fresh runtime, paused, and gives the differences.
fn differences(scenario: &Scenario, pace: u64) -> Vec<Difference> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .unwrap();
    let ours = runtime.block_on(play(scenario, pace));
    compare(&ours, &scenario.recorded)
}

/// Recordings whose events come in another order on this ground, the same ones all of them: an answer that takes 5 ms here
/// took a second or none there, so that what a run says falls before or after what the Rollout says at the same moment.
const ANOTHER_ORDER: [(&str, &str); 1] = [("background-inconclusive", "events")];

fn is_listed(known: &[Known], name: &str, difference: &Difference) -> bool {
    let sorted = |list: &[String]| {
        let mut list = list.to_vec();
        list.sort();
        list
    };
    let only_order = ANOTHER_ORDER.contains(&(name, difference.aspect.as_str()))
        && sorted(&difference.ours) == sorted(&difference.recorded);
    only_order || known.iter().any(|k| is_known(k, name, difference))
}

/// All differences and those that are not listed, at the pace that fits best.
fn best(scenario: &Scenario, known: &[Known]) -> (Vec<Difference>, Vec<String>) {
    let mut best: Option<(Vec<Difference>, Vec<String>)> = None;
    for pace in PACES {
        let all = differences(scenario, pace);
        let is_new = |d: &&Difference| !is_listed(known, &scenario.name, d);
        let new: Vec<String> = all
            .iter()
            .filter(is_new)
            .map(|d| format!("{}: {}", scenario.name, describe(d)))
            .collect();
        if best
            .as_ref()
            .is_none_or(|(a, n)| (new.len(), all.len()) < (n.len(), a.len()))
        {
            best = Some((all, new));
        }
        if best.as_ref().is_some_and(|(all, _)| all.is_empty()) {
            break;
        }
    }
    best.expect("there is a pace")
}

#[test]
fn the_recordings_come_out_with_the_same_sequences_or_listed_differences() {
    let only = std::env::var("RECORDING").ok();
    let known = known_differences().unwrap();
    let (mut equal, mut listed, mut failures) = (0, 0, Vec::new());
    for name in serin_recordings::names().unwrap() {
        if only.as_ref().is_some_and(|o| *o != name) || ELSEWHERE.contains(&name.as_str()) {
            continue;
        }
        let scenario = Scenario::load(&name).unwrap();
        let Ok((all, new)) = std::panic::catch_unwind(|| best(&scenario, &known)) else {
            failures.push(format!("{name}: broke off"));
            continue;
        };
        match (all.is_empty(), new.is_empty()) {
            (true, _) => equal += 1,
            (false, true) => listed += 1,
            (false, false) => failures.extend(new),
        }
    }
    println!("{equal} equal, {listed} listed");
    assert!(
        failures.is_empty(),
        "{equal} equal, {listed} listed, {} differences:\n{}",
        failures.len(),
        failures.join("\n")
    );
}
