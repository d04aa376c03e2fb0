//! What of a body is not compared, because it depends on chance, on time or on what else the server serves: bookmarks, the order
//! of what the real server has no order for, texts that are not copied.

use std::sync::LazyLock;

use regex::Regex;
use serde_json::{Value, json};

static AGE: LazyLock<Regex> = LazyLock::new(|| Regex::new(r"^(\d+[smhdy])+$").expect("a constant pattern"));
/// Resources of discovery answers that kubesim does not serve and never will are not compared; see [`discovery`].
const DISCOVERY: [&str; 4] = ["APIResourceList", "APIGroupList", "APIGroupDiscoveryList", "APIGroup"];

/// A server may send bookmarks whenever it likes; only the one that ends the initial events has a meaning.
pub(crate) fn is_plain_bookmark(event: &Value) -> bool {
    event["type"] == "BOOKMARK"
        && event["object"]["metadata"]["annotations"]["k8s.io/initial-events-end"].as_str() != Some("true")
}

/// A bookmark means its version; the empty fields that Go's types add to its object mean nothing.
pub(crate) fn strip_bookmark(event: &mut Value) {
    if event["type"] == "BOOKMARK"
        && let Some(object) = event["object"].as_object_mut()
    {
        object.retain(|field, _| matches!(field.as_str(), "apiVersion" | "kind" | "metadata"));
    }
}

pub(crate) fn drop_managed_fields(value: &mut Value) {
    match value {
        Value::Array(items) => items.iter_mut().for_each(drop_managed_fields),
        Value::Object(map) => {
            if let Some(Value::Object(metadata)) = map.get_mut("metadata") {
                metadata.remove("managedFields");
            }
            map.values_mut().for_each(drop_managed_fields);
        }
        _ => {}
    }
}

/// Conflicts of several managers come in any order, in which the real server has its managers in memory.
pub(crate) fn sort_conflicts(body: &mut Value) {
    if let Some(Value::Array(causes)) = body.pointer_mut("/details/causes")
        && causes.iter().all(|cause| cause["reason"] == "FieldManagerConflict")
    {
        causes.sort_by_key(Value::to_string);
    }
}

/// What a schema of a custom resource finds fault with comes in any order too, and so do its rules.
pub(crate) fn sort_complaints(body: &mut Value) {
    if body["code"] != 422 {
        return;
    }
    let Some(Value::Array(causes)) = body.pointer_mut("/details/causes") else {
        return;
    };
    if causes.len() < 2 {
        return;
    }
    causes.sort_by_key(Value::to_string);
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let mut texts: Vec<String> = causes
        .iter()
        .map(|cause| format!("{}: {}", text(&cause["field"]), text(&cause["message"])))
        .collect();
    texts.dedup();
    let message = text(&body["message"]);
    let length: usize = texts.iter().map(|text| text.len() + 2).sum();
    // Only where the message is nothing but these complaints.
    if let Some((head, rest)) = message.split_once(" is invalid: ")
        && rest.len() == if texts.len() == 1 { length - 2 } else { length }
    {
        body["message"] = json!(format!("{head} is invalid: [{}]", texts.join(", ")));
    }
}

/// Managers are in the order of their times, in whole seconds: which second it is depends on how fast a case is played.
pub(crate) fn sort_managed_fields(body: &mut Value) {
    if let Some(Value::Array(managers)) = body.pointer_mut("/metadata/managedFields") {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        managers.sort_by_key(|one| {
            (
                text(&one["manager"]),
                text(&one["operation"]),
                text(&one["subresource"]),
            )
        });
    }
}

/// Discovery names what a server serves. kubesim serves what a rollout needs, so only that is compared; hashes of storage are not.
pub(crate) fn discovery(body: &mut Value) {
    if !body["kind"].as_str().is_some_and(|kind| DISCOVERY.contains(&kind)) {
        return;
    }
    let groups: Vec<&str> = crate::kinds::kinds().iter().map(|kind| kind.group.as_str()).collect();
    let list = body["groupVersion"].as_str().map(str::to_owned);
    let serves = |group: &str, resource: &str| {
        crate::kinds::kinds()
            .iter()
            .any(|kind| kind.group == group && kind.resource == resource.split('/').next().unwrap_or_default())
    };
    if let Some(resources) = body["resources"].as_array_mut() {
        let group = list
            .as_deref()
            .and_then(|version| version.split_once('/'))
            .map_or("", |(group, _)| group);
        resources.retain(|resource| serves(group, resource["name"].as_str().unwrap_or_default()));
        for resource in resources {
            if let Some(map) = resource.as_object_mut() {
                map.remove("storageVersionHash");
            }
        }
    }
    if let Some(list) = body["groups"].as_array_mut() {
        list.retain(|group| groups.contains(&group["name"].as_str().unwrap_or_default()));
        // Their order is by priority for the built-in ones and otherwise by when they came.
        list.sort_by_key(|group| group["name"].as_str().unwrap_or_default().to_owned());
    }
    if let Some(items) = body["items"].as_array_mut() {
        items.retain(|item| groups.contains(&item["metadata"]["name"].as_str().unwrap_or_default()));
        items.sort_by_key(|item| item["metadata"]["name"].as_str().unwrap_or_default().to_owned());
        for item in items {
            let group = item["metadata"]["name"].as_str().unwrap_or_default().to_owned();
            for version in item["versions"].as_array_mut().into_iter().flatten() {
                if let Some(resources) = version["resources"].as_array_mut() {
                    resources.retain(|resource| serves(&group, resource["resource"].as_str().unwrap_or_default()));
                }
            }
        }
    }
}

pub(crate) fn is_of_custom_resources(path: &str) -> bool {
    let mut customs = crate::kinds::kinds().iter().filter(|kind| kind.custom);
    customs.any(|kind| path.starts_with(&kind.root()))
}

/// What describes the columns of tables are sentences of Kubernetes' API reference, which are not copied: it only matters that
/// there is one. A definition of a custom resource says its own, but for the name and the age.
pub(crate) fn column_texts(value: &mut Value, is_custom: bool) {
    match value {
        Value::Array(items) => items.iter_mut().for_each(|item| column_texts(item, is_custom)),
        Value::Object(map) => {
            if let Some(Value::Array(columns)) = map.get_mut("columnDefinitions") {
                let own_words = |column: &Value| {
                    let text = column["description"].as_str().unwrap_or_default();
                    is_custom && (column["name"] != "Name" && column["name"] != "Age" || text.starts_with("Custom"))
                };
                for column in columns {
                    if column["description"] != "" && column["description"].is_string() && !own_words(column) {
                        column["description"] = json!("<text>");
                    }
                }
            }
            map.values_mut().for_each(|item| column_texts(item, is_custom));
        }
        _ => {}
    }
}

/// In tables a time is shown as an age, which depends on how long a case takes.
pub(crate) fn ages(value: &mut Value) {
    match value {
        Value::Array(items) => items.iter_mut().for_each(ages),
        Value::Object(map) => {
            if let Some(Value::Array(rows)) = map.get_mut("rows") {
                for cell in rows.iter_mut().filter_map(|row| row["cells"].as_array_mut()).flatten() {
                    if cell.as_str().is_some_and(|text| AGE.is_match(text)) {
                        *cell = json!("<age>");
                    }
                }
            }
            map.values_mut().for_each(ages);
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn complaints_of_schemas_are_compared_in_any_order() {
        let refusal = |first: &str, second: &str| {
            json!({
                "code": 422,
                "message": format!("Gadget \"a\" is invalid: [spec.{first}: bad, spec.{second}: bad]"),
                "details": {"causes": [
                    {"field": format!("spec.{first}"), "message": "bad"},
                    {"field": format!("spec.{second}"), "message": "bad"},
                ]},
            })
        };
        let (mut one, mut other, mut third) = (refusal("x", "y"), refusal("y", "x"), refusal("y", "z"));
        for body in [&mut one, &mut other, &mut third] {
            sort_complaints(body);
        }
        assert_eq!(one, other);
        assert_ne!(one, third);
    }
}
