//! `serin-bench`: what a controller of the Argo Rollouts API costs at rest, and how fast it takes a bad release back, on a
//! real API server. Nothing is asserted: figures are printed beside Serin's targets. See README.md.

mod aborts;
mod idle;
mod objects;
mod process;
mod requests;
mod workloads;

use std::{
    path::PathBuf,
    process::ExitCode,
    sync::OnceLock,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use clap::Parser;
use serin_cluster::{Cluster, Enter, Options, enter};

use crate::{process::Controller, requests::Api};

/// Measures a controller of the Argo Rollouts API on a real API server.
#[derive(Debug, Parser)]
pub(crate) struct Cli {
    /// Command line of the controller; `{kubeconfig}` is replaced, and KUBECONFIG is set as well. With `{healthz}` and
    /// `{metrics}` for its ports two of them are run at once, to see how a standby takes over. Default: Serin.
    #[arg(long)]
    controller: Option<String>,
    /// Where the controller says that it is ready (200).
    #[arg(long, default_value = READY)]
    ready: String,
    /// Serin's program, which brings the Rollouts to rest before the measurement, whatever controller is measured.
    #[arg(long)]
    serin: Option<PathBuf>,
    /// How many idle Rollouts, one measurement each.
    #[arg(long, value_delimiter = ',', default_values_t = [1000, 5000])]
    rollouts: Vec<usize>,
    /// ReplicaSets of each.
    #[arg(long, default_value_t = 11)]
    replica_sets: usize,
    /// Seconds of rest that are measured.
    #[arg(long, default_value_t = 60)]
    rest: u64,
    /// How many releases are aborted by a failing measurement; 0 leaves that out.
    #[arg(long, default_value_t = 100)]
    aborts: usize,
    /// The cluster's folder, kept at the end; a temporary one when not given.
    #[arg(long)]
    dir: Option<PathBuf>,
}

const READY: &str = "http://127.0.0.1:{healthz}/readyz";

fn main() -> ExitCode {
    match start(&Cli::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("serin-bench: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn start(cli: &Cli) -> Result<()> {
    let inside = enter(&Enter { dir: cli.dir.clone() })?;
    let serin = match &cli.serin {
        Some(path) => path.clone(),
        None => std::env::current_exe()?.with_file_name("serin"),
    };
    ensure!(
        serin.exists(),
        "{} does not exist: build it with `cargo build --release --bin serin`",
        serin.display()
    );
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        let own = format!(
            "{} controller --kubeconfig {{kubeconfig}} --healthzPort {{healthz}} --metricsPort {{metrics}} --loglevel warn",
            serin.display()
        );
        let command = cli.controller.clone().unwrap_or_else(|| own.clone());
        for rollouts in &cli.rollouts {
            let bench = Bench::new(&inside, cli, &own, &command).await?;
            idle::measure(&bench, *rollouts, cli.replica_sets, Duration::from_secs(cli.rest)).await?;
            bench.cluster.shutdown().await;
        }
        if cli.aborts > 0 {
            let bench = Bench::new(&inside, cli, &own, &command).await?;
            aborts::measure(&bench, cli.aborts).await?;
            bench.cluster.shutdown().await;
        }
        Ok(())
    })
}

/// A fresh API server and how the controllers are started on it.
pub(crate) struct Bench {
    pub(crate) cluster: Cluster,
    pub(crate) api: Api,
    /// Serin.
    pub(crate) own: Controller,
    /// The one that is measured.
    pub(crate) measured: Controller,
}

impl Bench {
    async fn new(inside: &serin_cluster::Inside, cli: &Cli, own: &str, command: &str) -> Result<Self> {
        let mut options = Options::new(inside.clone());
        options.crds = vec![PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../deploy/crds")];
        options.api_server_only = true;
        let cluster = Cluster::start(options).await.context("the cluster did not start")?;
        let api = Api::new(cluster.client());
        let kubeconfig = requests::controller_kubeconfig(&api, &cluster).await?;
        let log = |name: &str| cluster.logs().join(format!("{name}.log"));
        Ok(Self {
            own: Controller::new(own, &kubeconfig, READY, log("serin")),
            measured: Controller::new(command, &kubeconfig, &cli.ready, log("controller")),
            api,
            cluster,
        })
    }
}

/// Says what is being done.
pub(crate) fn progress(what: &str) {
    static BEGAN: OnceLock<Instant> = OnceLock::new();
    let elapsed = BEGAN.get_or_init(Instant::now).elapsed().as_secs();
    eprintln!("bench: {elapsed:>4} s  {what}");
}

/// How busy the machine was in the last minute, by others too.
pub(crate) fn load() -> String {
    let text = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    text.split(' ').next().unwrap_or_default().to_owned()
}

/// One line of the result.
pub(crate) fn row(what: &str, value: &str, target: &str) {
    println!("{what:<62} {value:>16}   {target}");
}
