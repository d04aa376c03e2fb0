//! The kinds that are asked about: a valid object of each, changes to it, and values that no server accepts.

use std::sync::LazyLock;

use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::case::Step;

/// One kind of object; `kinds.json` says it.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Kind {
    /// API group; empty for the core.
    pub group: String,
    /// Version.
    pub version: String,
    /// Plural.
    pub resource: String,
    /// Kind.
    pub kind: String,
    /// Has no namespace.
    #[serde(default)]
    pub cluster: bool,
    /// Served from a CustomResourceDefinition.
    #[serde(default)]
    pub custom: bool,
    /// Gets all refusals, others only those that depend on the kind.
    #[serde(default)]
    pub deep: bool,
    /// Has the scale subresource.
    #[serde(default)]
    pub scale: bool,
    /// Another object that must be there first.
    #[serde(default)]
    pub needs: String,
    /// Pattern of names, `NAME` standing for what a case calls it.
    #[serde(default)]
    pub name: String,
    /// What an object has besides apiVersion, kind and metadata.
    pub object: Value,
    /// Merge patches that a server accepts.
    pub changes: Vec<Value>,
    /// Pointer and a value that a server does not accept there.
    pub bad: Vec<(String, Value)>,
    /// Pointer and a value of a wrong JSON type.
    pub wrong_type: (String, Value),
    /// A status, for kinds with that subresource.
    pub status: Option<Value>,
    /// Pointer and a value that may not be set later.
    pub immutable: Option<(String, Value)>,
}

/// All kinds, in their order.
pub fn kinds() -> &'static [Kind] {
    static KINDS: LazyLock<Vec<Kind>> =
        LazyLock::new(|| serde_json::from_str(include_str!("../kinds.json")).expect("kinds.json is a list of kinds"));
    &KINDS
}

impl Kind {
    /// The kind of a resource, if a case can be made for it.
    pub fn find(group: &str, resource: &str) -> Option<&'static Kind> {
        kinds()
            .iter()
            .find(|kind| kind.group == group && kind.resource == resource)
    }

    /// What cases and files are called by: `events.events.k8s.io` is not `events`.
    pub fn label(&self) -> String {
        if self.group == "events.k8s.io" {
            return format!("{}.{}", self.resource, self.group);
        }
        self.resource.clone()
    }

    /// `v1`, `apps/v1`.
    pub fn api_version(&self) -> String {
        if self.group.is_empty() {
            self.version.clone()
        } else {
            format!("{}/{}", self.group, self.version)
        }
    }

    /// `/api/v1`, `/apis/apps/v1`.
    pub fn root(&self) -> String {
        let folder = if self.group.is_empty() { "/api" } else { "/apis" };
        format!("{folder}/{}", self.api_version())
    }

    /// Path of all objects in a namespace (or in the cluster, for kinds without).
    pub fn collection_in(&self, namespace: &str) -> String {
        if self.cluster {
            format!("{}/{}", self.root(), self.resource)
        } else {
            format!("{}/namespaces/{namespace}/{}", self.root(), self.resource)
        }
    }

    /// Path of the case's objects.
    pub fn collection(&self) -> String {
        self.collection_in("{ns}")
    }

    /// Path of all objects everywhere.
    pub fn everywhere(&self) -> String {
        format!("{}/{}", self.root(), self.resource)
    }

    /// An object's name in a case.
    pub fn named(&self, name: &str) -> String {
        match (self.name.as_str(), self.cluster) {
            ("", true) => format!("{{ns}}-{name}"),
            ("", false) => name.to_owned(),
            (pattern, _) => pattern.replace("NAME", name),
        }
    }

    /// An object's path.
    pub fn item(&self, name: &str) -> String {
        format!("{}/{}", self.collection(), self.named(name))
    }

    /// A valid object. Labels say what it is called and, for objects without a namespace, whose it is.
    pub fn make(&self, name: &str) -> Value {
        let full = self.named(name);
        let mut metadata = json!({"name": full, "labels": {"app": name, "case": "{ns}"}});
        if !self.cluster {
            metadata["namespace"] = json!("{ns}");
        }
        let mut object = json!({"apiVersion": self.api_version(), "kind": self.kind, "metadata": metadata});
        merge(
            &mut object,
            &replace(&self.object, if self.cluster { &full } else { name }, &self.name, name),
        );
        object
    }

    /// The request that makes it.
    pub fn create(&self, name: &str) -> Step {
        Step::new("POST", self.collection())
            .json(self.make(name))
            .save("rv", "/metadata/resourceVersion")
            .save("uid", "/metadata/uid")
            .setup()
    }

    /// A valid object with one of the kind's changes.
    pub fn changed(&self, name: &str, change: usize) -> Value {
        let mut object = self.make(name);
        merge(&mut object, &self.changes[change % self.changes.len()]);
        object
    }

    /// Preparations that every case of this kind needs.
    pub fn needs(&self) -> Vec<Step> {
        if self.needs != "serviceaccount" {
            return Vec::new();
        }
        let account = json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "default"}});
        vec![
            Step::new("POST", "/api/v1/namespaces/{ns}/serviceaccounts")
                .json(account)
                .setup(),
        ]
    }

    /// A change as a JSON patch that replaces what the change names at the top.
    pub fn json_patch(&self, name: &str, change: usize) -> Value {
        let object = self.changed(name, change);
        let change = &self.changes[change % self.changes.len()];
        let mut operations = Vec::new();
        for key in change.as_object().into_iter().flat_map(Map::keys) {
            // `add` replaces what is there; metadata must keep what the server added to it.
            if key == "metadata" {
                for inner in change[key].as_object().into_iter().flat_map(Map::keys) {
                    operations.push(
                        json!({"op": "add", "path": format!("/metadata/{inner}"), "value": object["metadata"][inner]}),
                    );
                }
            } else if object.get(key).is_some() {
                operations.push(json!({"op": "add", "path": format!("/{key}"), "value": object[key]}));
            } else {
                operations.push(json!({"op": "remove", "path": format!("/{key}")}));
            }
        }
        Value::Array(operations)
    }
}

fn replace(value: &Value, full: &str, pattern: &str, name: &str) -> Value {
    match value {
        // A pattern (`NAME.{ns}.example`) wants the short name inside, other kinds' objects name themselves.
        Value::String(text) if pattern.is_empty() => json!(text.replace("NAME", full)),
        Value::String(text) => json!(text.replace("NAME", name)),
        Value::Array(items) => items.iter().map(|item| replace(item, full, pattern, name)).collect(),
        Value::Object(map) => map
            .iter()
            .map(|(key, item)| (key.clone(), replace(item, full, pattern, name)))
            .collect(),
        other => other.clone(),
    }
}

/// RFC 7386, on a body before it is sent.
pub fn merge(target: &mut Value, patch: &Value) {
    let Some(patch) = patch.as_object() else {
        *target = patch.clone();
        return;
    };
    if !target.is_object() {
        *target = json!({});
    }
    if let Some(map) = target.as_object_mut() {
        for (key, value) in patch {
            if value.is_null() {
                map.remove(key);
            } else {
                merge(map.entry(key.clone()).or_insert(Value::Null), value);
            }
        }
    }
}

/// Sets a value, making what is missing on the way. Lists are only entered where they have the element.
pub fn set(target: &mut Value, pointer: &str, value: &Value) {
    let mut at = target;
    for part in pointer.split('/').skip(1) {
        let step = match at {
            Value::Array(items) => part.parse::<usize>().ok().and_then(|i| items.get_mut(i)),
            Value::Object(map) => Some(map.entry(part.to_owned()).or_insert_with(|| json!({}))),
            _ => None,
        };
        let Some(step) = step else { return };
        at = step;
    }
    *at = value.clone();
}

/// A merge patch that sets one value; `None` where the way leads through a list.
pub fn merge_patch(pointer: &str, value: &Value) -> Option<Value> {
    let mut patch = value.clone();
    for part in pointer.rsplit('/').filter(|part| !part.is_empty()) {
        if part.bytes().all(|b| b.is_ascii_digit()) {
            return None;
        }
        let mut outer = Map::new();
        outer.insert(part.to_owned(), patch);
        patch = Value::Object(outer);
    }
    Some(patch)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_makes_objects_that_differ_from_their_changes() {
        for kind in kinds() {
            for change in 0..kind.changes.len() {
                assert_ne!(kind.make("a"), kind.changed("a", change), "{}", kind.label());
            }
        }
    }

    #[test]
    fn objects_without_a_namespace_are_named_after_the_case() {
        let crd = Kind::find("apiextensions.k8s.io", "customresourcedefinitions").expect("listed");
        assert_eq!(crd.make("a")["metadata"]["name"], "things.a.{ns}.example");
        assert_eq!(crd.make("a")["spec"]["group"], "a.{ns}.example");
    }
}
