//! All tests.

mod aborts;
mod definitions;
pub(crate) mod gate;
mod mistakes;
mod plugin;
mod recordings;
mod release;
mod resources;
mod revisions;

use crate::runner::Test;

/// Every test, in the order in which they begin: long ones first. `round` keeps repetitions apart.
pub(crate) fn all(round: usize) -> Vec<Test> {
    let mut all = Vec::new();
    all.extend(definitions::tests(round));
    all.extend(release::tests(round));
    all.extend(recordings::tests(round));
    all.extend(aborts::tests(round));
    all.extend(revisions::tests(round));
    all.extend(plugin::tests(round));
    all.extend(mistakes::tests(round));
    all
}
