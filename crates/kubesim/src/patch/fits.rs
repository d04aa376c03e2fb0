//! Whether a configuration that is applied fits the schema, in the words of the library that merges it.

use serde_json::Value;

use super::fields::{Fields, element};
use crate::schema::Node;
use crate::schema::errors::{printed, quoted};
use crate::schema::node::{Additional, ListType, Types};

/// What of a configuration does not fit the schema.
pub(super) fn fits(value: &Value, node: Option<&Node>, place: &str, complaints: &mut Vec<String>) {
    let Some(node) = node else { return };
    let mut add = |text: String| {
        complaints.push(if place.is_empty() {
            text
        } else {
            format!("{place}: {text}")
        });
    };
    match value {
        Value::Object(map) => {
            if node.types.is_any() || node.types == Types::OBJECT {
                for (name, value) in map {
                    let place = format!("{place}.{name}");
                    match node.child(name) {
                        Some(child) => fits(value, Some(child), &place, complaints),
                        None => {
                            let open = node.preserve_unknown
                                || node.types.is_any()
                                || matches!(node.additional, Additional::Any)
                                || (node.properties.is_empty() && node.go.is_none());
                            if !open {
                                complaints.push(format!("{place}: field not declared in schema"));
                            }
                        }
                    }
                }
            } else {
                add(wrong_type(node, value));
            }
        }
        Value::Array(items) => {
            if !(node.types.is_any() || node.types == Types::ARRAY) {
                add(wrong_type(node, value));
                return;
            }
            let mut seen: Vec<String> = Vec::new();
            for (index, item) in items.iter().enumerate() {
                if matches!(node.list, ListType::Map(_)) && !item.is_object() {
                    complaints.push(format!(
                        "{place}: element {index}: associative list with keys may not have non-map elements"
                    ));
                    return;
                }
                let key = if node.list == ListType::Atomic {
                    format!("i:{index}")
                } else {
                    match element(item, node) {
                        Some(key) => key,
                        None => {
                            let keys = match &node.list {
                                ListType::Map(keys) => keys.clone(),
                                _ => Vec::new(),
                            };
                            complaints.push(format!(
                                "{place}: element {index}: associative list with keys has an element that omits all key \
                                 fields {keys:?} (and doesn't have default values for any key fields)"
                            ));
                            return;
                        }
                    }
                };
                let shown = Fields {
                    own: false,
                    inner: [(key.clone(), Fields::leaf())].into(),
                };
                let shown = shown.paths().join("");
                if seen.contains(&key) {
                    complaints.push(format!("{place}: duplicate entries for key {shown}"));
                }
                let place = format!("{place}{shown}");
                fits(item, node.item(), &place, complaints);
                seen.push(key);
            }
        }
        Value::Null => {}
        scalar => {
            let good = node.types.is_any()
                || is_any_scalar(node)
                || match scalar {
                    Value::String(_) => node.types.has(Types::STRING),
                    Value::Bool(_) => node.types.has(Types::BOOLEAN),
                    _ => node.types.has(Types::INTEGER) || node.types.has(Types::NUMBER),
                };
            if !good {
                add(wrong_type(node, value));
            }
        }
    }
}

fn wrong_type(node: &Node, value: &Value) -> String {
    let expected = match node.types {
        Types::OBJECT => "map",
        Types::ARRAY => "list",
        Types::STRING if is_any_scalar(node) => "any scalar",
        Types::STRING => {
            return format!(
                "expected string, got &value.valueUnstructured{{Value:{}}}",
                in_go(value)
            );
        }
        Types::BOOLEAN => "boolean",
        Types::INT_OR_STRING => "any scalar",
        _ => {
            let found = match value {
                Value::String(_) => "string",
                Value::Bool(_) => "bool",
                Value::Array(_) => "[]interface {}",
                _ => "map[string]interface {}",
            };
            return format!("expected numeric (int or float), got {found}");
        }
    };
    format!("expected {expected}, got &{{{}}}", printed(value))
}

/// Of times, quantities and the like only the decoder knows what they may look like.
fn is_any_scalar(node: &Node) -> bool {
    node.types == Types::INT_OR_STRING || matches!(node.go_name(), Some("Time" | "MicroTime" | "Quantity"))
}

/// A value as it is written in Go.
fn in_go(value: &Value) -> String {
    match value {
        Value::Null => "interface {}(nil)".to_owned(),
        Value::String(text) => quoted(text),
        Value::Bool(_) | Value::Number(_) => value.to_string(),
        Value::Array(items) => {
            let items: Vec<String> = items.iter().map(in_go).collect();
            format!("[]interface {{}}{{{}}}", items.join(", "))
        }
        Value::Object(map) => {
            let fields: Vec<String> = map
                .iter()
                .map(|(name, value)| format!("{}:{}", quoted(name), in_go(value)))
                .collect();
            format!("map[string]interface {{}}{{{}}}", fields.join(", "))
        }
    }
}
