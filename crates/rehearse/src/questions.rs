//! What the analyses of a release ask: their metrics, checked as far as that can be done before anything is asked, and the
//! Secrets that they need. Queries are checked when they are asked: only then their arguments are known.
//!
//! Pure.

use std::collections::{BTreeMap, BTreeSet};

use serin_api::{
    analysis::{AnalysisTemplateSpec, Argument, Metric},
    compose,
    rollout::{AnalysisTemplateRef, CanaryStrategy, RolloutAnalysis},
    validate,
};
use serin_expr::{Env, Value};

/// What is asked in the course of a release.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Asked {
    /// Names of metrics.
    pub metrics: BTreeSet<String>,
    /// Secrets of the Rollout's namespace: name and key.
    pub secrets: BTreeSet<(String, String)>,
}

/// Looks through all analyses of a canary whose templates are all there.
///
/// # Errors
/// A template without metrics, or a condition that no answer of Prometheus can be judged by: in words, with its place.
pub(crate) fn check<'a>(
    canary: &CanaryStrategy,
    lookup: impl Fn(&AnalysisTemplateRef) -> Option<&'a AnalysisTemplateSpec>,
) -> Result<Asked, String> {
    let mut asked = Asked::default();
    let background = canary.analysis.as_ref().map(|background| &background.analysis);
    let of_steps = canary.steps().iter().filter_map(|step| step.analysis.as_ref());
    for analysis in of_steps.chain(background) {
        one(analysis, &lookup, &mut asked)?;
    }
    Ok(asked)
}

fn one<'a>(
    analysis: &RolloutAnalysis,
    lookup: &impl Fn(&AnalysisTemplateRef) -> Option<&'a AnalysisTemplateSpec>,
    asked: &mut Asked,
) -> Result<(), String> {
    let refs = analysis.templates.as_deref().unwrap_or_default();
    // Those who validate a Rollout have looked at these errors before.
    let Ok(whole) = compose::compose(refs, lookup) else {
        return Ok(());
    };
    let names: Vec<&str> = refs.iter().map(|template| template.template_name.as_str()).collect();
    let metrics = whole.metrics.unwrap_or_default();
    if metrics.is_empty() {
        return Err(format!(
            "AnalysisTemplate {}: spec.metrics is empty: name what is measured",
            names.join(", ")
        ));
    }
    let given = validate::arguments(analysis);
    let args = compose::merge_args(whole.args.as_deref().unwrap_or_default(), &given).unwrap_or_default();
    for arg in args.iter().filter(|arg| arg.value.is_none()) {
        let secret = arg.value_from.as_ref().and_then(|from| from.secret_key_ref.as_ref());
        asked
            .secrets
            .extend(secret.map(|secret| (secret.name.clone(), secret.key.clone())));
    }
    for metric in &metrics {
        asked.metrics.insert(metric.name.clone());
        if let Some(problem) = condition(metric, &args) {
            return Err(format!(
                "AnalysisTemplate {}: metric {}: {problem}",
                names.join(", "),
                metric.name
            ));
        }
    }
    Ok(())
}

/// What is wrong with a metric's conditions, whatever Prometheus answers.
fn condition(metric: &Metric, args: &[Argument]) -> Option<String> {
    for (name, of) in [
        ("successCondition", &metric.success_condition),
        ("failureCondition", &metric.failure_condition),
    ] {
        let Some(text) = of.as_deref().filter(|text| !text.is_empty()) else {
            continue;
        };
        // What it says is known only with the values of all arguments that stand in it.
        let known: Vec<Argument> = args.iter().filter(|arg| arg.value.is_some()).cloned().collect();
        let alone = Metric {
            success_condition: Some(text.to_owned()),
            ..Metric::default()
        };
        let Ok(filled) = compose::resolve_metric(&alone, &known, &BTreeMap::new()) else {
            continue;
        };
        let filled = filled.success_condition.unwrap_or_default();
        let fits = |result: Value| serin_expr::compile(&filled, &Env::condition(&result).types());
        if let (Err(problem), Err(_)) = (fits(Value::floats([0.5])), fits(Value::from(0.5))) {
            return Some(format!("{name}: {filled:?}: {problem}"));
        }
    }
    None
}
