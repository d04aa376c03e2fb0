//! What is refused of whole new versions.

use serde_json::{Value, json};

use super::Cases;
use crate::case::{Case, Step};
use crate::kinds::set;

pub(super) fn update(mut cases: Cases) -> Vec<Case> {
    let kind = cases.kind;
    let item = kind.item("a");
    let put = |query: &str, body: Value| Step::new("PUT", format!("{item}{query}")).json(body);
    let version = |mut object: Value, version: &str| {
        object["metadata"]["resourceVersion"] = json!(version);
        object
    };
    let current = || version(kind.changed("a", 0), "{rv}");
    cases.add("what is not there", vec![put("", kind.make("a"))]);
    cases.add(
        "what is not there at a version",
        vec![put("", version(kind.make("a"), "5"))],
    );
    cases.add(
        "without a version",
        vec![kind.create("a"), put("", kind.changed("a", 0)), Step::new("GET", &item)],
    );
    cases.add(
        "at a stale version",
        vec![
            kind.create("a"),
            put("", current()),
            put("", current()),
            Step::new("GET", &item),
        ],
    );
    let of = |pointer: &str, value: &Value| {
        let mut object = version(kind.make("a"), "{rv}");
        set(&mut object, pointer, value);
        object
    };
    for (number, (pointer, value)) in kind.bad.iter().enumerate() {
        cases.deep(
            &format!("bad value {number} at {pointer}"),
            vec![kind.create("a"), put("", of(pointer, value))],
        );
    }
    cases.add(
        "wrong type",
        vec![kind.create("a"), put("", of(&kind.wrong_type.0, &kind.wrong_type.1))],
    );
    if let Some((pointer, value)) = &kind.immutable {
        cases.add(
            "what may not change",
            vec![kind.create("a"), put("", of(pointer, value))],
        );
    }
    for change in 1..kind.changes.len() {
        let body = version(kind.changed("a", change), "{rv}");
        cases.add(
            &format!("change {change}"),
            vec![kind.create("a"), put("", body), Step::new("GET", &item)],
        );
    }
    cases.add(
        "dry run",
        vec![kind.create("a"), put("?dryRun=All", current()), Step::new("GET", &item)],
    );
    cases.deep(
        "unknown field Strict",
        vec![
            kind.create("a"),
            put("?fieldValidation=Strict", of("/surplus", &json!(1))),
        ],
    );
    for (what, pointer, value) in [
        ("another name", "/metadata/name", json!("other")),
        ("another namespace", "/metadata/namespace", json!("other")),
        (
            "another uid",
            "/metadata/uid",
            json!("0a8d1d2c-1111-2222-3333-0123456789ab"),
        ),
        ("another kind", "/kind", json!("Gizmo")),
        ("another apiVersion", "/apiVersion", json!("example.com/v9")),
        ("no number as version", "/metadata/resourceVersion", json!("new")),
        ("version 0", "/metadata/resourceVersion", json!("0")),
        (
            "another creationTimestamp",
            "/metadata/creationTimestamp",
            json!("2001-02-03T04:05:06Z"),
        ),
        ("another generation", "/metadata/generation", json!(77)),
        (
            "a deletionTimestamp",
            "/metadata/deletionTimestamp",
            json!("2001-02-03T04:05:06Z"),
        ),
        ("a status", "/status", kind.status.clone().unwrap_or(json!({}))),
        ("a generateName", "/metadata/generateName", json!("made-")),
        ("a finalizer", "/metadata/finalizers", json!(["example.com/keep"])),
        ("labels gone", "/metadata/labels", json!({})),
        ("no name", "/metadata/name", json!("")),
    ] {
        cases.deep(
            what,
            vec![kind.create("a"), put("", of(pointer, &value)), Step::new("GET", &item)],
        );
    }
    cases.deep(
        "an empty body",
        vec![kind.create("a"), Step::new("PUT", &item).raw("application/json", "")],
    );
    cases.deep(
        "another content type",
        vec![kind.create("a"), Step::new("PUT", &item).raw("text/plain", "{}")],
    );
    cases.deep(
        "unknown subresource",
        vec![
            kind.create("a"),
            Step::new("PUT", format!("{item}/nonsense")).json(current()),
        ],
    );
    cases.found
}
