//! Functions of the environment, and methods bound to a value.

use crate::error::Failure;
use crate::format;
use crate::limits::Budget;
use crate::methods;
use crate::types::{Signature, Type};
use crate::value::Value;

/// A function value.
#[derive(Debug)]
pub enum Function {
    /// `asInt(x)`: number or numeric text to int64.
    AsInt,
    /// `asFloat(x)`: number or numeric text to float64.
    AsFloat,
    /// `isNaN(f)`
    IsNan,
    /// `isInf(f)`, of either sign.
    IsInf,
    /// `isNil(_)`: whether the metric's result is nil, whatever the argument (compat 3.5).
    IsNil(Value),
    /// `default(_, d)`: the metric's result, or `d` when that is nil, whatever the first argument (compat 3.5).
    Default(Value),
    /// A method of a value.
    Method(Value, String),
}

impl Function {
    pub(crate) fn signature(&self) -> Signature {
        let any = Type::Any;
        match self {
            Self::AsInt => Signature::new(&[any], Type::Int64),
            Self::AsFloat => Signature::new(&[any], Type::Float),
            Self::IsNan | Self::IsInf => Signature::new(&[Type::Float], Type::Bool),
            Self::IsNil(_) => Signature::new(&[any], Type::Bool),
            Self::Default(_) => Signature::new(&[Type::Any, Type::Any], any),
            Self::Method(v, name) => {
                methods::value_signature(&v.type_of(), name).unwrap_or_else(|| Signature::new(&[], Type::Unknown))
            }
        }
    }

    /// Calls it. `typed` when the callee's type was known statically: then wrong arguments fail as a type assertion does in Go,
    /// else as a reflective call does.
    pub(crate) fn call(&self, args: &[Value], typed: bool, budget: &mut Budget) -> Result<Value, Failure> {
        let signature = self.signature();
        if args.len() != signature.params.len() {
            return Err(Failure::new(format!(
                "invalid number of arguments: expected {}, got {}",
                signature.params.len(),
                args.len()
            )));
        }
        for (arg, param) in args.iter().zip(&signature.params) {
            if *param == Type::Any || arg.type_of().assignable_to(param) && !arg.is_nil() {
                continue;
            }
            let (got, want) = (arg.type_name(), param.name());
            return Err(Failure::new(match (typed, arg.is_nil()) {
                (true, true) => format!("interface conversion: interface {{}} is nil, not {want}"),
                (true, false) => format!("interface conversion: interface {{}} is {got}, not {want}"),
                (false, true) => continue,
                (false, false) => format!("reflect: Call using {got} as type {want}"),
            }));
        }
        match self {
            Self::AsInt => as_int(&args[0], budget),
            Self::AsFloat => as_float(&args[0], budget),
            Self::IsNan => Ok(Value::Bool(args[0].number().unwrap_or(0.0).is_nan())),
            Self::IsInf => Ok(Value::Bool(args[0].number().unwrap_or(0.0).is_infinite())),
            Self::IsNil(result) => Ok(Value::Bool(result.is_nil())),
            Self::Default(result) => Ok(if result.is_nil() {
                args[1].clone()
            } else {
                result.clone()
            }),
            Self::Method(v, name) => methods::call(v, name, args),
        }
    }
}

fn unsupported(name: &str, v: &Value, budget: &mut Budget) -> Failure {
    if let Err(f) = budget.work(v.weight()) {
        return f;
    }
    Failure::new(format!(
        "{name}() not supported on {} {}",
        v.type_name(),
        format::to_string(v)
    ))
}

fn as_int(v: &Value, budget: &mut Budget) -> Result<Value, Failure> {
    match v {
        Value::Float(f) => Ok(Value::Int64(crate::operators::truncate(*f))),
        Value::Str(s) => format::parse_int(s).map(Value::Int64).map_err(Failure::new),
        other => other
            .integer()
            .map(Value::Int64)
            .ok_or_else(|| unsupported("asInt", other, budget)),
    }
}

fn as_float(v: &Value, budget: &mut Budget) -> Result<Value, Failure> {
    match v {
        Value::Str(s) => format::parse_float(s).map(Value::Float).map_err(Failure::new),
        other => other
            .number()
            .map(Value::Float)
            .ok_or_else(|| unsupported("asFloat", other, budget)),
    }
}
