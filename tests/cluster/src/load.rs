//! A load generator: steady requests through the gateway, each answer recorded.
//!
//! Open loop: requests go out at their times whether or not earlier ones are answered, as users' do. Connections are
//! kept alive and used again.

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use chrono::{DateTime, Utc};
use http_body_util::{BodyExt, Empty};
use hyper::client::conn::http1::SendRequest;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::time::Instant;

use crate::clock::now;
use crate::node::{AbortOnDrop, HASH_HEADER, POD_HEADER};

/// What to send where.
#[derive(Clone, Debug)]
pub struct LoadOptions {
    /// The gateway's address.
    pub target: SocketAddr,
    /// The Host header, by which the gateway finds the route.
    pub host: String,
    /// The path.
    pub path: String,
    /// Requests per second.
    pub rps: f64,
    /// When an answer counts as missing.
    pub timeout: Duration,
}

impl LoadOptions {
    /// GET / at the given rate, 10 s timeout.
    pub fn new(target: SocketAddr, host: impl Into<String>, rps: f64) -> Self {
        Self {
            target,
            host: host.into(),
            path: "/".into(),
            rps,
            timeout: Duration::from_secs(10),
        }
    }
}

/// How a request ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// An answer with this status.
    Status(u16),
    /// No answer, and why.
    Failed(Arc<str>),
}

/// One request.
#[derive(Clone, Debug)]
pub struct Answer {
    /// When it was due to be sent.
    pub at: DateTime<Utc>,
    /// Until the whole answer was there.
    pub latency: Duration,
    /// How it ended.
    pub outcome: Outcome,
    /// The pod that answered. None: the gateway itself, or nobody.
    pub pod: Option<Arc<str>>,
    /// The revision's hash of that pod; None when the pod has none.
    pub hash: Option<Arc<str>>,
}

impl Answer {
    /// Whether a user would call it a failure: no answer, or a 5xx.
    pub fn failed(&self) -> bool {
        !matches!(self.outcome, Outcome::Status(code) if code < 500)
    }
}

/// A running load. Dropping it stops it.
#[derive(Debug)]
pub struct Load {
    answers: Arc<Mutex<Vec<Answer>>>,
    _task: AbortOnDrop,
}

impl Load {
    /// Starts sending at once.
    pub fn start(options: LoadOptions) -> Self {
        Self::run(|answers| send_all(options, answers))
    }

    /// A load whose requests somebody else makes: for a gateway that is no socket.
    pub fn run<F>(send: impl FnOnce(Arc<Mutex<Vec<Answer>>>) -> F) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let answers = Arc::new(Mutex::new(Vec::new()));
        let task = AbortOnDrop(tokio::spawn(send(answers.clone())));
        Self { answers, _task: task }
    }

    /// All requests that have ended so far.
    pub fn report(&self) -> Report {
        Report {
            answers: self.answers.lock().unwrap_or_else(PoisonError::into_inner).clone(),
        }
    }

    /// How many requests have ended so far.
    pub fn count(&self) -> usize {
        self.answers.lock().unwrap_or_else(PoisonError::into_inner).len()
    }

    /// The requests that were sent in `from..to` and have ended.
    pub fn between(&self, from: DateTime<Utc>, to: DateTime<Utc>) -> Report {
        self.report().between(from, to)
    }

    /// Waits until `more` further requests have ended, and reports these.
    pub async fn next(&self, more: usize) -> Report {
        let from = self.count();
        while self.count() < from + more {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        Report {
            answers: self.report().answers.split_off(from),
        }
    }

    /// Stops sending and reports everything. Requests under way are given up and not counted.
    pub fn stop(self) -> Report {
        self.report()
    }
}

/// Requests that have ended, and what to ask about them.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// In the order in which they ended.
    pub answers: Vec<Answer>,
}

impl Report {
    /// Those sent in `from..to`.
    pub fn between(&self, from: DateTime<Utc>, to: DateTime<Utc>) -> Self {
        Self {
            answers: self
                .answers
                .iter()
                .filter(|a| from <= a.at && a.at < to)
                .cloned()
                .collect(),
        }
    }

    /// How many there are.
    pub fn total(&self) -> usize {
        self.answers.len()
    }

    /// The failed ones.
    pub fn failures(&self) -> Vec<&Answer> {
        self.answers.iter().filter(|answer| answer.failed()).collect()
    }

    /// How many by status; `error` stands for no answer.
    pub fn by_code(&self) -> BTreeMap<String, usize> {
        self.count_by(|answer| match &answer.outcome {
            Outcome::Status(code) => code.to_string(),
            Outcome::Failed(_) => "error".into(),
        })
    }

    /// How many by revision; `-` stands for no pod or a pod without hash.
    pub fn by_hash(&self) -> BTreeMap<String, usize> {
        self.count_by(|answer| answer.hash.as_deref().unwrap_or("-").to_owned())
    }

    /// How many by pod; `-` stands for no pod.
    pub fn by_pod(&self) -> BTreeMap<String, usize> {
        self.count_by(|answer| answer.pod.as_deref().unwrap_or("-").to_owned())
    }

    /// The share (0 to 1) of requests that this revision answered. 0 when there are none.
    pub fn share(&self, hash: &str) -> f64 {
        let hits = self
            .answers
            .iter()
            .filter(|answer| answer.hash.as_deref() == Some(hash))
            .count();
        if self.answers.is_empty() {
            0.0
        } else {
            hits as f64 / self.answers.len() as f64
        }
    }

    /// Only the requests that this revision answered.
    pub fn of(&self, hash: &str) -> Self {
        Self {
            answers: self
                .answers
                .iter()
                .filter(|answer| answer.hash.as_deref() == Some(hash))
                .cloned()
                .collect(),
        }
    }

    /// The latency that this share (0 to 1) of the answered requests did not exceed (nearest rank). None without any.
    pub fn quantile(&self, share: f64) -> Option<Duration> {
        let mut latencies: Vec<Duration> = self
            .answers
            .iter()
            .filter(|answer| matches!(answer.outcome, Outcome::Status(_)))
            .map(|answer| answer.latency)
            .collect();
        latencies.sort_unstable();
        let rank = (share.clamp(0.0, 1.0) * latencies.len() as f64).ceil() as usize;
        latencies.get(rank.max(1) - 1).copied()
    }

    fn count_by(&self, key: impl Fn(&Answer) -> String) -> BTreeMap<String, usize> {
        self.answers.iter().fold(BTreeMap::new(), |mut counts, answer| {
            *counts.entry(key(answer)).or_default() += 1;
            counts
        })
    }
}

/// `1000 requests, 3 failed (200: 997, 503: 3), by revision 5d8: 950, 7f9: 50; p50 6 ms, p99 9 ms`
impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let list = |counts: BTreeMap<String, usize>| {
            counts
                .iter()
                .map(|(key, count)| format!("{key}: {count}"))
                .collect::<Vec<_>>()
                .join(", ")
        };
        write!(
            f,
            "{} requests, {} failed ({})",
            self.total(),
            self.failures().len(),
            list(self.by_code())
        )?;
        write!(f, ", by revision {}", list(self.by_hash()))?;
        if let (Some(median), Some(tail)) = (self.quantile(0.5), self.quantile(0.99)) {
            write!(f, "; p50 {} ms, p99 {} ms", median.as_millis(), tail.as_millis())?;
        }
        Ok(())
    }
}

type Idle = Arc<Mutex<Vec<SendRequest<Empty<Bytes>>>>>;

async fn send_all(options: LoadOptions, answers: Arc<Mutex<Vec<Answer>>>) {
    let idle: Idle = Arc::default();
    let options = Arc::new(options);
    let mut ticks = tokio::time::interval(Duration::from_secs_f64(1.0 / options.rps.clamp(0.001, 100_000.0)));
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Burst);
    let mut under_way = tokio::task::JoinSet::new();
    loop {
        ticks.tick().await;
        while under_way.try_join_next().is_some() {}
        let (options, idle, answers) = (options.clone(), idle.clone(), answers.clone());
        under_way.spawn(async move {
            let (at, begin) = (now(), Instant::now());
            let result = tokio::time::timeout(options.timeout, send(&options, &idle)).await;
            let mut answer = Answer {
                at,
                latency: begin.elapsed(),
                outcome: Outcome::Failed("timeout".into()),
                pod: None,
                hash: None,
            };
            match result {
                Ok(Ok((status, pod, hash))) => {
                    answer.outcome = Outcome::Status(status);
                    (answer.pod, answer.hash) = (pod, hash);
                }
                Ok(Err(why)) => answer.outcome = Outcome::Failed(why.into()),
                Err(_) => {}
            }
            answers.lock().unwrap_or_else(PoisonError::into_inner).push(answer);
        });
    }
}

type Got = (u16, Option<Arc<str>>, Option<Arc<str>>);

async fn send(options: &LoadOptions, idle: &Idle) -> Result<Got, String> {
    let mut sender = match take(idle) {
        Some(sender) => sender,
        None => connect(options.target).await?,
    };
    let request = http::Request::get(&options.path)
        .header(http::header::HOST, &options.host)
        .header(http::header::USER_AGENT, "serin-load")
        .body(Empty::new())
        .map_err(|e| e.to_string())?;
    let response = sender.send_request(request).await.map_err(|e| chain(&e))?;
    let header = |name: &str| {
        response
            .headers()
            .get(name)
            .and_then(|v| v.to_str().ok())
            .filter(|v| !v.is_empty())
            .map(Arc::<str>::from)
    };
    let (status, pod, hash) = (response.status().as_u16(), header(POD_HEADER), header(HASH_HEADER));
    response.into_body().collect().await.map_err(|e| chain(&e))?;
    // Only a connection that is ready for the next request goes back.
    if sender.ready().await.is_ok() {
        idle.lock().unwrap_or_else(PoisonError::into_inner).push(sender);
    }
    Ok((status, pod, hash))
}

fn take(idle: &Idle) -> Option<SendRequest<Empty<Bytes>>> {
    let mut idle = idle.lock().unwrap_or_else(PoisonError::into_inner);
    while let Some(sender) = idle.pop() {
        if sender.is_ready() {
            return Some(sender);
        }
    }
    None
}

async fn connect(target: SocketAddr) -> Result<SendRequest<Empty<Bytes>>, String> {
    let stream = TcpStream::connect(target).await.map_err(|e| format!("connect: {e}"))?;
    // Small requests must not wait for an acknowledgement.
    let _ = stream.set_nodelay(true);
    let (sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
        .await
        .map_err(|e| chain(&e))?;
    tokio::spawn(connection);
    Ok(sender)
}

/// The error and its causes.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(&format!(": {cause}"));
        source = cause.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(second: i64, outcome: Outcome, hash: Option<&str>, millis: u64) -> Answer {
        Answer {
            at: DateTime::from_timestamp(second, 0).expect("a moment"),
            latency: Duration::from_millis(millis),
            outcome,
            pod: hash.map(|h| format!("pod-{h}").into()),
            hash: hash.map(Into::into),
        }
    }

    fn report() -> Report {
        Report {
            answers: vec![
                answer(1, Outcome::Status(200), Some("a"), 5),
                answer(2, Outcome::Status(500), Some("b"), 7),
                answer(3, Outcome::Status(404), Some("a"), 9),
                answer(4, Outcome::Failed("connect".into()), None, 1),
            ],
        }
    }

    #[test]
    fn failures_are_5xx_and_missing_answers_and_nothing_else() {
        let report = report();
        assert_eq!(report.failures().len(), 2);
        assert_eq!(
            report.by_code(),
            BTreeMap::from([
                ("200".into(), 1),
                ("404".into(), 1),
                ("500".into(), 1),
                ("error".into(), 1)
            ])
        );
        assert_eq!(report.share("a"), 0.5);
    }

    #[test]
    fn a_window_holds_its_start_and_not_its_end() {
        let at = |s| DateTime::from_timestamp(s, 0).expect("a moment");
        let window = report().between(at(2), at(4));
        assert_eq!(window.by_hash(), BTreeMap::from([("a".into(), 1), ("b".into(), 1)]));
    }

    #[test]
    fn quantiles_are_those_of_answered_requests() {
        assert_eq!(report().quantile(0.5), Some(Duration::from_millis(7)));
        assert_eq!(report().quantile(1.0), Some(Duration::from_millis(9)));
        assert_eq!(Report::default().quantile(0.5), None);
    }
}
