//! `serin-e2e`: Serin, installed as people install it, on a real control plane, gateway and Prometheus.
//!
//! Enters the test cluster's namespace by itself, starts one cluster, installs Serin into it and runs all tests on it; see
//! README.md. Nothing is built here: the program under test is the `serin` beside this one, or `--serin PATH`.

mod app;
mod audit_log;
mod install;
mod recorder;
mod runner;
mod simulated;
mod space;
mod stub;
mod suites;
mod world;

use std::{
    path::PathBuf,
    process::ExitCode,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use anyhow::{Context, Result};
use clap::Parser;
use serin_cluster::{Cluster, Enter, Options, enter};

use runner::{Count, Stage, Test};
use world::World;

/// The end-to-end tests.
#[derive(Debug, Parser)]
#[command(name = "serin-e2e")]
struct Cli {
    /// Run only tests whose name contains one of these.
    #[arg(long = "filter", alias = "name")]
    filters: Vec<String>,
    /// The same.
    words: Vec<String>,
    /// Also run what takes long.
    #[arg(long)]
    long: bool,
    /// Name the tests and end.
    #[arg(long)]
    list: bool,
    /// The program under test; the `serin` beside this program when not given.
    #[arg(long, env = "SERIN_BIN")]
    serin: Option<PathBuf>,
    /// The cluster's folder (logs, audit log), kept at the end; a temporary one when not given.
    #[arg(long)]
    dir: Option<PathBuf>,
    /// In this process and in virtual time: those tests that need no real cluster, from the same text.
    #[arg(long)]
    simulated: bool,
    /// How many tests run side by side.
    #[arg(long, default_value_t = 5)]
    at_once: usize,
    /// Play one group of tests so many times.
    #[arg(long, default_value_t = 1)]
    repeat: usize,
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let chosen = choose(&cli);
    if cli.list {
        for test in chosen {
            println!(
                "{:?}: {}{}",
                test.stage,
                test.name,
                if test.is_long { " (long)" } else { "" }
            );
        }
        return ExitCode::SUCCESS;
    }
    let ended = if cli.simulated {
        runner::run_simulated(chosen)
    } else {
        start(&cli, chosen)
    };
    match ended {
        Ok(Count { passed, failed }) => {
            println!("{passed} passed, {failed} failed");
            ExitCode::from(u8::from(failed > 0 || passed == 0))
        }
        Err(error) => {
            eprintln!("serin-e2e: {error:#}");
            println!("0 passed, 1 failed");
            ExitCode::FAILURE
        }
    }
}

fn choose(cli: &Cli) -> Vec<Test> {
    let words: Vec<&String> = cli.filters.iter().chain(&cli.words).collect();
    (0..cli.repeat.max(1))
        .flat_map(suites::all)
        .filter(|t| !t.is_long || cli.long)
        .filter(|t| t.is_on_both || !cli.simulated)
        .filter(|t| words.is_empty() || words.iter().any(|w| t.name.contains(w.as_str())))
        .collect()
}

fn start(cli: &Cli, tests: Vec<Test>) -> Result<Count> {
    let inside = enter(&Enter { dir: cli.dir.clone() })?;
    let serin = match &cli.serin {
        Some(path) => path.clone(),
        None => std::env::current_exe()?.with_file_name("serin"),
    };
    anyhow::ensure!(
        serin.exists(),
        "{} does not exist: build it with `cargo build --bin serin`",
        serin.display()
    );
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        let mut options = Options::new(inside);
        options.crds = vec![install::deploy_folder().join("crds")];
        options.node_settings.serin = Some(serin.clone());
        // A controller that was killed is started again quickly, whatever the number of kills.
        options.node_settings.crash_backoff = Duration::from_millis(20);
        let cluster = Cluster::start(options).await.context("the cluster did not start")?;
        let world = World::new(cluster, serin).await?;
        let count = run(&world, tests, cli.at_once).await;
        world.end().await?;
        count
    })
}

async fn run(world: &World, tests: Vec<Test>, at_once: usize) -> Result<Count> {
    let count = Arc::new(Mutex::new(Count::default()));
    let mut stages: std::collections::BTreeMap<Stage, Vec<Test>> = std::collections::BTreeMap::new();
    for test in tests {
        stages.entry(test.stage).or_default().push(test);
    }
    let mut take = |stage| stages.remove(&stage).unwrap_or_default();
    runner::run(world, take(Stage::Before), 1, &count).await;
    install::install(world).await.context("Serin could not be installed")?;
    runner::run(world, take(Stage::Together), at_once.max(1), &count).await;
    runner::run(world, take(Stage::Alone), 1, &count).await;
    runner::run(world, take(Stage::End), 1, &count).await;
    let count = *count.lock().unwrap_or_else(PoisonError::into_inner);
    Ok(count)
}
