//! A template of analysis over the real Prometheus: share of 5xx answers and slow answers of one revision.

use std::time::Duration;

use serde_json::{Value, json};

use crate::app;

/// The metrics' names.
pub(crate) const ERRORS: &str = "error-rate";
pub(crate) const LATENCY: &str = "p99-latency";

/// Arguments for the canary's revision.
pub(crate) fn args(namespace: &str) -> Value {
    json!([
        {"name": "namespace", "value": namespace},
        {"name": "hash", "valueFrom": {"podTemplateHashValue": "Latest"}},
    ])
}

/// At most 5% 5xx answers and a P99 of 500 ms, asked `count` times.
pub(crate) fn template(interval: Duration, count: u32) -> Value {
    let of = r#"namespace="{{args.namespace}}",rollouts_pod_template_hash="{{args.hash}}""#;
    let rate = |more: &str| format!("sum(rate(http_requests_total{{{of}{more}}}[10s]))");
    let errors = format!("({} or on() vector(0)) / {}", rate(r#",code=~"5..""#), rate(""));
    let p99 =
        format!("histogram_quantile(0.99, sum by (le) (rate(http_request_duration_seconds_bucket{{{of}}}[10s])))");
    let metric = |name: &str, query: String, limit: f64| {
        json!({
            "name": name,
            "interval": format!("{}s", interval.as_secs()),
            "initialDelay": "4s",
            "count": count,
            "failureLimit": 0,
            "successCondition": format!("len(result) > 0 && result[0] <= {limit}"),
            "provider": {"prometheus": {"query": query}},
        })
    };
    let mut template = app::template(
        "gate",
        json!([{"name": "namespace"}, {"name": "hash"}]),
        metric(ERRORS, errors, 0.05),
    );
    if let Some(metrics) = template["spec"]["metrics"].as_array_mut() {
        metrics.push(metric(LATENCY, p99, 0.5));
    }
    template
}
