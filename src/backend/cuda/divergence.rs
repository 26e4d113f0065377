//! `divergence`: whether a number of a table is no longer finite.

use super::{
    Buffer, Device, Kernel, Params, Purpose, Shape, Stored,
    params::{DIVERGENCE_THREADS, Divergence as DivergenceParams},
};
use crate::{backend::cpu::divergence::exponents, error::Result};

// SAFETY: kernels/divergence.cu.
unsafe impl Params for DivergenceParams {
    const KERNEL: &'static str = "divergence_any";
}

/// Blocks at most: enough to keep any device's memory busy.
const BLOCKS: usize = 4096;

/// The launcher.
#[derive(Debug)]
pub struct Divergence {
    device: Device,
    kernel: Kernel<DivergenceParams>,
    found: Buffer<u32>,
}

impl Divergence {
    /// For any tables.
    ///
    /// # Errors
    /// [`crate::Error::Device`] if the image lacks the kernel, [`crate::Error::DeviceMemory`] without room for a
    /// number.
    pub fn new(device: &Device) -> Result<Self> {
        let found = device.zeros(Purpose { what: "a look at the parameters", lower: "--dim" }, 1)?;
        Ok(Divergence { kernel: device.kernel()?, found, device: device.clone() })
    }

    /// Waits for all queued work; true if all numbers of `tables` are finite.
    ///
    /// # Errors
    /// [`crate::Error::Device`] if the device fails, or any queued work did.
    pub fn all_finite(&mut self, tables: &[&Stored]) -> Result<bool> {
        self.found.fill_zero()?;
        for table in tables.iter().filter(|table| !table.is_empty()) {
            let length = table.len() * table.storage().bytes() / size_of::<u32>();
            let [high, low] = exponents(table.storage());
            let (words, found) = (table.ptr().cast(), self.found.ptr_mut());
            let params = DivergenceParams { words, found, length: length as u64, high, low };
            let blocks = length.div_ceil(DIVERGENCE_THREADS as usize).min(BLOCKS);
            let shape = Shape::linear(blocks as u32, DIVERGENCE_THREADS);
            // SAFETY: the table has so many words: rows are multiples of four numbers.
            unsafe { self.device.launch(&self.kernel, shape, params) }?;
        }
        Ok(self.found.read()?[0] == 0)
    }
}
