//! The Prometheus provider against answers from memory: what is sent, what is made of each answer, who is blamed.

#![allow(clippy::unwrap_used, reason = "a test that panics has failed")]

use std::{
    collections::VecDeque,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use chrono::{DateTime, TimeDelta, Utc};
use serde_json::{Value, json};
use serin_api::provider::MetricProvider;
use serin_model::measure::{MeasureRequest, MeasureTask, MetricValue, Outcome, TimeRange};
use serin_providers::{
    HttpRequest, HttpResponse, HttpTransport, Method, Provider, ProviderSettings, Providers, TransportError,
};

type Reply = Result<HttpResponse, TransportError>;

/// Answers in turn (the last one again and again) and remembers what it was asked.
struct Memory {
    replies: Mutex<VecDeque<Reply>>,
    asked: Mutex<Vec<HttpRequest>>,
    silent: AtomicBool,
}

impl Memory {
    fn new(replies: impl IntoIterator<Item = Reply>) -> Arc<Self> {
        Arc::new(Self {
            replies: Mutex::new(replies.into_iter().collect()),
            asked: Mutex::default(),
            silent: AtomicBool::new(false),
        })
    }

    fn asked(&self) -> Vec<HttpRequest> {
        self.asked.lock().unwrap().clone()
    }
}

#[async_trait]
impl HttpTransport for Memory {
    async fn send(&self, request: HttpRequest) -> Reply {
        self.asked.lock().unwrap().push(request);
        if self.silent.load(Ordering::Relaxed) {
            std::future::pending::<()>().await;
        }
        tokio::task::yield_now().await;
        let mut replies = self.replies.lock().unwrap();
        if replies.len() > 1 {
            replies.pop_front().unwrap()
        } else {
            replies.front().unwrap().clone()
        }
    }
}

fn status(status: u16, body: &str) -> Reply {
    Ok(HttpResponse {
        status,
        body: body.as_bytes().to_vec(),
    })
}

fn found(kind: &str, result: Value) -> Reply {
    let body = json!({"status": "success", "data": {"resultType": kind, "result": result}});
    status(200, &body.to_string())
}

fn now() -> DateTime<Utc> {
    DateTime::from_timestamp(1_700_000_000, 250_000_000).unwrap()
}

fn request(prometheus: Value) -> MeasureRequest {
    let provider: MetricProvider = serde_json::from_value(json!({ "prometheus": prometheus })).unwrap();
    MeasureRequest {
        provider,
        at: now(),
        range: None,
    }
}

fn plain() -> MeasureRequest {
    request(json!({"address": "http://prom:9090", "query": "up"}))
}

fn providers(transport: &Arc<Memory>) -> Providers {
    Providers::new(
        ProviderSettings::default(),
        Arc::clone(transport) as Arc<dyn HttpTransport>,
    )
}

async fn ask(reply: Reply) -> Result<(MetricValue, String), String> {
    let answer = providers(&Memory::new([reply])).measure(&plain()).await;
    answer.map(|a| (a.value, a.text)).map_err(|e| e.message)
}

#[tokio::test]
async fn scalars_vectors_and_ranges_become_numbers_and_gos_text() {
    let cases = [
        (found("scalar", json!([1, "3"])), "3"),
        (found("vector", json!([])), "[]"),
        (
            found(
                "vector",
                json!([{"metric": {}, "value": [1, "0.01"]}, {"metric": {}, "value": [1, "0.02"]}]),
            ),
            "[0.01,0.02]",
        ),
        (found("vector", json!([{"metric": {}, "value": [1, "NaN"]}])), "[NaN]"),
        (
            found(
                "vector",
                json!([{"metric": {}, "value": [1, "+Inf"]}, {"metric": {}, "value": [1.5, "-Inf"]}]),
            ),
            "[+Inf,-Inf]",
        ),
        (
            found(
                "vector",
                json!([{"metric": {}, "value": [1, "1.234e-06"]}, {"metric": {}, "value": [1, "1e+21"]}]),
            ),
            "[0.000001234,1000000000000000000000]",
        ),
        (
            found(
                "matrix",
                json!([{"metric": {}, "values": [[1, "1"], [2, "2"]]}, {"metric": {}, "values": [[1, "3"]]}]),
            ),
            "[1,2,3]",
        ),
    ];
    for (reply, text) in cases {
        assert_eq!(ask(reply).await.unwrap().1, text);
    }
    assert_eq!(
        ask(found("scalar", json!([1, "3"]))).await.unwrap().0,
        MetricValue::Scalar(3.0)
    );
}

#[tokio::test]
async fn answers_that_are_no_numbers_are_errors_that_say_what_to_do() {
    let histogram = json!([{"metric": {}, "histogram": [1, {"count": "1"}]}]);
    assert!(
        ask(found("vector", histogram))
            .await
            .unwrap_err()
            .contains("native histograms")
    );
    let text = ask(found("string", json!([1, "abc"]))).await.unwrap_err();
    assert!(
        text.starts_with("Prometheus metric type not supported: string"),
        "{text}"
    );
    let text = ask(found("scalar", json!([1, "abc"]))).await.unwrap_err();
    assert!(text.starts_with("bad_response: \"abc\" is not a number"), "{text}");
}

#[tokio::test]
async fn a_failing_prometheus_is_named_with_its_status_and_its_own_words() {
    let bad = r#"{"status":"error","errorType":"bad_data","error":"invalid parameter \"query\": 1:3: parse error"}"#;
    for (reply, expected) in [
        (
            status(500, "boom"),
            "server_error: server error: 500 (Prometheus at http://prom:9090)",
        ),
        (
            status(503, ""),
            "server_error: server error: 503 (Prometheus at http://prom:9090)",
        ),
        (
            status(404, "{}"),
            "client_error: client error: 404 (Prometheus at http://prom:9090)",
        ),
        (
            status(302, ""),
            "bad_response: bad response code 302 (Prometheus at http://prom:9090)",
        ),
        (
            status(400, bad),
            "bad_data: invalid parameter \"query\": 1:3: parse error (Prometheus at http://prom:9090)",
        ),
        (
            Err(TransportError::Connect {
                address: "10.0.0.9:9090".into(),
                reason: "connection refused".into(),
            }),
            "Post \"http://prom:9090/api/v1/query\": dial tcp 10.0.0.9:9090: connect: connection refused",
        ),
        (
            Err(TransportError::Timeout),
            "Post \"http://prom:9090/api/v1/query\": context deadline exceeded",
        ),
    ] {
        assert_eq!(ask(reply).await.unwrap_err(), expected);
    }
    let text = ask(status(200, "<html>login</html>")).await.unwrap_err();
    assert!(
        text.starts_with("bad_response: status 200, but the body is not a Prometheus answer"),
        "{text}"
    );
    assert!(
        !text.contains("login"),
        "a body may hold anything and is not repeated: {text}"
    );
}

#[tokio::test]
async fn the_question_is_a_form_with_time_and_timeout_and_the_metrics_headers() {
    let transport = Memory::new([found("scalar", json!([1, "1"]))]);
    let request = request(json!({
        "address": "http://prom:9090/prefix/", "query": "sum(rate(x{a=\"b c\"}[5m]))", "timeout": 7, "insecure": true,
        "headers": [{"key": "X-Scope-OrgID", "value": "team"}],
        "authentication": {"basicAuth": {"username": "u", "password": "p"}, "oauth2": {}, "sigv4": {"region": ""}},
    }));
    providers(&transport).measure(&request).await.unwrap();
    let sent = transport.asked().remove(0);
    assert_eq!(
        (sent.method, sent.url.as_str()),
        (Method::Post, "http://prom:9090/prefix/api/v1/query")
    );
    assert_eq!(
        sent.form.as_deref(),
        Some("query=sum%28rate%28x%7Ba%3D%22b+c%22%7D%5B5m%5D%29%29&time=1700000000.250&timeout=7s")
    );
    assert_eq!(sent.headers, [("X-Scope-OrgID".to_owned(), "team".to_owned())]);
    assert_eq!(sent.basic_auth, Some(("u".to_owned(), "p".to_owned())));
    assert!(sent.insecure && sent.timeout == Duration::from_secs(7));
}

#[tokio::test]
async fn a_range_is_asked_with_start_end_and_step() {
    let transport = Memory::new([found("matrix", json!([]))]);
    let range = TimeRange {
        start: now() - TimeDelta::minutes(5),
        end: now(),
        step: Duration::from_secs(15),
    };
    let request = MeasureRequest {
        range: Some(range),
        ..plain()
    };
    providers(&transport).measure(&request).await.unwrap();
    let sent = transport.asked().remove(0);
    assert_eq!(sent.url, "http://prom:9090/api/v1/query_range");
    assert_eq!(
        sent.form.as_deref(),
        Some("query=up&start=1699999700.250&end=1700000000.250&step=15&timeout=30s")
    );
}

#[tokio::test]
async fn a_server_that_does_not_take_post_is_asked_by_get() {
    let transport = Memory::new([status(405, ""), found("scalar", json!([1, "1"]))]);
    providers(&transport).measure(&plain()).await.unwrap();
    let second = transport.asked().remove(1);
    assert_eq!((second.method, second.form), (Method::Get, None));
    assert_eq!(
        second.url,
        "http://prom:9090/api/v1/query?query=up&time=1700000000.250&timeout=30s"
    );
}

#[tokio::test]
async fn warnings_are_kept_with_the_measurement() {
    let body = json!({"status": "success", "warnings": ["slow store", "partial"], "data": {"resultType": "scalar", "result": [1, "1"]}});
    let transport = Memory::new([status(200, &body.to_string())]);
    let answer = providers(&transport).measure(&plain()).await.unwrap();
    assert_eq!(answer.metadata["warnings"], "\"slow store\", \"partial\"");
}

#[tokio::test]
async fn the_default_address_is_used_where_the_metric_names_none() {
    let transport = Memory::new([found("scalar", json!([1, "1"]))]);
    let without = request(json!({"query": "up"}));
    let text = providers(&transport).measure(&without).await.unwrap_err().message;
    assert!(text.contains("ARGO_ROLLOUTS_PROMETHEUS_ADDRESS"), "{text}");
    let settings = ProviderSettings {
        prometheus_address: Some("http://default:9090".to_owned()),
    };
    let providers = Providers::new(settings, Arc::clone(&transport) as Arc<dyn HttpTransport>);
    providers.measure(&without).await.unwrap();
    assert_eq!(transport.asked()[0].url, "http://default:9090/api/v1/query");
}

#[tokio::test]
async fn what_cannot_be_asked_is_said_without_asking_and_without_passwords() {
    for (prometheus, expected) in [
        (
            json!({"address": "prom:9090", "query": "up"}),
            "is not an http or https URL",
        ),
        (
            json!({"address": "file:///etc/passwd", "query": "up"}),
            "is not an http or https URL",
        ),
        (json!({"address": "http://prom", "query": " "}), "query is empty"),
        (
            json!({"address": "http://prom", "query": "up", "timeout": -1}),
            "timeout should not be negative",
        ),
        (
            json!({"address": "http://u:hunter2@prom", "query": "up", "authentication": {"oauth2": {"tokenUrl": "http://t"}}}),
            "authentication.oauth2 is not supported yet",
        ),
        (
            json!({"address": "http://prom", "query": "up", "authentication": {"sigv4": {"region": "eu"}}}),
            "authentication.sigv4 is not supported yet",
        ),
    ] {
        let transport = Memory::new([found("scalar", json!([1, "1"]))]);
        let text = providers(&transport)
            .measure(&request(prometheus))
            .await
            .unwrap_err()
            .message;
        assert!(text.contains(expected) && !text.contains("hunter2"), "{text}");
        assert!(transport.asked().is_empty());
    }
    let job: MetricProvider = serde_json::from_value(json!({"job": {"spec": {}}})).unwrap();
    let text = providers(&Memory::new([]))
        .measure(&MeasureRequest {
            provider: job,
            ..plain()
        })
        .await
        .unwrap_err();
    assert_eq!(
        text.message,
        "metric provider `job` is not supported yet; use `prometheus`"
    );
    let down = Memory::new([status(500, "")]);
    let text = providers(&down)
        .measure(&request(json!({"address": "http://u:hunter2@prom", "query": "up"})))
        .await;
    assert_eq!(
        text.unwrap_err().message,
        "server_error: server error: 500 (Prometheus at http://u:***@prom)"
    );
}

#[tokio::test(start_paused = true)]
async fn a_prometheus_that_never_answers_is_given_up_after_the_timeout() {
    let transport = Memory::new([]);
    transport.silent.store(true, Ordering::Relaxed);
    let begun = tokio::time::Instant::now();
    let text = providers(&transport).measure(&plain()).await.unwrap_err().message;
    assert_eq!(
        text,
        "Post \"http://prom:9090/api/v1/query\": context deadline exceeded"
    );
    assert_eq!(begun.elapsed().as_secs(), 30);
}

#[tokio::test]
async fn the_same_question_in_the_same_second_is_asked_once() {
    let transport = Memory::new([found("scalar", json!([1, "1"]))]);
    let providers = providers(&transport);
    let first = plain();
    let same_second = MeasureRequest {
        at: now() + TimeDelta::milliseconds(700),
        ..plain()
    };
    let next_second = MeasureRequest {
        at: now() + TimeDelta::seconds(1),
        ..plain()
    };
    let other_tenant = request(
        json!({"address": "http://prom:9090", "query": "up", "headers": [{"key": "X-Scope-OrgID", "value": "b"}]}),
    );
    let (a, b, c, d) = futures::join!(
        providers.measure(&first),
        providers.measure(&same_second),
        providers.measure(&next_second),
        providers.measure(&other_tenant),
    );
    assert!([a, b, c, d].iter().all(Result::is_ok));
    assert_eq!(transport.asked().len(), 3);
}

#[tokio::test]
async fn an_asker_that_goes_away_does_not_take_the_answer_with_it() {
    let transport = Memory::new([found("scalar", json!([1, "1"]))]);
    let providers = providers(&transport);
    let request = plain();
    let mut first = Box::pin(providers.measure(&request));
    assert!(futures::poll!(&mut first).is_pending());
    drop(first);
    assert!(providers.measure(&request).await.is_ok());
    assert_eq!(transport.asked().len(), 1);
}

#[tokio::test]
async fn requests_are_counted_along_with_the_metric() {
    let task = |requests| MeasureTask {
        metric: "m".to_owned(),
        number: 0,
        request: plain(),
        requests: Some(requests),
        resume: None,
    };
    let requests = request(json!({"address": "http://prom:9090", "query": "sum(requests)"}));
    let two = json!([{"metric": {}, "value": [1, "4"]}, {"metric": {}, "value": [1, "NaN"]}, {"metric": {}, "value": [1, "3.5"]}]);
    let transport = Memory::new([found("scalar", json!([1, "1"])), found("vector", two)]);
    let Outcome::Answer(answer) = providers(&transport).answer(&task(requests.clone())).await else {
        panic!("no answer")
    };
    assert_eq!((answer.value, answer.requests), (MetricValue::Scalar(1.0), Some(7.5)));
    let transport = Memory::new([found("scalar", json!([1, "1"])), found("vector", json!([]))]);
    let Outcome::Answer(answer) = providers(&transport).answer(&task(requests.clone())).await else {
        panic!("no answer")
    };
    assert_eq!(answer.requests, Some(0.0));
    let transport = Memory::new([found("scalar", json!([1, "1"])), status(500, "")]);
    let Outcome::Error(error) = providers(&transport).answer(&task(requests)).await else {
        panic!("no error")
    };
    assert_eq!(
        error.message,
        "requests query: server_error: server error: 500 (Prometheus at http://prom:9090)"
    );
}
