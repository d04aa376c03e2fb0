//! What a scrape leaves in the store: samples with the target's labels, `up` and its companions, and the markers for series
//! that were there the last time.

use std::collections::BTreeSet;

use crate::labels::{Labels, METRIC_NAME};
use crate::store::{OutOfOrder, STALE, SeriesId, Store};

/// A target of scrapes, and what it had the last time.
#[derive(Clone, Debug)]
pub struct Target {
    labels: Labels,
    previous: BTreeSet<SeriesId>,
    reports: [SeriesId; 5],
    scraped: bool,
}

/// What Prometheus writes about every scrape.
pub const REPORTS: [&str; 5] = [
    "up",
    "scrape_duration_seconds",
    "scrape_samples_scraped",
    "scrape_samples_post_metric_relabeling",
    "scrape_series_added",
];

impl Target {
    /// A target with the labels that discovery and relabelling gave it (`job`, `instance` and so on).
    pub fn new(store: &mut Store, labels: Labels) -> Self {
        let reports = REPORTS.map(|name| store.series(&labels.with(METRIC_NAME, name)));
        Self {
            labels,
            previous: BTreeSet::new(),
            reports,
            scraped: false,
        }
    }

    /// Its labels.
    pub fn labels(&self) -> &Labels {
        &self.labels
    }

    /// The series that a scraped sample with these labels goes to: the target's labels are added, and where the sample has
    /// one of them already its own is called `exported_...`. Keep it for the next scrape.
    pub fn series(&self, store: &mut Store, scraped: &Labels) -> SeriesId {
        let mut labels = scraped.clone();
        for (name, value) in self.labels.iter() {
            let own = scraped.get(name);
            if !own.is_empty() {
                let mut renamed = format!("exported_{name}");
                while !labels.get(&renamed).is_empty() {
                    renamed.insert_str(0, "exported_");
                }
                labels = labels.with(&renamed, own);
            }
            labels = labels.with(name, value);
        }
        store.series(&labels)
    }

    /// A scrape that worked: its samples, and markers for the series that it no longer has.
    ///
    /// # Errors
    /// When a series has a newer sample. What is in order is written nevertheless.
    pub fn scraped(
        &mut self,
        store: &mut Store,
        at_ms: i64,
        duration_seconds: f64,
        samples: &[(SeriesId, f64)],
    ) -> Result<(), OutOfOrder> {
        let mut result = Ok(());
        let current: BTreeSet<SeriesId> = samples.iter().map(|(series, _)| *series).collect();
        for (series, value) in samples {
            result = result.and(store.append(*series, at_ms, *value));
        }
        for gone in self.previous.difference(&current) {
            result = result.and(store.append(*gone, at_ms, STALE));
        }
        let count = samples.len() as f64;
        let added = current.difference(&self.previous).count() as f64;
        self.previous = current;
        result.and(self.report(store, at_ms, [1.0, duration_seconds, count, count, added]))
    }

    /// A scrape that failed: markers for everything, and `up` is 0.
    ///
    /// # Errors
    /// When a series has a newer sample.
    pub fn failed(&mut self, store: &mut Store, at_ms: i64, duration_seconds: f64) -> Result<(), OutOfOrder> {
        let result = self.end_series(store, at_ms);
        result.and(self.report(store, at_ms, [0.0, duration_seconds, 0.0, 0.0, 0.0]))
    }

    /// The target itself is gone: markers for everything, `up` and its companions included.
    ///
    /// # Errors
    /// When a series has a newer sample.
    pub fn gone(mut self, store: &mut Store, at_ms: i64) -> Result<(), OutOfOrder> {
        let result = self.end_series(store, at_ms);
        if self.scraped {
            result.and(self.report(store, at_ms, [STALE; 5]))
        } else {
            result
        }
    }

    fn end_series(&mut self, store: &mut Store, at_ms: i64) -> Result<(), OutOfOrder> {
        let mut result = Ok(());
        for series in std::mem::take(&mut self.previous) {
            result = result.and(store.append(series, at_ms, STALE));
        }
        result
    }

    fn report(&mut self, store: &mut Store, at_ms: i64, values: [f64; 5]) -> Result<(), OutOfOrder> {
        self.scraped = true;
        let mut result = Ok(());
        for (series, value) in self.reports.iter().zip(values) {
            result = result.and(store.append(*series, at_ms, value));
        }
        result
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Query, Value};

    fn at(store: &Store, query: &str, at_ms: i64) -> Vec<(String, f64)> {
        match Query::parse(query).expect(query).instant(store, at_ms).expect(query) {
            Value::Vector(elements) => elements.into_iter().map(|(l, v)| (l.to_string(), v)).collect(),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn what_a_scrape_no_longer_has_ends_at_once() {
        let mut store = Store::new();
        let mut target = Target::new(&mut store, [("job", "web"), ("pod", "a")].into_iter().collect());
        let one = target.series(&mut store, &Labels::metric("one", [("pod", "own")]));
        let two = target.series(&mut store, &Labels::metric("two", []));
        target
            .scraped(&mut store, 1000, 0.1, &[(one, 1.0), (two, 2.0)])
            .expect("in order");
        target.scraped(&mut store, 2000, 0.1, &[(one, 3.0)]).expect("in order");
        assert_eq!(
            at(&store, "two", 1999),
            [(r#"two{job="web", pod="a"}"#.to_owned(), 2.0)]
        );
        assert_eq!(at(&store, "two", 2000), []);
        assert_eq!(
            at(&store, "one", 2000),
            [(r#"one{exported_pod="own", job="web", pod="a"}"#.to_owned(), 3.0)]
        );
        assert_eq!(at(&store, "scrape_series_added", 1000)[0].1, 2.0);
        assert_eq!(at(&store, "scrape_samples_scraped", 2000)[0].1, 1.0);
        assert_eq!(at(&store, "up", 2000)[0].1, 1.0);
    }

    #[test]
    fn a_failed_scrape_ends_the_series_and_a_target_that_is_gone_its_up_too() {
        let mut store = Store::new();
        let mut target = Target::new(&mut store, [("job", "web")].into_iter().collect());
        let one = target.series(&mut store, &Labels::metric("one", []));
        target.scraped(&mut store, 1000, 0.1, &[(one, 1.0)]).expect("in order");
        target.failed(&mut store, 2000, 0.1).expect("in order");
        assert_eq!(at(&store, "one", 2000), []);
        assert_eq!(at(&store, "up", 2000), [(r#"up{job="web"}"#.to_owned(), 0.0)]);
        target.scraped(&mut store, 3000, 0.1, &[(one, 2.0)]).expect("in order");
        assert_eq!(at(&store, "scrape_series_added", 3000)[0].1, 1.0);
        target.gone(&mut store, 4000).expect("in order");
        assert_eq!(at(&store, "one", 4000), []);
        assert_eq!(at(&store, "up", 4000), []);
    }
}
