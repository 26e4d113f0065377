//! The best K of the few items that are left to choose from.

use super::{
    candidate::Candidate,
    kernel::LANES,
    table::{Table, offset},
};
use crate::{model::Ranking, simd::vectorised};

/// An item that may enter a list: where it stands in the table, and its score before offsets.
#[derive(Debug, Clone, Copy)]
pub(super) struct Entry {
    pub(super) position: u32,
    pub(super) x: f32,
}

/// The entries of one user with all that their scores depend on, to be ranked in many ways.
#[derive(Debug, Default)]
pub(super) struct Pool {
    ids: Vec<u32>,
    x: Vec<f32>,
    gate: Vec<f32>,
    popularity: Vec<f32>,
    /// Under the ranking that was scored last.
    scores: Vec<f32>,
    /// Which entries reach a threshold; as long as `ids`.
    reached: Vec<u32>,
    /// The list that was made last, best first, and which entries its items are.
    list: Vec<Candidate>,
    best: Vec<u32>,
    sorted: Vec<(Candidate, u32)>,
}

impl Pool {
    /// Replaces all entries.
    pub(super) fn load(&mut self, table: &Table, entries: &[Entry]) {
        let count = entries.len();
        self.list.clear();
        self.best.clear();
        self.ids.resize(count, 0);
        self.reached.resize(count, 0);
        for values in [&mut self.x, &mut self.gate, &mut self.popularity, &mut self.scores] {
            values.resize(count, 0.0);
        }
        for (place, entry) in entries.iter().enumerate() {
            let item = table.item(entry.position);
            self.x[place] = entry.x;
            self.ids[place] = item.id;
            self.gate[place] = item.gate;
            self.popularity[place] = item.popularity;
        }
    }

    /// The best `k` under `ranking`, best first. No score below `threshold` may be among them.
    ///
    /// The items of the list that was made before bound the K-th best score from below, so that a line of rankings
    /// passes quickly when it is followed.
    pub(super) fn list(&mut self, ranking: Ranking, k: usize, threshold: f32) -> &[Candidate] {
        let threshold = threshold.max(self.lowest_of_list(ranking, k));
        let reached = reach(&self.scores, threshold, &mut self.reached);
        let made = match reached {
            0..=32 => self.count::<32>(reached, k),
            33..=64 => self.count::<64>(reached, k),
            _ => false,
        };
        if !made {
            self.sort(reached, k);
        }
        &self.list
    }

    /// Scores all entries; returns the lowest score of the list that was made last, unless it is shorter than `k`.
    pub(super) fn lowest_of_list(&mut self, ranking: Ranking, k: usize) -> f32 {
        score(ranking, &self.x, &self.gate, &self.popularity, &mut self.scores);
        if self.best.len() < k {
            return f32::MIN;
        }
        self.best.iter().map(|&entry| self.scores[entry as usize]).fold(f32::INFINITY, f32::min)
    }

    /// Which entries the last list consists of.
    pub(super) fn best(&self) -> &[u32] {
        &self.best
    }

    /// Makes the list from up to N entries by counting, for each, how many are better: no branch depends on scores.
    /// Returns false, and makes no list, if scores are equal.
    fn count<const N: usize>(&mut self, reached: usize, k: usize) -> bool {
        let entries = &self.reached[..reached];
        let mut scores = [f32::NEG_INFINITY; N];
        for (score, &entry) in scores.iter_mut().zip(entries) {
            *score = self.scores[entry as usize];
        }
        let mut places = [0u32; N];
        count_better(&scores, reached, &mut places);
        let taken = places[..reached].iter().fold(0u64, |taken, place| taken | 1 << place);
        if taken.count_ones() as usize != reached {
            return false;
        }
        let (mut list, mut best) = ([Candidate::NONE; N], [0; N]);
        for (lane, &entry) in entries.iter().enumerate() {
            let place = places[lane] as usize % N;
            list[place] = Candidate::new(self.ids[entry as usize], scores[lane]);
            best[place] = entry;
        }
        let length = reached.min(k);
        self.list.clear();
        self.list.extend_from_slice(&list[..length]);
        self.best.clear();
        self.best.extend_from_slice(&best[..length]);
        true
    }

    /// Makes the list from any number of entries.
    fn sort(&mut self, reached: usize, k: usize) {
        self.sorted.clear();
        self.sorted.extend(self.reached[..reached].iter().map(|&entry| {
            (Candidate::new(self.ids[entry as usize], self.scores[entry as usize]), entry)
        }));
        if reached > k {
            self.sorted.select_nth_unstable_by(k - 1, |a, b| b.cmp(a));
            self.sorted.truncate(k);
        }
        self.sorted.sort_unstable_by(|a, b| b.cmp(a));
        self.list.clear();
        self.list.extend(self.sorted.iter().map(|(candidate, _)| candidate));
        self.best.clear();
        self.best.extend(self.sorted.iter().map(|(_, entry)| entry));
    }
}

vectorised! {
    fn score(ranking: Ranking, x: &[f32], gate: &[f32], popularity: &[f32], scores: &mut [f32]) {
        for (((score, x), gate), popularity) in scores.iter_mut().zip(x).zip(gate).zip(popularity) {
            *score = x - offset(ranking, *gate, *popularity);
        }
    }
}

vectorised! {
    /// `places[k]`: how many of the first `count` scores are greater than `scores[k]`.
    fn count_better(scores: &[f32], count: usize, places: &mut [u32]) {
        for lanes in (0..count).step_by(LANES) {
            let (own, places) = (&scores[lanes..lanes + LANES], &mut places[lanes..lanes + LANES]);
            let mut better = [0u32; LANES];
            for other in &scores[..count] {
                for lane in 0..LANES {
                    better[lane] += u32::from(*other > own[lane]);
                }
            }
            places.copy_from_slice(&better);
        }
    }
}

/// Writes which of `scores` reach `threshold` to `reached`; returns how many.
fn reach(scores: &[f32], threshold: f32, reached: &mut [u32]) -> usize {
    let mut count = 0;
    for (entry, &score) in scores.iter().enumerate() {
        reached[count] = entry as u32;
        count += usize::from(score >= threshold);
    }
    count
}
