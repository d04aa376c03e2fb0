//! What is happening to a Rollout, why, since when, and what happens next: for people (design contract 7).
//!
//! Reads the Situation that a plan is made from and asks the same functions (is there a pod too few, may this weight be
//! written), so that it cannot tell another story than the one that is played. Decides nothing and writes nothing.

mod behind;
mod check;
mod pauses;
mod release;
mod rest;
mod text;

use chrono::{DateTime, SecondsFormat, Utc};
use serde::{Serialize, Serializer};
use serin_model::World;

pub use check::misfit;

use crate::{conditions, invalid, situation::Situation};

/// Type of the condition that the controller sets while the audit refuses a plan.
const REFUSED: &str = "PlanRefused";

/// Every state that a Rollout can be seen in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum State {
    /// It is being deleted.
    Deleting,
    /// Its spec, or what it names, cannot be carried out.
    Invalid,
    /// The audit refuses what would be done next.
    Refused,
    /// Nothing stands in the way: the controller acts now.
    Acting,
    /// A person holds it by `spec.paused`.
    PausedByPerson,
    /// An analysis came to no verdict; a person decides.
    Inconclusive,
    /// A pause without a duration.
    PausedForPerson,
    /// A pause that ends by itself.
    PausedForTime,
    /// The first version gets its pods.
    FirstPods,
    /// Pods of a step are missing, or too many.
    WaitingForPods,
    /// A weight waits for pods of stable.
    WaitingForStable,
    /// A weight waits for ready endpoints behind a Service.
    WaitingForEndpoints,
    /// A route cannot be used.
    RouteUnusable,
    /// An analysis runs; its verdict decides.
    Analysing,
    /// An analysis runs and has no data.
    NoData,
    /// An analysis is wanted and no run can be made.
    AnalysisNotStarted,
    /// Nothing moved for longer than `progressDeadlineSeconds`.
    Overdue,
    /// Aborted, with traffic still on its way back.
    TakingBack,
    /// Aborted: stable has all traffic.
    Aborted,
    /// All steps are done or skipped: the last pods, then it is stable.
    Promoting,
    /// Back at the stable version; what went to another one is taken back.
    GoingBack,
    /// Complete, with too few pods available.
    Unavailable,
    /// Complete; pods of older versions are still there.
    CleaningUp,
    /// Complete.
    Healthy,
}

impl State {
    /// All of them.
    pub const ALL: [Self; 24] = [
        Self::Deleting,
        Self::Invalid,
        Self::Refused,
        Self::Acting,
        Self::PausedByPerson,
        Self::Inconclusive,
        Self::PausedForPerson,
        Self::PausedForTime,
        Self::FirstPods,
        Self::WaitingForPods,
        Self::WaitingForStable,
        Self::WaitingForEndpoints,
        Self::RouteUnusable,
        Self::Analysing,
        Self::NoData,
        Self::AnalysisNotStarted,
        Self::Overdue,
        Self::TakingBack,
        Self::Aborted,
        Self::Promoting,
        Self::GoingBack,
        Self::Unavailable,
        Self::CleaningUp,
        Self::Healthy,
    ];
}

/// Who or what makes it go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum WaitsFor {
    /// Nothing is left to do.
    Nothing,
    /// The controller, which acts now.
    Controller,
    /// A moment ([`Next::at`]).
    Time,
    /// Pods: the cluster brings them, or cannot.
    Pods,
    /// The verdict of an analysis.
    Analysis,
    /// A person's decision.
    Person,
    /// A correction: it cannot go on as it is.
    Correction,
}

/// What happens next.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Next {
    /// Who or what makes it go on.
    pub waits_for: WaitsFor,
    /// One sentence.
    pub what: String,
    /// When at the latest something happens by itself; none when that is not known.
    #[serde(serialize_with = "moment", skip_serializing_if = "Option::is_none")]
    pub at: Option<DateTime<Utc>>,
}

/// The answer to "what is it doing?".
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Explanation {
    /// The state as one word.
    pub state: State,
    /// What is happening: one sentence.
    pub what: String,
    /// Why: sentences, the most important one first.
    pub why: Vec<String>,
    /// Since when, where something in the cluster tells.
    #[serde(serialize_with = "moment", skip_serializing_if = "Option::is_none")]
    pub since: Option<DateTime<Utc>>,
    /// What happens next.
    pub next: Next,
    /// Names of the analysis runs that it speaks of.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub analysis_runs: Vec<String>,
}

#[expect(clippy::ref_option, reason = "serde calls it so")]
fn moment<S: Serializer>(at: &Option<DateTime<Utc>>, serializer: S) -> Result<S::Ok, S::Error> {
    at.map(|at| at.to_rfc3339_opts(SecondsFormat::Secs, true))
        .serialize(serializer)
}

impl Explanation {
    fn new(state: State, what: impl Into<String>, waits_for: WaitsFor, next: impl Into<String>) -> Self {
        Self {
            state,
            what: what.into(),
            why: Vec::new(),
            since: None,
            next: Next {
                waits_for,
                what: next.into(),
                at: None,
            },
            analysis_runs: Vec::new(),
        }
    }

    fn because(mut self, why: impl Into<String>) -> Self {
        let why = why.into();
        if !why.is_empty() {
            self.why.push(why);
        }
        self
    }

    fn because_of(self, whys: impl IntoIterator<Item = String>) -> Self {
        whys.into_iter().fold(self, Self::because)
    }

    fn since(mut self, since: Option<DateTime<Utc>>) -> Self {
        self.since = since;
        self
    }

    fn at(mut self, at: Option<DateTime<Utc>>) -> Self {
        self.next.at = at;
        self
    }
}

/// What is happening to a Rollout, given what was observed.
pub fn explain(world: &World, now: DateTime<Utc>) -> Explanation {
    let rollout = &world.rollout;
    if let Some(since) = &rollout.metadata.deletion_timestamp {
        return Explanation::new(
            State::Deleting,
            "The Rollout is being deleted.",
            WaitsFor::Nothing,
            "Its pods go with it; Services that it managed select all pods of the application again.",
        )
        .since(DateTime::from_timestamp(since.0.as_second(), 0));
    }
    let before = rollout.status.clone().unwrap_or_default();
    if let Some(problem) = invalid::problem(world).or_else(|| invalid::unsupported_strategy(rollout)) {
        let since = conditions::get(&before, conditions::INVALID_SPEC).map(|c| c.last_transition_time.0);
        let told = before.phase == "Degraded" && since.is_some();
        let (text, advice) = problem.parts();
        return Explanation::new(
            State::Invalid,
            "The Rollout is invalid: nothing of it is carried out, pods and traffic stay as they are.",
            if told {
                WaitsFor::Correction
            } else {
                WaitsFor::Controller
            },
            text::sentence(advice.unwrap_or("correct what is named; it goes on with the next change")),
        )
        .because(text)
        .since(since);
    }
    if let Some(refused) = conditions::get(&before, REFUSED).filter(|c| c.status == "True") {
        return Explanation::new(
            State::Refused,
            "The controller holds the Rollout: its own audit refuses what would be done next.",
            WaitsFor::Correction,
            "This is a bug in Serin, please report it. Any change of the Rollout or its pods is a new chance; \
             --audit=warn lets the controller go on.",
        )
        .because(refused.message.clone())
        .since(Some(refused.last_transition_time.0));
    }
    let Some(canary) = rollout
        .spec
        .strategy
        .canary
        .as_ref()
        .filter(|_| rollout.spec.replicas.is_some())
    else {
        return acting(
            "The Rollout names no number of pods.",
            "The controller writes the default, 1.",
        );
    };
    let s = Situation::read(world, canary, &before, now);
    let explanation = release::early(&s)
        .or_else(|| release::aborted(&s))
        .or_else(|| pauses::paused(&s))
        .or_else(|| release::first(&s))
        .or_else(|| rest::complete(&s))
        .or_else(|| release::last(&s))
        .or_else(|| release::step(&s))
        .unwrap_or_else(|| acting(format!("{} goes on.", text::revision(&s)), "The controller acts now."));
    overdue(&s, skipped_pause(&s, explanation))
}

/// Somebody went past a pause by hand: the phase says Paused until the step is done.
fn skipped_pause(s: &Situation<'_>, known: Explanation) -> Explanation {
    let pauses = matches!(
        known.state,
        State::PausedByPerson | State::Inconclusive | State::PausedForPerson | State::PausedForTime
    );
    let still_stands = !s.before.pause_conditions.is_empty();
    if pauses || still_stands || s.before.phase != "Paused" {
        return known;
    }
    known.because("Its phase is still Paused: somebody skipped the pause.")
}

fn acting(what: impl Into<String>, next: impl Into<String>) -> Explanation {
    Explanation::new(State::Acting, what, WaitsFor::Controller, next)
}

/// Waiting that has lasted too long is called so; what it waits for stays the reason.
fn overdue(s: &Situation<'_>, mut known: Explanation) -> Explanation {
    let progressing = conditions::get(s.before, conditions::PROGRESSING);
    let Some(late) = progressing.filter(|c| c.reason == "ProgressDeadlineExceeded") else {
        return known;
    };
    let waits = matches!(known.next.waits_for, WaitsFor::Pods | WaitsFor::Correction);
    if !waits || known.state == State::Unavailable {
        return known;
    }
    let seconds = s.spec.progress_deadline();
    known.why.insert(0, known.what);
    known.what = format!(
        "{} has not moved for {seconds} s (progressDeadlineSeconds).",
        text::revision(s)
    );
    known.state = State::Overdue;
    known.since = Some(late.last_transition_time.0);
    known.next.at = None;
    known
}
