//! Templates on their way into a run: which settings of Serin's own travel with them.
//!
//! Putting specs together is upstream's business and lives in `serin_api::compose`.

use std::collections::BTreeMap;

use serin_api::{
    MIN_REQUESTS_ANNOTATION, NO_DATA_ANNOTATION,
    compose::{self, ComposeError},
    rollout::AnalysisTemplateRef,
};

use crate::{
    measure::{METRIC_SETTINGS_ANNOTATION, MetricSettings, REQUESTS_QUERY_ANNOTATION, parse_metrics},
    world::TemplateView,
};

/// Templates by the names that Rollouts give them.
pub type Templates = BTreeMap<AnalysisTemplateRef, TemplateView>;

/// One template: its annotations and the names of the metrics that it brings.
#[derive(Debug)]
struct Part<'a> {
    annotations: &'a BTreeMap<String, String>,
    metrics: Vec<String>,
}

/// The annotations that a run of these templates carries, so that the run alone says what no data means to it.
///
/// # Errors
/// A template, or one that it includes, does not exist.
pub fn run_annotations(
    rollout: &BTreeMap<String, String>,
    refs: &[AnalysisTemplateRef],
    templates: &Templates,
) -> Result<BTreeMap<String, String>, ComposeError> {
    let none = BTreeMap::new();
    let reached = compose::reach(refs, |wanted| templates.get(wanted).map(|t| &t.spec))?;
    let parts: Vec<Part<'_>> = reached
        .iter()
        .map(|(template, spec)| Part {
            annotations: templates.get(template).map_or(&none, |t| &t.annotations),
            metrics: spec.metrics.iter().flatten().map(|m| m.name.clone()).collect(),
        })
        .collect();
    Ok(joined(rollout, &parts))
}

/// What the Rollout says wins over what a template says. What all templates say alike holds for the run; what only
/// some say goes to [`METRIC_SETTINGS_ANNOTATION`], metric by metric. Values that cannot be understood are copied as they are:
/// the run then ends in an error that names them.
fn joined(rollout: &BTreeMap<String, String>, templates: &[Part<'_>]) -> BTreeMap<String, String> {
    const KEYS: [&str; 3] = [NO_DATA_ANNOTATION, MIN_REQUESTS_ANNOTATION, REQUESTS_QUERY_ANNOTATION];
    let mut out = BTreeMap::new();
    let mut single: BTreeMap<String, MetricSettings> = BTreeMap::new();
    for key in KEYS {
        if let Some(value) = rollout.get(key) {
            out.insert(key.to_owned(), value.clone());
            continue;
        }
        let said: Vec<_> = templates.iter().map(|template| template.annotations.get(key)).collect();
        let Some(first) = said.iter().flatten().next() else {
            continue;
        };
        if said.iter().all(|value| *value == Some(*first)) {
            out.insert(key.to_owned(), (*first).clone());
            continue;
        }
        for (template, value) in templates.iter().zip(said) {
            let Some(value) = value else { continue };
            for metric in &template.metrics {
                let entry = single.entry(metric.clone()).or_default();
                match key {
                    NO_DATA_ANNOTATION => entry.no_data = Some(value.clone()),
                    MIN_REQUESTS_ANNOTATION => match value.parse() {
                        Ok(n) => entry.min_requests = Some(n),
                        Err(_) => drop(out.insert(key.to_owned(), value.clone())),
                    },
                    _ => entry.requests_query = Some(value.clone()),
                }
            }
        }
    }
    let sources = templates.iter().map(|template| template.annotations).chain([rollout]);
    for annotations in sources {
        match parse_metrics(annotations) {
            Ok(settings) => {
                for (metric, own) in settings {
                    let entry = single.entry(metric).or_default();
                    entry.no_data = own.no_data.or(entry.no_data.take());
                    entry.min_requests = own.min_requests.or(entry.min_requests);
                    entry.requests_query = own.requests_query.or(entry.requests_query.take());
                }
            }
            Err(_) => {
                let text = annotations.get(METRIC_SETTINGS_ANNOTATION).cloned().unwrap_or_default();
                out.insert(METRIC_SETTINGS_ANNOTATION.to_owned(), text);
                return out;
            }
        }
    }
    if !single.is_empty() {
        let text = serde_json::to_string(&single).expect("string keys, strings and numbers only");
        out.insert(METRIC_SETTINGS_ANNOTATION.to_owned(), text);
    }
    out
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test that panics has failed")]

    use super::*;
    use crate::measure::NoDataPolicy;

    fn map(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect()
    }

    #[test]
    fn a_run_of_several_templates_keeps_their_settings_apart() {
        let a = map(&[
            (NO_DATA_ANNOTATION, "hold"),
            (MIN_REQUESTS_ANNOTATION, "5"),
            (REQUESTS_QUERY_ANNOTATION, "qa"),
        ]);
        let b = map(&[(NO_DATA_ANNOTATION, "hold")]);
        let (of_a, of_b) = (vec!["a1".to_owned(), "a2".to_owned()], vec!["b".to_owned()]);
        let templates = [
            Part {
                annotations: &a,
                metrics: of_a,
            },
            Part {
                annotations: &b,
                metrics: of_b,
            },
        ];
        let run = joined(&map(&[]), &templates);
        assert_eq!(run.get(NO_DATA_ANNOTATION).map(String::as_str), Some("hold"));
        assert_eq!(run.get(MIN_REQUESTS_ANNOTATION), None);
        assert_eq!(
            NoDataPolicy::of_metric(&run, "a2", false, true).unwrap().min_requests,
            Some(5)
        );
        assert_eq!(
            NoDataPolicy::of_metric(&run, "b", false, true).unwrap().min_requests,
            None
        );
        let run = joined(&map(&[(MIN_REQUESTS_ANNOTATION, "9")]), &templates[..1]);
        assert_eq!(
            NoDataPolicy::of_metric(&run, "a1", false, true).unwrap().min_requests,
            Some(9)
        );
        assert_eq!(run.get(REQUESTS_QUERY_ANNOTATION).map(String::as_str), Some("qa"));
        assert_eq!(run.get(METRIC_SETTINGS_ANNOTATION), None);
    }
}
