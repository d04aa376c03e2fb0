//! The samples: every trouble that series have in practice, from a fixed seed.

use serin_promql::{Labels, STALE, Store};

use crate::Dice;

/// When the samples begin. A multiple of every scrape interval, a while ago.
pub const BEGIN: i64 = 1_700_000_040_000;
/// When they end: less than an hour later, so that a fresh head takes them all.
pub const END: i64 = BEGIN + 40 * MINUTE;

const SECOND: i64 = 1000;
const MINUTE: i64 = 60 * SECOND;

/// When queries are asked: in the middle of it, on the edge of scrapes and between them, at the end, and afterwards, when
/// only the look-back finds something.
pub const INSTANTS: [i64; 4] = [
    BEGIN + 20 * MINUTE,
    BEGIN + 26 * MINUTE + 7_123,
    END - 1,
    END + 4 * MINUTE + 30 * SECOND,
];

/// One series.
#[derive(Clone, Debug)]
pub struct Series {
    /// Its labels.
    pub labels: Labels,
    /// Its samples, staleness markers included.
    pub samples: Vec<(i64, f64)>,
}

/// All of them in a store.
///
/// # Panics
/// When a series is not in the order of time.
pub fn store(all: &[Series]) -> Store {
    let mut store = Store::new();
    for series in all {
        let id = store.series(&series.labels);
        for (at, value) in &series.samples {
            store.append(id, *at, *value).expect("made in order");
        }
    }
    store
}

struct Ground {
    dice: Dice,
    all: Vec<Series>,
}

/// All series, the same in every run.
pub fn series() -> Vec<Series> {
    let mut ground = Ground {
        dice: Dice::new(20_240),
        all: Vec::new(),
    };
    ground.requests();
    ground.histograms();
    ground.aligned();
    ground.gauges();
    ground.comings_and_goings();
    ground.labels();
    ground.all
}

impl Ground {
    fn add(&mut self, name: &str, labels: &[(&str, &str)], samples: Vec<(i64, f64)>) {
        self.all.push(Series {
            labels: Labels::metric(name, labels.iter().copied()),
            samples,
        });
    }

    /// Scrapes from `from` to `to`, each a little off.
    fn scrapes(&mut self, from: i64, to: i64, interval: i64, jitter: i64) -> Vec<i64> {
        let mut times = Vec::new();
        let mut at = from;
        while at <= to {
            let off = self.dice.below(2 * jitter as u64 + 1) as i64 - jitter;
            times.push((at + off).max(from));
            at += interval;
        }
        times.dedup();
        times
    }

    /// Counters of requests of four pods: one is there from the beginning, one restarts twice, one begins late (the canary),
    /// one ends with a marker.
    fn requests(&mut self) {
        for (pod, hash, from, to, restarts) in [
            ("web-1", "aaaa", BEGIN, END, &[][..]),
            ("web-2", "aaaa", BEGIN, END, &[13 * MINUTE, 25 * MINUTE]),
            ("web-3", "bbbb", BEGIN + 22 * MINUTE, END, &[]),
            ("web-4", "bbbb", BEGIN, BEGIN + 25 * MINUTE, &[]),
        ] {
            let times = self.scrapes(from, to, 15 * SECOND, 40);
            for (code, method, rate) in [
                ("200", "get", 9.0),
                ("200", "post", 3.0),
                ("404", "get", 0.2),
                ("500", "post", 0.05),
            ] {
                let mut samples = Vec::new();
                let mut count = 0.0;
                let mut before = from;
                for at in &times {
                    if restarts.iter().any(|r| before < BEGIN + r && BEGIN + r <= *at) {
                        count = 0.0;
                    }
                    count += (rate * 15.0 * 2.0 * self.dice.share()).round();
                    before = *at;
                    samples.push((*at, count));
                }
                if pod == "web-4" {
                    samples.push((to + 15 * SECOND, STALE));
                }
                self.add(
                    "http_requests_total",
                    &[
                        ("job", "web"),
                        ("pod", pod),
                        ("rollouts_pod_template_hash", hash),
                        ("code", code),
                        ("method", method),
                    ],
                    samples,
                );
            }
            let up = times
                .iter()
                .map(|at| (*at, f64::from(u8::from(pod != "web-2" || (*at - BEGIN) % 7 != 0))))
                .collect();
            self.add("up", &[("job", "web"), ("pod", pod)], up);
        }
    }

    fn histograms(&mut self) {
        // The usual one, a coarse one, one of which the counts fall and that has no +Inf, one with negative bounds and a
        // bound spelled in two ways, one that nobody asks, one whose bounds are no numbers.
        let shapes: [(&str, &[(&str, f64)]); 6] = [
            (
                "usual",
                &[
                    ("0.005", 0.1),
                    ("0.05", 0.4),
                    ("0.1", 0.7),
                    ("0.25", 0.9),
                    ("1", 0.97),
                    ("2.5", 0.995),
                    ("+Inf", 1.0),
                ],
            ),
            ("coarse", &[("1", 0.5), ("+Inf", 1.0)]),
            ("broken", &[("0.1", 0.4), ("0.5", 0.3), ("1", 0.8)]),
            (
                "negative",
                &[
                    ("-1", 0.3),
                    ("0", 0.5),
                    ("1", 0.6),
                    ("1e0", 0.1),
                    ("2", 0.8),
                    ("Inf", 1.0),
                ],
            ),
            ("falling", &[("0.1", 0.4), ("0.5", 0.3), ("1", 0.8), ("+Inf", 0.9)]),
            ("odd", &[("many", 0.4), ("", 0.5), ("+Inf", 1.0)]),
        ];
        for (shape, buckets) in shapes {
            for (pod, rate) in [("web-1", 10.0), ("web-2", 0.0), ("web-3", 3.3)] {
                let times = self.scrapes(BEGIN, END, 15 * SECOND, 25);
                let shares: Vec<f64> = times.iter().map(|_| self.dice.share()).collect();
                let mut observed = 0.0;
                let mut counts = vec![Vec::new(); buckets.len()];
                for (at, share) in times.iter().zip(&shares) {
                    observed += (rate * 30.0 * share).round();
                    for (bucket, (_, part)) in buckets.iter().enumerate() {
                        counts[bucket].push((*at, (observed * part).round()));
                    }
                }
                for ((le, _), samples) in buckets.iter().zip(counts) {
                    self.add(
                        "http_request_duration_seconds_bucket",
                        &[("shape", shape), ("pod", pod), ("le", le)],
                        samples,
                    );
                }
                let mut sum = 0.0;
                let mut total = 0.0;
                let mut sums = Vec::new();
                let mut totals = Vec::new();
                for (at, share) in times.iter().zip(&shares) {
                    let now = (rate * 30.0 * share).round();
                    total += now;
                    sum += now * 0.0731;
                    sums.push((*at, sum));
                    totals.push((*at, total));
                }
                let labels = [("shape", shape), ("pod", pod)];
                self.add("http_request_duration_seconds_sum", &labels, sums);
                self.add("http_request_duration_seconds_count", &labels, totals);
            }
        }
    }

    /// Scraped at exact multiples: the edges of ranges fall on samples.
    fn aligned(&mut self) {
        for (interval, name) in [
            (SECOND, "1s"),
            (10 * SECOND, "10s"),
            (30 * SECOND, "30s"),
            (MINUTE, "1m"),
        ] {
            let from = if interval == SECOND { BEGIN + 18 * MINUTE } else { BEGIN };
            let to = if interval == SECOND { BEGIN + 22 * MINUTE } else { END };
            let times = self.scrapes(from, to, interval, 0);
            let mut total = 0.0;
            let samples = times
                .iter()
                .map(|at| {
                    total += self.dice.below(20) as f64;
                    (*at, total)
                })
                .collect();
            self.add("aligned_total", &[("interval", name)], samples);
        }
    }

    fn gauges(&mut self) {
        for (room, middle, swing) in [("kitchen", 21.0, 2.5), ("cellar", 8.0, 0.25), ("freezer", -18.0, 1.0)] {
            let times = self.scrapes(BEGIN, END, 20 * SECOND, 500);
            let samples = times
                .iter()
                .map(|at| (*at, middle + swing * (2.0 * self.dice.share() - 1.0)))
                .collect();
            self.add("temperature_celsius", &[("room", room)], samples);
        }
        for pod in ["web-1", "web-2", "web-3"] {
            let times = self.scrapes(BEGIN, END, 30 * SECOND, 100);
            let mut bytes = 120_000_000.0;
            let samples = times
                .iter()
                .map(|at| {
                    bytes += (self.dice.share() * 1e6).floor() - 300_000.0;
                    (*at, bytes)
                })
                .collect();
            self.add("memory_bytes", &[("pod", pod)], samples);
            self.add(
                "memory_limit_bytes",
                &[("pod", pod)],
                vec![(BEGIN + 19 * MINUTE, 2e8), (END - MINUTE, 2.5e8)],
            );
        }
        let every = |from: i64, values: &[f64]| -> Vec<(i64, f64)> {
            let count = 40 * 4;
            (0..count)
                .map(|i| (from + i * 15 * SECOND, values[i as usize % values.len()]))
                .collect()
        };
        const NAN: f64 = f64::NAN;
        const INF: f64 = f64::INFINITY;
        for (kind, values) in [
            ("nan", &[NAN][..]),
            ("inf", &[INF]),
            ("minus_inf", &[-INF]),
            ("nan_at_times", &[1.0, NAN, 3.0]),
            ("inf_at_times", &[1.0, 2.0, INF, 4.0, 5.0]),
            ("both_infs", &[INF, 1.0, -INF]),
            ("zero", &[0.0]),
            ("minus_zero", &[-0.0]),
            ("constant", &[7.5]),
            ("steps", &[1.0, 1.0, 2.0, 2.0, 1.0, 3.0]),
        ] {
            self.add("special", &[("kind", kind)], every(BEGIN + 3_000, values));
        }
        self.add("precise", &[("of", "tenths")], every(BEGIN, &[0.1, 0.2, 0.3, 0.7]));
        self.add("precise", &[("of", "sizes")], every(BEGIN, &[1e15, 1.0, -1e15, 0.125]));
        self.add("huge", &[], every(BEGIN, &[1e308, 1.5e308]));
    }

    fn comings_and_goings(&mut self) {
        let times = self.scrapes(BEGIN, END, 15 * SECOND, 30);
        // Gone for seven minutes without a word, gone with a word and back, again and again.
        let silent = times.iter().filter(|at| !(8..15).contains(&((**at - BEGIN) / MINUTE)));
        let samples = silent.map(|at| (*at, (*at - BEGIN) as f64 / 1000.0)).collect();
        self.add("flapping", &[("how", "silently")], samples);
        let marked = times
            .iter()
            .map(|at| {
                let minute = (*at - BEGIN) / MINUTE;
                (*at, if minute % 5 == 3 { STALE } else { minute as f64 })
            })
            .collect();
        self.add("flapping", &[("how", "marked")], marked);
        let mut ended: Vec<(i64, f64)> = times.iter().take(90).map(|at| (*at, 1.0)).collect();
        ended.push((times[90], STALE));
        self.add("flapping", &[("how", "ended")], ended);
        self.add("single", &[("at", "middle")], vec![(BEGIN + 18 * MINUTE, 42.0)]);
        self.add("single", &[("at", "edge")], vec![(BEGIN + 15 * MINUTE, 43.0)]);
        self.add(
            "pair",
            &[],
            vec![(BEGIN + 18 * MINUTE, 3.0), (BEGIN + 19 * MINUTE, 8.0)],
        );
        self.add(
            "late_total",
            &[],
            vec![
                (END - 40 * SECOND, 5.0),
                (END - 20 * SECOND, 9.0),
                (END - 5 * SECOND, 9.0),
            ],
        );
    }

    /// For joins, groups and what is done to labels.
    fn labels(&mut self) {
        let constant = |value: f64| -> Vec<(i64, f64)> { (0..80).map(|i| (BEGIN + i * 30 * SECOND, value)).collect() };
        for (pod, version) in [("web-1", "1.0"), ("web-2", "1.0"), ("web-3", "1.1"), ("web-9", "2")] {
            self.add("version_info", &[("pod", pod), ("version", version)], constant(1.0));
        }
        for (method, code, value) in [
            ("get", "500", 24.0),
            ("get", "404", 30.0),
            ("put", "501", 3.0),
            ("post", "500", 6.0),
            ("post", "404", 21.0),
        ] {
            self.add(
                "method_code:http_errors:rate5m",
                &[("method", method), ("code", code)],
                constant(value),
            );
        }
        for (method, value) in [("get", 600.0), ("del", 34.0), ("post", 120.0)] {
            self.add("method:http_requests:rate5m", &[("method", method)], constant(value));
        }
        for (x, y, value) in [
            ("1", "a", 1.0),
            ("1", "b", 2.0),
            ("2", "a", 3.0),
            ("2", "b", 4.0),
            ("3", "", 5.0),
        ] {
            self.add("grid", &[("x", x), ("y", y)], constant(value));
            self.add("grid2", &[("x", x), ("y", y)], constant(value * 10.0 - 14.0));
        }
        self.add("grid", &[("x", "4"), ("z", "deep")], constant(2.0));
        for (path, value) in [
            ("/a/b", 1.0),
            ("/a\"b\\c\n", 2.0),
            ("/é/日本", 3.0),
            ("a.b", 4.0),
            ("axb", 5.0),
        ] {
            self.add("paths", &[("path", path), ("src", "one-two")], constant(value));
        }
        self.add("lonely", &[], constant(11.0));
        self.add("percent", &[], constant(0.95));
    }
}
