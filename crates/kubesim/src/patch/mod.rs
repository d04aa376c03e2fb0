//! The four kinds of patches, as pure functions over JSON.

mod json;
mod merge;
#[cfg(test)]
mod tests;

use serde_json::Value;

pub use json::json;
pub use merge::merge;

use crate::Status;
use crate::schema::{FieldError, invalid};

/// The answer to a patch whose outcome cannot be decoded as the kind; `why` is the decoder's complaint.
#[must_use]
pub fn undecodable(patched: &Value, why: &str) -> Status {
    invalid("", "", "", &[FieldError::invalid("patch", patched.to_string(), why)])
}
