//! The seam for logs of Pods: kubesim runs none, so whoever does says what they wrote.

use std::time::Duration;

use serde_json::Value;

use crate::{Body, Status};

/// What is wanted of a container's log.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LogOptions {
    /// Name of the container.
    pub container: String,
    /// New lines are sent as they come.
    pub follow: bool,
    /// Of the container's run before this one.
    pub previous: bool,
    /// Each line begins with its time.
    pub timestamps: bool,
    /// Only so many of the last lines.
    pub tail: Option<u64>,
    /// Only what is not older.
    pub since: Option<Duration>,
}

/// Has the logs of Pods.
pub trait PodLogs: Send + Sync {
    /// The log of a container of this Pod. Asked while the cluster is locked: do not call it from here.
    ///
    /// # Errors
    /// What the API server answers instead.
    fn read(&self, pod: &Value, options: &LogOptions) -> Result<Body, Status>;
}
