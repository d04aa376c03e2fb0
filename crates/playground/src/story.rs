//! What happens, as lines: changes of objects in the words that rehearsals use, and what users met meanwhile.

use std::{collections::BTreeMap, time::Duration};

use serde_json::Value;
use serin_kubesim::{Change, Cluster};
use serin_model::At as _;
use serin_staging::told::told;
use tokio::time::{Instant, MissedTickBehavior};

use crate::{
    behaviour::version,
    load::{Counts, Met},
    notes::{Notes, Tone},
};

const HASH: &str = "rollouts-pod-template-hash";
/// Between two lines about users while a release is under way or requests fail, and at rest.
const OFTEN: Duration = Duration::from_secs(4);
const SELDOM: Duration = Duration::from_secs(60);
/// Fewer requests are not worth a line.
const FEW: u64 = 10;
/// How long changes are gathered before they are told.
const SETTLE: Duration = Duration::from_millis(20);

/// Tells everything from now on, for ever.
pub(crate) async fn tell(cluster: Cluster, met: Met, notes: Notes) {
    let mut changes = cluster.changes();
    let mut seen = cluster.changes_so_far();
    let mut users = Users::new(&met);
    let mut ticks = tokio::time::interval(OFTEN);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    loop {
        tokio::select! {
            biased;
            () = changes.changed() => {
                tokio::time::sleep(SETTLE).await;
                changes.mark_unchanged();
                let new = cluster.history_since(seen);
                seen += new.len();
                for change in new {
                    if is_turn(&change) && let Some(line) = users.line(&met, &cluster, false) {
                        notes.tell(line.0, line.1);
                    }
                    if is_noise(&change) {
                        continue;
                    }
                    let lines = told(change.resource.plural, change.old.as_deref(), change.new.as_deref());
                    // What a run says of itself is what its metrics said.
                    for text in lines.into_iter().filter(|text| !text.starts_with("the analysis: ")) {
                        notes.tell(tone(&change, &text), text);
                    }
                }
            }
            _ = ticks.tick() => {
                if let Some(line) = users.line(&met, &cluster, true) {
                    notes.tell(line.0, line.1);
                }
            }
        }
    }
}

/// Weights change: what users met before belongs to the old ones.
fn is_turn(change: &Change) -> bool {
    let of = |object: &Option<std::sync::Arc<Value>>| object.as_ref().and_then(|o| o.at("/spec/rules").cloned());
    change.resource.plural == "httproutes" && change.old.is_some() && of(&change.old) != of(&change.new)
}

/// Events about pods and the like, which every cluster has, and those that say what another line says as well.
fn is_noise(change: &Change) -> bool {
    const SAID_OTHERWISE: [&str; 6] = [
        "AnalysisRunFailed",
        "AnalysisRunRunning",
        "RolloutAborted",
        "RolloutAddedToInformer",
        "ScalingReplicaSet",
        "SwitchService",
    ];
    let Some(event) = change.new.as_ref().filter(|_| change.resource.plural == "events") else {
        return false;
    };
    let of = |path: &str| event.at(path).and_then(Value::as_str).unwrap_or_default();
    of("/involvedObject/kind") != "Rollout" || SAID_OTHERWISE.contains(&of("/reason"))
}

fn tone(change: &Change, text: &str) -> Tone {
    let is = |words: &[&str]| words.iter().any(|word| text.contains(word));
    match change.resource.plural {
        "httproutes" => Tone::Traffic,
        "analysisruns" | "rollouts" | "events" if is(&["Failed", "Error", "Degraded", "aborted", "Inconclusive"]) => {
            Tone::Bad
        }
        "analysisruns" | "rollouts" if is(&[": Successful", "is Healthy"]) => Tone::Good,
        "events" if is(&["Successful", "completed"]) => Tone::Good,
        _ => Tone::Plain,
    }
}

/// What was told of users.
struct Users {
    told: BTreeMap<String, Counts>,
    at: Instant,
}

impl Users {
    fn new(met: &Met) -> Self {
        Self {
            told: met.so_far(),
            at: Instant::now(),
        }
    }

    /// What users met since the last line; nothing at rest, but now and then.
    fn line(&mut self, met: &Met, cluster: &Cluster, by_clock: bool) -> Option<(Tone, String)> {
        let now = met.so_far();
        let new: BTreeMap<&str, Counts> = now
            .iter()
            .map(|(hash, counts)| {
                let before = self.told.get(hash).copied().unwrap_or_default();
                let counts = Counts {
                    requests: counts.requests - before.requests,
                    failed: counts.failed - before.failed,
                };
                (hash.as_str(), counts)
            })
            .filter(|(_, counts)| counts.requests > 0)
            .collect();
        let sum = |of: fn(&Counts) -> u64| new.values().map(of).sum::<u64>();
        let (requests, failed) = (sum(|c| c.requests), sum(|c| c.failed));
        let passed = self.at.elapsed();
        let at_rest = new.len() < 2 && failed == 0;
        if requests < FEW || (by_clock && at_rest && passed < SELDOM) {
            return None;
        }
        let names = names(cluster);
        let each: Vec<String> = new
            .iter()
            .map(|(hash, counts)| {
                let share = counts.requests as f64 / requests as f64 * 100.0;
                let name = match *hash {
                    "" => "nobody",
                    hash => names.get(hash).map_or("an old version", String::as_str),
                };
                format!("{name} {share:.1}% ({} failed)", counts.failed)
            })
            .collect();
        self.told = now;
        self.at = Instant::now();
        let tone = if failed > 0 { Tone::Bad } else { Tone::Plain };
        let text = format!(
            "users: {requests} requests in {:.1} s, answered by {}",
            passed.as_secs_f64(),
            each.join(", ")
        );
        Some((tone, text))
    }
}

/// Tags of images by the revision's hash.
fn names(cluster: &Cluster) -> BTreeMap<String, String> {
    let sets = cluster.list("replicasets").into_iter();
    sets.filter_map(|set| {
        let hash = set.at("/metadata/labels")?[HASH].as_str()?.to_owned();
        let image = set.at("/spec/template/spec/containers/0/image")?.as_str()?;
        Some((hash, version(image).to_owned()))
    })
    .collect()
}
