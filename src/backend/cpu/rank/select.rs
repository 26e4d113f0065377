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
    items: usize,
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
    /// What it must reach under the pivot to be in that list.
    pivot: f32,
    entries: Vec<Entry>,
}

impl Shortlist {
    fn new(line: &Line, capacity: usize) -> Self {
        Shortlist {
            thresholds: vec![0.0; line.nodes.len()],
            pivot: 0.0,
            entries: Vec::with_capacity(capacity),
        }
    }

    /// Forgets all items.
    fn clear(&mut self) {
        // Every score reaches this, except that of a seen item or of no item: minus infinity.
        self.thresholds.fill(f32::MIN);
        self.pivot = f32::MIN;
        self.entries.clear();
    }

    /// Sets the first thresholds, by the `highest` scores of the first panels.
    fn raise_thresholds(&mut self, table: &Table, line: &Line, k: usize, highest: &[f32]) {
        if let (Some(pivot), &[first, last]) = (&line.pivot, &line.nodes[..]) {
            let ends = [table.most(first.variant), table.most(last.variant)];
            let [pivot, a, b] = kernel::bound(highest, table.most(pivot.variant), k, ends);
            self.pivot = pivot;
            self.thresholds[0] = table.end(first.variant).lowered(a);
            self.thresholds[1] = table.end(last.variant).lowered(b);
            return;
        }
        for (threshold, &node) in self.thresholds.iter_mut().zip(&line.nodes) {
            [*threshold, ..] = kernel::bound(highest, table.most(node.variant), k, [&[]; 2]);
        }
    }
}

impl Selections {
    pub(super) fn new(users: usize, lines: &[Line], variants: usize, k: usize, items: usize) -> Self {
        let shortlist = |line| Shortlist::new(line, Self::capacity(line, k, items));
        Selections {
            k,
            items,
            variants,
            shortlists: (0..users).flat_map(|_| lines.iter().map(shortlist)).collect(),
            candidates: vec![Candidate::NONE; users * variants * (k + 1)],
            lengths: vec![0; users * variants],
            pool: Pool::new(k),
            places: Places::EMPTY,
            kept: Vec::new(),
            list: vec![Candidate::NONE; k + 1],
        }
    }

    /// Entries of a line at which [`Selections::tighten`] pays; it leaves at most K for each node.
    pub(super) fn capacity(line: &Line, k: usize, items: usize) -> usize {
        (k * (line.nodes.len() + 6)).min(items)
    }

    /// Forgets all items.
    pub(super) fn clear(&mut self) {
        self.shortlists.iter_mut().for_each(Shortlist::clear);
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
                self.shortlists[place].raise_thresholds(table, line, self.k, &highest[..panels.len()]);
            }
            let Shortlist { thresholds, entries, .. } = &mut self.shortlists[place];
            let (nodes, panels) = (&line.nodes, panels.clone());
            kernel::scan(table, nodes, thresholds, panels, x, highest, &mut self.places, entries);
            if line.pivot.is_none() && entries.len() >= Self::capacity(line, self.k, self.items) {
                self.tighten(table, line, place);
            }
        }
    }

    /// Drops the items that are in no list so far, and raises the thresholds to the K-th best scores.
    fn tighten(&mut self, table: &Table, line: &Line, place: usize) {
        let Self { k, shortlists, pool, kept, list, .. } = self;
        let Shortlist { thresholds, entries, .. } = &mut shortlists[place];
        pool.load(table, entries);
        kept.clear();
        kept.resize(entries.len(), false);
        for (threshold, &node) in thresholds.iter_mut().zip(&line.nodes) {
            pool.narrow(node.ranking, *threshold);
            if pool.list(node.ranking, list) == *k {
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
        let shortlists = shortlists.chunks_exact(lines.len());
        let lists =
            candidates.chunks_exact_mut(*variants * (*k + 1)).zip(lengths.chunks_exact_mut(*variants));
        for (shortlists, (candidates, lengths)) in shortlists.zip(lists).take(users) {
            for (line, shortlist) in lines.iter().zip(shortlists) {
                pool.load(table, &shortlist.entries);
                let mut list = |pool: &mut Pool, variant: usize| {
                    let list = &mut candidates[variant * (*k + 1)..][..*k + 1];
                    lengths[variant] = pool.list(table.rankings[variant], list);
                };
                let Some(pivot) = &line.pivot else {
                    for (node, &threshold) in line.nodes.iter().zip(&shortlist.thresholds) {
                        pool.narrow(node.ranking, threshold);
                        list(pool, node.variant);
                    }
                    continue;
                };
                for way in &pivot.ways {
                    pool.narrow(table.rankings[pivot.variant], shortlist.pivot);
                    list(pool, pivot.variant);
                    for step in way {
                        pool.follow([table.end(step[0]), table.end(step[step.len() - 1])]);
                        step.iter().for_each(|&variant| list(pool, variant));
                    }
                }
            }
        }
    }

    pub(super) fn list(&self, row: usize, variant: usize) -> &[Candidate] {
        let slot = row * self.variants + variant;
        &self.candidates[slot * (self.k + 1)..][..self.lengths[slot]]
    }
}
