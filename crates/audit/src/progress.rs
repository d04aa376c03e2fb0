//! W3, W4, W6 and W8, as far as they are about the status: steps, promotions, pauses and aborts. What a person wrote stands
//! in the status that was read; judged is the difference that our own patch makes.

use chrono::{DateTime, TimeDelta, Utc};
use serin_api::{
    HASH_LABEL, ROLLOUT_TYPE_LABEL, STEP_INDEX_LABEL,
    analysis::Phase,
    rollout::RolloutPause,
    status::{PauseCondition, PauseReason},
    steps::StepKind,
};
use serin_model::AnalysisRunView;

use crate::{
    Findings,
    Rule::{W3, W4, W6, W8},
    counts,
    facts::Facts,
    traffic::index,
};

/// Judges what a write changes in the status.
pub(crate) fn judge(before: &Facts<'_>, after: &Facts<'_>, findings: &mut Findings) {
    if before.status == after.status {
        return;
    }
    abort(before, after, findings);
    pauses(before, after, findings);
    steps(before, after, findings);
    promotion(before, after, findings);
}

/// W3: who ends an abort.
fn abort(before: &Facts<'_>, after: &Facts<'_>, findings: &mut Findings) {
    let ends = before.is_aborted() && !after.is_aborted();
    // Compat 2.3 (a new revision), 2.7 (back), 2.8 (full promotion); 2.6: a promoted Rollout cannot stay aborted.
    if ends && !before.is_reset_due() && !before.may_skip_steps() {
        findings.refuse(
            W3,
            "status.abort would be taken back; only a person, a new revision or a promotion ends an abort",
        );
    }
}

fn condition(of: &Facts<'_>, reason: PauseReason) -> Option<PauseCondition> {
    of.status.pause_conditions.iter().find(|c| c.reason == reason).cloned()
}

/// A person took the pause away: `controllerPause` without a condition (compat H5).
fn is_resumed(facts: &Facts<'_>) -> bool {
    facts.status.controller_pause && facts.status.pause_conditions.is_empty()
}

fn has_elapsed(pause: &RolloutPause, since: DateTime<Utc>, now: DateTime<Utc>) -> bool {
    // A duration that cannot be read is refused by the validation; here it never ends.
    let Ok(Some(seconds)) = pause.seconds() else {
        return false;
    };
    TimeDelta::try_seconds(seconds).is_some_and(|d| since + d <= now)
}

/// W8: pauses that end, begin anew, or look as if a person had ended them.
fn pauses(before: &Facts<'_>, after: &Facts<'_>, findings: &mut Findings) {
    // Compat 2.3, 2.6, 2.7, 2.8: a new revision, an abort, a way back and a full promotion end all pauses.
    let all_end = before.is_reset_due()
        || before.is_aborted()
        || after.is_aborted()
        || before.may_skip_steps()
        || after.is_promoted();
    if all_end {
        return;
    }
    let step = index(before)
        .and_then(|i| before.steps().get(i))
        .map(|step| step.kind());
    for old in &before.status.pause_conditions {
        let reason = old.reason.as_str();
        let new = condition(after, old.reason);
        if new.as_ref().is_some_and(|new| new.start_time == old.start_time) {
            continue;
        }
        let may_end = match (old.reason, step) {
            (PauseReason::CanaryPauseStep, Some(StepKind::Pause(pause))) => {
                has_elapsed(pause, old.start_time.0, before.now)
            }
            // A person moved on to another step (compat 2.8).
            (PauseReason::CanaryPauseStep, _) => true,
            _ => false,
        };
        if may_end {
            continue;
        }
        match new {
            Some(new) => findings.refuse(
                W8,
                format!(
                    "the pause {reason} since {} would begin anew at {}; keep its startTime",
                    old.start_time.0, new.start_time.0
                ),
            ),
            None => findings.refuse(
                W8,
                format!(
                    "the pause {reason} since {} would end although neither a person nor its duration ended it; keep it",
                    old.start_time.0
                ),
            ),
        }
    }
    if is_resumed(after) && !is_resumed(before) {
        findings.refuse(
            W8,
            "controllerPause without a pause condition would look as if a person had resumed the Rollout; set it to false",
        );
    }
}

/// W4: steps that the status passes.
fn steps(before: &Facts<'_>, after: &Facts<'_>, findings: &mut Findings) {
    let Some(to) = index(after) else { return };
    // A status that only says what is wrong with a new spec leaves the old release's index and hashes as they are.
    let place = |f: &Facts<'_>| {
        let status = &f.status;
        (
            status.current_step_index,
            status.current_pod_hash.clone(),
            status.current_step_hash.clone(),
        )
    };
    if place(before) == place(after) {
        return;
    }
    let is_reset = before.is_reset_due();
    let from = if is_reset { 0 } else { index(before).unwrap_or(0) };
    if to <= from {
        return;
    }
    let end = before.steps().len();
    // Compat 2.3, 2.7, 2.8: a first deploy, a way back and a full promotion jump to the end.
    if to == end && (before.may_skip_steps() || after.is_initial()) {
        return;
    }
    // Compat 2.4: never while spec.paused.
    if before.world.rollout.spec.is_paused() {
        findings.refuse(
            W4,
            format!("step {from} would be passed while spec.paused is true; wait for a person"),
        );
        return;
    }
    if before.is_aborted() || after.is_aborted() {
        // Compat 2.6: an abort goes to step 0, or to the end when the newest revision is stable anyway.
        findings.refuse(
            W4,
            format!("step {from} would be passed while status.abort stands; stay"),
        );
        return;
    }
    background(before, findings, &format!("step {from} would be passed"));
    for at in from..to {
        let Some(step) = before.steps().get(at) else { break };
        let name = format!("step {at} ({}) would be passed", step.describe());
        // Only the step that the status was at can have been paused at.
        let is_current = at == from && !is_reset;
        match step.kind() {
            StepKind::Pause(pause) => pause_done(before, pause, is_current, &name, findings),
            StepKind::SetCanaryScale(_) => counts_done(before, at, &name, findings),
            StepKind::SetWeight(weight) => {
                counts_done(before, at, &name, findings);
                weight_done(before, weight, &name, findings);
            }
            StepKind::Analysis(_) => analysis_done(before, at, &name, findings),
            // Compat 2.4: at once.
            StepKind::SetHeaderRoute(_) | StepKind::SetMirrorRoute(_) => {}
            StepKind::Experiment(_) | StepKind::Plugin(_) | StepKind::Empty => {
                findings.refuse(W4, format!("{name}, which cannot be carried out yet; stay"));
            }
        }
    }
}

fn pause_done(facts: &Facts<'_>, pause: &RolloutPause, is_current: bool, name: &str, findings: &mut Findings) {
    let since = condition(facts, PauseReason::CanaryPauseStep);
    let is_resumed = facts.status.controller_pause && since.is_none();
    let has_elapsed = since.is_some_and(|c| has_elapsed(pause, c.start_time.0, facts.now));
    if is_current && (is_resumed || has_elapsed) {
        return;
    }
    match pause.duration {
        None => findings.refuse(W8, format!("{name}, but nobody resumed it; wait for a person")),
        Some(_) => findings.refuse(W4, format!("{name} before its time is over; wait")),
    }
}

fn counts_done(facts: &Facts<'_>, at: usize, name: &str, findings: &mut Findings) {
    if let Err(missing) = counts::at_desired(facts, at) {
        findings.refuse(W4, format!("{name}, but {missing} (compat 2.4); wait"));
    }
}

/// Whether every route gives the canary this weight, after the writes so far. Without replicas nothing can have weight.
fn has_weight(facts: &Facts<'_>, weight: i32) -> bool {
    let whole = facts.max_weight();
    let is_there = |(canary, stable): &(i32, i32)| {
        i64::from(*canary) * i64::from(whole) == i64::from(weight) * (i64::from(*canary) + i64::from(*stable))
            && canary + stable > 0
    };
    facts.desired() == 0 || (!facts.has_bad_route && facts.routes.values().flatten().all(is_there))
}

fn weight_done(facts: &Facts<'_>, weight: i32, name: &str, findings: &mut Findings) {
    if facts.has_router() && !has_weight(facts, weight) {
        findings.refuse(
            W4,
            format!("{name}, but not every route gives the canary the weight {weight}; write it first"),
        );
    }
}

fn runs_of<'a>(facts: &Facts<'a>, kind: &'a str) -> impl Iterator<Item = &'a AnalysisRunView> + use<'a> {
    let hash = facts.newest.clone();
    facts.world.analysis_runs.iter().filter(move |run| {
        run.labels.get(ROLLOUT_TYPE_LABEL).map(String::as_str) == Some(kind)
            && run.labels.get(HASH_LABEL) == Some(&hash)
    })
}

fn analysis_done(facts: &Facts<'_>, at: usize, name: &str, findings: &mut Findings) {
    let label = at.to_string();
    let runs = || runs_of(facts, "Step").filter(|run| run.labels.get(STEP_INDEX_LABEL) == Some(&label));
    let named = facts.status.canary.current_step_analysis_run_status.as_ref();
    let run = runs()
        .find(|run| named.is_some_and(|n| n.name == run.name))
        .or_else(|| runs().max_by_key(|run| (run.created, run.name.len(), &run.name)));
    match run {
        Some(run) if run.phase == Phase::Successful => {}
        Some(run) => findings.refuse(
            W4,
            format!(
                "{name}, but its AnalysisRun {} is {:?}; wait for Successful",
                run.name,
                run.phase.as_str()
            ),
        ),
        None => findings.refuse(W4, format!("{name}, but it has no AnalysisRun; run it first")),
    }
}

/// W4: the background analysis stands in the way.
fn background(facts: &Facts<'_>, findings: &mut Findings, what: &str) {
    let Some(named) = &facts.status.canary.current_background_analysis_run_status else {
        return;
    };
    let Some(run) = runs_of(facts, "Background").find(|run| run.name == named.name) else {
        return;
    };
    // Compat 3.7: a person who resumes after an inconclusive run gets another one.
    let is_resumed = run.phase == Phase::Inconclusive && is_resumed(facts);
    // Compat 2.6: so does one who retries.
    let is_retried = facts.status.aborted_at.is_some() && !facts.is_aborted();
    if matches!(run.phase, Phase::Failed | Phase::Error | Phase::Inconclusive) && !is_resumed && !is_retried {
        findings.refuse(
            W4,
            format!(
                "{what}, but the background AnalysisRun {} is {}; abort, or wait for a person",
                run.name,
                run.phase.as_str()
            ),
        );
    }
}

/// W6: what becomes stable, and when.
fn promotion(before: &Facts<'_>, after: &Facts<'_>, findings: &mut Findings) {
    let (old, new) = (&before.status.stable_rs, &after.status.stable_rs);
    if old == new {
        return;
    }
    let what = format!("stableRS would change from {old:?} to {new:?}");
    if new.is_empty() || *new != before.newest {
        findings.refuse(
            W6,
            format!(
                "{what}, the newest revision is {:?}; promote that or nothing",
                before.newest
            ),
        );
        return;
    }
    if before.is_initial() {
        // Compat 2.3, 2.4: a first deploy is promoted at once.
        return;
    }
    let is_back = before.is_rollback_in_window();
    let is_full = before.status.promote_full;
    // Compat 2.4; a full promotion and a way back end the abort in the same write (2.7, 2.8).
    if before.is_aborted() && !is_full && !is_back {
        findings.refuse(W6, format!("{what} while status.abort stands; wait for a retry"));
    }
    let (available, desired) = (before.new_replicas().map_or(0, |rs| rs.available), before.desired());
    if !counts::is_enough(before, available, desired) {
        findings.refuse(
            W6,
            format!("{what} with {available} of {desired} pods available; wait for them"),
        );
    }
    // Compat 2.7, 2.8: neither steps nor analyses count, and the weight is held.
    if is_back || is_full {
        return;
    }
    let end = before.steps().len();
    if end > 0 && index(after) != Some(end) {
        findings.refuse(
            W6,
            format!(
                "{what} at step {} of {end}; complete the steps first",
                index(after).map_or_else(|| "?".to_owned(), |i| i.to_string())
            ),
        );
    }
    background(before, findings, &what);
    // Compat 2.15: without steps the canary never gets a weight; all traffic moves with the stable Service's selector.
    if end > 0 && before.has_router() && !has_weight(before, before.max_weight()) {
        findings.refuse(
            W6,
            format!(
                "{what} while not every route gives it the whole weight {}; write it first",
                before.max_weight()
            ),
        );
    }
}
