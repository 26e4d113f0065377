//! Delimited text in general: any separator, with or without a header.

use super::{
    Format, Grammar, Head, ImportOptions, Rows,
    columns::{Columns, names_known},
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
                    found: format!("`{}`", text.chars().take(40).collect::<String>().escape_debug()),
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
        let lines: Vec<Vec<String>> =
            head.lines().take(SAMPLE).map(|(_, line)| fields(line, separator)).collect();
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
    let widths = |separator: &str| -> Vec<usize> {
        head.lines().take(SAMPLE).map(|(_, line)| fields(line, separator).len()).collect()
    };
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

fn fields(line: &str, separator: &str) -> Vec<String> {
    let (text, mut found) = (line.as_bytes(), Vec::new());
    if !line.contains('"') || split_quoted(text, 0..text.len(), separator.as_bytes(), &mut found).is_err() {
        found.clear();
        split(text, 0..text.len(), separator.as_bytes(), &mut found);
    }
    found.iter().map(|field| String::from_utf8_lossy(&name(text, field)).into_owned()).collect()
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
