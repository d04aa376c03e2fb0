//! What a rehearsal asks of the evaluator, timed: `cargo run --release -p serin-promql --example throughput`.

use std::time::Instant;

use serin_promql::{Labels, Query, Rules, Store, Target};

const RULES: &str = "groups:
- name: requests
  interval: 15s
  rules:
  - record: app:requests:rate2m
    expr: sum by (hash) (rate(http_requests_total[2m]))
  - record: app:errors:rate2m
    expr: sum by (hash) (rate(http_requests_total{code=~\"5..\"}[2m]))
";

const QUERIES: [&str; 4] = [
    "sum(rate(http_requests_total{hash=\"b\",code=~\"5..\"}[2m])) / sum(rate(http_requests_total{hash=\"b\"}[2m]))",
    "histogram_quantile(0.99, sum by (le) (rate(http_request_duration_seconds_bucket{hash=\"b\"}[2m])))",
    "sum(increase(http_requests_total{hash=\"b\"}[5m])) or vector(0)",
    "app:errors:rate2m{hash=\"b\"} / app:requests:rate2m{hash=\"b\"}",
];

fn main() {
    let begin = Instant::now();
    let mut store = Store::new();
    let mut rules = Rules::parse(RULES).expect("rules");
    let pods = 20;
    let mut targets = Vec::new();
    for pod in 0..pods {
        let (pod, hash) = (format!("web-{pod}"), if pod % 4 == 0 { "b" } else { "a" });
        let labels = [("job", "web"), ("pod", &pod), ("hash", hash)].into_iter().collect();
        let target = Target::new(&mut store, labels);
        let mut series = Vec::new();
        for code in ["200", "404", "500"] {
            for method in ["get", "post"] {
                let labels = Labels::metric("http_requests_total", [("code", code), ("method", method)]);
                series.push((target.series(&mut store, &labels), 0.0));
            }
        }
        for bound in 0..12 {
            let labels = Labels::metric(
                "http_request_duration_seconds_bucket",
                [("le", bound.to_string().as_str())],
            );
            series.push((target.series(&mut store, &labels), 0.0));
        }
        targets.push((target, series));
    }
    let minutes = 30;
    let scrapes = minutes * 4;
    for scrape in 0..scrapes {
        let at = scrape * 15_000;
        for (target, series) in &mut targets {
            for (n, (_, value)) in series.iter_mut().enumerate() {
                *value += (n % 7) as f64;
            }
            target.scraped(&mut store, at, 0.01, series).expect("in order");
        }
        assert!(rules.evaluate(&mut store, at).is_empty());
    }
    let filled = begin.elapsed();
    let parsed: Vec<Query> = QUERIES
        .iter()
        .map(|text| Query::parse(text).expect("a query"))
        .collect();
    let parsing = begin.elapsed() - filled;
    let mut asked = 0;
    for at in 0..minutes * 2 {
        for query in &parsed {
            query.instant(&store, at * 30_000).expect("an answer");
            asked += 1;
        }
    }
    let all = begin.elapsed();
    let samples: usize = store.iter().map(|(_, samples)| samples.len()).sum();
    println!(
        "{} series, {samples} samples, {} rule evaluations: {filled:.1?}; {} queries parsed: {parsing:.1?}; {asked} asked: {:.1?}; all: {all:.1?}",
        store.len(),
        scrapes * 2,
        parsed.len(),
        all - filled - parsing,
    );
}
