//! The built-in controllers in virtual time.

mod deployments;
mod garbage;
mod jobs;
mod pods;
mod replicasets;
mod services;
mod whole;

use std::{sync::Arc, time::Duration};

use serde_json::{Value, json};

use super::{PodBehaviour, PodPlan, Workloads};
use crate::{Cluster, Options, Patch};

/// A cluster with its controllers at work.
struct Stage {
    cluster: Cluster,
}

impl Stage {
    fn new(pods: impl PodBehaviour + 'static) -> Self {
        Self::with(Options::default(), pods, |workloads| workloads)
    }

    fn with(options: Options, pods: impl PodBehaviour + 'static, adjust: impl FnOnce(Workloads) -> Workloads) -> Self {
        let cluster = Cluster::new(options);
        let workloads = adjust(Workloads::new(&cluster, Arc::new(pods)));
        tokio::spawn(workloads.run());
        Self { cluster }
    }

    fn create(&self, resource: &str, object: Value) -> Arc<Value> {
        self.cluster.create("user", resource, object).unwrap()
    }

    fn get(&self, resource: &str, name: &str) -> Value {
        let object = self.cluster.get(resource, "default", name);
        object.map(|object| (*object).clone()).unwrap_or_default()
    }

    fn patch(&self, resource: &str, name: &str, patch: Value) {
        self.cluster
            .patch("user", resource, "default", name, None, &Patch::Merge(patch))
            .unwrap();
    }

    fn delete(&self, resource: &str, name: &str, options: Value) {
        self.cluster
            .delete("user", resource, "default", name, &options)
            .unwrap();
    }

    /// Pods, by name.
    fn pods(&self) -> Vec<Arc<Value>> {
        self.cluster.list("pods")
    }

    /// Pods of an app that are not on their way out.
    fn living(&self, app: &str) -> Vec<Arc<Value>> {
        let pods = self.pods().into_iter();
        pods.filter(|p| p["metadata"]["labels"]["app"] == app && p["metadata"]["deletionTimestamp"].is_null())
            .collect()
    }

    /// Until this many seconds after the start.
    async fn at(&self, seconds: f64) {
        let left = Duration::from_secs_f64(seconds).saturating_sub(self.cluster.elapsed());
        tokio::time::sleep(left).await;
    }

    /// Waits until the cluster is so; the time it took since the start.
    async fn until(&self, what: &str, is: impl Fn(&Self) -> bool) -> Duration {
        let mut changes = self.cluster.changes();
        let wait = async {
            loop {
                changes.mark_unchanged();
                if is(self) {
                    return self.cluster.elapsed();
                }
                changes.changed().await;
            }
        };
        let waited = tokio::time::timeout(Duration::from_secs(3600), wait).await;
        waited.unwrap_or_else(|_| panic!("after an hour still not: {what}\n{}", self.told()))
    }

    /// Everything that happened, one line a change.
    fn told(&self) -> String {
        use std::fmt::Write as _;
        let mut out = String::new();
        for change in self.cluster.history() {
            let what = match (&change.old, &change.new) {
                (None, _) => "+",
                (_, None) => "-",
                _ => "~",
            };
            let (plural, name) = (change.resource.plural, &change.name);
            let _ = writeln!(
                out,
                "{:>9} {} {what} {plural} {name}",
                change.at.as_millis(),
                change.user
            );
        }
        out
    }

    /// Every different value that a field of an object had, in order.
    fn values(&self, resource: &str, name: &str, path: &str) -> Vec<Value> {
        let mut values: Vec<Value> = Vec::new();
        for change in self.cluster.history() {
            if change.resource.plural != resource || change.name != name {
                continue;
            }
            let value = change
                .new
                .as_ref()
                .and_then(|new| new.pointer(path))
                .cloned()
                .unwrap_or_default();
            if values.last() != Some(&value) {
                values.push(value);
            }
        }
        values
    }

    fn reasons(&self, user: &str) -> Vec<String> {
        let events = self.cluster.history().into_iter();
        let events = events.filter(|c| c.resource.plural == "events" && c.user == user && c.old.is_none());
        events
            .filter_map(|c| Some(c.new?["reason"].as_str()?.to_owned()))
            .collect()
    }
}

fn ready_after(milliseconds: u64) -> PodPlan {
    PodPlan {
        ready_after: Some(Duration::from_millis(milliseconds)),
        ..PodPlan::default()
    }
}

/// Decides by the tag of the image: `bad`, `slow`, `crash`, `missing`, or good.
struct ByImage;

impl PodBehaviour for ByImage {
    fn start(&self, pod: &Value) -> PodPlan {
        let image = pod["spec"]["containers"][0]["image"].as_str().unwrap();
        let mut plan = ready_after(100);
        match image.rsplit_once(':').unwrap().1 {
            "bad" => plan.ready_after = None,
            "slow" => plan.ready_after = Some(Duration::from_secs(30)),
            "crash" => plan.fails_after = Some(Duration::from_secs(2)),
            "done" => plan.completes_after = Some(Duration::from_secs(5)),
            "missing" => plan.image_exists = false,
            _ => {}
        }
        plan
    }
}

fn template(app: &str, image: &str) -> Value {
    json!({
        "metadata": {"labels": {"app": app}},
        "spec": {"containers": [{"name": "web", "image": format!("web:{image}"), "ports": [{"name": "http", "containerPort": 8080}]}]},
    })
}

fn replicaset(app: &str, replicas: u64, image: &str) -> Value {
    json!({
        "apiVersion": "apps/v1",
        "kind": "ReplicaSet",
        "metadata": {"name": app, "namespace": "default"},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": {"app": app}},
            "template": template(app, image),
        },
    })
}

fn deployment(app: &str, replicas: u64, image: &str) -> Value {
    let mut deployment = replicaset(app, replicas, image);
    deployment["kind"] = json!("Deployment");
    deployment
}

fn service(name: &str, app: &str) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": name, "namespace": "default"},
        "spec": {"selector": {"app": app}, "ports": [{"name": "http", "port": 80, "targetPort": 8080}]},
    })
}

fn job(name: &str, image: &str, spec: Value) -> Value {
    let mut job = json!({
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": name, "namespace": "default"},
        "spec": spec,
    });
    job["spec"]["template"] = template(name, image);
    job["spec"]["template"]["spec"]["restartPolicy"] = json!("Never");
    job
}

fn condition(object: &Value, kind: &str) -> Value {
    let conditions = object["status"]["conditions"].as_array();
    let mut conditions = conditions.into_iter().flatten();
    conditions.find(|c| c["type"] == kind).cloned().unwrap_or_default()
}
