//! What a scenario stands on: kubesim with Serin's resource definitions, pods that behave as in the recordings, and faults
//! that are ordered one by one.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, LazyLock, Mutex, MutexGuard},
    time::Duration,
};

use chrono::DateTime;
use serde_json::{Value, json};
use serin_kubesim::{
    Call, Cluster, Crd, Intercept, Interception, Options, Resource, Status, WatchFault,
    workloads::{PodBehaviour, PodPlan, Workloads},
};
use tokio::time::Instant;

/// Who writes what people write.
pub const PERSON: &str = "person";

/// Serin's resource definitions as they are deployed, and a reduced one of HTTPRoute.
const DEFINITIONS: [&str; 6] = [
    include_str!("../../../../deploy/crds/rollouts-crd.yaml"),
    include_str!("../../../../deploy/crds/analysisruns-crd.yaml"),
    include_str!("../../../../deploy/crds/analysistemplates-crd.yaml"),
    include_str!("../../../../deploy/crds/clusteranalysistemplates-crd.yaml"),
    include_str!("../../../../deploy/crds/experiments-crd.yaml"),
    include_str!("../../../../crates/staging/data/httproutes-crd.yaml"),
];

/// The plural of the kind that Gateway API brings.
pub const ROUTES: &str = "httproutes";

/// Read once per process.
static CRDS: LazyLock<Vec<(Value, Arc<Crd>)>> = LazyLock::new(|| {
    let read = |text: &&str| {
        let value: Value = serde_saphyr::from_str(text).expect("the definitions are YAML");
        let crd = Crd::parse(&value).expect("the definitions are valid");
        (value, crd)
    };
    DEFINITIONS.iter().map(read).collect()
});

/// Serves a kind.
pub fn serve(cluster: &Cluster, plural: &str) {
    let (_, crd) = definition(plural);
    cluster.register(crd);
}

/// Serves a kind with a schema that says nothing of the spec, as definitions of other versions may.
pub fn serve_without_schema(cluster: &Cluster, plural: &str) {
    let (mut value, _) = definition(plural).clone();
    let versions = value["spec"]["versions"].as_array_mut().expect("a list of versions");
    for version in versions {
        version["schema"]["openAPIV3Schema"]["properties"]["spec"] =
            json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true});
    }
    cluster.register(&Crd::parse(&value).expect("less schema is valid too"));
}

fn definition(plural: &str) -> &'static (Value, Arc<Crd>) {
    let found = CRDS.iter().find(|(_, crd)| crd.plural == plural);
    found.unwrap_or_else(|| panic!("there is no definition of {plural}"))
}

/// A cluster with its built-in controllers, at 2026-11-21 12:00:00; Gateway API is left out where that is asked for.
pub fn cluster(namespaces: &[&str], pods: Pods, gateway_api: bool) -> Cluster {
    let cluster = Cluster::new(Options {
        start: DateTime::from_timestamp(1_795_262_400, 0).expect("a valid time"),
        ..Options::default()
    });
    for (_, crd) in CRDS.iter().filter(|(_, crd)| gateway_api || crd.plural != ROUTES) {
        cluster.register(crd);
    }
    for name in namespaces {
        let namespace = json!({"metadata": {"name": name}});
        cluster
            .create(PERSON, "namespaces", namespace)
            .expect("an empty cluster");
    }
    tokio::spawn(Workloads::new(&cluster, Arc::new(pods)).terse().run());
    cluster
}

/// A text in an object, empty without one.
pub fn text<'a>(object: &'a Value, path: &str) -> &'a str {
    object.pointer(path).and_then(Value::as_str).unwrap_or_default()
}

/// How pods behave, by a word in their image's tag (the same words as in the recordings).
#[derive(Debug)]
pub struct Pods {
    /// Between the pods that one scaling starts: a cluster under load starts them one after the other.
    stagger: Duration,
    /// By ReplicaSet: when its last pod came, and how many came at that time.
    turns: Mutex<BTreeMap<String, (Instant, u32)>>,
}

/// From the start of a pod's containers to ready.
const READY_AFTER: Duration = Duration::from_millis(150);
/// The same for tags that contain `slow`; pods of tags that contain `bad` cannot pull their image.
const SLOW_AFTER: Duration = Duration::from_millis(1500);
/// Pods of one ReplicaSet that come within this time belong to one scaling.
const ONE_SCALING: Duration = Duration::from_millis(20);
/// A deleted pod is gone after this time.
const TERMINATION: Duration = Duration::from_millis(100);

impl Pods {
    /// With this time between the pods of one scaling.
    pub fn staggered(stagger: Duration) -> Self {
        Self {
            stagger,
            turns: Mutex::default(),
        }
    }
}

impl PodBehaviour for Pods {
    fn start(&self, pod: &Value) -> PodPlan {
        let image = text(pod, "/spec/containers/0/image");
        let tag = image.rsplit_once(':').map_or("", |(_, tag)| tag);
        let owner = text(pod, "/metadata/ownerReferences/0/uid").to_owned();
        let now = Instant::now();
        let mut turns = self.turns.lock().unwrap();
        let (last, turn) = turns.entry(owner).or_insert((now, 0));
        *turn = if now - *last <= ONE_SCALING { *turn + 1 } else { 1 };
        *last = now;
        let after = if tag.contains("slow") { SLOW_AFTER } else { READY_AFTER };
        PodPlan {
            ready_after: Some(after + self.stagger * (*turn - 1)),
            image_exists: !tag.contains("bad"),
            termination: TERMINATION,
            ..PodPlan::default()
        }
    }
}

/// What a request is answered with instead.
#[derive(Clone, Debug)]
pub struct Fault {
    /// `create`, `patch` …
    pub verb: &'static str,
    /// Plural.
    pub resource: &'static str,
    /// Status code.
    pub code: u16,
    /// `reason` of the Status.
    pub reason: &'static str,
    /// How often; after that the fault is over.
    pub times: u32,
    /// The request is carried out all the same: only its answer is lost.
    pub carried_out: bool,
}

#[derive(Debug, Default)]
struct Ordered {
    faults: Vec<Fault>,
    forbidden: BTreeSet<&'static str>,
    late: BTreeMap<&'static str, Duration>,
    down: bool,
}

/// Stands between the controllers and the cluster.
#[derive(Clone, Debug, Default)]
pub struct Faults(Arc<Mutex<Ordered>>);

impl Faults {
    fn ordered(&self) -> MutexGuard<'_, Ordered> {
        self.0.lock().unwrap()
    }

    /// Orders a fault.
    pub fn order(&self, fault: Fault) {
        self.ordered().faults.push(fault);
    }

    /// Nobody has any right to a resource.
    pub fn forbid(&self, resource: &'static str) {
        self.ordered().forbidden.insert(resource);
    }

    /// Watches of a resource tell everything that much later.
    pub fn delay_watches(&self, resource: &'static str, by: Duration) {
        self.ordered().late.insert(resource, by);
    }

    /// Stops and starts the API server: connections break off.
    pub fn set_down(&self, down: bool) {
        self.ordered().down = down;
    }
}

impl Intercept for Faults {
    fn request(&self, call: &Call<'_>) -> Interception {
        let mut ordered = self.ordered();
        if ordered.down {
            return Interception::DisconnectBefore;
        }
        if ordered.forbidden.contains(call.resource) {
            let why = format!(
                "User {:?} cannot {} resource {:?} in API group {:?}",
                call.user, call.verb, call.resource, call.group
            );
            let resource = Resource::new(call.group, call.resource);
            return Interception::Before(Status::forbidden(resource, call.name, &why));
        }
        let is_meant = |f: &Fault| f.verb == call.verb && f.resource == call.resource;
        let Some(index) = ordered.faults.iter().position(is_meant) else {
            return Interception::Pass;
        };
        let fault = &mut ordered.faults[index];
        fault.times -= 1;
        let status = Status::new(
            fault.code,
            fault.reason,
            format!("ordered by the test: {}", fault.reason),
        );
        let carried_out = fault.carried_out;
        if fault.times == 0 {
            ordered.faults.remove(index);
        }
        if carried_out {
            Interception::After(status)
        } else {
            Interception::Before(status)
        }
    }

    fn watch_event(&self, _: &str, resource: &str, _: &Value) -> WatchFault {
        let ordered = self.ordered();
        match ordered.late.get(resource) {
            _ if ordered.down => WatchFault::Close,
            Some(by) => WatchFault::Delay(*by),
            None => WatchFault::Deliver,
        }
    }
}
