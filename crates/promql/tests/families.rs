//! Each family of PromQL on a few samples whose answers can be worked out by hand. `tests/promql` compares far more with the
//! real Prometheus; this says what is expected, and why.

use serin_promql::{Dialect, EvalError, Labels, Options, Query, STALE, Store, Value};

/// Samples of one series every 10 s from 0 s on.
fn add(store: &mut Store, name: &str, labels: &[(&str, &str)], values: &[f64]) {
    let series = store.series(&Labels::metric(name, labels.iter().copied()));
    for (n, value) in values.iter().enumerate() {
        store.append(series, n as i64 * 10_000, *value).expect("in order");
    }
}

fn store() -> Store {
    let mut store = Store::new();
    // A counter that restarts between 20 s and 30 s.
    add(
        &mut store,
        "requests_total",
        &[("code", "200"), ("pod", "a")],
        &[0.0, 10.0, 20.0, 5.0, 15.0, 25.0, 35.0],
    );
    add(
        &mut store,
        "requests_total",
        &[("code", "500"), ("pod", "a")],
        &[0.0, 0.0, 1.0, 0.0, 0.0, 2.0, 3.0],
    );
    add(
        &mut store,
        "requests_total",
        &[("code", "200"), ("pod", "b")],
        &[100.0; 7],
    );
    add(
        &mut store,
        "load",
        &[("pod", "a")],
        &[1.0, 3.0, 2.0, 2.0, f64::NAN, 4.0, 6.0],
    );
    add(&mut store, "load", &[("pod", "b")], &[5.0, 5.0, 5.0, 5.0, STALE]);
    add(&mut store, "version", &[("pod", "a"), ("version", "1")], &[1.0; 7]);
    add(&mut store, "version", &[("pod", "b"), ("version", "2")], &[1.0; 7]);
    for (le, count) in [("0.1", 10.0), ("0.5", 30.0), ("1", 40.0), ("+Inf", 40.0)] {
        add(&mut store, "seconds_bucket", &[("le", le)], &[count; 7]);
    }
    store
}

fn ask(query: &str, at_seconds: i64) -> Result<Value, EvalError> {
    Query::parse(query)
        .unwrap_or_else(|e| panic!("{query}: {e}"))
        .instant(&store(), at_seconds * 1000)
}

/// Elements as text, sorted.
fn shown(query: &str, at_seconds: i64) -> Vec<String> {
    let elements = match ask(query, at_seconds) {
        Ok(Value::Vector(elements)) => elements,
        Ok(Value::Scalar(value)) => vec![(Labels::empty(), value)],
        other => panic!("{query}: {other:?}"),
    };
    let mut shown: Vec<String> = elements
        .iter()
        .map(|(labels, value)| format!("{labels} {value}"))
        .collect();
    shown.sort();
    shown
}

fn check(at_seconds: i64, expected: &[(&str, &[&str])]) {
    for (query, elements) in expected {
        assert_eq!(shown(query, at_seconds), *elements, "{query} at {at_seconds} s");
    }
}

#[test]
fn selectors_find_the_newest_sample_within_the_look_back() {
    check(
        60,
        &[
            ("load", &[r#"load{pod="a"} 6"#]),
            ("load offset 30s", &[r#"load{pod="a"} 2"#, r#"load{pod="b"} 5"#]),
            ("load @ 10", &[r#"load{pod="a"} 3"#, r#"load{pod="b"} 5"#]),
            (
                "requests_total{code!=\"200\"}",
                &[r#"requests_total{code="500", pod="a"} 3"#],
            ),
            ("{__name__=~\"lo.*\",pod=~\"a|c\"}", &[r#"load{pod="a"} 6"#]),
            ("load{pod=~\"\"}", &[]),
            ("timestamp(load offset 5s)", &[r#"{pod="a"} 50"#]),
        ],
    );
    // The last sample is at 60 s: in Prometheus 3 it is forgotten after exactly five minutes, in Prometheus 2 one instant later.
    let query = Query::parse("version{pod=\"a\"}").expect("a query");
    let found = |at_ms: i64, dialect: Dialect| {
        let options = Options {
            dialect,
            ..Options::default()
        };
        query.instant_with(&store(), at_ms, &options) != Ok(Value::Vector(Vec::new()))
    };
    assert!(found(359_999, Dialect::V3));
    assert!(!found(360_000, Dialect::V3));
    assert!(found(360_000, Dialect::V2));
    assert!(!found(360_001, Dialect::V2));
}

#[test]
fn rates_make_resets_good_and_reach_to_the_edges_of_the_window() {
    check(
        60,
        &[
            // From 40 s (not included) to 60 s: 25 and 35, 10 more within 10 s. The sample is 10 s from the older edge, less
            // than 1.1 times the distance between samples: extended to all of the window.
            (
                "increase(requests_total{code=\"200\",pod=\"a\"}[20s])",
                &[r#"{code="200", pod="a"} 20"#],
            ),
            (
                "rate(requests_total{code=\"200\",pod=\"a\"}[20s])",
                &[r#"{code="200", pod="a"} 1"#],
            ),
            // 20 to 5 is a restart: 20 were there before it. 10, 20, (reset) 5, 15, 25, 35: 45 within 50 s. To the older
            // edge it is 10 s, and at that slope the counter was 0 before that: 45 * 60 / 50.
            (
                "increase(requests_total{code=\"200\",pod=\"a\"}[1m])",
                &[r#"{code="200", pod="a"} 54"#],
            ),
            (
                "delta(requests_total{code=\"200\",pod=\"a\"}[1m])",
                &[r#"{code="200", pod="a"} 30"#],
            ),
            (
                "irate(requests_total{code=\"500\"}[1m])",
                &[r#"{code="500", pod="a"} 0.1"#],
            ),
            (
                "irate(requests_total{code=\"200\",pod=\"a\"}[20s] offset 30s)",
                &[r#"{code="200", pod="a"} 0.5"#],
            ),
            ("idelta(load[1m])", &[r#"{pod="a"} 2"#, r#"{pod="b"} 0"#]),
            (
                "resets(requests_total{pod=\"a\"}[5m])",
                &[r#"{code="200", pod="a"} 1"#, r#"{code="500", pod="a"} 1"#],
            ),
            ("rate(requests_total{pod=\"b\"}[10s])", &[]),
            (
                "deriv(requests_total{code=\"200\",pod=\"a\"}[30s])",
                &[r#"{code="200", pod="a"} 1"#],
            ),
            (
                "predict_linear(requests_total{code=\"200\",pod=\"a\"}[30s], 10)",
                &[r#"{code="200", pod="a"} 45"#],
            ),
        ],
    );
    // A window whose older edge falls on a sample: it belongs to it in Prometheus 2 only.
    let query = Query::parse("count_over_time(version{pod=\"a\"}[20s])").expect("a query");
    for (dialect, count) in [(Dialect::V3, 2.0), (Dialect::V2, 3.0)] {
        let options = Options {
            dialect,
            ..Options::default()
        };
        let Ok(Value::Vector(found)) = query.instant_with(&store(), 60_000, &options) else {
            panic!("no vector")
        };
        assert_eq!(found[0].1, count, "{dialect:?}");
    }
}

#[test]
fn functions_over_time_see_the_samples_of_the_window() {
    check(
        60,
        &[
            ("sum_over_time(load{pod=\"a\"}[20s])", &[r#"{pod="a"} 10"#]),
            ("avg_over_time(load{pod=\"a\"}[20s])", &[r#"{pod="a"} 5"#]),
            ("max_over_time(load[1m])", &[r#"{pod="a"} 6"#, r#"{pod="b"} 5"#]),
            ("min_over_time(load[1m])", &[r#"{pod="a"} 2"#, r#"{pod="b"} 5"#]),
            ("sum_over_time(load{pod=\"a\"}[30s])", &[r#"{pod="a"} NaN"#]),
            ("count_over_time(load[2m])", &[r#"{pod="a"} 7"#, r#"{pod="b"} 4"#]),
            (
                "last_over_time(load[2m])",
                &[r#"load{pod="a"} 6"#, r#"load{pod="b"} 5"#],
            ),
            ("present_over_time(load[2m])", &[r#"{pod="a"} 1"#, r#"{pod="b"} 1"#]),
            ("changes(load[2m])", &[r#"{pod="a"} 5"#, r#"{pod="b"} 0"#]),
            ("stdvar_over_time(load{pod=\"a\"}[20s])", &[r#"{pod="a"} 1"#]),
            ("stddev_over_time(load{pod=\"a\"}[20s])", &[r#"{pod="a"} 1"#]),
            ("quantile_over_time(0.5, load{pod=\"a\"}[20s])", &[r#"{pod="a"} 5"#]),
            // At 20 s, 30 s, 40 s, 50 s and 60 s; the step's first multiple after 15 s.
            (
                "count_over_time(requests_total{pod=\"b\"}[45s:10s])",
                &[r#"{code="200", pod="b"} 5"#],
            ),
            ("max_over_time(sum(load)[1m:10s])", &["{} 8"]),
        ],
    );
}

#[test]
fn nothing_is_told_by_absent() {
    check(
        60,
        &[
            ("absent(load)", &[]),
            ("absent(load{pod=\"b\"})", &[r#"{pod="b"} 1"#]),
            ("absent(nothing{a=\"b\",c=~\"d\"})", &[r#"{a="b"} 1"#]),
            ("absent(sum(nothing{a=\"b\"}))", &["{} 1"]),
            ("absent_over_time(load{pod=\"b\"}[2m])", &[]),
            ("absent_over_time(load{pod=\"b\"}[20s])", &[r#"{pod="b"} 1"#]),
        ],
    );
}

#[test]
fn aggregations_make_one_of_each_group() {
    check(
        60,
        &[
            ("sum(requests_total)", &["{} 138"]),
            (
                "sum by (code) (requests_total)",
                &[r#"{code="200"} 135"#, r#"{code="500"} 3"#],
            ),
            (
                "sum without (code) (requests_total)",
                &[r#"{pod="a"} 38"#, r#"{pod="b"} 100"#],
            ),
            ("avg(requests_total)", &["{} 46"]),
            ("min(requests_total)", &["{} 3"]),
            ("max by (nothing) (requests_total)", &["{} 100"]),
            ("count by (pod) (requests_total)", &[r#"{pod="a"} 2"#, r#"{pod="b"} 1"#]),
            ("group(requests_total)", &["{} 1"]),
            (
                "stdvar(version * on(pod) group_left requests_total{code=\"200\"})",
                &["{} 1056.25"],
            ),
            ("stddev(requests_total{pod=\"b\"})", &["{} 0"]),
            ("quantile(0.5, requests_total)", &["{} 35"]),
            (
                "topk(1, requests_total)",
                &[r#"requests_total{code="200", pod="b"} 100"#],
            ),
            (
                "bottomk(1, requests_total)",
                &[r#"requests_total{code="500", pod="a"} 3"#],
            ),
            ("count_values(\"is\", version)", &[r#"{is="1"} 2"#]),
        ],
    );
    assert!(matches!(ask("topk(NaN, load)", 60), Err(EvalError::NoInteger(_))));
}

#[test]
fn quantiles_of_histograms_are_interpolated_within_a_bucket() {
    check(
        60,
        &[
            // Rank 20 of 40: ten of the twenty that are between 0.1 and 0.5.
            ("histogram_quantile(0.5, seconds_bucket)", &["{} 0.30000000000000004"]),
            ("histogram_quantile(1, seconds_bucket)", &["{} 1"]),
            ("histogram_quantile(0.125, seconds_bucket)", &["{} 0.05"]),
            ("histogram_quantile(0.5, seconds_bucket{le!=\"+Inf\"})", &["{} NaN"]),
            ("histogram_quantile(2, seconds_bucket)", &["{} inf"]),
            ("histogram_quantile(0.5, load)", &[]),
        ],
    );
}

#[test]
fn scalars_and_values_are_changed_one_by_one() {
    check(
        60,
        &[
            ("1 + 2 * 3 ^ 2 % 5", &["{} 4"]),
            ("-2 ^ 2", &["{} -4"]),
            ("-7 % 4", &["{} -3"]),
            ("3 > bool 2", &["{} 1"]),
            ("time()", &["{} 60"]),
            ("scalar(load{pod=\"a\"})", &["{} 6"]),
            ("scalar(requests_total)", &["{} NaN"]),
            ("vector(7)", &["{} 7"]),
            (
                "clamp(requests_total, 10, 50)",
                &[
                    r#"{code="200", pod="a"} 35"#,
                    r#"{code="200", pod="b"} 50"#,
                    r#"{code="500", pod="a"} 10"#,
                ],
            ),
            ("clamp(load, 2, 1)", &[]),
            ("clamp_min(load, 7)", &[r#"{pod="a"} 7"#]),
            ("clamp_max(load, 3)", &[r#"{pod="a"} 3"#]),
            ("round(load / 4)", &[r#"{pod="a"} 2"#]),
            ("round(load, 5)", &[r#"{pod="a"} 5"#]),
            ("sgn(-load)", &[r#"{pod="a"} -1"#]),
            (
                "sqrt(load - 2) + abs(-load) + floor(load / 4) + ceil(load / 4)",
                &[r#"{pod="a"} 11"#],
            ),
            (
                "log2(load + 2) + log10(load + 94) + ln(exp(load))",
                &[r#"{pod="a"} 11"#],
            ),
        ],
    );
}

#[test]
fn labels_are_replaced_joined_and_sorted_by() {
    check(
        60,
        &[
            (
                "label_replace(load, \"n\", \"$1-x\", \"pod\", \"(.)\")",
                &[r#"load{n="a-x", pod="a"} 6"#],
            ),
            (
                "label_replace(load, \"n\", \"$1-x\", \"pod\", \"(b)\")",
                &[r#"load{pod="a"} 6"#],
            ),
            ("label_replace(load, \"pod\", \"\", \"pod\", \".*\")", &["load 6"]),
            (
                "label_join(version, \"both\", \"/\", \"pod\", \"version\")",
                &[
                    r#"version{both="a/1", pod="a", version="1"} 1"#,
                    r#"version{both="b/2", pod="b", version="2"} 1"#,
                ],
            ),
        ],
    );
    let Ok(Value::Vector(sorted)) = ask("sort_desc(requests_total)", 60) else {
        panic!("no vector")
    };
    assert_eq!(sorted.iter().map(|(_, v)| *v).collect::<Vec<_>>(), [100.0, 35.0, 3.0]);
    let same = ask("label_replace(requests_total, \"pod\", \"x\", \"pod\", \".*\")", 60);
    assert!(matches!(same, Err(EvalError::SameLabels { .. })), "{same:?}");
}

#[test]
fn vectors_are_matched_by_their_labels() {
    check(
        60,
        &[
            (
                "requests_total{code=\"500\"} / ignoring(code) requests_total{code=\"200\"}",
                &[r#"{pod="a"} 0.08571428571428572"#],
            ),
            (
                "load / on(pod) requests_total{code=\"200\"}",
                &[r#"{pod="a"} 0.17142857142857143"#],
            ),
            (
                "requests_total * on(pod) group_left(version) version",
                &[
                    r#"{code="200", pod="a", version="1"} 35"#,
                    r#"{code="200", pod="b", version="2"} 100"#,
                    r#"{code="500", pod="a", version="1"} 3"#,
                ],
            ),
            (
                "version * on(pod) group_right requests_total{code=\"500\"}",
                &[r#"{code="500", pod="a"} 3"#],
            ),
            (
                "requests_total > 30",
                &[
                    r#"requests_total{code="200", pod="a"} 35"#,
                    r#"requests_total{code="200", pod="b"} 100"#,
                ],
            ),
            ("30 < bool requests_total{pod=\"b\"}", &[r#"{code="200", pod="b"} 1"#]),
            (
                "requests_total and on(pod) load",
                &[
                    r#"requests_total{code="200", pod="a"} 35"#,
                    r#"requests_total{code="500", pod="a"} 3"#,
                ],
            ),
            (
                "requests_total unless on(pod) load",
                &[r#"requests_total{code="200", pod="b"} 100"#],
            ),
            (
                "load or on(pod) version",
                &[r#"load{pod="a"} 6"#, r#"version{pod="b", version="2"} 1"#],
            ),
            ("load + nothing", &[]),
        ],
    );
}

#[test]
fn what_matches_more_than_once_is_refused() {
    let error = ask("load / on(pod) requests_total", 60).expect_err("two codes");
    assert!(
        error.to_string().contains("many-to-many matching not allowed"),
        "{error}"
    );
    assert_eq!(ask("requests_total / on(pod) load", 60), Err(EvalError::ManyToOne));
    assert_eq!(
        ask("requests_total * on(pod) group_left(code) version", 60),
        Err(EvalError::GroupingNotUnique)
    );
}

#[test]
fn texts_and_ranges_are_values_too() {
    assert_eq!(ask("\"a\"", 60), Ok(Value::String("a".into())));
    assert_eq!(
        ask("load{pod=\"a\"}[20s]", 60),
        Ok(Value::Matrix(vec![(
            Labels::metric("load", [("pod", "a")]),
            vec![(50_000, 4.0), (60_000, 6.0)]
        )]))
    );
}
