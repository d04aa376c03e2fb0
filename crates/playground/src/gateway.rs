//! The gateway: a proxy on loopback that follows HTTPRoutes, counts, and tells in the routes' and Gateways' status that it does.

use std::{
    collections::BTreeSet,
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError, RwLock},
    time::Duration,
};

use http::{HeaderMap, HeaderName, Request, Response, StatusCode, header, request::Parts};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Incoming;
use serde_json::{Value, json};
use serin_kubesim::{Cluster, Patch};
use serin_model::At as _;
use tokio::{net::TcpListener, sync::watch, task::JoinSet, time::Instant};

use crate::{
    metrics::Requests,
    notes::{Name, Notes},
    pods::Pods,
    routes::{self, Backend, Balance, Table},
    wire::{Client, Server, Whole, text},
};

/// Its name in requests and in objects' status.
const USER: &str = "gateway";
/// `spec.controllerName` of its class.
pub(crate) const CONTROLLER: &str = "playground.serin.dev/gateway";
/// Name of its class.
pub(crate) const CLASS: &str = "playground";
/// Longer bodies are refused.
const LONGEST_BODY: usize = 16 << 20;
/// Changes come in bursts: one look a burst.
const SETTLE: Duration = Duration::from_millis(5);
/// Of one connection and not of the message.
const HOP_BY_HOP: [HeaderName; 5] = [
    header::CONNECTION,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
    header::TE,
    header::CONTENT_LENGTH,
];

/// A running gateway.
pub(crate) struct Gateway {
    /// Where requests come in.
    pub(crate) address: SocketAddr,
    /// Where `/metrics` is.
    pub(crate) metrics: SocketAddr,
    _servers: [Server; 2],
    _tasks: JoinSet<()>,
}

struct State {
    table: RwLock<Arc<Table>>,
    balance: Mutex<Balance>,
    requests: Mutex<Requests>,
    client: Arc<Client>,
}

impl Gateway {
    /// Follows the cluster and answers from now on; `changed` says that other pods run.
    pub(crate) async fn start(
        listener: TcpListener,
        cluster: &Cluster,
        pods: &Pods,
        changed: watch::Receiver<()>,
        notes: &Notes,
        client: &Arc<Client>,
    ) -> std::io::Result<Self> {
        let metrics = TcpListener::bind((std::net::Ipv4Addr::LOCALHOST, 0)).await?;
        let state = Arc::new(State {
            table: RwLock::default(),
            balance: Mutex::default(),
            // The names that Traefik gives them: queries are written for some gateway that exists.
            requests: Mutex::new(Requests::new(
                "traefik_service_requests_total",
                "traefik_service_request_duration_seconds",
            )),
            client: Arc::clone(client),
        });
        let mut tasks = JoinSet::new();
        tasks.spawn(follow(
            Arc::clone(&state),
            cluster.clone(),
            pods.clone(),
            changed,
            notes.clone(),
        ));
        let addresses = (listener.local_addr()?, metrics.local_addr()?);
        let (proxy, counts) = (Arc::clone(&state), state);
        Ok(Self {
            address: addresses.0,
            metrics: addresses.1,
            _servers: [
                Server::start(listener, move |request| {
                    let proxy = Arc::clone(&proxy);
                    async move { Ok(proxy.answer(request).await) }
                }),
                Server::start(metrics, move |_| {
                    let counts = Arc::clone(&counts);
                    async move {
                        let requests = counts.requests.lock().unwrap_or_else(PoisonError::into_inner);
                        Ok(text(StatusCode::OK, requests.text()))
                    }
                }),
            ],
            _tasks: tasks,
        })
    }
}

impl State {
    async fn answer(&self, request: Request<Incoming>) -> Response<Whole> {
        let begin = Instant::now();
        let (parts, body) = request.into_parts();
        let Some((service, endpoint)) = self.choose(&parts) else {
            return text(StatusCode::NOT_FOUND, "no route for this host and path\n");
        };
        let method = parts.method.clone();
        let response = match endpoint {
            None => text(StatusCode::SERVICE_UNAVAILABLE, "no endpoint is ready\n"),
            Some(to) => match Limited::new(body, LONGEST_BODY).collect().await {
                Err(error) => text(StatusCode::BAD_REQUEST, format!("{error}\n")),
                Ok(body) => self.pass(to, parts, body.to_bytes()).await,
            },
        };
        let status = response.status();
        let labels = [
            ("code", status.as_str()),
            ("method", method.as_str()),
            ("protocol", "http"),
            ("service", service.as_str()),
        ];
        let mut requests = self.requests.lock().unwrap_or_else(PoisonError::into_inner);
        requests.count(&labels, begin.elapsed());
        drop(requests);
        response
    }

    /// The Service, and one of its endpoints if there is any.
    fn choose(&self, parts: &Parts) -> Option<(String, Option<SocketAddr>)> {
        let table = Arc::clone(&*self.table.read().unwrap_or_else(PoisonError::into_inner));
        let host = parts.headers.get(header::HOST).and_then(|host| host.to_str().ok());
        let host = parts.uri.host().or(host).unwrap_or_default();
        let mut balance = self.balance.lock().unwrap_or_else(PoisonError::into_inner);
        let of_service;
        let backend: &Backend = match table.rule(host, parts.uri.path(), &parts.method, &parts.headers) {
            Some(rule) => match balance.backend(rule) {
                Some(backend) => backend,
                None => return Some((String::new(), None)),
            },
            None => {
                of_service = table.service(host)?;
                &of_service
            }
        };
        Some((backend.service.clone(), balance.endpoint(backend)))
    }

    async fn pass(&self, to: SocketAddr, parts: Parts, body: bytes::Bytes) -> Response<Whole> {
        let path = parts.uri.path_and_query().map_or("/", |path| path.as_str()).to_owned();
        let mut request = Request::new(Full::new(body));
        *request.method_mut() = parts.method;
        match path.parse() {
            Ok(uri) => *request.uri_mut() = uri,
            Err(_) => return text(StatusCode::BAD_REQUEST, "this path cannot be passed on\n"),
        }
        *request.headers_mut() = without_hops(parts.headers);
        match self.client.send(to, request).await {
            Ok(response) => {
                let (mut parts, body) = response.into_parts();
                parts.headers = without_hops(parts.headers);
                Response::from_parts(parts, Full::new(body))
            }
            Err(why) => text(StatusCode::BAD_GATEWAY, format!("{why}\n")),
        }
    }
}

fn without_hops(mut headers: HeaderMap) -> HeaderMap {
    for name in &HOP_BY_HOP {
        headers.remove(name);
    }
    headers
}

async fn follow(state: Arc<State>, cluster: Cluster, pods: Pods, mut changed: watch::Receiver<()>, notes: Notes) {
    let mut changes = cluster.changes();
    loop {
        changes.mark_unchanged();
        let all = cluster.list("httproutes");
        for route in &all {
            let rules = route.at("/spec/rules").and_then(Value::as_array).into_iter().flatten();
            if rules
                .clone()
                .any(|rule| rule["filters"].as_array().is_some_and(|f| !f.is_empty()))
            {
                let name = route.at("/metadata/name").and_then(Value::as_str).unwrap_or_default();
                notes.say(format!("HTTPRoute/{name}: this gateway does not carry out its filters"));
            }
        }
        let (services, slices) = (cluster.list("services"), cluster.list("endpointslices"));
        let gateways = cluster.list("gateways");
        let names = |objects: &[Arc<Value>]| -> BTreeSet<Name> { objects.iter().map(|o| routes::name(o)).collect() };
        let (known, backends) = (names(&gateways), names(&services));
        let (served, loose): (Vec<_>, Vec<_>) = all
            .iter()
            .cloned()
            .partition(|route| routes::is_attached(route, &known, &backends));
        for route in loose {
            let (_, name) = routes::name(&route);
            notes.say(format!(
                "HTTPRoute/{name} is not served: none of the Gateways in its parentRefs exists"
            ));
        }
        let table = Table::new(&served, &services, &slices, &pods.running());
        *state.table.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(table);
        for gateway in &gateways {
            tell_gateway(&cluster, gateway);
        }
        for route in &all {
            tell_route(&cluster, route, &known, &backends);
        }
        tokio::select! {
            () = changes.changed() => {}
            Ok(()) = changed.changed() => {}
        }
        tokio::time::sleep(SETTLE).await;
    }
}

/// A condition; with a message it does not hold.
fn condition(kind: &str, reason: &str, message: &str, generation: &Value, now: &str) -> Value {
    let status = if message.is_empty() { "True" } else { "False" };
    json!({
        "type": kind, "status": status, "reason": reason, "message": message,
        "observedGeneration": generation, "lastTransitionTime": now,
    })
}

/// A route is accepted by each Gateway that there is; its references are resolved where all its Services are there.
fn tell_route(cluster: &Cluster, route: &Value, gateways: &BTreeSet<Name>, services: &BTreeSet<Name>) {
    let (namespace, _) = routes::name(route);
    let generation = &route["metadata"]["generation"];
    let now = stamp(cluster);
    let missing = routes::missing_backends(route, services);
    let (reason, message) = if missing.is_empty() {
        ("ResolvedRefs", String::new())
    } else {
        ("BackendNotFound", format!("there is no Service {}", missing.join(", ")))
    };
    let parents = route
        .at("/spec/parentRefs")
        .and_then(Value::as_array)
        .into_iter()
        .flatten();
    let parents: Vec<Value> = parents
        .filter(|parent| {
            let of = |field: &str| parent[field].as_str();
            let at = of("namespace").unwrap_or(&namespace);
            matches!(of("kind"), None | Some("Gateway"))
                && gateways.contains(&(at.to_owned(), of("name").unwrap_or_default().to_owned()))
        })
        .map(|parent| {
            json!({
                "parentRef": parent, "controllerName": CONTROLLER,
                "conditions": [
                    condition("Accepted", "Accepted", "", generation, &now),
                    condition("ResolvedRefs", reason, &message, generation, &now),
                ],
            })
        })
        .collect();
    write(cluster, "httproutes", route, json!({"parents": parents}));
}

fn tell_gateway(cluster: &Cluster, gateway: &Value) {
    let generation = &gateway["metadata"]["generation"];
    let now = stamp(cluster);
    let both = |second: &str| {
        json!([
            condition("Accepted", "Accepted", "", generation, &now),
            condition(second, second, "", generation, &now),
        ])
    };
    let listeners = gateway
        .at("/spec/listeners")
        .and_then(Value::as_array)
        .into_iter()
        .flatten();
    let listeners: Vec<Value> = listeners
        .map(|listener| {
            json!({
                "name": listener["name"], "attachedRoutes": 0, "supportedKinds": [],
                "conditions": both("Programmed"),
            })
        })
        .collect();
    let address = json!([{"type": "IPAddress", "value": "127.0.0.1"}]);
    let status = json!({"addresses": address, "conditions": both("Programmed"), "listeners": listeners});
    write(cluster, "gateways", gateway, status);
}

/// Writes a status where it says something else, times apart.
fn write(cluster: &Cluster, plural: &str, object: &Value, status: Value) {
    if timeless(&object["status"]) == timeless(&status) {
        return;
    }
    let of = |path: &str| object.at(path).and_then(Value::as_str).unwrap_or_default();
    let patch = Patch::Merge(json!({"status": status}));
    let (namespace, name) = (of("/metadata/namespace"), of("/metadata/name"));
    // Gone in the meantime, or defined by a user's own schema that has no such field: nothing depends on it.
    let _ = cluster.patch(USER, plural, namespace, name, Some("status"), &patch);
}

fn timeless(status: &Value) -> Value {
    match status {
        Value::Object(fields) => {
            let kept = fields.iter().filter(|(name, _)| *name != "lastTransitionTime");
            Value::Object(kept.map(|(name, value)| (name.clone(), timeless(value))).collect())
        }
        Value::Array(items) => items.iter().map(timeless).collect(),
        other => other.clone(),
    }
}

fn stamp(cluster: &Cluster) -> String {
    cluster.now().to_rfc3339_opts(chrono::SecondsFormat::Secs, true)
}
