//! The API as clients see it: kube's client and raw requests against a cluster in the process.

#![allow(unreachable_pub, reason = "modules of one test binary")]
#![allow(clippy::unwrap_used, reason = "a test that fails is to stop at once")]

mod apply;
mod crds;
mod deletion;
mod faults;
mod http;
mod lists;
mod support;
mod watches;
mod writes;
