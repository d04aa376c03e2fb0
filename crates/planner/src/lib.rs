//! World and time in, Plan out: steps, replica counts, weights, revisions, phases, conditions, messages, events.
//!
//! Pure: knows no client, no clock and no randomness. Upstream's behaviour is described in the compat map; section
//! numbers in comments are its own.

use chrono::{DateTime, Utc};
use serin_model::{Plan, World};

/// What to do about one Rollout, given what was observed.
pub fn plan(world: &World, now: DateTime<Utc>) -> Plan {
    let _ = (world, now);
    Plan::default()
}
