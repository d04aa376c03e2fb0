//! What one pass decides about pausing and aborting, and how that becomes status (compat 1.3, H5, 2.6).

use chrono::{DateTime, Utc};
use serin_api::{
    Time,
    status::{PauseCondition, PauseReason, RolloutStatus},
};
use serin_model::Event;

/// Decisions of a pass about pause and abort; applied to the status once, at its end.
#[derive(Debug, Default)]
pub(crate) struct PauseDecision {
    add: Vec<PauseReason>,
    remove: Vec<PauseReason>,
    clear: bool,
    abort: Option<String>,
    remove_abort: bool,
    keep_marks: bool,
    keep_resumption: bool,
}

impl PauseDecision {
    pub(crate) fn add(&mut self, reason: PauseReason) {
        self.add.push(reason);
    }

    pub(crate) fn has_add(&self) -> bool {
        !self.add.is_empty()
    }

    pub(crate) fn remove(&mut self, reason: PauseReason) {
        self.remove.push(reason);
    }

    /// Ends every pause, also one that this very pass was about to add.
    pub(crate) fn clear(&mut self) {
        self.clear = true;
        self.add.clear();
    }

    /// What a person asked for stays asked for: this pass does not get as far as to act upon a resumption or a retry.
    pub(crate) fn keep_marks(&mut self) {
        self.keep_marks = true;
    }

    /// A person has gone on, and this pass does not: what else they asked for it acts upon.
    pub(crate) fn keep_resumption(&mut self) {
        self.keep_resumption = true;
    }

    /// The first reason counts.
    pub(crate) fn abort(&mut self, message: String) {
        self.abort.get_or_insert(message);
    }

    pub(crate) fn remove_abort(&mut self) {
        self.remove_abort = true;
        self.abort = None;
    }

    pub(crate) fn abort_message(&self) -> Option<&str> {
        self.abort.as_deref().filter(|m| !m.is_empty())
    }

    /// Aborted by the status as it was or by this pass.
    pub(crate) fn is_aborted(&self, before: &RolloutStatus) -> bool {
        self.abort.is_some() || (!self.remove_abort && before.abort == Some(true))
    }

    /// Writes pause and abort fields of the new status and says what changed.
    pub(crate) fn apply(&self, before: &RolloutStatus, after: &mut RolloutStatus, now: DateTime<Utc>) -> Vec<Event> {
        // A client's `false` stays as it is (recordings README 15); a consumed `true` disappears.
        after.abort = before.abort.filter(|aborted| !*aborted);
        after.aborted_at = None;
        after.pause_conditions.clear();
        after.controller_pause = false;
        let ends_none = !self.clear && self.remove.is_empty();
        let keeps = self.keep_marks && ends_none;
        if self.is_aborted(before) {
            after.abort = Some(true);
            after.aborted_at = before.aborted_at.or_else(|| Some(Time::new(now)));
            return Vec::new();
        }
        let mut events = Vec::new();
        let mut paused = before.controller_pause;
        if !self.clear {
            after.pause_conditions = before
                .pause_conditions
                .iter()
                .filter(|c| !self.remove.contains(&c.reason))
                .cloned()
                .collect();
        }
        for &reason in &self.add {
            if !before.pause_conditions.iter().any(|c| c.reason == reason) {
                after.pause_conditions.push(PauseCondition {
                    reason,
                    start_time: Time::new(now),
                });
                paused = true;
                events.push(Event::normal(
                    "RolloutPaused",
                    format!("Rollout is paused ({})", reason.as_str()),
                ));
            }
        }
        if keeps {
            after.aborted_at = before.aborted_at;
        }
        if after.pause_conditions.is_empty() {
            paused = (keeps || (self.keep_resumption && ends_none))
                && before.controller_pause
                && before.pause_conditions.is_empty();
            if !before.pause_conditions.is_empty() {
                events.push(Event::normal("RolloutResumed", "Rollout is resumed"));
            }
        }
        after.controller_pause = paused;
        events
    }
}

/// The condition of that reason, if it stands.
pub(crate) fn condition(status: &RolloutStatus, reason: PauseReason) -> Option<&PauseCondition> {
    status.pause_conditions.iter().find(|c| c.reason == reason)
}
