//! What is put on stage: somebody's manifests, completed with what they refer to, or a small shop. Pure.
//!
//! What is supplied or left out is said in `notes`. The controller judges the rest: a Rollout that it would refuse is put on
//! stage as well, and its status says why.

use std::collections::BTreeSet;

use serde_json::{Value, json};
use serin_api::rollout::Rollout;
use serin_model::At as _;
use serin_staging::manifests::{self, Document};

use crate::{behaviour::repository, gateway::CLASS, load::Door};

/// The namespace of what names none.
const DEFAULT: &str = "default";
/// The shipped templates.
const TEMPLATES: [(&str, &str); 3] = [
    (
        "http-error-rate",
        include_str!("../../../analysis-templates/http-error-rate.yaml"),
    ),
    (
        "http-latency-p99",
        include_str!("../../../analysis-templates/http-latency-p99.yaml"),
    ),
    (
        "http-success-rate",
        include_str!("../../../analysis-templates/http-success-rate.yaml"),
    ),
];
const RULES: &str = include_str!("../../../analysis-templates/recording-rules.yaml");
const SHOP: &str = include_str!("../data/shop.yaml");
/// The group of the shipped rules that further windows are made from.
const SHORT: (&str, &str) = ("- name: serin-http-30s", "30s");
/// Their windows, and how often they are evaluated.
const WINDOWS: [(&str, &str); 1] = [("10s", "1s")];

/// See the module.
#[derive(Clone, Debug, Default)]
pub struct Stage {
    /// Objects in the order in which they are created.
    pub objects: Vec<Document>,
    /// Files of recording rules.
    pub rules: Vec<String>,
    /// Where users come in: one door for each Rollout.
    pub doors: Vec<Door>,
    /// Namespace and name of each Rollout.
    pub rollouts: Vec<(String, String)>,
    /// The image of each Rollout's first container, without its tag.
    pub images: Vec<String>,
    /// What was supplied or left out.
    pub notes: Vec<String>,
}

impl Stage {
    /// The small shop.
    ///
    /// # Panics
    /// Never: a test reads it.
    pub fn shop() -> Self {
        let documents = manifests::documents("the shop", SHOP).expect("the shop's manifests are read by a test");
        let mut stage = Self::of(documents);
        // It is all the playground's own: nobody wonders where it is from.
        stage.notes.clear();
        stage
    }

    /// Somebody's manifests.
    pub fn of(documents: Vec<Document>) -> Self {
        let mut stage = Self {
            rules: vec![RULES.to_owned(), further_rules()],
            ..Self::default()
        };
        let mut own_rules = Vec::new();
        for mut document in documents {
            match (document.group(), document.kind()) {
                (_, "") => own_rules.push(document.object.to_string()),
                ("monitoring.coreos.com", "PrometheusRule") => {
                    own_rules.push(json!({"groups": document.object["spec"]["groups"]}).to_string());
                }
                ("gateway.networking.k8s.io", _)
                    if document.object["apiVersion"] == "gateway.networking.k8s.io/v1beta1" =>
                {
                    document.object["apiVersion"] = json!("gateway.networking.k8s.io/v1");
                    stage.objects.push(document);
                }
                _ => stage.objects.push(document),
            }
        }
        if own_rules.iter().any(|rules| rules.contains("serin:http_")) {
            // Whoever has adapted the shipped rules means theirs.
            stage.rules.clear();
        }
        stage.rules.extend(own_rules);
        let rollouts: Vec<Value> = stage.of_kind("Rollout").map(|d| d.object.clone()).collect();
        for rollout in &rollouts {
            stage.complete(rollout);
        }
        stage.supply_gateways();
        stage.supply_namespaces();
        stage.objects.sort_by_key(|document| order(document.kind()));
        stage
    }

    fn of_kind(&self, kind: &str) -> impl Iterator<Item = &Document> {
        self.objects.iter().filter(move |document| document.kind() == kind)
    }

    fn has(&self, kind: &str, namespace: &str, name: &str) -> bool {
        self.of_kind(kind)
            .any(|d| d.name() == name && namespace_of(&d.object) == namespace)
    }

    fn supply(&mut self, object: Value, note: &str) {
        let document = Document {
            source: "the playground".to_owned(),
            object,
        };
        self.notes.push(format!("supplied: {}{note}", document.title()));
        self.objects.push(document);
    }

    /// What a Rollout refers to, and its door.
    fn complete(&mut self, object: &Value) {
        let namespace = namespace_of(object).to_owned();
        let name = object.at("/metadata/name").and_then(Value::as_str).unwrap_or_default();
        self.rollouts.push((namespace.clone(), name.to_owned()));
        let image = object
            .at("/spec/template/spec/containers/0/image")
            .and_then(Value::as_str);
        self.images.push(repository(image.unwrap_or("app")).to_owned());
        for template in templates(object) {
            self.supply_template(&namespace, &template);
        }
        let selector = object
            .at("/spec/selector/matchLabels")
            .cloned()
            .unwrap_or_else(|| json!({}));
        // What is no Rollout is refused by the API or by the controller, with better words.
        let typed = serde_json::from_value::<Rollout>(object.clone()).ok();
        let canary = typed.and_then(|rollout| rollout.spec.strategy.canary);
        let services = canary
            .as_ref()
            .and_then(|c| c.stable_service.clone().zip(c.canary_service.clone()));
        if let Some((stable, canary)) = &services {
            self.supply_service(&namespace, stable, &selector, object);
            self.supply_service(&namespace, canary, &selector, object);
        }
        let routing = canary.as_ref().and_then(|canary| canary.traffic_routing.as_ref());
        let routes = routing.and_then(|routing| serin_traffic::routes(routing, &namespace).ok());
        let first = routes.as_ref().and_then(|routes| routes.first().cloned());
        if let (Some(route), Some((stable, canary))) = (first, services) {
            for route in routes.into_iter().flatten() {
                self.supply_route(&route.namespace, &route.name, &canary, &stable);
            }
            self.doors.push(self.door(&route.namespace, &route.name, &stable));
            return;
        }
        let labels = object.at("/spec/template/metadata/labels").cloned().unwrap_or_default();
        let of_all = self.of_kind("Service").find(|service| {
            let selector = service.object.at("/spec/selector").and_then(Value::as_object);
            namespace_of(&service.object) == namespace
                && selector.is_some_and(|s| !s.is_empty() && s.iter().all(|(key, value)| labels[key] == *value))
        });
        let service = of_all.map_or(name, Document::name).to_owned();
        self.supply_service(&namespace, &service, &selector, object);
        self.doors.push(Door {
            host: format!("{service}.{namespace}"),
            path: "/".to_owned(),
        });
    }

    /// The way through a route to a Service.
    fn door(&self, namespace: &str, name: &str, service: &str) -> Door {
        let route = self
            .of_kind("HTTPRoute")
            .find(|d| d.name() == name && namespace_of(&d.object) == namespace);
        let at = |path: &str| route.and_then(|d| d.object.at(path));
        let rules = at("/spec/rules").and_then(Value::as_array).into_iter().flatten();
        let ours = rules.into_iter().find(|rule| {
            let backends = rule["backendRefs"].as_array().into_iter().flatten();
            backends.into_iter().any(|backend| backend["name"] == *service)
        });
        let path = ours.and_then(|rule| rule.at("/matches/0/path/value")?.as_str());
        let host = at("/spec/hostnames/0").and_then(Value::as_str).unwrap_or("localhost");
        Door {
            host: host.replace('*', "www"),
            path: path.unwrap_or("/").to_owned(),
        }
    }

    fn supply_template(&mut self, namespace: &str, name: &str) {
        let ours = TEMPLATES.iter().find(|(known, _)| *known == name);
        if let Some((_, text)) = ours
            && !self.has("AnalysisTemplate", namespace, name)
        {
            let read = manifests::documents(name, text).expect("the shipped templates are read by a test");
            for mut document in read {
                document.object["metadata"]["namespace"] = json!(namespace);
                self.supply(document.object, ", which Serin ships");
            }
        }
    }

    fn supply_service(&mut self, namespace: &str, name: &str, selector: &Value, rollout: &Value) {
        if self.has("Service", namespace, name) {
            return;
        }
        let port = rollout.at("/spec/template/spec/containers/0/ports/0/containerPort");
        let port = port.cloned().unwrap_or_else(|| json!(8080));
        let service = json!({
            "apiVersion": "v1", "kind": "Service",
            "metadata": {"name": name, "namespace": namespace},
            "spec": {"selector": selector, "ports": [{"port": 80, "targetPort": port}]},
        });
        self.supply(service, ", which was not given");
    }

    fn supply_route(&mut self, namespace: &str, name: &str, canary: &str, stable: &str) {
        if self.has("HTTPRoute", namespace, name) {
            return;
        }
        let port = |service: &str| {
            let found = self.of_kind("Service").find(|d| d.name() == service);
            found
                .and_then(|d| d.object.at("/spec/ports/0/port").cloned())
                .unwrap_or_else(|| json!(80))
        };
        let backends = [stable, canary].map(|service| json!({"name": service, "port": port(service)}));
        let route = json!({
            "apiVersion": "gateway.networking.k8s.io/v1", "kind": "HTTPRoute",
            "metadata": {"name": name, "namespace": namespace},
            "spec": {"parentRefs": [{"name": "gateway"}], "hostnames": [format!("{name}.example")], "rules": [{"backendRefs": backends}]},
        });
        self.supply(route, ", which was not given");
    }

    fn supply_gateways(&mut self) {
        let mut wanted = BTreeSet::new();
        for route in self.of_kind("HTTPRoute") {
            let parents = route.object.at("/spec/parentRefs").and_then(Value::as_array);
            for parent in parents.into_iter().flatten() {
                let of = |field: &str| parent[field].as_str();
                if matches!(of("kind"), None | Some("Gateway")) {
                    let namespace = of("namespace").unwrap_or_else(|| namespace_of(&route.object));
                    wanted.insert((namespace.to_owned(), of("name").unwrap_or_default().to_owned()));
                }
            }
        }
        for (namespace, name) in wanted {
            if !self.has("Gateway", &namespace, &name) {
                let gateway = json!({
                    "apiVersion": "gateway.networking.k8s.io/v1", "kind": "Gateway",
                    "metadata": {"name": name, "namespace": namespace},
                    "spec": {"gatewayClassName": CLASS, "listeners": [{"name": "http", "protocol": "HTTP", "port": 80}]},
                });
                self.supply(gateway, ", which a route names");
            }
        }
    }

    fn supply_namespaces(&mut self) {
        let all = self
            .objects
            .iter()
            .filter_map(|d| d.object.at("/metadata/namespace")?.as_str());
        let wanted: BTreeSet<String> = all
            .filter(|name| *name != DEFAULT && !name.starts_with("kube-"))
            .map(str::to_owned)
            .collect();
        for name in wanted {
            if !self.of_kind("Namespace").any(|d| d.name() == name) {
                let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}});
                self.supply(namespace, "");
            }
        }
    }
}

/// Names of all templates that a Rollout's analyses refer to, those of clusters apart.
fn templates(value: &Value) -> BTreeSet<String> {
    let mut out = BTreeSet::new();
    match value {
        Value::Object(fields) => {
            if let Some(name) = fields.get("templateName").and_then(Value::as_str)
                && fields.get("clusterScope") != Some(&Value::Bool(true))
            {
                out.insert(name.to_owned());
            }
            out.extend(fields.values().flat_map(templates));
        }
        Value::Array(items) => out.extend(items.iter().flat_map(templates)),
        _ => {}
    }
    out
}

/// What others refer to comes first.
fn order(kind: &str) -> u8 {
    match kind {
        "Namespace" | "CustomResourceDefinition" => 0,
        "Gateway" | "Service" => 1,
        "Rollout" => 3,
        _ => 2,
    }
}

/// The namespace of an object, `default` when it names none.
pub(crate) fn namespace_of(object: &Value) -> &str {
    let given = object.at("/metadata/namespace").and_then(Value::as_str);
    given.filter(|name| !name.is_empty()).unwrap_or(DEFAULT)
}

/// The shipped rules for further windows.
fn further_rules() -> String {
    let (begin, window) = SHORT;
    let group = RULES.split_once(begin).map_or("", |(_, rest)| rest);
    let groups = WINDOWS.iter().map(|(other, interval)| {
        let group = format!("{begin}{group}").replace(window, other);
        group.replace("interval: 2s", &format!("interval: {interval}"))
    });
    format!("groups:\n{}", groups.collect::<String>())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn titles(stage: &Stage) -> Vec<String> {
        stage.objects.iter().map(Document::title).collect()
    }

    #[test]
    fn the_shop_has_all_that_it_refers_to() {
        let stage = Stage::shop();
        let titles = titles(&stage);
        for title in [
            "Gateway/gateway",
            "HTTPRoute/shop",
            "AnalysisTemplate/http-error-rate",
            "AnalysisTemplate/http-latency-p99",
        ] {
            assert_eq!(
                titles.iter().filter(|t| *t == title).count(),
                1,
                "{title} in {titles:?}"
            );
        }
        assert_eq!(titles.last().map(String::as_str), Some("Rollout/shop"));
        let door = Door {
            host: "shop.example".to_owned(),
            path: "/".to_owned(),
        };
        assert_eq!(stage.doors, [door]);
    }

    #[test]
    fn the_rules_for_a_short_window_are_those_that_are_shipped() {
        let rules = further_rules();
        let groups = serin_promql::Rules::parse(&rules).expect("they are rules");
        assert!(groups.left_out().is_empty());
        for name in [
            "serin:http_requests:increase10s",
            "ratio_rate10s",
            "p99_rate10s",
            "[10s]",
            "interval: 1s",
        ] {
            assert!(rules.contains(name), "{name} in {rules}");
        }
        assert!(!rules.contains("30s") && !rules.contains("5m"));
    }

    #[test]
    fn what_is_referred_to_and_not_given_is_supplied_and_said() {
        let text = "
apiVersion: argoproj.io/v1alpha1
kind: Rollout
metadata: {name: web, namespace: team}
spec:
  selector: {matchLabels: {app: web}}
  template: {metadata: {labels: {app: web}}, spec: {containers: [{name: a, image: web:1, ports: [{containerPort: 3000}]}]}}
  strategy:
    canary:
      stableService: web-stable
      canaryService: web-canary
      trafficRouting: {plugins: {argoproj-labs/gatewayAPI: {httpRoute: web}}}
      steps: [{analysis: {templates: [{templateName: http-error-rate}, {templateName: own}]}}]
";
        let stage = Stage::of(manifests::documents("web.yaml", text).expect("YAML"));
        let wanted = [
            "Namespace/team",
            "Service/web-stable",
            "Service/web-canary",
            "Gateway/gateway",
            "AnalysisTemplate/http-error-rate",
            "HTTPRoute/web",
            "Rollout/web",
        ];
        assert_eq!(titles(&stage), wanted);
        assert_eq!(stage.notes.len(), wanted.len() - 1);
        assert_eq!(stage.doors[0].host, "web.example");
        let service = &stage.of_kind("Service").next().expect("a Service").object;
        assert_eq!(service["spec"]["ports"][0]["targetPort"], 3000);
    }

    #[test]
    fn without_a_router_users_come_through_a_service_of_all_pods() {
        let text = "
apiVersion: argoproj.io/v1alpha1
kind: Rollout
metadata: {name: web}
spec:
  selector: {matchLabels: {app: web}}
  template: {metadata: {labels: {app: web}}, spec: {containers: [{name: a, image: web:1}]}}
  strategy: {canary: {steps: [{setWeight: 20}]}}
---
apiVersion: v1
kind: Service
metadata: {name: front}
spec: {selector: {app: web}, ports: [{port: 80}]}
";
        let stage = Stage::of(manifests::documents("web.yaml", text).expect("YAML"));
        assert_eq!(stage.doors[0].host, "front.default");
        assert!(stage.notes.is_empty(), "{:?}", stage.notes);
    }
}
