//! Custom resources: served as soon as they are defined, gone with their definition.

use serde_json::{Value, json};

use crate::support::*;

const CRDS: &str = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";

fn definition() -> Value {
    json!({
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": "lamps.example.com"},
        "spec": {
            "group": "example.com",
            "names": {"kind": "Lamp", "plural": "lamps", "shortNames": ["lp"]},
            "scope": "Namespaced",
            "versions": [{
                "name": "v1",
                "served": true,
                "storage": true,
                "subresources": {"status": {}},
                "additionalPrinterColumns": [{"name": "Colour", "type": "string", "jsonPath": ".spec.colour"}],
                "schema": {"openAPIV3Schema": {
                    "type": "object",
                    "properties": {
                        "spec": {
                            "type": "object",
                            "properties": {
                                "colour": {"type": "string", "default": "white"},
                                "watts": {"type": "integer", "maximum": 60},
                            },
                        },
                        "status": {"type": "object", "x-kubernetes-preserve-unknown-fields": true},
                    },
                }},
            }],
        },
    })
}

fn lamp(name: &str, spec: &Value) -> Value {
    json!({"apiVersion": "example.com/v1", "kind": "Lamp", "metadata": {"name": name}, "spec": spec})
}

const LAMPS: &str = "/apis/example.com/v1/namespaces/default/lamps";

#[tokio::test(start_paused = true)]
async fn a_definition_is_served_once_it_is_created_and_no_longer_when_it_is_deleted() {
    let cluster = cluster();
    assert_eq!(
        get(&cluster, LAMPS).await,
        (404, Value::String("404 page not found\n".into()))
    );
    let (code, created) = post(&cluster, CRDS, &definition()).await;
    assert_eq!(code, 201, "{created}");
    let (_, now) = get(&cluster, &format!("{CRDS}/lamps.example.com")).await;
    let conditions: Vec<&Value> = now["status"]["conditions"]
        .as_array()
        .unwrap()
        .iter()
        .map(|c| &c["type"])
        .collect();
    assert_eq!(conditions, ["NamesAccepted", "Established"]);

    let (code, created) = post(&cluster, LAMPS, &lamp("desk", &json!({"watts": 5, "wifi": true}))).await;
    assert_eq!((code, &created["spec"]), (201, &json!({"colour": "white", "watts": 5})));
    let (code, refused) = post(&cluster, LAMPS, &lamp("floor", &json!({"watts": 500}))).await;
    assert_eq!(
        (code, refused["message"].as_str().unwrap()),
        (
            422,
            "Lamp.example.com \"floor\" is invalid: spec.watts: Invalid value: 500: spec.watts in body should be less than \
             or equal to 60"
        )
    );

    let (code, _) = delete(&cluster, &format!("{CRDS}/lamps.example.com"), &Value::Null).await;
    assert_eq!(code, 200);
    assert_eq!(get(&cluster, LAMPS).await.0, 404);
    assert_eq!(get(&cluster, &format!("{CRDS}/lamps.example.com")).await.0, 404);
    let gone = cluster
        .history()
        .into_iter()
        .rfind(|c| c.resource.plural == "lamps")
        .unwrap();
    assert!(gone.new.is_none(), "its objects went before");
}

#[tokio::test(start_paused = true)]
async fn discovery_lists_what_is_served() {
    let cluster = cluster();
    post(&cluster, CRDS, &definition()).await;
    let (_, groups) = get(&cluster, "/apis").await;
    let names: Vec<&str> = groups["groups"]
        .as_array()
        .unwrap()
        .iter()
        .map(|g| g["name"].as_str().unwrap())
        .collect();
    assert!(names.contains(&"example.com") && names.contains(&"apps"), "{names:?}");
    let (_, resources) = get(&cluster, "/apis/example.com/v1").await;
    assert_eq!(
        resources,
        json!({
            "kind": "APIResourceList",
            "apiVersion": "v1",
            "groupVersion": "example.com/v1",
            "resources": [
                {
                    "name": "lamps",
                    "singularName": "lamp",
                    "namespaced": true,
                    "kind": "Lamp",
                    "verbs": ["delete", "deletecollection", "get", "list", "patch", "create", "update", "watch"],
                    "shortNames": ["lp"],
                },
                {
                    "name": "lamps/status",
                    "singularName": "",
                    "namespaced": true,
                    "kind": "Lamp",
                    "verbs": ["get", "patch", "update"],
                },
            ],
        })
    );
    let client = cluster.client("serin");
    let discovery = kube::Discovery::new(client).run().await.unwrap();
    assert!(discovery.has_group("argoproj.io"));
}

#[tokio::test(start_paused = true)]
async fn verbs_and_subresources_that_do_not_exist_are_refused_as_the_real_one_does() {
    let cluster = cluster();
    post(&cluster, ROLLOUTS_PATH, &rollout("demo", "web:1")).await;
    let (code, refused) = put(&cluster, ROLLOUTS_PATH, &json!({})).await;
    assert_eq!(
        (code, refused["message"].as_str().unwrap()),
        (400, "name must be provided")
    );
    let (code, refused) = get(&cluster, &format!("{ROLLOUTS_PATH}/demo/nothing")).await;
    assert_eq!(
        (code, refused["message"].as_str().unwrap()),
        (404, "rollouts.argoproj.io \"demo\" not found")
    );
    let (code, refused) = get(&cluster, "/api/v1/nothings").await;
    assert_eq!(
        (code, refused["message"].as_str().unwrap()),
        (404, "the server could not find the requested resource")
    );
    let (code, refused) = put(&cluster, CONFIG_MAPS, &json!({})).await;
    assert_eq!(
        (code, refused["message"].as_str().unwrap()),
        (405, "the server does not allow this method on the requested resource")
    );
}

#[tokio::test(start_paused = true)]
async fn a_field_that_the_definition_makes_immutable_stays_what_it_is() {
    let cluster = cluster();
    let at = "/apis/argoproj.io/v1alpha1/namespaces/default/rollouts";
    let (code, created) = post(&cluster, at, &rollout("web", "demo:1")).await;
    assert_eq!(code, 201, "{created}");
    let mut changed = created.clone();
    changed["spec"]["selector"]["matchLabels"]["app"] = json!("other");
    let (code, refused) = put(&cluster, &format!("{at}/web"), &changed).await;
    assert_eq!(
        (code, refused["message"].as_str().unwrap()),
        (
            422,
            "Rollout.argoproj.io \"web\" is invalid: spec.selector: Invalid value: .spec.selector is immutable"
        )
    );
    changed["spec"]["selector"] = created["spec"]["selector"].clone();
    changed["spec"]["replicas"] = json!(7);
    assert_eq!(put(&cluster, &format!("{at}/web"), &changed).await.0, 200);
}
