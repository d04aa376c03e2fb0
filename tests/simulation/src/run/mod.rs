//! Plays one scenario in virtual time and writes down what happened.

mod people;
mod process;
mod vandals;

use std::{
    collections::BTreeMap,
    sync::{Arc, PoisonError},
    time::Duration,
};

use anyhow::{Context as _, Result};
use serde_json::Value;
use serin_model::At as _;
use tokio::{
    sync::mpsc,
    time::{Instant, sleep, sleep_until},
};

use crate::{
    coverage,
    faults::{Faults, Kill, Pairs},
    history::{Done, History},
    scenario::{FaultKind, Scenario, What},
    world::{self, World},
};
use process::Processes;
pub use process::Told;

/// A run and what it covered.
#[derive(Debug)]
pub struct Played {
    /// What happened.
    pub history: History,
    /// Crash points at which a process was killed.
    pub crashes: Pairs,
    /// Pairs of writes that there were.
    pub writes: Pairs,
    /// What the planner said of Rollouts.
    pub told: Told,
}

/// Plays a scenario on a runtime of its own.
///
/// # Errors
/// The scenario cannot be set up: a bug of the simulation.
pub fn play(scenario: &Scenario) -> Result<Played> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .context("no runtime")?;
    let played = runtime.block_on(async { Run::new(scenario)?.play().await });
    // What controllers left behind is dropped with the runtime, without waiting.
    runtime.shutdown_background();
    played
}

/// Something that is due.
enum Due {
    /// An app's Rollout is created for the first time.
    Create(usize),
    /// Controller number n starts.
    Start(usize),
    /// An action by index.
    Act(usize),
    /// A fault by index.
    Fault(usize),
    /// Somebody's object is put back.
    Restore(&'static str, Value),
}

struct Run<'a> {
    scenario: &'a Scenario,
    world: World,
    faults: Arc<Faults>,
    kills: mpsc::UnboundedReceiver<Kill>,
    processes: Processes,
    /// By time and order of scheduling.
    due: BTreeMap<(Duration, usize), Due>,
    scheduled: usize,
    /// Faults that wait until a Rollout is at their step.
    waiting: Vec<usize>,
    actions: Vec<Done<What>>,
    struck: Vec<Done<FaultKind>>,
    /// By app: the image before the present one.
    before: Vec<usize>,
    started: Instant,
}

/// Quiet at the end in which nothing may happen.
const REST: Duration = Duration::from_secs(20);

impl<'a> Run<'a> {
    fn new(scenario: &'a Scenario) -> Result<Self> {
        let started = Instant::now();
        let world = World::new(scenario)?;
        let (sender, kills) = mpsc::unbounded_channel();
        let faults = Arc::new(Faults::new(sender));
        world.cluster.intercept(Arc::clone(&faults) as _);
        let mut run = Self {
            processes: Processes::new(scenario, &world),
            scenario,
            world,
            faults,
            kills,
            due: BTreeMap::new(),
            scheduled: 0,
            waiting: Vec::new(),
            actions: Vec::new(),
            struck: Vec::new(),
            before: vec![0; scenario.apps.len()],
            started,
        };
        let ms = Duration::from_millis;
        for replica in 0..scenario.controller.replicas {
            run.schedule(ms(50 + 400 * replica as u64), Due::Start(replica));
        }
        for app in 0..scenario.apps.len() {
            run.schedule(ms(100 * app as u64), Due::Create(app));
        }
        for (index, action) in scenario.actions.iter().enumerate() {
            run.schedule(ms(action.at), Due::Act(index));
        }
        for (index, fault) in scenario.faults.iter().enumerate() {
            run.schedule(ms(fault.at), Due::Fault(index));
        }
        Ok(run)
    }

    fn now(&self) -> Duration {
        self.started.elapsed()
    }

    fn schedule(&mut self, at: Duration, due: Due) {
        self.scheduled += 1;
        self.due.insert((at, self.scheduled), due);
    }

    async fn play(mut self) -> Result<Played> {
        let calm_from = calm_from(self.scenario);
        self.until(calm_from).await;
        self.waiting.clear();
        self.faults.calm();
        self.world.provider.calm();
        // Processes that are down come up, objects that are gone come back.
        let mut calm_from = calm_from;
        while let Some((&(at, _), _)) = self.due.last_key_value() {
            self.until(at).await;
            calm_from = calm_from.max(at);
        }
        let settled_from = self.settle(calm_from).await;
        self.until(settled_from + REST).await;
        let end = self.now();
        Ok(self.finish(calm_from, settled_from, end))
    }

    /// Does all that is due until then.
    async fn until(&mut self, end: Duration) {
        let mut changes = self.world.cluster.changes();
        loop {
            let next = self
                .due
                .first_key_value()
                .map(|(key, _)| *key)
                .filter(|(at, _)| *at <= end);
            let at = next.map_or(end, |(at, _)| at);
            tokio::select! {
                biased;
                Some(kill) = self.kills.recv() => self.kill(&kill.user, kill.down),
                () = changes.changed(), if !self.waiting.is_empty() => self.strike_those_at_their_step(),
                () = sleep_until(self.started + at) => {
                    let Some(due) = next.and_then(|key| self.due.remove(&key)) else {
                        return;
                    };
                    self.carry_out(due).await;
                }
            }
        }
    }

    async fn carry_out(&mut self, due: Due) {
        match due {
            Due::Create(app) => {
                let app = &self.scenario.apps[app];
                // Refused only when the scenario is not valid, which the oracle sees.
                let _ = self.world.create_rollout(app);
            }
            Due::Start(replica) => self.processes.start(replica, &self.world),
            Due::Act(index) => self.act(index).await,
            Due::Fault(index) if self.scenario.faults[index].during.is_some() => {
                self.waiting.push(index);
                self.strike_those_at_their_step();
            }
            Due::Fault(index) => self.strike(index),
            Due::Restore(resource, object) => {
                // It may have been created again by a person.
                let _ = self.world.cluster.create(crate::history::WORLD, resource, object);
            }
        }
    }

    fn strike_those_at_their_step(&mut self) {
        for index in std::mem::take(&mut self.waiting) {
            let fault = &self.scenario.faults[index];
            let app = &self.scenario.apps[fault.app];
            let rollout = self.world.cluster.get("rollouts", &app.namespace, &app.name);
            if rollout.is_some_and(|rollout| Some(coverage::place(&rollout)) == fault.during.as_deref()) {
                self.strike(index);
            } else {
                self.waiting.push(index);
            }
        }
    }

    fn kill(&mut self, user: &str, down: Duration) {
        self.faults.bury(user);
        if let Some(replica) = self.processes.kill(user, &self.world.cluster) {
            self.schedule(self.now() + down, Due::Start(replica));
        }
    }

    /// Waits until nothing moves any more, or all that specs name has had time; says from when on.
    async fn settle(&mut self, from: Duration) -> Duration {
        let bound = from + bound(self.scenario);
        let quiet = quiet(self.scenario);
        let mut seen = self.world.cluster.changes_so_far();
        let mut last = from;
        let mut asked = 0;
        while self.now() < bound {
            sleep(Duration::from_secs(1)).await;
            let new = self.world.cluster.history_since(seen);
            seen += new.len();
            if let Some(change) = new.iter().rfind(|c| c.resource.plural != "leases") {
                last = change.at.max(last);
            }
            let queries = self.world.provider.count();
            if queries > asked {
                (asked, last) = (queries, self.now());
            }
            if self.now() > last + quiet && self.now() > last + quiet + self.longest_pause() {
                return self.now();
            }
        }
        self.now()
    }

    /// The longest pause that some Rollout is in: it ends by itself.
    fn longest_pause(&self) -> Duration {
        let rollouts = self.world.cluster.list("rollouts");
        let paused = rollouts.iter().filter(|rollout| {
            let conditions = rollout["status"]["pauseConditions"].as_array();
            conditions.is_some_and(|list| !list.is_empty())
        });
        let durations = paused.map(|rollout| {
            let index = rollout["status"]["currentStepIndex"].as_u64().unwrap_or(0);
            let step = rollout.at(&format!("/spec/strategy/canary/steps/{index}/pause/duration"));
            step.map_or(0, seconds)
        });
        Duration::from_secs(durations.max().unwrap_or(0))
    }

    fn finish(self, calm_from: Duration, settled_from: Duration, end: Duration) -> Played {
        let cluster = &self.world.cluster;
        let mut faults = self.struck;
        faults.extend(self.faults.struck());
        faults.extend(self.world.provider.struck());
        faults.sort_by_key(|done| (done.at, done.index));
        let (crashes, writes) = self.faults.crash_points();
        let mut traffic = self.world.traffic.lock().unwrap_or_else(PoisonError::into_inner);
        let samples = traffic.samples(end);
        drop(traffic);
        let told = self.processes.told();
        let history = History {
            scenario: self.scenario.clone(),
            start: world::start(),
            changes: cluster.history(),
            requests: cluster.take_requests(),
            traffic: samples,
            queries: self.world.provider.asked(),
            refusals: self.processes.refusals(),
            ends: self.processes.ends(),
            replicas: self.processes.replicas(),
            actions: self.actions,
            faults,
            calm_from,
            settled_from,
            end,
        };
        Played {
            history,
            crashes,
            writes,
            told,
        }
    }
}

/// When the last action and fault are over.
fn calm_from(scenario: &Scenario) -> Duration {
    let faults = scenario.faults.iter().map(|fault| {
        fault.at
            + match &fault.kind {
                FaultKind::LeaseHangs { ms }
                | FaultKind::LeaseFails { ms }
                | FaultKind::ApiDown { ms }
                | FaultKind::Provider { ms, .. }
                | FaultKind::SlowPods { ms, .. } => *ms,
                FaultKind::CrashBetween { .. } => 0,
                _ => 5_000,
            }
    });
    let actions = scenario.actions.iter().map(|action| action.at);
    let last = faults.chain(actions).max().unwrap_or(0);
    Duration::from_millis(last + 8_000)
}

/// The longest time in which nothing moves although something will, pauses apart: delays and deadlines that specs name, and
/// the lease.
fn quiet(scenario: &Scenario) -> Duration {
    let mut longest = 30;
    for spec in specs(scenario) {
        let number = |path: &str| spec.at(path).and_then(Value::as_u64).unwrap_or(0);
        for path in [
            "/strategy/canary/scaleDownDelaySeconds",
            "/strategy/canary/abortScaleDownDelaySeconds",
            "/minReadySeconds",
            "/progressDeadlineSeconds",
        ] {
            longest = longest.max(number(path));
        }
    }
    let jumps: u64 = scenario
        .faults
        .iter()
        .map(|fault| match fault.kind {
            FaultKind::ClockJump { seconds, .. } => seconds.unsigned_abs(),
            _ => 0,
        })
        .sum();
    Duration::from_secs(longest + jumps + 25)
}

/// A generous bound for everything that may still happen in a calm world.
fn bound(scenario: &Scenario) -> Duration {
    let mut total = 120;
    for spec in specs(scenario) {
        let number = |path: &str| spec.at(path).and_then(Value::as_u64).unwrap_or(0);
        let steps = spec.at("/strategy/canary/steps").and_then(Value::as_array);
        let steps = steps.map(Vec::as_slice).unwrap_or_default();
        // Each step may take a start of pods (slow ones: 40 s) and an analysis.
        let each: u64 = steps.iter().map(|step| seconds(&step["pause"]["duration"]) + 60).sum();
        total += each
            + number("/progressDeadlineSeconds") * 2
            + number("/strategy/canary/scaleDownDelaySeconds")
            + number("/strategy/canary/abortScaleDownDelaySeconds")
            + 90;
    }
    Duration::from_secs(total) + quiet(scenario)
}

/// Every spec that a Rollout of the scenario may have, edits included.
fn specs(scenario: &Scenario) -> Vec<&Value> {
    let first = scenario.apps.iter().map(|app| &app.rollout["spec"]);
    let edits = scenario.actions.iter().filter_map(|action| match &action.what {
        What::Edit(patch) => Some(&patch["spec"]),
        _ => None,
    });
    first.chain(edits).collect()
}

/// The durations that the generator writes: numbers of seconds, `1h`, `1m30s`.
fn seconds(duration: &Value) -> u64 {
    match duration.as_str() {
        None => duration.as_u64().unwrap_or(0),
        Some("1h") => 3600,
        Some("1m30s") => 90,
        Some(text) => text.parse().unwrap_or(0),
    }
}
