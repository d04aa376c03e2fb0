//! Revisions: creating the new ReplicaSet, numbering it, forgetting the oldest (compat 2.1.3 to 2.1.8, 2.17).

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};
use serin_api::{DESIRED_REPLICAS_ANNOTATION, HASH_LABEL, REVISION_ANNOTATION, REVISION_HISTORY_ANNOTATION, hash};
use serin_model::{Event, ReplicaSetView, Write};

use crate::{draft::Draft, scaling::is_referenced, situation::Situation};

/// Annotations of a Rollout that are its own business and do not go to its ReplicaSets (compat 2.1.6).
const KEPT_BACK: [&str; 5] = [
    "kubectl.kubernetes.io/last-applied-configuration",
    REVISION_ANNOTATION,
    REVISION_HISTORY_ANNOTATION,
    DESIRED_REPLICAS_ANNOTATION,
    "notified.notifications.argoproj.io",
];

/// Takes over ReplicaSets that match the selector and belong to nobody (compat 2.1.5). True when there was one.
pub(crate) fn adopt_orphans(s: &Situation<'_>, draft: &mut Draft) -> bool {
    let mut adopted = false;
    for rs in s
        .world
        .replica_sets
        .iter()
        .filter(|rs| rs.owner.is_none() && !rs.deleting)
    {
        let patch = json!({ "metadata": { "ownerReferences": [s.owner_reference()] } });
        draft.write(patch_replica_set(rs, patch), []);
        adopted = true;
    }
    adopted
}

/// Numbers the revision on the Rollout and on its ReplicaSet, which it creates if need be.
pub(crate) fn sync(s: &Situation<'_>, draft: &mut Draft) {
    let revision = s.revision();
    if let Some(new) = s.new {
        renumber(s, new, revision, draft);
    }
    if s.rollout_revision() != Some(revision.to_string().as_str()) {
        let guard = s.world.rollout.metadata.resource_version.clone().unwrap_or_default();
        let patch = json!({ "metadata": { "annotations": { REVISION_ANNOTATION: revision.to_string() } } });
        let said = Event::normal("RolloutUpdated", format!("Rollout updated to revision {revision}"));
        draft.write(
            Write::PatchRollout {
                resource_version: guard,
                patch,
            },
            [said],
        );
    }
    if s.new.is_none() {
        create(s, revision, draft);
    }
}

/// Name of the revision's ReplicaSet.
pub(crate) fn replica_set_name(s: &Situation<'_>) -> String {
    format!("{}-{}", s.name, s.hash)
}

fn create(s: &Situation<'_>, revision: i64, draft: &mut Draft) {
    let name = replica_set_name(s);
    let template = s.spec.template.with_label(HASH_LABEL, &s.hash);
    let mut labels = s.spec.template.labels();
    labels.insert(HASH_LABEL.to_owned(), s.hash.clone());
    let mut annotations = copied_annotations(s);
    annotations.insert(REVISION_ANNOTATION.to_owned(), revision.to_string());
    annotations.insert(
        DESIRED_REPLICAS_ANNOTATION.to_owned(),
        s.spec.desired_replicas().to_string(),
    );
    let mut selector = serde_json::to_value(&s.spec.selector).unwrap_or_else(|_| json!({}));
    if !selector.is_object() {
        selector = json!({});
    }
    selector["matchLabels"][HASH_LABEL] = Value::String(s.hash.clone());
    let mut object = json!({
        "apiVersion": "apps/v1",
        "kind": "ReplicaSet",
        "metadata": {
            "name": name,
            "namespace": s.namespace,
            "labels": labels,
            "annotations": annotations,
            "ownerReferences": [s.owner_reference()],
        },
        "spec": { "replicas": 0, "selector": selector, "template": template },
    });
    if s.spec.min_ready() > 0 {
        object["spec"]["minReadySeconds"] = json!(s.spec.min_ready());
    }
    let said = Event::normal(
        "NewReplicaSetCreated",
        format!("Created ReplicaSet {name} (revision {revision})"),
    );
    draft.write(Write::CreateReplicaSet { name, object }, [said]);
}

fn copied_annotations(s: &Situation<'_>) -> BTreeMap<String, String> {
    let all = s.rollout_annotations().into_iter().flatten();
    all.filter(|(key, _)| !KEPT_BACK.contains(&key.as_str()))
        .map(|(k, v)| (k.clone(), v.clone()))
        .collect()
}

/// Brings number, copied annotations and minReadySeconds of an existing ReplicaSet up to date. Annotations that were taken
/// off the Rollout stay (recordings README 22).
fn renumber(s: &Situation<'_>, new: &ReplicaSetView, revision: i64, draft: &mut Draft) {
    let mut annotations = Map::new();
    for (key, value) in copied_annotations(s) {
        if new.annotations.get(&key) != Some(&value) {
            annotations.insert(key, Value::String(value));
        }
    }
    let known = new.annotations.get(REVISION_ANNOTATION);
    if new.revision() != revision {
        annotations.insert(REVISION_ANNOTATION.to_owned(), Value::String(revision.to_string()));
        if let Some(old) = known.filter(|old| !old.is_empty()) {
            let history = match new.annotations.get(REVISION_HISTORY_ANNOTATION) {
                Some(history) if !history.is_empty() => format!("{history},{old}"),
                _ => old.clone(),
            };
            annotations.insert(REVISION_HISTORY_ANNOTATION.to_owned(), Value::String(history));
        }
    }
    let mut patch = Map::new();
    if !annotations.is_empty() {
        patch.insert("metadata".to_owned(), json!({ "annotations": annotations }));
    }
    if new.min_ready_seconds != s.spec.min_ready() {
        patch.insert("spec".to_owned(), json!({ "minReadySeconds": s.spec.min_ready() }));
    }
    if !patch.is_empty() {
        draft.write(patch_replica_set(new, Value::Object(patch)), []);
    }
}

/// Deletes old revisions beyond `revisionHistoryLimit`, oldest first, only when nothing of them runs (compat 2.17), and
/// the analysis runs that belong to them.
pub(crate) fn collect_history(s: &Situation<'_>, draft: &mut Draft) {
    let limit = usize::try_from(s.spec.history_limit().max(0)).unwrap_or(0);
    let idle = |rs: &ReplicaSetView| {
        rs.replicas == 0 && rs.current == 0 && rs.observed_generation >= rs.generation && !rs.deleting
    };
    let candidates: Vec<&&ReplicaSetView> = s.others.iter().filter(|rs| !rs.deleting).collect();
    let surplus = candidates.len().saturating_sub(limit);
    for rs in candidates
        .into_iter()
        .take(surplus)
        .filter(|rs| idle(rs) && !is_referenced(s, rs))
    {
        for run in s
            .world
            .analysis_runs
            .iter()
            .filter(|run| run.labels.get(HASH_LABEL).is_some_and(|h| h == rs.hash()))
        {
            if !run.deleting {
                draft.write(crate::analysis::delete(run), []);
            }
        }
        let write = Write::DeleteReplicaSet {
            name: rs.name.clone(),
            uid: rs.uid.clone(),
            resource_version: rs.resource_version.clone(),
        };
        draft.write(write, []);
    }
}

/// A guarded merge patch of a ReplicaSet.
pub(crate) fn patch_replica_set(rs: &ReplicaSetView, patch: Value) -> Write {
    Write::PatchReplicaSet {
        name: rs.name.clone(),
        resource_version: rs.resource_version.clone(),
        patch,
    }
}

/// The computed name belongs to somebody else: another number goes into the hash (compat 2.1.8).
pub(crate) fn next_collision_count(s: &Situation<'_>) -> Option<i32> {
    if s.new.is_some() || !s.world.taken_names.contains(&replica_set_name(s)) {
        return None;
    }
    let first = s.before.collision_count.unwrap_or(0) + 1;
    (first..i32::MAX).find(|count| {
        let name = format!("{}-{}", s.name, hash::pod_template_hash(&s.spec.template, Some(*count)));
        !s.world.taken_names.contains(&name)
    })
}
