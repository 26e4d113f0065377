//! The best K of the few items that are left to choose from.

use super::{
    candidate::Candidate,
    kernel::{LANES, append, bits},
    table::{Table, offset},
};
use crate::{model::Ranking, simd::vectorised};

/// An item that may enter a list: where it stands in the table, and its score before offsets.
#[derive(Debug, Clone, Copy)]
pub(super) struct Entry {
    pub(super) position: u32,
    pub(super) x: f32,
}

/// Entries that are ranked by counting at most.
const COUNTED: usize = 64;

/// The entries of one user with all that their scores depend on, to be ranked in many ways: first the entries are
/// narrowed down to those that may enter a list, then lists are made from them.
#[derive(Debug)]
pub(super) struct Pool {
    k: usize,
    ids: Vec<u32>,
    /// Five times `[ids rounded up to LANES]`; beyond the last entry, `x` is minus infinity.
    x: Vec<f32>,
    gate: Vec<f32>,
    popularity: Vec<f32>,
    /// Under one and another ranking.
    scores: [Vec<f32>; 2],
    /// Which entries are left, in the first `count` places.
    left: Vec<u32>,
    count: usize,
    /// What is left, if no more than [`COUNTED`]; lanes beyond are as beyond the last entry.
    lanes: Entries<COUNTED>,
    /// `[K + 1]`: the entries in the list that was made last, best first.
    best: Vec<u32>,
    /// The length of that list.
    listed: usize,
    sorted: Vec<(Candidate, u32)>,
}

/// What the scores of N entries depend on.
#[derive(Debug)]
#[repr(align(64))]
struct Entries<const N: usize> {
    x: [f32; N],
    gate: [f32; N],
    popularity: [f32; N],
    ids: [u32; N],
}

impl Pool {
    /// Without entries, for lists of up to `k`.
    pub(super) fn new(k: usize) -> Self {
        let (none, zero) = ([f32::NEG_INFINITY; COUNTED], [0.0; COUNTED]);
        Pool {
            k,
            ids: Vec::new(),
            x: Vec::new(),
            gate: Vec::new(),
            popularity: Vec::new(),
            scores: [Vec::new(), Vec::new()],
            left: Vec::new(),
            count: 0,
            lanes: Entries { x: none, gate: zero, popularity: zero, ids: [0; COUNTED] },
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
        self.left.resize(padded + LANES, 0);
        let [first, second] = &mut self.scores;
        for values in [&mut self.x, &mut self.gate, &mut self.popularity, first, second] {
            values.resize(padded, 0.0);
        }
        let corrections = self.gate.iter_mut().zip(&mut self.popularity);
        let places = self.x.iter_mut().zip(&mut self.ids).zip(corrections);
        for (entry, ((x, id), (gate, popularity))) in entries.iter().zip(places) {
            let item = table.item(entry.position);
            (*x, *id, *gate, *popularity) = (entry.x, item.id, item.gate, item.popularity);
        }
        self.x[entries.len()..].fill(f32::NEG_INFINITY);
        self.gate[entries.len()..].fill(0.0);
        self.popularity[entries.len()..].fill(0.0);
    }

    /// Leaves the entries that may be among the best K under `ranking`, where no score below `threshold` is; the last
    /// list may tell more.
    pub(super) fn narrow(&mut self, ranking: Ranking, threshold: f32) {
        narrow(self, ranking, threshold);
    }

    /// Leaves the entries that may be among the best K under a ranking between two ends; the last list decides.
    pub(super) fn follow(&mut self, ends: [End; 2]) {
        follow(self, ends);
    }

    /// Writes the best K of the entries that are left to `list`, best first, and returns how many there are. There
    /// must be room for one more candidate in `list`, which then means nothing.
    pub(super) fn list(&mut self, ranking: Ranking, list: &mut [Candidate]) -> usize {
        make_list(self, ranking, list);
        self.listed
    }

    /// Which entries the last list consists of, best first.
    pub(super) fn best(&self) -> &[u32] {
        &self.best[..self.listed]
    }

    /// Makes the list from up to N entries by counting, for each, how many are better: no branch depends on scores.
    /// Returns false, and makes no list, if scores are equal.
    #[inline(always)]
    fn count<const N: usize>(&mut self, ranking: Ranking, list: &mut [Candidate]) -> bool {
        let Entries { x, gate, popularity, ids } = &self.lanes;
        let mut scores = [0.0; N];
        for lane in 0..N {
            scores[lane] = x[lane] - offset(ranking, gate[lane], popularity[lane]);
        }
        let places = count_better(&scores, &scores[..self.count]);
        // All are better than each of the lanes without an entry.
        let distinct = self.count * self.count.saturating_sub(1) / 2 + self.count * (N - self.count);
        if places.iter().sum::<u32>() as usize != distinct {
            return false;
        }
        let mut candidates = [Candidate::NONE; N];
        for lane in 0..N {
            candidates[lane] = Candidate::new(ids[lane], scores[lane]);
        }
        let (list, best) = (&mut list[..self.k + 1], &mut self.best[..self.k + 1]);
        for (lane, &entry) in self.left[..self.count].iter().enumerate() {
            let place = (places[lane] as usize).min(self.k);
            list[place] = candidates[lane];
            best[place] = entry;
        }
        self.listed = self.count.min(self.k);
        true
    }

    /// Makes the list from any number of entries.
    #[inline(always)]
    fn select(&mut self, ranking: Ranking, list: &mut [Candidate]) {
        self.sorted.clear();
        for &entry in &self.left[..self.count] {
            let k = entry as usize;
            let score = self.x[k] - offset(ranking, self.gate[k], self.popularity[k]);
            self.sorted.push((Candidate::new(self.ids[k], score), entry));
        }
        self.sort(list);
    }

    /// Makes the list from `sorted`, which is not yet.
    fn sort(&mut self, list: &mut [Candidate]) {
        if self.sorted.len() > self.k {
            self.sorted.select_nth_unstable_by(self.k - 1, |a, b| b.cmp(a));
            self.sorted.truncate(self.k);
        }
        self.sorted.sort_unstable_by(|a, b| b.cmp(a));
        for (place, &(candidate, entry)) in self.sorted.iter().enumerate() {
            (list[place], self.best[place]) = (candidate, entry);
        }
        self.listed = self.sorted.len();
    }
}

/// An end of some rankings, with a bound of `|c s_i| + |tau ln(n_i + 1)|`.
#[derive(Debug, Clone, Copy)]
pub(super) struct End {
    pub(super) ranking: Ranking,
    pub(super) magnitude: f32,
}

impl End {
    /// A score that K items reach at this end, lowered so far that no rounding moves an item above the K best.
    ///
    /// With u = 2^-24, a rounded offset is within 2 u m of the exact one, where m is the magnitude, and the rounded
    /// difference `x - o` within u of itself. Going through the argument of [`Line`](super::line::Line) with these
    /// errors at both ends and at the ranking between, where m and the threshold are at most what lies between those
    /// of the ends, items below the lowered thresholds score less than the K best by more than a rounding if these are
    /// lowered by u (5 |threshold| + 8 m); twice that and more is taken.
    #[inline(always)]
    pub(super) fn lowered(self, threshold: f32) -> f32 {
        const MARGIN: f32 = 16.0 / (1 << 24) as f32;
        let margin = MARGIN * (threshold.abs() + self.magnitude) + f32::MIN_POSITIVE;
        // Only minus infinity, the score of a seen item, is lower.
        (threshold - margin).max(f32::MIN)
    }
}

vectorised! {
    fn narrow(pool: &mut Pool, ranking: Ranking, threshold: f32) {
        pool.score(0, ranking);
        let lowest = if pool.listed == pool.k { pool.lowest_of_list(0) } else { f32::MIN };
        pool.gather([threshold.max(lowest), f32::INFINITY]);
    }
}

vectorised! {
    fn follow(pool: &mut Pool, ends: [End; 2]) {
        let mut thresholds = [f32::MIN; 2];
        for (which, end) in ends.into_iter().enumerate() {
            pool.score(which, end.ranking);
            if pool.listed == pool.k {
                thresholds[which] = end.lowered(pool.lowest_of_list(which));
            }
        }
        pool.gather(thresholds);
    }
}

vectorised! {
    fn make_list(pool: &mut Pool, ranking: Ranking, list: &mut [Candidate]) {
        let made = match pool.count {
            0..=32 => pool.count::<32>(ranking, list),
            33..=COUNTED => pool.count::<COUNTED>(ranking, list),
            _ => false,
        };
        if !made {
            pool.select(ranking, list);
        }
    }
}

/// Parts of the above, to be compiled with them.
impl Pool {
    #[inline(always)]
    fn score(&mut self, which: usize, ranking: Ranking) {
        let Pool { x, gate, popularity, scores, .. } = self;
        for (((score, x), gate), popularity) in scores[which].iter_mut().zip(x).zip(gate).zip(popularity) {
            *score = *x - offset(ranking, *gate, *popularity);
        }
    }

    /// The lowest of the scores of the items in the last list.
    #[inline(always)]
    fn lowest_of_list(&self, which: usize) -> f32 {
        let scores = &self.scores[which];
        let lower = |a: f32, b: f32| if a < b { a } else { b };
        // Four minima at once, as each waits for the one before.
        let mut lowest = [f32::INFINITY; 4];
        let (fours, rest) = self.best().as_chunks::<4>();
        for four in fours {
            for k in 0..4 {
                lowest[k] = lower(lowest[k], scores[four[k] as usize]);
            }
        }
        for &entry in rest {
            lowest[0] = lower(lowest[0], scores[entry as usize]);
        }
        lower(lower(lowest[0], lowest[1]), lower(lowest[2], lowest[3]))
    }

    /// Leaves the entries that reach one of two thresholds.
    #[inline(always)]
    fn gather(&mut self, thresholds: [f32; 2]) {
        let [first, second] = &self.scores;
        let chunks = first.as_chunks::<LANES>().0.iter().zip(second.as_chunks::<LANES>().0);
        self.count = 0;
        for (chunk, (first, second)) in chunks.enumerate() {
            let mut reached = [0; LANES];
            for lane in 0..LANES {
                let any = (first[lane] >= thresholds[0]) | (second[lane] >= thresholds[1]);
                reached[lane] = u32::from(any).wrapping_neg();
            }
            self.count = append(&mut self.left, self.count, chunk * LANES, bits(&reached));
        }
        if self.count > COUNTED {
            return;
        }
        let lanes = &mut self.lanes;
        for (lane, &entry) in self.left[..self.count].iter().enumerate() {
            let entry = entry as usize;
            lanes.x[lane] = self.x[entry];
            lanes.gate[lane] = self.gate[entry];
            lanes.popularity[lane] = self.popularity[entry];
            lanes.ids[lane] = self.ids[entry];
        }
        // The offsets in these lanes are finite, whatever they are.
        lanes.x[self.count..].fill(f32::NEG_INFINITY);
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
    let mut counts = [0; N];
    for lane in 0..N {
        counts[lane] = better[lane].to_bits() - ZERO.to_bits();
    }
    counts
}
