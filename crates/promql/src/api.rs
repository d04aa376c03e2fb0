//! Prometheus' HTTP API: how the result of a query, or its failure, is written as JSON.

use serde_json::{Map, Value as Json, json};

use crate::{Labels, Value};

/// The answer to a query at an instant.
pub fn success(answer: &Value, at_ms: i64) -> Json {
    let at = at_ms as f64 / 1000.0;
    let (kind, result) = match answer {
        Value::Scalar(n) => ("scalar", json!([at, number(*n)])),
        Value::String(text) => ("string", json!([at, text])),
        Value::Vector(elements) => {
            let list = elements.iter();
            let list = list.map(|(labels, n)| json!({"metric": metric(labels), "value": [at, number(*n)]}));
            ("vector", list.collect())
        }
        Value::Matrix(series) => {
            let list = series.iter().map(|(labels, points)| {
                let points = points.iter().map(|(t, n)| json!([*t as f64 / 1000.0, number(*n)]));
                json!({"metric": metric(labels), "values": points.collect::<Json>()})
            });
            ("matrix", list.collect())
        }
    };
    json!({"status": "success", "data": {"resultType": kind, "result": result}})
}

/// The answer to a query that failed; `kind` is `bad_data`, `execution` and the like.
pub fn failure(kind: &str, error: &str) -> Json {
    json!({"status": "error", "errorType": kind, "error": error})
}

fn number(n: f64) -> String {
    if n.is_infinite() {
        if n > 0.0 { "+Inf" } else { "-Inf" }.to_owned()
    } else {
        n.to_string()
    }
}

fn metric(labels: &Labels) -> Map<String, Json> {
    labels
        .iter()
        .map(|(name, value)| (name.to_owned(), Json::from(value)))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_texts_and_times_are_seconds() {
        let labels: Labels = [("job", "web")].into_iter().collect();
        let answer = success(&Value::Vector(vec![(labels, f64::INFINITY)]), 1500);
        let result = json!([{"metric": {"job": "web"}, "value": [1.5, "+Inf"]}]);
        assert_eq!(answer["data"], json!({"resultType": "vector", "result": result}));
        assert_eq!(failure("bad_data", "no")["errorType"], "bad_data");
    }
}
