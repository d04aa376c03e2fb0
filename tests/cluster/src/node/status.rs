//! A pod's status as the kubelet would write it, from what its containers report. Pure.

use std::net::Ipv4Addr;

use chrono::{DateTime, Utc};
use serde_json::{Value, json};

use super::container::{Ended, Phase, Report};
use crate::clock::kube_time;

/// What of a pod does not change during its life.
#[derive(Clone, Debug)]
pub(crate) struct Constants {
    pub(crate) uid: String,
    pub(crate) ip: Ipv4Addr,
    pub(crate) host_ip: Ipv4Addr,
    /// Name and image of each container.
    pub(crate) containers: Vec<(String, String)>,
    /// Name and image of each init container; they are done at once.
    pub(crate) init_containers: Vec<(String, String)>,
    pub(crate) started: DateTime<Utc>,
}

/// The conditions that have a time of change: type -> (status, since).
#[derive(Clone, Debug, Default)]
pub(crate) struct Conditions {
    list: Vec<(&'static str, bool, DateTime<Utc>)>,
}

impl Conditions {
    /// Sets a condition; its time changes only with its status. minReadySeconds counts from there.
    fn set(&mut self, kind: &'static str, status: bool, at: DateTime<Utc>) {
        match self.list.iter_mut().find(|(k, ..)| *k == kind) {
            Some((_, old, since)) => {
                if *old != status {
                    (*old, *since) = (status, at);
                }
            }
            None => self.list.push((kind, status, at)),
        }
    }
}

/// The whole status. `finished`: no container of the pod will run again.
pub(crate) fn status(
    constants: &Constants,
    reports: &[Report],
    conditions: &mut Conditions,
    deleting: bool,
    finished: bool,
    now: DateTime<Utc>,
) -> Value {
    let codes: Vec<Option<i32>> = reports
        .iter()
        .map(|r| {
            if let Phase::Ended(e) = &r.phase {
                Some(e.code)
            } else {
                None
            }
        })
        .collect();
    let running = reports
        .iter()
        .any(|r| matches!(r.phase, Phase::Running { .. }) || r.last.is_some());
    let phase = match () {
        () if finished && codes.iter().all(|c| *c == Some(0)) => "Succeeded",
        () if finished => "Failed",
        () if running || codes.iter().any(Option::is_some) => "Running",
        () => "Pending",
    };
    let ready = !deleting && !finished && !reports.is_empty() && reports.iter().all(|r| r.ready);
    for (kind, value) in [
        ("PodScheduled", true),
        ("Initialized", true),
        ("ContainersReady", ready),
        ("Ready", ready),
    ] {
        conditions.set(kind, value, now);
    }
    let unready: Vec<&str> = reports
        .iter()
        .zip(&constants.containers)
        .filter(|(r, _)| !r.ready)
        .map(|(_, (name, _))| name.as_str())
        .collect();
    let list: Vec<Value> = conditions
        .list
        .iter()
        .map(|(kind, value, since)| {
            let text = if *value { "True" } else { "False" };
            let mut condition = json!({"type": kind, "status": text, "lastTransitionTime": kube_time(*since)});
            if !value && finished && phase == "Succeeded" {
                condition["reason"] = "PodCompleted".into();
            } else if !value {
                condition["reason"] = "ContainersNotReady".into();
                condition["message"] = format!("containers with unready status: [{}]", unready.join(" ")).into();
            }
            condition
        })
        .collect();
    let containers: Vec<Value> = reports
        .iter()
        .zip(&constants.containers)
        .map(|(report, (name, image))| container(report, name, image, &constants.uid))
        .collect();
    let init: Vec<Value> = constants
        .init_containers
        .iter()
        .map(|(name, image)| {
            let times = (constants.started, constants.started);
            let ended = Ended {
                code: 0,
                reason: "Completed",
                started: times.0,
                finished: times.1,
            };
            let report = Report {
                phase: Phase::Ended(ended),
                ready: true,
                ..Report::creating()
            };
            container(&report, name, image, &constants.uid)
        })
        .collect();
    let mut status = json!({
        "phase": phase,
        "conditions": list,
        "hostIP": constants.host_ip.to_string(),
        "hostIPs": [{"ip": constants.host_ip.to_string()}],
        "startTime": kube_time(constants.started),
        "containerStatuses": containers,
    });
    if running || finished {
        status["podIP"] = constants.ip.to_string().into();
        status["podIPs"] = json!([{"ip": constants.ip.to_string()}]);
    }
    if !init.is_empty() {
        status["initContainerStatuses"] = Value::Array(init);
    }
    status
}

fn container(report: &Report, name: &str, image: &str, uid: &str) -> Value {
    let ended = |ended: &Ended| {
        json!({"terminated": {
            "exitCode": ended.code, "reason": ended.reason,
            "startedAt": kube_time(ended.started), "finishedAt": kube_time(ended.finished),
        }})
    };
    let state = match &report.phase {
        Phase::Waiting { reason, message } if message.is_empty() => json!({"waiting": {"reason": reason}}),
        Phase::Waiting { reason, message } => json!({"waiting": {"reason": reason, "message": message}}),
        Phase::Running { since } => json!({"running": {"startedAt": kube_time(*since)}}),
        Phase::Ended(end) => ended(end),
    };
    let mut status = json!({
        "name": name, "image": image, "imageID": "", "ready": report.ready, "started": report.started,
        "restartCount": report.restarts, "state": state, "lastState": report.last.as_ref().map_or(json!({}), ended),
    });
    if !matches!(report.phase, Phase::Waiting { .. }) {
        status["imageID"] = format!("virtual://{image}").into();
        status["containerID"] = format!("virtual://{uid}/{name}/{}", report.restarts).into();
    }
    status
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> DateTime<Utc> {
        DateTime::from_timestamp(1_700_000_000 + seconds, 0).expect("a moment")
    }

    fn constants() -> Constants {
        Constants {
            uid: "u".into(),
            ip: Ipv4Addr::new(10, 244, 1, 2),
            host_ip: Ipv4Addr::new(10, 244, 254, 1),
            containers: vec![("app".into(), "demo:v1".into())],
            init_containers: Vec::new(),
            started: at(0),
        }
    }

    fn ready_condition(status: &Value) -> &Value {
        status["conditions"]
            .as_array()
            .expect("conditions")
            .iter()
            .find(|c| c["type"] == "Ready")
            .expect("Ready")
    }

    #[test]
    fn the_time_of_ready_changes_only_with_readiness() {
        let mut conditions = Conditions::default();
        let running = |ready| Report {
            phase: Phase::Running { since: at(0) },
            ready,
            started: true,
            ..Report::creating()
        };
        let mut since = |ready, seconds| {
            let status = status(
                &constants(),
                &[running(ready)],
                &mut conditions,
                false,
                false,
                at(seconds),
            );
            ready_condition(&status)["lastTransitionTime"].clone()
        };
        let first = since(true, 1);
        assert_eq!(since(true, 5), first);
        assert_ne!(since(false, 6), first);
    }

    #[test]
    fn a_deleted_pod_is_not_ready_though_its_container_is() {
        let mut conditions = Conditions::default();
        let report = Report {
            phase: Phase::Running { since: at(0) },
            ready: true,
            started: true,
            ..Report::creating()
        };
        let status = status(&constants(), &[report], &mut conditions, true, false, at(1));
        assert_eq!(ready_condition(&status)["status"], "False");
        assert_eq!(status["phase"], "Running");
    }

    #[test]
    fn an_image_that_cannot_be_pulled_leaves_the_pod_pending() {
        let mut conditions = Conditions::default();
        let phase = Phase::Waiting {
            reason: "ImagePullBackOff",
            message: "no such image".into(),
        };
        let report = Report {
            phase,
            ..Report::creating()
        };
        let status = status(&constants(), &[report], &mut conditions, false, false, at(1));
        assert_eq!(status["phase"], "Pending");
        assert_eq!(
            status["containerStatuses"][0]["state"]["waiting"]["reason"],
            "ImagePullBackOff"
        );
        assert_eq!(status.get("podIP"), None);
    }

    #[test]
    fn a_failed_container_makes_a_finished_pod_failed() {
        let ended = |code| Report {
            phase: Phase::Ended(Ended {
                code,
                reason: "Error",
                started: at(0),
                finished: at(1),
            }),
            ..Report::creating()
        };
        let phase = |code| {
            status(
                &constants(),
                &[ended(code)],
                &mut Conditions::default(),
                false,
                true,
                at(2),
            )["phase"]
                .clone()
        };
        assert_eq!((phase(0), phase(1)), ("Succeeded".into(), "Failed".into()));
    }
}
