//! The list of cases: made from the shapes that were seen, never by hand. What was seen and is left out is named with its reason.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

use crate::case::Case;
use crate::kinds::{Kind, kinds};
use crate::shapes::Shape;
use crate::{refusals, seen};

/// `shapes.json`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Seen {
    /// Requests that cases are made from.
    pub shapes: Vec<Shape>,
    /// Resources (or paths) that were seen and that no case asks for, with how many shapes each had.
    pub outside: BTreeMap<String, usize>,
}

/// This package's folder, where cases and answers are.
pub fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

impl Seen {
    /// Divides shapes into what cases can be made of and the rest.
    pub fn of(all: &BTreeSet<Shape>) -> Self {
        let mut seen = Self::default();
        for shape in all {
            if seen::cases(shape).is_empty() {
                let what = match (shape.resource.as_str(), shape.subresource.as_str()) {
                    ("", _) => shape.path.clone(),
                    (resource, "") => format!("{resource}.{}", shape.group),
                    (resource, sub) => format!("{resource}/{sub}.{}", shape.group),
                };
                *seen.outside.entry(what.trim_end_matches('.').to_owned()).or_default() += 1;
            } else {
                seen.shapes.push(shape.clone());
            }
        }
        seen
    }

    /// The committed one.
    ///
    /// # Errors
    /// When the file is missing or no such list.
    pub fn committed() -> Result<Self> {
        let path = folder().join("shapes.json");
        let text = std::fs::read_to_string(&path).with_context(|| path.display().to_string())?;
        serde_json::from_str(&text).with_context(|| path.display().to_string())
    }

    /// All cases, by the name of the file that they belong to.
    pub fn cases(&self) -> BTreeMap<String, Vec<Case>> {
        // The kind that only these tests have is asked whatever Rollouts were asked.
        let twins = self
            .shapes
            .iter()
            .filter(|shape| shape.resource == "rollouts")
            .map(|shape| Shape {
                group: "conformance.serin.dev".into(),
                version: "v1".into(),
                resource: "gadgets".into(),
                ..shape.clone()
            });
        let shapes: BTreeSet<Shape> = self.shapes.iter().cloned().chain(twins).collect();
        let mut found: BTreeMap<String, Case> = BTreeMap::new();
        let mut around = BTreeSet::new();
        for shape in &shapes {
            for case in seen::cases(shape) {
                found.entry(case.name.clone()).or_insert(case);
            }
            around.insert((
                shape.group.clone(),
                shape.resource.clone(),
                shape.verb.clone(),
                shape.subresource.clone(),
            ));
        }
        for (group, resource, verb, subresource) in around {
            if let Some(kind) = Kind::find(&group, &resource) {
                for case in refusals::cases(kind, &verb, &subresource) {
                    found.entry(case.name.clone()).or_insert(case);
                }
            }
        }
        let mut files: BTreeMap<String, Vec<Case>> = BTreeMap::new();
        for (name, case) in found {
            let file = name.split('/').next().unwrap_or_default().to_owned();
            files.entry(file).or_default().push(case);
        }
        files
    }
}

/// Writes `shapes.json` and `cases/*.json`. Files that no longer have a case are removed.
///
/// # Errors
/// When a file cannot be written.
pub fn write(seen: &Seen) -> Result<usize> {
    let folder = folder();
    write_lines(&folder.join("shapes.json"), |text| {
        text.push_str("{\"outside\":");
        text.push_str(&serde_json::to_string(&seen.outside)?);
        text.push_str(",\n\"shapes\":[\n");
        push_list(text, &seen.shapes)?;
        text.push_str("]}\n");
        Ok(())
    })?;
    let cases = seen.cases();
    remove_others(&folder.join("cases"), &cases.keys().cloned().collect())?;
    for (name, cases) in &cases {
        write_lines(&folder.join(format!("cases/{name}.json")), |text| {
            text.push_str("[\n");
            push_list(text, cases)?;
            text.push_str("]\n");
            Ok(())
        })?;
    }
    Ok(cases.values().map(Vec::len).sum())
}

/// Removes JSON files of a folder that are called by none of the names.
///
/// # Errors
/// When the folder cannot be read.
pub fn remove_others(folder: &Path, names: &BTreeSet<String>) -> Result<()> {
    std::fs::create_dir_all(folder)?;
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        let stem = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        if path.extension().is_some_and(|extension| extension == "json") && !names.contains(&stem) {
            std::fs::remove_file(path)?;
        }
    }
    Ok(())
}

fn push_list<T: Serialize>(text: &mut String, items: &[T]) -> Result<()> {
    for (number, item) in items.iter().enumerate() {
        text.push_str(&serde_json::to_string(item)?);
        text.push_str(if number + 1 < items.len() { ",\n" } else { "\n" });
    }
    Ok(())
}

/// Writes a text file made by a function.
///
/// # Errors
/// When it cannot be made or written.
pub fn write_lines(path: &Path, make: impl FnOnce(&mut String) -> Result<()>) -> Result<()> {
    let mut text = String::new();
    make(&mut text)?;
    std::fs::write(path, text).with_context(|| path.display().to_string())
}

/// The committed cases, in the order of their names.
///
/// # Errors
/// When a file cannot be read.
pub fn committed() -> Result<Vec<Case>> {
    let mut cases = Vec::new();
    for path in json_files("cases")? {
        let text = std::fs::read_to_string(&path)?;
        let file: Vec<Case> = serde_json::from_str(&text).with_context(|| path.display().to_string())?;
        cases.extend(file);
    }
    Ok(cases)
}

/// The JSON files of one of this package's folders, by name.
///
/// # Errors
/// When the folder cannot be read.
pub fn json_files(name: &str) -> Result<Vec<PathBuf>> {
    let folder = folder().join(name);
    let mut paths: Vec<PathBuf> = std::fs::read_dir(&folder)
        .with_context(|| folder.display().to_string())?
        .filter_map(|entry| entry.ok().map(|entry| entry.path()))
        .filter(|path| path.extension().is_some_and(|extension| extension == "json"))
        .collect();
    paths.sort();
    Ok(paths)
}

/// Kinds that no shape names, for the summary.
pub fn unseen(seen: &Seen) -> Vec<String> {
    kinds()
        .iter()
        .filter(|kind| {
            !seen
                .shapes
                .iter()
                .any(|shape| shape.group == kind.group && shape.resource == kind.resource)
        })
        .map(Kind::label)
        .collect()
}
