//! Where numbers come from: one file a provider behind [`Provider`], HTTP behind [`HttpTransport`], so that tests in
//! virtual time need no sockets.
//!
//! Knows how to ask and what an answer looks like. Knows no condition, no limit and no run: whether a number is good is
//! decided in `serin-analysis`. Error texts name the provider, its address and what it said, never a secret.

mod address;
mod coalesce;
mod prometheus;
mod registry;
mod transport;

pub use address::AddressPolicy;
pub use prometheus::Prometheus;
pub use registry::{Provider, ProviderSettings, Providers};
pub use transport::{HttpRequest, HttpResponse, HttpTransport, Method, ReqwestTransport, TransportError};
