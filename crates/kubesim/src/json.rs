//! Reading JSON trees.

use serde_json::Value;

/// Fields by their path.
pub(crate) trait At {
    /// As [`Value::pointer`], which makes two copies of each part of the path.
    fn at(&self, path: &str) -> Option<&Value>;
}

impl At for Value {
    fn at(&self, path: &str) -> Option<&Value> {
        if path.is_empty() {
            return Some(self);
        }
        path.strip_prefix('/')?
            .split('/')
            .try_fold(self, |inside, part| match inside {
                Value::Object(map) if part.contains('~') => map.get(&part.replace("~1", "/").replace("~0", "~")),
                Value::Object(map) => map.get(part),
                Value::Array(_) => inside.pointer(&format!("/{part}")),
                _ => None,
            })
    }
}
