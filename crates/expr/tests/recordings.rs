//! Upstream's own answers to 625 conditions (tests/recordings/expressions.jsonl): every verdict and every text is the same,
//! but for the differences listed here, each with its reason. A difference that no longer exists must leave the list.

use chrono::{DateTime, Utc};
use serde_json::Value as Json;
use serin_expr::{Value, evaluate_condition};

/// Condition, type and result of a recording whose text differs, our text, and why.
const DIFFERENCES: &[(&str, &str, &str, &str, &str)] = &[];

fn load(ty: &str, result: &str) -> Value {
    match ty {
        "float64" => Value::Float(result.parse().expect("a number")),
        "[]float64" => {
            let items: Vec<Json> = serde_json::from_str(result).expect("a JSON array");
            Value::floats(items.iter().map(|v| {
                v.as_f64()
                    .unwrap_or_else(|| v.as_str().unwrap_or_default().parse().expect("a number"))
            }))
        }
        "json" => Value::from_json(&serde_json::from_str(result).expect("JSON")).expect("a shallow document"),
        other => panic!("unknown type {other}"),
    }
}

fn now() -> DateTime<Utc> {
    "2026-11-21T12:00:00Z".parse().expect("a time")
}

/// Every recording that we answer otherwise: condition, type, result, ours, upstream's.
fn differing(data: &str) -> (usize, Vec<[String; 5]>) {
    let mut out = Vec::new();
    let mut total = 0;
    for line in data.lines() {
        let case: Json = serde_json::from_str(line).expect("a recording");
        let text = |k: &str| case[k].as_str().unwrap_or_default().to_owned();
        let recorded = match case["value"].as_bool() {
            Some(b) => Ok(b),
            None => Err(text("error")),
        };
        let ours = evaluate_condition(&text("condition"), &load(&text("type"), &text("result")), now());
        total += 1;
        if ours != recorded {
            let show = |r: &Result<bool, String>| r.as_ref().map_or_else(Clone::clone, ToString::to_string);
            out.push([
                text("condition"),
                text("type"),
                text("result"),
                show(&ours),
                show(&recorded),
            ]);
        }
    }
    (total, out)
}

fn recordings() -> String {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/recordings/expressions.jsonl");
    std::fs::read_to_string(path).expect("tests/recordings/expressions.jsonl")
}

#[test]
fn every_recorded_condition_is_answered_as_upstream_answers_it() {
    let (total, found) = differing(&recordings());
    assert_eq!(total, 625, "the recordings are complete");
    let listed: Vec<[&str; 4]> = DIFFERENCES
        .iter()
        .map(|(c, t, r, ours, _)| [*c, *t, *r, *ours])
        .collect();
    for d in &found {
        let [condition, ty, result, ours, recorded] = d;
        assert!(
            listed.contains(&[condition, ty, result, ours]),
            "{condition} on {ty} {result}\n  upstream: {recorded}\n  ours:     {ours}\nequal them, or list the difference with its reason"
        );
    }
    for [condition, ty, result, ours] in &listed {
        let still = found.iter().any(|f| f[..4] == [*condition, *ty, *result, *ours]);
        assert!(
            still,
            "{condition} on {ty} {result} does not differ in this way any more: take it off the list"
        );
    }
    println!("{} equal / {} listed / {total} total", total - found.len(), found.len());
}

#[test]
fn a_changed_recording_would_be_noticed() {
    let line = r#"{"condition":"result < 0.5","result":"1","type":"float64","value":true}"#;
    assert_eq!(differing(line).1.len(), 1);
    let line = r#"{"condition":"result ==","result":"1","type":"float64","error":"unexpected token EOF."}"#;
    assert_eq!(differing(line).1.len(), 1);
}
