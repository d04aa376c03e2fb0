//! Conformance of kubesim: the same raw requests to it and to the real kube-apiserver, and their answers compared.
//!
//! What is asked is generated from audit logs of the real one ([`shapes`], [`generate`]) with the refusals around each
//! ([`refusals`]), and drawn from seeds ([`random`]). What is compared is everything but uids, versions, times, addresses and
//! generated names, of which only the relations are ([`answer`]). See README.md.

pub mod answer;
mod body;
pub mod case;
pub mod compare;
pub mod generate;
pub mod grounds;
pub mod kinds;
pub mod kubectl;
pub mod play;
pub mod random;
pub mod recorded;
pub mod refusals;
pub mod seen;
pub mod shapes;
pub mod shrink;
