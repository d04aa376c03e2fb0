//! OpenAPI, version 3: as much of it as kubectl asks for. Which kinds there are, that writes may be validated by the server, and
//! the schemas of custom resources; those of built-in kinds say only that they are objects.

use serde_json::{Map, Value, json};

use super::discovery::{groups, of_version, version_info};
use crate::kinds::{Kind, Kinds};

/// The documents that there are.
pub(super) fn index(kinds: &Kinds) -> Value {
    let mut paths = Map::new();
    for (group, versions) in groups(kinds) {
        for version in versions {
            let path = prefix(group, &version);
            let of_version: Vec<_> = of_version(kinds, group, &version).map(|kind| &kind.resource).collect();
            // Clients keep a document for as long as its hash stays: kinds that come later change it.
            let url = format!("/openapi/v3/{path}?hash={:x}", of_version.len());
            paths.insert(path, json!({"serverRelativeURL": url}));
        }
    }
    json!({"paths": paths})
}

/// The document of one version of a group.
pub(super) fn document(kinds: &Kinds, group: &str, version: &str) -> Value {
    let (mut paths, mut schemas) = (Map::new(), Map::new());
    for kind in of_version(kinds, group, version) {
        let of = json!({"group": group, "version": version, "kind": kind.kind});
        let scope = if kind.namespaced { "namespaces/{namespace}/" } else { "" };
        let all = format!("/{}/{scope}{}", prefix(group, version), kind.resource.plural);
        let operation = |action: &str| {
            let of = of.clone();
            json!({"x-kubernetes-action": action, "x-kubernetes-group-version-kind": of, "responses": {}})
        };
        let write = |action: &str| {
            let mut write = operation(action);
            let parameters = ["dryRun", "fieldManager", "fieldValidation"];
            write["parameters"] = parameters
                .iter()
                .map(|name| json!({"name": name, "in": "query", "schema": {"type": "string"}}))
                .collect();
            write
        };
        paths.insert(all.clone(), json!({"get": operation("list"), "post": write("post")}));
        let one = json!({"get": operation("get"), "put": write("put"), "patch": write("patch"), "delete": operation("delete")});
        paths.insert(format!("{all}/{{name}}"), one);
        let mut schema = schema(kind, version).unwrap_or_else(|| json!({"type": "object"}));
        schema["x-kubernetes-group-version-kind"] = json!([of]);
        let mut name: Vec<&str> = group.split('.').rev().filter(|part| !part.is_empty()).collect();
        name.extend([version, kind.kind.as_str()]);
        schemas.insert(name.join("."), schema);
    }
    json!({"openapi": "3.0.0", "info": version_info(), "paths": paths, "components": {"schemas": schemas}})
}

fn prefix(group: &str, version: &str) -> String {
    match group {
        "" => format!("api/{version}"),
        group => format!("apis/{group}/{version}"),
    }
}

/// The schema of a custom resource, as its definition has it.
fn schema(kind: &Kind, version: &str) -> Option<Value> {
    let versions = kind.crd.as_ref()?.object.pointer("/spec/versions")?.as_array()?;
    let found = versions.iter().find(|v| v["name"] == *version)?;
    found.pointer("/schema/openAPIV3Schema").cloned()
}
