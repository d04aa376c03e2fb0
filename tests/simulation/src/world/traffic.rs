//! What users' requests meet, exactly and for all times: their share by the HTTPRoute's weights, then by ready endpoints.
//!
//! The gateway learns of routes, Services and endpoints a little after the API server; pods die and become ready at once.
//! Nothing happens here by itself: [`Traffic::advance`] reads what the cluster's history has brought since.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::Arc,
    time::Duration,
};

use serde_json::Value;
use serin_kubesim::{Change, Cluster};
use serin_model::At as _;

use crate::{
    history::{Cause, Sample, Share},
    scenario::{App, Image, Scenario},
    world::pods,
};

type Id = (String, String);

/// What the gateway knows of one endpoint.
#[derive(Clone, Debug)]
struct Endpoint {
    pod: String,
    ready: bool,
    serving: bool,
}

#[derive(Debug)]
struct Pod {
    hash: String,
    image: String,
    answers: bool,
}

/// What the app's own metrics say of one version.
#[derive(Clone, Copy, Debug, Default)]
struct Point {
    at: f64,
    requests: f64,
    errors: f64,
    /// Per second from here on.
    request_rate: f64,
    error_rate: f64,
    /// Seconds.
    latency: f64,
}

#[derive(Debug, Default)]
struct Meter(Vec<Point>);

impl Meter {
    fn at(&self, seconds: f64) -> Option<Point> {
        let after = self.0.partition_point(|p| p.at <= seconds);
        let point = self.0.get(after.checked_sub(1)?)?;
        let past = seconds - point.at;
        Some(Point {
            at: seconds,
            requests: point.requests + past * point.request_rate,
            errors: point.errors + past * point.error_rate,
            ..*point
        })
    }
}

#[derive(Debug, Default)]
struct OfApp {
    since: Duration,
    shares: Vec<Share>,
    meters: BTreeMap<String, Meter>,
}

/// See the module.
pub struct Traffic {
    cluster: Cluster,
    apps: Vec<App>,
    lag: Duration,
    seen: usize,
    /// On their way to the gateway.
    on_the_way: VecDeque<(Duration, Arc<Change>)>,
    services: BTreeSet<Id>,
    /// By Service, by slice.
    slices: BTreeMap<Id, BTreeMap<String, Vec<Endpoint>>>,
    routes: BTreeMap<Id, Arc<Value>>,
    pods: BTreeMap<Id, Pod>,
    of: Vec<OfApp>,
    samples: Vec<Sample>,
}

impl Traffic {
    /// No users yet.
    pub fn new(cluster: Cluster, scenario: &Scenario, lag: Duration) -> Self {
        Self {
            cluster,
            apps: scenario.apps.clone(),
            lag,
            seen: 0,
            on_the_way: VecDeque::new(),
            services: BTreeSet::new(),
            slices: BTreeMap::new(),
            routes: BTreeMap::new(),
            pods: BTreeMap::new(),
            of: scenario.apps.iter().map(|_| OfApp::default()).collect(),
            samples: Vec::new(),
        }
    }

    /// Takes in what has happened up to now.
    pub fn advance(&mut self, now: Duration) {
        let new = self.cluster.history_since(self.seen);
        self.seen += new.len();
        for change in new {
            self.arrive(change.at);
            match change.resource.plural {
                "pods" => self.pod(&change),
                "services" | "endpointslices" | "httproutes" => {
                    self.on_the_way.push_back((change.at + self.lag, change));
                }
                _ => {}
            }
        }
        self.arrive(now);
    }

    /// Everything that users met up to now.
    pub fn samples(&mut self, now: Duration) -> Vec<Sample> {
        self.advance(now);
        let mut out = self.samples.clone();
        for (app, of) in self.of.iter().enumerate() {
            if !of.shares.is_empty() && of.since < now {
                out.push(Sample {
                    from: of.since,
                    to: now,
                    app,
                    shares: of.shares.clone(),
                });
            }
        }
        out.sort_by_key(|s| (s.from, s.app));
        out
    }

    /// Requests and errors that a version has counted in the last `window` seconds, and its latency in seconds. [`None`]
    /// when it has never had a request.
    pub fn measured(&mut self, now: Duration, app: &str, hash: &str, window: f64) -> Option<(f64, f64, f64)> {
        self.advance(now);
        let index = self.apps.iter().position(|a| a.name == app)?;
        let meter = self.of[index].meters.get(hash)?;
        let end = meter.at(now.as_secs_f64())?;
        let begin = meter.at(now.as_secs_f64() - window).unwrap_or_default();
        Some((end.requests - begin.requests, end.errors - begin.errors, end.latency))
    }

    /// What has reached the gateway by now.
    fn arrive(&mut self, now: Duration) {
        while self.on_the_way.front().is_some_and(|(due, _)| *due <= now) {
            if let Some((due, change)) = self.on_the_way.pop_front() {
                self.gateway(due, &change);
            }
        }
    }

    fn gateway(&mut self, now: Duration, change: &Change) {
        let id = (change.namespace.clone(), change.name.clone());
        let mut touched = BTreeSet::from([change.name.clone()]);
        match change.resource.plural {
            "services" if change.new.is_some() => {
                if !self.services.insert(id) {
                    return;
                }
            }
            "services" => {
                self.services.remove(&id);
            }
            "httproutes" => match &change.new {
                Some(new) => {
                    self.routes.insert(id, Arc::clone(new));
                }
                None => {
                    self.routes.remove(&id);
                }
            },
            _ => {
                for object in [&change.old, &change.new].into_iter().flatten() {
                    let service = text(object, "/metadata/labels/kubernetes.io~1service-name").to_owned();
                    let slices = self
                        .slices
                        .entry((change.namespace.clone(), service.clone()))
                        .or_default();
                    slices.remove(&change.name);
                    touched.insert(service);
                }
                if let Some(new) = &change.new {
                    let service = text(new, "/metadata/labels/kubernetes.io~1service-name").to_owned();
                    let slices = self.slices.entry((change.namespace.clone(), service)).or_default();
                    slices.insert(change.name.clone(), endpoints(new));
                }
            }
        }
        self.judge(now, |app| {
            app.namespace == change.namespace && touched.iter().any(|name| belongs(name, app))
        });
    }

    fn pod(&mut self, change: &Change) {
        let id = (change.namespace.clone(), change.name.clone());
        match &change.new {
            None => {
                self.pods.remove(&id);
            }
            Some(new) => {
                let conditions = new.at("/status/conditions").and_then(Value::as_array);
                let ready = conditions
                    .into_iter()
                    .flatten()
                    .any(|c| c["type"] == "Ready" && c["status"] == "True");
                let ending = new.at("/metadata/deletionTimestamp").is_some();
                let before = self.pods.get(&id).is_some_and(|p| p.answers);
                let pod = Pod {
                    hash: text(new, "/metadata/labels/rollouts-pod-template-hash").to_owned(),
                    image: pods::image(new).to_owned(),
                    // Whoever is told to end goes on answering until it is gone.
                    answers: ready || (ending && before),
                };
                let same = self
                    .pods
                    .get(&id)
                    .is_some_and(|p| p.answers == pod.answers && p.hash == pod.hash);
                self.pods.insert(id, pod);
                if same {
                    return;
                }
            }
        }
        self.judge(change.at, |app| {
            app.namespace == change.namespace && belongs(&change.name, app)
        });
    }

    /// Looks at the shares of some apps again.
    fn judge(&mut self, now: Duration, whom: impl Fn(&App) -> bool) {
        for index in 0..self.apps.len() {
            let app = &self.apps[index];
            if !whom(app) {
                continue;
            }
            let shares = self.shares(app);
            let of = &mut self.of[index];
            if shares == of.shares {
                continue;
            }
            let rps = self.apps[index].rps;
            let seconds = now.as_secs_f64();
            let known: BTreeSet<String> = of.meters.keys().cloned().collect();
            let named = shares.iter().map(|s| s.hash.clone()).filter(|h| !h.is_empty());
            for hash in known.into_iter().chain(named).collect::<BTreeSet<_>>() {
                let mut point = Point {
                    at: seconds,
                    ..Point::default()
                };
                let latency = latency(&self.pods, &self.apps[index], &hash);
                if let Some(meter) = of.meters.get(&hash).and_then(|m| m.at(seconds)) {
                    (point.requests, point.errors, point.latency) = (meter.requests, meter.errors, meter.latency);
                }
                for share in shares.iter().filter(|s| s.hash == hash) {
                    if matches!(share.cause, Cause::None | Cause::Pod) {
                        point.request_rate += share.of * rps;
                        point.error_rate += share.of * share.failed * rps;
                        point.latency = latency;
                    }
                }
                of.meters.entry(hash).or_default().0.push(point);
            }
            let before = std::mem::replace(&mut of.shares, shares);
            let from = std::mem::replace(&mut of.since, now);
            if !before.is_empty() && from < now {
                self.samples.push(Sample {
                    from,
                    to: now,
                    app: index,
                    shares: before,
                });
            }
        }
    }

    /// Where an app's requests go now.
    fn shares(&self, app: &App) -> Vec<Share> {
        let nothing = |of: f64, service: &str, cause| Share {
            of,
            service: service.to_owned(),
            hash: String::new(),
            failed: 1.0,
            cause,
        };
        let backends = if app.router {
            self.routes
                .get(&(app.namespace.clone(), app.name.clone()))
                .map_or_else(Vec::new, |route| backends(route, app))
        } else {
            vec![(app.name.clone(), 1.0)]
        };
        let total: f64 = backends.iter().map(|(_, weight)| weight).sum();
        if total <= 0.0 {
            return vec![nothing(1.0, "", Cause::NoRoute)];
        }
        let mut out = Vec::new();
        for (service, weight) in backends {
            let of = weight / total;
            if of <= 0.0 {
                continue;
            }
            let id = (app.namespace.clone(), service.clone());
            if !self.services.contains(&id) {
                out.push(nothing(of, &service, Cause::NoService));
                continue;
            }
            self.behind(app, &id, of, &mut out);
        }
        out
    }

    /// The requests that reach a Service.
    fn behind(&self, app: &App, id: &Id, of: f64, out: &mut Vec<Share>) {
        let all: Vec<&Endpoint> = self
            .slices
            .get(id)
            .into_iter()
            .flat_map(|s| s.values().flatten())
            .collect();
        let mut usable: Vec<&Endpoint> = all.iter().copied().filter(|e| e.ready).collect();
        if usable.is_empty() {
            usable = all.into_iter().filter(|e| e.serving).collect();
        }
        let mut groups: BTreeMap<(String, bool), (usize, String)> = BTreeMap::new();
        for endpoint in &usable {
            let pod = self.pods.get(&(app.namespace.clone(), endpoint.pod.clone()));
            let key = pod.map_or((String::new(), false), |p| (p.hash.clone(), p.answers));
            let group = groups.entry(key).or_default();
            group.0 += 1;
            if let Some(pod) = pod {
                group.1.clone_from(&pod.image);
            }
        }
        if groups.is_empty() {
            out.push(Share {
                of,
                service: id.1.clone(),
                hash: String::new(),
                failed: 1.0,
                cause: Cause::NoEndpoint,
            });
        }
        let count = usable.len() as f64;
        for ((hash, answers), (n, name)) in groups {
            let errors = version(app, &name).map_or(0.0, |image| f64::from(image.errors) / 100.0);
            let (failed, cause) = match (answers, errors > 0.0) {
                (false, _) => (1.0, Cause::PodGone),
                (true, true) => (errors, Cause::Pod),
                (true, false) => (0.0, Cause::None),
            };
            out.push(Share {
                of: of * n as f64 / count,
                service: id.1.clone(),
                hash,
                failed,
                cause,
            });
        }
    }
}

/// How long a version takes for an answer, in seconds.
fn latency(pods: &BTreeMap<Id, Pod>, app: &App, hash: &str) -> f64 {
    pods.values()
        .find(|pod| pod.hash == hash)
        .and_then(|pod| version(app, &pod.image))
        .map_or(0.0, |image| f64::from(image.latency) / 1000.0)
}

/// A version by its image.
fn version<'a>(app: &'a App, image: &str) -> Option<&'a Image> {
    let number = image.rsplit_once(":v")?.1.parse::<usize>().ok()?;
    app.images.get(number)
}

/// Whether an object of this name is one of the app's: its own name, or one that begins with it.
fn belongs(name: &str, app: &App) -> bool {
    name.strip_prefix(app.name.as_str())
        .is_some_and(|rest| rest.is_empty() || rest.starts_with('-'))
}

fn backends(route: &Value, app: &App) -> Vec<(String, f64)> {
    let stable = format!("{}-stable", app.name);
    let rules = route.at("/spec/rules").and_then(Value::as_array);
    for rule in rules.into_iter().flatten() {
        let refs: Vec<(String, f64)> = rule["backendRefs"]
            .as_array()
            .into_iter()
            .flatten()
            .map(|r| {
                let name = r["name"].as_str().unwrap_or_default().to_owned();
                (name, r["weight"].as_f64().unwrap_or(1.0))
            })
            .collect();
        if refs.iter().any(|(name, _)| *name == stable) {
            return refs;
        }
    }
    Vec::new()
}

fn endpoints(slice: &Value) -> Vec<Endpoint> {
    let list = slice["endpoints"].as_array();
    list.into_iter()
        .flatten()
        .map(|e| {
            let is = |field: &str| e["conditions"][field] == true;
            Endpoint {
                pod: text(e, "/targetRef/name").to_owned(),
                ready: is("ready"),
                serving: is("serving"),
            }
        })
        .collect()
}

fn text<'a>(object: &'a Value, path: &str) -> &'a str {
    object.at(path).and_then(Value::as_str).unwrap_or_default()
}
