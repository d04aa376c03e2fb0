//! Gateway API `HTTPRoute`s, configured as people configure Argo's plugin today:
//! `trafficRouting.plugins["argoproj-labs/gatewayAPI"]` (compat 4.10).
//!
//! `rules` and `backendRefs` are atomic lists: whoever applies them owns all of them. So an edit is a JSON patch of
//! single weights, each guarded by a `test` on the backend's name, and all of it by one on the resourceVersion.

use serde_json::{Map, Value, json};
use serin_api::{GATEWAY_API_PLUGIN, rollout::TrafficRouting};
use serin_model::{RouteRef, RouteView, Weights};
use thiserror::Error;

/// The one kind that is supported yet.
pub const HTTP_ROUTE: &str = "HTTPRoute";

/// Why the router's configuration cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum ConfigProblem {
    /// The configuration is no object, or a field has another type.
    #[error("trafficRouting.plugins[\"argoproj-labs/gatewayAPI\"].{field}: {found} is not {wanted}")]
    Type {
        /// Field below the plugin's configuration.
        field: String,
        /// What stands there.
        found: String,
        /// What should.
        wanted: &'static str,
    },
    /// A kind of route that the plugin knows and Serin does not yet.
    #[error("trafficRouting.plugins[\"argoproj-labs/gatewayAPI\"].{0}: not supported yet; use httpRoute or httpRoutes")]
    NotSupported(&'static str),
    /// No route at all.
    #[error(
        "trafficRouting.plugins[\"argoproj-labs/gatewayAPI\"]: names no route; set httpRoute: <name> or httpRoutes: [{{name: <name>}}]"
    )]
    NoRoute,
}

/// Why a route cannot be used for a Rollout.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum RouteProblem {
    /// No rule sends traffic to both Services.
    #[error(
        "HTTPRoute {namespace}/{name} has no rule whose backendRefs name both {stable} (stableService) and {canary} \
         (canaryService){missing}; add both to one rule"
    )]
    WithoutServices {
        /// Namespace of the route.
        namespace: String,
        /// Name of the route.
        name: String,
        /// Name of the stable Service.
        stable: String,
        /// Name of the canary Service.
        canary: String,
        /// Which of the two appears nowhere, as a part of the sentence.
        missing: String,
    },
    /// A rule names one of the two Services more than once: which weight would be ours?
    #[error(
        "HTTPRoute {namespace}/{name}: spec.rules[{rule}].backendRefs names Service {service} more than once; leave one"
    )]
    Twice {
        /// Namespace of the route.
        namespace: String,
        /// Name of the route.
        name: String,
        /// Index of the rule.
        rule: usize,
        /// The Service.
        service: String,
    },
    /// The object carries no resourceVersion, so no write to it could be guarded.
    #[error("HTTPRoute {namespace}/{name} carries no metadata.resourceVersion")]
    Unversioned {
        /// Namespace of the route.
        namespace: String,
        /// Name of the route.
        name: String,
    },
}

/// The routes that a Rollout in `namespace` names, each once, in the order of the manifest. Empty without the Gateway API
/// router.
///
/// # Errors
/// The configuration names no route, a kind that is not supported yet, or is malformed.
pub fn routes(routing: &TrafficRouting, namespace: &str) -> Result<Vec<RouteRef>, ConfigProblem> {
    let Some(config) = routing.plugins.as_ref().and_then(|p| p.get(GATEWAY_API_PLUGIN)) else {
        return Ok(Vec::new());
    };
    let config = config.as_object().ok_or_else(|| wrong("", config, "an object"))?;
    for field in [
        "grpcRoute",
        "grpcRoutes",
        "tcpRoute",
        "tcpRoutes",
        "tlsRoute",
        "tlsRoutes",
    ] {
        if config.get(field).is_some_and(|v| !is_blank(v)) {
            return Err(ConfigProblem::NotSupported(field));
        }
    }
    // An empty namespace means the Rollout's, not "no namespace" (a bug of the plugin, compat 4.10).
    let namespace = text(config, "namespace")?
        .filter(|n| !n.is_empty())
        .unwrap_or(namespace);
    let mut names = Vec::new();
    if let Some(name) = text(config, "httpRoute")?.filter(|n| !n.is_empty()) {
        names.push(name);
    }
    if let Some(list) = config.get("httpRoutes").filter(|v| !v.is_null()) {
        let list = list.as_array().ok_or_else(|| wrong("httpRoutes", list, "a list"))?;
        for (index, entry) in list.iter().enumerate() {
            let name = entry.get("name").and_then(Value::as_str).filter(|n| !n.is_empty());
            names.push(name.ok_or_else(|| wrong(&format!("httpRoutes[{index}]"), entry, "{name: <name>}"))?);
        }
    }
    if names.is_empty() {
        return Err(ConfigProblem::NoRoute);
    }
    let mut out: Vec<RouteRef> = Vec::new();
    for name in names {
        let route = RouteRef {
            kind: HTTP_ROUTE.to_owned(),
            namespace: namespace.to_owned(),
            name: name.to_owned(),
        };
        if !out.contains(&route) {
            out.push(route);
        }
    }
    Ok(out)
}

fn text<'a>(config: &'a Map<String, Value>, field: &str) -> Result<Option<&'a str>, ConfigProblem> {
    match config.get(field) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text)),
        Some(other) => Err(wrong(field, other, "a string")),
    }
}

fn wrong(field: &str, found: &Value, wanted: &'static str) -> ConfigProblem {
    ConfigProblem::Type {
        field: field.to_owned(),
        found: found.to_string(),
        wanted,
    }
}

fn is_blank(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::String(text) => text.is_empty(),
        Value::Array(list) => list.is_empty(),
        _ => false,
    }
}

/// What a store needs to keep of a route: identity and the backends of every rule, indices as they were.
pub fn reduce(route: &Value) -> Value {
    let metadata = |key: &str| route.pointer(&format!("/metadata/{key}")).cloned().unwrap_or_default();
    let rules: Vec<Value> = route
        .pointer("/spec/rules")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .map(|rule| match rule.get("backendRefs") {
            Some(refs) => json!({ "backendRefs": refs }),
            None => json!({}),
        })
        .collect();
    json!({
        "metadata": {
            "name": metadata("name"),
            "namespace": metadata("namespace"),
            "resourceVersion": metadata("resourceVersion"),
        },
        "spec": { "rules": rules },
    })
}

/// What the route says of the two Services.
///
/// # Errors
/// No rule has both Services, or one of them twice.
pub fn read(route: &Value, canary_service: &str, stable_service: &str) -> Result<RouteView, RouteProblem> {
    let pairs = pairs(route, canary_service, stable_service)?;
    Ok(RouteView {
        resource_version: resource_version(route)?,
        weights: pairs.iter().map(|p| (p.canary.weight, p.stable.weight)).collect(),
    })
}

/// The JSON patch (RFC 6902) that gives the two Services the wanted weights in every rule that has both. An empty list
/// when nothing differs.
///
/// # Errors
/// No rule has both Services, or one of them twice.
pub fn edit(route: &Value, weights: &Weights) -> Result<Value, RouteProblem> {
    let mut patch = Vec::new();
    for pair in pairs(route, &weights.canary_service, &weights.stable_service)? {
        let wanted = [
            (&pair.stable, &weights.stable_service, weights.stable),
            (&pair.canary, &weights.canary_service, weights.canary),
        ];
        for (backend, service, weight) in wanted {
            if backend.weight == weight {
                continue;
            }
            let path = format!("/spec/rules/{}/backendRefs/{}", pair.rule, backend.index);
            patch.push(json!({ "op": "test", "path": format!("{path}/name"), "value": service }));
            // `add` replaces a member that is there, and a weight that was left out is there no more than any other.
            patch.push(json!({ "op": "add", "path": format!("{path}/weight"), "value": weight }));
        }
    }
    if !patch.is_empty() {
        let guard = json!({
            "op": "test", "path": "/metadata/resourceVersion", "value": resource_version(route)?,
        });
        patch.insert(0, guard);
    }
    Ok(Value::Array(patch))
}

struct Backend {
    index: usize,
    weight: i32,
}

struct Pair {
    rule: usize,
    canary: Backend,
    stable: Backend,
}

fn pairs(route: &Value, canary_service: &str, stable_service: &str) -> Result<Vec<Pair>, RouteProblem> {
    let mut found = Vec::new();
    let (mut saw_canary, mut saw_stable) = (false, false);
    for (rule, value) in route
        .pointer("/spec/rules")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .enumerate()
    {
        let canary = backend(route, rule, value, canary_service)?;
        let stable = backend(route, rule, value, stable_service)?;
        saw_canary |= canary.is_some();
        saw_stable |= stable.is_some();
        if let (Some(canary), Some(stable)) = (canary, stable) {
            found.push(Pair { rule, canary, stable });
        }
    }
    if !found.is_empty() {
        return Ok(found);
    }
    let missing = match (saw_canary, saw_stable) {
        (true, true) => String::new(),
        (true, false) => format!(": {stable_service} is in none of them"),
        (false, true) => format!(": {canary_service} is in none of them"),
        (false, false) => ": neither is in any of them".to_owned(),
    };
    Err(RouteProblem::WithoutServices {
        namespace: identity(route, "namespace"),
        name: identity(route, "name"),
        stable: stable_service.to_owned(),
        canary: canary_service.to_owned(),
        missing,
    })
}

fn backend(route: &Value, rule: usize, value: &Value, service: &str) -> Result<Option<Backend>, RouteProblem> {
    let mut found = None;
    for (index, backend) in value
        .get("backendRefs")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .enumerate()
    {
        if backend.get("name").and_then(Value::as_str) != Some(service) || !is_service(backend) {
            continue;
        }
        if found.is_some() {
            return Err(RouteProblem::Twice {
                namespace: identity(route, "namespace"),
                name: identity(route, "name"),
                rule,
                service: service.to_owned(),
            });
        }
        // Gateway API: a weight that is left out is 1.
        let weight = backend.get("weight").and_then(Value::as_i64).unwrap_or(1);
        found = Some(Backend {
            index,
            weight: i32::try_from(weight).unwrap_or(i32::MAX),
        });
    }
    Ok(found)
}

/// Backends may be of other kinds (`group`, `kind`); left out they are core Services.
fn is_service(backend: &Value) -> bool {
    let is = |field: &str, default: &str| backend.get(field).and_then(Value::as_str).unwrap_or(default) == default;
    is("group", "") && is("kind", "Service")
}

fn identity(route: &Value, key: &str) -> String {
    route
        .pointer("/metadata")
        .and_then(|m| m.get(key))
        .and_then(Value::as_str)
        .unwrap_or_default()
        .to_owned()
}

fn resource_version(route: &Value) -> Result<String, RouteProblem> {
    let version = identity(route, "resourceVersion");
    if version.is_empty() {
        return Err(RouteProblem::Unversioned {
            namespace: identity(route, "namespace"),
            name: identity(route, "name"),
        });
    }
    Ok(version)
}

#[cfg(test)]
#[path = "gateway_tests.rs"]
mod tests;
