//! The tables: sums over releases, by what was wrong with them.

use std::{fmt::Write as _, time::Duration};

use crate::{
    deployment::Rolled,
    services::Bad,
    with_serin::{End, Played},
};

/// One release, both ways.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Row {
    /// What was wrong with the version.
    pub(crate) bad: Option<Bad>,
    /// As a plain Deployment.
    pub(crate) deployment: Rolled,
    /// With Serin.
    pub(crate) serin: Played,
}

/// Markdown, for docs/benchmarks.md.
pub(crate) fn table(rows: &[Row], assumptions: &str) -> String {
    let mut out = format!("{assumptions}\n\n");
    out.push_str("| bad versions | releases | escaped: Deployment | Serin | failed requests: Deployment | Serin | slow requests: Deployment | Serin | recovery, median: Deployment | Serin | wait for a person |\n");
    out.push_str("|---|---|---|---|---|---|---|---|---|---|---|\n");
    for bad in Bad::ALL {
        let some: Vec<&Row> = rows.iter().filter(|row| row.bad == Some(bad)).collect();
        line(&mut out, bad.name(), &some);
    }
    let all: Vec<&Row> = rows.iter().filter(|row| row.bad.is_some()).collect();
    line(&mut out, "**all**", &all);
    let good: Vec<&Row> = rows.iter().filter(|row| row.bad.is_none()).collect();
    let ended = |end: End| good.iter().filter(|row| row.serin.end == end).count();
    let share = |n: usize, of: usize| 100.0 * n as f64 / of.max(1) as f64;
    let escaped = all.iter().filter(|row| escaped_serin(row)).count();
    let escaped_before = all.iter().filter(|row| row.deployment.complete).count();
    let _ = writeln!(
        out,
        "\nOf {} good versions Serin promoted {}, took {} back ({:.2}%: false aborts), and {} waited for data or a person.\n\
         Change failure rate (bad versions that got all traffic, of all releases): Deployment {:.1}%, Serin {:.1}%.",
        good.len(),
        ended(End::Promoted),
        ended(End::Aborted),
        share(ended(End::Aborted), good.len()),
        ended(End::Waits),
        share(escaped_before, rows.len()),
        share(escaped, rows.len()),
    );
    out
}

fn escaped_serin(row: &Row) -> bool {
    row.bad.is_some() && row.serin.end == End::Promoted
}

fn line(out: &mut String, name: &str, rows: &[&Row]) {
    let count = |is: &dyn Fn(&Row) -> bool| rows.iter().filter(|row| is(row)).count();
    let sum = |of: &dyn Fn(&Row) -> u64| rows.iter().map(|row| of(row)).sum::<u64>();
    let median = |of: &dyn Fn(&Row) -> Option<Duration>| {
        let mut all: Vec<Duration> = rows.iter().filter_map(|row| of(row)).collect();
        all.sort();
        all.get(all.len() / 2)
            .map_or("-".to_owned(), |d| format!("{:.1} min", d.as_secs_f64() / 60.0))
    };
    let of_deployment = |row: &Row| row.deployment.totals.failed_at_new + row.deployment.totals.unanswered;
    let _ = writeln!(
        out,
        "| {name} | {} | {} | {} | {} | {} | {} | {} | {} | {} | {} |",
        rows.len(),
        count(&|row| row.deployment.complete),
        count(&escaped_serin),
        sum(&of_deployment),
        sum(&|row| row.serin.failed),
        sum(&|row| row.deployment.totals.slow_at_new),
        sum(&|row| row.serin.slow),
        median(&|row| row.deployment.off),
        median(&|row| row.serin.off),
        count(&|row| row.serin.end == End::Waits),
    );
}
