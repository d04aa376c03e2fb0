//! The services and their releases: everything that is drawn from the seed. No release is played here.

use std::time::Duration;

use anyhow::{Context as _, Result};
use rand::{RngExt as _, SeedableRng as _, rngs::SmallRng};
use rand_distr::{Distribution as _, LogNormal};
use serin_rehearse::{
    assume::{Assumptions, Latency},
    fault::Fault,
};

/// What is wrong with a bad version.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Bad {
    /// Some answers are errors.
    Errors,
    /// Answers take too long.
    Latency,
    /// Pods do not start, or die soon.
    Crash,
    /// It gets bad after a while.
    SlowLeak,
    /// It is bad only under the load of the day's peak.
    UnderLoad,
}

impl Bad {
    /// All of them, in the order of the table.
    pub(crate) const ALL: [Self; 5] = [
        Self::Errors,
        Self::Latency,
        Self::Crash,
        Self::SlowLeak,
        Self::UnderLoad,
    ];

    /// As the table calls it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Errors => "errors",
            Self::Latency => "latency",
            Self::Crash => "crash",
            Self::SlowLeak => "slow leak",
            Self::UnderLoad => "only under load",
        }
    }
}

/// One release of one service.
#[derive(Clone, Debug)]
pub(crate) struct Release {
    /// Seed of the replay.
    pub(crate) seed: u64,
    /// Pods of the service.
    pub(crate) replicas: u32,
    /// Load, latency, and what is wrong with the new version.
    pub(crate) assumptions: Assumptions,
    /// What kind of bad it is; none for a good version.
    pub(crate) bad: Option<Bad>,
    /// When users first meet what is wrong, after the change: as far as the fault itself says.
    pub(crate) onset: Duration,
}

/// One request per second and pod that a service is sized for at its usual load.
const PER_POD: f64 = 15.0;

/// Releases of so many services in so many weeks, one a week each.
///
/// # Errors
/// A distribution cannot be made: a bug.
pub(crate) fn releases(services: usize, weeks: usize, bad_share: f64, seed: u64) -> Result<Vec<Release>> {
    let mut out = Vec::new();
    for service in 0..services {
        let mut rng = SmallRng::seed_from_u64(seed ^ (service as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15));
        // Half of the services have less than 20 requests per second, one in fifty more than 400.
        let rps = LogNormal::new(20.0_f64.ln(), 1.45)
            .context("a distribution")?
            .sample(&mut rng)
            .clamp(0.5, 600.0);
        let replicas = (rps / PER_POD).ceil().clamp(2.0, 12.0) as u32;
        let peak = rng.random_range(4.0..6.0);
        let curve = format!(
            "00:00=0.3,08:00=1,12:00={peak:.2},14:00=1,19:00={:.2},22:00=0.5",
            peak * 0.7
        );
        let p50 = rng.random_range(15..70);
        let healthy = Assumptions {
            rps,
            curve: curve.parse()?,
            errors: rng.random_range(0.000_05..0.002),
            latency: Latency {
                p50: Duration::from_millis(p50),
                p99: Duration::from_millis(p50 * rng.random_range(3..6)),
            },
            start: Duration::from_secs(rng.random_range(2..15)),
            limit: Duration::from_secs(4 * 3600),
            ..Assumptions::default()
        };
        for week in 0..weeks {
            // During working hours, as people release.
            let begin = Duration::from_secs(rng.random_range(9 * 3600..17 * 3600));
            let bad = rng
                .random_bool(bad_share)
                .then(|| Bad::ALL[rng.random_range(0..Bad::ALL.len())]);
            let usual = rps / f64::from(replicas);
            let (faults, onset) = bad.map_or_else(|| (Vec::new(), Duration::ZERO), |bad| faults(bad, usual, &mut rng));
            let faults: Result<Vec<Fault>, _> = faults.iter().map(|text| text.parse()).collect();
            out.push(Release {
                seed: seed ^ ((service as u64) << 20) ^ week as u64,
                replicas,
                assumptions: Assumptions {
                    begin,
                    faults: faults?,
                    ..healthy.clone()
                },
                bad,
                onset,
            });
        }
    }
    Ok(out)
}

/// As the program is told on its command line; `usual` are requests per second of a pod.
fn faults(bad: Bad, usual: f64, rng: &mut SmallRng) -> (Vec<String>, Duration) {
    match bad {
        Bad::Errors => {
            let percent: f64 = rng.random_range(0.0_f64..1.0).mul_add(4.0, 0.0).exp();
            (vec![format!("errors={:.1}%", percent.clamp(1.0, 55.0))], Duration::ZERO)
        }
        Bad::Latency if rng.random_bool(0.5) => (
            vec![format!("latency=+{}ms", rng.random_range(500..3000))],
            Duration::ZERO,
        ),
        Bad::Latency => {
            let share = rng.random_range(5..60);
            (
                vec![format!("latency=+{}ms,share={share}%", rng.random_range(800..5000))],
                Duration::ZERO,
            )
        }
        Bad::Crash if rng.random_bool(0.5) => (vec!["crashloop".to_owned()], Duration::ZERO),
        Bad::Crash => (vec![format!("oom={}s", rng.random_range(20..240))], Duration::ZERO),
        Bad::SlowLeak => {
            let after = rng.random_range(5..60);
            (
                vec![
                    format!("errors=25%,after={after}m"),
                    format!("latency=+2s,after={after}m"),
                ],
                Duration::from_secs(after * 60),
            )
        }
        Bad::UnderLoad => {
            let above = usual * rng.random_range(1.5..3.5);
            (
                vec![
                    format!("errors=20%,above={above:.2}"),
                    format!("latency=x8,above={above:.2}"),
                ],
                Duration::ZERO,
            )
        }
    }
}

impl Release {
    /// When users first meet what is wrong with a version that has all traffic, after the change.
    pub(crate) fn first_harm(&self) -> Duration {
        let above = self
            .assumptions
            .faults
            .iter()
            .map(|fault| fault.above)
            .fold(0.0, f64::max);
        if above == 0.0 {
            return self.onset;
        }
        let step = Duration::from_secs(60);
        let mut at = Duration::ZERO;
        while at < Duration::from_secs(24 * 3600) {
            let factor = self.assumptions.curve.factor(self.assumptions.begin + at);
            if self.assumptions.rps * factor / f64::from(self.replicas) > above {
                return at;
            }
            at += step;
        }
        at
    }
}
