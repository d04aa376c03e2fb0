//! From a run's spec to metrics that can be measured: arguments, secrets, validation, settings (compat 3.1, 3.4, 3.6).

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    sync::Arc,
};

use chrono::{DateTime, TimeDelta, Utc};
use serin_api::{
    analysis::{AnalysisRun, AnalysisRunSpec, Metric, SecretKeyRef},
    compose::resolve_metric,
    duration::GoDuration,
    metrics::validate_metrics,
    provider::PrometheusMetric,
};
use serin_model::measure::{MeasureRequest, NoDataPolicy, TimeRange};

use crate::{redact::redact, rules};

/// What stands in messages and metadata instead of a secret (compat 3.6).
const REDACTED: &str = "*****";
/// Shorter intervals are stretched to this: times in a status have whole seconds.
const SHORTEST_INTERVAL: TimeDelta = TimeDelta::seconds(1);
/// Points of a range query when it names no step.
const DEFAULT_STEP: std::time::Duration = std::time::Duration::from_secs(60);

/// Values of the run's Secrets by (name, key), read by the caller. An `Err` is the reason why there is none for good,
/// as upstream words it (`secrets "x" not found`); when the API server cannot be asked, do not plan at all.
pub type Secrets = BTreeMap<(String, String), Result<String, String>>;

/// The Secrets that a run's arguments name; the caller reads them in the run's namespace, each time (compat 3.6).
pub fn secrets_needed(spec: &AnalysisRunSpec) -> Vec<SecretKeyRef> {
    let refs = spec
        .args
        .iter()
        .flatten()
        .filter_map(|arg| arg.value_from.as_ref()?.secret_key_ref.as_ref());
    let distinct: BTreeMap<_, _> = refs.map(|r| ((r.name.clone(), r.key.clone()), r.clone())).collect();
    distinct.into_values().collect()
}

/// A run whose spec makes sense.
pub(crate) struct Setup {
    /// In the spec's order.
    pub(crate) metrics: Vec<Prepared>,
    secrets: BTreeSet<String>,
}

/// One metric, its arguments filled in.
pub(crate) struct Prepared {
    /// With secrets.
    pub(crate) metric: Metric,
    /// The same without: for metadata.
    shown: Metric,
    /// Only reports.
    pub(crate) dry_run: bool,
    /// How many measurements to keep.
    pub(crate) retention: usize,
    /// What no data means.
    pub(crate) policy: NoDataPolicy,
    /// Time between measurements.
    pub(crate) interval: Option<TimeDelta>,
    /// Time before the first.
    pub(crate) initial_delay: Option<TimeDelta>,
    requests: Option<Metric>,
}

/// The setup of a run without secrets, kept from one plan to the next: making it is most of the work of a plan. It follows
/// from the run alone, so any two are equal.
#[derive(Clone, Default)]
pub(crate) struct Kept(Option<Arc<Made>>);

/// A setup and what it was made of.
pub(crate) struct Made {
    spec: AnalysisRunSpec,
    annotations: Option<BTreeMap<String, String>>,
    hold_by_default: bool,
    pub(crate) setup: Setup,
}

impl Kept {
    /// The setup of the run as it is now.
    ///
    /// # Errors
    /// As [`Setup::new`].
    pub(crate) fn setup(
        &mut self,
        run: &AnalysisRun,
        secrets: &Secrets,
        hold_by_default: bool,
    ) -> Result<Arc<Made>, String> {
        let fits = |made: &&Arc<Made>| {
            secrets.is_empty()
                && made.hold_by_default == hold_by_default
                && made.spec == run.spec
                && made.annotations == run.metadata.annotations
        };
        if let Some(made) = self.0.as_ref().filter(fits) {
            return Ok(Arc::clone(made));
        }
        let made = Arc::new(Made {
            spec: run.spec.clone(),
            annotations: run.metadata.annotations.clone(),
            hold_by_default,
            setup: Setup::new(run, secrets, hold_by_default)?,
        });
        self.0 = secrets.is_empty().then(|| Arc::clone(&made));
        Ok(made)
    }
}

impl fmt::Debug for Kept {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_some() { "Kept" } else { "None" })
    }
}

impl PartialEq for Kept {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Eq for Kept {}

impl Setup {
    /// Fills in the arguments and checks everything.
    ///
    /// # Errors
    /// The run's message, as users know it (compat 3.1).
    pub(crate) fn new(run: &AnalysisRun, secrets: &Secrets, hold_by_default: bool) -> Result<Self, String> {
        let spec = &run.spec;
        let args = spec.args.as_deref().unwrap_or_default();
        let no_arguments = |e: String| format!("Unable to resolve metric arguments: {e}");
        let invalid = |e: String| format!("Analysis spec invalid: {e}");
        let (mut values, mut placeholders) = (BTreeMap::new(), BTreeMap::new());
        for arg in args {
            let Some(reference) = arg.value_from.as_ref().and_then(|from| from.secret_key_ref.as_ref()) else {
                continue;
            };
            let key = (reference.name.clone(), reference.key.clone());
            let value = secrets
                .get(&key)
                .cloned()
                .unwrap_or_else(|| Err(format!("secrets \"{}\" not found", key.0)));
            values.insert(arg.name.clone(), value.map_err(no_arguments)?);
            placeholders.insert(arg.name.clone(), REDACTED.to_owned());
        }
        let fill = |metric: &Metric| -> Result<(Metric, Metric), String> {
            let shown = resolve_metric(metric, args, &placeholders).map_err(no_arguments)?;
            if values.is_empty() {
                return Ok((shown.clone(), shown));
            }
            Ok((resolve_metric(metric, args, &values).map_err(no_arguments)?, shown))
        };
        let filled = spec.metrics.iter().map(&fill).collect::<Result<Vec<_>, _>>()?;
        let (metrics, shown): (Vec<_>, Vec<_>) = filled.into_iter().unzip();
        validate_metrics(&metrics).map_err(invalid)?;
        let checked = AnalysisRunSpec {
            metrics,
            ..spec.clone()
        };
        let dry_run = rules::dry_run(&checked).map_err(invalid)?;
        let retention = rules::retention(&checked).map_err(invalid)?;
        let annotations = run.metadata.annotations.clone().unwrap_or_default();
        let mut prepared = Vec::with_capacity(checked.metrics.len());
        for (metric, shown) in checked.metrics.into_iter().zip(shown) {
            let counts_requests = metric.provider.prometheus.is_some();
            let policy = NoDataPolicy::of_metric(&annotations, &metric.name, hold_by_default, counts_requests)
                .map_err(|e| invalid(e.to_string()))?;
            let requests = match (&policy.requests_query, &metric.provider.prometheus) {
                (Some(query), Some(prometheus)) if policy.min_requests.is_some() => {
                    Some(fill(&requests_metric(&metric, prometheus, query))?.0)
                }
                _ => None,
            };
            prepared.push(Prepared {
                dry_run: dry_run.contains(&metric.name),
                retention: retention.get(&metric.name).copied().unwrap_or(rules::DEFAULT_RETENTION),
                interval: duration(metric.interval.as_deref()).map(|interval| interval.max(SHORTEST_INTERVAL)),
                initial_delay: duration(metric.initial_delay.as_deref()),
                metric,
                shown,
                policy,
                requests,
            });
        }
        let secrets = values.into_values().filter(|value| !value.is_empty()).collect();
        Ok(Self {
            metrics: prepared,
            secrets,
        })
    }

    /// The text without any secret of the run, in whatever form it stands there.
    pub(crate) fn redact(&self, text: &str) -> String {
        // Longest first: one secret may be part of another.
        let mut secrets: Vec<_> = self.secrets.iter().collect();
        secrets.sort_by_key(|secret| std::cmp::Reverse(secret.len()));
        secrets
            .into_iter()
            .fold(text.to_owned(), |text, secret| redact(&text, secret, REDACTED, false))
    }
}

fn duration(text: Option<&str>) -> Option<TimeDelta> {
    text?.parse::<GoDuration>().ok().map(GoDuration::as_chrono)
}

/// The metric that counts the requests: asked where and how the metric itself is.
fn requests_metric(metric: &Metric, prometheus: &PrometheusMetric, query: &str) -> Metric {
    let mut asked = metric.clone();
    asked.provider.prometheus = Some(PrometheusMetric {
        query: Some(query.to_owned()),
        range_query: None,
        ..prometheus.clone()
    });
    asked
}

impl Prepared {
    /// The metric's name.
    pub(crate) fn name(&self) -> &str {
        &self.metric.name
    }

    /// What stands in the metric result's metadata (compat 3.8).
    pub(crate) fn metadata(&self) -> BTreeMap<String, String> {
        let query = self
            .shown
            .provider
            .prometheus
            .as_ref()
            .and_then(|prometheus| prometheus.query.clone());
        query
            .map(|query| ("ResolvedPrometheusQuery".to_owned(), query))
            .into_iter()
            .collect()
    }

    /// The questions to ask now: the metric's and, where there is a minimum, the requests query.
    ///
    /// # Errors
    /// A time expression of a range query that cannot be evaluated.
    pub(crate) fn requests(&self, now: DateTime<Utc>) -> Result<(MeasureRequest, Option<MeasureRequest>), String> {
        let range = self.range(now)?;
        let request = |metric: &Metric, range| MeasureRequest {
            provider: metric.provider.clone(),
            at: now,
            range,
        };
        Ok((
            request(&self.metric, range),
            self.requests.as_ref().map(|metric| request(metric, None)),
        ))
    }

    fn range(&self, now: DateTime<Utc>) -> Result<Option<TimeRange>, String> {
        let Some(range) = self
            .metric
            .provider
            .prometheus
            .as_ref()
            .and_then(|p| p.range_query.as_ref())
        else {
            return Ok(None);
        };
        let (start, end) = (
            range.start.as_deref().unwrap_or_default(),
            range.end.as_deref().unwrap_or_default(),
        );
        let step = range.step.as_deref().unwrap_or_default();
        if start.is_empty() && end.is_empty() && step.is_empty() {
            return Ok(None);
        }
        let time = |name: &str, text: &str| -> Result<DateTime<Utc>, String> {
            if text.is_empty() {
                return Ok(now);
            }
            serin_expr::evaluate_time(text, now).map_err(|e| format!("failed to parse rangeQuery.{name} as time: {e}"))
        };
        let range = TimeRange {
            start: time("start", start)?,
            end: time("end", end)?,
            step: match step {
                "" => DEFAULT_STEP,
                text => text
                    .parse::<GoDuration>()
                    .map_err(|e| e.to_string())
                    .and_then(|step| step.as_chrono().to_std().map_err(|_| format!("{text:?} is negative")))
                    .map_err(|e| format!("failed to parse rangeQuery.step as duration: {e}"))?,
            },
        };
        if range.step.is_zero() {
            return Err("failed to parse rangeQuery.step as duration: it must be above 0".to_owned());
        }
        Ok(Some(range))
    }
}
