//! What people would be told of the release while it goes on: the planner's explanation, noted whenever it changes. Listens
//! where plans are audited, and leaves the audit itself to the shipped one.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use chrono::{DateTime, Utc};
use serin_audit::Finding;
use serin_controller::Audit;
use serin_model::{Plan, World};
use serin_planner::{Explanation, State, explain};
use tokio::time::Instant;

/// The explanations of one replay, each from its moment on.
pub type Told = Arc<Mutex<Vec<(Duration, Explanation)>>>;

/// The audit with a listener.
pub struct Listener {
    /// The shipped audit.
    pub inner: Arc<dyn Audit>,
    /// Start of the replay.
    pub started: Instant,
    /// What was told so far.
    pub told: Told,
}

impl Audit for Listener {
    fn findings(&self, world: &World, plan: &Plan, now: DateTime<Utc>) -> Vec<Finding> {
        // What is true only until the next write is no news.
        if plan.is_empty() {
            let explanation = explain(world, now);
            let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
            let is_news = told
                .last()
                .is_none_or(|(_, last)| (last.state, &last.what) != (explanation.state, &explanation.what));
            if is_news && explanation.state != State::Acting {
                told.push((self.started.elapsed(), explanation));
            }
        }
        self.inner.findings(world, plan, now)
    }
}
