//! Which metrics only report, and how many measurements are kept: rules that name metrics by regular expression (compat 3.3).

use std::collections::{BTreeMap, BTreeSet};

use regex::Regex;
use serin_api::{
    analysis::{AnalysisRunSpec, Metric},
    rollout::{DryRun, MeasurementRetention},
};

/// Measurements kept of a metric that no rule names (compat 3.3).
pub(crate) const DEFAULT_RETENTION: usize = 10;

/// The names of the metrics that only report.
///
/// # Errors
/// A rule that matches nothing, in upstream's words; one that is no regular expression matches nothing (recordings, item 28).
pub(crate) fn dry_run(spec: &AnalysisRunSpec) -> Result<BTreeSet<String>, String> {
    let rules = spec
        .dry_run
        .iter()
        .flatten()
        .map(|DryRun { metric_name }| metric_name.as_str());
    let mut names = BTreeSet::new();
    for (i, pattern) in rules.enumerate() {
        let matched = matching(pattern, &spec.metrics);
        if matched.is_empty() {
            return Err(format!("dryRun[{i}]: Rule didn't match any metric name(s)"));
        }
        names.extend(matched);
    }
    Ok(names)
}

/// How many measurements to keep, by metric.
///
/// # Errors
/// As [`dry_run`].
pub(crate) fn retention(spec: &AnalysisRunSpec) -> Result<BTreeMap<String, usize>, String> {
    let mut limits = BTreeMap::new();
    for (i, MeasurementRetention { metric_name, limit }) in spec.measurement_retention.iter().flatten().enumerate() {
        let matched = matching(metric_name, &spec.metrics);
        if matched.is_empty() {
            return Err(format!(
                "measurementRetention[{i}]: Rule didn't match any metric name(s)"
            ));
        }
        if let Some(limit) = usize::try_from(*limit).ok().filter(|limit| *limit > 0) {
            limits.extend(matched.into_iter().map(|name| (name, limit)));
        }
    }
    Ok(limits)
}

fn matching(pattern: &str, metrics: &[Metric]) -> Vec<String> {
    let Ok(regex) = Regex::new(pattern) else {
        return Vec::new();
    };
    metrics
        .iter()
        .filter(|metric| regex.is_match(&metric.name))
        .map(|metric| metric.name.clone())
        .collect()
}
