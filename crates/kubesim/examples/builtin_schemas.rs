//! Makes `data/builtin.json`, the schemas of the built-in kinds, from the API server's own OpenAPI documents.
//!
//! `cargo run -p serin-kubesim --example builtin_schemas -- FOLDER`, where FOLDER is `api/openapi-spec/v3` of the sources of
//! Kubernetes, or holds what `/openapi/v3/<path>` of a running API server answers under the same names. What is left:
//! types, required fields, formats and how lists are merged; no descriptions and none of the documentation's defaults.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use serde_json::{Map, Value};

/// Document and the types in it that are served.
const KINDS: [(&str, &[&str]); 10] = [
    (
        "api__v1",
        &[
            "io.k8s.api.authentication.v1.TokenRequest",
            "io.k8s.api.core.v1.Binding",
            "io.k8s.api.core.v1.ConfigMap",
            "io.k8s.api.core.v1.Endpoints",
            "io.k8s.api.core.v1.Event",
            "io.k8s.api.core.v1.Namespace",
            "io.k8s.api.core.v1.Node",
            "io.k8s.api.core.v1.Pod",
            "io.k8s.api.core.v1.Secret",
            "io.k8s.api.core.v1.Service",
            "io.k8s.api.core.v1.ServiceAccount",
            "io.k8s.api.policy.v1.Eviction",
        ],
    ),
    (
        "apis__apps__v1",
        &[
            "io.k8s.api.apps.v1.DaemonSet",
            "io.k8s.api.apps.v1.Deployment",
            "io.k8s.api.apps.v1.ReplicaSet",
            "io.k8s.api.apps.v1.StatefulSet",
            "io.k8s.api.autoscaling.v1.Scale",
        ],
    ),
    ("apis__batch__v1", &["io.k8s.api.batch.v1.Job"]),
    (
        "apis__autoscaling__v2",
        &["io.k8s.api.autoscaling.v2.HorizontalPodAutoscaler"],
    ),
    ("apis__coordination.k8s.io__v1", &["io.k8s.api.coordination.v1.Lease"]),
    ("apis__discovery.k8s.io__v1", &["io.k8s.api.discovery.v1.EndpointSlice"]),
    ("apis__events.k8s.io__v1", &["io.k8s.api.events.v1.Event"]),
    ("apis__policy__v1", &["io.k8s.api.policy.v1.PodDisruptionBudget"]),
    (
        "apis__rbac.authorization.k8s.io__v1",
        &[
            "io.k8s.api.rbac.v1.ClusterRole",
            "io.k8s.api.rbac.v1.ClusterRoleBinding",
            "io.k8s.api.rbac.v1.Role",
            "io.k8s.api.rbac.v1.RoleBinding",
        ],
    ),
    (
        "apis__apiextensions.k8s.io__v1",
        &["io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.CustomResourceDefinition"],
    ),
];

/// Types whose schema says less than their JSON: written by hand.
const OPAQUE: [&str; 1] = ["io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.JSONSchemaProps"];

const KEPT: [&str; 10] = [
    "type",
    "format",
    "required",
    "x-kubernetes-list-type",
    "x-kubernetes-list-map-keys",
    "x-kubernetes-map-type",
    "x-kubernetes-patch-merge-key",
    "x-kubernetes-patch-strategy",
    "x-kubernetes-int-or-string",
    "x-kubernetes-preserve-unknown-fields",
];

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let folder = std::env::args().nth(1).ok_or("usage: builtin_schemas FOLDER")?;
    let mut types: BTreeMap<String, Value> = BTreeMap::new();
    for (document, kinds) in KINDS {
        let path = Path::new(&folder).join(format!("{document}_openapi.json"));
        let text = std::fs::read(&path).map_err(|error| format!("{}: {error}", path.display()))?;
        let document: Value = serde_json::from_slice(&text)?;
        let schemas = document["components"]["schemas"].as_object().ok_or("no schemas")?;
        let mut open: Vec<String> = kinds.iter().map(|&kind| kind.to_owned()).collect();
        while let Some(name) = open.pop() {
            let short = short(&name);
            if types.contains_key(&short) {
                continue;
            }
            let schema = schemas.get(&name).ok_or_else(|| format!("there is no {name} in the document"))?;
            let reduced = if OPAQUE.contains(&name.as_str()) {
                serde_json::json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true})
            } else {
                let mut references = BTreeSet::new();
                let reduced = reduce(schema, &mut references);
                open.extend(references);
                reduced
            };
            types.insert(short, reduced);
        }
    }
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("data/builtin.json");
    let mut text = String::from("{\n");
    let lines: Vec<String> = types
        .iter()
        .map(|(name, schema)| format!("{}:{schema}", Value::from(name.as_str())))
        .collect();
    text.push_str(&lines.join(",\n"));
    text.push_str("\n}\n");
    std::fs::write(&file, text)?;
    Ok(())
}

/// `io.k8s.api.core.v1.Pod` -> `core.v1.Pod`.
fn short(name: &str) -> String {
    name.trim_start_matches("io.k8s.")
        .trim_start_matches("api.")
        .trim_start_matches("apimachinery.pkg.apis.")
        .trim_start_matches("apimachinery.pkg.")
        .trim_start_matches("apiextensions-apiserver.pkg.apis.")
        .to_owned()
}

fn reference(schema: &Value) -> Option<&str> {
    let direct = schema.get("$ref");
    let wrapped = schema.get("allOf").and_then(|all| all.get(0)).and_then(|one| one.get("$ref"));
    direct
        .or(wrapped)
        .and_then(Value::as_str)
        .map(|path| path.trim_start_matches("#/components/schemas/"))
}

fn reduce(schema: &Value, references: &mut BTreeSet<String>) -> Value {
    let mut reduced = Map::new();
    if let Some(name) = reference(schema) {
        references.insert(name.to_owned());
        reduced.insert("$ref".to_owned(), Value::from(short(name)));
    }
    for field in KEPT {
        if let Some(value) = schema.get(field) {
            reduced.insert(field.to_owned(), value.clone());
        }
    }
    if let Some(properties) = schema.get("properties").and_then(Value::as_object) {
        let properties = properties
            .iter()
            .map(|(name, property)| (name.clone(), reduce(property, references)));
        reduced.insert("properties".to_owned(), Value::Object(properties.collect()));
    }
    for field in ["items", "additionalProperties"] {
        if let Some(inner) = schema.get(field).filter(|inner| inner.is_object()) {
            reduced.insert(field.to_owned(), reduce(inner, references));
        }
    }
    Value::Object(reduced)
}
