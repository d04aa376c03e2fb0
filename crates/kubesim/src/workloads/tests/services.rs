//! EndpointSlices: who is behind a Service, and in what condition.

use std::{sync::Arc, time::Duration};

use serde_json::{Value, json};

use super::{ByImage, Options, PodPlan, Stage, Workloads, ready_after, replicaset, service};

/// Conditions of all endpoints of a Service, sorted: ready, serving, terminating.
fn endpoints(stage: &Stage, service: &str) -> Vec<(bool, bool, bool)> {
    let mut all = Vec::new();
    for slice in slices(stage, service) {
        for endpoint in slice["endpoints"].as_array().into_iter().flatten() {
            let of = |field: &str| endpoint["conditions"][field] == true;
            all.push((of("ready"), of("serving"), of("terminating")));
        }
    }
    all.sort_unstable();
    all
}

fn slices(stage: &Stage, service: &str) -> Vec<Arc<Value>> {
    let slices = stage.cluster.list("endpointslices").into_iter();
    slices
        .filter(|s| s["metadata"]["labels"]["kubernetes.io/service-name"] == service)
        .collect()
}

#[tokio::test(start_paused = true)]
async fn endpoints_follow_readiness_and_termination() {
    let plan = PodPlan {
        termination: Duration::from_secs(3),
        ..ready_after(2000)
    };
    let stage = Stage::new(plan);
    stage.create("services", service("web", "web"));
    stage.at(0.5).await;
    assert_eq!(
        slices(&stage, "web").len(),
        1,
        "an empty slice says that the Service was seen"
    );
    stage.create("replicasets", replicaset("web", 2, "1"));
    stage.at(1.0).await;
    assert_eq!(endpoints(&stage, "web"), [(false, false, false); 2]);
    stage.at(4.0).await;
    assert_eq!(endpoints(&stage, "web"), [(true, true, false); 2]);
    let slice = &slices(&stage, "web")[0];
    assert_eq!(
        slice["ports"],
        json!([{"name": "http", "protocol": "TCP", "port": 8080}])
    );
    let pod = stage.pods()[0].clone();
    let endpoint = slice["endpoints"]
        .as_array()
        .unwrap()
        .iter()
        .find(|e| e["targetRef"]["uid"] == pod["metadata"]["uid"]);
    let endpoint = endpoint.unwrap();
    assert_eq!(endpoint["addresses"][0], pod["status"]["podIP"]);
    assert_eq!(endpoint["targetRef"]["kind"], "Pod");
    assert_eq!(endpoint["nodeName"], pod["spec"]["nodeName"]);

    stage.patch("replicasets", "web", json!({"spec": {"replicas": 1}}));
    stage.at(5.0).await;
    assert_eq!(endpoints(&stage, "web"), [(false, false, true), (true, true, false)]);
    stage.at(10.0).await;
    assert_eq!(endpoints(&stage, "web"), [(true, true, false)]);
    assert_eq!(slices(&stage, "web").len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_new_selector_moves_the_endpoints_within_milliseconds() {
    let stage = Stage::new(ready_after(100));
    stage.create("replicasets", replicaset("old", 3, "1"));
    stage.create("replicasets", replicaset("new", 1, "1"));
    stage.create("services", service("web", "old"));
    stage.at(5.0).await;
    assert_eq!(endpoints(&stage, "web").len(), 3);
    stage.patch("services", "web", json!({"spec": {"selector": {"app": "new"}}}));
    let moved = stage.until("moved", |s| endpoints(s, "web").len() == 1).await;
    assert!(moved < Duration::from_millis(5010), "{moved:?}");
}

#[tokio::test(start_paused = true)]
async fn unready_addresses_are_published_when_the_service_wants_it() {
    let stage = Stage::new(ByImage);
    let mut all = service("all", "web");
    all["spec"]["publishNotReadyAddresses"] = json!(true);
    stage.create("services", all);
    stage.create("services", service("some", "web"));
    stage.create("replicasets", replicaset("web", 1, "bad"));
    stage.at(2.0).await;
    assert_eq!(endpoints(&stage, "all"), [(true, false, false)]);
    assert_eq!(endpoints(&stage, "some"), [(false, false, false)]);
}

#[tokio::test(start_paused = true)]
async fn a_port_by_name_is_where_each_pod_has_it() {
    let stage = Stage::new(ready_after(100));
    let mut named = service("web", "web");
    named["spec"]["ports"][0]["targetPort"] = json!("http");
    stage.create("services", named);
    stage.create("replicasets", replicaset("web", 1, "1"));
    stage.at(1.0).await;
    let mut other = super::template("web", "1");
    other["metadata"]["name"] = json!("other");
    other["metadata"]["namespace"] = json!("default");
    other["metadata"]["labels"]["app"] = json!("web");
    other["spec"]["containers"][0]["ports"][0]["containerPort"] = json!(9090);
    // The ReplicaSet adopts it as its second pod.
    stage.patch("replicasets", "web", json!({"spec": {"replicas": 2}}));
    stage.create("pods", other);
    stage.at(2.0).await;
    let mut ports: Vec<u64> = slices(&stage, "web")
        .iter()
        .map(|s| s["ports"][0]["port"].as_u64().unwrap())
        .collect();
    ports.sort_unstable();
    assert_eq!(ports, [8080, 9090]);
}

#[tokio::test(start_paused = true)]
async fn slices_go_with_their_service_and_come_back_when_somebody_deletes_them() {
    let stage = Stage::new(ready_after(100));
    stage.create("services", service("web", "web"));
    stage.create("replicasets", replicaset("web", 1, "1"));
    stage.at(1.0).await;
    let name = slices(&stage, "web")[0]["metadata"]["name"]
        .as_str()
        .unwrap()
        .to_owned();
    assert!(name.starts_with("web-"), "{name}");
    stage.delete("endpointslices", &name, json!({}));
    stage.at(2.0).await;
    assert_eq!(endpoints(&stage, "web"), [(true, true, false)]);
    stage.delete("services", "web", json!({}));
    stage.at(3.0).await;
    assert!(slices(&stage, "web").is_empty(), "{}", stage.told());
}

#[tokio::test(start_paused = true)]
async fn more_than_a_hundred_endpoints_are_spread_over_slices() {
    let stage = Stage::with(Options::default(), ready_after(10), Workloads::terse);
    stage.create("services", service("web", "web"));
    stage.create("replicasets", replicaset("web", 230, "1"));
    stage.at(3.0).await;
    assert_eq!(endpoints(&stage, "web").len(), 230);
    let mut sizes: Vec<usize> = slices(&stage, "web")
        .iter()
        .map(|s| s["endpoints"].as_array().unwrap().len())
        .collect();
    sizes.sort_unstable();
    assert!(sizes.iter().all(|size| *size <= 100), "{sizes:?}");
}
