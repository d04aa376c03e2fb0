//! The built-in kinds: their names, schemas, defaults and validations.
//!
//! [`kinds`] is the table of what is served. The schemas in `data/builtin.json` are made from the API server's own
//! (`examples/builtin_schemas.rs`); defaults and validations are the commonest ones, in the real server's words.

mod apps;
mod cells;
mod columns;
mod defaults;
mod pods;
mod prepare;
pub mod quantity;
#[cfg(test)]
mod real;
mod services;
#[cfg(test)]
mod tests;

use std::sync::{Arc, LazyLock};

use base64::Engine;
use serde_json::{Map, Value, json};

use crate::Status;
use crate::schema::errors::cannot_be_handled;
use crate::schema::node::Compiler;
use crate::schema::{Column, FieldError, NameRule, Node, Rules, decode, names};

/// The schemas, made by the example `builtin_schemas`.
static DATA: LazyLock<Map<String, Value>> = LazyLock::new(|| {
    serde_json::from_str(include_str!("../../data/builtin.json")).expect("a file of this crate, read by a test")
});

static OBJECT_META: LazyLock<Arc<Node>> = LazyLock::new(|| {
    Compiler::with_types(&DATA)
        .named("meta.v1.ObjectMeta")
        .expect("a file of this crate, read by a test")
});

/// The schema of every object's metadata.
pub(crate) fn object_meta() -> &'static Arc<Node> {
    &OBJECT_META
}

/// A built-in kind in the version in which it is served.
#[derive(Debug)]
pub struct BuiltIn {
    /// API group, empty for the core.
    pub group: &'static str,
    /// Version, as `v1`.
    pub version: &'static str,
    /// Kind of the objects.
    pub kind: &'static str,
    /// Plural name, as in paths.
    pub plural: &'static str,
    /// Singular name.
    pub singular: String,
    /// Short names.
    pub short_names: &'static [&'static str],
    /// Categories.
    pub categories: &'static [&'static str],
    /// Whether objects are in namespaces.
    pub namespaced: bool,
    /// Subresources that are served.
    pub subresources: &'static [&'static str],
    /// What names may look like.
    pub names: NameRule,
    node: Arc<Node>,
    columns: Vec<Column>,
}

/// A row of the table.
struct Row(
    &'static str,
    &'static str,
    &'static str,
    &'static str,
    &'static [&'static str],
    &'static [&'static str],
    bool,
    &'static [&'static str],
    NameRule,
);

const NONE: &[&str] = &[];
const ALL: &[&str] = &["all"];
const STATUS: &[&str] = &["status"];
const SCALED: &[&str] = &["scale", "status"];
const RBAC: &str = "rbac.authorization.k8s.io";

/// Type in the data, group, kind, plural, short names, categories, namespaced, subresources, rule for names.
const ROWS: [Row; 25] = {
    use NameRule::{Label, PathSegment, Subdomain};
    [
        Row(
            "core.v1",
            "",
            "ConfigMap",
            "configmaps",
            &["cm"],
            NONE,
            true,
            NONE,
            Subdomain,
        ),
        Row(
            "core.v1",
            "",
            "Endpoints",
            "endpoints",
            &["ep"],
            NONE,
            true,
            NONE,
            Subdomain,
        ),
        Row("core.v1", "", "Event", "events", &["ev"], NONE, true, NONE, Subdomain),
        Row(
            "core.v1",
            "",
            "Namespace",
            "namespaces",
            &["ns"],
            NONE,
            false,
            &["finalize", "status"],
            Label,
        ),
        Row("core.v1", "", "Node", "nodes", &["no"], NONE, false, STATUS, Subdomain),
        Row(
            "core.v1",
            "",
            "Pod",
            "pods",
            &["po"],
            ALL,
            true,
            &["binding", "eviction", "log", "status"],
            Subdomain,
        ),
        Row("core.v1", "", "Secret", "secrets", NONE, NONE, true, NONE, Subdomain),
        Row("core.v1", "", "Service", "services", &["svc"], ALL, true, STATUS, Label),
        Row(
            "core.v1",
            "",
            "ServiceAccount",
            "serviceaccounts",
            &["sa"],
            NONE,
            true,
            &["token"],
            Subdomain,
        ),
        Row(
            "apps.v1",
            "apps",
            "DaemonSet",
            "daemonsets",
            &["ds"],
            ALL,
            true,
            STATUS,
            Subdomain,
        ),
        Row(
            "apps.v1",
            "apps",
            "Deployment",
            "deployments",
            &["deploy"],
            ALL,
            true,
            SCALED,
            Subdomain,
        ),
        Row(
            "apps.v1",
            "apps",
            "ReplicaSet",
            "replicasets",
            &["rs"],
            ALL,
            true,
            SCALED,
            Subdomain,
        ),
        Row(
            "apps.v1",
            "apps",
            "StatefulSet",
            "statefulsets",
            &["sts"],
            ALL,
            true,
            SCALED,
            Label,
        ),
        Row("batch.v1", "batch", "Job", "jobs", NONE, ALL, true, STATUS, Subdomain),
        Row(
            "autoscaling.v2",
            "autoscaling",
            "HorizontalPodAutoscaler",
            "horizontalpodautoscalers",
            &["hpa"],
            ALL,
            true,
            STATUS,
            Subdomain,
        ),
        Row(
            "coordination.v1",
            "coordination.k8s.io",
            "Lease",
            "leases",
            NONE,
            NONE,
            true,
            NONE,
            Subdomain,
        ),
        Row(
            "discovery.v1",
            "discovery.k8s.io",
            "EndpointSlice",
            "endpointslices",
            NONE,
            NONE,
            true,
            NONE,
            Subdomain,
        ),
        Row(
            "events.v1",
            "events.k8s.io",
            "Event",
            "events",
            &["ev"],
            NONE,
            true,
            NONE,
            Subdomain,
        ),
        Row(
            "policy.v1",
            "policy",
            "PodDisruptionBudget",
            "poddisruptionbudgets",
            &["pdb"],
            NONE,
            true,
            STATUS,
            Subdomain,
        ),
        Row(
            "rbac.v1",
            RBAC,
            "ClusterRole",
            "clusterroles",
            NONE,
            NONE,
            false,
            NONE,
            PathSegment,
        ),
        Row(
            "rbac.v1",
            RBAC,
            "ClusterRoleBinding",
            "clusterrolebindings",
            NONE,
            NONE,
            false,
            NONE,
            PathSegment,
        ),
        Row("rbac.v1", RBAC, "Role", "roles", NONE, NONE, true, NONE, PathSegment),
        Row(
            "rbac.v1",
            RBAC,
            "RoleBinding",
            "rolebindings",
            NONE,
            NONE,
            true,
            NONE,
            PathSegment,
        ),
        Row(
            "apiextensions.v1",
            "apiextensions.k8s.io",
            "CustomResourceDefinition",
            "customresourcedefinitions",
            &["crd", "crds"],
            &["api-extensions"],
            false,
            STATUS,
            Subdomain,
        ),
        // Not stored: what the scale subresources speak.
        Row(
            "autoscaling.v1",
            "autoscaling",
            "Scale",
            "scales",
            NONE,
            NONE,
            true,
            NONE,
            Subdomain,
        ),
    ]
};

static KINDS: LazyLock<Vec<Arc<BuiltIn>>> = LazyLock::new(|| {
    let mut compiler = Compiler::with_types(&DATA);
    ROWS.iter()
        .map(|row| {
            let Row(types, group, kind, plural, short_names, categories, namespaced, subresources, names) = *row;
            let node = compiler
                .named(&format!("{types}.{kind}"))
                .expect("a file of this crate, read by a test");
            Arc::new(BuiltIn {
                group,
                version: types.rsplit('.').next().unwrap_or_default(),
                kind,
                plural,
                singular: kind.to_lowercase(),
                short_names,
                categories,
                namespaced,
                subresources,
                names,
                node,
                columns: columns::columns(plural, group),
            })
        })
        .collect()
});

/// The built-in kinds that are served and stored.
pub fn kinds() -> impl Iterator<Item = &'static Arc<BuiltIn>> {
    KINDS.iter().filter(|kind| kind.plural != "scales")
}

/// The rules of the `Scale` that scale subresources speak.
#[must_use]
pub fn scale() -> &'static Arc<BuiltIn> {
    KINDS
        .iter()
        .find(|kind| kind.plural == "scales")
        .expect("a row of the table above")
}

impl Rules for BuiltIn {
    fn decode(&self, object: &mut Value) -> Result<Vec<String>, Status> {
        if self.plural == "secrets" {
            text_to_data(object);
        }
        let unknown = decode::decode(object, &self.node, self.kind)
            .map_err(|why| cannot_be_handled(self.kind, self.version, &why))?;
        Ok(unknown)
    }

    fn default(&self, object: &mut Value) {
        defaults::default(self.plural, object);
    }

    fn prepare(&self, object: &mut Value, old: Option<&Value>, subresource: &str, addresses: &mut u32) {
        prepare::prepare(self.plural, object, old, subresource, addresses);
        // Empty values that the server writes all the same, as `status: {}`.
        decode::settle(object, &self.node, self.kind);
    }

    fn validate(&self, object: &Value) -> Vec<FieldError> {
        if self.plural == "services"
            && let Some(error) = services::without_address(object)
        {
            return vec![error];
        }
        // Events of the core group are older than the rules for metadata.
        let mut errors = if self.plural == "events" && self.group.is_empty() {
            Vec::new()
        } else {
            names::metadata(object, self.namespaced, self.names)
        };
        self.finalizers(object, &mut errors);
        self.content(object, &mut errors);
        errors
    }

    fn validate_update(&self, object: &Value, old: &Value, subresource: &str) -> Vec<FieldError> {
        if self.plural == "services"
            && subresource.is_empty()
            && object["spec"]["clusterIP"] != old["spec"]["clusterIP"]
            && let Some(error) = services::without_address(object)
        {
            return vec![error];
        }
        let without_metadata = self.plural == "events" && self.group.is_empty()
            || matches!(self.plural, "endpointslices" | "poddisruptionbudgets");
        let mut errors = if without_metadata {
            Vec::new()
        } else {
            names::metadata_update(object, old)
        };
        self.finalizers(object, &mut errors);
        // What may not change comes first where it depends on nothing but the data.
        let data = subresource.is_empty() && matches!(self.plural, "configmaps" | "secrets");
        if data {
            self.change(object, old, &mut errors);
        }
        let as_new = data || subresource.is_empty() && matches!(self.plural, "services" | "pods");
        if as_new && errors.iter().any(|error| error.field.starts_with("metadata.")) {
            // A changed object of these is looked at as a new one too, which finds the same again.
            errors.extend(names::metadata(object, self.namespaced, self.names));
            self.finalizers(object, &mut errors);
        }
        match (self.plural, subresource) {
            ("replicasets", "status") => apps::status(
                object,
                &[
                    "replicas",
                    "fullyLabeledReplicas",
                    "readyReplicas",
                    "availableReplicas",
                    "observedGeneration",
                    "terminatingReplicas",
                ],
                &["fullyLabeledReplicas", "readyReplicas", "availableReplicas"],
                &mut errors,
            ),
            ("deployments", "status") => apps::status(
                object,
                &[
                    "observedGeneration",
                    "replicas",
                    "updatedReplicas",
                    "readyReplicas",
                    "availableReplicas",
                    "unavailableReplicas",
                    "terminatingReplicas",
                    "collisionCount",
                ],
                &["updatedReplicas", "readyReplicas", "availableReplicas"],
                &mut errors,
            ),
            ("services", "status") => services::status(object, &mut errors),
            (_, "status" | "finalize" | "binding") => {}
            _ => {
                self.content(object, &mut errors);
                if self.plural == "jobs" {
                    // As one that is changed, and as a Job.
                    self.content(object, &mut errors);
                }
                if !data {
                    self.change(object, old, &mut errors);
                }
            }
        }
        errors
    }

    fn node(&self) -> &Node {
        &self.node
    }

    fn strategic(&self) -> bool {
        true
    }

    fn columns(&self) -> &[Column] {
        &self.columns
    }
}

impl BuiltIn {
    /// Finalizers of built-in kinds have a domain, or are the server's own.
    fn finalizers(&self, object: &Value, errors: &mut Vec<FieldError>) {
        if matches!(self.plural, "leases" | "customresourcedefinitions" | "events") {
            return;
        }
        let list = object.pointer("/metadata/finalizers").and_then(Value::as_array);
        for (index, name) in list.into_iter().flatten().filter_map(Value::as_str).enumerate() {
            let field = format!("metadata.finalizers[{index}]");
            if !name.contains('/') && !matches!(name, "kubernetes" | "orphan" | "foregroundDeletion") {
                errors.push(FieldError::invalid(
                    field,
                    name,
                    "name is neither a standard finalizer name nor is it fully qualified",
                ));
            }
        }
    }

    /// What is wrong with the object beyond its metadata.
    fn content(&self, object: &Value, errors: &mut Vec<FieldError>) {
        match self.plural {
            "pods" => pods::spec(&object["spec"], "spec", errors),
            "replicasets" => apps::replica_set(object, errors),
            "deployments" => apps::deployment(object, errors),
            "statefulsets" | "daemonsets" => apps::other_set(object, self.kind, errors),
            "jobs" => apps::job(object, errors),
            "services" => services::service(object, errors),
            "endpointslices" => services::endpoint_slice(object, errors),
            "configmaps" => services::data_keys(object, errors),
            "secrets" => {
                services::data_keys(object, errors);
                services::secret_type(object, errors);
            }
            "leases" => services::lease(object, errors),
            "events" => services::event(object, !self.group.is_empty(), errors),
            "poddisruptionbudgets" => services::disruption_budget(object, errors),
            "horizontalpodautoscalers" => services::autoscaler(object, errors),
            "roles" | "clusterroles" => services::role(object, errors),
            "rolebindings" => services::role_reference(object, &["Role", "ClusterRole"], errors),
            "clusterrolebindings" => services::role_reference(object, &["ClusterRole"], errors),
            "scales" => pods::not_negative(
                object.pointer("/spec/replicas").and_then(Value::as_i64),
                "spec.replicas",
                errors,
            ),
            _ => {}
        }
    }

    /// What of the object may not change.
    fn change(&self, object: &Value, old: &Value, errors: &mut Vec<FieldError>) {
        match self.plural {
            "replicasets" | "deployments" | "daemonsets" => apps::immutable(object, old, "/spec/selector", errors),
            "statefulsets" => {
                for field in ["selector", "serviceName", "podManagementPolicy", "volumeClaimTemplates"] {
                    if object["spec"].get(field) != old["spec"].get(field) {
                        errors.push(FieldError::forbidden(
                            "spec",
                            "updates to statefulset spec for fields other than 'replicas', 'ordinals', 'template', \
                             'updateStrategy', 'revisionHistoryLimit', 'persistentVolumeClaimRetentionPolicy' and \
                             'minReadySeconds' are forbidden",
                        ));
                        break;
                    }
                }
            }
            "jobs" => apps::job_update(object, old, errors),
            "services" => services::service_update(object, old, errors),
            "configmaps" => services::data_update(object, old, errors),
            "secrets" => {
                apps::immutable(object, old, "/type", errors);
                services::data_update(object, old, errors);
            }
            "endpointslices" => apps::immutable(object, old, "/addressType", errors),
            "rolebindings" | "clusterrolebindings" if object.get("roleRef") != old.get("roleRef") => {
                // The internal type of the server has no JSON names.
                let part = |name: &str| object["roleRef"].get(name).cloned().unwrap_or_else(|| Value::from(""));
                let shown = json!({"APIGroup": part("apiGroup"), "Kind": part("kind"), "Name": part("name")});
                errors.push(FieldError::invalid("roleRef", shown, "cannot change roleRef"));
            }
            "pods" => pods::change(object, old, errors),
            _ => {}
        }
    }
}

/// A Secret's `stringData` goes into its `data`.
fn text_to_data(object: &mut Value) {
    let Some(map) = object.as_object_mut() else { return };
    let Some(Value::Object(texts)) = map.remove("stringData") else {
        return;
    };
    let data = map.entry("data").or_insert_with(|| Value::Object(Map::new()));
    if data.is_null() {
        *data = Value::Object(Map::new());
    }
    let Some(data) = data.as_object_mut() else { return };
    for (key, text) in texts {
        if let Some(text) = text.as_str() {
            let encoded = base64::engine::general_purpose::STANDARD.encode(text);
            data.insert(key, Value::from(encoded));
        }
    }
}
