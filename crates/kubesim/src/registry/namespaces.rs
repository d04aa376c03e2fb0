//! Namespaces: nothing is created in one that is missing or going, and one that goes takes its content along.
//!
//! What a namespace controller does a moment later happens here at once, so that a cluster without controllers has it.

use std::sync::Arc;

use chrono::{DateTime, Utc};
use serde_json::{Value, json};

use super::{Write, WriteOptions, meta, removal};
use crate::{
    Resource, Status,
    cluster::{State, text},
    kinds::Kind,
    storage::Stored,
};

/// Under this name the content of a deleted namespace is deleted.
const CONTROLLER: &str = "namespace-controller";

/// Namespaces that cannot be deleted.
const IMMORTAL: [&str; 3] = ["default", "kube-system", "kube-public"];

fn resource() -> Resource {
    Resource {
        group: "",
        plural: "namespaces",
    }
}

/// Whether something may be created in a namespace.
pub(super) fn admit(state: &mut State, kind: &Kind, namespace: &str, name: &str) -> Result<(), Status> {
    if !kind.namespaced {
        return Ok(());
    }
    let Some(stored) = state.store.peek(resource()).and_then(|table| table.get("", namespace)) else {
        return Err(Status::not_found(resource(), namespace));
    };
    if !meta::is_terminating(&stored.value) {
        return Ok(());
    }
    let why = format!("unable to create new content in namespace {namespace} because it is being terminated");
    let mut status = Status::forbidden(kind.resource, name, &why);
    status.details["causes"] = json!([{
        "reason": "NamespaceTerminating",
        "message": format!("namespace {namespace} is being terminated"),
        "field": "metadata.namespace",
    }]);
    Err(status)
}

/// Whether a namespace may be deleted at all.
pub(super) fn check_deletion(kind: &Kind, name: &str) -> Result<(), Status> {
    if kind.is("", "namespaces") && IMMORTAL.contains(&name) {
        return Err(Status::forbidden(
            kind.resource,
            name,
            "this namespace may not be deleted",
        ));
    }
    Ok(())
}

/// Marks a namespace as terminating and deletes its content.
pub(super) fn delete(state: &mut State, write: &Write<'_>, old: &Arc<Stored>) -> Arc<Stored> {
    if meta::is_terminating(&old.value) {
        return Arc::clone(old);
    }
    let mut object = (*old.value).clone();
    object["metadata"]["deletionTimestamp"] = meta::time(write.now);
    object["status"]["phase"] = json!("Terminating");
    if write.options.dry_run {
        return Stored::unsaved(object);
    }
    let marked = state.store.put(write.user, resource(), "", write.name, Some(object));
    if state.bare {
        return marked;
    }
    let options = WriteOptions::default();
    for content in state.store.resources() {
        let Some(kind) = state.kinds.get(content).filter(|k| k.namespaced) else {
            continue;
        };
        let names: Vec<String> = state
            .store
            .table(content)
            .range(write.name)
            .map(|(_, stored)| text(&stored.value, "/metadata/name").to_owned())
            .collect();
        for name in names {
            let one = Write {
                user: CONTROLLER,
                version: &kind.storage,
                kind: Arc::clone(&kind),
                namespace: write.name,
                name: &name,
                subresource: "",
                now: write.now,
                options: &options,
            };
            // What has just gone with something else is what was wanted.
            let _ = removal::delete(state, &one, &json!({"propagationPolicy": "Background"}));
        }
    }
    emptied(state, write.name);
    marked
}

/// `namespaces/finalize`: replaces the finalizers of the spec.
pub(crate) fn finalize(state: &mut State, write: &Write<'_>, object: &Value) -> Result<Arc<Stored>, Status> {
    let Some(old) = state.store.table(resource()).get("", write.name).cloned() else {
        return Err(Status::not_found(resource(), write.name));
    };
    let mut new = (*old.value).clone();
    match object["spec"].get("finalizers") {
        Some(Value::Array(finalizers)) if !finalizers.is_empty() => new["spec"]["finalizers"] = json!(finalizers),
        _ => new["spec"] = json!({}),
    }
    if new == *old.value {
        return Ok(old);
    }
    let finished = meta::is_terminating(&new) && new["spec"]["finalizers"].as_array().is_none_or(Vec::is_empty);
    if state.bare && finished {
        state.store.put(write.user, resource(), "", write.name, None);
        return Ok(Stored::unsaved(new));
    }
    let stored = state.store.put(write.user, resource(), "", write.name, Some(new));
    emptied(state, write.name);
    Ok(stored)
}

/// Lets a terminating namespace go once nothing is left in it. To be called after every removal.
pub(super) fn emptied(state: &mut State, namespace: &str) {
    if namespace.is_empty() || state.bare {
        return;
    }
    let Some(stored) = state.store.peek(resource()).and_then(|table| table.get("", namespace)) else {
        return;
    };
    if !meta::is_terminating(&stored.value) || !meta::finalizers(&stored.value).is_empty() {
        return;
    }
    let full = state
        .store
        .resources()
        .into_iter()
        .filter(|r| state.kinds.get(*r).is_some_and(|k| k.namespaced))
        .any(|r| {
            state
                .store
                .peek(r)
                .is_some_and(|table| table.range(namespace).next().is_some())
        });
    if !full {
        state.store.put(CONTROLLER, resource(), "", namespace, None);
    }
}

/// The namespaces that every cluster has.
pub(crate) fn initial(now: DateTime<Utc>) -> Vec<Value> {
    ["default", "kube-node-lease", "kube-public", "kube-system"]
        .iter()
        .map(|name| {
            json!({
                "apiVersion": "v1",
                "kind": "Namespace",
                "metadata": {
                    "name": name,
                    "labels": {"kubernetes.io/metadata.name": name},
                    "creationTimestamp": meta::time(now),
                },
                "spec": {"finalizers": ["kubernetes"]},
                "status": {"phase": "Active"},
            })
        })
        .collect()
}
