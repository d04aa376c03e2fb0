//! A real Kubernetes control plane, gateway, Prometheus and virtual nodes for tests, in a private network namespace.
//!
//! A program calls [`enter`] first in `main` and then [`Cluster::start`]; see `README.md`. This package knows nothing of
//! rollouts: it is of use to tests of any controller.

mod clock;
mod cluster;
mod component;
mod control_plane;
mod error;
mod forward;
mod gateway;
mod http;
mod kubeconfig;
mod manifests;
mod namespace;
mod node;
mod parts;
mod prometheus;

pub mod attach;
pub mod load;

pub use clock::now;
pub use cluster::{Cluster, Options};
pub use component::{Component, Signal, send_signal};
pub use error::{Error, Result};
pub use gateway::{CLASS as GATEWAY_CLASS, GATEWAY, NAMESPACE as GATEWAY_NAMESPACE};
pub use namespace::{Enter, Inside, enter};
pub use node::{Behaviour, NodeSettings, PodInfo, VirtualNodes};
pub use parts::{Parts, cache_dir};
pub use prometheus::Sample;
