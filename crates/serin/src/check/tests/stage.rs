//! The cluster of the tests: shipped manifests in kubesim, and a Prometheus in memory that evaluates what it is asked.

use std::sync::{Arc, LazyLock, Mutex};

use async_trait::async_trait;
use serde_json::{Value, json};
use serin_controller::Clock;
use serin_kubesim::{Call, Cluster, Crd, Intercept, Interception, Options, Patch, Status as Refusal};
use serin_promql::{Labels, Query, Store};
use serin_providers::{HttpRequest, HttpResponse, HttpTransport, TransportError};
use serin_rehearse::manifests::documents;

use crate::check::{
    definitions::SHIPPED,
    findings,
    line::{Line, Status},
    observe::{self, Wanted},
    observed::{Observed, Trouble},
};

pub(super) const USER: &str = "admin";
pub(super) const HOME: &str = "argo-rollouts";
pub(super) const SHOP: &str = "shop";

const CONTROLLER: [&str; 4] = [
    include_str!("../../../../../deploy/base/controller/service-account.yaml"),
    include_str!("../../../../../deploy/base/controller/lease.yaml"),
    include_str!("../../../../../deploy/base/controller/deployment.yaml"),
    include_str!("../../../../../deploy/base/controller/disruption-budget.yaml"),
];
const RIGHTS: [&str; 2] = [
    include_str!("../../../../../deploy/base/cluster-rights/cluster-role.yaml"),
    include_str!("../../../../../deploy/base/cluster-rights/cluster-role-binding.yaml"),
];
const EXAMPLE: [&str; 5] = [
    include_str!("../../../../../examples/canary-gateway/services.yaml"),
    include_str!("../../../../../examples/canary-gateway/route.yaml"),
    include_str!("../../../../../analysis-templates/http-error-rate.yaml"),
    include_str!("../../../../../analysis-templates/http-latency-p99.yaml"),
    include_str!("../../../../../examples/canary-gateway/rollout.yaml"),
];
/// What the shipped rules record.
pub(super) const RECORDED: [&str; 3] = [
    "serin:http_requests:increase5m",
    "serin:http_error_rate:ratio_rate5m",
    "serin:http_request_duration_seconds:p99_rate5m",
];

/// Parsed once: that takes longer than everything else here.
static DEFINITIONS: LazyLock<Vec<Arc<Crd>>> = LazyLock::new(|| {
    SHIPPED
        .iter()
        .map(|d| Crd::parse(&d.object).expect("shipped"))
        .collect()
});

/// A shipped definition as the API server has it.
fn established(mut object: Value) -> Value {
    object["status"] = json!({
        "storedVersions": ["v1alpha1"],
        "conditions": [{"type": "Established", "status": "True", "reason": "InitialNamesAccepted", "message": ""}],
    });
    object
}

/// A definition that takes anything.
fn definition(group: &str, version: &str, kind: &str, plural: &str) -> Value {
    json!({
        "metadata": {"name": format!("{plural}.{group}"), "annotations": {"api-approved.kubernetes.io": "unapproved, test-only"}},
        "spec": {
            "group": group, "scope": "Namespaced", "names": {"kind": kind, "plural": plural, "singular": kind.to_lowercase(), "listKind": format!("{kind}List")},
            "versions": [{
                "name": version, "served": true, "storage": true,
                "schema": {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": true}},
            }],
        },
    })
}

/// The Prometheus.
#[derive(Default)]
pub(super) struct Prometheus {
    pub(super) store: Store,
    pub(super) rules: Vec<&'static str>,
    /// Nobody answers.
    pub(super) is_away: bool,
    /// It answers this status and nothing else.
    pub(super) refuses: Option<u16>,
    pub(super) at: i64,
    /// Basic names and passwords that it was asked with.
    pub(super) asked_by: Vec<Option<(String, String)>>,
}

impl Prometheus {
    pub(super) fn add(&mut self, metric: &str, labels: &[(&str, &str)]) {
        let labels = Labels::metric(metric, labels.iter().copied());
        self.store.add(&labels, self.at, 1.0).expect("each series once");
    }

    fn answer(&self, url: &str) -> Value {
        let (path, query) = url.split_once('?').unwrap_or((url, ""));
        let parameter = |name: &str| {
            query
                .split('&')
                .find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='))
                .map(decode)
        };
        if path.ends_with("/api/v1/query") {
            let text = parameter("query").expect("a query");
            let value = Query::parse(&text).map_err(|e| e.to_string());
            let value = value.and_then(|q| q.instant(&self.store, self.at).map_err(|e| e.to_string()));
            return match value {
                Ok(serin_promql::Value::Vector(elements)) => {
                    let result: Vec<Value> = elements
                        .iter()
                        .map(|(labels, n)| {
                            let labels: serde_json::Map<String, Value> =
                                labels.iter().map(|(k, v)| (k.to_owned(), v.into())).collect();
                            json!({"metric": labels, "value": [0, n.to_string()]})
                        })
                        .collect();
                    json!({"status": "success", "data": {"resultType": "vector", "result": result}})
                }
                Ok(_) => json!({"status": "success", "data": {"resultType": "scalar", "result": [0, "1"]}}),
                Err(error) => json!({"status": "error", "errorType": "bad_data", "error": error}),
            };
        }
        if path.ends_with("/buildinfo") {
            return json!({"status": "success", "data": {"version": "3.5.0"}});
        }
        if path.ends_with("/rules") {
            let rules: Vec<Value> = self.rules.iter().map(|name| json!({"name": name})).collect();
            return json!({"status": "success", "data": {"groups": [{"rules": rules}]}});
        }
        let label = path
            .split("/label/")
            .nth(1)
            .and_then(|rest| rest.strip_suffix("/values"))
            .expect("a known path");
        let mut values: Vec<&str> = self
            .store
            .iter()
            .map(|(labels, _)| labels.get(label))
            .filter(|v| !v.is_empty())
            .collect();
        values.dedup();
        json!({"status": "success", "data": values})
    }
}

fn decode(text: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte == b'%' {
            let digits: String = rest.by_ref().take(2).map(char::from).collect();
            bytes.push(u8::from_str_radix(&digits, 16).expect("two digits"));
        } else {
            bytes.push(byte);
        }
    }
    String::from_utf8(bytes).expect("UTF-8")
}

struct Transport(Arc<Mutex<Prometheus>>);

#[async_trait]
impl HttpTransport for Transport {
    async fn send(&self, request: HttpRequest) -> Result<HttpResponse, TransportError> {
        let mut prometheus = self.0.lock().unwrap();
        prometheus.asked_by.push(request.basic_auth.clone());
        if prometheus.is_away {
            return Err(TransportError::Lookup {
                host: "prometheus.monitoring.svc".into(),
                reason: "no such host".into(),
            });
        }
        if let Some(status) = prometheus.refuses {
            return Ok(HttpResponse {
                status,
                body: b"no".to_vec(),
            });
        }
        let body = prometheus.answer(&request.url).to_string().into_bytes();
        Ok(HttpResponse { status: 200, body })
    }
}

/// Refuses what a test says.
struct Forbid(Box<dyn Fn(&Call<'_>) -> bool + Send + Sync>);

impl Intercept for Forbid {
    fn request(&self, call: &Call<'_>) -> Interception {
        if (self.0)(call) {
            let message = format!(
                "{} is forbidden: User \"{}\" cannot {} it",
                call.resource, call.user, call.verb
            );
            return Interception::Before(Refusal::new(403, "Forbidden", message));
        }
        Interception::Pass
    }
}

/// The cluster and its Prometheus.
pub(super) struct Stage {
    pub(super) cluster: Cluster,
    prometheus: Arc<Mutex<Prometheus>>,
    pub(super) wanted: Wanted,
    /// The definitions are objects of the cluster, and not only as good as there.
    has_definitions: bool,
}

impl Stage {
    /// Nothing is installed.
    pub(super) fn empty() -> Self {
        let cluster = Cluster::new(Options::default());
        for (kind, plural) in [("HTTPRoute", "httproutes"), ("Gateway", "gateways")] {
            create(
                &cluster,
                "customresourcedefinitions",
                definition("gateway.networking.k8s.io", "v1", kind, plural),
            );
        }
        let prometheus = Prometheus {
            at: cluster.now().timestamp_millis(),
            ..Prometheus::default()
        };
        Self {
            cluster,
            prometheus: Arc::new(Mutex::new(prometheus)),
            wanted: Wanted {
                default_namespace: "default".into(),
                ..Wanted::default()
            },
            has_definitions: true,
        }
    }

    /// Serin leads, the example is stable, and all its metrics are there.
    pub(super) fn healthy() -> Self {
        let stage = Self {
            has_definitions: false,
            ..Self::empty()
        };
        for definition in DEFINITIONS.iter() {
            stage.cluster.register(definition);
        }
        stage.install();
        stage
    }

    /// The same, and the resource definitions can be read.
    pub(super) fn with_definitions() -> Self {
        let stage = Self::empty();
        for definition in SHIPPED.iter() {
            stage.create("customresourcedefinitions", definition.object.clone());
        }
        stage.install();
        stage
    }

    fn install(&self) {
        let stage = self;
        for namespace in [HOME, SHOP, "gateway"] {
            stage.create("namespaces", json!({"metadata": {"name": namespace}}));
        }
        for text in CONTROLLER {
            stage.apply(text, HOME);
        }
        for text in RIGHTS {
            stage.apply(text, "");
        }
        for text in EXAMPLE {
            stage.apply(text, SHOP);
        }
        let ready = json!({"status": {"replicas": 2, "readyReplicas": 2}});
        stage.status("deployments", HOME, "serin", ready);
        for name in ["serin-1-a", "serin-1-b"] {
            stage.pod(name, "serin");
        }
        stage.hold("serin-1-a_0", 15);
        let hash = stage.hash();
        stage.status(
            "rollouts",
            SHOP,
            "checkout",
            json!({"status": {"currentPodHash": hash, "stableRS": hash}}),
        );
        for service in ["checkout-stable", "checkout-canary"] {
            stage.merge(
                "services",
                SHOP,
                service,
                json!({"spec": {"selector": {"rollouts-pod-template-hash": hash}}}),
            );
            stage.create(
                "endpointslices",
                json!({
                    "metadata": {"name": service, "namespace": SHOP, "labels": {"kubernetes.io/service-name": service}},
                    "addressType": "IPv4", "ports": [],
                    "endpoints": [{"addresses": ["10.0.0.1"], "conditions": {"ready": true}}],
                }),
            );
        }
        let is = |kind: &str| json!({"type": kind, "status": "True", "reason": kind, "message": ""});
        let accepted = json!({"status": {"parents": [{"parentRef": {"name": "gw"}, "conditions": [is("Accepted"), is("ResolvedRefs")]}]}});
        stage.merge("httproutes", SHOP, "checkout", accepted);
        stage.create(
            "gateways",
            json!({
                "metadata": {"name": "gw", "namespace": "gateway"}, "spec": {"gatewayClassName": "class"},
                "status": {"conditions": [is("Accepted"), is("Programmed")]},
            }),
        );
        {
            let mut prometheus = stage.prometheus();
            prometheus.rules = RECORDED.to_vec();
            for metric in RECORDED.into_iter().chain(["http_requests_total"]) {
                prometheus.add(metric, &[("namespace", SHOP), ("rollouts_pod_template_hash", &hash)]);
            }
        }
    }

    /// Hash of the example's pod template.
    pub(super) fn hash(&self) -> String {
        let rollout = self.cluster.get("rollouts", SHOP, "checkout").unwrap();
        let template = serin_api::template::PodTemplate(rollout["spec"]["template"].clone());
        serin_api::hash::pod_template_hash(&template, None)
    }

    pub(super) fn prometheus(&self) -> std::sync::MutexGuard<'_, Prometheus> {
        self.prometheus.lock().unwrap()
    }

    /// Prometheus forgets all series and gets these, each once with the labels.
    pub(super) fn series(&self, series: &[(&str, &[(&str, &str)])]) {
        let mut prometheus = self.prometheus();
        prometheus.store = Store::new();
        for (metric, labels) in series {
            prometheus.add(metric, labels);
        }
    }

    pub(super) fn create(&self, resource: &str, object: Value) {
        create(&self.cluster, resource, object);
    }

    /// The objects of a manifest.
    pub(super) fn apply(&self, manifest: &str, namespace: &str) {
        for mut document in documents("a shipped file", manifest).unwrap() {
            let object = &mut document.object;
            if !namespace.is_empty() {
                object["metadata"]["namespace"] = namespace.into();
                let subjects = object.get_mut("subjects").and_then(Value::as_array_mut);
                for subject in subjects.into_iter().flatten() {
                    subject["namespace"] = namespace.into();
                }
            }
            let kind = object["kind"].as_str().unwrap().to_lowercase();
            let object = object.clone();
            self.create(&format!("{kind}s"), object);
        }
    }

    pub(super) fn merge(&self, resource: &str, namespace: &str, name: &str, patch: Value) {
        let patched = self
            .cluster
            .patch(USER, resource, namespace, name, None, &Patch::Merge(patch));
        patched.unwrap_or_else(|e| panic!("patch {resource} {name}: {}", e.message));
    }

    pub(super) fn status(&self, resource: &str, namespace: &str, name: &str, patch: Value) {
        let patched = self
            .cluster
            .patch(USER, resource, namespace, name, Some("status"), &Patch::Merge(patch));
        patched.unwrap_or_else(|e| panic!("patch {resource} {name}: {}", e.message));
    }

    pub(super) fn delete(&self, resource: &str, namespace: &str, name: &str) {
        let deleted = self.cluster.delete(USER, resource, namespace, name, &Value::Null);
        deleted.unwrap_or_else(|e| panic!("delete {resource} {name}: {}", e.message));
    }

    /// A pod of a controller.
    pub(super) fn pod(&self, name: &str, product: &str) {
        self.create(
            "pods",
            json!({
                "metadata": {"name": name, "namespace": HOME, "labels": {"app.kubernetes.io/name": product}},
                "spec": {"containers": [{"name": "controller", "image": format!("x/{product}:1")}]},
            }),
        );
    }

    /// Somebody holds the Lease since now and for so many seconds.
    pub(super) fn hold(&self, holder: &str, seconds: i64) {
        let now = self.cluster.now().to_rfc3339_opts(chrono::SecondsFormat::Micros, true);
        let spec =
            json!({"holderIdentity": holder, "leaseDurationSeconds": seconds, "renewTime": now, "acquireTime": now});
        let name = "argo-rollouts-controller-lock";
        if self.cluster.get("leases", HOME, name).is_some() {
            self.merge("leases", HOME, name, json!({"spec": spec}));
        } else {
            self.create(
                "leases",
                json!({"metadata": {"name": name, "namespace": HOME}, "spec": spec}),
            );
        }
    }

    /// A controller of Argo Rollouts.
    pub(super) fn argo(&self, namespace: &str) {
        if self.cluster.get("namespaces", "", namespace).is_none() {
            self.create("namespaces", json!({"metadata": {"name": namespace}}));
        }
        let labels = json!({"app.kubernetes.io/name": "argo-rollouts"});
        self.create(
            "deployments",
            json!({
                "metadata": {"name": "argo-rollouts", "namespace": namespace, "labels": labels},
                "spec": {"replicas": 1, "selector": {"matchLabels": labels}, "template": {
                    "metadata": {"labels": labels},
                    "spec": {"containers": [{"name": "argo-rollouts", "image": "quay.io/argoproj/argo-rollouts:v1.8.3"}]},
                }},
            }),
        );
    }

    /// From now on these requests are refused.
    pub(super) fn forbid(&self, which: impl Fn(&Call<'_>) -> bool + Send + Sync + 'static) {
        self.cluster.intercept(Arc::new(Forbid(Box::new(which))));
    }

    pub(super) async fn observe(&self) -> Result<Observed, Trouble> {
        let transport = Arc::new(Transport(Arc::clone(&self.prometheus)));
        let clock = Clock::starting_at(self.cluster.now());
        let mut seen = observe::observe(self.cluster.client(USER), transport, &clock, &self.wanted).await?;
        if !self.has_definitions {
            for definition in SHIPPED.iter() {
                let read = seen.definitions.get_mut(&format!("{}.argoproj.io", definition.plural));
                if let Some(Ok(read)) = read {
                    *read = Some(established(definition.object.clone()));
                }
            }
        }
        Ok(seen)
    }

    pub(super) async fn check(&self) -> Vec<Line> {
        findings(&self.observe().await.expect("the API server answers"))
    }
}

fn create(cluster: &Cluster, resource: &str, object: Value) {
    let name = object["metadata"]["name"].to_string();
    let created = cluster.create(USER, resource, object);
    created.unwrap_or_else(|e| panic!("create {resource} {name}: {}", e.message));
}

/// Ids and statuses of what did not pass, each once.
pub(super) fn wrong(lines: &[Line]) -> Vec<(&'static str, Status)> {
    let mut wrong: Vec<_> = lines
        .iter()
        .filter(|line| line.status != Status::Pass)
        .map(|line| (line.check.id, line.status))
        .collect();
    wrong.dedup();
    wrong
}
