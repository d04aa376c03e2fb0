//! Which backend a request goes to: HTTPRoutes, Services and EndpointSlices read with a gateway's eyes. Pure.
//!
//! Hosts, paths, methods and headers are matched with the precedence of the Gateway API; filters are not carried out. A host
//! that no route has but that is a Service's name (`shop.default`, `shop.default.svc`) goes to that Service.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
    sync::Arc,
};

use http::{HeaderMap, Method};
use serde_json::Value;
use serin_model::At as _;

use crate::{notes::Name, pods::Running};

/// Everything that the gateway knows.
#[derive(Debug, Default)]
pub(crate) struct Table {
    rules: Vec<Rule>,
    /// By namespace and name: endpoints of each port of a Service.
    services: BTreeMap<Name, BTreeMap<u16, Vec<SocketAddr>>>,
}

/// One rule of a route.
#[derive(Debug)]
pub(crate) struct Rule {
    pub(crate) route: Name,
    index: usize,
    hosts: Vec<String>,
    matches: Vec<Value>,
    pub(crate) backends: Vec<Backend>,
}

/// A Service with its share of a rule.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Backend {
    pub(crate) service: String,
    pub(crate) weight: u64,
    pub(crate) endpoints: Vec<SocketAddr>,
}

/// How well a rule fits: host, path, method, headers; the larger the better.
type Fit = (usize, usize, usize, usize);

impl Table {
    pub(crate) fn new(
        routes: &[Arc<Value>],
        services: &[Arc<Value>],
        slices: &[Arc<Value>],
        pods: &BTreeMap<Name, Running>,
    ) -> Self {
        let services = services
            .iter()
            .map(|service| (name(service), endpoints(service, slices, pods)))
            .collect();
        let mut table = Self {
            rules: Vec::new(),
            services,
        };
        for route in routes {
            for (index, rule) in list(route.at("/spec/rules")).iter().enumerate() {
                let backends = list(rule.get("backendRefs")).iter();
                let backends = backends.map(|backend| table.backend(backend, &name(route).0)).collect();
                let hosts = list(route.at("/spec/hostnames")).iter().filter_map(Value::as_str);
                table.rules.push(Rule {
                    route: name(route),
                    index,
                    hosts: hosts.map(str::to_lowercase).collect(),
                    matches: list(rule.get("matches")).to_vec(),
                    backends,
                });
            }
        }
        table
    }

    fn backend(&self, backend: &Value, namespace: &str) -> Backend {
        let of = |field: &str| backend[field].as_str().unwrap_or_default().to_owned();
        let namespace = backend["namespace"].as_str().unwrap_or(namespace).to_owned();
        let port = backend["port"].as_u64().and_then(|port| u16::try_from(port).ok());
        Backend {
            service: of("name"),
            weight: backend["weight"].as_u64().unwrap_or(1),
            endpoints: self.endpoints(&(namespace, of("name")), port),
        }
    }

    fn endpoints(&self, service: &Name, port: Option<u16>) -> Vec<SocketAddr> {
        let ports = self.services.get(service);
        let found = ports.and_then(|ports| match port {
            Some(port) => ports.get(&port),
            None => ports.values().next(),
        });
        found.cloned().unwrap_or_default()
    }

    /// The rule that fits best, the first of several.
    pub(crate) fn rule(&self, host: &str, path: &str, method: &Method, headers: &HeaderMap) -> Option<&Rule> {
        let host = host_only(host);
        let mut best: Option<(Fit, &Rule)> = None;
        for rule in &self.rules {
            let fit = rule.fits(&host, path, method, headers);
            if let Some(fit) = fit
                && best.is_none_or(|(so_far, _)| fit > so_far)
            {
                best = Some((fit, rule));
            }
        }
        best.map(|(_, rule)| rule)
    }

    /// A Service by its name within the cluster.
    pub(crate) fn service(&self, host: &str) -> Option<Backend> {
        let host = host_only(host);
        let mut parts = host.split('.');
        let (service, namespace) = (parts.next()?, parts.next()?);
        if !matches!(
            parts.collect::<Vec<_>>().as_slice(),
            [] | ["svc"] | ["svc", "cluster", "local"]
        ) {
            return None;
        }
        let key = (namespace.to_owned(), service.to_owned());
        self.services.contains_key(&key).then(|| Backend {
            service: service.to_owned(),
            weight: 1,
            endpoints: self.endpoints(&key, None),
        })
    }
}

impl Rule {
    fn fits(&self, host: &str, path: &str, method: &Method, headers: &HeaderMap) -> Option<Fit> {
        let of_host = if self.hosts.is_empty() {
            0
        } else {
            let fits = self.hosts.iter().filter_map(|wanted| match wanted.strip_prefix('*') {
                // `*.example` does not stand for `example` itself.
                Some(end) => (host.ends_with(end) && host.len() > end.len()).then_some(end.len()),
                None => (wanted == host).then_some(usize::MAX),
            });
            fits.max()?
        };
        if self.matches.is_empty() {
            return Some((of_host, 1, 0, 0));
        }
        let fits = self.matches.iter().filter_map(|one| {
            let wanted = one.at("/path/value").and_then(Value::as_str).unwrap_or("/");
            let of_path = match one.at("/path/type").and_then(Value::as_str) {
                Some("Exact") => (wanted == path).then_some(usize::MAX)?,
                Some("PathPrefix") | None => {
                    let prefix = wanted.trim_end_matches('/');
                    let rest = path.strip_prefix(prefix)?;
                    (rest.is_empty() || rest.starts_with('/')).then_some(prefix.len() + 1)?
                }
                Some(_) => return None,
            };
            let of_method = match one["method"].as_str() {
                Some(wanted) => usize::from((wanted == method.as_str()).then_some(true)?),
                None => 0,
            };
            let wanted = list(one.get("headers"));
            let all = wanted.iter().all(|header| {
                let name = header["name"].as_str().unwrap_or_default();
                let given = headers.get(name).and_then(|value| value.to_str().ok());
                given.is_some() && given == header["value"].as_str()
            });
            all.then_some((of_host, of_path, of_method, wanted.len()))
        });
        fits.max()
    }
}

/// Whether a route hangs on anything: a Gateway that is there, or for a mesh a Service.
pub(crate) fn is_attached(route: &Value, gateways: &BTreeSet<Name>, services: &BTreeSet<Name>) -> bool {
    let own = name(route).0;
    list(route.at("/spec/parentRefs")).iter().any(|parent| {
        let of = |field: &str| parent[field].as_str();
        let parent = (
            of("namespace").unwrap_or(&own).to_owned(),
            of("name").unwrap_or_default().to_owned(),
        );
        match of("kind") {
            None | Some("Gateway") => gateways.contains(&parent),
            Some("Service") => services.contains(&parent),
            Some(_) => false,
        }
    })
}

/// Services that a route sends to and that are not there, each once.
pub(crate) fn missing_backends(route: &Value, services: &BTreeSet<Name>) -> Vec<String> {
    let own = name(route).0;
    let rules = list(route.at("/spec/rules")).iter();
    let backends = rules.flat_map(|rule| list(rule.get("backendRefs")));
    let missing: BTreeSet<String> = backends
        .filter(|backend| matches!(backend["kind"].as_str(), None | Some("Service")))
        .filter_map(|backend| {
            let of = |field: &str| backend[field].as_str();
            let namespace = of("namespace").unwrap_or(&own);
            let service = of("name").unwrap_or_default();
            let is_there = services.contains(&(namespace.to_owned(), service.to_owned()));
            (!is_there).then(|| format!("{namespace}/{service}"))
        })
        .collect();
    missing.into_iter().collect()
}

/// What each backend got less than its share so far: the split is exact.
#[derive(Debug, Default)]
pub(crate) struct Balance {
    owed: BTreeMap<(Name, usize), (Vec<u64>, Vec<f64>)>,
    turns: BTreeMap<String, usize>,
}

impl Balance {
    /// The backend whose turn it is; nothing where no backend has any weight.
    pub(crate) fn backend<'a>(&mut self, rule: &'a Rule) -> Option<&'a Backend> {
        let weights: Vec<u64> = rule.backends.iter().map(|backend| backend.weight).collect();
        let total: u64 = weights.iter().sum();
        if total == 0 {
            return None;
        }
        let key = (rule.route.clone(), rule.index);
        let (known, owed) = self.owed.entry(key).or_default();
        if *known != weights {
            *owed = vec![0.0; weights.len()];
            known.clone_from(&weights);
        }
        let mut chosen = 0;
        for (index, weight) in weights.iter().enumerate() {
            owed[index] += *weight as f64 / total as f64;
            if owed[index] > owed[chosen] {
                chosen = index;
            }
        }
        owed[chosen] -= 1.0;
        rule.backends.get(chosen)
    }

    /// The endpoint whose turn it is.
    pub(crate) fn endpoint(&mut self, backend: &Backend) -> Option<SocketAddr> {
        let turn = self.turns.entry(backend.service.clone()).or_default();
        *turn = turn.wrapping_add(1);
        let count = backend.endpoints.len();
        backend.endpoints.get(turn.checked_rem(count)?).copied()
    }
}

/// Addresses of the ready endpoints behind each port of a Service.
fn endpoints(service: &Value, slices: &[Arc<Value>], pods: &BTreeMap<Name, Running>) -> BTreeMap<u16, Vec<SocketAddr>> {
    let (namespace, own) = name(service);
    let mut out: BTreeMap<u16, Vec<SocketAddr>> = BTreeMap::new();
    for port in list(service.at("/spec/ports")) {
        let Some(number) = port["port"].as_u64().and_then(|n| u16::try_from(n).ok()) else {
            continue;
        };
        let addresses = out.entry(number).or_default();
        let its_slices = slices.iter().filter(|slice| {
            let labels = slice.at("/metadata/labels");
            name(slice).0 == namespace && labels.is_some_and(|l| l["kubernetes.io/service-name"] == *own)
        });
        for slice in its_slices {
            let named = list(slice.get("ports")).iter();
            let wanted = port["name"].as_str().unwrap_or_default();
            let target = named
                .filter(|p| p["name"].as_str().unwrap_or_default() == wanted)
                .find_map(|p| u16::try_from(p["port"].as_u64()?).ok());
            let ready = list(slice.get("endpoints")).iter();
            for endpoint in ready.filter(|e| e["conditions"]["ready"] == true) {
                let pod = endpoint["targetRef"]["name"].as_str().unwrap_or_default();
                let running = pods.get(&(namespace.clone(), pod.to_owned()));
                addresses.extend(running.and_then(|running| running.port(target?)));
            }
        }
        addresses.sort_unstable();
    }
    out
}

fn host_only(host: &str) -> String {
    host.split(':').next().unwrap_or(host).to_lowercase()
}

pub(crate) fn name(object: &Value) -> Name {
    let text = |path: &str| object.at(path).and_then(Value::as_str).unwrap_or_default().to_owned();
    (text("/metadata/namespace"), text("/metadata/name"))
}

fn list(value: Option<&Value>) -> &[Value] {
    value.and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn table(routes: &[Value]) -> Table {
        let routes: Vec<_> = routes.iter().cloned().map(Arc::new).collect();
        let service = json!({"metadata": {"namespace": "n", "name": "stable"}, "spec": {"ports": [{"port": 80}]}});
        let slice = json!({
            "metadata": {"namespace": "n", "labels": {"kubernetes.io/service-name": "stable"}},
            "ports": [{"name": "", "port": 8080}],
            "endpoints": [
                {"conditions": {"ready": true}, "targetRef": {"name": "a"}},
                {"conditions": {"ready": false}, "targetRef": {"name": "b"}},
            ],
        });
        let running = |name: &str, last: u8| {
            let pod = Running {
                namespace: "n".to_owned(),
                name: name.to_owned(),
                object: Arc::default(),
                listens: vec![(8080, SocketAddr::from(([127, 20, 0, last], 8080)))],
            };
            (("n".to_owned(), name.to_owned()), pod)
        };
        let pods = [running("a", 1), running("b", 2)].into_iter().collect();
        Table::new(&routes, &[Arc::new(service)], &[Arc::new(slice)], &pods)
    }

    fn route(name: &str, hosts: &[&str], rules: Value) -> Value {
        json!({"metadata": {"namespace": "n", "name": name}, "spec": {"hostnames": hosts, "rules": rules}})
    }

    fn chosen(table: &Table, host: &str, path: &str) -> Option<String> {
        let rule = table.rule(host, path, &Method::GET, &HeaderMap::new())?;
        Some(format!("{}/{}", rule.route.1, rule.index))
    }

    #[test]
    fn the_rule_that_says_most_wins() {
        let prefix = |path: &str| json!({"matches": [{"path": {"type": "PathPrefix", "value": path}}]});
        let table = table(&[
            route("any", &[], json!([prefix("/")])),
            route("wild", &["*.example"], json!([prefix("/")])),
            route(
                "shop",
                &["shop.example"],
                json!([prefix("/"), prefix("/cart"), {"matches": [{"path": {"type": "Exact", "value": "/cart/x"}}]}]),
            ),
        ]);
        for (host, path, wanted) in [
            ("other", "/", "any/0"),
            ("a.example", "/", "wild/0"),
            ("example", "/", "any/0"),
            ("SHOP.example:8080", "/", "shop/0"),
            ("shop.example", "/cart/y", "shop/1"),
            ("shop.example", "/cartoon", "shop/0"),
            ("shop.example", "/cart/x", "shop/2"),
        ] {
            assert_eq!(chosen(&table, host, path).as_deref(), Some(wanted), "{host}{path}");
        }
    }

    #[test]
    fn weights_split_requests_exactly_and_a_new_weight_begins_anew() {
        let rules = |canary: u64| json!([{"backendRefs": [{"name": "stable", "port": 80, "weight": 100 - canary}, {"name": "canary", "port": 80, "weight": canary}]}]);
        let mut balance = Balance::default();
        for weight in [5, 50, 0, 100] {
            let table = table(&[route("shop", &[], rules(weight))]);
            let rule = table.rule("any", "/", &Method::GET, &HeaderMap::new()).expect("a rule");
            let to_canary = (0..100).filter(|_| balance.backend(rule).is_some_and(|b| b.service == "canary"));
            assert_eq!(to_canary.count() as u64, weight);
        }
    }

    #[test]
    fn a_route_is_attached_to_a_gateway_that_exists_and_names_its_missing_services() {
        let names =
            |names: &[&str]| -> BTreeSet<Name> { names.iter().map(|n| ("n".to_owned(), (*n).to_owned())).collect() };
        let with_parent = |parent: Value| {
            let mut route = route(
                "shop",
                &[],
                json!([{"backendRefs": [{"name": "stable"}, {"name": "canary"}]}]),
            );
            route["spec"]["parentRefs"] = json!([parent]);
            route
        };
        let (gateways, services) = (names(&["gateway"]), names(&["stable"]));
        for (parent, expected) in [
            (json!({"name": "gateway"}), true),
            (json!({"name": "gateway", "namespace": "elsewhere"}), false),
            (json!({"name": "gone"}), false),
            (json!({"kind": "Service", "group": "", "name": "stable"}), true),
            (json!({"kind": "Mesh", "name": "gateway"}), false),
        ] {
            assert_eq!(
                is_attached(&with_parent(parent.clone()), &gateways, &services),
                expected,
                "{parent}"
            );
        }
        assert!(!is_attached(&route("shop", &[], json!([])), &gateways, &services));
        let route = with_parent(json!({"name": "gateway"}));
        assert_eq!(missing_backends(&route, &services), ["n/canary"]);
        assert!(missing_backends(&route, &names(&["stable", "canary"])).is_empty());
    }

    #[test]
    fn only_ready_endpoints_are_asked_and_services_by_their_names() {
        let table = table(&[]);
        let backend = table.service("stable.n.svc").expect("the Service");
        assert_eq!(backend.endpoints, [SocketAddr::from(([127, 20, 0, 1], 8080))]);
        assert_eq!(Balance::default().endpoint(&backend), Some(backend.endpoints[0]));
        assert!(table.service("stable.n.example").is_none() && table.service("other.n").is_none());
    }
}
