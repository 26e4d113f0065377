//! The arithmetic: tiles of scores in registers, and the comparison that lets most of them go.
//!
//! Everything is written as loops of fixed width and compiled twice, for any processor and for AVX2 with FMA. A
//! fused multiply-add rounds once everywhere, so both give the same bits.

use std::ops::Range;

use super::{select::Selection, table::Table};

/// Users in a tile: 6 x 16 accumulators, two item vectors and a broadcast fill the 16 registers of AVX2.
pub(super) const ROWS: usize = 6;
/// Items in a tile.
pub(super) const LANES: usize = 16;
/// Rankings that are compared at once.
pub(super) const GROUP: usize = 8;

/// One value for each item of a panel.
#[derive(Debug, Clone, Copy, Default)]
#[repr(align(64))]
pub(super) struct Lanes(pub(super) [f32; LANES]);

/// Scores a tile of users against `panels` and offers what may enter a list to `selection`.
pub(super) fn scan(
    table: &Table,
    panels: Range<usize>,
    users: &[[f32; ROWS]],
    selection: &mut Selection<'_>,
) {
    #[cfg(target_arch = "x86_64")]
    if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") {
        // SAFETY: the features that the function is compiled for were just detected.
        unsafe { scan_avx2(table, panels, users, selection) };
        return;
    }
    scan_loops(table, panels, users, selection);
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma")]
fn scan_avx2(table: &Table, panels: Range<usize>, users: &[[f32; ROWS]], selection: &mut Selection<'_>) {
    scan_loops(table, panels, users, selection);
}

#[inline(always)]
fn scan_loops(table: &Table, panels: Range<usize>, users: &[[f32; ROWS]], selection: &mut Selection<'_>) {
    for panel in panels {
        let scores = tile(users, table.embedding(panel));
        for (row, x) in scores.iter().enumerate() {
            let highest = maximum(x);
            for (group, least) in table.least(panel).iter().enumerate() {
                if may_enter(highest, least, selection.thresholds(row, group)) {
                    offer(table, panel, x, row, group, highest, selection);
                }
            }
        }
    }
}

/// `[ROWS, LANES]`: each score is a chain of fused multiply-adds in the order of the components.
#[inline(always)]
fn tile(users: &[[f32; ROWS]], items: &[Lanes]) -> [[f32; LANES]; ROWS] {
    let mut scores = [[0.0f32; LANES]; ROWS];
    for (user, item) in users.iter().zip(items) {
        for row in 0..ROWS {
            for lane in 0..LANES {
                scores[row][lane] = user[row].mul_add(item.0[lane], scores[row][lane]);
            }
        }
    }
    scores
}

#[inline(always)]
fn maximum(x: &[f32; LANES]) -> f32 {
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

/// Whether some score of a tile row could reach a list of some ranking of a group. Rounding is monotone, so
/// `highest - least` bounds every rounded `x - o` from above.
#[inline(always)]
fn may_enter(highest: f32, least: &[f32; GROUP], thresholds: &[f32; GROUP]) -> bool {
    let mut any = false;
    for k in 0..GROUP {
        any |= highest - least[k] >= thresholds[k];
    }
    any
}

/// Looks at the items of a tile row one by one, for each ranking of the group that they may enter.
#[inline(never)]
fn offer(
    table: &Table,
    panel: usize,
    x: &[f32; LANES],
    row: usize,
    group: usize,
    highest: f32,
    selection: &mut Selection<'_>,
) {
    for k in 0..GROUP {
        let bound = highest - table.least(panel)[group][k];
        if bound >= selection.thresholds(row, group)[k] {
            let variant = group * GROUP + k;
            selection.offer(row, variant, x, &table.offsets(panel, variant).0, table.ids(panel));
        }
    }
}
