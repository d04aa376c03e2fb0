//! The built-in functions: their names, what the checker knows of their arguments, and their code.
//! `rules` decides statically, the other files evaluate.

pub(crate) mod collections;
pub(crate) mod json;
pub(crate) mod numbers;
mod rules;
pub(crate) mod text;
pub(crate) mod times;

pub(crate) use rules::{Rule, function_type, rule};

use chrono::{DateTime, Utc};

use crate::error::Failure;
use crate::limits::Budget;
use crate::value::Value;

macro_rules! builtins {
    ($($variant:ident $name:literal),* $(,)?) => {
        /// A built-in function.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(crate) enum Builtin { $($variant),* }

        impl Builtin {
            /// The built-in of that name.
            pub(crate) fn find(name: &str) -> Option<Self> {
                match name { $($name => Some(Self::$variant),)* _ => None }
            }

            pub(crate) fn name(self) -> &'static str {
                match self { $(Self::$variant => $name),* }
            }
        }
    };
}

builtins! {
    All "all", None "none", Any "any", One "one", Filter "filter", Map "map", Find "find", FindIndex "findIndex",
    FindLast "findLast", FindLastIndex "findLastIndex", Count "count", Sum "sum", GroupBy "groupBy", SortBy "sortBy",
    Reduce "reduce",
    Len "len", Type "type", Abs "abs", Ceil "ceil", Floor "floor", Round "round", Int "int", Float "float", String "string",
    Trim "trim", TrimPrefix "trimPrefix", TrimSuffix "trimSuffix", Upper "upper", Lower "lower", Split "split",
    SplitAfter "splitAfter", Replace "replace", Repeat "repeat", Join "join", IndexOf "indexOf", LastIndexOf "lastIndexOf",
    HasPrefix "hasPrefix", HasSuffix "hasSuffix", Max "max", Min "min", Mean "mean", Median "median", ToJson "toJSON",
    FromJson "fromJSON", ToBase64 "toBase64", FromBase64 "fromBase64", Now "now", Duration "duration", Date "date",
    Timezone "timezone", First "first", Last "last", Get "get", Take "take", Keys "keys", Values "values",
    ToPairs "toPairs", FromPairs "fromPairs", Reverse "reverse", Uniq "uniq", Concat "concat", Flatten "flatten",
    Sort "sort", BitAnd "bitand", BitOr "bitor", BitXor "bitxor", BitNand "bitnand", BitShl "bitshl", BitShr "bitshr",
    BitUshr "bitushr", BitNot "bitnot",
}

/// What an argument of a predicate built-in is: an expression or a predicate, and whether it may be left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Param {
    Expression,
    Predicate,
    OptionalExpression,
    OptionalPredicate,
}

impl Builtin {
    /// The parameters of a built-in that takes a predicate.
    pub(crate) fn predicate_params(self) -> Option<&'static [Param]> {
        use Param::{Expression, OptionalExpression, OptionalPredicate, Predicate};
        match self {
            Self::All
            | Self::None
            | Self::Any
            | Self::One
            | Self::Filter
            | Self::Map
            | Self::Find
            | Self::FindIndex
            | Self::FindLast
            | Self::FindLastIndex
            | Self::GroupBy => Some(&[Expression, Predicate]),
            Self::Count | Self::Sum => Some(&[Expression, OptionalPredicate]),
            Self::SortBy | Self::Reduce => Some(&[Expression, Predicate, OptionalExpression]),
            _ => None,
        }
    }
}

/// Calls a built-in that takes no predicate. `args` have passed the checker's rules as far as types were known.
pub(crate) fn call(which: Builtin, args: &[Value], now: DateTime<Utc>, budget: &mut Budget) -> Result<Value, Failure> {
    use Builtin as B;
    match which {
        B::Len
        | B::Type
        | B::First
        | B::Last
        | B::Get
        | B::Take
        | B::Keys
        | B::Values
        | B::ToPairs
        | B::FromPairs
        | B::Reverse
        | B::Uniq
        | B::Concat
        | B::Flatten
        | B::Sort => collections::call(which, args, budget),
        B::Abs
        | B::Ceil
        | B::Floor
        | B::Round
        | B::Int
        | B::Float
        | B::Max
        | B::Min
        | B::Mean
        | B::Median
        | B::BitAnd
        | B::BitOr
        | B::BitXor
        | B::BitNand
        | B::BitShl
        | B::BitShr
        | B::BitUshr
        | B::BitNot => numbers::call(which, args, budget),
        B::ToJson | B::FromJson => json::call(which, args, budget),
        B::Now | B::Duration | B::Date | B::Timezone => times::call(which, args, now, budget),
        _ => text::call(which, args, budget),
    }
}

/// Argument `i`; a missing one can only be there when the arguments were never checked.
pub(crate) fn arg(args: &[Value], i: usize) -> Result<&Value, Failure> {
    args.get(i).ok_or_else(|| {
        Failure::new(format!(
            "runtime error: index out of range [{i}] with length {}",
            args.len()
        ))
    })
}
