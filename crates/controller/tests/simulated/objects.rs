//! JSON objects as the API server treats them: texts at paths, merge patches, JSON patches.

use serde_json::{Value, json};

use crate::kubernetes::Refused;

/// A text in an object, empty without one.
pub fn text<'a>(object: &'a Value, path: &str) -> &'a str {
    object.pointer(path).and_then(Value::as_str).unwrap_or_default()
}

/// RFC 7386.
pub fn merge(target: &mut Value, patch: &Value) {
    let Some(patch) = patch.as_object() else {
        *target = patch.clone();
        return;
    };
    if !target.is_object() {
        *target = json!({});
    }
    for (key, value) in patch {
        if value.is_null() {
            target.as_object_mut().unwrap().remove(key);
        } else {
            merge(&mut target[key], value);
        }
    }
}

/// RFC 6902, the operations that people and Serin use.
pub fn json_patch(target: &mut Value, patch: &Value) -> Result<(), Refused> {
    let invalid = |message: String| Refused(422, "Invalid", message);
    for operation in patch.as_array().into_iter().flatten() {
        let path = text(operation, "/path");
        let value = operation.get("value").cloned().unwrap_or_default();
        let (parent, key) = path
            .rsplit_once('/')
            .ok_or_else(|| invalid(format!("bad path {path}")))?;
        let key = key.replace("~1", "/").replace("~0", "~");
        match text(operation, "/op") {
            "test" => {
                if target.pointer(path) != Some(&value) {
                    return Err(invalid(format!("testing value {path} failed")));
                }
            }
            op @ ("add" | "replace" | "remove") => {
                let parent = target
                    .pointer_mut(parent)
                    .ok_or_else(|| invalid(format!("no {parent}")))?;
                match parent {
                    Value::Object(map) if op == "remove" => {
                        map.remove(&key);
                    }
                    Value::Object(map) => {
                        map.insert(key, value);
                    }
                    Value::Array(list) => match (op, key.parse::<usize>()) {
                        ("add", _) if key == "-" => list.push(value),
                        ("add", Ok(i)) => list.insert(i, value),
                        ("replace", Ok(i)) => list[i] = value,
                        ("remove", Ok(i)) => {
                            list.remove(i);
                        }
                        _ => return Err(invalid(format!("bad index {key}"))),
                    },
                    _ => return Err(invalid(format!("nothing below {path}"))),
                }
            }
            other => return Err(invalid(format!("operation {other} is not known here"))),
        }
    }
    Ok(())
}

/// Percent decoding, enough for selectors.
pub fn decode(text: &str) -> String {
    let mut out = Vec::new();
    let mut bytes = text.bytes();
    while let Some(b) = bytes.next() {
        match b {
            b'%' => {
                let hex: String = bytes.by_ref().take(2).map(char::from).collect();
                out.push(u8::from_str_radix(&hex, 16).unwrap_or(b'?'));
            }
            b'+' => out.push(b' '),
            b => out.push(b),
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}
