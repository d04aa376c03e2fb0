//! `sum`, `topk` and the like: many elements become one for each group.

use std::cmp::Ordering;

use super::{Element, Evaluator, Result, over_time, relabel};
use crate::error::EvalError;
use crate::float::{self, Sum};
use crate::labels::{ByHash, Labels, METRIC_NAME};
use crate::plan::{Aggregation, Aggregator};
use crate::query::Dialect;

/// The largest number below 2^63.
const MOST: f64 = 9_223_372_036_854_774_784.0;

impl Evaluator<'_> {
    pub(super) fn aggregation(&mut self, aggregation: &Aggregation, at: i64) -> Result<Vec<Element>> {
        let parameter = match &aggregation.operator {
            Aggregator::Quantile(node) | Aggregator::Top(node) | Aggregator::Bottom(node) => self.scalar(node, at)?,
            _ => f64::NAN,
        };
        let elements = self.vector(&aggregation.over, at)?;
        self.charge(elements.len())?;
        grouped(aggregation, elements, parameter, self.options.dialect)
    }
}

fn grouped(
    aggregation: &Aggregation,
    mut elements: Vec<Element>,
    parameter: f64,
    dialect: Dialect,
) -> Result<Vec<Element>> {
    let Aggregation {
        operator,
        without,
        labels: names,
        ..
    } = aggregation;
    if matches!(operator, Aggregator::Top(_) | Aggregator::Bottom(_)) && !(-MOST..=MOST).contains(&parameter) {
        return Err(EvalError::NoInteger(float::plain(parameter)));
    }
    let mut by_value: &str = "";
    if let Aggregator::CountValues(label) = operator {
        relabel::check_name(label, "count_values", dialect)?;
        by_value = label;
        for element in &mut elements {
            element.labels = element.labels.with(label, &float::plain(element.value));
        }
    }
    let keeps = |name: &str| {
        let named = names.iter().any(|n| n == name);
        if *without {
            name != METRIC_NAME && !named
        } else {
            named || name == by_value
        }
    };
    let mut groups: Vec<(Labels, Vec<Element>)> = Vec::new();
    let mut places: ByHash<usize> = ByHash::default();
    for element in elements {
        let candidates = places.entry(element.labels.hash_of(keeps)).or_default();
        let known = candidates
            .iter()
            .copied()
            .find(|place| element.labels.filters_to(&groups[*place].0, keeps));
        let place = known.unwrap_or_else(|| {
            groups.push((element.labels.filter(keeps), Vec::new()));
            candidates.push(groups.len() - 1);
            groups.len() - 1
        });
        groups[place].1.push(element);
    }
    let mut out = Vec::with_capacity(groups.len());
    for (labels, members) in groups {
        match operator {
            Aggregator::Top(_) => out.extend(best(members, parameter, |new, old| new > old)),
            Aggregator::Bottom(_) => out.extend(best(members, parameter, |new, old| new < old)),
            _ => out.push(Element {
                labels,
                value: value(operator, &members, parameter, dialect),
            }),
        }
    }
    Ok(out)
}

fn value(operator: &Aggregator, members: &[Element], parameter: f64, dialect: Dialect) -> f64 {
    let values = || members.iter().map(|m| m.value);
    let first = members.first().map_or(f64::NAN, |m| m.value);
    match operator {
        Aggregator::Sum => match dialect {
            Dialect::V2 => values().sum(),
            Dialect::V3 => {
                let mut sum = Sum::default();
                values().for_each(|v| sum.add(v));
                sum.value()
            }
        },
        Aggregator::Avg => match dialect {
            Dialect::V2 => plain_mean(values()),
            Dialect::V3 => over_time::mean(values()),
        },
        Aggregator::Max => values().fold(first, |max, v| if v > max || max.is_nan() { v } else { max }),
        Aggregator::Min => values().fold(first, |min, v| if v < min || min.is_nan() { v } else { min }),
        Aggregator::Count | Aggregator::CountValues(_) => members.len() as f64,
        Aggregator::Stdvar => variance(values(), dialect),
        Aggregator::Stddev => variance(values(), dialect).sqrt(),
        Aggregator::Quantile(_) => float::quantile(parameter, &mut values().collect::<Vec<_>>()),
        Aggregator::Group | Aggregator::Top(_) | Aggregator::Bottom(_) => 1.0,
    }
}

/// Step by step, without care for what rounding loses.
fn plain_mean(values: impl Iterator<Item = f64>) -> f64 {
    let (mut count, mut mean) = (0.0, 0.0);
    for value in values {
        count += 1.0;
        if count == 1.0 {
            mean = value;
        } else if !(f64::is_infinite(mean) && (value.is_finite() || value == mean)) {
            mean += value / count - mean / count;
        }
    }
    mean
}

fn variance(values: impl Iterator<Item = f64>, dialect: Dialect) -> f64 {
    let (mut count, mut mean, mut squares) = (0.0, 0.0, 0.0);
    for value in values {
        count += 1.0;
        if count == 1.0 {
            mean = value;
            // Prometheus 2 does not look whether a single value is a number.
            squares = if dialect == Dialect::V3 && !value.is_finite() {
                f64::NAN
            } else {
                0.0
            };
            continue;
        }
        let off: f64 = value - mean;
        mean += off / count;
        squares += off * (value - mean);
    }
    squares / count
}

/// The `k` best in their order, NaN only where nothing else is left. Of equal ones the first that came stay.
fn best(members: Vec<Element>, k: f64, better: impl Fn(f64, f64) -> bool) -> Vec<Element> {
    if k < 1.0 {
        return Vec::new();
    }
    let mut members = members;
    members.sort_by(|a, b| match (a.value.is_nan(), b.value.is_nan()) {
        (true, true) => Ordering::Equal,
        (true, false) => Ordering::Greater,
        (false, true) => Ordering::Less,
        _ if better(a.value, b.value) => Ordering::Less,
        _ if better(b.value, a.value) => Ordering::Greater,
        _ => Ordering::Equal,
    });
    members.truncate(k as usize);
    members
}

/// By value; NaN comes last in both directions.
pub(super) fn nan_last(a: f64, b: f64, descending: bool) -> Ordering {
    match (a.is_nan(), b.is_nan()) {
        (true, true) => Ordering::Equal,
        (true, false) => Ordering::Greater,
        (false, true) => Ordering::Less,
        _ => {
            let order = a.partial_cmp(&b).unwrap_or(Ordering::Equal);
            if descending { order.reverse() } else { order }
        }
    }
}
