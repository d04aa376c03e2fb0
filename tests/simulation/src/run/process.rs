//! Processes of the controller: started, told to end, killed.

use std::{
    collections::BTreeSet,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicI64, Ordering},
    },
    time::Duration,
};

use chrono::{DateTime, Utc};
use serin_audit::Finding;
use serin_controller::{Audit, Clock, Config, Context, Election};
use serin_kubesim::Cluster;
use serin_model::{Plan, World as Seen};
use serin_planner::{State, explain, misfit};
use serin_providers::{ProviderSettings, Providers};
use tokio::{
    sync::oneshot,
    task::JoinHandle,
    time::{Instant, timeout},
};

use crate::{
    history::{Refused, Replica},
    scenario::{Controller, Scenario},
    world::{self, HOME, Transport, World},
};

/// How long a process that is told to end may take.
const GRACE: Duration = Duration::from_secs(30);

type Refusals = Arc<Mutex<Vec<Refused>>>;
type Tellings = Arc<Mutex<Told>>;
type Ends = Arc<Mutex<Vec<(Duration, String, String)>>>;

/// What the planner said of Rollouts in passing.
#[derive(Clone, Debug, Default)]
pub struct Told {
    /// States that were explained.
    pub states: BTreeSet<State>,
    /// Explanations that say something else than the plan does: when, of which Rollout, what.
    pub misfits: Vec<(Duration, String, String)>,
}

struct Running {
    replica: usize,
    /// Index in `replicas`.
    place: usize,
    user: String,
    stop: Option<oneshot::Sender<()>>,
    task: JoinHandle<()>,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// All processes of a run.
pub(super) struct Processes {
    settings: Controller,
    started: Instant,
    /// Per replica: how often it was started, and its machine's clock less the API server's, in seconds.
    machines: Vec<(usize, Arc<AtomicI64>)>,
    running: Vec<Running>,
    replicas: Vec<Replica>,
    refusals: Refusals,
    told: Tellings,
    ends: Ends,
    cluster: Cluster,
}

impl Processes {
    pub(super) fn new(scenario: &Scenario, world: &World) -> Self {
        let settings = scenario.controller.clone();
        Self {
            machines: (0..settings.replicas)
                .map(|_| (0, Arc::new(AtomicI64::new(0))))
                .collect(),
            settings,
            started: Instant::now(),
            running: Vec::new(),
            replicas: Vec::new(),
            refusals: Refusals::default(),
            told: Tellings::default(),
            ends: Ends::default(),
            cluster: world.cluster.clone(),
        }
    }

    fn now(&self) -> Duration {
        self.started.elapsed()
    }

    /// Starts a process on a replica's machine.
    pub(super) fn start(&mut self, replica: usize, world: &World) {
        if self.running.iter().any(|r| r.replica == replica) {
            return;
        }
        let (count, ahead) = &mut self.machines[replica];
        *count += 1;
        let user = format!("serin-{replica}-{count}");
        let identity = self.settings.election.then(|| user.clone());
        let election = identity.clone().map(|identity| Election {
            namespace: HOME.into(),
            names: vec!["argo-rollouts-controller-lock".into()],
            identity,
            lease_duration: Duration::from_secs(15),
            renew_deadline: Duration::from_secs(10),
            retry_period: Duration::from_secs(2),
        });
        let config = Config {
            workers: self.settings.workers,
            election,
            ..Config::default()
        };
        let transport = Transport {
            user: user.clone(),
            provider: Arc::clone(&world.provider),
        };
        let providers = Providers::new(ProviderSettings::default(), Arc::new(transport));
        let clock = Clock::skewed(world::start(), self.started, Arc::clone(ahead));
        let context = Context::new(world.cluster.client(&user), clock, Arc::new(providers), config);
        let watched = Watched {
            inner: self.settings.audit.then(|| Arc::clone(&context.audit)),
            user: user.clone(),
            started: self.started,
            refusals: Arc::clone(&self.refusals),
            told: Arc::clone(&self.told),
            looked: Mutex::new((self.started, 0)),
        };
        let context = context.with_audit(Arc::new(watched));
        let (stop, stopped) = oneshot::channel();
        let shutdown = async {
            if stopped.await.is_err() {
                std::future::pending::<()>().await;
            }
        };
        let offset = ahead.load(Ordering::SeqCst);
        let (ends, started, name) = (Arc::clone(&self.ends), self.started, user.clone());
        let task = tokio::spawn(async move {
            if let Err(error) = serin_controller::run(Arc::new(context), shutdown).await {
                let mut ends = ends.lock().unwrap_or_else(PoisonError::into_inner);
                ends.push((started.elapsed(), name, error.to_string()));
            }
        });
        self.running.push(Running {
            replica,
            place: self.replicas.len(),
            user: user.clone(),
            stop: Some(stop),
            task,
        });
        self.replicas.push(Replica {
            user,
            identity,
            started: self.now(),
            ended: None,
            offsets: if offset == 0 {
                Vec::new()
            } else {
                vec![(self.now(), offset)]
            },
        });
    }

    /// The process to which things happen that happen to "the controller": the one that leads.
    pub(super) fn leader(&self, by_lease: Option<&str>) -> Option<String> {
        let led = self.running.iter().find(|r| Some(r.user.as_str()) == by_lease);
        led.or_else(|| self.running.first()).map(|r| r.user.clone())
    }

    /// SIGKILL. Says which replica that was.
    pub(super) fn kill(&mut self, user: &str, cluster: &Cluster) -> Option<usize> {
        let running = self.take(user)?;
        cluster.cut(user);
        self.replicas[running.place].ended = Some((self.now(), true));
        Some(running.replica)
    }

    /// SIGTERM, and SIGKILL when that takes too long. Says which replica that was.
    pub(super) async fn stop(&mut self, user: &str) -> Option<usize> {
        let mut running = self.take(user)?;
        if let Some(stop) = running.stop.take() {
            // It may have ended by itself.
            let _ = stop.send(());
        }
        let ended = timeout(GRACE, &mut running.task).await;
        self.cluster.cut(user);
        self.replicas[running.place].ended = Some((self.now(), ended.is_err()));
        Some(running.replica)
    }

    fn take(&mut self, user: &str) -> Option<Running> {
        let place = self.running.iter().position(|r| r.user == user)?;
        Some(self.running.remove(place))
    }

    /// A machine's clock jumps.
    pub(super) fn jump(&mut self, replica: usize, seconds: i64) {
        let ahead = &self.machines[replica].1;
        let offset = ahead.fetch_add(seconds, Ordering::SeqCst) + seconds;
        let now = self.now();
        if let Some(running) = self.running.iter().find(|r| r.replica == replica) {
            self.replicas[running.place].offsets.push((now, offset));
        }
    }

    pub(super) fn replicas(&self) -> Vec<Replica> {
        self.replicas.clone()
    }

    pub(super) fn refusals(&self) -> Vec<Refused> {
        self.refusals.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(super) fn told(&self) -> Told {
        self.told.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(super) fn ends(&self) -> Vec<(Duration, String, String)> {
        self.ends.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// The controller's own audit, or none, with its refusals written down.
struct Watched {
    inner: Option<Arc<dyn Audit>>,
    user: String,
    started: Instant,
    refusals: Refusals,
    told: Tellings,
    /// How many plans were made at a moment.
    looked: Mutex<(Instant, u32)>,
}

/// More plans than this at one moment never end: virtual time stands still as long as somebody works.
const TOO_OFTEN: u32 = 1000;

impl Watched {
    fn count(&self, world: &Seen, plan: &Plan, now: DateTime<Utc>) {
        let mut looked = self.looked.lock().unwrap_or_else(PoisonError::into_inner);
        if looked.0 != Instant::now() {
            *looked = (Instant::now(), 0);
        }
        looked.1 += 1;
        assert!(
            looked.1 < TOO_OFTEN,
            "{TOO_OFTEN} plans without a rest at {now}: {} writes, to look again at {:?}; {:?}",
            plan.writes.len(),
            plan.wake_at,
            world.rollout.status,
        );
    }

    fn explain(&self, world: &Seen, now: DateTime<Utc>) {
        let told = explain(world, now);
        let mut all = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        all.states.insert(told.state);
        if let Some(misfit) = misfit(world, now, &told) {
            let text = format!("{misfit}: {told:?}");
            all.misfits.push((self.started.elapsed(), name_of(world), text));
        }
    }
}

fn name_of(world: &Seen) -> String {
    let metadata = &world.rollout.metadata;
    let rollout = [&metadata.namespace, &metadata.name].map(|t| t.clone().unwrap_or_default());
    rollout.join("/")
}

impl Audit for Watched {
    fn findings(&self, world: &Seen, plan: &Plan, now: DateTime<Utc>) -> Vec<Finding> {
        self.count(world, plan, now);
        self.explain(world, now);
        let Some(inner) = &self.inner else {
            return Vec::new();
        };
        let findings = inner.findings(world, plan, now);
        let mut refusals = self.refusals.lock().unwrap_or_else(PoisonError::into_inner);
        // What is only warned of in production is a failure in tests.
        refusals.extend(findings.iter().map(|finding| Refused {
            at: self.started.elapsed(),
            user: self.user.clone(),
            rollout: name_of(world),
            why: format!("{finding}: {:?}", plan.writes[finding.write].write),
        }));
        findings
    }
}
