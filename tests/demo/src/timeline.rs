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
}

/// One line of the timeline, without its time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Line {
    pub(crate) tone: Tone,
    pub(crate) text: String,
}

impl Line {
    pub(crate) fn new(tone: Tone, text: impl Into<String>) -> Self {
        Self {
            tone,
            text: text.into(),
        }
    }
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
    Event(Value),
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
    runs: BTreeMap<String, Run>,
    /// The measurement that failed, as a name and in words.
    failed: Option<(String, String)>,
    /// The Rollout's message.
    message: String,
    /// The event that says that the update is complete.
    completed: String,
    ending: Option<(Ending, DateTime<Utc>)>,
}

/// What was told of an analysis run.
#[derive(Debug, Default)]
struct Run {
    /// Measurements, by metric.
    told: BTreeMap<String, usize>,
    phase: String,
    message: String,
}

impl Timeline {
    /// Begins when the Rollout's image becomes `image`; `before` is the revision hash of the stable pods.
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
            runs: BTreeMap::new(),
            failed: None,
            message: String::new(),
            completed: String::new(),
            ending: None,
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

    /// The new version's tag.
    pub(crate) fn version(&self) -> &str {
        &self.version
    }

    /// The new version's revision hash, once there is one.
    pub(crate) fn hash(&self) -> Option<&str> {
        self.hash.as_deref()
    }

    /// How it was decided, and when that was seen.
    pub(crate) fn ending(&self) -> Option<(Ending, DateTime<Utc>)> {
        self.ending
    }

    /// Name of the metric that failed.
    pub(crate) fn failed_metric(&self) -> Option<&str> {
        self.failed.as_ref().map(|(name, _)| name.as_str())
    }

    /// What was measured and decided, in the cluster's own words where it has some.
    pub(crate) fn why(&self) -> String {
        let runs = || self.runs.values();
        let passed = runs().filter(|run| run.phase == "Successful").count();
        match (self.ending, &self.failed) {
            (None, _) => format!("no decision was seen. {}", self.message),
            (Some((Ending::Promoted, _)), _) => {
                let measured: usize = runs().flat_map(|run| run.told.values()).sum();
                let all = runs().count();
                format!(
                    "{passed} of {all} analyses passed, by {measured} measurements. {}",
                    self.completed
                )
            }
            (Some((Ending::Aborted, _)), Some((_, measured))) => format!("{measured}. {}", self.message),
            (Some((Ending::Aborted, _)), None) => self.message.clone(),
        }
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
            Seen::Event(object) => self.event(object),
        }
        lines
    }

    fn rollout(&mut self, rollout: &Value, now: DateTime<Utc>, lines: &mut Vec<Line>) {
        let status = &rollout["status"];
        // A status says something about this release only once the controller has seen its image.
        let generation = rollout["metadata"]["generation"].as_i64().unwrap_or(0).to_string();
        let image = text(&rollout["spec"]["template"]["spec"]["containers"][0], "image");
        if self.ending.is_some() || image != self.image || text(status, "observedGeneration") != generation {
            return;
        }
        let current = text(status, "currentPodHash");
        if current.is_empty() || current == self.before {
            return;
        }
        self.hash = Some(current.to_owned());
        let (phase, message) = (text(status, "phase"), text(status, "message"));
        message.clone_into(&mut self.message);
        let steps = rollout["spec"]["strategy"]["canary"]["steps"].as_array();
        let steps = steps.map_or(&[][..], Vec::as_slice);
        let step = status["currentStepIndex"].as_i64();
        let is_aborted = status["abort"] == true;
        if step != self.step && !is_aborted {
            self.step = step;
            if let Some((number, doing)) = step.and_then(|i| Some((i + 1, steps.get(usize::try_from(i).ok()?)?))) {
                let text = format!("step {number} of {}: {}", steps.len(), describe(doing));
                lines.push(Line::new(Tone::Plain, text));
            }
        }
        if is_aborted && phase == "Degraded" {
            self.ending = Some((Ending::Aborted, now));
            lines.push(Line::new(Tone::Bad, format!("ABORTED  {message}")));
        } else if text(status, "stableRS") == current && phase == "Healthy" {
            self.ending = Some((Ending::Promoted, now));
            let text = format!(
                "PROMOTED  the Rollout is Healthy, {} is its stable version",
                self.version
            );
            lines.push(Line::new(Tone::Good, text));
        }
    }

    /// A finished update leaves no message in the status, only an event.
    fn event(&mut self, event: &Value) {
        let message = text(event, "message");
        let is_ours = self.hash.as_deref().is_some_and(|hash| message.contains(hash));
        if text(event, "reason") == "RolloutCompleted" && is_ours {
            message.clone_into(&mut self.completed);
        }
    }

    fn replica_set(&mut self, set: &Value, lines: &mut Vec<Line>) {
        let hash = text(&set["metadata"]["labels"], "rollouts-pod-template-hash");
        let status = &set["status"];
        let pods = status["replicas"].as_i64().unwrap_or(0);
        let before = self.pods.insert(hash.to_owned(), pods).unwrap_or(0);
        let image = text(&set["spec"]["template"]["spec"]["containers"][0], "image");
        if pods == 0 && before > 0 && self.ending.is_some() {
            let text = format!("the last pod of {} is gone", version(image));
            lines.push(Line::new(Tone::Plain, text));
        }
        let ready = status["readyReplicas"].as_i64().unwrap_or(0);
        let wanted = set["spec"]["replicas"].as_i64().unwrap_or(0);
        if self.hash.as_deref() == Some(hash) && ready > self.ready && ready >= wanted {
            let (noun, verb) = if ready == 1 { ("pod", "is") } else { ("pods", "are") };
            let text = format!("{ready} {noun} of {} {verb} ready", self.version);
            lines.push(Line::new(Tone::Plain, text));
            self.ready = ready;
        }
    }

    fn route(&mut self, route: &Value, lines: &mut Vec<Line>) {
        let backends = route["spec"]["rules"][0]["backendRefs"].as_array();
        let backends = backends.map_or(&[][..], Vec::as_slice);
        let weight = |b: &Value| b["weight"].as_i64().unwrap_or(1);
        let all: i64 = backends.iter().map(weight).sum();
        let canary = backends.iter().filter(|b| b["name"] == self.canary_service.as_str());
        let share = canary.map(weight).sum::<i64>() * 100 / all.max(1);
        // After a promotion the stable service selects the new version, and the canary's share means nothing any more.
        if share == self.weight || self.weight == 100 {
            return;
        }
        let way = if share > self.weight { "up" } else { "back" };
        self.weight = share;
        self.highest = self.highest.max(share);
        let text = format!("the gateway's route: {way} to {share} % for {}", self.version);
        lines.push(Line::new(Tone::Traffic, text));
    }

    fn run(&mut self, object: &Value, lines: &mut Vec<Line>) {
        let (metadata, status) = (&object["metadata"], &object["status"]);
        let hash = text(&metadata["labels"], "rollouts-pod-template-hash");
        if self.hash.is_none() || self.hash.as_deref() != Some(hash) {
            return;
        }
        let name = text(metadata, "name");
        let run = self.runs.entry(name.to_owned()).or_default();
        let results = || status["metricResults"].as_array().into_iter().flatten();
        for result in results() {
            let metric = text(result, "name");
            let told = run.told.entry(metric.to_owned()).or_default();
            let measurements = result["measurements"].as_array();
            let done = measurements
                .into_iter()
                .flatten()
                .filter(|m| is_final(text(m, "phase")));
            for measurement in done.skip(*told) {
                *told += 1;
                // The stable version's figures are shown beside the canary's.
                if result["dryRun"] == true {
                    continue;
                }
                let twin = metric.replacen("canary", "stable", 1);
                let stable = results().find(|r| text(r, "name") == twin && twin != metric);
                let stable = stable
                    .and_then(|r| r["measurements"].as_array()?.last())
                    .map(|m| text(m, "value"));
                let is_good = text(measurement, "phase") == "Successful";
                let words = measured(object, &self.version, metric, measurement, stable);
                let (tone, mark) = if is_good {
                    (Tone::Good, "ok ")
                } else {
                    (Tone::Bad, "BAD")
                };
                lines.push(Line::new(tone, format!("{mark} {words}")));
                if !is_good {
                    let words = words.split_whitespace().collect::<Vec<_>>().join(" ");
                    self.failed.get_or_insert((metric.to_owned(), words));
                }
            }
        }
        let (phase, message) = (text(status, "phase"), text(status, "message"));
        if is_final(phase) && run.phase != phase {
            lines.push(match phase {
                "Successful" => Line::new(Tone::Good, format!("AnalysisRun {name}: passed")),
                _ => Line::new(Tone::Bad, format!("AnalysisRun {name}: {phase}, {message}")),
            });
        } else if run.message != message && !message.is_empty() {
            lines.push(Line::new(Tone::Plain, format!("AnalysisRun {name}: {message}")));
        }
        phase.clone_into(&mut run.phase);
        message.clone_into(&mut run.message);
    }
}

fn is_final(phase: &str) -> bool {
    matches!(phase, "Successful" | "Failed" | "Inconclusive" | "Error")
}

/// A text field; empty when it is not there.
pub(crate) fn text<'a>(object: &'a Value, field: &str) -> &'a str {
    object[field].as_str().unwrap_or_default()
}

/// The tag of an image.
pub(crate) fn version(image: &str) -> &str {
    image.rsplit(':').next().unwrap_or(image)
}

fn describe(step: &Value) -> String {
    if let Some(weight) = step["setWeight"].as_i64() {
        return format!("setWeight {weight}");
    }
    let kind = step.as_object().and_then(|o| o.keys().next());
    let templates = step["analysis"]["templates"].as_array().into_iter().flatten();
    let names: Vec<_> = templates.map(|t| text(t, "templateName")).collect();
    format!("{} {}", kind.map_or("", String::as_str), names.join(", "))
}

/// `error-rate   v3  4.82 %  stable  0.00 %  wanted < 0.50 %`
fn measured(run: &Value, version: &str, metric: &str, measurement: &Value, stable: Option<&str>) -> String {
    let name = metric.trim_start_matches("canary-");
    let value = text(measurement, "value");
    let figure = |value: &str| format!("{:>7}", figure(name, value));
    let mut words = match value {
        "" => format!("{name:<11}  {}", text(measurement, "message")),
        value => format!("{name:<11}  {version} {}", figure(value)),
    };
    if let Some(stable) = stable {
        words = format!("{words}  stable {}", figure(stable));
    }
    match wanted(run, metric) {
        Some((sign, limit)) => format!("{words}  wanted {sign} {}", figure(&limit).trim_start()),
        None => words,
    }
}

/// Comparison and limit in a metric's condition, such as `<` and `0.005` in `result[0] < {{args.max-error-rate}}`.
fn wanted(run: &Value, metric: &str) -> Option<(String, String)> {
    let metric = run["spec"]["metrics"]
        .as_array()?
        .iter()
        .find(|m| m["name"] == metric)?;
    let mut condition = metric["successCondition"].as_str()?.to_owned();
    for argument in run["spec"]["args"].as_array().into_iter().flatten() {
        let name = format!("{{{{args.{}}}}}", text(argument, "name"));
        condition = condition.replace(&name, text(argument, "value"));
    }
    let mut words = condition.rsplit(' ');
    let (limit, sign) = (words.next()?, words.next()?);
    limit.parse::<f64>().ok()?;
    Some((sign.to_owned(), limit.to_owned()))
}

/// A measured value such as `[0.0125]` as people read it: in percent or milliseconds where the metric's name says so.
fn figure(name: &str, value: &str) -> String {
    let inner = value.trim_start_matches('[').trim_end_matches(']');
    let Some(number) = inner.parse::<f64>().ok().filter(|n| n.is_finite()) else {
        return value.to_owned();
    };
    if name.contains("rate") {
        format!("{:.2} %", number * 100.0)
    } else if name.contains("latency") {
        format!("{:.0} ms", number * 1000.0)
    } else {
        format!("{number}")
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn at(second: i64) -> DateTime<Utc> {
        DateTime::from_timestamp(second, 0).expect("a moment")
    }

    fn rollout(generation: i64, observed: i64, image: &str, status: Value) -> Seen {
        let mut status = status;
        status["observedGeneration"] = observed.to_string().into();
        Seen::Rollout(json!({
            "metadata": {"generation": generation},
            "spec": {
                "template": {"spec": {"containers": [{"image": image}]}},
                "strategy": {"canary": {"steps": [{"setWeight": 5}, {"analysis": {"templates": [{"templateName": "t"}]}}]}},
            },
            "status": status,
        }))
    }

    fn set(hash: &str, image: &str, pods: i64) -> Seen {
        Seen::ReplicaSet(json!({
            "metadata": {"labels": {"rollouts-pod-template-hash": hash}},
            "spec": {"replicas": pods, "template": {"spec": {"containers": [{"image": image}]}}},
            "status": {"replicas": pods, "readyReplicas": pods},
        }))
    }

    fn route(canary: i64) -> Seen {
        let backends = json!([{"name": "s", "weight": 100 - canary}, {"name": "c", "weight": canary}]);
        Seen::Route(json!({"spec": {"rules": [{"backendRefs": backends}]}}))
    }

    fn run(phase: &str, value: &str) -> Seen {
        let metric = |name: &str, phase: &str, value: &str, dry: bool| json!({"name": name, "dryRun": dry, "measurements": [{"phase": phase, "value": value}]});
        Seen::Run(json!({
            "metadata": {"name": "r", "labels": {"rollouts-pod-template-hash": "new"}},
            "spec": {
                "args": [{"name": "limit", "value": "0.005"}],
                "metrics": [{"name": "canary-error-rate", "successCondition": "result[0] < {{args.limit}}"}],
            },
            "status": {"phase": phase, "message": "said so", "metricResults": [
                metric("canary-error-rate", phase, value, false), metric("stable-error-rate", "Successful", "[0]", true),
            ]},
        }))
    }

    fn see(timeline: &mut Timeline, seen: &Seen) -> Vec<String> {
        timeline.see(seen, at(1)).into_iter().map(|line| line.text).collect()
    }

    /// Up to 5 % of traffic.
    fn begun() -> Timeline {
        let mut timeline = Timeline::new("shop:v3", "c", "old");
        let status = json!({"currentPodHash": "new", "currentStepIndex": 0, "phase": "Progressing", "stableRS": "old"});
        assert_eq!(
            see(&mut timeline, &rollout(3, 3, "shop:v3", status)),
            ["step 1 of 2: setWeight 5"]
        );
        assert_eq!(see(&mut timeline, &set("new", "shop:v3", 1)), ["1 pod of v3 is ready"]);
        assert_eq!(see(&mut timeline, &route(5)), ["the gateway's route: up to 5 % for v3"]);
        timeline
    }

    #[test]
    fn what_is_left_of_an_earlier_release_is_not_taken_for_this_one() {
        let mut timeline = Timeline::new("shop:v3", "c", "old");
        let left = json!({"currentPodHash": "v2", "abort": true, "phase": "Degraded", "stableRS": "old"});
        assert!(see(&mut timeline, &rollout(2, 2, "shop:v2", left.clone())).is_empty());
        assert!(see(&mut timeline, &rollout(3, 2, "shop:v3", left)).is_empty());
        assert_eq!((timeline.ending(), timeline.is_over()), (None, false));
    }

    #[test]
    fn an_abort_is_over_when_traffic_and_pods_are_back() {
        let mut timeline = begun();
        let lines = see(&mut timeline, &run("Failed", "[0.048]"));
        let measured = "BAD error-rate   v3  4.80 %  stable  0.00 %  wanted < 0.50 %";
        assert_eq!(lines, [measured, "AnalysisRun r: Failed, said so"]);
        let status = json!({"currentPodHash": "new", "abort": true, "phase": "Degraded", "message": "Aborted: x", "stableRS": "old"});
        assert_eq!(
            see(&mut timeline, &rollout(3, 3, "shop:v3", status)),
            ["ABORTED  Aborted: x"]
        );
        assert!(!timeline.is_over());
        see(&mut timeline, &route(0));
        assert!(!timeline.is_over());
        assert_eq!(
            see(&mut timeline, &set("new", "shop:v3", 0)),
            ["the last pod of v3 is gone"]
        );
        assert!(timeline.is_over());
        assert_eq!(timeline.failed_metric(), Some("canary-error-rate"));
        assert_eq!((timeline.weight(), timeline.highest()), (0, 5));
        let why = "error-rate v3 4.80 % stable 0.00 % wanted < 0.50 %. Aborted: x";
        assert_eq!(timeline.why(), why);
    }

    #[test]
    fn a_promotion_is_over_when_the_old_pods_are_gone() {
        let mut timeline = begun();
        see(&mut timeline, &set("old", "shop:v1", 4));
        assert!(see(&mut timeline, &run("Successful", "[0.001]"))[0].starts_with("ok  error-rate"));
        // Told once.
        assert!(see(&mut timeline, &run("Successful", "[0.001]")).is_empty());
        see(&mut timeline, &route(100));
        let status = json!({"currentPodHash": "new", "phase": "Healthy", "stableRS": "new"});
        let lines = see(&mut timeline, &rollout(3, 3, "shop:v3", status));
        assert_eq!(lines, ["PROMOTED  the Rollout is Healthy, v3 is its stable version"]);
        for hash in ["new", "other"] {
            let event = json!({"reason": "RolloutCompleted", "message": format!("update to {hash} is complete")});
            assert!(see(&mut timeline, &Seen::Event(event)).is_empty());
        }
        assert!(!timeline.is_over());
        see(&mut timeline, &route(0));
        see(&mut timeline, &set("old", "shop:v1", 0));
        assert!(timeline.is_over());
        assert_eq!((timeline.weight(), timeline.highest()), (100, 100));
        assert_eq!(
            timeline.why(),
            "1 of 1 analyses passed, by 2 measurements. update to new is complete"
        );
    }

    #[test]
    fn figures_have_the_unit_that_their_name_says() {
        assert_eq!(figure("error-rate", "[0.0125]"), "1.25 %");
        assert_eq!(figure("latency-p99", "[0.0213]"), "21 ms");
        assert_eq!(figure("orders", "12"), "12");
        assert_eq!(figure("error-rate", "[NaN]"), "[NaN]");
    }
}
