//! `make outcomes`: what a quarter of releases of 200 services does to their users, with a plain Deployment and with Serin and
//! its shipped templates. Everything is simulated from one seed; nothing here decides about a rollout.

mod deployment;
mod services;
mod table;
mod with_serin;

use std::{
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use anyhow::Result;
use clap::Parser;

use services::Release;
use table::Row;

/// Play a quarter of releases, with a plain Deployment and with Serin.
#[derive(Debug, Parser)]
struct Arguments {
    /// Services.
    #[arg(long, default_value_t = 200)]
    services: usize,
    /// Weeks, one release a week and service.
    #[arg(long, default_value_t = 13)]
    weeks: usize,
    /// Share of versions that are bad.
    #[arg(long, default_value_t = 0.18)]
    bad: f64,
    /// How long people take to notice that users suffer, and to act, in minutes.
    #[arg(long, default_value_t = 20)]
    people: u64,
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

/// Requests are counted for so long after each change.
const STAY: Duration = Duration::from_secs(5 * 3600);

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let releases = services::releases(arguments.services, arguments.weeks, arguments.bad, arguments.seed)?;
    let people = Duration::from_secs(arguments.people * 60);
    let next = AtomicUsize::new(0);
    let rows: Mutex<Vec<Result<Row>>> = Mutex::default();
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                while let Some(release) = releases.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let row = both(release, people);
                    let mut rows = rows.lock().unwrap_or_else(PoisonError::into_inner);
                    rows.push(row);
                    if rows.len().is_multiple_of(100) {
                        eprintln!("{} of {} releases", rows.len(), releases.len());
                    }
                }
            });
        }
    });
    let rows: Result<Vec<Row>> = rows
        .into_inner()
        .unwrap_or_else(PoisonError::into_inner)
        .into_iter()
        .collect();
    print!("{}", table::table(&rows?, &arguments.describe()));
    Ok(())
}

impl Arguments {
    fn describe(&self) -> String {
        format!(
            "{} services, {} weeks, a release a week each, {:.0}% of them bad; people go back {} minutes after users first suffer. Seed {}.",
            self.services,
            self.weeks,
            self.bad * 100.0,
            self.people,
            self.seed
        )
    }
}

fn both(release: &Release, people: Duration) -> Result<Row> {
    Ok(Row {
        bad: release.bad,
        deployment: deployment::roll(release, people, STAY)?,
        serin: with_serin::play(release, people, STAY)?,
    })
}
