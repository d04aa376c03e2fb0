//! Built-ins on arrays and maps.

use std::collections::BTreeMap;

use super::{Builtin, arg};
use crate::error::Failure;
use crate::format::kind_name;
use crate::limits::Budget;
use crate::operators as ops;
use crate::value::{Array, ArrayKind, Key, MapKind, Value};

type Result<T> = std::result::Result<T, Failure>;

/// Bytes that one element of an array takes.
const ELEMENT: u64 = 24;

pub(super) fn call(which: Builtin, args: &[Value], budget: &mut Budget) -> Result<Value> {
    use Builtin as B;
    match which {
        B::Len => len(arg(args, 0)?),
        B::Type => Ok(Value::str(type_name(arg(args, 0)?))),
        B::First => Ok(ops::fetch(arg(args, 0)?, &Value::Int(0), budget).unwrap_or(Value::Nil)),
        B::Last => Ok(ops::fetch(arg(args, 0)?, &Value::Int(-1), budget).unwrap_or(Value::Nil)),
        B::Get => ops::get(arg(args, 0)?, arg(args, 1)?),
        B::Take => take(arg(args, 0)?, arg(args, 1)?, budget),
        B::Keys | B::Values | B::ToPairs => map_parts(which, arg(args, 0)?, budget),
        B::FromPairs => from_pairs(arg(args, 0)?, budget),
        B::Reverse => {
            let mut items = items(arg(args, 0)?, "reverse", budget)?;
            items.reverse();
            budget.elements(items.len() as u64)?;
            Value::array(ArrayKind::Any, items)
        }
        B::Uniq => uniq(arg(args, 0)?, budget),
        B::Concat => concat(args, budget),
        B::Flatten => {
            let v = arg(args, 0)?;
            let items = items(v, "flatten", budget)?;
            budget.work(v.weight())?;
            budget.bytes(v.weight().saturating_mul(ELEMENT))?;
            let mut out = Vec::new();
            flatten(&items, &mut out);
            budget.elements(out.len() as u64)?;
            Value::array(ArrayKind::Any, out)
        }
        _ => sort(args, budget),
    }
}

fn count(n: usize) -> Value {
    Value::Int(i64::try_from(n).unwrap_or(i64::MAX))
}

/// Length; of a string its characters.
fn len(v: &Value) -> Result<Value> {
    Ok(match v {
        Value::Array(a) => count(a.items().len()),
        Value::Map(m) => count(m.entries().len()),
        Value::Str(s) => count(s.chars().count()),
        Value::Bytes(b) => count(b.len()),
        other => {
            return Err(Failure::new(format!(
                "invalid argument for len (type {})",
                other.type_name()
            )));
        }
    })
}

fn type_name(v: &Value) -> &'static str {
    match v {
        Value::Nil => "nil",
        Value::Bool(_) => "bool",
        Value::Int(_) | Value::Int64(_) => "int",
        Value::Uint8(_) => "uint",
        Value::Float(_) => "float",
        Value::Str(_) => "string",
        Value::Bytes(_) | Value::Array(_) => "array",
        Value::Map(_) => "map",
        Value::Time(_) => "time.Time",
        Value::Duration(_) => "time.Duration",
        Value::Month(_) => "time.Month",
        Value::Weekday(_) => "time.Weekday",
        Value::Location(_) => "time.Location",
        Value::Func(_) => "func",
    }
}

/// The elements of any array.
fn items(v: &Value, verb: &str, budget: &mut Budget) -> Result<Vec<Value>> {
    let n = match v {
        Value::Array(a) => a.items().len(),
        Value::Bytes(b) => b.len(),
        other => return Err(Failure::new(format!("cannot {verb} {}", kind_name(other)))),
    };
    budget.work(n as u64 / 8)?;
    budget.bytes(n as u64 * ELEMENT)?;
    Ok(match v {
        Value::Array(a) => a.items().to_vec(),
        Value::Bytes(b) => b.iter().map(|x| Value::Uint8(*x)).collect(),
        _ => Vec::new(),
    })
}

fn take(v: &Value, n: &Value, budget: &mut Budget) -> Result<Value> {
    let len = match v {
        Value::Array(a) => a.items().len(),
        Value::Bytes(b) => b.len(),
        other => return Err(Failure::new(format!("cannot take from {}", kind_name(other)))),
    };
    let n = match n {
        Value::Int(n) | Value::Int64(n) | Value::Duration(n) | Value::Month(n) | Value::Weekday(n) => *n,
        other => return Err(Failure::new(format!("cannot take {} elements", kind_name(other)))),
    };
    if n < 0 {
        return Err(Failure::new("reflect.Value.Slice: slice index out of bounds"));
    }
    let n = usize::try_from(n).unwrap_or(usize::MAX).min(len);
    ops::slice(v, &Value::Int(0), &count(n), budget)
}

fn map_parts(which: Builtin, v: &Value, budget: &mut Budget) -> Result<Value> {
    let Value::Map(m) = v else {
        let kind = kind_name(v);
        return Err(Failure::new(match which {
            Builtin::ToPairs => format!("cannot transform {kind} to pairs"),
            _ => format!("cannot get {} from {kind}", which.name()),
        }));
    };
    budget.work(m.entries().len() as u64)?;
    budget.bytes(m.entries().len() as u64 * 3 * ELEMENT)?;
    match which {
        Builtin::Keys => Value::array(ArrayKind::Any, m.entries().keys().map(|k| k.value().clone()).collect()),
        Builtin::Values => Value::array(ArrayKind::Any, m.entries().values().cloned().collect()),
        _ => {
            let pairs: Result<Vec<Value>> = m
                .entries()
                .iter()
                .map(|(k, v)| Value::array(ArrayKind::Pair, vec![k.value().clone(), v.clone()]))
                .collect();
            Value::array(ArrayKind::Pairs, pairs?)
        }
    }
}

/// Go's `%s` of a value that is no string.
fn misprinted(v: &Value) -> String {
    let text = crate::format::to_string(v);
    match v {
        Value::Bool(_) | Value::Int(_) | Value::Int64(_) | Value::Uint8(_) | Value::Float(_) => {
            format!("%!s({}={text})", v.type_name())
        }
        _ => text,
    }
}

fn from_pairs(v: &Value, budget: &mut Budget) -> Result<Value> {
    let pairs = match v {
        Value::Array(_) | Value::Bytes(_) => items(v, "transform", budget)?,
        Value::Nil => return Err(Failure::new("cannot transform <invalid reflect.Value> from pairs")),
        other => {
            budget.work(other.weight())?;
            return Err(Failure::new(format!(
                "cannot transform {} from pairs",
                misprinted(other)
            )));
        }
    };
    let mut entries = BTreeMap::new();
    for pair in &pairs {
        budget.work(1)?;
        budget.bytes(3 * ELEMENT)?;
        let Value::Array(p) = pair else {
            budget.work(pair.weight())?;
            return Err(Failure::new(format!("invalid pair {}", crate::format::to_string(pair))));
        };
        let [key, value] = p.items() else {
            budget.work(pair.weight())?;
            return Err(Failure::new(format!(
                "invalid pair length {}",
                crate::format::to_string(pair)
            )));
        };
        let key = Key::new(key.clone()).map_err(ops::while_running)?;
        entries.insert(key, value.clone());
    }
    Value::map(MapKind::Any, entries)
}

fn uniq(v: &Value, budget: &mut Budget) -> Result<Value> {
    let mut out: Vec<Value> = Vec::new();
    for item in items(v, "uniq", budget)? {
        let mut found = false;
        for seen in &out {
            budget.work(1)?;
            if ops::equal_within(&item, seen, budget)? {
                found = true;
                break;
            }
        }
        if !found {
            out.push(item);
        }
    }
    Value::array(ArrayKind::Any, out)
}

fn concat(args: &[Value], budget: &mut Budget) -> Result<Value> {
    let mut out = Vec::new();
    for v in args {
        out.extend(items(v, "concat", budget)?);
    }
    budget.elements(out.len() as u64)?;
    let kind = if out.is_empty() { ArrayKind::Nil } else { ArrayKind::Any };
    Value::array(kind, out)
}

fn flatten(items: &[Value], out: &mut Vec<Value>) {
    for item in items {
        match item {
            Value::Array(a) => flatten(a.items(), out),
            Value::Bytes(b) => out.extend(b.iter().map(|x| Value::Uint8(*x))),
            other => out.push(other.clone()),
        }
    }
}

fn sort(args: &[Value], budget: &mut Budget) -> Result<Value> {
    let plain = |a: &Array| !matches!(a.kind(), ArrayKind::Pairs | ArrayKind::Pair | ArrayKind::Nil);
    let array = match arg(args, 0)? {
        Value::Array(a) if plain(a) => Some(a.items().to_vec()),
        // Of anything else upstream makes a nil slice.
        _ => None,
    };
    let descending = match args.get(1) {
        None => false,
        Some(Value::Str(s)) if &**s == "asc" => false,
        Some(Value::Str(s)) if &**s == "desc" => true,
        Some(Value::Str(s)) => return Err(Failure::new(format!("invalid order {s}, expected asc or desc"))),
        Some(other) => {
            return Err(Failure::new(format!(
                "sort order argument must be a string (got {})",
                other.type_name()
            )));
        }
    };
    let Some(array) = array else {
        return Value::array(ArrayKind::Nil, Vec::new());
    };
    budget.bytes(array.len() as u64 * ELEMENT)?;
    let n = array.len() as u64;
    let sorted = sort_by(array, |v| v, descending, budget)?;
    budget.elements(n)?;
    Value::array(ArrayKind::Any, sorted)
}

/// Sorts by keys that may not be comparable. Up to twelve elements are compared in the very order in which Go compares them,
/// because the first pair that cannot be compared gives the message; beyond that the sort is a stable merge.
pub(crate) fn sort_by<T>(
    mut list: Vec<T>,
    key: impl Fn(&T) -> &Value,
    descending: bool,
    budget: &mut Budget,
) -> Result<Vec<T>> {
    let less = |a: &T, b: &T, budget: &mut Budget| -> Result<bool> {
        budget.work(2)?;
        if descending {
            ops::compare(key(b), "<", key(a))
        } else {
            ops::compare(key(a), "<", key(b))
        }
    };
    if list.len() <= 12 {
        for i in 1..list.len() {
            let mut j = i;
            while j > 0 && less(&list[j], &list[j - 1], budget)? {
                list.swap(j, j - 1);
                j -= 1;
            }
        }
        return Ok(list);
    }
    let mut runs: Vec<Vec<T>> = list.into_iter().map(|x| vec![x]).collect();
    while runs.len() > 1 {
        let mut merged = Vec::with_capacity(runs.len() / 2 + 1);
        let mut rest = runs.into_iter();
        while let Some(a) = rest.next() {
            match rest.next() {
                None => merged.push(a),
                Some(b) => merged.push(merge(a, b, |x, y| less(x, y, budget))?),
            }
        }
        runs = merged;
    }
    Ok(runs.pop().unwrap_or_default())
}

fn merge<T>(a: Vec<T>, b: Vec<T>, mut less: impl FnMut(&T, &T) -> Result<bool>) -> Result<Vec<T>> {
    let mut out = Vec::with_capacity(a.len() + b.len());
    let (mut a, mut b) = (a.into_iter().peekable(), b.into_iter().peekable());
    while let (Some(x), Some(y)) = (a.peek(), b.peek()) {
        let from = if less(y, x)? { &mut b } else { &mut a };
        out.extend(from.next());
    }
    out.extend(a);
    out.extend(b);
    Ok(out)
}
