//! PromQL evaluated over samples in memory: what a Prometheus would answer, without one.
//!
//! A [`Store`] holds series and their samples, staleness markers included; [`Target`] writes into it what a scrape writes,
//! [`Rules`] what recording rules write; a [`Query`] is parsed once and evaluated at an instant. Answers are those of
//! Prometheus 3 (or 2, see [`Dialect`]), compared with the real ones by `tests/promql`.
//!
//! Pure: no clock (every time is an argument, in milliseconds), no I/O, nothing random. Knows nothing of rollouts or of
//! Kubernetes. Queries come from templates that others write: length, depth and the samples touched are bounded, and nothing
//! here panics on them. What Prometheus knows and this does not is [`Error::NotSimulated`], with its place, and never a
//! guess: native histograms, experimental functions, range queries.

pub mod api;
mod error;
mod eval;
mod float;
mod labels;
mod lower;
mod pattern;
mod plan;
mod query;
mod rules;
mod scrape;
mod selectors;
mod store;
mod token;

pub use error::{Error, EvalError, Position};
pub use labels::{Labels, METRIC_NAME};
pub use query::{Dialect, Options, Query, Value};
pub use rules::{Failure, LeftOut, RuleProblem, Rules, RulesError};
pub use scrape::{REPORTS, Target};
pub use selectors::{Comparison, Matcher, Selected, selectors};
pub use store::{OutOfOrder, STALE, SeriesId, Store, is_stale};
