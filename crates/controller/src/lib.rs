//! The loop: watches fill the stores, the stores give Worlds, the planner gives plans, and plans are applied.
//!
//! ```text
//! watch ─► stores ─► observe ─► World ─► plan ─► audit ─► apply ─► API server
//!            ▲                                              │
//!            └────────── answers to our own writes ◄────────┘      (contract 3: never older than our own last write)
//! ```
//! The imperative shell: everything that waits, reads or writes is here, and no decision about a rollout is. Time, client
//! and metric providers come in through [`Context`], so that all of it runs in virtual time.

pub mod analysis_runs;
pub mod apply;
pub mod calls;
pub mod clock;
pub mod context;
pub mod events;
pub mod gate;
pub mod health;
pub mod kinds;
pub mod leader;
pub mod lean;
pub mod lease;
pub mod look;
pub mod metrics;
#[cfg(feature = "mutants")]
mod mutants;
pub mod observe;
pub mod packed;
pub mod queue;
pub mod reconcile;
pub mod stores;
pub mod table;
pub mod telling;
pub mod watch;

use std::{future::Future, sync::Arc};

use thiserror::Error;
use tokio::{sync::watch as channel, task::JoinSet};
use tracing::info;

pub use clock::Clock;
pub use context::{Audit, Config, Context, Decide, Election, OnRefusal};
pub use table::Key;

/// Why the controller ended by itself.
#[derive(Debug, Error)]
pub enum Error {
    /// A task that should never end did.
    #[error("the {0} task ended; this is a bug in Serin, please report it")]
    TaskEnded(&'static str),
}

/// Runs until `shutdown`: then no new work is begun, writes under way are finished, and the lease is given back.
///
/// # Errors
/// A task that should never end did; the process must not go on without it.
pub async fn run(ctx: Arc<Context>, shutdown: impl Future<Output = ()>) -> Result<(), Error> {
    let mut watches = JoinSet::new();
    watch::spawn(&mut watches, &ctx);
    let (leads, mut leading) = channel::channel(false);
    let (stop_leader, leader_stop) = channel::channel(false);
    // Kept here when nobody else does: without a sender the receiver would believe that nobody leads.
    let mut _always = None;
    // A set, because it ends with this function, however that ends.
    let mut leader = JoinSet::new();
    match ctx.config.election.clone() {
        Some(election) => {
            leader.spawn(leader::run(Arc::clone(&ctx), election, leads, leader_stop));
        }
        None => {
            ctx.calls.gate().open();
            ctx.calls.metrics().leading(true);
            leads.send_replace(true);
            _always = Some(leads);
        }
    }
    let mut shutdown = std::pin::pin!(shutdown);
    let mut ready = ctx.ready.subscribe();
    let result = loop {
        let begin = async {
            let _ = ready.wait_for(|r| *r).await;
            let _ = leading.wait_for(|l| *l).await;
        };
        tokio::select! {
            biased;
            () = &mut shutdown => break Ok(()),
            _ = watches.join_next() => break Err(Error::TaskEnded("watch")),
            () = ended(&mut leader) => break Err(Error::TaskEnded("leader election")),
            () = begin => {}
        }
        info!("Working");
        ctx.calls.gate().resume();
        let (stop, stopped) = channel::channel(false);
        let mut workers = start_workers(&ctx, &stopped);
        let end = tokio::select! {
            biased;
            () = &mut shutdown => Some(Ok(())),
            _ = watches.join_next() => Some(Err(Error::TaskEnded("watch"))),
            () = ended(&mut leader) => Some(Err(Error::TaskEnded("leader election"))),
            _ = workers.join_next() => Some(Err(Error::TaskEnded("worker"))),
            _ = leading.wait_for(|l| !*l) => None,
        };
        ctx.calls.gate().stop();
        stop.send_replace(true);
        while workers.join_next().await.is_some() {}
        ctx.run_states.clear();
        info!("Not working any more");
        if let Some(result) = end {
            break result;
        }
    };
    ctx.calls.gate().stop();
    ctx.events.drain().await;
    stop_leader.send_replace(true);
    while leader.join_next().await.is_some() {}
    result
}

/// Waits for the end of the election; for ever when there is none.
async fn ended(leader: &mut JoinSet<()>) {
    if leader.join_next().await.is_none() {
        std::future::pending::<()>().await;
    }
}

fn start_workers(ctx: &Arc<Context>, stopped: &channel::Receiver<bool>) -> JoinSet<()> {
    // Whatever happened while somebody else led, or before the start: look at everything once.
    let all = {
        let stores = ctx.stores();
        stores::Affected {
            rollouts: stores.rollouts.iter().map(|(key, _)| key.clone()).collect(),
            runs: stores.runs.iter().map(|(key, _)| key.clone()).collect(),
        }
    };
    ctx.enqueue(all, None);
    let mut workers = JoinSet::new();
    for _ in 0..ctx.config.workers.max(1) {
        let (own, mut stop) = (Arc::clone(ctx), stopped.clone());
        workers.spawn(async move {
            while let Some(key) = next(&own.queue, &mut stop).await {
                let done = reconcile::reconcile(&own, &key).await;
                own.queue.done(&key, done);
            }
        });
        let (own, mut stop) = (Arc::clone(ctx), stopped.clone());
        workers.spawn(async move {
            while let Some(key) = next(&own.runs, &mut stop).await {
                let done = analysis_runs::look(&own, &key).await;
                own.runs.done(&key, done);
            }
        });
    }
    workers
}

async fn next(queue: &queue::Queue<Key>, stop: &mut channel::Receiver<bool>) -> Option<Key> {
    tokio::select! {
        biased;
        _ = stop.wait_for(|s| *s) => None,
        key = queue.next() => Some(key),
    }
}
