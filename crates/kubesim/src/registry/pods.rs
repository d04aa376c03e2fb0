//! What one does to Pods besides writing them: binding to a node, eviction.

use serde_json::{Value, json};

use super::{Deleted, Write, meta, removal};
use crate::{
    Resource, Status,
    cluster::{State, text},
    selector::Labels,
};

fn pod<'a>(state: &'a mut State, write: &Write<'_>) -> Result<&'a std::sync::Arc<crate::storage::Stored>, Status> {
    state
        .store
        .table(write.kind.resource)
        .get(write.namespace, write.name)
        .ok_or_else(|| Status::not_found(write.kind.resource, write.name))
}

/// `pods/binding`: puts a Pod on a node.
pub(crate) fn bind(state: &mut State, write: &Write<'_>, binding: &Value) -> Result<Value, Status> {
    let old = pod(state, write)?.clone();
    let node = text(binding, "/target/name").to_owned();
    if node.is_empty() {
        return Err(Status::invalid(
            "",
            "Binding",
            write.name,
            &[(
                "FieldValueRequired".into(),
                "Required value".into(),
                "target.name".into(),
            )],
        ));
    }
    let conflict = |why: String| Err(Status::conflict(Resource::new("", "pods/binding"), write.name, &why));
    if meta::is_terminating(&old.value) {
        return conflict(format!(
            "pod {} is being deleted, cannot be assigned to a host",
            write.name
        ));
    }
    let bound = text(&old.value, "/spec/nodeName");
    if !bound.is_empty() {
        return conflict(format!("pod {} is already assigned to node {bound:?}", write.name));
    }
    let mut new = (*old.value).clone();
    new["spec"]["nodeName"] = json!(node);
    for map in ["labels", "annotations"] {
        for (key, value) in binding["metadata"][map].as_object().into_iter().flatten() {
            new["metadata"][map][key] = value.clone();
        }
    }
    set_condition(
        &mut new,
        json!({
            "type": "PodScheduled",
            "status": "True",
            "lastProbeTime": null,
            "lastTransitionTime": meta::time(write.now),
        }),
    );
    if !write.options.dry_run {
        state
            .store
            .put(write.user, write.kind.resource, write.namespace, write.name, Some(new));
    }
    Ok(success(201))
}

/// Sets a condition of the status, in place of the one of its type.
fn set_condition(object: &mut Value, condition: Value) {
    if !object["status"]["conditions"].is_array() {
        object["status"]["conditions"] = json!([]);
    }
    if let Some(conditions) = object["status"]["conditions"].as_array_mut() {
        conditions.retain(|c| c["type"] != condition["type"]);
        conditions.push(condition);
    }
}

/// `pods/eviction`: deletes a Pod unless a disruption budget forbids it.
pub(crate) fn evict(state: &mut State, write: &Write<'_>, eviction: &Value) -> Result<Value, Status> {
    let old = pod(state, write)?.clone();
    let budgets = Resource {
        group: "policy",
        plural: "poddisruptionbudgets",
    };
    let counts = !matches!(text(&old.value, "/status/phase"), "Pending" | "Succeeded" | "Failed")
        && !meta::is_terminating(&old.value);
    let budget = state.store.peek(budgets).filter(|_| counts).and_then(|table| {
        table
            .range(write.namespace)
            .find(|(_, b)| Labels::of_selector(&b.value["spec"]["selector"]).matches(&old.value))
            .map(|(_, b)| b.clone())
    });
    if let Some(budget) = budget {
        let name = text(&budget.value, "/metadata/name");
        let status = &budget.value["status"];
        let allowed = status["disruptionsAllowed"].as_i64().unwrap_or(0);
        if allowed <= 0 {
            let message = format!(
                "The disruption budget {name} needs {} healthy pods and has {} currently",
                status["desiredHealthy"].as_i64().unwrap_or(0),
                status["currentHealthy"].as_i64().unwrap_or(0)
            );
            return Err(Status::new(
                429,
                "TooManyRequests",
                "Cannot evict pod as it would violate the pod's disruption budget.",
            )
            .with_details(json!({"causes": [{"reason": "DisruptionBudget", "message": message}]})));
        }
        if !write.options.dry_run {
            let mut new = (*budget.value).clone();
            new["status"]["disruptionsAllowed"] = json!(allowed - 1);
            new["status"]["disruptedPods"][write.name] = meta::time(write.now);
            state.store.put(write.user, budgets, write.namespace, name, Some(new));
        }
    }
    if !write.options.dry_run && !meta::is_terminating(&old.value) {
        let mut new = (*old.value).clone();
        set_condition(
            &mut new,
            json!({
                "type": "DisruptionTarget",
                "status": "True",
                "reason": "EvictionByEvictionAPI",
                "message": "Eviction API: evicting",
                "lastProbeTime": null,
                "lastTransitionTime": meta::time(write.now),
            }),
        );
        state
            .store
            .put(write.user, write.kind.resource, write.namespace, write.name, Some(new));
    }
    let options = eviction.get("deleteOptions").cloned().unwrap_or_default();
    match removal::delete(state, write, &options)? {
        Deleted::Status(_) | Deleted::Object(_) => Ok(success(201)),
    }
}

fn success(code: u16) -> Value {
    json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "code": code})
}
