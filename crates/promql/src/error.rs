//! What is wrong with a query, and what went wrong when it was evaluated.

use std::fmt;

use crate::Labels;

/// A place in a query's text, counted from 1, in characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Position {
    /// The line.
    pub line: usize,
    /// The character in the line.
    pub column: usize,
}

impl Position {
    /// The place of the byte `offset` of `text`.
    pub(crate) fn of(text: &str, offset: usize) -> Self {
        let before = text.get(..offset).unwrap_or(text);
        let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
        Self {
            line: before.matches('\n').count() + 1,
            column: before[line_start..].chars().count() + 1,
        }
    }
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.line, self.column)
    }
}

/// Why a query cannot be evaluated at all.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// It is PromQL, or may be, but nothing here evaluates it.
    #[error("not simulated: {line}:{column}: {what}")]
    NotSimulated {
        /// What it is, as written in the query.
        what: String,
        /// Its line, from 1.
        line: usize,
        /// Its character in the line, from 1.
        column: usize,
    },
    /// It is not PromQL.
    #[error("invalid PromQL: {}{message}", .position.map(|p| format!("{p}: ")).unwrap_or_default())]
    Syntax {
        /// Where, when that is known.
        position: Option<Position>,
        /// Why.
        message: String,
    },
    /// It is longer or deeper than anything that people write.
    #[error("the query is too large: {what} {found} is more than {limit}; split it into recording rules")]
    TooLarge {
        /// What was counted.
        what: &'static str,
        /// How much of it.
        found: usize,
        /// How much is allowed.
        limit: usize,
    },
}

/// Why an evaluation gave no answer. Prometheus refuses the same (but for its own limits).
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EvalError {
    /// Two elements of a vector would have the same labels.
    #[error("vector cannot contain metrics with the same labelset: {labels}")]
    SameLabels {
        /// The labels that occur twice.
        labels: Labels,
    },
    /// The side that must be unique is not.
    #[error(
        "found duplicate series for the match group {group} on the {side} hand-side of the operation: [{first}, {second}]; \
         many-to-many matching not allowed: matching labels must be unique on one side"
    )]
    ManyToMany {
        /// What both have in common.
        group: Labels,
        /// `left` or `right`.
        side: &'static str,
        /// One series of the group.
        first: Labels,
        /// Another one.
        second: Labels,
    },
    /// Several elements on the left match the same one on the right, and the query does not say that they may.
    #[error("multiple matches for labels: many-to-one matching must be explicit (group_left/group_right)")]
    ManyToOne,
    /// The result of a grouped operation would have the same labels twice.
    #[error("multiple matches for labels: grouping labels must ensure unique matches")]
    GroupingNotUnique,
    /// `topk`, `bottomk` with a number of elements that is none.
    #[error("Scalar value {0} overflows int64")]
    NoInteger(String),
    /// A name made for a label is none.
    #[error("invalid label name {name:?} in {function}")]
    LabelName {
        /// The name.
        name: String,
        /// The function or aggregation that was to write it.
        function: &'static str,
    },
    /// A label's value became longer than anything that is shown to people.
    #[error("a label of {length} bytes made by {function} is more than {limit}")]
    LongLabel {
        /// Who made it.
        function: &'static str,
        /// How long it is.
        length: usize,
        /// How long it may be.
        limit: usize,
    },
    /// The evaluation touches too many samples.
    #[error("query processing would load too many samples: more than {limit}")]
    TooManySamples {
        /// How many it may touch.
        limit: u64,
    },
}
