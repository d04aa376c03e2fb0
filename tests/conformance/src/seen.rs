//! From each shape that a real API server was asked, a case of that very request, with objects around it to ask about.

use serde_json::{Value, json};

use crate::case::{Case, Step};
use crate::kinds::{Kind, merge};
use crate::shapes::Shape;

/// What kubectl asks to be shown.
pub const TABLE: &str = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json";
/// What kubectl asks when it looks for what there is.
pub const AGGREGATED: &str = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList,application/json";
/// What the garbage collector reads.
pub const METADATA: &str = "application/json;as=PartialObjectMetadata;v=v1;g=meta.k8s.io";
/// The same for lists.
pub const METADATA_LIST: &str = "application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io";

/// Media type of a kind of patch.
pub fn media(patch: &str) -> &'static str {
    match patch {
        "json" => "application/json-patch+json",
        "strategic" => "application/strategic-merge-patch+json",
        "apply" => "application/apply-patch+yaml",
        _ => "application/merge-patch+json",
    }
}

/// The cases of one shape; empty when it is of a kind that no case can be made for.
pub fn cases(shape: &Shape) -> Vec<Case> {
    if shape.resource.is_empty() {
        return path(shape);
    }
    match Kind::find(&shape.group, &shape.resource) {
        Some(kind) => of_kind(kind, shape),
        None => Vec::new(),
    }
}

fn path(shape: &Shape) -> Vec<Case> {
    let is_document = shape.path.starts_with("/openapi/");
    let known = shape
        .path
        .strip_prefix("/apis/")
        .and_then(|rest| rest.split('/').next());
    let known = known.is_none_or(|group| crate::kinds::kinds().iter().any(|kind| kind.group == group));
    let document = shape.path.strip_prefix("/openapi/v3/").unwrap_or("api/v1");
    let served = crate::kinds::kinds().iter().any(|kind| kind.root()[1..] == *document);
    if !known || !served || shape.path.starts_with("/metrics") {
        return Vec::new();
    }
    let name = format!("paths{}", shape.path);
    let step = Step::new("GET", &shape.path);
    let step = if is_document { step.setup() } else { step };
    let mut cases = vec![Case {
        name: name.clone(),
        steps: vec![step.clone()],
    }];
    if matches!(shape.path.as_str(), "/api" | "/apis") && shape.kubectl {
        cases.push(Case {
            name: format!("{name} aggregated"),
            steps: vec![step.accept(AGGREGATED)],
        });
    }
    cases
}

/// The query string of a shape, with values that fit the objects `a` and `b` of a case.
fn query(kind: &Kind, shape: &Shape, change: impl Fn(&str, &str) -> Option<String>) -> String {
    let mut pairs: Vec<String> = Vec::new();
    for parameter in &shape.query {
        let (name, value) = parameter.split_once('=').unwrap_or((parameter, ""));
        let value = change(name, value).unwrap_or_else(|| concrete(kind, name, value));
        pairs.push(format!("{name}={value}"));
    }
    // Other cases run beside this one: what is not of one namespace is told apart by a label.
    let selects = shape
        .query
        .iter()
        .any(|parameter| parameter.starts_with("labelSelector="));
    let wide =
        shape.everywhere || (kind.cluster && matches!(shape.verb.as_str(), "list" | "watch" | "deletecollection"));
    if wide && !selects {
        pairs.push("labelSelector=case%3D{ns}".into());
    }
    if pairs.is_empty() {
        String::new()
    } else {
        format!("?{}", pairs.join("&"))
    }
}

fn concrete(kind: &Kind, name: &str, value: &str) -> String {
    match (name, value) {
        ("labelSelector", selectors) => {
            let one = |selector: &str| match selector {
                "in" => "app%20in%20%28a%2Cb%29",
                "notin" => "app%20notin%20%28b%29",
                "notequals" => "app%21%3Db",
                "missing" => "%21nobody",
                "exists" => "app",
                _ => "app%3Da",
            };
            let mut parts: Vec<&str> = selectors.split(',').map(one).collect();
            parts.push("case%3D{ns}");
            parts.join("%2C")
        }
        ("fieldSelector", fields) => {
            let one = |field: &str| {
                let key = field.trim_end_matches("text").trim_end_matches(['=', '!']);
                let value = match key {
                    "metadata.name" => kind.named("a"),
                    "metadata.namespace" => "{ns}".into(),
                    "spec.nodeName" => "nowhere".into(),
                    "status.phase" => "Running".into(),
                    "involvedObject.name" | "regarding.name" => "x".into(),
                    "involvedObject.kind" | "regarding.kind" => "Pod".into(),
                    "involvedObject.namespace" | "regarding.namespace" => "{ns}".into(),
                    _ => "a".into(),
                };
                let operator = if field.contains("!=") { "%21%3D" } else { "%3D" };
                format!("{key}{operator}{value}")
            };
            fields.split(',').map(one).collect::<Vec<_>>().join("%2C")
        }
        ("resourceVersion", "number") => "{rv}".into(),
        ("timeoutSeconds", _) => "2".into(),
        ("limit", "number") => "1".into(),
        ("gracePeriodSeconds", "number") => "5".into(),
        (_, "duration") => "30s".into(),
        ("fieldManager", "text") => "conformance".into(),
        ("pretty", _) => "false".into(),
        (_, "number") => "1".into(),
        (_, "text") => "a".into(),
        (_, other) => other.into(),
    }
}

fn of_kind(kind: &'static Kind, shape: &Shape) -> Vec<Case> {
    let mut name = format!("{}/{}", kind.label(), shape.verb);
    if !shape.subresource.is_empty() {
        name.push_str(&format!(" {}", shape.subresource));
    }
    if shape.everywhere && !kind.cluster {
        name.push_str(" everywhere");
    }
    for part in shape.query.iter().chain(&shape.body) {
        name.push_str(&format!(" {part}"));
    }
    let plain = |_: &str, _: &str| None;
    let item = kind.item("a");
    let get = || Step::new("GET", &item);
    let steps = match (shape.verb.as_str(), shape.subresource.as_str()) {
        ("create", "") => {
            let mut create = kind.create("a");
            create.setup = false;
            create.path.push_str(&query(kind, shape, plain));
            vec![create, get()]
        }
        ("get", "") => vec![kind.create("a"), get_with(kind, shape)],
        ("list", "") => return list(kind, shape, &name),
        // Controllers inside of the API server write to definitions too, when they come to it.
        ("watch", "") if kind.resource == "customresourcedefinitions" => Vec::new(),
        ("watch", "") => watch(kind, shape),
        ("update", "") => update(kind, shape),
        ("patch", "") => return patches(kind, shape, &name),
        ("delete", "") => {
            let mut delete = Step::new("DELETE", format!("{item}{}", query(kind, shape, plain)));
            if !shape.body.is_empty() {
                delete = delete.json(options(shape));
            }
            vec![kind.create("a"), delete, get()]
        }
        ("deletecollection", "") => {
            let collection = kind.collection();
            let mut delete = Step::new("DELETE", format!("{collection}{}", query(kind, shape, plain)));
            if !shape.body.is_empty() {
                delete = delete.json(options(shape));
            }
            let list = format!("{collection}?labelSelector=case%3D{{ns}}");
            vec![kind.create("a"), kind.create("b"), delete, Step::new("GET", list)]
        }
        (verb, "status") => return status(kind, shape, verb, &name),
        (verb, "scale") if kind.scale => scale(kind, shape, verb),
        (verb, other) => special(kind, shape, verb, other),
    };
    let mut cases = finish(kind, name.clone(), steps);
    if shape.kubectl && shape.verb == "get" && shape.subresource.is_empty() {
        let steps = vec![kind.create("a"), get_with(kind, shape).accept(TABLE)];
        cases.extend(finish(kind, format!("{name} as a table"), steps));
    }
    cases
}

/// With what the kind needs; no case where a shape has no steps.
fn finish(kind: &Kind, name: String, steps: Vec<Step>) -> Vec<Case> {
    if steps.is_empty() {
        return Vec::new();
    }
    let steps = kind.needs().into_iter().chain(steps).collect();
    vec![Case { name, steps }]
}

fn get_with(kind: &Kind, shape: &Shape) -> Step {
    Step::new("GET", format!("{}{}", kind.item("a"), query(kind, shape, |_, _| None)))
}

fn options(shape: &Shape) -> Value {
    let mut options = json!({"kind": "DeleteOptions", "apiVersion": "v1"});
    for field in &shape.body {
        let (name, value) = field.split_once('=').unwrap_or((field, ""));
        let value = match name {
            "gracePeriodSeconds" => value.parse::<i64>().map_or(json!(0), |seconds| json!(seconds)),
            "orphanDependents" => json!(false),
            "preconditions" => {
                let known = [("uid", "{uid}"), ("resourceVersion", "{rv}")];
                value
                    .split(',')
                    .filter_map(|key| known.iter().find(|(name, _)| *name == key))
                    .map(|(k, v)| ((*k).to_owned(), json!(v)))
                    .collect()
            }
            _ => json!(value),
        };
        options[name] = value;
    }
    options
}

fn two(kind: &Kind) -> Vec<Step> {
    vec![kind.create("a"), kind.create("b")]
}

fn list(kind: &Kind, shape: &Shape, name: &str) -> Vec<Case> {
    let path = if shape.everywhere {
        kind.everywhere()
    } else {
        kind.collection()
    };
    let whole = |name: &str, _: &str| (name == "limit").then(|| "500".to_owned());
    let mut steps = two(kind);
    let ask = Step::new("GET", format!("{path}{}", query(kind, shape, whole)));
    let mut cases = Vec::new();
    steps.push(ask.clone());
    cases.extend(finish(kind, name.to_owned(), steps));
    if shape.kubectl {
        for (what, accept) in [("a table", TABLE), ("metadata", METADATA_LIST)] {
            let mut steps = two(kind);
            steps.push(ask.clone().accept(accept));
            cases.extend(finish(kind, format!("{name} as {what}"), steps));
        }
    }
    // Whether a page is the last one depends, across namespaces, on objects of other cases.
    let is_alone = !shape.everywhere && !kind.cluster;
    if is_alone && shape.query.iter().any(|parameter| parameter.starts_with("limit=")) {
        let mut steps = two(kind);
        let first = format!("{path}{}", query(kind, shape, |_, _| None));
        steps.push(Step::new("GET", &first).save("continue", "/metadata/continue"));
        steps.push(Step::new("GET", format!("{first}&continue={{continue}}")));
        cases.extend(finish(kind, format!("{name} in pieces"), steps));
    }
    cases
}

fn watch(kind: &Kind, shape: &Shape) -> Vec<Step> {
    let path = if shape.everywhere {
        kind.everywhere()
    } else {
        kind.collection()
    };
    let mut steps = vec![kind.create("a")];
    // From the version of the first object on.
    let other = kind.create("b");
    steps.push(Step {
        save: [].into(),
        ..other
    });
    steps.push(
        Step::new("PATCH", kind.item("a"))
            .with(
                "application/merge-patch+json",
                json!({"metadata": {"annotations": {"seen": "yes"}}}),
            )
            .setup(),
    );
    steps.push(Step::new("DELETE", kind.item("b")).setup());
    let mut asked = query(kind, shape, |_, _| None);
    if !asked.contains("timeoutSeconds") {
        asked.push_str("&timeoutSeconds=2");
    }
    steps.push(Step::new("GET", format!("{path}{asked}")));
    steps
}

fn update(kind: &Kind, shape: &Shape) -> Vec<Step> {
    let mut object = kind.changed("a", 0);
    object["metadata"]["resourceVersion"] = json!("{rv}");
    let path = format!("{}{}", kind.item("a"), query(kind, shape, |_, _| None));
    vec![
        kind.create("a"),
        Step::new("PUT", &path)
            .json(object.clone())
            .save("rv", "/metadata/resourceVersion"),
        // The same again changes nothing, not even the version.
        Step::new("PUT", &path).json(object),
        Step::new("GET", kind.item("a")),
    ]
}

fn patch_body(kind: &Kind, how: &str, change: usize) -> Value {
    match how {
        "json" => kind.json_patch("a", change),
        "apply" => {
            let mut object = kind.changed("a", change);
            if let Some(metadata) = object["metadata"].as_object_mut() {
                metadata.remove("namespace");
            }
            object
        }
        _ => kind.changes[change % kind.changes.len()].clone(),
    }
}

fn patches(kind: &Kind, shape: &Shape, name: &str) -> Vec<Case> {
    let path = format!("{}{}", kind.item("a"), query(kind, shape, |_, _| None));
    let mut cases = Vec::new();
    for how in &shape.body {
        if how == "strategic" && kind.custom {
            continue;
        }
        let short = name.trim_end_matches(&format!(" {}", shape.body.join(" "))).to_owned();
        for change in 0..kind.changes.len() {
            let body = patch_body(kind, how, change);
            let ask = Step::new("PATCH", &path).with(media(how), body);
            let mut steps = vec![
                kind.create("a"),
                ask.clone(),
                ask.clone(),
                Step::new("GET", kind.item("a")),
            ];
            if how == "apply" {
                for step in &mut steps[1..] {
                    step.managed_fields = true;
                }
            }
            let which = if change == 0 {
                String::new()
            } else {
                format!(" change {change}")
            };
            cases.extend(finish(kind, format!("{short} {how}{which}"), steps));
            if how == "apply" && change == 0 {
                let steps = vec![ask.clone().managed_fields(), ask.managed_fields()];
                cases.extend(finish(kind, format!("{short} {how} of a new one"), steps));
            }
        }
    }
    cases
}

fn status(kind: &Kind, shape: &Shape, verb: &str, name: &str) -> Vec<Case> {
    let Some(status) = &kind.status else { return Vec::new() };
    let path = format!("{}/status{}", kind.item("a"), query(kind, shape, |_, _| None));
    let mut cases = Vec::new();
    match verb {
        "get" => return finish(kind, name.to_owned(), vec![kind.create("a"), Step::new("GET", path)]),
        "update" => {
            // Of the rest of the object nothing is taken.
            let mut object = kind.changed("a", 0);
            object["metadata"]["resourceVersion"] = json!("{rv}");
            object["status"] = status.clone();
            let steps = vec![
                kind.create("a"),
                Step::new("PUT", path).json(object),
                Step::new("GET", kind.item("a")),
            ];
            return finish(kind, name.to_owned(), steps);
        }
        _ => {}
    }
    for how in &shape.body {
        if how == "strategic" && kind.custom {
            continue;
        }
        let mut with_spec = kind.changes[0].clone();
        merge(
            &mut with_spec,
            &json!({"status": status, "metadata": {"annotations": {"by": "status"}}}),
        );
        let body = match how.as_str() {
            "json" => json!([{"op": "add", "path": "/status", "value": status}]),
            "apply" => {
                let object = kind.make("a");
                json!({"apiVersion": object["apiVersion"], "kind": object["kind"], "metadata": {"name": kind.named("a")}, "status": status})
            }
            _ => with_spec,
        };
        let ask = Step::new("PATCH", &path).with(media(how), body);
        let mut steps = vec![kind.create("a"), ask.clone(), ask, Step::new("GET", kind.item("a"))];
        if how == "apply" {
            for step in &mut steps[1..] {
                step.managed_fields = true;
            }
        }
        let short = name.trim_end_matches(&format!(" {}", shape.body.join(" "))).to_owned();
        cases.extend(finish(kind, format!("{short} {how}"), steps));
    }
    cases
}

fn scale(kind: &Kind, shape: &Shape, verb: &str) -> Vec<Step> {
    let path = format!("{}/scale{}", kind.item("a"), query(kind, shape, |_, _| None));
    let get = Step::new("GET", format!("{}/scale", kind.item("a")));
    let ask = match verb {
        "update" => {
            let scale = json!({
                "apiVersion": "autoscaling/v1", "kind": "Scale",
                "metadata": {"name": "a", "namespace": "{ns}", "resourceVersion": "{rv}"},
                "spec": {"replicas": 4},
            });
            Step::new("PUT", path).json(scale)
        }
        "patch" => Step::new("PATCH", path).with(media("merge"), json!({"spec": {"replicas": 4}})),
        _ => return vec![kind.create("a"), get],
    };
    vec![kind.create("a"), ask, get, Step::new("GET", kind.item("a"))]
}

/// Subresources of single kinds.
fn special(kind: &Kind, shape: &Shape, verb: &str, subresource: &str) -> Vec<Step> {
    let path = format!("{}/{subresource}{}", kind.item("a"), query(kind, shape, |_, _| None));
    let get = Step::new("GET", kind.item("a"));
    match (kind.resource.as_str(), verb, subresource) {
        ("pods", "create", "binding") => {
            let mut create = kind.create("a");
            if let Some(spec) = create.body.as_mut().and_then(|body| body["spec"].as_object_mut()) {
                spec.remove("nodeName");
            }
            let binding = json!({
                "apiVersion": "v1", "kind": "Binding", "metadata": {"name": "a", "namespace": "{ns}"},
                "target": {"apiVersion": "v1", "kind": "Node", "name": "somewhere"},
            });
            let ask = Step::new("POST", path).json(binding);
            vec![create, ask.clone(), get, ask]
        }
        ("pods", "create", "eviction") => {
            let eviction =
                json!({"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": "a", "namespace": "{ns}"}});
            vec![kind.create("a"), Step::new("POST", path).json(eviction), get]
        }
        ("serviceaccounts", "create", "token") => {
            let request = json!({"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {"expirationSeconds": 3600}});
            vec![kind.create("a"), Step::new("POST", path).json(request)]
        }
        ("namespaces", "update", "finalize") => {
            let mut object = kind.make("a");
            object["spec"] = json!({"finalizers": []});
            vec![
                kind.create("a"),
                Step::new("DELETE", kind.item("a")),
                get.clone(),
                Step::new("PUT", path).json(object),
                get,
            ]
        }
        _ => Vec::new(),
    }
}
