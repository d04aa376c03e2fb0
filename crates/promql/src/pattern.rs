//! Regular expressions as PromQL has them: Go's syntax, always for the whole text. Both engines are linear in time; where
//! their syntaxes differ the pattern is rewritten.

use regex::{Regex, RegexBuilder};

/// Bytes of one compiled pattern.
const SIZE_LIMIT: usize = 1 << 20;
const NEST_LIMIT: u32 = 50;

/// A pattern for the whole of a text.
#[derive(Clone, Debug)]
pub(crate) struct Pattern(Regex);

impl Pattern {
    pub(crate) fn new(pattern: &str) -> Result<Self, String> {
        // Alone first: `a)(b` must not become whole by the anchors' parentheses.
        let rewritten = rewrite(pattern);
        let build = |text: &str| {
            RegexBuilder::new(text)
                .size_limit(SIZE_LIMIT)
                .nest_limit(NEST_LIMIT)
                .dot_matches_new_line(true)
                .build()
        };
        build(&rewritten)
            .and_then(|_| build(&format!(r"\A(?:{rewritten})\z")))
            .map(Self)
            .map_err(|e| {
                let last = e.to_string();
                let reason = last.lines().last().unwrap_or_default();
                format!(
                    "invalid regular expression {pattern:?}: {}",
                    reason.trim_start_matches("error: ")
                )
            })
    }

    pub(crate) fn matches(&self, text: &str) -> bool {
        self.0.is_match(text)
    }

    /// If the whole text matches: `template` with `$1`, `${name}` replaced by what the groups hold.
    pub(crate) fn expand(&self, text: &str, template: &str) -> Option<String> {
        let captures = self.0.captures(text)?;
        let mut out = String::new();
        captures.expand(template, &mut out);
        Some(out)
    }
}

/// `\d`, `\w`, `\s` and `\b` are ASCII in Go, `\Q...\E` quotes, a `{` that counts nothing stands for itself, and classes
/// know no sets within sets.
fn rewrite(pattern: &str) -> String {
    let mut out = String::with_capacity(pattern.len() + 8);
    let mut rest = pattern;
    while let Some(c) = rest.chars().next() {
        rest = &rest[c.len_utf8()..];
        match c {
            '\\' => rest = escape(rest, &mut out, false),
            '[' => rest = class(rest, &mut out),
            '{' if !counts(rest) => out.push_str(r"\{"),
            _ => out.push(c),
        }
    }
    out
}

/// Whether `{` is followed by what makes it a repetition.
fn counts(rest: &str) -> bool {
    let Some((inside, _)) = rest.split_once('}') else {
        return false;
    };
    let (low, high) = inside.split_once(',').unwrap_or((inside, ""));
    !low.is_empty() && low.bytes().chain(high.bytes()).all(|b| b.is_ascii_digit())
}

fn escape<'a>(rest: &'a str, out: &mut String, in_class: bool) -> &'a str {
    let Some(c) = rest.chars().next() else {
        out.push('\\');
        return rest;
    };
    let after = &rest[c.len_utf8()..];
    let (single, inside) = match c {
        'd' => ("[0-9]", "0-9"),
        'D' => ("[^0-9]", "[^0-9]"),
        'w' => ("[0-9A-Za-z_]", "0-9A-Za-z_"),
        'W' => ("[^0-9A-Za-z_]", "[^0-9A-Za-z_]"),
        's' => (r"[\t\n\f\r ]", r"\t\n\f\r "),
        'S' => (r"[^\t\n\f\r ]", r"[^\t\n\f\r ]"),
        'b' if !in_class => (r"(?-u:\b)", ""),
        'B' if !in_class => (r"(?-u:\B)", ""),
        'Q' if !in_class => {
            let (quoted, after) = after.split_once(r"\E").unwrap_or((after, ""));
            out.push_str(&regex::escape(quoted));
            return after;
        }
        _ => {
            out.push('\\');
            out.push(c);
            return after;
        }
    };
    out.push_str(if in_class { inside } else { single });
    after
}

/// From behind the `[` to behind its `]`.
fn class<'a>(mut rest: &'a str, out: &mut String) -> &'a str {
    out.push('[');
    if let Some(after) = rest.strip_prefix('^') {
        out.push('^');
        rest = after;
    }
    let mut first = true;
    while let Some(c) = rest.chars().next() {
        let after = &rest[c.len_utf8()..];
        match c {
            ']' if !first => {
                out.push(']');
                return after;
            }
            '\\' => rest = escape(after, out, true),
            '[' => {
                let named = after
                    .strip_prefix(':')
                    .and_then(|text| text.find(":]").map(|end| end + 3));
                if let Some(length) = named {
                    out.push('[');
                    out.push_str(&after[..length]);
                    rest = &after[length..];
                } else {
                    out.push_str(r"\[");
                    rest = after;
                }
            }
            '&' | '~' | ']' => {
                out.push('\\');
                out.push(c);
                rest = after;
            }
            _ => {
                out.push(c);
                rest = after;
            }
        }
        first = false;
    }
    rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_match_the_whole_text_in_the_syntax_of_go() {
        for (pattern, text, matches) in [
            ("5..", "500", true),
            ("5..", "5000", false),
            ("a|b", "ab", false),
            (r"\d+", "12", true),
            (r"\d+", "١٢", false),
            (r"[\d.]+", "1.2", true),
            (r"[^\d]", "a", true),
            (r"\Qa.b\E+", "a.bb", true),
            (r"\Qa.b\E", "axb", false),
            ("a{x}", "a{x}", true),
            ("a{2}", "aa", true),
            ("[[a]", "[", true),
            ("[]a]", "]", true),
            ("[a&&b]", "&", true),
            ("[[:alpha:]-]+", "a-b", true),
            ("a.b", "a\nb", true),
            ("(?i)get", "GET", true),
            ("", "", true),
        ] {
            let compiled = Pattern::new(pattern).expect(pattern);
            assert_eq!(compiled.matches(text), matches, "{pattern} on {text}");
        }
        for pattern in ["(", "a)(b", "*a", "[", r"\", "(?<=a)b", "[z-a]", "a{9999}{9999}"] {
            assert!(Pattern::new(pattern).is_err(), "{pattern}");
        }
    }

    #[test]
    fn groups_are_put_into_templates() {
        let pattern = Pattern::new("(?P<first>[a-z]+)-(.*)").expect("a pattern");
        assert_eq!(pattern.expand("ab-7", "$2/${first}$x$$").as_deref(), Some("7/ab$"));
        assert_eq!(pattern.expand("7", "$1"), None);
    }
}
