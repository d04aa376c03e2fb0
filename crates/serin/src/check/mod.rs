//! `serin check`: what stands between a cluster and its next release, before and after the installation.
//!
//! Functional core, imperative shell: `observe` asks the API server and Prometheus and keeps every answer, refusals too
//! ([`observed::Observed`]); [`findings`] is a pure function of that, one file for each subject; `text` prints. Nothing is
//! written to the cluster.

mod capacity;
mod controllers;
mod definitions;
mod install;
mod lease;
mod line;
mod metrics;
mod observe;
mod observed;
mod prometheus;
mod quota;
mod quoted;
mod rbac;
mod reader;
mod rights;
mod rollouts;
mod routes;
mod series;
mod server;
mod services;
mod text;

#[cfg(test)]
mod tests;

use std::{
    io::{IsTerminal as _, Write as _},
    path::PathBuf,
    process::ExitCode,
    sync::Arc,
};

use anyhow::{Context as _, Result};
use clap::{Args, ValueEnum};
use kube::Client;
use serin_controller::Clock;
use serin_providers::{AddressPolicy, ReqwestTransport};

use line::{Line, Status};
use observe::Wanted;
use observed::Observed;

/// Columns where the terminal does not tell.
const WIDTH: usize = 100;

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Output {
    Text,
    Json,
}

/// Check a cluster, Serin in it, and every Rollout: what will not work, and what to do.
#[derive(Debug, Args)]
#[command(
    after_help = "Exit codes: 0 nothing failed, 1 something failed (with --strict: or warned), 2 nothing could be checked: no cluster, or \
                        bad arguments. Every check is explained in docs/check.md."
)]
pub(crate) struct Flags {
    /// Before the installation: may you install, and is anything in the way?
    #[arg(long)]
    pre: bool,
    /// Path of a kubeconfig; default: KUBECONFIG, then ~/.kube/config.
    #[arg(long)]
    kubeconfig: Option<PathBuf>,
    /// Context of the kubeconfig.
    #[arg(long)]
    context: Option<String>,
    /// Look at the Rollouts of this namespace only.
    #[arg(long, short = 'n', conflicts_with = "all_namespaces")]
    namespace: Option<String>,
    /// Look at the Rollouts of all namespaces; so it is without -n.
    #[arg(long, short = 'A')]
    all_namespaces: bool,
    /// Where the controller runs, or will run; found by itself unless you may not list Deployments everywhere.
    #[arg(long)]
    controller_namespace: Option<String>,
    /// Ask this Prometheus instead of those that templates and the controller name.
    #[arg(long, value_name = "URL")]
    prometheus: Option<String>,
    /// Warnings fail too.
    #[arg(long)]
    strict: bool,
    /// Each object on a line of its own.
    #[arg(long, short)]
    verbose: bool,
    /// `json` instead of text.
    #[arg(long, short, value_enum, default_value = "text")]
    output: Output,
}

/// All that there is to say about a cluster.
fn findings(seen: &Observed) -> Vec<Line> {
    let mut lines = server::findings(seen);
    lines.extend(definitions::findings(seen));
    if seen.is_before {
        lines.extend(install::findings(seen));
    } else {
        for part in [
            rights::findings,
            controllers::findings,
            rollouts::findings,
            services::findings,
            routes::findings,
            series::findings,
            capacity::findings,
        ] {
            lines.extend(part(seen));
        }
    }
    text::sort(&mut lines);
    // Routes and Services that several Rollouts share are seen several times.
    lines.dedup();
    lines
}

/// 0 when nothing failed.
fn exit(lines: &[Line], is_strict: bool) -> u8 {
    let worst = lines.iter().map(|line| line.status).max();
    u8::from(worst == Some(Status::Fail) || (is_strict && worst == Some(Status::Warn)))
}

/// Runs the command; problems go to standard error.
pub(crate) fn run(flags: &Flags) -> ExitCode {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let checked = runtime
        .map_err(Into::into)
        .and_then(|runtime| runtime.block_on(check(flags)));
    match checked {
        Ok(code) => ExitCode::from(code),
        Err(problem) => {
            eprintln!("{problem:#}");
            ExitCode::from(2)
        }
    }
}

async fn check(flags: &Flags) -> Result<u8> {
    let (client, address, wanted) = cluster(flags).await?;
    let transport = Arc::new(ReqwestTransport::new(AddressPolicy { allow_link_local: true }));
    let seen = observe::observe(client, transport, &Clock::System, &wanted)
        .await
        .map_err(|trouble| anyhow::anyhow!("the API server at {address} cannot be asked: {}", trouble.message))?;
    let lines = findings(&seen);
    let code = exit(&lines, flags.strict);
    let out = match flags.output {
        Output::Json => format!("{:#}\n", text::json(&lines, code)),
        Output::Text => {
            let is_terminal = std::io::stdout().is_terminal();
            let has_colour = is_terminal && std::env::var_os("NO_COLOR").is_none_or(|v| v.is_empty());
            let columns = std::env::var("COLUMNS").ok().and_then(|c| c.parse().ok());
            let style = text::Style {
                has_colour,
                is_verbose: flags.verbose,
                width: columns.filter(|c| *c >= 40).unwrap_or(WIDTH),
            };
            format!(
                "API server {address}\n\n{}{}",
                heading(&seen),
                text::text(&lines, style)
            )
        }
    };
    // A pipe may be closed early: `serin check | head`.
    let _ = std::io::stdout().write_all(out.as_bytes());
    Ok(code)
}

/// What was looked at, where that is not everything.
fn heading(seen: &Observed) -> String {
    match &seen.scope {
        observed::Scope::Only(namespace) => format!(
            "You may not list Rollouts of all namespaces: looking at namespace {namespace} only (-n names another).\n\n"
        ),
        _ if seen.is_before => String::new(),
        _ if seen.objects.apps.as_ref().is_ok_and(Vec::is_empty) => match seen.scope.namespace() {
            Some(namespace) => format!("There are no Rollouts in namespace {namespace}.\n\n"),
            None => "There are no Rollouts yet.\n\n".to_owned(),
        },
        _ => String::new(),
    }
}

async fn cluster(flags: &Flags) -> Result<(Client, String, Wanted)> {
    let config = crate::cluster::config(flags.kubeconfig.as_deref(), flags.context.as_deref()).await?;
    let wanted = Wanted {
        is_before: flags.pre,
        namespace: flags.namespace.clone(),
        default_namespace: config.default_namespace.clone(),
        controller_namespace: flags.controller_namespace.clone(),
        prometheus: flags.prometheus.clone(),
    };
    let address = config.cluster_url.to_string();
    let client = Client::try_from(config).context("cannot set up the API server's client")?;
    Ok((client, address.trim_end_matches('/').to_owned(), wanted))
}
