//! `now`, `duration`, `date` and `timezone`.

use std::sync::Arc;

use chrono::{DateTime, Utc};

use super::{Builtin, arg};
use crate::error::Failure;
use crate::layout;
use crate::limits::Budget;
use crate::moment::{Moment, Zone, parse_duration};
use crate::operators::assertion;
use crate::value::Value;

/// What `date` tries when no layout is given.
const LAYOUTS: [&str; 7] = [
    "2006-01-02",
    "15:04:05",
    "2006-01-02 15:04:05",
    "2006-01-02T15:04:05Z07:00",
    "02 Jan 06 15:04 MST",
    "Monday, 02-Jan-06 15:04:05 MST",
    "Mon, 02 Jan 2006 15:04:05 MST",
];

fn text(args: &[Value], i: usize) -> Result<&str, Failure> {
    match arg(args, i)? {
        Value::Str(s) if s.len() > 4096 => Err(Failure::new("memory budget exceeded")),
        Value::Str(s) => Ok(s),
        other => Err(assertion(other, "string")),
    }
}

pub(super) fn call(which: Builtin, args: &[Value], now: DateTime<Utc>, budget: &mut Budget) -> Result<Value, Failure> {
    budget.work(100)?;
    match which {
        Builtin::Now => match args {
            [Value::Location(z)] => Ok(Value::Time(Arc::new(Moment::new(now).in_zone(Arc::clone(z))))),
            [] => Ok(Value::Time(Arc::new(Moment::new(now)))),
            _ => Err(Failure::new(format!(
                "invalid number of arguments (expected 0, got {})",
                args.len()
            ))),
        },
        Builtin::Duration => Ok(Value::Duration(parse_duration(text(args, 0)?)?)),
        Builtin::Timezone => Ok(Value::Location(Arc::new(Zone::load(text(args, 0)?)?))),
        _ => date(args).map(|t| Value::Time(Arc::new(t))),
    }
}

fn date(args: &[Value]) -> Result<Moment, Failure> {
    let (zone, args) = match args {
        [Value::Location(z), rest @ ..] => (Some(z), rest),
        _ => (None, args),
    };
    let value = text(args, 0)?;
    match args.len() {
        2 => layout::parse(text(args, 1)?, value, zone),
        3 => {
            let zone = Arc::new(Zone::load(text(args, 2)?)?);
            layout::parse(text(args, 1)?, value, Some(&zone))
        }
        _ => LAYOUTS
            .iter()
            .find_map(|l| layout::parse(l, value, zone).ok())
            .ok_or_else(|| Failure::new(format!("invalid date {value}"))),
    }
}
