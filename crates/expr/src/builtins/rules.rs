//! What the checker knows of a built-in: the arguments it takes and the type it returns. Texts are upstream's.

use super::Builtin;
use crate::types::{Kind, Signature, Type};

/// How the arguments of a built-in are checked.
pub(crate) enum Rule {
    /// Against one of these signatures.
    Overloads(Vec<Signature>),
    /// By a function over all argument types.
    Types(fn(Builtin, &[Type]) -> Result<Type, String>),
    /// `get` looks at the arguments' syntax as well; the checker does it.
    Get,
    /// A built-in with a predicate; the checker does it.
    Predicate,
}

/// A signature named as Go names the function type that upstream registers.
fn sig(params: &[Type], result: Type) -> Signature {
    Signature::new(params, result)
}

/// The same for a function that also returns an error.
fn fallible(params: &[Type], result: Type) -> Signature {
    let mut s = sig(params, result);
    s.name = s.name.replacen(") ", ") (", 1) + ", error)";
    s.results = 2;
    s
}

/// Rule of a built-in.
pub(crate) fn rule(which: Builtin) -> Rule {
    use Builtin as B;
    use Type::{Any, Floats, Int, Ints, Str, Strs};
    let arr = Type::any_array;
    Rule::Overloads(match which {
        B::Type | B::String | B::ToJson => vec![sig(&[Any], Str)],
        B::Trim => vec![sig(&[Str], Str), sig(&[Str, Str], Str)],
        B::TrimPrefix | B::TrimSuffix => vec![sig(&[Str, Str], Str), sig(&[Str], Str)],
        B::Upper | B::Lower | B::ToBase64 | B::FromBase64 => vec![sig(&[Str], Str)],
        B::Split | B::SplitAfter => vec![sig(&[Str, Str], Strs), sig(&[Str, Str, Int], Strs)],
        B::Replace => vec![sig(&[Str, Str, Str, Int], Str), sig(&[Str, Str, Str], Str)],
        B::Repeat => vec![sig(&[Str, Int], Str)],
        B::Join => vec![
            sig(&[Strs, Str], Str),
            sig(&[arr(), Str], Str),
            sig(&[arr()], Str),
            sig(&[Strs, Str], Str),
            sig(&[Strs], Str),
        ],
        B::IndexOf | B::LastIndexOf => vec![sig(&[Str, Str], Int)],
        B::HasPrefix | B::HasSuffix => vec![sig(&[Str, Str], Type::Bool)],
        B::FromJson => vec![sig(&[Str], Any)],
        B::Duration => vec![fallible(&[Str], Type::Duration)],
        B::Timezone => vec![fallible(&[Str], Type::Location)],
        B::Sort => vec![
            sig(&[arr(), Str], arr()),
            sig(&[Ints, Str], arr()),
            sig(&[Floats, Str], arr()),
            sig(&[Strs, Str], arr()),
            sig(&[arr()], arr()),
            sig(&[Floats], arr()),
            sig(&[Strs], arr()),
            sig(&[Ints], arr()),
        ],
        B::BitAnd | B::BitOr | B::BitXor | B::BitNand | B::BitShl | B::BitShr | B::BitUshr => {
            vec![sig(&[Int, Int], Int)]
        }
        B::BitNot => vec![sig(&[Int], Int)],
        // What upstream declares for `sum`; reached only by a predicate that returns nothing.
        B::Sum => vec![sum_signature()],
        B::Len => return Rule::Types(len),
        B::Abs | B::Ceil | B::Floor | B::Round | B::Int | B::Float => return Rule::Types(number),
        B::Max | B::Min | B::Mean | B::Median => return Rule::Types(aggregate),
        B::Now => return Rule::Types(now),
        B::Date => return Rule::Types(date),
        B::First | B::Last => return Rule::Types(end),
        B::Take => return Rule::Types(take),
        B::Keys | B::Values | B::ToPairs => return Rule::Types(from_map),
        B::FromPairs | B::Reverse | B::Uniq | B::Flatten => return Rule::Types(from_array),
        B::Concat => return Rule::Types(concat),
        B::Get => return Rule::Get,
        _ => return Rule::Predicate,
    })
}

fn sum_signature() -> Signature {
    let predicate = Type::Func(std::sync::Arc::new(sig(&[Type::Any], Type::Bool)));
    sig(&[Type::any_array(), predicate], Type::Int)
}

/// Type of a built-in that is named but not called: for messages only, since its value is nil.
pub(crate) fn function_type(which: Builtin) -> Signature {
    let mut s = match rule(which) {
        Rule::Overloads(list) if !list.is_empty() && which != Builtin::Sum => {
            list.into_iter().next().unwrap_or_else(generic)
        }
        Rule::Predicate => predicate_type(which),
        Rule::Overloads(_) => predicate_type(which),
        Rule::Types(_) | Rule::Get => generic(),
    };
    s.builtin = true;
    s
}

fn generic() -> Signature {
    Signature {
        name: "func(...interface {}) (interface {}, error)".into(),
        variadic: true,
        results: 2,
        ..sig(&[Type::Any], Type::Any)
    }
}

fn predicate_type(which: Builtin) -> Signature {
    use Builtin as B;
    let (params, result) = match which {
        B::Filter | B::Map => ("[]interface {}, func(interface {}) bool", "[]interface {}"),
        B::Find | B::FindLast => ("[]interface {}, func(interface {}) bool", "interface {}"),
        B::FindIndex | B::FindLastIndex | B::Count | B::Sum => ("[]interface {}, func(interface {}) bool", "int"),
        B::GroupBy => (
            "[]interface {}, func(interface {}) interface {}",
            "map[interface {}][]interface {}",
        ),
        B::SortBy => ("[]interface {}, func(interface {}) bool, string", "[]interface {}"),
        B::Reduce => (
            "[]interface {}, func(interface {}, interface {}) interface {}, interface {}",
            "interface {}",
        ),
        _ => ("[]interface {}, func(interface {}) bool", "bool"),
    };
    let mut name = format!("func({params}) {result}");
    if which == B::Map {
        name = name.replacen(") bool", ") interface {}", 1);
    }
    Signature { name, ..generic() }
}

fn expect(args: &[Type], n: usize) -> Result<(), String> {
    if args.len() == n {
        Ok(())
    } else {
        Err(format!(
            "invalid number of arguments (expected {n}, got {})",
            args.len()
        ))
    }
}

/// The name of a type in a rule's message: there upstream prints a missing type in a way of its own.
fn shown(t: &Type) -> String {
    if t.is_nil() { "%!s(<nil>)".into() } else { t.name() }
}

fn len(_: Builtin, args: &[Type]) -> Result<Type, String> {
    expect(args, 1)?;
    match args[0].kind() {
        Kind::Array | Kind::Map | Kind::Slice | Kind::String | Kind::Interface => Ok(Type::Int),
        _ => Err(format!("invalid argument for len (type {})", shown(&args[0]))),
    }
}

fn is_numeric_kind(t: &Type) -> bool {
    matches!(t.kind(), Kind::Int | Kind::Int64 | Kind::Uint8 | Kind::Float)
}

fn number(which: Builtin, args: &[Type]) -> Result<Type, String> {
    expect(args, 1)?;
    let t = &args[0];
    let text = matches!(which, Builtin::Int | Builtin::Float) && t.kind() == Kind::String;
    if !(is_numeric_kind(t) || t.kind() == Kind::Interface || text) {
        return Err(format!("invalid argument for {} (type {})", which.name(), shown(t)));
    }
    Ok(match which {
        Builtin::Abs => t.clone(),
        Builtin::Int => Type::Int,
        _ => Type::Float,
    })
}

fn aggregate(which: Builtin, args: &[Type]) -> Result<Type, String> {
    let Some(first) = args.first() else {
        return Err(format!("not enough arguments to call {}", which.name()));
    };
    for t in args {
        match t.kind() {
            Kind::Interface | Kind::Array | Kind::Slice => return Ok(Type::Any),
            _ if is_numeric_kind(t) => {}
            _ => return Err(format!("invalid argument for {} (type {})", which.name(), shown(t))),
        }
    }
    Ok(first.clone())
}

fn now(_: Builtin, args: &[Type]) -> Result<Type, String> {
    match args {
        [] | [Type::Location] => Ok(Type::Time),
        _ => Err(format!("invalid number of arguments (expected 0, got {})", args.len())),
    }
}

fn date(_: Builtin, args: &[Type]) -> Result<Type, String> {
    let Some(first) = args.first() else {
        return Err("invalid number of arguments (expected at least 1, got 0)".into());
    };
    let rest = args.len() - usize::from(*first == Type::Location);
    if rest > 3 {
        return Err(format!("invalid number of arguments (expected at most 3, got {rest})"));
    }
    Ok(Type::Time)
}

fn end(which: Builtin, args: &[Type]) -> Result<Type, String> {
    expect(args, 1)?;
    match args[0].kind() {
        Kind::Interface => Ok(Type::Any),
        Kind::Slice | Kind::Array => Ok(args[0].declared_element()),
        _ => Err(format!("cannot get {} element from {}", which.name(), shown(&args[0]))),
    }
}

fn take(_: Builtin, args: &[Type]) -> Result<Type, String> {
    expect(args, 2)?;
    if !matches!(args[0].kind(), Kind::Interface | Kind::Slice | Kind::Array) {
        return Err(format!("cannot take from {}", shown(&args[0])));
    }
    if !matches!(args[1].kind(), Kind::Interface | Kind::Int | Kind::Int64) {
        return Err(format!("cannot take {} elements", shown(&args[1])));
    }
    Ok(args[0].clone())
}

fn from_map(which: Builtin, args: &[Type]) -> Result<Type, String> {
    expect(args, 1)?;
    if matches!(args[0].kind(), Kind::Interface | Kind::Map) {
        return Ok(Type::any_array());
    }
    let t = shown(&args[0]);
    Err(match which {
        Builtin::ToPairs => format!("cannot transform {t} to pairs"),
        _ => format!("cannot get {} from {t}", which.name()),
    })
}

fn from_array(which: Builtin, args: &[Type]) -> Result<Type, String> {
    expect(args, 1)?;
    if matches!(args[0].kind(), Kind::Interface | Kind::Slice | Kind::Array) {
        return Ok(if which == Builtin::FromPairs {
            Type::AnyMap
        } else {
            Type::any_array()
        });
    }
    let t = shown(&args[0]);
    Err(match which {
        Builtin::FromPairs => format!("cannot transform {t} from pairs"),
        _ => format!("cannot {} {t}", which.name()),
    })
}

fn concat(_: Builtin, args: &[Type]) -> Result<Type, String> {
    if args.is_empty() {
        return Err("invalid number of arguments (expected at least 1, got 0)".into());
    }
    match args
        .iter()
        .find(|t| !matches!(t.kind(), Kind::Interface | Kind::Slice | Kind::Array))
    {
        Some(t) => Err(format!("cannot concat {}", shown(t))),
        None => Ok(Type::any_array()),
    }
}
