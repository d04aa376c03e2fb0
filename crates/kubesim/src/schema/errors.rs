//! What is wrong with a field of an object, in the words of the real API server, and the `Status` made of it.
//!
//! Knows nothing of schemas: these are the sentences only.

use serde_json::{Value, json};

use crate::Status;

/// The kind of a complaint about a field; its name is the cause's `reason` in the answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Complaint {
    /// The field must be there.
    Required,
    /// The same value (or key) twice.
    Duplicate,
    /// Any other bad value.
    Invalid,
    /// Not one of the values allowed.
    NotSupported,
    /// Not allowed here or now.
    Forbidden,
    /// A text that is too long.
    TooLong,
    /// A list that is too long.
    TooMany,
    /// Not of the schema's type.
    TypeInvalid,
    /// No such thing.
    NotFound,
}

impl Complaint {
    /// The machine-readable name.
    #[must_use]
    pub fn reason(self) -> &'static str {
        match self {
            Self::Required => "FieldValueRequired",
            Self::Duplicate => "FieldValueDuplicate",
            Self::Invalid => "FieldValueInvalid",
            Self::NotSupported => "FieldValueNotSupported",
            Self::Forbidden => "FieldValueForbidden",
            Self::TooLong => "FieldValueTooLong",
            Self::TooMany => "FieldValueTooMany",
            Self::TypeInvalid => "FieldValueTypeInvalid",
            Self::NotFound => "FieldValueNotFound",
        }
    }

    fn words(self) -> &'static str {
        match self {
            Self::Required => "Required value",
            Self::Duplicate => "Duplicate value",
            Self::Invalid | Self::TypeInvalid => "Invalid value",
            Self::NotSupported => "Unsupported value",
            Self::Forbidden => "Forbidden",
            Self::TooLong => "Too long",
            Self::TooMany => "Too many",
            Self::NotFound => "Not found",
        }
    }

    fn shows_value(self) -> bool {
        !matches!(self, Self::Required | Self::Forbidden | Self::TooLong)
    }
}

/// One complaint about one field.
#[derive(Clone, Debug, PartialEq)]
pub struct FieldError {
    /// What kind of complaint.
    pub complaint: Complaint,
    /// Path of the field, as `spec.template.spec.containers[0].name`; `<nil>` where the server has lost it.
    pub field: String,
    /// The value complained about.
    pub value: Value,
    /// What is wrong with it; may be empty.
    pub detail: String,
    /// The value as the message shows it, where that is not its JSON.
    pub shown: Option<String>,
}

impl FieldError {
    fn new(complaint: Complaint, field: impl Into<String>, value: Value, detail: impl Into<String>) -> Self {
        Self {
            complaint,
            field: field.into(),
            value,
            detail: detail.into(),
            shown: None,
        }
    }

    /// The same with the value shown so.
    #[must_use]
    pub(crate) fn showing(mut self, shown: String) -> Self {
        self.shown = Some(shown);
        self
    }

    /// There is no such thing.
    pub fn not_found(field: impl Into<String>, value: impl Into<Value>) -> Self {
        Self::new(Complaint::NotFound, field, value.into(), "")
    }

    /// The field must be there.
    pub fn required(field: impl Into<String>, detail: impl Into<String>) -> Self {
        Self::new(Complaint::Required, field, Value::Null, detail)
    }

    /// A bad value.
    pub fn invalid(field: impl Into<String>, value: impl Into<Value>, detail: impl Into<String>) -> Self {
        Self::new(Complaint::Invalid, field, value.into(), detail)
    }

    /// A value of the wrong type.
    pub fn type_invalid(field: impl Into<String>, value: impl Into<Value>, detail: impl Into<String>) -> Self {
        Self::new(Complaint::TypeInvalid, field, value.into(), detail)
    }

    /// The same twice.
    pub fn duplicate(field: impl Into<String>, value: impl Into<Value>) -> Self {
        Self::new(Complaint::Duplicate, field, value.into(), "")
    }

    /// Not allowed here or now.
    pub fn forbidden(field: impl Into<String>, detail: impl Into<String>) -> Self {
        Self::new(Complaint::Forbidden, field, Value::Null, detail)
    }

    /// Not one of the values allowed.
    pub fn not_supported<S: AsRef<str>>(
        field: impl Into<String>,
        value: impl Into<Value>,
        allowed: impl IntoIterator<Item = S>,
    ) -> Self {
        let allowed: Vec<String> = allowed.into_iter().map(|text| quoted(text.as_ref())).collect();
        let detail = if allowed.is_empty() {
            String::new()
        } else {
            format!("supported values: {}", allowed.join(", "))
        };
        Self::new(Complaint::NotSupported, field, value.into(), detail)
    }

    /// A text of more than `limit` bytes.
    pub fn too_long(field: impl Into<String>, limit: usize) -> Self {
        let unit = if limit == 1 { "byte" } else { "bytes" };
        Self::new(
            Complaint::TooLong,
            field,
            Value::Null,
            format!("may not be more than {limit} {unit}"),
        )
    }

    /// More than `limit` items.
    pub fn too_many(field: impl Into<String>, actual: usize, limit: usize) -> Self {
        let unit = if limit == 1 { "item" } else { "items" };
        Self::new(
            Complaint::TooMany,
            field,
            Value::from(actual),
            format!("must have at most {limit} {unit}"),
        )
    }

    /// The complaint without the field's name.
    #[must_use]
    pub fn body(&self) -> String {
        let mut text = self.complaint.words().to_owned();
        if self.complaint.shows_value() {
            text.push_str(": ");
            match &self.shown {
                Some(given) => text.push_str(given),
                None => text.push_str(&shown(&self.value)),
            }
        }
        if !self.detail.is_empty() {
            text.push_str(": ");
            text.push_str(&self.detail);
        }
        text
    }
}

impl std::fmt::Display for FieldError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.field, self.body())
    }
}

/// A text in Go's quotes.
pub(crate) fn quoted(text: &str) -> String {
    let mut quoted = String::with_capacity(text.len() + 2);
    quoted.push('"');
    for c in text.chars() {
        match c {
            '"' => quoted.push_str("\\\""),
            '\\' => quoted.push_str("\\\\"),
            '\u{7}' => quoted.push_str("\\a"),
            '\u{8}' => quoted.push_str("\\b"),
            '\u{b}' => quoted.push_str("\\v"),
            '\u{c}' => quoted.push_str("\\f"),
            '\n' => quoted.push_str("\\n"),
            '\r' => quoted.push_str("\\r"),
            '\t' => quoted.push_str("\\t"),
            c if c.is_ascii_control() => quoted.push_str(&format!("\\x{:02x}", u32::from(c))),
            c => quoted.push(c),
        }
    }
    quoted.push('"');
    quoted
}

/// A value as Go prints it.
pub(crate) fn printed(value: &Value) -> String {
    match value {
        Value::Null => "<nil>".to_owned(),
        Value::String(text) => text.clone(),
        Value::Bool(_) | Value::Number(_) => value.to_string(),
        Value::Array(items) => {
            let items: Vec<String> = items.iter().map(printed).collect();
            format!("[{}]", items.join(" "))
        }
        Value::Object(map) => {
            let fields: Vec<String> = map
                .iter()
                .map(|(name, value)| format!("{name}:{}", printed(value)))
                .collect();
            format!("map[{}]", fields.join(" "))
        }
    }
}

/// A value as the server's messages show it.
fn shown(value: &Value) -> String {
    match value {
        Value::String(text) => quoted(text),
        Value::Null => "null".to_owned(),
        Value::Bool(_) | Value::Number(_) => value.to_string(),
        // Go's encoder escapes these three even outside of HTML.
        Value::Array(_) | Value::Object(_) => value
            .to_string()
            .replace('<', "\\u003c")
            .replace('>', "\\u003e")
            .replace('&', "\\u0026"),
    }
}

/// A kind with its group, as messages name it: `Rollout.argoproj.io`, `Pod`.
pub(crate) fn qualified(group: &str, name: &str) -> String {
    if group.is_empty() {
        name.to_owned()
    } else {
        format!("{name}.{group}")
    }
}

/// The answer 422 to an object with bad fields.
#[must_use]
pub fn invalid(group: &str, kind: &str, name: &str, errors: &[FieldError]) -> Status {
    let mut texts: Vec<String> = Vec::with_capacity(errors.len());
    for error in errors {
        let text = error.to_string();
        if !texts.contains(&text) {
            texts.push(text);
        }
    }
    let list = match texts.as_slice() {
        [one] => one.clone(),
        many => format!("[{}]", many.join(", ")),
    };
    let what = format!("{} {}", qualified(group, kind), quoted(name));
    let causes: Vec<Value> = errors
        .iter()
        .map(|error| json!({"reason": error.complaint.reason(), "message": error.body(), "field": error.field}))
        .collect();
    let mut details = serde_json::Map::new();
    if !name.is_empty() {
        details.insert("name".to_owned(), Value::from(name));
    }
    if !group.is_empty() {
        details.insert("group".to_owned(), Value::from(group));
    }
    if !kind.is_empty() {
        details.insert("kind".to_owned(), Value::from(kind));
    }
    if !causes.is_empty() {
        details.insert("causes".to_owned(), Value::Array(causes));
    }
    Status {
        code: 422,
        reason: "Invalid".to_owned(),
        message: if errors.is_empty() {
            format!("{what} is invalid")
        } else {
            format!("{what} is invalid: {list}")
        },
        details: Value::Object(details),
    }
}

/// The answer 400 with these words.
#[must_use]
pub fn bad_request(message: impl Into<String>) -> Status {
    Status {
        code: 400,
        reason: "BadRequest".to_owned(),
        message: message.into(),
        details: Value::Null,
    }
}

/// The answer to a patch that cannot be carried out; the real server keeps the reason to itself.
#[must_use]
pub(crate) fn unprocessable() -> Status {
    Status {
        code: 422,
        reason: "Invalid".to_owned(),
        message: "the server rejected our request due to an error in our request".to_owned(),
        details: json!({}),
    }
}

/// The answer 400 to an object whose JSON does not fit its kind.
#[must_use]
pub fn cannot_be_handled(kind: &str, version: &str, why: &str) -> Status {
    bad_request(format!(
        "{kind} in version {} cannot be handled as a {kind}: {why}",
        quoted(version)
    ))
}

/// The answer 400 to unknown fields where the request asked for `fieldValidation=Strict`.
#[must_use]
pub fn unknown_fields(kind: &str, version: &str, fields: &[String]) -> Status {
    let list: Vec<String> = fields
        .iter()
        .map(|field| format!("unknown field {}", quoted(field)))
        .collect();
    cannot_be_handled(kind, version, &format!("strict decoding error: {}", list.join(", ")))
}
