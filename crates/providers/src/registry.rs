//! Finds the provider that a metric names, and asks the requests query along with it.

use std::sync::Arc;

use async_trait::async_trait;
use serin_api::provider::MetricProvider;
use serin_model::measure::{Answer, MeasureRequest, MeasureTask, MetricValue, Outcome, ProviderError};

use crate::{HttpTransport, Prometheus};

/// Something that answers questions.
#[async_trait]
pub trait Provider: Send + Sync {
    /// Asks once. Ends within the metric's timeout. Dropping the future drops the question.
    ///
    /// # Errors
    /// When there is no usable answer; the text names the provider and its address.
    async fn measure(&self, request: &MeasureRequest) -> Result<Answer, ProviderError>;
}

/// What the program knows about providers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ProviderSettings {
    /// Where Prometheus is when a metric does not say (`ARGO_ROLLOUTS_PROMETHEUS_ADDRESS`, compat 3.8).
    pub prometheus_address: Option<String>,
}

/// All providers.
pub struct Providers {
    prometheus: Prometheus,
}

impl Providers {
    /// Providers that go out through this transport.
    pub fn new(settings: ProviderSettings, transport: Arc<dyn HttpTransport>) -> Self {
        Self {
            prometheus: Prometheus::new(settings.prometheus_address, transport),
        }
    }

    /// Carries out one task: its question, and the requests query at the same time.
    pub async fn answer(&self, task: &MeasureTask) -> Outcome {
        let Some(requests) = &task.requests else {
            return self
                .measure(&task.request)
                .await
                .map_or_else(Outcome::Error, Outcome::Answer);
        };
        match futures::join!(self.measure(&task.request), self.measure(requests)) {
            (Err(e), _) => Outcome::Error(e),
            (_, Err(e)) => Outcome::Error(ProviderError::new(format!("requests query: {e}"))),
            (Ok(answer), Ok(requests)) => match count(&requests.value) {
                Some(n) => Outcome::Answer(Answer {
                    requests: Some(n),
                    ..answer
                }),
                None => Outcome::Error(ProviderError::new(format!(
                    "requests query: the answer {} is not a number of requests",
                    requests.text
                ))),
            },
        }
    }
}

/// All series together; series without data have had no requests.
fn count(value: &MetricValue) -> Option<f64> {
    let numbers = match value {
        MetricValue::Scalar(n) => std::slice::from_ref(n),
        MetricValue::Vector(numbers) => numbers,
        MetricValue::None => &[],
        MetricValue::Json(_) => return None,
    };
    // Not `sum()`: that of nothing is -0, and people read it.
    Some(numbers.iter().filter(|n| !n.is_nan()).fold(0.0, |all, n| all + n))
}

/// The name of each provider that is written in the metric but cannot be asked yet.
fn unsupported(provider: &MetricProvider) -> String {
    let named = [
        ("kayenta", provider.kayenta.is_some()),
        ("web", provider.web.is_some()),
        ("datadog", provider.datadog.is_some()),
        ("wavefront", provider.wavefront.is_some()),
        ("newRelic", provider.new_relic.is_some()),
        ("job", provider.job.is_some()),
        ("cloudWatch", provider.cloud_watch.is_some()),
        ("graphite", provider.graphite.is_some()),
        ("influxdb", provider.influxdb.is_some()),
        ("skywalking", provider.skywalking.is_some()),
    ];
    if let Some((name, _)) = named.into_iter().find(|(_, set)| *set) {
        return format!("metric provider `{name}` is not supported yet; use `prometheus`");
    }
    match provider.plugin.iter().flatten().next() {
        Some((name, _)) => format!("metric provider plugin `{name}` is not supported yet; use `prometheus`"),
        None => "no provider specified".to_owned(),
    }
}

#[async_trait]
impl Provider for Providers {
    async fn measure(&self, request: &MeasureRequest) -> Result<Answer, ProviderError> {
        if request.provider.prometheus.is_some() {
            self.prometheus.measure(request).await
        } else {
            Err(ProviderError::new(unsupported(&request.provider)))
        }
    }
}
