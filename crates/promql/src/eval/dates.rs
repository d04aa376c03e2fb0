//! Parts of dates, in UTC.

use crate::plan::Each;

const DAY: i64 = 24 * 3600;

/// A part of the date that lies so many seconds after 1970.
pub(super) fn part(function: Each, seconds: f64) -> f64 {
    if seconds.is_nan() {
        return f64::NAN;
    }
    let seconds = seconds as i64;
    let days = seconds.div_euclid(DAY);
    let of_day = seconds.rem_euclid(DAY);
    let (year, month, day) = civil(days);
    let result = match function {
        Each::Minute => of_day / 60 % 60,
        Each::Hour => of_day / 3600,
        // 1970 began on a Thursday; Sunday is 0.
        Each::DayOfWeek => (days + 4).rem_euclid(7),
        Each::DayOfMonth => day,
        Each::DayOfYear => (1..month).map(|m| length(year, m)).sum::<i64>() + day,
        Each::DaysInMonth => length(year, month),
        Each::Month => month,
        _ => year,
    };
    result as f64
}

fn leaps(year: i64) -> bool {
    year % 4 == 0 && (year % 100 != 0 || year % 400 == 0)
}

fn length(year: i64, month: i64) -> i64 {
    match month {
        2 if leaps(year) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// Year, month and day from days since 1970. Years are counted from March on, so that the leap day is the last one, in eras
/// of 400 years, which are all of the same length.
fn civil(days: i64) -> (i64, i64, i64) {
    let since = days + 719_468;
    let era = since.div_euclid(146_097);
    let day_of_era = since.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * from_march + 2) / 5 + 1;
    let month = if from_march < 10 {
        from_march + 3
    } else {
        from_march - 9
    };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    (year, month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_taken_apart() {
        // 2024-02-29 23:59:30, a Thursday.
        let at = 1_709_251_170.0;
        for (function, wanted) in [
            (Each::Minute, 59.0),
            (Each::Hour, 23.0),
            (Each::DayOfWeek, 4.0),
            (Each::DayOfMonth, 29.0),
            (Each::DayOfYear, 60.0),
            (Each::DaysInMonth, 29.0),
            (Each::Month, 2.0),
            (Each::Year, 2024.0),
        ] {
            assert_eq!(part(function, at), wanted, "{function:?}");
        }
        assert_eq!(part(Each::Year, -1.0), 1969.0);
        assert!(part(Each::Year, f64::NAN).is_nan());
        assert!(part(Each::Year, f64::INFINITY).is_finite());
    }
}
