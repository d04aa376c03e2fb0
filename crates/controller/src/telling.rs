//! Somebody who listens to what Rollouts are doing: the planner's explanation, told whenever it changes. For rehearsals and
//! playgrounds, which show it as it happens. Plans and audits are the shipped ones.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
};

use chrono::{DateTime, Utc};
use serin_audit::Finding;
use serin_model::{Plan, World};
use serin_planner::{Explanation, State, explain};

use crate::{
    context::{Audit, Context},
    table::Key,
};

/// What is told of a Rollout.
pub type Tell = Box<dyn Fn(&Key, &Explanation) + Send + Sync>;

/// The audit with a listener.
struct Listener {
    inner: Arc<dyn Audit>,
    tell: Tell,
    /// What was told last.
    last: Mutex<BTreeMap<Key, (State, String)>>,
}

impl Context {
    /// Tells every explanation that differs from the last one of its Rollout. What is true only until the next write is
    /// no news and is not told.
    #[must_use]
    pub fn telling(self, tell: Tell) -> Self {
        let inner = Arc::clone(&self.audit);
        self.with_audit(Arc::new(Listener {
            inner,
            tell,
            last: Mutex::default(),
        }))
    }
}

impl Audit for Listener {
    fn findings(&self, world: &World, plan: &Plan, now: DateTime<Utc>) -> Vec<Finding> {
        if plan.is_empty() {
            let explanation = explain(world, now);
            let metadata = &world.rollout.metadata;
            let [namespace, name] = [&metadata.namespace, &metadata.name].map(|t| t.clone().unwrap_or_default());
            let key = Key::new(namespace, name);
            let news = (explanation.state, explanation.what.clone());
            let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
            if news.0 != State::Acting && last.get(&key) != Some(&news) {
                last.insert(key.clone(), news);
                (self.tell)(&key, &explanation);
            }
        }
        self.inner.findings(world, plan, now)
    }
}
