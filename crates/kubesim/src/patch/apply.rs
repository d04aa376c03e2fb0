//! Server-side apply, and the upkeep of `managedFields` by all other writes.

use serde_json::{Map, Value, json};

use super::fields::{Comparison, Fields, Shape, compare, element, fields_of, is_named, shape};
use super::fits::fits;
use crate::Status;
use crate::schema::{Node, bad_request, decode};

/// What a write says of itself for the sake of `managedFields`.
#[derive(Clone, Copy, Debug)]
pub struct Manager<'a> {
    /// The manager's name.
    pub name: &'a str,
    /// `group/version` of the request.
    pub api_version: &'a str,
    /// Such as `status`, or empty.
    pub subresource: &'a str,
    /// Top-level fields that this endpoint does not set: `status` on the main one of kinds that have it as a subresource,
    /// `spec` (and for custom resources `metadata`) on that.
    pub ignored: &'a [&'a str],
    /// The moment, RFC 3339 in seconds.
    pub now: &'a str,
}

#[derive(Clone, Debug, PartialEq)]
struct Entry {
    manager: String,
    applied: bool,
    api_version: String,
    subresource: String,
    time: Option<String>,
    fields: Fields,
}

impl Entry {
    fn parse(value: &Value) -> Option<Self> {
        let text = |field: &str| value.get(field).and_then(Value::as_str).unwrap_or_default().to_owned();
        if !matches!(text("fieldsType").as_str(), "FieldsV1") {
            return None;
        }
        Some(Self {
            manager: text("manager"),
            applied: text("operation") == "Apply",
            api_version: text("apiVersion"),
            subresource: text("subresource"),
            time: value.get("time").and_then(Value::as_str).map(str::to_owned),
            fields: Fields::parse(value.get("fieldsV1")?),
        })
    }

    fn json(&self) -> Value {
        let mut entry = json!({
            "manager": self.manager,
            "operation": if self.applied { "Apply" } else { "Update" },
            "apiVersion": self.api_version,
            "fieldsType": "FieldsV1",
            "fieldsV1": self.fields.json(),
        });
        if let Some(time) = &self.time {
            entry["time"] = json!(time);
        }
        if !self.subresource.is_empty() {
            entry["subresource"] = json!(self.subresource);
        }
        entry
    }

    /// Whether a write by this manager is this entry's. Appliers keep theirs from version to version.
    fn is_of(&self, manager: &Manager<'_>, applied: bool) -> bool {
        self.manager == manager.name
            && self.applied == applied
            && self.subresource == manager.subresource
            && (applied || self.api_version == manager.api_version)
    }

    /// By what the real server tells managers apart, and in the order of which it names them: a text, in which one with a
    /// subresource comes before one without.
    fn identity(&self) -> String {
        let version = if self.applied { "" } else { self.api_version.as_str() };
        let subresource = if self.subresource.is_empty() {
            "}"
        } else {
            self.subresource.as_str()
        };
        let end = if self.subresource.is_empty() { "" } else { "," };
        format!("{:?}{}{version:?}{end}{subresource}", self.manager, !self.applied)
    }

    fn shown(&self) -> String {
        let mut text = Value::from(self.manager.as_str()).to_string();
        if !self.subresource.is_empty() {
            text = format!("{text} with subresource {}", Value::from(self.subresource.as_str()));
        }
        if !self.applied {
            text = format!("{text} using {}", self.api_version);
        }
        text
    }
}

fn entries(object: &Value) -> Vec<Entry> {
    let list = object.pointer("/metadata/managedFields").and_then(Value::as_array);
    list.into_iter().flatten().filter_map(Entry::parse).collect()
}

fn set_entries(object: &mut Value, mut entries: Vec<Entry>) {
    entries.retain(|entry| !entry.fields.is_empty());
    entries.sort_by(|a, b| {
        let key = |entry: &Entry| {
            (
                !entry.applied,
                entry.time.clone(),
                entry.manager.clone(),
                entry.api_version.clone(),
                entry.subresource.clone(),
            )
        };
        key(a).cmp(&key(b))
    });
    if let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) {
        if entries.is_empty() {
            metadata.remove("managedFields");
        } else {
            let list = entries.iter().map(Entry::json).collect();
            metadata.insert("managedFields".to_owned(), Value::Array(list));
        }
    }
}

/// What no manager ever owns.
fn stripped(fields: &Fields) -> Fields {
    const OF_METADATA: [&str; 9] = [
        "f:name",
        "f:namespace",
        "f:creationTimestamp",
        "f:selfLink",
        "f:uid",
        "f:clusterName",
        "f:generation",
        "f:managedFields",
        "f:resourceVersion",
    ];
    let mut fields = fields.clone();
    fields.own = false;
    fields.inner.remove("f:apiVersion");
    fields.inner.remove("f:kind");
    if let Some(metadata) = fields.inner.get_mut("f:metadata") {
        metadata.own = false;
        for name in OF_METADATA {
            metadata.inner.remove(name);
        }
        if metadata.is_empty() {
            fields.inner.remove("f:metadata");
        }
    }
    fields
}

fn without(mut fields: Fields, ignored: &[&str]) -> Fields {
    for name in ignored {
        fields.inner.remove(&format!("f:{name}"));
    }
    fields
}

fn differences(old: &Value, new: &Value, node: &Node, ignored: &[&str]) -> Comparison {
    let found = compare(Some(old), Some(new), Some(node));
    Comparison {
        added: without(found.added, ignored),
        modified: without(found.modified, ignored),
        removed: without(found.removed, ignored),
    }
}

/// An object of the kind in which nothing has been set: for built-in kinds with the empty values that are always written.
fn blank(api_version: &Value, kind: &Value, node: &Node) -> Value {
    let mut object = json!({"apiVersion": api_version, "kind": kind});
    if node.go.is_some() {
        // Nothing in it can be of a wrong type.
        let _ = decode::decode(&mut object, node, "");
    }
    object
}

/// An object without the record of its managers.
fn bare(object: &Value) -> Value {
    let mut object = object.clone();
    if let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) {
        metadata.remove("managedFields");
    }
    object
}

/// Notes in `new` what a write other than an apply has changed; to be called with the defaults in and before
/// [`Rules::prepare`](crate::schema::Rules::prepare). `old` is none for a new object. An object without a record does not
/// get one by this, unless it is new. What the writer says about `managedFields` itself is honoured: an empty list resets
/// them.
pub fn track(old: Option<&Value>, new: &mut Value, node: &Node, manager: &Manager<'_>) {
    let given = new
        .pointer("/metadata/managedFields")
        .and_then(Value::as_array)
        .cloned();
    let mut managers = match (&given, matches!(manager.subresource, "" | "scale")) {
        (Some(list), true) if list.is_empty() || *list == [json!({})] => Vec::new(),
        (Some(_), true) if !entries(new).is_empty() => entries(new),
        _ => old.map(entries).unwrap_or_default(),
    };
    // An object of which nothing is recorded stays so until something is applied to it.
    if managers.is_empty() && old.is_some() {
        *new = bare(new);
        return;
    }
    let after = bare(new);
    let before = old.map_or_else(|| blank(&after["apiVersion"], &after["kind"], node), bare);
    let found = differences(&before, &after, node, manager.ignored);
    let taken = found.modified.union(&found.added);
    for entry in &mut managers {
        let is_own = entry.is_of(manager, false);
        if !is_own {
            entry.fields = entry.fields.difference(&taken);
        }
        entry.fields = entry.fields.difference(&found.removed);
    }
    let own = stripped(&taken);
    if !own.is_empty() {
        match managers.iter_mut().find(|entry| entry.is_of(manager, false)) {
            Some(entry) => {
                entry.fields = entry.fields.union(&own);
                entry.time = Some(manager.now.to_owned());
            }
            None => managers.push(Entry {
                manager: manager.name.to_owned(),
                applied: false,
                api_version: manager.api_version.to_owned(),
                subresource: manager.subresource.to_owned(),
                time: Some(manager.now.to_owned()),
                fields: own,
            }),
        }
    }
    *new = after;
    set_entries(new, managers);
}

/// Applies a configuration to an object, or makes the object of it. The outcome has neither defaults nor validation yet.
///
/// # Errors
/// 400 where the configuration is not of the endpoint's version or carries `managedFields`; 409 with every conflicting
/// field where others own what it changes and `force` is not set; 500, as the real server, where it does not fit the
/// schema.
pub fn apply(
    live: Option<&Value>,
    configuration: &Value,
    node: &Node,
    manager: &Manager<'_>,
    force: bool,
) -> Result<Value, Status> {
    let text = |pointer: &str| {
        configuration
            .pointer(pointer)
            .and_then(Value::as_str)
            .unwrap_or_default()
    };
    if text("/apiVersion") != manager.api_version {
        return Err(bad_request(format!(
            "Incorrect version specified in apply patch. Specified patch version: {}, expected: {}",
            text("/apiVersion"),
            manager.api_version
        )));
    }
    if configuration
        .pointer("/metadata/managedFields")
        .is_some_and(|fields| !fields.is_null())
    {
        return Err(bad_request("metadata.managedFields must be nil"));
    }
    let mut complaints = Vec::new();
    fits(configuration, Some(node), "", &mut complaints);
    if !complaints.is_empty() {
        let list = match complaints.as_slice() {
            [one] => one.clone(),
            many => format!("errors:\n  {}", many.join("\n  ")),
        };
        let (group, version) = manager.api_version.split_once('/').unwrap_or(("", manager.api_version));
        return Err(Status {
            code: 500,
            reason: String::new(),
            message: format!(
                "failed to create typed patch object ({}/{}; {group}/{version}, Kind={}): {list}",
                text("/metadata/namespace"),
                text("/metadata/name"),
                text("/kind"),
            ),
            details: Value::Null,
        });
    }
    let before = live.map_or_else(
        || blank(&configuration["apiVersion"], &configuration["kind"], node),
        bare,
    );
    let mut managers = live.map(entries).unwrap_or_default();
    if managers.is_empty()
        && let Some(live) = live
    {
        // Who wrote an object of which nothing is recorded is not known by name.
        let nothing = blank(&live["apiVersion"], &live["kind"], node);
        let found = compare(Some(&nothing), Some(&bare(live)), Some(node));
        let all = found.added.union(&found.modified);
        managers.push(Entry {
            manager: "before-first-apply".to_owned(),
            applied: false,
            api_version: manager.api_version.to_owned(),
            subresource: String::new(),
            time: Some(manager.now.to_owned()),
            fields: stripped(&without(all, manager.ignored)),
        });
    }
    let last = managers
        .iter()
        .position(|entry| entry.is_of(manager, true))
        .map(|index| managers.remove(index));
    let owned = without(fields_of(configuration, Some(node)), manager.ignored);
    let mut merged = merge(&before, configuration, Some(node));
    if let Some(last) = &last {
        let kept = managers
            .iter()
            .fold(owned.clone(), |all, entry| all.union(&entry.fields));
        prune(&mut merged, Some(node), &last.fields, &kept);
    }
    let found = differences(&before, &merged, node, manager.ignored);
    let taken = found.modified.union(&found.added);
    let conflicts: Vec<(usize, Fields)> = managers
        .iter()
        .enumerate()
        .map(|(index, entry)| (index, entry.fields.intersection(&taken)))
        .filter(|(_, fields)| !fields.is_empty())
        .collect();
    if !force && !conflicts.is_empty() {
        let mut conflicts = conflicts;
        conflicts.sort_by_key(|(index, _)| managers[*index].identity());
        let list: Vec<(String, Vec<String>)> = conflicts
            .iter()
            .map(|(index, fields)| (managers[*index].shown(), fields.paths()))
            .collect();
        return Err(conflict(&list));
    }
    for (index, fields) in &conflicts {
        managers[*index].fields = managers[*index].fields.difference(fields);
    }
    for entry in &mut managers {
        entry.fields = entry.fields.difference(&found.removed);
    }
    let changed = merged != before;
    managers.push(Entry {
        manager: manager.name.to_owned(),
        applied: true,
        api_version: manager.api_version.to_owned(),
        subresource: manager.subresource.to_owned(),
        // The moment is that of the last apply which changed something.
        time: if changed {
            Some(manager.now.to_owned())
        } else {
            last.and_then(|last| last.time)
        },
        fields: stripped(&owned),
    });
    let mut object = merged;
    if !object["metadata"].is_object() {
        object["metadata"] = json!({});
    }
    set_entries(&mut object, managers);
    Ok(object)
}

fn conflict(list: &[(String, Vec<String>)]) -> Status {
    let count: usize = list.iter().map(|(_, paths)| paths.len()).sum();
    let causes: Vec<Value> = list
        .iter()
        .flat_map(|(manager, paths)| paths.iter().map(move |path| (manager, path)))
        .map(|(manager, path)| {
            json!({"reason": "FieldManagerConflict", "message": format!("conflict with {manager}"), "field": path})
        })
        .collect();
    let message = match list {
        [(manager, paths)] if count == 1 => {
            format!(
                "Apply failed with 1 conflict: conflict with {manager}: {}",
                paths.join("")
            )
        }
        _ => {
            let mut lines = Vec::new();
            for (manager, paths) in list {
                lines.push(format!("conflicts with {manager}:"));
                lines.extend(paths.iter().map(|path| format!("- {path}")));
            }
            format!("Apply failed with {count} conflicts: {}", lines.join("\n"))
        }
    };
    Status {
        code: 409,
        reason: "Conflict".to_owned(),
        message,
        details: json!({"causes": causes}),
    }
}

/// The live object with the configuration laid over it.
fn merge(live: &Value, configuration: &Value, node: Option<&Node>) -> Value {
    match (live, configuration) {
        (Value::Object(have), Value::Object(want)) if shape(configuration, node) == Shape::Map => {
            let mut merged: Map<String, Value> = have.clone();
            for (name, value) in want {
                let child = node.and_then(|node| node.child(name)).map(|node| &**node);
                let value = match have.get(name) {
                    Some(have) => merge(have, value, child),
                    None => value.clone(),
                };
                merged.insert(name.clone(), value);
            }
            Value::Object(merged)
        }
        (Value::Array(have), Value::Array(want)) if shape(configuration, node) == Shape::List => match node {
            Some(node) => Value::Array(merge_lists(have, want, node)),
            None => configuration.clone(),
        },
        (Value::Object(_) | Value::Array(_), Value::Null) => live.clone(),
        _ => configuration.clone(),
    }
}

/// Items of both; those of the configuration in its order, those that only the live list has where they were.
fn merge_lists(have: &[Value], want: &[Value], node: &Node) -> Vec<Value> {
    let keys = |items: &[Value]| -> Vec<Option<String>> { items.iter().map(|item| element(item, node)).collect() };
    let (left, right) = (keys(have), keys(want));
    let in_left = |key: &Option<String>| left.iter().position(|other| other == key);
    let in_right = |key: &Option<String>| right.contains(key);
    let mut shared = right.iter().filter(|key| in_left(key).is_some());
    let mut next = shared.next();
    let mut done: Vec<&Option<String>> = Vec::new();
    let mut merged = Vec::new();
    let (mut l, mut r) = (0, 0);
    let joined = |r: usize| match in_left(&right[r]) {
        Some(l) => merge(&have[l], &want[r], node.item()),
        None => want[r].clone(),
    };
    while l < have.len() || r < want.len() {
        if l < have.len() && r < want.len() {
            if left[l] == right[r] {
                done.push(&right[r]);
                merged.push(joined(r));
                (l, r, next) = (l + 1, r + 1, shared.next());
                continue;
            }
            if in_right(&left[l]) && next.is_some_and(|next| *next != left[l]) {
                l += 1;
                continue;
            }
        }
        if l < have.len() {
            if !in_right(&left[l]) {
                merged.push(have[l].clone());
                l += 1;
                continue;
            }
            if done.contains(&&left[l]) {
                l += 1;
            }
        }
        if r < want.len() {
            done.push(&right[r]);
            merged.push(joined(r));
            if next == Some(&right[r]) {
                next = shared.next();
            }
            r += 1;
        }
    }
    merged
}

/// Takes out what the applier owned before and nobody owns now.
fn prune(value: &mut Value, node: Option<&Node>, last: &Fields, kept: &Fields) {
    let nothing = Fields::default();
    match value {
        Value::Object(map) => {
            for (key, fields) in &last.inner {
                let Some(name) = key.strip_prefix("f:") else { continue };
                let child = node.and_then(|node| node.child(name)).map(|node| &**node);
                let still = kept.inner.get(key).unwrap_or(&nothing);
                if still.is_empty() && (fields.own || is_named(name, node)) {
                    map.remove(name);
                } else if let Some(value) = map.get_mut(name) {
                    prune(value, child, fields, still);
                }
            }
        }
        Value::Array(items) => {
            let Some(node) = node else { return };
            items.retain_mut(|item| {
                let Some(key) = element(item, node) else { return true };
                let Some(fields) = last.inner.get(&key) else {
                    return true;
                };
                let still = kept.inner.get(&key).unwrap_or(&nothing);
                if still.is_empty() && fields.own {
                    return false;
                }
                prune(item, node.item(), fields, still);
                true
            });
        }
        _ => {}
    }
}
