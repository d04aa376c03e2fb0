//! Time comes in here and nowhere else: the day's time of the machine in production, virtual time in tests.

use std::{
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::Duration,
};

use chrono::{DateTime, TimeDelta, Utc};
use tokio::time::Instant;

/// What time it is, and when on the runtime's own clock a point in time will be.
#[derive(Clone, Debug)]
pub enum Clock {
    /// The machine's clock.
    System,
    /// Starts at a given time and moves with the runtime's clock, which tests pause and advance.
    Virtual {
        /// The time at `started`.
        base: DateTime<Utc>,
        /// The runtime's clock at `base`.
        started: Instant,
        /// Seconds by which this machine's clock is ahead: tests make it jump.
        ahead: Arc<AtomicI64>,
    },
}

impl Clock {
    /// A clock that says `base` now and moves with the runtime.
    pub fn starting_at(base: DateTime<Utc>) -> Self {
        Self::skewed(base, Instant::now(), Arc::default())
    }

    /// A clock that says `base` at `started`, moves with the runtime, and is so many seconds ahead of that.
    pub fn skewed(base: DateTime<Utc>, started: Instant, ahead: Arc<AtomicI64>) -> Self {
        Self::Virtual { base, started, ahead }
    }

    /// The time of day.
    pub fn now(&self) -> DateTime<Utc> {
        match self {
            // The one place where the machine's clock is read; pure packages have no such function (arrows test).
            Self::System => Utc::now(),
            Self::Virtual { base, started, ahead } => {
                let passed = TimeDelta::from_std(started.elapsed()).unwrap_or(TimeDelta::MAX);
                *base + passed + TimeDelta::seconds(ahead.load(Ordering::SeqCst))
            }
        }
    }

    /// When `at` will be on the runtime's clock; now, if it has passed.
    pub fn instant(&self, at: DateTime<Utc>) -> Instant {
        let wait = (at - self.now()).to_std().unwrap_or(Duration::ZERO);
        // Far beyond the life of any process, and no overflow in the runtime's timers.
        Instant::now() + wait.min(Duration::from_secs(365 * 24 * 3600))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_virtual_clock_moves_with_the_runtime() {
        let base = DateTime::from_timestamp(1_000_000, 0).unwrap();
        let clock = Clock::starting_at(base);
        tokio::time::sleep(Duration::from_millis(1500)).await;
        assert_eq!(clock.now(), base + TimeDelta::milliseconds(1500));
        assert_eq!(
            clock.instant(base + TimeDelta::seconds(5)),
            Instant::now() + Duration::from_millis(3500)
        );
        assert_eq!(clock.instant(base), Instant::now(), "what has passed is due now");
    }
}
