//! The findings for people and for machines.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::line::{ALL, Line, Section, Status};

/// So many findings of one kind are all shown.
const ALL_SHOWN: usize = 5;
/// Of more, so many; the rest is counted.
const SHOWN: usize = 3;

/// How the findings are printed.
#[derive(Clone, Copy, Debug)]
pub(super) struct Style {
    pub(super) has_colour: bool,
    /// Each Rollout on a line of its own.
    pub(super) is_verbose: bool,
    /// Columns.
    pub(super) width: usize,
}

/// How many of each.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Count {
    pub(super) passed: usize,
    pub(super) warned: usize,
    pub(super) failed: usize,
}

pub(super) fn count(lines: &[Line]) -> Count {
    let of = |status| lines.iter().filter(|line| line.status == status).count();
    Count {
        passed: of(Status::Pass),
        warned: of(Status::Warn),
        failed: of(Status::Fail),
    }
}

/// Sorted as they are printed: by section and check, what fails first.
pub(super) fn sort(lines: &mut [Line]) {
    let place: BTreeMap<&str, usize> = ALL.iter().enumerate().map(|(i, check)| (check.id, i)).collect();
    lines.sort_by(|a, b| {
        let key = |line: &Line| (place.get(line.check.id).copied(), std::cmp::Reverse(line.status));
        key(a).cmp(&key(b)).then_with(|| a.about.cmp(&b.about))
    });
}

/// For machines. Its form is described in docs/check.md.
pub(super) fn json(lines: &[Line], exit: u8) -> Value {
    let Count { passed, warned, failed } = count(lines);
    let checks: Vec<Value> = lines
        .iter()
        .map(|line| {
            json!({
                "section": line.check.section.word(), "id": line.check.id, "status": line.status.word(),
                "object": line.about, "seen": line.seen, "advice": line.advice,
            })
        })
        .collect();
    json!({"passed": passed, "warned": warned, "failed": failed, "exitCode": exit, "checks": checks})
}

/// For people.
pub(super) fn text(lines: &[Line], style: Style) -> String {
    let mut out = String::new();
    for section in Section::ALL {
        let mine: Vec<&Line> = lines.iter().filter(|line| line.check.section == section).collect();
        if mine.is_empty() {
            continue;
        }
        if !out.is_empty() {
            out.push('\n');
        }
        out.push_str(&painted(section.title(), "1", style));
        out.push('\n');
        let mut rest = mine.as_slice();
        while let Some(first) = rest.first() {
            let same = rest
                .iter()
                .take_while(|line| (line.check.id, line.status) == (first.check.id, first.status))
                .count();
            let (group, others) = rest.split_at(same);
            write_group(&mut out, group, style);
            rest = others;
        }
    }
    out.push('\n');
    out.push_str(&summary(count(lines), style));
    out.push('\n');
    out
}

fn write_group(out: &mut String, group: &[&Line], style: Style) {
    let Some(first) = group.first() else { return };
    if style.is_verbose || group.len() == 1 {
        for line in group {
            write_line(out, line, style, true);
        }
        return;
    }
    if first.status == Status::Pass {
        let text = format!("{}: {}", kinds(group), first.check.fine);
        write_text(out, Status::Pass, &text, style);
        return;
    }
    // What is to be done is said once where it is the same.
    let shown = if group.len() <= ALL_SHOWN { group.len() } else { SHOWN };
    for (i, line) in group.iter().take(shown).enumerate() {
        let is_last_of_advice = group
            .get(i + 1)
            .filter(|_| i + 1 < shown)
            .is_none_or(|next| next.advice != line.advice);
        write_line(out, line, style, is_last_of_advice);
    }
    if group.len() > shown {
        let more = group.len() - shown;
        write_text(
            out,
            first.status,
            &format!("and {more} more of this kind ({}): -v lists each", first.check.id),
            style,
        );
    }
}

/// What goes on from a name; anything else stands behind a colon.
const VERBS: [&str; 18] = [
    "answers", "belongs", "can", "cannot", "does", "fits", "gives", "has", "is", "leads", "may", "names", "points",
    "runs", "scales", "selects", "still", "stores",
];

/// `12 Rollouts`.
fn kinds(group: &[&Line]) -> String {
    let kind = group[0].about.split(' ').next().unwrap_or_default();
    format!("{} {}", group.len(), plural(kind))
}

fn plural(kind: &str) -> String {
    match kind {
        "" => "of these".to_owned(),
        "Prometheus" => "addresses of Prometheus".to_owned(),
        kind => format!("{kind}s"),
    }
}

fn write_line(out: &mut String, line: &Line, style: Style, with_advice: bool) {
    let first = line.seen.split(' ').next().unwrap_or_default();
    let text = if line.about.is_empty() {
        line.seen.clone()
    } else if VERBS.contains(&first) {
        format!("{} {}", line.about, line.seen)
    } else {
        format!("{}: {}", line.about, line.seen)
    };
    write_text(out, line.status, &text, style);
    if with_advice && !line.advice.is_empty() {
        let shown = wrapped(&line.advice, style.width.saturating_sub(6));
        for (i, row) in shown.iter().enumerate() {
            let lead = if i == 0 { "→ " } else { "  " };
            out.push_str("    ");
            out.push_str(&painted(&format!("{lead}{row}"), "2", style));
            out.push('\n');
        }
    }
}

fn write_text(out: &mut String, status: Status, text: &str, style: Style) {
    let (sign, colour) = match status {
        Status::Pass => ("√", "32"),
        Status::Warn => ("‼", "33"),
        Status::Fail => ("×", "31"),
    };
    for (i, row) in wrapped(text, style.width.saturating_sub(2)).iter().enumerate() {
        if i == 0 {
            out.push_str(&painted(sign, colour, style));
            out.push(' ');
        } else {
            out.push_str("  ");
        }
        out.push_str(row);
        out.push('\n');
    }
}

fn summary(count: Count, style: Style) -> String {
    let Count { passed, warned, failed } = count;
    let warnings = if warned == 1 {
        "1 warning".to_owned()
    } else {
        format!("{warned} warnings")
    };
    let text = format!("{passed} passed, {warnings}, {failed} failed");
    let colour = match (warned, failed) {
        (0, 0) => "32",
        (_, 0) => "33",
        _ => "31",
    };
    painted(&text, colour, style)
}

fn painted(text: &str, colour: &str, style: Style) -> String {
    if style.has_colour {
        format!("\u{1b}[{colour}m{text}\u{1b}[0m")
    } else {
        text.to_owned()
    }
}

/// Rows of at most so many columns, broken at blanks. Rows that are indented are code and stay whole.
fn wrapped(text: &str, width: usize) -> Vec<String> {
    let mut rows = Vec::new();
    for row in text.split('\n') {
        if row.starts_with(' ') {
            rows.push(row.to_owned());
            continue;
        }
        let mut line = String::new();
        for word in row.split(' ') {
            let together = line.chars().count() + 1 + word.chars().count();
            if !line.is_empty() && together > width {
                rows.push(std::mem::take(&mut line));
            }
            if !line.is_empty() {
                line.push(' ');
            }
            line.push_str(word);
        }
        rows.push(line);
    }
    rows
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::line::{CRD, ROUTE, SERVICE};

    const PLAIN: Style = Style {
        has_colour: false,
        is_verbose: false,
        width: 60,
    };

    fn many() -> Vec<Line> {
        let mut lines: Vec<Line> = (0..198)
            .map(|i| ROUTE.pass(format!("Rollout shop/app-{i:03}"), "its HTTPRoute is there"))
            .collect();
        lines.push(ROUTE.fail(
            "Rollout shop/zebra",
            "its HTTPRoute is not there",
            "Create it:\n  kind: HTTPRoute  # as long as it is, it stays on one row of its own",
        ));
        lines.push(CRD.pass("CustomResourceDefinition a", "there"));
        sort(&mut lines);
        lines
    }

    #[test]
    fn what_is_fine_is_counted_and_what_is_not_is_shown() {
        let shown = text(&many(), PLAIN);
        let expected = "Resource definitions\n\
                        √ CustomResourceDefinition a: there\n\
                        \n\
                        Routes and gateways\n\
                        × Rollout shop/zebra: its HTTPRoute is not there\n\
                        \x20   → Create it:\n\
                        \x20       kind: HTTPRoute  # as long as it is, it stays on one row of its own\n\
                        √ 198 Rollouts: there\n\
                        \n\
                        199 passed, 0 warnings, 1 failed\n";
        assert_eq!(shown, expected);
    }

    #[test]
    fn verbose_lists_each() {
        let shown = text(
            &many(),
            Style {
                is_verbose: true,
                ..PLAIN
            },
        );
        assert_eq!(shown.matches("√ Rollout shop/app-").count(), 198);
    }

    #[test]
    fn equal_advice_is_given_once_and_a_flood_is_counted() {
        let mut lines: Vec<Line> = (0..200)
            .map(|i| SERVICE.fail(format!("Service shop/s-{i:03}"), "does not exist", "Create it."))
            .collect();
        sort(&mut lines);
        let shown = text(&lines, PLAIN);
        assert_eq!(shown.matches("does not exist").count(), 3, "{shown}");
        assert_eq!(shown.matches("Create it.").count(), 1, "{shown}");
        assert!(
            shown.contains("and 197 more of this kind (service): -v lists each"),
            "{shown}"
        );
    }

    #[test]
    fn colour_is_asked_for() {
        let style = Style {
            has_colour: true,
            ..PLAIN
        };
        let shown = text(&[SERVICE.fail("Service a/b", "does not exist", "")], style);
        assert!(shown.contains("\u{1b}[31m×\u{1b}[0m"), "{shown:?}");
    }
}
