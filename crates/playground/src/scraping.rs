//! What is scraped, and under which labels: the usual relabelling of charts, said twice, once as a configuration for a real
//! Prometheus and once as labels. Pure.
//!
//! Every pod label (`rollouts_pod_template_hash` among them), `namespace`, `pod`, `node`, and `service` from the label `app`.

use std::{collections::BTreeMap, net::SocketAddr, path::Path, time::Duration};

use serde_json::{Map, Value, json};
use serin_model::At as _;

use crate::pods::Running;

/// The job of pods.
const JOB: &str = "kubernetes-pods";

/// One address to scrape.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Target {
    pub(crate) address: SocketAddr,
    pub(crate) labels: BTreeMap<String, String>,
}

/// What is scraped beside pods: jobs and addresses.
pub(crate) type Fixed = Vec<(&'static str, SocketAddr)>;

/// All targets as a Prometheus has them after relabelling.
pub(crate) fn targets<'a>(pods: impl IntoIterator<Item = &'a Running>, fixed: &Fixed) -> Vec<Target> {
    let pods = pods.into_iter().filter_map(|pod| {
        let address = address(pod)?;
        let mut labels: BTreeMap<String, String> =
            of_pod(pod).map(|(name, value)| (series_name(name), value)).collect();
        if let Some(app) = labels.get("app").cloned().filter(|app| !app.is_empty()) {
            labels.insert("service".to_owned(), app);
        }
        let node = text(pod, "/spec/nodeName");
        for (name, value) in [
            ("namespace", &*pod.namespace),
            ("pod", &*pod.name),
            ("node", node),
            ("job", JOB),
        ] {
            labels.insert(name.to_owned(), value.to_owned());
        }
        labels.insert("instance".to_owned(), address.to_string());
        Some(Target { address, labels })
    });
    let fixed = fixed.iter().map(|(job, address)| {
        let labels = [("job", (*job).to_owned()), ("instance", address.to_string())];
        Target {
            address: *address,
            labels: labels
                .into_iter()
                .map(|(name, value)| (name.to_owned(), value))
                .collect(),
        }
    });
    pods.chain(fixed).collect()
}

/// The pods as Kubernetes' service discovery would tell them, for `file_sd`.
pub(crate) fn discovered<'a>(pods: impl IntoIterator<Item = &'a Running>) -> Value {
    let group = |pod: &'a Running| {
        let mut labels = Map::new();
        let mut add = |name: String, value: &str| labels.insert(format!("__meta_kubernetes_{name}"), value.into());
        add("namespace".to_owned(), &pod.namespace);
        add("pod_name".to_owned(), &pod.name);
        add("pod_node_name".to_owned(), text(pod, "/spec/nodeName"));
        for (name, value) in of_pod(pod) {
            add(format!("pod_label_{}", series_name(name)), &value);
        }
        Some(json!({"targets": [address(pod)?.to_string()], "labels": labels}))
    };
    pods.into_iter().filter_map(group).collect()
}

/// Prometheus' configuration, in JSON, which is YAML too.
pub(crate) fn configuration(folder: &Path, interval: Duration, fixed: &Fixed) -> Value {
    let interval = format!("{}ms", interval.as_millis());
    let mut jobs = vec![json!({
        "job_name": JOB,
        "file_sd_configs": [{"files": [folder.join("targets.json")]}],
        "relabel_configs": [
            {"action": "labelmap", "regex": "__meta_kubernetes_pod_label_(.+)"},
            {"source_labels": ["__meta_kubernetes_namespace"], "target_label": "namespace"},
            {"source_labels": ["__meta_kubernetes_pod_name"], "target_label": "pod"},
            {"source_labels": ["__meta_kubernetes_pod_node_name"], "target_label": "node"},
            {"source_labels": ["__meta_kubernetes_pod_label_app"], "regex": "(.+)", "target_label": "service"},
        ],
    })];
    jobs.extend(
        fixed
            .iter()
            .map(|(job, address)| json!({"job_name": job, "static_configs": [{"targets": [address.to_string()]}]})),
    );
    json!({
        "global": {"scrape_interval": interval, "scrape_timeout": interval, "evaluation_interval": interval},
        "rule_files": [folder.join("rules-*.yml")],
        "scrape_configs": jobs,
    })
}

/// The port that the annotation `prometheus.io/port` names, or the first; nothing where `prometheus.io/scrape` is "false".
fn address(pod: &Running) -> Option<SocketAddr> {
    let annotation = |name: &str| pod.object.at("/metadata/annotations")?[name].as_str();
    if annotation("prometheus.io/scrape") == Some("false") {
        return None;
    }
    match annotation("prometheus.io/port").and_then(|port| port.parse().ok()) {
        Some(port) => pod.port(port),
        None => pod.listens.first().map(|(_, address)| *address),
    }
}

fn of_pod(pod: &Running) -> impl Iterator<Item = (&str, String)> {
    let labels = pod.object.at("/metadata/labels").and_then(Value::as_object);
    let labels = labels.into_iter().flatten();
    labels.map(|(name, value)| (name.as_str(), value.as_str().unwrap_or_default().to_owned()))
}

fn text<'a>(pod: &'a Running, path: &str) -> &'a str {
    pod.object.at(path).and_then(Value::as_str).unwrap_or_default()
}

/// A Kubernetes label's name as Prometheus' service discovery writes it.
fn series_name(name: &str) -> String {
    let letter = |c: char| if c.is_ascii_alphanumeric() { c } else { '_' };
    name.chars().map(letter).collect()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    fn pod(annotations: Value) -> Running {
        Running {
            namespace: "n".to_owned(),
            name: "shop-1".to_owned(),
            object: Arc::new(json!({
                "metadata": {"labels": {"app": "shop", "rollouts-pod-template-hash": "5d8"}, "annotations": annotations},
                "spec": {"nodeName": "node-1"},
            })),
            listens: vec![
                (8080, ([127, 20, 0, 1], 8080).into()),
                (9090, ([127, 20, 0, 1], 9090).into()),
            ],
        }
    }

    #[test]
    fn the_hash_of_the_revision_reaches_both_kinds_of_prometheus() {
        let pod = pod(Value::Null);
        let target = targets([&pod], &Vec::new()).remove(0);
        assert_eq!(target.labels["rollouts_pod_template_hash"], "5d8");
        assert_eq!(
            (target.labels["service"].as_str(), target.labels["pod"].as_str()),
            ("shop", "shop-1")
        );
        let told = discovered([&pod]);
        assert_eq!(
            told[0]["labels"]["__meta_kubernetes_pod_label_rollouts_pod_template_hash"],
            "5d8"
        );
        assert_eq!(told[0]["targets"][0], "127.20.0.1:8080");
    }

    #[test]
    fn annotations_choose_the_port_or_leave_a_pod_out() {
        let other = pod(json!({"prometheus.io/port": "9090"}));
        assert_eq!(targets([&other], &Vec::new())[0].labels["instance"], "127.20.0.1:9090");
        let out = pod(json!({"prometheus.io/scrape": "false"}));
        assert!(targets([&out], &Vec::new()).is_empty());
    }
}
