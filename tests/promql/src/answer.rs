//! Answers, ours and Prometheus', in one form, and when they count as the same.

use serin_promql::{Dialect, Labels, Options, Query, Store, Value};

/// What a query gave, or why it gave nothing.
#[derive(Clone, Debug)]
pub enum Answer {
    /// A value.
    Value(Value),
    /// A refusal.
    Error(String),
}

/// How Prometheus is set up in these tests.
pub fn options(dialect: Dialect) -> Options {
    Options {
        dialect,
        ..Options::default()
    }
}

/// Our answer.
pub fn ours(store: &Store, query: &str, at_ms: i64, dialect: Dialect) -> Answer {
    let query = match Query::parse(query) {
        Ok(query) => query,
        Err(error) => return Answer::Error(error.to_string()),
    };
    match query.instant_with(store, at_ms, &options(dialect)) {
        Ok(value) => Answer::Value(value),
        Err(error) => Answer::Error(error.to_string()),
    }
}

/// What a refusal is about. Words may differ, this may not.
fn category(error: &str) -> &'static str {
    [
        ("many-to-many matching not allowed", "many to many"),
        ("many-to-one matching must be explicit", "many to one"),
        ("grouping labels must ensure unique matches", "grouping"),
        ("same labelset", "same labels"),
        ("overflows int64", "not an integer"),
        ("underflows int64", "not an integer"),
        ("Parameter value is NaN", "not an integer"),
        ("invalid label name", "label name"),
        ("invalid destination label name", "label name"),
        ("invalid source label name", "label name"),
    ]
    .into_iter()
    .find(|(words, _)| error.contains(words))
    .map_or("syntax", |(_, category)| category)
}

/// Whether the query says in which order its elements come.
fn is_ordered(query: &str) -> bool {
    ["sort(", "sort_desc(", "topk(", "bottomk("]
        .iter()
        .any(|f| query.starts_with(f))
}

/// Same bits, or so near that only the order of additions can be the reason.
fn close(a: f64, b: f64) -> bool {
    a.to_bits() == b.to_bits() || (a.is_nan() && b.is_nan()) || a == b || (a - b).abs() <= 1e-12 * a.abs().max(b.abs())
}

/// Nothing, or what differs.
///
/// # Errors
/// The difference, in words.
pub fn compare(query: &str, ours: &Answer, theirs: &Answer) -> Result<(), String> {
    let (ours, theirs) = match (ours, theirs) {
        (Answer::Error(a), Answer::Error(b)) if category(a) == category(b) => return Ok(()),
        (Answer::Value(a), Answer::Value(b)) => (a, b),
        _ => return Err(format!("ours:   {ours:?}\ntheirs: {theirs:?}")),
    };
    let same = match (ours, theirs) {
        (Value::Scalar(a), Value::Scalar(b)) => close(*a, *b),
        (Value::String(a), Value::String(b)) => a == b,
        (Value::Vector(a), Value::Vector(b)) => {
            let ordered = !is_ordered(query) || (a.len() == b.len() && a.iter().zip(b).all(|(a, b)| close(a.1, b.1)));
            ordered && same_elements(a, b, |a, b| close(*a, *b))
        }
        (Value::Matrix(a), Value::Matrix(b)) => same_elements(a, b, |a, b| {
            a.len() == b.len() && a.iter().zip(b).all(|(a, b)| a.0 == b.0 && close(a.1, b.1))
        }),
        _ => false,
    };
    if same {
        return Ok(());
    }
    Err(format!("ours:   {}\ntheirs: {}", shown(ours), shown(theirs)))
}

fn same_elements<T>(a: &[(Labels, T)], b: &[(Labels, T)], same: impl Fn(&T, &T) -> bool) -> bool {
    fn sorted<T>(elements: &[(Labels, T)]) -> Vec<&(Labels, T)> {
        let mut sorted: Vec<_> = elements.iter().collect();
        sorted.sort_by(|a, b| a.0.cmp(&b.0));
        sorted
    }
    let (a, b) = (sorted(a), sorted(b));
    a.len() == b.len() && a.iter().zip(b).all(|(a, b)| a.0 == b.0 && same(&a.1, &b.1))
}

fn shown(value: &Value) -> String {
    match value {
        Value::Vector(elements) => {
            let mut lines: Vec<String> = elements.iter().map(|(l, v)| format!("\n  {l} {v:?}")).collect();
            lines.sort();
            lines.concat()
        }
        other => format!("{other:?}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn vector(elements: &[(&str, f64)]) -> Answer {
        Answer::Value(Value::Vector(
            elements
                .iter()
                .map(|(name, v)| (Labels::metric(name, []), *v))
                .collect(),
        ))
    }

    #[test]
    fn answers_differ_by_values_labels_and_where_it_counts_by_order() {
        let two = vector(&[("a", 1.0), ("b", 2.0)]);
        assert_eq!(compare("x", &two, &vector(&[("b", 2.0), ("a", 1.0)])), Ok(()));
        assert!(compare("sort(x)", &two, &vector(&[("b", 2.0), ("a", 1.0)])).is_err());
        assert_eq!(compare("x", &two, &vector(&[("a", 1.0 + 1e-13), ("b", 2.0)])), Ok(()));
        assert!(compare("x", &two, &vector(&[("a", 1.0 + 1e-11), ("b", 2.0)])).is_err());
        assert!(compare("x", &two, &vector(&[("a", 1.0), ("c", 2.0)])).is_err());
        assert!(compare("x", &two, &vector(&[("a", 1.0)])).is_err());
        assert!(compare("x", &two, &vector(&[("a", f64::NAN), ("b", 2.0)])).is_err());
        assert!(compare("x", &two, &Answer::Error("many-to-many matching not allowed".into())).is_err());
        let errors = |a: &str, b: &str| compare("x", &Answer::Error(a.into()), &Answer::Error(b.into()));
        assert_eq!(errors("a same labelset", "the same labelset!"), Ok(()));
        assert!(errors("same labelset", "unexpected end").is_err());
    }
}
