//! A parameter table with its optimiser state on the device.

use rayon::prelude::*;

use super::{Buffer, Device, Purpose, params::Rows};
use crate::{
    backend::cpu::table::{Parts, fill_uniform},
    error::{Error, Result},
    objective::Shape,
};

/// Most columns of a row that the kernels are compiled for.
pub const MOST_COLUMNS: usize = 1024;

/// What runs short when a table does not fit.
pub const TABLES: Purpose =
    Purpose { what: "the tables of users and items with their moments", lower: "--dim" };

/// The columns that the kernels for rows of so many are compiled for: `KERNEL_W`.
///
/// # Errors
/// [`Error::Config`] beyond [`MOST_COLUMNS`].
pub fn width(columns: usize) -> Result<usize> {
    if columns > MOST_COLUMNS {
        return Err(Error::config(
            "dim",
            columns,
            "the GPU's kernels are not made for so many columns, both vectors of a row together where there are two",
            format!("use at most {MOST_COLUMNS}, or --device cpu"),
        ));
    }
    Ok(columns.next_power_of_two().max(16))
}

/// `columns` rounded up to 128 bits: the distance of two vectors.
pub fn stride(columns: usize) -> usize {
    columns.next_multiple_of(4)
}

/// How rows of this shape lie on the device.
pub fn parts(Shape { parts, width }: Shape) -> Parts {
    Parts { count: parts, width, stride: stride(width) }
}

/// `[rows, stride]` each of parameters, first and second moments. Padding is zero and stays so.
#[derive(Debug)]
pub struct Table {
    rows: usize,
    parts: Parts,
    /// Parameters.
    pub p: Buffer<f32>,
    /// First moments.
    pub m: Buffer<f32>,
    /// Second moments.
    pub v: Buffer<f32>,
    /// `[rows]`: the step (from 1) that last touched each row, 0 before the first.
    pub last: Buffer<u64>,
}

impl Table {
    /// The numbers of [`crate::backend::cpu::table::Table::xavier`] for embeddings of size D = `dim`, bit for bit.
    ///
    /// # Errors
    /// [`Error::DeviceMemory`] if it does not fit.
    pub fn xavier(
        device: &Device,
        rows: usize,
        dim: usize,
        parts: Parts,
        seed: u64,
        stream: u32,
    ) -> Result<Self> {
        let (stride, bound) = (parts.stride(), (6.0 / (rows + dim) as f64).sqrt());
        let (p, m, v) = (
            device.alloc(TABLES, rows * stride)?,
            device.zeros(TABLES, rows * stride)?,
            device.zeros(TABLES, rows * stride)?,
        );
        let mut table = Table { rows, parts, p, m, v, last: device.zeros(TABLES, rows)? };
        let mut values = vec![0f32; rows * stride];
        let drawn = || vec![0f32; parts.columns()];
        values.par_chunks_exact_mut(stride).enumerate().for_each_init(drawn, |drawn, (row, values)| {
            fill_uniform(drawn, bound, seed, stream, row as u64);
            parts.pad(drawn, values);
        });
        table.p.write(&values)?;
        Ok(table)
    }

    /// The table with these parameters, first and second moments, `[rows, stride]` each, last touched in steps `last`.
    ///
    /// # Errors
    /// [`Error::DeviceMemory`] if it does not fit.
    ///
    /// # Panics
    /// If the lengths do not agree.
    pub fn upload(device: &Device, parts: Parts, values: [&[f32]; 3], last: &[u64]) -> Result<Self> {
        assert!(values.iter().all(|values| values.len() == last.len() * parts.stride()), "other lengths");
        let [p, m, v] = values;
        Ok(Table {
            rows: last.len(),
            parts,
            p: device.upload(TABLES, p)?,
            m: device.upload(TABLES, m)?,
            v: device.upload(TABLES, v)?,
            last: device.upload(TABLES, last)?,
        })
    }

    /// Number of rows.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// How its rows are divided.
    pub fn parts(&self) -> Parts {
        self.parts
    }

    /// Distance of two rows.
    pub fn stride(&self) -> usize {
        self.parts.stride()
    }

    /// For a kernel that reads it.
    pub(super) fn params(&self) -> Rows {
        Rows {
            p: self.p.ptr().cast_mut(),
            m: self.m.ptr().cast_mut(),
            v: self.v.ptr().cast_mut(),
            last: self.last.ptr().cast_mut(),
        }
    }

    /// For a kernel that writes it.
    pub(super) fn params_mut(&mut self) -> Rows {
        Rows { p: self.p.ptr_mut(), m: self.m.ptr_mut(), v: self.v.ptr_mut(), last: self.last.ptr_mut() }
    }
}

/// Rows `[., stride]` without padding, `[., columns]`.
pub(super) fn unpad(values: Vec<f32>, parts: Parts) -> Vec<f32> {
    if parts.stride() == parts.columns() {
        return values;
    }
    let mut rows = vec![0f32; values.len() / parts.stride() * parts.columns()];
    let padded = values.chunks_exact(parts.stride());
    padded.zip(rows.chunks_exact_mut(parts.columns())).for_each(|(row, out)| parts.unpad(row, out));
    rows
}
