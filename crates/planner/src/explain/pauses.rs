//! A release that pauses: by its steps, for a person, or held by one.

use chrono::{DateTime, TimeDelta, Utc};
use serin_api::{
    analysis::Phase,
    status::{PauseCondition, PauseReason},
    steps::StepKind,
};

use super::{
    Explanation, State, WaitsFor, acting,
    behind::{self, with_weight},
    release::{route_problem, run_names, with_background, word},
    text,
};
use crate::{analysis, conditions, pause, situation::Situation};

/// Pauses, in the order in which the phase names them (compat 1.4).
pub(super) fn paused(s: &Situation<'_>) -> Option<Explanation> {
    if s.before.promote_full && !s.is_halted() {
        return None;
    }
    if s.spec.is_paused() {
        return Some(by_person(s));
    }
    let inconclusive_at = pause::condition(s.before, PauseReason::InconclusiveAnalysisRun);
    let condition = inconclusive_at.or(s.before.pause_conditions.first())?;
    match condition.reason {
        PauseReason::InconclusiveAnalysisRun => Some(inconclusive(s, condition)),
        PauseReason::CanaryPauseStep => pause_step(s, condition),
        PauseReason::InconclusiveExperiment | PauseReason::BlueGreenPause => Some(
            Explanation::new(
                State::PausedForPerson,
                format!("The Rollout is paused ({}).", condition.reason.as_str()),
                WaitsFor::Person,
                person_decides(s),
            )
            .since(Some(condition.start_time.0)),
        ),
    }
}

/// `spec.paused`. Analyses know nothing of it: they go on, and a bad verdict counts.
fn by_person(s: &Situation<'_>) -> Explanation {
    let known = Explanation::new(
        State::PausedByPerson,
        "A person holds the Rollout (spec.paused): no step, no scaling.",
        WaitsFor::Person,
        format!("Set spec.paused to false ({}).", text::release(s)),
    )
    .since(held_since(s));
    let updating = s.stable.is_some() && !s.is_fully_promoted() && !s.before.promote_full;
    if !updating {
        return known.because_of(behind::why(s));
    }
    let at = match s.step {
        None => "All its steps are done.".to_owned(),
        Some(_) => format!("It is held at {}{}.", text::step(s), with_weight(s)),
    };
    let mut known = known.because(at).because_of(behind::why(s));
    let runs = analysis::followed(s);
    for (run, place) in runs.into_iter().zip(["of the step", "beside the steps"]) {
        let Some(run) = run else { continue };
        let message = match run.message.as_str() {
            "" => ".".to_owned(),
            message => format!(": {message}"),
        };
        known = known.because(format!("AnalysisRun {} ({place}) is {}{message}", run.name, word(run)));
        known.analysis_runs.push(run.name.clone());
    }
    let [of_step, _] = runs;
    if of_step.is_none() && matches!(s.step.map(|(_, step)| step.kind()), Some(StepKind::Analysis(_))) {
        known = known.because("The analysis of the step begins when the Rollout is no longer held.");
    }
    if runs.iter().flatten().any(|run| !run.phase.is_completed()) {
        let meanwhile = " Meanwhile the analysis goes on: Failed or Error aborts the release, held or not.";
        known.next.what.push_str(meanwhile);
    }
    if !s.before.pause_conditions.is_empty() {
        known.next.what.push_str(" What else it pauses for then still stands.");
    }
    known
}

/// Since when a person holds it, as far as that is certain. The condition `Paused` spans pauses that follow upon one another:
/// it began with the hold only if no other pause stands or was just ended, and nothing happened to the release since.
fn held_since(s: &Situation<'_>) -> Option<DateTime<Utc>> {
    let paused = conditions::get(s.before, conditions::PAUSED).filter(|c| c.status == "True")?;
    let turned = conditions::get(s.before, conditions::PROGRESSING).filter(|c| c.reason == "RolloutPaused")?;
    let since = paused.last_transition_time.0;
    let alone = s.before.pause_conditions.is_empty() && !s.before.controller_pause;
    (alone && turned.last_update_time.0 == since).then_some(since)
}

fn person_decides(s: &Situation<'_>) -> String {
    format!(
        "A person goes on ({}) or aborts ({}).",
        text::command(s, "promote"),
        text::command(s, "abort")
    )
}

/// A step's run without a verdict is skipped by the plugin's `promote`, and measured again when only the pause is ended; one
/// beside the steps is measured again in either case.
fn inconclusive(s: &Situation<'_>, condition: &PauseCondition) -> Explanation {
    let is_inconclusive = |run: &&serin_model::AnalysisRunView| run.phase == Phase::Inconclusive;
    let [step, background] = analysis::followed(s).map(|run| run.filter(is_inconclusive));
    let run = step.or(background);
    let why = run.map_or_else(String::new, |run| match run.message.as_str() {
        "" => format!("AnalysisRun {} is Inconclusive.", run.name),
        message => format!("AnalysisRun {} is Inconclusive: {message}", run.name),
    });
    let pauses = pause::condition(s.before, PauseReason::CanaryPauseStep).is_some();
    let (promote, abort) = (text::command(s, "promote"), text::command(s, "abort"));
    let next = if step.is_some() {
        format!(
            "A person has it measured again ({}), goes on without a verdict, which skips the step ({promote}), or aborts ({abort}).",
            text::resume(s)
        )
    } else if pauses {
        format!(
            "A person has it measured again, which also ends the pause of {} ({promote}), or aborts ({abort}).",
            text::step(s)
        )
    } else {
        format!(
            "A person has it measured again ({}) or aborts ({abort}).",
            text::resume(s)
        )
    };
    let mut known = Explanation::new(
        State::Inconclusive,
        "An analysis came to no verdict; the Rollout waits.",
        WaitsFor::Person,
        next,
    )
    .because(why)
    .because_of(behind::why(s))
    .since(Some(condition.start_time.0));
    known.analysis_runs = run_names(s);
    known
}

fn pause_step(s: &Situation<'_>, condition: &PauseCondition) -> Option<Explanation> {
    let (_, step) = s.step?;
    let StepKind::Pause(pause) = step.kind() else {
        return None;
    };
    let what = format!("{} pauses at {}{}.", text::revision(s), text::step(s), with_weight(s));
    let known = match pause.seconds().ok().flatten() {
        None => Explanation::new(State::PausedForPerson, what, WaitsFor::Person, person_decides(s)),
        // Its end changes nothing as long as no step is passed.
        Some(_) if s.lacks_route() => {
            return route_problem(s).map(|problem| with_background(s, problem.because(what)));
        }
        Some(seconds) => {
            let ends = condition.start_time.0 + TimeDelta::seconds(seconds);
            if s.now >= ends {
                return Some(acting(
                    what,
                    "The pause is over; the controller goes on to the next step.",
                ));
            }
            let next = format!(
                "It goes on by itself; a person may go on at once ({}).",
                text::command(s, "promote")
            );
            Explanation::new(State::PausedForTime, what, WaitsFor::Time, next).at(Some(ends))
        }
    };
    let known = known.because_of(behind::why(s));
    Some(with_background(s, known.since(Some(condition.start_time.0))))
}
