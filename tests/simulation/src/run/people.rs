//! What people do, as kubectl and its plugin do it (compat 5.2).

use std::time::Duration;

use serde_json::{Value, json};
use serin_model::At as _;

use super::{Due, Run};
use crate::{
    history::{Done, PERSON},
    scenario::{App, What},
};

impl Run<'_> {
    pub(super) async fn act(&mut self, index: usize) {
        let action = &self.scenario.actions[index];
        let app = &self.scenario.apps[action.app];
        let at = self.now();
        let result = match &action.what {
            What::Restart => self.restart().await,
            What::Rollback => {
                let image = self.before[action.app];
                self.set_image(action.app, image)
            }
            What::Image(image) => self.set_image(action.app, *image),
            what => self.simple(app, what),
        };
        self.actions.push(Done {
            at,
            index,
            rollout: app.name.clone(),
            what: action.what.clone(),
            note: result.err().unwrap_or_default(),
        });
    }

    fn rollout(&self, app: &App) -> Value {
        let found = self.world.cluster.get("rollouts", &app.namespace, &app.name);
        found.map_or(Value::Null, |rollout| (*rollout).clone())
    }

    fn simple(&self, app: &App, what: &What) -> Result<(), String> {
        let main = |patch| self.world.patch_rollout(app, None, patch);
        let status = |patch| {
            self.world
                .patch_rollout(app, Some("status"), json!({ "status": patch }))
        };
        match what {
            What::Scale(replicas) => main(json!({"spec": {"replicas": replicas}})),
            What::Abort => status(json!({"abort": true})),
            What::Retry => status(json!({"abort": false})),
            What::Pause(paused) => main(json!({"spec": {"paused": paused}})),
            What::Edit(patch) => main(patch.clone()),
            What::Promote => self.promote(app),
            What::PromoteFull => {
                let rollout = self.rollout(app);
                if rollout["spec"]["paused"] == true {
                    main(json!({"spec": {"paused": false}}))?;
                }
                if rollout["status"]["currentPodHash"] == rollout["status"]["stableRS"] {
                    return Err("nothing to promote".into());
                }
                status(json!({"promoteFull": true}))
            }
            What::Delete => self
                .world
                .cluster
                .delete(
                    PERSON,
                    "rollouts",
                    &app.namespace,
                    &app.name,
                    &json!({"propagationPolicy": "Background"}),
                )
                .map(drop)
                .map_err(|s| s.message),
            What::Recreate => self.world.create_rollout(app),
            What::DeletePod => {
                let mine = |pod: &Value| pod["metadata"]["labels"]["app"] == app.name.as_str();
                let pods = self.world.cluster.list("pods");
                let pod = pods.iter().find(|pod| mine(pod)).ok_or("it has no pod")?;
                let name = pod["metadata"]["name"].as_str().unwrap_or_default();
                self.world
                    .cluster
                    .delete(PERSON, "pods", &app.namespace, name, &json!({}))
                    .map(drop)
                    .map_err(|s| s.message)
            }
            What::Image(_) | What::Rollback | What::Restart => Ok(()),
        }
    }

    /// `kubectl argo rollouts promote`.
    fn promote(&self, app: &App) -> Result<(), String> {
        let rollout = self.rollout(app);
        if rollout["spec"]["paused"] == true {
            return self.world.patch_rollout(app, None, json!({"spec": {"paused": false}}));
        }
        let status = &rollout["status"];
        let paused = status["pauseConditions"]
            .as_array()
            .is_some_and(|list| !list.is_empty());
        let index = status["currentStepIndex"].as_u64().unwrap_or(0);
        let steps = rollout
            .at("/spec/strategy/canary/steps")
            .and_then(Value::as_array)
            .map_or(0, Vec::len);
        let inconclusive = status
            .at("/canary/currentStepAnalysisRunStatus/status")
            .is_some_and(|phase| phase == "Inconclusive");
        let next = (index + 1).min(steps as u64);
        let patch = if paused && inconclusive && status["controllerPause"] == true {
            json!({"pauseConditions": null, "controllerPause": false, "currentStepIndex": next})
        } else if paused {
            json!({"pauseConditions": null})
        } else if steps > 0 {
            json!({"pauseConditions": null, "currentStepIndex": next})
        } else {
            return Err("nothing to promote".into());
        };
        self.world
            .patch_rollout(app, Some("status"), json!({ "status": patch }))
    }

    /// `kubectl argo rollouts set image`: reads and replaces.
    fn set_image(&mut self, index: usize, image: usize) -> Result<(), String> {
        let app = &self.scenario.apps[index];
        let mut rollout = self.rollout(app);
        let place = "/spec/template/spec/containers/0/image";
        let Some(now) = rollout.pointer_mut(place) else {
            return Err("it does not exist".into());
        };
        let old = now.as_str().and_then(|text| text.rsplit_once(":v")?.1.parse().ok());
        *now = json!(format!("{}:v{image}", app.name));
        if let Some(old) = old.filter(|old| *old != image) {
            self.before[index] = old;
        }
        let updated = self.world.cluster.update(PERSON, "rollouts", None, rollout);
        updated.map(drop).map_err(|s| s.message)
    }

    /// `kubectl rollout restart` of the controller itself, as far as its leader is concerned.
    async fn restart(&mut self) -> Result<(), String> {
        let leader = self
            .processes
            .leader(self.faults.leader().as_deref())
            .ok_or("it is down already")?;
        if let Some(replica) = self.processes.stop(&leader).await {
            self.faults.bury(&leader);
            self.schedule(self.now() + Duration::from_millis(500), Due::Start(replica));
        }
        Ok(())
    }
}
