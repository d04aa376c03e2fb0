//! A query as it is evaluated: types checked, patterns compiled, times in milliseconds.

use std::sync::Arc;

use crate::pattern::Pattern;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Scalar,
    Vector,
    Matrix,
    Text,
}

#[derive(Clone, Debug)]
pub(crate) enum Node {
    Number(f64),
    Text(Arc<str>),
    Selector(Selector, Moment),
    Range(Box<Range>),
    Negation(Box<Node>),
    Binary(Box<Binary>),
    Aggregation(Box<Aggregation>),
    /// The present, as seconds.
    Time,
    /// The one element of a vector.
    Scalar(Box<Node>),
    /// A scalar as a vector without labels.
    Vector(Box<Node>),
    Absent(Box<Node>),
    AbsentOverTime(Box<Range>),
    /// One element after the other. The numbers are its further arguments.
    Each(Each, Box<Node>, Vec<Node>),
    /// The time of the samples that a selector finds, or the present for everything else.
    Timestamp(Box<Node>),
    OverTime(OverTime, Box<Range>, Option<Box<Node>>),
    HistogramQuantile(Box<Node>, Box<Node>),
    LabelReplace(Box<LabelReplace>),
    LabelJoin(Box<LabelJoin>),
    Sort(Box<Node>, bool),
}

impl Node {
    pub(crate) fn kind(&self) -> Kind {
        match self {
            Self::Number(_) | Self::Time | Self::Scalar(_) => Kind::Scalar,
            Self::Text(_) => Kind::Text,
            Self::Range(_) => Kind::Matrix,
            Self::Negation(of) => of.kind(),
            Self::Binary(binary) => binary.kind,
            _ => Kind::Vector,
        }
    }
}

#[derive(Clone, Debug)]
pub(crate) enum Test {
    Equal(String),
    NotEqual(String),
    Matches(Pattern),
    MatchesNot(Pattern),
}

impl Test {
    pub(crate) fn holds(&self, value: &str) -> bool {
        match self {
            Self::Equal(wanted) => value == wanted,
            Self::NotEqual(unwanted) => value != unwanted,
            Self::Matches(pattern) => pattern.matches(value),
            Self::MatchesNot(pattern) => !pattern.matches(value),
        }
    }
}

#[derive(Clone, Debug)]
pub(crate) struct Selector {
    /// Its place among the selectors of the query.
    pub(crate) number: usize,
    /// The metric's name where it must be equal to something.
    pub(crate) name: Option<String>,
    /// All other conditions.
    pub(crate) tests: Vec<(String, Test)>,
}

/// What `@` says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum At {
    /// Nothing: the present.
    Now,
    Millis(i64),
    /// `start()` or `end()`: the instant of the query, also in a subquery.
    Query,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Moment {
    pub(crate) at: At,
    pub(crate) offset_ms: i64,
}

#[derive(Clone, Debug)]
pub(crate) struct Range {
    pub(crate) source: Source,
    pub(crate) moment: Moment,
    pub(crate) length_ms: i64,
}

#[derive(Clone, Debug)]
pub(crate) enum Source {
    Selector(Selector),
    /// A vector, evaluated every so many milliseconds.
    Subquery(Node, Option<i64>),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Operator {
    Add,
    Sub,
    Mul,
    Div,
    Mod,
    Pow,
    Atan2,
    Equal,
    NotEqual,
    Greater,
    Less,
    GreaterEqual,
    LessEqual,
    And,
    Or,
    Unless,
}

impl Operator {
    pub(crate) fn compares(self) -> bool {
        use Operator::*;
        matches!(self, Equal | NotEqual | Greater | Less | GreaterEqual | LessEqual)
    }

    pub(crate) fn is_of_sets(self) -> bool {
        matches!(self, Self::And | Self::Or | Self::Unless)
    }
}

#[derive(Clone, Debug)]
pub(crate) struct Binary {
    pub(crate) kind: Kind,
    pub(crate) operator: Operator,
    pub(crate) left: Node,
    pub(crate) right: Node,
    pub(crate) matching: Matching,
    pub(crate) returns_bool: bool,
}

/// Which elements of two vectors belong together.
#[derive(Clone, Debug)]
pub(crate) struct Matching {
    /// `on` (those labels) or `ignoring` (all but those).
    pub(crate) on: bool,
    pub(crate) labels: Vec<String>,
    pub(crate) group: Group,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Group {
    None,
    /// Many on the left; labels that come from the right.
    Left(Vec<String>),
    Right(Vec<String>),
}

#[derive(Clone, Debug)]
pub(crate) struct Aggregation {
    pub(crate) operator: Aggregator,
    pub(crate) over: Node,
    /// `by` these labels, or `without` them.
    pub(crate) without: bool,
    pub(crate) labels: Vec<String>,
}

#[derive(Clone, Debug)]
pub(crate) enum Aggregator {
    Sum,
    Avg,
    Min,
    Max,
    Count,
    Group,
    Stddev,
    Stdvar,
    Quantile(Node),
    Top(Node),
    Bottom(Node),
    CountValues(String),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Each {
    Abs,
    Acos,
    Acosh,
    Asin,
    Asinh,
    Atan,
    Atanh,
    Ceil,
    Clamp,
    ClampMax,
    ClampMin,
    Cos,
    Cosh,
    DayOfMonth,
    DayOfWeek,
    DayOfYear,
    DaysInMonth,
    Deg,
    Exp,
    Floor,
    Hour,
    Ln,
    Log10,
    Log2,
    Minute,
    Month,
    Rad,
    Round,
    Sgn,
    Sin,
    Sinh,
    Sqrt,
    Tan,
    Tanh,
    Year,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum OverTime {
    Avg,
    Changes,
    Count,
    Delta,
    Deriv,
    Idelta,
    Increase,
    Irate,
    Last,
    Max,
    Min,
    PredictLinear,
    Present,
    Quantile,
    Rate,
    Resets,
    Stddev,
    Stdvar,
    Sum,
}

#[derive(Clone, Debug)]
pub(crate) struct LabelReplace {
    pub(crate) over: Node,
    pub(crate) target: String,
    pub(crate) template: String,
    pub(crate) source: String,
    pub(crate) pattern: Pattern,
}

#[derive(Clone, Debug)]
pub(crate) struct LabelJoin {
    pub(crate) over: Node,
    pub(crate) target: String,
    pub(crate) separator: String,
    pub(crate) sources: Vec<String>,
}
