//! One change of one object, as a line or two for people: weights, pods, measurements, verdicts, events.

use std::collections::BTreeMap;

use serde_json::Value;
use serin_model::At as _;

/// Events of the controller that say nothing which another line does not say.
const SAID_OTHERWISE: [&str; 5] = [
    "NewReplicaSetCreated",
    "RolloutNotCompleted",
    "RolloutUpdated",
    "TrafficWeightUpdated",
    "MetricSuccessful",
];

/// What is notable in a change of an object of this resource (its plural); `None` before it was made and after it is gone.
pub fn told(plural: &str, old: Option<&Value>, new: Option<&Value>) -> Vec<String> {
    let mut lines = Vec::new();
    let mut add = |text: String| lines.push(text);
    match plural {
        "events" => event(old, new, &mut add),
        "analysisruns" => measurements(old, new, &mut add),
        "httproutes" => weights(old, new, &mut add),
        "replicasets" => pods(old, new, &mut add),
        "rollouts" => phase(old, new, &mut add),
        _ => {}
    }
    lines
}

fn event(old: Option<&Value>, new: Option<&Value>, add: &mut impl FnMut(String)) {
    let Some(new) = new.filter(|_| old.is_none()) else {
        return;
    };
    let reason = text(new, "/reason");
    if !SAID_OTHERWISE.contains(&reason) {
        add(text(new, "/message").to_owned());
    }
}

/// Measurements that a change added.
fn measurements(old: Option<&Value>, new: Option<&Value>, add: &mut impl FnMut(String)) {
    let Some(new) = new else { return };
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
    messages(old, new, add);
    let before = counted(old);
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
            add(line);
        }
    }
}

/// What runs say of themselves and of their metrics while they go on: no data, for one.
fn messages(old: Option<&Value>, new: &Value, add: &mut impl FnMut(String)) {
    let of_metrics = |object: &Value| -> Vec<(String, String)> {
        let results = object.at("/status/metricResults").and_then(Value::as_array);
        let results = results.into_iter().flatten();
        results
            .map(|r| (text(r, "/name").to_owned(), text(r, "/message").to_owned()))
            .collect()
    };
    let known = old.map(of_metrics).unwrap_or_default();
    for (name, message) in of_metrics(new) {
        if !message.is_empty() && !known.contains(&(name.clone(), message.clone())) {
            add(format!("metric {name}: {message}"));
        }
    }
    let message = text(new, "/status/message");
    if !message.is_empty()
        && text(new, "/status/phase") == "Running"
        && old.is_none_or(|o| text(o, "/status/message") != message)
    {
        add(format!("the analysis: {message}"));
    }
}

/// The conditions of a metric as they are written.
fn conditions(run: &Value, metric: &str) -> String {
    let metrics = run.at("/spec/metrics").and_then(Value::as_array);
    let found = metrics.into_iter().flatten().find(|m| m["name"] == metric);
    let of = |field: &str, word: &str| {
        let condition = found.and_then(|m| m[field].as_str())?;
        Some(format!("{word} if {}", with_arguments(run, condition)))
    };
    let both = [of("successCondition", "good"), of("failureCondition", "bad")];
    both.into_iter().flatten().collect::<Vec<_>>().join(", ")
}

/// A condition with the values of the run's arguments.
fn with_arguments(run: &Value, condition: &str) -> String {
    let arguments = run.at("/spec/args").and_then(Value::as_array);
    let mut out = condition.to_owned();
    for argument in arguments.into_iter().flatten() {
        if let Some(value) = argument["value"].as_str() {
            out = out.replace(&format!("{{{{args.{}}}}}", text(argument, "/name")), value);
        }
    }
    out
}

fn weights(before: Option<&Value>, now: Option<&Value>, add: &mut impl FnMut(String)) {
    if before.is_some() && now.is_none() {
        add(format!("HTTPRoute/{} is deleted", name_of(now, before)));
        return;
    }
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
    let (old, new) = (weights(before), weights(now));
    if old != new && new.is_empty() {
        add(format!("HTTPRoute/{} has no backends any more", name_of(now, before)));
    } else if old != new {
        add(format!(
            "weights of HTTPRoute/{}: {}",
            name_of(now, before),
            new.join(", ")
        ));
    }
}

/// Pods of a revision that became available, or went.
fn pods(before: Option<&Value>, now: Option<&Value>, add: &mut impl FnMut(String)) {
    let available = |object: Option<&Value>| {
        let count = object.and_then(|o| o.at("/status/availableReplicas"));
        count.and_then(Value::as_i64).unwrap_or(0)
    };
    let (old, new) = (available(before), available(now));
    let is_gone = now.is_none_or(|o| o.at("/spec/replicas").and_then(Value::as_i64) == Some(0));
    if old != new && new == 0 && is_gone {
        add(format!("no pod of {} is left", name_of(now, before)));
    } else if old != new {
        let wanted = now.and_then(|o| o.at("/spec/replicas"));
        let wanted = wanted.and_then(Value::as_i64).unwrap_or(0);
        add(format!(
            "{new} of {wanted} pods of {} are available",
            name_of(now, before)
        ));
    }
}

fn phase(old: Option<&Value>, new: Option<&Value>, add: &mut impl FnMut(String)) {
    let Some(new) = new else { return };
    let state = |object: &Value| {
        (
            text(object, "/status/phase").to_owned(),
            text(object, "/status/message").to_owned(),
        )
    };
    let (phase, message) = state(new);
    if old.is_some_and(|old| state(old) == (phase.clone(), message.clone())) {
        return;
    }
    if !matches!(phase.as_str(), "" | "Progressing") {
        let separator = if message.is_empty() { "" } else { ": " };
        add(format!("the Rollout is {phase}{separator}{message}"));
    }
}

fn text<'a>(object: &'a Value, path: &str) -> &'a str {
    object.at(path).and_then(Value::as_str).unwrap_or_default()
}

fn name_of<'a>(now: Option<&'a Value>, before: Option<&'a Value>) -> &'a str {
    now.or(before).map_or("", |object| text(object, "/metadata/name"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn weights_are_told_when_they_change_and_only_then() {
        let route = |canary: i64| {
            let backends = json!([{"name": "stable", "weight": 100 - canary}, {"name": "canary", "weight": canary}]);
            json!({"metadata": {"name": "shop"}, "spec": {"rules": [{"backendRefs": backends}]}})
        };
        let line = "weights of HTTPRoute/shop: stable 90, canary 10".to_owned();
        assert_eq!(told("httproutes", Some(&route(0)), Some(&route(10))), [line]);
        assert!(told("httproutes", Some(&route(10)), Some(&route(10))).is_empty());
    }

    #[test]
    fn a_route_that_goes_is_told_as_that() {
        let route =
            |backends: Value| json!({"metadata": {"name": "web"}, "spec": {"rules": [{"backendRefs": backends}]}});
        let full = route(json!([{"name": "stable"}]));
        assert_eq!(told("httproutes", Some(&full), None), ["HTTPRoute/web is deleted"]);
        let empty = route(json!([]));
        assert_eq!(
            told("httproutes", Some(&full), Some(&empty)),
            ["HTTPRoute/web has no backends any more"]
        );
        assert_eq!(told("httproutes", Some(&empty), None), ["HTTPRoute/web is deleted"]);
    }

    #[test]
    fn a_measurement_is_told_once_with_its_condition() {
        let run = |values: &[&str]| {
            let measured: Vec<Value> = values.iter().map(|v| json!({"value": v, "phase": "Failed"})).collect();
            json!({
                "spec": {
                    "args": [{"name": "most", "value": "0.1"}],
                    "metrics": [{"name": "errors", "successCondition": "result[0] < {{args.most}}"}],
                },
                "status": {"metricResults": [{"name": "errors", "measurements": measured}]},
            })
        };
        let line = "measured errors: [0.5]: Failed (good if result[0] < 0.1)".to_owned();
        assert_eq!(
            told("analysisruns", Some(&run(&["[0.4]"])), Some(&run(&["[0.4]", "[0.5]"]))),
            [line]
        );
    }
}
