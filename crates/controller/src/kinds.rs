//! The kinds that are watched, each reduced to what decisions need the moment it is decoded (design section 6).
//!
//! Decoding is lenient: an object that makes no sense is delivered with the reason, so that one tenant's mistake never
//! stops the watch for everybody else (`DeserializeGuard` in kube, with the reduction built in).

use std::{collections::BTreeMap, fmt::Debug, sync::Arc};

use chrono::{DateTime, Utc};
use kube::core::ApiResource;
use serde::Deserialize;
use serde_json::Value;
use serin_api::{
    EPHEMERAL_METADATA_ANNOTATION, MANAGED_BY_ANNOTATION, Time,
    analysis::{AnalysisRun, AnalysisRunSpec, AnalysisRunStatus, AnalysisTemplateSpec, Phase},
    digest::TemplateDigest,
    rollout::{PodMetadata, Rollout},
    template::PodTemplate,
};
use serin_model::{AnalysisRunView, ReplicaSetView, ServiceView, TemplateView, analysis_spec_digest};

pub use crate::lean::Lean;
use crate::{
    packed::PackedRollout,
    table::{Key, Version},
};

/// The kinds that Serin reads or writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// argoproj.io Rollouts.
    Rollout,
    /// ReplicaSets with a revision hash.
    ReplicaSet,
    /// Services.
    Service,
    /// Which pods are ready behind a Service.
    EndpointSlice,
    /// argoproj.io AnalysisRuns.
    AnalysisRun,
    /// argoproj.io AnalysisTemplates.
    AnalysisTemplate,
    /// argoproj.io ClusterAnalysisTemplates.
    ClusterAnalysisTemplate,
    /// Gateway API HTTPRoutes.
    HttpRoute,
}

impl Kind {
    /// All of them, in the order in which they are listed at start.
    pub const ALL: [Self; 8] = [
        Self::Rollout,
        Self::ReplicaSet,
        Self::Service,
        Self::EndpointSlice,
        Self::AnalysisRun,
        Self::AnalysisTemplate,
        Self::ClusterAnalysisTemplate,
        Self::HttpRoute,
    ];

    /// Group, version, kind, plural.
    fn names(self) -> (&'static str, &'static str, &'static str, &'static str) {
        match self {
            Self::Rollout => (serin_api::GROUP, serin_api::VERSION, "Rollout", "rollouts"),
            Self::ReplicaSet => ("apps", "v1", "ReplicaSet", "replicasets"),
            Self::Service => ("", "v1", "Service", "services"),
            Self::EndpointSlice => ("discovery.k8s.io", "v1", "EndpointSlice", "endpointslices"),
            Self::AnalysisRun => (serin_api::GROUP, serin_api::VERSION, "AnalysisRun", "analysisruns"),
            Self::AnalysisTemplate => (
                serin_api::GROUP,
                serin_api::VERSION,
                "AnalysisTemplate",
                "analysistemplates",
            ),
            Self::ClusterAnalysisTemplate => (
                serin_api::GROUP,
                serin_api::VERSION,
                "ClusterAnalysisTemplate",
                "clusteranalysistemplates",
            ),
            Self::HttpRoute => ("gateway.networking.k8s.io", "v1", "HTTPRoute", "httproutes"),
        }
    }

    /// As kube names it.
    pub fn resource(self) -> ApiResource {
        let (group, version, kind, plural) = self.names();
        ApiResource {
            group: group.to_owned(),
            version: version.to_owned(),
            api_version: if group.is_empty() {
                version.to_owned()
            } else {
                format!("{group}/{version}")
            },
            kind: kind.to_owned(),
            plural: plural.to_owned(),
        }
    }

    /// The kind as people write it.
    pub fn name(self) -> &'static str {
        self.names().2
    }

    /// The plural, as RBAC rules and metrics write it.
    pub fn plural(self) -> &'static str {
        self.names().3
    }

    /// URL path of an object, or of the whole kind without a name.
    pub fn path(self, namespace: &str, name: Option<&str>) -> String {
        let (group, version, _, plural) = self.names();
        let mut path = if group.is_empty() {
            format!("/api/{version}")
        } else {
            format!("/apis/{group}/{version}")
        };
        if !namespace.is_empty() {
            path.push_str("/namespaces/");
            path.push_str(namespace);
        }
        path.push('/');
        path.push_str(plural);
        if let Some(name) = name {
            path.push('/');
            path.push_str(name);
        }
        path
    }
}

/// What every object carries and Serin reads.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Meta {
    /// `metadata.name`.
    #[serde(default)]
    pub name: String,
    /// `metadata.namespace`, empty for cluster-scoped kinds.
    #[serde(default)]
    pub namespace: String,
    /// `metadata.uid`.
    #[serde(default)]
    pub uid: String,
    /// `metadata.resourceVersion`.
    #[serde(default)]
    pub resource_version: String,
    /// `metadata.generation`.
    #[serde(default)]
    pub generation: i64,
    /// `metadata.creationTimestamp`.
    #[serde(default)]
    pub creation_timestamp: Option<Time>,
    /// `metadata.deletionTimestamp`.
    #[serde(default)]
    pub deletion_timestamp: Option<Time>,
    /// `metadata.labels`.
    #[serde(default)]
    pub labels: Option<BTreeMap<String, String>>,
    /// `metadata.annotations`.
    #[serde(default)]
    pub annotations: Option<BTreeMap<String, String>>,
    /// `metadata.ownerReferences`.
    #[serde(default)]
    pub owner_references: Option<Vec<Owner>>,
}

/// An owner reference.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct Owner {
    /// Kind.
    #[serde(default)]
    pub kind: String,
    /// Name.
    #[serde(default)]
    pub name: String,
    /// UID.
    #[serde(default)]
    pub uid: String,
    /// The one that controls.
    #[serde(default)]
    pub controller: Option<bool>,
}

impl Meta {
    /// Reads `metadata` of an object.
    pub fn of(object: &Value) -> Result<Self, String> {
        let metadata = object.get("metadata").ok_or("the object has no metadata")?;
        let meta = Self::deserialize(metadata).map_err(|e| format!("metadata: {e}"))?;
        if meta.name.is_empty() {
            return Err("metadata.name is missing".to_owned());
        }
        Ok(meta)
    }

    /// Namespace and name.
    pub fn key(&self) -> Key {
        Key::new(self.namespace.as_str(), self.name.as_str())
    }

    /// Identity and version.
    pub fn version(&self) -> Version {
        Version {
            uid: self.uid.clone(),
            resource_version: self.resource_version.clone(),
        }
    }

    /// The controlling owner.
    pub fn controller(&self) -> Option<&Owner> {
        self.owner_references
            .iter()
            .flatten()
            .find(|o| o.controller == Some(true))
    }

    fn created(&self) -> DateTime<Utc> {
        self.creation_timestamp.map_or(DateTime::UNIX_EPOCH, |t| t.0)
    }
}

/// How one kind is reduced.
pub trait Reduced: Sized + Clone + Debug + Send + Sync + 'static {
    /// Which kind.
    const KIND: Kind;
    /// The reduced form; never fails, at worst it says why the object makes no sense.
    fn reduce(meta: &Meta, object: Value) -> Self;
}

// === Rollout ===

/// A Rollout, or why it cannot be understood.
#[derive(Clone, Debug)]
pub enum RolloutEntry {
    /// As usual.
    Good(Arc<PackedRollout>),
    /// The object is in the cluster but does not fit the type.
    Bad(Arc<Undecodable>),
}

/// A Rollout that cannot be understood.
#[derive(Clone, Debug)]
pub struct Undecodable {
    /// Where the type and the object part.
    pub error: String,
    /// The object as it is.
    pub object: Value,
}

impl RolloutEntry {
    /// The Rollout without its pod template, if it can be understood.
    pub fn good(&self) -> Option<&Rollout> {
        match self {
            Self::Good(rollout) => Some(rollout.without_template()),
            Self::Bad(_) => None,
        }
    }
}

impl Reduced for RolloutEntry {
    const KIND: Kind = Kind::Rollout;

    fn reduce(_: &Meta, mut object: Value) -> Self {
        strip(&mut object);
        match Rollout::deserialize(&object) {
            Ok(rollout) => Self::Good(Arc::new(PackedRollout::new(rollout))),
            Err(error) => Self::Bad(Arc::new(Undecodable {
                error: error.to_string(),
                object,
            })),
        }
    }
}

/// Drops what no decision reads and what is large: who wrote which field, and kubectl's copy of the manifest.
pub fn strip(object: &mut Value) {
    let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) else {
        return;
    };
    metadata.remove("managedFields");
    if let Some(annotations) = metadata.get_mut("annotations").and_then(Value::as_object_mut) {
        annotations.remove("kubectl.kubernetes.io/last-applied-configuration");
    }
}

// === ReplicaSet ===

impl Reduced for ReplicaSetView {
    const KIND: Kind = Kind::ReplicaSet;

    fn reduce(meta: &Meta, mut object: Value) -> Self {
        let annotations = meta.annotations.clone().unwrap_or_default();
        let injected: Option<PodMetadata> = annotations
            .get(EPHEMERAL_METADATA_ANNOTATION)
            .and_then(|text| serde_json::from_str(text).ok());
        let template = object
            .pointer_mut("/spec/template")
            .map(Value::take)
            .unwrap_or_default();
        let number = |path: &str| object.pointer(path).and_then(Value::as_i64).unwrap_or(0);
        let count = |path: &str| i32::try_from(number(path)).unwrap_or(i32::MAX);
        let failure = object
            .pointer("/status/conditions")
            .and_then(Value::as_array)
            .into_iter()
            .flatten()
            .find(|c| c["type"] == "ReplicaFailure" && c["status"] == "True")
            .map(|c| (text(&c["reason"]), text(&c["message"])));
        Self {
            name: meta.name.clone(),
            uid: meta.uid.clone(),
            resource_version: meta.resource_version.clone(),
            generation: meta.generation,
            created: meta.created(),
            deleting: meta.deletion_timestamp.is_some(),
            labels: meta.labels.clone().unwrap_or_default(),
            annotations,
            owner: meta.controller().map(|o| o.uid.clone()),
            // The API server's default is 1; it is always set on a stored object.
            replicas: object
                .pointer("/spec/replicas")
                .and_then(Value::as_i64)
                .map_or(1, |n| i32::try_from(n).unwrap_or(i32::MAX)),
            min_ready_seconds: count("/spec/minReadySeconds"),
            observed_generation: number("/status/observedGeneration"),
            current: count("/status/replicas"),
            ready: count("/status/readyReplicas"),
            available: count("/status/availableReplicas"),
            failure,
            digest: TemplateDigest::of(&PodTemplate(template), injected.as_ref()),
        }
    }
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

// === Service ===

impl Reduced for ServiceView {
    const KIND: Kind = Kind::Service;

    fn reduce(meta: &Meta, object: Value) -> Self {
        let selector = object
            .pointer("/spec/selector")
            .and_then(Value::as_object)
            .into_iter()
            .flatten()
            .map(|(k, v)| (k.clone(), text(v)))
            .collect();
        // Other annotations of Services (load balancers' settings) are many and decide nothing.
        let annotations = meta
            .annotations
            .iter()
            .flatten()
            .filter(|(key, _)| *key == MANAGED_BY_ANNOTATION || key.starts_with("serin.dev/"))
            .map(|(k, v)| (k.clone(), v.clone()))
            .collect();
        Self {
            name: meta.name.clone(),
            resource_version: meta.resource_version.clone(),
            selector,
            annotations,
        }
    }
}

// === EndpointSlice ===

/// The ready pods of one slice.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SliceView {
    /// The Service that it belongs to.
    pub service: String,
    /// Names of its ready pods.
    pub ready_pods: Vec<String>,
}

impl Reduced for SliceView {
    const KIND: Kind = Kind::EndpointSlice;

    fn reduce(meta: &Meta, object: Value) -> Self {
        let service = meta
            .labels
            .iter()
            .flatten()
            .find(|(k, _)| *k == "kubernetes.io/service-name")
            .map(|(_, v)| v.clone());
        let endpoints = object.get("endpoints").and_then(Value::as_array);
        let ready_pods = endpoints
            .into_iter()
            .flatten()
            // Left out means ready (EndpointConditions).
            .filter(|e| e.pointer("/conditions/ready").and_then(Value::as_bool).unwrap_or(true))
            .filter(|e| e.pointer("/targetRef/kind").and_then(Value::as_str) == Some("Pod"))
            .filter_map(|e| e.pointer("/targetRef/name").and_then(Value::as_str).map(str::to_owned))
            .collect();
        Self {
            service: service.unwrap_or_default(),
            ready_pods,
        }
    }
}

// === AnalysisRun ===

/// An analysis run: a view for its Rollout, and the whole of it while it runs.
#[derive(Clone, Debug)]
pub struct RunEntry {
    /// What the Rollout's decisions read.
    pub view: AnalysisRunView,
    /// UID of the controlling owner.
    pub owner: Option<String>,
    /// The whole run, of a finished one only what its TTL needs; or why it cannot be understood.
    pub run: Result<Arc<AnalysisRun>, String>,
}

impl Reduced for RunEntry {
    const KIND: Kind = Kind::AnalysisRun;

    fn reduce(meta: &Meta, mut object: Value) -> Self {
        strip(&mut object);
        let mut run = AnalysisRun::deserialize(&object).map_err(|e| e.to_string());
        let view = AnalysisRunView {
            name: meta.name.clone(),
            uid: meta.uid.clone(),
            resource_version: meta.resource_version.clone(),
            created: meta.created(),
            deleting: meta.deletion_timestamp.is_some(),
            labels: meta.labels.clone().unwrap_or_default(),
            annotations: meta.annotations.clone().unwrap_or_default(),
            terminate: object
                .pointer("/spec/terminate")
                .and_then(Value::as_bool)
                .unwrap_or(false),
            phase: object
                .pointer("/status/phase")
                .and_then(Value::as_str)
                .map(Phase::parse)
                .unwrap_or_default(),
            message: object.pointer("/status/message").map(text).unwrap_or_default(),
            spec_digest: run.as_ref().map_or(0, |r| analysis_spec_digest(&r.spec)),
        };
        if let Ok(run) = &mut run
            && view.phase.is_completed()
        {
            // Of a finished run only the TTL is still read; what was measured would be most of the memory.
            run.spec = AnalysisRunSpec {
                ttl_strategy: run.spec.ttl_strategy.take(),
                ..AnalysisRunSpec::default()
            };
            let completed_at = run.status.as_ref().and_then(|s| s.completed_at);
            run.status = Some(AnalysisRunStatus {
                phase: view.phase,
                completed_at,
                ..AnalysisRunStatus::default()
            });
        }
        Self {
            view,
            owner: meta.controller().map(|o| o.uid.clone()),
            run: run.map(Arc::new),
        }
    }
}

// === Templates ===

/// A template of a namespace, or why it cannot be understood.
#[derive(Clone, Debug)]
pub struct NamespacedTemplate(pub Result<Arc<TemplateView>, String>);

/// A template of the cluster, or why it cannot be understood.
#[derive(Clone, Debug)]
pub struct ClusterTemplate(pub Result<Arc<TemplateView>, String>);

fn template(meta: &Meta, object: &Value) -> Result<Arc<TemplateView>, String> {
    let spec = object.get("spec").cloned().unwrap_or_default();
    let spec = AnalysisTemplateSpec::deserialize(spec).map_err(|e| e.to_string())?;
    let annotations = meta
        .annotations
        .iter()
        .flatten()
        .filter(|(key, _)| key.starts_with("serin.dev/"))
        .map(|(k, v)| (k.clone(), v.clone()))
        .collect();
    Ok(Arc::new(TemplateView { spec, annotations }))
}

impl Reduced for NamespacedTemplate {
    const KIND: Kind = Kind::AnalysisTemplate;

    fn reduce(meta: &Meta, object: Value) -> Self {
        Self(template(meta, &object))
    }
}

impl Reduced for ClusterTemplate {
    const KIND: Kind = Kind::ClusterAnalysisTemplate;

    fn reduce(meta: &Meta, object: Value) -> Self {
        Self(template(meta, &object))
    }
}

// === HTTPRoute ===

/// A route, reduced to its backends.
#[derive(Clone, Debug)]
pub struct RouteEntry(pub Value);

impl Reduced for RouteEntry {
    const KIND: Kind = Kind::HttpRoute;

    fn reduce(_: &Meta, object: Value) -> Self {
        Self(serin_traffic::reduce(&object))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn reduce<T: Reduced>(object: Value) -> T {
        Lean::<T>::from_object(object).unwrap().value
    }

    #[test]
    fn a_malformed_rollout_is_delivered_with_the_reason() {
        let object = json!({"metadata": {"name": "bad", "namespace": "n"}, "spec": {"replicas": "many"}});
        match reduce::<RolloutEntry>(object) {
            RolloutEntry::Bad(bad) => assert!(bad.error.contains("many"), "{}", bad.error),
            RolloutEntry::Good(_) => panic!("it was understood"),
        }
    }

    #[test]
    fn a_replica_set_is_reduced_to_identity_counts_annotations_and_digest() {
        let view: ReplicaSetView = reduce(json!({
            "metadata": {
                "name": "demo-1", "namespace": "n", "uid": "u", "resourceVersion": "7", "generation": 3,
                "creationTimestamp": "2026-11-21T12:00:00Z", "labels": {"rollouts-pod-template-hash": "1"},
                "ownerReferences": [{"kind": "Other", "uid": "x"}, {"kind": "Rollout", "name": "demo", "uid": "o", "controller": true}],
            },
            "spec": {"replicas": 4, "template": {"spec": {"containers": []}}},
            "status": {"replicas": 4, "readyReplicas": 3, "availableReplicas": 2, "observedGeneration": 3,
                "conditions": [{"type": "ReplicaFailure", "status": "True", "reason": "FailedCreate", "message": "quota"}]},
        }));
        assert_eq!((view.replicas, view.current, view.ready, view.available), (4, 4, 3, 2));
        assert_eq!(view.owner.as_deref(), Some("o"));
        assert_eq!(view.failure, Some(("FailedCreate".to_owned(), "quota".to_owned())));
        assert_eq!(view.hash(), "1");
    }

    #[test]
    fn only_ready_pods_of_a_slice_count() {
        let view: SliceView = reduce(json!({
            "metadata": {"name": "s-1", "namespace": "n", "labels": {"kubernetes.io/service-name": "s"}},
            "endpoints": [
                {"conditions": {"ready": true}, "targetRef": {"kind": "Pod", "name": "a"}},
                {"conditions": {"ready": false}, "targetRef": {"kind": "Pod", "name": "b"}},
                {"conditions": {}, "targetRef": {"kind": "Pod", "name": "c"}},
                {"conditions": {"ready": true}},
            ],
        }));
        assert_eq!(
            view,
            SliceView {
                service: "s".into(),
                ready_pods: vec!["a".into(), "c".into()]
            }
        );
    }

    #[test]
    fn paths_are_those_of_the_api_server() {
        assert_eq!(Kind::Service.path("n", Some("s")), "/api/v1/namespaces/n/services/s");
        assert_eq!(
            Kind::ReplicaSet.path("n", None),
            "/apis/apps/v1/namespaces/n/replicasets"
        );
        assert_eq!(
            Kind::ClusterAnalysisTemplate.path("", Some("t")),
            "/apis/argoproj.io/v1alpha1/clusteranalysistemplates/t"
        );
    }
}
