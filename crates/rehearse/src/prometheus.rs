//! A Prometheus that scrapes the simulated pods and their gateway, evaluates recording rules, and answers queries.
//!
//! Series, times, staleness and answers are those of the real one; only pages and storage are missing.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use serde_json::Value;
use serin_api::{analysis::AnalysisRunSpec, compose::resolve_metric};
use serin_kubesim::Cluster;
use serin_promql::{Error, Labels, Query, Rules, SeriesId, Store, Target, Value as Answer, api};
use serin_providers::{HttpRequest, HttpResponse, HttpTransport, TransportError};
use tokio::time::sleep;

use crate::{
    assume::Assumptions,
    load::Load,
    series::{Counts, Exposition, Names},
    setup::Setup,
};

/// How long an answer takes.
const TIME: Duration = Duration::from_millis(5);

/// Something that is scraped.
struct Watched {
    target: Target,
    /// When it is scraped next.
    due: Duration,
    /// Its series, by Service (of the gateway) and what they count.
    series: BTreeMap<String, BTreeMap<Counts, SeriesId>>,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum What {
    Pod(String),
    Gateway,
}

/// A query that is not answered: the rehearsal ends with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    /// As it was asked.
    pub query: String,
    /// Why.
    pub why: String,
    /// It would be refused by any Prometheus; else it is only not simulated.
    pub is_wrong: bool,
}

struct State {
    store: Store,
    targets: BTreeMap<What, Watched>,
    rules: Rules,
    queries: BTreeMap<String, Result<Query, Error>>,
    refused: Option<Refused>,
    load: Load,
}

/// See the module.
pub struct Prometheus {
    cluster: Cluster,
    start: DateTime<Utc>,
    interval: Duration,
    exposition: Exposition,
    /// Names of the series that are scraped.
    exposed: BTreeSet<String>,
    /// What rules record that are not evaluated, and why not.
    not_evaluated: BTreeMap<String, String>,
    /// Values of metrics that are not simulated, by the metric's name.
    assumed: BTreeMap<String, f64>,
    seed: u64,
    state: Mutex<State>,
}

impl Prometheus {
    /// Knows nothing yet.
    pub fn new(
        cluster: Cluster,
        setup: &Setup,
        assumptions: &Assumptions,
        exposition: &Exposition,
        assumed: &BTreeMap<String, f64>,
        load: Load,
        seed: u64,
    ) -> Self {
        let start = cluster.now();
        let mut rules = setup.rules.clone();
        rules.begin(start.timestamp_millis());
        Self {
            cluster,
            start,
            interval: assumptions.scrape_interval,
            exposed: exposition.names(),
            exposition: exposition.clone(),
            not_evaluated: setup.not_evaluated.clone(),
            assumed: assumed.clone(),
            seed,
            state: Mutex::new(State {
                store: Store::new(),
                targets: BTreeMap::new(),
                rules,
                queries: BTreeMap::new(),
                refused: None,
                load,
            }),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Scrapes what is due, and says when something is due next. Recording rules wait until something asks for them: most
    /// are never asked for, and they give the same later.
    pub fn work(&self) -> Duration {
        let now = self.cluster.elapsed();
        let mut guard = self.state();
        let state = &mut *guard;
        state.load.advance(now);
        self.discover(state, now);
        let at = self.milliseconds(now);
        let mut gone = Vec::new();
        for (what, watched) in &mut state.targets {
            if watched.due > now {
                continue;
            }
            watched.due += self.interval;
            match what {
                What::Pod(name) => match state.load.pods().get(name).filter(|pod| pod.is_running) {
                    Some(pod) => {
                        let names = &self.exposition.pods;
                        watched.scrape(&mut state.store, at, &[("", names, names.samples(&pod.counters, 0))]);
                    }
                    None => gone.push(what.clone()),
                },
                What::Gateway => {
                    let names = &self.exposition.gateway;
                    let backends = state.load.gateway().iter();
                    let samples: Vec<_> = backends
                        .map(|(service, backend)| {
                            (
                                service.as_str(),
                                names,
                                names.samples(&backend.counters, backend.unanswered),
                            )
                        })
                        .collect();
                    watched.scrape(&mut state.store, at, &samples);
                }
            }
        }
        for watched in gone.iter().filter_map(|what| state.targets.remove(what)) {
            // Out of order only if time went back.
            let _ = watched.target.gone(&mut state.store, at);
        }
        let scrapes = state.targets.values().map(|watched| watched.due);
        scrapes.min().unwrap_or(now + self.interval)
    }

    /// Runs `look` over what users have met up to now.
    pub fn with_load<T>(&self, look: impl FnOnce(&Load) -> T) -> T {
        let now = self.cluster.elapsed();
        let mut state = self.state();
        state.load.advance(now);
        look(&state.load)
    }

    /// The first query that was asked and is not answered.
    pub fn refused(&self) -> Option<Refused> {
        self.state().refused.clone()
    }

    /// New pods are scraped, each at a moment of its own within the interval.
    fn discover(&self, state: &mut State, now: Duration) {
        let known = &state.targets;
        let mut new = Vec::new();
        if !known.contains_key(&What::Gateway) {
            new.push((
                What::Gateway,
                Labels::from_iter([("job", "gateway"), ("instance", "gateway:9100")]),
            ));
        }
        for (name, pod) in state.load.pods() {
            let what = What::Pod(name.clone());
            if pod.is_running && !pod.ip.is_empty() && !known.contains_key(&what) {
                new.push((what, self.exposition.relabelling.of_pod(name, pod)));
            }
        }
        for (what, labels) in new {
            let watched = Watched {
                target: Target::new(&mut state.store, labels),
                due: self.first(&what, now),
                series: BTreeMap::new(),
            };
            state.targets.insert(what, watched);
        }
    }

    /// The first moment from now on that is the target's own.
    fn first(&self, what: &What, now: Duration) -> Duration {
        let name = format!("{what:?}");
        let own = name.bytes().fold(self.seed ^ 0xcbf2_9ce4_8422_2325, |h, b| {
            (h ^ u64::from(b)).wrapping_mul(0x0100_0000_01b3)
        });
        let interval = u64::try_from(self.interval.as_millis()).unwrap_or(u64::MAX).max(1);
        let offset = Duration::from_millis(own % interval);
        let rounds = u64::try_from(now.saturating_sub(offset).as_millis())
            .unwrap_or(0)
            .div_ceil(interval);
        offset + Duration::from_millis(rounds * interval)
    }

    fn milliseconds(&self, elapsed: Duration) -> i64 {
        self.start.timestamp_millis() + i64::try_from(elapsed.as_millis()).unwrap_or(i64::MAX / 2)
    }

    fn answer(&self, request: &HttpRequest) -> HttpResponse {
        let text = parameter(request, "query").unwrap_or_default();
        if !request.url.contains("/api/v1/query") || request.url.contains("/api/v1/query_range") {
            return self.refuse(text, "only instant queries are evaluated".to_owned(), false);
        }
        let now = self.milliseconds(self.cluster.elapsed());
        let at = parameter(request, "time").and_then(|t| moment(&t)).unwrap_or(now);
        self.work();
        if let Some(value) = self.assumed(&text) {
            return written(&number(value), at);
        }
        match self.evaluate(&text, now, at) {
            Ok(response) => response,
            // Beside a metric whose value is assumed its requests are, too: as many as it needs.
            Err((_, false)) if !self.assumed.is_empty() && metrics_asking(&self.cluster, &text).is_empty() => {
                written(&number(1e9), at)
            }
            Err((why, is_wrong)) => self.refuse(text, why, is_wrong),
        }
    }

    /// The answer; or why there is none, and whether the query itself is wrong.
    fn evaluate(&self, text: &str, now: i64, at: i64) -> Result<HttpResponse, (String, bool)> {
        let mut guard = self.state();
        let state = &mut *guard;
        if !state.queries.contains_key(text) {
            state.queries.insert(text.to_owned(), Query::parse(text));
        }
        let query = match &state.queries[text] {
            Ok(query) => query,
            Err(error) => return Err((error.to_string(), !matches!(error, Error::NotSimulated { .. }))),
        };
        let sources = state.rules.sources(query);
        if let Some(name) = sources.into_iter().find(|name| !self.exposed.contains(*name)) {
            let place = text.find(name).map_or_else(String::new, |offset| {
                let before = &text[..offset];
                let line = before.rsplit('\n').next().unwrap_or_default();
                format!("{}:{}: ", before.matches('\n').count() + 1, line.chars().count() + 1)
            });
            let why = match self.not_evaluated.get(name) {
                Some(why) => format!("the rule that records it is {why}"),
                None => {
                    "neither pods nor the gateway expose it here, and no recording rule that was handed in gives it; \
                         hand in the rule, or say with --series what the metrics are called"
                        .to_owned()
                }
            };
            return Err((format!("not simulated: {place}{name}: {why}"), false));
        }
        if let Some(problem) = state
            .rules
            .evaluate_for(query, &mut state.store, now)
            .into_iter()
            .next()
        {
            return Err((format!("recording rules: {problem}"), true));
        }
        Ok(match query.instant(&state.store, at) {
            Ok(answer) => written(&answer, at),
            Err(error) => failure(422, "execution", &error.to_string()),
        })
    }

    fn refuse(&self, query: String, why: String, is_wrong: bool) -> HttpResponse {
        let response = failure(400, "bad_data", &why);
        self.state().refused.get_or_insert(Refused { query, why, is_wrong });
        response
    }

    /// The value that is assumed for the metric that asks this query.
    fn assumed(&self, query: &str) -> Option<f64> {
        if self.assumed.is_empty() {
            return None;
        }
        let names = metrics_asking(&self.cluster, query);
        names.iter().find_map(|name| self.assumed.get(name).copied())
    }
}

/// Names of the metrics of all analysis runs whose query this is, once its arguments are filled in.
pub fn metrics_asking(cluster: &Cluster, query: &str) -> Vec<String> {
    let mut names = BTreeSet::new();
    for run in cluster.list("analysisruns") {
        let Ok(spec) = serde_json::from_value::<AnalysisRunSpec>(run["spec"].clone()) else {
            continue;
        };
        let args = spec.args.unwrap_or_default();
        for metric in &spec.metrics {
            let asks = resolve_metric(metric, &args, &BTreeMap::new())
                .ok()
                .and_then(|metric| metric.provider.prometheus?.query);
            if asks.as_deref() == Some(query) {
                names.insert(metric.name.clone());
            }
        }
    }
    names.into_iter().collect()
}

fn number(value: f64) -> Answer {
    Answer::Vector(vec![(Labels::from_iter([("", ""); 0]), value)])
}

/// What was scraped: the Service (of the gateway), names, and values.
type Part<'a> = (&'a str, &'a Names, Vec<(Counts, f64)>);

impl Watched {
    fn scrape(&mut self, store: &mut Store, at: i64, parts: &[Part<'_>]) {
        let mut out = Vec::new();
        for (service, names, samples) in parts {
            if !self.series.contains_key(*service) {
                self.series.insert((*service).to_owned(), BTreeMap::new());
            }
            let Some(known) = self.series.get_mut(*service) else {
                continue;
            };
            for (counts, value) in samples {
                let target = &self.target;
                let id = known
                    .entry(*counts)
                    .or_insert_with(|| target.series(store, &names.labels(service, *counts)));
                out.push((*id, *value));
            }
        }
        // Out of order only if time went back.
        let _ = self.target.scraped(store, at, 0.005, &out);
    }
}

fn parameter(request: &HttpRequest, name: &str) -> Option<String> {
    let form = request.form.as_deref().unwrap_or_default();
    let url = request.url.split_once('?').map_or("", |(_, rest)| rest);
    let mut pairs = [form, url]
        .into_iter()
        .flat_map(|text| form_urlencoded::parse(text.as_bytes()));
    pairs.find(|(key, _)| key == name).map(|(_, text)| text.into_owned())
}

/// Seconds since 1970 or RFC 3339, in milliseconds.
fn moment(text: &str) -> Option<i64> {
    let seconds = text.parse::<f64>().ok().map(|s| (s * 1000.0).round() as i64);
    seconds.or_else(|| DateTime::parse_from_rfc3339(text).ok().map(|t| t.timestamp_millis()))
}

fn written(answer: &Answer, at_ms: i64) -> HttpResponse {
    response(200, &api::success(answer, at_ms))
}

fn failure(status: u16, kind: &str, error: &str) -> HttpResponse {
    response(status, &api::failure(kind, error))
}

fn response(status: u16, body: &Value) -> HttpResponse {
    HttpResponse {
        status,
        body: body.to_string().into_bytes(),
    }
}

/// The way from the controller to the simulated Prometheus.
pub struct Transport(pub Arc<Prometheus>);

#[async_trait]
impl HttpTransport for Transport {
    async fn send(&self, request: HttpRequest) -> Result<HttpResponse, TransportError> {
        sleep(TIME).await;
        Ok(self.0.answer(&request))
    }
}
