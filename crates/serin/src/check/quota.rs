//! Is there room for the pods that a release needs beside those that serve?

use std::collections::BTreeMap;

use serde_json::Value;
use serin_api::quantity::Quantity;

use super::{
    line::{LIMIT_RANGE, Line, QUOTA},
    observed::{App, Observed, items, key, list, namespace, text},
};

/// Pods that a release of so many replicas has beside them, at most.
fn extra_pods(app: &App, replicas: i32) -> i32 {
    let Some(canary) = app.canary() else { return 0 };
    if canary.traffic_routing.is_none() {
        return canary.max_surge_count(replicas);
    }
    // With dynamicStableScale both together are about the desired number, each rounded up.
    if canary.is_dynamic_stable_scale() { 1 } else { replicas }
}

/// As many replicas as an autoscaler may want; the present ones without one.
fn most_replicas(seen: &Observed, app: &App) -> i32 {
    items(&seen.objects.autoscalers)
        .iter()
        .filter(|hpa| namespace(hpa) == app.namespace && text(hpa, "/spec/scaleTargetRef/kind") == "Rollout")
        .filter(|hpa| text(hpa, "/spec/scaleTargetRef/name") == app.name)
        .filter_map(|hpa| i32::try_from(hpa.pointer("/spec/maxReplicas")?.as_i64()?).ok())
        .fold(app.replicas(), i32::max)
}

fn number(text: &str) -> Option<f64> {
    Quantity::parse(text).ok().map(|q| q.value())
}

/// What one pod asks for: `requests.cpu`, `limits.memory`, … and what it leaves out.
struct Asked {
    sums: BTreeMap<String, f64>,
    left_out: Vec<String>,
}

fn asked(app: &App, of_interest: &[&str]) -> Asked {
    let template = app.template();
    let mut asked = Asked {
        sums: BTreeMap::new(),
        left_out: Vec::new(),
    };
    for resource in of_interest {
        let Some((side, what)) = resource.split_once('.') else {
            continue;
        };
        for container in list(&template.0, "/spec/containers") {
            let written = &container["resources"][side][what];
            // A limit is also the request where there is none.
            let written = if written.is_null() && side == "requests" {
                &container["resources"]["limits"][what]
            } else {
                written
            };
            let value = written
                .as_str()
                .map(str::to_owned)
                .or_else(|| written.as_f64().map(|n| n.to_string()));
            match value.and_then(|v| number(&v)) {
                Some(value) => *asked.sums.entry((*resource).to_owned()).or_default() += value,
                None => asked
                    .left_out
                    .push(format!("{resource} of container {}", text(container, "/name"))),
            }
        }
    }
    asked
}

pub(super) fn findings(seen: &Observed, app: &App) -> Vec<Line> {
    let mut lines = Vec::new();
    for quota in items(&seen.objects.quotas)
        .iter()
        .filter(|q| namespace(q) == app.namespace)
    {
        // One that is for some pods only may not be for these.
        if !list(quota, "/spec/scopes").is_empty() || quota["spec"]["scopeSelector"].is_object() {
            continue;
        }
        lines.extend(one(seen, app, quota));
    }
    for range in items(&seen.objects.limits)
        .iter()
        .filter(|l| namespace(l) == app.namespace)
    {
        lines.extend(limits(app, range));
    }
    lines
}

fn one(seen: &Observed, app: &App, quota: &Value) -> Option<Line> {
    let about = app.title();
    let hard = quota
        .pointer("/status/hard")
        .or_else(|| quota.pointer("/spec/hard"))?
        .as_object()?;
    // `cpu` is short for `requests.cpu`.
    let long = |resource: &str| match resource {
        "cpu" | "memory" => format!("requests.{resource}"),
        other => other.to_owned(),
    };
    let left = |resource: &str| {
        let used = quota
            .pointer("/status/used")
            .and_then(|u| u.get(resource))
            .and_then(Value::as_str);
        let hard = hard.get(resource).and_then(Value::as_str)?;
        Some(number(hard)? - used.and_then(number).unwrap_or(0.0))
    };
    let names: Vec<String> = hard.keys().map(|r| long(r)).collect();
    let of_interest: Vec<&str> = names
        .iter()
        .map(String::as_str)
        .filter(|r| matches!(*r, "requests.cpu" | "requests.memory" | "limits.cpu" | "limits.memory"))
        .collect();
    let asked = asked(app, &of_interest);
    let has_defaults = items(&seen.objects.limits)
        .iter()
        .any(|l| namespace(l) == app.namespace);
    if let Some(missing) = asked.left_out.first().filter(|_| !has_defaults) {
        return Some(QUOTA.fail(
            about,
            format!("ResourceQuota {} wants every pod to say what it needs, and {missing} is not said: the API server refuses its pods", key(quota)),
            "Write resources.requests and resources.limits, or add a LimitRange with defaults.",
        ));
    }
    let most = most_replicas(seen, app);
    let extra = extra_pods(app, most) + (most - app.replicas());
    let at_most = if most > app.replicas() {
        format!(" at the {most} replicas that its autoscaler may want")
    } else {
        String::new()
    };
    let mut short = Vec::new();
    for resource in hard.keys() {
        let Some(left) = left(resource) else { continue };
        let each = match resource.as_str() {
            "pods" | "count/pods" => 1.0,
            _ => match asked.sums.get(&long(resource)) {
                Some(each) => *each,
                None => continue,
            },
        };
        if each > 0.0 && left + 1e-9 < each * f64::from(extra) {
            let room = (left / each).floor().max(0.0);
            short.push(format!("{resource} for {room} more"));
        }
    }
    Some(if short.is_empty() {
        QUOTA.pass(
            about,
            format!("ResourceQuota {} leaves room for {extra} pods of a release", key(quota)),
        )
    } else {
        QUOTA.warn(
            about,
            format!(
                "a release{at_most} has up to {extra} pods beside the {} that serve, and ResourceQuota {} leaves {}: the release will stand still",
                app.replicas(),
                key(quota),
                short.join(", ")
            ),
            "Raise the quota, or need less: strategy.canary.dynamicStableScale with a route, a smaller maxSurge without one.",
        )
    })
}

fn limits(app: &App, range: &Value) -> Option<Line> {
    let template = app.template();
    for limit in list(range, "/spec/limits")
        .iter()
        .filter(|l| text(l, "/type") == "Container")
    {
        for (what, most) in limit["max"].as_object().into_iter().flatten() {
            let Some(most) = most.as_str() else { continue };
            for container in list(&template.0, "/spec/containers") {
                let asked = text(container, &format!("/resources/limits/{what}"));
                let beyond = number(asked)
                    .zip(number(most))
                    .is_some_and(|(asked, most)| asked > most);
                if beyond {
                    return Some(LIMIT_RANGE.fail(
                        app.title(),
                        format!("container {} has the limit {what} {asked}, and LimitRange {} allows {most}: the API server refuses its pods", text(container, "/name"), key(range)),
                        "Lower the container's limit, or raise the LimitRange.",
                    ));
                }
            }
        }
    }
    Some(LIMIT_RANGE.pass(app.title(), format!("its pods fit LimitRange {}", key(range))))
}
