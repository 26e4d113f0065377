//! Reading files with one interaction a line, in columns.

use std::{borrow::Cow, ops::Range};

use super::{
    date::parse_date,
    read::{Fault, Sink, Token, bad},
};

/// What a time may be.
const TIME: &str = "a time (seconds or 2023-01-05T12:00:00Z; --timestamp none imports without times)";

/// How the lines of a file with columns are to be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rows {
    /// What stands between the fields.
    pub separator: Vec<u8>,
    /// True if the first line is to be passed over.
    pub header: bool,
    /// True if fields may stand in double quotes (RFC 4180), and then hold separators and line ends.
    pub quoted: bool,
    /// Number of fields of every line.
    pub width: usize,
    /// Position of the user, from 0.
    pub user: usize,
    /// Position of the item, from 0.
    pub item: usize,
    /// Position of the rating, from 0.
    pub rating: Option<usize>,
    /// Position of the time, from 0.
    pub timestamp: Option<usize>,
}

/// Bounds of a field in the text; `quoted` ones are the bounds inside the quotes.
#[derive(Debug, Clone)]
pub(super) struct Field {
    range: Range<usize>,
    escaped: bool,
}

impl Rows {
    /// Reads the lines in `range` of `text`, which begins and ends at line ends.
    pub(super) fn parse(&self, text: &[u8], range: Range<usize>, sink: &mut Sink<'_>) -> Result<(), Fault> {
        let quotes = self.quoted && memchr::memchr(b'"', &text[range.clone()]).is_some();
        let mut fields = Vec::with_capacity(self.width);
        let mut at = range.start;
        while at < range.end {
            let start = at;
            let mut end = line_end(text, at, range.end);
            at = end + 1;
            if text[start..end].ends_with(b"\r") {
                end -= 1;
            }
            if text[start..end].trim_ascii().is_empty() {
                continue;
            }
            fields.clear();
            let line = if quotes && memchr::memchr(b'"', &text[start..end]).is_some() {
                split_quoted(text, start..range.end, &self.separator, &mut fields).and_then(|end| {
                    at = end + 1;
                    self.line(text, start..end, &fields, sink)
                })
            } else {
                split(text, start..end, &self.separator, &mut fields);
                self.line(text, start..end, &fields, sink)
            };
            if let Err(fault) = line {
                sink.refuse(fault)?;
            }
        }
        Ok(())
    }

    fn line(
        &self,
        text: &[u8],
        line: Range<usize>,
        fields: &[Field],
        sink: &mut Sink<'_>,
    ) -> Result<(), Fault> {
        if fields.len() != self.width {
            // Where the first field too many begins, or where one is missing.
            let at = fields.get(self.width).map_or(line.end, |field| field.range.start);
            return Err(bad(at, format!("{} fields", self.width), &text[at..line.end]).counting(fields.len()));
        }
        let number = |column: Option<usize>, what: &str| -> Result<&[u8], Fault> {
            let Some(column) = column else { return Ok(b"") };
            let value = text[fields[column].range.clone()].trim_ascii();
            if value.is_empty() {
                Err(bad(fields[column].range.start, what.into(), value))
            } else {
                Ok(value)
            }
        };
        let rating = number(self.rating, "a rating (a number)")?;
        let rating = match self.rating {
            Some(column) => parse_rating(rating)
                .ok_or_else(|| bad(fields[column].range.start, "a rating (a number)".into(), rating))?,
            None => 0.0,
        };
        let time = number(self.timestamp, TIME)?;
        let time = match self.timestamp {
            Some(column) => {
                parse_time(time).ok_or_else(|| bad(fields[column].range.start, TIME.into(), time))?
            }
            None => 0,
        };
        let user = name(text, &fields[self.user]);
        let item = name(text, &fields[self.item]);
        sink.edge(
            Token { bytes: &user, at: fields[self.user].range.start },
            Token { bytes: &item, at: fields[self.item].range.start },
            rating,
            time,
        )
    }
}

fn line_end(text: &[u8], at: usize, end: usize) -> usize {
    memchr::memchr(b'\n', &text[at..end]).map_or(end, |n| at + n)
}

/// Splits a line without quotes.
pub(super) fn split(text: &[u8], line: Range<usize>, separator: &[u8], fields: &mut Vec<Field>) {
    let mut start = line.start;
    let mut push = |at: usize, next: usize| {
        fields.push(Field { range: start..at, escaped: false });
        start = next;
    };
    match separator {
        // Lines are short: finding the separators one after the other would cost more calls than bytes.
        &[separator] => {
            memchr::memchr_iter(separator, &text[line.clone()])
                .for_each(|n| push(line.start + n, line.start + n + 1));
        }
        _ => memchr::memmem::find_iter(&text[line.clone()], separator)
            .for_each(|n| push(line.start + n, line.start + n + separator.len())),
    }
    push(line.end, line.end);
}

/// Splits the record that begins at `text.start` and returns its end. A quote opens a field only at its beginning;
/// inside, line ends and separators stand for themselves and two quotes for one.
pub(super) fn split_quoted(
    text: &[u8],
    record: Range<usize>,
    separator: &[u8],
    fields: &mut Vec<Field>,
) -> Result<usize, Fault> {
    let mut at = record.start;
    loop {
        let start = at;
        if text[..record.end].get(at) == Some(&b'"') {
            let (mut escaped, mut close) = (false, at + 1);
            loop {
                let Some(n) = memchr::memchr(b'"', &text[close..record.end]) else {
                    return Err(bad(start, "a quoted field that is closed".into(), &text[start..record.end]));
                };
                close += n;
                if text[..record.end].get(close + 1) != Some(&b'"') {
                    break;
                }
                (escaped, close) = (true, close + 2);
            }
            fields.push(Field { range: at + 1..close, escaped });
            at = close + 1;
        } else {
            let end = line_end(text, at, record.end);
            at = memchr::memmem::find(&text[at..end], separator).map_or(end, |n| at + n);
            let end = if at == end && text[start..at].ends_with(b"\r") { at - 1 } else { at };
            fields.push(Field { range: start..end, escaped: false });
        }
        match &text[at..record.end] {
            [] | [b'\n', ..] => return Ok(at),
            [b'\r'] | [b'\r', b'\n', ..] => return Ok(at + 1),
            rest if rest.starts_with(separator) => at += separator.len(),
            rest => {
                let end = line_end(text, at, record.end) - at;
                return Err(bad(
                    at,
                    "a separator or the end of the line after a quoted field".into(),
                    &rest[..end],
                ));
            }
        }
    }
}

/// Content of a field, with doubled quotes made single.
pub(super) fn name<'a>(text: &'a [u8], field: &Field) -> Cow<'a, [u8]> {
    let bytes = &text[field.range.clone()];
    if !field.escaped {
        return Cow::Borrowed(bytes);
    }
    let mut previous = false;
    Cow::Owned(
        bytes
            .iter()
            .copied()
            .filter(|&b| {
                let second = b == b'"' && previous;
                previous = b == b'"' && !second;
                !second
            })
            .collect(),
    )
}

/// A finite decimal number.
pub(super) fn parse_rating(bytes: &[u8]) -> Option<f32> {
    // Exact for up to seven digits: both integers are representable, and division rounds correctly.
    if bytes.len() <= 8 {
        let (mut mantissa, mut scale, mut digits, mut point) = (0u32, 1.0f32, 0, false);
        for &b in bytes {
            match b {
                b'0'..=b'9' => {
                    mantissa = 10 * mantissa + u32::from(b - b'0');
                    digits += 1;
                    if point {
                        scale *= 10.0;
                    }
                }
                b'.' if !point => point = true,
                _ => {
                    digits = 0;
                    break;
                }
            }
        }
        if (1..=7).contains(&digits) {
            return Some(mantissa as f32 / scale);
        }
    }
    str::from_utf8(bytes).ok()?.parse().ok().filter(|x: &f32| x.is_finite())
}

/// Whole seconds since 1970, rounded down, of an integer, a decimal number or a date.
pub(super) fn parse_time(bytes: &[u8]) -> Option<i64> {
    if (1..=18).contains(&bytes.len()) && bytes.iter().all(u8::is_ascii_digit) {
        return Some(bytes.iter().fold(0, |seconds, b| 10 * seconds + i64::from(b - b'0')));
    }
    let text = str::from_utf8(bytes).ok()?;
    text.parse().ok().or_else(|| parse_date(bytes)).or_else(|| {
        let seconds = text.parse::<f64>().ok()?.floor();
        (-(2f64.powi(63))..2f64.powi(63)).contains(&seconds).then_some(seconds as i64)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ratings_are_parsed_as_the_standard_library_does() {
        for text in [
            "0", "5", "4.5", "3.14159", "1234567", ".5", "2.", "-1", "1e3", "16777217", "0.00001", "12345678",
        ] {
            assert_eq!(parse_rating(text.as_bytes()), text.parse().ok(), "{text}");
        }
        for text in ["", ".", "x", "1x", "nan", "inf", "1.2.3", "4,5"] {
            assert_eq!(parse_rating(text.as_bytes()), None, "{text}");
        }
    }

    #[test]
    fn times_are_whole_seconds() {
        for (text, seconds) in [
            ("978300760", Some(978_300_760)),
            ("-5", Some(-5)),
            ("1.5e9", Some(1_500_000_000)),
            ("978300760.9", Some(978_300_760)),
            ("9223372036854775807", Some(i64::MAX)),
            ("1e19", None),
            ("nan", None),
            ("", None),
            ("2001-01-01", Some(978_307_200)),
            ("01/01/2001", None),
        ] {
            assert_eq!(parse_time(text.as_bytes()), seconds, "{text}");
        }
    }

    #[test]
    fn quoted_fields_are_split() {
        let text = b"\"a,b\",\"say \"\"hi\"\"\",\"two\nlines\",d\"e\r\nnext";
        let mut fields = Vec::new();
        assert!(split_quoted(text, 0..text.len(), b",", &mut fields).is_ok_and(|end| text[end] == b'\n'));
        let names: Vec<_> = fields.iter().map(|field| name(text, field).into_owned()).collect();
        assert_eq!(names, [&b"a,b"[..], b"say \"hi\"", b"two\nlines", b"d\"e"]);
    }
}
