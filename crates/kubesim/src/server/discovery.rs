//! What is served, as clients ask for it: groups, versions and resources, one by one or in one document.

use std::{cmp::Reverse, collections::BTreeMap, sync::Arc};

use serde_json::{Value, json};

use super::{
    openapi,
    respond::{Answer, Form},
};
use crate::{
    Status,
    kinds::{Kind, Kinds, version_priority},
};

/// The version that the API server says it has.
const VERSION: (&str, &str) = ("1", "36");

/// The built-in groups in the order in which a real one lists them; custom resources' groups follow by name.
const ORDER: [&str; 17] = [
    "",
    "apiregistration.k8s.io",
    "apps",
    "events.k8s.io",
    "authentication.k8s.io",
    "authorization.k8s.io",
    "autoscaling",
    "batch",
    "certificates.k8s.io",
    "networking.k8s.io",
    "policy",
    "rbac.authorization.k8s.io",
    "storage.k8s.io",
    "admissionregistration.k8s.io",
    "apiextensions.k8s.io",
    "scheduling.k8s.io",
    "coordination.k8s.io",
];

/// Answers paths that name no resource; nothing for others.
pub(super) fn answer(kinds: &Kinds, path: &str, form: Result<Form, Status>) -> Option<Answer> {
    let parts: Vec<&str> = path.trim_matches('/').split('/').collect();
    let aggregated = matches!(form, Ok(Form::Aggregated));
    let answer = match parts.as_slice() {
        ["healthz" | "readyz" | "livez", ..] => return Some(Answer::plain(200, "ok")),
        ["version"] => Answer::json(200, &version()),
        ["openapi", "v3"] => Answer::plain(200, &openapi::index(kinds).to_string()),
        ["openapi", "v3", "api", version] => Answer::json(200, &openapi::document(kinds, "", version)),
        ["openapi", "v3", "apis", group, version] => Answer::json(200, &openapi::document(kinds, group, version)),
        ["openapi", "v2"] => Answer::json(
            200,
            &json!({"swagger": "2.0", "info": version_info(), "paths": {}, "definitions": {}}),
        ),
        [""] => {
            let mut paths = vec!["/api".to_owned(), "/api/v1".to_owned(), "/apis".to_owned()];
            for (group, versions) in groups(kinds).into_iter().filter(|(g, _)| !g.is_empty()) {
                paths.push(format!("/apis/{group}"));
                paths.extend(versions.iter().map(|v| format!("/apis/{group}/{v}")));
            }
            for path in [
                "/healthz",
                "/livez",
                "/openapi/v2",
                "/openapi/v3",
                "/readyz",
                "/version",
            ] {
                paths.push(path.to_owned());
            }
            Answer::json(200, &json!({"paths": paths}))
        }
        ["api"] if aggregated => return Some(aggregate(kinds, true)),
        ["apis"] if aggregated => return Some(aggregate(kinds, false)),
        ["api"] => Answer::json(
            200,
            &json!({
                "kind": "APIVersions",
                "versions": ["v1"],
                "serverAddressByClientCIDRs": [{"clientCIDR": "0.0.0.0/0", "serverAddress": "127.0.0.1:6443"}],
            }),
        ),
        ["apis"] => {
            let list: Vec<Value> = groups(kinds)
                .into_iter()
                .filter(|(group, _)| !group.is_empty())
                .map(|(group, versions)| api_group(group, &versions))
                .collect();
            Answer::json(
                200,
                &json!({"kind": "APIGroupList", "apiVersion": "v1", "groups": list}),
            )
        }
        ["apis", group] => match groups(kinds).into_iter().find(|(g, _)| g == group) {
            Some((group, versions)) => {
                let mut one = api_group(group, &versions);
                one["kind"] = json!("APIGroup");
                one["apiVersion"] = json!("v1");
                Answer::json(200, &one)
            }
            None => Answer::plain(404, "404 page not found\n"),
        },
        ["api", version] => resources(kinds, "", version),
        ["apis", group, version] => resources(kinds, group, version),
        ["api" | "apis", ..] => return None,
        _ => Answer::plain(404, "404 page not found\n"),
    };
    Some(match form {
        // Only of what exists does the form matter.
        Err(status) if answer.code == 200 => Answer::refusal(&status),
        _ => answer,
    })
}

fn version() -> Value {
    let (major, minor) = VERSION;
    json!({
        "major": major,
        "minor": minor,
        "emulationMajor": major,
        "emulationMinor": minor,
        "minCompatibilityMajor": major,
        "minCompatibilityMinor": "35",
        "gitVersion": format!("v{major}.{minor}.0-kubesim"),
        "gitCommit": "",
        "gitTreeState": "clean",
        "buildDate": "1970-01-01T00:00:00Z",
        "goVersion": "",
        "compiler": "rustc",
        "platform": "any",
    })
}

pub(super) fn version_info() -> Value {
    json!({"title": "Kubernetes", "version": format!("v{}.{}.0", VERSION.0, VERSION.1)})
}

/// Groups with their versions, the preferred one first.
pub(super) fn groups(kinds: &Kinds) -> Vec<(&'static str, Vec<String>)> {
    let mut groups: BTreeMap<(usize, &'static str), Vec<String>> = BTreeMap::new();
    for kind in kinds.all() {
        let group = kind.resource.group;
        let place = ORDER.iter().position(|g| *g == group).unwrap_or(ORDER.len());
        let versions = groups.entry((place, group)).or_default();
        for version in &kind.versions {
            if !versions.contains(version) {
                versions.push(version.clone());
            }
        }
    }
    groups
        .into_iter()
        .map(|((_, group), mut versions)| {
            versions.sort_by_key(|v| Reverse(version_priority(v)));
            (group, versions)
        })
        .collect()
}

fn api_group(group: &str, versions: &[String]) -> Value {
    let list: Vec<Value> = versions
        .iter()
        .map(|v| json!({"groupVersion": format!("{group}/{v}"), "version": v}))
        .collect();
    json!({"name": group, "versions": list, "preferredVersion": list.first()})
}

pub(super) fn of_version<'a>(
    kinds: &'a Kinds,
    group: &'a str,
    version: &'a str,
) -> impl Iterator<Item = &'a Arc<Kind>> {
    kinds
        .all()
        .filter(move |k| k.resource.group == group && k.versions.iter().any(|v| v == version))
}

/// The verbs of a resource; of custom ones in an order of their own, as the real one lists them.
fn verbs(kind: &Kind) -> &'static [&'static str] {
    if kind.is("", "namespaces") {
        &["create", "delete", "get", "list", "patch", "update", "watch"]
    } else if kind.is_custom() {
        &[
            "delete",
            "deletecollection",
            "get",
            "list",
            "patch",
            "create",
            "update",
            "watch",
        ]
    } else {
        &[
            "create",
            "delete",
            "deletecollection",
            "get",
            "list",
            "patch",
            "update",
            "watch",
        ]
    }
}

/// Subresource, group, version and kind of what it takes, verbs.
type Sub = (&'static str, &'static str, &'static str, String, Vec<&'static str>);

fn subresources(kind: &Kind) -> Vec<Sub> {
    let mut subs: Vec<Sub> = Vec::new();
    let changing = || vec!["get", "patch", "update"];
    if kind.is("", "pods") {
        subs.push(("binding", "", "", "Binding".into(), vec!["create"]));
        subs.push(("eviction", "policy", "v1", "Eviction".into(), vec!["create"]));
        subs.push(("log", "", "", "Pod".into(), vec!["get"]));
    }
    if kind.is("", "namespaces") {
        subs.push(("finalize", "", "", "Namespace".into(), vec!["update"]));
    }
    if kind.is("", "serviceaccounts") {
        subs.push((
            "token",
            "authentication.k8s.io",
            "v1",
            "TokenRequest".into(),
            vec!["create"],
        ));
    }
    if kind.scale.is_some() {
        subs.push(("scale", "autoscaling", "v1", "Scale".into(), changing()));
    }
    if kind.status {
        subs.push(("status", "", "", kind.kind.clone(), changing()));
    }
    if kind.is_custom() {
        subs.reverse();
    }
    subs
}

fn resources(kinds: &Kinds, group: &str, version: &str) -> Answer {
    let mut list = Vec::new();
    for kind in of_version(kinds, group, version) {
        let plural = kind.resource.plural;
        let mut one = json!({
            "name": plural,
            "singularName": kind.singular,
            "namespaced": kind.namespaced,
            "kind": kind.kind,
            "verbs": verbs(kind),
        });
        if !kind.short_names.is_empty() {
            one["shortNames"] = json!(kind.short_names);
        }
        if !kind.categories.is_empty() {
            one["categories"] = json!(kind.categories);
        }
        list.push(one);
        for (sub, sub_group, sub_version, sub_kind, verbs) in subresources(kind) {
            let mut one = json!({
                "name": format!("{plural}/{sub}"),
                "singularName": "",
                "namespaced": kind.namespaced,
                "kind": sub_kind,
                "verbs": verbs,
            });
            if !sub_group.is_empty() {
                one["group"] = json!(sub_group);
                one["version"] = json!(sub_version);
            }
            list.push(one);
        }
    }
    if list.is_empty() {
        return Answer::plain(404, "404 page not found\n");
    }
    let mut answer = json!({"kind": "APIResourceList", "groupVersion": version, "resources": list});
    // The core group's list is older than that it has a version itself.
    if !group.is_empty() {
        answer["apiVersion"] = json!("v1");
        answer["groupVersion"] = json!(format!("{group}/{version}"));
    }
    Answer::json(200, &answer)
}

/// Discovery in one document: of the core group or of all others.
fn aggregate(kinds: &Kinds, core: bool) -> Answer {
    let items: Vec<Value> = groups(kinds)
        .into_iter()
        .filter(|(group, _)| group.is_empty() == core)
        .map(|(group, versions)| {
            let versions: Vec<Value> = versions
                .iter()
                .map(|version| {
                    let resources: Vec<Value> = of_version(kinds, group, version)
                        .map(|kind| aggregate_resource(kind, version))
                        .collect();
                    json!({"version": version, "resources": resources, "freshness": "Current"})
                })
                .collect();
            let mut metadata = json!({"creationTimestamp": null});
            if !group.is_empty() {
                metadata["name"] = json!(group);
            }
            json!({"metadata": metadata, "versions": versions})
        })
        .collect();
    let mut answer = Answer::json(
        200,
        &json!({
            "kind": "APIGroupDiscoveryList",
            "apiVersion": "apidiscovery.k8s.io/v2",
            "metadata": {},
            "items": items,
        }),
    );
    answer.content_type = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList";
    answer
}

fn aggregate_resource(kind: &Kind, version: &str) -> Value {
    let response = |group: &str, version: &str, kind: &str| json!({"group": group, "version": version, "kind": kind});
    // Of a built-in kind it is left to the reader that an answer is of the resource's own group and version.
    let own = if kind.is_custom() {
        (kind.resource.group, version)
    } else {
        ("", "")
    };
    let subs: Vec<Value> = subresources(kind)
        .into_iter()
        .map(|(sub, group, sub_version, sub_kind, verbs)| {
            let (group, sub_version) = if sub_version.is_empty() {
                own
            } else {
                (group, sub_version)
            };
            json!({
                "subresource": sub,
                "responseKind": response(group, sub_version, &sub_kind),
                "verbs": verbs,
            })
        })
        .collect();
    let mut one = json!({
        "resource": kind.resource.plural,
        "responseKind": response(own.0, own.1, &kind.kind),
        "scope": if kind.namespaced { "Namespaced" } else { "Cluster" },
        "singularResource": kind.singular,
        "verbs": verbs(kind),
    });
    if !kind.short_names.is_empty() {
        one["shortNames"] = json!(kind.short_names);
    }
    if !kind.categories.is_empty() {
        one["categories"] = json!(kind.categories);
    }
    if !subs.is_empty() {
        one["subresources"] = json!(subs);
    }
    one
}
