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
#[derive(Debug)]
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
    /// `[K + 1]`: the entries in the list that was made last, best first.
    best: Vec<u32>,
    /// The length of that list.
    listed: usize,
    sorted: Vec<(Candidate, u32)>,
}

impl Pool {
    /// Without entries, for lists of up to `k`.
    pub(super) fn new(k: usize) -> Self {
        Pool {
            ids: Vec::new(),
            x: Vec::new(),
            gate: Vec::new(),
            popularity: Vec::new(),
            scores: Vec::new(),
            reached: Vec::new(),
            best: vec![0; k + 1],
            listed: 0,
            sorted: Vec::new(),
        }
    }

    /// Replaces all entries.
    pub(super) fn load(&mut self, table: &Table, entries: &[Entry]) {
        let padded = entries.len().next_multiple_of(LANES);
        self.listed = 0;
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

    /// Writes the best `k` under `ranking` to `list`, best first, and returns how many there are. No score below
    /// `threshold` may be among them. There must be room for one more candidate in `list`, which means nothing.
    ///
    /// The items of the list that was made before bound the K-th best score from below, so that a line of rankings
    /// passes quickly when it is followed.
    pub(super) fn list(
        &mut self,
        ranking: Ranking,
        k: usize,
        threshold: f32,
        list: &mut [Candidate],
    ) -> usize {
        make_list(self, ranking, k, threshold, list)
    }

    /// The lowest score under `ranking` of an item in the list that was made last, unless this is shorter than `k`.
    pub(super) fn lowest_of_list(&mut self, ranking: Ranking, k: usize) -> f32 {
        score(self, ranking);
        self.lowest_scored(k)
    }

    /// Which entries the last list consists of, best first.
    pub(super) fn best(&self) -> &[u32] {
        &self.best[..self.listed]
    }

    #[inline(always)]
    fn lowest_scored(&self, k: usize) -> f32 {
        if self.listed < k {
            return f32::MIN;
        }
        let lower = |a: f32, b: f32| if a < b { a } else { b };
        // Four minima at once, as each waits for the one before.
        let mut lowest = [f32::INFINITY; 4];
        let (fours, rest) = self.best().as_chunks::<4>();
        for four in fours {
            for k in 0..4 {
                lowest[k] = lower(lowest[k], self.scores[four[k] as usize]);
            }
        }
        for &entry in rest {
            lowest[0] = lower(lowest[0], self.scores[entry as usize]);
        }
        lower(lower(lowest[0], lowest[1]), lower(lowest[2], lowest[3]))
    }

    /// Makes the list from up to N entries by counting, for each, how many are better: no branch depends on scores.
    /// Returns false, and makes no list, if scores are equal.
    #[inline(always)]
    fn count<const N: usize>(&mut self, reached: usize, k: usize, list: &mut [Candidate]) -> bool {
        let entries = &self.reached[..reached];
        let mut scores = [f32::NEG_INFINITY; N];
        for (score, &entry) in scores.iter_mut().zip(entries) {
            *score = self.scores[entry as usize];
        }
        let places = count_better(&scores, &scores[..reached]);
        // All are better than each of the lanes without an entry.
        let distinct = reached * (reached.saturating_sub(1)) / 2 + reached * (N - reached);
        if places.iter().sum::<u32>() as usize != distinct {
            return false;
        }
        let ordered = scores.map(Candidate::ordered);
        let (list, best) = (&mut list[..k + 1], &mut self.best[..k + 1]);
        for (lane, &entry) in entries.iter().enumerate() {
            let place = (places[lane] as usize).min(k);
            list[place] = Candidate::from_ordered(self.ids[entry as usize], ordered[lane]);
            best[place] = entry;
        }
        self.listed = reached.min(k);
        true
    }

    /// Makes the list from any number of entries.
    #[inline(never)]
    fn sort(&mut self, reached: usize, k: usize, list: &mut [Candidate]) {
        self.sorted.clear();
        self.sorted.extend(self.reached[..reached].iter().map(|&entry| {
            (Candidate::new(self.ids[entry as usize], self.scores[entry as usize]), entry)
        }));
        if reached > k {
            self.sorted.select_nth_unstable_by(k - 1, |a, b| b.cmp(a));
            self.sorted.truncate(k);
        }
        self.sorted.sort_unstable_by(|a, b| b.cmp(a));
        for (place, &(candidate, entry)) in self.sorted.iter().enumerate() {
            (list[place], self.best[place]) = (candidate, entry);
        }
        self.listed = self.sorted.len();
    }
}

vectorised! {
    fn score(pool: &mut Pool, ranking: Ranking) {
        score_loops(pool, ranking);
    }
}

vectorised! {
    /// See [`Pool::list`].
    fn make_list(
        pool: &mut Pool,
        ranking: Ranking,
        k: usize,
        threshold: f32,
        list: &mut [Candidate],
    ) -> usize {
        score_loops(pool, ranking);
        let threshold = threshold.max(pool.lowest_scored(k));
        let mut count = 0;
        for (chunk, scores) in pool.scores.as_chunks::<LANES>().0.iter().enumerate() {
            let reached = scores.map(|score| u32::from(score >= threshold).wrapping_neg());
            count = append(&mut pool.reached, count, chunk * LANES, bits(&reached));
        }
        let made = match count {
            0..=32 => pool.count::<32>(count, k, list),
            33..=64 => pool.count::<64>(count, k, list),
            _ => false,
        };
        if !made {
            pool.sort(count, k, list);
        }
        pool.listed
    }
}

#[inline(always)]
fn score_loops(pool: &mut Pool, ranking: Ranking) {
    let Pool { x, gate, popularity, scores, .. } = pool;
    for (((score, x), gate), popularity) in scores.iter_mut().zip(x).zip(gate).zip(popularity) {
        *score = *x - offset(ranking, *gate, *popularity);
    }
}

/// For each score, how many of `others` are greater.
#[inline(always)]
pub(super) fn count_better<const N: usize>(scores: &[f32; N], others: &[f32]) -> [u32; N] {
    // Numbers of this size are whole: adding 1 adds 1 to the bits. Sums of floats are formed in the order that is
    // written here, lane by lane, which is the order that is fast.
    const ZERO: f32 = (1 << 23) as f32;
    let mut better = [ZERO; N];
    for &other in others {
        for lane in 0..N {
            better[lane] += if other > scores[lane] { 1.0 } else { 0.0 };
        }
    }
    better.map(|better| better.to_bits() - ZERO.to_bits())
}
