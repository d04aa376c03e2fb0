//! Analysis runs: asks the questions that are due, writes what follows from the answers, deletes runs that have outlived
//! their TTL. What a status should be is decided by `serin-analysis`.
//!
//! Every question is a task of its own, so a slow provider holds up nothing but its own metric. What is remembered between
//! two looks (questions under way, answers not yet written) may be lost at any time: then the question is asked again.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use k8s_openapi::ByteString;
use serde::Deserialize;
use serde_json::{Value, json};
use serin_analysis::{RunInput, RunMemory, RunPlan, Secrets, plan_run, secrets_needed};
use serin_api::analysis::{AnalysisRun, Phase};
use serin_model::{
    Event,
    measure::{MeasureTask, Outcome, TaskAnswer},
    merge_patch,
};
use tokio::{task::AbortHandle, time::Instant};
use tracing::{debug, warn};

use crate::{
    apply::{bury, refresh, take_in},
    calls::{Format, Refusal, Target},
    context::Context,
    events::{Record, Subject},
    kinds::{Kind, RunEntry},
    queue::Done,
    table::Key,
};

/// While other questions of the run are under way, an answer waits this long for company: one status write instead of two.
const GATHER: Duration = Duration::from_millis(20);

/// What is remembered of runs.
#[derive(Debug, Default)]
pub struct Runs {
    states: Mutex<BTreeMap<Key, State>>,
}

#[derive(Debug, Default)]
struct State {
    uid: String,
    memory: RunMemory,
    /// Answers that are not in the status yet.
    answers: Vec<TaskAnswer>,
    flights: BTreeMap<(String, i64), AbortHandle>,
}

impl Drop for State {
    fn drop(&mut self) {
        for flight in self.flights.values() {
            flight.abort();
        }
    }
}

impl Runs {
    fn states(&self) -> MutexGuard<'_, BTreeMap<Key, State>> {
        self.states.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Drops all questions: somebody else leads now.
    pub fn clear(&self) {
        self.states().clear();
    }
}

/// Looks at one run and does what is due.
pub async fn look(ctx: &Arc<Context>, key: &Key) -> Done {
    if ctx.calls.gate().is_stopping() || !ctx.calls.gate().is_open() {
        return Done::Idle;
    }
    let entry = ctx.stores().runs.get(key).cloned();
    let Some(entry) = entry.filter(|e| !e.view.deleting) else {
        ctx.run_states.states().remove(key);
        ctx.runs.forget(key);
        return Done::Idle;
    };
    match &entry.run {
        Ok(run) => plan_and_carry_out(ctx, key, &entry, run).await,
        Err(error) => refuse_undecodable(ctx, key, &entry, error).await,
    }
}

async fn plan_and_carry_out(ctx: &Arc<Context>, key: &Key, entry: &RunEntry, run: &AnalysisRun) -> Done {
    let secrets = match secrets(ctx, key, run).await {
        Ok(secrets) => secrets,
        Err(error) => {
            warn!(run = %key, %error, "Secrets cannot be read now");
            return Done::Retry;
        }
    };
    let (memory, answers) = {
        let mut states = ctx.run_states.states();
        let state = states.entry(key.clone()).or_default();
        if state.uid != entry.view.uid {
            // Another run of the same name.
            *state = State::default();
            state.uid.clone_from(&entry.view.uid);
        }
        (state.memory.clone(), state.answers.clone())
    };
    let now = ctx.clock.now();
    let settings = serin_analysis::Settings {
        hold_no_data: ctx.config.settings.no_data_hold,
    };
    let plan = plan_run(&RunInput {
        run,
        settings,
        secrets: &secrets,
        memory: &memory,
        answers: &answers,
        now,
    });
    if plan.delete {
        return delete(ctx, key, entry).await;
    }
    let subject = match write_status(ctx, key, entry, run, &plan).await {
        Ok(subject) => subject,
        Err(done) => return done,
    };
    for (index, event) in plan.events.iter().enumerate() {
        record(ctx, &subject, event, index);
    }
    if plan.status.phase.is_completed() {
        ctx.run_states.states().remove(key);
    } else {
        remember(ctx, key, &plan, answers.len());
    }
    plan.wake_at.map_or(Done::Idle, |at| Done::At(ctx.clock.instant(at)))
}

/// Writes the status if it differs. `Err` when it could not be written: nothing of the plan may be kept then.
async fn write_status(
    ctx: &Arc<Context>,
    key: &Key,
    entry: &RunEntry,
    run: &AnalysisRun,
    plan: &RunPlan,
) -> Result<Subject, Done> {
    let subject = |resource_version: &str| Subject {
        kind: "AnalysisRun",
        key: key.clone(),
        uid: entry.view.uid.clone(),
        resource_version: resource_version.to_owned(),
    };
    let old = run.status.clone().unwrap_or_default();
    if plan.status == old {
        return Ok(subject(&entry.view.resource_version));
    }
    let json = |status| serde_json::to_value(status).expect("a status has string keys only");
    let before = run.status.as_ref().map_or(Value::Null, json);
    let Some(patch) = merge_patch(&before, &json(&plan.status)) else {
        return Ok(subject(&entry.view.resource_version));
    };
    let patch = json!({ "metadata": {"resourceVersion": entry.view.resource_version}, "status": patch });
    patch_run(ctx, key, &patch).await.map(|version| subject(&version))
}

/// Sends a guarded patch of a run; returns the new version.
async fn patch_run(ctx: &Arc<Context>, key: &Key, patch: &Value) -> Result<String, Done> {
    let target = Target {
        kind: Kind::AnalysisRun,
        namespace: &key.namespace,
        name: &key.name,
    };
    // The run has no status subresource (compat 1): upstream and its plugin patch the whole object.
    match ctx.calls.patch(target, None, Format::Merge, patch).await {
        Ok(answer) => {
            let version = answer
                .pointer("/metadata/resourceVersion")
                .and_then(Value::as_str)
                .unwrap_or_default()
                .to_owned();
            match take_in(&mut ctx.stores(), Kind::AnalysisRun, answer) {
                Ok(mut affected) => {
                    affected.runs.remove(key);
                    ctx.enqueue(affected, None);
                }
                Err(error) => warn!(run = %key, %error, "Answer not understood"),
            }
            Ok(version)
        }
        Err(Refusal::NotLeading) => Err(Done::Idle),
        Err(Refusal::Conflict(_) | Refusal::NotFound(_)) => {
            debug!(run = %key, "The run has changed; looking again");
            match refresh(ctx, Kind::AnalysisRun, key).await {
                Ok(()) => Err(Done::At(Instant::now())),
                Err(error) => {
                    warn!(run = %key, %error, "Failed to read again after a conflict");
                    Err(Done::Retry)
                }
            }
        }
        Err(refusal) => {
            warn!(run = %key, error = %refusal, "Status not written");
            Err(Done::Retry)
        }
    }
}

/// Keeps what the accepted plan says, drops questions that it no longer wants, and asks its own.
fn remember(ctx: &Arc<Context>, key: &Key, plan: &RunPlan, written: usize) {
    let mut states = ctx.run_states.states();
    let Some(state) = states.get_mut(key) else { return };
    state.memory = plan.memory.clone();
    // Answers that came while the status was written are still to be planned with.
    state.answers.drain(..written.min(state.answers.len()));
    let (memory, answers) = (&state.memory, &state.answers);
    state.flights.retain(|(metric, number), flight| {
        let answered = answers.iter().any(|a| a.metric == *metric && a.number == *number);
        let wanted = memory.is_in_flight(metric, *number) && !answered;
        if !wanted {
            flight.abort();
        }
        wanted
    });
    for task in &plan.tasks {
        let id = (task.metric.clone(), task.number);
        let flight = tokio::spawn(ask(Arc::clone(ctx), key.clone(), state.uid.clone(), task.clone()));
        if let Some(old) = state.flights.insert(id, flight.abort_handle()) {
            old.abort();
        }
    }
}

async fn ask(ctx: Arc<Context>, key: Key, uid: String, task: MeasureTask) {
    let asked_at = ctx.clock.now();
    let outcome = ctx.providers.answer(&task).await;
    ctx.calls.metrics().measurement(match &outcome {
        Outcome::Answer(_) | Outcome::Verdict { .. } => "ok",
        Outcome::Error(_) => "error",
        Outcome::Unfinished { .. } => "unfinished",
    });
    let company = {
        let mut states = ctx.run_states.states();
        let Some(state) = states.get_mut(&key).filter(|s| s.uid == uid) else {
            return;
        };
        state.flights.remove(&(task.metric.clone(), task.number));
        let answered_at = ctx.clock.now();
        state.answers.push(TaskAnswer {
            metric: task.metric,
            number: task.number,
            asked_at,
            answered_at,
            outcome,
        });
        !state.flights.is_empty()
    };
    ctx.runs
        .add(key, Instant::now() + if company { GATHER } else { Duration::ZERO });
}

async fn delete(ctx: &Arc<Context>, key: &Key, entry: &RunEntry) -> Done {
    let target = Target {
        kind: Kind::AnalysisRun,
        namespace: &key.namespace,
        name: &key.name,
    };
    match ctx
        .calls
        .delete(target, &entry.view.uid, &entry.view.resource_version)
        .await
    {
        Ok(answer) if answer.get("kind").and_then(Value::as_str) == Some("AnalysisRun") => {
            if let Ok(affected) = take_in(&mut ctx.stores(), Kind::AnalysisRun, answer) {
                ctx.enqueue(affected, None);
            }
            Done::Idle
        }
        Ok(_) | Err(Refusal::NotFound(_)) => {
            let affected = bury(&mut ctx.stores(), Kind::AnalysisRun, key, &entry.view.uid);
            ctx.enqueue(affected, None);
            Done::Idle
        }
        Err(Refusal::NotLeading) => Done::Idle,
        Err(error) => {
            debug!(run = %key, %error, "Not deleted; looking again");
            let _ = refresh(ctx, Kind::AnalysisRun, key).await;
            Done::Retry
        }
    }
}

/// A run that cannot be understood ends with an error that says so: its Rollout must not wait for ever.
async fn refuse_undecodable(ctx: &Arc<Context>, key: &Key, entry: &RunEntry, error: &str) -> Done {
    if entry.view.phase.is_completed() {
        return Done::Idle;
    }
    let message = format!("Analysis spec invalid: {error}");
    let patch = json!({
        "metadata": {"resourceVersion": entry.view.resource_version},
        "status": {
            "phase": Phase::Error,
            "message": message,
            "completedAt": serin_api::Time::new(ctx.clock.now()),
        },
    });
    match patch_run(ctx, key, &patch).await {
        Ok(resource_version) => {
            let subject = Subject {
                kind: "AnalysisRun",
                key: key.clone(),
                uid: entry.view.uid.clone(),
                resource_version,
            };
            record(
                ctx,
                &subject,
                &Event::warning("AnalysisRunError", "Analysis Completed. Result: Error"),
                0,
            );
            Done::Idle
        }
        Err(done) => done,
    }
}

fn record(ctx: &Context, subject: &Subject, event: &Event, index: usize) {
    ctx.events.record(Record {
        subject: subject.clone(),
        kind: event.kind.as_str(),
        reason: event.reason.to_owned(),
        message: event.message.clone(),
        seed: format!("{}/{index}", subject.resource_version),
        at: ctx.clock.now(),
    });
}

/// Reads the Secrets that the run names, each time: their values are never kept (compat 3.6).
async fn secrets(ctx: &Context, key: &Key, run: &AnalysisRun) -> Result<Secrets, Refusal> {
    let mut out = Secrets::new();
    if run.status.as_ref().is_some_and(|s| s.phase.is_completed()) {
        return Ok(out);
    }
    for reference in secrets_needed(&run.spec) {
        let value = match ctx.calls.get_secret(&key.namespace, &reference.name).await {
            Ok(secret) => secret
                .get("data")
                .and_then(|data| data.get(&reference.key))
                .and_then(|value| ByteString::deserialize(value).ok())
                .and_then(|bytes| String::from_utf8(bytes.0).ok())
                .ok_or_else(|| format!("key '{}' does not exist in secret '{}'", reference.key, reference.name)),
            Err(Refusal::NotFound(_)) => Err(format!("secrets {:?} not found", reference.name)),
            Err(Refusal::Refused { code: 403, message }) => Err(message),
            Err(refusal) => return Err(refusal),
        };
        out.insert((reference.name, reference.key), value);
    }
    Ok(out)
}
