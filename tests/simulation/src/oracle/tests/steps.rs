//! W4, W6, W8: steps, pauses, promotion, abort.

use std::time::Duration;

use serde_json::{Value, json};

use super::{NEW, PERSON, SERIN, Tape, caught};
use crate::oracle::Rule;

/// At step `index`, whose effect and those before are there.
fn at(index: u64) -> Tape {
    let mut tape = Tape::canary();
    let (weight, pods) = if index < 2 { (20, 1) } else { (60, 3) };
    tape.status(PERSON, json!({ "currentStepIndex": index }));
    tape.size(super::KUBE, NEW, pods).has(NEW, pods);
    tape.weigh(PERSON, weight).later(60);
    tape
}

fn pause(tape: &Tape, seconds: i64) -> Value {
    json!({"controllerPause": true, "pauseConditions": [{"reason": "CanaryPauseStep", "startTime": tape.stamp(seconds)}]})
}

fn resumed() -> Value {
    json!({"pauseConditions": null})
}

fn on(index: u64) -> Value {
    json!({"currentStepIndex": index, "pauseConditions": null, "controllerPause": false})
}

#[test]
fn a_step_that_is_passed_before_its_weight_is_written_is_caught() {
    caught(
        Rule::StepEffect,
        Tape::canary,
        |t| {
            t.status(SERIN, on(1));
        },
        |t| {
            t.weigh(SERIN, 20).status(SERIN, on(1));
        },
    );
}

#[test]
fn a_step_that_is_passed_before_its_pods_are_available_is_caught() {
    let start = || {
        let mut tape = Tape::plain();
        tape.has(NEW, 0).later(60);
        tape
    };
    caught(
        Rule::StepEffect,
        start,
        |t| {
            t.status(SERIN, on(1));
        },
        |t| {
            t.has(NEW, 1).status(SERIN, on(1));
        },
    );
}

#[test]
fn an_untimed_pause_that_nobody_ended_is_caught() {
    let start = || {
        let mut tape = at(1);
        let status = pause(&tape, 0);
        tape.status(SERIN, status).later(600);
        tape
    };
    caught(
        Rule::W8,
        start,
        |t| {
            t.status(SERIN, on(2));
        },
        |t| {
            t.status(PERSON, resumed()).status(SERIN, on(2));
        },
    );
    caught(
        Rule::W8,
        || at(1),
        |t| {
            t.status(SERIN, on(2));
        },
        |_| {},
    );
    caught(
        Rule::W8,
        start,
        |t| {
            t.status(SERIN, resumed());
        },
        |t| {
            t.status(SERIN, json!({"phase": "Paused"}));
        },
    );
}

#[test]
fn a_step_that_is_passed_while_the_spec_is_paused_is_caught() {
    caught(
        Rule::W8,
        || {
            let mut tape = Tape::canary();
            tape.weigh(SERIN, 20);
            tape
        },
        |t| {
            t.spec(json!({"paused": true})).status(SERIN, on(1));
        },
        |t| {
            t.spec(json!({"paused": false})).status(SERIN, on(1));
        },
    );
}

#[test]
fn a_pause_that_is_shortened_or_begun_anew_is_caught() {
    let start = || {
        let mut tape = at(3);
        let status = pause(&tape, 0);
        tape.status(SERIN, status).later(20);
        tape
    };
    caught(
        Rule::PauseKept,
        start,
        |t| {
            t.status(SERIN, on(4));
        },
        |t| {
            t.later(10).status(SERIN, on(4));
        },
    );
    // A clock that is set back just now had shown the end of the pause when the write was sent.
    let set_back = |t: &mut Tape, before: u64| {
        let at = t.now - Duration::from_millis(before);
        t.history.replicas[0].offsets.push((at, -15));
    };
    caught(
        Rule::PauseKept,
        start,
        |t| {
            set_back(t.later(10), 5_000);
            t.status(SERIN, on(4));
        },
        |t| {
            set_back(t.later(10), 1);
            t.status(SERIN, on(4));
        },
    );
    caught(
        Rule::PauseKept,
        start,
        |t| {
            let again = pause(t, 0);
            t.status(SERIN, again);
        },
        |t| {
            t.status(SERIN, json!({"phase": "Paused"}));
        },
    );
}

#[test]
fn a_promotion_that_is_forgotten_is_caught() {
    let start = || {
        let mut tape = at(1);
        let status = pause(&tape, 0);
        tape.status(SERIN, status).later(20);
        tape.status(PERSON, resumed());
        tape
    };
    caught(
        Rule::PromotionKept,
        start,
        |t| {
            let again = pause(t, 0);
            t.status(SERIN, again);
        },
        |t| {
            t.status(SERIN, on(2));
        },
    );
}

#[test]
fn a_promotion_past_an_analysis_that_is_not_successful_is_caught() {
    let start = || {
        let mut tape = at(4);
        tape.run("r", "Running");
        tape.status(
            SERIN,
            json!({"canary": {"currentStepAnalysisRunStatus": {"name": "r"}}}),
        )
        .later(60);
        tape
    };
    caught(
        Rule::W4,
        start,
        |t| {
            t.status(SERIN, on(5));
        },
        |t| {
            t.run("r", "Successful").status(SERIN, on(5));
        },
    );
    caught(
        Rule::W4,
        start,
        |t| {
            t.run("r", "Failed").later(5).status(SERIN, on(5));
        },
        |t| {
            t.status(PERSON, json!({"promoteFull": true})).status(SERIN, on(5));
        },
    );
}

#[test]
fn a_promotion_past_a_failed_analysis_in_the_background_is_caught() {
    let start = || {
        let mut tape = Tape::canary();
        tape.run("b", "Running");
        tape.weigh(SERIN, 20);
        tape.status(
            SERIN,
            json!({"canary": {"currentBackgroundAnalysisRunStatus": {"name": "b"}}}),
        );
        tape
    };
    caught(
        Rule::W4,
        start,
        |t| {
            t.run("b", "Failed").later(5).status(SERIN, on(1));
        },
        |t| {
            t.status(SERIN, on(1));
        },
    );
}

#[test]
fn a_new_revision_that_begins_in_the_middle_is_caught() {
    let next = |index: u64| json!({"currentPodHash": "ccc", "currentStepIndex": index});
    caught(
        Rule::W4,
        Tape::canary,
        |t| {
            t.status(SERIN, next(2));
        },
        |t| {
            t.status(SERIN, next(0));
        },
    );
}

#[test]
fn steps_that_go_back_by_themselves_are_caught() {
    caught(
        Rule::StepEffect,
        || at(2),
        |t| {
            t.status(SERIN, on(0));
        },
        |t| {
            t.status(SERIN, json!({"abort": true, "currentStepIndex": 0}));
        },
    );
}

#[test]
fn a_promotion_before_completion_is_caught() {
    let start = || {
        let mut tape = at(4);
        tape.size(super::KUBE, NEW, 5).has(NEW, 5).weigh(PERSON, 100).later(60);
        tape
    };
    let stable = |index: u64| json!({"stableRS": NEW, "currentStepIndex": index});
    let done = |t: &mut Tape| {
        t.status(PERSON, on(5));
    };
    caught(
        Rule::W6,
        start,
        |t| {
            t.status(SERIN, stable(4));
        },
        |t| {
            done(t);
            t.status(SERIN, stable(5));
        },
    );
    caught(
        Rule::W6,
        start,
        |t| {
            done(t);
            t.has(NEW, 4).later(60).status(SERIN, stable(5));
        },
        |t| {
            done(t);
            t.has(NEW, 4).status(SERIN, stable(5));
        },
    );
    caught(
        Rule::W6,
        start,
        |t| {
            done(t);
            t.weigh(PERSON, 60).later(60).status(SERIN, stable(5));
        },
        |t| {
            t.weigh(PERSON, 60).later(60);
            t.status(PERSON, json!({"promoteFull": true})).status(SERIN, stable(5));
        },
    );
    caught(
        Rule::W6,
        start,
        |t| {
            t.status(SERIN, json!({"stableRS": "zzz"}));
        },
        |_| {},
    );
}

#[test]
fn an_abort_that_is_taken_back_is_caught() {
    let start = || {
        let mut tape = Tape::canary();
        tape.status(PERSON, json!({"abort": true})).later(10);
        tape
    };
    caught(
        Rule::AbortKept,
        start,
        |t| {
            t.status(SERIN, json!({"abort": null}));
        },
        |t| {
            t.status(PERSON, json!({"abort": false}));
        },
    );
    caught(
        Rule::AbortKept,
        start,
        |t| {
            t.status(SERIN, json!({"abort": false}));
        },
        |t| {
            t.status(SERIN, json!({"abort": null, "currentPodHash": "ccc"}));
        },
    );
    caught(
        Rule::W4,
        start,
        |t| {
            t.weigh(PERSON, 20).status(SERIN, on(1));
        },
        |t| {
            t.status(SERIN, json!({"phase": "Degraded"}));
        },
    );
}
