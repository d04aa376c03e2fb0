//! What happened in one replay, a line for each notable thing: steps, weights, pods, measurements, the verdict.

use std::time::Duration;

use serin_staging::told::told;

use crate::play::Replay;

/// One notable thing.
#[derive(Clone, Debug, PartialEq)]
pub struct Line {
    /// Since the change of the image.
    pub at: Duration,
    /// What.
    pub text: String,
}

/// The lines of a replay from the change of the image on, in the order of time.
pub fn lines(replay: &Replay) -> Vec<Line> {
    let mut lines = vec![Line {
        at: Duration::ZERO,
        text: "the image changes: the release begins".to_owned(),
    }];
    let mut add = |at: Duration, text: String| {
        lines.push(Line {
            at: at.saturating_sub(replay.changed),
            text,
        });
    };
    for change in replay.history.iter().filter(|change| change.at >= replay.changed) {
        // What the Rollout says of itself is explained below.
        if change.resource.plural == "rollouts" {
            continue;
        }
        let (old, new) = (change.old.as_deref(), change.new.as_deref());
        for text in told(change.resource.plural, old, new) {
            add(change.at, text);
        }
    }
    for (at, share) in replay.shares.iter().filter(|(at, _)| *at > replay.changed) {
        add(*at, format!("{:.1}% of requests go to the new version", share * 100.0));
    }
    for (at, explanation) in replay.told.iter().filter(|(at, _)| *at > replay.changed) {
        let why = explanation.why.first().map_or(String::new(), |why| format!(" {why}"));
        add(*at, format!("{}{why}", explanation.what));
    }
    lines.sort_by_key(|line| line.at);
    lines
}
