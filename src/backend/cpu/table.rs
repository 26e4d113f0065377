//! A parameter table with its optimiser state, laid out so that one touched row is one run of memory.

use memmap2::MmapMut;
use rayon::prelude::*;

use super::divergence;
use crate::{
    backend::state::{Exchange, Place},
    error::{Error, Result},
    huge::zeroed_bytes,
    objective::Shape,
    sampling::philox::philox,
    simd::{LANES, prefetch},
    storage::{Element, Noise, RowNoise, Storage, with_storage},
};

/// How the padded rows of a table are divided into vectors.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Parts {
    /// Vectors of a row, 1 or 2.
    pub count: usize,
    /// Components of a vector.
    pub width: usize,
    /// These padded to the lanes of a vector loop.
    pub stride: usize,
}

impl Parts {
    /// Of rows of this shape.
    pub fn new(Shape { parts, width }: Shape) -> Self {
        Parts { count: parts, width, stride: width.next_multiple_of(LANES) }
    }

    /// Length of a padded row.
    #[inline(always)]
    pub fn stride(self) -> usize {
        self.count * self.stride
    }

    /// Length of a row without padding.
    pub fn columns(self) -> usize {
        self.count * self.width
    }

    /// The padded `row`, `[stride]`, without padding, `[columns]`.
    pub fn unpad(self, row: &[f32], out: &mut [f32]) {
        for (part, out) in row.chunks_exact(self.stride).zip(out.chunks_exact_mut(self.width)) {
            out.copy_from_slice(&part[..self.width]);
        }
    }

    /// The reverse of [`Parts::unpad`], of numbers stored `as_stored`; the padding stays.
    pub fn pad<T>(self, values: &[f32], row: &mut [T], as_stored: impl Fn(f32) -> T) {
        for (part, values) in row.chunks_exact_mut(self.stride).zip(values.chunks_exact(self.width)) {
            part.iter_mut().zip(values).for_each(|(x, &value)| *x = as_stored(value));
        }
    }

    /// Length of the first `n` vectors of a padded row, with the padding between them.
    pub fn first(self, n: usize) -> usize {
        (n - 1) * self.stride + self.width
    }

    /// Leaves the first vectors of rows without padding in `values`, `[rows, columns]`, and returns the second ones,
    /// where there are any.
    pub fn split_off(self, values: &mut Vec<f32>) -> Option<Vec<f32>> {
        if self.count < 2 {
            return None;
        }
        let part = |k: usize| {
            let rows = values.chunks_exact(self.columns());
            rows.flat_map(|row| &row[k * self.width..][..self.width]).copied().collect()
        };
        let (first, second) = (part(0), part(1));
        *values = first;
        Some(second)
    }

    /// Where the vector begins that is scored as the `part`-th: a row of one vector has it in both scores.
    #[inline(always)]
    pub fn start(self, part: usize) -> usize {
        part.min(self.count - 1) * self.stride
    }
}

/// `[rows, 3, stride]`: parameters in their form, first and second moments in f32, side by side; the stride is that of
/// the row's vectors, each padded with zeros.
///
/// Padding stays zero: its gradient is.
#[derive(Debug)]
pub struct Table {
    parts: Parts,
    storage: Storage,
    noise: Noise,
    /// Anonymous memory in huge pages where the system has them: touched rows lie far apart, and each would cost a
    /// walk of the page table.
    records: MmapMut,
    /// `[rows]`: the step (from 1) that last touched each row, 0 before the first.
    last: Vec<u64>,
}

/// One row, `[stride]` each.
#[derive(Debug, Clone, Copy)]
pub struct Record<'a, T> {
    /// Parameters.
    pub p: &'a [T],
    /// First moments.
    pub m: &'a [f32],
    /// Second moments.
    pub v: &'a [f32],
}

/// One row, to be changed.
#[derive(Debug)]
pub struct RecordMut<'a, T> {
    /// Parameters.
    pub p: &'a mut [T],
    /// First moments.
    pub m: &'a mut [f32],
    /// Second moments.
    pub v: &'a mut [f32],
    /// The step that last touched the row.
    pub last: &'a mut u64,
}

/// Bytes of a row.
#[inline(always)]
const fn width(stride: usize, storage: Storage) -> usize {
    stride * (storage.bytes() + 2 * size_of::<f32>())
}

impl Table {
    /// Xavier-uniform parameters, +-sqrt(6 / (rows + D)) as in the reference code (its fan-in is the number of
    /// rows), and moments of zero, for embeddings of size D = `dim`. `stream` tells tables of one seed apart.
    ///
    /// # Errors
    /// [`Error::Io`] if there is not enough memory.
    pub fn xavier(
        rows: usize,
        dim: usize,
        shape: Shape,
        storage: Storage,
        seed: u64,
        stream: u32,
    ) -> Result<Self> {
        let bound = (6.0 / (rows + dim) as f64).sqrt();
        let parts = Parts::new(shape);
        let bytes = rows.saturating_mul(width(parts.stride(), storage));
        let what =
            || format!("{bytes} bytes for a table of {rows} rows x {} with its moments", shape.columns());
        let records = zeroed_bytes(bytes).map_err(|e| Error::io("allocate", what())(e))?;
        let mut table =
            Table { parts, storage, noise: Noise::new(seed, stream), records, last: vec![0; rows] };
        let mut drawn = vec![0f32; shape.columns()];
        with_storage!(storage, T => for row in 0..rows as u32 {
            fill_uniform(&mut drawn, bound, seed, stream, row.into());
            parts.pad(&drawn, table.record_mut::<T>(row).p, T::nearest);
        });
        Ok(table)
    }

    /// How its rows are divided.
    pub fn parts(&self) -> Parts {
        self.parts
    }

    /// Length of a padded row.
    #[inline(always)]
    pub fn stride(&self) -> usize {
        self.parts.stride()
    }

    /// The form of the parameters.
    pub fn storage(&self) -> Storage {
        self.storage
    }

    /// Number of rows.
    pub fn rows(&self) -> usize {
        self.last.len()
    }

    /// The step that last touched `row`.
    pub fn last(&self, row: u32) -> u64 {
        self.last[row as usize]
    }

    /// Parameters, first and second moments of `row`, padded.
    ///
    /// # Panics
    /// If the parameters are of another form than `T`.
    #[inline(always)]
    pub fn record<T: Element>(&self, row: u32) -> Record<'_, T> {
        assert!(T::STORAGE == self.storage, "{} as {}", self.storage, T::STORAGE);
        let (stride, width) = (self.stride(), width(self.stride(), T::STORAGE));
        let run = &self.records[row as usize * width..][..width];
        let (p, moments) = run.split_at(stride * size_of::<T>());
        let (m, v) = bytemuck::cast_slice(moments).split_at(stride);
        Record { p: bytemuck::cast_slice(p), m, v }
    }

    /// As [`Table::record`], to be changed.
    fn record_mut<T: Element>(&mut self, row: u32) -> RecordMut<'_, T> {
        // SAFETY: the table is borrowed for the result alone.
        unsafe { self.shared().row_mut(row) }
    }

    /// Parameters `at` to `at + N` of `row`.
    #[inline(always)]
    pub fn load<const N: usize>(&self, row: u32, at: usize) -> [f32; N] {
        with_storage!(self.storage, T => T::load(&self.record::<T>(row).p[at..][..N]))
    }

    /// Asks for `row`, which is read soon.
    #[inline(always)]
    pub fn prefetch(&self, row: u32) {
        let width = width(self.stride(), self.storage);
        prefetch(self.records.as_ptr().wrapping_add(row as usize * width), width);
        prefetch(self.last.as_ptr().wrapping_add(row as usize), 1);
    }

    /// True if all parameters are finite.
    pub fn is_finite(&self) -> bool {
        with_storage!(self.storage, T => (0..self.rows() as u32).into_par_iter().with_min_len(1024).all(|row| {
            divergence::all_finite(bytemuck::cast_slice(self.record::<T>(row).p), self.storage)
        }))
    }

    /// Shows `exchange` the table, which is called `name`.
    ///
    /// # Errors
    /// As [`Exchange::tensor`].
    pub fn exchange(&mut self, name: &str, exchange: &mut Exchange<'_>) -> Result<()> {
        let shape = [self.rows(), self.parts.columns()];
        for (k, kind) in ["p", "m", "v"].into_iter().enumerate() {
            exchange.tensor(format!("{name}.{kind}"), &shape, &mut Third { table: self, k })?;
        }
        exchange.tensor(format!("{name}.last"), &shape[..1], self.last.as_mut_slice())
    }

    /// Access to distinct rows from several threads at once.
    pub fn shared(&mut self) -> SharedTable<'_> {
        SharedTable {
            stride: self.stride(),
            storage: self.storage,
            noise: self.noise,
            rows: self.last.len(),
            records: self.records.as_mut_ptr(),
            last: self.last.as_mut_ptr(),
            table: std::marker::PhantomData,
        }
    }
}

/// The `k`-th third of every record: parameters, first or second moments.
struct Third<'a> {
    table: &'a mut Table,
    k: usize,
}

impl Place<f32> for Third<'_> {
    fn get(&self) -> Result<Vec<f32>> {
        let (table, parts) = (&*self.table, self.table.parts);
        let mut values = vec![0f32; table.rows() * parts.columns()];
        let rows = values.par_chunks_exact_mut(parts.columns()).enumerate().with_min_len(256);
        with_storage!(table.storage, T => rows.for_each(|(row, out)| {
            let Record { p, m, v } = table.record::<T>(row as u32);
            match self.k {
                0 => parts.unpad(&p.iter().map(|x| x.widen()).collect::<Vec<_>>(), out),
                k => parts.unpad([m, v][k - 1], out),
            }
        }));
        Ok(values)
    }

    fn set(&mut self, values: &[f32]) -> Result<()> {
        let (k, parts) = (self.k, self.table.parts);
        let rows = (0..).zip(values.chunks_exact(parts.columns()));
        with_storage!(self.table.storage, T => rows.for_each(|(row, values)| {
            let RecordMut { p, m, v, .. } = self.table.record_mut::<T>(row);
            match k {
                0 => parts.pad(values, p, T::nearest),
                1 => parts.pad(values, m, |x| x),
                _ => parts.pad(values, v, |x| x),
            }
        }));
        Ok(())
    }
}

/// Fills `out` with uniform numbers in [-bound, bound), four to a Philox block keyed by (seed; stream, row).
pub fn fill_uniform(out: &mut [f32], bound: f64, seed: u64, stream: u32, row: u64) {
    let key = [seed as u32, (seed >> 32) as u32];
    for (block, out) in out.chunks_mut(4).enumerate() {
        // The last word keeps these counters apart from the samplers'.
        let words = philox([block as u32, row as u32, (row >> 32) as u32, 0x494e_4954 + stream], key);
        for (out, word) in out.iter_mut().zip(words) {
            *out = (((f64::from(word) + 0.5) / 2_147_483_648.0 - 1.0) * bound) as f32;
        }
    }
}

/// A [`Table`] whose distinct rows may be written by several threads at once.
#[derive(Debug)]
pub struct SharedTable<'a> {
    stride: usize,
    storage: Storage,
    noise: Noise,
    rows: usize,
    records: *mut u8,
    last: *mut u64,
    table: std::marker::PhantomData<&'a mut Table>,
}

// SAFETY: the pointers come from one exclusive borrow of the table, and `row_mut` makes its caller promise that no
// row is held twice.
unsafe impl Sync for SharedTable<'_> {}

impl<'a> SharedTable<'a> {
    /// The form of the parameters.
    pub fn storage(&self) -> Storage {
        self.storage
    }

    /// Length of a padded row.
    pub fn stride(&self) -> usize {
        self.stride
    }

    /// Random bits for what step `step` (from 1) makes of the parameters of `row`.
    #[inline(always)]
    pub fn noise(&self, step: u64, row: u32) -> RowNoise {
        self.noise.row(step, row)
    }

    /// Asks for `row`, which is changed soon.
    #[inline(always)]
    pub fn prefetch(&self, row: u32) {
        let width = width(self.stride, self.storage);
        prefetch(self.records.wrapping_add(row as usize * width), width);
        prefetch(self.last.wrapping_add(row as usize), 1);
    }

    /// The row.
    ///
    /// # Panics
    /// If the parameters are of another form than `T`.
    ///
    /// # Safety
    /// While the result lives, nobody else may hold the same row.
    #[inline(always)]
    pub unsafe fn row_mut<T: Element>(&self, row: u32) -> RecordMut<'a, T> {
        assert!((row as usize) < self.rows, "row {row} of {}", self.rows);
        assert!(T::STORAGE == self.storage, "{} as {}", self.storage, T::STORAGE);
        let width = width(self.stride, T::STORAGE);
        // SAFETY: the row is inside the table, whose buffers outlive self; the caller promises that it is not aliased.
        let (run, last) = unsafe {
            let run = self.records.add(row as usize * width);
            (std::slice::from_raw_parts_mut(run, width), &mut *self.last.add(row as usize))
        };
        let (p, moments) = run.split_at_mut(self.stride * size_of::<T>());
        let (m, v) = bytemuck::cast_slice_mut(moments).split_at_mut(self.stride);
        RecordMut { p: bytemuck::cast_slice_mut(p), m, v, last }
    }
}
