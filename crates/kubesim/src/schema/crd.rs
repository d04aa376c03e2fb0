//! A CustomResourceDefinition, parsed and compiled.

use std::sync::Arc;

use serde_json::{Map, Value, json};

use super::errors::{FieldError, cannot_be_handled, invalid, printed};
use super::node::{Compiler, Node, Types, summarise};
use super::rules::{find_immutable, has_rules, is_blocking, rules_skipped};
use super::structural::{self, Step, path};
use super::table::{Column, columns_of};
use super::validate::{check_keyed_lists, validate};
use super::{Rules, decode, names};
use crate::Status;

/// A parsed CustomResourceDefinition.
#[derive(Debug)]
pub struct Crd {
    /// The object as it was given.
    pub object: Value,
    /// API group.
    pub group: String,
    /// Kind of the objects.
    pub kind: String,
    /// Kind of lists of them.
    pub list_kind: String,
    /// Plural name, as in paths.
    pub plural: String,
    /// Singular name.
    pub singular: String,
    /// Short names.
    pub short_names: Vec<String>,
    /// Categories, such as `all`.
    pub categories: Vec<String>,
    /// Whether its objects are in namespaces.
    pub namespaced: bool,
    /// All versions, in the order of the definition.
    pub versions: Vec<Arc<CrdVersion>>,
}

/// The scale subresource's paths.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scale {
    /// Where the wanted number of replicas is, as `.spec.replicas`.
    pub spec_replicas: String,
    /// Where the actual number of replicas is.
    pub status_replicas: String,
    /// Where the selector is, as text.
    pub label_selector: Option<String>,
}

/// One version of a custom resource.
#[derive(Debug)]
pub struct CrdVersion {
    /// Its name, as `v1alpha1`.
    pub name: String,
    /// Whether it is served.
    pub served: bool,
    /// Whether objects are kept in it.
    pub storage: bool,
    /// Whether the status is a subresource.
    pub status: bool,
    /// The scale subresource, if there is one.
    pub scale: Option<Scale>,
    /// Fields by which lists may be selected, as `spec.colour`.
    pub selectable: Vec<String>,
    group: String,
    kind: String,
    namespaced: bool,
    node: Node,
    columns: Vec<Column>,
    /// Whether the schema has rules in the Common Expression Language.
    has_rules: bool,
    /// The one of those rules that is understood: fields that may not change once they are set, and what is said then.
    immutable: Vec<(Vec<String>, String)>,
}

fn text<'a>(value: &'a Value, pointer: &str) -> &'a str {
    value.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}

fn texts(value: &Value, pointer: &str) -> Vec<String> {
    value
        .pointer(pointer)
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .map(str::to_owned)
        .collect()
}

impl Crd {
    /// Parses a CustomResourceDefinition.
    ///
    /// # Errors
    /// What the API server would answer: 422 with every complaint.
    pub fn parse(object: &Value) -> Result<Arc<Self>, Status> {
        let mut errors = Vec::new();
        let (group, kind, plural) = (
            text(object, "/spec/group").to_owned(),
            text(object, "/spec/names/kind").to_owned(),
            text(object, "/spec/names/plural").to_owned(),
        );
        let name = text(object, "/metadata/name");
        for (field, value) in [
            ("spec.group", &group),
            ("spec.names.kind", &kind),
            ("spec.names.plural", &plural),
        ] {
            if value.is_empty() {
                errors.push(FieldError::required(field, ""));
            }
        }
        if name != format!("{plural}.{group}") {
            errors.push(FieldError::invalid(
                "metadata.name",
                name,
                "must be spec.names.plural+\".\"+spec.group",
            ));
        }
        let namespaced = match text(object, "/spec/scope") {
            "Namespaced" => true,
            "Cluster" => false,
            "" => {
                errors.push(FieldError::required("spec.scope", ""));
                false
            }
            other => {
                errors.push(FieldError::not_supported(
                    "spec.scope",
                    other,
                    ["Cluster", "Namespaced"],
                ));
                false
            }
        };
        let given = object
            .pointer("/spec/versions")
            .and_then(Value::as_array)
            .map_or(&[][..], Vec::as_slice);
        if given.iter().filter(|version| version["storage"] == true).count() != 1 {
            errors.push(FieldError::invalid(
                "spec.versions",
                object.pointer("/spec/versions").cloned().unwrap_or(Value::Null),
                "must have exactly one version marked as storage version",
            ));
        }
        let mut versions = Vec::with_capacity(given.len());
        for (index, version) in given.iter().enumerate() {
            let field = format!("spec.versions[{index}]");
            let Some(schema) = version.pointer("/schema/openAPIV3Schema") else {
                errors.push(FieldError::required(
                    format!("{field}.schema.openAPIV3Schema"),
                    "schemas are required",
                ));
                continue;
            };
            match Compiler::structural().compile(schema) {
                Ok(node) => versions.push(Arc::new(CrdVersion::new(
                    version,
                    root(node),
                    &group,
                    &kind,
                    namespaced,
                ))),
                Err(error) => errors.push(FieldError::invalid(
                    format!("{field}.schema.openAPIV3Schema"),
                    "",
                    error,
                )),
            }
        }
        if !errors.is_empty() {
            return Err(invalid(
                "apiextensions.k8s.io",
                "CustomResourceDefinition",
                name,
                &errors,
            ));
        }
        let or = |given: &str, default: String| if given.is_empty() { default } else { given.to_owned() };
        Ok(Arc::new(Self {
            list_kind: or(text(object, "/spec/names/listKind"), format!("{kind}List")),
            singular: or(text(object, "/spec/names/singular"), kind.to_lowercase()),
            short_names: texts(object, "/spec/names/shortNames"),
            categories: texts(object, "/spec/names/categories"),
            object: object.clone(),
            group,
            kind,
            plural,
            namespaced,
            versions,
        }))
    }

    /// A version by name.
    #[must_use]
    pub fn version(&self, name: &str) -> Option<&Arc<CrdVersion>> {
        self.versions.iter().find(|version| version.name == name)
    }

    /// The version in which objects are kept.
    #[must_use]
    pub fn storage(&self) -> &Arc<CrdVersion> {
        self.versions
            .iter()
            .find(|version| version.storage)
            .expect("parsing refuses a definition without a storage version")
    }

    /// The definition's own status once it is served, as of `now` (RFC 3339).
    #[must_use]
    pub fn accepted_status(&self, now: &str) -> Value {
        let mut names = json!({
            "kind": self.kind,
            "listKind": self.list_kind,
            "plural": self.plural,
            "singular": self.singular,
        });
        if !self.short_names.is_empty() {
            names["shortNames"] = json!(self.short_names);
        }
        if !self.categories.is_empty() {
            names["categories"] = json!(self.categories);
        }
        json!({
            "acceptedNames": names,
            "conditions": [
                {
                    "lastTransitionTime": now,
                    "message": "no conflicts found",
                    "reason": "NoConflicts",
                    "status": "True",
                    "type": "NamesAccepted",
                },
                {
                    "lastTransitionTime": now,
                    "message": "the initial names have been accepted",
                    "reason": "InitialNamesAccepted",
                    "status": "True",
                    "type": "Established",
                },
            ],
            "storedVersions": [self.storage().name],
        })
    }
}

/// The schema of a whole object: what every resource has is put in, with the server's own types.
fn root(mut node: Node) -> Node {
    let string = Arc::new(Node {
        types: Types::STRING,
        ..Node::default()
    });
    for name in ["apiVersion", "kind"] {
        node.properties.entry(name.to_owned()).or_insert_with(|| string.clone());
    }
    node.properties
        .insert("metadata".to_owned(), crate::builtin::object_meta().clone());
    summarise(&mut node);
    node
}

impl CrdVersion {
    fn new(version: &Value, node: Node, group: &str, kind: &str, namespaced: bool) -> Self {
        let scale = version.pointer("/subresources/scale").map(|scale| Scale {
            spec_replicas: text(scale, "/specReplicasPath").to_owned(),
            status_replicas: text(scale, "/statusReplicasPath").to_owned(),
            label_selector: scale
                .get("labelSelectorPath")
                .and_then(Value::as_str)
                .filter(|path| !path.is_empty())
                .map(str::to_owned),
        });
        let selectable = version.get("selectableFields").and_then(Value::as_array);
        let mut immutable = Vec::new();
        if let Some(schema) = version.pointer("/schema/openAPIV3Schema") {
            find_immutable(schema, &mut Vec::new(), &mut immutable);
        }
        Self {
            immutable,
            has_rules: version.pointer("/schema/openAPIV3Schema").is_some_and(has_rules),
            name: text(version, "/name").to_owned(),
            served: version["served"] == true,
            storage: version["storage"] == true,
            status: version
                .pointer("/subresources/status")
                .is_some_and(|status| !status.is_null()),
            scale,
            selectable: selectable
                .into_iter()
                .flatten()
                .map(|field| text(field, "/jsonPath").trim_start_matches('.').to_owned())
                .collect(),
            group: group.to_owned(),
            kind: kind.to_owned(),
            namespaced,
            node,
            columns: columns_of(version.get("additionalPrinterColumns")),
        }
    }

    /// `group/version`.
    #[must_use]
    pub fn api_version(&self) -> String {
        format!("{}/{}", self.group, self.name)
    }

    fn type_meta(&self, object: &Value) -> Vec<FieldError> {
        let mut errors = Vec::new();
        let kind = text(object, "/kind");
        if kind != self.kind {
            errors.push(FieldError::invalid("kind", kind, format!("must be {}", self.kind)));
        }
        let version = text(object, "/apiVersion");
        let (group, name) = version.split_once('/').unwrap_or(("", version));
        if group != self.group || name != self.name {
            errors.push(FieldError::invalid(
                "apiVersion",
                version,
                format!("must be {}", self.api_version()),
            ));
        }
        errors
    }

    /// What is at a path, or what is in the way there.
    fn at<'v>(object: &'v Value, place: &str) -> Option<Result<&'v Value, &'v Value>> {
        let mut found = object;
        for name in place.trim_start_matches('.').split('.') {
            match found {
                Value::Object(map) => found = map.get(name)?,
                Value::Null => return None,
                other => return Some(Err(other)),
            }
        }
        Some(Ok(found))
    }

    fn inaccessible(place: &str, empty: Value, found: &Value, expected: &str) -> FieldError {
        let (shown, kind) = match found {
            Value::String(text) => (text.clone(), "string"),
            Value::Bool(flag) => (flag.to_string(), "bool"),
            Value::Array(_) => (printed(found), "[]interface {}"),
            Value::Object(_) => (printed(found), "map[string]interface {}"),
            Value::Number(number) if number.is_f64() => (found.to_string(), "float64"),
            Value::Number(_) => (found.to_string(), "int64"),
            Value::Null => ("<nil>".to_owned(), "<nil>"),
        };
        let detail = format!("{place} accessor error: {shown} is of the type {kind}, expected {expected}");
        FieldError::invalid(place, empty, detail)
    }

    fn check_count(object: &Value, place: &str, errors: &mut Vec<FieldError>) {
        let wrong = |found: &Value, expected: &str| Self::inaccessible(place, Value::from(0), found, expected);
        let found = match Self::at(object, place) {
            None => return,
            Some(Err(other)) => {
                errors.push(wrong(other, "map[string]interface{}"));
                return;
            }
            Some(Ok(found)) => found,
        };
        match found.as_i64().or_else(|| found.is_u64().then_some(i64::MAX)) {
            None => errors.push(wrong(found, "int64")),
            Some(..0) => errors.push(FieldError::invalid(
                place,
                found.clone(),
                "should be a non-negative integer",
            )),
            Some(0..=0x7fff_ffff) => {}
            Some(_) => errors.push(FieldError::invalid(
                place,
                found.clone(),
                "should be less than or equal to 2147483647",
            )),
        }
    }

    /// Complaints about fields that may not change.
    fn changed(&self, object: &Value, old: &Value) -> Vec<FieldError> {
        let is_changed = |path: &[String]| {
            let new = path.iter().try_fold(object, |at, name| at.get(name));
            let old = path.iter().try_fold(old, |at, name| at.get(name));
            new.is_some() && old.is_some() && new != old
        };
        let changed = self.immutable.iter().filter(|(path, _)| is_changed(path));
        changed
            .map(|(path, message)| FieldError::invalid(path.join("."), Value::Null, "").showing(message.clone()))
            .collect()
    }

    fn scale_spec(&self, object: &Value, errors: &mut Vec<FieldError>) {
        if let Some(scale) = &self.scale {
            Self::check_count(object, &scale.spec_replicas, errors);
        }
    }

    fn scale_status(&self, object: &Value, errors: &mut Vec<FieldError>) {
        if let Some(scale) = &self.scale {
            Self::check_count(object, &scale.status_replicas, errors);
            if let Some(place) = &scale.label_selector {
                let expected = match Self::at(object, place) {
                    None | Some(Ok(Value::String(_))) => return,
                    Some(Ok(other)) => (other, "string"),
                    Some(Err(other)) => (other, "map[string]interface{}"),
                };
                errors.push(Self::inaccessible(place, Value::from(""), expected.0, expected.1));
            }
        }
    }
}

impl Rules for CrdVersion {
    fn decode(&self, object: &mut Value) -> Result<Vec<String>, Status> {
        let refused = |why: &str| cannot_be_handled(&self.kind, &self.name, why);
        let Value::Object(map) = &mut *object else {
            return Err(refused("json: cannot unmarshal into an object"));
        };
        let mut unknown = Vec::new();
        if let Some(metadata) = map.get_mut("metadata") {
            if metadata.is_null() {
                *metadata = Value::Object(Map::new());
            }
            if !metadata.is_object() {
                return Err(refused(&format!(
                    "json: cannot unmarshal {} into Go value of type v1.ObjectMeta",
                    type_of(metadata)
                )));
            }
            let fields = decode::decode(metadata, crate::builtin::object_meta(), "ObjectMeta")
                .map_err(|error| refused(&error))?;
            unknown.extend(fields.into_iter().map(|field| format!("metadata.{field}")));
        }
        unknown.extend(structural::prune(object, &self.node));
        structural::drop_nulls(object, &self.node);
        if self.node.has_embedded {
            coerce_embedded(object, &self.node, &mut Vec::new()).map_err(|error| refused(&error.to_string()))?;
        }
        Ok(unknown)
    }

    fn default(&self, object: &mut Value) {
        structural::default(object, &self.node);
    }

    fn validate(&self, object: &Value) -> Vec<FieldError> {
        let mut errors = self.type_meta(object);
        if !errors.is_empty() {
            return errors;
        }
        errors.extend(names::metadata(object, self.namespaced, names::NameRule::Subdomain));
        errors.extend(validate(object, None, &self.node, ""));
        self.scale_spec(object, &mut errors);
        self.scale_status(object, &mut errors);
        if self.node.has_embedded {
            validate_embedded(object, &self.node, &mut Vec::new(), &mut errors);
        }
        errors.extend(check_keyed_lists(object, &self.node));
        if self.has_rules {
            rules_skipped(&mut errors);
        }
        errors
    }

    fn validate_update(&self, object: &Value, old: &Value, subresource: &str) -> Vec<FieldError> {
        let mut errors = self.type_meta(object);
        if !errors.is_empty() {
            return errors;
        }
        errors.extend(names::metadata_update(object, old));
        if subresource == "status" {
            if let (Some(status), Some(node)) = (object.get("status"), self.node.properties.get("status")) {
                errors.extend(validate(status, old.get("status"), node, "status"));
            }
        } else {
            errors.extend(validate(object, Some(old), &self.node, ""));
            self.scale_spec(object, &mut errors);
        }
        self.scale_status(object, &mut errors);
        if self.node.has_embedded && subresource != "status" {
            validate_embedded(object, &self.node, &mut Vec::new(), &mut errors);
        }
        let lists = check_keyed_lists(object, &self.node);
        if !lists.is_empty() && check_keyed_lists(old, &self.node).is_empty() {
            errors.extend(lists);
        }
        if subresource != "status" && !errors.iter().any(is_blocking) {
            errors.extend(self.changed(object, old));
        }
        if self.has_rules {
            rules_skipped(&mut errors);
        }
        errors
    }

    fn node(&self) -> &Node {
        &self.node
    }

    fn strategic(&self) -> bool {
        false
    }

    fn columns(&self) -> &[Column] {
        &self.columns
    }
}

fn type_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "bool",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}

/// Decodes the metadata of embedded resources.
fn coerce_embedded(value: &mut Value, node: &Node, steps: &mut Vec<String>) -> Result<(), FieldError> {
    if !node.has_embedded {
        return Ok(());
    }
    match value {
        Value::Object(map) => {
            if node.embedded {
                for name in ["apiVersion", "kind"] {
                    if let Some(value) = map.get(name).filter(|value| !value.is_string()) {
                        let field = format!("{}.{name}", steps.concat());
                        return Err(FieldError::invalid(
                            field.trim_start_matches('.'),
                            value.clone(),
                            "must be a string",
                        ));
                    }
                }
                if let Some(metadata) = map.get_mut("metadata") {
                    let before = metadata.clone();
                    decode::decode(metadata, crate::builtin::object_meta(), "ObjectMeta").map_err(|error| {
                        let field = format!("{}.metadata", steps.concat());
                        FieldError::invalid(field.trim_start_matches('.'), before, error)
                    })?;
                }
            }
            for (name, value) in map.iter_mut() {
                if let Some(child) = node.child(name) {
                    steps.push(format!(".{name}"));
                    coerce_embedded(value, child, steps)?;
                    steps.pop();
                }
            }
        }
        Value::Array(items) => {
            if let Some(item) = node.item() {
                for (index, value) in items.iter_mut().enumerate() {
                    steps.push(format!("[{index}]"));
                    coerce_embedded(value, item, steps)?;
                    steps.pop();
                }
            }
        }
        _ => {}
    }
    Ok(())
}

fn validate_embedded<'a>(value: &'a Value, node: &'a Node, steps: &mut Vec<Step<'a>>, errors: &mut Vec<FieldError>) {
    if !node.has_embedded {
        return;
    }
    match value {
        Value::Object(map) => {
            if node.embedded {
                let place = path(steps);
                for name in ["apiVersion", "kind"] {
                    match map.get(name).and_then(Value::as_str) {
                        None => errors.push(FieldError::required(format!("{place}.{name}"), "")),
                        Some("") => {
                            errors.push(FieldError::invalid(format!("{place}.{name}"), "", "must not be empty"));
                        }
                        Some(kind) if name == "kind" => {
                            let wrong = names::label_1035(&kind.to_lowercase());
                            if !wrong.is_empty() {
                                let detail =
                                    format!("may have mixed case, but should otherwise match: {}", wrong.join(","));
                                errors.push(FieldError::invalid(format!("{place}.{name}"), kind, detail));
                            }
                        }
                        Some(_) => {}
                    }
                }
                if let Some(metadata) = map.get("metadata") {
                    names::embedded_metadata(metadata, &format!("{place}.metadata"), errors);
                }
            }
            for (name, value) in map {
                if let Some(child) = node.child(name) {
                    steps.push(Step::Field(name));
                    validate_embedded(value, child, steps, errors);
                    steps.pop();
                }
            }
        }
        Value::Array(items) => {
            if let Some(item) = node.item() {
                for (index, value) in items.iter().enumerate() {
                    steps.push(Step::Index(index));
                    validate_embedded(value, item, steps, errors);
                    steps.pop();
                }
            }
        }
        _ => {}
    }
}
