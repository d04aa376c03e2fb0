//! The loop around [`crate::lease`]: acquires all leases, renews them, keeps the gate's deadline, gives them back.
//!
//! Losing a lease sends this process back to being a standby instead of ending it: its caches are warm and its work is
//! stateless, so that it may lead again at once, and a short outage of the API server does not look like a crash.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use http::{Method, Request};
use serde_json::{Value, json};
use serin_model::mutant::{self, Mutant};
use tokio::{
    sync::watch,
    time::{Instant, sleep_until, timeout},
};
use tracing::{debug, info, warn};

use crate::{
    context::{Context, Election},
    lease::{Record, Seen, Turn, evaluate, released, spec},
};

/// What came of a try.
#[derive(Debug)]
enum Try {
    /// All leases are ours.
    Held,
    /// Somebody else has one.
    Other(String),
    /// The API server did not answer as it should.
    Failed(String),
}

/// Acquires and renews until `stop`; tells `leads` who leads. At the end the leases are given back.
pub async fn run(ctx: Arc<Context>, election: Election, leads: watch::Sender<bool>, mut stop: watch::Receiver<bool>) {
    let mut leader = Leader {
        ctx: Arc::clone(&ctx),
        election,
        seen: BTreeMap::new(),
    };
    loop {
        tokio::select! {
            biased;
            _ = stop.wait_for(|s| *s) => break,
            () = leader.acquire() => {}
        }
        info!(identity = %leader.election.identity, "Leading");
        leads.send_replace(true);
        ctx.calls.metrics().leading(true);
        let stopped = tokio::select! {
            biased;
            _ = stop.wait_for(|s| *s) => true,
            why = leader.renew() => {
                warn!(%why, "Lease lost; standing by");
                false
            }
        };
        ctx.calls.gate().shut();
        ctx.calls.metrics().leading(false);
        leads.send_replace(false);
        if stopped {
            leader.release().await;
            break;
        }
    }
}

struct Leader {
    ctx: Arc<Context>,
    election: Election,
    /// By name.
    seen: BTreeMap<String, Seen>,
}

impl Leader {
    /// Returns when all leases are ours; the gate is open then.
    async fn acquire(&mut self) {
        let mut told = String::new();
        loop {
            let started = Instant::now();
            match self.try_all(self.election.renew_deadline).await {
                Try::Held => {
                    self.ctx.calls.gate().open_until(self.deadline(started));
                    return;
                }
                Try::Other(holder) => {
                    if told != holder {
                        info!(%holder, "Standing by");
                        told = holder;
                    }
                }
                Try::Failed(error) => {
                    // Said once for each reason: this loop never rests.
                    if told != error {
                        warn!(%error, namespace = %self.election.namespace, "Failed to acquire the lease; trying on");
                        told = error;
                    }
                }
            }
            // A standby looks more often than it would write, so that a lease that is given back is taken over at once.
            sleep_until(started + self.election.retry_period / 4).await;
        }
    }

    /// Renews until that fails for too long; says why.
    async fn renew(&mut self) -> String {
        let mut deadline = self.deadline(Instant::now());
        loop {
            let started = Instant::now();
            sleep_until((started + self.election.retry_period).min(deadline)).await;
            let started = Instant::now();
            let left = deadline.saturating_duration_since(started);
            if left.is_zero() {
                return "it could not be renewed in time".to_owned();
            }
            // Half of it at most: a connection that hangs must leave time for another try.
            match self.try_all(left.min(self.election.renew_deadline / 2)).await {
                Try::Held => {
                    // From the start of the request: that is what the others' waiting counts from, at the latest.
                    deadline = self.deadline(started);
                    self.ctx.calls.gate().open_until(deadline);
                }
                Try::Other(holder) => return format!("{holder} has it"),
                Try::Failed(error) => warn!(%error, "Failed to renew the lease"),
            }
        }
    }

    /// Until when writes are allowed after a renewal whose request was sent at `started`.
    fn deadline(&self, started: Instant) -> Instant {
        let times = if mutant::is(Mutant::LeaderAfterDeadline) { 6 } else { 1 };
        started + self.election.renew_deadline * times
    }

    async fn try_all(&mut self, limit: Duration) -> Try {
        let all = async {
            for name in self.election.names.clone() {
                match self.try_one(&name).await {
                    Try::Held => {}
                    other => return other,
                }
            }
            Try::Held
        };
        timeout(limit, all)
            .await
            .unwrap_or_else(|_| Try::Failed("no answer in time".to_owned()))
    }

    async fn try_one(&mut self, name: &str) -> Try {
        let me = self.election.identity.clone();
        // A lease of ours is renewed without reading it first; a refusal shows that somebody touched it.
        let held = self.seen.get(name).is_some_and(|seen| seen.record.holder == me);
        if !held && let Err(error) = self.read(name).await {
            return Try::Failed(error);
        }
        for _ in 0..2 {
            let seen = self.seen.get(name);
            let turn = evaluate(seen, &me, Instant::now());
            if let Turn::Wait(_) = turn {
                return Try::Other(seen.map(|s| s.record.holder.clone()).unwrap_or_default());
            }
            let spec = spec(&turn, seen, &me, self.election.lease_duration, self.ctx.clock.now());
            let version = seen.map(|s| s.record.resource_version.clone());
            match self.write(name, version.as_deref(), &spec).await {
                Ok(lease) => {
                    let seen = self.seen.remove(name);
                    self.seen
                        .insert(name.to_owned(), Seen::update(seen, Record::of(&lease), Instant::now()));
                    return Try::Held;
                }
                Err((404 | 409, error)) => {
                    debug!(lease = name, %error, "The lease has changed; reading it again");
                    if let Err(error) = self.read(name).await {
                        return Try::Failed(error);
                    }
                }
                Err((_, error)) => return Try::Failed(error),
            }
        }
        Try::Failed(format!("lease {name} changes faster than it can be read"))
    }

    async fn read(&mut self, name: &str) -> Result<(), String> {
        match self.send(Method::GET, &self.path(Some(name)), None).await {
            Ok(lease) => {
                let seen = self.seen.remove(name);
                self.seen
                    .insert(name.to_owned(), Seen::update(seen, Record::of(&lease), Instant::now()));
                Ok(())
            }
            Err((404, _)) => {
                self.seen.remove(name);
                Ok(())
            }
            Err((_, error)) => Err(error),
        }
    }

    /// Creates the lease, or replaces the version that was seen.
    async fn write(&self, name: &str, version: Option<&str>, spec: &Value) -> Result<Value, (u16, String)> {
        let mut lease = json!({
            "apiVersion": "coordination.k8s.io/v1",
            "kind": "Lease",
            "metadata": {"name": name, "namespace": self.election.namespace},
            "spec": spec,
        });
        match version {
            None => self.send(Method::POST, &self.path(None), Some(&lease)).await,
            Some(version) => {
                lease["metadata"]["resourceVersion"] = json!(version);
                self.send(Method::PUT, &self.path(Some(name)), Some(&lease)).await
            }
        }
    }

    async fn release(&mut self) {
        for name in self.election.names.clone() {
            let Some(seen) = self
                .seen
                .get(&name)
                .filter(|s| s.record.holder == self.election.identity)
            else {
                continue;
            };
            let spec = released(seen, self.ctx.clock.now());
            let version = seen.record.resource_version.clone();
            match timeout(self.election.retry_period, self.write(&name, Some(&version), &spec)).await {
                Ok(Ok(_)) => info!(lease = %name, "Lease given back"),
                Ok(Err((_, error))) => warn!(lease = %name, %error, "Lease not given back"),
                Err(_) => warn!(lease = %name, "Lease not given back: no answer in time"),
            }
        }
    }

    fn path(&self, name: Option<&str>) -> String {
        let namespace = &self.election.namespace;
        let all = format!("/apis/coordination.k8s.io/v1/namespaces/{namespace}/leases");
        name.map_or_else(|| all.clone(), |name| format!("{all}/{name}"))
    }

    async fn send(&self, method: Method, path: &str, body: Option<&Value>) -> Result<Value, (u16, String)> {
        let body = body
            .map(|b| serde_json::to_vec(b).expect("a JSON value can be written as JSON"))
            .unwrap_or_default();
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header(http::header::CONTENT_TYPE, "application/json")
            .body(body)
            .map_err(|e| (0, e.to_string()))?;
        match self.ctx.calls.client().request::<Value>(request).await {
            Ok(answer) => Ok(answer),
            Err(kube::Error::Api(status)) => Err((status.code, status.message.clone())),
            Err(error) => Err((0, crate::calls::chain(&error))),
        }
    }
}
