//! In place of a Prometheus where there is none: scrapes the same targets over HTTP, evaluates recording rules, and answers
//! instant queries under the same paths.

use std::{
    net::{Ipv4Addr, SocketAddr},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use chrono::{DateTime, Utc};
use futures::future::join_all;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Incoming;
use serin_promql::{Error as QueryError, Labels, Query, Rules, Store, Target, api};
use tokio::{
    net::TcpListener,
    task::JoinSet,
    time::{Instant, MissedTickBehavior},
};

use crate::{
    Error,
    metrics::sample,
    notes::Notes,
    pods::Pods,
    scraping::{self, Fixed},
    wire::{Client, Server, Whole, text},
};

/// How long samples are kept.
const KEPT: Duration = Duration::from_secs(3600);
/// Longer queries are refused.
const LONGEST_QUERY: usize = 1 << 20;

struct State {
    store: Store,
    rules: Rules,
    targets: Vec<(scraping::Target, Target)>,
}

/// See the module.
pub(crate) struct Substitute {
    pub(crate) address: SocketAddr,
    _server: Server,
    _tasks: JoinSet<()>,
}

impl Substitute {
    /// Scrapes and answers from now on.
    pub(crate) async fn start(
        rules: &[String],
        interval: Duration,
        fixed: Fixed,
        pods: Pods,
        client: &Arc<Client>,
        notes: &Notes,
    ) -> Result<Self, Error> {
        let mut all = Rules::default();
        for text in rules {
            match Rules::parse(text) {
                Ok(rules) => all.extend(rules),
                Err(error) => notes.say(format!("recording rules are left out: {error}")),
            }
        }
        let state = Arc::new(Mutex::new(State {
            store: Store::new(),
            rules: all,
            targets: Vec::new(),
        }));
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
            .await
            .map_err(Error::Listen)?;
        let address = listener.local_addr().map_err(Error::Listen)?;
        let mut tasks = JoinSet::new();
        tasks.spawn(scrape(Arc::clone(&state), interval, fixed, pods, Arc::clone(client)));
        let server = Server::start(listener, move |request| {
            let state = Arc::clone(&state);
            async move { Ok(answer(&state, request).await) }
        });
        Ok(Self {
            address,
            _server: server,
            _tasks: tasks,
        })
    }
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn scrape(state: Arc<Mutex<State>>, interval: Duration, fixed: Fixed, pods: Pods, client: Arc<Client>) {
    let mut ticks = tokio::time::interval(interval);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    loop {
        ticks.tick().await;
        let wanted = scraping::targets(pods.running().values(), &fixed);
        let scrapes = wanted.into_iter().map(|target| {
            let client = Arc::clone(&client);
            async move {
                let begin = Instant::now();
                let request = Request::get("/metrics")
                    .header("host", target.address.to_string())
                    .body(Full::default());
                let body = match request {
                    Ok(request) => tokio::time::timeout(interval, client.send(target.address, request)).await,
                    Err(_) => return (target, None, Duration::ZERO),
                };
                let body = body
                    .ok()
                    .and_then(Result::ok)
                    .filter(|answer| answer.status().is_success());
                (target, body.map(Response::into_body), begin.elapsed())
            }
        });
        let scraped = join_all(scrapes).await;
        let at = Utc::now().timestamp_millis();
        let mut guard = lock(&state);
        let State { store, rules, targets } = &mut *guard;
        let mut before = std::mem::take(targets);
        for (target, body, took) in scraped {
            let known = before.iter().position(|(known, _)| *known == target);
            let mut series = match known {
                Some(index) => before.swap_remove(index).1,
                None => Target::new(
                    store,
                    target.labels.iter().map(|(n, v)| (n.as_str(), v.as_str())).collect(),
                ),
            };
            // Out of order only if the clock was set back: then the newer samples stand.
            let _ = match body {
                None => series.failed(store, at, took.as_secs_f64()),
                Some(body) => {
                    let body = String::from_utf8_lossy(&body);
                    let samples: Vec<_> = body
                        .lines()
                        .filter_map(sample)
                        .map(|(name, labels, value)| {
                            let labels = labels.iter().map(|(n, v)| (n.as_str(), v.as_str()));
                            (series.series(store, &Labels::metric(name, labels)), value)
                        })
                        .collect();
                    series.scraped(store, at, took.as_secs_f64(), &samples)
                }
            };
            targets.push((target, series));
        }
        for (_, gone) in before {
            let _ = gone.gone(store, at);
        }
        // A rule that fails leaves its series without samples, as with the real one.
        let _ = rules.evaluate(store, at);
        store.forget_before(at - i64::try_from(KEPT.as_millis()).unwrap_or(i64::MAX));
    }
}

async fn answer(state: &Mutex<State>, request: Request<Incoming>) -> Response<Whole> {
    let (parts, body) = request.into_parts();
    let in_query = parts.uri.query().unwrap_or_default().to_owned();
    match parts.uri.path() {
        "/-/ready" | "/-/healthy" => return text(StatusCode::OK, "ready\n"),
        "/api/v1/query" => {}
        path if path.starts_with("/api/v1/") => {
            let why = "there is no Prometheus: in its place only instant queries (/api/v1/query) are answered; \
                       start the playground with --prometheus PATH";
            return json(501, &api::failure("not_implemented", why));
        }
        _ => {
            let help = "In place of a Prometheus. /api/v1/query?query=up is answered.\n";
            return text(StatusCode::OK, help);
        }
    }
    let form = match Limited::new(body, LONGEST_QUERY).collect().await {
        Ok(body) => body.to_bytes(),
        Err(error) => return json(400, &api::failure("bad_data", &error.to_string())),
    };
    let parameter = |name: &str| {
        let mut pairs = [&form[..], in_query.as_bytes()]
            .into_iter()
            .flat_map(form_urlencoded::parse);
        pairs.find(|(key, _)| key == name).map(|(_, text)| text.into_owned())
    };
    let query = parameter("query").unwrap_or_default();
    let at = match parameter("time") {
        None => Utc::now().timestamp_millis(),
        Some(time) => match moment(&time) {
            Some(at) => at,
            None => {
                let why = format!("invalid parameter \"time\": cannot parse {time:?} to a valid timestamp");
                return json(400, &api::failure("bad_data", &why));
            }
        },
    };
    let query = match Query::parse(&query) {
        Ok(query) => query,
        Err(error @ QueryError::Syntax { .. }) => return json(400, &api::failure("bad_data", &error.to_string())),
        Err(error) => return json(422, &api::failure("execution", &error.to_string())),
    };
    match query.instant(&lock(state).store, at) {
        Ok(value) => json(200, &api::success(&value, at)),
        Err(error) => json(422, &api::failure("execution", &error.to_string())),
    }
}

fn json(code: u16, body: &serde_json::Value) -> Response<Whole> {
    let status = StatusCode::from_u16(code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let mut response = text(status, body.to_string());
    let kind = http::HeaderValue::from_static("application/json");
    response.headers_mut().insert(http::header::CONTENT_TYPE, kind);
    response
}

/// Seconds since 1970 or RFC 3339, in milliseconds.
fn moment(text: &str) -> Option<i64> {
    let seconds = text
        .parse::<f64>()
        .ok()
        .map(|seconds| (seconds * 1000.0).round() as i64);
    seconds.or_else(|| DateTime::parse_from_rfc3339(text).ok().map(|at| at.timestamp_millis()))
}
