//! A stage for scenarios: a simulated cluster, metrics by script, one or more controllers, and virtual time.
//!
//! A scenario is a short function: put objects on the stage, start a controller, wait for what should happen, and compare.
//! Times are milliseconds since the start. The start is on a whole second, as in the recordings.

use std::{fmt::Write as _, sync::Arc, time::Duration};

use chrono::{DateTime, Utc};
use serde_json::{Value, json};
use serin_audit::{Finding, Severity};
use serin_controller::{Audit, Clock, Config, Context, Election, context::Auditor};
use serin_kubesim::{Asked, Cluster, Patch};
use serin_model::{Plan, World};
use serin_providers::{ProviderSettings, Providers};
use tokio::{sync::oneshot, task::JoinHandle, time::Instant};

use crate::{
    ground::{self, Faults, PERSON, Pods, text},
    metrics::Metrics,
};

/// Namespace of the lease.
pub const HOME: &str = "argo-rollouts";

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
    cluster: Cluster,
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
        let asked = self.cluster.requests();
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
    pub cluster: Cluster,
    /// What goes wrong between controllers and cluster.
    pub faults: Faults,
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
    /// An empty cluster with its built-in controllers.
    pub fn new(namespace: &str) -> Self {
        Self::with(namespace, Pods::staggered(Duration::ZERO), true)
    }

    /// The same with pods that behave as said.
    pub fn with_pods(namespace: &str, pods: Pods) -> Self {
        Self::with(namespace, pods, true)
    }

    /// The same where nobody installed Gateway API.
    pub fn without_gateway_api(namespace: &str) -> Self {
        Self::with(namespace, Pods::staggered(Duration::ZERO), false)
    }

    fn with(namespace: &str, pods: Pods, gateway_api: bool) -> Self {
        let cluster = ground::cluster(&[namespace, HOME], pods, gateway_api);
        let faults = Faults::default();
        cluster.intercept(Arc::new(faults.clone()));
        Self {
            clock: Clock::starting_at(cluster.now()),
            cluster,
            faults,
            metrics: Metrics::new(),
            namespace: namespace.to_owned(),
            started: Instant::now(),
        }
    }

    /// Milliseconds since the start.
    pub fn now(&self) -> u128 {
        self.started.elapsed().as_millis()
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
            namespace: HOME.into(),
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
        let transport = Arc::new(self.metrics.clone());
        let providers = Providers::new(ProviderSettings::default(), transport);
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
    pub fn create(&self, plural: &str, mut object: Value) -> Arc<Value> {
        if plural != "clusteranalysistemplates" && object.pointer("/metadata/namespace").is_none() {
            object["metadata"]["namespace"] = json!(self.namespace);
        }
        let created = self.cluster.create(PERSON, plural, object);
        created.unwrap_or_else(|status| panic!("{plural}: {status}"))
    }

    /// Patches an object in the stage's namespace.
    pub fn patch_object(&self, plural: &str, name: &str, subresource: Option<&str>, patch: &Patch) {
        let patched = self
            .cluster
            .patch(PERSON, plural, &self.namespace, name, subresource, patch);
        patched.unwrap_or_else(|status| panic!("{plural} {name}: {status}"));
    }

    /// Deletes an object in the stage's namespace.
    pub fn delete(&self, plural: &str, name: &str) {
        let deleted = self.cluster.delete(PERSON, plural, &self.namespace, name, &Value::Null);
        deleted.unwrap_or_else(|status| panic!("{plural} {name}: {status}"));
    }

    /// Merge-patches the Rollout's status, as the kubectl plugin does.
    pub fn patch_status(&self, name: &str, patch: &Value) {
        let patch = Patch::Merge(json!({ "status": patch }));
        self.patch_object("rollouts", name, Some("status"), &patch);
    }

    /// Sets the image of the first container.
    pub fn set_image(&self, name: &str, image: &str) {
        let patch = json!([{"op": "replace", "path": "/spec/template/spec/containers/0/image", "value": image}]);
        self.patch_object("rollouts", name, None, &Patch::Json(patch));
    }

    /// An object in the stage's namespace as it is, null if there is none.
    pub fn get(&self, plural: &str, name: &str) -> Arc<Value> {
        self.cluster.get(plural, &self.namespace, name).unwrap_or_default()
    }

    /// The Rollout as it is.
    pub fn rollout(&self, name: &str) -> Arc<Value> {
        self.get("rollouts", name)
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
    pub async fn until(&self, what: &str, seconds: u64, is: impl Fn(&Cluster) -> bool) {
        let mut changes = self.cluster.changes();
        let wait = async {
            loop {
                changes.mark_unchanged();
                if is(&self.cluster) {
                    return;
                }
                changes.changed().await;
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
        let asked = self.cluster.requests();
        let events = asked
            .iter()
            .filter(|a| a.method == "POST" && a.path.contains("/events") && a.code == 201);
        let said = events.map(|a| Said {
            at: a.at.as_millis(),
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
            if version.resource.plural != plural || version.name != name {
                continue;
            }
            let value = version
                .new
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
        let asked = self.cluster.requests();
        let is_write = |a: &Asked| {
            a.method != "GET"
                && (200..300).contains(&a.code)
                && !a.path.contains("/events")
                && !a.path.contains("/leases")
        };
        asked.into_iter().filter(is_write).collect()
    }

    /// Every write that was sent, accepted or not, carries its guard: a resourceVersion, a `test` on it, a precondition,
    /// or a name that is not made by the server (design contract 2).
    pub fn assert_all_writes_are_guarded(&self) {
        let mut patches = 0;
        for asked in self.cluster.requests() {
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
            user,
            method,
            path,
            body,
            code,
        } in self.cluster.requests()
        {
            let body = if body.is_null() {
                String::new()
            } else {
                format!(" {body}")
            };
            let _ = writeln!(out, "{:>8} {user} {method} {path} {code}{body}", at.as_millis());
        }
        for (at, query) in self.metrics.asked() {
            let _ = writeln!(out, "{at:>8} query {query}");
        }
        out
    }
}
