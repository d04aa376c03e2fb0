//! What was observed, reduced to what decisions need (design section 6).
//!
//! A World is never older than the controller's own last write to any object in it (design contract 3); that is the
//! duty of whoever builds it.

use std::collections::{BTreeMap, BTreeSet};

use crate::templates::Templates;
use chrono::{DateTime, Utc};
use serin_api::{
    analysis::{AnalysisRunSpec, AnalysisTemplateSpec, Phase},
    digest::TemplateDigest,
    rollout::Rollout,
};

/// Everything that the next decision about one Rollout may look at.
#[derive(Clone, Debug)]
pub struct World {
    /// The Rollout itself, status included.
    pub rollout: Rollout,
    /// ReplicaSets of the namespace that the Rollout owns, and orphans that match its selector.
    pub replica_sets: Vec<ReplicaSetView>,
    /// Names of ReplicaSets that a creation found taken by an object that is not the Rollout's (compat 2.1.8).
    pub taken_names: BTreeSet<String>,
    /// Services that the Rollout names and that exist, by name.
    pub services: BTreeMap<String, ServiceView>,
    /// Services that carry the Rollout's name as their manager and that it no longer names: to be released (compat 2.14).
    pub former_services: Vec<ServiceView>,
    /// Ready endpoints of those Services; `None` when the controller may not read EndpointSlices (then pod availability
    /// is used instead, design contract 4).
    pub endpoints: Option<BTreeMap<String, Endpoints>>,
    /// Analysis runs that the Rollout owns.
    pub analysis_runs: Vec<AnalysisRunView>,
    /// Templates that the Rollout names, directly or through other templates, and that exist.
    pub templates: Templates,
    /// Routes that the Rollout's router names; `Err` says why a route cannot be used (missing, without our Services, …).
    pub routes: BTreeMap<RouteRef, Result<RouteView, String>>,
    /// The controller's own settings.
    pub settings: Settings,
}

impl World {
    /// A World in which nothing was seen but the Rollout: what tests begin with.
    pub fn of(rollout: Rollout) -> Self {
        Self {
            rollout,
            replica_sets: Vec::new(),
            taken_names: BTreeSet::new(),
            services: BTreeMap::new(),
            former_services: Vec::new(),
            endpoints: None,
            analysis_runs: Vec::new(),
            templates: BTreeMap::new(),
            routes: BTreeMap::new(),
            settings: Settings::default(),
        }
    }
}

/// Settings of the controller that decisions depend on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Settings {
    /// Value of [`serin_api::NO_DATA_ANNOTATION`] where neither Rollout nor template has it.
    pub no_data_hold: bool,
    /// `--instance-id`: carried as a label by what the controller creates.
    pub instance_id: String,
}

/// A ReplicaSet: identity, counts, annotations and a digest of its template; never the template itself.
#[derive(Clone, Debug, PartialEq)]
pub struct ReplicaSetView {
    /// `metadata.name`.
    pub name: String,
    /// `metadata.uid`.
    pub uid: String,
    /// `metadata.resourceVersion`; guards every write.
    pub resource_version: String,
    /// `metadata.generation`.
    pub generation: i64,
    /// `metadata.creationTimestamp`.
    pub created: DateTime<Utc>,
    /// `metadata.deletionTimestamp` is set.
    pub deleting: bool,
    /// `metadata.labels`.
    pub labels: BTreeMap<String, String>,
    /// `metadata.annotations`.
    pub annotations: BTreeMap<String, String>,
    /// UID of the controlling owner.
    pub owner: Option<String>,
    /// `spec.replicas`.
    pub replicas: i32,
    /// `spec.minReadySeconds`.
    pub min_ready_seconds: i32,
    /// `status.observedGeneration`.
    pub observed_generation: i64,
    /// `status.replicas`.
    pub current: i32,
    /// `status.readyReplicas`.
    pub ready: i32,
    /// `status.availableReplicas`.
    pub available: i32,
    /// `ReplicaFailure` condition that is True: reason and message.
    pub failure: Option<(String, String)>,
    /// Digest of the normalised template (compat 2.1.4c).
    pub digest: TemplateDigest,
}

impl ReplicaSetView {
    /// The revision hash that it carries, empty without one (compat H3).
    pub fn hash(&self) -> &str {
        self.labels.get(serin_api::HASH_LABEL).map_or("", String::as_str)
    }

    /// Available pods that are not about to go: right after a scaling down the status still counts those that are.
    pub fn lasting(&self) -> i32 {
        self.available.min(self.replicas)
    }

    /// The revision annotation, 0 without a readable one.
    pub fn revision(&self) -> i64 {
        self.annotations
            .get(serin_api::REVISION_ANNOTATION)
            .and_then(|r| r.parse().ok())
            .unwrap_or(0)
    }
}

/// A Service that the Rollout names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServiceView {
    /// `metadata.name`.
    pub name: String,
    /// `metadata.resourceVersion`; guards every write.
    pub resource_version: String,
    /// `spec.selector`.
    pub selector: BTreeMap<String, String>,
    /// `metadata.annotations`.
    pub annotations: BTreeMap<String, String>,
}

impl ServiceView {
    /// The revision hash in its selector, empty without one.
    pub fn hash(&self) -> &str {
        self.selector.get(serin_api::HASH_LABEL).map_or("", String::as_str)
    }

    /// Which Rollout manages it.
    pub fn managed_by(&self) -> Option<&str> {
        self.annotations
            .get(serin_api::MANAGED_BY_ANNOTATION)
            .map(String::as_str)
    }
}

/// Ready endpoints of one Service, over all of its EndpointSlices.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Endpoints {
    /// Names of the pods that are ready behind it.
    pub ready_pods: BTreeSet<String>,
}

impl Endpoints {
    /// How many ready pods of the given ReplicaSet are behind the Service. Pods are told by their name, which the
    /// ReplicaSet controller makes of its own: `<replicaset>-<5 characters>`.
    pub fn ready_of(&self, replica_set: &str) -> usize {
        self.ready_pods
            .iter()
            .filter(|pod| pod.rsplit_once('-').is_some_and(|(owner, _)| owner == replica_set))
            .count()
    }
}

/// An analysis run that the Rollout owns.
#[derive(Clone, Debug, PartialEq)]
pub struct AnalysisRunView {
    /// `metadata.name`.
    pub name: String,
    /// `metadata.uid`.
    pub uid: String,
    /// `metadata.resourceVersion`; guards every write.
    pub resource_version: String,
    /// `metadata.creationTimestamp`.
    pub created: DateTime<Utc>,
    /// `metadata.deletionTimestamp` is set.
    pub deleting: bool,
    /// `metadata.labels`.
    pub labels: BTreeMap<String, String>,
    /// `metadata.annotations`.
    pub annotations: BTreeMap<String, String>,
    /// `spec.terminate`.
    pub terminate: bool,
    /// `status.phase`.
    pub phase: Phase,
    /// `status.message`.
    pub message: String,
    /// Digest of `spec` without `terminate`, to tell whether an existing run is the wanted one (compat 3.7).
    pub spec_digest: u64,
}

/// FNV-1a of a run's spec as JSON, `terminate` left out: equal for a run that was asked for twice.
pub fn analysis_spec_digest(spec: &AnalysisRunSpec) -> u64 {
    let spec = AnalysisRunSpec {
        terminate: None,
        ..spec.clone()
    };
    let text = serde_json::to_string(&spec).expect("a run's spec has string keys only");
    text.bytes().fold(0xcbf2_9ce4_8422_2325, |h, b| {
        (h ^ u64::from(b)).wrapping_mul(0x0100_0000_01b3)
    })
}

/// An analysis template and what Serin reads from its metadata.
#[derive(Clone, Debug, PartialEq)]
pub struct TemplateView {
    /// The spec.
    pub spec: AnalysisTemplateSpec,
    /// `metadata.annotations` of the group `serin.dev/`.
    pub annotations: BTreeMap<String, String>,
}

/// Which route object a weight is written to.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct RouteRef {
    /// Kind, such as `HTTPRoute`.
    pub kind: String,
    /// Namespace of the route.
    pub namespace: String,
    /// Name of the route.
    pub name: String,
}

/// What a route says of our two Services.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RouteView {
    /// `metadata.resourceVersion`; guards every write.
    pub resource_version: String,
    /// Every (canary, stable) pair of weights found in it; all are written alike.
    pub weights: Vec<(i32, i32)>,
}
