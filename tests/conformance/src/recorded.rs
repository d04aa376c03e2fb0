//! The real server's answers as they were, so that kubesim is compared with them where no control plane is at hand.

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

use crate::answer::Answer;
use crate::case::Case;
use crate::generate::{folder, json_files, remove_others, write_lines};

/// One file. Many answers are the same: each is there once.
#[derive(Debug, Default, Serialize, Deserialize)]
struct File {
    answers: Vec<Answer>,
    cases: BTreeMap<String, Vec<usize>>,
}

/// Writes `answers/*.json`, a file for each file of cases.
///
/// # Errors
/// When a file cannot be written.
pub fn write(cases: &[Case], answers: &[Vec<Answer>]) -> Result<()> {
    let mut files: BTreeMap<String, File> = BTreeMap::new();
    let mut known: BTreeMap<(String, String), usize> = BTreeMap::new();
    for (case, answers) in cases.iter().zip(answers) {
        let name = case.name.split('/').next().unwrap_or_default().to_owned();
        let file = files.entry(name.clone()).or_default();
        let mut places = Vec::with_capacity(answers.len());
        for answer in answers {
            let text = serde_json::to_string(answer)?;
            let place = *known.entry((name.clone(), text)).or_insert_with(|| {
                file.answers.push(answer.clone());
                file.answers.len() - 1
            });
            places.push(place);
        }
        file.cases.insert(case.name.clone(), places);
    }
    let folder = folder().join("answers");
    remove_others(&folder, &files.keys().cloned().collect())?;
    for (name, file) in &files {
        write_lines(&folder.join(format!("{name}.json")), |text| {
            text.push_str("{\"answers\":[\n");
            for (number, answer) in file.answers.iter().enumerate() {
                text.push_str(&serde_json::to_string(answer)?);
                text.push_str(if number + 1 < file.answers.len() { ",\n" } else { "\n" });
            }
            text.push_str("],\"cases\":{\n");
            for (number, (case, places)) in file.cases.iter().enumerate() {
                text.push_str(&format!(
                    "{}:{}",
                    serde_json::to_string(case)?,
                    serde_json::to_string(places)?
                ));
                text.push_str(if number + 1 < file.cases.len() { ",\n" } else { "\n" });
            }
            text.push_str("}}\n");
            Ok(())
        })?;
    }
    Ok(())
}

/// The recorded answers of each case, in the order of the cases.
///
/// # Errors
/// When a case has no recorded answers: the cases were generated anew without recording.
pub fn read(cases: &[Case]) -> Result<Vec<Vec<Answer>>> {
    let mut all: BTreeMap<String, Vec<Answer>> = BTreeMap::new();
    for path in json_files("answers")? {
        let text = std::fs::read_to_string(&path)?;
        let file: File = serde_json::from_str(&text).with_context(|| path.display().to_string())?;
        for (case, places) in file.cases {
            let answers = places
                .iter()
                .filter_map(|place| file.answers.get(*place).cloned())
                .collect();
            all.insert(case, answers);
        }
    }
    cases
        .iter()
        .map(|case| {
            let answers = all.remove(&case.name);
            answers.with_context(|| {
                format!(
                    "no recorded answers for `{}`: run `serin-conformance record`",
                    case.name
                )
            })
        })
        .collect()
}
