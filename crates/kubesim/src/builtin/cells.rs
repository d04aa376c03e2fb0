//! The cells of built-in kinds' tables that take more than a look at one field.

use chrono::{DateTime, Utc};
use serde_json::Value;

use super::pods::{list, number, text};
use crate::schema::{human_duration, since};

pub(super) fn event_times(event: &Value, now: DateTime<Utc>) -> (String, String) {
    let moment = |new: &str, old: &str| event.get(new).or_else(|| event.get(old)).and_then(Value::as_str);
    let begun = event.get("eventTime").and_then(Value::as_str);
    let first = since(moment("firstTimestamp", "deprecatedFirstTimestamp").or(begun), now);
    let last = match moment("lastTimestamp", "deprecatedLastTimestamp") {
        Some(moment) => since(Some(moment), now),
        None => first.clone(),
    };
    let series = event.get("series").and_then(|series| series.get("lastObservedTime"));
    match series.and_then(Value::as_str) {
        Some(moment) => (first, since(Some(moment), now)),
        None => (first, last),
    }
}

pub(super) fn event_count(event: &Value, field: &str) -> Value {
    let series = event.get("series").and_then(|series| number(series, "count"));
    let count = series.or_else(|| number(event, field)).filter(|count| *count != 0);
    count.unwrap_or(1).into()
}

pub(super) fn event_object(of: &Value) -> Value {
    let kind = text(of, "kind").to_lowercase();
    match text(of, "name") {
        "" => kind.into(),
        name => format!("{kind}/{name}").into(),
    }
}

pub(super) fn event_source(component: &str, host: &str, event: &Value, reporter: &str) -> Value {
    let (component, host) = if component.is_empty() {
        (text(event, reporter), text(event, "reportingInstance"))
    } else {
        (component, host)
    };
    if host.is_empty() {
        component.into()
    } else {
        format!("{component}, {host}").into()
    }
}

pub(super) fn or_none(value: &str) -> Value {
    if value.is_empty() {
        "<none>".into()
    } else {
        value.into()
    }
}

pub(super) fn count(object: &Value, field: &str) -> Value {
    number(&object["status"], field).unwrap_or(0).into()
}

pub(super) fn entries(map: &Value) -> usize {
    map.as_object().map_or(0, serde_json::Map::len)
}

pub(super) fn subjects(object: &Value, kind: &str) -> Value {
    let names: Vec<String> = list(object, "subjects")
        .iter()
        .filter(|subject| text(subject, "kind") == kind)
        .map(|subject| match (kind, text(subject, "namespace")) {
            ("ServiceAccount", namespace) if !namespace.is_empty() => format!("{namespace}/{}", text(subject, "name")),
            _ => text(subject, "name").to_owned(),
        })
        .collect();
    names.join(", ").into()
}

/// What a HorizontalPodAutoscaler aims at: resources by utilisation or amount; others by name of their kind.
pub(super) fn targets(object: &Value) -> Value {
    let current = list(&object["status"], "currentMetrics");
    let metrics = list(&object["spec"], "metrics");
    let mut parts: Vec<String> = Vec::new();
    for (index, metric) in metrics.iter().enumerate() {
        let kind = text(metric, "type");
        let field = format!(
            "{}{}",
            kind.get(..1).unwrap_or_default().to_lowercase(),
            kind.get(1..).unwrap_or_default()
        );
        let (wanted, has) = (
            &metric[&field],
            current.get(index).map(|status| &status[&field]["current"]),
        );
        let has = |name: &str| has.and_then(|has| has.get(name)).cloned();
        let amount = |value: Option<Value>| match value {
            Some(Value::String(text)) => text,
            Some(other) => other.to_string(),
            None => "<unknown>".to_owned(),
        };
        let target = &wanted["target"];
        let part = match (target.get("averageValue"), target.get("averageUtilization")) {
            (Some(average), _) => format!("{}/{}", amount(has("averageValue")), amount(Some(average.clone()))),
            (None, Some(percent)) => match has("averageUtilization") {
                Some(now) => format!("{now}%/{percent}%"),
                None => format!("<unknown>/{percent}%"),
            },
            (None, None) => format!("{}/{}", amount(has("value")), amount(target.get("value").cloned())),
        };
        parts.push(match field.as_str() {
            "resource" | "containerResource" => format!("{}: {part}", text(wanted, "name")),
            "external" | "object" if target.get("averageValue").is_some() => format!("{part} (avg)"),
            _ => part,
        });
    }
    match parts.len() {
        0 => "<none>".into(),
        1 | 2 => parts.join(", ").into(),
        many => format!("{} + {} more...", parts[..2].join(", "), many - 2).into(),
    }
}

pub(super) fn limit(value: &Value) -> Value {
    match value {
        Value::String(text) => text.as_str().into(),
        Value::Number(number) => number.to_string().into(),
        _ => "N/A".into(),
    }
}

pub(super) fn of_containers(object: &Value, field: &str) -> Value {
    let containers = list(&object["spec"]["template"]["spec"], "containers");
    let parts: Vec<&str> = containers.iter().map(|container| text(container, field)).collect();
    parts.join(",").into()
}

pub(super) fn labels(map: &Value) -> String {
    let parts: Vec<String> = map
        .as_object()
        .into_iter()
        .flatten()
        .map(|(key, value)| format!("{key}={}", value.as_str().unwrap_or_default()))
        .collect();
    if parts.is_empty() {
        "<none>".to_owned()
    } else {
        parts.join(",")
    }
}

pub(super) fn selector(object: &Value, empty: &str) -> Value {
    let selector = &object["spec"]["selector"];
    let mut parts: Vec<String> = Vec::new();
    for (key, value) in selector["matchLabels"].as_object().into_iter().flatten() {
        parts.push(format!("{key}={}", value.as_str().unwrap_or_default()));
    }
    for expression in list(selector, "matchExpressions") {
        let key = text(expression, "key");
        let mut values: Vec<&str> = list(expression, "values").iter().filter_map(Value::as_str).collect();
        values.sort_unstable();
        parts.push(match text(expression, "operator") {
            "In" => format!("{key} in ({})", values.join(",")),
            "NotIn" => format!("{key} notin ({})", values.join(",")),
            "DoesNotExist" => format!("!{key}"),
            _ => key.to_owned(),
        });
    }
    parts.sort();
    if parts.is_empty() {
        empty.into()
    } else {
        parts.join(",").into()
    }
}

pub(super) fn three(parts: Vec<String>) -> String {
    match parts.len() {
        0 => "<unset>".to_owned(),
        1..=3 => parts.join(","),
        many => format!("{} + {} more...", parts[..3].join(","), many - 3),
    }
}

pub(super) fn subsets(object: &Value) -> Value {
    let mut parts = Vec::new();
    for subset in list(object, "subsets") {
        let addresses = || list(subset, "addresses").iter().map(|address| text(address, "ip"));
        let ports = list(subset, "ports");
        if ports.is_empty() {
            parts.extend(addresses().map(str::to_owned));
        }
        for port in ports {
            let port = number(port, "port").unwrap_or(0);
            parts.extend(addresses().map(|address| format!("{address}:{port}")));
        }
    }
    if parts.is_empty() {
        "<none>".into()
    } else {
        three(parts).into()
    }
}

pub(super) fn service_ports(object: &Value) -> Value {
    let parts: Vec<String> = list(&object["spec"], "ports")
        .iter()
        .map(|port| {
            let (number_, protocol) = (number(port, "port").unwrap_or(0), text(port, "protocol"));
            match number(port, "nodePort").unwrap_or(0) {
                0 => format!("{number_}/{protocol}"),
                node_port => format!("{number_}:{node_port}/{protocol}"),
            }
        })
        .collect();
    if parts.is_empty() {
        "<none>".into()
    } else {
        parts.join(",").into()
    }
}

pub(super) fn external_address(object: &Value) -> String {
    let spec = &object["spec"];
    let mut parts: Vec<&str> = Vec::new();
    match text(spec, "type") {
        "ExternalName" => return text(spec, "externalName").to_owned(),
        "LoadBalancer" => {
            for ingress in list(&object["status"]["loadBalancer"], "ingress") {
                parts.push(match text(ingress, "ip") {
                    "" => text(ingress, "hostname"),
                    address => address,
                });
            }
        }
        "ClusterIP" | "NodePort" => {}
        _ => return "<unknown>".to_owned(),
    }
    let pending = text(spec, "type") == "LoadBalancer";
    parts.extend(list(spec, "externalIPs").iter().filter_map(Value::as_str));
    match (parts.is_empty(), pending) {
        (false, _) => parts.join(","),
        (true, true) => "<pending>".to_owned(),
        (true, false) => "<none>".to_owned(),
    }
}

pub(super) fn node_status(object: &Value) -> String {
    let ready = list(&object["status"], "conditions")
        .iter()
        .find(|condition| text(condition, "type") == "Ready");
    let status = match ready.map(|condition| text(condition, "status")) {
        Some("True") => "Ready",
        Some(_) => "NotReady",
        None => "Unknown",
    };
    if object["spec"]["unschedulable"] == true {
        format!("{status},SchedulingDisabled")
    } else {
        status.to_owned()
    }
}

pub(super) fn roles(object: &Value) -> Value {
    let labels = object["metadata"]["labels"].as_object();
    let roles: Vec<&str> = labels
        .into_iter()
        .flatten()
        .filter_map(|(key, value)| match key.strip_prefix("node-role.kubernetes.io/") {
            Some(role) if !role.is_empty() => Some(role),
            _ if key == "kubernetes.io/role" => value.as_str(),
            _ => None,
        })
        .collect();
    or_none(&roles.join(","))
}

pub(super) fn node_address(object: &Value, kind: &str) -> Value {
    let found = list(&object["status"], "addresses")
        .iter()
        .find(|address| text(address, "type") == kind);
    or_none(found.map_or("", |address| text(address, "address")))
}

pub(super) fn node_info<'a>(object: &'a Value, field: &str) -> &'a str {
    match text(&object["status"]["nodeInfo"], field) {
        "" => "<unknown>",
        known => known,
    }
}

pub(super) fn job_status(object: &Value) -> &'static str {
    let has = |kind: &str| {
        list(&object["status"], "conditions")
            .iter()
            .any(|condition| text(condition, "type") == kind && text(condition, "status") == "True")
    };
    if has("Complete") {
        "Complete"
    } else if has("Failed") {
        "Failed"
    } else if object["metadata"].get("deletionTimestamp").is_some() {
        "Terminating"
    } else if has("Suspended") {
        "Suspended"
    } else if has("FailureTarget") {
        "FailureTarget"
    } else if has("SuccessCriteriaMet") {
        "SuccessCriteriaMet"
    } else {
        "Running"
    }
}

pub(super) fn completions(object: &Value) -> String {
    let succeeded = number(&object["status"], "succeeded").unwrap_or(0);
    match (
        number(&object["spec"], "completions"),
        number(&object["spec"], "parallelism"),
    ) {
        (Some(wanted), _) => format!("{succeeded}/{wanted}"),
        (None, Some(parallel)) if parallel > 1 => format!("{succeeded}/1 of {parallel}"),
        _ => format!("{succeeded}/1"),
    }
}

pub(super) fn job_duration(object: &Value, now: DateTime<Utc>) -> String {
    let moment = |field: &str| {
        let text = object["status"].get(field).and_then(Value::as_str)?;
        DateTime::parse_from_rfc3339(text)
            .ok()
            .map(|moment| moment.with_timezone(&Utc))
    };
    match (moment("startTime"), moment("completionTime")) {
        (None, _) => String::new(),
        (Some(start), end) => human_duration(end.unwrap_or(now) - start),
    }
}

pub(super) fn readiness_gates(pod: &Value) -> Value {
    let gates = list(&pod["spec"], "readinessGates");
    if gates.is_empty() {
        return "<none>".into();
    }
    let met = gates.iter().filter(|gate| {
        list(&pod["status"], "conditions")
            .iter()
            .find(|condition| text(condition, "type") == text(gate, "conditionType"))
            .is_some_and(|condition| text(condition, "status") == "True")
    });
    format!("{}/{}", met.count(), gates.len()).into()
}

pub(super) struct ShownPod {
    pub(super) ready: String,
    pub(super) status: String,
    pub(super) restarts: String,
}

fn terminated_reason(terminated: &Value) -> String {
    match (text(terminated, "reason"), number(terminated, "signal").unwrap_or(0)) {
        ("", 0) => format!("ExitCode:{}", number(terminated, "exitCode").unwrap_or(0)),
        ("", signal) => format!("Signal:{signal}"),
        (reason, _) => reason.to_owned(),
    }
}

pub(super) fn shown_pod(pod: &Value, now: DateTime<Utc>) -> ShownPod {
    let (spec, status) = (&pod["spec"], &pod["status"]);
    let phase = text(status, "phase");
    let mut reason = match text(status, "reason") {
        "" => phase.to_owned(),
        reason => reason.to_owned(),
    };
    let condition = |kind: &str| {
        list(status, "conditions")
            .iter()
            .find(|condition| text(condition, "type") == kind)
    };
    if condition("PodScheduled").is_some_and(|condition| text(condition, "reason") == "SchedulingGated") {
        "SchedulingGated".clone_into(&mut reason);
    }
    let mut restarts = 0;
    let mut last: Option<&str> = None;
    let mut ready = 0;
    let note = |container: &'_ Value| -> i64 { number(container, "restartCount").unwrap_or(0) };
    let ended = |container: &'_ Value| -> Option<String> {
        let moment = container.pointer("/lastState/terminated/finishedAt")?;
        moment.as_str().map(str::to_owned)
    };
    let mut ends: Vec<String> = Vec::new();
    let mut initializing = false;
    let inits = list(spec, "initContainers");
    for (index, container) in list(status, "initContainerStatuses").iter().enumerate() {
        restarts += note(container);
        ends.extend(ended(container));
        let state = &container["state"];
        if let Some(terminated) = state.get("terminated") {
            if number(terminated, "exitCode").unwrap_or(0) == 0 {
                continue;
            }
            reason = format!("Init:{}", terminated_reason(terminated));
        } else {
            let waiting = text(&state["waiting"], "reason");
            reason = if waiting.is_empty() || waiting == "PodInitializing" {
                format!("Init:{index}/{}", inits.len())
            } else {
                format!("Init:{waiting}")
            };
        }
        initializing = true;
        break;
    }
    if !initializing || condition("Initialized").is_some_and(|condition| text(condition, "status") == "True") {
        restarts = 0;
        ends.clear();
        let mut running = false;
        let mut error = String::new();
        for container in list(status, "containerStatuses").iter().rev() {
            restarts += note(container);
            ends.extend(ended(container));
            let state = &container["state"];
            let waiting = text(&state["waiting"], "reason");
            if !waiting.is_empty() {
                waiting.clone_into(&mut reason);
            } else if let Some(terminated) = state.get("terminated") {
                reason = terminated_reason(terminated);
                if number(terminated, "exitCode").unwrap_or(0) != 0 {
                    error.clone_from(&reason);
                }
            } else if container["ready"] == true && state.get("running").is_some() {
                running = true;
                ready += 1;
            }
        }
        if reason == "Completed" {
            let is_ready = condition("Ready").is_some_and(|condition| text(condition, "status") == "True");
            if running && is_ready {
                "Running".clone_into(&mut reason);
            } else if !error.is_empty() {
                reason = error;
            } else if running {
                "NotReady".clone_into(&mut reason);
            }
        }
    }
    if pod["metadata"].get("deletionTimestamp").is_some() {
        if text(status, "reason") == "NodeLost" {
            "Unknown".clone_into(&mut reason);
        } else if !matches!(phase, "Succeeded" | "Failed") {
            "Terminating".clone_into(&mut reason);
        }
    }
    // The times are all of one form, so that the latest is the greatest text.
    if let Some(latest) = ends.iter().max() {
        last = Some(latest);
    }
    ShownPod {
        ready: format!("{ready}/{}", list(spec, "containers").len()),
        status: reason,
        restarts: match last {
            Some(_) if restarts != 0 => format!("{restarts} ({} ago)", since(last, now)),
            _ => restarts.to_string(),
        },
    }
}
