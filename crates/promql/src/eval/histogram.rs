//! Quantiles of histograms with cumulative buckets.

use super::Element;
use crate::labels::{ByLabels, Labels, METRIC_NAME};
use crate::query::Dialect;

const BUCKET: &str = "le";

#[derive(Clone, Copy, Debug)]
struct Bucket {
    /// Its upper end.
    bound: f64,
    /// How many observations are at or below it.
    count: f64,
}

/// One element for each histogram among the elements. What has no `le`, or none that is a number, is left out.
pub(super) fn quantiles(q: f64, elements: &[Element], dialect: Dialect) -> Vec<Element> {
    let mut histograms: Vec<(Labels, Vec<Bucket>)> = Vec::new();
    let mut places: ByLabels<usize> = ByLabels::default();
    for element in elements {
        let Ok(bound) = element.labels.get(BUCKET).parse::<f64>() else {
            continue;
        };
        let labels = element.labels.filter(|name| name != BUCKET);
        let place = *places.entry(labels.clone()).or_insert_with(|| {
            histograms.push((labels.filter(|name| name != METRIC_NAME), Vec::new()));
            histograms.len() - 1
        });
        histograms[place].1.push(Bucket {
            bound,
            count: element.value,
        });
    }
    histograms
        .into_iter()
        .map(|(labels, buckets)| Element {
            labels,
            value: quantile(q, buckets, dialect),
        })
        .collect()
}

/// Finds the bucket that the quantile falls into, and takes the observations in it as evenly spread.
fn quantile(q: f64, mut buckets: Vec<Bucket>, dialect: Dialect) -> f64 {
    if q.is_nan() {
        return f64::NAN;
    }
    if q < 0.0 {
        return f64::NEG_INFINITY;
    }
    if q > 1.0 {
        return f64::INFINITY;
    }
    buckets.sort_by(|a, b| a.bound.total_cmp(&b.bound));
    if buckets.last().is_none_or(|b| b.bound != f64::INFINITY) {
        return f64::NAN;
    }
    // Two spellings of one bound are one bucket.
    buckets.dedup_by(|next, kept| {
        let same = next.bound == kept.bound;
        if same {
            kept.count += next.count;
        }
        same
    });
    repair(&mut buckets, dialect);
    let [.., before_last, last] = buckets[..] else {
        return f64::NAN;
    };
    if last.count == 0.0 {
        return f64::NAN;
    }
    let mut rank = q * last.count;
    let place = search(&buckets[..buckets.len() - 1], rank);
    if place == buckets.len() - 1 {
        // Above the last finite bound nothing is known but that bound.
        return before_last.bound;
    }
    let Bucket { bound: end, mut count } = buckets[place];
    if place == 0 && end <= 0.0 {
        return end;
    }
    let mut start = 0.0;
    if let Some(before) = place.checked_sub(1).map(|i| buckets[i]) {
        start = before.bound;
        count -= before.count;
        rank -= before.count;
    }
    start + (end - start) * (rank / count)
}

/// The first bucket that holds the rank. By halves, also where counts are NaN and no order holds.
fn search(buckets: &[Bucket], rank: f64) -> usize {
    let (mut low, mut high) = (0, buckets.len());
    while low < high {
        let middle = (low + high) / 2;
        if buckets[middle].count >= rank {
            high = middle;
        } else {
            low = middle + 1;
        }
    }
    low
}

/// Cumulative counts cannot fall; where they do (buckets scraped at different times, rounding) they are lifted.
fn repair(buckets: &mut [Bucket], dialect: Dialect) {
    let Some(first) = buckets.first() else {
        return;
    };
    let mut highest = first.count;
    for bucket in buckets.iter_mut().skip(1) {
        let rounding = dialect == Dialect::V3 && nearly(highest, bucket.count);
        if rounding || bucket.count < highest {
            bucket.count = highest;
        } else if bucket.count > highest || dialect == Dialect::V3 {
            highest = bucket.count;
        }
    }
}

/// Whether two counts differ by no more than rounding explains.
fn nearly(a: f64, b: f64) -> bool {
    const TOLERANCE: f64 = 1e-12;
    if a == b || (a.is_nan() && b.is_nan()) {
        return true;
    }
    let sum = a.abs() + b.abs();
    let difference = (a - b).abs();
    if a == 0.0 || b == 0.0 || sum < f64::MIN_POSITIVE {
        return difference < TOLERANCE * f64::MIN_POSITIVE;
    }
    difference / sum.min(f64::MAX) < TOLERANCE
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(q: f64, buckets: &[(f64, f64)]) -> f64 {
        let buckets = buckets.iter().map(|(bound, count)| Bucket {
            bound: *bound,
            count: *count,
        });
        quantile(q, buckets.collect(), Dialect::V3)
    }

    #[test]
    fn a_quantile_is_interpolated_within_its_bucket() {
        const INF: f64 = f64::INFINITY;
        assert_eq!(of(0.5, &[(1.0, 10.0), (2.0, 20.0), (INF, 20.0)]), 1.0);
        assert_eq!(of(0.75, &[(1.0, 10.0), (2.0, 20.0), (INF, 20.0)]), 1.5);
        // Above the last finite bound: that bound.
        assert_eq!(of(0.99, &[(1.0, 10.0), (INF, 20.0)]), 1.0);
        // The first bucket begins at 0, unless its end is not above it.
        assert_eq!(of(0.5, &[(4.0, 10.0), (INF, 10.0)]), 2.0);
        assert_eq!(of(0.5, &[(-1.0, 10.0), (INF, 10.0)]), -1.0);
        // No +Inf, nothing below it, nothing observed: nothing known.
        assert!(of(0.5, &[(1.0, 10.0)]).is_nan());
        assert!(of(0.5, &[(INF, 10.0)]).is_nan());
        assert!(of(0.5, &[(1.0, 0.0), (INF, 0.0)]).is_nan());
        assert!(of(f64::NAN, &[(1.0, 1.0), (INF, 1.0)]).is_nan());
        assert_eq!(of(-1.0, &[(1.0, 1.0), (INF, 1.0)]), f64::NEG_INFINITY);
        assert_eq!(of(2.0, &[(1.0, 1.0), (INF, 1.0)]), INF);
    }

    #[test]
    fn counts_that_fall_are_lifted_and_bounds_spelled_twice_are_added() {
        const INF: f64 = f64::INFINITY;
        assert_eq!(of(0.5, &[(1.0, 10.0), (2.0, 5.0), (INF, 10.0)]), 0.5);
        assert_eq!(of(0.5, &[(1.0, 5.0), (1.0, 5.0), (2.0, 20.0), (INF, 20.0)]), 1.0);
    }
}
