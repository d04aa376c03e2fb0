//! Pruning and defaulting of a custom resource's object by its compiled schema.
//!
//! The order is the API server's: unknown fields go, then nulls that may not be and have no default, then defaults come.

use serde_json::{Map, Number, Value};

use super::node::{Additional, Node};

/// The fields that every resource has, whatever its schema says.
const OF_EVERY_RESOURCE: [&str; 3] = ["apiVersion", "kind", "metadata"];

/// Where in an object one is; written out only when there is something to say about the place.
#[derive(Clone, Copy)]
pub(crate) enum Step<'a> {
    Field(&'a str),
    Index(usize),
}

/// A path as messages write it.
pub(crate) fn path(steps: &[Step<'_>]) -> String {
    let mut text = String::new();
    for step in steps {
        match step {
            Step::Field(name) => {
                if !text.is_empty() {
                    text.push('.');
                }
                text.push_str(name);
            }
            Step::Index(index) => {
                text.push('[');
                text.push_str(&index.to_string());
                text.push(']');
            }
        }
    }
    text
}

/// Takes out what the schema does not know; returns the paths of it, sorted.
pub(crate) fn prune(object: &mut Value, node: &Node) -> Vec<String> {
    let mut unknown = Vec::new();
    if let Value::Object(map) = object {
        prune_map(
            map,
            Some(node),
            true,
            node.preserve_unknown,
            &mut Vec::new(),
            &mut unknown,
        );
    }
    unknown.sort();
    unknown
}

fn prune_value<'a>(
    value: &'a mut Value,
    node: Option<&Node>,
    keep: bool,
    steps: &mut Vec<Step<'a>>,
    unknown: &mut Vec<String>,
) {
    match value {
        Value::Object(map) => {
            let embedded = node.is_some_and(|node| node.embedded);
            prune_map(map, node, embedded, keep, steps, unknown);
        }
        Value::Array(items) => {
            let item = node.and_then(Node::item);
            if keep && item.is_none() {
                return;
            }
            let keep = keep || item.is_some_and(|item| item.preserve_unknown);
            for (index, value) in items.iter_mut().enumerate() {
                steps.push(Step::Index(index));
                prune_value(value, item, keep, steps, unknown);
                steps.pop();
            }
        }
        Value::Number(number) => whole(number),
        _ => {}
    }
}

/// A number that Go would print without a fraction.
fn whole(number: &mut Number) {
    if let Some(float) = number.as_f64().filter(|float| number.is_f64() && float.fract() == 0.0) {
        // Beyond this a float cannot tell neighbouring integers apart; Go writes such numbers with an exponent.
        if float.abs() < 9.0e15 {
            #[expect(clippy::cast_possible_truncation, reason = "the limit above keeps it in range")]
            let integer = float as i64;
            *number = Number::from(integer);
        }
    }
}

fn prune_map<'a>(
    map: &'a mut Map<String, Value>,
    node: Option<&Node>,
    embedded: bool,
    keep: bool,
    steps: &mut Vec<Step<'a>>,
    unknown: &mut Vec<String>,
) {
    let of_resource = |name: &str| embedded && OF_EVERY_RESOURCE.contains(&name);
    let known = |name: &str| {
        of_resource(name)
            || keep
            || node.is_some_and(|node| {
                node.properties.contains_key(name)
                    || matches!(
                        node.additional,
                        Additional::Any | Additional::Schema(_) | Additional::Forbidden
                    )
            })
    };
    if map.keys().any(|name| !known(name)) {
        let gone: Vec<String> = map.keys().filter(|name| !known(name)).cloned().collect();
        for name in gone {
            map.remove(&name);
            let place = path(steps);
            unknown.push(if place.is_empty() {
                name
            } else {
                format!("{place}.{name}")
            });
        }
    }
    for (name, value) in map.iter_mut() {
        if of_resource(name) || !matches!(value, Value::Object(_) | Value::Array(_) | Value::Number(_)) {
            continue;
        }
        let child = node.and_then(|node| node.child(name)).map(|node| &**node);
        if keep && child.is_none() {
            continue;
        }
        let keep = child.is_some_and(|child| child.preserve_unknown);
        steps.push(Step::Field(name));
        prune_value(value, child, keep, steps, unknown);
        steps.pop();
    }
}

/// Takes out nulls where none may stand and no default replaces them.
pub(crate) fn drop_nulls(value: &mut Value, node: &Node) {
    match value {
        Value::Object(map) => {
            let has = map.values().any(Value::is_null);
            if has {
                map.retain(|name, value| {
                    !value.is_null()
                        || node
                            .child(name)
                            .is_none_or(|child| child.nullable || child.default.is_some())
                });
            }
            for (name, value) in map.iter_mut() {
                if let Some(child) = node.child(name) {
                    drop_nulls(value, child);
                }
            }
        }
        Value::Array(items) => {
            if let Some(item) = node.item() {
                for value in items {
                    drop_nulls(value, item);
                }
            }
        }
        _ => {}
    }
}

/// Puts the defaults in.
pub(crate) fn default(value: &mut Value, node: &Node) {
    if !node.has_defaults {
        return;
    }
    match value {
        Value::Object(map) => {
            for (name, child) in &node.properties {
                let Some(default) = &child.default else { continue };
                match map.get(name) {
                    None => {}
                    Some(Value::Null) if !child.nullable => {}
                    Some(_) => continue,
                }
                map.insert(name.clone(), default.clone());
            }
            for (name, value) in map.iter_mut() {
                if let Some(child) = node.properties.get(name) {
                    default_child(value, child);
                } else if let Additional::Schema(child) = &node.additional {
                    null_to_default(value, child);
                    default_child(value, child);
                }
            }
        }
        Value::Array(items) => {
            if let Some(item) = node.item() {
                for value in items {
                    null_to_default(value, item);
                    default_child(value, item);
                }
            }
        }
        _ => {}
    }
}

fn default_child(value: &mut Value, child: &Node) {
    if child.has_defaults {
        default(value, child);
    }
}

fn null_to_default(value: &mut Value, child: &Node) {
    if value.is_null()
        && !child.nullable
        && let Some(default) = &child.default
    {
        *value = default.clone();
    }
}
