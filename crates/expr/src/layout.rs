//! Go's layouts: a time is formatted and parsed by example, `2006-01-02 15:04:05`.

use std::fmt::Write as _;
use std::sync::Arc;

use chrono::{Datelike, NaiveDate, NaiveDateTime, Timelike};

use crate::error::Failure;
use crate::format::quote;
use crate::moment::{MONTHS, Moment, WEEKDAYS, Zone, nanoseconds};

/// An element of a layout.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    LongMonth,
    Month,
    NumMonth,
    ZeroMonth,
    LongWeekday,
    Weekday,
    Day,
    UnderDay,
    ZeroDay,
    UnderYearDay,
    ZeroYearDay,
    Hour,
    Hour12,
    ZeroHour12,
    Minute,
    ZeroMinute,
    Second,
    ZeroSecond,
    LongYear,
    Year,
    UpperPm,
    LowerPm,
    ZoneName,
    /// Offset from UTC: whether `Z` stands for none, whether with colons, whether with minutes, with seconds.
    Offset {
        z: bool,
        colon: bool,
        minutes: bool,
        seconds: bool,
    },
    /// A fraction of so many digits; `fixed` when zeros at the end stay.
    Fraction {
        digits: usize,
        fixed: bool,
        comma: bool,
    },
}

const FIXED: [(&str, Part); 33] = {
    const fn off(z: bool, colon: bool, minutes: bool, seconds: bool) -> Part {
        Part::Offset {
            z,
            colon,
            minutes,
            seconds,
        }
    }
    [
        ("January", Part::LongMonth),
        ("Jan", Part::Month),
        ("Monday", Part::LongWeekday),
        ("Mon", Part::Weekday),
        ("MST", Part::ZoneName),
        ("01", Part::ZeroMonth),
        ("002", Part::ZeroYearDay),
        ("02", Part::ZeroDay),
        ("03", Part::ZeroHour12),
        ("04", Part::ZeroMinute),
        ("05", Part::ZeroSecond),
        ("06", Part::Year),
        ("15", Part::Hour),
        ("1", Part::NumMonth),
        ("2006", Part::LongYear),
        ("2", Part::Day),
        ("__2", Part::UnderYearDay),
        ("_2", Part::UnderDay),
        ("3", Part::Hour12),
        ("4", Part::Minute),
        ("5", Part::Second),
        ("PM", Part::UpperPm),
        ("pm", Part::LowerPm),
        ("-07:00:00", off(false, true, true, true)),
        ("-070000", off(false, false, true, true)),
        ("-07:00", off(false, true, true, false)),
        ("-0700", off(false, false, true, false)),
        ("-07", off(false, false, false, false)),
        ("Z07:00:00", off(true, true, true, true)),
        ("Z070000", off(true, false, true, true)),
        ("Z07:00", off(true, true, true, false)),
        ("Z0700", off(true, false, true, false)),
        ("Z07", off(true, false, false, false)),
    ]
};

/// The first element of a layout: text before it, the element, its text, and what follows.
fn next_part(layout: &str) -> Option<(&str, Part, &str, &str)> {
    for (at, c) in layout.char_indices() {
        let here = &layout[at..];
        if (c == '.' || c == ',') && here[1..].starts_with(['0', '9']) {
            let digit = here.as_bytes()[1];
            let digits = here.bytes().skip(1).take_while(|b| *b == digit).count();
            let end = 1 + digits;
            if !here[end..].starts_with(|c: char| c.is_ascii_digit()) {
                return Some((
                    &layout[..at],
                    Part::Fraction {
                        digits,
                        fixed: digit == b'0',
                        comma: c == ',',
                    },
                    &here[..end],
                    &here[end..],
                ));
            }
            continue;
        }
        // `_2006` is an underscore and a year.
        if let Some(after) = here.strip_prefix("_2006") {
            return Some((&layout[..=at], Part::LongYear, &here[1..5], after));
        }
        for (text, part) in FIXED {
            if !here.starts_with(text) {
                continue;
            }
            let after = &here[text.len()..];
            let name = matches!(part, Part::Month | Part::Weekday);
            if name && after.starts_with(|c: char| c.is_ascii_lowercase()) {
                continue;
            }
            return Some((&layout[..at], part, &here[..text.len()], after));
        }
    }
    None
}

/// Formats a time by a layout.
pub(crate) fn format(t: &Moment, mut layout: &str) -> String {
    let mut out = String::new();
    let local = t.local();
    while let Some((before, part, _, after)) = next_part(layout) {
        out.push_str(before);
        write_part(&mut out, part, t, &local);
        layout = after;
    }
    out.push_str(layout);
    out
}

fn write_part(out: &mut String, part: Part, t: &Moment, local: &NaiveDateTime) {
    let month = MONTHS[local.month0() as usize % 12];
    let weekday = WEEKDAYS[local.weekday().num_days_from_sunday() as usize % 7];
    let hour12 = (local.hour() + 11) % 12 + 1;
    // Writing to a String cannot fail.
    let _ = match part {
        Part::LongMonth => write!(out, "{month}"),
        Part::Month => write!(out, "{}", &month[..3]),
        Part::NumMonth => write!(out, "{}", local.month()),
        Part::ZeroMonth => write!(out, "{:02}", local.month()),
        Part::LongWeekday => write!(out, "{weekday}"),
        Part::Weekday => write!(out, "{}", &weekday[..3]),
        Part::Day => write!(out, "{}", local.day()),
        Part::UnderDay => write!(out, "{:2}", local.day()),
        Part::ZeroDay => write!(out, "{:02}", local.day()),
        Part::UnderYearDay => write!(out, "{:3}", local.ordinal()),
        Part::ZeroYearDay => write!(out, "{:03}", local.ordinal()),
        Part::Hour => write!(out, "{:02}", local.hour()),
        Part::Hour12 => write!(out, "{hour12}"),
        Part::ZeroHour12 => write!(out, "{hour12:02}"),
        Part::Minute => write!(out, "{}", local.minute()),
        Part::ZeroMinute => write!(out, "{:02}", local.minute()),
        Part::Second => write!(out, "{}", local.second()),
        Part::ZeroSecond => write!(out, "{:02}", local.second()),
        Part::LongYear => {
            let sign = if local.year() < 0 { "-" } else { "" };
            write!(out, "{sign}{:04}", local.year().unsigned_abs())
        }
        Part::Year => write!(out, "{:02}", local.year().rem_euclid(100)),
        Part::UpperPm => write!(out, "{}", if local.hour() >= 12 { "PM" } else { "AM" }),
        Part::LowerPm => write!(out, "{}", if local.hour() >= 12 { "pm" } else { "am" }),
        Part::ZoneName => {
            let name = t.abbreviation();
            if name.is_empty() {
                write_offset(out, t.offset(), false, true, false)
            } else {
                write!(out, "{name}")
            }
        }
        Part::Offset { z: true, .. } if t.offset() == 0 => write!(out, "Z"),
        Part::Offset {
            colon,
            minutes,
            seconds,
            ..
        } => write_offset(out, t.offset(), colon, minutes, seconds),
        Part::Fraction { digits, fixed, comma } => {
            let all = format!("{:09}", nanoseconds(local));
            let shown = &all[..digits.min(9)];
            let shown = if fixed { shown } else { shown.trim_end_matches('0') };
            if shown.is_empty() {
                Ok(())
            } else {
                write!(out, "{}{shown}", if comma { ',' } else { '.' })
            }
        }
    };
}

fn write_offset(out: &mut String, offset: i32, colon: bool, minutes: bool, seconds: bool) -> std::fmt::Result {
    let (sign, o) = if offset < 0 { ('-', -offset) } else { ('+', offset) };
    let colon = if colon { ":" } else { "" };
    write!(out, "{sign}{:02}", o / 3600)?;
    if minutes {
        write!(out, "{colon}{:02}", o / 60 % 60)?;
    }
    if seconds {
        write!(out, "{colon}{:02}", o % 60)?;
    }
    Ok(())
}

/// What has been read so far.
#[derive(Default)]
struct Reading {
    year: i32,
    month: Option<u32>,
    day: Option<u32>,
    year_day: Option<u32>,
    hour: u32,
    minute: u32,
    second: u32,
    nanosecond: u32,
    pm: Option<bool>,
    offset: Option<i32>,
    zone_name: Option<String>,
}

/// Parses a time by a layout; without an offset of its own it is in `zone`, or in UTC.
pub(crate) fn parse(layout: &str, text: &str, zone: Option<&Arc<Zone>>) -> Result<Moment, Failure> {
    let cannot = |value: &str, element: &str| {
        let (l, v) = (quote(layout), quote(text));
        Failure::new(format!(
            "parsing time {v} as {l}: cannot parse {} as {}",
            quote(value),
            quote(element)
        ))
    };
    let out_of_range = |what: &str| Failure::new(format!("parsing time {}: {what} out of range", quote(text)));
    let mut r = Reading::default();
    let (mut rest, mut pattern) = (text, layout);
    while let Some((before, part, element, after)) = next_part(pattern) {
        rest = skip(rest, before).ok_or_else(|| cannot(rest, before))?;
        let held = rest;
        rest = match read(&mut r, part, rest, after) {
            Ok(rest) => rest,
            Err(Problem::Syntax) => return Err(cannot(held, element)),
            Err(Problem::Range(what)) => return Err(out_of_range(what)),
        };
        pattern = after;
    }
    rest = skip(rest, pattern).ok_or_else(|| cannot(rest, pattern))?;
    if !rest.is_empty() {
        return Err(Failure::new(format!(
            "parsing time {}: extra text: {}",
            quote(text),
            quote(rest)
        )));
    }
    build(&r, zone, &out_of_range)
}

fn build(r: &Reading, zone: Option<&Arc<Zone>>, out_of_range: &dyn Fn(&str) -> Failure) -> Result<Moment, Failure> {
    let hour = match r.pm {
        Some(true) if r.hour < 12 => r.hour + 12,
        Some(false) if r.hour == 12 => 0,
        _ => r.hour,
    };
    let date = match r.year_day {
        Some(day) if r.month.is_none() => {
            NaiveDate::from_yo_opt(r.year, day).ok_or_else(|| out_of_range("day-of-year"))?
        }
        _ => NaiveDate::from_ymd_opt(r.year, r.month.unwrap_or(1), r.day.unwrap_or(1))
            .ok_or_else(|| out_of_range("day"))?,
    };
    let local = date
        .and_hms_nano_opt(hour, r.minute, r.second, r.nanosecond)
        .ok_or_else(|| out_of_range("hour"))?;
    let utc = || Arc::new(Zone::utc());
    if let Some(offset) = r.offset {
        let base = match zone {
            Some(zone) => Arc::clone(zone),
            None => Arc::new(Zone::load("Local")?),
        };
        let naive = Moment::from_local(local, Arc::new(Zone::fixed("", offset)));
        // Where the asked zone has that very offset then, the time is in it.
        let same =
            base.at(naive.utc()).0 == offset && r.zone_name.as_ref().is_none_or(|n| base.at(naive.utc()).1 == *n);
        let zone = if same {
            base
        } else {
            Arc::new(Zone::fixed(r.zone_name.as_deref().unwrap_or(""), offset))
        };
        return Ok(naive.in_zone(zone));
    }
    if let Some(name) = &r.zone_name {
        let base = zone.cloned().unwrap_or_else(utc);
        let there = Moment::from_local(local, Arc::clone(&base));
        if name == "UTC" {
            return Ok(Moment::from_local(local, utc()));
        }
        if there.abbreviation() == *name {
            return Ok(there);
        }
        // Go invents a zone, believes the offset of `GMT+3`, and reads the time as UTC.
        let hours: i32 = name.strip_prefix("GMT").and_then(|h| h.parse().ok()).unwrap_or(0);
        return Ok(Moment::new(local.and_utc()).in_zone(Arc::new(Zone::fixed(name, hours * 3600))));
    }
    Ok(Moment::from_local(local, zone.cloned().unwrap_or_else(utc)))
}

/// Literal text of the layout; any run of spaces matches any other.
fn skip<'a>(mut value: &'a str, mut prefix: &str) -> Option<&'a str> {
    while let Some(c) = prefix.chars().next() {
        if c == ' ' {
            if !value.is_empty() && !value.starts_with(' ') {
                return None;
            }
            prefix = prefix.trim_start_matches(' ');
            value = value.trim_start_matches(' ');
            continue;
        }
        value = value.strip_prefix(c)?;
        prefix = &prefix[c.len_utf8()..];
    }
    Some(value)
}

enum Problem {
    Syntax,
    Range(&'static str),
}

/// Up to `most` digits, at least `least`.
fn digits(text: &str, least: usize, most: usize) -> Result<(u32, &str), Problem> {
    let n = text.bytes().take(most).take_while(u8::is_ascii_digit).count();
    if n < least {
        return Err(Problem::Syntax);
    }
    Ok((text[..n].parse().map_err(|_| Problem::Syntax)?, &text[n..]))
}

fn name<'a>(names: &[&str], short: bool, text: &'a str) -> Result<(usize, &'a str), Problem> {
    names
        .iter()
        .enumerate()
        .find_map(|(i, n)| {
            let n = if short { &n[..3] } else { n };
            let head = text.get(..n.len())?;
            head.eq_ignore_ascii_case(n).then(|| (i, &text[n.len()..]))
        })
        .ok_or(Problem::Syntax)
}

fn read<'a>(r: &mut Reading, part: Part, text: &'a str, after: &str) -> Result<&'a str, Problem> {
    let in_range = |v: u32, ok: bool, what: &'static str| if ok { Ok(v) } else { Err(Problem::Range(what)) };
    let (value, rest) = match part {
        Part::LongMonth | Part::Month => {
            let (i, rest) = name(&MONTHS, part == Part::Month, text)?;
            r.month = u32::try_from(i + 1).ok();
            return Ok(rest);
        }
        Part::LongWeekday | Part::Weekday => return Ok(name(&WEEKDAYS, part == Part::Weekday, text)?.1),
        Part::LongYear => digits(text, 4, 4)?,
        Part::Year
        | Part::ZeroMonth
        | Part::ZeroDay
        | Part::Hour
        | Part::ZeroHour12
        | Part::ZeroMinute
        | Part::ZeroSecond => {
            let least = if part == Part::Hour { 1 } else { 2 };
            digits(text, least, 2)?
        }
        Part::NumMonth | Part::Day | Part::Hour12 | Part::Minute | Part::Second => digits(text, 1, 2)?,
        Part::UnderDay => digits(text.strip_prefix(' ').unwrap_or(text), 1, 2)?,
        Part::UnderYearDay => digits(text.trim_start_matches(' '), 1, 3)?,
        Part::ZeroYearDay => digits(text, 3, 3)?,
        Part::UpperPm | Part::LowerPm => {
            let (pm, am) = if part == Part::UpperPm {
                ("PM", "AM")
            } else {
                ("pm", "am")
            };
            r.pm = Some(text.starts_with(pm));
            return text
                .strip_prefix(pm)
                .or_else(|| text.strip_prefix(am))
                .ok_or(Problem::Syntax);
        }
        Part::ZoneName => {
            let n = text.bytes().take_while(u8::is_ascii_uppercase).count();
            let signed = text[n..].starts_with(['+', '-']);
            let more = if signed {
                1 + text[n + 1..].bytes().take_while(u8::is_ascii_digit).count()
            } else {
                0
            };
            if !(3..=5).contains(&n) {
                return Err(Problem::Syntax);
            }
            r.zone_name = Some(text[..n + more].to_owned());
            return Ok(&text[n + more..]);
        }
        Part::Offset {
            z,
            colon,
            minutes,
            seconds,
        } => {
            if z && let Some(rest) = text.strip_prefix('Z') {
                r.offset = None;
                r.zone_name = Some("UTC".into());
                return Ok(rest);
            }
            return offset(r, text, colon, minutes, seconds);
        }
        Part::Fraction { digits: n, fixed, .. } => return fraction(r, text, n, fixed),
    };
    match part {
        Part::LongYear => r.year = i32::try_from(value).unwrap_or(0),
        Part::Year => r.year = i32::try_from(if value >= 69 { value + 1900 } else { value + 2000 }).unwrap_or(0),
        Part::NumMonth | Part::ZeroMonth => r.month = Some(in_range(value, (1..=12).contains(&value), "month")?),
        Part::Day | Part::UnderDay | Part::ZeroDay => r.day = Some(value),
        Part::UnderYearDay | Part::ZeroYearDay => r.year_day = Some(value),
        Part::Hour => r.hour = in_range(value, value < 24, "hour")?,
        Part::Hour12 | Part::ZeroHour12 => {
            r.hour = in_range(value, value <= 12, "hour")?;
        }
        Part::Minute | Part::ZeroMinute => r.minute = in_range(value, value < 60, "minute")?,
        _ => {
            r.second = in_range(value, value < 60, "second")?;
            // A fraction may follow even if the layout has none.
            let fraction_next = matches!(next_part(after), Some(("", Part::Fraction { .. }, ..)));
            let n = rest.bytes().skip(1).take_while(u8::is_ascii_digit).count();
            if !fraction_next && rest.starts_with(['.', ',']) && n > 0 {
                return fraction(r, rest, n, true);
            }
        }
    }
    Ok(rest)
}

fn fraction<'a>(r: &mut Reading, text: &'a str, n: usize, fixed: bool) -> Result<&'a str, Problem> {
    if !fixed && !text.starts_with(['.', ',']) {
        return Ok(text);
    }
    let present = text.bytes().skip(1).take_while(u8::is_ascii_digit).count();
    let n = if fixed { n } else { present };
    if !text.starts_with(['.', ',']) || present < n || n == 0 {
        return Err(Problem::Syntax);
    }
    let nine = format!("{:0<9}", &text[1..=n.min(9)]);
    r.nanosecond = nine[..9].parse().map_err(|_| Problem::Syntax)?;
    Ok(&text[1 + n..])
}

fn offset<'a>(r: &mut Reading, text: &'a str, colon: bool, minutes: bool, seconds: bool) -> Result<&'a str, Problem> {
    // Digits are looked at before the sign.
    let first = text.chars().next().ok_or(Problem::Syntax)?;
    let (hours, mut rest) = digits(&text[first.len_utf8()..], 2, 2)?;
    let mut field = |wanted: bool| -> Result<u32, Problem> {
        if !wanted {
            return Ok(0);
        }
        let from = if colon {
            rest.strip_prefix(':').ok_or(Problem::Syntax)?
        } else {
            rest
        };
        let (v, after) = digits(from, 2, 2)?;
        rest = after;
        Ok(v)
    };
    let (minutes, seconds) = (field(minutes)?, field(seconds)?);
    match (hours, minutes, seconds) {
        (25.., ..) => return Err(Problem::Range("time zone offset hour")),
        (_, 60.., _) => return Err(Problem::Range("time zone offset minute")),
        (.., 60..) => return Err(Problem::Range("time zone offset second")),
        _ => {}
    }
    let sign = match first {
        '+' => 1,
        '-' => -1,
        _ => return Err(Problem::Syntax),
    };
    r.offset = Some(sign * i32::try_from(hours * 3600 + minutes * 60 + seconds).unwrap_or(0));
    Ok(rest)
}
