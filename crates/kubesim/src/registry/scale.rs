//! The `scale` subresource: the same few fields for every kind that has replicas.

use serde_json::{Map, Value, json};

use super::{Write, WriteOptions, Written, update};
use crate::{
    Status, builtin,
    cluster::{State, text},
    kinds::{Kind, Scale},
    schema::Rules,
    selector::Labels,
};

fn paths(kind: &Kind) -> Result<&Scale, Status> {
    kind.scale.as_ref().ok_or_else(Status::no_such_path)
}

/// An object's scale.
pub(crate) fn read_scale(kind: &Kind, object: &Value) -> Result<Value, Status> {
    let paths = paths(kind)?;
    let mut metadata = Map::new();
    for field in ["name", "namespace", "uid", "resourceVersion", "creationTimestamp"] {
        if let Some(value) = object["metadata"].get(field) {
            metadata.insert(field.to_owned(), value.clone());
        }
    }
    let number = |pointer: &str| object.pointer(pointer).and_then(Value::as_i64);
    let mut scale = json!({
        "kind": "Scale",
        "apiVersion": "autoscaling/v1",
        "metadata": metadata,
        "spec": {},
        "status": {"replicas": number(&paths.status_replicas).unwrap_or(0)},
    });
    if let Some(replicas) = number(&paths.replicas).filter(|r| *r != 0) {
        scale["spec"]["replicas"] = json!(replicas);
    }
    let selector = paths.selector.as_deref().and_then(|p| object.pointer(p));
    let selector = match selector {
        Some(Value::String(text)) => Some(text.clone()),
        Some(selector @ Value::Object(_)) => Some(Labels::of_selector(selector).to_string()),
        _ => None,
    };
    if let Some(selector) = selector.filter(|s| !s.is_empty()) {
        scale["status"]["selector"] = json!(selector);
    }
    Ok(scale)
}

/// Replaces an object's scale; answers with the object, of which the caller shows the scale.
pub(crate) fn update_scale(state: &mut State, write: &Write<'_>, mut scale: Value) -> Result<Written, Status> {
    let kind = &write.kind;
    let paths = paths(kind)?.clone();
    let Some(old) = state
        .store
        .table(kind.resource)
        .get(write.namespace, write.name)
        .cloned()
    else {
        return Err(Status::not_found(kind.resource, write.name));
    };
    let other = !matches!(text(&scale, "/kind"), "" | "Scale");
    let decoded = builtin::scale().decode(&mut scale);
    if kind.is_custom() && (other || decoded.is_err()) {
        return Err(Status::bad_request(
            "no kind is registered for the type v1.Scale in scheme \"pkg/runtime/scheme.go:111\"",
        ));
    }
    if other {
        let (given, version) = (text(&scale, "/kind"), text(&scale, "/apiVersion"));
        let short = version.rsplit('/').next().unwrap_or_default();
        let why = if given == kind.kind && version == kind.api_version(write.version) {
            format!("converting ({short}.{given}) to (autoscaling.Scale): unknown conversion")
        } else {
            format!("no kind {given:?} is registered for version {version:?} in scheme \"pkg/runtime/scheme.go:111\"")
        };
        return Err(Status::bad_request(format!(
            "{given} in version {short:?} cannot be handled as a Scale: {why}"
        )));
    }
    decoded?;
    super::meta::match_namespace(&mut scale, kind, write.namespace)?;
    update::check_name(&scale, write.name)?;
    let replicas = scale["spec"]["replicas"].as_i64().unwrap_or(0);
    if replicas < 0 && !kind.is_custom() {
        return Err(Status::invalid(
            "autoscaling",
            "Scale",
            write.name,
            &[(
                "FieldValueInvalid".into(),
                format!("Invalid value: {replicas}: must be greater than or equal to 0"),
                "spec.replicas".into(),
            )],
        ));
    }
    let version = text(&scale, "/metadata/resourceVersion");
    if version == "0" && kind.is_custom() {
        return Err(update::version_required(kind, write.name));
    }
    if !version.is_empty() && version != "0" && version != old.version.to_string() {
        return Err(Status::modified(kind.resource, write.name));
    }
    let mut new = (*old.value).clone();
    set_pointer(&mut new, &paths.replicas, json!(replicas));
    move_managers(&mut new, write, &paths.replicas);
    let options = WriteOptions {
        scales: true,
        ..write.options.clone()
    };
    let whole = Write {
        subresource: "",
        options: &options,
        ..write.clone()
    };
    update::finish(state, &whole, &old, new, Vec::new())
}

/// Who managed the replicas by an update manages them through the scale from the first request to it on, even when that
/// changes nothing.
fn move_managers(object: &mut Value, write: &Write<'_>, pointer: &str) {
    let Some(managers) = object["metadata"]["managedFields"].as_array_mut() else {
        return;
    };
    let path: Vec<String> = pointer.split('/').skip(1).map(|part| format!("f:{part}")).collect();
    let mut moved = Vec::new();
    for manager in managers.iter_mut() {
        if manager["operation"] == "Update"
            && manager["subresource"] != "scale"
            && let Some(fields) = manager.get_mut("fieldsV1")
            && take(fields, &path)
        {
            moved.push(manager["manager"].clone());
        }
    }
    let fields = path.iter().rev().fold(json!({}), |inner, part| json!({part: inner}));
    for manager in moved {
        managers.push(json!({
            "manager": manager,
            "operation": "Update",
            "apiVersion": write.kind.api_version(write.version),
            "time": super::meta::time(write.now),
            "fieldsType": "FieldsV1",
            "fieldsV1": fields,
            "subresource": "scale",
        }));
    }
}

/// Takes a field out of a set of fields, with what is empty then; whether it was there.
fn take(fields: &mut Value, path: &[String]) -> bool {
    let Some(map) = fields.as_object_mut() else {
        return false;
    };
    match path {
        [] => false,
        [last] => map.remove(last).is_some(),
        [first, rest @ ..] => {
            let Some(inner) = map.get_mut(first) else { return false };
            let taken = take(inner, rest);
            if inner.as_object().is_some_and(serde_json::Map::is_empty) {
                map.remove(first);
            }
            taken
        }
    }
}

/// Sets what a pointer names, making the objects on the way.
fn set_pointer(object: &mut Value, pointer: &str, value: Value) {
    let mut at = object;
    for part in pointer.split('/').skip(1) {
        if !at.is_object() {
            *at = json!({});
        }
        at = &mut at[part];
    }
    *at = value;
}
