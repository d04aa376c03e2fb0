//! What is to be done when: a queue ordered by time, each task at most once in it.

use std::collections::{BTreeMap, BTreeSet};

use tokio::time::Instant;

/// See the module. Tasks of the same moment come out in the order in which they went in.
#[derive(Debug)]
pub(super) struct Queue<T> {
    due: BTreeSet<(Instant, u64, T)>,
    place: BTreeMap<T, (Instant, u64)>,
    added: u64,
}

impl<T: Clone + Ord> Queue<T> {
    pub(super) fn new() -> Self {
        Self {
            due: BTreeSet::new(),
            place: BTreeMap::new(),
            added: 0,
        }
    }

    /// Has a task done at this moment, or earlier when that is already planned.
    pub(super) fn add(&mut self, task: T, at: Instant) {
        if let Some((planned, nth)) = self.place.get(&task).copied() {
            if planned <= at {
                return;
            }
            self.due.remove(&(planned, nth, task.clone()));
        }
        self.added += 1;
        self.due.insert((at, self.added, task.clone()));
        self.place.insert(task, (at, self.added));
    }

    /// Takes out the first task that is due.
    pub(super) fn pop(&mut self, now: Instant) -> Option<T> {
        if self.next()? > now {
            return None;
        }
        let (_, _, task) = self.due.pop_first()?;
        self.place.remove(&task);
        Some(task)
    }

    /// When the next task is due.
    pub(super) fn next(&self) -> Option<Instant> {
        self.due.first().map(|(at, _, _)| *at)
    }
}
