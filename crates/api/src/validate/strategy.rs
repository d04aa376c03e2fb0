//! The strategy and its steps (compat 1.2). Paths leave out `canary` and `blueGreen`, as upstream's do.

use serde_json::{Value, json};

use super::{FieldError, encoded, labels::key_problem};
use crate::{
    go_json,
    intstr::IntOrString,
    rollout::{
        AnalysisRunArgument, AntiAffinity, BlueGreenStrategy, CanaryStep, CanaryStrategy, ManagedRoute, RolloutSpec,
        StringMatch, TrafficRouting,
    },
};

const PATH: &str = "spec.strategy";

pub(super) fn validate(spec: &RolloutSpec) -> Result<(), FieldError> {
    match (&spec.strategy.blue_green, &spec.strategy.canary) {
        (None, None) => Err(FieldError::required(
            format!("{PATH}.strategy"),
            "Rollout has missing field '.spec.strategy.canary or .spec.strategy.blueGreen'",
        )),
        (Some(_), Some(_)) => Err(FieldError::invalid(
            format!("{PATH}.strategy"),
            "blueGreen: true canary: true",
            "Multiple Strategies can not be listed",
        )),
        (Some(blue_green), None) => validate_blue_green(blue_green, spec.history_limit()),
        (None, Some(canary)) => validate_canary(canary),
    }
}

fn validate_blue_green(blue_green: &BlueGreenStrategy, history_limit: i32) -> Result<(), FieldError> {
    if blue_green.active_service == blue_green.preview_service.as_deref().unwrap_or_default() {
        return Err(FieldError::invalid(
            format!("{PATH}.activeService"),
            &blue_green.active_service,
            "This rollout uses the same service for the active and preview services, but two different services are required.",
        ));
    }
    if let Some(limit) = blue_green.scale_down_delay_revision_limit
        && history_limit < limit
    {
        return Err(FieldError::invalid(
            format!("{PATH}.scaleDownDelayRevisionLimit"),
            limit,
            "This rollout's revision history limit can not be smaller than the rollout's scale down limit",
        ));
    }
    validate_anti_affinity(blue_green.anti_affinity.as_ref())
}

fn validate_anti_affinity(affinity: Option<&AntiAffinity>) -> Result<(), FieldError> {
    let Some(affinity) = affinity else { return Ok(()) };
    let preferred = &affinity.preferred_during_scheduling_ignored_during_execution;
    let required = affinity.required_during_scheduling_ignored_during_execution.is_some();
    if preferred.is_some() == required {
        let both = format!(
            "antiAffinity.PreferredDuringSchedulingIgnoredDuringExecution: {required} antiAffinity.RequiredDuringSchedulingIgnoredDuringExecution: {required}"
        );
        return Err(FieldError::invalid(
            format!("{PATH}.antiAffinity"),
            both,
            "AntiAffinity must have exactly one strategy listed",
        ));
    }
    match preferred {
        Some(preferred) if !(1..=100).contains(&preferred.weight) => Err(FieldError::invalid(
            format!("{PATH}.antiAffinity.weight"),
            preferred.weight,
            "AntiAffinity weight must be between 1-100",
        )),
        _ => Ok(()),
    }
}

fn set(service: Option<&String>) -> &str {
    service.map(String::as_str).unwrap_or_default()
}

fn validate_canary(canary: &CanaryStrategy) -> Result<(), FieldError> {
    if is_zero(canary.max_surge.as_ref()) && is_zero(canary.max_unavailable.as_ref()) {
        return Err(FieldError::invalid(
            format!("{PATH}.maxSurge"),
            &canary.max_surge,
            "MaxSurge and MaxUnavailable both can not be zero",
        ));
    }
    let (canary_service, stable_service) = (set(canary.canary_service.as_ref()), set(canary.stable_service.as_ref()));
    if !canary_service.is_empty() && canary_service == stable_service {
        return Err(FieldError::invalid(
            format!("{PATH}.stableService"),
            stable_service,
            "This rollout uses the same service for the stable and canary services, but two different services are required.",
        ));
    }
    validate_ping_pong(canary)?;
    if needs_services(canary) {
        for (name, service) in [("stableService", stable_service), ("canaryService", canary_service)] {
            if service.is_empty() {
                return Err(FieldError::invalid(
                    format!("{PATH}.{name}"),
                    service,
                    "Canary service and Stable service must to be set to use Traffic Routing",
                ));
            }
        }
    }
    validate_with_router(canary)?;
    for (i, step) in canary.steps().iter().enumerate() {
        validate_step(canary, step, &format!("{PATH}.steps[{i}]"))?;
    }
    validate_anti_affinity(canary.anti_affinity.as_ref())
}

/// Written as nothing; the default, a quarter, is not.
fn is_zero(value: Option<&IntOrString>) -> bool {
    match value {
        None => false,
        Some(IntOrString::String(text)) => {
            let percent = text
                .strip_suffix('%')
                .filter(|d| !d.is_empty() && d.bytes().all(|b| b.is_ascii_digit()));
            percent.unwrap_or(text).parse::<i64>().unwrap_or(0) == 0
        }
        Some(IntOrString::Int(n)) => *n == 0,
    }
}

fn plugins(routing: &TrafficRouting) -> bool {
    routing.plugins.as_ref().is_some_and(|p| !p.is_empty())
}

fn validate_ping_pong(canary: &CanaryStrategy) -> Result<(), FieldError> {
    let Some(ping_pong) = &canary.ping_pong else {
        return Ok(());
    };
    if let Some(routing) = &canary.traffic_routing
        && routing.alb.is_none()
        && routing.istio.is_none()
        && !plugins(routing)
    {
        return Err(FieldError::invalid(
            format!("{PATH}.trafficRouting.alb"),
            Value::Null,
            "Ping-pong feature works with the ALB, Istio, and plugin-based traffic routers only",
        ));
    }
    for (name, service) in [
        ("pingService", &ping_pong.ping_service),
        ("pongService", &ping_pong.pong_service),
    ] {
        if service.is_empty() {
            return Err(FieldError::invalid(
                format!("{PATH}.pingPong.{name}"),
                service,
                "Ping service and Pong service must to be set to use Ping-Pong feature",
            ));
        }
    }
    if ping_pong.ping_service == ping_pong.pong_service {
        return Err(FieldError::invalid(
            format!("{PATH}.pingPong.pingService"),
            &ping_pong.ping_service,
            "This rollout uses the same service for the ping and pong services, but two different services are required.",
        ));
    }
    let alb = canary.traffic_routing.as_ref().and_then(|r| r.alb.as_ref());
    if alb.is_some_and(|alb| alb["rootService"].as_str().is_none_or(str::is_empty)) {
        return Err(FieldError::invalid(
            format!("{PATH}.trafficRouting.alb.rootService"),
            "",
            "Root service field is required for the configuration with ALB and ping-pong feature enabled",
        ));
    }
    Ok(())
}

/// Routers that tell the versions apart by Service (compat 1.1.2). Plugins look for themselves.
fn needs_services(canary: &CanaryStrategy) -> bool {
    let Some(routing) = &canary.traffic_routing else {
        return false;
    };
    let ping_pong = canary.ping_pong.is_some();
    let by_subset = routing
        .istio
        .as_ref()
        .is_some_and(|istio| istio.get("destinationRule").is_some_and(|d| !d.is_null()));
    let alb = routing.alb.is_some() && !ping_pong;
    let istio = routing.istio.is_some() && !by_subset && !ping_pong;
    let others = [
        &routing.smi,
        &routing.apisix,
        &routing.ambassador,
        &routing.nginx,
        &routing.app_mesh,
        &routing.traefik,
    ];
    alb || istio || others.into_iter().any(Option::is_some)
}

fn validate_with_router(canary: &CanaryStrategy) -> Result<(), FieldError> {
    let dynamic = canary.is_dynamic_stable_scale();
    let dynamic_path = format!("{PATH}.dynamicStableScale");
    let Some(routing) = &canary.traffic_routing else {
        if let Some(delay) = canary.scale_down_delay_seconds {
            return Err(FieldError::invalid(
                format!("{PATH}.scaleDownDelaySeconds"),
                delay,
                "Canary scaleDownDelaySeconds can only be used with traffic routing",
            ));
        }
        if dynamic {
            return Err(FieldError::invalid(
                dynamic_path,
                true,
                "Canary dynamicStableScale can only be used with traffic routing",
            ));
        }
        return Ok(());
    };
    if dynamic && canary.scale_down_delay_seconds.is_some() {
        return Err(FieldError::invalid(
            dynamic_path,
            true,
            "Canary dynamicStableScale cannot be used with scaleDownDelaySeconds",
        ));
    }
    match routing.max_traffic_weight {
        Some(most) if routing.nginx.is_none() && !plugins(routing) => Err(FieldError::invalid(
            format!("{PATH}.trafficRouting.maxTrafficWeight"),
            most,
            "Canary maxTrafficWeight in traffic routing only supported in Nginx and Plugins",
        )),
        _ => Ok(()),
    }
}

const ONE_OF: &str = "Step must have one of the following set: experiment, setWeight, setCanaryScale, plugin or pause";

fn validate_step(canary: &CanaryStrategy, step: &CanaryStep, path: &str) -> Result<(), FieldError> {
    let kinds = [
        step.experiment.is_some(),
        step.pause.is_some(),
        step.set_weight.is_some(),
        step.analysis.is_some(),
        step.set_canary_scale.is_some(),
        step.set_header_route.is_some(),
        step.set_mirror_route.is_some(),
        step.plugin.is_some(),
    ];
    // Only these four exclude each other (recordings 33).
    if kinds[..4].iter().filter(|set| **set).count() > 1 {
        let [experiment, pause, weight, analysis, ..] = kinds;
        let shown = format!(
            "step.Experiment: {experiment} step.Pause: {pause} step.SetWeight: {weight} step.Analysis: {analysis}"
        );
        return Err(FieldError::invalid(path, shown, ONE_OF));
    }
    if !kinds.contains(&true) {
        let shown = "step.Experiment: true step.Pause: true step.SetWeight: true step.Analysis: true step.SetCanaryScale: true step.SetHeaderRoute: true step.SetMirrorRoute: true step.Plugin: true";
        return Err(FieldError::invalid(path, shown, ONE_OF));
    }
    let most = canary.max_weight();
    if let Some(weight) = step.set_weight
        && !(0..=most).contains(&weight)
    {
        return Err(FieldError::invalid(
            format!("{path}.setWeight"),
            weight,
            format!("SetWeight needs to be between 0 and {most}"),
        ));
    }
    if let Some(pause) = &step.pause {
        let refused = |seconds: i64, more: &str| {
            let text = format!("Duration needs to be greater than 0{more}");
            Err(FieldError::invalid(format!("{path}.pause.duration"), seconds, text))
        };
        match pause.seconds() {
            Ok(seconds) => {
                if let Some(seconds) = seconds.filter(|s| *s < 0) {
                    return refused(seconds, "");
                }
            }
            // What cannot be read is -1 for upstream, which does not say what was written.
            Err(problem) => return refused(-1, &format!(": {problem}")),
        }
    }
    if step.set_canary_scale.is_some() && canary.traffic_routing.is_none() {
        return Err(FieldError::required(
            format!("{PATH}.trafficRouting"),
            "SetCanaryScale requires TrafficRouting to be set",
        ));
    }
    validate_header_route(canary, step, path)?;
    validate_mirror_route(canary, step, path)?;
    validate_managed(canary, step, path)?;
    validate_experiment(canary, step, path)?;
    validate_arguments(step, path)
}

fn validate_header_route(canary: &CanaryStrategy, step: &CanaryStep, path: &str) -> Result<(), FieldError> {
    let Some(route) = &step.set_header_route else {
        return Ok(());
    };
    let path = format!("{path}.setHeaderRoute");
    let able = |r: &&TrafficRouting| r.istio.is_some() || r.alb.is_some() || r.apisix.is_some() || plugins(r);
    let Some(routing) = canary.traffic_routing.as_ref().filter(able) else {
        return Err(FieldError::invalid_json(
            path,
            encoded("SetHeaderRoute", route),
            "SetHeaderRoute requires TrafficRouting, supports Istio and ALB and Apisix",
        ));
    };
    for (i, matched) in route.matches.iter().flatten().enumerate() {
        let path = format!("{path}.match[{i}]");
        validate_match(matched.header_value.as_ref(), &path, routing.alb.is_some())?;
    }
    Ok(())
}

fn validate_match(value: Option<&StringMatch>, path: &str, exact_only: bool) -> Result<(), FieldError> {
    const MISSED: &str = "StringMatch value missed, match value must have one of the following: exact, regex, prefix";
    let Some(value) = value else {
        return Err(FieldError::invalid(path, Value::Null, MISSED));
    };
    let shown = encoded("StringMatch", value);
    let given = |text: &Option<String>| text.as_ref().is_some_and(|t| !t.is_empty());
    let set = [given(&value.exact), given(&value.regex), given(&value.prefix)];
    if exact_only && set != [true, false, false] {
        return Err(FieldError::invalid_json(
            path,
            shown,
            "SetHeaderRoute match value invalid. ALB supports 'exact' value only",
        ));
    }
    match set.into_iter().filter(|s| *s).count() {
        0 => Err(FieldError::invalid_json(path, shown, MISSED)),
        1 => Ok(()),
        _ => Err(FieldError::invalid_json(
            path,
            shown,
            "StringMatch match value must have exactly one of the following: exact, regex, prefix",
        )),
    }
}

fn validate_mirror_route(canary: &CanaryStrategy, step: &CanaryStep, path: &str) -> Result<(), FieldError> {
    let Some(route) = &step.set_mirror_route else {
        return Ok(());
    };
    let path = format!("{path}.setMirrorRoute");
    let able = |r: &TrafficRouting| r.istio.is_some() || plugins(r);
    if !canary.traffic_routing.as_ref().is_some_and(able) {
        return Err(FieldError::invalid_json(
            path,
            encoded("SetMirrorRoute", route),
            "SetMirrorRoute requires TrafficRouting, supports Istio and Plugins",
        ));
    }
    for (i, matched) in route.matches.iter().flatten().enumerate() {
        for value in [&matched.method, &matched.path].into_iter().flatten() {
            validate_match(Some(value), &format!("{path}.match[{i}]"), false)?;
        }
    }
    Ok(())
}

/// Routes that steps make must be listed in `managedRoutes`.
fn validate_managed(canary: &CanaryStrategy, step: &CanaryStep, path: &str) -> Result<(), FieldError> {
    let Some(routing) = &canary.traffic_routing else {
        return Ok(());
    };
    let header = step
        .set_header_route
        .as_ref()
        .map(|r| r.name.as_deref().unwrap_or_default());
    let mirror = step.set_mirror_route.as_ref().map(|r| r.name.as_str());
    for (field, name) in [("setHeaderRoute", header), ("setMirrorRoute", mirror)] {
        let Some(name) = name else { continue };
        let Some(managed) = &routing.managed_routes else {
            return Err(FieldError::required(
                format!("{PATH}.trafficRouting.managedRoutes"),
                "Rollout has missing field 'spec.strategy.canary.trafficRouting.managedRoutes'",
            ));
        };
        if !managed.iter().any(|ManagedRoute { name: known }| known == name) {
            return Err(FieldError::invalid(
                format!("{path}.{field}"),
                name,
                "Steps define a route that does not exist in spec.strategy.canary.trafficRouting.managedRoutes",
            ));
        }
    }
    Ok(())
}

fn validate_experiment(canary: &CanaryStrategy, step: &CanaryStep, path: &str) -> Result<(), FieldError> {
    let Some(experiment) = &step.experiment else {
        return Ok(());
    };
    for (i, template) in experiment.templates.iter().enumerate() {
        let Some(weight) = template.weight else { continue };
        let problem = match &canary.traffic_routing {
            None => "Experiment template weight cannot be set unless TrafficRouting is enabled",
            Some(r) if r.alb.is_none() && r.smi.is_none() && r.istio.is_none() && !plugins(r) => {
                "Experiment template weight is only available for TrafficRouting with SMI, ALB, Istio and Plugins at this time"
            }
            Some(_) => continue,
        };
        return Err(FieldError::invalid(
            format!("{path}.experiment.templates[{i}].weight"),
            weight,
            problem,
        ));
    }
    Ok(())
}

/// Arguments from the Rollout's metadata must name what pods can be told of themselves.
fn validate_arguments(step: &CanaryStep, path: &str) -> Result<(), FieldError> {
    let of_experiment = step.experiment.iter().flat_map(|e| e.analyses.iter().flatten());
    let of_experiment = of_experiment.flat_map(|a| a.args.iter().flatten());
    let of_analysis = step.analysis.iter().flat_map(|a| a.args.iter().flatten());
    let args: Vec<&AnalysisRunArgument> = of_experiment.chain(of_analysis).collect();
    let wrong = args.iter().any(|arg| {
        let field = arg.value_from.as_ref().and_then(|v| v.field_ref.as_ref());
        field.is_some_and(|f| f.field_path.starts_with("metadata") && !is_downward(&f.field_path))
    });
    if !wrong {
        return Ok(());
    }
    let values: Vec<Value> = args.iter().map(|a| json!(a)).collect();
    Err(FieldError::invalid_json(
        format!("{path}.analyses"),
        go_json::encode_list("AnalysisRunArgument", Some(&values)),
        "Analyses arguments must refer to valid object metadata supported by downwardAPI",
    ))
}

/// `metadata.name` and its like, `metadata.labels['key']`, `metadata.annotations['key']`.
fn is_downward(path: &str) -> bool {
    let whole = ["annotations", "labels", "name", "namespace", "uid"];
    let Some(field) = path.strip_prefix("metadata.") else {
        return false;
    };
    if whole.contains(&field) {
        return true;
    }
    let key = field.strip_suffix("']").and_then(|f| f.split_once("['"));
    key.is_some_and(|(map, key)| ["annotations", "labels"].contains(&map) && key_problem(key).is_none())
}
