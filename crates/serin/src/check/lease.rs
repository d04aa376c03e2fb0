//! What Leases say by themselves: who holds one, whether a playground is behind it, and what to make of a holder that no Deployment
//! explains.

use chrono::{DateTime, TimeDelta, Utc};
use serde_json::Value;

use super::{
    line::{CONTROLLER, LEASE, Line},
    observed::{Observed, items, key, name, namespace, text},
};

/// The Lease of both controllers (compat 7.2).
pub(super) const LOCK: &str = crate::controller::LEASE;
/// How `serin playground` calls itself, before its process id.
const PLAYGROUND: &str = "playground_";
/// Renewals are every two seconds; a Lease may be looked at just before one.
const GRACE: TimeDelta = TimeDelta::seconds(5);

/// What a Lease says.
pub(super) struct Held<'a> {
    pub(super) holder: &'a str,
    pub(super) expires: Option<DateTime<Utc>>,
}

pub(super) fn held(lease: &Value) -> Held<'_> {
    let renewed = DateTime::parse_from_rfc3339(text(lease, "/spec/renewTime")).ok();
    let seconds = lease
        .pointer("/spec/leaseDurationSeconds")
        .and_then(Value::as_i64)
        .and_then(TimeDelta::try_seconds);
    Held {
        holder: text(lease, "/spec/holderIdentity"),
        expires: renewed
            .zip(seconds)
            .and_then(|(renewed, seconds)| renewed.with_timezone(&Utc).checked_add_signed(seconds)),
    }
}

impl<'a> Held<'a> {
    pub(super) fn is_fresh(&self, now: DateTime<Utc>) -> bool {
        !self.holder.is_empty() && self.expires.is_some_and(|at| now <= at + GRACE)
    }

    /// The holder is `<host name>_<uuid>`, and a pod's host name is its own name.
    pub(super) fn pod(&self) -> &str {
        self.holder.rsplit_once('_').map_or(self.holder, |(host, _)| host)
    }

    /// The process of the playground that it is.
    fn playground(&self) -> Option<&'a str> {
        let process = self.holder.strip_prefix(PLAYGROUND)?;
        (!process.is_empty() && process.bytes().all(|b| b.is_ascii_digit())).then_some(process)
    }
}

/// A span for people.
pub(super) fn span(span: TimeDelta) -> String {
    let seconds = span.num_seconds().max(0);
    match seconds {
        0..=119 => format!("{seconds} s"),
        120..=7199 => format!("{} min", seconds / 60),
        7200..=172_799 => format!("{} h", seconds / 3600),
        _ => format!("{} days", seconds / 86_400),
    }
}

/// A playground: its controller runs in its own process.
pub(super) struct Playground<'a> {
    process: &'a str,
    prometheus: Option<&'a str>,
}

/// The playground that this cluster is, if it is one.
pub(super) fn playground(seen: &Observed) -> Option<Playground<'_>> {
    let mut fresh = items(&seen.leases)
        .iter()
        .map(held)
        .filter(|held| held.is_fresh(seen.now));
    fresh.find_map(|held| {
        Some(Playground {
            process: held.playground()?,
            prometheus: seen.playground_prometheus.as_deref(),
        })
    })
}

impl Playground<'_> {
    /// That there is no Deployment is right.
    pub(super) fn controller(&self) -> Line {
        let process = self.process;
        CONTROLLER.pass(
            "",
            format!("this is a playground (`serin playground`, process {process}): its controller runs in it, so no Deployment is right"),
        )
    }

    /// How its Prometheus is named to `serin check`.
    pub(super) fn prometheus(&self) -> String {
        match self.prometheus {
            Some(address) => format!("This is a playground; its Prometheus is --prometheus {address}."),
            None => "This is a playground; give the address of Prometheus that it printed at its start: --prometheus http://127.0.0.1:PORT."
                .to_owned(),
        }
    }
}

/// Who holds a Lease that no Deployment of Serin explains.
pub(super) fn alone(seen: &Observed) -> Vec<Line> {
    let leases = match &seen.leases {
        Ok(leases) => leases,
        Err(trouble) => {
            return vec![LEASE.warn(
                format!("Lease {LOCK}"),
                format!("could not be read ({trouble}): whether a controller runs without a Deployment is not known"),
                "Check as somebody who may read Leases, such as with the cluster's role `admin`.",
            )];
        }
    };
    let explained = |lease: &Value| {
        let mut active = seen.controllers().iter().filter(|c| c.replicas > 0);
        active.any(|c| c.namespace == namespace(lease) && c.lease() == name(lease))
    };
    let fresh = leases
        .iter()
        .filter(|lease| held(lease).is_fresh(seen.now) && !explained(lease));
    fresh
        .map(|lease| {
            let held = held(lease);
            let (about, holder) = (format!("Lease {}", key(lease)), held.holder);
            if let Some(process) = held.playground() {
                let seen_as = format!("somebody holds it: {holder}, the playground with process {process}");
                return if seen.is_before {
                    LEASE.warn(
                        about,
                        format!("{seen_as}: another controller is at work, the playground's own"),
                        "Nothing is to be installed into a playground: check the cluster that you mean (--kubeconfig, --context).",
                    )
                } else {
                    LEASE.pass(about, seen_as)
                };
            }
            let advice = format!(
                "Find it by its host's name, {}, and end it before another one takes over; a controller that somebody runs by hand is \
                 one, too.",
                held.pod()
            );
            match &seen.controllers {
                Err(trouble) => LEASE.pass(
                    about,
                    format!("somebody holds it: {holder}; whose it is could not be told ({trouble})"),
                ),
                Ok(_) if seen.has_all_controllers => LEASE.warn(
                    about,
                    format!("somebody holds it: {holder}; another controller is at work, and no Deployment here runs it"),
                    advice,
                ),
                Ok(_) => LEASE.warn(
                    about,
                    format!("somebody holds it: {holder}; another controller is at work, perhaps in a namespace that was not looked at"),
                    advice,
                ),
            }
        })
        .collect()
}
