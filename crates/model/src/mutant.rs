//! Deliberate bugs, for the question whether the simulation would notice them: `make simulate-mutants`.
//!
//! Each place that has one asks [`is`]. Without the feature `mutants`, which nothing but that target turns on, the answer
//! is a constant `false` and the bug is not in the program.

/// One deliberate bug.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mutant {
    /// Stable pods go as the step's weight says, whether that weight was written or not.
    StableDownBeforeWeight,
    /// A step counts as done before its weight or its scale is there.
    StepBeforeEffect,
    /// A process that was started when an abort stood goes on as if there were none.
    AbortForgottenByRestart,
    /// An analysis step ends while its run is still Running.
    PromotedWhileAnalysisRuns,
    /// The canary's weight rises as soon as pods are available, ready endpoints or not.
    WeightBeforeEndpoints,
    /// The version that was stable is scaled down at once.
    ScaleDownDelayIgnored,
    /// The answers to our own requests are not looked at: only the watch says what there is.
    WorldOlderThanOwnWrite,
    /// A status is written whole and without resourceVersion.
    StatusWithoutVersion,
    /// A leader goes on for a minute after the last renewal of its lease.
    LeaderAfterDeadline,
    /// Every process begins a pause that it finds anew.
    PauseAnewByRestart,
}

/// Whether this bug was chosen: never, without the feature.
#[cfg(not(feature = "mutants"))]
#[inline(always)]
pub const fn is(_: Mutant) -> bool {
    false
}

#[cfg(feature = "mutants")]
pub use chosen::{choose, chosen, is};

#[cfg(feature = "mutants")]
mod chosen {
    use std::sync::atomic::{AtomicU8, Ordering};

    use super::Mutant;

    /// Discriminant plus one; 0 is none.
    static CHOSEN: AtomicU8 = AtomicU8::new(0);

    /// Puts this bug, and no other, into everything that the process does from now on.
    pub fn choose(mutant: Option<Mutant>) {
        CHOSEN.store(mutant.map_or(0, |m| m as u8 + 1), Ordering::SeqCst);
    }

    /// Which bug was chosen.
    pub fn chosen() -> Option<Mutant> {
        Mutant::ALL.into_iter().find(|mutant| is(*mutant))
    }

    /// Whether this bug was chosen.
    pub fn is(mutant: Mutant) -> bool {
        CHOSEN.load(Ordering::Relaxed) == mutant as u8 + 1
    }

    impl Mutant {
        /// All of them, in the order of the table that `make simulate-mutants` prints.
        pub const ALL: [Self; 10] = [
            Self::StableDownBeforeWeight,
            Self::StepBeforeEffect,
            Self::AbortForgottenByRestart,
            Self::PromotedWhileAnalysisRuns,
            Self::WeightBeforeEndpoints,
            Self::ScaleDownDelayIgnored,
            Self::WorldOlderThanOwnWrite,
            Self::StatusWithoutVersion,
            Self::LeaderAfterDeadline,
            Self::PauseAnewByRestart,
        ];

        /// How it is called on a command line.
        pub fn name(self) -> &'static str {
            match self {
                Self::StableDownBeforeWeight => "stable-down-before-weight",
                Self::StepBeforeEffect => "step-before-effect",
                Self::AbortForgottenByRestart => "abort-forgotten-by-restart",
                Self::PromotedWhileAnalysisRuns => "promoted-while-analysis-runs",
                Self::WeightBeforeEndpoints => "weight-before-endpoints",
                Self::ScaleDownDelayIgnored => "scale-down-delay-ignored",
                Self::WorldOlderThanOwnWrite => "world-older-than-own-write",
                Self::StatusWithoutVersion => "status-without-version",
                Self::LeaderAfterDeadline => "leader-after-deadline",
                Self::PauseAnewByRestart => "pause-anew-by-restart",
            }
        }

        /// The one of that name.
        pub fn of_name(name: &str) -> Option<Self> {
            Self::ALL.into_iter().find(|mutant| mutant.name() == name)
        }
    }
}

#[cfg(all(test, feature = "mutants"))]
mod tests {
    use super::*;

    #[test]
    fn exactly_the_chosen_bug_is_there_and_each_is_found_by_its_name() {
        for chosen in Mutant::ALL {
            choose(Some(chosen));
            assert!(Mutant::ALL.into_iter().all(|mutant| is(mutant) == (mutant == chosen)));
            assert_eq!(super::chosen(), Some(chosen));
            assert_eq!(Mutant::of_name(chosen.name()), Some(chosen));
        }
        choose(None);
        assert!(!Mutant::ALL.into_iter().any(is));
        assert_eq!(Mutant::of_name("none"), None);
    }
}
