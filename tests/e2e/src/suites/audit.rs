//! The whole run, as the API server wrote it down: rights used and not exceeded, every write guarded.

use std::collections::BTreeSet;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::{
    audit_log::{self, Request},
    install,
    runner::{Stage, Test},
    world::World,
};

pub(super) fn tests(round: usize) -> Vec<Test> {
    if round > 0 {
        return Vec::new();
    }
    vec![
        Test::new(
            Stage::End,
            "over the whole run every granted verb was used and nothing was forbidden",
            async |world| rights(&world).await,
        ),
        Test::new(
            Stage::End,
            "over the whole run every write carried a version or a name of its own",
            async |world| guarded(&world),
        ),
    ]
}

/// Group, resource, verb.
type Right = (String, String, String);

async fn granted(world: &World) -> Result<BTreeSet<Right>> {
    let mut rights = BTreeSet::new();
    for (kind, name) in [("clusterrole", "serin-controller"), ("role", "serin-lease")] {
        let text = world
            .cluster()
            .kubectl(&["-n", install::NAMESPACE, "get", kind, name, "-o", "json"])
            .await?;
        let role: Value = serde_json::from_str(&text)?;
        let list = |rule: &Value, field: &str| -> Vec<String> {
            let values = rule[field].as_array().into_iter().flatten();
            values.filter_map(|v| v.as_str().map(str::to_owned)).collect()
        };
        for rule in role["rules"].as_array().context("a role without rules")? {
            for group in list(rule, "apiGroups") {
                for resource in list(rule, "resources") {
                    for verb in list(rule, "verbs") {
                        rights.insert((group.clone(), resource.clone(), verb));
                    }
                }
            }
        }
    }
    Ok(rights)
}

async fn rights(world: &World) -> Result<String> {
    let requests = audit_log::read(world)?;
    let granted = granted(world).await?;
    let forbidden: Vec<String> = requests
        .iter()
        // Nobody may create anything in a namespace on its way out.
        .filter(|r| r.code == 403 && !world.is_away(r.at) && !r.message.contains("because it is being terminated"))
        .map(Request::describe)
        .collect();
    ensure!(
        forbidden.is_empty(),
        "{} requests were forbidden:\n{}",
        forbidden.len(),
        forbidden.join("\n")
    );
    let used: BTreeSet<Right> = requests
        .iter()
        .map(|r| (r.group.clone(), r.resource.clone(), r.verb.clone()))
        .collect();
    let unused: Vec<String> = granted
        .difference(&used)
        .map(|(group, resource, verb)| format!("{verb} {resource}.{group}"))
        .collect();
    ensure!(unused.is_empty(), "granted and never used: {}", unused.join(", "));
    Ok(format!(
        "{} requests, {} rights, all used, none refused",
        requests.len(),
        granted.len()
    ))
}

fn guarded(world: &World) -> Result<String> {
    let requests = audit_log::read(world)?;
    let writes: Vec<&Request> = requests
        .iter()
        .filter(|r| r.is_write() && !world.is_away(r.at))
        .collect();
    let open: Vec<String> = writes
        .iter()
        .filter(|r| !is_guarded(r))
        .map(|r| format!("{}: {}", r.describe(), r.body))
        .collect();
    let shown = &open[..open.len().min(5)];
    ensure!(
        open.is_empty(),
        "{} of {} writes are not guarded:\n{}",
        open.len(),
        writes.len(),
        shown.join("\n")
    );
    ensure!(!writes.is_empty(), "the controller wrote nothing");
    let refused = writes.iter().filter(|r| !r.is_done()).count();
    Ok(format!("{} writes, {refused} of them refused", writes.len()))
}

/// A write that comes late must change nothing.
fn is_guarded(request: &Request) -> bool {
    let body = &request.body;
    let has_version = |v: &Value| v.as_str().is_some_and(|text| !text.is_empty());
    match request.verb.as_str() {
        "create" => body["metadata"]["name"].is_string() && body["metadata"]["generateName"].is_null(),
        "delete" => {
            has_version(&body["preconditions"]["resourceVersion"]) || has_version(&body["preconditions"]["uid"])
        }
        "patch" if body.is_array() => {
            let operations = body.as_array().into_iter().flatten();
            operations.into_iter().any(|o| o["op"] == "test")
        }
        "update" | "patch" => has_version(&body["metadata"]["resourceVersion"]),
        _ => false,
    }
}
