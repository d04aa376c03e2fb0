//! Evaluation: a node and an instant in, a value out.
//!
//! A subquery evaluates its inside again at each of its steps; everything else looks at one instant only. Nothing is decided
//! by the order of a hashed map: selectors find series in the order of their labels, and everything else keeps that order.

mod aggregation;
mod binary;
mod dates;
mod each;
mod functions;
mod histogram;
mod over_time;
mod relabel;

use std::rc::Rc;

use crate::error::EvalError;
use crate::labels::{ByLabels, Labels};
use crate::plan::{At, Kind, Moment, Node, OverTime, Range, Selector, Source};
use crate::query::{Dialect, Options, Value};
use crate::store::{Point, Store, is_stale};

/// One element of an instant vector.
#[derive(Clone, Debug)]
struct Element {
    labels: Labels,
    value: f64,
}

/// A range of time in milliseconds. Its newer end is part of it; whether the older one is is the dialect's matter.
#[derive(Clone, Copy, Debug)]
struct Window {
    from: i64,
    to: i64,
}

/// A series within a window.
struct Slice {
    labels: Labels,
    nameless: Labels,
    points: Vec<Point>,
}

type Result<T> = std::result::Result<T, EvalError>;

pub(crate) fn instant(node: &Node, selectors: usize, store: &Store, at_ms: i64, options: &Options) -> Result<Value> {
    let mut evaluator = Evaluator {
        store,
        options,
        query_at: at_ms,
        left: options.max_samples,
        selected: vec![None; selectors],
    };
    match node.kind() {
        Kind::Text => match node {
            Node::Text(text) => Ok(Value::String(text.to_string())),
            _ => Ok(Value::String(String::new())),
        },
        Kind::Scalar => evaluator.scalar(node, at_ms).map(Value::Scalar),
        Kind::Vector => {
            let elements = evaluator.vector(node, at_ms)?;
            Ok(Value::Vector(
                elements.into_iter().map(|e| (e.labels, e.value)).collect(),
            ))
        }
        Kind::Matrix => match node {
            Node::Range(range) => {
                let mut found = Vec::new();
                evaluator.slices(range, at_ms, |slice, _| {
                    found.push((slice.labels.clone(), slice.points.clone()));
                    Ok(())
                })?;
                Ok(Value::Matrix(found))
            }
            _ => Ok(Value::Matrix(Vec::new())),
        },
    }
}

struct Evaluator<'a> {
    store: &'a Store,
    options: &'a Options,
    /// The instant of the query, also within subqueries.
    query_at: i64,
    /// How many samples may still be touched.
    left: u64,
    /// What each selector has found: the same at every step of a subquery.
    selected: Vec<Option<Rc<[u32]>>>,
}

impl Evaluator<'_> {
    fn charge(&mut self, samples: usize) -> Result<()> {
        match self.left.checked_sub(samples as u64) {
            Some(left) => {
                self.left = left;
                Ok(())
            }
            None => Err(EvalError::TooManySamples {
                limit: self.options.max_samples,
            }),
        }
    }

    fn scalar(&mut self, node: &Node, at: i64) -> Result<f64> {
        match node {
            Node::Number(value) => Ok(*value),
            Node::Time => Ok(at as f64 / 1000.0),
            Node::Scalar(of) => {
                let elements = self.vector(of, at)?;
                Ok(if let [one] = &elements[..] { one.value } else { f64::NAN })
            }
            Node::Negation(of) => Ok(-self.scalar(of, at)?),
            Node::Binary(binary) => {
                let left = self.scalar(&binary.left, at)?;
                let right = self.scalar(&binary.right, at)?;
                Ok(binary::scalars(binary.operator, left, right))
            }
            // Types were checked when the query was parsed.
            _ => Ok(f64::NAN),
        }
    }

    /// Only calls: whatever is kept here is kept on the stack once for each level of the query.
    fn vector(&mut self, node: &Node, at: i64) -> Result<Vec<Element>> {
        match node {
            Node::Selector(selector, moment) => {
                let reference = self.reference(*moment, at);
                self.instant_vector(selector, reference, |_, value| value)
            }
            Node::Negation(of) => self.negation(of, at),
            Node::Binary(binary) => self.binary(binary, at),
            Node::Aggregation(aggregation) => self.aggregation(aggregation, at),
            Node::Vector(of) => self.scalar_as_vector(of, at),
            Node::Absent(of) => self.absent(of, at),
            Node::AbsentOverTime(range) => self.absent_over_time(range, at),
            Node::Each(function, of, numbers) => self.each(*function, of, numbers, at),
            Node::Timestamp(of) => self.timestamp(of, at),
            Node::OverTime(function, range, parameter) => self.over_time(*function, range, parameter.as_deref(), at),
            Node::HistogramQuantile(q, buckets) => self.histogram_quantile(q, buckets, at),
            Node::LabelReplace(replace) => self.label_replace(replace, at),
            Node::LabelJoin(join) => self.label_join(join, at),
            Node::Sort(of, descending) => self.sort(of, *descending, at),
            Node::Number(_) | Node::Text(_) | Node::Range(_) | Node::Time | Node::Scalar(_) => Ok(Vec::new()),
        }
    }

    /// The instant that a selector is about.
    fn reference(&self, moment: Moment, at: i64) -> i64 {
        let at = match moment.at {
            At::Now => at,
            At::Millis(ms) => ms,
            At::Query => self.query_at,
        };
        at.saturating_sub(moment.offset_ms)
    }

    /// The series that a selector finds.
    fn select(&mut self, selector: &Selector) -> Result<Rc<[u32]>> {
        if let Some(found) = &self.selected[selector.number] {
            return Ok(Rc::clone(found));
        }
        let store = self.store;
        let fits = |id: &u32| {
            let labels = store.labels_at(*id);
            selector.tests.iter().all(|(name, test)| test.holds(labels.get(name)))
        };
        let found: Rc<[u32]> = match &selector.name {
            Some(name) => {
                let named = store.named(name);
                self.charge(named.len())?;
                named.iter().copied().filter(fits).collect()
            }
            None => {
                self.charge(store.len())?;
                let mut found: Vec<u32> = store.all().filter(fits).collect();
                found.sort_by(|a, b| store.labels_at(*a).cmp(store.labels_at(*b)));
                found.into()
            }
        };
        self.selected[selector.number] = Some(Rc::clone(&found));
        Ok(found)
    }

    /// The newest sample of each series within the look-back, unless that says that the series has ended.
    fn instant_vector(
        &mut self,
        selector: &Selector,
        at: i64,
        value_of: impl Fn(i64, f64) -> f64,
    ) -> Result<Vec<Element>> {
        let found = self.select(selector)?;
        self.charge(found.len())?;
        let oldest = at.saturating_sub(self.options.lookback_ms);
        let closed = self.options.dialect == Dialect::V2;
        let store = self.store;
        let element = |id: &u32| {
            let (time, value) = store.last(*id, at)?;
            let seen = time > oldest || (closed && time == oldest);
            (seen && !is_stale(value)).then(|| Element {
                labels: store.labels_at(*id).clone(),
                value: value_of(time, value),
            })
        };
        Ok(found.iter().filter_map(element).collect())
    }

    /// Every series of a range that has samples in it.
    fn slices(&mut self, range: &Range, at: i64, mut see: impl FnMut(&Slice, Window) -> Result<()>) -> Result<()> {
        let to = self.reference(range.moment, at);
        let window = Window {
            from: to.saturating_sub(range.length_ms),
            to,
        };
        match &range.source {
            Source::Selector(selector) => {
                let found = self.select(selector)?;
                self.charge(found.len())?;
                let closed = self.options.dialect == Dialect::V2;
                let store = self.store;
                let mut slice = Slice {
                    labels: Labels::empty(),
                    nameless: Labels::empty(),
                    points: Vec::new(),
                };
                for id in found.iter() {
                    let points = store.points(*id, window.from, closed, window.to);
                    self.charge(points.len())?;
                    slice.points.clear();
                    slice
                        .points
                        .extend(points.iter().filter(|(_, value)| !is_stale(*value)));
                    if !slice.points.is_empty() {
                        slice.labels = store.labels_at(*id).clone();
                        slice.nameless = store.nameless_at(*id).clone();
                        see(&slice, window)?;
                    }
                }
            }
            Source::Subquery(node, step) => {
                for slice in self.subquery(node, step.unwrap_or(self.options.subquery_step_ms), window)? {
                    see(&slice, window)?;
                }
            }
        }
        Ok(())
    }

    /// A vector evaluated at every multiple of the step within the window.
    fn subquery(&mut self, node: &Node, step: i64, window: Window) -> Result<Vec<Slice>> {
        let step = step.max(1);
        let mut at = (window.from / step).saturating_mul(step);
        let outside = |at: i64| at < window.from || (at == window.from && self.options.dialect == Dialect::V3);
        if outside(at) {
            at = at.saturating_add(step);
        }
        let mut slices: Vec<Slice> = Vec::new();
        let mut places: ByLabels<usize> = ByLabels::default();
        while at <= window.to {
            let elements = match node.kind() {
                Kind::Scalar => vec![Element {
                    labels: Labels::empty(),
                    value: self.scalar(node, at)?,
                }],
                _ => self.vector(node, at)?,
            };
            self.charge(1 + elements.len())?;
            for element in elements {
                let place = *places.entry(element.labels.clone()).or_insert_with(|| {
                    slices.push(Slice {
                        nameless: element.labels.without_name(),
                        labels: element.labels,
                        points: Vec::new(),
                    });
                    slices.len() - 1
                });
                slices[place].points.push((at, element.value));
            }
            match at.checked_add(step) {
                Some(next) => at = next,
                None => break,
            }
        }
        Ok(slices)
    }

    fn over_time(
        &mut self,
        function: OverTime,
        range: &Range,
        parameter: Option<&Node>,
        at: i64,
    ) -> Result<Vec<Element>> {
        let parameter = parameter.map_or(Ok(f64::NAN), |node| self.scalar(node, at))?;
        let dialect = self.options.dialect;
        let mut elements = Vec::new();
        self.slices(range, at, |slice, window| {
            let context = over_time::Context {
                window,
                at,
                parameter,
                dialect,
            };
            if let Some(value) = over_time::apply(function, &slice.points, &context) {
                let labels = match function {
                    OverTime::Last => slice.labels.clone(),
                    _ => slice.nameless.clone(),
                };
                elements.push(Element { labels, value });
            }
            Ok(())
        })?;
        unique(elements)
    }
}

/// The elements, if no two have the same labels.
fn unique(elements: Vec<Element>) -> Result<Vec<Element>> {
    if elements.len() > 1 {
        let mut seen: ByLabels<()> = ByLabels::default();
        seen.reserve(elements.len());
        for element in &elements {
            if seen.insert(element.labels.clone(), ()).is_some() {
                return Err(EvalError::SameLabels {
                    labels: element.labels.clone(),
                });
            }
        }
    }
    Ok(elements)
}
