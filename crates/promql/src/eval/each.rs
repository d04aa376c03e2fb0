//! Functions of one element's value.

use super::{Element, dates};
use crate::float;
use crate::plan::Each;

/// Applies it to every element; the metric's name goes.
pub(super) fn apply(function: Each, mut elements: Vec<Element>, arguments: &[f64]) -> Vec<Element> {
    let argument = |i: usize| arguments.get(i).copied();
    let (first, second) = (argument(0).unwrap_or(1.0), argument(1).unwrap_or(f64::NAN));
    if function == Each::Clamp && second < first {
        return Vec::new();
    }
    for element in &mut elements {
        element.value = value(function, element.value, first, second);
        element.labels = element.labels.without_name();
    }
    elements
}

fn value(function: Each, v: f64, first: f64, second: f64) -> f64 {
    match function {
        Each::Abs => v.abs(),
        Each::Acos => v.acos(),
        Each::Acosh => v.acosh(),
        Each::Asin => v.asin(),
        Each::Asinh => asinh(v),
        Each::Atan => v.atan(),
        Each::Atanh => v.atanh(),
        Each::Ceil => v.ceil(),
        Each::Clamp => float::max(first, float::min(second, v)),
        Each::ClampMax => float::min(first, v),
        Each::ClampMin => float::max(first, v),
        Each::Cos => v.cos(),
        Each::Cosh => v.cosh(),
        Each::Deg => v * 180.0 / std::f64::consts::PI,
        Each::Exp => v.exp(),
        Each::Floor => v.floor(),
        Each::Ln => v.ln(),
        Each::Log10 => v.log10(),
        Each::Log2 => v.log2(),
        Each::Rad => v * std::f64::consts::PI / 180.0,
        // To the nearest multiple, halves upwards. By the inverse, as Prometheus does it: the last bits depend on it.
        Each::Round => {
            let inverse = 1.0 / first;
            (v * inverse + 0.5).floor() / inverse
        }
        Each::Sgn => {
            if v < 0.0 {
                -1.0
            } else if v > 0.0 {
                1.0
            } else {
                v
            }
        }
        Each::Sin => v.sin(),
        Each::Sinh => v.sinh(),
        Each::Sqrt => v.sqrt(),
        Each::Tan => v.tan(),
        Each::Tanh => v.tanh(),
        Each::DayOfMonth
        | Each::DayOfWeek
        | Each::DayOfYear
        | Each::DaysInMonth
        | Each::Hour
        | Each::Minute
        | Each::Month
        | Each::Year => dates::part(function, v),
    }
}

/// Rust's own is right to a few bits only for small numbers.
fn asinh(v: f64) -> f64 {
    let a = v.abs();
    if a < 1e-4 {
        // x - x^3/6: what follows is smaller than the last bit.
        return v - v * v * v / 6.0;
    }
    v.asinh()
}
