//! `serin-conformance`: compares kubesim with the real kube-apiserver. See README.md.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;

use anyhow::Result;
use clap::{Parser, Subcommand};
use serin_cluster::{Enter, enter};
use serin_conformance::answer::Answer;
use serin_conformance::case::Case;
use serin_conformance::compare::{self, Outcome, describe, differences, outcome};
use serin_conformance::generate::{self, Seen};
use serin_conformance::grounds::{Real, Simulated};
use serin_conformance::{kubectl, random, recorded, shapes, shrink::shrink};

/// The same requests to kubesim and to the real kube-apiserver.
#[derive(Debug, Parser)]
#[command(name = "serin-conformance")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Play the generated cases on both and compare. `N passed, N failed` is the last line.
    Compare {
        /// Only cases whose name contains one of these.
        words: Vec<String>,
        /// Only against the recorded answers, without a control plane.
        #[arg(long)]
        recorded: bool,
        /// Write the real server's answers into `answers/`.
        #[arg(long)]
        record: bool,
        /// Also so many random sequences.
        #[arg(long, default_value_t = 0)]
        sequences: u64,
        /// Their seed.
        #[arg(long, default_value_t = 1)]
        seed: u64,
        /// The cluster's folder, kept at the end; a temporary one when not given.
        #[arg(long)]
        dir: Option<PathBuf>,
        /// Show at most so many cases in full.
        #[arg(long, default_value_t = 20)]
        most: usize,
        /// Show the listed differences too.
        #[arg(long)]
        all: bool,
    },
    /// Play random sequences on both and compare.
    Random {
        /// How many.
        #[arg(long, default_value_t = 500)]
        sequences: u64,
        /// Of which seed.
        #[arg(long, default_value_t = 1)]
        seed: u64,
        /// The cluster's folder, kept at the end; a temporary one when not given.
        #[arg(long)]
        dir: Option<PathBuf>,
        /// Show at most so many cases in full.
        #[arg(long, default_value_t = 20)]
        most: usize,
        /// The real server's answers: written there, or, when the file is there, read instead of starting a control plane.
        #[arg(long)]
        answers: Option<PathBuf>,
    },
    /// Make shapes.json and cases/ from audit logs; without any, the cases anew from the committed shapes.
    Generate {
        /// Audit logs.
        logs: Vec<PathBuf>,
        /// Keep the shapes that are committed and add to them.
        #[arg(long)]
        add: bool,
    },
    /// Run common kubectl commands on a real cluster and leave its audit log in the folder.
    Observe {
        /// The cluster's folder.
        #[arg(long)]
        dir: PathBuf,
    },
    /// Print the cases whose name contains one of the words, with the recorded answers; `random/SEED-NUMBER` with kubesim's.
    Show {
        /// Parts of names.
        words: Vec<String>,
    },
}

fn main() -> ExitCode {
    match run(Cli::parse().command) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("serin-conformance: {error:#}");
            println!("0 passed, 1 failed");
            ExitCode::FAILURE
        }
    }
}

fn run(command: Command) -> Result<bool> {
    match command {
        Command::Compare {
            words,
            recorded,
            record,
            sequences,
            seed,
            dir,
            most,
            all,
        } => {
            let cases = chosen(&words)?;
            if recorded {
                return from_records(&cases, words.is_empty(), most, all);
            }
            let real = Real::start(enter(&Enter { dir })?)?;
            let good = live(&real, &cases, words.is_empty(), record, sequences, seed, most);
            real.end();
            good
        }
        Command::Random {
            sequences,
            seed,
            dir,
            most,
            answers,
        } => {
            if let Some(file) = answers.as_ref().filter(|file| file.exists()) {
                return from_saved(seed, sequences, most, file);
            }
            let real = Real::start(enter(&Enter { dir })?)?;
            let good = sequences_of(&real, seed, sequences, most, answers.as_deref()).map(|outcome| finish(&[outcome]));
            real.end();
            good
        }
        Command::Generate { logs, add } => generate(&logs, add),
        Command::Observe { dir } => observe(dir),
        Command::Show { words } => show(&words),
    }
}

fn chosen(words: &[String]) -> Result<Vec<Case>> {
    let all = generate::committed()?;
    let fits = |case: &Case| words.is_empty() || words.iter().any(|word| case.name.contains(word.as_str()));
    Ok(all.into_iter().filter(fits).collect())
}

fn from_records(cases: &[Case], is_whole: bool, most: usize, all: bool) -> Result<bool> {
    let real = recorded::read(cases)?;
    let simulated = Simulated::new()?.play(cases)?;
    if all {
        print!("{}", outcome(cases, &real, &simulated, &[], false).report(cases.len()));
    }
    let outcome = outcome(cases, &real, &simulated, &compare::listed()?, is_whole);
    print!("{}", outcome.report(most));
    println!("recorded: {}", outcome.summary());
    Ok(finish(&[outcome]))
}

fn live(
    real: &Real,
    cases: &[Case],
    is_whole: bool,
    record: bool,
    sequences: u64,
    seed: u64,
    most: usize,
) -> Result<bool> {
    if record {
        let definition = real.http_route_definition()?;
        std::fs::write(
            generate::folder().join("crds/httproutes.json"),
            format!("{definition}\n"),
        )?;
    }
    let (answers, simulated) = both(real, cases)?;
    if record {
        anyhow::ensure!(is_whole, "recording needs all cases: leave the words out");
        recorded::write(cases, &answers)?;
    }
    let mut outcomes = Vec::new();
    if !record {
        // What was recorded is what the real server says, or the test without a control plane proves nothing.
        let mut kept = outcome(cases, &answers, &recorded::read(cases)?, &[], false);
        if !kept.is_good() {
            println!("answers/ (here called simulated) is not what the real server says now: record again");
            print!("{}", kept.report(most));
        }
        println!("recorded: {}", kept.summary());
        // Only what failed counts: the same cases are counted below.
        kept.equal = 0;
        outcomes.push(kept);
    }
    let compared = outcome(cases, &answers, &simulated, &compare::listed()?, is_whole);
    print!("{}", compared.report(most));
    println!("generated: {}", compared.summary());
    outcomes.push(compared);
    if sequences > 0 {
        outcomes.push(sequences_of(real, seed, sequences, most, None)?);
    }
    Ok(finish(&outcomes))
}

/// Against the answers that an earlier run has written.
fn from_saved(seed: u64, sequences: u64, most: usize, file: &Path) -> Result<bool> {
    let cases: Vec<Case> = (0..sequences).map(|number| random::case(seed, number)).collect();
    let real: Answers = serde_json::from_str(&std::fs::read_to_string(file)?)?;
    anyhow::ensure!(real.len() == cases.len(), "{} has other sequences", file.display());
    let compared = outcome(
        &cases,
        &real,
        &Simulated::new()?.play(&cases)?,
        &compare::listed()?,
        false,
    );
    print!("{}", compared.report(most));
    println!("random: {} (seed {seed})", compared.summary());
    Ok(finish(&[compared]))
}

fn sequences_of(real: &Real, seed: u64, sequences: u64, most: usize, save: Option<&Path>) -> Result<Outcome> {
    let simulated = Simulated::new()?;
    let cases: Vec<Case> = (0..sequences).map(|number| random::case(seed, number)).collect();
    let (answers, played) = both(real, &cases)?;
    if let Some(file) = save {
        std::fs::write(file, serde_json::to_string(&answers)?)?;
    }
    let list = compare::listed()?;
    // Entries of the list are for the generated cases too: none is stale because random ones did not need it.
    let compared = outcome(&cases, &answers, &played, &list, false);
    for (case, _) in compared.unlisted.iter().take(most) {
        let once_more = |case: &Case| -> Result<_> {
            let one = std::slice::from_ref(case);
            Ok((real.play(one)?, simulated.play(one)?))
        };
        let small = shrink(case, 60, |case| -> Result<bool> {
            let (real, simulated) = once_more(case)?;
            Ok(!outcome(std::slice::from_ref(case), &real, &simulated, &list, false).is_good())
        })?;
        let (one, other) = once_more(&small)?;
        println!("shrunk to:");
        for step in &small.steps {
            println!("  {}", step.describe());
        }
        println!("{}", describe(&small, &differences(&one[0], &other[0])));
    }
    let requests: usize = cases.iter().map(|case| case.steps.len()).sum();
    println!("random: {} ({requests} requests, seed {seed})", compared.summary());
    Ok(compared)
}

/// Of each case.
type Answers = Vec<Vec<Answer>>;

/// The answers of both, who play at the same time.
fn both(real: &Real, cases: &[Case]) -> Result<(Answers, Answers)> {
    let begin = Instant::now();
    std::thread::scope(|scope| {
        let other = scope.spawn(|| {
            let answers = Simulated::new()?.play(cases);
            progress("kubesim has answered", begin);
            answers
        });
        let answers = real.play(cases)?;
        progress("the real server has answered", begin);
        let simulated = other
            .join()
            .map_err(|_| anyhow::anyhow!("kubesim's thread has panicked"))??;
        Ok((answers, simulated))
    })
}

fn progress(what: &str, since: Instant) {
    eprintln!("conformance: {what} ({:.1} s)", since.elapsed().as_secs_f32());
}

fn finish(outcomes: &[Outcome]) -> bool {
    let failed: usize = outcomes
        .iter()
        .map(|outcome| outcome.unlisted.len() + outcome.stale.len())
        .sum();
    let passed: usize = outcomes.iter().map(|outcome| outcome.equal + outcome.listed).sum();
    println!("{passed} passed, {failed} failed");
    failed == 0 && passed > 0
}

fn generate(logs: &[PathBuf], add: bool) -> Result<bool> {
    let seen = if logs.is_empty() {
        Seen::committed()?
    } else {
        let mut found = BTreeSet::new();
        let mut outside = std::collections::BTreeMap::new();
        if add {
            let old = Seen::committed()?;
            found.extend(old.shapes);
            outside = old.outside;
        }
        for log in logs {
            shapes::read(log, &mut found)?;
        }
        let mut seen = Seen::of(&found);
        for (what, count) in outside {
            let entry = seen.outside.entry(what).or_default();
            *entry = count.max(*entry);
        }
        seen
    };
    let count = generate::write(&seen)?;
    println!(
        "{} shapes, {} kinds of requests left out, {count} cases",
        seen.shapes.len(),
        seen.outside.len()
    );
    let unseen = generate::unseen(&seen);
    if !unseen.is_empty() {
        println!("kinds that were never asked for: {}", unseen.join(", "));
    }
    Ok(true)
}

fn observe(dir: PathBuf) -> Result<bool> {
    let inside = enter(&Enter { dir: Some(dir) })?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        let mut options = serin_cluster::Options::new(inside);
        options.crds = vec![serin_conformance::grounds::serins_crds()];
        let cluster = serin_cluster::Cluster::start(options).await?;
        let (all, failed) = kubectl::run(&cluster, cluster.dir()).await?;
        println!(
            "{all} commands, {failed} of them failed; {}",
            cluster.audit_log().display()
        );
        cluster.shutdown().await;
        Ok(true)
    })
}

fn show(words: &[String]) -> Result<bool> {
    for word in words {
        let numbers = word.strip_prefix("random/").and_then(|rest| rest.split_once('-'));
        if let Some((seed, number)) = numbers {
            let case = random::case(seed.parse()?, number.parse()?);
            let answers = Simulated::new()?.play(std::slice::from_ref(&case))?;
            println!("{} (kubesim's answers)", case.name);
            for (step, answer) in case.steps.iter().zip(answers.iter().flatten()) {
                println!("  {}\n    {} {}", step.describe(), answer.status, answer.body);
            }
        }
    }
    let cases = chosen(words)?;
    let answers = recorded::read(&cases)?;
    for (case, answers) in cases.iter().zip(answers) {
        println!("{}", case.name);
        for (step, answer) in case.steps.iter().zip(answers) {
            println!("  {}\n    {} {}", step.describe(), answer.status, answer.body);
        }
    }
    Ok(true)
}
