//! The condition language of metrics: our own implementation of what Argo Rollouts evaluates with expr-lang/expr v1.17.8.
//!
//! A condition is compiled against the type of the very result it judges (compat 3.5), so a type error is an error of the
//! measurement and never a silent `false`. Pure: no clock (the time is an argument), no I/O. Knows nothing of metrics, limits
//! or phases. Conditions come from tenants: every walk is bounded in depth, work and memory, and nothing here panics.

mod ast;
mod builtins;
mod checker;
mod compiler;
mod error;
mod format;
mod functions;
mod layout;
mod lexer;
pub mod limits;
mod machine;
mod methods;
mod moment;
mod operators;
mod optimizer;
mod parser;
mod pattern;
mod program;
mod syntax;
mod types;
mod value;

pub use error::{Error, Span};
pub use functions::Function;
pub use moment::{Moment, Zone};
pub use program::{Env, EnvTypes, Program, compile, evaluate_condition, evaluate_time};
pub use types::{Element, Signature, Type};
pub use value::{Array, ArrayKind, Key, Map, MapKind, Value};
