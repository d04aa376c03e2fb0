//! Tokens to a syntax tree. Knows names of built-ins and which of them the environment replaces; knows no types.
//!
//! The only recursive part of the crate: each function that recurses goes through [`Parser::nested`], which counts depth.

use std::sync::Arc;

use crate::ast::{Binary, Call, Id, Kind as Node, Tree, Unary};
use crate::builtins::{Builtin, Param};
use crate::error::Span;
use crate::lexer::{Kind, LexError, Lexer, Token, is_identifier};
use crate::limits::{MAX_NESTING, MAX_NODES};
use crate::syntax::{binary, float, int, is_comparison, unary};

/// A syntax error; boxed, so that the results of the recursive functions stay small.
pub(crate) type ParseError = Box<LexError>;
type Parsed<T> = Result<T, ParseError>;

pub(crate) struct Parser<'a> {
    lexer: Lexer,
    current: Token,
    stashed: Option<Token>,
    tree: Tree,
    overridden: &'a dyn Fn(&str) -> bool,
    /// Open predicates: only inside one `#` and `.field` have a meaning.
    predicates: usize,
    nesting: usize,
    nodes: usize,
}

/// Parses a whole source.
pub(crate) fn parse(source: &str, overridden: &dyn Fn(&str) -> bool) -> Parsed<Tree> {
    let mut lexer = Lexer::new(source);
    let current = lexer.next().map_err(Box::new)?;
    let mut p = Parser {
        lexer,
        current,
        stashed: None,
        tree: Tree::default(),
        overridden,
        predicates: 0,
        nesting: 0,
        nodes: 0,
    };
    let root = p.sequence()?;
    if p.current.kind != Kind::Eof {
        return p.unexpected();
    }
    p.tree.root = root;
    Ok(p.tree)
}

impl Parser<'_> {
    fn next(&mut self) -> Parsed<()> {
        self.current = match self.stashed.take() {
            Some(t) => t,
            None if self.current.kind == Kind::Eof => {
                return self.fail("unexpected end of expression", self.current.span);
            }
            None => self.lexer.next().map_err(Box::new)?,
        };
        Ok(())
    }

    /// Takes the current token and moves on.
    fn take(&mut self) -> Parsed<Token> {
        let t = self.current.clone();
        self.next()?;
        Ok(t)
    }

    fn is(&self, kind: Kind, text: &str) -> bool {
        self.current.is(kind, text)
    }

    fn fail<T>(&self, message: impl Into<String>, span: Span) -> Parsed<T> {
        Err(Box::new(LexError {
            message: message.into(),
            span,
        }))
    }

    fn unexpected<T>(&self) -> Parsed<T> {
        self.fail(
            format!("unexpected token {}", self.current.describe()),
            self.current.span,
        )
    }

    fn expect(&mut self, kind: Kind, text: &str) -> Parsed<()> {
        if self.is(kind, text) {
            self.next()
        } else {
            self.unexpected()
        }
    }

    fn expect_identifier(&mut self) -> Parsed<Token> {
        if self.current.kind == Kind::Identifier {
            self.take()
        } else {
            self.unexpected()
        }
    }

    fn node(&mut self, kind: Node, span: Span) -> Parsed<Id> {
        self.nodes += 1;
        if self.nodes > MAX_NODES {
            return self.fail(
                "compilation failed: expression exceeds maximum allowed nodes",
                self.current.span,
            );
        }
        Ok(self.tree.add(kind, span))
    }

    /// Counts one recursive step, unless the source nests too deeply. The caller counts it back.
    fn enter(&mut self) -> Parsed<()> {
        if self.nesting >= MAX_NESTING {
            return self.fail(
                format!("compilation failed: expression nests deeper than {MAX_NESTING} levels; split it with let"),
                self.current.span,
            );
        }
        self.nesting += 1;
        Ok(())
    }

    fn sequence(&mut self) -> Parsed<Id> {
        let first = self.expression(0)?;
        if !self.is(Kind::Operator, ";") {
            return Ok(first);
        }
        let mut nodes = vec![first];
        while self.is(Kind::Operator, ";") {
            self.next()?;
            if self.current.kind == Kind::Eof {
                break;
            }
            nodes.push(self.expression(0)?);
        }
        if nodes.len() == 1 {
            return Ok(first);
        }
        let span = self.tree.nodes[first].span;
        self.node(Node::Sequence(nodes), span)
    }

    fn expression(&mut self, precedence: u16) -> Parsed<Id> {
        self.enter()?;
        let out = if precedence == 0 && self.is(Kind::Operator, "let") {
            self.declaration()
        } else if precedence == 0 && self.is(Kind::Operator, "if") {
            self.conditional_if()
        } else {
            self.operators(precedence)
        };
        self.nesting -= 1;
        out
    }

    fn operators(&mut self, precedence: u16) -> Parsed<Id> {
        let left = self.primary()?;
        let left = self.binary_rest(left, precedence)?;
        if precedence == 0 { self.ternary(left) } else { Ok(left) }
    }

    /// Operators that bind at least as tightly as `precedence`, to the right of `left`.
    fn binary_rest(&mut self, mut left: Id, precedence: u16) -> Parsed<Id> {
        let mut after_coalesce = false;
        while self.current.kind == Kind::Operator {
            let mut negated = None;
            if self.is(Kind::Operator, "not") {
                let not = self.take()?;
                if !matches!(
                    self.current.text.as_str(),
                    "contains" | "matches" | "startsWith" | "endsWith" | "in"
                ) {
                    return self.unexpected();
                }
                if binary(&self.current.text).is_none_or(|(_, _, p)| p < precedence) {
                    self.stashed = Some(std::mem::replace(&mut self.current, not));
                    return Ok(left);
                }
                negated = Some(self.current.span);
            }
            if self.is(Kind::Operator, "|") && precedence == 0 {
                self.next()?;
                let name = self.expect_identifier()?;
                left = self.call(name.text.into(), name.span, vec![left], true)?;
                after_coalesce = false;
                continue;
            }
            let Some((op, text, binds)) = binary(&self.current.text).filter(|(_, _, p)| *p >= precedence) else {
                break;
            };
            let token = self.take()?;
            if after_coalesce && op != Binary::Coalesce {
                return self.mixed(text, token.span);
            }
            after_coalesce = op == Binary::Coalesce;
            if is_comparison(op) {
                left = self.comparison(left, op, text, token.span, binds)?;
                continue;
            }
            let right = self.expression(if op == Binary::Power { binds } else { binds + 1 })?;
            left = self.node(Node::Binary(op, text, left, right), token.span)?;
            if let Some(span) = negated {
                left = self.node(Node::Unary(Unary::Not, left), span)?;
            }
        }
        Ok(left)
    }

    fn mixed(&self, text: &str, span: Span) -> Parsed<Id> {
        let message =
            format!("Operator ({text}) and coalesce expressions (??) cannot be mixed. Wrap either by parentheses.");
        self.fail(message, span)
    }

    /// `a < b <= c` is `a < b && b <= c`.
    fn comparison(
        &mut self,
        mut left: Id,
        mut op: Binary,
        mut text: &'static str,
        mut span: Span,
        binds: u16,
    ) -> Parsed<Id> {
        let mut root = None;
        loop {
            let right = self.expression(binds + 1)?;
            let one = self.node(Node::Binary(op, text, left, right), span)?;
            let all = match root {
                None => one,
                Some(root) => self.node(Node::Binary(Binary::And, "&&", root, one), span)?,
            };
            root = Some(all);
            left = right;
            match binary(&self.current.text) {
                Some((o, t, _)) if self.current.kind == Kind::Operator && is_comparison(o) => (op, text) = (o, t),
                _ => return Ok(all),
            }
            span = self.current.span;
            self.next()?;
        }
    }

    fn declaration(&mut self) -> Parsed<Id> {
        self.next()?;
        let name = self.expect_identifier()?;
        self.expect(Kind::Operator, "=")?;
        let value = self.expression(0)?;
        self.expect(Kind::Operator, ";")?;
        let body = self.sequence()?;
        self.node(
            Node::Let {
                name: name.text.into(),
                value,
                body,
            },
            name.span,
        )
    }

    fn conditional_if(&mut self) -> Parsed<Id> {
        self.next()?;
        let test = self.expression(0)?;
        self.expect(Kind::Bracket, "{")?;
        let yes = self.sequence()?;
        self.expect(Kind::Bracket, "}")?;
        self.expect(Kind::Operator, "else")?;
        let no = if self.is(Kind::Operator, "if") {
            {
                self.enter()?;
                let no = self.conditional_if()?;
                self.nesting -= 1;
                no
            }
        } else {
            self.expect(Kind::Bracket, "{")?;
            let no = self.sequence()?;
            self.expect(Kind::Bracket, "}")?;
            no
        };
        // Upstream neither counts this node nor knows where it is.
        Ok(self.tree.add(Node::Conditional { test, yes, no }, Span::default()))
    }

    fn ternary(&mut self, mut test: Id) -> Parsed<Id> {
        while self.is(Kind::Operator, "?") {
            self.next()?;
            let yes = if self.is(Kind::Operator, ":") {
                test
            } else {
                self.expression(0)?
            };
            self.expect(Kind::Operator, ":")?;
            let no = self.expression(0)?;
            test = self.node(Node::Conditional { test, yes, no }, self.current.span)?;
        }
        Ok(test)
    }

    /// An operand with what follows it. The functions on the way down hold as little as they can: their frames add up.
    fn primary(&mut self) -> Parsed<Id> {
        let (kind, text) = (self.current.kind, self.current.text.as_str());
        // A number, `true`, `false` and `nil` have neither fields nor elements.
        let bare = kind == Kind::Number || kind == Kind::Identifier && matches!(text, "true" | "false" | "nil");
        let node = match (kind, text) {
            (Kind::Operator, "not" | "!" | "-" | "+") => self.unary()?,
            (Kind::Bracket, "(") => self.parenthesized()?,
            (Kind::Bracket, "[") => self.array()?,
            (Kind::Bracket, "{") => self.map()?,
            (Kind::Operator, "::") => self.global()?,
            (Kind::Identifier, _) if !bare => self.name()?,
            _ => self.leaf()?,
        };
        if bare { Ok(node) } else { self.postfix(node) }
    }

    fn unary(&mut self) -> Parsed<Id> {
        let span = self.current.span;
        let Some((op, binds)) = unary(&self.current.text) else {
            return self.unexpected();
        };
        self.next()?;
        let operand = self.expression(binds)?;
        self.node(Node::Unary(op, operand), span)
    }

    fn parenthesized(&mut self) -> Parsed<Id> {
        self.next()?;
        let inner = self.sequence()?;
        self.expect(Kind::Bracket, ")")?;
        Ok(inner)
    }

    /// `::name()` is the built-in, whatever the environment has under that name.
    fn global(&mut self) -> Parsed<Id> {
        self.next()?;
        let name = self.expect_identifier()?;
        self.call(name.text.into(), name.span, Vec::new(), false)
    }

    /// Operands without parts of their own.
    fn leaf(&mut self) -> Parsed<Id> {
        if self.predicates > 0 && (self.is(Kind::Operator, "#") || self.is(Kind::Operator, ".")) {
            return self.pointer();
        }
        match self.current.kind {
            Kind::Number => self.number(),
            Kind::String | Kind::Bytes | Kind::Identifier => {
                let t = self.take()?;
                let kind = match (t.kind, t.text.as_str()) {
                    (Kind::Bytes, _) => Node::Bytes(t.bytes.into()),
                    (Kind::String, text) => Node::Str(text.into()),
                    (_, "true") => Node::Bool(true),
                    (_, "false") => Node::Bool(false),
                    _ => Node::Nil,
                };
                self.node(kind, t.span)
            }
            _ => self.unexpected(),
        }
    }

    /// `#`, `#index`, or nothing at all before `.field`.
    fn pointer(&mut self) -> Parsed<Id> {
        let span = self.current.span;
        let mut name = String::new();
        if self.is(Kind::Operator, "#") {
            self.next()?;
            if self.current.kind == Kind::Identifier {
                name = self.take()?.text;
            }
        }
        self.node(Node::Pointer(name.into()), span)
    }

    fn name(&mut self) -> Parsed<Id> {
        let (name, span) = self.take_name()?;
        if self.is(Kind::Bracket, "(") {
            self.call(name, span, Vec::new(), true)
        } else {
            self.node(Node::Identifier(name), span)
        }
    }

    fn take_name(&mut self) -> Parsed<(Arc<str>, Span)> {
        let t = self.take()?;
        Ok((t.text.into(), t.span))
    }

    fn number(&mut self) -> Parsed<Id> {
        let t = self.take()?;
        let text = t.text.replace('_', "");
        let lower = text.to_ascii_lowercase();
        let radix = |prefix: &str| lower.strip_prefix(prefix).map(str::to_owned);
        let parsed = if let Some(digits) = radix("0x") {
            int(&digits, 16, &text, "hex")
        } else if lower.contains(['.', 'e']) {
            float(&text)
        } else if let Some(digits) = radix("0b") {
            int(&digits, 2, &text, "binary")
        } else if let Some(digits) = radix("0o") {
            int(&digits, 8, &text, "octal")
        } else {
            int(&lower, 10, &text, "integer")
        };
        match parsed {
            Ok(kind) => self.node(kind, t.span),
            Err(message) => self.fail(message, self.current.span),
        }
    }

    fn call(&mut self, name: Arc<str>, span: Span, mut args: Vec<Id>, may_be_overridden: bool) -> Parsed<Id> {
        let builtin = Builtin::find(&name).filter(|_| !(may_be_overridden && (self.overridden)(&name)));
        let Some(builtin) = builtin else {
            let callee = self.node(Node::Identifier(name), span)?;
            self.arguments(&mut args)?;
            return self.node(Node::Call { callee, args }, span);
        };
        match builtin.predicate_params() {
            Some(params) => self.predicate_arguments(params, &mut args)?,
            None => self.arguments(&mut args)?,
        }
        self.builtin(builtin, args, span)
    }

    fn builtin(&mut self, builtin: Builtin, args: Vec<Id>, span: Span) -> Parsed<Id> {
        let call = Call {
            builtin,
            args,
            map: None,
            throws: false,
            threshold: None,
        };
        self.node(Node::Builtin(Box::new(call)), span)
    }

    fn predicate_arguments(&mut self, params: &[Param], args: &mut Vec<Id>) -> Parsed<()> {
        self.expect(Kind::Bracket, "(")?;
        let params = params.get(args.len()..).unwrap_or_default();
        for (i, param) in params.iter().enumerate() {
            if self.is(Kind::Bracket, ")") {
                if matches!(param, Param::OptionalExpression | Param::OptionalPredicate) {
                    break;
                }
                return self.too_few(params.len());
            }
            if i > 0 {
                self.expect(Kind::Operator, ",")?;
            }
            let arg = match param {
                Param::Expression | Param::OptionalExpression => self.expression(0)?,
                Param::Predicate | Param::OptionalPredicate => self.predicate()?,
            };
            args.push(arg);
        }
        if self.is(Kind::Operator, ",") {
            self.next()?;
        }
        self.expect(Kind::Bracket, ")")
    }

    fn too_few(&self, n: usize) -> Parsed<()> {
        self.fail(format!("expected at least {n} arguments"), self.current.span)
    }

    fn arguments(&mut self, args: &mut Vec<Id>) -> Parsed<()> {
        let given = args.len();
        self.expect(Kind::Bracket, "(")?;
        while !self.is(Kind::Bracket, ")") {
            if args.len() > given {
                self.expect(Kind::Operator, ",")?;
            }
            if self.is(Kind::Bracket, ")") {
                break;
            }
            let arg = self.expression(0)?;
            args.push(arg);
        }
        self.next()
    }

    fn predicate(&mut self) -> Parsed<Id> {
        let span = self.current.span;
        let braces = self.is(Kind::Bracket, "{");
        if braces {
            self.next()?;
        }
        self.predicates += 1;
        let body = if braces { self.sequence()? } else { self.expression(0)? };
        if !braces && self.is(Kind::Operator, ";") {
            return self.fail("wrap predicate with brackets { and }", self.current.span);
        }
        self.predicates -= 1;
        if braces {
            self.expect(Kind::Bracket, "}")?;
        }
        self.node(Node::Predicate(body), span)
    }

    fn array(&mut self) -> Parsed<Id> {
        let span = self.current.span;
        self.next()?;
        let mut nodes = Vec::new();
        while !self.is(Kind::Bracket, "]") {
            if !nodes.is_empty() {
                self.expect(Kind::Operator, ",")?;
                if self.is(Kind::Bracket, "]") {
                    break;
                }
            }
            nodes.push(self.expression(0)?);
        }
        self.next()?;
        self.node(Node::Array(nodes), span)
    }

    fn map(&mut self) -> Parsed<Id> {
        let span = self.current.span;
        self.next()?;
        let mut pairs = Vec::new();
        while !self.is(Kind::Bracket, "}") {
            if !pairs.is_empty() {
                self.expect(Kind::Operator, ",")?;
                if self.is(Kind::Bracket, "}") {
                    break;
                }
                if self.is(Kind::Operator, ",") {
                    return self.unexpected();
                }
            }
            let key = if self.is(Kind::Bracket, "(") {
                self.expression(0)?
            } else {
                self.map_key()?
            };
            self.expect(Kind::Operator, ":")?;
            let value = self.expression(0)?;
            pairs.push(self.node(Node::Pair { key, value }, span)?);
        }
        self.next()?;
        self.node(Node::Map(pairs), span)
    }

    fn map_key(&mut self) -> Parsed<Id> {
        if !matches!(self.current.kind, Kind::Number | Kind::String | Kind::Identifier) {
            return self.fail(
                format!(
                    "a map key must be a quoted string, a number, a identifier, or an expression enclosed in parentheses (unexpected token {})",
                    self.current.describe()
                ),
                self.current.span,
            );
        }
        let t = self.current.clone();
        let key = self.node(Node::Str(t.text.into()), t.span)?;
        self.next()?;
        Ok(key)
    }

    /// `.field`, `?.field`, `.method()`, `[index]`, `?.[index]` and `[from:to]`, any number of them.
    fn postfix(&mut self, mut node: Id) -> Parsed<Id> {
        loop {
            let optional = self.is(Kind::Operator, "?.");
            if optional || self.is(Kind::Operator, ".") {
                self.next()?;
                if optional && self.is(Kind::Bracket, "[") {
                    node = self.index(node, true)?;
                    continue;
                }
                node = self.field(node, optional)?;
            } else if self.is(Kind::Bracket, "[") {
                node = self.index(node, false)?;
            } else {
                return Ok(node);
            }
        }
    }

    fn field(&mut self, node: Id, optional: bool) -> Parsed<Id> {
        let name = self.take()?;
        let valid = name.kind == Kind::Identifier || name.kind == Kind::Operator && is_identifier(&name.text);
        if !valid {
            return self.fail("expected name", self.current.span);
        }
        let property = self.node(Node::Str(Arc::from(name.text.as_str())), name.span)?;
        let (base, chained) = match self.tree.kind(node) {
            Node::Chain(inner) => (*inner, true),
            _ => (node, false),
        };
        let method = self.is(Kind::Bracket, "(");
        let mut out = self.node(
            Node::Member {
                base,
                property,
                optional,
                method,
            },
            name.span,
        )?;
        if method {
            let mut args = Vec::new();
            self.arguments(&mut args)?;
            out = self.node(Node::Call { callee: out, args }, name.span)?;
        }
        if chained || optional {
            self.node(Node::Chain(out), name.span)
        } else {
            Ok(out)
        }
    }

    fn index(&mut self, base: Id, optional: bool) -> Parsed<Id> {
        let span = self.current.span;
        self.next()?;
        let from = if self.is(Kind::Operator, ":") {
            None
        } else {
            Some(self.expression(0)?)
        };
        if !self.is(Kind::Operator, ":") {
            // `from` is there: without it the current token is the colon.
            let property = from.unwrap_or(base);
            let mut node = self.node(
                Node::Member {
                    base,
                    property,
                    optional,
                    method: false,
                },
                span,
            )?;
            if optional {
                node = self.node(Node::Chain(node), span)?;
            }
            self.expect(Kind::Bracket, "]")?;
            return Ok(node);
        }
        self.next()?;
        let to = if self.is(Kind::Bracket, "]") {
            None
        } else {
            Some(self.expression(0)?)
        };
        let node = self.node(Node::Slice { base, from, to }, span)?;
        self.expect(Kind::Bracket, "]")?;
        Ok(node)
    }
}
