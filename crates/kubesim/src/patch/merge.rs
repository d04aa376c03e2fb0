//! JSON merge patch (RFC 7386), with what the API server's library adds: nulls inside of new lists' objects go, too.

use serde_json::Value;

use crate::Status;
use crate::schema::bad_request;

/// Applies a merge patch.
///
/// # Errors
/// 400 where the patch is not an object.
pub fn merge(object: &mut Value, patch: &Value) -> Result<(), Status> {
    match patch {
        Value::Object(_) => {}
        Value::Null => return Err(bad_request("Invalid JSON Patch")),
        other => {
            return Err(bad_request(format!(
                "error decoding patch: json: cannot unmarshal {} into Go value of type map[string]interface {{}}",
                super::kind(other)
            )));
        }
    }
    apply(object, patch);
    Ok(())
}

fn apply(target: &mut Value, patch: &Value) {
    let Value::Object(changes) = patch else {
        let was_object = target.is_object();
        *target = patch.clone();
        if !was_object {
            without_nulls(target);
        }
        return;
    };
    let Value::Object(map) = target else {
        *target = patch.clone();
        without_nulls(target);
        return;
    };
    for (name, change) in changes {
        if change.is_null() {
            map.remove(name);
            continue;
        }
        match map.get_mut(name) {
            Some(value) if !value.is_null() => apply(value, change),
            _ => {
                let mut value = change.clone();
                without_nulls(&mut value);
                map.insert(name.clone(), value);
            }
        }
    }
}

/// Takes nulls out of objects, at any depth; those that are items of lists stay.
fn without_nulls(value: &mut Value) {
    match value {
        Value::Object(map) => {
            map.retain(|_, value| !value.is_null());
            map.values_mut().for_each(without_nulls);
        }
        Value::Array(items) => items.iter_mut().for_each(without_nulls),
        _ => {}
    }
}
