//! Pods: what kubesim's virtual kubelets say runs, runs: an HTTP server for each running pod, on a loopback address of its own.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener as StdListener},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use serde_json::Value;
use serin_kubesim::{
    Body, Cluster, LogOptions, PodLogs, Status,
    workloads::{PodBehaviour, PodPlan},
};
use serin_model::At as _;
use tokio::sync::watch;

use crate::{
    behaviour::{Behaviour, containers, version},
    container::{Container, Identity},
    log::Log,
    notes::Notes,
};

/// Where a pod without ports listens.
const USUAL_PORT: u16 = 8080;
/// How long a pod that ends may take for answers under way.
const DRAIN: Duration = Duration::from_secs(2);
/// Marks a loopback network as taken by a playground.
const RESERVED_PORT: u16 = 47_614;
const HASH: &str = "rollouts-pod-template-hash";

/// Addresses of pods: a loopback network 127.x.0.0/16 of our own where the system allows it.
#[derive(Debug)]
pub(crate) struct Network {
    /// Its second number and what keeps other playgrounds out; `None`: all pods are on 127.0.0.1.
    own: Option<(u8, StdListener)>,
    given: AtomicU32,
}

impl Network {
    /// The first network that is free.
    pub(crate) fn take() -> Self {
        let own = (20..=220).find_map(|second| {
            let address = Ipv4Addr::new(127, second, 255, 254);
            Some((second, StdListener::bind((address, RESERVED_PORT)).ok()?))
        });
        Self {
            own,
            given: AtomicU32::new(0),
        }
    }

    /// `127.20.0.0/16`, or the one address that there is.
    pub(crate) fn words(&self) -> String {
        match &self.own {
            Some((second, _)) => format!("127.{second}.0.0/16"),
            None => Ipv4Addr::LOCALHOST.to_string(),
        }
    }

    fn next(&self) -> IpAddr {
        let Some((second, _)) = &self.own else {
            return Ipv4Addr::LOCALHOST.into();
        };
        // Each is given away again after sixty thousand others.
        let n = self.given.fetch_add(1, Ordering::Relaxed) % 60_000;
        let (third, fourth) = ((n / 250) as u8, (n % 250 + 1) as u8);
        Ipv4Addr::new(127, *second, third, fourth).into()
    }
}

/// Decides about pods when they are first seen.
pub(crate) struct Kubelets {
    pub(crate) network: Network,
    pub(crate) notes: Notes,
}

impl PodBehaviour for Kubelets {
    fn start(&self, pod: &Value) -> PodPlan {
        let behaviour = Behaviour::of(pod);
        if let Some(why) = &behaviour.misunderstood {
            let name = pod.at("/metadata/name").and_then(Value::as_str).unwrap_or_default();
            self.notes.say(format!(
                "Pod/{name}: its behaviour is not understood and it is healthy: {why}"
            ));
        }
        PodPlan {
            address: Some(self.network.next()),
            ..behaviour.plan(pod)
        }
    }
}

/// A pod as far as others here need to know it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Running {
    pub(crate) namespace: String,
    pub(crate) name: String,
    pub(crate) object: Arc<Value>,
    /// The port that its object names, and where it listens indeed.
    pub(crate) listens: Vec<(u16, SocketAddr)>,
}

struct Held {
    container: Container,
    restarts: i64,
}

#[derive(Default)]
struct State {
    /// By uid.
    held: BTreeMap<String, Held>,
    running: BTreeMap<String, Running>,
    logs: BTreeMap<String, Log>,
}

/// The pods that run. Clones are the same.
#[derive(Clone, Default)]
pub(crate) struct Pods {
    state: Arc<Mutex<State>>,
}

impl Pods {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// All that run, by namespace and name.
    pub(crate) fn running(&self) -> BTreeMap<(String, String), Running> {
        let state = self.state();
        let all = state.running.values();
        all.map(|pod| ((pod.namespace.clone(), pod.name.clone()), pod.clone()))
            .collect()
    }

    /// Follows the cluster for ever; `changed` is told whenever another pod runs or one no longer does.
    pub(crate) async fn follow(self, cluster: Cluster, notes: Notes, changed: watch::Sender<()>) {
        let mut changes = cluster.changes();
        loop {
            changes.mark_unchanged();
            if self.look(&cluster, &notes).await {
                changed.send_replace(());
            }
            changes.changed().await;
        }
    }

    /// Starts and stops what has to be.
    async fn look(&self, cluster: &Cluster, notes: &Notes) -> bool {
        let pods = cluster.list("pods");
        let mut any = false;
        let mut present = BTreeSet::new();
        for pod in &pods {
            let uid = text(pod, "/metadata/uid");
            present.insert(uid.to_owned());
            let container = pod.at("/status/containerStatuses/0");
            let restarts = container.and_then(|c| c["restartCount"].as_i64()).unwrap_or(0);
            let runs = container.is_some_and(|c| c.at("/state/running").is_some());
            let known = self.state().held.get(uid).map(|held| held.restarts);
            let log = self.state().logs.entry(uid.to_owned()).or_default().clone();
            match (runs, known) {
                (true, Some(known)) if known == restarts => {
                    if let Some(running) = self.state().running.get_mut(uid)
                        && running.object.at("/metadata/labels") != pod.at("/metadata/labels")
                    {
                        running.object = Arc::clone(pod);
                        any = true;
                    }
                }
                (true, known) => {
                    if known.is_some() {
                        log.write("ended with exit code 1");
                        self.state().held.remove(uid);
                    }
                    if restarts > 0 {
                        log.again();
                    }
                    match self.start(pod, log).await {
                        Ok(container) => self.began(pod, container, restarts),
                        Err(why) => notes.say(format!("Pod/{} cannot be run: {why}", text(pod, "/metadata/name"))),
                    }
                    any = true;
                }
                (false, Some(_)) => {
                    log.write(format!(
                        "ended with exit code {}",
                        container
                            .and_then(|c| c.at("/state/terminated/exitCode")?.as_i64())
                            .unwrap_or(1)
                    ));
                    let mut state = self.state();
                    state.held.remove(uid);
                    state.running.remove(uid);
                    any = true;
                }
                (false, None) => {}
            }
        }
        let gone: Vec<(String, Held)> = {
            let mut state = self.state();
            let uids: Vec<String> = state
                .held
                .keys()
                .filter(|uid| !present.contains(*uid))
                .cloned()
                .collect();
            for uid in &uids {
                state.running.remove(uid);
            }
            state.logs.retain(|uid, log| {
                let stays = present.contains(uid);
                if !stays {
                    log.end();
                }
                stays
            });
            let held = uids
                .into_iter()
                .filter_map(|uid| Some((uid.clone(), state.held.remove(&uid)?)));
            held.collect()
        };
        for (_, held) in gone {
            any = true;
            tokio::spawn(held.container.drain(DRAIN));
        }
        any
    }

    async fn start(&self, pod: &Value, log: Log) -> Result<Container, String> {
        let ip = text(pod, "/status/podIP")
            .parse()
            .map_err(|e| format!("its address: {e}"))?;
        let image = containers(pod)
            .next()
            .and_then(|c| c["image"].as_str())
            .unwrap_or_default();
        let probes = containers(pod).filter_map(|c| c.at("/readinessProbe/httpGet/path")?.as_str());
        let identity = Identity {
            namespace: text(pod, "/metadata/namespace").to_owned(),
            pod: text(pod, "/metadata/name").to_owned(),
            image: image.to_owned(),
            version: version(image).to_owned(),
            hash: pod
                .at("/metadata/labels")
                .and_then(|labels| labels[HASH].as_str())
                .unwrap_or_default()
                .to_owned(),
            probes: probes.filter(|path| *path != "/").map(str::to_owned).collect(),
        };
        let behaviour = Behaviour::of(pod);
        let ready_after = behaviour.plan(pod).ready_after;
        Container::start(ip, &ports(pod), identity, behaviour, ready_after, log).await
    }

    fn began(&self, pod: &Arc<Value>, container: Container, restarts: i64) {
        let uid = text(pod, "/metadata/uid").to_owned();
        let running = Running {
            namespace: text(pod, "/metadata/namespace").to_owned(),
            name: text(pod, "/metadata/name").to_owned(),
            object: Arc::clone(pod),
            listens: container.listens.clone(),
        };
        let mut state = self.state();
        state.running.insert(uid.clone(), running);
        state.held.insert(uid, Held { container, restarts });
    }
}

impl Running {
    /// Where a port of the pod is.
    pub(crate) fn port(&self, port: u16) -> Option<SocketAddr> {
        let exact = self.listens.iter().find(|(wanted, _)| *wanted == port);
        exact.or(self.listens.first()).map(|(_, address)| *address)
    }
}

impl PodLogs for Pods {
    fn read(&self, pod: &Value, options: &LogOptions) -> Result<Body, Status> {
        let log = self
            .state()
            .logs
            .get(text(pod, "/metadata/uid"))
            .cloned()
            .unwrap_or_default();
        if options.previous && !log.has_previous() {
            return Err(Status::bad_request(format!(
                "previous terminated container \"{}\" in pod \"{}\" not found",
                options.container,
                text(pod, "/metadata/name")
            )));
        }
        Ok(log.read(options))
    }
}

fn ports(pod: &Value) -> Vec<u16> {
    let named = containers(pod).flat_map(|c| c["ports"].as_array().into_iter().flatten());
    let mut ports: Vec<u16> = named
        .filter_map(|port| u16::try_from(port["containerPort"].as_u64()?).ok())
        .collect();
    ports.dedup();
    if ports.is_empty() {
        ports.push(USUAL_PORT);
    }
    ports
}

fn text<'a>(object: &'a Value, path: &str) -> &'a str {
    object.at(path).and_then(Value::as_str).unwrap_or_default()
}
