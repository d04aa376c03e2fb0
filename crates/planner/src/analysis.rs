//! Analysis runs of a Rollout: when one is created, followed, ended, forgotten (compat 3.7, 2.6, 2.17).

use std::collections::BTreeMap;

use serde_json::json;
use serin_api::{
    HASH_LABEL, NO_DATA_ANNOTATION, REVISION_ANNOTATION, ROLLOUT_TYPE_LABEL, STEP_INDEX_LABEL,
    analysis::{AnalysisRunSpec, Argument, Phase},
    compose,
    rollout::{AnalysisRunArgument, RolloutAnalysis},
    status::{PauseReason, RunStatus},
    steps::StepKind,
};
use serin_model::{AnalysisRunView, Event, Write, analysis_spec_digest, run_annotations};

use crate::{draft::Draft, pause::PauseDecision, situation::Situation};

/// What a run is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Use {
    Step(usize),
    Background,
}

impl Use {
    /// Value of the `rollout-type` label, and how events call it.
    fn word(self) -> &'static str {
        match self {
            Self::Step(_) => "Step",
            Self::Background => "Background",
        }
    }

    /// How an abort message begins (compat 2.6).
    fn blame(self) -> &'static str {
        match self {
            Self::Step(_) => "Step-based analysis phase error/failed",
            Self::Background => "Background analysis phase error/failed",
        }
    }
}

/// The runs that the Rollout follows after a pass.
#[derive(Debug, Default)]
pub(crate) struct Runs {
    /// `status.canary.currentStepAnalysisRunStatus`.
    pub(crate) step: Option<RunStatus>,
    /// `status.canary.currentBackgroundAnalysisRunStatus`.
    pub(crate) background: Option<RunStatus>,
    /// A run says why it has no verdict yet: it holds the Rollout for want of data (design contract 6).
    pub(crate) hold: Option<String>,
}

/// Creates, follows and ends runs. Their verdicts become pauses and aborts.
pub(crate) fn reconcile(s: &Situation<'_>, pause: &mut PauseDecision, draft: &mut Draft) -> Runs {
    let recorded = &s.before.canary;
    let [step_run, background_run] = followed(s);
    // A deadline on the newest revision is that of an older release, or of an abort whose status was not written yet: then
    // the run that caused it is named, and its verdict is due once more.
    let is_from_before = s.before.aborted_at.is_none() && step_run.is_none() && background_run.is_none();
    let over = pause.is_aborted(s.before)
        || s.before.promote_full
        || s.before.stable_rs.is_empty()
        || (s.new.is_some_and(|rs| Situation::deadline_of(rs).is_some()) && is_from_before)
        || s.is_rollback_within_window();
    let mut runs = Runs::default();
    let mut kept: Vec<String> = Vec::new();
    if over {
        // What becomes of a run that nobody waits for any more is no event of the Rollout.
        runs.step = step_run.map(shown);
        runs.background = background_run.map(shown);
    } else {
        if let Some((index, StepKind::Analysis(analysis))) = s.step.map(|(i, step)| (i, step.kind())) {
            let held = !s.before.pause_conditions.is_empty() || s.spec.is_paused();
            let last = recorded.current_step_analysis_run_status.as_ref();
            runs.step = follow(s, Use::Step(index), analysis, step_run, last, held, pause, draft);
        }
        if let Some(background) = &s.canary.analysis {
            let current = s.step.map_or(s.canary.steps().len(), |(i, _)| i);
            let started = background
                .starting_step
                .is_none_or(|n| usize::try_from(n).map_or(true, |n| current >= n));
            if !s.is_fully_promoted() && started {
                let last = recorded.current_background_analysis_run_status.as_ref();
                runs.background = follow(
                    s,
                    Use::Background,
                    &background.analysis,
                    background_run,
                    last,
                    false,
                    pause,
                    draft,
                );
            }
        }
        let followed: Vec<&RunStatus> = [&runs.step, &runs.background].into_iter().flatten().collect();
        kept.extend(followed.iter().map(|run| run.name.clone()));
        // A run that goes on says something only when it holds.
        let holds = |run: &&&RunStatus| run.status == Phase::Running.as_str() && !run.message.is_empty();
        runs.hold = followed.iter().find(holds).map(|run| run.message.clone());
    }
    for run in &s.world.analysis_runs {
        let over = run.phase.is_completed() || run.terminate || run.deleting;
        if !over && !kept.contains(&run.name) {
            draft.write(
                Write::PatchAnalysisRun {
                    name: run.name.clone(),
                    resource_version: run.resource_version.clone(),
                    patch: json!({ "spec": { "terminate": true } }),
                },
                [],
            );
        }
    }
    collect(s, &kept, draft);
    runs
}

/// The runs that the status names and that exist: of the current step, and in the background.
pub(crate) fn followed<'a>(s: &Situation<'a>) -> [Option<&'a AnalysisRunView>; 2] {
    let recorded = &s.before.canary;
    [
        find(s, recorded.current_step_analysis_run_status.as_ref()).filter(|run| is_of_this_step(s, run)),
        find(s, recorded.current_background_analysis_run_status.as_ref()),
    ]
}

/// Why no run can be made of this, if none can.
pub(crate) fn problem(s: &Situation<'_>, analysis: &RolloutAnalysis) -> Option<String> {
    run_spec(s, analysis).err()
}

/// A run that the status names ended otherwise than well.
pub(crate) fn has_bad_news(s: &Situation<'_>) -> bool {
    let recorded = &s.before.canary;
    [
        &recorded.current_step_analysis_run_status,
        &recorded.current_background_analysis_run_status,
    ]
    .into_iter()
    .filter_map(|named| find(s, named.as_ref()))
    .any(|run| matches!(run.phase, Phase::Failed | Phase::Error | Phase::Inconclusive))
}

fn find<'a>(s: &Situation<'a>, recorded: Option<&RunStatus>) -> Option<&'a AnalysisRunView> {
    let name = &recorded?.name;
    s.world.analysis_runs.iter().find(|run| run.name == *name)
}

/// A person who skips a step leaves the run of that step in the status: it says nothing of the next one.
fn is_of_this_step(s: &Situation<'_>, run: &AnalysisRunView) -> bool {
    match (s.step, run.labels.get(STEP_INDEX_LABEL)) {
        (Some((index, _)), Some(label)) => *label == index.to_string(),
        _ => true,
    }
}

/// One run from its creation to its verdict.
fn follow(
    s: &Situation<'_>,
    purpose: Use,
    analysis: &RolloutAnalysis,
    current: Option<&AnalysisRunView>,
    recorded: Option<&RunStatus>,
    held: bool,
    pause: &mut PauseDecision,
    draft: &mut Draft,
) -> Option<RunStatus> {
    if needs_new(s, current) {
        if held && current.is_none() {
            return None;
        }
        return create(s, purpose, analysis, draft).or_else(|| recorded.cloned());
    }
    let run = current?;
    let status = report(purpose, run, recorded, draft);
    match run.phase {
        Phase::Inconclusive => pause.add(PauseReason::InconclusiveAnalysisRun),
        Phase::Failed | Phase::Error => {
            let cause = if run.message.is_empty() {
                String::new()
            } else {
                format!(": {}", run.message)
            };
            pause.abort(format!("{}{cause}", purpose.blame()));
        }
        _ => {}
    }
    Some(status)
}

/// None yet, resumed after an inconclusive one, or retried after an abort (compat 3.7).
fn needs_new(s: &Situation<'_>, current: Option<&AnalysisRunView>) -> bool {
    let Some(run) = current else { return true };
    let paused_elsewhere = s.before.pause_conditions.iter().any(|c| {
        matches!(
            c.reason,
            PauseReason::CanaryPauseStep | PauseReason::BlueGreenPause | PauseReason::InconclusiveAnalysisRun
        )
    });
    let resumed = s.before.controller_pause && !paused_elsewhere && run.phase == Phase::Inconclusive;
    resumed || s.before.aborted_at.is_some()
}

/// The run as the Rollout's status shows it.
fn shown(run: &AnalysisRunView) -> RunStatus {
    RunStatus {
        name: run.name.clone(),
        status: run.phase.as_str().to_owned(),
        message: run.message.clone(),
    }
}

/// The run as the status shows it; a change of phase is an event (compat 3.7).
fn report(purpose: Use, run: &AnalysisRunView, recorded: Option<&RunStatus>, draft: &mut Draft) -> RunStatus {
    let status = shown(run);
    let recorded = recorded.filter(|r| r.name == run.name);
    let known = recorded.map_or("", |r| r.status.as_str());
    if run.phase == Phase::Running && !run.message.is_empty() && recorded.is_none_or(|r| r.message.is_empty()) {
        let text = format!("{} Analysis Run '{}' holds: {}", purpose.word(), run.name, run.message);
        draft.event(Event::warning("AnalysisRunHolding", text));
    }
    if known != status.status {
        let text = format!(
            "{} Analysis Run '{}' Status New: '{}' Previous: '{known}'",
            purpose.word(),
            run.name,
            status.status
        );
        let bad = matches!(run.phase, Phase::Failed | Phase::Error);
        let reason = reason_of(run.phase);
        draft.event(if bad {
            Event::warning(reason, text)
        } else {
            Event::normal(reason, text)
        });
    }
    status
}

fn reason_of(phase: Phase) -> &'static str {
    match phase {
        Phase::Unset => "AnalysisRun",
        Phase::Pending => "AnalysisRunPending",
        Phase::Running => "AnalysisRunRunning",
        Phase::Successful => "AnalysisRunSuccessful",
        Phase::Failed => "AnalysisRunFailed",
        Phase::Error => "AnalysisRunError",
        Phase::Inconclusive => "AnalysisRunInconclusive",
    }
}

/// Creates the run, or takes one of the same content that exists already: a crash after the creation repeats nothing.
fn create(s: &Situation<'_>, purpose: Use, analysis: &RolloutAnalysis, draft: &mut Draft) -> Option<RunStatus> {
    let (spec, mut annotations) = match run_spec(s, analysis) {
        Ok(found) => found,
        Err(problem) => {
            let text = format!("The {} analysis run cannot be created: {problem}", purpose.word());
            draft.warn(Event::warning("AnalysisRunCreateError", text));
            return None;
        }
    };
    let revision = s.revision();
    let base = match purpose {
        Use::Step(index) => format!("{}-{}-{revision}-{index}", s.name, s.hash),
        Use::Background => format!("{}-{}-{revision}", s.name, s.hash),
    };
    let digest = analysis_spec_digest(&spec);
    let mut name = base.clone();
    let mut suffix = 0;
    while let Some(known) = s.world.analysis_runs.iter().find(|run| run.name == name) {
        if !known.phase.is_completed() && !known.terminate && !known.deleting && known.spec_digest == digest {
            return Some(RunStatus {
                name,
                status: known.phase.as_str().to_owned(),
                message: known.message.clone(),
            });
        }
        suffix += 1;
        name = format!("{base}.{suffix}");
    }
    let metadata = analysis.analysis_run_metadata.clone().unwrap_or_default();
    let mut labels = metadata.labels;
    if let Some(matched) = s
        .spec
        .selector
        .as_ref()
        .and_then(|selector| selector.match_labels.clone())
    {
        labels.extend(matched);
    }
    labels.insert(HASH_LABEL.to_owned(), s.hash.clone());
    labels.insert(ROLLOUT_TYPE_LABEL.to_owned(), purpose.word().to_owned());
    if let Use::Step(index) = purpose {
        labels.insert(STEP_INDEX_LABEL.to_owned(), index.to_string());
    }
    if !s.world.settings.instance_id.is_empty() {
        labels.insert(
            serin_api::INSTANCE_ID_LABEL.to_owned(),
            s.world.settings.instance_id.clone(),
        );
    }
    annotations.extend(metadata.annotations);
    annotations.insert(REVISION_ANNOTATION.to_owned(), revision.to_string());
    let object = json!({
        "apiVersion": "argoproj.io/v1alpha1",
        "kind": "AnalysisRun",
        "metadata": {
            "name": name,
            "namespace": s.namespace,
            "labels": labels,
            "annotations": annotations,
            "ownerReferences": [s.owner_reference()],
        },
        "spec": spec,
    });
    draft.write(
        Write::CreateAnalysisRun {
            name: name.clone(),
            object,
        },
        [],
    );
    Some(RunStatus {
        name,
        status: String::new(),
        message: String::new(),
    })
}

/// Templates and arguments put together, and the settings of Serin's own that travel with them.
fn run_spec(
    s: &Situation<'_>,
    analysis: &RolloutAnalysis,
) -> Result<(AnalysisRunSpec, BTreeMap<String, String>), String> {
    let refs = analysis.templates.as_deref().unwrap_or_default();
    let lookup = |r: &_| s.world.templates.get(r).map(|t| &t.spec);
    let none = BTreeMap::new();
    let said = s.rollout_annotations().unwrap_or(&none);
    let mut annotations = run_annotations(said, refs, &s.world.templates).map_err(|e| e.to_string())?;
    if s.world.settings.no_data_hold {
        annotations
            .entry(NO_DATA_ANNOTATION.to_owned())
            .or_insert_with(|| "hold".to_owned());
    }
    let template = compose::compose(refs, lookup).map_err(|e| e.to_string())?;
    let given: Vec<Argument> = analysis
        .args
        .iter()
        .flatten()
        .map(|arg| argument(s, arg))
        .collect::<Result<_, _>>()?;
    let args = compose::merge_args(template.args.as_deref().unwrap_or_default(), &given)?;
    let dry_run = compose::merge_dry_run(
        analysis.dry_run.as_deref().unwrap_or_default(),
        template.dry_run.iter().flatten(),
    )
    .map_err(|e| e.to_string())?;
    let retention = compose::merge_retention(
        analysis.measurement_retention.as_deref().unwrap_or_default(),
        template.measurement_retention.iter().flatten(),
    )
    .map_err(|e| e.to_string())?;
    let spec = AnalysisRunSpec {
        metrics: template.metrics.unwrap_or_default(),
        args: (!args.is_empty()).then_some(args),
        terminate: None,
        dry_run: (!dry_run.is_empty()).then_some(dry_run),
        measurement_retention: (!retention.is_empty()).then_some(retention),
        ttl_strategy: None,
    };
    Ok((spec, annotations))
}

/// A Rollout's argument with its value (compat 3.6).
fn argument(s: &Situation<'_>, arg: &AnalysisRunArgument) -> Result<Argument, String> {
    let mut value = arg.value.clone();
    if let Some(from) = &arg.value_from {
        match from.pod_template_hash_value.as_deref() {
            Some("Latest") => value = Some(s.hash.clone()),
            Some("Stable") => value = Some(s.before.stable_rs.clone()),
            _ => {}
        }
        if let Some(field) = &from.field_ref {
            value = Some(field_of(s, &field.field_path)?);
        }
    }
    Ok(Argument {
        name: arg.name.clone(),
        value,
        value_from: None,
    })
}

fn field_of(s: &Situation<'_>, path: &str) -> Result<String, String> {
    let object = serde_json::to_value(&s.world.rollout).map_err(|e| e.to_string())?;
    compose::field_value(&object, path)
}

/// Deletes runs beyond the history limits, and those whose ReplicaSet is gone (compat 2.17).
fn collect(s: &Situation<'_>, kept: &[String], draft: &mut Draft) {
    let current: Vec<&str> = kept
        .iter()
        .map(String::as_str)
        .chain(
            s.before
                .canary
                .current_step_analysis_run_status
                .iter()
                .map(|r| r.name.as_str()),
        )
        .chain(
            s.before
                .canary
                .current_background_analysis_run_status
                .iter()
                .map(|r| r.name.as_str()),
        )
        .collect();
    let mut finished: Vec<&AnalysisRunView> = s
        .world
        .analysis_runs
        .iter()
        .filter(|run| run.phase.is_completed() && !run.deleting && !current.contains(&run.name.as_str()))
        .collect();
    finished.sort_by(|a, b| (b.created, &b.name).cmp(&(a.created, &a.name)));
    let (mut good, mut bad) = (s.spec.successful_run_history(), s.spec.unsuccessful_run_history());
    for run in finished {
        let orphan = run
            .labels
            .get(HASH_LABEL)
            .is_none_or(|hash| !s.all().any(|rs| rs.hash() == hash && !rs.deleting));
        let budget = if run.phase == Phase::Successful {
            &mut good
        } else {
            &mut bad
        };
        *budget -= 1;
        if orphan || *budget < 0 {
            draft.write(delete(run), []);
        }
    }
}

/// The deletion of a run.
pub(crate) fn delete(run: &AnalysisRunView) -> Write {
    Write::DeleteAnalysisRun {
        name: run.name.clone(),
        uid: run.uid.clone(),
        resource_version: run.resource_version.clone(),
    }
}
