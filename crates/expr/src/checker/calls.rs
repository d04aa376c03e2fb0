//! The checker on calls: of functions, of methods, and of built-ins with and without a predicate.

use super::{Checked, Checker, Step};
use crate::ast::{Binary, Id, Kind};
use crate::builtins::{Builtin, Rule, rule};
use crate::types::{Kind as TypeKind, Signature, Type};

impl Checker<'_> {
    /// The callee has been visited; of an unknown one the arguments are not checked.
    pub(super) fn callee(&mut self, id: Id) -> Checked<()> {
        let Kind::Call { callee, args } = self.tree.kind(id).clone() else {
            return Ok(());
        };
        let signature = match self.ty(callee) {
            t if t.is_unknown() => return Ok(()),
            Type::Nil => {
                let name = self.call_name(id);
                return self.fail(id, format!("{name} is nil; cannot call nil as function"));
            }
            Type::Func(s) => (**s).clone(),
            t => return self.fail(id, format!("{} is not callable", t.name())),
        };
        if signature.results > 2 {
            let name = self.call_name(id);
            return self.fail(id, format!("func {name} returns more then two values"));
        }
        self.begin_call(id, vec![signature], &args);
        Ok(())
    }

    pub(super) fn call_name(&self, id: Id) -> String {
        match self.tree.kind(id) {
            Kind::Builtin(c) => c.builtin.name().into(),
            Kind::Call { callee, .. } => match self.tree.kind(*callee) {
                Kind::Identifier(name) => name.to_string(),
                Kind::Member { property, .. } => match self.tree.kind(*property) {
                    Kind::Str(name) => name.to_string(),
                    _ => "function".into(),
                },
                _ => "function".into(),
            },
            _ => "function".into(),
        }
    }

    pub(super) fn begin_call(&mut self, id: Id, signatures: Vec<Signature>, args: &[Id]) {
        self.calls.insert(id, signatures);
        self.steps.push(Step::Leave(id));
        for (i, arg) in args.iter().enumerate().rev() {
            self.steps.push(Step::Argument(id, i));
            self.steps.push(Step::Visit(*arg));
        }
        if args.is_empty() {
            self.steps.push(Step::Argument(id, 0));
        }
    }

    /// Drops the signatures that argument `i` rules out. The last one dropped gives the message, as upstream's loop over
    /// overloads does; a wrong count is reported only after all arguments have been looked at.
    pub(super) fn argument(&mut self, id: Id, i: usize) -> Checked<()> {
        let args = match self.tree.kind(id) {
            Kind::Call { args, .. } => args.clone(),
            Kind::Builtin(c) => c.args.clone(),
            _ => return Ok(()),
        };
        let Some(signatures) = self.calls.get(&id).cloned() else {
            return Ok(());
        };
        let last = i + 1 >= args.len();
        let name = self.call_name(id);
        let mut problem = None;
        let mut fits = Vec::new();
        let mut counts_differ = false;
        for s in &signatures {
            if s.params.len() != args.len() && !s.variadic {
                counts_differ = true;
                let few = if args.len() < s.params.len() {
                    "not enough"
                } else {
                    "too many"
                };
                problem = Some((id, format!("{few} arguments to call {name}")));
                continue;
            }
            let mut ok = true;
            for (arg, param) in args.iter().zip(&s.params).take(i + 1) {
                if let Some(message) = self.mismatch(*arg, param, &name) {
                    problem = Some((*arg, message));
                    ok = false;
                    break;
                }
            }
            if ok {
                fits.push(s.clone());
            }
        }
        if fits.is_empty()
            && (last || !counts_differ)
            && let Some((at, message)) = problem
        {
            return self.fail(at, message);
        }
        if last {
            if let Some(s) = fits.first() {
                for (arg, param) in args.iter().zip(&s.params) {
                    if *param == Type::Float && self.ty(*arg).is_integer() {
                        self.literals_to_float(*arg);
                    }
                }
            }
            self.calls.insert(id, fits);
        }
        Ok(())
    }

    pub(super) fn mismatch(&self, arg: Id, param: &Type, name: &str) -> Option<String> {
        let t = self.ty(arg);
        if *param == Type::Float && t.is_integer() || param.is_integer() && t.is_integer() {
            return None;
        }
        if t.is_nil() {
            let takes_nil = matches!(param.kind(), TypeKind::Pointer | TypeKind::Interface);
            return (!takes_nil).then(|| format!("cannot use nil as argument (type {}) to call {name}", param.name()));
        }
        if t.assignable_to(param) || t.is_unknown() {
            return None;
        }
        Some(format!(
            "cannot use {} as argument (type {}) to call {name} ",
            t.name(),
            param.name()
        ))
    }

    /// `isNaN(1 + 2)` adds floats.
    pub(super) fn literals_to_float(&mut self, root: Id) {
        let mut todo = vec![root];
        while let Some(id) = todo.pop() {
            match *self.tree.kind(id) {
                Kind::Int(n) => {
                    #[expect(clippy::cast_precision_loss, reason = "as Go converts")]
                    let f = n as f64;
                    self.tree.nodes[id].kind = Kind::Float(f);
                    self.set(id, Type::Float);
                }
                Kind::Unary(_, a) => todo.push(a),
                Kind::Binary(Binary::Add | Binary::Subtract | Binary::Multiply, _, a, b) => todo.extend([a, b]),
                _ => {}
            }
        }
    }

    pub(super) fn begin_builtin(&mut self, id: Id, which: Builtin, args: &[Id]) -> Checked<()> {
        match rule(which) {
            Rule::Overloads(signatures) => self.begin_call(id, signatures, args),
            Rule::Get if args.len() != 2 => {
                return self.fail(
                    id,
                    format!("invalid number of arguments (expected 2, got {})", args.len()),
                );
            }
            _ => {
                self.steps.push(Step::Leave(id));
                self.steps.extend(args.iter().rev().map(|a| Step::Visit(*a)));
            }
        }
        Ok(())
    }

    pub(super) fn finish_builtin(&mut self, id: Id, which: Builtin, args: &[Id]) -> Checked<Type> {
        match rule(which) {
            Rule::Overloads(_) => Ok(self
                .calls
                .remove(&id)
                .and_then(|s| s.into_iter().next())
                .map_or(Type::Unknown, |s| s.result)),
            Rule::Get => self.get(args[0], args[1]),
            _ => {
                let types: Vec<Type> = args
                    .iter()
                    .map(|a| self.ty(*a))
                    .map(|t| if t.is_unknown() { Type::Any } else { t.declared() })
                    .collect();
                match rule(which) {
                    Rule::Types(f) => f(which, &types).or_else(|message| self.fail(id, message)),
                    _ => Ok(Type::Unknown),
                }
            }
        }
    }

    pub(super) fn get(&self, base: Id, property: Id) -> Checked<Type> {
        if self.is_env(base) {
            if let Kind::Str(name) = self.tree.kind(property) {
                return Ok(self.env.get(&**name).cloned().unwrap_or(Type::Unknown));
            }
            return Ok(Type::Unknown);
        }
        let (b, p) = (self.ty(base), self.ty(property));
        if b.is_unknown() {
            return Ok(Type::Unknown);
        }
        match b.kind() {
            TypeKind::Slice | TypeKind::Array => {
                if !p.is_integer() && !p.is_unknown() {
                    return self.fail(property, format!("non-integer slice index {}", p.pointee_name()));
                }
                Ok(b.element())
            }
            TypeKind::Map => {
                if !p.assignable_to(&b.key()) && !p.is_unknown() {
                    let message = format!("cannot use {} to get an element from {}", p.pointee_name(), b.name());
                    return self.fail(property, message);
                }
                Ok(b.declared_element())
            }
            _ => self.fail(base, format!("type {} does not support indexing", b.name())),
        }
    }

    /// The collection of a predicate built-in is known: opens the scope of `#`.
    pub(super) fn open(&mut self, id: Id) -> Checked<()> {
        let Kind::Builtin(call) = self.tree.kind(id) else {
            return Ok(());
        };
        let t = self.ty(call.args[0]).clone();
        if !t.is_array() && !t.is_unknown() {
            let message = format!(
                "builtin {} takes only array (got {})",
                call.builtin.name(),
                t.pointee_name()
            );
            return self.fail(call.args[0], message);
        }
        let index = matches!(call.builtin, Builtin::Map | Builtin::Reduce);
        let acc = call.builtin == Builtin::Reduce;
        self.scopes.push((t, index, acc));
        Ok(())
    }

    pub(super) fn predicate_builtin(&self, id: Id, which: Builtin, args: &[Id]) -> Checked<Type> {
        use Builtin as B;
        let collection = self.ty(args[0]);
        let Some(&predicate) = args.get(1) else {
            return Ok(match which {
                B::Sum if collection.is_unknown() => Type::Unknown,
                B::Sum => collection.element(),
                _ => Type::Int,
            });
        };
        let out = self.ty(predicate);
        if which == B::SortBy
            && let Some(order) = args.get(2)
        {
            let t = self.ty(*order);
            if *t != Type::Str && !t.is_unknown() {
                return self.fail(
                    *order,
                    format!("sortBy order argument must be a string (got {})", t.name()),
                );
            }
        }
        if out.is_nil() {
            // A predicate that is nil has no result at all.
            return match which {
                B::Reduce => self.fail(predicate, "predicate should has two input and one output param"),
                B::Sum => self.nil_sum(id, args),
                _ => self.fail(predicate, "predicate should has one input and one output param"),
            };
        }
        let boolean = matches!(
            which,
            B::All
                | B::None
                | B::Any
                | B::One
                | B::Filter
                | B::Count
                | B::Find
                | B::FindLast
                | B::FindIndex
                | B::FindLastIndex
        );
        if boolean && *out != Type::Bool && !out.is_unknown() {
            return self.fail(
                predicate,
                format!("predicate should return boolean (got {})", out.name()),
            );
        }
        Ok(match which {
            B::All | B::None | B::Any | B::One => Type::Bool,
            B::Filter if collection.is_unknown() => Type::any_array(),
            B::Filter => Type::array_of(collection.element()),
            B::Map => Type::array_of(out.clone()),
            B::Find | B::FindLast if collection.is_unknown() => Type::Unknown,
            B::Find | B::FindLast => collection.element(),
            B::Count | B::FindIndex | B::FindLastIndex => Type::Int,
            B::Sum if out.is_unknown() => Type::Any,
            B::Sum => out.declared(),
            B::GroupBy => Type::Groups,
            B::SortBy => collection.clone(),
            _ => out.clone(),
        })
    }

    pub(super) fn nil_sum(&self, id: Id, args: &[Id]) -> Checked<Type> {
        let t = self.ty(args[0]);
        if !t.is_unknown() && !t.assignable_to(&Type::any_array()) {
            return self.fail(
                args[0],
                format!(
                    "cannot use {} as argument (type []interface {{}}) to call sum ",
                    t.name()
                ),
            );
        }
        let _ = id;
        self.fail(
            args[1],
            "cannot use func(interface {}) as argument (type func(interface {}) bool) to call sum ",
        )
    }
}
