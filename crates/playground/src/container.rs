//! The HTTP server that a pod is: answers as its behaviour says, counts, and writes a log.

use std::{
    net::{IpAddr, SocketAddr},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use http::{HeaderValue, Request, Response, StatusCode};
use hyper::body::Incoming;
use serde_json::json;
use tokio::{net::TcpListener, time::Instant};

use crate::{
    behaviour::Behaviour,
    log::Log,
    metrics::Requests,
    wire::{Server, Whole, text},
};

/// Names the answering pod.
pub(crate) const POD_HEADER: &str = "x-pod";
/// Names the answering pod's revision.
pub(crate) const HASH_HEADER: &str = "x-pod-template-hash";

/// Who answers.
#[derive(Clone, Debug, Default)]
pub(crate) struct Identity {
    pub(crate) namespace: String,
    pub(crate) pod: String,
    pub(crate) image: String,
    pub(crate) version: String,
    /// Of the ReplicaSet; empty without one.
    pub(crate) hash: String,
    /// Paths of its readiness probes.
    pub(crate) probes: Vec<String>,
}

/// A container that runs. Dropping it closes its sockets at once.
#[derive(Debug)]
pub(crate) struct Container {
    servers: Vec<Server>,
    /// The port that its object names, and where it listens indeed.
    pub(crate) listens: Vec<(u16, SocketAddr)>,
}

impl Container {
    /// Listens on these ports of an address; on others where one is taken or needs rights.
    ///
    /// # Errors
    /// In words.
    pub(crate) async fn start(
        ip: IpAddr,
        ports: &[u16],
        identity: Identity,
        behaviour: Behaviour,
        ready_after: Option<Duration>,
        log: Log,
    ) -> Result<Self, String> {
        let words = behaviour.words();
        let version = identity.version.clone();
        let state = Arc::new(State {
            identity,
            behaviour,
            started: Instant::now(),
            ready_after,
            log: log.clone(),
            answers: AtomicU64::new(0),
            rate: Mutex::new(Rate::default()),
            requests: Mutex::new(Requests::new("http_requests_total", "http_request_duration_seconds")),
        });
        let mut container = Self {
            servers: Vec::new(),
            listens: Vec::new(),
        };
        for port in ports {
            // Ports below 1024 need rights that nobody has here.
            let listener = match TcpListener::bind((ip, *port)).await {
                Ok(listener) => listener,
                Err(_) => TcpListener::bind((ip, 0))
                    .await
                    .map_err(|e| format!("listen on {ip}: {e}"))?,
            };
            let address = listener.local_addr().map_err(|e| e.to_string())?;
            log.write(format!("{version}: listening on {address}; {words}"));
            container.listens.push((*port, address));
            let own = Arc::clone(&state);
            container.servers.push(Server::start(listener, move |request| {
                let own = Arc::clone(&own);
                async move { Ok(own.answer(&request).await) }
            }));
        }
        Ok(container)
    }

    /// Finishes the answers under way.
    pub(crate) async fn drain(self, limit: Duration) {
        futures::future::join_all(self.servers.into_iter().map(|server| server.drain(limit))).await;
    }
}

/// Requests in the present second and in the one before.
#[derive(Debug, Default)]
struct Rate {
    second: u64,
    present: u64,
    before: u64,
}

impl Rate {
    /// Counts a request; how many there were in a second lately.
    fn count(&mut self, age: Duration) -> f64 {
        let second = age.as_secs();
        if second != self.second {
            self.before = if second == self.second + 1 { self.present } else { 0 };
            (self.second, self.present) = (second, 0);
        }
        self.present += 1;
        self.before.max(self.present) as f64
    }
}

struct State {
    identity: Identity,
    behaviour: Behaviour,
    started: Instant,
    ready_after: Option<Duration>,
    log: Log,
    answers: AtomicU64,
    rate: Mutex<Rate>,
    requests: Mutex<Requests>,
}

impl State {
    async fn answer(&self, request: &Request<Incoming>) -> Response<Whole> {
        let path = request.uri().path();
        let is_ready = self.ready_after.is_some_and(|after| self.started.elapsed() >= after);
        match path {
            "/metrics" => {
                let requests = self.requests.lock().unwrap_or_else(PoisonError::into_inner);
                return text(StatusCode::OK, requests.text());
            }
            "/healthz" | "/livez" => return text(StatusCode::OK, "ok\n"),
            path if path == "/readyz" || self.identity.probes.iter().any(|probe| probe == path) => {
                return match is_ready {
                    true => text(StatusCode::OK, "ok\n"),
                    false => text(StatusCode::SERVICE_UNAVAILABLE, "not ready yet\n"),
                };
            }
            _ => {}
        }
        let begin = Instant::now();
        let n = self.answers.fetch_add(1, Ordering::Relaxed);
        let age = self.started.elapsed();
        let rate = self.rate.lock().unwrap_or_else(PoisonError::into_inner).count(age);
        let fate = self.behaviour.answer(n, age, rate);
        // 2 to 8 ms, evenly spread without a random number: multiples of the golden ratio fill the range.
        let spread = (n as f64 * 0.618_033_988_749_895).fract();
        let usual = Duration::from_micros(2000 + (spread * 6000.0) as u64);
        tokio::time::sleep(usual.mul_f64(fate.times.min(1e6)) + fate.later).await;
        let status = match fate.is_error {
            true => StatusCode::INTERNAL_SERVER_ERROR,
            false => StatusCode::OK,
        };
        let (took, method) = (begin.elapsed(), request.method().as_str());
        let identity = &self.identity;
        let mut requests = self.requests.lock().unwrap_or_else(PoisonError::into_inner);
        requests.count(&[("code", status.as_str()), ("method", method)], took);
        drop(requests);
        self.log
            .write(format!("{method} {path} {} {} ms", status.as_u16(), took.as_millis()));
        let body = json!({
            "version": identity.version, "image": identity.image, "pod": identity.pod, "namespace": identity.namespace,
            "path": path, "status": status.as_u16(),
        });
        let mut response = text(status, format!("{body}\n"));
        for (name, value) in [
            (POD_HEADER, identity.pod.as_str()),
            (HASH_HEADER, identity.hash.as_str()),
            ("content-type", "application/json"),
        ] {
            if let Ok(value) = HeaderValue::from_str(value) {
                response.headers_mut().insert(name, value);
            }
        }
        response
    }
}
