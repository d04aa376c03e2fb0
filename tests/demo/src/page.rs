//! The terminal: columns, wrapping, colours where there is a terminal. Everything is readable without them.

use std::fmt::Write as _;
use std::io::{IsTerminal, Write as _};

use crate::timeline::{Line, Tone};

const NARROWEST: usize = 72;
const WIDEST: usize = 120;
/// Terminals from this width on get a bar for the weight.
const WIDE: usize = 100;
/// `[##########] `
const BAR: usize = 13;

/// Where the timeline is written.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Page {
    colours: bool,
    width: usize,
}

impl Page {
    /// Standard output as it is.
    pub(crate) fn new() -> Self {
        let terminal = std::io::stdout().is_terminal();
        let columns = std::env::var("COLUMNS").ok().and_then(|c| c.parse().ok());
        Self {
            colours: terminal && std::env::var_os("NO_COLOR").is_none_or(|v| v.is_empty()),
            width: columns.unwrap_or(110).clamp(NARROWEST, WIDEST),
        }
    }

    /// A heading with a rule below.
    pub(crate) fn heading(self, text: &str) {
        self.print(&format!(
            "\n{}\n{}\n",
            self.paint("1", text),
            "-".repeat(text.chars().count().min(self.width))
        ));
    }

    /// The columns of a timeline.
    pub(crate) fn columns(self, version: &str) {
        let left = match self.has_bar() {
            true => format!("    time  traffic to {version}"),
            false => format!("    time    {version}"),
        };
        let indent = self.indent();
        self.print(&format!(
            "{}\n",
            self.paint("2", &format!("{left:<indent$}what happened"))
        ));
    }

    fn has_bar(self) -> bool {
        self.width >= WIDE
    }

    /// Where the words of a timeline begin.
    fn indent(self) -> usize {
        let bar = if self.has_bar() { BAR } else { 0 };
        " 123.4 s  100 %  ".len() + bar
    }

    /// A paragraph.
    pub(crate) fn say(self, text: &str) {
        self.print(&format!("{}\n", wrap(text, self.width).join("\n")));
    }

    /// A line of the timeline, `seconds` after the release began, with the new version's share of traffic then.
    pub(crate) fn line(self, seconds: f64, weight: i64, line: &Line) {
        let bar = if self.has_bar() {
            format!("[{}] ", bar(weight))
        } else {
            String::new()
        };
        let left = format!("{seconds:>6.1} s  {bar}{weight:>3} %  ");
        let indent = self.indent();
        let mut out = String::new();
        // Continuation lines hang below the text, deeper where the text itself is indented.
        let hang = line.text.len() - line.text.trim_start().len();
        for (index, part) in wrap(&line.text, self.width - indent).iter().enumerate() {
            let start = if index == 0 {
                self.paint("2", &left)
            } else {
                " ".repeat(indent + hang)
            };
            let colour = match line.tone {
                Tone::Plain => "",
                Tone::Traffic => "1",
                Tone::Good => "32",
                Tone::Bad => "31",
            };
            let _ = writeln!(out, "{start}{}", self.paint(colour, part));
        }
        self.print(&out);
    }

    /// A paragraph that says whether all is well.
    pub(crate) fn verdict(self, good: bool, text: &str) {
        let code = if good { "1;32" } else { "1;31" };
        for part in wrap(text, self.width) {
            self.print(&format!("{}\n", self.paint(code, &part)));
        }
    }

    fn paint(self, code: &str, text: &str) -> String {
        if self.colours && !code.is_empty() {
            format!("\x1b[{code}m{text}\x1b[0m")
        } else {
            text.to_owned()
        }
    }

    /// A reader that went away (a closed pipe) must not end the demo before it has cleaned up.
    pub(crate) fn print(self, text: &str) {
        let mut out = std::io::stdout().lock();
        let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
    }
}

/// Ten characters for 0 to 100; any traffic at all shows.
fn bar(weight: i64) -> String {
    let full = usize::try_from((weight + 9) / 10).unwrap_or(0).min(10);
    format!("{}{}", "#".repeat(full), ".".repeat(10 - full))
}

/// Breaks at spaces; a word longer than a line stays whole. Leading spaces and runs of spaces on the first line stay.
fn wrap(text: &str, width: usize) -> Vec<String> {
    let mut lines = Vec::new();
    let mut rest = text;
    while rest.chars().count() > width {
        let limit = rest.char_indices().nth(width).map_or(rest.len(), |(at, _)| at);
        let indent = rest.len() - rest.trim_start().len();
        let inside = rest[..limit].rfind(' ').filter(|at| *at > indent);
        let Some(at) = inside.or_else(|| rest[limit..].find(' ').map(|at| at + limit)) else {
            break;
        };
        lines.push(rest[..at].trim_end().to_owned());
        rest = rest[at..].trim_start();
    }
    lines.push(rest.to_owned());
    lines
}

/// A table: columns as wide as their widest cell, numbers to the right where `right` says so.
pub(crate) fn table(rows: &[Vec<String>], right: &[bool]) -> String {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column));
        cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let mut out = String::new();
    for (index, row) in rows.iter().enumerate() {
        let cells = row.iter().enumerate().map(|(column, cell)| {
            let width = widths[column];
            if right.get(column) == Some(&true) {
                format!("{cell:>width$}")
            } else {
                format!("{cell:<width$}")
            }
        });
        let line = cells.collect::<Vec<_>>().join("  ");
        let _ = writeln!(out, "{}", line.trim_end());
        if index == 0 {
            let rule: Vec<String> = widths.iter().map(|width| "-".repeat(*width)).collect();
            let _ = writeln!(out, "{}", rule.join("  "));
        }
    }
    out
}

/// `12,345`
pub(crate) fn grouped(number: usize) -> String {
    let digits = number.to_string();
    let mut out = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_lines_break_at_spaces_and_long_words_stay_whole() {
        assert_eq!(wrap("one two three", 8), ["one two", "three"]);
        assert_eq!(wrap("a-very-long-word b", 5), ["a-very-long-word", "b"]);
        assert_eq!(wrap("  ok  value", 40), ["  ok  value"]);
        assert_eq!(wrap("", 10), [""]);
    }

    #[test]
    fn a_bar_shows_the_smallest_weight() {
        assert_eq!((bar(0), bar(1)), ("..........".into(), "#.........".into()));
        assert_eq!((bar(50), bar(100)), ("#####.....".into(), "##########".into()));
    }

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let rows = [
            vec!["release".to_owned(), "n".to_owned()],
            vec!["v2".to_owned(), "12".to_owned()],
        ];
        assert_eq!(table(&rows, &[false, true]), "release   n\n-------  --\nv2       12\n");
    }

    #[test]
    fn thousands_are_grouped() {
        let all = [0, 999, 1000, 1_234_567].map(grouped);
        assert_eq!(all, ["0", "999", "1,000", "1,234,567"]);
    }
}
