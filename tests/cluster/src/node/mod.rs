//! Virtual nodes: a stand-in for scheduler and kubelet that runs every pod as a real HTTP server on the pod's own address.
//!
//! It knows Kubernetes' pods and nothing of rollouts; the one label it reads (the revision's hash) it only passes on.

mod behaviour;
mod container;
mod pod;
mod probe;
mod server;
mod status;
mod targets;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::Duration;

use futures::StreamExt;
use k8s_openapi::api::core::v1::{Node as NodeObject, Pod};
use kube::Api;
use kube::api::{Patch, PatchParams, PostParams};
use kube::runtime::WatchStreamExt;
use kube::runtime::utils::Backoff;
use kube::runtime::watcher::{self, Event};
use serde_json::json;
use tokio::sync::{Notify, Semaphore, SemaphorePermit, watch};

pub use behaviour::Behaviour;
pub(crate) use container::AbortOnDrop;
pub(crate) use server::{HASH_HEADER, POD_HEADER};

use crate::clock::{kube_time, now};
use crate::component::{Signal, send_signal};
use crate::error::{Error, Result, answer};
use crate::prometheus;

/// How virtual nodes treat pods. Changes count for pods that start afterwards.
#[derive(Clone, Debug)]
pub struct NodeSettings {
    /// Repositories that exist, `*` at the end standing for anything. All others give ImagePullBackOff.
    pub known_images: Vec<String>,
    /// The binary behind images named `serin`.
    pub serin: Option<PathBuf>,
    /// From a pod's start until it listens (and is ready, without a readiness probe).
    pub ready_after: Duration,
    /// How long a pod goes on answering after its deletion, at most its grace period.
    pub drain: Duration,
    /// The same for single namespaces.
    pub drain_by_namespace: BTreeMap<String, Duration>,
    /// How long a pod of a Job runs.
    pub job_duration: Duration,
    /// Pause before the second restart of a crashing container (the first comes at once); doubles up to 30 s.
    pub crash_backoff: Duration,
    /// Whether liveness probes are sent. Off, a frozen process stays.
    pub liveness: bool,
}

impl Default for NodeSettings {
    fn default() -> Self {
        Self {
            known_images: vec!["*".into()],
            serin: None,
            ready_after: Duration::from_millis(150),
            drain: Duration::from_secs(2),
            drain_by_namespace: BTreeMap::new(),
            job_duration: Duration::from_secs(1),
            crash_backoff: Duration::from_secs(1),
            liveness: true,
        }
    }
}

impl NodeSettings {
    fn drain_in(&self, namespace: &str) -> Duration {
        self.drain_by_namespace.get(namespace).copied().unwrap_or(self.drain)
    }
}

/// What a virtual node knows of a pod that it runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PodInfo {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Its UID.
    pub uid: String,
    /// The node it runs on.
    pub node: String,
    /// Its address.
    pub ip: Ipv4Addr,
    /// The revision's hash from its labels; empty without one.
    pub hash: String,
    /// Its first container's image.
    pub image: String,
    /// The process (inside the namespace) of a pod that runs Serin.
    pub pid: Option<u32>,
    /// The most that one of its containers was restarted.
    pub restarts: u32,
    /// Whether it is ready.
    pub ready: bool,
    /// Whether a container runs.
    pub running: bool,
}

#[derive(Clone, Debug)]
struct Node {
    name: String,
    ip: Ipv4Addr,
}

#[derive(Debug)]
struct Record {
    info: PodInfo,
    behaviours: Vec<Arc<RwLock<Behaviour>>>,
    crash: Arc<Notify>,
}

/// What all pods share.
struct Context {
    client: kube::Client,
    dir: PathBuf,
    certificate: PathBuf,
    nodes: Vec<Node>,
    next_node: AtomicUsize,
    next_address: AtomicU32,
    settings: RwLock<NodeSettings>,
    records: Mutex<BTreeMap<String, Record>>,
    /// Pods as last seen, for Prometheus' targets.
    objects: Mutex<HashMap<String, Arc<Pod>>>,
    changed: Notify,
    /// Requests at one time. Hundreds of pods may start at once; each request has a connection of its own.
    requests: Semaphore,
}

impl Context {
    fn settings(&self) -> NodeSettings {
        self.settings.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn records(&self) -> MutexGuard<'_, BTreeMap<String, Record>> {
        self.records.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn objects(&self) -> MutexGuard<'_, HashMap<String, Arc<Pod>>> {
        self.objects.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn node(&self, name: &str) -> Option<Node> {
        self.nodes.iter().find(|node| node.name == name).cloned()
    }

    fn pick_node(&self) -> Node {
        self.nodes[self.next_node.fetch_add(1, Ordering::Relaxed) % self.nodes.len()].clone()
    }

    /// 10.244.1.1 to 10.244.250.254, each once before any comes again.
    fn next_address(&self) -> Ipv4Addr {
        let n = self.next_address.fetch_add(1, Ordering::Relaxed) % (250 * 254);
        Ipv4Addr::new(10, 244, (1 + n / 254) as u8, (1 + n % 254) as u8)
    }

    async fn permit(&self) -> SemaphorePermit<'_> {
        self.requests.acquire().await.expect("the semaphore is never closed")
    }

    fn remember(&self, info: PodInfo, behaviours: Vec<Arc<RwLock<Behaviour>>>, crash: Arc<Notify>) {
        self.records().insert(
            info.uid.clone(),
            Record {
                info,
                behaviours,
                crash,
            },
        );
    }

    fn update(&self, uid: &str, change: impl FnOnce(&mut PodInfo)) {
        if let Some(record) = self.records().get_mut(uid) {
            change(&mut record.info);
        }
        self.changed.notify_one();
    }

    fn forget(&self, uid: &str) {
        self.records().remove(uid);
        self.changed.notify_one();
    }
}

/// The running virtual nodes.
pub struct VirtualNodes {
    context: Arc<Context>,
    tasks: Vec<AbortOnDrop>,
    stop: watch::Sender<bool>,
}

impl VirtualNodes {
    pub(crate) async fn start(
        client: kube::Client,
        count: usize,
        settings: NodeSettings,
        dir: &Path,
        certificate: PathBuf,
        folder: prometheus::Folder,
    ) -> Result<Self> {
        let nodes: Vec<Node> = (1..=count.clamp(1, 200))
            .map(|n| Node {
                name: format!("node-{n}"),
                ip: Ipv4Addr::new(10, 244, 254, n as u8),
            })
            .collect();
        for node in &nodes {
            register(&client, node).await?;
        }
        let context = Arc::new(Context {
            client,
            dir: dir.to_owned(),
            certificate,
            nodes,
            next_node: AtomicUsize::new(0),
            next_address: AtomicU32::new(0),
            settings: RwLock::new(settings),
            records: Mutex::default(),
            objects: Mutex::default(),
            changed: Notify::new(),
            requests: Semaphore::new(24),
        });
        let (stop, stopped) = watch::channel(false);
        let tasks = vec![
            AbortOnDrop(tokio::spawn(watch_pods(context.clone(), stopped))),
            AbortOnDrop(tokio::spawn(targets::write(context.clone(), folder))),
        ];
        Ok(Self { context, tasks, stop })
    }

    /// Ends all pods at once and returns when their task has seen it.
    pub(crate) async fn stop(&self) {
        self.stop.send_replace(true);
        self.stop.closed().await;
    }

    /// The pods that run or are about to.
    pub fn pods(&self) -> Vec<PodInfo> {
        self.context
            .records()
            .values()
            .map(|record| record.info.clone())
            .collect()
    }

    /// One pod by its name.
    pub fn pod(&self, namespace: &str, name: &str) -> Option<PodInfo> {
        self.pods()
            .into_iter()
            .find(|info| info.namespace == namespace && info.name == name)
    }

    /// Changes how pods are treated from now on.
    pub fn configure(&self, change: impl FnOnce(&mut NodeSettings)) {
        change(&mut self.context.settings.write().unwrap_or_else(PoisonError::into_inner));
    }

    /// Changes the behaviour of running pods: all of a revision (`hash`) in a namespace. Returns how many containers.
    pub fn set_behaviour(&self, namespace: &str, hash: &str, change: impl Fn(&mut Behaviour)) -> usize {
        let mut changed = 0;
        for record in self.context.records().values() {
            if record.info.namespace == namespace && record.info.hash == hash {
                for behaviour in &record.behaviours {
                    change(&mut behaviour.write().unwrap_or_else(PoisonError::into_inner));
                    changed += 1;
                }
            }
        }
        changed
    }

    /// Ends a pod's containers without any warning, as an out-of-memory kill would; the node starts them again.
    ///
    /// # Errors
    /// When no such pod runs.
    pub fn crash(&self, namespace: &str, name: &str) -> Result<()> {
        let records = self.context.records();
        let record = records
            .values()
            .find(|r| r.info.namespace == namespace && r.info.name == name);
        let record = record.ok_or_else(|| Error::Other(format!("no pod {namespace}/{name} runs here")))?;
        record.crash.notify_waiters();
        Ok(())
    }

    /// Sends a signal to the process of a pod that runs Serin.
    ///
    /// # Errors
    /// When the pod runs no process.
    pub async fn signal(&self, namespace: &str, name: &str, signal: Signal) -> Result<()> {
        let pid = self.pod(namespace, name).and_then(|info| info.pid);
        let pid = pid.ok_or_else(|| Error::Other(format!("the pod {namespace}/{name} runs no process")))?;
        send_signal(pid, signal).await
    }

    /// Whether the node's own tasks are still at work.
    pub fn is_alive(&self) -> bool {
        self.tasks.iter().all(|task| !task.0.is_finished())
    }
}

/// Makes the Node object, ready once and for all: no controller here doubts it.
async fn register(client: &kube::Client, node: &Node) -> Result<()> {
    let api: Api<NodeObject> = Api::all(client.clone());
    let object = serde_json::from_value(json!({
        "metadata": {"name": node.name, "labels": {
            "kubernetes.io/hostname": node.name, "kubernetes.io/os": "linux", "kubernetes.io/arch": "amd64",
        }},
    }))
    .expect("a node is well formed");
    match api.create(&PostParams::default(), &object).await {
        Ok(_) => {}
        Err(kube::Error::Api(status)) if status.code == 409 => {}
        Err(error) => return Err(Error::api(format!("register `{}`", node.name))(error)),
    }
    let time = kube_time(now());
    let resources = json!({"cpu": "64", "memory": "256Gi", "pods": "1000", "ephemeral-storage": "100Gi"});
    let status = json!({"status": {
        "conditions": [{"type": "Ready", "status": "True", "reason": "KubeletReady", "message": "virtual node",
                        "lastHeartbeatTime": time, "lastTransitionTime": time}],
        "addresses": [{"type": "InternalIP", "address": node.ip.to_string()}, {"type": "Hostname", "address": node.name}],
        "capacity": resources, "allocatable": resources,
        "nodeInfo": {"machineID": node.name, "systemUUID": node.name, "bootID": node.name, "kernelVersion": "virtual",
                     "osImage": "virtual", "containerRuntimeVersion": "virtual://1", "kubeletVersion": "v1.36.3",
                     "kubeProxyVersion": "", "operatingSystem": "linux", "architecture": "amd64"},
    }});
    let params = PatchParams::default();
    answer(
        format!("report `{}` ready", node.name),
        api.patch_status(&node.name, &params, &Patch::Strategic(status)),
    )
    .await?;
    // The API server marks every new node as not ready; a controller that does not run here would clear that.
    let clear = Patch::Merge(json!({"spec": {"taints": null}}));
    answer(
        format!("clear the taints of `{}`", node.name),
        api.patch(&node.name, &params, &clear),
    )
    .await?;
    Ok(())
}

/// Pause between attempts to reach the API server: short, tests wait for its return.
struct Steady;

impl Iterator for Steady {
    type Item = Duration;

    fn next(&mut self) -> Option<Duration> {
        Some(Duration::from_millis(300))
    }
}

impl Backoff for Steady {
    fn reset(&mut self) {}
}

struct Life {
    objects: watch::Sender<Arc<Pod>>,
    _task: AbortOnDrop,
}

/// Hands every pod to its task. One watch for all.
async fn watch_pods(context: Arc<Context>, mut stopped: watch::Receiver<bool>) {
    let api: Api<Pod> = Api::all(context.client.clone());
    let mut events = watcher::watcher(api, watcher::Config::default())
        .backoff(Steady)
        .boxed();
    let mut lives: HashMap<String, Life> = HashMap::new();
    let mut listed: HashSet<String> = HashSet::new();
    loop {
        let event = tokio::select! {
            biased;
            _ = stopped.wait_for(|s| *s) => return,
            event = events.next() => event,
        };
        match event {
            Some(Ok(Event::Init)) => listed.clear(),
            Some(Ok(Event::InitApply(pod))) => {
                listed.extend(pod.metadata.uid.clone());
                see(&context, &mut lives, pod);
            }
            Some(Ok(Event::InitDone)) => {
                let gone: Vec<String> = lives.keys().filter(|uid| !listed.contains(*uid)).cloned().collect();
                for uid in gone {
                    end(&context, &mut lives, &uid);
                }
            }
            Some(Ok(Event::Apply(pod))) => see(&context, &mut lives, pod),
            Some(Ok(Event::Delete(pod))) => {
                if let Some(uid) = &pod.metadata.uid {
                    end(&context, &mut lives, uid);
                }
            }
            // The API server is away: what runs runs on, and the stream tries again.
            Some(Err(_)) => {}
            None => return,
        }
    }
}

fn see(context: &Arc<Context>, lives: &mut HashMap<String, Life>, pod: Pod) {
    let Some(uid) = pod.metadata.uid.clone() else { return };
    let foreign = pod
        .spec
        .as_ref()
        .and_then(|s| s.node_name.as_ref())
        .is_some_and(|name| context.node(name).is_none());
    if foreign {
        return;
    }
    let pod = Arc::new(pod);
    context.objects().insert(uid.clone(), pod.clone());
    match lives.get(&uid) {
        Some(life) => drop(life.objects.send_replace(pod)),
        None => {
            let done = pod
                .status
                .as_ref()
                .and_then(|s| s.phase.as_deref())
                .is_some_and(|p| p == "Succeeded" || p == "Failed");
            if done && pod.metadata.deletion_timestamp.is_none() {
                return;
            }
            let (objects, seen) = watch::channel(pod);
            let task = AbortOnDrop(tokio::spawn(pod::run(context.clone(), seen)));
            lives.insert(uid, Life { objects, _task: task });
        }
    }
    context.changed.notify_one();
}

fn end(context: &Context, lives: &mut HashMap<String, Life>, uid: &str) {
    lives.remove(uid);
    context.objects().remove(uid);
    context.forget(uid);
}
