//! The World read with a Rollout's eyes: which ReplicaSet is new, stable, other; which step is current; what weight and
//! how many pods that means.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use serin_api::{
    DESIRED_REPLICAS_ANNOTATION, REVISION_ANNOTATION, SCALE_DOWN_DEADLINE_ANNOTATION,
    digest::TemplateDigest,
    hash,
    rollout::{CanaryStep, CanaryStrategy, RolloutSpec, SetCanaryScale},
    status::RolloutStatus,
};
use serin_model::{
    ReplicaSetView, ServiceView, World,
    mutant::{self, Mutant},
};

use crate::{
    pause::PauseDecision,
    replicas::{self, Basic, Size},
};

/// A number of pods that a step waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Awaited {
    /// Of the newest revision.
    Newest { has: i32, wanted: i32 },
    /// Of stable.
    Stable { has: i32, wanted: i32 },
    /// Of older revisions, which are to go.
    Older { has: i32 },
}

/// One Rollout in one pass. Borrowed from the World; decides nothing.
pub(crate) struct Situation<'a> {
    pub(crate) world: &'a World,
    pub(crate) now: DateTime<Utc>,
    pub(crate) name: &'a str,
    pub(crate) namespace: &'a str,
    pub(crate) uid: &'a str,
    /// `metadata.generation` as the status writes it.
    pub(crate) generation: String,
    pub(crate) spec: &'a RolloutSpec,
    pub(crate) canary: &'a CanaryStrategy,
    /// The status as it is stored.
    pub(crate) before: &'a RolloutStatus,
    /// Hash of the newest revision: the label of the ReplicaSet that was found, else the computed one (compat H3).
    pub(crate) hash: String,
    pub(crate) step_hash: String,
    pub(crate) new: Option<&'a ReplicaSetView>,
    /// The ReplicaSet of `status.stableRS`; may be the new one.
    pub(crate) stable: Option<&'a ReplicaSetView>,
    /// Neither new nor stable, oldest first.
    pub(crate) others: Vec<&'a ReplicaSetView>,
    /// The current step; none before the first and after the last.
    pub(crate) step: Option<(usize, &'a CanaryStep)>,
}

impl<'a> Situation<'a> {
    pub(crate) fn read(
        world: &'a World,
        canary: &'a CanaryStrategy,
        before: &'a RolloutStatus,
        now: DateTime<Utc>,
    ) -> Self {
        let rollout = &world.rollout;
        let spec = &rollout.spec;
        let uid = rollout.metadata.uid.as_deref().unwrap_or_default();
        let mut owned: Vec<&ReplicaSetView> = world
            .replica_sets
            .iter()
            .filter(|rs| rs.owner.as_deref() == Some(uid))
            .collect();
        owned.sort_by(|a, b| (a.created, &a.name).cmp(&(b.created, &b.name)));

        let computed = hash::pod_template_hash(&spec.template, before.collision_count);
        let of_the_same_template = || {
            let digest = TemplateDigest::of(&spec.template, None);
            owned.iter().find(|rs| rs.digest == digest && !rs.hash().is_empty())
        };
        let new = owned
            .iter()
            .find(|rs| rs.hash() == computed)
            .or_else(of_the_same_template)
            .copied();
        let hash = new.map_or(computed, |rs| rs.hash().to_owned());
        let stable = owned
            .iter()
            .find(|rs| !before.stable_rs.is_empty() && rs.hash() == before.stable_rs)
            .copied();
        let same = |a: &ReplicaSetView, b: Option<&ReplicaSetView>| b.is_some_and(|b| a.uid == b.uid);
        let others = owned
            .iter()
            .filter(|rs| !same(rs, new) && !same(rs, stable))
            .copied()
            .collect();
        let steps = canary.steps();
        let step = if steps.is_empty() {
            None
        } else {
            let index = usize::try_from(before.current_step_index.unwrap_or(0)).unwrap_or(0);
            steps.get(index).map(|step| (index, step))
        };
        Self {
            world,
            now,
            name: rollout.metadata.name.as_deref().unwrap_or_default(),
            namespace: rollout.metadata.namespace.as_deref().unwrap_or_default(),
            uid,
            generation: rollout.metadata.generation.unwrap_or_default().to_string(),
            spec,
            canary,
            before,
            hash,
            step_hash: hash::steps_hash(canary.steps.as_deref()),
            new,
            stable,
            others,
            step,
        }
    }

    /// All owned ReplicaSets: new, stable, others.
    pub(crate) fn all(&self) -> impl Iterator<Item = &'a ReplicaSetView> + '_ {
        self.new
            .into_iter()
            .chain(self.stable_apart())
            .chain(self.others.iter().copied())
    }

    /// The stable ReplicaSet when it is not the new one.
    pub(crate) fn stable_apart(&self) -> Option<&'a ReplicaSetView> {
        self.stable
            .filter(|stable| self.new.is_none_or(|new| new.uid != stable.uid))
    }

    /// Everything was promoted, as far as the status knows.
    pub(crate) fn is_fully_promoted(&self) -> bool {
        !self.before.stable_rs.is_empty() && self.before.stable_rs == self.before.current_pod_hash
    }

    /// A Service that the spec may name, where it exists.
    pub(crate) fn service(&self, name: Option<&str>) -> Option<&'a ServiceView> {
        self.world.services.get(name?)
    }

    /// The canary and the stable Service, as far as the spec names them and they exist.
    pub(crate) fn services(&self) -> impl Iterator<Item = &'a ServiceView> + '_ {
        let names = [&self.canary.canary_service, &self.canary.stable_service];
        names.into_iter().filter_map(|name| self.service(name.as_deref()))
    }

    pub(crate) fn has_router(&self) -> bool {
        self.canary.traffic_routing.is_some()
    }

    /// The pod template or the list of steps is not the one that the status speaks of (compat 2.3).
    pub(crate) fn is_changed(&self) -> bool {
        self.before.current_step_hash != self.step_hash
            || (!self.before.current_pod_hash.is_empty() && self.before.current_pod_hash != self.hash)
    }

    /// The revision that the new ReplicaSet has or gets: above all others, never lowered (compat 2.1.7).
    pub(crate) fn revision(&self) -> i64 {
        let older = self.stable_apart().into_iter().chain(self.others.iter().copied());
        let above = older.map(ReplicaSetView::revision).max().unwrap_or(0) + 1;
        self.new.map_or(above, |rs| rs.revision().max(above))
    }

    /// `rollout.argoproj.io/revision` of the Rollout.
    pub(crate) fn rollout_revision(&self) -> Option<&'a str> {
        self.rollout_annotations()?.get(REVISION_ANNOTATION).map(String::as_str)
    }

    pub(crate) fn rollout_annotations(&self) -> Option<&'a BTreeMap<String, String>> {
        self.world.rollout.metadata.annotations.as_ref()
    }

    /// When a ReplicaSet may be scaled down; an unreadable deadline has passed.
    pub(crate) fn deadline_of(rs: &ReplicaSetView) -> Option<DateTime<Utc>> {
        let text = rs.annotations.get(SCALE_DOWN_DEADLINE_ANNOTATION)?;
        Some(DateTime::parse_from_rfc3339(text).map_or(DateTime::UNIX_EPOCH, |at| at.with_timezone(&Utc)))
    }

    /// An older version runs on until its time has come: while it does, no progress deadline passes (compat 2.16). One that
    /// is scaled down already keeps nothing waiting, whatever its annotation says; nor does one that only stays beyond its
    /// time because others are not available.
    pub(crate) fn is_older_kept(&self) -> bool {
        let kept = |rs: &&ReplicaSetView| rs.replicas > 0 && Self::deadline_of(rs).is_some_and(|at| self.now < at);
        self.others.iter().any(kept)
    }

    /// Older than stable, by at most the window (compat 2.7).
    pub(crate) fn is_rollback_within_window(&self) -> bool {
        let window = self.spec.rollback_window_revisions();
        let (Some(new), Some(stable)) = (self.new, self.stable_apart()) else {
            return false;
        };
        if window <= 0 || new.created >= stable.created {
            return false;
        }
        let between = self
            .others
            .iter()
            .filter(|rs| rs.created > new.created && rs.created < stable.created)
            .count();
        i32::try_from(between).is_ok_and(|n| n < window)
    }

    /// Weight of the nearest `setWeight` at or before the step; the whole after the last one (compat 2.5, "W").
    pub(crate) fn set_weight(&self, aborted: bool) -> i32 {
        if aborted {
            return 0;
        }
        match self.step {
            None => self.canary.max_weight(),
            Some((index, _)) => self.set_weight_at(index + 1),
        }
    }

    /// Weight of the nearest `setWeight` among the first `end` steps, 0 without one.
    pub(crate) fn set_weight_at(&self, end: usize) -> i32 {
        self.canary
            .steps()
            .iter()
            .take(end)
            .rev()
            .find_map(|step| step.set_weight)
            .unwrap_or(0)
    }

    fn canary_scale(&self, aborted: bool) -> Option<&'a SetCanaryScale> {
        if !self.has_router() || (aborted && self.canary.abort_scale_down_delay().is_some()) {
            return None;
        }
        let (index, _) = self.step?;
        let scale = self
            .canary
            .steps()
            .iter()
            .take(index + 1)
            .rev()
            .find_map(|step| step.set_canary_scale.as_ref())?;
        (!scale.match_traffic_weight).then_some(scale)
    }

    /// The canary's size at this step is the spec's own, whatever its traffic (`setCanaryScale`).
    pub(crate) fn is_scale_asked_for(&self) -> bool {
        self.canary_scale(false).is_some()
    }

    /// The newest revision is to have everything (compat 2.5). Upstream asks the status alone, and scales an aborted canary to
    /// nothing in the pass that promotes it because somebody deleted the stable ReplicaSet; or because it lies within the
    /// rollback window, which takes the abort back.
    fn is_whole(&self) -> bool {
        self.before.promote_full
            || self.stable.is_none()
            || self.is_fully_promoted()
            || (self.has_router() && self.is_rollback_within_window())
    }

    /// Desired (canary, stable) counts of this pass (compat 2.5).
    pub(crate) fn desired_counts(&self, aborted: bool) -> (i32, i32) {
        let r = self.spec.desired_replicas();
        let m = self.canary.max_weight();
        let whole = self.is_whole();
        let scale = if whole { None } else { self.canary_scale(aborted) };
        let weight = if whole {
            m
        } else {
            scale.and_then(|s| s.weight).unwrap_or_else(|| self.set_weight(aborted))
        };
        if !self.has_router() {
            let size = |rs: &ReplicaSetView| Size {
                spec: rs.replicas,
                available: rs.available,
            };
            return replicas::without_router(Basic {
                replicas: r,
                weight,
                max_weight: m,
                surge: self.canary.max_surge_count(r),
                unavailable: self.canary.max_unavailable_count(r),
                new: self.new.map(size),
                stable: self.stable_apart().map(size),
                others: self.others.iter().map(|rs| rs.replicas).fold(0, i32::saturating_add),
            });
        }
        let explicit = scale.and_then(|s| s.replicas);
        let mut canary = explicit.unwrap_or_else(|| self.canary.at_least_min_pods(replicas::share_of(r, weight, m), r));
        if mutant::is(Mutant::StableDownBeforeWeight) {
            return (canary, replicas::share_of(r, m - weight, m));
        }
        if !self.canary.is_dynamic_stable_scale() {
            return (canary, r);
        }
        // An aborted canary may keep its own scale; stable comes back whatever that is.
        let weight = if explicit.is_some() || aborted { 0 } else { weight };
        let mut stable = replicas::share_of(r, m - weight, m);
        match &self.before.canary.weights {
            Some(weights) => {
                stable = stable.max(replicas::share_of(r, weights.stable.weight, m));
                if aborted {
                    canary = canary.max(replicas::share_of(r, weights.canary.weight, m));
                }
            }
            // No weight was written yet: whatever the route says, the canary was given none of it.
            None if !whole => stable = r,
            None => {}
        }
        (
            self.canary.at_least_min_pods(canary, r),
            self.canary.at_least_min_pods(stable, r),
        )
    }

    /// Enough of the new version is there for a step to go on (compat 2.4): all of it, or what `replicaProgressThreshold` asks.
    pub(crate) fn meets_threshold(&self, desired: i32) -> bool {
        let Some(new) = self.new else { return false };
        match &self.canary.replica_progress_threshold {
            Some(t) if t.value >= 0 && t.kind == "Percent" => {
                desired == 0 || i64::from(new.lasting()) * 100 >= i64::from(t.value) * i64::from(desired)
            }
            Some(t) if t.value >= 0 && t.kind == "Pods" => new.lasting() >= t.value.min(desired),
            _ => new.replicas == desired && new.available >= desired,
        }
    }

    /// `AtDesiredReplicaCounts` (compat 2.4).
    pub(crate) fn at_desired_counts(&self, aborted: bool) -> bool {
        self.count_awaited(aborted).is_none()
    }

    /// The first count that is not as desired. Without a router counted are the pods that the weight asks for; upstream takes
    /// those that a pass may reach, and so passes a step without a canary pod while an older revision still has some.
    pub(crate) fn count_awaited(&self, aborted: bool) -> Option<Awaited> {
        let (canary, stable) = if self.has_router() {
            self.desired_counts(aborted)
        } else {
            let (r, m) = (self.spec.desired_replicas(), self.canary.max_weight());
            let weight = if self.is_whole() { m } else { self.set_weight(aborted) };
            replicas::approximate(r, weight, m, self.canary.max_surge_count(r))
        };
        // Without a router pods are traffic: too many are as wrong as too few, whatever a threshold of few pods says.
        let too_many = |rs: &ReplicaSetView| rs.replicas > canary;
        let is_off = |rs: &&ReplicaSetView| !self.meets_threshold(canary) || (!self.has_router() && too_many(rs));
        if let Some(new) = self.new.filter(is_off) {
            let has = if too_many(new) { new.replicas } else { new.lasting() };
            return Some(Awaited::Newest { has, wanted: canary });
        }
        let dynamic = self.has_router() && self.canary.is_dynamic_stable_scale();
        if let Some(rs) = self.stable_apart().filter(|rs| !dynamic && rs.replicas != stable) {
            let has = rs.replicas;
            return Some(Awaited::Stable { has, wanted: stable });
        }
        let older = self.others.iter().map(|rs| rs.available).fold(0, i32::saturating_add);
        (!self.has_router() && older != 0).then_some(Awaited::Older { has: older })
    }

    /// Somebody changed `spec.replicas` since the last scaling (compat 2.2, step 5).
    pub(crate) fn is_scaling_event(&self) -> bool {
        let wanted = self.spec.desired_replicas().to_string();
        self.new.into_iter().chain(self.stable_apart()).any(|rs| {
            rs.replicas > 0
                && rs
                    .annotations
                    .get(DESIRED_REPLICAS_ANNOTATION)
                    .is_some_and(|known| *known != wanted)
        })
    }

    /// No scaling and no analysis pause in the way (compat 2.2, "halt").
    pub(crate) fn is_halted(&self) -> bool {
        self.spec.is_paused()
            || crate::pause::condition(self.before, serin_api::status::PauseReason::InconclusiveAnalysisRun).is_some()
    }

    /// Whether a route cannot be read or written while there is traffic to lead: upstream's pass ends there (compat 2.15), ours
    /// passes no step until then. An analysis of a canary that gets no traffic says nothing.
    pub(crate) fn lacks_route(&self) -> bool {
        self.spec.desired_replicas() > 0 && self.route_problem().is_some()
    }

    /// Why a route cannot be read or written, if one cannot.
    pub(crate) fn route_problem(&self) -> Option<&'a str> {
        let problem = self.world.routes.values().find_map(|route| route.as_ref().err())?;
        self.has_router().then_some(problem.as_str())
    }

    /// Whether an aborted canary is kept for a while or for ever instead of being scaled by its weight (compat 2.6).
    pub(crate) fn keeps_aborted_canary(&self, pause: &PauseDecision) -> bool {
        // A promoted revision is no canary: such an abort is taken back in the same pass, and stable gets no deadline.
        pause.is_aborted(self.before)
            && !self.is_fully_promoted()
            && self.stable.is_some()
            && self.has_router()
            && !(self.canary.is_dynamic_stable_scale() && self.canary.abort_scale_down_delay_seconds.is_none())
    }

    /// `metadata.ownerReferences` entry of what the Rollout owns (compat 2.1.3).
    pub(crate) fn owner_reference(&self) -> serde_json::Value {
        serde_json::json!({
            "apiVersion": "argoproj.io/v1alpha1",
            "kind": "Rollout",
            "name": self.name,
            "uid": self.uid,
            "controller": true,
            "blockOwnerDeletion": true,
        })
    }
}
