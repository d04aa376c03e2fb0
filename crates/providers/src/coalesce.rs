//! Same question, same second: one request (design contract 8). All who ask wait for the same answer; whoever is dropped
//! meanwhile does not take the request with it.

use std::{
    collections::BTreeMap,
    future::Future,
    sync::{Mutex, PoisonError},
};

use futures::{
    FutureExt as _,
    future::{BoxFuture, Shared},
};

/// Answers are shared for this many seconds, counted on the askers' clock.
const KEPT_SECONDS: i64 = 2;

/// A question that several wait for.
pub(crate) type SharedAnswer<T> = Shared<BoxFuture<'static, T>>;

/// Shares the futures of equal keys within one second.
pub(crate) struct Coalesce<K, T: Clone> {
    shared: Mutex<BTreeMap<(i64, K), SharedAnswer<T>>>,
}

impl<K: Ord, T: Clone> Default for Coalesce<K, T> {
    fn default() -> Self {
        Self {
            shared: Mutex::default(),
        }
    }
}

impl<K: Ord, T: Clone + Send + Sync + 'static> Coalesce<K, T> {
    /// The future that answers `key` for this second; `make` is called when there is none yet.
    pub(crate) fn get<F>(&self, second: i64, key: K, make: impl FnOnce() -> F) -> SharedAnswer<T>
    where
        F: Future<Output = T> + Send + 'static,
    {
        // Nothing in here panics while the lock is held, and a map of futures is never half changed.
        let mut shared = self.shared.lock().unwrap_or_else(PoisonError::into_inner);
        shared.retain(|(asked, _), _| (asked - second).abs() < KEPT_SECONDS);
        shared
            .entry((second, key))
            .or_insert_with(|| make().boxed().shared())
            .clone()
    }
}
