//! What the rules look at: the World's facts, and the same facts after a write. Decides nothing.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use serde_json::{Value, json};
use serin_api::{
    HASH_LABEL, SCALE_DOWN_DEADLINE_ANNOTATION,
    digest::TemplateDigest,
    hash::{pod_template_hash, steps_hash},
    rollout::{CanaryStep, CanaryStrategy},
    status::RolloutStatus,
};
use serin_model::{ReplicaSetView, RouteRef, World, Write};

/// One whole, in the unit in which shares of traffic are compared.
pub(crate) const WHOLE: i64 = 1_000_000;

/// A ReplicaSet of the Rollout.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Replicas {
    /// Its revision hash.
    pub(crate) hash: String,
    /// `spec.replicas`, after the writes so far.
    pub(crate) wanted: i32,
    /// `status.availableReplicas` as read.
    pub(crate) available: i32,
    /// When it was made.
    pub(crate) created: DateTime<Utc>,
    /// Number of its revision as read: of one that is released again, the last.
    pub(crate) revision: i64,
    /// Its scale-down deadline as written, if any.
    pub(crate) deadline: Option<String>,
}

impl Replicas {
    fn of(rs: &ReplicaSetView) -> Self {
        Self {
            hash: rs.hash().to_owned(),
            wanted: rs.replicas,
            available: rs.available,
            created: rs.created,
            revision: rs.revision(),
            deadline: rs.annotations.get(SCALE_DOWN_DEADLINE_ANNOTATION).cloned(),
        }
    }

    /// Pods that can serve once the writes so far took effect: a ReplicaSet that shrinks gives up its unready pods first.
    pub(crate) fn capacity(&self) -> i32 {
        self.available.min(self.wanted).max(0)
    }
}

/// See the module.
#[derive(Clone)]
pub(crate) struct Facts<'a> {
    pub(crate) world: &'a World,
    pub(crate) now: DateTime<Utc>,
    /// [`None`] for other strategies, which no rule but the guards speaks of yet.
    pub(crate) canary: Option<&'a CanaryStrategy>,
    /// The status after the writes so far.
    pub(crate) status: RolloutStatus,
    raw_status: Value,
    /// ReplicaSets that the Rollout owns, by name.
    pub(crate) replica_sets: BTreeMap<String, Replicas>,
    /// The revision hash in the selector of each Service; empty without one.
    pub(crate) services: BTreeMap<String, String>,
    /// Pairs of (canary, stable) weights of each route that can be used.
    pub(crate) routes: BTreeMap<RouteRef, Vec<(i32, i32)>>,
    /// Whether some route cannot be used.
    pub(crate) has_bad_route: bool,
    /// Hash of the newest revision: the label of its ReplicaSet, or the computed one while there is none (compat 2.1.4, H3).
    pub(crate) newest: String,
    /// Hash of the steps in the spec.
    pub(crate) steps_hash: String,
}

impl<'a> Facts<'a> {
    pub(crate) fn of(world: &'a World, now: DateTime<Utc>) -> Self {
        let rollout = &world.rollout;
        let canary = rollout.spec.strategy.canary.as_ref();
        let status = rollout.status.clone().unwrap_or_default();
        let raw_status = serde_json::to_value(&status).expect("a status has string keys only");
        let uid = rollout.metadata.uid.as_deref();
        let owned = world.replica_sets.iter().filter(|rs| rs.owner.as_deref() == uid);
        let replica_sets = owned.map(|rs| (rs.name.clone(), Replicas::of(rs)));
        let mut facts = Self {
            world,
            now,
            canary,
            status,
            raw_status,
            replica_sets: replica_sets.collect(),
            services: world
                .services
                .values()
                .chain(&world.former_services)
                .map(|s| (s.name.clone(), s.hash().to_owned()))
                .collect(),
            routes: world
                .routes
                .iter()
                .filter_map(|(at, route)| Some((at.clone(), route.as_ref().ok()?.weights.clone())))
                .collect(),
            has_bad_route: world.routes.values().any(Result::is_err),
            newest: String::new(),
            steps_hash: steps_hash(canary.and_then(|c| c.steps.as_deref())),
        };
        facts.newest = facts.find_newest();
        facts
    }

    /// Compat 2.1.4: by the computed hash, else by the meaning of the template, oldest first.
    fn find_newest(&self) -> String {
        let template = &self.world.rollout.spec.template;
        let computed = pod_template_hash(template, self.status.collision_count);
        if self.replica_sets.values().any(|rs| rs.hash == computed) {
            return computed;
        }
        let digest = TemplateDigest::of(template, None);
        let same = self
            .world
            .replica_sets
            .iter()
            .filter(|rs| rs.digest == digest && !rs.hash().is_empty() && self.replica_sets.contains_key(&rs.name));
        same.min_by_key(|rs| (rs.created, &rs.name))
            .map_or(computed, |rs| rs.hash().to_owned())
    }

    /// The same facts once this write was carried out.
    pub(crate) fn after(&self, write: &Write) -> Self {
        let mut after = self.clone();
        match write {
            Write::CreateReplicaSet { name, object } => {
                let made = Replicas {
                    hash: text(&object["metadata"]["labels"][HASH_LABEL]),
                    wanted: number(&object["spec"]["replicas"]).unwrap_or(1),
                    available: 0,
                    created: self.now,
                    revision: i64::MAX,
                    deadline: None,
                };
                after.replica_sets.insert(name.clone(), made);
                after.newest = after.find_newest();
            }
            Write::PatchReplicaSet { name, patch, .. } => after.patch_replica_set(name, patch),
            Write::DeleteReplicaSet { name, .. } => {
                after.replica_sets.remove(name);
            }
            Write::PatchService { name, patch, .. } => {
                if let (Some(hash), Some(change)) = (
                    after.services.get_mut(name),
                    patch.pointer("/spec/selector").and_then(|s| s.get(HASH_LABEL)),
                ) {
                    *hash = text(change);
                }
            }
            Write::SetRouteWeights { route, weights, .. } => {
                if let Some(pairs) = after.routes.get_mut(route) {
                    pairs.fill((weights.canary, weights.stable));
                }
            }
            Write::PatchRolloutStatus { patch, .. } => after.patch_status(patch),
            Write::CreateAnalysisRun { .. }
            | Write::PatchAnalysisRun { .. }
            | Write::DeleteAnalysisRun { .. }
            | Write::PatchRollout { .. } => {}
        }
        after
    }

    fn patch_replica_set(&mut self, name: &str, patch: &Value) {
        let adopted = self.world.replica_sets.iter().find(|rs| rs.name == name);
        if let (false, Some(rs)) = (self.replica_sets.contains_key(name), adopted) {
            self.replica_sets.insert(name.to_owned(), Replicas::of(rs));
            self.newest = self.find_newest();
        }
        let Some(facts) = self.replica_sets.get_mut(name) else {
            return;
        };
        if let Some(wanted) = number(&patch["spec"]["replicas"]) {
            facts.wanted = wanted;
        }
        if let Some(change) = patch
            .pointer("/metadata/annotations")
            .and_then(|a| a.get(SCALE_DOWN_DEADLINE_ANNOTATION))
        {
            facts.deadline = change.as_str().map(str::to_owned);
        }
    }

    fn patch_status(&mut self, patch: &Value) {
        let Some(change) = patch.get("status") else { return };
        merge(&mut self.raw_status, change);
        // What cannot be read is caught as a guard's finding; the rules go on with what was known.
        if let Ok(status) = serde_json::from_value(self.raw_status.clone()) {
            self.status = status;
        }
        if self.status.collision_count != self.world.rollout.status.as_ref().and_then(|s| s.collision_count) {
            self.newest = self.find_newest();
        }
    }

    /// Whether a status patch leaves a status that can be read.
    pub(crate) fn is_readable_status(&self, patch: &Value) -> bool {
        let mut raw = self.raw_status.clone();
        merge(&mut raw, patch.get("status").unwrap_or(&json!({})));
        serde_json::from_value::<RolloutStatus>(raw).is_ok()
    }

    /// `spec.replicas`.
    pub(crate) fn desired(&self) -> i32 {
        self.world.rollout.spec.desired_replicas().max(0)
    }

    /// The canary strategy; empty when there is none.
    pub(crate) fn steps(&self) -> &'a [CanaryStep] {
        self.canary.map(CanaryStrategy::steps).unwrap_or_default()
    }

    /// `maxTrafficWeight`.
    pub(crate) fn max_weight(&self) -> i32 {
        self.canary.map_or(100, CanaryStrategy::max_weight).max(1)
    }

    /// Whether a router splits the traffic.
    pub(crate) fn has_router(&self) -> bool {
        self.canary.is_some_and(|c| c.traffic_routing.is_some())
    }

    /// `dynamicStableScale`.
    pub(crate) fn is_dynamic(&self) -> bool {
        self.has_router() && self.canary.is_some_and(CanaryStrategy::is_dynamic_stable_scale)
    }

    /// Whether `status.abort` stands.
    pub(crate) fn is_aborted(&self) -> bool {
        self.status.abort == Some(true)
    }

    /// The ReplicaSet of a revision.
    pub(crate) fn of_hash(&self, hash: &str) -> Option<&Replicas> {
        self.replica_sets
            .values()
            .find(|rs| !hash.is_empty() && rs.hash == hash)
    }

    /// The ReplicaSet of the newest revision.
    pub(crate) fn new_replicas(&self) -> Option<&Replicas> {
        self.of_hash(&self.newest)
    }

    /// The ReplicaSet of the stable revision; [`None`] before the first promotion and when somebody deleted it.
    pub(crate) fn stable_replicas(&self) -> Option<&Replicas> {
        self.of_hash(&self.status.stable_rs)
    }

    /// Nothing is stable: a first deploy, or somebody deleted the stable ReplicaSet (compat 2.3, 2.4 `Initial deploy`).
    pub(crate) fn is_initial(&self) -> bool {
        self.stable_replicas().is_none()
    }

    /// The newest revision is the stable one.
    pub(crate) fn is_promoted(&self) -> bool {
        !self.status.stable_rs.is_empty() && self.status.stable_rs == self.newest
    }

    /// The status does not speak of this revision or these steps: it is to be reset (compat 2.3).
    pub(crate) fn is_reset_due(&self) -> bool {
        let known = &self.status.current_pod_hash;
        self.status.current_step_hash != self.steps_hash || (!known.is_empty() && *known != self.newest)
    }

    /// The newest revision is older than the stable one, within the rollback window (compat 2.7).
    pub(crate) fn is_rollback_in_window(&self) -> bool {
        let window = self.world.rollout.spec.rollback_window_revisions();
        let (Some(new), Some(stable)) = (self.new_replicas(), self.stable_replicas()) else {
            return false;
        };
        if window <= 0 || new.created >= stable.created {
            return false;
        }
        let between = self
            .replica_sets
            .values()
            .filter(|rs| rs.created > new.created && rs.created < stable.created);
        i64::try_from(between.count()).is_ok_and(|n| n < i64::from(window))
    }

    /// A person asked for all of it, or goes back to what ran before (compat 2.3, 2.7, 2.8): steps and analyses do not count.
    pub(crate) fn may_skip_steps(&self) -> bool {
        self.status.promote_full || self.is_initial() || self.is_promoted() || self.is_rollback_in_window()
    }

    /// The name of the Service that an arm uses; empty without one.
    pub(crate) fn service_names(&self) -> [&str; 2] {
        let name = |s: Option<&'a String>| s.map_or("", String::as_str);
        [
            name(self.canary.and_then(|c| c.canary_service.as_ref())),
            name(self.canary.and_then(|c| c.stable_service.as_ref())),
        ]
    }

    /// Hashes that the canary Service and the stable Service select; empty when unknown.
    pub(crate) fn selected(&self) -> [&str; 2] {
        self.service_names()
            .map(|name| self.services.get(name).map_or("", String::as_str))
    }

    /// The greatest share, over all routes, of the traffic that goes to revisions of which `counts` holds.
    pub(crate) fn share(&self, counts: impl Fn(&str) -> bool) -> i64 {
        let [canary, stable] = self.selected();
        let (canary, stable) = (counts(canary), counts(stable));
        let pairs: Vec<&(i32, i32)> = self.routes.values().flatten().collect();
        if pairs.is_empty() {
            return self.recorded_share(counts);
        }
        let shares = pairs.into_iter().map(|(c, s)| {
            let part = i64::from(if canary { *c } else { 0 }) + i64::from(if stable { *s } else { 0 });
            fraction(part, i64::from(*c) + i64::from(*s))
        });
        shares.max().unwrap_or(0)
    }

    /// Without a route that can be read, the weights that were written last: a route that comes back has them, and the Services
    /// lead on where they lead now. Of a Service that is not known the revision counts that it had then.
    fn recorded_share(&self, counts: impl Fn(&str) -> bool) -> i64 {
        let Some(weights) = &self.status.canary.weights else {
            return 0;
        };
        let arms = [&weights.canary, &weights.stable].into_iter().zip(self.selected());
        let (mut part, mut whole) = (0, 0);
        for (arm, selected) in arms {
            let hash = if selected.is_empty() {
                &arm.pod_template_hash
            } else {
                selected
            };
            let weight = i64::from(arm.weight);
            part += if counts(hash) { weight } else { 0 };
            whole += weight;
        }
        fraction(part, whole)
    }
}

/// `part / whole` in units of [`WHOLE`]; no traffic at all is no share.
pub(crate) fn fraction(part: i64, whole: i64) -> i64 {
    if whole <= 0 { 0 } else { part.max(0) * WHOLE / whole }
}

/// RFC 7386.
fn merge(target: &mut Value, patch: &Value) {
    let Value::Object(patch) = patch else {
        *target = patch.clone();
        return;
    };
    if !target.is_object() {
        *target = json!({});
    }
    let Value::Object(target) = target else { return };
    for (key, change) in patch {
        if change.is_null() {
            target.remove(key);
        } else {
            merge(target.entry(key.clone()).or_insert(Value::Null), change);
        }
    }
}

pub(crate) fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

fn number(value: &Value) -> Option<i32> {
    value.as_i64().map(|n| i32::try_from(n).unwrap_or(i32::MAX))
}
