//! Source text to tokens, one at a time: a lexical error further on must not hide a syntax error before it.

use crate::error::Span;
use crate::format::quote;

/// What sort of token it is; the names appear in messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Identifier,
    Number,
    String,
    Bytes,
    Operator,
    Bracket,
    Eof,
}

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Self::Identifier => "Identifier",
            Self::Number => "Number",
            Self::String => "String",
            Self::Bytes => "Bytes",
            Self::Operator => "Operator",
            Self::Bracket => "Bracket",
            Self::Eof => "EOF",
        }
    }
}

#[derive(Clone, Debug)]
pub(crate) struct Token {
    pub(crate) kind: Kind,
    /// Text; of a string its unescaped content.
    pub(crate) text: String,
    /// Content of a bytes literal.
    pub(crate) bytes: Vec<u8>,
    pub(crate) span: Span,
}

impl Token {
    pub(crate) fn is(&self, kind: Kind, text: &str) -> bool {
        self.kind == kind && self.text == text
    }

    /// As messages name it: `Operator("==")`, `EOF`.
    pub(crate) fn describe(&self) -> String {
        if self.kind == Kind::Bytes {
            return if self.bytes.is_empty() {
                "Bytes".into()
            } else {
                format!("Bytes({})", quote(&String::from_utf8_lossy(&self.bytes)))
            };
        }
        if self.text.is_empty() {
            self.kind.name().into()
        } else {
            format!("{}({})", self.kind.name(), quote(&self.text))
        }
    }
}

#[derive(Debug)]
pub(crate) struct LexError {
    pub(crate) message: String,
    pub(crate) span: Span,
}

pub(crate) struct Lexer {
    chars: Vec<char>,
    at: usize,
    start: usize,
    /// `not` may yield a second token, as in `not in`.
    queued: Option<Token>,
}

pub(crate) fn is_alphabetic(c: char) -> bool {
    c == '_' || c == '$' || c.is_alphabetic()
}

fn is_alphanumeric(c: char) -> bool {
    is_alphabetic(c) || c.is_numeric()
}

/// Whether an operator's text (`not`, `matches`) may also be a field name.
pub(crate) fn is_identifier(text: &str) -> bool {
    let mut chars = text.chars();
    chars.next().is_some_and(is_alphabetic) && chars.all(is_alphanumeric)
}

const NEGATABLE: [&str; 5] = ["in", "matches", "contains", "startsWith", "endsWith"];

impl Lexer {
    pub(crate) fn new(source: &str) -> Self {
        Self {
            chars: source.chars().collect(),
            at: 0,
            start: 0,
            queued: None,
        }
    }

    fn peek(&self) -> Option<char> {
        self.chars.get(self.at).copied()
    }

    fn accept(&mut self, set: &str) -> bool {
        if self.peek().is_some_and(|c| set.contains(c)) {
            self.at += 1;
            return true;
        }
        false
    }

    fn accept_while(&mut self, test: impl Fn(char) -> bool) {
        while self.peek().is_some_and(&test) {
            self.at += 1;
        }
    }

    fn word(&self) -> String {
        self.chars[self.start..self.at].iter().collect()
    }

    fn token(&mut self, kind: Kind) -> Token {
        let text = self.word();
        self.text_token(kind, text)
    }

    fn text_token(&mut self, kind: Kind, text: String) -> Token {
        let span = span(self.start, self.at);
        self.start = self.at;
        Token {
            kind,
            text,
            bytes: Vec::new(),
            span,
        }
    }

    /// An error at the character read last; `beyond` when it is the end of the source.
    fn error<T>(&self, message: impl Into<String>, beyond: bool) -> Result<T, LexError> {
        let end = self.at + usize::from(beyond);
        Err(LexError {
            message: message.into(),
            span: span(end.saturating_sub(1), end),
        })
    }

    pub(crate) fn next(&mut self) -> Result<Token, LexError> {
        if let Some(t) = self.queued.take() {
            return Ok(t);
        }
        loop {
            self.accept_while(char::is_whitespace);
            self.start = self.at;
            let Some(c) = self.peek() else {
                let span = span(self.at.saturating_sub(1), self.at);
                return Ok(Token {
                    kind: Kind::Eof,
                    text: String::new(),
                    bytes: Vec::new(),
                    span,
                });
            };
            if c == '/' && self.comment()? {
                continue;
            }
            return self.scan(c);
        }
    }

    /// Skips a comment; false when the slash is the operator.
    fn comment(&mut self) -> Result<bool, LexError> {
        match self.chars.get(self.at + 1) {
            Some('/') => {
                self.accept_while(|c| c != '\n');
                Ok(true)
            }
            Some('*') => {
                self.at += 2;
                loop {
                    match self.peek() {
                        None => return self.error("unclosed comment", true),
                        Some('*') if self.chars.get(self.at + 1) == Some(&'/') => {
                            self.at += 2;
                            return Ok(true);
                        }
                        Some(_) => self.at += 1,
                    }
                }
            }
            _ => Ok(false),
        }
    }

    fn scan(&mut self, c: char) -> Result<Token, LexError> {
        self.at += 1;
        match c {
            '\'' | '"' => {
                self.scan_string(c)?;
                let text = unescape(&self.chars[self.start..self.at], false).map_err(|m| self.failed(m))?;
                Ok(self.text_token(Kind::String, String::from_utf8_lossy(&text).into_owned()))
            }
            '`' => self.scan_raw(),
            'b' | 'B' if matches!(self.peek(), Some('\'' | '"')) => {
                let quote = self.peek().unwrap_or_default();
                self.at += 1;
                self.scan_string(quote)?;
                let bytes = unescape(&self.chars[self.start + 1..self.at], true).map_err(|m| self.failed(m))?;
                let mut t = self.text_token(Kind::Bytes, String::new());
                t.bytes = bytes;
                Ok(t)
            }
            '0'..='9' => {
                self.at -= 1;
                self.number()
            }
            '?' => {
                self.accept(".?");
                Ok(self.token(Kind::Operator))
            }
            '#' => {
                self.accept("#");
                let t = self.token(Kind::Operator);
                self.accept_while(is_alphanumeric);
                if self.at > self.start {
                    self.queued = Some(self.token(Kind::Identifier));
                }
                Ok(t)
            }
            '|' => {
                self.accept("|");
                Ok(self.token(Kind::Operator))
            }
            ':' => {
                self.accept(":");
                Ok(self.token(Kind::Operator))
            }
            '(' | '[' | '{' | ')' | ']' | '}' => Ok(self.token(Kind::Bracket)),
            ',' | ';' | '%' | '+' | '-' | '^' | '/' => Ok(self.token(Kind::Operator)),
            '&' | '!' | '=' | '*' | '<' | '>' => {
                self.accept("&=*");
                Ok(self.token(Kind::Operator))
            }
            '.' => {
                if self.peek().is_some_and(|c| c.is_ascii_digit()) {
                    self.at -= 1;
                    return self.number();
                }
                self.accept(".");
                Ok(self.token(Kind::Operator))
            }
            c if is_alphanumeric(c) => Ok(self.identifier()),
            c => self.error(format!("unrecognized character: {}", unicode_name(c)), false),
        }
    }

    fn failed(&self, message: &str) -> LexError {
        LexError {
            message: message.into(),
            span: span(self.at.saturating_sub(1), self.at),
        }
    }

    fn identifier(&mut self) -> Token {
        self.accept_while(is_alphanumeric);
        let word = self.word();
        match word.as_str() {
            "not" => {
                let t = self.text_token(Kind::Operator, word);
                self.accept_while(|c| c == ' ');
                self.start = self.at;
                self.accept_while(is_alphanumeric);
                let next = self.word();
                if NEGATABLE.contains(&next.as_str()) {
                    self.queued = Some(self.text_token(Kind::Operator, next));
                } else {
                    self.at = self.start;
                }
                t
            }
            "in" | "or" | "and" | "matches" | "contains" | "startsWith" | "endsWith" | "let" | "if" | "else" => {
                self.text_token(Kind::Operator, word)
            }
            _ => self.text_token(Kind::Identifier, word),
        }
    }

    fn number(&mut self) -> Result<Token, LexError> {
        let mut digits = "0123456789_";
        if self.accept("0") {
            if self.accept("xX") {
                digits = "0123456789abcdefABCDEF_";
            } else if self.accept("oO") {
                digits = "01234567_";
            } else if self.accept("bB") {
                digits = "01_";
            }
        }
        self.accept_while(|c| digits.contains(c));
        let end = self.at;
        if self.accept(".") {
            if self.peek() == Some('.') {
                self.at = end; // the range operator, as in 1..2
                return Ok(self.token(Kind::Number));
            }
            self.accept_while(|c| digits.contains(c));
        }
        if self.accept("eE") {
            self.accept("+-");
            self.accept_while(|c| digits.contains(c));
        }
        if self.peek().is_some_and(is_alphanumeric) {
            self.at += 1;
            return self.error(format!("bad number syntax: {}", quote(&self.word())), false);
        }
        Ok(self.token(Kind::Number))
    }

    fn scan_raw(&mut self) -> Result<Token, LexError> {
        let mut text = String::new();
        loop {
            match self.peek() {
                None => return self.error("literal not terminated", true),
                Some('`') if self.chars.get(self.at + 1) == Some(&'`') => {
                    text.push('`'); // two backticks stand for one
                    self.at += 2;
                }
                Some('`') => {
                    self.at += 1;
                    return Ok(self.text_token(Kind::String, text));
                }
                Some(c) => {
                    text.push(c);
                    self.at += 1;
                }
            }
        }
    }

    /// Moves behind the closing quote, checking the escapes' form.
    fn scan_string(&mut self, quote: char) -> Result<(), LexError> {
        loop {
            match self.peek() {
                None => return self.error("literal not terminated", true),
                Some('\n') => {
                    self.at += 1;
                    return self.error("literal not terminated", false);
                }
                Some('\\') => {
                    self.at += 1;
                    self.scan_escape(quote)?;
                }
                Some(c) => {
                    self.at += 1;
                    if c == quote {
                        return Ok(());
                    }
                }
            }
        }
    }

    fn scan_escape(&mut self, quote: char) -> Result<(), LexError> {
        const BAD: &str = "invalid char escape";
        let Some(c) = self.peek() else {
            return self.error(BAD, true);
        };
        self.at += 1;
        match c {
            'a' | 'b' | 'f' | 'n' | 'r' | 't' | 'v' | '\\' => Ok(()),
            c if c == quote => Ok(()),
            '0'..='7' => {
                self.at -= 1;
                self.scan_digits(8, 3)
            }
            'x' => self.scan_digits(16, 2),
            'u' if self.peek() == Some('{') => {
                self.at += 1;
                let mut digits = 0;
                while self.peek() != Some('}') {
                    if digits >= 6 || !self.peek().is_some_and(|c| c.is_ascii_hexdigit()) {
                        return self.error(BAD, false);
                    }
                    self.at += 1;
                    digits += 1;
                }
                if digits == 0 {
                    return self.error(BAD, false);
                }
                self.at += 1;
                Ok(())
            }
            'u' => self.scan_digits(16, 4),
            'U' => self.scan_digits(16, 8),
            _ => self.error(BAD, false),
        }
    }

    fn scan_digits(&mut self, base: u32, n: usize) -> Result<(), LexError> {
        for _ in 0..n {
            match self.peek() {
                Some(c) if c.is_digit(base) => self.at += 1,
                other => {
                    self.at += usize::from(other.is_some());
                    return self.error("invalid char escape", other.is_none());
                }
            }
        }
        Ok(())
    }
}

fn span(from: usize, to: usize) -> Span {
    let cap = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
    Span {
        from: cap(from),
        to: cap(to),
    }
}

fn unicode_name(c: char) -> String {
    let code = format!("U+{:04X}", u32::from(c));
    if c.is_control() { code } else { format!("{code} '{c}'") }
}

/// Content of a quoted literal. In a string an escape is a code point, in bytes it is a byte.
fn unescape(quoted: &[char], as_bytes: bool) -> Result<Vec<u8>, &'static str> {
    const BAD: &str = "unable to unescape string";
    const OCTAL: &str = "unable to unescape octal sequence in string";
    let body = quoted.get(1..quoted.len().saturating_sub(1)).ok_or(BAD)?;
    let mut out = Vec::with_capacity(body.len());
    let mut i = 0;
    while let Some(&c) = body.get(i) {
        i += 1;
        if c == '\r' {
            // Line ends are one character everywhere.
            if body.get(i) == Some(&'\n') {
                i += 1;
            }
            out.push(b'\n');
            continue;
        }
        if c != '\\' {
            push_char(&mut out, c);
            continue;
        }
        let e = *body
            .get(i)
            .ok_or("unable to unescape string, found '\\' as last character")?;
        i += 1;
        match e {
            'a' => out.push(7),
            'b' => out.push(8),
            'f' => out.push(12),
            'n' => out.push(b'\n'),
            'r' => out.push(b'\r'),
            't' => out.push(b'\t'),
            'v' => out.push(11),
            '\\' | '\'' | '"' | '`' | '?' => push_char(&mut out, e),
            '0'..='3' => {
                let v = number(body, i - 1, 3, 8).ok_or(OCTAL)?;
                i += 2;
                push_code(&mut out, v, as_bytes).ok_or(BAD)?;
            }
            'x' => {
                let v = number(body, i, 2, 16).ok_or(BAD)?;
                i += 2;
                push_code(&mut out, v, as_bytes).ok_or(BAD)?;
            }
            'u' | 'U' if as_bytes => return Err(BAD),
            'u' if body.get(i) == Some(&'{') => {
                let len = body[i + 1..].iter().position(|c| *c == '}').ok_or(BAD)?;
                let v = number(body, i + 1, len, 16).ok_or(BAD)?;
                i += len + 2;
                push_code(&mut out, v, false).ok_or(BAD)?;
            }
            'u' | 'U' => {
                let len = if e == 'u' { 4 } else { 8 };
                let v = number(body, i, len, 16).ok_or(BAD)?;
                i += len;
                push_code(&mut out, v, false).ok_or(BAD)?;
            }
            _ => return Err(BAD),
        }
    }
    Ok(out)
}

fn number(body: &[char], from: usize, len: usize, base: u32) -> Option<u32> {
    let mut v: u32 = 0;
    for c in body.get(from..from.checked_add(len)?)? {
        v = v.checked_mul(base)?.checked_add(c.to_digit(base)?)?;
    }
    Some(v)
}

fn push_char(out: &mut Vec<u8>, c: char) {
    out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
}

fn push_code(out: &mut Vec<u8>, code: u32, as_byte: bool) -> Option<()> {
    if as_byte {
        out.push(u8::try_from(code).ok()?);
        return Some(());
    }
    if code > u32::from(char::MAX) {
        return None;
    }
    // A surrogate becomes the replacement character, as in Go.
    push_char(out, char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER));
    Some(())
}
