//! `make demo`: three releases of one service on `serin playground`, told as a timeline on the terminal. `make demo-cluster`: the
//! same on a real cluster.
//!
//! Objects and load are real and so is every figure: weights from the route, measurements from AnalysisRuns, requests from
//! the load generator. The exit code is 0 only if all three ended as they should and no request of the good one failed;
//! 1 if not; 2 when the demo could not be played.

mod page;
mod playground;
mod script;
mod stage;
mod timeline;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, Result};
use chrono::{DateTime, Utc};
use clap::{Parser, Subcommand, ValueEnum};
use futures::StreamExt as _;
use serin_cluster::load::Report;
use serin_cluster::{Enter, Parts, enter, now};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::Instant;

use page::{Page, grouped, table};
use script::{RELEASES, Release};
use stage::{CANARY_SERVICE, RATE, Stage};
use timeline::{Ending, Line, Timeline, Tone, version};

/// How long one release may take until it is called stuck.
const LONGEST: Duration = Duration::from_secs(240);

/// Three releases of one service.
#[derive(Debug, Parser)]
#[command(name = "serin-demo", version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Fetch Prometheus; with --cluster all of the cluster's parts, and build what is built of them.
    Fetch {
        /// For the real cluster.
        #[arg(long)]
        cluster: bool,
    },
    /// Play the releases. Run from the root of the checkout.
    Play {
        /// The program to show.
        #[arg(long)]
        serin: PathBuf,
        /// Whether the bad releases have their faults.
        #[arg(long, value_enum, default_value = "real")]
        fault: Fault,
        /// Leave all of it up until Ctrl-C.
        #[arg(long)]
        keep: bool,
        /// On a real cluster instead of the playground.
        #[arg(long)]
        cluster: bool,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Fault {
    /// As told.
    Real,
    /// None: both must then be promoted, and the demo must say that this is not as it should be.
    None,
}

/// A release and how it went.
struct Played {
    release: Release,
    began: Instant,
    timeline: Timeline,
    /// From the change of the image to the decision, in seconds.
    took: Option<f64>,
    report: Report,
}

impl Played {
    fn was(&self) -> Option<Ending> {
        self.timeline.ending().map(|(ending, _)| ending)
    }

    /// What is not as it should be, if anything.
    fn complaint(&self) -> Option<String> {
        let (should_be, failures) = (self.release.should_be, self.report.failures());
        let word = |ending: Option<Ending>| ending.map_or("stuck", Ending::word);
        if self.was() != Some(should_be) {
            return Some(format!("was {} and should be {}", word(self.was()), should_be.word()));
        }
        if self.reached_canary().total() == 0 {
            return Some("was decided before it answered a single request".to_owned());
        }
        if self.timeline.failed_metric() != self.release.because_of {
            let (was, should_be) = (self.timeline.failed_metric(), self.release.because_of);
            let word = |metric: Option<&'static str>| metric.unwrap_or("nothing");
            return Some(format!(
                "failed by {} and should by {}",
                was.unwrap_or("nothing"),
                word(should_be)
            ));
        }
        // The bad version's own errors are what it was aborted for.
        let hash = self.timeline.hash();
        let others = Report {
            answers: failures
                .into_iter()
                .filter(|answer| should_be == Ending::Promoted || answer.hash.as_deref() != hash)
                .cloned()
                .collect(),
        };
        (others.total() > 0).then(|| format!("had requests that should not have failed: {others}"))
    }

    fn reached_canary(&self) -> Report {
        let hash = self.timeline.hash();
        hash.map_or_else(Report::default, |hash| self.report.of(hash))
    }
}

fn main() -> ExitCode {
    match run(Cli::parse().command) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("demo: {error:#}");
            ExitCode::from(2)
        }
    }
}

fn run(command: Command) -> Result<ExitCode> {
    let begin = Instant::now();
    let (serin, fault, keep, cluster) = match command {
        Command::Fetch { cluster: true } => {
            Parts::fetch()?;
            return Ok(ExitCode::SUCCESS);
        }
        Command::Fetch { cluster: false } => {
            // Without one the playground does on its own, and says so.
            if let Err(error) = Parts::prometheus() {
                eprintln!("demo: {error}");
            }
            return Ok(ExitCode::SUCCESS);
        }
        Command::Play {
            serin,
            fault,
            keep,
            cluster,
        } => (serin, fault, keep, cluster),
    };
    // A cluster has a network of its own, which this process enters first.
    let inside = cluster.then(|| enter(&Enter::default())).transpose()?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("failed to start the runtime")?;
    runtime.block_on(async {
        let mut interrupt = signal(SignalKind::interrupt()).context("failed to watch for Ctrl-C")?;
        let page = Page::new();
        page.heading("Serin: three releases of one service, and nobody watches a graph");
        page.say(match cluster {
            true => {
                "Real control plane, gateway and Prometheus, all of it private to this demo. Each release moves traffic to a new \
                 version step by step; after each step Prometheus is asked about errors and latency, and Serin promotes or aborts."
            }
            false => {
                "On `serin playground`: a simulated Kubernetes, and on loopback real HTTP servers as pods, a gateway, Prometheus \
                 and users. Each release moves traffic to a new version step by step; after each step Prometheus is asked about \
                 errors and latency, and Serin promotes or aborts."
            }
        });
        page.say("");
        let set = async {
            match inside {
                Some(inside) => Stage::cluster(Path::new("."), &serin, inside, page).await,
                None => Stage::playground(&serin, Parts::cached_prometheus().as_deref(), page).await,
            }
        };
        let stage = tokio::select! {
            biased;
            _ = interrupt.recv() => return Ok(ExitCode::from(130)),
            stage = set => stage?,
        };
        let code = tokio::select! {
            biased;
            _ = interrupt.recv() => Ok(ExitCode::from(130)),
            code = show(&stage, page, fault, begin) => code,
        };
        if keep && code.as_ref().is_ok_and(|code| *code != ExitCode::from(130)) {
            kept(&stage, page, &mut interrupt).await;
        }
        stage.end().await;
        code
    })
}

async fn show(stage: &Stage, page: Page, fault: Fault, begin: Instant) -> Result<ExitCode> {
    let mut played = Vec::new();
    let mut first_abort = None;
    for (index, release) in RELEASES.into_iter().enumerate() {
        let release = match fault {
            Fault::Real => release,
            Fault::None => release.without_fault(),
        };
        page.heading(&format!(
            "Release {} of {}: {}, {} (should be {})",
            index + 1,
            RELEASES.len(),
            release.image,
            release.title,
            release.should_be.word()
        ));
        let one = play(stage, page, release).await?;
        let stuck = one.was().is_none();
        if let (Some(Ending::Aborted), Some(took)) = (one.was(), one.took) {
            first_abort.get_or_insert(one.began.duration_since(begin).as_secs_f64() + took);
        }
        played.push(one);
        if stuck {
            break;
        }
    }
    let good = played.len() == RELEASES.len() && played.iter().all(|one| one.complaint().is_none());
    sum_up(page, &played, good);
    let all = begin.elapsed().as_secs_f64();
    let first = first_abort.map_or_else(
        || "no release was aborted".to_owned(),
        |at| format!("the first abort came after {at:.1} s"),
    );
    page.say(&format!(
        "From the end of the build: {first}, all of it took {all:.1} s."
    ));
    Ok(if good { ExitCode::SUCCESS } else { ExitCode::from(1) })
}

/// Plays one release to its end and tells it.
async fn play(stage: &Stage, page: Page, release: Release) -> Result<Played> {
    let rollout = stage.rollout().await?;
    let mut timeline = Timeline::new(
        release.image,
        CANARY_SERVICE,
        timeline::text(&rollout["status"], "stableRS"),
    );
    let mut watch = stage.watch();
    let (start, began) = (now(), Instant::now());
    let since = |at: DateTime<Utc>| (at - start).num_milliseconds() as f64 / 1000.0;
    stage.release(&release).await?;
    let line = |text: String| Line::new(Tone::Plain, text);
    page.columns(timeline.version());
    page.line(0.0, 0, &line(format!("the Rollout's image becomes {}", release.image)));

    let deadline = Instant::now() + LONGEST;
    let mut weight_since = start;
    while !timeline.is_over() {
        let seen = tokio::select! {
            biased;
            seen = watch.next() => seen.context("the watch ended")?,
            () = tokio::time::sleep_until(deadline) => break,
        };
        let seen = match seen {
            Ok(seen) => seen,
            // The watch is taken up again by itself.
            Err(error) => {
                page.line(since(now()), timeline.weight(), &line(format!("({error:#})")));
                continue;
            }
        };
        let (before, at) = (timeline.weight(), now());
        let lines = timeline.see(&seen, at);
        if timeline.weight() != before {
            if before > 0 {
                let requests = requests(&stage.load.between(weight_since, at), &timeline);
                page.line(since(at), before, &line(requests));
            }
            weight_since = at;
        }
        for told in &lines {
            page.line(since(at), timeline.weight(), told);
        }
    }
    let end = now();
    if !timeline.is_over() {
        page.line(
            since(end),
            timeline.weight(),
            &line(format!("not over after {} s: given up", LONGEST.as_secs())),
        );
    }
    let last = requests(&stage.load.between(weight_since, end), &timeline);
    page.line(since(end), timeline.weight(), &line(last));
    // The verdict and what to do; the runs' figures stand above.
    let explained = stage.explained().await;
    if let Some(explained) = explained.split("\n\n").next().filter(|text| !text.is_empty()) {
        page.say("");
        page.say("serin explain rollout/shop");
        explained
            .lines()
            .for_each(|line| page.say(&format!("    {}", line.trim_start())));
    }
    Ok(Played {
        took: timeline.ending().map(|(_, at)| since(at)),
        report: stage.load.between(start, end),
        release,
        began,
        timeline,
    })
}

/// `1,204 requests: 5.0 % went to v2, 0 failed`
fn requests(report: &Report, timeline: &Timeline) -> String {
    let share = timeline.hash().map_or(0.0, |hash| report.share(hash)) * 100.0;
    format!(
        "{} requests at this weight: {share:.1} % went to {}, {} failed",
        grouped(report.total()),
        timeline.version(),
        grouped(report.failures().len())
    )
}

fn sum_up(page: Page, played: &[Played], good: bool) {
    page.heading("What happened");
    let mut rows = vec![
        [
            "image", "fault", "wanted", "was", "after", "weight", "requests", "to it", "failed",
        ]
        .map(str::to_owned)
        .to_vec(),
    ];
    for one in played {
        rows.push(vec![
            version(one.release.image).to_owned(),
            one.release.fault.to_owned(),
            one.release.should_be.word().to_owned(),
            one.was().map_or("stuck", Ending::word).to_owned(),
            one.took.map_or_else(|| "-".to_owned(), |took| format!("{took:.1} s")),
            format!("{} %", one.timeline.highest()),
            grouped(one.report.total()),
            grouped(one.reached_canary().total()),
            grouped(one.report.failures().len()),
        ]);
    }
    page.print(&table(
        &rows,
        &[false, false, false, false, true, true, true, true, true],
    ));
    page.say("");
    for one in played {
        page.say(&format!("{}: {}", version(one.release.image), one.timeline.why()));
    }
    page.say("");
    if good {
        let text = "All three ended as they should, and no request of the good release failed.";
        page.verdict(true, text);
    }
    for one in played {
        if let Some(complaint) = one.complaint() {
            let text = format!("NOT as it should be: {} {complaint}.", version(one.release.image));
            page.verdict(false, &text);
        }
    }
}

/// Leaves everything up until Ctrl-C.
async fn kept(stage: &Stage, page: Page, interrupt: &mut Signal) {
    page.heading(&format!(
        "All of it stays up, {RATE} requests a second go on. Ctrl-C ends it."
    ));
    for (name, value) in stage.addresses() {
        page.print(&format!("{name:<11} {value}\n"));
    }
    interrupt.recv().await;
}
