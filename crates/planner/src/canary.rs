//! One pass over a canary Rollout, in upstream's order (compat 2.2, 2.3, 2.4).

use serin_api::{
    selector,
    status::{PauseReason, RolloutStatus},
    steps::StepKind,
};
use serin_model::{
    Event, Plan,
    mutant::{self, Mutant},
};

use chrono::TimeDelta;

use crate::{
    analysis::{self, Runs},
    conditions,
    draft::Draft,
    pause::{self, PauseDecision},
    phase, revision, scaling, services,
    situation::Situation,
    traffic::{self, Traffic},
};

/// Everything a pass decides; `status` becomes the one status write at its end.
pub(crate) fn plan(s: &Situation<'_>) -> Plan {
    let mut draft = Draft::new(s.now);
    if s.new.is_none() && s.others.is_empty() {
        draft.greet(s.world);
    }
    if revision::adopt_orphans(s, &mut draft) {
        return draft.finish();
    }
    if let Some(count) = revision::next_collision_count(s) {
        let mut after = s.before.clone();
        after.collision_count = Some(count);
        draft.write_status(s.world, s.before, &after);
        return draft.finish();
    }
    revision::sync(s, &mut draft);

    let mut pause = PauseDecision::default();
    if s.is_changed() {
        let after = start_over(s, &mut pause, &mut draft);
        finish(s, after, &pause, None, &mut draft);
        return draft.finish();
    }

    let mut after = base_status(s);
    if s.new.is_none() {
        // Somebody deleted the ReplicaSet of a release that goes on: it was created again above, the rest follows.
        after.canary.clone_from(&s.before.canary);
        pause.keep_marks();
        finish(s, after, &pause, None, &mut draft);
        return draft.finish();
    }
    let mut problem = None;
    if s.is_scaling_event() {
        // A person or an autoscaler changed the size: only that, so that steps and analysis see settled counts.
        scaling::reconcile(s, &pause, &mut draft);
        pause.keep_marks();
        after.canary.weights.clone_from(&s.before.canary.weights);
        carry_runs(s, &mut after);
        if analysis::has_bad_news(s) {
            // What follows from it is decided in the next pass; no step is passed meanwhile.
            finish(s, after, &pause, None, &mut draft);
            return draft.finish();
        }
    } else {
        if s.spec.is_paused() || s.lacks_route() {
            // Nothing goes on meanwhile: neither is forgotten that somebody went on before.
            pause.keep_resumption();
        }
        revision::collect_history(s, &mut draft);
        // Verdicts first: an abort found in this pass already takes the weight and the Service back.
        let runs = analysis::reconcile(s, &mut pause, &mut draft);
        abort_on_deadline(s, &after, &mut pause, &mut draft);
        announce_abort(s, &pause, &mut draft);
        services::reconcile(s, &pause, &mut draft);
        services::release_former(s, &mut draft);
        let traffic = traffic::reconcile(s, &pause, &mut draft);
        let Runs { step, background, hold } = runs;
        after.canary.current_step_analysis_run_status = step;
        after.canary.current_background_analysis_run_status = background;
        let Traffic {
            weights,
            problem: found,
        } = traffic;
        after.canary.weights = weights;
        let first_deploy_waits = found.is_some() && s.before.stable_rs.is_empty();
        problem = found.or(hold);
        if first_deploy_waits {
            finish(s, after, &pause, problem.as_deref(), &mut draft);
            return draft.finish();
        }
        if !pause.has_add() && !scaling::reconcile(s, &pause, &mut draft) {
            pause_step(s, &mut pause, &mut draft);
        }
    }
    advance(s, &mut after, &mut pause, &mut draft);
    finish(s, after, &pause, problem.as_deref(), &mut draft);
    draft.finish()
}

/// The part of the status that is counted anew in every pass (compat 1.3); what is not set here or later is taken off.
fn base_status(s: &Situation<'_>) -> RolloutStatus {
    let before = s.before;
    RolloutStatus {
        current_pod_hash: s.hash.clone(),
        current_step_hash: s.step_hash.clone(),
        replicas: s.all().map(|rs| rs.current).sum(),
        updated_replicas: s.new.map_or(0, |rs| rs.current),
        ready_replicas: s.all().map(|rs| rs.ready).sum(),
        available_replicas: s.all().map(|rs| rs.available).sum(),
        hpa_replicas: s.all().map(|rs| rs.current).sum(),
        selector: s.spec.selector.as_ref().map(selector::to_text).unwrap_or_default(),
        stable_rs: before.stable_rs.clone(),
        current_step_index: before.current_step_index,
        collision_count: before.collision_count,
        conditions: before.conditions.clone(),
        restarted_at: before.restarted_at,
        promote_full: before.promote_full && s.hash != before.stable_rs,
        alb: before.alb.clone(),
        albs: before.albs.clone(),
        duration: before.duration.clone(),
        ..RolloutStatus::default()
    }
}

fn carry_runs(s: &Situation<'_>, after: &mut RolloutStatus) {
    let before = &s.before.canary;
    after
        .canary
        .current_step_analysis_run_status
        .clone_from(&before.current_step_analysis_run_status);
    after
        .canary
        .current_background_analysis_run_status
        .clone_from(&before.current_background_analysis_run_status);
}

/// A new revision or new steps: everything of the old release is forgotten (compat 2.3).
fn start_over(s: &Situation<'_>, pause: &mut PauseDecision, draft: &mut Draft) -> RolloutStatus {
    let mut after = base_status(s);
    after.canary.weights.clone_from(&s.before.canary.weights);
    after.promote_full = false;
    after.restarted_at = s.spec.restart_at;
    pause.clear();
    pause.remove_abort();
    let count = s.canary.steps().len();
    let last = i32::try_from(count).ok();
    after.current_step_index = if count == 0 { None } else { Some(0) };
    if !s.before.stable_rs.is_empty() && s.before.stable_rs == s.hash {
        if count > 0 {
            after.current_step_index = last;
            draft.event(Event::normal("SkipSteps", "Rollback to stable ReplicaSets"));
        }
    } else if s.is_rollback_within_window() && s.new.is_some_and(|rs| rs.replicas > 0) {
        if count > 0 {
            after.current_step_index = last;
        }
        draft.event(Event::normal(
            "SkipSteps",
            "Rollback to active ReplicaSets within RollbackWindow",
        ));
    }
    after
}

/// `progressDeadlineAbort`: the deadline passed in an update that does not move (compat 2.16).
fn abort_on_deadline(s: &Situation<'_>, after: &RolloutStatus, pause: &mut PauseDecision, draft: &mut Draft) {
    let updating = !s.before.stable_rs.is_empty() && !s.is_fully_promoted();
    if !s.spec.aborts_on_deadline() || !updating || pause.is_aborted(s.before) {
        return;
    }
    let late = conditions::deadline(s, s.before).is_some_and(|at| s.now >= at);
    if late && !s.is_older_kept() && !conditions::is_progress(s.before, after) {
        let kind = s.new.map_or("Rollout", |_| "ReplicaSet");
        let name = s.new.map_or(s.name, |rs| rs.name.as_str());
        let text = format!("{kind} \"{name}\" has timed out progressing.");
        // Upstream says it twice, once with the cause alone (recordings README 17).
        draft.event(Event::warning("RolloutAborted", text.clone()));
        pause.abort(text);
    }
}

/// An abort that this pass decided is said before its effects; that of a person is said at the end, as upstream does.
fn announce_abort(s: &Situation<'_>, pause: &PauseDecision, draft: &mut Draft) {
    if is_news(s, pause) {
        let cause = pause.abort_message().unwrap_or_default();
        draft.event(Event::warning("RolloutAborted", conditions::abort_text(s, cause)));
    }
}

fn is_news(s: &Situation<'_>, pause: &PauseDecision) -> bool {
    pause.is_aborted(s.before) && s.before.abort != Some(true)
}

/// A `pause` step begins, or goes on (compat 2.4).
fn pause_step(s: &Situation<'_>, pause: &mut PauseDecision, draft: &mut Draft) {
    if s.spec.is_paused() || s.before.promote_full || pause.is_aborted(s.before) || s.is_fully_promoted() {
        return;
    }
    let Some(StepKind::Pause(step)) = s.step.map(|(_, step)| step.kind()) else {
        return;
    };
    match pause::condition(s.before, PauseReason::CanaryPauseStep) {
        None if !s.before.controller_pause => {
            pause.add(PauseReason::CanaryPauseStep);
            if let Ok(Some(seconds)) = step.seconds() {
                draft.wake(serin_api::Time::new(s.now).0 + TimeDelta::seconds(seconds));
            }
        }
        None => {}
        Some(condition) => {
            if let Ok(Some(seconds)) = step.seconds() {
                draft.wake(condition.start_time.0 + TimeDelta::seconds(seconds));
            }
        }
    }
}

/// Promotion, abort, or the end of the current step (compat 2.4).
fn advance(s: &Situation<'_>, after: &mut RolloutStatus, pause: &mut PauseDecision, draft: &mut Draft) {
    let count = i32::try_from(s.canary.steps().len()).unwrap_or(i32::MAX);
    let has_steps = count > 0;
    let skips = s.before.promote_full || s.is_rollback_within_window();
    if skips {
        pause.clear();
        pause.remove_abort();
        if has_steps {
            after.current_step_index = Some(count);
        }
    }
    if let Some(reason) = promotion(s, after, pause, draft) {
        promote(s, after, &reason, pause, draft);
        return;
    }
    if pause.is_aborted(s.before) {
        if s.is_fully_promoted() {
            // A release that is complete cannot stay aborted (compat 2.6).
            pause.remove_abort();
        }
        if has_steps {
            after.current_step_index = Some(if s.is_fully_promoted() { count } else { 0 });
        }
        return;
    }
    if skips {
        return;
    }
    if let Some((index, step)) = s.step
        && is_completed(s, after, pause, draft)
    {
        let text = format!("Rollout step {}/{count} completed ({})", index + 1, step.describe());
        draft.event(Event::normal("RolloutStepCompleted", text));
        after.current_step_index = i32::try_from(index + 1).ok();
        after.canary.current_step_analysis_run_status = None;
        pause.remove(PauseReason::CanaryPauseStep);
    } else if has_steps && after.current_step_index.is_none() {
        after.current_step_index = Some(0);
    }
}

/// Why the new version becomes the stable one now, if it does (compat 2.4, `shouldFullPromote`).
fn promotion(s: &Situation<'_>, after: &RolloutStatus, pause: &PauseDecision, draft: &Draft) -> Option<String> {
    if s.stable.is_none() {
        return Some("Initial deploy".to_owned());
    }
    let new = s.new?;
    let r = s.spec.desired_replicas();
    if pause.is_aborted(s.before) || !(new.lasting() >= r || s.meets_threshold(r)) {
        return None;
    }
    // An abort that this pass takes back may have had its pods scaled away a moment ago.
    if draft
        .size_of(&new.name)
        .is_some_and(|size| size < i64::from(new.lasting().min(r)))
    {
        return None;
    }
    if s.before.promote_full {
        return Some("Full promotion requested".to_owned());
    }
    if s.before.stable_rs == s.hash {
        return Some("Fast rollback".to_owned());
    }
    if s.is_rollback_within_window() {
        return Some("Rollback within window".to_owned());
    }
    let count = s.canary.steps().len();
    let done = s.step.is_none();
    // With a router all traffic is on the new version before it is called stable, and no analysis stands against it.
    let moved = count == 0 || is_given(s, after, s.canary.max_weight(), draft);
    (done && moved && !pause.has_add() && !s.is_halted()).then(|| format!("Completed all {count} canary steps"))
}

fn promote(s: &Situation<'_>, after: &mut RolloutStatus, reason: &str, pause: &mut PauseDecision, draft: &mut Draft) {
    pause.clear();
    pause.remove_abort();
    after.promote_full = false;
    let count = s.canary.steps().len();
    after.current_step_index = if count > 0 { i32::try_from(count).ok() } else { None };
    if after.stable_rs != s.hash {
        after.stable_rs.clone_from(&s.hash);
        let text = format!(
            "Rollout completed update to revision {} ({}): {reason}",
            s.revision(),
            s.hash
        );
        draft.event(Event::normal("RolloutCompleted", text));
    }
}

/// The current step is done (compat 2.4).
fn is_completed(s: &Situation<'_>, after: &RolloutStatus, pause: &PauseDecision, draft: &Draft) -> bool {
    if s.is_halted() || pause.has_add() || s.lacks_route() {
        return false;
    }
    let Some((index, step)) = s.step else { return false };
    match step.kind() {
        StepKind::SetCanaryScale(_) | StepKind::SetWeight(_) if mutant::is(Mutant::StepBeforeEffect) => true,
        StepKind::Pause(step) => match pause::condition(s.before, PauseReason::CanaryPauseStep) {
            None => s.before.controller_pause && s.before.pause_conditions.is_empty(),
            Some(condition) => step
                .seconds()
                .ok()
                .flatten()
                .is_some_and(|seconds| s.now >= condition.start_time.0 + TimeDelta::seconds(seconds)),
        },
        StepKind::SetCanaryScale(_) => s.at_desired_counts(false),
        StepKind::SetWeight(_) => s.at_desired_counts(false) && is_given(s, after, s.set_weight_at(index + 1), draft),
        StepKind::Analysis(_) => {
            let run = after.canary.current_step_analysis_run_status.as_ref();
            let early = mutant::is(Mutant::PromotedWhileAnalysisRuns);
            run.is_some_and(|run| run.status == "Successful" || (early && run.status == "Running"))
        }
        StepKind::Experiment(_)
        | StepKind::SetHeaderRoute(_)
        | StepKind::SetMirrorRoute(_)
        | StepKind::Plugin(_)
        | StepKind::Empty => false,
    }
}

/// With a router the weight itself must have been written, to every route, whatever held it up. A Rollout that wants no
/// pods has none that could get a weight.
fn is_given(s: &Situation<'_>, after: &RolloutStatus, weight: i32, draft: &Draft) -> bool {
    // What was recorded may have been taken off since, before a crash.
    let is_written = traffic::is_written(s, weight, draft);
    let recorded = after.canary.weights.as_ref();
    !s.has_router()
        || s.spec.desired_replicas() == 0
        || (is_written && recorded.is_some_and(|w| w.canary.weight == weight && w.verified != Some(false)))
}

/// "Timed out" says nothing of why: the reason is in the pods, which are not watched (design section 6).
fn advise_on_deadline(s: &Situation<'_>, after: &RolloutStatus, draft: &mut Draft) {
    if let Some(new) = s.new
        && conditions::get(after, conditions::PROGRESSING).is_some_and(|c| c.reason == "ProgressDeadlineExceeded")
    {
        draft.advise(&format!(
            "{} of {} pods of revision {} are available; kubectl -n {} describe pods -l {}={} shows why (an image that \
             cannot be pulled, a readiness probe that fails, no room); then set a working template, or abort",
            new.available,
            new.replicas,
            new.revision(),
            s.namespace,
            serin_api::HASH_LABEL,
            s.hash
        ));
    }
}

/// Pause fields, conditions, phase: then the one status write (compat 1.3 to 1.5).
fn finish(
    s: &Situation<'_>,
    mut after: RolloutStatus,
    pause: &PauseDecision,
    problem: Option<&str>,
    draft: &mut Draft,
) {
    // Upstream saves the turn of the conditions first and counts from there; the result is the same.
    let mut turned = s.before.clone();
    conditions::follow_pause(s.spec, &mut turned, s.now);
    after.conditions = turned.conditions;
    after.observed_generation.clone_from(&s.generation);
    let aborted = pause.is_aborted(s.before);
    let cause = aborted.then(|| pause.abort_message().unwrap_or_default().to_owned());
    for event in conditions::calculate(s, cause.as_deref(), &mut after) {
        if !(event.reason == "RolloutAborted" && is_news(s, pause)) {
            draft.event(event);
        }
    }
    for event in pause.apply(s.before, &mut after, s.now) {
        draft.event(event);
    }
    conditions::follow_pause(s.spec, &mut after, s.now);
    advise_on_deadline(s, &after, draft);
    let (word, mut message) = phase::of(s.spec, &after);
    if let (Some(problem), "Progressing" | "Healthy") = (problem, word) {
        message = if message.is_empty() {
            problem.to_owned()
        } else {
            format!("{message}: {problem}")
        };
    }
    after.phase = word.to_owned();
    after.message = message;
    if let Some(at) = conditions::deadline(s, &after) {
        draft.wake(at + TimeDelta::seconds(1));
    }
    draft.write_status(s.world, s.before, &after);
}
