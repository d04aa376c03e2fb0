//! Which kinds are served, built-in ones and custom resources alike, and how a request names them.

use std::{collections::BTreeMap, sync::Arc};

use crate::{Resource, Status};

/// A kind that is served.
#[derive(Clone, Debug)]
pub(crate) struct Kind {
    pub resource: Resource,
    pub kind: String,
    /// Served versions, the preferred one first.
    pub versions: Vec<String>,
    pub namespaced: bool,
    pub status: bool,
}

impl Kind {
    /// `group/version`, or `version` in the core group.
    pub(crate) fn api_version(&self, version: &str) -> String {
        if self.resource.group.is_empty() {
            version.to_owned()
        } else {
            format!("{}/{version}", self.resource.group)
        }
    }
}

/// All kinds that are served.
#[derive(Debug, Default)]
pub(crate) struct Kinds {
    by_resource: BTreeMap<Resource, Arc<Kind>>,
}

impl Kinds {
    pub(crate) fn add(&mut self, kind: Kind) {
        self.by_resource.insert(kind.resource, Arc::new(kind));
    }

    /// By `plural` or `plural.group`; of several the one of the core group, else the first group by name.
    pub(crate) fn find(&self, resource: &str) -> Result<Arc<Kind>, Status> {
        let (plural, group) = resource.split_once('.').map_or((resource, None), |(p, g)| (p, Some(g)));
        self.by_resource
            .values()
            .find(|kind| kind.resource.plural == plural && group.is_none_or(|g| g == kind.resource.group))
            .cloned()
            .ok_or_else(Status::no_such_path)
    }
}

/// Stands in until the table of built-in kinds is here: plural, kind, group, version, namespaced, status.
pub(crate) const PROVISIONAL: [(&str, &str, &str, &str, bool, bool); 19] = [
    ("namespaces", "Namespace", "", "v1", false, true),
    ("nodes", "Node", "", "v1", false, true),
    ("pods", "Pod", "", "v1", true, true),
    ("services", "Service", "", "v1", true, true),
    ("endpoints", "Endpoints", "", "v1", true, false),
    ("events", "Event", "", "v1", true, false),
    ("secrets", "Secret", "", "v1", true, false),
    ("configmaps", "ConfigMap", "", "v1", true, false),
    ("serviceaccounts", "ServiceAccount", "", "v1", true, false),
    ("replicasets", "ReplicaSet", "apps", "v1", true, true),
    ("deployments", "Deployment", "apps", "v1", true, true),
    ("statefulsets", "StatefulSet", "apps", "v1", true, true),
    ("jobs", "Job", "batch", "v1", true, true),
    ("endpointslices", "EndpointSlice", "discovery.k8s.io", "v1", true, false),
    ("leases", "Lease", "coordination.k8s.io", "v1", true, false),
    ("poddisruptionbudgets", "PodDisruptionBudget", "policy", "v1", true, true),
    ("rollouts", "Rollout", "argoproj.io", "v1alpha1", true, true),
    ("analysisruns", "AnalysisRun", "argoproj.io", "v1alpha1", true, false),
    ("httproutes", "HTTPRoute", "gateway.networking.k8s.io", "v1", true, true),
];
