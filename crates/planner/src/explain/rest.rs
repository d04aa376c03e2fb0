//! A Rollout whose newest revision is the stable one.

use serin_model::ReplicaSetView;

use super::{Explanation, State, WaitsFor, acting, release, text};
use crate::{pause::PauseDecision, situation::Situation, traffic};

/// Nothing is being released.
pub(super) fn complete(s: &Situation<'_>) -> Option<Explanation> {
    if !s.is_fully_promoted() {
        return None;
    }
    let r = s.spec.desired_replicas();
    let new = s.new?;
    if let Some(problem) = release::route_problem(s) {
        return Some(problem);
    }
    if let Some(back) = going_back(s) {
        return Some(back);
    }
    let older: Vec<&ReplicaSetView> = s
        .others
        .iter()
        .filter(|rs| rs.replicas > 0 || rs.current > 0)
        .copied()
        .collect();
    if new.replicas < r && !older.is_empty() && !s.has_router() {
        return Some(
            Explanation::new(
                State::GoingBack,
                format!(
                    "Back at revision {}; {} of {r} pods are available.",
                    s.revision(),
                    new.lasting()
                ),
                WaitsFor::Pods,
                "It gets the places of the other versions' pods as they go (maxSurge, maxUnavailable).",
            )
            .because(failure(s)),
        );
    }
    if new.replicas != r {
        return Some(acting(
            format!(
                "{} is stable, with {} of {r} pods asked for.",
                text::revision(s),
                new.replicas
            ),
            "The controller scales it.",
        ));
    }
    if new.lasting() < r {
        return Some(
            Explanation::new(
                State::Unavailable,
                format!(
                    "{} is stable; {} of {r} pods are available.",
                    text::revision(s),
                    new.lasting()
                ),
                WaitsFor::Pods,
                text::look_at_pods(s, new.hash()),
            )
            .because(failure(s)),
        );
    }
    if !older.is_empty() {
        return Some(cleaning_up(s, &older));
    }
    let steps_are_behind = s.step.is_none();
    if !steps_are_behind {
        return Some(acting(
            format!("{} is stable.", text::revision(s)),
            "The controller skips its steps.",
        ));
    }
    Some(Explanation::new(
        State::Healthy,
        format!("{} is stable; all {} are available.", text::revision(s), text::pods(r)),
        WaitsFor::Nothing,
        "Nothing, until a new version is handed in.",
    ))
}

/// Somebody handed the stable version in again while another one had traffic (dynamicStableScale, compat 2.6).
fn going_back(s: &Situation<'_>) -> Option<Explanation> {
    let weight = traffic::given(s);
    if !s.has_router() || weight == 0 || s.spec.desired_replicas() == 0 {
        return None;
    }
    let hold = traffic::waiting(s, &PauseDecision::default());
    let service = s.service(s.canary.canary_service.as_deref())?;
    if service.hash() == s.hash {
        return None;
    }
    let what = if service.hash().is_empty() {
        // As people write a route before anything was released: its weights are not ours yet.
        format!(
            "{} is stable; its route still leads to Service {} too.",
            text::revision(s),
            service.name
        )
    } else {
        let part = text::part(s, weight);
        format!("Back at the stable version; another one still has {part} of the traffic.")
    };
    Some(match hold {
        (_, Some(hold)) => release::held(s, what, hold),
        (wanted, None) if wanted < weight => acting(what, "The controller takes the weight off."),
        _ => Explanation::new(
            State::GoingBack,
            what,
            WaitsFor::Pods,
            "The weight falls with every pod of stable that becomes available.",
        ),
    })
}

fn cleaning_up(s: &Situation<'_>, older: &[&ReplicaSetView]) -> Explanation {
    let pods = older
        .iter()
        .map(|rs| rs.replicas.max(rs.current))
        .fold(0, i32::saturating_add);
    let what = format!(
        "{} is stable; {} of older versions are still there.",
        text::revision(s),
        text::pods(pods)
    );
    let later = older
        .iter()
        .filter(|rs| rs.replicas > 0)
        .filter_map(|rs| Situation::deadline_of(rs));
    if let Some(at) = later.filter(|at| *at > s.now).min() {
        return Explanation::new(
            State::CleaningUp,
            what,
            WaitsFor::Time,
            "They are scaled down then; until then a way back needs no new pods (scaleDownDelaySeconds).",
        )
        .at(Some(at));
    }
    Explanation::new(
        State::CleaningUp,
        what,
        WaitsFor::Pods,
        "They go as soon as no Service and no traffic needs them.",
    )
}

/// Why Kubernetes makes no pods, where it says so.
pub(super) fn failure(s: &Situation<'_>) -> String {
    let failure = s
        .all()
        .find_map(|rs| rs.failure.as_ref().map(|(_, message)| (&rs.name, message)));
    failure.map_or_else(String::new, |(name, message)| {
        format!("ReplicaSet {name} cannot create pods: {message}")
    })
}
