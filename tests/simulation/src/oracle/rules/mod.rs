//! Rules about single writes. Each is a function with its sentence above it.

mod capacity;
mod delays;
mod identity;
pub(crate) mod lease;
mod memory;
mod pauses;
mod people;
mod promotion;
pub(crate) mod requests;
mod steps;
mod weights;

pub(crate) use memory::Memory;

use super::{
    facts::Rollout,
    picture::Kind,
    report::{Report, Rule},
    scene::Scene,
};

/// Judges one write of a controller.
pub(crate) fn judge(scene: &Scene<'_, '_>, memory: &Memory<'_>, report: &mut Report) {
    match Kind::of(&scene.change.resource) {
        Some(Kind::Route) => weights::route(scene, memory, report),
        Some(Kind::Service) => weights::service(scene, report),
        Some(Kind::ReplicaSet) => {
            identity::replica_set(scene, report);
            capacity::replica_set(scene, report);
        }
        Some(Kind::Pod) => identity::pod(scene, report),
        Some(Kind::Rollout) => {
            if let Some(write) = StatusWrite::of(scene) {
                steps::advance(&write, report);
                promotion::stable(&write, report);
                pauses::kept(&write, memory, report);
                people::abort_kept(&write, report);
            }
        }
        _ => {}
    }
}

/// A controller's write of a Rollout. Guarded by the resourceVersion, so that its writer knew exactly the old one.
#[derive(Clone, Copy, Debug)]
pub(crate) struct StatusWrite<'s, 'h> {
    pub scene: &'s Scene<'s, 'h>,
    pub old: Rollout<'h>,
    pub new: Rollout<'h>,
    /// Another revision or other steps: everything begins anew (compat 2.3).
    pub is_reset: bool,
}

impl<'s, 'h> StatusWrite<'s, 'h> {
    fn of(scene: &'s Scene<'s, 'h>) -> Option<Self> {
        let (old, new) = (Rollout(scene.old()?), Rollout(scene.new_object()?));
        Some(Self {
            scene,
            old,
            new,
            is_reset: old.current() != new.current() || old.step_hash() != new.step_hash(),
        })
    }

    /// Says that a rule was broken by it.
    pub(crate) fn say(&self, report: &mut Report, rule: Rule, message: String) {
        say(self.scene, report, rule, self.old, message);
    }

    /// Name of the ReplicaSet of the present revision.
    pub(crate) fn canary(&self) -> Option<&'h str> {
        let (namespace, name) = (self.old.namespace(), self.old.name());
        self.scene.replica_set_of(namespace, name, self.new.current())
    }

    /// The most canary pods that the writer could have taken for available.
    pub(crate) fn available(&self) -> i64 {
        let canary = self.canary();
        canary.map_or(0, |name| self.scene.available(self.old.namespace(), name))
    }

    /// Steps need not be waited for: a full promotion (compat 2.8), the revision is the stable one (2.3), or lies in the
    /// rollback window (2.7), or there is no stable one any more.
    pub(crate) fn is_fast(&self) -> bool {
        self.old.is_full() || self.new.is_promoted() || self.is_in_window() || self.is_first()
    }

    /// Compat 2.4, `Initial deploy`: the stable revision's ReplicaSet is not there (somebody deleted it).
    pub(crate) fn is_first(&self) -> bool {
        let (namespace, name) = (self.old.namespace(), self.old.name());
        let stable = self.scene.replica_set_of(namespace, name, self.old.stable());
        stable.is_none_or(|rs| self.scene.may_be_gone(namespace, rs))
    }

    /// Compat 2.7: older than the stable revision, with fewer than so many between them.
    pub(crate) fn is_in_window(&self) -> bool {
        let window = self.new.rollback_window();
        if window <= 0 {
            return false;
        }
        let (namespace, name) = (self.old.namespace(), self.old.name());
        let born = |hash: &str| {
            let name = self.scene.replica_set_of(namespace, name, hash)?;
            let object = self.scene.picture.latest(Kind::ReplicaSet, namespace, name)?;
            super::facts::time(super::facts::text(object, "/metadata/creationTimestamp"))
        };
        let (Some(current), Some(stable)) = (born(self.new.current()), born(self.old.stable())) else {
            return false;
        };
        let between = self
            .scene
            .picture
            .replica_sets_of(namespace, name)
            .filter_map(|n| self.scene.picture.latest(Kind::ReplicaSet, namespace, n))
            .filter_map(|o| super::facts::time(super::facts::text(o, "/metadata/creationTimestamp")))
            .filter(|t| current < *t && *t < stable)
            .count();
        current < stable && i64::try_from(between).is_ok_and(|n| n < window)
    }
}

/// Says that a rule about a Rollout was broken by this write.
fn say(scene: &Scene<'_, '_>, report: &mut Report, rule: Rule, rollout: Rollout<'_>, message: String) {
    let key = format!("{}/{}", rollout.namespace(), rollout.name());
    report.add(rule, scene.change.at, &key, format!("{} {message}", scene.change.user));
}
