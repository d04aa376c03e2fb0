//! All tests.

mod aborts;
pub(crate) mod gate;
mod release;

use crate::runner::Test;

/// Every test, in the order in which they begin. `round` keeps repetitions apart.
pub(crate) fn all(round: usize) -> Vec<Test> {
    let mut all = Vec::new();
    all.extend(release::tests(round));
    all.extend(aborts::tests(round));
    all
}
