//! W4, W6 and W8.

use serde_json::{Value, json};
use serin_api::analysis::Phase;
use serin_audit::Rule::{W4, W6, W8};

use crate::scene::{OLD, Scene, new, new_name, paused, scale, status, weight};

fn to(index: i32) -> Value {
    json!({ "currentStepIndex": index })
}

#[test]
fn a_weight_step_ends_when_the_route_has_the_weight() {
    Scene::routed().refuses(
        W4,
        "step 0 (setWeight: 20) would be passed, but not every route",
        vec![status(to(1))],
    );
    Scene::routed().weights(20, 80).accepts(vec![status(to(1))]);
    // The same plan has written it before.
    Scene::routed().accepts(vec![weight(20), status(to(1))]);
    let mut missing = Scene::routed();
    missing
        .world
        .routes
        .insert(crate::scene::route(), Err("not found".into()));
    missing.refuses(W4, "not every route", vec![status(to(1))]);
}

#[test]
fn a_weight_step_ends_when_its_pods_are_there() {
    Scene::routed()
        .weights(20, 80)
        .new_pods(2, 1)
        .refuses(W4, "1 of 2 canary pods", vec![status(to(1))]);
    Scene::plain().accepts(vec![status(to(1))]);
    Scene::plain()
        .new_pods(2, 1)
        .refuses(W4, "1 of 2 canary pods", vec![status(to(1))]);
    Scene::plain()
        .pods("demo-old", 9, 9)
        .refuses(W4, "wants 9 pods instead of 8", vec![status(to(1))]);
    Scene::plain()
        .new_pods(3, 3)
        .refuses(W4, "wants 3 pods instead of 2", vec![status(to(1))]);
    Scene::plain()
        .third(1, 50)
        .refuses(W4, "1 pods of older revisions are still there", vec![status(to(1))]);
    // Asked for by the same plan, but not there yet.
    Scene::plain()
        .new_pods(0, 0)
        .refuses(W4, "0 of 2", vec![scale(&new_name(), 2), status(to(1))]);
    Scene::plain()
        .new_pods(2, 1)
        .canary(json!({"replicaProgressThreshold": {"type": "Pods", "value": 1}}))
        .accepts(vec![status(to(1))]);
    Scene::plain()
        .new_pods(2, 1)
        .canary(json!({"replicaProgressThreshold": {"type": "Percent", "value": 51}}))
        .refuses(W4, "1 of 2", vec![status(to(1))]);
}

#[test]
fn a_step_of_a_size_of_its_own_ends_when_its_pods_are_there() {
    let steps = json!({"steps": [{"setCanaryScale": {"replicas": 3}}, {"setWeight": 20}]});
    let scene = || Scene::routed().canary(steps.clone());
    scene().refuses(W4, "2 of 3", vec![status(to(1))]);
    scene().new_pods(3, 3).accepts(vec![status(to(1))]);
}

#[test]
fn a_pause_without_a_duration_ends_by_a_person() {
    let scene = || Scene::routed().weights(20, 80).status(to(1));
    let goes_on = || {
        vec![status(
            json!({"currentStepIndex": 2, "pauseConditions": null, "controllerPause": null}),
        )]
    };
    scene().refuses(W8, "nobody resumed it", goes_on());
    let mut waits = scene().status(paused("CanaryPauseStep", 1000));
    waits.refuses(
        W8,
        "the pause CanaryPauseStep since",
        vec![status(json!({"pauseConditions": null, "controllerPause": null}))],
    );
    assert_eq!(waits.findings(goes_on()).len(), 2, "the pause and the step");
    // A person took the condition away and left controllerPause (compat H5).
    waits = waits.status(json!({"pauseConditions": null}));
    waits.accepts(goes_on());
    // A person set the index (compat 2.8); what is left of the pause is ours to clear.
    scene()
        .status(paused("CanaryPauseStep", 1000))
        .status(to(2))
        .accepts(vec![status(json!({"pauseConditions": null, "controllerPause": null}))]);
}

#[test]
fn a_pause_without_a_duration_ends_by_an_abort_a_new_revision_or_a_full_promotion() {
    let scene = || {
        Scene::routed()
            .weights(20, 80)
            .status(to(1))
            .status(paused("CanaryPauseStep", 5))
    };
    let ends = json!({"pauseConditions": null, "controllerPause": null});
    scene().accepts(vec![status(
        json!({"pauseConditions": null, "controllerPause": null, "abort": true, "currentStepIndex": 0}),
    )]);
    scene()
        .status(json!({"abort": true}))
        .accepts(vec![status(ends.clone())]);
    scene().status(json!({"currentPodHash": "third"})).accepts(vec![status(
        json!({"pauseConditions": null, "controllerPause": null, "currentStepIndex": 0, "currentPodHash": new()}),
    )]);
    scene().status(json!({"promoteFull": true})).accepts(vec![status(ends)]);
}

#[test]
fn a_pause_with_a_duration_ends_when_it_is_over_and_never_begins_anew() {
    let steps = json!({"steps": [{"setWeight": 20}, {"pause": {"duration": "10s"}}, {"setWeight": 60}]});
    let scene = |ago: i64| {
        Scene::routed()
            .canary(steps.clone())
            .weights(20, 80)
            .status(to(1))
            .status(paused("CanaryPauseStep", ago))
    };
    let goes_on = || {
        vec![status(
            json!({"currentStepIndex": 2, "pauseConditions": null, "controllerPause": null}),
        )]
    };
    scene(10).accepts(goes_on());
    let rules: Vec<_> = scene(9).findings(goes_on()).into_iter().map(|f| f.rule).collect();
    assert_eq!(rules, [W8, W4]);
    let again = || vec![status(paused("CanaryPauseStep", 0))];
    scene(5).refuses(W8, "would begin anew", again());
    scene(10)
        .status(json!({"pauseConditions": null, "controllerPause": null}))
        .accepts(again());
    scene(5)
        .status(json!({"pauseConditions": null, "controllerPause": null}))
        .refuses(W4, "before its time is over", vec![status(to(2))]);
}

#[test]
fn a_resume_is_never_forged() {
    let scene = || Scene::routed().weights(20, 80).status(to(1));
    scene().refuses(
        W8,
        "as if a person had resumed",
        vec![status(json!({"controllerPause": true}))],
    );
    scene().accepts(vec![status(paused("CanaryPauseStep", 0))]);
    // The person's own resume, not consumed yet, is left as it is.
    scene()
        .status(json!({"controllerPause": true}))
        .accepts(vec![status(json!({"message": "m"}))]);
}

#[test]
fn an_inconclusive_analysis_waits_for_a_person() {
    let scene = || {
        Scene::routed()
            .weights(20, 80)
            .status(to(1))
            .status(paused("InconclusiveAnalysisRun", 5))
    };
    scene().refuses(
        W8,
        "InconclusiveAnalysisRun",
        vec![status(json!({"pauseConditions": null, "controllerPause": null}))],
    );
    scene()
        .status(json!({"promoteFull": true}))
        .accepts(vec![status(json!({"pauseConditions": null, "controllerPause": null}))]);
}

fn at_analysis() -> Scene {
    Scene::routed().weights(60, 40).new_pods(6, 6).status(
        json!({"currentStepIndex": 3, "canary": {"currentStepAnalysisRunStatus": {"name": "run", "status": ""}}}),
    )
}

#[test]
fn an_analysis_step_ends_with_a_successful_run() {
    for phase in [
        Phase::Unset,
        Phase::Pending,
        Phase::Running,
        Phase::Failed,
        Phase::Error,
        Phase::Inconclusive,
    ] {
        at_analysis()
            .run("run", "Step", Some(3), phase)
            .refuses(W4, "wait for Successful", vec![status(to(4))]);
    }
    at_analysis()
        .run("run", "Step", Some(3), Phase::Successful)
        .accepts(vec![status(to(4))]);
    at_analysis().refuses(W4, "it has no AnalysisRun", vec![status(to(4))]);
    at_analysis().run("run", "Step", Some(1), Phase::Successful).refuses(
        W4,
        "it has no AnalysisRun",
        vec![status(to(4))],
    );
    // The run that counts is the one that the status names: an earlier one was Successful before a retry.
    at_analysis()
        .run("earlier", "Step", Some(3), Phase::Successful)
        .run("run", "Step", Some(3), Phase::Running)
        .refuses(W4, "AnalysisRun run is \"Running\"", vec![status(to(4))]);
}

#[test]
fn a_bad_background_analysis_stops_every_step() {
    let named = json!({"canary": {"currentBackgroundAnalysisRunStatus": {"name": "back", "status": ""}}});
    let scene = |phase| {
        Scene::routed()
            .weights(20, 80)
            .status(named.clone())
            .run("back", "Background", None, phase)
    };
    for phase in [Phase::Failed, Phase::Error, Phase::Inconclusive] {
        scene(phase).refuses(W4, "the background AnalysisRun back is", vec![status(to(1))]);
    }
    scene(Phase::Running).accepts(vec![status(to(1))]);
    scene(Phase::Successful).accepts(vec![status(to(1))]);
    // A person resumed; another run takes its place (compat 3.7).
    scene(Phase::Inconclusive)
        .status(json!({"controllerPause": true}))
        .accepts(vec![status(json!({"currentStepIndex": 1, "controllerPause": null}))]);
}

#[test]
fn nothing_moves_while_a_person_paused_the_rollout() {
    Scene::routed()
        .weights(20, 80)
        .spec(json!({"paused": true}))
        .refuses(W4, "spec.paused", vec![status(to(1))]);
    Scene::routed()
        .weights(20, 80)
        .status(json!({"abort": true}))
        .refuses(W4, "status.abort", vec![status(to(1))]);
}

#[test]
fn several_steps_are_each_judged() {
    let steps = json!({"steps": [{"setWeight": 20}, {"setWeight": 30}, {"pause": {}}]});
    let scene = Scene::routed().canary(steps).weights(20, 80);
    assert_eq!(
        scene.findings(vec![status(to(2))]).len(),
        2,
        "pods and weight of the second step"
    );
}

#[test]
fn the_end_is_reached_by_steps_a_person_or_a_way_back() {
    let scene = || Scene::routed().weights(20, 80).status(to(1));
    assert!(!scene().findings(vec![status(to(4))]).is_empty());
    scene()
        .status(json!({"promoteFull": true}))
        .accepts(vec![status(to(4))]);
    scene().status(json!({"stableRS": new()})).accepts(vec![status(to(4))]);
    scene().status(json!({"stableRS": null})).accepts(vec![status(to(4))]);
    let window = json!({"rollbackWindow": {"revisions": 1}});
    let mut back = scene().spec(window);
    assert!(!back.findings(vec![status(to(4))]).is_empty(), "newer than stable");
    back.world.replica_sets[1].created = back.world.replica_sets[0].created - chrono::TimeDelta::seconds(10);
    back.accepts(vec![status(to(4))]);
    back = back.third(0, 1005);
    assert!(!back.findings(vec![status(to(4))]).is_empty(), "one revision too far");
}

#[test]
fn a_new_revision_begins_at_the_first_step() {
    let scene = || Scene::routed().status(json!({"currentPodHash": "third", "currentStepIndex": 2}));
    let begins = |at: i32| vec![status(json!({"currentPodHash": new(), "currentStepIndex": at}))];
    scene().accepts(begins(0));
    scene().refuses(W4, "step 0 (setWeight: 20) would be passed", begins(1));
    let steps = || {
        Scene::routed()
            .weights(20, 80)
            .status(json!({"currentStepHash": "other", "currentStepIndex": 2}))
    };
    steps().accepts(vec![status(to(0))]);
}

/// All steps done, all pods there, all weight given.
fn done() -> Scene {
    Scene::routed().status(to(4)).weights(100, 0).new_pods(10, 10)
}

fn promoted() -> Vec<serin_model::Write> {
    vec![status(json!({"stableRS": new(), "currentStepIndex": 4}))]
}

#[test]
fn stable_changes_on_completion() {
    done().accepts(promoted());
    done().new_pods(10, 9).refuses(W6, "9 of 10 pods available", promoted());
    done()
        .new_pods(10, 9)
        .canary(json!({"replicaProgressThreshold": {"type": "Percent", "value": 90}}))
        .accepts(promoted());
    done().weights(60, 40).refuses(W6, "the whole weight 100", promoted());
    done().weights(60, 40).accepts([vec![weight(100)], promoted()].concat());
    let mut early = done().status(to(2));
    early.refuses(W6, "at step 2 of 4", vec![status(json!({"stableRS": new()}))]);
    early = early.status(to(3));
    early.refuses(W4, "it has no AnalysisRun", promoted());
}

#[test]
fn without_steps_no_weight_is_waited_for() {
    done()
        .weights(0, 100)
        .canary(json!({"steps": []}))
        .status(json!({"currentStepIndex": null}))
        .accepts(vec![status(json!({"stableRS": new()}))]);
}

#[test]
fn only_the_newest_revision_becomes_stable() {
    done().refuses(
        W6,
        "promote that or nothing",
        vec![status(json!({"stableRS": "third"}))],
    );
    done().refuses(W6, "promote that or nothing", vec![status(json!({"stableRS": null}))]);
}

#[test]
fn a_first_deploy_is_promoted_at_once() {
    let scene = || Scene::routed().new_pods(10, 0);
    scene().status(json!({"stableRS": null})).accepts(promoted());
    // Somebody deleted the stable ReplicaSet (compat 2.4).
    scene().status(json!({"stableRS": "gone"})).accepts(promoted());
    assert!(!scene().status(json!({"stableRS": OLD})).findings(promoted()).is_empty());
}

#[test]
fn a_full_promotion_and_a_way_back_wait_for_pods_only() {
    let scene = || Scene::routed().weights(20, 80).status(to(1));
    let full = || scene().status(json!({"promoteFull": true}));
    full().new_pods(10, 10).accepts(promoted());
    full().new_pods(10, 9).refuses(W6, "9 of 10", promoted());
    let mut back = scene()
        .new_pods(10, 10)
        .spec(json!({"rollbackWindow": {"revisions": 1}}));
    back.world.replica_sets[1].created = back.world.replica_sets[0].created - chrono::TimeDelta::seconds(10);
    back.accepts(promoted());
}

#[test]
fn an_aborted_rollout_promotes_nothing() {
    let aborted = || done().status(json!({"abort": true}));
    aborted().refuses(W6, "while status.abort stands", promoted());
    aborted().status(json!({"promoteFull": true})).accepts(promoted());
}

#[test]
fn a_bad_background_analysis_stops_the_promotion() {
    let named = json!({"canary": {"currentBackgroundAnalysisRunStatus": {"name": "back", "status": ""}}});
    let scene = |phase| done().status(named.clone()).run("back", "Background", None, phase);
    scene(Phase::Running).accepts(promoted());
    scene(Phase::Failed).refuses(W4, "stableRS would change", promoted());
    scene(Phase::Failed)
        .status(json!({"promoteFull": true}))
        .accepts(promoted());
}

#[test]
fn without_replicas_steps_and_promotion_need_neither_pods_nor_weight() {
    let none = || {
        Scene::routed()
            .spec(json!({"replicas": 0}))
            .new_pods(0, 0)
            .pods("demo-old", 0, 0)
    };
    none().accepts(vec![status(to(1))]);
    none().status(to(4)).accepts(promoted());
}

#[test]
fn the_pods_of_a_step_without_a_router_are_upstreams() {
    // Replicas, weight, maxUnavailable, maxSurge, and the pods of canary and stable that end the step (compat 2.5).
    for (replicas, weight, unavailable, surge, canary, stable) in [
        (10, 10, 1, 1, 1, 9),
        (10, 5, 1, 0, 1, 9),
        (10, 5, 1, 1, 1, 10),
        (5, 20, 1, 2, 1, 4),
        (5, 60, 1, 2, 3, 2),
        (4, 20, 1, 0, 1, 3),
        (10, 99, 1, 1, 10, 1),
    ] {
        let steps = json!({"steps": [{"setWeight": weight}, {"pause": {}}],
            "maxUnavailable": unavailable, "maxSurge": surge});
        let scene = |canary: i32, stable: i32| {
            Scene::plain()
                .canary(steps.clone())
                .spec(json!({ "replicas": replicas }))
                .pods("demo-old", stable, stable)
                .new_pods(canary, canary)
        };
        scene(canary, stable).accepts(vec![status(to(1))]);
        let case = format!("{replicas} {weight}");
        assert!(
            !scene(canary - 1, stable).findings(vec![status(to(1))]).is_empty(),
            "{case}"
        );
        assert!(
            !scene(canary, stable + 1).findings(vec![status(to(1))]).is_empty(),
            "{case}"
        );
    }
}

/// Whether `a` is nearer to the weight than `b`; both are pairs of canary and stable.
fn is_nearer(weight: i64, a: (i64, i64), b: (i64, i64)) -> bool {
    let distance = |(canary, stable): (i64, i64)| (canary * 100 - weight * (canary + stable)).abs();
    distance(a) * (b.0 + b.1) < distance(b) * (a.0 + a.1)
}

/// The pair nearest to the weight, out of all pairs that there are: of equals the one of fewer pods, then of more canaries.
/// Who gets a part of the traffic has a pod, but for a single one without surge.
fn nearest(replicas: i64, weight: i64, surge: i64) -> (i64, i64) {
    match weight {
        0 => return (0, replicas),
        100 => return (replicas, 0),
        _ => {}
    }
    let is_alone = replicas == 1 && surge == 0;
    let totals = replicas..=replicas + surge.min(1);
    let pairs = totals.flat_map(|total| (0..=total).rev().map(move |canary| (canary, total - canary)));
    let pairs = pairs.filter(|(canary, stable)| is_alone || (*canary > 0 && *stable > 0));
    pairs
        .reduce(|best, pair| if is_nearer(weight, pair, best) { pair } else { best })
        .unwrap()
}

#[test]
fn without_a_router_a_step_ends_with_the_pair_of_counts_nearest_to_its_weight_and_with_no_other() {
    let weights = || (0..=100).step_by(5).chain([1, 3, 33, 49, 51, 67, 94, 96, 99]);
    let cases = [1, 2, 3, 4, 7, 10]
        .into_iter()
        .flat_map(|r| weights().map(move |w| (r, w)));
    for (replicas, weight) in cases {
        for surge in [0, 1, 3] {
            let (canary, stable) = nearest(replicas, weight, surge);
            let steps =
                json!({"steps": [{"setWeight": weight}, {"pause": {}}], "maxUnavailable": 1, "maxSurge": surge});
            let ends = |canary: i64, stable: i64| {
                let [canary, stable] = [canary, stable].map(|n| i32::try_from(n).unwrap());
                let scene = Scene::plain()
                    .canary(steps.clone())
                    .spec(json!({ "replicas": replicas }));
                let scene = scene.pods("demo-old", stable, stable).new_pods(canary, canary);
                scene.findings(vec![status(to(1))]).is_empty()
            };
            let case = format!("{replicas} replicas, weight {weight}, surge {surge}: {canary} and {stable}");
            assert!(ends(canary, stable), "{case}");
            assert!(!ends(canary + 1, stable), "{case}: a canary pod too many");
            assert!(canary == 0 || !ends(canary - 1, stable), "{case}: a canary pod too few");
            assert!(!ends(canary, stable + 1), "{case}: a stable pod too many");
            assert!(stable == 0 || !ends(canary, stable - 1), "{case}: a stable pod too few");
        }
    }
}
