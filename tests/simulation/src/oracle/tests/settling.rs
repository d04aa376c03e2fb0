//! S1 to S5.

use std::time::Duration;

use serde_json::json;

use super::{KUBE, NEW, OLD, PERSON, SERIN, Tape};
use crate::{
    history::{Cause, Done, Query, Replica, Sample, Share},
    oracle::{Rule, check},
    scenario::FaultKind,
};

/// Completed long ago: everything is where it should be.
fn healthy() -> Tape {
    let mut tape = Tape::canary();
    tape.size(KUBE, NEW, 5).has(NEW, 5);
    tape.size(KUBE, OLD, 0).has(OLD, 0);
    for service in ["demo-stable", "demo-canary"] {
        tape.switch(PERSON, service, NEW);
    }
    let counts = json!({"replicas": 5, "readyReplicas": 5, "availableReplicas": 5, "updatedReplicas": 5});
    tape.status(PERSON, counts);
    tape.status(
        PERSON,
        json!({"stableRS": NEW, "currentStepIndex": 5, "phase": "Healthy"}),
    );
    tape.later(300);
    tape.history.settled_from = tape.now;
    tape.later(30);
    tape
}

/// Aborted long ago.
fn aborted() -> Tape {
    let mut tape = Tape::canary();
    tape.size(KUBE, NEW, 0).has(NEW, 0);
    tape.switch(PERSON, "demo-canary", OLD);
    tape.status(
        PERSON,
        json!({"replicas": 5, "readyReplicas": 5, "availableReplicas": 5}),
    );
    tape.status(PERSON, json!({"abort": true, "phase": "Degraded"}));
    tape.later(300);
    tape
}

/// At the pause of step 1.
fn paused() -> Tape {
    let mut tape = Tape::canary();
    let since = tape.stamp(0);
    let counts = json!({"replicas": 6, "readyReplicas": 6, "availableReplicas": 6, "updatedReplicas": 1});
    tape.weigh(PERSON, 20).status(PERSON, counts);
    tape.status(
        PERSON,
        json!({
            "currentStepIndex": 1, "phase": "Paused", "controllerPause": true,
            "pauseConditions": [{"reason": "CanaryPauseStep", "startTime": since}],
        }),
    );
    tape.later(300);
    tape
}

#[track_caller]
fn breaks(mut tape: Tape, rules: &[Rule]) {
    assert_eq!(tape.broken(), rules, "{:#?}", check(&tape.history));
}

fn with(start: fn() -> Tape, change: impl FnOnce(&mut Tape)) -> Tape {
    let mut tape = start();
    change(&mut tape);
    tape
}

#[test]
fn rollouts_that_have_settled_break_no_rule() {
    breaks(healthy(), &[]);
    breaks(aborted(), &[]);
    breaks(paused(), &[]);
}

#[test]
fn a_rollout_that_progresses_for_ever_is_caught() {
    let progressing = |since: i64| {
        move |t: &mut Tape| {
            let since = t.stamp(since);
            let condition = json!({"type": "Progressing", "lastUpdateTime": since});
            t.status(PERSON, json!({"phase": "Progressing", "conditions": [condition]}));
        }
    };
    breaks(with(Tape::canary, progressing(-700)), &[Rule::S1]);
    breaks(with(Tape::canary, progressing(-100)), &[]);
    let running = with(Tape::canary, |t| {
        progressing(-700)(t);
        t.run("r", "Running");
        t.status(
            PERSON,
            json!({"canary": {"currentStepAnalysisRunStatus": {"name": "r"}}}),
        );
    });
    breaks(running, &[]);
}

#[test]
fn a_spec_that_was_never_observed_is_caught() {
    breaks(
        with(healthy, |t| {
            t.spec(json!({"paused": false}));
        }),
        &[Rule::S1],
    );
}

#[test]
fn a_timed_pause_that_never_ends_is_caught() {
    let timed = |t: &mut Tape| {
        let steps = json!([{"setWeight": 20}, {"pause": {"duration": 60}}]);
        t.merge(
            PERSON,
            "rollouts",
            "demo",
            json!({"spec": {"strategy": {"canary": {"steps": steps}}}}),
        );
    };
    breaks(with(paused, timed), &[Rule::S1]);
}

#[test]
fn a_pause_without_a_reason_is_caught() {
    breaks(
        with(paused, |t| {
            t.status(PERSON, json!({"pauseConditions": null}));
        }),
        &[Rule::S1],
    );
}

#[test]
fn counts_that_are_not_true_are_caught() {
    let wrong = |t: &mut Tape| {
        t.status(PERSON, json!({"availableReplicas": 4})).later(60);
    };
    breaks(with(healthy, wrong), &[Rule::S1]);
}

#[test]
fn a_completed_rollout_with_old_pods_weight_or_selectors_is_caught() {
    breaks(
        with(healthy, |t| {
            t.size(KUBE, OLD, 2);
        }),
        &[Rule::S2],
    );
    let other = |t: &mut Tape| {
        t.put(PERSON, "replicasets", super::replica_set("ccc", 0));
        t.size(KUBE, "ccc", 2);
    };
    breaks(with(healthy, other), &[Rule::S2]);
    breaks(
        with(healthy, |t| {
            t.weigh(PERSON, 20);
        }),
        &[Rule::S2],
    );
    breaks(
        with(healthy, |t| {
            t.switch(PERSON, "demo-canary", OLD);
        }),
        &[Rule::S2],
    );
    breaks(
        with(healthy, |t| {
            t.size(PERSON, NEW, 6);
        }),
        &[Rule::S2],
    );
}

#[test]
fn an_aborted_rollout_with_weight_or_canary_pods_is_caught() {
    breaks(
        with(aborted, |t| {
            t.weigh(PERSON, 20);
        }),
        &[Rule::S2],
    );
    breaks(
        with(aborted, |t| {
            t.size(PERSON, NEW, 1);
        }),
        &[Rule::S2],
    );
    breaks(
        with(aborted, |t| {
            t.size(PERSON, OLD, 4);
        }),
        &[Rule::S2],
    );
    let kept = |t: &mut Tape| {
        let delay = json!({"spec": {"strategy": {"canary": {"abortScaleDownDelaySeconds": 0}}}});
        t.merge(PERSON, "rollouts", "demo", delay);
        t.size(PERSON, NEW, 1);
    };
    breaks(with(aborted, kept), &[]);
}

#[test]
fn a_pause_with_the_wrong_weight_or_size_is_caught() {
    breaks(
        with(paused, |t| {
            t.weigh(PERSON, 40);
        }),
        &[Rule::S2],
    );
    breaks(
        with(paused, |t| {
            t.size(PERSON, NEW, 2).has(NEW, 2);
        }),
        &[Rule::S2],
    );
    breaks(
        with(paused, |t| {
            t.size(PERSON, OLD, 4).has(OLD, 4);
        }),
        &[Rule::S2],
    );
}

#[test]
fn a_history_that_is_too_long_is_caught() {
    let old = |limit: i64| {
        move |t: &mut Tape| {
            t.merge(
                PERSON,
                "rollouts",
                "demo",
                json!({"spec": {"revisionHistoryLimit": limit}}),
            );
            t.put(PERSON, "replicasets", super::replica_set("ccc", 0));
        }
    };
    breaks(with(healthy, old(0)), &[Rule::S2]);
    breaks(with(healthy, old(2)), &[]);
}

#[test]
fn a_write_and_a_query_at_rest_are_caught() {
    breaks(
        with(healthy, |t| {
            t.status(SERIN, json!({"phase": "Healthy"}));
        }),
        &[Rule::S3],
    );
    let asks = |t: &mut Tape| {
        t.history.queries.push(Query {
            at: t.now,
            user: SERIN.into(),
            text: "up".into(),
            answer: "1".into(),
        });
    };
    breaks(with(healthy, asks), &[Rule::S3]);
    let busy = with(healthy, |t| {
        asks(t);
        t.run("r", "Running");
    });
    breaks(busy, &[]);
}

#[test]
fn requests_that_fail_without_the_canary_s_fault_are_caught() {
    let sample = |cause: Cause| {
        move |t: &mut Tape| {
            t.history.traffic.push(Sample {
                from: t.now - Duration::from_secs(1),
                to: t.now,
                app: 0,
                shares: vec![Share {
                    of: 1.0,
                    service: "demo-stable".into(),
                    hash: NEW.into(),
                    failed: 0.1,
                    cause,
                }],
            });
        }
    };
    breaks(with(healthy, sample(Cause::PodGone)), &[Rule::S4]);
    breaks(with(healthy, sample(Cause::Pod)), &[]);
    let killed = with(healthy, |t| {
        t.history.faults.push(Done {
            at: t.now - Duration::from_secs(5),
            index: 0,
            rollout: "demo".into(),
            what: FaultKind::KillPods { count: 1 },
            note: String::new(),
        });
        sample(Cause::PodGone)(t);
    });
    breaks(killed, &[]);
}

#[test]
fn two_runs_for_one_purpose_and_a_lease_of_the_dead_are_caught() {
    breaks(
        with(healthy, |t| {
            t.run("r", "Running").run("r.1", "Running");
        }),
        &[Rule::S5],
    );
    let lease = |holder: &'static str| {
        move |t: &mut Tape| {
            t.history.replicas[0].identity = Some(SERIN.into());
            t.history.replicas.push(Replica {
                user: "serin-0-1".into(),
                identity: Some("dead".into()),
                started: Duration::ZERO,
                ended: Some((Duration::from_secs(1), true)),
                offsets: Vec::new(),
            });
            let spec = json!({"holderIdentity": holder, "leaseDurationSeconds": 15});
            t.put(
                PERSON,
                "leases",
                json!({"metadata": {"name": "lock", "namespace": "n"}, "spec": spec}),
            );
        }
    };
    breaks(with(healthy, lease("dead")), &[Rule::S5]);
    breaks(with(healthy, lease(SERIN)), &[]);
}
