//! The garbage collector: objects go when their owners are gone; owners that were deleted in the foreground wait for what
//! they own; owners that were deleted as `Orphan` let it go first.

use std::sync::Arc;

use serde_json::{Value, json};

use super::{
    cache::Id,
    engine::{Engine, Outcome, plural},
    objects::{finalizers_without, has_finalizer, is_deleted, owners, text, uid},
};

/// Its name in the trace.
pub(super) const USER: &str = "garbage-collector";

const FOREGROUND: &str = "foregroundDeletion";
const ORPHAN: &str = "orphan";

/// Finalizers that wait for the garbage collector.
pub(super) const WAITING: [&str; 2] = [FOREGROUND, ORPHAN];

/// What is with the owner that a reference names.
#[derive(PartialEq)]
enum Owner {
    /// It exists.
    Solid,
    /// It is gone, or was never there.
    Absent,
    /// It is being deleted and waits for its dependants.
    Waiting,
}

impl Engine {
    fn object(&self, id: &Id) -> Option<Arc<Value>> {
        self.cluster
            .get(&plural(id.resource), &id.name.namespace, &id.name.name)
    }

    /// Whether the kind that a reference names is served: of other kinds nobody can say what is gone.
    fn is_served(&self, reference: &Value) -> bool {
        let group = text(&reference["apiVersion"])
            .split_once('/')
            .map_or("", |(group, _)| group);
        let state = self.cluster.state();
        let mut kinds = state.kinds.all();
        kinds.any(|kind| kind.resource.group == group && kind.kind == text(&reference["kind"]))
    }

    fn owner_state(&self, dependant: &Id, reference: &Value) -> Owner {
        let Some(owner) = self.cache.graph.find(text(&reference["uid"])) else {
            return if self.is_served(reference) {
                Owner::Absent
            } else {
                Owner::Solid
            };
        };
        // Owners live in the same namespace or in none; of one elsewhere it is as if it did not exist. Something without a
        // namespace cannot have such an owner at all, and is left alone.
        if !owner.name.namespace.is_empty() && owner.name.namespace != dependant.name.namespace {
            return if dependant.name.namespace.is_empty() {
                Owner::Solid
            } else {
                Owner::Absent
            };
        }
        match self.object(owner) {
            None => Owner::Absent,
            Some(owner) if is_deleted(&owner) && has_finalizer(&owner, FOREGROUND) => Owner::Waiting,
            Some(_) => Owner::Solid,
        }
    }

    /// Removes an object if nothing that owns it stays; else only the references to what is gone.
    pub(super) fn collect(&mut self, id: &Id) -> Outcome {
        let Some(object) = self.object(id) else {
            return Ok(None);
        };
        let references = owners(&object);
        if references.is_empty() || (is_deleted(&object) && !has_finalizer(&object, FOREGROUND)) {
            return Ok(None);
        }
        let states: Vec<Owner> = references.iter().map(|r| self.owner_state(id, r)).collect();
        let resource = plural(id.resource);
        if states.contains(&Owner::Solid) {
            if states.iter().any(|state| *state != Owner::Solid) {
                let solid = references.iter().zip(&states).filter(|(_, s)| **s == Owner::Solid);
                let left: Vec<&Value> = solid.map(|(reference, _)| reference).collect();
                self.merge(USER, &resource, &object, json!({"metadata": {"ownerReferences": left}}))?;
            }
            return Ok(None);
        }
        if is_deleted(&object) {
            return Ok(None);
        }
        // An owner that waits should wait for all that hangs on this one as well.
        let has_dependants = self.cache.graph.dependants(uid(&object)).next().is_some();
        let policy = if has_finalizer(&object, ORPHAN) {
            "Orphan"
        } else if has_finalizer(&object, FOREGROUND) || (states.contains(&Owner::Waiting) && has_dependants) {
            "Foreground"
        } else {
            "Background"
        };
        self.delete(USER, &resource, &object, json!({"propagationPolicy": policy}))?;
        Ok(None)
    }

    /// Does what a deleted owner's finalizer waits for, and removes the finalizer.
    pub(super) fn release(&mut self, id: &Id) -> Outcome {
        let Some(owner) = self.object(id) else {
            return Ok(None);
        };
        if !is_deleted(&owner) {
            return Ok(None);
        }
        let resource = plural(id.resource);
        let dependants: Vec<Id> = self.cache.graph.dependants(uid(&owner)).cloned().collect();
        if has_finalizer(&owner, ORPHAN) {
            for dependant in &dependants {
                let Some(object) = self.object(dependant) else {
                    continue;
                };
                let left: Vec<&Value> = owners(&object).iter().filter(|o| o["uid"] != uid(&owner)).collect();
                let left = if left.is_empty() { Value::Null } else { json!(left) };
                let patch = json!({"metadata": {"ownerReferences": left}});
                self.merge(USER, &plural(dependant.resource), &object, patch)?;
            }
            let left = finalizers_without(&owner, ORPHAN);
            self.merge(USER, &resource, &owner, json!({"metadata": {"finalizers": left}}))?;
            return Ok(None);
        }
        if !has_finalizer(&owner, FOREGROUND) {
            return Ok(None);
        }
        let mut waits = false;
        for dependant in dependants {
            let Some(object) = self.object(&dependant) else {
                continue;
            };
            let mut references = owners(&object).iter();
            let blocks = references.any(|o| o["uid"] == uid(&owner) && o["blockOwnerDeletion"] == true);
            waits |= blocks;
            if !is_deleted(&object) {
                self.collect(&dependant)?;
            }
        }
        if !waits {
            let left = finalizers_without(&owner, FOREGROUND);
            self.merge(USER, &resource, &owner, json!({"metadata": {"finalizers": left}}))?;
        }
        Ok(None)
    }
}
