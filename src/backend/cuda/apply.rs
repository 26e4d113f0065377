//! `apply`: per touched row the gradient and Adam in place, Adam on the branch vectors, and the loss's totals.

use super::{
    Buffer, Device, Kernel, Params, Shape,
    adam::{Optimiser, lanes},
    batch::{BATCHES, Batch},
    bias::Bias,
    branch::Branch,
    gather::{Gather, Gathered},
    params::{self, APPLY_THREADS, APPLY_WINDOW, FORM_BF16, FORM_F16, FORM_F32, LOSS_PARTS, PENALTY_NONE},
    penalty::Penalty,
    sample::Touched,
    step::{Scalars, Step},
    table::{Table, variant, width},
};
use crate::{
    backend::cpu::table::Parts,
    error::Result,
    objective::{ItemHead, Objective},
    storage::Storage,
};

// SAFETY: kernels/apply.cu.
unsafe impl Params for params::Apply {
    const KERNEL: &'static str = "apply";
}

/// Parts of the sums of rows with many samples.
#[derive(Debug)]
struct Windows {
    /// `[windows, 2, stride]`.
    partial: Buffer<f32>,
    /// `[windows, 2]`.
    upstream: Buffer<f32>,
    /// `[windows]`: zero between launches.
    arrived: Buffer<u32>,
}

/// What a step changes of one side.
#[derive(Debug)]
pub struct Side<'a> {
    /// Where the rows are.
    pub table: &'a mut Table,
    /// Where there is a branch.
    pub branch: Option<&'a mut Branch>,
    /// Where there is a branch with a hidden layer: what it adds to the gradients, `[slots, stride]`.
    pub dx: Option<&'a Buffer<f32>>,
    /// Where there are biases.
    pub bias: Option<&'a mut Bias>,
    /// The rows before the step.
    pub own: &'a Gathered,
}

/// What has been queued before.
#[derive(Debug, Clone, Copy)]
pub struct Before<'a> {
    /// The gathering.
    pub gather: &'a Gather,
    /// The scalar stage.
    pub step: &'a Step,
    /// Its results.
    pub scalars: &'a Scalars,
    /// Where the objective has one.
    pub penalty: Option<&'a Penalty>,
}

/// The launcher.
#[derive(Debug)]
pub struct Apply {
    device: Device,
    kernel: Kernel<params::Apply>,
    storage: Storage,
    /// Of users and items.
    parts: [Parts; 2],
    batch: usize,
    /// The kernel knows divided rows, penalties and biases.
    general: bool,
    /// Groups of lanes of a block.
    groups: u32,
    slots: [usize; 2],
    windows: [Windows; 2],
    /// No row of this side has more samples than a window.
    short: [bool; 2],
    /// LightGCN: `[slots, stride]` gradients of the final embeddings of users and items.
    pub gradients: Option<[Buffer<f32>; 2]>,
    /// `[LOSS_PARTS + 2]`: sums over steps of the loss's parts, its penalty and its L2 term.
    pub losses: Buffer<f64>,
}

impl Apply {
    /// For tables in one form, and batches of up to `batch` rows with up to `slots` distinct users and items, whose
    /// rows are divided into `parts`. `distinct_users`: no user is in two rows of a batch.
    ///
    /// # Errors
    /// [`crate::Error::Config`] if there is no kernel for as many columns, [`crate::Error::DeviceMemory`] if the
    /// buffers do not fit.
    pub fn new(
        device: &Device,
        objective: &dyn Objective,
        parts: [Parts; 2],
        storage: Storage,
        batch: usize,
        slots: [usize; 2],
        distinct_users: bool,
    ) -> Result<Self> {
        let general = objective.layout().is_divided()
            || objective.penalty().is_some()
            || objective.item_head() == ItemHead::Bias;
        // A row of the users has no more columns than one of the items.
        let width = width(parts[1].stride())?;
        let windows = |k: usize, short: bool| {
            let n = if short { 0 } else { (2 * batch).div_ceil(APPLY_WINDOW as usize) };
            Ok(Windows {
                partial: device.alloc(BATCHES, n * 2 * parts[k].stride())?,
                upstream: device.alloc(BATCHES, n * 2)?,
                arrived: device.zeros(BATCHES, n)?,
            })
        };
        let short = [distinct_users, 2 * batch <= APPLY_WINDOW as usize];
        Ok(Apply {
            kernel: if general {
                device.kernel_variant(format_args!("general_{width}"))?
            } else {
                device.kernel_variant(variant(storage, width))?
            },
            storage,
            parts,
            batch,
            general,
            groups: APPLY_THREADS / lanes(width),
            slots,
            windows: [windows(0, short[0])?, windows(1, short[1])?],
            short,
            gradients: None,
            losses: device.zeros(BATCHES, LOSS_PARTS as usize + 2)?,
            device: device.clone(),
        })
    }

    /// For LightGCN: gradients of the final embeddings are written, and no row moves.
    ///
    /// # Errors
    /// [`crate::Error::DeviceMemory`] if they do not fit.
    pub fn propagated(mut self) -> Result<Self> {
        let gradients = |k: usize| self.device.alloc(BATCHES, self.slots[k] * self.parts[k].stride());
        self.gradients = Some([gradients(0)?, gradients(1)?]);
        Ok(self)
    }

    /// Queues the end of a step. `l2` is lambda. Can be captured.
    ///
    /// # Errors
    /// [`crate::Error::Device`] if the launch is refused.
    ///
    /// # Panics
    /// If shapes differ from those that this was made for.
    pub fn launch(
        &mut self,
        batch: Batch<'_>,
        optimiser: &Optimiser,
        l2: f32,
        Before { gather, step, scalars, penalty }: Before<'_>,
        [users, items]: [Side<'_>; 2],
    ) -> Result<()> {
        assert_eq!(batch.size, self.batch);
        for (side, k) in [&users, &items].into_iter().zip(0..) {
            let same = side.own.slots() == self.slots[k] && side.table.parts() == self.parts[k];
            assert!(same && (self.general || side.bias.is_none()), "other shapes");
            assert!(side.dx.is_none_or(|dx| dx.len() == side.own.rows.len()), "other shapes");
            assert_eq!(side.table.storage(), self.storage, "another form");
        }
        assert!(self.general || penalty.is_none(), "another objective");
        let strides = self.parts.map(|parts| parts.stride() as u32);
        let (stride, table_rows) = (strides[1], [users.table.rows(), items.table.rows()]);
        let biases = items.bias.as_ref().map_or(0, |bias| bias.values.len());
        let mut general = [0, 1].map(|k| params::GeneralSide {
            constants: if k == 1 {
                step.constants().map_or(std::ptr::null(), Buffer::ptr)
            } else {
                std::ptr::null()
            },
            pull: penalty.map_or(std::ptr::null(), |penalty| penalty.sides[k].pull.ptr()),
            points: penalty.map_or(std::ptr::null(), |penalty| penalty.sides[k].points.ptr()),
            bias: std::ptr::null_mut(),
            bias_m: std::ptr::null_mut(),
            bias_v: std::ptr::null_mut(),
            stride: strides[k],
            partner_stride: strides[1 - k],
            penalty: penalty.map_or(PENALTY_NONE, |penalty| penalty.form(k)),
            rows: table_rows[k] as u32,
        });
        let branched = users.branch.is_some() || items.branch.is_some();
        let rows = [users.own, items.own].map(|own| own.rows.ptr());
        let partner_slot = [batch.items, batch.users].map(|touched| batch.side(touched).slot);
        let [user_windows, item_windows] = &mut self.windows;
        let gradients = self.gradients.as_mut().map(|gradients| gradients.each_mut().map(Buffer::ptr_mut));
        let mut side = |which: usize, side: Side<'_>, touched: &Touched, windows: &mut Windows| {
            let at = batch.side(touched);
            let gradient = if which == 0 { &scalars.user_gradient } else { &scalars.item_gradient };
            let null = (std::ptr::null(), std::ptr::null_mut(), std::ptr::null_mut(), std::ptr::null_mut());
            let (mut logit_gradient, branch, branch_m, branch_v) = side.branch.map_or(null, |branch| {
                (gradient.ptr(), branch.values.ptr_mut(), branch.m.ptr_mut(), branch.v.ptr_mut())
            });
            if let Some(bias) = side.bias {
                logit_gradient = gradient.ptr();
                let general = &mut general[which];
                general.bias = bias.values.ptr_mut();
                (general.bias_m, general.bias_v) = (bias.m.ptr_mut(), bias.v.ptr_mut());
            }
            params::ApplySide {
                table: side.table.params_mut(),
                touched: at.touched,
                starts: at.starts,
                samples: at.samples,
                slot: at.slot,
                count: at.count,
                partner_slot: partner_slot[which],
                own: rows[which],
                partners: rows[1 - which],
                logit_gradient,
                partial: windows.partial.ptr_mut(),
                partial_upstream: windows.upstream.ptr_mut(),
                arrived: windows.arrived.ptr_mut(),
                branch,
                branch_m,
                branch_v,
                dx: side.dx.map_or(std::ptr::null(), Buffer::ptr),
                gradient: gradients.map_or(std::ptr::null_mut(), |gradients| gradients[which]),
                logit_samples: which as u32 + 1,
                l2: match (gradients, which) {
                    // It is of the parameters, which the propagation moves.
                    (Some(_), _) => 0.0,
                    // A user is counted once a row, and so half for each of the row's two samples.
                    (None, 0) => l2 / 2.0,
                    (None, _) => l2,
                },
            }
        };
        let windows = |k: usize| {
            let n = if self.short[k] { 0 } else { (2 * self.batch as u32).div_ceil(APPLY_WINDOW) };
            n.div_ceil(self.groups)
        };
        let slots = self.slots.map(|n| (n as u32).div_ceil(self.groups));
        let first_user_window = 1 + windows(1);
        let first_item_slot = first_user_window + windows(0);
        let first_user_slot = first_item_slot + slots[1];
        let first_bias = first_user_slot + slots[0];
        let sides = [side(0, users, batch.users, user_windows), side(1, items, batch.items, item_windows)];
        let params = params::Apply {
            step: batch.step_ptr(),
            rows: batch.rows_ptr(),
            score_gradient: scalars.score_gradient.ptr(),
            branch_partial: scalars.branch_partial.ptr(),
            loss_partial: scalars.loss_partial.ptr(),
            l2_loss: gather.l2_loss.ptr(),
            losses: self.losses.ptr_mut(),
            side: sides,
            adam: optimiser.params(),
            batch: self.batch as u32,
            stride,
            step_blocks: step.blocks(),
            gather_blocks: gather.l2_loss.len() as u32,
            user_windows: first_user_window,
            item_slots: first_item_slot,
            user_slots: first_user_slot,
            bias_block: first_bias,
            second_gradient: scalars.second_gradient.as_ref().map_or(std::ptr::null(), Buffer::ptr),
            general,
            part: self.parts[1].stride as u32,
            form: match self.storage {
                Storage::F32 => FORM_F32,
                Storage::F16 => FORM_F16,
                Storage::Bf16 => FORM_BF16,
            },
        };
        let shape = Shape {
            grid: [first_bias + (biases as u32).div_ceil(APPLY_THREADS), 1, 1],
            block: APPLY_THREADS,
            shared: if branched { self.groups * stride * size_of::<f32>() as u32 } else { 0 },
        };
        // SAFETY: the arrays have the shapes that kernels/params.h gives; touched rows are distinct rows of the tables,
        // slots are slots of the gathered rows, and samples are numbers of samples.
        unsafe { self.device.launch(&self.kernel, shape, params) }
    }
}
