//! The HTTP server that a pod's container is: answers, counts, and closes its sockets when it ends.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::fmt::Write;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use serde_json::json;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;

use super::behaviour::{Behaviour, hits};

/// Upper bounds of the latency histogram in seconds; dense around the 500 ms that the ready templates judge by.
const BUCKETS: [f64; 14] = [
    0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.4, 0.5, 0.6, 0.75, 1.0, 2.5, 5.0, 10.0,
];
/// Names the answering pod, for the load generator.
pub(crate) const POD_HEADER: &str = "x-pod";
/// Names the answering pod's revision.
pub(crate) const HASH_HEADER: &str = "x-pod-template-hash";

/// Who answers.
#[derive(Clone, Debug)]
pub(crate) struct Identity {
    pub(crate) namespace: String,
    pub(crate) pod: String,
    pub(crate) node: String,
    pub(crate) image: String,
    /// The value of the label that the rollout controller or a Deployment gives its pods; empty without one.
    pub(crate) hash: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    Serving,
    /// No new connections, answers under way are finished.
    Draining,
    /// Everything is closed, whatever is under way.
    Dead,
}

/// A listening server. Dropping it closes every socket at once, as the end of a process does.
#[derive(Debug)]
pub(crate) struct PodServer {
    mode: watch::Sender<Mode>,
    /// Ends when the last connection has ended.
    alive: mpsc::Receiver<Infallible>,
}

impl PodServer {
    /// Listens on all ports.
    ///
    /// # Errors
    /// When a port is taken, for example by another container of the pod.
    pub(crate) async fn start(
        ip: Ipv4Addr,
        ports: &[u16],
        identity: Identity,
        behaviour: Arc<RwLock<Behaviour>>,
    ) -> Result<Self, String> {
        let (mode, mode_seen) = watch::channel(Mode::Serving);
        let (alive_held, alive) = mpsc::channel(1);
        let state = Arc::new(State {
            identity,
            behaviour,
            answers: AtomicU64::new(0),
            metrics: Mutex::default(),
        });
        for port in ports {
            let address = SocketAddr::from((ip, *port));
            let listener = TcpListener::bind(address)
                .await
                .map_err(|e| format!("listen on {address}: {e}"))?;
            tokio::spawn(accept(listener, state.clone(), mode_seen.clone(), alive_held.clone()));
        }
        Ok(Self { mode, alive })
    }

    /// Stops accepting, finishes the answers under way and returns when the last connection has ended.
    pub(crate) async fn drain(&mut self) {
        self.mode.send_replace(Mode::Draining);
        // Nothing is ever sent; the channel ends with the last connection.
        let _ = self.alive.recv().await;
    }
}

impl Drop for PodServer {
    fn drop(&mut self) {
        self.mode.send_replace(Mode::Dead);
    }
}

struct State {
    identity: Identity,
    behaviour: Arc<RwLock<Behaviour>>,
    answers: AtomicU64,
    metrics: Mutex<Metrics>,
}

async fn accept(
    listener: TcpListener,
    state: Arc<State>,
    mode: watch::Receiver<Mode>,
    alive: mpsc::Sender<Infallible>,
) {
    let mut end = mode.clone();
    loop {
        tokio::select! {
            biased;
            _ = end.wait_for(|m| *m != Mode::Serving) => return,
            accepted = listener.accept() => {
                let Ok((stream, _)) = accepted else { continue };
                tokio::spawn(serve(stream, state.clone(), mode.clone(), alive.clone()));
            }
        }
    }
}

async fn serve(
    stream: TcpStream,
    state: Arc<State>,
    mut mode: watch::Receiver<Mode>,
    _alive: mpsc::Sender<Infallible>,
) {
    // Small answers must not wait for the client's acknowledgement.
    let _ = stream.set_nodelay(true);
    let service = service_fn(move |request| {
        let state = state.clone();
        async move { Ok::<_, Infallible>(state.answer(&request).await) }
    });
    let connection = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service);
    let mut connection = std::pin::pin!(connection);
    loop {
        tokio::select! {
            biased;
            changed = mode.changed() => {
                let now = *mode.borrow_and_update();
                if changed.is_err() || now == Mode::Dead {
                    return;
                }
                connection.as_mut().graceful_shutdown();
            }
            // A connection that broke is the client's affair.
            _ = connection.as_mut() => return,
        }
    }
}

impl State {
    async fn answer(&self, request: &Request<Incoming>) -> Response<Full<Bytes>> {
        let behaviour = self.behaviour.read().unwrap_or_else(PoisonError::into_inner).clone();
        let text = |status: StatusCode, body: String| {
            let mut response = Response::new(Full::new(Bytes::from(body)));
            *response.status_mut() = status;
            response
        };
        match request.uri().path() {
            "/metrics" => {
                let metrics = self.metrics.lock().unwrap_or_else(PoisonError::into_inner);
                return text(StatusCode::OK, metrics.render());
            }
            "/health" | "/healthz" | "/livez" => return text(StatusCode::OK, "ok\n".into()),
            "/ready" | "/readyz" if behaviour.ready => return text(StatusCode::OK, "ok\n".into()),
            "/ready" | "/readyz" => return text(StatusCode::SERVICE_UNAVAILABLE, "not ready\n".into()),
            _ => {}
        }
        let begin = Instant::now();
        let n = self.answers.fetch_add(1, Ordering::Relaxed);
        // 2 to 8 ms, evenly spread without a random number: multiples of the golden ratio fill the range.
        let spread = (n as f64 * 0.618_033_988_749_895).fract();
        let mut latency = Duration::from_micros(2000 + (spread * 6000.0) as u64);
        if hits(behaviour.latency_share, n) {
            latency += behaviour.latency;
        }
        tokio::time::sleep(latency).await;
        let status = if hits(behaviour.error_rate, n) {
            StatusCode::INTERNAL_SERVER_ERROR
        } else {
            StatusCode::OK
        };
        let identity = &self.identity;
        let body = json!({
            "pod": identity.pod, "namespace": identity.namespace, "node": identity.node, "image": identity.image,
            "hash": identity.hash, "path": request.uri().path(),
        });
        let mut response = text(status, format!("{body}\n"));
        for (name, value) in [
            (POD_HEADER, &identity.pod),
            (HASH_HEADER, &identity.hash),
            ("content-type", &"application/json".into()),
        ] {
            if let Ok(value) = http::HeaderValue::from_str(value) {
                response.headers_mut().insert(name, value);
            }
        }
        let mut metrics = self.metrics.lock().unwrap_or_else(PoisonError::into_inner);
        metrics.observe(status.as_u16(), request.method().as_str(), begin.elapsed());
        response
    }
}

/// What a usual web framework counts. Requests for `/metrics` and health checks are not counted.
#[derive(Debug, Default)]
struct Metrics {
    series: BTreeMap<(u16, String), Series>,
}

#[derive(Debug, Default)]
struct Series {
    buckets: [u64; BUCKETS.len()],
    count: u64,
    sum: f64,
}

impl Metrics {
    fn observe(&mut self, code: u16, method: &str, latency: Duration) {
        let seconds = latency.as_secs_f64();
        let series = self.series.entry((code, method.to_owned())).or_default();
        series.count += 1;
        series.sum += seconds;
        if let Some(bucket) = BUCKETS.iter().position(|bound| seconds <= *bound) {
            series.buckets[bucket] += 1;
        }
    }

    /// Prometheus' text format. No label names the pod or its revision: those come from the Pod object.
    fn render(&self) -> String {
        let mut out =
            String::from("# HELP http_requests_total Requests answered.\n# TYPE http_requests_total counter\n");
        // Writing to a String cannot fail.
        for ((code, method), series) in &self.series {
            let _ = writeln!(
                out,
                "http_requests_total{{code=\"{code}\",method=\"{method}\"}} {}",
                series.count
            );
        }
        out.push_str(
            "# HELP http_request_duration_seconds Time to answer.\n# TYPE http_request_duration_seconds histogram\n",
        );
        for ((code, method), series) in &self.series {
            let labels = format!("code=\"{code}\",method=\"{method}\"");
            let mut total = 0;
            for (bound, count) in BUCKETS.iter().zip(series.buckets) {
                total += count;
                let _ = writeln!(
                    out,
                    "http_request_duration_seconds_bucket{{{labels},le=\"{bound}\"}} {total}"
                );
            }
            let _ = writeln!(
                out,
                "http_request_duration_seconds_bucket{{{labels},le=\"+Inf\"}} {}",
                series.count
            );
            let _ = writeln!(out, "http_request_duration_seconds_sum{{{labels}}} {}", series.sum);
            let _ = writeln!(out, "http_request_duration_seconds_count{{{labels}}} {}", series.count);
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn histogram_buckets_add_up() {
        let mut metrics = Metrics::default();
        for millis in [4, 450, 450, 20_000] {
            metrics.observe(200, "GET", Duration::from_millis(millis));
        }
        let text = metrics.render();
        for line in [
            "http_requests_total{code=\"200\",method=\"GET\"} 4",
            "http_request_duration_seconds_bucket{code=\"200\",method=\"GET\",le=\"0.4\"} 1",
            "http_request_duration_seconds_bucket{code=\"200\",method=\"GET\",le=\"0.5\"} 3",
            "http_request_duration_seconds_bucket{code=\"200\",method=\"GET\",le=\"10\"} 3",
            "http_request_duration_seconds_bucket{code=\"200\",method=\"GET\",le=\"+Inf\"} 4",
            "http_request_duration_seconds_count{code=\"200\",method=\"GET\"} 4",
        ] {
            assert!(text.contains(line), "{line} is missing in\n{text}");
        }
    }
}
