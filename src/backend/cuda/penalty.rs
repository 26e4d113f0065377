//! `penalty`: what an objective adds to the loss for the rows of a batch, and what they are pulled to.

use super::{
    Buffer, Device, Kernel, Params, Shape,
    adam::lanes,
    batch::{BATCHES, Batch},
    gather::Gathered,
    params::{
        self, PENALTY_ACROSS, PENALTY_BLOCKS, PENALTY_DECAY, PENALTY_HALVES, PENALTY_NONE, PENALTY_THREADS,
        PENALTY_WITHIN,
    },
    sample::Touched,
    table::width,
};
use crate::{backend::cpu::table::Parts, error::Result, objective};

// SAFETY: kernels/penalty.cu.
unsafe impl Params for params::Penalty {
    const KERNEL: &'static str = "penalty";
}

/// The sums of one side, and what its rows are pulled to.
#[derive(Debug)]
pub struct Side {
    /// Its number of blocks; 0: no penalty.
    blocks: u32,
    stride: usize,
    /// `[2]`: coefficient by kind of row.
    pub pull: Buffer<f32>,
    /// `[2, stride]`: target by kind of row, of penalties across and within kinds.
    pub points: Buffer<f32>,
    partial: Buffer<f64>,
    row_partial: Buffer<f64>,
    count_partial: Buffer<u32>,
}

/// The launcher for one penalty.
#[derive(Debug)]
pub struct Penalty {
    device: Device,
    kernel: Kernel<params::Penalty>,
    form: u32,
    strength: [f32; 2],
    /// Of the items.
    parts: Parts,
    /// Of users and items.
    pub sides: [Side; 2],
    arrived: Buffer<u32>,
}

impl Penalty {
    /// For batches with up to `slots` distinct users and items, whose rows are divided into `parts`.
    ///
    /// # Errors
    /// [`crate::Error::Config`] if there is no kernel for as many columns, [`crate::Error::DeviceMemory`] if the sums
    /// do not fit.
    pub fn new(
        device: &Device,
        penalty: objective::Penalty,
        parts: [Parts; 2],
        slots: [usize; 2],
    ) -> Result<Self> {
        let width = width(parts[0].stride().max(parts[1].stride()))?;
        let (form, strength) = match penalty {
            objective::Penalty::Halves(strength) => (PENALTY_HALVES, [strength; 2]),
            objective::Penalty::Decay(strength) => (PENALTY_DECAY, [strength; 2]),
            objective::Penalty::Across(strength) => (PENALTY_ACROSS, [strength; 2]),
            objective::Penalty::Within(strengths) => (PENALTY_WITHIN, strengths),
        };
        let side = |k: usize| -> Result<_> {
            // Item constants are of the items alone.
            let has = if form == PENALTY_HALVES { parts[k].count > 1 } else { k == 1 };
            let blocks = (slots[k] as u32).div_ceil(PENALTY_THREADS / lanes(width)).min(PENALTY_BLOCKS);
            let (blocks, stride) = (if has { blocks } else { 0 }, parts[k].stride());
            let points = if form == PENALTY_ACROSS || form == PENALTY_WITHIN { 2 * stride } else { 0 };
            Ok(Side {
                blocks,
                stride,
                pull: device.alloc(BATCHES, 2)?,
                points: device.alloc(BATCHES, points)?,
                partial: device.alloc(BATCHES, 2 * blocks as usize)?,
                row_partial: device.alloc(BATCHES, points * blocks as usize)?,
                count_partial: device.alloc(BATCHES, 2 * blocks as usize)?,
            })
        };
        Ok(Penalty {
            kernel: device.kernel_variant(width)?,
            form,
            strength,
            parts: parts[1],
            sides: [side(0)?, side(1)?],
            arrived: device.zeros(BATCHES, 1)?,
            device: device.clone(),
        })
    }

    /// The form on side `k`, as kernels know it.
    pub(super) fn form(&self, k: usize) -> u32 {
        if self.sides[k].blocks > 0 { self.form } else { PENALTY_NONE }
    }

    /// Queues the penalty of a batch, whose rows are gathered, with the items' `constants` `[I]`. Its value is added to
    /// `losses`. Can be captured.
    ///
    /// # Errors
    /// [`crate::Error::Device`] if the launch is refused.
    ///
    /// # Panics
    /// If shapes differ from those that this was made for.
    pub fn launch(
        &mut self,
        batch: Batch<'_>,
        [users, items]: [&Gathered; 2],
        constants: Option<&Buffer<f32>>,
        losses: &mut Buffer<f64>,
    ) -> Result<()> {
        assert!(constants.is_some() || self.form == PENALTY_HALVES, "a penalty by item constants has none");
        let blocks = self.sides[0].blocks + self.sides[1].blocks;
        let side =
            |side: &mut Side, touched: &Touched, gathered: &Gathered, constants: Option<&Buffer<f32>>| {
                assert!(gathered.rows.len() == gathered.slots() * side.stride, "another stride");
                let at = batch.side(touched);
                params::PenaltySide {
                    touched: at.touched,
                    starts: at.starts,
                    count: at.count,
                    rows: gathered.rows.ptr(),
                    constants: constants.map_or(std::ptr::null(), Buffer::ptr),
                    pull: side.pull.ptr_mut(),
                    points: side.points.ptr_mut(),
                    partial: side.partial.ptr_mut(),
                    row_partial: side.row_partial.ptr_mut(),
                    count_partial: side.count_partial.ptr_mut(),
                    stride: side.stride as u32,
                    blocks: side.blocks,
                }
            };
        let [user_side, item_side] = &mut self.sides;
        let params = params::Penalty {
            batch_rows: batch.rows_ptr(),
            arrived: self.arrived.ptr_mut(),
            losses: losses.ptr_mut(),
            side: [side(user_side, batch.users, users, None), side(item_side, batch.items, items, constants)],
            strength: self.strength,
            form: self.form,
            part: self.parts.stride as u32,
            width: self.parts.width as u32,
            unused: 0,
        };
        let points = self.form == PENALTY_ACROSS || self.form == PENALTY_WITHIN;
        let rows = PENALTY_THREADS / 32 * self.parts.stride() as u32 * size_of::<f32>() as u32;
        let shape =
            Shape { grid: [blocks, 1, 1], block: PENALTY_THREADS, shared: if points { rows } else { 0 } };
        // SAFETY: the arrays have the shapes that kernels/params.h gives, and touched items are those that there are
        // constants of.
        unsafe { self.device.launch(&self.kernel, shape, params) }
    }
}
