//! No pod of an unchanged revision is restarted by the controller.

use serde_json::Value;

use crate::oracle::{
    facts::{HASH, owner},
    picture::Kind,
    report::{Report, Rule},
    scene::Scene,
};

/// The controller writes no Pods (compat 2.9 and 2.11 are not supported yet).
pub(crate) fn pod(scene: &Scene<'_, '_>, report: &mut Report) {
    let change = scene.change;
    let key = format!("Pod {}/{}", change.namespace, change.name);
    report.add(Rule::NoRestart, change.at, &key, format!("{} wrote a pod", change.user));
}

/// A template has one ReplicaSet, and a ReplicaSet keeps its template: anything else starts new pods for the same revision
/// (compat 2.1.3, 2.1.4).
pub(crate) fn replica_set(scene: &Scene<'_, '_>, report: &mut Report) {
    let change = scene.change;
    let Some(new) = scene.new_object() else { return };
    let key = format!("ReplicaSet {}/{}", change.namespace, change.name);
    let template = |o: &Value| {
        let mut template = o.pointer("/spec/template").cloned().unwrap_or_default();
        if let Some(labels) = template.pointer_mut("/metadata/labels").and_then(Value::as_object_mut) {
            labels.remove(HASH);
        }
        template
    };
    if let Some(old) = scene.old() {
        if old.pointer("/spec/template") != new.pointer("/spec/template") {
            let message = format!("{} changed its template", change.user);
            report.add(Rule::NoRestart, change.at, &key, message);
        }
        return;
    }
    let Some((_, rollout, uid)) = owner(new) else { return };
    let wanted = template(new);
    for name in scene.picture.replica_sets_of(&change.namespace, rollout) {
        let Some(other) = scene.picture.latest(Kind::ReplicaSet, &change.namespace, name) else {
            continue;
        };
        let is_going = other.pointer("/metadata/deletionTimestamp").is_some();
        let is_same_owner = owner(other).is_some_and(|(_, _, u)| u == uid);
        if name != change.name && is_same_owner && !is_going && template(other) == wanted {
            let message = format!("{} made a second ReplicaSet of the template of {name}", change.user);
            report.add(Rule::NoRestart, change.at, &key, message);
        }
    }
}
