//! Bodies of requests: which formats are understood, and their decoding into JSON.

use bytes::Bytes;
use serde_json::Value;

use crate::Status;

/// The format that a request says its body has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Format {
    Json,
    Yaml,
    JsonPatch,
    MergePatch,
    StrategicMergePatch,
    Apply,
    Unknown,
}

impl Format {
    pub(super) fn of(content_type: &str) -> Self {
        match content_type.split(';').next().unwrap_or_default().trim() {
            "" | "application/json" => Self::Json,
            "application/yaml" => Self::Yaml,
            "application/json-patch+json" => Self::JsonPatch,
            "application/merge-patch+json" => Self::MergePatch,
            "application/strategic-merge-patch+json" => Self::StrategicMergePatch,
            "application/apply-patch+yaml" => Self::Apply,
            _ => Self::Unknown,
        }
    }

    /// Decodes a body; nothing is null. `Err` has the decoder's words.
    pub(super) fn decode(self, body: &Bytes) -> Result<Value, String> {
        if body.is_empty() {
            return Ok(Value::Null);
        }
        match serde_json::from_slice(body) {
            Ok(value) => Ok(value),
            Err(error) if matches!(self, Self::Yaml | Self::Apply) => {
                let text = std::str::from_utf8(body).map_err(|e| e.to_string())?;
                serde_saphyr::from_str(text).map_err(|_| error.to_string())
            }
            Err(error) => Err(error.to_string()),
        }
    }
}

/// 415 to a body that is no object in a format that is understood.
pub(super) fn unsupported() -> Status {
    Status::new(
        415,
        "UnsupportedMediaType",
        "the body of the request was in an unknown format - accepted media types include: application/json, \
         application/yaml, application/vnd.kubernetes.protobuf",
    )
}

/// 400 to a body that cannot be decoded as an object of this kind.
pub(super) fn undecodable(kind: &str, why: &str, body: &Bytes) -> Status {
    let text = String::from_utf8_lossy(body);
    let mut summary: String = text.chars().take(30).collect();
    if summary.len() < text.len() {
        summary.push_str(" ...");
    }
    if summary.is_empty() {
        summary.push_str("<empty>");
    }
    Status::bad_request(format!(
        "the object provided is unrecognized (must be of type {kind}): couldn't get version/kind; json parse error: {why} \
         ({summary})"
    ))
}
