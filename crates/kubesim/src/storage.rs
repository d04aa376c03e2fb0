//! Objects and their versions: what etcd and the watch cache are to an API server.
//!
//! One table a resource, ordered as etcd orders its keys; one version counter for everything; every change kept in its
//! table's log for watches and in one history for the owner of the cluster. Knows nothing of schemas, patches or HTTP.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    fmt,
    sync::{Arc, Mutex, OnceLock, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::{
    random::Random,
    signal::{Changes, Signal},
};

/// A resource: group (empty for the core) and plural.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Resource {
    /// API group, empty for the core.
    pub group: &'static str,
    /// Plural name, such as `pods`.
    pub plural: &'static str,
}

impl Resource {
    /// A resource by its names; they are kept for the life of the process, each once.
    pub fn new(group: &str, plural: &str) -> Self {
        Self {
            group: intern(group),
            plural: intern(plural),
        }
    }
}

impl fmt::Display for Resource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.plural)?;
        if !self.group.is_empty() {
            write!(f, ".{}", self.group)?;
        }
        Ok(())
    }
}

/// Names of groups and resources are few and compared often.
fn intern(name: &str) -> &'static str {
    static NAMES: Mutex<BTreeSet<&'static str>> = Mutex::new(BTreeSet::new());
    let mut names = NAMES.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(known) = names.get(name) {
        return known;
    }
    let name: &'static str = Box::leak(name.to_owned().into_boxed_str());
    names.insert(name);
    name
}

/// One change of one object.
#[derive(Clone, Debug)]
pub struct Change {
    /// Since the start.
    pub at: Duration,
    /// The resourceVersion that it made.
    pub version: u64,
    /// Who wrote it.
    pub user: String,
    /// Which resource.
    pub resource: Resource,
    /// Empty for what has no namespace.
    pub namespace: String,
    /// Name.
    pub name: String,
    /// Before; `None` when it was created.
    pub old: Option<Arc<Value>>,
    /// After; `None` when it was deleted.
    pub new: Option<Arc<Value>>,
}

/// An object in one version, and its JSON text once somebody asked for it.
#[derive(Debug)]
pub(crate) struct Stored {
    pub version: u64,
    pub value: Arc<Value>,
    text: OnceLock<Bytes>,
    bare: OnceLock<Bytes>,
}

impl Stored {
    fn new(version: u64, value: Value) -> Self {
        Self {
            version,
            value: Arc::new(value),
            text: OnceLock::new(),
            bare: OnceLock::new(),
        }
    }

    /// An object that is not stored: the answer to a dry run.
    pub(crate) fn unsaved(value: Value) -> Arc<Self> {
        let version = value["metadata"]["resourceVersion"]
            .as_str()
            .and_then(|v| v.parse().ok());
        Arc::new(Self::new(version.unwrap_or(0), value))
    }

    /// The object as JSON text, written once.
    pub(crate) fn text(&self) -> Bytes {
        // Not by way of `Display`, which looks at each piece twice.
        let make = || Bytes::from(serde_json::to_vec(&*self.value).unwrap_or_default());
        self.text.get_or_init(make).clone()
    }

    /// The same without kind and version, as lists of built-in kinds show it.
    pub(crate) fn bare_text(&self) -> Bytes {
        let make = || match &*self.value {
            Value::Object(map) => {
                let bare: BTreeMap<&String, &Value> = map
                    .iter()
                    .filter(|(field, _)| *field != "kind" && *field != "apiVersion")
                    .collect();
                Bytes::from(serde_json::to_vec(&bare).unwrap_or_default())
            }
            other => Bytes::from(other.to_string()),
        };
        self.bare.get_or_init(make).clone()
    }
}

/// A change, as watches read it.
#[derive(Debug)]
pub(crate) struct Record {
    pub at: Instant,
    pub version: u64,
    pub key: String,
    pub old: Option<Arc<Stored>>,
    pub new: Option<Arc<Stored>>,
    gone: OnceLock<Arc<Stored>>,
}

impl Record {
    /// The last state of a deleted object with the version of its deletion, as a watch reports it.
    pub(crate) fn last(&self) -> Option<Arc<Stored>> {
        let old = self.old.as_ref()?;
        Some(Arc::clone(self.gone.get_or_init(|| {
            let mut value = (*old.value).clone();
            value["metadata"]["resourceVersion"] = json!(self.version.to_string());
            Arc::new(Stored::new(self.version, value))
        })))
    }
}

/// All objects of one resource.
#[derive(Debug)]
pub(crate) struct Table {
    /// By `namespace/name`, or `name` for what has no namespace.
    objects: BTreeMap<String, Arc<Stored>>,
    log: VecDeque<Arc<Record>>,
    /// Changes up to this version are no longer kept.
    pub forgotten: u64,
    /// Fires with each change.
    pub changed: Signal,
}

impl Table {
    fn new(forgotten: u64) -> Self {
        Self {
            objects: BTreeMap::new(),
            log: VecDeque::new(),
            forgotten,
            changed: Signal::default(),
        }
    }

    pub(crate) fn get(&self, namespace: &str, name: &str) -> Option<&Arc<Stored>> {
        if namespace.is_empty() {
            self.objects.get(name)
        } else {
            self.objects.get(&key(namespace, name))
        }
    }

    /// All, or those of a namespace, with their keys.
    pub(crate) fn range(&self, namespace: &str) -> impl Iterator<Item = (&String, &Arc<Stored>)> {
        // '0' is the character after '/'.
        let (from, to) = if namespace.is_empty() {
            (String::new(), None)
        } else {
            (format!("{namespace}/"), Some(format!("{namespace}0")))
        };
        self.objects
            .range(from..)
            .take_while(move |(key, _)| to.as_ref().is_none_or(|to| *key < to))
    }

    /// As [`Table::range`], of one name.
    pub(crate) fn entry(&self, namespace: &str, name: &str) -> Option<(&String, &Arc<Stored>)> {
        self.objects.get_key_value(&key(namespace, name))
    }

    pub(crate) fn len(&self) -> usize {
        self.objects.len()
    }

    /// The changes after a version.
    pub(crate) fn since(&self, version: u64) -> impl Iterator<Item = &Arc<Record>> {
        let start = self.log.partition_point(|record| record.version <= version);
        self.log.range(start..)
    }

    /// The objects of a namespace (or all) as they were at a version that is still known.
    pub(crate) fn at(&self, version: u64, namespace: &str) -> BTreeMap<String, Arc<Stored>> {
        let mut objects: BTreeMap<String, Arc<Stored>> =
            self.range(namespace).map(|(k, v)| (k.clone(), Arc::clone(v))).collect();
        let prefix = if namespace.is_empty() {
            String::new()
        } else {
            format!("{namespace}/")
        };
        let start = self.log.partition_point(|record| record.version <= version);
        for record in self.log.range(start..).rev().filter(|r| r.key.starts_with(&prefix)) {
            match &record.old {
                Some(old) => objects.insert(record.key.clone(), Arc::clone(old)),
                None => objects.remove(&record.key),
            };
        }
        objects
    }
}

/// The key of an object in its table.
pub(crate) fn key(namespace: &str, name: &str) -> String {
    if namespace.is_empty() {
        name.to_owned()
    } else {
        format!("{namespace}/{name}")
    }
}

/// The version of an empty store; older ones never were, and asking for them is asking for what is forgotten.
const FIRST: u64 = 100;

/// Everything that is stored.
#[derive(Debug)]
pub(crate) struct Store {
    pub started: Instant,
    pub version: u64,
    pub random: Random,
    kept: usize,
    record: bool,
    tables: BTreeMap<Resource, Table>,
    history: VecDeque<Arc<Change>>,
    /// How many entries of the history were dropped from its front.
    dropped: usize,
    changed: Signal,
}

impl Store {
    pub(crate) fn new(seed: u64, kept: usize, record: bool) -> Self {
        Self {
            started: Instant::now(),
            version: FIRST,
            random: Random::new(seed),
            kept: kept.max(1),
            record,
            tables: BTreeMap::new(),
            history: VecDeque::new(),
            dropped: 0,
            changed: Signal::default(),
        }
    }

    /// The table of a resource, made when it is first asked for.
    pub(crate) fn table(&mut self, resource: Resource) -> &mut Table {
        self.tables.entry(resource).or_insert_with(|| Table::new(FIRST))
    }

    pub(crate) fn peek(&self, resource: Resource) -> Option<&Table> {
        self.tables.get(&resource)
    }

    /// Resources that have, or had, objects.
    pub(crate) fn resources(&self) -> Vec<Resource> {
        self.tables.keys().copied().collect()
    }

    pub(crate) fn subscribe(&self) -> Changes {
        self.changed.subscribe()
    }

    /// Stores a new version of an object, or its removal, and tells everybody. The version is written into the object.
    pub(crate) fn put(
        &mut self,
        user: &str,
        resource: Resource,
        namespace: &str,
        name: &str,
        new: Option<Value>,
    ) -> Arc<Stored> {
        self.version += 1;
        let version = self.version;
        let now = Instant::now();
        let at = now - self.started;
        let kept = self.kept;
        let key = key(namespace, name);
        let new = new.map(|mut value| {
            value["metadata"]["resourceVersion"] = json!(version.to_string());
            Arc::new(Stored::new(version, value))
        });
        let table = self.table(resource);
        let old = match &new {
            Some(new) => table.objects.insert(key.clone(), Arc::clone(new)),
            None => table.objects.remove(&key),
        };
        let record = Arc::new(Record {
            at: now,
            version,
            key,
            old: old.clone(),
            new: new.clone(),
            gone: OnceLock::new(),
        });
        table.log.push_back(Arc::clone(&record));
        while table.log.len() > kept {
            if let Some(oldest) = table.log.pop_front() {
                table.forgotten = oldest.version;
            }
        }
        table.changed.fire();
        self.history.push_back(Arc::new(Change {
            at,
            version,
            user: user.to_owned(),
            resource,
            namespace: namespace.to_owned(),
            name: name.to_owned(),
            old: old.as_ref().map(|o| Arc::clone(&o.value)),
            new: new.as_ref().map(|o| Arc::clone(&o.value)),
        }));
        if !self.record && self.history.len() > kept {
            self.history.pop_front();
            self.dropped += 1;
        }
        self.changed.fire();
        new.or_else(|| record.last())
            .unwrap_or_else(|| Arc::new(Stored::new(version, Value::Null)))
    }

    /// How many changes there have been.
    pub(crate) fn changes_so_far(&self) -> usize {
        self.dropped + self.history.len()
    }

    /// The history from an index on; what was dropped is missing.
    pub(crate) fn history_since(&self, index: usize) -> Vec<Arc<Change>> {
        let start = index.saturating_sub(self.dropped).min(self.history.len());
        self.history.range(start..).cloned().collect()
    }

    /// The changes after a version; `None` when some of them are no longer kept.
    pub(crate) fn changes_after(&self, version: u64) -> Option<Vec<Arc<Change>>> {
        let missing = match self.history.front() {
            Some(first) => first.version > version.max(FIRST) + 1,
            None => version.max(FIRST) < self.version,
        };
        if missing {
            return None;
        }
        let start = self.history.partition_point(|change| change.version <= version);
        Some(self.history.range(start..).cloned().collect())
    }
}
