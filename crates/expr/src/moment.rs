//! Points in time with a zone, durations, months and weekdays, as Go's package time prints and reckons them.

use std::sync::Arc;

use chrono::{DateTime, Datelike, NaiveDate, NaiveDateTime, TimeDelta, Timelike, Utc};

use crate::error::Failure;
use crate::layout;

pub(crate) const SECOND: i64 = 1_000_000_000;

/// A time zone.
#[derive(Clone, Debug)]
pub struct Zone {
    name: String,
    rules: Rules,
}

#[derive(Clone, Debug)]
enum Rules {
    Fixed(i32),
    Database(jiff::tz::TimeZone),
}

/// A point in time, seen in a zone (Go's `time.Time`).
#[derive(Clone, Debug)]
pub struct Moment {
    utc: DateTime<Utc>,
    zone: Arc<Zone>,
}

impl Zone {
    /// UTC.
    #[must_use]
    pub fn utc() -> Self {
        Self {
            name: "UTC".into(),
            rules: Rules::Fixed(0),
        }
    }

    /// A zone that is always that many seconds east of UTC.
    #[must_use]
    pub fn fixed(name: &str, offset: i32) -> Self {
        Self {
            name: name.into(),
            rules: Rules::Fixed(offset),
        }
    }

    /// A zone of the IANA database; `Local` is UTC, as in upstream's image.
    pub(crate) fn load(name: &str) -> Result<Self, Failure> {
        match name {
            "" | "UTC" => Ok(Self::utc()),
            "Local" => Ok(Self::fixed("Local", 0)),
            _ => match jiff::tz::TimeZoneDatabase::bundled().get(name) {
                // The database ignores case, upstream does not.
                Ok(tz) if tz.iana_name() == Some(name) => Ok(Self {
                    name: name.into(),
                    rules: Rules::Database(tz),
                }),
                _ => Err(Failure::new(format!("unknown time zone {name}"))),
            },
        }
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Seconds east of UTC at a moment, and the abbreviation in force.
    pub(crate) fn at(&self, utc: DateTime<Utc>) -> (i32, String) {
        match &self.rules {
            Rules::Fixed(0) if self.name == "Local" => (0, "UTC".into()),
            Rules::Fixed(offset) => (*offset, self.name.clone()),
            Rules::Database(tz) => {
                let seconds = utc
                    .timestamp()
                    .clamp(jiff::Timestamp::MIN.as_second(), jiff::Timestamp::MAX.as_second());
                match jiff::Timestamp::from_second(seconds) {
                    Ok(t) => {
                        let info = tz.to_offset_info(t);
                        (info.offset().seconds(), info.abbreviation().to_owned())
                    }
                    Err(_) => (0, "UTC".into()),
                }
            }
        }
    }

    /// The moment at which a clock in this zone shows that.
    fn moment_of(&self, local: NaiveDateTime) -> DateTime<Utc> {
        let as_utc = local.and_utc();
        // The offset shortly before decides; when that leads across a change, the offset on the other side does.
        let first = self.at(as_utc).0;
        let guess = shift(as_utc, -i64::from(first) * SECOND);
        let second = self.at(guess).0;
        if first == second {
            guess
        } else {
            shift(as_utc, -i64::from(second) * SECOND)
        }
    }
}

/// Adds nanoseconds, stopping at the end of time.
fn shift(t: DateTime<Utc>, nanoseconds: i64) -> DateTime<Utc> {
    let end = if nanoseconds < 0 {
        DateTime::<Utc>::MIN_UTC
    } else {
        DateTime::<Utc>::MAX_UTC
    };
    t.checked_add_signed(TimeDelta::nanoseconds(nanoseconds)).unwrap_or(end)
}

impl Moment {
    /// A moment in UTC.
    #[must_use]
    pub fn new(utc: DateTime<Utc>) -> Self {
        Self {
            utc,
            zone: Arc::new(Zone::utc()),
        }
    }

    /// The same moment in another zone.
    #[must_use]
    pub fn in_zone(&self, zone: Arc<Zone>) -> Self {
        Self { utc: self.utc, zone }
    }

    pub(crate) fn from_local(local: NaiveDateTime, zone: Arc<Zone>) -> Self {
        Self {
            utc: zone.moment_of(local),
            zone,
        }
    }

    /// The moment itself.
    #[must_use]
    pub fn utc(&self) -> DateTime<Utc> {
        self.utc
    }

    pub(crate) fn zone(&self) -> &Arc<Zone> {
        &self.zone
    }

    /// What a clock in its zone shows.
    pub(crate) fn local(&self) -> NaiveDateTime {
        shift(self.utc, i64::from(self.offset()) * SECOND).naive_utc()
    }

    pub(crate) fn offset(&self) -> i32 {
        self.zone.at(self.utc).0
    }

    pub(crate) fn abbreviation(&self) -> String {
        self.zone.at(self.utc).1
    }

    /// This moment and a duration in nanoseconds.
    pub(crate) fn add(&self, nanoseconds: i64) -> Self {
        Self {
            utc: shift(self.utc, nanoseconds),
            zone: Arc::clone(&self.zone),
        }
    }

    /// Nanoseconds since another moment, as many as an int64 holds.
    pub(crate) fn since(&self, other: &Self) -> i64 {
        let d = self.utc.signed_duration_since(other.utc);
        d.num_nanoseconds()
            .unwrap_or(if d < TimeDelta::zero() { i64::MIN } else { i64::MAX })
    }

    /// Go's `AddDate`: the day of the month may run over into the next.
    pub(crate) fn add_date(&self, years: i64, months: i64, days: i64) -> Self {
        let local = self.local();
        let month0 = i64::from(local.month0()).saturating_add(months);
        let year = i64::from(local.year())
            .saturating_add(years)
            .saturating_add(month0.div_euclid(12));
        let month = u32::try_from(month0.rem_euclid(12) + 1).unwrap_or(1);
        let day = i64::from(local.day0()).saturating_add(days);
        let moved = i32::try_from(year)
            .ok()
            .and_then(|y| NaiveDate::from_ymd_opt(y, month, 1))
            .zip(TimeDelta::try_days(day))
            .and_then(|(first, days)| first.checked_add_signed(days));
        match moved {
            Some(date) => Self::from_local(date.and_time(local.time()), Arc::clone(&self.zone)),
            None => self.clone(),
        }
    }

    /// Rounds to a multiple of `unit` nanoseconds since Go's zero time.
    pub(crate) fn round(&self, unit: i64, up: bool) -> Self {
        if unit <= 0 {
            return self.clone();
        }
        let zero = zero_time();
        let elapsed = i128::from(self.utc.signed_duration_since(zero).num_seconds()) * i128::from(SECOND)
            + i128::from(self.utc.timestamp_subsec_nanos());
        let rest = i64::try_from(elapsed.rem_euclid(i128::from(unit))).unwrap_or(0);
        if up && rest.saturating_add(rest) >= unit {
            self.add(unit - rest)
        } else {
            self.add(-rest)
        }
    }

    pub(crate) fn is_zero(&self) -> bool {
        self.utc == zero_time()
    }

    /// Go's `String`.
    pub(crate) fn to_go_string(&self) -> String {
        layout::format(self, "2006-01-02 15:04:05.999999999 -0700 MST")
    }

    /// RFC 3339 with as many digits of the second as it needs.
    pub(crate) fn rfc3339(&self) -> String {
        layout::format(self, "2006-01-02T15:04:05.999999999Z07:00")
    }
}

fn zero_time() -> DateTime<Utc> {
    NaiveDate::from_ymd_opt(1, 1, 1)
        .unwrap_or_default()
        .and_hms_opt(0, 0, 0)
        .unwrap_or_default()
        .and_utc()
}

pub(crate) const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];

pub(crate) const WEEKDAYS: [&str; 7] = [
    "Sunday",
    "Monday",
    "Tuesday",
    "Wednesday",
    "Thursday",
    "Friday",
    "Saturday",
];

/// Go's `Month.String`.
pub(crate) fn month_name(m: i64) -> String {
    let name = usize::try_from(m).ok().and_then(|i| MONTHS.get(i.checked_sub(1)?));
    name.map_or_else(|| format!("%!Month({m})"), ToString::to_string)
}

/// Go's `Weekday.String`.
pub(crate) fn weekday_name(d: i64) -> String {
    let name = usize::try_from(d).ok().and_then(|i| WEEKDAYS.get(i));
    name.map_or_else(|| format!("%!Weekday({d})"), ToString::to_string)
}

/// Go's `Duration.String`: `1h30m0s`, `1.5ms`, `0s`.
pub(crate) fn duration_string(d: i64) -> String {
    let sign = if d < 0 { "-" } else { "" };
    let u = d.unsigned_abs();
    let decimal = |unit: u64| {
        let whole = u / unit;
        let width = unit.ilog10() as usize;
        let fraction = format!("{:0width$}", u % unit);
        let fraction = fraction.trim_end_matches('0');
        if fraction.is_empty() {
            whole.to_string()
        } else {
            format!("{whole}.{fraction}")
        }
    };
    match u {
        0 => "0s".into(),
        1..1_000 => format!("{sign}{u}ns"),
        1_000..1_000_000 => format!("{sign}{}µs", decimal(1_000)),
        1_000_000..1_000_000_000 => format!("{sign}{}ms", decimal(1_000_000)),
        _ => {
            let minutes = u / 60_000_000_000;
            let rest = u % 60_000_000_000;
            let fraction = format!("{:09}", rest % 1_000_000_000);
            let fraction = fraction.trim_end_matches('0');
            let dot = if fraction.is_empty() { "" } else { "." };
            let seconds = format!("{}{dot}{fraction}s", rest / 1_000_000_000);
            match (minutes / 60, minutes % 60) {
                (0, 0) => format!("{sign}{seconds}"),
                (0, m) => format!("{sign}{m}m{seconds}"),
                (h, m) => format!("{sign}{h}h{m}m{seconds}"),
            }
        }
    }
}

/// Go's `time.ParseDuration`.
pub(crate) fn parse_duration(text: &str) -> Result<i64, Failure> {
    let quoted = quote_bytes(text);
    let invalid = || Failure::new(format!("time: invalid duration {quoted}"));
    let (negative, mut rest) = match text.as_bytes().first() {
        Some(b'-') => (true, &text[1..]),
        Some(b'+') => (false, &text[1..]),
        _ => (false, text),
    };
    if rest == "0" {
        return Ok(0);
    }
    if rest.is_empty() {
        return Err(invalid());
    }
    const LIMIT: u128 = 1 << 63;
    let mut total: u128 = 0;
    while !rest.is_empty() {
        let whole_len = rest.bytes().take_while(u8::is_ascii_digit).count();
        let (whole, after) = rest.split_at(whole_len);
        let (fraction, after) = match after.strip_prefix('.') {
            Some(after) => after.split_at(after.bytes().take_while(u8::is_ascii_digit).count()),
            None => ("", after),
        };
        if whole.is_empty() && fraction.is_empty() {
            return Err(invalid());
        }
        let unit_len = after
            .find(|c: char| c == '.' || c.is_ascii_digit())
            .unwrap_or(after.len());
        let (unit, after) = after.split_at(unit_len);
        let scale: u128 = match unit {
            "" => return Err(Failure::new(format!("time: missing unit in duration {quoted}"))),
            "ns" => 1,
            "us" | "µs" | "μs" => 1_000,
            "ms" => 1_000_000,
            "s" => 1_000_000_000,
            "m" => 60_000_000_000,
            "h" => 3_600_000_000_000,
            _ => {
                return Err(Failure::new(format!(
                    "time: unknown unit {} in duration {quoted}",
                    quote_bytes(unit)
                )));
            }
        };
        let whole: u128 = if whole.is_empty() {
            0
        } else {
            whole.parse().map_err(|_| invalid())?
        };
        let mut part = whole.checked_mul(scale).filter(|p| *p <= LIMIT).ok_or_else(invalid)?;
        part += fraction_of(fraction, scale);
        total += part;
        if total > LIMIT {
            return Err(invalid());
        }
        rest = after;
    }
    if negative {
        return i64::try_from(-i128::try_from(total).unwrap_or(i128::MAX)).map_err(|_| invalid());
    }
    i64::try_from(total).map_err(|_| invalid())
}

/// A fraction of a unit, counted as Go counts it: digits that do not fit into an int64 are dropped, the rest is a float.
fn fraction_of(digits: &str, unit: u128) -> u128 {
    let (mut number, mut scale) = (0u64, 1f64);
    for d in digits.bytes().map(|b| u64::from(b - b'0')) {
        match number
            .checked_mul(10)
            .and_then(|n| n.checked_add(d))
            .filter(|n| *n <= i64::MAX.unsigned_abs())
        {
            Some(n) => number = n,
            None => break,
        }
        scale *= 10.0;
    }
    #[expect(clippy::cast_precision_loss, reason = "as Go converts")]
    let part = number as f64 * (unit as f64 / scale);
    u128::from(crate::operators::truncate(part).unsigned_abs())
}

/// How package time quotes: everything that is not printable ASCII byte by byte.
fn quote_bytes(text: &str) -> String {
    let mut out = String::from("\"");
    for b in text.bytes() {
        match b {
            b'"' | b'\\' => out.extend(['\\', char::from(b)]),
            b' '..=b'~' => out.push(char::from(b)),
            _ => out.push_str(&format!("\\x{b:02x}")),
        }
    }
    out.push('"');
    out
}

/// Nanoseconds within the second.
pub(crate) fn nanoseconds(t: &NaiveDateTime) -> u32 {
    t.nanosecond() % 1_000_000_000
}
