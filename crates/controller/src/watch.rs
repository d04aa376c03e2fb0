//! Keeps the stores up to date: one watch per kind, begun when first needed, restarted for ever.

use std::{sync::Arc, time::Duration};

use futures::StreamExt;
use kube::{
    Api,
    runtime::{WatchStreamExt, utils::Backoff, watcher},
};
use tokio::task::JoinSet;
use tracing::{debug, info, warn};

use crate::{
    context::{Config, Context},
    kinds::{ClusterTemplate, Kind, Lean, NamespacedTemplate, RolloutEntry, RouteEntry, RunEntry, SliceView},
    stores::{Stored, Watch},
};

/// Waits between tries of a watch: 0.1 s doubling to 30 s. Without jitter, so that the same seed gives the same trace
/// (design contract 9); one process has eight watches, no herd to break up.
#[derive(Clone, Debug)]
struct Steady {
    next: Duration,
}

const FIRST_WAIT: Duration = Duration::from_millis(100);
const LAST_WAIT: Duration = Duration::from_secs(30);

impl Default for Steady {
    fn default() -> Self {
        Self { next: FIRST_WAIT }
    }
}

impl Iterator for Steady {
    type Item = Duration;

    fn next(&mut self) -> Option<Duration> {
        let wait = self.next;
        self.next = (wait * 2).min(LAST_WAIT);
        Some(wait)
    }
}

impl Backoff for Steady {
    fn reset(&mut self) {
        self.next = FIRST_WAIT;
    }
}

/// Starts all watches.
pub fn spawn(tasks: &mut JoinSet<()>, ctx: &Arc<Context>) {
    tasks.spawn(run::<RolloutEntry>(Arc::clone(ctx)));
    tasks.spawn(run::<serin_model::ReplicaSetView>(Arc::clone(ctx)));
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
    let stream = watcher(api, config).backoff(Steady::default());
    let mut stream = std::pin::pin!(stream);
    while let Some(event) = stream.next().await {
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
