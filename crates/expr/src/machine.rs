//! The stack machine that evaluates compiled code, within a budget of work and memory.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};

use crate::ast::Binary;
use crate::builtins::{self, collections};
use crate::compiler::{Code, Op};
use crate::error::{Failure, Span};
use crate::functions::Function;
use crate::limits::Budget;
use crate::operators as ops;
use crate::pattern;
use crate::value::{ArrayKind, Key, MapKind, Value};

type Result<T> = std::result::Result<T, Failure>;

/// A loop over a collection.
struct Scope {
    items: Items,
    index: i64,
    count: i64,
    acc: Acc,
}

enum Items {
    Array(std::sync::Arc<crate::value::Array>),
    Bytes(std::sync::Arc<[u8]>),
    /// A map has a length, but no elements to point at.
    Map(usize),
}

impl Items {
    fn len(&self) -> usize {
        match self {
            Self::Array(a) => a.items().len(),
            Self::Bytes(b) => b.len(),
            Self::Map(n) => *n,
        }
    }

    fn get(&self, i: i64) -> Result<Value> {
        let at = usize::try_from(i).ok();
        let found = match self {
            Self::Array(a) => at.and_then(|i| a.items().get(i)).cloned(),
            Self::Bytes(b) => at.and_then(|i| b.get(i)).map(|x| Value::Uint8(*x)),
            Self::Map(_) => return Err(Failure::new("reflect: call of reflect.Value.Index on map Value")),
        };
        let len = self.len();
        found.ok_or_else(|| Failure::new(format!("runtime error: index out of range [{i}] with length {len}")))
    }
}

enum Acc {
    Value(Value),
    Groups(BTreeMap<Key, Vec<Value>>),
    Sort {
        descending: bool,
        keyed: Vec<(Value, Value)>,
    },
}

struct Machine<'a> {
    env: &'a BTreeMap<String, Value>,
    now: DateTime<Utc>,
    stack: Vec<Value>,
    variables: Vec<Value>,
    scopes: Vec<Scope>,
    budget: Budget,
    env_map: Option<Value>,
}

/// Runs the code to its value.
pub(crate) fn run(
    code: &Code,
    env: &BTreeMap<String, Value>,
    now: DateTime<Utc>,
) -> std::result::Result<Value, (Failure, Span)> {
    let mut m = Machine {
        env,
        now,
        stack: Vec::new(),
        variables: vec![Value::Nil; code.variables],
        scopes: Vec::new(),
        budget: Budget::new(),
        env_map: None,
    };
    let mut at = 0;
    while let Some(op) = code.ops.get(at) {
        let span = code.spans.get(at).copied().unwrap_or_default();
        at = m.step(op, at + 1).map_err(|f| (f, span))?;
    }
    Ok(m.stack.pop().unwrap_or(Value::Nil))
}

impl Machine<'_> {
    fn pop(&mut self) -> Result<Value> {
        self.stack.pop().ok_or_else(|| Failure::new("stack underflow"))
    }

    fn top(&self) -> Result<&Value> {
        self.stack.last().ok_or_else(|| Failure::new("stack underflow"))
    }

    fn scope(&mut self) -> Result<&mut Scope> {
        self.scopes
            .last_mut()
            .ok_or_else(|| Failure::new("cannot use pointer accessor outside predicate"))
    }

    fn take(&mut self, n: usize) -> Result<Vec<Value>> {
        let from = self
            .stack
            .len()
            .checked_sub(n)
            .ok_or_else(|| Failure::new("stack underflow"))?;
        Ok(self.stack.split_off(from))
    }

    /// Executes one instruction and returns the next one's place.
    fn step(&mut self, op: &Op, next: usize) -> Result<usize> {
        self.budget.work(1)?;
        match op {
            Op::Jump(to) => return Ok(*to),
            Op::JumpIfTrue(to) => {
                if ops::to_bool(self.top()?)? {
                    return Ok(*to);
                }
            }
            Op::JumpIfFalse(to) => {
                if !ops::to_bool(self.top()?)? {
                    return Ok(*to);
                }
            }
            Op::JumpIfNil(to) => {
                if self.top()?.is_nil() {
                    return Ok(*to);
                }
            }
            Op::JumpIfNotNil(to) => {
                if !self.top()?.is_nil() {
                    return Ok(*to);
                }
            }
            Op::JumpIfEnd(to) => {
                let s = self.scope()?;
                if s.index >= i64::try_from(s.items.len()).unwrap_or(i64::MAX) {
                    return Ok(*to);
                }
            }
            Op::Pop => {
                self.pop()?;
            }
            Op::Store(i) => {
                let v = self.pop()?;
                if let Some(slot) = self.variables.get_mut(*i) {
                    *slot = v;
                }
            }
            Op::Begin
            | Op::End
            | Op::Next
            | Op::Previous
            | Op::Count
            | Op::SetAcc
            | Op::SetIndex
            | Op::NewGroups
            | Op::NewSort
            | Op::Group
            | Op::SortKey => self.scoped(op)?,
            Op::Throw(message) => return Err(Failure::new(*message)),
            _ => {
                let v = self.value(op)?;
                self.stack.push(v);
            }
        }
        Ok(next)
    }

    /// Instructions that change the innermost loop.
    fn scoped(&mut self, op: &Op) -> Result<()> {
        match op {
            Op::Begin => {
                let items = match self.pop()? {
                    Value::Array(a) => Items::Array(a),
                    Value::Bytes(b) => Items::Bytes(b),
                    Value::Nil => return Err(Failure::new("reflect: call of reflect.Value.Len on zero Value")),
                    Value::Str(s) => Items::Bytes(s.as_bytes().into()),
                    Value::Map(m) => Items::Map(m.entries().len()),
                    other => {
                        let kind = crate::format::kind_name(&other);
                        return Err(Failure::new(format!(
                            "reflect: call of reflect.Value.Len on {kind} Value"
                        )));
                    }
                };
                self.scopes.push(Scope {
                    items,
                    index: 0,
                    count: 0,
                    acc: Acc::Value(Value::Nil),
                });
            }
            Op::End => {
                self.scopes.pop();
            }
            Op::Next => self.scope()?.index += 1,
            Op::Previous => self.scope()?.index -= 1,
            Op::Count => self.scope()?.count += 1,
            Op::SetAcc => {
                let v = self.pop()?;
                self.scope()?.acc = Acc::Value(v);
            }
            Op::SetIndex => {
                let v = self.pop()?;
                self.scope()?.index = ops::to_int(&v)?;
            }
            Op::NewGroups => {
                self.scope()?.acc = Acc::Groups(BTreeMap::new());
            }
            Op::NewSort => {
                let order = self.pop()?;
                let descending = match &order {
                    Value::Str(s) if &**s == "asc" => false,
                    Value::Str(s) if &**s == "desc" => true,
                    Value::Str(_) => return Err(Failure::new("unknown order, use asc or desc")),
                    _ => return Err(Failure::new("sortBy order argument must be a string")),
                };
                self.scope()?.acc = Acc::Sort {
                    descending,
                    keyed: Vec::new(),
                };
            }
            Op::Group => {
                let key = Key::new(self.pop()?)?;
                self.budget.bytes(64)?;
                let s = self.scope()?;
                let item = s.items.get(s.index)?;
                if let Acc::Groups(groups) = &mut s.acc {
                    groups.entry(key).or_default().push(item);
                }
            }
            Op::SortKey => {
                let key = self.pop()?;
                self.budget.bytes(48)?;
                let s = self.scope()?;
                let item = s.items.get(s.index)?;
                if let Acc::Sort { keyed, .. } = &mut s.acc {
                    keyed.push((key, item));
                }
            }
            _ => {}
        }
        Ok(())
    }

    /// Instructions that put a value on the stack.
    fn value(&mut self, op: &Op) -> Result<Value> {
        Ok(match op {
            Op::Push(v) => v.clone(),
            Op::LoadVariable(i) => self.variables.get(*i).cloned().unwrap_or(Value::Nil),
            Op::LoadName(name) => self.env.get(&**name).cloned().unwrap_or(Value::Nil),
            Op::LoadEnv => self.env_map()?,
            Op::Not => Value::Bool(!ops::to_bool(&self.pop()?)?),
            Op::Negate => ops::negate(&self.pop()?)?,
            Op::Length => Value::Int(length(self.top()?)?),
            Op::MatchesConstant(regex) => match self.pop()? {
                Value::Str(s) => {
                    self.budget.work(s.len() as u64 / 16)?;
                    Value::Bool(regex.is_match(&s))
                }
                Value::Bytes(b) => {
                    self.budget.work(b.len() as u64 / 16)?;
                    Value::Bool(regex.is_match(&String::from_utf8_lossy(&b)))
                }
                v if v.is_nil() => Value::Bool(false),
                other => return Err(ops::assertion(&other, "[]uint8")),
            },
            Op::Fetch => {
                let (index, from) = (self.pop()?, self.pop()?);
                ops::fetch(&from, &index, &mut self.budget)?
            }
            Op::Slice => {
                let (from, to, base) = (self.pop()?, self.pop()?, self.pop()?);
                ops::slice(&base, &from, &to, &mut self.budget)?
            }
            Op::Equal | Op::EqualInts | Op::EqualStrs | Op::Binary(_) => {
                let (b, a) = (self.pop()?, self.pop()?);
                self.binary(op, &a, &b)?
            }
            Op::Call { args, typed } => self.call(*args, *typed)?,
            Op::CallBuiltin(which, n) => {
                let args = self.take(*n)?;
                builtins::call(*which, &args, self.now, &mut self.budget)?
            }
            Op::Array => {
                let n = self.pop()?;
                let n = usize::try_from(ops::to_int(&n)?).unwrap_or(0);
                self.budget.elements(n as u64)?;
                Value::array(ArrayKind::Any, self.take(n)?)?
            }
            Op::Map(n) => self.map(*n)?,
            Op::GetIndex => Value::Int(self.scope()?.index),
            Op::GetCount => Value::Int(self.scope()?.count),
            Op::GetLength => Value::Int(i64::try_from(self.scope()?.items.len()).unwrap_or(i64::MAX)),
            Op::Element => {
                let s = self.scope()?;
                s.items.get(s.index)?
            }
            Op::GetAcc => self.acc()?,
            Op::Sort => self.sort()?,
            _ => Value::Nil,
        })
    }

    /// The environment as a map; always the same one.
    fn env_map(&mut self) -> Result<Value> {
        if let Some(map) = &self.env_map {
            return Ok(map.clone());
        }
        let entries: Result<BTreeMap<Key, Value>> = self
            .env
            .iter()
            .map(|(k, v)| Ok((Key::new(Value::str(k))?, v.clone())))
            .collect();
        let map = Value::map(MapKind::Str, entries?)?;
        self.env_map = Some(map.clone());
        Ok(map)
    }

    fn binary(&mut self, op: &Op, a: &Value, b: &Value) -> Result<Value> {
        let op = match op {
            Op::Equal => return Ok(Value::Bool(ops::equal_within(a, b, &mut self.budget)?)),
            Op::EqualInts => {
                return match (a, b) {
                    (Value::Int(x), Value::Int(y)) => Ok(Value::Bool(x == y)),
                    (Value::Int(_), other) | (other, _) => Err(ops::assertion(other, "int")),
                };
            }
            Op::EqualStrs => {
                return match (a, b) {
                    (Value::Str(x), Value::Str(y)) => Ok(Value::Bool(x == y)),
                    (Value::Str(_), other) | (other, _) => Err(ops::assertion(other, "string")),
                };
            }
            Op::Binary(op) => *op,
            _ => return Ok(Value::Nil),
        };
        Ok(match op {
            Binary::Less => Value::Bool(ops::compare(a, "<", b)?),
            Binary::More => Value::Bool(ops::compare(a, ">", b)?),
            Binary::LessOrEqual => Value::Bool(ops::compare(a, "<=", b)?),
            Binary::MoreOrEqual => Value::Bool(ops::compare(a, ">=", b)?),
            Binary::Add => ops::add(a, b, &mut self.budget)?,
            Binary::Subtract => ops::subtract(a, b)?,
            Binary::Multiply => ops::multiply(a, b)?,
            Binary::Divide => ops::divide(a, b)?,
            Binary::Modulo => ops::modulo(a, b)?,
            Binary::Power => ops::power(a, b)?,
            Binary::In => Value::Bool(ops::contains(a, b, &mut self.budget)?),
            Binary::Range => self.range(a, b)?,
            Binary::Matches => self.matches(a, b)?,
            Binary::Contains | Binary::StartsWith | Binary::EndsWith => {
                if a.is_nil() || b.is_nil() {
                    return Ok(Value::Bool(false));
                }
                let (Value::Str(text), Value::Str(part)) = (a, b) else {
                    // Go looks at the left side first.
                    return Err(ops::assertion(if matches!(a, Value::Str(_)) { b } else { a }, "string"));
                };
                self.budget.work((text.len() / 16) as u64)?;
                Value::Bool(match op {
                    Binary::Contains => text.contains(&**part),
                    Binary::StartsWith => text.starts_with(&**part),
                    _ => text.ends_with(&**part),
                })
            }
            Binary::Equal | Binary::NotEqual | Binary::And | Binary::Or | Binary::Coalesce => Value::Nil,
        })
    }

    fn range(&mut self, a: &Value, b: &Value) -> Result<Value> {
        let (from, to) = (ops::to_int(a)?, ops::to_int(b)?);
        let size = to.wrapping_sub(from).wrapping_add(1).max(0);
        self.budget.elements(size.unsigned_abs())?;
        self.budget.work(size.unsigned_abs() / 8)?;
        Value::array(
            ArrayKind::Ints,
            (0..size).map(|i| Value::Int(from.wrapping_add(i))).collect(),
        )
    }

    fn matches(&mut self, a: &Value, b: &Value) -> Result<Value> {
        if a.is_nil() || b.is_nil() {
            return Ok(Value::Bool(false));
        }
        let text = match a {
            Value::Str(s) => s.to_string(),
            other => match (b, other) {
                (Value::Str(_), Value::Bytes(x)) => String::from_utf8_lossy(x).into_owned(),
                (Value::Str(_), _) => return Err(ops::assertion(other, "[]uint8")),
                _ => return Err(ops::assertion(b, "string")),
            },
        };
        let Value::Str(p) = b else {
            return Err(ops::assertion(b, "string"));
        };
        // Compiling costs far more than matching.
        self.budget.work(2_000 + 50 * p.len() as u64 + text.len() as u64 / 16)?;
        Ok(Value::Bool(pattern::compile(p).map_err(Failure::new)?.is_match(&text)))
    }

    fn call(&mut self, n: usize, typed: bool) -> Result<Value> {
        let callee = self.pop()?;
        let args = self.take(n)?;
        match callee {
            Value::Func(f) => Function::call(&f, &args, typed, &mut self.budget),
            Value::Nil => Err(Failure::new("invalid operation: cannot call nil")),
            other => Err(Failure::new(format!(
                "invalid operation: cannot call non-function of type {}",
                other.type_name()
            ))),
        }
    }

    fn map(&mut self, pairs: usize) -> Result<Value> {
        self.budget.elements(pairs as u64)?;
        let mut entries = BTreeMap::new();
        let items = self.take(pairs * 2)?;
        // From the last pair to the first, as upstream builds it: of two equal keys the first stays.
        for pair in items.chunks_exact(2).rev() {
            let Value::Str(_) = &pair[0] else {
                return Err(ops::assertion(&pair[0], "string"));
            };
            entries.insert(Key::new(pair[0].clone())?, pair[1].clone());
        }
        Value::map(MapKind::Str, entries)
    }

    fn acc(&mut self) -> Result<Value> {
        let s = self.scope()?;
        match std::mem::replace(&mut s.acc, Acc::Value(Value::Nil)) {
            Acc::Groups(groups) => {
                let entries: Result<BTreeMap<Key, Value>> = groups
                    .into_iter()
                    .map(|(k, items)| Ok((k, Value::array(ArrayKind::Any, items)?)))
                    .collect();
                Value::map(MapKind::Groups, entries?)
            }
            Acc::Value(v) => {
                s.acc = Acc::Value(v.clone());
                Ok(v)
            }
            Acc::Sort { .. } => Ok(Value::Nil),
        }
    }

    fn sort(&mut self) -> Result<Value> {
        let s = self.scope()?;
        let acc = std::mem::replace(&mut s.acc, Acc::Value(Value::Nil));
        let Acc::Sort { descending, keyed } = acc else {
            return Ok(Value::Nil);
        };
        let n = keyed.len() as u64;
        let sorted = collections::sort_by(keyed, |(k, _)| k, descending, &mut self.budget)?;
        self.budget.elements(n)?;
        Value::array(ArrayKind::Any, sorted.into_iter().map(|(_, item)| item).collect())
    }
}

/// Length as slicing counts it: of a string its bytes.
fn length(v: &Value) -> Result<i64> {
    let n = match v {
        Value::Array(a) => a.items().len(),
        Value::Map(m) => m.entries().len(),
        Value::Str(s) => s.len(),
        Value::Bytes(b) => b.len(),
        other => {
            return Err(Failure::new(format!(
                "invalid argument for len (type {})",
                other.type_name()
            )));
        }
    };
    Ok(i64::try_from(n).unwrap_or(i64::MAX))
}
