//! The arithmetic: scores of a tile of users, and the search for those that may enter a list.
//!
//! Everything is written as loops of fixed width and compiled for any processor, for AVX2 with FMA and for
//! AVX-512. A fused multiply-add rounds once everywhere, so all give the same bits.

use std::ops::Range;

use super::{
    line::Node,
    pool::{Entry, count_better},
    table::Table,
};
use crate::simd::vectorised;

/// Users in a tile: 6 x 16 accumulators, two item vectors and a broadcast fill the 16 registers of AVX2.
pub(super) const ROWS: usize = 6;
/// Items in a panel, and panels that are compared at once.
pub(in crate::backend) const LANES: usize = 16;

/// Panels that are scored at once at most: the scores of a tile of users stay in the first-level cache.
pub(super) const PANELS: usize = 64;

/// One value for each item of a panel.
#[derive(Debug, Clone, Copy)]
#[repr(align(64))]
pub(super) struct Lanes(pub(super) [f32; LANES]);

impl Lanes {
    pub(super) const ZERO: Lanes = Lanes([0.0; LANES]);
}

vectorised! {
    /// `x[ROWS, panels]`: the scores of `users` `[D, ROWS]` for the items of `panels`, before offsets; and the
    /// `highest[ROWS, panels]` of each panel. Rows of `x` and `highest` lie `stride` apart.
    pub(super) fn score(
        table: &Table,
        panels: Range<usize>,
        users: &[[f32; ROWS]],
        stride: usize,
        x: &mut [Lanes],
        highest: &mut [f32],
    ) {
        score_loops(table, panels, users, stride, x, highest);
    }
}

vectorised! {
    /// Appends the items of `panels` of which the score `x` reaches the threshold of some ranking of `nodes`.
    ///
    /// `panels` begins at a multiple of [`LANES`]; `highest` has room for whole multiples.
    pub(super) fn scan(
        table: &Table,
        nodes: &[Node],
        thresholds: &[f32],
        panels: Range<usize>,
        x: &[Lanes],
        highest: &[f32],
        places: &mut Places,
        entries: &mut Vec<Entry>,
    ) {
        let mut count = 0;
        for start in (0..panels.len()).step_by(LANES) {
            let highest = highest[start..].first_chunk().unwrap_or(&[f32::NEG_INFINITY; LANES]);
            let mut reached = [0; LANES];
            for (node, &threshold) in nodes.iter().zip(thresholds) {
                // Rounding is monotone, so `highest - least` bounds every rounded `x - o` of a panel from above.
                reach(&mut reached, highest, table.least(node.variant, panels.start + start), threshold);
            }
            count = append(&mut places.panels, count, start, bits(&reached));
        }
        let mut found = 0;
        for &place in &places.panels[..count] {
            let (x, items) = (&x[place as usize].0, table.items(panels.start + place as usize));
            let mut reached = [0; LANES];
            for (node, &threshold) in nodes.iter().zip(thresholds) {
                reach(&mut reached, x, &items.offsets(node.ranking), threshold);
            }
            found = append(&mut places.items, found, place as usize * LANES, bits(&reached));
        }
        entries.extend(places.items[..found].iter().map(|&item| {
            let (place, lane) = (item as usize / LANES, item as usize % LANES);
            Entry { position: (panels.start * LANES) as u32 + item, x: x[place].0[lane] }
        }));
    }
}

/// Room for the places that [`scan`] looks at.
#[derive(Debug)]
pub(super) struct Places {
    panels: [u32; PANELS + LANES],
    items: [u32; (PANELS + 1) * LANES],
}

impl Places {
    pub(super) const EMPTY: Places = Places { panels: [0; PANELS + LANES], items: [0; (PANELS + 1) * LANES] };
}

vectorised! {
    /// A lower bound of the k-th highest score under some ranking, and a score that the same k items reach under each
    /// of `others`. Given are the highest scores of up to [`PANELS`] panels before offsets, and the `most` that is
    /// subtracted in each panel: the items with the highest scores, of the k panels in which `highest - most` is
    /// highest, reach the least of `highest - most`.
    pub(super) fn bound(highest: &[f32], most: &[f32], k: usize, others: [&[f32]; 2]) -> [f32; 3] {
        if highest.len() < k {
            return [f32::MIN; 3];
        }
        let mut bounds = [[f32::NEG_INFINITY; PANELS]; 3];
        for (bounds, most) in bounds.iter_mut().zip([most, others[0], others[1]]) {
            for ((bound, highest), most) in bounds.iter_mut().zip(highest).zip(most) {
                *bound = highest - most;
            }
        }
        let mut lowest = [[f32::INFINITY; 2 * LANES]; 3];
        for (place, own) in bounds[0].as_chunks::<{ 2 * LANES }>().0.iter().enumerate() {
            let better = count_better(own, &bounds[0][..highest.len()]);
            for (lowest, bounds) in lowest.iter_mut().zip(&bounds) {
                let bounds = &bounds.as_chunks::<{ 2 * LANES }>().0[place];
                for lane in 0..2 * LANES {
                    // The k highest, and all that equal the last of them.
                    let lower = better[lane] < k as u32 && bounds[lane] < lowest[lane];
                    lowest[lane] = if lower { bounds[lane] } else { lowest[lane] };
                }
            }
        }
        lowest.map(|lowest| lowest.into_iter().fold(f32::INFINITY, |a, b| if a < b { a } else { b }).max(f32::MIN))
    }
}

#[inline(always)]
fn score_loops(
    table: &Table,
    panels: Range<usize>,
    users: &[[f32; ROWS]],
    stride: usize,
    x: &mut [Lanes],
    highest: &mut [f32],
) {
    assert!(panels.len() <= stride && x.len() == ROWS * stride && highest.len() == ROWS * stride);
    for (place, panel) in panels.enumerate() {
        let scores = tile(users, table.embedding(panel));
        for row in 0..ROWS {
            x[row * stride + place] = Lanes(scores[row]);
            highest[row * stride + place] = maximum(&scores[row]);
        }
    }
}

/// `[ROWS, LANES]`: each score is a chain of fused multiply-adds in the order of the components.
#[inline(always)]
fn tile(users: &[[f32; ROWS]], items: &[Lanes]) -> [[f32; LANES]; ROWS] {
    let mut scores = [[0.0f32; LANES]; ROWS];
    for (user, item) in users.iter().zip(items) {
        for (scores, p) in scores.iter_mut().zip(user) {
            for (score, q) in scores.iter_mut().zip(item.0) {
                *score = p.mul_add(q, *score);
            }
        }
    }
    scores
}

#[inline(always)]
pub(super) fn maximum(x: &[f32; LANES]) -> f32 {
    // `f32::max` would also order NaNs, which do not occur, at three instructions instead of one.
    let larger = |a: f32, b: f32| if a > b { a } else { b };
    let mut m = *x;
    let mut width = LANES / 2;
    while width > 0 {
        for lane in 0..width {
            m[lane] = larger(m[lane], m[lane + width]);
        }
        width /= 2;
    }
    m[0]
}

/// Sets the lanes to all ones in which `x - offset` reaches the threshold.
#[inline(always)]
fn reach(reached: &mut [u32; LANES], x: &[f32; LANES], offsets: &[f32; LANES], threshold: f32) {
    for lane in 0..LANES {
        reached[lane] |= u32::from(x[lane] - offsets[lane] >= threshold).wrapping_neg();
    }
}

/// Bit k is set where lane k is all ones.
#[inline(always)]
pub(super) fn bits(lanes: &[u32; LANES]) -> u32 {
    #[cfg(target_arch = "x86_64")]
    {
        use std::arch::x86_64::{__m128i, _mm_movemask_epi8, _mm_packs_epi16, _mm_packs_epi32};
        let [a, b, c, d]: [__m128i; 4] = bytemuck::cast(*lanes);
        // SAFETY: every processor of this architecture has SSE2.
        unsafe {
            let (low, high) = (_mm_packs_epi32(a, b), _mm_packs_epi32(c, d));
            _mm_movemask_epi8(_mm_packs_epi16(low, high)) as u32
        }
    }
    #[cfg(not(target_arch = "x86_64"))]
    lanes.iter().enumerate().fold(0, |bits, (lane, &all)| bits | all & (1 << lane))
}

/// Writes `first` plus the place of each bit to `list`, after its first `count` entries; returns how many there then
/// are. Always writes 16 entries, of which the superfluous will be overwritten: no branch depends on the bits.
#[inline(always)]
pub(super) fn append(list: &mut [u32], mut count: usize, first: usize, bits: u32) -> usize {
    for (half, bits) in [(0, bits as u8), (8, (bits >> 8) as u8)] {
        let list = &mut list[count..count + 8];
        for k in 0..8 {
            list[k] = (first + half) as u32 + u32::from(PLACES[usize::from(bits)][k]);
        }
        count += usize::from(COUNTS[usize::from(bits)]);
    }
    count
}

/// How many bits are set in the index.
static COUNTS: [u8; 256] = {
    let mut counts = [0; 256];
    let mut bits = 0;
    while bits < 256 {
        counts[bits] = bits.count_ones() as u8;
        bits += 1;
    }
    counts
};

/// The places of the bits that are set in the index, ascending.
static PLACES: [[u8; 8]; 256] = {
    let mut table = [[0; 8]; 256];
    let mut bits = 0;
    while bits < 256 {
        let (mut place, mut count) = (0, 0);
        while place < 8 {
            if bits >> place & 1 == 1 {
                table[bits][count] = place;
                count += 1;
            }
            place += 1;
        }
        bits += 1;
    }
    table
};

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Ranking, Tables};

    #[test]
    fn every_processor_gives_the_same_bits() {
        let dim = 37;
        let values: Vec<f32> =
            (0..40 * dim).map(|k| ((k * 7919 % 1013) as f32 / 513.0 - 1.0).sin()).collect();
        let tables = Tables::new(dim, &values, &values, None, &[0; 40]).unwrap();
        let table = Table::new(&tables, &[Ranking::default()]).unwrap();
        let users: Vec<[f32; ROWS]> =
            (0..dim).map(|k| std::array::from_fn(|row| values[row * dim + k])).collect();
        let (mut x, mut highest) =
            ([vec![Lanes::ZERO; 3 * ROWS], vec![Lanes::ZERO; 3 * ROWS]], [[0.0; 3 * ROWS]; 2]);
        score(&table, 0..3, &users, 3, &mut x[0], &mut highest[0]);
        score_loops(&table, 0..3, &users, 3, &mut x[1], &mut highest[1]);
        let bits = |x: &[Lanes]| x.iter().flat_map(|lanes| lanes.0.map(f32::to_bits)).collect::<Vec<u32>>();
        assert_eq!(bits(&x[0]), bits(&x[1]));
        assert_eq!(highest[0].map(f32::to_bits), highest[1].map(f32::to_bits));
    }
}
