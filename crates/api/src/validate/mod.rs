//! Is a Rollout's spec sound, and what is wrong with it, in upstream's order and words (compat 1.2): the first problem
//! shows in the condition `InvalidSpec` as `The Rollout "x" is invalid: ` and the error's text.
//!
//! Three questions, to be asked in this order: [`validate_rollout`] (the spec alone), [`unsupported_fields`] (what Serin does
//! not do yet), [`validate_references`] (the objects that the spec names).

mod error;
mod labels;
mod pod;
mod references;
mod strategy;
mod unsupported;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use serde_json::Value;

use crate::{go_json, rollout::RolloutSpec, selector};

pub use error::FieldError;
pub use references::{References, ServiceFacts, arguments, validate_references};
pub use unsupported::{unsupported_fields, unsupported_metric};

/// The field of the Service that a router misses: it splits traffic between two, and upstream's validation asks plugins for
/// none.
pub fn service_missing(spec: &RolloutSpec) -> Option<&'static str> {
    let canary = spec.strategy.canary.as_ref()?;
    canary.traffic_routing.as_ref()?;
    let named = |name: &Option<String>| name.as_deref().is_some_and(|n| !n.is_empty());
    match (named(&canary.stable_service), named(&canary.canary_service)) {
        (true, true) => None,
        (false, _) => Some("spec.strategy.canary.stableService"),
        (true, false) => Some("spec.strategy.canary.canaryService"),
    }
}

/// Checks the spec alone.
///
/// # Errors
/// The first problem in upstream's order (compat 1.2, recordings 32 to 36). What upstream's library checks of pods beyond
/// the usual mistakes (see `validate/pod.rs`) is left to the API server, which refuses the ReplicaSet.
pub fn validate_rollout(spec: &RolloutSpec, name: &str) -> Result<(), FieldError> {
    // Messages speak of the field alone; the name stands before them.
    let _ = name;
    workload(spec)?;
    non_negative("spec.replicas", spec.desired_replicas())?;
    if spec.workload_ref.is_none() {
        labels_of(spec)?;
        pod::validate(&spec.template, spec.desired_replicas(), "spec.template")?;
    }
    non_negative("spec.minReadySeconds", spec.min_ready())?;
    non_negative("spec.revisionHistoryLimit", spec.history_limit())?;
    non_negative("spec.progressDeadlineSeconds", spec.progress_deadline())?;
    if spec.progress_deadline() <= spec.min_ready() {
        return Err(FieldError::invalid(
            "spec.progressDeadlineSeconds",
            spec.progress_deadline(),
            "must be greater than minReadySeconds",
        ));
    }
    strategy::validate(spec)
}

fn non_negative(path: &str, value: i32) -> Result<(), FieldError> {
    if value < 0 {
        return Err(FieldError::invalid(path, value, "must be greater than or equal to 0"));
    }
    Ok(())
}

/// What is said of a workload reference before anything else is looked at (recordings 32).
fn workload(spec: &RolloutSpec) -> Result<(), FieldError> {
    let Some(workload) = &spec.workload_ref else {
        return Ok(());
    };
    if !spec.template.is_empty() {
        return Err(FieldError::plain(
            "template must be empty for workload reference rollout",
        ));
    }
    let version = workload.api_version.as_deref().unwrap_or_default();
    let kind = workload.kind.as_deref().unwrap_or_default();
    let group = match version.split('/').collect::<Vec<_>>()[..] {
        [group, _] => group,
        _ => "",
    };
    match (group, kind) {
        ("apps", "Deployment" | "ReplicaSet") | ("", "PodTemplate") => Ok(()),
        _ => Err(FieldError::plain(format!(
            "workload of type {group}/{kind} is not supported"
        ))),
    }
}

/// The selector, and that it selects the template's own pods.
fn labels_of(spec: &RolloutSpec) -> Result<(), FieldError> {
    let Some(chosen) = &spec.selector else {
        return Err(FieldError::required(
            "spec.selector",
            "Rollout has missing field '.spec.selector'",
        ));
    };
    labels::validate_selector(chosen, "spec.selector")?;
    if *chosen == LabelSelector::default() || selector::to_text(chosen) == "<none>" {
        return Err(FieldError::invalid_json(
            "spec.selector",
            encoded("metav1.LabelSelector", chosen),
            "empty selector is invalid for deployment",
        ));
    }
    let labels = spec.template.labels();
    match selector::matches(chosen, &labels) {
        Err(_) => Err(FieldError::invalid_json(
            "spec.selector",
            encoded("metav1.LabelSelector", chosen),
            "invalid label selector",
        )),
        Ok(true) => Ok(()),
        Ok(false) => {
            let shown = match spec.template.0.pointer("/metadata/labels") {
                Some(Value::Object(_)) => serde_json::to_string(&labels).unwrap_or_default(),
                _ => "null".to_owned(),
            };
            Err(FieldError::invalid_json(
                "spec.template.metadata.labels",
                shown,
                "`selector` does not match template `labels`",
            ))
        }
    }
}

/// A value as Go writes it into a message.
fn encoded(go_struct: &'static str, value: &impl serde::Serialize) -> String {
    go_json::encode(go_struct, &serde_json::to_value(value).unwrap_or_default())
}

#[cfg(test)]
mod tests;
