//! `gather`: the touched rows, brought to the state before the step, side by side.

use super::{
    Buffer, Device, Kernel, Params, Shape,
    adam::{Optimiser, StepRules, lanes},
    batch::{BATCHES, Batch, at},
    branch::Branch,
    params::{self, GATHER_THREADS},
    sample::Touched,
    table::{Table, stride, variant, width},
};
use crate::{error::Result, storage::Storage};

// SAFETY: kernels/gather.cu.
unsafe impl Params for params::Gather {
    const KERNEL: &'static str = "gather";
}

/// The touched rows of one table, by slot.
#[derive(Debug)]
pub struct Gathered {
    /// `[slots, stride]`: final embeddings before the step.
    pub rows: Buffer<f32>,
    /// `[slots, stride]`: the parameters, where branches score these rather than `rows`.
    pub ego: Option<Buffer<f32>>,
    /// `[slots]`: branch logit; never written without a branch.
    pub logit: Buffer<f32>,
}

impl Gathered {
    /// Room for `slots` rows of so many columns.
    ///
    /// # Errors
    /// [`crate::Error::DeviceMemory`] if they do not fit.
    pub fn new(device: &Device, slots: usize, columns: usize) -> Result<Self> {
        Ok(Gathered {
            rows: device.alloc(BATCHES, slots * stride(columns))?,
            ego: None,
            logit: device.alloc(BATCHES, slots)?,
        })
    }

    /// The same, with room for the parameters that branches score.
    ///
    /// # Errors
    /// [`crate::Error::DeviceMemory`] if they do not fit.
    pub fn with_ego(device: &Device, slots: usize, columns: usize) -> Result<Self> {
        let ego = Some(device.alloc(BATCHES, slots * stride(columns))?);
        Ok(Gathered { ego, ..Gathered::new(device, slots, columns)? })
    }

    /// `[slots, stride]`: what branches score.
    pub fn scored(&self) -> &Buffer<f32> {
        self.ego.as_ref().unwrap_or(&self.rows)
    }

    /// Most rows.
    pub fn slots(&self) -> usize {
        self.logit.len()
    }
}

/// One table's part.
#[derive(Debug)]
pub struct Side<'a> {
    /// Where the rows are.
    pub table: &'a Table,
    /// Where there is a branch.
    pub branch: Option<&'a Branch>,
    /// Where they go.
    pub out: &'a mut Gathered,
}

/// How the rows of a side are gathered.
#[derive(Debug)]
struct Rows {
    kernel: Kernel<params::Gather>,
    stride: usize,
    /// Slots of a block.
    slots: u32,
    blocks: u32,
}

/// The launcher.
#[derive(Debug)]
pub struct Gather {
    device: Device,
    storage: Storage,
    /// Of users and items.
    rows: [Rows; 2],
    propagated: bool,
    /// `[blocks]`: each block's part of the L2 loss.
    pub l2_loss: Buffer<f64>,
}

impl Gather {
    /// For tables in one form whose rows have so many columns, and batches with up to `slots` distinct users and items.
    ///
    /// # Errors
    /// [`crate::Error::Config`] if there is no kernel for as many.
    pub fn new(device: &Device, columns: [usize; 2], storage: Storage, slots: [usize; 2]) -> Result<Self> {
        let side = |k: usize| -> Result<_> {
            let width = width(columns[k])?;
            let of_block = GATHER_THREADS / lanes(width) * if width <= 128 { 2 } else { 1 };
            Ok(Rows {
                kernel: device.kernel_variant(variant(storage, width))?,
                stride: stride(columns[k]),
                slots: of_block,
                blocks: (slots[k] as u32).div_ceil(of_block),
            })
        };
        let rows = [side(0)?, side(1)?];
        Ok(Gather {
            l2_loss: device.alloc(BATCHES, rows.iter().map(|rows| rows.blocks as usize).sum())?,
            storage,
            rows,
            propagated: false,
            device: device.clone(),
        })
    }

    /// For LightGCN: the gathered rows are final embeddings that the propagation has written, so that at most
    /// parameters are gathered beside them, and the tables are up to date.
    pub fn propagated(self) -> Self {
        Gather { propagated: true, ..self }
    }

    /// Queues the gathering of a batch's rows, in one launch if both sides' have as many columns. `l2` is lambda. Can
    /// be captured.
    ///
    /// # Errors
    /// [`crate::Error::Device`] if the launch is refused.
    ///
    /// # Panics
    /// If there is room for fewer rows than this was made for, or a table is of another form.
    pub fn launch(
        &mut self,
        batch: Batch<'_>,
        optimiser: &Optimiser,
        rules: &StepRules,
        l2: f32,
        [users, items]: [Side<'_>; 2],
    ) -> Result<()> {
        let ego = users.out.ego.is_some();
        assert_eq!(items.out.ego.is_some(), ego, "the sides' branches score other rows");
        for (side, rows) in [&users, &items].into_iter().zip(&self.rows) {
            assert!(
                side.out.slots().div_ceil(rows.slots as usize) == rows.blocks as usize,
                "other numbers of slots"
            );
            let (stride, storage) = (side.table.stride(), side.table.storage());
            assert_eq!((stride, storage), (rows.stride, self.storage), "another table");
        }
        let side = |side: Side<'_>, touched: &Touched| {
            let at = batch.side(touched);
            params::GatherSide {
                table: side.table.params(),
                touched: at.touched,
                starts: at.starts,
                count: at.count,
                branch: side.branch.map_or(std::ptr::null(), |b| b.values.ptr()),
                rows: side.out.ego.as_mut().unwrap_or(&mut side.out.rows).ptr_mut(),
                logit: side.out.logit.ptr_mut(),
            }
        };
        let params = params::Gather {
            step: batch.step_ptr(),
            rows: batch.rows_ptr(),
            weights: rules.ptr(batch.k),
            l2_loss: self.l2_loss.ptr_mut(),
            side: [side(users, batch.users), side(items, batch.items)],
            adam: optimiser.params(),
            l2,
            stride: self.rows[0].stride as u32,
            item_block: self.rows[0].blocks,
            batch: batch.size as u32,
            current: u32::from(self.propagated),
            filled: u32::from(self.propagated && !ego),
        };
        let [of_users, of_items] = &self.rows;
        let queue = |rows: &Rows, blocks, params| {
            // SAFETY: the arrays have the shapes that kernels/params.h gives; the sampler's rows are rows of the
            // tables, and distinct ones are no more than the slots.
            unsafe { self.device.launch(&rows.kernel, Shape::linear(blocks, GATHER_THREADS), params) }
        };
        if of_users.stride == of_items.stride {
            return queue(of_users, of_users.blocks + of_items.blocks, params);
        }
        queue(of_users, of_users.blocks, params)?;
        let l2_loss = at(&self.l2_loss, of_users.blocks as usize).cast_mut();
        let stride = of_items.stride as u32;
        queue(of_items, of_items.blocks, params::Gather { stride, item_block: 0, l2_loss, ..params })
    }
}
