//! Built-ins on strings.

use super::{Builtin, arg};
use crate::error::Failure;
use crate::limits::Budget;
use crate::operators as ops;
use crate::value::{ArrayKind, Value};

type Result<T> = std::result::Result<T, Failure>;

const BASE64: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

fn text(args: &[Value], i: usize) -> Result<&str> {
    match arg(args, i)? {
        Value::Str(s) => Ok(s),
        other => Err(ops::assertion(other, "string")),
    }
}

pub(super) fn call(which: Builtin, args: &[Value], budget: &mut Budget) -> Result<Value> {
    use Builtin as B;
    if which == B::String {
        let v = arg(args, 0)?;
        budget.work(v.weight())?;
        budget.bytes(v.weight().saturating_mul(24))?;
        return Ok(Value::str(crate::format::to_string(v)));
    }
    if which == B::Join {
        return join(args, budget);
    }
    if matches!(which, B::TrimPrefix | B::TrimSuffix) && args.len() == 2 {
        // Upstream looks at this one first.
        text(args, 1)?;
    }
    let s = text(args, 0)?;
    budget.work(s.len() as u64 / 16 + 1)?;
    Ok(match which {
        B::IndexOf => position(s.find(text(args, 1)?)),
        B::LastIndexOf => position(s.rfind(text(args, 1)?)),
        B::HasPrefix => Value::Bool(s.starts_with(text(args, 1)?)),
        B::HasSuffix => Value::Bool(s.ends_with(text(args, 1)?)),
        B::Split | B::SplitAfter => return split(which == B::SplitAfter, s, args, budget),
        B::Replace => return replace(s, args, budget),
        B::Repeat => return repeat(s, arg(args, 1)?, budget),
        _ => {
            budget.bytes(s.len() as u64 * 3)?;
            return string_to_string(which, s, args);
        }
    })
}

fn position(p: Option<usize>) -> Value {
    Value::Int(p.and_then(|p| i64::try_from(p).ok()).unwrap_or(-1))
}

fn string_to_string(which: Builtin, s: &str, args: &[Value]) -> Result<Value> {
    use Builtin as B;
    let affix = || if args.len() == 2 { text(args, 1) } else { Ok(" ") };
    Ok(match which {
        B::Trim if args.len() == 1 => Value::str(s.trim()),
        B::Trim => {
            let set = text(args, 1)?;
            Value::str(s.trim_matches(|c| set.contains(c)))
        }
        B::TrimPrefix => Value::str(s.strip_prefix(affix()?).unwrap_or(s)),
        B::TrimSuffix => Value::str(s.strip_suffix(affix()?).unwrap_or(s)),
        // Go maps characters one by one: there is no character that becomes two.
        B::Upper => Value::str(s.chars().map(|c| single(c, c.to_uppercase())).collect::<String>()),
        B::Lower => Value::str(s.chars().map(|c| single(c, c.to_lowercase())).collect::<String>()),
        B::ToBase64 => Value::str(encode(s.as_bytes())),
        _ => Value::str(String::from_utf8_lossy(&decode(s)?)),
    })
}

fn single(c: char, mut mapped: impl Iterator<Item = char>) -> char {
    match (mapped.next(), mapped.next()) {
        (Some(one), None) => one,
        // The only character that becomes two in lower case.
        _ if c == '\u{130}' => 'i',
        _ => c,
    }
}

fn join(args: &[Value], budget: &mut Budget) -> Result<Value> {
    let glue = if args.len() == 2 { text(args, 1)? } else { "" };
    let a = match arg(args, 0)? {
        Value::Array(a) if matches!(a.kind(), ArrayKind::Any | ArrayKind::Nil | ArrayKind::Strs) => a,
        // Upstream prints a missing type in a way of its own.
        Value::Nil => return Err(Failure::new("invalid argument for join (type %!s(<nil>))")),
        other => {
            return Err(Failure::new(format!(
                "invalid argument for join (type {})",
                other.type_name()
            )));
        }
    };
    let mut out = String::new();
    for (i, item) in a.items().iter().enumerate() {
        let Value::Str(s) = item else {
            return Err(ops::assertion(item, "string"));
        };
        budget.work(1)?;
        budget.bytes((s.len() + glue.len()) as u64)?;
        if i > 0 {
            out.push_str(glue);
        }
        out.push_str(s);
    }
    Ok(Value::str(out))
}

/// Go's `strings.SplitN` and `SplitAfterN`: no more than `n` parts, all when it is negative, none when it is 0.
fn split(after: bool, s: &str, args: &[Value], budget: &mut Budget) -> Result<Value> {
    let separator = text(args, 1)?;
    let n = match args.get(2) {
        Some(v) => ops::to_int(v)?,
        None => -1,
    };
    if n == 0 {
        return Value::array(ArrayKind::Strs, Vec::new());
    }
    let limit = usize::try_from(n).unwrap_or(usize::MAX);
    let mut parts = Vec::new();
    let mut rest = s;
    while parts.len() + 1 < limit {
        let cut = if separator.is_empty() {
            let Some(c) = rest.chars().next() else { break };
            if rest.len() == c.len_utf8() {
                break;
            }
            (c.len_utf8(), c.len_utf8())
        } else {
            let Some(at) = rest.find(separator) else { break };
            (if after { at + separator.len() } else { at }, at + separator.len())
        };
        budget.work(1)?;
        budget.bytes(cut.0 as u64 + 40)?;
        parts.push(Value::str(&rest[..cut.0]));
        rest = &rest[cut.1..];
    }
    if !(separator.is_empty() && s.is_empty()) {
        parts.push(Value::str(rest));
    }
    Value::array(ArrayKind::Strs, parts)
}

/// Go's `strings.Replace`: an empty `old` stands before each character and at the end.
fn replace(s: &str, args: &[Value], budget: &mut Budget) -> Result<Value> {
    let (old, new) = (text(args, 1)?, text(args, 2)?);
    let limit = match args.get(3) {
        Some(v) => ops::to_int(v)?,
        None => -1,
    };
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    let found = if old.is_empty() {
        s.chars().count() + 1
    } else {
        s.matches(old).count()
    };
    let n = found.min(limit) as u64;
    budget.work(n)?;
    budget.bytes((s.len() as u64).saturating_add(n.saturating_mul(new.len() as u64)))?;
    Ok(Value::str(s.replacen(old, new, limit)))
}

fn repeat(s: &str, n: &Value, budget: &mut Budget) -> Result<Value> {
    let n = ops::to_int(n)?;
    let Ok(times) = usize::try_from(n) else {
        return Err(Failure::new(format!(
            "invalid argument for repeat (expected positive integer, got {n})"
        )));
    };
    if times > 1_000_000 {
        return Err(Failure::new("memory budget exceeded"));
    }
    // Upstream builds the string first and counts afterwards; the outcome is the same.
    budget.elements((s.len() as u64).saturating_mul(times as u64))?;
    Ok(Value::str(s.repeat(times)))
}

fn encode(bytes: &[u8]) -> String {
    let mut out = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for chunk in bytes.chunks(3) {
        let group = chunk.iter().fold(0u32, |g, b| g << 8 | u32::from(*b)) << (8 * (3 - chunk.len()));
        for i in 0..4 {
            let digit = BASE64[(group >> (18 - 6 * i) & 63) as usize];
            out.push(if i > chunk.len() { '=' } else { char::from(digit) });
        }
    }
    out
}

/// Standard base64 with padding; line ends are skipped.
fn decode(s: &str) -> Result<Vec<u8>> {
    let corrupt = |at: usize| Failure::new(format!("illegal base64 data at input byte {at}"));
    let input: Vec<(usize, u8)> = s
        .bytes()
        .enumerate()
        .filter(|(_, b)| !matches!(b, b'\r' | b'\n'))
        .collect();
    let mut out = Vec::with_capacity(input.len() / 4 * 3);
    let mut i = 0;
    while i < input.len() {
        let mut group = 0u32;
        let mut digits = 0;
        while digits < 4 {
            let Some((at, b)) = input.get(i).copied() else {
                return Err(corrupt(s.len() - digits));
            };
            if b == b'=' {
                break;
            }
            let Some(value) = BASE64.iter().position(|x| *x == b) else {
                return Err(corrupt(at));
            };
            group = group << 6 | u32::try_from(value).unwrap_or_default();
            digits += 1;
            i += 1;
        }
        if digits < 4 {
            // Padding: two or three digits, filled up with `=`, and nothing after them.
            let at = input[i].0;
            if digits < 2 {
                return Err(corrupt(at));
            }
            for _ in digits..4 {
                match input.get(i) {
                    Some((_, b'=')) => i += 1,
                    Some((at, _)) => return Err(corrupt(*at)),
                    None => return Err(corrupt(s.len())),
                }
            }
            if let Some((at, _)) = input.get(i) {
                return Err(corrupt(*at));
            }
            group <<= 6 * (4 - digits);
        }
        out.extend(group.to_be_bytes()[1..digits.max(2)].iter());
    }
    Ok(out)
}

/// Standard base64, as JSON shows bytes.
pub(super) fn encode_bytes(bytes: &[u8]) -> String {
    encode(bytes)
}
