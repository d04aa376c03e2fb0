//! What the oracle says.

use std::{collections::BTreeMap, fmt, time::Duration};

use super::facts::seconds_of;

/// Which rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Rule {
    /// No write raises the canary's weight above what the step allows, or above 0 without a ready canary endpoint.
    W1,
    /// No write lowers an arm's ready capacity below its share of traffic less maxUnavailable.
    W2,
    /// While an abort stands the weight never rises, and the next weight written is 0.
    W3,
    /// No promotion past an analysis that is not Successful.
    W4,
    /// Without a router: enough pods available, not too many in total.
    W5,
    /// `stableRS` changes only on completion.
    W6,
    /// Behind a router nothing with weight, or selected by a managed Service, is deleted or scaled to 0.
    W7,
    /// An untimed pause ends by a person, an abort or a new revision.
    W8,
    /// No write starts after the lease's renew deadline, and a late one changes nothing.
    W9,
    /// Every Rollout comes to rest, or says until when it does not.
    S1,
    /// At rest: exactly the pods, weights, selectors and counts that should be.
    S2,
    /// At rest: no query, and no write but the lease.
    S3,
    /// Users' requests fail only where the canary itself failed them.
    S4,
    /// After two controllers were at work at once all is as if there had been one.
    S5,
    /// `status.abort` goes only by a person, a new revision, or because there is nothing to abort.
    AbortKept,
    /// A person's promotion ends the pause.
    PromotionKept,
    /// A pause is neither begun anew nor shortened.
    PauseKept,
    /// A ReplicaSet is kept until its scale-down deadline.
    ScaleDownDelay,
    /// A step's index advances only when the step's effect is in storage.
    StepEffect,
    /// No write of an existing object without a guard.
    Guarded,
    /// No write from an object older than the writer's own last write of it.
    Fresh,
    /// No pod of an unchanged revision is restarted by the controller.
    NoRestart,
    /// Of an HTTPRoute only the weights of the two Services are changed.
    RouteKept,
    /// The history of ReplicaSets is kept.
    HistoryKept,
    /// The audit refused a plan.
    Audit,
    /// A controller ended by itself.
    Alive,
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self:?}")
    }
}

/// A rule was broken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// Which.
    pub rule: Rule,
    /// When: the write, or the end.
    pub at: Duration,
    /// `namespace/name`, with the kind where it is not a Rollout.
    pub object: String,
    /// What was seen.
    pub message: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} at {} {}: {}",
            self.rule,
            seconds_of(self.at),
            self.object,
            self.message
        )
    }
}

/// Violations of one rule about one object beyond these add nothing for a reader.
const SAID: usize = 3;

/// Collects violations.
#[derive(Debug, Default)]
pub(crate) struct Report {
    violations: Vec<Violation>,
    said: BTreeMap<(Rule, String), usize>,
}

impl Report {
    /// Adds one.
    pub(crate) fn add(&mut self, rule: Rule, at: Duration, object: &str, message: String) {
        let said = self.said.entry((rule, object.to_owned())).or_default();
        *said += 1;
        if *said <= SAID {
            self.violations.push(Violation {
                rule,
                at,
                object: object.to_owned(),
                message,
            });
        }
    }

    /// All of them, by time.
    pub(crate) fn finish(mut self) -> Vec<Violation> {
        self.violations.sort_by_key(|v| (v.at, v.rule));
        self.violations
    }
}
