//! Deliberate bugs of the shell that do not fit into one line at their place (see [`serin_model::mutant`]). In no program
//! but that of `make simulate-mutants`.

use chrono::{DateTime, DurationRound, TimeDelta, Utc};
use serde_json::Value;
use serin_api::status::PauseReason;
use serin_model::{
    World,
    mutant::{self, Mutant},
};

use crate::{context::Context, table::Key};

/// What this process found when it first looked at a Rollout.
#[derive(Clone, Copy, Debug)]
pub struct Found {
    at: DateTime<Utc>,
    abort: bool,
}

/// The World as a process sees it that keeps aborts and pauses in its memory only.
pub(crate) fn distort(ctx: &Context, key: &Key, mut world: Box<World>, now: DateTime<Utc>) -> Box<World> {
    let Some(status) = world.rollout.status.as_mut() else {
        return world;
    };
    let aborted = status.abort == Some(true);
    let found = ctx.memory(key, |memory| {
        let found = memory.found.get_or_insert(Found {
            at: now,
            abort: aborted,
        });
        // A retry, or a new revision: an abort that comes later is one that this process has seen coming.
        found.abort &= aborted;
        *found
    });
    if mutant::is(Mutant::AbortForgottenByRestart) && found.abort {
        status.abort = None;
        status.aborted_at = None;
    }
    if mutant::is(Mutant::PauseAnewByRestart) {
        // Times are stored in whole seconds.
        let since = found.at.duration_trunc(TimeDelta::seconds(1)).unwrap_or(found.at);
        let count = status.pause_conditions.len();
        status
            .pause_conditions
            .retain(|c| c.reason != PauseReason::CanaryPauseStep || c.start_time.0 >= since);
        status.controller_pause &= status.pause_conditions.len() == count;
    }
    world
}

/// The status as a process writes it that believes to be its only writer.
pub(crate) fn unguard(subresource: Option<&str>, patch: &mut Value) {
    if !mutant::is(Mutant::StatusWithoutVersion) || subresource.is_none() {
        return;
    }
    if let Some(metadata) = patch["metadata"].as_object_mut() {
        metadata.remove("resourceVersion");
    }
    if let Some(status) = patch["status"].as_object_mut() {
        // Not aborted when the plan was made, and so not aborted.
        status.entry("abort").or_insert(Value::Null);
    }
}
