//! Telling many waiting tasks that something changed, in the order in which they began to wait. It may not know what
//! changed.
//!
//! tokio's watch channel wakes its receivers in an order that it draws at random, and a seed could not be replayed then.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use tokio::sync::Notify;

#[derive(Debug, Default)]
struct Shared {
    count: AtomicU64,
    notify: Notify,
}

/// The side that tells.
#[derive(Debug, Default)]
pub(crate) struct Signal(Arc<Shared>);

impl Signal {
    /// Wakes everybody who waits; who does not wait yet will not wait next time.
    pub(crate) fn fire(&self) {
        self.0.count.fetch_add(1, Ordering::SeqCst);
        self.0.notify.notify_waiters();
    }

    pub(crate) fn subscribe(&self) -> Changes {
        Changes {
            seen: self.0.count.load(Ordering::SeqCst),
            shared: Arc::clone(&self.0),
        }
    }
}

/// The side that waits.
#[derive(Clone, Debug)]
pub struct Changes {
    shared: Arc<Shared>,
    seen: u64,
}

impl Changes {
    /// Waits for a change that was neither waited for nor marked as seen yet. May be dropped at any time.
    pub async fn changed(&mut self) {
        loop {
            // Enlisted before looking, so that nothing is missed between the two.
            let notified = self.shared.notify.notified();
            tokio::pin!(notified);
            notified.as_mut().enable();
            let count = self.shared.count.load(Ordering::SeqCst);
            if count != self.seen {
                self.seen = count;
                return;
            }
            notified.await;
        }
    }

    /// Takes everything until now as seen.
    pub fn mark_unchanged(&mut self) {
        self.seen = self.shared.count.load(Ordering::SeqCst);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn those_who_wait_are_woken_in_the_order_in_which_they_came() {
        let signal = Signal::default();
        let (tell, mut told) = tokio::sync::mpsc::unbounded_channel();
        let tasks: Vec<_> = (0..20)
            .map(|n| {
                let (mut changes, tell) = (signal.subscribe(), tell.clone());
                tokio::spawn(async move {
                    changes.changed().await;
                    tell.send(n)
                })
            })
            .collect();
        tokio::task::yield_now().await;
        signal.fire();
        for task in tasks {
            task.await.unwrap().unwrap();
        }
        drop(tell);
        let mut order = Vec::new();
        while let Some(n) = told.recv().await {
            order.push(n);
        }
        assert_eq!(order, (0..20).collect::<Vec<_>>());
    }

    #[tokio::test]
    async fn a_change_before_the_wait_is_not_missed_and_one_that_is_seen_is_not_waited_for() {
        let signal = Signal::default();
        let mut changes = signal.subscribe();
        signal.fire();
        changes.changed().await;
        signal.fire();
        changes.mark_unchanged();
        assert!(futures::FutureExt::now_or_never(changes.changed()).is_none());
    }
}
