//! Takes a secret out of texts that people will read: as it is, and in the forms that addresses and quotations give it.
//! Knows nothing of runs and metrics.

/// The text with something else in place of every occurrence of the secret; with `only_words` of those that are no part of a
/// longer word.
pub fn redact(text: &str, secret: &str, instead: &str, only_words: bool) -> String {
    let is_word = |c: Option<char>| c.is_some_and(|c| c.is_alphanumeric() || c == '_');
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    let mut previous: Option<char> = None;
    while let Some(next) = rest.chars().next() {
        let found = begins_with(rest, secret).filter(|length| *length > 0);
        let hidden = found.filter(|length| {
            let follows = rest[*length..].chars().next();
            !only_words || !(is_word(previous) || is_word(follows))
        });
        let (taken, others) = rest.split_at(hidden.unwrap_or(next.len_utf8()));
        out.push_str(if hidden.is_some() { instead } else { taken });
        previous = taken.chars().next_back();
        rest = others;
    }
    out
}

/// How long the secret is at the beginning of the text, in whatever form.
fn begins_with(text: &str, secret: &str) -> Option<usize> {
    // A `\` or `%` of the secret is written as two, or as `%25`, where anything is: the longer form comes first.
    let written = secret.chars().try_fold(text, |rest, wanted| {
        quoted(rest, wanted)
            .or_else(|| in_an_address(rest, wanted))
            .or_else(|| rest.strip_prefix(wanted))
    });
    let rest = written.or_else(|| text.strip_prefix(secret))?;
    Some(text.len() - rest.len())
}

/// `\"`, `\\`, `\n`.
fn quoted(text: &str, wanted: char) -> Option<&str> {
    let escaped = match wanted {
        '\n' => 'n',
        '\r' => 'r',
        '\t' => 't',
        other => other,
    };
    text.strip_prefix('\\')?.strip_prefix(escaped)
}

/// `%20` and, in a query, `+`.
fn in_an_address(text: &str, wanted: char) -> Option<&str> {
    if wanted == ' '
        && let Some(rest) = text.strip_prefix('+')
    {
        return Some(rest);
    }
    let mut bytes = [0; 4];
    wanted.encode_utf8(&mut bytes).bytes().try_fold(text, |rest, byte| {
        let digits = rest.strip_prefix('%')?.get(..2)?;
        // A sign would be read as a part of the number.
        let is_number = digits.bytes().all(|digit| digit.is_ascii_hexdigit());
        (is_number && u8::from_str_radix(digits, 16) == Ok(byte)).then(|| &rest[3..])
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hidden(text: &str, secret: &str) -> String {
        redact(text, secret, "***", false)
    }

    #[test]
    fn every_form_is_hidden_and_nothing_else() {
        for (text, secret, wanted) in [
            ("a hunter2, hunter2 and hunter", "hunter2", "a ***, *** and hunter"),
            (r"C:\\x and C:\x", r"C:\x", "*** and ***"),
            (r"end\\", r"end\", "***"),
            ("a%2520b a%20b", "a%20b", "*** ***"),
            ("a+b a%20b a b", "a b", "*** *** ***"),
            (r"x\ny", "x\ny", "***"),
            ("100%", "%", "100***"),
            ("é%", "x", "é%"),
            ("%zz%+2%", "b", "%zz%+2%"),
            ("%é", "b", "%é"),
            ("nothing", "", "nothing"),
        ] {
            assert_eq!(hidden(text, secret), wanted, "{secret} in {text}");
        }
    }
}
