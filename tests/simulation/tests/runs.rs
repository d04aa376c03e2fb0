//! Whole runs. Thousands of them are played by the binary; here is what must hold for the simulation itself.

use std::time::Duration;

use serde_json::{Value, json};
use serin_simulation::{
    generate::scenario,
    judge,
    run::play,
    scenario::{Action, App, Controller, Image, Scenario, What},
    trace,
};

#[test]
fn the_same_seed_gives_the_same_trace_byte_for_byte() {
    for seed in [1, 2, 3] {
        let scenario = scenario(seed);
        assert_eq!(judge::repeat(&scenario).expect("it can be set up"), None, "seed {seed}");
    }
}

#[test]
fn a_run_leaves_behind_requests_changes_and_users() {
    let played = play(&scenario(4)).expect("it can be set up");
    let history = &played.history;
    assert!(history.requests.len() > 50, "{}", history.requests.len());
    assert!(history.changes.iter().any(|c| c.user.starts_with("serin-")));
    assert!(!history.traffic.is_empty());
    assert!(history.end > history.settled_from && history.settled_from > history.calm_from);
    assert!(trace::timeline(history).contains("rollouts app-a: created"));
}

/// A release with pauses of 4 and 6 hours, and nothing that goes wrong.
fn ten_hours() -> Scenario {
    let steps = json!([
        { "setWeight": 20 }, { "pause": { "duration": "4h" } }, { "setWeight": 60 }, { "pause": { "duration": "6h" } },
    ]);
    let labels = json!({ "app": "app-a" });
    let container = json!({ "name": "app", "image": "app-a:v0" });
    let image = Image {
        errors: 0,
        latency: 20,
        start: Some(1_000),
        exists: true,
        crash: None,
        moody: 0,
        stop: 100,
    };
    let action = |at, what| Action { at, app: 0, what };
    Scenario {
        seed: 0,
        controller: Controller {
            replicas: 1,
            election: false,
            audit: true,
            workers: 1,
        },
        apps: vec![App {
            name: "app-a".to_owned(),
            namespace: "default".to_owned(),
            rollout: json!({
                "apiVersion": "argoproj.io/v1alpha1", "kind": "Rollout",
                "metadata": { "name": "app-a", "namespace": "default" },
                "spec": {
                    "replicas": 5, "selector": { "matchLabels": labels },
                    "template": { "metadata": { "labels": labels }, "spec": { "containers": [container] } },
                    "strategy": { "canary": { "steps": steps } },
                },
            }),
            router: false,
            other_rules: 0,
            rps: 10.0,
            images: vec![image.clone(), image],
        }],
        templates: Vec::new(),
        actions: vec![
            action(10_000, What::Image(1)),
            action(11 * 3_600_000, What::Pause(false)),
        ],
        faults: Vec::new(),
    }
}

#[test]
fn a_release_with_ten_hours_of_pauses_is_promoted_after_ten_hours_with_few_writes() {
    let played = play(&ten_hours()).expect("it can be set up");
    let history = &played.history;
    let stable = |o: &Value| o.pointer("/status/stableRS").and_then(Value::as_str).map(str::to_owned);
    let mut promoted = history.changes.iter().filter(|change| {
        let (old, new) = (
            change.old.as_deref().and_then(stable),
            change.new.as_deref().and_then(stable),
        );
        change.resource.plural == "rollouts" && old.is_some() && old != new
    });
    let at = promoted.next().expect("it is promoted").at;
    let ten = Duration::from_secs(36_000);
    assert!(at > ten && at < ten + Duration::from_secs(60), "{at:?}");
    // One request a minute would be 600; watches are renewed every few minutes.
    let writes = history
        .requests
        .iter()
        .filter(|r| r.user.starts_with("serin-") && r.method != "GET");
    assert!(writes.count() < 100);
}
