//! Plays seeds, replays one, makes a failing one smaller.

#[cfg(feature = "mutants")]
mod mutants;
mod runner;

use std::{path::PathBuf, process::ExitCode};

use anyhow::{Context as _, Result, bail};
use clap::{Args, Parser, Subcommand};
use serin_simulation::{generate, judge, scenario::Scenario, shrink, trace};

/// A seed allocates and frees half a million times: this one takes a quarter of the time that glibc's takes for it.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

#[derive(Parser)]
#[command(about = "The whole controller, deterministically, in a Kubernetes in a process")]
struct Cli {
    #[command(subcommand)]
    command: Command,
    /// Puts this deliberate bug into the controller.
    #[cfg(feature = "mutants")]
    #[arg(long, global = true)]
    mutant: Option<String>,
}

#[derive(Subcommand)]
enum Command {
    /// Plays many seeds; ends with "N passed, N failed".
    Run(runner::Run),
    /// Plays one seed and prints everything that happened on standard output.
    Replay(One),
    /// Makes a failing seed smaller and prints what is left of it.
    Shrink(One),
    /// Which seeds notice which deliberate bugs; fails when one is not noticed.
    #[cfg(feature = "mutants")]
    Mutants(mutants::Mutants),
    /// Plays some of the seeds of `run`, one JSON line each.
    #[command(hide = true)]
    Work(runner::Work),
}

#[derive(Args)]
struct One {
    /// The seed.
    #[arg(required_unless_present = "scenario")]
    seed: Option<u64>,
    /// A scenario as `shrink --out` wrote it, instead of a seed.
    #[arg(long)]
    scenario: Option<PathBuf>,
    /// Where to write the scenario as JSON.
    #[arg(long)]
    out: Option<PathBuf>,
    /// Prints one line per notable thing instead of everything.
    #[arg(long)]
    timeline: bool,
    /// How many smaller scenarios are tried.
    #[arg(long, default_value_t = 400)]
    tries: usize,
    /// `off`: plans are not audited, whatever the seed says.
    #[arg(long)]
    audit: Option<String>,
}

impl One {
    fn load(&self) -> Result<Scenario> {
        let mut scenario = match (&self.scenario, self.seed) {
            (Some(path), _) => {
                let text = std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
                serde_json::from_str(&text).with_context(|| format!("{} is not a scenario", path.display()))?
            }
            (None, Some(seed)) => generate::scenario(seed),
            (None, None) => bail!("name a seed or a scenario"),
        };
        if self.audit.as_deref() == Some("off") {
            scenario.controller.audit = false;
        }
        if let Some(path) = &self.out {
            save(path, &scenario)?;
        }
        Ok(scenario)
    }
}

fn save(path: &std::path::Path, scenario: &Scenario) -> Result<()> {
    let text = serde_json::to_string_pretty(scenario).context("a scenario is JSON")?;
    std::fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))
}

fn main() -> Result<ExitCode> {
    judge::catch_panics();
    let cli = Cli::parse();
    #[cfg(feature = "mutants")]
    mutants::set(cli.mutant.as_deref())?;
    match cli.command {
        #[cfg(feature = "mutants")]
        Command::Mutants(mutants) => mutants::hunt_all(&mutants),
        Command::Run(run) => runner::run(&run),
        Command::Work(work) => runner::work(&work),
        Command::Replay(one) => replay(&one),
        Command::Shrink(one) => smaller(&one),
    }
}

fn replay(one: &One) -> Result<ExitCode> {
    let scenario = one.load()?;
    let start = std::time::Instant::now();
    let (played, findings) = judge::trial(&scenario)?;
    let took = start.elapsed();
    if let Some(played) = &played {
        if one.timeline {
            println!("{}", shrink::describe(&scenario));
            print!("{}", trace::timeline(&played.history));
        } else {
            print!("{}", trace::whole(&played.history));
        }
    }
    for finding in &findings {
        eprintln!("{finding}");
    }
    eprintln!(
        "{} violation(s), played and judged in {} ms",
        findings.len(),
        took.as_millis()
    );
    Ok(if findings.is_empty() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

fn smaller(one: &One) -> Result<ExitCode> {
    let scenario = one.load()?;
    let (_, findings) = judge::trial(&scenario)?;
    if findings.is_empty() {
        println!("no rule is broken");
        return Ok(ExitCode::SUCCESS);
    }
    let (small, tried) = shrink::shrink(&scenario, &findings, one.tries, |best| {
        eprint!(
            "\r{} faults, {} actions, {} apps ",
            best.faults.len(),
            best.actions.len(),
            best.apps.len()
        );
    })?;
    eprintln!();
    if let Some(path) = &one.out {
        save(path, &small)?;
    }
    let (played, findings) = judge::trial(&small)?;
    if let Some(played) = played {
        print!("{}", trace::timeline(&played.history));
    }
    println!("\nafter {tried} tries:\n{}", shrink::describe(&small));
    for finding in findings {
        println!("{finding}");
    }
    Ok(ExitCode::FAILURE)
}
