//! Sorts the edges of one split both ways: rows of items by user, rows of users by item.
//!
//! Every pass is parallel, and none depends on the number of threads: edges are scattered to their user's row in
//! whatever order the threads arrive, then each row is sorted and its duplicates are merged by operations that do
//! not depend on order.

use std::{
    ops::Range,
    sync::atomic::{AtomicU64, Ordering::Relaxed},
};

use rayon::prelude::*;

use super::{
    builder::Edges,
    interactions::{Split, not_finite},
};
use crate::{
    error::{Error, Result},
    huge::Zeroed,
};

/// One split's edges in rows by user, sorted and without duplicates, as an intermediate form: what remains is to
/// copy it into the sections of a file.
pub(super) struct Table {
    /// `[U + 1]`: the rows once duplicates are merged.
    user_offsets: Vec<u64>,
    /// `[U]`: where each row begins in `words`, counted in edges.
    starts: Vec<u64>,
    /// `stride` words an edge: item and weight, then the time if there are times.
    words: Zeroed<u64>,
    stride: usize,
    weighted: bool,
}

/// Where the columns of a table go.
pub(super) struct Columns<'a> {
    pub(super) user_offsets: &'a mut [u64],
    pub(super) user_items: &'a mut [u32],
    pub(super) item_offsets: &'a mut [u64],
    pub(super) item_users: &'a mut [u32],
    pub(super) timestamps: &'a mut [i64],
    pub(super) weights: &'a mut [f32],
}

#[derive(Clone, Copy)]
struct Entry {
    item: u32,
    weight: f32,
    time: i64,
}

impl Entry {
    fn load(words: &[u64]) -> Entry {
        let time = words.get(1).map_or(0, |&time| time as i64);
        Entry { item: (words[0] >> 32) as u32, weight: f32::from_bits(words[0] as u32), time }
    }

    fn store(&self, words: &mut [u64]) {
        words[0] = u64::from(self.item) << 32 | u64::from(self.weight.to_bits());
        if let Some(time) = words.get_mut(1) {
            *time = self.time as u64;
        }
    }
}

impl Table {
    /// Sorts the `parts` of `split`, which are taken apart on the way to keep memory low.
    pub(super) fn sort(split: Split, parts: Vec<Edges>, users: u32, items: u32) -> Result<Table> {
        check_columns(&parts)?;
        check_ids(&parts, users, items)?;
        check_weights(split, &parts)?;
        let timed = parts.iter().any(|p| p.timestamps.is_some());
        let weighted = parts.iter().any(|p| p.weights.is_some());
        let stride = 1 + usize::from(timed);

        // Several threads fill one row, hence atomics.
        let mut cursors = Zeroed::<u64>::new(users as usize)?;
        let next = cursors.atomics();
        for_each_edge(&parts, |part, k| {
            next[part.users[k] as usize].fetch_add(1, Relaxed);
        });
        let mut total = 0;
        for row in next {
            total += row.swap(total, Relaxed);
        }
        let mut memory = Zeroed::<u64>::new((total as usize).saturating_mul(stride))?;
        let words = memory.atomics();
        for_each_edge(&parts, |part, k| {
            let slot = next[part.users[k] as usize].fetch_add(1, Relaxed) as usize * stride;
            let weight = part.weights.as_ref().map_or(0, |w| w[k].to_bits());
            words[slot].store(u64::from(part.items[k]) << 32 | u64::from(weight), Relaxed);
            if let Some(times) = &part.timestamps {
                words[slot + 1].store(times[k] as u64, Relaxed);
            }
        });
        drop(parts);
        // Each cursor has arrived where the next row begins.
        let starts: Vec<u64> =
            std::iter::once(0).chain(cursors.iter().copied()).take(users as usize).collect();
        drop(cursors);

        let mut table = Table { user_offsets: Vec::new(), starts, words: memory, stride, weighted };
        table.merge_duplicates(total);
        Ok(table)
    }

    /// Sorts each row by item, moves its distinct pairs to its front and notes the offsets of what is left.
    fn merge_duplicates(&mut self, total: u64) {
        let users = self.starts.len();
        let (starts, stride) = (&self.starts, self.stride);
        let end_of = |user: usize| starts.get(user + 1).copied().unwrap_or(total);
        let mut rest = &mut self.words[..];
        let mut pieces = Vec::new();
        for range in even_ranges(users, end_of) {
            let n = (end_of(range.end - 1) - starts[range.start]) as usize;
            pieces.push((range, rest.split_off_mut(..n * stride).unwrap_or_default()));
        }
        let kept: Vec<Vec<u64>> = pieces
            .into_par_iter()
            .map(|(range, words)| {
                let base = starts[range.start];
                let mut row: Vec<Entry> = Vec::new();
                let mut kept = Vec::with_capacity(range.len());
                for user in range {
                    let words = &mut words
                        [(starts[user] - base) as usize * stride..(end_of(user) - base) as usize * stride];
                    row.clear();
                    row.extend(words.chunks_exact(stride).map(Entry::load));
                    row.sort_unstable_by_key(|entry| entry.item);
                    row.dedup_by(|later, first| {
                        let same = later.item == first.item;
                        if same {
                            first.time = first.time.max(later.time);
                            first.weight = larger(first.weight, later.weight);
                        }
                        same
                    });
                    words.chunks_exact_mut(stride).zip(&row).for_each(|(words, entry)| entry.store(words));
                    kept.push(row.len() as u64);
                }
                kept
            })
            .collect();
        let mut end = 0;
        self.user_offsets.reserve_exact(users + 1);
        self.user_offsets.push(0);
        self.user_offsets.extend(kept.into_iter().flatten().map(|n| {
            end += n;
            end
        }));
    }

    /// The distinct pairs of a user.
    fn row(&self, user: usize) -> impl Iterator<Item = Entry> {
        let n = (self.user_offsets[user + 1] - self.user_offsets[user]) as usize;
        let start = self.starts[user] as usize * self.stride;
        self.words[start..start + n * self.stride].chunks_exact(self.stride).map(Entry::load)
    }

    /// Number of distinct pairs.
    pub(super) fn nnz(&self) -> u64 {
        self.user_offsets.last().copied().unwrap_or(0)
    }

    /// True if the edges have times.
    pub(super) fn timed(&self) -> bool {
        self.stride == 2
    }

    /// True if the edges have weights.
    pub(super) fn weighted(&self) -> bool {
        self.weighted
    }

    /// Writes the table into the sections of a file; columns that it does not have may be empty.
    pub(super) fn fill(self, columns: Columns<'_>) {
        let Columns { user_offsets, user_items, item_offsets, item_users, timestamps, weights } = columns;
        user_offsets.copy_from_slice(&self.user_offsets);

        let ranges = even_ranges(self.starts.len(), |user| self.user_offsets[user + 1]);
        let mut pieces = Vec::with_capacity(ranges.len());
        let (mut items, mut times, mut ratings) = (&mut *user_items, &mut timestamps[..], &mut weights[..]);
        for range in ranges {
            let n = (self.user_offsets[range.end] - self.user_offsets[range.start]) as usize;
            pieces.push((
                range,
                items.split_off_mut(..n).unwrap_or_default(),
                times.split_off_mut(..n).unwrap_or_default(),
                ratings.split_off_mut(..n).unwrap_or_default(),
            ));
        }
        pieces.into_par_iter().for_each(|(range, items, times, ratings)| {
            let mut at = 0;
            for user in range {
                for entry in self.row(user) {
                    items[at] = entry.item;
                    // Zipping with an absent column would cost a branch as well.
                    if let Some(time) = times.get_mut(at) {
                        *time = entry.time;
                    }
                    if let Some(rating) = ratings.get_mut(at) {
                        *rating = entry.weight;
                    }
                    at += 1;
                }
            }
        });
        drop(self);
        transpose(user_offsets, user_items, item_offsets, item_users);
    }
}

/// Users by item from items by user. Each thread owns a range of items and finds it in every row by binary search,
/// so that it writes to its own part of the result only, in ascending order of the users.
fn transpose(user_offsets: &[u64], user_items: &[u32], item_offsets: &mut [u64], item_users: &mut [u32]) {
    let degrees: Vec<AtomicU64> = (1..item_offsets.len()).map(|_| AtomicU64::new(0)).collect();
    user_items.par_iter().with_min_len(1 << 16).for_each(|&item| {
        degrees[item as usize].fetch_add(1, Relaxed);
    });
    let mut end = 0;
    item_offsets[0] = 0;
    for (offset, degree) in item_offsets[1..].iter_mut().zip(&degrees) {
        end += degree.load(Relaxed);
        *offset = end;
    }
    drop(degrees);

    let mut rest = item_users;
    let mut pieces = Vec::new();
    // Every range reads all row offsets, hence one range a thread and not more.
    for range in
        ranges_of(item_offsets.len() - 1, rayon::current_num_threads(), |item| item_offsets[item + 1])
    {
        let n = (item_offsets[range.end] - item_offsets[range.start]) as usize;
        pieces.push((range, rest.split_off_mut(..n).unwrap_or_default()));
    }
    pieces.into_par_iter().with_max_len(1).for_each(|(range, out)| {
        let base = item_offsets[range.start];
        let mut next: Vec<u64> = item_offsets[range.clone()].iter().map(|start| start - base).collect();
        for (user, bounds) in (0u32..).zip(user_offsets.windows(2)) {
            let row = &user_items[bounds[0] as usize..bounds[1] as usize];
            let first = row.partition_point(|&item| (item as usize) < range.start);
            for &item in row[first..].iter().take_while(|&&item| (item as usize) < range.end) {
                let cursor = &mut next[item as usize - range.start];
                out[*cursor as usize] = user;
                *cursor += 1;
            }
        }
    });
}

/// The larger weight, whatever the order of the arguments: 0 beats -0.
fn larger(a: f32, b: f32) -> f32 {
    if a.total_cmp(&b).is_lt() { b } else { a }
}

fn for_each_edge(parts: &[Edges], visit: impl Fn(&Edges, usize) + Sync) {
    parts.par_iter().for_each(|part| {
        (0..part.len()).into_par_iter().with_min_len(1 << 14).for_each(|k| visit(part, k));
    });
}

/// Ranges of rows with about equally many entries, several for each thread.
fn even_ranges(rows: usize, end_of: impl Fn(usize) -> u64) -> Vec<Range<usize>> {
    ranges_of(rows, 8 * rayon::current_num_threads(), end_of)
}

/// At most `n` ranges that cover `0..rows`; `end_of` a row is the number of entries up to and with it.
fn ranges_of(rows: usize, n: usize, end_of: impl Fn(usize) -> u64) -> Vec<Range<usize>> {
    let Some(last) = rows.checked_sub(1) else { return Vec::new() };
    // Each row counts as one entry more, so that empty rows are shared out too.
    let weight = |row: usize| u128::from(end_of(row)) + row as u128 + 1;
    let (mut ranges, mut start) = (Vec::with_capacity(n), 0);
    for k in 1..=n as u128 {
        let target = weight(last) * k / n as u128;
        let (mut low, mut high) = (start, rows);
        while low < high {
            let middle = low + (high - low) / 2;
            if weight(middle) <= target { low = middle + 1 } else { high = middle }
        }
        if low > start {
            ranges.push(start..low);
            start = low;
        }
    }
    ranges
}

fn check_columns(parts: &[Edges]) -> Result<()> {
    for part in parts {
        let same = |n: Option<usize>| n.is_none_or(|n| n == part.users.len());
        if part.items.len() != part.users.len()
            || !same(part.timestamps.as_ref().map(Vec::len))
            || !same(part.weights.as_ref().map(Vec::len))
        {
            return Err(Error::data(
                "the columns of the edges differ in length",
                "give every edge all its fields",
            ));
        }
    }
    let shape = |part: &Edges| (part.timestamps.is_some(), part.weights.is_some());
    let mut filled = parts.iter().filter(|part| !part.is_empty());
    if let Some(first) = filled.next()
        && filled.any(|part| shape(part) != shape(first))
    {
        return Err(Error::data(
            "some parts of a split have timestamps or weights and others do not",
            "give all parts the same columns",
        ));
    }
    Ok(())
}

fn check_ids(parts: &[Edges], users: u32, items: u32) -> Result<()> {
    let largest = |column: fn(&Edges) -> &Vec<u32>| parts.par_iter().flat_map(column).copied().max();
    for (what, id, n) in [("user", largest(|p| &p.users), users), ("item", largest(|p| &p.items), items)] {
        if let Some(id) = id.filter(|&id| id >= n) {
            return Err(Error::data(
                format!("an edge names {what} {id}, but there are {n} {what}s (0 to {})", i64::from(n) - 1),
                format!("raise the number of {what}s or drop the edge"),
            ));
        }
    }
    Ok(())
}

fn check_weights(split: Split, parts: &[Edges]) -> Result<()> {
    let mut before = 0;
    for part in parts {
        if let Some((at, weight)) = part.weights.as_deref().and_then(not_finite) {
            let (edge, user, item) = (before + at, part.users[at], part.items[at]);
            return Err(Error::data(
                format!(
                    "the weight of edge {edge} of the {split} split (user {user}, item {item}) is {weight}"
                ),
                "give a finite weight or drop the edge",
            ));
        }
        before += part.len();
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_cover_all_rows_once() {
        for (lengths, n) in [(vec![0u64; 7], 3), (vec![100, 0, 0, 1], 4), (vec![1; 5], 9), (vec![], 2)] {
            let ends: Vec<u64> = lengths
                .iter()
                .scan(0, |end, n| {
                    *end += n;
                    Some(*end)
                })
                .collect();
            let ranges = ranges_of(ends.len(), n, |row| ends[row]);
            assert!(ranges.len() <= n);
            assert_eq!(ranges.into_iter().flatten().collect::<Vec<_>>(), (0..ends.len()).collect::<Vec<_>>());
        }
    }

    #[test]
    fn the_larger_weight_does_not_depend_on_order() {
        for (a, b, want) in [(1.0, 2.0, 2.0), (-0.0, 0.0, 0.0), (-2.0, -1.0, -1.0)] {
            assert_eq!(larger(a, b).to_bits(), f32::to_bits(want));
            assert_eq!(larger(b, a).to_bits(), f32::to_bits(want));
        }
    }
}
