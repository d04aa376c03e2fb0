//! The built-in controllers of the simulated cluster: ReplicaSets make pods, pods become ready, Services get their
//! EndpointSlices. Pods live here only; nobody watches them.

use std::{collections::BTreeMap, time::Duration};

use serde_json::{Value, json};
use tokio::time::Instant;

use crate::{
    kubernetes::{Id, Kubernetes},
    objects::text,
};

/// How long a controller takes to notice a change.
const NOTICE: Duration = Duration::from_millis(5);

/// How pods behave, by a word in their image's tag (the same words as in the recordings).
#[derive(Clone, Copy, Debug)]
pub struct Pods {
    /// From creation to ready.
    pub ready_after: Duration,
    /// The same for tags that contain `slow`; pods of tags that contain `bad` never get ready.
    pub slow_after: Duration,
    /// Between the pods that one scaling starts: a cluster under load starts them one after the other.
    pub stagger: Duration,
}

impl Default for Pods {
    fn default() -> Self {
        Self {
            ready_after: Duration::from_millis(150),
            slow_after: Duration::from_millis(1500),
            stagger: Duration::ZERO,
        }
    }
}

#[derive(Debug)]
struct Pod {
    name: String,
    /// When it gets ready; never without.
    ready_at: Option<Instant>,
}

impl Pod {
    fn is_ready(&self, now: Instant) -> bool {
        self.ready_at.is_some_and(|at| at <= now)
    }

    fn is_available(&self, now: Instant, min_ready: Duration) -> bool {
        self.ready_at.is_some_and(|at| at + min_ready <= now)
    }
}

struct Workloads {
    cluster: Kubernetes,
    pods: BTreeMap<Id, Vec<Pod>>,
    behaviour: Pods,
    made: u32,
}

/// Runs the controllers for ever.
pub async fn run(cluster: Kubernetes, behaviour: Pods) {
    let mut changes = cluster.changes();
    let mut workloads = Workloads {
        cluster,
        pods: BTreeMap::new(),
        behaviour,
        made: 0,
    };
    loop {
        changes.mark_unchanged();
        let next = workloads.sync();
        let sleep = async {
            match next {
                Some(at) => tokio::time::sleep_until(at).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            changed = changes.changed() => {
                if changed.is_err() {
                    return;
                }
                tokio::time::sleep(NOTICE).await;
            }
            () = sleep => {}
        }
    }
}

impl Workloads {
    /// Brings everything up to date; says when something will change by itself.
    fn sync(&mut self) -> Option<Instant> {
        let now = Instant::now();
        let sets = self.cluster.all("replicasets");
        let ids: Vec<Id> = sets.iter().map(identity).collect();
        self.pods.retain(|id, _| ids.contains(id));
        let mut next = None;
        for (id, set) in ids.iter().zip(&sets) {
            let wake = self.sync_set(id, set, now);
            next = [next, wake].into_iter().flatten().min();
        }
        self.sync_services(&sets, now);
        next
    }

    fn sync_set(&mut self, id: &Id, set: &Value, now: Instant) -> Option<Instant> {
        let wanted = set.pointer("/spec/replicas").and_then(Value::as_u64).unwrap_or(1) as usize;
        let image = text(set, "/spec/template/spec/containers/0/image");
        let tag = image.rsplit_once(':').map_or("", |(_, tag)| tag);
        let ready_after = match tag {
            tag if tag.contains("bad") => None,
            tag if tag.contains("slow") => Some(self.behaviour.slow_after),
            _ => Some(self.behaviour.ready_after),
        };
        let pods = self.pods.entry(id.clone()).or_default();
        for nth in 0..u32::try_from(wanted.saturating_sub(pods.len())).unwrap_or(0) {
            self.made += 1;
            let ready_at = ready_after.map(|after| now + after + self.behaviour.stagger * nth);
            pods.push(Pod {
                name: format!("{}-{:05}", id.2, self.made),
                ready_at,
            });
        }
        if pods.len() > wanted {
            // Those that are not ready go first, then the youngest.
            pods.sort_by_key(|p| (!p.is_ready(now), p.ready_at));
            pods.truncate(wanted);
        }
        let min_ready = Duration::from_secs(
            set.pointer("/spec/minReadySeconds")
                .and_then(Value::as_u64)
                .unwrap_or(0),
        );
        let count = |is: &dyn Fn(&Pod) -> bool| pods.iter().filter(|p| is(p)).count();
        let mut status = json!({
            "replicas": pods.len(),
            "observedGeneration": set.pointer("/metadata/generation"),
        });
        for (field, n) in [
            ("fullyLabeledReplicas", pods.len()),
            ("readyReplicas", count(&|p| p.is_ready(now))),
            ("availableReplicas", count(&|p| p.is_available(now, min_ready))),
        ] {
            if n > 0 {
                status[field] = json!(n);
            }
        }
        self.cluster.set_status(id, status);
        let moments = pods
            .iter()
            .filter_map(|p| p.ready_at)
            .flat_map(|at| [at, at + min_ready]);
        moments.filter(|at| *at > now).min()
    }

    fn sync_services(&self, sets: &[Value], now: Instant) {
        for service in self.cluster.all("services") {
            let (namespace, name) = (text(&service, "/metadata/namespace"), text(&service, "/metadata/name"));
            let Some(selector) = service.pointer("/spec/selector").and_then(Value::as_object) else {
                continue;
            };
            let mut endpoints = Vec::new();
            for set in sets.iter().filter(|s| text(s, "/metadata/namespace") == namespace) {
                let labels = set.pointer("/spec/template/metadata/labels");
                if !selector.iter().all(|(k, v)| labels.and_then(|l| l.get(k)) == Some(v)) {
                    continue;
                }
                for pod in self.pods.get(&identity(set)).into_iter().flatten() {
                    endpoints.push(json!({
                        "addresses": ["10.0.0.1"],
                        "conditions": {"ready": pod.is_ready(now)},
                        "targetRef": {"kind": "Pod", "name": pod.name, "namespace": namespace},
                    }));
                }
            }
            self.cluster.put(
                "endpointslices",
                json!({
                    "metadata": {
                        "name": format!("{name}-slice"),
                        "namespace": namespace,
                        "labels": {"kubernetes.io/service-name": name},
                    },
                    "addressType": "IPv4",
                    "endpoints": endpoints,
                    "ports": [],
                }),
            );
        }
    }
}

fn identity(object: &Value) -> Id {
    let of = |path| text(object, path).to_owned();
    (
        "replicasets".to_owned(),
        of("/metadata/namespace"),
        of("/metadata/name"),
    )
}
