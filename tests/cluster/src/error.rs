//! What can go wrong while the cluster is put together or used. Every message is one line that says what to do.

use std::path::PathBuf;
use std::time::Duration;

/// An error of this package.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A part of the cluster cannot be had on this machine.
    #[error("{part} cannot be had: {problem}; {remedy}")]
    Missing {
        /// Which part, for people.
        part: &'static str,
        /// The exact error.
        problem: String,
        /// What the user can do.
        remedy: String,
    },
    /// The private namespace cannot be made or entered.
    #[error("no private network namespace: {problem}; {remedy}")]
    Namespace {
        /// The exact error.
        problem: String,
        /// What the user can do.
        remedy: String,
    },
    /// A file or a program of this machine.
    #[error("failed to {action} `{path}`: {source}")]
    Io {
        /// What was tried.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// A component ended or did not become ready.
    #[error("{component} is not ready after {} s: {problem}; its log is {}", .waited.as_secs(), .log.display())]
    NotReady {
        /// Which component.
        component: String,
        /// The last answer, or the end of its log.
        problem: String,
        /// For how long it was given a chance.
        waited: Duration,
        /// Its log file.
        log: PathBuf,
    },
    /// A request to the API server.
    #[error("failed to {action}: {source}")]
    Api {
        /// What was tried.
        action: String,
        /// The API server's answer.
        source: Box<kube::Error>,
    },
    /// Anything else, said in full.
    #[error("{0}")]
    Other(String),
}

/// Result with this package's error.
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    /// Gives an I/O error its action and path: `.map_err(Error::io("read", path))`.
    pub fn io(action: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.into();
        move |source| Self::Io { action, path, source }
    }

    /// Gives an API error its action: `.map_err(Error::api("create node-1"))`.
    pub fn api(action: impl Into<String>) -> impl FnOnce(kube::Error) -> Self {
        let action = action.into();
        move |source| Self::Api {
            action,
            source: Box::new(source),
        }
    }
}

/// Waits for an answer of the API server, but not for ever: without this, a request to a server that hangs never ends.
pub(crate) async fn answer<T>(action: impl Into<String>, request: impl Future<Output = kube::Result<T>>) -> Result<T> {
    const LIMIT: Duration = Duration::from_secs(30);
    let action = action.into();
    match tokio::time::timeout(LIMIT, request).await {
        Ok(result) => result.map_err(Error::api(action)),
        Err(_) => Err(Error::Other(format!(
            "failed to {action}: no answer within {} s",
            LIMIT.as_secs()
        ))),
    }
}
