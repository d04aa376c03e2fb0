//! What a write does to what is stored: the rules that all kinds share, and those of the few kinds that have their own.
//!
//! Works under the cluster's lock and at once: nothing here waits. The HTTP front and the in-process methods of the
//! cluster come through here alike. Knows nothing of HTTP; schemas and patches are pure functions elsewhere.

mod crds;
mod create;
mod meta;
mod namespaces;
mod patch;
mod pods;
mod removal;
mod scale;
mod update;

use std::sync::Arc;

use chrono::{DateTime, SecondsFormat, Utc};
use serde_json::Value;

pub(crate) use crds::serve;
pub(crate) use create::create;
pub(crate) use namespaces::{finalize, initial as initial_namespaces};
pub(crate) use patch::{patch, unsupported};
pub(crate) use pods::{bind, evict};
pub(crate) use removal::{delete, delete_collection};
pub(crate) use scale::{read_scale, update_scale};
pub(crate) use update::update;

use crate::{
    Status,
    cluster::{State, text},
    kinds::Kind,
    patch as patches,
    storage::Stored,
};

/// What is done with fields that no schema knows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Validation {
    /// They are dropped in silence.
    Ignore,
    /// They are dropped and the answer warns.
    #[default]
    Warn,
    /// The write is refused.
    Strict,
}

/// The options of a write.
#[derive(Clone, Debug, Default)]
pub(crate) struct WriteOptions {
    pub dry_run: bool,
    pub manager: String,
    pub validation: Validation,
    /// It is a server-side apply, which keeps its own record of managers.
    pub applied: bool,
    /// It comes through the scale subresource, which is noted with its manager.
    pub scales: bool,
    /// Fields that the body has more than once.
    pub duplicates: Vec<String>,
}

/// One write: who, what and how.
#[derive(Clone, Debug)]
pub(crate) struct Write<'a> {
    pub user: &'a str,
    pub kind: Arc<Kind>,
    pub version: &'a str,
    pub namespace: &'a str,
    /// Empty when the object says it.
    pub name: &'a str,
    pub subresource: &'a str,
    pub now: DateTime<Utc>,
    pub options: &'a WriteOptions,
}

impl Write<'_> {
    /// As which manager it writes.
    fn manager<'m>(&'m self, api_version: &'m str, now: &'m str) -> patches::Manager<'m> {
        let ignored: &[&str] = match (self.subresource, self.kind.is_custom(), self.kind.status) {
            ("status", true, _) => &["spec", "metadata"],
            ("status", false, _) => &["spec"],
            ("", _, true) => &["status"],
            _ => &[],
        };
        patches::Manager {
            name: &self.options.manager,
            api_version,
            subresource: if self.options.scales { "scale" } else { self.subresource },
            ignored,
            now,
        }
    }
}

/// Whether an object is of the path's type. One of a version that is not served has no known fields but those of every object,
/// which is told beside the refusal.
fn check_type(state: &mut State, write: &Write<'_>, object: &Value) -> Result<(), Status> {
    let kind = &write.kind;
    kind.check_type(object, write.version).inspect_err(|_| {
        let group = |api_version: &str| api_version.split_once('/').map(|(group, _)| group.to_owned());
        let given = text(object, "/apiVersion");
        let is_other_version = group(given).is_some_and(|group| group == kind.resource.group)
            && kind.versions.iter().all(|version| kind.api_version(version) != given);
        if kind.is_custom() && is_other_version && write.options.validation == Validation::Warn {
            let unknown = object.as_object().into_iter().flat_map(|map| map.keys());
            state.warned = unknown
                .filter(|field| !matches!(field.as_str(), "apiVersion" | "kind" | "metadata"))
                .map(|field| format!("unknown field {field:?}"))
                .collect();
        }
    })
}

/// Notes who manages which fields: of everything where the cluster is told to, else of what was once applied.
fn track(state: &State, write: &Write<'_>, old: Option<&Value>, new: &mut Value) {
    let applied_once = old.is_some_and(|old| !old["metadata"]["managedFields"].is_null());
    if write.options.applied || !(state.managed_fields || applied_once) {
        return;
    }
    let Some(rules) = write.kind.rules(&write.kind.storage) else {
        return;
    };
    let api_version = write.kind.api_version(write.version);
    let now = write.now.to_rfc3339_opts(SecondsFormat::Secs, true);
    patches::track(old, new, rules.node(), &write.manager(&api_version, &now));
}

/// How many addresses of Services were given out; a dry run gets the one before all others, which nobody has.
fn addresses(state: &State, write: &Write<'_>) -> u32 {
    if write.options.dry_run {
        u32::MAX - 10
    } else {
        state.addresses
    }
}

/// What came of a write.
#[derive(Debug)]
pub(crate) struct Written {
    pub object: Arc<Stored>,
    pub created: bool,
    pub warnings: Vec<String>,
}

/// What came of a deletion.
#[derive(Debug)]
pub(crate) enum Deleted {
    /// The object is gone; the answer is a Status about it.
    Status(Value),
    /// The answer is the object, gone or still waiting for its end.
    Object(Arc<Stored>),
}
