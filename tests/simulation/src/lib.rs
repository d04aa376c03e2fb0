//! Deterministic simulation: the real controller, unchanged, in virtual time, in a Kubernetes in a process, with users,
//! pods, a gateway, metrics and faults that all come from one seed.
//!
//! ```text
//! seed ─► scenario ─► run (world + faults + controllers) ─► History ─► oracle ─► violations
//! ```
//! A run is a value that can be printed, made smaller and played again; the same seed gives the same trace, byte for byte.

pub mod coverage;
pub mod crash_points;
pub mod faults;
pub mod generate;
pub mod history;
pub mod judge;
pub mod oracle;
pub mod run;
pub mod scenario;
pub mod seed;
pub mod shrink;
pub mod trace;
pub mod world;
