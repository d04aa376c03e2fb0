//! From the templates that a Rollout names to the one list of metrics and arguments that a run carries (compat 3.6).

use std::collections::{BTreeMap, BTreeSet};

use crate::{
    analysis::{AnalysisTemplateSpec, Argument, Metric},
    rollout::{AnalysisTemplateRef, DryRun, MeasurementRetention},
};

pub use crate::metrics::validate_metrics;

/// Why templates cannot be put together.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ComposeError {
    /// A template that is named does not exist.
    #[error("{} '{}' not found", kind(.template), .template.template_name)]
    NotFound {
        /// The reference.
        template: AnalysisTemplateRef,
        /// It is named by another template, not by the Rollout.
        nested: bool,
    },
    /// Two metrics of one name.
    #[error("two metrics have the same name '{0}'")]
    DuplicateMetric(String),
    /// Two dry-run rules of one name.
    #[error("two Dry-Run metric rules have the same name '{0}'")]
    DuplicateDryRun(String),
    /// Two retention rules of one name.
    #[error("two Measurement Retention metric rules have the same name '{0}'")]
    DuplicateRetention(String),
    /// Two templates give one argument different values.
    #[error("Argument `{name}` specified multiple times with different values: '{first}', '{second}'")]
    ConflictingArgument {
        /// The argument.
        name: String,
        /// One value.
        first: String,
        /// The other.
        second: String,
    },
}

fn kind(template: &AnalysisTemplateRef) -> &'static str {
    if template.cluster_scope {
        "ClusterAnalysisTemplate"
    } else {
        "AnalysisTemplate"
    }
}

/// All templates that the references reach, each once: those of the namespace first, then those of the cluster, each in
/// the order in which they are first met. Templates that include each other are visited once.
///
/// # Errors
/// [`ComposeError::NotFound`].
pub fn reach<'a>(
    refs: &[AnalysisTemplateRef],
    lookup: impl Fn(&AnalysisTemplateRef) -> Option<&'a AnalysisTemplateSpec>,
) -> Result<Vec<(AnalysisTemplateRef, &'a AnalysisTemplateSpec)>, ComposeError> {
    let mut seen = BTreeSet::new();
    let mut found = Vec::new();
    let mut waiting: Vec<(AnalysisTemplateRef, bool)> = refs.iter().rev().map(|r| (r.clone(), false)).collect();
    while let Some((template, nested)) = waiting.pop() {
        if !seen.insert(template.clone()) {
            continue;
        }
        let Some(spec) = lookup(&template) else {
            return Err(ComposeError::NotFound { template, nested });
        };
        waiting.extend(spec.templates.iter().flatten().rev().map(|inner| (inner.clone(), true)));
        found.push((template, spec));
    }
    found.sort_by_key(|(template, _)| template.cluster_scope);
    Ok(found)
}

/// The templates as one, with nothing left to include.
///
/// # Errors
/// A template is missing, or two of them do not go together.
pub fn compose<'a>(
    refs: &[AnalysisTemplateRef],
    lookup: impl Fn(&AnalysisTemplateRef) -> Option<&'a AnalysisTemplateSpec>,
) -> Result<AnalysisTemplateSpec, ComposeError> {
    let specs: Vec<&AnalysisTemplateSpec> = reach(refs, lookup)?.into_iter().map(|(_, spec)| spec).collect();
    let metrics: Vec<Metric> = specs.iter().flat_map(|s| s.metrics.iter().flatten().cloned()).collect();
    if let Some(name) = first_repeated(metrics.iter().map(|m| m.name.as_str())) {
        return Err(ComposeError::DuplicateMetric(name));
    }
    let dry_run = merge_dry_run(&[], specs.iter().flat_map(|s| s.dry_run.iter().flatten()))?;
    let retention = merge_retention(&[], specs.iter().flat_map(|s| s.measurement_retention.iter().flatten()))?;
    let args = join_args(specs.iter().flat_map(|s| s.args.iter().flatten()))?;
    Ok(AnalysisTemplateSpec {
        metrics: Some(metrics),
        args: some(args),
        dry_run: some(dry_run),
        measurement_retention: some(retention),
        templates: None,
    })
}

fn some<T>(list: Vec<T>) -> Option<Vec<T>> {
    (!list.is_empty()).then_some(list)
}

/// The rules that the Rollout gives, then those of the templates.
///
/// # Errors
/// Two rules have the same name.
pub fn merge_dry_run<'a>(
    given: &'a [DryRun],
    template: impl IntoIterator<Item = &'a DryRun>,
) -> Result<Vec<DryRun>, ComposeError> {
    let all: Vec<DryRun> = given.iter().chain(template).cloned().collect();
    match first_repeated(all.iter().map(|r| r.metric_name.as_str())) {
        Some(name) => Err(ComposeError::DuplicateDryRun(name)),
        None => Ok(all),
    }
}

/// The rules that the Rollout gives, then those of the templates.
///
/// # Errors
/// Two rules have the same name.
pub fn merge_retention<'a>(
    given: &'a [MeasurementRetention],
    template: impl IntoIterator<Item = &'a MeasurementRetention>,
) -> Result<Vec<MeasurementRetention>, ComposeError> {
    let all: Vec<MeasurementRetention> = given.iter().chain(template).cloned().collect();
    match first_repeated(all.iter().map(|r| r.metric_name.as_str())) {
        Some(name) => Err(ComposeError::DuplicateRetention(name)),
        None => Ok(all),
    }
}

fn first_repeated<'a>(names: impl Iterator<Item = &'a str>) -> Option<String> {
    let mut seen = BTreeSet::new();
    for name in names {
        if !seen.insert(name) {
            return Some(name.to_owned());
        }
    }
    None
}

/// Arguments of several templates: the same name is one argument; the first value counts, another value is an error.
fn join_args<'a>(args: impl Iterator<Item = &'a Argument>) -> Result<Vec<Argument>, ComposeError> {
    let mut joined: Vec<Argument> = Vec::new();
    for arg in args {
        let Some(earlier) = joined.iter_mut().find(|a| a.name == arg.name) else {
            joined.push(arg.clone());
            continue;
        };
        match (&earlier.value, &arg.value) {
            (Some(first), Some(second)) if first != second => {
                return Err(ComposeError::ConflictingArgument {
                    name: arg.name.clone(),
                    first: first.clone(),
                    second: second.clone(),
                });
            }
            (None, _) => *earlier = arg.clone(),
            _ => {}
        }
    }
    Ok(joined)
}

/// The arguments that templates declare, with the values that were given for them. Given ones that no template declares are
/// dropped.
///
/// # Errors
/// `args.x was not resolved`: the first declared argument that has no value.
pub fn merge_args(template_args: &[Argument], given: &[Argument]) -> Result<Vec<Argument>, String> {
    let mut merged = template_args.to_vec();
    for arg in given {
        let Some(declared) = merged.iter_mut().find(|a| a.name == arg.name) else {
            continue;
        };
        if arg.value.is_some() {
            declared.value.clone_from(&arg.value);
        } else if arg.value_from.is_some() {
            declared.value_from.clone_from(&arg.value_from);
        }
    }
    match merged.iter().find(|a| a.value.is_none() && a.value_from.is_none()) {
        Some(open) => Err(format!("args.{} was not resolved", open.name)),
        None => Ok(merged),
    }
}

/// The value that a `fieldRef` names in a Rollout's JSON: `metadata.…` as the downward API knows it; anything else walks the
/// object and must end in a plain value.
///
/// # Errors
/// There is no such field, or it is not a plain value; the message names the path.
pub fn field_value(rollout: &serde_json::Value, path: &str) -> Result<String, String> {
    let mut at = rollout;
    let quoted = path
        .split_once("['")
        .and_then(|(head, rest)| Some((head, rest.strip_suffix("']")?)));
    let parts: Vec<&str> = match quoted {
        Some((head, key)) => head.split('.').chain([key]).collect(),
        None => path.split(['.', '[', ']']).filter(|part| !part.is_empty()).collect(),
    };
    for part in parts {
        let next = match part.parse::<usize>() {
            Ok(index) if at.is_array() => at.get(index),
            _ => at.get(part),
        };
        at = next.ok_or_else(|| format!("fieldRef {path:?}: the Rollout has no such field"))?;
    }
    match at {
        serde_json::Value::String(text) => Ok(text.clone()),
        serde_json::Value::Number(_) | serde_json::Value::Bool(_) => Ok(at.to_string()),
        _ => Err(format!("fieldRef {path:?}: the field is not a plain value")),
    }
}

/// The metric with every `{{args.x}}` replaced by its value, in whatever string or int-or-string field it stands (compat
/// 3.6). Values that come from elsewhere (a Secret) are looked up in `elsewhere` by argument name.
///
/// # Errors
/// `failed to resolve {{x}}`: something in double braces is no argument; `argument "x" was not supplied`: one has no value.
pub fn resolve_metric(
    metric: &Metric,
    args: &[Argument],
    elsewhere: &BTreeMap<String, String>,
) -> Result<Metric, String> {
    let mut values = BTreeMap::new();
    for arg in args {
        let value = elsewhere.get(&arg.name).or(arg.value.as_ref());
        let value = value.ok_or_else(|| format!("argument {:?} was not supplied", arg.name))?;
        values.insert(format!("args.{}", arg.name), value.as_str());
    }
    let mut json =
        serde_json::to_value(metric).map_err(|e| format!("metric {} cannot be written: {e}", metric.name))?;
    fill(&mut json, &values)?;
    serde_json::from_value(json).map_err(|e| format!("metric {} cannot be read with its arguments: {e}", metric.name))
}

fn fill(value: &mut serde_json::Value, values: &BTreeMap<String, &str>) -> Result<(), String> {
    match value {
        serde_json::Value::String(text) => {
            if text.contains("{{") {
                *text = fill_text(text, values)?;
            }
            Ok(())
        }
        serde_json::Value::Array(items) => items.iter_mut().try_for_each(|item| fill(item, values)),
        serde_json::Value::Object(map) => {
            if map.keys().any(|key| key.contains("{{")) {
                let old = std::mem::take(map);
                for (key, inner) in old {
                    map.insert(fill_text(&key, values)?, inner);
                }
            }
            map.values_mut().try_for_each(|inner| fill(inner, values))
        }
        _ => Ok(()),
    }
}

fn fill_text(text: &str, values: &BTreeMap<String, &str>) -> Result<String, String> {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("{{") {
        out.push_str(before);
        // Braces that are never closed are plain text.
        let Some((name, tail)) = after.split_once("}}") else {
            out.push_str("{{");
            rest = after;
            continue;
        };
        let value = values
            .get(name.trim())
            .ok_or_else(|| format!("failed to resolve {{{{{name}}}}}"))?;
        out.push_str(value);
        rest = tail;
    }
    out.push_str(rest);
    Ok(out)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn spec(value: Value) -> AnalysisTemplateSpec {
        serde_json::from_value(value).unwrap()
    }

    fn refs(names: &[&str]) -> Vec<AnalysisTemplateRef> {
        names
            .iter()
            .map(|name| AnalysisTemplateRef {
                template_name: name.trim_start_matches('*').to_owned(),
                cluster_scope: name.starts_with('*'),
            })
            .collect()
    }

    /// `*name` is a template of the cluster.
    fn composed(templates: &[(&str, Value)], names: &[&str]) -> Result<AnalysisTemplateSpec, ComposeError> {
        let known: BTreeMap<AnalysisTemplateRef, AnalysisTemplateSpec> = templates
            .iter()
            .map(|(name, value)| (refs(&[name]).remove(0), spec(value.clone())))
            .collect();
        compose(&refs(names), |r| known.get(r))
    }

    fn metric(name: &str) -> Value {
        json!({"name": name, "provider": {}})
    }

    fn names(spec: &AnalysisTemplateSpec) -> Vec<&str> {
        spec.metrics.iter().flatten().map(|m| m.name.as_str()).collect()
    }

    #[test]
    fn nested_templates_are_flattened_and_each_counts_once() {
        let templates = [
            (
                "a",
                json!({"metrics": [metric("a")], "templates": [{"templateName": "b"}, {"templateName": "c", "clusterScope": true}]}),
            ),
            ("b", json!({"metrics": [metric("b")]})),
            (
                "*c",
                json!({"metrics": [metric("c")], "templates": [{"templateName": "d"}]}),
            ),
            ("d", json!({"metrics": [metric("d")]})),
        ];
        let all = composed(&templates, &["a", "b", "d"]).unwrap();
        assert_eq!(names(&all), ["a", "b", "d", "c"]);
        assert_eq!(all.templates, None);
    }

    #[test]
    fn templates_that_include_each_other_do_not_hang() {
        let templates = [
            (
                "a",
                json!({"metrics": [metric("a")], "templates": [{"templateName": "b"}]}),
            ),
            (
                "b",
                json!({"metrics": [metric("b")], "templates": [{"templateName": "a"}, {"templateName": "b"}]}),
            ),
        ];
        assert_eq!(names(&composed(&templates, &["a"]).unwrap()), ["a", "b"]);
    }

    #[test]
    fn what_does_not_go_together_is_told_in_upstreams_words() {
        let arg = |value: &str| json!({"metrics": [], "args": [{"name": "x", "value": value}]});
        for (templates, message) in [
            (
                [
                    ("a", json!({"metrics": [metric("rate")]})),
                    ("b", json!({"metrics": [metric("rate")]})),
                ],
                "two metrics have the same name 'rate'",
            ),
            (
                [("a", arg("1")), ("b", arg("2"))],
                "Argument `x` specified multiple times with different values: '1', '2'",
            ),
            (
                [
                    ("a", json!({"dryRun": [{"metricName": "m"}]})),
                    ("b", json!({"dryRun": [{"metricName": "m"}]})),
                ],
                "two Dry-Run metric rules have the same name 'm'",
            ),
            (
                [
                    ("a", json!({"measurementRetention": [{"metricName": "m", "limit": 1}]})),
                    ("b", json!({"measurementRetention": [{"metricName": "m", "limit": 2}]})),
                ],
                "two Measurement Retention metric rules have the same name 'm'",
            ),
            ([("a", json!({})), ("c", json!({}))], "AnalysisTemplate 'b' not found"),
            (
                [
                    ("a", json!({})),
                    ("b", json!({"templates": [{"templateName": "q", "clusterScope": true}]})),
                ],
                "ClusterAnalysisTemplate 'q' not found",
            ),
        ] {
            assert_eq!(composed(&templates, &["a", "b"]).unwrap_err().to_string(), message);
        }
    }

    #[test]
    fn the_same_argument_in_two_templates_is_one() {
        let templates = [
            ("a", json!({"args": [{"name": "x"}, {"name": "y", "value": "1"}]})),
            ("b", json!({"args": [{"name": "x", "value": "2"}, {"name": "y"}]})),
        ];
        let args = composed(&templates, &["a", "b"]).unwrap().args.unwrap();
        let values: Vec<_> = args.iter().map(|a| (a.name.as_str(), a.value.as_deref())).collect();
        assert_eq!(values, [("x", Some("2")), ("y", Some("1"))]);
    }

    fn args(value: Value) -> Vec<Argument> {
        serde_json::from_value(value).unwrap()
    }

    #[test]
    fn given_values_win_and_undeclared_ones_are_dropped() {
        let declared = args(json!([{"name": "a"}, {"name": "b", "value": "old"}]));
        let given =
            args(json!([{"name": "a", "value": "1"}, {"name": "b", "value": "new"}, {"name": "z", "value": "?"}]));
        assert_eq!(
            merge_args(&declared, &given),
            Ok(args(
                json!([{"name": "a", "value": "1"}, {"name": "b", "value": "new"}])
            ))
        );
        assert_eq!(merge_args(&declared, &[]), Err("args.a was not resolved".to_owned()));
    }

    #[test]
    fn arguments_reach_every_field_and_are_quoted_by_json_itself() {
        let metric: Metric = serde_json::from_value(json!({
            "name": "m-{{args.who}}", "count": "{{ args.n }}", "interval": "{{args.n}}s",
            "provider": {"prometheus": {"query": "rate({who=\"{{args.who}}\"}[5m])"}},
        }))
        .unwrap();
        let given = args(json!([{"name": "who", "value": "a\"b\\\u{1}"}, {"name": "n", "value": "3"}]));
        let done = resolve_metric(&metric, &given, &BTreeMap::new()).unwrap();
        assert_eq!(done.name, "m-a\"b\\\u{1}");
        assert_eq!(done.effective_count(), Some(3));
        assert_eq!(
            done.provider.prometheus.unwrap().query.unwrap(),
            "rate({who=\"a\"b\\\u{1}\"}[5m])"
        );
    }

    #[test]
    fn what_cannot_be_filled_in_is_named() {
        let metric: Metric = serde_json::from_value(json!({"name": "{{args.x}} {{ nope }}", "provider": {}})).unwrap();
        let none = BTreeMap::new();
        assert_eq!(
            resolve_metric(&metric, &[], &none).unwrap_err(),
            "failed to resolve {{args.x}}"
        );
        let open = args(json!([{"name": "x"}]));
        assert_eq!(
            resolve_metric(&metric, &open, &none).unwrap_err(),
            "argument \"x\" was not supplied"
        );
        let secret = BTreeMap::from([("x".to_owned(), "s".to_owned())]);
        assert_eq!(
            resolve_metric(&metric, &open, &secret).unwrap_err(),
            "failed to resolve {{ nope }}"
        );
    }
}
