//! Reading Kubernetes objects as JSON. Missing fields read as empty, 0 or false; nothing here writes to a cluster.

use chrono::{DateTime, SecondsFormat, TimeDelta, Utc};
use serde_json::{Map, Value, json};

/// A text; empty when it is none.
pub(super) fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

/// A number; 0 when it is none.
pub(super) fn number(value: &Value) -> i64 {
    value.as_i64().unwrap_or_default()
}

/// A list; empty when it is none.
pub(super) fn list(value: &Value) -> &[Value] {
    value.as_array().map(Vec::as_slice).unwrap_or_default()
}

/// A time.
pub(super) fn moment(value: &Value) -> Option<DateTime<Utc>> {
    DateTime::parse_from_rfc3339(value.as_str()?).ok().map(|at| at.to_utc())
}

/// A time as objects carry it: whole seconds.
pub(super) fn stamp(at: DateTime<Utc>) -> Value {
    Value::String(at.to_rfc3339_opts(SecondsFormat::Secs, true))
}

pub(super) fn uid(object: &Value) -> &str {
    text(&object["metadata"]["uid"])
}

pub(super) fn name(object: &Value) -> &str {
    text(&object["metadata"]["name"])
}

pub(super) fn namespace(object: &Value) -> &str {
    text(&object["metadata"]["namespace"])
}

pub(super) fn is_deleted(object: &Value) -> bool {
    !object["metadata"]["deletionTimestamp"].is_null()
}

pub(super) fn has_finalizer(object: &Value, finalizer: &str) -> bool {
    list(&object["metadata"]["finalizers"]).iter().any(|f| f == finalizer)
}

/// The finalizers but one, `null` when none is left: the value for a merge patch.
pub(super) fn finalizers_without(object: &Value, finalizer: &str) -> Value {
    let finalizers = list(&object["metadata"]["finalizers"]).iter();
    let left: Vec<&Value> = finalizers.filter(|f| *f != finalizer).collect();
    if left.is_empty() { Value::Null } else { json!(left) }
}

/// All owner references.
pub(super) fn owners(object: &Value) -> &[Value] {
    list(&object["metadata"]["ownerReferences"])
}

/// The owner reference that names the controller.
pub(super) fn controller(object: &Value) -> Option<&Value> {
    owners(object).iter().find(|owner| owner["controller"] == true)
}

/// The uid of the controller, empty without one.
pub(super) fn controller_uid(object: &Value) -> &str {
    controller(object).map(|owner| text(&owner["uid"])).unwrap_or_default()
}

/// What an object that is made by a controller says of it.
pub(super) fn controller_reference(owner: &Value, api_version: &str, kind: &str) -> Value {
    json!({
        "apiVersion": api_version,
        "kind": kind,
        "name": name(owner),
        "uid": uid(owner),
        "controller": true,
        "blockOwnerDeletion": true,
    })
}

/// A condition of the status.
pub(super) fn condition<'a>(object: &'a Value, kind: &str) -> Option<&'a Value> {
    list(&object["status"]["conditions"]).iter().find(|c| c["type"] == kind)
}

fn is_true(object: &Value, kind: &str) -> bool {
    condition(object, kind).is_some_and(|c| c["status"] == "True")
}

pub(super) fn is_ready(pod: &Value) -> bool {
    is_true(pod, "Ready")
}

/// Whether the pod ran to its end.
pub(super) fn is_finished(pod: &Value) -> bool {
    matches!(text(&pod["status"]["phase"]), "Succeeded" | "Failed")
}

/// Neither finished nor being deleted.
pub(super) fn is_active(pod: &Value) -> bool {
    !is_deleted(pod) && !is_finished(pod)
}

/// From when on a pod counts as available; `None` while it is not ready.
pub(super) fn available_from(pod: &Value, min_ready_seconds: i64) -> Option<DateTime<Utc>> {
    let ready = condition(pod, "Ready").filter(|c| c["status"] == "True")?;
    if min_ready_seconds <= 0 {
        return Some(DateTime::<Utc>::MIN_UTC);
    }
    let since = moment(&ready["lastTransitionTime"])?;
    since.checked_add_signed(TimeDelta::try_seconds(min_ready_seconds)?)
}

/// Whether labels have all these pairs.
pub(super) fn has_all(pairs: &Map<String, Value>, labels: &Value) -> bool {
    pairs.iter().all(|(key, value)| labels.get(key) == Some(value))
}

/// Whether a `LabelSelector` selects these labels. An empty one selects nothing here: no controller may own everything.
pub(super) fn selects(selector: &Value, labels: &Value) -> bool {
    let pairs = selector["matchLabels"].as_object();
    let expressions = list(&selector["matchExpressions"]);
    if pairs.is_none_or(Map::is_empty) && expressions.is_empty() {
        return false;
    }
    pairs.is_none_or(|pairs| has_all(pairs, labels))
        && expressions.iter().all(|expression| {
            let value = labels.get(text(&expression["key"]));
            let among = value.is_some_and(|value| list(&expression["values"]).contains(value));
            match text(&expression["operator"]) {
                "In" => among,
                "NotIn" => !among,
                "Exists" => value.is_some(),
                "DoesNotExist" => value.is_none(),
                _ => false,
            }
        })
}

/// A number or a share of `whole`, rounded up or down.
pub(super) fn int_or_percent(value: &Value, whole: i64, up: bool) -> i64 {
    let percent = text(value).strip_suffix('%').and_then(|p| p.trim().parse::<i64>().ok());
    match percent {
        Some(percent) if up => (percent * whole + 99) / 100,
        Some(percent) => percent * whole / 100,
        None => number(value),
    }
}

/// Puts a condition into a list: in the place of the one of its type, else at the end. The old `lastTransitionTime` stays
/// while the status stays the same.
pub(super) fn set_condition(conditions: &mut Vec<Value>, mut new: Value) {
    match conditions.iter_mut().find(|c| c["type"] == new["type"]) {
        Some(old) => {
            if old["status"] == new["status"] && !old["lastTransitionTime"].is_null() {
                new["lastTransitionTime"] = old["lastTransitionTime"].clone();
            }
            *old = new;
        }
        None => conditions.push(new),
    }
}

/// FNV-1a of some texts: for names and delays that must not depend on anything else.
pub(super) fn hash<'a>(seed: u64, parts: impl IntoIterator<Item = &'a str>) -> u64 {
    let mut hash = 0xcbf2_9ce4_8422_2325 ^ seed.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    for part in parts {
        for byte in part.bytes().chain([0]) {
            hash = (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
        }
    }
    // The last bytes reach only the low bits otherwise.
    hash ^= hash >> 32;
    hash = hash.wrapping_mul(0x94d0_49bb_1331_11eb);
    hash ^ (hash >> 29)
}
