//! What counts as behaviour: the sequences of phases, step indices, weights, replica counts, selectors and events.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, Result};
use serde::Deserialize;
use serde_json::Value;

use crate::Ground;

/// How the objects of a scenario moved; values that stay the same are listed once.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sequences {
    /// By aspect (`phase`, `step`, `weight`, `replicas NAME`, `selector NAME`, `events`): what was seen, in order.
    pub aspects: BTreeMap<String, Vec<String>>,
}

/// One phase of an analysis run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunStep {
    /// Milliseconds since the run was created.
    pub after: i64,
    /// `status.phase`.
    pub phase: String,
    /// `status.message`.
    pub message: String,
}

impl Sequences {
    /// Takes note of a version of an object.
    pub fn see(&mut self, object: &Value) {
        let name = object["metadata"]["name"].as_str().unwrap_or_default();
        match object["kind"].as_str().unwrap_or_default() {
            "Rollout" => {
                let status = &object["status"];
                if let Some(phase) = status["phase"].as_str() {
                    self.note("phase", phase.to_owned());
                }
                if let Some(step) = status["currentStepIndex"].as_i64() {
                    self.note("step", step.to_string());
                }
                let weights = &status["canary"]["weights"];
                if weights.is_object() {
                    self.note(
                        "weight",
                        format!("{}/{}", weights["canary"]["weight"], weights["stable"]["weight"]),
                    );
                }
                if let Some(stable) = status["stableRS"].as_str() {
                    self.note("stable", stable.to_owned());
                }
            }
            "ReplicaSet" => {
                let replicas = object["spec"]["replicas"].as_i64().unwrap_or(0);
                self.note(&format!("replicas {name}"), replicas.to_string());
            }
            "Service" => {
                let hash = object["spec"]["selector"]["rollouts-pod-template-hash"]
                    .as_str()
                    .unwrap_or("");
                self.note(&format!("selector {name}"), hash.to_owned());
            }
            "HTTPRoute" => {
                let rules = object["spec"]["rules"].as_array().into_iter().flatten();
                let refs = rules.flat_map(|rule| rule["backendRefs"].as_array().into_iter().flatten());
                let text: Vec<String> = refs
                    .map(|b| {
                        format!(
                            "{}={}",
                            b["name"].as_str().unwrap_or(""),
                            b["weight"].as_i64().unwrap_or(1)
                        )
                    })
                    .collect();
                self.note(&format!("route {name}"), text.join(" "));
            }
            _ => {}
        }
    }

    /// Takes note of an event on the Rollout.
    pub fn event(&mut self, kind: &str, reason: &str, message: &str) {
        // What to do about it, said by Serin alone, beside upstream's words (docs/compatibility.md).
        if reason == "Advice" {
            return;
        }
        self.aspects
            .entry("events".to_owned())
            .or_default()
            .push(format!("{kind} {reason}: {}", message.trim_end()));
    }

    fn note(&mut self, aspect: &str, value: String) {
        let seen = self.aspects.entry(aspect.to_owned()).or_default();
        if seen.last() != Some(&value) {
            seen.push(value);
        }
    }
}

pub(crate) fn read_timeline(text: &str, into: &mut Sequences) -> Result<Vec<(String, Vec<RunStep>)>> {
    let mut objects: BTreeMap<(String, String), Value> = BTreeMap::new();
    let mut conditions: BTreeMap<(String, String), Value> = BTreeMap::new();
    let mut runs: Vec<(String, i64, Vec<RunStep>)> = Vec::new();
    for line in text.lines().filter(|l| !l.is_empty()) {
        let line: Value = serde_json::from_str(line).context("failed to parse a line of timeline.jsonl")?;
        let (Some(kind), Some(name)) = (line["kind"].as_str(), line["name"].as_str()) else {
            continue;
        };
        let key = (kind.to_owned(), name.to_owned());
        let is_delta = line.get("delta").is_some();
        let Some(part) = line
            .get("delta")
            .or_else(|| line.get("object"))
            .filter(|p| !p.is_null())
        else {
            objects.remove(&key);
            continue;
        };
        let mut part = part.clone();
        expand_conditions(&mut part, &format!("{kind}/{name}"), &mut conditions);
        let object = objects.entry(key).or_default();
        if is_delta {
            merge(object, &part);
        } else {
            *object = part;
        }
        object["kind"] = Value::String(kind.to_owned());
        object["metadata"]["name"] = Value::String(name.to_owned());
        into.see(object);
        if kind == "AnalysisRun" {
            let at = line["t"].as_i64().unwrap_or(0);
            let step = |since: i64| RunStep {
                after: at - since,
                phase: object["status"]["phase"].as_str().unwrap_or("").to_owned(),
                message: object["status"]["message"].as_str().unwrap_or("").to_owned(),
            };
            match runs.iter_mut().find(|(known, ..)| known == name) {
                None => runs.push((name.to_owned(), at, vec![step(at)])),
                Some((_, since, steps)) => {
                    let next = step(*since);
                    if steps.last().is_none_or(|last| last.phase != next.phase) {
                        steps.push(next);
                    }
                }
            }
        }
    }
    Ok(runs.into_iter().map(|(name, _, steps)| (name, steps)).collect())
}

/// Conditions are written as lists, or as their type alone when nothing changed.
fn expand_conditions(part: &mut Value, owner: &str, known: &mut BTreeMap<(String, String), Value>) {
    const FIELDS: [&str; 6] = [
        "type",
        "status",
        "reason",
        "message",
        "lastTransitionTime",
        "lastUpdateTime",
    ];
    let Some(listed) = part.pointer_mut("/status/conditions").and_then(Value::as_array_mut) else {
        return;
    };
    for entry in listed {
        if let Some(kind) = entry.as_str() {
            *entry = known
                .get(&(owner.to_owned(), kind.to_owned()))
                .cloned()
                .unwrap_or_default();
        } else if let Some(values) = entry.as_array() {
            let object: Value = FIELDS
                .iter()
                .zip(values)
                .filter(|(_, v)| !v.is_null())
                .map(|(k, v)| ((*k).to_owned(), v.clone()))
                .collect::<serde_json::Map<_, _>>()
                .into();
            let kind = object["type"].as_str().unwrap_or_default().to_owned();
            known.insert((owner.to_owned(), kind), object.clone());
            *entry = object;
        }
    }
}

fn merge(target: &mut Value, patch: &Value) {
    let Some(patch) = patch.as_object() else {
        *target = patch.clone();
        return;
    };
    if !target.is_object() {
        *target = Value::Object(serde_json::Map::new());
    }
    if let Some(target) = target.as_object_mut() {
        for (key, value) in patch {
            if value.is_null() {
                target.remove(key);
            } else {
                merge(target.entry(key.clone()).or_insert(Value::Null), value);
            }
        }
    }
}

pub(crate) fn read_events(text: &str, into: &mut Sequences) -> Result<()> {
    for line in text.lines().filter(|l| !l.is_empty()) {
        let line: Value = serde_json::from_str(line).context("failed to parse a line of events.jsonl")?;
        let on_rollout = line["object"].as_str().is_some_and(|o| o.starts_with("Rollout/"));
        if let (true, Some(kind), Some(reason), Some(message)) = (
            on_rollout,
            line["type"].as_str(),
            line["reason"].as_str(),
            line["message"].as_str(),
        ) {
            into.event(kind, reason, message);
        }
    }
    Ok(())
}

/// One aspect that is not the same.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// Which aspect.
    pub aspect: String,
    /// What Serin did.
    pub ours: Vec<String>,
    /// What was recorded.
    pub recorded: Vec<String>,
}

/// What differs between two runs of a scenario. A loop counts once. In `phase` a state that Serin saved by writing less
/// is no difference, as long as the rest stands in the same order and the last is the same.
pub fn compare(ours: &Sequences, recorded: &Sequences) -> Vec<Difference> {
    let names: BTreeSet<&String> = ours.aspects.keys().chain(recorded.aspects.keys()).collect();
    let mut differences = Vec::new();
    for aspect in names {
        let get = |s: &Sequences| unloop(s.aspects.get(aspect).cloned().unwrap_or_default());
        let (mine, theirs) = (get(ours), get(recorded));
        let same = if aspect == "phase" {
            is_saved(&mine, &theirs)
        } else {
            mine == theirs
        };
        if !same {
            differences.push(Difference {
                aspect: aspect.clone(),
                ours: mine,
                recorded: theirs,
            });
        }
    }
    differences
}

/// `short` is `long` with some entries left out, the last one not.
fn is_saved(short: &[String], long: &[String]) -> bool {
    let mut rest = long.iter();
    short.iter().all(|entry| rest.any(|known| known == entry)) && short.last() == long.last()
}

/// Immediate repetitions of up to four entries are cut to one.
fn unloop(mut list: Vec<String>) -> Vec<String> {
    for period in [2, 4, 3, 1] {
        let mut i = 0;
        while i + 2 * period <= list.len() {
            if list[i..i + period] == list[i + period..i + 2 * period] {
                list.drain(i + period..i + 2 * period);
            } else {
                i += 1;
            }
        }
    }
    list
}

/// A difference that is known, with its reason.
#[derive(Clone, Debug, Deserialize)]
pub struct Known {
    /// Scenario.
    pub recording: String,
    /// Aspect.
    pub aspect: String,
    /// What Serin does, exactly; one entry for each form that was seen.
    #[serde(default)]
    pub ours: Vec<String>,
    /// This ReplicaSet is scaled in other hops than in `ours` (without it: than recorded), from the same count to the same
    /// count. How many pods were ready between two passes is the cluster's pace and an input like any other.
    #[serde(default)]
    pub hops: Option<String>,
    /// The same entries as recorded, in another order.
    #[serde(default)]
    pub any_order: bool,
    /// Where it is seen; everywhere when it is not said.
    #[serde(default)]
    pub ground: Option<Ground>,
    /// Where in the recording: file and line or time.
    pub at: String,
    /// Section of the compatibility map or number in the recordings' README.
    pub compat: String,
    /// Why it is so.
    pub why: String,
}

/// Whether a difference is the known one.
pub fn is_known(known: &Known, recording: &str, difference: &Difference) -> bool {
    known.recording == recording
        && known.aspect == difference.aspect
        && match &known.hops {
            None if known.any_order => sorted(&difference.ours) == sorted(&difference.recorded),
            Some(set) => {
                let expected = if known.ours.is_empty() {
                    &difference.recorded
                } else {
                    &known.ours
                };
                join_hops(&difference.ours, set) == join_hops(expected, set)
            }
            None => known.ours == difference.ours,
        }
}

fn sorted(list: &[String]) -> Vec<&String> {
    let mut list: Vec<&String> = list.iter().collect();
    list.sort();
    list
}

/// Scalings of a ReplicaSet that go on in the same direction are joined to one: in events where only scalings stand
/// between them, and in lists of counts.
fn join_hops(list: &[String], set: &str) -> Vec<String> {
    let mut joined: Vec<String> = Vec::new();
    for entry in list {
        if let Some(hop) = Hop::of(entry, set) {
            let scalings = joined.iter().rposition(|e| !e.contains(" ScalingReplicaSet: "));
            let begin = scalings.map_or(0, |i| i + 1);
            let before = joined[begin..].iter().rposition(|e| Hop::of(e, set).is_some());
            if let Some(i) = before.map(|i| i + begin)
                && let Some(last) = Hop::of(&joined[i], set)
                && last.to == hop.from
                && last.is_down() == hop.is_down()
            {
                joined[i] = format!("{} from {} to {}", last.start, last.from, hop.to);
                continue;
            }
        } else if let (Ok(next), [.., a, b]) = (entry.parse::<i64>(), joined.as_slice())
            && let (Ok(a), Ok(b)) = (a.parse::<i64>(), b.parse::<i64>())
            && (a > b) == (b > next)
            && a != b
            && b != next
        {
            joined.pop();
        }
        joined.push(entry.clone());
    }
    joined
}

/// `… ReplicaSet demo-5d8 (revision 1) from 4 to 3`.
struct Hop<'a> {
    start: &'a str,
    from: i64,
    to: i64,
}

impl<'a> Hop<'a> {
    fn of(event: &'a str, set: &str) -> Option<Self> {
        if !event.contains(&format!(" ReplicaSet {set} (revision ")) {
            return None;
        }
        let (start, counts) = event.rsplit_once(" from ")?;
        let (from, to) = counts.split_once(" to ")?;
        Some(Self {
            start,
            from: from.parse().ok()?,
            to: to.parse().ok()?,
        })
    }

    fn is_down(&self) -> bool {
        self.to < self.from
    }
}

/// A difference for people: the two lists without what they have in common at both ends.
pub fn describe(difference: &Difference) -> String {
    let (mut ours, mut theirs) = (difference.ours.as_slice(), difference.recorded.as_slice());
    while let ([a, x @ ..], [b, y @ ..]) = (ours, theirs)
        && a == b
    {
        (ours, theirs) = (x, y);
    }
    while let ([x @ .., a], [y @ .., b]) = (ours, theirs)
        && a == b
    {
        (ours, theirs) = (x, y);
    }
    let list = |l: &[String]| l.iter().map(|e| format!("\n    {e}")).collect::<String>();
    format!(
        "{}\n  ours{}\n  recorded{}",
        difference.aspect,
        list(ours),
        list(theirs)
    )
}

/// The list of known differences, `differences.json` beside this crate.
///
/// # Errors
/// The file is missing or malformed.
pub fn known_differences() -> Result<Vec<Known>> {
    let path = crate::root().join("differences.json");
    let text = std::fs::read_to_string(&path).with_context(|| format!("failed to read {}", path.display()))?;
    serde_json::from_str(&text).context("failed to parse differences.json")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(text: &str) -> Vec<String> {
        text.split(' ').map(str::to_owned).collect()
    }

    #[test]
    fn a_loop_counts_once() {
        assert_eq!(unloop(list("a b c b c b c d")), list("a b c d"));
        assert_eq!(unloop(list("a b c")), list("a b c"));
    }

    #[test]
    fn a_saved_phase_is_no_difference_but_a_new_one_is() {
        assert!(is_saved(&list("P H"), &list("P D P H")));
        assert!(!is_saved(&list("P D"), &list("P D H")));
        assert!(!is_saved(&list("P X H"), &list("P H")));
    }

    #[test]
    fn hops_of_the_same_direction_are_one_and_nothing_else_is() {
        let event = |set: &str, from: i64, to: i64| {
            let way = if to < from { "down" } else { "up" };
            format!("Normal ScalingReplicaSet: Scaled {way} ReplicaSet {set} (revision 1) from {from} to {to}")
        };
        let two = [event("a", 4, 3), event("b", 0, 1), event("a", 3, 1)];
        assert_eq!(join_hops(&two, "a"), [event("a", 4, 1), event("b", 0, 1)]);
        let parted = [event("a", 4, 3), "Normal RolloutPaused: x".to_owned(), event("a", 3, 1)];
        assert_eq!(join_hops(&parted, "a"), parted);
        let back = [event("a", 4, 3), event("a", 3, 4)];
        assert_eq!(join_hops(&back, "a"), back);
        assert_eq!(join_hops(&list("0 5 4 2 4 5"), "a"), list("0 5 2 5"));
    }

    #[test]
    fn every_recording_can_be_read() {
        for name in crate::names().unwrap() {
            let scenario = crate::Scenario::load(&name).unwrap();
            assert!(!scenario.script.is_empty(), "{name}");
            let has_rollout = scenario.objects.iter().any(|o| o["kind"] == "Rollout");
            assert_eq!(scenario.recorded.aspects.contains_key("events"), has_rollout, "{name}");
        }
    }
}
