//! `toJSON` and `fromJSON`, as Go's encoding/json does it.

use super::{Builtin, arg};
use crate::error::Failure;
use crate::format;
use crate::limits::{Budget, MAX_JSON_DEPTH};
use crate::operators as ops;
use crate::value::{ArrayKind, MapKind, Value};

type Result<T> = std::result::Result<T, Failure>;

pub(super) fn call(which: Builtin, args: &[Value], budget: &mut Budget) -> Result<Value> {
    let v = arg(args, 0)?;
    budget.work(v.weight())?;
    if which == Builtin::ToJson {
        // Indentation can cost as much as the nesting is deep.
        budget.bytes(v.weight().saturating_mul(64))?;
        let mut out = String::new();
        write(&mut out, v, 0)?;
        return Ok(Value::str(out));
    }
    let Value::Str(text) = v else {
        return Err(ops::assertion(v, "string"));
    };
    budget.work(text.len() as u64)?;
    budget.bytes(text.len() as u64 * 16)?;
    if depth(text) > MAX_JSON_DEPTH {
        return Err(Failure::new("exceeded max depth"));
    }
    let parsed: serde_json::Value = serde_json::from_str(text).map_err(|e| Failure::new(explain(&e, text)))?;
    Value::from_json(&parsed).map_err(Failure::new)
}

/// How deep a document nests: serde_json reads it by recursion.
fn depth(text: &str) -> usize {
    let (mut open, mut most, mut quoted, mut escaped) = (0usize, 0, false, false);
    for b in text.bytes() {
        match b {
            _ if escaped => escaped = false,
            b'\\' if quoted => escaped = true,
            b'"' => quoted = !quoted,
            b'[' | b'{' if !quoted => {
                open += 1;
                most = most.max(open);
            }
            b']' | b'}' if !quoted => open = open.saturating_sub(1),
            _ => {}
        }
    }
    most
}

/// Go's wording of the commonest mistakes.
fn explain(e: &serde_json::Error, text: &str) -> String {
    if e.is_eof() {
        return "unexpected end of JSON input".into();
    }
    let line = text
        .split_inclusive('\n')
        .nth(e.line().saturating_sub(1))
        .unwrap_or_default();
    // Go reads bytes, and shows the one it stumbles over as a character.
    let found = line
        .as_bytes()
        .get(e.column().saturating_sub(1))
        .map(|b| char::from(*b));
    let what = e.to_string();
    match found {
        Some(c) if what.starts_with("trailing characters") => {
            format!("invalid character {} after top-level value", quoted(c))
        }
        Some(c) if what.starts_with("expected value") || what.starts_with("trailing comma") => {
            format!("invalid character {} looking for beginning of value", quoted(c))
        }
        Some(c) if what.starts_with("key must be a string") => {
            format!(
                "invalid character {} looking for beginning of object key string",
                quoted(c)
            )
        }
        Some(c) if what.starts_with("expected `:`") => format!("invalid character {} after object key", quoted(c)),
        Some(c) if what.starts_with("expected `,` or `]`") => {
            format!("invalid character {} after array element", quoted(c))
        }
        Some(c) if what.starts_with("expected `,` or `}`") => {
            format!("invalid character {} after object key:value pair", quoted(c))
        }
        _ => what,
    }
}

fn quoted(c: char) -> String {
    match c {
        '\'' => "'\\''".into(),
        '"' => "'\"'".into(),
        c => {
            let q = format::quote(&c.to_string());
            format!("'{}'", &q[1..q.len() - 1])
        }
    }
}

fn unsupported<T>(v: &Value) -> Result<T> {
    Err(Failure::new(format!("json: unsupported type: {}", v.type_name())))
}

fn write(out: &mut String, v: &Value, depth: usize) -> Result<()> {
    match v {
        Value::Nil => out.push_str("null"),
        Value::Bool(b) => out.push_str(if *b { "true" } else { "false" }),
        Value::Int(n) | Value::Int64(n) | Value::Duration(n) | Value::Month(n) | Value::Weekday(n) => {
            out.push_str(&n.to_string());
        }
        Value::Uint8(n) => out.push_str(&n.to_string()),
        Value::Float(f) => out.push_str(&number(*f)?),
        Value::Str(s) => string(out, s),
        Value::Bytes(b) => string(out, &super::text::encode_bytes(b)),
        Value::Array(a) if a.kind() == ArrayKind::Nil => out.push_str("null"),
        Value::Array(a) => {
            let mut entries = a.items().iter();
            enclosed(out, '[', ']', depth, a.items().len(), |out| match entries.next() {
                Some(item) => write(out, item, depth + 1),
                None => Ok(()),
            })?;
        }
        Value::Map(m) if m.kind() == MapKind::Str => {
            let mut entries = m.entries().iter();
            enclosed(out, '{', '}', depth, m.entries().len(), |out| match entries.next() {
                Some((k, item)) => {
                    string(out, &format::to_string(k.value()));
                    out.push_str(": ");
                    write(out, item, depth + 1)
                }
                None => Ok(()),
            })?;
        }
        Value::Time(t) => string(out, &t.rfc3339()),
        Value::Location(_) => out.push_str("{}"),
        Value::Map(_) | Value::Func(_) => return unsupported(v),
    }
    Ok(())
}

fn enclosed(
    out: &mut String,
    open: char,
    close: char,
    depth: usize,
    n: usize,
    mut one: impl FnMut(&mut String) -> Result<()>,
) -> Result<()> {
    out.push(open);
    for i in 0..n {
        if i > 0 {
            out.push(',');
        }
        indent(out, depth + 1);
        one(out)?;
    }
    if n > 0 {
        indent(out, depth);
    }
    out.push(close);
    Ok(())
}

fn indent(out: &mut String, depth: usize) {
    out.push('\n');
    for _ in 0..depth {
        out.push_str("  ");
    }
}

fn number(f: f64) -> Result<String> {
    if !f.is_finite() {
        return Err(Failure::new(format!("json: unsupported value: {}", format::float(f))));
    }
    let size = f.abs();
    if size != 0.0 && !(1e-6..1e21).contains(&size) {
        // One digit of exponent is enough here.
        return Ok(format::exponential(f).replace("e-0", "e-"));
    }
    Ok(format!("{f}"))
}

fn string(out: &mut String, s: &str) {
    out.push('"');
    for c in s.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\u{8}' => out.push_str("\\b"),
            '\u{c}' => out.push_str("\\f"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '<' | '>' | '&' | '\u{2028}' | '\u{2029}' | '\0'..='\u{1f}' => {
                out.push_str(&format!("\\u{:04x}", u32::from(c)));
            }
            c => out.push(c),
        }
    }
    out.push('"');
}
