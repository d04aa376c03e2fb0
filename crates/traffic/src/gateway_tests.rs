use serde_json::json;

use super::*;

fn weights(canary: i32, stable: i32) -> Weights {
    Weights {
        canary_service: "demo-canary".into(),
        stable_service: "demo-stable".into(),
        canary,
        stable,
    }
}

/// A route as people have them: two rules with both Services, one that is not ours, filters, fields of later versions.
fn route() -> Value {
    json!({
        "apiVersion": "gateway.networking.k8s.io/v1",
        "kind": "HTTPRoute",
        "metadata": {"name": "demo", "namespace": "shop", "resourceVersion": "41", "labels": {"team": "a"}},
        "spec": {
            "parentRefs": [{"name": "gw"}],
            "rules": [
                {
                    "matches": [{"path": {"type": "PathPrefix", "value": "/"}}],
                    "filters": [{"type": "RequestHeaderModifier", "requestHeaderModifier": {"set": [{"name": "x", "value": "y"}]}}],
                    "backendRefs": [
                        {"name": "demo-stable", "port": 80, "filters": [{"type": "ExtensionRef"}]},
                        {"name": "demo-canary", "port": 80, "group": "", "kind": "Service", "weight": 0},
                        {"name": "demo-canary", "kind": "ServiceImport", "group": "multicluster.x-k8s.io", "weight": 7},
                    ],
                    "someday": {"kept": true},
                },
                {"backendRefs": [{"name": "other", "port": 80, "weight": 3}]},
                {"backendRefs": [{"name": "demo-canary", "weight": 20}, {"name": "demo-stable", "weight": 80}]},
            ],
        },
    })
}

/// Applies the three operations that an edit is made of, as the API server would.
fn apply(route: &Value, patch: &Value) -> Value {
    let mut out = route.clone();
    for operation in patch.as_array().unwrap() {
        let path = operation["path"].as_str().unwrap();
        match operation["op"].as_str().unwrap() {
            "test" => assert_eq!(out.pointer(path), Some(&operation["value"]), "test of {path}"),
            "add" => {
                let (parent, key) = path.rsplit_once('/').unwrap();
                out.pointer_mut(parent).unwrap()[key] = operation["value"].clone();
            }
            other => panic!("unexpected operation {other}"),
        }
    }
    out
}

#[test]
fn both_weights_are_read_in_every_rule_that_has_both_services() {
    let view = read(&route(), "demo-canary", "demo-stable").unwrap();
    assert_eq!(view.resource_version, "41");
    assert_eq!(view.weights, [(0, 1), (20, 80)]);
}

#[test]
fn an_edit_changes_our_weights_each_guarded_and_nothing_else() {
    let patch = edit(&route(), &weights(20, 80)).unwrap();
    assert_eq!(
        patch,
        json!([
            {"op": "test", "path": "/metadata/resourceVersion", "value": "41"},
            {"op": "test", "path": "/spec/rules/0/backendRefs/0/name", "value": "demo-stable"},
            {"op": "add", "path": "/spec/rules/0/backendRefs/0/weight", "value": 80},
            {"op": "test", "path": "/spec/rules/0/backendRefs/1/name", "value": "demo-canary"},
            {"op": "add", "path": "/spec/rules/0/backendRefs/1/weight", "value": 20},
        ])
    );
    let mut expected = route();
    expected["spec"]["rules"][0]["backendRefs"][0]["weight"] = json!(80);
    expected["spec"]["rules"][0]["backendRefs"][1]["weight"] = json!(20);
    assert_eq!(apply(&route(), &patch), expected);
}

#[test]
fn an_edit_of_equal_weights_is_empty() {
    let done = apply(&route(), &edit(&route(), &weights(20, 80)).unwrap());
    assert_eq!(edit(&done, &weights(20, 80)).unwrap(), json!([]));
}

#[test]
fn a_weight_that_is_left_out_counts_as_one() {
    let route = json!({"metadata": {"resourceVersion": "1"}, "spec": {"rules": [
        {"backendRefs": [{"name": "demo-stable"}, {"name": "demo-canary"}]}]}});
    assert_eq!(read(&route, "demo-canary", "demo-stable").unwrap().weights, [(1, 1)]);
    assert_eq!(edit(&route, &weights(1, 1)).unwrap(), json!([]));
}

#[test]
fn the_reduced_route_gives_the_same_patch() {
    let reduced = reduce(&route());
    assert_eq!(edit(&reduced, &weights(5, 95)), edit(&route(), &weights(5, 95)));
    assert!(reduced.pointer("/spec/rules/0/someday").is_none());
}

#[test]
fn a_route_without_the_services_is_an_error_that_names_route_services_and_the_way_out() {
    let message = |rules: Value| {
        let route = json!({"metadata": {"name": "demo", "namespace": "shop", "resourceVersion": "1"}, "spec": {"rules": rules}});
        read(&route, "demo-canary", "demo-stable").unwrap_err().to_string()
    };
    assert_eq!(
        message(json!([{"backendRefs": [{"name": "demo-stable"}]}])),
        "HTTPRoute shop/demo has no rule whose backendRefs name both demo-stable (stableService) and demo-canary \
         (canaryService): demo-canary is in none of them; add both to one rule"
    );
    assert!(message(json!([])).contains("neither is in any of them"));
    assert!(
        message(json!([{"backendRefs": [{"name": "demo-stable"}]}, {"backendRefs": [{"name": "demo-canary"}]}]))
            .ends_with("(canaryService); add both to one rule")
    );
}

#[test]
fn a_service_named_twice_in_a_rule_is_refused() {
    let route = json!({"metadata": {"name": "r", "namespace": "n", "resourceVersion": "1"}, "spec": {"rules": [
        {"backendRefs": [{"name": "demo-stable", "port": 80}, {"name": "demo-stable", "port": 81}, {"name": "demo-canary"}]}]}});
    assert_eq!(
        edit(&route, &weights(1, 99)).unwrap_err().to_string(),
        "HTTPRoute n/r: spec.rules[0].backendRefs names Service demo-stable more than once; leave one"
    );
}

fn routing(config: Value) -> TrafficRouting {
    serde_json::from_value(json!({"plugins": {"argoproj-labs/gatewayAPI": config}})).unwrap()
}

fn names(config: Value) -> Result<Vec<String>, String> {
    let found = routes(&routing(config), "own").map_err(|e| e.to_string())?;
    Ok(found.iter().map(|r| format!("{}/{}", r.namespace, r.name)).collect())
}

#[test]
fn one_route_or_several_each_once_in_the_rollouts_namespace_unless_said() {
    assert_eq!(names(json!({"httpRoute": "a"})).unwrap(), ["own/a"]);
    assert_eq!(names(json!({"httpRoute": "a", "namespace": ""})).unwrap(), ["own/a"]);
    assert_eq!(
        names(json!({"httpRoute": "a", "namespace": "x", "httpRoutes": [{"name": "b", "useHeaderRoutes": true}, {"name": "a"}]}))
            .unwrap(),
        ["x/a", "x/b"]
    );
    assert_eq!(routes(&TrafficRouting::default(), "own"), Ok(Vec::new()));
}

#[test]
fn a_doubtful_configuration_is_an_error_that_names_the_field() {
    assert!(names(json!({})).unwrap_err().contains("names no route; set httpRoute"));
    assert!(names(json!("demo")).unwrap_err().contains("\"demo\" is not an object"));
    assert!(
        names(json!({"httpRoute": 3}))
            .unwrap_err()
            .contains(".httpRoute: 3 is not a string")
    );
    assert!(
        names(json!({"httpRoutes": [{}]}))
            .unwrap_err()
            .contains(".httpRoutes[0]: {} is not {name: <name>}")
    );
    assert!(
        names(json!({"grpcRoute": "g"}))
            .unwrap_err()
            .contains(".grpcRoute: not supported yet")
    );
}
