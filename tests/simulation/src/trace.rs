//! What happened, as text: all of it, byte for byte the same for the same seed, and the notable of it for people.

use std::{fmt::Write as _, time::Duration};

use serde_json::Value;
use serin_model::At as _;

use crate::history::{Cause, History, is_controller};

/// Lines that happened at the same time keep the order of these: actions, faults, requests, changes, queries.
type Line = (Duration, u8, usize, String);

fn sorted(mut lines: Vec<Line>) -> String {
    lines.sort_by_key(|(at, kind, place, _)| (*at, *kind, *place));
    let mut out = String::new();
    for (at, _, _, text) in lines {
        let _ = writeln!(out, "{:>10.3} {text}", at.as_secs_f64());
    }
    out
}

/// Everything: requests with bodies, versions of objects, queries, traffic, faults, actions.
pub fn whole(history: &History) -> String {
    let mut lines: Vec<Line> = Vec::new();
    people_and_faults(history, &mut lines);
    for (i, asked) in history.requests.iter().enumerate() {
        let body = if asked.body.is_null() {
            String::new()
        } else {
            format!(" {}", asked.body)
        };
        let text = format!("{} {} {} {}{body}", asked.user, asked.method, asked.path, asked.code);
        lines.push((asked.at, 3, i, text));
    }
    for (i, change) in history.changes.iter().enumerate() {
        let object = change.new.as_ref().map_or("deleted".to_owned(), ToString::to_string);
        let text = format!(
            "  v{} {} {}/{}/{} {object}",
            change.version, change.user, change.resource.plural, change.namespace, change.name
        );
        lines.push((change.at, 4, i, text));
    }
    for (i, query) in history.queries.iter().enumerate() {
        lines.push((
            query.at,
            5,
            i,
            format!("{} asks {} = {}", query.user, query.text, query.answer),
        ));
    }
    for (i, sample) in history.traffic.iter().enumerate() {
        let shares: Vec<String> = sample
            .shares
            .iter()
            .map(|s| format!("{:.3} {} {} {:.2} {:?}", s.of, s.service, s.hash, s.failed, s.cause))
            .collect();
        let text = format!(
            "users of {} until {:.3}: {}",
            sample.app,
            sample.to.as_secs_f64(),
            shares.join(", ")
        );
        lines.push((sample.from, 6, i, text));
    }
    let mut out = sorted(lines);
    let _ = writeln!(
        out,
        "calm from {:.3}, settled from {:.3}, end {:.3}",
        history.calm_from.as_secs_f64(),
        history.settled_from.as_secs_f64(),
        history.end.as_secs_f64()
    );
    out
}

/// What a person needs to see what went wrong: one line per notable thing.
pub fn timeline(history: &History) -> String {
    let mut lines: Vec<Line> = Vec::new();
    people_and_faults(history, &mut lines);
    for (i, change) in history.changes.iter().enumerate() {
        for text in notable(change.resource.plural, change.old.as_deref(), change.new.as_deref()) {
            let who = if is_controller(&change.user) || change.user == crate::history::WORLD {
                change.user.as_str()
            } else {
                ""
            };
            lines.push((
                change.at,
                4,
                i,
                format!("{:<12} {} {}: {text}", who, change.resource.plural, change.name),
            ));
        }
    }
    for (i, asked) in history.requests.iter().enumerate() {
        let refused = asked.method != "GET" && asked.code >= 300 && !asked.path.contains("/events");
        if refused || (asked.method != "GET" && asked.code == 0) {
            let text = format!(
                "{:<12} refused with {}: {} {}",
                asked.user, asked.code, asked.method, asked.path
            );
            lines.push((asked.at, 3, i, text));
        }
        if asked.method == "POST" && asked.path.contains("/events") && asked.code == 201 {
            let text = |path: &str| asked.body.at(path).and_then(Value::as_str).unwrap_or_default();
            let said = format!(
                "{:<12} says of {}: {} {}",
                asked.user,
                text("/involvedObject/name"),
                text("/reason"),
                text("/message")
            );
            lines.push((asked.at, 3, i, said));
        }
    }
    for (i, query) in history.queries.iter().enumerate() {
        lines.push((
            query.at,
            5,
            i,
            format!("{:<12} asks {} = {}", query.user, query.text, query.answer),
        ));
    }
    for (i, sample) in history.traffic.iter().enumerate() {
        for share in sample.shares.iter().filter(|s| !matches!(s.cause, Cause::None)) {
            let text = format!(
                "users        of {}: {:.1}% go to {} {}: {:?} until {:.3}",
                history.scenario.apps[sample.app].name,
                100.0 * share.of,
                share.service,
                share.hash,
                share.cause,
                sample.to.as_secs_f64()
            );
            lines.push((sample.from, 6, i, text));
        }
    }
    lines.push((history.calm_from, 9, 0, "-- calm".into()));
    lines.push((history.settled_from, 9, 1, "-- settled".into()));
    lines.push((history.end, 9, 2, "-- end".into()));
    sorted(lines)
}

fn people_and_faults(history: &History, lines: &mut Vec<Line>) {
    for (i, done) in history.actions.iter().enumerate() {
        let note = if done.note.is_empty() {
            String::new()
        } else {
            format!(" ({})", done.note)
        };
        let text = format!("{:<12} {}: {:?}{note}", "PERSON", done.rollout, done.what);
        lines.push((done.at, 0, i, text));
    }
    for (i, done) in history.faults.iter().enumerate() {
        let text = format!(
            "{:<12} {} {:?} [{}] {}",
            "FAULT",
            done.what.name(),
            done.what,
            done.index,
            done.note
        );
        lines.push((done.at, 1, i, text));
    }
    for (i, replica) in history.replicas.iter().enumerate() {
        lines.push((replica.started, 2, i, format!("{:<12} starts", replica.user)));
        if let Some((at, killed)) = replica.ended {
            let how = if killed { "is killed" } else { "ends as told" };
            lines.push((at, 2, i, format!("{:<12} {how}", replica.user)));
        }
        for (at, seconds) in &replica.offsets {
            lines.push((
                *at,
                2,
                i,
                format!("{:<12} its clock is {seconds} s ahead", replica.user),
            ));
        }
    }
    for (i, refused) in history.refusals.iter().enumerate() {
        lines.push((
            refused.at,
            2,
            i,
            format!("{:<12} AUDIT {}: {}", refused.user, refused.rollout, refused.why),
        ));
    }
    for (i, (at, user, why)) in history.ends.iter().enumerate() {
        lines.push((*at, 2, i, format!("{user:<12} ENDS BY ITSELF: {why}")));
    }
}

/// What a new version of an object says that a person wants to know.
fn notable(plural: &str, old: Option<&Value>, new: Option<&Value>) -> Vec<String> {
    let paths: &[&str] = match plural {
        "rollouts" => &[
            "/spec/replicas",
            "/spec/paused",
            "/spec/template/spec/containers/0/image",
            "/spec/strategy/canary/steps",
            "/status/phase",
            "/status/message",
            "/status/currentStepIndex",
            "/status/currentPodHash",
            "/status/stableRS",
            "/status/abort",
            "/status/promoteFull",
            "/status/controllerPause",
            "/status/pauseConditions",
            "/status/canary/weights/canary/weight",
            "/status/observedGeneration",
        ],
        "replicasets" => &[
            "/spec/replicas",
            "/status/availableReplicas",
            "/metadata/annotations/scale-down-deadline",
        ],
        "httproutes" => &["/spec/rules"],
        "services" => &["/spec/selector"],
        "analysisruns" => &["/status/phase", "/status/message", "/spec/terminate"],
        _ => return Vec::new(),
    };
    let mut out = Vec::new();
    match (old, new) {
        (None, Some(_)) => out.push("created".to_owned()),
        (Some(_), None) => return vec!["deleted".to_owned()],
        _ => {}
    }
    for path in paths {
        let at = |object: Option<&Value>| object.and_then(|o| o.at(path)).cloned().unwrap_or_default();
        let (before, after) = (at(old), at(new));
        if before != after {
            let name = path.trim_start_matches('/').replace('/', ".");
            let show = |value: &Value| {
                if *path == "/spec/rules" {
                    weights(value)
                } else {
                    value.to_string()
                }
            };
            out.push(format!("{name} {} -> {}", show(&before), show(&after)));
        }
    }
    if out.len() > 1 {
        out = vec![out.join(", ")];
    }
    out
}

/// The weights in an HTTPRoute's rules.
fn weights(rules: &Value) -> String {
    let rules: Vec<String> = rules
        .as_array()
        .into_iter()
        .flatten()
        .map(|rule| {
            let refs = rule["backendRefs"].as_array();
            let refs: Vec<String> = refs
                .into_iter()
                .flatten()
                .map(|r| format!("{}:{}", r["name"], r["weight"]))
                .collect();
            refs.join(" ").replace('"', "")
        })
        .collect();
    format!("[{}]", rules.join("; "))
}
