//! Whole runs. Thousands of them are played by the binary; here is what must hold for the simulation itself.

use std::time::Duration;

use serde_json::Value;
use serin_simulation::{generate::scenario, judge, run::play, scenario::Scenario, trace};

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
    serde_json::from_str(include_str!("../data/ten-hours.json")).expect("it is a scenario")
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
