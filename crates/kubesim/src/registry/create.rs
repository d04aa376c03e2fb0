//! Creation.

use serde_json::{Value, json};

use super::{
    Write, Written, crds,
    meta::{self, metadata},
    namespaces, track,
};
use crate::{
    Status,
    cluster::{State, text},
    storage::Stored,
};

/// How often a generated name that is taken is drawn again.
const NAMES_TRIED: usize = 8;

/// Creates an object.
pub(crate) fn create(state: &mut State, write: &Write<'_>, mut object: Value) -> Result<Written, Status> {
    let kind = &write.kind;
    let mut warnings = Vec::new();
    super::check_type(state, write, &object)?;
    let unknown = kind.decode(&mut object, write.version)?;
    kind.treat_unknown(write.options, write.version, &unknown, &mut warnings)?;
    state.warned.clone_from(&warnings);
    meta::drop_nulls(&mut object);
    let own = metadata(&mut object);
    for field in [
        "uid",
        "creationTimestamp",
        "deletionTimestamp",
        "deletionGracePeriodSeconds",
        "selfLink",
    ] {
        own.remove(field);
    }
    meta::match_namespace(&mut object, kind, write.namespace)?;
    namespaces::admit(state, kind, write.namespace, text(&object, "/metadata/name"))?;

    let generated = text(&object, "/metadata/name").is_empty() && !text(&object, "/metadata/generateName").is_empty();
    let mut name = text(&object, "/metadata/name").to_owned();
    if generated {
        name = generate(state, write, text(&object, "/metadata/generateName"));
        object["metadata"]["name"] = json!(name);
    }
    if !write.name.is_empty() && write.name != name {
        return Err(Status::bad_request(format!(
            "the name of the object ({name}) does not match the name on the URL ({})",
            write.name
        )));
    }
    object["kind"] = json!(kind.kind);
    object["apiVersion"] = json!(kind.api_version(&kind.storage));
    object["metadata"]["creationTimestamp"] = meta::time(write.now);
    // A dry run draws too: two objects never have the same, not even one that is not kept.
    object["metadata"]["uid"] = json!(state.store.random.uuid());
    meta::first_generation(&mut object, kind);
    if write.subresource == "status" {
        // What the status was to be is noted although it is not kept.
        track(state, write, None, &mut object);
        kind.prepare_create(&mut object);
        kind.default(&mut object);
    } else {
        kind.prepare_create(&mut object);
        kind.default(&mut object);
        track(state, write, None, &mut object);
    }
    let mut addresses = super::addresses(state, write);
    kind.prepare(&mut object, None, write.subresource, &mut addresses);
    if !write.options.dry_run {
        state.addresses = addresses;
    }
    if state.bare && kind.is("", "nodes") {
        taint(&mut object);
    }
    kind.invalid(&name, kind.validate_create(&object))?;
    crds::check(write, &object)?;
    if object["metadata"]
        .get("resourceVersion")
        .and_then(Value::as_str)
        .is_some_and(|v| !v.is_empty() && v != "0")
    {
        return Err(Status::new(
            500,
            "",
            "resourceVersion should not be set on objects to be created",
        ));
    }
    if let Some(old) = state.store.table(kind.resource).get(write.namespace, &name) {
        let mut taken = Status::already_exists(kind.resource, &name);
        if meta::is_terminating(&old.value) {
            taken.message.insert_str(0, "object is being deleted: ");
        }
        if generated {
            taken.message += ", the server was not able to generate a unique name for the object";
        }
        return Err(taken);
    }
    warnings.extend(kind.warnings(&object));
    if write.options.dry_run {
        return Ok(Written {
            object: Stored::unsaved(object),
            created: true,
            warnings,
        });
    }
    let stored = state
        .store
        .put(write.user, kind.resource, write.namespace, &name, Some(object));
    crds::created(state, write, &name);
    Ok(Written {
        object: stored,
        created: true,
        warnings,
    })
}

/// A free name that begins with this.
fn generate(state: &mut State, write: &Write<'_>, prefix: &str) -> String {
    // A name has at most 63 characters, five of which are drawn.
    let prefix: String = prefix.chars().take(58).collect();
    let mut name = String::new();
    for _ in 0..NAMES_TRIED {
        name = format!("{prefix}{}", state.store.random.suffix());
        if state
            .store
            .table(write.kind.resource)
            .get(write.namespace, &name)
            .is_none()
        {
            break;
        }
    }
    name
}

/// A new node takes no pods until a controller has seen it ready.
fn taint(node: &mut Value) {
    const KEY: &str = "node.kubernetes.io/not-ready";
    if !node["spec"]["taints"].is_array() {
        node["spec"]["taints"] = json!([]);
    }
    if let Some(taints) = node["spec"]["taints"].as_array_mut()
        && taints.iter().all(|taint| taint["key"] != KEY)
    {
        taints.push(json!({"key": KEY, "effect": "NoSchedule"}));
    }
}
