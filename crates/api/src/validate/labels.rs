//! The rules for labels, their selectors and names, with Kubernetes' messages.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;

use super::FieldError;

const LABEL_VALUE: &str = "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', regex used for validation is '(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')";
const NAME_PART: &str = "name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')";
const SUBDOMAIN: &str = "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')";
const DNS_LABEL: &str = "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?')";

fn too_long(most: usize) -> String {
    format!("must be no more than {most} bytes")
}

/// Letters, digits and the given others, a letter or digit at both ends.
fn is_word(text: &str, letter: fn(u8) -> bool, inner: &[u8]) -> bool {
    let bytes = text.as_bytes();
    match (bytes.first(), bytes.last()) {
        (Some(first), Some(last)) => {
            letter(*first) && letter(*last) && bytes.iter().all(|b| letter(*b) || inner.contains(b))
        }
        _ => false,
    }
}

fn any_case(byte: u8) -> bool {
    byte.is_ascii_alphanumeric()
}

fn lower_case(byte: u8) -> bool {
    byte.is_ascii_lowercase() || byte.is_ascii_digit()
}

/// What is wrong with a label's value.
fn value_problem(value: &str) -> Option<String> {
    if value.len() > 63 {
        return Some(too_long(63));
    }
    (!value.is_empty() && !is_word(value, any_case, b"-_.")).then(|| LABEL_VALUE.to_owned())
}

/// What is wrong with a label's key.
pub(crate) fn key_problem(key: &str) -> Option<String> {
    let (prefix, name) = match key.split_once('/') {
        Some((prefix, name)) if !name.contains('/') => (Some(prefix), name),
        Some(_) => {
            return Some("a qualified name must consist of alphanumeric characters, '-', '_' or '.', with an optional DNS subdomain prefix and '/' (e.g. 'example.com/MyName')".to_owned());
        }
        None => (None, key),
    };
    match prefix {
        Some("") => return Some("prefix part must be non-empty".to_owned()),
        Some(prefix) if !prefix.split('.').all(|part| is_word(part, lower_case, b"-")) => {
            return Some(format!("prefix part {SUBDOMAIN}"));
        }
        _ => {}
    }
    if name.is_empty() {
        return Some("name part must be non-empty".to_owned());
    }
    if name.len() > 63 {
        return Some(format!("name part {}", too_long(63)));
    }
    (!is_word(name, any_case, b"-_.")).then(|| NAME_PART.to_owned())
}

/// What is wrong with the name of a container, a volume or a port.
pub(super) fn dns_label_problem(name: &str) -> Option<String> {
    if name.len() > 63 {
        return Some(too_long(63));
    }
    (!is_word(name, lower_case, b"-")).then(|| DNS_LABEL.to_owned())
}

/// Labels of a pod template.
pub(super) fn validate_labels(labels: &BTreeMap<String, String>, path: &str) -> Result<(), FieldError> {
    for (key, value) in labels {
        if let Some(problem) = key_problem(key) {
            return Err(FieldError::invalid(path, key, problem));
        }
        if let Some(problem) = value_problem(value) {
            return Err(FieldError::invalid(path, value, problem));
        }
    }
    Ok(())
}

/// Keys of annotations; their values are free.
pub(super) fn validate_annotations(annotations: &BTreeMap<String, String>, path: &str) -> Result<(), FieldError> {
    for key in annotations.keys() {
        if let Some(problem) = key_problem(&key.to_lowercase()) {
            return Err(FieldError::invalid(path, key, problem));
        }
    }
    Ok(())
}

pub(super) fn validate_selector(selector: &LabelSelector, path: &str) -> Result<(), FieldError> {
    if let Some(labels) = &selector.match_labels {
        validate_labels(labels, &format!("{path}.matchLabels"))?;
    }
    for (i, requirement) in selector.match_expressions.iter().flatten().enumerate() {
        let path = format!("{path}.matchExpressions[{i}]");
        let values = requirement.values.as_deref().unwrap_or_default();
        match requirement.operator.as_str() {
            "In" | "NotIn" if values.is_empty() => {
                return Err(FieldError::required(
                    format!("{path}.values"),
                    "must be specified when `operator` is 'In' or 'NotIn'",
                ));
            }
            "Exists" | "DoesNotExist" if !values.is_empty() => {
                return Err(FieldError::forbidden(
                    format!("{path}.values"),
                    "may not be specified when `operator` is 'Exists' or 'DoesNotExist'",
                ));
            }
            "In" | "NotIn" | "Exists" | "DoesNotExist" => {}
            other => {
                return Err(FieldError::invalid(
                    format!("{path}.operator"),
                    other,
                    "not a valid selector operator",
                ));
            }
        }
        if let Some(problem) = key_problem(&requirement.key) {
            return Err(FieldError::invalid(format!("{path}.key"), &requirement.key, problem));
        }
        for (j, value) in values.iter().enumerate() {
            if let Some(problem) = value_problem(value) {
                return Err(FieldError::invalid(format!("{path}.values[{j}]"), value, problem));
            }
        }
    }
    Ok(())
}
