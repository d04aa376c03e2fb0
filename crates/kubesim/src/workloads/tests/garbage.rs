//! The garbage collector.

use serde_json::{Value, json};

use super::{Stage, ready_after, replicaset};

fn owned(name: &str, owners: Value) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": name, "namespace": "default", "ownerReferences": owners},
    })
}

fn owner(object: &Value, blocks: bool) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "name": object["metadata"]["name"],
        "uid": object["metadata"]["uid"],
        "blockOwnerDeletion": blocks,
    })
}

#[tokio::test(start_paused = true)]
async fn in_the_background_the_owner_goes_first() {
    let stage = Stage::new(ready_after(100));
    stage.create("replicasets", replicaset("web", 2, "1"));
    stage.at(2.0).await;
    stage.delete("replicasets", "web", json!({"propagationPolicy": "Background"}));
    assert_eq!(stage.get("replicasets", "web"), Value::Null);
    assert_eq!(stage.pods().len(), 2);
    stage.at(10.0).await;
    assert!(stage.pods().is_empty(), "{}", stage.told());
}

#[tokio::test(start_paused = true)]
async fn in_the_foreground_the_owner_waits_for_its_pods() {
    let stage = Stage::new(ready_after(100));
    stage.create("replicasets", replicaset("web", 2, "1"));
    stage.at(2.0).await;
    stage.delete("replicasets", "web", json!({"propagationPolicy": "Foreground"}));
    stage.at(2.2).await;
    assert!(!stage.get("replicasets", "web")["metadata"]["deletionTimestamp"].is_null());
    assert!(
        stage
            .pods()
            .iter()
            .all(|pod| !pod["metadata"]["deletionTimestamp"].is_null())
    );
    stage.at(10.0).await;
    assert_eq!(stage.get("replicasets", "web"), Value::Null, "{}", stage.told());
    assert!(stage.pods().is_empty());
    let history = stage.cluster.history();
    let gone: Vec<&str> = history
        .iter()
        .filter(|c| c.new.is_none())
        .map(|c| c.resource.plural)
        .collect();
    assert_eq!(gone, ["pods", "pods", "replicasets"]);
}

#[tokio::test(start_paused = true)]
async fn orphans_stay_without_their_owner() {
    let stage = Stage::new(ready_after(100));
    stage.create("replicasets", replicaset("web", 2, "1"));
    stage.at(2.0).await;
    stage.delete("replicasets", "web", json!({"propagationPolicy": "Orphan"}));
    stage.at(10.0).await;
    assert_eq!(stage.get("replicasets", "web"), Value::Null, "{}", stage.told());
    let pods = stage.pods();
    assert_eq!(pods.len(), 2);
    assert!(pods.iter().all(|pod| pod["metadata"].get("ownerReferences").is_none()));
    // The next one adopts them.
    stage.create("replicasets", replicaset("web", 2, "1"));
    stage.at(12.0).await;
    assert_eq!(stage.pods().len(), 2);
}

#[tokio::test(start_paused = true)]
async fn an_object_whose_owner_never_existed_is_deleted() {
    let stage = Stage::new(ready_after(100));
    let nobody = json!([{"apiVersion": "v1", "kind": "ConfigMap", "name": "ghost", "uid": "0-0"}]);
    stage.create("configmaps", owned("lost", nobody));
    let first = stage.create("configmaps", owned("first", Value::Null));
    stage.create("configmaps", owned("kept", json!([owner(&first, false)])));
    stage.at(1.0).await;
    assert_eq!(stage.get("configmaps", "lost"), Value::Null);
    assert_ne!(stage.get("configmaps", "kept"), Value::Null);
    let history = stage.cluster.history();
    let user = history.iter().find(|c| c.new.is_none()).map(|c| c.user.as_str());
    assert_eq!(user, Some("garbage-collector"));
}

#[tokio::test(start_paused = true)]
async fn an_object_with_a_second_owner_stays_and_forgets_the_first() {
    let stage = Stage::new(ready_after(100));
    let first = stage.create("configmaps", owned("first", Value::Null));
    let second = stage.create("configmaps", owned("second", Value::Null));
    stage.create(
        "configmaps",
        owned("both", json!([owner(&first, false), owner(&second, false)])),
    );
    stage.delete("configmaps", "first", json!({}));
    stage.at(1.0).await;
    let both = stage.get("configmaps", "both");
    assert_eq!(both["metadata"]["ownerReferences"], json!([owner(&second, false)]));
    stage.delete("configmaps", "second", json!({}));
    stage.at(2.0).await;
    assert_eq!(stage.get("configmaps", "both"), Value::Null);
}

#[tokio::test(start_paused = true)]
async fn a_foreground_deletion_waits_only_for_those_that_block() {
    let stage = Stage::new(ready_after(100));
    let first = stage.create("configmaps", owned("first", Value::Null));
    let mut held = owned("held", json!([owner(&first, true)]));
    held["metadata"]["finalizers"] = json!(["example.com/hold"]);
    stage.create("configmaps", held);
    let mut free = owned("free", json!([owner(&first, false)]));
    free["metadata"]["finalizers"] = json!(["example.com/hold"]);
    stage.create("configmaps", free);
    stage.delete("configmaps", "first", json!({"propagationPolicy": "Foreground"}));
    stage.at(60.0).await;
    assert_ne!(stage.get("configmaps", "first"), Value::Null);
    assert!(!stage.get("configmaps", "free")["metadata"]["deletionTimestamp"].is_null());
    stage.patch("configmaps", "held", json!({"metadata": {"finalizers": null}}));
    stage.at(61.0).await;
    assert_eq!(stage.get("configmaps", "first"), Value::Null);
    assert_ne!(stage.get("configmaps", "free"), Value::Null);
}

#[tokio::test(start_paused = true)]
async fn an_owner_of_a_kind_that_nobody_serves_is_left_to_whoever_knows_it() {
    let stage = Stage::new(ready_after(100));
    let foreign = json!([{"apiVersion": "example.com/v1", "kind": "Thing", "name": "one", "uid": "0-0"}]);
    stage.create("configmaps", owned("kept", foreign));
    stage.at(60.0).await;
    assert_ne!(stage.get("configmaps", "kept"), Value::Null);
}

#[tokio::test(start_paused = true)]
async fn a_deleted_namespace_goes_when_its_last_pod_has_ended() {
    let stage = Stage::new(ready_after(100));
    let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "there"}});
    stage.create("namespaces", namespace);
    for (resource, mut object) in [
        ("deployments", super::deployment("web", 3, "1")),
        ("services", super::service("web", "web")),
    ] {
        object["metadata"]["namespace"] = json!("there");
        stage.create(resource, object);
    }
    stage.at(5.0).await;
    assert_eq!(stage.pods().len(), 3);
    stage
        .cluster
        .delete("user", "namespaces", "", "there", &Value::Null)
        .unwrap();
    assert!(
        stage.cluster.get("namespaces", "", "there").is_some(),
        "its pods have not ended"
    );
    stage.at(10.0).await;
    assert!(
        stage.cluster.get("namespaces", "", "there").is_none(),
        "{}",
        stage.told()
    );
    assert!(stage.pods().is_empty());
}
