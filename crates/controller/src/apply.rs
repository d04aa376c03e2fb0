//! Carries out a plan: one request per write, in order, each with its guard, up to the first refusal (design contract 2).

use std::collections::BTreeMap;

use serde_json::Value;
use serin_model::{
    Event, PlannedWrite, RouteRef, World, Write,
    mutant::{self, Mutant},
};
use thiserror::Error;

use crate::{
    calls::{Format, Refusal, Target},
    context::Context,
    events::{Record, Subject},
    kinds::{ClusterTemplate, Kind, Lean, NamespacedTemplate, Reduced, RolloutEntry, RouteEntry, RunEntry},
    packed::PackedReplicaSet,
    stores::{Affected, Stored, Stores},
    table::Key,
};

/// Where a plan stopped.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("failed to {doing} {kind} {target}: {refusal}", kind = .object.name())]
pub struct Stopped {
    /// `create`, `patch` or `delete`.
    pub doing: &'static str,
    /// Kind of the object.
    pub object: Kind,
    /// The object.
    pub target: Key,
    /// The route, when it was one.
    pub route: Option<RouteRef>,
    /// Why.
    pub refusal: Refusal,
}

/// Takes the answer to a request of ours into the stores.
pub fn take_in(stores: &mut Stores, kind: Kind, object: Value) -> Result<Affected, String> {
    fn one<T: Stored>(stores: &mut Stores, object: Value) -> Result<Affected, String> {
        Ok(stores.observe(Lean::<T>::from_object(object)?))
    }
    if mutant::is(Mutant::WorldOlderThanOwnWrite) {
        return Ok(Affected::default());
    }
    match kind {
        Kind::Rollout => one::<RolloutEntry>(stores, object),
        Kind::ReplicaSet => one::<PackedReplicaSet>(stores, object),
        Kind::Service => one::<serin_model::ServiceView>(stores, object),
        Kind::EndpointSlice => one::<crate::kinds::SliceView>(stores, object),
        Kind::AnalysisRun => one::<RunEntry>(stores, object),
        Kind::AnalysisTemplate => one::<NamespacedTemplate>(stores, object),
        Kind::ClusterAnalysisTemplate => one::<ClusterTemplate>(stores, object),
        Kind::HttpRoute => one::<RouteEntry>(stores, object),
    }
}

/// Notes that an object is gone.
pub fn bury(stores: &mut Stores, kind: Kind, key: &Key, uid: &str) -> Affected {
    match kind {
        Kind::Rollout => stores.bury::<RolloutEntry>(key, uid),
        Kind::ReplicaSet => stores.bury::<PackedReplicaSet>(key, uid),
        Kind::Service => stores.bury::<serin_model::ServiceView>(key, uid),
        Kind::EndpointSlice => stores.bury::<crate::kinds::SliceView>(key, uid),
        Kind::AnalysisRun => stores.bury::<RunEntry>(key, uid),
        Kind::AnalysisTemplate => stores.bury::<NamespacedTemplate>(key, uid),
        Kind::ClusterAnalysisTemplate => stores.bury::<ClusterTemplate>(key, uid),
        Kind::HttpRoute => stores.bury::<RouteEntry>(key, uid),
    }
}

fn known_uid(stores: &mut Stores, kind: Kind, key: &Key) -> Option<String> {
    match kind {
        Kind::Rollout => stores.rollouts.uid(key),
        Kind::ReplicaSet => stores.replica_sets.uid(key),
        Kind::Service => stores.services.uid(key),
        Kind::EndpointSlice => stores.slices.uid(key),
        Kind::AnalysisRun => stores.runs.uid(key),
        Kind::AnalysisTemplate => stores.templates.uid(key),
        Kind::ClusterAnalysisTemplate => stores.cluster_templates.uid(key),
        Kind::HttpRoute => stores.routes.uid(key),
    }
}

/// Reads an object once and takes it into the stores: after a refusal that shows that what is known of it is old.
///
/// # Errors
/// It could not be read.
pub async fn refresh(ctx: &Context, kind: Kind, key: &Key) -> Result<(), Refusal> {
    let target = Target {
        kind,
        namespace: &key.namespace,
        name: &key.name,
    };
    match ctx.calls.get(target).await {
        Ok(object) => {
            if let Ok(affected) = take_in(&mut ctx.stores(), kind, object) {
                ctx.enqueue(affected, None);
            }
            Ok(())
        }
        Err(Refusal::NotFound(_)) => {
            let mut stores = ctx.stores();
            if let Some(uid) = known_uid(&mut stores, kind, key) {
                let affected = bury(&mut stores, kind, key, &uid);
                drop(stores);
                ctx.enqueue(affected, None);
            }
            Ok(())
        }
        Err(refusal) => Err(refusal),
    }
}

/// Carries out the writes in order. Stops before a write when the process is about to end, and after the first refusal.
///
/// # Errors
/// Which write was refused, and why. Everything before it was done.
pub async fn apply(ctx: &Context, key: &Key, world: &World, writes: &[PlannedWrite]) -> Result<(), Stopped> {
    let mut carrier = Carrier {
        ctx,
        key,
        world,
        versions: BTreeMap::new(),
    };
    for planned in writes {
        carrier.carry_out(planned).await?;
    }
    Ok(())
}

struct Carrier<'a> {
    ctx: &'a Context,
    key: &'a Key,
    world: &'a World,
    /// Versions of objects that this plan has written: the answer's takes the place of the World's.
    versions: BTreeMap<(Kind, String), String>,
}

impl Carrier<'_> {
    async fn carry_out(&mut self, planned: &PlannedWrite) -> Result<(), Stopped> {
        let (kind, namespace, name) = Self::object(self.key, &planned.write);
        let target = Target { kind, namespace, name };
        let stopped = |doing, refusal| Stopped {
            doing,
            object: kind,
            target: Key::new(namespace, name),
            route: match &planned.write {
                Write::SetRouteWeights { route, .. } => Some(route.clone()),
                _ => None,
            },
            refusal,
        };
        if self.ctx.calls.gate().is_stopping() {
            return Err(stopped("begin to write", Refusal::NotLeading));
        }
        let seed = match &planned.write {
            Write::CreateReplicaSet { object, .. } | Write::CreateAnalysisRun { object, .. } => {
                let answer = self.create(target, object).await.map_err(|r| stopped("create", r))?;
                self.written(kind, name, answer)
            }
            Write::DeleteReplicaSet {
                uid, resource_version, ..
            }
            | Write::DeleteAnalysisRun {
                uid, resource_version, ..
            } => {
                let version = self.version(kind, name, resource_version);
                match self.ctx.calls.delete(target, uid, &version).await {
                    Ok(answer) => self.deleted(target, uid, answer),
                    // Somebody was faster.
                    Err(Refusal::NotFound(_)) => self.deleted(target, uid, Value::Null),
                    Err(refusal) => return Err(stopped("delete", refusal)),
                }
                uid.clone()
            }
            Write::SetRouteWeights {
                resource_version,
                weights,
                ..
            } => {
                let version = self.version(kind, name, resource_version);
                let patch = self
                    .route_patch(target, &version, weights)
                    .map_err(|r| stopped("patch", r))?;
                let Some(patch) = patch else { return Ok(()) };
                let answer = self.ctx.calls.patch(target, None, Format::Json, &patch).await;
                self.written(kind, name, answer.map_err(|r| stopped("patch", r))?)
            }
            Write::PatchReplicaSet {
                resource_version,
                patch,
                ..
            }
            | Write::PatchService {
                resource_version,
                patch,
                ..
            }
            | Write::PatchAnalysisRun {
                resource_version,
                patch,
                ..
            }
            | Write::PatchRollout {
                resource_version,
                patch,
            }
            | Write::PatchRolloutStatus {
                resource_version,
                patch,
            } => {
                let subresource = matches!(planned.write, Write::PatchRolloutStatus { .. }).then_some("status");
                let mut patch = patch.clone();
                patch["metadata"]["resourceVersion"] = Value::String(self.version(kind, name, resource_version));
                #[cfg(feature = "mutants")]
                crate::mutants::spoil(self.ctx, self.key, subresource, &mut patch);
                let answer = self.ctx.calls.patch(target, subresource, Format::Merge, &patch).await;
                self.written(kind, name, answer.map_err(|r| stopped("patch", r))?)
            }
        };
        for (index, event) in planned.events.iter().enumerate() {
            self.record(event, &format!("{}/{name}/{seed}/{index}", kind.plural()));
        }
        Ok(())
    }

    fn object<'w>(key: &'w Key, write: &'w Write) -> (Kind, &'w str, &'w str) {
        let own = key.namespace.as_str();
        match write {
            Write::CreateReplicaSet { name, .. }
            | Write::PatchReplicaSet { name, .. }
            | Write::DeleteReplicaSet { name, .. } => (Kind::ReplicaSet, own, name),
            Write::PatchService { name, .. } => (Kind::Service, own, name),
            Write::SetRouteWeights { route, .. } => (Kind::HttpRoute, &route.namespace, &route.name),
            Write::CreateAnalysisRun { name, .. }
            | Write::PatchAnalysisRun { name, .. }
            | Write::DeleteAnalysisRun { name, .. } => (Kind::AnalysisRun, own, name),
            Write::PatchRollout { .. } | Write::PatchRolloutStatus { .. } => (Kind::Rollout, own, &key.name),
        }
    }

    fn version(&self, kind: Kind, name: &str, planned: &str) -> String {
        self.versions
            .get(&(kind, name.to_owned()))
            .cloned()
            .unwrap_or_else(|| planned.to_owned())
    }

    /// The answer stands in for the cached object from now on (contract 3). Returns what tells this write from others.
    fn written(&mut self, kind: Kind, name: &str, answer: Value) -> String {
        let version = answer
            .pointer("/metadata/resourceVersion")
            .and_then(Value::as_str)
            .unwrap_or_default()
            .to_owned();
        self.versions.insert((kind, name.to_owned()), version.clone());
        self.take_in(kind, answer);
        version
    }

    fn take_in(&self, kind: Kind, answer: Value) {
        match take_in(&mut self.ctx.stores(), kind, answer) {
            Ok(affected) => self.ctx.enqueue(affected, Some(self.key)),
            Err(error) => tracing::warn!(%error, kind = kind.name(), rollout = %self.key, "Answer not understood"),
        }
    }

    fn deleted(&self, target: Target<'_>, uid: &str, answer: Value) {
        // With a finalizer the object lives on for a while and is the answer; else the answer is a bare Status.
        if answer.get("kind").and_then(Value::as_str) == Some(target.kind.name()) {
            self.take_in(target.kind, answer);
            return;
        }
        let affected = bury(
            &mut self.ctx.stores(),
            target.kind,
            &Key::new(target.namespace, target.name),
            uid,
        );
        self.ctx.enqueue(affected, Some(self.key));
    }

    /// Creates an object, or finds that an earlier try of ours did: same owner and same content.
    async fn create(&self, target: Target<'_>, object: &Value) -> Result<Value, Refusal> {
        match self.ctx.calls.create(target, object).await {
            Err(Refusal::AlreadyExists(what)) => {
                let found = self.ctx.calls.get(target).await?;
                if is_the_same(target.kind, object, &found) {
                    return Ok(found);
                }
                self.take_in(target.kind, found);
                Err(Refusal::AlreadyExists(what))
            }
            other => other,
        }
    }

    fn route_patch(
        &self,
        target: Target<'_>,
        version: &str,
        weights: &serin_model::Weights,
    ) -> Result<Option<Value>, Refusal> {
        let stores = self.ctx.stores();
        let route = stores.routes.get(&Key::new(target.namespace, target.name));
        let Some(route) = route else {
            return Err(Refusal::NotFound(target.describe()));
        };
        if route.0.pointer("/metadata/resourceVersion").and_then(Value::as_str) != Some(version) {
            // The route has changed since the plan was made.
            return Err(Refusal::Conflict(target.describe()));
        }
        let patch = serin_traffic::edit(&route.0, weights).map_err(|problem| Refusal::Refused {
            code: 422,
            message: problem.to_string(),
        })?;
        Ok(patch.as_array().is_some_and(|p| !p.is_empty()).then_some(patch))
    }

    fn record(&self, event: &Event, seed: &str) {
        let own = (Kind::Rollout, self.key.name.clone());
        let metadata = &self.world.rollout.metadata;
        let planned = metadata.resource_version.clone().unwrap_or_default();
        self.ctx.events.record(Record {
            subject: Subject {
                kind: "Rollout",
                key: self.key.clone(),
                uid: metadata.uid.clone().unwrap_or_default(),
                resource_version: self.versions.get(&own).cloned().unwrap_or(planned),
            },
            kind: event.kind.as_str(),
            reason: event.reason.to_owned(),
            message: event.message.clone(),
            seed: seed.to_owned(),
            at: self.ctx.clock.now(),
        });
    }
}

/// Whether an existing object is the one that was to be created: the same controlling owner and the same content.
fn is_the_same(kind: Kind, wanted: &Value, found: &Value) -> bool {
    fn pair<T: Reduced>(wanted: &Value, found: &Value) -> Option<(T, T)> {
        let mut wanted = wanted.clone();
        if let Some(metadata) = wanted.get_mut("metadata").and_then(Value::as_object_mut) {
            metadata
                .entry("resourceVersion")
                .or_insert_with(|| Value::String(String::new()));
        }
        let one = |object: Value| Lean::<T>::from_object(object).ok().map(|l| l.value);
        Some((one(wanted)?, one(found.clone())?))
    }
    match kind {
        Kind::ReplicaSet => pair::<serin_model::ReplicaSetView>(wanted, found)
            .is_some_and(|(w, f)| w.owner.is_some() && w.owner == f.owner && w.digest == f.digest && !f.deleting),
        Kind::AnalysisRun => pair::<RunEntry>(wanted, found).is_some_and(|(w, f)| {
            w.owner.is_some()
                && w.owner == f.owner
                && w.run.is_ok()
                && f.run.is_ok()
                && w.view.spec_digest == f.view.spec_digest
                && !f.view.deleting
        }),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn replica_set(owner: &str, image: &str) -> Value {
        json!({
            "metadata": {"name": "demo-1", "namespace": "n", "ownerReferences": [{"uid": owner, "controller": true}]},
            "spec": {"replicas": 0, "template": {"spec": {"containers": [{"name": "a", "image": image}]}}},
        })
    }

    #[test]
    fn an_existing_object_is_ours_only_with_the_same_owner_and_the_same_content() {
        let wanted = replica_set("u", "a:1");
        let same = |found: &Value| is_the_same(Kind::ReplicaSet, &wanted, found);
        let mut scaled = replica_set("u", "a:1");
        scaled["spec"]["replicas"] = json!(4);
        scaled["metadata"]["resourceVersion"] = json!("9");
        assert!(same(&scaled), "what others changed since does not matter");
        assert!(!same(&replica_set("x", "a:1")), "another owner");
        assert!(!same(&replica_set("u", "a:2")), "another template");
        scaled["metadata"]["deletionTimestamp"] = json!("2026-11-21T12:00:00Z");
        assert!(!same(&scaled), "on its way out");
    }
}
