//! The Services that Rollouts name: there, of nobody else, with a selector, ports and pods that fit.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;
use serin_api::{HASH_LABEL, MANAGED_BY_ANNOTATION};

use super::{
    line::{Line, SERVICE, SERVICE_ENDPOINTS, SERVICE_PORTS, SERVICE_SELECTOR},
    observed::{App, Observed, find, items, list, map, name, namespace, text},
};

pub(super) fn findings(seen: &Observed) -> Vec<Line> {
    let Ok(services) = &seen.objects.services else {
        return Vec::new();
    };
    let mut lines = Vec::new();
    let users = users(seen);
    for app in seen.apps() {
        for (field, named) in app.services() {
            let about = format!("Service {}/{named}", app.namespace);
            let whose = format!("{field} of Rollout {}", app.name);
            match find(services, &app.namespace, named) {
                None => lines.push(SERVICE.fail(
                    about,
                    format!("does not exist ({whose}): the Rollout is InvalidSpec"),
                    format!(
                        "Create it in namespace {} with a selector that fits the pods' labels, or correct {field}.",
                        app.namespace
                    ),
                )),
                Some(service) => lines.extend(one(seen, &users, app, field, &about, &whose, service)),
            }
        }
    }
    lines
}

/// Who names which Service.
fn users(seen: &Observed) -> BTreeMap<(&str, &str), BTreeSet<&str>> {
    let mut users: BTreeMap<(&str, &str), BTreeSet<&str>> = BTreeMap::new();
    for app in seen.apps() {
        for (_, named) in app.services() {
            users.entry((&app.namespace, named)).or_default().insert(&app.name);
        }
    }
    users
}

fn one(
    seen: &Observed,
    users: &BTreeMap<(&str, &str), BTreeSet<&str>>,
    app: &App,
    field: &str,
    about: &str,
    whose: &str,
    service: &Value,
) -> Vec<Line> {
    let mut lines = vec![existing(users, app, about, whose, service)];
    let selector = selector(seen, app, field, about, service);
    let fits = selector.status != super::line::Status::Fail;
    lines.push(selector);
    lines.extend(ports(seen, app, about, service));
    // What a selector that fits nothing has behind it is no second finding.
    if fits {
        lines.extend(endpoints(seen, app, field, about, service));
    }
    lines
}

fn existing(
    users: &BTreeMap<(&str, &str), BTreeSet<&str>>,
    app: &App,
    about: &str,
    whose: &str,
    service: &Value,
) -> Line {
    if text(service, "/spec/type") == "ExternalName" {
        return SERVICE.fail(
            about,
            format!("is of type ExternalName ({whose}): it has no pods behind it"),
            "Give it type ClusterIP and a selector.",
        );
    }
    let manager = service["metadata"]["annotations"][MANAGED_BY_ANNOTATION].as_str();
    if let Some(other) = manager.filter(|other| *other != app.name) {
        return SERVICE.fail(
            about,
            format!("belongs to Rollout {other} already ({whose}): the Rollout is InvalidSpec"),
            format!("Name a Service of this Rollout's own. If {other} is gone, take the annotation {MANAGED_BY_ANNOTATION} away."),
        );
    }
    let others = users.get(&(app.namespace.as_str(), name(service)));
    if let Some(other) = others.into_iter().flatten().find(|other| **other != app.name) {
        return SERVICE.fail(
            about,
            format!("is named by Rollout {other} too ({whose}): each would point it at its own pods"),
            "Give each Rollout Services of its own.",
        );
    }
    SERVICE.pass(about, format!("there ({whose})"))
}

fn selector(seen: &Observed, app: &App, field: &str, about: &str, service: &Value) -> Line {
    let selector = map(service, "/spec/selector");
    let labels = app.template().labels();
    let others: Vec<(&String, &String)> = selector.iter().filter(|(key, _)| *key != HASH_LABEL).collect();
    // With workloadRef the labels are somewhere else.
    let is_known = !app.template().is_empty();
    let misfit = others
        .iter()
        .filter(|_| is_known)
        .find(|(key, value)| labels.get(*key) != Some(*value));
    if let Some((key, value)) = misfit {
        let has = labels
            .get(*key)
            .map_or("they have no such label".to_owned(), |v| format!("theirs is {v}"));
        return SERVICE_SELECTOR.fail(
            about,
            format!(
                "selects {key}={value}, which no pod of Rollout {} has ({has}): the Rollout is InvalidSpec",
                app.name
            ),
            format!("Put {key}: {value} into spec.template.metadata.labels, or correct the Service's selector."),
        );
    }
    let hash = selector.get(HASH_LABEL).map(String::as_str);
    let known = [app.latest(), app.stable()];
    if let Some(hash) = hash.filter(|hash| !known.iter().any(|k| k == hash)) {
        let set = items(&seen.objects.replica_sets)
            .iter()
            .find(|set| namespace(set) == app.namespace && set["metadata"]["labels"][HASH_LABEL] == hash);
        let owner = set.and_then(|set| list(set, "/metadata/ownerReferences").first());
        return match owner.map(|owner| text(owner, "/name")) {
            // An older revision that is still being replaced, or that somebody went back from.
            Some(owner) if owner == app.name => {
                SERVICE_SELECTOR.pass(about, format!("points at an earlier revision ({hash})"))
            }
            Some(owner) => SERVICE_SELECTOR.fail(
                about,
                format!(
                    "points at hash {hash}, which is a revision of Rollout {owner}: the wrong pods get its traffic"
                ),
                format!("Take {HASH_LABEL} out of the selector; Serin writes the right one."),
            ),
            None if seen.objects.replica_sets.is_ok() => SERVICE_SELECTOR.warn(
                about,
                format!("points at hash {hash}, of which there is no ReplicaSet: no pod gets its traffic"),
                format!(
                    "Serin corrects it in its next pass. If it stays, look at `kubectl -n {} describe rollout {}`.",
                    app.namespace, app.name
                ),
            ),
            None => SERVICE_SELECTOR.pass(about, format!("fits the pods' labels; points at {hash}")),
        };
    }
    if others.is_empty() && hash.is_none() {
        return SERVICE_SELECTOR.warn(
            about,
            "has no selector: until Serin has pointed it at a revision, it leads nowhere",
            "Give it the labels that all pods of the Rollout have.",
        );
    }
    match hash {
        Some(hash) => SERVICE_SELECTOR.pass(about, format!("fits the pods' labels; points at {hash}")),
        None => SERVICE_SELECTOR.pass(
            about,
            format!("fits the pods' labels; as {field} it was not pointed at a revision yet"),
        ),
    }
}

/// Named target ports must be ports of the pods; the route's ports must be ports of the Service.
fn ports(seen: &Observed, app: &App, about: &str, service: &Value) -> Option<Line> {
    let ports = list(service, "/spec/ports");
    let headless = text(service, "/spec/clusterIP") == "None";
    if ports.is_empty() && !headless {
        return Some(SERVICE_PORTS.fail(about, "has no ports", "Give it the port that your pods listen on."));
    }
    let template = app.template();
    let containers: Vec<&Value> = list(&template.0, "/spec/containers")
        .iter()
        .chain(list(&template.0, "/spec/initContainers"))
        .collect();
    let named: BTreeSet<&str> = containers
        .iter()
        .flat_map(|c| list(c, "/ports"))
        .map(|p| text(p, "/name"))
        .collect();
    for port in ports {
        let target = text(port, "/targetPort");
        if !target.is_empty() && target.parse::<u16>().is_err() && !named.contains(target) {
            return Some(SERVICE_PORTS.fail(
                about,
                format!(
                    "leads to the port named {target}, which no container of Rollout {} has",
                    app.name
                ),
                format!("Name a containerPort {target}, or write its number as targetPort."),
            ));
        }
    }
    let numbers: BTreeSet<i64> = ports.iter().filter_map(|p| p["port"].as_i64()).collect();
    for route in items(&seen.objects.routes) {
        let backends = list(route, "/spec/rules")
            .iter()
            .flat_map(|rule| list(rule, "/backendRefs"));
        for backend in backends {
            let space = match text(backend, "/namespace") {
                "" => namespace(route),
                space => space,
            };
            let is_service = matches!(text(backend, "/kind"), "" | "Service");
            if !is_service || text(backend, "/name") != name(service) || space != namespace(service) {
                continue;
            }
            if let Some(port) = backend["port"].as_i64().filter(|port| !numbers.contains(port)) {
                let has: Vec<String> = numbers.iter().map(ToString::to_string).collect();
                return Some(SERVICE_PORTS.fail(
                    about,
                    format!(
                        "has no port {port}, which HTTPRoute {}/{} sends to (it has {})",
                        namespace(route),
                        name(route),
                        has.join(", ")
                    ),
                    "Correct the port of the route's backendRef, or add it to the Service.",
                ));
            }
        }
    }
    Some(SERVICE_PORTS.pass(about, "its ports lead to the pods"))
}

fn endpoints(seen: &Observed, app: &App, field: &str, about: &str, service: &Value) -> Option<Line> {
    let slices = seen.objects.slices.as_ref().ok()?;
    let ready: usize = slices
        .iter()
        .filter(|slice| namespace(slice) == app.namespace)
        .filter(|slice| slice["metadata"]["labels"]["kubernetes.io/service-name"] == name(service))
        .flat_map(|slice| list(slice, "/endpoints"))
        // Left out means ready.
        .filter(|e| e.pointer("/conditions/ready").and_then(Value::as_bool).unwrap_or(true))
        .count();
    if ready > 0 || app.replicas() == 0 {
        return Some(SERVICE_ENDPOINTS.pass(about, format!("{ready} ready pods behind it")));
    }
    let look = format!(
        "Look at the pods: `kubectl -n {} get pods --show-labels`.",
        app.namespace
    );
    Some(if field == "stableService" {
        SERVICE_ENDPOINTS.fail(
            about,
            format!(
                "has no ready pod behind it, and Rollout {} wants {}",
                app.name,
                app.replicas()
            ),
            look,
        )
    } else {
        SERVICE_ENDPOINTS.warn(
            about,
            "has no ready pod behind it; the canary gets no traffic until it has",
            look,
        )
    })
}
