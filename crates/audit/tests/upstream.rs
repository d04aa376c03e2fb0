//! What the real Argo Rollouts wrote in the recordings, put before the audit: every version of a ReplicaSet, Service, route or
//! status that came from it is a write, judged by the World just before it. What breaks a rule is listed with its reason.

#![allow(clippy::unwrap_used, reason = "a test that panics has failed")]

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
};

use chrono::{DateTime, SecondsFormat, TimeDelta, Utc};
use serde_json::{Value, json};
use serin_api::{HASH_LABEL, analysis::Phase, digest::TemplateDigest, rollout::Rollout, template::PodTemplate};
use serin_audit::{Rule, audit};
use serin_model::{
    AnalysisRunView, Plan, PlannedWrite, ReplicaSetView, RouteRef, RouteView, ServiceView, Weights, World, Write,
};
use serin_recordings::{Act, Scenario, known_differences, names, root};

/// What upstream does and the rules forbid, named in the list of differences too: recording, rule, part of the message, why.
const UPSTREAM: &[(&str, Rule, &str, &str)] = &[
    (
        "canary-down-weights",
        Rule::W4,
        "wants 2 pods instead of 1",
        "takes what a pass may reach for what the step asks for, while pods are drained",
    ),
    (
        "deadline",
        Rule::W4,
        "0 of 2 canary pods",
        "the same, while an older revision still has pods",
    ),
    (
        "new-revision-bad-to-bad",
        Rule::W4,
        "0 of 2 canary pods",
        "the same: an image that never becomes ready comes to the end of its steps",
    ),
    (
        "gateway-max-weight",
        Rule::W1,
        "they must add up to 1000",
        "its plugin writes weights out of 100 whatever maxTrafficWeight says",
    ),
    (
        "gateway-max-weight",
        Rule::W4,
        "not every route gives the canary the weight 5",
        "the same",
    ),
    (
        "gateway-abort",
        Rule::W4,
        "not every route gives the canary the weight 20",
        "no bug: the plugin's write was sent at 5445 ms, its watch told of it 231 ms later",
    ),
];

/// Watches of different kinds tell of the same moment in any order, these milliseconds apart.
const JITTER: i64 = 5;

type Objects = BTreeMap<(String, String), Value>;

fn moment(milliseconds: i64) -> DateTime<Utc> {
    DateTime::from_timestamp(1_700_000_000, 0).unwrap() + TimeDelta::milliseconds(milliseconds)
}

/// `@ms` becomes a time; conditions, which no rule looks at, go.
fn readable(value: &mut Value) {
    match value {
        Value::String(text) => {
            if let Some(at) = text.strip_prefix('@').and_then(|ms| ms.parse().ok()) {
                *text = moment(at).to_rfc3339_opts(SecondsFormat::Secs, true);
            }
        }
        Value::Array(items) => items.iter_mut().for_each(readable),
        Value::Object(map) => {
            map.remove("conditions");
            map.values_mut().for_each(readable);
        }
        _ => {}
    }
}

fn merge(target: &mut Value, patch: &Value) {
    let Value::Object(patch) = patch else {
        *target = patch.clone();
        return;
    };
    if !target.is_object() {
        *target = json!({});
    }
    for (key, change) in patch {
        if change.is_null() {
            target.as_object_mut().unwrap().remove(key);
        } else {
            merge(&mut target[key], change);
        }
    }
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

fn strings(value: &Value) -> BTreeMap<String, String> {
    let pairs = value.as_object().into_iter().flatten();
    pairs.map(|(k, v)| (k.clone(), text(v))).collect()
}

fn count(value: &Value) -> i32 {
    i32::try_from(value.as_i64().unwrap_or(0)).unwrap()
}

fn of_kind<'a>(objects: &'a Objects, kind: &'a str) -> impl Iterator<Item = (&'a String, &'a Value)> {
    let all = objects.iter().filter(move |((k, _), _)| k == kind);
    all.map(|((_, name), object)| (name, object))
}

/// Pairs (canary, stable) of a route.
fn pairs(route: &Value, canary: &str, stable: &str) -> Vec<(i32, i32)> {
    let rules = route["spec"]["rules"].as_array().into_iter().flatten();
    let weight = |rule: &Value, name: &str| {
        let refs = rule["backendRefs"].as_array().into_iter().flatten();
        let mut ours = refs.filter(|r| r["name"] == name);
        ours.next()
            .map(|r| i32::try_from(r["weight"].as_i64().unwrap_or(1)).unwrap())
    };
    rules
        .filter_map(|rule| Some((weight(rule, canary)?, weight(rule, stable)?)))
        .collect()
}

fn services_of(rollout: &Rollout) -> [String; 2] {
    let canary = rollout.spec.strategy.canary.clone().unwrap_or_default();
    [
        canary.canary_service.unwrap_or_default(),
        canary.stable_service.unwrap_or_default(),
    ]
}

fn route_ref(name: &str) -> RouteRef {
    RouteRef {
        kind: "HTTPRoute".into(),
        namespace: "n".into(),
        name: name.into(),
    }
}

fn world(objects: &Objects) -> Option<World> {
    let (_, rollout) = of_kind(objects, "Rollout").next()?;
    let mut rollout = rollout.clone();
    rollout["apiVersion"] = json!("argoproj.io/v1alpha1");
    rollout["kind"] = json!("Rollout");
    rollout["metadata"]["resourceVersion"] = json!("v");
    let rollout: Rollout = serde_json::from_value(rollout).expect("a Rollout");
    rollout.spec.strategy.canary.as_ref()?;
    let owner = rollout.metadata.uid.clone();
    let replica_sets = of_kind(objects, "ReplicaSet").map(|(name, o)| ReplicaSetView {
        name: name.clone(),
        uid: text(&o["metadata"]["uid"]),
        resource_version: "v".into(),
        generation: 1,
        created: o["metadata"]["creationTimestamp"].as_str().unwrap().parse().unwrap(),
        deleting: false,
        labels: strings(&o["metadata"]["labels"]),
        annotations: strings(&o["metadata"]["annotations"]),
        owner: owner.clone(),
        replicas: count(&o["spec"]["replicas"]),
        min_ready_seconds: 0,
        observed_generation: 1,
        current: count(&o["status"]["replicas"]),
        ready: count(&o["status"]["readyReplicas"]),
        available: count(&o["status"]["availableReplicas"]),
        failure: None,
        // Templates are not recorded with ReplicaSets: they are told by their hashes.
        digest: TemplateDigest::of(&PodTemplate(json!({"metadata": {"labels": {"name": name}}})), None),
    });
    let services = of_kind(objects, "Service").map(|(name, o)| {
        let view = ServiceView {
            name: name.clone(),
            resource_version: "v".into(),
            selector: strings(&o["spec"]["selector"]),
            annotations: BTreeMap::new(),
        };
        (name.clone(), view)
    });
    let runs = of_kind(objects, "AnalysisRun").map(|(name, o)| AnalysisRunView {
        name: name.clone(),
        uid: text(&o["metadata"]["uid"]),
        resource_version: "v".into(),
        created: o["metadata"]["creationTimestamp"].as_str().unwrap().parse().unwrap(),
        deleting: false,
        labels: strings(&o["metadata"]["labels"]),
        annotations: BTreeMap::new(),
        terminate: false,
        phase: Phase::parse(o["status"]["phase"].as_str().unwrap_or("")),
        message: String::new(),
        spec_digest: 0,
    });
    let [canary, stable] = services_of(&rollout);
    let routes = of_kind(objects, "HTTPRoute").map(|(name, o)| {
        let view = RouteView {
            resource_version: "v".into(),
            weights: pairs(o, &canary, &stable),
        };
        (route_ref(name), Ok(view))
    });
    Some(World {
        replica_sets: replica_sets.collect(),
        services: services.collect(),
        analysis_runs: runs.collect(),
        routes: routes.collect(),
        ..World::of(rollout)
    })
}

/// The write that takes an object from one version to the next; [`None`] for what the controller does not write.
fn write(world: &World, kind: &str, name: &str, old: Option<&Value>, new: Option<&Value>) -> Option<Write> {
    let changed = |path: &str| old.and_then(|o| o.pointer(path)) != new.and_then(|n| n.pointer(path));
    let resource_version = "v".to_owned();
    let name_of = name.to_owned();
    match (kind, old, new) {
        ("ReplicaSet", None, Some(object)) => Some(Write::CreateReplicaSet {
            name: name_of,
            object: object.clone(),
        }),
        ("ReplicaSet", Some(old), None) => Some(Write::DeleteReplicaSet {
            name: name_of,
            uid: text(&old["metadata"]["uid"]),
            resource_version,
        }),
        ("ReplicaSet", Some(old), Some(new)) if changed("/spec/replicas") || changed("/metadata/annotations") => {
            let mut patch = json!({"metadata": {"annotations": new["metadata"]["annotations"]}});
            for key in strings(&old["metadata"]["annotations"]).keys() {
                if new["metadata"]["annotations"].get(key).is_none() {
                    patch["metadata"]["annotations"][key] = Value::Null;
                }
            }
            if changed("/spec/replicas") {
                patch["spec"] = json!({"replicas": new["spec"]["replicas"]});
            }
            Some(Write::PatchReplicaSet {
                name: name_of,
                resource_version,
                patch,
            })
        }
        ("Service", Some(_), Some(new)) if changed("/spec/selector") => Some(Write::PatchService {
            name: name_of,
            resource_version,
            patch: json!({"spec": {"selector": {HASH_LABEL: new["spec"]["selector"][HASH_LABEL]}}}),
        }),
        ("HTTPRoute", Some(_), Some(new)) => {
            let [canary_service, stable_service] = services_of(&world.rollout);
            let (canary, stable) = *pairs(new, &canary_service, &stable_service).first()?;
            let at = route_ref(name);
            let known = world.routes.get(&at)?.as_ref().ok()?;
            (known.weights != [(canary, stable)]).then_some(Write::SetRouteWeights {
                route: at,
                resource_version,
                weights: Weights {
                    canary_service,
                    stable_service,
                    canary,
                    stable,
                },
            })
        }
        ("Rollout", Some(old), Some(new)) if changed("/status") => {
            let mut status = new["status"].clone();
            for key in old["status"].as_object().into_iter().flatten().map(|(k, _)| k) {
                if new["status"].get(key).is_none() {
                    status[key] = Value::Null;
                }
            }
            Some(Write::PatchRolloutStatus {
                resource_version,
                patch: json!({"status": status}),
            })
        }
        _ => None,
    }
}

/// Whether a person's act of about that time made this change.
fn is_a_persons(scenario: &Scenario, at: i64, kind: &str, name: &str, delta: Option<&Value>) -> bool {
    // A watch tells of a change some milliseconds before or after the script noted it.
    let near = scenario
        .script
        .iter()
        .filter(|line| (line.at - 50..=line.at + 300).contains(&at));
    near.into_iter().any(|line| match &line.act {
        Act::Patch {
            kind: k,
            name: n,
            body,
            is_json_patch,
            ..
        } => {
            let is_it = k == kind && n == name;
            let touches = |part: &str| delta.is_some_and(|d| d.get(part).is_some());
            // A status patch is the person's when it changes nothing but what the person wrote.
            let only_theirs = || {
                let keys = delta.and_then(|d| d["status"].as_object()).into_iter().flatten();
                keys.into_iter().all(|(key, _)| body["status"].get(key).is_some())
            };
            is_it && (touches("spec") || (!is_json_patch && body.get("status").is_some() && only_theirs()))
        }
        Act::Delete { kind: k, name: n } => k == kind && n == name && delta.is_none(),
        _ => false,
    })
}

/// The next version of an object, if it still exists, and what the line says of it.
fn next(old: Option<&Value>, line: &Value) -> (Option<Value>, Value) {
    let mut part = line
        .get("delta")
        .or_else(|| line.get("object"))
        .cloned()
        .unwrap_or_default();
    readable(&mut part);
    let new = if line["type"] == "DELETED" || part.is_null() {
        None
    } else if line.get("delta").is_some() {
        let mut object = old.cloned().unwrap_or_default();
        merge(&mut object, &part);
        Some(object)
    } else {
        Some(part.clone())
    };
    (new, part)
}

/// The objects with what watches of other kinds told up to a moment.
fn others_until(objects: &Objects, lines: &[Value], until: i64, kind: &str) -> Objects {
    let mut later = objects.clone();
    let near = lines
        .iter()
        .take_while(|line| line["t"].as_i64().is_none_or(|t| t <= until))
        .filter(|line| line["kind"].as_str().is_some_and(|k| k != kind));
    for line in near {
        let key = (text(&line["kind"]), text(&line["name"]));
        match next(later.get(&key), line).0 {
            Some(object) => later.insert(key, object),
            None => later.remove(&key),
        };
    }
    later
}

/// Findings in upstream's own writes, and how many of these there were.
fn findings(scenario: &Scenario) -> (Vec<(Rule, String)>, usize) {
    let path = root().join("controller").join(&scenario.name).join("timeline.jsonl");
    let timeline = fs::read_to_string(path).unwrap();
    let mut objects = Objects::new();
    let (mut out, mut writes) = (Vec::new(), 0);
    let lines: Vec<Value> = timeline
        .lines()
        .filter(|l| !l.is_empty())
        .map(|l| serde_json::from_str(l).unwrap())
        .collect();
    for (index, line) in lines.iter().enumerate() {
        let (Some(kind), Some(name), Some(at)) = (line["kind"].as_str(), line["name"].as_str(), line["t"].as_i64())
        else {
            continue;
        };
        let key = (kind.to_owned(), name.to_owned());
        let old = objects.get(&key).cloned();
        let (new, part) = next(old.as_ref(), line);
        let delta = line.get("delta").map(|_| &part);
        let ours = !is_a_persons(scenario, at, kind, name, delta);
        if let (true, Some(world)) = (ours, world(&objects)) {
            let write = write(&world, kind, name, old.as_ref(), new.as_ref());
            writes += usize::from(write.is_some());
            let plan = Plan {
                writes: write
                    .into_iter()
                    .map(|write| PlannedWrite {
                        write,
                        events: Vec::new(),
                    })
                    .collect(),
                ..Plan::default()
            };
            let mut found = audit(&world, &plan, moment(at));
            if !found.is_empty() {
                let later = others_until(&objects, &lines[index + 1..], at + JITTER, kind);
                let still = self::world(&later)
                    .map(|world| audit(&world, &plan, moment(at)))
                    .unwrap_or_default();
                found.retain(|f| still.iter().any(|s| s.rule == f.rule));
            }
            out.extend(
                found
                    .into_iter()
                    .map(|f| (f.rule, format!("at {at} ms: {}", f.message))),
            );
        }
        match new {
            Some(object) => objects.insert(key, object),
            None => objects.remove(&key),
        };
    }
    (out, writes)
}

#[test]
fn what_upstream_wrote_passes_but_for_what_is_listed() {
    let only = std::env::var("RECORDING").ok();
    let (mut failures, mut total, mut passed) = (Vec::new(), 0, 0);
    let mut seen = BTreeSet::new();
    for name in names().unwrap() {
        if only.as_ref().is_some_and(|only| *only != name) {
            continue;
        }
        let scenario = Scenario::load(&name).unwrap();
        let (found, writes) = findings(&scenario);
        total += writes;
        passed += writes.saturating_sub(found.len());
        for (rule, message) in found {
            let listed = UPSTREAM
                .iter()
                .position(|(of, r, part, _)| *of == name && *r == rule && message.contains(part));
            match listed {
                Some(index) => {
                    seen.insert(index);
                }
                None => failures.push(format!("{name}: {rule} {message}")),
            }
        }
    }
    println!("{total} writes of upstream, {passed} pass");
    for (index, (name, rule, part, _)) in UPSTREAM.iter().enumerate() {
        if only.is_none() && !seen.contains(&index) {
            failures.push(format!("{name}: {rule} {part:?} is listed and gone"));
        }
    }
    let known = known_differences().unwrap();
    for (name, ..) in UPSTREAM {
        assert!(
            known.iter().any(|k| k.recording == *name),
            "{name} is not in the list of differences"
        );
    }
    assert!(total > 1000, "the recordings have more writes than {total}");
    assert!(
        failures.is_empty(),
        "{} findings:\n{}",
        failures.len(),
        failures.join("\n")
    );
}
