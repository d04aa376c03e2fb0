//! Reads everything that the checks look at. The one place of `serin check` that asks anybody anything.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use futures::{StreamExt as _, future::join_all, join, stream};
use kube::Client;
use serde_json::{Value, json};
use serin_controller::Clock;
use serin_providers::HttpTransport;

use super::{
    controllers::{Controller, Product},
    definitions,
    lease::LOCK,
    metrics,
    observed::{
        App, Objects, Observed, Read, Rights, Scope, SecretKey, Trouble, Way, Why, items, list, map, name, namespace,
        text,
    },
    prometheus::{Asker, Counts, Reached, Target},
    rbac::Bindings,
    reader::Reader,
    rights::{self, Right},
    routes,
};

/// Questions at the same time.
const AT_ONCE: usize = 8;
const SELECTED: &str = "labelSelector=app.kubernetes.io%2Fname%20in%20%28serin%2Cargo-rollouts%29";

/// What to look at.
#[derive(Clone, Debug, Default)]
pub(super) struct Wanted {
    pub(super) is_before: bool,
    /// One namespace only.
    pub(super) namespace: Option<String>,
    /// Looked at when all is forbidden.
    pub(super) default_namespace: String,
    pub(super) controller_namespace: Option<String>,
    pub(super) prometheus: Option<String>,
}

/// Reads the cluster and asks Prometheus.
///
/// # Errors
/// The API server could not be reached at all.
pub(super) async fn observe(
    client: Client,
    transport: Arc<dyn HttpTransport>,
    clock: &Clock,
    wanted: &Wanted,
) -> Result<Observed, Trouble> {
    let reader = Reader::new(client);
    let (version, now) = match reader.version().await {
        Ok((version, date)) => (Ok(version), date.unwrap_or_else(|| clock.now())),
        Err(trouble) if trouble.why != Why::Failed => (Err(trouble), clock.now()),
        Err(trouble) => return Err(trouble),
    };
    let home = wanted
        .controller_namespace
        .clone()
        .unwrap_or_else(|| "argo-rollouts".to_owned());
    let (groups, definitions) = join!(groups(&reader), definitions_of(&reader));
    let (scope, apps) = if wanted.is_before {
        (Scope::All, Ok(Vec::new()))
    } else {
        rollouts(&reader, wanted).await
    };
    let objects = objects(&reader, &scope, apps).await;
    let (controllers, has_all_controllers) = controllers(&reader, wanted, &home, &objects).await;
    let home_object = reader.get("the namespace", &format!("/api/v1/namespaces/{home}")).await;
    let annotations = home_object.as_ref().ok().and_then(Option::as_ref);
    let annotations = annotations.map(|found| map(found, "/metadata/annotations"));
    let playground_prometheus = annotations.and_then(|mut all| all.remove(serin_playground::PROMETHEUS_ANNOTATION));
    let mut seen = Observed {
        is_before: wanted.is_before,
        scope,
        now,
        version,
        groups,
        definitions,
        home_exists: home_object.map(|found| found.is_some()),
        playground_prometheus,
        pods: Ok(Vec::new()),
        leases: leases(&reader, &controllers, &home).await,
        home,
        controllers,
        has_all_controllers,
        leaders: Ok(BTreeSet::new()),
        rights: Vec::new(),
        objects,
        secrets: BTreeMap::new(),
        prometheus: wanted.prometheus.clone(),
        reached: BTreeMap::new(),
        counts: BTreeMap::new(),
    };
    if wanted.is_before {
        seen.rights = vec![own_rights(&reader, &seen.home).await];
        return Ok(seen);
    }
    pods(&reader, &mut seen).await;
    seen.rights = account_rights(&reader, &seen).await;
    seen.secrets = secrets(&reader, &seen).await;
    ask(&reader, transport.as_ref(), &mut seen).await;
    Ok(seen)
}

async fn groups(reader: &Reader) -> Read<BTreeSet<String>> {
    let answer = reader.get("the list of API groups", "/apis").await?.unwrap_or_default();
    Ok(list(&answer, "/groups")
        .iter()
        .flat_map(|g| list(g, "/versions"))
        .map(|v| text(v, "/groupVersion").to_owned())
        .collect())
}

async fn definitions_of(reader: &Reader) -> BTreeMap<String, Read<Option<Value>>> {
    let names: Vec<String> = definitions::names().collect();
    let read = join_all(names.iter().map(|name| async move {
        let path = format!("/apis/apiextensions.k8s.io/v1/customresourcedefinitions/{name}");
        reader.get("customresourcedefinitions", &path).await
    }));
    let read = read.await;
    names.into_iter().zip(read).collect()
}

async fn rollouts(reader: &Reader, wanted: &Wanted) -> (Scope, Read<Vec<App>>) {
    const GROUP: &str = "/apis/argoproj.io/v1alpha1";
    let apps = |found: Read<Vec<Value>>| found.map(|all| all.into_iter().map(App::new).collect());
    if let Some(namespace) = &wanted.namespace {
        let found = reader.list(GROUP, Some(namespace), "rollouts", "").await;
        return (Scope::Namespace(namespace.clone()), apps(found));
    }
    match reader.list(GROUP, None, "rollouts", "").await {
        Err(trouble) if trouble.why == Why::Forbidden => {
            let only = wanted.default_namespace.clone();
            let found = reader.list(GROUP, Some(&only), "rollouts", "").await;
            (Scope::Only(only), apps(found))
        }
        found => (Scope::All, apps(found)),
    }
}

async fn objects(reader: &Reader, scope: &Scope, apps: Read<Vec<App>>) -> Objects {
    const SERIN: &str = "/apis/argoproj.io/v1alpha1";
    const GATEWAY: &str = "/apis/gateway.networking.k8s.io/v1";
    let here = scope.namespace();
    let all = |base: &'static str, plural: &'static str| reader.list(base, here, plural, "");
    let known = apps.as_deref().unwrap_or_default();
    if known.is_empty() {
        // Nothing that Rollouts need is needed; a Deployment may still run a controller.
        return Objects {
            apps,
            deployments: all("/apis/apps/v1", "deployments").await,
            ..Objects::default()
        };
    }
    let (templates, cluster_templates, services, slices, replica_sets, deployments) = join!(
        all(SERIN, "analysistemplates"),
        reader.list(SERIN, None, "clusteranalysistemplates", ""),
        all("/api/v1", "services"),
        all("/apis/discovery.k8s.io/v1", "endpointslices"),
        reader.list(
            "/apis/apps/v1",
            here,
            "replicasets",
            "labelSelector=rollouts-pod-template-hash"
        ),
        all("/apis/apps/v1", "deployments"),
    );
    let (mut routes, budgets, autoscalers, quotas, limits) = join!(
        all(GATEWAY, "httproutes"),
        all("/apis/policy/v1", "poddisruptionbudgets"),
        all("/apis/autoscaling/v2", "horizontalpodautoscalers"),
        all("/api/v1", "resourcequotas"),
        all("/api/v1", "limitranges"),
    );
    if let (Some(here), Ok(routes)) = (here, &mut routes) {
        routes.extend(routes_elsewhere(reader, here, known).await);
    }
    let gateways = gateways(reader, known, items(&routes)).await;
    Objects {
        apps,
        templates,
        cluster_templates,
        services,
        slices,
        replica_sets,
        deployments,
        routes,
        gateways,
        budgets,
        autoscalers,
        quotas,
        limits,
    }
}

/// Routes that Rollouts name: namespace and name.
fn named_routes(apps: &[App]) -> BTreeSet<(String, String)> {
    apps.iter()
        .filter_map(|app| {
            let routing = app.canary()?.traffic_routing.as_ref()?;
            serin_traffic::routes(routing, &app.namespace).ok()
        })
        .flatten()
        .map(|route| (route.namespace, route.name))
        .collect()
}

async fn routes_elsewhere(reader: &Reader, here: &str, apps: &[App]) -> Vec<Value> {
    let mut found = Vec::new();
    for (namespace, name) in named_routes(apps).iter().filter(|(namespace, _)| namespace != here) {
        let path = format!("/apis/gateway.networking.k8s.io/v1/namespaces/{namespace}/httproutes/{name}");
        if let Ok(Some(route)) = reader.get("httproutes", &path).await {
            found.push(route);
        }
    }
    found
}

async fn gateways(reader: &Reader, apps: &[App], found: &[Value]) -> BTreeMap<(String, String), Read<Option<Value>>> {
    let wanted = named_routes(apps);
    let named: BTreeSet<(String, String)> = found
        .iter()
        .filter(|route| wanted.contains(&(namespace(route).to_owned(), name(route).to_owned())))
        .flat_map(routes::parents)
        .collect();
    let mut all = BTreeMap::new();
    for (namespace, name) in named {
        let path = format!("/apis/gateway.networking.k8s.io/v1/namespaces/{namespace}/gateways/{name}");
        let read = reader.get("gateways", &path).await;
        all.insert((namespace, name), read);
    }
    all
}

/// The controllers, and whether there can be no others.
async fn controllers(reader: &Reader, wanted: &Wanted, home: &str, objects: &Objects) -> (Read<Vec<Controller>>, bool) {
    const APPS: &str = "/apis/apps/v1";
    let (found, is_everywhere) = match &wanted.controller_namespace {
        Some(namespace) => (reader.list(APPS, Some(namespace), "deployments", "").await, false),
        None => match reader.list(APPS, None, "deployments", SELECTED).await {
            Err(trouble) if trouble.why == Why::Forbidden => {
                (reader.list(APPS, Some(home), "deployments", "").await, false)
            }
            found => (found, true),
        },
    };
    let mut known = BTreeSet::new();
    let controllers = found.map(|found| {
        found
            .iter()
            .chain(items(&objects.deployments))
            .filter_map(Controller::of)
            .filter(|c| known.insert((c.namespace.clone(), c.name.clone())))
            .collect()
    });
    (controllers, is_everywhere)
}

/// Leases of these controllers, and whoever's else there are under the usual name; where not all may be listed, those of `home`.
async fn leases(reader: &Reader, controllers: &Read<Vec<Controller>>, home: &str) -> Read<Vec<Value>> {
    const LEASES: &str = "/apis/coordination.k8s.io/v1";
    let controllers = controllers.as_deref().unwrap_or_default();
    let own = controllers.iter().map(|c| (c.lease(), c.namespace.clone()));
    let all: BTreeSet<(String, String)> = own.chain([(LOCK.to_owned(), home.to_owned())]).collect();
    let names: BTreeSet<&String> = all.iter().map(|(name, _)| name).collect();
    let mut found = Vec::new();
    for name in names {
        let filter = format!("fieldSelector=metadata.name%3D{name}");
        match reader.list(LEASES, None, "leases", &filter).await {
            Err(trouble) if trouble.why == Why::Forbidden => {
                for (_, namespace) in all.iter().filter(|(of, _)| of == name) {
                    let path = format!("{LEASES}/namespaces/{namespace}/leases/{name}");
                    found.extend(reader.get("leases", &path).await?);
                }
            }
            listed => found.extend(listed?),
        }
    }
    Ok(found)
}

/// The pods of the controllers' namespaces, and which of Serin's say that they lead.
async fn pods(reader: &Reader, seen: &mut Observed) {
    let spaces: BTreeSet<String> = seen.controllers().iter().map(|c| c.namespace.clone()).collect();
    let mut all = Vec::new();
    let mut leaders = BTreeSet::new();
    let mut closed = None;
    for space in &spaces {
        match reader.list("/api/v1", Some(space), "pods", "").await {
            Ok(found) => all.extend(found),
            Err(trouble) => {
                seen.leaders = Err(trouble.clone());
                seen.pods = Err(trouble);
                return;
            }
        }
    }
    let serins: Vec<&Controller> = seen
        .controllers()
        .iter()
        .filter(|c| c.product == Product::Serin)
        .collect();
    for pod in &all {
        let (space, named) = (namespace(pod), name(pod));
        let is_serins = serins
            .iter()
            .any(|c| c.namespace == space && named.starts_with(&format!("{}-", c.name)));
        if !is_serins {
            continue;
        }
        let path = format!("/api/v1/namespaces/{space}/pods/{named}:8090/proxy/metrics");
        match reader.proxied(&path, &[]).await {
            Ok((200, body)) => {
                let text = String::from_utf8_lossy(&body);
                if text.lines().any(|line| line == "serin_leader 1") {
                    leaders.insert((space.to_owned(), named.to_owned()));
                }
            }
            Ok(_) => {}
            Err(trouble) => closed = Some(trouble),
        }
    }
    seen.leaders = match closed {
        Some(trouble) if leaders.is_empty() => Err(trouble),
        _ => Ok(leaders),
    };
    seen.pods = Ok(all);
}

// === rights ===

/// What the user may do.
async fn own_rights(reader: &Reader, home: &str) -> Read<Rights> {
    let mut all = rights::to_install(home);
    all.push(rights::escalate());
    all.extend(rights::granted().iter().cloned());
    reviewed(all, |right| {
        reader.review(
            "SelfSubjectAccessReview",
            json!({"resourceAttributes": right.attributes()}),
        )
    })
    .await
}

async fn reviewed<F: Future<Output = Read<bool>>>(all: Vec<Right>, ask: impl Fn(Right) -> F) -> Read<Rights> {
    let answers: Vec<(Right, Read<bool>)> = stream::iter(all)
        .map(|right| {
            let asked = ask(right.clone());
            async move { (right, asked.await) }
        })
        .buffered(AT_ONCE)
        .collect()
        .await;
    let mut known = BTreeMap::new();
    for (right, answer) in answers {
        known.insert(right, answer?);
    }
    Ok(Rights {
        way: Way::Reviewed,
        answers: known,
    })
}

async fn account_rights(reader: &Reader, seen: &Observed) -> Vec<Read<Rights>> {
    let secrets: BTreeSet<(String, String)> = metrics::secrets_used(seen)
        .into_iter()
        .map(|(namespace, name, _)| (namespace, name))
        .collect();
    let mut all = Vec::new();
    for controller in seen.controllers().iter().filter(|c| c.product == Product::Serin) {
        let (user, groups) = rights::subject(controller);
        let asked = reviewed(rights::wanted(controller, &secrets), |right| {
            reader.review(
                "SubjectAccessReview",
                json!({"user": user, "groups": groups, "resourceAttributes": right.attributes()}),
            )
        });
        all.push(match asked.await {
            Err(trouble) if trouble.why == Why::Forbidden => {
                let computed = computed(reader, controller, &secrets).await;
                computed.map_err(|second| Trouble {
                    message: format!("{}; nor {second}", trouble.message),
                    ..trouble
                })
            }
            asked => asked,
        });
    }
    all
}

/// From the roles and bindings.
async fn computed(reader: &Reader, controller: &Controller, secrets: &BTreeSet<(String, String)>) -> Read<Rights> {
    const RBAC: &str = "/apis/rbac.authorization.k8s.io/v1";
    let (cluster_roles, cluster_bindings, roles, bindings) = join!(
        reader.list(RBAC, None, "clusterroles", ""),
        reader.list(RBAC, None, "clusterrolebindings", ""),
        reader.list(RBAC, None, "roles", ""),
        reader.list(RBAC, None, "rolebindings", ""),
    );
    let bindings = Bindings {
        cluster_roles: cluster_roles?,
        cluster_bindings: cluster_bindings?,
        roles: roles?,
        bindings: bindings?,
    };
    let answers = rights::wanted(controller, secrets)
        .into_iter()
        .map(|right| {
            let allowed = bindings.allow(controller, &right);
            (right, allowed)
        })
        .collect();
    Ok(Rights {
        way: Way::Computed,
        answers,
    })
}

// === metrics ===

async fn secrets(reader: &Reader, seen: &Observed) -> BTreeMap<SecretKey, Result<String, String>> {
    let mut all = BTreeMap::new();
    for (namespace, name, key) in metrics::secrets_used(seen) {
        let path = format!("/api/v1/namespaces/{namespace}/secrets/{name}");
        let read = match reader.get("secrets", &path).await {
            Ok(Some(secret)) => secret["data"][&key]
                .as_str()
                .and_then(decoded)
                .ok_or_else(|| format!("the Secret has no key {key}")),
            Ok(None) => Err("there is no such Secret".to_owned()),
            Err(trouble) => Err(trouble.message),
        };
        all.insert((namespace, name, key), read);
    }
    all
}

/// From base64.
fn decoded(text: &str) -> Option<String> {
    let quoted = Value::String(text.to_owned());
    let bytes: k8s_openapi::ByteString = serde_json::from_value(quoted).ok()?;
    String::from_utf8(bytes.0).ok()
}

async fn ask(reader: &Reader, transport: &dyn HttpTransport, seen: &mut Observed) {
    let asker = Asker {
        reader,
        transport,
        home: &seen.home,
    };
    let uses = metrics::uses(seen);
    let mut targets: BTreeSet<Target> = uses
        .iter()
        .filter(|u| !u.is_blind)
        .filter_map(|u| u.target.clone())
        .collect();
    if targets.is_empty() {
        // Nobody asks it yet; still it should be there when somebody does.
        let default = seen.controllers().iter().find_map(|c| c.prometheus.clone());
        targets.extend(seen.prometheus.clone().or(default).map(Target::open));
    }
    let reached: Vec<(Target, Reached)> = join_all(targets.into_iter().map(|target| async {
        let reached = asker.reach(&target).await;
        (target, reached)
    }))
    .await;
    let reached: BTreeMap<Target, Reached> = reached.into_iter().collect();
    let mut questions = BTreeMap::new();
    for one in uses.iter().filter(|u| !u.is_blind && !u.is_idle) {
        let Some(target) = &one.target else { continue };
        let Some(Ok(way)) = reached.get(target).map(|r| r.way.as_ref()) else {
            continue;
        };
        for hashed in one.hashed.iter().flatten() {
            let key = (target.clone(), hashed.selected.to_string());
            questions.entry(key).or_insert((way.clone(), hashed.clone()));
        }
    }
    let counts: Vec<((Target, String), Result<Counts, String>)> = stream::iter(questions)
        .map(|(key, (way, hashed))| {
            let asker = &asker;
            async move {
                let counts = asker.counts(&key.0, &way, &hashed).await;
                (key, counts)
            }
        })
        .buffered(AT_ONCE)
        .collect()
        .await;
    seen.counts = counts.into_iter().collect();
    seen.reached = reached;
}
