//! Operators with their binding powers, and the numbers of the syntax.

use crate::ast::{Binary, Kind as Node, Unary};

/// Binding power of a binary operator; only `**` groups to the right.
pub(crate) fn binary(text: &str) -> Option<(Binary, &'static str, u16)> {
    use Binary as B;
    Some(match text {
        "or" => (B::Or, "or", 10),
        "||" => (B::Or, "||", 10),
        "and" => (B::And, "and", 15),
        "&&" => (B::And, "&&", 15),
        "==" => (B::Equal, "==", 20),
        "!=" => (B::NotEqual, "!=", 20),
        "<" => (B::Less, "<", 20),
        ">" => (B::More, ">", 20),
        ">=" => (B::MoreOrEqual, ">=", 20),
        "<=" => (B::LessOrEqual, "<=", 20),
        "in" => (B::In, "in", 20),
        "matches" => (B::Matches, "matches", 20),
        "contains" => (B::Contains, "contains", 20),
        "startsWith" => (B::StartsWith, "startsWith", 20),
        "endsWith" => (B::EndsWith, "endsWith", 20),
        ".." => (B::Range, "..", 25),
        "+" => (B::Add, "+", 30),
        "-" => (B::Subtract, "-", 30),
        "*" => (B::Multiply, "*", 60),
        "/" => (B::Divide, "/", 60),
        "%" => (B::Modulo, "%", 60),
        "**" => (B::Power, "**", 100),
        "^" => (B::Power, "^", 100),
        "??" => (B::Coalesce, "??", 500),
        _ => return None,
    })
}

pub(crate) fn unary(text: &str) -> Option<(Unary, u16)> {
    Some(match text {
        "not" => (Unary::Not, 50),
        "!" => (Unary::Bang, 50),
        "-" => (Unary::Minus, 90),
        "+" => (Unary::Plus, 90),
        _ => return None,
    })
}

pub(crate) fn is_comparison(op: Binary) -> bool {
    matches!(
        op,
        Binary::Less | Binary::More | Binary::LessOrEqual | Binary::MoreOrEqual
    )
}

pub(crate) fn int(digits: &str, radix: u32, text: &str, what: &str) -> Result<Node, String> {
    match i64::from_str_radix(digits, radix) {
        Ok(n) => Ok(Node::Int(n)),
        Err(e) => {
            let why = match e.kind() {
                std::num::IntErrorKind::PosOverflow | std::num::IntErrorKind::NegOverflow => "value out of range",
                _ => "invalid syntax",
            };
            Err(format!(
                "invalid {what} literal: strconv.ParseInt: parsing {}: {why}",
                crate::format::quote(text)
            ))
        }
    }
}

pub(crate) fn float(text: &str) -> Result<Node, String> {
    match crate::format::parse_float(text) {
        Ok(n) => Ok(Node::Float(n)),
        Err(e) => Err(format!("invalid float literal: {e}")),
    }
}
