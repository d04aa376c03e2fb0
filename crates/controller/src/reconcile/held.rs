//! What becomes of a Rollout whose plan the audit refuses: it holds, and says so in its status, in an event, in the log and
//! in a metric. A refusal is a bug in Serin; the cluster is left as it is until the World has changed. Whoever would rather
//! go on (`--audit=warn`) hears of it all the same.

use std::collections::BTreeSet;

use serde_json::{Value, json};
use serin_api::{Time, status::RolloutCondition};
use serin_audit::{Finding, Rule, Severity};
use serin_model::{Event, World};
use tracing::{error, warn};

use super::{Pass, complain, patch_status};
use crate::{
    context::{Context, OnRefusal},
    events::Subject,
    queue::Done,
};

/// Type of the condition that stands while a Rollout is held, and reason of the event.
const REFUSED: &str = "PlanRefused";
/// Reason of the event about a plan that is carried out although it is refused.
const CARRIED_OUT: &str = "PlanBreaksRule";

/// Counts and says what the audit found; the index of the first write that must not be carried out. Those before it may be:
/// every prefix of a plan is safe, so that an abort's weight is not kept back by what comes after it.
pub(super) fn first_refused(ctx: &Context, subject: &Subject, findings: &[Finding]) -> Option<usize> {
    let holds = ctx.config.on_refusal == OnRefusal::Hold;
    let refused = |finding: &&Finding| finding.severity == Severity::Refuse && holds;
    let metrics = ctx.calls.metrics();
    let rules: BTreeSet<Rule> = findings.iter().filter(refused).map(|f| f.rule).collect();
    for rule in rules {
        metrics.plan_refused(rule);
    }
    let rules: BTreeSet<Rule> = findings.iter().filter(|f| !refused(f)).map(|f| f.rule).collect();
    for rule in rules {
        metrics.plan_warned(rule);
    }
    for finding in findings.iter().filter(|f| !refused(f)) {
        warn!(rollout = %subject.key, %finding, "The audit warns of a plan");
    }
    if !holds && let Some(text) = refusals(findings) {
        error!(rollout = %subject.key, broken = %text, "A plan that breaks a write rule is carried out (--audit=warn). This is a bug in Serin, please report it");
        let message = format!("Plan carried out although the audit refuses it: {text}");
        complain(ctx, subject, Event::warning(CARRIED_OUT, message));
    }
    findings.iter().filter(refused).map(|f| f.write).min()
}

/// What must not be done, and why not.
fn refusals(findings: &[Finding]) -> Option<String> {
    let refused = findings.iter().filter(|f| f.severity == Severity::Refuse);
    let text: Vec<String> = refused.map(|f| format!("{}: {}", f.rule, f.message)).collect();
    (!text.is_empty()).then(|| text.join("; "))
}

/// Says that the Rollout is held, and why.
pub(super) async fn hold(ctx: &Context, subject: &Subject, world: &World, findings: &[Finding]) -> Pass {
    let mut refused = findings.iter().filter(|f| f.severity == Severity::Refuse);
    let text = refusals(findings).unwrap_or_default();
    error!(rollout = %subject.key, refused = %text, "Plan refused by the audit; the Rollout holds. This is a bug in Serin, please report it");
    let message = format!("Plan refused, the Rollout holds: {text}");
    complain(ctx, subject, Event::warning(REFUSED, message));
    let reason = refused.next().map_or("", |f| f.rule.as_str());
    let status = world.rollout.status.as_ref();
    let known = status.map(|s| s.conditions.as_slice()).unwrap_or_default();
    if known
        .iter()
        .any(|c| c.kind == REFUSED && c.reason == reason && c.message == text)
    {
        return Pass::Rest(Done::Retry);
    }
    let now = Time::new(ctx.clock.now());
    let since = known.iter().find(|c| c.kind == REFUSED);
    let mut conditions = without(known);
    conditions.push(RolloutCondition {
        kind: REFUSED.to_owned(),
        status: "True".to_owned(),
        last_update_time: now,
        last_transition_time: since.map_or(now, |c| c.last_transition_time),
        reason: reason.to_owned(),
        message: text.clone(),
    });
    let generation = world.rollout.metadata.generation.unwrap_or(0);
    let patch = json!({"status": {
        "conditions": conditions,
        "phase": "Degraded",
        "message": format!("{REFUSED}: {text}"),
        "observedGeneration": generation.to_string(),
    }});
    match patch_status(ctx, subject, patch).await {
        Pass::Again => Pass::Rest(Done::Retry),
        other => other,
    }
}

/// Takes the condition back once a plan is accepted; [`None`] when there is none. The plan itself brings phase and message.
pub(super) async fn release(ctx: &Context, subject: &Subject, world: &World) -> Option<Pass> {
    let known = world.rollout.status.as_ref()?.conditions.as_slice();
    if !known.iter().any(|c| c.kind == REFUSED) {
        return None;
    }
    let patch: Value = json!({"status": {"conditions": without(known)}});
    Some(patch_status(ctx, subject, patch).await)
}

fn without(conditions: &[RolloutCondition]) -> Vec<RolloutCondition> {
    conditions.iter().filter(|c| c.kind != REFUSED).cloned().collect()
}
