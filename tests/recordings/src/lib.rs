//! What the real Argo Rollouts did, as data to compare with (README.md beside this crate says where it comes from).
//!
//! Knows the files and what of them counts as behaviour; not how a controller is run. One text serves every ground: a
//! driver plays [`Scenario::script`], feeds what it sees into [`Sequences`], and [`compare`] says what differs.

mod plays;
mod script;
mod sequences;

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};
use serde_json::Value;

pub use plays::{Ground, LeftOut, PACES, SPINE, Tally, chosen, left_out, played_on};
pub use script::{Act, Line, Seen};
pub use sequences::{Difference, Known, RunStep, Sequences, compare, describe, is_known, known_differences};

/// One recorded scenario.
#[derive(Clone, Debug)]
pub struct Scenario {
    /// Folder name.
    pub name: String,
    /// What was created, in order (metadata without namespace).
    pub objects: Vec<Value>,
    /// What was done and waited for.
    pub script: Vec<Line>,
    /// What the real controller made of it.
    pub recorded: Sequences,
    /// What each analysis run went through: `(name, steps)`, for grounds without an analysis engine.
    pub runs: Vec<(String, Vec<RunStep>)>,
}

impl Scenario {
    /// The namespace that it was recorded in; messages contain it.
    pub fn namespace(&self) -> String {
        format!("s-{}", self.name)
    }

    /// Reads the scenario of that name.
    ///
    /// # Errors
    /// A file is missing or not in the format of the README.
    pub fn load(name: &str) -> Result<Self> {
        let folder = root().join("controller").join(name);
        let read = |file: &str| {
            fs::read_to_string(folder.join(file))
                .with_context(|| format!("failed to read {file} of recording `{name}`"))
        };
        let objects = objects(name, &read("input.yaml")?)?;
        let mut recorded = Sequences::default();
        let runs = sequences::read_timeline(&read("timeline.jsonl")?, &mut recorded)?;
        sequences::read_events(&read("events.jsonl")?, &mut recorded)?;
        Ok(Self {
            name: name.to_owned(),
            objects,
            script: script::parse(&read("steps.txt")?)?,
            recorded,
            runs,
        })
    }

    /// The name of its Rollout.
    pub fn rollout_name(&self) -> &str {
        let rollout = self.objects.iter().find(|o| o["kind"] == "Rollout");
        rollout.and_then(|r| r["metadata"]["name"].as_str()).unwrap_or("demo")
    }

    /// The created object of that kind and name.
    pub fn object(&self, kind: &str, name: &str) -> Option<&Value> {
        self.objects
            .iter()
            .find(|o| o["kind"] == kind && o["metadata"]["name"] == name)
    }
}

/// The documents of an `input.yaml`.
pub(crate) fn objects(name: &str, text: &str) -> Result<Vec<Value>> {
    let parse = |document: &str| serde_saphyr::from_str(document);
    let objects: Result<Vec<Value>, _> = text.split("\n---\n").map(parse).collect();
    objects.with_context(|| format!("failed to parse input.yaml of recording `{name}`"))
}

/// The folder with the recordings.
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).to_path_buf()
}

/// Names of all scenarios that are here.
///
/// # Errors
/// The folder cannot be read.
pub fn names() -> Result<Vec<String>> {
    let mut names: Vec<String> = fs::read_dir(root().join("controller"))?
        .filter_map(|entry| Some(entry.ok()?.file_name().to_string_lossy().into_owned()))
        .collect();
    names.sort();
    Ok(names)
}
