//! Why the newest version does not have what its step asks for: beside whatever else a release waits for.

use super::{rest::failure, text};
use crate::{
    pause::PauseDecision,
    situation::{Awaited, Situation},
    traffic::{self, Hold},
};

/// What the newest version has, as a part of a sentence. Of a route that cannot be used nobody knows it.
pub(super) fn with_weight(s: &Situation<'_>) -> String {
    if !s.has_router() {
        format!(", with {}", text::pods(s.new.map_or(0, |rs| rs.available)))
    } else if s.route_problem().is_some() {
        String::new()
    } else {
        format!(", with {} of the traffic", text::part(s, traffic::given(s)))
    }
}

/// Sentences for a release that waits for something else; none when the step has what it asks for.
pub(super) fn why(s: &Situation<'_>) -> Vec<String> {
    let mut why = Vec::new();
    if let Some(problem) = s.route_problem() {
        let problem = problem.trim_end_matches('.');
        why.push(format!("No weight can be set and no step is passed: {problem}."));
    }
    let lead = weight(s);
    if let (Some(new), Some((has, wanted))) = (s.new, missing(s)) {
        let asked = if new.replicas < wanted {
            format!(" ({} asked for)", new.replicas)
        } else {
            String::new()
        };
        let pods = format!(
            "{has} of {wanted} pods of revision {} are available{asked}.",
            s.revision()
        );
        why.push(match lead {
            Some(lead) => format!("{lead}: {pods}"),
            None => pods,
        });
        let failure = failure(s);
        if !failure.is_empty() {
            why.push(failure);
        } else if has < new.replicas {
            // Pods that nobody asked for need no looking at.
            why.push(text::look_at_pods(s, new.hash()));
        }
    } else if let (Some(lead), (_, Some(hold))) = (lead, traffic::waiting(s, &PauseDecision::default())) {
        why.push(format!("{lead}: {}", waits_for(s, hold)));
    }
    why
}

/// Pods of the newest revision that are available, and that its step asks for, when it has too few.
fn missing(s: &Situation<'_>) -> Option<(i32, i32)> {
    match s.count_awaited(false) {
        Some(Awaited::Newest { has, wanted }) if has < wanted => Some((has, wanted)),
        _ => None,
    }
}

/// The weight that a step asks for and that a route does not have.
fn weight(s: &Situation<'_>) -> Option<String> {
    let updating = s.stable.is_some() && !s.is_fully_promoted() && !s.before.promote_full;
    if !s.has_router() || s.route_problem().is_some() || !updating || s.spec.desired_replicas() == 0 {
        return None;
    }
    let wanted = s.set_weight(false);
    let given = [traffic::given(s), traffic::least_given(s)];
    let given = given.into_iter().find(|given| *given != wanted)?;
    let (given, wanted) = (text::part(s, given), text::part(s, wanted));
    Some(format!("It has {given} of the traffic instead of {wanted}"))
}

/// What a weight waits for, in one sentence.
pub(super) fn waits_for(s: &Situation<'_>, hold: Hold) -> String {
    let endpoints = |service: &Option<String>, version: &str| {
        let service = service.as_deref().unwrap_or_default();
        format!("No pod of the {version} version is ready behind Service {service} yet.")
    };
    match hold {
        Hold::StablePods { has, needs } => {
            format!("{has} of the {needs} pods that stable needs for its part are available.")
        }
        Hold::Stable => "There is no stable version that could take the rest of the traffic.".to_owned(),
        Hold::StableEndpoints => endpoints(&s.canary.stable_service, "stable"),
        Hold::CanaryEndpoints => endpoints(&s.canary.canary_service, "newest"),
    }
}
