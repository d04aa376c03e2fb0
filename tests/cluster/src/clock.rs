//! The one place that reads the wall clock: this package runs real programs in real time.

use chrono::{DateTime, SecondsFormat, Utc};

/// The present moment.
#[expect(
    clippy::disallowed_methods,
    reason = "real programs run on the real clock; no decision under test is made here"
)]
pub fn now() -> DateTime<Utc> {
    std::time::SystemTime::now().into()
}

/// A moment as Kubernetes writes it: RFC 3339 in whole seconds.
pub(crate) fn kube_time(at: DateTime<Utc>) -> String {
    at.to_rfc3339_opts(SecondsFormat::Secs, true)
}

/// Says what is being done, on standard error.
pub(crate) fn progress(message: impl std::fmt::Display) {
    eprintln!("cluster: {message}");
}
