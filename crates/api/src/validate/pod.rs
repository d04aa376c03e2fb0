//! The usual mistakes in a pod template, with Kubernetes' messages: labels, container names and images, ports, variables,
//! mounts, resources, restart policy. The API server checks all the rest when the ReplicaSet or its pods are created.

use std::collections::BTreeSet;

use serde_json::{Map, Value};

use super::{FieldError, labels};
use crate::{quantity::Quantity, template::PodTemplate};

type Object = Map<String, Value>;

/// Checks a template whose labels are known to match the selector.
pub(super) fn validate(template: &PodTemplate, replicas: i32, path: &str) -> Result<(), FieldError> {
    // Read-only disks that several pods share are the only thing that depends on it; they are gone from Kubernetes.
    let _ = replicas;
    labels::validate_labels(&template.labels(), &format!("{path}.labels"))?;
    labels::validate_annotations(&template.annotations(), &format!("{path}.annotations"))?;
    let path = format!("{path}.spec");
    let empty = Object::new();
    let spec = template.0.get("spec").and_then(Value::as_object).unwrap_or(&empty);
    let volumes = volumes(spec, &path)?;
    if objects(spec, "containers").next().is_none() {
        return Err(FieldError::required(format!("{path}.containers"), ""));
    }
    let mut names = BTreeSet::new();
    for list in ["containers", "initContainers"] {
        for (i, container) in objects(spec, list).enumerate() {
            validate_container(container, &volumes, &mut names, &format!("{path}.{list}[{i}]"))?;
        }
    }
    let restart = text(spec, "restartPolicy");
    if !["", "Always", "OnFailure", "Never"].contains(&restart) {
        return Err(FieldError::not_supported(
            format!("{path}.restartPolicy"),
            restart,
            &["Always", "OnFailure", "Never"],
        ));
    }
    let dns = text(spec, "dnsPolicy");
    if !["", "ClusterFirstWithHostNet", "ClusterFirst", "Default", "None"].contains(&dns) {
        return Err(FieldError::not_supported(
            format!("{path}.dnsPolicy"),
            dns,
            &["ClusterFirst", "ClusterFirstWithHostNet", "Default", "None"],
        ));
    }
    if !["", "Always"].contains(&restart) {
        return Err(FieldError::not_supported(
            format!("{path}.restartPolicy"),
            restart,
            &["Always"],
        ));
    }
    if spec.get("activeDeadlineSeconds").is_some_and(|v| !v.is_null()) {
        return Err(FieldError::forbidden(
            format!("{path}.activeDeadlineSeconds"),
            "activeDeadlineSeconds in ReplicaSet is not Supported",
        ));
    }
    Ok(())
}

fn text<'a>(map: &'a Object, key: &str) -> &'a str {
    map.get(key).and_then(Value::as_str).unwrap_or_default()
}

fn objects<'a>(map: &'a Object, key: &str) -> impl Iterator<Item = &'a Object> {
    map.get(key)
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .filter_map(Value::as_object)
}

/// A name that must be there and be a DNS label.
fn validate_name(map: &Object, path: &str) -> Result<(), FieldError> {
    let name = text(map, "name");
    if name.is_empty() {
        return Err(FieldError::required(format!("{path}.name"), ""));
    }
    match labels::dns_label_problem(name) {
        Some(problem) => Err(FieldError::invalid(format!("{path}.name"), name, problem)),
        None => Ok(()),
    }
}

fn volumes<'a>(spec: &'a Object, path: &str) -> Result<BTreeSet<&'a str>, FieldError> {
    let mut names = BTreeSet::new();
    for (i, volume) in objects(spec, "volumes").enumerate() {
        let path = format!("{path}.volumes[{i}]");
        validate_name(volume, &path)?;
        let name = text(volume, "name");
        if !names.insert(name) {
            return Err(FieldError::duplicate(format!("{path}.name"), name));
        }
    }
    Ok(names)
}

fn validate_container<'a>(
    container: &'a Object,
    volumes: &BTreeSet<&str>,
    names: &mut BTreeSet<&'a str>,
    path: &str,
) -> Result<(), FieldError> {
    validate_name(container, path)?;
    let image = text(container, "image");
    if image.is_empty() {
        return Err(FieldError::required(format!("{path}.image"), ""));
    }
    if image.trim() != image {
        return Err(FieldError::invalid(
            format!("{path}.image"),
            image,
            "must not have leading or trailing whitespace",
        ));
    }
    validate_ports(container, path)?;
    validate_env(container, path)?;
    validate_mounts(container, volumes, path)?;
    let policy = text(container, "imagePullPolicy");
    if !["", "Always", "IfNotPresent", "Never"].contains(&policy) {
        return Err(FieldError::not_supported(
            format!("{path}.imagePullPolicy"),
            policy,
            &["Always", "IfNotPresent", "Never"],
        ));
    }
    validate_resources(container, path)?;
    let name = text(container, "name");
    if !names.insert(name) {
        return Err(FieldError::duplicate(format!("{path}.name"), name));
    }
    Ok(())
}

fn validate_ports(container: &Object, path: &str) -> Result<(), FieldError> {
    let mut names = BTreeSet::new();
    for (i, port) in objects(container, "ports").enumerate() {
        let path = format!("{path}.ports[{i}]");
        let name = text(port, "name");
        if !name.is_empty() {
            if let Some(problem) = port_name_problem(name) {
                return Err(FieldError::invalid(format!("{path}.name"), name, problem));
            }
            if !names.insert(name) {
                return Err(FieldError::duplicate(format!("{path}.name"), name));
            }
        }
        let number = |key: &str| port.get(key).and_then(Value::as_i64).unwrap_or_default();
        let container_port = number("containerPort");
        if container_port == 0 {
            return Err(FieldError::required(format!("{path}.containerPort"), ""));
        }
        for (key, value) in [("containerPort", container_port), ("hostPort", number("hostPort"))] {
            if !(0..=65535).contains(&value) {
                return Err(FieldError::invalid(
                    format!("{path}.{key}"),
                    value,
                    "must be between 1 and 65535, inclusive",
                ));
            }
        }
        let protocol = text(port, "protocol");
        if !["", "TCP", "UDP", "SCTP"].contains(&protocol) {
            return Err(FieldError::not_supported(
                format!("{path}.protocol"),
                protocol,
                &["SCTP", "TCP", "UDP"],
            ));
        }
    }
    Ok(())
}

fn port_name_problem(name: &str) -> Option<&'static str> {
    let bytes = name.as_bytes();
    if bytes.len() > 15 {
        return Some("must be no more than 15 characters");
    }
    if !bytes
        .iter()
        .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || *b == b'-')
    {
        return Some("must contain only alpha-numeric characters (a-z, 0-9), and hyphens (-)");
    }
    if !bytes.iter().any(u8::is_ascii_lowercase) {
        return Some("must contain at least one letter (a-z)");
    }
    if name.contains("--") {
        return Some("must not contain consecutive hyphens");
    }
    (name.starts_with('-') || name.ends_with('-')).then_some("must not begin or end with a hyphen")
}

fn validate_env(container: &Object, path: &str) -> Result<(), FieldError> {
    for (i, env) in objects(container, "env").enumerate() {
        let path = format!("{path}.env[{i}]");
        let name = text(env, "name");
        if name.is_empty() {
            return Err(FieldError::required(format!("{path}.name"), ""));
        }
        if name.contains('=') || !name.chars().all(|c| matches!(c, ' '..='~')) {
            return Err(FieldError::invalid(
                format!("{path}.name"),
                name,
                "a valid environment variable name must consist only of printable ASCII characters other than '='",
            ));
        }
        let Some(source) = env.get("valueFrom").and_then(Value::as_object) else {
            continue;
        };
        let path = format!("{path}.valueFrom");
        if !text(env, "value").is_empty() {
            return Err(FieldError::invalid(
                path,
                "",
                "may not be specified when `value` is not empty",
            ));
        }
        if source.values().filter(|v| v.is_object()).count() > 1 {
            return Err(FieldError::invalid(
                path,
                "",
                "may not have more than one field specified at a time",
            ));
        }
    }
    Ok(())
}

fn validate_mounts(container: &Object, volumes: &BTreeSet<&str>, path: &str) -> Result<(), FieldError> {
    let mut places = BTreeSet::new();
    for (i, mount) in objects(container, "volumeMounts").enumerate() {
        let path = format!("{path}.volumeMounts[{i}]");
        let name = text(mount, "name");
        if name.is_empty() {
            return Err(FieldError::required(format!("{path}.name"), ""));
        }
        if !volumes.contains(name) {
            return Err(FieldError::not_found(format!("{path}.name"), name));
        }
        let place = text(mount, "mountPath");
        if place.is_empty() {
            return Err(FieldError::required(format!("{path}.mountPath"), ""));
        }
        if !places.insert(place) {
            return Err(FieldError::invalid(
                format!("{path}.mountPath"),
                place,
                "must be unique",
            ));
        }
    }
    Ok(())
}

/// Amounts that are no quantities are left to the API server: upstream drops them silently (recordings 34).
fn validate_resources(container: &Object, path: &str) -> Result<(), FieldError> {
    let empty = Object::new();
    let list = |key: &str| container.get("resources")?.get(key)?.as_object();
    let (limits, requests) = (list("limits").unwrap_or(&empty), list("requests").unwrap_or(&empty));
    for (kind, amounts) in [("limits", limits), ("requests", requests)] {
        for (name, value) in amounts {
            let Some(amount) = quantity(value) else { continue };
            if amount.is_negative() {
                return Err(FieldError::invalid(
                    format!("{path}.resources.{kind}[{name}]"),
                    amount.as_str(),
                    "must be greater than or equal to 0",
                ));
            }
            let limit = (kind == "requests")
                .then(|| limits.get(name).and_then(quantity))
                .flatten();
            if let Some(limit) = limit
                && amount.compare(&limit).is_gt()
            {
                return Err(FieldError::invalid(
                    format!("{path}.resources.requests"),
                    amount.as_str(),
                    format!("must be less than or equal to {name} limit of {}", limit.as_str()),
                ));
            }
        }
    }
    Ok(())
}

fn quantity(value: &Value) -> Option<Quantity> {
    match value {
        Value::String(text) => Quantity::parse(text).ok(),
        Value::Number(number) => Quantity::parse(&number.to_string()).ok(),
        _ => None,
    }
}
