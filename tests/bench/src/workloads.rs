//! What the ReplicaSet and EndpointSlice controllers would say, without pods: every ReplicaSet is available at once, every
//! Service has the endpoints of the ReplicaSets that it selects.

use std::{collections::BTreeMap, sync::Arc};

use futures::StreamExt as _;
use http::Method;
use kube::{
    api::{ApiResource, DynamicObject},
    core::GroupVersionKind,
    runtime::watcher,
};
use serde_json::{Value, json};
use tokio::{sync::Semaphore, task::JoinHandle};

use crate::{
    objects::{REPLICA_SETS, SLICES},
    requests::Api,
};

/// Reports under way at the same time.
const AT_ONCE: usize = 16;

/// Runs until dropped.
pub(crate) struct Workloads(JoinHandle<()>);

impl Drop for Workloads {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// All objects of a kind in the namespace of the benchmark, now and later.
pub(crate) fn watch(
    api: &Api,
    group: &str,
    version: &str,
    kind: &str,
    plural: &str,
) -> futures::stream::BoxStream<'static, Value> {
    select(api, group, version, kind, plural, watcher::Config::default())
}

/// The ReplicaSets of one Rollout.
pub(crate) fn watch_replica_sets_of(api: &Api, app: &str) -> futures::stream::BoxStream<'static, Value> {
    let config = watcher::Config::default().labels(&format!("app={app}"));
    select(api, "apps", "v1", "ReplicaSet", "replicasets", config)
}

fn select(
    api: &Api,
    group: &str,
    version: &str,
    kind: &str,
    plural: &str,
    config: watcher::Config,
) -> futures::stream::BoxStream<'static, Value> {
    let resource = ApiResource::from_gvk_with_plural(&GroupVersionKind::gvk(group, version, kind), plural);
    let objects: kube::Api<DynamicObject> = kube::Api::namespaced_with(api.client.clone(), "bench", &resource);
    let events = watcher(objects, config);
    let seen = events.filter_map(|event| async {
        match event {
            Ok(watcher::Event::Apply(object) | watcher::Event::InitApply(object)) => serde_json::to_value(object).ok(),
            _ => None,
        }
    });
    seen.boxed()
}

/// Starts them.
pub(crate) fn start(api: &Api) -> Workloads {
    let api = api.clone();
    let places = Arc::new(Semaphore::new(AT_ONCE));
    Workloads(tokio::spawn(async move {
        let sets = watch(&api, "apps", "v1", "ReplicaSet", "replicasets");
        let services = watch(&api, "", "v1", "Service", "services");
        let mut events = futures::stream::select(sets.map(Ok::<Value, Value>), services.map(Err));
        let mut all = BTreeMap::new();
        let mut selectors: BTreeMap<String, Value> = BTreeMap::new();
        while let Some(event) = events.next().await {
            let (object, is_service) = match event {
                Ok(set) => (set, false),
                Err(service) => (service, true),
            };
            let name = object["metadata"]["name"].as_str().unwrap_or_default().to_owned();
            // An answer that says no means that somebody was faster; the next event tells.
            if is_service {
                selectors.insert(name.clone(), object["spec"]["selector"].clone());
                let _ = publish(&api, &name, &selectors[&name], &all).await;
                continue;
            }
            let replicas = object["spec"]["replicas"].as_i64().unwrap_or(0);
            if is_news(&object, replicas)
                && let Ok(place) = Arc::clone(&places).acquire_owned().await
            {
                let (api, name, generation) = (api.clone(), name.clone(), object["metadata"]["generation"].clone());
                tokio::spawn(async move {
                    let _ = report(&api, &name, &generation, replicas).await;
                    drop(place);
                });
            }
            let labels = object["spec"]["template"]["metadata"]["labels"].clone();
            let before = all.insert(name.clone(), (labels.clone(), replicas));
            if before.as_ref().map_or(replicas > 0, |(_, n)| *n != replicas) {
                for (service, selector) in &selectors {
                    if selects(selector, &labels) {
                        let _ = publish(&api, service, selector, &all).await;
                    }
                }
            }
        }
    }))
}

/// Whether the status does not say yet what it should. Those that never had a pod are left as they are: nobody reads more
/// of them than that, and there are tens of thousands.
fn is_news(set: &Value, replicas: i64) -> bool {
    let status = &set["status"];
    let said = status["replicas"].as_i64().unwrap_or(0);
    let observed = status["observedGeneration"] == set["metadata"]["generation"];
    said != replicas || (replicas > 0 && !observed)
}

async fn report(api: &Api, name: &str, generation: &Value, replicas: i64) -> anyhow::Result<()> {
    let status = json!({"status": {
        "replicas": replicas, "fullyLabeledReplicas": replicas, "readyReplicas": replicas, "availableReplicas": replicas,
        "observedGeneration": generation,
    }});
    api.merge(&format!("{REPLICA_SETS}/{name}/status"), &status)
        .await
        .map(drop)
}

fn selects(selector: &Value, labels: &Value) -> bool {
    let selector = selector.as_object();
    selector.is_some_and(|s| s.iter().all(|(key, value)| labels[key] == *value))
}

async fn publish(
    api: &Api,
    service: &str,
    selector: &Value,
    sets: &BTreeMap<String, (Value, i64)>,
) -> anyhow::Result<()> {
    let mut endpoints = Vec::new();
    for (set, (_, replicas)) in sets.iter().filter(|(_, (labels, _))| selects(selector, labels)) {
        for nth in 0..*replicas {
            endpoints.push(json!({
                "addresses": ["10.244.9.9"], "conditions": {"ready": true, "serving": true, "terminating": false},
                "targetRef": {"kind": "Pod", "namespace": "bench", "name": format!("{set}-{nth:05}")},
            }));
        }
    }
    let slice = json!({
        "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
        "metadata": {"name": service, "labels": {"kubernetes.io/service-name": service}},
        "endpoints": endpoints, "ports": [{"port": 8080}],
    });
    let path = format!("{SLICES}/{service}?fieldManager=bench&force=true");
    api.send(Method::PATCH, &path, "application/apply-patch+yaml", &slice)
        .await
        .map(drop)
}
