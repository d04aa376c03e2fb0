//! Providers that take their time and decide on their own, as Jobs do (compat 3.1).

#![allow(clippy::unwrap_used, reason = "a test that panics has failed")]

mod support;

use std::collections::BTreeMap;

use serde_json::json;
use serin_api::{Time, analysis::Phase};
use serin_model::measure::Outcome;
use support::{Sim, at, error, metric, run, scalar};

fn named(job: &str) -> BTreeMap<String, String> {
    [("job".to_owned(), job.to_owned())].into()
}

/// A run whose first question is under way since second 1 and is to be looked at again at second 5.
fn begun() -> Sim {
    let metrics = json!([metric("m", json!({ "interval": "60s" }))]);
    let mut sim = Sim::new(run(json!({ "metrics": metrics })));
    sim.step(1_000, &[]);
    let later = Outcome::Unfinished {
        metadata: named("first"),
        resume_at: at(5_000),
    };
    sim.answer(2_000, "m", later);
    sim
}

#[test]
fn an_unfinished_measurement_is_shown_and_taken_up_again_in_time() {
    let mut sim = begun();
    let plan = sim.step(4_999, &[]);
    assert_eq!((plan.tasks.len(), plan.wake_at), (0, Some(at(5_000))));
    let result = &plan.status.metric_results[0];
    assert_eq!((result.phase, result.count), (Phase::Running, 0));
    let [shown] = result.measurements.as_slice() else {
        panic!("one measurement: {result:?}")
    };
    assert_eq!((shown.phase, &shown.metadata), (Phase::Running, &named("first")));
    assert_eq!(
        (shown.started_at, shown.finished_at),
        (Some(Time::new(at(1_000))), None)
    );

    let task = sim.step(5_000, &[]).tasks.remove(0);
    assert_eq!((task.number, task.resume.as_ref()), (0, Some(shown)));
}

#[test]
fn the_providers_verdict_ends_the_measurement_with_what_the_provider_says_now() {
    let mut sim = begun();
    sim.step(5_000, &[]);
    let verdict = Outcome::Verdict {
        phase: Phase::Inconclusive,
        message: "undecided".to_owned(),
        metadata: named("second"),
    };
    let status = sim.answer(7_000, "m", verdict).status;
    assert_eq!(status.phase, Phase::Inconclusive);
    let [ended] = status.metric_results[0].measurements.as_slice() else {
        panic!("one measurement: {status:?}")
    };
    assert_eq!(
        (ended.phase, ended.message.as_str()),
        (Phase::Inconclusive, "undecided")
    );
    assert_eq!(ended.metadata, named("second"));
    let times = [ended.started_at, ended.finished_at].map(|time| time.unwrap().0);
    assert_eq!(times, [at(1_000), at(7_000)]);
    assert_eq!(
        serde_json::to_value(&status.run_summary).unwrap(),
        json!({ "count": 1, "inconclusive": 1 })
    );
}

#[test]
fn a_run_that_is_terminated_ends_what_is_unfinished_as_inconclusive() {
    let mut sim = begun();
    sim.run.spec.terminate = Some(true);
    let status = sim.step(3_000, &[]).status;
    let result = &status.metric_results[0];
    assert_eq!((result.phase, result.inconclusive), (Phase::Inconclusive, 1));
    let [ended] = result.measurements.as_slice() else {
        panic!("one measurement: {result:?}")
    };
    assert_eq!(
        (ended.phase, ended.message.as_str()),
        (Phase::Inconclusive, "Metric Terminated")
    );
    assert_eq!(
        (&ended.metadata, ended.finished_at),
        (&named("first"), Some(Time::new(at(3_000))))
    );
    assert_eq!(status.phase, Phase::Inconclusive);
}

#[test]
fn a_count_that_a_person_lowers_meanwhile_waits_for_what_is_unfinished() {
    let spec = |count: i32| run(json!({ "metrics": [metric("m", json!({ "interval": "10s", "count": count }))] }));
    let mut sim = Sim::new(spec(3));
    sim.step(0, &[]);
    sim.answer(0, "m", scalar(1.0));
    sim.step(10_000, &[]);
    let later = Outcome::Unfinished {
        metadata: named("second"),
        resume_at: at(20_000),
    };
    sim.answer(10_000, "m", later);
    sim.run.spec = spec(1).spec;
    assert_eq!(sim.step(11_000, &[]).status.phase, Phase::Running);
    sim.step(20_000, &[]);
    let status = sim.answer(20_000, "m", scalar(1.0)).status;
    assert_eq!((status.phase, status.metric_results[0].count), (Phase::Successful, 2));
}

#[test]
fn each_measurement_has_its_own_beginning_and_an_old_answer_is_never_counted_again() {
    let metrics = json!([metric("m", json!({ "interval": "10s" }))]);
    let mut sim = Sim::new(run(json!({ "metrics": metrics })));
    sim.step(0, &[]);
    let first = sim.answer_to(1_000, "m", scalar(1.0));
    sim.step(1_000, std::slice::from_ref(&first));
    sim.step(11_000, &[]);
    sim.answer(12_000, "m", error());
    let late = sim.step(13_000, &[first]);
    let result = &late.status.metric_results[0];
    assert_eq!((result.count, result.error), (1, 1));
    let begun: Vec<_> = result.measurements.iter().map(|m| m.started_at.unwrap().0).collect();
    assert_eq!(begun, [at(0), at(11_000)]);
}
