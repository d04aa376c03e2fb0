//! ReplicaSets: adoption, sizes, counts.

use serde_json::{Value, json};

use super::{ByImage, PodPlan, Stage, ready_after, replicaset, template};

#[tokio::test(start_paused = true)]
async fn pods_are_made_bound_run_and_counted() {
    let stage = Stage::new(ready_after(200));
    stage.create("replicasets", replicaset("web", 3, "1"));
    let ready = stage
        .until("3 available", |s| {
            s.get("replicasets", "web")["status"]["availableReplicas"] == 3
        })
        .await;
    assert!((200..300).contains(&ready.as_millis()), "{ready:?}\n{}", stage.told());
    let status = stage.get("replicasets", "web")["status"].clone();
    let expected = json!({
        "replicas": 3, "fullyLabeledReplicas": 3, "readyReplicas": 3, "availableReplicas": 3,
        "terminatingReplicas": 0, "observedGeneration": 1,
    });
    assert_eq!(status, expected);
    let pods = stage.pods();
    assert_eq!(pods.len(), 3);
    for pod in &pods {
        let name = pod["metadata"]["name"].as_str().unwrap();
        assert_eq!(name.strip_prefix("web-").map(str::len), Some(5), "{name}");
        assert_eq!(pod["metadata"]["ownerReferences"][0]["kind"], "ReplicaSet");
        assert_eq!(pod["metadata"]["ownerReferences"][0]["controller"], true);
        assert_eq!(pod["status"]["phase"], "Running");
        assert!(pod["status"]["podIP"].as_str().unwrap().starts_with("10.244."));
    }
    // One on each node.
    let mut nodes: Vec<&Value> = pods.iter().map(|pod| &pod["spec"]["nodeName"]).collect();
    nodes.sort_by_key(ToString::to_string);
    assert_eq!(nodes, ["node-1", "node-2", "node-3"]);
    assert_eq!(stage.reasons("replicaset-controller"), ["SuccessfulCreate"; 3]);
}

#[tokio::test(start_paused = true)]
async fn a_smaller_size_gives_up_the_pods_that_are_not_ready_first() {
    let stage = Stage::new(ByImage);
    stage.create("replicasets", replicaset("web", 2, "1"));
    stage.at(5.0).await;
    let good: Vec<Value> = stage.pods().iter().map(|p| p["metadata"]["name"].clone()).collect();
    let image =
        json!({"spec": {"replicas": 4, "template": {"spec": {"containers": [{"name": "web", "image": "web:bad"}]}}}});
    stage.patch("replicasets", "web", image);
    stage.at(10.0).await;
    assert_eq!(stage.get("replicasets", "web")["status"]["readyReplicas"], 2);
    assert_eq!(stage.pods().len(), 4);
    stage.patch("replicasets", "web", json!({"spec": {"replicas": 2}}));
    stage.at(20.0).await;
    let left: Vec<Value> = stage.pods().iter().map(|p| p["metadata"]["name"].clone()).collect();
    assert_eq!(left, good, "{}", stage.told());
}

#[tokio::test(start_paused = true)]
async fn a_pod_with_a_lower_deletion_cost_goes_first() {
    let stage = Stage::new(ready_after(10));
    stage.create("replicasets", replicaset("web", 5, "1"));
    stage.at(2.0).await;
    let cheap = stage.pods()[3]["metadata"]["name"].as_str().unwrap().to_owned();
    let cost = json!({"metadata": {"annotations": {"controller.kubernetes.io/pod-deletion-cost": "-1"}}});
    stage.patch("pods", &cheap, cost);
    stage.patch("replicasets", "web", json!({"spec": {"replicas": 4}}));
    stage.at(8.0).await;
    assert_eq!(stage.pods().len(), 4);
    assert_eq!(stage.get("pods", &cheap), Value::Null);
}

#[tokio::test(start_paused = true)]
async fn a_pod_is_available_only_after_min_ready_seconds() {
    let stage = Stage::new(ready_after(100));
    let mut set = replicaset("web", 1, "1");
    set["spec"]["minReadySeconds"] = json!(10);
    stage.create("replicasets", set);
    stage.at(9.0).await;
    let status = stage.get("replicasets", "web")["status"].clone();
    assert_eq!(
        (&status["readyReplicas"], &status["availableReplicas"]),
        (&json!(1), &Value::Null)
    );
    let available = stage
        .until("available", |s| {
            s.get("replicasets", "web")["status"]["availableReplicas"] == 1
        })
        .await;
    assert!((10.0..11.1).contains(&available.as_secs_f64()), "{available:?}");
}

#[tokio::test(start_paused = true)]
async fn a_pod_that_was_deleted_by_hand_is_replaced_and_counted_as_terminating_meanwhile() {
    let plan = PodPlan {
        termination: std::time::Duration::from_secs(4),
        ..ready_after(100)
    };
    let stage = Stage::new(plan);
    stage.create("replicasets", replicaset("web", 2, "1"));
    stage.at(5.0).await;
    let victim = stage.pods()[0]["metadata"]["name"].as_str().unwrap().to_owned();
    stage.delete("pods", &victim, json!({}));
    stage.at(6.0).await;
    let status = stage.get("replicasets", "web")["status"].clone();
    assert_eq!(status["terminatingReplicas"], 1, "{status}");
    assert_eq!(status["readyReplicas"], 2);
    assert_eq!(stage.pods().len(), 3);
    assert_eq!(
        super::condition(&stage.get("pods", &victim), "Ready")["status"],
        "False"
    );
    stage.at(12.0).await;
    assert_eq!(stage.pods().len(), 2);
    assert_eq!(stage.get("pods", &victim), Value::Null);
    assert_eq!(stage.get("replicasets", "web")["status"]["terminatingReplicas"], 0);
}

#[tokio::test(start_paused = true)]
async fn an_orphan_that_is_selected_is_adopted_and_a_relabelled_pod_is_released() {
    let stage = Stage::new(ready_after(100));
    let mut orphan = template("web", "1");
    orphan["metadata"]["name"] = json!("orphan");
    orphan["metadata"]["namespace"] = json!("default");
    stage.create("pods", orphan);
    stage.create("replicasets", replicaset("web", 2, "1"));
    stage.at(2.0).await;
    assert_eq!(stage.pods().len(), 2);
    assert_eq!(
        stage.get("pods", "orphan")["metadata"]["ownerReferences"][0]["name"],
        "web"
    );
    stage.patch("pods", "orphan", json!({"metadata": {"labels": {"app": "other"}}}));
    stage.at(4.0).await;
    assert_eq!(stage.pods().len(), 3);
    assert!(stage.get("pods", "orphan")["metadata"].get("ownerReferences").is_none());
    assert_eq!(stage.get("replicasets", "web")["status"]["replicas"], 2);
}

#[tokio::test(start_paused = true)]
async fn a_size_beyond_one_burst_is_reached_and_taken_back() {
    let stage = Stage::with(super::Options::default(), ready_after(10), |w| w.with_nodes(4).terse());
    stage.create("replicasets", replicaset("web", 510, "1"));
    stage.at(3.0).await;
    assert_eq!(stage.get("replicasets", "web")["status"]["readyReplicas"], 510);
    stage.patch("replicasets", "web", json!({"spec": {"replicas": 0}}));
    stage.at(9.0).await;
    assert!(stage.pods().is_empty());
    assert_eq!(stage.get("replicasets", "web")["status"]["replicas"], 0);
}

#[tokio::test(start_paused = true)]
async fn the_status_is_written_once_for_what_happens_at_once() {
    let stage = Stage::new(ready_after(100));
    stage.create("replicasets", replicaset("web", 10, "1"));
    stage.at(5.0).await;
    let written = stage.values("replicasets", "web", "/status").len();
    // Created, seen, 10 pods, and ready in the few milliseconds in which the pods start.
    assert!(written <= 16, "{written} versions\n{}", stage.told());
}

#[tokio::test(start_paused = true)]
async fn a_refused_creation_is_a_condition_until_it_is_accepted() {
    let stage = Stage::new(ready_after(100));
    let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "there"}});
    stage.create("namespaces", namespace.clone());
    let mut set = replicaset("web", 0, "1");
    set["metadata"]["namespace"] = json!("there");
    stage.create("replicasets", set);
    // The namespace alone is torn away: nothing can be created in it.
    let namespaces = crate::Resource::new("", "namespaces");
    stage.cluster.state().store.put("user", namespaces, "", "there", None);
    let size = crate::Patch::Merge(json!({"spec": {"replicas": 2}}));
    stage
        .cluster
        .patch("user", "replicasets", "there", "web", None, &size)
        .unwrap();
    stage.at(10.0).await;
    let get = || stage.cluster.get("replicasets", "there", "web").unwrap();
    let failure = super::condition(&get(), "ReplicaFailure");
    assert_eq!(
        (&failure["status"], &failure["reason"]),
        (&json!("True"), &json!("FailedCreate"))
    );
    assert!(stage.pods().is_empty());
    stage.create("namespaces", namespace);
    stage.at(60.0).await;
    assert_eq!(get()["status"]["readyReplicas"], 2, "{}", stage.told());
    assert_eq!(super::condition(&get(), "ReplicaFailure"), Value::Null);
}
