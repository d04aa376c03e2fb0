//! What is refused of readers, and representations and selections that they may ask for.

use serde_json::json;

use super::Cases;
use crate::case::{Case, Step};
use crate::seen::{METADATA, METADATA_LIST, TABLE};

/// A continue token of version 5, which every server in these tests has forgotten.
const OLD_CONTINUE: &str = "eyJ2IjoibWV0YS5rOHMuaW8vdjEiLCJydiI6NSwic3RhcnQiOiJhXHUwMDAwIn0";

pub(super) fn get(mut cases: Cases) -> Vec<Case> {
    let kind = cases.kind;
    let item = kind.item("a");
    let get = |query: &str| Step::new("GET", format!("{item}{query}"));
    cases.add("what is not there", vec![get("")]);
    cases.add("as a table", vec![kind.create("a"), get("").accept(TABLE)]);
    cases.deep("metadata only", vec![kind.create("a"), get("").accept(METADATA)]);
    cases.deep(
        "table with the whole object",
        vec![kind.create("a"), get("?includeObject=Object").accept(TABLE)],
    );
    cases.deep(
        "table without the object",
        vec![kind.create("a"), get("?includeObject=None").accept(TABLE)],
    );
    cases.deep(
        "as something strange",
        vec![kind.create("a"), get("").accept("application/strange")],
    );
    cases.deep("as anything", vec![kind.create("a"), get("").accept("*/*")]);
    cases.deep("at version 0", vec![kind.create("a"), get("?resourceVersion=0")]);
    cases.deep("at its version", vec![kind.create("a"), get("?resourceVersion={rv}")]);
    cases.deep("at no version", vec![kind.create("a"), get("?resourceVersion=new")]);
    cases.deep("pretty", vec![kind.create("a"), get("?pretty=true")]);
    cases.deep("unknown subresource", vec![kind.create("a"), get("/nonsense")]);
    cases.deep("status", vec![kind.create("a"), get("/status")]);
    cases.deep("scale", vec![kind.create("a"), get("/scale")]);
    cases.deep("unknown subresource of what is not there", vec![get("/nonsense")]);
    if !kind.cluster {
        cases.deep(
            "in a missing namespace",
            vec![Step::new("GET", format!("{}/a", kind.collection_in("{ns}-missing")))],
        );
    }
    let wrong = |path: String| vec![Step::new("GET", path)];
    cases.deep(
        "unknown resource",
        wrong(format!("{}/namespaces/{{ns}}/gizmos/a", kind.root())),
    );
    cases.deep(
        "unknown version",
        wrong(format!("{}x/namespaces/{{ns}}/{}/a", kind.root(), kind.resource)),
    );
    cases.deep("with a body", vec![kind.create("a"), get("").json(json!({}))]);
    cases.found
}

pub(super) fn list(mut cases: Cases) -> Vec<Case> {
    let kind = cases.kind;
    let mine = if kind.cluster { "labelSelector=case%3D{ns}" } else { "" };
    let ask = |query: &str| {
        let joined = [mine, query]
            .into_iter()
            .filter(|part| !part.is_empty())
            .collect::<Vec<_>>()
            .join("&");
        Step::new("GET", format!("{}?{joined}", kind.collection()))
    };
    let both = |step: Step| vec![kind.create("a"), kind.create("b"), step];
    cases.add("nothing", vec![ask("")]);
    cases.add("as a table", both(ask("").accept(TABLE)));
    cases.deep("metadata only", both(ask("").accept(METADATA_LIST)));
    cases.deep(
        "table with whole objects",
        both(ask("includeObject=Object").accept(TABLE)),
    );
    cases.deep("table of nothing", vec![ask("").accept(TABLE)]);
    cases.deep("as something strange", vec![ask("").accept("application/strange")]);
    for (what, selector) in [
        ("equal", "app%3Da"),
        ("equal twice", "app%3D%3Da"),
        ("not equal", "app%21%3Da"),
        ("in", "app%20in%20%28a%2Cc%29"),
        ("notin", "app%20notin%20%28a%29"),
        ("exists", "app"),
        ("does not exist", "%21app"),
        ("nothing matches", "app%3Dz"),
        ("empty value", "app%3D"),
        ("bad operator", "app%20like%20a"),
        ("bad value", "app%3D-bad-"),
        ("open bracket", "app%20in%20%28a"),
        ("empty set", "app%20in%20%28%29"),
        ("bad key", "a%20b%3Dc"),
        ("comma at the end", "app%3Da%2C"),
        ("greater", "app%20%3E%205"),
        ("greater than a text", "app%20%3E%20x"),
    ] {
        let path = format!("{}?labelSelector={selector}", kind.collection());
        // Objects of the whole cluster would be in the answer too.
        if kind.deep && !kind.cluster {
            cases.add(&format!("labels {what}"), both(Step::new("GET", path)));
        }
    }
    for (what, selector) in [
        ("name", format!("metadata.name%3D{}", kind.named("a"))),
        ("not name", format!("metadata.name%21%3D{}", kind.named("a"))),
        (
            "name and namespace",
            format!("metadata.name%3D{}%2Cmetadata.namespace%3D{{ns}}", kind.named("a")),
        ),
        ("unknown field", "spec.nothing%3Da".into()),
        ("bad syntax", "metadata.name".into()),
        ("set", "metadata.name%20in%20%28a%29".into()),
    ] {
        let step = both(ask(&format!("fieldSelector={selector}")));
        if what == "unknown field" {
            cases.add(&format!("fields {what}"), step);
        } else {
            cases.deep(&format!("fields {what}"), step);
        }
    }
    for (what, query) in [
        ("limit 0", "limit=0"),
        ("limit 1", "limit=1"),
        ("limit 2", "limit=2"),
        ("limit below 0", "limit=-1"),
        ("limit of letters", "limit=x"),
        ("limit 1 and labels", "limit=1&labelSelector=app%3Da"),
        ("continue of letters", "limit=1&continue=nonsense"),
        ("continue with a version", "limit=1&continue=nonsense&resourceVersion=5"),
        ("version 0", "resourceVersion=0"),
        ("version 0 and limit", "resourceVersion=0&limit=1"),
        ("version 0 exact", "resourceVersion=0&resourceVersionMatch=Exact"),
        (
            "version 0 not older",
            "resourceVersion=0&resourceVersionMatch=NotOlderThan",
        ),
        ("no version", "resourceVersion=new"),
        ("negative version", "resourceVersion=-1"),
        ("match without a version", "resourceVersionMatch=Exact"),
        ("match of letters", "resourceVersion=5&resourceVersionMatch=Nearly"),
        ("old version exact", "resourceVersion=5&resourceVersionMatch=Exact"),
        (
            "initial events without a watch",
            "sendInitialEvents=true&resourceVersionMatch=NotOlderThan",
        ),
        ("timeoutSeconds of letters", "timeoutSeconds=x"),
        ("watch of letters", "watch=perhaps&timeoutSeconds=2"),
    ] {
        cases.deep(what, both(ask(query)));
    }
    cases.deep(
        "at a version exactly",
        vec![
            kind.create("a"),
            Step {
                save: [].into(),
                ..kind.create("b")
            },
            ask("resourceVersion={rv}&resourceVersionMatch=Exact"),
        ],
    );
    cases.deep(
        "not older than a version",
        both(ask("resourceVersion={rv}&resourceVersionMatch=NotOlderThan")),
    );
    cases.deep(
        "in pieces while it changes",
        vec![
            kind.create("a"),
            kind.create("b"),
            kind.create("c"),
            ask("limit=1").save("continue", "/metadata/continue"),
            Step::new("DELETE", kind.item("b")).setup(),
            ask("limit=1&continue={continue}").save("continue", "/metadata/continue"),
            ask("limit=1&continue={continue}"),
        ],
    );
    cases.deep(
        "an expired continue",
        both(ask(&format!("limit=1&continue={OLD_CONTINUE}"))),
    );
    if !kind.cluster {
        cases.deep(
            "in a missing namespace",
            vec![Step::new("GET", kind.collection_in("{ns}-missing"))],
        );
    }
    cases.deep(
        "unknown resource",
        vec![Step::new("GET", format!("{}/namespaces/{{ns}}/gizmos", kind.root()))],
    );
    cases.deep(
        "unknown group",
        vec![Step::new(
            "GET",
            format!("/apis/nobody.example/v1/namespaces/{{ns}}/{}", kind.resource),
        )],
    );
    for method in ["PUT", "PATCH"] {
        cases.deep(
            &format!("with {method}"),
            vec![Step::new(method, kind.collection()).json(json!({}))],
        );
    }
    cases.found
}
