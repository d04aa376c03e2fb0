//! What people are told, in every state that a Rollout can be in; and that it is what the planner does.

#![allow(clippy::unwrap_used, reason = "a test that panics has failed")]

mod support;

use std::collections::BTreeSet;

use serde_json::{Value, json};
use serin_api::{HASH_LABEL, SCALE_DOWN_DEADLINE_ANNOTATION, analysis::Phase};
use serin_model::World;
use serin_planner::{Explanation, State, WaitsFor, explain, misfit, plan};

use support::{
    OLD, add_replica_set, canary, know_template, new_hash, now, pods, replica_set, routed, run, status, updating,
};

/// A step with a router: the route has this weight, the canary so many available pods.
fn at_step(steps: &Value, index: usize, weight: i32, available: i32) -> World {
    let mut world = routed(4, weight, &json!({ "steps": steps }));
    let hash = new_hash(&world);
    pods(&mut world, &hash, available.max(1), available);
    status(&mut world, &json!({ "currentStepIndex": index }));
    world
}

fn analysing(phase: Phase, message: &str) -> World {
    let steps = json!([{ "setWeight": 25 }, { "analysis": { "templates": [{ "templateName": "watch" }] } }]);
    let mut world = at_step(&steps, 1, 25, 1);
    know_template(&mut world);
    let mut running = run("demo-2-1", Some(1), phase);
    running.message = message.to_owned();
    world.analysis_runs.push(running);
    let shown = json!({ "name": "demo-2-1", "status": phase.as_str(), "message": message });
    status(
        &mut world,
        &json!({ "canary": { "currentStepAnalysisRunStatus": shown } }),
    );
    world
}

fn condition(kind: &str, word: &str, reason: &str, message: &str) -> Value {
    json!({
        "type": kind, "status": word, "reason": reason, "message": message,
        "lastUpdateTime": "2026-01-01T00:05:00Z", "lastTransitionTime": "2026-01-01T00:04:00Z",
    })
}

fn aborted(weight: i32) -> World {
    let mut world = at_step(&json!([{ "setWeight": 50 }, { "pause": {} }]), 0, weight, 2);
    let cause = "Rollout aborted update to revision 2: metric \"errors\" assessed Failed";
    status(
        &mut world,
        &json!({
            "phase": "Degraded", "abort": true, "abortedAt": "2026-01-01T00:09:00Z",
            "conditions": [condition("Progressing", "False", "RolloutAborted", cause)],
        }),
    );
    world
}

/// The newest version is stable, with so many of four pods available.
fn complete(available: i32) -> World {
    let mut world = updating(4, &json!({}));
    let hash = new_hash(&world);
    pods(&mut world, &hash, 4, available);
    pods(&mut world, OLD, 0, 0);
    status(
        &mut world,
        &json!({ "stableRS": hash, "phase": "Healthy", "currentStepIndex": null }),
    );
    world
}

fn with(mut world: World, change: impl FnOnce(&mut World)) -> World {
    change(&mut world);
    world
}

/// Every state, with a World that is in it, what it waits for, and words that must be said.
fn states() -> Vec<(State, WaitsFor, World, &'static str)> {
    use State as S;
    use WaitsFor as W;
    let set = |patch: Value| move |world: &mut World| status(world, &patch);
    let two_steps = json!([{ "setWeight": 50 }, { "pause": {} }]);
    vec![
        (
            S::Deleting,
            W::Nothing,
            with(canary(), |w| {
                w.rollout.metadata.deletion_timestamp = serde_json::from_value(json!("2026-01-01T00:09:00Z")).unwrap();
            }),
            "deleted",
        ),
        (
            S::Invalid,
            W::Controller,
            with(canary(), |w| w.services.clear()),
            "demo-stable",
        ),
        (
            S::Refused,
            W::Correction,
            with(
                canary(),
                set(json!({
                    "conditions": [condition("PlanRefused", "True", "W1", "W1: too much weight")],
                })),
            ),
            "W1: too much weight",
        ),
        (
            S::Acting,
            W::Controller,
            with(canary(), |w| w.rollout.metadata.generation = Some(3)),
            "changed",
        ),
        (
            S::PausedByPerson,
            W::Person,
            with(canary(), |w| {
                w.rollout.spec.paused = Some(true);
            }),
            "spec.paused",
        ),
        (
            S::Inconclusive,
            W::Person,
            with(
                analysing(Phase::Inconclusive, "one of three was neither"),
                set(json!({
                    "phase": "Paused", "controllerPause": true,
                    "pauseConditions": [{ "reason": "InconclusiveAnalysisRun", "startTime": "2026-01-01T00:09:00Z" }],
                })),
            ),
            "one of three was neither",
        ),
        (
            S::PausedForPerson,
            W::Person,
            canary(),
            "step 2/3 (pause), with 20% of the traffic",
        ),
        (
            S::PausedForTime,
            W::Time,
            {
                let mut world = at_step(
                    &json!([{ "pause": { "duration": "5m" } }, { "setWeight": 50 }]),
                    0,
                    0,
                    0,
                );
                let pause = json!({ "reason": "CanaryPauseStep", "startTime": "2026-01-01T00:09:00Z" });
                status(
                    &mut world,
                    &json!({ "phase": "Paused", "controllerPause": true, "pauseConditions": [pause] }),
                );
                world
            },
            "step 1/2 (pause: 5m)",
        ),
        (
            S::FirstPods,
            W::Pods,
            {
                let mut world = updating(4, &json!({}));
                let hash = new_hash(&world);
                world.replica_sets.retain(|rs| rs.hash() == hash);
                pods(&mut world, &hash, 4, 1);
                replica_set(&mut world, &hash).failure =
                    Some(("FailedCreate".to_owned(), "exceeded quota: small".to_owned()));
                status(&mut world, &json!({ "stableRS": "", "currentStepIndex": null }));
                world
            },
            "exceeded quota: small",
        ),
        (
            S::WaitingForPods,
            W::Pods,
            at_step(&two_steps, 0, 0, 0),
            "0 of 2 pods are available",
        ),
        (
            S::WaitingForStable,
            W::Pods,
            {
                let mut world = at_step(&two_steps, 0, 0, 2);
                pods(&mut world, OLD, 4, 1);
                world
            },
            "1 of the 2 pods that stable needs",
        ),
        (
            S::WaitingForEndpoints,
            W::Pods,
            {
                let mut world = at_step(&two_steps, 0, 0, 2);
                world.endpoints = canary().endpoints;
                world
                    .endpoints
                    .as_mut()
                    .unwrap()
                    .get_mut("demo-canary")
                    .unwrap()
                    .ready_pods
                    .clear();
                world
            },
            "ready behind Service demo-canary",
        ),
        (
            S::RouteUnusable,
            W::Correction,
            with(at_step(&two_steps, 0, 0, 2), |w| {
                w.routes
                    .values_mut()
                    .for_each(|r| *r = Err("HTTPRoute shop/demo does not exist".to_owned()));
            }),
            "HTTPRoute shop/demo does not exist",
        ),
        (
            S::Analysing,
            W::Analysis,
            analysing(Phase::Running, ""),
            "AnalysisRun demo-2-1 is Running",
        ),
        (
            S::NoData,
            W::Analysis,
            analysing(Phase::Running, "no data since 00:08"),
            "no data since 00:08",
        ),
        (
            S::AnalysisNotStarted,
            W::Correction,
            {
                let analysis = json!({
                    "templates": [{ "templateName": "watch" }],
                    "args": [{ "name": "service", "valueFrom": { "fieldRef": { "fieldPath": "spec.nothing" } } }],
                });
                let mut world = at_step(&json!([{ "setWeight": 25 }, { "analysis": analysis }]), 1, 25, 1);
                know_template(&mut world);
                for template in world.templates.values_mut() {
                    template.spec.args = serde_json::from_value(json!([{ "name": "service" }])).unwrap();
                }
                world
            },
            "spec.nothing",
        ),
        (
            S::Overdue,
            W::Pods,
            with(
                at_step(&two_steps, 0, 0, 0),
                set(json!({
                    "phase": "Degraded",
                    "conditions": [condition("Progressing", "False", "ProgressDeadlineExceeded", "has timed out progressing.")],
                })),
            ),
            "600 s",
        ),
        (
            S::TakingBack,
            W::Pods,
            with(aborted(50), |w| pods(w, OLD, 4, 0)),
            "metric \"errors\"",
        ),
        (
            S::Aborted,
            W::Person,
            with(aborted(0), |w| {
                let hash = new_hash(w);
                for service in w.services.values_mut() {
                    service.selector.insert(HASH_LABEL.to_owned(), OLD.to_owned());
                }
                let later = "2026-01-01T00:10:30Z".to_owned();
                replica_set(w, &hash)
                    .annotations
                    .insert(SCALE_DOWN_DEADLINE_ANNOTATION.to_owned(), later);
            }),
            "stable has all traffic",
        ),
        (
            S::Promoting,
            W::Pods,
            with(at_step(&two_steps, 2, 50, 2), |_| {}),
            "2 of 4 pods are available",
        ),
        (
            S::GoingBack,
            W::Pods,
            {
                let mut world = complete(1);
                pods(&mut world, OLD, 3, 3);
                let hash = new_hash(&world);
                pods(&mut world, &hash, 1, 1);
                world
            },
            "Back at revision 2",
        ),
        (S::Unavailable, W::Pods, complete(3), "3 of 4 pods"),
        (
            S::CleaningUp,
            W::Pods,
            with(complete(4), |w| {
                add_replica_set(w, "middle", 1, 0);
                replica_set(w, "middle").current = 1;
            }),
            "1 pod of older versions",
        ),
        (S::Healthy, W::Nothing, complete(4), "all 4 pods are available"),
    ]
}

/// All that is said, in one text.
fn whole(told: &Explanation) -> String {
    format!("{} {} {}", told.what, told.why.join(" "), told.next.what)
}

#[test]
fn every_state_is_explained_with_what_it_waits_for_and_why() {
    let mut reached = BTreeSet::new();
    for (state, waits_for, world, words) in states() {
        let told = explain(&world, now());
        assert_eq!((told.state, told.next.waits_for), (state, waits_for), "{told:#?}");
        assert!(whole(&told).contains(words), "{words:?} is not said: {told:#?}");
        assert_eq!(misfit(&world, now(), &told), None, "{told:#?}");
        reached.insert(state);
    }
    assert_eq!(reached, BTreeSet::from(State::ALL));
}

#[test]
fn what_ends_by_itself_says_when() {
    let at = |state: State| {
        let (_, _, world, _) = states().into_iter().find(|(s, ..)| *s == state).unwrap();
        explain(&world, now()).next.at.map(|at| at.to_rfc3339())
    };
    assert_eq!(at(State::PausedForTime).as_deref(), Some("2026-01-01T00:14:00+00:00"));
    assert_eq!(
        at(State::Aborted).as_deref(),
        Some("2026-01-01T00:10:30+00:00"),
        "its pods go"
    );
    assert_eq!(at(State::PausedForPerson), None);
}

#[test]
fn a_background_analysis_is_named_beside_whatever_else_happens() {
    let mut world = canary();
    world.analysis_runs.push(run("demo-2", None, Phase::Running));
    let shown = json!({ "name": "demo-2", "status": "Running" });
    status(
        &mut world,
        &json!({ "canary": { "currentBackgroundAnalysisRunStatus": shown } }),
    );
    let told = explain(&world, now());
    assert_eq!(told.state, State::PausedForPerson);
    assert!(whole(&told).contains("AnalysisRun demo-2 is Running"), "{told:#?}");
    assert_eq!(told.analysis_runs, ["demo-2"]);
}

#[test]
fn a_route_that_was_never_ours_speaks_of_no_other_version() {
    let mut world = routed(4, 1, &json!({}));
    let hash = new_hash(&world);
    pods(&mut world, &hash, 4, 0);
    world.replica_sets.retain(|rs| rs.hash() == hash);
    for service in world.services.values_mut() {
        service.selector.remove(HASH_LABEL);
    }
    status(&mut world, &json!({ "stableRS": hash }));
    let told = explain(&world, now());
    assert!(
        told.what.contains("its route still leads to Service demo-canary too"),
        "{told:#?}"
    );
}

/// The same World, held by a person: nothing else pauses it.
fn held(world: World) -> World {
    with(world, |world| {
        world.rollout.spec.paused = Some(true);
        status(
            world,
            &json!({ "phase": "Paused", "controllerPause": null, "pauseConditions": null }),
        );
    })
}

fn told(world: &World) -> Explanation {
    let told = explain(world, now());
    assert_eq!(misfit(world, now(), &told), None, "{told:#?}");
    told
}

fn inconclusive(mut world: World) -> World {
    let pause = json!({ "reason": "InconclusiveAnalysisRun", "startTime": "2026-01-01T00:09:00Z" });
    let mut pauses: Vec<Value> = serde_json::to_value(&world.rollout.status).unwrap()["pauseConditions"]
        .as_array()
        .cloned()
        .unwrap_or_default();
    pauses.push(pause);
    status(
        &mut world,
        &json!({ "phase": "Paused", "controllerPause": true, "pauseConditions": pauses }),
    );
    world
}

/// A pause step with an analysis beside it.
fn beside_a_pause(phase: Phase) -> World {
    let mut world = canary();
    let mut canary = world.rollout.spec.strategy.canary.clone().unwrap();
    canary.analysis = serde_json::from_value(json!({ "templates": [{ "templateName": "watch" }] })).unwrap();
    world.rollout.spec.strategy.canary = Some(canary);
    know_template(&mut world);
    world.analysis_runs.push(run("demo-2", None, phase));
    let shown = json!({ "name": "demo-2", "status": phase.as_str() });
    status(
        &mut world,
        &json!({ "canary": { "currentBackgroundAnalysisRunStatus": shown } }),
    );
    world
}

#[test]
fn taking_a_hold_off_names_a_command_that_skips_no_analysis() {
    let next = told(&held(analysing(Phase::Running, ""))).next.what;
    let command = r#"kubectl patch rollout demo -n shop --type merge -p '{"spec":{"paused":false}}'"#;
    assert!(next.contains(command), "{next}");
    assert!(!next.contains("promote"), "{next}");
}

#[test]
fn a_hold_names_the_analyses_that_go_on_and_may_abort_it() {
    let world = held(analysing(Phase::Running, "no data since 00:08"));
    let known = told(&world);
    assert_eq!(known.state, State::PausedByPerson);
    assert_eq!(known.analysis_runs, ["demo-2-1"]);
    let text = whole(&known);
    assert!(
        text.contains("AnalysisRun demo-2-1 (of the step) is Running: no data since 00:08"),
        "{text}"
    );
    assert!(text.contains("It is held at step 2/2"), "{text}");
    assert!(known.next.what.contains("Failed or Error aborts"), "{text}");

    // And that is what happens.
    let failed = plan(&held(analysing(Phase::Failed, "too many")), now());
    assert_eq!(support::new_status(&failed)["abort"], true);

    let beside = told(&held(beside_a_pause(Phase::Running)));
    assert!(
        whole(&beside).contains("AnalysisRun demo-2 (beside the steps) is Running."),
        "{beside:#?}"
    );
    assert!(beside.next.what.contains("Failed or Error aborts"), "{beside:#?}");

    let timed = with(canary(), |w| w.rollout.spec.paused = Some(true));
    assert!(told(&timed).next.what.contains("What else it pauses for"), "{timed:#?}");

    let none = with(held(analysing(Phase::Running, "")), |w| {
        w.analysis_runs.clear();
        status(w, &json!({ "canary": { "currentStepAnalysisRunStatus": null } }));
    });
    let none = told(&none);
    assert!(
        whole(&none).contains("begins when the Rollout is no longer held"),
        "{none:#?}"
    );
    assert!(!none.next.what.contains("Meanwhile"), "{none:#?}");
}

#[test]
fn a_hold_says_since_when_only_when_the_condition_began_with_it() {
    let since = |conditions: &Value, patch: &Value| {
        let mut world = held(analysing(Phase::Running, ""));
        status(&mut world, &json!({ "conditions": conditions }));
        status(&mut world, patch);
        explain(&world, now()).since.map(|at| at.to_rfc3339())
    };
    let paused = |begun: &str| {
        let mut paused = condition("Paused", "True", "RolloutPaused", "Rollout is paused");
        paused["lastTransitionTime"] = json!(begun);
        paused
    };
    let turned = condition("Progressing", "Unknown", "RolloutPaused", "Rollout is paused");
    let at_once = json!([turned, paused("2026-01-01T00:05:00Z")]);
    assert_eq!(
        since(&at_once, &json!({})).as_deref(),
        Some("2026-01-01T00:05:00+00:00")
    );
    let earlier = json!([turned, paused("2026-01-01T00:04:00Z")]);
    assert_eq!(since(&earlier, &json!({})), None, "the pause began before");
    let pause = json!([{ "reason": "CanaryPauseStep", "startTime": "2026-01-01T00:05:00Z" }]);
    assert_eq!(
        since(&at_once, &json!({ "pauseConditions": pause })),
        None,
        "a step pauses"
    );
    assert_eq!(
        since(&at_once, &json!({ "controllerPause": true })),
        None,
        "a person has just ended a pause"
    );
}

#[test]
fn what_waits_for_something_else_says_why_the_weight_is_not_that_of_its_step() {
    let crash = |mut world: World| {
        let hash = new_hash(&world);
        pods(&mut world, &hash, 1, 0);
        for view in world.routes.values_mut().flatten() {
            view.weights = vec![(0, 100)];
        }
        let weights = json!({ "canary": { "weight": 0 }, "stable": { "weight": 100 } });
        status(&mut world, &json!({ "canary": { "weights": weights } }));
        world
    };
    let timed = || {
        let mut world = canary();
        let mut canary = world.rollout.spec.strategy.canary.clone().unwrap();
        canary.steps = serde_json::from_value(json!([{ "setWeight": 20 }, { "pause": { "duration": "5m" } }])).unwrap();
        let steps = serin_api::hash::steps_hash(canary.steps.as_deref());
        world.rollout.spec.strategy.canary = Some(canary);
        status(&mut world, &json!({ "currentStepHash": steps }));
        world
    };
    for (state, world, wanted) in [
        (State::PausedForPerson, canary(), "20%"),
        (State::PausedForTime, timed(), "20%"),
        (State::Analysing, analysing(Phase::Running, ""), "25%"),
        (State::NoData, analysing(Phase::Running, "no data"), "25%"),
        (State::PausedByPerson, held(canary()), "20%"),
        (State::PausedByPerson, held(analysing(Phase::Running, "")), "25%"),
    ] {
        let broken = format!("It has 0% of the traffic instead of {wanted}: 0 of 1 pods of revision 2 are available.");
        assert!(!whole(&told(&world)).contains("instead of"), "{state:?}");
        let known = told(&crash(world.clone()));
        assert_eq!(known.state, state);
        let text = whole(&known);
        assert!(text.contains(&broken), "{state:?}: {text}");
        assert!(text.contains("describe pods"), "{state:?}: {text}");

        let missing = with(world, |w| {
            for route in w.routes.values_mut() {
                *route = Err("HTTPRoute shop/demo does not exist; create it".to_owned());
            }
        });
        let known = told(&missing);
        let text = whole(&known);
        if state == State::PausedForTime {
            // The end of the pause ends nothing.
            assert_eq!(known.state, State::RouteUnusable);
            assert!(text.contains("HTTPRoute shop/demo does not exist; create it"), "{text}");
            continue;
        }
        assert_eq!(known.state, state);
        assert!(
            text.contains("No weight can be set and no step is passed: HTTPRoute shop/demo does not exist; create it."),
            "{state:?}: {text}"
        );
        assert!(!text.contains("% of the traffic"), "nobody knows it: {text}");
        let both = told(&crash(missing));
        assert!(
            whole(&both).contains("create it. 0 of 1 pods of revision 2 are available."),
            "{state:?}: {both:#?}"
        );
    }
}

#[test]
fn a_weight_that_waits_for_endpoints_during_a_pause_says_so() {
    let mut world = canary();
    for view in world.routes.values_mut().flatten() {
        view.weights = vec![(0, 100)];
    }
    let endpoints = world.endpoints.as_mut().unwrap();
    endpoints.get_mut("demo-canary").unwrap().ready_pods.clear();
    let text = whole(&told(&world));
    assert!(
        text.contains(
            "It has 0% of the traffic instead of 20%: No pod of the newest version is ready behind Service demo-canary yet."
        ),
        "{text}"
    );
}

#[test]
fn without_a_router_a_pause_says_that_its_pods_are_not_available() {
    let mut world = updating(4, &json!({ "steps": [{ "setWeight": 25 }, { "pause": {} }] }));
    let hash = new_hash(&world);
    pods(&mut world, &hash, 1, 0);
    pods(&mut world, OLD, 3, 3);
    let pause = json!([{ "reason": "CanaryPauseStep", "startTime": "2026-01-01T00:09:00Z" }]);
    status(
        &mut world,
        &json!({ "phase": "Paused", "controllerPause": true, "pauseConditions": pause, "currentStepIndex": 1 }),
    );
    replica_set(&mut world, &hash).failure = Some(("FailedCreate".to_owned(), "exceeded quota: small".to_owned()));
    let text = whole(&told(&world));
    assert!(text.contains("0 of 1 pods of revision 2 are available."), "{text}");
    assert!(text.contains("exceeded quota: small"), "{text}");
}

#[test]
fn a_route_that_does_not_exist_is_not_said_to_stay_as_it_is() {
    let (_, _, world, _) = states().into_iter().find(|(s, ..)| *s == State::RouteUnusable).unwrap();
    let text = whole(&told(&world));
    assert!(!text.contains("stays as it is"), "{text}");
}

#[test]
fn an_analysis_without_a_verdict_is_measured_again_by_what_is_said_and_skipped_only_by_what_says_so() {
    let again = "--subresource status --type merge -p '{\"status\":{\"pauseConditions\":null}}'";
    let creates = |world: &World| {
        let mut resumed = world.clone();
        status(&mut resumed, &json!({ "pauseConditions": null }));
        let planned = plan(&resumed, now());
        let is_run = |write: &serin_model::Write| matches!(write, serin_model::Write::CreateAnalysisRun { .. });
        planned.writes.iter().any(|planned| is_run(&planned.write))
    };
    let of_step = inconclusive(analysing(Phase::Inconclusive, "neither"));
    let next = told(&of_step).next.what;
    assert!(
        next.contains(again) && next.contains("which skips the step (kubectl argo rollouts promote"),
        "{next}"
    );
    assert!(creates(&of_step));

    let in_pause = inconclusive(beside_a_pause(Phase::Inconclusive));
    let next = told(&in_pause).next.what;
    assert!(
        next.contains("also ends the pause of step 2/3") && !next.contains(again),
        "{next}"
    );
    assert!(creates(&in_pause));

    let beside = with(inconclusive(beside_a_pause(Phase::Inconclusive)), |w| {
        let pause = json!([{ "reason": "InconclusiveAnalysisRun", "startTime": "2026-01-01T00:09:00Z" }]);
        status(w, &json!({ "pauseConditions": pause, "currentStepIndex": 0 }));
    });
    let next = told(&beside).next.what;
    assert!(next.contains(again) && !next.contains("promote"), "{next}");
    assert!(creates(&beside));
}

#[test]
fn an_aborted_version_without_a_router_is_not_said_to_be_without_requests_while_it_runs() {
    let mut world = updating(4, &json!({ "steps": [{ "setWeight": 25 }, { "pause": {} }] }));
    let hash = new_hash(&world);
    pods(&mut world, &hash, 1, 1);
    pods(&mut world, OLD, 3, 3);
    let world = with(held(world), |w| {
        let aborted = condition("Progressing", "False", "RolloutAborted", "aborted");
        status(
            w,
            &json!({
                "phase": "Degraded", "abort": true, "abortedAt": "2026-01-01T00:09:00Z", "conditions": [aborted],
            }),
        );
    });
    let known = explain(&world, now());
    assert_eq!(known.state, State::Aborted);
    let text = whole(&known);
    assert!(!text.contains("stable has all traffic"), "{text}");
    assert!(
        text.contains("requests as long as they run") && text.contains(r#"'{"spec":{"paused":false}}'"#),
        "{text}"
    );
}
