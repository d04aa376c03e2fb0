//! Label sets: sorted, shared, with a hash that does not change from one process to the next.

use std::collections::HashMap;
use std::fmt;
use std::hash::{BuildHasherDefault, Hash, Hasher};
use std::sync::Arc;

/// The label that carries a metric's name.
pub const METRIC_NAME: &str = "__name__";

type Pair = (Arc<str>, Arc<str>);

/// A set of labels, sorted by name; none has an empty value. Cloning is cheap.
#[derive(Clone)]
pub struct Labels {
    pairs: Arc<[Pair]>,
    hash: u64,
}

impl Labels {
    /// No labels.
    pub fn empty() -> Self {
        Self::from_sorted(Vec::new())
    }

    /// A metric's name with further labels.
    pub fn metric<'a>(name: &'a str, labels: impl IntoIterator<Item = (&'a str, &'a str)>) -> Self {
        labels.into_iter().chain([(METRIC_NAME, name)]).collect()
    }

    /// Sorted, without empty values, names unique.
    fn from_sorted(pairs: Vec<Pair>) -> Self {
        Self {
            hash: hash(pairs.iter()),
            pairs: pairs.into(),
        }
    }

    /// The value of a label; a label that is not there has the value "".
    pub fn get(&self, name: &str) -> &str {
        self.find(name).map_or("", |at| &self.pairs[at].1)
    }

    fn find(&self, name: &str) -> Option<usize> {
        // Sets are small: a walk beats a search.
        self.pairs.iter().position(|(n, _)| **n == *name)
    }

    /// The metric's name, "" if there is none.
    pub fn name(&self) -> &str {
        self.get(METRIC_NAME)
    }

    /// Names and values in the order of the names.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.pairs.iter().map(|(name, value)| (&**name, &**value))
    }

    /// How many labels there are.
    pub fn len(&self) -> usize {
        self.pairs.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.pairs.is_empty()
    }

    /// Those labels for which `keep` holds.
    pub(crate) fn filter(&self, mut keep: impl FnMut(&str) -> bool) -> Self {
        let kept: Vec<Pair> = self.pairs.iter().filter(|(name, _)| keep(name)).cloned().collect();
        if kept.len() == self.pairs.len() {
            return self.clone();
        }
        Self::from_sorted(kept)
    }

    /// What [`Labels::filter`] would give, told apart without making it.
    pub(crate) fn hash_of(&self, mut keep: impl FnMut(&str) -> bool) -> u64 {
        hash(self.pairs.iter().filter(|(name, _)| keep(name)))
    }

    /// Whether [`Labels::filter`] would give `other`.
    pub(crate) fn filters_to(&self, other: &Self, mut keep: impl FnMut(&str) -> bool) -> bool {
        self.pairs.iter().filter(|(name, _)| keep(name)).eq(other.pairs.iter())
    }

    /// All but the metric's name.
    pub(crate) fn without_name(&self) -> Self {
        self.filter(|name| name != METRIC_NAME)
    }

    /// With one label set; "" removes it.
    #[must_use]
    pub fn with(&self, name: &str, value: &str) -> Self {
        let mut pairs: Vec<Pair> = self.pairs.to_vec();
        match pairs.binary_search_by(|(n, _)| (**n).cmp(name)) {
            Ok(at) if value.is_empty() => {
                pairs.remove(at);
            }
            Ok(at) => pairs[at].1 = value.into(),
            Err(_) if value.is_empty() => {}
            Err(at) => pairs.insert(at, (name.into(), value.into())),
        }
        Self::from_sorted(pairs)
    }
}

fn hash<'a>(pairs: impl Iterator<Item = &'a Pair>) -> u64 {
    let mut hasher = Fnv::default();
    for (name, value) in pairs {
        hasher.write(name.as_bytes());
        hasher.write_u8(0xff);
        hasher.write(value.as_bytes());
        hasher.write_u8(0xff);
    }
    hasher.finish()
}

impl<N: AsRef<str>, V: AsRef<str>> FromIterator<(N, V)> for Labels {
    /// Of names that occur more than once the last counts; empty values are left out, as Prometheus treats them.
    fn from_iter<I: IntoIterator<Item = (N, V)>>(labels: I) -> Self {
        let mut pairs: Vec<Pair> = Vec::new();
        for (name, value) in labels {
            let (name, value) = (name.as_ref(), value.as_ref());
            match pairs.binary_search_by(|(n, _)| (**n).cmp(name)) {
                Ok(at) => pairs[at].1 = value.into(),
                Err(at) => pairs.insert(at, (name.into(), value.into())),
            }
        }
        pairs.retain(|(_, value)| !value.is_empty());
        Self::from_sorted(pairs)
    }
}

impl PartialEq for Labels {
    fn eq(&self, other: &Self) -> bool {
        self.hash == other.hash && (Arc::ptr_eq(&self.pairs, &other.pairs) || self.pairs == other.pairs)
    }
}

impl Eq for Labels {}

impl Hash for Labels {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(self.hash);
    }
}

impl PartialOrd for Labels {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Labels {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.pairs.cmp(&other.pairs)
    }
}

impl fmt::Display for Labels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())?;
        let mut others = self.iter().filter(|(name, _)| *name != METRIC_NAME).peekable();
        if others.peek().is_none() && !self.name().is_empty() {
            return Ok(());
        }
        f.write_str("{")?;
        let mut separator = "";
        for (name, value) in others {
            write!(f, "{separator}{name}={value:?}")?;
            separator = ", ";
        }
        f.write_str("}")
    }
}

impl fmt::Debug for Labels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The usual 64-bit FNV-1a: the same in every process.
pub(crate) struct Fnv(u64);

impl Default for Fnv {
    fn default() -> Self {
        Self(0xcbf2_9ce4_8422_2325)
    }
}

impl Hasher for Fnv {
    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = (self.0 ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3);
        }
    }

    fn write_u64(&mut self, value: u64) {
        // Label sets come as a hash already.
        self.0 = (self.0 ^ value).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        self.0 ^= self.0 >> 32;
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

/// For looking up by hashes of labels; several sets may have the same. Never walked.
pub(crate) type ByHash<V> = HashMap<u64, Vec<V>, BuildHasherDefault<Fnv>>;

/// For looking up by labels. Never walked: its order means nothing.
pub(crate) type ByLabels<V> = HashMap<Labels, V, BuildHasherDefault<Fnv>>;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_sorted_and_empty_values_are_no_labels() {
        let labels: Labels = [("b", "2"), ("a", "1"), ("c", ""), ("b", "3")].into_iter().collect();
        assert_eq!(labels.iter().collect::<Vec<_>>(), [("a", "1"), ("b", "3")]);
        assert_eq!(labels.get("c"), "");
        assert_eq!(labels.with("a", ""), [("b", "3")].into_iter().collect());
    }

    #[test]
    fn labels_are_shown_as_prometheus_shows_them() {
        assert_eq!(Labels::metric("up", [("job", "a\"b")]).to_string(), r#"up{job="a\"b"}"#);
        assert_eq!(Labels::metric("up", []).to_string(), "up");
        assert_eq!(Labels::empty().to_string(), "{}");
    }
}
