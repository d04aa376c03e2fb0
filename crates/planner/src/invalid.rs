//! Specs that cannot be carried out: said in the status, nothing else is touched (compat 1.2).

use chrono::{DateTime, TimeDelta, Utc};
use serde_json::{Value, json};
use serin_api::{
    analysis::AnalysisTemplateSpec,
    compose,
    rollout::{AnalysisTemplateRef, RolloutAnalysis, RolloutSpec},
    status::RolloutStatus,
    validate::{self, References, ServiceFacts},
};
use serin_model::{Event, Plan, World, Write};

use crate::{
    conditions,
    draft::{Draft, merge_patch},
    phase,
};

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

/// The first thing that is wrong with the Rollout or with what it names.
pub(crate) fn problem(world: &World) -> Option<String> {
    let rollout = &world.rollout;
    let name = rollout.metadata.name.as_deref().unwrap_or_default();
    // First what no correction of details would help with.
    if let Some((path, what)) = validate::unsupported_fields(&rollout.spec).into_iter().next() {
        return Some(not_yet(&path, &what));
    }
    if let Err(error) = validate::validate_rollout(&rollout.spec, name) {
        return Some(error.to_string());
    }
    if let Some(problem) = services_missing(&rollout.spec) {
        return Some(problem);
    }
    if let Err(error) = validate::validate_references(&rollout.spec, name, &Named(world)) {
        return Some(error.to_string());
    }
    unsupported_metric(world)
}

/// Gateway API splits traffic between two Services. Upstream asks plugins for none and then waits for ever.
fn services_missing(spec: &RolloutSpec) -> Option<String> {
    let canary = spec.strategy.canary.as_ref()?;
    canary.traffic_routing.as_ref()?;
    let named = |name: &Option<String>| name.as_deref().is_some_and(|n| !n.is_empty());
    let field = match (named(&canary.stable_service), named(&canary.canary_service)) {
        (true, true) => return None,
        (false, _) => "stableService",
        (true, false) => "canaryService",
    };
    Some(format!(
        "spec.strategy.canary.{field}: Invalid value: \"\": Canary service and Stable service must to be set to use \
         Traffic Routing: name two Services that select the Rollout's pods and that the HTTPRoute has as backends"
    ))
}

fn not_yet(path: &str, what: &str) -> String {
    if what.contains("not supported yet") {
        format!("{path}: {what}")
    } else {
        format!("{path}: not supported yet: {what}")
    }
}

/// A metric that Serin cannot take yet, in any template that the Rollout uses.
fn unsupported_metric(world: &World) -> Option<String> {
    let canary = world.rollout.spec.strategy.canary.as_ref()?;
    let steps = canary.steps().iter().filter_map(|step| step.analysis.as_ref());
    let all = steps.chain(canary.analysis.iter().map(|background| &background.analysis));
    all.filter_map(|analysis: &RolloutAnalysis| analysis.templates.as_deref())
        .flatten()
        .find_map(|template| {
            let spec = compose::compose(std::slice::from_ref(template), |r| {
                world.templates.get(r).map(|t| &t.spec)
            })
            .ok()?;
            let (path, what) = spec.metrics.iter().flatten().find_map(validate::unsupported_metric)?;
            let kind = if template.cluster_scope {
                "ClusterAnalysisTemplate"
            } else {
                "AnalysisTemplate"
            };
            Some(not_yet(&format!("{kind} {}: {path}", template.template_name), &what))
        })
}

/// The status of an invalid Rollout. The counts stay as they were, pods and traffic untouched.
pub(crate) fn plan(world: &World, problem: &str, now: DateTime<Utc>) -> Plan {
    let rollout = &world.rollout;
    let before = rollout.status.clone().unwrap_or_default();
    let mut draft = Draft::default();
    if before.observed_generation.is_empty() {
        let name = rollout.metadata.name.as_deref().unwrap_or_default();
        let namespace = rollout.metadata.namespace.as_deref().unwrap_or_default();
        let text = format!("Rollout resource added to informer: {namespace}/{name}");
        draft.event(Event::normal("RolloutAddedToInformer", text));
    }
    let name = rollout.metadata.name.as_deref().unwrap_or_default();
    let mut after = before.clone();
    mark(
        &mut after,
        name,
        rollout.metadata.generation.unwrap_or_default(),
        problem,
        now,
    );
    let (word, text) = phase::of(&rollout.spec, &after);
    after.phase = word.to_owned();
    after.message = text;
    if let (Ok(old), Ok(new)) = (serde_json::to_value(&before), serde_json::to_value(&after)) {
        let old = if before.observed_generation.is_empty() {
            json!({})
        } else {
            old
        };
        if let Some(patch) = merge_patch(&old, &new) {
            let guard = rollout.metadata.resource_version.clone().unwrap_or_default();
            draft.write(
                Write::PatchRolloutStatus {
                    resource_version: guard,
                    patch: json!({ "status": patch }),
                },
                [],
            );
        }
    }
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
