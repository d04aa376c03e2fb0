//! Prometheus: instant and range queries over its HTTP API (compat 3.8), asked as Go's client asks them: POST with a form,
//! GET where a server does not take POST.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use reqwest::Url;
use serde::Deserialize;
use serde_json::Value;
use serin_api::provider::PrometheusMetric;
use serin_model::measure::{Answer, MeasureRequest, MetricValue, ProviderError, TimeRange};

use crate::{HttpRequest, HttpResponse, HttpTransport, Method, Provider, TransportError, coalesce::Coalesce};

/// Seconds to wait when the metric does not say (compat 3.8).
const DEFAULT_TIMEOUT: u64 = 30;
/// An answer longer than this is refused: it is a query that forgot to aggregate.
const MAX_BYTES: usize = 8 << 20;

/// Asks Prometheus and what speaks its API (Thanos, Mimir, VictoriaMetrics).
pub struct Prometheus {
    default_address: Option<String>,
    transport: Arc<dyn HttpTransport>,
    shared: Coalesce<Key, Result<Answer, ProviderError>>,
}

/// Everything that makes two questions the same one.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Key {
    url: String,
    query: String,
    range: Option<(DateTime<Utc>, DateTime<Utc>, Duration)>,
    headers: Vec<(String, String)>,
    basic_auth: Option<(String, String)>,
    timeout: Duration,
    insecure: bool,
}

impl Prometheus {
    /// A provider that asks `default_address` where a metric names none.
    pub fn new(default_address: Option<String>, transport: Arc<dyn HttpTransport>) -> Self {
        Self {
            default_address: default_address.filter(|address| !address.trim().is_empty()),
            transport,
            shared: Coalesce::default(),
        }
    }
}

#[async_trait]
impl Provider for Prometheus {
    async fn measure(&self, request: &MeasureRequest) -> Result<Answer, ProviderError> {
        let metric = request
            .provider
            .prometheus
            .as_ref()
            .ok_or_else(|| ProviderError::new("the metric does not ask Prometheus"))?;
        let question = Question::new(metric, request, self.default_address.as_deref())?;
        let transport = Arc::clone(&self.transport);
        let second = request.at.timestamp();
        let key = question.key();
        self.shared
            .get(second, key, || async move { question.ask(transport.as_ref()).await })
            .await
    }
}

/// One question, ready to be sent.
struct Question {
    url: Url,
    /// The address as people wrote it, without a password.
    shown: String,
    query: String,
    at: DateTime<Utc>,
    range: Option<TimeRange>,
    headers: Vec<(String, String)>,
    basic_auth: Option<(String, String)>,
    timeout: Duration,
    insecure: bool,
}

impl Question {
    fn new(
        metric: &PrometheusMetric,
        request: &MeasureRequest,
        default_address: Option<&str>,
    ) -> Result<Self, ProviderError> {
        let address = metric.address.as_deref().filter(|a| !a.trim().is_empty()).or(default_address).ok_or_else(|| {
            ProviderError::new(
                "prometheus address is not configured: set provider.prometheus.address in the metric, or ARGO_ROLLOUTS_PROMETHEUS_ADDRESS for the controller",
            )
        })?;
        let url = parse_address(address.trim())?;
        let shown = shown_address(&url);
        let fail = |text: &str| ProviderError::new(format!("Prometheus at {shown}: {text}"));
        if metric.query.as_deref().is_none_or(|query| query.trim().is_empty()) {
            return Err(fail("provider.prometheus.query is empty"));
        }
        let mut basic_auth = None;
        if let Some(auth) = &metric.authentication {
            for (name, config) in [("oauth2", &auth.oauth2), ("sigv4", &auth.sigv4)] {
                if config.as_ref().is_some_and(is_set) {
                    return Err(fail(&format!(
                        "authentication.{name} is not supported yet; use basicAuth or headers"
                    )));
                }
            }
            if let Some(basic) = &auth.basic_auth {
                let name = basic.username.clone().unwrap_or_default();
                let password = basic.password.clone().unwrap_or_default();
                basic_auth = (!name.is_empty() || !password.is_empty()).then_some((name, password));
            }
        }
        let timeout = match metric.timeout {
            None | Some(0) => DEFAULT_TIMEOUT,
            Some(seconds) => u64::try_from(seconds).map_err(|_| fail("prometheus timeout should not be negative"))?,
        };
        let mut url = url;
        let endpoint = if request.range.is_some() {
            "api/v1/query_range"
        } else {
            "api/v1/query"
        };
        url.set_path(&format!("{}/{endpoint}", url.path().trim_end_matches('/')));
        Ok(Self {
            shown,
            url,
            query: metric.query.clone().unwrap_or_default(),
            at: request.at,
            range: request.range,
            headers: metric
                .headers
                .iter()
                .flatten()
                .map(|h| (h.key.clone(), h.value.clone()))
                .collect(),
            basic_auth,
            timeout: Duration::from_secs(timeout),
            insecure: metric.insecure,
        })
    }

    fn key(&self) -> Key {
        Key {
            url: self.url.to_string(),
            query: self.query.clone(),
            range: self.range.map(|range| (range.start, range.end, range.step)),
            headers: self.headers.clone(),
            basic_auth: self.basic_auth.clone(),
            timeout: self.timeout,
            insecure: self.insecure,
        }
    }

    fn fail(&self, text: impl std::fmt::Display) -> ProviderError {
        ProviderError::new(format!("{text} (Prometheus at {})", self.shown))
    }

    fn parameters(&self) -> Vec<(&'static str, String)> {
        let mut out = vec![("query", self.query.clone())];
        match self.range {
            Some(range) => {
                out.push(("start", timestamp(range.start)));
                out.push(("end", timestamp(range.end)));
                out.push(("step", range.step.as_secs_f64().to_string()));
            }
            None => out.push(("time", timestamp(self.at))),
        }
        out.push(("timeout", format!("{}s", self.timeout.as_secs())));
        out
    }

    fn request(&self, method: Method) -> HttpRequest {
        let mut encoded = self.url.clone();
        encoded.query_pairs_mut().extend_pairs(self.parameters());
        let mut form = self.url.clone();
        form.set_query(None);
        form.query_pairs_mut().extend_pairs(self.parameters());
        let (url, form) = match method {
            Method::Get => (encoded, None),
            Method::Post => (self.url.clone(), form.query().map(str::to_owned)),
        };
        HttpRequest {
            method,
            url: url.to_string(),
            headers: self.headers.clone(),
            basic_auth: self.basic_auth.clone(),
            form,
            timeout: self.timeout,
            insecure: self.insecure,
            max_bytes: MAX_BYTES,
        }
    }

    async fn send(&self, transport: &dyn HttpTransport, method: Method) -> Result<HttpResponse, ProviderError> {
        let sent = tokio::time::timeout(self.timeout, transport.send(self.request(method))).await;
        sent.unwrap_or(Err(TransportError::Timeout)).map_err(|e| {
            let mut url = self.url.clone();
            url.set_query(None);
            ProviderError::new(format!("{} \"{}\": {e}", method.word(), shown_address(&url)))
        })
    }

    async fn ask(self, transport: &dyn HttpTransport) -> Result<Answer, ProviderError> {
        let mut response = self.send(transport, Method::Post).await?;
        if matches!(response.status, 405 | 501) {
            response = self.send(transport, Method::Get).await?;
        }
        self.read(&response)
    }

    fn read(&self, response: &HttpResponse) -> Result<Answer, ProviderError> {
        let status = response.status;
        match status {
            // These two carry an error of the API in their body.
            400 | 422 | 200..=299 => {}
            401 | 403 => {
                return Err(self.fail(format!("client_error: client error: {status}: check the credentials")));
            }
            400..=499 => return Err(self.fail(format!("client_error: client error: {status}"))),
            500..=599 => return Err(self.fail(format!("server_error: server error: {status}"))),
            _ => return Err(self.fail(format!("bad_response: bad response code {status}"))),
        }
        let reply: Reply = serde_json::from_slice(&response.body).map_err(|e| {
            self.fail(format!(
                "bad_response: status {status}, but the body is not a Prometheus answer: {e}"
            ))
        })?;
        if reply.status != "success" {
            let kind = reply.error_type.unwrap_or_default();
            return Err(self.fail(format!("{kind}: {}", reply.error.unwrap_or_default())));
        }
        if matches!(status, 400 | 422) {
            return Err(self.fail("bad_response: inconsistent body for response code"));
        }
        let data = reply
            .data
            .ok_or_else(|| self.fail("bad_response: the answer has no data"))?;
        let value = data.value().map_err(|text| self.fail(text))?;
        let mut answer = Answer::new(value);
        if !reply.warnings.is_empty() {
            let warnings: Vec<_> = reply.warnings.iter().map(|warning| format!("\"{warning}\"")).collect();
            answer.metadata = BTreeMap::from([("warnings".to_owned(), warnings.join(", "))]);
        }
        Ok(answer)
    }
}

/// A map with something in it: upstream's serialisation writes empty ones for what is not set.
fn is_set(config: &Value) -> bool {
    match config {
        Value::Null => false,
        Value::Object(fields) => fields.values().any(is_set),
        Value::Array(items) => !items.is_empty(),
        Value::String(text) => !text.is_empty(),
        Value::Bool(_) | Value::Number(_) => true,
    }
}

fn parse_address(address: &str) -> Result<Url, ProviderError> {
    let url = Url::parse(address);
    match url {
        Ok(url) if matches!(url.scheme(), "http" | "https") => Ok(url),
        // Not repeated in the text: it may hold credentials, and without a scheme it cannot be told where.
        _ => Err(ProviderError::new(
            "provider.prometheus.address is not an http or https URL; write it like http://prometheus.monitoring:9090",
        )),
    }
}

/// The address without the password and query that may stand in it.
fn shown_address(url: &Url) -> String {
    let mut shown = url.clone();
    if shown.password().is_some() {
        // Fails only for URLs without a host, and http ones have one.
        let _ = shown.set_password(Some("***"));
    }
    shown.set_query(None);
    shown.set_fragment(None);
    shown.to_string().trim_end_matches('/').to_owned()
}

/// Seconds with milliseconds, as Go's client writes times.
fn timestamp(at: DateTime<Utc>) -> String {
    format!("{}.{:03}", at.timestamp(), at.timestamp_subsec_millis())
}

// === What the API answers ===

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Reply {
    status: String,
    data: Option<Data>,
    error_type: Option<String>,
    error: Option<String>,
    #[serde(default)]
    warnings: Vec<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Data {
    result_type: String,
    result: Value,
}

/// A point: time and number as text.
type Sample = (f64, String);

#[derive(Deserialize)]
struct Series {
    value: Option<Sample>,
    values: Option<Vec<Sample>>,
}

fn number(sample: &Sample) -> Result<f64, String> {
    sample
        .1
        .parse()
        .map_err(|_| format!("bad_response: {:?} is not a number", sample.1))
}

impl Data {
    fn value(self) -> Result<MetricValue, String> {
        let bad = |e: serde_json::Error| format!("bad_response: the {} cannot be read: {e}", self.result_type);
        let histogram = || {
            "the query answers native histograms, which are not supported; ask for a number, for example with histogram_quantile".to_owned()
        };
        match self.result_type.as_str() {
            "scalar" => {
                let sample: Sample = serde_json::from_value(self.result).map_err(bad)?;
                number(&sample).map(MetricValue::Scalar)
            }
            "vector" => {
                let series: Vec<Series> = serde_json::from_value(self.result).map_err(bad)?;
                let numbers: Result<_, _> = series
                    .iter()
                    .map(|s| s.value.as_ref().ok_or_else(histogram).and_then(number))
                    .collect();
                numbers.map(MetricValue::Vector)
            }
            "matrix" => {
                let series: Vec<Series> = serde_json::from_value(self.result).map_err(bad)?;
                let mut numbers = Vec::new();
                for s in &series {
                    for sample in s.values.as_ref().ok_or_else(histogram)? {
                        numbers.push(number(sample)?);
                    }
                }
                Ok(MetricValue::Vector(numbers))
            }
            // A condition cannot compare it; upstream refuses it in these words.
            other => Err(format!("Prometheus metric type not supported: {other}")),
        }
    }
}
