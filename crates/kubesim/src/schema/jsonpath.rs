//! The part of Kubernetes' JSONPath that printer columns use: fields, indices, wildcards and filters on one value.

use serde_json::Value;

/// A parsed path.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct JsonPath(Vec<Part>);

#[derive(Clone, Debug, PartialEq)]
enum Part {
    Field(String),
    Index(i64),
    All,
    /// Items whose field compares so with the value: `[?(@.type=="Ready")]`.
    Filter {
        field: Vec<String>,
        equal: bool,
        value: Value,
    },
}

impl JsonPath {
    /// Parses `.a.b[0].c[?(@.type=="Ready")].d`; none if it is something else.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let mut parts = Vec::new();
        let mut rest = text.trim().trim_start_matches('$');
        while !rest.is_empty() {
            if let Some(after) = rest.strip_prefix('.') {
                let (name, after) = field(after);
                if name == "*" {
                    parts.push(Part::All);
                } else if !name.is_empty() {
                    parts.push(Part::Field(name));
                }
                rest = after;
            } else if let Some(after) = rest.strip_prefix('[') {
                let (part, after) = bracket(after)?;
                parts.push(part);
                rest = after;
            } else if parts.is_empty() {
                let (name, after) = field(rest);
                parts.push(Part::Field(name));
                rest = after;
            } else {
                return None;
            }
        }
        Some(Self(parts))
    }

    /// All values at the path.
    pub(crate) fn find<'a>(&self, value: &'a Value) -> Vec<&'a Value> {
        let mut found = vec![value];
        for part in &self.0 {
            found = found.into_iter().flat_map(|value| part.step(value)).collect();
        }
        found
    }
}

impl Part {
    fn step<'a>(&self, value: &'a Value) -> Vec<&'a Value> {
        match (self, value) {
            (Self::Field(name), Value::Object(map)) => map.get(name).into_iter().collect(),
            (Self::Index(index), Value::Array(items)) => {
                let length = i64::try_from(items.len()).unwrap_or(i64::MAX);
                let index = if *index < 0 { length + index } else { *index };
                usize::try_from(index)
                    .ok()
                    .and_then(|index| items.get(index))
                    .into_iter()
                    .collect()
            }
            (Self::All, Value::Array(items)) => items.iter().collect(),
            (Self::All, Value::Object(map)) => map.values().collect(),
            (Self::Filter { field, equal, value }, Value::Array(items)) => items
                .iter()
                .filter(|item| {
                    let found = field.iter().try_fold(*item, |item, name| item.get(name));
                    found.is_some_and(|found| (found == value) == *equal)
                })
                .collect(),
            _ => Vec::new(),
        }
    }
}

fn field(text: &str) -> (String, &str) {
    let mut name = String::new();
    let mut characters = text.char_indices();
    while let Some((index, character)) = characters.next() {
        match character {
            '\\' => {
                if let Some((_, escaped)) = characters.next() {
                    name.push(escaped);
                }
            }
            '.' | '[' => return (name, &text[index..]),
            other => name.push(other),
        }
    }
    (name, "")
}

fn bracket(text: &str) -> Option<(Part, &str)> {
    if let Some(filter) = text.strip_prefix("?(@") {
        let (condition, rest) = filter.split_once(")]")?;
        let (place, equal, value) = match condition.split_once("==") {
            Some((place, value)) => (place, true, value),
            None => {
                let (place, value) = condition.split_once("!=")?;
                (place, false, value)
            }
        };
        let field = place
            .trim()
            .trim_start_matches('.')
            .split('.')
            .map(str::to_owned)
            .collect();
        let value = unquoted(value.trim())?;
        return Some((Part::Filter { field, equal, value }, rest));
    }
    let (inner, rest) = text.split_once(']')?;
    let inner = inner.trim();
    let part = match inner {
        "*" => Part::All,
        _ => match inner.parse() {
            Ok(index) => Part::Index(index),
            Err(_) => match unquoted(inner)? {
                Value::String(name) => Part::Field(name),
                _ => return None,
            },
        },
    };
    Some((part, rest))
}

fn unquoted(text: &str) -> Option<Value> {
    let inner = |quote: char| text.strip_prefix(quote).and_then(|text| text.strip_suffix(quote));
    match inner('\'').or_else(|| inner('"')) {
        Some(inner) => Some(Value::from(inner)),
        None => serde_json::from_str(text).ok(),
    }
}
