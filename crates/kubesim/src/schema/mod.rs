//! In the making: a stand-in until the schemas are here.

use std::sync::Arc;

use serde_json::Value;

use crate::Status;

/// A parsed CustomResourceDefinition.
#[derive(Debug)]
pub struct Crd {
    /// The object as it was given.
    pub object: Value,
}

impl Crd {
    /// Parses a CustomResourceDefinition.
    ///
    /// # Errors
    /// What the API server would answer.
    pub fn parse(object: &Value) -> Result<Arc<Self>, Status> {
        Ok(Arc::new(Self { object: object.clone() }))
    }
}
