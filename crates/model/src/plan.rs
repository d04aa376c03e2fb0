//! What to do: an ordered list of writes, of which every prefix is safe (design contract 2).

use chrono::{DateTime, Utc};
use serde_json::Value;

use crate::world::RouteRef;

/// What follows from a World at a time.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Plan {
    /// To be carried out in this order; execution stops at the first refusal.
    pub writes: Vec<PlannedWrite>,
    /// When to look again although nothing changed.
    pub wake_at: Option<DateTime<Utc>>,
    /// Things to say that belong to no write of this plan: repeated warnings of a state that persists. The controller
    /// records each of them once until it changes.
    pub warnings: Vec<Event>,
}

impl Plan {
    /// Nothing to write.
    pub fn is_empty(&self) -> bool {
        self.writes.is_empty()
    }
}

/// One write and what is said once it succeeded.
#[derive(Clone, Debug, PartialEq)]
pub struct PlannedWrite {
    /// The write.
    pub write: Write,
    /// Recorded on the Rollout after the write succeeded, in this order.
    pub events: Vec<Event>,
}

/// One API call. Names are in the Rollout's namespace unless the variant says otherwise. `resource_version` is that of
/// the World; when an earlier write of the same plan changed the same object, the answer's one takes its place.
#[derive(Clone, Debug, PartialEq)]
pub enum Write {
    /// Create a ReplicaSet; the name is deterministic, so a late or repeated one is refused.
    CreateReplicaSet {
        /// Name.
        name: String,
        /// Whole object.
        object: Value,
    },
    /// Merge-patch a ReplicaSet (scale, annotations, adoption).
    PatchReplicaSet {
        /// Name.
        name: String,
        /// Guard.
        resource_version: String,
        /// The patch, without the guard.
        patch: Value,
    },
    /// Delete a ReplicaSet of an old revision, with its UID and resourceVersion as preconditions.
    DeleteReplicaSet {
        /// Name.
        name: String,
        /// Precondition.
        uid: String,
        /// Precondition.
        resource_version: String,
    },
    /// Merge-patch a Service's selector and annotations.
    PatchService {
        /// Name.
        name: String,
        /// Guard.
        resource_version: String,
        /// The patch, without the guard.
        patch: Value,
    },
    /// Set the weights of our two backends in a route (carried out as a JSON patch with `test`s by the traffic crate).
    SetRouteWeights {
        /// Which route.
        route: RouteRef,
        /// Guard.
        resource_version: String,
        /// The weights.
        weights: Weights,
    },
    /// Create an analysis run; the name is deterministic.
    CreateAnalysisRun {
        /// Name.
        name: String,
        /// Whole object.
        object: Value,
    },
    /// Merge-patch an analysis run (`spec.terminate`).
    PatchAnalysisRun {
        /// Name.
        name: String,
        /// Guard.
        resource_version: String,
        /// The patch, without the guard.
        patch: Value,
    },
    /// Delete an analysis run, with its UID and resourceVersion as preconditions.
    DeleteAnalysisRun {
        /// Name.
        name: String,
        /// Precondition.
        uid: String,
        /// Precondition.
        resource_version: String,
    },
    /// Merge-patch the Rollout's main resource (revision annotation, `spec.replicas`).
    PatchRollout {
        /// Guard.
        resource_version: String,
        /// The patch, without the guard.
        patch: Value,
    },
    /// Merge-patch the Rollout's status; always the last write of a plan.
    PatchRolloutStatus {
        /// Guard.
        resource_version: String,
        /// The patch (`{"status": …}`), without the guard.
        patch: Value,
    },
}

/// Weights of one route.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Weights {
    /// Service of the canary.
    pub canary_service: String,
    /// Service of the stable version.
    pub stable_service: String,
    /// Weight of the canary.
    pub canary: i32,
    /// Weight of the stable version.
    pub stable: i32,
}

/// Normal or Warning.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum EventKind {
    /// As it should be.
    Normal,
    /// Somebody should look.
    Warning,
}

impl EventKind {
    /// The word on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Normal => "Normal",
            Self::Warning => "Warning",
        }
    }
}

/// Something to say about the Rollout (compat 7.5). Reasons are an API (compat H15).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Event {
    /// Normal or Warning.
    pub kind: EventKind,
    /// One word.
    pub reason: &'static str,
    /// For people.
    pub message: String,
}

impl Event {
    /// A Normal event.
    pub fn normal(reason: &'static str, message: impl Into<String>) -> Self {
        Self {
            kind: EventKind::Normal,
            reason,
            message: message.into(),
        }
    }

    /// A Warning event.
    pub fn warning(reason: &'static str, message: impl Into<String>) -> Self {
        Self {
            kind: EventKind::Warning,
            reason,
            message: message.into(),
        }
    }
}
