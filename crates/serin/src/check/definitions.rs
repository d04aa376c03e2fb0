//! The resource definitions: are they there, whose are they, and does their schema know all that Serin knows.

use std::{collections::BTreeSet, sync::LazyLock};

use serde_json::Value;
use serin_api::{GROUP, VERSION, crd};

use super::{
    line::{CRD, CRD_FREE, CRD_SCHEMA, CRD_STORED, Line},
    observed::{Observed, condition, list, text},
};

const APPLY: &str = "`kubectl apply -k deploy/crds` (or `serin crds | kubectl apply -f -`)";

/// The definitions of this Serin; made once, from the types.
pub(super) static SHIPPED: LazyLock<Vec<crd::Definition>> = LazyLock::new(crd::all);

/// Names of the definitions, in the order in which they are shipped.
pub(super) fn names() -> impl Iterator<Item = String> {
    SHIPPED.iter().map(|d| format!("{}.{GROUP}", d.plural))
}

/// Whose definition it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Owner {
    Serin,
    Argo,
    Unknown,
}

/// By its labels and annotations: those of Argo Rollouts are made by controller-gen and labelled by its charts.
fn owner(definition: &Value) -> Owner {
    let metadata = &definition["metadata"];
    let label = |key: &str| metadata["labels"][key].as_str().unwrap_or_default();
    if label("app.kubernetes.io/part-of") == "serin" || label("app.kubernetes.io/name") == "serin" {
        return Owner::Serin;
    }
    let says_argo = [label("app.kubernetes.io/part-of"), label("app.kubernetes.io/name")].contains(&"argo-rollouts");
    let is_generated = metadata["annotations"]
        .get("controller-gen.kubebuilder.io/version")
        .is_some();
    if says_argo || is_generated {
        Owner::Argo
    } else {
        Owner::Unknown
    }
}

pub(super) fn findings(seen: &Observed) -> Vec<Line> {
    let mut lines = Vec::new();
    let is_readable = seen.definitions.values().any(Result::is_ok);
    if !is_readable && !seen.is_before && !seen.serves(&format!("{GROUP}/{VERSION}")) {
        lines.push(CRD.fail(
            "",
            format!("the API server does not serve {GROUP}/{VERSION}: there can be no Rollouts"),
            format!("{APPLY}."),
        ));
    }
    for shipped in SHIPPED.iter() {
        let name = format!("{}.{GROUP}", shipped.plural);
        let about = format!("CustomResourceDefinition {name}");
        let found = match seen.definitions.get(&name) {
            Some(Ok(found)) => found,
            // Said once, by `reading`.
            Some(Err(_)) | None => continue,
        };
        match found {
            None if seen.is_before => lines.push(CRD_FREE.pass(about, "is free to be created")),
            None if shipped.plural == "experiments" => lines.push(CRD.warn(
                about,
                "is not there; Serin does not act on Experiments yet, clients may miss it",
                format!("{APPLY}."),
            )),
            None => lines.push(CRD.fail(
                about,
                format!("is not there: the API server knows no {}", shipped.plural),
                format!("{APPLY}."),
            )),
            Some(definition) => lines.extend(one(seen, &about, &shipped.object, definition)),
        }
    }
    lines
}

fn one(seen: &Observed, about: &str, shipped: &Value, found: &Value) -> Vec<Line> {
    let conditions = list(found, "/status/conditions");
    let whose = match owner(found) {
        Owner::Serin => "Serin's own",
        Owner::Argo => "Argo Rollouts'",
        Owner::Unknown => "somebody's (no label tells whose)",
    };
    let mut lines = Vec::new();
    let established = condition(conditions, "Established");
    if established.is_none_or(|(status, _, _)| status != "True") {
        let message = established.map_or("it was made a moment ago", |(_, _, message)| message);
        lines.push(CRD.fail(
            about,
            format!("is not established: {message}"),
            "Wait a moment; then look at its conditions with `kubectl describe crd`. Another definition may have the same names.",
        ));
        return lines;
    }
    let Some(version) = version(found) else {
        let names: Vec<&str> = list(found, "/spec/versions").iter().map(|v| text(v, "/name")).collect();
        lines.push(CRD.fail(
            about,
            format!(
                "does not serve {VERSION} (it has {}); Serin speaks nothing else",
                names.join(", ")
            ),
            format!("{APPLY}."),
        ));
        return lines;
    };
    if text(found, "/metadata/deletionTimestamp").is_empty() {
        lines.push(CRD.pass(about, format!("there and established; it is {whose}")));
    } else {
        lines.push(CRD.fail(
            about,
            "is being deleted, and all its objects with it",
            "Look at its finalizers and at who deletes it.",
        ));
    }
    lines.push(schema(seen, about, owner(found), shipped, version));
    let stored: Vec<&str> = list(found, "/status/storedVersions")
        .iter()
        .filter_map(Value::as_str)
        .collect();
    lines.push(if stored.iter().all(|v| *v == VERSION) {
        CRD_STORED.pass(about, format!("stores {VERSION}"))
    } else {
        CRD_STORED.warn(
            about,
            format!("has objects stored as {}", stored.join(", ")),
            format!("Write each object once (`kubectl get {} -A -o json | kubectl replace -f -`), then set status.storedVersions to [{VERSION}].", text(found, "/spec/names/plural")),
        )
    });
    lines
}

/// The version that Serin speaks, if it is served.
fn version(definition: &Value) -> Option<&Value> {
    list(definition, "/spec/versions")
        .iter()
        .find(|v| text(v, "/name") == VERSION && v["served"] == true)
}

fn schema(seen: &Observed, about: &str, owner: Owner, shipped: &Value, found: &Value) -> Line {
    const SCHEMA: &str = "/schema/openAPIV3Schema";
    let empty = Value::Null;
    let wanted = version(shipped).unwrap_or(&empty);
    let parts = ["/schema", "/subresources"];
    if parts.iter().all(|part| wanted.pointer(part) == found.pointer(part)) {
        return CRD_SCHEMA.pass(about, "its schema is the one of this Serin");
    }
    let mut missing = missing_fields(
        wanted.pointer(SCHEMA).unwrap_or(&empty),
        found.pointer(SCHEMA).unwrap_or(&empty),
    );
    if wanted["subresources"]["status"].is_object() && !found["subresources"]["status"].is_object() {
        return CRD_SCHEMA.fail(
            about,
            "has no status subresource: Serin cannot write what comes of a release",
            format!("{APPLY}."),
        );
    }
    let shown = missing.len().min(5);
    let more = missing.len() - shown;
    missing.truncate(shown);
    let pruned = format!(
        "{}{}",
        missing.join(", "),
        if more > 0 {
            format!(" and {more} more")
        } else {
            String::new()
        }
    );
    match owner {
        Owner::Argo if missing.is_empty() => CRD_SCHEMA.pass(about, "is Argo Rollouts' and knows every field that Serin knows: it works"),
        Owner::Argo => CRD_SCHEMA.warn(
            about,
            format!("is Argo Rollouts', and another version than this Serin's: it works, but the API server drops what it does not know: {pruned}"),
            if seen.is_before {
                "`kubectl apply -k deploy` replaces the definitions; nothing is lost. If Argo CD or Helm owns them, change them there, or leave them as they are.".to_owned()
            } else {
                format!("If you want these fields: {APPLY}. If Argo CD or Helm owns the definitions, change them there.")
            },
        ),
        Owner::Serin => CRD_SCHEMA.warn(
            about,
            if missing.is_empty() {
                "is Serin's of another version; every field of this one is known".to_owned()
            } else {
                format!("is Serin's of another version: the API server drops {pruned}")
            },
            format!("{APPLY}: objects stay as they are."),
        ),
        Owner::Unknown => CRD_SCHEMA.warn(
            about,
            if missing.is_empty() {
                "is neither Serin's nor Argo Rollouts'; every field that Serin knows is known".to_owned()
            } else {
                format!("is neither Serin's nor Argo Rollouts'; the API server drops {pruned}")
            },
            format!("Find out who installed it, then {APPLY}."),
        ),
    }
}

/// Fields of one schema that the other would drop, the outermost of each branch.
fn missing_fields(wanted: &Value, found: &Value) -> Vec<String> {
    let mut missing = BTreeSet::new();
    let mut waiting = vec![(String::new(), wanted, found)];
    while let Some((path, wanted, found)) = waiting.pop() {
        if found["x-kubernetes-preserve-unknown-fields"] == true {
            continue;
        }
        for (field, inner) in wanted["properties"].as_object().into_iter().flatten() {
            let path = if path.is_empty() {
                field.clone()
            } else {
                format!("{path}.{field}")
            };
            match found["properties"].get(field) {
                Some(other) => waiting.push((path, inner, other)),
                // A map takes any key.
                None if found["additionalProperties"].is_object() || found["additionalProperties"] == true => {}
                // `metadata` is always the API server's own.
                None if path == "metadata" || path == "apiVersion" || path == "kind" => {}
                None => {
                    missing.insert(path);
                }
            }
        }
        if wanted["items"].is_object() {
            waiting.push((format!("{path}[]"), &wanted["items"], &found["items"]));
        }
    }
    missing.into_iter().collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn fields_that_would_be_dropped_are_named_by_their_outermost_path() {
        let wanted = json!({"properties": {
            "spec": {"properties": {"a": {}, "b": {"properties": {"c": {}}}, "list": {"items": {"properties": {"x": {}, "y": {}}}}, "free": {"properties": {"z": {}}}}},
            "metadata": {},
        }});
        let found = json!({"properties": {
            "spec": {"properties": {"a": {}, "list": {"items": {"properties": {"x": {}}}}, "free": {"x-kubernetes-preserve-unknown-fields": true}}},
        }});
        assert_eq!(missing_fields(&wanted, &found), ["spec.b", "spec.list[].y"]);
        assert!(missing_fields(&wanted, &wanted).is_empty());
    }

    #[test]
    fn labels_and_annotations_tell_whose_a_definition_is() {
        assert_eq!(owner(&crd::all()[0].object), Owner::Serin);
        let generated = json!({"metadata": {"annotations": {"controller-gen.kubebuilder.io/version": "v0.17.0"}}});
        assert_eq!(owner(&generated), Owner::Argo);
        assert_eq!(owner(&json!({"metadata": {}})), Owner::Unknown);
    }
}
