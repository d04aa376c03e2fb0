//! Whole runs. Thousands of them are played by the binary; here is what must hold for the simulation itself.

use serin_simulation::{generate::scenario, judge, run::play, trace};

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
