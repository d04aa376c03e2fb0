//! The seam for faults: what may happen to a request or to an event of a watch besides being served.

use std::time::Duration;

use serde_json::Value;

use crate::Status;

/// One request, as an [`Intercept`] sees it.
#[derive(Clone, Copy, Debug)]
pub struct Call<'a> {
    /// Who asks.
    pub user: &'a str,
    /// HTTP method.
    pub method: &'a str,
    /// `get`, `list`, `watch`, `create`, `update`, `patch`, `delete` or `deletecollection`.
    pub verb: &'a str,
    /// API group, empty for the core.
    pub group: &'a str,
    /// Plural; empty for discovery and the like.
    pub resource: &'a str,
    /// Such as `status`, or empty.
    pub subresource: &'a str,
    /// Empty for all namespaces and for what has none.
    pub namespace: &'a str,
    /// Empty for collections.
    pub name: &'a str,
    /// The request's body, `null` without one.
    pub body: &'a Value,
}

/// Decides about requests and events. Asked once for each, in order.
pub trait Intercept: Send + Sync {
    /// What happens to a request.
    fn request(&self, call: &Call<'_>) -> Interception {
        let _ = call;
        Interception::Pass
    }

    /// What happens to an event of a watch about this object.
    fn watch_event(&self, user: &str, resource: &str, object: &Value) -> WatchFault {
        let _ = (user, resource, object);
        WatchFault::Deliver
    }
}

/// What happens to a request.
#[derive(Clone, Debug)]
pub enum Interception {
    /// It is served.
    Pass,
    /// It is served later.
    Delay(Duration),
    /// It is refused and not carried out.
    Before(Status),
    /// It is carried out, and answered with this.
    After(Status),
    /// It is neither carried out nor ever answered.
    HangBefore,
    /// It is carried out and never answered.
    HangAfter,
    /// The connection breaks before it is carried out.
    DisconnectBefore,
    /// The connection breaks after it was carried out.
    DisconnectAfter,
    /// A get or list is answered from the state that many versions ago.
    Stale(u64),
}

/// What happens to an event of a watch.
#[derive(Clone, Debug)]
pub enum WatchFault {
    /// It is delivered.
    Deliver,
    /// It and all later events of this watch wait.
    Delay(Duration),
    /// The stream ends; the event is not delivered.
    Close,
    /// An ERROR event of 410 Expired, then the end.
    Gone,
}
