//! The program itself as a ground: `serin playground`, started as anyone starts it, looked at from outside.

use std::net::SocketAddr;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, Result};
use serde_json::Value;
use tokio::io::{AsyncBufReadExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};

/// How long it may take to end.
const END: Duration = Duration::from_secs(10);

/// A running playground without users of its own: the demo's are counted here.
pub(crate) struct Playground {
    child: Child,
    pub(crate) gateway: SocketAddr,
    pub(crate) prometheus: String,
    pub(crate) kubeconfig: String,
    pub(crate) log: String,
    /// Kept: it ends when nobody listens any more.
    _lines: tokio::task::JoinHandle<()>,
}

impl Playground {
    /// Starts it and reads where everything is.
    pub(crate) async fn start(serin: &Path, prometheus: Option<&Path>) -> Result<Self> {
        let mut child = Command::new(serin)
            .args(["playground", "--json", "--rps", "0", "--prometheus"])
            .arg(prometheus.unwrap_or(Path::new("none")))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            // Ctrl-C is for the demo, which ends it then.
            .process_group(0)
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("failed to run {}: `make demo` builds it", serin.display()))?;
        let stdout = child.stdout.take().context("the playground has no output")?;
        let mut lines = BufReader::new(stdout).lines();
        let first = lines.next_line().await.context("failed to read from the playground")?;
        let first = first.context("the playground ended; what it said is above")?;
        let at: Value = serde_json::from_str(&first).with_context(|| format!("the playground said: {first}"))?;
        let text = |field: &str| at[field].as_str().unwrap_or_default().to_owned();
        let gateway = text("gateway");
        let gateway = gateway.trim_start_matches("http://");
        Ok(Self {
            gateway: gateway
                .parse()
                .with_context(|| format!("the gateway's address {gateway:?}"))?,
            prometheus: text("prometheus"),
            kubeconfig: text("kubeconfig"),
            log: text("log"),
            child,
            _lines: tokio::spawn(read_on(lines)),
        })
    }

    /// A client as kubectl would be one.
    pub(crate) async fn client(&self) -> Result<kube::Client> {
        let file = kube::config::Kubeconfig::read_from(&self.kubeconfig)
            .with_context(|| format!("failed to read {}", self.kubeconfig))?;
        let config = kube::Config::from_custom_kubeconfig(file, &kube::config::KubeConfigOptions::default())
            .await
            .with_context(|| format!("failed to use {}", self.kubeconfig))?;
        Ok(kube::Client::try_from(config)?)
    }

    /// Ends it in order.
    pub(crate) async fn end(mut self) {
        // Nobody listens any more: that ends it, too. Whoever does not take the hint is killed.
        self._lines.abort();
        if let Some(id) = self.child.id() {
            let _ = Command::new("kill").arg(id.to_string()).status().await;
        }
        let _ = tokio::time::timeout(END, self.child.wait()).await;
    }
}

/// The demo tells what happens from the objects; what the playground tells is only taken off its hands.
async fn read_on(mut lines: Lines<BufReader<ChildStdout>>) {
    while let Ok(Some(_)) = lines.next_line().await {}
}
