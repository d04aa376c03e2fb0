//! Between the controllers and the API server: what goes wrong with requests and watches, and crashes at exact points.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use serde_json::{Value, json};
use serin_kubesim::{Call, Intercept, Interception, Status, WatchFault};
use tokio::{sync::mpsc, time::Instant};

use crate::{
    crash_points,
    history::{Done, is_controller},
    scenario::{Fault, FaultKind, Moment, Requests},
};

/// How many steps of two kinds of write were taken one after the other.
pub type Pairs = BTreeMap<(String, String), u64>;

/// A process is to be killed.
#[derive(Clone, Debug)]
pub struct Kill {
    /// Which.
    pub user: String,
    /// When a new one starts.
    pub down: Duration,
}

struct Armed {
    index: usize,
    /// How often it may still strike.
    left: u32,
    until: Option<Duration>,
    /// Whom it strikes, once that is known.
    user: Option<String>,
    kind: FaultKind,
}

#[derive(Default)]
struct State {
    armed: Vec<Armed>,
    dead: BTreeSet<String>,
    /// By process, the kind of its last write.
    last: BTreeMap<String, String>,
    /// The process that last wrote the lease.
    leader: Option<String>,
    struck: Vec<Done<FaultKind>>,
    crashes: Pairs,
    writes: Pairs,
}

/// See the module.
pub struct Faults {
    started: Instant,
    kills: mpsc::UnboundedSender<Kill>,
    state: Mutex<State>,
}

impl Faults {
    /// Nothing goes wrong yet; processes that are to be killed are told to `kills`.
    pub fn new(kills: mpsc::UnboundedSender<Kill>) -> Self {
        Self {
            started: Instant::now(),
            kills,
            state: Mutex::default(),
        }
    }

    /// From now on a fault may strike. False when it is not about requests or watches: then others carry it out.
    pub fn arm(&self, index: usize, fault: &Fault) -> bool {
        let armed = arm(index, fault, self.started.elapsed());
        let is_ours = armed.is_some();
        self.state().armed.extend(armed);
        is_ours
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// From now on nothing goes wrong any more.
    pub fn calm(&self) {
        self.state().armed.clear();
    }

    /// Nothing that this process sends is carried out any more.
    pub fn bury(&self, user: &str) {
        self.state().dead.insert(user.to_owned());
    }

    /// The process that leads, as far as its writes of the lease tell.
    pub fn leader(&self) -> Option<String> {
        self.state().leader.clone()
    }

    /// What struck, when, and what.
    pub fn struck(&self) -> Vec<Done<FaultKind>> {
        self.state().struck.clone()
    }

    /// At which crash points processes were killed, and which pairs of writes there were at all.
    pub fn crash_points(&self) -> (Pairs, Pairs) {
        let state = self.state();
        (state.crashes.clone(), state.writes.clone())
    }
}

/// A fault of requests or watches, ready to strike; [`None`] for those that others carry out.
fn arm(index: usize, fault: &Fault, from: Duration) -> Option<Armed> {
    let (left, until) = match &fault.kind {
        FaultKind::Answer { on, .. }
        | FaultKind::Hang { on, .. }
        | FaultKind::Disconnect { on, .. }
        | FaultKind::Slow { on, .. }
        | FaultKind::Stale { on, .. } => (on.times, None),
        FaultKind::WatchLate { times, .. }
        | FaultKind::WatchClosed { times, .. }
        | FaultKind::WatchGone { times, .. } => (*times, None),
        FaultKind::CrashBetween { .. } => (1, None),
        FaultKind::LeaseHangs { ms } | FaultKind::LeaseFails { ms } | FaultKind::ApiDown { ms } => {
            (u32::MAX, Some(from + Duration::from_millis(*ms)))
        }
        _ => return None,
    };
    Some(Armed {
        index,
        left,
        until,
        user: None,
        kind: fault.kind.clone(),
    })
}

/// A refusal as the API server words it.
fn status(code: u16) -> Status {
    let (reason, message) = match code {
        403 => ("Forbidden", "forbidden by the simulation"),
        409 => (
            "Conflict",
            "Operation cannot be fulfilled: the object has been modified (by the simulation)",
        ),
        429 => ("TooManyRequests", "too many requests, says the simulation"),
        503 => (
            "ServiceUnavailable",
            "the server is currently unable to handle the request",
        ),
        504 => (
            "Timeout",
            "the server was unable to return a response in the time allotted",
        ),
        _ => ("InternalError", "an error on the server, made by the simulation"),
    };
    Status {
        code,
        reason: reason.into(),
        message: message.into(),
        details: if code == 429 {
            json!({"retryAfterSeconds": 1})
        } else {
            Value::Null
        },
    }
}

fn is_write(verb: &str) -> bool {
    matches!(verb, "create" | "update" | "patch" | "delete")
}

fn strikes(on: &Requests, call: &Call<'_>) -> bool {
    let verb = match on.verb.as_str() {
        "any" => true,
        "write" => is_write(call.verb),
        verb => verb == call.verb,
    };
    let resource = if on.resource.is_empty() {
        call.resource != "leases"
    } else {
        on.resource == call.resource && on.subresource == call.subresource
    };
    verb && resource
}

impl State {
    fn strike(&mut self, at: Duration, place: usize, call: &Call<'_>) {
        let armed = &mut self.armed[place];
        armed.left = armed.left.saturating_sub(1);
        let (index, what) = (armed.index, armed.kind.clone());
        self.struck.push(Done {
            at,
            index,
            rollout: call.name.to_owned(),
            what,
            note: format!("{} {} {} {}", call.user, call.verb, call.resource, call.name)
                .trim_end()
                .to_owned(),
        });
    }

    /// Which armed fault strikes this request, if any.
    fn choose(&mut self, at: Duration, call: &Call<'_>) -> Option<usize> {
        let leader = self.leader.clone();
        let last = self.last.get(call.user).map(String::as_str).unwrap_or_default();
        let is_point = is_write(call.verb) && !matches!(call.resource, "leases" | "events");
        let next = crash_points::kind(call.verb, call.resource, call.subresource);
        self.armed.iter_mut().position(|armed| {
            if armed.left == 0 || armed.until.is_some_and(|until| at >= until) {
                return false;
            }
            match &armed.kind {
                FaultKind::CrashBetween { points, .. } => {
                    is_point && points.iter().any(|(before, after)| before == last && *after == next)
                }
                FaultKind::Answer { on, .. }
                | FaultKind::Hang { on, .. }
                | FaultKind::Disconnect { on, .. }
                | FaultKind::Slow { on, .. }
                | FaultKind::Stale { on, .. } => strikes(on, call),
                FaultKind::ApiDown { .. } => true,
                FaultKind::LeaseHangs { .. } | FaultKind::LeaseFails { .. } => {
                    if call.resource != "leases" {
                        return false;
                    }
                    // Whoever leads when it begins is struck until it ends.
                    if armed.user.is_none() {
                        armed.user.clone_from(&leader);
                    }
                    armed.user.as_deref() == Some(call.user)
                }
                _ => false,
            }
        })
    }
}

impl Intercept for Faults {
    fn request(&self, call: &Call<'_>) -> Interception {
        if !is_controller(call.user) {
            return Interception::Pass;
        }
        let at = self.started.elapsed();
        let mut state = self.state();
        if state.dead.contains(call.user) {
            return Interception::HangBefore;
        }
        let is_point = is_write(call.verb) && !matches!(call.resource, "leases" | "events");
        let kind = crash_points::kind(call.verb, call.resource, call.subresource);
        if is_point && let Some(last) = state.last.get(call.user).cloned() {
            *state.writes.entry((last, kind.clone())).or_default() += 1;
        }
        let chosen = state.choose(at, call);
        let decided = match chosen.map(|place| (place, state.armed[place].kind.clone())) {
            None => Interception::Pass,
            Some((place, fault)) => {
                state.strike(at, place, call);
                match fault {
                    FaultKind::Answer { code, moment, .. } => match moment {
                        Moment::Before => Interception::Before(status(code)),
                        Moment::After => Interception::After(status(code)),
                    },
                    FaultKind::Hang { moment, .. } => match moment {
                        Moment::Before => Interception::HangBefore,
                        Moment::After => Interception::HangAfter,
                    },
                    FaultKind::Disconnect { moment, .. } => match moment {
                        Moment::Before => Interception::DisconnectBefore,
                        Moment::After => Interception::DisconnectAfter,
                    },
                    FaultKind::Slow { ms, .. } => Interception::Delay(Duration::from_millis(ms)),
                    FaultKind::Stale { versions, .. } => Interception::Stale(versions),
                    FaultKind::LeaseHangs { .. } => Interception::HangBefore,
                    FaultKind::LeaseFails { .. } => Interception::Before(status(500)),
                    FaultKind::CrashBetween { moment, down, .. } => {
                        let last = state.last.get(call.user).cloned().unwrap_or_default();
                        *state.crashes.entry((last, kind.clone())).or_default() += 1;
                        state.dead.insert(call.user.to_owned());
                        // The run ends with its receiver: nobody is left to be killed then.
                        let _ = self.kills.send(Kill {
                            user: call.user.to_owned(),
                            down: Duration::from_millis(down),
                        });
                        match moment {
                            Moment::Before => Interception::HangBefore,
                            Moment::After => Interception::HangAfter,
                        }
                    }
                    _ => Interception::Before(status(503)),
                }
            }
        };
        if !matches!(
            decided,
            Interception::Before(_) | Interception::HangBefore | Interception::DisconnectBefore
        ) {
            if is_point {
                state.last.insert(call.user.to_owned(), kind);
            }
            if call.resource == "leases" && is_write(call.verb) {
                state.leader = Some(call.user.to_owned());
            }
        }
        decided
    }

    fn watch_event(&self, user: &str, resource: &str, object: &Value) -> WatchFault {
        if !is_controller(user) {
            return WatchFault::Deliver;
        }
        let at = self.started.elapsed();
        let mut state = self.state();
        if state.dead.contains(user) {
            return WatchFault::Close;
        }
        let concerns = |of: &str| of.is_empty() || of == resource;
        let place = state.armed.iter().position(|armed| {
            armed.left > 0
                && match &armed.kind {
                    FaultKind::WatchLate { resource, .. }
                    | FaultKind::WatchClosed { resource, .. }
                    | FaultKind::WatchGone { resource, .. } => concerns(resource),
                    _ => false,
                }
        });
        let Some(place) = place else {
            return WatchFault::Deliver;
        };
        let call = Call {
            user,
            method: "GET",
            verb: "watch",
            group: "",
            resource,
            subresource: "",
            namespace: "",
            name: object["metadata"]["name"].as_str().unwrap_or_default(),
            body: &Value::Null,
        };
        state.strike(at, place, &call);
        match &state.armed[place].kind {
            FaultKind::WatchLate { ms, .. } => WatchFault::Delay(Duration::from_millis(*ms)),
            FaultKind::WatchClosed { .. } => WatchFault::Close,
            _ => WatchFault::Gone,
        }
    }
}
