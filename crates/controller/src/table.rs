//! One kind of object in memory, by key: what the watch said, merged with the answers to our own writes.
//!
//! Contract 3 (design section 4): a plan is never made from something older than our own last write. So the newer
//! resourceVersion wins, wherever it came from, and what we deleted stays deleted although the watch still shows it.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    sync::Arc,
};

/// Namespace (empty for cluster-scoped kinds) and name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key {
    /// Namespace.
    pub namespace: String,
    /// Name.
    pub name: String,
}

impl Key {
    /// A key.
    pub fn new(namespace: impl Into<String>, name: impl Into<String>) -> Self {
        Self {
            namespace: namespace.into(),
            name: name.into(),
        }
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

/// Identity and version of an object.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Version {
    /// `metadata.uid`.
    pub uid: String,
    /// `metadata.resourceVersion`.
    pub resource_version: String,
}

impl Version {
    /// Whether this one is from a later moment. Resource versions are numbers of one sequence per kind (KEP-5504; true of
    /// every API server that stores in etcd); of others it is only known that they differ.
    fn is_newer_than(&self, other: &Self) -> bool {
        match (
            self.resource_version.parse::<u128>(),
            other.resource_version.parse::<u128>(),
        ) {
            (Ok(mine), Ok(theirs)) => mine > theirs,
            _ => self.resource_version != other.resource_version,
        }
    }
}

/// A [`Version`] in few bytes: nearly always two numbers.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Stamp {
    Numbers { uid: [u8; 16], resource_version: u64 },
    Words(Box<Version>),
}

impl Stamp {
    fn new(version: Version) -> Self {
        let resource_version = version.resource_version.parse().ok();
        match uid_bytes(&version.uid).zip(resource_version) {
            Some((uid, resource_version)) => {
                let stamp = Self::Numbers { uid, resource_version };
                // Other spellings of the same numbers are other words.
                if stamp.version() == version {
                    stamp
                } else {
                    Self::Words(Box::new(version))
                }
            }
            None => Self::Words(Box::new(version)),
        }
    }

    fn version(&self) -> Version {
        match self {
            Self::Numbers { uid, resource_version } => Version {
                uid: uid_text(uid),
                resource_version: resource_version.to_string(),
            },
            Self::Words(version) => version.as_ref().clone(),
        }
    }

    /// See [`Version::is_newer_than`].
    fn is_older_than(&self, other: &Version) -> bool {
        match self {
            Self::Numbers { resource_version, .. } => other
                .resource_version
                .parse::<u128>()
                .map_or(true, |theirs| theirs > u128::from(*resource_version)),
            Self::Words(version) => other.is_newer_than(version),
        }
    }

    fn is_of(&self, uid: &str) -> bool {
        match self {
            Self::Numbers { uid: own, .. } => uid_bytes(uid).as_ref() == Some(own),
            Self::Words(version) => version.uid == uid,
        }
    }
}

/// The bytes of `xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx`.
fn uid_bytes(text: &str) -> Option<[u8; 16]> {
    let mut out = [0; 16];
    let mut digits = text
        .bytes()
        .filter(|byte| *byte != b'-')
        .map(|byte| char::from(byte).to_digit(16));
    for byte in &mut out {
        let (high, low) = (digits.next()??, digits.next()??);
        *byte = u8::try_from(high * 16 + low).ok()?;
    }
    digits.next().is_none().then_some(out)
}

fn uid_text(bytes: &[u8; 16]) -> String {
    let mut out = String::with_capacity(36);
    for (nth, byte) in bytes.iter().enumerate() {
        if matches!(nth, 4 | 6 | 8 | 10) {
            out.push('-');
        }
        for half in [byte >> 4, byte & 0xf] {
            out.push(char::from(b"0123456789abcdef"[usize::from(half)]));
        }
    }
    out
}

/// What an observation changed.
#[derive(Clone, Debug)]
pub struct Change<V> {
    /// Which object.
    pub key: Key,
    /// Before; `None` when it was not there.
    pub old: Option<Arc<V>>,
    /// After; `None` when it is gone.
    pub new: Option<Arc<V>>,
}

#[derive(Clone, Debug)]
struct Row<V> {
    value: Arc<V>,
    stamp: Stamp,
    /// During which listing it was last observed.
    epoch: u64,
}

#[derive(Clone, Debug)]
struct Grave {
    uid: String,
    epoch: u64,
}

/// See the module.
#[derive(Debug)]
pub struct Table<V> {
    /// Keys are shared with the index.
    rows: BTreeMap<Arc<Key>, Row<V>>,
    /// What we deleted and the watch has not confirmed yet.
    graves: BTreeMap<Key, Grave>,
    /// What the last listing did not name, as it was known: a stale one may be older than the object itself, and then the watch
    /// goes through versions that we have seen, or written.
    lost: BTreeMap<Key, Stamp>,
    /// Listings begun.
    epoch: u64,
    listing: Option<BTreeSet<Key>>,
    listed: bool,
    index_of: fn(&Key, &V) -> Option<String>,
    index: BTreeMap<String, BTreeSet<Arc<Key>>>,
}

impl<V> Table<V> {
    /// An empty table; `index_of` says under which word an object can be looked up besides its key.
    pub fn new(index_of: fn(&Key, &V) -> Option<String>) -> Self {
        Self {
            rows: BTreeMap::new(),
            graves: BTreeMap::new(),
            lost: BTreeMap::new(),
            epoch: 0,
            listing: None,
            listed: false,
            index_of,
            index: BTreeMap::new(),
        }
    }

    /// Whether a listing was completed at least once.
    pub fn is_listed(&self) -> bool {
        self.listed
    }

    /// One object.
    pub fn get(&self, key: &Key) -> Option<&Arc<V>> {
        self.rows.get(key).map(|row| &row.value)
    }

    /// All objects in the order of their keys.
    pub fn iter(&self) -> impl Iterator<Item = (&Key, &Arc<V>)> {
        self.rows.iter().map(|(key, row)| (key.as_ref(), &row.value))
    }

    /// All objects of a namespace.
    pub fn in_namespace<'a>(&'a self, namespace: &'a str) -> impl Iterator<Item = (&'a Key, &'a Arc<V>)> {
        self.rows
            .range(Arc::new(Key::new(namespace, ""))..)
            .take_while(move |(key, _)| key.namespace == namespace)
            .map(|(key, row)| (key.as_ref(), &row.value))
    }

    /// All objects with this index word, in the order of their keys.
    pub fn with_index(&self, word: &str) -> impl Iterator<Item = (&Key, &Arc<V>)> {
        self.index
            .get(word)
            .into_iter()
            .flatten()
            .filter_map(|key| Some((key.as_ref(), &self.rows.get(key)?.value)))
    }

    /// How many.
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// Takes in an object, from the watch or from the answer to a write. `None` when it is not newer than what is known.
    pub fn observe(&mut self, key: Key, version: Version, value: V) -> Option<Change<V>> {
        if let Some(listing) = &mut self.listing {
            listing.insert(key.clone());
        }
        if let Some(grave) = self.graves.get(&key) {
            if grave.uid == version.uid {
                return None;
            }
            self.graves.remove(&key);
        }
        if let Some(lost) = self.lost.get(&key) {
            if lost.is_of(&version.uid) && Stamp::new(version.clone()).is_older_than(&lost.version()) {
                return None;
            }
            self.lost.remove(&key);
        }
        let value = Arc::new(value);
        let (shared, old) = match self.rows.get_key_value(&key) {
            Some((shared, row)) => {
                if !row.stamp.is_older_than(&version) {
                    if let Some(row) = self.rows.get_mut(&key) {
                        row.epoch = self.epoch;
                    }
                    return None;
                }
                (Arc::clone(shared), Some(Arc::clone(&row.value)))
            }
            None => (Arc::new(key.clone()), None),
        };
        let row = Row {
            value: Arc::clone(&value),
            stamp: Stamp::new(version),
            epoch: self.epoch,
        };
        self.rows.insert(Arc::clone(&shared), row);
        self.reindex(&shared, old.as_deref(), Some(&value));
        Some(Change {
            key,
            old,
            new: Some(value),
        })
    }

    /// The watch said that the object is gone.
    pub fn gone(&mut self, key: &Key, version: &Version) -> Option<Change<V>> {
        if self.graves.get(key).is_some_and(|grave| grave.uid == version.uid) {
            self.graves.remove(key);
        }
        self.lost.remove(key);
        // Another object of that name may have been created and be known already.
        if self.rows.get(key).is_some_and(|row| !row.stamp.is_of(&version.uid)) {
            return None;
        }
        self.take(key)
    }

    /// We deleted the object, or a read found that it is gone: it is not to come back until the watch has caught up.
    pub fn bury(&mut self, key: &Key, uid: &str) -> Option<Change<V>> {
        if self.rows.get(key).is_some_and(|row| !row.stamp.is_of(uid)) {
            return None;
        }
        self.graves.insert(
            key.clone(),
            Grave {
                uid: uid.to_owned(),
                epoch: self.epoch,
            },
        );
        self.take(key)
    }

    /// The uid of the object that is known under this key.
    pub fn uid(&self, key: &Key) -> Option<String> {
        self.rows.get(key).map(|row| row.stamp.version().uid)
    }

    /// A listing begins: what it does not name and was not written since is gone at its end.
    pub fn begin_listing(&mut self) {
        self.epoch += 1;
        self.listing = Some(BTreeSet::new());
    }

    /// A listing is complete.
    pub fn end_listing(&mut self) -> Vec<Change<V>> {
        self.listed = true;
        let Some(listing) = self.listing.take() else {
            return Vec::new();
        };
        let epoch = self.epoch;
        // Whatever was written after the listing began may be too young to be in it; the watch that follows will say.
        let lost: Vec<Arc<Key>> = self
            .rows
            .iter()
            .filter(|(key, row)| row.epoch < epoch && !listing.contains(key.as_ref()))
            .map(|(key, _)| Arc::clone(key))
            .collect();
        self.graves.retain(|_, grave| grave.epoch >= epoch);
        let stamps = lost
            .iter()
            .filter_map(|key| Some((key.as_ref().clone(), self.rows.get(key.as_ref())?.stamp.clone())));
        self.lost = stamps.collect();
        lost.iter().filter_map(|key| self.take(key)).collect()
    }

    fn take(&mut self, key: &Key) -> Option<Change<V>> {
        let (shared, Row { value: old, .. }) = self.rows.remove_entry(key)?;
        self.reindex(&shared, Some(&old), None);
        Some(Change {
            key: key.clone(),
            old: Some(old),
            new: None,
        })
    }

    fn reindex(&mut self, key: &Arc<Key>, old: Option<&V>, new: Option<&V>) {
        let old = old.and_then(|v| (self.index_of)(key, v));
        let new = new.and_then(|v| (self.index_of)(key, v));
        if old == new {
            return;
        }
        if let Some(word) = old
            && let Some(keys) = self.index.get_mut(&word)
        {
            keys.remove(key);
            if keys.is_empty() {
                self.index.remove(&word);
            }
        }
        if let Some(word) = new {
            self.index.entry(word).or_default().insert(Arc::clone(key));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(name: &str) -> Key {
        Key::new("ns", name)
    }

    fn version(uid: &str, resource_version: &str) -> Version {
        Version {
            uid: uid.into(),
            resource_version: resource_version.into(),
        }
    }

    /// Values are owners here.
    fn table() -> Table<&'static str> {
        Table::new(|_, owner| (!owner.is_empty()).then(|| (*owner).to_owned()))
    }

    #[test]
    fn what_a_stale_listing_forgot_comes_back_no_older_than_it_was_known() {
        let mut table = table();
        table.observe(key("a"), version("1", "9"), "x");
        table.begin_listing();
        assert_eq!(table.end_listing().len(), 1);
        assert!(table.observe(key("a"), version("1", "7"), "old").is_none());
        assert!(table.get(&key("a")).is_none());
        assert!(
            table.observe(key("a"), version("1", "9"), "x").is_some(),
            "the watch has caught up"
        );
        table.begin_listing();
        table.end_listing();
        assert!(table.observe(key("a"), version("2", "3"), "another").is_some());
    }

    #[test]
    fn the_newer_version_wins_wherever_it_came_from() {
        let mut t = table();
        assert!(t.observe(key("a"), version("u", "5"), "x").is_some());
        assert!(
            t.observe(key("a"), version("u", "10"), "own write").is_some(),
            "10 is newer than 5"
        );
        assert!(t.observe(key("a"), version("u", "9"), "late watch event").is_none());
        assert!(t.observe(key("a"), version("u", "10"), "the same again").is_none());
        assert_eq!(**t.get(&key("a")).unwrap(), "own write");
    }

    #[test]
    fn what_we_deleted_stays_deleted_until_the_watch_has_caught_up() {
        let mut t = table();
        t.observe(key("a"), version("u", "5"), "x");
        assert!(t.bury(&key("a"), "u").is_some());
        assert!(t.observe(key("a"), version("u", "6"), "late").is_none());
        assert!(t.get(&key("a")).is_none());
        t.gone(&key("a"), &version("u", "7"));
        assert!(t.observe(key("a"), version("u2", "8"), "a new one").is_some());
    }

    #[test]
    fn a_new_object_of_the_same_name_is_not_taken_for_the_deleted_one() {
        let mut t = table();
        t.observe(key("a"), version("u", "5"), "x");
        t.bury(&key("a"), "u");
        assert!(t.observe(key("a"), version("u2", "8"), "own creation").is_some());
        assert!(
            t.gone(&key("a"), &version("u", "7")).is_none(),
            "the old one's end arrives late"
        );
        assert!(t.get(&key("a")).is_some());
    }

    #[test]
    fn a_listing_drops_what_it_does_not_name_but_not_what_was_written_meanwhile() {
        let mut t = table();
        for name in ["kept", "lost"] {
            t.observe(key(name), version(name, "1"), "x");
        }
        t.begin_listing();
        t.observe(key("kept"), version("kept", "1"), "x");
        // The answer to a write of ours comes while the listing is under way; the list was taken before it.
        t.listing.as_mut().unwrap().clear();
        t.observe(key("young"), version("young", "9"), "own");
        t.listing = Some([key("kept")].into());
        let lost = t.end_listing();
        assert_eq!(lost.iter().map(|c| c.key.name.as_str()).collect::<Vec<_>>(), ["lost"]);
        assert!(t.get(&key("young")).is_some());
        assert!(t.is_listed());
    }

    #[test]
    fn a_listing_taken_before_our_deletion_does_not_bring_the_object_back() {
        let mut t = table();
        t.observe(key("a"), version("u", "1"), "x");
        t.begin_listing();
        t.bury(&key("a"), "u");
        assert!(t.observe(key("a"), version("u", "1"), "x").is_none());
        t.end_listing();
        assert!(t.get(&key("a")).is_none());
        assert!(
            t.observe(key("a"), version("u", "1"), "x").is_none(),
            "still buried: the watch has not confirmed it"
        );
    }

    #[test]
    fn the_index_follows_every_change() {
        let mut t = table();
        t.observe(key("a"), version("a", "1"), "x");
        t.observe(key("b"), version("b", "2"), "x");
        let names =
            |t: &Table<&'static str>, word: &str| t.with_index(word).map(|(k, _)| k.name.clone()).collect::<Vec<_>>();
        assert_eq!(names(&t, "x"), ["a", "b"]);
        t.observe(key("a"), version("a", "3"), "y");
        assert_eq!(
            (names(&t, "x"), names(&t, "y")),
            (vec!["b".to_owned()], vec!["a".to_owned()])
        );
        t.gone(&key("b"), &version("b", "4"));
        assert!(names(&t, "x").is_empty() && !t.index.contains_key("x"));
    }

    #[test]
    fn a_stamp_is_the_version_again_however_that_is_spelt() {
        let uid = "0b0f7a3e-3c55-4d6a-9d0e-6f6a3f6f6f6f";
        for (uid, resource_version, small) in [
            (uid, "1234567", true),
            (uid, "0012", false),
            (uid, "abc", false),
            (&uid.to_uppercase(), "12", false),
            (&uid.replace('-', ""), "12", false),
            ("uid-a", "12", false),
            ("", "", false),
        ] {
            let stamp = Stamp::new(version(uid, resource_version));
            assert_eq!(stamp.version(), version(uid, resource_version));
            assert!(stamp.is_of(uid) && !stamp.is_of("another"));
            assert_eq!(
                matches!(stamp, Stamp::Numbers { .. }),
                small,
                "{uid} {resource_version}"
            );
        }
    }

    #[test]
    fn versions_that_are_no_numbers_are_told_apart_only() {
        let mut t = table();
        t.observe(key("a"), version("u", "abc"), "x");
        assert!(t.observe(key("a"), version("u", "abd"), "y").is_some());
        assert!(t.observe(key("a"), version("u", "abd"), "z").is_none());
    }
}
