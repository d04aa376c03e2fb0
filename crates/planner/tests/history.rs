//! What is forgotten, and how revisions are counted (compat 2.1.6, 2.1.7, 2.17).

#![allow(clippy::unwrap_used, reason = "a test that panics has failed")]

mod support;

use std::collections::BTreeMap;

use chrono::TimeDelta;
use serde_json::{Value, json};
use serin_api::{HASH_LABEL, analysis::Phase};
use serin_model::{AnalysisRunView, Plan, World, Write};
use serin_planner::plan;

use support::{OLD, add_replica_set, new_hash, now, replica_set, status, updating};

/// A run of the revision with that hash, so many minutes old.
fn run(world: &mut World, name: &str, hash: &str, phase: Phase, age: i64) {
    world.analysis_runs.push(AnalysisRunView {
        name: name.to_owned(),
        uid: format!("run-{name}"),
        resource_version: "3".to_owned(),
        created: now() - TimeDelta::minutes(age),
        deleting: false,
        labels: BTreeMap::from([(HASH_LABEL.to_owned(), hash.to_owned())]),
        annotations: BTreeMap::new(),
        terminate: false,
        phase,
        message: String::new(),
        spec_digest: 0,
    });
}

fn deleted(plan: &Plan) -> Vec<String> {
    let deletions = plan.writes.iter().filter_map(|w| match &w.write {
        Write::DeleteAnalysisRun { name, .. } | Write::DeleteReplicaSet { name, .. } => Some(name.clone()),
        _ => None,
    });
    deletions.collect()
}

/// The patch of a ReplicaSet; null when there is none.
fn patch_of(plan: &Plan, hash: &str) -> Value {
    let wanted = format!("demo-{hash}");
    let patch = plan.writes.iter().find_map(|w| match &w.write {
        Write::PatchReplicaSet { name, patch, .. } if *name == wanted => Some(patch.clone()),
        _ => None,
    });
    patch.unwrap_or_default()
}

#[test]
fn finished_runs_beyond_the_limits_are_deleted_successful_and_other_ones_counted_apart() {
    let mut world = updating(2, &json!({ "steps": [{ "pause": {} }] }));
    world.rollout.spec.analysis = Some(
        serde_json::from_value(json!({ "successfulRunHistoryLimit": 2, "unsuccessfulRunHistoryLimit": 1 })).unwrap(),
    );
    let new = new_hash(&world);
    for (name, phase, age) in [
        ("good-1", Phase::Successful, 1),
        ("good-2", Phase::Successful, 2),
        ("good-3", Phase::Successful, 3),
        ("good-4", Phase::Successful, 4),
        ("bad-1", Phase::Failed, 1),
        ("bad-2", Phase::Inconclusive, 2),
        ("bad-3", Phase::Error, 3),
        ("running", Phase::Running, 9),
        ("followed", Phase::Successful, 9),
        ("going", Phase::Failed, 9),
    ] {
        run(&mut world, name, &new, phase, age);
    }
    world.analysis_runs.last_mut().unwrap().deleting = true;
    world.analysis_runs[7].terminate = true;
    run(&mut world, "orphan", "nobody", Phase::Successful, 0);
    status(
        &mut world,
        &json!({ "canary": { "currentStepAnalysisRunStatus": { "name": "followed", "status": "Successful" } } }),
    );
    // The orphan is the newest: it takes a place among the successful ones, and goes for another reason.
    assert_eq!(
        deleted(&plan(&world, now())),
        ["orphan", "good-2", "bad-2", "good-3", "bad-3", "good-4"]
    );
}

#[test]
fn an_old_revision_beyond_the_limit_is_deleted_with_its_runs_when_nothing_of_it_runs_and_all_of_it_was_observed() {
    let mut world = updating(2, &json!({ "steps": [{ "pause": {} }] }));
    world.rollout.spec.revision_history_limit = Some(1);
    let past = ["past-a", "past-b", "past-c", "past-d", "past-e", "past-f"];
    for (revision, hash) in (-6..).zip(past) {
        add_replica_set(&mut world, hash, revision, 0);
    }
    run(&mut world, "of-a", "past-a", Phase::Running, 1);
    run(&mut world, "of-a-going", "past-a", Phase::Successful, 1);
    world.analysis_runs[1].deleting = true;
    replica_set(&mut world, "past-b").replicas = 1;
    replica_set(&mut world, "past-c").current = 1;
    replica_set(&mut world, "past-d").observed_generation = 0;
    // Six, of which one is going already: five are counted, four are too many, and only the first of these may go.
    replica_set(&mut world, "past-f").deleting = true;
    assert_eq!(deleted(&plan(&world, now())), ["of-a", "demo-past-a"]);

    world.rollout.spec.revision_history_limit = Some(10);
    assert!(deleted(&plan(&world, now())).is_empty());
}

#[test]
fn a_revision_that_comes_back_gets_a_number_above_all_others_and_remembers_those_that_it_had() {
    let mut world = updating(2, &json!({ "steps": [{ "pause": {} }] }));
    let new = new_hash(&world);
    let revision = "rollout.argoproj.io/revision";
    let history = "rollout.argoproj.io/revision-history";
    let numbered = |world: &World| patch_of(&plan(world, now()), &new)["metadata"]["annotations"].clone();
    assert!(numbered(&world).is_null(), "2 is above 1");

    add_replica_set(&mut world, "between", 5, 0);
    assert_eq!(numbered(&world), json!({ revision: "6", history: "2" }));
    replica_set(&mut world, &new)
        .annotations
        .insert(history.to_owned(), "1".to_owned());
    assert_eq!(numbered(&world), json!({ revision: "6", history: "1,2" }));
    replica_set(&mut world, &new).annotations.remove(revision);
    assert_eq!(
        numbered(&world),
        json!({ revision: "6" }),
        "there is no number to remember"
    );
}

#[test]
fn annotations_and_the_time_to_be_ready_go_on_to_the_revision_that_exists() {
    let mut world = updating(2, &json!({ "steps": [{ "pause": {} }] }));
    world.rollout.spec.min_ready_seconds = Some(7);
    let annotations = world.rollout.metadata.annotations.as_mut().unwrap();
    annotations.insert("team".to_owned(), "shop".to_owned());
    annotations.insert(
        "kubectl.kubernetes.io/last-applied-configuration".to_owned(),
        "{}".to_owned(),
    );
    let new = new_hash(&world);
    let patch = patch_of(&plan(&world, now()), &new);
    assert_eq!(
        patch,
        json!({ "metadata": { "annotations": { "team": "shop" } }, "spec": { "minReadySeconds": 7 } })
    );
    let rs = replica_set(&mut world, &new);
    rs.annotations.insert("team".to_owned(), "shop".to_owned());
    rs.min_ready_seconds = 7;
    assert!(patch_of(&plan(&world, now()), &new).is_null());
}

#[test]
fn the_status_counts_the_pods_of_all_revisions_and_of_the_new_one() {
    let mut world = updating(5, &json!({ "steps": [{ "pause": {} }] }));
    let new = new_hash(&world);
    add_replica_set(&mut world, "past", 0, 1);
    let rs = replica_set(&mut world, OLD);
    (rs.current, rs.ready, rs.available) = (5, 4, 3);
    let rs = replica_set(&mut world, &new);
    (rs.replicas, rs.current, rs.ready, rs.available) = (2, 2, 1, 0);
    let written = support::new_status(&plan(&world, now()));
    for (field, count) in [
        ("replicas", 8),
        ("HPAReplicas", 8),
        ("updatedReplicas", 2),
        ("readyReplicas", 6),
        ("availableReplicas", 4),
    ] {
        assert_eq!(written[field], count, "{field}: {written}");
    }
    assert_eq!(written["selector"], "app=demo");
}

#[test]
fn a_new_revision_has_the_time_to_be_ready_from_its_beginning() {
    for seconds in [None, Some(0), Some(7)] {
        let mut world = updating(2, &json!({ "steps": [{ "pause": {} }] }));
        world.rollout.spec.min_ready_seconds = seconds;
        world.replica_sets.pop();
        let plan = plan(&world, now());
        let made = plan.writes.iter().find_map(|w| match &w.write {
            Write::CreateReplicaSet { object, .. } => Some(object["spec"].clone()),
            _ => None,
        });
        let made = made.expect("the revision is made");
        assert_eq!(
            made.get("minReadySeconds"),
            seconds.filter(|s| *s > 0).map(Value::from).as_ref()
        );
    }
}
