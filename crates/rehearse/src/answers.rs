//! How pods answer: of so many requests, how many fail and how long they take. Random numbers come from the caller's seed.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use rand::rngs::SmallRng;
use rand_distr::{Binomial, Distribution as _, Poisson};

use crate::{
    assume::{Assumptions, Latency},
    fault::{Fault, FaultKind},
};

/// An answer that takes longer is slow.
const SLOW: f64 = 1.0;

/// Where durations are told apart, in seconds: every bound of every histogram that counts them. Ascending; the last one is
/// infinite.
#[derive(Clone, Debug, PartialEq)]
pub struct Bounds(Arc<[f64]>);

impl Bounds {
    /// Those of histograms, in any order.
    pub fn of(histograms: impl IntoIterator<Item = f64>) -> Self {
        let mut all: Vec<f64> = histograms.into_iter().chain([SLOW, f64::INFINITY]).collect();
        all.sort_by(f64::total_cmp);
        all.dedup();
        Self(all.into())
    }
}

/// Code of an answer that is none of the caller's fault.
const ERROR: u16 = 500;

/// What a container has counted since its start.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Counters {
    /// Answers by status code; only codes that there were.
    pub codes: BTreeMap<u16, u64>,
    /// Answers by the upper bounds that they are told apart by, not cumulative; none as long as nothing was counted.
    buckets: Vec<(f64, u64)>,
    /// Seconds of all answers together.
    pub seconds: f64,
}

impl Counters {
    /// All answers.
    pub fn count(&self) -> u64 {
        self.within(f64::INFINITY)
    }

    /// Answers that took at most so many seconds, one of the [`Bounds`].
    pub fn within(&self, seconds: f64) -> u64 {
        let within = self.buckets.iter().take_while(|(bound, _)| *bound <= seconds);
        within.map(|(_, n)| n).sum()
    }

    /// Answers that took longer than a second.
    pub fn slow(&self) -> u64 {
        self.count() - self.within(SLOW)
    }

    /// Answers that were errors.
    pub fn errors(&self) -> u64 {
        self.codes.get(&ERROR).copied().unwrap_or(0)
    }

    /// Adds what another one has counted.
    pub fn add(&mut self, other: &Self) {
        for (code, n) in &other.codes {
            *self.codes.entry(*code).or_default() += n;
        }
        if self.buckets.is_empty() {
            self.buckets.clone_from(&other.buckets);
        } else {
            for ((_, mine), (_, n)) in self.buckets.iter_mut().zip(&other.buckets) {
                *mine += n;
            }
        }
        self.seconds += other.seconds;
    }
}

/// Chances of one request.
#[derive(Clone, Debug)]
struct Chances {
    error: f64,
    /// Of each bucket.
    buckets: Vec<f64>,
    /// Mean of all answers, in seconds.
    mean: f64,
}

/// How one version answers.
#[derive(Debug)]
pub struct Answers {
    bounds: Bounds,
    latency: Latency,
    errors: f64,
    /// Those that strike requests.
    faults: Vec<Fault>,
    /// By which of the faults have begun.
    known: BTreeMap<Vec<bool>, Chances>,
}

impl Answers {
    /// The healthy version, or the new one with its faults.
    pub fn new(bounds: &Bounds, assumptions: &Assumptions, faults: &[Fault]) -> Self {
        Self {
            bounds: bounds.clone(),
            latency: assumptions.latency,
            errors: assumptions.errors,
            faults: faults
                .iter()
                .filter(|fault| fault.kind.strikes_requests())
                .cloned()
                .collect(),
            known: BTreeMap::new(),
        }
    }

    /// The answers of a pod that has run for so long to requests that arrive at random for a while: `expected` on average,
    /// `rate` a second.
    pub fn draw(&mut self, rng: &mut SmallRng, expected: f64, rate: f64, age: Duration) -> Counters {
        let mut out = Counters::default();
        let n = poisson(rng, expected);
        if n == 0 {
            return out;
        }
        let bounds = Arc::clone(&self.bounds.0);
        let chances = self.chances(age, rate);
        let errors = binomial(rng, n, chances.error);
        for (code, n) in [(200, n - errors), (ERROR, errors)] {
            if n > 0 {
                out.codes.insert(code, n);
            }
        }
        // One bucket after the other: of those that are left, a share that is left.
        let (mut left, mut rest) = (n, 1.0);
        for (bound, chance) in bounds.iter().zip(&chances.buckets) {
            let share = if rest > 0.0 {
                (chance / rest).clamp(0.0, 1.0)
            } else {
                1.0
            };
            let here = binomial(rng, left, share);
            out.buckets.push((*bound, here));
            left -= here;
            rest -= chance;
        }
        if let Some((_, last)) = out.buckets.last_mut() {
            *last += left;
        }
        out.seconds = chances.mean * n as f64;
        out
    }

    fn chances(&mut self, age: Duration, rate: f64) -> &Chances {
        let strikes = |fault: &Fault| age >= fault.after && (fault.above == 0.0 || rate > fault.above);
        let begun: Vec<bool> = self.faults.iter().map(strikes).collect();
        if !self.known.contains_key(&begun) {
            let chances = self.work_out(&begun);
            self.known.insert(begun.clone(), chances);
        }
        &self.known[&begun]
    }

    fn work_out(&self, begun: &[bool]) -> Chances {
        let active: Vec<&Fault> = self
            .faults
            .iter()
            .zip(begun)
            .filter_map(|(f, b)| b.then_some(f))
            .collect();
        let mut good = 1.0 - self.errors;
        for fault in &active {
            if let FaultKind::Errors(share) = fault.kind {
                good *= 1.0 - share * fault.share;
            }
        }
        let slower: Vec<&Fault> = active
            .into_iter()
            .filter(|fault| !matches!(fault.kind, FaultKind::Errors(_)))
            .collect();
        let mut before = 0.0;
        let share_of = |bound: &f64| {
            let within = within(self.latency, &slower, *bound);
            let share = (within - before).max(0.0);
            before = within;
            share
        };
        let buckets = self.bounds.0.iter().map(share_of).collect();
        Chances {
            error: 1.0 - good,
            buckets,
            mean: mean(self.latency, &slower),
        }
    }
}

/// The share of answers that take at most so long when each fault strikes its share of them, the first one first.
fn within(latency: Latency, faults: &[&Fault], seconds: f64) -> f64 {
    let Some((fault, rest)) = faults.split_last() else {
        return if seconds.is_infinite() {
            1.0
        } else {
            latency.share_within(seconds)
        };
    };
    let before = match fault.kind {
        FaultKind::SlowerBy(by) => seconds - by.as_secs_f64(),
        FaultKind::SlowerTimes(times) => seconds / times,
        _ => seconds,
    };
    let struck = if fault.share > 0.0 {
        within(latency, rest, before)
    } else {
        0.0
    };
    let spared = if fault.share < 1.0 {
        within(latency, rest, seconds)
    } else {
        0.0
    };
    fault.share * struck + (1.0 - fault.share) * spared
}

fn mean(latency: Latency, faults: &[&Fault]) -> f64 {
    faults.iter().fold(latency.mean(), |mean, fault| {
        let struck = match fault.kind {
            FaultKind::SlowerBy(by) => mean + by.as_secs_f64(),
            FaultKind::SlowerTimes(times) => mean * times,
            _ => mean,
        };
        fault.share * struck + (1.0 - fault.share) * mean
    })
}

/// A number of arrivals.
pub fn poisson(rng: &mut SmallRng, expected: f64) -> u64 {
    // An expectation of 0 or less has no distribution: nobody comes.
    Poisson::new(expected).map_or(0, |d| d.sample(rng).min(1e15) as u64)
}

fn binomial(rng: &mut SmallRng, n: u64, chance: f64) -> u64 {
    Binomial::new(n, chance.clamp(0.0, 1.0)).map_or(0, |d| d.sample(rng))
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng as _;

    use super::*;

    fn drawn(faults: &[&str], age: u64) -> Counters {
        let faults: Vec<Fault> = faults.iter().map(|f| f.parse().expect("a fault")).collect();
        let bounds = Bounds::of([0.05, 0.5]);
        let mut answers = Answers::new(&bounds, &Assumptions::default(), &faults);
        answers.draw(&mut SmallRng::seed_from_u64(1), 1e6, 30.0, Duration::from_secs(age))
    }

    fn share(counters: &Counters, seconds: f64) -> f64 {
        counters.within(seconds) as f64 / counters.count() as f64
    }

    #[test]
    fn a_healthy_version_answers_as_it_is_assumed() {
        let c = drawn(&[], 0);
        assert_eq!(c.codes.values().sum::<u64>(), c.count());
        assert!((c.errors() as f64 / c.count() as f64 - 0.001).abs() < 2e-4, "{c:?}");
        assert!((share(&c, 0.05) - 0.6266).abs() < 0.01, "{}", share(&c, 0.05));
        assert!((c.count() as f64 - 1e6).abs() < 5e3);
    }

    #[test]
    fn faults_strike_their_share_once_they_have_begun() {
        let rate = |c: &Counters| c.errors() as f64 / c.count() as f64;
        assert!((rate(&drawn(&["errors=30%"], 0)) - 0.3007).abs() < 0.005);
        assert!((rate(&drawn(&["errors=30%,share=10%"], 0)) - 0.031).abs() < 0.003);
        assert!(rate(&drawn(&["errors=30%,after=4m"], 239)) < 0.002);
        assert!(rate(&drawn(&["errors=30%,after=4m"], 240)) > 0.29);
        assert!(
            rate(&drawn(&["errors=30%,above=30"], 0)) < 0.002,
            "30 a second are not more than 30"
        );
        assert!(rate(&drawn(&["errors=30%,above=29"], 0)) > 0.29);
        assert!(share(&drawn(&["latency=+900ms"], 0), 0.5) < 0.001);
        assert!((share(&drawn(&["latency=+900ms,share=10%"], 0), 0.5) - 0.9).abs() < 0.01);
        assert!((share(&drawn(&["latency=x10"], 0), 0.5) - 0.6266).abs() < 0.01);
        // 0.9 s later and then twice: nothing takes less than 1.8 s.
        assert!(share(&drawn(&["latency=+900ms", "latency=x2"], 0), 1.0) < 0.001);
    }
}
