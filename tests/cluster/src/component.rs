//! One program of the control plane: started, watched until ready, stopped, killed, frozen and started again.

use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use tokio::process::{Child, Command};
use tokio::time::Instant;

use crate::error::{Error, Result};
use crate::http;

/// The programs that a cluster is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Component {
    /// The store.
    Etcd,
    /// kube-apiserver.
    ApiServer,
    /// kube-controller-manager.
    ControllerManager,
    /// Prometheus.
    Prometheus,
    /// Traefik, the gateway.
    Gateway,
}

impl Component {
    /// Its name in log files and in `cluster.json`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Etcd => "etcd",
            Self::ApiServer => "kube-apiserver",
            Self::ControllerManager => "kube-controller-manager",
            Self::Prometheus => "prometheus",
            Self::Gateway => "traefik",
        }
    }
}

/// A signal for a component or for the controller's process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signal {
    /// End in order.
    Term,
    /// End at once.
    Kill,
    /// Freeze.
    Stop,
    /// Go on.
    Cont,
    /// What Ctrl-C sends.
    Int,
}

/// Sends a signal to one process.
///
/// # Errors
/// When there is no such process (any more).
pub async fn send_signal(pid: u32, signal: Signal) -> Result<()> {
    let name = match signal {
        Signal::Term => "TERM",
        Signal::Kill => "KILL",
        Signal::Stop => "STOP",
        Signal::Cont => "CONT",
        Signal::Int => "INT",
    };
    // The shell's own kill: a bare machine need not have the program.
    let output = Command::new("sh")
        .args(["-c", &format!("kill -{name} {pid}")])
        .output()
        .await;
    let output = output.map_err(Error::io("start", "sh"))?;
    if output.status.success() {
        return Ok(());
    }
    Err(Error::Other(format!(
        "kill -{name} {pid}: {}",
        String::from_utf8_lossy(&output.stderr).trim()
    )))
}

/// How a component is started.
#[derive(Clone, Debug)]
pub(crate) struct Recipe {
    pub(crate) program: PathBuf,
    pub(crate) arguments: Vec<OsString>,
    pub(crate) log: PathBuf,
    /// Where it says that it is ready (a 200), over plain HTTP. None: the caller knows how to ask.
    pub(crate) ready: Option<(SocketAddr, &'static str)>,
}

/// A component and its process, if it has one.
#[derive(Debug)]
pub(crate) struct Running {
    name: String,
    recipe: Recipe,
    child: Option<Child>,
}

impl Running {
    pub(crate) fn new(component: Component, recipe: Recipe) -> Self {
        Self {
            name: component.name().into(),
            recipe,
            child: None,
        }
    }

    /// Starts the process. It writes to its log file (appended), hears nothing from the terminal's Ctrl-C and dies with us.
    pub(crate) fn start(&mut self) -> Result<()> {
        let log = std::fs::File::options()
            .create(true)
            .append(true)
            .open(&self.recipe.log)
            .map_err(Error::io("open", &self.recipe.log))?;
        let errors = log.try_clone().map_err(Error::io("open", &self.recipe.log))?;
        let mut command = Command::new(&self.recipe.program);
        command
            .args(&self.recipe.arguments)
            .stdin(Stdio::null())
            .stdout(log)
            .stderr(errors);
        // KUBECONFIG would win over the flags of some of them.
        command.env_remove("KUBECONFIG").process_group(0).kill_on_drop(true);
        self.child = Some(command.spawn().map_err(Error::io("start", &self.recipe.program))?);
        Ok(())
    }

    /// Waits until the component answers 200.
    pub(crate) async fn ready(&mut self, timeout: Duration) -> Result<()> {
        let Some((address, path)) = self.recipe.ready else {
            return Ok(());
        };
        self.wait(timeout, async || {
            match http::get(address, path, Duration::from_secs(2)).await {
                Ok((200, _)) => Ok(()),
                Ok((status, _)) => Err(format!("{address}{path} answers {status}")),
                Err(why) => Err(why),
            }
        })
        .await
    }

    /// Asks again and again until `check` is content, the process ends or time is up.
    pub(crate) async fn wait(&mut self, timeout: Duration, check: impl AsyncFn() -> Result<(), String>) -> Result<()> {
        let begin = Instant::now();
        loop {
            let answer = tokio::time::timeout(Duration::from_secs(10), check()).await;
            let mut problem = match answer.unwrap_or_else(|_| Err("no answer within 10 s".into())) {
                Ok(()) => return Ok(()),
                Err(problem) => problem,
            };
            let ended = match self.child.as_mut().map(Child::try_wait) {
                Some(Ok(Some(status))) => Some(format!("it ended with {status}: {}", tail(&self.recipe.log))),
                None => Some("it is not started".into()),
                _ => None,
            };
            let over = ended.is_some() || begin.elapsed() > timeout;
            if let Some(ended) = ended {
                problem = ended;
            }
            if over {
                return Err(Error::NotReady {
                    component: self.name.clone(),
                    problem,
                    waited: begin.elapsed(),
                    log: self.recipe.log.clone(),
                });
            }
            tokio::time::sleep(Duration::from_millis(30)).await;
        }
    }

    /// Its process id, while it runs.
    pub(crate) fn pid(&self) -> Option<u32> {
        self.child.as_ref().and_then(Child::id)
    }

    /// SIGTERM, and SIGKILL when that does not end it in time. Returns when it is gone.
    pub(crate) async fn stop(&mut self, grace: Duration) -> Result<()> {
        if let Some(pid) = self.pid() {
            send_signal(pid, Signal::Term).await?;
        }
        if let Some(child) = &mut self.child
            && tokio::time::timeout(grace, child.wait()).await.is_err()
        {
            self.kill().await?;
        }
        self.child = None;
        Ok(())
    }

    /// SIGKILL. Returns when it is gone.
    pub(crate) async fn kill(&mut self) -> Result<()> {
        if let Some(mut child) = self.child.take() {
            child.kill().await.map_err(Error::io("kill", &self.name))?;
        }
        Ok(())
    }
}

/// The last lines of a log, on one line.
pub(crate) fn tail(log: &Path) -> String {
    let text = std::fs::read(log)
        .map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
        .unwrap_or_default();
    let lines: Vec<&str> = text.lines().filter(|line| !line.trim().is_empty()).collect();
    lines[lines.len().saturating_sub(3)..].join(" | ")
}
