//! What a request is about: its path and its query.

/// A path below `/api/VERSION` or `/apis/GROUP/VERSION`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Path {
    pub group: String,
    pub version: String,
    pub namespace: String,
    pub resource: String,
    pub name: String,
    pub subresource: String,
    /// What follows the subresource; nothing is served there but proxies.
    pub rest: bool,
}

impl Path {
    /// Nothing for paths that name no resource, such as discovery's.
    pub(super) fn parse(path: &str) -> Option<Self> {
        let parts: Vec<String> = path.trim_matches('/').split('/').map(decode).collect();
        let mut parts = parts.iter().map(String::as_str).peekable();
        let group = match parts.next()? {
            "api" => "",
            "apis" => parts.next()?,
            _ => return None,
        };
        let version = parts.next()?;
        let mut found = Self {
            group: group.to_owned(),
            version: version.to_owned(),
            ..Self::default()
        };
        let mut rest: Vec<&str> = parts.collect();
        if let ["namespaces", namespace, after @ ..] = rest.as_slice() {
            match after {
                [] | ["status" | "finalize"] => {}
                after => {
                    found.namespace = (*namespace).to_owned();
                    rest = after.to_vec();
                }
            }
        }
        found.resource = (*rest.first()?).to_owned();
        found.name = rest.get(1).copied().unwrap_or_default().to_owned();
        found.subresource = rest.get(2).copied().unwrap_or_default().to_owned();
        found.rest = rest.len() > 3;
        Some(found)
    }
}

/// The parameters of a query, in order.
#[derive(Clone, Debug, Default)]
pub(super) struct Query(Vec<(String, String)>);

impl Query {
    pub(super) fn parse(query: &str) -> Self {
        Self(
            query
                .split('&')
                .filter(|pair| !pair.is_empty())
                .map(|pair| {
                    let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
                    (decode(&key.replace('+', " ")), decode(&value.replace('+', " ")))
                })
                .collect(),
        )
    }

    /// The first value of a parameter, empty without one.
    pub(super) fn get(&self, name: &str) -> &str {
        self.0
            .iter()
            .find(|(key, _)| key == name)
            .map_or("", |(_, value)| value.as_str())
    }

    pub(super) fn has(&self, name: &str) -> bool {
        self.0.iter().any(|(key, _)| key == name)
    }

    /// All values of a parameter.
    pub(super) fn all(&self, name: &str) -> Vec<&str> {
        self.0
            .iter()
            .filter(|(key, _)| key == name)
            .map(|(_, value)| value.as_str())
            .collect()
    }

    /// A truth value: present and neither `0` nor `false`.
    pub(super) fn is_true(&self, name: &str) -> bool {
        self.has(name) && !matches!(self.get(name).to_lowercase().as_str(), "0" | "false")
    }
}

/// Percent decoding; what is no valid escape stays as it is.
fn decode(text: &str) -> String {
    if !text.contains('%') {
        return text.to_owned();
    }
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let escape = (bytes[at] == b'%')
            .then(|| text.get(at + 1..at + 3))
            .flatten()
            .and_then(|hex| u8::from_str_radix(hex, 16).ok());
        if let Some(byte) = escape {
            out.push(byte);
            at += 3;
        } else {
            out.push(bytes[at]);
            at += 1;
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_names_group_version_namespace_resource_name_and_subresource() {
        let path = Path::parse("/apis/argoproj.io/v1alpha1/namespaces/shop/rollouts/demo/status").unwrap();
        let parts = [
            &path.group,
            &path.version,
            &path.namespace,
            &path.resource,
            &path.name,
            &path.subresource,
        ];
        assert_eq!(parts, ["argoproj.io", "v1alpha1", "shop", "rollouts", "demo", "status"]);
        let path = Path::parse("/api/v1/namespaces/shop").unwrap();
        assert_eq!(
            (path.resource.as_str(), path.name.as_str(), path.namespace.as_str()),
            ("namespaces", "shop", "")
        );
        let path = Path::parse("/api/v1/namespaces/shop/status").unwrap();
        assert_eq!(
            (path.resource.as_str(), path.subresource.as_str()),
            ("namespaces", "status")
        );
        assert_eq!(Path::parse("/apis/apps/v1"), None);
    }

    #[test]
    fn a_query_is_decoded() {
        let query = Query::parse("labelSelector=a%3Db%2Cc+in+%28d%29&watch=true&limit=0&fieldSelector=100%");
        assert_eq!(query.get("labelSelector"), "a=b,c in (d)");
        assert!(query.is_true("watch"));
        assert!(!query.is_true("limit"));
        assert_eq!(query.get("fieldSelector"), "100%");
    }
}
