//! Which cluster a command speaks to, as people tell kubectl. Knows nothing of what is asked.

use std::{path::PathBuf, time::Duration};

use anyhow::{Context as _, Result};
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

impl Cluster {
    /// A client with the user's own rights, and the namespace.
    pub(crate) async fn connect(&self) -> Result<(Client, String)> {
        let options = KubeConfigOptions {
            context: self.context.clone(),
            ..KubeConfigOptions::default()
        };
        let mut config = match (&self.kubeconfig, &self.context) {
            (Some(path), _) => {
                let file = Kubeconfig::read_from(path)
                    .with_context(|| format!("cannot read --kubeconfig {}", path.display()))?;
                Config::from_custom_kubeconfig(file, &options)
                    .await
                    .with_context(|| format!("cannot use --kubeconfig {}", path.display()))?
            }
            (None, Some(context)) => Config::from_kubeconfig(&options)
                .await
                .with_context(|| format!("cannot use --context {context}"))?,
            (None, None) => Config::infer()
                .await
                .context("no cluster is known: set KUBECONFIG, or give --kubeconfig")?,
        };
        // Whoever waits at a terminal is told at once.
        config.default_retry = false;
        config.connect_timeout = Some(Duration::from_secs(5));
        let namespace = self
            .namespace
            .clone()
            .unwrap_or_else(|| config.default_namespace.clone());
        let client = Client::try_from(config).context("cannot set up the API server's client")?;
        Ok((client, namespace))
    }
}
