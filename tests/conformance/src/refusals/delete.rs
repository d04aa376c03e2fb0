//! Preconditions, policies, finalizers.

use serde_json::{Value, json};

use super::{Cases, post};
use crate::case::{Case, Step};
use crate::seen::media;

pub(super) fn delete(mut cases: Cases) -> Vec<Case> {
    let kind = cases.kind;
    let item = kind.item("a");
    let delete = |query: &str| Step::new("DELETE", format!("{item}{query}"));
    let with = |body: Value| delete("").json(body);
    let checked = |step: Step| vec![kind.create("a"), step, Step::new("GET", &item)];
    cases.add("what is not there", vec![delete("")]);
    cases.add("twice", vec![kind.create("a"), delete(""), delete("")]);
    cases.add(
        "with another uid",
        checked(with(
            json!({"preconditions": {"uid": "0a8d1d2c-1111-2222-3333-0123456789ab"}}),
        )),
    );
    cases.add("dry run", checked(delete("?dryRun=All")));
    for (what, options) in [
        ("its uid", json!({"preconditions": {"uid": "{uid}"}})),
        ("its version", json!({"preconditions": {"resourceVersion": "{rv}"}})),
        ("another version", json!({"preconditions": {"resourceVersion": "1"}})),
        ("background", json!({"propagationPolicy": "Background"})),
        ("foreground", json!({"propagationPolicy": "Foreground"})),
        ("orphan", json!({"propagationPolicy": "Orphan"})),
        ("a strange policy", json!({"propagationPolicy": "Sideways"})),
        (
            "two policies",
            json!({"propagationPolicy": "Orphan", "orphanDependents": true}),
        ),
        ("orphanDependents", json!({"orphanDependents": true})),
        ("no grace", json!({"gracePeriodSeconds": 0})),
        ("grace", json!({"gracePeriodSeconds": 7})),
        ("negative grace", json!({"gracePeriodSeconds": -7})),
        ("dry run in the body", json!({"dryRun": ["All"]})),
        ("bad dry run in the body", json!({"dryRun": ["Some"]})),
        ("another kind of options", json!({"kind": "Gizmo", "apiVersion": "v1"})),
        (
            "meta options",
            json!({"kind": "DeleteOptions", "apiVersion": "meta.k8s.io/v1"}),
        ),
        ("an unknown option", json!({"surplus": 1})),
        ("options of a wrong type", json!({"gracePeriodSeconds": "soon"})),
    ] {
        cases.deep(&format!("with {what}"), checked(with(options)));
    }
    cases.deep(
        "with a policy in the query",
        checked(delete("?propagationPolicy=Foreground")),
    );
    cases.deep("with grace in the query", checked(delete("?gracePeriodSeconds=0")));
    cases.deep("with letters as grace", checked(delete("?gracePeriodSeconds=x")));
    cases.deep("with no JSON", checked(delete("").raw("application/json", "{")));
    cases.deep("with another content type", checked(delete("").raw("text/plain", "{}")));
    cases.deep(
        "of an unknown subresource",
        checked(Step::new("DELETE", format!("{item}/nonsense"))),
    );
    cases.deep("of its status", checked(Step::new("DELETE", format!("{item}/status"))));
    let mut kept = kind.make("a");
    kept["metadata"]["finalizers"] = json!(["example.com/keep"]);
    let create = post(kind, "", kept).save("rv", "/metadata/resourceVersion").setup();
    let finalizers =
        |value: Value| Step::new("PATCH", &item).with(media("merge"), json!({"metadata": {"finalizers": value}}));
    cases.add(
        "with a finalizer",
        vec![
            create.clone(),
            delete(""),
            delete(""),
            finalizers(json!(["example.com/keep", "example.com/another"])),
            Step::new("PATCH", &item).with(media("merge"), json!({"metadata": {"annotations": {"still": "here"}}})),
            finalizers(json!(null)),
            Step::new("GET", &item),
        ],
    );
    cases.deep(
        "with a finalizer then foreground",
        vec![
            create.clone(),
            delete(""),
            with(json!({"propagationPolicy": "Foreground"})),
            with(json!({"propagationPolicy": "Orphan"})),
            Step::new("GET", &item),
        ],
    );
    cases.deep(
        "with a finalizer dry run",
        vec![create.clone(), delete("?dryRun=All"), Step::new("GET", &item)],
    );
    cases.deep(
        "and create again while it goes",
        vec![
            create,
            delete(""),
            Step {
                setup: false,
                ..kind.create("a")
            },
        ],
    );
    cases.found
}

pub(super) fn deletecollection(mut cases: Cases) -> Vec<Case> {
    let kind = cases.kind;
    let path = kind.collection();
    let mine = "labelSelector=case%3D{ns}";
    let left = || Step::new("GET", format!("{path}?{mine}"));
    let story = |step: Step| vec![kind.create("a"), kind.create("b"), step, left()];
    let ask = |query: &str| Step::new("DELETE", format!("{path}?{query}"));
    cases.add("by label", story(ask(&format!("{mine}%2Capp%3Da"))));
    cases.add("of nothing", vec![ask(mine)]);
    cases.deep("dry run", story(ask(&format!("{mine}&dryRun=All"))));
    cases.deep(
        "by name",
        story(ask(&format!(
            "{mine}&fieldSelector=metadata.name%3D{}",
            kind.named("a")
        ))),
    );
    cases.deep("by a bad label", story(ask("labelSelector=a%20b")));
    cases.deep("with a limit", story(ask(&format!("{mine}&limit=1"))));
    cases.deep(
        "with a policy",
        story(ask(mine).json(json!({"propagationPolicy": "Foreground"}))),
    );
    cases.deep(
        "with a bad policy",
        story(ask(mine).json(json!({"propagationPolicy": "Sideways"}))),
    );
    cases.deep(
        "with another uid",
        story(ask(mine).json(json!({"preconditions": {"uid": "0a8d1d2c-1111-2222-3333-0123456789ab"}}))),
    );
    if !kind.cluster {
        cases.deep(
            "everywhere",
            story(Step::new("DELETE", format!("{}?{mine}", kind.everywhere()))),
        );
        cases.deep(
            "in a missing namespace",
            vec![Step::new("DELETE", kind.collection_in("{ns}-missing"))],
        );
    }
    cases.found
}
