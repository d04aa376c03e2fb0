//! World and time in, Plan out: steps, replica counts, weights, revisions, phases, conditions, messages, events.
//!
//! Pure: knows no client, no clock and no randomness. Upstream's behaviour is described in the compatibility map; "compat
//! 2.4" in a comment is its section. A plan makes one step of each kind at most and is followed by another one, made from
//! what it changed, until nothing is left to do.

mod analysis;
mod canary;
mod conditions;
mod draft;
mod explain;
mod invalid;
mod pause;
mod phase;
mod replicas;
mod revision;
mod scaling;
mod services;
mod situation;
mod traffic;

use chrono::{DateTime, Utc};
use serde_json::json;
use serin_model::{Plan, World, Write};

pub use explain::{Explanation, Next, State, WaitsFor, explain, misfit};
pub use invalid::undecodable;
pub use services::release as release_service;

use situation::Situation;

/// What to do about one Rollout, given what was observed.
pub fn plan(world: &World, now: DateTime<Utc>) -> Plan {
    let rollout = &world.rollout;
    if rollout.metadata.deletion_timestamp.is_some() {
        return Plan::default();
    }
    if let Some(problem) = invalid::problem(world).or_else(|| invalid::unsupported_strategy(rollout)) {
        return invalid::plan(world, &problem, now);
    }
    let Some(canary) = &rollout.spec.strategy.canary else {
        return Plan::default();
    };
    if rollout.spec.replicas.is_none() {
        // An autoscaler needs the number in the object (compat 1.1, H9).
        let resource_version = rollout.metadata.resource_version.clone().unwrap_or_default();
        let mut draft = draft::Draft::new(now);
        draft.write(
            Write::PatchRollout {
                resource_version,
                patch: json!({ "spec": { "replicas": 1 } }),
            },
            [],
        );
        return draft.finish();
    }
    let before = rollout.status.clone().unwrap_or_default();
    canary::plan(&Situation::read(world, canary, &before, now))
}
