//! Rules about the end: after the last fault and all delays, everything is where it should be.

mod rest;
mod settled;
mod sizes;
mod two;
mod users;

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use serde_json::Value;

use super::{
    facts::{Rollout, available, hash_of, wanted},
    knowledge::clock,
    picture::{Kind, Picture},
    report::{Report, Rule},
};
use crate::history::{History, is_controller};

/// All settling rules.
pub(crate) fn check(history: &History, picture: &Picture<'_>, report: &mut Report) {
    let ends: Vec<End<'_, '_>> = picture
        .all(Kind::Rollout)
        .map(|(_, _, object)| End::of(history, picture, Rollout(object)))
        .filter(|e| !e.rollout.is_going())
        .collect();
    for end in &ends {
        settled::check(end, report);
        sizes::check(end, report);
    }
    rest::check(history, &ends, report);
    users::check(history, picture, report);
    two::check(history, picture, report);
}

/// A Rollout at the end of the run.
pub(crate) struct End<'s, 'h> {
    pub history: &'h History,
    pub picture: &'s Picture<'h>,
    pub rollout: Rollout<'h>,
    /// Its ReplicaSets.
    pub replica_sets: Vec<&'h Value>,
    /// What the leader's clock says.
    pub now: DateTime<Utc>,
}

impl<'s, 'h> End<'s, 'h> {
    fn of(history: &'h History, picture: &'s Picture<'h>, rollout: Rollout<'h>) -> Self {
        let replica_sets = picture
            .replica_sets_of(rollout.namespace(), rollout.name())
            .filter_map(|name| picture.latest(Kind::ReplicaSet, rollout.namespace(), name))
            .filter(|o| o.pointer("/metadata/deletionTimestamp").is_none())
            .filter(|o| {
                super::facts::owner(o).is_some_and(|(_, _, uid)| uid == super::facts::text(rollout.0, "/metadata/uid"))
            })
            .collect();
        Self {
            history,
            picture,
            rollout,
            replica_sets,
            now: clock(history, leader(history), history.end),
        }
    }

    pub(crate) fn say(&self, report: &mut Report, rule: Rule, message: String) {
        let key = format!("{}/{}", self.rollout.namespace(), self.rollout.name());
        report.add(rule, self.history.end, &key, message);
    }

    /// The ReplicaSet of a revision.
    pub(crate) fn revision(&self, hash: &str) -> Option<&'h Value> {
        self.replica_sets
            .iter()
            .copied()
            .find(|o| !hash.is_empty() && hash_of(o) == hash)
    }

    /// ReplicaSets that are neither stable nor current.
    pub(crate) fn others(&self) -> impl Iterator<Item = &'h Value> + '_ {
        let (stable, current) = (self.rollout.stable(), self.rollout.current());
        self.replica_sets
            .iter()
            .copied()
            .filter(move |o| ![stable, current].contains(&hash_of(o)))
    }

    /// (wanted, available) of a revision.
    pub(crate) fn size(&self, hash: &str) -> (i64, i64) {
        self.revision(hash).map_or((0, 0), |o| (wanted(o), available(o)))
    }

    /// Whether this time stamp has passed for long.
    pub(crate) fn is_past(&self, at: DateTime<Utc>) -> bool {
        at + TimeDelta::seconds(PATIENCE) < self.now
    }

    /// Whether an AnalysisRun of this name is at work.
    pub(crate) fn is_running(&self, run: &str) -> bool {
        let found = self.picture.latest(Kind::Run, self.rollout.namespace(), run);
        found.is_some_and(|r| matches!(super::facts::text(r, "/status/phase"), "" | "Pending" | "Running"))
    }

    /// Whether clocks of controllers jumped, so that time stamps may lie in any future.
    pub(crate) fn clocks_jumped(&self) -> bool {
        self.history.replicas.iter().any(|r| !r.offsets.is_empty())
    }

    /// When one of its objects last changed by another hand than the controller's.
    pub(crate) fn last_moved(&self) -> Duration {
        let (namespace, name) = (self.rollout.namespace(), self.rollout.name());
        let of = |kind: Kind, name: &str| {
            let track = self.picture.track(kind, namespace, name);
            track.iter().rev().find(|v| !is_controller(v.user)).map(|v| v.at)
        };
        let sets = self.picture.replica_sets_of(namespace, name);
        let newest = sets.filter_map(|n| of(Kind::ReplicaSet, n)).max().unwrap_or_default();
        newest.max(of(Kind::Rollout, name).unwrap_or_default())
    }
}

/// Seconds after a deadline within which it is acted upon.
const PATIENCE: i64 = 15;

/// The controller that has the last word: the last that wrote a lease, or the one that runs.
fn leader(history: &History) -> &str {
    let lease = history
        .changes
        .iter()
        .rev()
        .find(|c| c.resource.plural == "leases" && is_controller(&c.user));
    match lease {
        Some(change) => &change.user,
        None => history
            .replicas
            .iter()
            .rev()
            .find(|r| r.ended.is_none())
            .map_or("", |r| &r.user),
    }
}
