//! What is played: somebody's manifests, checked as the controller checks them, and completed with what they refer to.
//!
//! Pure. What is supplied is said in `notes`, what is not needed too: nothing is left out in silence.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use serde_json::{Value, json};
use serin_api::{
    analysis::{AnalysisTemplateSpec, ClusterAnalysisTemplateSpec},
    rollout::{AnalysisTemplateRef, Rollout, RolloutPause},
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
    questions,
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
    /// What rules record whose expression is not evaluated, and why not.
    pub not_evaluated: BTreeMap<String, String>,
    /// The names of all metrics of its analyses.
    pub metrics: BTreeSet<String>,
    /// How users come in.
    pub entry: Entry,
    /// What was supplied, left out, or should be known.
    pub notes: Vec<String>,
}

const API_VERSION: &str = "argoproj.io/v1alpha1";

/// The tag of the version that is assumed to be stable.
const BEFORE: &str = "before-the-rehearsal";

/// Value of a Secret that is not given, as its `data` has it.
const STAND_IN: &str = "c3RhbmQtaW4=";

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
    let unknown = unknown_fields(&chosen.object);
    let refused = |text: String| {
        // A step with a mistyped name is refused for what it lacks: the typo says more.
        let typo = match &unknown[..] {
            [] => String::new(),
            unknown => format!("; these fields are not known: {}", unknown.join(", ")),
        };
        Problem::BadInput(format!("{}: {}: {text}{typo}", chosen.source, chosen.title()))
    };
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
    if typed.spec.paused == Some(true) {
        return Err(refused(
            "spec.paused: true: nothing is released as long as it stands; take it out to rehearse the release"
                .to_owned(),
        ));
    }

    let mut setup = Setup {
        before: before(&object),
        rollout: object.clone(),
        objects: Vec::new(),
        namespaces: BTreeSet::from([namespace.clone()]),
        rules: Rules::default(),
        not_evaluated: BTreeMap::new(),
        metrics: BTreeSet::new(),
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
    let of_revisions: Vec<&String> = [&canary.canary_service, &canary.stable_service]
        .into_iter()
        .flatten()
        .collect();
    for service in &of_revisions {
        setup.supply_service(&mut given, service, &selector);
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
                let mut object = setup
                    .supply_route(&route.namespace, &route.name, &canary_service, &stable_service)
                    .clone();
                // Only a server gives it one.
                object["metadata"]["resourceVersion"] = json!("1");
                serin_traffic::read(&object, &canary_service, &stable_service).map_err(|e| refused(e.to_string()))?;
            }
            if routes.len() > 1 {
                setup
                    .notes
                    .push(format!("users come in through HTTPRoute/{} alone", first.name));
            }
        }
        _ => setup.entry = setup.service_of_all(&mut given, &selector, &of_revisions),
    }
    validate::validate_references(&typed.spec, &setup.name, &given).map_err(|e| {
        let text = with_advice(&e);
        if text.contains("not supported yet") {
            Problem::NotSimulated(text)
        } else {
            refused(text)
        }
    })?;
    let asked = questions::check(canary, |template| given.templates.get(template)).map_err(refused)?;
    setup.metrics = asked.metrics;
    for secret in &asked.secrets {
        setup.supply_secret(secret);
    }
    Ok(setup)
}

fn choose<'a>(documents: &'a [Document], which: Option<&str>) -> Result<&'a Document, Problem> {
    let is_rollout = |d: &&Document| d.kind() == "Rollout" && d.group() == serin_api::GROUP;
    let all: Vec<&Document> = documents.iter().filter(is_rollout).collect();
    let namespace = |d: &Document| text(&d.object, "/metadata/namespace").to_owned();
    let shown = |d: &&Document| match namespace(d) {
        none if none.is_empty() => d.name().to_owned(),
        namespace => format!("{namespace}/{}", d.name()),
    };
    let names = || all.iter().map(shown).collect::<Vec<_>>().join(", ");
    let wanted: Vec<&Document> = match which {
        None => all.clone(),
        Some(name) => {
            let is_wanted = |d: &&&Document| name == d.name() || name == format!("{}/{}", namespace(d), d.name());
            all.iter().filter(is_wanted).copied().collect()
        }
    };
    let problem = match (&wanted[..], which) {
        ([chosen], _) => {
            let version = &chosen.object["apiVersion"];
            if *version == API_VERSION {
                return Ok(chosen);
            }
            format!(
                "{}: {}: apiVersion: {version}: write {API_VERSION}",
                chosen.source,
                chosen.title()
            )
        }
        ([], Some(name)) if !all.is_empty() => format!("--rollout {name}: there are only {}", names()),
        ([], _) => format!(
            "there is no Rollout of {API_VERSION} in what was given: hand in the file with your Rollout, its \
             AnalysisTemplates, Services and routes",
        ),
        _ => format!(
            "there are several Rollouts: say which with --rollout NAMESPACE/NAME; there are {}",
            names()
        ),
    };
    Err(Problem::BadInput(problem))
}

impl Setup {
    /// How long its steps pause, all together; `person` is how long a pause without a duration lasts.
    pub fn pauses(&self, person: Duration) -> Duration {
        let steps = self.rollout.at("/spec/strategy/canary/steps").and_then(Value::as_array);
        let pauses = steps.into_iter().flatten().filter_map(|step| step.get("pause"));
        let lasting = pauses.map(|pause| {
            let read = serde_json::from_value(pause.clone()).ok();
            let seconds = read.and_then(|pause: RolloutPause| pause.seconds().ok().flatten());
            seconds
                .and_then(|s| u64::try_from(s).ok())
                .map_or(person, Duration::from_secs)
        });
        lasting.sum()
    }

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
                "Secret" if here => self.objects.push(("secrets", object)),
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
        let why = |e: &RulesError| match std::error::Error::source(e) {
            Some(source) => format!("{e}: {source}"),
            None => e.to_string(),
        };
        let (rules, not_evaluated) = Rules::parse_what_is_evaluated(&groups.to_string())
            .map_err(|e| Problem::BadInput(format!("{}: recording rules: {}", document.source, why(&e))))?;
        for problem in not_evaluated {
            self.notes.push(format!(
                "left out: a recording rule of {}: {}",
                document.source,
                why(&problem)
            ));
            if let RulesError::Expression { rule, source, .. } = problem {
                self.not_evaluated.insert(rule, source.to_string());
            }
        }
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

    /// The route, which is supplied where it was not given.
    fn supply_route(&mut self, namespace: &str, name: &str, canary: &str, stable: &str) -> &Value {
        self.namespaces.insert(namespace.to_owned());
        let given = self.objects.iter().position(|(plural, object)| {
            *plural == "httproutes"
                && text(object, "/metadata/name") == name
                && text(object, "/metadata/namespace") == namespace
        });
        let place = given.unwrap_or_else(|| {
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
            self.objects.len() - 1
        });
        &self.objects[place].1
    }

    /// A Secret whose value nobody here knows: Prometheus asks for none.
    fn supply_secret(&mut self, (name, key): &(String, String)) {
        let of_name = |(plural, object): &&mut (&'static str, Value)| {
            *plural == "secrets" && text(object, "/metadata/name") == name.as_str()
        };
        match self.objects.iter_mut().find(of_name) {
            Some((_, secret)) if !secret["data"][key].is_null() || !secret["stringData"][key].is_null() => return,
            Some((_, secret)) => secret["data"][key] = json!(STAND_IN),
            None => self.objects.push((
                "secrets",
                json!({
                    "apiVersion": "v1", "kind": "Secret",
                    "metadata": {"name": name, "namespace": self.namespace},
                    "data": {key: STAND_IN},
                }),
            )),
        }
        self.notes.push(format!(
            "supplied: key {key} of Secret/{name} with a stand-in, which was referred to and not given"
        ));
    }

    /// Without a router users come through a Service that selects all pods: none of those that the controller leads to one
    /// revision.
    fn service_of_all(&mut self, given: &mut Given, selector: &Value, of_revisions: &[&String]) -> Entry {
        let labels = self
            .rollout
            .at("/spec/template/metadata/labels")
            .cloned()
            .unwrap_or_default();
        let fits = |facts: &ServiceFacts| {
            !facts.selector.is_empty() && facts.selector.iter().all(|(key, value)| labels[key] == *value)
        };
        let free = |name: &String| !of_revisions.contains(&name);
        let found = given.services.iter().find(|(name, facts)| free(name) && fits(facts));
        let name = match found {
            Some((name, _)) => name.clone(),
            // Whatever else has the Rollout's name, a Service for everybody has another one.
            None if !free(&self.name) || given.services.contains_key(&self.name) => format!("{}-everybody", self.name),
            None => self.name.clone(),
        };
        if !given.services.contains_key(&name) {
            self.supply_service(given, &name, selector);
        }
        self.notes.push(format!(
            "there is no router: users come in through Service/{name}, and traffic splits as pods do, so a weight is only as \
             fine as the number of pods"
        ));
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
