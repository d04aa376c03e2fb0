//! What makes a pod spec invalid, in the API server's words: the commonest mistakes.

use std::collections::BTreeSet;

use serde_json::Value;

use super::quantity;
use crate::schema::errors::FieldError;
use crate::schema::names;

const PROTOCOLS: [&str; 3] = ["SCTP", "TCP", "UDP"];

pub(super) fn text<'a>(value: &'a Value, field: &str) -> &'a str {
    value.get(field).and_then(Value::as_str).unwrap_or_default()
}

pub(super) fn number(value: &Value, field: &str) -> Option<i64> {
    value.get(field).and_then(Value::as_i64)
}

pub(super) fn list<'a>(value: &'a Value, field: &str) -> &'a [Value] {
    value.get(field).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

/// A number that may not be less than nought.
pub(super) fn not_negative(value: Option<i64>, field: impl Into<String>, errors: &mut Vec<FieldError>) {
    if let Some(value) = value.filter(|value| *value < 0) {
        errors.push(FieldError::invalid(field, value, "must be greater than or equal to 0"));
    }
}

pub(super) fn port_number(value: i64, field: impl Into<String>, errors: &mut Vec<FieldError>) {
    if !(1..=65535).contains(&value) {
        errors.push(FieldError::invalid(
            field,
            value,
            "must be between 1 and 65535, inclusive",
        ));
    }
}

/// A port by number or name, as `targetPort` and probes have it.
pub(super) fn port_or_name(value: Option<&Value>, field: &str, errors: &mut Vec<FieldError>) {
    match value {
        Some(Value::String(name)) => {
            for wrong in port_name(name) {
                errors.push(FieldError::invalid(field, name.as_str(), wrong));
            }
        }
        Some(value) => port_number(value.as_i64().unwrap_or(0), field, errors),
        None => port_number(0, field, errors),
    }
}

pub(super) fn port_name(name: &str) -> Vec<String> {
    let mut wrong = Vec::new();
    if name.len() > 15 {
        wrong.push("must be no more than 15 characters".to_owned());
    }
    if !name
        .chars()
        .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-')
    {
        wrong.push("must contain only alpha-numeric characters (a-z, 0-9), and hyphens (-)".to_owned());
    }
    if !name.contains(|c: char| c.is_ascii_lowercase()) {
        wrong.push("must contain at least one letter (a-z)".to_owned());
    }
    if name.contains("--") {
        wrong.push("must not contain consecutive hyphens".to_owned());
    }
    if name.starts_with('-') || name.ends_with('-') {
        wrong.push("must not begin or end with a hyphen".to_owned());
    }
    wrong
}

pub(super) fn label_at(value: &str, field: impl Into<String>, errors: &mut Vec<FieldError>) {
    let field = field.into();
    for wrong in names::label(value) {
        errors.push(FieldError::invalid(field.clone(), value, wrong));
    }
}

/// A pod template.
pub(super) fn template(template: &Value, field: &str, errors: &mut Vec<FieldError>) {
    let metadata = &template["metadata"];
    names::labels(metadata.get("labels"), &format!("{field}.labels"), errors);
    names::annotations(metadata.get("annotations"), &format!("{field}.annotations"), errors);
    spec(&template["spec"], &format!("{field}.spec"), errors);
    if !list(&template["spec"], "ephemeralContainers").is_empty() {
        errors.push(FieldError::forbidden(
            format!("{field}.spec.ephemeralContainers"),
            "ephemeral containers not allowed in pod template",
        ));
    }
}

/// A pod spec.
pub(super) fn spec(spec: &Value, field: &str, errors: &mut Vec<FieldError>) {
    let volumes = volumes(spec, &format!("{field}.volumes"), errors);
    let all = list(spec, "containers");
    if all.is_empty() {
        errors.push(FieldError::required(format!("{field}.containers"), ""));
    }
    let mut seen = BTreeSet::new();
    for (kind, containers) in [("containers", all), ("initContainers", list(spec, "initContainers"))] {
        for (index, each) in containers.iter().enumerate() {
            let place = format!("{field}.{kind}[{index}]");
            container(each, &place, &volumes, errors);
            if !seen.insert(text(each, "name")) {
                errors.push(FieldError::duplicate(format!("{place}.name"), text(each, "name")));
            }
        }
    }
    one_of(spec, "restartPolicy", &["Always", "OnFailure", "Never"], field, errors);
    one_of(
        spec,
        "dnsPolicy",
        &["ClusterFirstWithHostNet", "ClusterFirst", "Default", "None"],
        field,
        errors,
    );
    names::labels(spec.get("nodeSelector"), &format!("{field}.nodeSelector"), errors);
    let account = text(spec, "serviceAccountName");
    if !account.is_empty() {
        for wrong in names::subdomain(account) {
            errors.push(FieldError::invalid(
                format!("{field}.serviceAccountName"),
                account,
                wrong,
            ));
        }
    }
    if let Some(seconds) =
        number(spec, "activeDeadlineSeconds").filter(|seconds| !(1..=i64::from(i32::MAX)).contains(seconds))
    {
        errors.push(FieldError::invalid(
            format!("{field}.activeDeadlineSeconds"),
            seconds,
            "must be between 1 and 2147483647, inclusive",
        ));
    }
    for name in ["hostname", "subdomain"] {
        if !text(spec, name).is_empty() {
            label_at(text(spec, name), format!("{field}.{name}"), errors);
        }
    }
    not_negative(
        number(spec, "terminationGracePeriodSeconds"),
        format!("{field}.terminationGracePeriodSeconds"),
        errors,
    );
}

fn one_of(value: &Value, name: &str, allowed: &[&str], field: &str, errors: &mut Vec<FieldError>) {
    let given = text(value, name);
    let field = format!("{field}.{name}");
    if given.is_empty() {
        errors.push(FieldError::required(field, ""));
    } else if !allowed.contains(&given) {
        errors.push(FieldError::not_supported(field, given, allowed));
    }
}

fn volumes<'a>(spec: &'a Value, field: &str, errors: &mut Vec<FieldError>) -> BTreeSet<&'a str> {
    let mut names = BTreeSet::new();
    for (index, volume) in list(spec, "volumes").iter().enumerate() {
        let name = text(volume, "name");
        let place = format!("{field}[{index}]");
        let before = errors.len();
        let sources: Vec<&str> = volume
            .as_object()
            .into_iter()
            .flat_map(|map| map.keys())
            .map(String::as_str)
            .filter(|key| *key != "name")
            .collect();
        if let [_, second, ..] = sources.as_slice() {
            errors.push(FieldError::forbidden(
                format!("{place}.{second}"),
                "may not specify more than 1 volume type",
            ));
        }
        if name.is_empty() {
            errors.push(FieldError::required(format!("{place}.name"), ""));
        } else {
            label_at(name, format!("{place}.name"), errors);
        }
        if names.contains(name) {
            errors.push(FieldError::duplicate(format!("{place}.name"), name));
        }
        if errors.len() == before {
            names.insert(name);
        }
    }
    names
}

fn container(container: &Value, field: &str, volumes: &BTreeSet<&str>, errors: &mut Vec<FieldError>) {
    let name = text(container, "name");
    if name.is_empty() {
        errors.push(FieldError::required(format!("{field}.name"), ""));
    } else {
        label_at(name, format!("{field}.name"), errors);
    }
    let image = text(container, "image");
    if image.is_empty() {
        errors.push(FieldError::required(format!("{field}.image"), ""));
    }
    one_of(
        container,
        "terminationMessagePolicy",
        &["FallbackToLogsOnError", "File"],
        field,
        errors,
    );
    ports(list(container, "ports"), &format!("{field}.ports"), errors);
    for (index, env) in list(container, "env").iter().enumerate() {
        let place = format!("{field}.env[{index}]");
        let name = text(env, "name");
        if name.is_empty() {
            errors.push(FieldError::required(format!("{place}.name"), ""));
        }
        if env.get("valueFrom").is_some() && !text(env, "value").is_empty() {
            errors.push(FieldError::invalid(
                format!("{place}.valueFrom"),
                "",
                "may not be specified when `value` is not empty",
            ));
        }
    }
    let mut places = BTreeSet::new();
    for (index, mount) in list(container, "volumeMounts").iter().enumerate() {
        let place = format!("{field}.volumeMounts[{index}]");
        let name = text(mount, "name");
        if name.is_empty() {
            errors.push(FieldError::required(format!("{place}.name"), ""));
        } else if !volumes.contains(name) {
            errors.push(FieldError::not_found(format!("{place}.name"), name));
        }
        let path = text(mount, "mountPath");
        if path.is_empty() {
            errors.push(FieldError::required(format!("{place}.mountPath"), ""));
        }
        if !places.insert(path) {
            errors.push(FieldError::invalid(
                format!("{place}.mountPath"),
                path,
                "must be unique",
            ));
        }
    }
    one_of(
        container,
        "imagePullPolicy",
        &["Always", "IfNotPresent", "Never"],
        field,
        errors,
    );
    resources(&container["resources"], &format!("{field}.resources"), errors);
    for name in ["livenessProbe", "readinessProbe", "startupProbe"] {
        if let Some(each) = container.get(name) {
            probe(each, &format!("{field}.{name}"), errors);
            if name != "readinessProbe" && number(each, "successThreshold").unwrap_or(0) != 1 {
                errors.push(FieldError::invalid(
                    format!("{field}.{name}.successThreshold"),
                    number(each, "successThreshold").unwrap_or(0),
                    "must be 1",
                ));
            }
        }
    }
}

fn ports(ports: &[Value], field: &str, errors: &mut Vec<FieldError>) {
    let mut names = BTreeSet::new();
    for (index, port) in ports.iter().enumerate() {
        let place = format!("{field}[{index}]");
        let name = text(port, "name");
        if !name.is_empty() {
            let wrong = port_name(name);
            if wrong.is_empty() && !names.insert(name) {
                errors.push(FieldError::duplicate(format!("{place}.name"), name));
            }
            for wrong in wrong {
                errors.push(FieldError::invalid(format!("{place}.name"), name, wrong));
            }
        }
        match number(port, "containerPort").unwrap_or(0) {
            0 => errors.push(FieldError::required(format!("{place}.containerPort"), "")),
            given => port_number(given, format!("{place}.containerPort"), errors),
        }
        if let Some(given) = number(port, "hostPort").filter(|given| *given != 0) {
            port_number(given, format!("{place}.hostPort"), errors);
        }
        one_of(port, "protocol", &PROTOCOLS, &place, errors);
    }
}

fn probe(probe: &Value, field: &str, errors: &mut Vec<FieldError>) {
    let handlers: Vec<&str> = ["exec", "httpGet", "tcpSocket", "grpc"]
        .into_iter()
        .filter(|name| probe.get(name).is_some())
        .collect();
    match handlers.as_slice() {
        [] => errors.push(FieldError::required(field, "must specify a handler type")),
        [_, more @ ..] => {
            for name in more {
                errors.push(FieldError::forbidden(
                    format!("{field}.{name}"),
                    "may not specify more than 1 handler type",
                ));
            }
        }
    }
    if let Some(get) = probe.get("httpGet") {
        if text(get, "path").is_empty() {
            errors.push(FieldError::required(format!("{field}.httpGet.path"), ""));
        }
        port_or_name(get.get("port"), &format!("{field}.httpGet.port"), errors);
        one_of(get, "scheme", &["HTTP", "HTTPS"], &format!("{field}.httpGet"), errors);
    }
    if let Some(socket) = probe.get("tcpSocket") {
        port_or_name(socket.get("port"), &format!("{field}.tcpSocket.port"), errors);
    }
    for name in [
        "initialDelaySeconds",
        "timeoutSeconds",
        "periodSeconds",
        "successThreshold",
        "failureThreshold",
    ] {
        not_negative(number(probe, name), format!("{field}.{name}"), errors);
    }
}

fn resources(resources: &Value, field: &str, errors: &mut Vec<FieldError>) {
    for kind in ["limits", "requests"] {
        let amounts = resources.get(kind).and_then(Value::as_object);
        for (name, amount) in amounts.into_iter().flatten() {
            let amount = amount.as_str().unwrap_or_default();
            let place = format!("{field}.{kind}[{name}]");
            for wrong in names::label_key(name) {
                errors.push(FieldError::invalid(place.clone(), name.as_str(), wrong));
            }
            if !name.contains('/') && !is_resource(name) {
                errors.push(FieldError::invalid(
                    place.clone(),
                    name.as_str(),
                    "must be a standard resource type or fully qualified",
                ));
            }
            if quantity::is_negative(amount) {
                errors.push(FieldError::invalid(
                    place.clone(),
                    amount,
                    "must be greater than or equal to 0",
                ));
            }
            let limit = resources
                .get("limits")
                .and_then(|limits| limits.get(name))
                .and_then(Value::as_str);
            if let Some(limit) = limit.filter(|limit| kind == "requests" && quantity::more_than(amount, limit)) {
                errors.push(FieldError::invalid(
                    format!("{field}.requests"),
                    amount,
                    format!("must be less than or equal to {name} limit of {limit}"),
                ));
            }
        }
    }
}

fn is_resource(name: &str) -> bool {
    matches!(name, "cpu" | "memory" | "ephemeral-storage") || name.starts_with("hugepages-")
}

/// Of a pod's spec only images, deadlines, tolerations and gates may change.
pub(super) fn change(object: &Value, old: &Value, errors: &mut Vec<FieldError>) {
    let (mut new, before) = (object["spec"].clone(), &old["spec"]);
    for field in ["containers", "initContainers"] {
        let count = |spec: &Value| spec[field].as_array().map_or(0, Vec::len);
        if count(&new) != count(before) {
            errors.push(FieldError::forbidden(
                format!("spec.{field}"),
                "pod updates may not add or remove containers",
            ));
            return;
        }
        let containers = new.get_mut(field).and_then(Value::as_array_mut);
        for (index, container) in containers.into_iter().flatten().enumerate() {
            if container["image"] == "" || container.get("image").is_none() {
                errors.push(FieldError::required(format!("spec.{field}[{index}].image"), ""));
            }
            container["image"] = before[field][index]["image"].clone();
        }
    }
    for field in ["activeDeadlineSeconds", "schedulingGates", "tolerations"] {
        match before.get(field) {
            Some(value) => new[field] = value.clone(),
            None => {
                if let Some(map) = new.as_object_mut() {
                    map.remove(field);
                }
            }
        }
    }
    if new != *before {
        // The real server appends the difference, written by a library of its own.
        errors.push(FieldError::forbidden(
            "spec",
            "pod updates may not change fields other than `spec.containers[*].image`,`spec.initContainers[*].image`,\
             `spec.activeDeadlineSeconds`,`spec.tolerations` (only additions to existing tolerations),\
             `spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)\n",
        ));
    }
}
