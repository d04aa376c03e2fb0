//! What was asked of a real API server, read off its audit log and reduced: each combination of verb, resource, parameters and
//! kind of body once. Names, times and counts are gone, so that two runs of the same programs give the same.

use std::collections::BTreeSet;
use std::io::BufRead;

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// A request without what makes it a particular one.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Shape {
    /// API group; empty for the core.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub group: String,
    /// Version.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub version: String,
    /// Plural; empty for a path that is no resource.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub resource: String,
    /// `status`, `scale`, ...
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub subresource: String,
    /// As the audit log has it: get, list, watch, create, update, patch, delete, deletecollection.
    pub verb: String,
    /// The path, when it is no resource.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub path: String,
    /// Of the whole cluster although the objects live in namespaces.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub everywhere: bool,
    /// Parameters, `name=kind of value` or `name=value` where the value is one of a few.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub query: Vec<String>,
    /// What the body tells: the patch's content type, fields of delete options.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub body: Vec<String>,
    /// Asked by kubectl, which wants tables and aggregated discovery.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub kubectl: bool,
}

/// The API server asks itself a lot; that is none of its clients' business.
const ITSELF: &str = "system:apiserver";
/// Parameters with few values, which are kept.
const KEPT: [&str; 9] = [
    "allowWatchBookmarks",
    "dryRun",
    "fieldValidation",
    "force",
    "propagationPolicy",
    "resourceVersionMatch",
    "sendInitialEvents",
    "watch",
    "includeObject",
];

/// Adds what one audit log has.
///
/// # Errors
/// When the file cannot be read.
pub fn read(log: &std::path::Path, shapes: &mut BTreeSet<Shape>) -> Result<()> {
    let file = std::fs::File::open(log).with_context(|| log.display().to_string())?;
    for line in std::io::BufReader::new(file).lines() {
        // The last line of a log that is being written may be half.
        if let Ok(event) = serde_json::from_str::<Value>(&line?)
            && let Some(shape) = shape(&event)
        {
            shapes.insert(shape);
        }
    }
    Ok(())
}

fn shape(event: &Value) -> Option<Shape> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    if event["user"]["username"] == ITSELF || event["stage"] == "Panic" {
        return None;
    }
    let uri = event["requestURI"].as_str()?;
    let (path, query) = uri.split_once('?').unwrap_or((uri, ""));
    let object = &event["objectRef"];
    let mut shape = Shape {
        verb: text(&event["verb"]),
        kubectl: text(&event["userAgent"]).starts_with("kubectl"),
        query: parameters(query),
        ..Shape::default()
    };
    if object["resource"].is_null() {
        shape.path = path.to_owned();
        return Some(shape);
    }
    shape.group = text(&object["apiGroup"]);
    shape.version = text(&object["apiVersion"]);
    shape.resource = text(&object["resource"]);
    shape.subresource = text(&object["subresource"]);
    shape.everywhere = matches!(shape.verb.as_str(), "list" | "watch") && !path.contains("/namespaces/");
    shape.body = body(&shape, &event["requestObject"]);
    Some(shape)
}

fn parameters(query: &str) -> Vec<String> {
    let mut found: Vec<String> = query
        .split('&')
        .filter(|pair| !pair.is_empty())
        .map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            format!("{name}={}", parameter(name, &unescape(value)))
        })
        .collect();
    found.sort();
    found
}

fn parameter(name: &str, value: &str) -> String {
    if KEPT.contains(&name) {
        return value.to_owned();
    }
    match name {
        "labelSelector" => selector(value),
        "fieldSelector" => {
            let keys = value.split(',').map(|part| {
                let operator = if part.contains("!=") { "!=" } else { "=" };
                let key = part.split(['=', '!']).next().unwrap_or_default();
                format!("{key}{operator}text")
            });
            keys.collect::<Vec<_>>().join(",")
        }
        "resourceVersion" if value == "0" || value.is_empty() => value.to_owned(),
        "timeout" => "duration".into(),
        _ if !value.is_empty() && value.bytes().all(|b| b.is_ascii_digit()) => "number".into(),
        _ if value.is_empty() => String::new(),
        _ => "text".into(),
    }
}

/// `app in (a,b),!x` becomes `in,missing`.
fn selector(value: &str) -> String {
    let mut depth = 0_u32;
    let requirements = value.split(move |c| {
        match c {
            '(' => depth += 1,
            ')' => depth = depth.saturating_sub(1),
            _ => {}
        }
        c == ',' && depth == 0
    });
    let kinds: BTreeSet<&str> = requirements
        .map(|one| match one {
            one if one.contains(" notin ") => "notin",
            one if one.contains(" in ") => "in",
            one if one.contains("!=") => "notequals",
            one if one.contains('=') => "equals",
            one if one.starts_with('!') => "missing",
            _ => "exists",
        })
        .collect();
    kinds.into_iter().collect::<Vec<_>>().join(",")
}

/// The audit log has no headers; what kind of patch it was is told by the body or, without one, by who asked how.
fn body(shape: &Shape, sent: &Value) -> Vec<String> {
    let has = |name: &str| shape.query.iter().any(|parameter| parameter.starts_with(name));
    match shape.verb.as_str() {
        "patch" if sent.is_array() => vec!["json".into()],
        "patch" if has("force=") => vec!["apply".into()],
        "patch" if shape.kubectl => vec!["json".into(), "merge".into(), "strategic".into()],
        "patch" if sent.is_object() => vec!["merge".into()],
        // No body in the log: controllers of Kubernetes send strategic ones, all others of its clients merge patches.
        "patch" => vec!["merge".into(), "strategic".into()],
        "delete" | "deletecollection" => {
            let mut fields: Vec<String> = sent
                .as_object()
                .into_iter()
                .flatten()
                .filter(|(key, _)| !matches!(key.as_str(), "kind" | "apiVersion"))
                .map(|(key, value)| match (key.as_str(), value) {
                    ("propagationPolicy", Value::String(policy)) => format!("{key}={policy}"),
                    ("preconditions", Value::Object(map)) => {
                        format!("{key}={}", map.keys().cloned().collect::<Vec<_>>().join(","))
                    }
                    ("gracePeriodSeconds", value) => format!("{key}={value}"),
                    _ => key.clone(),
                })
                .collect();
            fields.sort();
            fields
        }
        _ => Vec::new(),
    }
}

fn unescape(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut plain = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let escaped = bytes
            .get(at + 1..at + 3)
            .filter(|_| bytes[at] == b'%')
            .and_then(|hex| u8::from_str_radix(std::str::from_utf8(hex).ok()?, 16).ok());
        match escaped {
            Some(byte) => {
                plain.push(byte);
                at += 3;
            }
            None => {
                plain.push(if bytes[at] == b'+' { b' ' } else { bytes[at] });
                at += 1;
            }
        }
    }
    String::from_utf8_lossy(&plain).into_owned()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_request_is_reduced_to_what_others_have_in_common_with_it() {
        let event = json!({
            "verb": "watch",
            "requestURI": "/apis/apps/v1/replicasets?&watch=true&timeoutSeconds=290&resourceVersion=812&labelSelector=app+in+%28a%2Cb%29%2C%21x",
            "user": {"username": "someone"},
            "objectRef": {"resource": "replicasets", "apiGroup": "apps", "apiVersion": "v1"},
        });
        let shape = shape(&event).expect("a request");
        assert!(shape.everywhere);
        assert_eq!(
            shape.query,
            [
                "labelSelector=in,missing",
                "resourceVersion=number",
                "timeoutSeconds=number",
                "watch=true"
            ]
        );
    }

    #[test]
    fn what_the_server_asks_itself_is_left_out() {
        let event = json!({"verb": "get", "requestURI": "/api", "user": {"username": "system:apiserver"}});
        assert_eq!(shape(&event), None);
    }
}
