//! A parameter table with its optimiser state on the device.

use rayon::prelude::*;

use super::{Buffer, Device, Purpose, Stored, params::Rows};
use crate::{
    backend::{
        cpu::table::fill_uniform,
        state::{Exchange, Place, pad, unpadded},
    },
    error::{Error, Result},
    storage::{Noise, Storage},
};

/// Largest embedding size that the kernels are compiled for.
pub const MOST_DIM: usize = 1024;

/// What runs short when a table does not fit.
pub const TABLES: Purpose =
    Purpose { what: "the tables of users and items with their moments", lower: "--dim" };

/// The columns that the kernels for embedding size `dim` are compiled for: `KERNEL_W`.
///
/// # Errors
/// [`Error::Config`] beyond [`MOST_DIM`].
pub fn width(dim: usize) -> Result<usize> {
    if dim > MOST_DIM {
        return Err(Error::config(
            "dim",
            dim,
            "the GPU's kernels are not made for so many columns",
            format!("use at most {MOST_DIM}, or --device cpu"),
        ));
    }
    Ok(dim.next_power_of_two().max(16))
}

/// Which kernels are for tables of this form and width: `KERNEL_W`, or `KERNEL_FORM_W` for 16 bits.
pub(super) fn variant(storage: Storage, width: usize) -> String {
    match storage {
        Storage::F32 => width.to_string(),
        storage => format!("{storage}_{width}"),
    }
}

/// `dim` rounded up to four numbers: the distance of two rows.
pub fn stride(dim: usize) -> usize {
    dim.next_multiple_of(4)
}

/// `[rows, stride]` each of parameters, first and second moments. Columns beyond D are zero and stay so.
#[derive(Debug)]
pub struct Table {
    rows: usize,
    dim: usize,
    noise: Noise,
    /// Parameters.
    pub p: Stored,
    /// First moments.
    pub m: Buffer<f32>,
    /// Second moments.
    pub v: Buffer<f32>,
    /// `[rows]`: the step (from 1) that last touched each row, 0 before the first.
    pub last: Buffer<u64>,
}

impl Table {
    /// The numbers of [`crate::backend::cpu::table::Table::xavier`], bit for bit.
    ///
    /// # Errors
    /// [`Error::DeviceMemory`] if it does not fit.
    pub fn xavier(
        device: &Device,
        rows: usize,
        dim: usize,
        storage: Storage,
        seed: u64,
        stream: u32,
    ) -> Result<Self> {
        let (stride, bound) = (stride(dim), (6.0 / (rows + dim) as f64).sqrt());
        let mut values = vec![0f32; rows * stride];
        values.par_chunks_exact_mut(stride).enumerate().for_each(|(row, values)| {
            fill_uniform(&mut values[..dim], bound, seed, stream, row as u64);
        });
        Ok(Table {
            rows,
            dim,
            noise: Noise::new(seed, stream),
            p: Stored::upload(device, TABLES, storage, &values)?,
            m: device.zeros(TABLES, rows * stride)?,
            v: device.zeros(TABLES, rows * stride)?,
            last: device.zeros(TABLES, rows)?,
        })
    }

    /// The table with these parameters, in their form, first and second moments, `[rows, stride]` each, last touched in
    /// steps `last`; moved parameters are rounded with the bits of `noise`.
    ///
    /// # Errors
    /// [`Error::DeviceMemory`] if it does not fit.
    ///
    /// # Panics
    /// If the lengths do not agree.
    pub fn upload(
        device: &Device,
        dim: usize,
        (storage, noise): (Storage, Noise),
        values: [&[f32]; 3],
        last: &[u64],
    ) -> Result<Self> {
        assert!(values.iter().all(|values| values.len() == last.len() * stride(dim)), "other lengths");
        let [p, m, v] = values;
        Ok(Table {
            rows: last.len(),
            dim,
            noise,
            p: Stored::upload(device, TABLES, storage, p)?,
            m: device.upload(TABLES, m)?,
            v: device.upload(TABLES, v)?,
            last: device.upload(TABLES, last)?,
        })
    }

    /// Number of rows.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Embedding size D.
    pub fn dim(&self) -> usize {
        self.dim
    }

    /// Distance of two rows.
    pub fn stride(&self) -> usize {
        stride(self.dim)
    }

    /// The form of the parameters.
    pub fn storage(&self) -> Storage {
        self.p.storage()
    }

    /// Shows `exchange` the table, which is called `name`.
    ///
    /// # Errors
    /// As [`Exchange::tensor`].
    pub fn exchange(&mut self, name: &str, exchange: &mut Exchange<'_>) -> Result<()> {
        let (rows, dim) = (self.rows, self.dim);
        let p = &mut Padded { buffer: &mut self.p, rows, dim };
        exchange.tensor(format!("{name}.p"), &[rows, dim], p)?;
        for (part, buffer) in [("m", &mut self.m), ("v", &mut self.v)] {
            exchange.tensor(format!("{name}.{part}"), &[rows, dim], &mut Padded { buffer, rows, dim })?;
        }
        exchange.tensor(format!("{name}.last"), &[rows], &mut self.last)
    }

    /// For a kernel that reads it.
    pub(super) fn params(&self) -> Rows {
        Rows {
            noise: self.noise.key(),
            p: self.p.ptr().cast_mut(),
            m: self.m.ptr().cast_mut(),
            v: self.v.ptr().cast_mut(),
            last: self.last.ptr().cast_mut(),
        }
    }

    /// For a kernel that writes it.
    pub(super) fn params_mut(&mut self) -> Rows {
        Rows {
            noise: self.noise.key(),
            p: self.p.ptr_mut(),
            m: self.m.ptr_mut(),
            v: self.v.ptr_mut(),
            last: self.last.ptr_mut(),
        }
    }
}

/// A `[rows, stride]` buffer.
pub(super) struct Padded<'a, B> {
    pub buffer: &'a mut B,
    pub rows: usize,
    pub dim: usize,
}

impl<B: Place<f32>> Place<f32> for Padded<'_, B> {
    fn get(&self) -> Result<Vec<f32>> {
        Ok(unpadded(&self.buffer.get()?, stride(self.dim), self.dim))
    }

    fn set(&mut self, values: &[f32]) -> Result<()> {
        let mut padded = vec![0f32; self.rows * stride(self.dim)];
        pad(values, &mut padded, stride(self.dim), self.dim);
        self.buffer.set(&padded)
    }
}

/// The first `dim` columns of rows that lie `stride` apart.
pub(super) fn unpad(values: Vec<f32>, stride: usize, dim: usize) -> Vec<f32> {
    if stride == dim {
        return values;
    }
    values.chunks_exact(stride).flat_map(|row| &row[..dim]).copied().collect()
}
