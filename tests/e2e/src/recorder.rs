//! Every version of every object of a namespace, as watches see them, and a way to wait for what they show.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use anyhow::{Result, bail};
use chrono::{DateTime, Utc};
use futures::StreamExt;
use kube::runtime::{
    WatchStreamExt,
    utils::Backoff,
    watcher::{self, Event},
};
use serde_json::Value;
use serin_recordings::Sequences;
use tokio::{sync::watch, task::JoinSet};

use crate::world::World;

const KINDS: [&str; 7] = [
    "Rollout",
    "ReplicaSet",
    "Service",
    "HTTPRoute",
    "AnalysisRun",
    "Event",
    "Pod",
];
const NULL: Value = Value::Null;

/// A version that a watch saw.
#[derive(Clone, Debug)]
pub(crate) struct Version {
    /// When it arrived here.
    pub(crate) at: DateTime<Utc>,
    pub(crate) kind: &'static str,
    pub(crate) name: String,
    /// Null: the object is gone.
    pub(crate) object: Value,
}

/// What was seen so far.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    pub(crate) versions: Vec<Version>,
    latest: BTreeMap<(&'static str, String), Value>,
}

impl Seen {
    fn add(&mut self, at: DateTime<Utc>, kind: &'static str, name: String, object: Value) {
        self.versions.push(Version {
            at,
            kind,
            name: name.clone(),
            object: object.clone(),
        });
        if object.is_null() {
            self.latest.remove(&(kind, name));
        } else {
            self.latest.insert((kind, name), object);
        }
    }

    /// The newest version of an object; null when there is none.
    pub(crate) fn get(&self, kind: &str, name: &str) -> &Value {
        let all = self.latest.iter();
        let mut found = all.filter(|((k, n), _)| *k == kind && n == name);
        found.next().map_or(&NULL, |(_, object)| object)
    }

    /// The Rollout `demo`.
    pub(crate) fn rollout(&self) -> &Value {
        self.get("Rollout", crate::app::NAME)
    }

    /// Its status.
    pub(crate) fn status(&self) -> &Value {
        &self.rollout()["status"]
    }

    /// The newest versions of all objects of a kind.
    pub(crate) fn all(&self, kind: &str) -> Vec<&Value> {
        let all = self.latest.iter().filter(|((k, _), _)| *k == kind);
        all.map(|(_, object)| object).collect()
    }

    /// All versions of an object.
    pub(crate) fn history<'a>(&'a self, kind: &'a str, name: &'a str) -> impl Iterator<Item = &'a Version> {
        self.versions.iter().filter(move |v| v.kind == kind && v.name == name)
    }

    /// The Rollout's events in the order in which they were written: type, reason, message.
    pub(crate) fn events(&self) -> Vec<(String, String, String)> {
        let mut events: Vec<&Value> = self.all("Event");
        events.retain(|e| e["involvedObject"]["kind"] == "Rollout");
        events.sort_by_key(|e| version(e));
        let text = |e: &Value, field: &str| e[field].as_str().unwrap_or_default().to_owned();
        let triple = |e: &&Value| (text(e, "type"), text(e, "reason"), text(e, "message"));
        events.iter().map(triple).collect()
    }

    /// In the form that is compared with recordings.
    pub(crate) fn sequences(&self) -> Sequences {
        let mut sequences = Sequences::default();
        let mut ordered: Vec<&Version> = self.versions.iter().filter(|v| !v.object.is_null()).collect();
        ordered.sort_by_key(|v| version(&v.object));
        for v in ordered {
            sequences.see(&v.object);
        }
        for (kind, reason, message) in self.events() {
            sequences.event(&kind, &reason, &message);
        }
        sequences
    }

    /// The weights of the route's canary backend, each change once, with the moment.
    pub(crate) fn weights(&self, route: &str, canary: &str) -> Vec<(DateTime<Utc>, i64)> {
        let mut weights: Vec<(DateTime<Utc>, i64)> = Vec::new();
        for v in self.history("HTTPRoute", route) {
            let rules = v.object["spec"]["rules"].as_array().into_iter().flatten();
            let mut refs = rules.flat_map(|r| r["backendRefs"].as_array().into_iter().flatten());
            let Some(weight) = refs.find(|b| b["name"] == canary).and_then(|b| b["weight"].as_i64()) else {
                continue;
            };
            if weights.last().is_none_or(|(_, last)| *last != weight) {
                weights.push((v.at, weight));
            }
        }
        weights
    }
}

fn version(object: &Value) -> u64 {
    let text = object["metadata"]["resourceVersion"].as_str().unwrap_or_default();
    text.parse().unwrap_or(0)
}

/// Pause between attempts to reach the API server: short, tests wait for its return.
struct Steady;

impl Iterator for Steady {
    type Item = Duration;

    fn next(&mut self) -> Option<Duration> {
        Some(Duration::from_millis(300))
    }
}

impl Backoff for Steady {
    fn reset(&mut self) {}
}

/// A running recorder; it ends when it is dropped.
#[derive(Debug)]
pub(crate) struct Recorder {
    seen: Arc<Mutex<Seen>>,
    changed: watch::Receiver<u64>,
    _tasks: JoinSet<()>,
}

impl Recorder {
    /// Begins; the namespace should still be empty.
    pub(crate) fn start(world: &World, namespace: &str) -> Self {
        let seen: Arc<Mutex<Seen>> = Arc::default();
        let (tell, changed) = watch::channel(0);
        let tell = Arc::new(tell);
        let mut tasks = JoinSet::new();
        for kind in KINDS {
            let (api, seen, tell) = (world.api(kind, namespace), Arc::clone(&seen), Arc::clone(&tell));
            let world = world.clone();
            tasks.spawn(async move {
                let mut events = watcher::watcher(api, watcher::Config::default())
                    .backoff(Steady)
                    .boxed();
                while let Some(event) = events.next().await {
                    let (object, gone) = match event {
                        Ok(Event::Apply(object) | Event::InitApply(object)) => (object, false),
                        Ok(Event::Delete(object)) => (object, true),
                        _ => continue,
                    };
                    let name = object.metadata.name.clone().unwrap_or_default();
                    let mut value = serde_json::to_value(object).unwrap_or_default();
                    value["kind"] = kind.into();
                    {
                        let mut seen = seen.lock().unwrap_or_else(PoisonError::into_inner);
                        // A new list after an interruption shows what was seen before.
                        if !gone
                            && seen.get(kind, &name)["metadata"]["resourceVersion"]
                                == value["metadata"]["resourceVersion"]
                        {
                            continue;
                        }
                        seen.add(world.now(), kind, name, if gone { NULL } else { value });
                    }
                    tell.send_modify(|n| *n += 1);
                }
            });
        }
        Self {
            seen,
            changed,
            _tasks: tasks,
        }
    }

    /// Whether objects of that kind are seen.
    pub(crate) fn sees(kind: &str) -> bool {
        KINDS.contains(&kind)
    }

    /// What was seen so far.
    pub(crate) fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until `check` finds something.
    ///
    /// # Errors
    /// It was not found in time; `what` says what.
    pub(crate) async fn until<T>(
        &self,
        what: &str,
        limit: Duration,
        mut check: impl FnMut(&Seen) -> Option<T>,
    ) -> Result<T> {
        let mut changed = self.changed.clone();
        let look = async {
            loop {
                changed.borrow_and_update();
                if let Some(found) = check(&self.seen()) {
                    return found;
                }
                if changed.changed().await.is_err() {
                    std::future::pending::<()>().await;
                }
            }
        };
        if let Ok(found) = tokio::time::timeout(limit, look).await {
            return Ok(found);
        }
        bail!("not seen within {} s: {what}\n{}", limit.as_secs(), self.describe())
    }

    /// The state of affairs, for messages of failed tests.
    pub(crate) fn describe(&self) -> String {
        let seen = self.seen();
        let mut text = String::new();
        for rollout in seen.all("Rollout") {
            let status = &rollout["status"];
            text.push_str(&format!(
                "{}: phase {} {} step {} abort {} stable {} current {} weights {}\n",
                rollout["metadata"]["name"],
                status["phase"],
                status["message"],
                status["currentStepIndex"],
                status["abort"],
                status["stableRS"],
                status["currentPodHash"],
                status["canary"]["weights"],
            ));
        }
        for rs in seen.all("ReplicaSet") {
            let available = rs["status"]["availableReplicas"].as_i64().unwrap_or(0);
            text.push_str(&format!(
                "{}: {} wanted, {available} available\n",
                rs["metadata"]["name"], rs["spec"]["replicas"]
            ));
        }
        for run in seen.all("AnalysisRun") {
            text.push_str(&format!(
                "{}: {} {}\n",
                run["metadata"]["name"], run["status"]["phase"], run["status"]["message"]
            ));
        }
        for (kind, reason, message) in seen.events().iter().rev().take(12).rev() {
            text.push_str(&format!("event {kind} {reason}: {message}\n"));
        }
        text
    }
}
