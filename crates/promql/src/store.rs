//! Series and their samples.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::labels::{ByLabels, Labels};

/// The NaN that says "this series has ended here".
pub const STALE: f64 = f64::from_bits(0x7ff0_0000_0000_0002);

/// Whether a value is the staleness marker, and not just any NaN.
pub fn is_stale(value: f64) -> bool {
    value.to_bits() == STALE.to_bits()
}

/// A sample older than one that its series has already, or a second one at the same time.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a sample of {labels} at {at} ms is not newer than its last one, at {last} ms")]
pub struct OutOfOrder {
    /// The series.
    pub labels: Labels,
    /// The time of the refused sample.
    pub at: i64,
    /// The time of the newest sample.
    pub last: i64,
}

/// A series of one [`Store`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SeriesId(u32);

pub(crate) type Point = (i64, f64);

#[derive(Clone, Debug)]
struct Series {
    labels: Labels,
    /// Without the metric's name: what almost every function gives, made once.
    nameless: Labels,
    points: Vec<Point>,
}

/// Samples in memory, in the order of time within each series. Queries find series in the order of their labels, as a
/// Prometheus server does: it decides between equal elements in `topk`, and how sums are rounded.
#[derive(Clone, Debug, Default)]
pub struct Store {
    series: Vec<Series>,
    ids: ByLabels<u32>,
    /// Sorted by labels.
    by_name: BTreeMap<Arc<str>, Vec<u32>>,
}

impl Store {
    /// Without any series.
    pub fn new() -> Self {
        Self::default()
    }

    /// The series with these labels; made when it is not there. Keep it: appending by it needs no look-up.
    pub fn series(&mut self, labels: &Labels) -> SeriesId {
        if let Some(id) = self.ids.get(labels) {
            return SeriesId(*id);
        }
        let id = u32::try_from(self.series.len()).expect("four thousand million series do not fit into memory");
        self.series.push(Series {
            labels: labels.clone(),
            nameless: labels.without_name(),
            points: Vec::new(),
        });
        self.ids.insert(labels.clone(), id);
        match self.by_name.get_mut(labels.name()) {
            Some(ids) => {
                let place = ids.partition_point(|other| self.series[*other as usize].labels < *labels);
                ids.insert(place, id);
            }
            None => {
                self.by_name.insert(labels.name().into(), vec![id]);
            }
        }
        SeriesId(id)
    }

    /// Appends a sample. The same sample again is no error, as in Prometheus.
    ///
    /// # Errors
    /// When the series has a sample at that time or later.
    pub fn append(&mut self, series: SeriesId, at_ms: i64, value: f64) -> Result<(), OutOfOrder> {
        let series = &mut self.series[series.0 as usize];
        match series.points.last() {
            Some((last, before)) if *last == at_ms && before.to_bits() == value.to_bits() => Ok(()),
            Some((last, _)) if *last >= at_ms => Err(OutOfOrder {
                labels: series.labels.clone(),
                at: at_ms,
                last: *last,
            }),
            _ => {
                series.points.push((at_ms, value));
                Ok(())
            }
        }
    }

    /// Appends a sample to the series with these labels.
    ///
    /// # Errors
    /// As [`Store::append`].
    pub fn add(&mut self, labels: &Labels, at_ms: i64, value: f64) -> Result<(), OutOfOrder> {
        let series = self.series(labels);
        self.append(series, at_ms, value)
    }

    /// How many series there are.
    pub fn len(&self) -> usize {
        self.series.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.series.is_empty()
    }

    /// The labels of a series.
    pub fn labels(&self, series: SeriesId) -> &Labels {
        &self.series[series.0 as usize].labels
    }

    /// Every series with its samples, in the order in which they came.
    pub fn iter(&self) -> impl Iterator<Item = (&Labels, &[(i64, f64)])> {
        self.series.iter().map(|s| (&s.labels, s.points.as_slice()))
    }

    /// Drops the samples before a time. Series stay, so that ids stay.
    pub fn forget_before(&mut self, at_ms: i64) {
        for series in &mut self.series {
            let from = series.points.partition_point(|(t, _)| *t < at_ms);
            series.points.drain(..from);
        }
    }

    /// In the order of labels.
    pub(crate) fn named(&self, name: &str) -> &[u32] {
        self.by_name.get(name).map_or(&[], Vec::as_slice)
    }

    pub(crate) fn all(&self) -> std::ops::Range<u32> {
        // The length fits: ids are made from it.
        0..self.series.len() as u32
    }

    pub(crate) fn labels_at(&self, id: u32) -> &Labels {
        &self.series[id as usize].labels
    }

    pub(crate) fn nameless_at(&self, id: u32) -> &Labels {
        &self.series[id as usize].nameless
    }

    /// The samples of a series from `from` (itself included only if `closed`) to `to` (included).
    pub(crate) fn points(&self, id: u32, from: i64, closed: bool, to: i64) -> &[Point] {
        let points = &self.series[id as usize].points;
        let begin = points.partition_point(|(t, _)| if closed { *t < from } else { *t <= from });
        let end = points.partition_point(|(t, _)| *t <= to);
        points.get(begin..end).unwrap_or(&[])
    }

    /// The last sample of a series at `at` or before.
    pub(crate) fn last(&self, id: u32, at: i64) -> Option<Point> {
        let points = &self.series[id as usize].points;
        let end = match points.last() {
            Some((t, _)) if *t <= at => points.len(),
            _ => points.partition_point(|(t, _)| *t <= at),
        };
        end.checked_sub(1).map(|i| points[i])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_come_in_the_order_of_time() {
        let mut store = Store::new();
        let id = store.series(&Labels::metric("a", []));
        assert_eq!(store.append(id, 10, 1.0), Ok(()));
        assert_eq!(store.append(id, 10, 1.0), Ok(()));
        assert_eq!(store.append(id, 10, 2.0).expect_err("twice at 10").last, 10);
        assert!(store.append(id, 9, 1.0).is_err());
        assert_eq!(store.append(id, 11, STALE), Ok(()));
        assert_eq!(store.append(id, 11, STALE), Ok(()));
        assert_eq!(store.iter().next().expect("a series").1.len(), 2);
    }

    #[test]
    fn ranges_are_cut_where_they_are_told() {
        let mut store = Store::new();
        let id = store.series(&Labels::metric("a", []));
        for t in [10, 20, 30] {
            store.append(id, t, t as f64).expect("in order");
        }
        assert_eq!(store.points(0, 10, false, 30), [(20, 20.0), (30, 30.0)]);
        assert_eq!(store.points(0, 10, true, 29), [(10, 10.0), (20, 20.0)]);
        assert_eq!(store.points(0, 40, true, 20), []);
        assert_eq!(store.last(0, 29), Some((20, 20.0)));
        assert_eq!(store.last(0, 9), None);
        store.forget_before(20);
        assert_eq!(store.last(0, 19), None);
    }
}
