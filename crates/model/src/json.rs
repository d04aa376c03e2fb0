//! Reading JSON trees.

use serde_json::Value;

/// Fields by their path.
pub trait At {
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

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_path_leads_where_a_json_pointer_leads() {
        let tree = json!({"a": {"b/c": 1, "d~e": [2, {"f": null}], "": 3}, "0": "text"});
        for path in [
            "",
            "/",
            "a",
            "/a",
            "/a/",
            "/a/b~1c",
            "/a/b/c",
            "/a/d~0e",
            "/a/d~0e/0",
            "/a/d~0e/1/f",
            "/a/d~0e/01",
            "/a/d~0e/+1",
            "/a/d~0e/2",
            "/0",
            "/0/x",
            "/x",
            "/a/~01",
        ] {
            assert_eq!(tree.at(path), tree.pointer(path), "{path}");
        }
        assert_eq!(tree.at("/a/b~1c"), Some(&json!(1)));
    }
}
