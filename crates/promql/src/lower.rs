//! From the parser's tree to a [`Node`]: literals and places put back, everything that is not evaluated refused.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use promql_parser::label::{MatchOp, Matchers};
use promql_parser::parser::{
    self, AggregateExpr, AtModifier, BinaryExpr, Call, Expr, LabelModifier, Offset, VectorMatchCardinality,
    VectorSelector,
};

use crate::error::Error;
use crate::labels::METRIC_NAME;
use crate::pattern::Pattern;
use crate::plan::{
    Aggregation, Aggregator, At, Binary, Each, Group, Kind, LabelJoin, LabelReplace, Matching, Moment, Node, Operator,
    OverTime, Range, Selector, Source, Test,
};
use crate::token::{Literal, MARK, MAX_DEPTH, Tokens};

/// Parses a query. With it come the names that its selectors ask for, in their order; None: it asks for more than one.
pub(crate) fn parse(source: &str) -> Result<(Node, Vec<Option<String>>), Error> {
    let tokens = Tokens::read(source)?;
    let tree = parser::parse(tokens.skeleton()).map_err(|message| explain(&tokens, message))?;
    let mut calls: BTreeMap<String, Vec<usize>> = BTreeMap::new();
    for (name, offset) in tokens.calls() {
        calls.entry(name.to_ascii_lowercase()).or_default().push(offset);
    }
    for offsets in calls.values_mut() {
        offsets.reverse();
    }
    let mut lowering = Lowering {
        tokens: &tokens,
        calls,
        selectors: Vec::new(),
        depth: 0,
    };
    let node = lowering.node(&tree)?;
    Ok((node, lowering.selectors))
}

/// The parser's words, with a place where one can be told.
pub(crate) fn explain(tokens: &Tokens, message: String) -> Error {
    let quoted = |prefix: &str| message.split_once(prefix)?.1.split('\'').next().map(str::to_owned);
    let unknown = quoted("unknown function with name '");
    let called = unknown
        .or_else(|| quoted("call to function '"))
        .or_else(|| quoted("in call to '"));
    let offset = called.and_then(|name| {
        let mut places = tokens.calls().filter(|(n, _)| *n == name).map(|(_, offset)| offset);
        let first = places.next()?;
        // With several calls of that name nothing says which one is meant, unless none of them can be right.
        (places.next().is_none() || message.contains("unknown function")).then_some(first)
    });
    let message = match message.as_str() {
        "invalid promql query" => "this is no PromQL expression".to_owned(),
        m if m.contains("metric name must not be set twice") => "metric name must not be set twice".to_owned(),
        _ => message,
    };
    Error::Syntax {
        position: offset.map(|o| tokens.position(o)),
        message,
    }
}

struct Lowering<'a> {
    tokens: &'a Tokens,
    /// Where each function is called; the next call of each is the last one.
    calls: BTreeMap<String, Vec<usize>>,
    selectors: Vec<Option<String>>,
    depth: usize,
}

impl Lowering<'_> {
    fn not_simulated<T>(&self, what: impl Into<String>, offset: usize) -> Result<T, Error> {
        let position = self.tokens.position(offset);
        Err(Error::NotSimulated {
            what: what.into(),
            line: position.line,
            column: position.column,
        })
    }

    fn wrong(&self, offset: Option<usize>, message: impl Into<String>) -> Error {
        Error::Syntax {
            position: offset.map(|o| self.tokens.position(o)),
            message: message.into(),
        }
    }

    // === literals ===

    fn literal(&self, number: usize) -> Result<(&Literal, usize), Error> {
        self.tokens
            .literal(number)
            .ok_or_else(|| self.wrong(None, "this is no PromQL expression"))
    }

    fn number(&self, skeleton: f64) -> Result<f64, Error> {
        let (literal, _) = self.literal(skeleton.abs() as usize)?;
        let value = match literal {
            Literal::Number(value) => *value,
            Literal::Duration(ms) => *ms as f64 / 1000.0,
            Literal::Text(_) => return Err(self.wrong(None, "a number was expected")),
        };
        Ok(if skeleton.is_sign_negative() { -value } else { value })
    }

    fn duration(&self, skeleton: Duration) -> Result<i64, Error> {
        let (literal, offset) = self.literal(usize::try_from(skeleton.as_secs()).unwrap_or(usize::MAX))?;
        match literal {
            Literal::Duration(ms) => Ok(*ms),
            Literal::Number(seconds) if seconds.abs() < 1e12 => Ok((seconds * 1000.0) as i64),
            _ => Err(self.wrong(Some(offset), "a duration was expected")),
        }
    }

    fn text(&self, skeleton: &str) -> Result<(&str, usize), Error> {
        match self.literal(skeleton.parse().unwrap_or(0))? {
            (Literal::Text(text), offset) => Ok((text, offset)),
            (_, offset) => Err(self.wrong(Some(offset), "a string was expected")),
        }
    }

    /// A label's name: as written, or quoted.
    fn name(&self, skeleton: &str) -> Result<String, Error> {
        if skeleton.starts_with(|c: char| c.is_ascii_digit()) {
            return Ok(self.text(skeleton)?.0.to_owned());
        }
        Ok(skeleton.to_owned())
    }

    fn names<'n>(&self, names: impl IntoIterator<Item = &'n String>) -> Result<Vec<String>, Error> {
        names.into_iter().map(|name| self.name(name)).collect()
    }

    /// The argument of a call that must be a string as written.
    fn text_argument(&self, of: &Expr) -> Result<(String, usize), Error> {
        match of {
            Expr::StringLiteral(text) => self.text(&text.val).map(|(text, offset)| (text.to_owned(), offset)),
            Expr::Paren(inner) => self.text_argument(&inner.expr),
            _ => Err(self.wrong(None, "a string was expected")),
        }
    }

    // === nodes ===

    fn node(&mut self, of: &Expr) -> Result<Node, Error> {
        // The tokens' limit keeps the tree shallower than this; it is here so that nothing depends on that.
        self.depth += 1;
        if self.depth > 2 * MAX_DEPTH {
            return Err(Error::TooLarge {
                what: "its depth of",
                found: self.depth,
                limit: 2 * MAX_DEPTH,
            });
        }
        let node = match of {
            Expr::Paren(inner) => self.node(&inner.expr),
            Expr::NumberLiteral(literal) => self.number(literal.val).map(Node::Number),
            Expr::StringLiteral(literal) => self.text(&literal.val).map(|(text, _)| Node::Text(text.into())),
            Expr::VectorSelector(selector) => {
                let moment = self.moment(selector.at.as_ref(), selector.offset.as_ref())?;
                Ok(Node::Selector(self.selector(selector)?, moment))
            }
            Expr::MatrixSelector(_) | Expr::Subquery(_) => self.range(of).map(|r| Node::Range(Box::new(r))),
            Expr::Unary(unary) => Ok(Node::Negation(Box::new(self.node(&unary.expr)?))),
            Expr::Binary(binary) => self.binary(binary),
            Expr::Aggregate(aggregate) => self.aggregate(aggregate),
            Expr::Call(call) => self.call(call),
            Expr::Extension(_) => Err(self.wrong(None, "this is no PromQL expression")),
        };
        self.depth -= 1;
        node
    }

    fn moment(&self, at: Option<&AtModifier>, offset: Option<&Offset>) -> Result<Moment, Error> {
        let offset_ms = match offset {
            None => 0,
            Some(Offset::Pos(duration)) => self.duration(*duration)?,
            Some(Offset::Neg(duration)) => -self.duration(*duration)?,
        };
        let at = match at {
            None => At::Now,
            Some(AtModifier::Start | AtModifier::End) => At::Query,
            Some(AtModifier::At(time)) => {
                let (seconds, sign) = match time.duration_since(SystemTime::UNIX_EPOCH) {
                    Ok(after) => (after, 1.0),
                    Err(before) => (before.duration(), -1.0),
                };
                let seconds = self.number(sign * seconds.as_secs_f64())?;
                if seconds.is_nan() || seconds.abs() > 1e12 {
                    return Err(self.wrong(None, "the time after @ is out of range"));
                }
                // Go's math.Round: halves away from zero.
                At::Millis((seconds * 1000.0).round() as i64)
            }
        };
        Ok(Moment { at, offset_ms })
    }

    fn selector(&mut self, of: &VectorSelector) -> Result<Selector, Error> {
        let Matchers { matchers, or_matchers } = &of.matchers;
        if !or_matchers.is_empty() {
            return Err(self.wrong(
                self.tokens.braces().first().copied(),
                "unexpected \"or\" in label matching",
            ));
        }
        let mut name = of.name.clone();
        let mut tests = Vec::new();
        for matcher in matchers.iter().filter(|m| m.name != MARK) {
            let label = self.name(&matcher.name)?;
            let (value, offset) = self.text(&matcher.value)?;
            let pattern = || Pattern::new(value).map_err(|why| self.wrong(Some(offset), why));
            let test = match &matcher.op {
                MatchOp::Equal => Test::Equal(value.to_owned()),
                MatchOp::NotEqual => Test::NotEqual(value.to_owned()),
                MatchOp::Re(_) => Test::Matches(pattern()?),
                MatchOp::NotRe(_) => Test::MatchesNot(pattern()?),
            };
            if label == METRIC_NAME && of.name.is_some() {
                return Err(self.wrong(Some(offset), "metric name must not be set twice"));
            }
            match test {
                Test::Equal(value) if label == METRIC_NAME && name.is_none() && !value.is_empty() => name = Some(value),
                test => tests.push((label, test)),
            }
        }
        if name.is_none() && tests.iter().all(|(_, test)| test.holds("")) {
            return Err(self.wrong(None, "vector selector must contain at least one non-empty matcher"));
        }
        let number = self.selectors.len();
        self.selectors.push(name.clone());
        Ok(Selector { number, name, tests })
    }

    fn range(&mut self, of: &Expr) -> Result<Range, Error> {
        match of {
            Expr::Paren(inner) => self.range(&inner.expr),
            Expr::MatrixSelector(matrix) => Ok(Range {
                moment: self.moment(matrix.vs.at.as_ref(), matrix.vs.offset.as_ref())?,
                length_ms: self.duration(matrix.range)?,
                source: Source::Selector(self.selector(&matrix.vs)?),
            }),
            Expr::Subquery(subquery) => {
                let step = subquery.step.map(|step| self.duration(step)).transpose()?;
                Ok(Range {
                    moment: self.moment(subquery.at.as_ref(), subquery.offset.as_ref())?,
                    length_ms: self.duration(subquery.range)?,
                    source: Source::Subquery(self.node(&subquery.expr)?, step),
                })
            }
            _ => Err(self.wrong(None, "a range of time was expected")),
        }
    }

    fn of_kind(&mut self, of: &Expr, kind: Kind, place: Option<usize>) -> Result<Node, Error> {
        let node = self.node(of)?;
        if node.kind() == kind {
            return Ok(node);
        }
        Err(self.wrong(
            place,
            format!("expected {kind:?}, got {:?}", node.kind()).to_lowercase(),
        ))
    }

    fn binary(&mut self, of: &BinaryExpr) -> Result<Node, Error> {
        use Operator::*;
        let operator = match of.op.to_string().as_str() {
            "+" => Add,
            "-" => Sub,
            "*" => Mul,
            "/" => Div,
            "%" => Mod,
            "^" => Pow,
            "atan2" => Atan2,
            "==" => Equal,
            "!=" => NotEqual,
            ">" => Greater,
            "<" => Less,
            ">=" => GreaterEqual,
            "<=" => LessEqual,
            "and" => And,
            "or" => Or,
            "unless" => Unless,
            other => return Err(self.wrong(None, format!("unknown operator {other}"))),
        };
        let mut matching = Matching {
            on: false,
            labels: Vec::new(),
            group: Group::None,
        };
        let mut returns_bool = false;
        if let Some(modifier) = &of.modifier {
            if modifier.fill_values.lhs.is_some() || modifier.fill_values.rhs.is_some() {
                let place = ["fill", "fill_left", "fill_right"]
                    .iter()
                    .flat_map(|name| self.tokens.words(name))
                    .min();
                return self.not_simulated("fill modifier", place.unwrap_or(0));
            }
            returns_bool = modifier.return_bool;
            if let Some(labels) = &modifier.matching {
                matching.on = labels.is_include();
                matching.labels = self.names(&labels.labels().labels)?;
            }
            matching.group = match &modifier.card {
                VectorMatchCardinality::ManyToOne(labels) => Group::Left(self.names(&labels.labels)?),
                VectorMatchCardinality::OneToMany(labels) => Group::Right(self.names(&labels.labels)?),
                _ => Group::None,
            };
        }
        let left = self.node(&of.lhs)?;
        let right = self.node(&of.rhs)?;
        let both_scalar = left.kind() == Kind::Scalar && right.kind() == Kind::Scalar;
        for kind in [left.kind(), right.kind()] {
            if !matches!(kind, Kind::Scalar | Kind::Vector) {
                return Err(self.wrong(
                    None,
                    "binary expression must contain only scalar and instant vector types",
                ));
            }
            if kind == Kind::Scalar && operator.is_of_sets() {
                return Err(self.wrong(None, "set operators are not allowed with scalars"));
            }
        }
        if both_scalar && operator.compares() && !returns_bool {
            return Err(self.wrong(None, "comparisons between scalars must use BOOL modifier"));
        }
        Ok(Node::Binary(Box::new(Binary {
            kind: if both_scalar { Kind::Scalar } else { Kind::Vector },
            operator,
            left,
            right,
            matching,
            returns_bool,
        })))
    }

    fn aggregate(&mut self, of: &AggregateExpr) -> Result<Node, Error> {
        let name = of.op.to_string().to_lowercase();
        let place = self.tokens.words(&name).next().unwrap_or(0);
        if matches!(name.as_str(), "limitk" | "limit_ratio") {
            return self.not_simulated(name, place);
        }
        let parameter = |this: &mut Self| match &of.param {
            Some(parameter) => this.of_kind(parameter, Kind::Scalar, None),
            None => Err(this.wrong(Some(place), format!("{name} needs a parameter"))),
        };
        let operator = match name.as_str() {
            "sum" => Aggregator::Sum,
            "avg" => Aggregator::Avg,
            "min" => Aggregator::Min,
            "max" => Aggregator::Max,
            "count" => Aggregator::Count,
            "group" => Aggregator::Group,
            "stddev" => Aggregator::Stddev,
            "stdvar" => Aggregator::Stdvar,
            "quantile" => Aggregator::Quantile(parameter(self)?),
            "topk" => Aggregator::Top(parameter(self)?),
            "bottomk" => Aggregator::Bottom(parameter(self)?),
            "count_values" => match &of.param {
                Some(label) => Aggregator::CountValues(self.text_argument(label)?.0),
                None => return Err(self.wrong(Some(place), "count_values needs a label")),
            },
            _ => return self.not_simulated(name, place),
        };
        let over = self.of_kind(&of.expr, Kind::Vector, None)?;
        let (without, labels) = match &of.modifier {
            None => (false, Vec::new()),
            Some(LabelModifier::Include(labels)) => (false, self.names(&labels.labels)?),
            Some(LabelModifier::Exclude(labels)) => (true, self.names(&labels.labels)?),
        };
        Ok(Node::Aggregation(Box::new(Aggregation {
            operator,
            over,
            without,
            labels,
        })))
    }

    /// Only calls, as in [`Lowering::node`]: this is on the stack once for each level of the query.
    fn call(&mut self, of: &Call) -> Result<Node, Error> {
        let place = self.calls.get_mut(of.func.name).and_then(Vec::pop);
        let call = Arguments {
            name: of.func.name,
            place,
            all: &of.args.args,
        };
        if let Some(function) = over_time(call.name) {
            return self.over_time(function, &call);
        }
        if let Some(function) = each(call.name) {
            return self.each(function, &call);
        }
        match call.name {
            "time" => Ok(Node::Time),
            "pi" => Ok(Node::Number(std::f64::consts::PI)),
            "scalar" => self.boxed(&call, 0, Kind::Vector).map(Node::Scalar),
            "vector" => self.boxed(&call, 0, Kind::Scalar).map(Node::Vector),
            "timestamp" => self.boxed(&call, 0, Kind::Vector).map(Node::Timestamp),
            "absent" => self.boxed(&call, 0, Kind::Vector).map(Node::Absent),
            "absent_over_time" => self.range_argument(&call, 0).map(Node::AbsentOverTime),
            "sort" => self.boxed(&call, 0, Kind::Vector).map(|over| Node::Sort(over, false)),
            "sort_desc" => self.boxed(&call, 0, Kind::Vector).map(|over| Node::Sort(over, true)),
            "histogram_quantile" => self.histogram_quantile(&call),
            "label_replace" => self.label_replace(&call),
            "label_join" => self.label_join(&call),
            name => self.not_simulated(format!("{name}()"), place.unwrap_or(0)),
        }
    }

    fn argument<'e>(&self, call: &Arguments<'e>, number: usize) -> Result<&'e Expr, Error> {
        let missing = || self.wrong(call.place, format!("{} needs more arguments", call.name));
        call.all.get(number).map(|argument| &**argument).ok_or_else(missing)
    }

    fn boxed(&mut self, call: &Arguments<'_>, number: usize, kind: Kind) -> Result<Box<Node>, Error> {
        let argument = self.argument(call, number)?;
        self.of_kind(argument, kind, call.place).map(Box::new)
    }

    fn range_argument(&mut self, call: &Arguments<'_>, number: usize) -> Result<Box<Range>, Error> {
        let argument = self.argument(call, number)?;
        self.range(argument).map(Box::new)
    }

    fn texts(&self, call: &Arguments<'_>, from: usize) -> Result<Vec<(String, usize)>, Error> {
        let arguments = call.all.get(from..).unwrap_or(&[]);
        arguments.iter().map(|argument| self.text_argument(argument)).collect()
    }

    fn over_time(&mut self, function: OverTime, call: &Arguments<'_>) -> Result<Node, Error> {
        // In the order in which they are written: places are found by it.
        match function {
            OverTime::Quantile => {
                let parameter = self.boxed(call, 0, Kind::Scalar)?;
                Ok(Node::OverTime(function, self.range_argument(call, 1)?, Some(parameter)))
            }
            OverTime::PredictLinear => {
                let range = self.range_argument(call, 0)?;
                Ok(Node::OverTime(
                    function,
                    range,
                    Some(self.boxed(call, 1, Kind::Scalar)?),
                ))
            }
            _ => Ok(Node::OverTime(function, self.range_argument(call, 0)?, None)),
        }
    }

    fn each(&mut self, function: Each, call: &Arguments<'_>) -> Result<Node, Error> {
        if call.all.is_empty() {
            // The functions of dates are about the present unless told otherwise.
            let present = Node::Vector(Box::new(Node::Time));
            return Ok(Node::Each(function, Box::new(present), Vec::new()));
        }
        let over = self.boxed(call, 0, Kind::Vector)?;
        let mut numbers = Vec::new();
        for number in 1..call.all.len() {
            numbers.push(*self.boxed(call, number, Kind::Scalar)?);
        }
        Ok(Node::Each(function, over, numbers))
    }

    fn histogram_quantile(&mut self, call: &Arguments<'_>) -> Result<Node, Error> {
        let q = self.boxed(call, 0, Kind::Scalar)?;
        Ok(Node::HistogramQuantile(q, self.boxed(call, 1, Kind::Vector)?))
    }

    fn label_replace(&mut self, call: &Arguments<'_>) -> Result<Node, Error> {
        let over = *self.boxed(call, 0, Kind::Vector)?;
        let [(target, _), (template, _), (source, _), (pattern, place)] = &self.texts(call, 1)?[..] else {
            return Err(self.wrong(call.place, "label_replace needs five arguments"));
        };
        Ok(Node::LabelReplace(Box::new(LabelReplace {
            over,
            target: target.clone(),
            template: template.clone(),
            source: source.clone(),
            pattern: Pattern::new(pattern).map_err(|why| self.wrong(Some(*place), why))?,
        })))
    }

    fn label_join(&mut self, call: &Arguments<'_>) -> Result<Node, Error> {
        let over = *self.boxed(call, 0, Kind::Vector)?;
        let mut texts = self.texts(call, 1)?.into_iter().map(|(text, _)| text);
        let (Some(target), Some(separator)) = (texts.next(), texts.next()) else {
            return Err(self.wrong(call.place, "label_join needs three arguments at least"));
        };
        Ok(Node::LabelJoin(Box::new(LabelJoin {
            over,
            target,
            separator,
            sources: texts.collect(),
        })))
    }
}

/// A call with what is needed to complain about it.
struct Arguments<'e> {
    name: &'static str,
    place: Option<usize>,
    all: &'e [Box<Expr>],
}

fn over_time(name: &str) -> Option<OverTime> {
    Some(match name {
        "avg_over_time" => OverTime::Avg,
        "changes" => OverTime::Changes,
        "count_over_time" => OverTime::Count,
        "delta" => OverTime::Delta,
        "deriv" => OverTime::Deriv,
        "idelta" => OverTime::Idelta,
        "increase" => OverTime::Increase,
        "irate" => OverTime::Irate,
        "last_over_time" => OverTime::Last,
        "max_over_time" => OverTime::Max,
        "min_over_time" => OverTime::Min,
        "predict_linear" => OverTime::PredictLinear,
        "present_over_time" => OverTime::Present,
        "quantile_over_time" => OverTime::Quantile,
        "rate" => OverTime::Rate,
        "resets" => OverTime::Resets,
        "stddev_over_time" => OverTime::Stddev,
        "stdvar_over_time" => OverTime::Stdvar,
        "sum_over_time" => OverTime::Sum,
        _ => return None,
    })
}

fn each(name: &str) -> Option<Each> {
    Some(match name {
        "abs" => Each::Abs,
        "acos" => Each::Acos,
        "acosh" => Each::Acosh,
        "asin" => Each::Asin,
        "asinh" => Each::Asinh,
        "atan" => Each::Atan,
        "atanh" => Each::Atanh,
        "ceil" => Each::Ceil,
        "clamp" => Each::Clamp,
        "clamp_max" => Each::ClampMax,
        "clamp_min" => Each::ClampMin,
        "cos" => Each::Cos,
        "cosh" => Each::Cosh,
        "day_of_month" => Each::DayOfMonth,
        "day_of_week" => Each::DayOfWeek,
        "day_of_year" => Each::DayOfYear,
        "days_in_month" => Each::DaysInMonth,
        "deg" => Each::Deg,
        "exp" => Each::Exp,
        "floor" => Each::Floor,
        "hour" => Each::Hour,
        "ln" => Each::Ln,
        "log10" => Each::Log10,
        "log2" => Each::Log2,
        "minute" => Each::Minute,
        "month" => Each::Month,
        "rad" => Each::Rad,
        "round" => Each::Round,
        "sgn" => Each::Sgn,
        "sin" => Each::Sin,
        "sinh" => Each::Sinh,
        "sqrt" => Each::Sqrt,
        "tan" => Each::Tan,
        "tanh" => Each::Tanh,
        "year" => Each::Year,
        _ => return None,
    })
}
