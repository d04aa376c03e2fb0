//! Durations as Go writes and reads them (`1m30s`, `1.5h`, `-2us`): intervals, delays, deadlines and pauses are given so.

use std::{fmt, str::FromStr};

use chrono::TimeDelta;

/// A signed span in nanoseconds, about 292 years each way, as Go's `time.Duration`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct GoDuration(i64);

/// The text is no duration; the message is the one that Go gives, because it shows in statuses (compat 3.4).
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DurationError {
    /// Not a number with a unit, or too large.
    #[error("time: invalid duration {}", quote(.0))]
    Invalid(String),
    /// A number without a unit.
    #[error("time: missing unit in duration {}", quote(.0))]
    MissingUnit(String),
    /// A unit other than ns, us, ms, s, m, h.
    #[error("time: unknown unit {} in duration {}", quote(.unit), quote(.text))]
    UnknownUnit {
        /// What stood after the number.
        unit: String,
        /// The whole text.
        text: String,
    },
}

const NANOS: [(&str, u64); 8] = [
    ("ns", 1),
    ("us", 1_000),
    ("\u{b5}s", 1_000),
    ("\u{3bc}s", 1_000),
    ("ms", 1_000_000),
    ("s", 1_000_000_000),
    ("m", 60_000_000_000),
    ("h", 3_600_000_000_000),
];

/// Go's quoting inside the `time` package: quotes and backslashes escaped, anything outside printable ASCII byte by byte.
fn quote(text: &str) -> String {
    let mut out = String::from("\"");
    for c in text.chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            ' '..='~' => out.push(c),
            _ => {
                let mut buffer = [0; 4];
                for byte in c.encode_utf8(&mut buffer).bytes() {
                    out.push_str(&format!("\\x{byte:02x}"));
                }
            }
        }
    }
    out.push('"');
    out
}

impl GoDuration {
    /// That many nanoseconds.
    pub fn from_nanos(nanos: i64) -> Self {
        Self(nanos)
    }

    /// That many whole seconds; beyond the range the largest span.
    pub fn from_secs(seconds: i64) -> Self {
        Self(seconds.saturating_mul(1_000_000_000))
    }

    /// Nanoseconds.
    pub fn as_nanos(self) -> i64 {
        self.0
    }

    /// For arithmetic with points in time.
    pub fn as_chrono(self) -> TimeDelta {
        TimeDelta::nanoseconds(self.0)
    }

    /// Whole seconds, half a second rounds away from zero.
    pub fn rounded_seconds(self) -> i64 {
        let half = 500_000_000_i64.copysign_of(self.0);
        self.0.saturating_add(half) / 1_000_000_000
    }

    /// Below zero.
    pub fn is_negative(self) -> bool {
        self.0 < 0
    }
}

trait CopySign {
    fn copysign_of(self, sign: i64) -> i64;
}

impl CopySign for i64 {
    fn copysign_of(self, sign: i64) -> i64 {
        if sign < 0 { -self } else { self }
    }
}

impl FromStr for GoDuration {
    type Err = DurationError;

    fn from_str(text: &str) -> Result<Self, DurationError> {
        let invalid = || DurationError::Invalid(text.to_owned());
        let negative = text.starts_with('-');
        let mut rest = text.strip_prefix(['-', '+']).unwrap_or(text);
        if rest == "0" {
            return Ok(Self(0));
        }
        if rest.is_empty() {
            return Err(invalid());
        }
        let mut total: u64 = 0;
        while !rest.is_empty() {
            let whole_len = digits(rest);
            let (whole, after) = rest.split_at(whole_len);
            let (fraction, after) = match after.strip_prefix('.') {
                Some(tail) => tail.split_at(digits(tail)),
                None => ("", after),
            };
            if whole.is_empty() && fraction.is_empty() {
                return Err(invalid());
            }
            // Go gives up on a number that is too large before it looks at the unit.
            let number: u64 = match whole {
                "" => 0,
                digits => digits.parse().ok().filter(|n| *n <= 1 << 63).ok_or_else(invalid)?,
            };
            let unit_len = after
                .find(|c: char| c == '.' || c.is_ascii_digit())
                .unwrap_or(after.len());
            let (unit, tail) = after.split_at(unit_len);
            if unit.is_empty() {
                return Err(DurationError::MissingUnit(text.to_owned()));
            }
            let Some((_, scale)) = NANOS.iter().find(|(name, _)| *name == unit) else {
                return Err(DurationError::UnknownUnit {
                    unit: unit.to_owned(),
                    text: text.to_owned(),
                });
            };
            let amount = amount(number, fraction, *scale).ok_or_else(invalid)?;
            total = total
                .checked_add(amount)
                .filter(|n| *n <= 1 << 63)
                .ok_or_else(invalid)?;
            rest = tail;
        }
        match (negative, i64::try_from(total)) {
            (false, Ok(nanos)) => Ok(Self(nanos)),
            (true, Ok(nanos)) => Ok(Self(-nanos)),
            (true, Err(_)) => Ok(Self(i64::MIN)),
            (false, Err(_)) => Err(invalid()),
        }
    }
}

fn digits(text: &str) -> usize {
    text.bytes().take_while(u8::is_ascii_digit).count()
}

/// `whole.fraction` times `scale`, cut to whole nanoseconds; [`None`] beyond the range.
fn amount(whole: u64, fraction: &str, scale: u64) -> Option<u64> {
    let mut amount = whole.checked_mul(scale).filter(|n| *n <= 1 << 63)?;
    let mut weight = f64::from(u32::try_from(scale / 1_000).unwrap_or(u32::MAX)) * 1_000.0;
    if scale < 1_000 {
        weight = 1.0;
    }
    // Go keeps as many digits of the fraction as an integer holds and multiplies in floating point.
    let (mut value, mut divisor) = (0_u64, 1.0_f64);
    for digit in fraction.bytes() {
        match value
            .checked_mul(10)
            .and_then(|v| v.checked_add(u64::from(digit - b'0')))
        {
            Some(next) if next <= 1 << 63 => {
                value = next;
                divisor *= 10.0;
            }
            _ => break,
        }
    }
    if value > 0 {
        #[expect(
            clippy::cast_precision_loss,
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss
        )]
        let part = (value as f64 * (weight / divisor)) as u64;
        amount = amount.checked_add(part).filter(|n| *n <= 1 << 63)?;
    }
    Some(amount)
}

impl fmt::Display for GoDuration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let nanos = self.0.unsigned_abs();
        if self.0 < 0 {
            f.write_str("-")?;
        }
        match nanos {
            0 => f.write_str("0s"),
            1..1_000 => write!(f, "{nanos}ns"),
            1_000..1_000_000 => write!(f, "{}\u{b5}s", decimal(nanos, 1_000)),
            1_000_000..1_000_000_000 => write!(f, "{}ms", decimal(nanos, 1_000_000)),
            _ => {
                let minutes = nanos / 60_000_000_000;
                let seconds = decimal(nanos % 60_000_000_000, 1_000_000_000);
                match (minutes / 60, minutes % 60) {
                    (0, 0) => write!(f, "{seconds}s"),
                    (0, m) => write!(f, "{m}m{seconds}s"),
                    (h, m) => write!(f, "{h}h{m}m{seconds}s"),
                }
            }
        }
    }
}

/// `nanos / unit` without trailing zeros.
fn decimal(nanos: u64, unit: u64) -> String {
    let fraction = nanos % unit;
    if fraction == 0 {
        return (nanos / unit).to_string();
    }
    let width = unit.ilog10() as usize;
    let text = format!("{}.{fraction:0width$}", nanos / unit);
    text.trim_end_matches('0').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_read_and_written_as_go_does() {
        for (text, nanos, shown) in [
            ("0", 0, "0s"),
            ("-0", 0, "0s"),
            ("5s", 5_000_000_000, "5s"),
            ("+5s", 5_000_000_000, "5s"),
            ("1.5h", 5_400_000_000_000, "1h30m0s"),
            ("1h30m", 5_400_000_000_000, "1h30m0s"),
            (".5s", 500_000_000, "500ms"),
            ("1.s", 1_000_000_000, "1s"),
            ("-2us", -2_000, "-2\u{b5}s"),
            ("1\u{b5}s", 1_000, "1\u{b5}s"),
            ("1\u{3bc}s", 1_000, "1\u{b5}s"),
            ("12ns", 12, "12ns"),
            ("90s", 90_000_000_000, "1m30s"),
            ("1m0.25s", 60_250_000_000, "1m0.25s"),
            ("1.234567ms", 1_234_567, "1.234567ms"),
            ("0.100000000000000000000h", 360_000_000_000, "6m0s"),
            ("9223372036854775807ns", i64::MAX, "2562047h47m16.854775807s"),
            ("-9223372036854775808ns", i64::MIN, "-2562047h47m16.854775808s"),
        ] {
            let read: GoDuration = text.parse().unwrap();
            assert_eq!((read.as_nanos(), read.to_string().as_str()), (nanos, shown), "{text}");
        }
    }

    #[test]
    fn what_is_no_duration_gets_the_message_of_go() {
        for (text, message) in [
            ("", r#"time: invalid duration """#),
            ("3", r#"time: missing unit in duration "3""#),
            ("1h2", r#"time: missing unit in duration "1h2""#),
            ("-", r#"time: invalid duration "-""#),
            ("s", r#"time: invalid duration "s""#),
            (".s", r#"time: invalid duration ".s""#),
            ("--5s", r#"time: invalid duration "--5s""#),
            ("1d", r#"time: unknown unit "d" in duration "1d""#),
            ("5 s", r#"time: unknown unit " s" in duration "5 s""#),
            ("5S", r#"time: unknown unit "S" in duration "5S""#),
            (
                "9223372036854775808ns",
                r#"time: invalid duration "9223372036854775808ns""#,
            ),
            ("3000000h", r#"time: invalid duration "3000000h""#),
            ("1\u{e9}", r#"time: unknown unit "\xc3\xa9" in duration "1\xc3\xa9""#),
        ] {
            assert_eq!(text.parse::<GoDuration>().unwrap_err().to_string(), message, "{text}");
        }
    }

    #[test]
    fn seconds_are_rounded_half_away_from_zero() {
        for (text, seconds) in [
            ("1.4s", 1),
            ("1.5s", 2),
            ("-1.5s", -2),
            ("499ms", 0),
            ("2562047h", 9_223_369_200),
        ] {
            assert_eq!(text.parse::<GoDuration>().unwrap().rounded_seconds(), seconds, "{text}");
        }
    }
}
