//! Where two servers' answers differ, and the list of differences that are known.

use std::collections::BTreeSet;

use anyhow::{Context, Result};
use serde::Deserialize;
use serde_json::Value;

use crate::answer::Answer;
use crate::case::Case;
use crate::generate::folder;

/// One place where answers differ.
#[derive(Clone, Debug, PartialEq)]
pub struct Difference {
    /// `step/status`, `step/body/...`; steps count from 0.
    pub at: String,
    /// What the real server has there.
    pub real: Value,
    /// What kubesim has there.
    pub simulated: Value,
}

/// All places where the answers to one case differ. After an answer with another status the rest of the case is another story
/// and is not compared.
pub fn differences(real: &[Answer], simulated: &[Answer]) -> Vec<Difference> {
    let mut found = Vec::new();
    for (number, (one, other)) in real.iter().zip(simulated).enumerate() {
        if one.status != other.status {
            found.push(Difference {
                at: format!("{number}/status"),
                real: summary(one),
                simulated: summary(other),
            });
            return found;
        }
        let pairs = [
            ("kind", Value::from(one.kind.clone()), Value::from(other.kind.clone())),
            (
                "warnings",
                Value::from(one.warnings.clone()),
                Value::from(other.warnings.clone()),
            ),
            ("body", one.body.clone(), other.body.clone()),
        ];
        for (name, one, other) in pairs {
            walk(&format!("{number}/{name}"), &one, &other, &mut found);
        }
    }
    if real.len() != simulated.len() {
        found.push(Difference {
            at: "answers".into(),
            real: real.len().into(),
            simulated: simulated.len().into(),
        });
    }
    found
}

fn summary(answer: &Answer) -> Value {
    let message = answer.body["message"]
        .as_str()
        .map_or_else(|| answer.body.to_string(), str::to_owned);
    let short: String = message.chars().take(300).collect();
    Value::from(format!("{} {short}", answer.status))
}

fn walk(at: &str, one: &Value, other: &Value, found: &mut Vec<Difference>) {
    match (one, other) {
        (Value::Object(left), Value::Object(right)) => {
            let keys: std::collections::BTreeSet<&String> = left.keys().chain(right.keys()).collect();
            for key in keys {
                let inner = format!("{at}/{}", key.replace('~', "~0").replace('/', "~1"));
                let null = Value::Null;
                walk(
                    &inner,
                    left.get(key).unwrap_or(&null),
                    right.get(key).unwrap_or(&null),
                    found,
                );
            }
        }
        (Value::Array(left), Value::Array(right)) if left.len() == right.len() => {
            for (number, (one, other)) in left.iter().zip(right).enumerate() {
                walk(&format!("{at}/{number}"), one, other, found);
            }
        }
        _ if one == other => {}
        _ => found.push(Difference {
            at: at.into(),
            real: one.clone(),
            simulated: other.clone(),
        }),
    }
}

/// A difference that is known.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Listed {
    /// Patterns of case names, `*` standing for anything. Steps of random sequences are called `random METHOD PATH`.
    pub cases: Vec<String>,
    /// Patterns of places.
    pub at: Vec<String>,
    /// What the real server has there contains this text.
    #[serde(default)]
    pub real: String,
    /// Why it is so and stays so.
    pub why: String,
}

/// The committed list.
///
/// # Errors
/// When the file is missing or no such list.
pub fn listed() -> Result<Vec<Listed>> {
    let path = folder().join("differences.json");
    let text = std::fs::read_to_string(&path).with_context(|| path.display().to_string())?;
    serde_json::from_str(&text).with_context(|| path.display().to_string())
}

/// What a comparison of all cases gave.
#[derive(Debug, Default)]
pub struct Outcome {
    /// How many cases were compared.
    pub cases: usize,
    /// How many had equal answers throughout.
    pub equal: usize,
    /// How many differed only where the list says so.
    pub listed: usize,
    /// Cases with differences that no entry names.
    pub unlisted: Vec<(Case, Vec<Difference>)>,
    /// Entries (or parts of them) that no difference needed.
    pub stale: Vec<String>,
}

impl Outcome {
    /// Whether all is as it shall be.
    pub fn is_good(&self) -> bool {
        self.unlisted.is_empty() && self.stale.is_empty()
    }

    /// One line.
    pub fn summary(&self) -> String {
        format!(
            "{} cases: {} equal, {} listed, {} unlisted; {} stale entries",
            self.cases,
            self.equal,
            self.listed,
            self.unlisted.len(),
            self.stale.len()
        )
    }

    /// Everything that is not as it shall be, for people. At most `most` cases are shown in full.
    pub fn report(&self, most: usize) -> String {
        let mut text = String::new();
        for (case, differences) in self.unlisted.iter().take(most) {
            text.push_str(&describe(case, differences));
        }
        if self.unlisted.len() > most {
            text.push_str(&format!("... and {} more cases\n", self.unlisted.len() - most));
        }
        for entry in &self.stale {
            text.push_str(&format!("differences.json: stale: {entry}\n"));
        }
        text
    }
}

/// A case with what differs, for people.
pub fn describe(case: &Case, differences: &[Difference]) -> String {
    let mut text = format!("{}\n", case.name);
    for difference in differences {
        let step = difference
            .at
            .split('/')
            .next()
            .and_then(|number| number.parse::<usize>().ok());
        if let Some(step) = step.and_then(|number| case.steps.get(number)) {
            let line: String = step.describe().chars().take(400).collect();
            text.push_str(&format!("  {line}\n"));
        }
        text.push_str(&format!(
            "    {}\n      real       {}\n      simulated  {}\n",
            difference.at, difference.real, difference.simulated
        ));
    }
    text
}

/// Compares all cases and matches what differs with the list. `stale` entries are only told when all cases were played.
pub fn outcome(
    cases: &[Case],
    real: &[Vec<Answer>],
    simulated: &[Vec<Answer>],
    list: &[Listed],
    is_whole: bool,
) -> Outcome {
    let mut outcome = Outcome {
        cases: cases.len(),
        ..Outcome::default()
    };
    let mut used: BTreeSet<(usize, &str)> = BTreeSet::new();
    for ((case, real), simulated) in cases.iter().zip(real).zip(simulated) {
        let found = differences(real, simulated);
        if found.is_empty() {
            outcome.equal += 1;
            continue;
        }
        let mut rest = Vec::new();
        for difference in found {
            let mut is_listed = false;
            for (entry, listed) in list.iter().enumerate() {
                let title = title(case, &difference);
                for cases in listed.cases.iter().filter(|pattern| matches(pattern, &title)) {
                    if !difference.real.to_string().contains(&listed.real) {
                        continue;
                    }
                    for place in listed.at.iter().filter(|pattern| matches(pattern, &difference.at)) {
                        used.insert((entry, cases));
                        used.insert((entry, place));
                        is_listed = true;
                    }
                }
            }
            if !is_listed {
                rest.push(difference);
            }
        }
        if rest.is_empty() {
            outcome.listed += 1;
        } else {
            outcome.unlisted.push((case.clone(), rest));
        }
    }
    if is_whole {
        for (entry, listed) in list.iter().enumerate() {
            // Whether a random sequence meets a difference is up to its seed.
            if listed.cases.iter().all(|pattern| pattern.starts_with("random ")) {
                continue;
            }
            for pattern in listed.cases.iter().chain(&listed.at) {
                if !pattern.starts_with("random ") && !used.contains(&(entry, pattern.as_str())) {
                    outcome.stale.push(format!("`{pattern}` ({})", listed.why));
                }
            }
        }
    }
    outcome
}

/// What a pattern of cases is held against: the case's name or, as random cases have none that says something, the request.
fn title(case: &Case, difference: &Difference) -> String {
    let step = difference
        .at
        .split('/')
        .next()
        .and_then(|number| number.parse::<usize>().ok());
    match step.and_then(|number| case.steps.get(number)) {
        Some(step) if case.name.starts_with("random/") => format!("random {} {}", step.method, step.path),
        _ => case.name.clone(),
    }
}

/// Whether a text fits a pattern in which `*` stands for any text.
pub fn matches(pattern: &str, text: &str) -> bool {
    let mut parts = pattern.split('*');
    let Some(rest) = text.strip_prefix(parts.next().unwrap_or_default()) else {
        return false;
    };
    let parts: Vec<&str> = parts.collect();
    let Some((last, middle)) = parts.split_last() else {
        return rest.is_empty();
    };
    let mut rest = rest;
    for part in middle {
        match rest.find(part) {
            Some(at) => rest = &rest[at + part.len()..],
            None => return false,
        }
    }
    rest.ends_with(last)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn answer(status: u16, body: Value) -> Answer {
        Answer {
            status,
            kind: String::new(),
            warnings: Vec::new(),
            body,
        }
    }

    fn case(name: &str) -> Case {
        Case {
            name: name.into(),
            steps: Vec::new(),
        }
    }

    #[test]
    fn patterns_fit_as_people_read_them() {
        assert!(matches("pods/*", "pods/create dry run"));
        assert!(matches("*/body/spec/*Tolerations", "0/body/spec/someTolerations"));
        assert!(matches("exact", "exact"));
        assert!(!matches("pods/*", "services/x"));
        assert!(!matches("a*b*c", "a c b"));
    }

    #[test]
    fn a_difference_is_told_by_its_place_and_listed_ones_are_no_failure() {
        let real = vec![vec![answer(200, json!({"spec": {"a": 1, "b": 2}}))]];
        let simulated = vec![vec![answer(200, json!({"spec": {"a": 1}}))]];
        let entry = Listed {
            cases: vec!["pods/*".into()],
            at: vec!["0/body/spec/b".into()],
            real: String::new(),
            why: "because".into(),
        };
        let cases = [case("pods/get")];
        let unlisted = outcome(&cases, &real, &simulated, &[], true);
        assert_eq!(unlisted.unlisted[0].1[0].at, "0/body/spec/b");
        assert!(!unlisted.is_good());
        assert!(outcome(&cases, &real, &simulated, std::slice::from_ref(&entry), true).is_good());
        // Equal answers make the entry a stale one.
        assert_eq!(outcome(&cases, &real, &real, &[entry], true).stale.len(), 2);
    }

    #[test]
    fn after_another_status_the_rest_of_a_case_is_not_compared() {
        let real = [answer(200, json!({})), answer(200, json!({}))];
        let simulated = [answer(404, json!({})), answer(500, json!({}))];
        assert_eq!(differences(&real, &simulated).len(), 1);
    }
}
