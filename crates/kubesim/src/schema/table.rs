//! `meta.k8s.io/v1` Tables: what `kubectl get` shows.

use chrono::{DateTime, TimeDelta, Utc};
use serde_json::{Value, json};

use super::jsonpath::JsonPath;

/// How a cell is found.
#[derive(Clone)]
pub enum Cell {
    /// The first value at a path, converted to the column's type; none if the path is not understood.
    Path(String),
    /// Worked out of the object.
    Made(fn(&Value, DateTime<Utc>) -> Value),
}

impl std::fmt::Debug for Cell {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Path(path) => f.write_str(path),
            Self::Made(_) => f.write_str("made"),
        }
    }
}

/// A column.
#[derive(Clone, Debug)]
pub struct Column {
    /// Heading.
    pub name: String,
    /// `string`, `integer`, `number`, `boolean` or `date`.
    pub kind: String,
    /// Format, as `name`; may be empty.
    pub format: String,
    /// For people who ask for it.
    pub description: String,
    /// 0 is always shown, more only in the wide form.
    pub priority: i64,
    /// Where the cells come from.
    pub cell: Cell,
    path: Option<JsonPath>,
}

impl Column {
    /// The column with the object's name.
    #[must_use]
    pub fn name_column() -> Self {
        let mut column = Self::made("Name", "string", 0, |object, _| {
            object.pointer("/metadata/name").cloned().unwrap_or(Value::Null)
        });
        column.format = "name".to_owned();
        column
    }

    /// The column with the object's age.
    #[must_use]
    pub fn age_column() -> Self {
        Self::made("Age", "string", 0, |object, now| Value::from(age(object, now)))
    }

    /// A column whose cells are worked out.
    #[must_use]
    pub fn made(name: &str, kind: &str, priority: i64, cell: fn(&Value, DateTime<Utc>) -> Value) -> Self {
        Self {
            name: name.to_owned(),
            kind: kind.to_owned(),
            format: String::new(),
            description: format!("What is shown as {name}."),
            priority,
            cell: Cell::Made(cell),
            path: None,
        }
    }

    fn cell(&self, object: &Value, now: DateTime<Utc>) -> Value {
        match &self.cell {
            Cell::Made(cell) => cell(object, now),
            Cell::Path(_) => {
                let found = self.path.as_ref().and_then(|path| path.find(object).into_iter().next());
                found.map_or(Value::Null, |value| converted(value, &self.kind, now))
            }
        }
    }
}

/// The columns of a custom resource.
pub(crate) fn columns_of(given: Option<&Value>) -> Vec<Column> {
    let mut columns = vec![Column::name_column()];
    let given = given.and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
    if given.is_empty() {
        let mut age = Column::age_column();
        age.kind = "date".to_owned();
        columns.push(age);
        return columns;
    }
    for column in given {
        let text = |field: &str| column.get(field).and_then(Value::as_str).unwrap_or_default().to_owned();
        let path = text("jsonPath");
        let description = match text("description") {
            empty if empty.is_empty() => format!("Custom resource definition column (in JSONPath format): {path}"),
            given => given,
        };
        columns.push(Column {
            name: text("name"),
            kind: text("type"),
            format: text("format"),
            description,
            priority: column.get("priority").and_then(Value::as_i64).unwrap_or(0),
            path: JsonPath::parse(&path),
            cell: Cell::Path(path),
        });
    }
    columns
}

fn converted(value: &Value, kind: &str, now: DateTime<Utc>) -> Value {
    match (kind, value) {
        (_, Value::Null) => Value::Null,
        ("integer", Value::Number(number)) => match number.as_i64() {
            Some(number) => Value::from(number),
            #[expect(clippy::cast_possible_truncation, reason = "as the API server cuts it")]
            None => number
                .as_f64()
                .map_or(Value::Null, |number| Value::from(number.trunc() as i64)),
        },
        ("number", Value::Number(_)) | ("boolean", Value::Bool(_)) => value.clone(),
        ("string", Value::String(_)) => value.clone(),
        ("string", other) => Value::from(other.to_string()),
        ("date", Value::String(text)) => match DateTime::parse_from_rfc3339(text) {
            Ok(moment) => Value::from(human_duration(now - moment.with_timezone(&Utc))),
            Err(_) => Value::from("<invalid>"),
        },
        _ => Value::Null,
    }
}

/// The age of an object.
pub(crate) fn age(object: &Value, now: DateTime<Utc>) -> String {
    let created = object.pointer("/metadata/creationTimestamp").and_then(Value::as_str);
    since(created, now)
}

/// How long ago a moment was, `<unknown>` without one.
pub(crate) fn since(moment: Option<&str>, now: DateTime<Utc>) -> String {
    match moment.map(DateTime::parse_from_rfc3339) {
        Some(Ok(moment)) => human_duration(now - moment.with_timezone(&Utc)),
        _ => "<unknown>".to_owned(),
    }
}

/// A duration as people read it: two units at most.
#[must_use]
pub fn human_duration(duration: TimeDelta) -> String {
    let two = |high: i64, high_unit: &str, low: i64, low_unit: &str| {
        if low == 0 {
            format!("{high}{high_unit}")
        } else {
            format!("{high}{high_unit}{low}{low_unit}")
        }
    };
    let seconds = duration.num_seconds();
    let (minutes, hours) = (seconds / 60, seconds / 3600);
    match seconds {
        ..=-2 => "<invalid>".to_owned(),
        -1 => "0s".to_owned(),
        0..120 => format!("{seconds}s"),
        _ if minutes < 10 => two(minutes, "m", seconds % 60, "s"),
        _ if minutes < 180 => format!("{minutes}m"),
        _ if hours < 8 => two(hours, "h", minutes % 60, "m"),
        _ if hours < 48 => format!("{hours}h"),
        _ if hours < 192 => two(hours / 24, "d", hours % 24, "h"),
        _ if hours < 24 * 365 * 2 => format!("{}d", hours / 24),
        _ if hours < 24 * 365 * 8 => two(hours / 24 / 365, "y", (hours / 24) % 365, "d"),
        _ => format!("{}y", hours / 24 / 365),
    }
}

/// What of each object goes into a row beside its cells.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Include {
    /// Only its metadata: what the API server does by default.
    #[default]
    Metadata,
    /// All of it.
    Object,
    /// Nothing.
    Nothing,
}

impl Include {
    /// From the query parameter `includeObject`; none for words that the API server refuses.
    #[must_use]
    pub fn parse(word: &str) -> Option<Self> {
        match word {
            "" | "Metadata" => Some(Self::Metadata),
            "Object" => Some(Self::Object),
            "None" => Some(Self::Nothing),
            _ => None,
        }
    }
}

/// A Table of these objects. `metadata` is the list's, or that of the single object.
#[must_use]
pub fn table<'a>(
    columns: &[Column],
    objects: impl IntoIterator<Item = &'a Value>,
    now: DateTime<Utc>,
    include: Include,
    metadata: Value,
) -> Value {
    let definitions: Vec<Value> = columns
        .iter()
        .map(|column| {
            json!({
                "name": column.name,
                "type": column.kind,
                "format": column.format,
                "description": column.description,
                "priority": column.priority,
            })
        })
        .collect();
    let rows: Vec<Value> = objects
        .into_iter()
        .map(|object| {
            let cells: Vec<Value> = columns.iter().map(|column| column.cell(object, now)).collect();
            let shown = match include {
                Include::Object => object.clone(),
                Include::Metadata => json!({
                    "kind": "PartialObjectMetadata",
                    "apiVersion": "meta.k8s.io/v1",
                    "metadata": object.get("metadata").cloned().unwrap_or_else(|| json!({})),
                }),
                Include::Nothing => Value::Null,
            };
            json!({"cells": cells, "object": shown})
        })
        .collect();
    json!({
        "kind": "Table",
        "apiVersion": "meta.k8s.io/v1",
        "metadata": metadata,
        "columnDefinitions": definitions,
        "rows": rows,
    })
}
