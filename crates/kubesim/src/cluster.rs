//! The cluster: what its owner, worlds, oracles and built-in controllers call, without requests.

use std::{
    collections::BTreeSet,
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use chrono::{DateTime, SecondsFormat, TimeDelta, Utc};
use serde_json::{Value, json};
use tokio::{sync::watch, time::Instant};

use crate::{
    Change, Crd, Intercept, Resource, Service, Status,
    kinds::{Kind, Kinds, PROVISIONAL},
    storage::Store,
};

/// How a cluster is set up.
#[derive(Clone, Debug)]
pub struct Options {
    /// The time of day at the start.
    pub start: DateTime<Utc>,
    /// For uids and generated names.
    pub seed: u64,
    /// How long a request takes.
    pub latency: Duration,
    /// Changes kept per resource for watches; older versions are answered with 410.
    pub history: usize,
    /// Whether requests and the whole history are kept.
    pub record: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            start: DateTime::from_timestamp(1_767_225_600, 0).unwrap_or_default(),
            seed: 0,
            latency: Duration::from_millis(2),
            history: 1000,
            record: true,
        }
    }
}

/// One request.
#[derive(Clone, Debug)]
pub struct Asked {
    /// Since the start, when it came in.
    pub at: Duration,
    /// Who asked.
    pub user: String,
    /// HTTP method.
    pub method: String,
    /// Path and query.
    pub path: String,
    /// Body, `null` without one.
    pub body: Value,
    /// The answer's code; 0 when the connection broke or the request still hangs.
    pub code: u16,
}

/// A patch of one of the four kinds.
#[derive(Clone, Debug)]
pub enum Patch {
    /// RFC 7386.
    Merge(Value),
    /// RFC 6902.
    Json(Value),
    /// Kubernetes' strategic merge.
    Strategic(Value),
    /// Server-side apply.
    Apply {
        /// Field manager.
        manager: String,
        /// Takes fields over from others.
        force: bool,
        /// What is applied.
        object: Value,
    },
}

/// What is guarded by one lock.
pub(crate) struct State {
    pub store: Store,
    pub kinds: Kinds,
    pub requests: Vec<Asked>,
    pub cut: BTreeSet<String>,
    pub intercept: Option<Arc<dyn Intercept>>,
}

pub(crate) struct Inner {
    pub options: Options,
    pub started: Instant,
    state: Mutex<State>,
    /// Fires when somebody is cut off.
    pub cuts: watch::Sender<u64>,
}

/// A Kubernetes in a process. Clones are the same cluster.
#[derive(Clone)]
pub struct Cluster {
    pub(crate) inner: Arc<Inner>,
}

impl fmt::Debug for Cluster {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cluster").field("options", &self.inner.options).finish_non_exhaustive()
    }
}

impl Cluster {
    /// A cluster that serves the built-in kinds and has the usual namespaces.
    pub fn new(options: Options) -> Self {
        let store = Store::new(options.seed, options.history, options.record);
        let started = store.started;
        let mut kinds = Kinds::default();
        for (plural, kind, group, version, namespaced, status) in PROVISIONAL {
            kinds.add(Kind {
                resource: Resource::new(group, plural),
                kind: kind.to_owned(),
                versions: vec![version.to_owned()],
                namespaced,
                status,
            });
        }
        Self {
            inner: Arc::new(Inner {
                options,
                started,
                state: Mutex::new(State {
                    store,
                    kinds,
                    requests: Vec::new(),
                    cut: BTreeSet::new(),
                    intercept: None,
                }),
                cuts: watch::Sender::new(0),
            }),
        }
    }

    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        self.inner.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Serves a custom resource from now on.
    pub fn register(&self, crd: &Arc<Crd>) {
        let _ = crd;
    }

    /// A client; its requests carry the user's name in the trace.
    pub fn client(&self, user: &str) -> kube::Client {
        kube::Client::new(self.service(user), "default")
    }

    /// The HTTP front of everything, for one user.
    pub fn service(&self, user: &str) -> Service {
        Service::new(self.clone(), user)
    }

    /// The time of day.
    pub fn now(&self) -> DateTime<Utc> {
        self.inner.options.start + TimeDelta::from_std(self.elapsed()).unwrap_or_default()
    }

    /// Since the start.
    pub fn elapsed(&self) -> Duration {
        self.inner.started.elapsed()
    }

    /// One object. `resource` is the plural, or `plural.group` where that is ambiguous.
    pub fn get(&self, resource: &str, namespace: &str, name: &str) -> Option<Arc<Value>> {
        let state = self.state();
        let kind = state.kinds.find(resource).ok()?;
        let stored = state.store.peek(kind.resource)?.get(namespace, name)?;
        Some(Arc::clone(&stored.value))
    }

    /// All objects of a resource, in all namespaces, ordered by namespace and name.
    pub fn list(&self, resource: &str) -> Vec<Arc<Value>> {
        let state = self.state();
        let Ok(kind) = state.kinds.find(resource) else {
            return Vec::new();
        };
        state
            .store
            .peek(kind.resource)
            .map(|table| table.range("").map(|(_, stored)| Arc::clone(&stored.value)).collect())
            .unwrap_or_default()
    }

    /// Creates an object.
    ///
    /// # Errors
    /// What the API server would answer.
    pub fn create(&self, user: &str, resource: &str, mut object: Value) -> Result<Arc<Value>, Status> {
        let now = self.now();
        let mut state = self.state();
        let kind = state.kinds.find(resource)?;
        let namespace = text(&object, "/metadata/namespace").to_owned();
        let mut name = text(&object, "/metadata/name").to_owned();
        if name.is_empty() {
            name = format!("{}{}", text(&object, "/metadata/generateName"), state.store.random.suffix());
        }
        if state.store.table(kind.resource).get(&namespace, &name).is_some() {
            return Err(Status::already_exists(kind.resource, &name));
        }
        object["metadata"]["name"] = json!(name);
        object["metadata"]["uid"] = json!(state.store.random.uuid());
        object["metadata"]["generation"] = json!(1);
        object["metadata"]["creationTimestamp"] = json!(now.to_rfc3339_opts(SecondsFormat::Secs, true));
        object["kind"] = json!(kind.kind);
        object["apiVersion"] = json!(kind.api_version(&kind.versions[0]));
        Ok(Arc::clone(
            &state.store.put(user, kind.resource, &namespace, &name, Some(object)).value,
        ))
    }

    /// Replaces an object or a subresource of it; its resourceVersion is checked when given.
    ///
    /// # Errors
    /// What the API server would answer.
    pub fn update(
        &self,
        user: &str,
        resource: &str,
        subresource: Option<&str>,
        object: Value,
    ) -> Result<Arc<Value>, Status> {
        let mut state = self.state();
        let kind = state.kinds.find(resource)?;
        let namespace = text(&object, "/metadata/namespace").to_owned();
        let name = text(&object, "/metadata/name").to_owned();
        let Some(old) = state.store.table(kind.resource).get(&namespace, &name).cloned() else {
            return Err(Status::not_found(kind.resource, &name));
        };
        let given = text(&object, "/metadata/resourceVersion");
        if !given.is_empty() && given != old.version.to_string() {
            return Err(Status::modified(kind.resource, &name));
        }
        let new = provisional_change(&kind, &old.value, object, subresource);
        if new == *old.value {
            return Ok(Arc::clone(&old.value));
        }
        Ok(Arc::clone(
            &state.store.put(user, kind.resource, &namespace, &name, Some(new)).value,
        ))
    }

    /// Patches an object or a subresource of it.
    ///
    /// # Errors
    /// What the API server would answer.
    pub fn patch(
        &self,
        user: &str,
        resource: &str,
        namespace: &str,
        name: &str,
        subresource: Option<&str>,
        patch: &Patch,
    ) -> Result<Arc<Value>, Status> {
        let mut state = self.state();
        let kind = state.kinds.find(resource)?;
        let Some(old) = state.store.table(kind.resource).get(namespace, name).cloned() else {
            return Err(Status::not_found(kind.resource, name));
        };
        let mut object = (*old.value).clone();
        match patch {
            Patch::Merge(patch) | Patch::Strategic(patch) | Patch::Apply { object: patch, .. } => {
                json_patch::merge(&mut object, patch);
            }
            Patch::Json(_) => return Err(Status::bad_request("not yet")),
        }
        let new = provisional_change(&kind, &old.value, object, subresource);
        if new == *old.value {
            return Ok(Arc::clone(&old.value));
        }
        Ok(Arc::clone(
            &state.store.put(user, kind.resource, namespace, name, Some(new)).value,
        ))
    }

    /// Deletes an object; `options` are `DeleteOptions`, or null.
    ///
    /// # Errors
    /// What the API server would answer.
    pub fn delete(
        &self,
        user: &str,
        resource: &str,
        namespace: &str,
        name: &str,
        options: &Value,
    ) -> Result<Value, Status> {
        let _ = options;
        let mut state = self.state();
        let kind = state.kinds.find(resource)?;
        if state.store.table(kind.resource).get(namespace, name).is_none() {
            return Err(Status::not_found(kind.resource, name));
        }
        state.store.put(user, kind.resource, namespace, name, None);
        Ok(json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success"}))
    }

    /// The version of the last change of anything.
    pub fn resource_version(&self) -> u64 {
        self.state().store.version
    }

    /// Fires with each new version of anything.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.state().store.subscribe()
    }

    /// Every change so far.
    pub fn history(&self) -> Vec<Change> {
        self.history_since(0)
    }

    /// The changes from an index on (the number of changes seen so far). Without [`Options::record`] only the last ones
    /// are kept.
    pub fn history_since(&self, index: usize) -> Vec<Change> {
        self.state().store.history_since(index)
    }

    /// Every request so far, with [`Options::record`].
    pub fn requests(&self) -> Vec<Asked> {
        self.state().requests.clone()
    }

    /// Puts somebody between clients and the cluster; replaces the earlier one.
    pub fn intercept(&self, intercept: Arc<dyn Intercept>) {
        self.state().intercept = Some(intercept);
    }

    /// Breaks all connections of a user for good: its process was killed.
    pub fn cut(&self, user: &str) {
        self.state().cut.insert(user.to_owned());
        self.inner.cuts.send_modify(|n| *n += 1);
    }
}

/// A text in an object, empty without one.
pub(crate) fn text<'a>(object: &'a Value, path: &str) -> &'a str {
    object.pointer(path).and_then(Value::as_str).unwrap_or_default()
}

fn provisional_change(kind: &Kind, old: &Value, mut object: Value, subresource: Option<&str>) -> Value {
    let mut new = if subresource == Some("status") {
        let mut new = old.clone();
        new["status"] = object["status"].take();
        new
    } else {
        if kind.status {
            match old.get("status") {
                Some(status) => object["status"] = status.clone(),
                None => {
                    object.as_object_mut().and_then(|o| o.remove("status"));
                }
            }
        }
        object
    };
    for field in ["uid", "creationTimestamp", "generation", "resourceVersion"] {
        new["metadata"][field] = old["metadata"][field].clone();
    }
    if new.get("spec") != old.get("spec") {
        new["metadata"]["generation"] = json!(old["metadata"]["generation"].as_i64().unwrap_or(0) + 1);
    }
    new
}
