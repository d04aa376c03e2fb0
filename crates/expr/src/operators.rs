//! What operators and indexing do with values, with upstream's messages.

use std::cmp::Ordering;

use crate::error::Failure;
use crate::functions::Function;
use crate::limits::Budget;
use crate::methods;
use crate::value::{Array, ArrayKind, Key, Map, MapKind, Value};
use std::sync::Arc;

type Result<T> = std::result::Result<T, Failure>;

/// Go's conversion of a float64 to an integer on amd64: out of range and NaN give the smallest number.
pub(crate) fn truncate(f: f64) -> i64 {
    const LIMIT: f64 = 9_223_372_036_854_775_808.0;
    #[expect(clippy::cast_possible_truncation, reason = "in range")]
    if (-LIMIT..LIMIT).contains(&f) {
        f as i64
    } else {
        i64::MIN
    }
}

/// A value where an int is needed.
pub(crate) fn to_int(v: &Value) -> Result<i64> {
    match v {
        Value::Float(f) => Ok(truncate(*f)),
        other => other
            .integer()
            .ok_or_else(|| Failure::new(format!("invalid operation: int({})", other.type_name()))),
    }
}

fn to_float(v: &Value) -> Result<f64> {
    v.number()
        .ok_or_else(|| Failure::new(format!("invalid operation: float({})", v.type_name())))
}

/// A value where a bool must be, as Go's type assertion has it.
pub(crate) fn to_bool(v: &Value) -> Result<bool> {
    match v {
        Value::Bool(b) => Ok(*b),
        other => Err(assertion(other, "bool")),
    }
}

/// The failure of a Go type assertion.
pub(crate) fn assertion(v: &Value, want: &str) -> Failure {
    let got = match v {
        Value::Nil => "nil".into(),
        other => other.type_name(),
    };
    Failure::new(format!("interface conversion: interface {{}} is {got}, not {want}"))
}

fn mismatch(a: &Value, op: &str, b: &Value) -> Failure {
    Failure::new(format!("invalid operation: {} {op} {}", a.type_name(), b.type_name()))
}

/// Whether two values are equal; numbers by their value, arrays by their elements, everything else only within one type.
pub(crate) fn equal(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Str(x), Value::Str(y)) => x == y,
        (Value::Bool(x), Value::Bool(y)) => x == y,
        (Value::Time(x), Value::Time(y)) => x.utc() == y.utc(),
        (Value::Duration(x), Value::Duration(y))
        | (Value::Month(x), Value::Month(y))
        | (Value::Weekday(x), Value::Weekday(y)) => x == y,
        (Value::Location(x), Value::Location(y)) => x.name() == y.name(),
        (Value::Bytes(x), Value::Bytes(y)) => x == y,
        (Value::Bytes(x), Value::Array(y)) | (Value::Array(y), Value::Bytes(x)) => {
            matches!(y.kind(), ArrayKind::Any | ArrayKind::Nil)
                && x.len() == y.items().len()
                && x.iter().zip(y.items()).all(|(p, q)| equal(&Value::Uint8(*p), q))
        }
        (Value::Array(x), Value::Array(y)) => equal_arrays(x, y),
        (Value::Map(x), Value::Map(y)) => Arc::ptr_eq(x, y) || equal_maps(x, y),
        _ => match (a.integer(), b.integer()) {
            (Some(x), Some(y)) => x == y,
            #[expect(clippy::float_cmp, reason = "as Go compares")]
            _ => match (a.number(), b.number()) {
                (Some(x), Some(y)) => x == y,
                _ => a.is_nil() && b.is_nil(),
            },
        },
    }
}

fn equal_arrays(x: &Array, y: &Array) -> bool {
    use ArrayKind::{Any, Nil};
    let mixed = matches!(x.kind(), Any | Nil) || matches!(y.kind(), Any | Nil);
    if !mixed && x.kind() != y.kind() {
        return false;
    }
    // Go compares `[]interface {}` with the plain slices, but with nothing else.
    let plain = |k: ArrayKind| !matches!(k, ArrayKind::Pairs | ArrayKind::Pair);
    if mixed && !(plain(x.kind()) && plain(y.kind())) {
        return false;
    }
    x.items().len() == y.items().len() && x.items().iter().zip(y.items()).all(|(p, q)| equal(p, q))
}

/// As Go's `reflect.DeepEqual`: here an int never equals a float.
fn equal_maps(x: &Map, y: &Map) -> bool {
    x.kind() == y.kind()
        && x.entries().len() == y.entries().len()
        && x.entries()
            .iter()
            .zip(y.entries())
            .all(|((k, v), (l, w))| k == l && deep_equal(v, w))
}

fn deep_equal(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Nil, Value::Nil) => true,
        // The very same one is equal, whatever it holds.
        (Value::Array(x), Value::Array(y)) if Arc::ptr_eq(x, y) => true,
        (Value::Map(x), Value::Map(y)) if Arc::ptr_eq(x, y) => true,
        (Value::Array(x), Value::Array(y)) => {
            x.kind() == y.kind()
                && x.items().len() == y.items().len()
                && x.items().iter().zip(y.items()).all(|(p, q)| deep_equal(p, q))
        }
        (Value::Map(x), Value::Map(y)) => equal_maps(x, y),
        // Functions are never equal.
        (Value::Func(_), _) => false,
        _ => std::mem::discriminant(a) == std::mem::discriminant(b) && equal(a, b),
    }
}

/// `==` within the budget.
pub(crate) fn equal_within(a: &Value, b: &Value, budget: &mut Budget) -> Result<bool> {
    budget.work(a.weight().min(b.weight()))?;
    Ok(equal(a, b))
}

/// Order of two values by `op` (`<`, `>`, `<=`, `>=`).
pub(crate) fn compare(a: &Value, op: &'static str, b: &Value) -> Result<bool> {
    let order = match (a, b) {
        (Value::Str(x), Value::Str(y)) => Some(x.cmp(y)),
        (Value::Time(x), Value::Time(y)) => Some(x.utc().cmp(&y.utc())),
        (Value::Duration(x), Value::Duration(y)) => Some(x.cmp(y)),
        _ => match (a.integer(), b.integer()) {
            (Some(x), Some(y)) => Some(x.cmp(&y)),
            _ => match (a.number(), b.number()) {
                // NaN has no order: every comparison with it is false.
                (Some(x), Some(y)) => x.partial_cmp(&y),
                _ => return Err(mismatch(a, op, b)),
            },
        },
    };
    Ok(order.is_some_and(|o| match op {
        "<" => o == Ordering::Less,
        ">" => o == Ordering::Greater,
        "<=" => o != Ordering::Greater,
        _ => o != Ordering::Less,
    }))
}

/// `a + b`
pub(crate) fn add(a: &Value, b: &Value, budget: &mut Budget) -> Result<Value> {
    match (a, b) {
        (Value::Str(x), Value::Str(y)) => {
            budget.bytes((x.len() + y.len()) as u64)?;
            Ok(Value::str(format!("{x}{y}")))
        }
        (Value::Time(t), Value::Duration(d)) | (Value::Duration(d), Value::Time(t)) => {
            Ok(Value::Time(Arc::new(t.add(*d))))
        }
        (Value::Duration(x), Value::Duration(y)) => Ok(Value::Duration(x.wrapping_add(*y))),
        _ => numbers(a, "+", b, i64::wrapping_add, |x, y| x + y),
    }
}

/// `a - b`
pub(crate) fn subtract(a: &Value, b: &Value) -> Result<Value> {
    match (a, b) {
        (Value::Time(x), Value::Time(y)) => Ok(Value::Duration(x.since(y))),
        (Value::Time(t), Value::Duration(d)) => Ok(Value::Time(Arc::new(t.add(d.wrapping_neg())))),
        (Value::Duration(x), Value::Duration(y)) => Ok(Value::Duration(x.wrapping_sub(*y))),
        _ => numbers(a, "-", b, i64::wrapping_sub, |x, y| x - y),
    }
}

/// `a * b`
pub(crate) fn multiply(a: &Value, b: &Value) -> Result<Value> {
    match (a, b) {
        (Value::Duration(x), Value::Duration(y)) => Ok(Value::Duration(x.wrapping_mul(*y))),
        #[expect(clippy::cast_precision_loss, reason = "as Go converts")]
        (Value::Duration(d), Value::Float(f)) | (Value::Float(f), Value::Duration(d)) => {
            Ok(Value::Float(*d as f64 * f))
        }
        (Value::Duration(d), n) | (n, Value::Duration(d)) => match n.integer() {
            Some(n) => Ok(Value::Duration(d.wrapping_mul(n))),
            None => Err(mismatch(a, "*", b)),
        },
        _ => numbers(a, "*", b, i64::wrapping_mul, |x, y| x * y),
    }
}

fn numbers(a: &Value, op: &str, b: &Value, ints: fn(i64, i64) -> i64, floats: fn(f64, f64) -> f64) -> Result<Value> {
    match (a.integer(), b.integer()) {
        (Some(x), Some(y)) => Ok(Value::Int(ints(x, y))),
        _ => match (a.number(), b.number()) {
            (Some(x), Some(y)) => Ok(Value::Float(floats(x, y))),
            _ => Err(mismatch(a, op, b)),
        },
    }
}

/// `a / b`, always a float.
pub(crate) fn divide(a: &Value, b: &Value) -> Result<Value> {
    match (a.number(), b.number()) {
        (Some(x), Some(y)) => Ok(Value::Float(x / y)),
        _ => Err(mismatch(a, "/", b)),
    }
}

/// `a % b` of integers.
pub(crate) fn modulo(a: &Value, b: &Value) -> Result<Value> {
    match (a.integer(), b.integer()) {
        (Some(_), Some(0)) => Err(Failure::new("runtime error: integer divide by zero")),
        (Some(x), Some(y)) => Ok(Value::Int(x.wrapping_rem(y))),
        _ => Err(mismatch(a, "%", b)),
    }
}

/// `a ** b`
pub(crate) fn power(a: &Value, b: &Value) -> Result<Value> {
    Ok(Value::Float(pow(to_float(a)?, to_float(b)?)))
}

/// Go's `math.Pow`, digit by digit: the whole part of the exponent by squaring, only the fraction by logarithm.
/// The library function of Rust rounds better, and so differently: `0.5 ** -0.5` would differ in the last digit.
pub(crate) fn pow(x: f64, y: f64) -> f64 {
    let special = y == 0.0 || x == 1.0 || y.abs() == 0.5 && x >= 0.0 || x == 0.0 || !x.is_finite() || !y.is_finite();
    if special && y.abs() != 0.5 {
        return x.powf(y);
    }
    if y.abs() == 0.5 && x.is_finite() && x > 0.0 {
        return if y > 0.0 { x.sqrt() } else { 1.0 / x.sqrt() };
    }
    if special || x < 0.0 && y.fract() != 0.0 {
        return x.powf(y);
    }
    let (mut whole, mut fraction) = (y.abs().trunc(), y.abs().fract());
    if whole >= 9.223_372_036_854_776e18 {
        return x.powf(y);
    }
    let mut mantissa = 1.0;
    let mut exponent = 0i64;
    if fraction != 0.0 {
        if fraction > 0.5 {
            fraction -= 1.0;
            whole += 1.0;
        }
        mantissa = (fraction * x.ln()).exp();
    }
    let (mut square, mut square_exponent) = split(x);
    let mut left = truncate(whole);
    while left != 0 {
        if square_exponent.abs() > 1 << 12 {
            // Overflow or underflow for certain.
            exponent += square_exponent;
            break;
        }
        if left & 1 == 1 {
            mantissa *= square;
            exponent += square_exponent;
        }
        square *= square;
        square_exponent *= 2;
        if square < 0.5 {
            square += square;
            square_exponent -= 1;
        }
        left >>= 1;
    }
    if y < 0.0 {
        mantissa = 1.0 / mantissa;
        exponent = -exponent;
    }
    scale(mantissa, exponent)
}

/// A finite number as a mantissa in [0.5, 1) and a power of two.
fn split(x: f64) -> (f64, i64) {
    if x == 0.0 {
        return (x, 0);
    }
    // Subnormal numbers are lifted first.
    let (x, lift) = if x.abs() < f64::MIN_POSITIVE {
        (x * 2f64.powi(52), -52)
    } else {
        (x, 0)
    };
    let bits = x.to_bits();
    let exponent = (bits >> 52 & 0x7ff).cast_signed() - 1022;
    (f64::from_bits(bits & !(0x7ff << 52) | 1022 << 52), exponent + lift)
}

/// `m * 2^e` with a single rounding at the end.
fn scale(m: f64, e: i64) -> f64 {
    let (m, own) = split(m);
    let e = e.saturating_add(own);
    if m == 0.0 || !m.is_finite() {
        return m;
    }
    match e {
        1025.. => m.signum() * f64::INFINITY,
        -1021..=1024 => m * 2.0 * 2f64.powi(i32::try_from(e - 1).unwrap_or(0)),
        -1080..=-1022 => m * 2f64.powi(-1000) * 2f64.powi(i32::try_from(e + 1000).unwrap_or(0)),
        _ => m.signum() * 0.0,
    }
}

/// `-a`
pub(crate) fn negate(v: &Value) -> Result<Value> {
    match v {
        Value::Int(n) => Ok(Value::Int(n.wrapping_neg())),
        Value::Int64(n) => Ok(Value::Int64(n.wrapping_neg())),
        Value::Uint8(n) => Ok(Value::Uint8(n.wrapping_neg())),
        Value::Float(f) => Ok(Value::Float(-f)),
        other => Err(Failure::new(format!("invalid operation: - {}", other.type_name()))),
    }
}

/// `a in b`
pub(crate) fn contains(needle: &Value, haystack: &Value, budget: &mut Budget) -> Result<bool> {
    match haystack {
        Value::Nil => Ok(false),
        Value::Array(a) => {
            for item in a.items() {
                budget.work(1)?;
                if equal_within(item, needle, budget)? {
                    return Ok(true);
                }
            }
            Ok(false)
        }
        Value::Bytes(b) => Ok(b.iter().any(|x| equal(&Value::Uint8(*x), needle))),
        Value::Map(m) => Ok(map_index(m, needle)?.is_some()),
        Value::Time(_) => match needle {
            Value::Str(_) => Ok(false),
            other => Err(Failure::new(format!(
                "cannot use {} as field name of time.Time",
                other.type_name()
            ))),
        },
        Value::Location(_) => match needle {
            Value::Str(_) => Ok(false),
            other => Err(Failure::new(format!(
                "cannot use {} as field name of time.Location",
                other.type_name()
            ))),
        },
        other => Err(Failure::new(format!(
            "operator \"in\" not defined on {}",
            other.type_name()
        ))),
    }
}

/// Go words an unhashable key in two ways; this is the one of a look-up.
pub(crate) fn while_running(f: Failure) -> Failure {
    let text = f.0.strip_prefix("hash of unhashable type:");
    text.map_or_else(
        || f.clone(),
        |t| Failure::new(format!("runtime error: hash of unhashable type{t}")),
    )
}

/// The entry of a map. Go refuses a key of another type than the map's.
fn map_index<'a>(m: &'a Map, key: &Value) -> Result<Option<&'a Value>> {
    let refuse = |want: &str| {
        Err(Failure::new(format!(
            "reflect.Value.MapIndex: value of type {} is not assignable to type {want}",
            key.type_name()
        )))
    };
    let key = match (m.kind(), key) {
        (MapKind::Str | MapKind::StrSet, Value::Nil) => Value::str(""),
        (MapKind::IntSet, Value::Nil) => Value::Int(0),
        (MapKind::Str | MapKind::StrSet, Value::Str(_))
        | (MapKind::IntSet, Value::Int(_))
        | (MapKind::Any | MapKind::Groups, _) => key.clone(),
        (MapKind::Str | MapKind::StrSet, _) => return refuse("string"),
        (MapKind::IntSet, _) => return refuse("int"),
    };
    let key = Key::new(key).map_err(while_running)?;
    Ok(m.entries().get(&key))
}

fn element(len: usize, index: &Value) -> Result<std::result::Result<usize, i64>> {
    let len = i64::try_from(len).unwrap_or(i64::MAX);
    let i = to_int(index)?;
    let i = if i < 0 { len.wrapping_add(i) } else { i };
    Ok(if (0..len).contains(&i) {
        usize::try_from(i).map_err(|_| i)
    } else {
        Err(i)
    })
}

/// `from[index]` and `from.field`. `None` when there is no such element, with the index that was looked for.
fn lookup(from: &Value, index: &Value) -> Result<std::result::Result<Value, Option<i64>>> {
    if let Value::Str(name) = index
        && methods::value_signature(&from.type_of(), name).is_some()
    {
        return Ok(Ok(Value::Func(Arc::new(Function::Method(
            from.clone(),
            name.to_string(),
        )))));
    }
    Ok(match from {
        Value::Array(a) => element(a.items().len(), index)?
            .map(|i| a.items()[i].clone())
            .map_err(Some),
        Value::Bytes(b) => element(b.len(), index)?.map(|i| Value::Uint8(b[i])).map_err(Some),
        Value::Str(s) => element(s.len(), index)?
            .map(|i| Value::Uint8(s.as_bytes()[i]))
            .map_err(Some),
        Value::Map(m) => map_index(m, index)?.cloned().ok_or(None),
        _ => Err(None),
    })
}

/// `from[index]` and `from.field`.
pub(crate) fn fetch(from: &Value, index: &Value, budget: &mut Budget) -> Result<Value> {
    let cannot = |budget: &mut Budget| {
        budget.work(index.weight())?;
        Err(Failure::new(format!(
            "cannot fetch {} from {}",
            crate::format::to_string(index),
            from.type_name()
        )))
    };
    if matches!(from, Value::Nil) {
        return cannot(budget);
    }
    match lookup(from, index)? {
        Ok(v) => Ok(v),
        Err(Some(i)) => {
            let len = match from {
                Value::Array(a) => a.items().len(),
                Value::Bytes(b) => b.len(),
                Value::Str(s) => s.len(),
                _ => 0,
            };
            Err(Failure::new(format!("index out of range: {i} (array length is {len})")))
        }
        // What a map has not is nil, or a nil slice where the map holds slices.
        Err(None) => match from {
            Value::Map(m) if m.kind() == MapKind::Groups => Value::array(ArrayKind::Nil, Vec::new()),
            Value::Map(_) => Ok(Value::Nil),
            Value::Time(_) | Value::Location(_) if !matches!(index, Value::Str(_)) => Err(assertion(index, "string")),
            _ => cannot(budget),
        },
    }
}

/// `get(from, index)`: nil for what is not there.
pub(crate) fn get(from: &Value, index: &Value) -> Result<Value> {
    match from {
        Value::Nil => Ok(Value::Nil),
        Value::Time(_) if !matches!(index, Value::Str(_)) => Err(assertion(index, "string")),
        _ => Ok(lookup(from, index)?.unwrap_or(Value::Nil)),
    }
}

/// `v[from:to]`
pub(crate) fn slice(v: &Value, from: &Value, to: &Value, budget: &mut Budget) -> Result<Value> {
    let len = match v {
        Value::Array(a) => a.items().len(),
        Value::Bytes(b) => b.len(),
        Value::Str(s) => s.len(),
        _ => {
            budget.work(from.weight())?;
            return Err(Failure::new(format!("cannot slice {}", crate::format::to_string(from))));
        }
    };
    let bound = |v: &Value| -> Result<usize> {
        let n = to_int(v)?;
        let n = if n < 0 {
            i64::try_from(len).unwrap_or(i64::MAX).wrapping_add(n)
        } else {
            n
        };
        Ok(usize::try_from(n.max(0)).unwrap_or(usize::MAX).min(len))
    };
    let (from, to) = (bound(from)?, bound(to)?);
    let from = from.min(to);
    budget.work((to - from) as u64 / 8 + 1)?;
    Ok(match v {
        Value::Array(a) => {
            budget.bytes((to - from) as u64 * 24)?;
            let kind = if a.kind() == ArrayKind::Pair {
                ArrayKind::Any
            } else {
                a.kind()
            };
            return Value::array(kind, a.items()[from..to].to_vec());
        }
        Value::Bytes(b) => Value::Bytes(b[from..to].into()),
        Value::Str(s) => {
            budget.bytes((to - from) as u64)?;
            // Bytes, not characters; what is cut in half becomes the replacement character.
            Value::str(String::from_utf8_lossy(&s.as_bytes()[from..to]))
        }
        _ => Value::Nil,
    })
}
