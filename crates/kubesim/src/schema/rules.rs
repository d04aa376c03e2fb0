//! Rules in the Common Expression Language: where there are any, and the one of them that is understood.

use serde_json::Value;

use super::errors::{Complaint, FieldError};

/// Whether rules are not asked any more.
pub(super) fn is_blocking(error: &FieldError) -> bool {
    matches!(
        error.complaint,
        Complaint::NotSupported
            | Complaint::Required
            | Complaint::TooLong
            | Complaint::TooMany
            | Complaint::TypeInvalid
    )
}

/// Fields of objects (not of lists' items) with the rule that they stay what they are.
pub(super) fn find_immutable(schema: &Value, path: &mut Vec<String>, found: &mut Vec<(Vec<String>, String)>) {
    const RULE: &str = "self == oldSelf";
    let rules = schema["x-kubernetes-validations"].as_array();
    for rule in rules.into_iter().flatten().filter(|rule| rule["rule"] == RULE) {
        let message = rule["message"]
            .as_str()
            .map_or_else(|| format!("failed rule: {RULE}"), str::to_owned);
        found.push((path.clone(), message));
    }
    for (name, child) in schema["properties"].as_object().into_iter().flatten() {
        path.push(name.clone());
        find_immutable(child, path, found);
        path.pop();
    }
}

/// The server does not come to its rules in the Common Expression Language where the object is not of the right form, and
/// says so.
pub(super) fn rules_skipped(errors: &mut Vec<FieldError>) {
    if errors.iter().any(is_blocking) {
        errors.push(FieldError::invalid(
            "<nil>",
            Value::Null,
            "some validation rules were not checked because the object was invalid; correct the existing errors to complete \
             validation",
        ));
    }
}

pub(super) fn has_rules(schema: &Value) -> bool {
    match schema {
        Value::Array(items) => items.iter().any(has_rules),
        Value::Object(map) => {
            map.get("x-kubernetes-validations").is_some_and(Value::is_array) || map.values().any(has_rules)
        }
        _ => false,
    }
}
