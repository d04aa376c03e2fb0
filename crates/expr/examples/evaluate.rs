//! Evaluates conditions from standard input, one JSON object a line: `type` (`float64`, `[]float64`, `json`, `time`), `result` as text,
//! `condition`. Answers `out` (Go's type and print of the value) or `error`, and `full` with the place. For comparing with upstream.

use std::io::BufRead;

use chrono::{TimeZone, Utc};
use serde_json::{Value as Json, json};
use serin_expr::{Env, Value, compile};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    for line in std::io::stdin().lock().lines() {
        let case: Json = serde_json::from_str(&line?)?;
        let text = |k: &str| case[k].as_str().unwrap_or_default().to_owned();
        let (ty, condition) = (text("type"), text("condition"));
        let env = if ty == "time" {
            Env::time()
        } else {
            Env::condition(&load(&ty, &text("result"))?)
        };
        let now = Utc.timestamp_opt(1_790_000_000, 0).single().ok_or("no such time")?;
        let outcome = compile(&condition, &env.types()).and_then(|p| p.eval(&env, now));
        let answer = match outcome {
            Ok(v) => json!({"out": format!("{} {}", v.type_name(), v.printed())}),
            Err(e) => json!({"error": e.message(), "full": e.to_string()}),
        };
        println!("{answer}");
    }
    Ok(())
}

/// A metric's result as the recordings write it.
fn load(ty: &str, result: &str) -> Result<Value, Box<dyn std::error::Error>> {
    Ok(match ty {
        "float64" => Value::Float(result.parse()?),
        "[]float64" => {
            let items: Vec<Json> = serde_json::from_str(result)?;
            let number = |v: &Json| v.as_f64().or_else(|| v.as_str()?.parse().ok()).ok_or("not a number");
            Value::floats(items.iter().map(number).collect::<Result<Vec<f64>, _>>()?)
        }
        _ => Value::from_json(&serde_json::from_str(result)?)?,
    })
}
