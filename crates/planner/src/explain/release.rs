//! A release under way: from the moment a new version is handed in until it is stable, or taken back.

use serin_api::{analysis::Phase, rollout::RolloutAnalysis, steps::StepKind};
use serin_model::AnalysisRunView;

use super::{
    Explanation, State, WaitsFor, acting,
    behind::{self, with_weight},
    rest::failure,
    text,
};
use crate::{
    analysis, conditions,
    pause::PauseDecision,
    situation::{Awaited, Situation},
    traffic::{self, Hold},
};

/// What the controller has not taken note of yet.
pub(super) fn early(s: &Situation<'_>) -> Option<Explanation> {
    if s.before.observed_generation != s.generation {
        return Some(acting(
            "The Rollout was changed.",
            "The controller takes note of it; if it does not, it is not running (serin check).",
        ));
    }
    if s.is_changed() || s.new.is_none() {
        return Some(acting(
            format!("{} was handed in.", text::revision(s)),
            "The controller creates its ReplicaSet and begins with the first step.",
        ));
    }
    if s.is_scaling_event() && !s.is_halted() {
        let r = s.spec.desired_replicas();
        return Some(acting(
            format!("The number of pods was changed to {r}."),
            "The controller scales first and goes on afterwards.",
        ));
    }
    None
}

/// An abort: on its way, or done.
pub(super) fn aborted(s: &Situation<'_>) -> Option<Explanation> {
    if s.before.abort != Some(true) || s.is_fully_promoted() {
        return None;
    }
    if s.before.promote_full {
        return Some(acting(
            "The update was aborted, and a person asks for its full promotion.",
            "The abort is taken back.",
        ));
    }
    let cause = conditions::get(s.before, conditions::PROGRESSING).filter(|c| c.reason == "RolloutAborted");
    let cause = cause.map_or_else(String::new, |c| c.message.clone());
    let since = s.before.aborted_at.map(|at| at.0);
    let runs = run_names(s);
    let told = |mut known: Explanation| {
        known.why.insert(0, cause.clone());
        known.why.retain(|why| !why.is_empty());
        known.since = since;
        known.analysis_runs.clone_from(&runs);
        Some(known)
    };
    let weight = traffic::given(s);
    if let Some(problem) = route_problem(s) {
        return told(problem);
    }
    if s.has_router() && weight > 0 && s.spec.desired_replicas() > 0 {
        let what = format!(
            "The update to revision {} is aborted; {} of the traffic is still on its way back to stable.",
            s.revision(),
            text::part(s, weight)
        );
        let known = match traffic::waiting(s, &PauseDecision::default()) {
            (_, Some(hold)) => held(s, what, hold),
            (wanted, None) if wanted < weight => acting(what, "The controller takes the weight off."),
            _ => Explanation::new(
                State::TakingBack,
                what,
                WaitsFor::Pods,
                "The weight falls with every pod of stable that becomes available (dynamicStableScale).",
            ),
        };
        return told(Explanation {
            state: State::TakingBack,
            ..known
        });
    }
    let new = s.new?;
    let going = new.replicas > 0;
    let rest = if going && !s.has_router() {
        "its pods get requests as long as they run"
    } else {
        "stable has all traffic"
    };
    let what = format!("The update to revision {} is aborted; {rest}.", s.revision());
    let retry = text::command(s, "retry rollout");
    let known = Explanation::new(
        State::Aborted,
        what,
        WaitsFor::Person,
        format!(
            "Nothing by itself: hand in a corrected version, go back to the stable one, or try again from the first step ({retry})."
        ),
    );
    if going && s.is_halted() {
        return told(known.because(format!(
            "Its pods stay as long as spec.paused holds the Rollout ({}).",
            text::release(s)
        )));
    }
    let deadline = Situation::deadline_of(new).filter(|at| going && *at > s.now);
    let known = match deadline {
        Some(at) => known
            .because("The pods of the aborted version stay for a while, to be looked at (abortScaleDownDelaySeconds).")
            .at(Some(at)),
        None if going => known.because(format!(
            "{} of the aborted version are still there.",
            text::pods(new.replicas)
        )),
        None => known,
    };
    told(known)
}

/// The first version of a Rollout: no steps, no analysis.
pub(super) fn first(s: &Situation<'_>) -> Option<Explanation> {
    let new = s.new?;
    if s.stable.is_some() {
        return None;
    }
    if !s.before.stable_rs.is_empty() {
        return Some(acting(
            "The ReplicaSet of the stable version is gone.",
            "The controller makes the newest version the stable one.",
        ));
    }
    if let Some(problem) = route_problem(s) {
        return Some(deadline(s, problem));
    }
    let r = s.spec.desired_replicas();
    if new.lasting() >= r {
        return Some(acting(
            "All pods of the first version are available.",
            "The controller makes it the stable one.",
        ));
    }
    Some(deadline(
        s,
        Explanation::new(
            State::FirstPods,
            format!("The first version: {} of {r} pods are available.", new.lasting()),
            WaitsFor::Pods,
            text::look_at_pods(s, new.hash()),
        )
        .because(failure(s)),
    ))
}

/// All steps are done or skipped.
pub(super) fn last(s: &Situation<'_>) -> Option<Explanation> {
    let skips = s.before.promote_full || s.is_rollback_within_window();
    if s.step.is_some() && !skips {
        return None;
    }
    let new = s.new?;
    let r = s.spec.desired_replicas();
    let reason = if s.before.promote_full {
        "A person asked for the full promotion.".to_owned()
    } else if s.is_rollback_within_window() {
        "It is an earlier version within rollbackWindow: its steps are skipped.".to_owned()
    } else {
        format!("All {} steps are done.", s.canary.steps().len())
    };
    if let Some(problem) = route_problem(s) {
        return Some(deadline(s, problem.because(reason)));
    }
    let what = format!(
        "{} becomes stable: {} of {r} pods are available.",
        text::revision(s),
        new.lasting()
    );
    if new.lasting() < r && !s.meets_threshold(r) {
        let known = Explanation::new(
            State::Promoting,
            what,
            WaitsFor::Pods,
            text::look_at_pods(s, new.hash()),
        );
        return Some(deadline(s, known.because(reason).because(failure(s))));
    }
    if !skips && let Some(known) = weight_awaited(s, &what) {
        return Some(known.because(reason));
    }
    Some(acting(what, "The controller makes it the stable version.").because(reason))
}

/// One of the steps.
pub(super) fn step(s: &Situation<'_>) -> Option<Explanation> {
    let (_, step) = s.step?;
    let known = match step.kind() {
        StepKind::Analysis(wanted) => analysing(s, wanted),
        StepKind::SetWeight(_) => moving(s, true),
        StepKind::SetCanaryScale(_) => moving(s, false),
        _ => None,
    };
    let known = match (known, route_problem(s)) {
        // What an analysis says counts whatever becomes of the route.
        (Some(known), None) => Some(known),
        (Some(known), Some(problem)) if !matches!(known.state, State::Analysing | State::NoData) => {
            Some(deadline(s, problem.because(known.what)))
        }
        (known, problem) => known.or(problem.map(|problem| deadline(s, problem))),
    };
    known.map(|known| with_background(s, known))
}

fn analysing(s: &Situation<'_>, wanted: &RolloutAnalysis) -> Option<Explanation> {
    let at = text::step(s);
    let [run, _] = analysis::followed(s);
    let Some(run) = run else {
        let problem = analysis::problem(s, wanted)?;
        return Some(
            Explanation::new(
                State::AnalysisNotStarted,
                format!("{} is at {at}, and no analysis run can be made.", text::revision(s)),
                WaitsFor::Correction,
                "Correct what is named; the run is then created.",
            )
            .because(problem),
        );
    };
    if run.phase.is_completed() || s.before.aborted_at.is_some() {
        return None;
    }
    Some(
        Explanation::new(
            if run.message.is_empty() { State::Analysing } else { State::NoData },
            format!("{} is at {at}{}: AnalysisRun {} is {}.", text::revision(s), with_weight(s), run.name, word(run)),
            WaitsFor::Analysis,
            "Successful: on to the next step. Failed or Error: all traffic back to stable. Inconclusive: a person decides.",
        )
        .because(run.message.clone())
        .because_of(behind::why(s))
        .since(Some(run.created)),
    )
}

pub(super) fn word(run: &AnalysisRunView) -> &'static str {
    if run.phase == Phase::Unset {
        "about to begin"
    } else {
        run.phase.as_str()
    }
}

/// A step that changes pods, or pods and weight.
fn moving(s: &Situation<'_>, has_weight: bool) -> Option<Explanation> {
    let what = format!("{} is at {}.", text::revision(s), text::step(s));
    if let Some(awaited) = s.count_awaited(false) {
        return Some(deadline(s, counting(s, what, awaited)));
    }
    if has_weight { weight_awaited(s, &what) } else { None }
}

fn counting(s: &Situation<'_>, what: String, awaited: Awaited) -> Explanation {
    let look = text::look_at_pods(s, &s.hash);
    let (why, next) = match awaited {
        Awaited::Newest { has, wanted } if has > wanted => (
            format!("It has {}; {wanted} are wanted.", text::pods(has)),
            "They go as soon as others are available.".to_owned(),
        ),
        Awaited::Newest { has, wanted } => (format!("{has} of {wanted} pods are available."), look),
        Awaited::Stable { has, wanted } => (
            format!("Stable has {}; {wanted} are wanted.", text::pods(has)),
            "It is scaled as fast as available pods permit.".to_owned(),
        ),
        Awaited::Older { has } => (
            format!("{} of older versions are still available.", text::pods(has)),
            "They go as soon as others are available.".to_owned(),
        ),
    };
    Explanation::new(State::WaitingForPods, what, WaitsFor::Pods, next)
        .because(why)
        .because(failure(s))
}

/// The weight of the pass is not in every route yet.
fn weight_awaited(s: &Situation<'_>, what: &str) -> Option<Explanation> {
    if !s.has_router() || s.spec.desired_replicas() == 0 {
        return None;
    }
    if let Some(problem) = route_problem(s) {
        return Some(deadline(s, problem.because(what)));
    }
    let (wanted, hold) = traffic::waiting(s, &PauseDecision::default());
    let hold = hold?;
    let (given, wanted) = (text::part(s, traffic::given(s)), text::part(s, wanted));
    let what = format!("{what} The weight waits: {given} instead of {wanted}.");
    Some(deadline(s, held(s, what, hold)))
}

/// What a weight waits for.
pub(super) fn held(s: &Situation<'_>, what: String, hold: Hold) -> Explanation {
    let why = behind::waits_for(s, hold);
    let (state, next) = match hold {
        Hold::StablePods { .. } => {
            let hash = s.stable.map_or("", |rs| rs.hash());
            (State::WaitingForStable, text::look_at_pods(s, hash))
        }
        Hold::Stable => (
            State::WaitingForStable,
            "The newest version becomes stable once its pods are available.".to_owned(),
        ),
        Hold::StableEndpoints | Hold::CanaryEndpoints => (
            State::WaitingForEndpoints,
            "It goes on as soon as a gateway would reach them.".to_owned(),
        ),
    };
    Explanation::new(state, what, WaitsFor::Pods, next).because(why)
}

/// A route that cannot be read or written.
pub(super) fn route_problem(s: &Situation<'_>) -> Option<Explanation> {
    s.route_problem().map(|problem| {
        Explanation::new(
            State::RouteUnusable,
            "No weight can be set and no step is passed: a route cannot be used.",
            WaitsFor::Correction,
            "Correct what is named; the weight is then written, and the release goes on.",
        )
        .because(problem)
    })
}

/// When nothing moves until then, the release has timed out (compat 2.16).
fn deadline(s: &Situation<'_>, known: Explanation) -> Explanation {
    // None passes while an older version is kept.
    let kept = s
        .others
        .iter()
        .filter(|rs| rs.replicas > 0)
        .filter_map(|rs| Situation::deadline_of(rs))
        .max();
    let Some(at) = conditions::deadline(s, s.before)
        .map(|at| kept.map_or(at, |kept| at.max(kept)))
        .filter(|at| *at > s.now)
    else {
        return known;
    };
    let since = conditions::get(s.before, conditions::PROGRESSING).map(|c| c.last_update_time.0);
    let end = if s.spec.aborts_on_deadline() {
        "it is aborted"
    } else {
        "it is called timed out"
    };
    known
        .because(format!("If nothing moves until then, {end} (progressDeadlineSeconds)."))
        .since(since)
        .at(Some(at))
}

/// What runs beside the steps and may end them.
pub(super) fn with_background(s: &Situation<'_>, mut known: Explanation) -> Explanation {
    let [step, background] = analysis::followed(s);
    if let Some(run) = background.filter(|run| !run.phase.is_completed()) {
        let holds = if run.message.is_empty() {
            String::new()
        } else {
            format!(": {}", run.message)
        };
        known
            .why
            .push(format!("Beside it AnalysisRun {} is {}{holds}.", run.name, word(run)));
        known.analysis_runs.push(run.name.clone());
    }
    known.analysis_runs.extend(step.map(|run| run.name.clone()));
    known
}

pub(super) fn run_names(s: &Situation<'_>) -> Vec<String> {
    analysis::followed(s)
        .into_iter()
        .flatten()
        .map(|run| run.name.clone())
        .collect()
}
