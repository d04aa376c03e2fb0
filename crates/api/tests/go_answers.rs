//! What Go itself answers to made-up quantities, durations and pod templates (`data/go-answers.jsonl`, from Go 1.26 with
//! k8s.io/api and k8s.io/apimachinery v0.36.3): spellings, escapes, field order, overflows.

use serde_json::Value;
use serin_api::{duration::GoDuration, hash::pod_template_hash, quantity::Quantity, template::PodTemplate};

/// What we say; the number is a duration's nanoseconds.
fn ours(line: &Value) -> (Option<String>, Option<i64>) {
    let given = &line["given"];
    let text = given.as_str().unwrap_or_default();
    match line["kind"].as_str() {
        Some("quantity") => (Quantity::parse(text).ok().map(|q| q.as_str().to_owned()), None),
        Some("duration") => match text.parse::<GoDuration>() {
            Ok(duration) => (Some(duration.to_string()), Some(duration.as_nanos())),
            Err(error) => (Some(error.to_string()), None),
        },
        _ => (Some(pod_template_hash(&PodTemplate(given.clone()), None)), None),
    }
}

#[test]
fn we_answer_as_go_does() {
    let lines: Vec<Value> = include_str!("data/go-answers.jsonl")
        .lines()
        .map(|line| serde_json::from_str(line).expect("each line is JSON"))
        .collect();
    assert_eq!(lines.len(), 360);
    let wrong: Vec<String> = lines
        .iter()
        .filter_map(|line| {
            let go = (line["go"].as_str().map(ToOwned::to_owned), line["nanos"].as_i64());
            let ours = ours(line);
            (ours != go).then(|| format!("{}: {ours:?}, Go {go:?}", line["given"]))
        })
        .collect();
    assert!(
        wrong.is_empty(),
        "{} of {}:\n{}",
        wrong.len(),
        lines.len(),
        wrong.join("\n")
    );
}
