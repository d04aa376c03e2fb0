//! Strategic merge patch, of built-in kinds only: lists are merged by the keys that the kind's schema names, and the patch
//! may hold directives (`$patch`, `$retainKeys`, `$setElementOrder/…`, `$deleteFromPrimitiveList/…`).

use serde_json::{Map, Value};

use crate::Status;
use crate::schema::{Node, bad_request};

const PATCH: &str = "$patch";
const RETAIN: &str = "$retainKeys";
const ORDER: &str = "$setElementOrder/";
const DELETE: &str = "$deleteFromPrimitiveList/";

/// Applies a strategic merge patch.
///
/// # Errors
/// 400 where a directive is malformed; 500, as the real server, where a list's items do not say which they are.
pub fn strategic(object: &mut Value, patch: &Value, node: &Node) -> Result<(), Status> {
    let Value::Object(changes) = patch else {
        return Err(bad_request(format!(
            "json: cannot unmarshal {} into Go value of type map[string]interface {{}}",
            super::kind(patch)
        )));
    };
    let Value::Object(map) = object else {
        return Err(bad_request("Invalid JSON document"));
    };
    let mut merged = map.clone();
    merge_map(&mut merged, changes, Some(node))?;
    *map = merged;
    Ok(())
}

fn internal(message: impl Into<String>) -> Status {
    Status {
        code: 500,
        reason: String::new(),
        message: message.into(),
        details: Value::Null,
    }
}

fn merge_map(original: &mut Map<String, Value>, patch: &Map<String, Value>, node: Option<&Node>) -> Result<(), Status> {
    match patch.get(PATCH) {
        None => {}
        Some(directive) if directive == "replace" => {
            *original = patch.clone();
            original.remove(PATCH);
            return Ok(());
        }
        Some(directive) if directive == "delete" => {
            original.clear();
            return Ok(());
        }
        Some(other) => return Err(unknown_directive(other, patch)),
    }
    retain_keys(original, patch)?;
    let mut done: Vec<&str> = Vec::new();
    for (name, order) in patch {
        let Some(list) = name.strip_prefix(ORDER) else { continue };
        let Value::Array(order) = order else {
            return Err(bad_request("invalid patch format of setElementOrder list"));
        };
        done.push(list);
        ordered(original, list, patch.get(list), order, node)?;
    }
    for (name, change) in patch {
        if name == RETAIN || name.starts_with(ORDER) || done.contains(&name.as_str()) {
            continue;
        }
        if let Some(list) = name.strip_prefix(DELETE) {
            if let (Some(Value::Array(items)), Value::Array(gone)) = (original.get_mut(list), change) {
                items.retain(|item| !gone.contains(item));
            }
            continue;
        }
        if change.is_null() {
            original.remove(name);
            continue;
        }
        let child = node.and_then(|node| node.child(name)).map(|node| &**node);
        match (original.get_mut(name), change) {
            (Some(Value::Object(map)), Value::Object(change)) => {
                if child.is_some_and(|child| child.patch.replace) {
                    map.clone_from(change);
                } else {
                    merge_map(map, change, child)?;
                }
            }
            (Some(Value::Array(items)), Value::Array(change)) => {
                let merged = match child {
                    Some(child) if child.patch.merge => merge_list(std::mem::take(items), change, child, name)?,
                    _ => change.clone(),
                };
                *items = merged;
            }
            _ => match cleaned(change) {
                Some(value) => {
                    original.insert(name.clone(), value);
                }
                None => {
                    original.remove(name);
                }
            },
        }
    }
    Ok(())
}

fn unknown_directive(directive: &Value, patch: &Map<String, Value>) -> Status {
    let word = directive.as_str().map_or_else(|| directive.to_string(), str::to_owned);
    internal(format!(
        "unknown patch type: {word} in map: {}",
        printed(&Value::Object(patch.clone()))
    ))
}

/// A value as Go prints it.
fn printed(value: &Value) -> String {
    match value {
        Value::Null => "<nil>".to_owned(),
        Value::String(text) => text.clone(),
        Value::Array(items) => {
            let parts: Vec<String> = items.iter().map(printed).collect();
            format!("[{}]", parts.join(" "))
        }
        Value::Object(map) => {
            let parts: Vec<String> = map
                .iter()
                .map(|(name, value)| format!("{name}:{}", printed(value)))
                .collect();
            format!("map[{}]", parts.join(" "))
        }
        other => other.to_string(),
    }
}

/// What of a patch stays where there is nothing to merge it with: no directives, and no nulls.
fn cleaned(patch: &Value) -> Option<Value> {
    match patch {
        Value::Object(map) => {
            if map.get(PATCH).is_some_and(|directive| directive == "delete") {
                return None;
            }
            let kept = map
                .iter()
                .filter(|(name, value)| !name.starts_with('$') && !value.is_null())
                .filter_map(|(name, value)| cleaned(value).map(|value| (name.clone(), value)));
            Some(Value::Object(kept.collect()))
        }
        Value::Array(items) => {
            let kept = items.iter().filter(|item| {
                // A list's own directive is an item.
                item.as_object()
                    .is_none_or(|map| !(map.len() == 1 && map.contains_key(PATCH)))
            });
            Some(Value::Array(kept.filter_map(cleaned).collect()))
        }
        other => Some(other.clone()),
    }
}

fn retain_keys(original: &mut Map<String, Value>, patch: &Map<String, Value>) -> Result<(), Status> {
    const MALFORMED: &str = "invalid patch format of retainKeys";
    let Some(keys) = patch.get(RETAIN) else { return Ok(()) };
    let Value::Array(keys) = keys else {
        return Err(bad_request(MALFORMED));
    };
    let retained = |name: &str| keys.iter().any(|key| key == name);
    for (name, value) in patch {
        if !name.starts_with('$') && !value.is_null() && !retained(name) {
            return Err(bad_request(MALFORMED));
        }
    }
    original.retain(|name, _| retained(name));
    Ok(())
}

fn key_of(item: &Value, key: &str) -> Result<Value, Status> {
    item.get(key).cloned().ok_or_else(|| {
        internal(format!(
            "map: {} does not contain declared merge key: {key}",
            printed(item)
        ))
    })
}

fn merge_list(original: Vec<Value>, patch: &[Value], node: &Node, name: &str) -> Result<Vec<Value>, Status> {
    let first = original.iter().chain(patch).next();
    if !first.is_some_and(Value::is_object) {
        let before = original.clone();
        let mut merged = original;
        for item in patch {
            if !merged.contains(item) {
                merged.push(item.clone());
            }
        }
        let (mut named, others) = partition(merged, patch, |item| Ok(item.clone()))?;
        sort_by(&mut named, patch);
        return Ok(interleave(others, named, &before, &Value::clone));
    }
    let Some(key) = node.patch.key.as_deref() else {
        return Err(internal(format!("cannot merge lists without merge key for {name}")));
    };
    let mut original = original;
    let mut plain: Vec<&Value> = Vec::new();
    let mut replace = false;
    for item in patch {
        match item.get(PATCH) {
            None => plain.push(item),
            Some(directive) if directive == "delete" => {
                let wanted = key_of(item, key)?;
                original.retain(|item| item.get(key) != Some(&wanted));
            }
            Some(directive) if directive == "replace" => replace = true,
            Some(directive) if directive == "merge" => {
                return Err(internal("merging lists cannot yet be specified in the patch"));
            }
            Some(other) => {
                return Err(unknown_directive(other, &item.as_object().cloned().unwrap_or_default()));
            }
        }
    }
    if replace {
        return Ok(plain.into_iter().filter_map(cleaned).collect());
    }
    let before = original.clone();
    let mut merged = original;
    for item in &plain {
        let wanted = key_of(item, key)?;
        match merged.iter_mut().find(|have| have.get(key) == Some(&wanted)) {
            Some(Value::Object(map)) => {
                let Value::Object(change) = item else { continue };
                merge_map(map, change, node.item())?;
            }
            _ => merged.extend(cleaned(item)),
        }
    }
    let order: Vec<Value> = plain.iter().map(|item| key_of(item, key)).collect::<Result<_, _>>()?;
    let (mut named, others) = partition(merged, &order, |item| key_of(item, key))?;
    let place = |item: &Value| order.iter().position(|key_| Some(key_) == item.get(key));
    named.sort_by_key(|item| place(item));
    Ok(interleave(others, named, &before, &|item| {
        item.get(key).cloned().unwrap_or(Value::Null)
    }))
}

/// Items that the patch names, and all others.
fn partition(
    items: Vec<Value>,
    named: &[Value],
    key: impl Fn(&Value) -> Result<Value, Status>,
) -> Result<(Vec<Value>, Vec<Value>), Status> {
    let mut parts = (Vec::new(), Vec::new());
    for item in items {
        if named.contains(&key(&item)?) {
            parts.0.push(item);
        } else {
            parts.1.push(item);
        }
    }
    Ok(parts)
}

fn sort_by(items: &mut [Value], order: &[Value]) {
    items.sort_by_key(|item| order.iter().position(|other| other == item));
}

/// Puts the items that only the server has between those of the patch: before the first one that the server had after them.
fn interleave(others: Vec<Value>, named: Vec<Value>, before: &[Value], key: &dyn Fn(&Value) -> Value) -> Vec<Value> {
    let order: Vec<Value> = before.iter().map(key).collect();
    let place = |item: &Value| order.iter().position(|other| *other == key(item));
    let mut others = others.into_iter().peekable();
    let mut named = named.into_iter().peekable();
    let mut all = Vec::new();
    loop {
        let next = match (others.peek(), named.peek()) {
            (None, _) => named.next(),
            (Some(_), None) => others.next(),
            (Some(other), Some(name)) => match (place(other), place(name)) {
                (Some(a), Some(b)) if a < b => others.next(),
                _ => named.next(),
            },
        };
        match next {
            Some(item) => all.push(item),
            None => return all,
        }
    }
}

/// Merges a list for which the patch says an order.
fn ordered(
    original: &mut Map<String, Value>,
    name: &str,
    change: Option<&Value>,
    order: &[Value],
    node: Option<&Node>,
) -> Result<(), Status> {
    let child = node.and_then(|node| node.child(name)).map(|node| &**node);
    let key = child.and_then(|child| child.patch.key.as_deref());
    let had: Vec<Value> = original
        .get(name)
        .and_then(Value::as_array)
        .cloned()
        .unwrap_or_default();
    let merged = match (original.get(name), change) {
        (None, None) => return Ok(()),
        (Some(_), None) => had.clone(),
        (None, Some(change)) => match cleaned(change) {
            Some(Value::Array(items)) => items,
            _ => return Ok(()),
        },
        (Some(_), Some(Value::Array(change))) => match child {
            Some(child) if child.patch.merge => merge_list(had.clone(), change, child, name)?,
            _ => change.clone(),
        },
        (Some(_), Some(_)) => return Err(bad_request("invalid patch format of setElementOrder list")),
    };
    let key_in = |item: &Value| match key {
        Some(key) => item.get(key).cloned().unwrap_or(Value::Null),
        None => item.clone(),
    };
    let wanted: Vec<Value> = order.iter().map(key_in).collect();
    let (mut named, others) = partition(merged, &wanted, |item| Ok(key_in(item)))?;
    named.sort_by_key(|item| wanted.iter().position(|other| *other == key_in(item)));
    original.insert(name.to_owned(), Value::Array(interleave(others, named, &had, &key_in)));
    Ok(())
}
