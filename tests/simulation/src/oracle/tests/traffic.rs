//! W1, W3, the route, and what Services select.

use serde_json::json;

use super::{NEW, OLD, PERSON, SERIN, Tape, caught, slice};
use crate::oracle::Rule;

#[test]
fn a_weight_above_what_the_step_allows_is_caught() {
    caught(
        Rule::W1,
        Tape::canary,
        |t| {
            t.weigh(SERIN, 40);
        },
        |t| {
            t.weigh(SERIN, 20);
        },
    );
}

#[test]
fn a_weight_for_a_step_that_a_person_has_just_left_is_excused_for_a_second() {
    let left = |t: &mut Tape| {
        t.status(SERIN, json!({"currentStepIndex": 2, "currentPodHash": NEW}));
        t.size(SERIN, NEW, 3).has(NEW, 3).later(10);
        t.status(PERSON, json!({"currentStepIndex": 0}));
    };
    let start = || {
        let mut tape = Tape::canary();
        tape.weigh(SERIN, 20).status(PERSON, json!({"currentStepIndex": 2}));
        tape.later(60);
        tape
    };
    caught(
        Rule::W1,
        start,
        |t| {
            left(t);
            t.later(5).weigh(SERIN, 60);
        },
        |t| {
            left(t);
            t.weigh(SERIN, 60);
        },
    );
}

#[test]
fn a_weight_without_a_ready_endpoint_of_the_canary_is_caught() {
    let start = || {
        let mut tape = Tape::canary();
        tape.put("endpoints", "endpointslices", slice("demo-canary", &["demo-aaa-x"]));
        tape.later(60);
        tape
    };
    caught(
        Rule::W1,
        start,
        |t| {
            t.weigh(SERIN, 20);
        },
        |t| {
            t.put("endpoints", "endpointslices", slice("demo-canary", &["demo-bbb-y"]));
            t.weigh(SERIN, 20);
        },
    );
}

#[test]
fn a_weight_before_the_pods_of_the_step_is_caught() {
    let start = || {
        let mut tape = Tape::canary();
        tape.weigh(SERIN, 20).status(PERSON, json!({"currentStepIndex": 2}));
        tape.size(SERIN, NEW, 3).later(60);
        tape
    };
    caught(
        Rule::W1,
        start,
        |t| {
            t.has(NEW, 2).later(60).weigh(SERIN, 60);
        },
        |t| {
            t.has(NEW, 3).weigh(SERIN, 60);
        },
    );
}

#[test]
fn a_weight_for_a_release_that_the_status_does_not_know_yet_is_caught() {
    caught(
        Rule::W1,
        Tape::canary,
        |t| {
            t.spec(json!({"template": {"image": "v2"}})).later(30).weigh(SERIN, 20);
        },
        |t| {
            t.spec(json!({"replicas": 4})).later(30).weigh(SERIN, 20);
        },
    );
}

#[test]
fn a_weight_that_is_not_0_after_an_abort_is_caught() {
    let start = || {
        let mut tape = Tape::canary();
        tape.weigh(SERIN, 20).status(PERSON, json!({"abort": true}));
        tape.later(10);
        tape
    };
    caught(
        Rule::W3,
        start,
        |t| {
            t.weigh(SERIN, 10);
        },
        |t| {
            t.weigh(SERIN, 0);
        },
    );
}

#[test]
fn a_weight_that_rises_without_a_router_after_an_abort_is_caught() {
    caught(
        Rule::W3,
        || {
            let mut tape = Tape::plain();
            tape.status(PERSON, json!({"abort": true})).later(10);
            tape
        },
        |t| {
            t.size(SERIN, NEW, 2);
        },
        |t| {
            t.size(SERIN, OLD, 5);
        },
    );
}

#[test]
fn a_change_of_the_rest_of_a_route_is_caught() {
    caught(
        Rule::RouteKept,
        Tape::canary,
        |t| {
            t.merge(
                SERIN,
                "httproutes",
                "demo",
                json!({"metadata": {"labels": {"mine": "yes"}}}),
            );
        },
        |t| {
            t.merge(
                PERSON,
                "httproutes",
                "demo",
                json!({"metadata": {"labels": {"mine": "yes"}}}),
            );
        },
    );
}

#[test]
fn a_service_with_weight_that_is_given_to_the_canary_is_caught() {
    caught(
        Rule::W1,
        Tape::canary,
        |t| {
            t.switch(SERIN, "demo-stable", NEW);
        },
        |t| {
            t.status(PERSON, json!({"stableRS": NEW}));
            t.switch(SERIN, "demo-stable", NEW);
        },
    );
}

#[test]
fn a_service_with_weight_that_is_given_to_a_revision_without_pods_is_caught() {
    let start = || {
        let mut tape = Tape::canary();
        tape.status(PERSON, json!({"stableRS": NEW})).later(60);
        tape
    };
    caught(
        Rule::W2,
        start,
        |t| {
            t.has(NEW, 0).later(60).switch(SERIN, "demo-stable", NEW);
        },
        |t| {
            t.switch(SERIN, "demo-stable", NEW);
        },
    );
}
