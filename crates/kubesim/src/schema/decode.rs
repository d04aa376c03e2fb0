//! What decoding JSON into the server's own types and encoding it again does to an object of a built-in kind: unknown
//! fields and nulls go, empty optional values go, required ones appear; a value of the wrong type is an error in the words
//! of the JSON decoder.

use serde_json::{Map, Value};

use super::errors::quoted;
use super::formats::Format;
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
        stored: false,
    };
    run.value(value, node, name, &mut Vec::new());
    match run.error {
        Some(error) => Err(error),
        None => {
            run.unknown.sort_by_cached_key(|place| in_order(place));
            Ok(run.unknown)
        }
    }
}

/// Places in the order of a document whose fields are sorted.
fn in_order(place: &str) -> Vec<(usize, String)> {
    place
        .split(['.', '['])
        .map(|part| match part.strip_suffix(']').map(str::parse) {
            Some(Ok(index)) => (index, String::new()),
            _ => (0, part.to_owned()),
        })
        .collect()
}

/// What storing an object and reading it again does beyond decoding: the storage's encoding does not tell an empty list
/// from none.
pub(crate) fn settle(value: &mut Value, node: &Node, name: &str) {
    let mut run = Run {
        unknown: Vec::new(),
        error: None,
        stored: true,
    };
    run.value(value, node, name, &mut Vec::new());
}

struct Run {
    unknown: Vec<String>,
    error: Option<String>,
    stored: bool,
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
        self.error = Some(format!(
            "json: cannot unmarshal {found} into {place} of type {}",
            go_type(node)
        ));
    }

    fn value<'n>(&mut self, value: &mut Value, node: &'n Node, owner: &'n str, steps: &mut Vec<Step<'n>>) {
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
                Some("Time") => self.time(text, false),
                Some("MicroTime") => self.time(text, true),
                _ if node.format == Some(Format::Byte) => {
                    if let Some(place) = bad_base64(text) {
                        self.error
                            .get_or_insert_with(|| format!("illegal base64 data at input byte {place}"));
                    }
                }
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
                            node.format != Some(Format::Int32) && !node.is_int_or_string()
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

    fn time(&mut self, text: &mut String, micro: bool) {
        let layout = if micro {
            "2006-01-02T15:04:05.000000Z07:00"
        } else {
            "2006-01-02T15:04:05Z07:00"
        };
        match chrono::DateTime::parse_from_rfc3339(text) {
            // A moment in microseconds has to have all six of them.
            Ok(_)
                if micro
                    && text
                        .split_once('.')
                        .is_none_or(|(_, rest)| rest.find(|c: char| !c.is_ascii_digit()) != Some(6)) =>
            {
                self.error.get_or_insert_with(|| {
                    let rest = text.get(19..).unwrap_or_default();
                    format!(
                        "parsing time {} as \"{layout}\": cannot parse {} as \".000000\"",
                        quoted(text),
                        quoted(rest)
                    )
                });
            }
            Ok(moment) => {
                let format = if micro {
                    "%Y-%m-%dT%H:%M:%S%.6fZ"
                } else {
                    "%Y-%m-%dT%H:%M:%SZ"
                };
                *text = moment.naive_utc().format(format).to_string();
            }
            Err(_) => {
                self.error.get_or_insert_with(|| {
                    let shown = quoted(text);
                    format!("parsing time {shown} as \"{layout}\": cannot parse {shown} as \"2006\"")
                });
            }
        }
    }

    fn fields<'n>(&mut self, map: &mut Map<String, Value>, node: &'n Node, owner: &'n str, steps: &mut Vec<Step<'n>>) {
        if node.preserve_unknown {
            return;
        }
        if let Additional::Schema(child) = &node.additional {
            // The decoder's messages do not name keys of maps.
            for value in map.values_mut() {
                if value.is_null() {
                    *value = zero(child);
                }
                self.value(value, child, owner, steps);
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
                self.unknown.push(if place.is_empty() {
                    name
                } else {
                    format!("{place}.{name}")
                });
            }
        }
        map.retain(|_, value| !value.is_null());
        for (name, child) in &node.properties {
            match map.get_mut(name) {
                Some(value) => {
                    if !is_plain(value, child) {
                        steps.push(Step::Field(name));
                        self.value(value, child, owner, steps);
                        steps.pop();
                    }
                    match child.zero {
                        Zero::Dropped if is_zero(value) => {
                            map.remove(name);
                        }
                        Zero::Written if self.stored && value.as_array().is_some_and(Vec::is_empty) => {
                            *value = Value::Null;
                        }
                        _ => {}
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

/// A scalar of the type that is expected: nothing to do, so no place to note.
fn is_plain(value: &Value, node: &Node) -> bool {
    match value {
        Value::String(_) => {
            node.types == Types::STRING
                && node.format.is_none()
                && !matches!(node.go_name(), Some("Time" | "MicroTime"))
        }
        Value::Bool(_) => node.types == Types::BOOLEAN,
        _ => false,
    }
}

/// Where a text stops being base64, as Go counts.
fn bad_base64(text: &str) -> Option<usize> {
    let clean: Vec<(usize, u8)> = text
        .bytes()
        .enumerate()
        .filter(|(_, byte)| !matches!(byte, b'\r' | b'\n'))
        .collect();
    let is_digit = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/');
    let padding = clean
        .iter()
        .position(|(_, byte)| !is_digit(*byte))
        .unwrap_or(clean.len());
    match (padding % 4, clean.len() - padding) {
        (0, 0) => None,
        (2, 2) if clean[padding..].iter().all(|(_, byte)| *byte == b'=') => None,
        (3, 1) if clean[padding].1 == b'=' => None,
        (_, 0) => Some(text.len()),
        _ => Some(clean[padding].0),
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
        Types::STRING if matches!(node.go_name(), Some("Time" | "MicroTime")) => Value::Null,
        Types::STRING => Value::from(""),
        Types::INTEGER | Types::NUMBER | Types::INT_OR_STRING => Value::from(0),
        Types::BOOLEAN => Value::Bool(false),
        // A quantity.
        types if types.is_any() && node.go.is_some() => Value::from("0"),
        _ => Value::Null,
    }
}

fn go_type(node: &Node) -> String {
    match node.go_name() {
        Some("Time" | "MicroTime") => return "string".to_owned(),
        // What is no text is taken for a number.
        _ if node.is_int_or_string() => return "int32".to_owned(),
        _ => {}
    }
    if let Some(go) = &node.go {
        return go.to_string();
    }
    match node.types {
        Types::STRING if node.format == Some(Format::Byte) => "[]uint8".to_owned(),
        Types::ARRAY => format!("[]{}", node.item().map_or_else(String::new, go_type)),
        Types::OBJECT => match &node.additional {
            Additional::Schema(child) => format!("map[string]{}", go_type(child)),
            _ => "map[string]interface {}".to_owned(),
        },
        Types::STRING => "string".to_owned(),
        Types::INTEGER => match node.format {
            Some(Format::Int32) => "int32".to_owned(),
            _ => "int64".to_owned(),
        },
        Types::NUMBER => "float64".to_owned(),
        Types::BOOLEAN => "bool".to_owned(),
        _ => "interface {}".to_owned(),
    }
}
