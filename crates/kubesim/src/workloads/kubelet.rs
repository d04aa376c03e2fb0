//! Virtual kubelets: run pods as their [`PodPlan`] says, and tell it in their status.

use std::{sync::Arc, time::Duration};

use chrono::{DateTime, Utc};
use serde_json::{Value, json};
use tokio::time::Instant;

use super::{
    PodPlan,
    cache::Name,
    engine::{Engine, Outcome},
    objects::{condition, is_deleted, is_finished, is_ready, list, number, stamp, text, uid},
};
use crate::Status;

/// Its name in the trace.
pub(super) const USER: &str = "kubelet";

/// The longest pause between two starts of a container.
const LONGEST_BACK_OFF: Duration = Duration::from_secs(300);
/// The pause after the second failure; it doubles from there.
const FIRST_BACK_OFF: Duration = Duration::from_secs(10);
/// Who ran as long as this starts without a pause again.
const STEADY: Duration = Duration::from_secs(600);
/// How long a container that ended stays so before anything is done about it.
const NOTICE: Duration = Duration::from_secs(1);

/// Where a pod is in its life.
#[derive(Clone, Debug, PartialEq)]
enum Stage {
    /// The image is being pulled, the sandbox made.
    Creating { until: Instant },
    /// The image could not be pulled.
    PullFailed { until: Instant },
    /// It will not be there later either: the plan is fixed.
    PullBackOff,
    /// The containers run.
    Running { since: Instant },
    /// The containers ended and start again soon.
    Ended { until: Instant },
    /// The containers ended too often and start again later.
    BackOff { until: Instant, pause: Duration },
    /// The pod succeeded or failed.
    Finished { failed: bool },
    /// The pod was deleted.
    Terminating { until: Instant },
}

/// The end of a container.
#[derive(Clone, Debug)]
struct Exit {
    code: i64,
    started: DateTime<Utc>,
    finished: DateTime<Utc>,
}

/// What a kubelet knows of one pod.
#[derive(Debug)]
pub(super) struct Run {
    plan: PodPlan,
    stage: Stage,
    restarts: u32,
    last: Option<Exit>,
    /// The next pause between two starts.
    pause: Duration,
    address: Option<String>,
    /// Where its node is, and since when it knows of the pod.
    host: String,
    seen: DateTime<Utc>,
}

impl Run {
    /// Whether all containers are ready at this moment.
    fn is_ready(&self, now: Instant) -> bool {
        match self.stage {
            Stage::Running { since } => self.plan.ready_after.is_some_and(|after| since + after <= now),
            _ => false,
        }
    }

    /// When something will change by itself.
    fn next(&self, now: Instant) -> Option<Instant> {
        match self.stage {
            Stage::Creating { until }
            | Stage::PullFailed { until }
            | Stage::Ended { until }
            | Stage::BackOff { until, .. }
            | Stage::Terminating { until } => Some(until),
            Stage::Running { since } => {
                let plan = &self.plan;
                let moments = [plan.ready_after, plan.fails_after, plan.completes_after];
                let moments = moments.into_iter().flatten().map(|after| since + after);
                moments.filter(|at| *at > now).min()
            }
            Stage::PullBackOff | Stage::Finished { .. } => None,
        }
    }
}

impl Engine {
    pub(super) fn sync_pod(&mut self, key: &Name) -> Outcome {
        let Some(pod) = self.cache.pods.get(key).cloned() else {
            return Ok(None);
        };
        let now = Instant::now();
        let node = text(&pod["spec"]["nodeName"]).to_owned();
        if node.is_empty() {
            // Deleted before any kubelet knew of it.
            if is_deleted(&pod) {
                self.finish(&pod)?;
            }
            return Ok(None);
        }
        let Some(host) = self.cache.nodes.get(&Name::new("", &node)).cloned() else {
            // Nobody runs it until the node is there, whose arrival comes back here.
            return Ok(None);
        };
        let mut run = match self.runs.remove(uid(&pod)) {
            Some(run) => run,
            // Nothing to end.
            None if is_deleted(&pod) || is_finished(&pod) => {
                if is_deleted(&pod) {
                    self.finish(&pod)?;
                }
                return Ok(None);
            }
            None => Run {
                plan: self.behaviour.start(&pod),
                stage: Stage::Creating {
                    until: now + self.some(5, 15, ["create", &key.namespace, &key.name]),
                },
                restarts: 0,
                last: None,
                pause: Duration::ZERO,
                address: None,
                host: host_address(&host),
                seen: self.time(now),
            },
        };
        let outcome = self.run(&pod, &mut run, now);
        self.runs.insert(uid(&pod).to_owned(), run);
        outcome
    }

    fn run(&mut self, pod: &Value, run: &mut Run, now: Instant) -> Outcome {
        if is_deleted(pod) {
            return self.terminate(pod, run, now);
        }
        while self.advance(pod, run, now) {}
        if self.talkative || !matches!(run.stage, Stage::Creating { .. }) {
            let status = self.pod_status(pod, run, now);
            self.write_status(USER, "pods", pod, status)?;
        }
        Ok(run.next(now))
    }

    /// Stops the containers within the grace period, then removes the pod.
    fn terminate(&mut self, pod: &Value, run: &mut Run, now: Instant) -> Outcome {
        let seconds = pod["metadata"]["deletionGracePeriodSeconds"].as_u64();
        let seconds = seconds.or_else(|| pod["spec"]["terminationGracePeriodSeconds"].as_u64());
        let grace = Duration::from_secs(seconds.unwrap_or(30));
        let until = match run.stage {
            Stage::Finished { .. } => now,
            // A second deletion may shorten the time.
            Stage::Terminating { until } => until.min(now + grace),
            _ => now + run.plan.termination.min(grace),
        };
        if until <= now {
            // Whoever holds the object with a finalizer wants to know how it ended.
            if !list(&pod["metadata"]["finalizers"]).is_empty() && !is_finished(pod) {
                run.stage = Stage::Finished { failed: true };
                let status = self.pod_status(pod, run, now);
                self.write_status(USER, "pods", pod, status)?;
            }
            self.finish(pod)?;
            return Ok(None);
        }
        run.stage = Stage::Terminating { until };
        if is_ready(pod) {
            let status = self.pod_status(pod, run, now);
            self.write_status(USER, "pods", pod, status)?;
        }
        Ok(Some(until))
    }

    /// The containers have stopped: the object may go.
    fn finish(&self, pod: &Value) -> Result<(), Status> {
        self.delete(USER, "pods", pod, json!({"gracePeriodSeconds": 0}))
    }

    /// Takes the next step of a pod's life if it is time for it.
    fn advance(&mut self, pod: &Value, run: &mut Run, now: Instant) -> bool {
        match run.stage {
            Stage::Creating { until } if until <= now => {
                if run.plan.image_exists {
                    run.address = Some(match run.plan.address {
                        Some(address) => address.to_string(),
                        None => self.next_address(),
                    });
                    run.stage = Stage::Running { since: until };
                } else {
                    run.stage = Stage::PullFailed { until: until + NOTICE };
                }
            }
            Stage::PullFailed { until } if until <= now => run.stage = Stage::PullBackOff,
            Stage::Running { since } => {
                let ends = [(1, run.plan.fails_after), (0, run.plan.completes_after)];
                let ends = ends
                    .into_iter()
                    .filter_map(|(code, after)| Some((since + after?, code)));
                match ends.min() {
                    Some((at, code)) if at <= now => self.exit(pod, run, since, at, code),
                    _ => return false,
                }
            }
            Stage::Ended { until } | Stage::BackOff { until, .. } if until <= now => {
                run.restarts += 1;
                run.stage = Stage::Running { since: until };
            }
            _ => return false,
        }
        true
    }

    /// The containers end at a moment.
    fn exit(&self, pod: &Value, run: &mut Run, since: Instant, at: Instant, code: i64) {
        run.last = Some(Exit {
            code,
            started: self.time(since),
            finished: self.time(at),
        });
        let restarts = match text(&pod["spec"]["restartPolicy"]) {
            "Never" => false,
            "OnFailure" => code != 0,
            _ => true,
        };
        if !restarts {
            run.stage = Stage::Finished { failed: code != 0 };
            return;
        }
        if at - since >= STEADY {
            run.pause = Duration::ZERO;
        }
        if run.pause.is_zero() {
            run.pause = FIRST_BACK_OFF;
            run.stage = Stage::Ended { until: at + NOTICE };
        } else {
            run.stage = Stage::BackOff {
                until: at + run.pause,
                pause: run.pause,
            };
            run.pause = (run.pause * 2).min(LONGEST_BACK_OFF);
        }
    }

    /// Addresses are given away one after the other.
    fn next_address(&mut self) -> String {
        self.addresses = self.addresses % 60_000 + 1;
        format!("10.244.{}.{}", self.addresses / 250, self.addresses % 250 + 1)
    }

    // === status ===

    fn pod_status(&self, pod: &Value, run: &Run, now: Instant) -> Value {
        let ready = run.is_ready(now);
        let phase = match run.stage {
            Stage::Creating { .. } | Stage::PullFailed { .. } | Stage::PullBackOff => "Pending",
            Stage::Finished { failed: true } => "Failed",
            Stage::Finished { failed: false } => "Succeeded",
            Stage::Terminating { .. } => pod["status"]["phase"].as_str().unwrap_or("Pending"),
            _ => "Running",
        };
        let mut status = json!({
            "phase": phase,
            "hostIP": run.host,
            "startTime": stamp(run.seen),
            "qosClass": pod["status"]["qosClass"].as_str().unwrap_or("BestEffort"),
            "conditions": self.conditions(pod, run, ready),
            "containerStatuses": self.containers(pod, run, now, ready),
        });
        if let Some(address) = &run.address {
            status["podIP"] = json!(address);
            status["podIPs"] = json!([{"ip": address}]);
            status["hostIPs"] = json!([{"ip": run.host}]);
        }
        if !list(&pod["spec"]["initContainers"]).is_empty() {
            status["initContainerStatuses"] = init_containers(pod, run);
        }
        status
    }

    fn conditions(&self, pod: &Value, run: &Run, containers_ready: bool) -> Value {
        let completed = matches!(run.stage, Stage::Finished { failed: false });
        let failed = matches!(run.stage, Stage::Finished { failed: true });
        let gates = list(&pod["spec"]["readinessGates"])
            .iter()
            .map(|gate| text(&gate["conditionType"]));
        let closed = gates
            .filter(|gate| condition(pod, gate).is_none_or(|c| c["status"] != "True"))
            .count();
        let names: Vec<&str> = list(&pod["spec"]["containers"]).iter().map(name_of).collect();
        let unready = match (completed, failed) {
            (true, _) => json!({"reason": "PodCompleted"}),
            (_, true) => json!({"reason": "PodFailed"}),
            _ => json!({
                "reason": "ContainersNotReady",
                "message": format!("containers with unready status: [{}]", names.join(" ")),
            }),
        };
        let sandbox = run.address.is_some() && !completed && !failed;
        let facts = [
            ("PodReadyToStartContainers", sandbox, json!({})),
            ("Initialized", true, json!({})),
            (
                "Ready",
                containers_ready && closed == 0,
                if containers_ready {
                    json!({"reason": "ReadinessGatesNotReady", "message": "the status of a readiness gate is not True"})
                } else {
                    unready.clone()
                },
            ),
            ("ContainersReady", containers_ready, unready),
            ("PodScheduled", true, json!({})),
        ];
        let mut conditions = Vec::new();
        for (kind, holds, why) in &facts {
            let status = if *holds { "True" } else { "False" };
            let old = condition(pod, kind);
            let mut new = json!({
                "type": kind,
                "status": status,
                "lastProbeTime": null,
                "lastTransitionTime": old
                    .filter(|old| old["status"] == status)
                    .map_or_else(|| self.stamp(), |old| old["lastTransitionTime"].clone()),
            });
            if !holds {
                for field in ["reason", "message"] {
                    if !why[field].is_null() {
                        new[field] = why[field].clone();
                    }
                }
            }
            conditions.push(new);
        }
        // Conditions of others stay.
        let others = list(&pod["status"]["conditions"]).iter();
        let others = others.filter(|c| facts.iter().all(|(kind, ..)| c["type"] != *kind));
        conditions.extend(others.cloned());
        Value::Array(conditions)
    }

    fn containers(&self, pod: &Value, run: &Run, now: Instant, ready: bool) -> Value {
        let mut statuses = Vec::new();
        for container in list(&pod["spec"]["containers"]) {
            let (name, image) = (name_of(container), text(&container["image"]));
            let id = format!("virtual://{}/{name}/{}", uid(pod), run.restarts);
            let ended = run.last.as_ref().map(|exit| {
                json!({
                    "terminated": {
                        "exitCode": exit.code,
                        "reason": if exit.code == 0 { "Completed" } else { "Error" },
                        "startedAt": stamp(exit.started),
                        "finishedAt": stamp(exit.finished),
                        "containerID": id,
                    },
                })
            });
            let waiting = |reason: &str, message: String| json!({"waiting": {"reason": reason, "message": message}});
            let state = match &run.stage {
                Stage::Creating { .. } => json!({"waiting": {"reason": "ContainerCreating"}}),
                Stage::PullFailed { .. } => {
                    waiting("ErrImagePull", format!("failed to pull image \"{image}\": not found"))
                }
                Stage::PullBackOff => waiting("ImagePullBackOff", format!("Back-off pulling image \"{image}\"")),
                Stage::Running { since } => json!({"running": {"startedAt": stamp(self.time(*since))}}),
                Stage::Ended { .. } => ended.clone().unwrap_or_default(),
                Stage::BackOff { pause, .. } => {
                    let (seconds, object) = (pause.as_secs(), super::objects::name(pod));
                    let message = format!("back-off {seconds}s restarting failed container={name} pod={object}");
                    waiting("CrashLoopBackOff", message)
                }
                Stage::Finished { .. } => ended.clone().unwrap_or_else(|| {
                    let (started, finished) = (stamp(run.seen), stamp(self.time(now)));
                    json!({
                        "terminated": {
                            "exitCode": 137,
                            "reason": "Error",
                            "startedAt": started,
                            "finishedAt": finished,
                        },
                    })
                }),
                // As it was before.
                Stage::Terminating { .. } => {
                    let old = list(&pod["status"]["containerStatuses"])
                        .iter()
                        .find(|c| name_of(c) == name);
                    old.map(|old| old["state"].clone()).unwrap_or_else(|| json!({}))
                }
            };
            let running = matches!(run.stage, Stage::Running { .. });
            let last = ended.filter(|_| !matches!(run.stage, Stage::Ended { .. } | Stage::Finished { .. }));
            let started = running || matches!(run.stage, Stage::Terminating { .. });
            let mut status = json!({
                "name": name,
                "image": image,
                "imageID": if run.address.is_some() { image } else { "" },
                "ready": ready,
                "started": started,
                "restartCount": run.restarts,
                "state": state,
                "lastState": last.unwrap_or_else(|| json!({})),
            });
            if run.address.is_some() {
                status["containerID"] = json!(id);
            }
            statuses.push(status);
        }
        Value::Array(statuses)
    }
}

/// Init containers are done as soon as the others run.
fn init_containers(pod: &Value, run: &Run) -> Value {
    let done = run.address.is_some();
    let statuses = list(&pod["spec"]["initContainers"]).iter().map(|container| {
        let state = if done {
            let at = stamp(run.seen);
            json!({"terminated": {"exitCode": 0, "reason": "Completed", "startedAt": at, "finishedAt": at}})
        } else {
            json!({"waiting": {"reason": "PodInitializing"}})
        };
        json!({
            "name": name_of(container),
            "image": container["image"],
            "imageID": if done { text(&container["image"]) } else { "" },
            "ready": done,
            "started": false,
            "restartCount": 0,
            "state": state,
            "lastState": {},
        })
    });
    Value::Array(statuses.collect())
}

fn name_of(container: &Value) -> &str {
    text(&container["name"])
}

fn host_address(node: &Arc<Value>) -> String {
    let addresses = list(&node["status"]["addresses"]).iter();
    let mut internal = addresses.filter(|a| a["type"] == "InternalIP");
    internal
        .next()
        .map_or_else(|| "192.168.0.1".to_owned(), |a| text(&a["address"]).to_owned())
}

/// How often the containers of a pod were started again.
pub(super) fn restarts(pod: &Value) -> i64 {
    let statuses = list(&pod["status"]["containerStatuses"]).iter();
    statuses.map(|c| number(&c["restartCount"])).sum()
}
