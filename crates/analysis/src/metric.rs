//! One metric: how an answer is counted, what its measurements add up to, and when the next one is due (compat 3.1, 3.2).

use chrono::{DateTime, TimeDelta, Utc};
use serin_api::{
    analysis::{Measurement, Metric, MetricResult, Phase},
    intstr::IntOrString,
};

use crate::setup::Prepared;

/// Errors in a row that are tolerated when the metric does not say (compat 3.2).
const DEFAULT_CONSECUTIVE_ERROR_LIMIT: i32 = 4;
/// An error is retried after this, whatever the interval (compat 3.1).
pub(crate) const ERROR_RETRY: TimeDelta = TimeDelta::seconds(10);
/// Message of a measurement that was under way when the run was terminated (compat 3.1).
const TERMINATED: &str = "Metric Terminated";

/// How many measurements were ever stored, trimmed ones included.
pub(crate) fn taken(result: Option<&MetricResult>) -> i64 {
    result.map_or(0, |result| i64::from(result.count) + i64::from(result.error))
}

/// Stores a measurement in place of an unfinished one, if the last is unfinished, and counts it when it is complete.
pub(crate) fn store(result: &mut MetricResult, measurement: Measurement) {
    if result
        .measurements
        .last()
        .is_some_and(|last| !last.phase.is_completed())
    {
        result.measurements.pop();
    }
    match measurement.phase {
        Phase::Successful => {
            result.successful += 1;
            result.count += 1;
            result.consecutive_error = 0;
            result.consecutive_success += 1;
        }
        Phase::Failed | Phase::Inconclusive => {
            match measurement.phase {
                Phase::Failed => result.failed += 1,
                _ => result.inconclusive += 1,
            }
            result.count += 1;
            result.consecutive_error = 0;
            result.consecutive_success = 0;
        }
        Phase::Error => {
            result.error += 1;
            result.consecutive_error += 1;
            result.consecutive_success = 0;
        }
        Phase::Unset | Phase::Pending | Phase::Running => {}
    }
    result.measurements.push(measurement);
}

/// Ends the unfinished measurement of a run that is being terminated (recordings, item 26).
pub(crate) fn terminate_unfinished(result: &mut MetricResult, now: DateTime<Utc>) {
    let Some(last) = result.measurements.last().filter(|last| !last.phase.is_completed()) else {
        return;
    };
    let ended = Measurement {
        phase: Phase::Inconclusive,
        message: TERMINATED.to_owned(),
        finished_at: Some(serin_api::Time::new(now)),
        ..last.clone()
    };
    store(result, ended);
}

fn limit(field: &Option<IntOrString>) -> Option<i32> {
    field.as_ref().map(IntOrString::int_value)
}

/// What a metric bears: a run ends when a count is greater than its limit (compat 3.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Errors in a row (`consecutiveErrorLimit`).
    pub errors: i32,
    /// Undecided measurements (`inconclusiveLimit`).
    pub inconclusive: i32,
    /// Bad measurements (`failureLimit`); less than 0 bears any number of them.
    pub failures: i32,
}

impl Limits {
    /// Those of a metric whose arguments are filled in.
    pub fn of(metric: &Metric) -> Self {
        Self {
            errors: limit(&metric.consecutive_error_limit).unwrap_or(DEFAULT_CONSECUTIVE_ERROR_LIMIT),
            inconclusive: limit(&metric.inconclusive_limit).unwrap_or(0),
            failures: limit(&metric.failure_limit).unwrap_or(0),
        }
    }
}

/// The phase of a metric and, when it is not a good one, the reason as it stands in messages.
pub(crate) fn assess(metric: &Metric, result: &MetricResult, terminating: bool) -> (Phase, Option<String>) {
    let judged = outcome(metric, result);
    if result.phase.is_completed() {
        // Once decided, always decided; only the reason is looked up again.
        let reason = judged
            .filter(|(phase, _)| *phase == result.phase)
            .and_then(|(_, reason)| reason);
        return (result.phase, reason);
    }
    match result.measurements.last() {
        None if terminating => return (Phase::Successful, None),
        // Asked, but never with an answer that counts.
        None => return (Phase::Running, None),
        Some(last) if !last.phase.is_completed() => return (Phase::Running, None),
        Some(_) => {}
    }
    match judged {
        Some(judged) => judged,
        None if terminating => (Phase::Successful, None),
        None => (Phase::Running, None),
    }
}

/// What the counts alone say: a limit that is exceeded, enough successes in a row, or the end of the count.
fn outcome(metric: &Metric, result: &MetricResult) -> Option<(Phase, Option<String>)> {
    let over = |phase, name: &str, n: i32, limit_name: &str, limit: i32| {
        Some((phase, Some(format!("{name} ({n}) > {limit_name} ({limit})"))))
    };
    let Limits {
        errors,
        inconclusive,
        failures,
    } = Limits::of(metric);
    if result.consecutive_error > errors {
        return over(
            Phase::Error,
            "consecutiveErrors",
            result.consecutive_error,
            "consecutiveErrorLimit",
            errors,
        );
    }
    if result.inconclusive > inconclusive {
        return over(
            Phase::Inconclusive,
            "inconclusive",
            result.inconclusive,
            "inconclusiveLimit",
            inconclusive,
        );
    }
    if failures >= 0 && result.failed > failures {
        return over(Phase::Failed, "failed", result.failed, "failureLimit", failures);
    }
    let successes = limit(&metric.consecutive_success_limit).unwrap_or(0);
    if successes > 0 && result.consecutive_success >= successes {
        return Some((Phase::Successful, None));
    }
    let count = metric.effective_count()?;
    if result.count < count {
        return None;
    }
    if successes <= 0 {
        return Some((Phase::Successful, None));
    }
    // The end without enough successes in a row. Upstream gives no reason here (recordings, item 29); people need one.
    let reason = format!(
        "consecutiveSuccesses ({}) < consecutiveSuccessLimit ({successes}) after {} measurements",
        result.consecutive_success, result.count
    );
    Some((
        if failures >= 0 {
            Phase::Inconclusive
        } else {
            Phase::Failed
        },
        Some(reason),
    ))
}

/// What is to be done about a metric.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Next {
    /// Ask now.
    Now,
    /// Ask then.
    At(DateTime<Utc>),
    /// It has all that it needs.
    Nothing,
}

/// When the next measurement of a metric that is not complete is due.
pub(crate) fn next(
    prepared: &Prepared,
    result: Option<&MetricResult>,
    started_at: DateTime<Utc>,
    last_without_data: Option<DateTime<Utc>>,
    now: DateTime<Utc>,
) -> Next {
    let last = result.and_then(|result| result.measurements.last());
    let after_last = match last {
        Some(last) if !last.phase.is_completed() => last.resume_at.map(|at| at.0),
        Some(last) => {
            let result = result.expect("a measurement stands in a result");
            if prepared
                .metric
                .effective_count()
                .is_some_and(|count| result.count >= count)
            {
                return Next::Nothing;
            }
            let wait = match last.phase {
                Phase::Error => ERROR_RETRY,
                _ => prepared.interval.unwrap_or(ERROR_RETRY),
            };
            last.finished_at.map(|at| add(at.0, wait))
        }
        None => prepared.initial_delay.map(|delay| add(started_at, delay)),
    };
    let after_no_data = last_without_data.map(|at| add(at, prepared.interval.unwrap_or(ERROR_RETRY)));
    match after_last.max(after_no_data) {
        Some(due) if due > now => Next::At(due),
        _ => Next::Now,
    }
}

fn add(at: DateTime<Utc>, wait: TimeDelta) -> DateTime<Utc> {
    at.checked_add_signed(wait).unwrap_or(DateTime::<Utc>::MAX_UTC)
}
