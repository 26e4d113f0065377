//! A linear branch's vector with its moments on the device.

use super::{
    Buffer, Device, Purpose,
    table::{Padded, stride},
};
use crate::{
    backend::state::{Exchange, Place},
    error::Result,
};

const BRANCH: Purpose = Purpose { what: "the branches", lower: "--dim" };

/// y = w . x.
#[derive(Debug)]
pub struct Branch {
    dim: usize,
    /// `[2, stride]`: the half with the parity of the number of steps done is the present vector.
    pub values: Buffer<f32>,
    /// `[stride]`: first moments.
    pub m: Buffer<f32>,
    /// `[stride]`: second moments.
    pub v: Buffer<f32>,
}

impl Branch {
    /// A branch before its first step.
    ///
    /// # Errors
    /// [`crate::Error::DeviceMemory`] if it does not fit.
    pub fn new(device: &Device, weight: &[f32]) -> Result<Self> {
        let stride = stride(weight.len());
        let mut values = vec![0f32; 2 * stride];
        values[..weight.len()].copy_from_slice(weight);
        Ok(Branch {
            dim: weight.len(),
            values: device.upload(BRANCH, &values)?,
            m: device.zeros(BRANCH, stride)?,
            v: device.zeros(BRANCH, stride)?,
        })
    }

    /// The vector after `steps` steps, `[D]`.
    ///
    /// # Errors
    /// [`crate::Error::Device`] if the device fails.
    pub fn read(&self, steps: u64) -> Result<Vec<f32>> {
        let first = (steps % 2) as usize * stride(self.dim);
        Ok(self.values.read()?[first..first + self.dim].to_vec())
    }

    /// Shows `exchange` the branch after `steps` steps, which is called `name`.
    ///
    /// # Errors
    /// As [`Exchange::tensor`].
    pub fn exchange(&mut self, name: &str, steps: u64, exchange: &mut Exchange<'_>) -> Result<()> {
        let dim = self.dim;
        exchange.tensor(format!("{name}.p"), &[dim], &mut Present { branch: self, steps })?;
        for (part, buffer) in [("m", &mut self.m), ("v", &mut self.v)] {
            exchange.tensor(format!("{name}.{part}"), &[dim], &mut Padded { buffer, rows: 1, dim })?;
        }
        Ok(())
    }
}

/// The half that is the vector after `steps` steps.
struct Present<'a> {
    branch: &'a mut Branch,
    steps: u64,
}

impl Place<f32> for Present<'_> {
    fn get(&self) -> Result<Vec<f32>> {
        self.branch.read(self.steps)
    }

    fn set(&mut self, values: &[f32]) -> Result<()> {
        let mut both = self.branch.values.read()?;
        both[(self.steps % 2) as usize * stride(self.branch.dim)..][..values.len()].copy_from_slice(values);
        self.branch.values.write(&both)
    }
}
