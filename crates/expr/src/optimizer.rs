//! Rewrites that upstream makes before it evaluates. They are kept because conditions can tell: `filter(xs, p)[0]` fails with another
//! message than indexing does, `x and false` never looks at `x`, `sum(1..1000000)` needs no memory.
//!
//! Children stand before their parents in the tree's vector, so one pass over it sees every child first.

use std::collections::BTreeMap;

use crate::ast::{Binary, Call, Id, Kind, Tree, Unary};
use crate::builtins::Builtin;
use crate::error::{Failure, Span};
use crate::operators::pow;
use crate::types::{Kind as TypeKind, Type};
use crate::value::{ArrayKind, Key, MapKind, Value};

/// An error that constants already show, at a place.
pub(crate) type Problem = (String, Span);

/// Applies all rewrites in upstream's order.
pub(crate) fn optimize(tree: &mut Tree) -> Result<(), Problem> {
    each(tree, in_array)?;
    // Merging filters makes new nodes at the end of the vector: repeat until nothing changes, within reason.
    for _ in 0..100 {
        let before = tree.nodes.len();
        let mut changed = false;
        for id in 0..before {
            changed |= fold(tree, id)?;
        }
        if !changed {
            break;
        }
    }
    for pass in [in_range, filter_map, filter_len, filter_last, filter_first] {
        each(tree, |t, id| {
            pass(t, id);
            Ok(())
        })?;
    }
    for pass in [
        predicate_combination,
        sum_range,
        sum_array,
        sum_map,
        count_any,
        count_threshold,
    ] {
        each(tree, |t, id| {
            pass(t, id);
            Ok(())
        })?;
    }
    Ok(())
}

fn each(tree: &mut Tree, mut pass: impl FnMut(&mut Tree, Id) -> Result<(), Problem>) -> Result<(), Problem> {
    for id in 0..tree.nodes.len() {
        pass(tree, id)?;
    }
    Ok(())
}

fn replace(tree: &mut Tree, id: Id, kind: Kind, ty: Type) {
    tree.nodes[id].kind = kind;
    tree.nodes[id].ty = ty;
}

fn problem(tree: &Tree, id: Id, f: Failure) -> Problem {
    (f.0, tree.nodes[id].span)
}

fn int(tree: &Tree, id: Id) -> Option<i64> {
    match tree.kind(id) {
        Kind::Int(n) => Some(*n),
        _ => None,
    }
}

fn builtin(tree: &Tree, id: Id, which: Builtin) -> Option<&Call> {
    match tree.kind(id) {
        Kind::Builtin(call) if call.builtin == which => Some(call),
        _ => None,
    }
}

fn predicate_body(tree: &Tree, id: Id) -> Option<Id> {
    match tree.kind(id) {
        Kind::Predicate(body) => Some(*body),
        _ => None,
    }
}

/// `x in ["a", "b"]` looks up a set; its keys must then have the set's type.
fn in_array(tree: &mut Tree, id: Id) -> Result<(), Problem> {
    let Kind::Binary(Binary::In, text, left, right) = *tree.kind(id) else {
        return Ok(());
    };
    let Kind::Array(nodes) = tree.kind(right) else {
        return Ok(());
    };
    let ints: Option<Vec<Value>> = nodes.iter().map(|n| int(tree, *n).map(Value::Int)).collect();
    let strs: Option<Vec<Value>> = nodes
        .iter()
        .map(|n| match tree.kind(*n) {
            Kind::Str(s) => Some(Value::Str(s.clone())),
            _ => None,
        })
        .collect();
    let (kind, ty, keys) = match (ints, strs) {
        _ if nodes.is_empty() => return Ok(()),
        (Some(keys), _) if tree.ty(left).kind() == TypeKind::Int => (MapKind::IntSet, Type::IntSet, keys),
        (_, Some(keys)) => (MapKind::StrSet, Type::StrSet, keys),
        _ => return Ok(()),
    };
    let entries: Result<BTreeMap<Key, Value>, Failure> =
        keys.into_iter().map(|k| Ok((Key::new(k)?, Value::Nil))).collect();
    let set = entries
        .and_then(|e| Value::map(kind, e))
        .map_err(|f| problem(tree, id, f))?;
    let span = tree.nodes[right].span;
    let set = tree.add(Kind::Constant(set), span);
    tree.nodes[set].ty = ty;
    tree.nodes[id].kind = Kind::Binary(Binary::In, text, left, set);
    Ok(())
}

/// Constants are computed once. True when something changed.
fn fold(tree: &mut Tree, id: Id) -> Result<bool, Problem> {
    let (kind, ty) = match tree.kind(id) {
        Kind::Unary(op, a) => match (op, tree.kind(*a)) {
            (Unary::Minus, Kind::Int(n)) => (Kind::Int(n.wrapping_neg()), Type::Int),
            (Unary::Plus, Kind::Int(n)) => (Kind::Int(*n), Type::Int),
            (Unary::Minus, Kind::Float(f)) => (Kind::Float(-f), Type::Float),
            (Unary::Plus, Kind::Float(f)) => (Kind::Float(*f), Type::Float),
            (Unary::Not | Unary::Bang, Kind::Bool(b)) => (Kind::Bool(!b), Type::Bool),
            _ => return Ok(false),
        },
        Kind::Binary(op, _, a, b) => match fold_binary(tree, *op, *a, *b) {
            Some(Ok(folded)) => folded,
            Some(Err(message)) => return Err((message.into(), tree.nodes[id].span)),
            None => return Ok(false),
        },
        Kind::Array(nodes) if !nodes.is_empty() => {
            let values: Option<Vec<Value>> = nodes.iter().map(|n| literal(tree.kind(*n))).collect();
            let Some(values) = values else { return Ok(false) };
            let value = Value::array(ArrayKind::Any, values).map_err(|f| problem(tree, id, f))?;
            (Kind::Constant(value), Type::any_array())
        }
        Kind::Builtin(_) => return Ok(merge_filters(tree, id)),
        _ => return Ok(false),
    };
    replace(tree, id, kind, ty);
    Ok(true)
}

fn literal(kind: &Kind) -> Option<Value> {
    Some(match kind {
        Kind::Int(n) => Value::Int(*n),
        Kind::Float(f) => Value::Float(*f),
        Kind::Str(s) => Value::Str(s.clone()),
        Kind::Bool(b) => Value::Bool(*b),
        _ => return None,
    })
}

#[expect(clippy::cast_precision_loss, reason = "as Go converts")]
fn fold_binary(tree: &Tree, op: Binary, a: Id, b: Id) -> Option<Result<(Kind, Type), &'static str>> {
    use Binary as B;
    let (x, y) = (tree.kind(a), tree.kind(b));
    let whole = |n: i64| Some(Ok((Kind::Int(n), Type::Int)));
    let real = |f: f64| Some(Ok((Kind::Float(f), Type::Float)));
    let truth = |t: bool| Some(Ok((Kind::Bool(t), Type::Bool)));
    let keep = |id: Id| Some(Ok((tree.kind(id).clone(), tree.ty(id).clone())));
    match (op, x, y) {
        (B::And, Kind::Bool(true), _) | (B::Or, Kind::Bool(false), _) => return keep(b),
        (B::And, _, Kind::Bool(true)) | (B::Or, _, Kind::Bool(false)) => return keep(a),
        (B::And, Kind::Bool(false), _) | (B::And, _, Kind::Bool(false)) => return truth(false),
        (B::Or, Kind::Bool(true), _) | (B::Or, _, Kind::Bool(true)) => return truth(true),
        (B::Equal, Kind::Int(x), Kind::Int(y)) => return truth(x == y),
        (B::Equal, Kind::Str(x), Kind::Str(y)) => return truth(x == y),
        (B::Equal, Kind::Bool(x), Kind::Bool(y)) => return truth(x == y),
        (B::Add, Kind::Str(x), Kind::Str(y)) => return Some(Ok((Kind::Str(format!("{x}{y}").into()), Type::Str))),
        (B::Modulo, Kind::Int(_), Kind::Int(0)) => return Some(Err("integer divide by zero")),
        (B::Modulo, Kind::Int(x), Kind::Int(y)) => return whole(x.wrapping_rem(*y)),
        (B::Add, Kind::Int(x), Kind::Int(y)) => return whole(x.wrapping_add(*y)),
        (B::Subtract, Kind::Int(x), Kind::Int(y)) => return whole(x.wrapping_sub(*y)),
        (B::Multiply, Kind::Int(x), Kind::Int(y)) => return whole(x.wrapping_mul(*y)),
        _ => {}
    }
    let number = |k: &Kind| match k {
        Kind::Int(n) => Some(*n as f64),
        Kind::Float(f) => Some(*f),
        _ => None,
    };
    let (x, y) = (number(x)?, number(y)?);
    match op {
        B::Add => real(x + y),
        B::Subtract => real(x - y),
        B::Multiply => real(x * y),
        B::Divide => real(x / y),
        B::Power => real(pow(x, y)),
        _ => None,
    }
}

/// `filter(filter(xs, p), q)` is `filter(xs, p && q)`.
fn merge_filters(tree: &mut Tree, id: Id) -> bool {
    let Some(outer) = builtin(tree, id, Builtin::Filter) else {
        return false;
    };
    let Some(inner) = builtin(tree, outer.args[0], Builtin::Filter) else {
        return false;
    };
    let (Some(p), Some(q)) = (predicate_body(tree, inner.args[1]), predicate_body(tree, outer.args[1])) else {
        return false;
    };
    let xs = inner.args[0];
    let predicate = both(tree, Binary::And, "&&", p, q);
    tree.nodes[id].kind = plain(Builtin::Filter, vec![xs, predicate]);
    true
}

fn both(tree: &mut Tree, op: Binary, text: &'static str, p: Id, q: Id) -> Id {
    let test = tree.add(Kind::Binary(op, text, p, q), Span::default());
    tree.add(Kind::Predicate(test), Span::default())
}

fn plain(builtin: Builtin, args: Vec<Id>) -> Kind {
    Kind::Builtin(Box::new(Call {
        builtin,
        args,
        map: None,
        throws: false,
        threshold: None,
    }))
}

/// `n in 1..5` of an int compares with the bounds.
fn in_range(tree: &mut Tree, id: Id) {
    let Kind::Binary(Binary::In, _, left, right) = *tree.kind(id) else {
        return;
    };
    let Kind::Binary(Binary::Range, _, from, to) = *tree.kind(right) else {
        return;
    };
    if tree.ty(left).kind() != TypeKind::Int || int(tree, from).is_none() || int(tree, to).is_none() {
        return;
    }
    let low = tree.add(Kind::Binary(Binary::MoreOrEqual, ">=", left, from), Span::default());
    let high = tree.add(Kind::Binary(Binary::LessOrEqual, "<=", left, to), Span::default());
    tree.nodes[id].kind = Kind::Binary(Binary::And, "and", low, high);
}

/// `map(filter(xs, p), f)` in one loop, unless `f` counts.
fn filter_map(tree: &mut Tree, id: Id) {
    let Some(map) = builtin(tree, id, Builtin::Map) else {
        return;
    };
    let (Some(f), Some(filter)) = (
        predicate_body(tree, map.args[1]),
        builtin(tree, map.args[0], Builtin::Filter),
    ) else {
        return;
    };
    if filter.map.is_some() || mentions_index(tree, f) {
        return;
    }
    tree.nodes[id].kind = Kind::Builtin(Box::new(Call {
        map: Some(f),
        ..filter.clone()
    }));
}

fn mentions_index(tree: &Tree, root: Id) -> bool {
    let mut todo = vec![root];
    let mut seen = std::collections::BTreeSet::new();
    while let Some(id) = todo.pop() {
        if matches!(tree.kind(id), Kind::Pointer(name) if &**name == "index") {
            return true;
        }
        if seen.insert(id) {
            todo.extend(children(tree.kind(id)));
        }
    }
    false
}

pub(crate) fn children(kind: &Kind) -> Vec<Id> {
    match kind {
        Kind::Unary(_, a) | Kind::Chain(a) | Kind::Predicate(a) => vec![*a],
        Kind::Binary(_, _, a, b) | Kind::Pair { key: a, value: b } | Kind::Let { value: a, body: b, .. } => {
            vec![*a, *b]
        }
        Kind::Member { base, property, .. } => vec![*base, *property],
        Kind::Slice { base, from, to } => std::iter::once(*base).chain(*from).chain(*to).collect(),
        Kind::Call { callee, args } => std::iter::once(*callee).chain(args.iter().copied()).collect(),
        Kind::Builtin(call) => call.args.clone(),
        Kind::Conditional { test, yes, no } => vec![*test, *yes, *no],
        Kind::Sequence(nodes) | Kind::Array(nodes) | Kind::Map(nodes) | Kind::Sum(nodes) => nodes.clone(),
        _ => Vec::new(),
    }
}

/// `len(filter(xs, p))` counts.
fn filter_len(tree: &mut Tree, id: Id) {
    let Some(call) = builtin(tree, id, Builtin::Len).filter(|c| c.args.len() == 1) else {
        return;
    };
    let Some(filter) = builtin(tree, call.args[0], Builtin::Filter) else {
        return;
    };
    tree.nodes[id].kind = plain(Builtin::Count, filter.args.clone());
}

fn filter_first(tree: &mut Tree, id: Id) {
    filter_end(tree, id, 0, Builtin::First, Builtin::Find);
}

fn filter_last(tree: &mut Tree, id: Id) {
    filter_end(tree, id, -1, Builtin::Last, Builtin::FindLast);
}

/// `filter(xs, p)[0]` and `first(filter(xs, p))` stop at the first; the index fails when there is none.
fn filter_end(tree: &mut Tree, id: Id, index: i64, end: Builtin, find: Builtin) {
    let (filter, throws) = match tree.kind(id) {
        Kind::Member {
            base,
            property,
            optional: false,
            ..
        } if int(tree, *property) == Some(index) => (*base, true),
        Kind::Builtin(call) if call.builtin == end && call.args.len() == 1 => (call.args[0], false),
        _ => return,
    };
    let Some(filter) = builtin(tree, filter, Builtin::Filter) else {
        return;
    };
    tree.nodes[id].kind = Kind::Builtin(Box::new(Call {
        builtin: find,
        throws,
        threshold: None,
        ..filter.clone()
    }));
}

/// `all(xs, p) && all(xs, q)` is `all(xs, p && q)`; likewise `any` with `||`, and `none` with `&&`.
fn predicate_combination(tree: &mut Tree, id: Id) {
    combine(tree, id, 0);
}

fn combine(tree: &mut Tree, id: Id, depth: usize) {
    let Kind::Binary(op, text, left, right) = *tree.kind(id) else {
        return;
    };
    let (Kind::Builtin(a), Kind::Builtin(b)) = (tree.kind(left), tree.kind(right)) else {
        return;
    };
    let (inner, inner_text) = match (a.builtin, op) {
        (Builtin::All, Binary::And) | (Builtin::Any, Binary::Or) => (op, text),
        (Builtin::None, Binary::And) => (Binary::Or, if text == "and" { "or" } else { "||" }),
        _ => return,
    };
    if a.builtin != b.builtin || !same(tree, a.args[0], b.args[0]) {
        return;
    }
    let (Some(p), Some(q)) = (predicate_body(tree, a.args[1]), predicate_body(tree, b.args[1])) else {
        return;
    };
    let (which, xs) = (a.builtin, a.args[0]);
    let predicate = both(tree, inner, inner_text, p, q);
    if let (Some(body), true) = (predicate_body(tree, predicate), depth < crate::limits::MAX_NESTING) {
        combine(tree, body, depth + 1);
    }
    tree.nodes[id].kind = plain(which, vec![xs, predicate]);
}

/// Whether two parts of the tree are written the same.
fn same(tree: &Tree, a: Id, b: Id) -> bool {
    let mut todo = vec![(a, b)];
    while let Some((a, b)) = todo.pop() {
        let (x, y) = (tree.kind(a), tree.kind(b));
        let (c, d) = (children(x), children(y));
        if tree.ty(a) != tree.ty(b) || c.len() != d.len() || !same_node(x, y) {
            return false;
        }
        todo.extend(c.into_iter().zip(d));
    }
    true
}

fn same_node(x: &Kind, y: &Kind) -> bool {
    match (x, y) {
        (Kind::Nil, Kind::Nil)
        | (Kind::Chain(_), Kind::Chain(_))
        | (Kind::Predicate(_), Kind::Predicate(_))
        | (Kind::Call { .. }, Kind::Call { .. })
        | (Kind::Conditional { .. }, Kind::Conditional { .. })
        | (Kind::Sequence(_), Kind::Sequence(_))
        | (Kind::Array(_), Kind::Array(_))
        | (Kind::Map(_), Kind::Map(_))
        | (Kind::Pair { .. }, Kind::Pair { .. }) => true,
        (Kind::Identifier(a), Kind::Identifier(b))
        | (Kind::Str(a), Kind::Str(b))
        | (Kind::Pointer(a), Kind::Pointer(b)) => a == b,
        (Kind::Int(a), Kind::Int(b)) => a == b,
        (Kind::Float(a), Kind::Float(b)) => a.to_bits() == b.to_bits(),
        (Kind::Bool(a), Kind::Bool(b)) => a == b,
        (Kind::Bytes(a), Kind::Bytes(b)) => a == b,
        (Kind::Constant(a), Kind::Constant(b)) => crate::operators::equal(a, b) && a.type_of() == b.type_of(),
        (Kind::Unary(a, _), Kind::Unary(b, _)) => a == b,
        (Kind::Binary(_, a, ..), Kind::Binary(_, b, ..)) => a == b,
        (Kind::Member { optional: a, .. }, Kind::Member { optional: b, .. }) => a == b,
        (Kind::Slice { from: a, to: b, .. }, Kind::Slice { from: c, to: d, .. }) => {
            a.is_some() == c.is_some() && b.is_some() == d.is_some()
        }
        (Kind::Builtin(a), Kind::Builtin(b)) => a.builtin == b.builtin,
        (Kind::Let { name: a, .. }, Kind::Let { name: b, .. }) => a == b,
        _ => false,
    }
}

/// `sum(1..n)` and its like by formula.
fn sum_range(tree: &mut Tree, id: Id) {
    let Kind::Builtin(call) = tree.kind(id) else { return };
    let Some(Kind::Binary(Binary::Range, _, from, to)) = call.args.first().map(|a| tree.kind(*a)) else {
        return;
    };
    let (Some(m), Some(n)) = (int(tree, *from), int(tree, *to)) else {
        return;
    };
    if n < m {
        return;
    }
    let count = n.wrapping_sub(m).wrapping_add(1);
    let sum = count.wrapping_mul(m.wrapping_add(n)).wrapping_div(2);
    let result = match (call.builtin, call.args.as_slice()) {
        (Builtin::Sum, [_]) => Some(sum),
        (Builtin::Sum, [_, p]) => predicate_body(tree, *p).and_then(|body| sum_of(tree, body, sum, count)),
        (Builtin::Reduce, [_, p, rest @ ..]) if adds_up(tree, *p) => match rest {
            [] => Some(sum),
            [start, ..] => int(tree, *start).map(|s| s.wrapping_add(sum)),
        },
        _ => None,
    };
    if let Some(result) = result {
        replace(tree, id, Kind::Int(result), Type::Int);
    }
}

fn pointer(tree: &Tree, id: Id, name: &str) -> bool {
    matches!(tree.kind(id), Kind::Pointer(n) if &**n == name)
}

fn sum_of(tree: &Tree, body: Id, sum: i64, count: i64) -> Option<i64> {
    if pointer(tree, body, "") {
        return Some(sum);
    }
    let Kind::Binary(op, _, a, b) = *tree.kind(body) else {
        return None;
    };
    let (k, element_first) = if pointer(tree, a, "") {
        (int(tree, b)?, true)
    } else if pointer(tree, b, "") {
        (int(tree, a)?, false)
    } else {
        return None;
    };
    let all = count.wrapping_mul(k);
    match op {
        Binary::Multiply => Some(k.wrapping_mul(sum)),
        Binary::Add => Some(sum.wrapping_add(all)),
        Binary::Subtract if element_first => Some(sum.wrapping_sub(all)),
        Binary::Subtract => Some(all.wrapping_sub(sum)),
        _ => None,
    }
}

fn adds_up(tree: &Tree, predicate: Id) -> bool {
    let Some(Kind::Binary(Binary::Add, _, a, b)) = predicate_body(tree, predicate).map(|p| tree.kind(p)) else {
        return false;
    };
    pointer(tree, *a, "") && pointer(tree, *b, "acc") || pointer(tree, *a, "acc") && pointer(tree, *b, "")
}

/// `sum([a, b, c])` is `a + (b + c)`.
fn sum_array(tree: &mut Tree, id: Id) {
    let Some(call) = builtin(tree, id, Builtin::Sum).filter(|c| c.args.len() == 1) else {
        return;
    };
    let Kind::Array(nodes) = tree.kind(call.args[0]) else {
        return;
    };
    if nodes.len() >= 2 {
        tree.nodes[id].kind = Kind::Sum(nodes.clone());
    }
}

/// `sum(map(xs, f))` is `sum(xs, f)`.
fn sum_map(tree: &mut Tree, id: Id) {
    let Some(call) = builtin(tree, id, Builtin::Sum).filter(|c| c.args.len() == 1) else {
        return;
    };
    let Some(map) = builtin(tree, call.args[0], Builtin::Map) else {
        return;
    };
    tree.nodes[id].kind = plain(Builtin::Sum, map.args.clone());
}

fn counted(tree: &Tree, id: Id) -> Option<(Binary, Id, Call, i64)> {
    let Kind::Binary(op, _, left, right) = *tree.kind(id) else {
        return None;
    };
    let call = builtin(tree, left, Builtin::Count).filter(|c| c.args.len() == 2)?;
    Some((op, left, call.clone(), int(tree, right)?))
}

/// `count(xs, p) > 0` is `any(xs, p)`.
fn count_any(tree: &mut Tree, id: Id) {
    let Some((op, _, call, n)) = counted(tree, id) else {
        return;
    };
    if op == Binary::More && n == 0 || op == Binary::MoreOrEqual && n == 1 {
        tree.nodes[id].kind = plain(Builtin::Any, call.args);
    }
}

/// `count(xs, p) > n` stops when it is decided.
fn count_threshold(tree: &mut Tree, id: Id) {
    let Some((op, left, mut call, n)) = counted(tree, id) else {
        return;
    };
    let threshold = match op {
        _ if n < 0 => return,
        Binary::More | Binary::LessOrEqual => n.wrapping_add(1),
        Binary::MoreOrEqual | Binary::Less => n,
        _ => return,
    };
    if threshold > 1 {
        call.threshold = Some(threshold);
        tree.nodes[left].kind = Kind::Builtin(Box::new(call));
    }
}
