//! What the machine can do, for measurements of other operations to be compared with: a copy, rows fetched by number, and
//! multiply-adds.

use rayon::prelude::*;

use crate::simd::{self, LANES, vectorised};

/// Columns of a row: 256 bytes.
pub const COLUMNS: usize = 64;
/// Rows that are summed.
pub const ROWS: usize = 32;
/// Elements that a thread copies at once.
const PIECE: usize = 1 << 16;

/// Independent sums of a thread that multiplies and adds: enough to hide the latency, few enough for the registers.
const SUMS: [usize; 2] = [12, 6];

/// `times` fused multiply-adds on each lane of each sum of each thread, and how many these are: what no arithmetic
/// can exceed. The result says nothing.
pub fn multiply_add(times: u64) -> (f32, u64) {
    let threads = rayon::current_num_threads();
    let sums = SUMS[usize::from(!simd::wide())];
    let work = |thread: usize| {
        let factor = 1.0 - 1e-7 * thread as f32;
        if simd::wide() { wide(times, factor) } else { narrow(times, factor) }
    };
    ((0..threads).into_par_iter().map(work).sum(), times * (threads * sums * LANES) as u64)
}

vectorised! {
    fn wide(times: u64, factor: f32) -> f32 {
        sums::<{ SUMS[0] }>(times, factor)
    }
}

vectorised! {
    fn narrow(times: u64, factor: f32) -> f32 {
        sums::<{ SUMS[1] }>(times, factor)
    }
}

#[inline(always)]
fn sums<const N: usize>(times: u64, factor: f32) -> f32 {
    let mut sum: [[f32; LANES]; N] = std::array::from_fn(|n| [n as f32; LANES]);
    for _ in 0..times {
        for n in 0..N {
            for lane in 0..LANES {
                sum[n][lane] = sum[n][lane].mul_add(factor, factor);
            }
        }
    }
    sum.as_flattened().iter().sum()
}

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
