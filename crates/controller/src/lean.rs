//! An object on its way from the wire into a table: reduced while it is decoded, and without ever holding what nobody
//! reads. A third of a ReplicaSet is a record of who wrote which field.

use std::{borrow::Cow, fmt};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::core::{ApiResource, DynamicResourceScope};
use serde::{
    Deserialize, Deserializer,
    de::{DeserializeSeed, Error as _, IgnoredAny, MapAccess, Visitor},
};
use serde_json::{Map, Value};

use crate::kinds::{Meta, Reduced};

/// An object on its way from the wire into a table.
#[derive(Clone, Debug)]
pub struct Lean<T> {
    /// As much as kube's watcher wants to see.
    metadata: ObjectMeta,
    /// What every object carries.
    pub meta: Meta,
    /// What decisions need.
    pub value: T,
}

impl<T: Reduced> Lean<T> {
    /// Reduces an object.
    ///
    /// # Errors
    /// It has no readable metadata.
    pub fn from_object(object: Value) -> Result<Self, String> {
        let meta = Meta::of(&object)?;
        let metadata = ObjectMeta {
            name: Some(meta.name.clone()),
            namespace: (!meta.namespace.is_empty()).then(|| meta.namespace.clone()),
            resource_version: Some(meta.resource_version.clone()),
            ..ObjectMeta::default()
        };
        let value = T::reduce(&meta, object);
        Ok(Self { metadata, meta, value })
    }
}

impl<'de, T: Reduced> Deserialize<'de> for Lean<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let object = deserializer.deserialize_map(Fields {
            skipped: None,
            inner: Some("metadata"),
        })?;
        Self::from_object(object).map_err(D::Error::custom)
    }
}

impl<T: Reduced> kube::Resource for Lean<T> {
    type DynamicType = ApiResource;
    type Scope = DynamicResourceScope;

    fn group(dt: &ApiResource) -> Cow<'_, str> {
        dt.group.as_str().into()
    }

    fn version(dt: &ApiResource) -> Cow<'_, str> {
        dt.version.as_str().into()
    }

    fn kind(dt: &ApiResource) -> Cow<'_, str> {
        dt.kind.as_str().into()
    }

    fn api_version(dt: &ApiResource) -> Cow<'_, str> {
        dt.api_version.as_str().into()
    }

    fn plural(dt: &ApiResource) -> Cow<'_, str> {
        dt.plural.as_str().into()
    }

    fn meta(&self) -> &ObjectMeta {
        &self.metadata
    }

    fn meta_mut(&mut self) -> &mut ObjectMeta {
        &mut self.metadata
    }
}

/// Decodes an object, but for one field, and with that of `inner`.
struct Fields {
    skipped: Option<&'static str>,
    inner: Option<&'static str>,
}

impl<'de> DeserializeSeed<'de> for Fields {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Fields {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<Value, M::Error> {
        let mut out = Map::new();
        while let Some(key) = map.next_key::<String>()? {
            if self.skipped == Some(key.as_str()) {
                map.next_value::<IgnoredAny>()?;
            } else if self.inner == Some(key.as_str()) {
                let metadata = Fields {
                    skipped: Some("managedFields"),
                    inner: None,
                };
                out.insert(key, map.next_value_seed(metadata)?);
            } else {
                out.insert(key, map.next_value()?);
            }
        }
        Ok(Value::Object(out))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kinds::Kind;

    /// All that was decoded.
    #[derive(Clone, Debug)]
    struct Whole(Value);

    impl Reduced for Whole {
        const KIND: Kind = Kind::Service;

        fn reduce(_: &Meta, object: Value) -> Self {
            Self(object)
        }
    }

    fn decode(text: &str) -> Result<Value, String> {
        let lean: Result<Lean<Whole>, _> = serde_json::from_str(text);
        lean.map(|lean| lean.value.0).map_err(|e| e.to_string())
    }

    #[test]
    fn everything_is_decoded_but_the_managed_fields_of_the_object_itself() {
        let inner = r#"{"metadata": {"managedFields": [1]}, "": {"": 1.5}, "managedFields": null}"#;
        let text = format!(
            r#"{{"": 1, "kind": "X", "metadata": {{"": 2, "name": "a", "managedFields": [{{"f:x": {{}}}}]}}, "spec": {inner}}}"#
        );
        let mut expected: Value = serde_json::from_str(&text).unwrap();
        expected["metadata"].as_object_mut().unwrap().remove("managedFields");
        assert_eq!(decode(&text).unwrap(), expected);
    }

    #[test]
    fn what_is_no_object_is_an_error() {
        for text in ["[]", r#"{"metadata": 7}"#, r#"{"kind": "X"}"#] {
            assert!(decode(text).is_err(), "{text}");
        }
    }
}
