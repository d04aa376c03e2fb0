//! Functions of the samples of one series within a window.

use super::Window;
use crate::float::{self, Sum};
use crate::plan::OverTime;
use crate::query::Dialect;
use crate::store::Point;

pub(super) struct Context {
    pub(super) window: Window,
    /// The instant of the evaluation, offsets aside.
    pub(super) at: i64,
    /// The number that `quantile_over_time` and `predict_linear` take.
    pub(super) parameter: f64,
    pub(super) dialect: Dialect,
}

/// None: not enough samples. `points` is never empty.
pub(super) fn apply(function: OverTime, points: &[Point], context: &Context) -> Option<f64> {
    let values = || points.iter().map(|(_, value)| *value);
    let (first, last) = (points.first()?, points.last()?);
    Some(match function {
        OverTime::Rate => extrapolated(points, context, true, true)?,
        OverTime::Increase => extrapolated(points, context, true, false)?,
        OverTime::Delta => extrapolated(points, context, false, false)?,
        OverTime::Irate => newest(points, true)?,
        OverTime::Idelta => newest(points, false)?,
        OverTime::Deriv => {
            if points.len() < 2 {
                return None;
            }
            regression(points, first.0).0
        }
        OverTime::PredictLinear => {
            if points.len() < 2 {
                return None;
            }
            let (slope, intercept) = regression(points, context.at);
            slope * context.parameter + intercept
        }
        OverTime::Count => points.len() as f64,
        OverTime::Present => 1.0,
        OverTime::Last => last.1,
        OverTime::Sum => {
            let mut sum = Sum::default();
            values().for_each(|v| sum.add(v));
            sum.value()
        }
        OverTime::Avg => match context.dialect {
            Dialect::V2 => running_mean(values()),
            Dialect::V3 => mean(values()),
        },
        // NaN only if there is nothing else.
        OverTime::Max => values().fold(first.1, |max, v| if v > max || max.is_nan() { v } else { max }),
        OverTime::Min => values().fold(first.1, |min, v| if v < min || min.is_nan() { v } else { min }),
        OverTime::Stdvar => variance(values()),
        OverTime::Stddev => variance(values()).sqrt(),
        OverTime::Quantile => float::quantile(context.parameter, &mut values().collect::<Vec<_>>()),
        OverTime::Changes => pairs(points, |before, after| {
            after != before && !(after.is_nan() && before.is_nan())
        }),
        OverTime::Resets => pairs(points, |before, after| after < before),
    })
}

/// How many neighbours are related like that.
fn pairs(points: &[Point], related: impl Fn(f64, f64) -> bool) -> f64 {
    points.windows(2).filter(|w| related(w[0].1, w[1].1)).count() as f64
}

/// What came in between the first and the last sample, resets of a counter made good, extended to the window's ends.
///
/// Example: samples of 10 at 5 s and 40 at 20 s in a window from 0 s to 25 s. 30 came within 15 s; both ends are nearer than
/// 1.1 times the 15 s between samples, so the whole 25 s are assumed to be like that: 50. But a counter was never below 0:
/// at that slope it was 0 at 0 s exactly, and had it been there later, the window would be taken to begin there.
fn extrapolated(points: &[Point], context: &Context, counter: bool, per_second: bool) -> Option<f64> {
    let [first, .., last] = points else {
        return None;
    };
    let mut change = last.1 - first.1;
    if counter {
        for pair in points.windows(2) {
            if pair[1].1 < pair[0].1 {
                change += pair[0].1;
            }
        }
    }
    let seconds = |ms: i64| ms as f64 / 1000.0;
    let mut to_start = seconds(first.0.saturating_sub(context.window.from));
    let mut to_end = seconds(context.window.to.saturating_sub(last.0));
    let sampled = seconds(last.0 - first.0);
    let between = sampled / (points.len() - 1) as f64;
    let near = between * 1.1;
    let to_zero = (counter && change > 0.0 && first.1 >= 0.0).then(|| sampled * (first.1 / change));
    if context.dialect == Dialect::V3 && to_start >= near {
        to_start = between / 2.0;
    }
    if let Some(to_zero) = to_zero
        && to_zero < to_start
    {
        to_start = to_zero;
    }
    if context.dialect == Dialect::V2 && to_start >= near {
        to_start = between / 2.0;
    }
    if to_end >= near {
        to_end = between / 2.0;
    }
    let mut factor = (sampled + to_start + to_end) / sampled;
    if per_second {
        factor /= seconds(context.window.to.saturating_sub(context.window.from));
    }
    Some(change * factor)
}

/// Between the last two samples.
fn newest(points: &[Point], per_second: bool) -> Option<f64> {
    let [.., before, last] = points else {
        return None;
    };
    let seconds = (last.0 - before.0) as f64 / 1000.0;
    if seconds == 0.0 {
        return None;
    }
    if !per_second {
        return Some(last.1 - before.1);
    }
    // A counter that went down began anew.
    let change = if last.1 < before.1 { last.1 } else { last.1 - before.1 };
    Some(change / seconds)
}

/// Slope and value at `origin` of the straight line through the samples (least squares).
fn regression(points: &[Point], origin: i64) -> (f64, f64) {
    let first = points.first().map_or(f64::NAN, |(_, value)| *value);
    if points.iter().all(|(_, value)| *value == first) {
        return if first.is_infinite() {
            (f64::NAN, f64::NAN)
        } else {
            (0.0, first)
        };
    }
    let (mut x, mut y, mut xy, mut xx) = (Sum::default(), Sum::default(), Sum::default(), Sum::default());
    for (time, value) in points {
        let seconds = time.saturating_sub(origin) as f64 / 1000.0;
        x.add(seconds);
        y.add(*value);
        xy.add(seconds * value);
        xx.add(seconds * seconds);
    }
    let n = points.len() as f64;
    let (x, y, xy, xx) = (x.value(), y.value(), xy.value(), xx.value());
    let slope = (xy - x * y / n) / (xx - x * x / n);
    (slope, y / n - slope * x / n)
}

/// The sum over the number; of numbers too large to be added, step by step.
pub(super) fn mean(values: impl Iterator<Item = f64> + Clone) -> f64 {
    let mut sum = Sum::default();
    let mut count = 0.0;
    for value in values.clone() {
        sum.add(value);
        count += 1.0;
        if sum.rough().is_infinite() {
            return running_mean(values);
        }
    }
    sum.value() / count
}

/// Never adds up more than the values themselves.
fn running_mean(values: impl Iterator<Item = f64>) -> f64 {
    let mut mean = Sum::default();
    let mut count = 0.0;
    for value in values {
        count += 1.0;
        let so_far = mean.rough();
        if so_far.is_infinite() && (value.is_finite() || value == so_far) {
            // Inf stays Inf; only its opposite and NaN end that.
            continue;
        }
        mean.add(value / count - so_far / count);
    }
    mean.value()
}

fn variance(values: impl Iterator<Item = f64>) -> f64 {
    let mut count = 0.0;
    let mut mean = Sum::default();
    let mut squares = Sum::default();
    for value in values {
        count += 1.0;
        let off = value - mean.value();
        mean.add(off / count);
        squares.add(off * (value - mean.value()));
    }
    squares.value() / count
}
