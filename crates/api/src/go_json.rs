//! The bytes that Go's `encoding/json` writes for typed Kubernetes objects, from their JSON: fields in declared order,
//! `omitempty`, unknown fields dropped, quantities canonical, HTML characters escaped. Hashes are taken over these bytes
//! (compat 2.1.1, 2.1.2); nothing else needs them.

use std::{collections::BTreeMap, fmt::Write as _, sync::LazyLock};

use serde_json::Value;

use crate::quantity::Quantity;

/// How a Go type is written.
#[derive(Debug)]
enum Kind {
    Text,
    Bool,
    Int,
    Time,
    Quantity,
    IntOrString,
    /// Any JSON, kept.
    Raw,
    Struct(&'static str),
    Pointer(Box<Kind>),
    List(Box<Kind>),
    Map(Box<Kind>),
}

#[derive(Debug)]
struct Field {
    name: &'static str,
    kind: Kind,
    omit_empty: bool,
    inline: bool,
}

/// Columns: struct, JSON name, Go type, options. The first file is derived from `k8s.io/api` v0.34.1, which upstream is
/// built with; the second says the same of upstream's own canary steps (compat 2.1.2).
static STRUCTS: LazyLock<BTreeMap<&'static str, Vec<Field>>> = LazyLock::new(|| {
    let files = [
        include_str!("../data/core-v1-fields.tsv"),
        include_str!("../data/step-fields.tsv"),
    ];
    let rows: Vec<Vec<&'static str>> = files
        .iter()
        .flat_map(|file| file.lines())
        .map(|line| line.split('\t').collect())
        .collect();
    let names: BTreeMap<&'static str, ()> = rows.iter().filter_map(|row| Some((*row.first()?, ()))).collect();
    let mut structs: BTreeMap<&'static str, Vec<Field>> = BTreeMap::new();
    for row in &rows {
        if let [owner, name, go_type, options] = row[..] {
            structs.entry(owner).or_default().push(Field {
                name,
                kind: kind(go_type, &names),
                omit_empty: options.contains("omitempty"),
                inline: options == "inline",
            });
        }
    }
    structs
});

fn kind(go_type: &'static str, structs: &BTreeMap<&'static str, ()>) -> Kind {
    let inner = |rest: &'static str| Box::new(kind(rest, structs));
    if let Some(rest) = go_type.strip_prefix('*') {
        return Kind::Pointer(inner(rest));
    }
    if let Some(rest) = go_type.strip_prefix("[]") {
        return Kind::List(inner(rest));
    }
    if let Some(rest) = go_type.strip_prefix("map[string]") {
        return Kind::Map(inner(rest));
    }
    match go_type {
        "bool" => Kind::Bool,
        "int32" | "int64" => Kind::Int,
        "Time" => Kind::Time,
        "resource.Quantity" => Kind::Quantity,
        "intstr.IntOrString" => Kind::IntOrString,
        "ResourceList" => Kind::Map(Box::new(Kind::Quantity)),
        "LabelSelectorRequirement" => Kind::Struct("metav1.LabelSelectorRequirement"),
        // Never in a template: the schema prunes them.
        "json.RawMessage" | "OwnerReference" | "ManagedFieldsEntry" => Kind::Raw,
        name if structs.contains_key(name) => Kind::Struct(name),
        // All that is left are named strings such as RestartPolicy.
        _ => Kind::Text,
    }
}

/// Writes the object as Go writes the named struct. Values of another type than declared count as left out, as Go's decoder
/// leaves them.
pub(crate) fn encode(go_struct: &'static str, value: &Value) -> String {
    let mut out = String::new();
    write(&Kind::Struct(go_struct), Some(value), &mut out);
    out
}

/// The same for a list of them; [`None`] is Go's nil.
pub(crate) fn encode_list(go_struct: &'static str, items: Option<&[Value]>) -> String {
    let mut out = String::new();
    match items {
        None => out.push_str("null"),
        Some(items) => write_list(&Kind::Struct(go_struct), items, &mut out),
    }
    out
}

/// JSON names of a struct's own fields, in order.
pub(crate) fn field_names(go_struct: &str) -> impl Iterator<Item = &'static str> {
    STRUCTS.get(go_struct).into_iter().flatten().map(|field| field.name)
}

/// JSON names of a struct's fields, those of inlined structs included.
pub(crate) fn all_field_names(go_struct: &str) -> Vec<&'static str> {
    let mut names = Vec::new();
    for field in STRUCTS.get(go_struct).into_iter().flatten() {
        match (&field.kind, field.inline) {
            (Kind::Struct(inner), true) => names.extend(all_field_names(inner)),
            _ => names.push(field.name),
        }
    }
    names
}

fn given(value: Option<&Value>) -> Option<&Value> {
    value.filter(|v| !v.is_null())
}

/// Go's `omitempty`, with the zero values of what cannot be decoded.
fn is_empty(kind: &Kind, value: Option<&Value>) -> bool {
    let value = given(value);
    match kind {
        Kind::Text => value.and_then(Value::as_str).is_none_or(str::is_empty),
        Kind::Bool => value.and_then(Value::as_bool) != Some(true),
        Kind::Int => value.and_then(Value::as_i64).is_none_or(|n| n == 0),
        Kind::List(_) => value.and_then(Value::as_array).is_none_or(Vec::is_empty),
        Kind::Map(inner) => value
            .and_then(Value::as_object)
            .is_none_or(|map| !map.values().any(|v| decodes(inner, v))),
        Kind::Pointer(inner) => value.is_none_or(|v| !decodes(inner, v)),
        Kind::Time | Kind::Raw => value.is_none(),
        // Structs are never empty for Go.
        Kind::Quantity | Kind::IntOrString | Kind::Struct(_) => false,
    }
}

/// Whether Go's decoder makes something of it.
fn decodes(kind: &Kind, value: &Value) -> bool {
    match kind {
        Kind::Text | Kind::Time => value.is_string(),
        Kind::Bool => value.is_boolean(),
        Kind::Int => value.is_i64(),
        Kind::Quantity => quantity(value).is_some(),
        Kind::IntOrString => value.is_i64() || value.is_string(),
        Kind::Raw => true,
        Kind::Struct(_) | Kind::Map(_) => value.is_object(),
        Kind::List(_) => value.is_array(),
        Kind::Pointer(inner) => decodes(inner, value),
    }
}

fn quantity(value: &Value) -> Option<Quantity> {
    match value {
        Value::String(text) => Quantity::parse(text).ok(),
        Value::Number(number) => Quantity::parse(&number.to_string()).ok(),
        _ => None,
    }
}

fn write(kind: &Kind, value: Option<&Value>, out: &mut String) {
    let value = given(value);
    match kind {
        Kind::Text | Kind::Time => write_text(value.and_then(Value::as_str).unwrap_or_default(), out),
        Kind::Bool => out.push_str(if value == Some(&Value::Bool(true)) {
            "true"
        } else {
            "false"
        }),
        Kind::Int => write_int(value.and_then(Value::as_i64).unwrap_or_default(), out),
        Kind::Quantity => match value.and_then(quantity) {
            Some(quantity) => write_text(quantity.as_str(), out),
            None => out.push_str("\"0\""),
        },
        Kind::IntOrString => match value {
            Some(Value::String(text)) => write_text(text, out),
            other => write_int(other.and_then(Value::as_i64).unwrap_or_default(), out),
        },
        Kind::Raw => write_raw(value.unwrap_or(&Value::Null), out),
        Kind::Struct(name) => {
            out.push('{');
            let mut first = true;
            write_fields(name, value, &mut first, out);
            out.push('}');
        }
        Kind::Pointer(inner) => match value.filter(|v| decodes(inner, v)) {
            Some(value) => write(inner, Some(value), out),
            None => out.push_str("null"),
        },
        Kind::List(inner) => match value.and_then(Value::as_array) {
            Some(items) => write_list(inner, items, out),
            None => out.push_str("null"),
        },
        Kind::Map(inner) => match value.and_then(Value::as_object) {
            Some(map) => {
                let entries: BTreeMap<&String, &Value> = map.iter().filter(|(_, v)| decodes(inner, v)).collect();
                out.push('{');
                for (i, (key, value)) in entries.into_iter().enumerate() {
                    if i > 0 {
                        out.push(',');
                    }
                    write_text(key, out);
                    out.push(':');
                    write(inner, Some(value), out);
                }
                out.push('}');
            }
            None => out.push_str("null"),
        },
    }
}

fn write_fields(name: &str, value: Option<&Value>, first: &mut bool, out: &mut String) {
    for field in STRUCTS.get(name).into_iter().flatten() {
        if field.inline {
            if let Kind::Struct(inner) = field.kind {
                write_fields(inner, value, first, out);
            }
            continue;
        }
        let inner = value.and_then(|v| v.get(field.name));
        if field.omit_empty && is_empty(&field.kind, inner) {
            continue;
        }
        if !std::mem::take(first) {
            out.push(',');
        }
        write_text(field.name, out);
        out.push(':');
        write(&field.kind, inner, out);
    }
}

fn write_list(inner: &Kind, items: &[Value], out: &mut String) {
    out.push('[');
    for (i, item) in items.iter().enumerate() {
        if i > 0 {
            out.push(',');
        }
        write(inner, Some(item), out);
    }
    out.push(']');
}

fn write_int(number: i64, out: &mut String) {
    // Writing to a String cannot fail.
    let _ = write!(out, "{number}");
}

/// JSON of any shape, keys in the order in which it is stored (sorted).
pub(crate) fn write_raw(value: &Value, out: &mut String) {
    match value {
        Value::String(text) => write_text(text, out),
        Value::Array(items) => write_list(&Kind::Raw, items, out),
        Value::Object(map) => {
            out.push('{');
            for (i, (key, value)) in map.iter().enumerate() {
                if i > 0 {
                    out.push(',');
                }
                write_text(key, out);
                out.push(':');
                write_raw(value, out);
            }
            out.push('}');
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => out.push_str(&value.to_string()),
    }
}

/// A string literal with Go's escapes: those of JSON, and `<`, `>`, `&`, U+2028, U+2029.
fn write_text(text: &str, out: &mut String) {
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\u{8}' => out.push_str("\\b"),
            '\u{c}' => out.push_str("\\f"),
            '\0'..'\u{20}' | '<' | '>' | '&' | '\u{2028}' | '\u{2029}' => {
                let _ = write!(out, "\\u{:04x}", u32::from(c));
            }
            _ => out.push(c),
        }
    }
    out.push('"');
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn fields_stand_in_declared_order_and_structs_are_always_written() {
        let template = json!({
            "spec": {"containers": [{"image": "i", "name": "a", "unknown": 1, "stdin": false}], "hostname": ""},
            "metadata": {"labels": {"b": "2", "a": "1"}, "creationTimestamp": null},
        });
        assert_eq!(
            encode("PodTemplateSpec", &template),
            r#"{"metadata":{"labels":{"a":"1","b":"2"}},"spec":{"containers":[{"name":"a","image":"i","resources":{}}]}}"#
        );
        assert_eq!(
            encode("PodTemplateSpec", &json!({})),
            r#"{"metadata":{},"spec":{"containers":null}}"#
        );
    }

    #[test]
    fn a_value_of_another_type_counts_as_left_out() {
        let container = json!({
            "name": 7, "image": ["x"], "resources": {"requests": {"cpu": "two"}, "limits": {"cpu": "two", "memory": "1024Mi"}},
            "livenessProbe": "no", "ports": [{"containerPort": "80"}],
        });
        assert_eq!(
            encode("Container", &container),
            r#"{"name":"","ports":[{"containerPort":0}],"resources":{"limits":{"memory":"1Gi"}}}"#
        );
    }

    #[test]
    fn pointers_to_zero_values_are_written() {
        assert_eq!(
            encode("GRPCAction", &json!({"port": 1})),
            r#"{"port":1,"service":null}"#
        );
        assert_eq!(
            encode("GRPCAction", &json!({"port": 1, "service": ""})),
            r#"{"port":1,"service":""}"#
        );
        assert_eq!(
            encode("ResourceFieldSelector", &json!({"resource": "r"})),
            r#"{"resource":"r","divisor":"0"}"#
        );
    }

    #[test]
    fn every_struct_that_a_field_names_is_known() {
        for (owner, fields) in STRUCTS.iter() {
            for field in fields {
                if let Kind::Struct(name) = field.kind {
                    assert!(STRUCTS.contains_key(name), "{owner}.{} is a {name}", field.name);
                }
            }
        }
        assert!(STRUCTS.len() > 100, "only {} structs", STRUCTS.len());
    }
}
