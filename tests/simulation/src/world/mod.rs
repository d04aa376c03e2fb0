//! The world around the controller: a cluster with its workloads, apps with users, a gateway, and metrics.

mod metrics;
mod pods;
pub mod prometheus;
mod traffic;

use std::sync::{Arc, LazyLock};

use anyhow::{Context as _, Result, anyhow};
use chrono::{DateTime, Utc};
use serde_json::{Value, json};
use serin_kubesim::{Cluster, Crd, Options, Patch, workloads::Workloads};
use tokio::task::JoinHandle;

pub use metrics::{Provider, Transport};
pub use pods::Pods;
pub use traffic::Traffic;

use crate::{
    history::PERSON,
    scenario::{App, Scenario},
    seed::Stream,
};

/// Serin's resource definitions as they are deployed, and a reduced one of HTTPRoute.
const DEFINITIONS: [&str; 5] = [
    include_str!("../../../../deploy/crds/rollouts-crd.yaml"),
    include_str!("../../../../deploy/crds/analysisruns-crd.yaml"),
    include_str!("../../../../deploy/crds/analysistemplates-crd.yaml"),
    include_str!("../../../../deploy/crds/clusteranalysistemplates-crd.yaml"),
    include_str!("../../../../crates/staging/data/httproutes-crd.yaml"),
];

/// Parsed once per process.
static CRDS: LazyLock<Result<Vec<Arc<Crd>>>> = LazyLock::new(|| {
    DEFINITIONS
        .iter()
        .map(|text| {
            let value: Value = serde_saphyr::from_str(text).context("a resource definition is not YAML")?;
            Crd::parse(&value).map_err(|status| anyhow!("a resource definition is refused: {}", status.message))
        })
        .collect()
});

/// Namespace of the controller and its lease.
pub const HOME: &str = "argo-rollouts";

/// See the module.
pub struct World {
    /// Kubernetes.
    pub cluster: Cluster,
    /// What users meet.
    pub traffic: Arc<std::sync::Mutex<Traffic>>,
    /// What the metrics provider answers.
    pub provider: Arc<Provider>,
    /// How pods behave.
    pub pods: Arc<Pods>,
    workloads: JoinHandle<()>,
}

impl Drop for World {
    fn drop(&mut self) {
        self.workloads.abort();
    }
}

/// The time of day at which every run begins.
pub fn start() -> DateTime<Utc> {
    DateTime::from_timestamp(1_795_262_400, 0).unwrap_or_default()
}

/// An empty cluster at that time, with Serin's definitions and that of HTTPRoute.
///
/// # Errors
/// A definition is refused: a bug.
pub fn cluster(seed: u64) -> Result<Cluster> {
    let cluster = Cluster::new(Options {
        start: start(),
        seed,
        ..Options::default()
    });
    for crd in CRDS.as_ref().map_err(|e| anyhow!("{e:#}"))? {
        cluster.register(crd);
    }
    Ok(cluster)
}

impl World {
    /// A cluster with namespaces, definitions, templates, Services and routes; the Rollouts come later. Needs a runtime.
    ///
    /// # Errors
    /// The scenario cannot be set up: a bug of the simulation.
    pub fn new(scenario: &Scenario) -> Result<Self> {
        let cluster = cluster(scenario.seed)?;
        let pods = Arc::new(Pods::new(scenario));
        let workloads = tokio::spawn(Workloads::new(&cluster, Arc::clone(&pods) as _).run());
        let create = |resource: &str, object: Value| {
            cluster
                .create(PERSON, resource, object)
                .map(drop)
                .map_err(|status| anyhow!("cannot set up {resource}: {}", status.message))
        };
        for namespace in ["shop", HOME] {
            create("namespaces", json!({"metadata": {"name": namespace}}))?;
        }
        for template in &scenario.templates {
            create("analysistemplates", template.clone())?;
        }
        for app in &scenario.apps {
            for service in services(app) {
                create("services", service)?;
            }
            if app.router {
                create("httproutes", route(app))?;
            }
        }
        let lag = Stream::new(scenario.seed, "gateway").between(20, 300);
        let traffic = Traffic::new(cluster.clone(), scenario, std::time::Duration::from_millis(lag));
        let traffic = Arc::new(std::sync::Mutex::new(traffic));
        Ok(Self {
            provider: Arc::new(Provider::new(cluster.clone(), Arc::clone(&traffic))),
            cluster,
            traffic,
            pods,
            workloads,
        })
    }

    /// Creates an app's Rollout.
    ///
    /// # Errors
    /// The API server's refusal.
    pub fn create_rollout(&self, app: &App) -> Result<(), String> {
        self.cluster
            .create(PERSON, "rollouts", app.rollout.clone())
            .map(drop)
            .map_err(|status| status.message)
    }

    /// Merge-patches an app's Rollout.
    ///
    /// # Errors
    /// The API server's refusal.
    pub fn patch_rollout(&self, app: &App, subresource: Option<&str>, patch: Value) -> Result<(), String> {
        let patch = Patch::Merge(patch);
        self.cluster
            .patch(PERSON, "rollouts", &app.namespace, &app.name, subresource, &patch)
            .map(drop)
            .map_err(|status| status.message)
    }
}

/// Names of the Services that an app has: its stable and canary ones, or the one without a router.
pub fn service_names(app: &App) -> Vec<String> {
    let canary = &app.rollout["spec"]["strategy"]["canary"];
    let mut names: Vec<String> = ["stableService", "canaryService"]
        .iter()
        .filter_map(|field| canary[*field].as_str().map(str::to_owned))
        .collect();
    if !app.router {
        names.push(app.name.clone());
    }
    names
}

/// A Service of an app as its owner writes it.
pub fn service(app: &App, name: &str) -> Value {
    json!({
        "metadata": {"name": name, "namespace": app.namespace},
        "spec": {"selector": {"app": app.name}, "ports": [{"port": 80, "targetPort": 8080}]},
    })
}

fn services(app: &App) -> Vec<Value> {
    service_names(app).iter().map(|name| service(app, name)).collect()
}

/// An app's HTTPRoute as its owner writes it.
pub fn route(app: &App) -> Value {
    let backend = |name: &str| json!({"name": name, "port": 80});
    let mut rules: Vec<Value> = (0..app.other_rules)
        .map(|n| {
            json!({
                "matches": [{"path": {"type": "PathPrefix", "value": format!("/other-{n}")}}],
                "backendRefs": [backend("elsewhere")],
            })
        })
        .collect();
    let (stable, canary) = (format!("{}-stable", app.name), format!("{}-canary", app.name));
    rules.push(json!({"backendRefs": [backend(&stable), backend(&canary)]}));
    json!({
        "metadata": {"name": app.name, "namespace": app.namespace},
        "spec": {"parentRefs": [{"name": "gateway"}], "rules": rules},
    })
}
