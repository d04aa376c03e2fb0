//! Everything that comes from outside: client, time, metric providers, identity. Tests bring their own of each.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use chrono::{DateTime, Utc};
use kube::Client;
use serde_json::Value;
use serin_audit::Finding;
use serin_model::{Event, Plan, RouteRef, Settings, World};
use serin_providers::Providers;
use tokio::time::Instant;

use crate::{
    analysis_runs::Runs,
    calls::Calls,
    clock::Clock,
    events::Events,
    gate::Gate,
    kinds::Undecodable,
    metrics::{Metrics, SharedMetrics},
    queue::Queue,
    stores::{Affected, Stores},
    table::Key,
};

/// Settings of the process (compat 7.1).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// Watch this namespace only; everything when `None`.
    pub namespace: Option<String>,
    /// No rights beyond the one namespace: no ClusterAnalysisTemplates.
    pub namespaced: bool,
    /// What decisions depend on.
    pub settings: Settings,
    /// Rollouts that are worked on at the same time.
    pub workers: usize,
    /// Leader election; `None` leads at once.
    pub election: Option<Election>,
    /// What becomes of a plan that breaks a rule about traffic, aborts or promotions.
    pub on_refusal: OnRefusal,
}

/// What becomes of a plan that the audit refuses.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnRefusal {
    /// It is not carried out; the Rollout holds and says so.
    #[default]
    Hold,
    /// It is carried out all the same, and said.
    Warn,
}

/// Leader election (compat 7.2).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Election {
    /// Where the leases are.
    pub namespace: String,
    /// All of them must be held.
    pub names: Vec<String>,
    /// Who we are, `<hostname>_<uuid>`.
    pub identity: String,
    /// How long others must wait after they saw the last renewal.
    pub lease_duration: Duration,
    /// How long after the start of the last successful renewal we may still write.
    pub renew_deadline: Duration,
    /// Between two tries.
    pub retry_period: Duration,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            namespace: None,
            namespaced: false,
            settings: Settings::default(),
            workers: 8,
            election: None,
            on_refusal: OnRefusal::Hold,
        }
    }
}

/// Who decides. The planner in production; tests of the loop may bring a simpler one.
pub trait Decide: Send + Sync {
    /// What to do about one Rollout.
    fn plan(&self, world: &World, now: DateTime<Utc>) -> Plan;
    /// The patch of the status of a Rollout that cannot be understood; `None` when it says so already.
    fn undecodable(&self, name: &str, rollout: &Undecodable, now: DateTime<Utc>) -> Option<Value>;
}

/// The real thing.
#[derive(Clone, Copy, Debug, Default)]
pub struct Planner;

impl Decide for Planner {
    fn plan(&self, world: &World, now: DateTime<Utc>) -> Plan {
        serin_planner::plan(world, now)
    }

    fn undecodable(&self, name: &str, rollout: &Undecodable, now: DateTime<Utc>) -> Option<Value> {
        let generation = rollout
            .object
            .pointer("/metadata/generation")
            .and_then(Value::as_i64)
            .unwrap_or(0);
        let status = rollout.object.get("status").unwrap_or(&Value::Null);
        serin_planner::undecodable(name, generation, status, &rollout.error, now)
    }
}

/// Who checks every plan before it is applied: nothing from the first refused write on is carried out.
pub trait Audit: Send + Sync {
    /// The rules that the plan's writes break; empty when it may be applied.
    fn findings(&self, world: &World, plan: &Plan, now: DateTime<Utc>) -> Vec<Finding>;
}

/// The real thing: rules about traffic, aborts and promotions refuse, rules about capacity warn.
#[derive(Clone, Copy, Debug, Default)]
pub struct Auditor;

impl Audit for Auditor {
    fn findings(&self, world: &World, plan: &Plan, now: DateTime<Utc>) -> Vec<Finding> {
        serin_audit::audit(world, plan, now)
    }
}

/// What a Rollout's loop remembers between two passes. Losing it costs a repeated warning, nothing else.
#[derive(Clone, Debug, Default)]
pub struct Memory {
    /// Warnings that were recorded: whether they still stand, and when that was last looked at.
    pub warned: BTreeMap<Event, (bool, Instant)>,
    /// Refused writes that were recorded as events, and when.
    pub complained: BTreeMap<Event, Instant>,
    /// Names of ReplicaSets that a creation found taken by somebody else's (compat 2.1.8).
    pub taken_names: BTreeSet<String>,
    /// Routes that could not be written, why, and until when this is believed.
    pub route_trouble: BTreeMap<RouteRef, (String, Instant)>,
    /// For deliberate bugs only.
    #[cfg(feature = "mutants")]
    pub found: Option<crate::mutants::Found>,
}

/// Shared by all tasks.
pub struct Context {
    /// Requests.
    pub calls: Calls,
    /// Time.
    pub clock: Clock,
    /// Where measurements come from.
    pub providers: Arc<Providers>,
    /// Decisions.
    pub decide: Arc<dyn Decide>,
    /// Checks of decisions.
    pub audit: Arc<dyn Audit>,
    /// Settings.
    pub config: Config,
    /// Events.
    pub events: Events,
    /// What is known of the cluster.
    stores: Mutex<Stores>,
    /// Rollouts to look at.
    pub queue: Queue<Key>,
    /// Analysis runs to look at.
    pub runs: Queue<Key>,
    /// What is remembered of analysis runs.
    pub run_states: Runs,
    memory: Mutex<BTreeMap<Key, Memory>>,
    /// Says when all caches are listed.
    pub ready: tokio::sync::watch::Sender<bool>,
    /// Wakes watches of kinds that nobody needed before.
    pub needs: tokio::sync::Notify,
}

impl std::fmt::Debug for Context {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Context")
            .field("config", &self.config)
            .finish_non_exhaustive()
    }
}

impl Context {
    /// Puts everything together; needs a runtime.
    pub fn new(client: Client, clock: Clock, providers: Arc<Providers>, config: Config) -> Self {
        let metrics: SharedMetrics = Arc::new(Metrics::new());
        let calls = Calls::new(client, Gate::default(), metrics);
        Self {
            events: Events::new(calls.clone()),
            calls,
            clock,
            providers,
            decide: Arc::new(Planner),
            audit: Arc::new(Auditor),
            config,
            stores: Mutex::default(),
            queue: Queue::default(),
            runs: Queue::default(),
            run_states: Runs::default(),
            memory: Mutex::default(),
            ready: tokio::sync::watch::Sender::new(false),
            needs: tokio::sync::Notify::new(),
        }
    }

    /// The same with another audit, for tests and for simulations without one.
    #[must_use]
    pub fn with_audit(mut self, audit: Arc<dyn Audit>) -> Self {
        self.audit = audit;
        self
    }

    /// The stores, for as long as no `await` comes between.
    pub fn stores(&self) -> MutexGuard<'_, Stores> {
        self.stores.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is remembered of a Rollout.
    pub fn memory<T>(&self, key: &Key, with: impl FnOnce(&mut Memory) -> T) -> T {
        let mut memory = self.memory.lock().unwrap_or_else(PoisonError::into_inner);
        with(memory.entry(key.clone()).or_default())
    }

    /// Forgets a Rollout that no longer exists.
    pub fn forget(&self, key: &Key) {
        self.memory.lock().unwrap_or_else(PoisonError::into_inner).remove(key);
        self.queue.forget(key);
        self.calls.metrics().forget(key);
    }

    /// Hands whoever is affected to the queues; `but` is being looked at anyway.
    pub fn enqueue(&self, affected: Affected, but: Option<&Key>) {
        let now = Instant::now();
        for key in affected.rollouts {
            if Some(&key) != but {
                self.queue.add(key, now);
            }
        }
        for key in affected.runs {
            self.runs.add(key, now);
        }
    }
}
