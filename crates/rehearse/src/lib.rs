//! Rehearsals: somebody's own release, played in virtual time before anyone takes a risk.
//!
//! The controller is the shipped one, unchanged; Kubernetes is [`serin_kubesim`]; users, pods, a gateway and a Prometheus are
//! simulated from stated assumptions. One replay is a pure function of manifests, assumptions and a seed. Reads no files and
//! prints nothing: that is the program's business.

pub mod answers;
pub mod assume;
mod definitions;
mod json;
pub mod load;
pub mod play;
pub mod pods;
pub mod prometheus;
mod questions;
pub mod relabel;
pub mod report;
pub mod series;
pub mod setup;
pub mod timeline;

pub use serin_staging::{fault, manifests};

use thiserror::Error;

/// Why there is no rehearsal.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum Problem {
    /// What was handed in would be refused by the controller, or cannot be read.
    #[error("{0}")]
    BadInput(String),
    /// It needs something that cannot be simulated.
    #[error("{0}")]
    NotSimulated(String),
    /// A bug of the rehearsal.
    #[error("{0}; this is a bug in Serin, please report it")]
    Bug(String),
}
