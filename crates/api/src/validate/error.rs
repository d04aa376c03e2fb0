//! One problem with one field, in the words of Kubernetes' field errors.

use std::fmt;

/// A problem; its text is what stands after `The Rollout "x" is invalid: `.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FieldError {
    /// Where; empty when upstream names no field.
    pub path: String,
    /// What, without the path.
    pub problem: String,
    /// What to do about it, where upstream's words do not say so; not part of the text.
    pub advice: Option<String>,
}

impl FieldError {
    /// The value is wrong; it is shown as JSON.
    pub(super) fn invalid(path: impl Into<String>, value: impl serde::Serialize, detail: impl fmt::Display) -> Self {
        let shown = serde_json::to_string(&value).unwrap_or_default();
        Self::invalid_json(path, shown, detail)
    }

    /// The same for a value that is JSON already.
    pub(super) fn invalid_json(path: impl Into<String>, shown: impl fmt::Display, detail: impl fmt::Display) -> Self {
        Self::new(path, format!("Invalid value: {shown}: {detail}"))
    }

    /// A value is missing; the detail may be empty.
    pub(super) fn required(path: impl Into<String>, detail: &str) -> Self {
        let separator = if detail.is_empty() { "" } else { ": " };
        Self::new(path, format!("Required value{separator}{detail}"))
    }

    /// The value is none of those that are possible.
    pub(super) fn not_supported(path: impl Into<String>, value: &str, possible: &[&str]) -> Self {
        let possible: Vec<String> = possible.iter().map(|p| format!("{p:?}")).collect();
        Self::new(
            path,
            format!(
                "Unsupported value: {value:?}: supported values: {}",
                possible.join(", ")
            ),
        )
    }

    /// A name that refers to nothing.
    pub(super) fn not_found(path: impl Into<String>, value: &str) -> Self {
        Self::new(path, format!("Not found: {value:?}"))
    }

    /// A name that is given twice.
    pub(super) fn duplicate(path: impl Into<String>, value: &str) -> Self {
        Self::new(path, format!("Duplicate value: {value:?}"))
    }

    /// The field must not be set.
    pub(super) fn forbidden(path: impl Into<String>, detail: &str) -> Self {
        Self::new(path, format!("Forbidden: {detail}"))
    }

    /// A text without a path.
    pub(super) fn plain(problem: impl Into<String>) -> Self {
        Self::new("", problem)
    }

    /// Any problem.
    pub(super) fn new(path: impl Into<String>, problem: impl Into<String>) -> Self {
        Self {
            path: path.into(),
            problem: problem.into(),
            advice: None,
        }
    }

    /// Says what to do about it.
    pub(super) fn advise(mut self, advice: impl Into<String>) -> Self {
        self.advice = Some(advice.into());
        self
    }
}

impl fmt::Display for FieldError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.path.is_empty() {
            write!(f, "{}: ", self.path)?;
        }
        f.write_str(&self.problem)
    }
}

impl std::error::Error for FieldError {}
