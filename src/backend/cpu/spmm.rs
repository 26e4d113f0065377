//! `spmm`: one half of the propagation, rows of one side from rows of the other.
//!
//! Edges have no values: with s = D^-1/2, tables are kept as x = s y, and a layer of Horner's scheme, `y <- base + A~
//! y`, is `x_r <- s_r (base_r + s_r sum_j x_j)`. A row moves 4D bytes for each edge (from the cache, where the other
//! side's table fits) and 4D out, half of that where layers are stored in 16 bits; sums are f32. Rows are cut into
//! tasks of about equal numbers of edges and long rows into chunks of fixed length, so no row holds the others up, and
//! every sum has one order.

use std::ops::Range;

use super::team::Team;
use crate::{
    data::Csr,
    simd::{blocks, prefetch, vectorised},
    storage::{Element, Stored, for_stored},
};

/// Edges per task, and per chunk of a long row.
const EDGES: usize = 2048;
/// Rows that are asked for ahead of their use: a row takes 4 ns, its way from the last cache 50.
const AHEAD: usize = 16;
/// Marks a row that is not among the sparse ones.
pub const NONE: u32 = u32::MAX;

/// A table of rows, `[n, stride]`.
#[derive(Debug, Clone, Copy)]
pub enum Rows<'a> {
    /// Row r is the r-th.
    Dense(Stored<'a>),
    /// Row r is the `slot[r]`-th, and zero where that is [`NONE`].
    Sparse {
        /// `[rows]`.
        slot: &'a [u32],
        /// `[n, stride]`.
        values: &'a [f32],
    },
}

/// The rows of one side to be computed, cut into tasks.
#[derive(Debug, Default)]
pub struct Work {
    /// Positions of rows that are computed together.
    tasks: Vec<Range<usize>>,
    /// Edges of the chunks of long rows, in the order of the rows.
    chunks: Vec<Range<usize>>,
    /// True if it is all rows, in their order.
    all: bool,
    /// Position of each long row and its first chunk, ascending; ends with the number of chunks.
    long: Vec<(usize, usize)>,
}

impl Work {
    /// Cuts the rows `ids` of `csr` (by position), or all rows.
    pub fn new(csr: Csr<'_>, ids: Option<&[u32]>) -> Self {
        let rows = ids.map_or(csr.rows(), <[u32]>::len);
        let mut work = Work { all: ids.is_none(), ..Work::default() };
        let (mut first, mut edges) = (0, 0);
        for position in 0..rows {
            let range = csr.range(ids.map_or(position as u32, |ids| ids[position]));
            if range.len() > EDGES {
                work.long.push((position, work.chunks.len()));
                let end = range.end;
                work.chunks.extend(range.step_by(EDGES).map(|start| start..end.min(start + EDGES)));
            } else {
                edges += range.len();
            }
            // An empty row costs its epilogue.
            edges += 4;
            if edges >= EDGES {
                work.tasks.push(first..position + 1);
                (first, edges) = (position + 1, 0);
            }
        }
        if first < rows {
            work.tasks.push(first..rows);
        }
        work.long.push((usize::MAX, work.chunks.len()));
        work
    }

    /// Cuts a buffer of one row for each position as the tasks are cut.
    pub fn split<'b, T>(&self, mut buffer: &'b mut [T], stride: usize) -> Vec<(Range<usize>, &'b mut [T])> {
        let cut = |rows: &Range<usize>| {
            let (head, tail) = std::mem::take(&mut buffer).split_at_mut(rows.len() * stride);
            buffer = tail;
            (rows.clone(), head)
        };
        self.tasks.iter().map(cut).collect()
    }

    /// Sums of the chunks of long rows, `[chunks, stride]`.
    pub fn chunk_sums(&self, team: &Team, csr: Csr<'_>, x: Rows<'_>, stride: usize) -> Vec<f32> {
        let mut sums = vec![0f32; self.chunks.len() * stride];
        let mut tasks: Vec<_> = self.chunks.iter().zip(sums.chunks_exact_mut(stride)).collect();
        if !tasks.is_empty() {
            team.for_each(&mut tasks, |(edges, out)| sum_edges(csr.indices, (*edges).clone(), x, out));
        }
        sums
    }

    /// Elements `at` to `at + N` of the sum of `row`, which is at `position`.
    #[inline(always)]
    pub fn sum<const N: usize>(
        &self,
        (position, row): (usize, u32),
        csr: Csr<'_>,
        x: Rows<'_>,
        chunk_sums: &[f32],
        (at, stride): (usize, usize),
    ) -> [f32; N] {
        let edges = csr.range(row);
        if edges.len() <= EDGES {
            // The next row's edges come next, unless only some rows are wanted.
            let known = if self.all { csr.indices } else { &csr.indices[..edges.end] };
            return sum_rows(known, edges, x, at, stride);
        }
        let long = self.long.partition_point(|&(long, _)| long < position);
        let mut sum = [0f32; N];
        for chunk in self.long[long].1..self.long[long + 1].1 {
            let part = &chunk_sums[chunk * stride + at..][..N];
            for lane in 0..N {
                sum[lane] += part[lane];
            }
        }
        sum
    }
}

vectorised! {
    fn sum_edges(ids: &[u32], edges: Range<usize>, x: Rows<'_>, out: &mut [f32]) {
        blocks!(out.len(), |at, N| {
            let sum = sum_rows::<N>(ids, edges.clone(), x, at, out.len());
            out[at..][..N].copy_from_slice(&sum);
        });
    }
}

/// Elements `at` to `at + N` of the sum over `ids[edges]` of rows of x, in their order. Rows of later ids are asked
/// for: they are wanted next.
#[inline(always)]
fn sum_rows<const N: usize>(
    ids: &[u32],
    edges: Range<usize>,
    x: Rows<'_>,
    at: usize,
    stride: usize,
) -> [f32; N] {
    let mut sum = [0f32; N];
    match x {
        Rows::Dense(values) => {
            for_stored!(Stored, values, |values| add_rows(&mut sum, ids, edges, values, at, stride));
        }
        Rows::Sparse { slot, values } => {
            const BLOCK: usize = 256;
            let mut present = [0u32; BLOCK];
            for ids in ids[edges].chunks(BLOCK) {
                let mut n = 0;
                for &id in ids {
                    let slot = slot[id as usize];
                    present[n] = slot;
                    n += usize::from(slot != NONE);
                }
                add_rows(&mut sum, &present[..n], 0..n, values, at, stride);
            }
        }
    }
    sum
}

#[inline(always)]
fn add_rows<const N: usize, T: Element>(
    sum: &mut [f32; N],
    ids: &[u32],
    edges: Range<usize>,
    values: &[T],
    at: usize,
    stride: usize,
) {
    for (k, &id) in ids[edges.clone()].iter().enumerate() {
        if let Some(&next) = ids.get(edges.start + k + AHEAD) {
            prefetch(values.as_ptr().wrapping_add(next as usize * stride + at), N);
        }
        T::add_to(&values[id as usize * stride + at..], sum);
    }
}
