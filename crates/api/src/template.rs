//! Pod templates: raw JSON in memory, so that no field is lost or reordered into another hash (design section 3), with
//! typed views on the few things that decisions read.

use std::{borrow::Cow, collections::BTreeMap};

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// A pod template exactly as the API server stores it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct PodTemplate(pub Value);

impl PodTemplate {
    /// Nothing was written (`template` left out, or `{}`), as with `workloadRef`.
    pub fn is_empty(&self) -> bool {
        self.0.as_object().is_none_or(serde_json::Map::is_empty)
    }

    /// `metadata.labels`; entries that are not strings are left out.
    pub fn labels(&self) -> BTreeMap<String, String> {
        self.string_map("labels")
    }

    /// `metadata.annotations`; entries that are not strings are left out.
    pub fn annotations(&self) -> BTreeMap<String, String> {
        self.string_map("annotations")
    }

    fn string_map(&self, key: &str) -> BTreeMap<String, String> {
        let Some(map) = self
            .0
            .pointer("/metadata")
            .and_then(|m| m.get(key))
            .and_then(Value::as_object)
        else {
            return BTreeMap::new();
        };
        map.iter()
            .filter_map(|(k, v)| Some((k.clone(), v.as_str()?.to_owned())))
            .collect()
    }

    /// The template as a ReplicaSet carries it: with the label that names its revision (compat 2.1.3).
    #[must_use]
    pub fn with_label(&self, key: &str, value: &str) -> Self {
        let mut out = self.0.clone();
        if !out.is_object() {
            out = Value::Object(serde_json::Map::new());
        }
        out["metadata"]["labels"][key] = Value::String(value.to_owned());
        Self(out)
    }
}

impl schemars::JsonSchema for PodTemplate {
    fn schema_name() -> Cow<'static, str> {
        "PodTemplate".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({ "type": "object", "x-kubernetes-preserve-unknown-fields": true })
    }
}

#[cfg(test)]
mod tests {
    /// Hashes, generated files and recorded values count on sorted keys. A dependency anywhere in the workspace can turn
    /// them off for everybody by serde_json's feature `preserve_order`, a dev-dependency too.
    #[test]
    fn json_objects_keep_their_keys_sorted() {
        let object: serde_json::Value = serde_json::from_str(r#"{"b":1,"a":2}"#).unwrap();
        assert_eq!(
            object.to_string(),
            r#"{"a":2,"b":1}"#,
            "somebody enables serde_json/preserve_order"
        );
    }
}
