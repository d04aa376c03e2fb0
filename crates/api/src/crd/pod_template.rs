//! The schema of a pod template: the API server's own, cut down to what is stored and hashed.
//!
//! `data/pod-template.schema.json` is made from Kubernetes' OpenAPI document by [`distil`] (`cargo run -p serin-api --example
//! crds -- --distil <api__v1_openapi.json>`). Defaults are exactly upstream's (compat 1, H1, 2.1.1): they are part of the
//! stored object and so of every hash. Fields newer than the field table of the hash are left out, as upstream's older
//! schema leaves them out: a change that the hash does not see would never be rolled out.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::structural;
use crate::go_json;

/// What the API server accepts as an amount.
const QUANTITY: &str = r"^(\+|-)?(([0-9]+(\.[0-9]*)?)|(\.[0-9]+))(([KMGTPE]i)|[numkMGTPE]|([eE](\+|-)?(([0-9]+(\.[0-9]*)?)|(\.[0-9]+))))?$";

const PREFIXES: [(&str, &str); 2] = [
    ("io.k8s.api.core.v1.", ""),
    ("io.k8s.apimachinery.pkg.apis.meta.v1.", "metav1."),
];

/// The schema of `spec.template`.
pub(super) fn schema() -> Value {
    expanded("PodTemplateSpec")
}

/// The schema of a label selector.
pub(super) fn label_selector() -> Value {
    expanded("metav1.LabelSelector")
}

fn expanded(name: &str) -> Value {
    let file: BTreeMap<String, Value> =
        serde_json::from_str(include_str!("../../data/pod-template.schema.json")).expect("the file is in the crate");
    expand(&file[name], &file)
}

/// Puts definitions in the place of references to them; there are no circles (`distil` would not end).
fn expand(schema: &Value, file: &BTreeMap<String, Value>) -> Value {
    match schema {
        Value::Object(map) => {
            if let Some(name) = map.get("$ref").and_then(Value::as_str) {
                return expand(&file[name], file);
            }
            Value::Object(
                map.iter()
                    .map(|(key, inner)| (key.clone(), expand(inner, file)))
                    .collect(),
            )
        }
        Value::Array(items) => Value::Array(items.iter().map(|item| expand(item, file)).collect()),
        other => other.clone(),
    }
}

/// The definitions that a pod template needs, from the OpenAPI v3 document of an API server.
///
/// # Errors
/// The document lacks one of them.
pub fn distil(document: &Value) -> Result<Value, String> {
    let mut done = Map::new();
    let mut waiting = vec!["PodTemplateSpec".to_owned(), "metav1.LabelSelector".to_owned()];
    while let Some(name) = waiting.pop() {
        if done.contains_key(&name) {
            continue;
        }
        let schema = definition(document, &name)?;
        references(&schema, &mut waiting);
        done.insert(name, schema);
    }
    Ok(Value::Object(done))
}

fn references(schema: &Value, found: &mut Vec<String>) {
    match schema {
        Value::Object(map) => {
            if let Some(name) = map.get("$ref").and_then(Value::as_str) {
                found.push(name.to_owned());
            }
            map.values().for_each(|inner| references(inner, found));
        }
        Value::Array(items) => items.iter().for_each(|inner| references(inner, found)),
        _ => {}
    }
}

fn definition(document: &Value, name: &str) -> Result<Value, String> {
    let full = PREFIXES
        .iter()
        .map(|(long, short)| format!("{long}{}", name.strip_prefix(short).unwrap_or(name)));
    let schemas = &document["components"]["schemas"];
    let schema = full
        .filter_map(|full| schemas.get(full))
        .next()
        .ok_or_else(|| format!("the document has no definition of {name}"))?;
    let known: Vec<&str> = go_json::all_field_names(name);
    let mut properties = Map::new();
    for (field, inner) in schema["properties"].as_object().into_iter().flatten() {
        if known.contains(&field.as_str()) {
            properties.insert(field.clone(), property(name, field, inner)?);
        }
    }
    let mut out = json!({"type": "object", "properties": properties});
    for key in ["required", "x-kubernetes-map-type"] {
        if let Some(value) = schema.get(key) {
            out[key] = value.clone();
        }
    }
    Ok(out)
}

fn property(owner: &str, field: &str, schema: &Value) -> Result<Value, String> {
    let preserved = json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true});
    match (owner, field) {
        ("PodTemplateSpec", "metadata") => {
            let map = json!({"type": "object", "additionalProperties": {"type": "string"}});
            return Ok(json!({"type": "object", "properties": {"labels": map, "annotations": map}}));
        }
        ("PodSpec", "volumes") => return Ok(json!({"type": "array", "items": preserved})),
        ("ResourceRequirements", "limits" | "requests") => return Ok(preserved),
        _ => {}
    }
    let mut out = plain(schema)?;
    let default = match (owner, field) {
        ("ContainerPort", "protocol") => Some(json!("TCP")),
        ("GRPCAction", "service") => Some(json!("")),
        ("FileKeySelector", "optional") => Some(json!(false)),
        (
            "LocalObjectReference"
            | "ConfigMapKeySelector"
            | "SecretKeySelector"
            | "ConfigMapEnvSource"
            | "SecretEnvSource",
            "name",
        ) => Some(json!("")),
        _ => None,
    };
    if let Some(default) = default {
        out["default"] = default;
    }
    Ok(out)
}

/// Type, items and lists' keys; references shortened.
fn plain(schema: &Value) -> Result<Value, String> {
    let reference = schema.get("$ref").or_else(|| schema.pointer("/allOf/0/$ref"));
    if let Some(reference) = reference.and_then(Value::as_str) {
        let full = reference.rsplit('/').next().unwrap_or(reference);
        return match full {
            "io.k8s.apimachinery.pkg.api.resource.Quantity" => {
                let mut quantity = structural::int_or_string();
                quantity["pattern"] = json!(QUANTITY);
                Ok(quantity)
            }
            "io.k8s.apimachinery.pkg.util.intstr.IntOrString" => Ok(structural::int_or_string()),
            "io.k8s.apimachinery.pkg.apis.meta.v1.Time" => Ok(json!({"type": "string", "format": "date-time"})),
            _ => PREFIXES
                .iter()
                .find_map(|(long, short)| Some(json!({"$ref": format!("{short}{}", full.strip_prefix(long)?)})))
                .ok_or_else(|| format!("{full} is none of the known kinds of definition")),
        };
    }
    let mut out = Map::new();
    for key in [
        "type",
        "format",
        "x-kubernetes-list-type",
        "x-kubernetes-list-map-keys",
        "x-kubernetes-map-type",
    ] {
        if let Some(value) = schema.get(key) {
            out.insert(key.to_owned(), value.clone());
        }
    }
    for key in ["items", "additionalProperties"] {
        if let Some(inner) = schema.get(key) {
            out.insert(key.to_owned(), plain(inner)?);
        }
    }
    Ok(Value::Object(out))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A document with just what is asked for.
    fn document() -> Value {
        let reference = |name: &str| json!({"allOf": [{"$ref": format!("#/components/schemas/io.k8s.api.core.v1.{name}")}], "default": {}});
        let list = |name: &str, keys: Value| {
            json!({"type": "array", "items": reference(name), "x-kubernetes-list-type": "map",
            "x-kubernetes-list-map-keys": keys, "x-kubernetes-patch-merge-key": "k", "description": "d"})
        };
        let quantity = json!({"$ref": "#/components/schemas/io.k8s.apimachinery.pkg.api.resource.Quantity"});
        json!({"components": {"schemas": {
            "io.k8s.api.core.v1.PodTemplateSpec": {"properties": {"metadata": {}, "spec": reference("PodSpec")}},
            "io.k8s.api.core.v1.PodSpec": {"required": ["containers"], "properties": {
                "containers": list("Container", json!(["name"])),
                "overhead": {"type": "object", "additionalProperties": quantity},
                "volumes": list("Volume", json!(["name"])),
                "newerThanTheTable": {"type": "string"},
            }},
            "io.k8s.api.core.v1.Container": {"required": ["name"], "properties": {
                "name": {"type": "string", "default": ""},
                "ports": list("ContainerPort", json!(["containerPort", "protocol"])),
            }},
            "io.k8s.api.core.v1.ContainerPort": {"required": ["containerPort"], "properties": {
                "containerPort": {"type": "integer", "format": "int32", "default": 0},
                "protocol": {"type": "string", "default": "TCP"},
            }},
            "io.k8s.apimachinery.pkg.apis.meta.v1.LabelSelector": {"properties": {}, "x-kubernetes-map-type": "atomic"},
        }}})
    }

    #[test]
    fn only_what_is_stored_and_hashed_is_kept_of_the_document() {
        let made = distil(&document()).unwrap();
        assert_eq!(
            made["ContainerPort"],
            json!({"type": "object", "required": ["containerPort"], "properties": {
                "containerPort": {"type": "integer", "format": "int32"},
                "protocol": {"type": "string", "default": "TCP"},
            }})
        );
        assert_eq!(
            made["Container"]["properties"],
            json!({"name": {"type": "string"}, "ports": {
                "type": "array", "items": {"$ref": "ContainerPort"}, "x-kubernetes-list-type": "map",
                "x-kubernetes-list-map-keys": ["containerPort", "protocol"],
            }})
        );
        let spec = &made["PodSpec"]["properties"];
        assert_eq!(spec["overhead"]["additionalProperties"]["pattern"], QUANTITY);
        assert_eq!(spec["volumes"]["items"]["x-kubernetes-preserve-unknown-fields"], true);
        assert!(spec["newerThanTheTable"].is_null() && made["Volume"].is_null());
        let metadata = &made["PodTemplateSpec"]["properties"]["metadata"]["properties"];
        assert_eq!(
            metadata.as_object().unwrap().keys().collect::<Vec<_>>(),
            ["annotations", "labels"]
        );
    }

    #[test]
    fn a_definition_that_is_missing_is_named() {
        let mut document = document();
        document["components"]["schemas"]
            .as_object_mut()
            .unwrap()
            .remove("io.k8s.api.core.v1.Container");
        assert_eq!(
            distil(&document).unwrap_err(),
            "the document has no definition of Container"
        );
    }
}
