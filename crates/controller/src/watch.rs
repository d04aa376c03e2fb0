//! Keeps the stores up to date: one watch per kind, begun when first needed, restarted for ever.

use std::{sync::Arc, time::Duration};

use futures::StreamExt;
use kube::{Api, runtime::watcher};
use tokio::{task::JoinSet, time::Instant};
use tracing::{debug, info, warn};

use crate::{
    context::{Config, Context},
    kinds::{ClusterTemplate, Kind, Lean, NamespacedTemplate, RolloutEntry, RouteEntry, RunEntry, SliceView},
    packed::PackedReplicaSet,
    stores::{Stored, Watch},
};

/// Waits between tries of a watch: 0.1 s doubling to 30 s, until a list is complete or the watch tells something. Not
/// kube's `StreamBackoff`: to that a list that begins is a success already, so one that always fails would be asked for ten
/// times a second for ever. Without jitter, so that the same seed gives the same trace (design contract 9); one process has
/// eight watches, no herd to break up.
#[derive(Clone, Debug)]
struct Pace {
    next: Duration,
    /// When the last wait ended.
    since: Option<Instant>,
}

const FIRST_WAIT: Duration = Duration::from_millis(100);
const LAST_WAIT: Duration = Duration::from_secs(30);
/// A watch that has nothing to tell for this long and does not fail either works.
const WORKS: Duration = Duration::from_secs(60);

impl Default for Pace {
    fn default() -> Self {
        Self {
            next: FIRST_WAIT,
            since: None,
        }
    }
}

impl Pace {
    /// How long to wait after a failure at `now`.
    fn failed(&mut self, now: Instant) -> Duration {
        if self.since.is_some_and(|since| now.duration_since(since) >= WORKS) {
            self.next = FIRST_WAIT;
        }
        let wait = self.next;
        self.next = (wait * 2).min(LAST_WAIT);
        self.since = Some(now + wait);
        wait
    }

    fn worked(&mut self) {
        *self = Self::default();
    }
}

/// Starts all watches.
pub fn spawn(tasks: &mut JoinSet<()>, ctx: &Arc<Context>) {
    tasks.spawn(run::<RolloutEntry>(Arc::clone(ctx)));
    tasks.spawn(run::<PackedReplicaSet>(Arc::clone(ctx)));
    tasks.spawn(run::<serin_model::ServiceView>(Arc::clone(ctx)));
    tasks.spawn(run::<SliceView>(Arc::clone(ctx)));
    tasks.spawn(run::<RunEntry>(Arc::clone(ctx)));
    tasks.spawn(run::<NamespacedTemplate>(Arc::clone(ctx)));
    if ctx.config.namespaced {
        // No rights beyond the namespace: as upstream, templates of the cluster do not exist then (compat 7.1).
        set(
            ctx,
            Kind::ClusterAnalysisTemplate,
            Watch::Forbidden("disabled by --namespaced".to_owned()),
        );
    } else {
        tasks.spawn(run::<ClusterTemplate>(Arc::clone(ctx)));
    }
    tasks.spawn(run::<RouteEntry>(Arc::clone(ctx)));
}

/// Which objects of a kind concern this controller at all.
fn labels(kind: Kind, config: &Config) -> Option<String> {
    match kind {
        // Objects with an instance id belong to the controller of that id (compat 2.1.6).
        Kind::Rollout | Kind::AnalysisRun | Kind::AnalysisTemplate | Kind::ClusterAnalysisTemplate => {
            let id = &config.settings.instance_id;
            let label = serin_api::INSTANCE_ID_LABEL;
            Some(if id.is_empty() {
                format!("!{label}")
            } else {
                format!("{label}={id}")
            })
        }
        Kind::ReplicaSet => Some(serin_api::HASH_LABEL.to_owned()),
        Kind::Service | Kind::EndpointSlice | Kind::HttpRoute => None,
    }
}

fn set(ctx: &Context, kind: Kind, watch: Watch) {
    let mut stores = ctx.stores();
    stores.watches.insert(kind, watch);
    let ready = Kind::ALL.iter().all(|kind| match stores.watch(*kind) {
        Watch::Listed => true,
        Watch::Idle => !stores.needs(*kind) && stores.watch(Kind::Rollout) == Watch::Listed,
        Watch::Listing => false,
        // Some clusters have no Gateway API, some give no right to read EndpointSlices; without the rest nothing works.
        Watch::NotServed | Watch::Forbidden(_) => {
            matches!(
                kind,
                Kind::HttpRoute | Kind::EndpointSlice | Kind::ClusterAnalysisTemplate
            )
        }
    });
    drop(stores);
    // Readiness is about the first lists; later relists do not take it back.
    ctx.ready.send_if_modified(|was| {
        let changed = ready && !*was;
        *was |= ready;
        changed
    });
}

async fn run<T: Stored>(ctx: Arc<Context>) {
    let kind = T::KIND;
    loop {
        let wanted = ctx.needs.notified();
        tokio::pin!(wanted);
        wanted.as_mut().enable();
        if ctx.stores().needs(kind) {
            break;
        }
        wanted.await;
    }
    set(&ctx, kind, Watch::Listing);
    let resource = kind.resource();
    let client = ctx.calls.client().clone();
    let api: Api<Lean<T>> = match (&ctx.config.namespace, kind) {
        (Some(namespace), k) if k != Kind::ClusterAnalysisTemplate => {
            Api::namespaced_with(client, namespace, &resource)
        }
        _ => Api::all_with(client, &resource),
    };
    let config = watcher::Config {
        label_selector: labels(kind, &ctx.config),
        ..watcher::Config::default()
    };
    let mut pace = Pace::default();
    let mut stream = std::pin::pin!(watcher(api, config));
    while let Some(event) = stream.next().await {
        let mut wait = None;
        match &event {
            Ok(watcher::Event::InitDone | watcher::Event::Apply(_) | watcher::Event::Delete(_)) => pace.worked(),
            Ok(watcher::Event::Init | watcher::Event::InitApply(_)) => {}
            Err(_) => wait = Some(pace.failed(Instant::now())),
        }
        match event {
            Ok(watcher::Event::Init) => T::table(&mut ctx.stores()).begin_listing(),
            Ok(watcher::Event::InitApply(object) | watcher::Event::Apply(object)) => {
                let affected = ctx.stores().observe(object);
                ctx.enqueue(affected, None);
            }
            Ok(watcher::Event::Delete(object)) => {
                let affected = ctx.stores().gone::<T>(&object.meta.key(), &object.meta.version());
                ctx.enqueue(affected, None);
            }
            Ok(watcher::Event::InitDone) => {
                let affected = ctx.stores().end_listing::<T>();
                ctx.enqueue(affected, None);
                listed::<T>(&ctx);
            }
            Err(error) => failed(&ctx, kind, &error),
        }
        if kind == Kind::Rollout {
            ctx.needs.notify_waiters();
        }
        if let Some(wait) = wait {
            // Nothing is asked meanwhile: the watcher works only while it is polled.
            tokio::time::sleep(wait).await;
        }
    }
}

fn listed<T: Stored>(ctx: &Context) {
    let kind = T::KIND;
    let (before, count) = {
        let mut stores = ctx.stores();
        let before = stores.watch(kind);
        (before, T::table(&mut stores).len())
    };
    set(ctx, kind, Watch::Listed);
    if before != Watch::Listed {
        info!(kind = kind.name(), count, "Listed");
        let affected = ctx.stores().waiting_for(kind);
        ctx.enqueue(affected, None);
    }
}

fn failed(ctx: &Context, kind: Kind, error: &watcher::Error) {
    use watcher::Error::{InitialListFailed, WatchFailed, WatchStartFailed};
    let status = match error {
        InitialListFailed(kube::Error::Api(s))
        | WatchStartFailed(kube::Error::Api(s))
        | WatchFailed(kube::Error::Api(s)) => Some(s),
        _ => None,
    };
    let state = match status.map(|s| s.code) {
        Some(404) => Watch::NotServed,
        Some(403) => Watch::Forbidden(status.map(|s| s.message.clone()).unwrap_or_default()),
        _ => {
            // The history that the API server keeps is short: an expired watch is normal.
            debug!(kind = kind.name(), error = %crate::calls::chain(error), "Watch interrupted");
            return;
        }
    };
    if ctx.stores().watch(kind) == state {
        return;
    }
    match &state {
        Watch::NotServed => warn!(
            kind = kind.name(),
            "The API server does not serve this kind; will look again"
        ),
        _ => {
            warn!(kind = kind.name(), error = %crate::calls::chain(error), "Not allowed to read this kind; will try again");
        }
    }
    set(ctx, kind, state);
    let affected = ctx.stores().waiting_for(kind);
    ctx.enqueue(affected, None);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_to_half_a_minute_until_something_worked() {
        let now = Instant::now();
        let mut pace = Pace::default();
        let waits: Vec<u128> = (0..11).map(|_| pace.failed(now).as_millis()).collect();
        let expected = [100, 200, 400, 800, 1_600, 3_200, 6_400, 12_800, 25_600, 30_000, 30_000];
        assert_eq!(waits, expected);
        pace.worked();
        assert_eq!(pace.failed(now), FIRST_WAIT);
    }

    #[test]
    fn a_quiet_watch_that_breaks_after_a_long_time_is_begun_again_at_once() {
        let mut now = Instant::now();
        let mut pace = Pace::default();
        for _ in 0..5 {
            now += pace.failed(now);
        }
        now += WORKS - Duration::from_millis(1);
        assert_eq!(pace.failed(now), Duration::from_millis(3_200));
        now += Duration::from_millis(3_200) + WORKS;
        assert_eq!(pace.failed(now), FIRST_WAIT);
    }
}
