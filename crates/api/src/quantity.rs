//! Resource quantities (`100m`, `1Gi`, `2e3`): read, and written as Kubernetes' Go library writes them again. A few
//! spellings survive a round trip there although they are not canonical (`+250m`, `1000Mi`); pod template hashes depend on
//! exactly that (compat 2.1.1).

/// The suffix family, which survives canonicalisation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Format {
    /// `m`, `k`, `M` …
    Decimal,
    /// `Ki`, `Mi` …
    Binary,
    /// `e3`.
    Exponent,
}

/// A quantity: an exact value and how it is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Quantity {
    /// Value is `mantissa * 10^scale`.
    mantissa: i128,
    scale: i32,
    text: String,
}

/// The text is no quantity, or one beyond what can be held.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a quantity such as 250m, 1.5 or 2Gi")]
pub struct QuantityError(pub String);

const DECIMAL: [(&str, i32); 10] = [
    ("n", -9),
    ("u", -6),
    ("m", -3),
    ("", 0),
    ("k", 3),
    ("M", 6),
    ("G", 9),
    ("T", 12),
    ("P", 15),
    ("E", 18),
];
const BINARY: [(&str, u32); 6] = [("Ki", 10), ("Mi", 20), ("Gi", 30), ("Ti", 40), ("Pi", 50), ("Ei", 60)];
/// Smallest power of ten that is kept.
const NANO: i32 = -9;

impl Quantity {
    /// Reads a quantity. Surrounding blanks are allowed, as in Go.
    ///
    /// # Errors
    /// [`QuantityError`].
    pub fn parse(text: &str) -> Result<Self, QuantityError> {
        let text = text.trim();
        parse(text).ok_or_else(|| QuantityError(text.to_owned()))
    }

    /// The text that Go's JSON encoder writes for it.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The value alone, however it was written, as `<digits>e<power>`; rounded up to thousandths when asked.
    pub(crate) fn plain(&self, to_milli: bool) -> String {
        let (mut digits, mut scale) = (self.mantissa, self.scale);
        if to_milli {
            while scale < -3 {
                digits = digits / 10 + (digits % 10).signum();
                scale += 1;
            }
        }
        while digits != 0 && digits % 10 == 0 {
            digits /= 10;
            scale += 1;
        }
        if digits == 0 {
            return "0".to_owned();
        }
        // A power of three digits at a time is what the writer of quantities leaves alone.
        while scale % 3 != 0 {
            let Some(wider) = digits.checked_mul(10) else {
                break;
            };
            digits = wider;
            scale -= 1;
        }
        format!("{digits}e{scale}")
    }

    /// Below zero.
    pub fn is_negative(&self) -> bool {
        self.mantissa < 0
    }

    /// By value; values too far apart to be compared exactly are told by their size.
    pub fn compare(&self, other: &Self) -> std::cmp::Ordering {
        let low = self.scale.min(other.scale);
        let aligned = |q: &Self| {
            let power = u32::try_from(q.scale - low).ok()?;
            q.mantissa.checked_mul(10_i128.checked_pow(power)?)
        };
        match (aligned(self), aligned(other)) {
            (Some(a), Some(b)) => a.cmp(&b),
            (None, _) => self.mantissa.cmp(&0),
            (_, None) => 0.cmp(&other.mantissa),
        }
    }
}

struct Parts<'a> {
    negative: bool,
    whole: &'a str,
    fraction: &'a str,
    suffix: &'a str,
}

fn split(text: &str) -> Option<Parts<'_>> {
    let negative = text.starts_with('-');
    let unsigned = text.strip_prefix(['+', '-']).unwrap_or(text);
    let digits = |s: &str| s.bytes().take_while(u8::is_ascii_digit).count();
    let (whole, rest) = unsigned.split_at(digits(unsigned));
    let (fraction, suffix) = match rest.strip_prefix('.') {
        Some(tail) => tail.split_at(digits(tail)),
        None => ("", rest),
    };
    let whole = whole.trim_start_matches('0');
    let whole = if whole.is_empty() { "0" } else { whole };
    Some(Parts {
        negative,
        whole,
        fraction,
        suffix,
    })
}

fn parse(text: &str) -> Option<Quantity> {
    if text.is_empty() {
        return None;
    }
    let Parts {
        negative,
        whole,
        fraction,
        suffix,
    } = split(text)?;
    let (format, exponent) = if let Some((_, e)) = DECIMAL.iter().find(|(s, _)| *s == suffix) {
        (Format::Decimal, *e)
    } else if let Some((_, e)) = BINARY.iter().find(|(s, _)| *s == suffix) {
        (Format::Binary, i32::try_from(*e).ok()?)
    } else {
        let power = suffix.strip_prefix(['e', 'E'])?;
        (Format::Exponent, power.parse().ok()?)
    };
    let shifted = format!("{whole}{fraction}");
    let magnitude: i128 = shifted.parse().ok()?;
    let fraction_len = i32::try_from(fraction.len()).ok()?;
    let value = |magnitude: i128, scale: i32, text: String| {
        Some(Quantity {
            mantissa: if negative { -magnitude } else { magnitude },
            scale,
            text,
        })
    };
    if magnitude == 0 {
        return value(0, 0, "0".to_owned());
    }
    if reads_as_written(format, exponent, &shifted, fraction.is_empty(), fraction_len) {
        let (magnitude, scale) = match format {
            Format::Binary => (magnitude.checked_mul(1 << exponent)?, 0),
            _ => (magnitude, exponent - fraction_len),
        };
        return value(magnitude, scale, text.to_owned());
    }
    let (mut magnitude, mut scale) = match format {
        Format::Binary => (magnitude.checked_mul(1 << exponent)?, -fraction_len),
        _ => (magnitude, exponent.checked_sub(fraction_len)?),
    };
    if scale < NANO {
        // Something asked for is never rounded to nothing.
        let divisor = 10_i128.checked_pow(u32::try_from(NANO - scale).ok()?);
        magnitude = divisor.map_or(1, |d| magnitude / d + i128::from(magnitude % d != 0));
        scale = NANO;
    }
    if format == Format::Binary && scale >= 0 {
        magnitude = magnitude.min(i128::from(i64::MAX));
    }
    let text = canonical(format, magnitude, scale)?;
    let text = if negative { format!("-{text}") } else { text };
    value(magnitude, scale, text)
}

/// Go keeps the author's text when a quick look says that it is canonical already; the look is not exact.
fn reads_as_written(format: Format, exponent: i32, shifted: &str, no_fraction: bool, fraction_len: i32) -> bool {
    let Ok(digits) = i32::try_from(shifted.len()) else {
        return false;
    };
    match format {
        Format::Binary => {
            // About 0.3 decimal digits for a binary one.
            let room = 15 - digits - exponent * 3 / 10 - 1;
            let value: Option<i64> = shifted.parse().ok();
            no_fraction && room >= 0 && value.is_some_and(|v| v & 7 != 0 && v.checked_mul(1 << exponent).is_some())
        }
        Format::Decimal | Format::Exponent => {
            let scale = exponent - fraction_len;
            digits <= 18 && scale >= NANO && scale % 3 == 0 && !shifted.ends_with("000") && !shifted.starts_with('0')
        }
    }
}

fn canonical(format: Format, magnitude: i128, scale: i32) -> Option<String> {
    if format == Format::Binary
        && let Some(whole) = whole_number(magnitude, scale)
        && whole >= 1024
    {
        let (mut rest, mut power) = (whole, 0);
        while rest % 1024 == 0 && power < BINARY.len() {
            rest /= 1024;
            power += 1;
        }
        let suffix = power.checked_sub(1).map_or("", |i| BINARY[i].0);
        return Some(format!("{rest}{suffix}"));
    }
    let (mut amount, mut exponent) = (magnitude, scale);
    while amount % 10 == 0 {
        amount /= 10;
        exponent += 1;
    }
    while exponent % 3 != 0 {
        amount = amount.checked_mul(10)?;
        exponent -= 1;
    }
    let suffix = match format {
        Format::Exponent if exponent == 0 => String::new(),
        Format::Exponent => format!("e{exponent}"),
        // Beyond the last suffix Go writes none.
        _ => DECIMAL
            .iter()
            .find(|(_, e)| *e == exponent)
            .map_or(String::new(), |(s, _)| (*s).to_owned()),
    };
    Some(format!("{amount}{suffix}"))
}

/// The value when it has no fraction.
fn whole_number(magnitude: i128, scale: i32) -> Option<i128> {
    let power = 10_i128.checked_pow(scale.unsigned_abs())?;
    if scale >= 0 {
        return magnitude.checked_mul(power);
    }
    (magnitude % power == 0).then_some(magnitude / power)
}

#[cfg(test)]
mod tests {
    use std::cmp::Ordering;

    use super::*;

    #[test]
    fn quantities_are_written_as_go_writes_them() {
        for (text, written) in [
            ("0", "0"),
            ("0.0", "0"),
            ("-0Mi", "0"),
            ("0.1", "100m"),
            ("1000m", "1"),
            ("1024Mi", "1Gi"),
            ("1048576Ki", "1Gi"),
            ("1000Mi", "1000Mi"),
            ("100Mi", "100Mi"),
            ("2048", "2048"),
            ("1.0Gi", "1Gi"),
            ("0.5Gi", "512Mi"),
            ("1.5Ki", "1536"),
            ("0.5Ki", "512"),
            ("0.1Ki", "102400m"),
            ("1e-1", "100e-3"),
            ("1e9", "1e9"),
            ("1e31", "10e30"),
            ("2E0", "2E0"),
            ("12E", "12E"),
            ("+250m", "+250m"),
            ("-0.5", "-500m"),
            ("0.0005", "500u"),
            ("1.50", "1500m"),
            ("150000000", "150M"),
            ("1n", "1n"),
            ("0.1n", "1n"),
            ("00012", "00012"),
            ("1500000000000000000000", "1500E"),
            ("9Ei", "9223372036854775807"),
            (" 1 ", "1"),
            (".5", "500m"),
            ("5.", "5."),
        ] {
            assert_eq!(Quantity::parse(text).unwrap().as_str(), written, "{text}");
        }
    }

    #[test]
    fn writing_twice_changes_nothing_more() {
        for text in ["0.1", "1024Mi", "0.1Ki", "1e31", "9Ei", "+250m", "12E", "0.0005"] {
            let once = Quantity::parse(text).unwrap();
            assert_eq!(
                Quantity::parse(once.as_str()).unwrap().as_str(),
                once.as_str(),
                "{text}"
            );
        }
    }

    #[test]
    fn what_is_no_quantity_is_refused() {
        for text in [
            "", "two", "1.2.3", "1 Gi", "1gi", "1e", "1ee3", "--1", "0x10", "1K", "invalid",
        ] {
            assert!(Quantity::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn quantities_compare_by_value() {
        let order = |a: &str, b: &str| Quantity::parse(a).unwrap().compare(&Quantity::parse(b).unwrap());
        assert_eq!(order("1000m", "1"), Ordering::Equal);
        assert_eq!(order("1Gi", "1G"), Ordering::Greater);
        assert_eq!(order("-1", "1n"), Ordering::Less);
        assert_eq!(order("1e60", "1"), Ordering::Greater);
    }
}
