use serde_json::{Value, json};

use super::*;
use crate::observe::Observed;

fn rollout(name: &str, canary: Value) -> Value {
    json!({
        "apiVersion": "argoproj.io/v1alpha1", "kind": "Rollout",
        "metadata": {"name": name, "namespace": "n", "uid": format!("uid-{name}"), "resourceVersion": "1"},
        "spec": {"selector": {"matchLabels": {"app": name}}, "strategy": {"canary": canary}},
    })
}

fn put<T: Stored>(stores: &mut Stores, object: Value) -> Vec<String> {
    let affected = stores.observe(Lean::<T>::from_object(object).unwrap());
    affected.rollouts.iter().map(|k| k.name.clone()).collect()
}

fn replica_set(name: &str, owner: Option<&str>, app: &str) -> Value {
    let mut object = json!({
        "metadata": {"name": name, "namespace": "n", "uid": name, "resourceVersion": "2", "labels": {"app": app}},
        "spec": {"replicas": 1},
    });
    if let Some(uid) = owner {
        object["metadata"]["ownerReferences"] = json!([{"kind": "Rollout", "uid": uid, "controller": true}]);
    }
    object
}

fn listed(kinds: &[Kind]) -> Stores {
    let mut stores = Stores::default();
    for kind in kinds {
        stores.watches.insert(*kind, Watch::Listed);
    }
    stores
}

#[test]
fn a_change_concerns_exactly_the_rollouts_that_name_the_object() {
    let mut s = Stores::default();
    put::<RolloutEntry>(
        &mut s,
        rollout("a", json!({"canaryService": "a-canary", "stableService": "shared"})),
    );
    put::<RolloutEntry>(
        &mut s,
        rollout(
            "b",
            json!({"stableService": "shared", "trafficRouting": {
        "plugins": {"argoproj-labs/gatewayAPI": {"httpRoute": "r"}}}}),
        ),
    );
    let service =
        |name: &str| json!({"metadata": {"name": name, "namespace": "n", "uid": name, "resourceVersion": "1"}});
    assert_eq!(put::<ServiceView>(&mut s, service("a-canary")), ["a"]);
    assert_eq!(put::<ServiceView>(&mut s, service("shared")), ["a", "b"]);
    assert!(put::<ServiceView>(&mut s, service("other")).is_empty());
    assert_eq!(put::<RouteEntry>(&mut s, service("r")), ["b"]);
    assert_eq!(
        put::<PackedReplicaSet>(&mut s, replica_set("rs", Some("uid-a"), "zzz")),
        ["a"]
    );
    let slice = json!({"metadata": {"name": "x", "namespace": "n", "uid": "x", "resourceVersion": "1",
        "labels": {"kubernetes.io/service-name": "shared"}}, "endpoints": [{"targetRef": {"kind": "Pod", "name": "p"}}]});
    assert_eq!(put::<SliceView>(&mut s, slice), ["a", "b"]);
}

#[test]
fn a_rollout_that_names_another_service_is_no_longer_concerned_by_the_old_one() {
    let mut s = Stores::default();
    put::<RolloutEntry>(&mut s, rollout("a", json!({"canaryService": "old"})));
    let mut changed = rollout("a", json!({"canaryService": "new"}));
    changed["metadata"]["resourceVersion"] = json!("5");
    put::<RolloutEntry>(&mut s, changed);
    let service =
        |name: &str| json!({"metadata": {"name": name, "namespace": "n", "uid": name, "resourceVersion": "1"}});
    assert!(put::<ServiceView>(&mut s, service("old")).is_empty());
    assert_eq!(put::<ServiceView>(&mut s, service("new")), ["a"]);
}

#[test]
fn an_orphan_concerns_whoever_selects_it_and_is_in_their_world() {
    let mut s = listed(&[]);
    put::<RolloutEntry>(&mut s, rollout("a", json!({})));
    put::<RolloutEntry>(&mut s, rollout("b", json!({})));
    assert_eq!(put::<PackedReplicaSet>(&mut s, replica_set("lost", None, "a")), ["a"]);
    put::<PackedReplicaSet>(&mut s, replica_set("own", Some("uid-a"), "a"));
    put::<PackedReplicaSet>(&mut s, replica_set("foreign", Some("uid-b"), "a"));
    let Observed::World(world) = s.world(&Key::new("n", "a"), &Default::default(), &Default::default()) else {
        panic!("no world");
    };
    let names: Vec<_> = world.replica_sets.iter().map(|rs| rs.name.as_str()).collect();
    assert_eq!(names, ["own", "lost"]);
}

#[test]
fn templates_are_reached_through_others_and_wake_their_users() {
    let mut s = Stores::default();
    let step = json!({"steps": [{"analysis": {"templates": [{"templateName": "outer"}]}}]});
    put::<RolloutEntry>(&mut s, rollout("a", step));
    put::<RolloutEntry>(&mut s, rollout("b", json!({})));
    let template = |name: &str, inner: Value| {
        json!({
        "metadata": {"name": name, "namespace": "n", "uid": name, "resourceVersion": "1", "annotations": {"serin.dev/no-data": "hold", "x": "y"}},
        "spec": {"templates": inner}})
    };
    assert_eq!(
        put::<NamespacedTemplate>(
            &mut s,
            template("outer", json!([{"templateName": "all", "clusterScope": true}]))
        ),
        ["a"]
    );
    let mut cluster = template("all", json!([]));
    cluster["metadata"].as_object_mut().unwrap().remove("namespace");
    assert_eq!(put::<ClusterTemplate>(&mut s, cluster), ["a"]);
    assert!(put::<NamespacedTemplate>(&mut s, template("unused", json!([]))).is_empty());
    let Observed::World(world) = s.world(&Key::new("n", "a"), &Default::default(), &Default::default()) else {
        panic!("no world");
    };
    assert_eq!(world.templates.len(), 2);
    let outer = &world.templates[&AnalysisTemplateRef {
        template_name: "outer".into(),
        cluster_scope: false,
    }];
    assert_eq!(outer.annotations.keys().collect::<Vec<_>>(), ["serin.dev/no-data"]);
}

fn gateway(s: &mut Stores) -> Vec<String> {
    let canary = json!({"canaryService": "c", "stableService": "s", "trafficRouting": {
        "plugins": {"argoproj-labs/gatewayAPI": {"httpRoute": "r"}}}});
    put::<RolloutEntry>(s, rollout("a", canary));
    match s.world(&Key::new("n", "a"), &Default::default(), &Default::default()) {
        Observed::World(world) => world
            .routes
            .values()
            .map(|r| r.clone().err().unwrap_or_default())
            .collect(),
        Observed::NotReady(kind) => vec![format!("not ready: {}", kind.name())],
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_route_that_cannot_be_used_says_why_and_what_to_do() {
    assert_eq!(gateway(&mut listed(&[Kind::EndpointSlice])), ["not ready: HTTPRoute"]);
    let text = gateway(&mut listed(&[Kind::EndpointSlice, Kind::HttpRoute])).remove(0);
    assert!(
        text.starts_with("HTTPRoute n/r does not exist; create it with"),
        "{text}"
    );
    let mut s = listed(&[Kind::EndpointSlice]);
    s.watches.insert(Kind::HttpRoute, Watch::NotServed);
    let text = gateway(&mut s).remove(0);
    assert!(text.contains("install the Gateway API CRDs"), "{text}");
}

#[test]
fn without_the_right_to_read_endpoint_slices_there_are_no_endpoints() {
    let mut s = Stores::default();
    s.watches.insert(Kind::EndpointSlice, Watch::Forbidden("no".into()));
    put::<RolloutEntry>(&mut s, rollout("a", json!({"canaryService": "c"})));
    let Observed::World(world) = s.world(&Key::new("n", "a"), &Default::default(), &Default::default()) else {
        panic!("no world");
    };
    assert_eq!(world.endpoints, None);
}
