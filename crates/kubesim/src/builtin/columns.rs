//! The columns in which `kubectl get` shows built-in kinds.

use chrono::{DateTime, Utc};
use serde_json::Value;

use super::pods::{list, number, text};
use crate::schema::{Column, age, human_duration, since};

type Cells = fn(&Value, DateTime<Utc>) -> Value;

/// The columns of a kind.
pub(super) fn columns(plural: &str, group: &str) -> Vec<Column> {
    let own: &[(&str, &str, i64, Cells)] = match plural {
        "pods" => &[
            ("Ready", "string", 0, |pod, now| shown_pod(pod, now).ready.into()),
            ("Status", "string", 0, |pod, now| shown_pod(pod, now).status.into()),
            ("Restarts", "string", 0, |pod, now| shown_pod(pod, now).restarts.into()),
            ("Age", "string", 0, |object, now| age(object, now).into()),
            ("IP", "string", 1, |pod, _| {
                let first = list(&pod["status"], "podIPs").first();
                or_none(first.map_or("", |address| text(address, "ip")))
            }),
            ("Node", "string", 1, |pod, _| or_none(text(&pod["spec"], "nodeName"))),
            ("Nominated Node", "string", 1, |pod, _| {
                or_none(text(&pod["status"], "nominatedNodeName"))
            }),
            ("Readiness Gates", "string", 1, |pod, _| readiness_gates(pod)),
        ],
        "deployments" => &[
            ("Ready", "string", 0, |object, _| {
                let ready = number(&object["status"], "readyReplicas").unwrap_or(0);
                format!("{ready}/{}", number(&object["spec"], "replicas").unwrap_or(0)).into()
            }),
            ("Up-to-date", "string", 0, |object, _| count(object, "updatedReplicas")),
            ("Available", "string", 0, |object, _| count(object, "availableReplicas")),
            ("Age", "string", 0, |object, now| age(object, now).into()),
            ("Containers", "string", 1, |object, _| of_containers(object, "name")),
            ("Images", "string", 1, |object, _| of_containers(object, "image")),
            ("Selector", "string", 1, |object, _| selector(object, "")),
        ],
        "replicasets" => &[
            ("Desired", "integer", 0, |object, _| {
                number(&object["spec"], "replicas").unwrap_or(0).into()
            }),
            ("Current", "integer", 0, |object, _| count(object, "replicas")),
            ("Ready", "integer", 0, |object, _| count(object, "readyReplicas")),
            ("Age", "string", 0, |object, now| age(object, now).into()),
            ("Containers", "string", 1, |object, _| of_containers(object, "name")),
            ("Images", "string", 1, |object, _| of_containers(object, "image")),
            ("Selector", "string", 1, |object, _| selector(object, "<none>")),
        ],
        "statefulsets" => &[
            ("Ready", "string", 0, |object, _| {
                let ready = number(&object["status"], "readyReplicas").unwrap_or(0);
                format!("{ready}/{}", number(&object["spec"], "replicas").unwrap_or(0)).into()
            }),
            ("Age", "string", 0, |object, now| age(object, now).into()),
            ("Containers", "string", 1, |object, _| of_containers(object, "name")),
            ("Images", "string", 1, |object, _| of_containers(object, "image")),
        ],
        "daemonsets" => &[
            ("Desired", "integer", 0, |object, _| {
                count(object, "desiredNumberScheduled")
            }),
            ("Current", "integer", 0, |object, _| {
                count(object, "currentNumberScheduled")
            }),
            ("Ready", "integer", 0, |object, _| count(object, "numberReady")),
            ("Up-to-date", "integer", 0, |object, _| {
                count(object, "updatedNumberScheduled")
            }),
            ("Available", "integer", 0, |object, _| count(object, "numberAvailable")),
            ("Node Selector", "string", 0, |object, _| {
                labels(&object["spec"]["template"]["spec"]["nodeSelector"]).into()
            }),
            ("Age", "string", 0, |object, now| age(object, now).into()),
            ("Containers", "string", 1, |object, _| of_containers(object, "name")),
            ("Images", "string", 1, |object, _| of_containers(object, "image")),
            ("Selector", "string", 1, |object, _| selector(object, "<none>")),
        ],
        "jobs" => &[
            ("Status", "string", 0, |object, _| job_status(object).into()),
            ("Completions", "string", 0, |object, _| completions(object).into()),
            ("Duration", "string", 0, |object, now| job_duration(object, now).into()),
            ("Age", "string", 0, |object, now| age(object, now).into()),
            ("Containers", "string", 1, |object, _| of_containers(object, "name")),
            ("Images", "string", 1, |object, _| of_containers(object, "image")),
            ("Selector", "string", 1, |object, _| selector(object, "<none>")),
        ],
        "services" => &[
            ("Type", "string", 0, |object, _| text(&object["spec"], "type").into()),
            ("Cluster-IP", "string", 0, |object, _| {
                let first = list(&object["spec"], "clusterIPs").first().and_then(Value::as_str);
                first.unwrap_or("<none>").into()
            }),
            ("External-IP", "string", 0, |object, _| external_address(object).into()),
            ("Port(s)", "string", 0, |object, _| service_ports(object)),
            ("Age", "string", 0, |object, now| age(object, now).into()),
            ("Selector", "string", 1, |object, _| {
                labels(&object["spec"]["selector"]).into()
            }),
        ],
        "nodes" => &[
            ("Status", "string", 0, |object, _| node_status(object).into()),
            ("Roles", "string", 0, |object, _| roles(object)),
            ("Age", "string", 0, |object, now| age(object, now).into()),
            ("Version", "string", 0, |object, _| {
                text(&object["status"]["nodeInfo"], "kubeletVersion").into()
            }),
            ("Internal-IP", "string", 1, |object, _| {
                node_address(object, "InternalIP")
            }),
            ("External-IP", "string", 1, |object, _| {
                node_address(object, "ExternalIP")
            }),
            ("OS-Image", "string", 1, |object, _| node_info(object, "osImage").into()),
            ("Kernel-Version", "string", 1, |object, _| {
                let version = node_info(object, "kernelVersion");
                match text(&object["status"]["nodeInfo"], "architecture") {
                    "" => version.into(),
                    architecture => format!("{version} ({architecture})").into(),
                }
            }),
            ("Container-Runtime", "string", 1, |object, _| {
                node_info(object, "containerRuntimeVersion").into()
            }),
        ],
        "namespaces" => &[
            ("Status", "string", 0, |object, _| {
                text(&object["status"], "phase").into()
            }),
            ("Age", "string", 0, |object, now| age(object, now).into()),
        ],
        "leases" => &[
            ("Holder", "string", 0, |object, _| {
                text(&object["spec"], "holderIdentity").into()
            }),
            ("Age", "string", 0, |object, now| age(object, now).into()),
        ],
        "configmaps" => &[
            ("Data", "string", 0, |object, _| {
                (entries(&object["data"]) + entries(&object["binaryData"])).into()
            }),
            ("Age", "string", 0, |object, now| age(object, now).into()),
        ],
        "secrets" => &[
            ("Type", "string", 0, |object, _| text(object, "type").into()),
            ("Data", "string", 0, |object, _| entries(&object["data"]).into()),
            ("Age", "string", 0, |object, now| age(object, now).into()),
        ],
        "endpoints" => &[
            ("Endpoints", "string", 0, |object, _| subsets(object)),
            ("Age", "string", 0, |object, now| age(object, now).into()),
        ],
        "endpointslices" => &[
            ("AddressType", "string", 0, |object, _| {
                text(object, "addressType").into()
            }),
            ("Ports", "string", 0, |object, _| {
                let ports = list(object, "ports").iter().map(|port| match number(port, "port") {
                    Some(number) => number.to_string(),
                    None => port.get("name").and_then(Value::as_str).unwrap_or("*").to_owned(),
                });
                three(ports.collect()).into()
            }),
            ("Endpoints", "string", 0, |object, _| {
                let addresses = list(object, "endpoints")
                    .iter()
                    .flat_map(|each| list(each, "addresses"));
                three(addresses.filter_map(Value::as_str).map(str::to_owned).collect()).into()
            }),
            ("Age", "string", 0, |object, now| age(object, now).into()),
        ],
        "events" => return events(group),
        "serviceaccounts" => &[("Age", "string", 0, |object, now| age(object, now).into())],
        "poddisruptionbudgets" => &[
            ("Min Available", "string", 0, |object, _| {
                limit(&object["spec"]["minAvailable"])
            }),
            ("Max Unavailable", "string", 0, |object, _| {
                limit(&object["spec"]["maxUnavailable"])
            }),
            ("Allowed Disruptions", "integer", 0, |object, _| {
                count(object, "disruptionsAllowed")
            }),
            ("Age", "string", 0, |object, now| age(object, now).into()),
        ],
        "horizontalpodautoscalers" => &[
            ("Reference", "string", 0, |object, _| {
                let target = &object["spec"]["scaleTargetRef"];
                format!("{}/{}", text(target, "kind"), text(target, "name")).into()
            }),
            ("Targets", "string", 0, |object, _| targets(object)),
            ("MinPods", "string", 0, |object, _| {
                match number(&object["spec"], "minReplicas") {
                    Some(number) => number.to_string().into(),
                    None => "<unset>".into(),
                }
            }),
            ("MaxPods", "string", 0, |object, _| {
                number(&object["spec"], "maxReplicas").unwrap_or(0).into()
            }),
            ("Replicas", "string", 0, |object, _| count(object, "currentReplicas")),
            ("Age", "string", 0, |object, now| age(object, now).into()),
        ],
        "rolebindings" | "clusterrolebindings" => &[
            ("Role", "string", 0, |object, _| {
                let role = &object["roleRef"];
                format!("{}/{}", text(role, "kind"), text(role, "name")).into()
            }),
            ("Age", "string", 0, |object, now| age(object, now).into()),
            ("Users", "string", 1, |object, _| subjects(object, "User")),
            ("Groups", "string", 1, |object, _| subjects(object, "Group")),
            ("ServiceAccounts", "string", 1, |object, _| {
                subjects(object, "ServiceAccount")
            }),
        ],
        _ => &[("Created At", "date", 0, |object, _| {
            text(&object["metadata"], "creationTimestamp").into()
        })],
    };
    let made = own
        .iter()
        .map(|(name, kind, priority, cell)| Column::made(name, kind, *priority, *cell));
    std::iter::once(Column::name_column()).chain(made).collect()
}

/// Events have their name last.
fn events(group: &str) -> Vec<Column> {
    // The newer group has other names for the same things.
    let own: &[(&str, &str, i64, Cells)] = if group.is_empty() {
        &[
            ("Last Seen", "string", 0, |event, now| event_times(event, now).1.into()),
            ("Type", "string", 0, |event, _| text(event, "type").into()),
            ("Reason", "string", 0, |event, _| text(event, "reason").into()),
            ("Object", "string", 0, |event, _| event_object(&event["involvedObject"])),
            ("Subobject", "string", 1, |event, _| {
                text(&event["involvedObject"], "fieldPath").into()
            }),
            ("Source", "string", 1, |event, _| {
                let source = &event["source"];
                event_source(
                    text(source, "component"),
                    text(source, "host"),
                    event,
                    "reportingComponent",
                )
            }),
            ("Message", "string", 0, |event, _| text(event, "message").trim().into()),
            ("First Seen", "string", 1, |event, now| event_times(event, now).0.into()),
            ("Count", "string", 1, |event, _| event_count(event, "count")),
        ]
    } else {
        &[
            ("Last Seen", "string", 0, |event, now| event_times(event, now).1.into()),
            ("Type", "string", 0, |event, _| text(event, "type").into()),
            ("Reason", "string", 0, |event, _| text(event, "reason").into()),
            ("Object", "string", 0, |event, _| event_object(&event["regarding"])),
            ("Subobject", "string", 1, |event, _| {
                text(&event["regarding"], "fieldPath").into()
            }),
            ("Source", "string", 1, |event, _| {
                let source = &event["deprecatedSource"];
                event_source(
                    text(source, "component"),
                    text(source, "host"),
                    event,
                    "reportingController",
                )
            }),
            ("Message", "string", 0, |event, _| text(event, "note").trim().into()),
            ("First Seen", "string", 1, |event, now| event_times(event, now).0.into()),
            ("Count", "string", 1, |event, _| event_count(event, "deprecatedCount")),
        ]
    };
    let mut columns: Vec<Column> = own
        .iter()
        .map(|(name, kind, priority, cell)| Column::made(name, kind, *priority, *cell))
        .collect();
    let mut name = Column::name_column();
    name.priority = 1;
    columns.push(name);
    columns
}

fn event_times(event: &Value, now: DateTime<Utc>) -> (String, String) {
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

fn event_count(event: &Value, field: &str) -> Value {
    let series = event.get("series").and_then(|series| number(series, "count"));
    let count = series.or_else(|| number(event, field)).filter(|count| *count != 0);
    count.unwrap_or(1).into()
}

fn event_object(of: &Value) -> Value {
    let kind = text(of, "kind").to_lowercase();
    match text(of, "name") {
        "" => kind.into(),
        name => format!("{kind}/{name}").into(),
    }
}

fn event_source(component: &str, host: &str, event: &Value, reporter: &str) -> Value {
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

fn or_none(value: &str) -> Value {
    if value.is_empty() {
        "<none>".into()
    } else {
        value.into()
    }
}

fn count(object: &Value, field: &str) -> Value {
    number(&object["status"], field).unwrap_or(0).into()
}

fn entries(map: &Value) -> usize {
    map.as_object().map_or(0, serde_json::Map::len)
}

fn subjects(object: &Value, kind: &str) -> Value {
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
fn targets(object: &Value) -> Value {
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

fn limit(value: &Value) -> Value {
    match value {
        Value::String(text) => text.as_str().into(),
        Value::Number(number) => number.to_string().into(),
        _ => "N/A".into(),
    }
}

fn of_containers(object: &Value, field: &str) -> Value {
    let containers = list(&object["spec"]["template"]["spec"], "containers");
    let parts: Vec<&str> = containers.iter().map(|container| text(container, field)).collect();
    parts.join(",").into()
}

fn labels(map: &Value) -> String {
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

fn selector(object: &Value, empty: &str) -> Value {
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

fn three(parts: Vec<String>) -> String {
    match parts.len() {
        0 => "<unset>".to_owned(),
        1..=3 => parts.join(","),
        many => format!("{} + {} more...", parts[..3].join(","), many - 3),
    }
}

fn subsets(object: &Value) -> Value {
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

fn service_ports(object: &Value) -> Value {
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

fn external_address(object: &Value) -> String {
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

fn node_status(object: &Value) -> String {
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

fn roles(object: &Value) -> Value {
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

fn node_address(object: &Value, kind: &str) -> Value {
    let found = list(&object["status"], "addresses")
        .iter()
        .find(|address| text(address, "type") == kind);
    or_none(found.map_or("", |address| text(address, "address")))
}

fn node_info<'a>(object: &'a Value, field: &str) -> &'a str {
    match text(&object["status"]["nodeInfo"], field) {
        "" => "<unknown>",
        known => known,
    }
}

fn job_status(object: &Value) -> &'static str {
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

fn completions(object: &Value) -> String {
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

fn job_duration(object: &Value, now: DateTime<Utc>) -> String {
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

fn readiness_gates(pod: &Value) -> Value {
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

struct ShownPod {
    ready: String,
    status: String,
    restarts: String,
}

fn terminated_reason(terminated: &Value) -> String {
    match (text(terminated, "reason"), number(terminated, "signal").unwrap_or(0)) {
        ("", 0) => format!("ExitCode:{}", number(terminated, "exitCode").unwrap_or(0)),
        ("", signal) => format!("Signal:{signal}"),
        (reason, _) => reason.to_owned(),
    }
}

fn shown_pod(pod: &Value, now: DateTime<Utc>) -> ShownPod {
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
