//! What a spec may say and Serin does not do yet. It is refused, naming the field, rather than left out in silence.

use serde_json::Value;

use crate::{
    GATEWAY_API_PLUGIN,
    analysis::Metric,
    rollout::{CanaryStep, CanaryStrategy, RolloutSpec, TrafficRouting},
};

/// Fields that mean something but that Serin does not act on yet: path, and a text that begins with `not supported yet: ` and
/// tells what to do instead. Joined by `: ` they are the text of the condition `InvalidSpec`.
pub fn unsupported_fields(spec: &RolloutSpec) -> Vec<(String, String)> {
    let mut list = List::default();
    list.when(
        spec.workload_ref.is_some(),
        "spec.workloadRef",
        "copy the pod template into spec.template",
    );
    list.when(
        spec.restart_at.is_some(),
        "spec.restartAt",
        "change an annotation of spec.template instead to get new pods",
    );
    list.when(
        spec.strategy.blue_green.is_some(),
        "spec.strategy.blueGreen",
        "use spec.strategy.canary, or leave this Rollout to Argo Rollouts",
    );
    if let Some(canary) = &spec.strategy.canary {
        canary_fields(canary, &mut list);
    }
    list.0
}

#[derive(Default)]
struct List(Vec<(String, String)>);

impl List {
    fn when(&mut self, is_set: bool, path: impl Into<String>, instead: &str) {
        if is_set {
            self.0.push((path.into(), format!("not supported yet: {instead}")));
        }
    }
}

fn canary_fields(canary: &CanaryStrategy, list: &mut List) {
    let path = "spec.strategy.canary";
    list.when(
        canary.anti_affinity.is_some(),
        format!("{path}.antiAffinity"),
        "write the pod anti-affinity into spec.template",
    );
    for (field, is_set) in [
        ("canaryMetadata", canary.canary_metadata.is_some()),
        ("stableMetadata", canary.stable_metadata.is_some()),
    ] {
        list.when(
            is_set,
            format!("{path}.{field}"),
            "tell the versions apart by the label rollouts-pod-template-hash",
        );
    }
    list.when(
        canary.ping_pong.is_some(),
        format!("{path}.pingPong"),
        "use canaryService and stableService",
    );
    if let Some(routing) = &canary.traffic_routing {
        routing_fields(routing, list);
    }
    for (i, step) in canary.steps().iter().enumerate() {
        step_fields(step, &format!("{path}.steps[{i}]"), list);
    }
}

fn step_fields(step: &CanaryStep, path: &str, list: &mut List) {
    for (field, is_set, instead) in [
        (
            "experiment",
            step.experiment.is_some(),
            "use an analysis step with canary and stable hashes as arguments",
        ),
        (
            "setHeaderRoute",
            step.set_header_route.is_some(),
            "add a rule for the header to the HTTPRoute itself",
        ),
        (
            "setMirrorRoute",
            step.set_mirror_route.is_some(),
            "add a RequestMirror filter to the HTTPRoute itself",
        ),
        ("plugin", step.plugin.is_some(), "use an analysis or a pause step"),
    ] {
        list.when(is_set, format!("{path}.{field}"), instead);
    }
}

fn routing_fields(routing: &TrafficRouting, list: &mut List) {
    const INSTEAD: &str = "route by Gateway API with plugins[\"argoproj-labs/gatewayAPI\"].httpRoute";
    let path = "spec.strategy.canary.trafficRouting";
    for (field, value) in [
        ("istio", &routing.istio),
        ("nginx", &routing.nginx),
        ("alb", &routing.alb),
        ("smi", &routing.smi),
        ("ambassador", &routing.ambassador),
        ("appMesh", &routing.app_mesh),
        ("traefik", &routing.traefik),
        ("apisix", &routing.apisix),
    ] {
        list.when(value.is_some(), format!("{path}.{field}"), INSTEAD);
    }
    list.when(
        routing.managed_routes.is_some(),
        format!("{path}.managedRoutes"),
        "leave it out: no step can make routes yet",
    );
    for (name, config) in routing.plugins.iter().flatten() {
        let path = format!("{path}.plugins[{name:?}]");
        if name != GATEWAY_API_PLUGIN {
            list.when(true, path, INSTEAD);
            continue;
        }
        for field in [
            "grpcRoute",
            "grpcRoutes",
            "tcpRoute",
            "tcpRoutes",
            "tlsRoute",
            "tlsRoutes",
        ] {
            let is_set = match config.get(field) {
                None | Some(Value::Null) => false,
                Some(Value::String(text)) => !text.is_empty(),
                Some(Value::Array(items)) => !items.is_empty(),
                Some(_) => true,
            };
            list.when(is_set, format!("{path}.{field}"), "use httpRoute or httpRoutes");
        }
        let routes = config.get("httpRoutes").and_then(Value::as_array);
        for (i, route) in routes.into_iter().flatten().enumerate() {
            list.when(
                route.get("useHeaderRoutes") == Some(&Value::Bool(true)),
                format!("{path}.httpRoutes[{i}].useHeaderRoutes"),
                "leave it out: no step can make routes yet",
            );
        }
    }
}

/// What of a metric Serin cannot ask yet: path below the metric, and a text that begins with `not supported yet: `.
pub fn unsupported_metric(metric: &Metric) -> Option<(String, String)> {
    let provider = &metric.provider;
    let Some(prometheus) = &provider.prometheus else {
        // No provider at all is invalid, not unsupported.
        let name = provider.name()?;
        let path = if provider.plugin.is_some() {
            format!("provider.plugin[{name:?}]")
        } else {
            format!("provider.{name}")
        };
        return Some((
            path,
            "not supported yet: bring the number into Prometheus and use provider.prometheus".to_owned(),
        ));
    };
    let authentication = prometheus.authentication.as_ref()?;
    for (field, value) in [("sigv4", &authentication.sigv4), ("oauth2", &authentication.oauth2)] {
        // Empty credentials are what some tools write for none.
        if value
            .as_ref()
            .is_some_and(|v| v.as_object().is_none_or(|o| !o.is_empty()))
        {
            return Some((
                format!("provider.prometheus.authentication.{field}"),
                "not supported yet: use basicAuth, or a token in headers".to_owned(),
            ));
        }
    }
    None
}
