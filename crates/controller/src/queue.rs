//! The work queue: keys ordered by (due, key), each in the hands of one worker at a time.
//!
//! Our own, and not kube's, because kube's keeps hashed maps: the order of keys that are due at the same instant would
//! differ from run to run (design contract 9).

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Debug,
    sync::Mutex,
    time::Duration,
};

use tokio::{
    sync::Notify,
    time::{Instant, sleep_until},
};

/// First wait after a failure; doubles with each further one (compat 7.2).
const FIRST_RETRY: Duration = Duration::from_millis(1);
/// Longest wait after a failure (compat 7.2).
const LAST_RETRY: Duration = Duration::from_secs(10);

/// See the module.
#[derive(Debug)]
pub struct Queue<K> {
    state: Mutex<State<K>>,
    changed: Notify,
}

#[derive(Debug)]
struct State<K> {
    /// Waiting keys in the order in which they are handed out.
    due: BTreeSet<(Instant, K)>,
    /// The same keys, each with its instant.
    when: BTreeMap<K, Instant>,
    /// Keys in the hands of a worker, with the instant for which they were asked again meanwhile.
    running: BTreeMap<K, Option<Instant>>,
    /// Failures in a row.
    failures: BTreeMap<K, u32>,
}

/// How the work on a key ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Done {
    /// Nothing to do until something changes.
    Idle,
    /// To be looked at again at this instant.
    At(Instant),
    /// Failed: again after a wait that doubles from 1 ms to 10 s.
    Retry,
}

impl<K: Ord + Clone + Debug> Default for Queue<K> {
    fn default() -> Self {
        Self {
            state: Mutex::new(State {
                due: BTreeSet::new(),
                when: BTreeMap::new(),
                running: BTreeMap::new(),
                failures: BTreeMap::new(),
            }),
            changed: Notify::new(),
        }
    }
}

impl<K: Ord + Clone + Debug> Queue<K> {
    fn state(&self) -> std::sync::MutexGuard<'_, State<K>> {
        // A worker that panicked cannot have left it half changed: no method runs foreign code while it holds the lock.
        self.state.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// Hands the key out at `at` or earlier, if it was to be handed out earlier already. While a worker has it, it is
    /// handed out again once that worker is done.
    pub fn add(&self, key: K, at: Instant) {
        self.state().schedule(key, at);
        self.changed.notify_one();
    }

    /// Waits for the next key. The caller has it until it says [`Queue::done`].
    pub async fn next(&self) -> K {
        loop {
            let changed = self.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            let first = {
                let mut state = self.state();
                match state.due.first().cloned() {
                    Some((at, key)) if at <= Instant::now() => {
                        state.due.remove(&(at, key.clone()));
                        state.when.remove(&key);
                        state.running.insert(key.clone(), None);
                        let more = !state.due.is_empty();
                        drop(state);
                        if more {
                            // One notification may stand for several keys: pass it on to the next worker.
                            self.changed.notify_one();
                        }
                        return key;
                    }
                    first => first.map(|(at, _)| at),
                }
            };
            match first {
                Some(at) => tokio::select! {
                    biased;
                    () = changed => {}
                    () = sleep_until(at) => {}
                },
                None => changed.await,
            }
        }
    }

    /// Gives a key back.
    pub fn done(&self, key: &K, how: Done) {
        let mut state = self.state();
        let again = state.running.remove(key).flatten();
        let at = match how {
            Done::Idle => {
                state.failures.remove(key);
                None
            }
            Done::At(at) => {
                state.failures.remove(key);
                Some(at)
            }
            Done::Retry => {
                let failures = state.failures.entry(key.clone()).or_default();
                let wait = FIRST_RETRY.saturating_mul(1 << (*failures).min(20)).min(LAST_RETRY);
                *failures += 1;
                Some(Instant::now() + wait)
            }
        };
        for at in [again, at].into_iter().flatten() {
            state.schedule(key.clone(), at);
        }
        drop(state);
        self.changed.notify_one();
    }

    /// Forgets a key that no longer exists.
    pub fn forget(&self, key: &K) {
        let mut state = self.state();
        state.failures.remove(key);
        if let Some(at) = state.when.remove(key) {
            state.due.remove(&(at, key.clone()));
        }
    }

    /// How many keys are due now or overdue.
    pub fn depth(&self) -> usize {
        let now = Instant::now();
        self.state().due.iter().take_while(|(at, _)| *at <= now).count()
    }
}

impl<K: Ord + Clone> State<K> {
    fn schedule(&mut self, key: K, at: Instant) {
        if let Some(again) = self.running.get_mut(&key) {
            *again = Some(again.map_or(at, |old| old.min(at)));
            return;
        }
        match self.when.get(&key).copied() {
            Some(old) if old <= at => return,
            Some(old) => {
                self.due.remove(&(old, key.clone()));
            }
            None => {}
        }
        self.when.insert(key.clone(), at);
        self.due.insert((at, key));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    async fn take(queue: &Queue<&'static str>) -> (&'static str, Duration, Instant) {
        let before = Instant::now();
        let key = queue.next().await;
        (key, before.elapsed(), Instant::now())
    }

    #[tokio::test(start_paused = true)]
    async fn keys_come_by_due_time_and_then_by_name() {
        let queue = Queue::default();
        let now = Instant::now();
        for (key, at) in [
            ("c", now),
            ("b", now + SECOND),
            ("z", now),
            ("a", now + SECOND),
            ("d", now),
        ] {
            queue.add(key, at);
        }
        let mut order = Vec::new();
        for _ in 0..5 {
            let key = queue.next().await;
            order.push((key, now.elapsed().as_secs()));
            queue.done(&key, Done::Idle);
        }
        assert_eq!(order, [("c", 0), ("d", 0), ("z", 0), ("a", 1), ("b", 1)]);
    }

    #[tokio::test(start_paused = true)]
    async fn the_earliest_of_several_wishes_counts() {
        let queue = Queue::default();
        let now = Instant::now();
        queue.add("a", now + 5 * SECOND);
        queue.add("a", now + 2 * SECOND);
        queue.add("a", now + 9 * SECOND);
        assert_eq!(take(&queue).await.1, 2 * SECOND);
        queue.done(&"a", Done::Idle);
        assert!(
            tokio::time::timeout(60 * SECOND, queue.next()).await.is_err(),
            "handed out once"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_key_is_in_one_hand_at_a_time_and_comes_back_when_asked_for_meanwhile() {
        let queue = Queue::default();
        queue.add("a", Instant::now());
        queue.next().await;
        queue.add("a", Instant::now());
        assert!(
            tokio::time::timeout(SECOND, queue.next()).await.is_err(),
            "still in the first hand"
        );
        queue.done(&"a", Done::At(Instant::now() + 60 * SECOND));
        assert_eq!(
            take(&queue).await.1,
            Duration::ZERO,
            "the wish made meanwhile comes first"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn failures_wait_longer_and_longer_up_to_ten_seconds_until_a_success() {
        let queue = Queue::default();
        queue.add("a", Instant::now());
        queue.next().await;
        let mut waits = Vec::new();
        for _ in 0..16 {
            queue.done(&"a", Done::Retry);
            waits.push(take(&queue).await.1.as_millis());
        }
        assert_eq!(waits[..6], [1, 2, 4, 8, 16, 32]);
        assert_eq!(waits[13..], [8192, 10_000, 10_000]);
        queue.done(&"a", Done::At(Instant::now()));
        queue.next().await;
        queue.done(&"a", Done::Retry);
        assert_eq!(take(&queue).await.1.as_millis(), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn one_burst_of_wishes_wakes_all_workers() {
        let queue = std::sync::Arc::new(Queue::default());
        let mut workers = tokio::task::JoinSet::new();
        for _ in 0..3 {
            let queue = std::sync::Arc::clone(&queue);
            workers.spawn(async move { queue.next().await });
        }
        tokio::task::yield_now().await;
        for key in ["a", "b", "c"] {
            queue.add(key, Instant::now());
        }
        let mut got = Vec::new();
        while let Some(key) = tokio::time::timeout(SECOND, workers.join_next()).await.unwrap() {
            got.push(key.unwrap());
        }
        got.sort_unstable();
        assert_eq!(got, ["a", "b", "c"]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_forgotten_key_is_not_handed_out() {
        let queue = Queue::default();
        queue.add("a", Instant::now());
        queue.forget(&"a");
        assert_eq!(queue.depth(), 0);
        assert!(tokio::time::timeout(SECOND, queue.next()).await.is_err());
    }
}
