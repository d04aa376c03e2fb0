//! Each rule broken by a hand-made World and plan, and the legal twin of each.

#![allow(clippy::unwrap_used, reason = "a test that panics has failed")]
#![allow(unreachable_pub, reason = "modules of one test binary")]

mod capacity;
mod guards;
mod progress;
mod removal;
mod scene;
mod traffic;
