//! Static types: what the checker knows of a value before it exists. The names are Go's, because messages show them.

use std::sync::Arc;

/// How deep the element types of nested arrays are followed; below that an element is `any`.
const MAX_ELEMENT_DEPTH: u8 = 16;

/// A static type. `Unknown` is nothing known at all, `Any` a value in a Go `interface {}`; both are checked only when evaluated.
#[derive(Clone, Debug, PartialEq)]
pub enum Type {
    /// Nothing is known.
    Unknown,
    /// A Go `interface {}`.
    Any,
    /// The value nil.
    Nil,
    /// `bool`
    Bool,
    /// `int`
    Int,
    /// `int64`
    Int64,
    /// `uint8`
    Uint8,
    /// `float64`
    Float,
    /// `string`
    Str,
    /// `[]uint8`
    Bytes,
    /// `[]interface {}`, with what is known of its elements.
    Slice(Element),
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
    /// `map[string]interface {}`
    StrMap,
    /// `map[interface {}]interface {}`
    AnyMap,
    /// `map[interface {}][]interface {}`
    Groups,
    /// `map[int]struct {}`
    IntSet,
    /// `map[string]struct {}`
    StrSet,
    /// `time.Time`
    Time,
    /// `time.Duration`
    Duration,
    /// `time.Month`
    Month,
    /// `time.Weekday`
    Weekday,
    /// `*time.Location`
    Location,
    /// A function.
    Func(Arc<Signature>),
}

/// What is known of the elements of a `[]interface {}`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Element {
    ty: Option<Arc<Type>>,
    depth: u8,
}

/// Type of a function as the checker needs it.
#[derive(Clone, Debug, PartialEq)]
pub struct Signature {
    /// As Go prints the type.
    pub name: String,
    /// Parameters, without a receiver.
    pub params: Vec<Type>,
    /// Whether the last parameter may be given any number of times; it is then the type of one of them.
    pub variadic: bool,
    /// How many values it returns, and the type of the first.
    pub results: usize,
    /// Type of the first result.
    pub result: Type,
    /// Whether it is a built-in named without being called.
    pub builtin: bool,
}

/// Go's kinds, as far as they occur.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Invalid,
    Interface,
    Bool,
    Int,
    Int64,
    Uint8,
    Float,
    String,
    Slice,
    Array,
    Map,
    Struct,
    Pointer,
    Func,
}

impl Type {
    /// `[]interface {}` of elements of this type.
    pub(crate) fn array_of(element: Self) -> Self {
        let depth = match &element {
            Self::Slice(e) => e.depth + 1,
            _ => 0,
        };
        if depth >= MAX_ELEMENT_DEPTH {
            return Self::any_array();
        }
        Self::Slice(Element {
            ty: Some(Arc::new(element)),
            depth,
        })
    }

    /// `[]interface {}` of which nothing more is known.
    #[must_use]
    pub fn any_array() -> Self {
        Self::Slice(Element::default())
    }

    pub(crate) fn kind(&self) -> Kind {
        match self {
            Self::Unknown | Self::Nil => Kind::Invalid,
            Self::Any => Kind::Interface,
            Self::Bool => Kind::Bool,
            Self::Int | Self::Month | Self::Weekday => Kind::Int,
            Self::Int64 | Self::Duration => Kind::Int64,
            Self::Uint8 => Kind::Uint8,
            Self::Float => Kind::Float,
            Self::Str => Kind::String,
            Self::Bytes | Self::Slice(_) | Self::Floats | Self::Ints | Self::Strs | Self::Pairs => Kind::Slice,
            Self::Pair => Kind::Array,
            Self::StrMap | Self::AnyMap | Self::Groups | Self::IntSet | Self::StrSet => Kind::Map,
            Self::Time => Kind::Struct,
            Self::Location => Kind::Pointer,
            Self::Func(_) => Kind::Func,
        }
    }

    /// The type's name in messages.
    #[must_use]
    pub fn name(&self) -> String {
        match self {
            Self::Unknown | Self::Nil => "unknown",
            Self::Any => "interface {}",
            Self::Bool => "bool",
            Self::Int => "int",
            Self::Int64 => "int64",
            Self::Uint8 => "uint8",
            Self::Float => "float64",
            Self::Str => "string",
            Self::Bytes => "[]uint8",
            Self::Slice(_) => "[]interface {}",
            Self::Floats => "[]float64",
            Self::Ints => "[]int",
            Self::Strs => "[]string",
            Self::Pairs => "[][2]interface {}",
            Self::Pair => "[2]interface {}",
            Self::StrMap => "map[string]interface {}",
            Self::AnyMap => "map[interface {}]interface {}",
            Self::Groups => "map[interface {}][]interface {}",
            Self::IntSet => "map[int]struct {}",
            Self::StrSet => "map[string]struct {}",
            Self::Time => "time.Time",
            Self::Duration => "time.Duration",
            Self::Month => "time.Month",
            Self::Weekday => "time.Weekday",
            Self::Location => "*time.Location",
            Self::Func(s) => return s.name.clone(),
        }
        .into()
    }

    /// The name where upstream looks through a pointer first.
    pub(crate) fn pointee_name(&self) -> String {
        if *self == Self::Location {
            "time.Location".into()
        } else {
            self.name()
        }
    }

    pub(crate) fn is_unknown(&self) -> bool {
        matches!(self, Self::Unknown | Self::Any)
    }

    pub(crate) fn is_nil(&self) -> bool {
        *self == Self::Nil
    }

    pub(crate) fn is_integer(&self) -> bool {
        matches!(self, Self::Int | Self::Int64 | Self::Uint8)
    }

    pub(crate) fn is_number(&self) -> bool {
        self.is_integer() || *self == Self::Float
    }

    pub(crate) fn is_array(&self) -> bool {
        matches!(self.kind(), Kind::Slice | Kind::Array)
    }

    pub(crate) fn is_map(&self) -> bool {
        self.kind() == Kind::Map
    }

    pub(crate) fn is_func(&self) -> bool {
        self.kind() == Kind::Func
    }

    /// Type of a map's keys.
    pub(crate) fn key(&self) -> Self {
        match self {
            Self::StrMap | Self::StrSet => Self::Str,
            Self::IntSet => Self::Int,
            Self::AnyMap | Self::Groups => Self::Any,
            _ => Self::Unknown,
        }
    }

    /// Type of the elements of an array or of the values of a map.
    pub(crate) fn element(&self) -> Self {
        match self {
            Self::Slice(Element { ty: Some(t), .. }) => (**t).clone(),
            other => other.declared_element(),
        }
    }

    /// The same by Go's own types alone.
    pub(crate) fn declared_element(&self) -> Self {
        match self {
            Self::Slice(_) | Self::Pair | Self::StrMap | Self::AnyMap => Self::Any,
            Self::Floats => Self::Float,
            Self::Ints => Self::Int,
            Self::Strs => Self::Str,
            Self::Bytes => Self::Uint8,
            Self::Pairs => Self::Pair,
            Self::Groups => Self::any_array(),
            _ => Self::Unknown,
        }
    }

    /// The type without what only the checker knows of elements.
    pub(crate) fn declared(&self) -> Self {
        match self {
            Self::Slice(_) => Self::any_array(),
            other => other.clone(),
        }
    }

    fn same_go_type(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Slice(_), Self::Slice(_)) => true,
            (Self::Func(a), Self::Func(b)) => a.name == b.name,
            (a, b) => a == b,
        }
    }

    pub(crate) fn assignable_to(&self, to: &Self) -> bool {
        if self.is_nil() {
            return matches!(
                to.kind(),
                Kind::Pointer | Kind::Interface | Kind::Func | Kind::Map | Kind::Slice
            );
        }
        if *self == Self::Unknown || matches!(to, Self::Unknown | Self::Nil) {
            return false;
        }
        *to == Self::Any || self.same_go_type(to)
    }

    pub(crate) fn comparable_to(&self, other: &Self) -> bool {
        self.is_unknown()
            || other.is_unknown()
            || self.is_nil()
            || other.is_nil()
            || self.is_number() && other.is_number()
            || self.is_array() && other.is_array()
            || self.assignable_to(other)
    }

    /// Whether one side is unknown and the other passes the test, or both are unknown.
    pub(crate) fn maybe(&self, other: &Self, test: impl Fn(&Self) -> bool) -> bool {
        match (self.is_unknown(), other.is_unknown()) {
            (true, true) => true,
            (true, false) => test(other),
            (false, true) => test(self),
            (false, false) => false,
        }
    }
}

impl Signature {
    /// `func(params) result`.
    pub(crate) fn new(params: &[Type], result: Type) -> Self {
        let names: Vec<String> = params.iter().map(Type::name).collect();
        Self {
            name: format!("func({}) {}", names.join(", "), result.name()),
            params: params.to_vec(),
            variadic: false,
            results: 1,
            result,
            builtin: false,
        }
    }
}
