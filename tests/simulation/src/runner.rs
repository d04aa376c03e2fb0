//! Many seeds on many processes: one thread of virtual time each.

use std::{
    collections::BTreeMap,
    io::{BufRead as _, BufReader, IsTerminal as _, Write as _},
    process::{Child, Command, ExitCode, Stdio},
    sync::{
        atomic::{AtomicU64, Ordering},
        mpsc,
    },
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};
use clap::Args;
use serde::{Deserialize, Serialize};
use serin_simulation::{
    coverage::Coverage,
    generate,
    judge::{self, Finding},
    shrink, trace,
};

/// A run that takes longer than this never ends.
const STUCK: Duration = Duration::from_secs(120);
/// Each seed that is a multiple of this is played three times: once to be judged, twice to be compared.
const COMPARED: u64 = 100;
/// Failing seeds that are shown whole; of the others the rule.
const SHOWN: usize = 3;

#[derive(Args, Clone)]
pub(crate) struct Run {
    /// How many seeds.
    #[arg(long, default_value_t = 2000)]
    pub(crate) seeds: u64,
    /// The first one.
    #[arg(long, default_value_t = 0)]
    pub(crate) from: u64,
    /// Processes; as many as there are cores when left out.
    #[arg(long)]
    jobs: Option<u64>,
    /// `off`: plans are not audited, whatever the seeds say.
    #[arg(long)]
    audit: Option<String>,
    /// Fails when a cell of the required table was reached less often.
    #[arg(long)]
    require: Option<u64>,
    /// Prints what was covered.
    #[arg(long)]
    table: bool,
    /// Failing seeds are not made smaller.
    #[arg(long)]
    quick: bool,
}

#[derive(Args, Clone)]
pub(crate) struct Work {
    #[arg(long)]
    from: u64,
    #[arg(long)]
    to: u64,
    #[arg(long)]
    step: u64,
    #[arg(long)]
    audit: Option<String>,
}

/// What came of one seed.
#[derive(Serialize, Deserialize)]
struct Outcome {
    seed: u64,
    findings: Vec<Finding>,
    /// Virtual milliseconds.
    time: u64,
    requests: u64,
    coverage: Coverage,
}

/// Plays its share and prints an [`Outcome`] per line.
pub(crate) fn work(work: &Work) -> Result<ExitCode> {
    let now = std::sync::Arc::new(AtomicU64::new(u64::MAX));
    watch_over(std::sync::Arc::clone(&now));
    let mut out = std::io::stdout().lock();
    let mut seed = work.from;
    while seed < work.to {
        now.store(seed, Ordering::SeqCst);
        let mut scenario = generate::scenario(seed);
        if work.audit.as_deref() == Some("off") {
            scenario.controller.audit = false;
        }
        let (played, mut findings) = judge::trial(&scenario).with_context(|| format!("seed {seed}"))?;
        if seed.is_multiple_of(COMPARED)
            && let Some(differs) = judge::repeat(&scenario)?
        {
            findings.push(Finding {
                rule: "determinism".into(),
                at: 0,
                object: "-".into(),
                message: differs,
            });
        }
        let outcome = Outcome {
            seed,
            findings,
            time: played
                .as_ref()
                .map_or(0, |p| u64::try_from(p.history.end.as_millis()).unwrap_or(0)),
            requests: played.as_ref().map_or(0, |p| p.history.requests.len() as u64),
            coverage: played.as_ref().map(Coverage::of).unwrap_or_default(),
        };
        serde_json::to_writer(&mut out, &outcome).context("nobody reads")?;
        out.write_all(b"\n").context("nobody reads")?;
        seed += work.step;
    }
    Ok(ExitCode::SUCCESS)
}

/// Ends the process when one seed takes for ever: virtual time that does not move cannot end it.
fn watch_over(now: std::sync::Arc<AtomicU64>) {
    std::thread::spawn(move || {
        let (mut seen, mut since) = (u64::MAX, Instant::now());
        loop {
            std::thread::sleep(Duration::from_secs(1));
            let seed = now.load(Ordering::SeqCst);
            if seed != seen {
                (seen, since) = (seed, Instant::now());
            } else if since.elapsed() > STUCK {
                eprintln!("\nseed {seed} does not come to an end");
                std::process::exit(3);
            }
        }
    });
}

/// Plays all seeds and says what came of them.
pub(crate) fn run(run: &Run) -> Result<ExitCode> {
    let jobs = run
        .jobs
        .unwrap_or_else(|| std::thread::available_parallelism().map_or(1, |n| n.get() as u64));
    let began = Instant::now();
    let (sender, outcomes) = mpsc::channel();
    let mut children = Vec::new();
    for job in 0..jobs {
        let mut child = spawn(run, job, jobs)?;
        let output = child.stdout.take().context("a child without output")?;
        let sender = sender.clone();
        std::thread::spawn(move || {
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                if let Ok(outcome) = serde_json::from_str::<Outcome>(&line)
                    && sender.send(outcome).is_err()
                {
                    return;
                }
            }
        });
        children.push(child);
    }
    drop(sender);
    let (mut played, mut time, mut requests) = (0_u64, 0_u64, 0_u64);
    let mut coverage = Coverage::default();
    let mut failed: BTreeMap<u64, Vec<Finding>> = BTreeMap::new();
    let terminal = std::io::stderr().is_terminal();
    let mut told = Instant::now();
    for outcome in outcomes {
        played += 1;
        time += outcome.time;
        requests += outcome.requests;
        coverage.add(&outcome.coverage);
        if !outcome.findings.is_empty() {
            failed.insert(outcome.seed, outcome.findings);
        }
        let often = Duration::from_secs(if terminal { 1 } else { 20 });
        if told.elapsed() > often {
            told = Instant::now();
            let per_second = played as f64 / began.elapsed().as_secs_f64();
            eprint!(
                "{}{played} of {} seeds, {} failed, {per_second:.1} seeds/s, {} required cells open{}",
                if terminal { "\r" } else { "" },
                run.seeds,
                failed.len(),
                coverage.missing(run.require.unwrap_or(20)).len(),
                if terminal { "   " } else { "\n" }
            );
        }
    }
    if terminal {
        eprintln!();
    }
    for mut child in children {
        child.wait().context("a child is lost")?;
    }
    let seconds = began.elapsed().as_secs_f64();
    report(run, &failed)?;
    if run.table {
        println!("{}", coverage.table());
    }
    let lost = run.seeds - played.min(run.seeds);
    let mut bad = failed.len() as u64 + lost;
    if lost > 0 {
        println!("{lost} seeds were not played to their end");
    }
    if let Some(least) = run.require {
        let missing = coverage.missing(least);
        if !missing.is_empty() {
            println!("reached less than {least} times:");
            for cell in &missing {
                println!("  {cell}");
            }
            bad += 1;
        }
    }
    println!(
        "{played} seeds in {seconds:.0} s: {:.1} seeds/s, {:.1} virtual hours/s, {:.0} requests/s on {jobs} processes",
        played as f64 / seconds,
        time as f64 / 3_600_000.0 / seconds,
        requests as f64 / seconds
    );
    println!("{} passed, {bad} failed", played - failed.len() as u64);
    Ok(if bad == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn spawn(run: &Run, job: u64, jobs: u64) -> Result<Child> {
    let program = std::env::current_exe().context("where am I?")?;
    let mut command = Command::new(program);
    command
        .arg("work")
        .args(["--from", &(run.from + job).to_string()])
        .args(["--to", &(run.from + run.seeds).to_string()])
        .args(["--step", &jobs.to_string()])
        // The next seed needs as much memory as the last one: giving it back in between costs a twentieth of the time.
        .env("MIMALLOC_PURGE_DELAY", "-1")
        .stdout(Stdio::piped());
    if let Some(audit) = &run.audit {
        command.args(["--audit", audit]);
    }
    #[cfg(feature = "mutants")]
    if let Some(mutant) = serin_model::mutant::chosen() {
        command.args(["--mutant", mutant.name()]);
    }
    command.spawn().context("cannot start a process of my own kind")
}

/// What is said of failing seeds: the first ones with their timeline and made smaller, the others in a line.
fn report(run: &Run, failed: &BTreeMap<u64, Vec<Finding>>) -> Result<()> {
    let mut rules: BTreeMap<&str, Vec<u64>> = BTreeMap::new();
    for (seed, findings) in failed {
        for finding in findings {
            let seeds = rules.entry(&finding.rule).or_default();
            if seeds.last() != Some(seed) {
                seeds.push(*seed);
            }
        }
    }
    for (place, (seed, findings)) in failed.iter().enumerate() {
        println!("seed {seed}: make replay SEED={seed}");
        for finding in findings.iter().take(3) {
            println!("  {finding}");
        }
        if place >= SHOWN || run.quick {
            continue;
        }
        let scenario = generate::scenario(*seed);
        let (small, tried) = shrink::shrink(&scenario, findings, 150, |_| {})?;
        let (played, findings) = judge::trial(&small)?;
        println!("  made smaller in {tried} tries:\n{}", shrink::describe(&small));
        if let Some(played) = played {
            println!("{}", trace::timeline(&played.history));
        }
        for finding in findings {
            println!("  {finding}");
        }
    }
    for (rule, seeds) in rules {
        let some: Vec<String> = seeds.iter().take(12).map(u64::to_string).collect();
        println!("{rule}: {} seeds: {} …", seeds.len(), some.join(" "));
    }
    Ok(())
}
