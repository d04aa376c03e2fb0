//! The way in: an environment, a compiled program, and the two questions that analysis asks.

use std::collections::BTreeMap;
use std::sync::Arc;

use chrono::{DateTime, Utc};

use crate::ast::Tree;
use crate::compiler::{self, Code};
use crate::error::Error;
use crate::functions::Function;
use crate::types::Type;
use crate::value::Value;
use crate::{checker, machine, optimizer, parser};

/// The names that an expression can use, with their values.
#[derive(Clone, Debug, Default)]
pub struct Env {
    names: BTreeMap<String, Value>,
}

/// The names that an expression can use, with their types.
#[derive(Clone, Debug, Default)]
pub struct EnvTypes {
    names: BTreeMap<String, Type>,
}

/// A compiled expression. It holds for every environment of the types that it was compiled with.
#[derive(Clone, Debug)]
pub struct Program {
    source: String,
    code: Code,
}

impl Env {
    /// The environment of `successCondition` and `failureCondition` (compat 3.5).
    #[must_use]
    pub fn condition(result: &Value) -> Self {
        let mut env = Self::time();
        env.set("result", result.clone());
        env.set("asInt", function(Function::AsInt));
        env.set("asFloat", function(Function::AsFloat));
        env.set("isNil", function(Function::IsNil(result.clone())));
        env.set("default", function(Function::Default(result.clone())));
        env
    }

    /// The environment of `start` and `end` of a Prometheus range query.
    #[must_use]
    pub fn time() -> Self {
        let mut env = Self::default();
        env.set("isNaN", function(Function::IsNan));
        env.set("isInf", function(Function::IsInf));
        env
    }

    /// Gives a name a value.
    pub fn set(&mut self, name: impl Into<String>, value: Value) {
        self.names.insert(name.into(), value);
    }

    /// The types of the values.
    #[must_use]
    pub fn types(&self) -> EnvTypes {
        EnvTypes {
            names: self.names.iter().map(|(k, v)| (k.clone(), v.type_of())).collect(),
        }
    }
}

impl EnvTypes {
    /// Gives a name a type.
    pub fn set(&mut self, name: impl Into<String>, ty: Type) {
        self.names.insert(name.into(), ty);
    }
}

fn function(f: Function) -> Value {
    Value::Func(Arc::new(f))
}

/// Compiles an expression against the types of its environment.
///
/// # Errors
/// A syntax error, a type error, a name that does not exist, or an expression beyond the [`crate::limits`].
pub fn compile(source: &str, types: &EnvTypes) -> Result<Program, Error> {
    let at = |message: String, span| Error::at(message, span, source);
    let mut tree: Tree =
        parser::parse(source, &|name| types.names.contains_key(name)).map_err(|e| at(e.message, e.span))?;
    checker::check(&mut tree, &types.names).map_err(|e| at(e.message, e.span))?;
    optimizer::optimize(&mut tree).map_err(|(message, span)| at(message, span))?;
    let code = compiler::compile(&tree).map_err(|(message, span)| at(message, span))?;
    Ok(Program {
        source: source.to_owned(),
        code,
    })
}

impl Program {
    /// Evaluates. `now` is what `now()` returns.
    ///
    /// # Errors
    /// What fails only with the actual values, or a budget that is used up.
    pub fn eval(&self, env: &Env, now: DateTime<Utc>) -> Result<Value, Error> {
        machine::run(&self.code, &env.names, now).map_err(|(f, span)| Error::at(f.0, span, &self.source))
    }
}

/// Decides whether a condition holds for a metric's result.
///
/// # Errors
/// The part of upstream's text after ``could not evaluate successCondition "<expr>": ``. When the result
/// [is nil or empty](Value::is_nil_or_empty), upstream shows `metric result is nil or empty: no data returned from the metric
/// provider` in its place; that is the caller's to say, because it depends on the result alone.
pub fn evaluate_condition(source: &str, result: &Value, now: DateTime<Utc>) -> Result<bool, String> {
    let env = Env::condition(result);
    match evaluate(source, &env, now)? {
        Value::Bool(b) => Ok(b),
        other => Err(format!("expected bool, but got {}", other.type_name())),
    }
}

/// Evaluates `start` or `end` of a Prometheus range query, such as `now() - duration("5m")`.
///
/// # Errors
/// What is wrong with the expression, or `expected time.Time, but got <type>`.
pub fn evaluate_time(source: &str, now: DateTime<Utc>) -> Result<DateTime<Utc>, String> {
    match evaluate(source, &Env::time(), now)? {
        Value::Time(t) => Ok(t.utc()),
        other => Err(format!("expected time.Time, but got {}", other.type_name())),
    }
}

fn evaluate(source: &str, env: &Env, now: DateTime<Utc>) -> Result<Value, String> {
    let program = compile(source, &env.types()).map_err(|e| e.message().to_owned())?;
    program.eval(env, now).map_err(|e| e.message().to_owned())
}
