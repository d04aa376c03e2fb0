//! Functions of instant vectors, and what stands for vectors that are empty.

use super::{Element, Evaluator, Result, aggregation, each, histogram, relabel, unique};
use crate::labels::{Labels, METRIC_NAME};
use crate::plan::{Each, LabelJoin, LabelReplace, Node, Range, Selector, Source, Test};
use crate::query::Dialect;

impl Evaluator<'_> {
    pub(super) fn negation(&mut self, of: &Node, at: i64) -> Result<Vec<Element>> {
        let elements = self.vector(of, at)?;
        unique(replaced(elements, |value| -value))
    }

    pub(super) fn scalar_as_vector(&mut self, of: &Node, at: i64) -> Result<Vec<Element>> {
        Ok(vec![Element {
            labels: Labels::empty(),
            value: self.scalar(of, at)?,
        }])
    }

    pub(super) fn each(&mut self, function: Each, of: &Node, numbers: &[Node], at: i64) -> Result<Vec<Element>> {
        let elements = self.vector(of, at)?;
        let mut arguments = Vec::with_capacity(numbers.len());
        for number in numbers {
            arguments.push(self.scalar(number, at)?);
        }
        unique(each::apply(function, elements, &arguments))
    }

    /// The time of the samples that a selector finds; the present for everything else.
    pub(super) fn timestamp(&mut self, of: &Node, at: i64) -> Result<Vec<Element>> {
        let elements = match of {
            Node::Selector(selector, moment) => {
                let reference = self.reference(*moment, at);
                let elements = self.instant_vector(selector, reference, |time, _| time as f64 / 1000.0)?;
                replaced(elements, |value| value)
            }
            _ => replaced(self.vector(of, at)?, |_| at as f64 / 1000.0),
        };
        unique(elements)
    }

    pub(super) fn histogram_quantile(&mut self, q: &Node, buckets: &Node, at: i64) -> Result<Vec<Element>> {
        let q = self.scalar(q, at)?;
        let elements = self.vector(buckets, at)?;
        unique(histogram::quantiles(q, &elements, self.options.dialect))
    }

    pub(super) fn label_replace(&mut self, how: &LabelReplace, at: i64) -> Result<Vec<Element>> {
        let elements = self.vector(&how.over, at)?;
        unique(relabel::replace(how, elements, self.options.dialect)?)
    }

    pub(super) fn label_join(&mut self, how: &LabelJoin, at: i64) -> Result<Vec<Element>> {
        let elements = self.vector(&how.over, at)?;
        unique(relabel::join(how, elements, self.options.dialect)?)
    }

    pub(super) fn sort(&mut self, of: &Node, descending: bool, at: i64) -> Result<Vec<Element>> {
        let mut elements = self.vector(of, at)?;
        elements.sort_by(|a, b| aggregation::nan_last(a.value, b.value, descending));
        Ok(elements)
    }

    pub(super) fn absent(&mut self, of: &Node, at: i64) -> Result<Vec<Element>> {
        if !self.vector(of, at)?.is_empty() {
            return Ok(Vec::new());
        }
        Ok(self.placeholder(match of {
            Node::Selector(selector, _) => Some(selector),
            _ => None,
        }))
    }

    pub(super) fn absent_over_time(&mut self, range: &Range, at: i64) -> Result<Vec<Element>> {
        let mut any = false;
        self.slices(range, at, |_, _| {
            any = true;
            Ok(())
        })?;
        if any {
            return Ok(Vec::new());
        }
        Ok(self.placeholder(match &range.source {
            Source::Selector(selector) => Some(selector),
            Source::Subquery(..) => None,
        }))
    }

    /// What stands for nothing: 1, with the labels that the selector wants to be equal to something. A label that it asks
    /// about more than once has no value to give; Prometheus 2 counts only from the first equality on.
    fn placeholder(&self, selector: Option<&Selector>) -> Vec<Element> {
        let mut wanted: Vec<(&str, &str)> = Vec::new();
        let tests = selector.map_or(&[][..], |s| &s.tests);
        for (name, test) in tests.iter().filter(|(name, _)| name != METRIC_NAME) {
            let value = match test {
                Test::Equal(value) => value,
                _ => "",
            };
            match wanted.iter_mut().find(|(known, _)| known == name) {
                Some(known) => known.1 = "",
                None if value.is_empty() && self.options.dialect == Dialect::V2 => {}
                None => wanted.push((name, value)),
            }
        }
        vec![Element {
            labels: wanted.into_iter().collect(),
            value: 1.0,
        }]
    }
}

/// Other values, and no longer the metric that it was.
fn replaced(mut elements: Vec<Element>, value: impl Fn(f64) -> f64) -> Vec<Element> {
    for element in &mut elements {
        element.value = value(element.value);
        element.labels = element.labels.without_name();
    }
    elements
}
