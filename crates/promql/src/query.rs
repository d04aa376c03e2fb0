//! A parsed query, and how it is evaluated.

use crate::error::{Error, EvalError};
use crate::eval;
use crate::labels::Labels;
use crate::lower;
use crate::plan::Node;
use crate::store::Store;

/// Which Prometheus is meant: their answers differ at the edges.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Dialect {
    /// 2.x: ranges and look-backs include their older end. (That its regular expressions stop at a line's end is not imitated.)
    V2,
    /// 3.x: they do not.
    #[default]
    V3,
}

/// What Prometheus is told by its flags and its configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    /// How long a sample stands for the present.
    pub lookback_ms: i64,
    /// The step of subqueries that name none: Prometheus' `evaluation_interval`.
    pub subquery_step_ms: i64,
    /// How many samples and series one evaluation may touch, all in all.
    pub max_samples: u64,
    /// Whose rules apply.
    pub dialect: Dialect,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            lookback_ms: 5 * 60 * 1000,
            subquery_step_ms: 60 * 1000,
            max_samples: 50_000_000,
            dialect: Dialect::default(),
        }
    }
}

/// What a query gives.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// A number.
    Scalar(f64),
    /// Elements with a number each. Ordered only by `sort`, `topk` and the like.
    Vector(Vec<(Labels, f64)>),
    /// Series with samples, times in milliseconds.
    Matrix(Vec<(Labels, Vec<(i64, f64)>)>),
    /// A text.
    String(String),
}

/// A query that is ready to be evaluated, as often as one likes.
#[derive(Clone, Debug)]
pub struct Query {
    node: Node,
    /// The metric's name that each selector asks for; None: it asks for more than one.
    names: Vec<Option<String>>,
}

impl Query {
    /// Parses PromQL.
    ///
    /// # Errors
    /// When it is none, when it is too large, or when it contains something that is not evaluated here.
    pub fn parse(text: &str) -> Result<Self, Error> {
        let (node, names) = lower::parse(text)?;
        Ok(Self { node, names })
    }

    /// What Prometheus, as it is set up by default, answers at this instant.
    ///
    /// # Errors
    /// Where Prometheus answers with an error, and when too many samples are touched.
    pub fn instant(&self, store: &Store, at_ms: i64) -> Result<Value, EvalError> {
        self.instant_with(store, at_ms, &Options::default())
    }

    /// What a Prometheus that is set up like this answers at this instant.
    ///
    /// # Errors
    /// As [`Query::instant`].
    pub fn instant_with(&self, store: &Store, at_ms: i64, options: &Options) -> Result<Value, EvalError> {
        eval::instant(&self.node, self.names.len(), store, at_ms, options)
    }

    /// Whether a series of that name can matter to the answer.
    pub(crate) fn asks_for(&self, metric: &str) -> bool {
        self.names
            .iter()
            .any(|name| name.as_deref().is_none_or(|name| name == metric))
    }

    /// The names of the metrics that it asks for, those of selectors that name one.
    pub fn metrics(&self) -> impl Iterator<Item = &str> {
        self.names.iter().filter_map(Option::as_deref)
    }
}
