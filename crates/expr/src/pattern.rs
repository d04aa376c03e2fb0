//! Regular expressions in Go's syntax (RE2) on Rust's engine, which is linear in time as well.
//! Where the two syntaxes differ the pattern is rewritten: `\d`, `\w`, `\s` and `\b` are ASCII in Go, `\Q...\E` quotes,
//! and classes know no set operations.

use regex::{Regex, RegexBuilder};

const POSIX: [&str; 14] = [
    "alnum", "alpha", "ascii", "blank", "cntrl", "digit", "graph", "lower", "print", "punct", "space", "upper", "word",
    "xdigit",
];

/// Compiled size of one pattern.
const SIZE_LIMIT: usize = 1 << 20;

/// Compiles a pattern; the error is worded as Go words it, where it is one of the usual mistakes.
pub(crate) fn compile(pattern: &str) -> Result<Regex, String> {
    let rewritten = rewrite(pattern)?;
    RegexBuilder::new(&rewritten)
        .size_limit(SIZE_LIMIT)
        .nest_limit(50)
        .build()
        .map_err(|e| explain(&e, pattern))
}

fn fail<T>(code: &str, what: &str) -> Result<T, String> {
    Err(format!("error parsing regexp: {code}: `{what}`"))
}

fn explain(e: &regex::Error, pattern: &str) -> String {
    let why = match e {
        regex::Error::Syntax(text) if text.contains("invalid character class range") => {
            "invalid character class range".into()
        }
        regex::Error::CompiledTooBig(_) => "expression too large".into(),
        regex::Error::Syntax(text) => text
            .lines()
            .last()
            .unwrap_or_default()
            .trim_start_matches("error: ")
            .to_owned(),
        other => other.to_string(),
    };
    format!("error parsing regexp: {why}: `{pattern}`")
}

fn rewrite(pattern: &str) -> Result<String, String> {
    let chars: Vec<char> = pattern.chars().collect();
    let text = |from: usize| chars[from..].iter().collect::<String>();
    let mut out = String::with_capacity(pattern.len() + 8);
    let mut open = 0usize;
    let mut i = 0;
    // Whether what stands before can be repeated, and where a repetition begins that ends right here.
    let mut repeatable = false;
    let mut repeated: Option<(usize, usize)> = None;
    while i < chars.len() {
        let c = chars[i];
        match c {
            '\\' => {
                i = escape(&chars, i, &mut out, false)?;
                repeatable = true;
                continue;
            }
            '[' => {
                i = class(&chars, i, &mut out)?;
                repeatable = true;
                continue;
            }
            '(' => {
                open += 1;
                repeatable = false;
                if chars.get(i + 1) == Some(&'?') {
                    i = group(&chars, i, &mut out, &mut open)?;
                    continue;
                }
                out.push('(');
            }
            ')' => {
                if open == 0 {
                    return fail("unexpected )", pattern);
                }
                open -= 1;
                repeatable = true;
                out.push(')');
            }
            '|' => {
                repeatable = false;
                out.push('|');
            }
            '*' | '+' | '?' => {
                i = repetition(&chars, i, 1, repeatable, &mut repeated, &mut out)?;
                continue;
            }
            '{' => match counted(&chars, i) {
                Some((len, lo, hi)) => {
                    if lo > 1000 || hi.is_some_and(|h| h > 1000 || h < lo) {
                        return fail("invalid repeat count", &chars[i..i + len].iter().collect::<String>());
                    }
                    i = repetition(&chars, i, len, repeatable, &mut repeated, &mut out)?;
                    continue;
                }
                None => {
                    out.push_str("\\{");
                    repeatable = true;
                }
            },
            '}' => {
                out.push_str("\\}");
                repeatable = true;
            }
            _ => {
                out.push(c);
                repeatable = true;
            }
        }
        i += 1;
    }
    if open > 0 {
        return fail("missing closing )", &text(0));
    }
    Ok(out)
}

/// Writes the operator of `len` characters at `i` with the `?` that may follow, and returns where it ends.
/// A repetition of a repetition needs parentheses.
fn repetition(
    chars: &[char],
    i: usize,
    len: usize,
    repeatable: bool,
    repeated: &mut Option<(usize, usize)>,
    out: &mut String,
) -> Result<usize, String> {
    let text = |from: usize, to: usize| chars[from..to].iter().collect::<String>();
    if !repeatable {
        return fail("missing argument to repetition operator", &text(i, i + len));
    }
    let end = i + len + usize::from(chars.get(i + len) == Some(&'?'));
    if let Some((start, _)) = repeated.filter(|(_, before)| *before == i) {
        return fail("invalid nested repetition operator", &text(start, end));
    }
    *repeated = Some((i, end));
    out.push_str(&text(i, end));
    Ok(end)
}

/// `{n}`, `{n,}`, `{n,m}` at `i`: its length and its bounds.
fn counted(chars: &[char], i: usize) -> Option<(usize, u32, Option<u32>)> {
    let end = chars[i..].iter().position(|c| *c == '}')?;
    let body: String = chars[i + 1..i + end].iter().collect();
    let number =
        |t: &str| (!t.is_empty() && t.bytes().all(|b| b.is_ascii_digit())).then(|| t.parse().unwrap_or(u32::MAX));
    let (lo, hi) = match body.split_once(',') {
        None => (number(&body)?, None),
        Some((lo, "")) => (number(lo)?, None),
        Some((lo, hi)) => (number(lo)?, Some(number(hi)?)),
    };
    Some((end + 1, lo, hi))
}

/// `(?:`, `(?P<name>`, `(?<name>`, `(?flags)`, `(?flags:`; flags are i, m, s, U.
fn group(chars: &[char], start: usize, out: &mut String, open: &mut usize) -> Result<usize, String> {
    let rest: String = chars[start..].iter().collect();
    let name_at = ["(?P<", "(?<"]
        .iter()
        .find(|p| rest.starts_with(**p) && rest.len() > p.len())
        .map(|p| p.len());
    if let Some(name_at) = name_at {
        let Some(end) = rest.find('>') else {
            return fail("invalid named capture", &rest);
        };
        let name = &rest[name_at..end];
        if name.is_empty() || !name.chars().all(|c| c == '_' || c.is_ascii_alphanumeric()) {
            return fail("invalid named capture", &rest[..=end]);
        }
        // Nobody asks for the captures.
        out.push_str("(?:");
        return Ok(start + rest[..=end].chars().count());
    }
    let bad = |end: usize| {
        fail(
            "invalid or unsupported Perl syntax",
            &chars[start..end].iter().collect::<String>(),
        )
    };
    let mut end = start + 2;
    while chars.get(end).is_some_and(|c| matches!(c, 'i' | 'm' | 's' | 'U' | '-')) {
        end += 1;
    }
    let flags: String = chars[start + 2..end].iter().collect();
    if !matches!(chars.get(end), Some(':' | ')')) || flags.ends_with('-') || flags.matches('-').count() > 1 {
        return bad((end + 1).min(chars.len()));
    }
    if chars[end] == ')' {
        *open -= 1;
    }
    out.extend(&chars[start..=end]);
    Ok(end + 1)
}

/// Writes the escape at `i` and returns where it ends.
fn escape(chars: &[char], i: usize, out: &mut String, in_class: bool) -> Result<usize, String> {
    let Some(&c) = chars.get(i + 1) else {
        return fail("trailing backslash at end of expression", "");
    };
    let shorthand = |inside: &str| {
        if in_class {
            inside.to_owned()
        } else {
            format!("[{inside}]")
        }
    };
    match c {
        'd' => out.push_str(&shorthand("0-9")),
        'w' => out.push_str(&shorthand("0-9A-Za-z_")),
        's' => out.push_str(&shorthand("\\t\\n\\f\\r ")),
        'D' => out.push_str("[^0-9]"),
        'W' => out.push_str("[^0-9A-Za-z_]"),
        'S' => out.push_str("[^\\t\\n\\f\\r ]"),
        'b' if !in_class => out.push_str("(?-u:\\b)"),
        'B' if !in_class => out.push_str("(?-u:\\B)"),
        'A' | 'z' if !in_class => {
            out.push('\\');
            out.push(c);
        }
        'Q' if !in_class => {
            let rest: String = chars[i + 2..].iter().collect();
            let quoted = rest.split("\\E").next().unwrap_or_default();
            out.push_str(&regex::escape(quoted));
            let len = quoted.chars().count();
            return Ok((i + 2 + len + 2).min(chars.len()));
        }
        'a' | 'f' | 't' | 'n' | 'r' | 'v' => {
            out.push('\\');
            out.push(c);
        }
        'p' | 'P' => {
            let rest: String = chars[i..].iter().collect();
            let len = if chars.get(i + 2) == Some(&'{') {
                match rest.find('}') {
                    Some(end) => rest[..=end].chars().count(),
                    None => return fail("invalid character class range", &rest),
                }
            } else {
                3.min(chars.len() - i)
            };
            let property: String = chars[i..i + len].iter().collect();
            if Regex::new(&property).is_err() {
                return fail("invalid character class range", &property);
            }
            out.push_str(&property);
            return Ok(i + len);
        }
        'x' => {
            let braces = chars.get(i + 2) == Some(&'{');
            let digits: String = if braces {
                chars[i + 3..].iter().take_while(|c| **c != '}').collect()
            } else {
                chars[i + 2..].iter().take(2).collect()
            };
            let code = u32::from_str_radix(&digits, 16).ok().and_then(char::from_u32);
            let enough = braces && chars.get(i + 3 + digits.len()) == Some(&'}') || !braces && digits.len() == 2;
            let Some(code) = code.filter(|_| enough) else {
                return fail("invalid escape sequence", &format!("\\x{digits}"));
            };
            out.push_str(&format!("\\x{{{:x}}}", u32::from(code)));
            return Ok(i + 2 + digits.len() + if braces { 2 } else { 0 });
        }
        '0'..='7' => {
            let digits: String = chars[i + 1..].iter().take(3).take_while(|c| c.is_digit(8)).collect();
            if c != '0' && digits.len() == 1 {
                return fail("invalid escape sequence", &format!("\\{c}"));
            }
            out.push_str(&format!(
                "\\x{{{:x}}}",
                u32::from_str_radix(&digits, 8).unwrap_or_default()
            ));
            return Ok(i + 1 + digits.len());
        }
        c if c.is_ascii_punctuation() => {
            out.push('\\');
            out.push(c);
        }
        c => return fail("invalid escape sequence", &format!("\\{c}")),
    }
    Ok(i + 2)
}

/// Writes the class at `i` and returns where it ends.
fn class(chars: &[char], start: usize, out: &mut String) -> Result<usize, String> {
    let whole = || chars[start..].iter().collect::<String>();
    out.push('[');
    let mut i = start + 1;
    if chars.get(i) == Some(&'^') {
        out.push('^');
        i += 1;
    }
    let mut first = true;
    loop {
        let Some(&c) = chars.get(i) else {
            return fail("missing closing ]", &whole());
        };
        match c {
            ']' if !first => {
                out.push(']');
                return Ok(i + 1);
            }
            '[' if chars.get(i + 1) == Some(&':') && whole().contains(":]") => {
                let rest: String = chars[i..].iter().collect();
                let end = rest.find(":]").map_or(rest.len(), |e| e + 2);
                let name = rest[..end]
                    .trim_start_matches("[:")
                    .trim_end_matches(":]")
                    .trim_start_matches('^');
                if !POSIX.contains(&name) {
                    return fail("invalid character class range", &rest[..end]);
                }
                out.push_str(&rest[..end]);
                i += rest[..end].chars().count();
            }
            '\\' => i = escape(chars, i, out, true)?,
            // Set operations and nested classes do not exist in Go: these stand for themselves.
            '[' | ']' | '&' | '~' | '^' => {
                out.push('\\');
                out.push(c);
                i += 1;
            }
            '-' => {
                let between = !first && chars.get(i + 1).is_some_and(|n| *n != ']');
                out.push_str(if between { "-" } else { "\\-" });
                i += 1;
            }
            c => {
                out.push(c);
                i += 1;
            }
        }
        first = false;
    }
}
