//! The controllers that every cluster has, as far as one sees them from outside: ReplicaSet, Deployment, Job and
//! EndpointSlice controllers, the garbage collector, a scheduler, and virtual kubelets.
//!
//! They live on the in-process methods of [`Cluster`], notice a change one to three milliseconds after it happened, and
//! write under the names that the real ones have. What a pod does is not decided here but by a [`PodBehaviour`].
//! Everything hangs on changes and on moments that are known beforehand: at rest nothing runs. They know nothing of any
//! custom resource, except that the garbage collector follows owner references wherever they lead.

mod cache;
mod deployment;
mod endpoints;
mod engine;
mod follow;
mod garbage;
mod job;
mod kubelet;
mod objects;
mod queue;
mod replicaset;
mod revisions;
mod scheduler;
#[cfg(test)]
mod tests;
mod writes;

use std::{net::IpAddr, sync::Arc, time::Duration};

use serde_json::Value;

use crate::Cluster;
use engine::Engine;

/// Says what pods do.
pub trait PodBehaviour: Send + Sync {
    /// Decided once for each pod, when the kubelet of its node sees it first.
    fn start(&self, pod: &Value) -> PodPlan;
}

/// What one pod does, all its containers alike. Times count from each start of the containers, some ten milliseconds
/// after the pod's creation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PodPlan {
    /// When the containers get ready; `None`: never.
    pub ready_after: Option<Duration>,
    /// When the containers end with exit code 1. They are started again, later and later, if the pod's restart policy
    /// says so.
    pub fails_after: Option<Duration>,
    /// When the containers end with exit code 0.
    pub completes_after: Option<Duration>,
    /// Whether the image can be pulled.
    pub image_exists: bool,
    /// From the deletion until the pod is gone; its grace period is the limit.
    pub termination: Duration,
    /// The pod's address, for those who run something there; `None`: the next one of the pod network.
    pub address: Option<IpAddr>,
}

impl Default for PodPlan {
    /// Ready after a second, gone half a second after its deletion.
    fn default() -> Self {
        Self {
            ready_after: Some(Duration::from_secs(1)),
            fails_after: None,
            completes_after: None,
            image_exists: true,
            termination: Duration::from_millis(500),
            address: None,
        }
    }
}

/// The same plan for every pod.
impl PodBehaviour for PodPlan {
    fn start(&self, _: &Value) -> PodPlan {
        self.clone()
    }
}

/// All built-in controllers of one cluster.
pub struct Workloads {
    engine: Engine,
    nodes: usize,
}

impl Workloads {
    /// For this cluster, with three virtual nodes that register themselves unless the cluster already has nodes.
    pub fn new(cluster: &Cluster, pods: Arc<dyn PodBehaviour>) -> Self {
        Self {
            engine: Engine::new(cluster.clone(), pods),
            nodes: 3,
        }
    }

    /// With another number of virtual nodes; with 0 Node objects are up to somebody else.
    #[must_use]
    pub fn with_nodes(mut self, nodes: usize) -> Self {
        self.nodes = nodes;
        self
    }

    /// Writes less: no Events, and no status of pods between their binding and their start. For simulations that play
    /// many clusters; it saves a third of the writes.
    #[must_use]
    pub fn terse(mut self) -> Self {
        self.engine.talkative = false;
        self
    }

    /// Runs for ever: start it as a task.
    pub async fn run(mut self) {
        let mut changes = self.engine.cluster.changes();
        self.engine.absorb();
        self.engine.register_nodes(self.nodes);
        loop {
            changes.mark_unchanged();
            self.engine.work();
            let next = self.engine.next();
            let sleep = async {
                match next {
                    Some(at) => tokio::time::sleep_until(at).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                biased;
                () = changes.changed() => {}
                () = sleep => {}
            }
        }
    }
}

impl std::fmt::Debug for Workloads {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Workloads")
            .field("nodes", &self.nodes)
            .finish_non_exhaustive()
    }
}
