//! Reads recorded timelines of AnalysisRuns and builds runs for tests.

#![allow(
    dead_code,
    unreachable_pub,
    clippy::unwrap_used,
    reason = "each test binary uses its own part"
)]

use std::{collections::BTreeMap, fs, path::PathBuf};

use chrono::{DateTime, SecondsFormat, TimeDelta, Utc};
use serde_json::{Value, json};
use serin_analysis::{RunInput, RunMemory, RunPlan, Secrets, Settings, plan_run};
use serin_api::analysis::AnalysisRun;
use serin_model::measure::{Answer, MeasureTask, MetricValue, Outcome, ProviderError, TaskAnswer};

/// Second 0 of every test.
pub fn start() -> DateTime<Utc> {
    DateTime::from_timestamp(1_800_000_000, 0).unwrap()
}

/// That many milliseconds later.
pub fn at(ms: i64) -> DateTime<Utc> {
    start() + TimeDelta::milliseconds(ms)
}

/// A run with this spec.
pub fn run(spec: Value) -> AnalysisRun {
    annotated(spec, &[])
}

/// A run with this spec and annotations.
pub fn annotated(spec: Value, annotations: &[(&str, &str)]) -> AnalysisRun {
    let annotations: BTreeMap<_, _> = annotations.iter().copied().collect();
    serde_json::from_value(json!({"metadata": {"name": "run", "annotations": annotations}, "spec": spec})).unwrap()
}

/// A metric that asks Prometheus; `more` is merged in.
pub fn metric(name: &str, more: Value) -> Value {
    let mut metric = json!({"name": name, "provider": {"prometheus": {"address": "http://prom", "query": "q"}}});
    merge(&mut metric, &more);
    metric
}

/// A controller in miniature: writes the status, keeps the memory, answers what it is told to.
pub struct Sim {
    pub run: AnalysisRun,
    pub memory: RunMemory,
    pub settings: Settings,
    pub secrets: Secrets,
    pub tasks: Vec<MeasureTask>,
    pub events: Vec<String>,
    pub writes: usize,
}

impl Sim {
    pub fn new(run: AnalysisRun) -> Self {
        Self {
            run,
            memory: RunMemory::default(),
            settings: Settings::default(),
            secrets: Secrets::new(),
            tasks: Vec::new(),
            events: Vec::new(),
            writes: 0,
        }
    }

    pub fn plan(&self, ms: i64, answers: &[TaskAnswer]) -> RunPlan {
        plan_run(&RunInput {
            run: &self.run,
            settings: self.settings,
            secrets: &self.secrets,
            memory: &self.memory,
            answers,
            now: at(ms),
        })
    }

    /// Plans and carries the plan out.
    pub fn step(&mut self, ms: i64, answers: &[TaskAnswer]) -> RunPlan {
        let plan = self.plan(ms, answers);
        if self.run.status.as_ref() != Some(&plan.status) && plan.status != Default::default() {
            self.writes += 1;
        }
        self.run.status = Some(plan.status.clone());
        self.memory = plan.memory.clone();
        self.tasks
            .retain(|task| plan.memory.is_in_flight(&task.metric, task.number));
        self.tasks.extend(plan.tasks.clone());
        self.events.extend(
            plan.events
                .iter()
                .map(|e| format!("{} {} {}", e.kind.as_str(), e.reason, e.message)),
        );
        plan
    }

    /// Answers the question about `metric` that is under way.
    pub fn answer(&mut self, ms: i64, metric: &str, outcome: Outcome) -> RunPlan {
        let answer = self.answer_to(ms, metric, outcome);
        self.step(ms, &[answer])
    }

    pub fn answer_to(&self, ms: i64, metric: &str, outcome: Outcome) -> TaskAnswer {
        let task = self.tasks.iter().find(|task| task.metric == metric);
        let number = task.unwrap_or_else(|| panic!("{metric} is not asked")).number;
        let asked_at = self.memory.metrics[metric].in_flight.unwrap().asked_at;
        TaskAnswer {
            metric: metric.to_owned(),
            number,
            asked_at,
            answered_at: at(ms),
            outcome,
        }
    }
}

pub fn scalar(n: f64) -> Outcome {
    Outcome::Answer(Answer::new(MetricValue::Scalar(n)))
}

pub fn vector(numbers: &[f64]) -> Outcome {
    Outcome::Answer(Answer::new(MetricValue::Vector(numbers.to_vec())))
}

pub fn error() -> Outcome {
    Outcome::Error(ProviderError::new("provider is down"))
}

// === Recordings ===

/// One recorded version of a run.
pub struct Version {
    /// Milliseconds since the scenario's start.
    pub t: i64,
    pub run: AnalysisRun,
}

pub struct Scenario {
    /// Each run's versions.
    pub runs: BTreeMap<String, Vec<Version>>,
    /// Each run's events: type, reason, message.
    pub events: BTreeMap<String, Vec<String>>,
    /// When which metric source began to answer what.
    pub sources: Vec<(i64, String, Value)>,
}

fn merge(target: &mut Value, patch: &Value) {
    let Value::Object(patch) = patch else {
        *target = patch.clone();
        return;
    };
    if !target.is_object() {
        *target = json!({});
    }
    let map = target.as_object_mut().unwrap();
    for (key, value) in patch {
        if value.is_null() {
            map.remove(key);
        } else {
            merge(map.entry(key.clone()).or_insert(Value::Null), value);
        }
    }
}

/// `@1000` in a recording is a time.
fn with_times(value: &mut Value) {
    match value {
        Value::String(text) => {
            if let Some(ms) = text.strip_prefix('@').and_then(|ms| ms.parse().ok()) {
                *text = at(ms).to_rfc3339_opts(SecondsFormat::Secs, true);
            }
        }
        Value::Array(items) => items.iter_mut().for_each(with_times),
        Value::Object(map) => map.values_mut().for_each(with_times),
        _ => {}
    }
}

impl Scenario {
    pub fn read(name: &str) -> Self {
        let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR"))
            .join("../../tests/recordings/controller")
            .join(name);
        let read = |file: &str| fs::read_to_string(folder.join(file)).unwrap_or_else(|e| panic!("{name}/{file}: {e}"));
        let lines = |file: &str| -> Vec<Value> {
            read(file)
                .lines()
                .map(|line| serde_json::from_str(line).unwrap())
                .collect()
        };
        let mut objects: BTreeMap<String, Value> = BTreeMap::new();
        let mut runs: BTreeMap<String, Vec<Version>> = BTreeMap::new();
        for line in lines("timeline.jsonl")
            .iter()
            .filter(|line| line["kind"] == "AnalysisRun")
        {
            let name = line["name"].as_str().unwrap().to_owned();
            if line["type"] == "DELETED" {
                continue;
            }
            let object = objects.entry(name.clone()).or_insert(Value::Null);
            match line.get("delta") {
                Some(delta) => merge(object, delta),
                None => *object = line["object"].clone(),
            }
            let mut object = object.clone();
            with_times(&mut object);
            let run = serde_json::from_value(object).unwrap();
            runs.entry(name).or_default().push(Version {
                t: line["t"].as_i64().unwrap(),
                run,
            });
        }
        let mut events: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for line in lines("events.jsonl") {
            if let Some(name) = line["object"]
                .as_str()
                .and_then(|object| object.strip_prefix("AnalysisRun/"))
            {
                let text = ["type", "reason", "message"]
                    .map(|key| line[key].as_str().unwrap().to_owned())
                    .join(" ");
                events.entry(name.to_owned()).or_default().push(text);
            }
        }
        let mut sources = Vec::new();
        for line in read("steps.txt").lines() {
            let Some((t, rest)) = line.trim().split_once("  metric source '") else {
                continue;
            };
            let (source, value) = rest.split_once("' now answers ").unwrap();
            sources.push((
                t.parse().unwrap(),
                source.to_owned(),
                serde_json::from_str(value).unwrap(),
            ));
        }
        Self { runs, events, sources }
    }

    /// What the source answered at that time.
    pub fn source(&self, name: &str, t: i64) -> Option<&Value> {
        self.sources
            .iter()
            .rev()
            .find(|(since, source, _)| *since <= t && source == name)
            .map(|(_, _, value)| value)
    }
}
