//! The four kinds of patches, as pure functions over JSON.

mod apply;
mod fields;
mod fits;
mod json;
mod merge;
mod strategic;
#[cfg(test)]
mod tests;

use serde_json::Value;

pub use apply::{Manager, apply, track};
pub use json::json;
pub use merge::merge;
pub use strategic::strategic;

use crate::Status;
use crate::schema::{FieldError, invalid};

/// The answer to a patch whose outcome cannot be decoded as the kind; `why` is the decoder's complaint.
#[must_use]
pub fn undecodable(patched: &Value, why: &str) -> Status {
    invalid("", "", "", &[FieldError::invalid("patch", patched.to_string(), why)])
}

/// Whether the merging library finds an object to be of its schema.
pub(crate) fn fits_schema(object: &Value, node: &crate::schema::Node) -> bool {
    let mut complaints = Vec::new();
    fits::fits(object, Some(node), "", &mut complaints);
    complaints.is_empty()
}

/// The kind of a JSON value as Go's decoder names it.
fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "bool",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}
