//! A Kubernetes in the process: one tower service for kube's client, on virtual time, without sockets.
//!
//! Holds whatever objects it is given; knows list (paged, with label selectors), watch, get, create, merge and JSON patch,
//! replace, delete with preconditions, resourceVersions with 409, generations, and status subresources. Every request and
//! every version of every object is kept for assertions. Faults can be ordered. The built-in controllers are in
//! [`crate::workloads`].

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    convert::Infallible,
    sync::{Arc, Mutex, MutexGuard},
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use chrono::SecondsFormat;
use futures::{FutureExt, future::BoxFuture};
use http::{Method, Request, Response, StatusCode};
use http_body::Frame;
use http_body_util::{BodyExt, Full, StreamBody, combinators::UnsyncBoxBody};
use serde_json::{Value, json};
use serin_controller::Clock;
use tokio::{sync::watch, time::Instant};

use crate::{
    objects::{decode, json_patch, merge, text},
    requests::{Path, Watch},
};

/// One kind that is served: plural, kind, path prefix, namespaced, status subresource.
pub struct Served(pub &'static str, pub &'static str, pub &'static str, pub bool, pub bool);

/// What is served.
pub const SERVED: [Served; 13] = [
    Served("rollouts", "Rollout", "/apis/argoproj.io/v1alpha1", true, true),
    Served("analysisruns", "AnalysisRun", "/apis/argoproj.io/v1alpha1", true, false),
    Served(
        "analysistemplates",
        "AnalysisTemplate",
        "/apis/argoproj.io/v1alpha1",
        true,
        false,
    ),
    Served(
        "clusteranalysistemplates",
        "ClusterAnalysisTemplate",
        "/apis/argoproj.io/v1alpha1",
        false,
        false,
    ),
    Served("experiments", "Experiment", "/apis/argoproj.io/v1alpha1", true, false),
    Served("replicasets", "ReplicaSet", "/apis/apps/v1", true, true),
    Served("services", "Service", "/api/v1", true, true),
    Served(
        "endpointslices",
        "EndpointSlice",
        "/apis/discovery.k8s.io/v1",
        true,
        false,
    ),
    Served(
        "httproutes",
        "HTTPRoute",
        "/apis/gateway.networking.k8s.io/v1",
        true,
        true,
    ),
    Served("events", "Event", "/api/v1", true, false),
    Served("secrets", "Secret", "/api/v1", true, false),
    Served("configmaps", "ConfigMap", "/api/v1", true, false),
    Served("leases", "Lease", "/apis/coordination.k8s.io/v1", true, false),
];

/// The plural of a kind that is served.
pub fn plural_of(kind: &str) -> &'static str {
    let served = SERVED.iter().find(|served| served.1 == kind);
    served.unwrap_or_else(|| panic!("{kind} is not served here")).0
}

/// Plural, namespace, name.
pub type Id = (String, String, String);

/// One version of one object; `object` is `None` when it was deleted.
#[derive(Clone, Debug)]
pub struct Version {
    /// Milliseconds since the start.
    pub at: u128,
    /// Which object.
    pub id: Id,
    /// Its resourceVersion.
    pub version: u64,
    /// Before.
    pub old: Option<Value>,
    /// After.
    pub object: Option<Value>,
}

/// One request.
#[derive(Clone, Debug)]
pub struct Asked {
    /// Milliseconds since the start.
    pub at: u128,
    /// Which client.
    pub client: String,
    /// Method.
    pub method: String,
    /// Path and query.
    pub path: String,
    /// Body, `null` without one.
    pub body: Value,
    /// Answer's status code.
    pub code: u16,
}

/// What a request is answered with instead.
#[derive(Clone, Debug)]
pub struct Fault {
    /// Method, such as `PATCH`.
    pub method: &'static str,
    /// A part of the path.
    pub path: &'static str,
    /// Status code.
    pub code: u16,
    /// `reason` of the Status.
    pub reason: &'static str,
    /// How often; after that the fault is over.
    pub times: u32,
    /// The request is carried out all the same: only its answer is lost.
    pub carried_out: bool,
}

#[derive(Debug, Default)]
struct State {
    version: u64,
    uids: u64,
    objects: BTreeMap<Id, Value>,
    history: Vec<Version>,
    asked: Vec<Asked>,
    faults: VecDeque<Fault>,
    forbidden: BTreeSet<&'static str>,
    absent: BTreeSet<&'static str>,
    down: bool,
    cut: BTreeSet<String>,
}

/// See the module.
#[derive(Clone, Debug)]
pub struct Kubernetes {
    state: Arc<Mutex<State>>,
    changed: watch::Sender<u64>,
    clock: Clock,
    started: Instant,
}

/// How long the API server takes for a request.
const LATENCY: Duration = Duration::from_millis(2);

impl Kubernetes {
    /// An empty cluster.
    pub fn new(clock: Clock) -> Self {
        Self {
            state: Arc::default(),
            changed: watch::Sender::new(0),
            clock,
            started: Instant::now(),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    /// A client; requests through it carry this name in the trace.
    pub fn client(&self, name: &str) -> kube::Client {
        kube::Client::new(
            Service {
                cluster: self.clone(),
                name: name.to_owned(),
            },
            "default",
        )
    }

    /// Milliseconds since the start.
    pub fn now(&self) -> u128 {
        self.started.elapsed().as_millis()
    }

    /// Fires with each new version of anything.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }

    // === Faults ===

    /// Orders a fault.
    pub fn order(&self, fault: Fault) {
        self.state().faults.push_back(fault);
    }

    /// Lets requests of this kind be answered with 403.
    pub fn forbid(&self, plural: &'static str) {
        self.state().forbidden.insert(plural);
    }

    /// Serves this kind or not (404).
    pub fn serve(&self, plural: &'static str, serve: bool) {
        if serve {
            self.state().absent.remove(plural);
        } else {
            self.state().absent.insert(plural);
        }
    }

    /// Stops and starts the API server; watches break off.
    pub fn set_down(&self, down: bool) {
        self.state().down = down;
        self.changed.send_modify(|v| *v += 1);
    }

    /// Cuts one client off for good, as when its process is killed.
    pub fn cut(&self, client: &str) {
        self.state().cut.insert(client.to_owned());
        self.changed.send_modify(|v| *v += 1);
    }

    // === What people and built-in controllers do ===

    /// One object.
    pub fn get(&self, plural: &str, namespace: &str, name: &str) -> Option<Value> {
        self.state().objects.get(&id(plural, namespace, name)).cloned()
    }

    /// All objects of a kind.
    pub fn all(&self, plural: &str) -> Vec<Value> {
        let state = self.state();
        state
            .objects
            .iter()
            .filter(|((p, ..), _)| p == plural)
            .map(|(_, v)| v.clone())
            .collect()
    }

    /// Every version so far.
    pub fn history(&self) -> Vec<Version> {
        self.state().history.clone()
    }

    /// Every request so far.
    pub fn asked(&self) -> Vec<Asked> {
        self.state().asked.clone()
    }

    /// Creates an object, as a person would.
    pub fn create(&self, plural: &str, object: Value) -> Value {
        self.put_new(plural, object).unwrap_or_else(|e| panic!("{e:?}"))
    }

    /// Merge-patches an object, as a person would.
    pub fn merge(&self, plural: &str, namespace: &str, name: &str, subresource: Option<&str>, patch: &Value) -> Value {
        let change = |object: &mut Value| {
            merge(object, patch);
            Ok(())
        };
        self.change(&id(plural, namespace, name), subresource, change)
            .unwrap_or_else(|e| panic!("{e:?}"))
    }

    /// JSON-patches an object, as a person would.
    pub fn json_patch(&self, plural: &str, namespace: &str, name: &str, patch: &Value) -> Value {
        let change = |object: &mut Value| json_patch(object, patch);
        self.change(&id(plural, namespace, name), None, change)
            .unwrap_or_else(|e| panic!("{e:?}"))
    }

    /// Sets a whole status without caring about versions, as built-in controllers do; nothing happens if it is equal.
    pub fn set_status(&self, id: &Id, status: Value) {
        let _ = self.change(id, Some("status"), |object| {
            object["status"] = status;
            Ok(())
        });
    }

    /// Creates or replaces an object of a built-in controller.
    pub fn put(&self, plural: &str, object: Value) {
        let id = id(
            plural,
            text(&object, "/metadata/namespace"),
            text(&object, "/metadata/name"),
        );
        if self.state().objects.contains_key(&id) {
            let _ = self.change(&id, None, |old| {
                merge(old, &object);
                Ok(())
            });
        } else {
            self.create(plural, object);
        }
    }

    /// Deletes an object.
    pub fn delete(&self, plural: &str, namespace: &str, name: &str) {
        let _ = self.remove(&id(plural, namespace, name), &Value::Null);
    }

    // === Storage ===

    fn put_new(&self, plural: &str, mut object: Value) -> Result<Value, Refused> {
        let id = id(
            plural,
            text(&object, "/metadata/namespace"),
            text(&object, "/metadata/name"),
        );
        let mut state = self.state();
        if state.objects.contains_key(&id) {
            return Err(Refused(
                409,
                "AlreadyExists",
                format!("{plural} {:?} already exists", id.2),
            ));
        }
        state.uids += 1;
        let metadata = &mut object["metadata"];
        metadata["uid"] = json!(format!("uid-{}", state.uids));
        metadata["creationTimestamp"] = json!(self.clock.now().to_rfc3339_opts(SecondsFormat::Secs, true));
        metadata["generation"] = json!(1);
        if let Some(kind) = SERVED.iter().find(|k| k.0 == plural) {
            object["kind"] = json!(kind.1);
            object["apiVersion"] = json!(kind.2.trim_start_matches("/apis/").trim_start_matches("/api/"));
            if kind.4 {
                object.as_object_mut().unwrap().remove("status");
            }
        }
        default(plural, &mut object);
        Ok(self.store(state, id, None, Some(object)))
    }

    fn change(
        &self,
        id: &Id,
        subresource: Option<&str>,
        change: impl FnOnce(&mut Value) -> Result<(), Refused>,
    ) -> Result<Value, Refused> {
        let state = self.state();
        let old = state.objects.get(id).cloned();
        let old = old.ok_or_else(|| Refused(404, "NotFound", format!("{} {:?} not found", id.0, id.2)))?;
        let mut changed = old.clone();
        change(&mut changed)?;
        if changed.pointer("/metadata/resourceVersion") != old.pointer("/metadata/resourceVersion") {
            let message = "the object has been modified; please apply your changes to the latest version and try again";
            return Err(Refused(409, "Conflict", message.to_owned()));
        }
        let has_status = SERVED.iter().any(|k| k.0 == id.0 && k.4);
        let mut new = match subresource {
            Some("status") => {
                let mut new = old.clone();
                new["status"] = changed["status"].take();
                new
            }
            _ => changed,
        };
        if has_status && subresource.is_none() {
            match old.get("status") {
                Some(status) => new["status"] = status.clone(),
                None => {
                    new.as_object_mut().unwrap().remove("status");
                }
            }
        }
        default(&id.0, &mut new);
        if new == old {
            return Ok(old);
        }
        if new.get("spec") != old.get("spec") {
            let generation = old.pointer("/metadata/generation").and_then(Value::as_i64).unwrap_or(0);
            new["metadata"]["generation"] = json!(generation + 1);
        }
        Ok(self.store(state, id.clone(), Some(old), Some(new)))
    }

    fn remove(&self, id: &Id, options: &Value) -> Result<Value, Refused> {
        let mut state = self.state();
        let old = state.objects.get(id).cloned();
        let old = old.ok_or_else(|| Refused(404, "NotFound", format!("{} {:?} not found", id.0, id.2)))?;
        for field in ["uid", "resourceVersion"] {
            let wanted = options.pointer(&format!("/preconditions/{field}"));
            if wanted.is_some_and(|w| Some(w) != old.pointer(&format!("/metadata/{field}"))) {
                return Err(Refused(409, "Conflict", format!("precondition failed: {field}")));
            }
        }
        state.objects.remove(id);
        self.store(state, id.clone(), Some(old), None);
        Ok(json!({"kind": "Status", "apiVersion": "v1", "status": "Success"}))
    }

    fn store(&self, mut state: MutexGuard<'_, State>, id: Id, old: Option<Value>, mut object: Option<Value>) -> Value {
        state.version += 1;
        let version = state.version;
        if let Some(object) = &mut object {
            object["metadata"]["resourceVersion"] = json!(version.to_string());
            state.objects.insert(id.clone(), object.clone());
        }
        state.history.push(Version {
            at: self.now(),
            id,
            version,
            old,
            object: object.clone(),
        });
        drop(state);
        self.changed.send_modify(|v| *v += 1);
        object.unwrap_or_default()
    }

    // === Requests ===

    async fn answer(self, client: String, request: Request<kube::client::Body>) -> Result<Response<Body>, Down> {
        let (parts, body) = request.into_parts();
        let body = body
            .collect()
            .await
            .map(http_body_util::Collected::to_bytes)
            .unwrap_or_default();
        let body: Value = serde_json::from_slice(&body).unwrap_or_default();
        tokio::time::sleep(LATENCY).await;
        let path = parts.uri.path_and_query().map(ToString::to_string).unwrap_or_default();
        let format = parts
            .headers
            .get("content-type")
            .and_then(|v| v.to_str().ok())
            .unwrap_or_default()
            .to_owned();
        {
            let state = self.state();
            if state.down || state.cut.contains(&client) {
                return Err(Down);
            }
        }
        let result = match self.fault(&parts.method, parts.uri.path()) {
            Some(fault) => {
                if fault.carried_out {
                    let _ = self.handle(&parts.method, &parts.uri, &format, &body);
                }
                Err(Refused(
                    fault.code,
                    fault.reason,
                    format!("ordered by the test: {}", fault.reason),
                ))
            }
            None => self.handle(&parts.method, &parts.uri, &format, &body),
        };
        let code = match &result {
            Ok(Answer::Object(code, _)) => *code,
            Ok(Answer::Watch(_)) => 200,
            Err(Refused(code, ..)) => *code,
        };
        let at = self.now();
        self.state().asked.push(Asked {
            at,
            client,
            method: parts.method.to_string(),
            path,
            body,
            code,
        });
        Ok(match result {
            Ok(Answer::Object(code, object)) => whole(code, &object),
            Ok(Answer::Watch(watch)) => self.stream(watch),
            Err(Refused(code, reason, message)) => whole(
                code,
                &json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": code, "reason": reason, "message": message}),
            ),
        })
    }

    fn fault(&self, method: &Method, path: &str) -> Option<Fault> {
        let mut state = self.state();
        let index = state
            .faults
            .iter()
            .position(|f| f.method == method.as_str() && path.contains(f.path))?;
        let fault = state.faults[index].clone();
        state.faults[index].times -= 1;
        if state.faults[index].times == 0 {
            state.faults.remove(index);
        }
        Some(fault)
    }

    fn handle(&self, method: &Method, uri: &http::Uri, format: &str, body: &Value) -> Result<Answer, Refused> {
        let unknown = || {
            Refused(
                404,
                "NotFound",
                "the server could not find the requested resource".to_owned(),
            )
        };
        let path = Path::parse(uri.path()).ok_or_else(unknown)?;
        {
            let state = self.state();
            if state.absent.contains(path.plural) {
                return Err(unknown());
            }
            if state.forbidden.contains(path.plural) {
                let message = format!("{} is forbidden: User \"serin\" cannot {method} resource", path.plural);
                return Err(Refused(403, "Forbidden", message));
            }
        }
        let query: BTreeMap<String, String> = uri
            .query()
            .unwrap_or_default()
            .split('&')
            .filter_map(|pair| pair.split_once('='))
            .map(|(k, v)| (k.to_owned(), decode(v)))
            .collect();
        let id = id(path.plural, &path.namespace, path.name.as_deref().unwrap_or_default());
        match (method.as_str(), &path.name) {
            ("GET", Some(_)) => {
                let found = self.state().objects.get(&id).cloned();
                let missing = || Refused(404, "NotFound", format!("{} {:?} not found", id.0, id.2));
                found.ok_or_else(missing).map(|o| Answer::Object(200, o))
            }
            ("GET", None) if query.get("watch").is_some_and(|w| w == "true" || w == "1") => {
                Ok(Answer::Watch(Watch::of(&path, &query)))
            }
            ("GET", None) => Ok(Answer::Object(200, self.list(&path, &query))),
            ("POST", None) => {
                let mut object = body.clone();
                if !path.namespace.is_empty() {
                    object["metadata"]["namespace"] = json!(path.namespace);
                }
                self.put_new(path.plural, object).map(|o| Answer::Object(201, o))
            }
            ("PATCH", Some(_)) => {
                let change = |object: &mut Value| match format {
                    "application/json-patch+json" => json_patch(object, body),
                    _ => {
                        merge(object, body);
                        Ok(())
                    }
                };
                self.change(&id, path.subresource.as_deref(), change)
                    .map(|o| Answer::Object(200, o))
            }
            ("PUT", Some(_)) => {
                let replace = |object: &mut Value| {
                    let (uid, created) = (
                        object["metadata"]["uid"].clone(),
                        object["metadata"]["creationTimestamp"].clone(),
                    );
                    *object = body.clone();
                    object["metadata"]["uid"] = uid;
                    object["metadata"]["creationTimestamp"] = created;
                    Ok(())
                };
                self.change(&id, path.subresource.as_deref(), replace)
                    .map(|o| Answer::Object(200, o))
            }
            ("DELETE", Some(_)) => self.remove(&id, body).map(|o| Answer::Object(200, o)),
            _ => Err(Refused(405, "MethodNotAllowed", format!("{method} {}", uri.path()))),
        }
    }

    fn list(&self, path: &Path, query: &BTreeMap<String, String>) -> Value {
        let watch = Watch::of(path, query);
        let state = self.state();
        let matching: Vec<&Value> = state
            .objects
            .iter()
            .filter(|(id, o)| watch.wants(id, o))
            .map(|(_, o)| o)
            .collect();
        let limit = query
            .get("limit")
            .and_then(|l| l.parse().ok())
            .filter(|l| *l > 0)
            .unwrap_or(usize::MAX);
        let from: usize = query.get("continue").and_then(|c| c.parse().ok()).unwrap_or(0);
        let to = from.saturating_add(limit).min(matching.len());
        let next = if to < matching.len() {
            to.to_string()
        } else {
            String::new()
        };
        json!({
            "kind": "List",
            "apiVersion": "v1",
            "metadata": {"resourceVersion": state.version.to_string(), "continue": next},
            "items": matching[from.min(to)..to],
        })
    }

    fn stream(self, watch: Watch) -> Response<Body> {
        let deadline = Instant::now() + watch.timeout;
        let changes = self.changed.subscribe();
        let from = watch.from;
        let stream = futures::stream::unfold(
            (self, watch, changes, from),
            move |(cluster, watch, mut changes, mut from)| async move {
                loop {
                    changes.mark_unchanged();
                    let lines = {
                        let state = cluster.state();
                        if state.down {
                            return None;
                        }
                        let start = state.history.partition_point(|v| v.version <= from);
                        let lines: String = state.history[start..].iter().filter_map(|v| watch.line(v)).collect();
                        from = state.version;
                        lines
                    };
                    if !lines.is_empty() {
                        return Some((
                            Ok::<_, Infallible>(Frame::data(Bytes::from(lines))),
                            (cluster, watch, changes, from),
                        ));
                    }
                    tokio::select! {
                        biased;
                        changed = changes.changed() => changed.ok()?,
                        () = tokio::time::sleep_until(deadline) => return None,
                    }
                    // The event is under way for a while, so that answers to writes come first, as in a real cluster.
                    tokio::time::sleep(LATENCY).await;
                }
            },
        );
        let mut response = Response::new(StreamBody::new(stream).boxed_unsync());
        *response.status_mut() = StatusCode::OK;
        response
    }
}

/// The default values that upstream's CRD and the API server fill in and that a template's hash depends on.
fn default(plural: &str, object: &mut Value) {
    if plural != "rollouts" {
        return;
    }
    let containers = object
        .pointer_mut("/spec/template/spec/containers")
        .and_then(Value::as_array_mut);
    for container in containers.into_iter().flatten() {
        for port in container
            .get_mut("ports")
            .and_then(Value::as_array_mut)
            .into_iter()
            .flatten()
        {
            if let Some(port) = port.as_object_mut() {
                port.entry("protocol").or_insert_with(|| json!("TCP"));
            }
        }
    }
}

type Body = UnsyncBoxBody<Bytes, Infallible>;

/// Nobody answers.
#[derive(Debug)]
struct Down;

impl std::fmt::Display for Down {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("connection refused")
    }
}

impl std::error::Error for Down {}

/// Status code, reason, message.
#[derive(Debug)]
pub struct Refused(pub u16, pub &'static str, pub String);

enum Answer {
    Object(u16, Value),
    Watch(Watch),
}

fn whole(code: u16, object: &Value) -> Response<Body> {
    let body = Full::new(Bytes::from(object.to_string())).boxed_unsync();
    let mut response = Response::new(body);
    *response.status_mut() = StatusCode::from_u16(code).unwrap();
    response
}

#[derive(Clone)]
struct Service {
    cluster: Kubernetes,
    name: String,
}

impl tower::Service<Request<kube::client::Body>> for Service {
    type Response = Response<Body>;
    type Error = tower::BoxError;
    type Future = BoxFuture<'static, Result<Self::Response, Self::Error>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<kube::client::Body>) -> Self::Future {
        let answer = self.cluster.clone().answer(self.name.clone(), request);
        async { answer.await.map_err(Into::into) }.boxed()
    }
}

fn id(plural: &str, namespace: &str, name: &str) -> Id {
    (plural.to_owned(), namespace.to_owned(), name.to_owned())
}
