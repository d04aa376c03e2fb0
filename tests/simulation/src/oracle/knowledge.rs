//! What a process of the controller could know, and when: how far its watches may lag behind, which of its own writes it was
//! told about, what its own clock says.

use std::{collections::BTreeMap, time::Duration};

use chrono::{DateTime, TimeDelta, Utc};
use serin_kubesim::{Asked, Change};

use crate::{
    history::{History, is_controller},
    scenario::{FaultKind, Requests},
};

/// Without faults: the time from a change to a write that knows of it. A watch event and the requests of a plan take
/// milliseconds; the rest is for the queue's back-off after a refusal.
const LAG: Duration = Duration::from_secs(1);

/// A watch that ended begins anew with a list, after the watcher's back-off, which grows to half a minute.
const REWATCH: Duration = Duration::from_secs(40);

/// See the module.
#[derive(Debug)]
pub(crate) struct Knowledge<'h> {
    history: &'h History,
    /// (from, until, lag), by `from`.
    lags: Vec<(Duration, Duration, Duration)>,
    /// (from, how long) requests were held up.
    slow: Vec<(Duration, Duration)>,
    /// Writing requests of controllers that were not answered with success, by (user, resource, name).
    unanswered: BTreeMap<(&'h str, &'h str, String), Vec<Duration>>,
}

impl<'h> Knowledge<'h> {
    /// Reads the faults and the requests.
    pub(crate) fn of(history: &'h History) -> Self {
        let mut unanswered: BTreeMap<_, Vec<Duration>> = BTreeMap::new();
        for asked in history
            .requests
            .iter()
            .filter(|r| is_controller(&r.user) && is_write(r))
        {
            if !(200..300).contains(&asked.code)
                && let Some(target) = Target::of(asked)
            {
                let key = (asked.user.as_str(), target.resource, target.name);
                unanswered.entry(key).or_default().push(asked.at);
            }
        }
        let mut lags: Vec<_> = history
            .faults
            .iter()
            .filter_map(|f| {
                let (lasts, lag) = reach(&f.what)?;
                Some((f.at, f.at + lasts, lag))
            })
            .collect();
        lags.sort_unstable();
        lags.dedup();
        let slow = history.faults.iter().filter_map(|f| match &f.what {
            FaultKind::Slow { ms, .. } => Some((f.at, Duration::from_millis(*ms))),
            _ => None,
        });
        Self {
            history,
            slow: slow.collect(),
            lags,
            unanswered,
        }
    }

    /// How far behind controllers may have been at this time.
    pub(crate) fn lag(&self, at: Duration) -> Duration {
        LAG + self
            .lags
            .iter()
            .take_while(|(from, _, _)| *from <= at)
            .filter(|(_, until, _)| at <= *until)
            .map(|(_, _, lag)| *lag)
            .max()
            .unwrap_or_default()
    }

    /// How long requests may have been on their way at this time, beyond the usual.
    pub(crate) fn slowness(&self, at: Duration) -> Duration {
        self.slow
            .iter()
            .filter(|(from, held)| *from <= at && at <= *from + *held + LAG)
            .map(|(_, held)| *held)
            .max()
            .unwrap_or_default()
    }

    /// Whether the writer of a change was told that it succeeded.
    pub(crate) fn was_told(&self, change: &Change) -> bool {
        let key = (change.user.as_str(), change.resource.plural, change.name.clone());
        // Changes come at most a slow request's time after their request came in.
        self.unanswered.get(&key).is_none_or(|times| {
            let after = times.partition_point(|t| *t <= change.at);
            after == 0 || times[after - 1] + self.lag(change.at) < change.at
        })
    }

    /// The latest time that the clock of this process can have shown when it decided on a write that came in at `at`: a
    /// clock that is set back while the write is on its way has shown more.
    pub(crate) fn clock(&self, user: &str, at: Duration) -> DateTime<Utc> {
        let sent = at.saturating_sub(self.lag(at));
        let set = offsets(self.history, user)
            .iter()
            .filter(|(from, _)| *from > sent && *from <= at);
        let times = set.map(|(from, _)| *from - Duration::from_nanos(1)).chain([sent, at]);
        let shown =
            times.map(|t| clock(self.history, user, t) + TimeDelta::from_std(at.saturating_sub(t)).unwrap_or_default());
        shown.max().unwrap_or(self.history.start)
    }

    /// What that clock says as it went when the write was sent, and as it goes now.
    pub(crate) fn clocks(&self, user: &str, at: Duration) -> [DateTime<Utc>; 2] {
        let sent = at.saturating_sub(self.lag(at));
        let before = clock(self.history, user, sent) + TimeDelta::from_std(at - sent).unwrap_or_default();
        [before, clock(self.history, user, at)]
    }
}

/// What the clock of this process said.
pub(crate) fn clock(history: &History, user: &str, at: Duration) -> DateTime<Utc> {
    let offset = offsets(history, user).iter().rev().find(|(from, _)| *from <= at);
    let offset = offset.map_or(0, |(_, seconds)| *seconds);
    history.start + TimeDelta::from_std(at).unwrap_or_default() + TimeDelta::seconds(offset)
}

/// When this process's clock was set, and how far ahead it has been since, in seconds.
fn offsets<'h>(history: &'h History, user: &str) -> &'h [(Duration, i64)] {
    let replica = history.replicas.iter().find(|r| r.user == user);
    replica.map_or(&[], |r| &r.offsets)
}

/// For how long after it struck a fault keeps controllers behind, and by how much.
fn reach(fault: &FaultKind) -> Option<(Duration, Duration)> {
    let reads = |on: &Requests| matches!(on.verb.as_str(), "get" | "list" | "watch" | "any");
    match fault {
        FaultKind::WatchLate { ms, times, .. } => {
            let held = Duration::from_millis(*ms) * (*times).max(1);
            Some((held + REWATCH, held))
        }
        FaultKind::WatchClosed { .. } | FaultKind::WatchGone { .. } => Some((REWATCH, REWATCH)),
        FaultKind::Stale { .. } => Some((REWATCH, REWATCH)),
        FaultKind::Slow { ms, .. } => {
            let held = Duration::from_millis(*ms);
            Some((held + REWATCH, held * 2))
        }
        FaultKind::Answer { on, .. } | FaultKind::Hang { on, .. } | FaultKind::Disconnect { on, .. } if reads(on) => {
            Some((2 * REWATCH, 2 * REWATCH))
        }
        // A request that hangs is given up; the plan ends with it, but other plans wait in line.
        FaultKind::Hang { .. } => Some((REWATCH, REWATCH)),
        FaultKind::ApiDown { ms } => {
            let held = Duration::from_millis(*ms) + REWATCH;
            Some((held, held))
        }
        _ => None,
    }
}

/// Whether a request writes.
pub(crate) fn is_write(asked: &Asked) -> bool {
    matches!(asked.method.as_str(), "POST" | "PUT" | "PATCH" | "DELETE")
}

/// What a request is about.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Target<'a> {
    pub resource: &'a str,
    pub namespace: &'a str,
    /// Of a creation: the name in the body.
    pub name: String,
    pub subresource: &'a str,
}

impl<'a> Target<'a> {
    /// By the path: `/api/v1/…` or `/apis/<group>/<version>/…`, then `namespaces/<namespace>/` or not.
    pub(crate) fn of(asked: &'a Asked) -> Option<Self> {
        let path = asked.path.split('?').next()?.trim_start_matches('/');
        let mut parts = path.split('/');
        let skip = if parts.next()? == "api" { 1 } else { 2 };
        let mut parts = parts.skip(skip).peekable();
        let namespace = if parts.peek() == Some(&"namespaces") {
            parts.next();
            parts.next()?
        } else {
            ""
        };
        let resource = parts.next()?;
        let name = match parts.next() {
            Some(name) => name.to_owned(),
            None => asked.body.pointer("/metadata/name")?.as_str()?.to_owned(),
        };
        Some(Self {
            resource,
            namespace,
            name,
            subresource: parts.next().unwrap_or_default(),
        })
    }
}
