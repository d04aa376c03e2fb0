//! The resources that people write and read: `argoproj.io/v1alpha1` types, their schema, defaults, validation, and the
//! small value types they are made of (durations, int-or-percent, quantities, hashes).
//!
//! Knows the wire format and nothing else: no client, no clock, no decision about a rollout.

pub mod analysis;
pub mod compose;
pub mod crd;
pub mod defaults;
pub mod digest;
pub mod duration;
pub mod experiment;
mod go_json;
pub mod hash;
pub mod intstr;
pub mod metrics;
pub mod provider;
pub mod quantity;
pub mod rollout;
pub mod selector;
pub mod status;
pub mod steps;
pub mod template;
pub mod time;
pub mod validate;

pub use time::Time;

/// API group of the resources that Serin shares with Argo Rollouts.
pub const GROUP: &str = "argoproj.io";
/// The one served version of [`GROUP`].
pub const VERSION: &str = "v1alpha1";

/// Label that carries a revision's pod template hash on ReplicaSets, pods, analysis runs and Service selectors (compat 2.1.6).
pub const HASH_LABEL: &str = "rollouts-pod-template-hash";
/// Label that assigns an object to one controller among several; objects with it are left alone unless it is ours (compat 2.1.6).
pub const INSTANCE_ID_LABEL: &str = "argo-rollouts.argoproj.io/controller-instance-id";
/// Label on analysis runs: `Step`, `Background`, `PrePromotion` or `PostPromotion` (compat 2.1.6).
pub const ROLLOUT_TYPE_LABEL: &str = "rollout-type";
/// Label on step analysis runs: the index of the canary step (compat 2.1.6).
pub const STEP_INDEX_LABEL: &str = "step-index";
/// Annotation with the decimal revision on Rollouts, ReplicaSets and analysis runs (compat 2.1.6).
pub const REVISION_ANNOTATION: &str = "rollout.argoproj.io/revision";
/// Annotation on a ReplicaSet: its earlier revisions, comma separated (compat 2.1.6).
pub const REVISION_HISTORY_ANNOTATION: &str = "rollout.argoproj.io/revision-history";
/// Annotation on a ReplicaSet: the Rollout's `spec.replicas` when it was last scaled (compat 2.1.6).
pub const DESIRED_REPLICAS_ANNOTATION: &str = "rollout.argoproj.io/desired-replicas";
/// Annotation on a Rollout: generation of the referenced workload (compat 2.13).
pub const WORKLOAD_GENERATION_ANNOTATION: &str = "rollout.argoproj.io/workload-generation";
/// Annotation on a ReplicaSet: when it may be scaled down, RFC 3339 UTC (compat 2.1.6).
pub const SCALE_DOWN_DEADLINE_ANNOTATION: &str = "scale-down-deadline";
/// Annotation on a ReplicaSet: JSON of the injected ephemeral metadata (compat 2.1.6).
pub const EPHEMERAL_METADATA_ANNOTATION: &str = "rollout.argoproj.io/ephemeral-metadata";
/// Annotation on a Service or DestinationRule: the Rollout that manages it (compat 2.1.6).
pub const MANAGED_BY_ANNOTATION: &str = "argo-rollouts.argoproj.io/managed-by-rollouts";
/// Annotation: `hold` makes an empty or NaN answer "no data" instead of a verdict (design contract 6).
pub const NO_DATA_ANNOTATION: &str = "serin.dev/no-data";
/// Annotation: fewer requests than this are "no data" too (design contract 6).
pub const MIN_REQUESTS_ANNOTATION: &str = "serin.dev/min-requests";
/// Key of `trafficRouting.plugins` under which people configure the Gateway API router (compat 4.10).
pub const GATEWAY_API_PLUGIN: &str = "argoproj-labs/gatewayAPI";
