//! What is asked of a metric provider and what it answers, and when an answer is no data at all.
//!
//! Shared by `analysis` (decides what to ask, judges the answers) and `providers` (ask). Knows neither PromQL nor HTTP,
//! and no verdict: a number is not good or bad here.

use std::{collections::BTreeMap, fmt, time::Duration};

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use serin_api::{
    MIN_REQUESTS_ANNOTATION, NO_DATA_ANNOTATION,
    analysis::{Measurement, Phase},
    provider::MetricProvider,
};

/// Annotation of a template (or Rollout, or run): a PromQL query, arguments allowed, that says how many requests the
/// measured arm has served. Fewer than `serin.dev/min-requests` in it is no data (design contract 6).
pub const REQUESTS_QUERY_ANNOTATION: &str = "serin.dev/requests-query";
/// Annotation: the three settings for single metrics, as JSON: `{"p99": {"noData": "hold", "minRequests": 50, "requestsQuery": "…"}}`.
/// Wins over the annotations that hold for all metrics.
pub const METRIC_SETTINGS_ANNOTATION: &str = "serin.dev/metrics";
/// Key of a metric result's metadata: since when there was no data, RFC 3339.
pub const NO_DATA_SINCE_KEY: &str = "serin.dev/no-data-since";

// === Answers ===

/// What a provider found.
#[derive(Clone, Debug, PartialEq)]
pub enum MetricValue {
    /// One number.
    Scalar(f64),
    /// One number for each series (or for each point of each series of a range).
    Vector(Vec<f64>),
    /// Any JSON.
    Json(Value),
    /// Nothing at all.
    None,
}

impl MetricValue {
    /// The text that is stored in `measurement.value`: numbers as Go writes them without exponent, NaN, `+Inf`,
    /// vectors as `[1,0.5]`, JSON with `<`, `>` and `&` escaped (recordings, item 30).
    pub fn text(&self) -> String {
        match self {
            Self::Scalar(n) => go_float(*n),
            Self::Vector(values) => {
                let values: Vec<_> = values.iter().map(|n| go_float(*n)).collect();
                format!("[{}]", values.join(","))
            }
            Self::Json(value) => go_json(value),
            Self::None => String::new(),
        }
    }

    /// Nil or without elements: a condition that cannot be evaluated on it fails for want of data (compat 3.5).
    pub fn is_nil_or_empty(&self) -> bool {
        match self {
            Self::Scalar(_) => false,
            Self::Vector(values) => values.is_empty(),
            Self::Json(Value::Null) | Self::None => true,
            Self::Json(Value::Array(values)) => values.is_empty(),
            Self::Json(Value::Object(fields)) => fields.is_empty(),
            Self::Json(Value::String(text)) => text.is_empty(),
            Self::Json(_) => false,
        }
    }

    /// Why this is no data: nothing at all, or nothing but NaN.
    pub fn no_data(&self) -> Option<NoData> {
        match self {
            Self::Scalar(n) if n.is_nan() => Some(NoData::NotANumber),
            Self::Vector(values) if !values.is_empty() && values.iter().all(|n| n.is_nan()) => Some(NoData::NotANumber),
            value if value.is_nil_or_empty() => Some(NoData::Empty),
            _ => None,
        }
    }

    /// Without the series that answered NaN: under `serin.dev/no-data: hold` a series without data is not there.
    pub fn with_data(self) -> Self {
        match self {
            Self::Vector(values) => Self::Vector(values.into_iter().filter(|n| !n.is_nan()).collect()),
            other => other,
        }
    }
}

/// A number as Go's `strconv.FormatFloat(n, 'f', -1, 64)` writes it.
pub fn go_float(n: f64) -> String {
    if n.is_nan() {
        "NaN".to_owned()
    } else if n.is_infinite() {
        if n > 0.0 { "+Inf" } else { "-Inf" }.to_owned()
    } else {
        n.to_string()
    }
}

/// Compact JSON with the characters escaped that Go's encoder escapes.
pub fn go_json(value: &Value) -> String {
    let text = value.to_string();
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '<' | '>' | '&' | '\u{2028}' | '\u{2029}' => out.push_str(&format!("\\u{:04x}", u32::from(c))),
            c => out.push(c),
        }
    }
    out
}

/// Why an answer is no data.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum NoData {
    /// No series, no element, null.
    Empty,
    /// NaN and nothing else.
    NotANumber,
    /// Too few requests to say anything.
    TooFewRequests {
        /// What the requests query answered.
        seen: f64,
        /// `serin.dev/min-requests`.
        wanted: u64,
    },
}

impl fmt::Display for NoData {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => f.write_str(
                "the query found no series: check that the pods are scraped and get traffic, and the labels in the query",
            ),
            Self::NotANumber => f.write_str("the query answered NaN: most likely no requests yet"),
            Self::TooFewRequests { seen, wanted } => {
                write!(f, "{} of at least {wanted} requests", go_float(seen.floor()))
            }
        }
    }
}

/// A provider's answer to one question.
#[derive(Clone, Debug, PartialEq)]
pub struct Answer {
    /// What conditions see as `result`.
    pub value: MetricValue,
    /// What is stored in `measurement.value`.
    pub text: String,
    /// Stored with the measurement, such as `warnings`.
    pub metadata: BTreeMap<String, String>,
    /// Answer to the requests query, when one was asked.
    pub requests: Option<f64>,
}

impl Answer {
    /// An answer whose text is the usual one and that says nothing more.
    pub fn new(value: MetricValue) -> Self {
        let text = value.text();
        Self {
            value,
            text,
            metadata: BTreeMap::new(),
            requests: None,
        }
    }
}

/// The provider could not be asked or gave no usable answer. The text names the provider, never a secret.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct ProviderError {
    /// For people; it is stored in `measurement.message`.
    pub message: String,
}

impl ProviderError {
    /// An error with this text.
    pub fn new(message: impl Into<String>) -> Self {
        Self {
            message: message.into(),
        }
    }
}

// === Questions ===

/// One question to a provider. Arguments are filled in (secrets too: do not log it).
#[derive(Clone, PartialEq)]
pub struct MeasureRequest {
    /// Exactly one field is set.
    pub provider: MetricProvider,
    /// For which moment.
    pub at: DateTime<Utc>,
    /// For a range instead of a moment.
    pub range: Option<TimeRange>,
}

impl fmt::Debug for MeasureRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MeasureRequest")
            .field("at", &self.at)
            .field("range", &self.range)
            .finish_non_exhaustive()
    }
}

/// The range of a range query, its time expressions evaluated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TimeRange {
    /// Begin.
    pub start: DateTime<Utc>,
    /// End.
    pub end: DateTime<Utc>,
    /// Distance of two points.
    pub step: Duration,
}

/// One measurement to take now.
#[derive(Clone, Debug, PartialEq)]
pub struct MeasureTask {
    /// Metric of the run.
    pub metric: String,
    /// How many measurements of this metric were stored before (trimmed ones included). An answer counts only while
    /// this is still true, so that a repeated answer cannot count twice.
    pub number: i64,
    /// What to ask.
    pub request: MeasureRequest,
    /// How many requests there were; asked together with `request`.
    pub requests: Option<MeasureRequest>,
    /// The unfinished measurement to go on with, for providers that take their time.
    pub resume: Option<Measurement>,
}

/// What came of a [`MeasureTask`].
#[derive(Clone, Debug, PartialEq)]
pub struct TaskAnswer {
    /// The task's metric.
    pub metric: String,
    /// The task's number.
    pub number: i64,
    /// When it was asked.
    pub asked_at: DateTime<Utc>,
    /// When it was answered.
    pub answered_at: DateTime<Utc>,
    /// The answer.
    pub outcome: Outcome,
}

/// Kinds of answers.
#[derive(Clone, Debug, PartialEq)]
pub enum Outcome {
    /// A value, to be judged by the metric's conditions.
    Answer(Answer),
    /// Nothing: the provider failed.
    Error(ProviderError),
    /// Not ready; look again later (providers that take their time).
    Unfinished {
        /// Stored with the measurement.
        metadata: BTreeMap<String, String>,
        /// When to look again.
        resume_at: DateTime<Utc>,
    },
    /// The provider itself decided; conditions are not asked.
    Verdict {
        /// A completed phase.
        phase: Phase,
        /// Why.
        message: String,
        /// Stored with the measurement.
        metadata: BTreeMap<String, String>,
    },
}

// === What no data means ===

/// What to do with an answer that is no data (design contract 6).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NoDataPolicy {
    /// Such an answer counts for nothing; the run goes on. Otherwise it is judged as Argo Rollouts does.
    pub hold: bool,
    /// Fewer requests than this are no data too.
    pub min_requests: Option<u64>,
    /// How many requests there were.
    pub requests_query: Option<String>,
}

/// A setting that cannot be understood.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PolicyError {
    /// Neither `hold` nor `verdict`.
    #[error(
        "annotation {NO_DATA_ANNOTATION}: {0:?} is not known; write `hold` (no data counts for nothing) or `verdict` (it is judged as Argo Rollouts does)"
    )]
    NoData(String),
    /// No whole number.
    #[error("annotation {MIN_REQUESTS_ANNOTATION}: {0:?} is not a whole number of requests, such as \"50\"")]
    MinRequests(String),
    /// No JSON of the right form.
    #[error(
        "annotation {METRIC_SETTINGS_ANNOTATION}: {0}; write {{\"<metric>\": {{\"noData\": \"hold\", \"minRequests\": 50, \"requestsQuery\": \"…\"}}}}"
    )]
    Metrics(String),
    /// A minimum without a query.
    #[error(
        "annotation {MIN_REQUESTS_ANNOTATION} needs {REQUESTS_QUERY_ANNOTATION}: the query that says how many requests there were"
    )]
    NoRequestsQuery,
}

/// Settings of one metric in [`METRIC_SETTINGS_ANNOTATION`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct MetricSettings {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) no_data: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) min_requests: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) requests_query: Option<String>,
}

fn parse_no_data(word: &str) -> Result<bool, PolicyError> {
    match word {
        "hold" => Ok(true),
        "verdict" => Ok(false),
        other => Err(PolicyError::NoData(other.to_owned())),
    }
}

fn parse_min_requests(text: &str) -> Result<u64, PolicyError> {
    text.parse().map_err(|_| PolicyError::MinRequests(text.to_owned()))
}

pub(crate) fn parse_metrics(
    annotations: &BTreeMap<String, String>,
) -> Result<BTreeMap<String, MetricSettings>, PolicyError> {
    annotations.get(METRIC_SETTINGS_ANNOTATION).map_or_else(
        || Ok(BTreeMap::new()),
        |text| serde_json::from_str(text).map_err(|e| PolicyError::Metrics(e.to_string())),
    )
}

impl NoDataPolicy {
    /// What a run's annotations say about one of its metrics; `hold_by_default` is the controller's own setting.
    /// A minimum of requests implies `hold`: there is nothing else to do with too few. It means nothing to a metric whose
    /// provider cannot count requests (`counts_requests`), such as a Job beside Prometheus metrics in one run.
    ///
    /// # Errors
    /// A value that cannot be understood, or a minimum without a query.
    pub fn of_metric(
        annotations: &BTreeMap<String, String>,
        metric: &str,
        hold_by_default: bool,
        counts_requests: bool,
    ) -> Result<Self, PolicyError> {
        let own = parse_metrics(annotations)?.remove(metric).unwrap_or_default();
        let word = own
            .no_data
            .as_deref()
            .or_else(|| annotations.get(NO_DATA_ANNOTATION).map(String::as_str));
        let min_requests = match (own.min_requests, annotations.get(MIN_REQUESTS_ANNOTATION)) {
            (Some(n), _) => Some(n),
            (None, Some(text)) => Some(parse_min_requests(text)?),
            (None, None) => None,
        }
        .filter(|n| *n > 0 && counts_requests);
        let requests_query = own
            .requests_query
            .or_else(|| annotations.get(REQUESTS_QUERY_ANNOTATION).cloned())
            .filter(|query| !query.trim().is_empty());
        if min_requests.is_some() && requests_query.is_none() {
            return Err(PolicyError::NoRequestsQuery);
        }
        let hold = word.map_or(Ok(hold_by_default), parse_no_data)? || min_requests.is_some();
        Ok(Self {
            hold,
            min_requests,
            requests_query,
        })
    }

    /// Why this answer is no data, when it is to be held back.
    pub fn no_data(&self, answer: &Answer) -> Option<NoData> {
        if !self.hold {
            return None;
        }
        if let (Some(wanted), Some(seen)) = (self.min_requests, answer.requests) {
            // Not `seen < wanted`: NaN requests are too few as well.
            #[allow(clippy::neg_cmp_op_on_partial_ord, reason = "NaN must be too few")]
            if !(seen >= wanted as f64) {
                return Some(NoData::TooFewRequests {
                    seen: if seen.is_nan() { 0.0 } else { seen },
                    wanted,
                });
            }
        }
        answer.value.no_data()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(entries: &[(&str, &str)]) -> BTreeMap<String, String> {
        entries
            .iter()
            .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))
            .collect()
    }

    #[test]
    fn numbers_are_written_as_go_writes_them() {
        for (value, text) in [
            (MetricValue::Scalar(3.0), "3"),
            (MetricValue::Scalar(-0.0), "-0"),
            (
                MetricValue::Vector(vec![1.234e-6, 1e21, 100.0]),
                "[0.000001234,1000000000000000000000,100]",
            ),
            (MetricValue::Vector(vec![f64::NAN]), "[NaN]"),
            (
                MetricValue::Vector(vec![f64::INFINITY, f64::NEG_INFINITY]),
                "[+Inf,-Inf]",
            ),
            (MetricValue::Vector(Vec::new()), "[]"),
            (MetricValue::None, ""),
            (
                MetricValue::Json(serde_json::json!({"b": true, "list": [1, {"k": "v"}], "s": "\u{fc}<&>"})),
                "{\"b\":true,\"list\":[1,{\"k\":\"v\"}],\"s\":\"\u{fc}\\u003c\\u0026\\u003e\"}",
            ),
            (
                MetricValue::Json(serde_json::json!(1234567890123.25)),
                "1234567890123.25",
            ),
        ] {
            assert_eq!(value.text(), text, "{value:?}");
        }
    }

    #[test]
    fn nothing_and_nothing_but_nan_are_no_data() {
        let nan = f64::NAN;
        for (value, expected) in [
            (MetricValue::None, Some(NoData::Empty)),
            (MetricValue::Vector(vec![]), Some(NoData::Empty)),
            (MetricValue::Json(Value::Null), Some(NoData::Empty)),
            (MetricValue::Json(serde_json::json!([])), Some(NoData::Empty)),
            (MetricValue::Scalar(nan), Some(NoData::NotANumber)),
            (MetricValue::Vector(vec![nan, nan]), Some(NoData::NotANumber)),
            (MetricValue::Vector(vec![nan, 0.1]), None),
            (MetricValue::Vector(vec![0.0]), None),
            (MetricValue::Scalar(f64::INFINITY), None),
            (MetricValue::Json(serde_json::json!(false)), None),
        ] {
            assert_eq!(value.no_data(), expected, "{value:?}");
        }
        assert_eq!(
            MetricValue::Vector(vec![nan, 0.1]).with_data(),
            MetricValue::Vector(vec![0.1])
        );
    }

    #[test]
    fn the_policy_of_a_metric_is_read_from_the_runs_annotations() {
        let of = |annotations: &[(&str, &str)], default| NoDataPolicy::of_metric(&map(annotations), "m", default, true);
        assert_eq!(of(&[], false), Ok(NoDataPolicy::default()));
        assert!(of(&[], true).unwrap().hold);
        assert!(of(&[(NO_DATA_ANNOTATION, "hold")], false).unwrap().hold);
        assert!(!of(&[(NO_DATA_ANNOTATION, "verdict")], true).unwrap().hold);
        assert!(matches!(
            of(&[(NO_DATA_ANNOTATION, "Hold")], false),
            Err(PolicyError::NoData(_))
        ));
        assert!(matches!(
            of(&[(MIN_REQUESTS_ANNOTATION, "many")], false),
            Err(PolicyError::MinRequests(_))
        ));
        assert_eq!(
            of(&[(MIN_REQUESTS_ANNOTATION, "5")], false),
            Err(PolicyError::NoRequestsQuery)
        );
        assert_eq!(
            of(&[(MIN_REQUESTS_ANNOTATION, "0")], false),
            Ok(NoDataPolicy::default())
        );
        let both = of(
            &[(MIN_REQUESTS_ANNOTATION, "5"), (REQUESTS_QUERY_ANNOTATION, "q")],
            false,
        )
        .unwrap();
        assert_eq!(
            both,
            NoDataPolicy {
                hold: true,
                min_requests: Some(5),
                requests_query: Some("q".into())
            }
        );
        let own = of(
            &[
                (METRIC_SETTINGS_ANNOTATION, r#"{"m":{"minRequests":7}}"#),
                (REQUESTS_QUERY_ANNOTATION, "q"),
            ],
            false,
        );
        assert_eq!(own.unwrap().min_requests, Some(7));
        assert!(matches!(
            of(&[(METRIC_SETTINGS_ANNOTATION, "{")], false),
            Err(PolicyError::Metrics(_))
        ));
    }

    #[test]
    fn too_few_requests_are_no_data_whatever_the_value() {
        let policy = NoDataPolicy {
            hold: true,
            min_requests: Some(10),
            requests_query: Some("q".into()),
        };
        let answer = |requests| Answer {
            requests: Some(requests),
            ..Answer::new(MetricValue::Scalar(1.0))
        };
        assert_eq!(
            policy.no_data(&answer(9.7)),
            Some(NoData::TooFewRequests { seen: 9.7, wanted: 10 })
        );
        assert_eq!(
            policy.no_data(&answer(f64::NAN)),
            Some(NoData::TooFewRequests { seen: 0.0, wanted: 10 })
        );
        assert_eq!(policy.no_data(&answer(10.0)), None);
        assert_eq!(NoDataPolicy::default().no_data(&Answer::new(MetricValue::None)), None);
    }
}
