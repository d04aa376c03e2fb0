//! Schemas of what the types leave raw, in a short notation (`data/raw-fields.json`): a word is a type, a list an array, an
//! object its fields; `!` after a name makes it required, `*` stands for any name.

use serde_json::{Map, Value, json};

use super::{pod_template, structural};

/// The schemas of one section of the file, by field.
pub(super) fn named(section: &str) -> Vec<(String, Value)> {
    let file: Value =
        serde_json::from_str(include_str!("../../data/raw-fields.json")).expect("the file is in the crate");
    let fields = file[section]
        .as_object()
        .expect("only sections that exist are asked for");
    fields
        .iter()
        .map(|(name, short)| (name.clone(), expand(short, &file)))
        .collect()
}

/// Anything, kept as it is.
pub(super) fn any() -> Value {
    json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true})
}

fn expand(short: &Value, file: &Value) -> Value {
    match short {
        Value::String(word) => word_of(word, file),
        Value::Array(items) => json!({"type": "array", "items": expand(&items[0], file)}),
        Value::Object(fields) if fields.contains_key("*") => {
            json!({"type": "object", "additionalProperties": expand(&fields["*"], file)})
        }
        Value::Object(fields) => {
            let mut properties = Map::new();
            let mut required = Vec::new();
            for (name, inner) in fields {
                let plain = name.trim_end_matches('!');
                if plain != name {
                    required.push(json!(plain));
                }
                properties.insert(plain.to_owned(), expand(inner, file));
            }
            let mut schema = json!({"type": "object", "properties": properties});
            if !required.is_empty() {
                schema["required"] = Value::Array(required);
            }
            schema
        }
        other => panic!("{other} is no schema in short notation"),
    }
}

fn word_of(word: &str, file: &Value) -> Value {
    let (word, default) = match word.split_once('=') {
        Some((word, default)) => (word, Some(default)),
        None => (word, None),
    };
    let mut schema = match word {
        "string" | "boolean" => json!({"type": word}),
        "int32" | "int64" => json!({"type": "integer", "format": word}),
        "time" => json!({"type": "string", "format": "date-time"}),
        "int-or-string" => structural::int_or_string(),
        "any" => any(),
        "anything" => json!({"x-kubernetes-preserve-unknown-fields": true}),
        "pod-template" => pod_template::schema(),
        "label-selector" => pod_template::label_selector(),
        _ => match (word.strip_prefix('@'), word.strip_prefix("enum ")) {
            (Some(shared), _) => expand(&file["shared"][shared], file),
            (_, Some(words)) => json!({"type": "string", "enum": words.split(' ').collect::<Vec<_>>()}),
            _ => panic!("{word} is no type in short notation"),
        },
    };
    if let Some(default) = default {
        schema["default"] = json!(default);
    }
    schema
}
