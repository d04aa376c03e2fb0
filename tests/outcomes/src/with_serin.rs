//! The same release with Serin: the shipped example behind a gateway with the shipped templates, played by the unchanged
//! controller.

use std::{sync::LazyLock, time::Duration};

use anyhow::{Context as _, Result, anyhow};
use serin_rehearse::{
    manifests::{Document, documents},
    play::{self, Outcome, Rehearsal, World},
    series::Exposition,
    setup::prepare,
};

use crate::services::Release;

/// What people apply: the example and the templates as they are shipped.
const MANIFESTS: [(&str, &str); 5] = [
    (
        "rollout.yaml",
        include_str!("../../../examples/canary-gateway/rollout.yaml"),
    ),
    (
        "services.yaml",
        include_str!("../../../examples/canary-gateway/services.yaml"),
    ),
    (
        "http-error-rate.yaml",
        include_str!("../../../analysis-templates/http-error-rate.yaml"),
    ),
    (
        "http-latency-p99.yaml",
        include_str!("../../../analysis-templates/http-latency-p99.yaml"),
    ),
    (
        "recording-rules.yaml",
        include_str!("../../../analysis-templates/recording-rules.yaml"),
    ),
];

static DOCUMENTS: LazyLock<Result<Vec<Document>, String>> = LazyLock::new(|| {
    let mut all = Vec::new();
    for (name, text) in MANIFESTS {
        all.extend(documents(name, text).map_err(|e| e.to_string())?);
    }
    Ok(all)
});

/// How it ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// The new version is the stable one.
    Promoted,
    /// Taken back by the analysis.
    Aborted,
    /// It waits: for pods, for data, for a person.
    Waits,
}

/// What came of it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Played {
    /// How it ended.
    pub(crate) end: End,
    /// Requests that failed at the new version or found nobody.
    pub(crate) failed: u64,
    /// Requests that took longer than a second at the new version.
    pub(crate) slow: u64,
    /// From the change until no request goes to the new version any more, after an abort.
    pub(crate) off: Option<Duration>,
}

/// Plays the release. A bad version that is promoted all the same is taken back by people, as a Deployment is.
///
/// # Errors
/// The manifests cannot be played.
pub(crate) fn play(release: &Release, people: Duration, stay: Duration) -> Result<Played> {
    let mut documents = DOCUMENTS.as_ref().map_err(|e| anyhow!("{e}"))?.clone();
    let rollout = documents
        .iter_mut()
        .find(|d| d.kind() == "Rollout")
        .context("there is no Rollout")?;
    rollout.object["spec"]["replicas"] = release.replicas.into();
    let rehearsal = Rehearsal {
        setup: prepare(&documents, None)?,
        assumptions: release.assumptions.clone(),
        exposition: Exposition::default(),
        assumed: std::collections::BTreeMap::new(),
        warm_up: Duration::from_secs(600),
        // People act after that, and a promoted bad version is there no longer.
        stay: if release.bad.is_some() {
            (release.first_harm() + people).min(stay)
        } else {
            Duration::ZERO
        },
        explains: false,
    };
    let world = if release.bad.is_some() {
        World::Faulty
    } else {
        World::Healthy
    };
    let replay = play::play(&rehearsal, world, release.seed)?;
    let end = match replay.outcome {
        Outcome::Promoted => End::Promoted,
        Outcome::Aborted(_) => End::Aborted,
        Outcome::Held(_) | Outcome::Stuck(_) => End::Waits,
    };
    Ok(Played {
        end,
        failed: replay.totals.failed_at_new + replay.totals.unanswered,
        slow: replay.totals.slow_at_new,
        off: match end {
            End::Aborted => replay.off,
            End::Promoted if release.bad.is_some() => Some(release.first_harm() + people),
            _ => None,
        },
    })
}
