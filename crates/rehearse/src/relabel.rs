//! How a scraped pod's labels become those of its series.
//!
//! The default is what charts commonly configure: every pod label (`rollouts_pod_template_hash` among them), `namespace`,
//! `pod`, `node`, `job`, `instance`, and `service` from the pod label `app`.

use std::collections::{BTreeMap, BTreeSet};

use serin_promql::Labels;

use crate::load::Pod;

/// What differs from the default.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Relabelling {
    /// Value of the label `job`.
    pub job: Option<String>,
    /// Further labels: name of the series' label, name of the pod's label.
    pub from_pod_labels: BTreeMap<String, String>,
    /// Labels with a fixed value.
    pub fixed: BTreeMap<String, String>,
    /// Labels of series that are dropped; a relabelling without `labelmap` drops `rollouts_pod_template_hash`.
    pub drop: BTreeSet<String>,
}

impl Relabelling {
    /// The labels of everything that is scraped from this pod.
    pub fn of_pod(&self, name: &str, pod: &Pod) -> Labels {
        let mut labels: BTreeMap<String, String> = pod
            .labels
            .iter()
            .map(|(name, value)| (series_name(name), value.clone()))
            .collect();
        if let Some(app) = pod.labels.get("app") {
            labels.insert("service".to_owned(), app.clone());
        }
        let instance = format!("{}:8080", pod.ip);
        let job = self.job.as_deref().unwrap_or("kubernetes-pods");
        for (label, value) in [
            ("pod", name),
            ("namespace", &pod.namespace),
            ("node", &pod.node),
            ("job", job),
            ("instance", &instance),
        ] {
            labels.insert(label.to_owned(), value.to_owned());
        }
        for (label, of_pod) in &self.from_pod_labels {
            // Without that label of the pod there is none, whatever it would have been by default.
            labels.insert(label.clone(), pod.labels.get(of_pod).cloned().unwrap_or_default());
        }
        labels.extend(self.fixed.clone());
        labels.retain(|name, _| !self.drop.contains(name));
        labels.into_iter().collect()
    }
}

/// A Kubernetes label's name as Prometheus' service discovery writes it.
fn series_name(name: &str) -> String {
    let letter = |c: char| if c.is_ascii_alphanumeric() { c } else { '_' };
    name.chars().map(letter).collect()
}
