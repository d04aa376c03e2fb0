//! An answer, and what makes answers of two servers comparable: uids, versions, times, addresses and generated names become
//! placeholders that keep which of them are equal. Order is kept.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use regex::{Captures, Regex};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::body::{
    ages, column_texts, discovery, drop_managed_fields, is_of_custom_resources, is_plain_bookmark, sort_complaints,
    sort_conflicts, sort_managed_fields, strip_bookmark,
};
use crate::case::{NAMESPACE, Step};

/// What a server said.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Answer {
    /// HTTP status; 0 when there was no answer.
    pub status: u16,
    /// Header `Content-Type`, when it is not JSON.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub kind: String,
    /// Headers `Warning`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
    /// The body: JSON, a list of events, or a text.
    #[serde(default, skip_serializing_if = "Value::is_null")]
    pub body: Value,
}

/// An answer as it came.
#[derive(Clone, Debug)]
pub struct Raw {
    /// HTTP status.
    pub status: u16,
    /// Header `Content-Type`.
    pub kind: String,
    /// Headers `Warning`.
    pub warnings: Vec<String>,
    /// The body.
    pub text: String,
}

impl Raw {
    /// The body as JSON; a stream of documents as a list of them.
    pub fn json(&self, is_watch: bool) -> Value {
        if is_watch && self.status == 200 {
            let events: Vec<Value> = self
                .text
                .lines()
                .filter_map(|line| serde_json::from_str(line).ok())
                .collect();
            return json!(events);
        }
        serde_json::from_str(&self.text).unwrap_or_else(|_| json!(self.text.trim_end()))
    }
}

macro_rules! pattern {
    ($name:ident, $pattern:literal) => {
        static $name: LazyLock<Regex> = LazyLock::new(|| Regex::new($pattern).expect("a constant pattern"));
    };
}
pattern!(UUID, r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}");
pattern!(TIME, r"^(\d{4})-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)$");
// The range of Services' addresses; cases that choose one take it from 10.96.250.
pattern!(ALLOCATED, r"\b10\.96\.\d+\.\d+\b");
pattern!(OLD_VERSION, r"too old resource version: \d+ \(\d+\)");
pattern!(NEW_VERSION, r"Too large resource version: \d+, current: \d+");
pattern!(
    PRECONDITION,
    r"ResourceVersion in (precondition: |the precondition \(|object meta: |record \()(\d+)"
);
pattern!(RETRY, r"\d+(\.\d+)?(s|ms) ");

/// Answers with times before this year hold what a case sent.
const FIRST_YEAR: i32 = 2024;

/// Remembers, through one case, which placeholder stands for what.
#[derive(Debug)]
pub struct Normaliser {
    namespace: String,
    uids: Vec<String>,
    versions: Vec<String>,
    addresses: Vec<String>,
    /// Generated name to its placeholder.
    generated: BTreeMap<String, String>,
}

impl Normaliser {
    /// For a case played in this namespace.
    pub fn new(namespace: &str) -> Self {
        Self {
            namespace: namespace.into(),
            uids: Vec::new(),
            versions: Vec::new(),
            addresses: Vec::new(),
            generated: BTreeMap::new(),
        }
    }

    /// An answer as it is compared.
    pub fn answer(&mut self, step: &Step, raw: &Raw) -> Answer {
        let kind = raw.kind.split(';').next().unwrap_or_default().trim();
        let mut body = raw.json(step.is_watch());
        if step.is_watch()
            && let Value::Array(events) = &mut body
        {
            events.retain(|event| !is_plain_bookmark(event));
            events.iter_mut().for_each(strip_bookmark);
        }
        self.find_generated(&body);
        let prefix = step
            .body
            .as_ref()
            .and_then(|sent| sent["metadata"]["generateName"].as_str());
        if let (Some(prefix), Some(name)) = (prefix, body["details"]["name"].as_str()) {
            // A refusal names the object that was not made.
            self.generated_name(prefix, name);
        }
        if step.managed_fields {
            sort_managed_fields(&mut body);
        } else {
            drop_managed_fields(&mut body);
        }
        sort_conflicts(&mut body);
        if is_of_custom_resources(&step.path) {
            sort_complaints(&mut body);
        }
        discovery(&mut body);
        ages(&mut body);
        column_texts(
            &mut body,
            !step.path.contains("/scale") && is_of_custom_resources(&step.path),
        );
        // Setup answers give placeholders too, so that they are the same whether compared or not.
        self.value(&mut body, "", "");
        if step.setup && raw.status < 400 {
            body = Value::Null;
        }
        Answer {
            status: raw.status,
            kind: if kind == "application/json" {
                String::new()
            } else {
                kind.into()
            },
            // A patch of what has just been deleted warns or not: the server may try it on what it remembers.
            warnings: if raw.status == 404 && step.method == "PATCH" {
                Vec::new()
            } else {
                raw.warnings.iter().map(|warning| self.text(warning)).collect()
            },
            body,
        }
    }

    fn find_generated(&mut self, value: &Value) {
        match value {
            Value::Array(items) => items.iter().for_each(|item| self.find_generated(item)),
            Value::Object(map) => {
                if let (Some(prefix), Some(name)) = (
                    value.pointer("/metadata/generateName").and_then(Value::as_str),
                    value.pointer("/metadata/name").and_then(Value::as_str),
                ) {
                    self.generated_name(prefix, name);
                }
                map.values().for_each(|item| self.find_generated(item));
            }
            _ => {}
        }
    }

    fn generated_name(&mut self, prefix: &str, name: &str) {
        let is_generated = name.strip_prefix(prefix).is_some_and(|suffix| suffix.len() == 5);
        if is_generated && !self.generated.contains_key(name) {
            let placeholder = format!("{prefix}<suffix:{}>", self.generated.len() + 1);
            self.generated.insert(name.into(), placeholder);
        }
    }

    fn value(&mut self, value: &mut Value, key: &str, parent: &str) {
        match value {
            Value::String(text) => *text = self.string(text, key, parent),
            Value::Array(items) => {
                for item in items {
                    self.value(item, key, parent);
                }
            }
            Value::Object(map) => {
                let is_list = map
                    .get("kind")
                    .and_then(Value::as_str)
                    .is_some_and(|k| k.ends_with("List") || k == "Table");
                let is_bookmark = map.get("type").and_then(Value::as_str) == Some("BOOKMARK");
                for (name, mut item) in std::mem::take(map) {
                    let above = match name.as_str() {
                        "metadata" if is_list || parent == "bookmark" => "list",
                        "object" if is_bookmark => "bookmark",
                        _ if key == "metadata" && parent == "list" => "list",
                        _ => "",
                    };
                    self.value(&mut item, &name, above);
                    map.insert(self.text(&name), item);
                }
            }
            Value::Number(_) if matches!(key, "nodePort" | "healthCheckNodePort") => *value = json!("<port>"),
            _ => {}
        }
    }

    fn string(&mut self, text: &str, key: &str, parent: &str) -> String {
        if text.is_empty() {
            return String::new();
        }
        match key {
            "resourceVersion" if parent == "list" => return "<version of the list>".into(),
            "resourceVersion" if text != "0" => return format!("<version:{}>", index(&mut self.versions, text)),
            "continue" => return "<continue>".into(),
            "token" if text.len() > 100 => return "<token>".into(),
            "clusterIP" | "clusterIPs" if text != "None" => {
                return format!("<ip:{}>", index(&mut self.addresses, text));
            }
            _ => {}
        }
        if let Some(parts) = TIME.captures(text) {
            let year = parts[1].parse::<i32>().unwrap_or_default();
            if year >= FIRST_YEAR {
                return match parts.get(2).map_or(0, |fraction| fraction.len() - 1) {
                    0 => "<time>".into(),
                    6 => "<microtime>".into(),
                    digits => format!("<time with {digits} digits>"),
                };
            }
        }
        self.text(text)
    }

    /// Messages quote objects: in the order of Go's fields there, sorted elsewhere, and with times and versions in them.
    fn quoted_json(&mut self, text: &str) -> String {
        let Some((start, end, mut value, is_escaped)) = embedded(text) else {
            return text.to_owned();
        };
        drop_managed_fields(&mut value);
        self.value(&mut value, "", "");
        let shown = value.to_string();
        let shown = if is_escaped {
            shown.replace('\\', "\\\\").replace('"', "\\\"")
        } else {
            shown
        };
        format!("{}{shown}{}", &text[..start], self.quoted_json(&text[end..]))
    }

    fn text(&mut self, text: &str) -> String {
        let text = self.quoted_json(text);
        let mut text = text.replace(&self.namespace, NAMESPACE);
        for (name, placeholder) in &self.generated {
            if text.contains(name) {
                text = text.replace(name, placeholder);
            }
        }
        if text.contains('-') {
            let uids = &mut self.uids;
            text = UUID
                .replace_all(&text, |found: &Captures<'_>| {
                    format!("<uid:{}>", index(uids, &found[0]))
                })
                .into_owned();
        }
        if text.contains("esource") {
            text = OLD_VERSION
                .replace_all(&text, "too old resource version: <n> (<n>)")
                .into_owned();
            text = NEW_VERSION
                .replace_all(&text, "Too large resource version: <n>, current: <n>")
                .into_owned();
            let versions = &mut self.versions;
            text = PRECONDITION
                .replace_all(&text, |found: &Captures<'_>| {
                    format!(
                        "ResourceVersion in {}<version:{}>",
                        &found[1],
                        index(versions, &found[2])
                    )
                })
                .into_owned();
        }
        if text.contains("10.96.") {
            let addresses = &mut self.addresses;
            text = ALLOCATED
                .replace_all(&text, |found: &Captures<'_>| {
                    format!("<ip:{}>", index(addresses, &found[0]))
                })
                .into_owned();
        }
        if text.contains("retry after") {
            text = RETRY.replace_all(&text, "<moment> ").into_owned();
        }
        text
    }
}

/// The first JSON object or list of objects in a text, and where it ends. Inside quotes it is escaped once more.
fn embedded(text: &str) -> Option<(usize, usize, Value, bool)> {
    for (start, _) in text.match_indices(['{', '[']) {
        let rest = &text[start..];
        if !rest.starts_with("{\"") && !rest.starts_with("[{\"") && !rest.starts_with("{\\\"") {
            continue;
        }
        let is_escaped = rest.starts_with("{\\\"");
        let plain = if is_escaped {
            // Up to the quote that is not escaped.
            let mut end = rest.len();
            let bytes = rest.as_bytes();
            let mut at = 0;
            while at < bytes.len() {
                match bytes[at] {
                    b'\\' => at += 1,
                    b'"' => {
                        end = at;
                        break;
                    }
                    _ => {}
                }
                at += 1;
            }
            serde_json::from_str::<String>(&format!("\"{}\"", &rest[..end]))
                .ok()
                .map(|plain| (plain, end))
        } else {
            Some((rest.to_owned(), 0))
        };
        let Some((plain, end)) = plain else { continue };
        let mut stream = serde_json::Deserializer::from_str(&plain).into_iter::<Value>();
        if let Some(Ok(value)) = stream.next() {
            let length = if is_escaped { end } else { stream.byte_offset() };
            return Some((start, start + length, value, is_escaped));
        }
    }
    None
}

/// The place of a text in the order of first appearance, from 1.
fn index(known: &mut Vec<String>, text: &str) -> usize {
    let found = known.iter().position(|one| one == text).unwrap_or_else(|| {
        known.push(text.to_owned());
        known.len() - 1
    });
    found + 1
}

#[cfg(test)]
mod tests {
    use super::*;

    fn raw(text: &str) -> Raw {
        Raw {
            status: 200,
            kind: "application/json".into(),
            warnings: Vec::new(),
            text: text.into(),
        }
    }

    #[test]
    fn placeholders_keep_which_versions_and_uids_are_equal() {
        let mut normaliser = Normaliser::new("c-1");
        let step = Step::new("GET", "/x");
        let first = r#"{"metadata":{"name":"a","namespace":"c-1","resourceVersion":"412","uid":"0a8d1d2c-aaaa-bbbb-cccc-0123456789ab","creationTimestamp":"2026-01-02T03:04:05Z"}}"#;
        let answer = normaliser.answer(&step, &raw(first));
        assert_eq!(
            answer.body,
            json!({"metadata": {"name": "a", "namespace": "{ns}", "resourceVersion": "<version:1>", "uid": "<uid:1>", "creationTimestamp": "<time>"}})
        );
        assert_eq!(
            normaliser.answer(&step, &raw(first)).body["metadata"]["resourceVersion"],
            "<version:1>"
        );
        let second = first.replace("412", "413");
        assert_eq!(
            normaliser.answer(&step, &raw(&second)).body["metadata"]["resourceVersion"],
            "<version:2>"
        );
    }

    #[test]
    fn what_a_case_sent_and_formats_of_times_stay() {
        let mut normaliser = Normaliser::new("c-1");
        let step = Step::new("GET", "/x");
        let answer = normaliser.answer(
            &step,
            &raw(r#"{"spec":{"renewTime":"2001-02-03T04:05:06.000000Z","acquireTime":"2026-01-01T00:00:00.000001Z"}}"#),
        );
        assert_eq!(
            answer.body,
            json!({"spec": {"renewTime": "2001-02-03T04:05:06.000000Z", "acquireTime": "<microtime>"}})
        );
    }

    #[test]
    fn generated_suffixes_and_lists_versions_are_hidden_and_items_versions_are_not() {
        let mut normaliser = Normaliser::new("c-1");
        let step = Step::new("GET", "/x");
        let list = r#"{"kind":"PodList","metadata":{"resourceVersion":"9"},"items":[{"metadata":{"generateName":"x-","name":"x-abcde","resourceVersion":"5"}}]}"#;
        let body = normaliser.answer(&step, &raw(list)).body;
        assert_eq!(body["metadata"]["resourceVersion"], "<version of the list>");
        assert_eq!(body["items"][0]["metadata"]["resourceVersion"], "<version:1>");
        assert_eq!(body["items"][0]["metadata"]["name"], "x-<suffix:1>");
    }

    #[test]
    fn objects_quoted_in_messages_are_made_comparable_too() {
        let mut normaliser = Normaliser::new("c-1");
        let quoted = r#"x: [{"name":"b","kind":"a"}]: strict: "{\"metadata\":{\"uid\":\"0a8d1d2c-aaaa-bbbb-cccc-0123456789ab\",\"creationTimestamp\":\"2026-01-02T03:04:05Z\"},\"a\":1}": end"#;
        assert_eq!(
            normaliser.text(quoted),
            r#"x: [{"kind":"a","name":"b"}]: strict: "{\"a\":1,\"metadata\":{\"creationTimestamp\":\"<time>\",\"uid\":\"<uid:1>\"}}": end"#
        );
    }

    #[test]
    fn bookmarks_at_no_particular_moment_are_not_compared() {
        let mut normaliser = Normaliser::new("c-1");
        let step = Step::new("GET", "/x?watch=true");
        let events = "{\"type\":\"ADDED\",\"object\":{}}\n{\"type\":\"BOOKMARK\",\"object\":{\"metadata\":{\"resourceVersion\":\"9\"}}}\n";
        assert_eq!(
            normaliser.answer(&step, &raw(events)).body.as_array().map(Vec::len),
            Some(1)
        );
    }
}
