//! The scheduler and the nodes: pods go to the node with the fewest pods that has room for them.

use std::{collections::BTreeSet, sync::Arc};

use serde_json::{Value, json};

use super::{
    cache::Name,
    engine::{Engine, Outcome},
    kubelet,
    objects::{condition, has_all, is_deleted, list, name, namespace, set_condition, text},
};
use crate::{
    Status,
    registry::{self, Write, WriteOptions},
};

/// Its name in the trace.
pub(super) const USER: &str = "scheduler";

/// Who removes the pods of nodes that are gone.
const POD_COLLECTOR: &str = "pod-garbage-collector";

/// Pods that a virtual node takes, unless it says something else.
const ROOM: usize = 250;

impl Engine {
    /// Makes the virtual nodes' objects, unless the cluster has nodes.
    pub(super) fn register_nodes(&mut self, count: usize) {
        if self.cache.nodes.all().next().is_some() {
            return;
        }
        for nth in 1..=count {
            let name = format!("node-{nth}");
            let resources = json!({"cpu": "64", "memory": "256Gi", "pods": ROOM.to_string()});
            let ready = json!({
                "type": "Ready",
                "status": "True",
                "reason": "KubeletReady",
                "message": "kubelet is posting ready status",
                "lastHeartbeatTime": self.stamp(),
                "lastTransitionTime": self.stamp(),
            });
            let status = json!({
                "capacity": resources,
                "allocatable": resources,
                "conditions": [ready],
                "addresses": [
                    {"type": "InternalIP", "address": node_address(nth)},
                    {"type": "Hostname", "address": name},
                ],
            });
            let node = json!({
                "apiVersion": "v1",
                "kind": "Node",
                "metadata": {
                    "name": name,
                    "labels": {
                        "kubernetes.io/hostname": name,
                        "kubernetes.io/os": "linux",
                        "kubernetes.io/arch": "amd64",
                    },
                },
                "spec": {},
                "status": status,
            });
            match self.cluster.create(kubelet::USER, "nodes", node) {
                // A status may be taken with the creation, or not.
                Ok(node) if condition(&node, "Ready").is_none() => {
                    if let Err(refused) = self.write_status(kubelet::USER, "nodes", &node, status) {
                        tracing::debug!(%refused, name, "A node's status was refused.");
                    }
                }
                Ok(_) => {}
                Err(refused) => tracing::debug!(%refused, name, "A node was refused."),
            }
        }
    }

    /// Binds a pod to a node, or says why not. Changes of nodes and pods bring it back here.
    pub(super) fn schedule(&mut self, key: &Name) -> Outcome {
        if !self.cache.unbound.contains(key) {
            return Ok(None);
        }
        let Some(pod) = self.cache.pods.get(key).cloned() else {
            return Ok(None);
        };
        let scheduler = text(&pod["spec"]["schedulerName"]);
        if !matches!(scheduler, "" | "default-scheduler") || !list(&pod["spec"]["schedulingGates"]).is_empty() {
            return Ok(None);
        }
        let Some(node) = self.best_node(&pod) else {
            let nodes = self.cache.nodes.all().count();
            let message = if nodes == 0 {
                "no nodes available to schedule pods".to_owned()
            } else {
                format!("0/{nodes} nodes are available.")
            };
            if condition(&pod, "PodScheduled").is_some_and(|c| c["message"] == *message) {
                return Ok(None);
            }
            let mut status = pod["status"].clone();
            let mut conditions = list(&status["conditions"]).to_vec();
            let condition = json!({
                "type": "PodScheduled",
                "status": "False",
                "reason": "Unschedulable",
                "message": message,
                "lastProbeTime": null,
                "lastTransitionTime": self.stamp(),
            });
            set_condition(&mut conditions, condition);
            status["conditions"] = Value::Array(conditions);
            status["phase"] = json!("Pending");
            self.write_status(USER, "pods", &pod, status)?;
            self.tell(USER, &pod, true, "FailedScheduling", &message);
            return Ok(None);
        };
        self.bind(&pod, &node)?;
        Ok(None)
    }

    /// Binds a pod to a node, as `pods/binding` does.
    fn bind(&self, pod: &Value, node: &str) -> Result<(), Status> {
        let now = self.cluster.now();
        let mut state = self.cluster.state();
        let kind = state.kinds.find("pods")?;
        let write = Write {
            user: USER,
            version: &kind.storage,
            namespace: namespace(pod),
            name: name(pod),
            subresource: "binding",
            now,
            options: &WriteOptions::default(),
            kind: Arc::clone(&kind),
        };
        let binding = json!({"target": {"kind": "Node", "name": node}});
        registry::bind(&mut state, &write, &binding).map(|_| ())
    }

    /// The node with the fewest pods among those that take this one; the first by name of equal ones.
    fn best_node(&self, pod: &Value) -> Option<String> {
        let selector = pod["spec"]["nodeSelector"].as_object();
        let load = |node: &str| self.cache.bound.get(node).map_or(0, BTreeSet::len);
        let nodes = self.cache.nodes.all().filter(|(name, node)| {
            let room = text(&node["status"]["allocatable"]["pods"]).parse().unwrap_or(ROOM);
            node["spec"]["unschedulable"] != true
                && !is_deleted(node)
                && condition(node, "Ready").is_none_or(|c| c["status"] == "True")
                && selector.is_none_or(|selector| has_all(selector, &node["metadata"]["labels"]))
                && tolerates(pod, node)
                && load(&name.name) < room
        });
        let best = nodes.min_by_key(|(name, _)| (load(&name.name), Arc::clone(&name.name)));
        best.map(|(name, _)| name.name.to_string())
    }

    /// Removes the pods of a node that is gone: nobody else can.
    pub(super) fn sync_node(&mut self, key: &Name) -> Outcome {
        if self.cache.nodes.get(key).is_some() {
            return Ok(None);
        }
        let pods = self.cache.bound.get(&*key.name).cloned().unwrap_or_default();
        for pod in pods.iter().filter_map(|name| self.cache.pods.get(name).cloned()) {
            self.delete(POD_COLLECTOR, "pods", &pod, json!({"gracePeriodSeconds": 0}))?;
        }
        Ok(None)
    }
}

/// The address of the nth virtual node.
fn node_address(nth: usize) -> String {
    format!("192.168.{}.{}", nth / 254, nth % 254 + 1)
}

fn tolerates(pod: &Value, node: &Value) -> bool {
    let tolerations = list(&pod["spec"]["tolerations"]);
    let taints = list(&node["spec"]["taints"]).iter();
    let mut hard = taints.filter(|t| matches!(text(&t["effect"]), "NoSchedule" | "NoExecute"));
    hard.all(|taint| {
        tolerations.iter().any(|toleration| {
            let key = text(&toleration["key"]);
            let exists = text(&toleration["operator"]) == "Exists";
            let effect = text(&toleration["effect"]);
            (key == text(&taint["key"]) || (key.is_empty() && exists))
                && (exists || text(&toleration["value"]) == text(&taint["value"]))
                && (effect.is_empty() || effect == text(&taint["effect"]))
        })
    })
}
