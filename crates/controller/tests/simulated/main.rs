//! The controller's loop against kubesim, in virtual time: no socket, no wait, the same trace each time.
//!
//! New scenarios are short functions in the file of their theme; what they stand on is `stage.rs` and `ground.rs`.

#![allow(unreachable_pub, reason = "modules of one test binary")]
#![allow(clippy::unwrap_used, reason = "a scenario that fails is to stop at once")]

mod analysis;
mod audited;
mod canary;
mod election;
mod faults;
mod gateway;
mod ground;
mod metrics;
mod recordings;
mod stage;
