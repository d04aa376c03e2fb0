//! Specs that cannot be carried out: said in the status, nothing else is touched (compat 1.2).

use chrono::{DateTime, TimeDelta, Utc};
use serde_json::{Value, json};
use serin_api::{
    analysis::AnalysisTemplateSpec,
    rollout::{AnalysisTemplateRef, Rollout, RolloutSpec},
    status::RolloutStatus,
    validate::{self, References, ServiceFacts},
};
use serin_model::{Plan, World, merge_patch};

use crate::{conditions, draft::Draft, phase};

/// How long until an invalid Rollout is looked at again although nothing that it names has changed (compat 1.2).
const LOOK_AGAIN: TimeDelta = TimeDelta::seconds(20);

/// The objects of a World, as validation asks for them.
struct Named<'a>(&'a World);

impl References for Named<'_> {
    fn service(&self, name: &str) -> Option<ServiceFacts> {
        self.0.services.get(name).map(|s| ServiceFacts {
            selector: s.selector.clone(),
            annotations: s.annotations.clone(),
        })
    }

    fn template(&self, template: &AnalysisTemplateRef) -> Option<&AnalysisTemplateSpec> {
        self.0.templates.get(template).map(|t| &t.spec)
    }
}

/// What is wrong with a Rollout.
pub(crate) struct Problem {
    text: String,
    /// What to do, where the text does not say so.
    advice: Option<String>,
}

impl Problem {
    /// What is wrong, and what to do where that does not say so.
    pub(crate) fn parts(&self) -> (&str, Option<&str>) {
        (&self.text, self.advice.as_deref())
    }
}

impl From<String> for Problem {
    fn from(text: String) -> Self {
        Self { text, advice: None }
    }
}

impl From<validate::FieldError> for Problem {
    fn from(error: validate::FieldError) -> Self {
        Self {
            text: error.to_string(),
            advice: error.advice,
        }
    }
}

/// The first thing that is wrong with the Rollout or with what it names.
pub(crate) fn problem(world: &World) -> Option<Problem> {
    let rollout = &world.rollout;
    let name = rollout.metadata.name.as_deref().unwrap_or_default();
    // First what no correction of details would help with.
    if let Some((path, what)) = validate::unsupported_fields(&rollout.spec).into_iter().next() {
        return Some(format!("{path}: {what}").into());
    }
    if let Err(error) = validate::validate_rollout(&rollout.spec, name) {
        return Some(error.into());
    }
    if let Some(problem) = services_missing(&rollout.spec) {
        return Some(problem.into());
    }
    validate::validate_references(&rollout.spec, name, &Named(world))
        .err()
        .map(Problem::from)
}

/// A strategy that Serin does not know yet.
pub(crate) fn unsupported_strategy(rollout: &Rollout) -> Option<Problem> {
    let text = "spec.strategy.blueGreen: not supported yet: use spec.strategy.canary";
    rollout.spec.strategy.canary.is_none().then(|| text.to_owned().into())
}

/// Gateway API splits traffic between two Services. Upstream asks plugins for none and then waits for ever.
fn services_missing(spec: &RolloutSpec) -> Option<String> {
    let field = validate::service_missing(spec)?;
    Some(format!(
        "{field}: Invalid value: \"\": Canary service and Stable service must to be set to use \
         Traffic Routing: name two Services that select the Rollout's pods and that the HTTPRoute has as backends"
    ))
}

/// The status of an invalid Rollout. The counts stay as they were, pods and traffic untouched.
pub(crate) fn plan(world: &World, problem: &Problem, now: DateTime<Utc>) -> Plan {
    let rollout = &world.rollout;
    let before = rollout.status.clone().unwrap_or_default();
    let mut draft = Draft::new(now);
    draft.greet(world);
    let name = rollout.metadata.name.as_deref().unwrap_or_default();
    let mut after = before.clone();
    mark(
        &mut after,
        name,
        rollout.metadata.generation.unwrap_or_default(),
        &problem.text,
        now,
    );
    if let Some(advice) = &problem.advice {
        draft.advise(advice);
    }
    let (word, text) = phase::of(&rollout.spec, &after);
    after.phase = word.to_owned();
    after.message = text;
    draft.write_status(world, &before, &after);
    draft.wake(now + LOOK_AGAIN);
    draft.finish()
}

fn mark(status: &mut RolloutStatus, name: &str, generation: i64, problem: &str, now: DateTime<Utc>) {
    let message = format!("The Rollout \"{name}\" is invalid: {problem}");
    status.observed_generation = generation.to_string();
    conditions::set(
        status,
        conditions::new(conditions::INVALID_SPEC, "True", "InvalidSpec", &message, now),
    );
}

/// For a Rollout that cannot even be read: the status patch that says so, [`None`] when it says so already. `status` is
/// what is stored; one that cannot be read either is replaced by a new one.
pub fn undecodable(name: &str, generation: i64, status: &Value, error: &str, now: DateTime<Utc>) -> Option<Value> {
    let readable: Option<RolloutStatus> = serde_json::from_value(status.clone()).ok();
    let old = readable
        .as_ref()
        .and_then(|s| serde_json::to_value(s).ok())
        .unwrap_or_else(|| json!({}));
    let mut after = readable.unwrap_or_default();
    mark(&mut after, name, generation, error, now);
    after.phase = "Degraded".to_owned();
    after.message = format!("InvalidSpec: The Rollout \"{name}\" is invalid: {error}");
    let new = serde_json::to_value(&after).ok()?;
    merge_patch(&old, &new).map(|patch| json!({ "status": patch }))
}
