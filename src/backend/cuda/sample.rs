//! `sample`: the batches of a chunk of consecutive steps, and which rows each step touches.

use super::{
    Buffer, Device, Kernel, Params, Purpose, Shape,
    batch::{BATCHES, at},
    params::{
        SAMPLE_DRAW_THREADS, SAMPLE_GROUP_SHARED, SAMPLE_GROUP_THREADS, SAMPLE_GROUPS_THREADS,
        SAMPLER_INTERACTION, SAMPLER_USER_UNIFORM, SampleDraw, SampleGroup, SampleGroups, SampleSide,
    },
};
use crate::{
    error::Result,
    objective::Objective,
    sampling::{Sampler, SamplerKind, negatives::NegativeSampler},
};

// SAFETY: kernels/sample.cu.
unsafe impl Params for SampleDraw {
    const KERNEL: &'static str = "sample_draw";
}

// SAFETY: kernels/sample.cu.
unsafe impl Params for SampleGroup {
    const KERNEL: &'static str = "sample_group";
}

// SAFETY: kernels/sample.cu.
unsafe impl Params for SampleGroups {
    const KERNEL: &'static str = "sample_groups";
}

const TABLES: Purpose = Purpose { what: "the training interactions", lower: "the size of the dataset" };

/// The samples of S steps put together by row of one table, as on the CPU; slots
/// number the distinct rows in ascending order. A batch of n rows has 2n samples.
#[derive(Debug)]
pub struct Touched {
    /// `[S, 2B]`: distinct rows, ascending.
    pub rows: Buffer<u32>,
    /// `[S, 2B + 1]`: where each slot's samples begin.
    pub starts: Buffer<u32>,
    /// `[S, 2B]`: samples by slot, ascending within a slot.
    pub samples: Buffer<u32>,
    /// `[S, 2B]`: slot of each sample.
    pub slot: Buffer<u32>,
    /// `[S]`: number of distinct rows.
    pub count: Buffer<u32>,
    /// Every row's number is below 2 to this power.
    pub id_bits: u32,
}

/// Draws chunks of S steps on the device.
#[derive(Debug)]
pub struct Samples {
    device: Device,
    draw: Kernel<SampleDraw>,
    group: Kernel<SampleGroup>,
    tables: Tables,
    /// `[1]`: first step of the next chunk.
    first_step: Buffer<u64>,
    steps: u32,
    batch: u32,
    /// `[S]`: number of each step of the chunk.
    pub step: Buffer<u64>,
    /// `[S]`: rows of each step's batch, at most B.
    pub rows: Buffer<u32>,
    /// `[S, B]`.
    pub users: Buffer<u32>,
    /// `[S, B]`.
    pub positives: Buffer<u32>,
    /// `[S, B]`.
    pub negatives: Buffer<u32>,
    /// Users touched.
    pub touched_users: Touched,
    /// Items touched.
    pub touched_items: Touched,
    /// `[S, 2, 2, 2B]`, unless shared memory holds the samples' numbers.
    scratch: Option<Buffer<u32>>,
}

/// What the draws read.
#[derive(Debug)]
struct Tables {
    offsets: Buffer<u64>,
    seen: Buffer<u32>,
    eligible: Buffer<u32>,
    before: Buffer<u64>,
    block_user: Buffer<u32>,
    alias: Option<Alias>,
    margin: Option<Margin>,
    per_positive: u32,
    kind: u32,
    seed: u64,
    steps_per_epoch: u64,
    interactions: u64,
    items: u32,
}

#[derive(Debug)]
struct Alias {
    threshold: Buffer<u64>,
    alias: Buffer<u32>,
    weight: Buffer<f64>,
}

#[derive(Debug)]
struct Margin {
    count: Buffer<u32>,
    order: Buffer<u32>,
    fewer: Buffer<u32>,
    margin: u32,
}

impl Tables {
    fn new(device: &Device, sampler: &Sampler<'_>) -> Result<Self> {
        let host = sampler.tables();
        let (mut alias, mut margin) = (None, None);
        match host.negatives {
            NegativeSampler::Uniform { .. } => {}
            NegativeSampler::Alias { threshold, alias: other, weight, .. } => {
                alias = Some(Alias {
                    threshold: device.upload(TABLES, threshold)?,
                    alias: device.upload(TABLES, other)?,
                    weight: device.upload(TABLES, weight)?,
                });
            }
            NegativeSampler::Margin(pools) => {
                margin = Some(Margin {
                    count: device.upload(TABLES, &pools.count)?,
                    order: device.upload(TABLES, &pools.order)?,
                    fewer: device.upload(TABLES, &pools.before)?,
                    margin: pools.margin,
                });
            }
        }
        Ok(Tables {
            offsets: device.upload(TABLES, host.train.offsets)?,
            seen: device.upload(TABLES, host.train.indices)?,
            eligible: device.upload(TABLES, host.eligible)?,
            before: device.upload(TABLES, host.before)?,
            block_user: device.upload(TABLES, host.block_user)?,
            alias,
            margin,
            per_positive: host.per_positive,
            kind: match host.kind {
                SamplerKind::UserUniform => SAMPLER_USER_UNIFORM,
                SamplerKind::Interaction => SAMPLER_INTERACTION,
            },
            seed: host.seed,
            steps_per_epoch: sampler.steps_per_epoch(),
            interactions: host.interactions,
            items: host.items,
        })
    }
}

impl Touched {
    fn new(device: &Device, steps: usize, batch: usize, table_rows: u32) -> Result<Self> {
        let samples = steps * 2 * batch;
        Ok(Touched {
            rows: device.alloc(BATCHES, samples)?,
            starts: device.alloc(BATCHES, samples + steps)?,
            samples: device.alloc(BATCHES, samples)?,
            slot: device.alloc(BATCHES, samples)?,
            count: device.alloc(BATCHES, steps)?,
            id_bits: u32::BITS - table_rows.saturating_sub(1).leading_zeros(),
        })
    }

    fn side(&mut self, first: &Buffer<u32>, second: &Buffer<u32>) -> SampleSide {
        SampleSide {
            first: first.ptr(),
            second: second.ptr(),
            touched: self.rows.ptr_mut(),
            starts: self.starts.ptr_mut(),
            samples: self.samples.ptr_mut(),
            slot: self.slot.ptr_mut(),
            count: self.count.ptr_mut(),
            id_bits: self.id_bits,
            unused: 0,
        }
    }
}

impl Samples {
    /// The samples of `sampler` on `device`, up to `steps` steps at a time, from step 0.
    ///
    /// # Errors
    /// [`crate::Error::DeviceMemory`] if they do not fit.
    pub fn new(device: &Device, sampler: &Sampler<'_>, users: u32, steps: u32) -> Result<Self> {
        let tables = Tables::new(device, sampler)?;
        let (s, b) = (steps as usize, sampler.batch() as usize);
        let numbers = 2 * 2 * b * size_of::<u16>();
        let shared = SAMPLE_GROUP_SHARED as usize + numbers;
        // Of a block's shared memory the system may keep 1 KiB.
        let fits = 2 * b <= 1 << 16 && shared + 1024 <= device.description().shared_memory as usize;
        let (group, scratch) = if fits {
            (device.kernel()?, None)
        } else {
            (device.kernel_variant("large")?, Some(device.alloc(BATCHES, s * 2 * 2 * 2 * b)?))
        };
        Ok(Samples {
            draw: device.kernel()?,
            group,
            first_step: device.zeros(BATCHES, 1)?,
            steps,
            batch: sampler.batch(),
            step: device.alloc(BATCHES, s)?,
            rows: device.alloc(BATCHES, s)?,
            users: device.alloc(BATCHES, s * b)?,
            positives: device.alloc(BATCHES, s * b)?,
            negatives: device.alloc(BATCHES, s * b)?,
            touched_users: Touched::new(device, s, b, users)?,
            touched_items: Touched::new(device, s, b, tables.items)?,
            scratch,
            tables,
            device: device.clone(),
        })
    }

    /// Most steps of a chunk, S.
    pub fn steps(&self) -> u32 {
        self.steps
    }

    /// Rows of a full batch, B.
    pub fn batch(&self) -> u32 {
        self.batch
    }

    /// Makes `step` the first step of the next chunk.
    ///
    /// # Errors
    /// [`crate::Error::Device`] if the device fails.
    pub fn seek(&mut self, step: u64) -> Result<()> {
        self.first_step.write(&[step])
    }

    /// Queues the drawing of the next `steps` steps, in place of the last ones. Can be captured.
    ///
    /// # Errors
    /// [`crate::Error::Device`] if a launch is refused.
    ///
    /// # Panics
    /// If there is no room for so many.
    pub fn draw(&mut self, steps: u32) -> Result<()> {
        assert!(steps <= self.steps, "{steps} steps in a chunk of {}", self.steps);
        let (tables, alias) = (&self.tables, self.tables.alias.as_ref());
        let margin = tables.margin.as_ref();
        let draw = SampleDraw {
            first_step: self.first_step.ptr(),
            offsets: tables.offsets.ptr(),
            seen: tables.seen.ptr(),
            eligible: tables.eligible.ptr(),
            before: tables.before.ptr(),
            block_user: tables.block_user.ptr(),
            threshold: alias.map_or(std::ptr::null(), |a| a.threshold.ptr()),
            alias: alias.map_or(std::ptr::null(), |a| a.alias.ptr()),
            weight: alias.map_or(std::ptr::null(), |a| a.weight.ptr()),
            count: margin.map_or(std::ptr::null(), |m| m.count.ptr()),
            order: margin.map_or(std::ptr::null(), |m| m.order.ptr()),
            fewer: margin.map_or(std::ptr::null(), |m| m.fewer.ptr()),
            step: self.step.ptr_mut(),
            rows: self.rows.ptr_mut(),
            users: self.users.ptr_mut(),
            positives: self.positives.ptr_mut(),
            negatives: self.negatives.ptr_mut(),
            seed: tables.seed,
            steps_per_epoch: tables.steps_per_epoch,
            interactions: tables.interactions,
            users_eligible: tables.eligible.len() as u32,
            items: tables.items,
            batch: self.batch,
            kind: tables.kind,
            per_positive: tables.per_positive,
            margin: margin.map_or(0, |m| m.margin),
            fewer_last: margin.map_or(0, |m| m.fewer.len() as u32 - 1),
            unused: 0,
        };
        let grid = [self.batch.div_ceil(SAMPLE_DRAW_THREADS), steps, 1];
        // SAFETY: all arrays are of this object, with the shapes that kernels/params.h gives.
        unsafe {
            self.device.launch(&self.draw, Shape { grid, block: SAMPLE_DRAW_THREADS, shared: 0 }, draw)?;
        }
        let (scratch, numbers) = match &mut self.scratch {
            Some(scratch) => (scratch.ptr_mut(), 0),
            None => (std::ptr::null_mut(), 2 * 2 * self.batch * size_of::<u16>() as u32),
        };
        let group = SampleGroup {
            first_step: self.first_step.ptr_mut(),
            rows: self.rows.ptr(),
            scratch,
            side: [
                self.touched_users.side(&self.users, &self.users),
                self.touched_items.side(&self.positives, &self.negatives),
            ],
            batch: self.batch,
            unused: 0,
        };
        let shape =
            Shape { grid: [2, steps, 1], block: SAMPLE_GROUP_THREADS, shared: SAMPLE_GROUP_SHARED + numbers };
        // SAFETY: as above.
        unsafe { self.device.launch(&self.group, shape, group) }
    }
}

/// Which rows of S steps' batches belong to the second group, of an objective with two.
#[derive(Debug)]
pub struct Groups {
    device: Device,
    kernel: Kernel<SampleGroups>,
    /// `[S, ceil(B / 32)]`: a bit a row.
    pub second: Buffer<u32>,
    /// `[S, 2]`: 1 / rows of the first and of the second group, 0 where there are none.
    pub weight: Buffer<f32>,
}

impl Groups {
    /// Of `objective`, for chunks of up to `steps` steps with up to `batch` rows.
    ///
    /// # Errors
    /// [`crate::Error::DeviceMemory`] if they do not fit, [`crate::Error::Device`] if there is no kernel for the
    /// objective.
    pub fn new(device: &Device, objective: &dyn Objective, steps: u32, batch: u32) -> Result<Self> {
        Ok(Groups {
            kernel: device.kernel_variant(objective.kernel())?,
            second: device.alloc(BATCHES, steps as usize * words(batch))?,
            weight: device.alloc(BATCHES, 2 * steps as usize)?,
            device: device.clone(),
        })
    }

    /// Queues the grouping of the first `steps` steps of the chunk that `samples` holds, by the items' `constants`. Can
    /// be captured.
    ///
    /// # Errors
    /// [`crate::Error::Device`] if the launch is refused.
    ///
    /// # Panics
    /// If there is no room for so many.
    pub fn launch(&mut self, samples: &Samples, constants: &Buffer<f32>, steps: u32) -> Result<()> {
        let room = steps as usize * words(samples.batch);
        assert!(steps <= samples.steps && room <= self.second.len(), "{steps} steps");
        let params = SampleGroups {
            rows: samples.rows.ptr(),
            users: samples.users.ptr(),
            positives: samples.positives.ptr(),
            constants: constants.ptr(),
            second: self.second.ptr_mut(),
            weight: self.weight.ptr_mut(),
            seed: samples.tables.seed,
            batch: samples.batch,
            unused: 0,
        };
        // SAFETY: the arrays have room for the steps, and items are those that there are constants of.
        unsafe { self.device.launch(&self.kernel, Shape::linear(steps, SAMPLE_GROUPS_THREADS), params) }
    }

    /// Bits and weights of step `k` for batches of up to `batch` rows.
    pub(super) fn of(&self, k: usize, batch: usize) -> (*const u32, *const f32) {
        (at(&self.second, k * words(batch as u32)), at(&self.weight, 2 * k))
    }
}

/// Words of the bits of `batch` rows.
fn words(batch: u32) -> usize {
    batch.div_ceil(u32::BITS) as usize
}
