//! `steps.txt`: what was done to the cluster, and what was waited for in between.

use anyhow::{Context, Result, bail};
use serde_json::Value;

/// One line of the script.
#[derive(Clone, Debug)]
pub struct Line {
    /// Milliseconds since the scenario's start.
    pub at: i64,
    /// What.
    pub act: Act,
}

/// Something done, or something seen.
#[derive(Clone, Debug)]
pub enum Act {
    /// An object of `input.yaml` was created.
    Create {
        /// Kind.
        kind: String,
        /// Name.
        name: String,
    },
    /// A patch was sent.
    Patch {
        /// Kind.
        kind: String,
        /// Name.
        name: String,
        /// `status` or `scale`.
        subresource: Option<String>,
        /// A JSON patch, else a merge patch.
        is_json_patch: bool,
        /// The patch.
        body: Value,
    },
    /// An object was deleted.
    Delete {
        /// Kind.
        kind: String,
        /// Name.
        name: String,
    },
    /// The metric source gives another answer from now on.
    Metric {
        /// Its name.
        source: String,
        /// The vector that it answers.
        value: Value,
    },
    /// The controller was told to end. It is back where the next state is seen.
    Stop,
    /// Somebody got a message from the controller; messages are not compared.
    Told,
    /// A state was waited for.
    Seen(Seen),
    /// Time was given to settle.
    Wait,
    /// The end.
    End,
}

/// A state of the Rollout that was waited for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Seen {
    /// `Healthy` also means that stable and current are the same.
    Phase(String),
    /// `Paused` at a step.
    PausedAt(i64),
    /// At a step.
    AtStep(i64),
    /// `Paused` because an analysis was inconclusive.
    Inconclusive,
    /// An AnalysisRun is in that phase.
    Run(String),
    /// A condition has a status.
    Condition(String, String),
    /// Anything else, as text; drivers go by the clock.
    Other(String),
}

pub(crate) fn parse(text: &str) -> Result<Vec<Line>> {
    let mut lines = Vec::new();
    for line in text
        .lines()
        .filter(|l| !l.trim_start().starts_with('#') && !l.trim().is_empty())
    {
        let (at, rest) = line
            .trim()
            .split_once("  ")
            .with_context(|| format!("no time in `{line}`"))?;
        lines.push(Line {
            at: at.parse().with_context(|| format!("no time in `{line}`"))?,
            act: act(rest.trim())?,
        });
    }
    Ok(lines)
}

fn act(text: &str) -> Result<Act> {
    if let Some(seen) = text.strip_prefix("seen: ") {
        return Ok(Act::Seen(self::seen(seen)));
    }
    let words: Vec<&str> = text.split(' ').collect();
    Ok(match words.as_slice() {
        ["end", ..] => Act::End,
        ["wait", ..] => Act::Wait,
        ["the", "controller", "is", "stopped", ..] => Act::Stop,
        ["webhook", "at", ..] => Act::Told,
        ["create", kind, name, ..] => Act::Create {
            kind: (*kind).to_owned(),
            name: (*name).to_owned(),
        },
        ["delete", kind, name, ..] => Act::Delete {
            kind: (*kind).to_owned(),
            name: (*name).to_owned(),
        },
        ["metric", "source", source, "now", "answers", ..] => Act::Metric {
            source: source.trim_matches('\'').to_owned(),
            value: serde_json::from_str(text.split_once("answers ").map_or("", |(_, v)| v))?,
        },
        ["patch", kind, name, rest @ ..] => {
            let (subresource, rest) = match rest {
                [sub, rest @ ..] if sub.starts_with('/') => (Some(sub.trim_start_matches('/').to_owned()), rest),
                _ => (None, rest),
            };
            let Some((way, body)) = rest.split_first() else {
                bail!("no patch in `{text}`")
            };
            Act::Patch {
                kind: (*kind).to_owned(),
                name: (*name).to_owned(),
                subresource,
                is_json_patch: *way == "json",
                body: serde_json::from_str(&body.join(" ")).with_context(|| format!("no JSON in `{text}`"))?,
            }
        }
        _ => bail!("unknown line `{text}`"),
    })
}

fn seen(text: &str) -> Seen {
    let words: Vec<&str> = text.split(' ').collect();
    match words.as_slice() {
        ["AnalysisRun", phase] => Seen::Run((*phase).to_owned()),
        ["rollout", _, "Paused", "Inconclusive"] => Seen::Inconclusive,
        ["rollout", _, "Paused", "at", "step", n] => n.parse().map_or(Seen::Other(text.to_owned()), Seen::PausedAt),
        ["rollout", _, "at", "step", n] => n.parse().map_or(Seen::Other(text.to_owned()), Seen::AtStep),
        ["rollout", _, phase] => Seen::Phase((*phase).to_owned()),
        ["condition", pair] => match pair.split_once('=') {
            Some((kind, status)) => Seen::Condition(kind.to_owned(), status.to_owned()),
            None => Seen::Other(text.to_owned()),
        },
        _ => Seen::Other(text.to_owned()),
    }
}

impl Seen {
    /// Whether a Rollout, as stored, is in that state. [`None`] when it cannot be told from the Rollout.
    pub fn holds(&self, rollout: &Value) -> Option<bool> {
        let status = &rollout["status"];
        // A status that speaks of an older spec says nothing about what was asked for since.
        let generation = rollout["metadata"]["generation"].to_string();
        let is_current = status["observedGeneration"].as_str() == Some(generation.as_str());
        let holds = match self {
            Self::Phase(phase) if phase == "Healthy" => {
                status["phase"] == "Healthy" && status["stableRS"] == status["currentPodHash"]
            }
            Self::Phase(phase) => status["phase"] == phase.as_str(),
            Self::PausedAt(step) => {
                status["phase"] == "Paused"
                    && status["currentStepIndex"] == *step
                    && !status["pauseConditions"].as_array().is_none_or(Vec::is_empty)
            }
            Self::AtStep(step) => status["currentStepIndex"] == *step,
            Self::Inconclusive => {
                let pauses = status["pauseConditions"].as_array();
                let is_meant = |pause: &Value| pause["reason"] == "InconclusiveAnalysisRun";
                status["phase"] == "Paused" && pauses.is_some_and(|all| all.iter().any(is_meant))
            }
            Self::Condition(kind, word) => status["conditions"].as_array().is_some_and(|all| {
                all.iter()
                    .any(|c| c["type"] == kind.as_str() && c["status"] == word.as_str())
            }),
            Self::Run(_) | Self::Other(_) => return None,
        };
        Some(is_current && holds)
    }
}
