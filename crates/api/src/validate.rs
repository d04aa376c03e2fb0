//! stub
use std::{collections::BTreeMap, fmt};

use crate::{
    analysis::{AnalysisTemplateSpec, Metric},
    rollout::{AnalysisTemplateRef, RolloutSpec},
};

/// One problem with a field; its text is what stands after `The Rollout "x" is invalid: `.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FieldError(pub String);

impl fmt::Display for FieldError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for FieldError {}

/// What the check of references needs to know of a Service.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ServiceFacts {
    /// `spec.selector`.
    pub selector: BTreeMap<String, String>,
    /// `metadata.annotations`.
    pub annotations: BTreeMap<String, String>,
}

/// Objects that a Rollout names, looked up in its own namespace.
pub trait References {
    /// A Service.
    fn service(&self, name: &str) -> Option<ServiceFacts>;
    /// An AnalysisTemplate or ClusterAnalysisTemplate.
    fn template(&self, template: &AnalysisTemplateRef) -> Option<&AnalysisTemplateSpec>;
}

/// Checks the spec alone.
///
/// # Errors
/// The first problem.
pub fn validate_rollout(spec: &RolloutSpec, name: &str) -> Result<(), FieldError> {
    let _ = (spec, name);
    Ok(())
}

/// Checks the objects that the spec names.
///
/// # Errors
/// The first problem.
pub fn validate_references(spec: &RolloutSpec, name: &str, references: &dyn References) -> Result<(), FieldError> {
    let _ = (spec, name, references);
    Ok(())
}

/// Fields that mean something but that Serin does not act on yet: path and a clause for people.
pub fn unsupported_fields(spec: &RolloutSpec) -> Vec<(String, String)> {
    let _ = spec;
    Vec::new()
}

/// The same for a metric.
pub fn unsupported_metric(metric: &Metric) -> Option<(String, String)> {
    let _ = metric;
    None
}
