//! `label_replace` and `label_join`.

use super::{Element, Result};
use crate::error::EvalError;
use crate::plan::{LabelJoin, LabelReplace};
use crate::query::Dialect;

/// Bytes of a label's value that a query may make. Joins of joins double it each time.
const LONGEST: usize = 16 * 1024;

pub(super) fn replace(how: &LabelReplace, mut elements: Vec<Element>, dialect: Dialect) -> Result<Vec<Element>> {
    check_name(&how.target, "label_replace", dialect)?;
    for element in &mut elements {
        if let Some(made) = how.pattern.expand(element.labels.get(&how.source), &how.template) {
            check_length(made.len(), "label_replace")?;
            element.labels = element.labels.with(&how.target, &made);
        }
    }
    Ok(elements)
}

pub(super) fn join(how: &LabelJoin, mut elements: Vec<Element>, dialect: Dialect) -> Result<Vec<Element>> {
    check_name(&how.target, "label_join", dialect)?;
    for source in &how.sources {
        check_name(source, "label_join", dialect)?;
    }
    for element in &mut elements {
        let values: Vec<&str> = how.sources.iter().map(|source| element.labels.get(source)).collect();
        let separators = how.separator.len() * how.sources.len().saturating_sub(1);
        check_length(values.iter().map(|v| v.len()).sum::<usize>() + separators, "label_join")?;
        element.labels = element.labels.with(&how.target, &values.join(&how.separator));
    }
    Ok(elements)
}

fn check_length(length: usize, function: &'static str) -> Result<()> {
    if length > LONGEST {
        return Err(EvalError::LongLabel {
            function,
            length,
            limit: LONGEST,
        });
    }
    Ok(())
}

/// Prometheus 3 takes every name that is not empty.
pub(super) fn check_name(name: &str, function: &'static str, dialect: Dialect) -> Result<()> {
    let plain =
        name.chars().all(|c| c == '_' || c.is_ascii_alphanumeric()) && !name.starts_with(|c: char| c.is_ascii_digit());
    if name.is_empty() || (dialect == Dialect::V2 && !plain) {
        return Err(EvalError::LabelName {
            name: name.to_owned(),
            function,
        });
    }
    Ok(())
}
