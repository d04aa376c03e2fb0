//! A checked tree to instructions for the stack machine in `machine`. Works through a list of tasks, never calling itself.

use std::sync::Arc;

use regex::Regex;

use crate::ast::{Binary, Call, Id, Kind, Tree, Unary};
use crate::builtins::Builtin;
use crate::error::Span;
use crate::limits::MAX_INSTRUCTIONS;
use crate::pattern;
use crate::types::Type;
use crate::value::Value;

/// One step of the stack machine.
#[derive(Clone, Debug)]
pub(crate) enum Op {
    Push(Value),
    Pop,
    Store(usize),
    LoadVariable(usize),
    /// A name of the environment; one that is not there is nil.
    LoadName(Arc<str>),
    LoadEnv,
    Fetch,
    Not,
    Negate,
    Equal,
    /// Both sides are known to be ints, so that anything else is a failed assertion.
    EqualInts,
    EqualStrs,
    Binary(Binary),
    MatchesConstant(Arc<Regex>),
    Slice,
    /// Length of the value on top, which stays.
    Length,
    Jump(usize),
    JumpIfTrue(usize),
    JumpIfFalse(usize),
    JumpIfNil(usize),
    JumpIfNotNil(usize),
    JumpIfEnd(usize),
    Call {
        args: usize,
        typed: bool,
    },
    CallBuiltin(Builtin, usize),
    /// Length is on the stack, above the elements.
    Array,
    Map(usize),
    Begin,
    End,
    Next,
    Previous,
    Count,
    GetIndex,
    GetCount,
    GetLength,
    GetAcc,
    SetAcc,
    SetIndex,
    Element,
    NewGroups,
    NewSort,
    Group,
    SortKey,
    Sort,
    Throw(&'static str),
}

/// Instructions and where in the source each comes from.
#[derive(Clone, Debug, Default)]
pub(crate) struct Code {
    pub(crate) ops: Vec<Op>,
    pub(crate) spans: Vec<Span>,
    pub(crate) variables: usize,
}

type Label = usize;

/// A jump whose target is not known yet: where it is, how it is made, to which label it goes.
type PendingJump = (usize, fn(usize) -> Op, Label);

enum Task {
    Node(Id),
    /// A chain that is an operand of `??`, which deals with nil itself.
    Operand(Id),
    Emit(Op, Span),
    Jump(fn(usize) -> Op, Label, Span),
    Label(Label),
    Declare(Arc<str>, usize),
    Undeclare,
    OpenChain(Label),
    CloseChain,
    /// `?.` jumps to the end of the innermost chain.
    JumpToChain(Span),
}

struct Compiler<'a> {
    tree: &'a Tree,
    code: Code,
    tasks: Vec<Task>,
    labels: Vec<Option<usize>>,
    jumps: Vec<PendingJump>,
    scopes: Vec<(Arc<str>, usize)>,
    chains: Vec<Label>,
}

/// Compiles the tree, unless the code gets too long.
pub(crate) fn compile(tree: &Tree) -> Result<Code, (String, Span)> {
    let mut c = Compiler {
        tree,
        code: Code::default(),
        tasks: vec![Task::Node(tree.root)],
        labels: Vec::new(),
        jumps: Vec::new(),
        scopes: Vec::new(),
        chains: Vec::new(),
    };
    while let Some(task) = c.tasks.pop() {
        c.run(task)?;
        if c.code.ops.len() + c.tasks.len() > MAX_INSTRUCTIONS {
            return Err((
                "compilation failed: expression exceeds maximum allowed nodes".into(),
                Span::default(),
            ));
        }
    }
    for (at, op, label) in c.jumps {
        if let Some(target) = c.labels[label] {
            c.code.ops[at] = op(target);
        }
    }
    Ok(c.code)
}

impl Compiler<'_> {
    fn run(&mut self, task: Task) -> Result<(), (String, Span)> {
        match task {
            Task::Node(id) => return self.node(id, false),
            Task::Operand(id) => return self.node(id, true),
            Task::Emit(op, span) => self.emit(op, span),
            Task::Jump(op, label, span) => {
                self.jumps.push((self.code.ops.len(), op, label));
                self.emit(op(usize::MAX), span);
            }
            Task::Label(label) => self.labels[label] = Some(self.code.ops.len()),
            Task::Declare(name, index) => self.scopes.push((name, index)),
            Task::Undeclare => {
                self.scopes.pop();
            }
            Task::OpenChain(label) => self.chains.push(label),
            Task::CloseChain => {
                self.chains.pop();
            }
            Task::JumpToChain(span) => {
                if let Some(label) = self.chains.last() {
                    self.run(Task::Jump(Op::JumpIfNil, *label, span))?;
                }
            }
        }
        Ok(())
    }

    fn emit(&mut self, op: Op, span: Span) {
        self.code.ops.push(op);
        self.code.spans.push(span);
    }

    fn label(&mut self) -> Label {
        self.labels.push(None);
        self.labels.len() - 1
    }

    /// Queues tasks so that the first of them comes next.
    fn queue(&mut self, tasks: Vec<Task>) {
        self.tasks.extend(tasks.into_iter().rev());
    }

    fn node(&mut self, id: Id, coalesced: bool) -> Result<(), (String, Span)> {
        use Task::{CloseChain, Declare, Emit, Jump, Label, Node, OpenChain, Undeclare};
        let tree = self.tree;
        let span = tree.nodes[id].span;
        let push = |v: Value| Emit(Op::Push(v), span);
        match tree.kind(id) {
            Kind::Nil => self.emit(Op::Push(Value::Nil), span),
            Kind::Int(n) => {
                #[expect(clippy::cast_precision_loss, reason = "as Go converts")]
                let v = if *tree.ty(id) == Type::Float {
                    Value::Float(*n as f64)
                } else {
                    Value::Int(*n)
                };
                self.emit(Op::Push(v), span);
            }
            Kind::Float(f) => self.emit(Op::Push(Value::Float(*f)), span),
            Kind::Bool(b) => self.emit(Op::Push(Value::Bool(*b)), span),
            Kind::Str(s) => self.emit(Op::Push(Value::Str(Arc::clone(s))), span),
            Kind::Bytes(b) => self.emit(Op::Push(Value::Bytes(Arc::clone(b))), span),
            Kind::Constant(v) => self.emit(Op::Push(v.clone()), span),
            Kind::Identifier(name) => {
                let variable = self.scopes.iter().rev().find(|(n, _)| n == name).map(|(_, i)| *i);
                let op = match variable {
                    Some(index) => Op::LoadVariable(index),
                    None if &**name == "$env" => Op::LoadEnv,
                    None => Op::LoadName(Arc::clone(name)),
                };
                self.emit(op, span);
            }
            Kind::Pointer(name) => {
                let op = match &**name {
                    "index" => Op::GetIndex,
                    "acc" => Op::GetAcc,
                    _ => Op::Element,
                };
                self.emit(op, span);
            }
            Kind::Unary(op, a) => {
                let mut tasks = vec![Node(*a)];
                match op {
                    Unary::Not | Unary::Bang => tasks.push(Emit(Op::Not, span)),
                    Unary::Minus => tasks.push(Emit(Op::Negate, span)),
                    Unary::Plus => {}
                }
                self.queue(tasks);
            }
            Kind::Binary(op, _, a, b) => return self.binary(span, *op, *a, *b),
            Kind::Chain(inner) => {
                let (end, skip) = (self.label(), self.label());
                let mut tasks = vec![OpenChain(end), Node(*inner), Label(end), CloseChain];
                if !coalesced {
                    // A nil slice becomes plain nil.
                    tasks.extend([
                        Jump(Op::JumpIfNotNil, skip, span),
                        Emit(Op::Pop, span),
                        push(Value::Nil),
                        Label(skip),
                    ]);
                }
                self.queue(tasks);
            }
            Kind::Member {
                base,
                property,
                optional,
                ..
            } => {
                let mut tasks = vec![Node(*base)];
                if *optional {
                    tasks.push(Task::JumpToChain(span));
                }
                tasks.extend([Node(*property), Emit(Op::Fetch, span)]);
                self.queue(tasks);
            }
            Kind::Slice { base, from, to } => {
                let tasks = vec![
                    Node(*base),
                    to.map_or(Emit(Op::Length, span), Node),
                    from.map_or(push(Value::Int(0)), Node),
                    Emit(Op::Slice, span),
                ];
                self.queue(tasks);
            }
            Kind::Call { callee, args } => {
                let typed = tree.ty(*callee).is_func();
                let mut tasks: Vec<Task> = args.iter().map(|a| Node(*a)).collect();
                tasks.extend([
                    Node(*callee),
                    Emit(
                        Op::Call {
                            args: args.len(),
                            typed,
                        },
                        span,
                    ),
                ]);
                self.queue(tasks);
            }
            Kind::Builtin(call) => self.builtin(span, call),
            Kind::Predicate(body) => self.queue(vec![Node(*body)]),
            Kind::Let { name, value, body } => {
                let index = self.code.variables;
                self.code.variables += 1;
                self.queue(vec![
                    Node(*value),
                    Emit(Op::Store(index), span),
                    Declare(Arc::clone(name), index),
                    Node(*body),
                    Undeclare,
                ]);
            }
            Kind::Sequence(nodes) => {
                let mut tasks = Vec::with_capacity(nodes.len() * 2);
                for (i, n) in nodes.iter().enumerate() {
                    if i > 0 {
                        tasks.push(Emit(Op::Pop, span));
                    }
                    tasks.push(Node(*n));
                }
                self.queue(tasks);
            }
            Kind::Conditional { test, yes, no } => {
                let (otherwise, end) = (self.label(), self.label());
                self.queue(vec![
                    Node(*test),
                    Jump(Op::JumpIfFalse, otherwise, span),
                    Emit(Op::Pop, span),
                    Node(*yes),
                    Jump(Op::Jump, end, span),
                    Label(otherwise),
                    Emit(Op::Pop, span),
                    Node(*no),
                    Label(end),
                ]);
            }
            Kind::Array(nodes) => {
                let mut tasks: Vec<Task> = nodes.iter().map(|n| Node(*n)).collect();
                tasks.push(push(Value::Int(i64::try_from(nodes.len()).unwrap_or(i64::MAX))));
                tasks.push(Emit(Op::Array, span));
                self.queue(tasks);
            }
            Kind::Map(pairs) => {
                let mut tasks: Vec<Task> = pairs.iter().map(|n| Node(*n)).collect();
                tasks.push(Emit(Op::Map(pairs.len()), span));
                self.queue(tasks);
            }
            Kind::Pair { key, value } => self.queue(vec![Node(*key), Node(*value)]),
            Kind::Sum(nodes) => {
                let mut tasks: Vec<Task> = nodes.iter().map(|n| Node(*n)).collect();
                tasks.extend((1..nodes.len()).map(|_| Emit(Op::Binary(Binary::Add), span)));
                self.queue(tasks);
            }
        }
        Ok(())
    }

    fn binary(&mut self, span: Span, op: Binary, a: Id, b: Id) -> Result<(), (String, Span)> {
        use Task::{Emit, Jump, Label, Node, Operand};
        let end = self.label();
        let short =
            |jump: fn(usize) -> Op| vec![Node(a), Jump(jump, end, span), Emit(Op::Pop, span), Node(b), Label(end)];
        let tasks = match op {
            Binary::Equal | Binary::NotEqual => {
                let mut tasks = vec![Node(a), Node(b), Emit(self.equality(a, b), span)];
                if op == Binary::NotEqual {
                    tasks.push(Emit(Op::Not, span));
                }
                tasks
            }
            Binary::Or => short(Op::JumpIfTrue),
            Binary::And => short(Op::JumpIfFalse),
            Binary::Coalesce => vec![
                Operand(a),
                Jump(Op::JumpIfNotNil, end, span),
                Emit(Op::Pop, span),
                Operand(b),
                Label(end),
            ],
            Binary::Matches => match self.tree.kind(b) {
                Kind::Str(text) => {
                    let regex = pattern::compile(text).map_err(|e| (e, span))?;
                    vec![Node(a), Emit(Op::MatchesConstant(Arc::new(regex)), span)]
                }
                _ => vec![Node(a), Node(b), Emit(Op::Binary(op), span)],
            },
            _ => vec![Node(a), Node(b), Emit(Op::Binary(op), span)],
        };
        self.queue(tasks);
        Ok(())
    }

    fn equality(&self, a: Id, b: Id) -> Op {
        match (self.tree.ty(a), self.tree.ty(b)) {
            (Type::Int, Type::Int) => Op::EqualInts,
            (Type::Str, Type::Str) => Op::EqualStrs,
            _ => Op::Equal,
        }
    }

    /// A loop over the collection on the stack: `body` for each element, `end` is where it goes when there are no more.
    fn each(&mut self, span: Span, body: Vec<Task>) -> Vec<Task> {
        let (begin, end) = (self.label(), self.label());
        let mut tasks = vec![Task::Label(begin), Task::Jump(Op::JumpIfEnd, end, span)];
        tasks.extend(body);
        tasks.extend([
            Task::Emit(Op::Next, span),
            Task::Jump(Op::Jump, begin, span),
            Task::Label(end),
        ]);
        tasks
    }

    fn each_backwards(&mut self, span: Span, body: Vec<Task>) -> Vec<Task> {
        use Task::{Emit, Jump, Label};
        let (begin, end) = (self.label(), self.label());
        let mut tasks = vec![
            Emit(Op::GetLength, span),
            Emit(Op::Push(Value::Int(1)), span),
            Emit(Op::Binary(Binary::Subtract), span),
            Emit(Op::SetIndex, span),
            Label(begin),
            Emit(Op::GetIndex, span),
            Emit(Op::Push(Value::Int(0)), span),
            Emit(Op::Binary(Binary::MoreOrEqual), span),
            Jump(Op::JumpIfFalse, end, span),
            Emit(Op::Pop, span),
        ];
        tasks.extend(body);
        tasks.extend([
            Emit(Op::Previous, span),
            Jump(Op::Jump, begin, span),
            Label(end),
            Emit(Op::Pop, span),
        ]);
        tasks
    }

    /// `body` when the value on top is true; takes the value.
    fn when(&mut self, span: Span, body: Vec<Task>) -> Vec<Task> {
        use Task::{Emit, Jump, Label};
        let (no, end) = (self.label(), self.label());
        let mut tasks = vec![Jump(Op::JumpIfFalse, no, span), Emit(Op::Pop, span)];
        tasks.extend(body);
        tasks.extend([Jump(Op::Jump, end, span), Label(no), Emit(Op::Pop, span), Label(end)]);
        tasks
    }

    fn builtin(&mut self, span: Span, call: &Call) {
        use Task::{Emit, Node};
        let Some(_) = call.builtin.predicate_params() else {
            let mut tasks: Vec<Task> = call.args.iter().map(|a| Node(*a)).collect();
            tasks.push(Emit(Op::CallBuiltin(call.builtin, call.args.len()), span));
            return self.queue(tasks);
        };
        let mut tasks = vec![Node(call.args[0]), Emit(Op::Begin, span)];
        tasks.extend(self.predicate_builtin(span, call));
        tasks.push(Emit(Op::End, span));
        self.queue(tasks);
        // `filter` and `map` make their array outside the loop's scope, on which it does not depend.
    }

    fn predicate_builtin(&mut self, span: Span, call: &Call) -> Vec<Task> {
        use Builtin as B;
        use Task::{Emit, Jump, Label, Node};
        let emit = |op: Op| Emit(op, span);
        let element = |op: Option<Id>| op.map_or(Emit(Op::Element, span), Node);
        let predicate = || element(call.args.get(1).copied());
        match call.builtin {
            B::All | B::None | B::Any => {
                let decided = self.label();
                let mut body = vec![predicate()];
                if call.builtin == B::None {
                    body.push(emit(Op::Not));
                }
                let jump: fn(usize) -> Op = if call.builtin == B::Any {
                    Op::JumpIfTrue
                } else {
                    Op::JumpIfFalse
                };
                body.extend([Jump(jump, decided, span), emit(Op::Pop)]);
                let mut tasks = self.each(span, body);
                tasks.extend([emit(Op::Push(Value::Bool(call.builtin != B::Any))), Label(decided)]);
                tasks
            }
            B::One => {
                let mut body = vec![predicate()];
                body.extend(self.when(span, vec![emit(Op::Count)]));
                let mut tasks = self.each(span, body);
                tasks.extend([emit(Op::GetCount), emit(Op::Push(Value::Int(1))), emit(Op::Equal)]);
                tasks
            }
            B::Filter => {
                let mut body = vec![predicate()];
                body.extend(self.when(span, vec![emit(Op::Count), element(call.map)]));
                let mut tasks = self.each(span, body);
                tasks.extend([emit(Op::GetCount), emit(Op::Array)]);
                tasks
            }
            B::Map => {
                let mut tasks = self.each(span, vec![predicate()]);
                tasks.extend([emit(Op::GetLength), emit(Op::Array)]);
                tasks
            }
            B::Count => self.count(span, call, predicate()),
            B::Sum => {
                let body = vec![
                    predicate(),
                    emit(Op::GetAcc),
                    emit(Op::Binary(Binary::Add)),
                    emit(Op::SetAcc),
                ];
                let mut tasks = vec![emit(Op::Push(Value::Int(0))), emit(Op::SetAcc)];
                tasks.extend(self.each(span, body));
                tasks.push(emit(Op::GetAcc));
                tasks
            }
            B::Find | B::FindLast | B::FindIndex | B::FindLastIndex => self.find(span, call, predicate()),
            B::GroupBy => {
                let mut tasks = vec![emit(Op::NewGroups)];
                tasks.extend(self.each(span, vec![predicate(), emit(Op::Group)]));
                tasks.push(emit(Op::GetAcc));
                tasks
            }
            B::SortBy => {
                let order = call.args.get(2).map_or(emit(Op::Push(Value::str("asc"))), |o| Node(*o));
                let mut tasks = vec![order, emit(Op::NewSort)];
                tasks.extend(self.each(span, vec![predicate(), emit(Op::SortKey)]));
                tasks.push(emit(Op::Sort));
                tasks
            }
            // Reduce.
            _ => {
                let mut tasks = Vec::new();
                if let Some(start) = call.args.get(2) {
                    tasks.extend([Node(*start), emit(Op::SetAcc)]);
                } else {
                    let (empty, go) = (self.label(), self.label());
                    tasks.extend([
                        Jump(Op::JumpIfEnd, empty, span),
                        emit(Op::Element),
                        emit(Op::Next),
                        emit(Op::SetAcc),
                        Jump(Op::Jump, go, span),
                        Label(empty),
                        emit(Op::Throw("reduce of empty array with no initial value")),
                        Label(go),
                    ]);
                }
                tasks.extend(self.each(span, vec![predicate(), emit(Op::SetAcc)]));
                tasks.push(emit(Op::GetAcc));
                tasks
            }
        }
    }

    fn count(&mut self, span: Span, call: &Call, predicate: Task) -> Vec<Task> {
        use Task::{Emit, Jump, Label};
        let emit = |op: Op| Emit(op, span);
        let (decided, end) = (self.label(), self.label());
        let mut counted = vec![emit(Op::Count)];
        if let Some(threshold) = call.threshold {
            counted.extend([
                emit(Op::GetCount),
                emit(Op::Push(Value::Int(threshold))),
                emit(Op::Binary(Binary::MoreOrEqual)),
                Jump(Op::JumpIfTrue, decided, span),
                emit(Op::Pop),
            ]);
        }
        let mut body = vec![predicate];
        body.extend(self.when(span, counted));
        let mut tasks = self.each(span, body);
        tasks.push(emit(Op::GetCount));
        if call.threshold.is_some() {
            tasks.extend([
                Jump(Op::Jump, end, span),
                Label(decided),
                emit(Op::Pop),
                emit(Op::GetCount),
                Label(end),
            ]);
        }
        tasks
    }

    fn find(&mut self, span: Span, call: &Call, predicate: Task) -> Vec<Task> {
        use Task::{Emit, Jump, Label, Node};
        let emit = |op: Op| Emit(op, span);
        let (no, found) = (self.label(), self.label());
        let what = match call.builtin {
            Builtin::FindIndex | Builtin::FindLastIndex => emit(Op::GetIndex),
            _ => call.map.map_or(emit(Op::Element), Node),
        };
        let body = vec![
            predicate,
            Jump(Op::JumpIfFalse, no, span),
            emit(Op::Pop),
            what,
            Jump(Op::Jump, found, span),
            Label(no),
            emit(Op::Pop),
        ];
        let mut tasks = match call.builtin {
            Builtin::FindLast | Builtin::FindLastIndex => self.each_backwards(span, body),
            _ => self.each(span, body),
        };
        tasks.push(if call.throws {
            emit(Op::Throw("reflect: slice index out of range"))
        } else {
            emit(Op::Push(Value::Nil))
        });
        tasks.push(Label(found));
        tasks
    }
}
