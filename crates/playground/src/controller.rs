//! The shipped controller in this process: its own client, the machine's clock, real HTTP to its providers, its lease, its metrics.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use serde_json::json;
use serin_controller::{Clock, Config, Context, Election, health};
use serin_kubesim::Cluster;
use serin_planner::{Explanation, State};
use serin_providers::{AddressPolicy, ProviderSettings, Providers, ReqwestTransport};
use tokio::{net::TcpListener, sync::oneshot, task::JoinHandle};

use crate::{
    Error,
    notes::{Notes, Tone},
    transport::Rerouting,
};

/// Its name in requests.
const USER: &str = "serin";
/// Namespace and name of its lease, as after an installation.
const NAMESPACE: &str = "argo-rollouts";
const LEASE: &str = "argo-rollouts-controller-lock";

/// On that namespace: where the playground's Prometheus is, for who wants to ask it as the controller does (`serin check`).
pub const PROMETHEUS_ANNOTATION: &str = "playground.serin.dev/prometheus";

/// What it waits for, in the planner's words. How a release ends is told by what it does.
fn explained(known: &Explanation) -> Option<String> {
    let is_told_otherwise = matches!(
        known.state,
        State::Aborted | State::CleaningUp | State::Healthy | State::NoData | State::Refused
    );
    let why = known.why.first().map_or(String::new(), |why| format!(" {why}"));
    (!is_told_otherwise).then(|| format!("{}{why}", known.what))
}

/// A running one.
pub(crate) struct Controller {
    stop: oneshot::Sender<()>,
    task: JoinHandle<Result<(), serin_controller::Error>>,
    metrics: JoinHandle<()>,
}

impl Controller {
    /// Starts it, with this Prometheus for metrics that name none.
    pub(crate) fn start(
        cluster: &Cluster,
        prometheus: SocketAddr,
        metrics: TcpListener,
        notes: &Notes,
    ) -> Result<Self, Error> {
        let annotations = json!({PROMETHEUS_ANNOTATION: format!("http://{prometheus}")});
        let namespace = json!({"metadata": {"name": NAMESPACE, "annotations": annotations}});
        crate::create(cluster, "namespaces", namespace, NAMESPACE)?;
        let settings = ProviderSettings {
            prometheus_address: Some(format!("http://{prometheus}")),
        };
        let transport = Rerouting {
            real: ReqwestTransport::new(AddressPolicy {
                allow_link_local: false,
            }),
            prometheus,
            notes: notes.clone(),
            known: std::sync::Mutex::default(),
        };
        let providers = Arc::new(Providers::new(settings, Arc::new(transport)));
        let config = Config {
            election: Some(Election {
                namespace: NAMESPACE.to_owned(),
                names: vec![LEASE.to_owned()],
                identity: format!("playground_{}", std::process::id()),
                lease_duration: Duration::from_secs(15),
                renew_deadline: Duration::from_secs(10),
                retry_period: Duration::from_secs(2),
            }),
            ..Config::default()
        };
        let listener = notes.clone();
        let context = Context::new(cluster.client(USER), Clock::System, providers, config);
        let context = Arc::new(context.telling(Box::new(move |key, explanation| {
            if let Some(text) = explained(explanation) {
                let rollout = (key.namespace.clone(), key.name.clone());
                listener.tell(Tone::Plain, Some(rollout), text);
            }
        })));
        let router = health::metrics(Arc::clone(&context));
        let metrics = tokio::spawn(async move {
            // It ends with the controller's process: this one.
            let _ = axum::serve(metrics, router).await;
        });
        let (stop, stopped) = oneshot::channel();
        let shutdown = async {
            // Nobody to say so means that the playground is gone as well.
            let _ = stopped.await;
        };
        let task = tokio::spawn(serin_controller::run(context, shutdown));
        Ok(Self { stop, task, metrics })
    }

    /// Why it ended by itself, when it does.
    pub(crate) async fn ended(&mut self) -> String {
        match (&mut self.task).await {
            Ok(Ok(())) => "the controller ended by itself".to_owned(),
            Ok(Err(error)) => error.to_string(),
            Err(error) => format!("the controller panicked: {error}"),
        }
    }

    /// Ends it in order.
    pub(crate) async fn end(self) {
        // It may have ended by itself, which was said then.
        let _ = self.stop.send(());
        let _ = tokio::time::timeout(Duration::from_secs(5), self.task).await;
        self.metrics.abort();
    }
}
