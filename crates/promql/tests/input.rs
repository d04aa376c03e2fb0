//! Whatever text comes in: an answer or an error with its place, in bounded time, depth and memory, and never a panic.

use proptest::prelude::*;
use serin_promql::{Error, EvalError, Labels, Options, Query, Rules, Store};

fn store() -> Store {
    let mut store = Store::new();
    for (name, x) in [("a", "1"), ("a", "2"), ("b", "1"), ("h_bucket", "3")] {
        for t in 0..40 {
            let labels = Labels::metric(name, [("x", x), ("le", if name == "h_bucket" { "+Inf" } else { "" })]);
            store.add(&labels, t * 15_000, t as f64).expect("in order");
        }
    }
    store
}

/// Queries that have something of everything, to be broken.
const SEEDS: &[&str] = &[
    r#"sum by (x) (rate(a{x=~"1|2",y!="b"}[5m] offset 1m)) / ignoring(y) group_left(z) b > bool 0.5"#,
    r#"histogram_quantile(0.9, sum without (x) (rate(h_bucket[1m30s])))"#,
    r#"max_over_time((a or b unless on(x) a)[10m:30s] @ end()) + scalar(b) * 0x1F - -1e3"#,
    r#"label_replace(a, "n", "$1-${2}", "x", `(\d)(.*)`) and topk(2, -a ^ 2 % 3)"#,
    r#"count_values("v", clamp(a @ 100.5, -Inf, +Inf)) # "comment"
       or absent({__name__="c",'d'='\u00e9'})"#,
    r#"quantile_over_time(0.5, a[5m]) <= predict_linear(b[1h:], time())"#,
];

fn evaluate(text: &str) {
    let options = Options {
        max_samples: 200_000,
        ..Options::default()
    };
    if let Ok(query) = Query::parse(text) {
        let store = store();
        for at in [0, 300_000, i64::MAX, i64::MIN] {
            let _ = query.instant_with(&store, at, &options);
        }
    }
}

/// Pieces that queries are made of, and some that break them.
fn piece() -> impl Strategy<Value = String> {
    prop_oneof![
        prop::sample::select(vec![
            "(",
            ")",
            "{",
            "}",
            "[",
            "]",
            ",",
            ":",
            "+",
            "-",
            "*",
            "/",
            "%",
            "^",
            "==",
            "=~",
            "!~",
            "=",
            "!",
            "<",
            "@",
            "#",
            "\n",
            " ",
            "\"",
            "'",
            "`",
            "\\",
            "a",
            "b",
            "or ",
            " and ",
            "unless",
            "bool",
            "on",
            "ignoring(",
            "group_left",
            "by (",
            "without",
            "offset ",
            "start()",
            "end()",
            "5m",
            "1h30m",
            "0s",
            "9999999999y",
            "1e999",
            "0x",
            "08",
            "NaN",
            "Inf",
            ".",
            "..",
            "1.",
            "sum",
            "rate(",
            "topk(",
            "histogram_quantile(",
            "label_replace(",
            "[5m:1s]",
            "[5m]",
            "[1:1]",
            "é",
            "\u{0}",
            "\u{feff}",
            "fill(1)",
            "limitk(",
            "{a=\"b\"}",
            "@ 1e300",
            "offset -5m",
            "atan2",
            "start",
        ])
        .prop_map(str::to_owned),
        any::<char>().prop_map(String::from),
        "[0-9]{1,20}[a-z]{0,2}",
    ]
}

proptest! {
    #[test]
    fn any_text_is_answered_or_refused(text in ".{0,200}") {
        evaluate(&text);
        let _ = Rules::parse(&text);
    }

    #[test]
    fn any_pieces_are_answered_or_refused(pieces in prop::collection::vec(piece(), 0..30)) {
        evaluate(&pieces.concat());
    }

    #[test]
    fn broken_queries_are_answered_or_refused(
        seed in 0..SEEDS.len(),
        edits in prop::collection::vec((0.0..1.0f64, 0usize..4, piece()), 1..6),
    ) {
        let mut text: Vec<char> = SEEDS[seed].chars().collect();
        for (place, cut, piece) in edits {
            let from = (place * text.len() as f64) as usize;
            let to = (from + cut).min(text.len());
            text.splice(from..to, piece.chars());
        }
        evaluate(&text.into_iter().collect::<String>());
    }

    #[test]
    fn any_pattern_is_compiled_or_refused(pattern in ".{0,60}", template in r"[$\{\}a-z0-9]{0,20}") {
        let quote = |text: &str| format!("{text:?}").replace("\\u{", "\\\\u{").replace("\\'", "'").replace("\\0", "");
        evaluate(&format!("label_replace(a, \"n\", {}, \"x\", {})", quote(&template), quote(&pattern)));
    }
}

#[test]
fn the_seeds_themselves_are_answered() {
    for seed in SEEDS {
        let query = Query::parse(seed).unwrap_or_else(|e| panic!("{seed}: {e}"));
        query
            .instant(&store(), 300_000)
            .unwrap_or_else(|e| panic!("{seed}: {e}"));
    }
}

/// The deepest trees that pass the bounds, on half the stack of a usual worker thread.
#[test]
fn the_deepest_queries_fit_onto_a_small_stack() {
    let chains = [
        format!("a{}", " + a".repeat(127)),
        format!("a{}", " ^ a".repeat(127)),
        format!("{}a", "-".repeat(128)),
        format!("{}a{}", "(".repeat(64), ")".repeat(64)),
        format!("{}a{}", "abs(".repeat(64), ")".repeat(64)),
        format!("{}a{}", "sum(".repeat(64), ")".repeat(64)),
        format!("{}a{}", "max_over_time(".repeat(30), "[30s:15s])".repeat(30)),
        format!("{}a{}{}", "sum(".repeat(60), " unless b".repeat(67), ")".repeat(60)),
        format!("{}1{}", "-(1 + ".repeat(42), ")".repeat(42)),
        format!(
            "scalar({}{})",
            "vector(1) + scalar(".repeat(40),
            format_args!("a{}", ")".repeat(40))
        ),
    ];
    let run = move || {
        for text in chains {
            let query = Query::parse(&text).unwrap_or_else(|e| panic!("{text}: {e}"));
            let options = Options {
                max_samples: 100_000,
                ..Options::default()
            };
            let _ = query.instant_with(&store(), 300_000, &options);
            drop(query);
        }
    };
    let thread = std::thread::Builder::new()
        .stack_size(1 << 20)
        .spawn(run)
        .expect("a thread");
    thread.join().expect("no overflow");
}

#[test]
fn what_is_not_simulated_is_named_with_its_place() {
    for (query, error) in [
        ("mad_over_time(a[5m])", "1:1: mad_over_time()"),
        ("rate(a[5m]) +\n  histogram_count(b)", "2:3: histogram_count()"),
        ("sum by (info) (info(a))", "1:16: info()"),
        (
            "\"info(\" == bool 1",
            "binary expression must contain only scalar and instant vector types",
        ),
        ("abs(info) + info (a)", "1:13: info()"),
        ("a{info=\"info(\"} + # info(\n info(b)", "2:2: info()"),
        ("info(info(a))", "1:1: info()"),
        ("limitk(2, a)", "1:1: limitk"),
        ("abs(LIMITK by (x) (2, a))", "1:5: limitk"),
        ("limit_ratio(0.5, a)", "1:1: limit_ratio"),
        ("a + fill(0) b", "1:5: fill modifier"),
        ("sort_by_label(a, \"x\")", "1:1: sort_by_label()"),
        ("a + start()", "1:5: start()"),
        ("a @ start() + start()", "1:15: start()"),
        ("é", "1:1: unexpected character 'é'"),
        ("a{b=\"é\"} + first_over_time(a[1m])", "1:12: first_over_time()"),
    ] {
        let found = Query::parse(query).expect_err(query);
        assert!(found.to_string().ends_with(error), "{query}: {found}");
        if !error.contains("expression") && !error.contains("unexpected") {
            assert!(found.to_string().starts_with("not simulated: "), "{query}: {found}");
        }
    }
}

#[test]
fn refusals_say_where_as_far_as_that_can_be_told() {
    for (query, error) in [
        (
            "unknown(a)",
            "invalid PromQL: 1:1: unknown function with name 'unknown'",
        ),
        (
            "1 +\n nope(a)",
            "invalid PromQL: 2:2: unknown function with name 'nope'",
        ),
        (
            "rate(a)",
            "invalid PromQL: 1:1: expected type matrix in call to function 'rate', got vector",
        ),
        (
            "a{x=~\"(\"}",
            "invalid PromQL: 1:6: invalid regular expression \"(\": unclosed group",
        ),
        (
            "label_replace(a, \"b\", \"c\", \"d\", \"[\")",
            "invalid PromQL: 1:33: invalid regular expression",
        ),
        (
            "{x=~\".*\"}",
            "invalid PromQL: vector selector must contain at least one non-empty matcher",
        ),
        ("a +", "invalid PromQL: this is no PromQL expression"),
        ("", "invalid PromQL: "),
    ] {
        let found = Query::parse(query).expect_err(query).to_string();
        assert!(found.starts_with(error), "{query}: {found}");
    }
    let Error::Syntax {
        position: Some(place), ..
    } = Query::parse("a{x=\"\n").expect_err("unterminated")
    else {
        panic!("no place");
    };
    assert_eq!((place.line, place.column), (1, 5));
}

#[test]
fn an_evaluation_that_touches_too_much_ends_with_an_error() {
    let store = store();
    for query in [
        "count_over_time(a[1000y:1ms])",
        "max_over_time(max_over_time(a[10y:1s])[10y:1s])",
        "sum_over_time(a[10m])",
        "a or b or a or b",
    ] {
        let options = Options {
            max_samples: 10,
            ..Options::default()
        };
        let error = Query::parse(query)
            .expect(query)
            .instant_with(&store, 300_000, &options)
            .expect_err(query);
        assert_eq!(error, EvalError::TooManySamples { limit: 10 }, "{query}");
    }
}

#[test]
fn labels_do_not_grow_without_end() {
    let store = store();
    let double = |inside: String| format!("label_join({inside}, \"x\", \"\", \"x\", \"x\")");
    let joined = (0..30).fold("a".to_owned(), |inside, _| double(inside));
    let error = Query::parse(&joined)
        .expect("a query")
        .instant(&store, 300_000)
        .expect_err("long labels");
    assert!(matches!(error, EvalError::LongLabel { .. }), "{error}");
}
