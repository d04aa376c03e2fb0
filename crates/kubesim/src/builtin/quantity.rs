//! Quantities: parsed and brought into the canonical form in which the API server writes them.

const PATTERN: &str = "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'";
const BAD_SUFFIX: &str = "unable to parse quantity's suffix";

/// How a quantity was written decides how it is written again.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Style {
    Binary,
    Decimal,
    Exponent,
}

/// A quantity in units of 10^-9; none beyond what the arithmetic holds.
fn parse(text: &str) -> Result<Option<(i128, Style)>, String> {
    let text = text.trim();
    let digits = text.trim_start_matches(['+', '-']);
    let negative = text.starts_with('-');
    let end = digits
        .find(|c: char| !(c.is_ascii_digit() || c == '.'))
        .unwrap_or(digits.len());
    let (number, suffix) = digits.split_at(end);
    if text.len() - digits.len() > 1
        || number.is_empty()
        || number.matches('.').count() > 1
        || !number.contains(|c: char| c.is_ascii_digit())
    {
        return Err(PATTERN.to_owned());
    }
    let (style, factor, base): (Style, u32, i128) = match suffix {
        "n" => (Style::Decimal, 0, 1),
        "u" => (Style::Decimal, 3, 1),
        "m" => (Style::Decimal, 6, 1),
        "" => (Style::Decimal, 9, 1),
        "k" => (Style::Decimal, 12, 1),
        "M" => (Style::Decimal, 15, 1),
        "G" => (Style::Decimal, 18, 1),
        "T" => (Style::Decimal, 21, 1),
        "P" => (Style::Decimal, 24, 1),
        "E" => (Style::Decimal, 27, 1),
        "Ki" => (Style::Binary, 9, 1 << 10),
        "Mi" => (Style::Binary, 9, 1 << 20),
        "Gi" => (Style::Binary, 9, 1 << 30),
        "Ti" => (Style::Binary, 9, 1 << 40),
        "Pi" => (Style::Binary, 9, 1 << 50),
        "Ei" => (Style::Binary, 9, 1 << 60),
        other => {
            let exponent = other
                .strip_prefix(['e', 'E'])
                .ok_or_else(|| {
                    let known = other.chars().all(|c| "eEinumkKMGTP+-0123456789".contains(c));
                    if known { BAD_SUFFIX } else { PATTERN }.to_owned()
                })?
                .parse::<i32>()
                .map_err(|_| BAD_SUFFIX.to_owned())?;
            match u32::try_from(exponent + 9) {
                Ok(factor) => (Style::Exponent, factor, 1),
                Err(_) => return Ok(None),
            }
        }
    };
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    let digits = format!("{whole}{fraction}");
    let places = u32::try_from(fraction.len()).unwrap_or(u32::MAX);
    let value = || -> Option<i128> {
        let mantissa: i128 = if digits.is_empty() { 0 } else { digits.parse().ok()? };
        let scaled = mantissa.checked_mul(base)?.checked_mul(10_i128.checked_pow(factor)?)?;
        let divisor = 10_i128.checked_pow(places)?;
        // What is finer than a billionth is rounded away from nought.
        let rounded = scaled / divisor + i128::from(scaled % divisor != 0);
        Some(if negative { -rounded } else { rounded })
    };
    Ok(value().map(|value| (value, style)))
}

/// The canonical form.
///
/// # Errors
/// The API server's words about a text that is no quantity.
pub fn canonical(text: &str) -> Result<String, String> {
    let Some((value, style)) = parse(text)? else {
        return Ok(text.trim().to_owned());
    };
    if value == 0 {
        return Ok("0".to_owned());
    }
    const BILLION: i128 = 1_000_000_000;
    if style == Style::Binary && value.abs() >= 1024 * BILLION {
        let mut number = value / BILLION + i128::from(value % BILLION != 0) * value.signum();
        let mut power = 0;
        while number % 1024 == 0 && power < 6 {
            number /= 1024;
            power += 1;
        }
        return Ok(format!("{number}{}", ["", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei"][power]));
    }
    let mut number = value;
    let mut thousands: usize = 0;
    while number % 1000 == 0 && thousands < 9 {
        number /= 1000;
        thousands += 1;
    }
    if style == Style::Exponent {
        let exponent = i32::try_from(thousands).unwrap_or(0) * 3 - 9;
        return Ok(if exponent == 0 {
            number.to_string()
        } else {
            format!("{number}e{exponent}")
        });
    }
    Ok(format!(
        "{number}{}",
        ["n", "u", "m", "", "k", "M", "G", "T", "P", "E"][thousands]
    ))
}

/// Whether the first is more than the second; false where either is no quantity.
#[must_use]
pub fn more_than(a: &str, b: &str) -> bool {
    match (parse(a), parse(b)) {
        (Ok(Some((a, _))), Ok(Some((b, _)))) => a > b,
        _ => false,
    }
}

/// Whether it is less than nought.
#[must_use]
pub fn is_negative(text: &str) -> bool {
    matches!(parse(text), Ok(Some((value, _))) if value < 0)
}

#[cfg(test)]
mod tests {
    use super::canonical;

    #[test]
    fn quantities_are_written_with_the_largest_unit_that_leaves_no_fraction() {
        for (given, expected) in [
            ("1", "1"),
            ("1000m", "1"),
            ("0.5", "500m"),
            ("1500m", "1500m"),
            ("1024Mi", "1Gi"),
            ("1.5Gi", "1536Mi"),
            ("0.5Ki", "512"),
            ("100Ki", "100Ki"),
            ("1e3", "1e3"),
            ("1000", "1k"),
            ("0", "0"),
            ("-2", "-2"),
            ("64Mi", "64Mi"),
            ("2000k", "2M"),
            (".5", "500m"),
        ] {
            assert_eq!(canonical(given).as_deref(), Ok(expected), "{given}");
        }
    }

    #[test]
    fn what_is_no_quantity_is_refused_in_the_servers_words() {
        for text in ["", "abc", "1.2.3", "--1", "1 Gi", "1x"] {
            let error = canonical(text).expect_err(text);
            assert!(error.starts_with("quantities must match"), "{text}: {error}");
        }
        assert_eq!(canonical("1mi").expect_err("1mi"), "unable to parse quantity's suffix");
    }
}
