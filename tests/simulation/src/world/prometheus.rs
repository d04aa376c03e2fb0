//! The form of Prometheus' instant queries: what was asked, and how an answer looks. Knows no values.

use serde_json::json;
use serin_providers::{HttpRequest, HttpResponse};

/// The text of the query in a request; empty without one.
pub fn query(request: &HttpRequest) -> String {
    let form = request.form.as_deref().unwrap_or_default();
    let url = request.url.split_once('?').map_or("", |(_, rest)| rest);
    let mut pairs = [form, url]
        .into_iter()
        .flat_map(|text| form_urlencoded::parse(text.as_bytes()));
    let found = pairs.find(|(key, _)| key == "query");
    found.map(|(_, text)| text.into_owned()).unwrap_or_default()
}

/// The value of a label in a query.
pub fn label(text: &str, name: &str) -> Option<String> {
    let (_, rest) = text.split_once(&format!("{name}=\""))?;
    rest.split_once('"').map(|(value, _)| value.to_owned())
}

/// An answer with one series for each value.
pub fn vector(values: &[f64]) -> HttpResponse {
    let series: Vec<_> = values
        .iter()
        .map(|v| json!({"metric": {}, "value": [0, v.to_string()]}))
        .collect();
    let body = json!({"status": "success", "data": {"resultType": "vector", "result": series}});
    HttpResponse {
        status: 200,
        body: body.to_string().into_bytes(),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use serin_providers::Method;

    use super::*;

    #[test]
    fn a_form_is_read_as_it_was_meant() {
        let request = HttpRequest {
            method: Method::Post,
            url: "http://prometheus/api/v1/query".to_owned(),
            headers: Vec::new(),
            basic_auth: None,
            form: Some("time=1&query=sum%28rate%28x%7Bapp%3D%22a%22%7D%5B8s%5D%29%29+%2B+1".to_owned()),
            timeout: Duration::from_secs(1),
            insecure: false,
            max_bytes: 1000,
        };
        assert_eq!(query(&request), "sum(rate(x{app=\"a\"}[8s])) + 1");
        assert_eq!(label("x{app=\"a\",hash=\"b c\"}", "hash").as_deref(), Some("b c"));
    }
}
