//! Server-side apply: conflicts, fields that are no longer applied, and what is refused.

use serde_json::{Value, json};

use super::Cases;
use crate::case::Step;
use crate::kinds::set;
use crate::seen::media;

pub(super) fn apply(cases: &mut Cases) {
    let kind = cases.kind;
    let item = kind.item("a");
    let types = || {
        let object = kind.make("a");
        json!({"apiVersion": object["apiVersion"], "kind": object["kind"], "metadata": {"name": kind.named("a")}})
    };
    let labels = |value: Value| {
        let mut object = types();
        object["metadata"]["labels"] = value;
        object
    };
    let ask = |query: &str, body: Value| {
        Step::new("PATCH", format!("{item}?{query}"))
            .with(media("apply"), body)
            .managed_fields()
    };
    let one = "fieldManager=one";
    let two = "fieldManager=two";
    cases.deep(
        "apply a new one",
        vec![ask(one, kind.make("a")), ask(one, kind.make("a"))],
    );
    cases.deep(
        "apply fewer fields",
        vec![
            kind.create("a"),
            ask(one, labels(json!({"x": "1", "y": "2"}))),
            ask(one, labels(json!({"x": "1"}))),
        ],
    );
    cases.deep(
        "apply a conflict",
        vec![
            kind.create("a"),
            ask(one, labels(json!({"x": "1"}))),
            ask(two, labels(json!({"x": "2"}))),
            ask(&format!("{two}&force=true"), labels(json!({"x": "2"}))),
            ask(one, labels(json!({"x": "2"}))),
        ],
    );
    cases.deep(
        "apply two conflicts",
        vec![
            kind.create("a"),
            ask(one, labels(json!({"x": "1", "y": "1"}))),
            ask(two, labels(json!({"x": "2", "y": "2"}))),
        ],
    );
    cases.deep(
        "apply the same together",
        vec![
            kind.create("a"),
            ask(one, labels(json!({"x": "1"}))),
            ask(two, labels(json!({"x": "1"}))),
            ask(one, labels(json!({}))),
        ],
    );
    cases.deep(
        "apply against the creator",
        vec![
            Step {
                path: format!("{}?fieldManager=zero", kind.collection()),
                ..kind.create("a")
            },
            ask(one, kind.changed("a", 0)),
            ask(&format!("{one}&force=true"), kind.changed("a", 0)),
        ],
    );
    cases.deep(
        "apply without a manager",
        vec![kind.create("a"), ask("force=true", labels(json!({})))],
    );
    cases.deep(
        "apply another name",
        vec![
            kind.create("a"),
            ask(one, {
                let mut o = labels(json!({}));
                o["metadata"]["name"] = json!("other");
                o
            }),
        ],
    );
    cases.deep(
        "apply without types",
        vec![
            kind.create("a"),
            ask(one, json!({"metadata": {"name": kind.named("a")}})),
        ],
    );
    cases.deep(
        "apply another kind",
        vec![
            kind.create("a"),
            ask(one, {
                let mut o = labels(json!({}));
                o["kind"] = json!("Gizmo");
                o
            }),
        ],
    );
    cases.deep(
        "apply managedFields",
        vec![
            kind.create("a"),
            ask(one, {
                let mut o = labels(json!({}));
                o["metadata"]["managedFields"] = json!([{"manager": "x"}]);
                o
            }),
        ],
    );
    cases.deep(
        "apply dry run",
        vec![
            ask(&format!("{one}&dryRun=All"), kind.make("a")),
            Step::new("GET", &item),
        ],
    );
    cases.deep(
        "apply an unknown field",
        vec![ask(one, {
            let mut o = kind.make("a");
            o["surplus"] = json!(1);
            o
        })],
    );
    cases.deep(
        "apply a stale version",
        vec![
            kind.create("a"),
            ask(one, {
                let mut o = labels(json!({"x": "1"}));
                o["metadata"]["resourceVersion"] = json!("1");
                o
            }),
        ],
    );
    cases.deep(
        "apply YAML",
        vec![
            Step::new("PATCH", format!("{item}?{one}"))
                .raw(
                    media("apply"),
                    &format!(
                        "apiVersion: {}\nkind: {}\nmetadata:\n  name: {}\n  labels: {{x: '1'}}\n",
                        kind.api_version(),
                        kind.kind,
                        kind.named("a")
                    ),
                )
                .managed_fields(),
        ],
    );
    cases.deep(
        "apply broken YAML",
        vec![Step::new("PATCH", format!("{item}?{one}")).raw(media("apply"), "a: [")],
    );
    for (number, (pointer, value)) in kind.bad.iter().enumerate() {
        let mut object = kind.make("a");
        set(&mut object, pointer, value);
        cases.deep(
            &format!("apply bad value {number} at {pointer}"),
            vec![ask(one, object)],
        );
    }
    cases.deep(
        "apply after an update",
        vec![
            kind.create("a"),
            ask(one, labels(json!({"x": "1"}))),
            Step::new("PATCH", format!("{item}?fieldManager=three"))
                .with(media("merge"), json!({"metadata": {"labels": {"x": "9"}}}))
                .managed_fields(),
            ask(one, labels(json!({"x": "1"}))),
        ],
    );
}
