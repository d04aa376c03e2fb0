//! The answers of a real API server (Kubernetes 1.36) to creations, changes, patches of four kinds and tables, word for word
//! (`data/real-answers.jsonl`, one request a line, in the order in which they were sent to the test cluster), against what
//! the functions of this crate make of the same requests.

use std::collections::BTreeMap;
use std::sync::Arc;

use chrono::{DateTime, Utc};
use serde_json::{Value, json};

use crate::Status;
use crate::patch::{self, Manager};
use crate::schema::{self, Crd, Include, Rules};

/// Requests that the pure functions answer otherwise, and why.
const DIFFERENT: [(&str, &str); 6] = [
    (
        "create daemonsets ds-a",
        "the annotation with the template's generation is not made",
    ),
    ("create pods p-f", "no admission by priority"),
    ("create pods p-g", "no look at the service account"),
    ("strategic rollouts ro-a", "the content type is refused before"),
    (
        "merge rollouts ro-a {\"metadata\":{\"name\":\"other\"}}",
        "the name is checked against the path before",
    ),
    ("merge pods p-a", "the difference is not printed"),
];

struct Kind {
    rules: Arc<dyn Rules>,
    group: String,
    kind: String,
    version: String,
    status: bool,
    custom: bool,
}

impl Kind {
    fn api_version(&self) -> String {
        if self.group.is_empty() {
            self.version.clone()
        } else {
            format!("{}/{}", self.group, self.version)
        }
    }
}

fn kinds() -> BTreeMap<String, Kind> {
    let mut kinds = BTreeMap::new();
    for kind in super::kinds().filter(|kind| kind.group != "events.k8s.io") {
        let rules: Arc<dyn Rules> = kind.clone();
        let served = Kind {
            rules,
            group: kind.group.to_owned(),
            kind: kind.kind.to_owned(),
            version: kind.version.to_owned(),
            status: kind.subresources.contains(&"status"),
            custom: false,
        };
        kinds.insert(kind.plural.to_owned(), served);
    }
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../deploy/crds/rollouts-crd.yaml");
    let text = std::fs::read_to_string(path).expect("the file is part of the repository");
    let crd = Crd::parse(&serde_saphyr::from_str(&text).expect("YAML")).expect("a good definition");
    let version = crd.storage().clone();
    let served = Kind {
        group: crd.group.clone(),
        kind: crd.kind.clone(),
        version: version.name.clone(),
        status: version.status,
        custom: true,
        rules: version,
    };
    kinds.insert("rollouts".to_owned(), served);
    kinds
}

/// One request, with what it was about.
struct Request<'a> {
    kind: &'a Kind,
    subresource: &'a str,
    strict: bool,
    manager: Manager<'a>,
}

impl Request<'_> {
    fn checked(&self, name: &str, errors: &[schema::FieldError]) -> Result<(), Status> {
        if errors.is_empty() {
            Ok(())
        } else {
            Err(schema::invalid(&self.kind.group, &self.kind.kind, name, errors))
        }
    }

    /// `managers` is what an apply has written already.
    fn create(&self, mut object: Value, uid: &str, managers: Option<Value>) -> Result<Value, Status> {
        let rules = &self.kind.rules;
        if object["metadata"].get("namespace").is_none() {
            object["metadata"]["namespace"] = json!("vec");
        }
        let unknown = rules.decode(&mut object)?;
        if self.strict && !unknown.is_empty() {
            return Err(schema::unknown_fields(&self.kind.kind, &self.kind.version, &unknown));
        }
        rules.default(&mut object);
        object["metadata"]["uid"] = json!(uid);
        if managers.is_none() {
            patch::track(None, &mut object, rules.node(), &self.manager);
        }
        if self.kind.status
            && let Some(map) = object.as_object_mut()
        {
            map.remove("status");
        }
        rules.prepare(&mut object, None, "", &mut 0);
        self.checked(text(&object, "/metadata/name"), &rules.validate(&object))?;
        if let Some(managers) = managers {
            object["metadata"]["managedFields"] = managers;
        }
        Ok(object)
    }

    fn change(&self, mut object: Value, old: &Value, is_patch: bool, managers: Option<Value>) -> Result<Value, Status> {
        let rules = &self.kind.rules;
        let given = object.clone();
        let unknown = rules.decode(&mut object).map_err(|status| match is_patch {
            true => {
                let why = status.message.split_once(": ").map_or("", |(_, why)| why);
                patch::undecodable(&given, why)
            }
            false => status,
        })?;
        if self.strict && !unknown.is_empty() {
            let list: Vec<String> = unknown
                .iter()
                .map(|field| format!("unknown field \"{field}\""))
                .collect();
            return Err(patch::undecodable(
                &given,
                &format!("strict decoding error: {}", list.join(", ")),
            ));
        }
        rules.default(&mut object);
        if managers.is_none() {
            patch::track(Some(old), &mut object, rules.node(), &self.manager);
        }
        let keep = |object: &mut Value, field: &str| match old.get(field) {
            Some(value) => object[field] = value.clone(),
            None => {
                if let Some(map) = object.as_object_mut() {
                    map.remove(field);
                }
            }
        };
        match (self.subresource, self.kind.custom) {
            ("status", true) => {
                let mut next = old.clone();
                next["status"] = object["status"].take();
                next["metadata"]["managedFields"] = object["metadata"]["managedFields"].take();
                object = next;
            }
            ("status", false) => keep(&mut object, "spec"),
            _ if self.kind.status => keep(&mut object, "status"),
            _ => {}
        }
        if object["metadata"].get("resourceVersion").is_none() {
            object["metadata"]["resourceVersion"] = old["metadata"]["resourceVersion"].clone();
        }
        rules.prepare(&mut object, Some(old), self.subresource, &mut 0);
        let errors = rules.validate_update(&object, old, self.subresource);
        self.checked(text(old, "/metadata/name"), &errors)?;
        if let Some(managers) = managers {
            object["metadata"]["managedFields"] = managers;
        }
        Ok(object)
    }
}

fn text<'a>(value: &'a Value, pointer: &str) -> &'a str {
    value.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}

/// Sets one field, or takes it out.
fn set(object: &mut Value, path: &str, value: &Value) {
    let (parent, name) = path.rsplit_once('/').expect("a pointer");
    let mut place = object;
    for part in parent.split('/').skip(1) {
        place = match place {
            Value::Array(items) => &mut items[part.parse::<usize>().expect("an index")],
            other => &mut other[part],
        };
    }
    match (place, value) {
        (Value::Object(map), Value::Null) => {
            map.remove(name);
        }
        (place, value) => place[name] = value.clone(),
    }
}

/// Without what is another one each time.
fn comparable(object: &Value, plural: &str) -> Value {
    let mut object = object.clone();
    if let Some(status) = object.get_mut("status").and_then(Value::as_object_mut) {
        status.remove("observedGeneration");
    }
    if let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) {
        for field in ["uid", "resourceVersion", "creationTimestamp", "generation"] {
            metadata.remove(field);
        }
        if let Some(managers) = metadata.get_mut("managedFields").and_then(Value::as_array_mut) {
            for manager in managers.iter_mut().filter_map(Value::as_object_mut) {
                manager.remove("time");
            }
            managers.sort_by_key(|manager| {
                format!(
                    "{}{}{}",
                    manager["manager"], manager["operation"], manager["subresource"]
                )
            });
        }
    }
    let patterns: &[(&str, &str)] = match plural {
        "pods" => &[("kube-api-access-.....", "kube-api-access")],
        "services" => &[
            (r"10\.96\.\d+\.\d+", "an address"),
            (r#""(n|healthCheckN)odePort":\d+"#, "\"${1}odePort\":1"),
        ],
        "jobs" => &[("controller-uid\":\"[^\"]*\"", "controller-uid\":\"uid\"")],
        _ => &[],
    };
    replaced(&object, patterns)
}

fn replaced(value: &Value, patterns: &[(&str, &str)]) -> Value {
    let mut text = value.to_string();
    for (pattern, by) in patterns {
        let pattern = regex::Regex::new(pattern).expect("a pattern of this file");
        text = pattern.replace_all(&text, *by).into_owned();
    }
    serde_json::from_str(&text).expect("JSON as before")
}

/// A refusal, whatever the order of its causes: the real server's is that of a hashed map.
fn refusal(status: &Value) -> Value {
    let mut refusal = json!({
        "code": status["code"],
        "reason": status.get("reason").cloned().unwrap_or_else(|| json!("")),
        "message": status.get("message").cloned().unwrap_or_else(|| json!("")),
        "details": status.get("details").cloned().unwrap_or(Value::Null),
    });
    if let Some(causes) = refusal.pointer_mut("/details/causes").and_then(Value::as_array_mut) {
        causes.sort_by_key(ToString::to_string);
        if causes.len() > 1 {
            refusal["message"] = json!("");
        }
    }
    // The text of a patched object is in the order of Go's fields.
    let undecodable = text(&refusal, "/message").starts_with(" \"\" is invalid: patch: Invalid value");
    if undecodable {
        let message = text(&refusal, "/message");
        let end = message.rfind("}\": ").map_or(0, |index| index + 4);
        refusal["message"] = json!(message[end..].to_owned());
        refusal["details"] = Value::Null;
    }
    refusal
}

fn shown_table(table: &Value) -> Value {
    let mut table =
        json!({"columns": table["columnDefinitions"], "rows": table["rows"], "metadata": table["metadata"]});
    for column in table["columns"]
        .as_array_mut()
        .into_iter()
        .flatten()
        .filter_map(Value::as_object_mut)
    {
        column.remove("description");
    }
    for row in table["rows"]
        .as_array_mut()
        .into_iter()
        .flatten()
        .filter_map(Value::as_object_mut)
    {
        row.remove("object");
        row.remove("conditions");
    }
    replaced(&table, &[(r#""\d+[smhdy](\d+[smhd])?""#, "\"age\"")])
}

#[test]
fn the_real_servers_answers_are_given() {
    let kinds = kinds();
    let mut last: BTreeMap<(String, String), Value> = BTreeMap::new();
    let mut wrong = Vec::new();
    let mut count = 0;
    for line in include_str!("../../data/real-answers.jsonl").lines() {
        let case: Value = serde_json::from_str(line).expect("JSON");
        let (operation, plural) = (text(&case, "/op"), text(&case, "/plural"));
        let name = match text(&case, "/name") {
            "" => text(&case, "/body/metadata/name"),
            name => name,
        };
        let key = (plural.to_owned(), name.to_owned());
        let live = case
            .get("live")
            .filter(|live| !live.is_null())
            .or_else(|| last.get(&key))
            .cloned();
        let (kind, answer) = (&kinds[plural], &case["response"]);
        let subresource = text(&case, "/sub");
        let api_version = kind.api_version();
        let ignored: &[&str] = match (kind.status, subresource, kind.custom) {
            (true, "", _) => &["status"],
            (true, _, true) => &["metadata", "spec"],
            (true, _, false) => &["spec"],
            _ => &[],
        };
        let request = Request {
            kind,
            subresource,
            strict: text(&case, "/query").contains("Strict"),
            manager: Manager {
                name: match text(&case, "/manager") {
                    "" => "drive",
                    name => name,
                },
                api_version: &api_version,
                subresource,
                ignored,
                now: "2026-01-01T00:00:00Z",
            },
        };
        let node = kind.rules.node();
        let uid = match text(answer, "/metadata/uid") {
            "" => "00000",
            uid => uid,
        };
        let patched = |apply: &dyn Fn(&mut Value) -> Result<(), Status>| {
            let old = live.clone().expect("there was one");
            let mut object = old.clone();
            apply(&mut object)?;
            request.change(object, &old, true, None)
        };
        let outcome = match operation {
            "create" => request.create(case["body"].clone(), uid, None),
            "update" => {
                let old = live.clone().expect("there was one");
                let mut object = old.clone();
                for change in case["set"].as_array().into_iter().flatten() {
                    set(&mut object, change[0].as_str().expect("a path"), &change[1]);
                }
                request.change(object, &old, false, None)
            }
            "merge" => patched(&|object| patch::merge(object, &case["patch"])),
            "json" => patched(&|object| patch::json(object, &case["patch"])),
            "strategic" => patched(&|object| patch::strategic(object, &case["patch"], node)),
            "apply" => {
                let force = case["force"] == true;
                let applied = patch::apply(live.as_ref(), &case["patch"], node, &request.manager, force);
                applied.and_then(|object| {
                    let managers = object.pointer("/metadata/managedFields").cloned();
                    match &live {
                        None => request.create(object, uid, managers),
                        Some(old) => request.change(object, old, true, managers),
                    }
                })
            }
            _ => {
                let object = live.clone().expect("there was one");
                let metadata = json!({"resourceVersion": object["metadata"]["resourceVersion"]});
                let created =
                    DateTime::parse_from_rfc3339(text(&object, "/metadata/creationTimestamp")).expect("a moment");
                let now = created.with_timezone(&Utc) + chrono::TimeDelta::seconds(5);
                Ok(schema::table(
                    kind.rules.columns(),
                    [&object],
                    now,
                    Include::Metadata,
                    metadata,
                ))
            }
        };
        count += 1;
        let real_refusal = text(answer, "/kind") == "Status";
        let same = match &outcome {
            Ok(table) if operation == "table" => shown_table(table) == shown_table(answer),
            Ok(object) => !real_refusal && comparable(object, plural) == comparable(answer, plural),
            Err(status) => real_refusal && refusal(&status.json()) == refusal(answer),
        };
        if operation != "table" && !real_refusal {
            last.insert(key, answer.clone());
        }
        let title = format!(
            "{operation} {plural} {name} {}",
            case.get("patch").unwrap_or(&Value::Null)
        );
        let listed = DIFFERENT.iter().any(|(different, _)| title.starts_with(different));
        if same == listed {
            let mine = outcome.map_or_else(|status| status.json(), |object| comparable(&object, plural));
            wrong.push(format!("{title}\n  made {mine}\n  real {answer}"));
        }
    }
    assert_eq!(count, 214);
    assert!(wrong.is_empty(), "{} answers:\n{}", wrong.len(), wrong.join("\n"));
}
