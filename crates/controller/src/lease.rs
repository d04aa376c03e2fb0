//! Whose turn is it? The pure part of leader election on `coordination.k8s.io` Leases.
//!
//! Never compares clocks of two machines: a lease is expired when *we* have not seen it change for its own duration,
//! measured on our own monotonic clock (as client-go does; rust.md section 1).

use std::time::Duration;

use chrono::{DateTime, SecondsFormat, Utc};
use serde_json::{Value, json};
use serin_model::At as _;
use tokio::time::Instant;

/// What a Lease says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Record {
    /// `metadata.resourceVersion`: guards the replacement.
    pub resource_version: String,
    /// `spec.holderIdentity`; empty when it was released.
    pub holder: String,
    /// `spec.leaseDurationSeconds`.
    pub duration: Duration,
    /// `spec.renewTime` as written; only ever compared for equality.
    pub renew_time: String,
    /// `spec.acquireTime` as written.
    pub acquire_time: String,
    /// `spec.leaseTransitions`.
    pub transitions: i64,
}

impl Record {
    /// Reads a Lease object. What is missing counts as released.
    pub fn of(lease: &Value) -> Self {
        let text = |path: &str| lease.at(path).and_then(Value::as_str).unwrap_or_default().to_owned();
        let number = |path: &str| lease.at(path).and_then(Value::as_i64).unwrap_or(0);
        Self {
            resource_version: text("/metadata/resourceVersion"),
            holder: text("/spec/holderIdentity"),
            duration: Duration::from_secs(number("/spec/leaseDurationSeconds").unsigned_abs()),
            renew_time: text("/spec/renewTime"),
            acquire_time: text("/spec/acquireTime"),
            transitions: number("/spec/leaseTransitions"),
        }
    }

    fn says_the_same_as(&self, other: &Self) -> bool {
        self.holder == other.holder && self.renew_time == other.renew_time && self.transitions == other.transitions
    }
}

/// A record and when we first saw it like this.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    /// The record.
    pub record: Record,
    /// First time, on our clock.
    pub since: Instant,
}

impl Seen {
    /// Takes in what was just read.
    pub fn update(seen: Option<Self>, record: Record, now: Instant) -> Self {
        match seen {
            Some(old) if old.record.says_the_same_as(&record) => Self {
                record,
                since: old.since,
            },
            _ => Self { record, since: now },
        }
    }
}

/// What to do about a lease.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Turn {
    /// There is none: create it.
    Create,
    /// It is ours: renew it.
    Renew,
    /// It is free or its holder has gone silent: take it over.
    Take,
    /// Somebody else has it, at least until then.
    Wait(Instant),
}

/// Decides; `seen` is `None` when there is no such lease.
pub fn evaluate(seen: Option<&Seen>, me: &str, now: Instant) -> Turn {
    let Some(Seen { record, since }) = seen else {
        return Turn::Create;
    };
    if record.holder == me {
        return Turn::Renew;
    }
    let expiry = *since + record.duration;
    if record.holder.is_empty() || expiry <= now {
        Turn::Take
    } else {
        Turn::Wait(expiry)
    }
}

/// The `spec` to write for this turn.
pub fn spec(turn: &Turn, seen: Option<&Seen>, me: &str, duration: Duration, now: DateTime<Utc>) -> Value {
    let now = stamp(now);
    let (acquired, transitions) = match (turn, seen) {
        (Turn::Renew, Some(seen)) => (seen.record.acquire_time.clone(), seen.record.transitions),
        (_, Some(seen)) => (now.clone(), seen.record.transitions + 1),
        (_, None) => (now.clone(), 0),
    };
    json!({
        "holderIdentity": me,
        "leaseDurationSeconds": duration.as_secs().max(1),
        "acquireTime": if acquired.is_empty() { now.clone() } else { acquired },
        "renewTime": now,
        "leaseTransitions": transitions,
    })
}

/// The `spec` that gives a lease back, so that a standby takes over at once.
pub fn released(seen: &Seen, now: DateTime<Utc>) -> Value {
    let now = stamp(now);
    json!({
        "holderIdentity": "",
        "leaseDurationSeconds": 1,
        "acquireTime": now,
        "renewTime": now,
        "leaseTransitions": seen.record.transitions,
    })
}

fn stamp(at: DateTime<Utc>) -> String {
    at.to_rfc3339_opts(SecondsFormat::Micros, true)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn record(holder: &str, renewed: &str) -> Record {
        Record {
            holder: holder.into(),
            renew_time: renewed.into(),
            duration: 15 * SECOND,
            ..Record::default()
        }
    }

    #[tokio::test(start_paused = true)]
    async fn the_turn_follows_from_who_holds_it_and_how_long_it_was_silent() {
        let t0 = Instant::now();
        let seen = |holder: &str| Seen {
            record: record(holder, "x"),
            since: t0,
        };
        for (what, seen, after, expected) in [
            ("no lease", None, 0, Turn::Create),
            ("ours", Some(seen("me")), 0, Turn::Renew),
            ("ours, however old", Some(seen("me")), 99, Turn::Renew),
            ("released", Some(seen("")), 0, Turn::Take),
            ("another's, fresh", Some(seen("you")), 0, Turn::Wait(t0 + 15 * SECOND)),
            (
                "another's, almost expired",
                Some(seen("you")),
                14,
                Turn::Wait(t0 + 15 * SECOND),
            ),
            ("another's, silent", Some(seen("you")), 15, Turn::Take),
        ] {
            assert_eq!(evaluate(seen.as_ref(), "me", t0 + after * SECOND), expected, "{what}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn only_a_changed_record_starts_the_wait_again_whatever_time_it_carries() {
        let t0 = Instant::now();
        let first = Seen::update(None, record("you", "2001-01-01T00:00:00Z"), t0);
        assert_eq!(first.since, t0, "the holder's clock does not matter");
        let same = Seen::update(
            Some(first.clone()),
            record("you", "2001-01-01T00:00:00Z"),
            t0 + 5 * SECOND,
        );
        assert_eq!(same.since, t0);
        let renewed = Seen::update(Some(same), record("you", "2001-01-01T00:00:02Z"), t0 + 6 * SECOND);
        assert_eq!(renewed.since, t0 + 6 * SECOND);
    }

    #[tokio::test(start_paused = true)]
    async fn a_change_of_holder_is_a_transition_and_a_renewal_is_none() {
        let now = DateTime::from_timestamp(1_000_000, 0).unwrap();
        let seen = Seen {
            record: Record {
                transitions: 4,
                acquire_time: "then".into(),
                ..record("me", "x")
            },
            since: Instant::now(),
        };
        let renewed = spec(&Turn::Renew, Some(&seen), "me", 15 * SECOND, now);
        assert_eq!(
            (&renewed["leaseTransitions"], &renewed["acquireTime"]),
            (&json!(4), &json!("then"))
        );
        let taken = spec(&Turn::Take, Some(&seen), "me", 15 * SECOND, now);
        assert_eq!(
            (&taken["leaseTransitions"], &taken["acquireTime"]),
            (&json!(5), &json!("1970-01-12T13:46:40.000000Z"))
        );
        assert_eq!(spec(&Turn::Create, None, "me", 15 * SECOND, now)["leaseTransitions"], 0);
        assert_eq!(released(&seen, now)["holderIdentity"], "");
    }

    #[test]
    fn a_lease_without_a_spec_counts_as_released() {
        let record = Record::of(&json!({"metadata": {"resourceVersion": "3"}}));
        assert_eq!((record.holder.as_str(), record.resource_version.as_str()), ("", "3"));
    }
}
