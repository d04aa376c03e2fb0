//! From a derived JSON schema to a Kubernetes structural schema: types, properties and required fields, and nothing else.
//! No descriptions, no enums, no defaults: the API server must store what upstream's would (compat 1).

use schemars::{JsonSchema, generate::SchemaSettings};
use serde_json::{Map, Value, json};

/// A schema under construction.
pub(super) struct Schema(Value);

/// The schema of a type.
pub(super) fn schema_of<T: JsonSchema>() -> Schema {
    let settings = SchemaSettings::openapi3().with(|s| s.inline_subschemas = true);
    let root = settings.into_generator().into_root_schema_for::<T>();
    Schema(structural(root.as_value()))
}

impl Schema {
    /// Puts another schema in the place of one that is there. `a.b[].c` goes through properties and items.
    ///
    /// # Panics
    /// There is no such place: the type has changed and the caller has not.
    pub(super) fn replace(&mut self, path: &str, schema: Value) {
        *self.at(path) = schema;
    }

    /// Makes fields required, beside those that are.
    pub(super) fn require(&mut self, path: &str, fields: &[&str]) {
        let place = self.at(path);
        let mut required: Vec<Value> = place["required"].as_array().cloned().unwrap_or_default();
        for field in fields {
            assert!(!place["properties"][*field].is_null(), "{path} has no field {field}");
            let field = json!(field);
            if !required.contains(&field) {
                required.push(field);
            }
        }
        place["required"] = Value::Array(required);
    }

    fn at(&mut self, path: &str) -> &mut Value {
        let mut place = &mut self.0;
        for part in path.split('.').filter(|p| !p.is_empty()) {
            let (name, items) = match part.strip_suffix("[]") {
                Some(name) => (name, true),
                None => (part, false),
            };
            let found = place
                .get_mut("properties")
                .and_then(|p| p.get_mut(name))
                .unwrap_or_else(|| panic!("the schema has no {path} (at {part})"));
            place = if items { &mut found["items"] } else { found };
        }
        place
    }

    /// The finished schema.
    pub(super) fn into_value(self) -> Value {
        self.0
    }
}

fn structural(schema: &Value) -> Value {
    let Some(map) = schema.as_object() else {
        return preserved();
    };
    if map.contains_key("x-kubernetes-int-or-string") {
        return int_or_string();
    }
    for choice in ["anyOf", "oneOf"] {
        if let Some(options) = map.get(choice).and_then(Value::as_array) {
            return of_choice(options);
        }
    }
    let mut out = Map::new();
    match type_of(map) {
        Some("object") => {
            out.insert("type".to_owned(), json!("object"));
            if let Some(properties) = map.get("properties").and_then(Value::as_object) {
                let inner = properties.iter().map(|(name, s)| (name.clone(), structural(s)));
                out.insert("properties".to_owned(), Value::Object(inner.collect()));
            }
            if let Some(values) = map.get("additionalProperties").filter(|v| v.is_object()) {
                out.insert("additionalProperties".to_owned(), structural(values));
            }
            if let Some(required) = map.get("required") {
                out.insert("required".to_owned(), required.clone());
            }
        }
        Some("array") => {
            out.insert("type".to_owned(), json!("array"));
            out.insert("items".to_owned(), structural(map.get("items").unwrap_or(&Value::Null)));
        }
        Some(scalar) => {
            out.insert("type".to_owned(), json!(scalar));
            if let Some(format) = map.get("format").and_then(Value::as_str)
                && ["int32", "int64", "date-time"].contains(&format)
            {
                out.insert("format".to_owned(), json!(format));
            }
        }
        None => return preserved(),
    }
    if map.get("x-kubernetes-preserve-unknown-fields") == Some(&Value::Bool(true)) {
        out.insert("x-kubernetes-preserve-unknown-fields".to_owned(), json!(true));
    }
    Value::Object(out)
}

/// The one type beside null.
fn type_of(map: &Map<String, Value>) -> Option<&str> {
    match map.get("type")? {
        Value::String(name) => Some(name),
        Value::Array(names) => names.iter().filter_map(Value::as_str).find(|name| *name != "null"),
        _ => None,
    }
}

fn of_choice(options: &[Value]) -> Value {
    let is_null = |o: &&Value| o["type"] == "null" || o["const"].is_null() && o["enum"] == json!([null]);
    let mut rest = options.iter().filter(|o| !is_null(o));
    match (rest.next(), rest.next()) {
        (Some(only), None) => structural(only),
        // Words of an enum.
        (Some(first), Some(_)) if first["const"].is_string() || first["enum"].is_array() => json!({"type": "string"}),
        _ => preserved(),
    }
}

fn preserved() -> Value {
    json!({"x-kubernetes-preserve-unknown-fields": true})
}

/// A number or a string.
pub(super) fn int_or_string() -> Value {
    json!({"x-kubernetes-int-or-string": true, "anyOf": [{"type": "integer"}, {"type": "string"}]})
}
