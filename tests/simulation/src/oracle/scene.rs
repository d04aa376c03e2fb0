//! One write of a controller, the storage just before it, and what its writer could have known.

use std::time::Duration;

use chrono::{DateTime, Utc};
use serde_json::Value;
use serin_kubesim::Change;

use super::{
    facts::{Rollout, available, owner, selected, serves, shares, text},
    knowledge::Knowledge,
    picture::{Kind, Picture},
};

/// See the module.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Scene<'s, 'h> {
    pub picture: &'s Picture<'h>,
    pub knowledge: &'s Knowledge<'h>,
    pub change: &'h Change,
    since: Duration,
}

impl<'s, 'h> Scene<'s, 'h> {
    pub(crate) fn new(picture: &'s Picture<'h>, knowledge: &'s Knowledge<'h>, change: &'h Change) -> Self {
        Self {
            picture,
            knowledge,
            change,
            since: change.at.saturating_sub(knowledge.lag(change.at)),
        }
    }

    /// Before the write.
    pub(crate) fn old(&self) -> Option<&'h Value> {
        self.change.old.as_deref()
    }

    /// After it.
    pub(crate) fn new_object(&self) -> Option<&'h Value> {
        self.change.new.as_deref()
    }

    /// What the writer's clock said.
    pub(crate) fn clock(&self) -> DateTime<Utc> {
        self.knowledge.clock(&self.change.user, self.change.at)
    }

    /// The same, before and after it was set just now.
    pub(crate) fn clocks(&self) -> [DateTime<Utc>; 2] {
        self.knowledge.clocks(&self.change.user, self.change.at)
    }

    /// Versions of an object that the writer could have taken for the present one.
    pub(crate) fn views(&self, kind: Kind, namespace: &str, name: &str) -> Vec<Option<&'h Value>> {
        self.picture.views(kind, namespace, name, self.since, &self.change.user)
    }

    /// The same of a Rollout, where it existed.
    pub(crate) fn rollouts(&self, namespace: &str, name: &str) -> Vec<Rollout<'h>> {
        self.views(Kind::Rollout, namespace, name)
            .into_iter()
            .flatten()
            .map(Rollout)
            .collect()
    }

    /// The most pods of a ReplicaSet that the writer could have taken for available.
    pub(crate) fn available(&self, namespace: &str, name: &str) -> i64 {
        let views = self.views(Kind::ReplicaSet, namespace, name);
        views.into_iter().flatten().map(available).max().unwrap_or(0)
    }

    /// Whether the writer could have believed that a ReplicaSet does not exist, or not for long.
    pub(crate) fn may_be_gone(&self, namespace: &str, name: &str) -> bool {
        let views = self.views(Kind::ReplicaSet, namespace, name);
        let is_gone = |o: &Value| o.pointer("/metadata/deletionTimestamp").is_some();
        views.into_iter().any(|o| o.is_none_or(is_gone))
    }

    /// The fewest pods of a ReplicaSet that the writer could have taken for available.
    pub(crate) fn least_available(&self, namespace: &str, name: &str) -> i64 {
        let views = self.views(Kind::ReplicaSet, namespace, name);
        views.into_iter().map(|o| o.map_or(0, available)).min().unwrap_or(0)
    }

    /// Whether the writer could have seen a ready endpoint of this ReplicaSet behind the Service.
    pub(crate) fn has_endpoint(&self, namespace: &str, service: &str, replica_set: &str) -> bool {
        self.picture.slices_of(namespace, service).any(|slice| {
            let views = self.views(Kind::Slice, namespace, slice);
            views.into_iter().flatten().any(|slice| serves(slice, replica_set))
        })
    }

    /// Whether the writer could have believed that the Service does not select this revision.
    pub(crate) fn may_be_unselected(&self, namespace: &str, service: &str, hash: &str) -> bool {
        service.is_empty()
            || self
                .views(Kind::Service, namespace, service)
                .into_iter()
                .any(|s| s.is_none_or(|s| selected(s) != hash))
    }

    /// The least (canary, stable) shares that the writer could have taken for written in all of the Rollout's routes: the
    /// greatest over the routes, each as low as it could have been seen.
    pub(crate) fn least_shares(&self, rollout: Rollout<'_>) -> (f64, f64) {
        let mut out = (0.0_f64, 0.0_f64);
        for (namespace, name) in rollout.routes() {
            let mut least = (1.0_f64, 1.0_f64);
            for route in self.views(Kind::Route, namespace, name) {
                let (c, s) = route.map_or((0.0, 0.0), |r| {
                    shares(r, rollout.canary_service(), rollout.stable_service())
                });
                least = (least.0.min(c), least.1.min(s));
            }
            out = (out.0.max(least.0), out.1.max(least.1));
        }
        out
    }

    /// Names of the other ReplicaSets of the same owner that the writer could have taken for there: those of a deleted
    /// Rollout of the same name are another's.
    pub(crate) fn siblings(&self, namespace: &str, rollout: &str, of: &'h Value) -> impl Iterator<Item = &'h str> {
        let uid = |o: &Value| owner(o).map(|(_, _, uid)| uid.to_owned());
        let (mine, itself) = (uid(of), text(of, "/metadata/name"));
        self.picture.replica_sets_of(namespace, rollout).filter(move |name| {
            let others = || self.views(Kind::ReplicaSet, namespace, name).into_iter().flatten();
            *name != itself && others().any(|o| uid(o) == mine)
        })
    }

    /// Name of the ReplicaSet of a revision.
    pub(crate) fn replica_set_of(&self, namespace: &str, rollout: &str, hash: &str) -> Option<&'h str> {
        replica_set_of(self.picture, namespace, rollout, hash)
    }
}

/// Name of the ReplicaSet with this hash label; names end in it unless somebody else made it.
pub(crate) fn replica_set_of<'h>(picture: &Picture<'h>, namespace: &str, rollout: &str, hash: &str) -> Option<&'h str> {
    if hash.is_empty() {
        return None;
    }
    picture
        .replica_sets_of(namespace, rollout)
        .find(|name| name.strip_suffix(hash).is_some_and(|rest| rest.ends_with('-')))
}
