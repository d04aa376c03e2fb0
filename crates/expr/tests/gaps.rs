//! What another implementation of the language got wrong, and why this crate exists: each row is upstream's behaviour.

use chrono::{DateTime, Utc};
use serde_json::json;
use serin_expr::{Value, evaluate_condition, evaluate_time};

fn now() -> DateTime<Utc> {
    "2026-11-21T12:00:00Z".parse().expect("a time")
}

fn on(result: &Value, condition: &str) -> Result<bool, String> {
    evaluate_condition(condition, result, now())
}

fn object() -> Value {
    let document =
        json!({"xs": [{"value": "9901", "v": 1}, {"value": 9950, "v": 1}], "ok": true, "n": null, "big": u64::MAX});
    Value::from_json(&document).expect("shallow")
}

fn err(text: &str) -> Result<bool, String> {
    Err(text.into())
}

#[test]
fn a_field_of_the_element_can_be_the_only_argument_of_a_function() {
    assert_eq!(on(&object(), "all(result.xs, {asFloat(.value) >= 9900})"), Ok(true));
    assert_eq!(on(&object(), "all(result.xs, {asFloat(.value) >= 9950})"), Ok(false));
}

#[test]
fn a_predicate_can_begin_with_a_field() {
    assert_eq!(on(&object(), "all(result.xs, .v == 1)"), Ok(true));
    assert_eq!(on(&object(), "all(result.xs, {.v == 1})"), Ok(true));
}

#[test]
fn an_index_beyond_the_array_is_an_error_and_never_passes() {
    assert_eq!(
        on(&Value::floats([]), "result[0] != 5"),
        err("index out of range: 0 (array length is 0)")
    );
}

#[test]
fn types_that_cannot_be_equal_are_an_error_before_anything_is_evaluated() {
    let mixed = "invalid operation: == (mismatched types bool and string)";
    assert_eq!(on(&Value::Bool(true), "result == \"true\""), err(mixed));
    assert_eq!(on(&Value::Bool(true), "false && result == \"true\""), err(mixed));
    assert_eq!(
        on(&Value::Float(1.1), "asFloat(result) == \"1.1\""),
        err("invalid operation: == (mismatched types float64 and string)")
    );
}

#[test]
fn an_unknown_name_is_an_error_wherever_it_stands() {
    assert_eq!(on(&Value::Nil, "false && nope"), err("unknown name nope"));
    assert_eq!(on(&Value::Nil, "nope"), err("unknown name nope"));
}

#[test]
fn the_largest_of_an_int_and_a_float_has_the_type_of_the_first() {
    assert_eq!(
        on(&Value::Float(2.5), "max(0, result) == 0"),
        err("interface conversion: interface {} is float64, not int")
    );
    assert_eq!(on(&Value::Float(2.5), "max(result, 0) == 2.5"), Ok(true));
}

#[test]
fn an_index_into_nil_is_a_type_error() {
    assert_eq!(on(&Value::Nil, "result[0] > 1"), err("type unknown[int] is undefined"));
}

#[test]
fn comparisons_chain_negations_repeat_and_elements_nest() {
    assert_eq!(on(&Value::Nil, "1 < 2 < 3"), Ok(true));
    assert_eq!(on(&Value::Nil, "1 < 3 < 2"), Ok(false));
    assert_eq!(on(&Value::Bool(true), "!!result"), Ok(true));
    assert_eq!(on(&Value::Nil, "map(1..3, map(1..3, #))[2] == [1, 2, 3]"), Ok(true));
}

#[test]
fn coalescing_does_not_mix_with_other_operators() {
    let text = "Operator (==) and coalesce expressions (??) cannot be mixed. Wrap either by parentheses.";
    assert_eq!(on(&object(), "result?.b ?? 3 == 3"), err(text));
    assert_eq!(on(&object(), "(result?.b ?? 3) == 3"), Ok(true));
}

#[test]
fn large_numbers_and_escapes_mean_what_they_mean_in_go() {
    assert_eq!(on(&object(), "result.big == 18446744073709551615.0"), Ok(true));
    assert_eq!(on(&Value::str("é"), "result == \"\\u00e9\""), Ok(true));
}

#[test]
fn a_huge_range_is_refused_at_once() {
    assert_eq!(on(&Value::Nil, "len(1..100000000) > 0"), err("memory budget exceeded"));
}

#[test]
fn too_many_nodes_are_refused() {
    let long = format!("{}1 > 0", "1+".repeat(5_000));
    assert_eq!(
        on(&Value::Nil, &long),
        err("compilation failed: expression exceeds maximum allowed nodes")
    );
    let fits = format!("{}1 > 0", "1+".repeat(4_900));
    assert_eq!(on(&Value::Nil, &fits), Ok(true));
}

#[test]
fn is_nil_and_default_look_at_the_result_and_not_at_their_argument() {
    assert_eq!(on(&object(), "isNil(result.missing)"), Ok(false));
    assert_eq!(on(&object(), "isNil(nil)"), Ok(false));
    assert_eq!(on(&Value::Nil, "isNil(1)"), Ok(true));
    assert_eq!(on(&Value::Nil, "default(result, 0) == 0"), Ok(true));
    assert_eq!(on(&Value::Float(2.0), "default(nil, 0) == 2"), Ok(true));
    assert_eq!(on(&Value::floats([]), "isNil(result)"), Ok(false));
}

#[test]
fn an_empty_result_is_told_apart_from_one_with_data() {
    assert!(Value::Nil.is_nil_or_empty());
    assert!(Value::floats([]).is_nil_or_empty());
    assert!(!Value::floats([f64::NAN]).is_nil_or_empty());
    assert!(!Value::Float(f64::NAN).is_nil_or_empty());
    assert!(!Value::from_json(&json!({})).expect("shallow").is_nil_or_empty());
}

#[test]
fn a_nan_passes_no_comparison() {
    for op in ["<", "<=", ">", ">=", "=="] {
        assert_eq!(
            on(&Value::Float(f64::NAN), &format!("result {op} 1")),
            Ok(false),
            "{op}"
        );
    }
}

#[test]
fn the_time_of_a_range_query_is_reckoned_from_the_given_now() {
    assert_eq!(
        evaluate_time("now() - duration(\"5m\")", now()),
        Ok(now() - chrono::TimeDelta::minutes(5))
    );
    assert_eq!(evaluate_time("now()", now()), Ok(now()));
    assert_eq!(
        evaluate_time("date(\"2026-01-02\")", now()),
        Ok("2026-01-02T00:00:00Z".parse().expect("a time"))
    );
    assert_eq!(
        evaluate_time("duration(\"5m\")", now()),
        Err("expected time.Time, but got time.Duration".into())
    );
    assert_eq!(evaluate_time("result", now()), Err("unknown name result".into()));
    assert_eq!(evaluate_time("", now()), Err("unexpected token EOF".into()));
}

#[test]
fn an_error_shows_line_column_and_source() {
    let env = serin_expr::Env::condition(&Value::Nil);
    let e = serin_expr::compile("true and\n\tnope", &env.types()).expect_err("an unknown name");
    assert_eq!(e.to_string(), "unknown name nope (2:2)\n |  nope\n | .^");
    assert_eq!(e.message(), "unknown name nope");
    assert_eq!(e.span().map(|s| (s.from, s.to)), Some((10, 14)));
}
