//! Server-side apply and strategic merge through the API.

use kube::api::{Patch, PatchParams};
use serde_json::{Value, json};
use serin_kubesim::{Cluster, Options};

use crate::support::*;

#[tokio::test(start_paused = true)]
async fn an_apply_creates_then_owns_its_fields_and_conflicts_over_others() {
    let cluster = cluster();
    let api = rollouts(&cluster.client("serin"));
    let first: kube::api::DynamicObject = api
        .patch(
            "demo",
            &PatchParams::apply("kubectl"),
            &Patch::Apply(rollout("demo", "web:1")),
        )
        .await
        .unwrap();
    let managers = first.metadata.managed_fields.unwrap();
    assert_eq!(
        (
            managers.len(),
            managers[0].manager.as_deref(),
            managers[0].operation.as_deref()
        ),
        (1, Some("kubectl"), Some("Apply"))
    );
    let mine = json!({"apiVersion": "argoproj.io/v1alpha1", "kind": "Rollout", "metadata": {"name": "demo"}, "spec": {"replicas": 9}});
    let refused = api
        .patch("demo", &PatchParams::apply("other"), &Patch::Apply(&mine))
        .await
        .unwrap_err();
    let kube::Error::Api(refused) = refused else {
        panic!("{refused}")
    };
    assert_eq!(
        (refused.code, refused.message.as_str()),
        (
            409,
            "Apply failed with 1 conflict: conflict with \"kubectl\": .spec.replicas"
        )
    );
    let forced = api
        .patch("demo", &PatchParams::apply("other").force(), &Patch::Apply(&mine))
        .await
        .unwrap();
    assert_eq!(
        (&forced.data["spec"]["replicas"], forced.metadata.generation),
        (&json!(9), Some(2))
    );
    let before = cluster.resource_version();
    let params = PatchParams::apply("other").force();
    api.patch("demo", &params, &Patch::Apply(&mine)).await.unwrap();
    assert_eq!(cluster.resource_version(), before, "the same again changes nothing");
}

#[tokio::test(start_paused = true)]
async fn managed_fields_of_all_writes_are_kept_when_asked_for() {
    let cluster = Cluster::new(Options {
        managed_fields: true,
        ..Options::default()
    });
    let path = format!("{CONFIG_MAPS}?fieldManager=maker");
    let (_, created) = post(&cluster, &path, &config_map("a", &json!({}))).await;
    let entry = &created["metadata"]["managedFields"][0];
    assert_eq!(
        (&entry["manager"], &entry["operation"], &entry["fieldsV1"]["f:data"]),
        (&json!("maker"), &json!("Update"), &json!({".": {}, "f:a": {}}))
    );
}

#[tokio::test(start_paused = true)]
async fn a_strategic_merge_patch_finds_a_container_by_its_name() {
    let cluster = cluster();
    let deployments = "/apis/apps/v1/namespaces/default/deployments";
    let template = json!({
        "metadata": {"labels": {"app": "web"}},
        "spec": {"containers": [{"name": "web", "image": "web:1"}, {"name": "proxy", "image": "proxy:1"}]},
    });
    let deployment = json!({
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "web"},
        "spec": {"replicas": 0, "selector": {"matchLabels": {"app": "web"}}, "template": template},
    });
    let (code, created) = post(&cluster, deployments, &deployment).await;
    assert_eq!(code, 201, "{created}");
    assert_eq!(
        created["spec"]["strategy"]["rollingUpdate"]["maxSurge"], "25%",
        "defaults are filled in"
    );
    let change = json!({"spec": {"template": {"spec": {"containers": [{"name": "web", "image": "web:2"}]}}}});
    let kind = "application/strategic-merge-patch+json";
    let (code, patched) = patch(&cluster, &format!("{deployments}/web"), kind, &change).await;
    let images: Vec<&Value> = patched["spec"]["template"]["spec"]["containers"]
        .as_array()
        .unwrap()
        .iter()
        .map(|c| &c["image"])
        .collect();
    assert_eq!((code, images), (200, vec![&json!("web:2"), &json!("proxy:1")]));
    assert_eq!(patched["metadata"]["generation"], 2);
    let (code, scaled) = patch(
        &cluster,
        &format!("{deployments}/web/scale"),
        kind,
        &json!({"spec": {"replicas": 2}}),
    )
    .await;
    assert_eq!((code, &scaled["status"]["selector"]), (200, &json!("app=web")));
    assert_eq!(
        cluster.get("deployments", "default", "web").unwrap()["spec"]["replicas"],
        2
    );
}

#[tokio::test(start_paused = true)]
async fn a_put_without_the_defaults_changes_nothing() {
    let cluster = cluster();
    let (_, created) = post(&cluster, PODS, &pod("a")).await;
    assert_eq!(created["spec"]["containers"][0]["imagePullPolicy"], "IfNotPresent");
    let services = "/api/v1/namespaces/default/services";
    let service = json!({
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "web"},
        "spec": {"selector": {"app": "web"}, "ports": [{"port": 80}]},
    });
    let (code, created) = post(&cluster, services, &service).await;
    assert_eq!(code, 201, "{created}");
    assert!(
        created["spec"]["clusterIP"].as_str().unwrap().starts_with("10."),
        "{created}"
    );
    let before = cluster.resource_version();
    let (code, same) = put(&cluster, &format!("{services}/web"), &service).await;
    assert_eq!((code, &same), (200, &created));
    assert_eq!(cluster.resource_version(), before);
}
