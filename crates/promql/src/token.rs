//! A query's literals, and the text that is handed to the parser in its place.
//!
//! The parser keeps no positions, panics on some durations, reads Go's raw strings as if they had escapes and compiles
//! regular expressions in Rust's syntax. So it never sees a literal: each is read here, by Go's rules, and stands in the
//! skeleton as its number. Of the skeleton's tree, numbers lead back to values and places. Bounds are checked here too,
//! before anything recursive sees the text.

use crate::error::{Error, Position};

/// Bytes of a query.
const MAX_LENGTH: usize = 16 * 1024;
/// Parentheses, braces and brackets within each other.
const MAX_NESTING: usize = 64;
/// Operators and opening parentheses, together: the tree cannot be deeper.
pub(crate) const MAX_DEPTH: usize = 128;
/// A thousand years.
const MAX_DURATION_MS: u64 = 1000 * 365 * 24 * 3600 * 1000;

/// The label that every selector of a skeleton asks for, so that the parser never finds one without conditions.
pub(crate) const MARK: &str = "__skeleton__";

#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Literal {
    Text(String),
    Number(f64),
    /// Milliseconds.
    Duration(i64),
}

#[derive(Debug)]
struct Word {
    text: String,
    offset: usize,
    /// Whether `(` follows.
    calls: bool,
}

/// A query that has passed the bounds.
#[derive(Debug)]
pub(crate) struct Tokens {
    source: String,
    skeleton: String,
    literals: Vec<(usize, Literal)>,
    words: Vec<Word>,
    /// Where each `{` stands.
    braces: Vec<usize>,
}

impl Tokens {
    pub(crate) fn read(source: &str) -> Result<Self, Error> {
        let limit = |what, found, limit| {
            if found > limit {
                return Err(Error::TooLarge { what, found, limit });
            }
            Ok(())
        };
        limit("its length in bytes of", source.len(), MAX_LENGTH)?;
        let mut reader = Reader::new(source);
        reader.run()?;
        limit("its nesting of", reader.deepest, MAX_NESTING)?;
        limit(
            "its number of operators and parentheses of",
            reader.operators,
            MAX_DEPTH,
        )?;
        if let Some((bracket, offset)) = reader.open.last() {
            return Err(reader.wrong(*offset, format!("unclosed {bracket:?}")));
        }
        Ok(Self {
            source: source.to_owned(),
            skeleton: reader.skeleton,
            literals: reader.literals,
            words: reader.words,
            braces: reader.braces,
        })
    }

    pub(crate) fn skeleton(&self) -> &str {
        &self.skeleton
    }

    /// The literal whose number stands in the skeleton, and where it is in the source.
    pub(crate) fn literal(&self, number: usize) -> Option<(&Literal, usize)> {
        let (offset, literal) = self.literals.get(number.checked_sub(1)?)?;
        Some((literal, *offset))
    }

    /// Where the words are that are followed by `(`.
    pub(crate) fn calls(&self) -> impl Iterator<Item = (&str, usize)> {
        self.words
            .iter()
            .filter(|w| w.calls)
            .map(|w| (w.text.as_str(), w.offset))
    }

    /// Where the words are that equal `name` whatever their case.
    pub(crate) fn words<'a>(&'a self, name: &'a str) -> impl Iterator<Item = usize> + 'a {
        self.words
            .iter()
            .filter(move |w| w.text.eq_ignore_ascii_case(name))
            .map(|w| w.offset)
    }

    pub(crate) fn braces(&self) -> &[usize] {
        &self.braces
    }

    pub(crate) fn position(&self, offset: usize) -> Position {
        Position::of(&self.source, offset)
    }
}

struct Reader<'a> {
    source: &'a str,
    at: usize,
    skeleton: String,
    literals: Vec<(usize, Literal)>,
    words: Vec<Word>,
    braces: Vec<usize>,
    open: Vec<(char, usize)>,
    deepest: usize,
    operators: usize,
}

impl<'a> Reader<'a> {
    fn new(source: &'a str) -> Self {
        Self {
            source,
            at: 0,
            skeleton: String::with_capacity(source.len()),
            literals: Vec::new(),
            words: Vec::new(),
            braces: Vec::new(),
            open: Vec::new(),
            deepest: 0,
            operators: 0,
        }
    }

    fn rest(&self) -> &'a str {
        &self.source[self.at..]
    }

    fn wrong(&self, offset: usize, message: impl Into<String>) -> Error {
        Error::Syntax {
            position: Some(Position::of(self.source, offset)),
            message: message.into(),
        }
    }

    fn copy(&mut self, length: usize) {
        self.skeleton.push_str(&self.source[self.at..self.at + length]);
        self.at += length;
    }

    fn run(&mut self) -> Result<(), Error> {
        while let Some(c) = self.rest().chars().next() {
            match c {
                '#' => {
                    let end = self.rest().find(['\n', '\r']).unwrap_or(self.rest().len());
                    self.at += end;
                    self.skeleton.push(' ');
                }
                '"' | '\'' | '`' => self.string(c)?,
                '(' | '{' | '[' => self.opening(c)?,
                ')' | '}' | ']' => self.closing(c)?,
                '+' | '-' | '*' | '/' | '%' | '^' | '<' | '>' | '=' | '!' | '~' => {
                    // Two characters of one operator count twice; the limit is far enough away.
                    if !self.inside('{') {
                        self.operators += 1;
                    }
                    self.copy(1);
                }
                _ if c == '_' || c == ':' || c.is_ascii_alphabetic() => self.word(),
                _ if c.is_ascii_digit() || (c == '.' && self.digit_at(1)) => self.number()?,
                _ if c.is_ascii_whitespace() || matches!(c, ',' | '@') => self.copy(1),
                _ => return Err(self.wrong(self.at, format!("unexpected character {c:?}"))),
            }
        }
        Ok(())
    }

    fn inside(&self, bracket: char) -> bool {
        self.open.last().is_some_and(|(open, _)| *open == bracket)
    }

    fn digit_at(&self, ahead: usize) -> bool {
        self.rest().as_bytes().get(ahead).is_some_and(u8::is_ascii_digit)
    }

    fn opening(&mut self, c: char) -> Result<(), Error> {
        if self.inside('{') || self.inside('[') {
            return Err(self.wrong(self.at, format!("unexpected {c:?}")));
        }
        self.open.push((c, self.at));
        self.deepest = self.deepest.max(self.open.len());
        if c == '{' {
            self.braces.push(self.at);
        } else {
            self.operators += 1;
        }
        self.copy(1);
        if c == '{' {
            self.skeleton.push_str(MARK);
            self.skeleton.push_str("=\"0\"");
            if !self.rest().trim_start().starts_with('}') {
                self.skeleton.push(',');
            }
        }
        Ok(())
    }

    fn closing(&mut self, c: char) -> Result<(), Error> {
        let opening = match c {
            ')' => '(',
            '}' => '{',
            _ => '[',
        };
        if self.open.pop().is_none_or(|(open, _)| open != opening) {
            return Err(self.wrong(self.at, format!("unexpected {c:?}")));
        }
        self.copy(1);
        Ok(())
    }

    fn word(&mut self) {
        let rest = self.rest();
        let colons = !self.inside('[') && !self.inside('{');
        let length = rest
            .find(|c: char| !(c == '_' || c.is_ascii_alphanumeric() || (colons && c == ':')))
            .unwrap_or(rest.len());
        if length == 0 {
            // A colon in brackets or braces.
            self.copy(1);
            return;
        }
        let text = &rest[..length];
        let number = if text.eq_ignore_ascii_case("inf") {
            Some(f64::INFINITY)
        } else if text.eq_ignore_ascii_case("nan") {
            Some(f64::NAN)
        } else {
            None
        };
        if let Some(number) = number.filter(|_| !self.inside('{')) {
            self.literal(Literal::Number(number), length);
            return;
        }
        if ["and", "or", "unless", "atan2"]
            .iter()
            .any(|o| text.eq_ignore_ascii_case(o))
            && !self.inside('{')
        {
            self.operators += 1;
        }
        self.words.push(Word {
            text: text.to_owned(),
            offset: self.at,
            // What follows @ is no function, even if it looks like one.
            calls: !self.inside('{')
                && follows_parenthesis(&rest[length..])
                && !self.skeleton.trim_end().ends_with('@'),
        });
        self.copy(length);
    }

    fn literal(&mut self, literal: Literal, length: usize) {
        let text = matches!(literal, Literal::Text(_));
        let unit = matches!(literal, Literal::Duration(_));
        self.literals.push((self.at, literal));
        let number = self.literals.len();
        self.skeleton.push_str(&match (text, unit) {
            (true, _) => format!("\"{number}\""),
            (_, true) => format!("{number}s"),
            _ => number.to_string(),
        });
        self.at += length;
    }

    fn number(&mut self) -> Result<(), Error> {
        let rest = self.rest().as_bytes();
        let hexadecimal = rest.len() > 1 && rest[0] == b'0' && matches!(rest[1], b'x' | b'X');
        let mut length = 0;
        while let Some(byte) = rest.get(length) {
            let sign = matches!(byte, b'+' | b'-')
                && !hexadecimal
                && length > 0
                && matches!(rest[length - 1], b'e' | b'E')
                && rest[..length - 1].iter().all(|b| b.is_ascii_digit() || *b == b'.');
            if !(byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_') || sign) {
                break;
            }
            length += 1;
        }
        let text = &self.rest()[..length];
        let literal = if let Some(duration) = duration(text) {
            match duration {
                Some(ms) => Literal::Duration(ms),
                None => return Err(self.wrong(self.at, format!("duration {text} is out of range"))),
            }
        } else if let Some(number) = number(text) {
            Literal::Number(number)
        } else {
            return Err(self.wrong(self.at, format!("bad number or duration syntax: {text:?}")));
        };
        // A number where a duration is wanted counts seconds, and a duration where a number is wanted is its seconds.
        let literal = match literal {
            Literal::Number(seconds) if self.inside('[') => {
                let ms = seconds * 1000.0;
                if ms.is_nan() || ms.abs() > MAX_DURATION_MS as f64 {
                    return Err(self.wrong(self.at, format!("duration {text} is out of range")));
                }
                Literal::Duration(ms as i64)
            }
            other => other,
        };
        if self.inside('[') && literal == Literal::Duration(0) {
            return Err(self.wrong(self.at, "duration must be greater than 0"));
        }
        self.literal(literal, length);
        Ok(())
    }

    fn string(&mut self, quote: char) -> Result<(), Error> {
        let begin = self.at;
        let rest = &self.source[begin + 1..];
        let mut bytes: Vec<u8> = Vec::new();
        let mut chars = rest.char_indices();
        let length = loop {
            let Some((i, c)) = chars.next() else {
                return Err(self.wrong(begin, "unterminated quoted string"));
            };
            if c == quote {
                break i + 2;
            }
            if quote != '`' {
                if c == '\n' {
                    return Err(self.wrong(begin, "a quoted string ends before the end of its line"));
                }
                if c == '\\' {
                    let taken = escape(&rest[i + 1..], quote, &mut bytes)
                        .ok_or_else(|| self.wrong(begin + 1 + i, "unknown escape sequence"))?;
                    for _ in 0..taken {
                        chars.next();
                    }
                    continue;
                }
            }
            bytes.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
        };
        let text = String::from_utf8(bytes).map_err(|_| self.wrong(begin, "the string is not UTF-8"))?;
        self.literal(Literal::Text(text), length);
        Ok(())
    }
}

/// Whether the next thing in the text, comments aside, is `(`.
fn follows_parenthesis(mut text: &str) -> bool {
    loop {
        text = text.trim_ascii_start();
        if !text.starts_with('#') {
            return text.starts_with('(');
        }
        text = text.find(['\n', '\r']).map_or("", |end| &text[end..]);
    }
}

/// Decodes what follows a backslash; how many characters it is. All of them are ASCII.
fn escape(text: &str, quote: char, out: &mut Vec<u8>) -> Option<usize> {
    let bytes = text.as_bytes();
    let digits = |from: usize, count: usize, radix: u32| {
        let digits = text.get(from..from + count)?;
        if !digits.chars().all(|c| c.is_digit(radix)) {
            return None;
        }
        u32::from_str_radix(digits, radix).ok()
    };
    let simple = match *bytes.first()? {
        b'a' => 7,
        b'b' => 8,
        b'f' => 12,
        b'n' => b'\n',
        b'r' => b'\r',
        b't' => b'\t',
        b'v' => 11,
        b'\\' => b'\\',
        q @ (b'"' | b'\'') if char::from(q) == quote => q,
        b'x' => {
            out.push(u8::try_from(digits(1, 2, 16)?).ok()?);
            return Some(3);
        }
        b'0'..=b'7' => {
            out.push(u8::try_from(digits(0, 3, 8)?).ok()?);
            return Some(3);
        }
        letter @ (b'u' | b'U') => {
            let count = if letter == b'u' { 4 } else { 8 };
            let c = char::from_u32(digits(1, count, 16)?)?;
            out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
            return Some(count + 1);
        }
        _ => return None,
    };
    out.push(simple);
    Some(1)
}

/// `1h30m`: None if it is no duration, Some(None) if it is too long.
pub(crate) fn duration(text: &str) -> Option<Option<i64>> {
    const UNITS: [(&str, u64); 7] = [
        ("y", 365 * 24 * 3_600_000),
        ("w", 7 * 24 * 3_600_000),
        ("d", 24 * 3_600_000),
        ("h", 3_600_000),
        ("m", 60_000),
        ("s", 1000),
        ("ms", 1),
    ];
    let mut rest = text;
    let mut next_unit = 0;
    let mut total = Some(0u64);
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit()).filter(|n| *n > 0)?;
        let (number, tail) = rest.split_at(digits);
        let letters = tail.find(|c: char| c.is_ascii_digit()).unwrap_or(tail.len());
        let unit = &tail[..letters];
        // Each unit once at most, the larger ones first.
        let place = UNITS.iter().skip(next_unit).position(|(name, _)| *name == unit)? + next_unit;
        let ms = number.parse::<u64>().ok().and_then(|n| n.checked_mul(UNITS[place].1));
        total = total.zip(ms).and_then(|(a, b)| a.checked_add(b));
        next_unit = place + 1;
        rest = &tail[letters..];
    }
    if next_unit == 0 {
        return None;
    }
    Some(
        total
            .filter(|ms| *ms <= MAX_DURATION_MS)
            .and_then(|ms| i64::try_from(ms).ok()),
    )
}

/// Decimal, octal with a leading 0, or hexadecimal.
fn number(text: &str) -> Option<f64> {
    let lower = text.to_ascii_lowercase();
    if let Some(digits) = lower.strip_prefix("0x") {
        return Some(
            i64::from_str_radix(digits, 16)
                .ok()
                .filter(|_| !digits.starts_with(['+', '-']))? as f64,
        );
    }
    if lower.len() > 1 && lower.starts_with('0') && lower.bytes().all(|b| matches!(b, b'0'..=b'7')) {
        return Some(i64::from_str_radix(&lower, 8).ok()? as f64);
    }
    if !lower
        .bytes()
        .all(|b| b.is_ascii_digit() || matches!(b, b'.' | b'e' | b'+' | b'-'))
    {
        return None;
    }
    // Out of range is an error in Go, not infinity.
    lower.parse::<f64>().ok().filter(|v| v.is_finite())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn literals(text: &str) -> Vec<Literal> {
        let tokens = Tokens::read(text).expect(text);
        tokens.literals.into_iter().map(|(_, l)| l).collect()
    }

    fn refused(text: &str) -> String {
        Tokens::read(text).expect_err(text).to_string()
    }

    #[test]
    fn literals_are_read_by_the_rules_of_go() {
        let number = |v| vec![Literal::Number(v)];
        assert_eq!(literals("0x1F"), number(31.0));
        assert_eq!(literals("0755"), number(493.0));
        assert_eq!(literals("08"), number(8.0));
        assert_eq!(literals("1e-3"), number(0.001));
        assert_eq!(literals(".5"), number(0.5));
        assert_eq!(literals("InF"), number(f64::INFINITY));
        assert_eq!(literals("a[1h30m]"), [Literal::Duration(5_400_000)]);
        assert_eq!(literals("a[90]"), [Literal::Duration(90_000)]);
        assert_eq!(
            literals("a[5m:30s]"),
            [Literal::Duration(300_000), Literal::Duration(30_000)]
        );
        let text = |s: &str| vec![Literal::Text(s.to_owned())];
        assert_eq!(literals(r#""a\n\x41\101\u00e9\"'""#), text("a\nAAé\"'"));
        assert_eq!(literals(r"`a\.b`"), text(r"a\.b"));
        assert_eq!(literals(r"'\''"), text("'"));
    }

    #[test]
    fn broken_literals_are_refused_with_their_place() {
        for (query, error) in [
            ("1e999", "invalid PromQL: 1:1: bad number or duration syntax: \"1e999\""),
            ("a[5x]", "invalid PromQL: 1:3: bad number or duration syntax: \"5x\""),
            ("a[0s]", "invalid PromQL: 1:3: duration must be greater than 0"),
            (
                "a[99999999y]",
                "invalid PromQL: 1:3: duration 99999999y is out of range",
            ),
            (
                "a[5m1h]",
                "invalid PromQL: 1:3: bad number or duration syntax: \"5m1h\"",
            ),
            ("\n  \"abc", "invalid PromQL: 2:3: unterminated quoted string"),
            (r#""\q""#, "invalid PromQL: 1:2: unknown escape sequence"),
            (r#""\'""#, "invalid PromQL: 1:2: unknown escape sequence"),
            (r#""\é""#, "invalid PromQL: 1:2: unknown escape sequence"),
            (r#""\xff""#, "invalid PromQL: 1:1: the string is not UTF-8"),
            ("(a", "invalid PromQL: 1:1: unclosed '('"),
            ("a)", "invalid PromQL: 1:2: unexpected ')'"),
            ("é", "invalid PromQL: 1:1: unexpected character 'é'"),
        ] {
            assert_eq!(refused(query), error, "{query}");
        }
    }

    #[test]
    fn what_is_too_long_or_too_deep_is_refused_before_it_is_parsed() {
        assert!(refused(&"a".repeat(MAX_LENGTH + 1)).contains("16385 is more than 16384"));
        assert!(refused(&format!("{}1{}", "(".repeat(65), ")".repeat(65))).contains("nesting of 65"));
        assert!(refused(&format!("1{}", "+1".repeat(129))).contains("parentheses of 129"));
    }

    #[test]
    fn the_skeleton_holds_numbers_instead_of_literals() {
        let tokens = Tokens::read("rate(a{b=\"c\"}[5m]) # d\"\n > 7").expect("a query");
        assert_eq!(tokens.skeleton(), "rate(a{__skeleton__=\"0\",b=\"1\"}[2s])  \n > 3");
        assert_eq!(tokens.calls().collect::<Vec<_>>(), [("rate", 0)]);
    }
}
