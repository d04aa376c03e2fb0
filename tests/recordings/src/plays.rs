//! Which recording is played on which ground, which one is left out and why, and what came of those that were played. One
//! list for all drivers: `left-out.json` beside this crate.

use std::{
    fs,
    panic::{AssertUnwindSafe, catch_unwind},
};

use anyhow::{Context, Result};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::{Difference, Known, Scenario, Sequences, compare, describe, is_known, known_differences, names, root};

/// Where recordings are played.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Ground {
    /// The planner alone on an ideal cluster, analysis runs as they were recorded.
    Planner,
    /// The whole controller on kubesim, in virtual time. A difference that is listed for it is seen on the cluster too.
    Controller,
    /// The whole controller on a real control plane, in real time: those of [`SPINE`].
    Cluster,
}

/// What is played on the real cluster: the recordings of the first way through, each as long as it was.
pub const SPINE: [&str; 14] = [
    "gateway",
    "gateway-abort",
    "gateway-missing",
    "canary-r4",
    "canary-r10",
    "pause-promote",
    "pause-timed",
    "abort-retry",
    "promote-full",
    "step-analysis-ok",
    "step-analysis-fail",
    "background-fail",
    "rollback-mid-canary",
    "new-revision-mid",
];

/// Milliseconds between pods that start together, tried in this order. The recorded cluster started them all at once or
/// one after the other, as its load permitted; that pace is an input like any other, and the one that fits best counts.
pub const PACES: [u64; 3] = [0, 8, 25];

/// A recording that is not played.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LeftOut {
    /// Scenario.
    pub recording: String,
    /// Where it is not played; nowhere when that is not said.
    #[serde(default)]
    pub ground: Option<Ground>,
    /// The field of its Rollout or metric that Serin does not support yet, as Serin's own refusal names it.
    #[serde(default)]
    pub field: Option<String>,
    /// What else is in the way.
    #[serde(default)]
    pub why: Option<String>,
}

impl LeftOut {
    /// What its scenario created.
    ///
    /// # Errors
    /// There is no such recording.
    pub fn objects(&self) -> Result<Vec<Value>> {
        crate::objects(&self.recording, &self.read("input.yaml")?)
    }

    /// What was done in it, as text.
    ///
    /// # Errors
    /// There is no such recording.
    pub fn steps(&self) -> Result<String> {
        self.read("steps.txt")
    }

    /// Of recordings that are played nowhere only the inputs need be here.
    fn read(&self, file: &str) -> Result<String> {
        let whole = root().join("controller").join(&self.recording).join(file);
        let inputs = root().join("left-out").join(&self.recording).join(file);
        fs::read_to_string(whole)
            .or_else(|_| fs::read_to_string(inputs))
            .with_context(|| format!("failed to read {file} of left out recording `{}`", self.recording))
    }
}

/// The list of recordings that are not played, by name.
///
/// # Errors
/// The file is missing or malformed.
pub fn left_out() -> Result<Vec<LeftOut>> {
    let path = root().join("left-out.json");
    let text = fs::read_to_string(&path).with_context(|| format!("failed to read {}", path.display()))?;
    serde_json::from_str(&text).context("failed to parse left-out.json")
}

/// Names of the recordings that are played on a ground.
///
/// # Errors
/// A list cannot be read.
pub fn played_on(ground: Ground) -> Result<Vec<String>> {
    if ground == Ground::Cluster {
        return Ok(SPINE.map(str::to_owned).to_vec());
    }
    let left_out = left_out()?;
    let is_left_out = |name: &String| {
        let mut entries = left_out.iter().filter(|l| l.recording == *name);
        entries.any(|l| l.ground.is_none_or(|g| g == ground))
    };
    Ok(names()?.into_iter().filter(|name| !is_left_out(name)).collect())
}

/// The same, or those of them that the environment variable `RECORDING` names, with commas between.
///
/// # Errors
/// A list cannot be read.
pub fn chosen(ground: Ground) -> Result<Vec<String>> {
    let mut names = played_on(ground)?;
    if let Ok(only) = std::env::var("RECORDING") {
        names.retain(|name| only.split(',').any(|o| o == name));
    }
    Ok(names)
}

/// What came of the recordings that were played.
#[derive(Debug)]
pub struct Tally {
    ground: Ground,
    known: Vec<Known>,
    equal: usize,
    listed: usize,
    failures: Vec<String>,
}

impl Tally {
    /// Nothing yet.
    ///
    /// # Errors
    /// The list of differences cannot be read.
    pub fn new(ground: Ground) -> Result<Self> {
        Ok(Self {
            ground,
            known: known_differences()?,
            equal: 0,
            listed: 0,
            failures: Vec::new(),
        })
    }

    /// Plays a recording at the pace that fits best; with `LIST_DIFFERENCES` in the environment they are printed. Answers with its differences; [`None`]: it broke off.
    pub fn play(&mut self, scenario: &Scenario, play: impl Fn(u64) -> Sequences) -> Option<Vec<Difference>> {
        let mut best: Option<(Vec<Difference>, Vec<String>)> = None;
        for pace in PACES {
            let Ok(ours) = catch_unwind(AssertUnwindSafe(|| play(pace))) else {
                self.failures.push(format!("{}: broke off (see above)", scenario.name));
                return None;
            };
            let all = compare(&ours, &scenario.recorded);
            let new = all.iter().filter(|d| !self.is_listed(&scenario.name, d));
            let new: Vec<String> = new.map(|d| format!("{}: {}", scenario.name, describe(d))).collect();
            let is_better = |(a, n): &(Vec<Difference>, Vec<String>)| (new.len(), all.len()) < (n.len(), a.len());
            if best.as_ref().is_none_or(is_better) {
                best = Some((all, new));
            }
            if best.as_ref().is_some_and(|(all, _)| all.is_empty()) {
                break;
            }
        }
        let (all, new) = best?;
        if std::env::var_os("LIST_DIFFERENCES").is_some() {
            for d in &all {
                let line = json!({"recording": scenario.name, "aspect": d.aspect, "ours": d.ours});
                println!("{line}");
            }
        }
        match (all.is_empty(), new.is_empty()) {
            (true, _) => self.equal += 1,
            (false, true) => self.listed += 1,
            (false, false) => self.failures.extend(new),
        }
        Some(all)
    }

    /// The entries of the list of differences that are about this recording on this ground.
    pub fn known(&self, recording: &str) -> impl Iterator<Item = &Known> {
        let is_here = |k: &&Known| k.ground.is_none_or(|g| g == self.ground);
        let about = self.known.iter().filter(move |k| k.recording == recording);
        about.filter(is_here)
    }

    fn is_listed(&self, recording: &str, difference: &Difference) -> bool {
        self.known(recording).any(|k| is_known(k, recording, difference))
    }

    /// Something else that is wrong.
    pub fn fail(&mut self, what: String) {
        self.failures.push(what);
    }

    /// Prints the figures.
    ///
    /// # Panics
    /// If something was neither equal nor listed.
    pub fn end(self) {
        let Self {
            equal,
            listed,
            failures,
            ..
        } = self;
        println!("{equal} recordings equal, {listed} with listed differences only");
        assert!(
            failures.is_empty(),
            "{equal} equal, {listed} listed, {} differences:\n{}",
            failures.len(),
            failures.join("\n")
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_recording_that_is_left_out_is_there_and_says_why() {
        let mut seen: Vec<(String, Option<Ground>)> = Vec::new();
        for left_out in left_out().unwrap() {
            let name = left_out.recording.clone();
            assert!(!left_out.objects().unwrap().is_empty(), "{name}");
            assert!(!left_out.steps().unwrap().is_empty(), "{name}");
            assert!(
                left_out.field.is_some() || left_out.why.is_some(),
                "{name} says no reason"
            );
            let key = (name.clone(), left_out.ground);
            assert!(!seen.contains(&key), "{name} is listed twice");
            seen.push(key);
        }
        for folder in fs::read_dir(root().join("left-out")).unwrap() {
            let name = folder.unwrap().file_name().to_string_lossy().into_owned();
            assert!(
                seen.contains(&(name.clone(), None)),
                "{name} is neither played nor listed"
            );
        }
    }

    #[test]
    fn the_recordings_of_the_spine_are_played_on_every_ground() {
        for ground in [Ground::Planner, Ground::Controller] {
            let played = played_on(ground).unwrap();
            for name in SPINE {
                assert!(
                    played.iter().any(|p| p == name),
                    "{name} is not played by the {ground:?}"
                );
            }
        }
    }
}
