//! Prometheus, as far as the scenarios ask it: the shipped recording rules by their names, and the scripted sources of the
//! stub. Queries of any other form are refused, not guessed.

use std::time::Duration;

use async_trait::async_trait;
use serde_json::json;
use serin_providers::{HttpRequest, HttpResponse, HttpTransport, TransportError};
use serin_simulation::world::prometheus::{label, query, vector};

use super::{Gateway, PROMETHEUS};
use crate::stub::Stub;

/// From the last answer of a pod until Prometheus has scraped it, and evaluated its rules.
const TIME: Duration = Duration::from_millis(5);

/// See the module.
pub(super) struct Transport {
    pub(super) stub: Stub,
    pub(super) gateway: Gateway,
}

#[async_trait]
impl HttpTransport for Transport {
    async fn send(&self, request: HttpRequest) -> Result<HttpResponse, TransportError> {
        tokio::time::sleep(TIME).await;
        let (status, body) = if let Some(source) = Stub::source(&request.url) {
            self.stub.respond(&source)
        } else if request.url.starts_with(PROMETHEUS) {
            match self.evaluate(&query(&request)) {
                Some(values) => return Ok(vector(&values)),
                None => (
                    422,
                    json!({"status": "error", "errorType": "bad_data", "error": "not simulated"}),
                ),
            }
        } else {
            let address = request.url.split('/').take(3).collect::<Vec<_>>().join("/");
            return Err(TransportError::Connect {
                address,
                reason: "connection refused".into(),
            });
        };
        Ok(HttpResponse {
            status,
            body: body.to_string().into_bytes(),
        })
    }
}

impl Transport {
    /// The values of one of the shipped rules; `None`: it is none of them.
    fn evaluate(&self, query: &str) -> Option<Vec<f64>> {
        let (rule, labels) = query.trim().split_once('{')?;
        let (namespace, hash) = (
            label(labels, "namespace")?,
            label(labels, "rollouts_pod_template_hash")?,
        );
        let window = |prefix: &str| rule.strip_prefix(prefix).and_then(seconds);
        let served = |window| self.gateway.served(&namespace, &hash, window);
        let value = if let Some(window) = window("serin:http_requests:increase") {
            served(window).len() as f64
        } else if let Some(window) = window("serin:http_error_rate:ratio_rate") {
            let all = served(window);
            all.iter().filter(|s| s.failed).count() as f64 / all.len() as f64
        } else if let Some(window) = window("serin:http_request_duration_seconds:p99_rate") {
            let mut all: Vec<Duration> = served(window).iter().map(|s| s.latency).collect();
            all.sort_unstable();
            let rank = (all.len() as f64 * 0.99).ceil() as usize;
            all.get(rank.max(1) - 1).map_or(f64::NAN, Duration::as_secs_f64)
        } else {
            return None;
        };
        Some(if self.gateway.knows(&namespace, &hash) {
            vec![value]
        } else {
            Vec::new()
        })
    }
}

/// A window as the rules' names have it: `30s`, `5m`.
fn seconds(text: &str) -> Option<Duration> {
    let (number, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    let number: u64 = number.parse().ok()?;
    match unit {
        "s" => Some(Duration::from_secs(number)),
        "m" => Some(Duration::from_secs(60 * number)),
        _ => None,
    }
}
