//! What a request says: its path, and which objects a list or watch wants.

use std::{collections::BTreeMap, time::Duration};

use serde_json::{Value, json};

use crate::kubernetes::{Id, SERVED, Served, Version};

/// What a request is about.
pub struct Path {
    pub plural: &'static str,
    pub namespace: String,
    pub name: Option<String>,
    pub subresource: Option<String>,
}

impl Path {
    pub fn parse(path: &str) -> Option<Self> {
        let rest = |prefix| path.strip_prefix(prefix).and_then(|r: &str| r.strip_prefix('/'));
        SERVED.iter().find_map(|Served(plural, _, prefix, ..)| {
            let parts: Vec<&str> = rest(*prefix)?.split('/').collect();
            let (namespace, parts) = match parts.as_slice() {
                ["namespaces", namespace, rest @ ..] if !rest.is_empty() => (*namespace, rest),
                rest => ("", rest),
            };
            (parts.first() == Some(plural)).then(|| Self {
                plural,
                namespace: namespace.to_owned(),
                name: parts.get(1).map(ToString::to_string),
                subresource: parts.get(2).map(ToString::to_string),
            })
        })
    }
}

/// Which objects a list or watch is about.
pub struct Watch {
    pub plural: &'static str,
    pub namespace: String,
    pub selector: Option<String>,
    pub from: u64,
    pub timeout: Duration,
}

impl Watch {
    pub fn of(path: &Path, query: &BTreeMap<String, String>) -> Self {
        Self {
            plural: path.plural,
            namespace: path.namespace.clone(),
            selector: query.get("labelSelector").cloned(),
            from: query.get("resourceVersion").and_then(|v| v.parse().ok()).unwrap_or(0),
            timeout: Duration::from_secs(query.get("timeoutSeconds").and_then(|v| v.parse().ok()).unwrap_or(290)),
        }
    }

    pub fn wants(&self, id: &Id, object: &Value) -> bool {
        if id.0 != self.plural || !self.namespace.is_empty() && id.1 != self.namespace {
            return false;
        }
        let label = |key: &str| {
            object
                .pointer("/metadata/labels")
                .and_then(|l| l.get(key))
                .and_then(Value::as_str)
        };
        self.selector.iter().flat_map(|s| s.split(',')).all(|term| {
            match (term.strip_prefix('!'), term.split_once('=')) {
                (Some(key), _) => label(key).is_none(),
                (None, Some((key, value))) => label(key) == Some(value),
                (None, None) => label(term).is_some(),
            }
        })
    }

    pub fn line(&self, version: &Version) -> Option<String> {
        let wanted = |object: &Option<Value>| object.as_ref().filter(|o| self.wants(&version.id, o)).cloned();
        let (kind, mut object) = match (wanted(&version.old), wanted(&version.object)) {
            (None, None) => return None,
            (None, Some(new)) => ("ADDED", new),
            (Some(_), Some(new)) => ("MODIFIED", new),
            (Some(old), None) => ("DELETED", old),
        };
        object["metadata"]["resourceVersion"] = json!(version.version.to_string());
        Some(format!("{}\n", json!({"type": kind, "object": object})))
    }
}
