//! What happened in one replay, a line for each notable thing: steps, weights, pods, measurements, the verdict.

use std::{collections::BTreeMap, time::Duration};

use serde_json::Value;
use serin_kubesim::Change;
use serin_model::At as _;

use crate::{json::text, play::Replay};

/// One notable thing.
#[derive(Clone, Debug, PartialEq)]
pub struct Line {
    /// Since the change of the image.
    pub at: Duration,
    /// What.
    pub text: String,
}

/// Events of the controller that say nothing which another line does not say.
const SAID_OTHERWISE: [&str; 5] = [
    "NewReplicaSetCreated",
    "RolloutNotCompleted",
    "RolloutUpdated",
    "TrafficWeightUpdated",
    "MetricSuccessful",
];

/// The lines of a replay from the change of the image on, in the order of time.
pub fn lines(replay: &Replay) -> Vec<Line> {
    let mut lines = vec![Line {
        at: Duration::ZERO,
        text: "the image changes: the release begins".to_owned(),
    }];
    let mut add = |at: Duration, text: String| {
        lines.push(Line {
            at: at.saturating_sub(replay.changed),
            text,
        });
    };
    for change in replay.history.iter().filter(|change| change.at >= replay.changed) {
        match change.resource.plural {
            "events" => event(change, &mut add),
            "analysisruns" => measurements(change, &mut add),
            "httproutes" => weights(change, &mut add),
            "replicasets" => pods(change, &mut add),
            _ => {}
        }
    }
    for (at, share) in replay.shares.iter().filter(|(at, _)| *at > replay.changed) {
        add(*at, format!("{:.1}% of requests go to the new version", share * 100.0));
    }
    for (at, explanation) in replay.told.iter().filter(|(at, _)| *at > replay.changed) {
        let why = explanation.why.first().map_or(String::new(), |why| format!(" {why}"));
        add(*at, format!("{}{why}", explanation.what));
    }
    lines.sort_by_key(|line| line.at);
    lines
}

fn event(change: &Change, add: &mut impl FnMut(Duration, String)) {
    let Some(new) = change.new.as_deref().filter(|_| change.old.is_none()) else {
        return;
    };
    let reason = text(new, "/reason");
    if !SAID_OTHERWISE.contains(&reason) {
        add(change.at, text(new, "/message").to_owned());
    }
}

/// Measurements that a change added.
fn measurements(change: &Change, add: &mut impl FnMut(Duration, String)) {
    let Some(new) = change.new.as_deref() else { return };
    let counted = |object: Option<&Value>| -> BTreeMap<String, usize> {
        let results = object
            .and_then(|o| o.at("/status/metricResults"))
            .and_then(Value::as_array);
        let results = results.into_iter().flatten();
        results
            .map(|r| {
                let measurements = r["measurements"].as_array();
                (text(r, "/name").to_owned(), measurements.map_or(0, Vec::len))
            })
            .collect()
    };
    messages(change, new, add);
    let before = counted(change.old.as_deref());
    let results = new.at("/status/metricResults").and_then(Value::as_array);
    for result in results.into_iter().flatten() {
        let name = text(result, "/name");
        let measurements = result["measurements"].as_array();
        let known = before.get(name).copied().unwrap_or(0);
        for measurement in measurements.into_iter().flatten().skip(known) {
            let value = measurement["value"].as_str().unwrap_or("no value");
            let mut line = format!("measured {name}: {value}: {}", text(measurement, "/phase"));
            let condition = conditions(new, name);
            if !condition.is_empty() {
                line.push_str(&format!(" ({condition})"));
            }
            let message = text(measurement, "/message");
            if !message.is_empty() {
                line.push_str(&format!(": {message}"));
            }
            add(change.at, line);
        }
    }
}

/// What runs say of themselves and of their metrics while they go on: no data, for one.
fn messages(change: &Change, new: &Value, add: &mut impl FnMut(Duration, String)) {
    let of_metrics = |object: &Value| -> Vec<(String, String)> {
        let results = object.at("/status/metricResults").and_then(Value::as_array);
        let results = results.into_iter().flatten();
        results
            .map(|r| (text(r, "/name").to_owned(), text(r, "/message").to_owned()))
            .collect()
    };
    let old = change.old.as_deref();
    let known = old.map(of_metrics).unwrap_or_default();
    for (name, message) in of_metrics(new) {
        if !message.is_empty() && !known.contains(&(name.clone(), message.clone())) {
            add(change.at, format!("metric {name}: {message}"));
        }
    }
    let message = text(new, "/status/message");
    if !message.is_empty()
        && text(new, "/status/phase") == "Running"
        && old.is_none_or(|o| text(o, "/status/message") != message)
    {
        add(change.at, format!("the analysis: {message}"));
    }
}

/// The conditions of a metric as they are written.
fn conditions(run: &Value, metric: &str) -> String {
    let metrics = run.at("/spec/metrics").and_then(Value::as_array);
    let found = metrics.into_iter().flatten().find(|m| m["name"] == metric);
    let of = |field: &str, word: &str| {
        let condition = found.and_then(|m| m[field].as_str())?;
        Some(format!("{word} if {condition}"))
    };
    let both = [of("successCondition", "good"), of("failureCondition", "bad")];
    both.into_iter().flatten().collect::<Vec<_>>().join(", ")
}

fn weights(change: &Change, add: &mut impl FnMut(Duration, String)) {
    let weights = |object: Option<&Value>| -> Vec<String> {
        let rules = object.and_then(|o| o.at("/spec/rules")).and_then(Value::as_array);
        let backends = rules
            .into_iter()
            .flatten()
            .filter_map(|rule| rule["backendRefs"].as_array())
            .flatten();
        backends
            .map(|b| format!("{} {}", text(b, "/name"), b["weight"].as_i64().unwrap_or(1)))
            .collect()
    };
    let (old, new) = (weights(change.old.as_deref()), weights(change.new.as_deref()));
    if old != new {
        add(
            change.at,
            format!("weights of HTTPRoute/{}: {}", change.name, new.join(", ")),
        );
    }
}

/// Pods of a revision that became available, or went.
fn pods(change: &Change, add: &mut impl FnMut(Duration, String)) {
    let available = |object: Option<&Value>| {
        let count = object.and_then(|o| o.at("/status/availableReplicas"));
        count.and_then(Value::as_i64).unwrap_or(0)
    };
    let (old, new) = (available(change.old.as_deref()), available(change.new.as_deref()));
    if old != new {
        let wanted = change.new.as_deref().and_then(|o| o.at("/spec/replicas"));
        let wanted = wanted.and_then(Value::as_i64).unwrap_or(0);
        add(
            change.at,
            format!("{new} of {wanted} pods of {} are available", change.name),
        );
    }
}
