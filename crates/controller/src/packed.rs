//! What most of the memory goes to, kept small: a cluster of 5,000 Rollouts has 55,000 ReplicaSets, nearly all of them old
//! revisions that no decision will read for months (design section 6).
//!
//! A map with two labels costs a node for eleven, every string an allocation, every object inside a pod template a node of
//! 600 bytes. Here all words of a ReplicaSet are one piece of memory, and the pod template of a Rollout is text. Both
//! become views and values again when a World is made of them.

use std::{collections::BTreeMap, fmt, str};

use chrono::{DateTime, Utc};
use serde_json::Value;
use serin_api::{digest::TemplateDigest, rollout::Rollout, template::PodTemplate};
use serin_model::ReplicaSetView;

use crate::kinds::{Kind, Meta, Reduced};

/// Keys of labels and annotations that nearly every ReplicaSet has. Each is a byte; the order is of no meaning outside.
const KNOWN: [&str; 12] = [
    serin_api::HASH_LABEL,
    serin_api::REVISION_ANNOTATION,
    serin_api::DESIRED_REPLICAS_ANNOTATION,
    serin_api::REVISION_HISTORY_ANNOTATION,
    serin_api::SCALE_DOWN_DEADLINE_ANNOTATION,
    serin_api::EPHEMERAL_METADATA_ANNOTATION,
    "app",
    "app.kubernetes.io/name",
    "app.kubernetes.io/instance",
    "app.kubernetes.io/part-of",
    "app.kubernetes.io/managed-by",
    "app.kubernetes.io/version",
];

/// Words and numbers, one after another.
#[derive(Default)]
struct Writer(Vec<u8>);

impl Writer {
    /// Seven bits a byte, the lowest first.
    fn number(&mut self, mut n: usize) {
        while n > 0x7f {
            self.0.push((n & 0x7f) as u8 | 0x80);
            n >>= 7;
        }
        self.0.push(n as u8);
    }

    fn word(&mut self, word: &str) {
        self.number(word.len());
        self.0.extend_from_slice(word.as_bytes());
    }

    fn pair(&mut self, pair: Option<(&str, &str)>) {
        self.number(usize::from(pair.is_some()));
        if let Some((one, other)) = pair {
            self.word(one);
            self.word(other);
        }
    }

    fn map(&mut self, map: &BTreeMap<String, String>) {
        self.number(map.len());
        for (key, value) in map {
            match KNOWN.iter().position(|known| known == key) {
                Some(nth) => self.number(nth + 1),
                None => {
                    self.number(0);
                    self.word(key);
                }
            }
            self.word(value);
        }
    }
}

/// The same in the same order. What a [`Writer`] did not write reads as nothing.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn number(&mut self) -> usize {
        let (mut n, mut shift) = (0, 0);
        while let Some((&byte, rest)) = self.0.split_first() {
            self.0 = rest;
            n |= usize::from(byte & 0x7f) << shift;
            shift += 7;
            if byte & 0x80 == 0 || shift >= usize::BITS {
                break;
            }
        }
        n
    }

    fn word(&mut self) -> &'a str {
        let length = self.number().min(self.0.len());
        let (word, rest) = self.0.split_at(length);
        self.0 = rest;
        str::from_utf8(word).unwrap_or_default()
    }

    fn pair(&mut self) -> Option<(&'a str, &'a str)> {
        (self.number() > 0).then(|| (self.word(), self.word()))
    }

    fn map(&mut self) -> BTreeMap<String, String> {
        let count = self.number();
        let mut out = BTreeMap::new();
        for _ in 0..count {
            let key = match self.number() {
                0 => self.word(),
                nth => KNOWN.get(nth - 1).copied().unwrap_or_default(),
            };
            out.insert(key.to_owned(), self.word().to_owned());
        }
        out
    }
}

/// A [`ReplicaSetView`] in a quarter of the memory.
#[derive(Clone)]
pub struct PackedReplicaSet {
    /// Owner, name, UID, version, failure, labels, annotations.
    words: Box<[u8]>,
    digest: TemplateDigest,
    generation: i64,
    observed_generation: i64,
    created: DateTime<Utc>,
    deleting: bool,
    replicas: i32,
    min_ready_seconds: i32,
    current: i32,
    ready: i32,
    available: i32,
}

impl PackedReplicaSet {
    /// Packs a view.
    pub fn new(view: &ReplicaSetView) -> Self {
        let mut words = Writer(Vec::with_capacity(256));
        // First what is looked up without the rest.
        words.pair(view.owner.as_deref().map(|owner| (owner, "")));
        words.word(&view.name);
        words.word(&view.uid);
        words.word(&view.resource_version);
        words.pair(
            view.failure
                .as_ref()
                .map(|(reason, text)| (reason.as_str(), text.as_str())),
        );
        words.map(&view.labels);
        words.map(&view.annotations);
        Self {
            words: words.0.into_boxed_slice(),
            digest: view.digest,
            generation: view.generation,
            observed_generation: view.observed_generation,
            created: view.created,
            deleting: view.deleting,
            replicas: view.replicas,
            min_ready_seconds: view.min_ready_seconds,
            current: view.current,
            ready: view.ready,
            available: view.available,
        }
    }

    /// UID of the controlling owner.
    pub fn owner(&self) -> Option<&str> {
        Reader(&self.words).pair().map(|(owner, _)| owner)
    }

    /// All of it.
    pub fn view(&self) -> ReplicaSetView {
        let mut words = Reader(&self.words);
        let owner = words.pair().map(|(owner, _)| owner.to_owned());
        ReplicaSetView {
            name: words.word().to_owned(),
            uid: words.word().to_owned(),
            resource_version: words.word().to_owned(),
            failure: words.pair().map(|(reason, text)| (reason.to_owned(), text.to_owned())),
            labels: words.map(),
            annotations: words.map(),
            owner,
            digest: self.digest,
            generation: self.generation,
            observed_generation: self.observed_generation,
            created: self.created,
            deleting: self.deleting,
            replicas: self.replicas,
            min_ready_seconds: self.min_ready_seconds,
            current: self.current,
            ready: self.ready,
            available: self.available,
        }
    }
}

impl fmt::Debug for PackedReplicaSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.view().fmt(f)
    }
}

impl Reduced for PackedReplicaSet {
    const KIND: Kind = Kind::ReplicaSet;

    fn reduce(meta: &Meta, object: Value) -> Self {
        Self::new(&ReplicaSetView::reduce(meta, object))
    }
}

/// A Rollout whose pod template is text.
#[derive(Clone, Debug)]
pub struct PackedRollout {
    rollout: Rollout,
    template: Box<str>,
}

impl PackedRollout {
    /// Packs a Rollout.
    pub fn new(mut rollout: Rollout) -> Self {
        let template = std::mem::take(&mut rollout.spec.template);
        let template = template.0.to_string().into_boxed_str();
        rollout.metadata.managed_fields = None;
        Self { rollout, template }
    }

    /// All but its pod template, which is empty here.
    pub fn without_template(&self) -> &Rollout {
        &self.rollout
    }

    /// All of it.
    pub fn whole(&self) -> Rollout {
        let mut rollout = self.rollout.clone();
        let template = serde_json::from_str(&self.template);
        rollout.spec.template = PodTemplate(template.expect("it was a JSON value when it was packed"));
        rollout
    }
}

#[cfg(test)]
mod tests {
    use serde::Deserialize as _;
    use serde_json::json;

    use super::*;
    use crate::kinds::Lean;

    fn replica_set() -> Value {
        json!({
            "metadata": {
                "name": "demo-1", "namespace": "n", "uid": "u", "resourceVersion": "7", "generation": 3,
                "creationTimestamp": "2026-11-21T12:00:00Z", "deletionTimestamp": "2026-11-21T13:00:00Z",
                "labels": {"rollouts-pod-template-hash": "1", "app": "démo", "empty": ""},
                "annotations": {"rollout.argoproj.io/revision": "12", "note": "long ".repeat(100), "": "no key"},
                "ownerReferences": [{"kind": "Rollout", "name": "demo", "uid": "o", "controller": true}],
            },
            "spec": {"replicas": 4, "minReadySeconds": 9, "template": {"spec": {"containers": []}}},
            "status": {"replicas": 4, "readyReplicas": 3, "availableReplicas": 2, "observedGeneration": 2,
                "conditions": [{"type": "ReplicaFailure", "status": "True", "reason": "FailedCreate", "message": "quota"}]},
        })
    }

    #[test]
    fn a_packed_replica_set_is_the_same_again() {
        let mut object = replica_set();
        for _ in 0..2 {
            let view = Lean::<ReplicaSetView>::from_object(object.clone()).unwrap().value;
            let packed = Lean::<PackedReplicaSet>::from_object(object.clone()).unwrap().value;
            assert_eq!(packed.view(), view);
            assert_eq!(packed.owner(), view.owner.as_deref());
            // Once more with as little as there can be.
            object = json!({"metadata": {"name": "demo-1"}});
        }
    }

    #[test]
    fn an_old_replica_set_takes_a_few_hundred_bytes() {
        let hash = "6c5d9c7f4b";
        let packed = Lean::<PackedReplicaSet>::from_object(json!({
            "metadata": {
                "name": format!("shop-0001-{hash}"), "namespace": "shop", "uid": "0b0f7a3e-3c55-4d6a-9d0e-6f6a3f6f6f6f",
                "resourceVersion": "1234567", "labels": {"rollouts-pod-template-hash": hash, "app": "shop-0001"},
                "annotations": {"rollout.argoproj.io/revision": "12", "rollout.argoproj.io/desired-replicas": "3"},
                "ownerReferences": [{"kind": "Rollout", "uid": "1b0f7a3e-3c55-4d6a-9d0e-6f6a3f6f6f6f", "controller": true}],
            },
        }));
        let packed = packed.unwrap().value;
        let size = size_of::<PackedReplicaSet>() + packed.words.len();
        assert!(size <= 256, "{size} bytes");
    }

    #[test]
    fn a_packed_rollout_is_the_same_again() {
        let rollout = Rollout::deserialize(json!({
            "metadata": {"name": "demo", "namespace": "n", "annotations": {"a": "b"}},
            "spec": {
                "replicas": 3, "selector": {"matchLabels": {"app": "demo"}}, "strategy": {"canary": {"steps": [{"setWeight": 20}]}},
                "template": {"metadata": {"labels": {"app": "demo"}}, "spec": {"containers": [{"name": "a", "unknown": [1.0, 1e3, null]}]}},
            },
        }));
        let rollout = rollout.unwrap();
        let packed = PackedRollout::new(rollout.clone());
        assert_eq!(
            serde_json::to_value(packed.whole()).unwrap(),
            serde_json::to_value(&rollout).unwrap()
        );
        assert!(packed.without_template().spec.template.is_empty());
    }

    #[test]
    fn a_rollout_without_a_template_has_none_afterwards() {
        let rollout =
            Rollout::deserialize(json!({"metadata": {"name": "demo"}, "spec": {"workloadRef": {"name": "x"}}}));
        let rollout = rollout.unwrap();
        let packed = PackedRollout::new(rollout.clone());
        assert_eq!(packed.whole().spec.template, rollout.spec.template);
    }
}
