//! The best K of what is offered, for many users and rankings.

use super::kernel::GROUP;

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
    /// `[users, V / GROUP]`: see [`Lists::thresholds`].
    thresholds: Vec<[f32; GROUP]>,
    /// `[users, V]`.
    lists: Vec<List>,
    /// `[users, V, capacity]`.
    candidates: Vec<Candidate>,
    /// Room for the bounds of [`Lists::raise_thresholds`].
    bounds: Vec<f32>,
}

/// One list in the making.
#[derive(Debug, Clone, Copy)]
struct List {
    length: usize,
    /// The candidate that was K-th at the last cut; what is not better is not taken.
    floor: Candidate,
}

impl List {
    const EMPTY: List = List { length: 0, floor: Candidate(0) };
}

impl Selections {
    /// Candidates kept at most for a list of `k`: a cut costs time in proportion to this and is rarer by as much.
    pub(super) fn capacity(k: usize, items: usize) -> usize {
        (2 * k).min(items)
    }

    pub(super) fn new(users: usize, variants: usize, k: usize, items: usize) -> Self {
        let (groups, capacity) = (variants.div_ceil(GROUP), Self::capacity(k, items));
        Selections {
            k,
            variants,
            groups,
            capacity,
            thresholds: vec![[f32::INFINITY; GROUP]; users * groups],
            lists: vec![List::EMPTY; users * variants],
            candidates: vec![Candidate(0); users * variants * capacity],
            bounds: Vec::new(),
        }
    }

    /// Empties all lists.
    pub(super) fn clear(&mut self) {
        self.lists.fill(List::EMPTY);
        for thresholds in self.thresholds.chunks_exact_mut(self.groups) {
            // Every score reaches this, except that of a seen item or of no item: minus infinity.
            thresholds.as_flattened_mut()[..self.variants].fill(f32::MIN);
        }
    }

    /// The lists of the block's user `row`, to be added to.
    pub(super) fn of_user(&mut self, row: usize) -> Lists<'_> {
        let (lists, width) = (row * self.variants, self.variants * self.capacity);
        Lists {
            k: self.k,
            capacity: self.capacity,
            thresholds: &mut self.thresholds[row * self.groups..][..self.groups],
            lists: &mut self.lists[lists..][..self.variants],
            candidates: &mut self.candidates[row * width..][..width],
            bounds: &mut self.bounds,
        }
    }

    /// Cuts the lists of the first `users` users to the best K, in descending order.
    pub(super) fn finish(&mut self, users: usize) {
        let buffers = self.candidates.chunks_exact_mut(self.capacity);
        for (list, buffer) in self.lists.iter_mut().zip(buffers).take(users * self.variants) {
            let mut taken = &mut buffer[..list.length];
            if list.length > self.k {
                taken.select_nth_unstable_by(self.k - 1, |a, b| b.cmp(a));
                list.length = self.k;
                taken = &mut taken[..self.k];
            }
            taken.sort_unstable_by(|a, b| b.cmp(a));
        }
    }

    pub(super) fn list(&self, row: usize, variant: usize) -> &[Candidate] {
        let list = row * self.variants + variant;
        &self.candidates[list * self.capacity..][..self.lists[list].length]
    }
}

/// The lists of one user, by ranking.
pub(super) struct Lists<'a> {
    k: usize,
    capacity: usize,
    /// `[V / GROUP]`: what a score must reach to be taken into a list; infinite where there is no ranking.
    pub(super) thresholds: &'a mut [[f32; GROUP]],
    lists: &'a mut [List],
    candidates: &'a mut [Candidate],
    bounds: &'a mut Vec<f32>,
}

impl Lists<'_> {
    /// Sets thresholds before anything is taken: the best items of K panels score at least the K-th highest of
    /// `highest - most`, so the K-th best score overall is not below it.
    #[inline(always)]
    pub(super) fn raise_thresholds(&mut self, highest: &[f32], most: impl Fn(usize, usize) -> f32) {
        if highest.len() < self.k {
            return;
        }
        for variant in 0..self.lists.len() {
            self.bounds.clear();
            self.bounds.extend(highest.iter().enumerate().map(|(panel, x)| x - most(panel, variant)));
            let (_, &mut bound, _) = self.bounds.select_nth_unstable_by(self.k - 1, |a, b| b.total_cmp(a));
            let threshold = &mut self.thresholds[variant / GROUP][variant % GROUP];
            *threshold = threshold.max(bound);
        }
    }

    /// Takes an item, of which the score reaches the threshold.
    #[inline(always)]
    pub(super) fn push(&mut self, variant: usize, item: u32, score: f32) {
        let candidate = Candidate::new(item, score);
        let list = &mut self.lists[variant];
        if candidate <= list.floor {
            return;
        }
        let buffer = &mut self.candidates[variant * self.capacity..][..self.capacity];
        buffer[list.length] = candidate;
        list.length += 1;
        if list.length == self.capacity && self.capacity > self.k {
            list.floor = cut(buffer, self.k);
            list.length = self.k;
            self.thresholds[variant / GROUP][variant % GROUP] = list.floor.score();
        }
    }
}

/// Moves the best `k` to the front and returns the least of them.
#[inline(never)]
fn cut(buffer: &mut [Candidate], k: usize) -> Candidate {
    *buffer.select_nth_unstable_by(k - 1, |a, b| b.cmp(a)).1
}
