//! The columns in which `kubectl get` shows built-in kinds.

use chrono::{DateTime, Utc};
use serde_json::Value;

use super::cells::{
    completions, count, entries, event_count, event_object, event_source, event_times, external_address, job_duration,
    job_status, labels, limit, node_address, node_info, node_status, of_containers, or_none, readiness_gates, roles,
    selector, service_ports, shown_pod, subjects, subsets, targets, three,
};
use super::pods::{list, number, text};
use crate::schema::{Column, age};

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
        "scales" => &[
            ("Desired", "integer", 0, |object, _| {
                number(&object["spec"], "replicas").unwrap_or(0).into()
            }),
            ("Available", "integer", 0, |object, _| count(object, "replicas")),
            ("Age", "string", 0, |object, now| age(object, now).into()),
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
