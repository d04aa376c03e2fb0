//! The oracle is tested by hand-made histories: for each rule one that breaks it, and its legal twin.

mod pods;
mod requests;
mod settling;
mod steps;
mod traffic;

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use chrono::{DateTime, SecondsFormat, TimeDelta};
use serde_json::{Value, json};
use serin_kubesim::{Asked, Change, Resource};

use super::{Rule, check};
use crate::{
    history::{History, PERSON, Replica},
    scenario::{App, Controller, Image, Scenario},
};

/// The controller, the next one, and a built-in controller.
const SERIN: &str = "serin-0-0";
const OTHER: &str = "serin-1-0";
const KUBE: &str = "replicaset-controller";
/// Hashes of the stable revision and of the canary.
const OLD: &str = "aaa";
const NEW: &str = "bbb";

/// A history under construction.
struct Tape {
    history: History,
    now: Duration,
    version: u64,
    objects: BTreeMap<(&'static str, String), Arc<Value>>,
}

impl Tape {
    /// Nothing yet, one controller without election, one app.
    fn empty() -> Self {
        let image = || Image {
            errors: 0,
            latency: 10,
            start: Some(1000),
            exists: true,
            crash: None,
            moody: 0,
            stop: 1000,
        };
        let app = App {
            name: "demo".into(),
            namespace: "n".into(),
            rollout: Value::Null,
            router: true,
            other_rules: 0,
            rps: 10.0,
            images: vec![image(), image()],
        };
        let controller = Controller {
            replicas: 1,
            election: false,
            audit: true,
            workers: 2,
        };
        let history = History {
            scenario: Scenario {
                seed: 0,
                controller,
                apps: vec![app],
                templates: Vec::new(),
                actions: Vec::new(),
                faults: Vec::new(),
            },
            start: DateTime::from_timestamp(1_767_225_600, 0).unwrap(),
            changes: Vec::new(),
            requests: Vec::new(),
            traffic: Vec::new(),
            queries: Vec::new(),
            replicas: vec![Replica {
                user: SERIN.into(),
                identity: None,
                started: Duration::ZERO,
                ended: None,
                offsets: Vec::new(),
            }],
            actions: Vec::new(),
            faults: Vec::new(),
            refusals: Vec::new(),
            ends: Vec::new(),
            calm_from: Duration::ZERO,
            settled_from: Duration::ZERO,
            end: Duration::ZERO,
        };
        Self {
            history,
            now: Duration::from_secs(1),
            version: 100,
            objects: BTreeMap::new(),
        }
    }

    /// A canary of 5 pods behind a router, with 1 canary pod ready, at the first of the steps
    /// 20, pause, 60, pause 30 s, analysis.
    fn canary() -> Self {
        let mut tape = Self::empty();
        tape.put("person", "rollouts", rollout());
        for (hash, wanted) in [(OLD, 5), (NEW, 1)] {
            tape.put(SERIN, "replicasets", replica_set(hash, 0));
            tape.size(KUBE, hash, wanted);
            tape.has(hash, wanted);
        }
        for (name, hash) in [("demo-stable", OLD), ("demo-canary", NEW)] {
            let spec = json!({"selector": {"app": "demo", "rollouts-pod-template-hash": hash}});
            tape.put(
                PERSON,
                "services",
                json!({"metadata": {"name": name, "namespace": "n"}, "spec": spec}),
            );
            tape.put("endpoints", "endpointslices", slice(name, &[&format!("demo-{hash}-x")]));
        }
        tape.put(PERSON, "httproutes", route(0));
        tape.later(60);
        tape
    }

    /// The same without a router: 4 stable pods, 1 of the canary.
    fn plain() -> Self {
        let mut tape = Self::canary();
        tape.merge(
            PERSON,
            "rollouts",
            "demo",
            json!({"spec": {"strategy": {"canary": {"trafficRouting": null}}}}),
        );
        tape.size(KUBE, OLD, 4);
        tape.has(OLD, 4);
        tape.later(60);
        tape
    }

    fn later(&mut self, seconds: u64) -> &mut Self {
        self.now += Duration::from_secs(seconds);
        self
    }

    fn stamp(&self, seconds: i64) -> String {
        let now = self.history.start + TimeDelta::from_std(self.now).unwrap() + TimeDelta::seconds(seconds);
        now.to_rfc3339_opts(SecondsFormat::Secs, true)
    }

    /// Creates or replaces an object; controllers send a guarded request for it.
    fn put(&mut self, user: &str, plural: &'static str, mut object: Value) -> &mut Self {
        self.version += 1;
        let name = object["metadata"]["name"].as_str().unwrap().to_owned();
        let old = self.objects.get(&(plural, name.clone())).cloned();
        self.ask(
            user,
            if old.is_some() { "PATCH" } else { "POST" },
            plural,
            &name,
            old.as_deref(),
        );
        self.now += Duration::from_millis(2);
        object["metadata"]["resourceVersion"] = json!(self.version.to_string());
        let new = Arc::new(object);
        self.objects.insert((plural, name.clone()), Arc::clone(&new));
        self.change(user, plural, name, old, Some(new));
        self
    }

    fn ask(&mut self, user: &str, method: &str, plural: &str, name: &str, old: Option<&Value>) {
        if !user.starts_with("serin-") {
            return;
        }
        let version = old.map_or(Value::Null, |o| o["metadata"]["resourceVersion"].clone());
        self.history.requests.push(Asked {
            at: self.now,
            user: user.into(),
            method: method.into(),
            path: format!("/apis/g/v1/namespaces/n/{plural}/{name}"),
            body: json!({"metadata": {"resourceVersion": version}}),
            code: 200,
        });
    }

    fn change(&mut self, user: &str, plural: &str, name: String, old: Option<Arc<Value>>, new: Option<Arc<Value>>) {
        self.history.changes.push(Change {
            at: self.now,
            version: self.version,
            user: user.into(),
            resource: Resource::new("g", plural),
            namespace: "n".into(),
            name,
            old,
            new,
        });
    }

    /// Merge-patches an object.
    fn merge(&mut self, user: &str, plural: &'static str, name: &str, patch: Value) -> &mut Self {
        let mut object = self.get(plural, name);
        apply(&mut object, &patch);
        self.put(user, plural, object)
    }

    /// Merge-patches the Rollout's status.
    fn status(&mut self, user: &str, patch: Value) -> &mut Self {
        self.merge(user, "rollouts", "demo", json!({ "status": patch }))
    }

    /// A spec is changed and its status speaks of the one before.
    fn spec(&mut self, patch: Value) -> &mut Self {
        let generation = self.get("rollouts", "demo")["metadata"]["generation"].as_i64().unwrap() + 1;
        let mut patch = json!({ "spec": patch });
        patch["metadata"] = json!({ "generation": generation });
        self.merge(PERSON, "rollouts", "demo", patch)
    }

    fn get(&self, plural: &'static str, name: &str) -> Value {
        let object = self.objects.get(&(plural, name.to_owned()));
        Value::clone(object.unwrap_or_else(|| panic!("{plural} {name}")))
    }

    fn delete(&mut self, user: &str, plural: &'static str, name: &str) -> &mut Self {
        self.version += 1;
        let old = self.objects.remove(&(plural, name.to_owned()));
        self.ask(user, "DELETE", plural, name, old.as_deref());
        self.now += Duration::from_millis(2);
        self.change(user, plural, name.to_owned(), old, None);
        self
    }

    /// Scales the ReplicaSet of a revision.
    fn size(&mut self, user: &str, hash: &str, to: i64) -> &mut Self {
        let patch = json!({"spec": {"replicas": to}});
        self.merge(user, "replicasets", &format!("demo-{hash}"), patch)
    }

    /// So many of its pods are available from now on.
    fn has(&mut self, hash: &str, available: i64) -> &mut Self {
        let status = json!({"replicas": available, "readyReplicas": available, "availableReplicas": available});
        self.merge(
            KUBE,
            "replicasets",
            &format!("demo-{hash}"),
            json!({ "status": status }),
        )
    }

    /// The canary's weight is written.
    fn weigh(&mut self, user: &str, weight: i64) -> &mut Self {
        self.put(user, "httproutes", route(weight))
    }

    /// A Service is switched.
    fn switch(&mut self, user: &str, service: &str, hash: &str) -> &mut Self {
        let selector = json!({"rollouts-pod-template-hash": hash});
        self.merge(user, "services", service, json!({"spec": {"selector": selector}}))
    }

    /// An AnalysisRun in this phase.
    fn run(&mut self, name: &str, phase: &str) -> &mut Self {
        let labels = json!({"rollout-type": "Step", "step-index": "4", "rollouts-pod-template-hash": NEW});
        let metadata = json!({"name": name, "namespace": "n", "labels": labels, "ownerReferences": [owner()]});
        self.put(
            SERIN,
            "analysisruns",
            json!({"metadata": metadata, "status": {"phase": phase}}),
        )
    }

    /// The rules that were broken, each once.
    fn broken(&mut self) -> Vec<Rule> {
        self.history.end = self.history.end.max(self.now + Duration::from_secs(1));
        if self.history.settled_from == Duration::ZERO {
            self.history.settled_from = self.history.end;
        }
        let mut rules: Vec<Rule> = check(&self.history).into_iter().map(|v| v.rule).collect();
        rules.sort_unstable();
        rules.dedup();
        rules
    }

    /// The same without the settling rules: what a write broke.
    fn broken_by_writes(&mut self) -> Vec<Rule> {
        let mut rules = self.broken();
        rules.retain(|r| ![Rule::S1, Rule::S2, Rule::S3, Rule::S4, Rule::S5].contains(r));
        rules
    }
}

/// The writes of `wrong` break exactly this rule; those of `right` break none.
#[track_caller]
fn caught(rule: Rule, start: fn() -> Tape, wrong: impl FnOnce(&mut Tape), right: impl FnOnce(&mut Tape)) {
    let mut tape = start();
    wrong(&mut tape);
    assert_eq!(tape.broken_by_writes(), [rule], "{:#?}", check(&tape.history));
    let mut tape = start();
    right(&mut tape);
    assert_eq!(tape.broken_by_writes(), [], "{:#?}", check(&tape.history));
}

fn apply(target: &mut Value, patch: &Value) {
    let Some(fields) = patch.as_object() else {
        *target = patch.clone();
        return;
    };
    if !target.is_object() {
        *target = json!({});
    }
    for (key, value) in fields {
        if value.is_null() {
            target.as_object_mut().unwrap().remove(key);
        } else {
            apply(&mut target[key], value);
        }
    }
}

fn owner() -> Value {
    json!({"kind": "Rollout", "name": "demo", "uid": "u", "controller": true})
}

fn rollout() -> Value {
    json!({
        "metadata": {"name": "demo", "namespace": "n", "uid": "u", "generation": 2},
        "spec": {
            "replicas": 5,
            "template": {"image": "v1"},
            "strategy": {"canary": {
                "maxSurge": 1, "maxUnavailable": 0,
                "canaryService": "demo-canary", "stableService": "demo-stable",
                "trafficRouting": {"plugins": {"argoproj-labs/gatewayAPI": {"httpRoute": "demo", "namespace": "n"}}},
                "steps": [{"setWeight": 20}, {"pause": {}}, {"setWeight": 60}, {"pause": {"duration": "30s"}}, {"analysis": {}}],
            }},
        },
        "status": {
            "observedGeneration": "2", "currentPodHash": NEW, "stableRS": OLD, "currentStepIndex": 0, "currentStepHash": "h",
            "phase": "Progressing",
        },
    })
}

fn replica_set(hash: &str, replicas: i64) -> Value {
    json!({
        "metadata": {
            "name": format!("demo-{hash}"), "namespace": "n", "ownerReferences": [owner()],
            "labels": {"rollouts-pod-template-hash": hash}, "creationTimestamp": "2026-01-01T00:00:00Z",
        },
        "spec": {"replicas": replicas, "template": {"metadata": {"labels": {"rollouts-pod-template-hash": hash}}, "image": hash}},
    })
}

fn route(weight: i64) -> Value {
    json!({
        "metadata": {"name": "demo", "namespace": "n", "labels": {"owner": "platform"}},
        "spec": {"rules": [{"backendRefs": [
            {"name": "demo-stable", "weight": 100 - weight}, {"name": "demo-canary", "weight": weight},
        ]}]},
    })
}

fn slice(service: &str, pods: &[&str]) -> Value {
    let endpoints: Vec<Value> = pods
        .iter()
        .map(|pod| json!({"targetRef": {"name": pod}, "conditions": {"ready": true}}))
        .collect();
    json!({
        "metadata": {"name": format!("{service}-s"), "namespace": "n", "labels": {"kubernetes.io/service-name": service}},
        "endpoints": endpoints,
    })
}

#[test]
fn a_canary_that_is_where_it_should_be_breaks_no_rule() {
    assert_eq!(Tape::canary().broken_by_writes(), []);
    assert_eq!(Tape::plain().broken_by_writes(), []);
}

#[test]
fn a_refused_plan_and_a_controller_that_ended_by_itself_are_violations() {
    let mut tape = Tape::canary();
    tape.history
        .ends
        .push((Duration::from_secs(3), SERIN.into(), "panicked".into()));
    tape.history.refusals.push(crate::history::Refused {
        at: Duration::from_secs(3),
        user: SERIN.into(),
        rollout: "n/demo".into(),
        why: "W1".into(),
    });
    assert_eq!(tape.broken_by_writes(), [Rule::Audit, Rule::Alive]);
}

#[test]
fn a_violation_reads_as_one_line() {
    let mut tape = Tape::canary();
    tape.weigh(SERIN, 60);
    tape.broken();
    let lines: Vec<String> = check(&tape.history).iter().map(ToString::to_string).collect();
    assert!(lines[0].starts_with("W1 at 61.0"), "{lines:?}");
    assert!(
        lines[0].contains("n/demo: serin-0-0 raised the canary's share from 0.00 to 0.60"),
        "{lines:?}"
    );
}
