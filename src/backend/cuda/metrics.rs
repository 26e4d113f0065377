//! `metrics`: which items of lists are relevant, and how often each item is listed, without the lists on the host.

use super::{
    Buffer, Device, Kernel, Params, Purpose, Shape,
    params::{METRICS_THREADS, Metrics},
    rank::{Seen, Sizes},
};
use crate::{
    backend::lists::{Audience, Hits, Measured},
    data::Csr,
    error::Result,
};

// SAFETY: kernels/metrics.cu.
unsafe impl Params for Metrics {
    const KERNEL: &'static str = "metrics";
}

const AUDIENCE: Purpose =
    Purpose { what: "the users to evaluate and their items", lower: "the number of rankings" };

/// An [`Audience`] on a device.
#[derive(Debug)]
pub struct OnDevice {
    pub(super) ordinal: u32,
    pub(super) users: Buffer<u32>,
    pub(super) seen: Seen,
    /// `[U + 1]`.
    offsets: Buffer<u64>,
    /// `[L]`.
    items: Buffer<u32>,
}

impl OnDevice {
    /// Bytes of device memory for `count` users, of as many as there are `rows`, with so many items in each set of seen
    /// ones, and in `relevant`.
    pub(super) fn memory(rows: usize, count: usize, seen: &[u64], relevant: u64) -> u64 {
        4 * count as u64 + Seen::memory(rows, seen) + Seen::memory(rows, &[relevant])
    }

    /// Copies an audience to `device`.
    ///
    /// # Errors
    /// As [`Seen::new`].
    pub fn new(device: &Device, users: &[u32], seen: &[Csr<'_>], relevant: Csr<'_>) -> Result<Self> {
        Ok(OnDevice {
            ordinal: device.description().ordinal,
            users: device.upload(AUDIENCE, users)?,
            seen: Seen::new(device, seen)?,
            offsets: device.upload(AUDIENCE, relevant.offsets)?,
            items: device.upload(AUDIENCE, relevant.indices)?,
        })
    }
}

/// Lists that chunks of users leave in device memory.
#[derive(Debug)]
pub(super) struct Lists<'a> {
    /// `[count, V, k]`.
    pub(super) lists: &'a Buffer<u64>,
    /// Position of the first user in the audience.
    pub(super) first: usize,
    pub(super) count: usize,
}

/// Counts in the making.
#[derive(Debug)]
pub(super) struct Counts {
    kernel: Kernel<Metrics>,
    /// Ascending; the last is k.
    cuts: Vec<usize>,
    on_device: Buffer<u32>,
    variants: usize,
    count: usize,
    /// `[V, L]`.
    ranks: Buffer<u16>,
    /// `[V, cuts, I]`.
    listed: Buffer<u32>,
}

impl Counts {
    /// Bytes of device memory for so many `relevant` items, and lists cut at `cuts` places.
    pub(super) fn memory(Sizes { items, variants, .. }: Sizes, relevant: u64, cuts: usize) -> u64 {
        variants as u64 * (2 * relevant + (4 * cuts * items) as u64) + 4 * cuts as u64
    }

    /// For `variants` rankings of `count` items, and lists cut at `cuts`.
    pub(super) fn new(
        device: &Device,
        audience: &OnDevice,
        (variants, count): (usize, usize),
        cuts: &[usize],
    ) -> Result<Self> {
        let mut cuts = cuts.to_vec();
        cuts.sort_unstable();
        cuts.dedup();
        let numbers: Vec<u32> = cuts.iter().map(|&cut| cut as u32).collect();
        Ok(Counts {
            kernel: device.kernel()?,
            on_device: device.upload(AUDIENCE, &numbers)?,
            ranks: device.zeros(AUDIENCE, variants * audience.items.len())?,
            listed: device.zeros(AUDIENCE, variants * cuts.len() * count)?,
            cuts,
            variants,
            count,
        })
    }

    /// Queues counting of a chunk's lists on the stream of `device`.
    pub(super) fn count(&mut self, device: &Device, audience: &OnDevice, lists: &Lists<'_>) -> Result<()> {
        let k = self.cuts[self.cuts.len() - 1];
        assert!(lists.first + lists.count <= audience.users.len());
        assert!(self.ranks.len() == self.variants * audience.items.len());
        assert!(lists.lists.len() >= lists.count * self.variants * k);
        let params = Metrics {
            lists: lists.lists.ptr(),
            users: audience.users.ptr().wrapping_add(lists.first),
            offsets: audience.offsets.ptr(),
            items: audience.items.ptr(),
            cut: self.on_device.ptr(),
            ranks: self.ranks.ptr_mut(),
            listed: self.listed.ptr_mut(),
            relevant: audience.items.len() as u64,
            cuts: self.cuts.len() as u32,
            count: lists.count as u32,
            variants: self.variants as u32,
            k: k as u32,
            item_count: self.count as u32,
            unused: 0,
        };
        let warps = METRICS_THREADS / 32;
        let shape = Shape::linear(((lists.count * self.variants) as u32).div_ceil(warps), METRICS_THREADS);
        // SAFETY: the arrays have the shapes that kernels/params.h gives; candidates are items of the ranker, and users
        // have rows of relevant items.
        unsafe { device.launch(&self.kernel, shape, params) }
    }

    /// What was counted, for the cuts in the order of `cuts`, once the work of all streams is done.
    pub(super) fn finish(self, audience: &Audience<'_>, cuts: &[usize]) -> Result<Measured> {
        let hits = Hits::from_ranks(audience, self.variants, &self.ranks.read()?);
        let mut listed = self.listed.read()?;
        for up_to in listed.chunks_exact_mut(self.cuts.len() * self.count) {
            for at in self.count..up_to.len() {
                up_to[at] += up_to[at - self.count];
            }
        }
        let frequency = |variant: usize, cut: &usize| {
            let at = self.cuts.partition_point(|known| known < cut);
            listed[(variant * self.cuts.len() + at) * self.count..][..self.count].to_vec()
        };
        let frequency =
            (0..self.variants).flat_map(|variant| cuts.iter().map(move |cut| frequency(variant, cut)));
        Ok(Measured { hits, frequency: frequency.collect() })
    }
}
