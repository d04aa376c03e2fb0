//! The measured process: started, watched until ready, read off /proc, ended.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Stdio,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};
use serin_cluster::{Signal, send_signal};
use tokio::process::{Child, Command};

/// Ports of the first and of the second process: for `{healthz}` and `{metrics}`.
const PORTS: [(u16, u16); 2] = [(18080, 18090), (18081, 18091)];

/// How a controller is started.
#[derive(Clone, Debug)]
pub(crate) struct Controller {
    command: String,
    kubeconfig: PathBuf,
    ready: String,
    log: PathBuf,
}

/// A started one.
pub(crate) struct Process {
    child: Child,
    pid: u32,
    ready: String,
    log: PathBuf,
    pub(crate) started: Instant,
}

/// What a process has used so far.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Usage {
    /// Resident memory now, in KiB.
    pub(crate) rss: u64,
    /// Resident memory at its highest, in KiB.
    pub(crate) peak: u64,
    /// Processor time.
    pub(crate) cpu: Duration,
}

impl Controller {
    pub(crate) fn new(command: &str, kubeconfig: &Path, ready: &str, log: PathBuf) -> Self {
        Self {
            command: command.to_owned(),
            kubeconfig: kubeconfig.to_owned(),
            ready: ready.to_owned(),
            log,
        }
    }

    /// Whether two of them can run side by side: their ports are placeholders.
    pub(crate) fn has_ports(&self) -> bool {
        self.command.contains("{healthz}") && self.ready.contains("{healthz}")
    }

    /// Starts it.
    pub(crate) fn start(&self) -> Result<Process> {
        self.start_nth(0)
    }

    /// Starts it with the ports of the first or of the second process.
    pub(crate) fn start_nth(&self, nth: usize) -> Result<Process> {
        let (healthz, metrics) = PORTS[nth % PORTS.len()];
        let fill = |text: &str| {
            text.replace("{kubeconfig}", &self.kubeconfig.display().to_string())
                .replace("{healthz}", &healthz.to_string())
                .replace("{metrics}", &metrics.to_string())
        };
        let line = fill(&self.command);
        let mut words = line.split_whitespace();
        let program = words.next().context("the controller's command line is empty")?;
        let log = fs::File::options().create(true).append(true).open(&self.log)?;
        let started = Instant::now();
        let child = Command::new(program)
            .args(words)
            .env("KUBECONFIG", &self.kubeconfig)
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("start {program}"))?;
        let pid = child.id().context("the controller ended at once")?;
        Ok(Process {
            child,
            pid,
            ready: fill(&self.ready),
            log: self.log.clone(),
            started,
        })
    }
}

impl Process {
    /// How long after its start it said that it is ready.
    pub(crate) async fn ready(&mut self) -> Result<Duration> {
        let client = reqwest::Client::builder().timeout(Duration::from_secs(2)).build()?;
        loop {
            if let Ok(answer) = client.get(&self.ready).send().await
                && answer.status().is_success()
            {
                return Ok(self.started.elapsed());
            }
            if let Some(status) = self.child.try_wait()? {
                bail!("the controller ended with {status}; see {}", self.log.display());
            }
            if self.started.elapsed() > Duration::from_secs(300) {
                bail!("the controller is not ready after 300 s; see {}", self.log.display());
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// What it has used so far.
    pub(crate) fn usage(&self) -> Result<Usage> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid))?;
        let field = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name));
            let word = line.and_then(|rest| rest.split_whitespace().next());
            word.and_then(|word| word.parse().ok()).unwrap_or(0)
        };
        // In nanoseconds over all threads that still live; ended ones are few.
        let mut cpu = 0;
        for task in fs::read_dir(format!("/proc/{}/task", self.pid))? {
            let text = fs::read_to_string(task?.path().join("schedstat")).unwrap_or_default();
            cpu += text
                .split_whitespace()
                .next()
                .and_then(|word| word.parse().ok())
                .unwrap_or(0);
        }
        Ok(Usage {
            rss: field("VmRSS:"),
            peak: field("VmHWM:"),
            cpu: Duration::from_nanos(cpu),
        })
    }

    /// Ends it in order; returns how long that took.
    pub(crate) async fn terminate(mut self) -> Result<Duration> {
        let began = Instant::now();
        send_signal(self.pid, Signal::Term).await?;
        if tokio::time::timeout(Duration::from_secs(60), self.child.wait())
            .await
            .is_err()
        {
            self.child.kill().await?;
        }
        Ok(began.elapsed())
    }

    /// Kills it.
    pub(crate) async fn kill(mut self) -> Result<()> {
        self.child.kill().await.context("kill the controller")
    }
}
