//! An ideal Kubernetes for one Rollout: every write is seen at once, pods take as long as in the recordings, and time is
//! a number. Knows nothing of rollouts; ReplicaSets, pods, endpoints and generations only.

use std::collections::BTreeMap;

use chrono::{DateTime, TimeDelta, Utc};
use serde_json::{Value, json};
use serin_api::{
    HASH_LABEL,
    analysis::{AnalysisRunSpec, AnalysisTemplateSpec, Phase},
    digest::TemplateDigest,
    rollout::{AnalysisTemplateRef, Rollout},
    template::PodTemplate,
};
use serin_model::{
    AnalysisRunView, Endpoints, Event, ReplicaSetView, RouteRef, ServiceView, TemplateView, World, Write,
    analysis_spec_digest,
};
use serin_recordings::{RunStep, Scenario, Sequences};

/// One pod: when it was made, when it becomes ready.
#[derive(Clone, Debug)]
struct Pod {
    name: String,
    ready_at: Option<i64>,
}

struct ReplicaSet {
    object: Value,
    pods: Vec<Pod>,
}

/// The cluster. Times are milliseconds since the scenario's start.
pub(crate) struct Ground {
    pub(crate) now: i64,
    pub(crate) namespace: String,
    pub(crate) seen: Sequences,
    pub(crate) rollout: Option<Value>,
    /// What the audit found in the plans so far.
    pub(crate) findings: Vec<String>,
    /// Where what is explained is not what is done.
    pub(crate) misfits: Vec<String>,
    version: u64,
    pods_made: u64,
    /// Milliseconds between the pods that one scaling starts.
    stagger: i64,
    replica_sets: BTreeMap<String, ReplicaSet>,
    services: BTreeMap<String, Value>,
    routes: BTreeMap<String, Value>,
    templates: BTreeMap<String, AnalysisTemplateSpec>,
    runs: BTreeMap<String, Run>,
    recorded_runs: Vec<(String, Vec<RunStep>)>,
}

struct Run {
    object: Value,
    made: i64,
    ended: bool,
}

impl Ground {
    pub(crate) fn new(scenario: &Scenario, stagger: i64) -> Self {
        Self {
            now: 0,
            namespace: scenario.namespace(),
            seen: Sequences::default(),
            rollout: None,
            findings: Vec::new(),
            misfits: Vec::new(),
            version: 0,
            pods_made: 0,
            stagger,
            replica_sets: BTreeMap::new(),
            services: BTreeMap::new(),
            routes: BTreeMap::new(),
            templates: BTreeMap::new(),
            runs: BTreeMap::new(),
            recorded_runs: scenario.runs.clone(),
        }
    }

    pub(crate) fn clock(&self) -> DateTime<Utc> {
        DateTime::from_timestamp(1_700_000_000, 0).expect("a valid time") + TimeDelta::milliseconds(self.now)
    }

    fn next_version(&mut self) -> String {
        self.version += 1;
        self.version.to_string()
    }

    pub(crate) fn create(&mut self, object: &Value) {
        let mut object = object.clone();
        let name = object["metadata"]["name"].as_str().unwrap_or_default().to_owned();
        object["metadata"]["namespace"] = json!(self.namespace);
        object["metadata"]["uid"] = json!(format!("uid-{name}-{}", object["kind"]));
        object["metadata"]["generation"] = json!(1);
        object["metadata"]["resourceVersion"] = json!(self.next_version());
        object["metadata"]["creationTimestamp"] =
            json!(self.clock().to_rfc3339_opts(chrono::SecondsFormat::Secs, true));
        match object["kind"].as_str().unwrap_or_default() {
            "Rollout" => {
                default_ports(&mut object);
                self.seen.see(&object);
                self.rollout = Some(object);
            }
            "Service" => {
                self.seen.see(&object);
                self.services.insert(name, object);
            }
            "HTTPRoute" => {
                self.seen.see(&object);
                self.routes.insert(name, object);
            }
            "AnalysisTemplate" => {
                let spec = serde_json::from_value(object["spec"].clone()).expect("a template");
                self.templates.insert(name, spec);
            }
            "Secret" => {}
            other => panic!("kind {other} is not simulated"),
        }
    }

    /// A person's patch.
    pub(crate) fn patch(
        &mut self,
        kind: &str,
        name: &str,
        subresource: Option<&str>,
        is_json_patch: bool,
        body: &Value,
    ) {
        let mut object = match kind {
            // A run goes through what was recorded of it; the patch is part of the reason.
            "AnalysisRun" => return,
            "Rollout" => self.rollout.clone().expect("the rollout exists"),
            "ReplicaSet" => self.replica_sets[name].object.clone(),
            "HTTPRoute" => self.routes[name].clone(),
            other => panic!("a patch of {other} is not simulated"),
        };
        if is_json_patch {
            let patch: json_patch::Patch = serde_json::from_value(body.clone()).expect("a JSON patch");
            json_patch::patch(&mut object, &patch).expect("the patch applies");
        } else if subresource == Some("status") {
            json_patch::merge(&mut object["status"], &body["status"]);
        } else {
            json_patch::merge(&mut object, body);
        }
        self.store(kind, name, object);
    }

    fn store(&mut self, kind: &str, name: &str, mut object: Value) {
        object["metadata"]["resourceVersion"] = json!(self.next_version());
        if kind == "Rollout" {
            default_ports(&mut object);
            let before = self.rollout.as_ref().map(|r| r["spec"].clone());
            if before.as_ref() != Some(&object["spec"]) {
                let generation = object["metadata"]["generation"].as_i64().unwrap_or(0) + 1;
                object["metadata"]["generation"] = json!(generation);
            }
        }
        object["kind"] = json!(kind);
        self.seen.see(&object);
        match kind {
            "Rollout" => self.rollout = Some(object),
            "ReplicaSet" => {
                self.replica_sets.get_mut(name).expect("it exists").object = object;
                self.run_pods(name);
            }
            "Service" => {
                self.services.insert(name.to_owned(), object);
            }
            "HTTPRoute" => {
                self.routes.insert(name.to_owned(), object);
            }
            _ => {}
        }
    }

    /// A person's deletion.
    pub(crate) fn delete(&mut self, kind: &str, name: &str) {
        match kind {
            "ReplicaSet" => {
                self.replica_sets.remove(name);
            }
            "Rollout" => self.rollout = None,
            other => panic!("a deletion of {other} is not simulated"),
        }
    }

    /// What the ReplicaSet controller and the kubelet do.
    fn run_pods(&mut self, name: &str) {
        let now = self.now;
        let rs = self.replica_sets.get_mut(name).expect("it exists");
        let wanted = usize::try_from(rs.object["spec"]["replicas"].as_i64().unwrap_or(0)).unwrap_or(0);
        let image = rs.object["spec"]["template"]["spec"]["containers"][0]["image"]
            .as_str()
            .unwrap_or("");
        let delay = if image.contains("bad") {
            None
        } else if image.contains("slow") {
            Some(1500)
        } else {
            Some(150)
        };
        while rs.pods.len() < wanted {
            self.pods_made += 1;
            let pod = format!("{name}-{:05}", self.pods_made);
            // One after the other, as a kubelet starts them.
            let turn = i64::try_from(wanted - rs.pods.len() - 1).unwrap_or(0) * self.stagger;
            rs.pods.push(Pod {
                name: pod,
                ready_at: delay.map(|d| now + d + turn),
            });
        }
        // Pods that are not ready go first.
        rs.pods.sort_by_key(|p| p.ready_at.unwrap_or(i64::MAX));
        rs.pods.truncate(wanted);
    }

    fn ready(&self, rs: &ReplicaSet) -> usize {
        rs.pods
            .iter()
            .filter(|p| p.ready_at.is_some_and(|at| at <= self.now))
            .count()
    }

    fn available(&self, rs: &ReplicaSet) -> usize {
        let wait = rs.object["spec"]["minReadySeconds"].as_i64().unwrap_or(0) * 1000;
        rs.pods
            .iter()
            .filter(|p| p.ready_at.is_some_and(|at| at + wait <= self.now))
            .count()
    }

    /// The next moment at which something happens by itself.
    pub(crate) fn next_change(&self) -> Option<i64> {
        let pods = self.replica_sets.values().flat_map(|rs| {
            let wait = rs.object["spec"]["minReadySeconds"].as_i64().unwrap_or(0) * 1000;
            rs.pods
                .iter()
                .filter_map(move |p| p.ready_at)
                .flat_map(move |at| [at, at + wait])
        });
        let runs = self.runs.iter().filter(|(_, run)| !run.ended).flat_map(|(name, run)| {
            let steps = self
                .recorded_runs
                .iter()
                .find(|(known, _)| known == name)
                .map(|(_, steps)| steps.as_slice());
            steps.unwrap_or_default().iter().map(move |step| run.made + step.after)
        });
        pods.chain(runs).filter(|at| *at > self.now).min()
    }

    /// Runs go through the phases that were recorded of them, as fast as they did then.
    pub(crate) fn advance_runs(&mut self) {
        for (name, run) in &mut self.runs {
            if run.ended {
                continue;
            }
            let steps = self.recorded_runs.iter().find(|(known, _)| known == name);
            let steps = steps.map(|(_, steps)| steps.as_slice()).unwrap_or_default();
            if let Some(step) = steps.iter().rev().find(|step| run.made + step.after <= self.now) {
                run.object["status"] = json!({ "phase": step.phase, "message": step.message });
            }
        }
    }

    /// Whether a run is in that phase.
    pub(crate) fn has_run(&self, phase: &str) -> bool {
        let mut runs = self.runs.values();
        runs.any(|run| run.object["status"]["phase"] == phase)
    }

    pub(crate) fn world(&self) -> Option<World> {
        let rollout: Rollout = serde_json::from_value(self.rollout.clone()?).expect("a rollout");
        let canary = rollout.spec.strategy.canary.clone().unwrap_or_default();
        let canary_service = canary.canary_service.clone().unwrap_or_default();
        let stable_service = canary.stable_service.clone().unwrap_or_default();
        let config = canary
            .traffic_routing
            .as_ref()
            .and_then(|t| t.plugins.as_ref()?.get(serin_api::GATEWAY_API_PLUGIN));
        let mut routes = BTreeMap::new();
        if let Some(name) = config.and_then(|c| c["httpRoute"].as_str()) {
            let at = RouteRef {
                kind: "HTTPRoute".into(),
                namespace: self.namespace.clone(),
                name: name.into(),
            };
            let view = match self.routes.get(name) {
                None => Err(format!("HTTPRoute \"{name}\" not found")),
                Some(route) => serin_traffic::read(route, &canary_service, &stable_service).map_err(|e| e.to_string()),
            };
            routes.insert(at, view);
        }
        Some(World {
            replica_sets: self.replica_sets.values().map(|rs| self.replica_set(rs)).collect(),
            services: self
                .services
                .iter()
                .map(|(name, s)| (name.clone(), service(name, s)))
                .collect(),
            endpoints: Some(
                self.services
                    .iter()
                    .map(|(name, s)| (name.clone(), self.endpoints(s)))
                    .collect(),
            ),
            analysis_runs: self.runs.values().map(|run| run_view(&run.object)).collect(),
            templates: self.templates.iter().map(|(name, spec)| template(name, spec)).collect(),
            routes,
            ..World::of(rollout)
        })
    }

    fn replica_set(&self, rs: &ReplicaSet) -> ReplicaSetView {
        let o = &rs.object;
        let small = |n: usize| i32::try_from(n).expect("few pods");
        ReplicaSetView {
            name: text(&o["metadata"]["name"]),
            uid: text(&o["metadata"]["uid"]),
            resource_version: text(&o["metadata"]["resourceVersion"]),
            generation: 1,
            created: o["metadata"]["creationTimestamp"]
                .as_str()
                .and_then(|t| t.parse().ok())
                .expect("a time"),
            deleting: false,
            labels: strings(&o["metadata"]["labels"]),
            annotations: strings(&o["metadata"]["annotations"]),
            owner: o["metadata"]["ownerReferences"][0]["uid"].as_str().map(str::to_owned),
            replicas: i32::try_from(o["spec"]["replicas"].as_i64().unwrap_or(0)).expect("few pods"),
            min_ready_seconds: i32::try_from(o["spec"]["minReadySeconds"].as_i64().unwrap_or(0)).expect("few seconds"),
            observed_generation: 1,
            current: small(rs.pods.len()),
            ready: small(self.ready(rs)),
            available: small(self.available(rs)),
            failure: None,
            digest: TemplateDigest::of(&PodTemplate(o["spec"]["template"].clone()), None),
        }
    }

    fn endpoints(&self, service: &Value) -> Endpoints {
        let hash = service["spec"]["selector"][HASH_LABEL].as_str();
        let chosen = self
            .replica_sets
            .values()
            .filter(|rs| hash.is_none_or(|hash| rs.object["metadata"]["labels"][HASH_LABEL] == hash));
        let ready = chosen.flat_map(|rs| rs.pods.iter().filter(|p| p.ready_at.is_some_and(|at| at <= self.now)));
        Endpoints {
            ready_pods: ready.map(|p| p.name.clone()).collect(),
        }
    }

    /// The rollout as the planner reads it: a write that carries an old version is refused.
    fn guard(&self, object: &Value, version: &str, fresh: &mut BTreeMap<String, String>, key: &str) {
        let current = text(&object["metadata"]["resourceVersion"]);
        let expected = fresh.get(key).cloned().unwrap_or_else(|| version.to_owned());
        assert_eq!(
            current, expected,
            "a write of {key} carries a version that is not the stored one"
        );
    }

    /// Carries out one write. `fresh` holds the versions that this plan itself has made.
    pub(crate) fn apply(&mut self, write: &Write, fresh: &mut BTreeMap<String, String>) {
        match write {
            Write::CreateReplicaSet { name, object } => {
                assert!(!self.replica_sets.contains_key(name), "ReplicaSet {name} exists");
                let mut object = object.clone();
                object["metadata"]["uid"] = json!(format!("uid-{name}-{}", self.version));
                object["metadata"]["resourceVersion"] = json!(self.next_version());
                object["metadata"]["creationTimestamp"] =
                    json!(self.clock().to_rfc3339_opts(chrono::SecondsFormat::Secs, true));
                self.seen.see(&object);
                self.replica_sets.insert(
                    name.clone(),
                    ReplicaSet {
                        object,
                        pods: Vec::new(),
                    },
                );
            }
            Write::PatchReplicaSet {
                name,
                resource_version,
                patch,
            } => {
                let mut object = self.replica_sets[name].object.clone();
                self.guard(&object, resource_version, fresh, name);
                json_patch::merge(&mut object, patch);
                self.store("ReplicaSet", name, object);
                fresh.insert(name.clone(), self.version.to_string());
            }
            Write::DeleteReplicaSet { name, .. } => {
                self.replica_sets.remove(name);
            }
            Write::PatchService {
                name,
                resource_version,
                patch,
            } => {
                let mut object = self.services[name].clone();
                self.guard(&object, resource_version, fresh, name);
                json_patch::merge(&mut object, patch);
                self.store("Service", name, object);
                fresh.insert(name.clone(), self.version.to_string());
            }
            Write::SetRouteWeights { route, weights, .. } => {
                let mut object = self.routes[&route.name].clone();
                let ops = serin_traffic::edit(&object, weights).expect("the route has both services");
                let patch: json_patch::Patch = serde_json::from_value(ops).expect("a JSON patch");
                json_patch::patch(&mut object, &patch).expect("the patch applies");
                self.store("HTTPRoute", &route.name, object);
            }
            Write::CreateAnalysisRun { name, object } => {
                let mut object = object.clone();
                object["metadata"]["uid"] = json!(format!("uid-{name}"));
                object["metadata"]["resourceVersion"] = json!(self.next_version());
                object["metadata"]["creationTimestamp"] =
                    json!(self.clock().to_rfc3339_opts(chrono::SecondsFormat::Secs, true));
                let known = self.recorded_runs.iter().any(|(recorded, _)| recorded == name);
                assert!(known, "run {name} was not recorded");
                self.runs.insert(
                    name.clone(),
                    Run {
                        object,
                        made: self.now,
                        ended: false,
                    },
                );
            }
            Write::PatchAnalysisRun { name, patch, .. } => {
                let run = self.runs.get_mut(name).expect("the run exists");
                json_patch::merge(&mut run.object, patch);
                if run.object["spec"]["terminate"] == true {
                    run.ended = true;
                    run.object["status"]["phase"] = json!("Successful");
                }
            }
            Write::DeleteAnalysisRun { name, .. } => {
                self.runs.remove(name);
            }
            Write::PatchRollout {
                resource_version,
                patch,
            }
            | Write::PatchRolloutStatus {
                resource_version,
                patch,
            } => {
                let mut object = self.rollout.clone().expect("the rollout exists");
                self.guard(&object, resource_version, fresh, "the Rollout");
                json_patch::merge(&mut object, patch);
                self.store("Rollout", "", object);
                fresh.insert("the Rollout".to_owned(), self.version.to_string());
            }
        }
    }

    pub(crate) fn record(&mut self, events: &[Event]) {
        for event in events {
            self.seen.event(event.kind.as_str(), event.reason, &event.message);
        }
    }
}

/// What the CRD's schema fills in (compat 2.1.1).
fn default_ports(rollout: &mut Value) {
    let Some(containers) = rollout
        .pointer_mut("/spec/template/spec/containers")
        .and_then(Value::as_array_mut)
    else {
        return;
    };
    for port in containers
        .iter_mut()
        .filter_map(|c| c.get_mut("ports")?.as_array_mut())
        .flatten()
    {
        if port.get("protocol").is_none() {
            port["protocol"] = json!("TCP");
        }
    }
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

fn strings(value: &Value) -> BTreeMap<String, String> {
    value
        .as_object()
        .into_iter()
        .flatten()
        .map(|(k, v)| (k.clone(), text(v)))
        .collect()
}

fn service(name: &str, object: &Value) -> ServiceView {
    ServiceView {
        name: name.to_owned(),
        resource_version: text(&object["metadata"]["resourceVersion"]),
        selector: strings(&object["spec"]["selector"]),
        annotations: strings(&object["metadata"]["annotations"]),
    }
}

fn template(name: &str, spec: &AnalysisTemplateSpec) -> (AnalysisTemplateRef, TemplateView) {
    let at = AnalysisTemplateRef {
        template_name: name.to_owned(),
        cluster_scope: false,
    };
    (
        at,
        TemplateView {
            spec: spec.clone(),
            annotations: BTreeMap::new(),
        },
    )
}

fn run_view(object: &Value) -> AnalysisRunView {
    let spec: AnalysisRunSpec = serde_json::from_value(object["spec"].clone()).expect("a run");
    AnalysisRunView {
        name: text(&object["metadata"]["name"]),
        uid: text(&object["metadata"]["uid"]),
        resource_version: text(&object["metadata"]["resourceVersion"]),
        created: object["metadata"]["creationTimestamp"]
            .as_str()
            .and_then(|t| t.parse().ok())
            .expect("a time"),
        deleting: false,
        labels: strings(&object["metadata"]["labels"]),
        annotations: strings(&object["metadata"]["annotations"]),
        terminate: spec.terminate == Some(true),
        phase: Phase::parse(object["status"]["phase"].as_str().unwrap_or("")),
        message: text(&object["status"]["message"]),
        spec_digest: analysis_spec_digest(&spec),
    }
}
