//! Metadata that the server owns: who may set what, and when a generation changes.

use chrono::{DateTime, SecondsFormat, Utc};
use serde_json::{Map, Value, json};

use crate::{
    Status,
    cluster::text,
    kinds::{Generation, Kind},
};

/// A time as metadata shows it.
pub(crate) fn time(now: DateTime<Utc>) -> Value {
    json!(now.to_rfc3339_opts(SecondsFormat::Secs, true))
}

/// The metadata of an object, made if it is missing.
pub(super) fn metadata(object: &mut Value) -> &mut Map<String, Value> {
    if !object.get("metadata").is_some_and(Value::is_object) {
        object["metadata"] = json!({});
    }
    object["metadata"].as_object_mut().expect("it was just made an object")
}

/// Sets or removes a field.
pub(super) fn set(map: &mut Map<String, Value>, field: &str, value: Option<Value>) {
    match value {
        Some(value) => map.insert(field.to_owned(), value),
        None => map.remove(field),
    };
}

/// An object is created or written through a namespace's path: its own namespace must be that one, or none.
pub(super) fn match_namespace(object: &mut Value, kind: &Kind, namespace: &str) -> Result<(), Status> {
    let own = text(object, "/metadata/namespace");
    if !kind.namespaced {
        metadata(object).remove("namespace");
        return Ok(());
    }
    if own == namespace {
        return Ok(());
    }
    if own.is_empty() {
        metadata(object).insert("namespace".into(), json!(namespace));
        return Ok(());
    }
    Err(Status::bad_request(
        "the namespace of the provided object does not match the namespace sent on the request",
    ))
}

/// Whether a deletion has begun.
pub(super) fn is_terminating(object: &Value) -> bool {
    object["metadata"]
        .get("deletionTimestamp")
        .is_some_and(|t| !t.is_null())
}

/// The finalizers of an object.
pub(super) fn finalizers(object: &Value) -> Vec<&str> {
    object["metadata"]["finalizers"]
        .as_array()
        .map(|list| list.iter().filter_map(Value::as_str).collect())
        .unwrap_or_default()
}

/// The generation of a new object.
pub(super) fn first_generation(object: &mut Value, kind: &Kind) {
    if kind.generation != Generation::None {
        set(metadata(object), "generation", Some(json!(1)));
    }
}

/// The generation after a change: one more when what it counts has changed.
pub(super) fn next_generation(new: &mut Value, old: &Value, kind: &Kind) {
    let before = old["metadata"].get("generation").and_then(Value::as_i64);
    let changed = match kind.generation {
        Generation::None => false,
        Generation::Spec => new.get("spec") != old.get("spec"),
        Generation::SpecOrAnnotations => {
            new.get("spec") != old.get("spec")
                || new["metadata"].get("annotations") != old["metadata"].get("annotations")
        }
        Generation::Content => content_differs(new, old, kind.status),
        Generation::ContentOrLabels => {
            content_differs(new, old, false) || new["metadata"].get("labels") != old["metadata"].get("labels")
        }
    };
    let after = match (before, changed) {
        (Some(before), true) => Some(before + 1),
        (None, true) => Some(1),
        (before, false) => before,
    };
    set(metadata(new), "generation", after.map(|g| json!(g)));
}

fn content_differs(new: &Value, old: &Value, without_status: bool) -> bool {
    let (Some(new), Some(old)) = (new.as_object(), old.as_object()) else {
        return new != old;
    };
    let counts = |field: &str| field != "metadata" && field != "apiVersion" && !(without_status && field == "status");
    let of = |map: &'_ Map<String, Value>| map.iter().filter(|(f, _)| counts(f)).count();
    of(new) != of(old)
        || new
            .iter()
            .filter(|(field, _)| counts(field))
            .any(|(field, value)| old.get(field) != Some(value))
}

/// One more, because a deletion began.
pub(super) fn bump_generation(object: &mut Value) {
    if let Some(generation) = object["metadata"]
        .get("generation")
        .and_then(Value::as_i64)
        .filter(|g| *g > 0)
    {
        object["metadata"]["generation"] = json!(generation + 1);
    }
}

/// `object.metadata` without nulls that clients send for what is empty.
pub(super) fn drop_nulls(object: &mut Value) {
    if let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) {
        metadata.retain(|_, value| !value.is_null());
    }
}
