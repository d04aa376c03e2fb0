//! The storage as it was: every version of the objects that rules speak of.
//!
//! What a writer could have known: of the object that it writes, exactly the version that it replaces, for every write is
//! guarded by it. Of another object, any version that was current within its lag before the write (see
//! [`super::knowledge`]), but none older than its own last write of that object whose success it was told (AnalysisRuns apart). A rule is
//! broken only when it is broken under every version that could have been known; conditions on several objects are
//! taken one by one.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use serde_json::Value;
use serin_kubesim::{Change, Resource};
use serin_model::At as _;

use super::facts::owner;

/// The kinds that rules speak of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    Rollout,
    ReplicaSet,
    Service,
    Slice,
    Route,
    Run,
    Pod,
    Lease,
}

impl Kind {
    /// By the resource's name.
    pub(crate) fn of(resource: &Resource) -> Option<Self> {
        Some(match resource.plural {
            "rollouts" => Self::Rollout,
            "replicasets" => Self::ReplicaSet,
            "services" => Self::Service,
            "endpointslices" => Self::Slice,
            "httproutes" => Self::Route,
            "analysisruns" => Self::Run,
            "pods" => Self::Pod,
            "leases" => Self::Lease,
            _ => return None,
        })
    }
}

/// One version of an object; `None` when it was deleted.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Version<'h> {
    pub at: Duration,
    pub user: &'h str,
    pub object: Option<&'h Value>,
    /// Its writer was told that the write succeeded.
    told: bool,
}

/// All versions of an object, oldest first.
pub(crate) type Track<'h> = Vec<Version<'h>>;

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Picture<'h> {
    tracks: BTreeMap<Kind, ByName<'h, Track<'h>>>,
    /// ReplicaSets that were ever owned by a Rollout, by the Rollout.
    replica_sets: ByName<'h, BTreeSet<&'h str>>,
    /// EndpointSlices that were ever of a Service, by the Service.
    slices: ByName<'h, BTreeSet<&'h str>>,
    /// AnalysisRuns that were ever owned by a Rollout.
    runs: ByName<'h, BTreeSet<&'h str>>,
}

/// By namespace and name.
type ByName<'h, T> = BTreeMap<&'h str, BTreeMap<&'h str, T>>;

impl<'h> Picture<'h> {
    /// Takes in a change. `told`: its writer knows of it.
    pub(crate) fn take(&mut self, change: &'h Change, told: bool) {
        let Some(kind) = Kind::of(&change.resource) else { return };
        let object = change.new.as_deref();
        let (namespace, name) = (change.namespace.as_str(), change.name.as_str());
        if let (Some(object), None) = (object, &change.old) {
            let index = match kind {
                Kind::ReplicaSet => owner(object).map(|(_, o, _)| (&mut self.replica_sets, o)),
                Kind::Run => owner(object).map(|(_, o, _)| (&mut self.runs, o)),
                Kind::Slice => Some((
                    &mut self.slices,
                    object
                        .at("/metadata/labels/kubernetes.io~1service-name")
                        .and_then(Value::as_str)
                        .unwrap_or_default(),
                )),
                _ => None,
            };
            if let Some((index, of)) = index {
                index.entry(namespace).or_default().entry(of).or_default().insert(name);
            }
        }
        let tracks = self.tracks.entry(kind).or_default().entry(namespace).or_default();
        tracks.entry(name).or_default().push(Version {
            at: change.at,
            user: &change.user,
            object,
            told,
        });
    }

    /// All versions of an object.
    pub(crate) fn track(&self, kind: Kind, namespace: &str, name: &str) -> &[Version<'h>] {
        self.tracks
            .get(&kind)
            .and_then(|t| t.get(namespace)?.get(name))
            .map_or(&[], Vec::as_slice)
    }

    /// The object as it is now.
    pub(crate) fn latest(&self, kind: Kind, namespace: &str, name: &str) -> Option<&'h Value> {
        self.track(kind, namespace, name).last().and_then(|v| v.object)
    }

    /// Versions, newest first, that `user` could have taken for the present one: see the module.
    pub(crate) fn views(
        &self,
        kind: Kind,
        namespace: &str,
        name: &str,
        since: Duration,
        user: &str,
    ) -> Vec<Option<&'h Value>> {
        let mut out = Vec::new();
        for version in self.track(kind, namespace, name).iter().rev() {
            out.push(version.object);
            // AnalysisRuns are written beside the Rollout's plans: those that are under way do not know yet.
            let is_own = version.user == user && version.told && kind != Kind::Run;
            if version.at <= since || is_own {
                return out;
            }
        }
        out.push(None);
        out
    }

    /// All objects of a kind that exist now, by (namespace, name).
    pub(crate) fn all(&self, kind: Kind) -> impl Iterator<Item = (&'h str, &'h str, &'h Value)> {
        self.tracks_of(kind)
            .filter_map(|(namespace, name, track)| Some((namespace, name, track.last()?.object?)))
    }

    fn tracks_of(&self, kind: Kind) -> impl Iterator<Item = (&'h str, &'h str, &Track<'h>)> {
        let spaces = self.tracks.get(&kind).into_iter().flatten();
        spaces.flat_map(|(namespace, names)| names.iter().map(|(name, track)| (*namespace, *name, track)))
    }

    /// Names of all Rollouts that ever were.
    pub(crate) fn rollouts(&self) -> impl Iterator<Item = (&'h str, &'h str)> {
        self.tracks_of(Kind::Rollout)
            .map(|(namespace, name, _)| (namespace, name))
    }

    /// Names of ReplicaSets that were ever owned by this Rollout.
    pub(crate) fn replica_sets_of(
        &self,
        namespace: &str,
        rollout: &str,
    ) -> impl Iterator<Item = &'h str> + use<'_, 'h> {
        names(&self.replica_sets, namespace, rollout)
    }

    /// Names of AnalysisRuns that were ever owned by this Rollout.
    pub(crate) fn runs_of(&self, namespace: &str, rollout: &str) -> impl Iterator<Item = &'h str> + use<'_, 'h> {
        names(&self.runs, namespace, rollout)
    }

    /// Names of EndpointSlices that were ever of this Service.
    pub(crate) fn slices_of(&self, namespace: &str, service: &str) -> impl Iterator<Item = &'h str> + use<'_, 'h> {
        names(&self.slices, namespace, service)
    }
}

fn names<'s, 'h>(
    index: &'s ByName<'h, BTreeSet<&'h str>>,
    namespace: &str,
    of: &str,
) -> impl Iterator<Item = &'h str> + use<'s, 'h> {
    let found = index.get(namespace).and_then(|names| names.get(of));
    found.into_iter().flatten().copied()
}
