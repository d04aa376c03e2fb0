//! W9.

use serde_json::{Value, json};
use serin_api::analysis::Phase;
use serin_audit::{Rule, Rule::W9, audit};
use serin_model::{Plan, Write};

use crate::scene::{Scene, delete, new, route, scale, status, switch, weight};

/// One write of each kind that carries a version, each legal.
fn versioned() -> Vec<Write> {
    vec![
        scale("demo-old", 10),
        delete("demo-third"),
        switch("demo-canary", &new()),
        weight(20),
        Write::PatchAnalysisRun {
            name: "run".into(),
            resource_version: "v-run".into(),
            patch: json!({"spec": {"terminate": true}}),
        },
        Write::DeleteAnalysisRun {
            name: "run".into(),
            uid: "uid-run".into(),
            resource_version: "v-run".into(),
        },
        Write::PatchRollout {
            resource_version: "v-demo".into(),
            patch: json!({"metadata": {"annotations": {"a": "b"}}}),
        },
        status(json!({"message": "m"})),
    ]
}

fn with_version(mut write: Write, version: &str) -> Write {
    match &mut write {
        Write::PatchReplicaSet { resource_version, .. }
        | Write::DeleteReplicaSet { resource_version, .. }
        | Write::PatchService { resource_version, .. }
        | Write::SetRouteWeights { resource_version, .. }
        | Write::PatchAnalysisRun { resource_version, .. }
        | Write::DeleteAnalysisRun { resource_version, .. }
        | Write::PatchRollout { resource_version, .. }
        | Write::PatchRolloutStatus { resource_version, .. } => *resource_version = version.into(),
        Write::CreateReplicaSet { .. } | Write::CreateAnalysisRun { .. } => panic!("has no version"),
    }
    write
}

fn scene() -> Scene {
    Scene::routed()
        .third(0, 500)
        .run("run", "Step", Some(3), Phase::Running)
}

#[test]
fn every_write_carries_the_version_that_the_plan_saw() {
    for write in versioned() {
        scene().accepts(vec![write.clone()]);
        scene().refuses(W9, "has no resourceVersion", vec![with_version(write.clone(), "")]);
        scene().refuses(W9, "but the plan saw", vec![with_version(write, "v-older")]);
    }
}

#[test]
fn a_second_write_of_an_object_carries_the_same_version() {
    // The answer to the first takes its place when it is carried out.
    scene().accepts(vec![scale("demo-old", 10), scale("demo-old", 10)]);
}

#[test]
fn a_deletion_names_the_very_object() {
    for (write, uid) in [(1, "uid-other"), (5, "")] {
        let mut write = versioned().remove(write);
        match &mut write {
            Write::DeleteReplicaSet { uid: carried, .. } | Write::DeleteAnalysisRun { uid: carried, .. } => {
                *carried = uid.into();
            }
            _ => panic!("no deletion"),
        }
        scene().refuses(W9, "carries uid", vec![write]);
    }
}

#[test]
fn what_is_not_in_the_world_is_not_written() {
    let nothing = Scene::routed();
    for write in [scale("demo-other", 1), delete("demo-third"), switch("other", "x")]
        .into_iter()
        .chain(versioned().drain(4..6))
    {
        nothing.refuses(W9, "is not in the World", vec![write]);
    }
    let mut without = Scene::routed();
    without.world.routes.clear();
    let rules: Vec<Rule> = without.findings(vec![weight(0)]).iter().map(|f| f.rule).collect();
    assert_eq!(rules, [W9]);
    without
        .world
        .routes
        .insert(route(), Err("it names neither Service".into()));
    without.refuses(W9, "it names neither Service", vec![weight(0)]);
}

fn made(name: &str, metadata: Value) -> Write {
    let mut object =
        json!({"metadata": {"name": name, "labels": {"rollouts-pod-template-hash": "abc"}}, "spec": {"replicas": 0}});
    for (key, value) in metadata.as_object().into_iter().flatten() {
        object["metadata"][key] = value.clone();
    }
    Write::CreateReplicaSet {
        name: name.into(),
        object,
    }
}

#[test]
fn what_is_made_has_a_name_that_a_second_try_finds_taken() {
    scene().accepts(vec![made("demo-abc", json!({}))]);
    scene().refuses(W9, "name it demo-abc", vec![made("demo-xyz", json!({}))]);
    scene().refuses(
        W9,
        "no generateName",
        vec![made("demo-abc", json!({"generateName": "demo-"}))],
    );
    scene().refuses(
        W9,
        "must carry this name",
        vec![made("demo-abc", json!({"name": "other"}))],
    );
    let run = |name: &str| {
        let Write::CreateReplicaSet { object, name } = made(name, json!({})) else {
            panic!("a creation")
        };
        Write::CreateAnalysisRun { name, object }
    };
    scene().accepts(vec![run("demo-abc-2-3")]);
    scene().accepts(vec![run("demo-abc-2-3.1")]);
    scene().refuses(W9, "name it demo-abc-", vec![run("demo-xyz-2")]);
}

#[test]
fn what_belongs_to_others_is_left_alone() {
    let mut scene = scene();
    scene.world.replica_sets[2].owner = Some("another".into());
    scene.refuses(W9, "belongs to the owner another", vec![delete("demo-third")]);
    // An orphan may be adopted (compat 2.1.5).
    scene.world.replica_sets[2].owner = None;
    scene.accepts(vec![delete("demo-third")]);
    let service = scene.world.services.get_mut("demo-canary").unwrap();
    service
        .annotations
        .insert("argo-rollouts.argoproj.io/managed-by-rollouts".into(), "shop".into());
    scene.refuses(W9, "belongs to the Rollout shop", vec![switch("demo-canary", &new())]);
}

#[test]
fn a_status_that_could_not_be_read_again_is_not_written() {
    scene().refuses(
        W9,
        "could not be read",
        vec![status(json!({"currentStepIndex": "one"}))],
    );
}

#[test]
fn a_plan_without_writes_breaks_nothing() {
    let scene = scene();
    assert!(audit(&scene.world, &Plan::default(), scene.now).is_empty());
}

#[test]
fn a_finding_names_rule_and_write() {
    let scene = scene();
    let findings = scene.findings(vec![scale("demo-old", 10), weight(21)]);
    let text = findings.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ");
    assert_eq!(
        text,
        "W1: HTTPRoute n/demo would get the canary weight 21, step 0 (setWeight: 20) allows 20 (compat 2.15); \
         let the step before end first (write 1)"
    );
    let names: Vec<&str> = Rule::ALL.iter().map(|r| r.as_str()).collect();
    assert_eq!(names.join(" "), "W1 W2 W3 W4 W5 W6 W7 W8 W9");
}
