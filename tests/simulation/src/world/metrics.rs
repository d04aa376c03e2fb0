//! A Prometheus that knows two questions: a version's share of errors, and its latency.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use serde_json::json;
use serin_kubesim::Cluster;
use serin_providers::{HttpRequest, HttpResponse, HttpTransport, TransportError};
use tokio::time::{Instant, sleep};

use crate::{
    history::{Done, Query},
    scenario::{FaultKind, Metrics},
    world::Traffic,
};

/// How long an answer takes.
const TIME: Duration = Duration::from_millis(5);

/// See the module.
pub struct Provider {
    cluster: Cluster,
    traffic: Arc<Mutex<Traffic>>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    asked: Vec<Query>,
    /// Until when it misbehaves, how, and which fault that is.
    trouble: Option<(Instant, Metrics, usize)>,
    struck: Vec<Done<FaultKind>>,
}

impl Provider {
    /// A provider that knows what users met.
    pub fn new(cluster: Cluster, traffic: Arc<Mutex<Traffic>>) -> Self {
        Self {
            cluster,
            traffic,
            state: Mutex::default(),
        }
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Misbehaves for a while, because of the fault of this index.
    pub fn trouble(&self, how: Metrics, during: Duration, index: usize) {
        self.state().trouble = Some((Instant::now() + during, how, index));
    }

    /// Behaves again.
    pub fn calm(&self) {
        self.state().trouble = None;
    }

    /// Everything that was asked.
    pub fn asked(&self) -> Vec<Query> {
        self.state().asked.clone()
    }

    /// When questions met a fault.
    pub fn struck(&self) -> Vec<Done<FaultKind>> {
        self.state().struck.clone()
    }

    async fn answer(&self, user: &str, request: &HttpRequest) -> Result<HttpResponse, TransportError> {
        let at = self.cluster.elapsed();
        let text = query(request);
        let trouble = {
            let mut state = self.state();
            let trouble = state.trouble.filter(|(until, ..)| Instant::now() < *until);
            if let Some((until, how, index)) = trouble {
                let ms = u64::try_from((until - Instant::now()).as_millis()).unwrap_or(0);
                state.struck.push(Done {
                    at,
                    index,
                    rollout: label(&text, "app").unwrap_or_default(),
                    what: FaultKind::Provider { how, ms },
                    note: String::new(),
                });
            }
            trouble.map(|(_, how, _)| how)
        };
        let place = {
            let mut state = self.state();
            state.asked.push(Query {
                at,
                user: user.to_owned(),
                text: text.clone(),
                answer: "timeout".to_owned(),
            });
            state.asked.len() - 1
        };
        sleep(if trouble == Some(Metrics::Slow) {
            600 * TIME
        } else {
            TIME
        })
        .await;
        let (words, answer) = match trouble {
            Some(Metrics::Hangs) => {
                sleep(request.timeout).await;
                ("timeout".to_owned(), Err(TransportError::Timeout))
            }
            Some(Metrics::Down) => (
                "refused".to_owned(),
                Err(TransportError::Connect {
                    address: "prometheus.monitoring:9090".into(),
                    reason: "connection refused".into(),
                }),
            ),
            Some(Metrics::Fails) => (
                "status 503".to_owned(),
                Ok(HttpResponse {
                    status: 503,
                    body: Vec::new(),
                }),
            ),
            Some(Metrics::NaN) => vector(&["NaN".to_owned()]),
            Some(Metrics::Empty) => vector(&[]),
            Some(Metrics::Slow) | None => vector(&self.value(&text)),
        };
        self.state().asked[place].answer = words;
        answer
    }

    /// The value of a query now; nothing when no series is there.
    fn value(&self, text: &str) -> Vec<String> {
        let (Some(app), Some(hash)) = (label(text, "app"), label(text, "hash")) else {
            return Vec::new();
        };
        let mut traffic = self.traffic.lock().unwrap_or_else(PoisonError::into_inner);
        let Some((requests, errors, latency)) = traffic.measured(self.cluster.elapsed(), &app, &hash, 8.0) else {
            return Vec::new();
        };
        let number = match (requests > 0.0, text.starts_with("quantile")) {
            (false, _) => f64::NAN,
            (true, true) => latency,
            (true, false) => errors / requests,
        };
        vec![number.to_string()]
    }
}

/// The text of the query in a request.
fn query(request: &HttpRequest) -> String {
    let form = request.form.as_deref().unwrap_or_default();
    let url = request.url.split_once('?').map_or("", |(_, q)| q);
    let pairs = form.split('&').chain(url.split('&'));
    let found = pairs
        .filter_map(|pair| pair.strip_prefix("query="))
        .next()
        .unwrap_or_default();
    decode(found)
}

/// Undoes the encoding of forms.
fn decode(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut i = 0;
    while i < bytes.len() {
        let hex = |range| text.get(range).and_then(|digits| u8::from_str_radix(digits, 16).ok());
        match bytes[i] {
            b'+' => out.push(b' '),
            b'%' => match hex(i + 1..i + 3) {
                Some(byte) => {
                    out.push(byte);
                    i += 2;
                }
                None => out.push(b'%'),
            },
            byte => out.push(byte),
        }
        i += 1;
    }
    String::from_utf8_lossy(&out).into_owned()
}

/// The value of a label in a query.
fn label(text: &str, name: &str) -> Option<String> {
    let (_, rest) = text.split_once(&format!("{name}=\""))?;
    rest.split_once('"').map(|(value, _)| value.to_owned())
}

fn vector(values: &[String]) -> (String, Result<HttpResponse, TransportError>) {
    let words = if values.is_empty() {
        "empty".to_owned()
    } else {
        values.join(" ")
    };
    let series: Vec<_> = values.iter().map(|v| json!({"metric": {}, "value": [0, v]})).collect();
    let body = json!({"status": "success", "data": {"resultType": "vector", "result": series}});
    (
        words,
        Ok(HttpResponse {
            status: 200,
            body: body.to_string().into_bytes(),
        }),
    )
}

/// The way from one process of the controller to the provider.
pub struct Transport {
    /// The process.
    pub user: String,
    /// Where it asks.
    pub provider: Arc<Provider>,
}

#[async_trait]
impl HttpTransport for Transport {
    async fn send(&self, request: HttpRequest) -> Result<HttpResponse, TransportError> {
        self.provider.answer(&self.user, &request).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_form_is_read_as_it_was_meant() {
        assert_eq!(
            decode("sum%28rate%28x%7Bapp%3D%22a%22%7D%5B8s%5D%29%29+%2B+1"),
            "sum(rate(x{app=\"a\"}[8s])) + 1"
        );
        assert_eq!(label("x{app=\"a\",hash=\"b c\"}", "hash").as_deref(), Some("b c"));
    }
}
