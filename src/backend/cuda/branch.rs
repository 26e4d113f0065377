//! `branch`: branches on the device. A linear one is a vector, which `gather`, `step` and `apply` take along; one with
//! a hidden layer has kernels of its own, and so have all that score other rows than match scores come from.

use super::{
    Buffer, Device, Kernel, Params, Purpose, Shape,
    adam::{Optimiser, lanes},
    batch::Batch,
    gather::Gathered,
    params::{self, BRANCH_BLOCKS, BRANCH_THREADS},
    step::Scalars,
    table::{Padded, stride, whole, width},
};
use crate::{
    backend::state::{Exchange, Place, pad, unpadded},
    error::Result,
    model,
};

// SAFETY: kernels/branch.cu.
unsafe impl Params for params::Branch {
    const KERNEL: &'static str = "branch";
}

const BRANCH: Purpose = Purpose { what: "the branches", lower: "--dim, or the hidden units of --branch" };

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

    /// The first moments, laid out as the branch.
    ///
    /// # Errors
    /// [`crate::Error::Device`] if the device fails.
    pub fn first_moments(&self) -> Result<model::Branch> {
        Ok(model::Branch::Linear { weight: self.m.read()?[..self.dim].to_vec() })
    }

    /// Shows `exchange` the branch after `steps` steps, which is called `name`.
    ///
    /// # Errors
    /// As [`Exchange::tensor`].
    pub fn exchange(&mut self, name: &str, steps: u64, exchange: &mut Exchange<'_>) -> Result<()> {
        let dim = self.dim;
        exchange.tensor(format!("{name}.p"), &[dim], &mut Present { branch: self, steps })?;
        for (kind, buffer) in [("m", &mut self.m), ("v", &mut self.v)] {
            exchange.tensor(format!("{name}.{kind}"), &[dim], &mut Padded { buffer, parts: whole(dim) })?;
        }
        Ok(())
    }
}

/// y = b2 + w2 . relu(W1 x + b1), or without hidden units w . x, with what a step needs.
#[derive(Debug)]
pub struct Mlp {
    dim: usize,
    hidden: usize,
    /// `[P]`: `W1 [H, stride], b1 [H], w2 [H], b2`, or `w [stride]`, and its moments.
    values: Buffer<f32>,
    m: Buffer<f32>,
    v: Buffer<f32>,
    /// `[slots, stride]`: what it adds to the gradients of the rows that it scores.
    pub dx: Buffer<f32>,
    partial: Buffer<f32>,
}

impl Mlp {
    /// A branch of rows of `dim` before its first step, for up to `slots` rows.
    fn new(device: &Device, branch: &model::Branch, dim: usize, slots: usize) -> Result<Self> {
        let (matrix, rest) = match branch {
            model::Branch::Linear { weight } => (weight, Vec::new()),
            model::Branch::Mlp { w1, b1, w2, b2 } => (w1, [b1, w2, [*b2].as_slice()].concat()),
        };
        let hidden = rest.len() / 2;
        let size = Self::size(hidden, stride(dim));
        let mut values = Vec::with_capacity(size);
        for row in matrix.chunks_exact(dim) {
            values.extend_from_slice(row);
            values.resize(values.len() + stride(dim) - dim, 0.0);
        }
        values.extend(rest);
        Ok(Mlp {
            dim,
            hidden,
            values: device.upload(BRANCH, &values)?,
            m: device.zeros(BRANCH, size)?,
            v: device.zeros(BRANCH, size)?,
            dx: device.alloc(BRANCH, slots * stride(dim))?,
            partial: device.alloc(BRANCH, BRANCH_BLOCKS as usize * size)?,
        })
    }

    /// Number of parameters, P.
    fn size(hidden: usize, stride: usize) -> usize {
        if hidden == 0 { stride } else { hidden * (stride + 2) + 1 }
    }

    /// Bytes of device memory for rows of `stride`, up to `slots` of them.
    pub fn memory(hidden: usize, stride: u64, slots: u64) -> u64 {
        4 * (3 + u64::from(BRANCH_BLOCKS)) * Self::size(hidden, stride as usize) as u64 + 4 * slots * stride
    }

    /// The branch.
    ///
    /// # Errors
    /// [`crate::Error::Device`] if the device fails.
    pub fn read(&self) -> Result<model::Branch> {
        self.unpad(&self.values.read()?)
    }

    /// The first moments, laid out as the branch.
    ///
    /// # Errors
    /// [`crate::Error::Device`] if the device fails.
    pub fn first_moments(&self) -> Result<model::Branch> {
        self.unpad(&self.m.read()?)
    }

    fn unpad(&self, values: &[f32]) -> Result<model::Branch> {
        if self.hidden == 0 {
            return Ok(model::Branch::Linear { weight: values[..self.dim].to_vec() });
        }
        let (w1, rest) = values.split_at(self.hidden * stride(self.dim));
        let (b1, rest) = rest.split_at(self.hidden);
        let (w2, b2) = rest.split_at(self.hidden);
        let w1 = unpadded(w1, stride(self.dim), self.dim);
        Ok(model::Branch::Mlp { w1, b1: b1.to_vec(), w2: w2.to_vec(), b2: b2[0] })
    }

    /// Shows `exchange` the branch, which is called `name`.
    ///
    /// # Errors
    /// As [`Exchange::tensor`].
    pub fn exchange(&mut self, name: &str, exchange: &mut Exchange<'_>) -> Result<()> {
        let (dim, hidden) = (self.dim, self.hidden);
        for (part, buffer) in [("p", &mut self.values), ("m", &mut self.m), ("v", &mut self.v)] {
            let shape = [Self::size(hidden, dim)];
            exchange.tensor(format!("{name}.{part}"), &shape, &mut Layers { buffer, hidden, dim })?;
        }
        Ok(())
    }
}

/// The parameters of an [`Mlp`], or a moment of them.
struct Layers<'a> {
    buffer: &'a mut Buffer<f32>,
    hidden: usize,
    dim: usize,
}

impl Place<f32> for Layers<'_> {
    fn get(&self) -> Result<Vec<f32>> {
        let values = self.buffer.read()?;
        let (matrix, rest) = values.split_at(self.hidden.max(1) * stride(self.dim));
        Ok([&unpadded(matrix, stride(self.dim), self.dim), rest].concat())
    }

    fn set(&mut self, values: &[f32]) -> Result<()> {
        let mut padded = vec![0f32; self.buffer.len()];
        let (matrix, rest) = padded.split_at_mut(self.hidden.max(1) * stride(self.dim));
        let (from, last) = values.split_at(self.hidden.max(1) * self.dim);
        pad(from, matrix, stride(self.dim), self.dim);
        rest.copy_from_slice(last);
        self.buffer.write(&padded)
    }
}

/// The branches of a training that have kernels of their own, and their launcher.
#[derive(Debug)]
pub struct Mlps {
    device: Device,
    forward: Kernel<params::Branch>,
    backward: Kernel<params::Branch>,
    update: Kernel<params::Branch>,
    dim: usize,
    slots: [usize; 2],
    /// Of users and of items.
    pub sides: [Option<Mlp>; 2],
}

impl Mlps {
    /// For `branches`, where there are any, and batches with up to `slots` distinct users and items.
    ///
    /// # Errors
    /// [`crate::Error::Config`] if there is no kernel for `dim`, [`crate::Error::DeviceMemory`] if they do not fit.
    pub fn new(
        device: &Device,
        branches: [Option<&model::Branch>; 2],
        dim: usize,
        slots: [usize; 2],
    ) -> Result<Self> {
        let width = width(dim)?;
        let side = |k: usize| branches[k].map(|branch| Mlp::new(device, branch, dim, slots[k])).transpose();
        Ok(Mlps {
            forward: device.kernel_variant(format_args!("forward_{width}"))?,
            backward: device.kernel_variant(format_args!("backward_{width}"))?,
            update: device.kernel_variant("update")?,
            dim,
            slots,
            sides: [side(0)?, side(1)?],
            device: device.clone(),
        })
    }

    /// What they add to the gradients of the rows that they score, `[slots, stride]`.
    pub fn dx(&self) -> [Option<&Buffer<f32>>; 2] {
        self.sides.each_ref().map(|mlp| mlp.as_ref().map(|mlp| &mlp.dx))
    }

    /// Queues the logits of the rows that branches score. Can be captured.
    ///
    /// # Errors
    /// [`crate::Error::Device`] if the launch is refused.
    pub fn forward(
        &mut self,
        batch: Batch<'_>,
        optimiser: &Optimiser,
        gathered: [&mut Gathered; 2],
        scalars: &Scalars,
    ) -> Result<()> {
        let groups = BRANCH_THREADS / lanes(width(self.dim)?);
        let blocks =
            [0, 1].map(|k| self.sides[k].as_ref().map_or(0, |_| (self.slots[k] as u32).div_ceil(groups)));
        let params = self.params(batch, optimiser, gathered, scalars, blocks[0]);
        Self::launch(&self.device, &self.forward, blocks[0] + blocks[1], params)
    }

    /// Queues what the branches add to the gradients of the rows that they score, and Adam on their parameters. Can be
    /// captured.
    ///
    /// # Errors
    /// [`crate::Error::Device`] if a launch is refused.
    pub fn backward(
        &mut self,
        batch: Batch<'_>,
        optimiser: &Optimiser,
        gathered: [&mut Gathered; 2],
        scalars: &Scalars,
    ) -> Result<()> {
        let parameters = |side: &Option<Mlp>| {
            side.as_ref().map_or(0, |mlp| (mlp.values.len() as u32).div_ceil(BRANCH_THREADS))
        };
        let blocks = self.sides.each_ref().map(parameters);
        let params = self.params(batch, optimiser, gathered, scalars, blocks[0]);
        Self::launch(&self.device, &self.backward, 2 * BRANCH_BLOCKS, params)?;
        Self::launch(&self.device, &self.update, blocks[0] + blocks[1], params)
    }

    fn params(
        &mut self,
        batch: Batch<'_>,
        optimiser: &Optimiser,
        gathered: [&mut Gathered; 2],
        scalars: &Scalars,
        item_block: u32,
    ) -> params::Branch {
        let slots = self.slots;
        let [user_rows, item_rows] = gathered;
        let mut sides = self.sides.iter_mut();
        let mut side = |which: usize, rows: &mut Gathered| {
            let touched = batch.side([batch.users, batch.items][which]);
            let gradient = [&scalars.user_gradient, &scalars.item_gradient][which];
            assert!(rows.slots() == slots[which], "other numbers of slots");
            let null = std::ptr::null_mut();
            let mlp = sides.next().and_then(Option::as_mut);
            let (hidden, [dx, partial, values, m, v]) = mlp.map_or((0, [null; 5]), |mlp| {
                let Mlp { hidden, values, m, v, dx, partial, .. } = mlp;
                (*hidden as u32, [dx, partial, values, m, v].map(Buffer::ptr_mut))
            });
            params::BranchSide {
                rows: rows.scored().ptr(),
                count: touched.count,
                starts: touched.starts,
                samples: touched.samples,
                logit_gradient: gradient.ptr(),
                logit: rows.logit.ptr_mut(),
                dx,
                partial,
                values,
                m,
                v,
                hidden,
                logit_samples: which as u32 + 1,
            }
        };
        params::Branch {
            step: batch.step_ptr(),
            rows: batch.rows_ptr(),
            side: [side(0, user_rows), side(1, item_rows)],
            adam: optimiser.params(),
            batch: batch.size as u32,
            stride: stride(self.dim) as u32,
            item_block,
            unused: 0,
        }
    }

    fn launch(
        device: &Device,
        kernel: &Kernel<params::Branch>,
        blocks: u32,
        params: params::Branch,
    ) -> Result<()> {
        // SAFETY: the arrays have the shapes that kernels/params.h gives; slots are slots of the gathered rows.
        unsafe { device.launch(kernel, Shape::linear(blocks, BRANCH_THREADS), params) }
    }
}

/// The half that is the vector after `steps` steps.
struct Present<'a> {
    branch: &'a mut Branch,
    steps: u64,
}

impl Present<'_> {
    fn first(&self) -> usize {
        (self.steps % 2) as usize * stride(self.branch.dim)
    }
}

impl Place<f32> for Present<'_> {
    fn get(&self) -> Result<Vec<f32>> {
        Ok(self.branch.values.read()?[self.first()..][..self.branch.dim].to_vec())
    }

    fn set(&mut self, values: &[f32]) -> Result<()> {
        let mut both = self.branch.values.read()?;
        both[self.first()..][..values.len()].copy_from_slice(values);
        self.branch.values.write(&both)
    }
}
