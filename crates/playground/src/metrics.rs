//! Counters as HTTP servers expose them, and their text. Pure.

use std::{collections::BTreeMap, fmt::Write as _, time::Duration};

/// Upper bounds of the histogram in seconds; dense around the half second that the ready templates judge by.
const BOUNDS: [f64; 14] = [
    0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.4, 0.5, 0.6, 0.75, 1.0, 2.5, 5.0, 10.0,
];

/// Requests by their labels.
#[derive(Debug)]
pub(crate) struct Requests {
    /// Names of the counter and of the histogram.
    names: [&'static str; 2],
    series: BTreeMap<String, Series>,
}

#[derive(Debug, Default)]
struct Series {
    buckets: [u64; BOUNDS.len()],
    count: u64,
    seconds: f64,
}

impl Requests {
    pub(crate) fn new(counter: &'static str, histogram: &'static str) -> Self {
        Self {
            names: [counter, histogram],
            series: BTreeMap::new(),
        }
    }

    /// Counts an answer.
    pub(crate) fn count(&mut self, labels: &[(&str, &str)], took: Duration) {
        let words = labels
            .iter()
            .map(|(name, value)| format!("{name}=\"{}\"", escaped(value)));
        let series = self.series.entry(words.collect::<Vec<_>>().join(",")).or_default();
        let seconds = took.as_secs_f64();
        series.count += 1;
        series.seconds += seconds;
        if let Some(bucket) = BOUNDS.iter().position(|bound| seconds <= *bound) {
            series.buckets[bucket] += 1;
        }
    }

    /// Prometheus' text format. What has never been counted is not there, as with the usual client libraries.
    pub(crate) fn text(&self) -> String {
        let [counter, histogram] = self.names;
        // Writing to a String cannot fail.
        let mut out = format!("# HELP {counter} Requests answered.\n# TYPE {counter} counter\n");
        for (labels, series) in &self.series {
            let _ = writeln!(out, "{counter}{{{labels}}} {}", series.count);
        }
        let _ = writeln!(out, "# HELP {histogram} Time to answer.\n# TYPE {histogram} histogram");
        for (labels, series) in &self.series {
            let mut below = 0;
            for (bound, count) in BOUNDS.iter().zip(series.buckets) {
                below += count;
                let _ = writeln!(out, "{histogram}_bucket{{{labels},le=\"{bound}\"}} {below}");
            }
            let _ = writeln!(out, "{histogram}_bucket{{{labels},le=\"+Inf\"}} {}", series.count);
            let _ = writeln!(out, "{histogram}_sum{{{labels}}} {}", series.seconds);
            let _ = writeln!(out, "{histogram}_count{{{labels}}} {}", series.count);
        }
        out
    }
}

fn escaped(value: &str) -> String {
    value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

/// Name, labels, value.
pub(crate) type Sample<'a> = (&'a str, Vec<(String, String)>, f64);

/// One line of Prometheus' text format. Nothing for comments and for what is none.
pub(crate) fn sample(line: &str) -> Option<Sample<'_>> {
    let line = line.trim();
    if line.is_empty() || line.starts_with('#') {
        return None;
    }
    let end = line.find(|c: char| c == '{' || c.is_whitespace())?;
    let (name, mut rest) = line.split_at(end);
    let mut labels = Vec::new();
    if let Some(inside) = rest.strip_prefix('{') {
        rest = inside;
        loop {
            rest = rest.trim_start_matches([',', ' ']);
            if let Some(after) = rest.strip_prefix('}') {
                rest = after;
                break;
            }
            let (label, after) = rest.split_once("=\"")?;
            let (value, after) = quoted(after)?;
            labels.push((label.trim().to_owned(), value));
            rest = after;
        }
    }
    let value = rest.split_whitespace().next()?;
    let value = match value {
        "+Inf" => f64::INFINITY,
        "-Inf" => f64::NEG_INFINITY,
        number => number.parse().ok()?,
    };
    Some((name, labels, value))
}

/// A text up to its closing quote, and what follows.
fn quoted(text: &str) -> Option<(String, &str)> {
    let mut out = String::new();
    let mut characters = text.char_indices();
    while let Some((at, c)) = characters.next() {
        match c {
            '"' => return Some((out, &text[at + 1..])),
            '\\' => match characters.next()?.1 {
                'n' => out.push('\n'),
                other => out.push(other),
            },
            c => out.push(c),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_again() {
        let mut requests = Requests::new("requests_total", "seconds");
        for millis in [4, 450, 20_000] {
            requests.count(&[("code", "200"), ("path", "a\"b\\")], Duration::from_millis(millis));
        }
        let text = requests.text();
        let all: Vec<_> = text.lines().filter_map(sample).collect();
        let labels = vec![
            ("code".to_owned(), "200".to_owned()),
            ("path".to_owned(), "a\"b\\".to_owned()),
        ];
        assert_eq!(all[0], ("requests_total", labels, 3.0));
        let below = |bound: &str| {
            let has = |labels: &[(String, String)]| labels.iter().any(|(n, v)| n == "le" && v == bound);
            all.iter().find(|(_, labels, _)| has(labels)).map(|(_, _, n)| *n)
        };
        assert_eq!(
            (below("0.4"), below("0.5"), below("10"), below("+Inf")),
            (Some(1.0), Some(2.0), Some(2.0), Some(3.0))
        );
    }

    #[test]
    fn what_is_no_sample_is_passed_over() {
        for line in ["", "# TYPE a counter", "a", "a{b=\"c} 1", "a{} x"] {
            assert_eq!(sample(line), None, "{line}");
        }
        assert_eq!(sample("up 1 1700000000"), Some(("up", Vec::new(), 1.0)));
    }
}
