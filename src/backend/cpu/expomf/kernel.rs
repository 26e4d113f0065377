//! The matrix product of ExpoMF: tiles of [`DEPTH`] terms, panels of [`COLUMNS`] columns, sums in registers.
//!
//! A sum is made of runs of up to [`DEPTH`] products, each from its first to its last by fused multiply-add, and the
//! runs are added in their order. This depends on no thread and on no shape of registers: the same bits everywhere.

use crate::simd::{LANES, Line, vectorised};

/// Terms of a tile: a panel and the weights of the rows at work fit into the first cache.
pub const DEPTH: usize = 128;
/// Columns of a panel.
pub const COLUMNS: usize = 2 * LANES;
/// Rows of a block are a multiple of this.
pub const ROWS: usize = 12;

/// Lines of a tile's row.
pub const DEPTH_LINES: usize = DEPTH / LANES;
/// Lines of a panel's row.
pub const COLUMN_LINES: usize = COLUMNS / LANES;

/// One row's weights, [`DEPTH`] numbers.
pub type Weights = [Line; DEPTH_LINES];
/// One row of a panel, [`COLUMNS`] numbers.
pub type Columns = [Line; COLUMN_LINES];

/// `out[r, column..] += sum over k of weights[r][k] panel[k]` for all rows r, a multiple of [`ROWS`]; `out` has rows of
/// `stride` lines, and `column` is a line.
pub fn multiply(weights: &[Weights], panel: &[Columns], out: &mut [Line], stride: usize, column: usize) {
    if crate::simd::wide() {
        wide(weights, panel, out, stride, column);
    } else {
        narrow(weights, panel, out, stride, column);
    }
}

vectorised! {
    /// 24 sums in registers of 16 lanes.
    fn wide(weights: &[Weights], panel: &[Columns], out: &mut [Line], stride: usize, column: usize) {
        tiles::<12>(weights, panel, out, stride, column);
    }
}

vectorised! {
    /// 12 sums in registers of 8 lanes.
    fn narrow(weights: &[Weights], panel: &[Columns], out: &mut [Line], stride: usize, column: usize) {
        tiles::<3>(weights, panel, out, stride, column);
    }
}

#[inline(always)]
fn tiles<const R: usize>(
    weights: &[Weights],
    panel: &[Columns],
    out: &mut [Line],
    stride: usize,
    column: usize,
) {
    for (weights, out) in weights.as_chunks::<R>().0.iter().zip(out.chunks_exact_mut(R * stride)) {
        let weights: [&[f32; DEPTH]; R] = std::array::from_fn(|row| bytemuck::cast_ref(&weights[row]));
        let mut sum = [[[0f32; LANES]; COLUMN_LINES]; R];
        for (k, panel) in panel.iter().take(DEPTH).enumerate() {
            for row in 0..R {
                let weight = weights[row][k];
                for line in 0..COLUMN_LINES {
                    for lane in 0..LANES {
                        sum[row][line][lane] = weight.mul_add(panel[line].0[lane], sum[row][line][lane]);
                    }
                }
            }
        }
        // By index, not over `sum`: what is borrowed would be kept in memory.
        for row in 0..R {
            let out = &mut out[row * stride + column..][..COLUMN_LINES];
            for line in 0..COLUMN_LINES {
                for lane in 0..LANES {
                    out[line].0[lane] += sum[row][line][lane];
                }
            }
        }
    }
}
