//! What happened in one run, as an outside observer could have written it down. The oracle reads this and nothing else.
//!
//! All times are virtual, since the start of the cluster. Nothing in here comes from inside the controller but
//! [`History::refusals`] and [`History::ends`].

use std::time::Duration;

use chrono::{DateTime, Utc};
use serde::Serialize;
use serin_kubesim::{Asked, Change};

use crate::scenario::{FaultKind, Scenario, What};

/// See the module.
#[derive(Clone, Debug)]
pub struct History {
    /// What was to be played.
    pub scenario: Scenario,
    /// The API server's day time at time zero. Time stamps that a controller writes come from its own clock: see
    /// [`Replica::offsets`].
    pub start: DateTime<Utc>,
    /// Every version of every object, in order.
    pub changes: Vec<Change>,
    /// Every request, in the order in which they reached the API server.
    pub requests: Vec<Asked>,
    /// What users' requests met, in order of (from, app).
    pub traffic: Vec<Sample>,
    /// What the metrics provider was asked.
    pub queries: Vec<Query>,
    /// Every process of the controller, in order of its start.
    pub replicas: Vec<Replica>,
    /// What people did, in order, with the time at which the API server had carried it out.
    pub actions: Vec<Done<What>>,
    /// Each time that a fault struck, in order. A fault that strikes often is here often.
    pub faults: Vec<Done<FaultKind>>,
    /// Plans that the audit refused: a violation in itself.
    pub refusals: Vec<Refused>,
    /// Processes of the controller that ended by themselves, or panicked: (time, user, why). A violation in itself.
    pub ends: Vec<(Duration, String, String)>,
    /// From then on nobody does anything and nothing is broken any more.
    pub calm_from: Duration,
    /// From then on all delays, deadlines and pauses that the specs name have had time to end: the settling rules hold.
    pub settled_from: Duration,
    /// When the run ended; at rest nothing may happen between `settled_from` and `end`.
    pub end: Duration,
}

impl History {
    /// Whether this user of the API is (a process of) the controller.
    pub fn is_controller(&self, user: &str) -> bool {
        is_controller(user)
    }
}

/// Users of the API: `serin-<replica>-<start>` are processes of the controller, [`PERSON`] does the actions,
/// [`WORLD`] the faults to objects; all others are Kubernetes' own controllers.
pub fn is_controller(user: &str) -> bool {
    user.starts_with("serin-")
}

/// Who does the actions of the scenario.
pub const PERSON: &str = "person";
/// Who deletes Services, edits ReplicaSets, writes into HTTPRoutes.
pub const WORLD: &str = "vandal";

/// Something of the scenario that was done.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Done<T> {
    /// When.
    pub at: Duration,
    /// Index in `scenario.actions` or `scenario.faults`.
    pub index: usize,
    /// Name of the Rollout it was about; empty when about none in particular.
    pub rollout: String,
    /// What.
    pub what: T,
    /// What came of it, in words (which object, which request, the API server's refusal).
    pub note: String,
}

/// One process of the controller.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Replica {
    /// Its user of the API; no two processes share one.
    pub user: String,
    /// `spec.holderIdentity` that it writes into leases; `None` without leader election.
    pub identity: Option<String>,
    /// Its start.
    pub started: Duration,
    /// Its end and whether it was killed (`true`) or told to end; `None` when it ran to the end.
    pub ended: Option<(Duration, bool)>,
    /// Its own clock less the API server's, in seconds, from each of these times on. Empty: the same.
    pub offsets: Vec<(Duration, i64)>,
}

/// A time in which the same happened to all requests of one app's users.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Sample {
    /// Begin.
    pub from: Duration,
    /// End, exclusive.
    pub to: Duration,
    /// Index in `scenario.apps`.
    pub app: usize,
    /// Where requests went and what became of them; shares add up to 1.
    pub shares: Vec<Share>,
}

/// A part of the requests of a [`Sample`].
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Share {
    /// 0 to 1.
    pub of: f64,
    /// Which Service of the app's; empty when none was reached.
    pub service: String,
    /// `rollouts-pod-template-hash` of the pods; empty when no pod was reached.
    pub hash: String,
    /// Share of these requests that failed, and why. The canary's own errors are [`Cause::Pod`].
    pub failed: f64,
    /// Why `failed` is not 0.
    pub cause: Cause,
}

/// Why requests failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub enum Cause {
    /// None failed.
    None,
    /// The pod answered with an error: the version is faulty.
    Pod,
    /// The app's HTTPRoute does not exist or has no backend with weight.
    NoRoute,
    /// The Service does not exist.
    NoService,
    /// The Service has no ready endpoint.
    NoEndpoint,
    /// The gateway knew an endpoint whose pod is gone or not ready any more (its knowledge lags behind).
    PodGone,
}

/// The metrics provider was asked.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Query {
    /// When.
    pub at: Duration,
    /// By which process of the controller.
    pub user: String,
    /// The query.
    pub text: String,
    /// The answer in short: numbers, `NaN`, `empty`, `status 503`, `refused`, `timeout`.
    pub answer: String,
}

/// A plan that the audit refused.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Refused {
    /// When.
    pub at: Duration,
    /// By which process.
    pub user: String,
    /// `namespace/name`.
    pub rollout: String,
    /// The rule and why.
    pub why: String,
}
