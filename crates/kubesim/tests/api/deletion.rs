//! Deletion: at once, gracefully, through finalizers, of collections, namespaces and definitions.

use serde_json::{Value, json};

use crate::support::*;

#[tokio::test(start_paused = true)]
async fn a_deletion_answers_who_is_gone() {
    let cluster = cluster();
    let (_, created) = post(&cluster, ROLLOUTS_PATH, &rollout("demo", "web:1")).await;
    let (code, answer) = delete(&cluster, &format!("{ROLLOUTS_PATH}/demo"), &Value::Null).await;
    assert_eq!(code, 200);
    assert_eq!(
        answer,
        json!({
            "kind": "Status",
            "apiVersion": "v1",
            "metadata": {},
            "status": "Success",
            "details": {"name": "demo", "group": "argoproj.io", "kind": "rollouts", "uid": created["metadata"]["uid"]},
        })
    );
    let (code, refused) = delete(&cluster, &format!("{ROLLOUTS_PATH}/demo"), &Value::Null).await;
    assert_eq!(
        (code, refused["message"].as_str().unwrap()),
        (404, "rollouts.argoproj.io \"demo\" not found")
    );
}

#[tokio::test(start_paused = true)]
async fn preconditions_are_met_or_the_object_stays() {
    let cluster = cluster();
    let (_, created) = post(&cluster, CONFIG_MAPS, &config_map("a", &json!({}))).await;
    let path = format!("{CONFIG_MAPS}/a");
    let (code, refused) = delete(&cluster, &path, &json!({"preconditions": {"uid": "other"}})).await;
    let uid = created["metadata"]["uid"].as_str().unwrap();
    assert_eq!(
        (code, refused["message"].as_str().unwrap()),
        (
            409,
            format!(
                "Operation cannot be fulfilled on ConfigMap \"a\": the UID in the precondition (other) does not match the \
                 UID in record ({uid}). The object might have been deleted and then recreated"
            )
            .as_str()
        )
    );
    let right = json!({"preconditions": {"uid": uid, "resourceVersion": created["metadata"]["resourceVersion"]}});
    assert_eq!(delete(&cluster, &path, &right).await.0, 200);
}

#[tokio::test(start_paused = true)]
async fn a_finalizer_keeps_an_object_until_it_is_taken_off() {
    let cluster = cluster();
    let mut object = rollout("demo", "web:1");
    object["metadata"]["finalizers"] = json!(["example.com/wait"]);
    post(&cluster, ROLLOUTS_PATH, &object).await;
    let path = format!("{ROLLOUTS_PATH}/demo");
    let (code, marked) = delete(&cluster, &path, &Value::Null).await;
    assert_eq!((code, &marked["kind"]), (200, &json!("Rollout")));
    assert_eq!(marked["metadata"]["deletionGracePeriodSeconds"], 0);
    assert!(marked["metadata"]["deletionTimestamp"].is_string());
    assert_eq!(marked["metadata"]["generation"], 2);
    let before = cluster.resource_version();
    delete(&cluster, &path, &Value::Null).await;
    assert_eq!(cluster.resource_version(), before, "a second deletion changes nothing");
    let off = json!({"metadata": {"finalizers": null}});
    assert_eq!(patch(&cluster, &path, MERGE, &off).await.0, 200);
    assert_eq!(get(&cluster, &path).await.0, 404);
}

#[tokio::test(start_paused = true)]
async fn the_propagation_policy_sets_finalizers_for_the_garbage_collector() {
    let cluster = cluster();
    for (policy, finalizers) in [
        ("Foreground", json!(["foregroundDeletion"])),
        ("Orphan", json!(["orphan"])),
    ] {
        post(&cluster, ROLLOUTS_PATH, &rollout("demo", "web:1")).await;
        let path = format!("{ROLLOUTS_PATH}/demo");
        let (_, marked) = delete(&cluster, &path, &json!({"propagationPolicy": policy})).await;
        assert_eq!(marked["metadata"]["finalizers"], finalizers);
        patch(&cluster, &path, MERGE, &json!({"metadata": {"finalizers": []}})).await;
        assert_eq!(get(&cluster, &path).await.0, 404);
    }
}

#[tokio::test(start_paused = true)]
async fn a_pod_on_a_node_is_deleted_gracefully_and_another_at_once() {
    let cluster = cluster();
    post(&cluster, PODS, &pod("loose")).await;
    let (code, _) = delete(&cluster, &format!("{PODS}/loose"), &Value::Null).await;
    assert_eq!((code, get(&cluster, &format!("{PODS}/loose")).await.0), (200, 404));
    let mut bound = pod("bound");
    bound["spec"]["nodeName"] = json!("n1");
    bound["spec"]["terminationGracePeriodSeconds"] = json!(7);
    post(&cluster, PODS, &bound).await;
    let path = format!("{PODS}/bound");
    let (_, marked) = delete(&cluster, &path, &Value::Null).await;
    assert_eq!(marked["metadata"]["deletionGracePeriodSeconds"], 7);
    assert_eq!(get(&cluster, &path).await.0, 200);
    let (_, shorter) = delete(&cluster, &path, &json!({"gracePeriodSeconds": 2})).await;
    assert_eq!(shorter["metadata"]["deletionGracePeriodSeconds"], 2);
    delete(&cluster, &path, &json!({"gracePeriodSeconds": 0})).await;
    assert_eq!(get(&cluster, &path).await.0, 404);
}

#[tokio::test(start_paused = true)]
async fn a_collection_is_deleted_by_selector() {
    let cluster = cluster();
    for (name, on) in [("a", "yes"), ("b", "no"), ("c", "yes")] {
        post(&cluster, CONFIG_MAPS, &config_map(name, &json!({"on": on}))).await;
    }
    let (code, list) = delete(&cluster, &format!("{CONFIG_MAPS}?labelSelector=on%3Dyes"), &Value::Null).await;
    assert_eq!((code, list["items"].as_array().unwrap().len()), (200, 2));
    let left: Vec<_> = cluster
        .list("configmaps")
        .iter()
        .map(|o| o["metadata"]["name"].clone())
        .collect();
    assert_eq!(left, ["b"]);
}

#[tokio::test(start_paused = true)]
async fn a_namespace_takes_its_content_along_and_waits_for_what_stays() {
    let cluster = cluster();
    let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "shop"}});
    post(&cluster, "/api/v1/namespaces", &namespace).await;
    let mut object = config_map("a", &json!({}));
    object["metadata"]["namespace"] = json!("shop");
    let maps = "/api/v1/namespaces/shop/configmaps";
    post(&cluster, maps, &object).await;
    object["metadata"]["name"] = json!("kept");
    object["metadata"]["finalizers"] = json!(["example.com/wait"]);
    post(&cluster, maps, &object).await;
    let (code, marked) = delete(&cluster, "/api/v1/namespaces/shop", &Value::Null).await;
    assert_eq!((code, &marked["status"]["phase"]), (200, &json!("Terminating")));
    assert_eq!(get(&cluster, &format!("{maps}/a")).await.0, 404);
    object["metadata"]["name"] = json!("new");
    let (code, refused) = post(&cluster, maps, &object).await;
    assert_eq!(
        (code, refused["message"].as_str().unwrap()),
        (
            403,
            "configmaps \"new\" is forbidden: unable to create new content in namespace shop because it is being terminated"
        )
    );
    patch(
        &cluster,
        &format!("{maps}/kept"),
        MERGE,
        &json!({"metadata": {"finalizers": null}}),
    )
    .await;
    assert_eq!(get(&cluster, "/api/v1/namespaces/shop").await.0, 404);
    let (code, refused) = delete(&cluster, "/api/v1/namespaces/default", &Value::Null).await;
    assert_eq!(
        (code, refused["message"].as_str().unwrap()),
        (
            403,
            "namespaces \"default\" is forbidden: this namespace may not be deleted"
        )
    );
}

#[tokio::test(start_paused = true)]
async fn an_eviction_respects_disruption_budgets() {
    let cluster = cluster();
    let mut object = pod("a");
    object["metadata"]["labels"] = json!({"app": "a"});
    post(&cluster, PODS, &object).await;
    patch(
        &cluster,
        &format!("{PODS}/a/status"),
        MERGE,
        &json!({"status": {"phase": "Running"}}),
    )
    .await;
    let budgets = "/apis/policy/v1/namespaces/default/poddisruptionbudgets";
    let budget = json!({
        "apiVersion": "policy/v1",
        "kind": "PodDisruptionBudget",
        "metadata": {"name": "keep"},
        "spec": {"minAvailable": 1, "selector": {"matchLabels": {"app": "a"}}},
    });
    assert_eq!(post(&cluster, budgets, &budget).await.0, 201);
    let eviction = json!({"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": "a"}});
    let path = format!("{PODS}/a/eviction");
    let (code, refused) = post(&cluster, &path, &eviction).await;
    assert_eq!((code, &refused["reason"]), (429, &json!("TooManyRequests")));
    delete(&cluster, &format!("{budgets}/keep"), &Value::Null).await;
    assert_eq!(post(&cluster, &path, &eviction).await.0, 201);
    assert_eq!(get(&cluster, &format!("{PODS}/a")).await.0, 404);
}

#[tokio::test(start_paused = true)]
async fn a_bare_api_server_leaves_namespaces_to_be_finished_and_taints_new_nodes() {
    let cluster = serin_kubesim::Cluster::new(serin_kubesim::Options {
        bare: true,
        ..serin_kubesim::Options::default()
    });
    let space = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "blue"}});
    assert_eq!(post(&cluster, "/api/v1/namespaces", &space).await.0, 201);
    assert_eq!(delete(&cluster, "/api/v1/namespaces/blue", &Value::Null).await.0, 200);
    let (code, left) = get(&cluster, "/api/v1/namespaces/blue").await;
    assert_eq!((code, &left["status"]["phase"]), (200, &json!("Terminating")));
    let node = json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": "one"}});
    let (_, node) = post(&cluster, "/api/v1/nodes", &node).await;
    assert_eq!(
        node["spec"]["taints"],
        json!([{"key": "node.kubernetes.io/not-ready", "effect": "NoSchedule"}])
    );
}
