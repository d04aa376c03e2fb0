//! CustomResourceDefinitions: creating one serves it, deleting one takes its objects along.
//!
//! What the controllers of a real API server do a moment later (names accepted, established, clean-up) happens at once.

use std::sync::Arc;

use serde_json::{Value, json};

use super::{Write, WriteOptions, meta, removal};
use crate::{
    Crd, Resource, Status,
    cluster::{State, text},
    kinds::Kind,
    storage::Stored,
};

/// Under this name the server changes definitions itself.
const SERVER: &str = "kube-apiserver";

fn resource() -> Resource {
    Resource {
        group: "apiextensions.k8s.io",
        plural: "customresourcedefinitions",
    }
}

/// Serves a kind from now on.
pub(crate) fn serve(state: &mut State, crd: &Arc<Crd>) {
    state.kinds.add(Kind::custom(crd));
}

/// Refuses a definition that cannot be served.
pub(super) fn check(write: &Write<'_>, object: &Value) -> Result<(), Status> {
    if write.kind.resource == resource() {
        Crd::parse(object)?;
    }
    Ok(())
}

/// A definition was created: it is served, and its conditions say so.
pub(super) fn created(state: &mut State, write: &Write<'_>, name: &str) {
    if write.kind.resource != resource() {
        return;
    }
    let Some(stored) = state.store.table(resource()).get("", name).cloned() else {
        return;
    };
    let Ok(crd) = Crd::parse(&stored.value) else {
        return;
    };
    serve(state, &crd);
    let mut object = (*stored.value).clone();
    let condition = |kind: &str, reason: &str, message: &str| {
        json!({
            "type": kind,
            "status": "True",
            "reason": reason,
            "message": message,
            "lastTransitionTime": meta::time(write.now),
        })
    };
    object["status"]["conditions"] = json!([
        condition("NamesAccepted", "NoConflicts", "no conflicts found"),
        condition(
            "Established",
            "InitialNamesAccepted",
            "the initial names have been accepted"
        ),
    ]);
    object["status"]["acceptedNames"] = object["spec"]["names"].clone();
    let stored: Vec<&str> = object["spec"]["versions"]
        .as_array()
        .into_iter()
        .flatten()
        .filter(|v| v["storage"] == true)
        .map(|v| text(v, "/name"))
        .collect();
    object["status"]["storedVersions"] = json!(stored);
    put_status(state, write, name, object);
}

/// Writes a definition's status as the server's own controllers do.
fn put_status(state: &mut State, write: &Write<'_>, name: &str, mut object: Value) {
    let Some(before) = state.store.table(resource()).get("", name).cloned() else {
        return;
    };
    let options = WriteOptions {
        manager: SERVER.to_owned(),
        ..WriteOptions::default()
    };
    let own = Write {
        user: SERVER,
        subresource: "status",
        options: &options,
        ..write.clone()
    };
    super::track(state, &own, Some(&before.value), &mut object);
    state.store.put(SERVER, resource(), "", name, Some(object));
}

/// A definition was changed: what is served changes with it.
pub(super) fn updated(state: &mut State, write: &Write<'_>) {
    if write.kind.resource != resource() || write.subresource == "status" {
        return;
    }
    let Some(stored) = state.store.table(resource()).get("", write.name).cloned() else {
        return;
    };
    if meta::is_terminating(&stored.value) {
        return;
    }
    if let Ok(crd) = Crd::parse(&stored.value) {
        serve(state, &crd);
    }
    if stored.value["spec"]["names"] != stored.value["status"]["acceptedNames"] {
        let mut object = (*stored.value).clone();
        object["status"]["acceptedNames"] = object["spec"]["names"].clone();
        put_status(state, write, write.name, object);
    }
}

/// Deletes a definition: its objects first, then itself, as soon as they are gone.
pub(super) fn delete(state: &mut State, write: &Write<'_>, mut crd: Value) -> Arc<Stored> {
    let mut finalizers: Vec<Value> = meta::finalizers(&crd).into_iter().map(Value::from).collect();
    if !finalizers.iter().any(|f| f == CLEANUP) {
        finalizers.push(json!(CLEANUP));
    }
    crd["metadata"]["finalizers"] = json!(finalizers);
    removal::mark(&mut crd, write.now);
    let custom = Resource::new(text(&crd, "/spec/group"), text(&crd, "/spec/names/plural"));
    let marked = state.store.put(write.user, resource(), "", write.name, Some(crd));
    if let Some(kind) = state.kinds.get(custom) {
        let keys: Vec<(String, String)> = state
            .store
            .table(custom)
            .range("")
            .map(|(_, s)| {
                let of = |pointer| text(&s.value, pointer).to_owned();
                (of("/metadata/namespace"), of("/metadata/name"))
            })
            .collect();
        let options = WriteOptions::default();
        let all = Write {
            user: SERVER,
            version: &kind.storage,
            kind: Arc::clone(&kind),
            namespace: "",
            name: "",
            subresource: "",
            now: write.now,
            options: &options,
        };
        // None of these can be refused: they have no preconditions.
        let _ = removal::delete_collection(state, &all, &keys, &Value::Null);
    }
    finish(state, write.name);
    marked
}

/// Lets a terminating definition go when nothing but its objects held it and none is left.
fn finish(state: &mut State, name: &str) {
    let Some(crd) = state
        .store
        .peek(resource())
        .and_then(|table| table.get("", name))
        .cloned()
    else {
        return;
    };
    if meta::is_terminating(&crd.value) && is_empty(state, &crd.value) && meta::finalizers(&crd.value) == [CLEANUP] {
        let custom = Resource::new(text(&crd.value, "/spec/group"), text(&crd.value, "/spec/names/plural"));
        state.store.put(SERVER, resource(), "", name, None);
        state.kinds.remove(custom);
    }
}

/// Whether the objects of a definition are all gone.
fn is_empty(state: &State, crd: &Value) -> bool {
    let custom = Resource::new(text(crd, "/spec/group"), text(crd, "/spec/names/plural"));
    state.store.peek(custom).is_none_or(|table| table.len() == 0)
}

/// Something was removed: a definition is no longer served; the last object of a terminating definition lets it go.
pub(super) fn deleted(state: &mut State, write: &Write<'_>, gone: &Value) {
    if write.kind.resource == resource() {
        let custom = Resource::new(text(gone, "/spec/group"), text(gone, "/spec/names/plural"));
        state.kinds.remove(custom);
        return;
    }
    if !write.kind.is_custom() {
        return;
    }
    finish(state, &write.kind.resource.to_string());
}

/// Keeps a definition until its objects are gone.
const CLEANUP: &str = "customresourcecleanup.apiextensions.k8s.io";
