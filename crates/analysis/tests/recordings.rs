//! What the real controller made of some seventy AnalysisRuns, replayed: the same specs, the answers that its
//! measurements imply, at the recorded moments. Every recorded status and every event must come out, or be listed below.

#![allow(clippy::unwrap_used, reason = "a test that panics has failed")]

mod support;

use std::collections::BTreeMap;

use serde_json::{Value, json};
use serin_api::{
    Time,
    analysis::{AnalysisRun, AnalysisRunStatus, Measurement, MetricResult, Phase},
};
use serin_model::measure::{Answer, MetricValue, Outcome, ProviderError, TaskAnswer};
use support::{Scenario, Sim, start};

const SCENARIOS: [&str; 16] = [
    "runs",
    "runs-more",
    "analysis-args",
    "analysis-dryrun",
    "analysis-dryrun-rollout",
    "analysis-error",
    "analysis-error-limit0",
    "analysis-job",
    "analysis-job-hang",
    "background-fail",
    "background-inconclusive",
    "background-ok",
    "step-analysis-fail",
    "step-analysis-ok",
    "step-inconclusive",
    "terminate-run",
];

/// Where Serin differs: scenario, run (`*` = any whose spec is refused), JSON pointer into the status, what Serin has there.
/// A listed difference that is none any more turns the test red as well.
const LISTED: [(&str, &str, &str, &str); 2] = [
    // 12.8: upstream leaves completedAt out when it refuses a spec, and the TTL then never deletes the run.
    ("runs, runs-more", "*", "/completedAt", "the time"),
    // Item 29 of the recordings: Failed without a word, and counted as successful in the summary.
    (
        "runs",
        "count3-success-limit-never",
        "/message and /runSummary",
        "the reason, and failed: 1",
    ),
];

/// A recorded status as ours would be written: our startedAt is the first look at the run, upstream's the end of the
/// first sync, which may be a second later.
fn comparable(status: &AnalysisRunStatus) -> Value {
    let mut status = status.clone();
    status.started_at = status.started_at.map(|_| Time::new(start()));
    // Upstream's order is the order in which its goroutines ended; ours is the spec's.
    status.metric_results.sort_by(|a, b| a.name.cmp(&b.name));
    serde_json::to_value(status).unwrap()
}

fn is_refused(status: &AnalysisRunStatus) -> bool {
    status.phase == Phase::Error && status.metric_results.is_empty()
}

/// Takes out of both what is listed; the second value says whether there was something listed.
fn without_listed(scenario: &str, run: &str, ours: &mut Value, theirs: &mut Value) -> bool {
    if is_refused(&serde_json::from_value(theirs.clone()).unwrap()) && theirs.get("completedAt").is_none() {
        assert!(ours["completedAt"].is_string(), "{scenario}/{run}: {}", LISTED[0].3);
        ours.as_object_mut().unwrap().remove("completedAt");
        return true;
    }
    if (scenario, run) == (LISTED[1].0, LISTED[1].1) && theirs["phase"] == "Failed" {
        assert_eq!(
            ours["message"],
            "Metric \"m\" assessed Failed due to consecutiveSuccesses (0) < consecutiveSuccessLimit (2) after 3 measurements"
        );
        assert_eq!(
            (&theirs["message"], &theirs["runSummary"]),
            (&Value::Null, &json!({"count": 1, "successful": 1}))
        );
        assert_eq!(ours["runSummary"], json!({"count": 1, "failed": 1}));
        ours.as_object_mut().unwrap().remove("message");
        ours["runSummary"] = theirs["runSummary"].clone();
        return true;
    }
    false
}

/// What the metric's source answered, as the provider would hand it on.
fn value_of(scenario: &Scenario, run: &AnalysisRun, metric: &str, t: i64) -> MetricValue {
    let metric = run.spec.metrics.iter().find(|m| m.name == metric).unwrap();
    let source = |address: &str| {
        let name = address
            .split('?')
            .next()
            .unwrap()
            .rsplit('.')
            .next()
            .unwrap()
            .to_owned();
        scenario
            .source(&name, t)
            .unwrap_or_else(|| panic!("nobody answers for {name}"))
            .clone()
    };
    if let Some(prometheus) = &metric.provider.prometheus {
        let number = |value: &Value| {
            value
                .as_f64()
                .unwrap_or_else(|| value.as_str().unwrap().parse().unwrap())
        };
        return match source(prometheus.address.as_deref().unwrap()) {
            Value::Array(values) => MetricValue::Vector(values.iter().map(number).collect()),
            value => MetricValue::Scalar(number(&value)),
        };
    }
    let web = metric.provider.web.as_ref().unwrap();
    let value = source(web["url"].as_str().unwrap());
    MetricValue::Json(match web["jsonPath"].as_str().unwrap() {
        "{$}" => value.get("raw").cloned().unwrap_or(value),
        "{$.ok}" => value["ok"].clone(),
        "{$.a[*].v}" => value["a"][0]["v"].clone(),
        "{$.a[?(@.n==\"y\")].v}" => value["a"][1]["v"].clone(),
        path => panic!("no answer for {path}"),
    })
}

/// The answer that a recorded measurement implies. Its verdict is used only where the provider itself gave it (Jobs).
fn outcome(scenario: &Scenario, run: &AnalysisRun, metric: &str, measurement: &Measurement, t: i64) -> Outcome {
    let job = run
        .spec
        .metrics
        .iter()
        .any(|m| m.name == metric && m.provider.job.is_some());
    match measurement.phase {
        Phase::Running => Outcome::Unfinished {
            metadata: measurement.metadata.clone(),
            resume_at: measurement.resume_at.unwrap().0,
        },
        phase if job => Outcome::Verdict {
            phase,
            message: measurement.message.clone(),
            metadata: measurement.metadata.clone(),
        },
        Phase::Error if !measurement.message.starts_with("could not evaluate") => {
            Outcome::Error(ProviderError::new(&measurement.message))
        }
        _ => {
            let asked = measurement.started_at.unwrap().0 - start();
            let answer = Answer::new(value_of(scenario, run, metric, t.max(asked.num_milliseconds())));
            // A JSON string is stored without quotes.
            let text = match &answer.value {
                MetricValue::Json(Value::String(text)) => text.clone(),
                _ => answer.text,
            };
            Outcome::Answer(Answer { text, ..answer })
        }
    }
}

fn taken(result: Option<&MetricResult>) -> i64 {
    result.map_or(0, |r| i64::from(r.count + r.error))
}

/// The answers that turn one recorded status into the next.
fn answers(scenario: &Scenario, before: &AnalysisRunStatus, version: &support::Version) -> Vec<TaskAnswer> {
    let mut answers = Vec::new();
    for new in &version.run.status.as_ref().unwrap().metric_results {
        let old = before.metric_results.iter().find(|r| r.name == new.name);
        let (had, has) = (taken(old), taken(Some(new)));
        let complete: Vec<_> = new.measurements.iter().filter(|m| m.phase.is_completed()).collect();
        let new_ones = usize::try_from(has - had).unwrap();
        let mut fresh: Vec<_> = complete[complete.len() - new_ones..].to_vec();
        let last = new.measurements.last();
        if last != old.and_then(|old| old.measurements.last()) {
            fresh.extend(last.filter(|m| !m.phase.is_completed()));
        }
        for (i, measurement) in fresh.into_iter().enumerate() {
            if measurement.message == "Metric Terminated" {
                continue; // not an answer: the run was ended
            }
            answers.push(TaskAnswer {
                metric: new.name.clone(),
                number: had + i64::try_from(i).unwrap(),
                asked_at: measurement.started_at.unwrap().0,
                answered_at: measurement.finished_at.or(measurement.started_at).unwrap().0,
                outcome: outcome(scenario, &version.run, &new.name, measurement, version.t),
            });
        }
    }
    answers
}

#[derive(Default)]
struct Tally {
    equal: usize,
    merged: usize,
    listed: usize,
    wrong: Vec<String>,
}

fn replay(scenario_name: &str, scenario: &Scenario, name: &str, tally: &mut Tally) {
    let versions = &scenario.runs[name];
    let mut sim = Sim::new(versions[0].run.clone());
    sim.run.status = None;
    sim.secrets
        .insert(("token".to_owned(), "key".to_owned()), Ok("s3cret".to_owned()));
    sim.step(versions[0].t, &[]);
    let mut before = AnalysisRunStatus::default();
    let mut spec = versions[0].run.spec.clone();
    for (i, version) in versions.iter().enumerate() {
        let Some(theirs) = version.run.status.clone().filter(|s| s.phase != Phase::Unset) else {
            continue;
        };
        let answers = answers(scenario, &before, version);
        if theirs == before && version.run.spec == spec {
            continue;
        }
        // The questions must have been asked by the time that they were asked upstream.
        for answer in &answers {
            let ms = (answer.asked_at - start()).num_milliseconds().max(versions[0].t);
            let resumed = matches!(before.metric_results.iter().find(|r| r.name == answer.metric), Some(r) if r.measurements.last().is_some_and(|m| !m.phase.is_completed()));
            sim.step(if resumed { version.t } else { ms }, &[]);
            if !sim.memory.is_in_flight(&answer.metric, answer.number) {
                tally
                    .wrong
                    .push(format!("{name} at {ms}: {} is not asked", answer.metric));
            }
        }
        sim.run.spec = version.run.spec.clone();
        spec = version.run.spec.clone();
        let now = theirs
            .completed_at
            .map_or(version.t, |at| (at.0 - start()).num_milliseconds());
        let plan = sim.plan(now, &answers);
        sim.step(now, &answers);
        before = theirs.clone();
        let (mut ours, mut expected) = (comparable(&plan.status), comparable(&theirs));
        if ours == expected {
            tally.equal += 1;
            continue;
        }
        if without_listed(scenario_name, name, &mut ours, &mut expected) && ours == expected {
            tally.listed += 1;
            continue;
        }
        // Two writes of upstream's are one of ours when no answer came between them.
        let next = versions.get(i + 1).and_then(|v| v.run.status.as_ref());
        if plan.status.phase.is_completed() && next.is_some_and(|next| comparable(next) == ours) {
            tally.merged += 1;
            continue;
        }
        tally.wrong.push(format!(
            "{name} at {}:\n  ours   {ours}\n  theirs {expected}",
            version.t
        ));
    }
    let theirs = scenario.events.get(name).cloned().unwrap_or_default();
    if sim.events != theirs {
        let ours = &sim.events;
        tally.wrong.push(format!(
            "{name} events:
  ours   {ours:?}
  theirs {theirs:?}"
        ));
    }
}

#[test]
fn recorded_runs_come_out_the_same() {
    let mut tallies = BTreeMap::new();
    for name in SCENARIOS {
        let scenario = Scenario::read(name);
        let tally: &mut Tally = tallies.entry(name).or_default();
        for run in scenario.runs.keys() {
            replay(name, &scenario, run, tally);
        }
    }
    let (mut equal, mut merged, mut listed) = (0, 0, 0);
    let mut wrong = Vec::new();
    for (name, tally) in tallies {
        println!(
            "{name}: {} equal, {} merged, {} listed, {} wrong",
            tally.equal,
            tally.merged,
            tally.listed,
            tally.wrong.len()
        );
        equal += tally.equal;
        merged += tally.merged;
        listed += tally.listed;
        wrong.extend(tally.wrong.into_iter().map(|text| format!("{name}/{text}")));
    }
    println!("{equal} statuses equal, {merged} merged into the next, {listed} listed");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    // A scenario that is not read or a run that is left out must not go unnoticed.
    assert_eq!((equal, merged, listed), (148, 8, 14));
}
