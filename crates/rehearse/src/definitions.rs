//! The resource definitions that the simulated API server serves, and what it would drop of an object.

use std::sync::{Arc, LazyLock};

use serde_json::Value;
use serin_kubesim::{Crd, schema::Rules as _};

use crate::Problem;

/// Parsed once per process: Serin's own, and the route.
static DEFINITIONS: LazyLock<Result<Vec<Arc<Crd>>, String>> = LazyLock::new(|| {
    let routes: Value = serde_saphyr::from_str(serin_staging::HTTP_ROUTES).map_err(|e| e.to_string())?;
    let own = serin_api::crd::all().into_iter().map(|definition| definition.object);
    own.chain([routes])
        .map(|object| Crd::parse(&object).map_err(|status| status.message))
        .collect()
});

/// All of them.
///
/// # Errors
/// One cannot be read: a bug.
pub(crate) fn all() -> Result<&'static [Arc<Crd>], Problem> {
    DEFINITIONS.as_deref().map_err(|e| Problem::Bug(e.clone()))
}

/// Fields that mean nothing to a kind of Serin's own: an API server drops them, and kubectl refuses the file.
pub(crate) fn unknown_fields(object: &Value) -> Vec<String> {
    // The route's definition is reduced: what it does not know may well mean something.
    let own = |crd: &&Arc<Crd>| crd.group == serin_api::GROUP && object["kind"] == crd.kind.as_str();
    let Some(crd) = all().ok().and_then(|all| all.iter().find(own)) else {
        return Vec::new();
    };
    // What cannot be decoded is said where the object is created.
    crd.storage().decode(&mut object.clone()).unwrap_or_default()
}
