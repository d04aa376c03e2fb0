//! The built-in kinds: their names, schemas, defaults and validations.

pub mod quantity;

use std::sync::{Arc, LazyLock};

use serde_json::{Map, Value};

use crate::schema::Node;
use crate::schema::node::Compiler;

/// The schemas, made by the example `builtin_schemas`.
static DATA: LazyLock<Map<String, Value>> = LazyLock::new(|| {
    serde_json::from_str(include_str!("../../data/builtin.json")).expect("a file of this crate, read by a test")
});

static OBJECT_META: LazyLock<Arc<Node>> = LazyLock::new(|| {
    Compiler::with_types(&DATA)
        .named("meta.v1.ObjectMeta")
        .expect("a file of this crate, read by a test")
});

/// The schema of every object's metadata.
pub(crate) fn object_meta() -> &'static Arc<Node> {
    &OBJECT_META
}
