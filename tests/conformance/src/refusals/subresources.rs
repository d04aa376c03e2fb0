//! Status and scale.

use serde_json::{Value, json};

use super::Cases;
use crate::case::{Case, Step};
use crate::seen::{TABLE, media};

pub(super) fn status(mut cases: Cases) -> Vec<Case> {
    let kind = cases.kind;
    let item = kind.item("a");
    let path = format!("{item}/status");
    let new = kind.status.clone().unwrap_or_default();
    let mut object = kind.changed("a", 0);
    object["status"] = new.clone();
    let at = |version: &str| {
        let mut object = object.clone();
        object["metadata"]["resourceVersion"] = json!(version);
        object["metadata"]["labels"] = json!({"from": "status"});
        object["metadata"]["finalizers"] = json!(["example.com/keep"]);
        object
    };
    let put = |body: Value| Step::new("PUT", &path).json(body);
    let patch = |how: &str, body: Value| Step::new("PATCH", &path).with(media(how), body);
    cases.add(
        "update",
        vec![kind.create("a"), put(at("{rv}")), Step::new("GET", &item)],
    );
    cases.add("update of what is not there", vec![put(at("5"))]);
    cases.deep("update without a version", vec![kind.create("a"), put(object.clone())]);
    cases.add(
        "update at a stale version",
        vec![
            kind.create("a"),
            patch("merge", json!({"status": new})).setup(),
            put(at("{rv}")),
        ],
    );
    cases.add(
        "patch",
        vec![
            kind.create("a"),
            patch(
                "merge",
                json!({"status": new, "metadata": {"labels": {"from": "status"}}}),
            ),
            Step::new("GET", &item),
        ],
    );
    cases.add(
        "patch of what is not there",
        vec![patch("merge", json!({"status": new}))],
    );
    cases.add(
        "patch at a stale version",
        vec![
            kind.create("a"),
            patch("merge", json!({"metadata": {"resourceVersion": "1"}, "status": new})),
        ],
    );
    cases.deep(
        "patch at its version",
        vec![
            kind.create("a"),
            patch("merge", json!({"metadata": {"resourceVersion": "{rv}"}, "status": new})),
            patch("merge", json!({"metadata": {"resourceVersion": "{rv}"}, "status": {}})),
        ],
    );
    cases.deep(
        "patch removes it",
        vec![
            kind.create("a"),
            patch("merge", json!({"status": new})).setup(),
            patch("merge", json!({"status": null})),
        ],
    );
    cases.deep(
        "patch dry run",
        vec![
            kind.create("a"),
            Step::new("PATCH", format!("{path}?dryRun=All")).with(media("merge"), json!({"status": new})),
            Step::new("GET", &item),
        ],
    );
    cases.deep(
        "patch wrong type",
        vec![kind.create("a"), patch("merge", json!({"status": "text"}))],
    );
    cases.deep(
        "patch by json",
        vec![
            kind.create("a"),
            patch("json", json!([{"op": "add", "path": "/status", "value": new}])),
        ],
    );
    cases.deep(
        "patch fails a test",
        vec![
            kind.create("a"),
            patch("json", json!([{"op": "test", "path": "/metadata/name", "value": "z"}])),
        ],
    );
    cases.deep(
        "patch in vain",
        vec![
            kind.create("a"),
            patch("merge", json!({"spec": {"replicas": 9}})),
            Step::new("GET", &item),
        ],
    );
    cases.deep(
        "patch an unknown field",
        vec![kind.create("a"), patch("merge", json!({"status": {"surplus": 1}}))],
    );
    cases.deep(
        "patch an unknown field Strict",
        vec![
            kind.create("a"),
            Step::new("PATCH", format!("{path}?fieldValidation=Strict"))
                .with(media("merge"), json!({"status": {"surplus": 1}})),
        ],
    );
    cases.deep(
        "post",
        vec![kind.create("a"), Step::new("POST", &path).json(at("{rv}"))],
    );
    cases.found
}

pub(super) fn scale(mut cases: Cases) -> Vec<Case> {
    let kind = cases.kind;
    let item = kind.item("a");
    let path = format!("{item}/scale");
    let scale = |replicas: Value, version: &str| json!({"apiVersion": "autoscaling/v1", "kind": "Scale", "metadata": {"name": "a", "namespace": "{ns}", "resourceVersion": version}, "spec": {"replicas": replicas}});
    let put = |body: Value| Step::new("PUT", &path).json(body);
    let patch = |how: &str, body: Value| Step::new("PATCH", &path).with(media(how), body);
    let made = |step: Step| vec![kind.create("a"), step, Step::new("GET", &path), Step::new("GET", &item)];
    cases.add("get", vec![kind.create("a"), Step::new("GET", &path)]);
    cases.add("get of what is not there", vec![Step::new("GET", &path)]);
    cases.add("update", made(put(scale(json!(4), "{rv}"))));
    cases.add("update without a version", made(put(scale(json!(4), ""))));
    cases.add("update at a stale version", made(put(scale(json!(4), "1"))));
    cases.add("update below zero", made(put(scale(json!(-1), "{rv}"))));
    cases.add("update wrong type", made(put(scale(json!("many"), "{rv}"))));
    cases.add("update of another kind", made(put(kind.make("a"))));
    cases.add("update of what is not there", vec![put(scale(json!(4), "5"))]);
    cases.add(
        "update dry run",
        made(Step::new("PUT", format!("{path}?dryRun=All")).json(scale(json!(4), "{rv}"))),
    );
    cases.add("patch", made(patch("merge", json!({"spec": {"replicas": 4}}))));
    cases.add(
        "patch by json",
        made(patch(
            "json",
            json!([{"op": "replace", "path": "/spec/replicas", "value": 4}]),
        )),
    );
    cases.add(
        "patch below zero",
        made(patch("merge", json!({"spec": {"replicas": -1}}))),
    );
    cases.add(
        "patch at a stale version",
        made(patch(
            "merge",
            json!({"metadata": {"resourceVersion": "1"}, "spec": {"replicas": 4}}),
        )),
    );
    cases.add(
        "patch of what is not there",
        vec![patch("merge", json!({"spec": {"replicas": 4}}))],
    );
    cases.add("patch in vain", made(patch("merge", json!({"spec": {"replicas": 1}}))));
    cases.add("delete", made(Step::new("DELETE", &path)));
    cases.add(
        "as a table",
        vec![kind.create("a"), Step::new("GET", &path).accept(TABLE)],
    );
    cases.found
}
