//! The API as clients see it: kube's client and raw requests against a cluster in the process.

mod apply;
mod crds;
mod deletion;
mod faults;
mod http;
mod lists;
mod support;
mod watches;
mod writes;
