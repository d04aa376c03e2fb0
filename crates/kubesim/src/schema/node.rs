//! A schema, compiled once: the structural schema of a custom resource or the OpenAPI schema of a built-in kind.
//!
//! One form serves both, so that pruning, patching and server-side apply need not know which one they look at.

use std::collections::BTreeMap;
use std::sync::Arc;

use regex::Regex;
use serde_json::Value;

use super::formats::Format;

/// The JSON types a value may have; empty means any.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Types(u8);

impl Types {
    pub(crate) const OBJECT: Self = Self(1);
    pub(crate) const ARRAY: Self = Self(2);
    pub(crate) const STRING: Self = Self(4);
    pub(crate) const INTEGER: Self = Self(8);
    pub(crate) const NUMBER: Self = Self(16);
    pub(crate) const BOOLEAN: Self = Self(32);
    pub(crate) const INT_OR_STRING: Self = Self(4 | 8);

    pub(crate) fn is_any(self) -> bool {
        self.0 == 0
    }

    pub(crate) fn has(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }

    /// As messages name them.
    pub(crate) fn words(self) -> &'static str {
        match self {
            Self::OBJECT => "object",
            Self::ARRAY => "array",
            Self::STRING => "string",
            Self::INTEGER => "integer",
            Self::NUMBER => "number",
            Self::BOOLEAN => "boolean",
            Self::INT_OR_STRING => "integer,string",
            _ => "",
        }
    }

    fn parse(name: &str) -> Result<Self, String> {
        Ok(match name {
            "" => Self(0),
            "object" => Self::OBJECT,
            "array" => Self::ARRAY,
            "string" => Self::STRING,
            "integer" => Self::INTEGER,
            "number" => Self::NUMBER,
            "boolean" => Self::BOOLEAN,
            other => return Err(format!("type {other:?} is not a type of JSON schema")),
        })
    }
}

/// What may stand in an object besides its named properties.
#[derive(Clone, Debug, Default)]
pub(crate) enum Additional {
    /// Nothing is said: allowed by validation, pruned.
    #[default]
    Unsaid,
    /// `false`.
    Forbidden,
    /// `true`: allowed, without a schema.
    Any,
    /// A schema for every further value.
    Schema(Arc<Node>),
}

/// How a list is merged and what makes two items the same.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) enum ListType {
    /// As a whole.
    #[default]
    Atomic,
    /// Scalars that occur once.
    Set,
    /// Objects, told apart by the values of these fields.
    Map(Vec<String>),
}

/// How a strategic merge patch treats the field.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct PatchStrategy {
    /// Items are merged instead of the list replaced.
    pub(crate) merge: bool,
    /// Keys that the patch does not name go.
    pub(crate) retain_keys: bool,
    /// The whole object is replaced.
    pub(crate) replace: bool,
    /// The field that tells items apart; none for lists of scalars.
    pub(crate) key: Option<String>,
}

/// What becomes of the zero value of a field of the server's own types when it is written as JSON.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Zero {
    /// It stays: the field can tell empty from absent.
    #[default]
    Kept,
    /// It is left out.
    Dropped,
    /// It is written even where nothing was said.
    Written,
}

/// Limits of scalars and collections; boxed because few nodes have any.
#[derive(Clone, Debug, Default)]
pub(crate) struct Limits {
    pub(crate) minimum: Option<f64>,
    pub(crate) exclusive_minimum: bool,
    pub(crate) maximum: Option<f64>,
    pub(crate) exclusive_maximum: bool,
    pub(crate) multiple_of: Option<f64>,
    pub(crate) min_length: Option<usize>,
    pub(crate) max_length: Option<usize>,
    pub(crate) min_items: Option<usize>,
    pub(crate) max_items: Option<usize>,
    pub(crate) min_properties: Option<usize>,
    pub(crate) max_properties: Option<usize>,
    pub(crate) unique_items: bool,
    pub(crate) pattern: Option<(String, Option<Regex>)>,
    pub(crate) enumeration: Vec<Value>,
}

/// Schemas of which all, any, one or none must fit.
#[derive(Clone, Debug, Default)]
pub(crate) struct Logic {
    pub(crate) all: Vec<Node>,
    pub(crate) any: Vec<Node>,
    pub(crate) one: Vec<Node>,
    pub(crate) not: Option<Node>,
}

/// One value's schema.
#[derive(Clone, Debug, Default)]
pub struct Node {
    pub(crate) types: Types,
    pub(crate) format: Option<Format>,
    pub(crate) nullable: bool,
    pub(crate) default: Option<Value>,
    pub(crate) properties: BTreeMap<String, Arc<Node>>,
    pub(crate) additional: Additional,
    pub(crate) items: Option<Arc<Node>>,
    pub(crate) required: Vec<String>,
    pub(crate) preserve_unknown: bool,
    pub(crate) embedded: bool,
    pub(crate) list: ListType,
    pub(crate) atomic_map: bool,
    pub(crate) patch: PatchStrategy,
    pub(crate) limits: Option<Box<Limits>>,
    pub(crate) logic: Option<Box<Logic>>,
    /// The alternatives say nothing that the type does not say: they matter for the complaint only.
    pub(crate) logic_repeats: bool,
    /// The Go type behind a built-in type, as `v1.PodSpec`: decoding errors name it.
    pub(crate) go: Option<Arc<str>>,
    /// What an empty value of a built-in type's field becomes.
    pub(crate) zero: Zero,
    /// Something in here has a default.
    pub(crate) has_defaults: bool,
    /// Something in here is a set or a keyed list.
    pub(crate) has_keyed_lists: bool,
    /// Something in here is an embedded resource.
    pub(crate) has_embedded: bool,
}

impl Node {
    /// The schema of a named field.
    pub(crate) fn child(&self, name: &str) -> Option<&Arc<Node>> {
        match self.properties.get(name) {
            Some(node) => Some(node),
            None => match &self.additional {
                Additional::Schema(node) => Some(node),
                _ => None,
            },
        }
    }

    /// The schema of an item.
    pub(crate) fn item(&self) -> Option<&Node> {
        self.items.as_deref()
    }

    /// The Go type without its package.
    pub(crate) fn go_name(&self) -> Option<&str> {
        let go = self.go.as_deref()?;
        Some(go.rsplit_once('.').map_or(go, |(_, name)| name))
    }

    /// Whether a number or a text may stand here.
    pub(crate) fn is_int_or_string(&self) -> bool {
        self.types == Types::INT_OR_STRING
    }
}

/// Turns JSON schemas into [`Node`]s; references are looked up in a table of named schemas.
pub(crate) struct Compiler<'a> {
    named: Option<&'a serde_json::Map<String, Value>>,
    done: BTreeMap<String, Arc<Node>>,
    /// Names being compiled: a type that contains itself ends in anything goes.
    open: Vec<String>,
}

impl<'a> Compiler<'a> {
    /// Without references, as in a CustomResourceDefinition.
    pub(crate) fn structural() -> Self {
        Self {
            named: None,
            done: BTreeMap::new(),
            open: Vec::new(),
        }
    }

    /// With named schemas.
    pub(crate) fn with_types(named: &'a serde_json::Map<String, Value>) -> Self {
        Self {
            named: Some(named),
            ..Self::structural()
        }
    }

    /// The compiled schema of this name.
    pub(crate) fn named(&mut self, name: &str) -> Result<Arc<Node>, String> {
        if let Some(node) = self.done.get(name) {
            return Ok(node.clone());
        }
        if self.open.iter().any(|open| open == name) {
            return Ok(Arc::new(Node {
                preserve_unknown: true,
                ..Node::default()
            }));
        }
        let schema = self
            .named
            .and_then(|named| named.get(name))
            .ok_or_else(|| format!("there is no schema named {name:?}"))?;
        self.open.push(name.to_owned());
        let mut node = self.compile(schema)?;
        self.open.pop();
        let short: Vec<&str> = name.rsplit('.').take(2).collect();
        if let [kind, version] = short.as_slice() {
            node.go = Some(Arc::from(format!("{version}.{kind}")));
        }
        let node = Arc::new(node);
        self.done.insert(name.to_owned(), node.clone());
        Ok(node)
    }

    fn shared(&mut self, schema: &Value) -> Result<Arc<Node>, String> {
        match schema.get("$ref").and_then(Value::as_str) {
            Some(name) if schema.as_object().is_some_and(|map| map.len() == 1) => self.named(name),
            _ => self.compile(schema).map(Arc::new),
        }
    }

    fn list(&mut self, schema: &Value, field: &str) -> Result<Vec<Node>, String> {
        schema
            .get(field)
            .and_then(Value::as_array)
            .map_or(Ok(Vec::new()), |list| {
                list.iter().map(|each| self.compile(each)).collect()
            })
    }

    /// Compiles one schema.
    pub(crate) fn compile(&mut self, schema: &Value) -> Result<Node, String> {
        let text = |field: &str| schema.get(field).and_then(Value::as_str);
        let flag = |field: &str| schema.get(field).and_then(Value::as_bool).unwrap_or(false);
        let mut node = match text("$ref") {
            Some(name) => (*self.named(name)?).clone(),
            None => Node::default(),
        };
        if text("$ref").is_none() {
            node.types = Types::parse(text("type").unwrap_or_default())?;
            if flag("x-kubernetes-int-or-string") || text("format") == Some("int-or-string") {
                node.types = Types::INT_OR_STRING;
            } else {
                node.format = text("format").and_then(|format| Format::parse(format, node.types));
            }
        }
        match text("x-zero") {
            Some("dropped") => node.zero = Zero::Dropped,
            Some("written") => node.zero = Zero::Written,
            _ => {}
        }
        if let Some(go) = text("x-go") {
            node.go = Some(Arc::from(go));
        }
        node.nullable |= flag("nullable");
        if let Some(default) = schema.get("default") {
            node.default = Some(default.clone());
        }
        if let Some(properties) = schema.get("properties").and_then(Value::as_object) {
            for (name, property) in properties {
                let property = self.shared(property)?;
                node.properties.insert(name.clone(), property);
            }
        }
        match schema.get("additionalProperties") {
            None | Some(Value::Null) => {}
            Some(Value::Bool(true)) => node.additional = Additional::Any,
            Some(Value::Bool(false)) => node.additional = Additional::Forbidden,
            Some(schema) => node.additional = Additional::Schema(self.shared(schema)?),
        }
        if let Some(items) = schema.get("items").filter(|items| items.is_object()) {
            node.items = Some(self.shared(items)?);
        }
        if let Some(required) = schema.get("required").and_then(Value::as_array) {
            node.required = required.iter().filter_map(Value::as_str).map(str::to_owned).collect();
        }
        node.preserve_unknown |= flag("x-kubernetes-preserve-unknown-fields");
        node.embedded |= flag("x-kubernetes-embedded-resource");
        match text("x-kubernetes-list-type") {
            Some("set") => node.list = ListType::Set,
            Some("map") => {
                let keys = schema.get("x-kubernetes-list-map-keys").and_then(Value::as_array);
                node.list = ListType::Map(
                    keys.map(|keys| keys.iter().filter_map(Value::as_str).map(str::to_owned).collect())
                        .unwrap_or_default(),
                );
            }
            _ => {}
        }
        node.atomic_map |= text("x-kubernetes-map-type") == Some("atomic");
        if let Some(strategy) = text("x-kubernetes-patch-strategy") {
            for word in strategy.split(',') {
                match word {
                    "merge" => node.patch.merge = true,
                    "retainKeys" => node.patch.retain_keys = true,
                    "replace" => node.patch.replace = true,
                    _ => {}
                }
            }
        }
        if let Some(key) = text("x-kubernetes-patch-merge-key") {
            node.patch.key = Some(key.to_owned());
        }
        node.limits = limits(schema).or(node.limits);
        let logic = Logic {
            all: self.list(schema, "allOf")?,
            any: self.list(schema, "anyOf")?,
            one: self.list(schema, "oneOf")?,
            not: schema.get("not").map(|not| self.compile(not)).transpose()?,
        };
        // `anyOf: [{type: integer}, {type: string}]` beside int-or-string says the same once more.
        node.logic_repeats = logic.all.is_empty()
            && logic.one.is_empty()
            && logic.not.is_none()
            && node.is_int_or_string()
            && is_int_or_string_list(&logic.any);
        if !(logic.all.is_empty() && logic.one.is_empty() && logic.any.is_empty() && logic.not.is_none()) {
            node.logic = Some(Box::new(logic));
        }
        summarise(&mut node);
        Ok(node)
    }
}

fn is_int_or_string_list(any: &[Node]) -> bool {
    matches!(any, [a, b] if a.types == Types::INTEGER && b.types == Types::STRING && a.limits.is_none() && b.limits.is_none())
}

/// Notes on a node what its subtree holds, so that whole subtrees can be left alone later.
pub(crate) fn summarise(node: &mut Node) {
    let mut defaults = false;
    let mut keyed = node.list != ListType::Atomic;
    let mut embedded = node.embedded;
    let additional = match &node.additional {
        Additional::Schema(node) => Some(node),
        _ => None,
    };
    for child in node.properties.values().chain(additional).chain(&node.items) {
        defaults |= child.has_defaults || child.default.is_some();
        keyed |= child.has_keyed_lists;
        embedded |= child.has_embedded;
    }
    node.has_defaults = defaults;
    node.has_keyed_lists = keyed;
    node.has_embedded = embedded;
}

fn limits(schema: &Value) -> Option<Box<Limits>> {
    const FIELDS: [&str; 14] = [
        "minimum",
        "exclusiveMinimum",
        "maximum",
        "exclusiveMaximum",
        "multipleOf",
        "minLength",
        "maxLength",
        "minItems",
        "maxItems",
        "minProperties",
        "maxProperties",
        "uniqueItems",
        "pattern",
        "enum",
    ];
    if !FIELDS.iter().any(|field| schema.get(field).is_some()) {
        return None;
    }
    let number = |field: &str| schema.get(field).and_then(Value::as_f64);
    let count = |field: &str| {
        schema
            .get(field)
            .and_then(Value::as_u64)
            .and_then(|count| usize::try_from(count).ok())
    };
    let flag = |field: &str| schema.get(field).and_then(Value::as_bool).unwrap_or(false);
    Some(Box::new(Limits {
        minimum: number("minimum"),
        exclusive_minimum: flag("exclusiveMinimum"),
        maximum: number("maximum"),
        exclusive_maximum: flag("exclusiveMaximum"),
        multiple_of: number("multipleOf"),
        min_length: count("minLength"),
        max_length: count("maxLength"),
        min_items: count("minItems"),
        max_items: count("maxItems"),
        min_properties: count("minProperties"),
        max_properties: count("maxProperties"),
        unique_items: flag("uniqueItems"),
        pattern: schema
            .get("pattern")
            .and_then(Value::as_str)
            .filter(|pattern| !pattern.is_empty())
            .map(|pattern| (pattern.to_owned(), Regex::new(pattern).ok())),
        enumeration: schema
            .get("enum")
            .and_then(Value::as_array)
            .cloned()
            .unwrap_or_default(),
    }))
}
