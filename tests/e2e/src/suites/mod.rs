//! All tests.

mod aborts;
mod audit;
mod check;
mod contention;
mod definitions;
mod field;
pub(crate) mod gate;
mod mistakes;
mod observability;
mod outages;
mod plugin;
mod quiet;
mod recordings;
mod rehearsed;
mod release;
mod resources;
mod restarts;
mod revisions;

use crate::runner::Test;

/// Every test, in the order in which they begin: long ones first. `round` keeps repetitions apart.
pub(crate) fn all(round: usize) -> Vec<Test> {
    let suites = [
        definitions::tests,
        quiet::tests,
        release::tests,
        field::tests,
        recordings::tests,
        aborts::tests,
        revisions::tests,
        plugin::tests,
        observability::tests,
        mistakes::tests,
        contention::tests,
        rehearsed::tests,
        restarts::tests,
        outages::tests,
        check::tests,
        audit::tests,
    ];
    suites.into_iter().flat_map(|tests| tests(round)).collect()
}
