//! `serin-cluster`: the test cluster from the command line. See README.md.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};
use serin_cluster::load::{Load, LoadOptions};
use serin_cluster::{Cluster, Enter, Error, Options, Parts, Result, attach, enter};
use tokio::signal::unix::{SignalKind, signal};

/// A real Kubernetes control plane with gateway, Prometheus and virtual nodes, in a private network namespace.
#[derive(Debug, Parser)]
#[command(name = "serin-cluster", version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Start a cluster and keep it until Ctrl-C.
    Up {
        #[command(flatten)]
        cluster: ClusterArgs,
    },
    /// Start a cluster, run a command inside its namespace, end with its exit code.
    Run {
        #[command(flatten)]
        cluster: ClusterArgs,
        /// The command and its arguments.
        #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true)]
        command: Vec<String>,
    },
    /// Run a command inside the namespace of a running cluster.
    Exec {
        /// The cluster's folder; the newest one's when not given.
        #[arg(long)]
        dir: Option<PathBuf>,
        /// The command and its arguments.
        #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true)]
        command: Vec<String>,
    },
    /// Run a command in an empty namespace, with all parts at hand; it can start a cluster itself.
    Enter {
        /// The cluster's folder; a temporary one when not given.
        #[arg(long)]
        dir: Option<PathBuf>,
        /// The command and its arguments.
        #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true)]
        command: Vec<String>,
    },
    /// Send steady requests through the gateway and report how they were answered (inside: `serin-cluster exec`).
    Load {
        /// Where to send them; the gateway when not given.
        #[arg(long, default_value = "10.244.255.2:80", env = "SERIN_GATEWAY")]
        target: SocketAddr,
        /// The Host header.
        #[arg(long)]
        host: String,
        /// The path.
        #[arg(long, default_value = "/")]
        path: String,
        /// Requests per second.
        #[arg(long, default_value_t = 50.0)]
        rps: f64,
        /// For how many seconds; 0 = until Ctrl-C.
        #[arg(long = "for", default_value_t = 10)]
        seconds: u64,
    },
    /// Fetch and build all parts, start nothing.
    Fetch,
}

#[derive(Debug, Args)]
struct ClusterArgs {
    /// The cluster's folder (logs, kubeconfig, data); kept at the end. A temporary one when not given.
    #[arg(long)]
    dir: Option<PathBuf>,
    /// YAML files or folders with resource definitions to have from the start.
    #[arg(long = "crds")]
    crds: Vec<PathBuf>,
    /// The binary behind images named `serin`.
    #[arg(long)]
    serin: Option<PathBuf>,
    /// How many nodes.
    #[arg(long, default_value_t = 2)]
    nodes: usize,
}

fn main() -> ExitCode {
    match run(Cli::parse().command) {
        Ok(code) => ExitCode::from(u8::try_from(code).unwrap_or(1)),
        Err(error) => {
            eprintln!("serin-cluster: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(command: Command) -> Result<i32> {
    match command {
        Command::Up { cluster } => {
            let options = options(cluster)?;
            block_on(up(options))
        }
        Command::Run { cluster, command } => {
            let options = options(cluster)?;
            block_on(run_inside(options, command))
        }
        Command::Exec { dir, command } => attach::exec(&dir.map_or_else(attach::newest, Ok)?, &command),
        Command::Enter { dir, command } => {
            enter(&Enter { dir })?;
            block_on(spawn(command, Vec::new()))
        }
        Command::Load {
            target,
            host,
            path,
            rps,
            seconds,
        } => {
            let options = LoadOptions {
                path,
                ..LoadOptions::new(target, host, rps)
            };
            block_on(load(options, seconds))
        }
        Command::Fetch => {
            let parts = Parts::fetch()?;
            println!(
                "{}",
                serde_json::to_string_pretty(&parts).map_err(|e| Error::Other(e.to_string()))?
            );
            Ok(0)
        }
    }
}

fn options(arguments: ClusterArgs) -> Result<Options> {
    let inside = enter(&Enter { dir: arguments.dir })?;
    let mut options = Options::new(inside);
    options.crds = arguments.crds;
    options.nodes = arguments.nodes;
    options.node_settings.serin = arguments.serin;
    Ok(options)
}

fn block_on(future: impl Future<Output = Result<i32>>) -> Result<i32> {
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|e| Error::Other(format!("failed to start the runtime: {e}")))?
        .block_on(future)
}

async fn up(options: Options) -> Result<i32> {
    let mut interrupt = signal(SignalKind::interrupt()).map_err(|e| Error::Other(e.to_string()))?;
    let cluster = tokio::select! {
        biased;
        _ = interrupt.recv() => return Ok(130),
        cluster = Cluster::start(options) => cluster?,
    };
    let url = |name: &str| {
        cluster
            .outside_port(name)
            .map_or("-".into(), |port| format!("http://127.0.0.1:{port}"))
    };
    println!("kubeconfig  {}", cluster.outside_kubeconfig().display());
    println!("gateway     {} (with a Host header)", url("gateway"));
    println!("prometheus  {}", url("prometheus"));
    println!("folder      {}", cluster.dir().display());
    println!("inside      serin-cluster exec -- bash");
    println!("Ctrl-C ends it.");
    interrupt.recv().await;
    cluster.shutdown().await;
    Ok(0)
}

async fn run_inside(options: Options, command: Vec<String>) -> Result<i32> {
    let cluster = Cluster::start(options).await?;
    let environment = attach::environment(cluster.dir(), &attach::description(cluster.dir())?);
    let code = spawn(command, environment).await;
    cluster.shutdown().await;
    code
}

/// Runs a command to its end. A Ctrl-C reaches it by itself: here it only must not end us first.
async fn spawn(command: Vec<String>, environment: Vec<(&'static str, String)>) -> Result<i32> {
    let (program, arguments) = command
        .split_first()
        .ok_or_else(|| Error::Other("no command was given".into()))?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(|e| Error::Other(e.to_string()))?;
    let mut child = tokio::process::Command::new(program)
        .args(arguments)
        .envs(environment)
        .kill_on_drop(true)
        .spawn()
        .map_err(|e| Error::Other(format!("failed to start `{program}`: {e}")))?;
    loop {
        tokio::select! {
            biased;
            _ = interrupt.recv() => {}
            status = child.wait() => {
                use std::os::unix::process::ExitStatusExt;
                let status = status.map_err(|e| Error::Other(format!("failed to wait for `{program}`: {e}")))?;
                return Ok(status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or(0)));
            }
        }
    }
}

async fn load(options: LoadOptions, seconds: u64) -> Result<i32> {
    let mut interrupt = signal(SignalKind::interrupt()).map_err(|e| Error::Other(e.to_string()))?;
    let load = Load::start(options);
    let end = async {
        match seconds {
            0 => std::future::pending().await,
            _ => tokio::time::sleep(Duration::from_secs(seconds)).await,
        }
    };
    tokio::select! {
        biased;
        _ = interrupt.recv() => {}
        () = end => {}
    }
    let report = load.stop();
    println!("{report}");
    Ok(i32::from(!report.failures().is_empty()))
}
