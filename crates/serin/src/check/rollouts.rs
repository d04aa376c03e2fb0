//! The Rollouts themselves: what the controller would call invalid, in its own words, and what it does not do yet.

use serin_api::{
    analysis::AnalysisTemplateSpec,
    rollout::{AnalysisTemplateRef, Rollout, RolloutSpec},
    validate::{self, FieldError, References, ServiceFacts},
};

use super::{
    line::{Line, ROLLOUT_SPEC, ROLLOUT_UNSUPPORTED},
    metrics::Templates,
    observed::{App, Observed},
};

/// How the texts about fields begin that Serin does not act on yet.
const NOT_YET: &str = "not supported yet";

/// The templates that were read. Services are judged elsewhere, each of them and not only the first: here all fit.
struct Known<'a>(&'a Templates, &'a str);

impl References for Known<'_> {
    fn service(&self, _: &str) -> Option<ServiceFacts> {
        Some(ServiceFacts::default())
    }

    fn template(&self, template: &AnalysisTemplateRef) -> Option<&AnalysisTemplateSpec> {
        self.0.spec(self.1, template)
    }
}

pub(super) fn findings(seen: &Observed) -> Vec<Line> {
    let templates = Templates::of(seen);
    seen.apps().iter().flat_map(|app| one(seen, &templates, app)).collect()
}

fn one(seen: &Observed, templates: &Templates, app: &App) -> Vec<Line> {
    let about = app.title();
    let rollout = match &app.rollout {
        Ok(rollout) => rollout,
        Err(error) => {
            return vec![ROLLOUT_SPEC.fail(
                about,
                format!("cannot be understood: {error}. Serin leaves it as it is (InvalidSpec)"),
                "Correct the field, or apply the definitions of this Serin, which refuse such an object.",
            )];
        }
    };
    let mut lines = Vec::new();
    let mut unsupported: Vec<String> = validate::unsupported_fields(&rollout.spec)
        .into_iter()
        .map(|(path, what)| format!("{path}: {what}"))
        .collect();
    match problem(seen, templates, app, rollout) {
        Some(error) if error.to_string().contains(NOT_YET) => unsupported.push(error.to_string()),
        Some(error) if unsupported.is_empty() => lines.push(
            ROLLOUT_SPEC.fail(
                &about,
                format!("is invalid (InvalidSpec), Serin leaves it as it is: {error}"),
                error
                    .advice
                    .map(|advice| capitalised(&advice))
                    .unwrap_or_else(|| "Correct the field: Serin goes on by itself.".to_owned()),
            ),
        ),
        _ if unsupported.is_empty() => {
            lines.push(ROLLOUT_SPEC.pass(&about, "is valid, and its analysis templates exist"));
        }
        _ => {}
    }
    lines.push(if unsupported.is_empty() {
        ROLLOUT_UNSUPPORTED.pass(&about, "asks for nothing that is not supported yet")
    } else {
        ROLLOUT_UNSUPPORTED.warn(
            &about,
            format!("Serin leaves it as it is (InvalidSpec): {}", unsupported.join("; ")),
            "Do what the text says, or leave this Rollout to Argo Rollouts with an instance id of its own (--instance-id).",
        )
    });
    lines
}

fn capitalised(text: &str) -> String {
    let mut rest = text.chars();
    rest.next()
        .map(|first| format!("{}{}", first.to_uppercase(), rest.as_str()))
        .unwrap_or_default()
}

/// The first thing that is wrong with a spec or the templates that it names.
fn problem(seen: &Observed, templates: &Templates, app: &App, rollout: &Rollout) -> Option<FieldError> {
    if let Err(error) = validate::validate_rollout(&rollout.spec, &app.name) {
        return Some(error);
    }
    if let Some(missing) = services_missing(&rollout.spec) {
        return Some(missing);
    }
    // Templates that may not be read are not missing.
    if seen.objects.templates.is_err() || seen.objects.cluster_templates.is_err() {
        return None;
    }
    validate::validate_references(&rollout.spec, &app.name, &Known(templates, &app.namespace)).err()
}

/// A router splits traffic between two Services, which upstream's validation does not ask for.
fn services_missing(spec: &RolloutSpec) -> Option<FieldError> {
    let field = validate::service_missing(spec)?;
    Some(FieldError {
        path: field.to_owned(),
        problem: "is not set, and trafficRouting needs both Services".to_owned(),
        advice: Some(
            "Name two Services that select the Rollout's pods and that the HTTPRoute has as backends.".to_owned(),
        ),
    })
}
