//! Whether the simulation notices bugs: each of [`Mutant::ALL`] is put into the controller, and seeds are played until one
//! breaks a rule that it does not break without the bug. Twice: as CI plays them, and without the audit, which stops some
//! bugs before they do harm.

use std::{
    collections::BTreeSet,
    io::{BufRead as _, BufReader, Write as _, stdout},
    process::{Child, Command, ExitCode, Stdio},
    sync::atomic::{AtomicU64, Ordering},
    thread,
};

use anyhow::{Context as _, Result, bail};
use clap::Args;
use serde_json::Value;
use serin_model::mutant::{Mutant, choose};

#[derive(Args, Clone)]
pub(crate) struct Mutants {
    /// How many seeds a bug may live through: those of CI.
    #[arg(long, default_value_t = 2000)]
    seeds: u64,
    /// The first one.
    #[arg(long, default_value_t = 0)]
    from: u64,
    /// Processes; as many as there are cores when left out.
    #[arg(long)]
    jobs: Option<u64>,
    /// Only these bugs.
    names: Vec<String>,
}

/// Puts the bug of this name into everything that this process plays.
///
/// # Errors
/// There is none of that name.
pub(crate) fn set(name: Option<&str>) -> Result<()> {
    let mutant = name.map(|name| {
        let all = || Mutant::ALL.map(Mutant::name).join(", ");
        Mutant::of_name(name).with_context(|| format!("--mutant {name}: there is no such bug; it is one of {}", all()))
    });
    choose(mutant.transpose()?);
    Ok(())
}

/// Prints the table; fails when a bug lived that was played as CI plays.
///
/// # Errors
/// A name is unknown, or seeds cannot be played at all.
pub(crate) fn hunt_all(options: &Mutants) -> Result<ExitCode> {
    for name in &options.names {
        set(Some(name))?;
    }
    let wanted = |mutant: &Mutant| options.names.is_empty() || options.names.iter().any(|name| name == mutant.name());
    let hunted: Vec<Mutant> = Mutant::ALL.into_iter().filter(wanted).collect();
    println!(
        "{:<29} {:>5}  {:<44} {:>5}  without the audit",
        "mutant", "seeds", "caught by", "seeds"
    );
    let mut lived = 0;
    for mutant in &hunted {
        print!("{:<29}", mutant.name());
        for audit in [true, false] {
            // A line grows while it is waited for.
            stdout().flush().context("nobody reads")?;
            let (seeds, how) = match hunt(options, *mutant, audit)? {
                Some(Caught { seed, rules }) => (seed + 1 - options.from, format!("{} (seed {seed})", rules.join(" "))),
                None => (options.seeds, "LIVES".to_owned()),
            };
            lived += usize::from(audit && how == "LIVES");
            print!(" {seeds:>5}  {how:<width$}", width = if audit { 44 } else { 0 });
        }
        println!();
    }
    println!("{} passed, {lived} failed", hunted.len() - lived);
    Ok(if lived == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

struct Caught {
    seed: u64,
    rules: Vec<String>,
}

/// The first seed that breaks a rule because of the bug.
fn hunt(options: &Mutants, mutant: Mutant, audit: bool) -> Result<Option<Caught>> {
    let end = options.from + options.seeds;
    let jobs = options
        .jobs
        .unwrap_or_else(|| thread::available_parallelism().map_or(1, |n| n.get() as u64));
    let mut from = options.from;
    while let Some(caught) = first_broken(from..end, jobs, Some(mutant), audit)? {
        let seed = caught.seed;
        let Some(without) = first_broken(seed..seed + 1, 1, None, audit)? else {
            return Ok(Some(caught));
        };
        eprintln!(
            "\nseed {seed} is no witness: it breaks {} without a bug, too",
            without.rules.join(" ")
        );
        from = seed + 1;
    }
    Ok(None)
}

/// The lowest seed that breaks a rule, whatever the number of processes.
fn first_broken(seeds: std::ops::Range<u64>, jobs: u64, mutant: Option<Mutant>, audit: bool) -> Result<Option<Caught>> {
    let best = AtomicU64::new(u64::MAX);
    let found = thread::scope(|scope| {
        let shares: Vec<_> = (0..jobs)
            .map(|job| {
                let (seeds, best) = (seeds.start + job..seeds.end, &best);
                scope.spawn(move || share(seeds, jobs, mutant, audit, best))
            })
            .collect();
        let ended = shares.into_iter().map(|share| share.join());
        ended
            .map(|end| end.unwrap_or_else(|_| bail!("a thread that reads seeds panicked")))
            .collect::<Result<Vec<_>>>()
    })?;
    Ok(found.into_iter().flatten().min_by_key(|caught| caught.seed))
}

/// One process' share of the seeds, up to the first that breaks a rule, or to one that is above another's find.
fn share(
    seeds: std::ops::Range<u64>,
    step: u64,
    mutant: Option<Mutant>,
    audit: bool,
    best: &AtomicU64,
) -> Result<Option<Caught>> {
    let mut process = spawn(&seeds, step, mutant, audit)?;
    let output = process.stdout.take().context("a process without output")?;
    let mut next = seeds.start;
    let mut caught = None;
    for line in BufReader::new(output).lines() {
        let outcome: Value = serde_json::from_str(&line?).context("not the outcome of a seed")?;
        let findings = outcome["findings"].as_array().cloned().unwrap_or_default();
        let rules: BTreeSet<&str> = findings.iter().filter_map(|finding| finding["rule"].as_str()).collect();
        if !rules.is_empty() {
            let rules = rules.into_iter().map(str::to_owned).collect();
            caught = Some(Caught { seed: next, rules });
            best.fetch_min(next, Ordering::SeqCst);
            break;
        }
        next += step;
        if next > best.load(Ordering::SeqCst) {
            break;
        }
    }
    let is_over = caught.is_some() || next >= seeds.end || next > best.load(Ordering::SeqCst);
    if is_over {
        let _ = process.kill();
    }
    let status = process.wait().context("a process is lost")?;
    if is_over {
        return Ok(caught);
    }
    // It gave up on a seed that did not come to an end.
    if status.code() != Some(3) {
        bail!("seed {next} could not be played: {status}");
    }
    best.fetch_min(next, Ordering::SeqCst);
    Ok(Some(Caught {
        seed: next,
        rules: vec!["endless".to_owned()],
    }))
}

fn spawn(seeds: &std::ops::Range<u64>, step: u64, mutant: Option<Mutant>, audit: bool) -> Result<Child> {
    let mut command = Command::new(std::env::current_exe().context("where am I?")?);
    command
        .arg("work")
        .args(["--from", &seeds.start.to_string()])
        .args(["--to", &seeds.end.to_string()])
        .args(["--step", &step.to_string()])
        .stdout(Stdio::piped());
    if !audit {
        command.args(["--audit", "off"]);
    }
    if let Some(mutant) = mutant {
        command.args(["--mutant", mutant.name()]);
    }
    command.spawn().context("cannot start a process of my own kind")
}
