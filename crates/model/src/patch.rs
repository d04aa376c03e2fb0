//! The difference between two JSON values as a patch: what status writes carry. Knows nothing of what the values mean.

use serde_json::{Map, Value};

/// The JSON merge patch (RFC 7386) from one value to the other; [`None`] when they are equal. What is gone becomes `null`.
pub fn merge_patch(before: &Value, after: &Value) -> Option<Value> {
    if before == after {
        return None;
    }
    let (Value::Object(old), Value::Object(new)) = (before, after) else {
        return Some(after.clone());
    };
    let mut patch = Map::new();
    for key in old.keys().filter(|key| !new.contains_key(*key)) {
        patch.insert(key.clone(), Value::Null);
    }
    for (key, value) in new {
        match old.get(key) {
            None => {
                patch.insert(key.clone(), value.clone());
            }
            Some(known) => {
                if let Some(change) = merge_patch(known, value) {
                    patch.insert(key.clone(), change);
                }
            }
        }
    }
    (!patch.is_empty()).then_some(Value::Object(patch))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_merge_patch_names_only_what_changed_and_nulls_what_is_gone() {
        let before = json!({"a": 1, "b": {"c": 1, "d": 2}, "l": [1, 2], "gone": true});
        let after = json!({"a": 1, "b": {"c": 1, "d": 3}, "l": [2], "n": {}});
        assert_eq!(
            merge_patch(&before, &after),
            Some(json!({"b": {"d": 3}, "l": [2], "n": {}, "gone": null}))
        );
        assert_eq!(merge_patch(&before, &before), None);
    }

    #[test]
    fn a_merge_patch_holds_what_differs_and_nulls_for_what_is_gone() {
        let old = json!({"same": 1, "gone": 2, "deep": {"a": 1, "b": 2}, "list": [1]});
        let new = json!({"same": 1, "deep": {"a": 1, "b": 3}, "list": [1, 2], "young": {}});
        assert_eq!(
            merge_patch(&old, &new),
            Some(json!({"gone": null, "deep": {"b": 3}, "list": [1, 2], "young": {}}))
        );
        assert_eq!(merge_patch(&new, &new), None);
        assert_eq!(merge_patch(&Value::Null, &new), Some(new));
    }
}
