//! JSON patch (RFC 6902) as the API server's library understands it, which differs from the letter: `replace` of a missing
//! key adds it, a missing key passes a `test` for null, and negative indices count from the end.

use serde_json::{Map, Value};

use crate::Status;
use crate::schema::{bad_request, errors::unprocessable};

/// Applies a JSON patch; nothing is changed where any operation fails.
///
/// # Errors
/// 400 where the patch is not a list of objects; 422, without a word about why, where an operation does not apply.
pub fn json(object: &mut Value, patch: &Value) -> Result<(), Status> {
    let Some(operations) = patch.as_array() else {
        return Err(bad_request(format!(
            "error decoding patch: json: cannot unmarshal {} into Go value of type []handlers.jsonPatchOp",
            super::kind(patch)
        )));
    };
    if let Some(other) = operations.iter().find(|operation| !operation.is_object()) {
        return Err(bad_request(format!(
            "error decoding patch: json: cannot unmarshal {} into Go value of type handlers.jsonPatchOp",
            super::kind(other)
        )));
    }
    if operations.len() > 10_000 {
        return Err(Status {
            code: 413,
            reason: "RequestEntityTooLarge".to_owned(),
            message: format!(
                "Request entity too large: The allowed maximum operations in a JSON patch is 10000, got {}",
                operations.len()
            ),
            details: Value::Null,
        });
    }
    let mut patched = object.clone();
    for operation in operations {
        operate(&mut patched, operation).ok_or_else(unprocessable)?;
    }
    *object = patched;
    Ok(())
}

/// One operation; none where it does not apply.
fn operate(document: &mut Value, operation: &Value) -> Option<()> {
    let text = |field: &str| operation.get(field).and_then(Value::as_str);
    let value = operation.get("value");
    let path = text("path");
    match text("op")? {
        "add" => add(document, path?, value.cloned().unwrap_or(Value::Null)),
        "remove" => remove(document, path?).map(drop),
        "replace" => replace(document, path?, value.cloned().unwrap_or(Value::Null)),
        "move" => {
            let moved = remove(document, text("from")?)?;
            add(document, path?, moved)
        }
        "copy" => {
            let (container, key) = find(document, text("from")?)?;
            let copied = get(container, &key)?.cloned().unwrap_or(Value::Null);
            add(document, path?, copied)
        }
        "test" => test(document, path?, value.unwrap_or(&Value::Null)),
        _ => None,
    }
}

/// The object or list that holds the last part of a path, and that part.
fn find<'a>(document: &'a mut Value, path: &str) -> Option<(&'a mut Value, String)> {
    let mut parts: Vec<String> = path
        .split('/')
        .skip(1)
        .map(|part| part.replace("~1", "/").replace("~0", "~"))
        .collect();
    let key = parts.pop()?;
    let mut place = document;
    for part in parts {
        place = match place {
            Value::Object(map) => map.get_mut(&part)?,
            Value::Array(items) => {
                let index = index(&part, items.len(), items.len().checked_sub(1)?)?;
                items.get_mut(index)?
            }
            _ => return None,
        };
    }
    (place.is_object() || place.is_array()).then_some((place, key))
}

/// An index into a list of this length, not beyond `last`.
fn index(part: &str, length: usize, last: usize) -> Option<usize> {
    let number: i64 = part.parse().ok()?;
    let index = if number < 0 {
        usize::try_from(i64::try_from(length).ok()? + number).ok()?
    } else {
        usize::try_from(number).ok()?
    };
    (index <= last).then_some(index)
}

/// The value of a key; a missing key of an object is no value, a missing item an error.
fn get<'a>(container: &'a Value, key: &str) -> Option<Option<&'a Value>> {
    match container {
        Value::Object(map) => Some(map.get(key).filter(|value| !value.is_null())),
        Value::Array(items) => {
            let index = index(key, items.len(), items.len().checked_sub(1)?)?;
            Some(items.get(index).filter(|value| !value.is_null()))
        }
        _ => None,
    }
}

fn add(document: &mut Value, path: &str, value: Value) -> Option<()> {
    let (container, key) = find(document, path)?;
    match container {
        Value::Object(map) => {
            map.insert(key, value);
        }
        Value::Array(items) if key == "-" => items.push(value),
        Value::Array(items) => {
            let index = index(&key, items.len() + 1, items.len())?;
            items.insert(index, value);
        }
        _ => return None,
    }
    Some(())
}

fn remove(document: &mut Value, path: &str) -> Option<Value> {
    let (container, key) = find(document, path)?;
    match container {
        Value::Object(map) => map.remove(&key),
        Value::Array(items) => {
            let index = index(&key, items.len(), items.len().checked_sub(1)?)?;
            Some(items.remove(index))
        }
        _ => None,
    }
}

fn replace(document: &mut Value, path: &str, value: Value) -> Option<()> {
    if path.is_empty() {
        if !(value.is_object() || value.is_array()) {
            return None;
        }
        *document = value;
        return Some(());
    }
    let (container, key) = find(document, path)?;
    get(container, &key)?;
    match container {
        Value::Object(map) => {
            map.insert(key, value);
        }
        Value::Array(items) => {
            let index = index(&key, items.len(), items.len().checked_sub(1)?)?;
            items[index] = value;
        }
        _ => return None,
    }
    Some(())
}

fn test(document: &mut Value, path: &str, value: &Value) -> Option<()> {
    if path.is_empty() {
        return equal(document, value).then_some(());
    }
    let (container, key) = find(document, path)?;
    match get(container, &key)? {
        None => value.is_null().then_some(()),
        Some(found) => equal(found, value).then_some(()),
    }
}

fn equal(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Object(a), Value::Object(b)) => same_fields(a, b),
        _ => a == b,
    }
}

fn same_fields(a: &Map<String, Value>, b: &Map<String, Value>) -> bool {
    a.len() == b.len()
        && a.iter()
            .all(|(name, value)| b.get(name).is_some_and(|other| equal(value, other)))
}
