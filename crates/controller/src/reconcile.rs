//! One Rollout, from what is known of it to what is done about it. The steps are those of design.md section 2:
//! 1 observe, 2 validate, 3 plan, 4 audit, 5 apply, 6 status, 7 sleep until the plan's `wake_at`.

mod held;

use std::{
    collections::BTreeSet,
    panic::{AssertUnwindSafe, catch_unwind},
    time::Duration,
};

use serde_json::Value;
use serin_model::{Event, Plan};
use tokio::time::Instant;
use tracing::{debug, error, info, warn};

use crate::{
    apply::{Stopped, apply, refresh, take_in},
    calls::{Format, Refusal, Target},
    context::{Context, Memory},
    events::{Record, Subject},
    kinds::{Kind, Undecodable},
    observe::Observed,
    queue::Done,
    table::Key,
};

/// Passes over one Rollout without a rest. More means that planner and cluster do not agree on what was done.
const MAX_PASSES: usize = 50;
/// Conflicts in a row before the retries slow down.
const MAX_CONFLICTS: usize = 5;
/// How long a refused write of a route is believed before it is tried again.
const ROUTE_RETRY: Duration = Duration::from_secs(10);

/// A warning that is gone for less than this and comes back is still the same one.
const FLICKER: Duration = Duration::from_secs(60);
/// A failure of ours that lasts is recorded again after this.
const COMPLAIN_AGAIN: Duration = Duration::from_secs(300);

/// Works on the Rollout until there is nothing to write, and says when to look again.
pub async fn reconcile(ctx: &Context, key: &Key) -> Done {
    let began = Instant::now();
    let done = passes(ctx, key).await;
    ctx.calls
        .metrics()
        .reconciled(key, began.elapsed(), done == Done::Retry);
    done
}

async fn passes(ctx: &Context, key: &Key) -> Done {
    let mut conflicts = 0;
    for pass in 0..MAX_PASSES {
        if ctx.calls.gate().is_stopping() || !ctx.calls.gate().is_open() {
            return Done::Idle;
        }
        match one_pass(ctx, key).await {
            Pass::Rest(done) => return done,
            Pass::Again => conflicts = 0,
            Pass::Conflict => {
                conflicts += 1;
                if conflicts > MAX_CONFLICTS {
                    debug!(rollout = %key, pass, "Many conflicts; slowing down");
                    return Done::Retry;
                }
            }
        }
    }
    error!(rollout = %key, passes = MAX_PASSES, "The plan never becomes empty; this is a bug in Serin, please report it");
    Done::At(Instant::now() + Duration::from_secs(10))
}

enum Pass {
    /// Nothing more to do now.
    Rest(Done),
    /// Something was written: the World is another one.
    Again,
    /// Something had changed meanwhile.
    Conflict,
}

async fn one_pass(ctx: &Context, key: &Key) -> Pass {
    // 1. Observe.
    let memory = remembered(ctx, key);
    let observed = ctx.stores().world(key, &ctx.config.settings, &memory);
    let now = ctx.clock.now();
    // 2. Validate: what could not be understood never becomes a World.
    let world = match observed {
        Observed::Gone => {
            ctx.forget(key);
            return Pass::Rest(release_services(ctx, key).await);
        }
        Observed::NotReady(kind) => {
            debug!(rollout = %key, kind = kind.name(), "Waiting for the first list");
            ctx.needs.notify_waiters();
            // The end of the list wakes the Rollout.
            return Pass::Rest(Done::Idle);
        }
        Observed::Undecodable(bad) => return undecodable(ctx, key, &bad).await,
        Observed::World(world) => world,
    };
    #[cfg(feature = "mutants")]
    let world = crate::mutants::distort(ctx, key, world, now);
    if world.rollout.metadata.deletion_timestamp.is_some() {
        return Pass::Rest(Done::Idle);
    }
    let subject = Subject {
        kind: "Rollout",
        key: key.clone(),
        uid: world.rollout.metadata.uid.clone().unwrap_or_default(),
        resource_version: world.rollout.metadata.resource_version.clone().unwrap_or_default(),
    };
    // 3. Plan. A panic in it is a bug that must not reach other Rollouts.
    let plan = match catch_unwind(AssertUnwindSafe(|| ctx.decide.plan(&world, now))) {
        Ok(plan) => plan,
        Err(_) => {
            error!(rollout = %key, "The planner panicked; this is a bug in Serin, please report it");
            complain(
                ctx,
                &subject,
                Event::warning(
                    "ReconciliationError",
                    "Reconciliation failed: a bug in Serin; see the controller's log",
                ),
            );
            return Pass::Rest(Done::Retry);
        }
    };
    // 4. Audit.
    let findings = ctx.audit.findings(&world, &plan, now);
    let refused_at = held::first_refused(ctx, &subject, &findings);
    let writes = &plan.writes[..refused_at.unwrap_or(plan.writes.len())];
    if refused_at.is_some() && writes.is_empty() {
        return held::hold(ctx, &subject, &world, &findings).await;
    }
    if refused_at.is_none()
        && let Some(pass) = held::release(ctx, &subject, &world).await
    {
        return pass;
    }
    say(ctx, &subject, plan.warnings.clone());
    if plan.is_empty() {
        // 7. Sleep.
        return Pass::Rest(sleep(
            ctx,
            &plan,
            memory.route_trouble.values().map(|(_, until)| *until).min(),
        ));
    }
    // 5. Apply, and 6. status: its write is the plan's last one.
    debug!(rollout = %key, writes = writes.len(), "Applying");
    match apply(ctx, key, &world, writes).await {
        Ok(()) => Pass::Again,
        Err(stopped) => refused(ctx, &subject, stopped).await,
    }
}

/// Says in the status that the Rollout cannot be understood, and why; its pods are left alone.
async fn undecodable(ctx: &Context, key: &Key, bad: &Undecodable) -> Pass {
    let text = |path: &str| {
        bad.object
            .pointer(path)
            .and_then(Value::as_str)
            .unwrap_or_default()
            .to_owned()
    };
    if !text("/metadata/deletionTimestamp").is_empty() {
        return Pass::Rest(Done::Idle);
    }
    let subject = Subject {
        kind: "Rollout",
        key: key.clone(),
        uid: text("/metadata/uid"),
        resource_version: text("/metadata/resourceVersion"),
    };
    let message = format!("The Rollout cannot be understood and is left alone: {}", bad.error);
    say(ctx, &subject, vec![Event::warning("InvalidSpec", message)]);
    let Some(patch) = ctx.decide.undecodable(&key.name, bad, ctx.clock.now()) else {
        return Pass::Rest(Done::Idle);
    };
    patch_status(ctx, &subject, patch).await
}

/// Patches the status, guarded by the version that was read; the answer goes into the stores.
async fn patch_status(ctx: &Context, subject: &Subject, mut patch: Value) -> Pass {
    patch["metadata"]["resourceVersion"] = Value::String(subject.resource_version.clone());
    let key = &subject.key;
    let target = Target {
        kind: Kind::Rollout,
        namespace: &key.namespace,
        name: &key.name,
    };
    match ctx.calls.patch(target, Some("status"), Format::Merge, &patch).await {
        Ok(answer) => {
            if let Err(error) = take_in(&mut ctx.stores(), Kind::Rollout, answer) {
                warn!(rollout = %key, %error, "Answer not understood");
            }
            Pass::Again
        }
        Err(refusal) => {
            let stopped = Stopped {
                doing: "patch",
                object: Kind::Rollout,
                target: key.clone(),
                route: None,
                refusal,
            };
            refused(ctx, subject, stopped).await
        }
    }
}

/// The Services of a Rollout that was deleted become their owner's again (compat 2.14). That it is gone is asked of the API
/// server first: what we do not see may be another instance's.
async fn release_services(ctx: &Context, key: &Key) -> Done {
    let managed = ctx.stores().managed_services(key);
    if managed.is_empty() {
        return Done::Idle;
    }
    let rollout = Target {
        kind: Kind::Rollout,
        namespace: &key.namespace,
        name: &key.name,
    };
    match ctx.calls.get(rollout).await {
        Err(Refusal::NotFound(_)) => {}
        Ok(_) => return Done::Idle,
        Err(error) => {
            warn!(rollout = %key, %error, "Failed to ask whether the Rollout is gone");
            return Done::Retry;
        }
    }
    for service in managed {
        let target = Target {
            kind: Kind::Service,
            namespace: &key.namespace,
            name: &service.name,
        };
        let mut patch = serin_planner::release_service();
        patch["metadata"]["resourceVersion"] = service.resource_version.clone().into();
        match ctx.calls.patch(target, None, Format::Merge, &patch).await {
            Ok(answer) => {
                info!(rollout = %key, service = %service.name, "Service released");
                if let Ok(affected) = take_in(&mut ctx.stores(), Kind::Service, answer) {
                    ctx.enqueue(affected, Some(key));
                }
            }
            Err(Refusal::NotFound(_)) => {}
            Err(Refusal::NotLeading) => return Done::Idle,
            Err(error) => {
                warn!(rollout = %key, service = %service.name, %error, "Failed to release a Service");
                return Done::Retry;
            }
        }
    }
    Done::Idle
}

fn remembered(ctx: &Context, key: &Key) -> Memory {
    let now = Instant::now();
    ctx.memory(key, |m| {
        m.route_trouble.retain(|_, (_, until)| *until > now);
        m.clone()
    })
}

fn sleep(ctx: &Context, plan: &Plan, retry_route: Option<Instant>) -> Done {
    let wake = plan.wake_at.map(|at| ctx.clock.instant(at));
    wake.into_iter().chain(retry_route).min().map_or(Done::Idle, Done::At)
}

async fn refused(ctx: &Context, subject: &Subject, stopped: Stopped) -> Pass {
    let key = &subject.key;
    let Stopped {
        object,
        target,
        refusal,
        ..
    } = &stopped;
    match refusal {
        Refusal::NotLeading => return Pass::Rest(Done::Idle),
        Refusal::Conflict(_) => {
            debug!(rollout = %key, error = %stopped, "Conflict; looking again");
            return match refresh(ctx, *object, target).await {
                Ok(()) => Pass::Conflict,
                Err(error) => {
                    warn!(rollout = %key, %error, "Failed to read again after a conflict");
                    Pass::Rest(Done::Retry)
                }
            };
        }
        Refusal::NotFound(_) => {
            // What is known of it is old: the object is gone. The next plan sees that.
            if let Err(error) = refresh(ctx, *object, target).await {
                warn!(rollout = %key, %error, "Failed to read again");
            }
        }
        _ => {}
    }
    warn!(rollout = %key, error = %stopped, category = refusal.category(), "Write refused");
    if (*object, stopped.doing) == (Kind::ReplicaSet, "create") && matches!(refusal, Refusal::AlreadyExists(_)) {
        // The next plan takes another name (compat 2.1.8).
        ctx.memory(key, |m| m.taken_names.insert(target.name.clone()));
        return Pass::Again;
    }
    if refusal.is_about_the_request() {
        if let Some(route) = &stopped.route {
            // The rest of the Rollout goes on (contract 5): the next plan is told that this route cannot be written, and
            // says so.
            let until = Instant::now() + ROUTE_RETRY;
            let reason = format!("{stopped}; tried again every {} s", ROUTE_RETRY.as_secs());
            ctx.memory(key, |m| m.route_trouble.insert(route.clone(), (reason, until)));
            return Pass::Again;
        }
        complain(ctx, subject, Event::warning(reason_of(&stopped), message_of(&stopped)));
    }
    Pass::Rest(Done::Retry)
}

/// Upstream's word for what went wrong (compat 7.5).
fn reason_of(stopped: &Stopped) -> &'static str {
    match (stopped.object, stopped.doing) {
        (Kind::ReplicaSet, "create") => "ReplicaSetCreateError",
        _ => "ReconciliationError",
    }
}

fn message_of(stopped: &Stopped) -> String {
    let Stopped {
        object,
        target,
        refusal,
        doing,
        ..
    } = stopped;
    match (object, *doing, refusal) {
        (Kind::ReplicaSet, "create", _) => format!("Failed to create new replica set {:?}: {refusal}", target.name),
        _ => format!("Reconciliation failed: {stopped}"),
    }
}

/// Records standing warnings, each once until it is gone for a while.
fn say(ctx: &Context, subject: &Subject, warnings: Vec<Event>) {
    let now = Instant::now();
    let new = ctx.memory(&subject.key, |m| {
        for (event, (stands, seen)) in &mut m.warned {
            if *stands && !warnings.contains(event) {
                (*stands, *seen) = (false, now);
            }
        }
        m.warned.retain(|_, (stands, seen)| *stands || now - *seen < FLICKER);
        let is_new = |event: &Event| !m.warned.contains_key(event);
        let new: BTreeSet<Event> = warnings.iter().filter(|event| is_new(event)).cloned().collect();
        m.warned.extend(warnings.into_iter().map(|event| (event, (true, now))));
        new
    });
    for event in &new {
        record(ctx, subject, event);
    }
}

/// Records a failure of ours, and again from time to time while it lasts.
fn complain(ctx: &Context, subject: &Subject, event: Event) {
    let now = Instant::now();
    let new = ctx.memory(&subject.key, |m| {
        m.complained.retain(|_, said| now - *said < COMPLAIN_AGAIN);
        !m.complained.contains_key(&event) && m.complained.insert(event.clone(), now).is_none()
    });
    if new {
        record(ctx, subject, &event);
    }
}

fn record(ctx: &Context, subject: &Subject, event: &Event) {
    info!(rollout = %subject.key, reason = event.reason, text = %event.message, "Warning");
    ctx.events.record(Record {
        subject: subject.clone(),
        kind: event.kind.as_str(),
        reason: event.reason.to_owned(),
        message: event.message.clone(),
        // Said again after a restart it is the same event, as long as the Rollout is the same.
        seed: format!("warning/{}", subject.resource_version),
        at: ctx.clock.now(),
    });
}
