//! Prometheus: its configuration, the targets that virtual nodes write for it, rules and queries.

use std::collections::BTreeMap;
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::{Value, json};

use crate::component::Recipe;
use crate::control_plane::{Files, loopback};
use crate::error::{Error, Result};
use crate::{gateway, http};

pub(crate) const ADDRESS: SocketAddr = loopback(9090);

/// Prometheus' folder.
#[derive(Clone, Debug)]
pub(crate) struct Folder {
    root: PathBuf,
}

impl Folder {
    pub(crate) fn create(dir: &Path) -> Result<Self> {
        let folder = Self {
            root: dir.join("prometheus"),
        };
        if folder.root.exists() {
            fs::remove_dir_all(&folder.root).map_err(Error::io("empty", &folder.root))?;
        }
        for path in [folder.root.join("rules"), folder.root.join("targets")] {
            fs::create_dir_all(&path).map_err(Error::io("create", &path))?;
        }
        let config = folder.root.join("prometheus.yml");
        fs::write(&config, format!("{:#}\n", folder.configuration())).map_err(Error::io("write", &config))?;
        folder.write_targets(&Value::Array(Vec::new()))?;
        Ok(folder)
    }

    /// Rule files (`*.yml`) dropped here are read after a reload.
    pub(crate) fn rules(&self) -> PathBuf {
        self.root.join("rules")
    }

    /// Replaces the list of pods to scrape, in file_sd format. In one step: Prometheus may read at any time.
    pub(crate) fn write_targets(&self, groups: &Value) -> Result<()> {
        let path = self.root.join("targets/pods.json");
        let work = self.root.join("pods.json.new");
        fs::write(&work, groups.to_string()).map_err(Error::io("write", &work))?;
        fs::rename(&work, &path).map_err(Error::io("replace", &path))
    }

    /// The targets carry the labels that Kubernetes service discovery would give, and the job turns them into series
    /// labels as charts commonly do: every pod label, namespace, pod, node, and `service` from the label `app`.
    fn configuration(&self) -> Value {
        json!({
            "global": {"scrape_interval": "1s", "scrape_timeout": "1s", "evaluation_interval": "1s"},
            "rule_files": [self.root.join("rules/*.yml"), self.root.join("rules/*.yaml")],
            "scrape_configs": [
                {
                    "job_name": "kubernetes-pods",
                    "file_sd_configs": [{"files": [self.root.join("targets/*.json")]}],
                    "relabel_configs": [
                        {"action": "labelmap", "regex": "__meta_kubernetes_pod_label_(.+)"},
                        {"source_labels": ["__meta_kubernetes_namespace"], "target_label": "namespace"},
                        {"source_labels": ["__meta_kubernetes_pod_name"], "target_label": "pod"},
                        {"source_labels": ["__meta_kubernetes_pod_node_name"], "target_label": "node"},
                        {"source_labels": ["__meta_kubernetes_pod_label_app"], "regex": "(.+)", "target_label": "service"},
                    ],
                },
                {"job_name": "traefik", "static_configs": [{"targets": [gateway::METRICS.to_string()]}]},
                {"job_name": "prometheus", "static_configs": [{"targets": [ADDRESS.to_string()]}]},
            ],
        })
    }

    pub(crate) fn recipe(&self, program: &Path, files: &Files) -> Recipe {
        Recipe {
            program: program.to_owned(),
            arguments: [
                format!("--config.file={}", self.root.join("prometheus.yml").display()),
                format!("--storage.tsdb.path={}", self.root.join("data").display()),
                format!("--web.listen-address={ADDRESS}"),
                "--web.enable-lifecycle".into(),
                "--storage.tsdb.retention.time=2d".into(),
                // Hidden flag: how long changed targets may wait for the next look. The default is 5 s.
                "--scrape.discovery-reload-interval=200ms".into(),
                "--log.level=info".into(),
            ]
            .map(Into::into)
            .to_vec(),
            log: files.log("prometheus"),
            ready: Some((ADDRESS, "/-/ready")),
        }
    }
}

/// One element of an instant vector (or a scalar, without labels).
#[derive(Clone, Debug, PartialEq)]
pub struct Sample {
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// Its value; NaN and infinities as they are.
    pub value: f64,
}

/// Evaluates a PromQL query at the present.
///
/// # Errors
/// Prometheus' own words, or that it cannot be reached.
pub(crate) async fn query(text: &str) -> Result<Vec<Sample>> {
    let path = format!("/api/v1/query?query={}", http::encode(text));
    let (status, body) = http::get(ADDRESS, &path, Duration::from_secs(10))
        .await
        .map_err(|e| Error::Other(format!("failed to query Prometheus: {e}")))?;
    let answer: Value = serde_json::from_slice(&body)
        .map_err(|e| Error::Other(format!("Prometheus answered {status} and no JSON: {e}")))?;
    if status != 200 {
        return Err(Error::Other(format!(
            "Prometheus refused `{text}`: {}",
            answer["error"].as_str().unwrap_or("?")
        )));
    }
    samples(&answer["data"]).ok_or_else(|| Error::Other(format!("unexpected answer of Prometheus: {answer}")))
}

fn samples(data: &Value) -> Option<Vec<Sample>> {
    let value = |pair: &Value| pair.get(1)?.as_str()?.replace("Inf", "inf").parse().ok();
    match data["resultType"].as_str()? {
        "scalar" => Some(vec![Sample {
            labels: BTreeMap::new(),
            value: value(&data["result"])?,
        }]),
        "vector" => data["result"]
            .as_array()?
            .iter()
            .map(|element| {
                let labels = serde_json::from_value(element["metric"].clone()).ok()?;
                Some(Sample {
                    labels,
                    value: value(&element["value"])?,
                })
            })
            .collect(),
        _ => None,
    }
}

/// Makes Prometheus read its rule files again.
///
/// # Errors
/// Prometheus' own words, for example on a broken rule file.
pub(crate) async fn reload() -> Result<()> {
    match http::request(::http::Method::POST, ADDRESS, "/-/reload", Duration::from_secs(10)).await {
        Ok((200, _)) => Ok(()),
        Ok((status, body)) => Err(Error::Other(format!(
            "Prometheus' reload: {status} {}",
            String::from_utf8_lossy(&body).trim()
        ))),
        Err(why) => Err(Error::Other(format!("Prometheus' reload: {why}"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn vectors_scalars_and_special_values_are_read() {
        let vector = json!({"resultType": "vector", "result": [{"metric": {"pod": "a"}, "value": [1.5, "NaN"]}]});
        let found = samples(&vector).expect("a vector");
        assert_eq!(found[0].labels["pod"], "a");
        assert!(found[0].value.is_nan());
        let scalar = samples(&json!({"resultType": "scalar", "result": [1, "+Inf"]})).expect("a scalar");
        assert_eq!(scalar[0].value, f64::INFINITY);
        assert_eq!(samples(&json!({"resultType": "matrix", "result": []})), None);
    }
}
