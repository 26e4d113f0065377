//! `all_pairs`: MACR's main loss over all pairs of match score and gate of a batch.

use super::{
    Buffer, Device, Kernel, Params, Purpose, Shape,
    params::{
        ALL_PAIRS_EPS_THREADS, ALL_PAIRS_EPS_TILE, ALL_PAIRS_EVALUATE_ROWS, ALL_PAIRS_EVALUATE_THREADS,
        ALL_PAIRS_NODES, ALL_PAIRS_PARTIAL_THREADS, ALL_PAIRS_PARTS, ALL_PAIRS_SERIES,
        ALL_PAIRS_SOLVE_THREADS, AllPairsSums,
    },
};
use crate::{error::Result, objective};

// SAFETY: kernels/all_pairs.cu.
unsafe impl Params for AllPairsSums {
    const KERNEL: &'static str = "all_pairs";
}

const SUMS: Purpose = Purpose { what: "the sums over all pairs", lower: "--batch-size" };
/// Scores and gates, each of positives and negatives.
const LISTS: u32 = 4;
/// Losses, score gradients and gate gradients, likewise.
const OUTPUTS: u32 = 6;

/// What the sums are of. Row 0 of a `[2, B]` array is of the positive samples, row 1 of the negative ones.
#[derive(Debug, Clone, Copy)]
pub struct Inputs<'a> {
    /// `[2, B]`: match scores a.
    pub score: &'a Buffer<f32>,
    /// `[2, B]`: gates g.
    pub gate: &'a Buffer<f32>,
    /// `[S]`: rows n of the batch of each step of a chunk.
    pub rows: &'a Buffer<u32>,
    /// Which step of the chunk.
    pub step: usize,
}

/// Where the sums go, already weighted with 1 / n^2. Values beyond the rows of the batch stay as they are.
#[derive(Debug)]
pub struct Outputs<'a> {
    /// `[2, B]`: the loss of each score with every gate.
    pub loss: &'a mut Buffer<f32>,
    /// `[2, B]`: dL/da.
    pub score_gradient: &'a mut Buffer<f32>,
    /// `[2, B]`: dL/dg.
    pub gate_gradient: &'a mut Buffer<f32>,
}

/// Computes the sums of batches of up to B rows.
#[derive(Debug)]
pub struct AllPairs {
    device: Device,
    form: Form,
    batch: u32,
}

/// As [`objective::AllPairs`], with what each needs.
#[derive(Debug)]
enum Form {
    Interpolated(Box<Interpolation>),
    EpsCompat(Kernel<AllPairsSums>),
}

#[derive(Debug)]
struct Interpolation {
    ranges: Kernel<AllPairsSums>,
    moments: Kernel<AllPairsSums>,
    solve: Kernel<AllPairsSums>,
    evaluate: Kernel<AllPairsSums>,
    work: Work,
}

/// What one launch leaves for the next; shapes in kernels/params.h.
#[derive(Debug)]
struct Work {
    ranges: Buffer<f32>,
    moments: Buffer<f64>,
    intervals: Buffer<f64>,
    scaling: Buffer<f32>,
    nodes: Buffer<u32>,
    series: Buffer<f32>,
}

impl AllPairs {
    /// Sums in the given form for batches of up to `batch` rows.
    ///
    /// # Errors
    /// [`crate::Error::DeviceMemory`] if the intermediate results do not fit, [`crate::Error::Device`] if the image
    /// lacks a kernel.
    pub fn new(device: &Device, form: objective::AllPairs, batch: u32) -> Result<Self> {
        let form = match form {
            objective::AllPairs::Interpolated => Form::Interpolated(Box::new(Interpolation {
                ranges: device.kernel_variant("ranges")?,
                moments: device.kernel_variant("moments")?,
                solve: device.kernel_variant("solve")?,
                evaluate: device.kernel_variant("evaluate")?,
                work: Work::new(device, parts(batch))?,
            })),
            objective::AllPairs::EpsCompat => Form::EpsCompat(device.kernel_variant("eps")?),
        };
        Ok(AllPairs { device: device.clone(), form, batch })
    }

    /// Queues the sums of one batch. Can be captured; the number of rows is read on the device.
    ///
    /// # Errors
    /// [`crate::Error::Device`] if a launch is refused.
    ///
    /// # Panics
    /// If an array is smaller than said, or there is no such step.
    pub fn launch(&mut self, inputs: Inputs<'_>, outputs: Outputs<'_>) -> Result<()> {
        let Outputs { loss, score_gradient, gate_gradient } = outputs;
        for array in [inputs.score, inputs.gate, loss, score_gradient, gate_gradient] {
            assert!(array.len() / 2 >= self.batch as usize, "{} values for [2, {}]", array.len(), self.batch);
        }
        assert!(inputs.step < inputs.rows.len(), "step {} of {}", inputs.step, inputs.rows.len());
        let mut params = AllPairsSums {
            score: inputs.score.ptr(),
            gate: inputs.gate.ptr(),
            rows: inputs.rows.ptr().wrapping_add(inputs.step),
            loss: loss.ptr_mut(),
            score_gradient: score_gradient.ptr_mut(),
            gate_gradient: gate_gradient.ptr_mut(),
            ranges: std::ptr::null_mut(),
            moments: std::ptr::null_mut(),
            intervals: std::ptr::null_mut(),
            scaling: std::ptr::null_mut(),
            nodes: std::ptr::null_mut(),
            series: std::ptr::null_mut(),
            batch: self.batch,
            parts: parts(self.batch),
        };
        let launches = match &mut self.form {
            Form::EpsCompat(kernel) => {
                let warps = LISTS * self.batch.div_ceil(ALL_PAIRS_EPS_TILE);
                let blocks = warps.div_ceil(ALL_PAIRS_EPS_THREADS / 32);
                vec![(&*kernel, Shape::linear(blocks, ALL_PAIRS_EPS_THREADS))]
            }
            Form::Interpolated(stages) => {
                stages.work.set(&mut params);
                let by_part =
                    Shape { grid: [params.parts, LISTS, 1], block: ALL_PAIRS_PARTIAL_THREADS, shared: 0 };
                let blocks = self.batch.div_ceil(ALL_PAIRS_EVALUATE_ROWS);
                vec![
                    (&stages.ranges, by_part),
                    (&stages.moments, by_part),
                    (&stages.solve, Shape::linear(2, ALL_PAIRS_SOLVE_THREADS)),
                    (&stages.evaluate, Shape::linear(blocks, ALL_PAIRS_EVALUATE_THREADS)),
                ]
            }
        };
        for (kernel, shape) in launches {
            // SAFETY: the arrays are at least as long as kernels/params.h says; what one stage reads of `work`, an
            // earlier one has written.
            unsafe { self.device.launch(kernel, shape, params)? };
        }
        Ok(())
    }
}

/// Blocks that a list of `batch` values is dealt to.
fn parts(batch: u32) -> u32 {
    batch.div_ceil(ALL_PAIRS_PARTIAL_THREADS).min(ALL_PAIRS_PARTS)
}

impl Work {
    fn new(device: &Device, parts: u32) -> Result<Self> {
        let (lists, parts) = (LISTS as usize, parts as usize);
        Ok(Work {
            ranges: device.alloc(SUMS, lists * parts * 2)?,
            moments: device.alloc(SUMS, lists * parts * ALL_PAIRS_NODES as usize)?,
            intervals: device.alloc(SUMS, lists * 2)?,
            scaling: device.alloc(SUMS, lists * 2)?,
            nodes: device.alloc(SUMS, lists)?,
            series: device.alloc(SUMS, (OUTPUTS * ALL_PAIRS_SERIES) as usize)?,
        })
    }

    fn set(&mut self, params: &mut AllPairsSums) {
        params.ranges = self.ranges.ptr_mut();
        params.moments = self.moments.ptr_mut();
        params.intervals = self.intervals.ptr_mut();
        params.scaling = self.scaling.ptr_mut();
        params.nodes = self.nodes.ptr_mut();
        params.series = self.series.ptr_mut();
    }
}
