//! Random queries of the right types, from a seed.

use crate::Dice;

const SELECTORS: &[&str] = &[
    "http_requests_total",
    "http_requests_total{code=\"200\"}",
    "http_requests_total{code=~\"[45]..\",pod!=\"web-2\"}",
    "http_request_duration_seconds_bucket{shape=\"usual\"}",
    "http_request_duration_seconds_bucket{le=\"+Inf\"}",
    "aligned_total",
    "temperature_celsius",
    "memory_bytes",
    "flapping",
    "special{kind!=\"both_infs\"}",
    "special{kind=~\".*zero|steps|constant\"}",
    "version_info",
    "grid",
    "grid2",
    "lonely",
    "up",
    "late_total",
    "{__name__=~\"grid2?\",x=\"1\"}",
    "single",
];
const LENGTHS: &[&str] = &["30s", "1m", "90s", "5m", "10m", "7m30s"];
const OFFSETS: &[&str] = &["", "", "", "", " offset 1m", " offset -30s", " offset 7m"];
const LABELS: &[&str] = &[
    "pod",
    "code",
    "method",
    "x",
    "y",
    "shape",
    "le",
    "kind",
    "room",
    "rollouts_pod_template_hash",
];
const OVER_TIME: &[&str] = &[
    "rate",
    "increase",
    "delta",
    "irate",
    "idelta",
    "deriv",
    "resets",
    "changes",
    "avg_over_time",
    "sum_over_time",
    "min_over_time",
    "max_over_time",
    "count_over_time",
    "last_over_time",
    "present_over_time",
    "stddev_over_time",
];
const EACH: &[&str] = &["abs", "ceil", "floor", "sqrt", "sgn", "-", "round", "sort", "timestamp"];
const AGGREGATIONS: &[&str] = &["sum", "avg", "min", "max", "count", "group", "stddev"];
// No powers, no exponentials: Go and Rust round them differently in the last bit, and a remainder or a comparison of that
// differs in all. The written queries have them.
const ARITHMETIC: &[&str] = &["+", "-", "*", "/", "%"];
const COMPARISONS: &[&str] = &["==", "!=", ">", "<", ">=", "<=", "> bool", "== bool"];
const NUMBERS: &[&str] = &[
    "0",
    "1",
    "2",
    "0.5",
    "-3",
    "100",
    "1e6",
    "NaN",
    "Inf",
    "time()",
    "scalar(lonely)",
    "scalar(percent)",
];

/// So many queries of this seed.
pub fn queries(seed: u64, count: usize) -> Vec<String> {
    let mut dice = Dice::new(seed);
    (0..count)
        .map(|_| {
            let depth = 1 + dice.below(4);
            if dice.below(20) == 0 {
                scalar(&mut dice, depth)
            } else {
                vector(&mut dice, depth)
            }
        })
        .collect()
}

fn selector(dice: &mut Dice) -> String {
    format!("{}{}", dice.pick(SELECTORS), dice.pick(OFFSETS))
}

fn range(dice: &mut Dice, depth: u64) -> String {
    if depth > 0 && dice.below(4) == 0 {
        let step = dice.pick(&["10s", "15s", "1m", "23s", ""]);
        return format!(
            "({})[{}:{step}]{}",
            vector(dice, depth - 1),
            dice.pick(LENGTHS),
            dice.pick(OFFSETS)
        );
    }
    format!("{}[{}]{}", dice.pick(SELECTORS), dice.pick(LENGTHS), dice.pick(OFFSETS))
}

fn scalar(dice: &mut Dice, depth: u64) -> String {
    if depth == 0 || dice.below(2) == 0 {
        return dice.pick(NUMBERS).to_owned();
    }
    match dice.below(3) {
        0 => format!("scalar({})", vector(dice, depth - 1)),
        1 => format!(
            "({} {} {})",
            scalar(dice, depth - 1),
            dice.pick(ARITHMETIC),
            scalar(dice, depth - 1)
        ),
        _ => format!(
            "({} {} bool {})",
            scalar(dice, depth - 1),
            dice.pick(&["==", "<", ">="]),
            scalar(dice, depth - 1)
        ),
    }
}

fn labels(dice: &mut Dice) -> String {
    let count = dice.below(3);
    (0..count).map(|_| dice.pick(LABELS)).collect::<Vec<_>>().join(", ")
}

fn grouping(dice: &mut Dice) -> String {
    match dice.below(4) {
        0 => String::new(),
        1 => format!("without ({})", labels(dice)),
        _ => format!("by ({})", labels(dice)),
    }
}

fn matching(dice: &mut Dice) -> String {
    let on = match dice.below(4) {
        0 | 1 => return String::new(),
        2 => format!("on ({})", labels(dice)),
        _ => format!("ignoring ({})", labels(dice)),
    };
    match dice.below(3) {
        0 => format!("{on} group_left"),
        1 => format!("{on} group_right"),
        _ => on,
    }
}

fn vector(dice: &mut Dice, depth: u64) -> String {
    if depth == 0 {
        return selector(dice);
    }
    let down = depth - 1;
    match dice.below(18) {
        0 | 1 => selector(dice),
        2..=5 => format!("{}({})", dice.pick(OVER_TIME), range(dice, down)),
        6 => match dice.below(3) {
            0 => format!("quantile_over_time({}, {})", scalar(dice, 0), range(dice, down)),
            1 => format!("predict_linear({}, {})", range(dice, down), scalar(dice, 0)),
            _ => format!("absent_over_time({})", range(dice, down)),
        },
        7 => format!("{}({})", dice.pick(EACH), vector(dice, down)),
        8..=10 => format!(
            "{} {} ({})",
            dice.pick(AGGREGATIONS),
            grouping(dice),
            vector(dice, down)
        ),
        11 => match dice.below(3) {
            0 => format!(
                "quantile {} ({}, {})",
                grouping(dice),
                dice.pick(&["0.5", "0.99", "0", "1"]),
                vector(dice, down)
            ),
            1 => format!("count_values {} (\"value\", {})", grouping(dice), vector(dice, down)),
            _ => format!("absent({})", vector(dice, down)),
        },
        12 => format!(
            "({} {} {})",
            vector(dice, down),
            dice.pick(ARITHMETIC),
            scalar(dice, down)
        ),
        13 => format!(
            "({} {} {})",
            scalar(dice, down),
            dice.pick(COMPARISONS),
            vector(dice, down)
        ),
        14 => format!(
            "({} {} {} {})",
            vector(dice, down),
            dice.pick(ARITHMETIC),
            matching(dice),
            vector(dice, down)
        ),
        15 => format!(
            "({} {} {} {})",
            vector(dice, down),
            dice.pick(COMPARISONS),
            matching(dice),
            vector(dice, down)
        ),
        16 => {
            let operator = dice.pick(&["and", "or", "unless"]);
            let by = if dice.below(2) == 0 {
                String::new()
            } else {
                format!("on ({})", labels(dice))
            };
            format!("({} {operator} {by} {})", vector(dice, down), vector(dice, down))
        }
        _ => match dice.below(3) {
            0 => format!("clamp_max({}, {})", vector(dice, down), scalar(dice, down)),
            1 => format!(
                "label_replace({}, \"{}\", \"$1\", \"{}\", \"(.).*\")",
                vector(dice, down),
                dice.pick(LABELS),
                dice.pick(LABELS)
            ),
            _ => format!(
                "histogram_quantile({}, {})",
                dice.pick(&["0.5", "0.9", "0.99"]),
                vector(dice, down)
            ),
        },
    }
}
