//! Answers of expr-lang/expr v1.17.8 itself, in Argo's environment, to conditions of our own: value, type and message, with the
//! place in the source. They go where the recordings are silent: literals, comments, text, times, regular expressions, nesting.

use chrono::{DateTime, Utc};
use serde_json::Value as Json;
use serin_expr::{Env, Value, compile};

/// Ours and upstream's where they differ on purpose: condition, our answer, upstream's, and why.
const DIFFERENCES: &[(&str, &str, &str, &str)] = &[
    (
        "1 + findLast([1, 2], # == 1)",
        "int 2",
        "invalid operation: bool + int",
        "upstream's backward loops leave a value on the stack that the operator then takes for its operand",
    ),
    (
        "[1, findLast([3, 4], # == 3)]",
        "[]interface {} [1 3]",
        "[]interface {} [true 3]",
        "the same value ends up in the array",
    ),
    (
        "now() == now()",
        "bool true",
        "bool false",
        "one evaluation happens at one instant, which the caller passes in",
    ),
    (
        "keys({b: 1, a: 2})",
        "[]interface {} [a b]",
        "either order",
        "upstream's order of map keys is random, ours is sorted",
    ),
    (
        "\"é\"[0:1] == \"\u{fffd}\"",
        "bool true",
        "bool false",
        "strings are Unicode: a character cut in half becomes the replacement character",
    ),
];

fn now() -> DateTime<Utc> {
    "2026-11-21T12:00:00Z".parse().expect("a time")
}

fn load(ty: &str, result: &str) -> Value {
    let number = |v: &Json| {
        v.as_f64()
            .unwrap_or_else(|| v.as_str().unwrap_or_default().parse().expect("a number"))
    };
    match ty {
        "float64" => Value::Float(result.parse().expect("a number")),
        "[]float64" => {
            let items: Vec<Json> = serde_json::from_str(result).expect("a JSON array");
            Value::floats(items.iter().map(number))
        }
        _ => Value::from_json(&serde_json::from_str(result).expect("JSON")).expect("a shallow document"),
    }
}

fn answer(condition: &str, result: &Value) -> Result<String, String> {
    let env = Env::condition(result);
    let value = compile(condition, &env.types())
        .and_then(|p| p.eval(&env, now()))
        .map_err(|e| e.to_string())?;
    Ok(format!("{} {}", value.type_name(), value.printed()))
}

#[test]
fn values_types_messages_and_places_are_upstreams() {
    let data = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/upstream.jsonl"))
        .expect("the answers");
    let mut wrong = Vec::new();
    let mut total = 0;
    for line in data.lines() {
        let case: Json = serde_json::from_str(line).expect("an answer");
        let text = |k: &str| case[k].as_str().unwrap_or_default().to_owned();
        let expected = if case["error"].is_string() {
            Err(text("error"))
        } else {
            Ok(text("out"))
        };
        let ours = answer(&text("condition"), &load(&text("type"), &text("result")));
        total += 1;
        if ours != expected {
            wrong.push(format!(
                "{} on {}\n  upstream: {expected:?}\n  ours:     {ours:?}",
                text("condition"),
                text("result")
            ));
        }
    }
    assert!(total > 2_000, "only {total} answers");
    assert!(
        wrong.is_empty(),
        "{} of {total} differ:\n{}",
        wrong.len(),
        wrong.join("\n")
    );
}

#[test]
fn the_listed_differences_are_as_listed() {
    for (condition, ours, _, why) in DIFFERENCES {
        let got =
            answer(condition, &Value::Nil).unwrap_or_else(|e| e.split(" (1:").next().unwrap_or_default().to_owned());
        assert_eq!(got, *ours, "{condition}: {why}");
    }
}
