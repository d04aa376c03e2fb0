//! Rules for names, labels and the rest of an object's metadata, with the API server's sentences.

use std::sync::LazyLock;

use regex::Regex;
use serde_json::{Map, Value};

use super::errors::{FieldError, quoted};

const LABEL: &str = "[a-z0-9]([-a-z0-9]*[a-z0-9])?";
const SUBDOMAIN: &str = r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*";
const LABEL_1035: &str = "[a-z]([-a-z0-9]*[a-z0-9])?";
const KEY: &str = "([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]";

fn whole(pattern: &str) -> Regex {
    Regex::new(&format!("^(?:{pattern})$")).expect("the patterns are constants of this module")
}

static LABEL_RULE: LazyLock<Regex> = LazyLock::new(|| whole(LABEL));
static SUBDOMAIN_RULE: LazyLock<Regex> = LazyLock::new(|| whole(SUBDOMAIN));
static LABEL_1035_RULE: LazyLock<Regex> = LazyLock::new(|| whole(LABEL_1035));
static KEY_RULE: LazyLock<Regex> = LazyLock::new(|| whole(KEY));

/// What a name of a kind may look like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NameRule {
    /// A DNS subdomain: most kinds.
    Subdomain,
    /// A DNS label: namespaces.
    Label,
    /// A DNS label that begins with a letter.
    Label1035,
    /// Anything that can be a part of a path: roles and bindings.
    PathSegment,
}

impl NameRule {
    /// What is wrong with a name; `prefix` for a `generateName`.
    #[must_use]
    pub fn check(self, name: &str, prefix: bool) -> Vec<String> {
        let masked = name
            .strip_suffix('-')
            .filter(|rest| prefix && !rest.is_empty())
            .map(|rest| {
                format!(
                    "{}a",
                    &rest[..rest.char_indices().next_back().map_or(0, |(index, _)| index)]
                )
            });
        let name = masked.as_deref().unwrap_or(name);
        match self {
            Self::Subdomain => subdomain(name),
            Self::Label => label(name),
            Self::Label1035 => label_1035(name),
            Self::PathSegment => path_segment(name, prefix),
        }
    }
}

fn by_pattern(message: &str, pattern: &str, examples: &[&str]) -> String {
    let examples: Vec<String> = examples.iter().map(|example| format!("'{example}', ")).collect();
    format!(
        "{message} (e.g. {}regex used for validation is '{pattern}')",
        examples.join(" or ")
    )
}

fn at_most(limit: usize) -> String {
    format!("must be no more than {limit} characters")
}

/// What keeps a text from being a DNS label.
#[must_use]
pub(crate) fn label(text: &str) -> Vec<String> {
    let mut wrong = Vec::new();
    if text.len() > 63 {
        wrong.push(at_most(63));
    }
    if !LABEL_RULE.is_match(text) {
        wrong.push(if SUBDOMAIN_RULE.is_match(text) {
            "must not contain dots".to_owned()
        } else {
            by_pattern(
                "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and \
                 end with an alphanumeric character",
                LABEL,
                &["my-name", "123-abc"],
            )
        });
    }
    wrong
}

/// What keeps a text from being a DNS subdomain.
#[must_use]
pub(crate) fn subdomain(text: &str) -> Vec<String> {
    let mut wrong = Vec::new();
    if text.len() > 253 {
        wrong.push(at_most(253));
    }
    if !SUBDOMAIN_RULE.is_match(text) {
        wrong.push(by_pattern(
            "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start \
             and end with an alphanumeric character",
            SUBDOMAIN,
            &["example.com"],
        ));
    }
    wrong
}

/// What keeps a text from being a DNS label that begins with a letter.
#[must_use]
pub(crate) fn label_1035(text: &str) -> Vec<String> {
    let mut wrong = Vec::new();
    if text.len() > 63 {
        wrong.push(at_most(63));
    }
    if !LABEL_1035_RULE.is_match(text) {
        wrong.push(by_pattern(
            "a DNS-1035 label must consist of lower case alphanumeric characters or '-', start with an alphabetic character, \
             and end with an alphanumeric character",
            LABEL_1035,
            &["my-name", "abc-123"],
        ));
    }
    wrong
}

fn path_segment(text: &str, prefix: bool) -> Vec<String> {
    let mut wrong = Vec::new();
    if !prefix && matches!(text, "." | "..") {
        return vec![format!("may not be '{text}'")];
    }
    for illegal in ['/', '%'] {
        if text.contains(illegal) {
            wrong.push(format!("may not contain '{illegal}'"));
        }
    }
    wrong
}

/// What keeps a text from being a label's key (a qualified name).
#[must_use]
pub(crate) fn label_key(text: &str) -> Vec<String> {
    const MESSAGE: &str = "must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character";
    const EXAMPLES: [&str; 3] = ["MyName", "my.name", "123-abc"];
    let mut wrong = Vec::new();
    let parts: Vec<&str> = text.split('/').collect();
    let name = match parts.as_slice() {
        [name] => *name,
        [prefix, name] => {
            if prefix.is_empty() {
                wrong.push("prefix part must be non-empty".to_owned());
            } else {
                wrong.extend(subdomain(prefix).into_iter().map(|text| format!("prefix part {text}")));
            }
            *name
        }
        _ => {
            return vec![format!(
                "a valid label key {} with an optional DNS subdomain prefix and '/' (e.g. 'example.com/MyName')",
                by_pattern(MESSAGE, KEY, &EXAMPLES)
            )];
        }
    };
    if name.is_empty() {
        wrong.push("name part must be non-empty".to_owned());
    } else if name.len() > 63 {
        wrong.push(format!("name part {}", at_most(63)));
    }
    if !KEY_RULE.is_match(name) {
        wrong.push(format!("name part {}", by_pattern(MESSAGE, KEY, &EXAMPLES)));
    }
    wrong
}

/// What keeps a text from being a label's value.
#[must_use]
pub(crate) fn label_value(text: &str) -> Vec<String> {
    let mut wrong = Vec::new();
    if text.len() > 63 {
        wrong.push(at_most(63));
    }
    if !(text.is_empty() || KEY_RULE.is_match(text)) {
        wrong.push(by_pattern(
            "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start and \
             end with an alphanumeric character",
            &format!("({KEY})?"),
            &["MyValue", "my_value", "12345"],
        ));
    }
    wrong
}

/// Labels under `field`.
pub(crate) fn labels(labels: Option<&Value>, field: &str, errors: &mut Vec<FieldError>) {
    for (key, value) in labels.and_then(Value::as_object).into_iter().flatten() {
        for wrong in label_key(key) {
            errors.push(FieldError::invalid(field, key.as_str(), wrong));
        }
        let value = value.as_str().unwrap_or_default();
        for wrong in label_value(value) {
            errors.push(FieldError::invalid(field, value, wrong));
        }
    }
}

/// A label selector under `field`.
pub(crate) fn label_selector(selector: Option<&Value>, field: &str, errors: &mut Vec<FieldError>) {
    let Some(selector) = selector.and_then(Value::as_object) else {
        return;
    };
    labels(selector.get("matchLabels"), &format!("{field}.matchLabels"), errors);
    let expressions = selector.get("matchExpressions").and_then(Value::as_array);
    for (index, expression) in expressions.into_iter().flatten().enumerate() {
        let field = format!("{field}.matchExpressions[{index}]");
        let text = |name: &str| expression.get(name).and_then(Value::as_str).unwrap_or_default();
        let values = expression
            .get("values")
            .and_then(Value::as_array)
            .map_or(&[][..], Vec::as_slice);
        match text("operator") {
            "In" | "NotIn" if values.is_empty() => errors.push(FieldError::required(
                format!("{field}.values"),
                "must be specified when `operator` is 'In' or 'NotIn'",
            )),
            "Exists" | "DoesNotExist" if !values.is_empty() => errors.push(FieldError::forbidden(
                format!("{field}.values"),
                "may not be specified when `operator` is 'Exists' or 'DoesNotExist'",
            )),
            "In" | "NotIn" | "Exists" | "DoesNotExist" => {}
            other => errors.push(FieldError::invalid(
                format!("{field}.operator"),
                other,
                "not a valid selector operator",
            )),
        }
        for wrong in label_key(text("key")) {
            errors.push(FieldError::invalid(format!("{field}.key"), text("key"), wrong));
        }
        for (index, value) in values.iter().enumerate() {
            let value = value.as_str().unwrap_or_default();
            for wrong in label_value(value) {
                errors.push(FieldError::invalid(format!("{field}.values[{index}]"), value, wrong));
            }
        }
    }
}

fn text<'a>(metadata: &'a Map<String, Value>, field: &str) -> &'a str {
    metadata.get(field).and_then(Value::as_str).unwrap_or_default()
}

/// The metadata of an object that is created; a name has been generated already.
pub(crate) fn metadata(object: &Value, namespaced: bool, rule: NameRule) -> Vec<FieldError> {
    let empty = Map::new();
    let metadata = object.get("metadata").and_then(Value::as_object).unwrap_or(&empty);
    let mut errors = Vec::new();
    let generate = text(metadata, "generateName");
    if !generate.is_empty() {
        for wrong in rule.check(generate, true) {
            errors.push(FieldError::invalid("metadata.generateName", generate, wrong));
        }
    }
    let name = text(metadata, "name");
    if name.is_empty() {
        errors.push(FieldError::required(
            "metadata.name",
            "name or generateName is required",
        ));
    } else {
        for wrong in rule.check(name, false) {
            errors.push(FieldError::invalid("metadata.name", name, wrong));
        }
    }
    common(metadata, "metadata", namespaced, &mut errors);
    errors
}

/// What holds on creation and of embedded metadata alike.
fn common(metadata: &Map<String, Value>, field: &str, namespaced: bool, errors: &mut Vec<FieldError>) {
    let namespace = text(metadata, "namespace");
    if namespaced {
        if namespace.is_empty() {
            errors.push(FieldError::required(format!("{field}.namespace"), ""));
        } else {
            for wrong in label(namespace) {
                errors.push(FieldError::invalid(format!("{field}.namespace"), namespace, wrong));
            }
        }
    } else if !namespace.is_empty() {
        errors.push(FieldError::forbidden(
            format!("{field}.namespace"),
            "not allowed on this type",
        ));
    }
    if let Some(generation) = metadata
        .get("generation")
        .and_then(Value::as_i64)
        .filter(|number| *number < 0)
    {
        errors.push(FieldError::invalid(
            format!("{field}.generation"),
            generation,
            "must be greater than or equal to 0",
        ));
    }
    always(metadata, field, errors);
}

fn always(metadata: &Map<String, Value>, field: &str, errors: &mut Vec<FieldError>) {
    labels(metadata.get("labels"), &format!("{field}.labels"), errors);
    annotations(metadata.get("annotations"), &format!("{field}.annotations"), errors);
    owners(
        metadata.get("ownerReferences"),
        &format!("{field}.ownerReferences"),
        errors,
    );
    finalizers(metadata.get("finalizers"), &format!("{field}.finalizers"), errors);
}

/// Annotations under `field`.
pub(crate) fn annotations(annotations: Option<&Value>, field: &str, errors: &mut Vec<FieldError>) {
    const LIMIT: usize = 256 * 1024;
    let mut size = 0;
    for (key, value) in annotations.and_then(Value::as_object).into_iter().flatten() {
        size += key.len() + value.as_str().map_or(0, str::len);
        for wrong in label_key(&key.to_lowercase()) {
            errors.push(FieldError::invalid(field, key.as_str(), wrong));
        }
    }
    if size > LIMIT {
        errors.push(FieldError::too_long(field, LIMIT));
    }
}

fn owners(owners: Option<&Value>, field: &str, errors: &mut Vec<FieldError>) {
    let Some(owners) = owners.and_then(Value::as_array) else {
        return;
    };
    let mut controller: Option<String> = None;
    for owner in owners {
        let part = |name: &str| owner.get(name).and_then(Value::as_str).unwrap_or_default();
        let version = part("apiVersion").rsplit('/').next().unwrap_or_default();
        if version.is_empty() {
            errors.push(FieldError::invalid(
                format!("{field}.apiVersion"),
                part("apiVersion"),
                "version must not be empty",
            ));
        }
        for name in ["kind", "name", "uid"] {
            if part(name).is_empty() {
                errors.push(FieldError::invalid(format!("{field}.{name}"), "", "must not be empty"));
            }
        }
        if part("apiVersion") == "v1" && part("kind") == "Event" {
            errors.push(FieldError::invalid(
                field,
                owner.clone(),
                "/v1, Kind=Event is disallowed from being an owner",
            ));
        }
        if owner.get("controller") == Some(&Value::Bool(true)) {
            let name = format!("{}/{}", part("kind"), part("name"));
            match &controller {
                Some(first) => errors.push(FieldError::invalid(
                    field,
                    Value::Array(owners.clone()),
                    format!(
                        "Only one reference can have Controller set to true. Found \"true\" in references for {first} and {name}"
                    ),
                )),
                None => controller = Some(name),
            }
        }
    }
}

fn finalizers(finalizers: Option<&Value>, field: &str, errors: &mut Vec<FieldError>) {
    let Some(list) = finalizers.and_then(Value::as_array) else {
        return;
    };
    let has = |name: &str| list.iter().any(|each| each == name);
    for name in list.iter().filter_map(Value::as_str) {
        for wrong in label_key(name) {
            errors.push(FieldError::invalid(field, name, wrong));
        }
    }
    if has("orphan") && has("foregroundDeletion") {
        errors.push(FieldError::invalid(
            field,
            Value::Array(list.clone()),
            "finalizer orphan and foregroundDeletion cannot be both set",
        ));
    }
}

/// What is looked at before any object is written again, whatever its kind; the kind looks at much of it once more.
pub(crate) fn metadata_before_update(object: &Value, old: &Value, namespaced: bool) -> Vec<FieldError> {
    let mut errors = metadata(object, namespaced, NameRule::PathSegment);
    errors.extend(metadata_update(object, old));
    errors
}

/// The metadata of an object that is written again.
pub(crate) fn metadata_update(object: &Value, old: &Value) -> Vec<FieldError> {
    let empty = Map::new();
    let metadata = object.get("metadata").and_then(Value::as_object).unwrap_or(&empty);
    let before = old.get("metadata").and_then(Value::as_object).unwrap_or(&empty);
    let mut errors = Vec::new();
    if before.contains_key("deletionTimestamp") {
        let had = before.get("finalizers").and_then(Value::as_array);
        let mut new: Vec<&str> = metadata
            .get("finalizers")
            .and_then(Value::as_array)
            .into_iter()
            .flatten()
            .filter(|name| !had.is_some_and(|had| had.contains(name)))
            .filter_map(Value::as_str)
            .collect();
        if !new.is_empty() {
            new.sort_unstable();
            new.dedup();
            let names: Vec<String> = new.into_iter().map(quoted).collect();
            errors.push(FieldError::forbidden(
                "metadata.finalizers",
                format!(
                    "no new finalizers can be added if the object is being deleted, found new finalizers []string{{{}}}",
                    names.join(", ")
                ),
            ));
        }
    }
    if text(metadata, "resourceVersion").is_empty() {
        errors.push(FieldError::invalid(
            "metadata.resourceVersion",
            "",
            "must be specified for an update",
        ));
    }
    let generation = |metadata: &Map<String, Value>| metadata.get("generation").and_then(Value::as_i64).unwrap_or(0);
    if generation(metadata) < generation(before) {
        errors.push(FieldError::invalid(
            "metadata.generation",
            generation(metadata),
            "must not be decremented",
        ));
    }
    for name in [
        "name",
        "namespace",
        "uid",
        "creationTimestamp",
        "deletionTimestamp",
        "deletionGracePeriodSeconds",
    ] {
        if metadata.get(name) != before.get(name) {
            let value = metadata.get(name).cloned().unwrap_or_else(|| match name {
                "creationTimestamp" | "deletionTimestamp" | "deletionGracePeriodSeconds" => Value::Null,
                _ => Value::from(""),
            });
            errors.push(FieldError::invalid(
                format!("metadata.{name}"),
                value,
                "field is immutable",
            ));
        }
    }
    always(metadata, "metadata", &mut errors);
    errors
}

/// The metadata of an embedded resource.
pub(crate) fn embedded_metadata(metadata: &Value, field: &str, errors: &mut Vec<FieldError>) {
    let Some(metadata) = metadata.as_object() else { return };
    let name = text(metadata, "name");
    for wrong in path_segment(name, false) {
        errors.push(FieldError::invalid(format!("{field}.name"), name, wrong));
    }
    let namespaced = !text(metadata, "namespace").is_empty();
    common(metadata, field, namespaced, errors);
}
