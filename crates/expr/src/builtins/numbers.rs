//! Built-ins on numbers.

use super::{Builtin, arg};
use crate::error::Failure;
use crate::format;
use crate::limits::Budget;
use crate::operators as ops;
use crate::value::Value;

type Result<T> = std::result::Result<T, Failure>;

pub(super) fn call(which: Builtin, args: &[Value], budget: &mut Budget) -> Result<Value> {
    use Builtin as B;
    match which {
        B::Abs => abs(arg(args, 0)?),
        B::Ceil => round("ceil", arg(args, 0)?, f64::ceil),
        B::Floor => round("floor", arg(args, 0)?, f64::floor),
        B::Round => round("round", arg(args, 0)?, f64::round),
        B::Int => int(arg(args, 0)?),
        B::Float => float(arg(args, 0)?),
        B::Max | B::Min => {
            for v in args {
                budget.work(v.weight())?;
            }
            let worse = if which == B::Max { "<" } else { ">" };
            extreme(which.name(), worse, args)
        }
        B::Mean | B::Median => statistic(which, args, budget),
        _ => bits(which, args),
    }
}

fn invalid<T>(name: &str, v: &Value) -> Result<T> {
    Err(Failure::new(format!(
        "invalid argument for {name} (type {})",
        v.type_name()
    )))
}

fn abs(v: &Value) -> Result<Value> {
    match v {
        Value::Float(f) => Ok(Value::Float(if *f < 0.0 { -f } else { *f })),
        Value::Int(n) => Ok(Value::Int(n.wrapping_abs())),
        Value::Int64(n) => Ok(Value::Int64(n.wrapping_abs())),
        Value::Uint8(n) => Ok(Value::Uint8(*n)),
        other => invalid("abs", other),
    }
}

fn round(name: &str, v: &Value, f: fn(f64) -> f64) -> Result<Value> {
    match v {
        Value::Float(x) => Ok(Value::Float(f(*x))),
        other => other
            .number()
            .map_or_else(|| invalid(name, other), |x| Ok(Value::Float(x))),
    }
}

fn int(v: &Value) -> Result<Value> {
    match v {
        Value::Str(s) => format::parse_int(s)
            .map(Value::Int)
            .map_err(|_| Failure::new(format!("invalid operation: int({s})"))),
        Value::Duration(n) | Value::Month(n) | Value::Weekday(n) => Ok(Value::Int(*n)),
        Value::Nil => Err(Failure::new("reflect: call of reflect.Value.Type on zero Value")),
        other => ops::to_int(other).map(Value::Int),
    }
}

fn float(v: &Value) -> Result<Value> {
    match v {
        Value::Str(s) => format::parse_float(s)
            .map(Value::Float)
            .map_err(|_| Failure::new(format!("invalid operation: float({s})"))),
        other => other
            .number()
            .map(Value::Float)
            .ok_or_else(|| Failure::new(format!("invalid operation: float({})", other.type_name()))),
    }
}

/// `max` and `min` over numbers and nested arrays; `worse` tells whether the best so far gives way.
fn extreme(name: &str, worse: &'static str, args: &[Value]) -> Result<Value> {
    let mut best = Value::Nil;
    let better =
        |best: &Value, v: &Value| -> Result<bool> { Ok(matches!(best, Value::Nil) || ops::compare(best, worse, v)?) };
    for v in args {
        match v {
            Value::Array(a) => {
                let inner = nested_extreme(name, worse, a.items())?;
                if !matches!(inner, Value::Nil) && better(&best, &inner)? {
                    best = inner;
                }
            }
            Value::Bytes(b) => {
                for x in b.iter() {
                    let x = Value::Uint8(*x);
                    if better(&best, &x)? {
                        best = x;
                    }
                }
            }
            v if v.number().is_some() => {
                if better(&best, v)? {
                    best = v.clone();
                }
            }
            // Go orders a duration like any other number of its kind.
            Value::Duration(_) | Value::Month(_) | Value::Weekday(_) => {
                if better(&best, v)? {
                    best = v.clone();
                }
            }
            v if args.len() == 1 => return Ok(v.clone()),
            v => return invalid(name, v),
        }
    }
    Ok(best)
}

fn nested_extreme(name: &str, worse: &'static str, items: &[Value]) -> Result<Value> {
    let mut best = Value::Nil;
    for item in items {
        let v = match item {
            Value::Array(a) => nested_extreme(name, worse, a.items())?,
            v if v.number().is_some() => v.clone(),
            v => return invalid(name, v),
        };
        if !matches!(v, Value::Nil) && (matches!(best, Value::Nil) || ops::compare(&best, worse, &v)?) {
            best = v;
        }
    }
    Ok(best)
}

fn statistic(which: Builtin, args: &[Value], budget: &mut Budget) -> Result<Value> {
    let mut numbers = Vec::new();
    for v in args {
        budget.work(v.weight())?;
        budget.bytes(v.weight().saturating_mul(8))?;
        collect(which.name(), v, &mut numbers)?;
    }
    if numbers.is_empty() {
        return Ok(Value::Float(0.0));
    }
    #[expect(clippy::cast_precision_loss, reason = "a budget limits the count")]
    if which == Builtin::Mean {
        return Ok(Value::Float(sum_nested(args) / numbers.len() as f64));
    }
    // Go's order: NaN before everything else.
    numbers.sort_by(|a, b| a.partial_cmp(b).unwrap_or_else(|| b.is_nan().cmp(&a.is_nan())));
    let half = numbers.len() / 2;
    Ok(Value::Float(if numbers.len() % 2 == 1 {
        numbers[half]
    } else {
        (numbers[half - 1] + numbers[half]) / 2.0
    }))
}

fn collect(name: &str, v: &Value, out: &mut Vec<f64>) -> Result<()> {
    match v {
        Value::Array(a) => a.items().iter().try_for_each(|x| collect(name, x, out)),
        Value::Bytes(b) => {
            out.extend(b.iter().map(|x| f64::from(*x)));
            Ok(())
        }
        #[expect(clippy::cast_precision_loss, reason = "as Go converts")]
        Value::Duration(n) | Value::Month(n) | Value::Weekday(n) => {
            out.push(*n as f64);
            Ok(())
        }
        other => {
            out.push(other.number().map_or_else(|| invalid(name, other), Ok)?);
            Ok(())
        }
    }
}

/// The sum with nested arrays added up first, as upstream adds: floats round differently in another order.
fn sum_nested(items: &[Value]) -> f64 {
    items.iter().fold(0.0, |total, v| {
        total
            + match v {
                Value::Array(a) => sum_nested(a.items()),
                Value::Bytes(b) => b.iter().map(|x| f64::from(*x)).sum(),
                #[expect(clippy::cast_precision_loss, reason = "as Go converts")]
                Value::Duration(n) | Value::Month(n) | Value::Weekday(n) => *n as f64,
                other => other.number().unwrap_or(0.0),
            }
    })
}

fn bits(which: Builtin, args: &[Value]) -> Result<Value> {
    use Builtin as B;
    let operand = |i: usize| -> Result<i64> {
        let v = arg(args, i)?;
        let failure = || {
            Failure::new(format!(
                "cannot use {} as argument (type int) to call {}",
                v.type_name(),
                which.name()
            ))
        };
        v.integer().ok_or_else(failure)
    };
    let x = operand(0)?;
    if which == B::BitNot {
        return Ok(Value::Int(!x));
    }
    let y = operand(1)?;
    if matches!(which, B::BitShl | B::BitShr | B::BitUshr) && y < 0 {
        return Err(Failure::new(format!(
            "invalid operation: negative shift count {y} (type int)"
        )));
    }
    let shift = u32::try_from(y).unwrap_or(u32::MAX);
    Ok(Value::Int(match which {
        B::BitAnd => x & y,
        B::BitOr => x | y,
        B::BitXor => x ^ y,
        B::BitNand => x & !y,
        B::BitShl => x.checked_shl(shift).unwrap_or(0),
        B::BitShr => x >> shift.min(63),
        _ => x.cast_unsigned().checked_shr(shift).unwrap_or(0).cast_signed(),
    }))
}
