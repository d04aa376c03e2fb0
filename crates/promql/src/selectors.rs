//! Which series a query asks for: its selectors, without evaluating anything.
//!
//! For those who want to know whether the labels that a query relies on are there at all. Everything that Prometheus' grammar
//! allows is read, also what [`crate::Query`] does not evaluate.

use std::fmt;

use promql_parser::label::{MatchOp, Matcher as Parsed, Matchers};
use promql_parser::parser::{self, Expr, VectorSelector};

use crate::error::Error;
use crate::labels::METRIC_NAME;
use crate::lower::explain;
use crate::token::{Literal, MARK, MAX_DEPTH, Tokens};

/// How a label is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Comparison {
    /// `=`
    Equal,
    /// `!=`
    NotEqual,
    /// `=~`
    Matches,
    /// `!~`
    MatchesNot,
}

impl Comparison {
    /// As PromQL writes it.
    pub fn operator(self) -> &'static str {
        match self {
            Self::Equal => "=",
            Self::NotEqual => "!=",
            Self::Matches => "=~",
            Self::MatchesNot => "!~",
        }
    }
}

/// One condition on a label.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Matcher {
    /// The label.
    pub label: String,
    /// How.
    pub comparison: Comparison,
    /// With what.
    pub value: String,
}

/// The series that one selector asks for. Its text is PromQL again.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Selected {
    /// The metric's name, when one is given.
    pub metric: Option<String>,
    /// The conditions, without the one on the name.
    pub matchers: Vec<Matcher>,
}

impl fmt::Display for Selected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut parts = Vec::new();
        match &self.metric {
            Some(name) if is_plain(name) => f.write_str(name)?,
            Some(name) => parts.push(format!("{METRIC_NAME}={}", quoted(name))),
            None => {}
        }
        parts.extend(self.matchers.iter().map(|matcher| {
            let Matcher {
                label,
                comparison,
                value,
            } = matcher;
            // Names that need it are quoted (Prometheus 3).
            let label = if is_plain(label) { label.clone() } else { quoted(label) };
            format!("{label}{}{}", comparison.operator(), quoted(value))
        }));
        if parts.is_empty() {
            return Ok(());
        }
        write!(f, "{{{}}}", parts.join(","))
    }
}

fn is_plain(name: &str) -> bool {
    let mut characters = name.chars();
    characters
        .next()
        .is_some_and(|c| c.is_ascii_alphabetic() || c == '_' || c == ':')
        && characters.all(|c| c.is_ascii_alphanumeric() || c == '_' || c == ':')
}

fn quoted(text: &str) -> String {
    let mut out = String::from('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

/// The selectors of a query, each once, in the order in which they stand in it.
///
/// # Errors
/// When it is no PromQL, or too large.
pub fn selectors(query: &str) -> Result<Vec<Selected>, Error> {
    let tokens = Tokens::read(query)?;
    let tree = parser::parse(tokens.skeleton()).map_err(|message| explain(&tokens, message))?;
    let mut found = Vec::new();
    walk(&tree, &mut |selector| {
        let selected = read(&tokens, selector)?;
        if !found.contains(&selected) {
            found.push(selected);
        }
        Ok(())
    })?;
    Ok(found)
}

/// Without recursion: the tree is as deep as its author liked, up to the tokens' limit.
fn walk<'e>(tree: &'e Expr, visit: &mut dyn FnMut(&'e VectorSelector) -> Result<(), Error>) -> Result<(), Error> {
    let mut waiting = vec![tree];
    let mut steps = 0_usize;
    while let Some(expr) = waiting.pop() {
        steps += 1;
        if steps > 1000 * MAX_DEPTH {
            return Err(Error::TooLarge {
                what: "its number of parts of",
                found: steps,
                limit: 1000 * MAX_DEPTH,
            });
        }
        match expr {
            Expr::VectorSelector(selector) => visit(selector)?,
            Expr::MatrixSelector(matrix) => visit(&matrix.vs)?,
            Expr::Subquery(subquery) => waiting.push(&subquery.expr),
            Expr::Paren(inner) => waiting.push(&inner.expr),
            Expr::Unary(unary) => waiting.push(&unary.expr),
            Expr::Binary(binary) => waiting.extend([&*binary.rhs, &*binary.lhs]),
            Expr::Aggregate(aggregate) => {
                waiting.push(&aggregate.expr);
                waiting.extend(aggregate.param.as_deref());
            }
            Expr::Call(call) => waiting.extend(call.args.args.iter().rev().map(|argument| &**argument)),
            Expr::NumberLiteral(_) | Expr::StringLiteral(_) | Expr::Extension(_) => {}
        }
    }
    Ok(())
}

fn read(tokens: &Tokens, of: &VectorSelector) -> Result<Selected, Error> {
    let wrong = |message: &str| Error::Syntax {
        position: None,
        message: message.to_owned(),
    };
    let text = |number: &str| match number.parse().ok().and_then(|number| tokens.literal(number)) {
        Some((Literal::Text(text), _)) => Ok(text.clone()),
        _ => Err(wrong("a string was expected")),
    };
    let Matchers { matchers, or_matchers } = &of.matchers;
    if !or_matchers.is_empty() {
        return Err(wrong("unexpected \"or\" in label matching"));
    }
    let mut selected = Selected {
        metric: of.name.clone(),
        matchers: Vec::new(),
    };
    for Parsed { op, name, value } in matchers.iter().filter(|m| m.name != MARK) {
        let label = if name.starts_with(|c: char| c.is_ascii_digit()) {
            text(name)?
        } else {
            name.clone()
        };
        let value = text(value)?;
        let comparison = match op {
            MatchOp::Equal => Comparison::Equal,
            MatchOp::NotEqual => Comparison::NotEqual,
            MatchOp::Re(_) => Comparison::Matches,
            MatchOp::NotRe(_) => Comparison::MatchesNot,
        };
        if label == METRIC_NAME && comparison == Comparison::Equal && selected.metric.is_none() {
            selected.metric = Some(value);
            continue;
        }
        selected.matchers.push(Matcher {
            label,
            comparison,
            value,
        });
    }
    Ok(selected)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(query: &str) -> Vec<String> {
        selectors(query).unwrap().iter().map(ToString::to_string).collect()
    }

    #[test]
    fn every_selector_is_found_once_and_reads_as_promql_again() {
        let query = r#"
            sum(rate(http_requests_total{hash="abc",code=~"2.."}[5m])) / sum(rate(http_requests_total{hash="abc"}[5m]))
            or vector(0) unless topk(scalar(limit), max_over_time(x{a!="b\"c"}[5m:1m] offset 3m)) * on(a) group_left -y{c!~"d"}
        "#;
        let expected = [
            r#"http_requests_total{hash="abc",code=~"2.."}"#,
            r#"http_requests_total{hash="abc"}"#,
            "limit",
            r#"x{a!="b\"c"}"#,
            r#"y{c!~"d"}"#,
        ];
        let mut found = texts(query);
        found.sort();
        let mut wanted = expected.map(str::to_owned).to_vec();
        wanted.sort();
        assert_eq!(found, wanted);
        for text in &found {
            assert_eq!(&texts(text), std::slice::from_ref(text), "{text} reads as itself");
        }
    }

    #[test]
    fn a_name_among_the_conditions_is_the_name() {
        assert_eq!(texts(r#"{__name__="up",job="a"}"#), [r#"up{job="a"}"#]);
        assert_eq!(texts(r#"{__name__=~"u.",job="a"}"#), [r#"{__name__=~"u.",job="a"}"#]);
    }

    #[test]
    fn what_is_not_evaluated_is_read_all_the_same() {
        assert_eq!(
            texts(r#"histogram_fraction(0, 1, rate(h{a="b"}[5m]))"#),
            [r#"h{a="b"}"#]
        );
    }

    #[test]
    fn what_is_no_promql_is_an_error() {
        assert!(selectors("sum(rate(x[5m])").is_err());
        assert!(selectors("result[0] <").is_err());
    }
}
