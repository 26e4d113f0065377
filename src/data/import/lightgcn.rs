//! The lists of LightGCN, MACR and many other papers: `user item item ...`, one user a line, dense integers.

use std::ops::Range;

use rustc_hash::FxHashSet;

use super::{
    Format, Grammar, Head, ImportOptions,
    read::{Fault, Sink, Token, bad},
};
use crate::error::{Error, Result};

/// `train.txt` and `test.txt` with lists of items.
pub(super) struct Lists;

impl Format for Lists {
    fn name(&self) -> &'static str {
        "lightgcn"
    }

    fn description(&self) -> &'static str {
        "lists `user item item ...` of integers, one user a line"
    }

    fn recognizes(&self, head: &Head<'_>) -> bool {
        let plain = |line: &str| line.bytes().all(|b| b.is_ascii_digit() || b == b' ');
        head.first().1.trim().contains(' ')
            && head.lines().all(|(_, line)| plain(line))
            // A list of one item is a pair: then it does not matter which it is.
            && (width(head) == Some(2) || users_differ(head))
    }

    fn grammar(&self, _: &Head<'_>, options: &ImportOptions) -> Result<Grammar> {
        if options.names_columns() {
            return Err(Error::config(
                "format",
                self.name(),
                "lists have no columns, separator or header to choose",
                "leave those options out, or use --format csv",
            ));
        }
        Ok(Grammar::Lists)
    }
}

/// True if what looks like lists may as well be rows of a user, an item, a rating and perhaps a time.
pub(super) fn may_be_rows(head: &Head<'_>) -> bool {
    matches!(width(head), Some(3 | 4))
}

/// The number of words of a line, if it is the same in all of the first lines.
fn width(head: &Head<'_>) -> Option<usize> {
    let mut widths = head.lines().map(|(_, line)| line.split_ascii_whitespace().count());
    let first = widths.next()?;
    widths.all(|width| width == first).then_some(first)
}

/// True if no two of the first lines begin with the same word, as in lists: a user has one.
fn users_differ(head: &Head<'_>) -> bool {
    let mut users = FxHashSet::default();
    head.lines().all(|(_, line)| users.insert(line.split_ascii_whitespace().next()))
}

/// Reads the lists in `range` of `text`.
pub(super) fn parse(text: &[u8], range: Range<usize>, sink: &mut Sink<'_>) -> Result<(), Fault> {
    let mut at = range.start;
    while at < range.end {
        let end = memchr::memchr(b'\n', &text[at..range.end]).map_or(range.end, |n| at + n);
        if let Err(fault) = line(text, at..end, sink) {
            sink.refuse(fault)?;
        }
        at = end + 1;
    }
    Ok(())
}

fn line(text: &[u8], line: Range<usize>, sink: &mut Sink<'_>) -> Result<(), Fault> {
    // A line is taken as a whole or not at all.
    if let Some(n) = text[line.clone()].iter().position(|b| !b.is_ascii_digit() && !b.is_ascii_whitespace()) {
        let start = text[line.start..line.start + n].iter().rposition(u8::is_ascii_whitespace);
        let start = start.map_or(line.start, |k| line.start + k + 1);
        let word = text[start..line.end].split(u8::is_ascii_whitespace).next().unwrap_or_default();
        return Err(bad(start, "an integer".into(), word));
    }
    let mut tokens = tokens(text, line);
    let Some(user) = tokens.next() else { return Ok(()) };
    // A user without items still counts.
    sink.user(&user)?;
    for item in tokens {
        sink.edge(Token { ..user }, item, 0.0, 0)?;
    }
    Ok(())
}

/// Words of a line, without leading zeros: `007` is the same number as `7`.
fn tokens(text: &[u8], line: Range<usize>) -> impl Iterator<Item = Token<'_>> {
    let mut at = line.start;
    std::iter::from_fn(move || {
        at += text[at..line.end].iter().position(u8::is_ascii_digit)?;
        let start = at;
        at += text[at..line.end].iter().position(|b| !b.is_ascii_digit()).unwrap_or(line.end - at);
        let zeros = text[start..at - 1].iter().take_while(|&&b| b == b'0').count();
        Some(Token { bytes: &text[start + zeros..at], at: start })
    })
}
