//! The formats that the API server checks in texts and numbers.

use std::net::{Ipv4Addr, Ipv6Addr};
use std::sync::LazyLock;

use regex::Regex;

use super::node::Types;

/// A format that is enforced; all others are words for readers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Format {
    Int32,
    Int64,
    Float,
    Double,
    Byte,
    Date,
    DateTime,
    Duration,
    Email,
    Hostname,
    Ipv4,
    Ipv6,
    Cidr,
    Mac,
    Uri,
    Uuid,
    Password,
    ShortName,
    LongName,
}

static UUID: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new("(?i)^[0-9a-f]{8}-?[0-9a-f]{4}-?[0-9a-f]{4}-?[0-9a-f]{4}-?[0-9a-f]{12}$").expect("a constant")
});
static DURATION: LazyLock<Regex> =
    LazyLock::new(|| Regex::new(r"^[+-]?(0|([0-9]*\.?[0-9]+ *[a-zµμ]+ *)+)$").expect("a constant"));
static BASE64: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(r"^(?:[A-Za-z0-9+\/]{4})*(?:[A-Za-z0-9+\/]{2}==|[A-Za-z0-9+\/]{3}=|[A-Za-z0-9+\/]{4})$")
        .expect("a constant")
});
static LONG_NAME: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$").expect("a constant")
});

impl Format {
    /// The format of this name, if it is one that is enforced for these types.
    pub(crate) fn parse(name: &str, types: Types) -> Option<Self> {
        if types == Types::INTEGER {
            return match name {
                "int32" => Some(Self::Int32),
                "int64" => Some(Self::Int64),
                _ => None,
            };
        }
        if types == Types::NUMBER {
            return match name {
                "float" => Some(Self::Float),
                "double" => Some(Self::Double),
                _ => None,
            };
        }
        if !(types.is_any() || types == Types::STRING) {
            return None;
        }
        Some(match name {
            "byte" => Self::Byte,
            "date" => Self::Date,
            "date-time" | "datetime" => Self::DateTime,
            "duration" => Self::Duration,
            "email" => Self::Email,
            "hostname" => Self::Hostname,
            "ipv4" => Self::Ipv4,
            "ipv6" => Self::Ipv6,
            "cidr" => Self::Cidr,
            "mac" => Self::Mac,
            "uri" => Self::Uri,
            "uuid" | "uuid3" | "uuid4" | "uuid5" => Self::Uuid,
            "password" => Self::Password,
            "k8s-short-name" => Self::ShortName,
            "k8s-long-name" => Self::LongName,
            _ => return None,
        })
    }

    /// As messages name it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Int32 => "int32",
            Self::Int64 => "int64",
            Self::Float => "float",
            Self::Double => "double",
            Self::Byte => "byte",
            Self::Date => "date",
            Self::DateTime => "date-time",
            Self::Duration => "duration",
            Self::Email => "email",
            Self::Hostname => "hostname",
            Self::Ipv4 => "ipv4",
            Self::Ipv6 => "ipv6",
            Self::Cidr => "cidr",
            Self::Mac => "mac",
            Self::Uri => "uri",
            Self::Uuid => "uuid",
            Self::Password => "password",
            Self::ShortName => "k8s-short-name",
            Self::LongName => "k8s-long-name",
        }
    }

    pub(crate) fn is_numeric(self) -> bool {
        matches!(self, Self::Int32 | Self::Int64 | Self::Float | Self::Double)
    }

    /// Whether the text is of the format.
    pub(crate) fn accepts(self, text: &str) -> bool {
        match self {
            Self::Int32 | Self::Int64 | Self::Float | Self::Double | Self::Password => true,
            Self::Byte => BASE64.is_match(text),
            Self::Date => chrono::NaiveDate::parse_from_str(text, "%Y-%m-%d").is_ok() && text.len() == 10,
            Self::DateTime => chrono::DateTime::parse_from_rfc3339(text).is_ok(),
            Self::Duration => DURATION.is_match(text),
            Self::Email => {
                text.split_once('@')
                    .is_some_and(|(user, host)| !user.is_empty() && !host.is_empty())
                    && !text.contains(char::is_whitespace)
            }
            Self::Hostname => text.len() <= 255 && LONG_NAME.is_match(&text.to_lowercase()),
            Self::Ipv4 => text.parse::<Ipv4Addr>().is_ok(),
            Self::Ipv6 => text.parse::<Ipv6Addr>().is_ok(),
            Self::Cidr => text.split_once('/').is_some_and(|(address, bits)| {
                let bits: u8 = bits.parse().unwrap_or(u8::MAX);
                (address.parse::<Ipv4Addr>().is_ok() && bits <= 32)
                    || (address.parse::<Ipv6Addr>().is_ok() && bits <= 128)
            }),
            Self::Mac => {
                let parts: Vec<&str> = text.split([':', '-']).collect();
                matches!(parts.len(), 6 | 8 | 20)
                    && parts
                        .iter()
                        .all(|part| part.len() == 2 && part.chars().all(|c| c.is_ascii_hexdigit()))
            }
            // What Go's url.ParseRequestURI takes: an absolute path or a URI with a scheme.
            Self::Uri => {
                !text.contains(char::is_whitespace)
                    && (text.starts_with('/')
                        || text.split_once(':').is_some_and(|(scheme, _)| {
                            scheme.starts_with(|c: char| c.is_ascii_alphabetic())
                                && scheme.chars().all(|c| c.is_ascii_alphanumeric() || "+-.".contains(c))
                        }))
            }
            Self::Uuid => UUID.is_match(text),
            Self::ShortName => text.len() <= 63 && LONG_NAME.is_match(text) && !text.contains('.'),
            Self::LongName => text.len() <= 253 && LONG_NAME.is_match(text),
        }
    }
}
