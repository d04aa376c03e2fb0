//! Specs over the whole space that Serin supports: Rollouts and AnalysisTemplates.

use serde_json::{Map, Value, json};

use crate::{scenario::App, seed::Stream};

/// The pod template of version `n`.
fn template(name: &str, n: usize) -> Value {
    json!({
        "metadata": {"labels": {"app": name}},
        "spec": {"containers": [{
            "name": "app",
            "image": format!("{name}:v{n}"),
            "ports": [{"name": "http", "containerPort": 8080}],
        }]},
    })
}

/// The Rollout of an app.
pub(super) fn rollout(seed: u64, index: usize, name: &str, namespace: &str, router: bool, step: Option<&str>) -> Value {
    let mut draw = Stream::new(seed, &format!("spec {index}"));
    let mut spec = Map::new();
    let none = if step.is_some() { 0 } else { 3 };
    let replicas = *draw.weighted(&[(none, 0), (12, 1), (20, 2), (25, 3), (20, 4), (10, 5), (5, 7), (5, 10)]);
    spec.insert("replicas".into(), json!(replicas));
    spec.insert("selector".into(), json!({"matchLabels": {"app": name}}));
    spec.insert("template".into(), template(name, 0));
    let ready = *draw.weighted(&[(70, 0), (20, 1), (10, 3)]);
    if ready > 0 {
        spec.insert("minReadySeconds".into(), json!(ready));
    }
    spec.insert(
        "progressDeadlineSeconds".into(),
        json!(*draw.pick(&[15, 20, 30, 45, 60])),
    );
    if draw.percent(25) {
        spec.insert("progressDeadlineAbort".into(), json!(true));
    }
    if draw.percent(40) {
        spec.insert("revisionHistoryLimit".into(), json!(*draw.pick(&[0, 1, 2, 5])));
    }
    if draw.percent(15) {
        spec.insert("rollbackWindow".into(), json!({"revisions": draw.between(1, 3)}));
    }
    if draw.percent(10) {
        let limit = draw.between(0, 2);
        spec.insert(
            "analysis".into(),
            json!({"successfulRunHistoryLimit": limit, "unsuccessfulRunHistoryLimit": limit}),
        );
    }
    spec.insert(
        "strategy".into(),
        json!({"canary": canary(&mut draw, name, router, step)}),
    );
    json!({
        "apiVersion": "argoproj.io/v1alpha1",
        "kind": "Rollout",
        "metadata": {"name": name, "namespace": namespace},
        "spec": spec,
    })
}

fn canary(draw: &mut Stream, name: &str, router: bool, step: Option<&str>) -> Value {
    let mut canary = Map::new();
    let (stable, canary_service) = (format!("{name}-stable"), format!("{name}-canary"));
    if router || draw.percent(20) {
        canary.insert("stableService".into(), json!(stable));
        canary.insert("canaryService".into(), json!(canary_service));
    }
    if router {
        let plugin = if draw.percent(70) {
            json!({"httpRoute": name})
        } else {
            json!({"httpRoutes": [{"name": name}]})
        };
        let mut routing = json!({"plugins": {"argoproj-labs/gatewayAPI": plugin}});
        if draw.percent(4) {
            routing["maxTrafficWeight"] = json!(200);
        }
        canary.insert("trafficRouting".into(), routing);
        if draw.percent(20) {
            canary.insert("dynamicStableScale".into(), json!(true));
        } else if draw.percent(70) {
            canary.insert("scaleDownDelaySeconds".into(), json!(*draw.pick(&[0, 1, 3, 10, 30])));
        }
        if draw.percent(60) {
            canary.insert(
                "abortScaleDownDelaySeconds".into(),
                json!(*draw.pick(&[0, 1, 3, 10, 30])),
            );
        }
        if draw.percent(8) {
            canary.insert("scaleDownDelayRevisionLimit".into(), json!(draw.between(0, 2)));
        }
        if draw.percent(10) {
            canary.insert("minPodsPerReplicaSet".into(), json!(draw.between(1, 3)));
        }
    }
    if draw.percent(60) {
        let sizes = [
            (json!(1), json!(0)),
            (json!(0), json!(1)),
            (json!("25%"), json!("25%")),
            (json!("50%"), json!(0)),
            (json!(0), json!("50%")),
            (json!("100%"), json!("100%")),
            (json!(2), json!(1)),
        ];
        let (surge, unavailable) = draw.pick(&sizes).clone();
        canary.insert("maxSurge".into(), surge);
        canary.insert("maxUnavailable".into(), unavailable);
    }
    if draw.percent(6) {
        let threshold = if draw.percent(50) {
            json!({"type": "Percent", "value": 50})
        } else {
            json!({"type": "Pods", "value": 1})
        };
        canary.insert("replicaProgressThreshold".into(), threshold);
    }
    let mut steps = steps(draw, name, router);
    include(draw, &mut steps, name, step);
    let count = steps.as_array().map_or(0, Vec::len) as u64;
    if count > 0 {
        canary.insert("steps".into(), steps);
    }
    if draw.percent(25) {
        let mut background = analysis(name, "watch");
        if count > 0 && draw.percent(50) {
            background["startingStep"] = json!(draw.between(0, count));
        }
        canary.insert("analysis".into(), background);
    }
    Value::Object(canary)
}

/// A use of one of the app's templates.
fn analysis(name: &str, template: &str) -> Value {
    json!({
        "templates": [{"templateName": format!("{name}-{template}")}],
        "args": [
            {"name": "app", "value": name},
            {"name": "hash", "valueFrom": {"podTemplateHashValue": "Latest"}},
        ],
    })
}

/// Sees to it that a release soon comes to a step of that kind.
fn include(draw: &mut Stream, steps: &mut Value, name: &str, kind: Option<&str>) {
    let Some(steps) = steps.as_array_mut() else { return };
    let step = match kind {
        Some("no steps") => return steps.clear(),
        Some("setWeight") => json!({"setWeight": *draw.pick(&[10, 30, 60])}),
        Some("pause") => json!({"pause": {"duration": draw.between(3, 12)}}),
        Some("endless pause") => json!({"pause": {}}),
        Some("analysis") => json!({"analysis": analysis(name, "gate")}),
        Some("setCanaryScale") => json!({"setCanaryScale": {"weight": *draw.pick(&[20, 60, 100])}}),
        // The others are reached in any release that has steps.
        Some(_) if steps.is_empty() => json!({"setWeight": 40}),
        _ => return,
    };
    let place = draw.below(2).min(steps.len());
    steps.insert(place, step);
    if place == 1 && steps[0] == json!({"pause": {}}) {
        // Or it would wait for a person.
        steps[0] = json!({"setWeight": 20});
    }
}

/// Steps in which weights mostly rise.
pub(super) fn steps(draw: &mut Stream, name: &str, router: bool) -> Value {
    let count = *draw.weighted(&[(8, 0), (10, 1), (15, 2), (20, 3), (20, 4), (15, 5), (12, 7)]);
    let mut weight = 0;
    let mut steps = Vec::new();
    for _ in 0..count {
        let scale = if router { 14 } else { 0 };
        let step = match *draw.weighted(&[
            (40, "weight"),
            (22, "timed"),
            (10, "untimed"),
            (18, "analysis"),
            (scale, "scale"),
        ]) {
            "timed" => match *draw.weighted(&[(30, 1), (30, 3), (20, 8), (15, 20), (3, 90), (2, 3600)]) {
                90 => json!({"pause": {"duration": "1m30s"}}),
                3600 => json!({"pause": {"duration": "1h"}}),
                seconds => json!({"pause": {"duration": seconds}}),
            },
            "untimed" => json!({"pause": {}}),
            "analysis" => json!({"analysis": analysis(name, "gate")}),
            "scale" => match draw.below(3) {
                0 => json!({"setCanaryScale": {"weight": *draw.pick(&[10, 25, 50, 100])}}),
                1 => json!({"setCanaryScale": {"replicas": draw.between(1, 4)}}),
                _ => json!({"setCanaryScale": {"matchTrafficWeight": true}}),
            },
            _ => {
                weight = if draw.percent(12) {
                    draw.between(0, 100)
                } else {
                    (weight + *draw.pick(&[5, 10, 20, 25, 40, 50])).min(100)
                };
                json!({"setWeight": weight})
            }
        };
        steps.push(step);
    }
    Value::Array(steps)
}

/// The AnalysisTemplates of an app: `gate` for steps ends, `watch` in the background may not.
pub(super) fn templates(seed: u64, index: usize, app: &App) -> Vec<Value> {
    let mut draw = Stream::new(seed, &format!("templates {index}"));
    let uses = |which: &str| app.rollout.to_string().contains(&format!("{}-{which}\"", app.name));
    // Edits may bring steps with an analysis: the gate is always there.
    let mut out = vec![object(&mut draw, app, "gate", true)];
    let watch = object(&mut draw, app, "watch", false);
    if uses("watch") {
        out.push(watch);
    }
    out
}

fn object(draw: &mut Stream, app: &App, which: &str, ends: bool) -> Value {
    let mut metrics = vec![metric(draw, "errors", ends)];
    if draw.percent(25) {
        metrics.push(metric(draw, "latency", ends));
    }
    let mut metadata = json!({"name": format!("{}-{which}", app.name), "namespace": app.namespace});
    if draw.percent(30) {
        metadata["annotations"] = json!({"serin.dev/no-data": "hold"});
    }
    json!({
        "apiVersion": "argoproj.io/v1alpha1",
        "kind": "AnalysisTemplate",
        "metadata": metadata,
        "spec": {"args": [{"name": "app"}, {"name": "hash"}], "metrics": metrics},
    })
}

fn metric(draw: &mut Stream, what: &str, ends: bool) -> Value {
    let series = |name: &str| format!("sum(rate({name}{{app=\"{{{{args.app}}}}\",hash=\"{{{{args.hash}}}}\"}}[8s]))");
    let (query, limit) = match what {
        "latency" => (series("latency").replace("sum(rate(", "quantile(0.99, ("), "0.5"),
        _ => (format!("{}/{}", series("errors"), series("requests")), "0.05"),
    };
    let mut metric = json!({
        "name": what,
        "provider": {"prometheus": {
            "address": "http://prometheus.monitoring:9090",
            "query": query,
            "timeout": *draw.pick(&[2, 5, 30]),
        }},
    });
    let one = draw.percent(15);
    if ends || one {
        if !one {
            metric["interval"] = json!(*draw.pick(&["1s", "2s", "5s"]));
            metric["count"] = json!(draw.between(1, 5));
        }
    } else {
        metric["interval"] = json!(*draw.pick(&["2s", "5s", "10s"]));
        if draw.percent(50) {
            metric["count"] = json!(draw.between(2, 8));
        }
    }
    match draw.below(4) {
        0 => metric["failureCondition"] = json!(format!("result[0] >= {limit}")),
        1 => {
            metric["successCondition"] = json!(format!("result[0] < {limit}"));
            metric["failureCondition"] = json!(format!("result[0] >= {limit}"));
        }
        2 => metric["successCondition"] = json!(format!("len(result) > 0 && result[0] < {limit}")),
        _ => metric["successCondition"] = json!(format!("result[0] < {limit}")),
    }
    for (field, chance) in [
        ("failureLimit", 40),
        ("inconclusiveLimit", 15),
        ("consecutiveErrorLimit", 20),
    ] {
        if draw.percent(chance) {
            metric[field] = json!(draw.between(0, 2));
        }
    }
    if draw.percent(20) {
        metric["initialDelay"] = json!(*draw.pick(&["1s", "5s"]));
    }
    metric
}
