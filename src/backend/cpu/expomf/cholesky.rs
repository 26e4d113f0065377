//! Symmetric systems, sixteen at a time: a lane is a system, so every operation is one on whole vectors, and what a
//! system comes to does not depend on its neighbours.

use bytemuck::cast_slice_mut;

use crate::simd::{LANES, Line, vectorised};

/// One number of each system.
pub type Lanes = [f32; LANES];
/// Rows of a factor that are made together.
const ROWS: usize = 4;
/// Columns that are made together.
const COLUMNS: usize = 2;
/// The smallest pivot, as a part of its diagonal element, that is more than rounding.
const SMALLEST_PIVOT: f32 = 4.0 * f32::EPSILON;
/// The least ridge that a system is tried again with, and what it grows by from one try to the next.
const RIDGE: f32 = 1e-5;
const GROWTH: f32 = 10.0;
const TRIES: usize = 40;

/// Sixteen systems of one size.
#[derive(Debug)]
pub struct Systems {
    /// Unknowns, padded to a multiple of [`ROWS`].
    size: usize,
    /// Lower triangles, row by row, `[size (size + 1) / 2]`; their factors in the end, with inverse pivots.
    lower: Vec<Line>,
    /// Right-hand sides, `[size]`; the solutions in the end.
    pub values: Vec<Lanes>,
}

/// Where row `i` of a packed lower triangle begins.
const fn start(i: usize) -> usize {
    i * (i + 1) / 2
}

impl Systems {
    /// Room for systems of `dim` unknowns.
    pub fn new(dim: usize) -> Self {
        let size = dim.next_multiple_of(ROWS);
        Systems { size, lower: vec![Line::ZERO; start(size)], values: vec![[0.0; LANES]; size] }
    }

    /// Solves the systems of the matrices that `fill` writes, as lower triangles of `dim` rows, with `ridge` added to
    /// their diagonals. A system that rounding has made indefinite is tried again with a larger ridge of its own; false
    /// in the lanes of those that stayed so, which only numbers that are not finite do.
    pub fn solve(&mut self, dim: usize, ridge: f32, mut fill: impl FnMut(&mut [Lanes])) -> [bool; LANES] {
        let lower: &mut [Lanes] = cast_slice_mut(&mut self.lower);
        let mut ridges = [ridge; LANES];
        let mut good = [false; LANES];
        for _ in 0..TRIES {
            fill(lower);
            for i in 0..dim {
                let diagonal = &mut lower[start(i) + i];
                for lane in 0..LANES {
                    diagonal[lane] += ridges[lane];
                }
            }
            for i in dim..self.size {
                lower[start(i)..start(i + 1)].fill([0.0; LANES]);
                lower[start(i) + i] = [1.0; LANES];
                self.values[i] = [0.0; LANES];
            }
            good = factor(lower, self.size);
            if good == [true; LANES] {
                break;
            }
            for (ridge, good) in ridges.iter_mut().zip(good) {
                if !good {
                    *ridge = (GROWTH * *ridge).max(RIDGE);
                }
            }
        }
        substitute(lower, &mut self.values);
        good
    }
}

vectorised! {
    /// `out[a][b]`: the dot product of row a of one block of rows with row b of another, over the first
    /// `partner[0].len()` elements. A function of its own, so that the sums stay in registers.
    fn dots(own: [&[Lanes]; ROWS], partner: [&[Lanes]; COLUMNS], out: &mut [[Lanes; COLUMNS]; ROWS]) {
        let length = partner[0].len();
        let (own, partner) = (own.map(|row| &row[..length]), partner.map(|row| &row[..length]));
        let mut sum = [[[0f32; LANES]; COLUMNS]; ROWS];
        for k in 0..length {
            for a in 0..ROWS {
                for b in 0..COLUMNS {
                    for lane in 0..LANES {
                        sum[a][b][lane] = own[a][k][lane].mul_add(partner[b][k][lane], sum[a][b][lane]);
                    }
                }
            }
        }
        *out = sum;
    }
}

/// Cholesky, row by row, in place; false in the lanes where a pivot is not positive beyond rounding.
fn factor(lower: &mut [Lanes], size: usize) -> [bool; LANES] {
    let mut good = [true; LANES];
    let mut sum = [[[0f32; LANES]; COLUMNS]; ROWS];
    for i in (0..size).step_by(ROWS) {
        let (above, rows) = lower[..start(i + ROWS)].split_at_mut(start(i));
        let at = |a: usize| start(i + a) - start(i);
        for j in (0..i).step_by(COLUMNS) {
            let own = std::array::from_fn(|a| &rows[at(a)..][..j]);
            dots(own, std::array::from_fn(|b| &above[start(j + b)..][..j]), &mut sum);
            let partner = std::array::from_fn(|b| &above[start(j + b) + j..][..b + 1]);
            for (a, sum) in sum.iter().enumerate() {
                finish(&mut rows[at(a) + j..][..COLUMNS], sum, partner);
            }
        }
        // The block on the diagonal.
        let mut sums = [[[0f32; LANES]; ROWS]; ROWS];
        for j in (0..ROWS).step_by(COLUMNS) {
            let own: [&[Lanes]; ROWS] = std::array::from_fn(|a| &rows[at(a)..][..i]);
            dots(own, std::array::from_fn(|b| own[j + b]), &mut sum);
            for (sums, sum) in sums.iter_mut().zip(&sum) {
                sums[j..j + COLUMNS].copy_from_slice(sum);
            }
        }
        corner(rows, std::array::from_fn(|a| at(a) + i), &sums, &mut good);
    }
    good
}

vectorised! {
    /// Two elements of a row of the factor, from the matrix's, the products before them, and the rows that they are
    /// multiplied with.
    fn finish(out: &mut [Lanes], sum: &[Lanes; COLUMNS], partner: [&[Lanes]; COLUMNS]) {
        for lane in 0..LANES {
            let x = (out[0][lane] - sum[0][lane]) * partner[0][0][lane];
            out[0][lane] = x;
            out[1][lane] = (out[1][lane] - x.mul_add(partner[1][0][lane], sum[1][lane])) * partner[1][1][lane];
        }
    }
}

vectorised! {
    /// The block on the diagonal, whose row a begins at `at[a]` of `rows`.
    fn corner(rows: &mut [Lanes], at: [usize; ROWS], sum: &[[Lanes; ROWS]; ROWS], good: &mut [bool; LANES]) {
        for b in 0..ROWS {
            let mut inverse = [0f32; LANES];
            for lane in 0..LANES {
                let diagonal = rows[at[b] + b][lane];
                let mut pivot = diagonal - sum[b][b][lane];
                for k in 0..b {
                    let x = rows[at[b] + k][lane];
                    pivot = x.mul_add(-x, pivot);
                }
                let enough = pivot > SMALLEST_PIVOT * diagonal && pivot < f32::INFINITY;
                good[lane] &= enough;
                inverse[lane] = if enough { 1.0 / pivot.sqrt() } else { 0.0 };
            }
            for a in b + 1..ROWS {
                for lane in 0..LANES {
                    let mut x = rows[at[a] + b][lane] - sum[a][b][lane];
                    for k in 0..b {
                        x = (-rows[at[a] + k][lane]).mul_add(rows[at[b] + k][lane], x);
                    }
                    rows[at[a] + b][lane] = x * inverse[lane];
                }
            }
            rows[at[b] + b] = inverse;
        }
    }
}

vectorised! {
    /// Solves with the factor and then with its transpose, in place.
    fn substitute(lower: &[Lanes], values: &mut [Lanes]) {
        for i in 0..values.len() {
            let mut x = values[i];
            let row = &lower[start(i)..start(i + 1)];
            for (factor, known) in row[..i].iter().zip(&values[..i]) {
                for lane in 0..LANES {
                    x[lane] = (-factor[lane]).mul_add(known[lane], x[lane]);
                }
            }
            for lane in 0..LANES {
                x[lane] *= row[i][lane];
            }
            values[i] = x;
        }
        for i in (0..values.len()).rev() {
            let row = &lower[start(i)..start(i + 1)];
            let (before, x) = values.split_at_mut(i);
            let x = &mut x[0];
            for lane in 0..LANES {
                x[lane] *= row[i][lane];
            }
            for (factor, other) in row[..i].iter().zip(before) {
                for lane in 0..LANES {
                    other[lane] = (-factor[lane]).mul_add(x[lane], other[lane]);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A random positive matrix of rank `rank`, as an element of its lower triangle.
    fn gram(dim: usize, rank: usize, lane: usize) -> Vec<f64> {
        let at = |i: usize, k: usize| ((i * 31 + k * 17 + lane * 7) as f64).sin();
        let element = |i, j| (0..rank).map(|k| at(i, k) * at(j, k)).sum();
        (0..dim).flat_map(|i| (0..dim).map(move |j| (i, j))).map(|(i, j)| element(i, j)).collect()
    }

    #[test]
    fn solutions_solve() {
        for dim in [1, 2, 3, 4, 5, 7, 32, 65] {
            let matrices: Vec<_> = (0..LANES).map(|lane| gram(dim, dim + 3, lane)).collect();
            let mut systems = Systems::new(dim);
            let right = |i: usize, lane: usize| (i as f32 - lane as f32) / dim as f32;
            for i in 0..dim {
                systems.values[i] = std::array::from_fn(|lane| right(i, lane));
            }
            let ridge = 0.1;
            let good = systems.solve(dim, ridge, |lower| {
                for i in 0..dim {
                    for j in 0..=i {
                        lower[start(i) + j] = std::array::from_fn(|lane| matrices[lane][i * dim + j] as f32);
                    }
                }
            });
            assert_eq!(good, [true; LANES]);
            for (lane, matrix) in matrices.iter().enumerate() {
                for i in 0..dim {
                    let x = |j: usize| f64::from(systems.values[j][lane]);
                    let product: f64 = (0..dim).map(|j| matrix[i * dim + j] * x(j)).sum();
                    let scale: f64 = (0..dim).map(|j| (matrix[i * dim + j] * x(j)).abs()).sum();
                    let residual = product + f64::from(ridge) * x(i) - f64::from(right(i, lane));
                    // Backward stable: a residual of the order of the products' rounding.
                    assert!(residual.abs() < 1e-6 * (scale + 1.0), "D {dim}, {i}, lane {lane}: {residual}");
                }
            }
        }
    }

    #[test]
    fn what_rounding_made_indefinite_is_solved_with_a_ridge_and_others_are_not_touched() {
        let dim = 6;
        let fill = |broken: Option<f32>| {
            move |lower: &mut [Lanes]| {
                for i in 0..dim {
                    for j in 0..=i {
                        lower[start(i) + j] = [if i == j { 2.0 } else { 0.5 }; LANES];
                        if let Some(broken) = broken {
                            lower[start(i) + j][3] = broken;
                        }
                    }
                }
            }
        };
        let solve = |broken| {
            let mut systems = Systems::new(dim);
            systems.values[..dim].fill([1.0; LANES]);
            let good = systems.solve(dim, 1e-5, fill(broken));
            (good, systems.values)
        };
        let (_, plain) = solve(None);
        // A matrix of ones has rank one, and its later pivots are the ridge and rounding.
        let (good, values) = solve(Some(1e4));
        assert_eq!(good, [true; LANES]);
        assert!(values[..dim].iter().all(|x| x[3].is_finite()));
        for (a, b) in plain.iter().zip(&values) {
            assert!((0..LANES).all(|lane| lane == 3 || a[lane].to_bits() == b[lane].to_bits()));
        }
        let (good, _) = solve(Some(f32::NAN));
        assert_eq!(good, std::array::from_fn(|lane| lane != 3));
    }
}
