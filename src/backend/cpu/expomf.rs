//! ExpoMF's iterations on the CPU.
//!
//! A user's normal matrix is `sum_i A_ui beta_i beta_i^T`: for many users, the product of `A [U, I]` with the matrix of
//! all `beta_i beta_i^T`, `[I, D (D + 1) / 2]`. Neither is ever stored: for a block of users and a tile of items the
//! scores, the exposures A and, panel by panel, the products are made where they are used. Items are the same with the
//! sides exchanged.
//!
//! Numbers are f32. With e = 2^-24, a score has an error below (D + 1) e sum |theta beta|, an exposure one of a few e
//! times its logit on top, and a normal matrix one below (DEPTH + I / DEPTH) e sum A |beta beta^T|, element by element
//! (sums are made in runs of DEPTH). Sums over exposures and the log posterior are f64.

mod cholesky;
mod kernel;

use std::sync::{Mutex, PoisonError};

use rayon::prelude::*;

use self::{
    cholesky::Systems,
    kernel::{COLUMN_LINES, COLUMNS, Columns, DEPTH, DEPTH_LINES, ROWS, Weights, multiply},
};
use super::engine::Exported;
use crate::{
    backend::{
        Parameters, Snapshot,
        expomf::{Em, ExposureConstant, REPO_EPSILON, Settings, State, unsolvable},
    },
    data::{Csr, Interactions, Split},
    error::Result,
    model::Kept,
    objective::{
        BranchInput,
        scalar::{sigmoid, sigmoid_softplus},
    },
    simd::{LANES, Line, vectorised},
};

/// Most rows of a block: what is made for a tile is used by all of them.
const MOST_ROWS: usize = 8 * ROWS;
/// Lines of the normal matrices of a block, which should stay in the second cache.
const BLOCK_LINES: usize = 1 << 14;

/// Bytes that a thread works with.
pub fn scratch_bytes(dim: usize) -> u64 {
    let Layout { width, .. } = Layout::new(dim);
    let rows = (BLOCK_LINES / width).clamp(1, MOST_ROWS).next_multiple_of(ROWS);
    let tiles = rows * DEPTH * (dim.div_ceil(DEPTH) + 1);
    let normal = LANES * rows * width + DEPTH * (2 * dim + LANES + COLUMNS);
    4 * (tiles + normal + LANES * dim * (dim + 3) / 2) as u64
}

/// A training of ExpoMF on the CPU.
#[derive(Debug)]
pub struct ExpoMf<'a> {
    by_user: Csr<'a>,
    by_item: Csr<'a>,
    settings: Settings,
    state: State,
}

impl<'a> ExpoMf<'a> {
    /// A training on the train split of `data` that goes on from `state`.
    ///
    /// # Panics
    /// If the state has not the shape of the data.
    pub fn new(data: &'a Interactions, settings: Settings, state: State) -> Self {
        let (by_user, by_item) = (data.by_user(Split::Train), data.by_item(Split::Train));
        let engine = ExpoMf { by_user, by_item, settings, state };
        engine.check(&engine.state);
        engine
    }

    /// Panics if `state` has not the shape of the data.
    fn check(&self, state: &State) {
        let (users, items, dim) = (self.by_user.rows(), self.by_item.rows(), self.settings.dim);
        let shape = [users * dim, items * dim, items];
        assert_eq!([state.theta.len(), state.beta.len(), state.mu.len()], shape, "a state of another shape");
    }
}

impl Em for ExpoMf<'_> {
    fn iterate(&mut self) -> Result<f64> {
        let ExpoMf { by_user, by_item, settings, state } = self;
        let Settings { dim, lambda_theta, lambda_beta, lambda_y, .. } = *settings;
        let density = Density::new(settings);
        let logits: Vec<f32> = state.mu.iter().map(|&mu| density.logit(mu)).collect();

        let side = Side { dim, logits: None, positives: *by_user };
        let items = Other::new(&state.beta, dim, Some(&logits));
        side.solve(&mut state.theta, &items, &density, lambda_theta / lambda_y)
            .map_err(|row| unsolvable(settings, row, "user"))?;
        drop(items);

        let side = Side { dim, logits: Some(&logits), positives: *by_item };
        let users = Other::new(&state.theta, dim, None);
        side.solve(&mut state.beta, &users, &density, lambda_beta / lambda_y)
            .map_err(|row| unsolvable(settings, row, "item"))?;

        let sums = side.sums(&state.beta, &users, &density);
        let n = by_user.rows();
        let of_pairs: f64 = sums
            .iter()
            .zip(&state.mu)
            .map(|(sums, &mu)| n as f64 * libm::log1p(-f64::from(mu)) + sums.ln_likelihood)
            .sum();
        let posterior = of_pairs + settings.ln_prior(state);
        for (mu, sums) in state.mu.iter_mut().zip(&sums) {
            *mu = settings.updated_mu(sums.exposure, n);
        }
        state.iteration += 1;
        Ok(posterior)
    }

    fn state(&mut self) -> Result<State> {
        Ok(self.state.clone())
    }

    fn set_state(&mut self, state: State) -> Result<()> {
        self.check(&state);
        self.state = state;
        Ok(())
    }

    fn snapshot(&mut self) -> Result<Box<dyn Snapshot + '_>> {
        let Settings { dim, storage, .. } = self.settings;
        let State { theta, beta, .. } = self.state.clone();
        let parameters = Parameters {
            users: theta,
            items: beta,
            user_branch: None,
            item_branch: None,
            ego: None,
            kept: Kept::default(),
        };
        Ok(Box::new(Exported { dim, storage, branch_input: BranchInput::default(), parameters }))
    }
}

/// The density of an unobserved pair's score, and what goes with it.
#[derive(Debug, Clone, Copy)]
struct Density {
    ln_c: f64,
    /// lambda_y / 2.
    half: f32,
    /// Logarithm of what is added to the density.
    ln_epsilon: Option<f32>,
}

impl Density {
    fn new(settings: &Settings) -> Self {
        Density {
            ln_c: settings.ln_c(),
            half: 0.5 * settings.lambda_y,
            ln_epsilon: match settings.constant {
                ExposureConstant::Exact => None,
                ExposureConstant::Repo => Some(libm::log(REPO_EPSILON) as f32),
            },
        }
    }

    /// The logit of the exposure to an item of `mu` at score 0: ln(mu / (1 - mu)) + ln c.
    fn logit(&self, mu: f32) -> f32 {
        let mu = f64::from(mu);
        (libm::log(mu) - libm::log1p(-mu) + self.ln_c) as f32
    }
}

/// The rows that are worked on.
struct Side<'s> {
    dim: usize,
    /// Logits of exposure at score 0, `[N]`, if this side is the items.
    logits: Option<&'s [f32]>,
    positives: Csr<'s>,
}

/// The rows of the other side, which every row of a side meets.
struct Other<'s> {
    /// `[M, D]`.
    table: &'s [f32],
    dim: usize,
    rows: usize,
    /// The same transposed in panels of [`COLUMNS`] rows: `[panels, D]`.
    panels: Vec<Columns>,
    /// Logits of exposure at score 0 (0 if the other side is the users), padded to whole tiles.
    logits: Vec<f32>,
}

impl<'s> Other<'s> {
    fn new(table: &'s [f32], dim: usize, logits: Option<&[f32]>) -> Self {
        let rows = table.len() / dim;
        let tiled = rows.next_multiple_of(DEPTH);
        let mut panels = vec![[Line::ZERO; COLUMN_LINES]; rows.div_ceil(COLUMNS) * dim];
        panels.par_chunks_exact_mut(dim).zip(table.par_chunks(COLUMNS * dim)).for_each(|(panel, rows)| {
            for (lane, row) in rows.chunks_exact(dim).enumerate() {
                let (line, lane) = (lane / LANES, lane % LANES);
                panel.iter_mut().zip(row).for_each(|(panel, &x)| panel[line].0[lane] = x);
            }
        });
        let mut padded = vec![0f32; tiled];
        if let Some(logits) = logits {
            padded[..rows].copy_from_slice(logits);
        }
        // Nobody is exposed to the rows that fill the last tile.
        padded[rows..].fill(f32::NEG_INFINITY);
        Other { table, dim, rows, panels, logits: padded }
    }

    /// The panels of the rows from `first` on, to the end of its tile.
    fn tile_panels(&self, first: usize) -> impl Iterator<Item = &[Columns]> {
        self.panels[first / COLUMNS * self.dim..].chunks_exact(self.dim).take(DEPTH / COLUMNS)
    }
}

/// Where the elements of a normal matrix are among the columns of the product.
///
/// The products of a row x with itself turned by o, `x_j x_(j + o mod D)`, for o from 0 to D / 2, are each pair once
/// (for even D, those of the last o twice, of which half are left out); they need no index and no shuffle.
struct Layout {
    dim: usize,
    /// Turn and first element of each run of [`LANES`] products.
    runs: Vec<(usize, usize)>,
    /// The column of each turn's first product.
    start: Vec<usize>,
    /// Lines of a matrix's columns, in whole panels.
    width: usize,
}

impl Layout {
    fn new(dim: usize) -> Self {
        let (mut runs, mut start) = (vec![], vec![]);
        for turn in 0..=dim / 2 {
            let length = if 2 * turn == dim { turn } else { dim };
            start.push(LANES * runs.len());
            runs.extend((0..length).step_by(LANES).map(|first| (turn, first)));
        }
        runs.resize(runs.len().next_multiple_of(COLUMN_LINES), (0, 0));
        Layout { dim, width: runs.len(), runs, start }
    }

    /// The column of element (i, j), j <= i.
    fn column(&self, i: usize, j: usize) -> usize {
        let turn = i - j;
        if turn <= self.dim / 2 { self.start[turn] + j } else { self.start[self.dim - turn] + i }
    }
}

/// What a thread works with, of a block of rows and a tile of the other side.
struct Scratch {
    /// The block's own rows, `[ceil(D / DEPTH), rows]`.
    own: Vec<Weights>,
    /// Scores and then exposures, `[rows]`.
    tile: Vec<Weights>,
    /// How many of each row's positives lie before the tile, `[rows]`.
    seen: Vec<usize>,
}

impl Scratch {
    fn new(rows: usize, dim: usize) -> Self {
        Scratch {
            own: vec![[Line::ZERO; DEPTH_LINES]; dim.div_ceil(DEPTH) * rows],
            tile: vec![[Line::ZERO; DEPTH_LINES]; rows],
            seen: vec![0; rows],
        }
    }

    /// Begins with the rows of `block`, `[at most rows, D]`.
    fn begin(&mut self, block: &[f32], dim: usize) {
        let rows = self.tile.len();
        self.own.as_flattened_mut().fill(Line::ZERO);
        self.seen.fill(0);
        for (r, row) in block.chunks_exact(dim).enumerate() {
            for (part, values) in row.chunks(DEPTH).enumerate() {
                flat_mut(&mut self.own[part * rows + r])[..values.len()].copy_from_slice(values);
            }
        }
    }

    /// The scores of the block's rows and the other side's from `first` on.
    fn score(&mut self, other: &Other<'_>, first: usize) {
        let rows = self.tile.len();
        self.tile.as_flattened_mut().fill(Line::ZERO);
        for (p, panel) in other.tile_panels(first).enumerate() {
            for (own, panel) in self.own.chunks_exact(rows).zip(panel.chunks(DEPTH)) {
                multiply(own, panel, self.tile.as_flattened_mut(), DEPTH_LINES, COLUMN_LINES * p);
            }
        }
    }

    /// The next of `row`'s positives that lie in the tile from `first` on.
    fn positives<'p>(&mut self, row: usize, positives: &'p [u32], first: usize) -> &'p [u32] {
        let rest = &positives[self.seen[row]..];
        let here = rest.partition_point(|&p| (p as usize) < first + DEPTH);
        self.seen[row] += here;
        &rest[..here]
    }
}

/// What threads work with: one for each that is at work, handed on from block to block.
struct Pool<T, F> {
    new: F,
    free: Mutex<Vec<T>>,
}

impl<T, F: Fn() -> T> Pool<T, F> {
    fn new(new: F) -> Self {
        Pool { new, free: Mutex::default() }
    }

    fn with<R>(&self, work: impl FnOnce(&mut T) -> R) -> R {
        let free = || self.free.lock().unwrap_or_else(PoisonError::into_inner);
        let taken = free().pop();
        let mut mine = taken.unwrap_or_else(&self.new);
        let result = work(&mut mine);
        free().push(mine);
        result
    }
}

/// What the exposures of an item's users come to.
struct Sums {
    /// Sum of A.
    exposure: f64,
    /// Sum over users of the logarithm of their observation's likelihood, less ln(1 - mu) for each.
    ln_likelihood: f64,
}

impl Side<'_> {
    /// Rows of a block: whole groups, as many as there is room for, and enough blocks for all threads.
    fn block_rows(&self, width: usize) -> usize {
        let room = BLOCK_LINES / width;
        let share = self.positives.rows().div_ceil(4 * rayon::current_num_threads());
        room.min(share).clamp(1, MOST_ROWS).next_multiple_of(ROWS)
    }

    fn logit(&self, row: usize) -> f32 {
        self.logits.map_or(0.0, |logits| logits[row])
    }

    /// E-step and M-step: the rows of `table`, `[N, D]`, become the new ones.
    ///
    /// # Errors
    /// A row whose normal equations cannot be solved.
    fn solve(
        &self,
        table: &mut [f32],
        other: &Other<'_>,
        density: &Density,
        ridge: f32,
    ) -> Result<(), usize> {
        let dim = self.dim;
        let layout = Layout::new(dim);
        let rows = self.block_rows(layout.width);
        let pool = Pool::new(|| (Scratch::new(rows, dim), Normal::new(rows, &layout), Systems::new(dim)));
        let blocks = table.par_chunks_mut(rows * dim).enumerate();
        let bad = blocks.map(|(b, block)| {
            pool.with(|(scratch, normal, systems)| {
                let first = b * rows;
                scratch.begin(block, dim);
                normal.matrices.fill(Line::ZERO);
                for tile in (0..other.rows).step_by(DEPTH) {
                    scratch.score(other, tile);
                    for (r, row) in (first..).take(block.len() / dim).enumerate() {
                        let (logit, logits) = (self.logit(row), &other.logits[tile..][..DEPTH]);
                        expose(&mut scratch.tile[r], logit, logits, density);
                        for &positive in scratch.positives(r, self.positives.row(row as u32), tile) {
                            flat_mut(&mut scratch.tile[r])[positive as usize - tile] = 1.0;
                        }
                    }
                    normal.add(&scratch.tile, other, tile);
                }
                let groups = block.chunks_mut(LANES * dim).zip(normal.matrices.chunks(LANES * layout.width));
                (first..).step_by(LANES).zip(groups).find_map(|(first, (out, matrices))| {
                    let ids = first as u32..(first + out.len() / dim) as u32;
                    let positives = ids.map(|row| self.positives.row(row));
                    solve_group(systems, &layout, matrices, positives, other, ridge, out)
                        .map(|lane| first + lane)
                })
            })
        });
        match bad.flatten().min() {
            None => Ok(()),
            Some(row) => Err(row),
        }
    }

    /// E-step: what the exposures of each row come to, `[N]`.
    fn sums(&self, table: &[f32], other: &Other<'_>, density: &Density) -> Vec<Sums> {
        let dim = self.dim;
        let rows = self.block_rows(1);
        let pool = Pool::new(|| Scratch::new(rows, dim));
        let blocks = table.par_chunks(rows * dim).enumerate();
        let sums = blocks.map(|(b, block)| {
            pool.with(|scratch| {
                scratch.begin(block, dim);
                let mut sums: Vec<Sums> =
                    block.chunks_exact(dim).map(|_| Sums { exposure: 0.0, ln_likelihood: 0.0 }).collect();
                for tile in (0..other.rows).step_by(DEPTH) {
                    scratch.score(other, tile);
                    for (r, sums) in sums.iter_mut().enumerate() {
                        let row = b * rows + r;
                        let (logit, logits) = (self.logit(row), &other.logits[tile..][..DEPTH]);
                        // The lanes take every pair for an unobserved one, which the observed ones make good.
                        for &positive in scratch.positives(r, self.positives.row(row as u32), tile) {
                            let at = positive as usize - tile;
                            let x = flat(&scratch.tile[r])[at];
                            let (a, s) = sigmoid_softplus(exposure_logit(x, logit + logits[at], density));
                            let miss = 1.0 - f64::from(x);
                            sums.exposure += 1.0 - f64::from(a);
                            sums.ln_likelihood += f64::from(logit + logits[at])
                                - f64::from(density.half) * miss * miss
                                - f64::from(s);
                        }
                        let [exposure, ln_likelihood] = expose_sums(&scratch.tile[r], logit, logits, density);
                        sums.exposure += exposure;
                        sums.ln_likelihood += ln_likelihood;
                    }
                }
                sums
            })
        });
        sums.flatten_iter().collect()
    }
}

/// The logit of the exposure at score `x`: an unobserved pair was seen, and not consumed, or never seen.
#[inline(always)]
fn exposure_logit(x: f32, logit: f32, density: &Density) -> f32 {
    let square = x * x;
    match density.ln_epsilon {
        None => square.mul_add(-density.half, logit),
        // ln (c e^-square + epsilon).
        Some(ln_epsilon) => {
            let above = square.mul_add(-density.half, density.ln_c as f32 - ln_epsilon);
            (logit - density.ln_c as f32) + (ln_epsilon + sigmoid_softplus(above).1)
        }
    }
}

/// The numbers of a row.
fn flat(weights: &Weights) -> &[f32; DEPTH] {
    bytemuck::cast_ref(weights)
}

fn flat_mut(weights: &mut Weights) -> &mut [f32; DEPTH] {
    bytemuck::cast_mut(weights)
}

vectorised! {
    /// Turns the scores of a row into exposures.
    fn expose(tile: &mut Weights, logit: f32, logits: &[f32], density: &Density) {
        for (x, logits) in tile.iter_mut().zip(logits.as_chunks::<LANES>().0) {
            for lane in 0..LANES {
                x.0[lane] = sigmoid(exposure_logit(x.0[lane], logit + logits[lane], density));
            }
        }
    }
}

vectorised! {
    /// Sums of the exposures of a row's scores, and of ln(1 + odds).
    fn expose_sums(tile: &Weights, logit: f32, logits: &[f32], density: &Density) -> [f64; 2] {
        let mut sums = [[0f64; LANES]; 2];
        for (Line(x), logits) in tile.iter().zip(logits.as_chunks::<LANES>().0) {
            for lane in 0..LANES {
                let (a, s) = sigmoid_softplus(exposure_logit(x[lane], logit + logits[lane], density));
                sums[0][lane] += f64::from(a);
                sums[1][lane] += f64::from(s);
            }
        }
        sums.map(|sums| sums.iter().sum())
    }
}

/// The normal matrices of a block of rows.
struct Normal<'l> {
    layout: &'l Layout,
    /// `[rows, width]`.
    matrices: Vec<Line>,
    /// The other side's rows of a tile, each twice on end, `[DEPTH, stride]`.
    twice: Vec<Line>,
    /// Lines of such a row, with one to spare.
    stride: usize,
    panel: Vec<Columns>,
}

impl<'l> Normal<'l> {
    fn new(rows: usize, layout: &'l Layout) -> Self {
        let stride = (2 * layout.dim).div_ceil(LANES) + 1;
        Normal {
            layout,
            matrices: vec![Line::ZERO; rows * layout.width],
            twice: vec![Line::ZERO; DEPTH * stride],
            stride,
            panel: vec![[Line::ZERO; COLUMN_LINES]; DEPTH],
        }
    }

    /// Adds the tile of the other side's rows from `first` on, weighted by `exposures`.
    fn add(&mut self, exposures: &[Weights], other: &Other<'_>, first: usize) {
        let Normal { layout, matrices, twice, stride, panel } = self;
        let (dim, stride) = (layout.dim, LANES * *stride);
        let depth = DEPTH.min(other.rows - first);
        let twice: &mut [f32] = bytemuck::cast_slice_mut(twice);
        let rows = other.table[first * dim..][..depth * dim].chunks_exact(dim);
        for (twice, row) in twice.chunks_exact_mut(stride).zip(rows) {
            twice[..dim].copy_from_slice(row);
            twice[dim..2 * dim].copy_from_slice(row);
        }
        let panel = &mut panel[..depth];
        for (p, runs) in layout.runs.as_chunks::<COLUMN_LINES>().0.iter().enumerate() {
            products(panel, twice, stride, runs);
            multiply(exposures, panel, matrices, layout.width, COLUMN_LINES * p);
        }
    }
}

vectorised! {
    /// Columns j of a run's line: `x_(first + j) x_(first + j + turn)`, with x the k-th row of `twice` for row k of the
    /// panel. Those beyond the last product of a turn are others, which nobody reads.
    fn products(panel: &mut [Columns], twice: &[f32], stride: usize, runs: &[(usize, usize); COLUMN_LINES]) {
        for (panel, twice) in panel.iter_mut().zip(twice.chunks_exact(stride)) {
            for (Line(out), &(turn, first)) in panel.iter_mut().zip(runs) {
                let (a, b) = (&twice[first..][..LANES], &twice[first + turn..][..LANES]);
                for lane in 0..LANES {
                    out[lane] = a[lane] * b[lane];
                }
            }
        }
    }
}

/// Solves the normal equations of up to [`LANES`] rows, whose matrices are `matrices` and whose right-hand sides are
/// the sums of their positives. Returns the first that cannot be solved.
fn solve_group<'p>(
    systems: &mut Systems,
    layout: &Layout,
    matrices: &[Line],
    positives: impl Iterator<Item = &'p [u32]>,
    other: &Other<'_>,
    ridge: f32,
    out: &mut [f32],
) -> Option<usize> {
    let (dim, width) = (layout.dim, LANES * layout.width);
    let rows = out.len() / dim;
    let matrices: &[f32] = bytemuck::cast_slice(matrices);
    let mut sum = vec![0f64; dim];
    for (lane, positives) in positives.enumerate() {
        sum.fill(0.0);
        for &positive in positives {
            let row = &other.table[positive as usize * dim..][..dim];
            sum.iter_mut().zip(row).for_each(|(sum, &x)| *sum += f64::from(x));
        }
        systems.values.iter_mut().zip(&sum).for_each(|(values, &sum)| values[lane] = sum as f32);
    }
    let good = systems.solve(dim, ridge, |lower| {
        let elements = (0..dim).flat_map(|i| (0..=i).map(move |j| (i, j)));
        for (lower, (i, j)) in lower.iter_mut().zip(elements) {
            let column = layout.column(i, j);
            for lane in 0..rows {
                lower[lane] = matrices[lane * width + column];
            }
            // Lanes without a row are systems that anything solves.
            lower[rows..].fill(if i == j { 1.0 } else { 0.0 });
        }
    });
    for (lane, out) in out.chunks_exact_mut(dim).enumerate() {
        out.iter_mut().zip(&systems.values).for_each(|(out, values)| *out = values[lane]);
    }
    (0..rows).find(|&lane| !good[lane])
}
