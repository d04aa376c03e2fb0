//! `serin rehearse`: reads files, plays many replays on all cores, prints what came of them.

use std::{
    collections::BTreeMap,
    io::{IsTerminal as _, Write as _},
    path::PathBuf,
    process::ExitCode,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use crate::files::{collect, text_of};
use clap::Args;
use serin_rehearse::{
    Problem,
    assume::{Assumptions, Curve, Latency, time_of_day},
    fault::{Fault, duration, percent},
    play::{self, Rehearsal, Replay, World},
    report::{self, End, Expected, Report, Spread},
    series::Exposition,
    setup, timeline,
};

/// Play your own release in virtual time: what would happen to a good and to a bad new version.
#[derive(Debug, Args)]
#[command(
    after_help = "Exit codes: 0 the faulty version is aborted and the healthy one promoted in at least 99% of the \
                        replays (or as --expect says), 1 not so, 2 bad input, 3 something that is not simulated."
)]
pub(crate) struct Flags {
    /// Your Rollout, AnalysisTemplates, Services, routes and recording rules: YAML files, folders, or - for standard input.
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// Which Rollout, when there are several.
    #[arg(long)]
    rollout: Option<String>,
    /// What is wrong with the new version: errors=30%, latency=+900ms, latency=x3, crashloop, slowstart=90s, oom=5m, none; each
    /// with ,share=10% and ,after=4m if wanted. Several together by several --fault.
    #[arg(long, value_parser = fault)]
    fault: Vec<Option<Fault>>,
    /// Users' requests per second.
    #[arg(long, default_value_t = 50.0)]
    rps: f64,
    /// How traffic changes over the day: times and factors, such as 00:00=0.3,13:00=2.5.
    #[arg(long)]
    curve: Option<Curve>,
    /// Time of day at which the release begins.
    #[arg(long, default_value = "10:00", value_parser = time_of_day)]
    at: Duration,
    /// Share of a healthy version's answers that are errors.
    #[arg(long, default_value = "0.1%", value_parser = percent)]
    errors: f64,
    /// Half of a healthy version's answers take less.
    #[arg(long, default_value = "40ms", value_parser = duration)]
    p50: Duration,
    /// 99 of 100 of a healthy version's answers take less.
    #[arg(long, default_value = "200ms", value_parser = duration)]
    p99: Duration,
    /// Between two scrapes of a pod by Prometheus.
    #[arg(long, default_value = "15s", value_parser = duration)]
    scrape_interval: Duration,
    /// How long a pod takes to get ready, beside the delay of its readiness probe.
    #[arg(long, default_value = "2s", value_parser = duration)]
    start: Duration,
    /// How long users and Prometheus have been there when the release begins.
    #[arg(long, default_value = "10m", value_parser = duration)]
    warm_up: Duration,
    /// How long a release may take until it counts as stuck; by default a day more than its own pauses.
    #[arg(long, value_parser = duration)]
    limit: Option<Duration>,
    /// How long a pause without a duration lasts until a person goes on.
    #[arg(long, default_value = "1m", value_parser = duration)]
    person: Duration,
    /// A small YAML file that says how your Prometheus names the labels of pods.
    #[arg(long, value_name = "FILE")]
    series: Option<PathBuf>,
    /// The value of a metric whose query is not simulated: METRIC=VALUE.
    #[arg(long, value_name = "METRIC=VALUE", value_parser = assumption)]
    assume: Vec<(String, f64)>,
    /// How often each version is released.
    #[arg(long, default_value_t = 200)]
    replays: u64,
    /// Play once and print what happens.
    #[arg(long)]
    once: bool,
    /// With --once: also every request of the controller to the API server.
    #[arg(long, requires = "once")]
    trace: bool,
    /// The seed of the (first) replay.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// What should become of the versions, such as healthy=promoted,faulty=stuck: promoted, aborted, held or stuck.
    #[arg(long, value_parser = expectation)]
    expect: Option<Expected>,
    /// Print JSON (docs/rehearse.md has its schema).
    #[arg(long)]
    json: bool,
}

fn fault(text: &str) -> Result<Option<Fault>, String> {
    if text == "none" {
        return Ok(None);
    }
    text.parse()
        .map(Some)
        .map_err(|e: serin_rehearse::fault::FaultError| e.to_string())
}

fn assumption(text: &str) -> Result<(String, f64), String> {
    let pair = text
        .split_once('=')
        .and_then(|(name, value)| Some((name.to_owned(), value.parse().ok()?)));
    pair.ok_or_else(|| format!("\"{text}\" is no METRIC=VALUE with a number"))
}

fn expectation(text: &str) -> Result<Expected, String> {
    let mut expected = Expected::default();
    for part in text.split(',') {
        let end = |word: &str| match word {
            "promoted" => Ok(End::Promoted),
            "aborted" => Ok(End::Aborted),
            "held" => Ok(End::Held),
            "stuck" => Ok(End::Stuck),
            _ => Err(format!("\"{word}\" is none of promoted, aborted, held, stuck")),
        };
        match part.split_once('=') {
            Some(("healthy", word)) => expected.healthy = end(word)?,
            Some(("faulty", word)) => expected.faulty = end(word)?,
            _ => return Err(format!("\"{part}\" is neither healthy=… nor faulty=…")),
        }
    }
    Ok(expected)
}

/// More requests per second than any service gets.
const MOST_RPS: f64 = 1e7;

const DAY: Duration = Duration::from_secs(86_400);

/// Runs the command; problems go to standard error.
pub(crate) fn run(flags: &Flags) -> ExitCode {
    let done = read(flags).and_then(|rehearsal| {
        for note in &rehearsal.setup.notes {
            eprintln!("{note}");
        }
        if flags.once {
            once(flags, &rehearsal)
        } else {
            many(flags, &rehearsal)
        }
    });
    match done {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(1),
        Err(problem) => {
            eprintln!("{problem}");
            ExitCode::from(match problem {
                Problem::NotSimulated(_) => 3,
                Problem::BadInput(_) | Problem::Bug(_) => 2,
            })
        }
    }
}

fn read(flags: &Flags) -> Result<Rehearsal, Problem> {
    let mut documents = Vec::new();
    for path in &flags.files {
        collect(path, &mut documents).map_err(Problem::BadInput)?;
    }
    let setup = setup::prepare(&documents, flags.rollout.as_deref())?;
    let exposition = match &flags.series {
        None => Exposition::default(),
        Some(path) => {
            let text = text_of(path).map_err(Problem::BadInput)?;
            Exposition::parse(&text).map_err(|e| Problem::BadInput(format!("{}: {e}", path.display())))?
        }
    };
    let bad = |text: String| Err(Problem::BadInput(text));
    if !(flags.rps > 0.0 && flags.rps <= MOST_RPS) {
        return bad(format!(
            "--rps {}: it must be more than 0 and at most {MOST_RPS}",
            flags.rps
        ));
    }
    if flags.p50.is_zero() || flags.p99 < flags.p50 {
        return bad(format!(
            "--p50 {:?} --p99 {:?}: --p50 must be more than 0, and --p99 not less than --p50",
            flags.p50, flags.p99
        ));
    }
    if flags.scrape_interval < Duration::from_millis(100) {
        return bad(format!(
            "--scrape-interval {:?}: it must be 100ms or more",
            flags.scrape_interval
        ));
    }
    let mut assumed = BTreeMap::new();
    for (name, value) in &flags.assume {
        if !setup.metrics.contains(name) {
            let names: Vec<&str> = setup.metrics.iter().map(String::as_str).collect();
            return bad(match &names[..] {
                [] => format!("--assume {name}={value}: the release has no analysis"),
                names => format!(
                    "--assume {name}={value}: its analyses have only the metrics {}",
                    names.join(", ")
                ),
            });
        }
        if assumed
            .insert(name.clone(), *value)
            .is_some_and(|other| other != *value)
        {
            return bad(format!(
                "--assume {name}={value}: it has another value already; leave one"
            ));
        }
    }
    let limit = flags.limit.unwrap_or_else(|| DAY + setup.pauses(flags.person));
    Ok(Rehearsal {
        setup,
        assumptions: Assumptions {
            rps: flags.rps,
            curve: flags.curve.clone().unwrap_or_default(),
            begin: flags.at,
            errors: flags.errors,
            latency: Latency {
                p50: flags.p50,
                p99: flags.p99,
            },
            faults: flags.fault.iter().flatten().cloned().collect(),
            scrape_interval: flags.scrape_interval,
            start: flags.start,
            person: flags.person,
            limit,
        },
        exposition,
        assumed,
        warm_up: flags.warm_up,
        stay: Duration::ZERO,
        explains: flags.once,
    })
}

/// One replay in detail: of the faulty version when there are faults.
fn once(flags: &Flags, rehearsal: &Rehearsal) -> Result<bool, Problem> {
    let world = if rehearsal.assumptions.faults.is_empty() {
        World::Healthy
    } else {
        World::Faulty
    };
    let replay = play::play(rehearsal, world, flags.seed)?;
    let result = report::Result::of(world, &replay);
    let expected = flags.expect.unwrap_or_default();
    let report = report::report(&[result], expected);
    if flags.json {
        println!("{}", json(&report));
        return Ok(report.as_expected);
    }
    describe_world(rehearsal, world);
    println!();
    for line in timeline::lines(&replay) {
        println!("{:>9}  {}", clock(line.at), line.text);
    }
    println!();
    describe_end(&replay);
    if flags.trace {
        println!("\nThe controller's requests to the API server, in seconds from the change of the image on:");
        for request in &replay.requests {
            let at = request.at.as_secs_f64() - replay.changed.as_secs_f64();
            // The last ones are still under way when the replay ends.
            let code = match request.code {
                0 => "...".to_owned(),
                code => code.to_string(),
            };
            println!("{at:>12.3}  {code} {} {}", request.method, request.path);
        }
    }
    Ok(report.as_expected)
}

fn describe_world(rehearsal: &Rehearsal, world: World) {
    let setup = &rehearsal.setup;
    let assumptions = &rehearsal.assumptions;
    println!(
        "{}/{}, {} requests/s, {} errors, P50 {:?}, P99 {:?}, scraped every {:?}",
        setup.namespace,
        setup.name,
        assumptions.rps,
        share(assumptions.errors),
        assumptions.latency.p50,
        assumptions.latency.p99,
        assumptions.scrape_interval,
    );
    match world {
        World::Healthy => println!("the new version is as good as the old one"),
        World::Faulty => {
            for fault in &assumptions.faults {
                println!("the new version: {fault}");
            }
        }
    }
}

fn describe_end(replay: &Replay) {
    let after = clock(replay.length);
    match &replay.outcome {
        play::Outcome::Promoted => println!("PROMOTED after {after}"),
        play::Outcome::Aborted(why) => {
            println!("ABORTED after {after}: {why}");
            if let Some(off) = replay.off {
                println!("all requests are back at the old version after {}", clock(off));
            }
        }
        play::Outcome::Held(why) => println!("HELD for a person after {after}: {why}"),
        play::Outcome::Stuck(why) => println!("NEITHER PROMOTED NOR ABORTED after {after}: {why}"),
    }
    let totals = &replay.totals;
    println!(
        "{} of {} requests failed; {} of {} at the new version",
        totals.failed, totals.requests, totals.failed_at_new, totals.to_new
    );
}

/// Many replays of both worlds.
fn many(flags: &Flags, rehearsal: &Rehearsal) -> Result<bool, Problem> {
    let worlds: &[World] = if rehearsal.assumptions.faults.is_empty() {
        &[World::Healthy]
    } else {
        &[World::Faulty, World::Healthy]
    };
    let jobs: Vec<(World, u64)> = (0..flags.replays)
        .flat_map(|n| worlds.iter().map(move |world| (*world, flags.seed.wrapping_add(n))))
        .collect();
    if jobs.is_empty() {
        return Err(Problem::BadInput("--replays must be 1 or more".to_owned()));
    }
    let results = play_all(rehearsal, &jobs)?;
    let report = report::report(&results, flags.expect.unwrap_or_default());
    if flags.json {
        println!("{}", json(&report));
    } else {
        print_report(rehearsal, &report);
    }
    Ok(report.as_expected)
}

fn play_all(rehearsal: &Rehearsal, jobs: &[(World, u64)]) -> Result<Vec<report::Result>, Problem> {
    let threads = std::thread::available_parallelism()
        .map_or(1, usize::from)
        .min(jobs.len());
    let next = AtomicU64::new(0);
    let done: Mutex<(Vec<report::Result>, Option<Problem>)> = Mutex::default();
    let shows = std::io::stderr().is_terminal();
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let index = next.fetch_add(1, Ordering::Relaxed);
                    let Some((world, seed)) = usize::try_from(index).ok().and_then(|index| jobs.get(index)) else {
                        return;
                    };
                    let played = play::play(rehearsal, *world, *seed);
                    let mut done = done.lock().unwrap_or_else(PoisonError::into_inner);
                    match played {
                        Ok(replay) => done.0.push(report::Result::of(*world, &replay)),
                        Err(problem) => {
                            done.1.get_or_insert(problem);
                            next.fetch_add(jobs.len() as u64, Ordering::Relaxed);
                            return;
                        }
                    }
                    if shows {
                        progress(done.0.len(), jobs.len());
                    }
                }
            });
        }
    });
    let (results, problem) = done.into_inner().unwrap_or_else(PoisonError::into_inner);
    match problem {
        Some(problem) => Err(problem),
        None => Ok(results),
    }
}

fn progress(done: usize, all: usize) {
    const WIDTH: usize = 40;
    let full = WIDTH * done / all.max(1);
    let end = if done == all { "\r\x1b[K" } else { "" };
    // Nobody is hurt when it cannot be shown.
    let _ = write!(
        std::io::stderr(),
        "\r[{}{}] {done} of {all} replays{end}",
        "#".repeat(full),
        "-".repeat(WIDTH - full)
    );
}

fn print_report(rehearsal: &Rehearsal, report: &Report) {
    let spread = |spread: &Spread, show: fn(f64) -> String| {
        format!(
            "half below {}, 95% below {}, at most {}",
            show(spread.p50),
            show(spread.p95),
            show(spread.max)
        )
    };
    let seconds = |n: f64| clock(Duration::from_secs_f64(n));
    let plain = |n: f64| format!("{n}");
    if let Some(faulty) = &report.outcomes.faulty {
        describe_world(rehearsal, World::Faulty);
        println!("  {}", ends(faulty));
        if let Some(times) = &report.time_to_abort_seconds {
            println!("  time to abort: {}", spread(times, seconds));
        }
        if let (Some(failed), Some(all)) = (&report.failed_requests, &report.requests) {
            println!(
                "  failed requests: {} (of {} in the median)",
                spread(failed, plain),
                all.p50
            );
        }
    }
    let healthy = &report.outcomes.healthy;
    if healthy.replays > 0 {
        describe_world(rehearsal, World::Healthy);
        println!("  {}", ends(healthy));
        if let Some(times) = &report.length_of_a_good_release_seconds {
            println!("  length of the release: {}", spread(times, seconds));
        }
        if let Some(failed) = &report.failed_requests_healthy {
            println!("  failed requests: {}", spread(failed, plain));
        }
    }
    for unexpected in report.unexpected.iter().take(5) {
        println!(
            "not expected: the {} version, {} times: {}",
            unexpected.world, unexpected.replays, unexpected.outcome
        );
    }
    println!(
        "{}",
        if report.as_expected {
            "as expected"
        } else {
            "NOT as expected"
        }
    );
}

fn ends(counts: &report::Counts) -> String {
    let of = |n: usize, word: &str| (n > 0).then(|| format!("{word} {}", share(n as f64 / counts.replays as f64)));
    let parts = [
        of(counts.promoted, "promoted"),
        of(counts.aborted, "aborted"),
        of(counts.held, "held for a person"),
        of(counts.stuck, "neither promoted nor aborted"),
    ];
    let parts: Vec<String> = parts.into_iter().flatten().collect();
    format!("{} replays: {}", counts.replays, parts.join(", "))
}

fn json(report: &Report) -> String {
    serde_json::to_string_pretty(report).expect("a report has string keys only")
}

fn share(n: f64) -> String {
    format!("{}%", (n * 1e4).round() / 1e2)
}

/// `mm:ss`, with hours when there are some.
fn clock(time: Duration) -> String {
    let seconds = time.as_secs_f64().round() as u64;
    let (hours, minutes, seconds) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    if hours > 0 {
        format!("{hours}:{minutes:02}:{seconds:02}")
    } else {
        format!("{minutes:02}:{seconds:02}")
    }
}
