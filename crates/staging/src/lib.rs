//! What every stage for a release has in common, whether its time is virtual (rehearsals) or real (the playground):
//! manifests as they are handed in, what is wrong with a version in words, and changes of objects told in lines.
//!
//! Pure: texts and objects in, values and lines out. Knows no cluster, no clock, no pods.

pub mod fault;
pub mod manifests;
pub mod told;

/// A reduced definition of HTTPRoute: names, types and defaults are the real ones.
pub const HTTP_ROUTES: &str = include_str!("../data/httproutes-crd.yaml");
