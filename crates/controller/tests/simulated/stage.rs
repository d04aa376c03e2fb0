//! A stage for scenarios: a simulated cluster, metrics by script, one or more controllers, and virtual time.
//!
//! A scenario is a short function: put objects on the stage, start a controller, wait for what should happen, and compare.
//! Times are milliseconds since the start. The start is on a whole second, as in the recordings.

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    sync::{Arc, Mutex},
    time::Duration,
};

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use serde_json::{Value, json};
use serin_audit::{Finding, Severity};
use serin_controller::{Audit, Clock, Config, Context, Election, context::Auditor};
use serin_model::{Plan, World};
use serin_providers::{HttpRequest, HttpResponse, HttpTransport, ProviderSettings, Providers, TransportError};
use tokio::{sync::oneshot, task::JoinHandle, time::Instant};

use crate::{
    kubernetes::{Asked, Kubernetes},
    objects::text,
    workloads::{self, Pods},
};

/// By a word of the address or query: from when on which answer is given.
type Script = BTreeMap<String, Vec<(u128, Value)>>;

/// What Prometheus answers, by query and time.
#[derive(Clone, Debug, Default)]
pub struct Metrics {
    answers: Arc<Mutex<Script>>,
    asked: Arc<Mutex<Vec<(u128, String)>>>,
}

impl Metrics {
    /// From `at` milliseconds on, queries whose address or text contains `word` are answered with this: a list is a
    /// vector, a number a scalar, `{"!": 503}` a status, null a refused connection.
    pub fn set(&self, word: &str, at: u128, answer: Value) {
        self.answers
            .lock()
            .unwrap()
            .entry(word.to_owned())
            .or_default()
            .push((at, answer));
    }

    /// Every query so far.
    pub fn asked(&self) -> Vec<(u128, String)> {
        self.asked.lock().unwrap().clone()
    }
}

struct Transport {
    metrics: Metrics,
    started: Instant,
}

#[async_trait]
impl HttpTransport for Transport {
    async fn send(&self, request: HttpRequest) -> Result<HttpResponse, TransportError> {
        let query = format!("{} {}", request.url, request.form.unwrap_or_default());
        self.metrics
            .asked
            .lock()
            .unwrap()
            .push((self.started.elapsed().as_millis(), query.clone()));
        tokio::time::sleep(Duration::from_millis(5)).await;
        let now = self.started.elapsed().as_millis();
        let answers = self.metrics.answers.lock().unwrap().clone();
        let answer = answers
            .iter()
            .find(|(word, _)| query.contains(*word))
            .and_then(|(_, list)| list.iter().rfind(|(at, _)| *at <= now));
        let (kind, result) = match answer.map(|(_, answer)| answer) {
            None | Some(Value::Null) => {
                let host = request.url.split('/').nth(2).unwrap_or_default().to_owned();
                return Err(TransportError::Connect {
                    address: host,
                    reason: "connection refused".into(),
                });
            }
            Some(Value::Object(failure)) => {
                let status = failure.get("!").and_then(Value::as_u64).unwrap_or(500);
                return Ok(HttpResponse {
                    status: u16::try_from(status).unwrap_or(500),
                    body: Vec::new(),
                });
            }
            Some(Value::Array(values)) => {
                let series: Vec<Value> = values
                    .iter()
                    .map(|v| json!({"metric": {}, "value": [0, number(v)]}))
                    .collect();
                ("vector", Value::Array(series))
            }
            Some(scalar) => ("scalar", json!([0, number(scalar)])),
        };
        let body = json!({"status": "success", "data": {"resultType": kind, "result": result}});
        Ok(HttpResponse {
            status: 200,
            body: body.to_string().into_bytes(),
        })
    }
}

/// A number as Prometheus writes it.
fn number(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

/// The real audit, but rules about capacity refuse too.
struct StrictAuditor;

impl Audit for StrictAuditor {
    fn findings(&self, world: &World, plan: &Plan, now: DateTime<Utc>) -> Vec<Finding> {
        let mut findings = Auditor.findings(world, plan, now);
        for finding in &mut findings {
            finding.severity = Severity::Refuse;
        }
        findings
    }
}

/// A running controller.
pub struct Running {
    /// Its context.
    pub context: Arc<Context>,
    cluster: Kubernetes,
    name: String,
    /// No plan of its may be refused.
    is_audited: bool,
    stop: Option<oneshot::Sender<()>>,
    task: JoinHandle<Result<(), serin_controller::Error>>,
}

impl Running {
    /// SIGTERM: returns when the controller has ended.
    pub async fn stop(mut self) {
        if let Some(stop) = self.stop.take() {
            let _ = stop.send(());
        }
        (&mut self.task)
            .await
            .expect("the controller did not panic")
            .expect("the controller ended as told");
        self.assert_no_plan_was_refused();
    }

    /// SIGKILL.
    pub fn kill(self) {
        self.cluster.cut(&self.name);
        self.task.abort();
        self.assert_no_plan_was_refused();
    }

    /// Neither by a rule about traffic nor, in tests, by one about capacity.
    fn assert_no_plan_was_refused(&self) {
        let scrape = self.context.calls.metrics().render(&self.context.stores(), false, 0);
        if !self.is_audited || !scrape.contains("serin_plans_refused_total{") {
            return;
        }
        let asked = self.cluster.asked();
        let texts = asked.iter().filter(|a| text(&a.body, "/reason") == "PlanRefused");
        let texts: Vec<&str> = texts.map(|a| text(&a.body, "/message")).collect();
        panic!("the audit refused plans: {texts:#?}");
    }

    /// Whether it still runs.
    pub fn is_running(&self) -> bool {
        !self.task.is_finished()
    }
}

/// See the module.
pub struct Stage {
    /// The cluster.
    pub cluster: Kubernetes,
    /// Prometheus.
    pub metrics: Metrics,
    /// Namespace of objects that name none.
    pub namespace: String,
    clock: Clock,
    started: Instant,
}

/// An event that was recorded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Said {
    /// When it reached the API server.
    pub at: u128,
    /// `Rollout/demo`.
    pub about: String,
    /// Normal or Warning.
    pub kind: String,
    /// One word.
    pub reason: String,
    /// For people.
    pub message: String,
}

impl Stage {
    /// An empty cluster with its built-in controllers, at 2026-11-21 12:00:00.
    pub fn new(namespace: &str) -> Self {
        Self::with_pods(namespace, Pods::default())
    }

    /// The same with pods that behave as said.
    pub fn with_pods(namespace: &str, pods: Pods) -> Self {
        let clock = Clock::starting_at(DateTime::from_timestamp(1_795_262_400, 0).expect("a valid time"));
        let cluster = Kubernetes::new(clock.clone());
        tokio::spawn(workloads::run(cluster.clone(), pods));
        Self {
            cluster,
            metrics: Metrics::default(),
            namespace: namespace.to_owned(),
            clock,
            started: Instant::now(),
        }
    }

    /// Milliseconds since the start.
    pub fn now(&self) -> u128 {
        self.cluster.now()
    }

    /// Starts a controller that leads at once.
    pub fn start(&self) -> Running {
        self.start_as(
            "serin",
            Config {
                workers: 2,
                ..Config::default()
            },
        )
    }

    /// Starts a controller that takes part in the election.
    pub fn start_candidate(&self, name: &str) -> Running {
        let election = Election {
            namespace: "argo-rollouts".into(),
            names: vec!["argo-rollouts-controller-lock".into()],
            identity: name.into(),
            lease_duration: Duration::from_secs(15),
            renew_deadline: Duration::from_secs(10),
            retry_period: Duration::from_secs(2),
        };
        self.start_as(
            name,
            Config {
                workers: 2,
                election: Some(election),
                ..Config::default()
            },
        )
    }

    /// Starts a controller with these settings; its requests carry the name.
    pub fn start_as(&self, name: &str, config: Config) -> Running {
        let mut running = self.start_with(name, config, Arc::new(StrictAuditor));
        running.is_audited = true;
        running
    }

    /// The same with another audit.
    pub fn start_with(&self, name: &str, config: Config, audit: Arc<dyn Audit>) -> Running {
        let transport = Transport {
            metrics: self.metrics.clone(),
            started: self.started,
        };
        let providers = Providers::new(ProviderSettings::default(), Arc::new(transport));
        let context = Context::new(
            self.cluster.client(name),
            self.clock.clone(),
            Arc::new(providers),
            config,
        );
        let context = Arc::new(context.with_audit(audit));
        let (stop, stopped) = oneshot::channel();
        let shutdown = async {
            if stopped.await.is_err() {
                std::future::pending::<()>().await;
            }
        };
        let task = tokio::spawn(serin_controller::run(Arc::clone(&context), shutdown));
        Running {
            context,
            cluster: self.cluster.clone(),
            name: name.to_owned(),
            is_audited: false,
            stop: Some(stop),
            task,
        }
    }

    /// Creates an object in the stage's namespace, unless it is cluster-scoped or names one.
    pub fn create(&self, plural: &str, mut object: Value) -> Value {
        if plural != "clusteranalysistemplates" && object.pointer("/metadata/namespace").is_none() {
            object["metadata"]["namespace"] = json!(self.namespace);
        }
        self.cluster.create(plural, object)
    }

    /// Merge-patches the Rollout.
    pub fn patch(&self, name: &str, patch: &Value) {
        self.cluster.merge("rollouts", &self.namespace, name, None, patch);
    }

    /// Merge-patches the Rollout's status, as the kubectl plugin does.
    pub fn patch_status(&self, name: &str, patch: &Value) {
        self.cluster.merge(
            "rollouts",
            &self.namespace,
            name,
            Some("status"),
            &json!({ "status": patch }),
        );
    }

    /// Sets the image of the first container.
    pub fn set_image(&self, name: &str, image: &str) {
        let patch = json!([{"op": "replace", "path": "/spec/template/spec/containers/0/image", "value": image}]);
        self.cluster.json_patch("rollouts", &self.namespace, name, &patch);
    }

    /// The Rollout as it is.
    pub fn rollout(&self, name: &str) -> Value {
        self.cluster.get("rollouts", &self.namespace, name).unwrap_or_default()
    }

    /// Waits until this many milliseconds since the start.
    pub async fn at(&self, milliseconds: u64) {
        tokio::time::sleep_until(self.started + Duration::from_millis(milliseconds)).await;
    }

    /// Waits for something.
    pub async fn settle(&self, milliseconds: u64) {
        tokio::time::sleep(Duration::from_millis(milliseconds)).await;
    }

    /// Waits until the cluster is as asked; panics with the trace after `seconds`.
    pub async fn until(&self, what: &str, seconds: u64, is: impl Fn(&Kubernetes) -> bool) {
        let mut changes = self.cluster.changes();
        let wait = async {
            loop {
                changes.mark_unchanged();
                if is(&self.cluster) {
                    return;
                }
                if changes.changed().await.is_err() {
                    std::future::pending::<()>().await;
                }
            }
        };
        if tokio::time::timeout(Duration::from_secs(seconds), wait).await.is_err() {
            panic!("after {seconds} s still not: {what}\n{}", self.trace());
        }
    }

    /// Waits until the Rollout is in this phase and its status speaks of the present spec.
    pub async fn until_phase(&self, name: &str, phase: &str, seconds: u64) {
        let namespace = self.namespace.clone();
        self.until(&format!("{name} {phase}"), seconds, |cluster| {
            let rollout = cluster.get("rollouts", &namespace, name).unwrap_or_default();
            let generation = rollout.pointer("/metadata/generation").map(ToString::to_string);
            text(&rollout, "/status/phase") == phase
                && Some(text(&rollout, "/status/observedGeneration")) == generation.as_deref()
        })
        .await;
    }

    /// Every event in the order in which it reached the API server.
    pub fn events(&self) -> Vec<Said> {
        let asked = self.cluster.asked();
        let events = asked
            .iter()
            .filter(|a| a.method == "POST" && a.path.contains("/events") && a.code == 201);
        let said = events.map(|a| Said {
            at: a.at,
            about: format!(
                "{}/{}",
                text(&a.body, "/involvedObject/kind"),
                text(&a.body, "/involvedObject/name")
            ),
            kind: text(&a.body, "/type").to_owned(),
            reason: text(&a.body, "/reason").to_owned(),
            message: text(&a.body, "/message").to_owned(),
        });
        said.collect()
    }

    /// The reasons of the events about one object.
    pub fn reasons(&self, about: &str) -> Vec<String> {
        self.events()
            .into_iter()
            .filter(|e| e.about == about)
            .map(|e| e.reason)
            .collect()
    }

    /// Every value that a path of an object had, each run of equal ones once.
    pub fn values(&self, plural: &str, name: &str, path: &str) -> Vec<Value> {
        let mut out: Vec<Value> = Vec::new();
        for version in self.cluster.history() {
            if version.id.0 != plural || version.id.2 != name {
                continue;
            }
            let value = version
                .object
                .as_ref()
                .and_then(|o| o.pointer(path))
                .cloned()
                .unwrap_or_default();
            if out.last() != Some(&value) {
                out.push(value);
            }
        }
        out
    }

    /// Writes of controllers that the API server accepted, events and leases apart.
    pub fn writes(&self) -> Vec<Asked> {
        let asked = self.cluster.asked();
        let is_write =
            |a: &Asked| a.method != "GET" && a.code < 300 && !a.path.contains("/events") && !a.path.contains("/leases");
        asked.into_iter().filter(is_write).collect()
    }

    /// Every write that was sent, accepted or not, carries its guard: a resourceVersion, a `test` on it, a precondition,
    /// or a name that is not made by the server (design contract 2).
    pub fn assert_all_writes_are_guarded(&self) {
        let mut patches = 0;
        for asked in self.cluster.asked() {
            let guarded = match asked.method.as_str() {
                "PATCH" if asked.body.is_array() => asked.body[0]["path"] == "/metadata/resourceVersion",
                "PATCH" | "PUT" => !text(&asked.body, "/metadata/resourceVersion").is_empty(),
                "DELETE" => {
                    let wanted = |field| !text(&asked.body, &format!("/preconditions/{field}")).is_empty();
                    wanted("uid") && wanted("resourceVersion")
                }
                "POST" => !text(&asked.body, "/metadata/name").is_empty(),
                _ => true,
            };
            assert!(guarded, "no guard: {asked:?}");
            patches += usize::from(asked.method == "PATCH");
        }
        assert!(patches > 0, "nothing was patched at all");
    }

    /// Everything that was asked and said, as text: equal for equal seeds, byte for byte.
    pub fn trace(&self) -> String {
        let mut out = String::new();
        for Asked {
            at,
            client,
            method,
            path,
            body,
            code,
        } in self.cluster.asked()
        {
            let body = if body.is_null() {
                String::new()
            } else {
                format!(" {body}")
            };
            let _ = writeln!(out, "{at:>8} {client} {method} {path} {code}{body}");
        }
        for (at, query) in self.metrics.asked() {
            let _ = writeln!(out, "{at:>8} query {query}");
        }
        out
    }
}
