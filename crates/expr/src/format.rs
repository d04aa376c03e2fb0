//! Values, numbers and strings as Go prints them (`%v`, `%q`, `strconv`): they appear in messages and in `string()`.

use std::fmt::Write as _;

use crate::value::{ArrayKind, Value};

/// Go's `strconv.Quote`.
pub(crate) fn quote(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\u{7}' => out.push_str("\\a"),
            '\u{8}' => out.push_str("\\b"),
            '\u{c}' => out.push_str("\\f"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\u{b}' => out.push_str("\\v"),
            c if c.is_control() && u32::from(c) < 0x80 => push(&mut out, format_args!("\\x{:02x}", u32::from(c))),
            c if c.is_control() || (c.is_whitespace() && c != ' ') => {
                push(&mut out, format_args!("\\u{:04x}", u32::from(c)));
            }
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

fn push(out: &mut String, args: std::fmt::Arguments<'_>) {
    // Writing to a String cannot fail.
    let _ = out.write_fmt(args);
}

/// The shortest decimal digits of a positive finite number and the decimal exponent of the first of them.
fn digits(v: f64) -> (String, i32) {
    let text = format!("{v:e}");
    let (mantissa, exponent) = text.split_once('e').unwrap_or((&text, "0"));
    (mantissa.replace('.', ""), exponent.parse().unwrap_or(0))
}

/// Go's `%v` of a float64: `1e+06`, `0.5`, `NaN`, `+Inf`.
pub(crate) fn float(v: f64) -> String {
    if v.is_nan() {
        return "NaN".into();
    }
    if v.is_infinite() {
        return if v > 0.0 { "+Inf".into() } else { "-Inf".into() };
    }
    if v == 0.0 {
        return if v.is_sign_negative() { "-0".into() } else { "0".into() };
    }
    let (_, exponent) = digits(v.abs());
    if (-4..6).contains(&exponent) {
        format!("{v}")
    } else {
        exponential(v)
    }
}

/// `1.5e+06`, with at least two digits of exponent.
pub(crate) fn exponential(v: f64) -> String {
    let (d, exponent) = digits(v.abs());
    let mut out = String::new();
    if v < 0.0 {
        out.push('-');
    }
    out.push_str(&d[..1]);
    if d.len() > 1 {
        out.push('.');
        out.push_str(&d[1..]);
    }
    push(
        &mut out,
        format_args!("e{}{:02}", if exponent < 0 { '-' } else { '+' }, exponent.abs()),
    );
    out
}

/// Go's `%v`. The value's weight must have been paid for.
pub(crate) fn value(out: &mut String, v: &Value) {
    match v {
        Value::Nil => out.push_str("<nil>"),
        Value::Bool(b) => push(out, format_args!("{b}")),
        Value::Int(n) | Value::Int64(n) => push(out, format_args!("{n}")),
        Value::Uint8(n) => push(out, format_args!("{n}")),
        Value::Float(f) => out.push_str(&float(*f)),
        Value::Str(s) => out.push_str(s),
        Value::Bytes(b) => {
            let parts: Vec<String> = b.iter().map(ToString::to_string).collect();
            push(out, format_args!("[{}]", parts.join(" ")));
        }
        Value::Array(a) => list(out, a.items()),
        Value::Map(m) => map(out, m),
        Value::Time(t) => out.push_str(&t.to_go_string()),
        Value::Duration(d) => out.push_str(&crate::moment::duration_string(*d)),
        Value::Month(m) => out.push_str(&crate::moment::month_name(*m)),
        Value::Weekday(d) => out.push_str(&crate::moment::weekday_name(*d)),
        Value::Location(z) => out.push_str(z.name()),
        // Go prints an address here.
        Value::Func(_) => out.push_str("0x0"),
    }
}

fn list(out: &mut String, items: &[Value]) {
    out.push('[');
    for (i, item) in items.iter().enumerate() {
        if i > 0 {
            out.push(' ');
        }
        value(out, item);
    }
    out.push(']');
}

fn map(out: &mut String, m: &crate::value::Map) {
    out.push_str("map[");
    for (i, (k, v)) in m.entries().iter().enumerate() {
        if i > 0 {
            out.push(' ');
        }
        value(out, k.value());
        out.push(':');
        if matches!(m.kind(), crate::value::MapKind::IntSet | crate::value::MapKind::StrSet) {
            out.push_str("{}");
        } else {
            value(out, v);
        }
    }
    out.push(']');
}

/// The value as text.
pub(crate) fn to_string(v: &Value) -> String {
    let mut out = String::new();
    value(&mut out, v);
    out
}

/// Go's kind of the value (`reflect.Kind`), as some messages name it.
pub(crate) fn kind_name(v: &Value) -> &'static str {
    match v {
        Value::Nil => "invalid",
        Value::Bool(_) => "bool",
        Value::Int(_) | Value::Month(_) | Value::Weekday(_) => "int",
        Value::Int64(_) | Value::Duration(_) => "int64",
        Value::Uint8(_) => "uint8",
        Value::Float(_) => "float64",
        Value::Str(_) => "string",
        Value::Bytes(_) => "slice",
        Value::Array(a) if a.kind() == ArrayKind::Pair => "array",
        Value::Array(_) => "slice",
        Value::Map(_) => "map",
        Value::Time(_) => "struct",
        Value::Location(_) => "ptr",
        Value::Func(_) => "func",
    }
}

/// Go's `strconv.ParseInt(text, 10, 64)`.
pub(crate) fn parse_int(text: &str) -> Result<i64, String> {
    text.parse().map_err(|e: std::num::ParseIntError| {
        let range = matches!(
            e.kind(),
            std::num::IntErrorKind::PosOverflow | std::num::IntErrorKind::NegOverflow
        );
        format!(
            "strconv.ParseInt: parsing {}: {}",
            quote(text),
            if range { "value out of range" } else { "invalid syntax" }
        )
    })
}

/// Go's `strconv.ParseFloat(text, 64)`: decimal and hexadecimal numbers, underscores between digits, `inf`, `infinity` and `nan` in any case.
pub(crate) fn parse_float(text: &str) -> Result<f64, String> {
    let fail = |why| Err(format!("strconv.ParseFloat: parsing {}: {why}", quote(text)));
    let (sign, body) = match text.as_bytes().first() {
        Some(b'-') => (-1.0, &text[1..]),
        Some(b'+') => (1.0, &text[1..]),
        _ => (1.0, text),
    };
    if body.eq_ignore_ascii_case("inf") || body.eq_ignore_ascii_case("infinity") {
        return Ok(sign * f64::INFINITY);
    }
    if text.eq_ignore_ascii_case("nan") {
        return Ok(f64::NAN);
    }
    let separated = body.contains('_');
    if separated && !underscores_separate_digits(body) {
        return fail("invalid syntax");
    }
    let body = &if separated {
        body.replace('_', "")
    } else {
        body.to_owned()
    };
    if let Some(hex) = body.strip_prefix("0x").or_else(|| body.strip_prefix("0X")) {
        return match hex_float(hex) {
            Some(v) => Ok(sign * v),
            None => fail("invalid syntax"),
        };
    }
    if !body
        .bytes()
        .all(|b| b.is_ascii_digit() || matches!(b, b'.' | b'e' | b'E' | b'+' | b'-'))
    {
        return fail("invalid syntax");
    }
    match body.parse::<f64>() {
        _ if body.starts_with(['+', '-']) => fail("invalid syntax"),
        Ok(v) if v.is_infinite() => fail("value out of range"),
        Ok(v) => Ok(sign * v),
        Err(_) => fail("invalid syntax"),
    }
}

fn underscores_separate_digits(text: &str) -> bool {
    let b = text.as_bytes();
    let digit = |i: Option<usize>| i.and_then(|i| b.get(i)).is_some_and(u8::is_ascii_digit);
    b.iter()
        .enumerate()
        .all(|(i, c)| *c != b'_' || digit(i.checked_sub(1)) && digit(Some(i + 1)))
}

/// `1.8p3`: the exponent is mandatory in Go.
fn hex_float(text: &str) -> Option<f64> {
    let lower = text.to_ascii_lowercase();
    let (mantissa, exponent) = lower.split_once('p')?;
    let exponent: i32 = exponent.parse().ok()?;
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    if whole.len() + fraction.len() == 0 {
        return None;
    }
    let mut v = 0.0;
    for c in whole.chars().chain(fraction.chars()) {
        v = v * 16.0 + f64::from(c.to_digit(16)?);
    }
    let shift = exponent.checked_sub(4 * i32::try_from(fraction.len()).ok()?)?;
    Some(v * 2f64.powi(shift))
}
