//! The best K of the few items that are left to choose from.

use super::{
    candidate::Candidate,
    kernel::{LANES, append, bits, reach},
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
    /// Four times `[ids rounded up to LANES]`; beyond the last entry, `x` is minus infinity.
    x: Vec<f32>,
    gate: Vec<f32>,
    popularity: Vec<f32>,
    /// Under the ranking that was scored last.
    scores: Vec<f32>,
    /// Which entries reach a threshold.
    reached: Vec<u32>,
    /// The list that was made last, best first, and which entries its items are.
    list: Vec<Candidate>,
    best: Vec<u32>,
    sorted: Vec<(Candidate, u32)>,
}

impl Pool {
    /// Replaces all entries.
    pub(super) fn load(&mut self, table: &Table, entries: &[Entry]) {
        let padded = entries.len().next_multiple_of(LANES);
        self.list.clear();
        self.best.clear();
        self.ids.resize(entries.len(), 0);
        self.reached.resize(padded + LANES, 0);
        for values in [&mut self.x, &mut self.gate, &mut self.popularity, &mut self.scores] {
            values.resize(padded, 0.0);
        }
        for (place, entry) in entries.iter().enumerate() {
            let item = table.item(entry.position);
            self.x[place] = entry.x;
            self.ids[place] = item.id;
            self.gate[place] = item.gate;
            self.popularity[place] = item.popularity;
        }
        self.x[entries.len()..].fill(f32::NEG_INFINITY);
        self.gate[entries.len()..].fill(0.0);
        self.popularity[entries.len()..].fill(0.0);
    }

    /// The best `k` under `ranking`, best first. No score below `threshold` may be among them.
    ///
    /// The items of the list that was made before bound the K-th best score from below, so that a line of rankings
    /// passes quickly when it is followed.
    pub(super) fn list(&mut self, ranking: Ranking, k: usize, threshold: f32) -> &[Candidate] {
        make_list(self, ranking, k, threshold);
        &self.list
    }

    /// The lowest score under `ranking` of an item in the list that was made last, unless this is shorter than `k`.
    pub(super) fn lowest_of_list(&mut self, ranking: Ranking, k: usize) -> f32 {
        score(self, ranking);
        self.lowest_scored(k)
    }

    /// Which entries the last list consists of.
    pub(super) fn best(&self) -> &[u32] {
        &self.best
    }

    #[inline(always)]
    fn lowest_scored(&self, k: usize) -> f32 {
        if self.best.len() < k {
            return f32::MIN;
        }
        // Four minima at once, as each waits for the one before.
        let lower = |a: f32, b: f32| if a < b { a } else { b };
        let mut lowest = [f32::INFINITY; 4];
        for entries in self.best.chunks(4) {
            for (lowest, &entry) in lowest.iter_mut().zip(entries) {
                *lowest = lower(*lowest, self.scores[entry as usize]);
            }
        }
        lower(lower(lowest[0], lowest[1]), lower(lowest[2], lowest[3]))
    }

    /// Makes the list from up to N entries by counting, for each, how many are better: no branch depends on scores.
    /// Returns false, and makes no list, if scores are equal.
    #[inline(always)]
    fn count<const N: usize>(&mut self, reached: usize, k: usize) -> bool {
        let entries = &self.reached[..reached];
        let (mut scores, mut ids) = ([f32::NEG_INFINITY; N], [0; N]);
        for (lane, &entry) in entries.iter().enumerate() {
            scores[lane] = self.scores[entry as usize];
            ids[lane] = self.ids[entry as usize];
        }
        let places = count_better(&scores, reached);
        let taken = places[..reached].iter().fold(0u64, |taken, place| taken | 1 << place);
        if taken.count_ones() as usize != reached {
            return false;
        }
        let mut candidates = [Candidate::NONE; N];
        for lane in 0..N {
            candidates[lane] = Candidate::new(ids[lane], scores[lane]);
        }
        let (mut list, mut best) = ([Candidate::NONE; N], [0; N]);
        for (lane, &entry) in entries.iter().enumerate() {
            let place = places[lane] as usize % N;
            list[place] = candidates[lane];
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
    #[inline(never)]
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
    fn score(pool: &mut Pool, ranking: Ranking) {
        score_loops(pool, ranking);
    }
}

vectorised! {
    /// See [`Pool::list`].
    fn make_list(pool: &mut Pool, ranking: Ranking, k: usize, threshold: f32) {
        score_loops(pool, ranking);
        let threshold = threshold.max(pool.lowest_scored(k));
        let mut count = 0;
        for (chunk, scores) in pool.scores.chunks_exact(LANES).enumerate() {
            let mut reached = [0; LANES];
            reach(&mut reached, scores, &[0.0; LANES], threshold);
            count = append(&mut pool.reached, count, chunk * LANES, bits(&reached));
        }
        let made = match count {
            0..=32 => pool.count::<32>(count, k),
            33..=64 => pool.count::<64>(count, k),
            _ => false,
        };
        if !made {
            pool.sort(count, k);
        }
    }
}

#[inline(always)]
fn score_loops(pool: &mut Pool, ranking: Ranking) {
    let Pool { x, gate, popularity, scores, .. } = pool;
    for (((score, x), gate), popularity) in scores.iter_mut().zip(x).zip(gate).zip(popularity) {
        *score = *x - offset(ranking, *gate, *popularity);
    }
}

/// For each score, how many of the first `count` are greater.
#[inline(always)]
pub(super) fn count_better<const N: usize>(scores: &[f32; N], count: usize) -> [u32; N] {
    // Numbers of this size are whole: adding 1 adds 1 to the bits. Sums of floats are formed in the order that is
    // written here, lane by lane, which is the order that is fast.
    const ZERO: f32 = (1 << 23) as f32;
    let mut better = [ZERO; N];
    for &other in &scores[..count] {
        for lane in 0..N {
            better[lane] += if other > scores[lane] { 1.0 } else { 0.0 };
        }
    }
    better.map(|better| better.to_bits() - ZERO.to_bits())
}
