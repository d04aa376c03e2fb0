//! W9, guards and freshness.

use std::time::Duration;

use serde_json::json;

use super::{OTHER, SERIN, Tape, caught};
use crate::{history::Replica, oracle::Rule};

fn elected() -> Tape {
    let mut tape = Tape::canary();
    tape.history.replicas = [SERIN, OTHER]
        .into_iter()
        .map(|user| Replica {
            user: user.into(),
            identity: Some(user.into()),
            started: Duration::ZERO,
            ended: None,
            offsets: Vec::new(),
        })
        .collect();
    tape.history.requests.clear();
    hold(&mut tape, SERIN);
    tape
}

fn hold(tape: &mut Tape, user: &str) {
    let spec = json!({"holderIdentity": user, "leaseDurationSeconds": 15});
    tape.put(
        user,
        "leases",
        json!({"metadata": {"name": "lock", "namespace": "n"}, "spec": spec}),
    );
}

#[test]
fn a_write_after_the_renew_deadline_is_caught() {
    caught(
        Rule::W9,
        elected,
        |t| {
            t.later(11).weigh(SERIN, 20);
        },
        |t| {
            t.later(8);
            hold(t, SERIN);
            t.later(8).weigh(SERIN, 20);
        },
    );
}

#[test]
fn a_write_of_a_standby_is_caught() {
    caught(
        Rule::W9,
        elected,
        |t| {
            t.weigh(OTHER, 20);
        },
        |t| {
            t.later(20);
            hold(t, OTHER);
            t.weigh(OTHER, 20);
        },
    );
}

#[test]
fn a_late_write_over_what_the_next_leader_wrote_is_caught() {
    let late = |t: &mut Tape, over: &str| {
        t.later(16);
        hold(t, OTHER);
        t.status(OTHER, json!({"phase": "Degraded"})).later(1);
        let old = t.get("rollouts", over);
        t.put(SERIN, "rollouts", old);
        // It was sent when there was still time.
        let last = t.history.requests.len() - 1;
        let asked = &mut t.history.requests[last];
        asked.at -= Duration::from_secs(15);
        asked.body = json!({"metadata": {"resourceVersion": "1"}});
    };
    let mut tape = elected();
    late(&mut tape, "demo");
    assert!(tape.broken_by_writes().contains(&Rule::W9));
    caught(
        Rule::W9,
        elected,
        |t| late(t, "demo"),
        |t| {
            t.later(16);
            hold(t, OTHER);
            t.weigh(OTHER, 20).later(1);
        },
    );
}

#[test]
fn a_write_without_a_guard_is_caught() {
    let asked = |t: &mut Tape, body: serde_json::Value| {
        t.weigh(SERIN, 20);
        let last = t.history.requests.len() - 1;
        t.history.requests[last].body = body;
    };
    caught(
        Rule::Guarded,
        Tape::canary,
        |t| asked(t, json!({"status": {"phase": "Paused"}})),
        |t| asked(t, json!([{"op": "test", "path": "/metadata/uid", "value": "u"}])),
    );
}

#[test]
fn a_write_from_an_object_older_than_the_own_last_write_is_caught() {
    let refused = |t: &mut Tape, version: u64| {
        t.status(SERIN, json!({"phase": "Paused"})).later(1);
        let asked = serin_kubesim::Asked {
            at: t.now,
            user: SERIN.into(),
            method: "PATCH".into(),
            path: "/apis/argoproj.io/v1alpha1/namespaces/n/rollouts/demo/status".into(),
            body: json!({"metadata": {"resourceVersion": version.to_string()}}),
            code: 409,
        };
        t.history.requests.push(asked);
    };
    caught(
        Rule::Fresh,
        Tape::canary,
        |t| refused(t, 101),
        |t| {
            let newest = t.version + 1;
            refused(t, newest);
        },
    );
}
