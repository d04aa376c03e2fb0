//! What the controllers know of the cluster: the objects of their kinds with the indexes they ask for, and who owns what.
//! It follows the changes; nothing here scans the cluster.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use serde_json::Value;

use super::objects::{controller_uid, owners, text, uid};
use crate::Resource;

/// Namespace and name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Name {
    pub namespace: Arc<str>,
    pub name: Arc<str>,
}

impl Name {
    pub(super) fn new(namespace: &str, name: &str) -> Self {
        Self {
            namespace: namespace.into(),
            name: name.into(),
        }
    }

    /// The name of another object in the same namespace.
    pub(super) fn beside(&self, name: &str) -> Self {
        Self {
            namespace: Arc::clone(&self.namespace),
            name: name.into(),
        }
    }
}

/// Any object.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Id {
    pub resource: Resource,
    pub name: Name,
}

/// Objects of one kind, also by their controller.
#[derive(Debug, Default)]
pub(super) struct Shelf {
    objects: BTreeMap<Name, Arc<Value>>,
    /// By the controller's uid; under the empty uid those without.
    by_controller: BTreeMap<String, BTreeSet<Name>>,
}

impl Shelf {
    /// The present version of an object, `None` when it is gone.
    pub(super) fn put(&mut self, name: &Name, new: Option<&Arc<Value>>) {
        let old = match new {
            Some(new) => self.objects.insert(name.clone(), Arc::clone(new)),
            None => self.objects.remove(name),
        };
        let old_owner = old.as_deref().map(controller_uid);
        let new_owner = new.map(|new| controller_uid(new));
        if old_owner == new_owner {
            return;
        }
        if let Some(owner) = old_owner
            && let Some(owned) = self.by_controller.get_mut(owner)
        {
            owned.remove(name);
            if owned.is_empty() {
                self.by_controller.remove(owner);
            }
        }
        if let Some(owner) = new_owner {
            match self.by_controller.get_mut(owner) {
                Some(owned) => {
                    owned.insert(name.clone());
                }
                None => {
                    self.by_controller
                        .insert(owner.to_owned(), BTreeSet::from([name.clone()]));
                }
            }
        }
    }

    pub(super) fn get(&self, name: &Name) -> Option<&Arc<Value>> {
        self.objects.get(name)
    }

    /// Those of a controller, by name.
    pub(super) fn of(&self, controller: &str) -> impl Iterator<Item = (&Name, &Arc<Value>)> {
        let names = self.by_controller.get(controller).into_iter().flatten();
        names.filter_map(|name| Some((name, self.objects.get(name)?)))
    }

    /// Those of a namespace that nobody controls.
    pub(super) fn orphans(&self, namespace: &str) -> impl Iterator<Item = (&Name, &Arc<Value>)> {
        self.of("").filter(move |(name, _)| &*name.namespace == namespace)
    }

    /// All of a namespace.
    pub(super) fn within(&self, namespace: &str) -> impl Iterator<Item = (&Name, &Arc<Value>)> {
        self.objects
            .range(Name::new(namespace, "")..)
            .take_while(move |(name, _)| &*name.namespace == namespace)
    }

    /// All.
    pub(super) fn all(&self) -> impl Iterator<Item = (&Name, &Arc<Value>)> {
        self.objects.iter()
    }
}

/// All objects of every resource, Events apart, and who owns what.
#[derive(Debug, Default)]
pub(super) struct Graph {
    objects: BTreeMap<Id, Arc<Value>>,
    ids: BTreeMap<String, Id>,
    dependants: BTreeMap<String, BTreeSet<Id>>,
}

impl Graph {
    /// Follows one change; the object as it was before.
    pub(super) fn put(&mut self, id: &Id, new: Option<&Arc<Value>>) -> Option<Arc<Value>> {
        let old = match new {
            Some(new) => self.objects.insert(id.clone(), Arc::clone(new)),
            None => self.objects.remove(id),
        };
        self.link(id, old.as_deref(), new.map(|new| &**new));
        old
    }

    fn link(&mut self, id: &Id, old: Option<&Value>, new: Option<&Value>) {
        let (old_uid, new_uid) = (old.map(uid), new.map(uid));
        if old_uid != new_uid {
            if let Some(uid) = old_uid {
                self.ids.remove(uid);
            }
            if let Some(uid) = new_uid {
                self.ids.insert(uid.to_owned(), id.clone());
            }
        }
        let (old_owners, new_owners) = (old.map(owners).unwrap_or_default(), new.map(owners).unwrap_or_default());
        if old_owners == new_owners {
            return;
        }
        for owner in old_owners {
            let uid = text(&owner["uid"]);
            if let Some(dependants) = self.dependants.get_mut(uid) {
                dependants.remove(id);
                if dependants.is_empty() {
                    self.dependants.remove(uid);
                }
            }
        }
        for owner in new_owners {
            let uid = text(&owner["uid"]);
            self.dependants.entry(uid.to_owned()).or_default().insert(id.clone());
        }
    }

    /// An object as it is.
    pub(super) fn get(&self, id: &Id) -> Option<&Arc<Value>> {
        self.objects.get(id)
    }

    /// Everything that is known.
    pub(super) fn ids(&self) -> impl Iterator<Item = &Id> {
        self.objects.keys()
    }

    /// The object with this uid.
    pub(super) fn find(&self, uid: &str) -> Option<&Id> {
        self.ids.get(uid)
    }

    /// Those that name this uid as an owner.
    pub(super) fn dependants(&self, uid: &str) -> impl Iterator<Item = &Id> {
        self.dependants.get(uid).into_iter().flatten()
    }
}

/// Everything the controllers know.
#[derive(Debug, Default)]
pub(super) struct Cache {
    pub pods: Shelf,
    pub sets: Shelf,
    pub deployments: Shelf,
    pub jobs: Shelf,
    pub services: Shelf,
    pub slices: Shelf,
    pub nodes: Shelf,
    /// Pods that are bound to a node and have not finished, by the node's name.
    pub bound: BTreeMap<String, BTreeSet<Name>>,
    /// Pods that wait for a node.
    pub unbound: BTreeSet<Name>,
    pub graph: Graph,
}
