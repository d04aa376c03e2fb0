//! Label selectors and field selectors: parsed from a query's text or from a `LabelSelector`, and applied to objects.

use std::fmt;

use serde_json::Value;

use crate::{Status, cluster::text, kinds::Kind};

#[derive(Clone, Debug, PartialEq)]
enum Requirement {
    In(String, Vec<String>),
    NotIn(String, Vec<String>),
    Exists(String),
    Missing(String),
    More(String, i64),
    Less(String, i64),
    Never,
}

/// A label selector; without requirements it matches everything.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Labels(Vec<Requirement>);

impl Labels {
    /// From a query.
    pub(crate) fn parse(selector: &str) -> Result<Self, Status> {
        Parser::new(selector).all().map(Self).map_err(Status::bad_request)
    }

    /// From `{matchLabels, matchExpressions}`. Null selects nothing, an empty one everything.
    pub(crate) fn of_selector(selector: &Value) -> Self {
        let Some(map) = selector.as_object() else {
            return Self(vec![Requirement::Never]);
        };
        // A selector of old kinds is the labels themselves.
        let plain = !map.is_empty() && map.values().all(Value::is_string);
        let labels = if plain { Some(selector) } else { map.get("matchLabels") };
        let mut requirements: Vec<Requirement> = labels
            .and_then(Value::as_object)
            .into_iter()
            .flatten()
            .map(|(key, value)| Requirement::In(key.clone(), vec![value.as_str().unwrap_or_default().to_owned()]))
            .collect();
        for expression in selector["matchExpressions"].as_array().into_iter().flatten() {
            let key = text(expression, "/key").to_owned();
            let mut values: Vec<String> = expression["values"]
                .as_array()
                .into_iter()
                .flatten()
                .filter_map(Value::as_str)
                .map(str::to_owned)
                .collect();
            values.sort();
            requirements.push(match text(expression, "/operator") {
                "In" => Requirement::In(key, values),
                "NotIn" => Requirement::NotIn(key, values),
                "Exists" => Requirement::Exists(key),
                "DoesNotExist" => Requirement::Missing(key),
                _ => Requirement::Never,
            });
        }
        Self(requirements)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether an object has these labels.
    pub(crate) fn matches(&self, object: &Value) -> bool {
        if self.0.is_empty() {
            return true;
        }
        let labels = object.get("metadata").and_then(|m| m.get("labels"));
        let label = |key: &str| labels.and_then(|l| l.get(key)).and_then(Value::as_str);
        let number = |key: &str| label(key).and_then(|v| v.parse::<i64>().ok());
        self.0.iter().all(|requirement| match requirement {
            Requirement::In(key, values) => label(key).is_some_and(|v| values.iter().any(|w| w == v)),
            Requirement::NotIn(key, values) => label(key).is_none_or(|v| values.iter().all(|w| w != v)),
            Requirement::Exists(key) => label(key).is_some(),
            Requirement::Missing(key) => label(key).is_none(),
            Requirement::More(key, than) => number(key).is_some_and(|n| n > *than),
            Requirement::Less(key, than) => number(key).is_some_and(|n| n < *than),
            Requirement::Never => false,
        })
    }
}

impl fmt::Display for Labels {
    /// As the text of a query.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, requirement) in self.0.iter().enumerate() {
            if i > 0 {
                f.write_str(",")?;
            }
            match requirement {
                Requirement::In(key, values) => match values.as_slice() {
                    [value] => write!(f, "{key}={value}")?,
                    many => write!(f, "{key} in ({})", many.join(","))?,
                },
                Requirement::NotIn(key, values) => write!(f, "{key} notin ({})", values.join(","))?,
                Requirement::Exists(key) => f.write_str(key)?,
                Requirement::Missing(key) => write!(f, "!{key}")?,
                Requirement::More(key, than) => write!(f, "{key}>{than}")?,
                Requirement::Less(key, than) => write!(f, "{key}<{than}")?,
                Requirement::Never => f.write_str("<never>")?,
            }
        }
        Ok(())
    }
}

/// The words and signs of a selector's text.
struct Parser {
    tokens: Vec<String>,
    at: usize,
}

const SIGNS: &str = "(),!=<>";

impl Parser {
    fn new(selector: &str) -> Self {
        let mut tokens: Vec<String> = Vec::new();
        let mut chars = selector.chars().peekable();
        while let Some(c) = chars.next() {
            if c.is_whitespace() {
                continue;
            }
            let mut token = String::from(c);
            if SIGNS.contains(c) {
                while matches!(token.as_str(), "=" | "!") && chars.peek() == Some(&'=') {
                    token.extend(chars.next());
                }
            } else {
                while let Some(next) = chars.next_if(|n| !n.is_whitespace() && !SIGNS.contains(*n)) {
                    token.push(next);
                }
            }
            tokens.push(token);
        }
        Self { tokens, at: 0 }
    }

    fn peek(&self) -> &str {
        self.tokens.get(self.at).map_or("", String::as_str)
    }

    fn next(&mut self) -> String {
        let token = self.peek().to_owned();
        self.at += 1;
        token
    }

    fn is_word(token: &str) -> bool {
        !token.is_empty() && !token.chars().all(|c| SIGNS.contains(c))
    }

    fn all(&mut self) -> Result<Vec<Requirement>, String> {
        let mut requirements = Vec::new();
        while !self.peek().is_empty() {
            let one = self.one().map_err(|e| format!("unable to parse requirement: {e}"))?;
            requirements.push(one);
            match self.next().as_str() {
                "" => break,
                "," if Self::is_word(self.peek()) || self.peek() == "!" => {}
                "," => return Err(format!("found '{}', expected: identifier after ','", self.peek())),
                other => return Err(format!("found '{other}', expected: ',' or 'end of string'")),
            }
        }
        Ok(requirements)
    }

    fn key(&mut self) -> Result<String, String> {
        let key = self.next();
        if !Self::is_word(&key) {
            return Err(format!("found '{key}', expected: identifier"));
        }
        let wrong = crate::schema::names::label_key(&key);
        if wrong.is_empty() {
            Ok(key)
        } else {
            Err(format!("key: Invalid value: {key:?}: {}", wrong.join("; ")))
        }
    }

    fn value(&mut self, key: &str) -> Result<String, String> {
        let value = if Self::is_word(self.peek()) {
            self.next()
        } else {
            String::new()
        };
        if !value.is_empty() || matches!(self.peek(), "" | "," | ")") {
            let wrong = crate::schema::names::label_value(&value);
            if wrong.is_empty() {
                return Ok(value);
            }
            return Err(format!(
                "values[0][{key}]: Invalid value: {value:?}: {}",
                wrong.join("; ")
            ));
        }
        Err(format!("found '{}', expected: identifier", self.peek()))
    }

    fn one(&mut self) -> Result<Requirement, String> {
        if self.peek() == "!" {
            self.next();
            return self.key().map(Requirement::Missing);
        }
        let key = self.key()?;
        if matches!(self.peek(), "" | ",") {
            return Ok(Requirement::Exists(key));
        }
        let operator = self.next();
        match operator.as_str() {
            "=" | "==" => Ok(Requirement::In(key.clone(), vec![self.value(&key)?])),
            "!=" => Ok(Requirement::NotIn(key.clone(), vec![self.value(&key)?])),
            ">" | "<" => {
                let value = self.value(&key)?;
                let number = value.parse::<i64>().map_err(|_| {
                    format!(
                        "values[0]: Invalid value: {value:?}: for 'Gt', 'Lt' operators, the value must be an integer"
                    )
                })?;
                Ok(if operator == ">" {
                    Requirement::More(key, number)
                } else {
                    Requirement::Less(key, number)
                })
            }
            "in" | "notin" => {
                if self.next() != "(" {
                    self.at -= 1;
                    return Err(format!("found '{}', expected: '('", self.peek()));
                }
                let mut values = Vec::new();
                loop {
                    values.push(self.value(&key)?);
                    match self.next().as_str() {
                        "," => {}
                        ")" => break,
                        other => return Err(format!("found '{other}', expected: ',' or ')'")),
                    }
                }
                values.sort();
                values.dedup();
                Ok(if operator == "in" {
                    Requirement::In(key, values)
                } else {
                    Requirement::NotIn(key, values)
                })
            }
            other => Err(format!("found '{other}', expected: in, notin, =, ==, !=, gt, lt")),
        }
    }
}

/// A field selector: field, value, and whether it must be equal or must differ.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Fields(Vec<(String, String, bool)>);

impl Fields {
    /// From a query; fields that the kind cannot be selected by are refused.
    pub(crate) fn parse(selector: &str, kind: &Kind, version: &str) -> Result<Self, Status> {
        let mut terms = Vec::new();
        for term in selector.split(',').filter(|t| !t.is_empty()) {
            let (field, value, equal) = if let Some((field, value)) = term.split_once("!=") {
                (field, value, false)
            } else if let Some((field, value)) = term.split_once("==").or_else(|| term.split_once('=')) {
                (field, value, true)
            } else {
                return Err(Status::bad_request(format!(
                    "invalid selector: '{selector}'; can't understand '{term}'"
                )));
            };
            check_field(kind, version, field)?;
            terms.push((field.to_owned(), value.replace("\\,", ",").replace("\\=", "="), equal));
        }
        Ok(Self(terms))
    }

    /// That the name is this one.
    pub(crate) fn name(name: &str) -> Self {
        Self(vec![("metadata.name".into(), name.into(), true)])
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The name that it asks for, if it asks for one.
    pub(crate) fn wanted_name(&self) -> Option<&str> {
        self.0
            .iter()
            .find(|(field, _, equal)| field == "metadata.name" && *equal)
            .map(|(_, value, _)| value.as_str())
    }

    pub(crate) fn matches(&self, object: &Value) -> bool {
        self.0
            .iter()
            .all(|(field, value, equal)| (field_of(object, field) == *value) == *equal)
    }
}

/// A field's value as text; what is missing is empty, but for the few that have a default.
fn field_of(object: &Value, field: &str) -> String {
    let field = match field {
        "spec.host" => "spec.nodeName",
        "source" if object.get("source").is_some_and(|s| s.get("component").is_some()) => "source.component",
        "source" => "reportingComponent",
        "status.successful" => "status.succeeded",
        other => other,
    };
    let mut at = object;
    for part in field.split('.') {
        match at.get(part) {
            Some(next) => at = next,
            None => {
                return match field {
                    "spec.unschedulable" | "spec.hostNetwork" => "false".to_owned(),
                    "status.replicas" | "status.succeeded" => "0".to_owned(),
                    _ => String::new(),
                };
            }
        }
    }
    match at {
        Value::String(text) => text.clone(),
        Value::Null => String::new(),
        other => other.to_string(),
    }
}

/// The fields that a built-in kind can be selected by, besides name and namespace.
fn selectable(plural: &str) -> Option<&'static [&'static str]> {
    Some(match plural {
        "pods" => &[
            "spec.nodeName",
            "spec.host",
            "spec.restartPolicy",
            "spec.schedulerName",
            "spec.serviceAccountName",
            "spec.hostNetwork",
            "status.phase",
            "status.podIP",
            "status.podIPs",
            "status.nominatedNodeName",
        ],
        "nodes" => &["spec.unschedulable"],
        "namespaces" => &["status.phase"],
        "secrets" => &["type"],
        "services" => &["spec.clusterIP", "spec.type"],
        "jobs" => &["status.successful"],
        "events" => &[
            "involvedObject.kind",
            "involvedObject.namespace",
            "involvedObject.name",
            "involvedObject.uid",
            "involvedObject.apiVersion",
            "involvedObject.resourceVersion",
            "involvedObject.fieldPath",
            "reason",
            "reportingComponent",
            "source",
            "type",
        ],
        _ => return None,
    })
}

fn check_field(kind: &Kind, version: &str, field: &str) -> Result<(), Status> {
    if matches!(field, "metadata.name" | "metadata.namespace") {
        return Ok(());
    }
    if let Some(crd) = &kind.crd {
        let fields = crd
            .version(version)
            .map(|v| v.selectable.as_slice())
            .unwrap_or_default();
        if fields.iter().any(|f| f.trim_start_matches('.') == field) {
            return Ok(());
        }
        return Err(Status::bad_request(format!("field label not supported: {field}")));
    }
    match selectable(kind.resource.plural) {
        Some(fields) if fields.contains(&field) => Ok(()),
        Some(_) if kind.is("batch", "jobs") => Err(Status::bad_request(format!(
            "field label {field:?} not supported for Job"
        ))),
        Some(_) => Err(Status::bad_request(format!("field label not supported: {field}"))),
        None => Err(Status::bad_request(format!(
            "{field:?} is not a known field selector: only \"metadata.name\", \"metadata.namespace\""
        ))),
    }
}
