//! What makes ReplicaSets, Deployments, StatefulSets, DaemonSets and Jobs invalid, in the API server's words.

use serde_json::Value;

use super::pods::{list, not_negative, number, template, text};
use crate::schema::errors::FieldError;
use crate::schema::names;

/// A ReplicaSet's spec.
pub(super) fn replica_set(object: &Value, errors: &mut Vec<FieldError>) {
    let spec = &object["spec"];
    not_negative(number(spec, "replicas"), "spec.replicas", errors);
    not_negative(number(spec, "minReadySeconds"), "spec.minReadySeconds", errors);
    selector_and_template(spec, "deployment", "ReplicaSet", errors);
}

/// A Deployment's spec.
pub(super) fn deployment(object: &Value, errors: &mut Vec<FieldError>) {
    let spec = &object["spec"];
    not_negative(number(spec, "replicas"), "spec.replicas", errors);
    selector_and_template(spec, "deployment", "ReplicaSet", errors);
    let strategy = &spec["strategy"];
    match text(strategy, "type") {
        "Recreate" => {
            if strategy.get("rollingUpdate").is_some() {
                errors.push(FieldError::forbidden(
                    "spec.strategy.rollingUpdate",
                    "may not be specified when strategy `type` is 'Recreate'",
                ));
            }
        }
        "RollingUpdate" => rolling_update(&strategy["rollingUpdate"], errors),
        kind => {
            // The internal type of the server has no JSON names.
            let shown = format!("{{\"Type\":{},\"RollingUpdate\":null}}", Value::from(kind));
            errors.push(
                FieldError::not_supported("spec.strategy", Value::Null, ["Recreate", "RollingUpdate"]).showing(shown),
            );
        }
    }
    let ready = number(spec, "minReadySeconds");
    not_negative(ready, "spec.minReadySeconds", errors);
    not_negative(
        number(spec, "revisionHistoryLimit"),
        "spec.revisionHistoryLimit",
        errors,
    );
    if let Some(deadline) = number(spec, "progressDeadlineSeconds") {
        not_negative(Some(deadline), "spec.progressDeadlineSeconds", errors);
        if deadline <= ready.unwrap_or(0) {
            errors.push(FieldError::invalid(
                "spec.progressDeadlineSeconds",
                deadline,
                "must be greater than minReadySeconds",
            ));
        }
    }
}

/// StatefulSets and DaemonSets: what they share with the others.
pub(super) fn other_set(object: &Value, kind: &str, errors: &mut Vec<FieldError>) {
    let spec = &object["spec"];
    not_negative(number(spec, "replicas"), "spec.replicas", errors);
    not_negative(number(spec, "minReadySeconds"), "spec.minReadySeconds", errors);
    selector_and_template(spec, &kind.to_lowercase(), kind, errors);
}

fn selector_and_template(spec: &Value, empty_for: &str, kind: &str, errors: &mut Vec<FieldError>) {
    let selector = spec.get("selector");
    match selector {
        None => {
            errors.push(FieldError::required("spec.selector", ""));
            mismatch(spec, errors);
        }
        Some(selector) => {
            let before = errors.len();
            names::label_selector(Some(selector), "spec.selector", errors);
            if is_empty(selector) {
                errors.push(FieldError::invalid(
                    "spec.selector",
                    selector.clone(),
                    format!("empty selector is invalid for {empty_for}"),
                ));
            } else if errors.len() > before {
                // Whether it selects what the template makes is not asked any more, nor what else the template is like.
                errors.push(FieldError::invalid(
                    "spec.selector",
                    selector.clone(),
                    "invalid label selector",
                ));
                return;
            } else if !matches(selector, &spec["template"]["metadata"]["labels"]) {
                mismatch(spec, errors);
            }
        }
    }
    template(&spec["template"], "spec.template", errors);
    let inner = &spec["template"]["spec"];
    let policy = text(inner, "restartPolicy");
    if policy != "Always" {
        errors.push(FieldError::not_supported(
            "spec.template.spec.restartPolicy",
            policy,
            ["Always"],
        ));
    }
    if inner.get("activeDeadlineSeconds").is_some() {
        errors.push(FieldError::forbidden(
            "spec.template.spec.activeDeadlineSeconds",
            format!("activeDeadlineSeconds in {kind} is not Supported"),
        ));
    }
}

/// The selector does not select what the template makes; where there is no selector, it selects nothing.
fn mismatch(spec: &Value, errors: &mut Vec<FieldError>) {
    errors.push(FieldError::invalid(
        "spec.template.metadata.labels",
        spec["template"]["metadata"]["labels"].clone(),
        "`selector` does not match template `labels`",
    ));
}

fn is_empty(selector: &Value) -> bool {
    selector
        .get("matchLabels")
        .and_then(Value::as_object)
        .is_none_or(serde_json::Map::is_empty)
        && list(selector, "matchExpressions").is_empty()
}

/// Whether a label selector selects these labels.
pub(super) fn matches(selector: &Value, labels: &Value) -> bool {
    let label = |key: &str| labels.get(key).and_then(Value::as_str);
    let wanted = selector.get("matchLabels").and_then(Value::as_object);
    wanted
        .into_iter()
        .flatten()
        .all(|(key, value)| label(key) == value.as_str())
        && list(selector, "matchExpressions").iter().all(|expression| {
            let found = label(text(expression, "key"));
            let among = |found: &str| list(expression, "values").iter().any(|value| value == found);
            match text(expression, "operator") {
                "In" => found.is_some_and(among),
                "NotIn" => !found.is_some_and(among),
                "Exists" => found.is_some(),
                "DoesNotExist" => found.is_none(),
                _ => false,
            }
        })
}

fn rolling_update(rolling: &Value, errors: &mut Vec<FieldError>) {
    const UNAVAILABLE: &str = "spec.strategy.rollingUpdate.maxUnavailable";
    let (unavailable, surge) = (rolling.get("maxUnavailable"), rolling.get("maxSurge"));
    count_or_percent(unavailable, UNAVAILABLE, errors);
    count_or_percent(surge, "spec.strategy.rollingUpdate.maxSurge", errors);
    let nought = |value: Option<&Value>| match value {
        Some(Value::String(text)) => text.trim_end_matches('%').parse::<i64>().unwrap_or(0) == 0,
        Some(value) => value.as_i64().unwrap_or(0) == 0,
        None => true,
    };
    if nought(unavailable) && nought(surge) {
        errors.push(FieldError::invalid(
            UNAVAILABLE,
            unavailable.cloned().unwrap_or_else(|| Value::from(0)),
            "may not be 0 when `maxSurge` is 0",
        ));
    }
    at_most_all(unavailable, UNAVAILABLE, errors);
}

/// A number that is not negative, or a percentage.
pub(super) fn count_or_percent(value: Option<&Value>, field: &str, errors: &mut Vec<FieldError>) {
    match value {
        Some(Value::String(text)) => {
            let digits = text.strip_suffix('%').unwrap_or("");
            if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
                errors.push(FieldError::invalid(
                    field,
                    text.as_str(),
                    "a valid percent string must be a numeric string followed by an ending '%' (e.g. '1%',  or '93%', regex \
                     used for validation is '[0-9]+%')",
                ));
            }
        }
        Some(value) => not_negative(value.as_i64(), field, errors),
        None => {}
    }
}

/// A percentage of not more than a hundred.
pub(super) fn at_most_all(value: Option<&Value>, field: &str, errors: &mut Vec<FieldError>) {
    let percent = value
        .and_then(Value::as_str)
        .and_then(|text| text.strip_suffix('%'))
        .and_then(|digits| digits.parse::<i64>().ok());
    if let (Some(value), Some(101..)) = (value, percent) {
        errors.push(FieldError::invalid(
            field,
            value.clone(),
            "must not be greater than 100%",
        ));
    }
}

/// The counts in a status; each of `limited` may not exceed `replicas`.
pub(super) fn status(object: &Value, counts: &[&str], limited: &[&str], errors: &mut Vec<FieldError>) {
    let status = &object["status"];
    for name in counts {
        not_negative(number(status, name), format!("status.{name}"), errors);
    }
    let count = |name: &str| number(status, name).unwrap_or(0);
    for name in limited {
        if count(name) > count("replicas") {
            errors.push(FieldError::invalid(
                format!("status.{name}"),
                count(name),
                "cannot be greater than status.replicas",
            ));
        }
    }
    if count("availableReplicas") > count("readyReplicas") {
        errors.push(FieldError::invalid(
            "status.availableReplicas",
            count("availableReplicas"),
            "cannot be greater than readyReplicas",
        ));
    }
}

/// A field that may not change.
pub(super) fn immutable(object: &Value, old: &Value, pointer: &str, errors: &mut Vec<FieldError>) {
    let (new, before) = (object.pointer(pointer), old.pointer(pointer));
    if new != before {
        errors.push(FieldError::invalid(
            pointer.trim_start_matches('/').replace('/', "."),
            new.cloned().unwrap_or(Value::Null),
            "field is immutable",
        ));
    }
}

/// A Job.
pub(super) fn job(object: &Value, errors: &mut Vec<FieldError>) {
    let spec = &object["spec"];
    let labels = &spec["template"]["metadata"]["labels"];
    match spec.get("selector") {
        None => {
            errors.push(FieldError::required("spec.selector", ""));
            mismatch(spec, errors);
        }
        Some(selector) => {
            names::label_selector(Some(selector), "spec.selector", errors);
            if !matches(selector, labels) {
                mismatch(spec, errors);
            }
        }
    }
    for name in [
        "parallelism",
        "completions",
        "activeDeadlineSeconds",
        "backoffLimit",
        "ttlSecondsAfterFinished",
        "backoffLimitPerIndex",
        "maxFailedIndexes",
    ] {
        not_negative(number(spec, name), format!("spec.{name}"), errors);
    }
    let mode = text(spec, "completionMode");
    if !matches!(mode, "NonIndexed" | "Indexed" | "") {
        errors.push(FieldError::not_supported(
            "spec.completionMode",
            mode,
            ["Indexed", "NonIndexed"],
        ));
    }
    if mode == "Indexed" && spec.get("completions").is_none() {
        errors.push(FieldError::required(
            "spec.completions",
            "when completion mode is Indexed",
        ));
    }
    if mode == "NonIndexed" {
        for name in ["backoffLimitPerIndex", "maxFailedIndexes"] {
            if let Some(value) = spec.get(name) {
                errors.push(FieldError::invalid(
                    format!("spec.{name}"),
                    value.clone(),
                    "requires indexed completion mode",
                ));
            }
        }
    }
    template(&spec["template"], "spec.template", errors);
    const POLICY: &str = "spec.template.spec.restartPolicy";
    match text(&spec["template"]["spec"], "restartPolicy") {
        "OnFailure" | "Never" => {}
        "Always" | "" => errors.push(FieldError::required(POLICY, "valid values: \"OnFailure\", \"Never\"")),
        other => errors.push(FieldError::not_supported(POLICY, other, ["OnFailure", "Never"])),
    }
}

/// What of a Job may not change.
pub(super) fn job_update(object: &Value, old: &Value, errors: &mut Vec<FieldError>) {
    if text(&object["spec"], "completionMode") != "Indexed" {
        immutable(object, old, "/spec/completions", errors);
    }
    immutable(object, old, "/spec/selector", errors);
    // A Job that has not begun may be scheduled otherwise.
    let waiting = old["spec"]["suspend"] == true && old["status"].get("startTime").is_none();
    if !waiting {
        immutable(object, old, "/spec/template", errors);
    }
    for field in [
        "completionMode",
        "podFailurePolicy",
        "backoffLimitPerIndex",
        "managedBy",
        "successPolicy",
    ] {
        immutable(object, old, &format!("/spec/{field}"), errors);
    }
}
