//! What is played: somebody's manifests, checked as the controller checks them, and completed with what they refer to.
//!
//! Pure. What is supplied is said in `notes`, what is not needed too: nothing is left out in silence.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};
use serin_api::{
    analysis::{AnalysisTemplateSpec, ClusterAnalysisTemplateSpec},
    rollout::{AnalysisTemplateRef, Rollout},
    validate::{self, References, ServiceFacts},
};
use serin_model::At as _;
use serin_promql::{Rules, RulesError};

use crate::{
    Problem,
    definitions::unknown_fields,
    json::{text, texts},
    load::Entry,
    manifests::Document,
};

/// A release that can be played.
#[derive(Clone, Debug)]
pub struct Setup {
    /// Namespace of the Rollout.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// The Rollout as it was handed in: the new version.
    pub rollout: Value,
    /// The same with other images: the version that is stable.
    pub before: Value,
    /// Everything else that is created: plural and object.
    pub objects: Vec<(&'static str, Value)>,
    /// Namespaces that there must be.
    pub namespaces: BTreeSet<String>,
    /// Recording rules.
    pub rules: Rules,
    /// How users come in.
    pub entry: Entry,
    /// What was supplied, left out, or should be known.
    pub notes: Vec<String>,
}

/// The tag of the version that is assumed to be stable.
const BEFORE: &str = "before-the-rehearsal";

struct Given {
    services: BTreeMap<String, ServiceFacts>,
    templates: BTreeMap<AnalysisTemplateRef, AnalysisTemplateSpec>,
}

impl References for Given {
    fn service(&self, name: &str) -> Option<ServiceFacts> {
        self.services.get(name).cloned()
    }

    fn template(&self, template: &AnalysisTemplateRef) -> Option<&AnalysisTemplateSpec> {
        self.templates.get(template)
    }
}

/// Chooses the Rollout, checks it, completes it.
///
/// # Errors
/// [`Problem::BadInput`] for what the controller would refuse, [`Problem::NotSimulated`] for what it does not support yet.
pub fn prepare(documents: &[Document], which: Option<&str>) -> Result<Setup, Problem> {
    let chosen = choose(documents, which)?;
    let object = with_namespace(&chosen.object, "default");
    let refused = |text: String| Problem::BadInput(format!("{}: {}: {text}", chosen.source, chosen.title()));
    let typed: Rollout = serde_json::from_value(object.clone()).map_err(|e| refused(e.to_string()))?;
    let of_metadata = |path: &str| text(&object, path).to_owned();
    let (namespace, name) = (of_metadata("/metadata/namespace"), of_metadata("/metadata/name"));
    if name.is_empty() {
        return Err(refused("metadata.name is missing".to_owned()));
    }
    let missing = validate::unsupported_fields(&typed.spec);
    if !missing.is_empty() {
        let list: Vec<String> = missing
            .into_iter()
            .map(|(path, what)| format!("{path}: {what}"))
            .collect();
        return Err(Problem::NotSimulated(format!(
            "{}: {}",
            chosen.title(),
            list.join("; ")
        )));
    }
    let Some(canary) = &typed.spec.strategy.canary else {
        return Err(refused("spec.strategy.canary is missing".to_owned()));
    };
    validate::validate_rollout(&typed.spec, &name).map_err(|e| refused(with_advice(&e)))?;

    let mut setup = Setup {
        before: before(&object),
        rollout: object.clone(),
        objects: Vec::new(),
        namespaces: BTreeSet::from([namespace.clone()]),
        rules: Rules::default(),
        entry: Entry::Service(name.clone()),
        notes: Vec::new(),
        namespace,
        name,
    };
    let mut given = setup.take(documents)?;
    let selector = object
        .at("/spec/selector/matchLabels")
        .cloned()
        .unwrap_or_else(|| json!({}));
    let both = canary.canary_service.clone().zip(canary.stable_service.clone());
    if let Some((canary_service, stable_service)) = &both {
        for service in [canary_service, stable_service] {
            setup.supply_service(&mut given, service, &selector);
        }
    }
    match (&canary.traffic_routing, both) {
        (Some(routing), Some((canary_service, stable_service))) => {
            let routes = serin_traffic::routes(routing, &setup.namespace).map_err(|e| refused(e.to_string()))?;
            let first = routes
                .first()
                .ok_or_else(|| refused("spec.strategy.canary.trafficRouting names no route".to_owned()))?;
            setup.entry = Entry::Route {
                namespace: first.namespace.clone(),
                name: first.name.clone(),
                canary: canary_service.clone(),
                stable: stable_service.clone(),
            };
            for route in &routes {
                setup.supply_route(&route.namespace, &route.name, &canary_service, &stable_service);
            }
            if routes.len() > 1 {
                setup
                    .notes
                    .push(format!("users come in through HTTPRoute/{} alone", first.name));
            }
        }
        _ => setup.entry = setup.service_of_all(&mut given, &selector),
    }
    validate::validate_references(&typed.spec, &setup.name, &given).map_err(|e| {
        let text = with_advice(&e);
        if text.contains("not supported yet") {
            Problem::NotSimulated(text)
        } else {
            refused(text)
        }
    })?;
    Ok(setup)
}

fn choose<'a>(documents: &'a [Document], which: Option<&str>) -> Result<&'a Document, Problem> {
    let all: Vec<&Document> = documents.iter().filter(|d| d.kind() == "Rollout").collect();
    let names = || all.iter().map(|d| d.name()).collect::<Vec<_>>().join(", ");
    let chosen = match which {
        Some(name) => all.iter().find(|d| d.name() == name).ok_or_else(|| match names() {
            none if none.is_empty() => "there is no Rollout in what was given".to_owned(),
            names => format!("--rollout {name}: there are only {names}"),
        }),
        None if all.len() > 1 => Err(format!("there are several Rollouts: say which with --rollout; there are {}", names())),
        None => all.first().ok_or_else(|| {
            "there is no Rollout in what was given: hand in the file with your Rollout, its AnalysisTemplates, Services and \
             routes"
                .to_owned()
        }),
    };
    chosen.copied().map_err(Problem::BadInput)
}

impl Setup {
    /// Takes over what is needed, and says what is not.
    fn take(&mut self, documents: &[Document]) -> Result<Given, Problem> {
        let mut given = Given {
            services: BTreeMap::new(),
            templates: BTreeMap::new(),
        };
        let mut left_out = BTreeMap::<&str, usize>::new();
        for document in documents {
            let bad = |text: String| Problem::BadInput(format!("{}: {}: {text}", document.source, document.title()));
            let mut object = with_namespace(&document.object, &self.namespace);
            let here = text(&object, "/metadata/namespace") == self.namespace;
            let unknown = unknown_fields(&document.object);
            if !unknown.is_empty() {
                self.notes.push(format!(
                    "not known and ignored: {}: {}: {} (kubectl apply refuses such a file, other tools drop the field)",
                    document.source,
                    document.title(),
                    unknown.join(", ")
                ));
            }
            match document.kind() {
                "Rollout" => {}
                "Namespace" => {
                    self.namespaces.insert(document.name().to_owned());
                }
                "AnalysisTemplate" if here => {
                    let spec: AnalysisTemplateSpec =
                        serde_json::from_value(object["spec"].clone()).map_err(|e| bad(format!("spec: {e}")))?;
                    given.templates.insert(reference(document.name(), false), spec);
                    self.objects.push(("analysistemplates", object));
                }
                "ClusterAnalysisTemplate" => {
                    let spec: ClusterAnalysisTemplateSpec =
                        serde_json::from_value(object["spec"].clone()).map_err(|e| bad(format!("spec: {e}")))?;
                    given.templates.insert(reference(document.name(), true), spec.0);
                    if let Some(metadata) = object["metadata"].as_object_mut() {
                        metadata.remove("namespace");
                    }
                    self.objects.push(("clusteranalysistemplates", object));
                }
                "Service" if here => {
                    given.services.insert(document.name().to_owned(), facts(&object));
                    self.objects.push(("services", object));
                }
                "HTTPRoute" => {
                    self.namespaces.insert(text(&object, "/metadata/namespace").to_owned());
                    self.objects.push(("httproutes", object));
                }
                "PrometheusRule" => self.rule(&document.object["spec"], document)?,
                "" => self.rule(&document.object, document)?,
                kind => *left_out.entry(kind).or_default() += 1,
            }
        }
        for (kind, n) in left_out {
            let means = match kind {
                "HorizontalPodAutoscaler" => ": the number of pods stays as it is",
                "PodDisruptionBudget" => ": nobody drains a node in a rehearsal",
                _ => "",
            };
            self.notes.push(format!("left out: {n} {kind}{means}"));
        }
        Ok(given)
    }

    fn rule(&mut self, groups: &Value, document: &Document) -> Result<(), Problem> {
        let rules = Rules::parse(&groups.to_string()).map_err(|e| {
            let why = std::error::Error::source(&e).map(|source| format!(": {source}"));
            let text = format!("{}: recording rules: {e}{}", document.source, why.unwrap_or_default());
            match e {
                RulesError::Expression {
                    source: serin_promql::Error::NotSimulated { .. },
                    ..
                } => Problem::NotSimulated(text),
                _ => Problem::BadInput(text),
            }
        })?;
        let alerts = rules.left_out().len();
        if alerts > 0 {
            self.notes
                .push(format!("left out: {alerts} alerting rules of {}", document.source));
        }
        self.rules.extend(rules);
        Ok(())
    }

    fn supply_service(&mut self, given: &mut Given, name: &str, selector: &Value) {
        if given.services.contains_key(name) {
            return;
        }
        let service = json!({
            "apiVersion": "v1", "kind": "Service",
            "metadata": {"name": name, "namespace": self.namespace},
            "spec": {"selector": selector, "ports": [{"port": 80, "targetPort": 8080}]},
        });
        given.services.insert(name.to_owned(), facts(&service));
        self.objects.push(("services", service));
        self.notes
            .push(format!("supplied: Service/{name}, which was referred to and not given"));
    }

    fn supply_route(&mut self, namespace: &str, name: &str, canary: &str, stable: &str) {
        self.namespaces.insert(namespace.to_owned());
        let is_given = self.objects.iter().any(|(plural, object)| {
            *plural == "httproutes"
                && text(object, "/metadata/name") == name
                && text(object, "/metadata/namespace") == namespace
        });
        if is_given {
            return;
        }
        let backend = |service: &str| json!({"name": service, "port": 80});
        self.objects.push((
            "httproutes",
            json!({
                "apiVersion": "gateway.networking.k8s.io/v1", "kind": "HTTPRoute",
                "metadata": {"name": name, "namespace": namespace},
                "spec": {"parentRefs": [{"name": "gateway"}], "rules": [{"backendRefs": [backend(stable), backend(canary)]}]},
            }),
        ));
        self.notes.push(format!(
            "supplied: HTTPRoute/{name} and its gateway, which were referred to and not given"
        ));
    }

    /// Without a router users come through a Service that selects all pods.
    fn service_of_all(&mut self, given: &mut Given, selector: &Value) -> Entry {
        let labels = self
            .rollout
            .at("/spec/template/metadata/labels")
            .cloned()
            .unwrap_or_default();
        let fits = |facts: &ServiceFacts| {
            !facts.selector.is_empty() && facts.selector.iter().all(|(key, value)| labels[key] == *value)
        };
        let found = given.services.iter().find(|(_, facts)| fits(facts));
        let name = found.map_or_else(|| self.name.clone(), |(name, _)| name.clone());
        if !given.services.contains_key(&name) {
            self.supply_service(given, &name, selector);
        }
        self.notes.push(
            "there is no router: traffic splits as pods do, so a weight is only as fine as the number of pods"
                .to_owned(),
        );
        Entry::Service(name)
    }
}

fn reference(name: &str, cluster_scope: bool) -> AnalysisTemplateRef {
    AnalysisTemplateRef {
        template_name: name.to_owned(),
        cluster_scope,
    }
}

fn facts(service: &Value) -> ServiceFacts {
    ServiceFacts {
        selector: texts(service, "/spec/selector"),
        annotations: texts(service, "/metadata/annotations"),
    }
}

fn with_advice(error: &validate::FieldError) -> String {
    match &error.advice {
        Some(advice) => format!("{error}; {advice}"),
        None => error.to_string(),
    }
}

/// The object in that namespace when it names none.
fn with_namespace(object: &Value, namespace: &str) -> Value {
    let mut object = object.clone();
    if object["metadata"].is_object() && text(&object, "/metadata/namespace").is_empty() {
        object["metadata"]["namespace"] = json!(namespace);
    }
    object
}

/// The version before: the same with other tags of the images.
fn before(rollout: &Value) -> Value {
    let mut rollout = rollout.clone();
    let containers = rollout
        .pointer_mut("/spec/template/spec/containers")
        .and_then(Value::as_array_mut);
    for container in containers.into_iter().flatten() {
        let image = container["image"].as_str().unwrap_or("app").to_owned();
        let base = image.split_once('@').map_or(image.as_str(), |(base, _)| base);
        // A colon before the last slash is that of a port.
        let slash = base.rfind('/').map_or(0, |at| at + 1);
        let end = base[slash..].find(':').map_or(base.len(), |at| slash + at);
        container["image"] = json!(format!("{}:{BEFORE}", &base[..end]));
    }
    rollout
}
