//! YAML of a JSON value: block style, but whatever fits into a line is written in one (flow style, which is JSON).

use serde_json::Value;

const WIDTH: usize = 110;

pub(super) fn write(value: &Value) -> String {
    let mut out = String::new();
    block(value, 0, &mut out);
    out
}

fn block(value: &Value, indent: usize, out: &mut String) {
    match value {
        Value::Object(map) => {
            for (key, inner) in map {
                pad(indent, out);
                entry(key, inner, indent, out);
            }
        }
        Value::Array(items) => {
            for item in items {
                pad(indent, out);
                out.push_str("- ");
                match item {
                    Value::Object(map) if !fits(item, indent + 2) => {
                        for (i, (key, inner)) in map.iter().enumerate() {
                            if i > 0 {
                                pad(indent + 2, out);
                            }
                            entry(key, inner, indent + 2, out);
                        }
                    }
                    _ => line(item, out),
                }
            }
        }
        scalar => line(scalar, out),
    }
}

fn entry(key: &str, value: &Value, indent: usize, out: &mut String) {
    out.push_str(&plain(key));
    out.push(':');
    if fits(value, indent + key.len() + 2) {
        out.push(' ');
        line(value, out);
    } else {
        out.push('\n');
        block(value, indent + 2, out);
    }
}

fn pad(indent: usize, out: &mut String) {
    out.extend(std::iter::repeat_n(' ', indent));
}

fn line(value: &Value, out: &mut String) {
    out.push_str(&flow(value));
    out.push('\n');
}

fn fits(value: &Value, column: usize) -> bool {
    !value.is_object() && !value.is_array() || column + flow(value).len() <= WIDTH
}

fn flow(value: &Value) -> String {
    match value {
        Value::Object(map) => {
            let parts: Vec<String> = map.iter().map(|(k, v)| format!("{}: {}", plain(k), flow(v))).collect();
            format!("{{{}}}", parts.join(", "))
        }
        Value::Array(items) => {
            let parts: Vec<String> = items.iter().map(flow).collect();
            format!("[{}]", parts.join(", "))
        }
        Value::String(text) => plain(text),
        other => other.to_string(),
    }
}

/// A word that no YAML reader takes for anything but a string needs no quotes.
fn plain(text: &str) -> String {
    let word = text.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_./".contains(&b));
    let begins = text.bytes().next().is_some_and(|b| b.is_ascii_alphabetic());
    let reserved =
        ["true", "false", "null", "yes", "no", "on", "off", "y", "n"].contains(&text.to_lowercase().as_str());
    if word && begins && !reserved {
        return text.to_owned();
    }
    Value::String(text.to_owned()).to_string()
}
