//! What the real Argo Rollouts did, played on the simulated cluster: the whole loop, analysis engine and providers
//! included, with the same inputs at the same moments and pods as fast as they were.

use std::time::Duration;

use serde_json::Value;
use serin_kubesim::{Cluster, Patch};
use serin_recordings::{Act, Ground, Scenario, Seen, Sequences, Tally, chosen};
use tokio::time::{Instant, sleep_until};

use crate::{ground::Pods, stage::Stage};

/// How long a state that was recorded may take to be seen here.
const WAIT: u64 = 120;
/// How long after the recording's end late writes are waited for.
const LATE: u64 = 15_000;

async fn play(scenario: &Scenario, pace: u64) -> Sequences {
    let pods = Pods::staggered(Duration::from_millis(pace));
    let stage = Stage::with_pods(&scenario.namespace(), pods);
    let mut controller = Some(stage.start());
    let begin = Instant::now();
    let millis = |begin: Instant| i64::try_from(begin.elapsed().as_millis()).unwrap();
    let mut shift = 0;
    for line in &scenario.script {
        let is_seen_by_the_clock = matches!(line.act, Act::Seen(Seen::Other(_)));
        if let Act::Seen(seen) = &line.act
            && !is_seen_by_the_clock
        {
            let what = format!("{seen:?}, line {} of {}", line.at, scenario.name);
            let holds = |rollout: &Value| {
                let is_new = is_observed(rollout) || matches!(seen, Seen::Condition(..));
                is_new && seen.holds(rollout).unwrap_or(false)
            };
            let name = scenario.rollout_name();
            let is_seen = |cluster: &Cluster| match seen {
                Seen::Run(phase) => {
                    let runs = cluster.list("analysisruns");
                    runs.iter().any(|run| run["status"]["phase"] == phase.as_str())
                }
                _ => holds(&stage.rollout(name)),
            };
            stage.until(&what, WAIT, is_seen).await;
            // What follows keeps its distance to the moment that was seen.
            shift = millis(begin) - line.at;
            continue;
        }
        sleep_until(begin + Duration::from_millis(u64::try_from(line.at + shift).unwrap_or(0))).await;
        if let Act::Stop = line.act
            && let Some(running) = controller.take()
        {
            running.stop().await;
        } else if is_seen_by_the_clock && controller.is_none() {
            controller = Some(stage.start());
        }
        act(&stage, scenario, &line.act);
    }
    stage.settle(LATE).await;
    controller
        .expect("a controller that is stopped comes back")
        .stop()
        .await;
    stage.assert_all_writes_are_guarded();
    sequences(&stage)
}

fn act(stage: &Stage, scenario: &Scenario, act: &Act) {
    match act {
        Act::Create { kind, name } => {
            let object = scenario
                .object(kind, name)
                .expect("the script creates what input.yaml holds");
            stage.create(&plural_of(kind), object.clone());
        }
        Act::Patch {
            kind,
            name,
            subresource,
            is_json_patch,
            body,
        } => {
            let patch = if *is_json_patch { Patch::Json } else { Patch::Merge }(body.clone());
            stage.patch_object(&plural_of(kind), name, subresource.as_deref(), &patch);
        }
        Act::Delete { kind, name } => stage.delete(&plural_of(kind), name),
        Act::Metric { source, value } => {
            stage
                .metrics
                .set(&format!("{}.{source}/", scenario.name), stage.now(), value.clone());
        }
        Act::Seen(_) | Act::Wait | Act::Stop | Act::Told | Act::End => {}
    }
}

fn plural_of(kind: &str) -> String {
    format!("{}s", kind.to_lowercase())
}

fn is_observed(rollout: &Value) -> bool {
    rollout["status"]["observedGeneration"].as_str() == Some(rollout["metadata"]["generation"].to_string().as_str())
}

fn sequences(stage: &Stage) -> Sequences {
    let mut out = Sequences::default();
    for version in stage.cluster.history() {
        if let Some(object) = &version.new {
            out.see(object);
        }
    }
    for event in stage.events().into_iter().filter(|e| e.about.starts_with("Rollout/")) {
        out.event(&event.kind, &event.reason, &event.message);
    }
    out
}

#[test]
fn the_recordings_come_out_with_the_same_sequences_or_listed_differences() {
    let mut tally = Tally::new(Ground::Controller).unwrap();
    for name in chosen(Ground::Controller).unwrap() {
        let scenario = Scenario::load(&name).unwrap();
        tally.play(&scenario, |pace| {
            let mut runtime = tokio::runtime::Builder::new_current_thread();
            let runtime = runtime.enable_time().start_paused(true).build().unwrap();
            runtime.block_on(play(&scenario, pace))
        });
    }
    tally.end();
}
