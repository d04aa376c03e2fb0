//! Whether the simulation notices bugs: each of [`Mutant::ALL`] is put into the controller, and seeds are played until one
//! breaks a rule that it does not break without the bug. Twice: as CI plays them, and without the audit, which stops some
//! bugs before they do harm.

use std::{
    collections::BTreeSet,
    io::{Write, stdout},
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    thread,
};

use serin_model::mutant::{Mutant, choose};

use crate::{
    generate,
    oracle::{self, Violation},
    run,
};

/// What is tried.
#[derive(Clone, Debug)]
pub struct Options {
    /// The first seed.
    pub from: u64,
    /// How many seeds a bug may live through: those of CI.
    pub seeds: u64,
    /// How many are played at a time.
    pub jobs: usize,
    /// Only this bug.
    pub only: Option<Mutant>,
}

/// Prints the table; true when no bug lived.
pub fn hunt_all(options: &Options) -> bool {
    let hunted: Vec<Mutant> = Mutant::ALL
        .into_iter()
        .filter(|mutant| options.only.is_none_or(|only| only == *mutant))
        .collect();
    println!("{:<30} {:>6}  {:<34} {:>10}  without it", "mutant", "seeds", "caught by", "no audit");
    let mut failed = 0;
    for mutant in &hunted {
        print!("{:<30}", mutant.name());
        for (audit, width) in [(None, 34), (Some(false), 0)] {
            // A line grows while it is waited for.
            let _ = stdout().flush();
            let text = match hunt(options, *mutant, audit) {
                Some(caught) => {
                    let rules: Vec<String> = caught.rules.iter().map(ToString::to_string).collect();
                    format!("{:>7}  {:<width$}", caught.tried, format!("{} (seed {})", rules.join(" "), caught.seed))
                }
                None => {
                    failed += usize::from(audit.is_none());
                    format!("{:>7}  {:<width$}", options.seeds, "LIVES")
                }
            };
            print!("{text}{}", if audit.is_none() { "    " } else { "\n" });
        }
    }
    println!("{} passed, {failed} failed", hunted.len() - failed);
    failed == 0
}

struct Caught {
    seed: u64,
    tried: u64,
    rules: BTreeSet<oracle::Rule>,
}

/// The first seed that breaks a rule because of the bug.
fn hunt(options: &Options, mutant: Mutant, audit: Option<bool>) -> Option<Caught> {
    let end = options.from + options.seeds;
    let mut from = options.from;
    loop {
        choose(Some(mutant));
        let (seed, broken) = first_broken(from, end, options.jobs, audit)?;
        choose(None);
        let without = play(seed, audit);
        if without.is_empty() {
            return Some(Caught {
                seed,
                tried: seed + 1 - options.from,
                rules: broken.iter().map(|violation| violation.rule).collect(),
            });
        }
        eprintln!("seed {seed} is no witness, it breaks a rule without the bug too: {}", without[0]);
        from = seed + 1;
    }
}

/// The lowest seed that breaks a rule, whatever the number of jobs.
fn first_broken(from: u64, end: u64, jobs: usize, audit: Option<bool>) -> Option<(u64, Vec<Violation>)> {
    let next = AtomicU64::new(from);
    let found = Mutex::new(None::<(u64, Vec<Violation>)>);
    let known = || found.lock().unwrap_or_else(PoisonError::into_inner);
    let work = || {
        loop {
            let seed = next.fetch_add(1, Ordering::SeqCst);
            // Those below the one that was found are being played by the other jobs, which end them.
            if seed >= end || known().as_ref().is_some_and(|(best, _)| *best < seed) {
                return;
            }
            let broken = play(seed, audit);
            let mut best = known();
            if !broken.is_empty() && best.as_ref().is_none_or(|(best, _)| seed < *best) {
                *best = Some((seed, broken));
            }
        }
    };
    thread::scope(|scope| {
        for _ in 0..jobs.max(1) {
            scope.spawn(work);
        }
    });
    found.into_inner().unwrap_or_else(PoisonError::into_inner)
}

fn play(seed: u64, audit: Option<bool>) -> Vec<Violation> {
    let mut scenario = generate::scenario(seed);
    scenario.controller.audit = audit.unwrap_or(scenario.controller.audit);
    oracle::check(&run::play(&scenario))
}
