//! The cluster: what its owner, worlds, oracles and built-in controllers call, without requests.

use std::{
    collections::BTreeSet,
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use chrono::{DateTime, TimeDelta, Utc};
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::json::At as _;
use crate::{
    Change, Changes, Crd, Intercept, PodLogs, Resource, Service, Status,
    kinds::{Kind, Kinds},
    registry::{self, Write, WriteOptions},
    signal::Signal,
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
    /// Whether `managedFields` are kept of every object. Else only of those that were ever applied by server-side apply.
    pub managed_fields: bool,
    /// Nothing but the API server: deleted namespaces wait for a controller to finish them, new nodes have the taint that one
    /// takes away. Else both is as if such controllers had been there already.
    pub bare: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            start: DateTime::from_timestamp(1_767_225_600, 0).unwrap_or_default(),
            seed: 0,
            latency: Duration::from_millis(2),
            history: 1000,
            record: true,
            managed_fields: false,
            bare: false,
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
    pub logs: Option<Arc<dyn PodLogs>>,
    /// How many addresses of Services were given out.
    pub addresses: u32,
    pub managed_fields: bool,
    pub bare: bool,
    /// Warnings of the write under way: a refusal has them too.
    pub warned: Vec<String>,
}

pub(crate) struct Inner {
    pub options: Options,
    pub started: Instant,
    state: Mutex<State>,
    /// Fires when somebody is cut off.
    pub cuts: Signal,
}

/// A Kubernetes in a process. Clones are the same cluster.
#[derive(Clone)]
pub struct Cluster {
    pub(crate) inner: Arc<Inner>,
}

impl fmt::Debug for Cluster {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cluster")
            .field("options", &self.inner.options)
            .finish_non_exhaustive()
    }
}

impl Cluster {
    /// A cluster that serves the built-in kinds and has the usual namespaces.
    pub fn new(options: Options) -> Self {
        let store = Store::new(options.seed, options.history, options.record);
        let started = store.started;
        let mut kinds = Kinds::default();
        kinds.add_builtin();
        let (start, managed_fields, bare) = (options.start, options.managed_fields, options.bare);
        let cluster = Self {
            inner: Arc::new(Inner {
                options,
                started,
                state: Mutex::new(State {
                    store,
                    kinds,
                    requests: Vec::new(),
                    cut: BTreeSet::new(),
                    intercept: None,
                    logs: None,
                    addresses: 0,
                    managed_fields,
                    bare,
                    warned: Vec::new(),
                }),
                cuts: Signal::default(),
            }),
        };
        {
            let mut state = cluster.state();
            let resource = Resource::new("", "namespaces");
            for mut namespace in registry::initial_namespaces(start) {
                namespace["metadata"]["uid"] = json!(state.store.random.uuid());
                let name = text(&namespace, "/metadata/name").to_owned();
                state.store.put("kube-apiserver", resource, "", &name, Some(namespace));
            }
        }
        cluster
    }

    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        self.inner.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Serves a custom resource from now on. No CustomResourceDefinition object comes of it: create one through the API if
    /// somebody is to read it.
    pub fn register(&self, crd: &Arc<Crd>) {
        registry::serve(&mut self.state(), crd);
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
    pub fn create(&self, user: &str, resource: &str, object: Value) -> Result<Arc<Value>, Status> {
        let now = self.now();
        let mut state = self.state();
        let kind = state.kinds.find(resource)?;
        let namespace = text(&object, "/metadata/namespace").to_owned();
        let options = by(user);
        let write = direct(user, &kind, &namespace, "", None, now, &options);
        registry::create(&mut state, &write, typed(&kind, object)).map(|w| Arc::clone(&w.object.value))
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
        mut object: Value,
    ) -> Result<Arc<Value>, Status> {
        let now = self.now();
        let mut state = self.state();
        let kind = state.kinds.find(resource)?;
        let namespace = text(&object, "/metadata/namespace").to_owned();
        let name = text(&object, "/metadata/name").to_owned();
        let options = by(user);
        let write = direct(user, &kind, &namespace, &name, subresource, now, &options);
        if subresource == Some("scale") {
            return registry::update_scale(&mut state, &write, object).map(|w| Arc::clone(&w.object.value));
        }
        if text(&object, "/metadata/resourceVersion").is_empty()
            && let Some(old) = state.store.table(kind.resource).get(&namespace, &name)
        {
            object["metadata"]["resourceVersion"] = json!(old.version.to_string());
        }
        registry::update(&mut state, &write, typed(&kind, object)).map(|w| Arc::clone(&w.object.value))
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
        let now = self.now();
        let mut state = self.state();
        let kind = state.kinds.find(resource)?;
        let options = by(user);
        let write = direct(user, &kind, namespace, name, subresource, now, &options);
        registry::patch(&mut state, &write, patch).map(|w| Arc::clone(&w.object.value))
    }

    /// Deletes an object; `options` are `DeleteOptions`, or null. Answers with the object or a `Status`.
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
        let now = self.now();
        let mut state = self.state();
        let kind = state.kinds.find(resource)?;
        let write_options = by(user);
        let write = direct(user, &kind, namespace, name, None, now, &write_options);
        registry::delete(&mut state, &write, options).map(|deleted| match deleted {
            registry::Deleted::Status(status) => status,
            registry::Deleted::Object(object) => (*object.value).clone(),
        })
    }

    /// The version of the last change of anything.
    pub fn resource_version(&self) -> u64 {
        self.state().store.version
    }

    /// Fires with each new version of anything.
    pub fn changes(&self) -> Changes {
        self.state().store.subscribe()
    }

    /// Every change so far.
    pub fn history(&self) -> Vec<Change> {
        let history = self.history_since(0);
        history.into_iter().map(Arc::unwrap_or_clone).collect()
    }

    /// The changes from an index on (the number of changes seen so far). Without [`Options::record`] only the last ones
    /// are kept.
    pub fn history_since(&self, index: usize) -> Vec<Arc<Change>> {
        self.state().store.history_since(index)
    }

    /// How many changes there have been.
    pub fn changes_so_far(&self) -> usize {
        self.state().store.changes_so_far()
    }

    /// Hands over every request so far; from now on they are counted from nothing.
    pub fn take_requests(&self) -> Vec<Asked> {
        std::mem::take(&mut self.state().requests)
    }

    /// Every request so far, with [`Options::record`].
    pub fn requests(&self) -> Vec<Asked> {
        self.state().requests.clone()
    }

    /// Puts somebody between clients and the cluster; replaces the earlier one.
    pub fn intercept(&self, intercept: Arc<dyn Intercept>) {
        self.state().intercept = Some(intercept);
    }

    /// Says who has the logs of Pods; without one a log is one line.
    pub fn logs(&self, logs: Arc<dyn PodLogs>) {
        self.state().logs = Some(logs);
    }

    /// The resource of a kind that is served (`apiVersion` without its version), and whether its objects are in namespaces.
    pub fn resource(&self, group: &str, kind: &str) -> Option<(Resource, bool)> {
        let state = self.state();
        let found = state
            .kinds
            .all()
            .find(|k| k.resource.group == group && k.kind == kind)?;
        Some((found.resource, found.namespaced))
    }

    /// Breaks all connections of a user for good: its process was killed.
    pub fn cut(&self, user: &str) {
        self.state().cut.insert(user.to_owned());
        self.inner.cuts.fire();
    }
}

/// A text in an object, empty without one.
pub(crate) fn text<'a>(object: &'a Value, path: &str) -> &'a str {
    object.at(path).and_then(Value::as_str).unwrap_or_default()
}

/// The options of a write that no request made.
fn by(user: &str) -> WriteOptions {
    WriteOptions {
        manager: user.to_owned(),
        ..WriteOptions::default()
    }
}

/// A write that no request made.
fn direct<'a>(
    user: &'a str,
    kind: &'a Arc<Kind>,
    namespace: &'a str,
    name: &'a str,
    subresource: Option<&'a str>,
    now: DateTime<Utc>,
    options: &'a WriteOptions,
) -> Write<'a> {
    Write {
        user,
        kind: Arc::clone(kind),
        version: &kind.storage,
        namespace,
        name,
        subresource: subresource.unwrap_or_default(),
        now,
        options,
    }
}

/// Objects given directly need not say their kind.
fn typed(kind: &Kind, mut object: Value) -> Value {
    if object.is_object() {
        object["kind"] = json!(kind.kind);
        object["apiVersion"] = json!(kind.api_version(&kind.storage));
    }
    object
}
