//! The playground's folder: private, temporary, and gone with the process however that ends.

use std::{
    fs,
    io::Write as _,
    os::unix::{fs::DirBuilderExt as _, process::CommandExt as _},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use crate::Error;

/// Reads until its input ends. If that comes without a word, the process at the other end has died and cannot clean up: it ends
/// the child of that process, and removes the folder.
const GUARD: &str = r#"read -r word && exit 0
[ -z "$2" ] || kill -9 "$2" 2>/dev/null
sleep 0.2
rm -rf -- "$1""#;

/// See the module. It is removed when this is dropped.
#[derive(Debug)]
pub struct Folder {
    path: PathBuf,
    log: PathBuf,
    guard: Option<Child>,
}

impl Folder {
    /// A new one for this user alone, below the system's folder for temporary files.
    ///
    /// # Errors
    /// It cannot be created.
    pub fn create() -> Result<Self, Error> {
        let parent = std::env::temp_dir();
        let process = std::process::id();
        let mut number = 0;
        loop {
            let path = parent.join(format!("serin-playground-{process}-{number}"));
            match fs::DirBuilder::new().mode(0o700).create(&path) {
                Ok(()) => {
                    let log = path.join("controller.log");
                    return Ok(Self { path, log, guard: None });
                }
                // Left behind by a process of the same number, or laid there by somebody: not ours.
                Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists && number < 100 => number += 1,
                Err(error) => return Err(Error::file("create", &path, error)),
            }
        }
    }

    /// Where the controller's log belongs.
    pub fn log(&self) -> &Path {
        &self.log
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// From now on folder and child go even if this process is killed. Without a shell nobody can see to that.
    pub(crate) fn watch_over(&mut self, child: Option<u32>) {
        self.dismiss();
        let guard = Command::new("/bin/sh")
            .args(["-c", GUARD, "sh"])
            .arg(&self.path)
            .arg(child.map_or_else(String::new, |child| child.to_string()))
            .env("PATH", "/usr/bin:/bin")
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            // Whatever ends this process group does not end the guard.
            .process_group(0)
            .spawn();
        self.guard = guard.ok();
    }

    fn dismiss(&mut self) {
        if let Some(mut guard) = self.guard.take() {
            if let Some(mut input) = guard.stdin.take() {
                // It may be gone: then nobody has to be told.
                let _ = input.write_all(b"done\n");
            }
            let _ = guard.wait();
        }
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        self.dismiss();
        // What cannot be removed stays in the folder for temporary files.
        let _ = fs::remove_dir_all(&self.path);
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn a_folder_is_private_and_gone_afterwards() {
        let mut folder = Folder::create().expect("a folder");
        let path = folder.path().to_owned();
        let mode = fs::metadata(&path).expect("it is there").permissions().mode();
        assert_eq!(mode & 0o777, 0o700);
        fs::write(path.join("file"), "text").expect("it can be written");
        folder.watch_over(None);
        drop(folder);
        assert!(!path.exists());
    }
}
