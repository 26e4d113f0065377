//! `adam`: how rows that steps have not touched are brought up to date.

use super::{
    Buffer, Device, Kernel, Params, Purpose, Shape,
    params::{self, EXPORT_THREADS, LONGEST_GAP, RULES_THREADS},
    table::{TABLES, Table, variant, width},
};
use crate::{
    error::Result,
    optim::{Adam, CatchUp, Rules, power},
    storage::Storage,
};

// SAFETY: kernels/adam.cu.
unsafe impl Params for params::Rules {
    const KERNEL: &'static str = "rules";
}

// SAFETY: kernels/adam.cu.
unsafe impl Params for params::Export {
    const KERNEL: &'static str = "export";
}

// SAFETY: kernels/adam.cu.
unsafe impl Params for params::Round {
    const KERNEL: &'static str = "round";
}

const RULES: Purpose = Purpose { what: "the optimiser's tables", lower: "--batch-size" };
/// Numbers of one step's rules.
const STEP_RULES: usize = 4 * (LONGEST_GAP as usize + 1);

/// What Adam's kernels read and what no step changes.
#[derive(Debug)]
pub struct Optimiser {
    device: Device,
    kernel: Kernel<params::Rules>,
    adam: Adam,
    catch_up: CatchUp,
    rate: Buffer<f64>,
    ended: Buffer<f32>,
    decay: Buffer<f32>,
}

/// The rules of S consecutive steps, `[S, LONGEST_GAP + 1, 4]`: two weights and two roots.
#[derive(Debug)]
pub struct StepRules(Buffer<f32>);

impl StepRules {
    /// Room for `steps` steps.
    ///
    /// # Errors
    /// [`crate::Error::DeviceMemory`] if it does not fit.
    pub fn new(device: &Device, steps: usize) -> Result<Self> {
        device.alloc(RULES, steps * STEP_RULES).map(StepRules)
    }

    /// Those of step `k`.
    pub(super) fn ptr(&self, k: usize) -> *const f32 {
        super::batch::at(&self.0, k * STEP_RULES)
    }

    /// All of them, on the host.
    ///
    /// # Errors
    /// [`crate::Error::Device`] if the device fails.
    pub fn read(&self) -> Result<Vec<f32>> {
        self.0.read()
    }
}

impl Optimiser {
    /// Adam with these constants.
    ///
    /// # Errors
    /// [`crate::Error::DeviceMemory`] if its tables do not fit.
    pub fn new(device: &Device, adam: Adam, catch_up: CatchUp) -> Result<Self> {
        let ended = Rules::ended(adam);
        let rate: Vec<f64> =
            (0..ended.len() as u64).map(|t| if t == 0 { 0.0 } else { adam.rate(t) }).collect();
        let ended: Vec<f32> = ended.iter().flat_map(|r| [r.weight, r.root]).flatten().collect();
        let powers = |n| [adam.beta1, adam.beta2].map(|b| power(f64::from(b), n) as f32);
        let decay: Vec<f32> = (0..=u64::from(LONGEST_GAP)).flat_map(powers).collect();
        Ok(Optimiser {
            kernel: device.kernel()?,
            adam,
            catch_up,
            rate: device.upload(RULES, &rate)?,
            ended: device.upload(RULES, &ended)?,
            decay: device.upload(RULES, &decay)?,
            device: device.clone(),
        })
    }

    pub(super) fn params(&self) -> params::Optimiser {
        params::Optimiser {
            rate: self.rate.ptr(),
            ended: self.ended.ptr(),
            decay: self.decay.ptr(),
            settled: self.rate.len() as u64 - 1,
            beta1: self.adam.beta1,
            beta2: self.adam.beta2,
            epsilon: self.adam.epsilon,
            replay: u32::from(self.catch_up == CatchUp::Replay),
        }
    }

    /// Queues the rules that bring rows to the states before `steps` steps, `step` of them each done. Can be captured.
    ///
    /// # Errors
    /// [`crate::Error::Device`] if the launch is refused.
    ///
    /// # Panics
    /// If `step` or `rules` is shorter.
    pub fn rules(&self, step: &Buffer<u64>, steps: u32, rules: &mut StepRules) -> Result<()> {
        assert!(
            steps as usize <= step.len() && steps as usize * STEP_RULES <= rules.0.len(),
            "{steps} steps"
        );
        let params = params::Rules { step: step.ptr(), weights: rules.0.ptr_mut(), adam: self.params() };
        // SAFETY: the arrays have room for `steps` steps.
        unsafe { self.device.launch(&self.kernel, Shape::linear(steps, RULES_THREADS), params) }
    }

    /// A copy of `table` with every row in the state after `steps` steps, `[rows, stride]`; the table is only read.
    ///
    /// # Errors
    /// [`crate::Error::DeviceMemory`] if the copy does not fit.
    pub fn export(&self, table: &Table, steps: u64) -> Result<Buffer<f32>> {
        let (width, stride) = (width(table.stride())?, table.stride());
        let step = self.device.upload(RULES, &[steps])?;
        let mut rules = StepRules::new(&self.device, 1)?;
        self.rules(&step, 1, &mut rules)?;
        let mut out = self.device.alloc::<f32>(TABLES, table.rows() * stride)?;
        let params = params::Export {
            step: step.ptr(),
            weights: rules.ptr(0),
            out: out.ptr_mut(),
            table: table.params(),
            adam: self.params(),
            rows: table.rows() as u32,
            stride: stride as u32,
        };
        let groups = EXPORT_THREADS / lanes(width);
        let shape = Shape::linear((table.rows() as u32).div_ceil(groups), EXPORT_THREADS);
        let kernel = self.device.kernel_variant(variant(table.storage(), width))?;
        // SAFETY: `out` is of the table's size; memory that is freed is given away in the order of the stream.
        unsafe { self.device.launch(&kernel, shape, params)? };
        Ok(out)
    }
}

/// Queues rounding of `values` to the nearest numbers of a form.
///
/// # Errors
/// [`crate::Error::Device`] if the launch is refused.
pub fn round(device: &Device, storage: Storage, values: &mut Buffer<f32>) -> Result<()> {
    if storage == Storage::F32 || values.is_empty() {
        return Ok(());
    }
    assert!(values.len().is_multiple_of(4), "{} numbers", values.len());
    let params = params::Round { values: values.ptr_mut(), count: values.len() as u64 };
    let blocks = (values.len() / 4).div_ceil(EXPORT_THREADS as usize) as u32;
    let kernel = device.kernel_variant(storage)?;
    // SAFETY: there are so many values.
    unsafe { device.launch(&kernel, Shape::linear(blocks, EXPORT_THREADS), params) }
}

/// Lanes that share a row in the kernels for `width` columns.
pub(super) fn lanes(width: usize) -> u32 {
    (width as u32 / 4).min(32)
}
