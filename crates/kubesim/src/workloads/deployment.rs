//! Deployments.
use super::{
    cache::Name,
    engine::{Engine, Outcome},
};
impl Engine {
    pub(super) fn sync_deployment(&mut self, _: &Name) -> Outcome {
        Ok(None)
    }
}
