//! A namespace of a test's own, with a recorder in it, and what tests do there.

use std::time::Duration;

use anyhow::{Context, Result};
use kube::api::{DynamicObject, Patch, PatchParams, PostParams};
use serde::Serialize;
use serde_json::{Value, json};
use serin_cluster::load::Load;

use crate::{
    app::NAME,
    recorder::{Recorder, Seen},
    world::World,
};

/// How long anything may take that needs no waiting of its own. Generous: two cores do all of it.
pub(crate) const SOON: Duration = Duration::from_secs(45);

pub(crate) struct Space {
    pub(crate) world: World,
    pub(crate) namespace: String,
    pub(crate) recorder: Recorder,
}

impl Space {
    /// Makes the namespace.
    pub(crate) async fn new(world: &World, namespace: &str) -> Result<Self> {
        let object = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}});
        let namespaces = world.api_all("Namespace");
        namespaces
            .create(&PostParams::default(), &serde_json::from_value(object)?)
            .await
            .with_context(|| format!("create namespace {namespace}"))?;
        Ok(Self {
            world: world.clone(),
            namespace: namespace.to_owned(),
            recorder: Recorder::start(world, namespace),
        })
    }

    /// Creates objects, in order.
    pub(crate) async fn create(&self, objects: impl IntoIterator<Item = Value>) -> Result<()> {
        for mut object in objects {
            object["metadata"]["namespace"] = self.namespace.clone().into();
            let kind = object["kind"].as_str().context("an object without kind")?.to_owned();
            let name = object["metadata"]["name"].to_string();
            let object: DynamicObject = serde_json::from_value(object)?;
            let api = self.world.api(&kind, &self.namespace);
            api.create(&PostParams::default(), &object)
                .await
                .with_context(|| format!("create {kind} {name}"))?;
        }
        Ok(())
    }

    /// Sends a merge patch.
    pub(crate) async fn merge(&self, kind: &str, name: &str, subresource: Option<&str>, body: &Value) -> Result<()> {
        self.send(kind, name, subresource, &Patch::Merge(body))
            .await
            .with_context(|| format!("patch {kind} {name} {} with {body}", subresource.unwrap_or_default()))
    }

    /// Sends a JSON patch.
    pub(crate) async fn json_patch(
        &self,
        kind: &str,
        name: &str,
        subresource: Option<&str>,
        body: &Value,
    ) -> Result<()> {
        let patch: json_patch::Patch = serde_json::from_value(body.clone())?;
        self.send(kind, name, subresource, &Patch::Json::<Value>(patch))
            .await
            .with_context(|| format!("patch {kind} {name} with {body}"))
    }

    /// Sends a patch and waits until the recorder has seen what came of it: what is waited for next is not older.
    async fn send(
        &self,
        kind: &str,
        name: &str,
        subresource: Option<&str>,
        patch: &Patch<impl Serialize + std::fmt::Debug>,
    ) -> Result<()> {
        let api = self.world.api(kind, &self.namespace);
        let params = PatchParams::default();
        let answer = match subresource {
            // A scale is another object, but its version is that of the one that it scales.
            Some(sub) => api.patch_subresource(sub, name, &params, patch).await?,
            None => api.patch(name, &params, patch).await?,
        };
        if Recorder::sees(kind) {
            let written = version(&answer.metadata.resource_version.unwrap_or_default());
            let what = format!("{kind} {name} as it was patched");
            let is_there = |s: &Seen| {
                let seen = s.get(kind, name)["metadata"]["resourceVersion"].as_str()?;
                (version(seen) >= written).then_some(())
            };
            self.until(&what, SOON, is_there).await?;
        }
        Ok(())
    }

    /// Patches the Rollout's status, as the kubectl plugin does.
    pub(crate) async fn status(&self, status: Value) -> Result<()> {
        self.merge("Rollout", NAME, Some("status"), &json!({"status": status}))
            .await
    }

    /// A new version of the first container: its image and its environment.
    pub(crate) async fn release(&self, image: &str, env: Value) -> Result<()> {
        let at = |field: &str| format!("/spec/template/spec/containers/0/{field}");
        let body = json!([
            {"op": "replace", "path": at("image"), "value": image},
            {"op": "add", "path": at("env"), "value": env},
        ]);
        self.json_patch("Rollout", NAME, None, &body).await
    }

    /// Changes the image alone.
    pub(crate) async fn set_image(&self, image: &str) -> Result<()> {
        let body = json!([{"op": "replace", "path": "/spec/template/spec/containers/0/image", "value": image}]);
        self.json_patch("Rollout", NAME, None, &body).await
    }

    pub(crate) async fn until<T>(
        &self,
        what: &str,
        limit: Duration,
        check: impl FnMut(&Seen) -> Option<T>,
    ) -> Result<T> {
        self.recorder.until(what, limit, check).await
    }

    /// Waits until the controller has seen the newest spec and the Rollout is in that phase.
    pub(crate) async fn phase(&self, phase: &str, limit: Duration) -> Result<()> {
        let what = format!("phase {phase}");
        self.until(&what, limit, |seen| {
            (is_observed(seen.rollout()) && seen.status()["phase"] == phase).then_some(())
        })
        .await
    }

    /// Waits until the newest revision is the stable one and the Rollout is Healthy.
    pub(crate) async fn healthy(&self, limit: Duration) -> Result<()> {
        self.until("Healthy, with the newest revision as the stable one", limit, |seen| {
            let status = seen.status();
            let done = is_observed(seen.rollout())
                && status["phase"] == "Healthy"
                && status["stableRS"].is_string()
                && status["stableRS"] == status["currentPodHash"];
            done.then_some(())
        })
        .await
    }

    /// Waits until the Rollout is paused at a step.
    pub(crate) async fn paused_at(&self, step: i64, limit: Duration) -> Result<()> {
        self.until(&format!("paused at step {step}"), limit, |seen| {
            serin_recordings::Seen::PausedAt(step)
                .holds(seen.rollout())?
                .then_some(())
        })
        .await
    }

    /// The hash of the newest revision.
    pub(crate) fn current(&self) -> String {
        let seen = self.recorder.seen();
        seen.status()["currentPodHash"].as_str().unwrap_or_default().to_owned()
    }

    /// The host of the route.
    pub(crate) fn host(&self) -> String {
        crate::app::host(&self.namespace)
    }

    /// Steady requests through the gateway.
    pub(crate) fn load(&self, rps: f64) -> Load {
        self.world.load(self.host(), rps)
    }

    /// Waits until the gateway answers from a pod.
    pub(crate) async fn reachable(&self, limit: Duration) -> Result<()> {
        let load = self.load(20.0);
        let answered = async {
            loop {
                let some = load.next(5).await;
                if some.answers.iter().all(|a| !a.failed() && a.hash.is_some()) {
                    return;
                }
            }
        };
        let result = tokio::time::timeout(limit, answered).await;
        result.with_context(|| format!("the gateway never answered for {}: {}", self.host(), load.report()))
    }

    /// An event with that reason whose message contains the text, once it is there.
    pub(crate) async fn event(&self, reason: &str, part: &str, limit: Duration) -> Result<String> {
        let what = format!("an event {reason} with `{part}`");
        self.until(&what, limit, |seen| {
            let events = seen.events();
            let mut found = events.into_iter().filter(|(_, r, m)| r == reason && m.contains(part));
            found.next().map(|(_, _, message)| message)
        })
        .await
    }

    /// How many pods a revision's ReplicaSet wants.
    pub(crate) fn wanted(seen: &Seen, hash: &str) -> Option<i64> {
        let sets = seen.all("ReplicaSet");
        let set = sets
            .into_iter()
            .find(|rs| rs["metadata"]["labels"]["rollouts-pod-template-hash"] == hash)?;
        set["spec"]["replicas"].as_i64()
    }
}

fn version(text: &str) -> u64 {
    text.parse().unwrap_or(0)
}

/// Whether the controller has seen the newest spec.
pub(crate) fn is_observed(rollout: &Value) -> bool {
    let generation = rollout["metadata"]["generation"].to_string();
    rollout["status"]["observedGeneration"].as_str() == Some(generation.as_str())
}

/// The message of a condition; null text when there is none of that type and status.
pub(crate) fn condition<'a>(rollout: &'a Value, kind: &str, status: &str) -> Option<&'a str> {
    let all = rollout["status"]["conditions"].as_array()?;
    let found = all.iter().find(|c| c["type"] == kind && c["status"] == status)?;
    found["message"].as_str()
}
