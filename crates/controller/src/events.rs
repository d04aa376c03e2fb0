//! Kubernetes Events: what a person sees with `kubectl describe` (compat 7.5).
//!
//! Names are deterministic, so that an event that is recorded again after a crash is refused instead of doubled. Sending
//! is in order per object, off the reconcile's path, and bounded: a flood is dropped and counted, never queued without
//! end.

use std::{
    sync::{Mutex, PoisonError},
    time::Duration,
};

use chrono::{DateTime, SecondsFormat, Utc};
use serde_json::{Value, json};
use tokio::{sync::mpsc, task::JoinSet, time::timeout};
use tracing::{debug, warn};

use crate::{
    calls::{Calls, Refusal},
    table::Key,
};

/// `source.component` (compat 7.5).
pub const COMPONENT: &str = "rollouts-controller";
/// Events that may wait in one lane. At 2 ms each this is a backlog of some seconds.
const LANE_CAPACITY: usize = 2048;
/// Lanes; all events of one object go through the same one.
const LANES: usize = 4;
/// Tries of one event while the API server cannot be reached.
const TRIES: u32 = 3;
/// How long the end of the process waits for events that are still to be sent.
const DRAIN: Duration = Duration::from_secs(2);

/// The object that an event is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subject {
    /// `Rollout` or `AnalysisRun`.
    pub kind: &'static str,
    /// Namespace and name.
    pub key: Key,
    /// UID.
    pub uid: String,
    /// The version that the event speaks of.
    pub resource_version: String,
}

/// An event to be recorded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// About what.
    pub subject: Subject,
    /// `Normal` or `Warning`.
    pub kind: &'static str,
    /// One word.
    pub reason: String,
    /// For people.
    pub message: String,
    /// What makes the event the same when it is recorded again: the write that it belongs to.
    pub seed: String,
    /// When.
    pub at: DateTime<Utc>,
}

impl Record {
    /// The object that is sent.
    pub fn object(&self) -> Value {
        let Subject {
            kind,
            key,
            uid,
            resource_version,
        } = &self.subject;
        let at = self.at.to_rfc3339_opts(SecondsFormat::Secs, true);
        let hash = [uid, &self.seed, &self.reason, &self.message]
            .iter()
            .fold(FNV_OFFSET, |h, text| {
                // The separator keeps ("a", "b") and ("ab", "") apart.
                fnv(h, text.bytes().chain([0xff]))
            });
        // 253 is the limit of names; the hash needs 17.
        let stem: String = key.name.chars().take(230).collect();
        json!({
            "apiVersion": "v1",
            "kind": "Event",
            "metadata": {"name": format!("{stem}.{hash:016x}"), "namespace": key.namespace},
            "involvedObject": {
                "apiVersion": format!("{}/{}", serin_api::GROUP, serin_api::VERSION),
                "kind": kind,
                "namespace": key.namespace,
                "name": key.name,
                "uid": uid,
                "resourceVersion": resource_version,
            },
            "type": self.kind,
            "reason": self.reason,
            "message": self.message,
            "count": 1,
            "firstTimestamp": at,
            "lastTimestamp": at,
            "source": {"component": COMPONENT},
            "reportingComponent": COMPONENT,
            "reportingInstance": "",
        })
    }
}

const FNV_OFFSET: u64 = 0xcbf2_9ce4_8422_2325;

fn fnv(seed: u64, bytes: impl Iterator<Item = u8>) -> u64 {
    bytes.fold(seed, |h, b| (h ^ u64::from(b)).wrapping_mul(0x0100_0000_01b3))
}

/// Where events go.
#[derive(Debug)]
pub struct Events {
    /// Empty once the process ends.
    lanes: Mutex<Vec<mpsc::Sender<Record>>>,
    senders: Mutex<Option<JoinSet<()>>>,
    calls: Calls,
}

impl Events {
    /// Starts the senders; needs a runtime.
    pub fn new(calls: Calls) -> Self {
        let mut senders = JoinSet::new();
        let lanes = (0..LANES)
            .map(|_| {
                let (sender, receiver) = mpsc::channel(LANE_CAPACITY);
                senders.spawn(send_all(calls.clone(), receiver));
                sender
            })
            .collect();
        Self {
            lanes: Mutex::new(lanes),
            senders: Mutex::new(Some(senders)),
            calls,
        }
    }

    /// Records an event: counted, logged and handed to a sender. Never waits.
    pub fn record(&self, record: Record) {
        let Subject { kind, key, .. } = &record.subject;
        if *kind == "Rollout" {
            self.calls.metrics().event(key, record.kind, &record.reason);
        }
        tracing::info!(
            object = *kind, namespace = %key.namespace, name = %key.name, kind = record.kind,
            reason = %record.reason, text = %record.message, "Event"
        );
        let lanes = self.lanes.lock().unwrap_or_else(PoisonError::into_inner);
        let hash = fnv(FNV_OFFSET, key.namespace.bytes().chain(key.name.bytes()));
        let lane = (hash % LANES as u64) as usize;
        if lanes.get(lane).is_some_and(|lane| lane.try_send(record).is_err()) {
            warn!("Event dropped: too many wait to be sent, or the process ends");
        }
    }

    /// Sends what is left, for a little while.
    pub async fn drain(&self) {
        self.lanes.lock().unwrap_or_else(PoisonError::into_inner).clear();
        let senders = self.senders.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(mut senders) = senders {
            let all = async { while senders.join_next().await.is_some() {} };
            if timeout(DRAIN, all).await.is_err() {
                warn!("Events were left unsent at the end of the process");
            }
        }
    }
}

async fn send_all(calls: Calls, mut receiver: mpsc::Receiver<Record>) {
    while let Some(record) = receiver.recv().await {
        let object = record.object();
        for attempt in 1..=TRIES {
            match calls.create_event(&record.subject.key.namespace, &object).await {
                Ok(_) => break,
                Err(Refusal::AlreadyExists(_)) => {
                    debug!(reason = %record.reason, "Event was recorded before");
                    break;
                }
                // The namespace is on its way out, or we are: nobody needs the event.
                Err(Refusal::NotLeading | Refusal::NotFound(_)) => break,
                Err(error) if error.is_about_the_request() || attempt == TRIES => {
                    warn!(%error, reason = %record.reason, name = %record.subject.key, "Event not sent");
                    break;
                }
                Err(_) => tokio::time::sleep(Duration::from_millis(200 * u64::from(attempt))).await,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(seed: &str, message: &str) -> Record {
        Record {
            subject: Subject {
                kind: "Rollout",
                key: Key::new("n", "demo"),
                uid: "u".into(),
                resource_version: "5".into(),
            },
            kind: "Normal",
            reason: "RolloutCompleted".into(),
            message: message.into(),
            seed: seed.into(),
            at: DateTime::from_timestamp(1_763_728_496, 700_000_000).unwrap(),
        }
    }

    #[test]
    fn the_same_event_has_the_same_name_and_another_one_another() {
        let name = |r: Record| r.object()["metadata"]["name"].as_str().unwrap().to_owned();
        assert_eq!(name(record("1", "a")), name(record("1", "a")));
        assert_ne!(name(record("1", "a")), name(record("2", "a")));
        assert_ne!(name(record("1", "a")), name(record("1", "b")));
        let text = name(record("1", "a"));
        assert!(text.starts_with("demo.") && text.len() == 21, "{text}");
    }

    #[test]
    fn an_event_is_about_the_rollout_and_in_whole_seconds() {
        let object = record("1", "a").object();
        assert_eq!(object["involvedObject"]["apiVersion"], "argoproj.io/v1alpha1");
        assert_eq!(object["involvedObject"]["uid"], "u");
        assert_eq!(object["lastTimestamp"], "2025-11-21T12:34:56Z");
        assert_eq!(object["source"]["component"], "rollouts-controller");
    }
}
