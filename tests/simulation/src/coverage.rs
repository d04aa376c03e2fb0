//! How much of the space was reached: step kind x fault kind, crash points, features.

use std::{collections::BTreeMap, fmt::Write as _};

use serde::{Deserialize, Serialize};
use serde_json::Value;
use serin_model::At as _;
use serin_planner::State;

use crate::{
    crash_points::POSSIBLE,
    history::History,
    run::Played,
    scenario::{App, FaultKind},
};

/// See the module. Keys are texts so that it can be handed between processes as JSON.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Coverage {
    /// `step kind|fault kind`: in how many runs such a fault struck while a Rollout was at such a step.
    pub steps: BTreeMap<String, u64>,
    /// `last write|next write`: how many processes were killed there.
    pub crashes: BTreeMap<String, u64>,
    /// `last write|next write`: how often this happened at all.
    pub writes: BTreeMap<String, u64>,
    /// In how many runs something was there.
    pub features: BTreeMap<String, u64>,
}

/// Where a Rollout is when a fault strikes.
pub const STEPS: [&str; 9] = [
    "setWeight",
    "pause",
    "endless pause",
    "analysis",
    "setCanaryScale",
    "last step done",
    "no steps",
    "aborted",
    "at rest",
];

/// Kinds of faults, as [`FaultKind::name`] calls them.
pub const FAULTS: [&str; 22] = [
    "409",
    "429",
    "5xx",
    "5xx-after",
    "hang",
    "hang-after",
    "broken",
    "broken-after",
    "slow",
    "stale",
    "watch-late",
    "watch-closed",
    "watch-410",
    "crash",
    "lease",
    "clock",
    "no-data",
    "provider",
    "route",
    "service",
    "replicaset",
    "pods",
];

/// Cells that cannot be reached, with the reason.
pub const IMPOSSIBLE: &[(&str, &str, &str)] = &[];

/// States that no seed comes to: the planner is not asked about Rollouts that go, the audit has no reason to refuse, and
/// templates are not broken.
const UNSEEN: [State; 3] = [State::Deleting, State::Refused, State::AnalysisNotStarted];

fn explained(state: State) -> String {
    format!("explained: {state:?}")
}

impl Coverage {
    /// What one run covered.
    pub fn of(played: &Played) -> Self {
        let mut out = Self::default();
        let history = &played.history;
        let places = Places::new(history);
        let mut seen = std::collections::BTreeSet::new();
        for done in &history.faults {
            for (app, step) in places.at(history, done.at, concerned(history, &done.rollout)) {
                if seen.insert((done.index, app, step)) {
                    *out.steps.entry(format!("{step}|{}", done.what.name())).or_default() += 1;
                }
            }
        }
        let join = |pairs: &crate::faults::Pairs| {
            let texts = pairs.iter().map(|((last, next), n)| (format!("{last}|{next}"), *n));
            texts.collect()
        };
        out.crashes = join(&played.crashes);
        out.writes = join(&played.writes);
        for feature in features(history) {
            out.features.insert(feature, 1);
        }
        for state in &played.told.states {
            out.features.insert(explained(*state), 1);
        }
        out
    }

    /// Takes in what another run covered.
    pub fn add(&mut self, other: &Self) {
        let sum = |into: &mut BTreeMap<String, u64>, from: &BTreeMap<String, u64>| {
            for (key, n) in from {
                *into.entry(key.clone()).or_default() += n;
            }
        };
        sum(&mut self.steps, &other.steps);
        sum(&mut self.crashes, &other.crashes);
        sum(&mut self.writes, &other.writes);
        sum(&mut self.features, &other.features);
    }

    fn cell(&self, step: &str, fault: &str) -> u64 {
        self.steps.get(&format!("{step}|{fault}")).copied().unwrap_or(0)
    }

    /// Required cells that were reached less often than that.
    pub fn missing(&self, least: u64) -> Vec<String> {
        let impossible = |step: &str, fault: &str| IMPOSSIBLE.iter().any(|(s, f, _)| (*s, *f) == (step, fault));
        let mut out = Vec::new();
        for step in STEPS {
            for fault in FAULTS {
                let n = self.cell(step, fault);
                if n < least && !impossible(step, fault) {
                    out.push(format!("{step} x {fault}: {n}"));
                }
            }
        }
        for (_, (last, next)) in POSSIBLE {
            let n = self.crashes.get(&format!("{last}|{next}")).copied().unwrap_or(0);
            if n < least {
                out.push(format!("crash between {last} and {next}: {n}"));
            }
        }
        for state in State::ALL.into_iter().filter(|state| !UNSEEN.contains(state)) {
            if !self.features.contains_key(&explained(state)) {
                out.push(explained(state));
            }
        }
        out
    }

    /// Tables for people.
    pub fn table(&self) -> String {
        let mut out = String::new();
        let _ = write!(out, "{:<16}", "fault \\ step");
        for step in STEPS {
            let _ = write!(out, "{step:>15}");
        }
        out.push('\n');
        for fault in FAULTS {
            let _ = write!(out, "{fault:<16}");
            for step in STEPS {
                let _ = write!(out, "{:>15}", self.cell(step, fault));
            }
            out.push('\n');
        }
        out.push_str("\ncrash points (killed there / pair of writes seen)\n");
        let all: std::collections::BTreeSet<&String> = self.crashes.keys().chain(self.writes.keys()).collect();
        for pair in all {
            let n = |of: &BTreeMap<String, u64>| of.get(pair).copied().unwrap_or(0);
            let _ = writeln!(
                out,
                "{:<60} {:>8} / {}",
                pair.replace('|', " -> "),
                n(&self.crashes),
                n(&self.writes)
            );
        }
        out.push_str("\nfeatures (runs)\n");
        for (feature, n) in &self.features {
            let _ = writeln!(out, "{feature:<44} {n:>8}");
        }
        out
    }
}

/// Index of the app that a fault was about; [`None`] when it was about all.
fn concerned(history: &History, name: &str) -> Option<usize> {
    let belongs = |app: &App| {
        name.strip_prefix(app.name.as_str())
            .is_some_and(|rest| rest.is_empty() || rest.starts_with(['-', '.']))
    };
    history.scenario.apps.iter().position(belongs)
}

/// Where each Rollout was at any time.
struct Places(Vec<Vec<(std::time::Duration, Option<&'static str>)>>);

impl Places {
    fn new(history: &History) -> Self {
        let mut all = vec![Vec::new(); history.scenario.apps.len()];
        for change in history.changes.iter().filter(|c| c.resource.plural == "rollouts") {
            let index = history.scenario.apps.iter().position(|a| a.name == change.name);
            if let Some(index) = index {
                all[index].push((change.at, change.new.as_deref().map(place)));
            }
        }
        Self(all)
    }

    fn at(&self, history: &History, at: std::time::Duration, app: Option<usize>) -> Vec<(usize, &'static str)> {
        let apps = app.map_or(0..history.scenario.apps.len(), |n| n..n + 1);
        apps.filter_map(|app| {
            let all = &self.0[app];
            let after = all.partition_point(|(when, _)| *when <= at);
            let (_, place) = all.get(after.checked_sub(1)?)?;
            place.map(|place| (app, place))
        })
        .collect()
    }
}

/// Where a Rollout is: one of [`STEPS`].
pub fn place(rollout: &Value) -> &'static str {
    let status = &rollout["status"];
    if status["abort"] == true {
        return "aborted";
    }
    let stable = status["stableRS"].as_str().unwrap_or_default();
    if stable.is_empty() || status["currentPodHash"] == stable {
        return "at rest";
    }
    let steps = rollout.at("/spec/strategy/canary/steps").and_then(Value::as_array);
    let Some(steps) = steps.filter(|steps| !steps.is_empty()) else {
        return "no steps";
    };
    let index = status["currentStepIndex"].as_u64().unwrap_or(0);
    match usize::try_from(index).ok().and_then(|index| steps.get(index)) {
        None => "last step done",
        Some(step) if step.get("pause").is_some() => {
            if step["pause"].get("duration").is_some() {
                "pause"
            } else {
                "endless pause"
            }
        }
        Some(step) if step.get("analysis").is_some() => "analysis",
        Some(step) if step.get("setCanaryScale").is_some() => "setCanaryScale",
        Some(_) => "setWeight",
    }
}

/// What a run had, in words.
fn features(history: &History) -> Vec<String> {
    let scenario = &history.scenario;
    let mut out = std::collections::BTreeSet::new();
    let mut add = |text: String| {
        out.insert(text);
    };
    add(format!("controller: {} replica(s)", scenario.controller.replicas));
    add(format!(
        "controller: audit {}",
        if scenario.controller.audit { "on" } else { "off" }
    ));
    for app in &scenario.apps {
        add(if app.router {
            "spec: HTTPRoute"
        } else {
            "spec: no router"
        }
        .to_owned());
        if let Some(canary) = app.rollout.at("/spec/strategy/canary").and_then(Value::as_object) {
            for field in canary.keys() {
                add(format!("spec: canary.{field}"));
            }
        }
        for field in app.rollout["spec"].as_object().into_iter().flat_map(|spec| spec.keys()) {
            add(format!("spec: {field}"));
        }
    }
    for done in &history.actions {
        let word = format!("{:?}", done.what);
        let word = word.split(['(', ' ']).next().unwrap_or_default();
        add(format!("action: {word}"));
    }
    for done in &history.faults {
        add(format!("fault: {}", done.what.name()));
        if matches!(done.what, FaultKind::CrashBetween { .. }) {
            add("fault: crash between two writes".to_owned());
        }
    }
    // The last version of each Rollout, and everything that its phase ever was.
    for change in history.changes.iter().filter(|c| c.resource.plural == "rollouts") {
        if let Some(phase) = change.new.as_ref().and_then(|o| o["status"]["phase"].as_str()) {
            add(format!("phase: {phase}"));
        }
    }
    for change in history.changes.iter().filter(|c| c.resource.plural == "analysisruns") {
        if let Some(phase) = change.new.as_ref().and_then(|o| o["status"]["phase"].as_str()) {
            add(format!("analysis: {phase}"));
        }
    }
    out.into_iter().collect()
}
