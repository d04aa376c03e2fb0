//! Methods of times, durations, months, weekdays and zones, as far as they return something a condition can use.

use std::sync::Arc;

use chrono::{Datelike, Timelike, Utc};

use crate::error::Failure;
use crate::layout;
use crate::moment::{Moment, SECOND, Zone, duration_string, month_name, nanoseconds, weekday_name};
use crate::operators::assertion;
use crate::types::{Signature, Type};
use crate::value::Value;

/// Parameters, number of results, type of the first result.
type Shape = (&'static [Type], usize, Type);

fn shape(receiver: &Type, name: &str) -> Option<Shape> {
    use Type::{Bool, Duration, Float, Int, Int64, Month, Str, Time, Weekday};
    Some(match (receiver, name) {
        (Time, "Year" | "Day" | "Hour" | "Minute" | "Second" | "Nanosecond" | "YearDay") => (&[], 1, Int),
        (Time, "Month") => (&[], 1, Month),
        (Time, "Weekday") => (&[], 1, Weekday),
        (Time, "Unix" | "UnixMilli" | "UnixMicro" | "UnixNano") => (&[], 1, Int64),
        (Time, "String" | "GoString") => (&[], 1, Str),
        (Time, "Format") => (&[Str], 1, Str),
        (Time, "Add" | "Truncate" | "Round") => (&[Duration], 1, Time),
        (Time, "Sub") => (&[Time], 1, Duration),
        (Time, "AddDate") => (&[Int, Int, Int], 1, Time),
        (Time, "After" | "Before" | "Equal") => (&[Time], 1, Bool),
        (Time, "Compare") => (&[Time], 1, Int),
        (Time, "IsZero" | "IsDST") => (&[], 1, Bool),
        (Time, "UTC" | "Local") => (&[], 1, Time),
        (Time, "In") => (&[Type::Location], 1, Time),
        (Time, "Location") => (&[], 1, Type::Location),
        (Time, "ISOWeek") => (&[], 2, Int),
        (Time, "Zone") => (&[], 2, Str),
        (Time, "Clock") => (&[], 3, Int),
        (Time, "Date") => (&[], 3, Int),
        (Duration, "Hours" | "Minutes" | "Seconds") => (&[], 1, Float),
        (Duration, "Milliseconds" | "Microseconds" | "Nanoseconds") => (&[], 1, Int64),
        (Duration, "Abs") => (&[], 1, Duration),
        (Duration, "Round" | "Truncate") => (&[Duration], 1, Duration),
        (Duration | Month | Weekday | Type::Location, "String") => (&[], 1, Str),
        _ => return None,
    })
}

fn named(params: &[Type], results: usize, result: Type, receiver: Option<&Type>) -> Signature {
    let all: Vec<Type> = receiver.into_iter().chain(params).cloned().collect();
    let mut s = Signature::new(&all, result);
    s.params = params.to_vec();
    s.results = results;
    s
}

/// Type of a method as the checker knows it: with its receiver.
pub(crate) fn signature(receiver: &Type, name: &str) -> Option<Signature> {
    shape(receiver, name).map(|(params, results, result)| named(params, results, result, Some(receiver)))
}

/// Type of a method bound to its receiver.
pub(crate) fn value_signature(receiver: &Type, name: &str) -> Option<Signature> {
    shape(receiver, name).map(|(params, results, result)| named(params, results, result, None))
}

/// Calls a method; the arguments have been checked.
pub(crate) fn call(receiver: &Value, name: &str, args: &[Value]) -> Result<Value, Failure> {
    match receiver {
        Value::Time(t) => on_time(t, name, args),
        Value::Duration(d) => on_duration(*d, name, args),
        Value::Month(m) => Ok(Value::str(month_name(*m))),
        Value::Weekday(d) => Ok(Value::str(weekday_name(*d))),
        Value::Location(z) => Ok(Value::str(z.name())),
        other => Err(Failure::new(format!("cannot fetch {name} from {}", other.type_name()))),
    }
}

fn time(args: &[Value]) -> Result<&Moment, Failure> {
    match args.first() {
        Some(Value::Time(t)) => Ok(t),
        other => Err(assertion(other.unwrap_or(&Value::Nil), "time.Time")),
    }
}

fn duration(args: &[Value]) -> Result<i64, Failure> {
    match args.first() {
        Some(Value::Duration(d)) => Ok(*d),
        other => Err(assertion(other.unwrap_or(&Value::Nil), "time.Duration")),
    }
}

fn at(t: Moment) -> Value {
    Value::Time(Arc::new(t))
}

fn on_time(t: &Moment, name: &str, args: &[Value]) -> Result<Value, Failure> {
    let local = t.local();
    let int = |n: u32| Value::Int(i64::from(n));
    let order = |o: std::cmp::Ordering| Value::Int(o as i64);
    Ok(match name {
        "Year" => Value::Int(i64::from(local.year())),
        "Month" => Value::Month(i64::from(local.month())),
        "Day" => int(local.day()),
        "Hour" => int(local.hour()),
        "Minute" => int(local.minute()),
        "Second" => int(local.second()),
        "Nanosecond" => int(nanoseconds(&local)),
        "YearDay" => int(local.ordinal()),
        "Weekday" => Value::Weekday(i64::from(local.weekday().num_days_from_sunday())),
        "ISOWeek" => Value::Int(i64::from(local.iso_week().year())),
        "Unix" => Value::Int64(t.utc().timestamp()),
        "UnixMilli" => Value::Int64(t.utc().timestamp_millis()),
        "UnixMicro" => Value::Int64(t.utc().timestamp_micros()),
        "UnixNano" => {
            let (s, n) = (t.utc().timestamp(), i64::from(t.utc().timestamp_subsec_nanos()));
            Value::Int64(s.wrapping_mul(SECOND).wrapping_add(n))
        }
        "String" | "GoString" => Value::str(t.to_go_string()),
        "Zone" => Value::str(t.abbreviation()),
        "Format" => match args.first() {
            Some(Value::Str(l)) if l.len() <= 4096 => Value::str(layout::format(t, l)),
            Some(Value::Str(_)) => return Err(Failure::new("memory budget exceeded")),
            other => return Err(assertion(other.unwrap_or(&Value::Nil), "string")),
        },
        "Add" => at(t.add(duration(args)?)),
        "Truncate" => at(t.round(duration(args)?, false)),
        "Round" => at(t.round(duration(args)?, true)),
        "Sub" => Value::Duration(t.since(time(args)?)),
        "AddDate" => {
            let n = |i: usize| args.get(i).and_then(Value::integer).unwrap_or(0);
            at(t.add_date(n(0), n(1), n(2)))
        }
        "After" => Value::Bool(t.utc() > time(args)?.utc()),
        "Before" => Value::Bool(t.utc() < time(args)?.utc()),
        "Equal" => Value::Bool(t.utc() == time(args)?.utc()),
        "Compare" => order(t.utc().cmp(&time(args)?.utc())),
        "IsZero" => Value::Bool(t.is_zero()),
        "IsDST" => Value::Bool(is_dst(t)),
        "UTC" => at(t.in_zone(Arc::new(Zone::utc()))),
        "Local" => at(t.in_zone(Arc::new(Zone::load("Local")?))),
        "In" => match args.first() {
            Some(Value::Location(z)) => at(t.in_zone(Arc::clone(z))),
            _ => return Err(Failure::new("time: missing Location in call to Time.In")),
        },
        "Location" => Value::Location(Arc::clone(t.zone())),
        _ => return Err(Failure::new(format!("cannot fetch {name} from time.Time"))),
    })
}

/// Whether the offset is greater than the smaller one of that year's January and July.
fn is_dst(t: &Moment) -> bool {
    let year = t.local().year();
    let offset_in = |month: u32| {
        let day = chrono::NaiveDate::from_ymd_opt(year, month, 1)
            .unwrap_or_default()
            .and_hms_opt(0, 0, 0)
            .unwrap_or_default();
        t.zone()
            .at(chrono::DateTime::<Utc>::from_naive_utc_and_offset(day, Utc))
            .0
    };
    t.offset() > offset_in(1).min(offset_in(7))
}

fn on_duration(d: i64, name: &str, args: &[Value]) -> Result<Value, Failure> {
    // As Go does it: the whole part and the rest apart, so that both keep their precision.
    #[expect(clippy::cast_precision_loss, reason = "as Go converts")]
    let float = |unit: i64| Value::Float((d / unit) as f64 + (d % unit) as f64 / unit as f64);
    Ok(match name {
        "Hours" => float(3600 * SECOND),
        "Minutes" => float(60 * SECOND),
        "Seconds" => float(SECOND),
        "Milliseconds" => Value::Int64(d / 1_000_000),
        "Microseconds" => Value::Int64(d / 1_000),
        "Nanoseconds" => Value::Int64(d),
        "Abs" => Value::Duration(d.saturating_abs()),
        "Truncate" | "Round" => {
            let unit = duration(args)?;
            if unit <= 0 {
                return Ok(Value::Duration(d));
            }
            let rest = d % unit;
            let down = d - rest;
            let up = name == "Round" && rest.unsigned_abs().saturating_mul(2) >= unit.unsigned_abs();
            let step = if d < 0 { -unit } else { unit };
            Value::Duration(if up {
                down.checked_add(step)
                    .unwrap_or(if d < 0 { i64::MIN } else { i64::MAX })
            } else {
                down
            })
        }
        "String" => Value::str(duration_string(d)),
        _ => return Err(Failure::new(format!("cannot fetch {name} from time.Duration"))),
    })
}
