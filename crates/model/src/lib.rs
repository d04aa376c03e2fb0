//! The nouns that the pure crates share: the World that was observed, the Plan that follows from it, and its Writes.
//!
//! Knows no client, no clock and no rule: what a plan may contain is decided by the planner and checked by the audit.

mod json;
pub mod measure;
pub mod mutant;
mod patch;
pub mod plan;
mod templates;
pub mod world;

pub use json::At;
pub use patch::merge_patch;
pub use plan::{Event, EventKind, Plan, PlannedWrite, Weights, Write};
pub use templates::{Templates, run_annotations};
pub use world::{
    AnalysisRunView, Endpoints, ReplicaSetView, RouteRef, RouteView, ServiceView, Settings, TemplateView, World,
    analysis_spec_digest,
};
