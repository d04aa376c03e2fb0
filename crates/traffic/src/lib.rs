//! Weights in, edited route objects out: pure editors of the routes that people own, one file a router.
//!
//! Knows JSON and nothing else: no client, no clock, no decision about what a weight should be. A route belongs to its
//! owner: exactly the weights of the two Services of a Rollout are changed, everything else is left as it is (design
//! contract 2).

pub mod gateway;

pub use gateway::{ConfigProblem, RouteProblem, edit, read, reduce, routes};
