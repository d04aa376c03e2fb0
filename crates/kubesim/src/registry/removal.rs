//! Deletion: at once, after a grace period, or once the finalizers are gone.

use std::sync::Arc;

use chrono::{DateTime, TimeDelta, Utc};
use serde_json::{Value, json};

use super::{
    Deleted, Write, crds,
    meta::{self, metadata},
    namespaces,
};
use crate::{
    Status,
    cluster::{State, text},
    kinds::Kind,
    storage::Stored,
};

const ORPHAN: &str = "orphan";
const FOREGROUND: &str = "foregroundDeletion";

/// Deletes an object, or begins to.
pub(crate) fn delete(state: &mut State, write: &Write<'_>, options: &Value) -> Result<Deleted, Status> {
    let kind = &write.kind;
    check_options(options)?;
    let Some(old) = state
        .store
        .table(kind.resource)
        .get(write.namespace, write.name)
        .cloned()
    else {
        return Err(Status::not_found(kind.resource, write.name));
    };
    check_preconditions(kind, &old, write.name, options)?;
    namespaces::check_deletion(kind, write.name)?;
    if kind.is("", "namespaces") {
        return Ok(Deleted::Object(namespaces::delete(state, write, &old)));
    }
    let dry_run = write.options.dry_run || !options["dryRun"].is_null();
    let mut object = (*old.value).clone();
    let grace = if kind.is("", "pods") {
        pod_grace(&object, options)
    } else {
        None
    };
    let mut graceful = false;
    if let Some(seconds) = grace {
        match begin_grace(&mut object, seconds, options, write.now) {
            Grace::Pending => return Ok(Deleted::Object(old)),
            Grace::Begun => graceful = true,
            Grace::Over => {}
        }
    }
    let wanted = wanted_finalizers(kind, &object, options);
    if wanted.is_empty() {
        metadata(&mut object).remove("finalizers");
    } else {
        object["metadata"]["finalizers"] = json!(wanted);
    }
    if kind.is("apiextensions.k8s.io", "customresourcedefinitions") && !dry_run && !meta::is_terminating(&object) {
        return Ok(Deleted::Object(crds::delete(state, write, object)));
    }
    let waits = !wanted.is_empty();
    if waits && !graceful {
        mark(&mut object, write.now);
    }
    if waits || graceful {
        if object == *old.value {
            return Ok(Deleted::Object(old));
        }
        return Ok(Deleted::Object(if dry_run {
            Stored::unsaved(object)
        } else {
            state
                .store
                .put(write.user, kind.resource, write.namespace, write.name, Some(object))
        }));
    }
    // A pod that goes at once is shown as it was in its last moment.
    let at_once = grace.is_some_and(|seconds| seconds == 0) && !options["gracePeriodSeconds"].is_null();
    let last = match (dry_run, at_once) {
        (true, false) => old,
        (true, true) => Stored::unsaved(object),
        (false, false) => remove(state, write, None),
        (false, true) => {
            let version = remove(state, write, None).version;
            object["metadata"]["resourceVersion"] = json!(version.to_string());
            Stored::unsaved(object)
        }
    };
    if kind.returns_deleted {
        return Ok(Deleted::Object(last));
    }
    let mut details = json!({
        "name": write.name,
        "kind": kind.resource.plural,
        "uid": last.value["metadata"]["uid"],
    });
    if !kind.resource.group.is_empty() {
        details["group"] = json!(kind.resource.group);
    }
    Ok(Deleted::Status(json!({
        "kind": "Status",
        "apiVersion": "v1",
        "metadata": {},
        "status": "Success",
        "details": details,
    })))
}

/// Takes an object out of storage, and does what follows from that. `last` is its last state when a write ended it.
pub(super) fn remove(state: &mut State, write: &Write<'_>, last: Option<Value>) -> Arc<Stored> {
    let gone = state
        .store
        .put(write.user, write.kind.resource, write.namespace, write.name, None);
    crds::deleted(state, write, &gone.value);
    namespaces::emptied(state, write.namespace);
    match last {
        // Its answer has the version that was seen, not that of the deletion.
        Some(last) => Stored::unsaved(last),
        None => gone,
    }
}

/// Deletes what is named, one after another; answers with what was there.
pub(crate) fn delete_collection(
    state: &mut State,
    write: &Write<'_>,
    keys: &[(String, String)],
    options: &Value,
) -> Result<(), Status> {
    for (namespace, name) in keys {
        let one = Write {
            namespace,
            name,
            ..write.clone()
        };
        match delete(state, &one, options) {
            Ok(_) => {}
            Err(status) if status.code == 404 => {}
            Err(status) => return Err(status),
        }
    }
    Ok(())
}

fn check_options(options: &Value) -> Result<(), Status> {
    let invalid = |field: &str, reason: &str, message: String| {
        Err(Status::invalid(
            "meta.k8s.io",
            "DeleteOptions",
            "",
            &[(reason.into(), message, field.into())],
        ))
    };
    let policy = &options["propagationPolicy"];
    if !policy.is_null() && !options["orphanDependents"].is_null() {
        return invalid(
            "propagationPolicy",
            "FieldValueInvalid",
            format!("Invalid value: {policy}: orphanDependents and deletionPropagation cannot be both set"),
        );
    }
    if !policy.is_null() && !["Foreground", "Background", "Orphan"].iter().any(|p| policy == p) {
        return invalid(
            "propagationPolicy",
            "FieldValueNotSupported",
            format!(
                "Unsupported value: {policy}: supported values: \"Foreground\", \"Background\", \"Orphan\", \"nil\""
            ),
        );
    }
    Ok(())
}

fn check_preconditions(kind: &Kind, old: &Stored, name: &str, options: &Value) -> Result<(), Status> {
    let given = |field: &str| options["preconditions"].get(field).and_then(Value::as_str);
    // Refused under the kind's name where others say the resource's: as the real one does.
    let conflict = |why: String| {
        let resource = crate::Resource::new(kind.resource.group, &kind.kind);
        Err(Status::conflict(resource, name, &why))
    };
    let uid = text(&old.value, "/metadata/uid");
    if let Some(wanted) = given("uid").filter(|w| *w != uid && kind.is("", "namespaces")) {
        let why = format!("Precondition failed: UID in precondition: {wanted}, UID in object meta: {uid}");
        return Err(Status::conflict(kind.resource, name, &why));
    }
    if let Some(wanted) = given("uid").filter(|w| *w != uid) {
        return conflict(format!(
            "the UID in the precondition ({wanted}) does not match the UID in record ({uid}). The object might have been \
             deleted and then recreated"
        ));
    }
    let version = old.version.to_string();
    if let Some(wanted) = given("resourceVersion").filter(|w| *w != version) {
        return conflict(format!(
            "the ResourceVersion in the precondition ({wanted}) does not match the ResourceVersion in record ({version}). \
             The object might have been modified"
        ));
    }
    Ok(())
}

/// The finalizers that an object shall have while it is deleted in the way that was asked for.
fn wanted_finalizers(kind: &Kind, object: &Value, options: &Value) -> Vec<String> {
    let own = meta::finalizers(object);
    let mut wanted: Vec<String> = own
        .iter()
        .filter(|f| **f != ORPHAN && **f != FOREGROUND)
        .map(ToString::to_string)
        .collect();
    // Nothing can depend on an Event.
    if kind.resource.plural == "events" {
        return wanted;
    }
    let (orphan, foreground) = match (
        options["orphanDependents"].as_bool(),
        options["propagationPolicy"].as_str(),
    ) {
        (Some(orphan), _) => (orphan, false),
        (None, Some("Orphan")) => (true, false),
        (None, Some("Foreground")) => (false, true),
        (None, Some(_)) => (false, false),
        (None, None) => {
            let set = own.iter().find(|f| **f == ORPHAN || **f == FOREGROUND);
            match set {
                Some(&ORPHAN) => (true, false),
                Some(_) => (false, true),
                None => (kind.is("batch", "jobs"), false),
            }
        }
    };
    if orphan {
        wanted.push(ORPHAN.into());
    }
    if foreground {
        wanted.push(FOREGROUND.into());
    }
    wanted
}

/// Says that an object is being deleted and only waits for its finalizers.
pub(super) fn mark(object: &mut Value, now: DateTime<Utc>) {
    if !meta::is_terminating(object) {
        meta::bump_generation(object);
        object["metadata"]["deletionTimestamp"] = meta::time(now);
    }
    object["metadata"]["deletionGracePeriodSeconds"] = json!(0);
}

/// The grace period of a Pod in seconds; none for one that runs nowhere.
fn pod_grace(pod: &Value, options: &Value) -> Option<i64> {
    let asked = options["gracePeriodSeconds"].as_i64();
    let mut seconds = asked
        .or_else(|| pod["spec"]["terminationGracePeriodSeconds"].as_i64())
        .unwrap_or(30);
    if text(pod, "/spec/nodeName").is_empty() || matches!(text(pod, "/status/phase"), "Failed" | "Succeeded") {
        seconds = 0;
    }
    Some(if seconds < 0 { 1 } else { seconds })
}

enum Grace {
    /// The deletion goes on as it is.
    Pending,
    /// It has begun, or was shortened.
    Begun,
    /// The object can go.
    Over,
}

fn begin_grace(pod: &mut Value, seconds: i64, options: &Value, now: DateTime<Utc>) -> Grace {
    if !meta::is_terminating(pod) {
        pod["metadata"]["deletionTimestamp"] = meta::time(now + TimeDelta::seconds(seconds));
        pod["metadata"]["deletionGracePeriodSeconds"] = json!(seconds);
        meta::bump_generation(pod);
        return if seconds == 0 { Grace::Over } else { Grace::Begun };
    }
    let current = pod["metadata"]["deletionGracePeriodSeconds"].as_i64().unwrap_or(0);
    if current == 0 {
        return Grace::Over;
    }
    let Some(asked) = options["gracePeriodSeconds"].as_i64() else {
        return Grace::Pending;
    };
    let mut asked = if asked < 0 { 1 } else { asked };
    if asked >= current {
        return Grace::Pending;
    }
    let until = text(pod, "/metadata/deletionTimestamp")
        .parse::<DateTime<Utc>>()
        .unwrap_or(now);
    let mut until = until - TimeDelta::seconds(current) + TimeDelta::seconds(asked);
    if until < now {
        until = now;
        if asked != 0 {
            asked = 1;
        }
    }
    pod["metadata"]["deletionTimestamp"] = meta::time(until);
    pod["metadata"]["deletionGracePeriodSeconds"] = json!(asked);
    if asked == 0 { Grace::Over } else { Grace::Begun }
}
