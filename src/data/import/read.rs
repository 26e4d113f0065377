//! Reads all files of an import in parallel: each thread takes the next chunk of lines, numbers names in dictionaries
//! of its own and keeps columns; at the end the dictionaries are merged and the columns renumbered.

use std::{
    ops::Range,
    sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed},
};

use rayon::prelude::*;

use super::{
    Grammar,
    dictionary::{Dictionary, merge, too_many},
    lightgcn,
    options::{Observer, Progress},
    report::BadLine,
    text::Text,
};
use crate::{
    data::{Edges, Ids},
    error::{Error, Result},
};

/// Bytes of text that a thread takes at a time.
const CHUNK: usize = 4 << 20;
/// Bad lines that are described; the others are counted.
const DESCRIBED: usize = 5;

/// A file and how to read it.
pub(super) struct Job {
    pub(super) text: Text,
    pub(super) grammar: Grammar,
}

/// All that was read.
pub(super) struct Outcome {
    /// Edges of each job, in parts.
    pub(super) parts: Vec<Vec<Edges>>,
    pub(super) users: Ids<'static>,
    pub(super) items: Ids<'static>,
    pub(super) skipped: u64,
    pub(super) bad_lines: Vec<BadLine>,
}

/// A field of a line and where it stands in the text.
pub(super) struct Token<'a> {
    pub(super) bytes: &'a [u8],
    pub(super) at: usize,
}

/// Why a line cannot be taken.
#[derive(Debug)]
pub(super) enum Fault {
    Line(Bad),
    /// More distinct users or items than numbers.
    Full(&'static str),
}

#[derive(Debug)]
pub(super) struct Bad {
    at: usize,
    expected: String,
    found: String,
}

/// Characters of a bad line that are shown.
const SHOWN: usize = 40;

/// `text` for a message: shortened, and safe to print.
pub(super) fn shown(text: &str) -> String {
    let mut short = String::new();
    for c in text.chars().take(SHOWN) {
        if c.is_control() { short.extend(c.escape_default()) } else { short.push(c) }
    }
    match (short.is_empty(), text.chars().count() > SHOWN) {
        (true, _) => "nothing".to_owned(),
        (_, true) => format!("`{short}...`"),
        (_, false) => format!("`{short}`"),
    }
}

/// A fault at byte `at` of the text, where `found` stands.
pub(super) fn bad(at: usize, expected: String, found: &[u8]) -> Fault {
    let line = found.split(|&b| b == b'\n').next().unwrap_or_default();
    Fault::Line(Bad {
        at,
        expected,
        found: shown(&String::from_utf8_lossy(&line[..line.len().min(4 * SHOWN)])),
    })
}

impl Fault {
    /// Says how many fields there are instead of what stands at the place.
    pub(super) fn counting(mut self, fields: usize) -> Fault {
        if let Fault::Line(bad) = &mut self {
            bad.found = format!("{fields}");
        }
        self
    }
}

/// How one side's names become numbers.
enum Side {
    /// Names are integers and are their own numbers; `end` is one beyond the largest.
    Numbers { end: u64 },
    /// Names are numbered.
    Names(Dictionary),
}

impl Side {
    #[inline]
    fn id(&mut self, name: &[u8], position: u64, what: &'static str) -> Result<u32, Fault> {
        match self {
            Side::Names(dictionary) => dictionary.number(name, position).ok_or(Fault::Full(what)),
            Side::Numbers { end } => {
                let number = name
                    .iter()
                    .fold(0u64, |n, b| n.saturating_mul(10).saturating_add(u64::from(b.wrapping_sub(b'0'))));
                *end = (*end).max(number.saturating_add(1));
                // Where `end` is beyond 32 bits, the numbers are not used.
                Ok(number as u32)
            }
        }
    }
}

/// Takes what a chunk's lines say.
pub(super) struct Sink<'a> {
    users: &'a mut Side,
    items: &'a mut Side,
    /// Position of the text in the whole input.
    base: u64,
    skip_bad: bool,
    piece: Piece,
}

#[derive(Default)]
struct Piece {
    chunk: usize,
    worker: usize,
    edges: Edges,
    skipped: u64,
    bad: Vec<Bad>,
    fault: Option<Fault>,
}

impl Sink<'_> {
    /// Takes an interaction.
    #[inline]
    pub(super) fn edge(
        &mut self,
        user: Token<'_>,
        item: Token<'_>,
        rating: f32,
        time: i64,
    ) -> Result<(), Fault> {
        check_name(&user, "a user id")?;
        check_name(&item, "an item id")?;
        let edges = &mut self.piece.edges;
        edges.users.push(self.users.id(user.bytes, self.base + user.at as u64, "user")?);
        edges.items.push(self.items.id(item.bytes, self.base + item.at as u64, "item")?);
        if let Some(weights) = &mut edges.weights {
            weights.push(rating);
        }
        if let Some(timestamps) = &mut edges.timestamps {
            timestamps.push(time);
        }
        Ok(())
    }

    /// Takes a user that may have no interaction.
    pub(super) fn user(&mut self, user: &Token<'_>) -> Result<(), Fault> {
        self.users.id(user.bytes, self.base + user.at as u64, "user").map(|_| ())
    }

    /// Notes a line that cannot be read; fails unless such lines are to be left out.
    pub(super) fn refuse(&mut self, fault: Fault) -> Result<(), Fault> {
        match fault {
            Fault::Line(bad) if self.skip_bad => {
                self.piece.skipped += 1;
                if self.piece.bad.len() < DESCRIBED {
                    self.piece.bad.push(bad);
                }
                Ok(())
            }
            fault => Err(fault),
        }
    }
}

#[inline]
fn check_name(token: &Token<'_>, what: &str) -> Result<(), Fault> {
    if token.bytes.is_empty() {
        return Err(bad(token.at, what.into(), token.bytes));
    }
    if !token.bytes.is_ascii() && str::from_utf8(token.bytes).is_err() {
        return Err(bad(token.at, format!("{what} in UTF-8"), token.bytes));
    }
    Ok(())
}

/// Reads all jobs. With `numbers`, names must be integers and are their own numbers, if these are dense enough.
pub(super) fn read(jobs: &[Job], skip_bad: bool, numbers: bool, observer: Observer<'_>) -> Result<Outcome> {
    let read = read_as(jobs, skip_bad, [numbers; 2], observer)?;
    match sparse_sides(&read) {
        [false, false] => finish(jobs, read, observer),
        // Rare: only now is it known that the numbers cannot be kept.
        sparse => finish(jobs, read_as(jobs, skip_bad, sparse.map(|sparse| !sparse), observer)?, observer),
    }
}

struct Raw {
    pieces: Vec<Piece>,
    users: Vec<Side>,
    items: Vec<Side>,
    chunks: Vec<(usize, Range<usize>)>,
}

fn read_as(jobs: &[Job], skip_bad: bool, numbers: [bool; 2], observer: Observer<'_>) -> Result<Raw> {
    let chunks: Vec<(usize, Range<usize>)> = jobs
        .iter()
        .enumerate()
        .flat_map(|(j, job)| chunks(job).into_iter().map(move |range| (j, range)))
        .collect();
    let bases: Vec<u64> = jobs
        .iter()
        .scan(0, |end, job| {
            let base = *end;
            *end += job.text.len() as u64;
            Some(base)
        })
        .collect();
    let total = jobs.iter().map(|job| job.text.len() as u64).sum();
    let (next, last, done) = (AtomicUsize::new(0), AtomicUsize::new(chunks.len()), AtomicU64::new(0));
    let new_side = |numbers| {
        if numbers { Ok(Side::Numbers { end: 0 }) } else { Dictionary::new().map(Side::Names) }
    };
    let workers: Vec<_> = (0..rayon::current_num_threads())
        .into_par_iter()
        .with_max_len(1)
        .map(|worker| {
            let (mut users, mut items) = (new_side(numbers[0])?, new_side(numbers[1])?);
            let mut pieces = Vec::new();
            loop {
                let k = next.fetch_add(1, Relaxed);
                if k >= last.load(Relaxed) {
                    break Ok((users, items, pieces));
                }
                let (j, range) = chunks[k].clone();
                let bytes = range.len() as u64;
                let piece = parse(&jobs[j], range, bases[j], &mut users, &mut items, skip_bad);
                if piece.fault.is_some() {
                    // The chunks before this one are still read: the first fault of the input is reported.
                    last.fetch_min(k, Relaxed);
                }
                pieces.push(Piece { chunk: k, worker, ..piece });
                observer(Progress::Reading { done: done.fetch_add(bytes, Relaxed) + bytes, total });
            }
        })
        .collect::<Result<_>>()?;
    let mut raw = Raw { pieces: Vec::new(), users: Vec::new(), items: Vec::new(), chunks };
    for (users, items, pieces) in workers {
        raw.users.push(users);
        raw.items.push(items);
        raw.pieces.extend(pieces);
    }
    raw.pieces.sort_by_key(|piece| piece.chunk);
    for piece in &mut raw.pieces {
        match piece.fault.take() {
            Some(Fault::Full(what)) => return Err(too_many(what)),
            Some(Fault::Line(bad)) => {
                let text = &jobs[raw.chunks[piece.chunk].0].text;
                let (line, column) = locate(text, bad.at);
                let path = text.source().path.clone();
                return Err(Error::Parse { path, line, column, expected: bad.expected, found: bad.found });
            }
            None => {}
        }
    }
    Ok(raw)
}

fn parse(
    job: &Job,
    range: Range<usize>,
    base: u64,
    users: &mut Side,
    items: &mut Side,
    skip_bad: bool,
) -> Piece {
    let (timed, weighted) = match &job.grammar {
        Grammar::Rows(rows) => (rows.timestamp.is_some(), rows.rating.is_some()),
        Grammar::Lists => (false, false),
    };
    let edges =
        Edges { timestamps: timed.then(Vec::new), weights: weighted.then(Vec::new), ..Default::default() };
    let piece = Piece { edges, ..Default::default() };
    let mut sink = Sink { users, items, base, skip_bad, piece };
    let result = match &job.grammar {
        Grammar::Rows(rows) => rows.parse(&job.text, range, &mut sink),
        Grammar::Lists => lightgcn::parse(&job.text, range, &mut sink),
    };
    let mut piece = sink.piece;
    piece.fault = result.err();
    // The columns grew by doubling.
    piece.edges.users.shrink_to_fit();
    piece.edges.items.shrink_to_fit();
    piece.edges.timestamps.iter_mut().for_each(Vec::shrink_to_fit);
    piece.edges.weights.iter_mut().for_each(Vec::shrink_to_fit);
    piece
}

/// Which sides have numbers far beyond what there is, for which one row each would be wasteful or impossible.
fn sparse_sides(raw: &Raw) -> [bool; 2] {
    let edges: u64 = raw.pieces.iter().map(|piece| piece.edges.len() as u64).sum();
    [&raw.users, &raw.items].map(|sides| {
        largest_end(sides).is_some_and(|end| end > u64::from(u32::MAX) || end > 4 * edges + 1024)
    })
}

fn largest_end(sides: &[Side]) -> Option<u64> {
    sides
        .iter()
        .filter_map(|side| match side {
            Side::Numbers { end } => Some(*end),
            Side::Names(_) => None,
        })
        .max()
}

/// Merges the dictionaries and renumbers the columns.
fn finish(jobs: &[Job], raw: Raw, observer: Observer<'_>) -> Result<Outcome> {
    observer(Progress::Numbering);
    let Raw { mut pieces, users, items, chunks } = raw;
    let (users, items) = rayon::join(|| ids(users, "user"), || ids(items, "item"));
    let ((users, new_users), (items, new_items)) = (users?, items?);
    pieces.par_iter_mut().for_each(|piece| {
        for (column, new) in [(&mut piece.edges.users, &new_users), (&mut piece.edges.items, &new_items)] {
            if let Some(new) = new.get(piece.worker) {
                column.iter_mut().for_each(|id| *id = new[*id as usize]);
            }
        }
    });
    let mut outcome = Outcome {
        parts: jobs.iter().map(|_| Vec::new()).collect(),
        users,
        items,
        skipped: 0,
        bad_lines: Vec::new(),
    };
    for piece in pieces {
        let job = chunks[piece.chunk].0;
        let text = &jobs[job].text;
        outcome.skipped += piece.skipped;
        let room = DESCRIBED - outcome.bad_lines.len();
        outcome.bad_lines.extend(piece.bad.into_iter().take(room).map(|bad| {
            let (line, column) = locate(text, bad.at);
            let file = text.source().name();
            BadLine { file, line, column, expected: bad.expected, found: bad.found }
        }));
        outcome.parts[job].push(piece.edges);
    }
    Ok(outcome)
}

/// Ids of one side, and the final numbers of each worker's own (none where numbers are kept).
fn ids(sides: Vec<Side>, what: &str) -> Result<(Ids<'static>, Vec<Vec<u32>>)> {
    if let Some(end) = largest_end(&sides) {
        let n = u32::try_from(end).map_err(|_| too_many(what))?;
        return Ok((Ids::Dense(n), Vec::new()));
    }
    let dictionaries = sides.into_iter().filter_map(|side| match side {
        Side::Names(dictionary) => Some(dictionary),
        Side::Numbers { .. } => None,
    });
    merge(dictionaries.collect(), what)
}

/// Line and column, from 1, of a byte of the text.
fn locate(text: &[u8], at: usize) -> (u64, u64) {
    let before = &text[..at.min(text.len())];
    let lines: usize = before.par_chunks(CHUNK).map(|chunk| memchr::memchr_iter(b'\n', chunk).count()).sum();
    let start = memchr::memrchr(b'\n', before).map_or(0, |n| n + 1);
    (lines as u64 + 1, (before.len() - start) as u64 + 1)
}

/// Chunks of whole lines, without the header.
fn chunks(job: &Job) -> Vec<Range<usize>> {
    let text = &job.text[..];
    let (header, quoted) = match &job.grammar {
        Grammar::Rows(rows) => (rows.header, rows.quoted),
        Grammar::Lists => (false, false),
    };
    let mut start = 0;
    if header {
        // The header is the first line that is not blank.
        let begin = text.iter().position(|b| !b.is_ascii_whitespace()).unwrap_or(text.len());
        start = memchr::memchr(b'\n', &text[begin..]).map_or(text.len(), |n| begin + n + 1);
    }
    let quotes: Vec<usize> = if quoted {
        text[start..].par_chunks(CHUNK).map(|chunk| memchr::memchr_iter(b'"', chunk).count()).collect()
    } else {
        Vec::new()
    };
    let (mut chunks, mut begin, mut open) = (Vec::new(), start, false);
    for (k, nominal) in (start..text.len()).step_by(CHUNK).skip(1).enumerate() {
        open ^= quotes.get(k).is_some_and(|n| n % 2 == 1);
        if nominal < begin {
            continue;
        }
        // A line end inside quotes ends no line.
        let mut inside = open;
        let end = text[nominal..].iter().position(|&b| {
            inside ^= quoted && b == b'"';
            b == b'\n' && !inside
        });
        let end = end.map_or(text.len(), |n| nominal + n + 1);
        chunks.push(begin..end);
        begin = end;
    }
    if begin < text.len() {
        chunks.push(begin..text.len());
    }
    chunks
}
