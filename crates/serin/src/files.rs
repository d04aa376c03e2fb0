//! Manifests from the command line: files, folders, and `-` for standard input.

use std::{
    fs,
    io::Read as _,
    path::{Path, PathBuf},
};

use serin_staging::manifests::{self, Document};

/// Files of a folder in the order of their names; what is no YAML or JSON is passed over.
pub(crate) fn collect(path: &Path, documents: &mut Vec<Document>) -> Result<(), String> {
    if path.is_dir() {
        let list = fs::read_dir(path).map_err(|e| unreadable(path, &e))?;
        let mut inside: Vec<PathBuf> = list.filter_map(|entry| Some(entry.ok()?.path())).collect();
        inside.sort();
        for path in inside {
            let is_yaml = path.extension().is_some_and(|e| {
                ["yaml", "yml", "json"]
                    .iter()
                    .any(|known| e.eq_ignore_ascii_case(known))
            });
            if path.is_dir() {
                collect(&path, documents)?;
            } else if is_yaml {
                match manifests::documents(&path.display().to_string(), &text_of(&path)?) {
                    Ok(read) => documents.extend(read),
                    // A folder may hold values, tests and the like.
                    Err(problem) => eprintln!("left out: {problem}"),
                }
            }
        }
        return Ok(());
    }
    let read = manifests::documents(&path.display().to_string(), &text_of(path)?);
    documents.extend(read.map_err(|e| e.to_string())?);
    Ok(())
}

pub(crate) fn text_of(path: &Path) -> Result<String, String> {
    if path == Path::new("-") {
        let mut text = String::new();
        let read = std::io::stdin().read_to_string(&mut text);
        return read.map(|_| text).map_err(|e| unreadable(path, &e));
    }
    fs::read_to_string(path).map_err(|e| unreadable(path, &e))
}

fn unreadable(path: &Path, error: &std::io::Error) -> String {
    format!("cannot read {}: {error}", path.display())
}
