//! Answers: which form the client accepts, and objects, lists and refusals in it.

use std::{fmt::Write as _, sync::Arc};

use bytes::Bytes;
use chrono::{DateTime, Utc};
use serde_json::{Value, json};

use crate::{
    Status, builtin,
    kinds::Kind,
    schema::{self, Include, Rules},
    storage::Stored,
};

/// The form of an answer that a client asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// The object itself.
    Whole,
    /// Its metadata only.
    Partial,
    /// A table for people; of discovery the aggregated form is meant.
    Table(Include),
    /// Discovery in one document.
    Aggregated,
}

impl Form {
    /// The first form of the `Accept` header that is understood.
    pub(super) fn negotiate(accept: &str, include: &str, builtin: bool, list: bool) -> Result<Self, Status> {
        if accept.trim().is_empty() {
            return Ok(Self::Whole);
        }
        let mut any = false;
        for range in accept.split(',') {
            let mut parts = range.split(';').map(str::trim);
            if !matches!(parts.next(), Some("application/json" | "*/*" | "application/*")) {
                continue;
            }
            any = true;
            let parameter = |name: &str| {
                range
                    .split(';')
                    .filter_map(|p| p.trim().split_once('='))
                    .find(|(key, _)| *key == name)
                    .map(|(_, value)| value)
            };
            match (parameter("as"), parameter("v")) {
                (None, _) => return Ok(Self::Whole),
                (Some("Table"), Some("v1" | "v1beta1")) => {
                    return Include::parse(include).map(Self::Table).ok_or_else(|| {
                        Status::bad_request(format!(
                            "Unable to convert to Table as requested: includeObject: Invalid value: {include:?}: must be \
                             'Metadata', 'Object', 'None', or empty"
                        ))
                    });
                }
                (Some("PartialObjectMetadata" | "PartialObjectMetadataList"), Some("v1" | "v1beta1")) => {
                    return Ok(Self::Partial);
                }
                (Some("APIGroupDiscoveryList"), Some("v2")) => return Ok(Self::Aggregated),
                _ => {}
            }
        }
        let known = "application/json, application/yaml, application/vnd.kubernetes.protobuf";
        if any || !builtin {
            let message = format!("only the following media types are accepted: {known}");
            return Err(Status::new(406, "NotAcceptable", message));
        }
        let streams = if list {
            ", application/json;stream=watch, application/vnd.kubernetes.protobuf;stream=watch"
        } else {
            ""
        };
        let message = format!("406: Not Acceptable\n\nAvailable representations: {known}{streams}");
        Err(Status::new(406, "NotAcceptable", message).with_details(json!({})))
    }
}

/// An answer that is complete.
#[derive(Debug)]
pub(super) struct Answer {
    pub code: u16,
    pub content_type: &'static str,
    pub body: Bytes,
    pub warnings: Vec<String>,
}

impl Answer {
    pub(super) fn json(code: u16, body: &Value) -> Self {
        Self::text(code, Bytes::from(body.to_string()))
    }

    pub(super) fn text(code: u16, body: Bytes) -> Self {
        Self {
            code,
            content_type: "application/json",
            body,
            warnings: Vec::new(),
        }
    }

    pub(super) fn plain(code: u16, body: &str) -> Self {
        Self {
            code,
            content_type: "text/plain; charset=utf-8",
            body: Bytes::copy_from_slice(body.as_bytes()),
            warnings: Vec::new(),
        }
    }

    pub(super) fn refusal(status: &Status) -> Self {
        Self::json(status.code, &status.json())
    }
}

/// How objects of one kind are shown to one client.
#[derive(Clone, Debug)]
pub(super) struct Show {
    pub kind: Arc<Kind>,
    pub version: String,
    pub form: Form,
    /// What ages are counted to.
    pub now: DateTime<Utc>,
}

impl Show {
    /// One object of a stream whose first table has shown the columns already.
    pub(super) fn next_object(&self, stored: &Stored) -> Bytes {
        match self.form {
            Form::Table(include) => {
                let metadata = json!({"resourceVersion": stored.version.to_string()});
                let mut table = self.table(&[&stored.value], include, metadata);
                table["columnDefinitions"] = Value::Null;
                Bytes::from(table.to_string())
            }
            _ => self.object(stored),
        }
    }

    /// One object.
    pub(super) fn object(&self, stored: &Stored) -> Bytes {
        match self.form {
            Form::Whole | Form::Aggregated if self.version == self.kind.storage => stored.text(),
            Form::Whole | Form::Aggregated => Bytes::from(self.kind.convert(&stored.value, &self.version).to_string()),
            Form::Partial => Bytes::from(partial(&stored.value).to_string()),
            Form::Table(include) => {
                let metadata = json!({"resourceVersion": stored.version.to_string()});
                Bytes::from(self.table(&[&stored.value], include, metadata).to_string())
            }
        }
    }

    /// A scale.
    pub(super) fn scale(&self, scale: &Value) -> Bytes {
        let shown = match self.form {
            Form::Whole | Form::Aggregated => scale.to_string(),
            Form::Partial => partial(scale).to_string(),
            Form::Table(include) => {
                let metadata = json!({"resourceVersion": scale["metadata"]["resourceVersion"]});
                let mut columns = builtin::scale().columns().to_vec();
                for column in &mut columns {
                    match (column.name.as_str(), self.kind.is_custom()) {
                        ("Name", false) => column.format.clear(),
                        ("Age", true) => "date".clone_into(&mut column.kind),
                        _ => {}
                    }
                }
                schema::table(&columns, [scale], self.now, include, metadata).to_string()
            }
        };
        Bytes::from(shown)
    }

    fn table(&self, objects: &[&Value], include: Include, metadata: Value) -> Value {
        let columns = self.kind.rules(&self.version).map(Rules::columns).unwrap_or_default();
        schema::table(columns, objects.iter().copied(), self.now, include, metadata)
    }

    /// A list; `more` is the continue token and how many remain, where that is known.
    pub(super) fn list(&self, version: u64, items: &[Arc<Stored>], resume: &str, remaining: Option<usize>) -> Bytes {
        let mut metadata = json!({"resourceVersion": version.to_string()});
        // Lists of custom resources have the field in any case.
        if !resume.is_empty() || self.kind.is_custom() && self.form == Form::Whole {
            metadata["continue"] = json!(resume);
        }
        if let Some(remaining) = remaining {
            metadata["remainingItemCount"] = json!(remaining);
        }
        let (kind, api_version) = match self.form {
            Form::Table(include) => {
                let objects: Vec<&Value> = items.iter().map(|s| &*s.value).collect();
                return Bytes::from(self.table(&objects, include, metadata).to_string());
            }
            Form::Partial => ("PartialObjectMetadataList".to_owned(), "meta.k8s.io/v1".to_owned()),
            Form::Whole | Form::Aggregated => (self.kind.list_kind.clone(), self.kind.api_version(&self.version)),
        };
        if self.form == Form::Partial && items.is_empty() {
            let none = json!({"kind": kind, "apiVersion": api_version, "metadata": metadata, "items": null});
            return Bytes::from(none.to_string());
        }
        let mut text = String::new();
        // Writing into a String cannot fail.
        let _ = write!(
            text,
            "{{\"kind\":{},\"apiVersion\":{},\"metadata\":{metadata},\"items\":[",
            json!(kind),
            json!(api_version)
        );
        let mut bytes = text.into_bytes();
        for (i, item) in items.iter().enumerate() {
            if i > 0 {
                bytes.push(b',');
            }
            if self.form == Form::Whole && !self.kind.is_custom() && self.version == self.kind.storage {
                bytes.extend_from_slice(&item.bare_text());
            } else {
                bytes.extend_from_slice(&self.object(item));
            }
        }
        bytes.extend_from_slice(b"]}");
        Bytes::from(bytes)
    }
}

fn partial(object: &Value) -> Value {
    json!({
        "kind": "PartialObjectMetadata",
        "apiVersion": "meta.k8s.io/v1",
        "metadata": object["metadata"],
    })
}
