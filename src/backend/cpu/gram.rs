//! The item-item product of a two-layer propagation, dense, for small catalogues.
//!
//! With R^ = D_u^-1/2 R D_i^-1/2 and G = R^T R (both normalised), two halves of the propagation become one product
//! with a matrix of I x I. It is kept as `G D_i^1/2`, to be applied to scaled rows.

use super::team::Team;
use crate::{
    data::graph::Graph,
    simd::{LANES, vectorised},
    storage::{Element, Stored, for_stored},
};

/// Rows that are multiplied together: their sums fill the registers.
const ROWS: usize = 6;

/// `[I, I]`: element (i, j) is `s_i sum over users u of both of s_u^2`.
pub fn product(team: &Team, graph: &Graph<'_>) -> Vec<f32> {
    let items = graph.item_scale.len();
    let mut product = vec![0f32; items * items];
    let mut rows: Vec<(u32, &mut [f32])> = (0..).zip(product.chunks_exact_mut(items)).collect();
    team.for_each(&mut rows, |(item, row)| {
        let mut sums = vec![0f64; items];
        for &user in graph.by_item.row(*item) {
            let scale = f64::from(graph.user_scale[user as usize]);
            for &other in graph.by_user.row(user) {
                sums[other as usize] += scale * scale;
            }
        }
        let scale = f64::from(graph.item_scale[*item as usize]);
        row.iter_mut().zip(&sums).for_each(|(out, sum)| *out = (scale * sum) as f32);
    });
    product
}

/// `mean (base_i + G_i . x)` for the rows i in `ids` (all if `None`), `[n, stride]`; `base` is `[I, stride]`, and `x`
/// too, scaled.
#[allow(clippy::too_many_arguments)]
pub fn multiply(
    team: &Team,
    g: &[f32],
    x: Stored<'_>,
    stride: usize,
    ids: Option<&[u32]>,
    base: &[f32],
    mean: f32,
    out: &mut [f32],
) {
    let items = base.len() / stride;
    let mut tasks: Vec<_> = out.chunks_mut(ROWS * stride).zip((0..).step_by(ROWS)).collect();
    team.for_each(&mut tasks, |(out, first)| {
        let rows = out.len() / stride;
        let mut chosen = [0; ROWS];
        for (k, chosen) in chosen.iter_mut().enumerate() {
            // Rows beyond the last repeat it, and are not written.
            let position = *first + k.min(rows - 1);
            *chosen = ids.map_or(position, |ids| ids[position] as usize);
        }
        let chosen_g = chosen.map(|row| &g[row * items..][..items]);
        for_stored!(Stored, x, |x| tile(chosen_g, x, stride, out));
        for (out, row) in out.chunks_exact_mut(stride).zip(chosen) {
            for (out, &base) in out.iter_mut().zip(&base[row * stride..][..stride]) {
                *out = mean * (*out + base);
            }
        }
    });
}

vectorised! {
    fn tile<T: Element>(g: [&[f32]; ROWS], x: &[T], stride: usize, out: &mut [f32]) {
        const WIDE: usize = 2 * LANES;
        let wide = stride / WIDE * WIDE;
        for column in (0..wide).step_by(WIDE) {
            tile_columns::<WIDE, T>(g, x, stride, column, out);
        }
        for column in (wide..stride).step_by(LANES) {
            tile_columns::<LANES, T>(g, x, stride, column, out);
        }
    }
}

#[inline(always)]
fn tile_columns<const N: usize, T: Element>(
    g: [&[f32]; ROWS],
    x: &[T],
    stride: usize,
    column: usize,
    out: &mut [f32],
) {
    let mut sum = [[0f32; N]; ROWS];
    for (k, x) in x.chunks_exact(stride).enumerate() {
        let x = T::load::<N>(&x[column..]);
        for row in 0..ROWS {
            let weight = g[row][k];
            for lane in 0..N {
                sum[row][lane] = weight.mul_add(x[lane], sum[row][lane]);
            }
        }
    }
    for (out, sum) in out.chunks_exact_mut(stride).zip(&sum) {
        out[column..column + N].copy_from_slice(sum);
    }
}
