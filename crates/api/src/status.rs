//! `Rollout.status` (compat 1.3): what people, the kubectl plugin and Argo CD read, and what they write to steer.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::Time;

fn is_empty(s: &str) -> bool {
    s.is_empty()
}

fn is_zero(n: &i32) -> bool {
    *n == 0
}

/// The whole status. `abort`, `promoteFull`, `pauseConditions`, `controllerPause` and `currentStepIndex` are also written
/// by clients (compat 5.2).
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RolloutStatus {
    /// A person or an analysis asked to go back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub abort: Option<bool>,
    /// Why the Rollout waits.
    #[serde(default, skip_serializing_if = "Vec::is_empty", deserialize_with = "null_is_default")]
    pub pause_conditions: Vec<PauseCondition>,
    /// The controller added a pause condition; with an empty list a person has resumed (compat H5).
    #[serde(
        default,
        skip_serializing_if = "std::ops::Not::not",
        deserialize_with = "null_is_default"
    )]
    pub controller_pause: bool,
    /// When the abort was seen.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub aborted_at: Option<Time>,
    /// Hash of the newest revision.
    #[serde(default, skip_serializing_if = "is_empty", deserialize_with = "null_is_default")]
    pub current_pod_hash: String,
    /// Hash of the steps.
    #[serde(default, skip_serializing_if = "is_empty", deserialize_with = "null_is_default")]
    pub current_step_hash: String,
    /// Pods of all revisions.
    #[serde(default, skip_serializing_if = "is_zero", deserialize_with = "null_is_default")]
    pub replicas: i32,
    /// Pods of the newest revision.
    #[serde(default, skip_serializing_if = "is_zero", deserialize_with = "null_is_default")]
    pub updated_replicas: i32,
    /// Ready pods.
    #[serde(default, skip_serializing_if = "is_zero", deserialize_with = "null_is_default")]
    pub ready_replicas: i32,
    /// Available pods.
    #[serde(default, skip_serializing_if = "is_zero", deserialize_with = "null_is_default")]
    pub available_replicas: i32,
    /// Where the release stands.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub current_step_index: Option<i32>,
    /// Name collisions of ReplicaSets; part of the hash.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub collision_count: Option<i32>,
    /// Generation that this status speaks of; a string (compat H4).
    #[serde(default, skip_serializing_if = "is_empty", deserialize_with = "null_is_default")]
    pub observed_generation: String,
    /// Conditions, the last updated one last.
    #[serde(default, skip_serializing_if = "Vec::is_empty", deserialize_with = "null_is_default")]
    pub conditions: Vec<RolloutCondition>,
    /// Always written, even empty.
    #[serde(default, deserialize_with = "null_is_default")]
    pub canary: CanaryStatus,
    /// Always written, even empty.
    #[serde(default, deserialize_with = "null_is_default")]
    pub blue_green: BlueGreenStatus,
    /// Pods that an autoscaler looks at.
    #[serde(
        rename = "HPAReplicas",
        default,
        skip_serializing_if = "is_zero",
        deserialize_with = "null_is_default"
    )]
    pub hpa_replicas: i32,
    /// Selector as text, for the scale subresource.
    #[serde(default, skip_serializing_if = "is_empty", deserialize_with = "null_is_default")]
    pub selector: String,
    /// Hash of the revision that was last fully promoted.
    #[serde(
        rename = "stableRS",
        default,
        skip_serializing_if = "is_empty",
        deserialize_with = "null_is_default"
    )]
    pub stable_rs: String,
    /// `spec.restartAt` that was last carried out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub restarted_at: Option<Time>,
    /// A person asked to skip the rest.
    #[serde(
        default,
        skip_serializing_if = "std::ops::Not::not",
        deserialize_with = "null_is_default"
    )]
    pub promote_full: bool,
    /// `Healthy`, `Degraded`, `Progressing` or `Paused`.
    #[serde(default, skip_serializing_if = "is_empty", deserialize_with = "null_is_default")]
    pub phase: String,
    /// Why.
    #[serde(default, skip_serializing_if = "is_empty", deserialize_with = "null_is_default")]
    pub message: String,
    /// Generation of the referenced workload; a string.
    #[serde(default, skip_serializing_if = "is_empty", deserialize_with = "null_is_default")]
    pub workload_observed_generation: String,
    /// ALB, by-product of verification; kept as found.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub alb: Option<Value>,
    /// ALBs, by-product of verification; kept as found.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub albs: Option<Value>,
    /// How long the release took (upstream HEAD); kept as found.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub duration: Option<Value>,
}

fn null_is_default<'de, D: serde::Deserializer<'de>, T: Default + Deserialize<'de>>(d: D) -> Result<T, D::Error> {
    Ok(Option::<T>::deserialize(d)?.unwrap_or_default())
}

/// One reason to wait.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PauseCondition {
    /// Which reason.
    pub reason: PauseReason,
    /// Since when; timed pauses count from here, in whole seconds.
    pub start_time: Time,
}

/// Why the controller waits (compat 1.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum PauseReason {
    /// An analysis run was inconclusive.
    InconclusiveAnalysisRun,
    /// An experiment was inconclusive.
    InconclusiveExperiment,
    /// A `pause` step.
    CanaryPauseStep,
    /// Before a blue-green switch.
    BlueGreenPause,
}

impl PauseReason {
    /// The word on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::InconclusiveAnalysisRun => "InconclusiveAnalysisRun",
            Self::InconclusiveExperiment => "InconclusiveExperiment",
            Self::CanaryPauseStep => "CanaryPauseStep",
            Self::BlueGreenPause => "BlueGreenPause",
        }
    }
}

/// A condition (compat 1.5).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RolloutCondition {
    /// Which one.
    #[serde(rename = "type")]
    pub kind: String,
    /// `True`, `False` or `Unknown`.
    pub status: String,
    /// Last write.
    pub last_update_time: Time,
    /// Last change of status.
    pub last_transition_time: Time,
    /// One word.
    pub reason: String,
    /// For people.
    pub message: String,
}

/// Canary part of the status.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct CanaryStatus {
    /// Run of the current step.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub current_step_analysis_run_status: Option<RunStatus>,
    /// Background run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub current_background_analysis_run_status: Option<RunStatus>,
    /// Running experiment.
    #[serde(default, skip_serializing_if = "is_empty", deserialize_with = "null_is_default")]
    pub current_experiment: String,
    /// Weights that were written last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub weights: Option<TrafficWeights>,
    /// `ping` or `pong`.
    #[serde(default, skip_serializing_if = "is_empty", deserialize_with = "null_is_default")]
    pub stable_ping_pong: String,
    /// Step plugins; kept as found.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub step_plugin_statuses: Option<Value>,
}

/// A run that the Rollout follows.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct RunStatus {
    /// Its name.
    pub name: String,
    /// Its phase.
    pub status: String,
    /// Its message.
    #[serde(default, skip_serializing_if = "is_empty", deserialize_with = "null_is_default")]
    pub message: String,
}

/// Who gets how much.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct TrafficWeights {
    /// The new version.
    pub canary: WeightDestination,
    /// The proven version.
    pub stable: WeightDestination,
    /// Versions of experiments.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub additional: Option<Vec<WeightDestination>>,
    /// The router confirmed it; none = it cannot.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verified: Option<bool>,
}

/// One share of traffic.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct WeightDestination {
    /// Out of the total.
    pub weight: i32,
    /// Service in the spec.
    #[serde(default, skip_serializing_if = "is_empty", deserialize_with = "null_is_default")]
    pub service_name: String,
    /// Revision.
    #[serde(default, skip_serializing_if = "is_empty", deserialize_with = "null_is_default")]
    pub pod_template_hash: String,
}

/// Blue-green part of the status.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct BlueGreenStatus {
    /// Hash in the preview Service.
    #[serde(default, skip_serializing_if = "is_empty", deserialize_with = "null_is_default")]
    pub preview_selector: String,
    /// Hash in the active Service.
    #[serde(default, skip_serializing_if = "is_empty", deserialize_with = "null_is_default")]
    pub active_selector: String,
    /// The preview was scaled up once.
    #[serde(
        default,
        skip_serializing_if = "std::ops::Not::not",
        deserialize_with = "null_is_default"
    )]
    pub scale_up_preview_check_point: bool,
    /// Run before the switch.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pre_promotion_analysis_run_status: Option<RunStatus>,
    /// Run after the switch.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub post_promotion_analysis_run_status: Option<RunStatus>,
}
