//! Schemas: what an object of a kind may hold, what it holds by default, and how it is shown in a table.
//!
//! Pure functions over JSON. A [`Crd`] is compiled once and shared by any number of clusters; the built-in kinds of
//! [`crate::builtin`] follow the same [`Rules`]. Of a custom resource's schema everything is enforced but rules in the
//! Common Expression Language (`x-kubernetes-validations`): an object that only such a rule refuses is accepted here.

mod crd;
pub(crate) mod decode;
pub mod errors;
mod formats;
mod jsonpath;
pub(crate) mod names;
pub(crate) mod node;
mod rules;
pub(crate) mod structural;
mod table;
#[cfg(test)]
pub(crate) mod tests;
pub(crate) mod validate;

use serde_json::Value;

pub use crd::{Crd, CrdVersion, Scale};
pub use errors::{FieldError, bad_request, invalid, unknown_fields};
pub use names::NameRule;
pub use node::Node;
pub use table::{Cell, Column, Include, human_duration, table};
pub(crate) use table::{age, since};

use crate::Status;

/// What a kind in a version asks of its objects; custom resources and built-in kinds alike.
///
/// A write goes through [`decode`](Self::decode), [`default`](Self::default) and then one of the validations.
pub trait Rules: Send + Sync + std::fmt::Debug {
    /// Brings an object into the form in which it is kept: what the kind does not know goes, nulls go. Returns the paths
    /// of unknown fields, which are an error only where the request said so ([`unknown_fields`]).
    ///
    /// # Errors
    /// 400 with the decoder's words where a value has a type that cannot be decoded.
    fn decode(&self, object: &mut Value) -> Result<Vec<String>, Status>;

    /// Puts the defaults in.
    fn default(&self, object: &mut Value);

    /// What the server makes of an object on its way in beyond defaults, once `status` and `spec` are those that the
    /// request may set and the metadata has its uid: addresses of Services, selectors of Jobs, what admission plugins add
    /// to pods, and the empty values that are written all the same. `old` is none for a new object; `addresses` counts the
    /// cluster addresses given out so far. To be called for every write, after [`default`](Self::default).
    fn prepare(&self, object: &mut Value, old: Option<&Value>, subresource: &str, addresses: &mut u32) {
        let _ = (object, old, subresource, addresses);
    }

    /// Complaints about an object that is to be created.
    fn validate(&self, object: &Value) -> Vec<FieldError>;

    /// Complaints about an object that takes the place of `old`; `subresource` is empty, `status` or `scale`.
    fn validate_update(&self, object: &Value, old: &Value, subresource: &str) -> Vec<FieldError>;

    /// The schema, for patches and server-side apply.
    fn node(&self) -> &Node;

    /// Whether strategic merge patches are understood: by built-in kinds only.
    fn strategic(&self) -> bool;

    /// The columns of its table.
    fn columns(&self) -> &[Column];
}
