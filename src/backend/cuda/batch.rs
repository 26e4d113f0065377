//! One step's batch within a chunk of batches.

use super::{
    Buffer, Purpose,
    sample::{Samples, Touched},
};

/// What runs short when buffers for a batch do not fit.
pub const BATCHES: Purpose = Purpose { what: "the batches", lower: "--batch-size" };

/// The batch of step `k` of a chunk.
#[derive(Debug, Clone, Copy)]
pub struct Batch<'a> {
    /// `[S]`: steps done before each step.
    pub step: &'a Buffer<u64>,
    /// `[S]`: rows of each step's batch, at most B.
    pub rows: &'a Buffer<u32>,
    /// Users touched.
    pub users: &'a Touched,
    /// Items touched.
    pub items: &'a Touched,
    /// Which of the S steps.
    pub k: usize,
    /// B.
    pub size: usize,
}

impl<'a> Batch<'a> {
    /// Step `k` of the chunk that `samples` holds.
    pub fn of(samples: &'a Samples, k: usize) -> Self {
        Batch {
            step: &samples.step,
            rows: &samples.rows,
            users: &samples.touched_users,
            items: &samples.touched_items,
            k,
            size: samples.batch() as usize,
        }
    }

    /// `[1]`: steps done before this one.
    pub(super) fn step_ptr(&self) -> *const u64 {
        at(self.step, self.k)
    }

    /// `[1]`: rows of the batch.
    pub(super) fn rows_ptr(&self) -> *const u32 {
        at(self.rows, self.k)
    }

    /// This step's arrays of one side.
    pub(super) fn side(&self, touched: &Touched) -> SidePtrs {
        let first = self.k * 2 * self.size;
        SidePtrs {
            touched: at(&touched.rows, first),
            starts: at(&touched.starts, first + self.k),
            samples: at(&touched.samples, first),
            slot: at(&touched.slot, first),
            count: at(&touched.count, self.k),
        }
    }
}

/// One step's arrays of [`Touched`].
pub(super) struct SidePtrs {
    pub touched: *const u32,
    pub starts: *const u32,
    pub samples: *const u32,
    pub slot: *const u32,
    pub count: *const u32,
}

/// Where element `index` lies.
///
/// # Panics
/// If there is none.
pub(super) fn at<T: super::Element>(buffer: &Buffer<T>, index: usize) -> *const T {
    assert!(index < buffer.len(), "element {index} of {}", buffer.len());
    buffer.ptr().wrapping_add(index)
}
