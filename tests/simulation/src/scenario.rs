//! What one run plays: apps, people's actions, faults. A plain value: printed, stored, made smaller piece by piece.
//!
//! Times are milliseconds of virtual time since the start of the cluster.

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// See the module.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Scenario {
    /// Where it comes from; also seeds what is drawn while it is played (names of pods, their moods).
    pub seed: u64,
    /// How the controller is run.
    pub controller: Controller,
    /// What is released.
    pub apps: Vec<App>,
    /// AnalysisTemplates and ClusterAnalysisTemplates, whole objects.
    pub templates: Vec<Value>,
    /// What people do, by time.
    pub actions: Vec<Action>,
    /// What goes wrong, by time.
    pub faults: Vec<Fault>,
}

/// How the controller is run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Controller {
    /// Processes at a time; two always elect a leader.
    pub replicas: usize,
    /// Whether a leader is elected.
    pub election: bool,
    /// Whether plans are audited before they are applied.
    pub audit: bool,
    /// Rollouts worked on at once.
    pub workers: usize,
}

/// One Rollout and what belongs to it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct App {
    /// Name of the Rollout, of the label `app` of its pods, of its HTTPRoute and, with the suffixes `-stable` and `-canary`,
    /// of its Services. Without a router its users come through the Service of this name.
    pub name: String,
    /// Its namespace.
    pub namespace: String,
    /// The Rollout as it is first created. Container 0 is the app; its image is `<name>:v<n>` with n an index in `images`.
    pub rollout: Value,
    /// Whether an HTTPRoute splits its users' requests.
    pub router: bool,
    /// Rules of the HTTPRoute that are not ours, before ours.
    pub other_rules: usize,
    /// Users' requests per second.
    pub rps: f64,
    /// Its versions.
    pub images: Vec<Image>,
}

/// How pods of a version behave.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Image {
    /// Share of requests that it answers with an error, in percent.
    pub errors: u32,
    /// Milliseconds for an answer.
    pub latency: u32,
    /// Milliseconds until a pod is ready; `None`: never.
    pub start: Option<u64>,
    /// The image exists.
    pub exists: bool,
    /// Milliseconds after which its container dies, again and again.
    pub crash: Option<u64>,
    /// Of a hundred pods, so many crash (`crash`) or take ten times as long to start; the others are as above.
    pub moody: u32,
    /// Milliseconds that a pod takes to end.
    pub stop: u64,
}

/// Something a person does.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Action {
    /// When.
    pub at: u64,
    /// Which app's Rollout.
    pub app: usize,
    /// What.
    pub what: What,
}

/// What people do, each as kubectl and its plugin do it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum What {
    /// Another version.
    Image(usize),
    /// Back to the image before this one.
    Rollback,
    /// `kubectl scale`.
    Scale(u32),
    /// `abort`.
    Abort,
    /// `retry`.
    Retry,
    /// `promote`: goes on from a pause, or past the present step.
    Promote,
    /// `promote --full`.
    PromoteFull,
    /// `spec.paused`.
    Pause(bool),
    /// A merge patch of the Rollout.
    Edit(Value),
    /// Deletes the Rollout.
    Delete,
    /// Creates it again as it first was.
    Recreate,
    /// SIGTERM to the controller (its leader), which starts anew after the pod's time to start.
    Restart,
    /// Deletes one of its pods.
    DeletePod,
}

/// Something that goes wrong.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Fault {
    /// From when on.
    pub at: u64,
    /// Only once the app's Rollout is at such a step (one of [`crate::coverage::STEPS`]).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub during: Option<String>,
    /// Which app's objects, where that matters.
    pub app: usize,
    /// What.
    pub kind: FaultKind,
}

/// Which requests of controllers a fault strikes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Requests {
    /// `get`, `list`, `watch`, `create`, `update`, `patch`, `delete`, or `write` for the last four, or `any`.
    pub verb: String,
    /// The plural, or empty for all but leases.
    pub resource: String,
    /// `status`, or empty for all.
    pub subresource: String,
    /// How many of them, one after another.
    pub times: u32,
}

/// When a fault comes: before the API server has carried the request out, or after.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Moment {
    /// It changed nothing.
    Before,
    /// It took effect and nobody was told.
    After,
}

/// What goes wrong. All of it ends by itself.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum FaultKind {
    /// An answer with this code: 403, 409, 429, 500, 503, 504.
    Answer {
        /// Which.
        on: Requests,
        /// Status code.
        code: u16,
        /// When.
        moment: Moment,
    },
    /// No answer at all.
    Hang {
        /// Which.
        on: Requests,
        /// When.
        moment: Moment,
    },
    /// The connection breaks.
    Disconnect {
        /// Which.
        on: Requests,
        /// When.
        moment: Moment,
    },
    /// The answer takes long.
    Slow {
        /// Which.
        on: Requests,
        /// How long it takes.
        ms: u64,
    },
    /// A get or list is answered from an older state.
    Stale {
        /// Which.
        on: Requests,
        /// So many versions ago.
        versions: u64,
    },
    /// Events of watches of a resource wait.
    WatchLate {
        /// The plural; empty for all.
        resource: String,
        /// For how long events are held back each.
        ms: u64,
        /// How many events.
        times: u32,
    },
    /// Watches of a resource end.
    WatchClosed {
        /// The plural; empty for all.
        resource: String,
        /// How many.
        times: u32,
    },
    /// Watches of a resource end with 410 Gone.
    WatchGone {
        /// The plural; empty for all.
        resource: String,
        /// How many.
        times: u32,
    },
    /// SIGKILL to the leader.
    Crash {
        /// A new process starts so much later.
        down: u64,
    },
    /// SIGKILL to the controller that, having last carried out the first kind of write of one of these points, is about to send
    /// the second, or has just sent it and never hears of the answer. Kinds are as in `patch rollouts/status`.
    CrashBetween {
        /// The last write and the next one; the first point that is reached counts.
        points: Vec<(String, String)>,
        /// Whether the next one is still carried out.
        moment: Moment,
        /// A new process starts so much later.
        down: u64,
    },
    /// For so long the leader's lease requests are not answered.
    LeaseHangs {
        /// How long.
        ms: u64,
    },
    /// For so long the leader's lease requests fail with 500.
    LeaseFails {
        /// How long.
        ms: u64,
    },
    /// The day time of a controller's machine jumps, and stays so.
    ClockJump {
        /// Which replica.
        replica: usize,
        /// By how much.
        seconds: i64,
    },
    /// The metrics provider misbehaves for a while.
    Provider {
        /// How.
        how: Metrics,
        /// How long.
        ms: u64,
    },
    /// Somebody else writes into the HTTPRoute.
    Route(Foreign),
    /// Somebody deletes a Service of the app (0 stable or the only one, 1 canary); it is created again later.
    DeleteService {
        /// Which.
        which: usize,
        /// How much later.
        back: u64,
    },
    /// Somebody edits a Service's selector by hand (0 stable or the only one, 1 canary): drops the hash label.
    EditService {
        /// Which.
        which: usize,
    },
    /// Somebody deletes the n-th newest ReplicaSet.
    DeleteReplicaSet {
        /// Which.
        newest: usize,
    },
    /// Somebody scales the n-th newest ReplicaSet by hand.
    ScaleReplicaSet {
        /// Which.
        newest: usize,
        /// To how many.
        replicas: u32,
    },
    /// Pods that start in this time take so much longer.
    SlowPods {
        /// Longer by.
        by: u64,
        /// How long this lasts.
        ms: u64,
    },
    /// So many running pods die (deleted, as by an eviction).
    KillPods {
        /// How many.
        count: usize,
    },
    /// The API server answers nobody's requests (503) for a while.
    ApiDown {
        /// How long.
        ms: u64,
    },
}

/// How a metrics provider misbehaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Metrics {
    /// Refused connections.
    Down,
    /// Answers that take 3 s.
    Slow,
    /// Never answers.
    Hangs,
    /// 503.
    Fails,
    /// NaN.
    NaN,
    /// An empty vector.
    Empty,
}

/// What somebody else writes into an HTTPRoute.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Foreign {
    /// A label.
    Label,
    /// A rule of its own, in front.
    Rule,
    /// Our two weights, to (50, 50).
    Weights,
    /// Deletes it; it is created again 5 s later, with weights as first created.
    Gone,
}

impl FaultKind {
    /// The word for tables.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Answer {
                code: 409,
                moment: Moment::Before,
                ..
            } => "409",
            Self::Answer {
                code: 429,
                moment: Moment::Before,
                ..
            } => "429",
            Self::Answer {
                moment: Moment::Before, ..
            } => "5xx",
            Self::Answer {
                moment: Moment::After, ..
            } => "5xx-after",
            Self::Hang {
                moment: Moment::Before, ..
            } => "hang",
            Self::Hang {
                moment: Moment::After, ..
            } => "hang-after",
            Self::Disconnect {
                moment: Moment::Before, ..
            } => "broken",
            Self::Disconnect {
                moment: Moment::After, ..
            } => "broken-after",
            Self::Slow { .. } => "slow",
            Self::Stale { .. } => "stale",
            Self::WatchLate { .. } => "watch-late",
            Self::WatchClosed { .. } => "watch-closed",
            Self::WatchGone { .. } => "watch-410",
            Self::Crash { .. } | Self::CrashBetween { .. } => "crash",
            Self::LeaseHangs { .. } | Self::LeaseFails { .. } => "lease",
            Self::ClockJump { .. } => "clock",
            Self::Provider {
                how: Metrics::NaN | Metrics::Empty,
                ..
            } => "no-data",
            Self::Provider { .. } => "provider",
            Self::Route(_) => "route",
            Self::DeleteService { .. } | Self::EditService { .. } => "service",
            Self::DeleteReplicaSet { .. } | Self::ScaleReplicaSet { .. } => "replicaset",
            Self::SlowPods { .. } | Self::KillPods { .. } => "pods",
            Self::ApiDown { .. } => "api-down",
        }
    }
}
