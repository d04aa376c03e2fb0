//! What must be remembered of the past to judge a write: pauses that were begun, and the last release that a status spoke of.

use std::collections::BTreeMap;

use serde_json::Value;
use serin_kubesim::Change;

use crate::{
    history::is_controller,
    oracle::{
        facts::Rollout,
        picture::{Kind, Picture},
    },
};

/// The pause of the present step.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Pause {
    /// It was begun.
    pub begun: bool,
    /// A person ended it.
    pub ended: bool,
}

/// What is remembered of a Rollout.
#[derive(Clone, Copy, Debug, Default)]
struct Remembered<'h> {
    pause: Pause,
    /// Template and steps when the status last spoke of the present spec.
    release: Option<(Option<&'h Value>, Option<&'h Value>)>,
}

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Memory<'h> {
    rollouts: BTreeMap<(&'h str, &'h str), Remembered<'h>>,
}

impl<'h> Memory<'h> {
    /// Takes in a change by anybody.
    pub(crate) fn note(&mut self, _: &Picture<'h>, change: &'h Change) {
        if Kind::of(&change.resource) != Some(Kind::Rollout) {
            return;
        }
        let key = (change.namespace.as_str(), change.name.as_str());
        let Some(new) = change.new.as_deref().map(Rollout) else {
            self.rollouts.remove(&key);
            return;
        };
        let remembered = self.rollouts.entry(key).or_default();
        if new.is_observed() {
            remembered.release = Some(new.plan_of_release());
        }
        let old = Rollout(change.old.as_deref().unwrap_or(&Value::Null));
        let step = |r: Rollout<'h>| (r.current(), r.step_hash(), r.index(), r.is_aborted(), r.stable());
        if step(old) != step(new) {
            remembered.pause = Pause::default();
        }
        let (before, after) = (old.paused_since(PAUSE).is_some(), new.paused_since(PAUSE).is_some());
        remembered.pause.begun |= after;
        remembered.pause.ended |= before && !after && !is_controller(&change.user) && step(old) == step(new);
    }

    /// The pause of the present step.
    pub(crate) fn pause(&self, namespace: &str, name: &str) -> Pause {
        self.rollouts
            .get(&(namespace, name))
            .map_or(Pause::default(), |r| r.pause)
    }

    /// Whether the spec asks for a release that the status does not speak of yet.
    pub(crate) fn is_pending(&self, rollout: Rollout<'_>) -> bool {
        if rollout.is_observed() {
            return false;
        }
        let known = self.rollouts.get(&(rollout.namespace(), rollout.name()));
        known
            .and_then(|r| r.release)
            .is_some_and(|release| release != rollout.plan_of_release())
    }
}

/// Reason of the condition of a pause step.
pub(crate) const PAUSE: &str = "CanaryPauseStep";
