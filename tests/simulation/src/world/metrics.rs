//! A Prometheus that knows two questions: a version's share of errors, and its latency.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use serin_kubesim::Cluster;
use serin_providers::{HttpRequest, HttpResponse, HttpTransport, TransportError};
use tokio::time::{Instant, sleep};

use crate::{
    history::{Done, Query},
    scenario::{FaultKind, Metrics},
    world::{
        Traffic,
        prometheus::{self, label, query},
    },
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

    /// How much was asked.
    pub fn count(&self) -> usize {
        self.state().asked.len()
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
            Some(Metrics::NaN) => vector(&[f64::NAN]),
            Some(Metrics::Empty) => vector(&[]),
            Some(Metrics::Slow) | None => vector(&self.value(&text)),
        };
        self.state().asked[place].answer = words;
        answer
    }

    /// The value of a query now; nothing when no series is there.
    fn value(&self, text: &str) -> Vec<f64> {
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
        vec![number]
    }
}

/// An answer, and how it is written down.
fn vector(values: &[f64]) -> (String, Result<HttpResponse, TransportError>) {
    let words: Vec<String> = values.iter().map(f64::to_string).collect();
    let words = if words.is_empty() {
        "empty".to_owned()
    } else {
        words.join(" ")
    };
    (words, Ok(prometheus::vector(values)))
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
