//! A parameter table with its optimiser state, laid out so that one touched row is one run of memory.

use memmap2::MmapMut;

use crate::{
    error::{Error, Result},
    objective::Shape,
    sampling::philox::philox,
    simd::{LANES, prefetch},
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

    /// A row without padding, `[columns]`, into one that is zero, `[stride]`.
    pub fn pad(self, row: &[f32], out: &mut [f32]) {
        for (part, out) in row.chunks_exact(self.width).zip(out.chunks_exact_mut(self.stride)) {
            out[..self.width].copy_from_slice(part);
        }
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

/// `[rows, 3, stride]` f32: parameters, first and second moments side by side; the stride is that of the row's vectors,
/// each padded with zeros.
///
/// Padding stays zero: its gradient is.
#[derive(Debug)]
pub struct Table {
    parts: Parts,
    /// Anonymous memory in huge pages where the system has them: touched rows lie far apart, and each would cost a
    /// walk of the page table.
    records: MmapMut,
    /// `[rows]`: the step (from 1) that last touched each row, 0 before the first.
    last: Vec<u64>,
}

/// One row's parameters, first and second moments.
pub type Record<'a> = [&'a [f32]; 3];

impl Table {
    /// Xavier-uniform parameters, +-sqrt(6 / (rows + D)) as in the reference code (its fan-in is the number of
    /// rows), and moments of zero, for embeddings of size D = `dim`. `stream` tells tables of one seed apart.
    ///
    /// # Errors
    /// [`Error::Data`] if there is not enough memory.
    pub fn xavier(rows: usize, dim: usize, shape: Shape, seed: u64, stream: u32) -> Result<Self> {
        let bound = (6.0 / (rows + dim) as f64).sqrt();
        let parts = Parts::new(shape);
        let stride = parts.stride();
        let bytes = rows * 3 * stride * size_of::<f32>();
        let mut records = MmapMut::map_anon(bytes.max(1)).map_err(|e| {
            Error::data(
                format!("a table of {rows} rows x {} with its moments needs {bytes} bytes, and there are not so many ({e})", shape.columns()),
                "lower --dim, or train on a machine with more memory",
            )
        })?;
        // A wish: without huge pages everything works, slower.
        #[cfg(target_os = "linux")]
        let _ = records.advise(memmap2::Advice::HugePage);
        let values: &mut [f32] = bytemuck::cast_slice_mut(&mut records[..bytes]);
        let mut drawn = vec![0f32; shape.columns()];
        for (row, record) in values.chunks_exact_mut(3 * stride).enumerate() {
            fill_uniform(&mut drawn, bound, seed, stream, row as u64);
            parts.pad(&drawn, &mut record[..stride]);
        }
        Ok(Table { parts, records, last: vec![0; rows] })
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

    /// Number of rows.
    pub fn rows(&self) -> usize {
        self.last.len()
    }

    /// The step that last touched `row`.
    pub fn last(&self, row: u32) -> u64 {
        self.last[row as usize]
    }

    /// Parameters, first and second moments of `row`, padded.
    #[inline(always)]
    pub fn record(&self, row: u32) -> Record<'_> {
        let width = 3 * self.stride() * size_of::<f32>();
        let run: &[f32] = bytemuck::cast_slice(&self.records[row as usize * width..][..width]);
        let (p, rest) = run.split_at(self.stride());
        let (m, v) = rest.split_at(self.stride());
        [p, m, v]
    }

    /// Asks for `row`, which is read soon.
    #[inline(always)]
    pub fn prefetch(&self, row: u32) {
        let width = 3 * self.stride();
        prefetch(self.records.as_ptr().cast::<f32>().wrapping_add(row as usize * width), width);
        prefetch(self.last.as_ptr().wrapping_add(row as usize), 1);
    }

    /// Access to distinct rows from several threads at once.
    pub fn shared(&mut self) -> SharedTable<'_> {
        SharedTable {
            stride: self.stride(),
            rows: self.last.len(),
            records: self.records.as_mut_ptr().cast(),
            last: self.last.as_mut_ptr(),
            table: std::marker::PhantomData,
        }
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
    rows: usize,
    records: *mut f32,
    last: *mut u64,
    table: std::marker::PhantomData<&'a mut Table>,
}

// SAFETY: the pointers come from one exclusive borrow of the table, and `row_mut` makes its caller promise that no
// row is held twice.
unsafe impl Sync for SharedTable<'_> {}

impl SharedTable<'_> {
    /// Length of a padded row.
    pub fn stride(&self) -> usize {
        self.stride
    }

    /// Asks for `row`, which is changed soon.
    #[inline(always)]
    pub fn prefetch(&self, row: u32) {
        let width = 3 * self.stride;
        prefetch(self.records.wrapping_add(row as usize * width), width);
        prefetch(self.last.wrapping_add(row as usize), 1);
    }

    /// The row's record (three times the stride) and its last step.
    ///
    /// # Safety
    /// While the result lives, nobody else may hold the same row.
    #[allow(clippy::mut_from_ref)]
    #[inline(always)]
    pub unsafe fn row_mut(&self, row: u32) -> (&mut [f32], &mut u64) {
        assert!((row as usize) < self.rows, "row {row} of {}", self.rows);
        let width = 3 * self.stride;
        // SAFETY: the row is inside the table, whose buffers outlive self; the caller promises that it is not aliased.
        unsafe {
            (
                std::slice::from_raw_parts_mut(self.records.add(row as usize * width), width),
                &mut *self.last.add(row as usize),
            )
        }
    }
}
