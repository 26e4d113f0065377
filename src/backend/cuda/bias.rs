//! The items' biases with their moments on the device.

use super::{Buffer, Device, Purpose};
use crate::{backend::Exchange, error::Result};

const BIAS: Purpose = Purpose { what: "the items' biases", lower: "the size of the dataset" };

/// One free scalar for each item, which begins at 0; `[I]` each.
#[derive(Debug)]
pub struct Bias {
    /// The biases.
    pub values: Buffer<f32>,
    /// First moments.
    pub m: Buffer<f32>,
    /// Second moments.
    pub v: Buffer<f32>,
}

impl Bias {
    /// For this many items.
    ///
    /// # Errors
    /// [`crate::Error::DeviceMemory`] if they do not fit.
    pub fn new(device: &Device, items: usize) -> Result<Self> {
        let zeros = || device.zeros(BIAS, items);
        Ok(Bias { values: zeros()?, m: zeros()?, v: zeros()? })
    }

    /// Shows `exchange` the biases, which are called `name`.
    ///
    /// # Errors
    /// As [`Exchange::tensor`].
    pub fn exchange(&mut self, name: &str, exchange: &mut Exchange<'_>) -> Result<()> {
        for (kind, buffer) in [("p", &mut self.values), ("m", &mut self.m), ("v", &mut self.v)] {
            exchange.tensor(format!("{name}.{kind}"), &[buffer.len()], buffer)?;
        }
        Ok(())
    }
}
