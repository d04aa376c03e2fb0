//! The two servers: kubesim in virtual time, and the real kube-apiserver of the test cluster with nothing at work behind it.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, Result};
use kube::Client;
use kube::config::{KubeConfigOptions, Kubeconfig};
use serde_json::{Value, json};
use serin_cluster::{Component, Inside};
use serin_kubesim::{Cluster, Crd};
use tokio::runtime::Runtime;

use crate::answer::Answer;
use crate::case::Case;
use crate::generate::folder;
use crate::play;

/// How many cases are played at once on the real server: most of the time of a watch is waiting.
const AT_ONCE: usize = 32;

/// The definitions of Serin's own kinds.
pub fn serins_crds() -> PathBuf {
    folder().join("../../deploy/crds")
}

/// The definitions that only these tests have, and the Gateway API's as the real server stores it.
pub fn crds() -> PathBuf {
    folder().join("crds")
}

/// All definitions, read.
///
/// # Errors
/// When a file is no definition.
pub fn definitions() -> Result<Vec<Value>> {
    let mut found = Vec::new();
    for folder in [serins_crds(), crds()] {
        let mut paths: Vec<PathBuf> = std::fs::read_dir(&folder)
            .with_context(|| folder.display().to_string())?
            .filter_map(|entry| entry.ok().map(|entry| entry.path()))
            .collect();
        paths.sort();
        for path in paths {
            let text = std::fs::read_to_string(&path)?;
            let options = serde_saphyr::options! { budget: None };
            let value: Value =
                serde_saphyr::from_str_with_options(&text, options).with_context(|| path.display().to_string())?;
            if value["kind"] == "CustomResourceDefinition" {
                found.push(value);
            }
        }
    }
    Ok(found)
}

/// kubesim with all definitions.
#[derive(Debug)]
pub struct Simulated {
    definitions: Vec<Arc<Crd>>,
}

impl Simulated {
    /// Reads the definitions.
    ///
    /// # Errors
    /// When kubesim does not take one.
    pub fn new() -> Result<Self> {
        let definitions = definitions()?
            .iter()
            .map(|value| {
                Crd::parse(value).map_err(|status| {
                    anyhow::anyhow!("kubesim refuses {}: {}", value["metadata"]["name"], status.message)
                })
            })
            .collect::<Result<_>>()?;
        Ok(Self { definitions })
    }

    /// Plays cases, one after another, in one cluster.
    ///
    /// # Errors
    /// When a namespace cannot be made.
    pub fn play(&self, cases: &[Case]) -> Result<Vec<Vec<Answer>>> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build()?;
        runtime.block_on(async {
            let cluster = Cluster::new(serin_kubesim::Options {
                record: false,
                managed_fields: true,
                bare: true,
                ..serin_kubesim::Options::default()
            });
            for crd in &self.definitions {
                cluster.register(crd);
            }
            play::all(&cluster.client("admin"), cases, "conformance", 1).await
        })
    }
}

/// The real one: etcd and API server only, so that nothing but the cases' requests changes anything.
pub struct Real {
    /// Drives the cluster while it starts and ends.
    behind: Runtime,
    cluster: Option<serin_cluster::Cluster>,
    front: Runtime,
    client: Client,
    played: std::cell::Cell<usize>,
}

impl Real {
    /// Starts the cluster.
    ///
    /// # Errors
    /// When it does not start.
    pub fn start(inside: Inside) -> Result<Self> {
        let behind = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let cluster = behind.block_on(async {
            let mut options = serin_cluster::Options::new(inside);
            options.crds = vec![serins_crds(), crds().join("gadgets.json")];
            options.api_server_only = true;
            let cluster = serin_cluster::Cluster::start(options).await?;
            forget_old_versions().await?;
            // Caches begin at the version at which the server starts: now all of them know nothing of the first ones.
            cluster.kill_component(Component::ApiServer).await?;
            cluster.start_component(Component::ApiServer).await?;
            anyhow::Ok(cluster)
        })?;
        let front = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()?;
        let client = front.block_on(async {
            let client = client(&cluster.kubeconfig()).await?;
            play::warm(&client).await?;
            anyhow::Ok(client)
        })?;
        Ok(Self {
            behind,
            cluster: Some(cluster),
            front,
            client,
            played: std::cell::Cell::new(0),
        })
    }

    /// Plays cases, several at once.
    ///
    /// # Errors
    /// When a namespace cannot be made.
    pub fn play(&self, cases: &[Case]) -> Result<Vec<Vec<Answer>>> {
        let round = self.played.get();
        self.played.set(round + 1);
        self.front
            .block_on(play::all(&self.client, cases, &format!("conformance-{round}"), AT_ONCE))
    }

    /// The Gateway API's HTTPRoute definition as the server has it, without descriptions.
    ///
    /// # Errors
    /// When the server does not answer.
    pub fn http_route_definition(&self) -> Result<Value> {
        let path = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/httproutes.gateway.networking.k8s.io";
        let text = self
            .front
            .block_on(self.client.request_text(http::Request::get(path).body(Vec::new())?))?;
        let mut value: Value = serde_json::from_str(&text)?;
        value["metadata"] = json!({"name": value["metadata"]["name"], "annotations": value["metadata"]["annotations"]});
        if let Some(map) = value.as_object_mut() {
            map.remove("status");
        }
        drop_descriptions(&mut value);
        Ok(value)
    }

    /// Ends everything.
    pub fn end(mut self) {
        if let Some(cluster) = self.cluster.take() {
            self.behind.block_on(cluster.shutdown());
        }
    }
}

/// Removes `description` texts of schemas; a property of that name is an object and stays.
fn drop_descriptions(value: &mut Value) {
    match value {
        Value::Array(items) => items.iter_mut().for_each(drop_descriptions),
        Value::Object(map) => {
            if map.get("description").is_some_and(Value::is_string) {
                map.remove("description");
            }
            map.values_mut().for_each(drop_descriptions);
        }
        _ => {}
    }
}

/// A client that repeats nothing by itself.
///
/// # Errors
/// When the kubeconfig is no such file.
async fn client(kubeconfig: &Path) -> Result<Client> {
    let mut config =
        kube::Config::from_custom_kubeconfig(Kubeconfig::read_from(kubeconfig)?, &KubeConfigOptions::default()).await?;
    config.default_retry = false;
    Ok(Client::try_from(config)?)
}

/// Has etcd forget all versions up to now, as it does by itself every five minutes.
async fn forget_old_versions() -> Result<()> {
    let http = reqwest::Client::new();
    let ask = async |path: &str, body: Value| -> Result<Value> {
        let answer = http
            .post(format!("http://127.0.0.1:2379/v3/kv/{path}"))
            .json(&body)
            .send()
            .await?;
        Ok(answer.error_for_status()?.json().await?)
    };
    let range = ask("range", json!({"key": "AA=="})).await?;
    let revision = &range["header"]["revision"];
    ask("compaction", json!({"revision": revision}))
        .await
        .context("etcd cannot be made to forget")?;
    Ok(())
}
