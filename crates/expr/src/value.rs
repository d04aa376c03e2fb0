//! Values as expressions see them. Go's types are kept apart where a condition can tell them apart: `[]float64` from `[]interface {}`,
//! `int` from `int64`. Values are shared and never deeper than [`MAX_VALUE_DEPTH`].

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::sync::Arc;

use crate::error::Failure;
use crate::functions::Function;
use crate::limits::MAX_VALUE_DEPTH;
use crate::moment::{Moment, Zone};
use crate::types::Type;

/// A value of an expression.
#[derive(Clone, Debug)]
pub enum Value {
    /// nil
    Nil,
    /// bool
    Bool(bool),
    /// int, which has 64 bits
    Int(i64),
    /// int64, as `asInt` returns it
    Int64(i64),
    /// uint8, an element of a string or of bytes
    Uint8(u8),
    /// float64
    Float(f64),
    /// string
    Str(Arc<str>),
    /// `[]uint8`
    Bytes(Arc<[u8]>),
    /// A slice.
    Array(Arc<Array>),
    /// A map.
    Map(Arc<Map>),
    /// time.Time
    Time(Arc<Moment>),
    /// time.Duration in nanoseconds
    Duration(i64),
    /// time.Month, 1 to 12
    Month(i64),
    /// time.Weekday, 0 is Sunday
    Weekday(i64),
    /// `*time.Location`
    Location(Arc<Zone>),
    /// A function.
    Func(Arc<Function>),
}

/// Go's type of a slice or array.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ArrayKind {
    /// `[]interface {}`
    Any,
    /// The nil slice of that type: empty, and equal to nil.
    Nil,
    /// `[]float64`
    Floats,
    /// `[]int`
    Ints,
    /// `[]string`
    Strs,
    /// `[][2]interface {}`
    Pairs,
    /// `[2]interface {}`
    Pair,
}

/// Go's type of a map.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MapKind {
    /// `map[string]interface {}`
    Str,
    /// `map[interface {}]interface {}`
    Any,
    /// `map[interface {}][]interface {}`
    Groups,
    /// `map[int]struct {}`, made by the optimizer
    IntSet,
    /// `map[string]struct {}`, made by the optimizer
    StrSet,
}

/// A slice or array.
#[derive(Debug)]
pub struct Array {
    kind: ArrayKind,
    items: Vec<Value>,
    size: Size,
}

/// A map; its order is that of the keys.
#[derive(Debug)]
pub struct Map {
    kind: MapKind,
    entries: BTreeMap<Key, Value>,
    size: Size,
}

/// How deep a value is, and how much there is to walk through (shared parts counted each time).
#[derive(Clone, Copy, Debug, Default)]
struct Size {
    depth: u32,
    weight: u64,
}

/// The value of a map's key.
#[derive(Clone, Debug)]
pub struct Key(Value);

impl Key {
    /// The key as a value.
    #[must_use]
    pub fn value(&self) -> &Value {
        &self.0
    }

    /// A key, unless Go could not hash the value.
    pub(crate) fn new(v: Value) -> Result<Self, Failure> {
        match &v {
            Value::Array(_) | Value::Map(_) | Value::Bytes(_) | Value::Func(_) => Err(unhashable(&v)),
            Value::Float(f) if *f == 0.0 => Ok(Self(Value::Float(0.0))),
            _ => Ok(Self(v)),
        }
    }

    fn rank(&self) -> u8 {
        match self.0 {
            Value::Nil => 0,
            Value::Bool(_) => 1,
            Value::Int(_) => 2,
            Value::Int64(_) => 3,
            Value::Uint8(_) => 4,
            Value::Float(_) => 5,
            Value::Str(_) => 6,
            Value::Time(_) => 7,
            Value::Duration(_) => 8,
            Value::Month(_) => 9,
            Value::Weekday(_) => 10,
            _ => 11,
        }
    }
}

fn unhashable(v: &Value) -> Failure {
    Failure::new(format!("hash of unhashable type: {}", v.type_name()))
}

impl Ord for Key {
    fn cmp(&self, other: &Self) -> Ordering {
        match (&self.0, &other.0) {
            (Value::Bool(a), Value::Bool(b)) => a.cmp(b),
            (Value::Int(a), Value::Int(b))
            | (Value::Int64(a), Value::Int64(b))
            | (Value::Duration(a), Value::Duration(b))
            | (Value::Month(a), Value::Month(b))
            | (Value::Weekday(a), Value::Weekday(b)) => a.cmp(b),
            (Value::Uint8(a), Value::Uint8(b)) => a.cmp(b),
            (Value::Float(a), Value::Float(b)) => a.total_cmp(b),
            (Value::Str(a), Value::Str(b)) => a.cmp(b),
            (Value::Time(a), Value::Time(b)) => a.utc().cmp(&b.utc()),
            (Value::Location(a), Value::Location(b)) => a.name().cmp(b.name()),
            _ => self.rank().cmp(&other.rank()),
        }
    }
}

impl PartialOrd for Key {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Key {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Key {}

impl Array {
    /// Go's type of it.
    #[must_use]
    pub fn kind(&self) -> ArrayKind {
        self.kind
    }

    /// The elements.
    #[must_use]
    pub fn items(&self) -> &[Value] {
        &self.items
    }
}

impl Map {
    /// Go's type of it.
    #[must_use]
    pub fn kind(&self) -> MapKind {
        self.kind
    }

    /// Keys and values in the order of the keys.
    #[must_use]
    pub fn entries(&self) -> &BTreeMap<Key, Value> {
        &self.entries
    }

    /// Value of a string key.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&Value> {
        self.entries.get(&Key(Value::Str(key.into())))
    }
}

fn size_of<'a>(values: impl Iterator<Item = &'a Value>) -> Result<Size, Failure> {
    let mut size = Size { depth: 1, weight: 1 };
    for v in values {
        let s = v.size();
        size.depth = size.depth.max(s.depth + 1);
        size.weight = size.weight.saturating_add(s.weight);
    }
    if size.depth > MAX_VALUE_DEPTH {
        Err(Failure::new("recursion depth exceeded"))
    } else {
        Ok(size)
    }
}

impl Value {
    /// A string.
    #[must_use]
    pub fn str(text: impl AsRef<str>) -> Self {
        Self::Str(text.as_ref().into())
    }

    /// A `[]float64`, as a Prometheus vector gives it.
    #[must_use]
    pub fn floats(values: impl IntoIterator<Item = f64>) -> Self {
        let items: Vec<Self> = values.into_iter().map(Self::Float).collect();
        let size = Size {
            depth: 1,
            weight: items.len() as u64 + 1,
        };
        Self::Array(Arc::new(Array {
            kind: ArrayKind::Floats,
            items,
            size,
        }))
    }

    /// A decoded JSON document, as Go's `encoding/json` gives it: every number is a float64.
    ///
    /// # Errors
    /// When it nests deeper than [`MAX_VALUE_DEPTH`], which no document does that serde_json has read.
    pub fn from_json(v: &serde_json::Value) -> Result<Self, String> {
        Self::from_json_at(v, 0).map_err(|f| f.0)
    }

    fn from_json_at(v: &serde_json::Value, depth: u32) -> Result<Self, Failure> {
        use serde_json::Value as J;
        if depth > MAX_VALUE_DEPTH {
            return Err(Failure::new("recursion depth exceeded"));
        }
        match v {
            J::Null => Ok(Self::Nil),
            J::Bool(b) => Ok(Self::Bool(*b)),
            J::Number(n) => Ok(Self::Float(n.as_f64().unwrap_or(f64::NAN))),
            J::String(s) => Ok(Self::str(s)),
            J::Array(a) => {
                let items: Result<Vec<Self>, Failure> = a.iter().map(|x| Self::from_json_at(x, depth + 1)).collect();
                Self::array(ArrayKind::Any, items?)
            }
            J::Object(o) => {
                let entries: Result<BTreeMap<Key, Self>, Failure> = o
                    .iter()
                    .map(|(k, x)| Ok((Key(Self::str(k)), Self::from_json_at(x, depth + 1)?)))
                    .collect();
                Self::map(MapKind::Str, entries?)
            }
        }
    }

    /// A slice, unless it would nest too deeply.
    pub(crate) fn array(kind: ArrayKind, items: Vec<Self>) -> Result<Self, Failure> {
        let size = size_of(items.iter())?;
        Ok(Self::Array(Arc::new(Array { kind, items, size })))
    }

    /// A map, unless it would nest too deeply.
    pub(crate) fn map(kind: MapKind, entries: BTreeMap<Key, Self>) -> Result<Self, Failure> {
        let mut size = size_of(entries.values())?;
        size.weight = entries.keys().fold(size.weight, |w, k| w.saturating_add(k.0.weight()));
        Ok(Self::Map(Arc::new(Map { kind, entries, size })))
    }

    fn size(&self) -> Size {
        match self {
            Self::Array(a) => a.size,
            Self::Map(m) => m.size,
            Self::Str(s) => Size {
                depth: 0,
                weight: s.len() as u64 / 8 + 1,
            },
            Self::Bytes(b) => Size {
                depth: 0,
                weight: b.len() as u64 / 8 + 1,
            },
            _ => Size { depth: 0, weight: 1 },
        }
    }

    /// How much there is to walk through in this value.
    pub(crate) fn weight(&self) -> u64 {
        self.size().weight
    }

    /// Whether the value is nil, or a nil slice.
    pub(crate) fn is_nil(&self) -> bool {
        match self {
            Self::Nil => true,
            Self::Array(a) => a.kind == ArrayKind::Nil,
            _ => false,
        }
    }

    /// Whether a metric with this result has no data: nil, or an array without elements (compat 3.5).
    #[must_use]
    pub fn is_nil_or_empty(&self) -> bool {
        match self {
            Self::Nil => true,
            Self::Array(a) => a.items.is_empty(),
            Self::Bytes(b) => b.is_empty(),
            _ => false,
        }
    }

    /// Static type of this value: what the checker starts from.
    #[must_use]
    pub fn type_of(&self) -> Type {
        match self {
            Self::Nil => Type::Nil,
            Self::Bool(_) => Type::Bool,
            Self::Int(_) => Type::Int,
            Self::Int64(_) => Type::Int64,
            Self::Uint8(_) => Type::Uint8,
            Self::Float(_) => Type::Float,
            Self::Str(_) => Type::Str,
            Self::Bytes(_) => Type::Bytes,
            Self::Array(a) => match a.kind {
                ArrayKind::Any | ArrayKind::Nil => Type::any_array(),
                ArrayKind::Floats => Type::Floats,
                ArrayKind::Ints => Type::Ints,
                ArrayKind::Strs => Type::Strs,
                ArrayKind::Pairs => Type::Pairs,
                ArrayKind::Pair => Type::Pair,
            },
            Self::Map(m) => match m.kind {
                MapKind::Str => Type::StrMap,
                MapKind::Any => Type::AnyMap,
                MapKind::Groups => Type::Groups,
                MapKind::IntSet => Type::IntSet,
                MapKind::StrSet => Type::StrSet,
            },
            Self::Time(_) => Type::Time,
            Self::Duration(_) => Type::Duration,
            Self::Month(_) => Type::Month,
            Self::Weekday(_) => Type::Weekday,
            Self::Location(_) => Type::Location,
            Self::Func(f) => Type::Func(Arc::new(f.signature())),
        }
    }

    /// Go's name of the value's type (`%T`).
    #[must_use]
    pub fn type_name(&self) -> String {
        match self {
            Self::Nil => "<nil>".into(),
            other => other.type_of().name(),
        }
    }

    /// The value as Go prints it (`%v`), for logs; one that is too long to be read only by its type.
    #[must_use]
    pub fn printed(&self) -> String {
        if self.weight() > 10_000 {
            self.type_name()
        } else {
            crate::format::to_string(self)
        }
    }

    /// The number, when it is any kind of integer.
    pub(crate) fn integer(&self) -> Option<i64> {
        match self {
            Self::Int(n) | Self::Int64(n) => Some(*n),
            Self::Uint8(n) => Some(i64::from(*n)),
            _ => None,
        }
    }

    /// The number, when it is one.
    pub(crate) fn number(&self) -> Option<f64> {
        match self {
            Self::Float(f) => Some(*f),
            #[expect(clippy::cast_precision_loss, reason = "as Go converts")]
            other => other.integer().map(|n| n as f64),
        }
    }
}

impl From<f64> for Value {
    fn from(v: f64) -> Self {
        Self::Float(v)
    }
}

impl From<Vec<f64>> for Value {
    fn from(v: Vec<f64>) -> Self {
        Self::floats(v)
    }
}

impl From<bool> for Value {
    fn from(v: bool) -> Self {
        Self::Bool(v)
    }
}

impl From<&str> for Value {
    fn from(v: &str) -> Self {
        Self::str(v)
    }
}
