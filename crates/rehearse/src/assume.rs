//! What is assumed of the world: how many requests there are, how the healthy version answers them, how Prometheus looks on.
//!
//! Pure text and numbers.

use std::{str::FromStr, time::Duration};

use thiserror::Error;

use crate::fault::Fault;

/// Everything that a rehearsal assumes and no manifest says.
#[derive(Clone, Debug, PartialEq)]
pub struct Assumptions {
    /// Users' requests per second, before the curve.
    pub rps: f64,
    /// How that changes over the day.
    pub curve: Curve,
    /// The time of day at which the release begins, since midnight.
    pub begin: Duration,
    /// Share of a healthy version's answers that are errors.
    pub errors: f64,
    /// How long a healthy version takes for an answer.
    pub latency: Latency,
    /// What is wrong with the new version.
    pub faults: Vec<Fault>,
    /// Between two scrapes of a pod.
    pub scrape_interval: Duration,
    /// How long a pod takes to get ready, beside what its readiness probe waits.
    pub start: Duration,
    /// How long a pause without a duration lasts until a person goes on.
    pub person: Duration,
    /// How long a release may take until it counts as stuck.
    pub limit: Duration,
}

impl Default for Assumptions {
    fn default() -> Self {
        Self {
            rps: 50.0,
            curve: Curve::default(),
            begin: Duration::from_secs(10 * 3600),
            errors: 0.001,
            latency: Latency {
                p50: Duration::from_millis(40),
                p99: Duration::from_millis(200),
            },
            faults: Vec::new(),
            scrape_interval: Duration::from_secs(15),
            start: Duration::from_secs(2),
            person: Duration::from_secs(60),
            limit: Duration::from_secs(24 * 3600),
        }
    }
}

/// A log-normal distribution of answer times.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Latency {
    /// Half of the answers take less.
    pub p50: Duration,
    /// 99 of 100 answers take less; not below `p50`.
    pub p99: Duration,
}

/// The 0.99 quantile of the standard normal distribution.
const Z99: f64 = 2.326_347_874_040_841;

impl Latency {
    fn mu(self) -> f64 {
        self.p50.as_secs_f64().max(1e-9).ln()
    }

    fn sigma(self) -> f64 {
        let ratio = self.p99.as_secs_f64() / self.p50.as_secs_f64().max(1e-9);
        ratio.max(1.0).ln() / Z99
    }

    /// The share of answers that take at most so many seconds.
    pub fn share_within(self, seconds: f64) -> f64 {
        if seconds <= 0.0 {
            return 0.0;
        }
        if self.sigma() == 0.0 {
            return if seconds >= self.p50.as_secs_f64() { 1.0 } else { 0.0 };
        }
        let z = (seconds.ln() - self.mu()) / self.sigma();
        0.5 * libm::erfc(-z / std::f64::consts::SQRT_2)
    }

    /// The mean in seconds.
    pub fn mean(self) -> f64 {
        (self.mu() + self.sigma().powi(2) / 2.0).exp()
    }
}

/// How traffic changes over a day: factors at times of day, straight lines between them, the same every day.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Curve(Vec<(Duration, f64)>);

/// Why a text is no curve.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("--curve {text}: {problem}; write times of day and factors: 00:00=0.3,08:00=1,13:00=2.5,22:00=0.5")]
pub struct CurveError {
    text: String,
    problem: String,
}

const DAY: f64 = 86_400.0;

impl Curve {
    /// The factor at a time, counted from a midnight.
    pub fn factor(&self, at: Duration) -> f64 {
        let Some((first, last)) = self.0.first().zip(self.0.last()) else {
            return 1.0;
        };
        let at = at.as_secs_f64() % DAY;
        let after = self.0.partition_point(|(time, _)| time.as_secs_f64() <= at);
        // Before the first and after the last point the line goes through midnight.
        let (from, start) = match after.checked_sub(1) {
            Some(before) => (self.0[before].0.as_secs_f64(), self.0[before].1),
            None => (last.0.as_secs_f64() - DAY, last.1),
        };
        let (to, end) = match self.0.get(after) {
            Some((time, factor)) => (time.as_secs_f64(), *factor),
            None => (first.0.as_secs_f64() + DAY, first.1),
        };
        start + (end - start) * (at - from) / (to - from)
    }
}

impl FromStr for Curve {
    type Err = CurveError;

    fn from_str(text: &str) -> Result<Self, CurveError> {
        let fail = |problem: String| CurveError {
            text: text.to_owned(),
            problem,
        };
        let mut points = Vec::new();
        for part in text.split(',').map(str::trim) {
            let (time, factor) = part
                .split_once('=')
                .ok_or_else(|| fail(format!("\"{part}\" has no =")))?;
            let at = time_of_day(time).map_err(fail)?;
            let factor = factor.parse::<f64>().ok().filter(|n| n.is_finite() && *n >= 0.0);
            let factor = factor.ok_or_else(|| fail(format!("\"{part}\" has no factor of 0 or more")))?;
            if points.last().is_some_and(|(before, _)| *before >= at) {
                return Err(fail(format!("{time} does not come after the time before it")));
            }
            points.push((at, factor));
        }
        Ok(Self(points))
    }
}

/// `13:30`, as time since midnight.
///
/// # Errors
/// Says what was written instead.
pub fn time_of_day(text: &str) -> Result<Duration, String> {
    let read = || {
        let (hours, minutes) = text.split_once(':')?;
        let (hours, minutes) = (hours.parse::<u64>().ok()?, minutes.parse::<u64>().ok()?);
        (hours < 24 && minutes < 60).then(|| Duration::from_secs(hours * 3600 + minutes * 60))
    };
    read().ok_or_else(|| format!("\"{text}\" is no time of day such as 13:30"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn latency_has_the_quantiles_that_were_asked_for() {
        let latency = Assumptions::default().latency;
        for (seconds, share) in [(0.04, 0.5), (0.2, 0.99), (0.0, 0.0), (1000.0, 1.0)] {
            assert!((latency.share_within(seconds) - share).abs() < 1e-9, "{seconds}");
        }
        let constant = Latency {
            p50: Duration::from_millis(10),
            p99: Duration::from_millis(10),
        };
        assert_eq!((constant.share_within(0.009), constant.share_within(0.01)), (0.0, 1.0));
    }

    #[test]
    fn a_curve_goes_straight_between_its_points_and_through_midnight() {
        let curve: Curve = "06:00=1,12:00=3,18:00=1".parse().expect("it is a curve");
        let at = |hours: f64| curve.factor(Duration::from_secs_f64(hours * 3600.0));
        for (hours, factor) in [
            (6.0, 1.0),
            (9.0, 2.0),
            (12.0, 3.0),
            (15.0, 2.0),
            (0.0, 1.0),
            (36.0, 3.0),
        ] {
            assert!((at(hours) - factor).abs() < 1e-9, "{hours}: {}", at(hours));
        }
        assert_eq!(Curve::default().factor(Duration::from_secs(5)), 1.0);
    }

    #[test]
    fn what_is_no_curve_is_refused_with_what_to_write() {
        for (text, part) in [
            ("", "no ="),
            ("noon=1", "\"noon\" is no time of day"),
            ("24:00=1", "\"24:00\""),
            ("12:00=much", "no factor"),
            ("12:00=-1", "no factor"),
            ("12:00=1,12:00=2", "does not come after"),
        ] {
            let error = text.parse::<Curve>().expect_err(text).to_string();
            assert!(error.contains(part) && error.contains("13:00=2.5"), "{text}: {error}");
        }
    }
}
