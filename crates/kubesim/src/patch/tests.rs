//! Vectors for patches.

use serde_json::{Value, json};

use super::{Manager, apply, json as json_patch, merge, strategic, track};
use crate::builtin;
use crate::schema::tests::{thing, with_spec};
use crate::schema::{Node, Rules};

#[test]
fn a_merge_patch_changes_adds_and_removes() {
    for (object, patch, expected) in [
        (json!({"a": "b"}), json!({"a": "c"}), json!({"a": "c"})),
        (json!({"a": "b"}), json!({"b": "c"}), json!({"a": "b", "b": "c"})),
        (json!({"a": "b", "b": "c"}), json!({"a": null}), json!({"b": "c"})),
        (json!({"a": ["b"]}), json!({"a": "c"}), json!({"a": "c"})),
        (
            json!({"a": {"b": "c"}}),
            json!({"a": {"b": "d", "c": null}}),
            json!({"a": {"b": "d"}}),
        ),
        (json!({"a": [{"b": "c"}]}), json!({"a": [1]}), json!({"a": [1]})),
        (json!({"e": null}), json!({"a": 1}), json!({"e": null, "a": 1})),
        (json!({}), json!({"a": {"bb": {"ccc": null}}}), json!({"a": {"bb": {}}})),
        // Beyond the letter of the standard: nulls inside of new lists' objects go.
        (
            json!({}),
            json!({"a": [{"b": null, "c": 1}, null]}),
            json!({"a": [{"c": 1}, null]}),
        ),
    ] {
        let mut patched = object.clone();
        merge(&mut patched, &patch).expect("it applies");
        assert_eq!(patched, expected, "{object} {patch}");
    }
    assert_eq!(merge(&mut json!({}), &Value::Null).expect_err("null").code, 400);
}

#[test]
fn a_json_patch_does_what_the_servers_library_does() {
    for (object, patch, expected) in [
        (
            json!({"a": 1}),
            json!([{"op": "add", "path": "/b", "value": 2}]),
            Some(json!({"a": 1, "b": 2})),
        ),
        (
            json!({"a": [1]}),
            json!([{"op": "add", "path": "/a/-", "value": 2}]),
            Some(json!({"a": [1, 2]})),
        ),
        (
            json!({"a": [1]}),
            json!([{"op": "add", "path": "/a/0", "value": 2}]),
            Some(json!({"a": [2, 1]})),
        ),
        (
            json!({"a": [1]}),
            json!([{"op": "add", "path": "/a/2", "value": 2}]),
            None,
        ),
        (
            json!({"a": [1]}),
            json!([{"op": "remove", "path": "/a/-1"}]),
            Some(json!({"a": []})),
        ),
        (json!({"a": 1}), json!([{"op": "remove", "path": "/b"}]), None),
        (
            json!({"a": 1}),
            json!([{"op": "replace", "path": "/b", "value": 2}]),
            Some(json!({"a": 1, "b": 2})),
        ),
        (
            json!({"a": [1]}),
            json!([{"op": "replace", "path": "/a/1", "value": 2}]),
            None,
        ),
        (
            json!({"a": 1}),
            json!([{"op": "add", "path": "/b/c", "value": 2}]),
            None,
        ),
        (
            json!({"a": {"b": 1}}),
            json!([{"op": "test", "path": "/a", "value": {"b": 1}}]),
            Some(json!({"a": {"b": 1}})),
        ),
        (json!({"a": 1}), json!([{"op": "test", "path": "/a", "value": 2}]), None),
        (
            json!({"a": 1}),
            json!([{"op": "test", "path": "/b", "value": null}]),
            Some(json!({"a": 1})),
        ),
        (json!({"a": 1}), json!([{"op": "test", "path": "/b", "value": 1}]), None),
        (
            json!({"m": {"a/b~c": 1}}),
            json!([{"op": "move", "from": "/m/a~1b~0c", "path": "/m/x"}]),
            Some(json!({"m": {"x": 1}})),
        ),
        (
            json!({"a": [1]}),
            json!([{"op": "copy", "from": "/a/0", "path": "/b"}]),
            Some(json!({"a": [1], "b": 1})),
        ),
        (json!({"a": 1}), json!([{"op": "jump", "path": "/a"}]), None),
        // All or nothing.
        (
            json!({"a": 1}),
            json!([{"op": "remove", "path": "/a"}, {"op": "remove", "path": "/a"}]),
            None,
        ),
    ] {
        let mut patched = object.clone();
        match (json_patch(&mut patched, &patch), expected) {
            (Ok(()), Some(expected)) => assert_eq!(patched, expected, "{object} {patch}"),
            (Err(status), None) => {
                assert_eq!(
                    (status.code, status.reason.as_str(), status.message.as_str()),
                    (
                        422,
                        "Invalid",
                        "the server rejected our request due to an error in our request"
                    )
                );
                assert_eq!(patched, object, "nothing is changed");
            }
            (outcome, expected) => panic!("{object} {patch}: {outcome:?} instead of {expected:?}"),
        }
    }
    assert_eq!(
        json_patch(&mut json!({}), &json!({"op": "add"}))
            .expect_err("no list")
            .code,
        400
    );
}

fn node(plural: &str) -> &'static Node {
    builtin::kinds()
        .find(|kind| kind.plural == plural)
        .expect("served")
        .node()
}

fn pod(containers: &Value) -> Value {
    json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"}, "spec": {"containers": containers}})
}

#[test]
fn a_strategic_patch_merges_lists_by_their_keys() {
    let containers = |list: &Value| json!({"spec": {"containers": list}});
    for (given, patch, expected) in [
        (
            json!([{"name": "a", "image": "x:1"}, {"name": "b", "image": "y:1"}]),
            containers(&json!([{"name": "b", "image": "y:2"}])),
            json!([{"name": "a", "image": "x:1"}, {"name": "b", "image": "y:2"}]),
        ),
        (
            json!([{"name": "a"}]),
            containers(&json!([{"name": "b"}])),
            json!([{"name": "b"}, {"name": "a"}]),
        ),
        (
            json!([{"name": "a"}, {"name": "b"}]),
            containers(&json!([{"name": "a", "$patch": "delete"}])),
            json!([{"name": "b"}]),
        ),
        (
            json!([{"name": "a"}, {"name": "b"}]),
            containers(&json!([{"$patch": "replace"}, {"name": "c"}])),
            json!([{"name": "c"}]),
        ),
        (
            json!([{"name": "a", "image": "x"}]),
            containers(&json!([{"name": "a", "image": null, "tty": true}])),
            json!([{"name": "a", "tty": true}]),
        ),
        (
            json!([{"name": "a"}, {"name": "b"}]),
            json!({"spec": {"$setElementOrder/containers": [{"name": "b"}, {"name": "a"}]}}),
            json!([{"name": "b"}, {"name": "a"}]),
        ),
        // The arguments have no key: they are replaced.
        (
            json!([{"name": "a", "args": ["1", "2"]}]),
            containers(&json!([{"name": "a", "args": ["3"]}])),
            json!([{"name": "a", "args": ["3"]}]),
        ),
    ] {
        let mut object = pod(&given);
        strategic(&mut object, &patch, node("pods")).expect("it applies");
        assert_eq!(object["spec"]["containers"], expected, "{patch}");
    }
}

#[test]
fn a_strategic_patch_follows_its_directives() {
    for (given, patch, expected) in [
        (
            json!({"metadata": {"finalizers": ["a", "b"]}}),
            json!({"metadata": {"finalizers": ["c"]}}),
            // What the patch names comes first where the server has no place for it.
            json!({"metadata": {"finalizers": ["c", "a", "b"]}}),
        ),
        (
            json!({"metadata": {"finalizers": ["a", "b"]}}),
            json!({"metadata": {"$deleteFromPrimitiveList/finalizers": ["a"]}}),
            json!({"metadata": {"finalizers": ["b"]}}),
        ),
        (
            json!({"spec": {"strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1}}}}),
            json!({"spec": {"strategy": {"$retainKeys": ["type"], "type": "Recreate"}}}),
            json!({"spec": {"strategy": {"type": "Recreate"}}}),
        ),
        (
            json!({"metadata": {"labels": {"a": "1", "b": "2"}}}),
            json!({"metadata": {"labels": {"$patch": "replace", "c": "3"}}}),
            json!({"metadata": {"labels": {"c": "3"}}}),
        ),
        (
            json!({"metadata": {"labels": {"a": "1"}}}),
            json!({"metadata": {"labels": {"a": null, "b": "2"}}}),
            json!({"metadata": {"labels": {"b": "2"}}}),
        ),
    ] {
        let mut object = given.clone();
        strategic(&mut object, &patch, node("deployments")).expect("it applies");
        assert_eq!(object, expected, "{patch}");
    }
    let mut object = pod(&json!([{"name": "a"}]));
    let status = strategic(
        &mut object,
        &json!({"spec": {"containers": [{"image": "x"}]}}),
        node("pods"),
    )
    .expect_err("no key");
    assert_eq!(status.code, 500);
    assert_eq!(object, pod(&json!([{"name": "a"}])), "nothing is changed");
    assert_eq!(
        strategic(&mut object, &json!([]), node("pods"))
            .expect_err("a list")
            .code,
        400
    );
}

fn manager(name: &str) -> Manager<'_> {
    Manager {
        name,
        api_version: "apps/v1",
        subresource: "",
        ignored: &["status"],
        now: "2026-01-01T00:00:00Z",
    }
}

fn set(replicas: Option<i64>, image: &str) -> Value {
    let mut object = json!({
        "apiVersion": "apps/v1",
        "kind": "ReplicaSet",
        "metadata": {"name": "x", "namespace": "default", "labels": {"app": "x"}},
        "spec": {
            "selector": {"matchLabels": {"app": "x"}},
            "template": {"spec": {"containers": [{"name": "main", "image": image}]}},
        },
    });
    if let Some(replicas) = replicas {
        object["spec"]["replicas"] = json!(replicas);
    }
    object
}

/// A live object as the server keeps it.
fn settled(mut object: Value) -> Value {
    let rules = builtin::kinds()
        .find(|kind| kind.plural == "replicasets")
        .expect("served");
    rules.decode(&mut object).expect("it decodes");
    rules.default(&mut object);
    rules.prepare(&mut object, None, "", &mut 0);
    object
}

#[test]
fn an_applied_configuration_is_owned_field_by_field() {
    let object = apply(None, &set(Some(3), "x:1"), node("replicasets"), &manager("me"), false).expect("it applies");
    assert_eq!(
        object["metadata"]["managedFields"],
        json!([{
            "manager": "me",
            "operation": "Apply",
            "apiVersion": "apps/v1",
            "time": "2026-01-01T00:00:00Z",
            "fieldsType": "FieldsV1",
            "fieldsV1": {
                "f:metadata": {"f:labels": {"f:app": {}}},
                "f:spec": {
                    "f:replicas": {},
                    "f:selector": {},
                    "f:template": {"f:spec": {"f:containers": {
                        "k:{\"name\":\"main\"}": {".": {}, "f:image": {}, "f:name": {}},
                    }}},
                },
            },
        }])
    );
    assert_eq!(object["spec"]["replicas"], 3);
}

#[test]
fn a_field_of_someone_else_is_a_conflict_unless_forced() {
    let node = node("replicasets");
    let mut live = settled(set(Some(3), "x:1"));
    track(None, &mut live, node, &manager("kubectl-create"));
    let status = apply(Some(&live), &set(Some(5), "x:1"), node, &manager("me"), false).expect_err("a conflict");
    assert_eq!((status.code, status.reason.as_str()), (409, "Conflict"));
    assert_eq!(
        status.message,
        "Apply failed with 1 conflict: conflict with \"kubectl-create\" using apps/v1: .spec.replicas"
    );
    assert_eq!(
        status.details["causes"],
        json!([{
            "reason": "FieldManagerConflict",
            "message": "conflict with \"kubectl-create\" using apps/v1",
            "field": ".spec.replicas",
        }])
    );
    let status = apply(Some(&live), &set(Some(5), "x:2"), node, &manager("me"), false).expect_err("two conflicts");
    assert_eq!(
        status.message,
        "Apply failed with 2 conflicts: conflicts with \"kubectl-create\" using apps/v1:\n- .spec.replicas\n- \
         .spec.template.spec.containers[name=\"main\"].image"
    );
    let forced = apply(Some(&live), &set(Some(5), "x:1"), node, &manager("me"), true).expect("forced");
    assert_eq!(forced["spec"]["replicas"], 5);
    let managers = forced["metadata"]["managedFields"].as_array().expect("a list");
    assert_eq!((managers.len(), &managers[0]["manager"]), (2, &json!("me")));
    assert!(managers[1]["fieldsV1"]["f:spec"].get("f:replicas").is_none());
    // The same values are shared, not fought about.
    let shared = apply(Some(&live), &set(Some(3), "x:1"), node, &manager("me"), false).expect("shared");
    assert_eq!(shared["spec"], live["spec"]);
}

#[test]
fn what_is_no_longer_applied_goes_unless_others_own_it() {
    let node = node("replicasets");
    let first = apply(None, &set(Some(3), "x:1"), node, &manager("me"), false).expect("it applies");
    let mut without = set(None, "x:1");
    without["metadata"]["labels"] = json!({"b": "c"});
    let second = apply(Some(&first), &without, node, &manager("me"), false).expect("it applies");
    assert_eq!(second["metadata"]["labels"], json!({"b": "c"}));
    assert!(second["spec"].get("replicas").is_none());
    let other = json!({
        "apiVersion": "apps/v1",
        "kind": "ReplicaSet",
        "metadata": {"name": "x", "namespace": "default"},
        "spec": {"replicas": 3},
    });
    let both = apply(Some(&first), &other, node, &manager("scaler"), false).expect("shared");
    let left = apply(Some(&both), &without, node, &manager("me"), false).expect("it applies");
    assert_eq!(left["spec"]["replicas"], 3, "the scaler owns it");
}

#[test]
fn a_container_of_another_manager_survives() {
    let node = node("replicasets");
    let first = apply(None, &set(Some(1), "x:1"), node, &manager("me"), false).expect("it applies");
    let sidecar = json!({
        "apiVersion": "apps/v1",
        "kind": "ReplicaSet",
        "metadata": {"name": "x", "namespace": "default"},
        "spec": {"template": {"spec": {"containers": [{"name": "side", "image": "s:1"}]}}},
    });
    let both = apply(Some(&first), &sidecar, node, &manager("injector"), false).expect("it applies");
    let names = |object: &Value| -> Vec<String> {
        let list = object["spec"]["template"]["spec"]["containers"]
            .as_array()
            .expect("a list");
        list.iter()
            .filter_map(|each| each["name"].as_str())
            .map(str::to_owned)
            .collect()
    };
    assert_eq!(names(&both), ["main", "side"]);
    let again = apply(Some(&both), &set(Some(1), "x:2"), node, &manager("me"), false).expect("it applies");
    assert_eq!(names(&again), ["main", "side"]);
    let mut nothing = sidecar.clone();
    nothing["spec"] = json!({"minReadySeconds": 1});
    let gone = apply(Some(&again), &nothing, node, &manager("injector"), false).expect("it applies");
    assert_eq!(names(&gone), ["main"]);
}

#[test]
fn writes_are_recorded_as_the_server_records_them() {
    let node = node("replicasets");
    let mut object = settled(set(Some(3), "x:1"));
    track(None, &mut object, node, &manager("kubectl-create"));
    let fields = &object["metadata"]["managedFields"][0]["fieldsV1"];
    assert_eq!(fields["f:metadata"], json!({"f:labels": {".": {}, "f:app": {}}}));
    assert_eq!(fields["f:spec"]["f:selector"], json!({}));
    assert_eq!(
        fields["f:spec"]["f:template"]["f:spec"]["f:containers"]["k:{\"name\":\"main\"}"]["f:imagePullPolicy"],
        json!({})
    );
    assert!(fields["f:spec"].get(".").is_none());
    let mut scaled = object.clone();
    scaled["spec"]["replicas"] = json!(4);
    track(Some(&object), &mut scaled, node, &manager("scaler"));
    let managers = scaled["metadata"]["managedFields"].as_array().expect("a list");
    assert_eq!(managers[1]["manager"], "scaler");
    assert_eq!(managers[1]["fieldsV1"], json!({"f:spec": {"f:replicas": {}}}));
    assert!(managers[0]["fieldsV1"]["f:spec"].get("f:replicas").is_none());
    let mut reset = scaled.clone();
    reset["metadata"]["managedFields"] = json!([{}]);
    track(Some(&scaled), &mut reset, node, &manager("scaler"));
    assert!(reset["metadata"].get("managedFields").is_none());
}

#[test]
fn an_unrecorded_object_belongs_to_those_before() {
    let live = settled(set(Some(3), "x:1"));
    let status = apply(
        Some(&live),
        &set(Some(4), "x:1"),
        node("replicasets"),
        &manager("me"),
        false,
    )
    .expect_err("a conflict");
    assert_eq!(
        status.message,
        "Apply failed with 1 conflict: conflict with \"before-first-apply\" using apps/v1: .spec.replicas"
    );
}

#[test]
fn a_configuration_that_does_not_fit_is_refused() {
    let node = node("replicasets");
    let mut wrong = set(Some(3), "x:1");
    wrong["spec"]["colour"] = json!("green");
    let status = apply(None, &wrong, node, &manager("me"), false).expect_err("unknown field");
    assert_eq!(
        (status.code, status.message.as_str()),
        (
            500,
            "failed to create typed patch object (default/x; apps/v1, Kind=ReplicaSet): .spec.colour: field not declared in \
             schema"
        )
    );
    let mut other = set(Some(3), "x:1");
    other["apiVersion"] = json!("apps/v2");
    assert_eq!(
        apply(None, &other, node, &manager("me"), false)
            .expect_err("version")
            .code,
        400
    );
}

#[test]
fn the_lists_of_custom_resources_are_owned_as_their_schema_says() {
    let rules = with_spec(&json!({
        "type": "object",
        "properties": {
            "atomic": {"type": "array", "items": {"type": "string"}},
            "set": {"type": "array", "x-kubernetes-list-type": "set", "items": {"type": "string"}},
            "raw": {"type": "object", "x-kubernetes-preserve-unknown-fields": true},
        },
    }));
    let by = |name: &'static str| Manager {
        api_version: "example.com/v1",
        ignored: &[],
        ..manager(name)
    };
    let first = apply(
        None,
        &thing(&json!({"atomic": ["a"], "set": ["a", "b"], "raw": {"x": {"y": 1}, "l": [1]}})),
        rules.node(),
        &by("one"),
        false,
    )
    .expect("it applies");
    assert_eq!(
        first["metadata"]["managedFields"][0]["fieldsV1"],
        json!({"f:spec": {
            "f:atomic": {},
            "f:raw": {"f:l": {}, "f:x": {".": {}, "f:y": {}}},
            "f:set": {"v:\"a\"": {}, "v:\"b\"": {}},
        }})
    );
    let second = apply(
        Some(&first),
        &thing(&json!({"set": ["c"]})),
        rules.node(),
        &by("two"),
        false,
    )
    .expect("it applies");
    assert_eq!(second["spec"]["set"], json!(["a", "b", "c"]));
    let status = apply(
        Some(&first),
        &thing(&json!({"atomic": ["z"]})),
        rules.node(),
        &by("two"),
        false,
    )
    .expect_err("conflict");
    assert_eq!(
        status.message,
        "Apply failed with 1 conflict: conflict with \"one\": .spec.atomic"
    );
}
