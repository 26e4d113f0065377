//! The best K of what is offered, for many users and rankings.

use super::{
    kernel::{GROUP, LANES},
    table::NO_ITEM,
};
use crate::data::Csr;

/// An item and its score. Candidates order by score, then the lower id is the greater candidate, so that the best
/// come first in descending order.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Candidate(u64);

impl Candidate {
    /// Score in the upper half, its bits arranged to order like the number; inverted id in the lower half.
    #[inline(always)]
    fn new(item: u32, score: f32) -> Self {
        // -0 becomes +0: they are equal and must tie.
        let bits = (score + 0.0).to_bits();
        let ordered = bits ^ (((bits as i32 >> 31) as u32) | 0x8000_0000);
        Candidate(u64::from(ordered) << 32 | u64::from(!item))
    }

    /// The item's id.
    pub fn item(self) -> u32 {
        !(self.0 as u32)
    }

    /// Its score.
    pub fn score(self) -> f32 {
        let ordered = (self.0 >> 32) as u32;
        let negative = ((!ordered) as i32 >> 31) as u32;
        f32::from_bits(ordered ^ (negative | 0x8000_0000))
    }
}

impl std::fmt::Debug for Candidate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "({}, {})", self.item(), self.score())
    }
}

/// For each user of a block and each ranking, the best candidates so far, in a buffer that is cut back to the best K
/// whenever it is full.
#[derive(Debug)]
pub(super) struct Selections {
    k: usize,
    variants: usize,
    groups: usize,
    capacity: usize,
    users: usize,
    /// `[users, V / GROUP]`: only scores at or above this can enter a list; infinite where there is no list.
    thresholds: Vec<[f32; GROUP]>,
    /// `[users, V]`: the candidate that is K-th in the list, once known.
    floors: Vec<Candidate>,
    /// `[users, V]`.
    lengths: Vec<usize>,
    /// `[users, V, capacity]`.
    candidates: Vec<Candidate>,
}

impl Selections {
    /// Candidates kept at most for a list of `k`: a cut costs time in proportion to this and is rarer by as much.
    pub(super) fn capacity(k: usize, items: usize) -> usize {
        (2 * k + 24).min(items.next_multiple_of(LANES))
    }

    /// Room for `users` (a multiple of the tile height).
    pub(super) fn new(users: usize, variants: usize, k: usize, items: usize) -> Self {
        let (groups, capacity) = (variants.div_ceil(GROUP), Self::capacity(k, items));
        Selections {
            k,
            variants,
            groups,
            capacity,
            users: 0,
            thresholds: vec![[f32::INFINITY; GROUP]; users * groups],
            floors: vec![Candidate(0); users * variants],
            lengths: vec![0; users * variants],
            candidates: vec![Candidate(0); users * variants * capacity],
        }
    }

    /// Empties all lists, and prepares those of `users` users.
    pub(super) fn clear(&mut self, users: usize) {
        self.users = users;
        self.floors.fill(Candidate(0));
        self.lengths.fill(0);
        for (user, thresholds) in self.thresholds.chunks_exact_mut(self.groups).enumerate() {
            let thresholds = thresholds.as_flattened_mut();
            thresholds.fill(f32::INFINITY);
            if user < users {
                thresholds[..self.variants].fill(f32::NEG_INFINITY);
            }
        }
    }

    /// Cuts every list to the best K, in descending order.
    pub(super) fn finish(&mut self) {
        for list in 0..self.users * self.variants {
            let buffer = &mut self.candidates[list * self.capacity..][..self.lengths[list]];
            if buffer.len() > self.k {
                buffer.select_nth_unstable_by(self.k - 1, |a, b| b.cmp(a));
                self.lengths[list] = self.k;
            }
            buffer[..self.lengths[list]].sort_unstable_by(|a, b| b.cmp(a));
        }
    }

    pub(super) fn list(&self, user: usize, variant: usize) -> &[Candidate] {
        let list = user * self.variants + variant;
        &self.candidates[list * self.capacity..][..self.lengths[list]]
    }

    /// Cuts a full buffer to the best K, which sets the threshold from then on.
    fn cut(&mut self, user: usize, variant: usize) {
        let list = user * self.variants + variant;
        let buffer = &mut self.candidates[list * self.capacity..][..self.capacity];
        let (_, &mut floor, _) = buffer.select_nth_unstable_by(self.k - 1, |a, b| b.cmp(a));
        self.lengths[list] = self.k;
        self.floors[list] = floor;
        self.thresholds[user * self.groups + variant / GROUP][variant % GROUP] = floor.score();
    }
}

/// The selections of one tile of users.
pub(super) struct Selection<'a> {
    pub(super) selections: &'a mut Selections,
    /// Position in the block of the tile's first user.
    pub(super) first: usize,
    /// The users of the tile.
    pub(super) users: &'a [u32],
    /// Items never to be listed, by user.
    pub(super) seen: &'a [Csr<'a>],
}

impl Selection<'_> {
    /// What a score must reach to enter the lists of a group of rankings of the tile's user `row`.
    #[inline(always)]
    pub(super) fn thresholds(&self, row: usize, group: usize) -> &[f32; GROUP] {
        &self.selections.thresholds[(self.first + row) * self.selections.groups + group]
    }

    /// Takes the items of a panel with scores `x - offsets` that reach the threshold and are not seen.
    #[inline(always)]
    pub(super) fn offer(
        &mut self,
        row: usize,
        variant: usize,
        x: &[f32; LANES],
        offsets: &[f32; LANES],
        ids: &[u32; LANES],
    ) {
        let (user, group) = (self.first + row, variant / GROUP);
        let list = user * self.selections.variants + variant;
        for lane in 0..LANES {
            let score = x[lane] - offsets[lane];
            if score < self.thresholds(row, group)[variant % GROUP] || ids[lane] == NO_ITEM {
                continue;
            }
            let candidate = Candidate::new(ids[lane], score);
            if candidate <= self.selections.floors[list]
                || self.seen.iter().any(|csr| csr.row(self.users[row]).binary_search(&ids[lane]).is_ok())
            {
                continue;
            }
            let s = &mut *self.selections;
            s.candidates[list * s.capacity + s.lengths[list]] = candidate;
            s.lengths[list] += 1;
            if s.lengths[list] == s.capacity && s.capacity > s.k {
                s.cut(user, variant);
            }
        }
    }
}
