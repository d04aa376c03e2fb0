//! Users' requests: where they go by the routes and the ready pods that there are, and what they meet there.
//!
//! Reads what happens in the cluster from its history. Nothing moves between two changes, so a stretch of time is played as
//! a whole: the number of requests to each pod is drawn, then their answers.

use std::{collections::BTreeMap, time::Duration};

use rand::{SeedableRng as _, rngs::SmallRng};
use serde_json::Value;
use serin_kubesim::{Change, Cluster};
use serin_model::At as _;

use crate::{
    answers::{Answers, Bounds, Counters, poisson},
    assume::{Assumptions, Curve},
    json::texts,
    pods,
};

/// A stretch is cut where the curve would bend too far.
const STRETCH: Duration = Duration::from_secs(30);

/// How users come in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Entry {
    /// Through one Service: as many requests to each of its pods.
    Service(String),
    /// Through a route that splits them between two Services.
    Route {
        /// Namespace of the route.
        namespace: String,
        /// Name of the route.
        name: String,
        /// Service of the canary.
        canary: String,
        /// Service of the stable version.
        stable: String,
    },
}

/// A pod as users and Prometheus see it.
#[derive(Clone, Debug)]
pub struct Pod {
    /// `metadata.namespace`.
    pub namespace: String,
    /// `metadata.labels`.
    pub labels: BTreeMap<String, String>,
    /// `status.podIP`.
    pub ip: String,
    /// Node that it runs on.
    pub node: String,
    /// Runs the new version.
    pub is_new: bool,
    /// Its container runs.
    pub is_running: bool,
    /// Takes requests: ready, and not about to go.
    pub is_ready: bool,
    /// What its container has counted since its start.
    pub counters: Counters,
    started: Duration,
    restarts: i64,
}

/// What the gateway has counted for one Service.
#[derive(Clone, Debug, Default)]
pub struct Backend {
    /// Answers of its pods.
    pub counters: Counters,
    /// Requests for which there was no pod: 503.
    pub unanswered: u64,
}

/// What users met.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Requests.
    pub requests: u64,
    /// Requests that failed: errors, or nobody there.
    pub failed: u64,
    /// Requests that the new version took.
    pub to_new: u64,
    /// Requests that failed at the new version.
    pub failed_at_new: u64,
    /// Requests that took longer than a second at the new version.
    pub slow_at_new: u64,
    /// Requests for which there was no pod.
    pub unanswered: u64,
}

impl Totals {
    /// What came since an earlier moment.
    #[must_use]
    pub fn since(self, earlier: Self) -> Self {
        Self {
            requests: self.requests - earlier.requests,
            failed: self.failed - earlier.failed,
            to_new: self.to_new - earlier.to_new,
            failed_at_new: self.failed_at_new - earlier.failed_at_new,
            slow_at_new: self.slow_at_new - earlier.slow_at_new,
            unanswered: self.unanswered - earlier.unanswered,
        }
    }
}

/// See the module.
pub struct Load {
    cluster: Cluster,
    namespace: String,
    entry: Entry,
    new_images: Vec<String>,
    rps: f64,
    curve: Curve,
    begin: Duration,
    healthy: Answers,
    new: Answers,
    rng: SmallRng,
    seen: usize,
    at: Duration,
    selectors: BTreeMap<String, BTreeMap<String, String>>,
    /// Service and weight.
    backends: Vec<(String, f64)>,
    /// By name.
    pods: BTreeMap<String, Pod>,
    gateway: BTreeMap<String, Backend>,
    totals: Totals,
}

impl Load {
    /// Nobody has come yet. `pods` says what is wrong with the new version, `bounds` where durations are told apart.
    pub fn new(
        cluster: Cluster,
        namespace: &str,
        entry: Entry,
        pods: &pods::Pods,
        assumptions: &Assumptions,
        bounds: &Bounds,
    ) -> Self {
        let backends = match &entry {
            Entry::Service(name) => vec![(name.clone(), 1.0)],
            Entry::Route { .. } => Vec::new(),
        };
        Self {
            cluster,
            namespace: namespace.to_owned(),
            entry,
            new_images: pods.new_images.clone(),
            rps: assumptions.rps,
            curve: assumptions.curve.clone(),
            begin: assumptions.begin,
            healthy: Answers::new(bounds, assumptions, &[]),
            new: Answers::new(bounds, assumptions, &pods.faults),
            rng: SmallRng::seed_from_u64(pods.seed ^ 0x6c6f_6164),
            seen: 0,
            at: Duration::ZERO,
            selectors: BTreeMap::new(),
            backends,
            pods: BTreeMap::new(),
            gateway: BTreeMap::new(),
            totals: Totals::default(),
        }
    }

    /// Plays everything up to now.
    pub fn advance(&mut self, now: Duration) {
        let new = self.cluster.history_since(self.seen);
        self.seen += new.len();
        for change in new {
            if change.namespace == self.namespace || change.resource.plural == "httproutes" {
                self.play(change.at);
                self.take_in(&change);
            }
        }
        self.play(now);
    }

    /// The pods that there are, by name.
    pub fn pods(&self) -> &BTreeMap<String, Pod> {
        &self.pods
    }

    /// What the gateway has counted, by Service.
    pub fn gateway(&self) -> &BTreeMap<String, Backend> {
        &self.gateway
    }

    /// What users have met so far.
    pub fn totals(&self) -> Totals {
        self.totals
    }

    /// The canary's share of users' requests now, between 0 and 1.
    pub fn share_of_new(&self) -> f64 {
        let shares = self.shares();
        let of_new = shares
            .iter()
            .filter(|(_, pod, _)| pod.is_some_and(|name| self.pods[name].is_new));
        of_new.map(|(_, _, share)| share).fold(0.0, |all, share| all + share)
    }

    fn take_in(&mut self, change: &Change) {
        match change.resource.plural {
            "pods" => match &change.new {
                None => {
                    self.pods.remove(&change.name);
                }
                Some(pod) => self.pod(&change.name, pod, change.at),
            },
            "services" => match &change.new {
                None => {
                    self.selectors.remove(&change.name);
                }
                Some(service) => {
                    self.selectors
                        .insert(change.name.clone(), texts(service, "/spec/selector"));
                }
            },
            "httproutes" => {
                if let Entry::Route {
                    namespace,
                    name,
                    canary,
                    stable,
                } = &self.entry
                    && (namespace, name) == (&change.namespace, &change.name)
                {
                    let route = change.new.as_deref();
                    self.backends = route.map_or_else(Vec::new, |route| backends(route, canary, stable));
                }
            }
            _ => {}
        }
    }

    fn pod(&mut self, name: &str, object: &Value, at: Duration) {
        let text = |path: &str| object.at(path).and_then(Value::as_str).unwrap_or_default();
        let conditions = object.at("/status/conditions").and_then(Value::as_array);
        let ready = conditions
            .into_iter()
            .flatten()
            .any(|c| c["type"] == "Ready" && c["status"] == "True");
        let ending = object.at("/metadata/deletionTimestamp").is_some();
        let container = object.at("/status/containerStatuses/0");
        let is_running = container.is_some_and(|c| c.at("/state/running").is_some());
        let restarts = container.and_then(|c| c["restartCount"].as_i64()).unwrap_or(0);
        let pod = self.pods.entry(name.to_owned()).or_insert_with(|| Pod {
            namespace: self.namespace.clone(),
            labels: texts(object, "/metadata/labels"),
            ip: String::new(),
            node: String::new(),
            is_new: pods::images(object) == self.new_images,
            is_running: false,
            is_ready: false,
            counters: Counters::default(),
            started: at,
            restarts: 0,
        });
        if (is_running && !pod.is_running) || restarts != pod.restarts {
            // A new process counts from nothing.
            pod.counters = Counters::default();
            pod.started = at;
            pod.restarts = restarts;
        }
        pod.ip = text("/status/podIP").to_owned();
        pod.node = text("/spec/nodeName").to_owned();
        pod.is_running = is_running;
        pod.is_ready = ready && !ending;
    }

    /// Plays from where it was until then.
    fn play(&mut self, until: Duration) {
        while self.at < until {
            let from = self.at;
            let to = until.min(from + STRETCH);
            self.at = to;
            let middle = self.begin + from + (to - from) / 2;
            let rate = self.rps * self.curve.factor(middle);
            let seconds = (to - from).as_secs_f64();
            let shares: Vec<(String, Option<String>, f64)> = self
                .shares()
                .into_iter()
                .map(|(service, pod, share)| (service.to_owned(), pod.map(str::to_owned), share))
                .collect();
            for (service, pod, share) in shares {
                self.send(&service, pod.as_deref(), rate * share, seconds, to);
            }
        }
    }

    /// The pods behind each backend and their shares of all requests; no pod where nobody is there.
    fn shares(&self) -> Vec<(&str, Option<&str>, f64)> {
        let total: f64 = self.backends.iter().map(|(_, weight)| weight).sum();
        if total <= 0.0 {
            return vec![("", None, 1.0)];
        }
        let mut shares = Vec::new();
        for (service, weight) in self.backends.iter().filter(|(_, weight)| *weight > 0.0) {
            let ready: Vec<&str> = match self.selectors.get(service) {
                Some(selector) => self
                    .pods
                    .iter()
                    .filter(|(_, pod)| pod.is_ready && selector.iter().all(|(k, v)| pod.labels.get(k) == Some(v)))
                    .map(|(name, _)| name.as_str())
                    .collect(),
                None => Vec::new(),
            };
            let share = weight / total;
            if ready.is_empty() {
                shares.push((service.as_str(), None, share));
            }
            let each = share / ready.len() as f64;
            shares.extend(ready.into_iter().map(|pod| (service.as_str(), Some(pod), each)));
        }
        shares
    }

    fn send(&mut self, service: &str, pod: Option<&str>, rate: f64, seconds: f64, at: Duration) {
        let expected = rate * seconds;
        let backend = self.gateway.entry(service.to_owned()).or_default();
        let Some(pod) = pod.and_then(|name| self.pods.get_mut(name)) else {
            let lost = poisson(&mut self.rng, expected);
            backend.unanswered += lost;
            self.totals.requests += lost;
            self.totals.failed += lost;
            self.totals.unanswered += lost;
            return;
        };
        let version = if pod.is_new { &mut self.new } else { &mut self.healthy };
        let met = version.draw(&mut self.rng, expected, rate, at.saturating_sub(pod.started));
        self.totals.requests += met.count();
        self.totals.failed += met.errors();
        if pod.is_new {
            self.totals.to_new += met.count();
            self.totals.failed_at_new += met.errors();
            self.totals.slow_at_new += met.slow();
        }
        backend.counters.add(&met);
        pod.counters.add(&met);
    }
}

/// The backends of the first rule whose weights are the controller's: that with both Services.
fn backends(route: &Value, canary: &str, stable: &str) -> Vec<(String, f64)> {
    let rules = route.at("/spec/rules").and_then(Value::as_array);
    for rule in rules.into_iter().flatten() {
        let refs: Vec<(String, f64)> = rule["backendRefs"]
            .as_array()
            .into_iter()
            .flatten()
            .map(|r| {
                let name = r["name"].as_str().unwrap_or_default();
                (name.to_owned(), r["weight"].as_f64().unwrap_or(1.0))
            })
            .collect();
        let has = |service: &str| refs.iter().any(|(name, _)| name == service);
        if has(canary) && has(stable) {
            return refs;
        }
    }
    Vec::new()
}
