//! Reading JSON objects whose shape the API server has checked.

use std::collections::BTreeMap;

use serde_json::Value;
use serin_model::At as _;

/// The text at a JSON pointer, empty without one.
pub(crate) fn text<'a>(object: &'a Value, path: &str) -> &'a str {
    object.at(path).and_then(Value::as_str).unwrap_or_default()
}

/// The texts of a map at a JSON pointer.
pub(crate) fn texts(object: &Value, path: &str) -> BTreeMap<String, String> {
    let pairs = object.at(path).and_then(Value::as_object).into_iter().flatten();
    pairs
        .filter_map(|(name, value)| Some((name.clone(), value.as_str()?.to_owned())))
        .collect()
}
