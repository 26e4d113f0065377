//! `ceiling`: what the device's memory can do, for measurements of other kernels to be compared with.

use super::{
    Buffer, Device, Kernel, Params, Shape,
    params::{CEILING_COLUMNS, CEILING_ROWS, CEILING_THREADS, CeilingCopy, CeilingGather},
};
use crate::error::Result;

// SAFETY: kernels/ceiling.cu.
unsafe impl Params for CeilingCopy {
    const KERNEL: &'static str = "ceiling_copy";
}

// SAFETY: kernels/ceiling.cu.
unsafe impl Params for CeilingGather {
    const KERNEL: &'static str = "ceiling_gather";
}

/// Elements that a block of the copy moves.
const COPIED: u32 = CEILING_THREADS * 4 * 4;
/// Sums that a block of the gathering makes.
const SUMMED: u32 = CEILING_THREADS / (CEILING_COLUMNS / 4);

/// The launcher.
#[derive(Debug)]
pub struct Ceiling {
    device: Device,
    copy: Kernel<CeilingCopy>,
    gather: Kernel<CeilingGather>,
}

impl Ceiling {
    /// For any sizes.
    ///
    /// # Errors
    /// [`crate::Error::Device`] if the image lacks the kernels.
    pub fn new(device: &Device) -> Result<Self> {
        Ok(Ceiling { copy: device.kernel()?, gather: device.kernel()?, device: device.clone() })
    }

    /// Queues a copy. Can be captured.
    ///
    /// # Errors
    /// [`crate::Error::Device`] if the launch is refused.
    ///
    /// # Panics
    /// Unless both are of one length, a multiple of 4.
    pub fn copy(&self, from: &Buffer<f32>, to: &mut Buffer<f32>) -> Result<()> {
        let length = from.len();
        assert!(length == to.len() && length.is_multiple_of(4), "{length} to {} elements", to.len());
        let params = CeilingCopy { from: from.ptr(), to: to.ptr_mut(), length: length as u64 };
        let shape = Shape::linear(length.div_ceil(COPIED as usize) as u32, CEILING_THREADS);
        // SAFETY: both have `length` elements.
        unsafe { self.device.launch(&self.copy, shape, params) }
    }

    /// Queues the sums of 32 rows each: `table` is `[rows, 64]`, `ids` `[groups, 32]` and `sums` `[groups, 64]`. Can be
    /// captured.
    ///
    /// # Safety
    /// Every id is that of a row.
    ///
    /// # Errors
    /// [`crate::Error::Device`] if the launch is refused.
    ///
    /// # Panics
    /// If lengths do not agree.
    pub unsafe fn gather(
        &self,
        table: &Buffer<f32>,
        ids: &Buffer<u32>,
        sums: &mut Buffer<f32>,
    ) -> Result<()> {
        let groups = sums.len() / CEILING_COLUMNS as usize;
        assert_eq!(ids.len(), groups * CEILING_ROWS as usize, "ids of {groups} sums");
        let params =
            CeilingGather { table: table.ptr(), ids: ids.ptr(), sums: sums.ptr_mut(), groups: groups as u64 };
        let shape = Shape::linear((groups as u32).div_ceil(SUMMED), CEILING_THREADS);
        // SAFETY: lengths were checked; ids are the caller's promise.
        unsafe { self.device.launch(&self.gather, shape, params) }
    }
}
