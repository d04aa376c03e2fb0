//! What controllers asked for: every write guarded, none from an object older than their own last write.

use std::{collections::BTreeMap, time::Duration};

use serde_json::Value;

use crate::{
    history::{History, is_controller},
    oracle::{
        facts::text,
        knowledge::{Knowledge, Target, is_write},
        report::{Report, Rule},
    },
};

/// From a change to the moment when its writer has read the answer, without faults.
const ANSWER: Duration = Duration::from_millis(20);

/// User, resource, namespace and name.
type Written<'a> = (&'a str, &'a str, &'a str, &'a str);

/// Both rules.
pub(crate) fn check(history: &History, knowledge: &Knowledge<'_>, report: &mut Report) {
    let mut own: BTreeMap<Written<'_>, Vec<(Duration, u64)>> = BTreeMap::new();
    for change in history.changes.iter().filter(|c| is_controller(&c.user)) {
        if change.new.is_some() && knowledge.was_told(change) {
            let key = (
                change.user.as_str(),
                change.resource.plural,
                change.namespace.as_str(),
                change.name.as_str(),
            );
            own.entry(key).or_default().push((change.at, change.version));
        }
    }
    for asked in history
        .requests
        .iter()
        .filter(|r| is_controller(&r.user) && is_write(r))
    {
        let Some(target) = Target::of(asked).filter(|t| t.resource != "events") else {
            continue;
        };
        let object = format!("{} {}/{}", target.resource, target.namespace, target.name);
        let version = version(&asked.body);
        guarded(report, asked, &object, version);
        let key = (
            asked.user.as_str(),
            target.resource,
            target.namespace,
            target.name.as_str(),
        );
        fresh(report, knowledge, asked, &object, version, own.get(&key));
    }
}

/// No status, and no other existing object, is written without a guard: a resourceVersion, a `test` in a JSON patch, or the uid of
/// what is deleted. Without one a person's abort is written over (design 4.2).
fn guarded(report: &mut Report, asked: &serin_kubesim::Asked, object: &str, version: Option<u64>) {
    let has_guard = match asked.method.as_str() {
        "POST" => true,
        "DELETE" => version.is_some() || !text(&asked.body, "/preconditions/uid").is_empty(),
        _ => {
            let tests = |op: &Value| text(op, "/op") == "test";
            version.is_some() || asked.body.as_array().is_some_and(|ops| ops.iter().any(tests))
        }
    };
    if !has_guard {
        let message = format!("{} sent {} {} without a guard", asked.user, asked.method, asked.path);
        report.add(Rule::Guarded, asked.at, object, message);
    }
}

/// No plan is made from a World older than our own last write to any object in it (design 4.3).
fn fresh(
    report: &mut Report,
    knowledge: &Knowledge<'_>,
    asked: &serin_kubesim::Asked,
    object: &str,
    version: Option<u64>,
    own: Option<&Vec<(Duration, u64)>>,
) {
    let (Some(version), Some(own)) = (version, own) else {
        return;
    };
    let known = asked.at.saturating_sub(ANSWER + knowledge.slowness(asked.at));
    let last = own.partition_point(|(at, _)| *at < known);
    if let Some((at, newest)) = last.checked_sub(1).map(|i| own[i])
        && version < newest
    {
        let message = format!(
            "{} sent {} with resourceVersion {version}, having written {newest} itself at {:.3}s",
            asked.user,
            asked.method,
            at.as_secs_f64()
        );
        report.add(Rule::Fresh, asked.at, object, message);
    }
}

/// The resourceVersion that a request is guarded by.
fn version(body: &Value) -> Option<u64> {
    let direct = [
        text(body, "/metadata/resourceVersion"),
        text(body, "/preconditions/resourceVersion"),
    ];
    let tested = body
        .as_array()
        .into_iter()
        .flatten()
        .find(|op| text(op, "/op") == "test" && text(op, "/path") == "/metadata/resourceVersion")
        .map_or("", |op| text(op, "/value"));
    direct.into_iter().chain([tested]).find_map(|v| v.parse().ok())
}
