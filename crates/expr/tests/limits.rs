//! No condition ends the process or stalls it, whatever a tenant writes: bounded stack, memory and work.

use std::fmt::Debug;

use chrono::{DateTime, Utc};
use serin_expr::limits::{MAX_NESTING, MAX_VALUE_DEPTH};
use serin_expr::{Value, evaluate_condition};

fn now() -> DateTime<Utc> {
    "2026-11-21T12:00:00Z".parse().expect("a time")
}

/// Runs on a stack of 256 KiB: an overflow there ends the whole test program.
fn on_small_stack<T: Send + 'static + Debug>(work: impl FnOnce() -> T + Send + 'static) -> T {
    std::thread::Builder::new()
        .stack_size(256 * 1024)
        .spawn(work)
        .expect("a thread")
        .join()
        .expect("no panic")
}

fn eval(source: String) -> Result<bool, String> {
    on_small_stack(move || evaluate_condition(&source, &Value::Nil, now()))
}

fn nested(open: &str, inner: &str, close: &str, n: usize) -> String {
    format!("{}{inner}{}", open.repeat(n), close.repeat(n))
}

/// Ways to nest: opening, innermost, closing.
const WAYS: &[(&str, &str, &str)] = &[
    ("(", "true", ")"),
    ("!", "true", ""),
    ("-", "1", ""),
    ("[", "1", "]"),
    ("{a: ", "1", "}"),
    ("all([1], ", "true", ")"),
    ("map([1], {", "#", "})"),
    ("string(", "1", ")"),
    ("true ? ", "1", " : 2"),
    ("false ? 2 : ", "1", ""),
    ("if true { ", "1", " } else { 2 }"),
    ("if false { 1 } else ", "if true { 1 } else { 2 }", ""),
    ("let a = ", "1", "; a"),
    ("2 ** ", "1", ""),
    ("1 < (", "2", ") < 3"),
    ("[1][", "0", "]"),
    ("[1][0:", "1", "]"),
    ("result?.a(", "1", ")"),
    ("reduce([1], ", "#", ", 0)"),
    ("not ", "true", ""),
    ("(nil ?? ", "1", ")"),
    ("1 in [", "1", "]"),
    ("filter(", "[1]", ", true)"),
];

#[test]
fn deep_nesting_is_refused_and_not_overflowed() {
    for (open, inner, close) in WAYS {
        for n in [MAX_NESTING / 4, MAX_NESTING, MAX_NESTING * 4, 20_000] {
            // Whatever the answer: there is one.
            let answer = eval(nested(open, inner, close, n));
            if n >= MAX_NESTING * 4 {
                let text = answer.expect_err(open);
                assert!(
                    text.contains("nests deeper") || text.contains("maximum allowed nodes"),
                    "{open}: {text}"
                );
            }
        }
    }
}

#[test]
fn what_people_write_is_far_from_the_limit_of_nesting() {
    assert_eq!(eval(nested("(", "true", ")", MAX_NESTING - 2)), Ok(true));
    assert_eq!(eval(nested("!", "true", "", MAX_NESTING - 2)), Ok(true));
}

#[test]
fn long_chains_do_not_nest() {
    assert_eq!(eval(format!("{}true", "false || ".repeat(2_000))), Ok(true));
    assert_eq!(eval(format!("{}true", "true and ".repeat(2_000))), Ok(true));
    assert_eq!(eval(format!("1{} > 0", " + 1".repeat(2_000))), Ok(true));
    assert_eq!(
        eval(format!("result{} == nil", "?.a".repeat(10))),
        Err("type nil has no field a".into())
    );
    assert_eq!(eval(format!("[1]{} == [1]", " | map(#)".repeat(1_000))), Ok(true));
    assert_eq!(eval(format!("{{}}{} == nil", "?.a".repeat(2_000))), Ok(true));
    assert_eq!(eval(format!("{}5", "1 < ".repeat(1_000))), Ok(false));
    assert_eq!(
        eval(format!("sum([{}1]) == 3001", "len(\"a\"), ".repeat(3_000))),
        Ok(true)
    );
    assert_eq!(eval(format!("{}true", "1; ".repeat(3_000))), Ok(true));
}

#[test]
fn chains_in_chains_do_not_multiply() {
    let mut source = "1".to_owned();
    for _ in 0..40 {
        source = format!("(1 < ({source} ? 1 : 2) < 3)");
    }
    assert!(eval(source).is_err());
}

#[test]
fn loops_over_loops_end() {
    let xs = "let xs = 1..1000;";
    let text = eval(format!("{xs} all(xs, all(xs, all(xs, all(xs, # > 0))))")).expect_err("too much work");
    assert!(text.starts_with("work budget exceeded"), "{text}");
}

#[test]
fn doubling_ends_before_memory_does() {
    let double = |first: &str, step: &str, last: &str| {
        let mut source = format!("let v0 = {first}; ");
        for i in 1..60 {
            source += &format!("let v{i} = {}; ", step.replace('_', &format!("v{}", i - 1)));
        }
        source + &last.replace('_', "v59")
    };
    for (first, step, last) in [
        ("\"0123456789\"", "_ + _", "len(_) > 0"),
        ("[1]", "[_, _]", "string(_) == \"\""),
        ("[1]", "[_, _]", "_ == [_]"),
        ("[1]", "[_, _]", "toJSON(_) == \"\""),
        ("[1]", "[_, _]", "len(flatten(_)) > 0"),
        ("[1]", "[_, _]", "max(_) > 0"),
        ("[1]", "[_, _]", "mean(_) > 0"),
        ("[1]", "[_, _]", "len(uniq([_, _])) > 0"),
        ("[1]", "[_, _]", "asInt(_) > 0"),
        ("[1]", "[_, _]", "_ in [_, [_]]"),
        ("[1]", "concat(_, _)", "len(_) > 0"),
        ("{a: 1}", "{a: _, b: _}", "string(_) == \"\""),
        ("{a: 1}", "{a: _, b: _}", "_ == {c: _}"),
        ("\"a\"", "replace(_, \"a\", \"aaaaaaaaaa\")", "len(_) > 0"),
        ("\"a\"", "join([_, _], _)", "len(_) > 0"),
        ("\"a\"", "repeat(_, 10)", "len(_) > 0"),
        ("\"a\"", "toBase64(_ + _)", "len(_) > 0"),
        ("\"a\"", "toJSON(_ + _)", "len(_) > 0"),
    ] {
        let source = double(first, step, last);
        let answer = eval(source);
        // Equality of the very same part may be decided at once; everything else runs out.
        if let Err(text) = answer {
            assert!(
                text.contains("exceeded") || text.contains("nests deeper") || text.contains("mismatched"),
                "{step} {last}: {text}"
            );
        }
    }
}

#[test]
fn values_do_not_nest_without_end() {
    assert_eq!(
        eval("len(reduce(1..5000, [#acc])) > 0".into()),
        Err("recursion depth exceeded".into())
    );
    assert_eq!(
        eval("len(reduce(1..5000, {{a: #acc}})) > 0".into()),
        Err("recursion depth exceeded".into())
    );
}

#[test]
fn the_deepest_value_can_be_walked_on_a_small_stack() {
    for source in [
        "result == result",
        "string(result) != \"\"",
        "toJSON(result) != \"\"",
        "len(flatten([result])) == 1",
        "max(result) == nil",
        "[result] == [result, 1]",
        "result in [1, result]",
        "uniq([result, result])[0] == result",
        "asInt(result) == 1",
    ] {
        let depth = usize::try_from(MAX_VALUE_DEPTH).expect("small") - 20;
        // serde_json itself stops at 128; it is read on an ordinary stack, as metrics are.
        let text = format!("{}1{}", "[".repeat(depth), "]".repeat(depth));
        let document: serde_json::Value = serde_json::from_str(&text).expect("within serde_json's limit");
        let result = Value::from_json(&document).expect("within our limit");
        let answer = on_small_stack(move || evaluate_condition(source, &result, now()));
        assert!(
            answer.is_ok()
                || answer
                    .as_ref()
                    .is_err_and(|e| e.contains("asInt() not supported") || e.contains("float64")),
            "{source}: {answer:?}"
        );
    }
}

#[test]
fn a_document_that_is_too_deep_is_refused() {
    let mut document = serde_json::json!(1);
    for _ in 0..=MAX_VALUE_DEPTH {
        document = serde_json::json!([document]);
    }
    assert_eq!(
        Value::from_json(&document).map(|_| ()),
        Err("recursion depth exceeded".into())
    );
}

#[test]
fn regular_expressions_cannot_grow_without_end() {
    for pattern in [
        "(a{1000}){1000}",
        "((a{100}){100}){100}",
        "((((((((((((a*)*)*)*)*)*)*)*)*)*)*)*)",
        "(a|b|c|d)*".repeat(500).as_str(),
    ] {
        // Compiled or refused, but within bounds: otherwise this test would not end.
        let _ = evaluate_condition(&format!("\"aaaa\" matches \"{pattern}\""), &Value::Nil, now());
    }
    let deep = format!("\"a\" matches \"{}a{}\"", "(".repeat(5_000), ")".repeat(5_000));
    assert!(eval(deep).is_err());
}

#[test]
fn a_deep_document_inside_a_condition_is_read_on_a_small_stack_too() {
    for depth in [10, 60, 100, 120, 127, 200, 20_000] {
        let text = format!("{}1{}", "[".repeat(depth), "]".repeat(depth));
        let answer = eval(format!("len(fromJSON(\"{text}\")) == 1"));
        assert_eq!(answer.is_ok(), depth <= 60, "{depth}: {answer:?}");
        let text = format!("{}1{}", "{\\\"a\\\":".repeat(depth), "}".repeat(depth));
        let answer = eval(format!("len(fromJSON(\"{text}\")) == 1"));
        assert_eq!(answer.is_ok(), depth <= 60, "{depth}: {answer:?}");
    }
}

#[test]
fn the_deepest_values_that_a_condition_builds_can_be_walked_on_a_small_stack() {
    let n = MAX_VALUE_DEPTH - 2;
    for (deep, other) in [
        (format!("reduce(1..{n}, [#acc])"), format!("reduce(1..{n}, [#acc, 1])")),
        (
            format!("reduce(1..{n}, {{{{a: #acc}}}})"),
            format!("reduce(1..{n}, {{{{a: #acc, b: 1}}}})"),
        ),
    ] {
        for condition in [
            format!("string({deep}) != \"\""),
            format!("toJSON({deep}) != \"\""),
            format!("{deep} == {deep}"),
            format!("{deep} != {other}"),
            format!("{deep} in [{other}, {deep}]"),
            format!("len(flatten([{deep}])) == 1"),
            format!("len(uniq([{deep}, {deep}, {other}])) == 2"),
            format!("asInt({deep}) == 1 || true"),
        ] {
            assert_eq!(eval(condition.clone()), Ok(true), "{condition}");
        }
    }
}
