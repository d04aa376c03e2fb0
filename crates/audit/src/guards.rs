//! W9, as far as a plan shows it: every write carries a guard that makes it harmless when it comes late. Whether a write may
//! start at all, by our lease, is asked at the gate in the controller.

use serin_api::{HASH_LABEL, MANAGED_BY_ANNOTATION};
use serin_model::Write;

use crate::{
    Findings,
    Rule::W9,
    facts::{Facts, text},
};

/// Every write is guarded, and touches only what belongs to the Rollout.
pub(crate) fn judge(facts: &Facts<'_>, write: &Write, findings: &mut Findings) {
    let world = facts.world;
    let metadata = &world.rollout.metadata;
    let rollout = metadata.name.as_deref().unwrap_or_default();
    match write {
        Write::CreateReplicaSet { name, object } => {
            let hash = text(&object["metadata"]["labels"][HASH_LABEL]);
            let expected = format!("{rollout}-{hash}");
            deterministic(
                "ReplicaSet",
                name,
                object,
                &expected,
                name == &expected && !hash.is_empty(),
                findings,
            );
        }
        Write::CreateAnalysisRun { name, object } => {
            let hash = text(&object["metadata"]["labels"][HASH_LABEL]);
            let expected = format!("{rollout}-{hash}-<revision>…");
            let is_ours = !hash.is_empty() && name.starts_with(&format!("{rollout}-{hash}-"));
            deterministic("AnalysisRun", name, object, &expected, is_ours, findings);
        }
        Write::PatchReplicaSet {
            name, resource_version, ..
        } => {
            if let Some(view) = replica_set(facts, name, findings) {
                version("ReplicaSet", name, resource_version, &view.resource_version, findings);
            }
        }
        Write::DeleteReplicaSet {
            name,
            uid,
            resource_version,
        } => {
            if let Some(view) = replica_set(facts, name, findings) {
                identity("ReplicaSet", name, uid, &view.uid, findings);
                version("ReplicaSet", name, resource_version, &view.resource_version, findings);
            }
        }
        Write::PatchAnalysisRun {
            name, resource_version, ..
        } => match world.analysis_runs.iter().find(|run| run.name == *name) {
            Some(run) => version("AnalysisRun", name, resource_version, &run.resource_version, findings),
            None => unknown("AnalysisRun", name, findings),
        },
        Write::DeleteAnalysisRun {
            name,
            uid,
            resource_version,
        } => match world.analysis_runs.iter().find(|run| run.name == *name) {
            Some(run) => {
                identity("AnalysisRun", name, uid, &run.uid, findings);
                version("AnalysisRun", name, resource_version, &run.resource_version, findings);
            }
            None => unknown("AnalysisRun", name, findings),
        },
        Write::PatchService {
            name, resource_version, ..
        } => {
            let former = world.former_services.iter().find(|s| s.name == *name);
            let Some(service) = world.services.get(name).or(former) else {
                return unknown("Service", name, findings);
            };
            if let Some(other) = service.managed_by().filter(|by| *by != rollout) {
                findings.refuse(
                    W9,
                    format!("Service {name} belongs to the Rollout {other} ({MANAGED_BY_ANNOTATION}); leave it alone"),
                );
            }
            version("Service", name, resource_version, &service.resource_version, findings);
        }
        Write::SetRouteWeights {
            route,
            resource_version,
            ..
        } => {
            let name = format!("{}/{}", route.namespace, route.name);
            match world.routes.get(route) {
                Some(Ok(view)) => version(&route.kind, &name, resource_version, &view.resource_version, findings),
                Some(Err(why)) => findings.refuse(
                    W9,
                    format!(
                        "{} {name} cannot be used ({why}), so no weight may be written to it",
                        route.kind
                    ),
                ),
                None => unknown(&route.kind, &name, findings),
            }
        }
        Write::PatchRollout { resource_version, .. } => {
            let known = metadata.resource_version.as_deref().unwrap_or_default();
            version("Rollout", rollout, resource_version, known, findings);
        }
        Write::PatchRolloutStatus {
            resource_version,
            patch,
        } => {
            let known = metadata.resource_version.as_deref().unwrap_or_default();
            version("Rollout", rollout, resource_version, known, findings);
            if !facts.is_readable_status(patch) {
                findings.refuse(
                    W9,
                    format!("the status of Rollout {rollout} could not be read after this patch: {patch}"),
                );
            }
        }
    }
}

fn replica_set<'a>(facts: &Facts<'a>, name: &str, findings: &mut Findings) -> Option<&'a serin_model::ReplicaSetView> {
    let view = facts.world.replica_sets.iter().find(|rs| rs.name == name);
    let Some(view) = view else {
        unknown("ReplicaSet", name, findings);
        return None;
    };
    let own = facts.world.rollout.metadata.uid.as_deref();
    if let Some(other) = view.owner.as_deref().filter(|owner| Some(*owner) != own) {
        findings.refuse(
            W9,
            format!("ReplicaSet {name} belongs to the owner {other}; leave it alone"),
        );
    }
    Some(view)
}

fn deterministic(
    kind: &str,
    name: &str,
    object: &serde_json::Value,
    expected: &str,
    is_expected: bool,
    findings: &mut Findings,
) {
    if !is_expected {
        findings.refuse(
            W9,
            format!(
                "{kind} {name:?} would be made under a name that a second try could not find taken; name it {expected}"
            ),
        );
    }
    let metadata = &object["metadata"];
    if metadata["name"].as_str() != Some(name) || !metadata["generateName"].is_null() {
        findings.refuse(
            W9,
            format!("{kind} {name:?} must carry this name in its metadata, and no generateName"),
        );
    }
}

fn version(kind: &str, name: &str, carried: &str, known: &str, findings: &mut Findings) {
    if carried.is_empty() {
        findings.refuse(
            W9,
            format!("the write of {kind} {name} has no resourceVersion; it must carry {known:?}"),
        );
    } else if carried != known {
        findings.refuse(
            W9,
            format!("the write of {kind} {name} carries resourceVersion {carried:?}, but the plan saw {known:?}"),
        );
    }
}

fn identity(kind: &str, name: &str, carried: &str, known: &str, findings: &mut Findings) {
    if carried.is_empty() || carried != known {
        findings.refuse(
            W9,
            format!("the deletion of {kind} {name} carries uid {carried:?}, but the plan saw {known:?}"),
        );
    }
}

fn unknown(kind: &str, name: &str, findings: &mut Findings) {
    findings.refuse(
        W9,
        format!("{kind} {name} is not in the World that the plan was made from; look again first"),
    );
}
