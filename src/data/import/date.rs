//! Dates as times.

use std::ops::RangeInclusive;

const MINUTE: i64 = 60;
const HOUR: i64 = 60 * MINUTE;
const DAY: i64 = 24 * HOUR;

/// Seconds since 1970 of a date by ISO 8601, with or without a time of day: `2023-01-05`, `2023-01-05 12:00`,
/// `2023-01-05T12:00:00.25+01:00`. Parts of a second are dropped; without an offset it is UTC.
pub(super) fn parse_date(mut text: &[u8]) -> Option<i64> {
    let text = &mut text;
    let year = number(text, 4, 0..=9999)?;
    one_of(text, b"-")?;
    let month = number(text, 2, 1..=12)?;
    one_of(text, b"-")?;
    let first = days(year, month);
    let day = number(text, 2, 1..=days(year, month + 1) - first)?;
    let mut seconds = DAY * (first + day - 1);
    if text.is_empty() {
        return Some(seconds);
    }
    one_of(text, b"Tt ")?;
    seconds += HOUR * number(text, 2, 0..=23)?;
    one_of(text, b":")?;
    seconds += MINUTE * number(text, 2, 0..=59)?;
    if one_of(text, b":").is_some() {
        // 60 is a leap second.
        seconds += number(text, 2, 0..=60)?;
        if one_of(text, b".,").is_some() {
            number(text, 1, 0..=9)?;
            while number(text, 1, 0..=9).is_some() {}
        }
    }
    match one_of(text, b"Zz+-") {
        Some(b'+') => seconds -= offset(text)?,
        Some(b'-') => seconds += offset(text)?,
        _ => {}
    }
    text.is_empty().then_some(seconds)
}

/// Days from 1970-01-01 to the first of a month; month 13 is the next year's first.
fn days(year: i64, month: i64) -> i64 {
    // Years that begin in March have their leap day at the end, and months of 31 and 30 days in a regular pattern.
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let leap_days = year.div_euclid(4) - year.div_euclid(100) + year.div_euclid(400);
    365 * year + leap_days + (153 * month + 2) / 5 - 719_468
}

/// Takes the seconds of an offset from the front: `hh`, `hhmm` or `hh:mm`.
fn offset(text: &mut &[u8]) -> Option<i64> {
    let hours = HOUR * number(text, 2, 0..=23)?;
    if text.is_empty() {
        return Some(hours);
    }
    one_of(text, b":");
    Some(hours + MINUTE * number(text, 2, 0..=59)?)
}

/// Takes so many digits from the front, if they are a number within `range`.
fn number(text: &mut &[u8], digits: usize, range: RangeInclusive<i64>) -> Option<i64> {
    let (word, rest) = text.split_at_checked(digits)?;
    let digit = |number, b: &u8| b.is_ascii_digit().then(|| 10 * number + i64::from(b - b'0'));
    let number = word.iter().try_fold(0, digit).filter(|number| range.contains(number))?;
    *text = rest;
    Some(number)
}

/// Takes one of these bytes from the front.
fn one_of(text: &mut &[u8], bytes: &[u8]) -> Option<u8> {
    let (first, rest) = text.split_first().filter(|(first, _)| bytes.contains(first))?;
    *text = rest;
    Some(*first)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_seconds_since_1970() {
        for (text, seconds) in [
            ("1970-01-01", 0),
            ("2023-01-05", 1_672_876_800),
            ("2023-01-05 12:00:00", 1_672_920_000),
            ("2023-01-05T12:00:00Z", 1_672_920_000),
            ("2023-01-05t12:00z", 1_672_920_000),
            ("2023-01-05 12:00:00.999999+00:00", 1_672_920_000),
            ("2023-01-05T12:00:00,5+05:30", 1_672_900_200),
            ("2023-01-05T12:00:00-0100", 1_672_923_600),
            ("2023-01-05 12:00+01", 1_672_916_400),
            ("2000-02-29 23:59:59", 951_868_799),
            ("1969-12-31 23:59:59.5", -1),
            ("1600-02-29", -11_670_998_400),
            ("2016-12-31 23:59:60", 1_483_228_800),
            ("9999-12-31 23:59:59", 253_402_300_799),
        ] {
            assert_eq!(parse_date(text.as_bytes()), Some(seconds), "{text}");
        }
    }

    #[test]
    fn what_is_no_date_is_refused() {
        for text in [
            "",
            "2023",
            "20230105",
            "2023-1-5",
            "2023-13-01",
            "2023-00-01",
            "2023-01-00",
            "2023-02-29",
            "2100-02-29",
            "2023-04-31",
            "05/01/2023",
            "2023-01-05T",
            "2023-01-05 12",
            "2023-01-05 24:00",
            "2023-01-05 12:60",
            "2023-01-05 12:00:61",
            "2023-01-05 12:00:00.",
            "2023-01-05 12:00:00+",
            "2023-01-05 12:00:00+1",
            "2023-01-05 12:00:00 noon",
            "2023-01-05 12:00:00Z+01:00",
        ] {
            assert_eq!(parse_date(text.as_bytes()), None, "{text}");
        }
    }
}
