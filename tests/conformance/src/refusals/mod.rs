//! What is refused, and what is nearly refused: made for every kind and verb that was seen, so that error answers are compared as
//! closely as good ones.

mod apply;
mod create;
mod delete;
mod patch;
mod read;
mod subresources;
mod update;
mod watch;

use serde_json::Value;

use crate::case::{Case, Step};
use crate::kinds::{Kind, set};

/// Collects a kind's cases.
struct Cases {
    kind: &'static Kind,
    verb: &'static str,
    found: Vec<Case>,
}

impl Cases {
    /// Adds a case that begins with the kind's own needs.
    fn add(&mut self, what: &str, steps: Vec<Step>) {
        self.found.push(Case {
            name: format!("{}/{} {what}", self.kind.label(), self.verb),
            steps: self.kind.needs().into_iter().chain(steps).collect(),
        });
    }

    /// One that only makes sense for kinds that are asked everything.
    fn deep(&mut self, what: &str, steps: Vec<Step>) {
        if self.kind.deep {
            self.add(what, steps);
        }
    }
}

/// Everything around a verb on a kind.
pub fn cases(kind: &'static Kind, verb: &str, subresource: &str) -> Vec<Case> {
    let of = |verb| Cases {
        kind,
        verb,
        found: Vec::new(),
    };
    match (verb, subresource) {
        ("create", "") => create::create(of("create")),
        ("get", "") => read::get(of("get")),
        ("list", "") => read::list(of("list")),
        ("watch", "") if kind.resource != "customresourcedefinitions" => watch::watch(of("watch")),
        ("update", "") => update::update(of("update")),
        ("patch", "") => patch::patch(of("patch")),
        ("delete", "") => delete::delete(of("delete")),
        ("deletecollection", "") => delete::deletecollection(of("deletecollection")),
        ("patch" | "update", "status") if kind.status.is_some() => subresources::status(of("status")),
        (_, "scale") if kind.scale => subresources::scale(of("scale")),
        _ => Vec::new(),
    }
}

fn post(kind: &Kind, query: &str, body: Value) -> Step {
    Step::new("POST", format!("{}{query}", kind.collection())).json(body)
}

fn with(kind: &Kind, pointer: &str, value: &Value) -> Value {
    let mut object = kind.make("a");
    set(&mut object, pointer, value);
    object
}
