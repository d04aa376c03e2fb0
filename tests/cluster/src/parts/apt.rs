//! Packages out of Debian's archive, unpacked into the cache.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::{fresh_dir, publish, run};
use crate::clock::progress;
use crate::error::{Error, Result};

const REMEDY: &str = "it comes from Debian's archive by `apt-get download`: run on Debian or Ubuntu with its archive in \
                      reach, or set SERIN_PROMETHEUS to a prometheus binary (2.40 or newer)";

/// Path of the Prometheus server in the cache, whether it is there or not.
pub(super) fn prometheus_in(cache: &Path) -> PathBuf {
    cache.join("prometheus/usr/bin/prometheus")
}

/// Path of the Prometheus server in the cache; fetched when it is not there.
pub(super) fn prometheus(cache: &Path) -> Result<PathBuf> {
    let home = cache.join("prometheus");
    let binary = prometheus_in(cache);
    if binary.exists() {
        return Ok(binary);
    }
    progress("fetching Prometheus from the Debian archive");
    let missing = |problem: String| Error::Missing {
        part: "Prometheus",
        problem,
        remedy: REMEDY.into(),
    };
    unpack(cache, "prometheus", &home).map_err(missing)?;
    if binary.exists() {
        Ok(binary)
    } else {
        Err(missing("the package holds no usr/bin/prometheus".into()))
    }
}

/// The folder that makes `python3 -m pip` work, for a Python without pip, as Debian's is.
pub(super) fn pip(cache: &Path) -> Result<PathBuf, String> {
    let home = cache.join("python3-pip");
    let modules = home.join("usr/lib/python3/dist-packages");
    if !modules.exists() {
        progress("fetching pip from the Debian archive");
        unpack(cache, "python3-pip", &home)?;
    }
    Ok(modules)
}

/// Downloads a package, without those it depends on, and unpacks it to `home`.
fn unpack(cache: &Path, package: &str, home: &Path) -> Result<(), String> {
    // apt's own state in the cache: works for an ordinary user and without package lists on the machine.
    let apt = cache.join("apt");
    for folder in ["state/lists/partial", "cache/archives/partial"] {
        let folder = apt.join(folder);
        fs::create_dir_all(&folder).map_err(|e| format!("create {}: {e}", folder.display()))?;
    }
    let work = cache.join(format!("{package}.part"));
    fresh_dir(&work).map_err(|e| e.to_string())?;
    let options = [
        format!("Dir::State={}", apt.join("state").display()),
        "Dir::State::status=/var/lib/dpkg/status".into(),
        format!("Dir::Cache={}", apt.join("cache").display()),
        "Debug::NoLocking=1".into(),
        // Without it root would become the user _apt, who cannot write here.
        "APT::Sandbox::User=root".into(),
    ];
    let apt_get = |arguments: &[&str]| {
        let mut command = Command::new("apt-get");
        command.current_dir(&work).arg("--quiet");
        for option in &options {
            command.arg("-o").arg(option);
        }
        run(command.args(arguments), &format!("apt-get {}", arguments.join(" ")))
    };
    apt_get(&["update"])?;
    apt_get(&["download", package])?;
    let file = fs::read_dir(&work)
        .map_err(|e| format!("read {}: {e}", work.display()))?
        .filter_map(|entry| entry.ok().map(|e| e.path()))
        .find(|path| path.extension().is_some_and(|e| e == "deb"))
        .ok_or("apt-get download left no package")?;
    let root = work.join("root");
    run(
        Command::new("dpkg").arg("-x").arg(&file).arg(&root),
        &format!("unpacking {package}"),
    )?;
    publish(&root, home).map_err(|e| e.to_string())?;
    fs::remove_dir_all(&work).map_err(|e| format!("remove {}: {e}", work.display()))
}
