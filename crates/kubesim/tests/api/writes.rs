//! Creation, updates and patches.

use kube::api::{Patch, PatchParams, PostParams};
use serde_json::{Value, json};

use crate::support::*;

#[tokio::test(start_paused = true)]
async fn a_client_creates_reads_replaces_patches_and_deletes_a_rollout() {
    let cluster = cluster();
    let api = rollouts(&cluster.client("serin"));
    let object = serde_json::from_value(rollout("demo", "web:1")).unwrap();
    let created = api.create(&PostParams::default(), &object).await.unwrap();
    assert_eq!(created.metadata.generation, Some(1));
    assert!(created.metadata.uid.is_some());
    // What the definition defaults is there.
    assert_eq!(
        created.data["spec"]["template"]["spec"]["containers"][0]["ports"][0]["protocol"],
        "TCP"
    );

    let patched = api
        .patch(
            "demo",
            &PatchParams::default(),
            &Patch::Merge(json!({"spec": {"replicas": 5}})),
        )
        .await
        .unwrap();
    assert_eq!(
        (patched.metadata.generation, &patched.data["spec"]["replicas"]),
        (Some(2), &json!(5))
    );

    let status = api
        .patch_status(
            "demo",
            &PatchParams::default(),
            &Patch::Merge(json!({"status": {"phase": "Progressing"}, "spec": {"replicas": 9}})),
        )
        .await
        .unwrap();
    assert_eq!(status.data["status"]["phase"], "Progressing");
    assert_eq!(
        status.data["spec"]["replicas"], 5,
        "a status write changes nothing else"
    );
    assert_eq!(status.metadata.generation, Some(2), "nor the generation");

    let mut stale = created.clone();
    stale.data["spec"]["replicas"] = json!(1);
    let refused = api.replace("demo", &PostParams::default(), &stale).await.unwrap_err();
    let kube::Error::Api(refused) = refused else {
        panic!("{refused}")
    };
    assert_eq!(
        (refused.code, refused.reason.as_str(), refused.message.as_str()),
        (
            409,
            "Conflict",
            "Operation cannot be fulfilled on rollouts.argoproj.io \"demo\": the object has been modified; please apply your \
             changes to the latest version and try again"
        )
    );

    let mut fresh = status.clone();
    fresh.data["spec"]["replicas"] = json!(1);
    fresh.data["status"] = json!({"phase": "Lost"});
    let replaced = api.replace("demo", &PostParams::default(), &fresh).await.unwrap();
    assert_eq!(
        replaced.data["status"]["phase"], "Progressing",
        "the status is not written with the rest"
    );

    api.delete("demo", &Default::default()).await.unwrap();
    assert!(api.get_opt("demo").await.unwrap().is_none());
}

#[tokio::test(start_paused = true)]
async fn a_write_that_changes_nothing_makes_no_version() {
    let cluster = cluster();
    let (_, created) = post(&cluster, ROLLOUTS_PATH, &rollout("demo", "web:1")).await;
    let before = cluster.resource_version();
    let path = format!("{ROLLOUTS_PATH}/demo");
    let (code, same) = patch(&cluster, &path, MERGE, &json!({"spec": {"replicas": 3}})).await;
    assert_eq!((code, &same), (200, &created));
    assert_eq!(put(&cluster, &path, &created).await, (200, created));
    assert_eq!(cluster.resource_version(), before);
}

#[tokio::test(start_paused = true)]
async fn a_name_is_generated_and_a_taken_one_refused() {
    let cluster = cluster();
    let mut object = config_map("x", &json!({}));
    object["metadata"] = json!({"generateName": "made-"});
    let (code, created) = post(&cluster, CONFIG_MAPS, &object).await;
    let name = created["metadata"]["name"].as_str().unwrap().to_owned();
    assert_eq!((code, name.len(), name.starts_with("made-")), (201, 10, true));
    object["metadata"] = json!({"name": name});
    let (code, refused) = post(&cluster, CONFIG_MAPS, &object).await;
    assert_eq!(code, 409);
    assert_eq!(
        refused,
        json!({
            "kind": "Status",
            "apiVersion": "v1",
            "metadata": {},
            "status": "Failure",
            "message": format!("configmaps \"{name}\" already exists"),
            "reason": "AlreadyExists",
            "details": {"name": name, "kind": "configmaps"},
            "code": 409,
        })
    );
}

#[tokio::test(start_paused = true)]
async fn namespaces_are_checked() {
    let cluster = cluster();
    let path = "/api/v1/namespaces/shop/configmaps";
    let mut object = config_map("a", &json!({}));
    let (code, refused) = post(&cluster, path, &object).await;
    assert_eq!(
        (code, refused["message"].as_str().unwrap()),
        (
            400,
            "the namespace of the provided object does not match the namespace sent on the request"
        )
    );
    object["metadata"]["namespace"] = json!("shop");
    let (code, refused) = post(&cluster, path, &object).await;
    assert_eq!(
        (code, refused["message"].as_str().unwrap()),
        (404, "namespaces \"shop\" not found")
    );
    let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "shop"}});
    let (code, created) = post(&cluster, "/api/v1/namespaces", &namespace).await;
    assert_eq!((code, &created["status"]["phase"]), (201, &json!("Active")));
    assert_eq!(created["spec"]["finalizers"], json!(["kubernetes"]));
    assert_eq!(post(&cluster, path, &object).await.0, 201);
}

#[tokio::test(start_paused = true)]
async fn custom_resources_are_replaced_with_their_version_only_and_built_in_ones_without_too() {
    let cluster = cluster();
    post(&cluster, ROLLOUTS_PATH, &rollout("demo", "web:1")).await;
    let (code, refused) = put(&cluster, &format!("{ROLLOUTS_PATH}/demo"), &rollout("demo", "web:2")).await;
    assert_eq!(
        (code, refused["message"].as_str().unwrap()),
        (
            422,
            "rollouts.argoproj.io \"demo\" is invalid: metadata.resourceVersion: Invalid value: 0: must be specified for an \
             update"
        )
    );
    post(&cluster, CONFIG_MAPS, &config_map("a", &json!({}))).await;
    let (code, _) = put(
        &cluster,
        &format!("{CONFIG_MAPS}/a"),
        &config_map("a", &json!({"new": "yes"})),
    )
    .await;
    assert_eq!(code, 200);
}

#[tokio::test(start_paused = true)]
async fn a_put_names_the_object_of_its_path() {
    let cluster = cluster();
    post(&cluster, CONFIG_MAPS, &config_map("a", &json!({}))).await;
    let (code, refused) = put(&cluster, &format!("{CONFIG_MAPS}/a"), &config_map("b", &json!({}))).await;
    assert_eq!(
        (code, refused["message"].as_str().unwrap()),
        (400, "the name of the object (b) does not match the name on the URL (a)")
    );
    let mut other = config_map("a", &json!({}));
    other["metadata"]["uid"] = json!("another");
    let (code, refused) = put(&cluster, &format!("{CONFIG_MAPS}/a"), &other).await;
    assert_eq!((code, &refused["reason"]), (409, &json!("Conflict")));
}

#[tokio::test(start_paused = true)]
async fn a_json_patch_whose_test_fails_changes_nothing() {
    let cluster = cluster();
    post(&cluster, ROLLOUTS_PATH, &rollout("demo", "web:1")).await;
    let path = format!("{ROLLOUTS_PATH}/demo");
    let set = |from: u32, to: u32| {
        json!([
            {"op": "test", "path": "/spec/replicas", "value": from},
            {"op": "replace", "path": "/spec/replicas", "value": to},
        ])
    };
    let (code, refused) = patch(&cluster, &path, JSON, &set(7, 8)).await;
    assert_eq!(
        (code, refused["message"].as_str().unwrap(), &refused["details"]),
        (
            422,
            "the server rejected our request due to an error in our request",
            &json!({})
        )
    );
    let (code, patched) = patch(&cluster, &path, JSON, &set(3, 8)).await;
    assert_eq!((code, &patched["spec"]["replicas"]), (200, &json!(8)));
}

#[tokio::test(start_paused = true)]
async fn a_patch_for_an_older_version_conflicts() {
    let cluster = cluster();
    let (_, created) = post(&cluster, ROLLOUTS_PATH, &rollout("demo", "web:1")).await;
    let path = format!("{ROLLOUTS_PATH}/demo/status");
    let version = &created["metadata"]["resourceVersion"];
    let write = |phase: &str| json!({"metadata": {"resourceVersion": version}, "status": {"phase": phase}});
    assert_eq!(patch(&cluster, &path, MERGE, &write("Paused")).await.0, 200);
    let (code, refused) = patch(&cluster, &path, MERGE, &write("Healthy")).await;
    assert_eq!((code, &refused["reason"]), (409, &json!("Conflict")));
}

#[tokio::test(start_paused = true)]
async fn a_dry_run_answers_and_changes_nothing() {
    let cluster = cluster();
    let before = cluster.resource_version();
    let (code, answer) = post(
        &cluster,
        &format!("{ROLLOUTS_PATH}?dryRun=All"),
        &rollout("demo", "web:1"),
    )
    .await;
    assert_eq!((code, &answer["metadata"]["generation"]), (201, &json!(1)));
    assert_eq!(cluster.resource_version(), before);
    post(&cluster, ROLLOUTS_PATH, &rollout("demo", "web:1")).await;
    let before = cluster.resource_version();
    let path = format!("{ROLLOUTS_PATH}/demo?dryRun=All");
    let (code, answer) = patch(&cluster, &path, MERGE, &json!({"spec": {"replicas": 9}})).await;
    assert_eq!((code, &answer["spec"]["replicas"]), (200, &json!(9)));
    assert_eq!(delete(&cluster, &path, &Value::Null).await.0, 200);
    assert_eq!(cluster.resource_version(), before);
    let (code, refused) = patch(
        &cluster,
        &format!("{ROLLOUTS_PATH}/demo?dryRun=Some"),
        MERGE,
        &json!({}),
    )
    .await;
    assert_eq!((code, &refused["reason"]), (422, &json!("Invalid")));
}

#[tokio::test(start_paused = true)]
async fn unknown_fields_are_dropped_warned_about_or_refused() {
    let cluster = cluster();
    let mut object = rollout("demo", "web:1");
    object["spec"]["replicaz"] = json!(3);
    let (code, refused) = post(&cluster, &format!("{ROLLOUTS_PATH}?fieldValidation=Strict"), &object).await;
    assert_eq!(
        (code, refused["message"].as_str().unwrap()),
        (
            400,
            "Rollout in version \"v1alpha1\" cannot be handled as a Rollout: strict decoding error: unknown field \
             \"spec.replicaz\""
        )
    );
    let (code, created) = post(&cluster, ROLLOUTS_PATH, &object).await;
    assert_eq!((code, created["spec"].get("replicaz")), (201, None));
}

#[tokio::test(start_paused = true)]
async fn the_scale_subresource_reads_and_writes_replicas() {
    let cluster = cluster();
    post(&cluster, ROLLOUTS_PATH, &rollout("demo", "web:1")).await;
    let status = json!({"status": {"HPAReplicas": 2, "selector": "app=demo"}});
    patch(&cluster, &format!("{ROLLOUTS_PATH}/demo/status"), MERGE, &status).await;
    let path = format!("{ROLLOUTS_PATH}/demo/scale");
    let (code, scale) = get(&cluster, &path).await;
    assert_eq!(code, 200);
    assert_eq!(
        (&scale["kind"], &scale["apiVersion"], &scale["spec"], &scale["status"]),
        (
            &json!("Scale"),
            &json!("autoscaling/v1"),
            &json!({"replicas": 3}),
            &json!({"replicas": 2, "selector": "app=demo"})
        )
    );
    let (code, scaled) = patch(&cluster, &path, MERGE, &json!({"spec": {"replicas": 6}})).await;
    assert_eq!((code, &scaled["spec"]["replicas"]), (200, &json!(6)));
    let rollout = cluster.get("rollouts", "default", "demo").unwrap();
    assert_eq!(
        (&rollout["spec"]["replicas"], &rollout["metadata"]["generation"]),
        (&json!(6), &json!(2))
    );
    let (code, refused) = put(&cluster, &path, &scale).await;
    assert_eq!((code, &refused["reason"]), (409, &json!("Conflict")));
}

#[tokio::test(start_paused = true)]
async fn a_pod_is_bound_once() {
    let cluster = cluster();
    post(&cluster, PODS, &pod("a")).await;
    let binding = json!({"apiVersion": "v1", "kind": "Binding", "metadata": {"name": "a"}, "target": {"kind": "Node", "name": "n1"}});
    let path = format!("{PODS}/a/binding");
    assert_eq!(post(&cluster, &path, &binding).await.0, 201);
    assert_eq!(cluster.get("pods", "default", "a").unwrap()["spec"]["nodeName"], "n1");
    let (code, refused) = post(&cluster, &path, &binding).await;
    assert_eq!(
        (code, refused["message"].as_str().unwrap()),
        (
            409,
            "Operation cannot be fulfilled on pods/binding \"a\": pod a is already assigned to node \"n1\""
        )
    );
}
