//! Pods: nodes, lives and ends.

use std::time::Duration;

use serde_json::{Value, json};

use super::{ByImage, Options, PodPlan, Stage, condition, ready_after, replicaset, template};

fn pod(name: &str, image: &str, restart: &str) -> Value {
    let mut pod = template("one", image);
    pod["metadata"]["name"] = json!(name);
    pod["metadata"]["namespace"] = json!("default");
    pod["spec"]["restartPolicy"] = json!(restart);
    pod
}

fn state(pod: &Value) -> &Value {
    &pod["status"]["containerStatuses"][0]["state"]
}

#[tokio::test(start_paused = true)]
async fn a_pod_goes_from_pending_to_running_to_ready() {
    let stage = Stage::new(ready_after(300));
    stage.create("pods", pod("one", "1", "Always"));
    stage.at(2.0).await;
    assert_eq!(
        stage.values("pods", "one", "/status/phase").last(),
        Some(&json!("Running"))
    );
    let reasons = stage.values("pods", "one", "/status/containerStatuses/0/state/waiting/reason");
    assert!(reasons.contains(&json!("ContainerCreating")), "{reasons:?}");
    let pod = stage.get("pods", "one");
    for kind in ["PodScheduled", "Initialized", "ContainersReady", "Ready"] {
        assert_eq!(condition(&pod, kind)["status"], "True", "{kind}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_crashing_pod_starts_again_after_ever_longer_pauses() {
    let stage = Stage::new(ByImage);
    stage.create("pods", pod("one", "crash", "Always"));
    stage.at(3600.0).await;
    let mut starts = Vec::new();
    for change in stage.cluster.history() {
        let Some(new) = change.new.filter(|_| change.name == "one") else {
            continue;
        };
        let restarts = new["status"]["containerStatuses"][0]["restartCount"]
            .as_u64()
            .unwrap_or(0);
        if !state(&new)["running"].is_null() && starts.len() as u64 == restarts {
            starts.push(change.at.as_secs());
        }
    }
    let gaps: Vec<u64> = starts.windows(2).map(|pair| pair[1] - pair[0]).collect();
    // Two seconds of life, and the pause.
    assert_eq!(gaps[..8], [3, 12, 22, 42, 82, 162, 302, 302], "{gaps:?}");
    let reasons = stage.values("pods", "one", "/status/containerStatuses/0/state/waiting/reason");
    assert!(reasons.contains(&json!("CrashLoopBackOff")));
    let ready = stage.values("pods", "one", "/status/containerStatuses/0/ready");
    assert_eq!(ready[1..5], [json!(false), json!(true), json!(false), json!(true)]);
    assert_eq!(stage.get("pods", "one")["status"]["phase"], "Running");
    let last = &stage.get("pods", "one")["status"]["containerStatuses"][0]["lastState"];
    assert_eq!(last["terminated"]["exitCode"], 1);
}

#[tokio::test(start_paused = true)]
async fn a_missing_image_keeps_a_pod_pending_and_costs_nothing() {
    let stage = Stage::new(ByImage);
    stage.create("pods", pod("one", "missing", "Always"));
    stage.at(10.0).await;
    let version = stage.cluster.resource_version();
    stage.at(100_000.0).await;
    assert_eq!(stage.cluster.resource_version(), version);
    let reasons = stage.values("pods", "one", "/status/containerStatuses/0/state/waiting/reason");
    assert_eq!(reasons[reasons.len() - 2..], ["ErrImagePull", "ImagePullBackOff"]);
    assert_eq!(stage.get("pods", "one")["status"]["phase"], "Pending");
}

#[tokio::test(start_paused = true)]
async fn a_pod_that_never_starts_again_ends_as_its_containers_did() {
    let stage = Stage::new(ByImage);
    stage.create("pods", pod("good", "done", "Never"));
    stage.create("pods", pod("bad", "crash", "Never"));
    stage.at(20.0).await;
    assert_eq!(stage.get("pods", "good")["status"]["phase"], "Succeeded");
    assert_eq!(condition(&stage.get("pods", "good"), "Ready")["reason"], "PodCompleted");
    assert_eq!(stage.get("pods", "bad")["status"]["phase"], "Failed");
    assert_eq!(state(&stage.get("pods", "bad"))["terminated"]["exitCode"], 1);
}

#[tokio::test(start_paused = true)]
async fn a_deleted_pod_turns_not_ready_and_goes_when_its_time_is_over() {
    let plan = PodPlan {
        termination: Duration::from_secs(7),
        ..ready_after(100)
    };
    let stage = Stage::new(plan);
    stage.create("pods", pod("one", "1", "Always"));
    let mut brief = pod("brief", "1", "Always");
    brief["spec"]["terminationGracePeriodSeconds"] = json!(2);
    stage.create("pods", brief);
    stage.at(10.0).await;
    stage.delete("pods", "one", json!({}));
    stage.delete("pods", "brief", json!({}));
    stage.at(11.0).await;
    assert_eq!(condition(&stage.get("pods", "one"), "Ready")["status"], "False");
    assert!(!stage.get("pods", "one")["metadata"]["deletionTimestamp"].is_null());
    stage.at(13.0).await;
    assert_eq!(stage.get("pods", "brief"), Value::Null, "its grace period is shorter");
    assert_ne!(stage.get("pods", "one"), Value::Null);
    stage.at(18.0).await;
    assert_eq!(stage.get("pods", "one"), Value::Null);
}

#[tokio::test(start_paused = true)]
async fn without_a_node_a_pod_waits_and_the_first_node_takes_it() {
    let stage = Stage::with(Options::default(), ready_after(100), |w| w.with_nodes(0));
    stage.create("pods", pod("one", "1", "Always"));
    stage.at(60.0).await;
    let scheduled = condition(&stage.get("pods", "one"), "PodScheduled");
    assert_eq!(
        (&scheduled["status"], &scheduled["reason"]),
        (&json!("False"), &json!("Unschedulable"))
    );
    stage.create(
        "nodes",
        json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": "late"}}),
    );
    stage.at(62.0).await;
    let pod = stage.get("pods", "one");
    assert_eq!(pod["spec"]["nodeName"], "late");
    assert_eq!(condition(&pod, "Ready")["status"], "True");
    assert_eq!(condition(&pod, "PodScheduled")["status"], "True");
}

#[tokio::test(start_paused = true)]
async fn pods_of_a_lost_node_are_replaced_elsewhere() {
    let stage = Stage::new(ready_after(100));
    stage.create("replicasets", replicaset("web", 6, "1"));
    stage.at(5.0).await;
    stage
        .cluster
        .delete("user", "nodes", "", "node-2", &Value::Null)
        .unwrap();
    stage.at(10.0).await;
    let pods = stage.pods();
    assert_eq!(pods.len(), 6, "{}", stage.told());
    let on = |node: &str| pods.iter().filter(|p| p["spec"]["nodeName"] == node).count();
    assert_eq!((on("node-1"), on("node-2"), on("node-3")), (3, 0, 3));
}

#[tokio::test(start_paused = true)]
async fn a_cordoned_node_and_one_without_the_wanted_label_take_no_pods() {
    let stage = Stage::new(ready_after(100));
    stage.at(1.0).await;
    let nodes = |name: &str, patch: Value| {
        let patch = crate::Patch::Merge(patch);
        stage.cluster.patch("user", "nodes", "", name, None, &patch).unwrap();
    };
    nodes("node-1", json!({"spec": {"unschedulable": true}}));
    nodes("node-3", json!({"metadata": {"labels": {"disk": "fast"}}}));
    stage.create("pods", pod("any", "1", "Always"));
    let mut choosy = pod("choosy", "1", "Always");
    choosy["spec"]["nodeSelector"] = json!({"disk": "fast"});
    stage.create("pods", choosy);
    stage.at(3.0).await;
    assert_eq!(stage.get("pods", "any")["spec"]["nodeName"], "node-2");
    assert_eq!(stage.get("pods", "choosy")["spec"]["nodeName"], "node-3");
}

#[tokio::test(start_paused = true)]
async fn a_readiness_gate_holds_a_pod_back_until_somebody_opens_it() {
    let stage = Stage::new(ready_after(100));
    let mut gated = pod("one", "1", "Always");
    gated["spec"]["readinessGates"] = json!([{"conditionType": "example.com/open"}]);
    stage.create("pods", gated);
    stage.at(5.0).await;
    let mut pod = stage.get("pods", "one");
    assert_eq!(condition(&pod, "ContainersReady")["status"], "True");
    assert_eq!(condition(&pod, "Ready")["status"], "False");
    let open = json!({"type": "example.com/open", "status": "True"});
    pod["status"]["conditions"].as_array_mut().unwrap().push(open);
    stage.cluster.update("user", "pods", Some("status"), pod).unwrap();
    stage.at(6.0).await;
    assert_eq!(condition(&stage.get("pods", "one"), "Ready")["status"], "True");
}

#[tokio::test(start_paused = true)]
async fn a_pod_is_where_its_behaviour_says() {
    let address = "127.20.0.1".parse().ok();
    let stage = Stage::new(PodPlan {
        address,
        ..ready_after(300)
    });
    stage.create("pods", pod("one", "1", "Always"));
    stage.at(2.0).await;
    assert_eq!(stage.get("pods", "one")["status"]["podIP"], "127.20.0.1");
}
