//! Users, a gateway and the pods' answers: a request finds its route by the host, a Service by the route's weights, a pod
//! among the ready endpoints. The gateway follows changes a little late, as a real one does.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use chrono::{DateTime, Utc};
use serde_json::Value;
use serin_cluster::load::{Answer, Outcome};
use serin_kubesim::Cluster;
use tokio::time::sleep;

use super::pods::behaviour;

/// From a change in the cluster until the gateway follows it.
const LAG: Duration = Duration::from_millis(80);
/// An answer without further delay.
const USUAL: Duration = Duration::from_millis(4);
const HASH: &str = "rollouts-pod-template-hash";

/// One answer of a pod, for the metrics.
#[derive(Clone, Copy, Debug)]
pub(super) struct Served {
    pub(super) at: DateTime<Utc>,
    pub(super) failed: bool,
    pub(super) latency: Duration,
}

#[derive(Debug, Default)]
struct Backend {
    weight: f64,
    /// What it got less than its share so far: the split is exact.
    owed: f64,
    pods: Vec<String>,
    turn: usize,
}

#[derive(Debug, Default)]
struct State {
    /// By host: namespace and backends.
    routes: BTreeMap<String, (String, BTreeMap<String, Backend>)>,
    /// By namespace and revision's hash.
    served: BTreeMap<(String, String), Vec<Served>>,
    /// By pod: how much of an error, and of a slow answer, is due.
    due: BTreeMap<String, (f64, f64)>,
}

/// See the module.
#[derive(Clone, Debug)]
pub(crate) struct Gateway {
    cluster: Cluster,
    state: Arc<Mutex<State>>,
}

impl Gateway {
    /// Follows the cluster from now on.
    pub(super) fn start(cluster: &Cluster) -> Self {
        let gateway = Self {
            cluster: cluster.clone(),
            state: Arc::default(),
        };
        let own = gateway.clone();
        tokio::spawn(async move {
            let mut changes = own.cluster.changes();
            loop {
                changes.changed().await;
                sleep(LAG).await;
                changes.mark_unchanged();
                own.follow();
            }
        });
        gateway
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn follow(&self) {
        let mut endpoints: BTreeMap<(String, String), Vec<String>> = BTreeMap::new();
        for slice in self.cluster.list("endpointslices") {
            let text = |path: &str| {
                slice
                    .pointer(path)
                    .and_then(Value::as_str)
                    .unwrap_or_default()
                    .to_owned()
            };
            let service = text("/metadata/labels/kubernetes.io~1service-name");
            let all = endpoints.entry((text("/metadata/namespace"), service)).or_default();
            let ready = slice["endpoints"].as_array().into_iter().flatten();
            let ready = ready.filter(|e| e["conditions"]["ready"] == true);
            all.extend(ready.filter_map(|e| e["targetRef"]["name"].as_str()).map(str::to_owned));
        }
        let mut state = self.state();
        for route in self.cluster.list("httproutes") {
            let namespace = route["metadata"]["namespace"].as_str().unwrap_or_default();
            let refs = route.pointer("/spec/rules/0/backendRefs").and_then(Value::as_array);
            for host in route["spec"]["hostnames"].as_array().into_iter().flatten() {
                let host = host.as_str().unwrap_or_default().to_owned();
                let (_, backends) = state
                    .routes
                    .entry(host)
                    .or_insert_with(|| (namespace.to_owned(), BTreeMap::new()));
                for backend in refs.into_iter().flatten() {
                    let name = backend["name"].as_str().unwrap_or_default().to_owned();
                    let pods = endpoints.get(&(namespace.to_owned(), name.clone())).cloned();
                    let weight = backend["weight"].as_f64().unwrap_or(1.0);
                    let known = backends.entry(name).or_default();
                    if known.weight != weight {
                        (known.weight, known.owed) = (weight, 0.0);
                    }
                    known.pods = pods.unwrap_or_default();
                }
            }
        }
    }

    /// Which pod a request to that host goes to.
    fn choose(&self, host: &str) -> Option<(String, Option<String>)> {
        let mut state = self.state();
        let (namespace, backends) = state.routes.get_mut(host)?;
        // Backends without pods get nothing, as with the gateway of the real cluster.
        let total: f64 = backends.values().filter(|b| !b.pods.is_empty()).map(|b| b.weight).sum();
        if total <= 0.0 {
            return Some((namespace.clone(), None));
        }
        let able = backends.values_mut().filter(|b| !b.pods.is_empty());
        let mut chosen: Option<&mut Backend> = None;
        for backend in able {
            backend.owed += backend.weight / total;
            if chosen.as_ref().is_none_or(|best| backend.owed > best.owed) {
                chosen = Some(backend);
            }
        }
        let chosen = chosen?;
        chosen.owed -= 1.0;
        chosen.turn += 1;
        Some((
            namespace.clone(),
            Some(chosen.pods[chosen.turn % chosen.pods.len()].clone()),
        ))
    }

    async fn ask(&self, host: &str) -> Answer {
        let at = self.cluster.now();
        let mut answer = Answer {
            at,
            latency: USUAL,
            outcome: Outcome::Status(404),
            pod: None,
            hash: None,
        };
        let Some((namespace, pod)) = self.choose(host) else {
            return answer;
        };
        let pod = pod.and_then(|pod| Some((self.cluster.get("pods", &namespace, &pod)?, pod)));
        let Some((object, pod)) = pod else {
            // No endpoint, or one that is gone without the gateway's knowing.
            answer.outcome = Outcome::Status(503);
            return answer;
        };
        let told = behaviour(&object);
        let (failed, slow) = {
            let mut state = self.state();
            let (error, late) = state.due.entry(pod.clone()).or_default();
            (due(error, told.error_rate), due(late, told.latency_share))
        };
        if slow {
            answer.latency += told.latency;
        }
        sleep(answer.latency).await;
        answer.outcome = Outcome::Status(if failed { 500 } else { 200 });
        let hash = object["metadata"]["labels"][HASH].as_str().unwrap_or_default();
        answer.pod = Some(pod.into());
        answer.hash = Some(hash.into());
        let served = Served {
            at: self.cluster.now(),
            failed,
            latency: answer.latency,
        };
        let key = (namespace, hash.to_owned());
        self.state().served.entry(key).or_default().push(served);
        answer
    }

    /// Sends requests at a steady rate, for ever.
    pub(super) async fn send_all(self, host: String, rps: f64, answers: Arc<Mutex<Vec<Answer>>>) {
        let mut ticks = tokio::time::interval(Duration::from_secs_f64(1.0 / rps.max(0.001)));
        let mut under_way = tokio::task::JoinSet::new();
        loop {
            ticks.tick().await;
            while under_way.try_join_next().is_some() {}
            let (own, host, answers) = (self.clone(), host.clone(), Arc::clone(&answers));
            under_way.spawn(async move {
                let answer = own.ask(&host).await;
                answers.lock().unwrap_or_else(PoisonError::into_inner).push(answer);
            });
        }
    }

    /// What the pods of a revision answered in the last `window`.
    pub(super) fn served(&self, namespace: &str, hash: &str, window: Duration) -> Vec<Served> {
        let from = self.cluster.now() - window;
        let state = self.state();
        let all = state.served.get(&(namespace.to_owned(), hash.to_owned()));
        all.into_iter().flatten().filter(|s| s.at >= from).copied().collect()
    }

    /// Whether pods of that revision have a series at all.
    pub(super) fn knows(&self, namespace: &str, hash: &str) -> bool {
        let state = self.state();
        state.served.contains_key(&(namespace.to_owned(), hash.to_owned()))
    }
}

/// Exactly this share of a pod's answers, evenly.
fn due(so_far: &mut f64, share: f64) -> bool {
    *so_far += share;
    let now = *so_far >= 1.0;
    if now {
        *so_far -= 1.0;
    }
    now
}
