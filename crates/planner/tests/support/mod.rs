//! Worlds made by hand, and a ground that carries plans out at once.

#![allow(
    dead_code,
    unreachable_pub,
    clippy::unwrap_used,
    reason = "each test binary uses its own part, and a test that panics has failed"
)]

use std::collections::BTreeMap;

use chrono::{DateTime, TimeDelta, Utc};
use serde_json::{Value, json};
use serin_api::{
    HASH_LABEL, MANAGED_BY_ANNOTATION, STEP_INDEX_LABEL, analysis::Phase, digest::TemplateDigest, hash,
    rollout::Rollout,
};
use serin_model::{
    AnalysisRunView, Endpoints, EventKind, Plan, ReplicaSetView, RouteRef, RouteView, ServiceView, TemplateView, World,
    Write,
};

/// The hash of the version that is stable.
pub const OLD: &str = "oldoldold";

/// When it is, in these tests.
pub fn now() -> DateTime<Utc> {
    "2026-01-01T00:10:00Z".parse().unwrap()
}

/// A Rollout without a router whose second version was just created: stable has all pods, the new one none. `canary` is
/// merged into the strategy.
pub fn updating(replicas: i32, canary: &Value) -> World {
    let mut object = json!({
        "apiVersion": "argoproj.io/v1alpha1",
        "kind": "Rollout",
        "metadata": {
            "name": "demo", "namespace": "shop", "uid": "u", "generation": 2, "resourceVersion": "100",
            "annotations": { "rollout.argoproj.io/revision": "2" },
        },
        "spec": {
            "replicas": replicas,
            "selector": { "matchLabels": { "app": "demo" } },
            "template": {
                "metadata": { "labels": { "app": "demo" } },
                "spec": { "containers": [{ "name": "app", "image": "demo:v2", "resources": {} }] },
            },
            "strategy": { "canary": {} },
        },
    });
    json_patch::merge(&mut object["spec"]["strategy"]["canary"], canary);
    let mut rollout: Rollout = serde_json::from_value(object).unwrap();
    let new = hash::pod_template_hash(&rollout.spec.template, None);
    let steps = hash::steps_hash(rollout.spec.strategy.canary.as_ref().unwrap().steps.as_deref());
    rollout.status = Some(
        serde_json::from_value(json!({
            "observedGeneration": "2", "phase": "Progressing", "currentPodHash": new, "currentStepHash": steps,
            "currentStepIndex": 0, "stableRS": OLD,
        }))
        .unwrap(),
    );
    let mut world = World::of(rollout);
    add_replica_set(&mut world, OLD, 1, replicas);
    add_replica_set(&mut world, &new, 2, 0);
    world
}

/// The same behind a router, with the canary at `weight` in the route and in the status. There are no EndpointSlices to be
/// read: available pods stand for endpoints.
pub fn routed(replicas: i32, weight: i32, canary: &Value) -> World {
    let mut strategy = json!({
        "canaryService": "demo-canary",
        "stableService": "demo-stable",
        "trafficRouting": { "plugins": { "argoproj-labs/gatewayAPI": { "httpRoute": "demo" } } },
    });
    json_patch::merge(&mut strategy, canary);
    let mut world = updating(replicas, &strategy);
    let new = new_hash(&world);
    for (name, hash) in [("demo-stable", OLD), ("demo-canary", &new)] {
        let service = ServiceView {
            name: name.to_owned(),
            resource_version: "8".to_owned(),
            selector: BTreeMap::from([(HASH_LABEL.to_owned(), hash.to_owned())]),
            annotations: BTreeMap::from([(MANAGED_BY_ANNOTATION.to_owned(), "demo".to_owned())]),
        };
        world.services.insert(name.to_owned(), service);
    }
    let route = RouteRef {
        kind: "HTTPRoute".to_owned(),
        namespace: "shop".to_owned(),
        name: "demo".to_owned(),
    };
    let view = RouteView {
        resource_version: "9".to_owned(),
        weights: vec![(weight, 100 - weight)],
    };
    world.routes.insert(route, Ok(view));
    status(
        &mut world,
        &json!({ "canary": { "weights": {
            "canary": { "weight": weight, "serviceName": "demo-canary", "podTemplateHash": new },
            "stable": { "weight": 100 - weight, "serviceName": "demo-stable", "podTemplateHash": OLD },
        } } }),
    );
    world
}

/// The weight that the plan writes into the route.
pub fn weight(plan: &Plan) -> Option<i32> {
    plan.writes.iter().find_map(|w| match &w.write {
        Write::SetRouteWeights { weights, .. } => Some(weights.canary),
        _ => None,
    })
}

/// A ReplicaSet of the Rollout, all of its pods available.
pub fn add_replica_set(world: &mut World, hash: &str, revision: i64, replicas: i32) {
    let spec = &world.rollout.spec;
    let template = &spec.template;
    let is_new = hash::pod_template_hash(template, None) == hash;
    let digest = if is_new {
        TemplateDigest::of(template, None)
    } else {
        TemplateDigest::of(&template.with_label("version", hash), None)
    };
    world.replica_sets.push(ReplicaSetView {
        name: format!("demo-{hash}"),
        uid: format!("rs-{hash}"),
        resource_version: "7".to_owned(),
        generation: 1,
        created: now() - TimeDelta::minutes(10 - revision),
        deleting: false,
        labels: BTreeMap::from([(HASH_LABEL.to_owned(), hash.to_owned())]),
        annotations: BTreeMap::from([
            ("rollout.argoproj.io/revision".to_owned(), revision.to_string()),
            (
                "rollout.argoproj.io/desired-replicas".to_owned(),
                spec.replicas.unwrap().to_string(),
            ),
        ]),
        owner: Some("u".to_owned()),
        replicas,
        min_ready_seconds: 0,
        observed_generation: 1,
        current: replicas,
        ready: replicas,
        available: replicas,
        failure: None,
        digest,
    });
}

/// The ReplicaSet of that hash.
pub fn replica_set<'w>(world: &'w mut World, hash: &str) -> &'w mut ReplicaSetView {
    world.replica_sets.iter_mut().find(|rs| rs.hash() == hash).unwrap()
}

/// Gives the ReplicaSet of that hash so many pods, of which some are available.
pub fn pods(world: &mut World, hash: &str, replicas: i32, available: i32) {
    let rs = replica_set(world, hash);
    (rs.replicas, rs.current, rs.ready, rs.available) = (replicas, replicas, available, available);
}

/// The hash of the newest version.
pub fn new_hash(world: &World) -> String {
    hash::pod_template_hash(&world.rollout.spec.template, None)
}

/// Merges a patch into the status.
pub fn status(world: &mut World, patch: &Value) {
    let mut value = serde_json::to_value(&world.rollout.status).unwrap();
    json_patch::merge(&mut value, patch);
    world.rollout.status = serde_json::from_value(value).unwrap();
}

/// What the plan writes into the status; null when nothing.
pub fn new_status(plan: &Plan) -> Value {
    let status = plan.writes.iter().find_map(|w| match &w.write {
        Write::PatchRolloutStatus { patch, .. } => Some(patch["status"].clone()),
        _ => None,
    });
    status.unwrap_or_default()
}

/// The sizes that the plan writes, by ReplicaSet.
pub fn sizes(plan: &Plan) -> BTreeMap<String, i64> {
    let written = plan.writes.iter().filter_map(|w| match &w.write {
        Write::PatchReplicaSet { name, patch, .. } => Some((name.clone(), patch["spec"]["replicas"].as_i64()?)),
        _ => None,
    });
    written.collect()
}

/// The texts of Normal events of one reason.
pub fn said(plan: &Plan, reason: &str) -> Vec<String> {
    let events = plan.writes.iter().flat_map(|w| &w.events);
    events
        .filter(|event| event.reason == reason && event.kind == EventKind::Normal)
        .map(|event| event.message.clone())
        .collect()
}

/// Carries out what a plan does to ReplicaSets and to the status. Pods that go are gone at once; those that come are not
/// available yet. True when there was anything to do.
pub fn carry_out(world: &mut World, plan: &Plan) -> bool {
    for planned in &plan.writes {
        match &planned.write {
            Write::PatchReplicaSet { name, patch, .. } => {
                let rs = world.replica_sets.iter_mut().find(|rs| rs.name == *name).unwrap();
                if let Some(replicas) = patch["spec"]["replicas"].as_i64() {
                    rs.replicas = i32::try_from(replicas).unwrap();
                    rs.current = rs.replicas;
                    rs.ready = rs.ready.min(rs.replicas);
                    rs.available = rs.available.min(rs.replicas);
                }
                for (key, value) in patch["metadata"]["annotations"].as_object().into_iter().flatten() {
                    match value.as_str() {
                        Some(text) => rs.annotations.insert(key.clone(), text.to_owned()),
                        None => rs.annotations.remove(key),
                    };
                }
            }
            Write::PatchRolloutStatus { patch, .. } => status(world, &patch["status"]),
            other => panic!("not expected: {other:?}"),
        }
    }
    !plan.is_empty()
}

/// One more pod of each ReplicaSet that misses some becomes available. True when there was one.
pub fn one_more_pod(world: &mut World) -> bool {
    let mut any = false;
    for rs in world.replica_sets.iter_mut().filter(|rs| rs.available < rs.replicas) {
        rs.available += 1;
        rs.ready = rs.ready.max(rs.available);
        any = true;
    }
    any
}

/// A canary with steps 20, pause, 60; stable 4 of 4, canary 1 of 1; waiting at the pause with 20 % of the traffic.
pub fn canary() -> World {
    let steps = json!([{ "setWeight": 20 }, { "pause": {} }, { "setWeight": 60 }]);
    let mut world = routed(4, 20, &json!({ "steps": steps }));
    let new = new_hash(&world);
    pods(&mut world, &new, 1, 1);
    let ready = |hash: &str, n: usize| Endpoints {
        ready_pods: (0..n).map(|i| format!("demo-{hash}-{i}")).collect(),
    };
    world.endpoints = Some(BTreeMap::from([
        ("demo-stable".to_owned(), ready(OLD, 4)),
        ("demo-canary".to_owned(), ready(&new, 1)),
    ]));
    status(
        &mut world,
        &json!({
            "phase": "Paused", "currentStepIndex": 1, "controllerPause": true,
            "pauseConditions": [{ "reason": "CanaryPauseStep", "startTime": "2026-01-01T00:09:00Z" }],
        }),
    );
    world
}

/// Lets the World know the template `watch`.
pub fn know_template(world: &mut World) {
    let metric = json!({ "name": "m", "interval": "1s", "count": 3, "provider": { "prometheus": { "query": "up" } } });
    world.templates.insert(
        serde_json::from_value(json!({ "templateName": "watch" })).unwrap(),
        TemplateView {
            spec: serde_json::from_value(json!({ "metrics": [metric] })).unwrap(),
            annotations: BTreeMap::new(),
        },
    );
}

/// A run without content, of a step or of the background.
pub fn run(name: &str, step: Option<usize>, phase: Phase) -> AnalysisRunView {
    AnalysisRunView {
        name: name.to_owned(),
        uid: name.to_owned(),
        resource_version: "3".to_owned(),
        created: now(),
        deleting: false,
        labels: step
            .map(|index| BTreeMap::from([(STEP_INDEX_LABEL.to_owned(), index.to_string())]))
            .unwrap_or_default(),
        annotations: BTreeMap::new(),
        terminate: false,
        phase,
        message: String::new(),
        spec_digest: 0,
    }
}
