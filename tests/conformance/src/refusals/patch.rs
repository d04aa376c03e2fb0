//! What is refused of merge, JSON and strategic merge patches.

use serde_json::{Value, json};

use super::Cases;
use crate::case::{Case, Step};
use crate::kinds::merge_patch;
use crate::seen::media;

pub(super) fn patch(mut cases: Cases) -> Vec<Case> {
    let kind = cases.kind;
    let item = kind.item("a");
    let ask = |how: &str, query: &str, body: Value| Step::new("PATCH", format!("{item}{query}")).with(media(how), body);
    let made = |step: Step| vec![kind.create("a"), step];
    let checked = |step: Step| vec![kind.create("a"), step, Step::new("GET", &item)];
    for (number, (pointer, value)) in kind.bad.iter().enumerate() {
        if let Some(body) = merge_patch(pointer, value) {
            cases.deep(
                &format!("merge bad value {number} at {pointer}"),
                made(ask("merge", "", body.clone())),
            );
            if !kind.custom {
                cases.deep(
                    &format!("strategic bad value {number} at {pointer}"),
                    made(ask("strategic", "", body)),
                );
            }
        }
        let operation = json!([{"op": "add", "path": pointer, "value": value}]);
        cases.deep(
            &format!("json bad value {number} at {pointer}"),
            made(ask("json", "", operation)),
        );
    }
    if let Some(body) = merge_patch(&kind.wrong_type.0, &kind.wrong_type.1) {
        cases.add("merge wrong type", made(ask("merge", "", body)));
    }
    if let Some(body) = kind
        .immutable
        .as_ref()
        .and_then(|(pointer, value)| merge_patch(pointer, value))
    {
        cases.add("merge what may not change", made(ask("merge", "", body)));
    }
    for how in ["merge", "json", "strategic"] {
        let body = if how == "json" {
            kind.json_patch("a", 0)
        } else {
            kind.changes[0].clone()
        };
        cases.add(&format!("{how} what is not there"), vec![ask(how, "", body.clone())]);
        cases.deep(how, checked(ask(how, "", body.clone())));
        cases.deep(
            &format!("{how} dry run"),
            checked(ask(how, "?dryRun=All", body.clone())),
        );
        cases.deep(&format!("{how} with force"), made(ask(how, "?force=true", body)));
        for (what, text) in [
            ("no JSON", "{\"a\""),
            ("an empty body", ""),
            ("a number", "5"),
            ("an empty object", "{}"),
            ("a list", "[]"),
            ("null", "null"),
        ] {
            cases.deep(
                &format!("{how} {what}"),
                made(Step::new("PATCH", &item).raw(media(how), text)),
            );
        }
    }
    let metadata = |body: Value| json!({"metadata": body});
    for (what, body) in [
        (
            "stale version",
            metadata(json!({"resourceVersion": "1", "annotations": {"x": "y"}})),
        ),
        (
            "its version",
            metadata(json!({"resourceVersion": "{rv}", "annotations": {"x": "y"}})),
        ),
        ("no number as version", metadata(json!({"resourceVersion": "new"}))),
        ("another name", metadata(json!({"name": "other"}))),
        ("another namespace", metadata(json!({"namespace": "other"}))),
        (
            "another uid",
            metadata(json!({"uid": "0a8d1d2c-1111-2222-3333-0123456789ab"})),
        ),
        ("labels removed", metadata(json!({"labels": null}))),
        ("generation", metadata(json!({"generation": 77}))),
        ("finalizer", metadata(json!({"finalizers": ["example.com/keep"]}))),
        (
            "deletionTimestamp",
            metadata(json!({"deletionTimestamp": "2001-02-03T04:05:06Z"})),
        ),
        ("another kind", json!({"kind": "Gizmo"})),
        ("another apiVersion", json!({"apiVersion": "example.com/v9"})),
        (
            "status",
            json!({"status": kind.status.clone().unwrap_or(json!({"x": 1}))}),
        ),
        ("unknown field", json!({"surplus": 1})),
    ] {
        cases.deep(&format!("merge {what}"), checked(ask("merge", "", body.clone())));
        if !kind.custom {
            cases.deep(&format!("strategic {what}"), checked(ask("strategic", "", body)));
        }
    }
    cases.deep(
        "merge unknown field Strict",
        made(ask("merge", "?fieldValidation=Strict", json!({"surplus": 1}))),
    );
    cases.deep(
        "json unknown field Strict",
        made(ask(
            "json",
            "?fieldValidation=Strict",
            json!([{"op": "add", "path": "/surplus", "value": 1}]),
        )),
    );
    for (what, body) in [
        (
            "failing test",
            json!([{"op": "test", "path": "/metadata/name", "value": "z"}, {"op": "add", "path": "/metadata/labels/x", "value": "y"}]),
        ),
        (
            "passing test",
            json!([{"op": "test", "path": "/metadata/resourceVersion", "value": "{rv}"}, {"op": "add", "path": "/metadata/labels/x", "value": "y"}]),
        ),
        (
            "test of a missing path",
            json!([{"op": "test", "path": "/nothing/here", "value": "z"}]),
        ),
        (
            "remove what is not there",
            json!([{"op": "remove", "path": "/metadata/labels/nothing"}]),
        ),
        (
            "replace what is not there",
            json!([{"op": "replace", "path": "/metadata/annotations/nothing", "value": "x"}]),
        ),
        (
            "replace",
            json!([{"op": "replace", "path": "/metadata/labels/app", "value": "x"}]),
        ),
        (
            "add below what is not there",
            json!([{"op": "add", "path": "/nothing/here/at/all", "value": 1}]),
        ),
        (
            "move",
            json!([{"op": "move", "from": "/metadata/labels/app", "path": "/metadata/labels/was"}]),
        ),
        (
            "copy",
            json!([{"op": "copy", "from": "/metadata/labels/app", "path": "/metadata/labels/too"}]),
        ),
        (
            "copy from nothing",
            json!([{"op": "copy", "from": "/metadata/labels/none", "path": "/metadata/labels/too"}]),
        ),
        (
            "unknown operation",
            json!([{"op": "paint", "path": "/metadata/labels/app", "value": "x"}]),
        ),
        ("operation without a path", json!([{"op": "add", "value": "x"}])),
        (
            "path without a slash",
            json!([{"op": "add", "path": "metadata", "value": "x"}]),
        ),
        (
            "add without a value",
            json!([{"op": "add", "path": "/metadata/labels/x"}]),
        ),
        (
            "escaped path",
            json!([{"op": "add", "path": "/metadata/labels/example.com~1x", "value": "y"}]),
        ),
        (
            "index out of range",
            json!([{"op": "add", "path": "/metadata/finalizers", "value": ["example.com/a"]}, {"op": "add", "path": "/metadata/finalizers/5", "value": "example.com/b"}]),
        ),
        (
            "add at the end",
            json!([{"op": "add", "path": "/metadata/finalizers", "value": ["example.com/a"]}, {"op": "add", "path": "/metadata/finalizers/-", "value": "example.com/b"}]),
        ),
        (
            "another name",
            json!([{"op": "replace", "path": "/metadata/name", "value": "other"}]),
        ),
        ("nothing", json!([])),
        ("no operations", json!({"op": "add"})),
    ] {
        cases.deep(&format!("json {what}"), checked(ask("json", "", body)));
    }
    if kind.custom {
        cases.add(
            "strategic of a custom resource",
            made(ask("strategic", "", kind.changes[0].clone())),
        );
    }
    for media in ["application/json", "text/plain", "application/strange"] {
        cases.deep(
            &format!("as {media}"),
            made(Step::new("PATCH", &item).with(media, json!({}))),
        );
    }
    cases.deep(
        "without a content type",
        vec![
            kind.create("a"),
            Step {
                body: Some(json!({})),
                ..Step::new("PATCH", &item)
            },
        ],
    );
    cases.deep(
        "of an unknown subresource",
        made(Step::new("PATCH", format!("{item}/nonsense")).with(media("merge"), json!({}))),
    );
    super::apply::apply(&mut cases);
    cases.found
}
