//! Answers of Prometheus 3, recorded by `reference/`, and what it is given to answer.

use serde::Deserialize;
use serde_json::{Value as Json, json};
use serin_promql::{Labels, Value};

use crate::answer::Answer;
use crate::{corpus, ground, random};

/// Seed and number of the random queries that were recorded.
const RANDOM: (u64, usize) = (3, 300);

/// Queries with the instants at which they were asked. In turn, so that the file stays small.
pub fn asked() -> Vec<(String, Vec<i64>)> {
    let [a, b, c, d] = ground::INSTANTS;
    let written = corpus::queries().into_iter().zip(
        [vec![a, c], vec![b], vec![a, b], vec![b, d], vec![c]]
            .into_iter()
            .cycle(),
    );
    let random = random::queries(RANDOM.0, RANDOM.1)
        .into_iter()
        .zip([vec![a], vec![b], vec![c]].into_iter().cycle());
    written.chain(random).collect()
}

/// What `reference/` reads.
pub fn export() -> Json {
    let series: Vec<Json> = ground::series()
        .iter()
        .map(|series| {
            let labels: serde_json::Map<String, Json> = series
                .labels
                .iter()
                .map(|(name, value)| (name.to_owned(), json!(value)))
                .collect();
            let samples: Vec<Json> = series
                .samples
                .iter()
                .map(|(at, value)| json!([at, format!("{:016x}", value.to_bits())]))
                .collect();
            json!({"labels": labels, "samples": samples})
        })
        .collect();
    let queries: Vec<Json> = asked()
        .iter()
        .map(|(query, at)| json!({"query": query, "at": at}))
        .collect();
    json!({"series": series, "queries": queries})
}

/// What it wrote.
#[derive(Debug, Deserialize)]
pub struct Recorded {
    /// Which Prometheus.
    pub version: String,
    labels: Vec<std::collections::BTreeMap<String, String>>,
    queries: Vec<RecordedQuery>,
}

#[derive(Debug, Deserialize)]
struct RecordedQuery {
    query: String,
    at: Vec<i64>,
    answers: Vec<RecordedAnswer>,
}

#[derive(Debug, Deserialize)]
struct RecordedAnswer {
    #[serde(default)]
    error: String,
    #[serde(default)]
    kind: String,
    #[serde(default)]
    result: Json,
}

impl Recorded {
    /// Reads `data/prometheus-3.json`.
    ///
    /// # Errors
    /// When it is not of that shape.
    pub fn read(text: &str) -> serde_json::Result<Self> {
        serde_json::from_str(text)
    }

    /// Queries, instants and answers.
    ///
    /// # Panics
    /// When an answer is not of the shape in which `reference/` writes them.
    pub fn answers(&self) -> Vec<(&str, i64, Answer)> {
        let mut all = Vec::new();
        for query in &self.queries {
            for (at, answer) in query.at.iter().zip(&query.answers) {
                let answer = self
                    .answer(answer)
                    .unwrap_or_else(|| panic!("{}: {answer:?}", query.query));
                all.push((query.query.as_str(), *at, answer));
            }
        }
        all
    }

    fn answer(&self, recorded: &RecordedAnswer) -> Option<Answer> {
        if !recorded.error.is_empty() {
            return Some(Answer::Error(recorded.error.clone()));
        }
        let number = |bits: &Json| u64::from_str_radix(bits.as_str()?, 16).ok().map(f64::from_bits);
        let labels = |place: &Json| -> Option<Labels> {
            Some(
                self.labels
                    .get(usize::try_from(place.as_u64()?).ok()?)?
                    .iter()
                    .collect(),
            )
        };
        let elements = || recorded.result.as_array().map_or(&[][..], Vec::as_slice).iter();
        Some(Answer::Value(match recorded.kind.as_str() {
            "scalar" => Value::Scalar(number(&recorded.result)?),
            "string" => Value::String(recorded.result.as_str()?.to_owned()),
            "vector" => Value::Vector(
                elements()
                    .map(|e| Some((labels(&e[0])?, number(&e[1])?)))
                    .collect::<Option<_>>()?,
            ),
            "matrix" => {
                let points = |e: &Json| {
                    let points = e[1].as_array()?.iter().map(|p| Some((p[0].as_i64()?, number(&p[1])?)));
                    points.collect::<Option<Vec<_>>>()
                };
                Value::Matrix(
                    elements()
                        .map(|e| Some((labels(&e[0])?, points(e)?)))
                        .collect::<Option<_>>()?,
                )
            }
            _ => return None,
        }))
    }

    /// The queries that were asked, with their instants.
    pub fn asked(&self) -> Vec<(String, Vec<i64>)> {
        self.queries.iter().map(|q| (q.query.clone(), q.at.clone())).collect()
    }
}
