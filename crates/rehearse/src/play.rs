//! Plays one release once: the stable version comes up, users come, the image changes, and the controller does the rest.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use chrono::{DateTime, TimeDelta, Utc};
use serde_json::{Value, json};
use serin_controller::{Clock, Config, Context};
use serin_kubesim::{Asked, Change, Cluster, Options, Patch, workloads::Workloads};
use serin_model::At as _;
use serin_planner::Explanation;
use serin_providers::{ProviderSettings, Providers};
use tokio::{
    task::JoinHandle,
    time::{Instant, sleep_until},
};

use crate::{
    Problem,
    assume::Assumptions,
    definitions,
    json::text,
    load::{Load, Totals},
    pods::{self, Pods},
    prometheus::{Prometheus, Refused, Transport, metrics_asking},
    series::Exposition,
    setup::Setup,
};

/// Who applies manifests, and goes on from pauses without an end.
pub const PERSON: &str = "person";
/// The controller's own name in requests.
pub const CONTROLLER: &str = "rollouts-controller";

/// What people would be told, each from its moment on.
type Told = Arc<Mutex<Vec<(Duration, Explanation)>>>;

/// Which version is released.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum World {
    /// The new version is as good as the old one.
    Healthy,
    /// The new version has the assumed faults.
    Faulty,
}

/// Everything that replays have in common.
#[derive(Clone, Debug)]
pub struct Rehearsal {
    /// What is released.
    pub setup: Setup,
    /// What is assumed.
    pub assumptions: Assumptions,
    /// What the series of pods and gateway are called.
    pub exposition: Exposition,
    /// Values of metrics that are not simulated, by their names.
    pub assumed: BTreeMap<String, f64>,
    /// How long users and Prometheus have been there when the release begins.
    pub warm_up: Duration,
    /// Users' requests are counted at least so long after the change of the image.
    pub stay: Duration,
    /// Whether to note what people would have been told. Changes nothing in the release, and takes its time.
    pub explains: bool,
}

/// How a release ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The new version is the stable one.
    Promoted,
    /// Taken back; why, in the controller's words.
    Aborted(String),
    /// It waits for a person, because an analysis was inconclusive or the rollout was stopped.
    Held(String),
    /// Neither promoted nor taken back when it should have been one of the two.
    Stuck(String),
}

/// One replay.
#[derive(Clone, Debug)]
pub struct Replay {
    /// How it ended.
    pub outcome: Outcome,
    /// From the change of the image to that end.
    pub length: Duration,
    /// From the change of the image until no request went to the new version any more, after an abort.
    pub off: Option<Duration>,
    /// What users met from the change of the image on.
    pub totals: Totals,
    /// When the image changed, since the start of the cluster.
    pub changed: Duration,
    /// All that changed in the cluster.
    pub history: Vec<Change>,
    /// Requests of the controller.
    pub requests: Vec<Asked>,
    /// The new version's share of requests over time, each time that it changed.
    pub shares: Vec<(Duration, f64)>,
    /// What people would have been told, each time that it changed, if the rehearsal explains.
    pub told: Vec<(Duration, Explanation)>,
}

/// How long the first version may take to come up.
const FIRST: Duration = Duration::from_secs(3600);

/// How long after an abort is looked for requests that still go to the new version.
const AFTERMATH: Duration = Duration::from_secs(900);

const DAY: Duration = Duration::from_secs(86_400);

/// Midnight of the day before the one on which every release is played.
fn midnight() -> DateTime<Utc> {
    DateTime::from_timestamp(1_795_219_200, 0).unwrap_or_default()
}

/// Plays a release once, on a runtime of its own.
///
/// # Errors
/// What was handed in is refused by the controller or needs what is not simulated.
pub fn play(rehearsal: &Rehearsal, world: World, seed: u64) -> Result<Replay, Problem> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .map_err(|e| Problem::Bug(format!("no runtime: {e}")))?;
    let played = runtime.block_on(async { Run::new(rehearsal, world, seed)?.play().await });
    runtime.shutdown_background();
    played
}

struct Run<'a> {
    rehearsal: &'a Rehearsal,
    cluster: Cluster,
    prometheus: Arc<Prometheus>,
    tasks: Vec<JoinHandle<()>>,
    started: Instant,
    shares: Vec<(Duration, f64)>,
    told: Told,
    /// Since when a person could go on.
    waits: Option<Duration>,
}

impl Drop for Run<'_> {
    fn drop(&mut self) {
        for task in &self.tasks {
            task.abort();
        }
    }
}

impl<'a> Run<'a> {
    fn new(rehearsal: &'a Rehearsal, world: World, seed: u64) -> Result<Self, Problem> {
        let setup = &rehearsal.setup;
        let assumptions = &rehearsal.assumptions;
        // Days before that are like that one.
        let days = 1 + rehearsal.warm_up.as_secs() / DAY.as_secs();
        let begin =
            (assumptions.begin + DAY * u32::try_from(days).unwrap_or(u32::MAX)).saturating_sub(rehearsal.warm_up);
        let start = midnight() + TimeDelta::from_std(begin).unwrap_or_default();
        let cluster = Cluster::new(Options {
            start,
            seed,
            ..Options::default()
        });
        for crd in definitions::all()? {
            cluster.register(crd);
        }
        let pods = Arc::new(Pods {
            new_images: pods::images(&setup.rollout["spec"]["template"]),
            faults: match world {
                World::Healthy => Vec::new(),
                World::Faulty => assumptions.faults.clone(),
            },
            start: assumptions.start,
            seed,
        });
        let mut run_assumptions = assumptions.clone();
        run_assumptions.begin = begin;
        let load = Load::new(
            cluster.clone(),
            &setup.namespace,
            setup.entry.clone(),
            &pods,
            &run_assumptions,
            &rehearsal.exposition.bounds(),
        );
        let workloads = Workloads::new(&cluster, Arc::clone(&pods) as _).terse();
        let prometheus = Arc::new(Prometheus::new(
            cluster.clone(),
            setup,
            assumptions,
            &rehearsal.exposition,
            &rehearsal.assumed,
            load,
            seed,
        ));
        let settings = ProviderSettings {
            prometheus_address: Some("http://prometheus.rehearsal:9090".to_owned()),
        };
        let providers = Providers::new(settings, Arc::new(Transport(Arc::clone(&prometheus))));
        let config = Config {
            workers: 1,
            ..Config::default()
        };
        let clock = Clock::starting_at(start);
        let mut context = Context::new(cluster.client(CONTROLLER), clock, Arc::new(providers), config);
        let told = Told::default();
        if rehearsal.explains {
            let (listener, begun) = (Arc::clone(&told), Instant::now());
            context = context.telling(Box::new(move |_, explanation| {
                let mut told = listener.lock().unwrap_or_else(PoisonError::into_inner);
                told.push((begun.elapsed(), explanation.clone()));
            }));
        }
        let run = Self {
            rehearsal,
            cluster,
            prometheus,
            tasks: vec![
                tokio::spawn(workloads.run()),
                tokio::spawn(async move {
                    // It ends with the replay; if it ended by itself, nothing would move and the replay would say so.
                    let _ = serin_controller::run(Arc::new(context), std::future::pending()).await;
                }),
            ],
            started: Instant::now(),
            shares: Vec::new(),
            told,
            waits: None,
        };
        run.create()?;
        Ok(run)
    }

    fn create(&self) -> Result<(), Problem> {
        let setup = &self.rehearsal.setup;
        let create = |plural: &str, object: &Value| {
            let title = format!("{plural}/{}", object["metadata"]["name"].as_str().unwrap_or_default());
            let made = self.cluster.create(PERSON, plural, object.clone());
            made.map(drop)
                .map_err(|status| Problem::BadInput(format!("{title}: {}", status.message)))
        };
        for namespace in setup.namespaces.iter().filter(|name| *name != "default") {
            create("namespaces", &json!({"metadata": {"name": namespace}}))?;
        }
        for (plural, object) in &setup.objects {
            create(plural, object)?;
        }
        create("rollouts", &setup.before)
    }

    fn now(&self) -> Duration {
        self.started.elapsed()
    }

    fn rollout(&self) -> Arc<Value> {
        let setup = &self.rehearsal.setup;
        let found = self.cluster.get("rollouts", &setup.namespace, &setup.name);
        found.unwrap_or_else(|| Arc::new(Value::Null))
    }

    async fn play(mut self) -> Result<Replay, Problem> {
        let healthy = |rollout: &Value| (rollout["status"]["phase"] == "Healthy").then_some(());
        let up = self.until(FIRST, |_, rollout| Ok(healthy(rollout))).await?;
        if up.is_none() {
            let message = text(&self.rollout(), "/status/message").to_owned();
            return Err(Problem::BadInput(format!(
                "the version before does not get healthy within {FIRST:?}: {message}"
            )));
        }
        self.until(self.rehearsal.warm_up, |_, _| Ok(None::<()>)).await?;
        let changed = self.now();
        let before = self.prometheus.with_load(Load::totals);
        self.change()?;
        let limit = self.rehearsal.assumptions.limit;
        let outcome = self.until(limit, Self::outcome).await?;
        let outcome = outcome.unwrap_or_else(|| {
            let status = text(&self.rollout(), "/status/message").to_owned();
            Outcome::Stuck(format!("it goes on after {limit:?}: {status}"))
        });
        let length = self.now() - changed;
        let mut off = None;
        if matches!(outcome, Outcome::Aborted(_)) {
            let is_off = |run: &mut Self, _: &Value| {
                let share = run.prometheus.with_load(Load::share_of_new);
                Ok((share == 0.0).then_some(()))
            };
            if self.until(AFTERMATH, is_off).await?.is_some() {
                off = Some(self.now() - changed);
            }
        }
        let rest = (changed + self.rehearsal.stay).saturating_sub(self.now());
        self.until(rest, |_, _| Ok(None::<()>)).await?;
        let totals = self.prometheus.with_load(Load::totals).since(before);
        let requests = self.cluster.take_requests();
        Ok(Replay {
            outcome,
            length,
            off,
            totals,
            changed,
            history: self.cluster.history(),
            requests: requests.into_iter().filter(|r| r.user == CONTROLLER).collect(),
            shares: std::mem::take(&mut self.shares),
            told: std::mem::take(&mut *self.told.lock().unwrap_or_else(PoisonError::into_inner)),
        })
    }

    /// `kubectl apply` of the new version.
    fn change(&self) -> Result<(), Problem> {
        let setup = &self.rehearsal.setup;
        let patch = Patch::Merge(json!({"spec": {"template": setup.rollout["spec"]["template"]}}));
        self.cluster
            .patch(PERSON, "rollouts", &setup.namespace, &setup.name, None, &patch)
            .map(drop)
            .map_err(|status| Problem::BadInput(status.message))
    }

    /// Goes on until `look` finds something or the time is up; looks at every change, and whenever Prometheus works.
    async fn until<T>(
        &mut self,
        limit: Duration,
        mut look: impl FnMut(&mut Self, &Value) -> Result<Option<T>, Problem>,
    ) -> Result<Option<T>, Problem> {
        let end = self.now() + limit;
        let mut changes = self.cluster.changes();
        loop {
            changes.mark_unchanged();
            let due = self.prometheus.work();
            self.watch_share();
            let rollout = self.rollout();
            self.refusals(&rollout)?;
            if let Some(found) = look(self, &rollout)? {
                return Ok(Some(found));
            }
            if self.now() >= end {
                return Ok(None);
            }
            let wake = self.waits.map(|since| since + self.rehearsal.assumptions.person);
            let next = due
                .min(end)
                .min(wake.unwrap_or(end))
                .max(self.now() + Duration::from_millis(1));
            tokio::select! {
                biased;
                () = changes.changed() => {}
                () = sleep_until(self.started + next) => {}
            }
        }
    }

    fn watch_share(&mut self) {
        let share = self.prometheus.with_load(Load::share_of_new);
        if self
            .shares
            .last()
            .is_none_or(|(_, before)| (before - share).abs() > 1e-9)
        {
            self.shares.push((self.now(), share));
        }
    }

    /// What the controller would refuse, and what cannot be answered.
    fn refusals(&self, rollout: &Value) -> Result<(), Problem> {
        let conditions = rollout.at("/status/conditions").and_then(Value::as_array);
        let invalid = conditions
            .into_iter()
            .flatten()
            .find(|c| c["type"] == "InvalidSpec" && c["status"] == "True");
        if let Some(condition) = invalid {
            return Err(Problem::BadInput(text(condition, "/message").to_owned()));
        }
        let Some(Refused { query, why, is_wrong }) = self.prometheus.refused() else {
            return Ok(());
        };
        let names = metrics_asking(&self.cluster, &query);
        let whose = match names.first() {
            Some(name) => format!("metric {name}"),
            None => "the number of requests (serin.dev/requests-query)".to_owned(),
        };
        let said = format!("{whose}: {why}\nin the query: {}", query.trim_end());
        if is_wrong {
            return Err(Problem::BadInput(said));
        }
        let name = names.first().or(self.rehearsal.setup.metrics.first());
        let name = name.map_or("METRIC", String::as_str);
        Err(Problem::NotSimulated(format!(
            "{said}\nassume a value to go on without it: --assume {name}=VALUE"
        )))
    }

    fn outcome(&mut self, rollout: &Value) -> Result<Option<Outcome>, Problem> {
        let status = &rollout["status"];
        let observed = status["observedGeneration"]
            .as_str()
            .and_then(|g| g.parse::<i64>().ok());
        if observed != rollout["metadata"]["generation"].as_i64() {
            return Ok(None);
        }
        let (phase, message) = (text(status, "/phase"), text(status, "/message").to_owned());
        if status["abort"] == true {
            return Ok(Some(Outcome::Aborted(message)));
        }
        let is_stable = status["stableRS"] == status["currentPodHash"];
        Ok(match phase {
            "Healthy" if is_stable => Some(Outcome::Promoted),
            "Degraded" => Some(Outcome::Stuck(message)),
            "Paused" => self.pause(rollout)?,
            _ => {
                self.waits = None;
                None
            }
        })
    }

    /// A pause that ends by itself goes on; one that waits for a person is ended after a while; what nobody should end
    /// without a look is the end.
    fn pause(&mut self, rollout: &Value) -> Result<Option<Outcome>, Problem> {
        let status = &rollout["status"];
        let reasons = status["pauseConditions"].as_array();
        let reasons: Vec<&str> = reasons
            .into_iter()
            .flatten()
            .filter_map(|c| c["reason"].as_str())
            .collect();
        let message = || text(status, "/message").to_owned();
        if reasons.contains(&"InconclusiveAnalysisRun") || rollout["spec"]["paused"] == true {
            return Ok(Some(Outcome::Held(message())));
        }
        let index = status["currentStepIndex"].as_u64().unwrap_or(0);
        let step = rollout.at(&format!("/spec/strategy/canary/steps/{index}/pause"));
        if !reasons.contains(&"CanaryPauseStep") || step.is_none_or(|step| !step["duration"].is_null()) {
            self.waits = None;
            return Ok(None);
        }
        let now = self.now();
        let since = *self.waits.get_or_insert(now);
        if now >= since + self.rehearsal.assumptions.person {
            self.waits = None;
            let setup = &self.rehearsal.setup;
            let patch = Patch::Merge(json!({"status": {"pauseConditions": null}}));
            self.cluster
                .patch(
                    PERSON,
                    "rollouts",
                    &setup.namespace,
                    &setup.name,
                    Some("status"),
                    &patch,
                )
                .map_err(|status| Problem::Bug(status.message))?;
        }
        Ok(None)
    }
}
