//! Prometheus by script: what is answered to which query from when on, and who asked what.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
    time::Duration,
};

use async_trait::async_trait;
use serde_json::{Value, json};
use serin_providers::{HttpRequest, HttpResponse, HttpTransport, TransportError};
use tokio::time::Instant;

/// By a word of the address or query: from when on which answer is given.
type Script = BTreeMap<String, Vec<(u128, Value)>>;

/// How long an answer takes.
const LATENCY: Duration = Duration::from_millis(5);

/// See the module.
#[derive(Clone, Debug)]
pub struct Metrics {
    answers: Arc<Mutex<Script>>,
    asked: Arc<Mutex<Vec<(u128, String)>>>,
    started: Instant,
}

impl Metrics {
    /// Nothing is answered yet; time begins now.
    pub fn new() -> Self {
        Self {
            answers: Arc::default(),
            asked: Arc::default(),
            started: Instant::now(),
        }
    }

    /// From `at` milliseconds on, queries whose address or text contains `word` are answered with this: a list is a
    /// vector, a number a scalar, `{"!": 503}` a status, null a refused connection.
    pub fn set(&self, word: &str, at: u128, answer: Value) {
        let mut answers = self.answers.lock().unwrap();
        answers.entry(word.to_owned()).or_default().push((at, answer));
    }

    /// Every query so far.
    pub fn asked(&self) -> Vec<(u128, String)> {
        self.asked.lock().unwrap().clone()
    }
}

#[async_trait]
impl HttpTransport for Metrics {
    async fn send(&self, request: HttpRequest) -> Result<HttpResponse, TransportError> {
        let query = format!("{} {}", request.url, request.form.unwrap_or_default());
        let asked = (self.started.elapsed().as_millis(), query.clone());
        self.asked.lock().unwrap().push(asked);
        tokio::time::sleep(LATENCY).await;
        let now = self.started.elapsed().as_millis();
        let answers = self.answers.lock().unwrap().clone();
        let answer = answers
            .iter()
            .find(|(word, _)| query.contains(*word))
            .and_then(|(_, list)| list.iter().rfind(|(at, _)| *at <= now));
        let (kind, result) = match answer.map(|(_, answer)| answer) {
            None | Some(Value::Null) => {
                let host = request.url.split('/').nth(2).unwrap_or_default().to_owned();
                return Err(TransportError::Connect {
                    address: host,
                    reason: "connection refused".into(),
                });
            }
            Some(Value::Object(failure)) => {
                let status = failure.get("!").and_then(Value::as_u64).unwrap_or(500);
                return Ok(HttpResponse {
                    status: u16::try_from(status).unwrap_or(500),
                    body: Vec::new(),
                });
            }
            Some(Value::Array(values)) => {
                let series: Vec<Value> = values
                    .iter()
                    .map(|v| json!({"metric": {}, "value": [0, number(v)]}))
                    .collect();
                ("vector", Value::Array(series))
            }
            Some(scalar) => ("scalar", json!([0, number(scalar)])),
        };
        let body = json!({"status": "success", "data": {"resultType": kind, "result": result}});
        Ok(HttpResponse {
            status: 200,
            body: body.to_string().into_bytes(),
        })
    }
}

/// A number as Prometheus writes it.
fn number(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}
