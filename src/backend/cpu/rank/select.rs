//! From the scores of a block of users to their lists.

use std::ops::Range;

use super::{
    candidate::Candidate,
    kernel::{self, Lanes, Places},
    line::Line,
    pool::{Entry, Pool},
    table::Table,
};

/// For each user of a block and each line of rankings, the items that may still enter a list.
#[derive(Debug)]
pub(super) struct Selections {
    k: usize,
    variants: usize,
    /// `[users, lines]`.
    shortlists: Vec<Shortlist>,
    /// `[users, V, K + 1]`: lists, each with room for one candidate more.
    candidates: Vec<Candidate>,
    /// `[users, V]`.
    lengths: Vec<usize>,
    pool: Pool,
    places: Places,
    kept: Vec<bool>,
    /// `[K + 1]`: a list that is not wanted yet.
    list: Vec<Candidate>,
}

#[derive(Debug)]
struct Shortlist {
    /// What a score must reach under the nodes of the line; see [`Line`].
    thresholds: Vec<f32>,
    entries: Vec<Entry>,
}

impl Selections {
    pub(super) fn new(users: usize, lines: &[Line], variants: usize, k: usize) -> Self {
        let empty = |line: &Line| Shortlist { thresholds: vec![0.0; line.nodes.len()], entries: Vec::with_capacity(Self::capacity(line, k)) };
        Selections {
            k,
            variants,
            shortlists: (0..users).flat_map(|_| lines.iter().map(empty)).collect(),
            candidates: vec![Candidate::NONE; users * variants * (k + 1)],
            lengths: vec![0; users * variants],
            pool: Pool::new(k),
            places: Places::EMPTY,
            kept: Vec::new(),
            list: vec![Candidate::NONE; k + 1],
        }
    }

    /// Entries of a line at which [`Selections::tighten`] pays; it leaves at most half of them.
    pub(super) fn capacity(line: &Line, k: usize) -> usize {
        2 * k * (line.nodes.len() + 1)
    }

    /// Forgets all items.
    pub(super) fn clear(&mut self) {
        for shortlist in &mut self.shortlists {
            // Every score reaches this, except that of a seen item or of no item: minus infinity.
            shortlist.thresholds.fill(f32::MIN);
            shortlist.entries.clear();
        }
    }

    /// Takes in the scores of the block's user `row` for the items of `panels`; the first panels come first.
    pub(super) fn add(
        &mut self,
        table: &Table,
        lines: &[Line],
        row: usize,
        panels: Range<usize>,
        x: &[Lanes],
        highest: &[f32],
    ) {
        let shortlists = row * lines.len();
        for (place, line) in (shortlists..).zip(lines) {
            if panels.start == 0 {
                self.raise_thresholds(table, line, place, panels.clone(), x, highest);
            }
            let Shortlist { thresholds, entries } = &mut self.shortlists[place];
            let (nodes, panels) = (&line.nodes, panels.clone());
            kernel::scan(table, nodes, thresholds, panels, x, highest, &mut self.places, entries);
            if line.pivot.is_none() && entries.len() >= Self::capacity(line, self.k) {
                self.tighten(table, line, place);
            }
        }
    }

    /// Sets the first thresholds.
    fn raise_thresholds(
        &mut self,
        table: &Table,
        line: &Line,
        place: usize,
        panels: Range<usize>,
        x: &[Lanes],
        highest: &[f32],
    ) {
        let Self { k, shortlists, pool, places, list, .. } = self;
        let Shortlist { thresholds, entries } = &mut shortlists[place];
        let Some(pivot) = line.pivot else {
            for (threshold, &node) in thresholds.iter_mut().zip(&line.nodes) {
                *threshold = kernel::bound(&highest[..panels.len()], table.most(node), *k);
            }
            return;
        };
        let threshold = kernel::bound(&highest[..panels.len()], table.most(pivot), *k);
        kernel::scan(table, &[pivot], &[threshold], panels, x, highest, places, entries);
        pool.load(table, entries);
        entries.clear();
        pool.list(table.rankings[pivot], *k, threshold, list);
        for (threshold, &node) in thresholds.iter_mut().zip(&line.nodes) {
            *threshold = lowered(pool.lowest_of_list(table.rankings[node], *k), table.magnitudes[node]);
        }
    }

    /// Drops the items that are in no list so far, and raises the thresholds to the K-th best scores.
    fn tighten(&mut self, table: &Table, line: &Line, place: usize) {
        let Self { k, shortlists, pool, kept, list, .. } = self;
        let Shortlist { thresholds, entries } = &mut shortlists[place];
        pool.load(table, entries);
        kept.clear();
        kept.resize(entries.len(), false);
        for (threshold, &node) in thresholds.iter_mut().zip(&line.nodes) {
            if pool.list(table.rankings[node], *k, *threshold, list) == *k {
                *threshold = list[*k - 1].score();
            }
            pool.best().iter().for_each(|&entry| kept[entry as usize] = true);
        }
        let mut kept = kept.iter();
        entries.retain(|_| kept.next().is_some_and(|&kept| kept));
    }

    /// Makes the lists of the first `users` users.
    pub(super) fn finish(&mut self, table: &Table, lines: &[Line], users: usize) {
        let Self { k, variants, shortlists, candidates, lengths, pool, .. } = self;
        for (row, shortlists) in shortlists.chunks_exact(lines.len()).enumerate().take(users) {
            for (line, Shortlist { thresholds, entries }) in lines.iter().zip(shortlists) {
                pool.load(table, entries);
                for (place, &variant) in line.rankings.iter().enumerate() {
                    // Only the first of a line with a pivot has a threshold; the others follow it.
                    let own = line.nodes.get(place) == Some(&variant);
                    let threshold = if own { thresholds[place] } else { f32::MIN };
                    let slot = row * *variants + variant;
                    let list = &mut candidates[slot * (*k + 1)..][..*k + 1];
                    lengths[slot] = pool.list(table.rankings[variant], *k, threshold, list);
                }
            }
        }
    }

    pub(super) fn list(&self, row: usize, variant: usize) -> &[Candidate] {
        let slot = row * self.variants + variant;
        &self.candidates[slot * (self.k + 1)..][..self.lengths[slot]]
    }
}

/// A threshold at the end of a line with a pivot, lowered so far that no rounding moves an item above the K best.
///
/// With u = 2^-24, a rounded offset is within 2 u m of the exact one, where m bounds `|c s_i| + |tau ln(n_i + 1)|`, and
/// the rounded difference `x - o` within u of itself. Going through the argument of [`Line`] with these errors
/// at both ends and at the ranking between, where m and the threshold are at most what lies between those of the ends,
/// items below the lowered thresholds score less than the K best by more than a rounding if these are lowered by
/// u (5 |threshold| + 8 m); twice that and more is taken.
fn lowered(threshold: f32, magnitude: f32) -> f32 {
    const MARGIN: f32 = 16.0 / (1 << 24) as f32;
    (threshold - (MARGIN * (threshold.abs() + magnitude) + f32::MIN_POSITIVE)).max(f32::MIN)
}
