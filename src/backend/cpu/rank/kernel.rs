//! The arithmetic: scores of a tile of users, and the search for those that enter a list.
//!
//! Everything is written as loops of fixed width and compiled twice, for any processor and for AVX2 with FMA. A
//! fused multiply-add rounds once everywhere, so both give the same bits.

use std::ops::Range;

use super::{select::Lists, table::Table};

/// Users in a tile: 6 x 16 accumulators, two item vectors and a broadcast fill the 16 registers of AVX2.
pub(super) const ROWS: usize = 6;
/// Items in a panel.
pub(super) const LANES: usize = 16;
/// Rankings that are compared at once.
pub(super) const GROUP: usize = 8;

/// One value for each item of a panel.
#[derive(Debug, Clone, Copy)]
#[repr(align(64))]
pub(super) struct Lanes(pub(super) [f32; LANES]);

impl Lanes {
    pub(super) const ZERO: Lanes = Lanes([0.0; LANES]);
}

/// Compiles a function for this processor's features and for any processor, and calls the right one.
macro_rules! dispatch {
    ($(#[$doc:meta])* $name:ident = $loops:ident($($argument:ident: $type:ty),* $(,)?)) => {
        $(#[$doc])*
        pub(super) fn $name($($argument: $type),*) {
            #[cfg(target_arch = "x86_64")]
            {
                #[target_feature(enable = "avx2,fma")]
                fn avx2($($argument: $type),*) {
                    $loops($($argument),*);
                }
                if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") {
                    // SAFETY: the features that the function is compiled for were just detected.
                    return unsafe { avx2($($argument),*) };
                }
            }
            $loops($($argument),*);
        }
    };
}

dispatch! {
    /// `x[ROWS, panels]`: the scores of `users` `[D, ROWS]` for the items of `panels`, before offsets; and the
    /// `highest[ROWS, panels]` of each panel.
    score = score_loops(
        table: &Table,
        panels: Range<usize>,
        users: &[[f32; ROWS]],
        x: &mut [Lanes],
        highest: &mut [f32],
    )
}

dispatch! {
    /// Takes one user's scores `x` for the items of `panels` into the user's `lists`, where they are high enough.
    select = select_loops(
        table: &Table,
        panels: Range<usize>,
        x: &[Lanes],
        highest: &[f32],
        lists: &mut Lists<'_>,
    )
}

#[inline(always)]
fn score_loops(
    table: &Table,
    panels: Range<usize>,
    users: &[[f32; ROWS]],
    x: &mut [Lanes],
    highest: &mut [f32],
) {
    let width = panels.len();
    assert!(x.len() == ROWS * width && highest.len() == ROWS * width);
    for (place, panel) in panels.enumerate() {
        let scores = tile(users, table.embedding(panel));
        for row in 0..ROWS {
            x[row * width + place] = Lanes(scores[row]);
            highest[row * width + place] = maximum(&scores[row]);
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
fn select_loops(table: &Table, panels: Range<usize>, x: &[Lanes], highest: &[f32], lists: &mut Lists<'_>) {
    if panels.start == 0 {
        lists.raise_thresholds(highest, |panel, variant| table.most(panel, variant));
    }
    for group in 0..table.groups() {
        let mut thresholds = lists.thresholds[group];
        let bounds = table.least(group, &panels).iter().zip(highest);
        for (place, (least, &highest)) in bounds.enumerate() {
            if !may_enter(highest, least, &thresholds) {
                continue;
            }
            let panel = panels.start + place;
            let bounds = least.map(|least| highest - least);
            for k in set_bits(reaching(&bounds, &thresholds)) {
                let variant = group * GROUP + k;
                let offsets = table.offsets(panel, variant);
                enter(&x[place].0, &offsets.0, table.ids(panel), variant, thresholds[k], lists);
            }
            thresholds = lists.thresholds[group];
        }
    }
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

/// Whether some score of a panel could reach a list of some ranking of a group. Rounding is monotone, so
/// `highest - least` bounds every rounded `x - o` from above.
#[inline(always)]
fn may_enter(highest: f32, least: &[f32; GROUP], thresholds: &[f32; GROUP]) -> bool {
    let mut any = false;
    for k in 0..GROUP {
        any |= highest - least[k] >= thresholds[k];
    }
    any
}

/// Takes the items of a panel whose scores reach the threshold into the list of a ranking.
#[inline(always)]
fn enter(
    x: &[f32; LANES],
    offsets: &[f32; LANES],
    ids: &[u32; LANES],
    variant: usize,
    threshold: f32,
    lists: &mut Lists<'_>,
) {
    let mut scores = [0.0; LANES];
    for lane in 0..LANES {
        scores[lane] = x[lane] - offsets[lane];
    }
    for lane in set_bits(reaching(&scores, &[threshold; LANES])) {
        lists.push(variant, ids[lane], scores[lane]);
    }
}

/// Bit k is set where `values[k] >= thresholds[k]`.
#[inline(always)]
fn reaching<const N: usize>(values: &[f32; N], thresholds: &[f32; N]) -> u32 {
    let mut bits = [0u32; N];
    for k in 0..N {
        bits[k] = u32::from(values[k] >= thresholds[k]).wrapping_neg() & (1 << k);
    }
    bits.iter().fold(0, |all, bit| all | bit)
}

/// The places of the bits that are set, ascending.
#[inline(always)]
fn set_bits(mut bits: u32) -> impl Iterator<Item = usize> {
    std::iter::from_fn(move || {
        let place = bits.trailing_zeros() as usize;
        (bits != 0).then(|| {
            bits &= bits - 1;
            place
        })
    })
}

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
        score(&table, 0..3, &users, &mut x[0], &mut highest[0]);
        score_loops(&table, 0..3, &users, &mut x[1], &mut highest[1]);
        let bits = |x: &[Lanes]| x.iter().flat_map(|lanes| lanes.0.map(f32::to_bits)).collect::<Vec<u32>>();
        assert_eq!(bits(&x[0]), bits(&x[1]));
        assert_eq!(highest[0].map(f32::to_bits), highest[1].map(f32::to_bits));
    }
}
