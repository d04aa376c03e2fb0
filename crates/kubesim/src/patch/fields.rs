//! Sets of fields as `managedFields` writes them (`fieldsV1`), and what of an object they are.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use crate::schema::Node;
use crate::schema::node::{ListType, Types, Zero};

/// A set of paths: what is owned here, and further in. The keys are path elements as `fieldsV1` spells them: `f:name`,
/// `k:{"name":"x"}`, `v:"x"`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Fields {
    pub(crate) own: bool,
    pub(crate) inner: BTreeMap<String, Fields>,
}

impl Fields {
    pub(crate) fn leaf() -> Self {
        Self {
            own: true,
            inner: BTreeMap::new(),
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        !self.own && self.inner.is_empty()
    }

    fn keep(&mut self, key: String, fields: Self) {
        if !fields.is_empty() {
            self.inner.insert(key, fields);
        }
    }

    pub(crate) fn union(&self, other: &Self) -> Self {
        let mut all = self.clone();
        all.own |= other.own;
        for (key, fields) in &other.inner {
            let joined = match all.inner.get(key) {
                Some(mine) => mine.union(fields),
                None => fields.clone(),
            };
            all.inner.insert(key.clone(), joined);
        }
        all
    }

    pub(crate) fn intersection(&self, other: &Self) -> Self {
        let mut both = Self {
            own: self.own && other.own,
            inner: BTreeMap::new(),
        };
        for (key, fields) in &self.inner {
            if let Some(theirs) = other.inner.get(key) {
                both.keep(key.clone(), fields.intersection(theirs));
            }
        }
        both
    }

    pub(crate) fn difference(&self, other: &Self) -> Self {
        let mut left = Self {
            own: self.own && !other.own,
            inner: BTreeMap::new(),
        };
        for (key, fields) in &self.inner {
            match other.inner.get(key) {
                Some(theirs) => left.keep(key.clone(), fields.difference(theirs)),
                None => {
                    left.inner.insert(key.clone(), fields.clone());
                }
            }
        }
        left
    }

    /// As `fieldsV1`.
    pub(crate) fn json(&self) -> Value {
        let mut map = Map::new();
        if self.own && !self.inner.is_empty() {
            map.insert(".".to_owned(), Value::Object(Map::new()));
        }
        for (key, fields) in &self.inner {
            map.insert(key.clone(), fields.json());
        }
        Value::Object(map)
    }

    /// From `fieldsV1`.
    pub(crate) fn parse(value: &Value) -> Self {
        let mut fields = Self::parse_inner(value);
        // The root itself is never owned.
        fields.own = false;
        fields
    }

    fn parse_inner(value: &Value) -> Self {
        let Some(map) = value.as_object() else {
            return Self::default();
        };
        if map.is_empty() {
            return Self::leaf();
        }
        let mut fields = Self::default();
        for (key, inner) in map {
            if key == "." {
                fields.own = true;
            } else {
                fields.inner.insert(key.clone(), Self::parse_inner(inner));
            }
        }
        fields
    }

    /// All paths in it, as messages write them: `.spec.containers[name="x"].image`.
    pub(crate) fn paths(&self) -> Vec<String> {
        let mut paths = Vec::new();
        self.collect("", &mut paths);
        paths
    }

    fn collect(&self, place: &str, paths: &mut Vec<String>) {
        for (key, fields) in &self.inner {
            if fields.own {
                paths.push(format!("{place}{}", shown(key)));
            }
        }
        for (key, fields) in &self.inner {
            fields.collect(&format!("{place}{}", shown(key)), paths);
        }
    }
}

/// A path element as messages write it.
fn shown(key: &str) -> String {
    if let Some(name) = key.strip_prefix("f:") {
        return format!(".{name}");
    }
    if let Some(keys) = key.strip_prefix("k:") {
        let keys: Map<String, Value> = serde_json::from_str(keys).unwrap_or_default();
        let scalar = |value: &Value| match value {
            Value::Object(_) | Value::Array(_) => String::new(),
            scalar => scalar.to_string(),
        };
        let parts: Vec<String> = keys
            .iter()
            .map(|(name, value)| format!("{name}={}", scalar(value)))
            .collect();
        return format!("[{}]", parts.join(","));
    }
    if let Some(value) = key.strip_prefix("v:") {
        return format!("[={value}]");
    }
    format!("[{}]", key.trim_start_matches("i:"))
}

/// How a value takes part in merges and ownership.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Shape {
    /// As a whole.
    Leaf,
    /// Field by field.
    Map,
    /// Item by item.
    List,
}

/// The shape of a value; without a schema, objects are merged and lists are not.
pub(crate) fn shape(value: &Value, node: Option<&Node>) -> Shape {
    match value {
        Value::Object(_) => match node {
            Some(node) if node.atomic_map => Shape::Leaf,
            _ => Shape::Map,
        },
        Value::Array(_) => match node {
            Some(node) if node.list != ListType::Atomic && node.types == Types::ARRAY => Shape::List,
            _ => Shape::Leaf,
        },
        _ => Shape::Leaf,
    }
}

/// The path element of a list's item; none where the item does not say which it is.
pub(crate) fn element(item: &Value, node: &Node) -> Option<String> {
    match &node.list {
        ListType::Atomic => None,
        ListType::Set => (!item.is_object() && !item.is_array() && !item.is_null()).then(|| format!("v:{item}")),
        ListType::Map(keys) => {
            let mut found = Map::new();
            for key in keys {
                // A key that is always written is empty where nothing was said.
                let default = || {
                    let field = node.item()?.properties.get(key)?;
                    let empty = || match (field.zero, field.types) {
                        (Zero::Written, Types::STRING) => Some(Value::from("")),
                        (Zero::Written, Types::INTEGER) => Some(Value::from(0)),
                        _ => None,
                    };
                    field.default.clone().or_else(empty)
                };
                if let Some(value) = item.get(key).cloned().or_else(default) {
                    found.insert(key.clone(), value);
                }
            }
            (!found.is_empty()).then(|| format!("k:{}", Value::Object(found)))
        }
    }
}

/// Whether a field is one that the schema names.
pub(crate) fn is_named(name: &str, node: Option<&Node>) -> bool {
    node.is_some_and(|node| node.properties.contains_key(name))
}

/// What an applied configuration owns.
pub(crate) fn fields_of(value: &Value, node: Option<&Node>) -> Fields {
    match (value, shape(value, node)) {
        (Value::Object(map), Shape::Map) => {
            let mut fields = Fields::default();
            for (name, value) in map {
                let child = node.and_then(|node| node.child(name)).map(|node| &**node);
                let mut inner = fields_of(value, child);
                let empty = value.is_null() || value.as_object().is_some_and(Map::is_empty);
                inner.own |= empty || !is_named(name, node);
                fields.keep(format!("f:{name}"), inner);
            }
            fields
        }
        (Value::Array(items), Shape::List) => {
            let mut fields = Fields::default();
            for item in items {
                if let Some(key) = node.and_then(|node| element(item, node)) {
                    let mut inner = fields_of(item, node.and_then(Node::item));
                    inner.own = true;
                    fields.keep(key, inner);
                }
            }
            fields
        }
        _ => Fields::leaf(),
    }
}

/// What differs between two states of an object.
#[derive(Debug, Default)]
pub(crate) struct Comparison {
    pub(crate) added: Fields,
    pub(crate) modified: Fields,
    pub(crate) removed: Fields,
}

/// Compares two states.
pub(crate) fn compare(old: Option<&Value>, new: Option<&Value>, node: Option<&Node>) -> Comparison {
    let mut found = Comparison::default();
    if old == new {
        return found;
    }
    // Null is of whatever shape the other one is.
    let shape_of = |value: Option<&Value>| value.filter(|value| !value.is_null()).map(|value| shape(value, node));
    let empty = |value: Option<&Value>| match value {
        None | Some(Value::Null) => true,
        Some(Value::Object(map)) => map.is_empty(),
        Some(Value::Array(items)) => items.is_empty(),
        Some(_) => false,
    };
    let (left, right) = (shape_of(old), shape_of(new));
    let shape = right.or(left).unwrap_or(Shape::Leaf);
    let same_shape = left.is_none() || right.is_none() || left == right;
    if shape == Shape::Leaf || !same_shape || (empty(old) && empty(new)) {
        let leaf = Fields::leaf();
        match (old, new) {
            (None, _) => found.added = leaf,
            (_, None) => found.removed = leaf,
            _ => found.modified = leaf,
        }
        return found;
    }
    let mut inner = |key: String, old: Option<&Value>, new: Option<&Value>, node: Option<&Node>| {
        let part = compare(old, new, node);
        found.added.keep(key.clone(), part.added);
        found.modified.keep(key.clone(), part.modified);
        found.removed.keep(key, part.removed);
    };
    match shape {
        Shape::Map => {
            let map = |value: Option<&'_ Value>| value.and_then(Value::as_object).cloned();
            let (before, after) = (map(old).unwrap_or_default(), map(new).unwrap_or_default());
            let child = |name: &str| node.and_then(|node| node.child(name)).map(|node| &**node);
            for (name, value) in &after {
                inner(format!("f:{name}"), before.get(name), Some(value), child(name));
            }
            for (name, value) in before.iter().filter(|(name, _)| !after.contains_key(*name)) {
                inner(format!("f:{name}"), Some(value), None, child(name));
            }
        }
        Shape::List => {
            let Some(node) = node else { return found };
            let (before, after) = (keyed(old, node), keyed(new, node));
            for (key, value) in &after {
                inner(key.clone(), before.get(key).copied(), Some(value), node.item());
            }
            for (key, value) in before.iter().filter(|(key, _)| !after.contains_key(*key)) {
                inner(key.clone(), Some(value), None, node.item());
            }
        }
        Shape::Leaf => {}
    }
    // What holds something new is new itself where nothing was before, and gone where nothing is left.
    if old.is_none() {
        found.added.own = true;
    } else if new.is_none() {
        found.removed.own = true;
    }
    found
}

fn keyed<'a>(list: Option<&'a Value>, node: &Node) -> BTreeMap<String, &'a Value> {
    let items = list.and_then(Value::as_array).into_iter().flatten();
    items
        .filter_map(|item| element(item, node).map(|key| (key, item)))
        .collect()
}
