//! The syntax tree: nodes in one vector, named by their index. No node owns another, so no walk and no drop recurses.

use std::sync::Arc;

use crate::builtins::Builtin;
use crate::error::Span;
use crate::types::Type;
use crate::value::Value;

pub(crate) type Id = usize;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unary {
    Not,
    Bang,
    Plus,
    Minus,
}

impl Unary {
    pub(crate) fn text(self) -> &'static str {
        match self {
            Self::Not => "not",
            Self::Bang => "!",
            Self::Plus => "+",
            Self::Minus => "-",
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Binary {
    Or,
    And,
    Equal,
    NotEqual,
    Less,
    More,
    MoreOrEqual,
    LessOrEqual,
    In,
    Matches,
    Contains,
    StartsWith,
    EndsWith,
    Range,
    Add,
    Subtract,
    Multiply,
    Divide,
    Modulo,
    Power,
    Coalesce,
}

#[derive(Clone, Debug)]
pub(crate) enum Kind {
    Nil,
    Identifier(Arc<str>),
    Int(i64),
    Float(f64),
    Bool(bool),
    Str(Arc<str>),
    Bytes(Arc<[u8]>),
    /// What the optimizer made of an array of literals.
    Constant(Value),
    Unary(Unary, Id),
    /// Operator, as written, left, right.
    Binary(Binary, &'static str, Id, Id),
    /// The whole of `a?.b.c`: nil anywhere in it makes it nil.
    Chain(Id),
    Member {
        base: Id,
        property: Id,
        optional: bool,
        method: bool,
    },
    Slice {
        base: Id,
        from: Option<Id>,
        to: Option<Id>,
    },
    Call {
        callee: Id,
        args: Vec<Id>,
    },
    Builtin(Box<Call>),
    Predicate(Id),
    /// `#`, `#index`, `#acc`.
    Pointer(Arc<str>),
    Let {
        name: Arc<str>,
        value: Id,
        body: Id,
    },
    Sequence(Vec<Id>),
    Conditional {
        test: Id,
        yes: Id,
        no: Id,
    },
    Array(Vec<Id>),
    Map(Vec<Id>),
    Pair {
        key: Id,
        value: Id,
    },
    /// Optimizer: the sum of these, added from the last to the first.
    Sum(Vec<Id>),
}

/// Call of a built-in, and what the optimizer found out about it.
#[derive(Clone, Debug)]
pub(crate) struct Call {
    pub(crate) builtin: Builtin,
    pub(crate) args: Vec<Id>,
    /// What `filter` and `find` yield instead of the element.
    pub(crate) map: Option<Id>,
    /// `find` fails instead of yielding nil.
    pub(crate) throws: bool,
    /// `count` may stop there.
    pub(crate) threshold: Option<i64>,
}

#[derive(Clone, Debug)]
pub(crate) struct Node {
    pub(crate) kind: Kind,
    pub(crate) span: Span,
    /// Static type, [`Type::Unknown`] until the checker has been there.
    pub(crate) ty: Type,
}

/// The tree of one source.
#[derive(Debug, Default)]
pub(crate) struct Tree {
    pub(crate) nodes: Vec<Node>,
    pub(crate) root: Id,
}

impl Tree {
    pub(crate) fn add(&mut self, kind: Kind, span: Span) -> Id {
        self.nodes.push(Node {
            kind,
            span,
            ty: Type::Unknown,
        });
        self.nodes.len() - 1
    }

    pub(crate) fn kind(&self, id: Id) -> &Kind {
        &self.nodes[id].kind
    }

    pub(crate) fn ty(&self, id: Id) -> &Type {
        &self.nodes[id].ty
    }
}
