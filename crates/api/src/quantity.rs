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
const BINARY: [(&str, i32); 6] = [("Ki", 10), ("Mi", 20), ("Gi", 30), ("Ti", 40), ("Pi", 50), ("Ei", 60)];
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

    /// The value as near as a float comes to it: for sums and shares that people read, not for comparisons.
    pub fn value(&self) -> f64 {
        self.mantissa as f64 * 10_f64.powi(self.scale)
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
    /// Without leading zeros, at least one digit.
    whole: &'a str,
    fraction: &'a str,
    suffix: &'a str,
    /// There was a digit at all.
    digits: bool,
}

fn split(text: &str) -> Parts<'_> {
    let unsigned = text.strip_prefix(['+', '-']).unwrap_or(text);
    let digits = |s: &str| s.bytes().take_while(u8::is_ascii_digit).count();
    let (all, rest) = unsigned.split_at(digits(unsigned));
    let (fraction, suffix) = match rest.strip_prefix('.') {
        Some(tail) => tail.split_at(digits(tail)),
        None => ("", rest),
    };
    let whole = all.trim_start_matches('0');
    Parts {
        negative: text.starts_with('-'),
        whole: if whole.is_empty() { "0" } else { whole },
        fraction,
        suffix,
        digits: !all.is_empty() || !fraction.is_empty(),
    }
}

fn parse(text: &str) -> Option<Quantity> {
    if text.is_empty() {
        return None;
    }
    let parts = split(text);
    let (format, exponent) = if let Some((_, e)) = DECIMAL.iter().find(|(s, _)| *s == parts.suffix) {
        (Format::Decimal, *e)
    } else if let Some((_, e)) = BINARY.iter().find(|(s, _)| *s == parts.suffix) {
        (Format::Binary, *e)
    } else {
        let power = parts.suffix.strip_prefix(['e', 'E'])?;
        (Format::Exponent, power.parse().ok()?)
    };
    let shifted = format!("{}{}", parts.whole, parts.fraction);
    let quick = quick(format, exponent, &parts);
    // A suffix alone is nothing, but only on the quick way.
    if !parts.digits && quick.is_none() {
        return None;
    }
    if shifted.bytes().all(|b| b == b'0') {
        return Some(Quantity {
            mantissa: 0,
            scale: 0,
            text: "0".to_owned(),
        });
    }
    let sign = if parts.negative { -1 } else { 1 };
    let (magnitude, scale) = match (quick, format) {
        (Some(exact), _) => exact,
        (None, Format::Binary) => binary(parts.whole, parts.fraction, exponent)?,
        (None, _) => decimal(
            shifted.parse().ok()?,
            exponent.checked_sub(i32::try_from(parts.fraction.len()).ok()?)?,
        )?,
    };
    let text = if quick.is_some() && looks_canonical(format, scale, &shifted) {
        text.to_owned()
    } else {
        let written = canonical(format, magnitude, scale)?;
        if parts.negative { format!("-{written}") } else { written }
    };
    Some(Quantity {
        mantissa: sign * magnitude,
        scale,
        text,
    })
}

/// Go's quick way for short numbers: the exact value, without rounding.
fn quick(format: Format, exponent: i32, parts: &Parts<'_>) -> Option<(i128, i32)> {
    let digits = i32::try_from(parts.whole.len() + parts.fraction.len()).ok()?;
    let number: i64 = format!("{}{}", parts.whole, parts.fraction).parse().ok()?;
    match format {
        Format::Binary => {
            // About 0.3 decimal digits for a binary one.
            let room = 15 - digits - exponent * 3 / 10 - 1;
            if room < 0 || !parts.fraction.is_empty() {
                return None;
            }
            Some((i128::from(number.checked_mul(1 << exponent)?), 0))
        }
        Format::Decimal | Format::Exponent => {
            let scale = exponent.checked_sub(i32::try_from(parts.fraction.len()).ok()?)?;
            (digits <= 18 && scale >= NANO).then_some((i128::from(number), scale))
        }
    }
}

/// On the quick way Go keeps the author's text when a look says that it is canonical already; the look is not exact.
fn looks_canonical(format: Format, scale: i32, shifted: &str) -> bool {
    match format {
        Format::Binary => shifted.parse().is_ok_and(|n: i64| n & 7 != 0),
        Format::Decimal | Format::Exponent => scale % 3 == 0 && !shifted.ends_with("000") && !shifted.starts_with('0'),
    }
}

/// Nothing below a billionth is kept; something asked for is never rounded to nothing.
fn decimal(magnitude: i128, scale: i32) -> Option<(i128, i32)> {
    if scale >= NANO {
        return Some((magnitude, scale));
    }
    let divisor = 10_i128.checked_pow(u32::try_from(NANO - scale).ok()?);
    let rounded = divisor.map_or(1, |d| magnitude / d + i128::from(magnitude % d != 0));
    Some((rounded, NANO))
}

/// Binary multiples are kept to the billionth, and capped.
fn binary(whole: &str, fraction: &str, exponent: i32) -> Option<(i128, i32)> {
    const DIGITS: usize = 18;
    let most = i128::from(i64::MAX);
    let unit = 1_i128 << exponent;
    // More digits than any number below the cap has.
    let Some(whole) = (whole.len() <= 19).then(|| whole.parse::<i128>().ok()).flatten() else {
        return Some((most, 0));
    };
    if whole * unit > most {
        return Some((most, 0));
    }
    let (used, rest) = fraction.split_at(fraction.len().min(DIGITS));
    let padded: i128 = format!("{used:0<DIGITS$}").parse().ok()?;
    let divisor = 10_i128.pow(9);
    let part = padded * unit;
    let inexact = part % divisor != 0 || rest.bytes().any(|b| b != b'0');
    let nanos = whole * unit * 1_000_000_000 + part / divisor + i128::from(inexact);
    Some(if nanos > most * 1_000_000_000 {
        (most, 0)
    } else {
        (nanos, NANO)
    })
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
            ("1586453575321509510Ei", "9223372036854775807"),
            ("-943841.00Pi", "-9223372036854775807"),
            ("0.0000000001Ki", "103n"),
            ("m", "0"),
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
