//! A real Prometheus as a child process: its folder, its configuration, its targets, its end.

use std::{
    fs,
    net::{Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
    process::Stdio,
    sync::Arc,
    time::Duration,
};

use http::Request;
use http_body_util::Full;
use tokio::{
    net::TcpListener,
    process::{Child, Command},
    sync::watch,
    task::JoinSet,
    time::{Instant, sleep},
};

use crate::{
    Error,
    pods::Pods,
    scraping::{self, Fixed},
    wire::Client,
};

/// How long it may take to start, on a busy machine.
const READY: Duration = Duration::from_secs(30);
/// How often somebody else may have taken the port that was free.
const TRIES: usize = 3;
/// Pods change in bursts: one write a burst.
const SETTLE: Duration = Duration::from_millis(10);

/// A running one; it is killed when this is dropped.
pub(crate) struct Prometheus {
    pub(crate) address: SocketAddr,
    pub(crate) process: Option<u32>,
    program: PathBuf,
    child: Child,
    _tasks: JoinSet<()>,
}

/// Everything that it needs.
pub(crate) struct Setup<'a> {
    pub(crate) program: &'a Path,
    /// An empty folder of its own.
    pub(crate) folder: PathBuf,
    pub(crate) rules: &'a [String],
    pub(crate) interval: Duration,
    pub(crate) fixed: Fixed,
    pub(crate) pods: Pods,
    pub(crate) changed: watch::Receiver<()>,
}

/// The first program `prometheus` in the folders of a search path.
pub fn find(path: Option<&std::ffi::OsStr>) -> Option<PathBuf> {
    use std::os::unix::fs::PermissionsExt as _;
    let candidates = std::env::split_paths(path?).map(|folder| folder.join("prometheus"));
    let is_program = |path: &PathBuf| {
        let metadata = fs::metadata(path);
        metadata.is_ok_and(|m| m.is_file() && m.permissions().mode() & 0o111 != 0)
    };
    candidates.into_iter().find(is_program)
}

impl Prometheus {
    /// Starts it and waits until it answers.
    pub(crate) async fn start(setup: Setup<'_>, client: &Arc<Client>) -> Result<Self, Error> {
        let folder = &setup.folder;
        let write = |name: &str, text: String| {
            let path = folder.join(name);
            fs::write(&path, text).map_err(|e| Error::file("write", &path, e))
        };
        fs::create_dir(folder).map_err(|e| Error::file("create", folder, e))?;
        let configuration = scraping::configuration(folder, setup.interval, &setup.fixed);
        write("prometheus.yml", configuration.to_string())?;
        write(
            "targets.json",
            scraping::discovered(setup.pods.running().values()).to_string(),
        )?;
        for (index, rules) in setup.rules.iter().enumerate() {
            write(&format!("rules-{index}.yml"), rules.clone())?;
        }
        let log = folder.join("prometheus.log");
        for _ in 0..TRIES {
            let address = free_port().await?;
            let output = fs::File::create(&log).map_err(|e| Error::file("create", &log, e))?;
            let errors = output.try_clone().map_err(|e| Error::file("use", &log, e))?;
            let mut child = Command::new(setup.program)
                .arg(format!("--config.file={}", folder.join("prometheus.yml").display()))
                .arg(format!("--storage.tsdb.path={}", folder.join("data").display()))
                .arg(format!("--web.listen-address={address}"))
                .arg("--storage.tsdb.retention.time=1d")
                // How long changed targets may wait for the next look; 5 s by default.
                .arg("--scrape.discovery-reload-interval=200ms")
                .stdin(Stdio::null())
                .stdout(output)
                .stderr(errors)
                // Ctrl-C is for the playground alone, which ends it then.
                .process_group(0)
                .kill_on_drop(true)
                .spawn()
                .map_err(|e| Error::file("run", setup.program, e))?;
            if ready(&mut child, address, client).await {
                let mut tasks = JoinSet::new();
                tasks.spawn(tell(setup.folder.clone(), setup.pods, setup.changed));
                return Ok(Self {
                    address,
                    process: child.id(),
                    program: setup.program.to_owned(),
                    child,
                    _tasks: tasks,
                });
            }
            // Nothing is to be done about one that cannot be killed.
            let _ = child.kill().await;
        }
        let text = fs::read_to_string(&log).unwrap_or_default();
        let last: Vec<&str> = text.lines().rev().take(3).collect();
        Err(Error::Prometheus {
            program: setup.program.to_owned(),
            said: last.into_iter().rev().collect::<Vec<_>>().join(" | "),
        })
    }

    /// Why it ended by itself, when it does.
    pub(crate) async fn ended(&mut self) -> Error {
        let status = self.child.wait().await;
        let said = status.map_or_else(|e| e.to_string(), |status| status.to_string());
        Error::Prometheus {
            program: self.program.clone(),
            said,
        }
    }

    /// Ends it: nothing of what it holds is kept.
    pub(crate) async fn end(mut self) {
        // It may have ended by itself.
        let _ = self.child.kill().await;
    }
}

/// A port that was free a moment ago.
async fn free_port() -> Result<SocketAddr, Error> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await;
    listener.and_then(|l| l.local_addr()).map_err(Error::Listen)
}

/// Whether it answers; not if it ends before.
async fn ready(child: &mut Child, address: SocketAddr, client: &Arc<Client>) -> bool {
    let deadline = Instant::now() + READY;
    while Instant::now() < deadline && matches!(child.try_wait(), Ok(None)) {
        let request = Request::get("/-/ready")
            .header("host", address.to_string())
            .body(Full::default());
        let Ok(request) = request else { return false };
        if client
            .send(address, request)
            .await
            .is_ok_and(|answer| answer.status().is_success())
        {
            // Somebody else may sit at this port, and our own child be about to say so.
            return matches!(child.try_wait(), Ok(None));
        }
        sleep(Duration::from_millis(20)).await;
    }
    false
}

/// Writes the list of targets whenever it changes, for ever.
async fn tell(folder: PathBuf, pods: Pods, mut changed: watch::Receiver<()>) {
    let mut written = String::new();
    loop {
        let text = scraping::discovered(pods.running().values()).to_string();
        if text != written {
            // In one step: Prometheus may read at any time. The folder goes with the playground.
            let work = folder.join("targets.new");
            if fs::write(&work, &text)
                .and_then(|()| fs::rename(&work, folder.join("targets.json")))
                .is_ok()
            {
                written = text;
            }
        }
        if changed.changed().await.is_err() {
            return;
        }
        sleep(SETTLE).await;
    }
}
