//! Deployments: rolling updates, recreation, sizes, history.

use std::sync::Arc;

use serde_json::{Value, json};

use super::{ByImage, PodPlan, Stage, condition, deployment, ready_after};

fn image(tag: &str) -> Value {
    json!({"spec": {"template": super::template("web", tag)}})
}

fn sets(stage: &Stage) -> Vec<Arc<Value>> {
    let mut sets = stage.cluster.list("replicasets");
    sets.sort_by_key(|set| revision(set));
    sets
}

fn revision(object: &Value) -> u64 {
    let revision = &object["metadata"]["annotations"]["deployment.kubernetes.io/revision"];
    revision.as_str().and_then(|r| r.parse().ok()).unwrap_or(0)
}

fn is_complete(stage: &Stage, tag: &str) -> bool {
    let deployment = stage.get("deployments", "web");
    let wanted = &deployment["spec"]["replicas"];
    let status = &deployment["status"];
    status["observedGeneration"] == deployment["metadata"]["generation"]
        && deployment["spec"]["template"]["spec"]["containers"][0]["image"] == format!("web:{tag}")
        && ["replicas", "updatedReplicas", "availableReplicas"]
            .iter()
            .all(|field| status[*field] == *wanted)
}

#[tokio::test(start_paused = true)]
async fn a_new_deployment_gets_one_replicaset_and_is_complete_when_all_is_available() {
    let stage = Stage::new(ready_after(500));
    stage.create("deployments", deployment("web", 3, "1"));
    let done = stage.until("complete", |s| is_complete(s, "1")).await;
    assert!(done.as_millis() < 650, "{done:?}\n{}", stage.told());
    let sets = sets(&stage);
    assert_eq!(sets.len(), 1);
    let hash = sets[0]["metadata"]["labels"]["pod-template-hash"].as_str().unwrap();
    assert_eq!(sets[0]["metadata"]["name"], format!("web-{hash}"));
    assert_eq!(sets[0]["spec"]["selector"]["matchLabels"]["pod-template-hash"], hash);
    assert!(
        stage
            .pods()
            .iter()
            .all(|pod| pod["metadata"]["labels"]["pod-template-hash"] == hash)
    );
    let deployment = stage.get("deployments", "web");
    assert_eq!(revision(&deployment), 1);
    assert_eq!(
        condition(&deployment, "Progressing")["reason"],
        "NewReplicaSetAvailable"
    );
    assert_eq!(condition(&deployment, "Available")["status"], "True");
    assert_eq!(stage.reasons("deployment-controller"), ["ScalingReplicaSet"]);
}

#[tokio::test(start_paused = true)]
async fn a_rolling_update_keeps_its_bounds_all_the_time() {
    let stage = Stage::new(PodPlan {
        termination: std::time::Duration::from_millis(100),
        ..ready_after(1000)
    });
    let mut web = deployment("web", 10, "1");
    web["spec"]["strategy"] =
        json!({"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 3, "maxUnavailable": "20%"}});
    stage.create("deployments", web);
    stage.until("complete", |s| is_complete(s, "1")).await;
    let from = stage.cluster.history().len();
    stage.patch("deployments", "web", image("2"));
    let (mut most, mut least) = (0, 100);
    let mut changes = stage.cluster.changes();
    while !is_complete(&stage, "2") {
        changes.mark_unchanged();
        let living = stage.living("web");
        let ready = living
            .iter()
            .filter(|pod| condition(pod, "Ready")["status"] == "True")
            .count();
        // Old pods outlive the decision by milliseconds: what is bound is the sum of the sizes.
        let sizes = stage.cluster.list("replicasets");
        let sizes = sizes.iter().filter_map(|set| set["spec"]["replicas"].as_u64());
        most = most.max(sizes.sum());
        least = least.min(ready);
        changes.changed().await;
    }
    assert!(most == 13 && least == 8, "{most} {least}\n{}", stage.told());
    assert!(stage.cluster.history().len() - from > 50);
    let sets = sets(&stage);
    let sizes: Vec<&Value> = sets.iter().map(|set| &set["spec"]["replicas"]).collect();
    assert_eq!(sizes, [0, 10]);
    assert_eq!(revision(&stage.get("deployments", "web")), 2);
}

#[tokio::test(start_paused = true)]
async fn a_recreation_waits_for_the_last_old_pod() {
    let plan = PodPlan {
        termination: std::time::Duration::from_secs(5),
        ..ready_after(100)
    };
    let stage = Stage::new(plan);
    let mut web = deployment("web", 3, "1");
    web["spec"]["strategy"] = json!({"type": "Recreate"});
    stage.create("deployments", web);
    stage.until("complete", |s| is_complete(s, "1")).await;
    stage.patch("deployments", "web", image("2"));
    let mut changes = stage.cluster.changes();
    while !is_complete(&stage, "2") {
        changes.mark_unchanged();
        let pods = stage.pods();
        let images = pods.iter().map(|pod| pod["spec"]["containers"][0]["image"].to_string());
        let images: std::collections::BTreeSet<String> = images.collect();
        assert!(images.len() <= 1, "{images:?}");
        changes.changed().await;
    }
    assert!(stage.cluster.elapsed().as_secs() >= 5);
}

#[tokio::test(start_paused = true)]
async fn a_stuck_update_is_reported_after_its_deadline_and_a_rollback_ends_it() {
    let stage = Stage::new(ByImage);
    let mut web = deployment("web", 4, "1");
    web["spec"]["progressDeadlineSeconds"] = json!(60);
    stage.create("deployments", web);
    stage.until("complete", |s| is_complete(s, "1")).await;
    stage.patch("deployments", "web", image("bad"));
    stage.at(55.0).await;
    assert_eq!(
        condition(&stage.get("deployments", "web"), "Progressing")["reason"],
        "ReplicaSetUpdated"
    );
    stage.at(70.0).await;
    let deployment = stage.get("deployments", "web");
    assert_eq!(
        condition(&deployment, "Progressing")["reason"],
        "ProgressDeadlineExceeded"
    );
    assert_eq!(condition(&deployment, "Available")["status"], "True");
    let version = stage.cluster.resource_version();
    stage.at(5000.0).await;
    assert_eq!(stage.cluster.resource_version(), version, "nothing happens at rest");
    stage.patch("deployments", "web", image("1"));
    stage.until("rolled back", |s| is_complete(s, "1")).await;
    let old = sets(&stage).pop().unwrap();
    assert_eq!(revision(&old), 3);
    assert_eq!(
        old["metadata"]["annotations"]["deployment.kubernetes.io/revision-history"],
        "1"
    );
}

#[tokio::test(start_paused = true)]
async fn a_paused_deployment_changes_its_size_but_not_its_pods() {
    let stage = Stage::new(ByImage);
    stage.create("deployments", deployment("web", 2, "1"));
    stage.until("complete", |s| is_complete(s, "1")).await;
    stage.patch("deployments", "web", json!({"spec": {"paused": true}}));
    stage.patch("deployments", "web", image("2"));
    stage.at(10.0).await;
    assert_eq!(
        condition(&stage.get("deployments", "web"), "Progressing")["reason"],
        "DeploymentPaused"
    );
    assert_eq!(sets(&stage).len(), 1);
    stage.patch("deployments", "web", json!({"spec": {"replicas": 5}}));
    stage.at(20.0).await;
    assert_eq!(sets(&stage)[0]["spec"]["replicas"], 5);
    stage.patch("deployments", "web", json!({"spec": {"paused": false}}));
    stage.until("complete", |s| is_complete(s, "2")).await;
}

#[tokio::test(start_paused = true)]
async fn in_the_middle_of_an_update_a_new_size_is_shared_by_proportion() {
    let stage = Stage::new(ByImage);
    let mut web = deployment("web", 10, "1");
    web["spec"]["strategy"] = json!({"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 3, "maxUnavailable": 2}});
    stage.create("deployments", web);
    stage.until("complete", |s| is_complete(s, "1")).await;
    stage.patch("deployments", "web", image("bad"));
    stage.at(10.0).await;
    let sizes =
        |stage: &Stage| -> Vec<Value> { sets(stage).iter().map(|set| set["spec"]["replicas"].clone()).collect() };
    assert_eq!(sizes(&stage), [8, 5]);
    stage.patch("deployments", "web", json!({"spec": {"replicas": 15}}));
    stage.at(20.0).await;
    assert_eq!(sizes(&stage), [11, 7]);
}

#[tokio::test(start_paused = true)]
async fn old_replicasets_beyond_the_history_limit_go() {
    let stage = Stage::new(ByImage);
    let mut web = deployment("web", 1, "1");
    web["spec"]["revisionHistoryLimit"] = json!(2);
    stage.create("deployments", web);
    for tag in ["1", "2", "3", "4", "5"] {
        stage.patch("deployments", "web", image(tag));
        stage.until(tag, |s| is_complete(s, tag)).await;
    }
    stage.at(60.0).await;
    let revisions: Vec<u64> = sets(&stage).iter().map(|set| revision(set)).collect();
    assert_eq!(revisions, [3, 4, 5]);
}

#[tokio::test(start_paused = true)]
async fn a_deleted_deployment_takes_its_replicasets_and_pods_along() {
    let stage = Stage::new(ready_after(100));
    stage.create("deployments", deployment("web", 2, "1"));
    stage.until("complete", |s| is_complete(s, "1")).await;
    stage.delete("deployments", "web", json!({"propagationPolicy": "Background"}));
    stage.at(10.0).await;
    assert!(sets(&stage).is_empty() && stage.pods().is_empty(), "{}", stage.told());
}
