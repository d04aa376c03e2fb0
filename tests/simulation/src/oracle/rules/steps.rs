//! Steps: their effect is there before they are passed. W4 and W8 for single steps.

use super::{StatusWrite, memory::PAUSE};
use crate::oracle::{
    counts::{desired_canary_at, set_weight},
    facts::{Step, shares, text, time},
    picture::Kind,
    report::{Report, Rule},
};

/// A step's index never advances before the step's effect is in storage: weight written, pods available, analysis Successful,
/// pause over. It goes back only on an abort or a new revision.
///
/// Excused: full promotion (compat 2.8), back to the stable revision (2.3), the rollback window (2.7). A person who skips a
/// step writes the index himself (2.8).
pub(crate) fn advance(write: &StatusWrite<'_, '_>, report: &mut Report) {
    let (Some(from), Some(to)) = (write.old.index(), write.new.index()) else {
        return;
    };
    if write.is_reset {
        if to > 0 && !write.is_fast() {
            let message = format!("began a new revision or new steps at step {to}");
            write.say(report, Rule::W4, message);
        }
        return;
    }
    if to < from {
        // Compat 2.6: an abort and a retry begin at step 0.
        if !write.old.is_aborted() && !write.new.is_aborted() {
            let message = format!("went back from step {from} to {to} without an abort");
            write.say(report, Rule::StepEffect, message);
        }
        return;
    }
    if to == from || write.is_fast() {
        return;
    }
    // Compat 2.6: a fully promoted or first revision cannot be aborted; anything else stays where it is.
    if write.old.is_aborted() && write.new.is_aborted() && !write.old.stable().is_empty() {
        write.say(
            report,
            Rule::W4,
            format!("advanced from step {from} to {to} while the abort stands"),
        );
    }
    if write.old.stable().is_empty() {
        return;
    }
    if write.old.is_paused() {
        // Compat 2.4: never while spec.paused.
        write.say(
            report,
            Rule::W8,
            format!("advanced from step {from} to {to} while spec.paused"),
        );
    }
    for index in from..to {
        if let Err((rule, why)) = is_done(write, index) {
            write.say(report, rule, format!("advanced from step {from} to {to}: {why}"));
        }
    }
    if let Some(why) = background_verdict(write) {
        write.say(report, Rule::W4, format!("advanced from step {from} to {to}: {why}"));
    }
}

fn is_done(write: &StatusWrite<'_, '_>, index: usize) -> Result<(), (Rule, String)> {
    match write.old.step(index) {
        None | Some(Step::Other) => Ok(()),
        Some(Step::Pause(duration)) => is_over(write, duration),
        Some(Step::Scale(_)) => has_pods(write, index),
        Some(Step::Weight(_)) => {
            has_pods(write, index)?;
            has_weight(write, index)
        }
        Some(Step::Analysis) => is_successful(write),
    }
}

/// W8: an untimed pause ends by a person (who removes the condition and leaves `controllerPause`, compat H5). A timed one also
/// ends by itself, not before its time; its start is in whole seconds.
fn is_over(write: &StatusWrite<'_, '_>, duration: Option<i64>) -> Result<(), (Rule, String)> {
    let Some(since) = write.old.paused_since(PAUSE) else {
        return if write.old.controller_pause() {
            Ok(())
        } else {
            Err((Rule::W8, "the pause was never begun".to_owned()))
        };
    };
    let Some(duration) = duration else {
        return Err((Rule::W8, "nobody ended the pause".to_owned()));
    };
    let lasted = time(since).map(|start| write.scene.clock() - start);
    if lasted.is_none_or(|t| t.num_milliseconds() < duration * 1000) {
        return Err((
            Rule::PauseKept,
            format!(
                "the pause of {duration} s began at {since}, and it is {}",
                write.scene.clock()
            ),
        ));
    }
    Ok(())
}

/// Compat 2.4: all pods of the step created and available, or as many as replicaProgressThreshold asks for.
fn has_pods(write: &StatusWrite<'_, '_>, index: usize) -> Result<(), (Rule, String)> {
    let (available, desired) = (write.available(), desired_canary_at(write.old, Some(index)));
    if write.old.is_enough(available, desired) {
        return Ok(());
    }
    Err((
        Rule::StepEffect,
        format!("step {index} wants {desired} available pods, there are {available}"),
    ))
}

/// The route has the step's weight. Without pods there is none to give (compat 2.15.4).
fn has_weight(write: &StatusWrite<'_, '_>, index: usize) -> Result<(), (Rule, String)> {
    let rollout = write.old;
    if rollout.replicas() == 0 || desired_canary_at(rollout, Some(index)) == 0 {
        return Ok(());
    }
    let weight = set_weight(rollout, Some(index));
    #[expect(clippy::cast_precision_loss, reason = "weights are small")]
    let is_it = |share: f64| (share * rollout.whole() as f64 - weight as f64).abs() < 0.01;
    for (namespace, name) in rollout.routes() {
        let views = write.scene.views(Kind::Route, namespace, name);
        let is_written = views
            .into_iter()
            .flatten()
            .any(|r| is_it(shares(r, rollout.canary_service(), rollout.stable_service()).0));
        if !is_written {
            return Err((
                Rule::StepEffect,
                format!("step {index} wants weight {weight}, and HTTPRoute {name} never had it"),
            ));
        }
    }
    Ok(())
}

/// W4: no promotion past a step analysis that is not Successful.
fn is_successful(write: &StatusWrite<'_, '_>) -> Result<(), (Rule, String)> {
    let name = match write.old.step_run() {
        "" => write.new.step_run(),
        name => name,
    };
    if name.is_empty() {
        return Err((Rule::W4, "its analysis was never run".to_owned()));
    }
    let views = write.scene.views(Kind::Run, write.old.namespace(), name);
    let phases: Vec<&str> = views.into_iter().flatten().map(|r| text(r, "/status/phase")).collect();
    if phases.contains(&"Successful") {
        return Ok(());
    }
    Err((Rule::W4, format!("AnalysisRun {name} is {phases:?}")))
}

/// W4: nor with a background analysis that is Failed, Error or Inconclusive. Excused: a person who goes on from an
/// inconclusive one (compat 3.7).
pub(crate) fn background_verdict(write: &StatusWrite<'_, '_>) -> Option<String> {
    // A retry begins another run (compat 2.6), and the same write may say so.
    let name = match write.new.background_run() {
        "" => write.old.background_run(),
        name => name,
    };
    if name.is_empty() {
        return None;
    }
    let has_resumed = write.old.controller_pause() && !write.old.is_held();
    // Nor does the verdict of an aborted try stand against the next one (compat 2.6).
    if !text(write.old.status(), "/abortedAt").is_empty() && !write.old.is_aborted() {
        return None;
    }
    let views = write.scene.views(Kind::Run, write.old.namespace(), name);
    let is_bad = |phase: &str| matches!(phase, "Failed" | "Error") || (phase == "Inconclusive" && !has_resumed);
    let phases: Vec<&str> = views.into_iter().flatten().map(|r| text(r, "/status/phase")).collect();
    let all_bad = !phases.is_empty() && phases.iter().all(|p| is_bad(p));
    all_bad.then(|| format!("the background AnalysisRun {name} is {}", phases[0]))
}
