//! An independent look at every plan before it is applied: the write rules W1 to W9, written from the rules and from the
//! map of upstream's behaviour, never from the planner's code.
//!
//! Knows the World that was read, the Plan and the time; no client, no clock, and nothing of how a plan was made. It judges
//! only what Serin's own writes change: a World that breaks a rule already is nobody's fault here.
//! The writes are played one after another on a copy of the facts. A write may rely on the effect of an earlier one of the
//! same plan (a weight that was written is written), but pods that such a write asks for are not there yet.

mod capacity;
mod counts;
mod facts;
mod guards;
mod progress;
mod removal;
mod traffic;

use std::fmt;

use chrono::{DateTime, Utc};
use serin_model::{Plan, World};

use facts::Facts;

/// The write rules.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Rule {
    /// No write raises the canary's weight above what the step allows, or above 0 without a ready canary endpoint.
    W1,
    /// No write lowers an arm's ready capacity below its share of the traffic less maxUnavailable, unless the spec or a
    /// person asks for it.
    W2,
    /// While `status.abort` stands the weight never rises: the next one written is 0, or falls with stable's availability
    /// under dynamicStableScale. Only a person, a new revision or a promotion ends an abort.
    W3,
    /// No promotion past a step that is not complete or an analysis that is not Successful, nor with a background analysis
    /// that is Failed, Error or Inconclusive.
    W4,
    /// Without a router: available pods stay at or above replicas less maxUnavailable, and all pods at or below replicas plus
    /// maxSurge, for what is written.
    W5,
    /// `stableRS` changes only on completion.
    W6,
    /// With a router, nothing of a revision that has weight, or that a managed Service selects, is deleted or scaled to 0,
    /// unless `spec.replicas` is 0; and nothing whose scale-down delay still runs.
    W7,
    /// A pause without a duration ends by a person, an abort or a new revision; the clock of one with a duration is never
    /// started anew.
    W8,
    /// A write that is late changes nothing: each carries the resourceVersion that the plan saw, or makes an object under a
    /// deterministic name. (That none starts after the lease's renew deadline is the controller's gate.)
    W9,
}

impl Rule {
    /// All of them.
    pub const ALL: [Self; 9] = [
        Self::W1,
        Self::W2,
        Self::W3,
        Self::W4,
        Self::W5,
        Self::W6,
        Self::W7,
        Self::W8,
        Self::W9,
    ];

    /// `W1` to `W9`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::W1 => "W1",
            Self::W2 => "W2",
            Self::W3 => "W3",
            Self::W4 => "W4",
            Self::W5 => "W5",
            Self::W6 => "W6",
            Self::W7 => "W7",
            Self::W8 => "W8",
            Self::W9 => "W9",
        }
    }
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What follows from a finding.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Severity {
    /// The plan must not be applied.
    Refuse,
    /// About capacity: said in production, a failure in tests.
    Warn,
}

/// One write that breaks one rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// Which rule.
    pub rule: Rule,
    /// What follows.
    pub severity: Severity,
    /// Index of the write in the plan.
    pub write: usize,
    /// Object, value, and the way out.
    pub message: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {} (write {})", self.rule, self.message, self.write)
    }
}

/// Findings under construction.
pub(crate) struct Findings {
    write: usize,
    list: Vec<Finding>,
}

impl Findings {
    pub(crate) fn refuse(&mut self, rule: Rule, message: impl Into<String>) {
        self.add(rule, Severity::Refuse, message.into());
    }

    pub(crate) fn warn(&mut self, rule: Rule, message: impl Into<String>) {
        self.add(rule, Severity::Warn, message.into());
    }

    fn add(&mut self, rule: Rule, severity: Severity, message: String) {
        self.list.push(Finding {
            rule,
            severity,
            write: self.write,
            message,
        });
    }
}

/// Every rule that a write of the plan breaks, in the order of the writes. Empty: the plan may be applied.
pub fn audit(world: &World, plan: &Plan, now: DateTime<Utc>) -> Vec<Finding> {
    let mut findings = Findings {
        write: 0,
        list: Vec::new(),
    };
    if plan.writes.is_empty() {
        return findings.list;
    }
    let mut before = Facts::of(world, now);
    for (index, planned) in plan.writes.iter().enumerate() {
        findings.write = index;
        guards::judge(&before, &planned.write, &mut findings);
        let after = before.after(&planned.write);
        if before.canary.is_some() {
            traffic::judge(&before, &after, &planned.write, &mut findings);
            capacity::judge(&before, &after, &mut findings);
            removal::judge(&before, &after, &mut findings);
            progress::judge(&before, &after, &mut findings);
        }
        before = after;
    }
    findings.list
}
