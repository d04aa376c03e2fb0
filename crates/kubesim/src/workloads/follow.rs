//! Which change wakes whom.

use std::sync::Arc;

use serde_json::Value;

use super::{
    cache::{Id, Name},
    engine::{Engine, Task},
    objects::{controller, is_deleted, is_finished, is_ready, owners, selects, text, uid},
};
use crate::Resource;

impl Engine {
    /// Follows one change: the cache first, then everybody whose business it is.
    pub(super) fn follow(&mut self, resource: Resource, name: Name, new: Option<Arc<Value>>, user: &str) {
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
}

fn labels(object: &Value) -> &Value {
    &object["metadata"]["labels"]
}
