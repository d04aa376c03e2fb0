//! Values that may be written as a number or as a string (`maxSurge: 25%`, `duration: 30`, `count: "{{args.n}}"`).

use std::{borrow::Cow, fmt};

use serde::{Deserialize, Serialize};

/// Kubernetes' int-or-string, kept exactly as written: the step hash is taken over it (compat 2.1.2).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum IntOrString {
    /// A JSON number.
    Int(i64),
    /// A JSON string.
    String(String),
}

impl IntOrString {
    /// The value as a count out of `total`: a number is itself; a string is a percentage, with or without its sign,
    /// because that is how the oldest manifests write it (compat H10). A share is rounded up or down as asked.
    ///
    /// # Errors
    /// The string is no number; the message is upstream's.
    pub fn scaled(&self, total: i32, round_up: bool) -> Result<i32, String> {
        match self {
            Self::Int(n) => Ok(saturated(*n)),
            Self::String(text) => {
                let digits = text.replace('%', "");
                let percent: i64 = digits.parse().map_err(|_| {
                    format!(
                        "invalid value for IntOrString: invalid value {text:?}: strconv.Atoi: parsing {digits:?}: invalid syntax"
                    )
                })?;
                let product = i128::from(percent) * i128::from(total);
                let share = if round_up {
                    -(-product).div_euclid(100)
                } else {
                    product.div_euclid(100)
                };
                Ok(i32::try_from(share).unwrap_or(if share < 0 { i32::MIN } else { i32::MAX }))
            }
        }
    }

    /// The number itself: a numeric string counts as its number, any other string as 0 (Go's `IntValue`).
    pub fn int_value(&self) -> i32 {
        match self {
            Self::Int(n) => saturated(*n),
            Self::String(text) => text.parse().unwrap_or(0),
        }
    }
}

fn saturated(n: i64) -> i32 {
    i32::try_from(n).unwrap_or(if n < 0 { i32::MIN } else { i32::MAX })
}

impl fmt::Display for IntOrString {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Int(n) => n.fmt(f),
            Self::String(s) => s.fmt(f),
        }
    }
}

impl schemars::JsonSchema for IntOrString {
    fn schema_name() -> Cow<'static, str> {
        "IntOrString".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({ "x-kubernetes-int-or-string": true, "anyOf": [{ "type": "integer" }, { "type": "string" }] })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(s: &str) -> IntOrString {
        IntOrString::String(s.to_owned())
    }

    #[test]
    fn a_share_is_rounded_as_asked() {
        assert_eq!(text("25%").scaled(10, true), Ok(3));
        assert_eq!(text("25%").scaled(10, false), Ok(2));
        assert_eq!(text("150%").scaled(4, false), Ok(6));
        assert_eq!(text("100%").scaled(7, true), Ok(7));
        assert_eq!(IntOrString::Int(4).scaled(10, true), Ok(4));
    }

    #[test]
    fn a_string_without_a_sign_is_a_percentage_too() {
        assert_eq!(text("25").scaled(8, true), Ok(2));
        assert_eq!(text("30").scaled(10, false), Ok(3));
    }

    #[test]
    fn what_is_no_number_is_an_error_that_shows_it() {
        assert_eq!(
            text("abc%").scaled(10, true).unwrap_err(),
            r#"invalid value for IntOrString: invalid value "abc%": strconv.Atoi: parsing "abc": invalid syntax"#
        );
    }

    #[test]
    fn huge_numbers_do_not_wrap_around() {
        assert_eq!(IntOrString::Int(i64::MAX).scaled(1, true), Ok(i32::MAX));
        assert_eq!(text("99999999999%").scaled(i32::MAX, true), Ok(i32::MAX));
        assert_eq!(text("99999999999").int_value(), 0);
    }
}
