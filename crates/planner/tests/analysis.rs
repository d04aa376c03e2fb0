//! Analysis runs of a Rollout: what they are asked with, and which are ended (compat 3.6, 3.7).

#![allow(clippy::unwrap_used, reason = "a test that panics has failed")]

mod support;

use serde_json::{Value, json};
use serin_api::analysis::Phase;
use serin_model::{Plan, World, Write};
use serin_planner::plan;

use support::{know_template, new_status, now, run, status, updating};

/// A Rollout whose background analysis takes an argument from this field.
fn asking(path: &str) -> World {
    let args = json!([{ "name": "a", "valueFrom": { "fieldRef": { "fieldPath": path } } }]);
    let analysis = json!({ "templates": [{ "templateName": "watch" }], "args": args });
    let mut world = updating(2, &json!({ "analysis": analysis, "steps": [{ "pause": {} }] }));
    know_template(&mut world);
    for template in world.templates.values_mut() {
        template.spec.args = serde_json::from_value(json!([{ "name": "a" }])).unwrap();
    }
    world
}

/// The value that the first run gets for its argument.
fn given(plan: &Plan) -> Option<String> {
    plan.writes.iter().find_map(|w| match &w.write {
        Write::CreateAnalysisRun { object, .. } => object["spec"]["args"][0]["value"].as_str().map(str::to_owned),
        _ => None,
    })
}

#[test]
fn an_argument_takes_its_value_from_any_plain_field_of_the_rollout() {
    for (path, value) in [
        ("metadata.name", Some("demo")),
        ("metadata.labels['shop.example/team']", Some("a.b")),
        ("metadata.labels['2']", Some("two")),
        ("spec.replicas", Some("2")),
        ("spec.template.spec.containers[0].image", Some("demo:v2")),
        ("spec.template.spec.containers[1].image", None),
        ("spec.template.spec.containers", None),
        ("spec.nothing", None),
    ] {
        let mut world = asking(path);
        let labels = json!({ "shop.example/team": "a.b", "2": "two" });
        world.rollout.metadata.labels = serde_json::from_value(labels).unwrap();
        let plan = plan(&world, now());
        assert_eq!(given(&plan).as_deref(), value, "{path}");
        assert_eq!(
            plan.warnings.len(),
            usize::from(value.is_none()),
            "{path}: {:?}",
            plan.warnings
        );
    }
}

#[test]
fn a_run_that_nobody_follows_is_ended_once() {
    let mut world = updating(2, &json!({ "steps": [{ "pause": {} }] }));
    for (name, phase) in [
        ("running", Phase::Running),
        ("new", Phase::Unset),
        ("done", Phase::Successful),
        ("told", Phase::Running),
        ("going", Phase::Running),
    ] {
        world.analysis_runs.push(run(name, None, phase));
    }
    world.analysis_runs[3].terminate = true;
    world.analysis_runs[4].deleting = true;
    let plan = plan(&world, now());
    let ended: Vec<(&str, &Value)> = plan
        .writes
        .iter()
        .filter_map(|w| match &w.write {
            Write::PatchAnalysisRun { name, patch, .. } => Some((name.as_str(), &patch["spec"]["terminate"])),
            _ => None,
        })
        .collect();
    assert_eq!(ended, [("running", &json!(true)), ("new", &json!(true))]);
}

#[test]
fn an_analysis_that_holds_for_want_of_data_is_said_in_the_message_and_once_as_an_event() {
    let analysis = json!({ "templates": [{ "templateName": "watch" }] });
    let mut world = updating(2, &json!({ "analysis": analysis, "steps": [{ "setWeight": 50 }] }));
    know_template(&mut world);
    let mut holding = run("demo-2", None, Phase::Running);
    holding.message = "no data since 00:05".to_owned();
    world.analysis_runs.push(holding);
    for (known, events) in [("", 1), ("no data since 00:04", 0)] {
        let shown = json!({ "name": "demo-2", "status": "Running", "message": known });
        status(
            &mut world,
            &json!({ "canary": { "currentBackgroundAnalysisRunStatus": shown } }),
        );
        let plan = plan(&world, now());
        let warned = plan.writes.iter().flat_map(|w| &w.events);
        let warned = warned.filter(|event| event.reason == "AnalysisRunHolding").count();
        assert_eq!(warned, events, "{known:?}");
        let message = new_status(&plan)["message"].clone();
        assert!(message.as_str().unwrap().ends_with("no data since 00:05"), "{message}");
    }
}
