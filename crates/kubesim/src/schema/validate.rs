//! Validation of a value against a compiled schema, with the API server's sentences.
//!
//! Rules in the Common Expression Language (`x-kubernetes-validations`) are not evaluated.

use std::borrow::Cow;

use serde_json::Value;

use super::errors::{FieldError, quoted};
use super::node::{Additional, Limits, ListType, Logic, Node, Types};
use super::structural::{Step, path};

/// Validates `value`; complaints about parts that equal the same part of `old` are not repeated (ratcheting).
/// `prefix` is the field under which the value stands (`status`), which the sentences inside do not know.
pub(crate) fn validate(value: &Value, old: Option<&Value>, node: &Node, prefix: &str) -> Vec<FieldError> {
    let mut run = Run {
        errors: Vec::new(),
        prefix,
        steps: Vec::with_capacity(16),
        matches: 0,
    };
    run.check(value, old, node);
    run.errors
}

struct Run<'a> {
    errors: Vec<FieldError>,
    prefix: &'a str,
    steps: Vec<Step<'a>>,
    /// How many checks went well: chooses which alternative of `anyOf` and `oneOf` is complained about.
    matches: usize,
}

impl<'a> Run<'a> {
    fn add(&mut self, error: FieldError) {
        if !self.errors.contains(&error) {
            self.errors.push(error);
        }
    }

    fn name(&self) -> String {
        path(&self.steps)
    }

    fn field(&self) -> String {
        self.field_of(&self.name())
    }

    fn field_of(&self, name: &str) -> String {
        match (self.prefix, name) {
            ("", "") => "<nil>".to_owned(),
            ("", name) => name.to_owned(),
            (prefix, "") => prefix.to_owned(),
            (prefix, name) => format!("{prefix}.{name}"),
        }
    }

    /// A complaint for which the server has no field.
    fn add_general(&mut self, detail: String) {
        let field = if self.prefix.is_empty() { "<nil>" } else { self.prefix };
        self.add(FieldError::invalid(field, "", detail));
    }

    fn add_detail(&mut self, value: impl Into<Value>, words: &str) {
        let detail = format!("{} in body {words}", self.name());
        self.add(FieldError::invalid(self.field(), value, detail));
    }

    fn check(&mut self, value: &'a Value, old: Option<&'a Value>, node: &'a Node) {
        let before = self.errors.len();
        self.check_type(value, node);
        if !value.is_null() {
            if let Some(logic) = &node.logic
                && !(node.logic_repeats && self.errors.len() == before)
            {
                self.check_logic(value, old, logic);
            }
            match value {
                Value::String(text) => self.check_text(text, node),
                Value::Number(_) => self.check_number(value, node),
                Value::Array(items) => self.check_items(items, old, node),
                Value::Object(map) => self.check_fields(map, old, node),
                Value::Bool(_) | Value::Null => {}
            }
        }
        if let Some(limits) = node.limits.as_deref().filter(|limits| !limits.enumeration.is_empty()) {
            if limits.enumeration.iter().any(|allowed| same(allowed, value)) {
                self.matches += 1;
            } else {
                let allowed = limits.enumeration.iter().map(|allowed| match allowed {
                    Value::String(text) => Cow::Borrowed(text.as_str()),
                    other => Cow::Owned(other.to_string()),
                });
                let error = FieldError::not_supported(self.field(), value.clone(), allowed);
                self.add(error);
            }
        }
        if self.errors.len() > before && old == Some(value) {
            self.errors.truncate(before);
        }
    }

    fn check_type(&mut self, value: &Value, node: &Node) {
        let types = node.types;
        if types.is_any() {
            return;
        }
        if value.is_null() {
            if !node.nullable {
                self.wrong_type(types.words(), "null");
            }
            return;
        }
        let integral =
            matches!(value, Value::Number(number) if number.as_f64().is_some_and(|float| float.fract() == 0.0));
        let (name, fits) = match value {
            Value::Object(_) => ("object", types.has(Types::OBJECT)),
            Value::Array(_) => ("array", types.has(Types::ARRAY)),
            Value::String(_) => ("string", types.has(Types::STRING)),
            Value::Bool(_) => ("boolean", types.has(Types::BOOLEAN)),
            Value::Number(number) if number.is_f64() => (
                "number",
                types.has(Types::NUMBER) || (integral && types.has(Types::INTEGER)),
            ),
            Value::Number(_) => ("integer", types.has(Types::INTEGER) || types.has(Types::NUMBER)),
            Value::Null => ("null", false),
        };
        if fits {
            self.matches += 1;
            return;
        }
        match node.format {
            // The server then speaks of the format instead of the type.
            Some(format) if !matches!(value, Value::String(_) | Value::Array(_)) => {
                let found = match value {
                    Value::Number(number) if number.is_f64() => "float64",
                    Value::Number(_) => "int64",
                    _ => "",
                };
                self.wrong_type(format.name(), found);
            }
            _ => self.wrong_type(types.words(), name),
        }
    }

    fn wrong_type(&mut self, expected: &str, found: &str) {
        let detail = format!("{} in body must be of type {expected}: {}", self.name(), quoted(found));
        self.add(FieldError::type_invalid(self.field(), found, detail));
    }

    fn check_text(&mut self, text: &str, node: &Node) {
        if let Some(limits) = node.limits.as_deref() {
            let length = || text.chars().count();
            if let Some(limit) = limits
                .max_length
                .filter(|limit| text.len() > *limit && length() > *limit)
            {
                self.add(FieldError::too_long(self.field(), limit));
            } else if let Some(limit) = limits.min_length.filter(|limit| length() < *limit) {
                self.add_detail(text, &format!("should be at least {limit} chars long"));
            } else if let Some((pattern, regex)) = &limits.pattern {
                match regex {
                    Some(regex) if regex.is_match(text) => {}
                    Some(_) => self.add_detail(text, &format!("should match '{pattern}'")),
                    None => self.add_detail(text, &format!("should match '{pattern}, but pattern is invalid'")),
                }
            }
        }
        if let Some(format) = node
            .format
            .filter(|format| !format.is_numeric() && !format.accepts(text))
        {
            let detail = format!(
                "{} in body must be of type {}: {}",
                self.name(),
                format.name(),
                quoted(text)
            );
            self.add(FieldError::type_invalid(self.field(), text, detail));
        }
    }

    fn check_number(&mut self, value: &Value, node: &Node) {
        if let Some(format) = node.format {
            let (fits, kind) = match format {
                super::formats::Format::Int32 => (
                    value.as_i64().is_some_and(|number| i32::try_from(number).is_ok())
                        || value.as_f64().is_some_and(|number| {
                            value.is_f64() && number.fract() == 0.0 && number.abs() <= f64::from(i32::MAX)
                        }),
                    "integer",
                ),
                super::formats::Format::Int64 => (
                    value.as_i64().is_some()
                        || value
                            .as_f64()
                            .is_some_and(|number| value.is_f64() && number.fract() == 0.0),
                    "integer",
                ),
                _ => (true, "number"),
            };
            if !fits {
                let text = format!(
                    "Checked value must be of type {kind} with format {} in {}",
                    format.name(),
                    self.name()
                );
                self.add_general(text);
            }
        }
        let (Some(limits), Some(number)) = (node.limits.as_deref(), value.as_f64()) else {
            return;
        };
        if let Some(factor) = limits.multiple_of
            && factor > 0.0
            && (number / factor).fract() != 0.0
        {
            self.add_detail(value.clone(), &format!("should be a multiple of {factor}"));
        }
        if let Some(limit) = limits.maximum {
            if limits.exclusive_maximum && number >= limit {
                self.add_detail(value.clone(), &format!("should be less than {limit}"));
            } else if number > limit {
                self.add_detail(value.clone(), &format!("should be less than or equal to {limit}"));
            }
        }
        if let Some(limit) = limits.minimum {
            if limits.exclusive_minimum && number <= limit {
                self.add_detail(value.clone(), &format!("should be greater than {limit}"));
            } else if number < limit {
                self.add_detail(value.clone(), &format!("should be greater than or equal to {limit}"));
            }
        }
    }

    fn check_items(&mut self, items: &'a [Value], old: Option<&'a Value>, node: &'a Node) {
        if let Some(item) = node.item() {
            for (index, value) in items.iter().enumerate() {
                self.steps.push(Step::Index(index));
                self.check(value, same_item(value, old, node), item);
                self.steps.pop();
            }
        }
        let Some(limits) = node.limits.as_deref() else { return };
        let length = items.len();
        if let Some(limit) = limits.min_items.filter(|limit| length < *limit) {
            self.add_detail(length, &format!("should have at least {limit} items"));
        }
        if let Some(limit) = limits.max_items.filter(|limit| length > *limit) {
            self.add(FieldError::too_many(self.field(), length, limit));
        }
        if limits.unique_items && (1..length).any(|index| items[..index].contains(&items[index])) {
            self.add_detail("", "shouldn't contain duplicates");
        }
    }

    fn check_fields(&mut self, map: &'a serde_json::Map<String, Value>, old: Option<&'a Value>, node: &'a Node) {
        let limits: Option<&Limits> = node.limits.as_deref();
        if let Some(limit) = limits
            .and_then(|limits| limits.min_properties)
            .filter(|limit| map.len() < *limit)
        {
            self.add_detail(map.len(), &format!("should have at least {limit} properties"));
        }
        if let Some(limit) = limits
            .and_then(|limits| limits.max_properties)
            .filter(|limit| map.len() > *limit)
        {
            self.add(FieldError::too_many(self.field(), map.len(), limit));
        }
        for (name, value) in map {
            let child = match node.child(name) {
                Some(child) => child,
                None => {
                    if matches!(node.additional, Additional::Forbidden) {
                        let place = self.name();
                        let detail = format!("{place}.{name} in body is a forbidden property");
                        self.add(FieldError::invalid(self.field(), name.as_str(), detail));
                    }
                    continue;
                }
            };
            self.steps.push(Step::Field(name));
            self.check(value, old.and_then(|old| old.get(name)), child);
            self.steps.pop();
        }
        for name in &node.required {
            if map.contains_key(name) {
                self.matches += 1;
            } else {
                let place = self.name();
                let name = if place.is_empty() {
                    name.clone()
                } else {
                    format!("{place}.{name}")
                };
                self.add(FieldError::required(self.field_of(&name), ""));
            }
        }
    }

    /// Checks an alternative aside; what it complained about and how much of it fitted.
    fn aside(&mut self, value: &'a Value, old: Option<&'a Value>, node: &'a Node) -> (Vec<FieldError>, usize) {
        let mut errors = std::mem::take(&mut self.errors);
        let matches = std::mem::take(&mut self.matches);
        self.check(value, old, node);
        std::mem::swap(&mut errors, &mut self.errors);
        (errors, std::mem::replace(&mut self.matches, matches))
    }

    fn check_logic(&mut self, value: &'a Value, old: Option<&'a Value>, logic: &'a Logic) {
        let place = quoted(&self.name());
        let mut closest: Option<(Vec<FieldError>, usize)> = None;
        let nearer = |closest: &mut Option<(Vec<FieldError>, usize)>, found: (Vec<FieldError>, usize)| {
            if closest.as_ref().is_none_or(|(_, matches)| found.1 > *matches) {
                *closest = Some(found);
            }
        };
        if !logic.any.is_empty() {
            let fits = logic.any.iter().any(|node| {
                let found = self.aside(value, old, node);
                let fits = found.0.is_empty();
                if !fits {
                    nearer(&mut closest, found);
                }
                fits
            });
            if !fits {
                self.add_general(format!("{place} must validate at least one schema (anyOf)"));
                self.add_all(closest.take());
            }
            closest = None;
        }
        if !logic.one.is_empty() {
            let mut fitting = 0;
            for node in &logic.one {
                let found = self.aside(value, old, node);
                if found.0.is_empty() {
                    fitting += 1;
                    closest = None;
                } else if fitting == 0 {
                    nearer(&mut closest, found);
                }
            }
            if fitting != 1 {
                let found = match fitting {
                    0 => "Found none valid".to_owned(),
                    many => format!("Found {many} valid alternatives"),
                };
                self.add_general(format!(
                    "{place} must validate one and only one schema (oneOf). {found}"
                ));
                self.add_all(closest.take());
            }
        }
        let mut fitting = 0;
        for node in &logic.all {
            let (errors, matches) = self.aside(value, old, node);
            self.matches += matches;
            fitting += usize::from(errors.is_empty());
            self.add_all(Some((errors, matches)));
        }
        if fitting != logic.all.len() {
            let more = if fitting == 0 { ". None validated" } else { "" };
            self.add_general(format!("{place} must validate all the schemas (allOf){more}"));
        }
        if let Some(not) = &logic.not
            && self.aside(value, old, not).0.is_empty()
        {
            self.add_general(format!("{place} must not validate the schema (not)"));
        }
    }

    fn add_all(&mut self, found: Option<(Vec<FieldError>, usize)>) {
        for error in found.map(|(errors, _)| errors).unwrap_or_default() {
            self.add(error);
        }
    }
}

/// Numbers are the same whether written with a fraction of nought or without.
fn same(a: &Value, b: &Value) -> bool {
    a == b || (a.is_number() && b.is_number() && a.as_f64() == b.as_f64())
}

/// The item of the old list that this one was, where items can be told apart.
fn same_item<'a>(value: &Value, old: Option<&'a Value>, node: &Node) -> Option<&'a Value> {
    let ListType::Map(keys) = &node.list else { return None };
    old?.as_array()?
        .iter()
        .find(|item| keys.iter().all(|key| item.get(key) == value.get(key)))
}

/// Checks that sets and keyed lists hold nothing twice.
pub(crate) fn check_keyed_lists(value: &Value, node: &Node) -> Vec<FieldError> {
    let mut errors = Vec::new();
    keyed_lists(value, node, &mut Vec::new(), &mut errors);
    errors
}

fn keyed_lists<'a>(value: &'a Value, node: &'a Node, steps: &mut Vec<Step<'a>>, errors: &mut Vec<FieldError>) {
    if !node.has_keyed_lists {
        return;
    }
    match value {
        Value::Array(items) => {
            let keys: Vec<Value> = match &node.list {
                ListType::Atomic => Vec::new(),
                ListType::Set => items.clone(),
                ListType::Map(keys) => {
                    if let Some(index) = items.iter().position(|item| !(item.is_null() || item.is_object())) {
                        let field = format!("{}[{index}]", path(steps));
                        errors.push(FieldError::invalid(
                            field,
                            items[index].clone(),
                            "must be an object for an array of list-type map",
                        ));
                        Vec::new()
                    } else {
                        items.iter().map(|item| key_of(item, keys)).collect()
                    }
                }
            };
            for index in 1..keys.len() {
                // As the server does, only the first repetition is complained about.
                if keys[..index].iter().filter(|key| **key == keys[index]).count() == 1 {
                    let field = format!("{}[{index}]", path(steps));
                    errors.push(FieldError::duplicate(field, keys[index].clone()));
                }
            }
            if let Some(item) = node.item() {
                for (index, value) in items.iter().enumerate() {
                    steps.push(Step::Index(index));
                    keyed_lists(value, item, steps, errors);
                    steps.pop();
                }
            }
        }
        Value::Object(map) => {
            for (name, value) in map {
                if let Some(child) = node.child(name) {
                    steps.push(Step::Field(name));
                    keyed_lists(value, child, steps, errors);
                    steps.pop();
                }
            }
        }
        _ => {}
    }
}

fn key_of(item: &Value, keys: &[String]) -> Value {
    let map = keys
        .iter()
        .filter_map(|key| item.get(key).map(|value| (key.clone(), value.clone())));
    Value::Object(map.collect())
}
