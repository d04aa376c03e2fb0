//! A plan under construction: writes in order, and the events that wait for the next write.

use chrono::{DateTime, Utc};
use serde_json::json;
use serin_api::{HASH_LABEL, status::RolloutStatus};
use serin_model::{Event, Plan, PlannedWrite, RouteRef, ServiceView, World, Write, merge_patch};

/// Collects what a pass decides.
#[derive(Debug)]
pub(crate) struct Draft {
    now: DateTime<Utc>,
    writes: Vec<PlannedWrite>,
    /// Decided, not yet tied to a write: recorded with the next one, so that the order of events is the order of decisions.
    pending: Vec<Event>,
    wake_at: Option<DateTime<Utc>>,
    warnings: Vec<Event>,
}

impl Draft {
    /// Nothing is decided yet.
    pub(crate) fn new(now: DateTime<Utc>) -> Self {
        Self {
            now,
            writes: Vec::new(),
            pending: Vec::new(),
            wake_at: None,
            warnings: Vec::new(),
        }
    }

    pub(crate) fn write(&mut self, write: Write, events: impl IntoIterator<Item = Event>) {
        let mut all = std::mem::take(&mut self.pending);
        all.extend(events);
        self.writes.push(PlannedWrite { write, events: all });
    }

    /// What upstream says of a Rollout that it sees for the first time; Serin says it once in a Rollout's life, not at every
    /// start.
    pub(crate) fn greet(&mut self, world: &World) {
        let rollout = &world.rollout;
        if rollout
            .status
            .as_ref()
            .is_some_and(|status| !status.observed_generation.is_empty())
        {
            return;
        }
        let name = rollout.metadata.name.as_deref().unwrap_or_default();
        let namespace = rollout.metadata.namespace.as_deref().unwrap_or_default();
        let text = format!("Rollout resource added to informer: {namespace}/{name}");
        self.event(Event::normal("RolloutAddedToInformer", text));
    }

    /// The difference to the stored status, if there is one.
    pub(crate) fn write_status(&mut self, world: &World, before: &RolloutStatus, after: &RolloutStatus) {
        // The first write of a status carries the parts that are always there, even empty (compat 1.3).
        let is_first = before.observed_generation.is_empty();
        if before == after && !is_first {
            return;
        }
        let (Ok(before), Ok(after)) = (serde_json::to_value(before), serde_json::to_value(after)) else {
            return;
        };
        let before = if is_first { json!({}) } else { before };
        if let Some(patch) = merge_patch(&before, &after) {
            let resource_version = world.rollout.metadata.resource_version.clone().unwrap_or_default();
            self.write(
                Write::PatchRolloutStatus {
                    resource_version,
                    patch: json!({ "status": patch }),
                },
                [],
            );
        }
    }

    /// The canary's weight that this plan writes to a route.
    pub(crate) fn weight_of(&self, route: &RouteRef) -> Option<i32> {
        self.writes.iter().find_map(|planned| match &planned.write {
            Write::SetRouteWeights {
                route: known, weights, ..
            } if known == route => Some(weights.canary),
            _ => None,
        })
    }

    /// The revision that a Service selects once the writes of this pass are done.
    pub(crate) fn hash_of<'a>(&'a self, service: &'a ServiceView) -> &'a str {
        let given = self.writes.iter().find_map(|planned| match &planned.write {
            Write::PatchService { name, patch, .. } if *name == service.name => {
                patch["spec"]["selector"][HASH_LABEL].as_str()
            }
            _ => None,
        });
        given.unwrap_or(service.hash())
    }

    /// How many pods this plan asks of a ReplicaSet.
    pub(crate) fn size_of(&self, replica_set: &str) -> Option<i64> {
        self.writes.iter().rev().find_map(|planned| match &planned.write {
            Write::PatchReplicaSet { name, patch, .. } if name == replica_set => patch["spec"]["replicas"].as_i64(),
            _ => None,
        })
    }

    pub(crate) fn event(&mut self, event: Event) {
        self.pending.push(event);
    }

    pub(crate) fn warn(&mut self, event: Event) {
        self.warnings.push(event);
    }

    /// Says beside upstream's words what to do about them (docs/compatibility.md).
    pub(crate) fn advise(&mut self, text: &str) {
        self.warn(Event::warning("Advice", capitalised(text)));
    }

    /// Look again at the earliest of all times asked for. Time alone changes nothing about a moment that has passed: whoever
    /// waited for it would look again and again without rest.
    pub(crate) fn wake(&mut self, at: DateTime<Utc>) {
        if at <= self.now {
            return;
        }
        self.wake_at = Some(self.wake_at.map_or(at, |known| known.min(at)));
    }

    pub(crate) fn finish(mut self) -> Plan {
        // Events of a pass that writes nothing more belong to its last write.
        if let Some(last) = self.writes.last_mut() {
            last.events.append(&mut self.pending);
        }
        Plan {
            writes: self.writes,
            wake_at: self.wake_at,
            warnings: self.warnings,
        }
    }
}

/// The text with a capital letter at its beginning.
pub(crate) fn capitalised(text: &str) -> String {
    let mut letters = text.chars();
    let first = letters.next().map(|c| c.to_ascii_uppercase());
    first.into_iter().chain(letters).collect()
}
