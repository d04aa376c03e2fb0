//! What a Deployment and its ReplicaSets are to each other: which one is new, which revision each has, how many pods.
//! Pure functions.

use std::sync::Arc;

use chrono::{DateTime, Utc};
use serde_json::{Map, Value, json};

use super::{
    objects::{hash, int_or_percent, list, moment, name, number, text, uid},
    replicaset::replicas,
};

pub(super) const REVISION: &str = "deployment.kubernetes.io/revision";
const HISTORY: &str = "deployment.kubernetes.io/revision-history";
pub(super) const DESIRED: &str = "deployment.kubernetes.io/desired-replicas";
pub(super) const MAXIMUM: &str = "deployment.kubernetes.io/max-replicas";
pub(super) const HASH: &str = "pod-template-hash";

/// Annotations of a Deployment that are not its ReplicaSets' business.
const OWN: [&str; 6] = [
    "kubectl.kubernetes.io/last-applied-configuration",
    REVISION,
    HISTORY,
    DESIRED,
    MAXIMUM,
    "deprecated.deployment.rollback.to",
];

/// A Deployment's ReplicaSets.
pub(super) struct Sets {
    /// The one with the Deployment's template.
    pub new: Option<Arc<Value>>,
    /// The others, the eldest first.
    pub old: Vec<Arc<Value>>,
}

impl Sets {
    pub(super) fn of(deployment: &Value, mut sets: Vec<Arc<Value>>) -> Self {
        sets.sort_by_cached_key(|set| (born(set), name(set).to_owned()));
        let template = &deployment["spec"]["template"];
        let new = sets
            .iter()
            .position(|set| same_template(template, &set["spec"]["template"]));
        let new = new.map(|at| sets.remove(at));
        Self { new, old: sets }
    }

    /// All of them.
    pub(super) fn all(&self) -> impl Iterator<Item = &Arc<Value>> {
        self.old.iter().chain(&self.new)
    }

    /// Those that are to have pods.
    pub(super) fn active(&self) -> Vec<Arc<Value>> {
        self.all().filter(|set| replicas(set) > 0).cloned().collect()
    }

    /// The pods that all of them are to have.
    pub(super) fn wanted(&self) -> i64 {
        self.all().map(|set| replicas(set)).sum()
    }

    /// A count of the status, over all.
    pub(super) fn count(&self, field: &str) -> i64 {
        self.all().map(|set| number(&set["status"][field])).sum()
    }

    /// Takes over a newer version of one of them.
    pub(super) fn replace(&mut self, set: &Arc<Value>) {
        for old in self.old.iter_mut().chain(&mut self.new) {
            if uid(old) == uid(set) {
                *old = Arc::clone(set);
            }
        }
    }
}

pub(super) fn born(set: &Value) -> Option<DateTime<Utc>> {
    moment(&set["metadata"]["creationTimestamp"])
}

/// Whether two pod templates differ in nothing but the hash.
pub(super) fn same_template(a: &Value, b: &Value) -> bool {
    let labels = |template: &Value| {
        let mut labels = template["metadata"]["labels"].as_object().cloned().unwrap_or_default();
        labels.remove(HASH);
        labels
    };
    let rest = |template: &Value| {
        let mut rest = template["metadata"].as_object().cloned().unwrap_or_default();
        rest.retain(|key, value| key != "labels" && !value.is_null());
        rest
    };
    a["spec"] == b["spec"] && labels(a) == labels(b) && rest(a) == rest(b)
}

/// The hash of a template. After a collision another one.
pub(super) fn template_hash(template: &Value, collisions: i64) -> String {
    const LETTERS: &[u8; 27] = b"bcdfghjklmnpqrstvwxz2456789";
    let collisions = if collisions > 0 {
        collisions.to_string()
    } else {
        String::new()
    };
    let mut bits = hash(0, [template.to_string().as_str(), &collisions]);
    let letters = (0..10).map(|_| {
        let letter = LETTERS[usize::try_from(bits % 27).unwrap_or_default()];
        bits /= 27;
        char::from(letter)
    });
    letters.collect()
}

pub(super) fn revision(set: &Value) -> i64 {
    text(&set["metadata"]["annotations"][REVISION]).parse().unwrap_or(0)
}

/// An annotation that is a number.
pub(super) fn annotation(set: &Value, key: &str) -> Option<i64> {
    text(&set["metadata"]["annotations"][key]).parse().ok()
}

/// Pods beyond the wanted ones that a rolling update may have.
pub(super) fn max_surge(deployment: &Value) -> i64 {
    if !is_rolling(deployment) {
        return 0;
    }
    let surge = &deployment["spec"]["strategy"]["rollingUpdate"]["maxSurge"];
    int_or_percent(or_quarter(surge), replicas(deployment), true)
}

/// Pods that a rolling update may lack.
pub(super) fn max_unavailable(deployment: &Value) -> i64 {
    let wanted = replicas(deployment);
    if !is_rolling(deployment) || wanted == 0 {
        return 0;
    }
    let unavailable = &deployment["spec"]["strategy"]["rollingUpdate"]["maxUnavailable"];
    let unavailable = int_or_percent(or_quarter(unavailable), wanted, false);
    // With neither it could never begin.
    if unavailable == 0 && max_surge(deployment) == 0 {
        return 1;
    }
    unavailable.min(wanted)
}

fn or_quarter(value: &Value) -> &Value {
    static QUARTER: std::sync::LazyLock<Value> = std::sync::LazyLock::new(|| json!("25%"));
    if value.is_null() { &QUARTER } else { value }
}

pub(super) fn is_rolling(deployment: &Value) -> bool {
    deployment["spec"]["strategy"]["type"] != "Recreate"
}

/// The size that the new ReplicaSet may have now.
pub(super) fn new_size(deployment: &Value, all: i64, present: i64) -> i64 {
    let wanted = replicas(deployment);
    if !is_rolling(deployment) {
        return wanted;
    }
    let room = wanted + max_surge(deployment) - all;
    if room <= 0 {
        return present;
    }
    present + room.min(wanted - present)
}

/// Writes the annotations of the new ReplicaSet; says whether any changed.
pub(super) fn annotate(deployment: &Value, set: &mut Value, revision: i64) -> bool {
    let before = set["metadata"]["annotations"].as_object().cloned().unwrap_or_default();
    let mut annotations = before.clone();
    for (key, value) in deployment["metadata"]["annotations"].as_object().into_iter().flatten() {
        if !OWN.contains(&key.as_str()) {
            annotations.insert(key.clone(), value.clone());
        }
    }
    let old = annotations.get(REVISION).map(|old| text(old).to_owned());
    let number = old.as_deref().unwrap_or_default().parse().unwrap_or(0);
    if number < revision {
        annotations.insert(REVISION.into(), json!(revision.to_string()));
        // It was the new one before: a rollback.
        if let Some(old) = old.filter(|old| !old.is_empty()) {
            let history = match annotations.get(HISTORY).map(text) {
                None | Some("") => old,
                Some(history) => format!("{history},{old}"),
            };
            annotations.insert(HISTORY.into(), json!(history));
        }
    }
    let changed = annotations != before;
    set["metadata"]["annotations"] = Value::Object(annotations);
    changed
}

/// Writes down for which size of the Deployment a ReplicaSet was scaled; says whether that changed.
pub(super) fn annotate_size(deployment: &Value, set: &mut Value) -> bool {
    let wanted = replicas(deployment);
    let sizes = [(DESIRED, wanted), (MAXIMUM, wanted + max_surge(deployment))];
    let mut changed = false;
    for (key, size) in sizes {
        if annotation(set, key) != Some(size) {
            set["metadata"]["annotations"][key] = json!(size.to_string());
            changed = true;
        }
    }
    changed
}

/// The ReplicaSet of a Deployment's template, without a size.
pub(super) fn set_from(deployment: &Value, reference: Value) -> Value {
    let spec = &deployment["spec"];
    let hash = template_hash(&spec["template"], number(&deployment["status"]["collisionCount"]));
    let mut template = spec["template"].clone();
    template["metadata"]["labels"][HASH] = json!(hash);
    let mut selector = spec["selector"].clone();
    selector["matchLabels"][HASH] = json!(hash);
    json!({
        "apiVersion": "apps/v1",
        "kind": "ReplicaSet",
        "metadata": {
            "name": format!("{}-{hash}", name(deployment)),
            "namespace": deployment["metadata"]["namespace"],
            "labels": template["metadata"]["labels"],
            "ownerReferences": [reference],
        },
        "spec": {
            "replicas": 0,
            "minReadySeconds": number(&spec["minReadySeconds"]),
            "selector": selector,
            "template": template,
        },
    })
}

/// The conditions of a Deployment's or ReplicaSet's status.
pub(super) fn conditions(status: &Value) -> Vec<Value> {
    list(&status["conditions"]).to_vec()
}

/// Sets a condition with both its times, unless its status and reason are there already.
pub(super) fn note(status: &mut Value, now: &Value, kind: &str, value: &str, reason: &str, message: &str) {
    let mut conditions = conditions(status);
    let old = conditions.iter().find(|c| c["type"] == kind);
    if old.is_some_and(|old| old["status"] == value && old["reason"] == reason) {
        return;
    }
    let since = old
        .filter(|old| old["status"] == value)
        .map(|old| old["lastTransitionTime"].clone());
    let new = json!({
        "type": kind,
        "status": value,
        "reason": reason,
        "message": message,
        "lastUpdateTime": now,
        "lastTransitionTime": since.unwrap_or_else(|| now.clone()),
    });
    // The real controller puts what changed at the end.
    conditions.retain(|c| c["type"] != kind);
    conditions.push(new);
    status["conditions"] = Value::Array(conditions);
}

/// Removes a condition.
pub(super) fn forget(status: &mut Value, kind: &str) {
    let mut conditions = conditions(status);
    conditions.retain(|c| c["type"] != kind);
    match status.as_object_mut() {
        Some(status) if conditions.is_empty() => {
            status.remove("conditions");
        }
        Some(status) => {
            status.insert("conditions".into(), Value::Array(conditions));
        }
        None => {}
    }
}

/// The counts of a Deployment's status. Zeros are left out, as the real one does.
pub(super) fn counted(deployment: &Value, sets: &Sets) -> Value {
    let available = sets.count("availableReplicas");
    let updated = sets.new.as_ref().map_or(0, |new| number(&new["status"]["replicas"]));
    let mut status = Map::new();
    let counts = [
        ("replicas", sets.count("replicas")),
        ("updatedReplicas", updated),
        ("readyReplicas", sets.count("readyReplicas")),
        ("availableReplicas", available),
        ("unavailableReplicas", (sets.wanted() - available).max(0)),
    ];
    for (field, count) in counts {
        if count > 0 {
            status.insert(field.into(), json!(count));
        }
    }
    status.insert("terminatingReplicas".into(), json!(sets.count("terminatingReplicas")));
    for field in ["collisionCount", "conditions"] {
        if !deployment["status"][field].is_null() {
            status.insert(field.into(), deployment["status"][field].clone());
        }
    }
    status.insert(
        "observedGeneration".into(),
        deployment["metadata"]["generation"].clone(),
    );
    Value::Object(status)
}

/// Whether all pods are new and available.
pub(super) fn is_complete(deployment: &Value, status: &Value) -> bool {
    let wanted = replicas(deployment);
    let full = |field: &str| number(&status[field]) == wanted;
    full("updatedReplicas")
        && full("replicas")
        && full("availableReplicas")
        && number(&status["observedGeneration"]) >= number(&deployment["metadata"]["generation"])
}

/// Whether the new counts are better than the old ones.
pub(super) fn has_progressed(old: &Value, new: &Value) -> bool {
    let grew = |field: &str| number(&new[field]) > number(&old[field]);
    let outdated = |status: &Value| number(&status["replicas"]) - number(&status["updatedReplicas"]);
    grew("updatedReplicas") || outdated(new) < outdated(old) || grew("readyReplicas") || grew("availableReplicas")
}
