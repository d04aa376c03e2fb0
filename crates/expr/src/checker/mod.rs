//! Decides types before anything is evaluated: `result == "true"` on a bool is an error of the condition, not a `false`.
//! Works through a list of steps instead of calling itself, so that no source can exhaust the stack.

mod calls;

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::ast::{Binary, Id, Kind, Tree, Unary};
use crate::builtins::Builtin;
use crate::error::Span;
use crate::methods;
use crate::pattern;
use crate::types::{Kind as TypeKind, Signature, Type};

/// A type error, before it is bound to its source.
pub(crate) struct TypeError {
    pub(crate) message: String,
    pub(crate) span: Span,
}

type Checked<T> = Result<T, TypeError>;

#[derive(Clone, Copy, Debug)]
enum Step {
    Visit(Id),
    /// All children of the node have been visited.
    Leave(Id),
    /// The first argument of a predicate built-in has been visited: it must be an array. Opens the predicate's scope.
    Collection(Id),
    CloseScope,
    /// Argument of a call has been visited.
    Argument(Id, usize),
    Declare(Id),
    Undeclare,
    Test(Id),
    SliceBase(Id),
    SliceIndex(Id),
    Callee(Id),
}

struct Checker<'a> {
    tree: &'a mut Tree,
    env: &'a BTreeMap<String, Type>,
    steps: Vec<Step>,
    /// Comparison chains share nodes; each is visited once.
    seen: Vec<bool>,
    variables: Vec<(Arc<str>, Type)>,
    /// Collection's type, whether `#index` and `#acc` exist.
    scopes: Vec<(Type, bool, bool)>,
    /// Types of the signatures chosen for calls in progress.
    calls: BTreeMap<Id, Vec<Signature>>,
}

/// Sets the type of each node.
pub(crate) fn check(tree: &mut Tree, env: &BTreeMap<String, Type>) -> Result<(), TypeError> {
    let seen = vec![false; tree.nodes.len()];
    let mut c = Checker {
        steps: vec![Step::Visit(tree.root)],
        tree,
        env,
        seen,
        variables: Vec::new(),
        scopes: Vec::new(),
        calls: BTreeMap::new(),
    };
    while let Some(step) = c.steps.pop() {
        c.step(step)?;
    }
    Ok(())
}

impl Checker<'_> {
    fn fail<T>(&self, id: Id, message: impl Into<String>) -> Checked<T> {
        Err(TypeError {
            message: message.into(),
            span: self.tree.nodes[id].span,
        })
    }

    fn ty(&self, id: Id) -> &Type {
        self.tree.ty(id)
    }

    fn set(&mut self, id: Id, ty: Type) {
        self.tree.nodes[id].ty = ty;
    }

    /// Queues steps so that the first of them comes next.
    fn queue(&mut self, steps: &[Step]) {
        self.steps.extend(steps.iter().rev());
    }

    fn step(&mut self, step: Step) -> Checked<()> {
        match step {
            Step::Visit(id) if self.seen[id] => Ok(()),
            Step::Visit(id) => {
                self.seen[id] = true;
                self.visit(id)
            }
            Step::Leave(id) => {
                let ty = self.leave(id)?;
                self.set(id, ty);
                Ok(())
            }
            Step::Collection(id) => self.open(id),
            Step::CloseScope => {
                self.scopes.pop();
                Ok(())
            }
            Step::Argument(call, i) => self.argument(call, i),
            Step::Declare(id) => {
                if let Kind::Let { name, value, .. } = self.tree.kind(id) {
                    let entry = (Arc::clone(name), self.ty(*value).clone());
                    self.variables.push(entry);
                }
                Ok(())
            }
            Step::Undeclare => {
                self.variables.pop();
                Ok(())
            }
            Step::Test(test) => {
                let t = self.ty(test);
                if *t == Type::Bool || t.is_unknown() {
                    return Ok(());
                }
                self.fail(
                    test,
                    format!("non-bool expression (type {}) used as condition", t.pointee_name()),
                )
            }
            Step::SliceBase(id) => self.slice_base(id),
            Step::SliceIndex(index) => {
                let t = self.ty(index);
                if t.is_integer() || t.is_unknown() {
                    return Ok(());
                }
                self.fail(index, format!("non-integer slice index {}", t.pointee_name()))
            }
            Step::Callee(id) => self.callee(id),
        }
    }

    fn visit(&mut self, id: Id) -> Checked<()> {
        use Step::{Callee, CloseScope, Collection, Declare, Leave, SliceBase, Test, Undeclare, Visit};
        match self.tree.kind(id).clone() {
            Kind::Nil => self.set(id, Type::Nil),
            Kind::Int(_) => self.set(id, Type::Int),
            Kind::Float(_) => self.set(id, Type::Float),
            Kind::Bool(_) => self.set(id, Type::Bool),
            Kind::Str(_) => self.set(id, Type::Str),
            Kind::Bytes(_) => self.set(id, Type::Bytes),
            Kind::Constant(_) => {}
            Kind::Identifier(name) => {
                let ty = self.identifier(id, &name)?;
                self.set(id, ty);
            }
            Kind::Pointer(name) => {
                let ty = self.pointer(id, &name)?;
                self.set(id, ty);
            }
            Kind::Unary(_, a) | Kind::Chain(a) | Kind::Predicate(a) => self.queue(&[Visit(a), Leave(id)]),
            Kind::Binary(_, _, a, b) => self.queue(&[Visit(a), Visit(b), Leave(id)]),
            Kind::Pair { key, value } => self.queue(&[Visit(key), Visit(value), Leave(id)]),
            Kind::Member {
                base,
                property,
                optional,
                ..
            } => {
                if self.is_env(base) {
                    let ty = self.env_member(id, property, optional)?;
                    self.set(id, ty);
                } else {
                    self.queue(&[Visit(base), Visit(property), Leave(id)]);
                }
            }
            Kind::Slice { base, .. } => self.queue(&[Visit(base), SliceBase(id)]),
            Kind::Call { callee, .. } => {
                if self.is_env(callee) {
                    return self.fail(id, "map[string]interface {} is not callable");
                }
                self.queue(&[Visit(callee), Callee(id)]);
            }
            Kind::Builtin(call) => match call.builtin.predicate_params() {
                Some(_) => {
                    let mut steps = vec![Visit(call.args[0]), Collection(id)];
                    if let Some(predicate) = call.args.get(1) {
                        steps.extend([Visit(*predicate), CloseScope]);
                    } else {
                        steps.push(CloseScope);
                    }
                    steps.extend(call.args.get(2).map(|third| Visit(*third)));
                    steps.push(Leave(id));
                    self.queue(&steps);
                }
                None => self.begin_builtin(id, call.builtin, &call.args)?,
            },
            Kind::Let { name, value, body } => {
                self.redeclared(id, &name)?;
                self.queue(&[Visit(value), Declare(id), Visit(body), Undeclare, Leave(id)]);
            }
            Kind::Conditional { test, yes, no } => {
                self.queue(&[Visit(test), Test(test), Visit(yes), Visit(no), Leave(id)]);
            }
            Kind::Sequence(nodes) | Kind::Array(nodes) | Kind::Map(nodes) | Kind::Sum(nodes) => {
                self.steps.push(Leave(id));
                self.steps.extend(nodes.iter().rev().map(|n| Visit(*n)));
            }
        }
        Ok(())
    }

    fn leave(&mut self, id: Id) -> Checked<Type> {
        match self.tree.kind(id).clone() {
            Kind::Unary(op, a) => self.unary(id, op, a),
            Kind::Binary(op, text, a, b) => self.binary(id, op, text, a, b),
            Kind::Chain(a) | Kind::Predicate(a) | Kind::Let { body: a, .. } => Ok(self.ty(a).clone()),
            Kind::Member {
                base, property, method, ..
            } => self.member(id, base, property, method),
            Kind::Call { .. } => Ok(self
                .calls
                .remove(&id)
                .and_then(|s| s.into_iter().next())
                .map_or(Type::Unknown, |s| s.result)),
            Kind::Builtin(call) => match call.builtin.predicate_params() {
                Some(_) => self.predicate_builtin(id, call.builtin, &call.args),
                None => self.finish_builtin(id, call.builtin, &call.args),
            },
            Kind::Conditional { yes, no, .. } => Ok(self.conditional(yes, no)),
            Kind::Sequence(nodes) => Ok(nodes.last().map_or(Type::Unknown, |n| self.ty(*n).clone())),
            Kind::Array(nodes) => Ok(self.array(&nodes)),
            Kind::Map(_) => Ok(Type::StrMap),
            Kind::Pair { .. } => Ok(Type::Nil),
            _ => Ok(self.ty(id).clone()),
        }
    }

    fn is_env(&self, id: Id) -> bool {
        matches!(self.tree.kind(id), Kind::Identifier(name) if &**name == "$env")
    }

    fn identifier(&self, id: Id, name: &str) -> Checked<Type> {
        if let Some((_, t)) = self.variables.iter().rev().find(|(n, _)| &**n == name) {
            return Ok(t.clone());
        }
        if name == "$env" {
            return Ok(Type::Unknown);
        }
        if let Some(t) = self.env.get(name) {
            return Ok(t.clone());
        }
        match Builtin::find(name) {
            Some(b) => Ok(Type::Func(Arc::new(crate::builtins::function_type(b)))),
            None => self.fail(id, format!("unknown name {name}")),
        }
    }

    /// `$env.name`: names only what the environment has.
    fn env_member(&self, id: Id, property: Id, optional: bool) -> Checked<Type> {
        let Kind::Str(name) = self.tree.kind(property) else {
            return Ok(Type::Unknown);
        };
        match self.env.get(&**name) {
            Some(t) => Ok(t.clone()),
            None if optional => Ok(Type::Unknown),
            None => self.fail(id, format!("unknown name {name}")),
        }
    }

    fn pointer(&self, id: Id, name: &str) -> Checked<Type> {
        let Some((collection, index, acc)) = self.scopes.last() else {
            return self.fail(id, "cannot use pointer accessor outside predicate");
        };
        match name {
            "" if collection.is_array() => Ok(collection.element()),
            "" => Ok(Type::Unknown),
            "index" if *index => Ok(Type::Int),
            "acc" if *acc => Ok(Type::Unknown),
            _ => self.fail(id, format!("unknown pointer #{name}")),
        }
    }

    fn redeclared(&self, id: Id, name: &str) -> Checked<()> {
        if self.env.contains_key(name) {
            return self.fail(id, format!("cannot redeclare {name}"));
        }
        if Builtin::find(name).is_some() {
            return self.fail(id, format!("cannot redeclare builtin {name}"));
        }
        if self.variables.iter().any(|(n, _)| &**n == name) {
            return self.fail(id, format!("cannot redeclare variable {name}"));
        }
        Ok(())
    }

    fn unary(&self, id: Id, op: Unary, a: Id) -> Checked<Type> {
        let t = self.ty(a);
        match op {
            Unary::Not | Unary::Bang if *t == Type::Bool || t.is_unknown() => Ok(Type::Bool),
            Unary::Plus | Unary::Minus if t.is_number() => Ok(t.clone()),
            Unary::Plus | Unary::Minus if t.is_unknown() => Ok(Type::Unknown),
            _ => self.fail(
                id,
                format!(
                    "invalid operation: {} (mismatched type {})",
                    op.text(),
                    t.pointee_name()
                ),
            ),
        }
    }

    fn binary(&self, id: Id, op: Binary, text: &str, a: Id, b: Id) -> Checked<Type> {
        use Binary as B;
        let (l, r) = (self.ty(a), self.ty(b));
        let known = match op {
            B::Equal | B::NotEqual => l.comparable_to(r).then_some(Type::Bool),
            B::Or | B::And => {
                (*l == Type::Bool && *r == Type::Bool || l.maybe(r, |t| *t == Type::Bool)).then_some(Type::Bool)
            }
            B::Less | B::More | B::LessOrEqual | B::MoreOrEqual => ordered(l, r).then_some(Type::Bool),
            B::Add | B::Subtract | B::Multiply => arithmetic(op, l, r),
            B::Divide | B::Power => {
                (l.is_number() && r.is_number() || l.maybe(r, Type::is_number)).then_some(Type::Float)
            }
            B::Modulo => (l.is_integer() && r.is_integer() || l.maybe(r, Type::is_integer)).then_some(Type::Int),
            B::In => self.membership(id, l, r)?.then_some(Type::Bool),
            B::Matches => {
                if let Kind::Str(p) = self.tree.kind(b)
                    && let Err(e) = pattern::compile(p)
                {
                    return self.fail(id, e);
                }
                (matches!(l, Type::Str | Type::Bytes) && *r == Type::Str || l.maybe(r, |t| *t == Type::Str))
                    .then_some(Type::Bool)
            }
            B::Contains | B::StartsWith | B::EndsWith => {
                (*l == Type::Str && *r == Type::Str || l.maybe(r, |t| *t == Type::Str)).then_some(Type::Bool)
            }
            B::Range => {
                (l.is_integer() && r.is_integer() || l.maybe(r, Type::is_integer)).then(|| Type::array_of(Type::Int))
            }
            B::Coalesce => Some(match (l.is_nil(), r.is_nil()) {
                (true, _) => r.clone(),
                (false, true) => l.clone(),
                (false, false) if r.assignable_to(l) => l.clone(),
                (false, false) => Type::Unknown,
            }),
        };
        match known {
            Some(t) => Ok(t),
            None => self.fail(
                id,
                format!(
                    "invalid operation: {text} (mismatched types {} and {})",
                    l.pointee_name(),
                    r.pointee_name()
                ),
            ),
        }
    }

    fn membership(&self, id: Id, l: &Type, r: &Type) -> Checked<bool> {
        if (*l == Type::Str || l.is_unknown()) && matches!(r, Type::Time | Type::Location) {
            return Ok(true);
        }
        if r.is_map() {
            if !l.is_unknown() && !l.assignable_to(&r.key()) {
                return self.fail(
                    id,
                    format!("cannot use {} as type {} in map key", l.pointee_name(), r.key().name()),
                );
            }
            return Ok(true);
        }
        if r.is_array() {
            let element = r.element();
            if !l.comparable_to(&element) {
                return self.fail(
                    id,
                    format!("cannot use {} as type {} in array", l.pointee_name(), element.name()),
                );
            }
            return Ok(true);
        }
        Ok(l.is_unknown() && *r == Type::Str || r.is_unknown())
    }

    fn member(&self, id: Id, base: Id, property: Id, method: bool) -> Checked<Type> {
        let (b, p) = (self.ty(base), self.ty(property));
        if b.is_unknown() {
            return Ok(Type::Unknown);
        }
        let name = match self.tree.kind(property) {
            Kind::Str(name) => Some(Arc::clone(name)),
            _ => None,
        };
        if let Some(name) = &name {
            if b.is_nil() {
                return self.fail(id, format!("type nil has no field {name}"));
            }
            if let Some(signature) = methods::signature(b, name) {
                return Ok(Type::Func(Arc::new(signature)));
            }
        }
        match b.kind() {
            TypeKind::Map => {
                if !p.assignable_to(&b.key()) && !p.is_unknown() {
                    return self.fail(
                        property,
                        format!("cannot use {} to get an element from {}", p.name(), b.name()),
                    );
                }
                return Ok(b.declared_element());
            }
            TypeKind::Slice | TypeKind::Array => {
                if !p.is_integer() && !p.is_unknown() {
                    let got = p.pointee_name();
                    return self.fail(
                        property,
                        format!("array elements can only be selected using an integer (got {got})"),
                    );
                }
                return Ok(b.element());
            }
            _ => {}
        }
        let owner = b.pointee_name();
        match name {
            Some(name) if method => self.fail(id, format!("type {owner} has no method {name}")),
            Some(name) => self.fail(id, format!("type {owner} has no field {name}")),
            None => self.fail(id, format!("type {owner}[{}] is undefined", p.name())),
        }
    }

    /// Of an unknown value nothing in the brackets is checked.
    fn slice_base(&mut self, id: Id) -> Checked<()> {
        let Kind::Slice { base, from, to } = *self.tree.kind(id) else {
            return Ok(());
        };
        let t = self.ty(base).clone();
        if t.is_unknown() {
            return Ok(());
        }
        if !matches!(t.kind(), TypeKind::String | TypeKind::Array | TypeKind::Slice) {
            return self.fail(id, format!("cannot slice {}", t.name()));
        }
        self.set(id, t);
        let steps: Vec<Step> = from
            .into_iter()
            .chain(to)
            .flat_map(|i| [Step::Visit(i), Step::SliceIndex(i)])
            .collect();
        self.queue(&steps);
        Ok(())
    }

    fn conditional(&self, yes: Id, no: Id) -> Type {
        let (a, b) = (self.ty(yes), self.ty(no));
        match (a.is_nil(), b.is_nil()) {
            (true, _) => return b.clone(),
            (false, true) => return a.clone(),
            (false, false) => {}
        }
        if !a.assignable_to(b) {
            return Type::Unknown;
        }
        if a.is_array() && b.is_array() {
            let (x, y) = (a.element(), b.element());
            if !x.assignable_to(&y) || !y.assignable_to(&x) {
                return Type::any_array();
            }
        }
        a.clone()
    }

    fn array(&self, nodes: &[Id]) -> Type {
        let mut kinds = nodes.iter().map(|n| self.ty(*n).kind());
        let first = kinds.next();
        if kinds.all(|k| Some(k) == first) {
            return Type::array_of(nodes.last().map_or(Type::Unknown, |n| self.ty(*n).clone()));
        }
        Type::any_array()
    }
}

fn ordered(l: &Type, r: &Type) -> bool {
    let single = |t: &Type| matches!(t, Type::Str | Type::Time | Type::Duration);
    l.is_number() && r.is_number() || single(l) && l == r || l.maybe(r, |t| t.is_number() || single(t))
}

fn arithmetic(op: Binary, l: &Type, r: &Type) -> Option<Type> {
    use Type::{Duration, Float, Int, Str, Time};
    if l.is_number() && r.is_number() {
        return Some(if *l == Float || *r == Float { Float } else { Int });
    }
    match (op, l, r) {
        (Binary::Add, Str, Str) => Some(Str),
        (Binary::Add, Time, Duration) | (Binary::Add, Duration, Time) | (Binary::Subtract, Time, Duration) => {
            Some(Time)
        }
        (Binary::Subtract, Time, Time) => Some(Duration),
        (_, Duration, Duration) => Some(Duration),
        (Binary::Multiply, Duration, n) | (Binary::Multiply, n, Duration) if n.is_number() => Some(Duration),
        _ => {
            let fits = |t: &Type| match op {
                Binary::Add => t.is_number() || matches!(t, Str | Time | Duration),
                Binary::Subtract => t.is_number() || matches!(t, Time | Duration),
                _ => t.is_number() || *t == Duration,
            };
            l.maybe(r, fits).then_some(Type::Unknown)
        }
    }
}
