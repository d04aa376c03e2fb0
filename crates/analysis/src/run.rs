//! A run as a whole: answers in, status, questions and the next look out (compat 3.1, 3.3).

use std::collections::BTreeMap;

use chrono::{DateTime, SecondsFormat, TimeDelta, Utc};
use serin_api::{
    Time,
    analysis::{AnalysisRun, AnalysisRunStatus, Measurement, MetricResult, Phase, RunSummary, TtlStrategy},
};
use serin_model::{
    Event,
    measure::{Answer, MeasureTask, NO_DATA_SINCE_KEY, Outcome, TaskAnswer},
};

use crate::{
    metric::{self, Next},
    setup::{Kept, Prepared, Secrets, Setup},
};

/// A run that has just begun waits this long for its first answers before it says that it is running: most answers are
/// there by then, and one status is written instead of two.
const FIRST_ANSWER_GRACE: TimeDelta = TimeDelta::seconds(1);

/// The controller's own settings.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Settings {
    /// No data holds a run that does not say what it means (design contract 6).
    pub hold_no_data: bool,
}

/// What a plan is made of.
#[derive(Clone, Copy, Debug)]
pub struct RunInput<'a> {
    /// The run as last written or seen, with its annotations.
    pub run: &'a AnalysisRun,
    /// The controller's settings.
    pub settings: Settings,
    /// Values for [`crate::secrets_needed`].
    pub secrets: &'a Secrets,
    /// Memory of the last plan that was carried out; empty after a start.
    pub memory: &'a RunMemory,
    /// What came in since.
    pub answers: &'a [TaskAnswer],
    /// The time.
    pub now: DateTime<Utc>,
}

/// What the controller keeps of a run between two plans; losing it repeats questions and nothing else.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RunMemory {
    /// First look at the run.
    pub started_at: Option<DateTime<Utc>>,
    /// By metric name.
    pub metrics: BTreeMap<String, MetricMemory>,
    setup: Kept,
}

/// Of one metric.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MetricMemory {
    /// The question that is under way.
    pub in_flight: Option<InFlight>,
    /// The last answer without data.
    pub last_without_data: Option<DateTime<Utc>>,
}

/// A question that is under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InFlight {
    /// The task's number.
    pub number: i64,
    /// When it was asked.
    pub asked_at: DateTime<Utc>,
}

impl RunMemory {
    /// Whether the question is still wanted; an unwanted one is to be dropped.
    pub fn is_in_flight(&self, metric: &str, number: i64) -> bool {
        self.metrics
            .get(metric)
            .and_then(|m| m.in_flight)
            .is_some_and(|flight| flight.number == number)
    }

    fn has_in_flight(&self, metric: &str) -> bool {
        self.metrics.get(metric).is_some_and(|m| m.in_flight.is_some())
    }

    fn any_in_flight(&self) -> bool {
        self.metrics.values().any(|m| m.in_flight.is_some())
    }
}

/// What follows.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RunPlan {
    /// The whole new status; to be written when it differs from the run's.
    pub status: AnalysisRunStatus,
    /// To be recorded on the run once the status is written.
    pub events: Vec<Event>,
    /// Questions to ask now.
    pub tasks: Vec<MeasureTask>,
    /// To be kept for the next plan.
    pub memory: RunMemory,
    /// The run has outlived its TTL: delete it, guarded by its UID.
    pub delete: bool,
    /// Look again then.
    pub wake_at: Option<DateTime<Utc>>,
}

/// Plans one run. A completed one is only checked for its TTL.
pub fn plan_run(input: &RunInput<'_>) -> RunPlan {
    let old = input.run.status.clone().unwrap_or_default();
    if old.phase.is_completed() {
        return completed(input, old);
    }
    let mut memory = input.memory.clone();
    let made = match memory
        .setup
        .setup(input.run, input.secrets, input.settings.hold_no_data)
    {
        Ok(made) => made,
        Err(message) => return refused(input, old, message),
    };
    let mut planning = Planning {
        terminate: input.run.spec.terminate.unwrap_or(false),
        setup: &made.setup,
        now: input.now,
        memory,
        status: old.clone(),
        events: Vec::new(),
    };
    planning.memory.started_at.get_or_insert(input.now);
    for answer in input.answers {
        planning.take(answer);
    }
    planning.settle(input, &old)
}

fn completed(input: &RunInput<'_>, mut status: AnalysisRunStatus) -> RunPlan {
    let Some(ttl) = input
        .run
        .spec
        .ttl_strategy
        .as_ref()
        .and_then(|ttl| ttl_seconds(ttl, status.phase))
    else {
        return RunPlan {
            status,
            ..RunPlan::default()
        };
    };
    // Runs that upstream ended early have no time of completion and would never be deleted (compat 12.8).
    let since = *status.completed_at.get_or_insert(Time::new(input.now));
    let due = since
        .0
        .checked_add_signed(TimeDelta::seconds(i64::from(ttl)))
        .unwrap_or(DateTime::<Utc>::MAX_UTC);
    let delete = due <= input.now;
    RunPlan {
        status,
        delete,
        wake_at: (!delete).then_some(due),
        ..RunPlan::default()
    }
}

/// Failure is phase Failed only; everything else without a rule of its own falls under completion (compat 3.3).
fn ttl_seconds(ttl: &TtlStrategy, phase: Phase) -> Option<i32> {
    let own = match phase {
        Phase::Successful => ttl.seconds_after_success,
        Phase::Failed => ttl.seconds_after_failure,
        _ => None,
    };
    own.or(ttl.seconds_after_completion)
}

/// The spec makes no sense: the run ends, and says why.
fn refused(input: &RunInput<'_>, old: AnalysisRunStatus, message: String) -> RunPlan {
    let status = AnalysisRunStatus {
        phase: Phase::Error,
        message,
        completed_at: Some(Time::new(input.now)),
        ..old
    };
    let wake_at = completed(input, status.clone()).wake_at;
    RunPlan {
        events: vec![run_event(Phase::Error)],
        status,
        wake_at,
        ..RunPlan::default()
    }
}

fn run_event(phase: Phase) -> Event {
    let message = format!("Analysis Completed. Result: {phase}");
    match phase {
        Phase::Failed => Event::warning("AnalysisRunFailed", message),
        Phase::Error => Event::warning("AnalysisRunError", message),
        Phase::Inconclusive => Event::normal("AnalysisRunInconclusive", message),
        _ => Event::normal("AnalysisRunSuccessful", message),
    }
}

fn metric_event(name: &str, phase: Phase) -> Event {
    let message = format!("Metric '{name}' Completed. Result: {phase}");
    match phase {
        Phase::Failed => Event::warning("MetricFailed", message),
        Phase::Error => Event::warning("MetricError", message),
        Phase::Inconclusive => Event::normal("MetricInconclusive", message),
        _ => Event::normal("MetricSuccessful", message),
    }
}

/// Better before worse (compat 3.3).
fn badness(phase: Phase) -> u8 {
    match phase {
        Phase::Unset | Phase::Successful => 0,
        Phase::Running => 1,
        Phase::Pending => 2,
        Phase::Inconclusive => 3,
        Phase::Error => 4,
        Phase::Failed => 5,
    }
}

struct Planning<'a> {
    terminate: bool,
    setup: &'a Setup,
    now: DateTime<Utc>,
    memory: RunMemory,
    status: AnalysisRunStatus,
    events: Vec<Event>,
}

/// What the metrics add up to.
struct Worst {
    phase: Phase,
    message: String,
    all_complete: bool,
}

/// How the metrics are assessed.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Mode {
    /// No new questions; what is measured decides (compat 3.3).
    terminating: bool,
    /// The answers under way are waited for all the same: nothing is worse than Failed, but Inconclusive or Error may
    /// still become it, and the verdict must not depend on which answer came first.
    waiting: bool,
}

impl Planning<'_> {
    // === Answers ===

    fn take(&mut self, answer: &TaskAnswer) {
        let Some(prepared) = self
            .setup
            .metrics
            .iter()
            .find(|prepared| prepared.name() == answer.metric)
        else {
            return;
        };
        let memory = self.memory.metrics.entry(answer.metric.clone()).or_default();
        if memory.in_flight.is_some_and(|flight| flight.number <= answer.number) {
            memory.in_flight = None;
        }
        let result = self
            .status
            .metric_results
            .iter()
            .find(|result| result.name == answer.metric);
        if result.is_some_and(|result| result.phase.is_completed()) || metric::taken(result) != answer.number {
            return; // too late, or counted before
        }
        // An unfinished measurement goes on under its own beginning.
        let base = match result.and_then(|result| result.measurements.last()) {
            Some(last) if !last.phase.is_completed() => last.clone(),
            _ => Measurement {
                started_at: Some(Time::new(answer.asked_at)),
                ..Measurement::default()
            },
        };
        let finished = Some(Time::new(answer.answered_at));
        let error = |message: &str| Measurement {
            phase: Phase::Error,
            message: self.setup.redact(message),
            finished_at: finished,
            ..base.clone()
        };
        let measurement = match &answer.outcome {
            Outcome::Error(e) => error(&e.message),
            Outcome::Unfinished { metadata, resume_at } => Measurement {
                phase: Phase::Running,
                metadata: metadata.clone(),
                resume_at: Some(Time::new(*resume_at)),
                ..base
            },
            Outcome::Verdict {
                phase,
                message,
                metadata,
            } => Measurement {
                phase: *phase,
                message: self.setup.redact(message),
                metadata: metadata.clone(),
                finished_at: finished,
                ..base
            },
            Outcome::Answer(found) => {
                let no_data = prepared.policy.no_data(found);
                if let Some(reason) = no_data.filter(|_| !prepared.dry_run) {
                    return self.hold(prepared, &reason.to_string(), answer.answered_at);
                }
                let judged = match no_data {
                    // A dry run decides nothing, so holding it would only keep the run open; Inconclusive blames nobody.
                    Some(reason) => (Phase::Inconclusive, format!("no data: {reason}")),
                    None => self.judge(prepared, found),
                };
                let (phase, message) = judged;
                Measurement {
                    phase,
                    message,
                    value: if phase == Phase::Error {
                        String::new()
                    } else {
                        self.setup.redact(&found.text)
                    },
                    metadata: found
                        .metadata
                        .iter()
                        .map(|(k, v)| (k.clone(), self.setup.redact(v)))
                        .collect(),
                    finished_at: finished,
                    ..base
                }
            }
        };
        self.store(prepared, measurement);
    }

    fn judge(&self, prepared: &Prepared, found: &Answer) -> (Phase, String) {
        let value = if prepared.policy.hold {
            found.value.clone().with_data()
        } else {
            found.value.clone()
        };
        match crate::verdict::judge(&prepared.metric, &value, self.now) {
            Ok(phase) => (phase, String::new()),
            Err(message) => (Phase::Error, self.setup.redact(&message)),
        }
    }

    /// The metric's result; a new one takes its place in the spec's order.
    fn result(&mut self, prepared: &Prepared) -> &mut MetricResult {
        let place = |name: &str| self.setup.metrics.iter().position(|m| m.name() == name);
        let results = &mut self.status.metric_results;
        let at = results
            .iter()
            .position(|result| result.name == prepared.name())
            .unwrap_or_else(|| {
                let own = place(prepared.name());
                let at = results
                    .iter()
                    .position(|result| place(&result.name) > own)
                    .unwrap_or(results.len());
                let result = MetricResult {
                    name: prepared.name().to_owned(),
                    phase: Phase::Running,
                    dry_run: prepared.dry_run,
                    ..MetricResult::default()
                };
                results.insert(at, result);
                at
            });
        &mut results[at]
    }

    fn store(&mut self, prepared: &Prepared, measurement: Measurement) {
        let has_data = !matches!(measurement.phase, Phase::Error | Phase::Running);
        let result = self.result(prepared);
        let since = result.metadata.remove(NO_DATA_SINCE_KEY);
        result.metadata.extend(prepared.metadata());
        match since {
            // An error says nothing about data.
            Some(since) if !has_data => drop(result.metadata.insert(NO_DATA_SINCE_KEY.to_owned(), since)),
            Some(_) => result.message.clear(),
            None => {}
        }
        metric::store(result, measurement);
        let kept = result.measurements.len().saturating_sub(prepared.retention);
        result.measurements.drain(..kept);
        if let Some(memory) = self.memory.metrics.get_mut(prepared.name()) {
            memory.last_without_data = None;
        }
    }

    /// No data: nothing is counted, but it is said, and since when. The text stays the same from one such answer to the
    /// next as long as the reason does, so that holding costs no writes.
    fn hold(&mut self, prepared: &Prepared, reason: &str, at: DateTime<Utc>) {
        self.memory
            .metrics
            .entry(prepared.name().to_owned())
            .or_default()
            .last_without_data = Some(at);
        let result = self.result(prepared);
        result.metadata.extend(prepared.metadata());
        // The provider did answer, so errors before and after this are not in a row.
        result.consecutive_error = 0;
        let since = result
            .metadata
            .entry(NO_DATA_SINCE_KEY.to_owned())
            .or_insert_with(|| at.to_rfc3339_opts(SecondsFormat::Secs, true));
        result.message = format!("no data since {since} ({reason}); holding");
    }

    // === Phases ===

    /// spec.terminate, or a metric that counts has come to a bad end (compat 3.3).
    fn mode(&self) -> Mode {
        let counting = |phase| {
            self.status
                .metric_results
                .iter()
                .any(|r| !r.dry_run && r.phase == phase)
        };
        let failed = counting(Phase::Failed);
        let terminating = self.terminate || failed || counting(Phase::Error) || counting(Phase::Inconclusive);
        let mut metrics = self.setup.metrics.iter();
        let waiting = !self.terminate && !failed && metrics.any(|m| !m.dry_run && self.memory.has_in_flight(m.name()));
        Mode { terminating, waiting }
    }

    fn assess(&mut self, mode: Mode) -> Worst {
        let mut worst = Worst {
            phase: Phase::Unset,
            message: if self.terminate {
                "Run Terminated".to_owned()
            } else {
                String::new()
            },
            all_complete: true,
        };
        let (mut summary, mut dry_summary) = (RunSummary::default(), RunSummary::default());
        for prepared in &self.setup.metrics {
            let tally = if prepared.dry_run {
                &mut dry_summary
            } else {
                &mut summary
            };
            tally.count += 1;
            let Some(result) = self
                .status
                .metric_results
                .iter_mut()
                .find(|result| result.name == prepared.name())
            else {
                worst.all_complete = false;
                continue;
            };
            let ending = mode.terminating && !(mode.waiting && self.memory.has_in_flight(prepared.name()));
            if ending {
                metric::terminate_unfinished(result, self.now);
            }
            let (phase, reason) = metric::assess(&prepared.metric, result, ending);
            if result.phase != phase {
                if let Some(last) = result.measurements.last() {
                    result.message.clone_from(&last.message);
                } else if phase.is_completed() && result.metadata.contains_key(NO_DATA_SINCE_KEY) {
                    // It holds no longer, and what it said of that must not stand beside a final phase.
                    "the run ended before this metric had data".clone_into(&mut result.message);
                }
                if phase.is_completed() {
                    self.events.push(metric_event(prepared.name(), phase));
                }
                result.phase = phase;
            }
            match phase {
                Phase::Successful => tally.successful += 1,
                Phase::Failed => tally.failed += 1,
                Phase::Inconclusive => tally.inconclusive += 1,
                Phase::Error => tally.error += 1,
                _ => {
                    worst.all_complete = false;
                    continue;
                }
            }
            if prepared.dry_run {
                if let Some(reason) = reason {
                    result.message = format!("Metric assessed {phase} due to {reason}");
                }
                continue;
            }
            if worst.phase == Phase::Unset || badness(phase) > badness(worst.phase) {
                worst.phase = phase;
                if let Some(reason) = reason {
                    worst.message = format!("Metric \"{}\" assessed {phase} due to {reason}", prepared.name());
                    if !result.message.is_empty() {
                        worst
                            .message
                            .push_str(&format!(": \"Error Message: {}\"", result.message));
                    }
                }
            }
        }
        self.status.run_summary = summary;
        self.status.dry_run_summary = Some(dry_summary);
        worst
    }

    /// Phases, then questions; once more when a question could not even be asked.
    fn settle(mut self, input: &RunInput<'_>, old: &AnalysisRunStatus) -> RunPlan {
        let mut tasks = Vec::new();
        let mut wake_at: Option<DateTime<Utc>>;
        loop {
            let mode = self.mode();
            let worst = self.assess(mode);
            if self.mode() != mode {
                continue; // a metric has just come to a bad end: that concerns the others
            }
            if worst.all_complete || mode.terminating && !mode.waiting {
                let phase = if worst.phase == Phase::Unset {
                    Phase::Successful
                } else {
                    worst.phase
                };
                return self.finish(input, phase, worst.message);
            }
            wake_at = None;
            if mode.terminating {
                break; // waiting for the answers that are under way
            }
            let (asked, failed) = self.ask(&mut wake_at);
            tasks.extend(asked);
            if !failed {
                break;
            }
        }
        self.status.phase = Phase::Running;
        self.status.message = self.holding();
        let started_at = self.memory.started_at.unwrap_or(self.now);
        let grace_ends = started_at + FIRST_ANSWER_GRACE;
        let begun = old.phase != Phase::Unset || !self.status.metric_results.is_empty();
        if !begun && self.memory.any_in_flight() && self.now < grace_ends {
            self.status = old.clone();
            wake_at = Some(wake_at.map_or(grace_ends, |at| at.min(grace_ends)));
        } else {
            self.status.started_at.get_or_insert(Time::new(started_at));
        }
        RunPlan {
            status: self.status,
            events: self.events,
            tasks,
            memory: self.memory,
            delete: false,
            wake_at,
        }
    }

    /// The metrics that hold for want of data, for the run's message.
    fn holding(&self) -> String {
        let holding = self.status.metric_results.iter().filter(|result| {
            !result.dry_run && !result.phase.is_completed() && result.metadata.contains_key(NO_DATA_SINCE_KEY)
        });
        let texts: Vec<_> = holding
            .map(|result| format!("Metric \"{}\": {}", result.name, result.message))
            .collect();
        texts.join("; ")
    }

    fn finish(mut self, input: &RunInput<'_>, phase: Phase, message: String) -> RunPlan {
        self.status.phase = phase;
        self.status.message = message;
        self.status
            .started_at
            .get_or_insert(Time::new(self.memory.started_at.unwrap_or(self.now)));
        self.status.completed_at = Some(Time::new(self.now));
        self.events.push(run_event(phase));
        let wake_at = completed(input, self.status.clone()).wake_at;
        RunPlan {
            status: self.status,
            events: self.events,
            wake_at,
            ..RunPlan::default()
        }
    }

    // === Questions ===

    /// The questions that are due. The second value: one could not be asked and is an error already.
    fn ask(&mut self, wake_at: &mut Option<DateTime<Utc>>) -> (Vec<MeasureTask>, bool) {
        let setup = self.setup;
        let (mut tasks, mut failed) = (Vec::new(), false);
        let first_look = Time::new(self.memory.started_at.unwrap_or(self.now));
        let started_at = self.status.started_at.unwrap_or(first_look).0;
        for prepared in &setup.metrics {
            let result = self
                .status
                .metric_results
                .iter()
                .find(|result| result.name == prepared.name());
            if result.is_some_and(|result| result.phase.is_completed()) {
                continue;
            }
            if self.memory.has_in_flight(prepared.name()) {
                continue;
            }
            let without_data = self
                .memory
                .metrics
                .get(prepared.name())
                .and_then(|m| m.last_without_data);
            match metric::next(prepared, result, started_at, without_data, self.now) {
                Next::Nothing => {}
                Next::At(due) => *wake_at = Some(wake_at.map_or(due, |at| at.min(due))),
                Next::Now => {
                    let number = metric::taken(result);
                    let resume = result
                        .and_then(|result| result.measurements.last())
                        .filter(|last| !last.phase.is_completed())
                        .cloned();
                    match prepared.requests(self.now) {
                        Ok((request, requests)) => {
                            let flight = InFlight {
                                number,
                                asked_at: self.now,
                            };
                            self.memory
                                .metrics
                                .entry(prepared.name().to_owned())
                                .or_default()
                                .in_flight = Some(flight);
                            let metric = prepared.name().to_owned();
                            tasks.push(MeasureTask {
                                metric,
                                number,
                                request,
                                requests,
                                resume,
                            });
                        }
                        Err(message) => {
                            failed = true;
                            let at = Some(Time::new(self.now));
                            let message = self.setup.redact(&message);
                            self.store(
                                prepared,
                                Measurement {
                                    phase: Phase::Error,
                                    message,
                                    started_at: at,
                                    finished_at: at,
                                    ..Measurement::default()
                                },
                            );
                        }
                    }
                }
            }
        }
        (tasks, failed)
    }
}
