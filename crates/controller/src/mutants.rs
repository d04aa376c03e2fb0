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

/// The status as such a process writes it, and as one does that believes to be its only writer.
pub(crate) fn spoil(ctx: &Context, key: &Key, subresource: Option<&str>, patch: &mut Value) {
    let Some(status) = patch
        .get_mut("status")
        .and_then(Value::as_object_mut)
        .filter(|_| subresource.is_some())
    else {
        return;
    };
    let forgets = ctx.memory(key, |memory| memory.found.is_some_and(|found| found.abort));
    if mutant::is(Mutant::AbortForgottenByRestart) && forgets {
        status.insert("abort".to_owned(), Value::Null);
        status.insert("abortedAt".to_owned(), Value::Null);
    }
    if mutant::is(Mutant::StatusWithoutVersion) {
        // Not aborted when the plan was made, and so not aborted.
        status.entry("abort").or_insert(Value::Null);
        if let Some(metadata) = patch["metadata"].as_object_mut() {
            metadata.remove("resourceVersion");
        }
    }
}
