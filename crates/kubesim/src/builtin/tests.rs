//! Vectors for the built-in kinds.

use chrono::{TimeZone, Utc};
use serde_json::{Value, json};

use super::{BuiltIn, kinds, scale};
use crate::schema::{Include, Rules, table};

fn kind(plural: &str) -> &'static BuiltIn {
    kinds().find(|kind| kind.plural == plural).expect("served")
}

/// An object as the server would keep it.
fn kept(plural: &str, mut object: Value) -> Value {
    let rules = kind(plural);
    rules.decode(&mut object).expect("it decodes");
    rules.default(&mut object);
    rules.prepare(&mut object, None, "", &mut 0);
    object
}

fn complaints(plural: &str, object: Value) -> Vec<String> {
    let object = kept(plural, object);
    kind(plural).validate(&object).iter().map(ToString::to_string).collect()
}

fn replica_set() -> Value {
    json!({
        "apiVersion": "apps/v1",
        "kind": "ReplicaSet",
        "metadata": {"name": "x", "namespace": "default"},
        "spec": {
            "selector": {"matchLabels": {"app": "x"}},
            "template": {
                "metadata": {"labels": {"app": "x"}},
                "spec": {"containers": [{
                    "name": "main",
                    "image": "x:1",
                    "ports": [{"containerPort": 80}],
                    "readinessProbe": {"httpGet": {"port": 80}},
                    "resources": {"requests": {"cpu": "0.5", "memory": "1024Mi"}},
                    "env": [],
                }]},
            },
        },
    })
}

#[test]
fn every_kind_has_a_schema() {
    assert_eq!(kinds().count(), 24);
    for kind in kinds() {
        assert!(kind.node().child("metadata").is_some(), "{}", kind.plural);
        assert!(!kind.columns().is_empty());
    }
    assert_eq!(scale().kind, "Scale");
}

#[test]
fn a_replica_set_gets_the_servers_defaults() {
    let object = kept("replicasets", replica_set());
    assert_eq!(
        object,
        json!({
            "apiVersion": "apps/v1",
            "kind": "ReplicaSet",
            "metadata": {"name": "x", "namespace": "default"},
            "spec": {
                "replicas": 1,
                "selector": {"matchLabels": {"app": "x"}},
                "template": {
                    "metadata": {"labels": {"app": "x"}},
                    "spec": {
                        "containers": [{
                            "name": "main",
                            "image": "x:1",
                            "imagePullPolicy": "IfNotPresent",
                            "ports": [{"containerPort": 80, "protocol": "TCP"}],
                            "readinessProbe": {
                                "failureThreshold": 3,
                                "httpGet": {"path": "/", "port": 80, "scheme": "HTTP"},
                                "periodSeconds": 10,
                                "successThreshold": 1,
                                "timeoutSeconds": 1,
                            },
                            "resources": {"requests": {"cpu": "500m", "memory": "1Gi"}},
                            "terminationMessagePath": "/dev/termination-log",
                            "terminationMessagePolicy": "File",
                        }],
                        "dnsPolicy": "ClusterFirst",
                        "restartPolicy": "Always",
                        "schedulerName": "default-scheduler",
                        "securityContext": {},
                        "terminationGracePeriodSeconds": 30,
                    },
                },
            },
            "status": {"replicas": 0},
        })
    );
    assert_eq!(kind("replicasets").validate(&object), Vec::new());
}

#[test]
fn decoding_twice_changes_nothing() {
    for (plural, object) in [
        ("replicasets", replica_set()),
        (
            "events",
            json!({"metadata": {"name": "e", "namespace": "default"}, "involvedObject": {}}),
        ),
        (
            "endpointslices",
            json!({"addressType": "IPv4", "metadata": {"name": "s"}, "endpoints": [], "ports": []}),
        ),
        (
            "leases",
            json!({"metadata": {"name": "l"}, "spec": {"renewTime": "2026-01-01T00:00:00.000000Z"}}),
        ),
    ] {
        let once = kept(plural, object);
        let mut twice = once.clone();
        assert_eq!(
            kind(plural).decode(&mut twice).expect("it decodes"),
            Vec::<String>::new()
        );
        assert_eq!(once, twice);
    }
    assert_eq!(
        kept(
            "endpointslices",
            json!({"addressType": "IPv4", "metadata": {"name": "s"}, "endpoints": []})
        ),
        json!({"addressType": "IPv4", "metadata": {"name": "s"}, "endpoints": null, "ports": null})
    );
}

#[test]
fn a_pod_gets_what_the_server_and_its_plugins_add() {
    let pod = kept(
        "pods",
        json!({
            "metadata": {"name": "p", "namespace": "default", "uid": "00000000-0000-0000-0000-000000abcde"},
            "spec": {"containers": [{"name": "a", "image": "x", "resources": {"limits": {"cpu": "1", "memory": "1Gi"}}}]},
        }),
    );
    let spec = &pod["spec"];
    assert_eq!(spec["containers"][0]["imagePullPolicy"], "Always");
    assert_eq!(
        spec["containers"][0]["resources"]["requests"],
        json!({"cpu": "1", "memory": "1Gi"})
    );
    assert_eq!(spec["serviceAccountName"], "default");
    assert_eq!(spec["tolerations"].as_array().map(Vec::len), Some(2));
    assert_eq!(
        spec["volumes"][0]["name"],
        spec["containers"][0]["volumeMounts"][0]["name"]
    );
    assert_eq!(spec["enableServiceLinks"], true);
    assert_eq!(pod["status"], json!({"phase": "Pending", "qosClass": "Guaranteed"}));
    assert_eq!(kind("pods").validate(&pod), Vec::new());
}

#[test]
fn services_get_addresses_and_keep_them() {
    let mut addresses = 0;
    let rules = kind("services");
    let mut object = json!({
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "s", "namespace": "default", "resourceVersion": "1"},
        "spec": {"selector": {"app": "x"}, "ports": [{"port": 80}]},
    });
    rules.decode(&mut object).expect("it decodes");
    rules.default(&mut object);
    rules.prepare(&mut object, None, "", &mut addresses);
    assert_eq!(
        object["spec"],
        json!({
            "clusterIP": "10.96.0.11",
            "clusterIPs": ["10.96.0.11"],
            "internalTrafficPolicy": "Cluster",
            "ipFamilies": ["IPv4"],
            "ipFamilyPolicy": "SingleStack",
            "ports": [{"port": 80, "protocol": "TCP", "targetPort": 80}],
            "selector": {"app": "x"},
            "sessionAffinity": "None",
            "type": "ClusterIP",
        })
    );
    assert_eq!(object["status"], json!({"loadBalancer": {}}));
    let old = object.clone();
    let spec = object["spec"].as_object_mut().expect("an object");
    spec.remove("clusterIP");
    spec.remove("clusterIPs");
    rules.prepare(&mut object, Some(&old), "", &mut addresses);
    assert_eq!(object, old);
    object["spec"]["clusterIPs"] = json!(["10.96.0.99"]);
    object["spec"]["clusterIP"] = json!("10.96.0.99");
    assert_eq!(
        rules.validate_update(&object, &old, "")[0].to_string(),
        "spec.clusterIPs[0]: Invalid value: [\"10.96.0.99\"]: may not change once set"
    );
}

#[test]
fn a_job_is_given_its_selector() {
    let object = kept(
        "jobs",
        json!({
            "metadata": {"name": "j", "namespace": "default", "uid": "u"},
            "spec": {"template": {"spec": {"restartPolicy": "Never", "containers": [{"name": "a", "image": "x:1"}]}}},
        }),
    );
    assert_eq!(
        object["spec"]["selector"],
        json!({"matchLabels": {"batch.kubernetes.io/controller-uid": "u"}})
    );
    assert_eq!(object["spec"]["template"]["metadata"]["labels"]["job-name"], "j");
    assert_eq!(
        (
            &object["spec"]["backoffLimit"],
            &object["spec"]["completions"],
            &object["spec"]["suspend"]
        ),
        (&json!(6), &json!(1), &json!(false))
    );
    assert_eq!(kind("jobs").validate(&object), Vec::new());
}

#[test]
fn what_cannot_be_decoded_is_refused_in_the_decoders_words() {
    for (pointer, value, expected) in [
        (
            "/spec/replicas",
            json!("3"),
            "json: cannot unmarshal string into Go struct field ReplicaSetSpec.spec.replicas of type int32",
        ),
        (
            "/spec/template/spec/containers",
            json!({}),
            "json: cannot unmarshal object into Go struct field PodSpec.spec.template.spec.containers of type []v1.Container",
        ),
        (
            "/spec/template/spec/containers/0/image",
            json!(1),
            "json: cannot unmarshal number into Go struct field Container.spec.template.spec.containers.image of type string",
        ),
        (
            "/spec/template/spec/containers/0/resources/requests/cpu",
            json!("lots"),
            "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'",
        ),
        (
            "/spec/selector",
            json!([]),
            "json: cannot unmarshal array into Go struct field ReplicaSetSpec.spec.selector of type v1.LabelSelector",
        ),
    ] {
        let mut object = replica_set();
        object["spec"]["replicas"] = json!(1);
        *object.pointer_mut(pointer).expect("there") = value;
        let status = kind("replicasets").decode(&mut object).expect_err(pointer);
        assert_eq!(
            (status.code, status.message),
            (
                400,
                format!("ReplicaSet in version \"v1\" cannot be handled as a ReplicaSet: {expected}")
            )
        );
    }
    let mut object = replica_set();
    object["spec"]["colour"] = json!("green");
    object["spec"]["template"]["spec"]["containers"][0]["shape"] = json!(1);
    assert_eq!(
        kind("replicasets").decode(&mut object).expect("it decodes"),
        ["spec.colour", "spec.template.spec.containers[0].shape"]
    );
}

#[test]
fn the_commonest_mistakes_are_refused_in_the_servers_words() {
    let with = |pointer: &str, field: &str, value: Value| {
        let mut object = replica_set();
        object.pointer_mut(pointer).expect("there")[field] = value;
        object
    };
    let container = "/spec/template/spec/containers/0";
    for (object, expected) in [
        (
            with("/spec", "selector", json!({"matchLabels": {"app": "y"}})),
            "spec.template.metadata.labels: Invalid value: {\"app\":\"x\"}: `selector` does not match template `labels`",
        ),
        (
            with("/spec", "replicas", json!(-1)),
            "spec.replicas: Invalid value: -1: must be greater than or equal to 0",
        ),
        (
            with("/spec/template/spec", "containers", json!([])),
            "spec.template.spec.containers: Required value",
        ),
        (
            with("/spec/template/spec", "restartPolicy", json!("Never")),
            "spec.template.spec.restartPolicy: Unsupported value: \"Never\": supported values: \"Always\"",
        ),
        (
            with(container, "ports", json!([{"containerPort": 70000}])),
            "spec.template.spec.containers[0].ports[0].containerPort: Invalid value: 70000: must be between 1 and 65535, \
             inclusive",
        ),
        (
            with(
                container,
                "resources",
                json!({"requests": {"cpu": "2"}, "limits": {"cpu": "1"}}),
            ),
            "spec.template.spec.containers[0].resources.requests: Invalid value: \"2\": must be less than or equal to cpu \
             limit of 1",
        ),
        (
            with(container, "volumeMounts", json!([{"name": "v", "mountPath": "/v"}])),
            "spec.template.spec.containers[0].volumeMounts[0].name: Not found: \"v\"",
        ),
    ] {
        assert_eq!(complaints("replicasets", object), [expected]);
    }
    let old = kept("replicasets", with("/metadata", "resourceVersion", json!("1")));
    let mut new = old.clone();
    new["spec"]["selector"]["matchLabels"]["b"] = json!("c");
    new["spec"]["template"]["metadata"]["labels"]["b"] = json!("c");
    let texts: Vec<String> = kind("replicasets")
        .validate_update(&new, &old, "")
        .iter()
        .map(ToString::to_string)
        .collect();
    assert_eq!(
        texts,
        ["spec.selector: Invalid value: {\"matchLabels\":{\"app\":\"x\",\"b\":\"c\"}}: field is immutable"]
    );
    new["spec"] = old["spec"].clone();
    new["status"]["readyReplicas"] = json!(2);
    assert_eq!(
        kind("replicasets").validate_update(&new, &old, "status")[0].to_string(),
        "status.readyReplicas: Invalid value: 2: cannot be greater than status.replicas"
    );
}

#[test]
fn a_table_of_pods_says_how_they_are() {
    let now = Utc.with_ymd_and_hms(2026, 1, 1, 0, 1, 30).single().expect("a moment");
    let pod = json!({
        "metadata": {"name": "p", "creationTimestamp": "2026-01-01T00:00:00Z"},
        "spec": {"nodeName": "n", "containers": [{"name": "a"}, {"name": "b"}]},
        "status": {
            "phase": "Running",
            "podIPs": [{"ip": "10.244.0.5"}],
            "containerStatuses": [
                {"name": "a", "ready": true, "restartCount": 0, "state": {"running": {}}},
                {
                    "name": "b",
                    "ready": false,
                    "restartCount": 2,
                    "state": {"waiting": {"reason": "CrashLoopBackOff"}},
                    "lastState": {"terminated": {"exitCode": 1, "finishedAt": "2026-01-01T00:01:00Z"}},
                },
            ],
        },
    });
    let shown = table(kind("pods").columns(), [&pod], now, Include::Nothing, json!({}));
    assert_eq!(
        shown["rows"][0]["cells"],
        json!([
            "p",
            "1/2",
            "CrashLoopBackOff",
            "2 (30s ago)",
            "90s",
            "10.244.0.5",
            "n",
            "<none>",
            "<none>"
        ])
    );
}
