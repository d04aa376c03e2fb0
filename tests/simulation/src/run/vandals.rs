//! Faults that happen to objects, processes and machines.

use std::{sync::Arc, time::Duration};

use serde_json::{Value, json};
use serin_kubesim::{Patch, Status};

use super::{Due, Run};
use crate::{
    history::{Done, WORLD},
    scenario::{App, FaultKind, Foreign},
    world::{route, service, service_names},
};

impl Run<'_> {
    pub(super) fn strike(&mut self, index: usize) {
        let fault = &self.scenario.faults[index];
        if self.faults.arm(index, fault) {
            // When it strikes is written down where it does.
            return;
        }
        let app = &self.scenario.apps[fault.app];
        let ms = Duration::from_millis;
        let note = match &fault.kind {
            FaultKind::Crash { down } => match self.processes.leader(self.faults.leader().as_deref()) {
                Some(user) => {
                    self.kill(&user, ms(*down));
                    Ok(user)
                }
                None => Err("it is down already".into()),
            },
            FaultKind::ClockJump { replica, seconds } => {
                self.processes.jump(*replica, *seconds);
                Ok(format!("replica {replica}"))
            }
            FaultKind::Provider { how, ms: time } => {
                self.world.provider.trouble(*how, ms(*time), index);
                Ok(String::new())
            }
            FaultKind::SlowPods { by, ms: time } => {
                self.world.pods.slow_down(*by, ms(*time));
                Ok(String::new())
            }
            FaultKind::Route(what) => self.route(app, *what),
            FaultKind::DeleteService { which, back } => self.delete_service(app, *which, ms(*back)),
            FaultKind::EditService { which } => self.edit_service(app, *which),
            FaultKind::DeleteReplicaSet { newest } => self.with_replica_set(app, *newest, |run, name| {
                let options = json!({"propagationPolicy": "Background"});
                let deleted = run
                    .world
                    .cluster
                    .delete(WORLD, "replicasets", &app.namespace, name, &options);
                deleted.map(drop)
            }),
            FaultKind::ScaleReplicaSet { newest, replicas } => self.with_replica_set(app, *newest, |run, name| {
                let patch = Patch::Merge(json!({"spec": {"replicas": replicas}}));
                let patched = run
                    .world
                    .cluster
                    .patch(WORLD, "replicasets", &app.namespace, name, None, &patch);
                patched.map(drop)
            }),
            FaultKind::KillPods { count } => {
                let pods = self.world.cluster.list("pods");
                let mine = pods
                    .iter()
                    .filter(|pod| pod["metadata"]["labels"]["app"] == app.name.as_str());
                let names: Vec<String> = mine
                    .take(*count)
                    .filter_map(|pod| pod["metadata"]["name"].as_str().map(str::to_owned))
                    .collect();
                for name in &names {
                    // It may be on its way out already.
                    let _ = self
                        .world
                        .cluster
                        .delete(WORLD, "pods", &app.namespace, name, &json!({}));
                }
                if names.is_empty() {
                    Err("it has no pods".into())
                } else {
                    Ok(names.join(" "))
                }
            }
            _ => return,
        };
        if let Ok(note) = note {
            self.struck.push(Done {
                at: self.now(),
                index,
                rollout: app.name.clone(),
                what: fault.kind.clone(),
                note,
            });
        }
    }

    fn route(&mut self, app: &App, what: Foreign) -> Result<String, String> {
        let cluster = self.world.cluster.clone();
        let found = cluster
            .get("httproutes", &app.namespace, &app.name)
            .ok_or("it has none")?;
        let mut object = (*found).clone();
        let text = |s: Status| s.message;
        match what {
            Foreign::Gone => {
                cluster
                    .delete(WORLD, "httproutes", &app.namespace, &app.name, &json!({}))
                    .map_err(text)?;
                self.schedule(
                    self.now() + Duration::from_secs(5),
                    Due::Restore("httproutes", route(app)),
                );
                return Ok("deleted".into());
            }
            Foreign::Label => object["metadata"]["labels"] = json!({"touched": self.now().as_millis().to_string()}),
            Foreign::Rule => {
                let rule = json!({
                    "matches": [{"path": {"type": "PathPrefix", "value": "/foreign"}}],
                    "backendRefs": [{"name": "elsewhere", "port": 80}],
                });
                if let Some(rules) = object.pointer_mut("/spec/rules").and_then(Value::as_array_mut)
                    && rules.len() < 10
                {
                    rules.insert(0, rule);
                }
            }
            Foreign::Weights => {
                let names = [format!("{}-stable", app.name), format!("{}-canary", app.name)];
                let rules = object.pointer_mut("/spec/rules").and_then(Value::as_array_mut);
                for rule in rules.into_iter().flatten() {
                    for backend in rule["backendRefs"].as_array_mut().into_iter().flatten() {
                        if names.iter().any(|name| backend["name"] == name.as_str()) {
                            backend["weight"] = json!(50);
                        }
                    }
                }
            }
        }
        cluster.update(WORLD, "httproutes", None, object).map_err(text)?;
        Ok(format!("{what:?}"))
    }

    fn delete_service(&mut self, app: &App, which: usize, back: Duration) -> Result<String, String> {
        let name = nth_service(app, which)?;
        let cluster = &self.world.cluster;
        cluster
            .delete(WORLD, "services", &app.namespace, &name, &json!({}))
            .map_err(|s| s.message)?;
        let at = self.now() + back;
        self.schedule(at, Due::Restore("services", service(app, &name)));
        Ok(name)
    }

    fn edit_service(&mut self, app: &App, which: usize) -> Result<String, String> {
        let name = nth_service(app, which)?;
        let patch = Patch::Merge(json!({"spec": {"selector": {"rollouts-pod-template-hash": null}}}));
        let patched = self
            .world
            .cluster
            .patch(WORLD, "services", &app.namespace, &name, None, &patch);
        patched.map(|_| name).map_err(|s| s.message)
    }

    /// Does something to the n-th newest ReplicaSet of an app.
    fn with_replica_set(
        &self,
        app: &App,
        newest: usize,
        what: impl FnOnce(&Self, &str) -> Result<(), Status>,
    ) -> Result<String, String> {
        let all = self.world.cluster.list("replicasets");
        let mut mine: Vec<(&Arc<Value>, u64)> = all
            .iter()
            .filter(|rs| rs["metadata"]["labels"]["app"] == app.name.as_str())
            .map(|rs| {
                let revision = &rs["metadata"]["annotations"]["rollout.argoproj.io/revision"];
                (rs, revision.as_str().and_then(|r| r.parse().ok()).unwrap_or(0))
            })
            .collect();
        mine.sort_by_key(|(_, revision)| std::cmp::Reverse(*revision));
        let (set, _) = mine.get(newest).ok_or("there are not so many")?;
        let name = set["metadata"]["name"].as_str().unwrap_or_default().to_owned();
        what(self, &name).map_err(|s| s.message)?;
        Ok(name)
    }
}

fn nth_service(app: &App, which: usize) -> Result<String, String> {
    let names = service_names(app);
    names.get(which).cloned().ok_or_else(|| "there is none".to_owned())
}
