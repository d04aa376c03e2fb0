//! What must hold for any metric and any sequence of answers.

#![allow(clippy::unwrap_used, reason = "a test that panics has failed")]

mod support;

use proptest::prelude::*;
use serde_json::json;
use serin_api::analysis::{AnalysisRunStatus, Phase};
use serin_model::measure::{Outcome, TaskAnswer};
use support::{Sim, annotated, error, metric, scalar, vector};

#[derive(Clone, Copy, Debug, PartialEq)]
enum Kind {
    Good,
    Bad,
    Unclear,
    Error,
    Empty,
    NotANumber,
}

impl Kind {
    fn outcome(self) -> Outcome {
        match self {
            Self::Good => vector(&[1.0]),
            Self::Bad => vector(&[2.0]),
            Self::Unclear => vector(&[3.0]),
            Self::Error => error(),
            Self::Empty => vector(&[]),
            Self::NotANumber => scalar(f64::NAN),
        }
    }
}

fn kinds() -> impl Strategy<Value = Kind> {
    prop_oneof![
        4 => Just(Kind::Good),
        2 => Just(Kind::Bad),
        2 => Just(Kind::Unclear),
        2 => Just(Kind::Error),
        1 => Just(Kind::Empty),
        1 => Just(Kind::NotANumber),
    ]
}

fn metrics() -> impl Strategy<Value = serde_json::Value> {
    let limits = (0..4_i32, 0..3_i32, 0..3_i32, 0..3_i32);
    let metric = (0..6_i32, limits).prop_map(|(count, (failure, inconclusive, errors, successes))| {
        // A count that validation accepts.
        let count = if count == 0 {
            0
        } else {
            count + failure + successes + inconclusive
        };
        json!({
            "interval": "5s", "count": count, "failureLimit": failure, "inconclusiveLimit": inconclusive,
            "consecutiveErrorLimit": errors, "consecutiveSuccessLimit": successes,
            "successCondition": "result[0] == 1", "failureCondition": "result[0] == 2",
        })
    });
    prop::collection::vec((metric, any::<bool>()), 1..4).prop_map(|metrics| {
        let named = metrics
            .iter()
            .enumerate()
            .map(|(i, (more, _))| metric_named(i, more))
            .collect::<Vec<_>>();
        let dry: Vec<_> = (0..metrics.len())
            .filter(|i| metrics[*i].1 && *i > 0)
            .map(|i| json!({"metricName": format!("^m{i}$")}))
            .collect();
        json!({"metrics": named, "dryRun": dry})
    })
}

fn metric_named(i: usize, more: &serde_json::Value) -> serde_json::Value {
    metric(&format!("m{i}"), more.clone())
}

fn sim(spec: &serde_json::Value, hold: bool) -> Sim {
    let annotations = [("serin.dev/no-data", if hold { "hold" } else { "verdict" })];
    Sim::new(annotated(spec.clone(), &annotations))
}

fn check_counts(status: &AnalysisRunStatus) -> Result<(), TestCaseError> {
    for result in &status.metric_results {
        prop_assert_eq!(result.count, result.successful + result.failed + result.inconclusive);
        prop_assert!(result.consecutive_error <= result.error);
        prop_assert!(result.consecutive_success <= result.successful);
        prop_assert!(result.measurements.len() <= 10);
    }
    prop_assert_eq!(status.phase.is_completed(), status.completed_at.is_some());
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 150, ..ProptestConfig::default() })]

    /// Answers may come late, twice, after a crash or after a lost write: the status is the same, and a verdict is final.
    #[test]
    fn any_sequence_of_answers_is_counted_once_and_ends_for_good(
        spec in metrics(),
        hold: bool,
        steps in prop::collection::vec((kinds(), 0..4_usize, 0..4_u8), 1..60),
    ) {
        let mut sim = sim(&spec, hold);
        sim.step(0, &[]);
        let (mut ms, mut old_answers): (i64, Vec<TaskAnswer>) = (0, Vec::new());
        for (kind, which, mishap) in steps {
            let before = sim.run.status.clone().unwrap_or_default();
            if sim.tasks.is_empty() || before.phase.is_completed() {
                ms += 5_000;
                sim.step(ms, &[]);
                let after = sim.run.status.clone().unwrap_or_default();
                if before.phase.is_completed() {
                    prop_assert_eq!(&before, &after);
                }
                continue;
            }
            let asked = sim.tasks[which % sim.tasks.len()].clone();
            let answer = sim.answer_to(ms, &asked.metric, kind.outcome());
            let mut answers = vec![answer.clone()];
            match mishap {
                // The write failed: planned again with the old memory.
                1 => prop_assert_eq!(sim.plan(ms, &answers), sim.plan(ms, &answers)),
                // Old answers come again.
                2 => answers.extend(old_answers.clone()),
                // The controller was restarted.
                3 => sim.memory = Default::default(),
                _ => {}
            }
            let plan = sim.step(ms, &answers);
            check_counts(&plan.status)?;
            let again = sim.step(ms, &answers);
            prop_assert_eq!(&again.status, &plan.status);
            prop_assert!(again.events.is_empty());
            // An error never uses up the count; no data never does while holding.
            let count = |status: &AnalysisRunStatus| {
                status.metric_results.iter().find(|r| r.name == asked.metric).map_or(0, |r| r.count)
            };
            let dry = plan.status.metric_results.iter().any(|r| r.name == asked.metric && r.dry_run);
            if kind == Kind::Error || (hold && !dry && matches!(kind, Kind::Empty | Kind::NotANumber)) {
                prop_assert_eq!(count(&before), count(&plan.status));
            }
            old_answers.push(answer);
        }
    }

    /// Whoever answers first: the verdict is the same.
    #[test]
    fn the_order_of_answers_does_not_change_the_verdict(a in kinds(), b in kinds(), hold: bool) {
        let once = json!({"successCondition": "result[0] == 1", "failureCondition": "result[0] == 2", "consecutiveErrorLimit": 0});
        let spec = json!({"metrics": [metric("a", once.clone()), metric("b", once)]});
        let verdict = |first_a: bool| {
            let mut sim = sim(&spec, hold);
            sim.step(0, &[]);
            let order = if first_a { [("a", a), ("b", b)] } else { [("b", b), ("a", a)] };
            for (name, kind) in order {
                if sim.tasks.iter().any(|task| task.metric == name) {
                    sim.answer(0, name, kind.outcome());
                }
            }
            sim.run.status.unwrap().phase
        };
        prop_assert_eq!(verdict(true), verdict(false));
    }

    /// Without a single answer with data a holding run neither succeeds nor blames.
    #[test]
    fn no_data_alone_never_ends_a_run(spec in metrics(), answers in prop::collection::vec(any::<bool>(), 1..50)) {
        let mut spec = spec;
        spec["dryRun"] = json!([]);
        let mut sim = sim(&spec, true);
        for (i, empty) in answers.into_iter().enumerate() {
            let ms = i64::try_from(i).unwrap() * 60_000;
            sim.step(ms, &[]);
            let kind = if empty { Kind::Empty } else { Kind::NotANumber };
            for task in sim.tasks.clone() {
                let status = sim.answer(ms, &task.metric, kind.outcome()).status;
                prop_assert_eq!(status.phase, Phase::Running);
            }
        }
    }
}
