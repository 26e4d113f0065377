//! Delimited text in general: any separator, with or without a header.

use super::{
    Format, Grammar, Head, ImportOptions, Rows,
    columns::{Columns, names_known},
    read::shown,
    rows::{name, parse_rating, split, split_quoted},
};
use crate::error::{Error, Result};

/// CSV, TSV and their relatives.
pub(super) struct Csv;

/// Tried in this order; the blank comes last because names may hold blanks.
const SEPARATORS: [&str; 6] = ["\t", ",", ";", "|", "::", " "];
/// Lines by which separator, header and columns are recognised.
const SAMPLE: usize = 50;

impl Format for Csv {
    fn name(&self) -> &'static str {
        "csv"
    }

    fn description(&self) -> &'static str {
        "columns with any separator, with or without a header"
    }

    fn recognizes(&self, head: &Head<'_>) -> bool {
        sniff(head).is_some()
    }

    fn grammar(&self, head: &Head<'_>, options: &ImportOptions) -> Result<Grammar> {
        let separator = match options.separator.as_deref() {
            None => sniff(head).ok_or_else(|| {
                let (line, text) = head.first();
                Error::Parse {
                    path: head.path().into(),
                    line,
                    column: 1,
                    expected: "columns separated by a comma, tab, semicolon, bar or blank (see --separator)"
                        .into(),
                    found: shown(text),
                }
            })?,
            Some("") => {
                return Err(Error::config("separator", "", "it is empty", "give for example , or \\t"));
            }
            Some("\\t" | "tab") => "\t",
            Some(given) if given.contains(['\n', '\r', '"']) => {
                return Err(Error::config(
                    "separator",
                    given.escape_debug(),
                    "line ends and quotes cannot separate columns",
                    "give for example , or \\t",
                ));
            }
            Some(given) => given,
        };
        let lines = records(head, separator);
        let (first, sample) =
            lines.split_first().map_or((&[][..], &[][..]), |(first, rest)| (&first[..], rest));
        let header = options.header.unwrap_or_else(|| named(options) || looks_like_header(first, sample));
        let sample = if header { sample } else { &lines };
        let names: Option<Vec<String>> =
            header.then(|| first.iter().map(|name| name.trim().to_owned()).collect());
        let columns = Columns { names: names.as_deref(), width: first.len() }.choose(options, sample)?;
        let rows = columns.rows(separator.as_bytes(), first.len());
        Ok(Grammar::Rows(Rows { header, quoted: true, ..rows }))
    }
}

/// The separator that splits the first lines into the same number of fields, at least two.
fn sniff(head: &Head<'_>) -> Option<&'static str> {
    let widths = |separator: &str| -> Vec<usize> { records(head, separator).iter().map(Vec::len).collect() };
    let even = |separator: &&&str| {
        let widths = widths(separator);
        widths.first().is_some_and(|&n| n >= 2) && widths.iter().all(|n| *n == widths[0])
    };
    // A bad line among the first must not hide the separator.
    let often = |separator: &&&str| {
        let widths = widths(separator);
        widths.first().is_some_and(|&n| n >= 2)
            && 2 * widths.iter().filter(|&n| *n == widths[0]).count() > widths.len()
    };
    SEPARATORS.iter().find(even).or_else(|| SEPARATORS.iter().find(often)).copied()
}

/// The fields of the first lines; where quotes do not fit, they are taken as they stand.
fn records(head: &Head<'_>, separator: &str) -> Vec<Vec<String>> {
    let (text, separator) = (head.bytes(), separator.as_bytes());
    let (mut records, mut at) = (Vec::new(), 0);
    while at < text.len() && records.len() < SAMPLE {
        let mut end = memchr::memchr(b'\n', &text[at..]).map_or(text.len(), |n| at + n);
        let line = at..if text[at..end].ends_with(b"\r") { end - 1 } else { end };
        let mut found = Vec::new();
        match split_quoted(text, at..text.len(), separator, &mut found) {
            Ok(closed) if text[line.clone()].contains(&b'"') => end = closed,
            _ => {
                found.clear();
                split(text, line.clone(), separator, &mut found);
            }
        }
        if !text[line].trim_ascii().is_empty() {
            records.push(
                found.iter().map(|field| String::from_utf8_lossy(&name(text, field)).into_owned()).collect(),
            );
        }
        at = end + 1;
    }
    records
}

/// True if a column is asked for by a name.
fn named(options: &ImportOptions) -> bool {
    [&options.user, &options.item, &options.rating, &options.timestamp]
        .into_iter()
        .flatten()
        .any(|given| given != "none" && given.parse::<usize>().is_err())
}

/// True if the first line has well-known names, or words in a column that has only numbers below.
fn looks_like_header(first: &[String], sample: &[Vec<String>]) -> bool {
    let number = |field: &String| parse_rating(field.trim().as_bytes()).is_some();
    let words_above_numbers = |k: usize| {
        !first[k].is_empty()
            && !number(&first[k])
            && !sample.is_empty()
            && sample.iter().all(|line| line.get(k).is_some_and(number))
    };
    let known: Vec<String> = first.iter().map(|name| name.trim().to_owned()).collect();
    names_known(&known) || (0..first.len()).any(words_above_numbers)
}
