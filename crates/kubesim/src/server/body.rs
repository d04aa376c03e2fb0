//! Bodies of requests: which formats are understood, and their decoding into JSON with the complaints of Go's decoder.

use std::{cell::RefCell, fmt};

use bytes::Bytes;
use serde_json::{Map, Value};

use crate::Status;

/// The format that a request says its body has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Format {
    Json,
    Yaml,
    JsonPatch,
    MergePatch,
    StrategicMergePatch,
    Apply,
    Unknown,
}

/// A decoded body.
#[derive(Debug, Default)]
pub(super) struct Decoded {
    /// Null without one.
    pub value: Value,
    /// Paths of fields that are there more than once, of which the last counts.
    pub duplicates: Vec<String>,
}

impl Format {
    pub(super) fn of(content_type: &str) -> Self {
        match content_type.split(';').next().unwrap_or_default().trim() {
            "" | "application/json" => Self::Json,
            "application/yaml" => Self::Yaml,
            "application/json-patch+json" => Self::JsonPatch,
            "application/merge-patch+json" => Self::MergePatch,
            "application/strategic-merge-patch+json" => Self::StrategicMergePatch,
            "application/apply-patch+yaml" => Self::Apply,
            _ => Self::Unknown,
        }
    }

    /// Decodes a body. `Err` has the decoder's words.
    pub(super) fn decode(self, body: &Bytes) -> Result<Decoded, String> {
        if body.is_empty() {
            return match self {
                Self::JsonPatch | Self::MergePatch | Self::StrategicMergePatch => Err(END.to_owned()),
                _ => Ok(Decoded::default()),
            };
        }
        let duplicates = RefCell::default();
        let mut decoder = serde_json::Deserializer::from_slice(body);
        let seed = Noting {
            place: Place::Whole,
            duplicates: &duplicates,
        };
        let decoded = serde::de::DeserializeSeed::deserialize(seed, &mut decoder).and_then(|value| {
            decoder.end()?;
            Ok(value)
        });
        match decoded {
            Ok(value) => Ok(Decoded {
                value,
                duplicates: duplicates.into_inner(),
            }),
            Err(error) if matches!(self, Self::Yaml | Self::Apply) => {
                let text = std::str::from_utf8(body).map_err(|e| e.to_string())?;
                let value = serde_saphyr::from_str(text).map_err(|_| {
                    if text.trim_start().starts_with(['{', '[']) {
                        return in_gos_words(&error, body);
                    }
                    let last = text.trim_end().lines().count();
                    format!("error converting YAML to JSON: yaml: line {last}: did not find expected node content")
                })?;
                Ok(Decoded {
                    value,
                    duplicates: Vec::new(),
                })
            }
            Err(error) => Err(in_gos_words(&error, body)),
        }
    }
}

const END: &str = "unexpected end of JSON input";

/// A decoder's error as Go's decoder would word it.
fn in_gos_words(error: &serde_json::Error, body: &Bytes) -> String {
    if error.is_eof() {
        return END.to_owned();
    }
    let line = body.split(|b| *b == b'\n').nth(error.line().saturating_sub(1));
    let byte = line.and_then(|line| line.get(error.column().saturating_sub(1)));
    byte.map_or_else(|| END.to_owned(), |byte| unexpected(*byte))
}

/// Go's words about a byte that begins no value.
pub(super) fn unexpected(byte: u8) -> String {
    let shown = match char::from(byte) {
        '\'' => "\\'".to_owned(),
        c if (' '..='~').contains(&c) || c >= '\u{a1}' => c.to_string(),
        c => format!("\\u{:04x}", u32::from(c)),
    };
    format!("invalid character '{shown}' looking for beginning of value")
}

/// Decodes any JSON and notes fields that come twice.
struct Noting<'a> {
    place: Place<'a>,
    duplicates: &'a RefCell<Vec<String>>,
}

/// Where in the body a value stands; few are ever asked.
#[derive(Clone, Copy)]
enum Place<'a> {
    Whole,
    Field(&'a Place<'a>, &'a str),
    Item(&'a Place<'a>, usize),
}

impl fmt::Display for Place<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Whole => Ok(()),
            Self::Field(Place::Whole, field) => f.write_str(field),
            Self::Field(parent, field) => write!(f, "{parent}.{field}"),
            Self::Item(parent, index) => write!(f, "{parent}[{index}]"),
        }
    }
}

impl<'de> serde::de::DeserializeSeed<'de> for Noting<'_> {
    type Value = Value;

    fn deserialize<D: serde::Deserializer<'de>>(self, decoder: D) -> Result<Value, D::Error> {
        decoder.deserialize_any(self)
    }
}

impl<'de> serde::de::Visitor<'de> for Noting<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any JSON")
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(Value::from(value))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(Value::from(value))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(Value::from(value))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(Value::String(value.to_owned()))
    }

    fn visit_string<E>(self, value: String) -> Result<Value, E> {
        Ok(Value::String(value))
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_seq<A: serde::de::SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut list = Vec::new();
        loop {
            let seed = Noting {
                place: Place::Item(&self.place, list.len()),
                duplicates: self.duplicates,
            };
            match items.next_element_seed(seed)? {
                Some(item) => list.push(item),
                None => return Ok(Value::Array(list)),
            }
        }
    }

    fn visit_map<A: serde::de::MapAccess<'de>>(self, mut fields: A) -> Result<Value, A::Error> {
        let mut map = Map::new();
        while let Some(field) = fields.next_key::<String>()? {
            let place = Place::Field(&self.place, &field);
            if map.contains_key(&field) {
                self.duplicates.borrow_mut().push(place.to_string());
            }
            let seed = Noting {
                place,
                duplicates: self.duplicates,
            };
            let value = fields.next_value_seed(seed)?;
            map.insert(field, value);
        }
        Ok(Value::Object(map))
    }
}

/// 415 to a body that is no object in a format that is understood.
pub(super) fn unsupported() -> Status {
    Status::new(
        415,
        "UnsupportedMediaType",
        "the body of the request was in an unknown format - accepted media types include: application/json, \
         application/yaml, application/vnd.kubernetes.protobuf",
    )
}

/// The decoder's words about a body that is JSON but no object; nothing about one that is.
pub(super) fn not_an_object(body: &Value) -> Option<String> {
    let what = match body {
        Value::Object(_) => return None,
        Value::Array(_) => "array",
        Value::String(_) => "string",
        Value::Number(_) => "number",
        Value::Bool(_) => "bool",
        Value::Null => return Some(END.to_owned()),
    };
    Some(format!(
        "json: cannot unmarshal {what} into Go value of type struct {{ APIVersion string \"json:\\\"apiVersion,omitempty\\\"\"; \
         Kind string \"json:\\\"kind,omitempty\\\"\" }}"
    ))
}

/// 400 to a body that cannot be decoded as an object of this kind.
pub(super) fn undecodable(kind: &str, why: &str, body: &Bytes) -> Status {
    let beginning = body.get(..30).unwrap_or(body);
    let mut summary = match body.first() {
        None => "<empty>".to_owned(),
        Some(b'{') => String::from_utf8_lossy(beginning).into_owned(),
        // What does not look like an object may be binary.
        Some(_) => beginning.iter().map(|byte| format!("{byte:02x}")).collect(),
    };
    if beginning.len() < body.len() {
        summary.push_str(" ...");
    }
    let why = format!("couldn't get version/kind; json parse error: {why}");
    if kind == "DeleteOptions" {
        return Status::bad_request(why);
    }
    Status::bad_request(format!(
        "the object provided is unrecognized (must be of type {kind}): {why} ({summary})"
    ))
}
