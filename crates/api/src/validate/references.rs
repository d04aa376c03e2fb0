//! The objects that a spec names: are they there, and do they fit (compat 1.2, second list)?

use std::collections::BTreeMap;

use super::{FieldError, unsupported};
use crate::{
    HASH_LABEL, MANAGED_BY_ANNOTATION,
    analysis::{AnalysisTemplateSpec, Argument, ValueFrom},
    compose::{self, ComposeError},
    metrics::validate_metric,
    rollout::{AnalysisTemplateRef, CanaryStrategy, PodMetadata, RolloutAnalysis, RolloutSpec},
};

/// What the check of references needs to know of a Service.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ServiceFacts {
    /// `spec.selector`.
    pub selector: BTreeMap<String, String>,
    /// `metadata.annotations`.
    pub annotations: BTreeMap<String, String>,
}

/// Objects that a Rollout names, looked up in its own namespace or, for cluster templates, in the cluster.
pub trait References {
    /// A Service.
    fn service(&self, name: &str) -> Option<ServiceFacts>;
    /// An AnalysisTemplate or, with `cluster_scope`, a ClusterAnalysisTemplate.
    fn template(&self, template: &AnalysisTemplateRef) -> Option<&AnalysisTemplateSpec>;
}

/// Checks the objects that a sound spec names. `name` is the Rollout's own.
///
/// # Errors
/// The first problem: Services in order, then templates in the order of the steps, the background analysis last. A template
/// with a provider that Serin cannot ask yet is one, too.
pub fn validate_references(spec: &RolloutSpec, name: &str, references: &dyn References) -> Result<(), FieldError> {
    let services = services(spec);
    let mut found = Vec::new();
    for service in services {
        let Some(facts) = references.service(service.name) else {
            return Err(FieldError::invalid(
                service.path,
                service.name,
                format!("service {:?} not found", service.name),
            )
            .advise(format!(
                "create Service {:?} in the Rollout's namespace with a selector that fits the labels of its pods, or \
                 correct {}",
                service.name, service.path
            )));
        };
        found.push((service, facts));
    }
    let analyses = analyses(spec);
    for use_ in &analyses {
        reach(use_, references)?;
    }
    for (service, facts) in &found {
        validate_service(spec, name, service, facts)?;
    }
    analyses.iter().try_for_each(|use_| validate_analysis(use_, references))
}

struct ServiceUse<'a> {
    path: &'static str,
    name: &'a str,
    /// Labels that Serin itself puts on the pods behind it.
    metadata: Option<&'a PodMetadata>,
}

fn services<'a>(spec: &'a RolloutSpec) -> Vec<ServiceUse<'a>> {
    let mut list = Vec::new();
    let mut add = |path, name: Option<&'a str>, metadata| {
        if let Some(name) = name.filter(|n| !n.is_empty()) {
            list.push(ServiceUse { path, name, metadata });
        }
    };
    if let Some(bg) = &spec.strategy.blue_green {
        let preview = bg.preview_service.as_deref();
        add(
            "spec.strategy.blueGreen.previewService",
            preview,
            bg.preview_metadata.as_ref(),
        );
        let active = Some(bg.active_service.as_str());
        add(
            "spec.strategy.blueGreen.activeService",
            active,
            bg.active_metadata.as_ref(),
        );
    }
    if let Some(canary) = &spec.strategy.canary {
        let CanaryStrategy {
            canary_service,
            stable_service,
            canary_metadata,
            stable_metadata,
            ..
        } = canary;
        add(
            "spec.strategy.canary.stableService",
            stable_service.as_deref(),
            stable_metadata.as_ref(),
        );
        add(
            "spec.strategy.canary.canaryService",
            canary_service.as_deref(),
            canary_metadata.as_ref(),
        );
        if let Some(both) = &canary.ping_pong {
            add(
                "spec.strategy.canary.pingPong.pingService",
                Some(&both.ping_service),
                None,
            );
            add(
                "spec.strategy.canary.pingPong.pongService",
                Some(&both.pong_service),
                None,
            );
        }
    }
    list
}

fn validate_service(
    spec: &RolloutSpec,
    rollout: &str,
    service: &ServiceUse<'_>,
    facts: &ServiceFacts,
) -> Result<(), FieldError> {
    let labels = spec.template.labels();
    for (key, value) in &facts.selector {
        let given = |map: &BTreeMap<String, String>| map.get(key) == Some(value);
        if key == HASH_LABEL || given(&labels) || service.metadata.is_some_and(|m| given(&m.labels)) {
            continue;
        }
        return Err(FieldError::invalid(
            service.path,
            service.name,
            format!("Service {:?} has unmatch label {key:?} in rollout", service.name),
        )
        .advise(format!(
            "give the pods the label {key}: {value} in spec.template.metadata.labels, or take it out of the selector of \
             Service {:?}",
            service.name
        )));
    }
    match facts.annotations.get(MANAGED_BY_ANNOTATION) {
        Some(owner) if owner != rollout => Err(FieldError::invalid(
            service.path,
            service.name,
            format!("Service {:?} is managed by another Rollout", service.name),
        )
        .advise(format!(
            "name a Service of this Rollout's own in {}; {:?} belongs to Rollout {owner:?}",
            service.path, service.name
        ))),
        _ => Ok(()),
    }
}

struct AnalysisUse<'a> {
    path: String,
    analysis: &'a RolloutAnalysis,
    /// It may run without end.
    background: bool,
}

fn analyses<'a>(spec: &'a RolloutSpec) -> Vec<AnalysisUse<'a>> {
    let mut list = Vec::new();
    let mut add = |path: String, analysis: Option<&'a RolloutAnalysis>, background| {
        if let Some(analysis) = analysis {
            list.push(AnalysisUse {
                path,
                analysis,
                background,
            });
        }
    };
    if let Some(bg) = &spec.strategy.blue_green {
        for (field, analysis) in [
            ("prePromotionAnalysis", &bg.pre_promotion_analysis),
            ("postPromotionAnalysis", &bg.post_promotion_analysis),
        ] {
            let path = format!("spec.strategy.blueGreen.{field}.templates");
            add(path, analysis.as_ref(), false);
        }
    }
    if let Some(canary) = &spec.strategy.canary {
        for (i, step) in canary.steps().iter().enumerate() {
            let path = format!("spec.strategy.canary.steps[{i}].analysis.templates");
            add(path, step.analysis.as_ref(), false);
        }
        let background = canary.analysis.as_ref().map(|b| &b.analysis);
        add("spec.strategy.canary.analysis.templates".to_owned(), background, true);
    }
    list
}

fn refs<'a>(use_: &AnalysisUse<'a>) -> &'a [AnalysisTemplateRef] {
    use_.analysis.templates.as_deref().unwrap_or_default()
}

type Reached<'a> = Vec<(AnalysisTemplateRef, &'a AnalysisTemplateSpec)>;

fn reach<'a>(use_: &AnalysisUse<'_>, references: &'a dyn References) -> Result<Reached<'a>, FieldError> {
    compose::reach(refs(use_), |template| references.template(template)).map_err(|error| match &error {
        ComposeError::NotFound { template, nested } => {
            let path = if *nested { "spec.templates" } else { &use_.path };
            let kind = if template.cluster_scope {
                "ClusterAnalysisTemplate"
            } else {
                "AnalysisTemplate"
            };
            FieldError::invalid(path, &template.template_name, &error).advise(format!(
                "create {kind} {:?}{}, or correct {}",
                template.template_name,
                if template.cluster_scope {
                    ""
                } else {
                    " in the Rollout's namespace"
                },
                use_.path
            ))
        }
        other => FieldError::invalid(&use_.path, "", other),
    })
}

fn validate_analysis(use_: &AnalysisUse<'_>, references: &dyn References) -> Result<(), FieldError> {
    let reached = reach(use_, references)?;
    let names: Vec<&str> = reached
        .iter()
        .map(|(template, _)| template.template_name.as_str())
        .collect();
    let together = |problem: String| {
        let shown = format!("templateNames: [{}]", names.join(" "));
        FieldError::invalid(&use_.path, shown, problem)
    };
    let whole =
        compose::compose(refs(use_), |template| references.template(template)).map_err(|e| together(e.to_string()))?;
    let given = arguments(use_.analysis);
    let args = compose::merge_args(whole.args.as_deref().unwrap_or_default(), &given)
        .map_err(|problem| together(problem).advise(format!("give the argument a value beside {}", use_.path)))?;
    let dry_run = use_.analysis.dry_run.as_deref().unwrap_or_default();
    compose::merge_dry_run(dry_run, whole.dry_run.iter().flatten()).map_err(|e| together(e.to_string()))?;
    let retention = use_.analysis.measurement_retention.as_deref().unwrap_or_default();
    compose::merge_retention(retention, whole.measurement_retention.iter().flatten())
        .map_err(|e| together(e.to_string()))?;
    for (template, spec) in &reached {
        validate_template(use_, &template.template_name, spec, &args)?;
    }
    Ok(())
}

/// The metrics of one template, with the values that they will have; those known only at run time have a stand-in.
fn validate_template(
    use_: &AnalysisUse<'_>,
    name: &str,
    spec: &AnalysisTemplateSpec,
    args: &[Argument],
) -> Result<(), FieldError> {
    let problem = |text: String| Err(FieldError::invalid(&use_.path, name, text));
    let unknown = args.iter().filter(|a| a.value.is_none());
    let stand_in: BTreeMap<String, String> = unknown.map(|a| (a.name.clone(), "dummy-value".to_owned())).collect();
    for metric in spec.metrics.iter().flatten() {
        if let Some((path, what)) = unsupported::unsupported_metric(metric) {
            return problem(format!(
                "AnalysisTemplate {name} has metric {} with {path}: {what}",
                metric.name
            ));
        }
        // Upstream lets a background analysis begin and end in Error instead.
        if use_.background {
            continue;
        }
        let checked = compose::resolve_metric(metric, args, &stand_in)
            .and_then(|metric| validate_metric(&metric).map(|()| metric));
        let metric = match checked {
            Ok(metric) => metric,
            Err(e) => return problem(format!("AnalysisTemplate {name}: {e}")),
        };
        if metric.effective_count().is_none() {
            let count = metric.count.as_ref().map_or("<nil>".to_owned(), ToString::to_string);
            return problem(format!(
                "AnalysisTemplate {name} has metric {} which runs indefinitely. Invalid value for count: {count}",
                metric.name
            ))
            .map_err(|e| e.advise("give the metric a count: only a background analysis may run without end"));
        }
    }
    Ok(())
}

/// What a Rollout gives an analysis. Values from elsewhere are known to be given, not what they are.
pub fn arguments(analysis: &RolloutAnalysis) -> Vec<Argument> {
    let given = analysis.args.iter().flatten();
    given
        .map(|arg| Argument {
            name: arg.name.clone(),
            value: arg.value.clone(),
            value_from: arg.value_from.as_ref().map(|_| ValueFrom::default()),
        })
        .collect()
}
