//! Vectors for patches.

use serde_json::{Value, json};

use super::{json as json_patch, merge};

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
