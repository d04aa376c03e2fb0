//! Random sequences of requests, all of them from a seed: what nobody thought of asking.

use serde_json::{Value, json};

use crate::case::{Case, Step};
use crate::kinds::{Kind, kinds, merge, set};
use crate::seen::{METADATA, METADATA_LIST, TABLE, media};

/// The kinds that are drawn from.
const RESOURCES: [&str; 8] = [
    "rollouts",
    "analysisruns",
    "replicasets",
    "services",
    "configmaps",
    "leases",
    "httproutes",
    "gadgets",
];
const NAMES: [&str; 3] = ["a", "b", "c"];

/// Splitmix64: small, and the same everywhere.
#[derive(Debug)]
struct Draw(u64);

impl Draw {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound.max(1) as u64) as usize
    }

    fn one<'a, T>(&mut self, from: &'a [T]) -> &'a T {
        &from[self.below(from.len())]
    }

    fn chance(&mut self, percent: usize) -> bool {
        self.below(100) < percent
    }
}

/// The sequence of a seed and a number.
pub fn case(seed: u64, number: u64) -> Case {
    let mut draw = Draw(seed.wrapping_mul(0x1000_0000_01b3).wrapping_add(number));
    draw.next();
    let all: Vec<&'static Kind> = kinds()
        .iter()
        .filter(|kind| RESOURCES.contains(&kind.resource.as_str()))
        .collect();
    let some: Vec<&'static Kind> = (0..=draw.below(3)).map(|_| *draw.one(&all)).collect();
    let length = 5 + draw.below(21);
    let mut steps: Vec<Step> = Vec::with_capacity(length + 2);
    let first = some[0];
    steps.push(named_by_its_place(create(&mut draw, first, "a"), 0));
    let mut watches = 0;
    while steps.len() < length {
        let kind = *draw.one(&some);
        let name = *draw.one(&NAMES);
        let step = match draw.below(100) {
            0..=17 => create(&mut draw, kind, name),
            18..=27 => get(&mut draw, kind, name),
            28..=37 => list(&mut draw, kind),
            38..=50 => update(&mut draw, kind, name),
            51..=70 => patch(&mut draw, kind, name),
            71..=79 => status(&mut draw, kind, name),
            80..=84 if kind.scale => scale(&mut draw, kind, name, steps.len()),
            80..=89 => delete(&mut draw, kind, name),
            90..=91 => delete_collection(&mut draw, kind),
            92..=94 if watches < 2 => {
                watches += 1;
                watch(&mut draw, kind, name)
            }
            _ => junk(&mut draw, kind, name),
        };
        steps.push(named_by_its_place(step, steps.len()));
    }
    Case {
        name: format!("random/{seed}-{number}"),
        steps,
    }
}

/// Two generated names with one prefix would be in any order in lists.
fn named_by_its_place(mut step: Step, place: usize) -> Step {
    if let Some(prefix) = step
        .body
        .as_mut()
        .and_then(|body| body.pointer_mut("/metadata/generateName"))
    {
        *prefix = json!(format!("made-{place:02}-"));
    }
    step
}

fn version(kind: &Kind, name: &str) -> String {
    format!("rv-{}-{name}", kind.resource)
}

/// Remembers the object's version and uid.
fn remember(step: Step, kind: &Kind, name: &str) -> Step {
    step.save(&version(kind, name), "/metadata/resourceVersion")
        .save(&format!("uid-{}-{name}", kind.resource), "/metadata/uid")
}

/// A version that an object has, had, or never had.
fn some_version(draw: &mut Draw, kind: &Kind, name: &str) -> String {
    match draw.below(10) {
        0 => "1".into(),
        1 => {
            let other = draw.one(&NAMES);
            format!("{{{}}}", version(kind, other))
        }
        2 => String::new(),
        _ => format!("{{{}}}", version(kind, name)),
    }
}

fn labels(draw: &mut Draw) -> Value {
    match draw.below(5) {
        0 => json!({"app": "a"}),
        1 => json!({"app": "b", "tier": "front"}),
        2 => json!({"tier": "back"}),
        3 => json!({}),
        _ => json!({"app": "a", "tier": "front"}),
    }
}

/// A value of any JSON type.
fn scalar(draw: &mut Draw) -> Value {
    match draw.below(9) {
        0 => json!(0),
        1 => json!(-1),
        2 => json!(7),
        3 => json!("text"),
        4 => json!(""),
        5 => json!(true),
        6 => json!([]),
        7 => json!({}),
        _ => json!("5%"),
    }
}

/// A pointer to something in the value.
fn somewhere(draw: &mut Draw, value: &Value) -> String {
    let mut pointer = String::new();
    let mut at = value;
    loop {
        let (key, inner) = match at {
            Value::Object(map) if !map.is_empty() => {
                let keys: Vec<&String> = map.keys().collect();
                let key = (*draw.one(&keys)).clone();
                let inner = &map[&key];
                (key, inner)
            }
            Value::Array(items) if !items.is_empty() => {
                let number = draw.below(items.len());
                (number.to_string(), &items[number])
            }
            _ => return pointer,
        };
        pointer.push('/');
        pointer.push_str(&key);
        at = inner;
        if draw.chance(25) {
            return pointer;
        }
    }
}

/// An object: mostly good, sometimes not.
fn object(draw: &mut Draw, kind: &Kind, name: &str) -> Value {
    let mut object = if draw.chance(50) {
        kind.make(name)
    } else {
        kind.changed(name, draw.below(kind.changes.len()))
    };
    if draw.chance(60) {
        object["metadata"]["labels"] = labels(draw);
    }
    match draw.below(20) {
        0 => {
            let (pointer, value) = draw.one(&kind.bad);
            set(&mut object, pointer, value);
        }
        1 => set(&mut object, &kind.wrong_type.0, &kind.wrong_type.1),
        2 => object["metadata"]["finalizers"] = json!(["example.com/keep"]),
        3 => set(&mut object, "/spec/surplus", &json!(1)),
        4 => {
            let part = if object["spec"].is_object() { "spec" } else { "metadata" };
            let pointer = format!("/{part}{}", somewhere(draw, &object[part]));
            let value = scalar(draw);
            set(&mut object, &pointer, &value);
        }
        5 => object["metadata"]["annotations"] = json!({"note": "x"}),
        _ => {}
    }
    object
}

fn write_query(draw: &mut Draw) -> &'static str {
    match draw.below(14) {
        0 => "?dryRun=All",
        1 => "?fieldValidation=Strict",
        2 => "?fieldValidation=Ignore",
        3 => "?fieldManager=someone",
        4 => "?fieldManager=someone&fieldValidation=Warn",
        _ => "",
    }
}

fn create(draw: &mut Draw, kind: &Kind, name: &str) -> Step {
    let mut body = object(draw, kind, name);
    match draw.below(16) {
        0 => {
            if let Some(metadata) = body["metadata"].as_object_mut() {
                metadata.remove("name");
                metadata.insert("generateName".into(), json!("made-"));
            }
        }
        1 => body["metadata"]["name"] = json!("Not A Name"),
        2 => body["metadata"]["namespace"] = json!("other"),
        _ => {}
    }
    let step = Step::new("POST", format!("{}{}", kind.collection(), write_query(draw))).json(body);
    remember(step, kind, name)
}

fn get(draw: &mut Draw, kind: &Kind, name: &str) -> Step {
    let item = kind.item(name);
    match draw.below(8) {
        0 => Step::new("GET", item).accept(TABLE),
        1 => Step::new("GET", item).accept(METADATA),
        2 => Step::new("GET", format!("{item}/status")),
        3 => Step::new("GET", format!("{item}/scale")),
        4 => Step::new("GET", format!("{item}?resourceVersion=0")),
        _ => remember(Step::new("GET", item), kind, name),
    }
}

fn selectors(draw: &mut Draw) -> Vec<String> {
    let mut parts = Vec::new();
    if draw.chance(50) {
        let all = [
            "app%3Da",
            "app%21%3Da",
            "tier%20in%20%28front%2Cback%29",
            "tier%20notin%20%28front%29",
            "%21tier",
            "app%2Ctier%3Dfront",
            "app%3D%3Db",
            "a%20b",
        ];
        parts.push(format!("labelSelector={}", draw.one(&all)));
    }
    if draw.chance(20) {
        let all = [
            "metadata.name%3Da",
            "metadata.name%21%3Db",
            "metadata.namespace%3D{ns}",
            "spec.x%3D1",
        ];
        parts.push(format!("fieldSelector={}", draw.one(&all)));
    }
    parts
}

fn list(draw: &mut Draw, kind: &Kind) -> Step {
    let mut parts = selectors(draw);
    if draw.chance(40) {
        parts.push(format!("limit={}", draw.below(3)));
        if draw.chance(50) {
            parts.push("continue={continue}".into());
        }
    }
    match draw.below(12) {
        0 => parts.push("resourceVersion=0".into()),
        1 => parts.push("resourceVersionMatch=Exact".into()),
        2 => parts.push("resourceVersion=5&resourceVersionMatch=Exact".into()),
        _ => {}
    }
    let step =
        Step::new("GET", format!("{}?{}", kind.collection(), parts.join("&"))).save("continue", "/metadata/continue");
    match draw.below(6) {
        0 => step.accept(TABLE),
        1 => step.accept(METADATA_LIST),
        _ => step,
    }
}

fn update(draw: &mut Draw, kind: &Kind, name: &str) -> Step {
    let mut body = object(draw, kind, name);
    let at = some_version(draw, kind, name);
    if !at.is_empty() {
        body["metadata"]["resourceVersion"] = json!(at);
    }
    match draw.below(20) {
        0 => body["metadata"]["name"] = json!("other"),
        1 => body["metadata"]["uid"] = json!("0a8d1d2c-1111-2222-3333-0123456789ab"),
        2 => body["status"] = kind.status.clone().unwrap_or(json!({"x": 1})),
        _ => {}
    }
    let step = Step::new("PUT", format!("{}{}", kind.item(name), write_query(draw))).json(body);
    remember(step, kind, name)
}

fn merge_body(draw: &mut Draw, kind: &Kind, name: &str) -> Value {
    let mut body = draw.one(&kind.changes).clone();
    match draw.below(10) {
        0 => body = json!({}),
        1 => merge(
            &mut body,
            &json!({"metadata": {"resourceVersion": some_version(draw, kind, name)}}),
        ),
        2 => body = json!({"metadata": {"labels": {"tier": null, "app": "z"}}}),
        3 => body = json!({"metadata": {"finalizers": ["example.com/keep"]}}),
        4 => body = json!({"metadata": {"finalizers": null}}),
        5 => {
            let (pointer, value) = draw.one(&kind.bad);
            body = crate::kinds::merge_patch(pointer, value).unwrap_or(body);
        }
        6 => merge(&mut body, &json!({"spec": {"surplus": {"x": 1}}})),
        7 => merge(&mut body, &json!({"metadata": {"annotations": {"note": "y"}}})),
        _ => {}
    }
    body
}

fn patch(draw: &mut Draw, kind: &Kind, name: &str) -> Step {
    let item = kind.item(name);
    let step = match draw.below(10) {
        0..=3 => Step::new("PATCH", format!("{item}{}", write_query(draw)))
            .with(media("merge"), merge_body(draw, kind, name)),
        4..=6 => {
            let change = draw.below(kind.changes.len());
            let mut operations = kind.json_patch(name, change);
            let more = match draw.below(8) {
                0 => json!([{"op": "test", "path": "/metadata/name", "value": name}]),
                1 => json!([{"op": "test", "path": "/metadata/name", "value": "z"}]),
                2 => json!([{"op": "remove", "path": "/metadata/labels/app"}]),
                3 => json!([{"op": "replace", "path": "/metadata/labels/tier", "value": "front"}]),
                4 => {
                    json!([{"op": "test", "path": "/metadata/resourceVersion", "value": some_version(draw, kind, name)}])
                }
                5 => {
                    json!([{"op": "add", "path": "/metadata/annotations", "value": {"k": "v"}}, {"op": "move", "from": "/metadata/annotations/k", "path": "/metadata/annotations/l"}])
                }
                _ => json!([]),
            };
            if let (Some(list), Some(more)) = (operations.as_array_mut(), more.as_array()) {
                list.splice(0..0, more.iter().cloned());
            }
            Step::new("PATCH", format!("{item}{}", write_query(draw))).with(media("json"), operations)
        }
        7 => Step::new("PATCH", item).with(media("strategic"), merge_body(draw, kind, name)),
        _ => {
            let manager = draw.one(&["one", "two"]);
            let force = if draw.chance(40) { "&force=true" } else { "" };
            let mut body = if draw.chance(50) {
                json!({"apiVersion": kind.api_version(), "kind": kind.kind, "metadata": {"name": name, "labels": labels(draw)}})
            } else {
                object(draw, kind, name)
            };
            if draw.chance(5) {
                body["metadata"]["name"] = json!("other");
            }
            Step::new("PATCH", format!("{item}?fieldManager={manager}{force}")).with(media("apply"), body)
        }
    };
    remember(step, kind, name)
}

fn status(draw: &mut Draw, kind: &Kind, name: &str) -> Step {
    let path = format!("{}/status", kind.item(name));
    let status = kind.status.clone().unwrap_or(json!({"x": 1}));
    let step = match draw.below(5) {
        0 => {
            let mut body = object(draw, kind, name);
            body["metadata"]["resourceVersion"] = json!(some_version(draw, kind, name));
            body["status"] = status;
            Step::new("PUT", path).json(body)
        }
        1 => Step::new("PATCH", path).with(
            media("json"),
            json!([{"op": "add", "path": "/status", "value": status}]),
        ),
        2 => {
            let at = some_version(draw, kind, name);
            Step::new("PATCH", path).with(
                media("merge"),
                json!({"metadata": {"resourceVersion": at}, "status": status}),
            )
        }
        3 => Step::new("PATCH", path).with(media("merge"), json!({"status": null, "spec": {"replicas": 9}})),
        _ => Step::new("PATCH", path).with(
            media("merge"),
            json!({"status": status, "metadata": {"labels": labels(draw)}}),
        ),
    };
    remember(step, kind, name)
}

/// Never to the number that it is already: of whom the replicas are after that is a matter of chance on the real server, which
/// then has two managers of one name.
fn scale(draw: &mut Draw, kind: &Kind, name: &str, place: usize) -> Step {
    let path = format!("{}/scale", kind.item(name));
    let replicas = if draw.chance(25) { json!(-1) } else { json!(20 + place) };
    match draw.below(3) {
        0 => Step::new("PATCH", path).with(media("merge"), json!({"spec": {"replicas": replicas}})),
        1 => {
            let metadata =
                json!({"name": name, "namespace": "{ns}", "resourceVersion": some_version(draw, kind, name)});
            let body = json!({"apiVersion": "autoscaling/v1", "kind": "Scale", "metadata": metadata, "spec": {"replicas": replicas}});
            Step::new("PUT", path).json(body)
        }
        _ => Step::new("GET", path),
    }
}

fn delete(draw: &mut Draw, kind: &Kind, name: &str) -> Step {
    let step = Step::new("DELETE", kind.item(name));
    match draw.below(9) {
        0 => step.json(json!({"propagationPolicy": "Foreground"})),
        1 => step.json(json!({"propagationPolicy": "Background"})),
        2 => step.json(json!({"preconditions": {"resourceVersion": some_version(draw, kind, name)}})),
        3 => step.json(json!({"preconditions": {"uid": format!("{{uid-{}-{name}}}", kind.resource)}})),
        4 => Step::new("DELETE", format!("{}?dryRun=All", kind.item(name))),
        5 => step.json(json!({"propagationPolicy": "Orphan"})),
        6 => step.json(json!({"kind": "DeleteOptions", "apiVersion": "v1", "gracePeriodSeconds": 0})),
        _ => step,
    }
}

fn delete_collection(draw: &mut Draw, kind: &Kind) -> Step {
    let parts = selectors(draw);
    Step::new("DELETE", format!("{}?{}", kind.collection(), parts.join("&")))
}

fn watch(draw: &mut Draw, kind: &Kind, name: &str) -> Step {
    let mut parts = vec!["watch=true".to_owned(), "timeoutSeconds=2".to_owned()];
    parts.extend(selectors(draw));
    match draw.below(4) {
        0 => parts.push("sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true".into()),
        1 => parts.push("resourceVersion=0".into()),
        _ => parts.push(format!("resourceVersion={{{}}}", version(kind, name))),
    }
    let step = Step::new("GET", format!("{}?{}", kind.collection(), parts.join("&")));
    match draw.below(6) {
        0 => step.accept(TABLE),
        1 => step.accept(METADATA),
        _ => step,
    }
}

fn junk(draw: &mut Draw, kind: &Kind, name: &str) -> Step {
    let item = kind.item(name);
    match draw.below(9) {
        0 => Step::new("POST", &item).json(kind.make(name)),
        1 => Step::new("PUT", kind.collection()).json(kind.make(name)),
        2 => Step::new("PATCH", &item).raw("text/plain", "x"),
        3 => Step::new("POST", kind.collection()).raw("application/json", "{"),
        4 => Step::new("GET", format!("{item}/nonsense")),
        5 => Step::new("GET", format!("{}/namespaces/{{ns}}/gizmos", kind.root())),
        6 => Step::new("PATCH", &item).raw(media("merge"), "[]"),
        7 => Step::new("GET", kind.collection()).accept("application/strange"),
        _ => Step::new("POST", kind.collection_in("{ns}-missing"))
            .json(json!({"apiVersion": kind.api_version(), "kind": kind.kind, "metadata": {"name": name}})),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_gives_the_same_sequence_and_another_does_not() {
        assert_eq!(case(1, 7), case(1, 7));
        assert_ne!(case(1, 7).steps, case(1, 8).steps);
        assert_ne!(case(1, 7).steps, case(2, 7).steps);
    }

    #[test]
    fn sequences_are_of_the_promised_length_and_reach_every_kind() {
        let cases: Vec<Case> = (0..200).map(|number| case(3, number)).collect();
        assert!(cases.iter().all(|case| (5..=25).contains(&case.steps.len())));
        for resource in RESOURCES {
            assert!(
                cases
                    .iter()
                    .any(|case| case.steps.iter().any(|step| step.path.contains(resource))),
                "{resource}"
            );
        }
    }
}
