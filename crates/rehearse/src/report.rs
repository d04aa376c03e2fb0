//! Many replays together: chances, times, failed requests, and whether that is what was expected.

use std::time::Duration;

use serde::Serialize;

use crate::{
    load::Totals,
    play::{Outcome, Replay, World},
};

/// The part of one replay that counts.
#[derive(Clone, Debug)]
pub struct Result {
    /// Which version was released.
    pub world: World,
    /// How it ended.
    pub outcome: Outcome,
    /// Until that end.
    pub length: Duration,
    /// What users met.
    pub totals: Totals,
}

impl Result {
    /// What counts of a replay.
    pub fn of(world: World, replay: &Replay) -> Self {
        Self {
            world,
            outcome: replay.outcome.clone(),
            length: replay.length,
            totals: replay.totals,
        }
    }
}

/// Everything that many replays say; `--json` prints it. The schema is in docs/rehearse.md.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Report {
    /// Replays of each world.
    pub outcomes: Outcomes,
    /// From the change of the image until the faulty version was aborted, where it was.
    pub time_to_abort_seconds: Option<Spread>,
    /// From the change of the image until the healthy version was promoted, where it was.
    pub length_of_a_good_release_seconds: Option<Spread>,
    /// Users' requests that failed from the change of the image on, of each release of the faulty version.
    pub failed_requests: Option<Spread>,
    /// The same of the healthy version; none where only the faulty one was played.
    pub failed_requests_healthy: Option<Spread>,
    /// Users' requests in that time, of each release of the faulty version.
    pub requests: Option<Spread>,
    /// The same of the healthy version.
    pub requests_healthy: Option<Spread>,
    /// Why the faulty version was not aborted or the healthy one not promoted, each cause once, the most frequent first.
    pub unexpected: Vec<Unexpected>,
    /// Whether the outcomes are the expected ones in at least 99% of the replays.
    pub as_expected: bool,
}

/// Replays of both worlds.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Outcomes {
    /// The new version is as good as the old one.
    pub healthy: Counts,
    /// It has the assumed faults; none without faults.
    pub faulty: Option<Counts>,
}

/// How many replays ended how.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Counts {
    /// All.
    pub replays: usize,
    /// The new version became stable.
    pub promoted: usize,
    /// It was taken back.
    pub aborted: usize,
    /// It waits for a person.
    pub held: usize,
    /// Neither of all that when it should have been.
    pub stuck: usize,
}

/// How something is spread over replays.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Spread {
    /// Half of the replays are not above.
    pub p50: f64,
    /// 95 of 100 replays are not above.
    pub p95: f64,
    /// The greatest.
    pub max: f64,
}

/// An end that was not expected.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Unexpected {
    /// `healthy` or `faulty`.
    pub world: &'static str,
    /// How it ended, in the controller's words.
    pub outcome: String,
    /// How often.
    pub replays: usize,
}

/// What should become of the two versions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Expected {
    /// Of the healthy one.
    pub healthy: End,
    /// Of the faulty one.
    pub faulty: End,
}

/// How a release ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// Promoted.
    Promoted,
    /// Aborted.
    Aborted,
    /// Held for a person.
    Held,
    /// Neither promoted nor aborted nor held.
    Stuck,
}

impl Default for Expected {
    fn default() -> Self {
        Self {
            healthy: End::Promoted,
            faulty: End::Aborted,
        }
    }
}

impl Outcome {
    /// Which end this is.
    pub fn end(&self) -> End {
        match self {
            Self::Promoted => End::Promoted,
            Self::Aborted(_) => End::Aborted,
            Self::Held(_) => End::Held,
            Self::Stuck(_) => End::Stuck,
        }
    }

    fn words(&self) -> String {
        match self {
            Self::Promoted => "promoted".to_owned(),
            Self::Aborted(why) => format!("aborted: {why}"),
            Self::Held(why) => format!("held for a person: {why}"),
            Self::Stuck(why) => format!("neither promoted nor aborted: {why}"),
        }
    }
}

/// 99 of 100.
const ENOUGH: f64 = 0.99;

/// Puts replays together. Their order does not matter.
pub fn report(results: &[Result], expected: Expected) -> Report {
    let of = |world: World| results.iter().filter(move |r| r.world == world);
    let count = |world: World| {
        let mut counts = Counts::default();
        for result in of(world) {
            counts.replays += 1;
            match result.outcome.end() {
                End::Promoted => counts.promoted += 1,
                End::Aborted => counts.aborted += 1,
                End::Held => counts.held += 1,
                End::Stuck => counts.stuck += 1,
            }
        }
        counts
    };
    let lengths = |world: World, end: End| {
        spread(
            of(world)
                .filter(|r| r.outcome.end() == end)
                .map(|r| r.length.as_secs_f64()),
        )
    };
    let is_expected = |result: &Result| {
        result.outcome.end()
            == match result.world {
                World::Healthy => expected.healthy,
                World::Faulty => expected.faulty,
            }
    };
    let enough = |world: World| {
        let (all, good) = (of(world).count(), of(world).filter(|r| is_expected(r)).count());
        good as f64 >= all as f64 * ENOUGH
    };
    let faulty = count(World::Faulty);
    Report {
        outcomes: Outcomes {
            healthy: count(World::Healthy),
            faulty: (faulty.replays > 0).then_some(faulty),
        },
        time_to_abort_seconds: lengths(World::Faulty, End::Aborted),
        length_of_a_good_release_seconds: lengths(World::Healthy, End::Promoted),
        failed_requests: spread(of(World::Faulty).map(|r| r.totals.failed as f64)),
        failed_requests_healthy: spread(of(World::Healthy).map(|r| r.totals.failed as f64)),
        requests: spread(of(World::Faulty).map(|r| r.totals.requests as f64)),
        requests_healthy: spread(of(World::Healthy).map(|r| r.totals.requests as f64)),
        unexpected: unexpected(results, is_expected),
        as_expected: enough(World::Healthy) && enough(World::Faulty),
    }
}

fn unexpected(results: &[Result], is_expected: impl Fn(&Result) -> bool) -> Vec<Unexpected> {
    let mut list: Vec<Unexpected> = Vec::new();
    for result in results.iter().filter(|r| !is_expected(r)) {
        let world = match result.world {
            World::Healthy => "healthy",
            World::Faulty => "faulty",
        };
        let outcome = timeless(&result.outcome.words());
        match list.iter_mut().find(|u| u.world == world && u.outcome == outcome) {
            Some(known) => known.replays += 1,
            None => list.push(Unexpected {
                world,
                outcome,
                replays: 1,
            }),
        }
    }
    list.sort_by(|a, b| (b.replays, a.world, &a.outcome).cmp(&(a.replays, b.world, &b.outcome)));
    list
}

/// The same cause at another moment is the same cause.
fn timeless(words: &str) -> String {
    let is_moment =
        |word: &str| chrono::DateTime::parse_from_rfc3339(word.trim_end_matches([',', ';', ':', '.'])).is_ok();
    let kept: Vec<&str> = words.split(' ').filter(|word| !is_moment(word)).collect();
    kept.join(" ").replace(" since (", " (").replace(" since;", ";")
}

/// Nearest-rank quantiles.
fn spread(values: impl Iterator<Item = f64>) -> Option<Spread> {
    let mut sorted: Vec<f64> = values.collect();
    sorted.sort_by(f64::total_cmp);
    let rank = |share: f64| {
        let at = (share * sorted.len() as f64).ceil() as usize;
        sorted.get(at.saturating_sub(1)).copied()
    };
    Some(Spread {
        p50: rank(0.5)?,
        p95: rank(0.95)?,
        max: rank(1.0)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn result(world: World, outcome: Outcome, seconds: u64) -> Result {
        Result {
            world,
            outcome,
            length: Duration::from_secs(seconds),
            totals: Totals {
                requests: 1000,
                failed: seconds,
                ..Totals::default()
            },
        }
    }

    #[test]
    fn quantiles_are_those_of_the_replays_that_ended_so() {
        let mut results: Vec<Result> = (1..=100)
            .map(|s| result(World::Faulty, Outcome::Aborted("x".to_owned()), s))
            .collect();
        results.push(result(World::Faulty, Outcome::Promoted, 5000));
        results.push(result(World::Healthy, Outcome::Promoted, 600));
        let report = report(&results, Expected::default());
        let times = report.time_to_abort_seconds.expect("some were aborted");
        assert_eq!((times.p50, times.p95, times.max), (50.0, 95.0, 100.0));
        assert_eq!(report.failed_requests.expect("there are some").max, 5000.0);
        assert!(report.as_expected, "100 of 101 are enough");
        assert_eq!(report.unexpected.len(), 1);
        assert_eq!(report.unexpected[0].outcome, "promoted");
    }

    #[test]
    fn one_cause_at_two_moments_is_one_cause() {
        let held = |at: &str| Outcome::Held(format!("no data since {at} (0 of at least 50 requests); holding"));
        let results = ["2026-11-21T10:00:01Z", "2026-11-21T10:00:02Z"].map(|at| result(World::Healthy, held(at), 1));
        let report = report(&results, Expected::default());
        let causes: Vec<_> = report
            .unexpected
            .iter()
            .map(|u| (u.outcome.as_str(), u.replays))
            .collect();
        assert_eq!(
            causes,
            [("held for a person: no data (0 of at least 50 requests); holding", 2)]
        );
        assert!(report.requests.is_none() && report.requests_healthy.is_some());
    }

    #[test]
    fn two_of_a_hundred_are_too_many_and_without_faults_only_the_healthy_world_counts() {
        let mut results: Vec<Result> = (0..98).map(|_| result(World::Healthy, Outcome::Promoted, 1)).collect();
        let good = report(&results, Expected::default());
        assert!(good.as_expected && good.outcomes.faulty.is_none() && good.time_to_abort_seconds.is_none());
        for _ in 0..2 {
            results.push(result(World::Healthy, Outcome::Stuck("why".to_owned()), 1));
        }
        let bad = report(&results, Expected::default());
        assert!(!bad.as_expected);
        assert_eq!(bad.unexpected[0].outcome, "neither promoted nor aborted: why");
    }
}
