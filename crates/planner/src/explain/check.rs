//! An explanation held against the plans that are made of the same World: for tests, which ask it in every state they reach.

use chrono::{DateTime, TimeDelta, Utc};
use serin_model::{Plan, World, Write};

use super::{Explanation, State, WaitsFor};
use crate::plan;

/// What an explanation says that the planner does not do; none when both tell the same story.
pub fn misfit(world: &World, now: DateTime<Utc>, told: &Explanation) -> Option<String> {
    if told.what.is_empty() || told.next.what.is_empty() {
        return Some("it says nothing".to_owned());
    }
    if matches!(told.state, State::Deleting | State::Refused) {
        return None;
    }
    let today = plan(world, now);
    if !today.is_empty() {
        // What is true in this moment is not true in the next one.
        return None;
    }
    if told.next.waits_for == WaitsFor::Controller {
        return Some("the controller is said to act, and the plan is empty".to_owned());
    }
    if let Some(at) = told.next.at {
        if at <= now {
            return Some(format!("{at} has passed"));
        }
        let late = at + TimeDelta::seconds(1);
        if today.wake_at.is_none_or(|wake| wake > late) {
            return Some(format!(
                "something is to happen at {at}, and the plan sleeps until {:?}",
                today.wake_at
            ));
        }
    }
    match (told.next.waits_for, told.next.at) {
        (WaitsFor::Time, None) => return Some("it waits for a time and names none".to_owned()),
        (WaitsFor::Time, Some(at)) if plan(world, at + TimeDelta::seconds(1)).is_empty() => {
            return Some(format!("nothing happens at {at}"));
        }
        (WaitsFor::Time, _) => {}
        _ => {
            let until = told
                .next
                .at
                .map_or(now + TimeDelta::days(400), |at| at - TimeDelta::seconds(1));
            if let Some(moved) = moves(&plan(world, until.max(now))) {
                return Some(format!("it goes on by itself until {until}: {moved}"));
            }
        }
    }
    let phase = world.rollout.status.as_ref().map_or("", |status| status.phase.as_str());
    let fits = match told.state {
        State::PausedByPerson | State::Inconclusive | State::PausedForPerson | State::PausedForTime => {
            phase == "Paused"
        }
        State::Aborted | State::TakingBack | State::Invalid | State::Overdue => phase == "Degraded",
        State::Healthy | State::CleaningUp => matches!(phase, "Healthy" | "Progressing" | "Degraded"),
        State::WaitingForPods
        | State::WaitingForStable
        | State::WaitingForEndpoints
        | State::Promoting
        | State::RouteUnusable => true,
        _ => phase != "Paused",
    };
    (!fits).then(|| format!("its phase is {phase:?}"))
}

/// A plan that takes the release a step further.
fn moves(plan: &Plan) -> Option<String> {
    plan.writes.iter().find_map(|planned| match &planned.write {
        Write::SetRouteWeights { weights, .. } => Some(format!("weight {}", weights.canary)),
        Write::PatchRolloutStatus { patch, .. } => ["currentStepIndex", "stableRS"].into_iter().find_map(|field| {
            let value = &patch["status"][field];
            (!value.is_null()).then(|| format!("{field} {value}"))
        }),
        _ => None,
    })
}
