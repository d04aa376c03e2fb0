//! Label selectors: does one match, and how is it written as text.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, LabelSelectorRequirement};

/// Whether the labels fit. An empty selector fits everything.
///
/// # Errors
/// An operator other than In, NotIn, Exists, DoesNotExist; the message names it.
pub fn matches(selector: &LabelSelector, labels: &BTreeMap<String, String>) -> Result<bool, String> {
    let plain = selector.match_labels.iter().flatten();
    for (key, value) in plain {
        if labels.get(key) != Some(value) {
            return Ok(false);
        }
    }
    let mut all = true;
    // All operators are looked at, so that an unknown one is an error whatever the labels are.
    for requirement in selector.match_expressions.iter().flatten() {
        all &= holds(requirement, labels)?;
    }
    Ok(all)
}

fn holds(requirement: &LabelSelectorRequirement, labels: &BTreeMap<String, String>) -> Result<bool, String> {
    let value = labels.get(&requirement.key);
    let among = |v: &String| requirement.values.iter().flatten().any(|wanted| wanted == v);
    match requirement.operator.as_str() {
        "In" => Ok(value.is_some_and(among)),
        "NotIn" => Ok(!value.is_some_and(among)),
        "Exists" => Ok(value.is_some()),
        "DoesNotExist" => Ok(value.is_none()),
        other => Err(format!("{other:?} is not a valid label selector operator")),
    }
}

/// The text of `status.selector` (compat 1.3): sorted by key, `k=v,k2 in (a,b)`; `<none>` when empty.
pub fn to_text(selector: &LabelSelector) -> String {
    let plain = selector
        .match_labels
        .iter()
        .flatten()
        .map(|(key, value)| (key.clone(), format!("{key}={value}")));
    let expressions = selector.match_expressions.iter().flatten().map(|requirement| {
        let key = requirement.key.clone();
        let values: BTreeSet<&str> = requirement.values.iter().flatten().map(String::as_str).collect();
        let values = values.into_iter().collect::<Vec<_>>().join(",");
        let text = match requirement.operator.as_str() {
            "In" => format!("{key} in ({values})"),
            "NotIn" => format!("{key} notin ({values})"),
            "Exists" => key.clone(),
            "DoesNotExist" => format!("!{key}"),
            // Refused by validation before anybody reads this.
            _ => "<error>".to_owned(),
        };
        (key, text)
    });
    let mut parts: Vec<(String, String)> = plain.chain(expressions).collect();
    parts.sort_by(|a, b| a.0.cmp(&b.0));
    if parts.is_empty() {
        return "<none>".to_owned();
    }
    parts.into_iter().map(|(_, text)| text).collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn selector(value: serde_json::Value) -> LabelSelector {
        serde_json::from_value(value).unwrap()
    }

    fn labels(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect()
    }

    #[test]
    fn all_terms_must_hold() {
        let s = selector(json!({
            "matchLabels": {"app": "demo"},
            "matchExpressions": [
                {"key": "tier", "operator": "In", "values": ["a", "b"]},
                {"key": "old", "operator": "DoesNotExist"},
            ],
        }));
        assert_eq!(matches(&s, &labels(&[("app", "demo"), ("tier", "b")])), Ok(true));
        assert_eq!(matches(&s, &labels(&[("app", "demo"), ("tier", "c")])), Ok(false));
        assert_eq!(
            matches(&s, &labels(&[("app", "demo"), ("tier", "a"), ("old", "")])),
            Ok(false)
        );
        assert_eq!(matches(&s, &labels(&[("tier", "a")])), Ok(false));
        assert_eq!(matches(&LabelSelector::default(), &labels(&[])), Ok(true));
    }

    #[test]
    fn a_missing_label_is_not_in_any_list() {
        let s = selector(json!({"matchExpressions": [{"key": "k", "operator": "NotIn", "values": ["v"]}]}));
        assert_eq!(matches(&s, &labels(&[])), Ok(true));
        assert_eq!(matches(&s, &labels(&[("k", "v")])), Ok(false));
    }

    #[test]
    fn an_unknown_operator_is_an_error_that_names_it() {
        let s = selector(json!({"matchExpressions": [{"key": "k", "operator": "Like"}]}));
        assert_eq!(
            matches(&s, &labels(&[])),
            Err("\"Like\" is not a valid label selector operator".to_owned())
        );
    }

    #[test]
    fn the_text_is_sorted_and_complete() {
        let s = selector(json!({
            "matchLabels": {"z": "1", "app": "demo"},
            "matchExpressions": [
                {"key": "m", "operator": "In", "values": ["b", "a"]},
                {"key": "n", "operator": "NotIn", "values": ["x"]},
                {"key": "e", "operator": "Exists"},
                {"key": "d", "operator": "DoesNotExist"},
            ],
        }));
        assert_eq!(to_text(&s), "app=demo,!d,e,m in (a,b),n notin (x),z=1");
        assert_eq!(to_text(&LabelSelector::default()), "<none>");
    }
}
