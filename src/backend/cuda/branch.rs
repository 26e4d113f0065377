//! A linear branch's vector with its moments on the device.

use super::{Buffer, Device, Purpose, table::stride};
use crate::{error::Result, model};

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

    /// The branch after `steps` steps.
    ///
    /// # Errors
    /// [`crate::Error::Device`] if the device fails.
    pub fn read(&self, steps: u64) -> Result<model::Branch> {
        let first = (steps % 2) as usize * stride(self.dim);
        Ok(model::Branch::Linear { weight: self.values.read()?[first..first + self.dim].to_vec() })
    }
}
