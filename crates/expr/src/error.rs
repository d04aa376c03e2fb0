//! What goes wrong in an expression, with the place in its source. The texts are the ones that upstream's users know.

use std::fmt::Write as _;

/// A stretch of the source, in characters: `from` is its first, `to` the one after its last.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Span {
    /// First character.
    pub from: u32,
    /// One after the last character.
    pub to: u32,
}

/// Why an expression cannot be compiled or evaluated.
///
/// [`Error::message`] is what Argo Rollouts shows in a measurement; `Display` adds line, column and the source line with a mark,
/// as `unknown name x (1:1)\n | x\n | ^`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}", self.full())]
pub struct Error {
    message: String,
    place: Option<Place>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Place {
    span: Span,
    line: usize,
    column: usize,
    source_line: String,
}

impl Error {
    pub(crate) fn at(message: impl Into<String>, span: Span, source: &str) -> Self {
        Self {
            message: message.into(),
            place: Place::find(span, source),
        }
    }

    /// Only what is wrong, without the place.
    #[must_use]
    pub fn message(&self) -> &str {
        &self.message
    }

    /// Where in the source, when the source has such a place.
    #[must_use]
    pub fn span(&self) -> Option<Span> {
        self.place.as_ref().map(|p| p.span)
    }

    fn full(&self) -> String {
        let mut out = self.message.clone();
        if let Some(p) = &self.place {
            let line = p.source_line.replace('\t', " ");
            // Writing to a String cannot fail.
            let _ = write!(
                out,
                " ({}:{})\n | {line}\n | {}^",
                p.line,
                p.column + 1,
                ".".repeat(p.column)
            );
        }
        out
    }
}

impl Place {
    fn find(span: Span, source: &str) -> Option<Self> {
        let (mut line, mut column, mut start) = (1, 0, 0);
        for (count, (i, c)) in source.char_indices().enumerate() {
            if count == span.from as usize {
                break;
            }
            if c == '\n' {
                line += 1;
                column = 0;
                start = i + 1;
            } else {
                column += 1;
            }
        }
        let source_line = source.get(start..)?.split('\n').next().unwrap_or_default();
        if source_line.is_empty() {
            return None;
        }
        Some(Self {
            span,
            line,
            column,
            source_line: source_line.to_owned(),
        })
    }
}

/// A failure while evaluating, before it is known where in the source it happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Failure(pub(crate) String);

impl Failure {
    pub(crate) fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }
}
