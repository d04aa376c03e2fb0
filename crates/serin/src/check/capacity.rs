//! What else has a say in how many pods there are: disruption budgets, autoscalers, Deployments that were left behind,
//! readiness probes.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use serde_json::Value;
use serin_api::{GROUP, HASH_LABEL, VERSION, intstr::IntOrString, selector};

use super::{
    line::{AUTOSCALER, DISRUPTION_BUDGET, Line, OLD_DEPLOYMENT, READINESS_PROBE},
    observed::{App, Observed, condition, items, key, list, map, name, namespace, text},
    quota,
};

pub(super) fn findings(seen: &Observed) -> Vec<Line> {
    let mut lines = Vec::new();
    for app in seen.apps().iter().filter(|app| app.good().is_some()) {
        lines.extend(budgets(seen, app));
        lines.extend(deployments(seen, app));
        lines.push(probe(app));
        lines.extend(quota::findings(seen, app));
    }
    lines.extend(
        items(&seen.objects.autoscalers)
            .iter()
            .filter_map(|hpa| autoscaler(seen, hpa)),
    );
    lines
}

/// Labels of a Rollout's pods, the hash of its stable revision among them.
fn pod_labels(app: &App) -> std::collections::BTreeMap<String, String> {
    let mut labels = app.template().labels();
    labels.insert(HASH_LABEL.to_owned(), app.stable());
    labels
}

fn selects(object: &Value, path: &str, labels: &std::collections::BTreeMap<String, String>) -> bool {
    let Some(chosen) = object.pointer(path) else {
        return false;
    };
    serde_json::from_value::<LabelSelector>(chosen.clone())
        .ok()
        .and_then(|chosen| selector::matches(&chosen, labels).ok())
        .unwrap_or(false)
}

// === disruption budgets ===

fn budgets(seen: &Observed, app: &App) -> Vec<Line> {
    let labels = pod_labels(app);
    let budgets: Vec<&Value> = items(&seen.objects.budgets)
        .iter()
        .filter(|b| namespace(b) == app.namespace && selects(b, "/spec/selector", &labels))
        .collect();
    if budgets.len() > 1 {
        let names: Vec<&str> = budgets.iter().map(|b| name(b)).collect();
        return vec![DISRUPTION_BUDGET.warn(
            app.title(),
            format!(
                "its pods are under {} disruption budgets ({}): the API server evicts no pod that has more than one",
                budgets.len(),
                names.join(", ")
            ),
            "Leave one: nodes cannot be drained otherwise.",
        )];
    }
    budgets.into_iter().map(|budget| one_budget(app, budget)).collect()
}

fn amount(object: &Value, path: &str) -> Option<IntOrString> {
    serde_json::from_value(object.pointer(path)?.clone()).ok()
}

fn one_budget(app: &App, budget: &Value) -> Line {
    let about = format!("PodDisruptionBudget {}", key(budget));
    let replicas = app.replicas();
    let least = amount(budget, "/spec/minAvailable");
    let most = amount(budget, "/spec/maxUnavailable");
    // The disruption controller rounds both up.
    let count = |a: &IntOrString| a.scaled(replicas, true).unwrap_or(0);
    let allowed = match (&least, &most) {
        (Some(least), _) => replicas - count(least),
        (None, Some(most)) => count(most),
        (None, None) => 1,
    };
    let said = match (&least, &most) {
        (Some(least), _) => format!("minAvailable {least}"),
        (None, Some(most)) => format!("maxUnavailable {most}"),
        (None, None) => "no number".to_owned(),
    };
    if replicas > 0 && allowed <= 0 {
        return DISRUPTION_BUDGET.warn(
            about,
            format!(
                "{said} with {replicas} replicas of Rollout {} never allows an eviction: nodes with its pods cannot be drained. Releases are \
                 not held up: Serin deletes pods, it does not evict them",
                app.name
            ),
            "Say maxUnavailable: 1; with one replica, more replicas.",
        );
    }
    let hash = budget["spec"]["selector"]["matchLabels"].get(HASH_LABEL);
    if let Some(hash) = hash {
        return DISRUPTION_BUDGET.warn(
            about,
            format!("selects {HASH_LABEL} {hash}: after the next release it protects nothing"),
            "Take the hash out of its selector.",
        );
    }
    DISRUPTION_BUDGET.pass(
        about,
        format!(
            "{said} leaves room for {allowed} evictions of {replicas} pods of Rollout {}",
            app.name
        ),
    )
}

// === autoscalers ===

fn autoscaler(seen: &Observed, hpa: &Value) -> Option<Line> {
    let about = format!("HorizontalPodAutoscaler {}", key(hpa));
    let space = namespace(hpa);
    let target = |field: &str| text(hpa, &format!("/spec/scaleTargetRef/{field}"));
    let (kind, named, version) = (target("kind"), target("name"), target("apiVersion"));
    let mut apps = seen.apps().iter().filter(|a| a.namespace == space);
    let wanted = format!("scaleTargetRef:\n  apiVersion: {GROUP}/{VERSION}\n  kind: Rollout\n  name: ");
    if kind == "Rollout" {
        let Some(app) = apps.find(|a| a.name == named) else {
            return Some(AUTOSCALER.fail(
                about,
                format!("scales Rollout {named}, which does not exist"),
                "Correct scaleTargetRef.name, or delete it.",
            ));
        };
        if version != format!("{GROUP}/{VERSION}") {
            return Some(AUTOSCALER.fail(
                about,
                format!("scales Rollout {named} of {version:?}, which there is not: it must be {GROUP}/{VERSION}"),
                format!("{wanted}{named}"),
            ));
        }
        return Some(scaling(app, about, hpa));
    }
    if kind != "Deployment" {
        return None;
    }
    // A Deployment of that name may be the old one, or gone.
    let old = items(&seen.objects.deployments)
        .iter()
        .find(|d| namespace(d) == space && name(d) == named);
    let app = apps.find(|app| app.name == named || old.is_some_and(|d| is_old(d, app)))?;
    let state = match old {
        None if seen.objects.deployments.is_ok() => "which does not exist any more",
        None => "and not the Rollout",
        Some(_) => "whose pods are those of the Rollout",
    };
    Some(AUTOSCALER.fail(
        about,
        format!(
            "still scales Deployment {named}, {state}: Rollout {} keeps its {} replicas whatever the load",
            app.name,
            app.replicas()
        ),
        format!("{wanted}{}", app.name),
    ))
}

fn scaling(app: &App, about: String, hpa: &Value) -> Line {
    let conditions = list(hpa, "/status/conditions");
    if let Some(("False", reason, message)) = condition(conditions, "AbleToScale") {
        return AUTOSCALER.fail(
            about,
            format!("cannot scale Rollout {}: {reason}: {message}", app.name),
            "Do what the message says.",
        );
    }
    if let Some(("False", reason, message)) = condition(conditions, "ScalingActive") {
        return AUTOSCALER.warn(
            about,
            format!("does not scale Rollout {} now: {reason}: {message}", app.name),
            "Is the metrics server there, and do the containers have requests?",
        );
    }
    let (least, most) = (
        hpa.pointer("/spec/minReplicas").and_then(Value::as_i64).unwrap_or(1),
        hpa.pointer("/spec/maxReplicas").and_then(Value::as_i64).unwrap_or(0),
    );
    AUTOSCALER.pass(
        about,
        format!("scales Rollout {} between {least} and {most} replicas", app.name),
    )
}

// === Deployments ===

/// Its pods look like those of the Rollout.
fn is_old(deployment: &Value, app: &App) -> bool {
    let theirs = map(deployment, "/spec/template/metadata/labels");
    selects(deployment, "/spec/selector", &app.template().labels()) || selects(&app.object, "/spec/selector", &theirs)
}

fn deployments(seen: &Observed, app: &App) -> Vec<Line> {
    items(&seen.objects.deployments)
        .iter()
        .filter(|d| namespace(d) == app.namespace && is_old(d, app))
        // The one that a Rollout takes its template from is scaled by the controller.
        .filter(|d| text(&app.object, "/spec/workloadRef/name") != name(d))
        .map(|d| {
            let about = format!("Deployment {}", key(d));
            let replicas = d.pointer("/spec/replicas").and_then(Value::as_i64).unwrap_or(1);
            if replicas == 0 {
                return OLD_DEPLOYMENT.pass(about, format!("has the labels of Rollout {}, and is scaled to 0", app.name));
            }
            OLD_DEPLOYMENT.warn(
                about,
                format!("still runs {replicas} pods with the labels of Rollout {}: Services without a hash send them traffic, and nobody counts it", app.name),
                format!(
                    "When the Rollout serves: `kubectl -n {} scale deployment {} --replicas=0`, and delete it later.",
                    app.namespace,
                    name(d)
                ),
            )
        })
        .collect()
}

// === readiness ===

fn probe(app: &App) -> Line {
    let template = app.template();
    let containers = list(&template.0, "/spec/containers");
    let has_probe = |c: &Value| c["readinessProbe"].is_object();
    if containers.iter().any(has_probe) || containers.is_empty() {
        return READINESS_PROBE.pass(app.title(), "has a readiness probe");
    }
    READINESS_PROBE.warn(
        app.title(),
        "has no readiness probe: its pods count as available as soon as they have started, whether they answer or not",
        "Add a readinessProbe to the container that serves; minReadySeconds is better than nothing.",
    )
}
