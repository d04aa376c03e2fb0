//! Prometheus' list of targets, from the pods' objects: what Kubernetes service discovery would give.

use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::Pod;
use serde_json::{Map, Value, json};

use super::{Context, PodInfo, pod};
use crate::prometheus;

/// Pods change in bursts: one write a burst.
const SETTLE: Duration = Duration::from_millis(20);

/// Writes the list whenever it has changed, for ever.
pub(crate) async fn write(context: Arc<Context>, folder: prometheus::Folder) {
    let mut written = Value::Null;
    loop {
        context.changed.notified().await;
        tokio::time::sleep(SETTLE).await;
        let groups = groups(&context);
        if groups != written {
            match folder.write_targets(&groups) {
                Ok(()) => written = groups,
                Err(error) => eprintln!("cluster: {error}"),
            }
        }
    }
}

fn groups(context: &Context) -> Value {
    let objects = context.objects();
    let records = context.records();
    let running = records.values().filter(|record| record.info.running);
    running
        .filter_map(|record| group(&record.info, objects.get(&record.info.uid)?))
        .collect()
}

/// One pod: its first port, or the one that the annotation `prometheus.io/port` names. `prometheus.io/scrape: "false"`
/// leaves it out.
fn group(info: &PodInfo, pod: &Pod) -> Option<Value> {
    let annotation = |name: &str| pod.metadata.annotations.as_ref().and_then(|a| a.get(name));
    if annotation("prometheus.io/scrape").is_some_and(|value| value == "false") {
        return None;
    }
    let port = match annotation("prometheus.io/port") {
        Some(port) => port.parse().ok()?,
        None => *pod::ports(pod.spec.as_ref()?.containers.first()?).first()?,
    };
    let mut labels = Map::new();
    let mut add = |name: &str, value: &str| labels.insert(format!("__meta_kubernetes_{name}"), value.into());
    add("namespace", &info.namespace);
    add("pod_name", &info.name);
    add("pod_uid", &info.uid);
    add("pod_ip", &info.ip.to_string());
    add("pod_node_name", &info.node);
    add("pod_ready", if info.ready { "true" } else { "false" });
    for (name, value) in pod.metadata.labels.iter().flatten() {
        add(&format!("pod_label_{}", sanitise(name)), value);
    }
    Some(json!({"targets": [format!("{}:{port}", info.ip)], "labels": labels}))
}

/// As Prometheus turns a Kubernetes label's name into one of its own.
fn sanitise(name: &str) -> String {
    name.chars()
        .map(|c| if c.is_ascii_alphanumeric() { c } else { '_' })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn info() -> PodInfo {
        PodInfo {
            namespace: "n".into(),
            name: "a".into(),
            uid: "u".into(),
            node: "node-1".into(),
            ip: std::net::Ipv4Addr::new(10, 244, 1, 1),
            hash: "5d8".into(),
            image: "demo:v1".into(),
            pid: None,
            restarts: 0,
            ready: true,
            running: true,
        }
    }

    #[test]
    fn labels_of_a_target_are_those_of_the_pod_object() {
        let mut pod: Pod = serde_json::from_value(json!({
            "metadata": {"labels": {"rollouts-pod-template-hash": "5d8"}},
            "spec": {"containers": [{"name": "app", "ports": [{"containerPort": 8081}]}]},
        }))
        .expect("a pod");
        let label = "__meta_kubernetes_pod_label_rollouts_pod_template_hash";
        let target = group(&info(), &pod).expect("a target");
        assert_eq!(target["targets"][0], "10.244.1.1:8081");
        assert_eq!(target["labels"][label], "5d8");
        // Not what the node remembers, but what the object says now.
        pod.metadata.labels = None;
        assert_eq!(group(&info(), &pod).expect("a target")["labels"].get(label), None);
    }
}
