//! Properties over generated sources: nothing panics, nothing overflows, answers are repeatable. Values are compared
//! with upstream's own in `upstream.rs` and `recordings.rs`.

use chrono::{DateTime, Utc};
use proptest::prelude::*;
use serde_json::json;
use serin_expr::{Value, evaluate_condition};

fn now() -> DateTime<Utc> {
    "2026-11-21T12:00:00Z".parse().expect("a time")
}

fn results() -> Vec<Value> {
    let object =
        json!({"ok": true, "n": 3, "s": "a,b", "xs": [{"v": 1, "ok": true}, {"v": 2, "ok": false}], "nil": null});
    vec![
        Value::Nil,
        Value::Bool(true),
        Value::Float(1.5),
        Value::Float(f64::NAN),
        Value::floats([]),
        Value::floats([0.5, f64::NAN, 2.0]),
        Value::str("héllo"),
        Value::from_json(&object).expect("shallow"),
        Value::from_json(&json!([1, "a", null, [2], {"k": 2.5}])).expect("shallow"),
    ]
}

const TOKENS: &[&str] = &[
    "result",
    "asInt",
    "asFloat",
    "isNaN",
    "isNil",
    "default",
    "len",
    "all",
    "map",
    "filter",
    "reduce",
    "sortBy",
    "groupBy",
    "sum",
    "count",
    "find",
    "findLast",
    "let",
    "if",
    "else",
    "in",
    "not",
    "and",
    "or",
    "matches",
    "contains",
    "startsWith",
    "nil",
    "true",
    "false",
    "a",
    "x",
    "$env",
    "(",
    ")",
    "[",
    "]",
    "{",
    "}",
    ".",
    "?.",
    "..",
    ",",
    ";",
    ":",
    "::",
    "?",
    "??",
    "|",
    "||",
    "&&",
    "!",
    "=",
    "==",
    "!=",
    "<",
    ">",
    "<=",
    ">=",
    "+",
    "-",
    "*",
    "/",
    "%",
    "**",
    "^",
    "#",
    "#acc",
    "#index",
    "1",
    "0",
    "2.5",
    "1e3",
    "0xF",
    "\"a\"",
    "'b'",
    "`c`",
    "\"(\"",
    "b\"x\"",
    "\"\\u00e9\"",
    "// c\n",
    "/* c */",
    "\"",
    "é",
    "@",
    "9223372036854775807",
    "1_000",
    "now()",
    "date(\"2026-01-02\")",
    "duration(\"1h\")",
    "split",
    "replace",
    "repeat",
    "join",
    "take",
    "get",
    "toJSON",
    "fromJSON",
    "max",
    "string",
    "int",
    "type",
    "timezone(\"UTC\")",
    "Year()",
];

fn soup() -> impl Strategy<Value = String> {
    prop::collection::vec(prop::sample::select(TOKENS), 0..40).prop_map(|t| t.join(" "))
}

/// Expressions that parse, of any type.
fn expression() -> impl Strategy<Value = String> {
    let leaf = prop::sample::select(vec![
        "result",
        "result.n",
        "result.xs",
        "result[0]",
        "result?.s",
        "1",
        "0",
        "-1",
        "2.5",
        "\"a\"",
        "\"\"",
        "nil",
        "true",
        "false",
        "[]",
        "[1, 2, 3]",
        "[\"a\", nil]",
        "{a: 1}",
        "1..3",
        "duration(\"1h\")",
        "now()",
    ])
    .prop_map(str::to_owned);
    leaf.prop_recursive(6, 60, 3, |inner| {
        let two = (inner.clone(), inner.clone());
        prop_oneof![
            (
                two.clone(),
                prop::sample::select(vec![
                    "+", "-", "*", "/", "%", "**", "==", "!=", "<", ">=", "and", "or", "in", "matches", "contains",
                    ".."
                ])
            )
                .prop_map(|((a, b), op)| format!("({a} {op} {b})")),
            (
                inner.clone(),
                prop::sample::select(vec![
                    "len",
                    "string",
                    "int",
                    "float",
                    "type",
                    "max",
                    "min",
                    "mean",
                    "sum",
                    "sort",
                    "uniq",
                    "keys",
                    "toPairs",
                    "fromPairs",
                    "flatten",
                    "reverse",
                    "first",
                    "last",
                    "toJSON",
                    "fromJSON",
                    "upper",
                    "trim",
                    "abs",
                    "asInt",
                    "asFloat",
                    "isNaN",
                    "toBase64",
                    "duration",
                    "date"
                ])
            )
                .prop_map(|(a, f)| format!("{f}({a})")),
            (
                two.clone(),
                prop::sample::select(vec![
                    "split",
                    "join",
                    "repeat",
                    "get",
                    "take",
                    "concat",
                    "bitand",
                    "bitshl",
                    "indexOf",
                    "hasPrefix",
                    "default"
                ])
            )
                .prop_map(|((a, b), f)| format!("{f}({a}, {b})")),
            (
                two.clone(),
                prop::sample::select(vec![
                    "all", "any", "map", "filter", "count", "find", "findLast", "groupBy", "sortBy", "reduce"
                ])
            )
                .prop_map(|((a, b), f)| format!("{f}({a}, # == {b} or {b})")),
            (inner.clone(), inner.clone(), inner.clone()).prop_map(|(a, b, c)| format!("({a} ? {b} : {c})")),
            two.clone().prop_map(|(a, b)| format!("({a})[{b}]")),
            two.clone().prop_map(|(a, b)| format!("({a})[{b}:]")),
            two.prop_map(|(a, b)| format!("({a} ?? {b})")),
            inner.clone().prop_map(|a| format!("[{a}]")),
            inner.prop_map(|a| format!("!({a})")),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_text_makes_it_panic(source in ".{0,60}", which in 0usize..9) {
        let _ = evaluate_condition(&source, &results()[which], now());
    }

    #[test]
    fn no_soup_of_tokens_makes_it_panic(source in soup(), which in 0usize..9) {
        let _ = evaluate_condition(&source, &results()[which], now());
    }

    #[test]
    fn no_expression_makes_it_panic_and_each_answers_the_same_twice(source in expression(), which in 0usize..9) {
        let result = &results()[which];
        prop_assert_eq!(evaluate_condition(&source, result, now()), evaluate_condition(&source, result, now()));
    }

    #[test]
    fn an_expression_means_the_same_in_parentheses_and_with_a_comment(source in expression(), which in 0usize..9) {
        let result = &results()[which];
        let plain = evaluate_condition(&source, result, now());
        prop_assert_eq!(&evaluate_condition(&format!("({source}) // why"), result, now()), &plain);
    }
}
