//! Hand-made Worlds and plans: a legal scene, changed in one place by each test.

use std::collections::BTreeMap;

use chrono::{DateTime, TimeDelta, Utc};
use serde_json::{Value, json};
use serin_api::{
    HASH_LABEL,
    analysis::Phase,
    digest::TemplateDigest,
    hash::{pod_template_hash, steps_hash},
    rollout::Rollout,
    template::PodTemplate,
};
use serin_audit::{Finding, Rule, Severity, audit};
use serin_model::{
    AnalysisRunView, Endpoints, Plan, PlannedWrite, ReplicaSetView, RouteRef, RouteView, ServiceView, Weights, World,
    Write,
};

/// Revision hash of the stable ReplicaSet, `demo-old`.
pub const OLD: &str = "old";

pub struct Scene {
    pub world: World,
    pub now: DateTime<Utc>,
}

fn template(image: &str) -> Value {
    json!({"metadata": {"labels": {"app": "demo"}}, "spec": {"containers": [{"name": "app", "image": image}]}})
}

/// Hash of the revision in the spec.
pub fn new() -> String {
    pod_template_hash(&PodTemplate(template("demo:2")), None)
}

/// Name of its ReplicaSet.
pub fn new_name() -> String {
    format!("demo-{}", new())
}

pub fn start() -> DateTime<Utc> {
    DateTime::from_timestamp(1_795_262_400, 0).unwrap()
}

fn merge(target: &mut Value, patch: &Value) {
    let (Value::Object(into), Value::Object(patch)) = (&mut *target, patch) else {
        *target = patch.clone();
        return;
    };
    for (key, change) in patch {
        if change.is_null() {
            into.remove(key);
        } else {
            merge(into.entry(key.clone()).or_insert(Value::Null), change);
        }
    }
}

fn view(name: &str, hash: &str, image: &str, replicas: i32, age: i64) -> ReplicaSetView {
    ReplicaSetView {
        name: name.into(),
        uid: format!("uid-{name}"),
        resource_version: format!("v-{name}"),
        generation: 1,
        created: start() - TimeDelta::seconds(age),
        deleting: false,
        labels: [(HASH_LABEL.to_owned(), hash.to_owned())].into(),
        annotations: BTreeMap::new(),
        owner: Some("u".into()),
        replicas,
        min_ready_seconds: 0,
        observed_generation: 1,
        current: replicas,
        ready: replicas,
        available: replicas,
        failure: None,
        digest: TemplateDigest::of(&PodTemplate(template(image)), None),
    }
}

pub fn route() -> RouteRef {
    RouteRef {
        kind: "HTTPRoute".into(),
        namespace: "n".into(),
        name: "demo".into(),
    }
}

impl Scene {
    fn rollout(canary: Value, status: Value) -> Self {
        let mut status_object = json!({"stableRS": OLD, "currentPodHash": new(), "currentStepIndex": 0});
        merge(&mut status_object, &status);
        let rollout = json!({
            "apiVersion": "argoproj.io/v1alpha1", "kind": "Rollout",
            "metadata": {"name": "demo", "namespace": "n", "uid": "u", "resourceVersion": "v-demo", "generation": 2},
            "spec": {
                "replicas": 10, "selector": {"matchLabels": {"app": "demo"}}, "template": template("demo:2"),
                "strategy": {"canary": canary},
            },
            "status": status_object,
        });
        let mut scene = Self {
            world: World {
                replica_sets: vec![
                    view("demo-old", OLD, "demo:1", 10, 1000),
                    view(&new_name(), &new(), "demo:2", 2, 100),
                ],
                ..World::of(serde_json::from_value(rollout).unwrap())
            },
            now: start(),
        };
        scene.know_steps();
        scene
    }

    /// The status speaks of the present steps.
    fn know_steps(&mut self) {
        let canary = self.world.rollout.spec.strategy.canary.as_ref();
        let hash = steps_hash(canary.and_then(|c| c.steps.as_deref()));
        self.world.rollout.status.get_or_insert_default().current_step_hash = hash;
    }

    /// Ten pods behind a router, at step 0 of 20 %, pause, 60 %, analysis; the canary's two pods are ready, its weight is 0.
    pub fn routed() -> Self {
        let canary = json!({
            "canaryService": "demo-canary", "stableService": "demo-stable",
            "steps": [{"setWeight": 20}, {"pause": {}}, {"setWeight": 60}, {"analysis": {}}],
            "trafficRouting": {"plugins": {"argoproj-labs/gatewayAPI": {"httpRoute": "demo", "namespace": "n"}}},
        });
        let mut scene = Self::rollout(canary, json!({}));
        for (name, hash) in [("demo-canary", new()), ("demo-stable", OLD.to_owned())] {
            let service = ServiceView {
                name: name.into(),
                resource_version: format!("v-{name}"),
                selector: [("app".to_owned(), "demo".to_owned()), (HASH_LABEL.to_owned(), hash)].into(),
                annotations: BTreeMap::new(),
            };
            scene.world.services.insert(name.into(), service);
        }
        scene.weights(0, 100).endpoints(2)
    }

    /// Ten pods without a router, at step 0 of 20 %, pause, 60 %, analysis: two new pods, eight old ones.
    pub fn plain() -> Self {
        let canary = json!({"steps": [{"setWeight": 20}, {"pause": {}}, {"setWeight": 60}, {"analysis": {}}]});
        Self::rollout(canary, json!({})).pods("demo-old", 8, 8)
    }

    pub fn spec(mut self, patch: Value) -> Self {
        let mut rollout = serde_json::to_value(&self.world.rollout).unwrap();
        merge(&mut rollout["spec"], &patch);
        self.world.rollout = serde_json::from_value::<Rollout>(rollout).unwrap();
        self.know_steps();
        self
    }

    pub fn canary(self, patch: Value) -> Self {
        self.spec(json!({"strategy": {"canary": patch}}))
    }

    pub fn status(mut self, patch: Value) -> Self {
        let mut rollout = serde_json::to_value(&self.world.rollout).unwrap();
        merge(&mut rollout["status"], &patch);
        self.world.rollout = serde_json::from_value::<Rollout>(rollout).unwrap();
        self
    }

    pub fn pods(mut self, name: &str, wanted: i32, available: i32) -> Self {
        let rs = self.world.replica_sets.iter_mut().find(|rs| rs.name == name).unwrap();
        (rs.replicas, rs.current, rs.ready, rs.available) = (wanted, wanted, available, available);
        self
    }

    pub fn new_pods(self, wanted: i32, available: i32) -> Self {
        self.pods(&new_name(), wanted, available)
            .endpoints(usize::try_from(available).unwrap())
    }

    /// Another revision, neither stable nor new.
    pub fn third(mut self, replicas: i32, age: i64) -> Self {
        self.world
            .replica_sets
            .push(view("demo-third", "third", "demo:3", replicas, age));
        self
    }

    pub fn annotate(mut self, name: &str, key: &str, value: &str) -> Self {
        let rs = self.world.replica_sets.iter_mut().find(|rs| rs.name == name).unwrap();
        rs.annotations.insert(key.into(), value.into());
        self
    }

    pub fn weights(mut self, canary: i32, stable: i32) -> Self {
        let view = RouteView {
            resource_version: "v-route".into(),
            weights: vec![(canary, stable)],
        };
        self.world.routes.insert(route(), Ok(view));
        self
    }

    /// So many pods of the newest revision are ready behind the canary Service.
    pub fn endpoints(mut self, count: usize) -> Self {
        if self.world.services.is_empty() {
            return self;
        }
        let ready = Endpoints {
            ready_pods: (0..count).map(|i| format!("{}-{i:05}", new_name())).collect(),
        };
        self.world.endpoints = Some([("demo-canary".to_owned(), ready)].into());
        self
    }

    pub fn selects(mut self, service: &str, hash: &str) -> Self {
        let service = self.world.services.get_mut(service).unwrap();
        service.selector.insert(HASH_LABEL.into(), hash.into());
        self
    }

    pub fn run(mut self, name: &str, kind: &str, step: Option<usize>, phase: Phase) -> Self {
        let mut labels: BTreeMap<String, String> = [("rollout-type", kind.to_owned()), (HASH_LABEL, new())]
            .map(|(k, v)| (k.to_owned(), v))
            .into();
        if let Some(step) = step {
            labels.insert("step-index".into(), step.to_string());
        }
        self.world.analysis_runs.push(AnalysisRunView {
            name: name.into(),
            uid: format!("uid-{name}"),
            resource_version: format!("v-{name}"),
            created: start(),
            deleting: false,
            labels,
            annotations: BTreeMap::new(),
            terminate: false,
            phase,
            message: String::new(),
            spec_digest: 0,
        });
        self
    }

    pub fn findings(&self, writes: Vec<Write>) -> Vec<Finding> {
        let writes = writes.into_iter().map(|write| PlannedWrite {
            write,
            events: Vec::new(),
        });
        let plan = Plan {
            writes: writes.collect(),
            ..Plan::default()
        };
        audit(&self.world, &plan, self.now)
    }

    #[track_caller]
    pub fn accepts(&self, writes: Vec<Write>) {
        let findings = self.findings(writes);
        assert!(findings.is_empty(), "{findings:#?}");
    }

    #[track_caller]
    fn finds(&self, rule: Rule, severity: Severity, says: &str, writes: Vec<Write>) {
        let last = writes.len() - 1;
        let findings = self.findings(writes);
        let [finding] = findings.as_slice() else {
            panic!("not one finding: {findings:#?}");
        };
        assert_eq!(
            (finding.rule, finding.severity, finding.write),
            (rule, severity, last),
            "{finding}"
        );
        assert!(finding.message.contains(says), "{finding}");
    }

    /// The last write, and only it, breaks this rule only, in words that contain these.
    #[track_caller]
    pub fn refuses(&self, rule: Rule, says: &str, writes: Vec<Write>) {
        self.finds(rule, Severity::Refuse, says, writes);
    }

    #[track_caller]
    pub fn warns(&self, rule: Rule, says: &str, writes: Vec<Write>) {
        self.finds(rule, Severity::Warn, says, writes);
    }
}

pub fn weight(canary: i32) -> Write {
    weights_of(canary, 100 - canary)
}

pub fn weights_of(canary: i32, stable: i32) -> Write {
    Write::SetRouteWeights {
        route: route(),
        resource_version: "v-route".into(),
        weights: Weights {
            canary_service: "demo-canary".into(),
            stable_service: "demo-stable".into(),
            canary,
            stable,
        },
    }
}

pub fn scale(name: &str, replicas: i32) -> Write {
    Write::PatchReplicaSet {
        name: name.into(),
        resource_version: format!("v-{name}"),
        patch: json!({"spec": {"replicas": replicas}}),
    }
}

pub fn delete(name: &str) -> Write {
    Write::DeleteReplicaSet {
        name: name.into(),
        uid: format!("uid-{name}"),
        resource_version: format!("v-{name}"),
    }
}

pub fn switch(service: &str, hash: &str) -> Write {
    Write::PatchService {
        name: service.into(),
        resource_version: format!("v-{service}"),
        patch: json!({"spec": {"selector": {HASH_LABEL: hash}}}),
    }
}

pub fn status(patch: Value) -> Write {
    Write::PatchRolloutStatus {
        resource_version: "v-demo".into(),
        patch: json!({ "status": patch }),
    }
}

/// A pause condition that began so many seconds before [`start`].
pub fn paused(reason: &str, seconds_ago: i64) -> Value {
    let since = (start() - TimeDelta::seconds(seconds_ago)).to_rfc3339_opts(chrono::SecondsFormat::Secs, true);
    json!({"controllerPause": true, "pauseConditions": [{"reason": reason, "startTime": since}]})
}
