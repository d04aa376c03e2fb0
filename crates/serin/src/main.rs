//! The one program: `serin controller` runs the controller, `serin check` says what is wrong with an installation, `serin explain`
//! says what a Rollout is doing, `serin rehearse` plays a release in virtual time, `serin playground` shows all of it without a
//! cluster, `serin analysis` tries templates, `serin crds`
//! prints the resources' definitions.

mod analysis;
mod check;
mod cluster;
mod controller;
mod explain;
mod files;
mod loglevel;
mod playground;
mod rehearse;

use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};

/// Decoding the first lists is a storm of small allocations, most of which live for microseconds: with glibc's allocator they
/// cost half of the start's processor time, and with musl's more.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Progressive delivery for Kubernetes that speaks the Argo Rollouts API.
#[derive(Debug, Parser)]
#[command(name = "serin", version, disable_help_subcommand = true)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the controller.
    Controller(Box<controller::Flags>),
    Check(Box<check::Flags>),
    Rehearse(Box<rehearse::Flags>),
    Playground(Box<playground::Flags>),
    Explain(explain::Flags),
    /// Try analysis templates.
    #[command(subcommand)]
    Analysis(analysis::Command),
    /// Print the CustomResourceDefinitions.
    Crds,
    /// Print the version.
    Version,
}

fn main() -> Result<ExitCode> {
    let arguments = Arguments::parse();
    // One TLS provider for the whole program; without C++ and cmake in the build.
    if rustls::crypto::ring::default_provider().install_default().is_err() {
        anyhow::bail!("a TLS provider was installed before; this is a bug in Serin");
    }
    match arguments.command {
        Command::Controller(flags) => controller::run(*flags)?,
        Command::Check(flags) => return Ok(check::run(&flags)),
        Command::Rehearse(flags) => return Ok(rehearse::run(&flags)),
        Command::Playground(flags) => return playground::run(&flags),
        Command::Explain(flags) => return Ok(explain::run(&flags)),
        Command::Analysis(command) => return Ok(analysis::run(&command)),
        Command::Crds => {
            for definition in serin_api::crd::all() {
                println!("---\n{}", definition.yaml());
            }
        }
        Command::Version => println!("serin {}", env!("CARGO_PKG_VERSION")),
    }
    Ok(ExitCode::SUCCESS)
}
