//! What happens, as lines: changes of objects in the words that rehearsals use, and what users met meanwhile.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use serde_json::Value;
use serin_api::rollout::Rollout;
use serin_kubesim::{Change, Cluster};
use serin_model::At as _;
use serin_staging::told::told;
use tokio::time::{Instant, MissedTickBehavior};

use crate::{
    behaviour::version,
    load::{Answerer, Counts, Met},
    notes::{Name, Notes, Tone},
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
    let mut users = Users::new();
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
                    let rollout = whose(&cluster, &change);
                    if is_turn(&change) {
                        say(&notes, users.lines(&met, &cluster, rollout.as_ref(), false));
                    }
                    if is_noise(&change) {
                        continue;
                    }
                    let lines = told(change.resource.plural, change.old.as_deref(), change.new.as_deref());
                    // What a run says of itself is what its metrics said.
                    for text in lines.into_iter().filter(|text| !text.starts_with("the analysis: ")) {
                        notes.tell(tone(&change, &text), rollout.clone(), text);
                    }
                }
            }
            _ = ticks.tick() => say(&notes, users.lines(&met, &cluster, None, true)),
        }
    }
}

fn say(notes: &Notes, lines: Vec<(Tone, Name, String)>) {
    for (tone, rollout, text) in lines {
        notes.tell(tone, Some(rollout), text);
    }
}

/// The Rollout that a change is about; nothing where that is none, or several.
fn whose(cluster: &Cluster, change: &Change) -> Option<Name> {
    let object = change.new.as_deref().or(change.old.as_deref())?;
    let of = |path: &str| object.at(path).and_then(Value::as_str).unwrap_or_default().to_owned();
    let namespace = of("/metadata/namespace");
    match change.resource.plural {
        "rollouts" => Some((namespace, of("/metadata/name"))),
        "events" => (of("/involvedObject/kind") == "Rollout")
            .then(|| (of("/involvedObject/namespace"), of("/involvedObject/name"))),
        "httproutes" => of_route(
            &cluster.list("rollouts"),
            &(namespace, of("/metadata/name")),
            change.old.as_deref(),
            change.new.as_deref(),
        ),
        _ => {
            let owners = object.at("/metadata/ownerReferences").and_then(Value::as_array);
            let mut owners = owners.into_iter().flatten();
            let owner = owners.find(|owner| owner["kind"] == "Rollout")?;
            Some((namespace, owner["name"].as_str()?.to_owned()))
        }
    }
}

/// The one Rollout that a route carries, or of several the one whose rules have changed.
fn of_route(rollouts: &[Arc<Value>], route: &Name, old: Option<&Value>, new: Option<&Value>) -> Option<Name> {
    let mut found: Vec<(Name, String)> = rollouts
        .iter()
        .filter_map(|object| {
            let rollout: Rollout = serde_json::from_value((**object).clone()).ok()?;
            let own = (rollout.metadata.namespace?, rollout.metadata.name?);
            let canary = rollout.spec.strategy.canary?;
            let routes = serin_traffic::routes(canary.traffic_routing.as_ref()?, &own.0).ok()?;
            let carries = routes.iter().any(|r| (&r.namespace, &r.name) == (&route.0, &route.1));
            carries.then_some((own, canary.canary_service?))
        })
        .collect();
    if found.len() > 1 {
        let rules = |object: Option<&Value>, service: &str| -> Vec<Value> {
            let rules = object.and_then(|o| o.at("/spec/rules")).and_then(Value::as_array);
            let has = |rule: &&Value| {
                let backends = rule["backendRefs"].as_array().into_iter().flatten();
                backends.into_iter().any(|backend| backend["name"] == *service)
            };
            rules.into_iter().flatten().filter(has).cloned().collect()
        };
        found.retain(|(_, service)| rules(old, service) != rules(new, service));
    }
    match found.as_slice() {
        [(rollout, _)] => Some(rollout.clone()),
        _ => None,
    }
}

/// Weights change: what users met before belongs to the old ones.
fn is_turn(change: &Change) -> bool {
    let of = |object: &Option<std::sync::Arc<Value>>| object.as_ref().and_then(|o| o.at("/spec/rules").cloned());
    change.resource.plural == "httproutes" && change.old.is_some() && of(&change.old) != of(&change.new)
}

/// Events about pods and the like, which every cluster has, and those that say what another line says as well.
fn is_noise(change: &Change) -> bool {
    const SAID_OTHERWISE: [&str; 7] = [
        "AnalysisRunFailed",
        "AnalysisRunHolding",
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
    begin: Instant,
    told: BTreeMap<Name, Told>,
}

/// What was told of the users of one Rollout.
struct Told {
    counts: BTreeMap<Answerer, Counts>,
    at: Instant,
}

impl Users {
    fn new() -> Self {
        Self {
            begin: Instant::now(),
            told: BTreeMap::new(),
        }
    }

    /// What users met since the last line, of one Rollout or of each; nothing at rest, but now and then.
    fn lines(
        &mut self,
        met: &Met,
        cluster: &Cluster,
        only: Option<&Name>,
        by_clock: bool,
    ) -> Vec<(Tone, Name, String)> {
        let begin = self.begin;
        let names = names(cluster);
        let wanted = |rollout: &Name| only.is_none_or(|only| only == rollout);
        let all = met.so_far().into_iter().filter(|(rollout, _)| wanted(rollout));
        all.filter_map(|(rollout, counts)| {
            let told = self.told.entry(rollout.clone()).or_insert_with(|| Told {
                counts: BTreeMap::new(),
                at: begin,
            });
            let (tone, text) = told.line(counts, &names, by_clock)?;
            Some((tone, rollout, text))
        })
        .collect()
    }
}

impl Told {
    fn line(
        &mut self,
        now: BTreeMap<Answerer, Counts>,
        names: &BTreeMap<String, String>,
        by_clock: bool,
    ) -> Option<(Tone, String)> {
        let new: BTreeMap<&Answerer, Counts> = now
            .iter()
            .map(|(answerer, counts)| {
                let before = self.counts.get(answerer).copied().unwrap_or_default();
                let counts = Counts {
                    requests: counts.requests - before.requests,
                    failed: counts.failed - before.failed,
                };
                (answerer, counts)
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
        let each: Vec<String> = new
            .iter()
            .map(|(answerer, counts)| {
                let share = counts.requests as f64 / requests as f64 * 100.0;
                let name = match answerer {
                    Answerer::Nobody => "nobody",
                    Answerer::Revision(hash) => names.get(hash).map_or("an old version", String::as_str),
                };
                format!("{name} {share:.1}% ({} failed)", counts.failed)
            })
            .collect();
        let tone = if failed > 0 { Tone::Bad } else { Tone::Plain };
        let text = format!(
            "users: {requests} requests in {:.1} s, answered by {}",
            passed.as_secs_f64(),
            each.join(", ")
        );
        self.counts = now;
        self.at = Instant::now();
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

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn rollout(name: &str) -> Arc<Value> {
        let routing = json!({"plugins": {"argoproj-labs/gatewayAPI": {"httpRoute": "web"}}});
        let canary = json!({
            "stableService": format!("{name}-stable"), "canaryService": format!("{name}-canary"), "trafficRouting": routing,
        });
        Arc::new(json!({
            "apiVersion": "argoproj.io/v1alpha1", "kind": "Rollout",
            "metadata": {"namespace": "n", "name": name},
            "spec": {
                "selector": {"matchLabels": {"app": name}}, "template": {"spec": {"containers": []}}, "strategy": {"canary": canary},
            },
        }))
    }

    fn route(weights: [(&str, i64); 2]) -> Value {
        let rules = weights.map(|(name, canary)| {
            json!({"backendRefs": [
                {"name": format!("{name}-stable"), "weight": 100 - canary}, {"name": format!("{name}-canary"), "weight": canary},
            ]})
        });
        json!({"metadata": {"namespace": "n", "name": "web"}, "spec": {"rules": rules}})
    }

    #[test]
    fn a_route_speaks_of_the_rollout_whose_rules_changed() {
        let name = |name: &str| ("n".to_owned(), name.to_owned());
        let (old, new) = (route([("a", 0), ("b", 0)]), route([("a", 0), ("b", 20)]));
        let all = [rollout("a"), rollout("b")];
        assert_eq!(of_route(&all, &name("web"), Some(&old), Some(&new)), Some(name("b")));
        assert_eq!(of_route(&all, &name("web"), Some(&old), None), None);
        assert_eq!(of_route(&all[..1], &name("web"), Some(&old), None), Some(name("a")));
        assert_eq!(of_route(&all, &name("other"), Some(&old), Some(&new)), None);
    }

    #[test]
    fn that_nobody_answers_is_told_with_the_next_line() {
        let mut told = Told {
            counts: BTreeMap::new(),
            at: Instant::now(),
        };
        let names = BTreeMap::from([("h1".to_owned(), "v1".to_owned())]);
        let met = |good: u64, lost: u64| {
            BTreeMap::from([
                (
                    Answerer::Revision("h1".to_owned()),
                    Counts {
                        requests: good,
                        failed: 0,
                    },
                ),
                (
                    Answerer::Nobody,
                    Counts {
                        requests: lost,
                        failed: lost,
                    },
                ),
            ])
        };
        assert_eq!(told.line(met(100, 0), &names, true), None);
        let (tone, text) = told.line(met(100, 20), &names, true).expect("a line");
        assert!(
            tone == Tone::Bad && text.contains("nobody 16.7% (20 failed), v1 83.3% (0 failed)"),
            "{text}"
        );
        let (_, text) = told.line(met(100, 40), &names, true).expect("a line");
        assert!(
            text.contains("users: 20 requests") && text.contains("nobody 100.0% (20 failed)"),
            "{text}"
        );
    }
}
