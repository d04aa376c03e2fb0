//! kubesim: a Kubernetes API in a process, for tests and simulations of anything that speaks to one.
//!
//! [`Cluster`] is the whole of it: storage with resourceVersions, watches, patches, custom resources with their schemas,
//! and a [`Service`] that answers HTTP requests as a kube-apiserver would. A `kube::Client` talks to it without sockets
//! ([`Cluster::client`]); worlds, oracles and built-in controllers use its methods directly. Built-in controllers,
//! a scheduler and virtual kubelets are in [`workloads`].
//!
//! All time is tokio's, all ids come from a seed: on a current-thread runtime with a paused clock the same calls give the
//! same history. It knows nothing of rollouts.

pub mod builtin;
mod cluster;
mod intercept;
mod json;
mod kinds;
mod logs;
pub mod patch;
mod random;
mod registry;
pub mod schema;
mod selector;
mod server;
mod signal;
mod status;
mod storage;
pub mod workloads;

pub use cluster::{Asked, Cluster, Options, Patch};
pub use intercept::{Call, Intercept, Interception, WatchFault};
pub use logs::{LogOptions, PodLogs};
pub use schema::Crd;
pub use server::{Body, Service};
pub use signal::Changes;
pub use status::Status;
pub use storage::{Change, Resource};
