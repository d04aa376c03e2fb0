//! Whether a run was as it should be: what the oracle finds in its history, and what nobody needs an oracle for.

use std::sync::{Mutex, Once, PoisonError};

use anyhow::Result;
use serde::{Deserialize, Serialize};

use crate::{
    run::{Played, play},
    scenario::Scenario,
    trace,
};

/// Something that must not happen did.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    /// Name of the rule.
    pub rule: String,
    /// Milliseconds since the start.
    pub at: u64,
    /// Which object.
    pub object: String,
    /// What happened.
    pub message: String,
}

impl std::fmt::Display for Finding {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self {
            rule,
            at,
            object,
            message,
        } = self;
        write!(f, "{rule} at {}.{:03} s, {object}: {message}", at / 1000, at % 1000)
    }
}

/// Texts of panics since the last look, of whatever thread.
static PANICS: Mutex<Vec<String>> = Mutex::new(Vec::new());

/// Keeps panics for the verdict instead of printing them: the controller catches those of its planner.
pub fn catch_panics() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        std::panic::set_hook(Box::new(|info| {
            PANICS
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .push(info.to_string());
        }));
    });
}

/// Plays a scenario and judges it. A panic of the simulation itself is a finding, too; then there is no history.
///
/// # Errors
/// The scenario cannot be set up.
pub fn trial(scenario: &Scenario) -> Result<(Option<Played>, Vec<Finding>)> {
    PANICS.lock().unwrap_or_else(PoisonError::into_inner).clear();
    let played = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| play(scenario)));
    let played = match played {
        Ok(played) => Some(played?),
        Err(_) => None,
    };
    let judged = played
        .as_ref()
        .map(|played| std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| judge(played))));
    let mut findings = judged.transpose().ok().flatten().unwrap_or_default();
    let panics = std::mem::take(&mut *PANICS.lock().unwrap_or_else(PoisonError::into_inner));
    findings.extend(panics.into_iter().map(|message| Finding {
        rule: "panic".into(),
        at: 0,
        object: "-".into(),
        message,
    }));
    Ok((played, findings))
}

fn judge(played: &Played) -> Vec<Finding> {
    let history = &played.history;
    let ms = |at: std::time::Duration| u64::try_from(at.as_millis()).unwrap_or(u64::MAX);
    let violations = crate::oracle::check(history).into_iter();
    let findings = violations.map(|violation| Finding {
        rule: violation.rule.to_string(),
        at: ms(violation.at),
        object: violation.object,
        message: violation.message,
    });
    // Beside the oracle: what people are told, held against what is done.
    let misfits = played.told.misfits.iter().map(|(at, rollout, text)| Finding {
        rule: "explain".into(),
        at: ms(*at),
        object: rollout.clone(),
        message: text.clone(),
    });
    findings.chain(misfits).collect()
}

/// Plays it twice and says where the traces differ first.
///
/// # Errors
/// The scenario cannot be set up.
pub fn repeat(scenario: &Scenario) -> Result<Option<String>> {
    let first = trace::whole(&play(scenario)?.history);
    let second = trace::whole(&play(scenario)?.history);
    if first == second {
        return Ok(None);
    }
    let differs = first.lines().zip(second.lines()).enumerate().find(|(_, (a, b))| a != b);
    Ok(Some(differs.map_or_else(
        || "one trace is longer than the other".to_owned(),
        |(line, (a, b))| format!("line {}: {a:.300} | {b:.300}", line + 1),
    )))
}
