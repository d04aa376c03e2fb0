//! The ReplicaSet controller: adopts and releases pods, makes and deletes them, counts them.

use std::{cmp::Reverse, collections::BTreeMap, sync::Arc};

use serde_json::{Value, json};
use tokio::time::Instant;

use super::{
    cache::Name,
    engine::{Engine, Outcome},
    objects::{
        available_from, condition, controller_reference, controller_uid, has_all, is_active, is_deleted, is_finished,
        is_ready, list, moment, name, number, owners, selects, set_condition, text, uid,
    },
};
use crate::Status;

/// Its name in the trace.
pub(super) const USER: &str = "replicaset-controller";

/// Pods that one pass makes or deletes at most.
const BURST: usize = 500;

impl Engine {
    pub(super) fn sync_replicaset(&mut self, key: &Name) -> Outcome {
        let Some(set) = self.cache.sets.get(key).cloned() else {
            return Ok(None);
        };
        let pods = self.claim(&set, key)?;
        let active: Vec<Arc<Value>> = pods.iter().filter(|pod| is_active(pod)).cloned().collect();
        let managed = if is_deleted(&set) {
            Ok(())
        } else {
            self.manage(&set, &active)
        };
        let wake = self.count(&set, &pods, &active, managed.as_ref().err())?;
        managed.map(|()| wake)
    }

    /// The pods of a ReplicaSet: those it controls and still selects, and orphans that it selects from now on.
    fn claim(&self, set: &Value, key: &Name) -> Result<Vec<Arc<Value>>, Status> {
        let selector = &set["spec"]["selector"];
        let mut pods = Vec::new();
        for (_, pod) in self.cache.pods.of(uid(set)) {
            if selects(selector, &pod["metadata"]["labels"]) {
                pods.push(Arc::clone(pod));
            } else if !is_deleted(set) {
                let left: Vec<&Value> = owners(pod).iter().filter(|o| o["uid"] != uid(set)).collect();
                let left = if left.is_empty() { Value::Null } else { json!(left) };
                self.merge(USER, "pods", pod, json!({"metadata": {"ownerReferences": left}}))?;
            }
        }
        if is_deleted(set) {
            return Ok(pods);
        }
        for (_, pod) in self.cache.pods.orphans(&key.namespace) {
            if is_active(pod) && selects(selector, &pod["metadata"]["labels"]) {
                let mut references = owners(pod).to_vec();
                references.push(controller_reference(set, "apps/v1", "ReplicaSet"));
                let patch = json!({"metadata": {"ownerReferences": references}});
                pods.push(self.merge(USER, "pods", pod, patch)?);
            }
        }
        pods.sort_by(|a, b| name(a).cmp(name(b)));
        Ok(pods)
    }

    /// Makes what is missing, deletes what is too much.
    fn manage(&mut self, set: &Value, active: &[Arc<Value>]) -> Result<(), Status> {
        let wanted = usize::try_from(replicas(set)).unwrap_or_default();
        if active.len() < wanted {
            for _ in 0..(wanted - active.len()).min(BURST) {
                let reference = controller_reference(set, "apps/v1", "ReplicaSet");
                let pod = pod_from(set, &set["spec"]["template"], reference);
                match self.cluster.create(USER, "pods", pod) {
                    Ok(pod) => {
                        let message = format!("Created pod: {}", name(&pod));
                        self.tell(USER, set, false, "SuccessfulCreate", &message);
                    }
                    // Nothing can be made in a namespace that goes; the ReplicaSet goes as well.
                    Err(status) if status.message.contains("because it is being terminated") => return Ok(()),
                    Err(status) => {
                        let message = format!("Error creating: {status}");
                        self.tell(USER, set, true, "FailedCreate", &message);
                        return Err(status);
                    }
                }
            }
            return Ok(());
        }
        let surplus = (active.len() - wanted).min(BURST);
        if surplus == 0 {
            return Ok(());
        }
        let mut first_refusal = Ok(());
        for pod in self.ranked(set, active).into_iter().take(surplus) {
            match self.delete(USER, "pods", &pod, json!({})) {
                Ok(()) => {
                    let message = format!("Deleted pod: {}", name(&pod));
                    self.tell(USER, set, false, "SuccessfulDelete", &message);
                }
                Err(status) => {
                    let message = format!("Error deleting: {status}");
                    self.tell(USER, set, true, "FailedDelete", &message);
                    first_refusal = first_refusal.and(Err(status));
                }
            }
        }
        first_refusal
    }

    /// The pods in the order in which they are given up: first those that do least, then the youngest.
    fn ranked(&self, set: &Value, active: &[Arc<Value>]) -> Vec<Arc<Value>> {
        let now = self.time(Instant::now());
        // Pods of the ReplicaSets with the same owner, by node: where there are more, one is missed less.
        let mut neighbours: BTreeMap<&str, i64> = BTreeMap::new();
        let owner = controller_uid(set);
        let sets: Vec<&str> = if owner.is_empty() {
            vec![uid(set)]
        } else {
            self.cache.sets.of(owner).map(|(_, set)| uid(set)).collect()
        };
        for (_, pod) in sets.iter().flat_map(|set| self.cache.pods.of(set)) {
            if is_active(pod) {
                *neighbours.entry(text(&pod["spec"]["nodeName"])).or_default() += 1;
            }
        }
        // Ages count in powers of two, so that pods of about the same age are alike.
        let age = |at: &Value| {
            let seconds = moment(at).map_or(0, |at| (now - at).num_seconds().max(0));
            64 - seconds.leading_zeros()
        };
        let mut pods = active.to_vec();
        pods.sort_by_cached_key(|pod| {
            let node = text(&pod["spec"]["nodeName"]);
            let phase = match text(&pod["status"]["phase"]) {
                "Running" => 2,
                "Unknown" => 1,
                _ => 0,
            };
            let cost = text(&pod["metadata"]["annotations"]["controller.kubernetes.io/pod-deletion-cost"]);
            let ready = condition(pod, "Ready").filter(|_| is_ready(pod));
            let restarts = list(&pod["status"]["containerStatuses"])
                .iter()
                .map(|c| number(&c["restartCount"]));
            (
                !node.is_empty(),
                phase,
                ready.is_some(),
                cost.parse::<i64>().unwrap_or(0),
                Reverse(neighbours.get(node).copied().unwrap_or(0)),
                ready.map_or(0, |ready| age(&ready["lastTransitionTime"])),
                Reverse(restarts.max()),
                age(&pod["metadata"]["creationTimestamp"]),
                uid(pod).to_owned(),
            )
        });
        pods
    }

    /// Writes the status; says when a pod will become available by itself.
    fn count(&self, set: &Value, pods: &[Arc<Value>], active: &[Arc<Value>], refused: Option<&Status>) -> Outcome {
        let now = self.time(Instant::now());
        let min_ready = number(&set["spec"]["minReadySeconds"]);
        let labels = set["spec"]["template"]["metadata"]["labels"].as_object();
        let (mut labelled, mut ready, mut available, mut next) = (0, 0, 0, None);
        for pod in active {
            labelled += i64::from(labels.is_none_or(|labels| has_all(labels, &pod["metadata"]["labels"])));
            let Some(from) = available_from(pod, min_ready) else {
                continue;
            };
            ready += 1;
            if from <= now {
                available += 1;
            } else {
                next = [next, Some(from)].into_iter().flatten().min();
            }
        }
        let terminating = pods.iter().filter(|pod| is_deleted(pod) && !is_finished(pod)).count();
        let mut status = json!({
            "replicas": active.len(),
            "terminatingReplicas": terminating,
            "observedGeneration": set["metadata"]["generation"],
        });
        let counts = [
            ("fullyLabeledReplicas", labelled),
            ("readyReplicas", ready),
            ("availableReplicas", available),
        ];
        for (field, count) in counts.into_iter().filter(|(_, count)| *count > 0) {
            status[field] = json!(count);
        }
        let mut conditions = list(&set["status"]["conditions"]).to_vec();
        let failing = conditions.iter().any(|c| c["type"] == "ReplicaFailure");
        match refused {
            Some(refused) if !failing => {
                let creating = i64::try_from(active.len()).unwrap_or(i64::MAX) < replicas(set);
                let condition = json!({
                    "type": "ReplicaFailure",
                    "status": "True",
                    "reason": if creating { "FailedCreate" } else { "FailedDelete" },
                    "message": refused.message,
                    "lastTransitionTime": self.stamp(),
                });
                set_condition(&mut conditions, condition);
            }
            Some(_) => {}
            None => conditions.retain(|c| c["type"] != "ReplicaFailure"),
        }
        if !conditions.is_empty() {
            status["conditions"] = Value::Array(conditions);
        }
        self.write_status(USER, "replicasets", set, status)?;
        Ok(next.map(|at| self.instant(at)))
    }
}

/// The wanted number of pods.
pub(super) fn replicas(object: &Value) -> i64 {
    object["spec"]["replicas"].as_i64().unwrap_or(1)
}

/// A pod as a controller makes it from a template; the server finds its name.
pub(super) fn pod_from(owner: &Value, template: &Value, reference: Value) -> Value {
    let mut metadata = json!({
        "generateName": format!("{}-", name(owner)),
        "namespace": owner["metadata"]["namespace"],
        "ownerReferences": [reference],
    });
    for field in ["labels", "annotations", "finalizers"] {
        if !template["metadata"][field].is_null() {
            metadata[field] = template["metadata"][field].clone();
        }
    }
    json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": metadata,
        "spec": template["spec"],
    })
}
