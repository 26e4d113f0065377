//! What the machine can do, for measurements of other operations to be compared with: a copy, and rows fetched by
//! number.

use rayon::prelude::*;

/// Columns of a row: 256 bytes.
pub const COLUMNS: usize = 64;
/// Rows that are summed.
pub const ROWS: usize = 32;
/// Elements that a thread copies at once.
const PIECE: usize = 1 << 16;

/// Copies on all threads.
///
/// # Panics
/// If lengths differ.
pub fn copy(from: &[f32], to: &mut [f32]) {
    assert_eq!(from.len(), to.len());
    to.par_chunks_mut(PIECE).zip(from.par_chunks(PIECE)).for_each(|(to, from)| to.copy_from_slice(from));
}

/// The sums of 32 rows each, in the order of their numbers, on all threads: `table` is `[rows, 64]`, `ids`
/// `[groups, 32]` and `sums` `[groups, 64]`.
///
/// # Panics
/// If lengths do not agree, or an id is not that of a row.
pub fn gather(table: &[f32], ids: &[u32], sums: &mut [f32]) {
    assert!(ids.len().is_multiple_of(ROWS) && sums.len() == ids.len() / ROWS * COLUMNS, "other lengths");
    let groups = sums.par_chunks_exact_mut(COLUMNS).zip(ids.par_chunks_exact(ROWS));
    groups.with_min_len(64).for_each(|(sum, ids)| {
        let mut total = [0f32; COLUMNS];
        for &id in ids {
            let row = &table[id as usize * COLUMNS..][..COLUMNS];
            total.iter_mut().zip(row).for_each(|(total, x)| *total += x);
        }
        sum.copy_from_slice(&total);
    });
}
