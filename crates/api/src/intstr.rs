//! Values that may be written as a number or as a string (`maxSurge: 25%`, `duration: 30`, `count: "{{args.n}}"`).

use std::{borrow::Cow, fmt};

use serde::{Deserialize, Serialize};

/// Kubernetes' int-or-string, kept exactly as written: the step hash is taken over it (compat 2.1.2).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum IntOrString {
    /// A JSON number.
    Int(i64),
    /// A JSON string.
    String(String),
}

impl fmt::Display for IntOrString {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Int(n) => n.fmt(f),
            Self::String(s) => s.fmt(f),
        }
    }
}

impl schemars::JsonSchema for IntOrString {
    fn schema_name() -> Cow<'static, str> {
        "IntOrString".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({ "x-kubernetes-int-or-string": true, "anyOf": [{ "type": "integer" }, { "type": "string" }] })
    }
}
