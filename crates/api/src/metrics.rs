//! What a list of metrics must satisfy before it can be measured (compat 3.4), and how often a metric is measured (3.1).

use std::collections::BTreeSet;

use crate::{analysis::Metric, duration::GoDuration, intstr::IntOrString, provider::MetricProvider};

impl Metric {
    /// How many measurements end the metric (compat 3.1): [`None`] is without end. Without a count, or with 0, it is one
    /// measurement, or endless when there is an interval.
    pub fn effective_count(&self) -> Option<i32> {
        match self.count.as_ref().map_or(0, IntOrString::int_value) {
            0 if self.interval.is_some() => None,
            0 => Some(1),
            count => Some(count),
        }
    }
}

impl MetricProvider {
    /// How many providers are set; every plugin counts (compat 3.4).
    pub fn count(&self) -> usize {
        let set = [
            self.prometheus.is_some(),
            self.kayenta.is_some(),
            self.web.is_some(),
            self.datadog.is_some(),
            self.wavefront.is_some(),
            self.new_relic.is_some(),
            self.job.is_some(),
            self.cloud_watch.is_some(),
            self.graphite.is_some(),
            self.influxdb.is_some(),
            self.skywalking.is_some(),
        ];
        set.into_iter().filter(|s| *s).count() + self.plugin.as_ref().map_or(0, std::collections::BTreeMap::len)
    }

    /// Field name of the provider, for messages; a plugin's own name.
    pub fn name(&self) -> Option<&str> {
        let fields = [
            ("prometheus", self.prometheus.is_some()),
            ("kayenta", self.kayenta.is_some()),
            ("web", self.web.is_some()),
            ("datadog", self.datadog.is_some()),
            ("wavefront", self.wavefront.is_some()),
            ("newRelic", self.new_relic.is_some()),
            ("job", self.job.is_some()),
            ("cloudWatch", self.cloud_watch.is_some()),
            ("graphite", self.graphite.is_some()),
            ("influxdb", self.influxdb.is_some()),
            ("skywalking", self.skywalking.is_some()),
        ];
        let built_in = fields.into_iter().find(|(_, set)| *set).map(|(name, _)| name);
        built_in.or_else(|| Some(self.plugin.as_ref()?.keys().next()?.as_str()))
    }
}

/// Checks metrics whose arguments have been filled in.
///
/// # Errors
/// The first problem in upstream's words, `metrics[0]: …` (compat 3.4, recordings 28).
pub fn validate_metrics(metrics: &[Metric]) -> Result<(), String> {
    if metrics.is_empty() {
        return Err("no metrics specified".to_owned());
    }
    let mut names = BTreeSet::new();
    for (i, metric) in metrics.iter().enumerate() {
        if !names.insert(&metric.name) {
            return Err(format!("metrics[{i}]: duplicate name '{}'", metric.name));
        }
        validate_metric(metric).map_err(|e| format!("metrics[{i}]: {e}"))?;
    }
    Ok(())
}

/// Checks one metric; the message has no prefix.
///
/// # Errors
/// As [`validate_metrics`].
pub fn validate_metric(metric: &Metric) -> Result<(), String> {
    let number = |field: &Option<IntOrString>| field.as_ref().map_or(0, IntOrString::int_value);
    let count = number(&metric.count);
    let failures = number(&metric.failure_limit);
    let inconclusives = number(&metric.inconclusive_limit);
    let successes = number(&metric.consecutive_success_limit);
    let errors = number(&metric.consecutive_error_limit);
    if count > 0 {
        // Wider than 32 bits: both limits may be as large as the type allows.
        if failures >= 0 && successes >= 0 && i64::from(count) < i64::from(failures) + i64::from(successes) {
            return Err(format!(
                "count ({count}) must be >= failureLimit + consecutiveSuccessLimit ({failures} + {successes}) if both >= 0"
            ));
        }
        if count < successes {
            return Err(format!(
                "count ({count}) must be >= consecutiveSuccessLimit ({successes})"
            ));
        }
        if count < inconclusives {
            return Err("count must be >= inconclusiveLimit".to_owned());
        }
    }
    if count > 1 && metric.interval.is_none() {
        return Err("interval must be specified when count > 1".to_owned());
    }
    for (text, field) in [(&metric.interval, "interval"), (&metric.initial_delay, "startDelay")] {
        if let Some(text) = text {
            text.parse::<GoDuration>()
                .map_err(|e| format!("invalid {field} string: {e}"))?;
        }
    }
    if failures < -1 {
        return Err("failureLimit must be >= 0, or -1 to be disabled".to_owned());
    }
    if inconclusives < 0 {
        return Err("inconclusiveLimit must be >= 0".to_owned());
    }
    if errors < 0 {
        return Err("consecutiveErrorLimit must be >= 0".to_owned());
    }
    if successes < 0 {
        return Err("consecutiveSuccessLimit must be >= 0".to_owned());
    }
    if failures == -1 && successes == 0 {
        return Err("failureLimit and consecutiveSuccessLimit cannot both be disabled".to_owned());
    }
    match metric.provider.count() {
        0 => Err("no provider specified".to_owned()),
        1 => Ok(()),
        _ => Err("multiple providers specified".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn metrics(value: Value) -> Vec<Metric> {
        serde_json::from_value(value).unwrap()
    }

    #[test]
    fn problems_are_told_in_the_words_that_were_recorded() {
        let web = json!({"web": {"url": "u"}});
        for (value, message) in [
            (json!([]), "no metrics specified"),
            (
                json!([{"name": "good", "provider": web}, {"name": "good", "provider": web}]),
                "metrics[1]: duplicate name 'good'",
            ),
            (
                json!([{"count": 3, "failureLimit": -1, "interval": "1s", "name": "m", "provider": web}]),
                "metrics[0]: failureLimit and consecutiveSuccessLimit cannot both be disabled",
            ),
            (
                json!([{"name": "m", "provider": {}}]),
                "metrics[0]: no provider specified",
            ),
            (
                json!([{"name": "m", "provider": {"prometheus": {"query": "q"}, "web": {}}}]),
                "metrics[0]: multiple providers specified",
            ),
            (
                json!([{"name": "m", "provider": {"plugin": {"a/b": {}, "c/d": {}}}}]),
                "metrics[0]: multiple providers specified",
            ),
            (
                json!([{"count": 2, "interval": "1 minute", "name": "m", "provider": web}]),
                "metrics[0]: invalid interval string: time: unknown unit \" minute\" in duration \"1 minute\"",
            ),
            (
                json!([{"count": 2, "name": "m", "provider": web}]),
                "metrics[0]: interval must be specified when count > 1",
            ),
            (
                json!([{"failureLimit": -2, "name": "m", "provider": web}]),
                "metrics[0]: failureLimit must be >= 0, or -1 to be disabled",
            ),
            (
                json!([{"count": 1, "failureLimit": 3, "interval": "1s", "name": "m", "provider": web}]),
                "metrics[0]: count (1) must be >= failureLimit + consecutiveSuccessLimit (3 + 0) if both >= 0",
            ),
        ] {
            assert_eq!(validate_metrics(&metrics(value)).unwrap_err(), message);
        }
    }

    #[test]
    fn a_plain_metric_passes_even_with_limits_as_text() {
        let good = json!([
            {"name": "a", "count": "10", "interval": "60s", "failureLimit": "3", "provider": {"prometheus": {"query": "q"}}},
            {"name": "b", "failureLimit": -1, "consecutiveSuccessLimit": 2, "interval": "5s", "provider": {"web": {}}},
        ]);
        assert_eq!(validate_metrics(&metrics(good)), Ok(()));
    }

    #[test]
    fn a_metric_with_an_interval_and_no_count_has_no_end() {
        for (value, count) in [
            (json!({"name": "m", "provider": {}}), Some(1)),
            (json!({"name": "m", "provider": {}, "interval": "5s"}), None),
            (json!({"name": "m", "provider": {}, "interval": "5s", "count": 0}), None),
            (
                json!({"name": "m", "provider": {}, "interval": "5s", "count": "7"}),
                Some(7),
            ),
        ] {
            let metric: Metric = serde_json::from_value(value).unwrap();
            assert_eq!(metric.effective_count(), count);
        }
    }
}
