//! What happened in a release, told from the objects in the cluster. Pure: objects and moments in, lines out.
//!
//! It knows the Rollout, its ReplicaSets, AnalysisRuns and route as anyone with kubectl sees them, and nothing of the
//! controller that writes them.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use serde_json::Value;

/// How a line is meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tone {
    /// Something is done.
    Plain,
    /// A weight changed.
    Traffic,
    /// A measurement that passed, or a run that did.
    Good,
    /// A measurement that did not pass, or a run that did not.
    Bad,
    /// The reason of a decision.
    Why,
}

/// One line of the timeline, without its time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Line {
    pub(crate) tone: Tone,
    pub(crate) text: String,
}

/// How a release ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ending {
    Promoted,
    Aborted,
}

impl Ending {
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Promoted => "promoted",
            Self::Aborted => "aborted",
        }
    }
}

/// An object as it was seen.
#[derive(Clone, Debug)]
pub(crate) enum Seen {
    Rollout(Value),
    ReplicaSet(Value),
    Run(Value),
    Route(Value),
}

/// A release from the change of the image to the last pod's end.
#[derive(Debug)]
pub(crate) struct Timeline {
    version: String,
    image: String,
    canary_service: String,
    /// Revision hash of the version before.
    before: String,
    hash: Option<String>,
    step: Option<i64>,
    weight: i64,
    highest: i64,
    ready: i64,
    pods: BTreeMap<String, i64>,
    /// Measurements told so far, by run and metric.
    told: BTreeMap<(String, String), usize>,
    /// Last phase of each run of this release.
    runs: BTreeMap<String, String>,
    why: Vec<String>,
    ending: Option<(Ending, DateTime<Utc>)>,
    measurements: usize,
}

impl Timeline {
    /// Begins when the Rollout's image becomes `image`; `before` is the revision hash of the pods until then.
    pub(crate) fn new(image: &str, canary_service: &str, before: &str) -> Self {
        Self {
            version: version(image).to_owned(),
            image: image.to_owned(),
            canary_service: canary_service.to_owned(),
            before: before.to_owned(),
            hash: None,
            step: None,
            weight: 0,
            highest: 0,
            ready: 0,
            pods: BTreeMap::new(),
            told: BTreeMap::new(),
            runs: BTreeMap::new(),
            why: Vec::new(),
            ending: None,
            measurements: 0,
        }
    }

    /// Share of requests (0 to 100) that the route gives the new version.
    pub(crate) fn weight(&self) -> i64 {
        self.weight
    }

    /// The highest weight that the new version had.
    pub(crate) fn highest(&self) -> i64 {
        self.highest
    }

    /// The new version's revision hash, once there is one.
    pub(crate) fn hash(&self) -> Option<&str> {
        self.hash.as_deref()
    }

    /// How it was decided, and when that was seen.
    pub(crate) fn ending(&self) -> Option<(Ending, DateTime<Utc>)> {
        self.ending
    }

    /// Messages that say why.
    pub(crate) fn why(&self) -> &[String] {
        &self.why
    }

    /// How many measurements were taken.
    pub(crate) fn measurements(&self) -> usize {
        self.measurements
    }

    /// Whether nothing is left to happen: it is decided, and the pods of the version that lost are gone.
    pub(crate) fn is_over(&self) -> bool {
        let left = |hash: &str| self.pods.get(hash).copied().unwrap_or(0);
        match (self.ending, self.hash.as_deref()) {
            (Some((Ending::Promoted, _)), Some(_)) => left(&self.before) == 0,
            (Some((Ending::Aborted, _)), Some(hash)) => left(hash) == 0 && self.weight == 0,
            _ => false,
        }
    }

    /// What is new in an object.
    pub(crate) fn see(&mut self, seen: &Seen, now: DateTime<Utc>) -> Vec<Line> {
        let mut lines = Vec::new();
        match seen {
            Seen::Rollout(object) => self.rollout(object, now, &mut lines),
            Seen::ReplicaSet(object) => self.replica_set(object, &mut lines),
            Seen::Run(object) => self.run(object, &mut lines),
            Seen::Route(object) => self.route(object, &mut lines),
        }
        lines
    }

    fn rollout(&mut self, rollout: &Value, now: DateTime<Utc>, lines: &mut Vec<Line>) {
        if self.ending.is_some() || rollout["spec"]["template"]["spec"]["containers"][0]["image"] != self.image.as_str()
        {
            return;
        }
        let status = &rollout["status"];
        let current = text(status, "currentPodHash");
        if current.is_empty() || current == self.before {
            return;
        }
        if self.hash.is_none() {
            self.hash = Some(current.to_owned());
        }
        let steps = rollout["spec"]["strategy"]["canary"]["steps"].as_array();
        let steps = steps.map_or(&[][..], Vec::as_slice);
        let step = status["currentStepIndex"].as_i64();
        if step != self.step && status["abort"] != true {
            self.step = step;
            if let Some(doing) = step.and_then(|i| steps.get(usize::try_from(i).ok()?)) {
                let number = step.unwrap_or(0) + 1;
                plain(lines, format!("step {number} of {}: {}", steps.len(), describe(doing)));
            }
        }
        let (phase, message) = (text(status, "phase"), text(status, "message"));
        if status["abort"] == true && phase == "Degraded" {
            self.end(Ending::Aborted, now, message);
            bad(lines, format!("ABORTED  {message}"));
        } else if text(status, "stableRS") == current && phase == "Healthy" {
            let condition = condition(status, "Completed").map_or("", |c| text(c, "message"));
            let reason = if message.is_empty() { condition } else { message };
            self.end(Ending::Promoted, now, reason);
            good(lines, format!("PROMOTED  {reason}"));
        }
    }

    fn end(&mut self, ending: Ending, now: DateTime<Utc>, why: &str) {
        self.ending = Some((ending, now));
        if !why.is_empty() {
            self.why.push(why.to_owned());
        }
    }

    fn replica_set(&mut self, set: &Value, lines: &mut Vec<Line>) {
        let hash = text(&set["metadata"]["labels"], "rollouts-pod-template-hash");
        let status = &set["status"];
        let pods = status["replicas"].as_i64().unwrap_or(0);
        let before = self.pods.insert(hash.to_owned(), pods).unwrap_or(0);
        let image = text(&set["spec"]["template"]["spec"]["containers"][0], "image");
        if pods == 0 && before > 0 && self.ending.is_some() {
            plain(lines, format!("the last pod of {} is gone", version(image)));
        }
        let ready = status["readyReplicas"].as_i64().unwrap_or(0);
        if self.hash.as_deref() == Some(hash) && ready > self.ready {
            let wanted = set["spec"]["replicas"].as_i64().unwrap_or(0);
            if ready >= wanted {
                let (noun, verb) = if ready == 1 { ("pod", "is") } else { ("pods", "are") };
                plain(lines, format!("{ready} {noun} of {} {verb} ready", self.version));
                self.ready = ready;
            }
        }
    }

    fn route(&mut self, route: &Value, lines: &mut Vec<Line>) {
        let backends = route["spec"]["rules"][0]["backendRefs"].as_array();
        let backends = backends.map_or(&[][..], Vec::as_slice);
        let weight = |b: &Value| b["weight"].as_i64().unwrap_or(1);
        let all: i64 = backends.iter().map(weight).sum();
        let canary = backends.iter().filter(|b| b["name"] == self.canary_service.as_str());
        let share = canary.map(weight).sum::<i64>() * 100 / all.max(1);
        // After a promotion the stable service selects the new version and its canary twin gets no weight.
        if share == self.weight || (share == 0 && self.weight == 100) {
            return;
        }
        let verb = if share > self.weight { "up" } else { "back" };
        self.weight = share;
        self.highest = self.highest.max(share);
        lines.push(Line {
            tone: Tone::Traffic,
            text: format!("traffic {verb} to {share} % for {}", self.version),
        });
    }

    fn run(&mut self, run: &Value, lines: &mut Vec<Line>) {
        let (metadata, status) = (&run["metadata"], &run["status"]);
        let hash = text(&metadata["labels"], "rollouts-pod-template-hash");
        if self.hash.is_none() || self.hash.as_deref() != Some(hash) {
            return;
        }
        let name = text(metadata, "name").to_owned();
        let metrics = run["spec"]["metrics"].as_array();
        let metrics = metrics.map_or(&[][..], Vec::as_slice);
        if !self.runs.contains_key(&name) {
            plain(lines, format!("analysis {name} asks Prometheus"));
            self.runs.insert(name.clone(), String::new());
        }
        for result in status["metricResults"].as_array().into_iter().flatten() {
            let metric_name = text(result, "name");
            let metric = metrics.iter().find(|m| m["name"] == metric_name);
            let measurements = result["measurements"].as_array();
            let measurements = measurements.map_or(&[][..], Vec::as_slice);
            let told = self.told.entry((name.clone(), metric_name.to_owned())).or_default();
            let dry = result["dryRun"] == true;
            for measurement in measurements.iter().skip(*told) {
                let phase = text(measurement, "phase");
                if !matches!(phase, "Successful" | "Failed" | "Inconclusive" | "Error") {
                    break;
                }
                *told += 1;
                self.measurements += 1;
                lines.push(measured(metric_name, metric, measurement, dry));
            }
        }
        let phase = text(status, "phase");
        let told = self.runs.entry(name).or_default();
        if told != phase && matches!(phase, "Successful" | "Failed" | "Inconclusive" | "Error") {
            phase.clone_into(told);
            let message = text(status, "message");
            if phase == "Successful" {
                good(lines, "analysis passed".to_owned());
            } else {
                bad(lines, format!("analysis {}: {message}", phase.to_lowercase()));
                self.why.insert(0, message.to_owned());
            }
        }
    }
}

fn plain(lines: &mut Vec<Line>, text: String) {
    let tone = Tone::Plain;
    lines.push(Line { tone, text });
}

fn good(lines: &mut Vec<Line>, text: String) {
    let tone = Tone::Good;
    lines.push(Line { tone, text });
}

fn bad(lines: &mut Vec<Line>, text: String) {
    let tone = Tone::Bad;
    lines.push(Line { tone, text });
}

/// A text field; empty when it is not there.
pub(crate) fn text<'a>(object: &'a Value, field: &str) -> &'a str {
    object[field].as_str().unwrap_or_default()
}

fn condition<'a>(status: &'a Value, kind: &str) -> Option<&'a Value> {
    status["conditions"].as_array()?.iter().find(|c| c["type"] == kind)
}

/// The tag of an image.
pub(crate) fn version(image: &str) -> &str {
    image.rsplit(':').next().unwrap_or(image)
}

fn describe(step: &Value) -> String {
    if let Some(weight) = step["setWeight"].as_i64() {
        return format!("setWeight {weight}");
    }
    if step["analysis"].is_object() {
        let templates = step["analysis"]["templates"].as_array();
        let names: Vec<_> = templates
            .into_iter()
            .flatten()
            .map(|t| text(t, "templateName"))
            .collect();
        return format!("analysis by {}", names.join(" and "));
    }
    let kind = step.as_object().and_then(|o| o.keys().next());
    kind.map_or_else(String::new, Clone::clone)
}

/// `http-error-rate 0.12 %, must be < 0.5 %`
fn measured(name: &str, metric: Option<&Value>, measurement: &Value, dry: bool) -> Line {
    let (phase, value) = (text(measurement, "phase"), text(measurement, "value"));
    let condition = metric.map_or("", |m| text(m, "successCondition"));
    let failure = metric.map_or("", |m| text(m, "failureCondition"));
    let rule = match (condition, failure) {
        ("", "") => String::new(),
        ("", failure) => format!("   fails if {failure}"),
        (success, _) => format!("   passes if {success}"),
    };
    let told = match value {
        "" => text(measurement, "message").to_owned(),
        value => number(value),
    };
    let (tone, mark) = match phase {
        "Successful" => (Tone::Good, "ok "),
        "Failed" => (Tone::Bad, "BAD"),
        _ => (Tone::Plain, "?  "),
    };
    let dry = if dry { " (only watched)" } else { "" };
    Line {
        tone,
        text: format!("  {mark} {name:<18} {told:>8}{dry}{rule}"),
    }
}

/// A measured value in a form that people read: `[0.0125]` as `0.0125`.
fn number(value: &str) -> String {
    let inner = value.trim_start_matches('[').trim_end_matches(']');
    match inner.parse::<f64>() {
        Ok(number) if number.is_finite() => {
            let text = format!("{number:.4}");
            let short = text.trim_end_matches('0').trim_end_matches('.');
            short.to_owned()
        }
        _ => value.to_owned(),
    }
}
