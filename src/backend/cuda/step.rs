//! `step`: match scores, the objective's scalar stage, and the gradients of the branch vectors.

use std::ptr::null;

use super::{
    Buffer, Device, Kernel, Params, Shape,
    adam::lanes,
    batch::{BATCHES, Batch, at},
    bias::Bias,
    gather::Gathered,
    params::{self, LOSS_PARTS, STEP_BLOCKS, STEP_SETTINGS, STEP_THREADS},
    sample::{Groups, Samples},
    table::{TABLES, width},
};
use crate::{backend::cpu::table::Parts, error::Result, objective::Objective};

// SAFETY: kernels/step.cu.
unsafe impl Params for params::Step {
    const KERNEL: &'static str = "step";
}

/// Scalars of a batch: arrays `[2, B]` hold the positives in their first row and the negatives in their second, each
/// by row of the batch.
#[derive(Debug)]
pub struct Scalars {
    /// `[2, B]`: dL/da.
    pub score_gradient: Buffer<f32>,
    /// `[2, B]`: the same of the second scores, where rows are divided.
    pub second_gradient: Option<Buffer<f32>>,
    /// `[2, B]`: dL/dy_i, with an item branch or biases.
    pub item_gradient: Buffer<f32>,
    /// `[B]`: dL/dy_u, both samples together, with a user branch.
    pub user_gradient: Buffer<f32>,
    /// `[blocks, 2, stride]`: the blocks' parts of the gradients of the user's and the item's branch vector.
    pub branch_partial: Buffer<f32>,
    /// `[blocks, LOSS_PARTS]`: the blocks' parts of the loss.
    pub loss_partial: Buffer<f64>,
    /// Of objectives that pair all rows.
    pub pairs: Option<Pairs>,
}

/// What goes to and comes from the sums over all pairs; all `[2, B]`.
#[derive(Debug)]
pub struct Pairs {
    /// Match scores a.
    pub score: Buffer<f32>,
    /// Gates g.
    pub gate: Buffer<f32>,
    /// Each score's loss with every gate, weighted.
    pub loss: Buffer<f32>,
    /// dL/dg.
    pub gate_gradient: Buffer<f32>,
}

/// What the scalars of a batch come from.
#[derive(Debug, Clone, Copy)]
pub struct Inputs<'a> {
    /// The rows of users and items.
    pub gathered: [&'a Gathered; 2],
    /// `[S, B]` each: positives and negatives.
    pub items: [&'a Buffer<u32>; 2],
    /// The items' biases, where there are any.
    pub bias: Option<&'a Bias>,
    /// Of objectives with two groups of rows.
    pub groups: Option<&'a Groups>,
}

impl<'a> Inputs<'a> {
    /// Those of an objective without biases and groups.
    pub fn new(gathered: [&'a Gathered; 2], samples: &'a Samples) -> Self {
        Inputs { gathered, items: [&samples.positives, &samples.negatives], bias: None, groups: None }
    }
}

#[derive(Debug)]
enum Stages {
    Whole(Kernel<params::Step>),
    /// Scores and gates before the sums over all pairs, the scalar stage after them.
    Halves {
        scores: Kernel<params::Step>,
        sums: Kernel<params::Step>,
    },
}

/// The launcher for one objective.
#[derive(Debug)]
pub struct Step {
    device: Device,
    stages: Stages,
    /// The objective's.
    setting: [f32; STEP_SETTINGS as usize],
    branches: [bool; 2],
    batch: usize,
    /// Of users and items.
    parts: [Parts; 2],
    steps_per_epoch: u64,
    /// `[I]`, where the objective has any.
    constants: Option<Buffer<f32>>,
    blocks: u32,
}

impl Step {
    /// For batches of up to `batch` rows of users and items that are divided into `parts`, with so many steps in an
    /// epoch.
    ///
    /// # Errors
    /// [`crate::Error::Config`] if there is no kernel for as many columns, [`crate::Error::Device`] if there is none
    /// for the objective, [`crate::Error::DeviceMemory`] if its item constants do not fit.
    ///
    /// # Panics
    /// If the objective has more settings than there is room for in kernels/params.h.
    pub fn new(
        device: &Device,
        objective: &dyn Objective,
        batch: usize,
        parts: [Parts; 2],
        steps_per_epoch: u64,
    ) -> Result<Self> {
        let (settings, mut setting) = (objective.kernel_settings(), [0.0; STEP_SETTINGS as usize]);
        setting[..settings.len()].copy_from_slice(&settings);
        let (name, width) = (objective.kernel(), width(parts[1].stride())?);
        let stages = match objective.all_pairs() {
            None => Stages::Whole(device.kernel_variant(format!("{name}_{width}"))?),
            Some(_) => Stages::Halves {
                scores: device.kernel_variant(format!("{name}_scores_{width}"))?,
                sums: device.kernel_variant(format!("{name}_sums_{width}"))?,
            },
        };
        // Rows of a warp at once: with two and more times four columns a lane, fewer.
        let tile = 32 / lanes(width) * (512 / width.max(128) as u32).max(1);
        Ok(Step {
            stages,
            setting,
            branches: [objective.user_branch(), objective.item_branch()],
            batch,
            parts,
            steps_per_epoch,
            constants: objective.item_constants().map(|c| device.upload(TABLES, c)).transpose()?,
            blocks: (batch as u32).div_ceil(STEP_THREADS / 32 * tile).min(STEP_BLOCKS),
            device: device.clone(),
        })
    }

    /// Room for its results.
    ///
    /// # Errors
    /// [`crate::Error::DeviceMemory`] if they do not fit.
    pub fn scalars(&self) -> Result<Scalars> {
        let (b, blocks) = (self.batch, self.blocks as usize);
        let array = |len| self.device.alloc(BATCHES, len);
        let pairs = match self.stages {
            Stages::Whole(_) => None,
            Stages::Halves { .. } => Some(Pairs {
                score: array(2 * b)?,
                gate: array(2 * b)?,
                loss: array(2 * b)?,
                gate_gradient: array(2 * b)?,
            }),
        };
        Ok(Scalars {
            score_gradient: array(2 * b)?,
            second_gradient: self.is_divided().then(|| array(2 * b)).transpose()?,
            item_gradient: array(2 * b)?,
            user_gradient: array(b)?,
            branch_partial: array(blocks * 2 * self.parts[1].stride())?,
            loss_partial: self.device.alloc(BATCHES, blocks * LOSS_PARTS as usize)?,
            pairs,
        })
    }

    /// `[I]`, where the objective has item constants.
    pub fn constants(&self) -> Option<&Buffer<f32>> {
        self.constants.as_ref()
    }

    fn is_divided(&self) -> bool {
        self.parts[1].count > 1
    }

    /// Number of blocks, each with its own partial sums.
    pub fn blocks(&self) -> u32 {
        self.blocks
    }

    /// Queues scores and scalar stage or, where all rows are paired, scores and gates. Can be captured.
    ///
    /// # Errors
    /// [`crate::Error::Device`] if the launch is refused.
    ///
    /// # Panics
    /// If shapes differ from those that this was made for.
    pub fn launch(&self, batch: Batch<'_>, inputs: Inputs<'_>, out: &mut Scalars) -> Result<()> {
        let (Stages::Whole(kernel) | Stages::Halves { scores: kernel, .. }) = &self.stages;
        self.queue(kernel, batch, inputs, out)
    }

    /// Queues the scalar stage with the sums over all pairs; other objectives have nothing to do. Can be captured.
    ///
    /// # Errors
    /// [`crate::Error::Device`] if the launch is refused.
    pub fn stage(&self, batch: Batch<'_>, inputs: Inputs<'_>, out: &mut Scalars) -> Result<()> {
        match &self.stages {
            Stages::Whole(_) => Ok(()),
            Stages::Halves { sums, .. } => self.queue(sums, batch, inputs, out),
        }
    }

    fn queue(
        &self,
        kernel: &Kernel<params::Step>,
        batch: Batch<'_>,
        Inputs { gathered: [users, items], items: drawn, bias, groups }: Inputs<'_>,
        out: &mut Scalars,
    ) -> Result<()> {
        assert!(batch.size == self.batch && out.score_gradient.len() == 2 * self.batch, "other batch sizes");
        for (gathered, parts) in [users, items].into_iter().zip(self.parts) {
            assert!(gathered.rows.len() == gathered.slots() * parts.stride(), "another stride");
        }
        let logit = |k: usize, gathered: &Gathered| {
            if self.branches[k] { gathered.logit.ptr() } else { null() }
        };
        let none = (std::ptr::null_mut(), std::ptr::null_mut(), null(), null());
        let (score, gate, sum_loss, gate_gradient) = out.pairs.as_mut().map_or(none, |pairs| {
            (pairs.score.ptr_mut(), pairs.gate.ptr_mut(), pairs.loss.ptr(), pairs.gate_gradient.ptr())
        });
        let (second, group_weight) = groups.map_or((null(), null()), |groups| groups.of(batch.k, self.batch));
        let [user_parts, item_parts] = self.parts;
        let stride = item_parts.stride();
        let params = params::Step {
            rows: batch.rows_ptr(),
            user_rows: users.rows.ptr(),
            item_rows: items.rows.ptr(),
            user_logit: logit(0, users),
            item_logit: logit(1, items),
            user_slot: batch.side(batch.users).slot,
            item_slot: batch.side(batch.items).slot,
            score,
            gate,
            sum_loss,
            gate_gradient,
            score_gradient: out.score_gradient.ptr_mut(),
            item_gradient: out.item_gradient.ptr_mut(),
            user_gradient: out.user_gradient.ptr_mut(),
            branch_partial: out.branch_partial.ptr_mut(),
            loss_partial: out.loss_partial.ptr_mut(),
            setting: self.setting,
            batch: self.batch as u32,
            stride: stride as u32,
            part: item_parts.stride as u32,
            user_stride: user_parts.stride() as u32,
            unused: 0,
            items: drawn.map(|ids| at(ids, batch.k * self.batch)),
            item_constants: self.constants.as_ref().map_or(null(), Buffer::ptr),
            item_bias: bias.map_or(null(), |bias| bias.values.ptr()),
            second,
            group_weight,
            second_gradient: out.second_gradient.as_mut().map_or(std::ptr::null_mut(), Buffer::ptr_mut),
            step: batch.step_ptr(),
            steps_per_epoch: self.steps_per_epoch,
        };
        let shared = STEP_THREADS / 32 * stride as u32 * size_of::<f32>() as u32;
        let shape = Shape { grid: [self.blocks, 1, 1], block: STEP_THREADS, shared };
        // SAFETY: the arrays have the shapes that kernels/params.h gives, and slots are slots of the gathered rows.
        unsafe { self.device.launch(kernel, shape, params) }
    }
}
