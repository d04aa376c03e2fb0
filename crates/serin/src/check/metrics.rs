//! What the analyses of Rollouts would ask Prometheus, and which labels they tell revisions apart by. Nothing is asked here.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;
use serin_api::{
    analysis::{AnalysisTemplateSpec, Argument, Metric},
    compose,
    provider::{MetricProvider, PrometheusMetric},
    rollout::{AnalysisRunArgument, AnalysisTemplateRef, RolloutAnalysis},
};
use serin_model::measure::REQUESTS_QUERY_ANNOTATION;
use serin_promql::{Comparison, Selected};

use super::{
    controllers::Product,
    observed::{App, Observed, SecretKey, items, map, name, namespace},
    prometheus::Target,
    quoted::HIDDEN,
};

/// Stands for a Secret that could not be read.
const UNREAD: &str = "\u{fffd}secret\u{fffd}";

/// A template and its annotations.
type Template = (AnalysisTemplateSpec, BTreeMap<String, String>);

/// The templates of a cluster that can be understood.
pub(super) struct Templates {
    /// By namespace, none for those of the cluster, and name.
    known: BTreeMap<(Option<String>, String), Template>,
}

impl Templates {
    pub(super) fn of(seen: &Observed) -> Self {
        let mut known = BTreeMap::new();
        let mut add = |object: &Value, space: Option<String>| {
            let spec = serde_json::from_value(object["spec"].clone());
            if let Ok(spec) = spec {
                let annotations = map(object, "/metadata/annotations");
                known.insert((space, name(object).to_owned()), (spec, annotations));
            }
        };
        for template in items(&seen.objects.templates) {
            add(template, Some(namespace(template).to_owned()));
        }
        for template in items(&seen.objects.cluster_templates) {
            add(template, None);
        }
        Self { known }
    }

    fn entry(&self, space: &str, template: &AnalysisTemplateRef) -> Option<&Template> {
        let space = (!template.cluster_scope).then(|| space.to_owned());
        self.known.get(&(space, template.template_name.clone()))
    }

    /// A template as a Rollout of that namespace sees it.
    pub(super) fn spec(&self, space: &str, template: &AnalysisTemplateRef) -> Option<&AnalysisTemplateSpec> {
        self.entry(space, template).map(|(spec, _)| spec)
    }
}

/// All analyses of a Rollout.
fn analyses(app: &App) -> Vec<&RolloutAnalysis> {
    let Some(canary) = app.canary() else { return Vec::new() };
    let steps = canary.steps().iter().filter_map(|step| step.analysis.as_ref());
    steps.chain(canary.analysis.as_ref().map(|b| &b.analysis)).collect()
}

/// Templates that Rollouts name, with the Rollout's namespace.
pub(super) fn template_refs(seen: &Observed) -> BTreeSet<(String, AnalysisTemplateRef)> {
    let mut refs = BTreeSet::new();
    for app in seen.apps() {
        for analysis in analyses(app) {
            refs.extend(
                analysis
                    .templates
                    .iter()
                    .flatten()
                    .map(|t| (app.namespace.clone(), t.clone())),
            );
        }
    }
    refs
}

/// The templates of an analysis as one; nothing when that is not possible, which is said of the Rollout.
fn composed(templates: &Templates, app: &App, analysis: &RolloutAnalysis) -> Option<AnalysisTemplateSpec> {
    let refs = analysis.templates.as_deref().unwrap_or_default();
    compose::compose(refs, |t| templates.spec(&app.namespace, t)).ok()
}

/// Secrets that arguments of analyses come from.
pub(super) fn secrets_used(seen: &Observed) -> BTreeSet<SecretKey> {
    let templates = Templates::of(seen);
    let mut used = BTreeSet::new();
    for app in seen.apps() {
        for analysis in analyses(app) {
            let args = composed(&templates, app, analysis)
                .and_then(|t| t.args)
                .unwrap_or_default();
            let refs = args
                .iter()
                .filter_map(|a| a.value_from.as_ref()?.secret_key_ref.as_ref());
            used.extend(refs.map(|s| (app.namespace.clone(), s.name.clone(), s.key.clone())));
        }
    }
    used
}

/// Whose hash a selector asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Role {
    Latest,
    Stable,
}

/// A selector that tells revisions apart.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Hashed {
    pub(super) selected: Selected,
    /// The label that has the hash.
    pub(super) label: String,
    pub(super) hash: String,
    pub(super) role: Role,
}

impl Hashed {
    /// The same series of any revision.
    pub(super) fn of_any_revision(&self) -> Selected {
        let mut selected = self.selected.clone();
        selected.matchers.retain(|m| m.label != self.label);
        selected
    }
}

/// One metric of one Rollout.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Use {
    /// `Rollout namespace/name`.
    pub(super) about: String,
    pub(super) metric: String,
    /// No pods are wanted, so there are no series either.
    pub(super) is_idle: bool,
    /// Where it is asked; [`None`] when no address is known.
    pub(super) target: Option<Target>,
    /// Secrets that it needs and that could not be read.
    pub(super) is_blind: bool,
    /// Or why the query is no PromQL.
    pub(super) hashed: Result<Vec<Hashed>, String>,
}

/// Everything that Prometheus would be asked, each once.
pub(super) fn uses(seen: &Observed) -> Vec<Use> {
    let templates = Templates::of(seen);
    let mut all = BTreeSet::new();
    for app in seen.apps() {
        for analysis in analyses(app) {
            let Some(template) = composed(&templates, app, analysis) else {
                continue;
            };
            let given: Vec<Argument> = analysis.args.iter().flatten().map(|arg| argument(app, arg)).collect();
            let Ok(args) = compose::merge_args(template.args.as_deref().unwrap_or_default(), &given) else {
                continue;
            };
            let secrets = secrets(seen, app, &args);
            let mut metrics = template.metrics.unwrap_or_default();
            metrics.extend(requests(&templates, app, analysis, &metrics));
            for metric in &metrics {
                all.extend(one(seen, app, metric, &args, &secrets));
            }
        }
    }
    all.into_iter().collect()
}

fn argument(app: &App, arg: &AnalysisRunArgument) -> Argument {
    let mut value = arg.value.clone();
    if let Some(from) = &arg.value_from {
        match from.pod_template_hash_value.as_deref() {
            Some("Latest") => value = Some(app.latest()),
            Some("Stable") => value = Some(app.stable()),
            _ => {}
        }
        if let Some(field) = &from.field_ref {
            value = compose::field_value(&app.object, &field.field_path).ok();
        }
    }
    Argument {
        name: arg.name.clone(),
        value,
        value_from: None,
    }
}

/// Values of arguments that come from Secrets.
fn secrets(seen: &Observed, app: &App, args: &[Argument]) -> BTreeMap<String, String> {
    args.iter()
        .filter(|arg| arg.value.is_none())
        .map(|arg| {
            let named = arg.value_from.as_ref().and_then(|f| f.secret_key_ref.as_ref());
            let value = named
                .and_then(|s| {
                    seen.secrets
                        .get(&(app.namespace.clone(), s.name.clone(), s.key.clone()))
                })
                .and_then(|read| read.as_ref().ok());
            (arg.name.clone(), value.cloned().unwrap_or_else(|| UNREAD.to_owned()))
        })
        .collect()
}

/// `serin.dev/requests-query` of the templates, each as a metric beside the one it belongs to.
fn requests(templates: &Templates, app: &App, analysis: &RolloutAnalysis, metrics: &[Metric]) -> Vec<Metric> {
    let provider = metrics.iter().find_map(|m| m.provider.prometheus.clone());
    let Some(provider) = provider else { return Vec::new() };
    analysis
        .templates
        .iter()
        .flatten()
        .filter_map(|t| templates.entry(&app.namespace, t)?.1.get(REQUESTS_QUERY_ANNOTATION))
        .map(|query| Metric {
            name: REQUESTS_QUERY_ANNOTATION.to_owned(),
            provider: MetricProvider {
                prometheus: Some(PrometheusMetric {
                    query: Some(query.clone()),
                    ..provider.clone()
                }),
                ..MetricProvider::default()
            },
            ..Metric::default()
        })
        .collect()
}

fn one(
    seen: &Observed,
    app: &App,
    metric: &Metric,
    args: &[Argument],
    secrets: &BTreeMap<String, String>,
) -> Option<Use> {
    let resolved = compose::resolve_metric(metric, args, secrets).ok()?;
    let prometheus = resolved.provider.prometheus.as_ref()?;
    let default = seen
        .controllers()
        .iter()
        .filter(|c| c.product == Product::Serin)
        .find_map(|c| c.prometheus.clone());
    let other = seen.prometheus.clone();
    let address = |metric: &Metric| {
        let written = metric.provider.prometheus.as_ref()?.address.clone();
        let written = written.filter(|a| !a.trim().is_empty());
        let address = other.clone().or(written).or(default.clone())?;
        Some(address.trim().to_owned())
    };
    let hidden = secrets.keys().map(|name| (name.clone(), HIDDEN.to_owned())).collect();
    let public = compose::resolve_metric(metric, args, &hidden).ok();
    let public = public.and_then(|metric| address(&metric)).unwrap_or_default();
    let basic = prometheus
        .authentication
        .as_ref()
        .and_then(|a| a.basic_auth.as_ref())
        .map(|basic| {
            let text = |t: &Option<String>| t.clone().unwrap_or_default();
            (text(&basic.username), text(&basic.password))
        });
    let target = address(&resolved).map(|address| Target {
        address,
        public,
        headers: prometheus
            .headers
            .iter()
            .flatten()
            .map(|h| (h.key.clone(), h.value.clone()))
            .collect(),
        basic: basic.filter(|(name, password)| !name.is_empty() || !password.is_empty()),
        insecure: prometheus.insecure,
    });
    let query = prometheus.query.clone().unwrap_or_default();
    let is_blind = query.contains(UNREAD) || target.as_ref().is_some_and(|t| t.mentions(UNREAD));
    let hashes = [(app.latest(), Role::Latest), (app.stable(), Role::Stable)];
    let hashed = serin_promql::selectors(&query)
        .map_err(|e| e.to_string())
        .map(|selectors| {
            let mut found: Vec<Hashed> = selectors.iter().filter_map(|s| by_hash(s, &hashes)).collect();
            found.sort();
            found.dedup();
            found
        });
    Some(Use {
        about: app.title(),
        metric: metric.name.clone(),
        is_idle: app.replicas() == 0,
        target,
        is_blind,
        hashed,
    })
}

/// The label by which a selector asks for one of these hashes.
fn by_hash(selected: &Selected, hashes: &[(String, Role)]) -> Option<Hashed> {
    for matcher in &selected.matchers {
        for (hash, role) in hashes.iter().filter(|(hash, _)| !hash.is_empty()) {
            let is_asked = match matcher.comparison {
                Comparison::Equal => matcher.value == *hash,
                Comparison::Matches => matcher.value.contains(hash.as_str()),
                Comparison::NotEqual | Comparison::MatchesNot => false,
            };
            if is_asked {
                return Some(Hashed {
                    selected: selected.clone(),
                    label: matcher.label.clone(),
                    hash: hash.clone(),
                    role: *role,
                });
            }
        }
    }
    None
}
