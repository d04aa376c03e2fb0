//! The other ground of the same scenarios: the unchanged controller in a Kubernetes in the process, in virtual time, with
//! the behaviour of pods that the virtual nodes of the real cluster have, a gateway, users and the shipped recording rules.

mod gateway;
mod metrics;
mod pods;

use std::sync::Arc;

use anyhow::{Context as _, Result, anyhow};
use serde_json::json;
use serin_cluster::load::Load;
use serin_controller::{Clock, Config, Context};
use serin_kubesim::{Cluster, workloads::Workloads};
use serin_providers::{ProviderSettings, Providers};
use tokio::{
    sync::{Mutex, oneshot},
    task::JoinHandle,
};

use crate::{install, stub::Stub};
pub(crate) use gateway::Gateway;

/// Where the metrics that name no provider of their own are.
const PROMETHEUS: &str = "http://prometheus.monitoring:9090";
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
        let cluster = serin_simulation::world::cluster(0)?;
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
