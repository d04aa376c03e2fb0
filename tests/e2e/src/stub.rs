//! A Prometheus that answers what a script says, at the addresses that the recordings name.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
};

use anyhow::Result;
use axum::{
    Router,
    extract::{Path, State},
    http::StatusCode,
    routing::get,
};
use serde_json::{Value, json};
use tokio::net::TcpListener;

/// Where the recorded templates look for it: `http://127.0.0.1:9095/prom/<source>`.
const ADDRESS: &str = "127.0.0.1:9095";

type Answers = Arc<Mutex<BTreeMap<String, Value>>>;

/// The running stub.
#[derive(Clone, Debug)]
pub(crate) struct Stub {
    answers: Answers,
}

impl Stub {
    /// One that is asked in the process only.
    pub(crate) fn new() -> Self {
        Self {
            answers: Answers::default(),
        }
    }

    pub(crate) async fn start() -> Result<Self> {
        let stub = Self::new();
        let router = Router::new()
            .route("/prom/{source}/api/v1/query", get(query).post(query))
            .with_state(stub.clone());
        let listener = TcpListener::bind(ADDRESS).await?;
        tokio::spawn(async move { axum::serve(listener, router).await });
        Ok(stub)
    }

    /// From now on that source answers this: a list is a vector, a number a scalar.
    pub(crate) fn answer(&self, source: &str, value: Value) {
        let mut answers = self.answers.lock().unwrap_or_else(PoisonError::into_inner);
        answers.insert(source.to_owned(), value);
    }

    /// The source that an address of [`Self::address`] names.
    pub(crate) fn source(url: &str) -> Option<String> {
        let (_, rest) = url.split_once(&format!("{ADDRESS}/prom/"))?;
        rest.split(['/', '?']).next().map(str::to_owned)
    }

    /// What a source answers: status and body.
    pub(crate) fn respond(&self, source: &str) -> (u16, Value) {
        let value = self
            .answers
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .get(source)
            .cloned();
        let sample = |v: &Value| json!([1_700_000_000, v.as_str().map_or_else(|| v.to_string(), str::to_owned)]);
        let data = match value {
            Some(Value::Array(list)) => json!({
                "resultType": "vector",
                "result": list.iter().map(|v| json!({"metric": {}, "value": sample(v)})).collect::<Vec<_>>(),
            }),
            Some(value) => json!({"resultType": "scalar", "result": sample(&value)}),
            None => {
                let error = json!({"status": "error", "errorType": "execution", "error": "no answer is set"});
                return (422, error);
            }
        };
        (200, json!({"status": "success", "data": data}))
    }

    /// The address of a source, for templates.
    pub(crate) fn address(source: &str) -> String {
        format!("http://{ADDRESS}/prom/{source}")
    }
}

async fn query(State(stub): State<Stub>, Path(source): Path<String>) -> (StatusCode, String) {
    let (status, body) = stub.respond(&source);
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    (status, body.to_string())
}
