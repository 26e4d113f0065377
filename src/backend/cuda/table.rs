//! A parameter table with its optimiser state on the device.

use rayon::prelude::*;

use super::{Buffer, Device, Purpose, Stored, params::Rows};
use crate::{
    backend::{
        cpu::table::{Parts, fill_uniform},
        state::{Exchange, Place, pad, unpadded},
    },
    error::{Error, Result},
    objective::{Layout, Shape},
    simd::LANES,
    storage::{Noise, Storage},
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

/// How rows of one vector of `dim` components lie on the device.
pub fn whole(dim: usize) -> Parts {
    Parts { count: 1, width: dim, stride: stride(dim) }
}

/// How the rows of users and items lie on the device for embeddings of size `dim`.
pub fn parts(layout: Layout, dim: usize, propagated: bool) -> [Parts; 2] {
    layout.shapes(dim, propagated).map(|Shape { parts, width }| {
        // A second vector begins where it does on the CPU: the random bits of rounding go by column.
        let stride = if layout.is_divided() { width.next_multiple_of(LANES) } else { stride(width) };
        Parts { count: parts, width, stride }
    })
}

/// `[rows, stride]` each of parameters, first and second moments. Padding is zero and stays so.
#[derive(Debug)]
pub struct Table {
    rows: usize,
    parts: Parts,
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
    /// The numbers of [`crate::backend::cpu::table::Table::xavier`] for embeddings of size D = `dim`, bit for bit.
    ///
    /// # Errors
    /// [`Error::DeviceMemory`] if it does not fit.
    pub fn xavier(
        device: &Device,
        rows: usize,
        dim: usize,
        parts: Parts,
        storage: Storage,
        seed: u64,
        stream: u32,
    ) -> Result<Self> {
        let (stride, bound) = (parts.stride(), (6.0 / (rows + dim) as f64).sqrt());
        let mut values = vec![0f32; rows * stride];
        let drawn = || vec![0f32; parts.columns()];
        values.par_chunks_exact_mut(stride).enumerate().for_each_init(drawn, |drawn, (row, values)| {
            fill_uniform(drawn, bound, seed, stream, row as u64);
            parts.pad(drawn, values, |x| x);
        });
        Ok(Table {
            rows,
            parts,
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
        parts: Parts,
        (storage, noise): (Storage, Noise),
        values: [&[f32]; 3],
        last: &[u64],
    ) -> Result<Self> {
        assert!(values.iter().all(|values| values.len() == last.len() * parts.stride()), "other lengths");
        let [p, m, v] = values;
        Ok(Table {
            rows: last.len(),
            parts,
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

    /// How its rows are divided.
    pub fn parts(&self) -> Parts {
        self.parts
    }

    /// Distance of two rows.
    pub fn stride(&self) -> usize {
        self.parts.stride()
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
        let (shape, parts) = ([self.rows, self.parts.columns()], self.parts);
        exchange.tensor(format!("{name}.p"), &shape, &mut Padded { buffer: &mut self.p, parts })?;
        for (kind, buffer) in [("m", &mut self.m), ("v", &mut self.v)] {
            exchange.tensor(format!("{name}.{kind}"), &shape, &mut Padded { buffer, parts })?;
        }
        exchange.tensor(format!("{name}.last"), &shape[..1], &mut self.last)
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
    pub parts: Parts,
}

impl<B: Place<f32>> Place<f32> for Padded<'_, B> {
    fn get(&self) -> Result<Vec<f32>> {
        Ok(without_padding(&self.buffer.get()?, self.parts))
    }

    fn set(&mut self, values: &[f32]) -> Result<()> {
        let Parts { width, stride, .. } = self.parts;
        let mut padded = vec![0f32; values.len() / width * stride];
        pad(values, &mut padded, stride, width);
        self.buffer.set(&padded)
    }
}

/// `[rows, columns]` of rows `[rows, stride]`.
pub(super) fn without_padding(rows: &[f32], Parts { width, stride, .. }: Parts) -> Vec<f32> {
    // Vectors lie alike within a row and from row to row.
    unpadded(rows, stride, width)
}
