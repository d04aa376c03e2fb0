//! Limits, schedule, endings and what is waited for, as tables (compat 3.1 to 3.3).

#![allow(clippy::unwrap_used, reason = "a test that panics has failed")]

mod support;

use serde_json::json;
use serin_analysis::RunPlan;
use serin_api::analysis::Phase;
use serin_model::measure::{Answer, MetricValue, Outcome, ProviderError};
use support::{Sim, annotated, at, error, metric, run, scalar, vector};

/// Plays answers one a second against one metric and gives its phase, the run's phase and the run's message.
/// `s` successful, `f` failed, `i` inconclusive, `e` error.
fn play(more: serde_json::Value, answers: &str) -> (Phase, Phase, String) {
    let mut spec = metric(
        "m",
        json!({"successCondition": "result == 1", "failureCondition": "result == 2", "interval": "1s"}),
    );
    spec.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    let mut sim = Sim::new(run(json!({ "metrics": [spec] })));
    let mut ms = 0;
    sim.step(ms, &[]);
    for answer in answers.chars() {
        let outcome = match answer {
            's' => scalar(1.0),
            'f' => scalar(2.0),
            'i' => scalar(3.0),
            _ => error(),
        };
        sim.answer(ms, "m", outcome);
        let status = sim.run.status.clone().unwrap();
        if status.phase.is_completed() {
            break;
        }
        ms += 10_000;
        sim.step(ms, &[]);
    }
    let status = sim.run.status.unwrap();
    (status.metric_results[0].phase, status.phase, status.message)
}

#[test]
fn limits_end_a_metric_in_the_right_phase() {
    use Phase::{Error, Failed, Inconclusive, Running, Successful};
    for (more, answers, phase, reason) in [
        (json!({}), "sssss", Running, ""),
        (json!({"count": 3}), "sss", Successful, ""),
        (json!({"count": 3}), "ss", Running, ""),
        (json!({"count": 3}), "sf", Failed, "failed (1) > failureLimit (0)"),
        (
            json!({"count": 3, "failureLimit": 1}),
            "sff",
            Failed,
            "failed (2) > failureLimit (1)",
        ),
        (json!({"count": 3, "failureLimit": 1}), "sfs", Successful, ""),
        (
            json!({"count": 3}),
            "i",
            Inconclusive,
            "inconclusive (1) > inconclusiveLimit (0)",
        ),
        (
            json!({"count": 3, "inconclusiveLimit": "1"}),
            "isi",
            Inconclusive,
            "inconclusive (2) > inconclusiveLimit (1)",
        ),
        (json!({"count": 3, "inconclusiveLimit": 1}), "iss", Successful, ""),
        // Errors do not use up the count, and only those in a row count.
        (json!({"count": 2}), "eeees", Running, ""),
        (json!({"count": 2}), "eeeeseeeeseeee", Successful, ""),
        (
            json!({"count": 2}),
            "seeeee",
            Error,
            "consecutiveErrors (5) > consecutiveErrorLimit (4): \"Error Message: provider is down\"",
        ),
        (
            json!({"consecutiveErrorLimit": 0}),
            "e",
            Error,
            "consecutiveErrors (1) > consecutiveErrorLimit (0): \"Error Message: provider is down\"",
        ),
        // Enough successes in a row.
        (
            json!({"consecutiveSuccessLimit": 2, "failureLimit": -1}),
            "ffsfss",
            Successful,
            "",
        ),
        (
            json!({"consecutiveSuccessLimit": 2, "failureLimit": -1}),
            "sfsfsesf",
            Running,
            "",
        ),
        (
            json!({"consecutiveSuccessLimit": 2, "failureLimit": -1, "count": 3}),
            "sfs",
            Failed,
            "consecutiveSuccesses (1) < consecutiveSuccessLimit (2) after 3 measurements",
        ),
        (
            json!({"consecutiveSuccessLimit": 2, "failureLimit": 1, "count": 3}),
            "sfs",
            Inconclusive,
            "consecutiveSuccesses (1) < consecutiveSuccessLimit (2) after 3 measurements",
        ),
        (
            json!({"consecutiveSuccessLimit": 2, "failureLimit": 1, "count": 4}),
            "sff",
            Failed,
            "failed (2) > failureLimit (1)",
        ),
    ] {
        let message = if reason.is_empty() {
            String::new()
        } else {
            format!("Metric \"m\" assessed {phase} due to {reason}")
        };
        assert_eq!(play(more.clone(), answers), (phase, phase, message), "{more} {answers}");
    }
}

#[test]
fn a_metric_without_interval_and_count_is_measured_once() {
    let mut sim = Sim::new(run(json!({"metrics": [metric("m", json!({}))]})));
    assert_eq!(sim.step(0, &[]).tasks.len(), 1);
    let plan = sim.answer(100, "m", scalar(9.0));
    assert_eq!(
        (plan.status.phase, plan.tasks.len(), plan.wake_at),
        (Phase::Successful, 0, None)
    );
    assert_eq!(plan.status.completed_at.unwrap().0, at(0));
}

#[test]
fn the_next_measurement_is_due_an_interval_after_the_last_and_ten_seconds_after_an_error() {
    let mut sim = Sim::new(run(json!({"metrics": [metric("m", json!({"interval": "60s"}))]})));
    sim.step(0, &[]);
    let plan = sim.answer(2_300, "m", scalar(1.0));
    assert_eq!((plan.tasks.len(), plan.wake_at), (0, Some(at(62_000))));
    assert_eq!(sim.step(61_999, &[]).tasks.len(), 0);
    assert_eq!(sim.step(62_000, &[]).tasks.len(), 1);
    assert_eq!(sim.step(63_000, &[]).tasks.len(), 0, "asked only once");
    let plan = sim.answer(64_000, "m", error());
    assert_eq!(plan.wake_at, Some(at(74_000)));
    assert_eq!(sim.step(74_000, &[]).tasks.len(), 1);
}

#[test]
fn an_interval_below_a_second_is_stretched_to_one() {
    for interval in ["0s", "1ms", "-5s"] {
        let mut sim = Sim::new(run(json!({"metrics": [metric("m", json!({"interval": interval}))]})));
        sim.step(0, &[]);
        assert_eq!(sim.answer(0, "m", scalar(1.0)).wake_at, Some(at(1_000)), "{interval}");
    }
}

#[test]
fn an_initial_delay_counts_from_the_runs_start() {
    let mut sim = Sim::new(run(json!({"metrics": [metric("m", json!({"initialDelay": "2m"}))]})));
    let plan = sim.step(400, &[]);
    assert_eq!((plan.tasks.len(), plan.status.phase), (0, Phase::Running));
    assert_eq!(plan.status.started_at.unwrap().0, at(0));
    assert_eq!(plan.wake_at, Some(at(120_000)));
    assert_eq!(sim.step(120_000, &[]).tasks.len(), 1);
}

#[test]
fn a_quick_first_answer_costs_one_write_and_a_slow_one_shows_that_the_run_is_running() {
    let mut sim = Sim::new(run(json!({"metrics": [metric("m", json!({}))]})));
    let plan = sim.step(0, &[]);
    assert_eq!((plan.status.phase, plan.wake_at), (Phase::Unset, Some(at(1_000))));
    sim.answer(300, "m", scalar(1.0));
    assert_eq!(sim.writes, 1);
    let mut sim = Sim::new(run(json!({"metrics": [metric("m", json!({}))]})));
    sim.step(0, &[]);
    let plan = sim.step(1_000, &[]);
    assert_eq!(
        (plan.status.phase, plan.tasks.len(), sim.writes),
        (Phase::Running, 0, 1)
    );
    assert_eq!(plan.status.started_at.unwrap().0, at(0));
    sim.answer(5_000, "m", scalar(1.0));
    assert_eq!(sim.writes, 2);
}

#[test]
fn after_a_crash_the_lost_question_is_asked_again() {
    let mut sim = Sim::new(run(
        json!({"metrics": [metric("m", json!({"interval": "5s", "count": 2}))]}),
    ));
    sim.step(0, &[]);
    sim.answer(0, "m", scalar(1.0));
    sim.step(5_000, &[]);
    sim.memory = Default::default();
    let plan = sim.step(6_000, &[]);
    assert_eq!((plan.tasks.len(), plan.tasks[0].number), (1, 1));
    assert_eq!(sim.answer(6_000, "m", scalar(1.0)).status.phase, Phase::Successful);
}

#[test]
fn the_same_answer_given_twice_counts_once() {
    let mut sim = Sim::new(run(
        json!({"metrics": [metric("m", json!({"interval": "5s", "count": 3}))]}),
    ));
    sim.step(0, &[]);
    let answer = sim.answer_to(0, "m", scalar(1.0));
    let first = sim.step(0, std::slice::from_ref(&answer));
    assert_eq!(first.status.metric_results[0].count, 1);
    let again = sim.step(100, &[answer.clone(), answer]);
    assert_eq!(again.status, first.status);
    assert!(again.events.is_empty());
}

#[test]
fn a_failed_metric_ends_the_run_at_once_and_an_inconclusive_one_waits_for_the_others() {
    let spec = || {
        let conditions = json!({"successCondition": "result == 1", "failureCondition": "result == 2"});
        run(json!({"metrics": [metric("a", conditions.clone()), metric("b", conditions)]}))
    };
    let mut sim = Sim::new(spec());
    sim.step(0, &[]);
    let plan = sim.answer(10, "a", scalar(2.0));
    assert_eq!(plan.status.phase, Phase::Failed);
    assert!(!plan.memory.is_in_flight("b", 0), "the other question is dropped");

    let mut sim = Sim::new(spec());
    sim.step(0, &[]);
    let plan = sim.answer(10, "a", scalar(3.0));
    assert_eq!(
        (plan.status.phase, plan.status.metric_results[0].phase),
        (Phase::Running, Phase::Inconclusive)
    );
    sim.step(500, &[]);
    let plan = sim.answer(900, "b", scalar(2.0));
    assert_eq!(plan.status.phase, Phase::Failed);
    assert_eq!(
        plan.status.message,
        "Metric \"b\" assessed Failed due to failed (1) > failureLimit (0)"
    );
    assert_eq!(
        sim.events,
        [
            "Normal MetricInconclusive Metric 'a' Completed. Result: Inconclusive",
            "Warning MetricFailed Metric 'b' Completed. Result: Failed",
            "Warning AnalysisRunFailed Analysis Completed. Result: Failed",
        ]
    );
}

#[test]
fn while_others_are_waited_for_nothing_new_is_asked() {
    let conditions = json!({"successCondition": "result == 1", "failureCondition": "result == 2", "interval": "1s"});
    let mut sim = Sim::new(run(
        json!({"metrics": [metric("a", conditions.clone()), metric("b", conditions)]}),
    ));
    sim.step(0, &[]);
    sim.answer(0, "b", scalar(1.0));
    sim.step(1_000, &[]);
    sim.answer(1_000, "a", scalar(3.0));
    let plan = sim.step(60_000, &[]);
    assert_eq!((plan.status.phase, plan.tasks.len()), (Phase::Running, 0));
    let plan = sim.answer(61_000, "b", error());
    assert_eq!(plan.status.phase, Phase::Inconclusive);
    assert_eq!(plan.status.metric_results[1].phase, Phase::Successful);
}

#[test]
fn terminate_ends_a_run_with_what_it_has() {
    let mut sim = Sim::new(run(
        json!({"metrics": [metric("m", json!({"interval": "1s"}))], "terminate": true}),
    ));
    let plan = sim.step(0, &[]);
    assert_eq!(
        (plan.status.phase, plan.status.message.as_str()),
        (Phase::Successful, "Run Terminated")
    );
    assert!(plan.tasks.is_empty() && plan.status.metric_results.is_empty());
    let mut sim = Sim::new(run(json!({"metrics": [metric("m", json!({"interval": "1s"}))]})));
    sim.step(0, &[]);
    sim.answer(0, "m", scalar(1.0));
    sim.step(1_000, &[]);
    sim.run.spec.terminate = Some(true);
    let plan = sim.step(1_500, &[]);
    assert_eq!(
        (plan.status.phase, plan.status.message.as_str()),
        (Phase::Successful, "Run Terminated")
    );
    assert!(!plan.memory.is_in_flight("m", 1));
}

#[test]
fn ten_measurements_are_kept_unless_a_rule_says_otherwise() {
    for (rules, kept) in [
        (json!([]), 10),
        (json!([{"metricName": "^m", "limit": 3}]), 3),
        (json!([{"metricName": "m", "limit": 0}]), 10),
    ] {
        let spec = json!({"metrics": [metric("m", json!({"interval": "1s"}))], "measurementRetention": rules});
        let mut sim = Sim::new(run(spec));
        for second in 0..15 {
            sim.step(second * 1000, &[]);
            sim.answer(second * 1000, "m", scalar(1.0));
        }
        let status = sim.run.status.unwrap();
        assert_eq!(
            (
                status.metric_results[0].measurements.len(),
                status.metric_results[0].count
            ),
            (kept, 15)
        );
    }
}

#[test]
fn a_dry_run_metric_reports_and_decides_nothing() {
    let bad = metric("bad", json!({"successCondition": "result == 1"}));
    let good = metric("good", json!({"successCondition": "result == 1"}));
    let mut sim = Sim::new(run(json!({"metrics": [bad, good], "dryRun": [{"metricName": "bad"}]})));
    sim.step(0, &[]);
    let plan = sim.answer(0, "bad", scalar(2.0));
    assert_eq!(plan.status.phase, Phase::Running);
    let status = sim.answer(0, "good", scalar(1.0)).status;
    assert_eq!((status.phase, status.message.as_str()), (Phase::Successful, ""));
    assert_eq!(
        status.metric_results[0].message,
        "Metric assessed Failed due to failed (1) > failureLimit (0)"
    );
    assert_eq!(
        serde_json::to_value(&status.dry_run_summary).unwrap(),
        json!({"count": 1, "failed": 1})
    );
    assert_eq!(
        serde_json::to_value(&status.run_summary).unwrap(),
        json!({"count": 1, "successful": 1})
    );
}

#[test]
fn a_completed_run_is_deleted_when_its_time_has_come_and_not_before() {
    let end = |answer: Outcome, ttl: serde_json::Value| {
        let spec = json!({"metrics": [metric("m", json!({"successCondition": "result == 1", "consecutiveErrorLimit": 0}))], "ttlStrategy": ttl});
        let mut sim = Sim::new(run(spec));
        sim.step(0, &[]);
        let plan = sim.answer(0, "m", answer);
        (plan.wake_at.map(|at| (at - support::start()).num_seconds()), sim)
    };
    let all = || json!({"secondsAfterCompletion": 60, "secondsAfterFailure": 20, "secondsAfterSuccess": 10});
    let (wake, mut sim) = end(scalar(1.0), all());
    assert_eq!(wake, Some(10));
    assert!(!sim.step(9_999, &[]).delete);
    assert!(sim.step(10_000, &[]).delete);
    assert_eq!(end(scalar(2.0), all()).0, Some(20));
    assert_eq!(end(error(), all()).0, Some(60), "an error is not a failure");
    assert_eq!(end(scalar(1.0), json!({"secondsAfterFailure": 20})).0, None);
    assert_eq!(end(scalar(1.0), json!({})).0, None);
    let mut old = run(json!({"metrics": [], "ttlStrategy": {"secondsAfterCompletion": 5}}));
    old.status =
        Some(serde_json::from_value(json!({"phase": "Error", "message": "from upstream, without a time"})).unwrap());
    let plan = Sim::new(old).step(1_000, &[]);
    assert_eq!((plan.delete, plan.wake_at), (false, Some(at(6_000))));
}

#[test]
fn a_refused_spec_ends_the_run_with_a_time_and_is_deleted_in_time() {
    let mut sim = Sim::new(run(
        json!({"metrics": [], "ttlStrategy": {"secondsAfterCompletion": 5}}),
    ));
    let plan = sim.step(2_000, &[]);
    assert_eq!(plan.status.message, "Analysis spec invalid: no metrics specified");
    assert_eq!(
        (plan.status.completed_at.unwrap().0, plan.wake_at),
        (at(2_000), Some(at(7_000)))
    );
    assert_eq!(
        sim.events,
        ["Warning AnalysisRunError Analysis Completed. Result: Error"]
    );
    assert!(sim.step(7_000, &[]).delete);
}

#[test]
fn secrets_reach_the_question_and_nothing_that_is_written() {
    let spec = json!({
        "metrics": [metric("m", json!({
            "successCondition": "result == \"{{args.token}}\"", "interval": "1s",
            "provider": {"prometheus": {"query": "up{t=\"{{args.token}}\"}"}},
        }))],
        "args": [{"name": "token", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}}],
    });
    let mut sim = Sim::new(run(spec));
    assert_eq!(
        sim.step(0, &[]).status.message,
        "Unable to resolve metric arguments: secrets \"s\" not found"
    );
    sim.run.status = None;
    sim.memory = Default::default();
    sim.secrets.insert(("s".into(), "k".into()), Ok("hunter2".into()));
    let plan = sim.step(0, &[]);
    assert_eq!(
        plan.tasks[0]
            .request
            .provider
            .prometheus
            .as_ref()
            .unwrap()
            .query
            .as_deref(),
        Some("up{t=\"hunter2\"}")
    );
    assert!(!format!("{:?}", plan.tasks).contains("hunter2"), "a task can be logged");
    sim.answer(0, "m", scalar(1.0));
    sim.step(10_000, &[]);
    sim.answer(
        10_000,
        "m",
        Outcome::Error(ProviderError::new("bad query up{t=\"hunter2\"}")),
    );
    let text = serde_json::to_string(sim.run.status.as_ref().unwrap()).unwrap();
    assert!(!text.contains("hunter2"), "{text}");
    assert!(text.contains("up{t=\\\"*****\\\"}"), "{text}");
}

#[test]
fn a_secret_is_hidden_in_the_forms_that_addresses_and_quotations_give_it() {
    let spec = json!({
        "metrics": [metric("m", json!({
            "interval": "1s", "consecutiveErrorLimit": 9,
            "provider": {"prometheus": {"query": "up{t=\"{{args.token}}\"}"}},
        }))],
        "args": [{"name": "token", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}}],
    });
    let mut sim = Sim::new(run(spec));
    let secret = "pä \"ss\\w";
    sim.secrets.insert(("s".into(), "k".into()), Ok(secret.into()));
    let said = [
        "Post \"http://p:9090/p%C3%A4%20%22ss%5Cw/x\": refused".to_owned(),
        "Post \"http://p:9090/p%c3%a4+%22ss\\w/x\": refused".to_owned(),
        format!("unexpected {secret:?}"),
        format!("as it is: {secret}"),
    ];
    for (n, words) in said.iter().enumerate() {
        let ms = i64::try_from(n).unwrap() * 20_000;
        sim.step(ms, &[]);
        sim.answer(ms, "m", Outcome::Error(ProviderError::new(words.as_str())));
    }
    sim.step(100_000, &[]);
    let messages: Vec<String> = sim.run.status.as_ref().unwrap().metric_results[0]
        .measurements
        .iter()
        .map(|m| m.message.clone())
        .collect();
    assert_eq!(
        messages,
        [
            "Post \"http://p:9090/*****/x\": refused",
            "Post \"http://p:9090/*****/x\": refused",
            "unexpected \"*****\"",
            "as it is: *****",
        ]
    );
}

#[test]
fn a_run_that_is_edited_and_a_secret_that_is_changed_count_from_the_next_question_on() {
    fn asked(plan: &RunPlan) -> &str {
        let prometheus = plan.tasks[0].request.provider.prometheus.as_ref().unwrap();
        prometheus.query.as_deref().unwrap()
    }
    let spec = |query: &str| {
        let provider = json!({"interval": "10s", "provider": {"prometheus": {"query": query}}});
        json!({"metrics": [metric("m", provider)], "args": [{"name": "app", "value": "demo"}]})
    };
    let mut sim = Sim::new(run(spec("up {{args.app}}")));
    assert_eq!(asked(&sim.step(0, &[])), "up demo");
    sim.answer(0, "m", scalar(1.0));
    sim.run.spec = run(spec("down {{args.app}}")).spec;
    assert_eq!(asked(&sim.step(10_000, &[])), "down demo");
    sim.answer(10_000, "m", scalar(1.0));
    sim.run.spec.args.as_mut().unwrap()[0].value = Some("other".into());
    assert_eq!(asked(&sim.step(20_000, &[])), "down other");

    let mut sim = Sim::new(run(json!({
        "metrics": [metric("m", json!({"interval": "10s", "provider": {"prometheus": {"query": "{{args.token}}"}}}))],
        "args": [{"name": "token", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}}],
    })));
    for (n, secret) in ["old", "new"].into_iter().enumerate() {
        let ms = 10_000 * i64::try_from(n).unwrap();
        sim.secrets.insert(("s".into(), "k".into()), Ok(secret.into()));
        assert_eq!(asked(&sim.step(ms, &[])), secret);
        sim.answer(ms, "m", scalar(1.0));
    }
}

#[test]
fn a_range_query_is_asked_with_its_times_worked_out() {
    let range = |start: &str| {
        let query = json!({"query": "q", "rangeQuery": {"start": start, "end": "now()", "step": "1m"}});
        run(json!({"metrics": [metric("m", json!({"provider": {"prometheus": query}}))]}))
    };
    let mut sim = Sim::new(range("now() - duration(\"5m\")"));
    let asked = sim.step(600_000, &[]).tasks[0].request.range.unwrap();
    assert_eq!(
        (asked.start, asked.end, asked.step.as_secs()),
        (at(300_000), at(600_000), 60)
    );
    let mut sim = Sim::new(range("yesterday"));
    let plan = sim.step(0, &[]);
    assert!(plan.tasks.is_empty() && plan.status.phase == Phase::Running);
    let measured = &plan.status.metric_results[0];
    assert_eq!((measured.error, measured.count), (1, 0));
    assert!(
        measured.measurements[0]
            .message
            .starts_with("failed to parse rangeQuery.start as time: ")
    );
    assert_eq!(plan.wake_at, Some(at(10_000)));
}

#[test]
fn a_json_null_is_an_answer_like_any_other() {
    let null = || Outcome::Answer(Answer::new(MetricValue::Json(serde_json::Value::Null)));
    for (condition, phase) in [("result == nil", Phase::Successful), ("result != nil", Phase::Failed)] {
        let mut sim = Sim::new(run(
            json!({"metrics": [metric("m", json!({"successCondition": condition}))]}),
        ));
        sim.step(0, &[]);
        assert_eq!(sim.answer(0, "m", null()).status.phase, phase);
    }
    let mut sim = Sim::new(run(
        json!({"metrics": [metric("m", json!({"successCondition": "result > 1"}))]}),
    ));
    sim.step(0, &[]);
    let status = sim.answer(0, "m", null()).status;
    assert_eq!(
        status.metric_results[0].measurements[0].message,
        "could not evaluate successCondition \"result > 1\": metric result is nil or empty: no data returned from the metric provider"
    );
}

// === No data ===

const HOLD: [(&str, &str); 1] = [("serin.dev/no-data", "hold")];

fn holding(annotations: &[(&str, &str)]) -> Sim {
    let spec = metric(
        "rate",
        json!({"successCondition": "result[0] < 0.05", "interval": "60s", "count": 2}),
    );
    Sim::new(annotated(json!({ "metrics": [spec] }), annotations))
}

#[test]
fn no_data_counts_for_nothing_and_says_so_until_there_is_data() {
    for nothing in [vector(&[]), vector(&[f64::NAN])] {
        let mut sim = holding(&HOLD);
        sim.step(0, &[]);
        let status = sim.answer(500, "rate", nothing.clone()).status;
        let result = &status.metric_results[0];
        assert_eq!(
            (status.phase, result.phase, result.count, result.error),
            (Phase::Running, Phase::Running, 0, 0)
        );
        assert!(result.measurements.is_empty());
        assert!(
            status
                .message
                .starts_with("Metric \"rate\": no data since 2027-01-15T08:00:00Z ("),
            "{}",
            status.message
        );
        assert!(status.message.ends_with("; holding"));
        assert_eq!(sim.step(59_000, &[]).wake_at, Some(at(60_500)));
        let writes = sim.writes;
        for minute in 1..=30 {
            assert_eq!(sim.step(minute * 60_000 + 500, &[]).tasks.len(), 1);
            assert_eq!(
                sim.answer(minute * 60_000 + 500, "rate", nothing.clone()).status.phase,
                Phase::Running
            );
        }
        assert_eq!(sim.writes, writes, "holding is quiet");
        sim.step(1_900_000, &[]);
        let status = sim.answer(1_900_000, "rate", vector(&[0.01])).status;
        assert_eq!(
            (status.message.as_str(), status.metric_results[0].message.as_str()),
            ("", "")
        );
        assert!(
            !status.metric_results[0]
                .metadata
                .contains_key("serin.dev/no-data-since")
        );
        sim.step(1_960_000, &[]);
        assert_eq!(
            sim.answer(1_960_000, "rate", vector(&[0.01])).status.phase,
            Phase::Successful
        );
    }
}

#[test]
fn without_hold_no_data_is_judged_as_upstream_does() {
    let mut sim = holding(&[]);
    sim.step(0, &[]);
    assert_eq!(sim.answer(0, "rate", vector(&[f64::NAN])).status.phase, Phase::Failed);
    let mut sim = holding(&[]);
    sim.step(0, &[]);
    assert_eq!(sim.answer(0, "rate", vector(&[])).status.metric_results[0].error, 1);
    let mut sim = holding(&[("serin.dev/no-data", "verdict")]);
    sim.settings.hold_no_data = true;
    sim.step(0, &[]);
    assert_eq!(
        sim.answer(0, "rate", vector(&[f64::NAN])).status.phase,
        Phase::Failed,
        "the run's word wins"
    );
    let mut sim = holding(&[]);
    sim.settings.hold_no_data = true;
    sim.step(0, &[]);
    assert_eq!(sim.answer(0, "rate", vector(&[f64::NAN])).status.phase, Phase::Running);
}

#[test]
fn a_bad_value_still_fails_while_another_series_has_no_data() {
    let mut sim = holding(&HOLD);
    sim.step(0, &[]);
    assert_eq!(
        sim.answer(0, "rate", vector(&[f64::NAN, 0.5])).status.phase,
        Phase::Failed
    );
}

#[test]
fn too_few_requests_are_no_data_and_the_requests_query_gets_its_arguments() {
    let annotations = [
        ("serin.dev/min-requests", "50"),
        ("serin.dev/requests-query", "sum(requests{h=\"{{args.hash}}\"})"),
    ];
    let mut sim = holding(&annotations);
    sim.run.spec.args = serde_json::from_value(json!([{"name": "hash", "value": "abc"}])).unwrap();
    let task = sim.step(0, &[]).tasks.remove(0);
    let asked = task.requests.unwrap().provider.prometheus.unwrap();
    assert_eq!(
        (asked.query.as_deref(), asked.address.as_deref()),
        (Some("sum(requests{h=\"abc\"})"), Some("http://prom"))
    );
    let with = |value, requests| {
        let Outcome::Answer(mut answer) = vector(&[value]) else {
            unreachable!()
        };
        answer.requests = Some(requests);
        Outcome::Answer(answer)
    };
    let status = sim.answer(0, "rate", with(1.0, 49.2)).status;
    assert_eq!(status.phase, Phase::Running);
    assert_eq!(
        status.message,
        "Metric \"rate\": no data since 2027-01-15T08:00:00Z (49 of at least 50 requests); holding"
    );
    sim.step(60_000, &[]);
    assert_eq!(sim.answer(60_000, "rate", with(1.0, 50.0)).status.phase, Phase::Failed);
}

#[test]
fn a_failing_provider_still_ends_a_holding_run_and_takes_the_blame() {
    let mut sim = holding(&HOLD);
    sim.step(0, &[]);
    sim.answer(0, "rate", error());
    sim.step(10_000, &[]);
    // The provider answers, if only with nothing: the errors are not in a row.
    sim.answer(10_000, "rate", vector(&[]));
    let mut ms = 70_000;
    for _ in 0..5 {
        sim.step(ms, &[]);
        assert_eq!(sim.run.status.as_ref().unwrap().phase, Phase::Running);
        sim.answer(ms, "rate", error());
        ms += 10_000;
    }
    let status = sim.run.status.unwrap();
    assert_eq!(status.phase, Phase::Error);
    assert_eq!(
        status.message,
        "Metric \"rate\" assessed Error due to consecutiveErrors (5) > consecutiveErrorLimit (4): \"Error Message: provider is down\""
    );
}

#[test]
fn a_dry_run_metric_without_data_does_not_hold_the_run() {
    let spec = json!({"metrics": [metric("m", json!({"successCondition": "result[0] < 1"}))], "dryRun": [{"metricName": "m"}]});
    let mut sim = Sim::new(annotated(spec, &HOLD));
    sim.step(0, &[]);
    let status = sim.answer(0, "m", vector(&[])).status;
    assert_eq!(
        (status.phase, status.metric_results[0].phase),
        (Phase::Successful, Phase::Inconclusive)
    );
}

#[test]
fn settings_that_make_no_sense_are_named() {
    for (annotations, part) in [
        (vec![("serin.dev/no-data", "wait")], "serin.dev/no-data: \"wait\""),
        (
            vec![("serin.dev/min-requests", "few")],
            "serin.dev/min-requests: \"few\"",
        ),
        (vec![("serin.dev/min-requests", "5")], "needs serin.dev/requests-query"),
        (vec![("serin.dev/metrics", "{")], "serin.dev/metrics"),
    ] {
        let status = holding(&annotations).step(0, &[]).status;
        assert_eq!(status.phase, Phase::Error);
        assert!(
            status.message.starts_with("Analysis spec invalid: ") && status.message.contains(part),
            "{}",
            status.message
        );
    }
    let web = json!({"name": "w", "provider": {"web": {"url": "http://x"}}});
    let annotations = [("serin.dev/min-requests", "5"), ("serin.dev/requests-query", "q")];
    let plan = Sim::new(annotated(
        json!({"metrics": [web, metric("p", json!({}))]}),
        &annotations,
    ))
    .step(0, &[]);
    let counted: Vec<_> = plan
        .tasks
        .iter()
        .map(|task| (task.metric.as_str(), task.requests.is_some()))
        .collect();
    assert_eq!(
        counted,
        [("w", false), ("p", true)],
        "a metric that cannot count requests is left alone"
    );
}
