//! How the controllers write.

use std::sync::Arc;

use serde_json::{Map, Value, json};
use tokio::time::Instant;

use super::{
    engine::Engine,
    objects::{name, namespace, uid},
};
use crate::{
    Patch, Status,
    registry::{self, Write, WriteOptions},
};

impl Engine {
    /// Writes a status, unless it is there already.
    pub(super) fn write_status(&self, user: &str, resource: &str, object: &Value, status: Value) -> Result<(), Status> {
        if object["status"] == status {
            return Ok(());
        }
        if !self.tracks_fields(object) {
            return self.store_with(user, resource, object, [("status", status)]);
        }
        self.put_with(user, resource, Some("status"), object, [("status", status)])
            .map(|_| ())
    }

    /// Whether somebody wants to know who owns which field of an object.
    pub(super) fn tracks_fields(&self, object: &Value) -> bool {
        !object["metadata"]["managedFields"].is_null() || self.cluster.state().managed_fields
    }

    /// Stores an object with other values of some fields as they are.
    ///
    /// Statuses and endpoints are most of what the controllers write, and they write them as the API server would store
    /// them (a test says so): the schema is not walked for each.
    pub(super) fn store_with<const N: usize>(
        &self,
        user: &str,
        resource: &str,
        object: &Value,
        fields: [(&str, Value); N],
    ) -> Result<(), Status> {
        let mut state = self.cluster.state();
        let kind = state.kinds.find(resource)?;
        let (namespace, name) = (namespace(object), name(object));
        let Some(stored) = state.store.table(kind.resource).get(namespace, name) else {
            return Err(Status::not_found(kind.resource, name));
        };
        if stored.value["metadata"]["resourceVersion"] != object["metadata"]["resourceVersion"] {
            return Err(Status::modified(kind.resource, name));
        }
        let new = with_fields(object, fields);
        state.store.put(user, kind.resource, namespace, name, Some(new));
        Ok(())
    }

    /// Replaces an object by itself with other values of some fields; the old values are not even copied.
    pub(super) fn put_with<const N: usize>(
        &self,
        user: &str,
        resource: &str,
        subresource: Option<&str>,
        object: &Value,
        fields: [(&str, Value); N],
    ) -> Result<Arc<Value>, Status> {
        self.cluster
            .update(user, resource, subresource, with_fields(object, fields))
    }

    /// Merge-patches an object, only this very one.
    pub(super) fn merge(
        &self,
        user: &str,
        resource: &str,
        object: &Value,
        mut patch: Value,
    ) -> Result<Arc<Value>, Status> {
        patch["metadata"]["uid"] = object["metadata"]["uid"].clone();
        let (namespace, name) = (namespace(object), name(object));
        self.cluster
            .patch(user, resource, namespace, name, None, &Patch::Merge(patch))
    }

    /// Deletes this very object; one that is gone already is no error.
    pub(super) fn delete(&self, user: &str, resource: &str, object: &Value, mut options: Value) -> Result<(), Status> {
        options["preconditions"] = json!({"uid": uid(object)});
        let mut state = self.cluster.state();
        let kind = state.kinds.find(resource)?;
        let write = Write {
            user,
            version: &kind.storage,
            namespace: namespace(object),
            name: name(object),
            subresource: "",
            now: self.time(Instant::now()),
            options: &WriteOptions::default(),
            kind: Arc::clone(&kind),
        };
        match registry::delete(&mut state, &write, &options) {
            Err(status) if status.code != 404 => Err(status),
            _ => Ok(()),
        }
    }

    /// Records an Event. A cluster that refuses it has other troubles.
    pub(super) fn tell(&mut self, user: &str, about: &Value, warning: bool, reason: &str, message: &str) {
        if !self.talkative {
            return;
        }
        self.told += 1;
        let count = self.told.to_string();
        let namespace = namespace(about);
        let namespace = if namespace.is_empty() { "default" } else { namespace };
        let event = json!({
            "apiVersion": "v1",
            "kind": "Event",
            "metadata": {
                "name": format!("{}.{:016x}", name(about), self.hash(["event", &count])),
                "namespace": namespace,
            },
            "involvedObject": {
                "apiVersion": about["apiVersion"],
                "kind": about["kind"],
                "namespace": about["metadata"]["namespace"],
                "name": name(about),
                "uid": uid(about),
                "resourceVersion": about["metadata"]["resourceVersion"],
            },
            "reason": reason,
            "message": message,
            "type": if warning { "Warning" } else { "Normal" },
            "source": {"component": user},
            "reportingComponent": user,
            "reportingInstance": "",
            "firstTimestamp": self.stamp(),
            "lastTimestamp": self.stamp(),
            "eventTime": null,
            "count": 1,
        });
        if let Err(status) = self.cluster.create(user, "events", event) {
            tracing::debug!(%status, reason, "An event was refused.");
        }
    }
}

/// A copy of an object in which some fields have other values.
fn with_fields<const N: usize>(object: &Value, fields: [(&str, Value); N]) -> Value {
    let kept = object.as_object().into_iter().flatten();
    let kept = kept.filter(|(key, _)| fields.iter().all(|(field, _)| field != key));
    let mut new: Map<String, Value> = kept.map(|(key, value)| (key.clone(), value.clone())).collect();
    new.extend(fields.map(|(field, value)| (field.to_owned(), value)));
    Value::Object(new)
}
