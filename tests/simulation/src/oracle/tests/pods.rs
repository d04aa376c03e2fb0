//! W2, W5, W7, delays, the history, and that nothing is restarted.

use serde_json::json;

use super::{NEW, OLD, PERSON, SERIN, Tape, caught, replica_set};
use crate::oracle::Rule;

fn promoted() -> Tape {
    let mut tape = Tape::canary();
    tape.status(
        PERSON,
        json!({"stableRS": NEW, "currentStepIndex": 5, "phase": "Healthy"}),
    );
    tape.size(SERIN, NEW, 5).has(NEW, 5);
    tape.switch(SERIN, "demo-stable", NEW).later(60);
    tape
}

fn kept_until(tape: &mut Tape, seconds: i64) {
    let stamp = tape.stamp(seconds);
    let patch = json!({"metadata": {"annotations": {"scale-down-deadline": stamp}}});
    tape.merge(SERIN, "replicasets", "demo-aaa", patch);
}

#[test]
fn less_stable_pods_than_its_share_of_the_traffic_is_caught() {
    caught(
        Rule::W2,
        || {
            let mut tape = Tape::canary();
            tape.weigh(SERIN, 20);
            tape
        },
        |t| {
            t.size(SERIN, OLD, 3);
        },
        |t| {
            t.size(SERIN, OLD, 4);
        },
    );
}

#[test]
fn stable_pods_that_go_before_the_weight_has_moved_are_caught() {
    caught(
        Rule::W7,
        Tape::canary,
        |t| {
            t.size(SERIN, OLD, 0);
        },
        |t| {
            t.spec(json!({"replicas": 0}));
            t.size(SERIN, OLD, 0);
        },
    );
}

#[test]
fn too_few_available_pods_without_a_router_are_caught() {
    caught(
        Rule::W5,
        Tape::plain,
        |t| {
            t.size(SERIN, OLD, 3);
        },
        |t| {
            t.size(SERIN, NEW, 2).has(NEW, 2).size(SERIN, OLD, 3);
        },
    );
}

#[test]
fn too_many_pods_without_a_router_are_caught() {
    caught(
        Rule::W5,
        Tape::plain,
        |t| {
            t.size(SERIN, NEW, 3);
        },
        |t| {
            t.size(SERIN, NEW, 2);
        },
    );
}

#[test]
fn a_replica_set_that_begins_with_pods_is_caught() {
    caught(
        Rule::W5,
        Tape::plain,
        |t| {
            t.put(SERIN, "replicasets", replica_set("ccc", 1));
        },
        |t| {
            t.put(SERIN, "replicasets", replica_set("ccc", 0));
        },
    );
}

#[test]
fn a_deleted_stable_replica_set_is_caught() {
    let start = || {
        let mut tape = Tape::canary();
        tape.put(PERSON, "replicasets", replica_set("ccc", 0));
        tape.spec(json!({"revisionHistoryLimit": 0})).later(60);
        tape
    };
    caught(
        Rule::W7,
        start,
        |t| {
            t.delete(SERIN, "replicasets", "demo-aaa");
        },
        |t| {
            t.delete(SERIN, "replicasets", "demo-ccc");
        },
    );
}

#[test]
fn a_deleted_replica_set_within_the_history_is_caught() {
    let start = || {
        let mut tape = Tape::canary();
        tape.put(PERSON, "replicasets", replica_set("ccc", 0)).later(60);
        tape
    };
    caught(
        Rule::HistoryKept,
        start,
        |t| {
            t.delete(SERIN, "replicasets", "demo-ccc");
        },
        |t| {
            t.delete(PERSON, "replicasets", "demo-ccc");
        },
    );
}

#[test]
fn the_old_stable_pods_are_kept_until_their_deadline() {
    caught(
        Rule::ScaleDownDelay,
        promoted,
        |t| {
            t.size(SERIN, OLD, 0);
        },
        |t| {
            kept_until(t, 30);
            t.later(30).size(SERIN, OLD, 0);
        },
    );
    caught(
        Rule::ScaleDownDelay,
        promoted,
        |t| {
            kept_until(t, 30);
            t.later(20).size(SERIN, OLD, 0);
        },
        |t| {
            t.spec(json!({"strategy": {"canary": {"scaleDownDelaySeconds": 0}}}));
            t.size(SERIN, OLD, 0);
        },
    );
}

#[test]
fn kept_pods_that_stopped_serving_a_moment_ago_may_go_and_those_that_serve_may_not() {
    let start = || {
        let mut tape = promoted();
        kept_until(&mut tape, 30);
        tape.later(10).has(OLD, 2);
        tape
    };
    caught(
        Rule::ScaleDownDelay,
        start,
        |t| {
            t.size(SERIN, OLD, 1);
        },
        |t| {
            t.size(SERIN, OLD, 2);
        },
    );
}

#[test]
fn pods_that_stopped_serving_a_moment_ago_are_no_capacity_that_a_write_takes_away() {
    let start = || {
        let mut tape = Tape::plain();
        tape.has(OLD, 2);
        tape
    };
    caught(
        Rule::W5,
        start,
        |t| {
            t.size(SERIN, OLD, 1);
        },
        |t| {
            t.size(SERIN, OLD, 2);
        },
    );
    let start = || {
        let mut tape = Tape::canary();
        tape.has(OLD, 2);
        tape
    };
    caught(
        Rule::W2,
        start,
        |t| {
            t.size(SERIN, OLD, 1);
        },
        |t| {
            t.size(SERIN, OLD, 2);
        },
    );
}

#[test]
fn a_deadline_that_is_wrong_or_moves_is_caught() {
    caught(
        Rule::ScaleDownDelay,
        promoted,
        |t| kept_until(t, 5),
        |t| kept_until(t, 30),
    );
    caught(
        Rule::ScaleDownDelay,
        promoted,
        |t| {
            kept_until(t, 30);
            t.later(10);
            kept_until(t, 30);
        },
        |t| {
            kept_until(t, 30);
            t.merge(
                SERIN,
                "replicasets",
                "demo-aaa",
                json!({"metadata": {"annotations": null}}),
            );
        },
    );
}

#[test]
fn an_aborted_canary_is_kept_until_its_deadline() {
    let start = || {
        let mut tape = Tape::canary();
        tape.status(PERSON, json!({"abort": true})).later(10);
        tape
    };
    caught(
        Rule::ScaleDownDelay,
        start,
        |t| {
            t.size(SERIN, NEW, 0);
        },
        |t| {
            let stamp = t.stamp(30);
            let patch = json!({"metadata": {"annotations": {"scale-down-deadline": stamp}}});
            t.merge(SERIN, "replicasets", "demo-bbb", patch);
            t.later(31).size(SERIN, NEW, 0);
        },
    );
}

#[test]
fn a_second_replica_set_of_a_template_is_caught() {
    let twin = |image: &str| {
        let mut twin = replica_set("ccc", 0);
        twin["spec"]["template"]["image"] = json!(image);
        twin
    };
    caught(
        Rule::NoRestart,
        Tape::canary,
        |t| {
            t.put(SERIN, "replicasets", twin(NEW));
        },
        |t| {
            t.put(SERIN, "replicasets", twin("other"));
        },
    );
}

#[test]
fn a_changed_template_and_a_deleted_pod_are_caught() {
    caught(
        Rule::NoRestart,
        Tape::canary,
        |t| {
            t.merge(
                SERIN,
                "replicasets",
                "demo-aaa",
                json!({"spec": {"template": {"image": "x"}}}),
            );
        },
        |t| {
            t.merge(
                SERIN,
                "replicasets",
                "demo-aaa",
                json!({"metadata": {"annotations": {"a": "b"}}}),
            );
        },
    );
    let pod = json!({"metadata": {"name": "demo-aaa-x", "namespace": "n"}});
    caught(
        Rule::NoRestart,
        Tape::canary,
        |t| {
            t.put(super::KUBE, "pods", pod.clone())
                .delete(SERIN, "pods", "demo-aaa-x");
        },
        |t| {
            t.put(super::KUBE, "pods", pod.clone())
                .delete(super::KUBE, "pods", "demo-aaa-x");
        },
    );
}
