//! The other ground of the same scenarios: the unchanged controller in a Kubernetes in the process, in virtual time, with
//! the behaviour of pods that the virtual nodes of the real cluster have, a gateway, users and the shipped recording rules.

mod gateway;
mod metrics;
mod pods;

use std::sync::{Arc, LazyLock};

use anyhow::{Context as _, Result, anyhow};
use chrono::{DateTime, Utc};
use serde_json::{Value, json};
use serin_cluster::load::Load;
use serin_controller::{Clock, Config, Context};
use serin_kubesim::{Cluster, Crd, Options, workloads::Workloads};
use serin_providers::{ProviderSettings, Providers};
use tokio::{
    sync::{Mutex, oneshot},
    task::JoinHandle,
};

use crate::{install, stub::Stub};
pub(crate) use gateway::Gateway;

/// Serin's resource definitions as they are deployed, and a reduced one of HTTPRoute.
static CRDS: LazyLock<Result<Vec<Arc<Crd>>>> = LazyLock::new(|| {
    let folder = install::deploy_folder().join("crds");
    let mut texts = Vec::new();
    for name in [
        "rollouts",
        "analysisruns",
        "analysistemplates",
        "clusteranalysistemplates",
    ] {
        let path = folder.join(format!("{name}-crd.yaml"));
        texts.push(std::fs::read_to_string(&path).with_context(|| path.display().to_string())?);
    }
    texts.push(include_str!("../../../simulation/data/httproutes-crd.yaml").to_owned());
    texts
        .iter()
        .map(|text| {
            let value: Value = serde_saphyr::from_str(text).context("a resource definition is not YAML")?;
            Crd::parse(&value).map_err(|status| anyhow!("a resource definition is refused: {}", status.message))
        })
        .collect()
});

/// Where the metrics that name no provider of their own are.
const PROMETHEUS: &str = "http://prometheus.monitoring:9090";
/// The time of day at which every test begins.
const START: DateTime<Utc> = match DateTime::from_timestamp(1_795_262_400, 0) {
    Some(start) => start,
    None => DateTime::UNIX_EPOCH,
};

/// A running one. Needs a runtime of its own with a paused clock.
pub(crate) struct Simulated {
    pub(crate) cluster: Cluster,
    gateway: Gateway,
    workloads: JoinHandle<()>,
    controller: Mutex<Option<Running>>,
}

struct Running {
    stop: oneshot::Sender<()>,
    task: JoinHandle<Result<(), serin_controller::Error>>,
}

impl Drop for Simulated {
    fn drop(&mut self) {
        self.workloads.abort();
    }
}

impl Simulated {
    /// A cluster with one controller at work.
    pub(crate) fn start(stub: &Stub) -> Result<Self> {
        let cluster = Cluster::new(Options {
            start: START,
            ..Options::default()
        });
        for crd in CRDS.as_ref().map_err(|e| anyhow!("{e:#}"))? {
            cluster.register(crd);
        }
        let pods = pods::Pods;
        let workloads = tokio::spawn(Workloads::new(&cluster, Arc::new(pods)).run());
        cluster
            .create("admin", "namespaces", json!({"metadata": {"name": install::NAMESPACE}}))
            .map_err(|status| anyhow!("{}", status.message))?;
        let gateway = Gateway::start(&cluster);
        let transport = metrics::Transport {
            stub: stub.clone(),
            gateway: gateway.clone(),
        };
        let settings = ProviderSettings {
            prometheus_address: Some(PROMETHEUS.to_owned()),
        };
        let providers = Providers::new(settings, Arc::new(transport));
        let clock = Clock::starting_at(cluster.now());
        let context = Context::new(cluster.client("serin"), clock, Arc::new(providers), Config::default());
        let (stop, stopped) = oneshot::channel();
        let shutdown = async {
            if stopped.await.is_err() {
                std::future::pending::<()>().await;
            }
        };
        let task = tokio::spawn(serin_controller::run(Arc::new(context), shutdown));
        Ok(Self {
            cluster,
            gateway,
            workloads,
            controller: Mutex::new(Some(Running { stop, task })),
        })
    }

    /// Steady requests to a host.
    pub(crate) fn load(&self, host: String, rps: f64) -> Load {
        let gateway = self.gateway.clone();
        Load::run(move |answers| async move { gateway.send_all(host, rps, answers).await })
    }

    /// Ends the controller in order.
    ///
    /// # Errors
    /// It had ended by itself.
    pub(crate) async fn end(&self) -> Result<()> {
        let running = self.controller.lock().await.take();
        let Running { stop, task } = running.context("the controller was ended before")?;
        let alive = stop.send(()).is_ok();
        let ended = task.await.context("the controller panicked")?;
        anyhow::ensure!(alive && ended.is_ok(), "the controller ended by itself: {ended:?}");
        Ok(())
    }
}
