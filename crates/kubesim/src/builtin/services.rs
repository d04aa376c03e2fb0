//! What makes Services, EndpointSlices and the smaller kinds invalid, in the API server's words.

use std::collections::BTreeSet;
use std::net::IpAddr;

use serde_json::Value;

use super::apps::{at_most_all, count_or_percent};
use super::pods::{label_at, list, number, port_number, port_or_name, text};
use crate::schema::errors::FieldError;
use crate::schema::names;

const PROTOCOLS: [&str; 3] = ["SCTP", "TCP", "UDP"];

/// A Service.
pub(super) fn service(object: &Value, errors: &mut Vec<FieldError>) {
    let spec = &object["spec"];
    let kind = text(spec, "type");
    let headless = text(spec, "clusterIP") == "None";
    let ports = list(spec, "ports");
    let without_list = !text(spec, "clusterIP").is_empty() && list(spec, "clusterIPs").is_empty();
    if without_list && kind != "ExternalName" {
        errors.push(FieldError::required("spec.clusterIPs", ""));
        return;
    }
    if ports.is_empty() && !headless && kind != "ExternalName" {
        errors.push(FieldError::required("spec.ports", ""));
    }
    match kind {
        "LoadBalancer" | "NodePort" if headless => errors.push(FieldError::invalid(
            "spec.clusterIPs[0]",
            "None",
            format!("may not be set to 'None' for {kind} services"),
        )),
        "ExternalName" => {
            if without_list || !list(spec, "clusterIPs").is_empty() {
                errors.push(FieldError::forbidden(
                    "spec.clusterIPs",
                    "may not be set for ExternalName services",
                ));
            }
            let name = text(spec, "externalName").trim_end_matches('.');
            if name.is_empty() {
                errors.push(FieldError::required("spec.externalName", ""));
            } else {
                for wrong in names::subdomain(name) {
                    errors.push(FieldError::invalid("spec.externalName", name, wrong));
                }
            }
        }
        _ => {}
    }
    let mut seen = BTreeSet::new();
    for (index, port) in ports.iter().enumerate() {
        let place = format!("spec.ports[{index}]");
        let name = text(port, "name");
        if name.is_empty() {
            if ports.len() > 1 {
                errors.push(FieldError::required(format!("{place}.name"), ""));
            }
        } else {
            label_at(name, format!("{place}.name"), errors);
            if !seen.insert(name) {
                errors.push(FieldError::duplicate(format!("{place}.name"), name));
            }
        }
        port_number(number(port, "port").unwrap_or(0), format!("{place}.port"), errors);
        protocol(port, &place, errors);
        port_or_name(port.get("targetPort"), &format!("{place}.targetPort"), errors);
    }
    names::labels(spec.get("selector"), "spec.selector", errors);
    let affinity = text(spec, "sessionAffinity");
    if !matches!(affinity, "ClientIP" | "None") {
        errors.push(FieldError::not_supported(
            "spec.sessionAffinity",
            affinity,
            ["ClientIP", "None"],
        ));
    }
    if kind != "ExternalName" && !headless {
        for (index, address) in list(spec, "clusterIPs").iter().enumerate() {
            let address = address.as_str().unwrap_or_default();
            if address.parse::<IpAddr>().is_err() {
                errors.push(FieldError::invalid(
                    format!("spec.clusterIPs[{index}]"),
                    address,
                    "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)",
                ));
            }
        }
        let first = list(spec, "clusterIPs")
            .first()
            .and_then(Value::as_str)
            .unwrap_or_default();
        if !first.is_empty() && first != text(spec, "clusterIP") {
            errors.push(FieldError::invalid(
                "spec.clusterIPs",
                spec["clusterIPs"].clone(),
                "first value must match `clusterIP`",
            ));
        }
    }
    if !matches!(kind, "ClusterIP" | "ExternalName" | "LoadBalancer" | "NodePort") {
        errors.push(FieldError::not_supported(
            "spec.type",
            kind,
            ["ClusterIP", "ExternalName", "LoadBalancer", "NodePort"],
        ));
    }
    let mut pairs = BTreeSet::new();
    let mut node_ports = BTreeSet::new();
    for (index, port) in ports.iter().enumerate() {
        let place = format!("spec.ports[{index}]");
        let node_port = number(port, "nodePort").unwrap_or(0);
        if node_port != 0 && kind == "ClusterIP" {
            errors.push(FieldError::forbidden(
                format!("{place}.nodePort"),
                "may not be used when `type` is 'ClusterIP'",
            ));
        }
        if node_port != 0 && !node_ports.insert((text(port, "protocol"), node_port)) {
            errors.push(FieldError::duplicate(format!("{place}.nodePort"), node_port));
        }
        if !pairs.insert((text(port, "protocol"), number(port, "port"))) {
            // The internal type of the server has no JSON names.
            let shown = format!(
                "{{\"Name\":\"\",\"Protocol\":\"{}\",\"AppProtocol\":null,\"Port\":{},\"TargetPort\":0,\"NodePort\":0}}",
                text(port, "protocol"),
                number(port, "port").unwrap_or(0),
            );
            errors.push(FieldError::duplicate(place, Value::Null).showing(shown));
        }
    }
}

fn protocol(port: &Value, place: &str, errors: &mut Vec<FieldError>) {
    match text(port, "protocol") {
        "" => errors.push(FieldError::required(format!("{place}.protocol"), "")),
        known if PROTOCOLS.contains(&known) => {}
        other => errors.push(FieldError::not_supported(format!("{place}.protocol"), other, PROTOCOLS)),
    }
}

/// What of a Service may not change.
pub(super) fn service_update(object: &Value, old: &Value, errors: &mut Vec<FieldError>) {
    let (new, before) = (&object["spec"], &old["spec"]);
    if text(new, "type") == "ExternalName" || text(before, "type") == "ExternalName" {
        return;
    }
    let (has, had) = (list(new, "clusterIPs"), list(before, "clusterIPs"));
    for (index, address) in had.iter().enumerate() {
        let is_address = |now: &Value| {
            now.as_str()
                .is_some_and(|now| now.parse::<IpAddr>().is_ok() || now == "None")
        };
        if has.get(index).is_some_and(|now| now != address && is_address(now)) {
            errors.push(FieldError::invalid(
                format!("spec.clusterIPs[{index}]"),
                new["clusterIPs"].clone(),
                "may not change once set",
            ));
        }
    }
}

/// An EndpointSlice.
pub(super) fn endpoint_slice(object: &Value, errors: &mut Vec<FieldError>) {
    let kind = text(object, "addressType");
    match kind {
        "" => errors.push(FieldError::required("addressType", "")),
        "IPv4" | "IPv6" | "FQDN" => {}
        other => errors.push(FieldError::not_supported(
            "addressType",
            other,
            ["FQDN", "IPv4", "IPv6"],
        )),
    }
    let mut seen = BTreeSet::new();
    for (index, port) in list(object, "ports").iter().enumerate() {
        let place = format!("ports[{index}]");
        let name = text(port, "name");
        if !name.is_empty() {
            label_at(name, format!("{place}.name"), errors);
        }
        if !seen.insert(name) {
            errors.push(FieldError::duplicate(format!("{place}.name"), name));
        }
        protocol(port, &place, errors);
    }
    for (index, endpoint) in list(object, "endpoints").iter().enumerate() {
        let place = format!("endpoints[{index}]");
        let addresses = list(endpoint, "addresses");
        if addresses.is_empty() {
            errors.push(FieldError::required(
                format!("{place}.addresses"),
                "must contain at least 1 address",
            ));
        }
        for (index, address) in addresses.iter().enumerate() {
            let address = address.as_str().unwrap_or_default();
            let parsed = address.parse::<IpAddr>();
            if matches!(kind, "IPv4" | "IPv6") && parsed.is_err() {
                errors.push(FieldError::invalid(
                    format!("{place}.addresses[{index}]"),
                    address,
                    "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)",
                ));
            } else if kind == "IPv4" && parsed.is_ok_and(|address| address.is_ipv6()) {
                errors.push(FieldError::invalid(
                    format!("{place}.addresses"),
                    address,
                    "must be an IPv4 address",
                ));
            }
        }
    }
}

/// ConfigMaps and Secrets: their keys.
pub(super) fn data_keys(object: &Value, errors: &mut Vec<FieldError>) {
    for field in ["data", "binaryData"] {
        for key in object
            .get(field)
            .and_then(Value::as_object)
            .into_iter()
            .flat_map(|map| map.keys())
        {
            let place = format!("{field}[{key}]");
            if key.len() > 253 {
                errors.push(FieldError::invalid(
                    place.clone(),
                    key.as_str(),
                    "must be no more than 253 characters",
                ));
            }
            if key.is_empty() || !key.chars().all(|c| c.is_ascii_alphanumeric() || "-._".contains(c)) {
                errors.push(FieldError::invalid(
                    place.clone(),
                    key.as_str(),
                    "a valid config key must consist of alphanumeric characters, '-', '_' or '.' (e.g. 'key.name',  or \
                     'KEY_NAME',  or 'key-name', regex used for validation is '[-._a-zA-Z0-9]+')",
                ));
            }
            match key.as_str() {
                "." | ".." => errors.push(FieldError::invalid(place, key.as_str(), format!("must not be '{key}'"))),
                dotted if dotted.starts_with("..") => {
                    errors.push(FieldError::invalid(place, dotted, "must not start with '..'"));
                }
                _ => {}
            }
        }
    }
}

/// What a Secret of a certain type must hold.
pub(super) fn secret_type(object: &Value, errors: &mut Vec<FieldError>) {
    let has = |key: &str| object["data"].get(key).is_some();
    let mut require = |keys: &[&str]| {
        for key in keys.iter().filter(|key| !has(key)) {
            errors.push(FieldError::required(format!("data[{key}]"), ""));
        }
    };
    match text(object, "type") {
        "kubernetes.io/tls" => require(&["tls.crt", "tls.key"]),
        "kubernetes.io/dockercfg" => require(&[".dockercfg"]),
        "kubernetes.io/dockerconfigjson" => require(&[".dockerconfigjson"]),
        "kubernetes.io/ssh-auth" => require(&["ssh-privatekey"]),
        "kubernetes.io/basic-auth" if !has("username") && !has("password") => require(&["username", "password"]),
        "kubernetes.io/service-account-token"
            if text(&object["metadata"]["annotations"], "kubernetes.io/service-account.name").is_empty() =>
        {
            errors.push(FieldError::required(
                "metadata.annotations[kubernetes.io/service-account.name]",
                "",
            ));
        }
        _ => {}
    }
}

/// What of a ConfigMap or Secret may not change.
pub(super) fn data_update(object: &Value, old: &Value, errors: &mut Vec<FieldError>) {
    const WORDS: &str = "field is immutable when `immutable` is set";
    if old["immutable"] != true {
        return;
    }
    if object["immutable"] != true {
        errors.push(FieldError::forbidden("immutable", WORDS));
    }
    for field in ["data", "binaryData"] {
        if object.get(field) != old.get(field) {
            errors.push(FieldError::forbidden(field, WORDS));
        }
    }
}

/// A Lease.
pub(super) fn lease(object: &Value, errors: &mut Vec<FieldError>) {
    let spec = &object["spec"];
    if let Some(seconds) = number(spec, "leaseDurationSeconds").filter(|seconds| *seconds <= 0) {
        errors.push(FieldError::invalid(
            "spec.leaseDurationSeconds",
            seconds,
            "must be greater than 0",
        ));
    }
    super::pods::not_negative(number(spec, "leaseTransitions"), "spec.leaseTransitions", errors);
    if !text(spec, "preferredHolder").is_empty() && text(spec, "strategy").is_empty() {
        errors.push(FieldError::forbidden(
            "spec.preferredHolder",
            "may only be specified if `strategy` is defined",
        ));
    }
}

/// An Event of the core group; events.k8s.io is stricter, `strict` says so.
pub(super) fn event(object: &Value, strict: bool, errors: &mut Vec<FieldError>) {
    let (involved, component) = if strict {
        ("regarding", "reportingController")
    } else {
        ("involvedObject", "reportingComponent")
    };
    let namespace = text(&object["metadata"], "namespace");
    let of = text(&object[involved], "namespace");
    let mismatch = |errors: &mut Vec<FieldError>| {
        errors.push(FieldError::invalid(
            "involvedObject.namespace",
            of,
            "does not match event.namespace",
        ));
    };
    if object.get("eventTime").is_none_or(Value::is_null) {
        if (of.is_empty() && !matches!(namespace, "" | "default")) || (!of.is_empty() && of != namespace) {
            mismatch(errors);
        }
    } else {
        if of.is_empty() && !matches!(namespace, "default" | "kube-system") {
            mismatch(errors);
        }
        let reporter = text(object, component);
        if reporter.is_empty() {
            errors.push(FieldError::required(component, ""));
        }
        for wrong in names::label_key(reporter) {
            errors.push(FieldError::invalid(component, reporter, wrong));
        }
        for (name, limit) in [("reportingInstance", 128), ("action", 128), ("reason", 128)] {
            let value = text(object, name);
            if value.is_empty() {
                errors.push(FieldError::required(name, ""));
            }
            if value.len() > limit {
                errors.push(FieldError::invalid(
                    name,
                    "",
                    format!("can have at most {limit} characters"),
                ));
            }
        }
        if text(object, if strict { "note" } else { "message" }).len() > 1024 {
            errors.push(FieldError::invalid("message", "", "can have at most 1024 characters"));
        }
    }
    for wrong in names::subdomain(namespace) {
        errors.push(FieldError::invalid("namespace", namespace, wrong));
    }
    if strict {
        if object.get("eventTime").is_none_or(Value::is_null) {
            errors.push(FieldError::required("eventTime", ""));
        }
        let kind = text(object, "type");
        if !matches!(kind, "Normal" | "Warning") {
            errors.push(FieldError::invalid("type", "", format!("has invalid value: {kind}")));
        }
    }
}

/// A PodDisruptionBudget.
pub(super) fn disruption_budget(object: &Value, errors: &mut Vec<FieldError>) {
    let spec = &object["spec"];
    if spec.get("minAvailable").is_some() && spec.get("maxUnavailable").is_some() {
        // The internal type of the server has no JSON names.
        let part = |name: &str| spec.get(name).unwrap_or(&Value::Null);
        let shown = format!(
            "{{\"MinAvailable\":{},\"Selector\":{},\"MaxUnavailable\":{},\"UnhealthyPodEvictionPolicy\":{}}}",
            part("minAvailable"),
            part("selector"),
            part("maxUnavailable"),
            part("unhealthyPodEvictionPolicy"),
        );
        errors.push(
            FieldError::invalid(
                "spec",
                Value::Null,
                "minAvailable and maxUnavailable cannot be both set",
            )
            .showing(shown),
        );
    }
    for name in ["minAvailable", "maxUnavailable"] {
        let field = format!("spec.{name}");
        count_or_percent(spec.get(name), &field, errors);
        at_most_all(spec.get(name), &field, errors);
    }
    names::label_selector(spec.get("selector"), "spec.selector", errors);
}

/// A HorizontalPodAutoscaler.
pub(super) fn autoscaler(object: &Value, errors: &mut Vec<FieldError>) {
    let spec = &object["spec"];
    let (low, high) = (number(spec, "minReplicas"), number(spec, "maxReplicas").unwrap_or(0));
    if let Some(low) = low.filter(|low| *low < 1) {
        errors.push(FieldError::invalid(
            "spec.minReplicas",
            low,
            "must be greater than or equal to 1",
        ));
    }
    if high == 0 {
        errors.push(FieldError::required(
            "spec.maxReplicas",
            "must be set and greater than 0",
        ));
    } else if high < 0 {
        errors.push(FieldError::invalid(
            "spec.maxReplicas",
            high,
            "must be greater than or equal to 1",
        ));
    }
    if low.is_some_and(|low| high < low) {
        errors.push(FieldError::invalid(
            "spec.maxReplicas",
            high,
            "must be greater than or equal to `minReplicas`",
        ));
    }
    let target = &spec["scaleTargetRef"];
    for name in ["kind", "name"] {
        if text(target, name).is_empty() {
            errors.push(FieldError::required(format!("spec.scaleTargetRef.{name}"), ""));
        }
    }
    let version = text(target, "apiVersion");
    if !version.contains('/') {
        errors.push(FieldError::invalid(
            "spec.scaleTargetRef.apiVersion",
            version,
            "apiVersion must specify API group",
        ));
    }
}

/// A role's rules.
pub(super) fn role(object: &Value, errors: &mut Vec<FieldError>) {
    for (index, rule) in list(object, "rules").iter().enumerate() {
        let place = format!("rules[{index}]");
        if list(rule, "verbs").is_empty() {
            errors.push(FieldError::required(
                format!("{place}.verbs"),
                "verbs must contain at least one value",
            ));
        }
        if list(rule, "nonResourceURLs").is_empty() {
            if list(rule, "apiGroups").is_empty() {
                errors.push(FieldError::required(
                    format!("{place}.apiGroups"),
                    "resource rules must supply at least one api group",
                ));
            }
            if list(rule, "resources").is_empty() {
                errors.push(FieldError::required(
                    format!("{place}.resources"),
                    "resource rules must supply at least one resource",
                ));
            }
        }
    }
}

/// Only a load balancer has ingress points.
pub(super) fn status(object: &Value, errors: &mut Vec<FieldError>) {
    let ingress = object.pointer("/status/loadBalancer/ingress").and_then(Value::as_array);
    if ingress.is_some_and(|list| !list.is_empty()) && object["spec"]["type"] != "LoadBalancer" {
        errors.push(FieldError::forbidden(
            "status.loadBalancer.ingress",
            "may only be used when `spec.type` is 'LoadBalancer'",
        ));
    }
}

/// What a binding refers to.
pub(super) fn role_reference(object: &Value, kinds: &[&str], errors: &mut Vec<FieldError>) {
    let kind = text(&object["roleRef"], "kind");
    if !kinds.contains(&kind) {
        errors.push(FieldError::not_supported("roleRef.kind", kind, kinds));
    }
}

/// A Service gets its address before it is looked at. There is none that is no address, or for one without a name.
pub(super) fn without_address(object: &Value) -> Option<FieldError> {
    let address = text(&object["spec"], "clusterIP");
    if matches!(address, "" | "None") || list(&object["spec"], "clusterIPs").is_empty() {
        return None;
    }
    if address.parse::<IpAddr>().is_err() {
        let why = "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)";
        return Some(FieldError::invalid("spec.clusterIPs[0]", address, why));
    }
    if !text(&object["metadata"], "name").is_empty() {
        return None;
    }
    let why = format!(
        "failed to allocate IP: IPAddress.networking.k8s.io {address:?} is invalid: spec.parentRef.name: Required value"
    );
    Some(FieldError::invalid("spec.clusterIPs", serde_json::json!([""]), why))
}
