//! What decoding JSON into the server's own types and encoding it again does to an object of a built-in kind: unknown
//! fields and nulls go, empty optional values go, required ones appear; a value of the wrong type is an error in the words
//! of the JSON decoder.

use serde_json::{Map, Value};

use super::errors::quoted;
use super::node::{Additional, Node, Types, Zero};
use super::structural::{Step, path};

/// Decodes `value` in place as the type `name`; the paths of unknown fields.
///
/// # Errors
/// The decoder's words about the first value of a wrong type.
pub(crate) fn decode(value: &mut Value, node: &Node, name: &str) -> Result<Vec<String>, String> {
    let mut run = Run {
        unknown: Vec::new(),
        error: None,
    };
    run.value(value, node, name, &mut Vec::new());
    match run.error {
        Some(error) => Err(error),
        None => Ok(run.unknown),
    }
}

/// As [`decode`], with values of a wrong type left out instead.
pub(crate) fn decode_leniently(value: &mut Value, node: &Node, name: &str) {
    if let Value::Object(map) = value {
        map.retain(|field, value| {
            node.child(field)
                .is_some_and(|child| decode(&mut value.clone(), child, name).is_ok())
        });
    }
    // What is left has no errors.
    let _ = decode(value, node, name);
}

struct Run {
    unknown: Vec<String>,
    error: Option<String>,
}

impl Run {
    fn fail(&mut self, found: &str, owner: &str, steps: &[Step<'_>], node: &Node) {
        if self.error.is_some() {
            return;
        }
        let place: Vec<&str> = steps
            .iter()
            .filter_map(|step| match step {
                Step::Field(name) => Some(*name),
                Step::Index(_) => None,
            })
            .collect();
        let place = if place.is_empty() {
            "Go value".to_owned()
        } else {
            format!("Go struct field {owner}.{}", place.join("."))
        };
        self.error = Some(format!("json: cannot unmarshal {found} into {place} of type {}", go_type(node)));
    }

    fn value(&mut self, value: &mut Value, node: &Node, owner: &str, steps: &mut Vec<Step<'_>>) {
        let types = node.types;
        match value {
            Value::Null => {}
            Value::Object(map) => {
                if types == Types::OBJECT {
                    let owner = node.go_name().unwrap_or(owner);
                    self.fields(map, node, owner, steps);
                } else if !types.is_any() || node.go_name().is_some() {
                    self.fail("object", owner, steps, node);
                }
            }
            Value::Array(items) => {
                if types == Types::ARRAY {
                    if let Some(item) = node.item() {
                        for (index, value) in items.iter_mut().enumerate() {
                            steps.push(Step::Index(index));
                            if value.is_null() {
                                *value = zero(item);
                            }
                            self.value(value, item, owner, steps);
                            steps.pop();
                        }
                    }
                } else if !types.is_any() || node.go_name().is_some() {
                    self.fail("array", owner, steps, node);
                }
            }
            Value::String(text) => match node.go_name() {
                Some("Quantity") => {
                    if let Err(error) = crate::builtin::quantity::canonical(text).map(|canonical| *text = canonical)
                        && self.error.is_none()
                    {
                        self.error = Some(error);
                    }
                }
                Some("Time" | "MicroTime") => self.time(text),
                _ if types.has(Types::STRING) => {}
                _ if types.is_any() => {}
                _ => self.fail("string", owner, steps, node),
            },
            Value::Bool(_) => {
                if !(types.is_any() && node.go_name().is_none() || types.has(Types::BOOLEAN)) {
                    self.fail("bool", owner, steps, node);
                }
            }
            Value::Number(number) => {
                if node.go_name() == Some("Quantity") {
                    match crate::builtin::quantity::canonical(&number.to_string()) {
                        Ok(canonical) => *value = Value::from(canonical),
                        Err(error) => self.error = self.error.take().or(Some(error)),
                    }
                } else if types.has(Types::INTEGER) {
                    let fits = match number.as_i64() {
                        Some(number) => {
                            node.format != Some(super::formats::Format::Int32) && !node.is_int_or_string()
                                || i32::try_from(number).is_ok()
                        }
                        None => false,
                    };
                    if !fits {
                        self.fail(&format!("number {number}"), owner, steps, node);
                    }
                } else if !(types.is_any() || types.has(Types::NUMBER)) {
                    self.fail("number", owner, steps, node);
                }
            }
        }
    }

    fn time(&mut self, text: &mut String) {
        match chrono::DateTime::parse_from_rfc3339(text) {
            Ok(_) => {}
            Err(_) if text.is_empty() => {}
            Err(_) if self.error.is_none() => {
                let shown = quoted(text);
                self.error = Some(format!(
                    "parsing time {shown} as \"2006-01-02T15:04:05Z07:00\": cannot parse {shown} as \"2006\""
                ));
            }
            Err(_) => {}
        }
    }

    fn fields(&mut self, map: &mut Map<String, Value>, node: &Node, owner: &str, steps: &mut Vec<Step<'_>>) {
        if node.preserve_unknown {
            return;
        }
        if let Additional::Schema(child) = &node.additional {
            for (name, value) in map.iter_mut() {
                if value.is_null() {
                    *value = zero(child);
                }
                // The steps outlive this loop's borrow of the map only in messages: a copy of the name is enough.
                let name = name.clone();
                let mut inner: Vec<Step<'_>> = steps.clone();
                inner.push(Step::Field(&name));
                self.value(value, child, owner, &mut inner);
            }
            return;
        }
        if map.keys().any(|name| !node.properties.contains_key(name)) {
            let gone: Vec<String> = map
                .keys()
                .filter(|name| !node.properties.contains_key(*name))
                .cloned()
                .collect();
            for name in gone {
                map.remove(&name);
                let place = path(steps);
                self.unknown.push(if place.is_empty() { name } else { format!("{place}.{name}") });
            }
        }
        map.retain(|_, value| !value.is_null());
        for (name, child) in &node.properties {
            match map.get_mut(name) {
                Some(value) => {
                    let mut inner: Vec<Step<'_>> = steps.clone();
                    inner.push(Step::Field(name));
                    self.value(value, child, owner, &mut inner);
                    if child.zero == Zero::Dropped && is_zero(value) {
                        map.remove(name);
                    }
                }
                None if child.zero == Zero::Written => {
                    let mut value = zero(child);
                    if value.is_object() {
                        self.value(&mut value, child, owner, steps);
                    }
                    map.insert(name.clone(), value);
                }
                None => {}
            }
        }
    }
}

fn is_zero(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(false) => true,
        Value::Bool(true) => false,
        Value::Number(number) => number.as_f64() == Some(0.0),
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::Object(map) => map.is_empty(),
    }
}

fn zero(node: &Node) -> Value {
    match node.types {
        Types::OBJECT if node.go.is_some() => Value::Object(Map::new()),
        Types::STRING => Value::from(""),
        Types::INTEGER | Types::NUMBER | Types::INT_OR_STRING => Value::from(0),
        Types::BOOLEAN => Value::Bool(false),
        // A quantity.
        types if types.is_any() && node.go.is_some() => Value::from("0"),
        _ => Value::Null,
    }
}

fn go_type(node: &Node) -> String {
    if let Some(go) = &node.go {
        return go.to_string();
    }
    match node.types {
        Types::ARRAY => format!("[]{}", node.item().map_or_else(String::new, go_type)),
        Types::OBJECT => match &node.additional {
            Additional::Schema(child) => format!("map[string]{}", go_type(child)),
            _ => "map[string]interface {}".to_owned(),
        },
        Types::STRING => "string".to_owned(),
        Types::INTEGER => match node.format {
            Some(super::formats::Format::Int32) => "int32".to_owned(),
            _ => "int64".to_owned(),
        },
        Types::NUMBER => "float64".to_owned(),
        Types::BOOLEAN => "bool".to_owned(),
        _ => "interface {}".to_owned(),
    }
}
