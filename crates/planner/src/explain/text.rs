//! Words that several explanations share.

use serin_api::HASH_LABEL;

use crate::{draft::capitalised, situation::Situation};

/// The newest revision, as sentences begin with it.
pub(super) fn revision(s: &Situation<'_>) -> String {
    format!("Revision {}", s.revision())
}

/// Which step of how many, as it is written in the spec; the empty text after the last one.
pub(super) fn step(s: &Situation<'_>) -> String {
    let count = s.canary.steps().len();
    s.step.map_or_else(String::new, |(index, step)| {
        format!("step {}/{count} ({})", index + 1, step.describe())
    })
}

/// `1 pod`, `2 pods`.
pub(super) fn pods(count: i32) -> String {
    if count == 1 {
        "1 pod".to_owned()
    } else {
        format!("{count} pods")
    }
}

/// How to see why pods do not come.
pub(super) fn look_at_pods(s: &Situation<'_>, hash: &str) -> String {
    format!(
        "kubectl -n {} describe pods -l {HASH_LABEL}={hash} shows why pods do not become available.",
        s.namespace
    )
}

/// What the plugin that people have is told.
pub(super) fn command(s: &Situation<'_>, verb: &str) -> String {
    format!("kubectl argo rollouts {verb} {} -n {}", s.name, s.namespace)
}

/// What takes a hold off and does nothing else: the plugin's `promote` may skip a step with it.
pub(super) fn release(s: &Situation<'_>) -> String {
    patch(s, "", r#"{"spec":{"paused":false}}"#)
}

/// What ends the pauses that stand and skips no step.
pub(super) fn resume(s: &Situation<'_>) -> String {
    patch(s, " --subresource status", r#"{"status":{"pauseConditions":null}}"#)
}

fn patch(s: &Situation<'_>, of: &str, patch: &str) -> String {
    format!(
        "kubectl patch rollout {} -n {}{of} --type merge -p '{patch}'",
        s.name, s.namespace
    )
}

/// A weight as a part of the traffic, whatever the whole weight is.
pub(super) fn part(s: &Situation<'_>, weight: i32) -> String {
    let percent = f64::from(weight) * 100.0 / f64::from(s.canary.max_weight().max(1));
    format!("{}%", (percent * 10.0).round() / 10.0)
}

/// Advice as a sentence.
pub(super) fn sentence(text: &str) -> String {
    let end = if text.ends_with('.') { "" } else { "." };
    format!("{}{end}", capitalised(text))
}
