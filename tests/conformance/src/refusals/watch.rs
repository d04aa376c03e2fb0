//! Watches: where they begin, what they see, what they may not ask.

use serde_json::json;

use super::Cases;
use crate::case::{Case, Step};
use crate::seen::{METADATA, TABLE, media};

pub(super) fn watch(mut cases: Cases) -> Vec<Case> {
    let kind = cases.kind;
    let ask = |query: &str| {
        let mine = if kind.cluster { "&labelSelector=case%3D{ns}" } else { "" };
        Step::new(
            "GET",
            format!("{}?watch=true&timeoutSeconds=2{mine}{query}", kind.collection()),
        )
    };
    let label = |name: &str, value: &str| {
        Step::new("PATCH", kind.item(name))
            .with(media("merge"), json!({"metadata": {"labels": {"app": value}}}))
            .setup()
    };
    let story = |step: Step| {
        vec![
            kind.create("a"),
            Step {
                save: [].into(),
                ..kind.create("b")
            },
            label("b", "a"),
            label("a", "z"),
            label("a", "zz"),
            Step::new("DELETE", kind.item("b")).setup(),
            step,
        ]
    };
    cases.add("from a version", story(ask("&resourceVersion={rv}")));
    cases.add("a version too old", story(ask("&resourceVersion=1")));
    if !kind.cluster {
        cases.deep(
            "of labels that come and go",
            story(ask("&resourceVersion={rv}&labelSelector=app%3Da")),
        );
    }
    cases.deep(
        "of one name",
        story(ask(&format!(
            "&resourceVersion={{rv}}&fieldSelector=metadata.name%3D{}",
            kind.named("b")
        ))),
    );
    cases.deep("from now", story(ask("")));
    cases.deep("from version 0", story(ask("&resourceVersion=0")));
    cases.deep("from no version", vec![ask("&resourceVersion=new")]);
    cases.deep(
        "initial events",
        story(ask(
            "&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true",
        )),
    );
    cases.deep(
        "initial events from a version",
        story(ask(
            "&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true&resourceVersion={rv}",
        )),
    );
    cases.deep(
        "initial events of nothing",
        vec![ask(
            "&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true",
        )],
    );
    cases.deep(
        "initial events without bookmarks",
        story(ask("&sendInitialEvents=true&resourceVersionMatch=NotOlderThan")),
    );
    cases.deep("initial events without a match", story(ask("&sendInitialEvents=true")));
    cases.deep(
        "no initial events",
        story(ask(
            "&sendInitialEvents=false&resourceVersionMatch=NotOlderThan&resourceVersion={rv}",
        )),
    );
    cases.deep(
        "match without initial events",
        vec![ask("&resourceVersionMatch=NotOlderThan")],
    );
    cases.deep("with a limit", story(ask("&limit=1&resourceVersion={rv}")));
    cases.deep("with a continue", vec![ask("&continue=x")]);
    cases.deep("bad labels", vec![ask("&labelSelector=a%20b")]);
    cases.deep("bad fields", vec![ask("&fieldSelector=spec.nothing%3Da")]);
    cases.deep("as tables", story(ask("&resourceVersion={rv}").accept(TABLE)));
    cases.deep("as metadata", story(ask("&resourceVersion={rv}").accept(METADATA)));
    cases.deep(
        "of an object",
        vec![
            kind.create("a"),
            Step::new("GET", format!("{}?watch=true&timeoutSeconds=2", kind.item("a"))),
        ],
    );
    cases.found
}
