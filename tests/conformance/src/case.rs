//! A case: a short sequence of raw requests in a namespace of its own, with variables, so that two servers can be asked the
//! same. It knows HTTP and nothing of what the right answer is: a real API server says that.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// The variable that stands for the case's namespace, in paths, bodies and answers.
pub const NAMESPACE: &str = "{ns}";

/// Requests and the name that they are known by.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Case {
    /// Unique; `resource/verb/what happens`.
    pub name: String,
    /// One after another.
    pub steps: Vec<Step>,
}

/// One request.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Step {
    /// HTTP method.
    pub method: String,
    /// Path with query, escaped, with variables in braces.
    pub path: String,
    /// Header `Content-Type`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub content_type: Option<String>,
    /// Header `Accept`; `application/json` when not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub accept: Option<String>,
    /// JSON body with variables in its strings.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub body: Option<Value>,
    /// A body that is no JSON.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
    /// Variables to set from the answer: name to JSON pointer. One that the answer does not have keeps its value.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub save: BTreeMap<String, String>,
    /// Only prepares: of the answer nothing but the status is compared.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub setup: bool,
    /// Compare `metadata.managedFields` too.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub managed_fields: bool,
}

impl Step {
    /// A request without a body.
    pub fn new(method: &str, path: impl Into<String>) -> Self {
        Self {
            method: method.into(),
            path: path.into(),
            ..Self::default()
        }
    }

    /// With a body of a content type.
    #[must_use]
    pub fn with(mut self, content_type: &str, body: Value) -> Self {
        self.content_type = Some(content_type.into());
        self.body = Some(body);
        self
    }

    /// With a JSON body.
    #[must_use]
    pub fn json(self, body: Value) -> Self {
        self.with("application/json", body)
    }

    /// With a body that may be no JSON.
    #[must_use]
    pub fn raw(mut self, content_type: &str, text: &str) -> Self {
        self.content_type = Some(content_type.into());
        self.text = Some(text.into());
        self
    }

    /// Asks for another representation.
    #[must_use]
    pub fn accept(mut self, accept: &str) -> Self {
        self.accept = Some(accept.into());
        self
    }

    /// Sets a variable from the answer.
    #[must_use]
    pub fn save(mut self, variable: &str, pointer: &str) -> Self {
        self.save.insert(variable.into(), pointer.into());
        self
    }

    /// Only a preparation.
    #[must_use]
    pub fn setup(mut self) -> Self {
        self.setup = true;
        self
    }

    /// Who manages which field is part of the answer.
    #[must_use]
    pub fn managed_fields(mut self) -> Self {
        self.managed_fields = true;
        self
    }

    /// Whether the answer is a stream of events. Any value but a plain no means yes to the real server.
    pub fn is_watch(&self) -> bool {
        let asked = |query: &str| {
            let value = query.split('&').find_map(|pair| pair.strip_prefix("watch="));
            value.is_some_and(|value| !matches!(value, "false" | "0"))
        };
        self.method == "GET" && self.path.split_once('?').is_some_and(|(_, query)| asked(query))
    }

    /// Shown to people.
    pub fn describe(&self) -> String {
        let mut text = format!("{} {}", self.method, self.path);
        if let Some(kind) = &self.content_type {
            text.push_str(&format!(" [{kind}]"));
        }
        if let Some(accept) = &self.accept {
            text.push_str(&format!(" accept {accept}"));
        }
        match (&self.body, &self.text) {
            (Some(body), _) => text.push_str(&format!(" {body}")),
            (None, Some(raw)) => text.push_str(&format!(" {raw:?}")),
            (None, None) => {}
        }
        text
    }
}

/// Values of variables while a case is played.
#[derive(Clone, Debug)]
pub struct Variables(BTreeMap<String, String>);

impl Variables {
    /// With the namespace known.
    pub fn new(namespace: &str) -> Self {
        Self([("ns".to_owned(), namespace.to_owned())].into())
    }

    /// Sets one; used when an answer has what `save` names.
    pub fn set(&mut self, name: &str, value: &str) {
        self.0.insert(name.into(), value.into());
    }

    /// Replaces variables. One that was never set becomes `0`, on every server.
    pub fn fill(&self, text: &str) -> String {
        let mut filled = String::with_capacity(text.len());
        let mut rest = text;
        while let Some(start) = rest.find('{') {
            let (before, after) = rest.split_at(start);
            filled.push_str(before);
            let name = after[1..].split('}').next().unwrap_or_default();
            let is_name = after.len() > name.len() + 1
                && !name.is_empty()
                && name
                    .bytes()
                    .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
            if is_name {
                filled.push_str(self.0.get(name).map_or("0", String::as_str));
                rest = &after[name.len() + 2..];
            } else {
                filled.push('{');
                rest = &after[1..];
            }
        }
        filled.push_str(rest);
        filled
    }

    /// Replaces variables in all strings and keys.
    pub fn fill_value(&self, value: &Value) -> Value {
        match value {
            Value::String(text) => Value::String(self.fill(text)),
            Value::Array(items) => items.iter().map(|item| self.fill_value(item)).collect(),
            Value::Object(map) => map
                .iter()
                .map(|(key, item)| (self.fill(key), self.fill_value(item)))
                .collect(),
            other => other.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_are_filled_and_other_braces_stay() {
        let mut variables = Variables::new("here");
        variables.set("rv", "7");
        assert_eq!(variables.fill("/{ns}/x?v={rv}&w={never}"), "/here/x?v=7&w=0");
        assert_eq!(variables.fill("{\"f:x\":{}} {"), "{\"f:x\":{}} {");
    }
}
