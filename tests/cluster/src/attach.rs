//! Into a running cluster from outside: `serin-cluster exec`.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use crate::error::{Error, Result};
use crate::namespace::{DIR_VARIABLE, cluster_dirs, exit_code, is_running};

/// The newest running cluster of this user.
///
/// # Errors
/// When none runs.
pub fn newest() -> Result<PathBuf> {
    cluster_dirs()
        .into_iter()
        .find(|dir| is_running(dir) && dir.join("cluster.json").exists())
        .ok_or_else(|| Error::Other("no cluster is running: start one with `serin-cluster up`".into()))
}

/// What `cluster.json` says about a cluster.
///
/// # Errors
/// When it is not ready yet.
pub fn description(dir: &Path) -> Result<Value> {
    let path = dir.join("cluster.json");
    let text = std::fs::read_to_string(&path).map_err(Error::io("read", &path))?;
    serde_json::from_str(&text).map_err(|e| Error::Other(format!("{}: {e}", path.display())))
}

/// Variables for a program that works with the cluster from inside the namespace.
pub fn environment(dir: &Path, description: &Value) -> Vec<(&'static str, String)> {
    let text = |key: &str| description[key].as_str().unwrap_or_default().to_owned();
    let kubectl = description["parts"]["kubectl"]
        .as_str()
        .map(Path::new)
        .and_then(Path::parent);
    let path = std::env::var("PATH").unwrap_or_default();
    vec![
        (DIR_VARIABLE, dir.display().to_string()),
        ("KUBECONFIG", text("kubeconfigInside")),
        ("SERIN_GATEWAY", text("gateway")),
        ("SERIN_PROMETHEUS_URL", text("prometheus")),
        (
            "PATH",
            kubectl.map_or(path.clone(), |dir| format!("{}:{path}", dir.display())),
        ),
    ]
}

/// Runs a command inside the namespace of a running cluster and gives its exit code.
///
/// # Errors
/// When the namespace cannot be entered.
pub fn exec(dir: &Path, command: &[String]) -> Result<i32> {
    let pid_file = dir.join("init.pid");
    let pid = std::fs::read_to_string(&pid_file).map_err(Error::io("read", &pid_file))?;
    let description = description(dir)?;
    let mut nsenter = Command::new("nsenter");
    nsenter.args([
        "--target",
        pid.trim(),
        "--net",
        "--pid",
        "--mount",
        "--preserve-credentials",
    ]);
    // The cluster of a root without user namespaces lives in ours.
    let user = |pid: &str| std::fs::read_link(format!("/proc/{pid}/ns/user")).ok();
    if user(pid.trim()) != user("self") {
        nsenter.arg("--user");
    }
    // `--wd`: entering the mount namespace would else leave us in /.
    if let Ok(here) = std::env::current_dir() {
        nsenter.arg(format!("--wd={}", here.display()));
    }
    nsenter.arg("--").args(command).envs(environment(dir, &description));
    let status = nsenter.status().map_err(Error::io("start", "nsenter"))?;
    Ok(exit_code(status))
}
