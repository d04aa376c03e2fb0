//! Which cluster a command speaks to, as people tell kubectl. Knows nothing of what is asked.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context as _, Result, anyhow};
use clap::Args;
use kube::{
    Client, Config,
    config::{KubeConfigOptions, Kubeconfig},
};

/// Which cluster, and which namespace of it.
#[derive(Clone, Debug, Default, Args)]
pub(crate) struct Cluster {
    /// Path of a kubeconfig; default: KUBECONFIG, then ~/.kube/config.
    #[arg(long, value_name = "FILE")]
    pub(crate) kubeconfig: Option<PathBuf>,
    /// Context of the kubeconfig; default: its current one.
    #[arg(long)]
    pub(crate) context: Option<String>,
    /// Namespace; default: the context's.
    #[arg(long, short = 'n')]
    pub(crate) namespace: Option<String>,
}

/// What is configured for a context (the current one without), patience for people included.
///
/// # Errors
/// There is no such file or context, or no cluster is configured at all.
pub(crate) async fn config(kubeconfig: Option<&Path>, context: Option<&str>) -> Result<Config> {
    let options = KubeConfigOptions {
        context: context.map(str::to_owned),
        ..KubeConfigOptions::default()
    };
    let mut config = match (kubeconfig, context) {
        (Some(path), _) => {
            let file =
                Kubeconfig::read_from(path).with_context(|| format!("cannot read --kubeconfig {}", path.display()))?;
            Config::from_custom_kubeconfig(file, &options)
                .await
                .with_context(|| format!("cannot use --kubeconfig {}", path.display()))?
        }
        (None, Some(context)) => Config::from_kubeconfig(&options)
            .await
            .with_context(|| format!("cannot use --context {context}"))?,
        // The error has all of its causes in its own text.
        (None, None) => Config::infer()
            .await
            .map_err(|e| anyhow!("no cluster is known: set KUBECONFIG, or give --kubeconfig ({e})"))?,
    };
    // Whoever waits at a terminal is told at once.
    config.default_retry = false;
    config.connect_timeout = Some(Duration::from_secs(5));
    Ok(config)
}

impl Cluster {
    /// A client with the user's own rights, and the namespace.
    pub(crate) async fn connect(&self) -> Result<(Client, String)> {
        let config = config(self.kubeconfig.as_deref(), self.context.as_deref()).await?;
        let namespace = self
            .namespace
            .clone()
            .unwrap_or_else(|| config.default_namespace.clone());
        let client = Client::try_from(config).context("cannot set up the API server's client")?;
        Ok((client, namespace))
    }
}
