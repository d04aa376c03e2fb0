//! What all tests share: the cluster, a client with all rights, the source of made-up metrics.

use std::{
    ops::Deref,
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
};

use anyhow::{Context, Result};
use chrono::{DateTime, Utc};
use kube::{
    Api,
    api::{ApiResource, DynamicObject},
    core::GroupVersionKind,
};
use serin_cluster::{
    Cluster, PodInfo,
    load::{Load, LoadOptions},
};

use crate::{install, simulated::Simulated, stub::Stub};

/// Handle to the shared things.
#[derive(Clone)]
pub(crate) struct World(Arc<Inner>);

pub(crate) struct Inner {
    ground: Ground,
    pub(crate) client: kube::Client,
    /// The program under test.
    pub(crate) serin: PathBuf,
    pub(crate) stub: Stub,
    /// When the API server was away: from its end until it was ready again. Before that it does not know its own rules
    /// and may forbid what they allow.
    pub(crate) away: Mutex<Vec<(DateTime<Utc>, DateTime<Utc>)>>,
}

/// What the tests stand on.
enum Ground {
    Real(Box<Cluster>),
    Simulated(Box<Simulated>),
}

impl Deref for World {
    type Target = Inner;

    fn deref(&self) -> &Inner {
        &self.0
    }
}

/// The kinds that tests work with.
pub(crate) fn resource(kind: &str) -> ApiResource {
    let (group, version, plural) = match kind {
        "Rollout" => ("argoproj.io", "v1alpha1", "rollouts"),
        "AnalysisRun" => ("argoproj.io", "v1alpha1", "analysisruns"),
        "AnalysisTemplate" => ("argoproj.io", "v1alpha1", "analysistemplates"),
        "ClusterAnalysisTemplate" => ("argoproj.io", "v1alpha1", "clusteranalysistemplates"),
        "HTTPRoute" => ("gateway.networking.k8s.io", "v1", "httproutes"),
        "ReplicaSet" => ("apps", "v1", "replicasets"),
        "Deployment" => ("apps", "v1", "deployments"),
        "Lease" => ("coordination.k8s.io", "v1", "leases"),
        "Service" => ("", "v1", "services"),
        "Namespace" => ("", "v1", "namespaces"),
        "Secret" => ("", "v1", "secrets"),
        "Pod" => ("", "v1", "pods"),
        "Event" => ("", "v1", "events"),
        other => panic!("the tests do not know how kind {other} is called in requests"),
    };
    ApiResource::from_gvk_with_plural(&GroupVersionKind::gvk(group, version, kind), plural)
}

impl World {
    pub(crate) async fn new(cluster: Cluster, serin: PathBuf) -> Result<Self> {
        let stub = Stub::start()
            .await
            .context("the source of made-up metrics did not start")?;
        let rules = crate::suites::gate::rules()?;
        cluster
            .add_rules("serin", &rules)
            .await
            .context("Prometheus refuses the shipped rules")?;
        Ok(Self(Arc::new(Inner {
            client: cluster.client(),
            serin,
            ground: Ground::Real(Box::new(cluster)),
            stub,
            away: Mutex::default(),
        })))
    }

    /// The same in this process, in virtual time, with one controller at work.
    pub(crate) fn simulated() -> Result<Self> {
        let stub = Stub::new();
        let simulated = Simulated::start(&stub)?;
        Ok(Self(Arc::new(Inner {
            client: simulated.cluster.client("admin"),
            serin: PathBuf::new(),
            ground: Ground::Simulated(Box::new(simulated)),
            stub,
            away: Mutex::default(),
        })))
    }

    /// The real cluster. Tests that run on both grounds have no use for it.
    ///
    /// # Panics
    /// On the simulated ground.
    pub(crate) fn cluster(&self) -> &Cluster {
        match &self.ground {
            Ground::Real(cluster) => cluster,
            Ground::Simulated(_) => panic!("this test needs the real cluster: it must not be marked `on_both`"),
        }
    }

    /// Whether this is the simulated ground.
    pub(crate) fn is_simulated(&self) -> bool {
        matches!(self.ground, Ground::Simulated(_))
    }

    /// The time of day.
    pub(crate) fn now(&self) -> DateTime<Utc> {
        match &self.ground {
            Ground::Real(_) => serin_cluster::now(),
            Ground::Simulated(simulated) => simulated.cluster.now(),
        }
    }

    /// Steady requests to a host.
    pub(crate) fn load(&self, host: String, rps: f64) -> Load {
        match &self.ground {
            Ground::Real(cluster) => Load::start(LoadOptions::new(cluster.gateway(), host, rps)),
            Ground::Simulated(simulated) => simulated.load(host, rps),
        }
    }

    /// Requests for a kind in a namespace.
    pub(crate) fn api(&self, kind: &str, namespace: &str) -> Api<DynamicObject> {
        Api::namespaced_with(self.client.clone(), namespace, &resource(kind))
    }

    /// Requests for a kind without namespace.
    pub(crate) fn api_all(&self, kind: &str) -> Api<DynamicObject> {
        Api::all_with(self.client.clone(), &resource(kind))
    }

    /// Whether the API server was away or not ready yet.
    pub(crate) fn is_away(&self, at: DateTime<Utc>) -> bool {
        let away = self.away.lock().unwrap_or_else(PoisonError::into_inner);
        away.iter().any(|(from, to)| (*from..=*to).contains(&at))
    }

    /// The controller's pods.
    pub(crate) fn controllers(&self) -> Vec<PodInfo> {
        let all = match &self.ground {
            Ground::Real(cluster) => cluster.nodes().pods(),
            // It is no pod there.
            Ground::Simulated(_) => Vec::new(),
        };
        all.into_iter()
            .filter(|pod| pod.namespace == install::NAMESPACE && pod.name.starts_with("serin-"))
            .collect()
    }

    /// Ends the cluster, unless a test still holds it.
    ///
    /// # Errors
    /// The controller of the simulated ground had ended by itself.
    pub(crate) async fn end(self) -> Result<()> {
        match &self.ground {
            Ground::Simulated(simulated) => simulated.end().await,
            Ground::Real(_) => {
                if let Ok(Inner {
                    ground: Ground::Real(cluster),
                    ..
                }) = Arc::try_unwrap(self.0)
                {
                    cluster.shutdown().await;
                }
                Ok(())
            }
        }
    }
}
