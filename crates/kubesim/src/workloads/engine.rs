//! The engine: follows the changes of the cluster, keeps the cache, and has the controllers' tasks done when they are due.
//! A task looks at one object as it is then and brings it forward; whatever woke it is forgotten.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use chrono::{DateTime, TimeDelta, Utc};
use serde_json::Value;
use tokio::time::Instant;

use super::{
    PodBehaviour,
    cache::{Cache, Id, Name},
    job::Failures,
    kubelet::Run,
    objects::{hash, name, namespace, stamp},
    queue::Queue,
};
use crate::{Cluster, Resource, Status};

/// One piece of work.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Task {
    /// Makes and removes pods, counts them.
    ReplicaSet(Name),
    /// Brings a Deployment's ReplicaSets forward.
    Deployment(Name),
    /// Brings a Job forward.
    Job(Name),
    /// Writes the EndpointSlices of a Service.
    Service(Name),
    /// Finds a node for a pod.
    Schedule(Name),
    /// Runs a pod.
    Pod(Name),
    /// Removes the pods of a node that is gone.
    Node(Name),
    /// Removes an object whose owners are gone.
    Collect(Id),
    /// Does what an owner's finalizer waits for.
    Release(Id),
}

impl Task {
    /// Who does it, in the words of the real cluster.
    fn texts(&self) -> [&str; 3] {
        let (kind, name) = match self {
            Self::ReplicaSet(name) => ("replicaset", name),
            Self::Deployment(name) => ("deployment", name),
            Self::Job(name) => ("job", name),
            Self::Service(name) => ("service", name),
            Self::Schedule(name) => ("schedule", name),
            Self::Pod(name) => ("pod", name),
            Self::Node(name) => ("node", name),
            Self::Collect(id) => ("collect", &id.name),
            Self::Release(id) => ("release", &id.name),
        };
        [kind, &name.namespace, &name.name]
    }
}

/// When the task wants to be done again by itself, if at all.
pub(super) type Outcome = Result<Option<Instant>, Status>;

/// See the module.
pub(super) struct Engine {
    pub cluster: Cluster,
    pub cache: Cache,
    pub behaviour: Arc<dyn PodBehaviour>,
    /// Whether Events are recorded, and steps told that nobody waits for.
    pub talkative: bool,
    /// The kubelets' knowledge of their pods, by uid.
    pub runs: BTreeMap<String, Run>,
    /// The Job controller's knowledge of failures, by the Job's uid.
    pub failures: BTreeMap<String, Failures>,
    /// How many pod addresses were given away.
    pub addresses: u32,
    queue: Queue<Task>,
    /// How often in a row a task failed.
    failed: BTreeMap<Task, u32>,
    /// The last version that was followed.
    seen: u64,
    seed: u64,
    /// How many Events were recorded.
    pub told: u64,
    /// The cluster's start on tokio's clock and in the time of day.
    started: (Instant, DateTime<Utc>),
}

impl Engine {
    pub(super) fn new(cluster: Cluster, behaviour: Arc<dyn PodBehaviour>) -> Self {
        let elapsed = cluster.elapsed();
        let start = cluster.now() - TimeDelta::from_std(elapsed).unwrap_or_default();
        Self {
            seed: cluster.inner.options.seed,
            cluster,
            cache: Cache::default(),
            behaviour,
            talkative: true,
            runs: BTreeMap::new(),
            failures: BTreeMap::new(),
            addresses: 0,
            queue: Queue::new(),
            failed: BTreeMap::new(),
            seen: 0,
            told: 0,
            started: (Instant::now() - elapsed, start),
        }
    }

    // === time ===

    /// The time of day at a moment.
    pub(super) fn time(&self, at: Instant) -> DateTime<Utc> {
        let since = at.saturating_duration_since(self.started.0);
        self.started.1 + TimeDelta::from_std(since).unwrap_or_default()
    }

    /// The moment of a time of day; not before the start.
    pub(super) fn instant(&self, at: DateTime<Utc>) -> Instant {
        self.started.0 + (at - self.started.1).to_std().unwrap_or_default()
    }

    /// The present time of day, as objects carry it.
    pub(super) fn stamp(&self) -> Value {
        stamp(self.time(Instant::now()))
    }

    /// When the next task is due.
    pub(super) fn next(&self) -> Option<Instant> {
        self.queue.next()
    }

    /// A few milliseconds that belong to a task: `from` and up to `spread` more.
    pub(super) fn some(&self, from: u64, spread: u64, parts: [&str; 3]) -> Duration {
        Duration::from_millis(from + hash(self.seed, parts) % spread)
    }

    /// A number that depends on the seed and these texts only.
    pub(super) fn hash<'a>(&self, parts: impl IntoIterator<Item = &'a str>) -> u64 {
        hash(self.seed, parts)
    }

    /// Has a task done as soon as its controller notices.
    pub(super) fn wake(&mut self, task: Task) {
        let at = Instant::now() + self.some(1, 3, task.texts());
        self.queue.add(task, at);
    }

    // === work ===

    /// Follows what happened and does all that is due.
    pub(super) fn work(&mut self) {
        self.absorb();
        let now = Instant::now();
        while let Some(task) = self.queue.pop(now) {
            self.perform(task, now);
            self.absorb();
        }
    }

    fn perform(&mut self, task: Task, now: Instant) {
        let outcome = match &task {
            Task::ReplicaSet(name) => self.sync_replicaset(name),
            Task::Deployment(name) => self.sync_deployment(name),
            Task::Job(name) => self.sync_job(name),
            Task::Service(name) => self.sync_service(name),
            Task::Schedule(name) => self.schedule(name),
            Task::Pod(name) => self.sync_pod(name),
            Task::Node(name) => self.sync_node(name),
            Task::Collect(id) => self.collect(id),
            Task::Release(id) => self.release(id),
        };
        match outcome {
            Ok(again) => {
                self.failed.remove(&task);
                if let Some(at) = again {
                    self.queue.add(task, at);
                }
            }
            Err(status) => {
                tracing::debug!(?task, %status, "A built-in controller was refused.");
                // 5 ms, doubling, up to the 1000 s of the real controllers.
                let failed = self.failed.entry(task.clone()).or_default();
                let delay = Duration::from_millis((5 << (*failed).min(18)).min(1_000_000));
                *failed += 1;
                self.queue.add(task, now + delay);
            }
        }
    }

    // === changes ===

    /// Follows every change since the last time.
    pub(super) fn absorb(&mut self) {
        let changes = self.cluster.state().store.changes_after(self.seen);
        let Some(changes) = changes else {
            self.look_around();
            return;
        };
        for change in changes {
            self.seen = change.version;
            self.follow(
                change.resource,
                Name::new(&change.namespace, &change.name),
                change.new.clone(),
                &change.user,
            );
        }
    }

    /// Compares what is known with what there is: some changes are no longer told.
    fn look_around(&mut self) {
        let (version, present) = {
            let state = self.cluster.state();
            let mut present = BTreeMap::new();
            for resource in state.store.resources() {
                for (_, stored) in state.store.peek(resource).into_iter().flat_map(|table| table.range("")) {
                    let name = Name::new(namespace(&stored.value), name(&stored.value));
                    present.insert(Id { resource, name }, Arc::clone(&stored.value));
                }
            }
            (state.store.version, present)
        };
        self.seen = version;
        let gone: Vec<Id> = self
            .cache
            .graph
            .ids()
            .filter(|id| !present.contains_key(id))
            .cloned()
            .collect();
        for Id { resource, name } in gone {
            self.follow(resource, name, None, "");
        }
        for (id, object) in present {
            if !self
                .cache
                .graph
                .get(&id)
                .is_some_and(|known| Arc::ptr_eq(known, &object))
            {
                self.follow(id.resource, id.name, Some(object), "");
            }
        }
    }
}

/// How the cluster's methods name a resource.
pub(super) fn plural(resource: Resource) -> String {
    resource.to_string()
}
