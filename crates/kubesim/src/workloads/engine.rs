//! The engine: follows the changes of the cluster, keeps the cache, and has the controllers' tasks done when they are due.
//! A task looks at one object as it is then and brings it forward; whatever woke it is forgotten.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use chrono::{DateTime, TimeDelta, Utc};
use serde_json::{Map, Value, json};
use tokio::time::Instant;

use super::{
    PodBehaviour,
    cache::{Cache, Id, Name},
    job::Failures,
    kubelet::Run,
    objects::{
        controller, hash, is_deleted, is_finished, is_ready, name, namespace, owners, selects, stamp, text, uid,
    },
    queue::Queue,
};
use crate::{
    Cluster, Patch, Resource, Status,
    registry::{self, Write, WriteOptions},
};

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
    told: u64,
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
        // Every version is one change: the version counts the changes.
        let index = usize::try_from(self.seen).unwrap_or(usize::MAX);
        let changes = self.cluster.history_since(index);
        if changes.first().is_some_and(|first| first.version != self.seen + 1) {
            self.look_around();
            return;
        }
        for change in changes {
            self.seen = change.version;
            self.follow(
                change.resource,
                Name::new(&change.namespace, &change.name),
                change.new,
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

    fn follow(&mut self, resource: Resource, name: Name, new: Option<Arc<Value>>, user: &str) {
        // Events own nothing and are owned by nobody.
        if resource.plural == "events" {
            return;
        }
        let id = Id { resource, name };
        let old = self.cache.graph.put(&id, new.as_ref());
        let (before, after) = (old.as_deref(), new.as_deref());
        self.follow_ownership(&id, before, after);
        let Id { name, .. } = id;
        match (resource.group, resource.plural) {
            ("", "pods") => {
                self.cache.pods.put(&name, new.as_ref());
                self.follow_pod(&name, before, after, user);
            }
            ("apps", "replicasets") => {
                self.cache.sets.put(&name, new.as_ref());
                self.follow_set(&name, before, after);
            }
            ("apps", "deployments") => {
                self.cache.deployments.put(&name, new.as_ref());
                self.wake(Task::Deployment(name));
            }
            ("batch", "jobs") => {
                self.cache.jobs.put(&name, new.as_ref());
                self.wake(Task::Job(name));
            }
            ("", "services") => {
                self.cache.services.put(&name, new.as_ref());
                self.wake(Task::Service(name));
            }
            ("discovery.k8s.io", "endpointslices") => {
                self.cache.slices.put(&name, new.as_ref());
                if user != super::endpoints::USER {
                    for slice in [before, after].into_iter().flatten() {
                        let service = text(&slice["metadata"]["labels"]["kubernetes.io/service-name"]);
                        if !service.is_empty() {
                            self.wake(Task::Service(name.beside(service)));
                        }
                    }
                }
            }
            ("", "nodes") => {
                self.cache.nodes.put(&name, new.as_ref());
                for pod in self.cache.unbound.clone() {
                    self.wake(Task::Schedule(pod));
                }
                if before.is_none() {
                    for pod in self.cache.bound.get(&*name.name).cloned().unwrap_or_default() {
                        self.wake(Task::Pod(pod));
                    }
                }
                if after.is_none() {
                    self.wake(Task::Node(name));
                }
            }
            _ => {}
        }
    }

    fn follow_set(&mut self, name: &Name, before: Option<&Value>, after: Option<&Value>) {
        self.wake(Task::ReplicaSet(name.clone()));
        let owners = [before, after].map(|set| set.and_then(controller).map(|owner| text(&owner["name"])));
        for owner in owners.into_iter().flatten() {
            self.wake_deployment(name, owner);
        }
        // Somebody may adopt it.
        if let (Some(set), None) = (after, owners[1]) {
            let labels = &set["metadata"]["labels"];
            let adopters = self.cache.deployments.within(&name.namespace);
            let adopters = adopters.filter(|(_, d)| selects(&d["spec"]["selector"], labels));
            let adopters: Vec<Name> = adopters.map(|(name, _)| name.clone()).collect();
            for adopter in adopters {
                self.wake(Task::Deployment(adopter));
            }
        }
    }

    /// Wakes a Deployment, if it is one that owns a ReplicaSet.
    fn wake_deployment(&mut self, set: &Name, owner: &str) {
        let owner = set.beside(owner);
        if self.cache.deployments.get(&owner).is_some() {
            self.wake(Task::Deployment(owner));
        }
    }

    fn follow_pod(&mut self, name: &Name, before: Option<&Value>, after: Option<&Value>, user: &str) {
        self.follow_binding(name, before, after);
        let relabelled = before.map(labels) != after.map(labels);
        let owners = [before, after].map(|pod| pod.and_then(controller));
        for owner in owners.into_iter().flatten() {
            let owner_name = name.beside(text(&owner["name"]));
            match text(&owner["kind"]) {
                "ReplicaSet" => {
                    // A Deployment that recreates waits for the last pod.
                    let gone = after.is_none_or(is_finished);
                    if gone && let Some(set) = self.cache.sets.get(&owner_name).cloned() {
                        let deployment = controller(&set).map(|owner| text(&owner["name"])).unwrap_or_default();
                        self.wake_deployment(&owner_name, deployment);
                    }
                    self.wake(Task::ReplicaSet(owner_name));
                }
                "Job" => self.wake(Task::Job(owner_name)),
                _ => {}
            }
        }
        if let (Some(pod), None) = (after, owners[1])
            && (relabelled || owners[0].is_some())
        {
            // Somebody may adopt it.
            let sets = self.cache.sets.within(&name.namespace);
            let sets = sets.filter(|(_, set)| selects(&set["spec"]["selector"], labels(pod)));
            let sets: Vec<Name> = sets.map(|(name, _)| name.clone()).collect();
            for set in sets {
                self.wake(Task::ReplicaSet(set));
            }
        }
        self.follow_endpoint(name, before, after, relabelled);
        self.follow_kubelet(name, before, after, user);
    }

    /// Wakes the Services that select a pod, when it changed in something that endpoints tell.
    fn follow_endpoint(&mut self, name: &Name, before: Option<&Value>, after: Option<&Value>, relabelled: bool) {
        let told = |pod: &Value| {
            let ip = text(&pod["status"]["podIP"]).to_owned();
            (ip, is_ready(pod), is_deleted(pod), is_finished(pod))
        };
        let same = !relabelled && before.map(told) == after.map(told);
        let has_address = |pod: &Value| pod["status"]["podIP"].is_string();
        if same || ![before, after].into_iter().flatten().any(has_address) {
            return;
        }
        let services = self.cache.services.within(&name.namespace);
        let services = services.filter(|(_, service)| {
            let selector = service["spec"]["selector"].as_object();
            let selector = selector.filter(|selector| !selector.is_empty());
            let mut versions = [before, after].into_iter().flatten();
            selector.is_some_and(|selector| versions.any(|pod| super::objects::has_all(selector, labels(pod))))
        });
        let services: Vec<Name> = services.map(|(name, _)| name.clone()).collect();
        for service in services {
            self.wake(Task::Service(service));
        }
    }

    /// Keeps count of the nodes' pods and wakes the scheduler.
    fn follow_binding(&mut self, name: &Name, before: Option<&Value>, after: Option<&Value>) {
        let node = |pod: &Value| text(&pod["spec"]["nodeName"]).to_owned();
        let load = |pod: Option<&Value>| pod.filter(|pod| !is_finished(pod)).map(node).filter(|n| !n.is_empty());
        let (old, new) = (load(before), load(after));
        if old != new {
            if let Some(pods) = old.and_then(|old| self.cache.bound.get_mut(&old)) {
                pods.remove(name);
            }
            if let Some(new) = new {
                self.cache.bound.entry(new).or_default().insert(name.clone());
            }
            if !self.cache.unbound.is_empty() {
                // Room on a node.
                for pod in self.cache.unbound.clone() {
                    self.wake(Task::Schedule(pod));
                }
            }
        }
        match after {
            Some(pod) if node(pod).is_empty() && !is_deleted(pod) && !is_finished(pod) => {
                if self.cache.unbound.insert(name.clone()) {
                    self.wake(Task::Schedule(name.clone()));
                }
            }
            _ => {
                self.cache.unbound.remove(name);
            }
        }
    }

    fn follow_kubelet(&mut self, name: &Name, before: Option<&Value>, after: Option<&Value>, user: &str) {
        if let Some(before) = before
            && after.is_none_or(|after| uid(after) != uid(before))
        {
            self.runs.remove(uid(before));
        }
        let Some(pod) = after else {
            return;
        };
        if text(&pod["spec"]["nodeName"]).is_empty() && !is_deleted(pod) {
            return;
        }
        // Its own words tell a kubelet nothing new.
        let heard = before.is_some_and(|before| {
            (user == super::kubelet::USER || before["status"] == pod["status"])
                && before["spec"] == pod["spec"]
                && before["metadata"]["deletionTimestamp"] == pod["metadata"]["deletionTimestamp"]
        });
        if !heard {
            self.wake(Task::Pod(name.clone()));
        }
    }

    /// Wakes the garbage collector for an object, and for those it leaves behind.
    fn follow_ownership(&mut self, id: &Id, before: Option<&Value>, after: Option<&Value>) {
        if let Some(new) = after {
            if is_deleted(new) {
                if super::garbage::WAITING
                    .iter()
                    .any(|f| super::objects::has_finalizer(new, f))
                {
                    self.wake(Task::Release(id.clone()));
                }
            } else if !owners(new).is_empty() && before.map(owners) != Some(owners(new)) {
                self.wake(Task::Collect(id.clone()));
            }
        }
        // An owner that stands and falls with this one may wait for it.
        let released = before.filter(|_| after.is_none()).map(owners).unwrap_or_default();
        for owner in released {
            if let Some(owner) = self.cache.graph.find(text(&owner["uid"])).cloned() {
                self.wake(Task::Release(owner));
            }
        }
        if let Some(old) = before
            && after.is_none_or(|after| uid(after) != uid(old))
        {
            let orphans: Vec<Id> = self.cache.graph.dependants(uid(old)).cloned().collect();
            for orphan in orphans {
                self.wake(Task::Collect(orphan));
            }
        }
    }

    // === writes ===

    /// Writes a status, unless it is there already.
    ///
    /// Statuses are most of what the controllers write, and they write them as the API server would store them (a test
    /// says so): the schema is not walked for each, unless somebody wants to know who owns which field.
    pub(super) fn write_status(&self, user: &str, resource: &str, object: &Value, status: Value) -> Result<(), Status> {
        if object["status"] == status {
            return Ok(());
        }
        {
            let mut state = self.cluster.state();
            let kind = state.kinds.find(resource)?;
            let (namespace, name) = (namespace(object), name(object));
            let stored = state.store.table(kind.resource).get(namespace, name);
            let value = stored.map(|stored| Arc::clone(&stored.value));
            let value = value.ok_or_else(|| Status::not_found(kind.resource, name))?;
            if value["metadata"]["resourceVersion"] != object["metadata"]["resourceVersion"] {
                return Err(Status::modified(kind.resource, name));
            }
            if !state.managed_fields && value["metadata"]["managedFields"].is_null() {
                let new = with_fields(&value, [("status", status)]);
                state.store.put(user, kind.resource, namespace, name, Some(new));
                return Ok(());
            }
        }
        self.put_with(user, resource, Some("status"), object, [("status", status)])
            .map(|_| ())
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

fn labels(object: &Value) -> &Value {
    &object["metadata"]["labels"]
}

/// How the cluster's methods name a resource.
pub(super) fn plural(resource: Resource) -> String {
    resource.to_string()
}
