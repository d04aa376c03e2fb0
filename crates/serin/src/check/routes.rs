//! The HTTPRoutes of Rollouts and the gateways that they are attached to.

use std::collections::BTreeSet;

use serde_json::Value;
use serin_api::rollout::CanaryStrategy;

use super::{
    line::{GATEWAY, Line, ROUTE, ROUTE_ACCEPTED, ROUTE_BACKENDS, ROUTE_WEIGHTS},
    observed::{App, Observed, condition, find, list, name, namespace, text},
};

/// Gateways that a route names: namespace and name.
pub(super) fn parents(route: &Value) -> Vec<(String, String)> {
    list(route, "/spec/parentRefs")
        .iter()
        .filter(|parent| matches!(text(parent, "/kind"), "" | "Gateway"))
        .map(|parent| {
            let space = match text(parent, "/namespace") {
                "" => namespace(route),
                space => space,
            };
            (space.to_owned(), text(parent, "/name").to_owned())
        })
        .collect()
}

pub(super) fn findings(seen: &Observed) -> Vec<Line> {
    let Ok(routes) = &seen.objects.routes else {
        return Vec::new();
    };
    let mut lines = Vec::new();
    let mut gateways = BTreeSet::new();
    for app in seen.apps() {
        let Some(canary) = app.canary() else { continue };
        let Some(routing) = &canary.traffic_routing else {
            continue;
        };
        let about = app.title();
        let named = match serin_traffic::routes(routing, &app.namespace) {
            Ok(named) => named,
            // What the plugin knows and Serin does not is said of the spec.
            Err(serin_traffic::ConfigProblem::NotSupported(_)) => continue,
            Err(problem) => {
                lines.push(ROUTE.fail(about, problem.to_string(), "Correct the Rollout's trafficRouting."));
                continue;
            }
        };
        for wanted in named {
            let Some(route) = find(routes, &wanted.namespace, &wanted.name) else {
                lines.push(ROUTE.fail(
                    &about,
                    format!("HTTPRoute {}/{} does not exist: weights are not written, and no canary gets traffic", wanted.namespace, wanted.name),
                    "Create it with both Services in one rule (examples/canary-gateway/route.yaml), or correct httpRoute.",
                ));
                continue;
            };
            lines.push(ROUTE.pass(
                &about,
                format!("its HTTPRoute {}/{} is there", wanted.namespace, wanted.name),
            ));
            lines.extend(backends(app, canary, route));
            lines.extend(accepted(route));
            gateways.extend(parents(route));
        }
    }
    lines.extend(gateways.iter().filter_map(|named| gateway(seen, named)));
    lines
}

fn backends(app: &App, canary: &CanaryStrategy, route: &Value) -> Vec<Line> {
    let about = format!("HTTPRoute {}/{}", namespace(route), name(route));
    let canary_service = canary.canary_service.as_deref().unwrap_or_default();
    let stable_service = canary.stable_service.as_deref().unwrap_or_default();
    if canary_service.is_empty() || stable_service.is_empty() {
        return Vec::new();
    }
    let view = match serin_traffic::read(route, canary_service, stable_service) {
        Ok(view) => view,
        Err(problem) => {
            return vec![ROUTE_BACKENDS.fail(
                about,
                format!("{problem}. Rollout {} cannot move traffic", app.name),
                format!("In the route's rule:\n  backendRefs:\n  - name: {stable_service}\n    port: <port of the Service>\n    weight: 100\n  - name: {canary_service}\n    port: <port of the Service>\n    weight: 0"),
            )];
        }
    };
    let mut lines = Vec::new();
    let rules = list(route, "/spec/rules");
    let mut stable_only = Vec::new();
    let mut astray = None;
    for (index, rule) in rules.iter().enumerate() {
        let ours: Vec<&Value> = list(rule, "/backendRefs")
            .iter()
            .filter(|b| [canary_service, stable_service].contains(&text(b, "/name")))
            .collect();
        if ours.len() == 1 {
            stable_only.push((index, text(ours[0], "/name")));
        }
        let foreign = ours.iter().find(|b| {
            let space = text(b, "/namespace");
            let space = if space.is_empty() { namespace(route) } else { space };
            space != app.namespace
        });
        astray = astray.or(foreign.map(|b| (index, text(b, "/name"))));
    }
    lines.push(if let Some((index, service)) = astray {
        ROUTE_BACKENDS.fail(
            &about,
            format!(
                "rules[{index}] sends to a Service {service} of another namespace than {}, where Rollout {} is",
                app.namespace, app.name
            ),
            format!(
                "Set namespace: {} on the backendRef (and a ReferenceGrant there), or move the route.",
                app.namespace
            ),
        )
    } else if let Some((index, service)) = stable_only.first() {
        ROUTE_BACKENDS.warn(
            &about,
            format!("rules[{index}] has only {service}: requests that match it are not split, whatever the weight"),
            "Add the other Service to that rule if its requests should take part.",
        )
    } else {
        ROUTE_BACKENDS.pass(
            &about,
            format!(
                "has both Services of Rollout {} in {}",
                app.name,
                rules_text(view.weights.len())
            ),
        )
    });
    let most = canary.max_weight();
    let odd = view
        .weights
        .iter()
        .find(|(canary, stable)| canary.saturating_add(*stable) != most && (*canary, *stable) != (1, 1));
    let differs = view.weights.windows(2).any(|pair| pair[0] != pair[1]);
    lines.push(match odd {
        Some((canary, stable)) => ROUTE_WEIGHTS.warn(
            &about,
            format!("gives canary {canary} and stable {stable}, which is not {most} together: Serin did not write this, or not yet"),
            "Serin corrects it in its next pass. If it comes back, somebody else writes the weights: tell Argo CD or Helm to leave \
             spec.rules alone (ignoreDifferences).",
        ),
        None if differs => ROUTE_WEIGHTS.warn(
            &about,
            "gives the canary different weights in different rules",
            "Serin corrects it in its next pass; if it comes back, somebody else writes the weights.",
        ),
        None => ROUTE_WEIGHTS.pass(
            &about,
            match view.weights.first() {
                Some((canary, stable)) => format!("canary {canary}, stable {stable}"),
                None => "no weights".to_owned(),
            },
        ),
    });
    lines
}

fn rules_text(count: usize) -> String {
    if count == 1 {
        "one rule".to_owned()
    } else {
        format!("{count} rules")
    }
}

fn accepted(route: &Value) -> Option<Line> {
    let about = format!("HTTPRoute {}/{}", namespace(route), name(route));
    if list(route, "/spec/parentRefs").is_empty() {
        return Some(ROUTE_ACCEPTED.fail(
            about,
            "names no Gateway (parentRefs): no request comes by it",
            "Add parentRefs.",
        ));
    }
    let states = list(route, "/status/parents");
    if states.is_empty() {
        return Some(ROUTE_ACCEPTED.warn(
            about,
            "no gateway has looked at it yet: either its controller does not run, or it does not write conditions",
            "Look at the Gateway that parentRefs names, its class, and the log of the gateway's controller.",
        ));
    }
    for state in states {
        let conditions = list(state, "/conditions");
        for kind in ["Accepted", "ResolvedRefs"] {
            if let Some((status, reason, message)) = condition(conditions, kind)
                && status != "True"
            {
                let parent = text(state, "/parentRef/name");
                return Some(ROUTE_ACCEPTED.fail(
                    about,
                    format!("Gateway {parent} says {kind}: {status} ({reason}): {message}"),
                    "Do what the gateway's message says; `kubectl describe httproute` shows all of it.",
                ));
            }
        }
    }
    Some(ROUTE_ACCEPTED.pass(about, "accepted by its gateway"))
}

fn gateway(seen: &Observed, named: &(String, String)) -> Option<Line> {
    let about = format!("Gateway {}/{}", named.0, named.1);
    let found = match seen.objects.gateways.get(named)? {
        Ok(found) => found,
        Err(trouble) => {
            return Some(GATEWAY.warn(
                about,
                format!("cannot be read: {}", trouble.message),
                "Check as somebody who may.",
            ));
        }
    };
    let Some(gateway) = found else {
        return Some(GATEWAY.fail(
            about,
            "does not exist, and routes of Rollouts are attached to it: no request comes by them",
            "Create it, or correct the parentRefs of the routes.",
        ));
    };
    let conditions = list(gateway, "/status/conditions");
    for kind in ["Accepted", "Programmed"] {
        match condition(conditions, kind) {
            Some(("True", _, _)) => {}
            Some((status, reason, message)) => {
                return Some(GATEWAY.fail(
                    about,
                    format!("is {kind}: {status} ({reason}): {message}"),
                    "Look at its listeners and at the log of the gateway's controller.",
                ));
            }
            None => {
                return Some(GATEWAY.warn(
                    about,
                    format!("has no condition {kind}: its controller does not run, or does not tell"),
                    format!(
                        "Is there a GatewayClass {}, and does its controller run?",
                        text(gateway, "/spec/gatewayClassName")
                    ),
                ));
            }
        }
    }
    Some(GATEWAY.pass(about, "accepted and programmed"))
}
