//! A private world for one cluster: user, network, process and mount namespaces, made without any privilege.
//!
//! [`enter`] is called first in `main`. The calling program then exists three times, each started by the one before:
//! 1. outside: finds the parts, owns the cluster's folder, forwards ports, passes the exit code on;
//! 2. process 1 of the process namespace: prepares the network, waits; when it ends, the kernel ends everything inside;
//! 3. inside: here `enter` returns, and the program does its work.
//!
//! Whatever way the outside process ends, SIGKILL included, nothing is left running.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::process::Command;
use tokio::signal::unix::{SignalKind, signal};

use crate::clock::progress;
use crate::component::{Signal, send_signal};
use crate::error::{Error, Result};
use crate::forward;
use crate::parts::{PARTS_VARIABLE, Parts};

/// Which of the three processes this is.
const STAGE_VARIABLE: &str = "SERIN_CLUSTER_STAGE";
/// The cluster's folder: logs, keys, data, `cluster.json`.
pub(crate) const DIR_VARIABLE: &str = "SERIN_CLUSTER_DIR";
/// The ports outside: `name=port,…`.
const PORTS_VARIABLE: &str = "SERIN_CLUSTER_PORTS";
/// Every address below is local inside: each pod has its own, and it is no loopback address (kube-apiserver refuses those).
pub(crate) const NETWORK: &str = "10.244.0.0/16";
/// What is forwarded from 127.0.0.1 outside, by name.
pub(crate) const FORWARDED: [&str; 3] = ["apiserver", "gateway", "prometheus"];
/// There is no cluster DNS; these names lead to Prometheus all the same.
const PROMETHEUS_NAMES: [&str; 4] = [
    "prometheus",
    "prometheus.monitoring",
    "prometheus.monitoring.svc",
    "prometheus.monitoring.svc.cluster.local",
];
/// How long the inside may take to end after Ctrl-C or SIGTERM.
const GRACE: Duration = Duration::from_secs(8);

/// How to make the namespace.
#[derive(Clone, Debug, Default)]
pub struct Enter {
    /// The cluster's folder. None: a temporary one, removed at the end.
    pub dir: Option<PathBuf>,
}

/// What a process inside the namespace knows about it.
#[derive(Clone, Debug)]
pub struct Inside {
    /// The cluster's folder.
    pub dir: PathBuf,
    /// The programs.
    pub parts: Parts,
    /// Ports on 127.0.0.1 outside the namespace, by name.
    pub outside_ports: BTreeMap<String, u16>,
}

impl Inside {
    /// Reads what [`enter`] left in the environment.
    ///
    /// # Errors
    /// When this process is not inside a namespace of ours.
    pub fn from_environment() -> Result<Self> {
        let dir = std::env::var_os(DIR_VARIABLE).map(PathBuf::from).ok_or_else(|| {
            Error::Other(format!(
                "{DIR_VARIABLE} is not set: start this with `serin-cluster enter --`"
            ))
        })?;
        let ports = std::env::var(PORTS_VARIABLE).unwrap_or_default();
        Ok(Self {
            dir,
            parts: Parts::from_environment()?,
            outside_ports: parse_ports(&ports),
        })
    }
}

/// Runs the rest of this program inside a private namespace. Returns there; the processes outside never return but
/// exit with the inner one's code. Called by a program that is inside already, it returns at once.
///
/// Must be called before any thread or runtime is started.
///
/// # Errors
/// [`Error::Missing`] when a part cannot be had, [`Error::Namespace`] where namespaces are forbidden.
pub fn enter(options: &Enter) -> Result<Inside> {
    let runtime = || {
        tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(Error::io("start the runtime of", "this process"))
    };
    match std::env::var(STAGE_VARIABLE).as_deref() {
        Ok("inside") => Inside::from_environment(),
        Ok("init") => std::process::exit(runtime()?.block_on(init())?),
        _ => {
            let parts = Parts::fetch()?;
            std::process::exit(runtime()?.block_on(outside(options, &parts))?)
        }
    }
}

async fn outside(options: &Enter, parts: &Parts) -> Result<i32> {
    let flags = namespace_flags().await?;
    sweep();
    let (dir, temporary) = match &options.dir {
        Some(dir) => (dir.clone(), false),
        None => (temporary_dir()?, true),
    };
    fs::create_dir_all(&dir).map_err(Error::io("create", &dir))?;
    let dir = dir.canonicalize().map_err(Error::io("find", &dir))?;
    // Held as long as the cluster lives: tells a running one from the remains of a killed one.
    let lock_path = dir.join("lock");
    if lock_path.exists() && is_running(&dir) {
        return Err(Error::Other(format!("{} belongs to a running cluster", dir.display())));
    }
    // Locked before it gets its name, or another start could take it for one that nobody holds.
    let unnamed = dir.join("lock.new");
    let lock = fs::File::create(&unnamed).map_err(Error::io("create", &unnamed))?;
    lock.lock().map_err(Error::io("lock", &unnamed))?;
    fs::rename(&unnamed, &lock_path).map_err(Error::io("rename", &unnamed))?;

    let mut ports = Vec::new();
    for name in FORWARDED {
        let listener = TcpListener::bind("127.0.0.1:0")
            .await
            .map_err(Error::io("listen on", "127.0.0.1:0"))?;
        let port = listener
            .local_addr()
            .map_err(Error::io("listen on", "127.0.0.1:0"))?
            .port();
        ports.push(format!("{name}={port}"));
        forward::from_outside(listener, forward::socket(&dir, name));
    }

    let program = std::env::current_exe().map_err(Error::io("find", "this program"))?;
    // setpriv: the kernel kills unshare when we die; --kill-child: and process 1 inside when unshare dies.
    let mut child = Command::new("setpriv")
        .args(["--pdeathsig", "KILL", "unshare"])
        .args(&flags)
        .arg("--")
        .arg(program)
        .args(std::env::args_os().skip(1))
        .env(STAGE_VARIABLE, "init")
        .env(DIR_VARIABLE, &dir)
        .env(PORTS_VARIABLE, ports.join(","))
        .env(
            PARTS_VARIABLE,
            serde_json::to_string(parts).expect("paths of this machine are text"),
        )
        .kill_on_drop(true)
        .spawn()
        .map_err(Error::io("start", "setpriv"))?;
    let pid_file = dir.join("init.pid");
    let code = wait_or_interrupt(&mut child, || fs::read_to_string(&pid_file).ok()?.parse().ok()).await?;
    drop(lock);
    if temporary {
        remove(&dir).await;
    }
    Ok(code)
}

/// Process 1 inside: prepares the namespace and waits for the program.
async fn init() -> Result<i32> {
    let inside = Inside::from_environment()?;
    // Still the machine's /proc: this is our process id outside, by which `serin-cluster exec` finds the namespace.
    let pid = fs::read_link("/proc/self").map_err(Error::io("read", "/proc/self"))?;
    let pid_file = inside.dir.join("init.pid");
    fs::write(&pid_file, pid.to_string_lossy().as_bytes()).map_err(Error::io("write", &pid_file))?;
    // Only a convenience for ps and the like: refused in some containers, and nothing of ours reads it.
    let _ = Command::new("mount")
        .args(["-t", "proc", "proc", "/proc"])
        .stderr(Stdio::null())
        .status()
        .await;
    // A convenience too: the names that charts give Prometheus.
    if let Ok(hosts) = fs::read_to_string("/etc/hosts") {
        let path = inside.dir.join("hosts");
        fs::write(&path, format!("{hosts}\n127.0.0.1 {}\n", PROMETHEUS_NAMES.join(" ")))
            .map_err(Error::io("write", &path))?;
        let mut bind = Command::new("mount");
        bind.arg("--bind").arg(&path).arg("/etc/hosts").stderr(Stdio::null());
        let _ = bind.status().await;
    }
    let output = Command::new(&inside.parts.control_plane)
        .args(["network", NETWORK])
        .output()
        .await
        .map_err(Error::io("start", &inside.parts.control_plane))?;
    if !output.status.success() {
        return Err(Error::Namespace {
            problem: String::from_utf8_lossy(&output.stderr).trim().to_owned(),
            remedy: "the kernel must allow a network namespace its own routes".into(),
        });
    }
    let program = std::env::current_exe().map_err(Error::io("find", "this program"))?;
    let mut child = Command::new(program)
        .args(std::env::args_os().skip(1))
        .env(STAGE_VARIABLE, "inside")
        .spawn()
        .map_err(Error::io("start", "this program inside the namespace"))?;
    let pid = child.id();
    wait_or_interrupt(&mut child, || pid).await
}

/// Waits for the child. A signal to end is passed on to `inside`, which gets some time; then the child is killed.
async fn wait_or_interrupt(child: &mut tokio::process::Child, inside: impl Fn() -> Option<u32>) -> Result<i32> {
    let watch = |kind| signal(kind).map_err(Error::io("watch for", "signals"));
    let mut interrupt = watch(SignalKind::interrupt())?;
    let mut terminate = watch(SignalKind::terminate())?;
    let mut hangup = watch(SignalKind::hangup())?;
    let code = tokio::select! {
        biased;
        status = child.wait() => return Ok(exit_code(status.map_err(Error::io("wait for", "the process inside"))?)),
        _ = interrupt.recv() => 130,
        _ = terminate.recv() => 143,
        _ = hangup.recv() => 129,
    };
    if let Some(pid) = inside() {
        // It may have ended this moment, or have heard the terminal's Ctrl-C already: both are fine.
        let _ = send_signal(pid, Signal::Int).await;
    }
    match tokio::time::timeout(GRACE, child.wait()).await {
        Ok(status) => Ok(exit_code(status.map_err(Error::io("wait for", "the process inside"))?)),
        Err(_) => {
            // Its end is the end of everything inside.
            let _ = child.kill().await;
            Ok(code)
        }
    }
}

/// Removes the cluster's folder. The last processes inside may still be on their way out and write.
async fn remove(dir: &Path) {
    for _ in 0..40 {
        if fs::remove_dir_all(dir).is_ok() || !dir.exists() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    progress(format_args!("could not remove {}", dir.display()));
}

/// As a shell would report it: 128 + signal for a killed process.
pub(crate) fn exit_code(status: std::process::ExitStatus) -> i32 {
    use std::os::unix::process::ExitStatusExt;
    status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or(0))
}

/// The flags of `unshare` that work here: with a user namespace for everyone, without one for a root who may not have one.
async fn namespace_flags() -> Result<Vec<&'static str>> {
    const BASE: [&str; 5] = ["--net", "--pid", "--mount", "--fork", "--kill-child"];
    let with_user: Vec<&str> = ["--user", "--map-root-user"].into_iter().chain(BASE).collect();
    let mut first_problem = None;
    for flags in [with_user, BASE.to_vec()] {
        let output = Command::new("unshare")
            .args(&flags)
            .arg("true")
            .stdin(Stdio::null())
            .output()
            .await;
        match output {
            Ok(output) if output.status.success() => return Ok(flags),
            Ok(output) => {
                let text = String::from_utf8_lossy(&output.stderr).trim().replace('\n', " | ");
                first_problem.get_or_insert(text);
            }
            Err(error) => {
                first_problem.get_or_insert(format!("unshare: {error}"));
            }
        }
    }
    Err(Error::Namespace {
        problem: first_problem.unwrap_or_default(),
        remedy: "allow unprivileged user namespaces (sysctl user.max_user_namespaces, kernel.unprivileged_userns_clone=1, \
                 kernel.apparmor_restrict_unprivileged_userns=0; in a container: --privileged), or run in a virtual machine"
            .into(),
    })
}

const DIR_PREFIX: &str = "serin-cluster-";

fn temporary_root() -> PathBuf {
    let root = std::env::temp_dir();
    // A Unix socket's path may have 107 bytes.
    if root.as_os_str().len() > 60 {
        PathBuf::from("/tmp")
    } else {
        root
    }
}

/// A new folder. The process id alone would not do: nested namespaces have the same ids and share the temporary folder.
fn temporary_dir() -> Result<PathBuf> {
    let mut n = 0;
    loop {
        let dir = temporary_root().join(format!("{DIR_PREFIX}{}-{n}", std::process::id()));
        match fs::create_dir(&dir) {
            Ok(()) => return Ok(dir),
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => n += 1,
            Err(error) => return Err(Error::io("create", &dir)(error)),
        }
    }
}

/// Removes what clusters left on disk whose outside process was killed.
fn sweep() {
    for dir in cluster_dirs() {
        if !is_running(&dir) && fs::remove_dir_all(&dir).is_ok() {
            progress(format_args!(
                "removed {}, left by a cluster that was killed",
                dir.display()
            ));
        }
    }
}

/// Folders of clusters in the temporary folder, newest first.
pub(crate) fn cluster_dirs() -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(temporary_root()) else {
        return Vec::new();
    };
    let mut dirs: Vec<_> = entries
        .filter_map(|entry| {
            let entry = entry.ok()?;
            let ours =
                entry.file_name().to_string_lossy().starts_with(DIR_PREFIX) && entry.path().join("lock").exists();
            ours.then(|| (entry.metadata().and_then(|m| m.modified()).ok(), entry.path()))
        })
        .collect();
    dirs.sort();
    dirs.into_iter().rev().map(|(_, path)| path).collect()
}

/// Whether the outside process of the cluster in `dir` lives. A folder of another user counts as running.
pub(crate) fn is_running(dir: &Path) -> bool {
    fs::File::open(dir.join("lock")).map_or(true, |file| file.try_lock().is_err())
}

fn parse_ports(text: &str) -> BTreeMap<String, u16> {
    text.split(',')
        .filter_map(|pair| {
            let (name, port) = pair.split_once('=')?;
            Some((name.to_owned(), port.parse().ok()?))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_survive_the_environment() {
        let ports = parse_ports("apiserver=40001,gateway=40002");
        assert_eq!(ports.get("apiserver"), Some(&40001));
        assert_eq!(ports.get("gateway"), Some(&40002));
        assert!(parse_ports("").is_empty());
    }
}
