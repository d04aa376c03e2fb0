//! What is refused of new objects.

use serde_json::json;

use super::{Cases, post, with};
use crate::case::{Case, Step};
use crate::seen::TABLE;

pub(super) fn create(mut cases: Cases) -> Vec<Case> {
    let kind = cases.kind;
    let good = || kind.make("a");
    let again = Step {
        setup: false,
        ..kind.create("a")
    };
    cases.add("what exists", vec![kind.create("a"), again]);
    for (number, (pointer, value)) in kind.bad.iter().enumerate() {
        cases.add(
            &format!("bad value {number} at {pointer}"),
            vec![post(kind, "", with(kind, pointer, value))],
        );
    }
    let (pointer, value) = &kind.wrong_type;
    cases.add("wrong type", vec![post(kind, "", with(kind, pointer, value))]);
    cases.add(
        "dry run",
        vec![post(kind, "?dryRun=All", good()), Step::new("GET", kind.item("a"))],
    );
    let surplus = with(kind, "/surplus", &json!(1));
    for mode in ["Strict", "Warn", "Ignore"] {
        let step = post(kind, &format!("?fieldValidation={mode}"), surplus.clone());
        if mode == "Strict" {
            cases.add("unknown field Strict", vec![step]);
        } else {
            cases.deep(&format!("unknown field {mode}"), vec![step]);
        }
    }
    if kind.object.get("spec").is_some() {
        let inner = with(kind, "/spec/surplus", &json!({"x": 1}));
        cases.add(
            "unknown inner field Strict",
            vec![post(kind, "?fieldValidation=Strict", inner.clone())],
        );
        cases.deep("unknown inner field", vec![post(kind, "", inner)]);
    }
    if !kind.cluster {
        let nowhere = Step::new("POST", kind.collection_in("{ns}-missing"));
        let mut body = good();
        body["metadata"]["namespace"] = json!("{ns}-missing");
        cases.add("in a missing namespace", vec![nowhere.json(body)]);
        cases.deep(
            "for another namespace",
            vec![post(kind, "", with(kind, "/metadata/namespace", &json!("other")))],
        );
    }
    cases.deep(
        "of another kind",
        vec![post(kind, "", with(kind, "/kind", &json!("Gizmo")))],
    );
    cases.deep(
        "of another apiVersion",
        vec![post(kind, "", with(kind, "/apiVersion", &json!("example.com/v9")))],
    );
    cases.deep(
        "of another version of the group",
        vec![post(
            kind,
            "",
            with(kind, "/apiVersion", &json!(format!("{}x", kind.api_version()))),
        )],
    );
    let mut unnamed = good();
    if let Some(metadata) = unnamed["metadata"].as_object_mut() {
        metadata.remove("name");
    }
    cases.deep("without a name", vec![post(kind, "", unnamed.clone())]);
    unnamed["metadata"]["generateName"] = json!("made-");
    cases.deep(
        "with generateName",
        vec![post(kind, "", unnamed.clone()), post(kind, "?dryRun=All", unnamed)],
    );
    for (what, name) in [
        ("capitals", "Bad-Name"),
        ("underscore", "bad_name"),
        ("dot at the end", "bad."),
    ] {
        cases.deep(
            &format!("name with {what}"),
            vec![post(kind, "", with(kind, "/metadata/name", &json!(name)))],
        );
    }
    cases.deep(
        "name too long",
        vec![post(kind, "", with(kind, "/metadata/name", &json!("a".repeat(254))))],
    );
    for (what, pointer, value) in [
        ("bad label key", "/metadata/labels", json!({"a b": "c"})),
        ("label of a number", "/metadata/labels", json!({"a": 5})),
        ("bad annotation key", "/metadata/annotations", json!({"-": "c"})),
        ("resourceVersion", "/metadata/resourceVersion", json!("5")),
        ("uid", "/metadata/uid", json!("mine")),
        (
            "deletionTimestamp",
            "/metadata/deletionTimestamp",
            json!("2001-02-03T04:05:06Z"),
        ),
        (
            "creationTimestamp",
            "/metadata/creationTimestamp",
            json!("2001-02-03T04:05:06Z"),
        ),
        ("generation", "/metadata/generation", json!(77)),
        ("unknown metadata", "/metadata/surplus", json!(1)),
        (
            "bad finalizer",
            "/metadata/finalizers",
            json!(["unqualified", "bad one/x"]),
        ),
        ("finalizer", "/metadata/finalizers", json!(["example.com/keep"])),
        (
            "bad owner",
            "/metadata/ownerReferences",
            json!([{"apiVersion": "v1", "kind": "Pod", "name": "x"}]),
        ),
        (
            "owner",
            "/metadata/ownerReferences",
            json!([{"apiVersion": "v1", "kind": "Pod", "name": "x", "uid": "u-1", "controller": true}]),
        ),
        (
            "two controllers",
            "/metadata/ownerReferences",
            json!([{"apiVersion": "v1", "kind": "Pod", "name": "x", "uid": "u-1", "controller": true}, {"apiVersion": "v1", "kind": "Pod", "name": "y", "uid": "u-2", "controller": true}]),
        ),
        (
            "managedFields",
            "/metadata/managedFields",
            json!([{"manager": "m", "operation": "Odd"}]),
        ),
        ("no apiVersion", "/apiVersion", json!("")),
        ("no kind", "/kind", json!("")),
        ("status", "/status", kind.status.clone().unwrap_or(json!({}))),
    ] {
        cases.deep(
            &format!("with {what}"),
            vec![post(kind, "", with(kind, pointer, &value))],
        );
    }
    cases.deep(
        "unknown metadata Strict",
        vec![post(
            kind,
            "?fieldValidation=Strict",
            with(kind, "/metadata/surplus", &json!(1)),
        )],
    );
    let at = || Step::new("POST", kind.collection());
    for (what, kind_of_body, text) in [
        ("no JSON", "application/json", "{\"kind\""),
        ("an empty body", "application/json", ""),
        ("a list", "application/json", "[]"),
        ("a number", "application/json", "5"),
        ("an empty object", "application/json", "{}"),
        ("a content type of text", "text/plain", "{}"),
        ("a strange content type", "application/strange", "{}"),
        (
            "a duplicate field",
            "application/json",
            "{\"kind\":\"KIND\",\"apiVersion\":\"VERSION\",\"metadata\":{\"name\":\"a\",\"name\":\"b\"}}",
        ),
        (
            "YAML",
            "application/yaml",
            "kind: KIND\napiVersion: VERSION\nmetadata: {name: }\n",
        ),
    ] {
        let text = text.replace("KIND", &kind.kind).replace("VERSION", &kind.api_version());
        cases.deep(what, vec![at().raw(kind_of_body, &text)]);
    }
    for (what, query) in [
        ("bad dryRun", "?dryRun=Some"),
        ("bad fieldValidation", "?fieldValidation=Loud"),
        ("bad fieldManager", "?fieldManager=%07x"),
        ("unknown parameter", "?surplus=1"),
    ] {
        cases.deep(what, vec![post(kind, query, good())]);
    }
    cases.deep(
        "fieldManager too long",
        vec![post(kind, &format!("?fieldManager={}", "m".repeat(129)), good())],
    );
    cases.deep("on an object", vec![Step::new("POST", kind.item("a")).json(good())]);
    cases.deep("answered as a table", vec![post(kind, "", good()).accept(TABLE)]);
    if !kind.cluster {
        cases.deep(
            "without a namespace in the path",
            vec![Step::new("POST", kind.everywhere()).json(good())],
        );
    }
    cases.found
}
